//! Parses one sample line in any form that the formats allow: the complete grammar.
//!
//! [`crate::fast`] parses the common form of a line faster and leaves everything else to this module.

use crate::event::{Exemplar, Reason, Sample};
use crate::float;
use crate::kind::Format;
use crate::labels::{Labels, take_quoted};
use crate::name::Name;

/// A sample line before its family is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) series: &'a [u8],
    pub(crate) name: Name<'a>,
    pub(crate) labels: Labels<'a>,
    pub(crate) value: f64,
    pub(crate) timestamp_ns: Option<i64>,
    /// The text after the `#` of an exemplar, validated.
    pub(crate) exemplar: Option<&'a [u8]>,
}

/// Parses `text`, a line without its end.
pub(crate) fn parse(text: &[u8], format: Format) -> Result<Line<'_>, Reason> {
    if !is_utf8(text) {
        return Err(Reason::Encoding);
    }
    let text = trim_start(text);
    let (classic_name, rest) = take_metric_name(text);
    let after_name = trim_start(rest);

    let (name, labels, rest) = if after_name.first() == Some(&b'{') {
        let braces = take_braces(&after_name[1..])?;
        let name = match (classic_name.is_empty(), braces.name) {
            (false, None) => Name::new(classic_name),
            (true, Some(quoted)) if !quoted.is_empty() => Name::new(quoted),
            (true, _) => return Err(Reason::Name),
            (false, Some(_)) => return Err(Reason::LabelSyntax),
        };
        (name, braces.labels, braces.rest)
    } else {
        if classic_name.is_empty() {
            return Err(Reason::Name);
        }
        (Name::new(classic_name), Labels::default(), rest)
    };
    let series = &text[..text.len() - rest.len()];

    // After braces, the space before the value is optional; a bare name would not have ended without it.
    let (value, rest) = take_value(trim_start(rest)).ok_or(Reason::Value)?;
    let (timestamp_ns, exemplar) = take_tail(rest, format)?;
    Ok(Line {
        series,
        name,
        labels,
        value,
        timestamp_ns,
        exemplar,
    })
}

/// Parses the rest after the value: a timestamp, an exemplar, both, or nothing.
fn take_tail(text: &[u8], format: Format) -> Result<(Option<i64>, Option<&[u8]>), Reason> {
    let mut rest = trim_start(text);
    let mut timestamp_ns = None;
    if !rest.is_empty() && rest[0] != b'#' {
        let (token, after) = take_token(rest);
        let parsed = match format {
            Format::Text => float::millis_to_ns(token),
            Format::OpenMetrics => float::seconds_to_ns(token),
        };
        timestamp_ns = Some(parsed.ok_or(Reason::Timestamp)?);
        rest = trim_start(after);
    }
    match rest.split_first() {
        None => Ok((timestamp_ns, None)),
        Some((b'#', exemplar)) => take_exemplar(exemplar).map(|_| (timestamp_ns, Some(exemplar))),
        Some(_) => Err(Reason::Trailing),
    }
}

/// Parses the text after the `#`.
fn take_exemplar(text: &[u8]) -> Result<Exemplar<'_>, Reason> {
    let text = trim_start(text).strip_prefix(b"{").ok_or(Reason::Exemplar)?;
    let braces = take_braces(text)?;
    if braces.name.is_some() {
        return Err(Reason::Exemplar);
    }
    let (value, rest) = take_value(trim_start(braces.rest)).ok_or(Reason::Exemplar)?;
    let (token, rest) = take_token(trim_start(rest));
    let timestamp_ns = match token {
        b"" => None,
        _ => Some(float::seconds_to_ns(token).ok_or(Reason::Timestamp)?),
    };
    if !trim_start(rest).is_empty() {
        return Err(Reason::Trailing);
    }
    Ok(Exemplar {
        labels: braces.labels,
        value,
        timestamp_ns,
    })
}

impl<'a> Sample<'a> {
    /// The exemplar after the value.
    pub fn exemplar(&self) -> Option<Exemplar<'a>> {
        self.exemplar.and_then(|text| take_exemplar(text).ok())
    }
}

struct Braces<'a> {
    labels: Labels<'a>,
    /// A quoted text without a value: the metric's name in the newer form.
    name: Option<&'a [u8]>,
    /// The text after the closing brace.
    rest: &'a [u8],
}

/// Parses labels up to the closing brace; `text` begins after the opening one.
fn take_braces(text: &[u8]) -> Result<Braces<'_>, Reason> {
    let mut rest = trim_start(text);
    let mut metric_name = None;
    loop {
        if let Some(after) = rest.strip_prefix(b"}") {
            let raw = &text[..text.len() - rest.len()];
            return Ok(Braces {
                labels: Labels::new(raw),
                name: metric_name,
                rest: after,
            });
        }
        let (after_name, quoted) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let (name, after) = take_quoted(quoted).ok_or(Reason::Unterminated)?;
                (trim_start(after), Some(name))
            }
            None => {
                let end = rest
                    .iter()
                    .position(|&b| !is_label_name_byte(b))
                    .unwrap_or(rest.len());
                if end == 0 || rest[0].is_ascii_digit() {
                    return Err(Reason::LabelName);
                }
                (trim_start(&rest[end..]), None)
            }
        };
        rest = match (after_name.strip_prefix(b"="), quoted) {
            (Some(value), _) => {
                if quoted.is_some_and(<[u8]>::is_empty) {
                    return Err(Reason::LabelName);
                }
                let value = trim_start(value).strip_prefix(b"\"").ok_or(Reason::LabelSyntax)?;
                take_quoted(value).ok_or(Reason::Unterminated)?.1
            }
            (None, Some(name)) if metric_name.is_none() => {
                metric_name = Some(name);
                after_name
            }
            (None, _) => return Err(Reason::LabelSyntax),
        };
        rest = trim_start(rest);
        match rest.first() {
            Some(b',') => rest = trim_start(&rest[1..]),
            Some(b'}') => {}
            _ => return Err(Reason::LabelSyntax),
        }
    }
}

/// Splits off the metric name at the start; it is empty if there is none.
pub(crate) fn take_metric_name(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|&b| !(is_label_name_byte(b) || b == b':'))
        .unwrap_or(text.len());
    if text.first().is_some_and(u8::is_ascii_digit) {
        text.split_at(0)
    } else {
        text.split_at(end)
    }
}

fn take_value(text: &[u8]) -> Option<(f64, &[u8])> {
    let (token, rest) = take_token(text);
    Some((float::parse(token)?, rest))
}

/// Splits off everything up to the next space or tab.
pub(crate) fn take_token(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| is_space(b)).unwrap_or(text.len());
    text.split_at(end)
}

pub(crate) fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| !is_space(b)).unwrap_or(text.len());
    &text[start..]
}

pub(crate) fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_label_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
