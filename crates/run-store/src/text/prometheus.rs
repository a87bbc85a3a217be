//! Prometheus text with a timestamp on every sample, and comments for what that format cannot express.
//!
//! The header declares each family (`# HELP`, `# TYPE`, `# UNIT`), followed by the samples in order of time.
//! A comment `# vllm_metrics scrape {…}` before a group of samples contains their time to the nanosecond,
//! source, endpoint and phase; names and labels stay as scraped. A series that its family's declaration does
//! not fully describe (an info metric, the same name with another type elsewhere) has a comment `#
//! vllm_metrics series {…}` in the header.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use exposition::{Event, Format, Parser};
use serde::{Deserialize, Serialize};

use super::super::assemble::Assembler;
use run_model::labels;
use run_model::{HelpTexts, MetricType, SeriesDef};

/// Prefix of the comment before a group of samples.
pub(crate) const MARK: &str = "# vllm_metrics scrape ";
/// Prefix of the comment that fully describes one series.
const SERIES: &str = "# vllm_metrics series ";

/// Common properties of a group of samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    time_ns: i64,
    source: Arc<str>,
    endpoint_url: Arc<str>,
    phase: Arc<str>,
}

/// A series as written in the header's comment.
#[derive(Serialize, Deserialize)]
struct FullSeries {
    metric_name: Arc<str>,
    labels: Arc<str>,
    metric_type: String,
    unit: Arc<str>,
    source: Arc<str>,
    endpoint_url: Arc<str>,
}

/// Declared families by name: type and unit.
#[derive(Debug, Default)]
struct Families {
    known: HashMap<String, (MetricType, Arc<str>)>,
}

impl Families {
    /// Finds the declared family of `name`: its own first, then that of a histogram or summary.
    fn resolve(&self, name: &str) -> Option<&(MetricType, Arc<str>)> {
        self.known.get(name).or_else(|| {
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let family = self.known.get(name.strip_suffix(suffix)?)?;
                let fits = family.0 == MetricType::Histogram
                    || (family.0 == MetricType::Summary && *suffix != "_bucket");
                fits.then_some(family)
            })
        })
    }
}

/// Name under which a series' family is declared.
pub fn family_name(def: &SeriesDef) -> &str {
    let suffixes: &[&str] = match def.metric_type {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes
        .iter()
        .find_map(|suffix| def.metric_name.strip_suffix(suffix))
        .unwrap_or(&def.metric_name)
}

/// The type name after `# TYPE`.
pub fn type_word(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Info => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::Unknown => "untyped",
    }
}

fn from_type_word(word: &str) -> Option<MetricType> {
    if word == "untyped" {
        Some(MetricType::Unknown)
    } else {
        MetricType::from_text(word)
    }
}

