//! The newest samples as one page of the text format.

use std::borrow::Cow;
use std::collections::BTreeMap;

use exposition::{FamilyHeader, Format, Kind, Role, SampleLine, WriteError, Writer};

use crate::recorder::LatestSample;
use run_model::{HelpTexts, MetricType};

/// Help texts of the session's series about itself and its scrapes.
const HELP: &[(&str, &str)] = &[
    ("up", "Whether the last scrape of the endpoint gave samples."),
    (
        "scrape_duration_seconds",
        "Time from request to last byte of the last scrape.",
    ),
    (
        "scrape_parse_seconds",
        "Time spent on the last page after it came: parse and intern.",
    ),
    ("scrape_samples_scraped", "Samples on the last page."),
    ("scrape_body_size_bytes", "Size of the last page."),
    (
        "vllm_metrics_cpu_seconds_total",
        "CPU time of the session's own threads.",
    ),
    (
        "vllm_metrics_hook_duration_seconds",
        "Time that a call of a hook takes, clock reading included.",
    ),
    (
        "vllm_metrics_queue_bytes",
        "Memory of the records that wait to be written.",
    ),
    (
        "vllm_metrics_queue_peak_bytes",
        "The most memory that waiting records ever took.",
    ),
    (
        "vllm_metrics_dropped_total",
        "What was dropped because the store or a hook ring could not keep up.",
    ),
    (
        "vllm_metrics_process_resident_bytes",
        "Memory of the process that the session is part of.",
    ),
];

/// Whether a series was scraped and therefore belongs on `/federate`.
pub(super) fn is_scraped(sample: &LatestSample) -> bool {
    sample.def.source.starts_with("vllm") || sample.def.source.starts_with("prometheus")
}

/// Renders the samples as one page, grouped by family and sorted by name.
pub(super) fn render<'a>(
    samples: impl Iterator<Item = &'a LatestSample>,
    texts: &HelpTexts,
) -> Result<String, WriteError> {
    let mut families: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sample in samples {
        let (family, kind, role) = place(sample);
        families
            .entry((family, KindKey(kind)))
            .or_default()
            .push((role, sample));
    }
    let mut writer = Writer::new(Format::Text);
    for ((family, KindKey(kind)), members) in &families {
        let help = help(family, members[0].1, texts);
        writer.family(&FamilyHeader {
            help: Some(&help),
            ..FamilyHeader::new(family, *kind)
        })?;
        for (role, sample) in members {
            let labels = labels(sample);
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            writer.sample(&SampleLine {
                labels: &labels,
                ..SampleLine::new(*role, sample.value)
            })?;
        }
    }
    Ok(writer.finish())
}

/// Any order of kinds works as long as it is consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KindKey(Kind);

impl Ord for KindKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0
            .word(Format::OpenMetrics)
            .cmp(other.0.word(Format::OpenMetrics))
    }
}

impl PartialOrd for KindKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Derives family, kind and role of a sample from its name and its series' type.
fn place(sample: &LatestSample) -> (Cow<'_, str>, Kind, Role) {
    let name = &*sample.def.metric_name;
    let suffixed = |suffixes: &[(&str, Role)]| {
        suffixes
            .iter()
            .find_map(|(suffix, role)| Some((Cow::Borrowed(name.strip_suffix(suffix)?), *role)))
    };
    match sample.def.metric_type {
        MetricType::Counter => (Cow::Borrowed(name), Kind::Counter, Role::Value),
        MetricType::Gauge | MetricType::Info => (Cow::Borrowed(name), Kind::Gauge, Role::Value),
        MetricType::Unknown => (Cow::Borrowed(name), Kind::Unknown, Role::Value),
        MetricType::Histogram => {
            let parts = [
                ("_bucket", Role::Bucket),
                ("_sum", Role::Sum),
                ("_count", Role::Count),
            ];
            match suffixed(&parts) {
                Some((family, role)) => (family, Kind::Histogram, role),
                None => (Cow::Borrowed(name), Kind::Unknown, Role::Value),
            }
        }
        MetricType::Summary => match suffixed(&[("_sum", Role::Sum), ("_count", Role::Count)]) {
            Some((family, role)) => (family, Kind::Summary, role),
            None => (Cow::Borrowed(name), Kind::Summary, Role::Quantile),
        },
    }
}

fn help<'a>(family: &str, sample: &LatestSample, texts: &'a HelpTexts) -> Cow<'a, str> {
    match HELP.iter().find(|(name, _)| *name == family) {
        Some((_, help)) => Cow::Borrowed(help),
        None => read_from(family, sample, texts),
    }
}

/// What the server says about it, else where it was read.
fn read_from<'a>(family: &str, sample: &LatestSample, texts: &'a HelpTexts) -> Cow<'a, str> {
    match texts.of(family).filter(|_| is_scraped(sample)) {
        Some(help) => Cow::Borrowed(help),
        None if sample.def.unit.is_empty() => Cow::Owned(format!("As read from {}.", sample.def.source)),
        None => Cow::Owned(format!(
            "As read from {}, in {}.",
            sample.def.source, sample.def.unit
        )),
    }
}

/// The series' labels and the endpoint it was scraped from.
fn labels(sample: &LatestSample) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = serde_json::from_str(&sample.def.labels).unwrap_or_default();
    if !sample.def.endpoint_url.is_empty() {
        labels
            .entry("endpoint_url".into())
            .or_insert_with(|| sample.def.endpoint_url.to_string());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_model::SeriesDef;
    use std::sync::Arc;

    fn sample(name: &str, labels: &str, metric_type: MetricType, value: f64) -> LatestSample {
        LatestSample {
            def: Arc::new(SeriesDef {
                metric_name: name.into(),
                labels: labels.into(),
                metric_type,
                unit: "seconds".into(),
                source: "self".into(),
                endpoint_url: "".into(),
            }),
            timestamp_ns: 0,
            value,
        }
    }

    #[test]
    fn families_stand_together_with_help_and_type() {
        let samples = [
            sample("h_count", "{}", MetricType::Histogram, 2.0),
            sample("c_total", r#"{"a":"x\"y"}"#, MetricType::Counter, 1.0),
            sample("h_bucket", r#"{"le":"+Inf"}"#, MetricType::Histogram, 2.0),
            sample(
                "vllm_metrics_hook_duration_seconds",
                r#"{"quantile":"0.5"}"#,
                MetricType::Summary,
                0.5,
            ),
        ];
        let page = render(samples.iter(), &HelpTexts::default()).unwrap();
        let expected = "# HELP c_total As read from self, in seconds.\n\
             # TYPE c_total counter\n\
             c_total{a=\"x\\\"y\"} 1.0\n\
             # HELP h As read from self, in seconds.\n\
             # TYPE h histogram\n\
             h_count 2.0\n\
             h_bucket{le=\"+Inf\"} 2.0\n\
             # HELP vllm_metrics_hook_duration_seconds Time that a call of a hook takes, clock reading included.\n\
             # TYPE vllm_metrics_hook_duration_seconds summary\n\
             vllm_metrics_hook_duration_seconds{quantile=\"0.5\"} 0.5\n";
        assert_eq!(page, expected);
    }
}
