//! Turns values into samples: interns series by name and labels, reads files, and tracks absent ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use run_model::EventKind;
use run_model::SampleSink;
use run_model::{EventRow, MetricType, Sample, SampleBatch, SeriesDef, SeriesId, Severity};

/// Collects the samples of one tick.
pub(crate) struct Emitter<'s> {
    pub(crate) sink: &'s mut dyn SampleSink,
    source: &'static str,
    root: PathBuf,
    ids: HashMap<&'static str, HashMap<String, SeriesId>>,
    key: String,
    buffer: String,
    samples: Vec<Sample>,
    start_ns: i64,
    absent: BTreeSet<String>,
    newly_absent: Vec<String>,
}

impl<'s> Emitter<'s> {
    pub(crate) fn new(sink: &'s mut dyn SampleSink, source: &'static str, root: &Path) -> Self {
        Self {
            sink,
            source,
            root: root.to_owned(),
            ids: HashMap::new(),
            key: String::new(),
            buffer: String::new(),
            samples: Vec::new(),
            start_ns: 0,
            absent: BTreeSet::new(),
            newly_absent: Vec::new(),
        }
    }

    /// Starts a tick; its samples have the current time.
    pub(crate) fn begin(&mut self) {
        self.start_ns = self.sink.now_ns();
    }

    /// Publishes the tick's samples and newly absent files.
    pub(crate) fn end(&mut self) {
        let end_ns = self.sink.now_ns();
        let samples = std::mem::take(&mut self.samples);
        if !samples.is_empty() {
            let more = samples.len();
            self.sink.samples(SampleBatch {
                start_ns: self.start_ns,
                end_ns,
                samples,
                ..SampleBatch::default()
            });
            self.samples.reserve(more);
        }
        if !self.newly_absent.is_empty() {
            let absent = std::mem::take(&mut self.newly_absent);
            let message = format!("this host does not show {}", absent.join(", "));
            self.event(
                EventKind::NotSupported,
                Severity::Info,
                message,
                &serde_json::json!({ "absent": absent }),
            );
        }
    }

    pub(crate) fn gauge(&mut self, name: &'static str, labels: &[(&str, &str)], unit: &str, value: f64) {
        self.put(name, labels, MetricType::Gauge, unit, value);
    }

    pub(crate) fn counter(&mut self, name: &'static str, labels: &[(&str, &str)], unit: &str, value: f64) {
        self.put(name, labels, MetricType::Counter, unit, value);
    }

    pub(crate) fn info(&mut self, name: &'static str, labels: &[(&str, &str)]) {
        self.put(name, labels, MetricType::Info, "", 1.0);
    }

    fn put(
        &mut self,
        name: &'static str,
        labels: &[(&str, &str)],
        metric_type: MetricType,
        unit: &str,
        value: f64,
    ) {
        self.key.clear();
        for (key, value) in labels {
            // Only a key of our own map: two label sets collide only with a NUL in a device's name.
            let _infallible = write!(self.key, "{key}\0{value}\0");
        }
        let known = self.ids.entry(name).or_default();
        let series = match known.get(&self.key) {
            Some(id) => *id,
            None => {
                let sorted: BTreeMap<_, _> = labels.iter().copied().collect();
                let id = self.sink.intern(SeriesDef {
                    metric_name: name.into(),
                    labels: serde_json::json!(sorted).to_string().into(),
                    metric_type,
                    unit: unit.into(),
                    source: self.source.into(),
                    endpoint_url: "".into(),
                });
                known.insert(self.key.clone(), id);
                id
            }
        };
        self.samples.push(Sample {
            series,
            timestamp_ns: self.start_ns,
            value,
        });
    }

    /// Passes the text of a file under the root to `read`. An unreadable file is not tried again.
    pub(crate) fn read(&mut self, path: &str, read: impl FnOnce(&str, &mut Self)) {
        if self.absent.contains(path) {
            return;
        }
        let mut text = std::mem::take(&mut self.buffer);
        text.clear();
        let opened = File::open(self.root.join(path)).and_then(|mut file| file.read_to_string(&mut text));
        match opened {
            Ok(_) => read(&text, self),
            Err(_) => self.note_absent(path),
        }
        self.buffer = text;
    }

    /// Returns the text of a file that may appear or disappear at any time, such as that of a process.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    /// Returns the names in a folder under the root.
    pub(crate) fn list(&self, path: &str) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(path)).ok()?;
        Some(
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
        )
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Records that something is absent; reported once, at the end of the tick.
    pub(crate) fn note_absent(&mut self, what: &str) {
        if self.absent.insert(what.to_owned()) {
            self.newly_absent.push(what.to_owned());
        }
    }

    pub(crate) fn absent(&self) -> Vec<String> {
        self.absent.iter().cloned().collect()
    }

    pub(crate) fn event(
        &mut self,
        kind: EventKind,
        severity: Severity,
        message: String,
        attributes: &serde_json::Value,
    ) {
        let timestamp_ns = self.sink.now_ns();
        self.sink.event(EventRow {
            timestamp_ns,
            end_ns: None,
            kind,
            severity,
            source: self.source.into(),
            message: message.into(),
            attributes: attributes.to_string().into(),
        });
    }
}
