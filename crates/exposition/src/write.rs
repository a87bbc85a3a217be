//! The writer: families and samples as text in either format.

use crate::float::{write_float, write_seconds};
use crate::kind::{Format, Kind, Role};

/// Writes one page, family by family.
///
/// Names that the classic formats do not allow are written in the newer quoted form. What the text format
/// lacks is written in the closest form: an info family or a state set as a gauge, a gauge histogram as
/// untyped, an exemplar not at all ([`Writer::exemplars_left_out`] counts them).
///
/// ```
/// use exposition::{Format, FamilyHeader, Kind, Role, SampleLine, Writer};
///
/// let mut writer = Writer::new(Format::Text);
/// writer.family(&FamilyHeader { help: Some("Tokens made."), ..FamilyHeader::new("tokens_total", Kind::Counter) })?;
/// writer.sample(&SampleLine { labels: &[("engine", "0")], ..SampleLine::new(Role::Value, 3.0) })?;
/// assert_eq!(
///     writer.finish(),
///     "# HELP tokens_total Tokens made.\n# TYPE tokens_total counter\ntokens_total{engine=\"0\"} 3.0\n"
/// );
/// # Ok::<(), exposition::WriteError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Writer {
    out: String,
    format: Format,
    /// Family name as declared on the page, and its kind; empty before the first family.
    declared: String,
    kind: Kind,
    exemplars_left_out: u64,
}

/// The metadata of a family.
#[derive(Debug, Clone, Copy)]
pub struct FamilyHeader<'a> {
    /// The family's name. A counter may be given with or without `_total`, an info family with or without
    /// `_info`. OpenMetrics declares the name without the suffix and samples it with it; the text format uses
    /// the suffix in both.
    pub name: &'a str,
    /// The family's kind.
    pub kind: Kind,
    /// One sentence for a person; `None` writes no `# HELP` line.
    pub help: Option<&'a str>,
    /// Base unit such as `seconds`; `None` writes no `# UNIT` line. OpenMetrics requires that the name end in
    /// it.
    pub unit: Option<&'a str>,
}

impl<'a> FamilyHeader<'a> {
    /// A family without help and unit.
    pub fn new(name: &'a str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            help: None,
            unit: None,
        }
    }
}

/// One sample of the family declared last.
#[derive(Debug, Clone, Copy)]
pub struct SampleLine<'a> {
    /// The sample's role within its family; determines the suffix of its name.
    pub role: Role,
    /// Labels in output order: names and values, unescaped.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: f64,
    /// Nanoseconds since the Unix epoch, rarely needed. The text format keeps whole milliseconds of it.
    pub timestamp_ns: Option<i64>,
    /// The exemplar.
    pub exemplar: Option<ExemplarLine<'a>>,
}

/// One exemplar of a sample.
#[derive(Debug, Clone, Copy)]
pub struct ExemplarLine<'a> {
    /// Labels in output order: names and values, unescaped.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its value.
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
}

impl SampleLine<'_> {
    /// A sample without labels, timestamp and exemplar.
    pub fn new(role: Role, value: f64) -> Self {
        Self {
            role,
            labels: &[],
            value,
            timestamp_ns: None,
            exemplar: None,
        }
    }
}

/// Why something cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A family or a label has no name.
    #[error("a family or label of {family:?} has an empty name; every one needs at least one character")]
    EmptyName {
        /// The family concerned, empty if it is the one without a name.
        family: String,
    },
    /// A sample before any family.
    #[error("a sample was written before any family; declare its family first")]
    NoFamily,
    /// The family's kind has no such sample in this format.
    #[error("family {family:?} is a {kind:?}, which has no {role:?} sample in this format")]
    Role {
        /// The family concerned.
        family: String,
        /// Its kind.
        kind: Kind,
        /// The role that was to be written.
        role: Role,
    },
    /// Two families of one name on a page: the second would change the type of the first one's samples.
    #[error("family {family:?} occurs twice on the page; merge the two")]
    Twice {
        /// The name as written in the format.
        family: String,
    },
    /// A unit that is empty or has several words, or that the name does not end in (OpenMetrics only).
    #[error("the unit {unit:?} of family {family:?} is not one word, or not the end of the family's name")]
    Unit {
        /// The family concerned.
        family: String,
        /// The unit.
        unit: String,
    },
}