fn is_classic(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    name.bytes()
        .enumerate()
        .all(|(at, byte)| rest(byte) && (at > 0 || !byte.is_ascii_digit()))
        && !name.is_empty()
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

fn one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

/// Writes the header and keeps the declared families.
#[derive(Debug, Default)]
pub(crate) struct Header {
    families: Families,
    help: HelpTexts,
}

impl Header {
    /// Keeps what a server says about a family, for its declaration.
    pub(crate) fn help(&mut self, family: &str, text: &str) {
        self.help.add(family, text);
    }

    /// Declares a series in `header`; returns the text of its lines up to the value.
    pub(crate) fn declare(&mut self, def: &SeriesDef, header: &mut Vec<u8>) -> Result<String, String> {
        let labels: BTreeMap<String, String> = serde_json::from_str(&def.labels).map_err(|error| {
            format!(
                "labels of {} are not a JSON object of strings: {error}",
                def.metric_name
            )
        })?;
        let family = family_name(def);
        let mut text = String::new();
        let declarable = is_classic(family) && one_line(&def.unit);
        if declarable
            && self.families.resolve(&def.metric_name).is_none()
            && !self.families.known.contains_key(family)
        {
            let word = type_word(def.metric_type);
            let help = match self.help.of(&def.metric_name) {
                Some(help) => help.replace('\\', "\\\\"),
                None => format!("Recorded from {}.", escape(&def.source).replace('\r', " ")),
            };
            let _ = writeln!(text, "# HELP {family} {help}");
            let _ = writeln!(text, "# TYPE {family} {word}");
            if !def.unit.is_empty() {
                let _ = writeln!(text, "# UNIT {family} {}", def.unit);
            }
            let read_back = from_type_word(word).unwrap_or(MetricType::Unknown);
            self.families
                .known
                .insert(family.to_owned(), (read_back, Arc::clone(&def.unit)));
        }
        let described = self.families.resolve(&def.metric_name)
            == Some(&(def.metric_type, Arc::clone(&def.unit)))
            && *labels::write(&labels) == *def.labels;
        if !described {
            let full = FullSeries {
                metric_name: Arc::clone(&def.metric_name),
                labels: Arc::clone(&def.labels),
                metric_type: def.metric_type.as_str().to_owned(),
                unit: Arc::clone(&def.unit),
                source: Arc::clone(&def.source),
                endpoint_url: Arc::clone(&def.endpoint_url),
            };
            let json = serde_json::to_string(&full).expect("a struct of texts always serialises");
            let _ = writeln!(text, "{SERIES}{json}");
        }
        header.extend_from_slice(text.as_bytes());
        Ok(line_start(&def.metric_name, &labels))
    }
}

/// Returns `name{labels} `, using the newer quoted form for names that the classic format does not support.
/// Carriage returns, which end a line for some readers, are legal inside quotes.
pub fn line_start(name: &str, labels: &BTreeMap<String, String>) -> String {
    let mut parts = Vec::with_capacity(labels.len() + 1);
    let classic = is_classic(name);
    if !classic {
        parts.push(format!("\"{}\"", escape(name)));
    }
    for (key, value) in labels {
        if is_classic(key) && !key.contains(':') {
            parts.push(format!("{key}=\"{}\"", escape(value)));
        } else {
            parts.push(format!("\"{}\"=\"{}\"", escape(key), escape(value)));
        }
    }
    let name = if classic { name } else { "" };
    if parts.is_empty() {
        format!("{name} ")
    } else {
        format!("{name}{{{}}} ", parts.join(","))
    }
}

/// Writes samples, and a group's comment whenever its content changes.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    group: Group,
}

impl Lines {
    /// `fresh` forces the comment, for the first sample of a file.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        (def, line_start): (&SeriesDef, &str),
        (time_ns, value, phase): (i64, f64, &Arc<str>),
        fresh: bool,
    ) {
        let same = self.group.time_ns == time_ns
            && self.group.source == def.source
            && self.group.endpoint_url == def.endpoint_url
            && self.group.phase == *phase;
        if fresh || !same {
            self.group = Group {
                time_ns,
                source: Arc::clone(&def.source),
                endpoint_url: Arc::clone(&def.endpoint_url),
                phase: Arc::clone(phase),
            };
            out.extend_from_slice(MARK.as_bytes());
            let json =
                serde_json::to_vec(&self.group).expect("a struct of texts and numbers always serialises");
            out.extend_from_slice(&json);
            out.push(b'\n');
        }
        out.extend_from_slice(line_start.as_bytes());
        let value = exposition::format_float(value);
        out.extend_from_slice(format!("{value} {}\n", time_ns.div_euclid(1_000_000)).as_bytes());
    }
}

/// Reads samples. Without our comments (a file of another tool), the lines' own timestamps are used.
pub(crate) fn read_samples(bytes: &[u8], run: &mut Assembler) -> Result<(), String> {
    let mut reader = Reader::default();
    // Our comments are separate lines; the text between two of them is parsed as one page.
    let mut page_start = 0;
    let mut line_start = 0;
    let (mut lines, mut page_lines) = (0, 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let (mark, series) = (
            line.strip_prefix(MARK.as_bytes()),
            line.strip_prefix(SERIES.as_bytes()),
        );
        if mark.is_some() || series.is_some() {
            reader.page(&bytes[page_start..line_start], page_lines, run)?;
            page_start = line_start + line.len();
            page_lines = lines + 1;
        }
        lines += 1;
        let comment = |error: serde_json::Error, what| {
            let reason = super::without_line(&error);
            format!(
                "line {lines}: the comment about a {what} is damaged: {reason}; correct or delete that line"
            )
        };
        if let Some(json) = mark {
            reader.group = Some(serde_json::from_slice(json).map_err(|error| comment(error, "scrape"))?);
        }
        if let Some(json) = series {
            reader.series(json).map_err(|error| comment(error, "series"))?;
        }
        line_start += line.len();
    }
    reader.page(&bytes[page_start..], page_lines, run)
}

