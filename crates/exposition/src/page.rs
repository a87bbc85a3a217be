//! A whole page as owned data that can be changed, kept or compared. It allocates for every sample; scrapers
//! should use [`Parser`].

use std::collections::{HashMap, HashSet};

use crate::event::{Event, LineError, Sample};
use crate::kind::{Format, Kind, Role};
use crate::labels::Labels;
use crate::parse::Parser;
use crate::write::{ExemplarLine, FamilyHeader, SampleLine, WriteError, Writer, declared_name};

/// Every family of a page, in the order of first mention.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The families.
    pub families: Vec<Family>,
}

/// One family with its samples in page order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// The family's name: without `_total` for an OpenMetrics counter, with it in the text format.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The help text, unescaped.
    pub help: Option<String>,
    /// The unit.
    pub unit: Option<String>,
    /// Its samples.
    pub points: Vec<Point>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its role within the family.
    pub role: Role,
    /// Names and values, unescaped, as written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
    /// Its exemplar.
    pub exemplar: Option<PointExemplar>,
}

/// An exemplar of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct PointExemplar {
    /// Names and values, unescaped, as written.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
}

impl Page {
    /// Parses a page and returns it with the lines that could not be parsed.
    pub fn parse(page: &[u8], format: Format) -> (Self, Vec<LineError<'_>>) {
        let mut builder = Builder::default();
        let mut bad = Vec::new();
        for event in Parser::new(page, format) {
            match event {
                Event::Type { family, kind } => builder.family(&family.text()).kind = kind,
                Event::Help { family, .. } => {
                    let help = event.help_text().map(Into::into);
                    builder.family(&family.text()).help = help;
                }
                Event::Unit { family, unit } => {
                    builder.family(&family.text()).unit = Some(String::from_utf8_lossy(unit).into_owned());
                }
                Event::Sample(sample) => builder
                    .family(&sample.family.text())
                    .points
                    .push(Point::from(&sample)),
                Event::Eof => {}
                Event::Bad(error) => bad.push(error),
            }
        }
        (
            Self {
                families: builder.families,
            },
            bad,
        )
    }

    /// Writes the page in either format. Counters and info families are renamed as the format requires.
    ///
    /// # Errors
    /// The errors of [`Writer`]: empty names, a unit that OpenMetrics does not allow, a sample that its
    /// family cannot have; and two families that have one name in this format, such as an OpenMetrics counter
    /// and an untyped sample.
    pub fn write(&self, format: Format) -> Result<String, WriteError> {
        let mut writer = Writer::new(format);
        let mut declared = HashSet::new();
        for family in &self.families {
            let with_total;
            let from_openmetrics =
                family.kind == Kind::Counter && family.points.iter().any(|p| p.role == Role::Total);
            let name = if format == Format::Text && from_openmetrics && !family.name.ends_with("_total") {
                with_total = format!("{}_total", family.name);
                &with_total
            } else {
                &family.name
            };
            let (help, unit) = (family.help.as_deref(), family.unit.as_deref());
            let header = FamilyHeader {
                name,
                kind: family.kind,
                help,
                unit,
            };
            let name = declared_name(format, &header);
            if declared.contains(&name) {
                return Err(WriteError::Twice { family: name });
            }
            declared.insert(name);
            writer.family(&header)?;
            for point in &family.points {
                let labels = borrowed(&point.labels);
                let exemplar_labels = point
                    .exemplar
                    .as_ref()
                    .map_or_else(Vec::new, |e| borrowed(&e.labels));
                writer.sample(&SampleLine {
                    role: point.role,
                    labels: &labels,
                    value: point.value,
                    timestamp_ns: point.timestamp_ns,
                    exemplar: point.exemplar.as_ref().map(|e| ExemplarLine {
                        labels: &exemplar_labels,
                        value: e.value,
                        timestamp_ns: e.timestamp_ns,
                    }),
                })?;
            }
        }
        Ok(writer.finish())
    }
}

impl From<&Sample<'_>> for Point {
    fn from(sample: &Sample<'_>) -> Self {
        Self {
            role: sample.role,
            labels: owned(sample.labels),
            value: sample.value,
            timestamp_ns: sample.timestamp_ns,
            exemplar: sample.exemplar().map(|e| PointExemplar {
                labels: owned(e.labels),
                value: e.value,
                timestamp_ns: e.timestamp_ns,
            }),
        }
    }
}

fn owned(labels: Labels<'_>) -> Vec<(String, String)> {
    labels
        .iter()
        .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
        .collect()
}

fn borrowed(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[derive(Default)]
struct Builder {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

impl Builder {
    fn family(&mut self, name: &str) -> &mut Family {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => {
                let index = self.families.len();
                self.by_name.insert(name.to_owned(), index);
                self.families.push(Family {
                    name: name.to_owned(),
                    ..Family::default()
                });
                index
            }
        };
        &mut self.families[index]
    }
}
