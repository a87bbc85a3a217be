//! Pushgateway: the current value of every series, pushed at each flush under one grouping key.
//!
//! A gateway keeps the last page of each group and rejects timestamps and duplicate series, so the page
//! contains each series once, without a time. Endpoints are distinguished by the label `endpoint_url`. The
//! labels `job` and `instance`, which the gateway sets itself, are kept as `exported_job` and
//! `exported_instance`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use exposition::format_float;
use reqwest::Method;
use url::Url;

use super::SendMonitor;
use super::delivery_thread::{Delivery, DeliveryThread, export_reserved, labels, parse_url};
use run_model::ShownUrl;
use run_model::{Error, Result};
use run_model::{Manifest, MetricType, Record, SeriesDef};
use run_store::prometheus::{family_name, line_start, type_word};
use run_store::{Store, StoreFiles};

/// Pushgateway settings.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushgatewayConfig {
    /// Base URL: `http://gateway:9091`.
    pub url: String,
    /// First part of the grouping key. Must not be empty.
    pub job: String,
    /// Second part of the grouping key; empty to group by job alone.
    pub instance: String,
    /// Delivery settings.
    pub delivery: Delivery,
}

impl std::fmt::Debug for PushgatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushgatewayConfig")
            .field("url", &ShownUrl::from_text(&self.url))
            .field("job", &self.job)
            .field("instance", &self.instance)
            .field("delivery", &self.delivery)
            .finish()
    }
}

impl PushgatewayConfig {
    /// Pushes to `url` as `job`, without an instance.
    pub fn new(url: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            job: job.into(),
            instance: String::new(),
            delivery: Delivery::default(),
        }
    }

    fn endpoint(&self) -> Result<Url> {
        if self.job.is_empty() {
            return Err(Error::config("a Pushgateway needs a job name"));
        }
        let mut url = parse_url(&self.url)?;
        {
            let mut path = url.path_segments_mut().map_err(|()| {
                Error::config(format!(
                    "`{}` cannot be a base URL",
                    ShownUrl::from_text(&self.url)
                ))
            })?;
            path.pop_if_empty().push("metrics");
            let mut parts = vec![("job", &self.job)];
            if !self.instance.is_empty() {
                parts.push(("instance", &self.instance));
            }
            for (name, value) in parts {
                // A path cannot contain an escaped slash; the gateway accepts base64 instead.
                if value.contains('/') {
                    path.push(&format!("{name}@base64"))
                        .push(&base64_url(value.as_bytes()));
                } else {
                    path.push(name).push(value);
                }
            }
        }
        Ok(url)
    }
}

/// URL-safe base64 without padding.
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

struct Current {
    def: Arc<SeriesDef>,
    value: Option<f64>,
}

/// Pushes the current values at each flush.
pub struct PushgatewayStore {
    delivery_thread: DeliveryThread,
    series: Vec<Current>,
    dirty: bool,
}

impl std::fmt::Debug for PushgatewayStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushgatewayStore")
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}

impl PushgatewayStore {
    /// The target URL, without credentials.
    pub fn target(&self) -> &str {
        &self.delivery_thread.target
    }

    /// Starts the sending thread. The monitor shows whether the gateway answers.
    pub fn start(config: &PushgatewayConfig) -> Result<(Self, SendMonitor)> {
        let headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
        // PUT replaces the whole group, so that series that disappeared are removed from the gateway.
        let delivery_thread =
            DeliveryThread::start(Method::PUT, &config.endpoint()?, &headers, &config.delivery)?;
        let monitor = delivery_thread.monitor.clone();
        Ok((
            Self {
                delivery_thread,
                series: Vec::new(),
                dirty: false,
            },
            monitor,
        ))
    }

    /// Returns the page, its number of samples, and the number of samples left out.
    fn page(&self) -> (String, u64, u64) {
        let endpoints: HashSet<_> = self
            .series
            .iter()
            .map(|s| &s.def.endpoint_url)
            .filter(|url| !url.is_empty())
            .collect();
        let mut families: BTreeMap<&str, (MetricType, Vec<String>)> = BTreeMap::new();
        let mut seen = HashSet::new();
        let (mut count, mut left_out) = (0, 0);
        for current in &self.series {
            let (def, Some(value)) = (&current.def, current.value) else {
                continue;
            };
            let mut labels = labels(&def.labels);
            export_reserved(&mut labels, &["job", "instance"]);
            if endpoints.len() > 1 && !def.endpoint_url.is_empty() {
                labels.insert("endpoint_url".into(), def.endpoint_url.to_string());
            }
            let start = line_start(&def.metric_name, &labels);
            let family = families
                .entry(family_name(def))
                .or_insert((def.metric_type, Vec::new()));
            // The gateway rejects a page with a duplicate series or a family of two types.
            if family.0 != def.metric_type || !seen.insert(start.clone()) {
                left_out += 1;
                continue;
            }
            family.1.push(format!("{start}{}\n", format_float(value)));
            count += 1;
        }
        let mut page = String::new();
        for (name, (metric_type, lines)) in families {
            let _ = writeln!(page, "# TYPE {name} {}", type_word(metric_type));
            page.extend(lines);
        }
        (page, count, left_out)
    }
}

impl Store for PushgatewayStore {
    fn write(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Series(_, def) => self.series.push(Current { def, value: None }),
            Record::Samples(batch) => {
                for sample in &batch.samples {
                    if let Some(current) = self.series.get_mut(sample.series.0 as usize) {
                        current.value = Some(sample.value);
                        self.dirty = true;
                    }
                }
            }
            // A gateway stores gauges and counters only, not rows.
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if std::mem::take(&mut self.dirty) {
            let (page, samples, left_out) = self.page();
            self.delivery_thread.monitor.dropped(left_out);
            self.delivery_thread.send(page.into_bytes(), samples);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Manifest) -> Result<StoreFiles> {
        self.flush()?;
        self.delivery_thread.finish()?;
        Ok(StoreFiles::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouping_keys_become_paths() {
        let path = |job: &str, instance: &str| {
            let mut config = PushgatewayConfig::new("http://gateway:9091/base/", job);
            config.instance = instance.into();
            config.endpoint().map(|url| url.to_string())
        };
        assert_eq!(
            path("run", "").unwrap(),
            "http://gateway:9091/base/metrics/job/run"
        );
        assert_eq!(
            path("a b", "h:1").unwrap(),
            "http://gateway:9091/base/metrics/job/a%20b/instance/h:1"
        );
        assert_eq!(
            path("a/b", "").unwrap(),
            "http://gateway:9091/base/metrics/job@base64/YS9i"
        );
        assert!(path("", "").is_err());
    }

    #[test]
    fn base64_has_no_padding() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("f?>~", "Zj8-fg"),
        ] {
            assert_eq!(base64_url(plain.as_bytes()), coded);
        }
    }
}
