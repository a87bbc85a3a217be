//! The parser's output. Everything borrows from the page; texts are unescaped only on request.

use std::borrow::Cow;

use crate::kind::{Kind, Role};
use crate::labels::Labels;
use crate::name::{Name, unescape};

/// One step through a page.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A sample line.
    Sample(Sample<'a>),
    /// A `# TYPE` line.
    Type {
        /// The family.
        family: Name<'a>,
        /// Its kind.
        kind: Kind,
    },
    /// A `# HELP` line.
    Help {
        /// The family.
        family: Name<'a>,
        /// The text, still escaped; [`Event::help_text`] unescapes it.
        escaped: &'a [u8],
    },
    /// A `# UNIT` line (OpenMetrics).
    Unit {
        /// The family.
        family: Name<'a>,
        /// The unit, for example `seconds`.
        unit: &'a [u8],
    },
    /// `# EOF`: the OpenMetrics page is complete.
    Eof,
    /// A line that could not be read. The lines after it are not affected.
    Bad(LineError<'a>),
}

impl<'a> Event<'a> {
    /// The text of a [`Event::Help`] with escapes resolved; `None` for any other event.
    pub fn help_text(&self) -> Option<Cow<'a, str>> {
        match *self {
            Self::Help { escaped, .. } => Some(unescape(escaped)),
            _ => None,
        }
    }
}

/// One sample line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// `name{labels}` exactly as written. Equal bytes are the same series, so this is the key to intern by.
    /// The same series written with other spacing or label order has different bytes, and can only be
    /// recognised by its labels.
    pub series: &'a [u8],
    /// The sample's name, suffixes included: `ttft_seconds_bucket`.
    pub name: Name<'a>,
    /// The labels, parsed when iterated.
    pub labels: Labels<'a>,
    /// The value; `NaN` and infinities as exposed.
    pub value: f64,
    /// The timestamp set by the source, nanoseconds since the Unix epoch; rare, and never added here.
    pub timestamp_ns: Option<i64>,
    /// The family it belongs to: `ttft_seconds`. The sample's own name if no `# TYPE` line covers it.
    pub family: Name<'a>,
    /// The family's kind, [`Kind::Unknown`] if no `# TYPE` line covers it.
    pub kind: Kind,
    /// The sample's role within its family.
    pub role: Role,
    /// The text after the `#` of an exemplar, already validated. Kept as text, since few samples have one and
    /// every sample is moved.
    pub(crate) exemplar: Option<&'a [u8]>,
}

/// One request or event chosen by the source as an exemplar of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    /// Its labels, typically a trace id.
    pub labels: Labels<'a>,
    /// Its value.
    pub value: f64,
    /// When it happened, nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
}

/// A line that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LineError<'a> {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: Reason,
    /// The line as written in the page, without its end.
    pub text: &'a [u8],
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The line does not begin with a metric name.
    #[error("no metric name at the start")]
    Name,
    /// Inside the braces a label name was expected.
    #[error("no label name where one belongs")]
    LabelName,
    /// A label name is not followed by `="`, or a value not by `,` or `}`.
    #[error("labels are not of the form {{name=\"value\",…}}")]
    LabelSyntax,
    /// A quoted text does not end on this line.
    #[error("a quoted text does not end on its line")]
    Unterminated,
    /// A name, label or unit is not UTF-8.
    #[error("not utf-8")]
    Encoding,
    /// There is no value, or it is not a number.
    #[error("the value is not a number")]
    Value,
    /// The timestamp is not a number, or is outside the years 1677 to 2262.
    #[error("the timestamp is not a number between the years 1677 and 2262")]
    Timestamp,
    /// The text after `#` is not an exemplar.
    #[error("the exemplar is not of the form {{labels}} value timestamp")]
    Exemplar,
    /// There is additional text after a complete sample.
    #[error("unexpected text after the sample")]
    Trailing,
    /// A `# TYPE`, `# HELP` or `# UNIT` line without a family name.
    #[error("metadata line without a family name")]
    MetadataName,
    /// A `# TYPE` line with a word that is not a type.
    #[error("not a metric type")]
    Type,
    /// An OpenMetrics page continues after `# EOF`.
    #[error("text after the end mark # EOF")]
    AfterEof,
    /// An OpenMetrics page ends without `# EOF`: it was truncated.
    #[error("the page ends without # EOF and may have been cut")]
    MissingEof,
}