/// Source and endpoint.
type Place = (Arc<str>, Arc<str>);
/// Source, endpoint, name and labels of a series.
type Key = (Arc<str>, Arc<str>, String, Arc<str>);

#[derive(Default)]
struct Reader {
    families: Families,
    full: HashMap<Key, Arc<SeriesDef>>,
    /// Series by their line text, within one source and endpoint.
    known: HashMap<Place, HashMap<Vec<u8>, usize>>,
    group: Option<Group>,
}

impl Reader {
    fn series(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let full: FullSeries = serde_json::from_slice(json)?;
        let labels: BTreeMap<String, String> = serde_json::from_str(&full.labels)?;
        let key = (
            Arc::clone(&full.source),
            Arc::clone(&full.endpoint_url),
            full.metric_name.to_string(),
            labels::write(&labels),
        );
        let def = SeriesDef {
            metric_name: full.metric_name,
            labels: full.labels,
            metric_type: MetricType::from_text(&full.metric_type).unwrap_or(MetricType::Unknown),
            unit: full.unit,
            source: full.source,
            endpoint_url: full.endpoint_url,
        };
        self.full.insert(key, Arc::new(def));
        Ok(())
    }

    /// Reads the samples of a part of the file, which has `lines_before`.
    fn page(&mut self, page: &[u8], lines_before: u64, run: &mut Assembler) -> Result<(), String> {
        let group = self.group.clone();
        let (source, endpoint) = group
            .as_ref()
            .map(|g| (Arc::clone(&g.source), Arc::clone(&g.endpoint_url)))
            .unwrap_or_default();
        let phase = run.phase(group.as_ref().map_or("", |group| &group.phase));
        for event in Parser::new(page, Format::Text) {
            match event {
                Event::Type { family, kind } => {
                    let metric_type = from_type_word(kind.word(Format::Text)).unwrap_or(MetricType::Unknown);
                    let family = self.families.known.entry(family.text().into_owned());
                    family.or_insert_with(|| (metric_type, Arc::from("")));
                }
                Event::Unit { family, unit } => {
                    let unit = String::from_utf8_lossy(unit);
                    if let Some(family) = self.families.known.get_mut(family.text().as_ref()) {
                        family.1 = Arc::from(unit.as_ref());
                    }
                }
                Event::Sample(sample) => {
                    let time_ns = match (&group, sample.timestamp_ns) {
                        (Some(group), _) => group.time_ns,
                        (None, Some(time_ns)) => time_ns,
                        (None, None) => {
                            return Err(format!("a sample of {:?} has no timestamp", sample.name));
                        }
                    };
                    let place = (Arc::clone(&source), Arc::clone(&endpoint));
                    let series = match self.known.get(&place).and_then(|known| known.get(sample.series)) {
                        Some(&series) => series,
                        None => {
                            let series = run.series(self.define(&sample, &place));
                            self.known
                                .entry(place)
                                .or_default()
                                .insert(sample.series.to_vec(), series);
                            series
                        }
                    };
                    run.push(series, time_ns, sample.value, phase);
                }
                Event::Bad(mut error) => {
                    error.line += lines_before;
                    return Err(format!("{error}; correct or delete that line"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn define(
        &self,
        sample: &exposition::Sample<'_>,
        (source, endpoint_url): &(Arc<str>, Arc<str>),
    ) -> SeriesDef {
        let labels: BTreeMap<String, String> = sample
            .labels
            .iter()
            .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
            .collect();
        let labels = labels::write(&labels);
        let name = sample.name.text().into_owned();
        let key = (Arc::clone(source), Arc::clone(endpoint_url), name, labels);
        if let Some(def) = self.full.get(&key) {
            return SeriesDef::clone(def);
        }
        let (_, _, name, labels) = key;
        let (metric_type, unit) = self
            .families
            .resolve(&name)
            .cloned()
            .unwrap_or((MetricType::Unknown, Arc::from("")));
        SeriesDef {
            metric_name: name.into(),
            labels,
            metric_type,
            unit,
            source: Arc::clone(source),
            endpoint_url: Arc::clone(endpoint_url),
        }
    }
}
