//! Prometheus remote write 1.0: samples with times as snappy-compressed protobuf, one request per flush.
//!
//! The protocol has millisecond timestamps. `job` and `instance` are set as by a Prometheus that scrapes the
//! endpoint; scraped labels of these names are kept as `exported_job` and `exported_instance`.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use reqwest::Method;

use super::SendMonitor;
use super::delivery_thread::{Delivery, DeliveryThread, export_reserved, labels, parse_url};
use run_model::ShownUrl;
use run_model::{Error, Result};
use run_model::{Manifest, MetricType, Record, SampleBatch, SeriesDef};
use run_store::prometheus::family_name;
use run_store::{Store, StoreFiles};

/// Receivers reject much larger requests; a larger flush is split.
const SAMPLES_PER_REQUEST: usize = 10_000;

/// Remote write settings.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteWriteConfig {
    /// Full URL: `http://prometheus:9090/api/v1/write`.
    pub url: String,
    /// The label `job`; empty for none.
    pub job: String,
    /// Labels added to every series, such as the run's stamp. A scraped label of the same name is kept as
    /// `exported_…`.
    pub labels: BTreeMap<String, String>,
    /// Delivery settings.
    pub delivery: Delivery,
}

impl std::fmt::Debug for RemoteWriteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWriteConfig")
            .field("url", &ShownUrl::from_text(&self.url))
            .field("job", &self.job)
            .field("labels", &self.labels)
            .field("delivery", &self.delivery)
            .finish()
    }
}

impl RemoteWriteConfig {
    /// Writes to `url` as `job`, without additional labels.
    pub fn new(url: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            job: job.into(),
            labels: BTreeMap::new(),
            delivery: Delivery::default(),
        }
    }
}

/// A request.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    /// Sorted by time.
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp_ms: i64,
}

/// Type numbers as defined by the protocol.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    metric_type: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "5")]
    unit: String,
}

fn type_number(metric_type: MetricType) -> i32 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::Summary => 5,
        MetricType::Info => 6,
    }
}

struct Outgoing {
    /// `None` for a series that a receiver could not distinguish from another one.
    labels: Option<Vec<Label>>,
    /// Samples of the current request.
    points: Vec<Point>,
    last_ms: i64,
}

/// Sends every sample, a request per flush.
pub struct RemoteWriteStore {
    delivery_thread: DeliveryThread,
    config: RemoteWriteConfig,
    series: Vec<Outgoing>,
    /// Label sets in use: a receiver takes equal ones for one series.
    taken: std::collections::HashSet<BTreeMap<String, String>>,
    /// Series with samples in the current request.
    touched: Vec<u32>,
    pending: usize,
    /// Families not announced yet.
    metadata: BTreeMap<String, Metadata>,
    announced: std::collections::HashSet<String>,
}