impl Writer {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Self {
            out: String::new(),
            format,
            declared: String::new(),
            kind: Kind::Unknown,
            exemplars_left_out: 0,
        }
    }

    /// Begins a family.
    ///
    /// # Errors
    /// An empty name, or a unit that the format does not allow. Nothing is written then.
    pub fn family(&mut self, header: &FamilyHeader<'_>) -> Result<(), WriteError> {
        let declared = declared_name(self.format, header);
        if declared.is_empty() {
            return Err(WriteError::EmptyName {
                family: String::new(),
            });
        }
        if let Some(unit) = header.unit {
            let one_word = !unit.is_empty() && !unit.contains(char::is_whitespace);
            let ends_name = declared
                .strip_suffix(unit)
                .is_some_and(|stem| stem.ends_with('_'));
            if !one_word || (self.format == Format::OpenMetrics && !ends_name) {
                return Err(WriteError::Unit {
                    family: declared,
                    unit: unit.to_owned(),
                });
            }
        }
        self.declared = declared;
        self.kind = header.kind;

        if let Some(help) = header.help {
            self.metadata("HELP");
            // The text format does not escape quotes here.
            escape(&mut self.out, help, self.format == Format::OpenMetrics);
            self.out.push('\n');
        }
        self.metadata("TYPE");
        self.out.push_str(header.kind.word(self.format));
        self.out.push('\n');
        if let Some(unit) = header.unit {
            self.metadata("UNIT");
            self.out.push_str(unit);
            self.out.push('\n');
        }
        Ok(())
    }

    /// Writes one sample of the family declared last.
    ///
    /// # Errors
    /// No family yet, a role that its kind does not have, or an empty label name. Nothing is written then.
    pub fn sample(&mut self, sample: &SampleLine<'_>) -> Result<(), WriteError> {
        if self.declared.is_empty() {
            return Err(WriteError::NoFamily);
        }
        let suffix = self.suffix(sample.role)?;
        let exemplar_labels = sample.exemplar.map_or(&[][..], |exemplar| exemplar.labels);
        if sample
            .labels
            .iter()
            .chain(exemplar_labels)
            .any(|(name, _)| name.is_empty())
        {
            return Err(WriteError::EmptyName {
                family: self.declared.clone(),
            });
        }

        let out = &mut self.out;
        if is_classic(&self.declared, true) {
            out.push_str(&self.declared);
            out.push_str(suffix);
            if !sample.labels.is_empty() {
                out.push('{');
                write_labels(out, sample.labels);
                out.push('}');
            }
        } else {
            out.push_str("{\"");
            escape(out, &self.declared, true);
            out.push_str(suffix);
            out.push('"');
            if !sample.labels.is_empty() {
                out.push(',');
                write_labels(out, sample.labels);
            }
            out.push('}');
        }
        out.push(' ');
        write_float(out, sample.value);
        if let Some(ns) = sample.timestamp_ns {
            out.push(' ');
            match self.format {
                Format::Text => out.push_str(&ns.div_euclid(1_000_000).to_string()),
                Format::OpenMetrics => write_seconds(out, ns),
            }
        }
        match (sample.exemplar, self.format) {
            (None, _) => {}
            (Some(_), Format::Text) => self.exemplars_left_out += 1,
            (
                Some(ExemplarLine {
                    labels,
                    value,
                    timestamp_ns,
                }),
                Format::OpenMetrics,
            ) => {
                out.push_str(" # {");
                write_labels(out, labels);
                out.push_str("} ");
                write_float(out, value);
                if let Some(ns) = timestamp_ns {
                    out.push(' ');
                    write_seconds(out, ns);
                }
            }
        }
        out.push('\n');
        Ok(())
    }

    /// Number of exemplars that were not written because the text format has none.
    pub fn exemplars_left_out(&self) -> u64 {
        self.exemplars_left_out
    }

    /// The page, terminated as its format requires.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// `# KEYWORD family `.
    fn metadata(&mut self, keyword: &str) {
        self.out.push_str("# ");
        self.out.push_str(keyword);
        self.out.push(' ');
        write_name(&mut self.out, &self.declared, true);
        self.out.push(' ');
    }

    /// The suffix of a sample of this role after the declared name.
    fn suffix(&self, role: Role) -> Result<&'static str, WriteError> {
        let suffix = match (self.format, self.kind, role) {
            (Format::OpenMetrics, Kind::Counter, Role::Value | Role::Total) => "_total",
            (Format::OpenMetrics, Kind::Info, Role::Value | Role::Info) => "_info",
            (Format::Text, Kind::Info, Role::Info | Role::Value) => "",
            (Format::Text, Kind::Counter, Role::Total) if self.declared.ends_with("_total") => "",
            (Format::Text, Kind::Counter, Role::Total) => return Err(self.refused(role)),
            _ => role.suffix(self.kind),
        };
        let written_as_gauge = self.format == Format::Text && self.kind == Kind::Info;
        if !written_as_gauge && Role::resolve(self.kind, suffix.as_bytes()).is_none() {
            return Err(self.refused(role));
        }
        if role == Role::Quantile && self.kind != Kind::Summary
            || role == Role::Value && self.kind == Kind::Summary
        {
            return Err(self.refused(role));
        }
        Ok(suffix)
    }

    fn refused(&self, role: Role) -> WriteError {
        WriteError::Role {
            family: self.declared.clone(),
            kind: self.kind,
            role,
        }
    }
}

/// The family's name in the format's `# TYPE` line.
pub(crate) fn declared_name(format: Format, header: &FamilyHeader<'_>) -> String {
    let name = header.name;
    match (format, header.kind) {
        (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name).to_owned(),
        (Format::OpenMetrics, Kind::Info) => name.strip_suffix("_info").unwrap_or(name).to_owned(),
        (Format::Text, Kind::Info) if !name.ends_with("_info") => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

fn write_labels(out: &mut String, labels: &[(&str, &str)]) {
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_name(out, name, false);
        out.push_str("=\"");
        escape(out, value, true);
        out.push('"');
    }
}

fn write_name(out: &mut String, name: &str, colon_allowed: bool) {
    if is_classic(name, colon_allowed) {
        out.push_str(name);
    } else {
        out.push('"');
        escape(out, name, true);
        out.push('"');
    }
}

/// True for `[a-zA-Z_][a-zA-Z0-9_]*`, with `:` as a further letter in metric names.
fn is_classic(name: &str, colon_allowed: bool) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon_allowed && b == b':'))
}

fn escape(out: &mut String, text: &str, quotes_too: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes_too => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}
