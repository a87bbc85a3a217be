//! Parses one line that begins with `#`, in any form that the formats allow.
//!
//! [`crate::fast`] parses the common form faster and leaves everything else to this module.

use crate::event::Reason;
use crate::kind::Kind;
use crate::labels::take_quoted;
use crate::line::{is_utf8, take_metric_name, take_token, trim_start};

/// What a `#` line declares about a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata<'a> {
    Type { family: &'a [u8], kind: Kind },
    Help { family: &'a [u8], escaped: &'a [u8] },
    Unit { family: &'a [u8], unit: &'a [u8] },
}

/// A `#` line other than a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comment<'a> {
    Metadata(Metadata<'a>),
    /// `# EOF`, which is significant only in OpenMetrics.
    Eof,
}

/// Parses `text`, a line without its end; `None` for a comment.
pub(crate) fn parse(text: &[u8]) -> Result<Option<Comment<'_>>, Reason> {
    let Some(body) = trim_start(text).strip_prefix(b"#") else {
        return Ok(None);
    };
    let (keyword, rest) = take_token(trim_start(body));
    match keyword {
        b"EOF" if rest.is_empty() => return Ok(Some(Comment::Eof)),
        b"TYPE" | b"HELP" | b"UNIT" => {}
        _ => return Ok(None),
    }
    if !is_utf8(text) {
        return Err(Reason::Encoding);
    }
    let (family, rest) = take_family_name(trim_start(rest)).ok_or(Reason::MetadataName)?;
    let metadata = match keyword {
        b"TYPE" => {
            let (word, after) = take_token(trim_start(rest));
            let kind = Kind::from_word(word).filter(|_| trim_start(after).is_empty());
            Metadata::Type {
                family,
                kind: kind.ok_or(Reason::Type)?,
            }
        }
        // One separator belongs to the syntax, the rest to the text.
        b"HELP" => Metadata::Help {
            family,
            escaped: rest.get(1..).unwrap_or_default(),
        },
        _ => Metadata::Unit {
            family,
            unit: trim_start(rest).trim_ascii_end(),
        },
    };
    Ok(Some(Comment::Metadata(metadata)))
}

/// The family name of a metadata line, and what follows it.
fn take_family_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = match text.strip_prefix(b"\"") {
        Some(quoted) => take_quoted(quoted)?,
        None => take_metric_name(text),
    };
    let ends_well = matches!(rest.first(), None | Some(b' ' | b'\t'));
    (!name.is_empty() && ends_well).then_some((name, rest))
}