impl std::fmt::Debug for RemoteWriteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWriteStore")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl RemoteWriteStore {
    /// The target URL, without credentials.
    pub fn target(&self) -> &str {
        &self.delivery_thread.target
    }

    /// Starts the sending thread. The monitor shows whether the receiver answers.
    pub fn start(config: RemoteWriteConfig) -> Result<(Self, SendMonitor)> {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("user-agent", concat!("vllm-metrics/", env!("CARGO_PKG_VERSION"))),
        ];
        let delivery_thread =
            DeliveryThread::start(Method::POST, &parse_url(&config.url)?, &headers, &config.delivery)?;
        let monitor = delivery_thread.monitor.clone();
        let store = Self {
            delivery_thread,
            config,
            series: Vec::new(),
            taken: Default::default(),
            touched: Vec::new(),
            pending: 0,
            metadata: BTreeMap::new(),
            announced: Default::default(),
        };
        Ok((store, monitor))
    }

    fn add_series(&mut self, def: &Arc<SeriesDef>) {
        let mut labels = labels(&def.labels);
        let mut own = self.config.labels.clone();
        if !self.config.job.is_empty() {
            own.insert("job".into(), self.config.job.clone());
        }
        if let Some(instance) = instance(&def.endpoint_url) {
            own.insert("instance".into(), instance);
        }
        let reserved: Vec<_> = own.keys().map(String::as_str).collect();
        export_reserved(&mut labels, &reserved);
        labels.extend(own);
        labels.insert("__name__".into(), def.metric_name.to_string());
        // An empty value is equivalent to no label, and receivers reject it.
        labels.retain(|_, value| !value.is_empty());
        if self.taken.contains(&labels) {
            // Another endpoint of the same host and port, such as one with another path.
            labels.insert("endpoint_url".into(), def.endpoint_url.to_string());
        }
        let own = self.taken.insert(labels.clone()).then_some(labels);
        if own.is_none() {
            tracing::warn!(
                series = %format!("{}{}", def.metric_name, def.labels),
                "the receiver cannot distinguish this series from another one; its samples are not sent"
            );
        }
        let label = |(name, value)| Label { name, value };
        self.series.push(Outgoing {
            labels: own.map(|labels| labels.into_iter().map(label).collect()),
            points: Vec::new(),
            last_ms: i64::MIN,
        });
        let family = family_name(def);
        if self.announced.insert(family.to_owned()) {
            let metadata = Metadata {
                metric_type: type_number(def.metric_type),
                family: family.to_owned(),
                unit: def.unit.to_string(),
            };
            self.metadata.insert(family.to_owned(), metadata);
        }
    }

    fn add_samples(&mut self, batch: &SampleBatch) {
        for sample in &batch.samples {
            let Some(series) = self.series.get_mut(sample.series.0 as usize) else {
                continue;
            };
            let timestamp_ms = sample.timestamp_ns.div_euclid(1_000_000);
            // Receivers reject the whole request if one sample is not newer than the last of its series.
            if timestamp_ms <= series.last_ms || series.labels.is_none() {
                self.delivery_thread.monitor.dropped(1);
                continue;
            }
            series.last_ms = timestamp_ms;
            if series.points.is_empty() {
                self.touched.push(sample.series.0);
            }
            series.points.push(Point {
                value: sample.value,
                timestamp_ms,
            });
            self.pending += 1;
        }
    }

    fn send(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let samples = std::mem::take(&mut self.pending) as u64;
        let series = &mut self.series;
        let timeseries = self.touched.drain(..).map(|index| {
            let series = &mut series[index as usize];
            TimeSeries {
                labels: series.labels.clone().unwrap_or_default(),
                samples: std::mem::take(&mut series.points),
            }
        });
        let request = WriteRequest {
            timeseries: timeseries.collect(),
            metadata: std::mem::take(&mut self.metadata).into_values().collect(),
        };
        let body = snap::raw::Encoder::new()
            .compress_vec(&request.encode_to_vec())
            .map_err(|error| Error::Store {
                target: self.delivery_thread.target.clone(),
                reason: format!("a request of {samples} samples cannot be compressed: {error}"),
            })?;
        self.delivery_thread.send(body, samples);
        Ok(())
    }
}

/// `host:port` of an endpoint, as Prometheus names a target.
fn instance(endpoint_url: &str) -> Option<String> {
    let url = url::Url::parse(endpoint_url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

impl Store for RemoteWriteStore {
    fn write(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Series(_, def) => self.add_series(&def),
            Record::Samples(batch) => {
                self.add_samples(&batch);
                if self.pending >= SAMPLES_PER_REQUEST {
                    self.send()?;
                }
            }
            // The protocol has samples only.
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.send()
    }

    fn finish(mut self: Box<Self>, _: &Manifest) -> Result<StoreFiles> {
        self.send()?;
        self.delivery_thread.finish()?;
        Ok(StoreFiles::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_model::SeriesId;

    #[test]
    fn no_two_series_have_the_same_labels_on_the_wire() {
        let config = RemoteWriteConfig::new("http://127.0.0.1:9/write", "job");
        let (mut store, _monitor) = RemoteWriteStore::start(config).unwrap();
        for (endpoint, labels) in [
            ("http://h:8000/metrics", "{}"),
            ("http://h:8000/other", "{}"),
            ("http://h:8000/metrics", r#"{"x":"1"}"#),
            ("http://h:8001/metrics", "{}"),
            // An empty value is no label: the same as the first two.
            ("http://h:8000/other", r#"{"a":""}"#),
        ] {
            let def = SeriesDef {
                metric_name: "m".into(),
                labels: labels.into(),
                metric_type: MetricType::Gauge,
                unit: "".into(),
                source: "s".into(),
                endpoint_url: endpoint.into(),
            };
            let id = SeriesId(u32::try_from(store.series.len()).unwrap());
            store.write(Record::Series(id, Arc::new(def))).unwrap();
        }
        let sent: Vec<_> = store
            .series
            .iter()
            .filter_map(|series| series.labels.as_ref())
            .collect();
        assert_eq!(sent.len(), 4, "the last one is not sent");
        for (at, labels) in sent.iter().enumerate() {
            assert!(!sent[..at].contains(labels), "{labels:?}");
            assert!(labels.is_sorted_by_key(|label| &label.name), "{labels:?}");
        }
    }
}
