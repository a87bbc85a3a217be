//! Histograms of the server over time.

use std::collections::BTreeSet;

use report_page::model::{Histogram, HistogramColumn};
use vllm_metrics::derive::{histogram, labels};

use crate::analysis::Analysis;

/// Families that are drawn as heat maps, in the order of the page. The buckets of others are in the list of all series.
const TITLES: [(&str, &str); 8] = [
    ("vllm:time_to_first_token_seconds", "Time to first token (server)"),
    ("vllm:inter_token_latency_seconds", "Inter-token latency (server)"),
    ("vllm:iteration_tokens_total", "Tokens per engine step"),
    ("vllm:request_queue_time_seconds", "Time in the server's queue"),
    ("vllm:request_prefill_time_seconds", "Prefill time"),
    ("vllm:request_decode_time_seconds", "Decode time"),
    ("vllm:e2e_request_latency_seconds", "End-to-end latency (server)"),
    (
        "vllm:request_time_per_output_token_seconds",
        "Time per output token (server)",
    ),
];

/// Whether a family is drawn as a heat map.
pub(super) fn is_drawn(family: &str) -> bool {
    TITLES.iter().any(|(name, _)| *name == family)
}

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Histogram> {
    let several = analysis
        .histograms()
        .iter()
        .map(|histogram| &histogram.origin.endpoint_url)
        .collect::<BTreeSet<_>>()
        .len()
        > 1;
    let mut all: Vec<(usize, Histogram)> = analysis
        .histograms()
        .iter()
        .filter_map(|histogram| {
            let place = TITLES.iter().position(|(name, _)| *name == histogram.name)?;
            Some((place, convert(histogram, several)?))
        })
        .collect();
    all.sort_by(|(a, one), (b, other)| (a, &one.id).cmp(&(b, &other.id)));
    let mut seen = BTreeSet::new();
    all.retain(|(_, histogram)| seen.insert(histogram.id.clone()));
    all.into_iter().map(|(_, histogram)| histogram).collect()
}

/// `None` for a histogram that observed nothing during the run.
fn convert(histogram: &histogram::Histogram, several_endpoints: bool) -> Option<Histogram> {
    let mut labels = labels::parse(&histogram.labels);
    if several_endpoints {
        labels.insert(
            super::ENDPOINT_LABEL.to_owned(),
            histogram.origin.endpoint_url.to_string(),
        );
    }
    let bounds: Vec<f64> = histogram
        .bounds
        .iter()
        .copied()
        .filter(|bound| bound.is_finite())
        .collect();
    let columns: Vec<HistogramColumn> = histogram
        .intervals()
        .into_iter()
        .filter(|interval| interval.counts.len() == bounds.len() + 1)
        .map(|interval| HistogramColumn {
            start_ns: interval.start_ns,
            end_ns: interval.end_ns,
            counts: interval.counts.iter().map(|count| count.round() as u64).collect(),
        })
        .collect();
    columns
        .iter()
        .any(|column| column.counts.iter().any(|count| *count > 0))
        .then(|| Histogram {
            id: id(&histogram.name, &labels),
            title: title(&histogram.name, &labels),
            name: histogram.name.clone(),
            unit: unit(histogram).to_owned(),
            source: histogram.origin.source.to_string(),
            description: String::new(),
            labels,
            bounds,
            columns,
        })
}

/// The unit of what is observed: that of the count series is none.
fn unit(histogram: &histogram::Histogram) -> &'static str {
    let name = &histogram.name;
    match () {
        () if name.ends_with("_seconds") => "seconds",
        () if name.ends_with("_bytes") => "bytes",
        () if name.contains("tokens") => "tokens",
        () => "",
    }
}

/// Labels that differ within one server; the model is the same in all of them.
fn telling(labels: &labels::Labels) -> impl Iterator<Item = (&String, &String)> {
    labels
        .iter()
        .filter(|(name, value)| *name != "model_name" && (*name != "engine" || *value != "0"))
}

fn id(name: &str, labels: &labels::Labels) -> String {
    let mut text = name.to_owned();
    for (name, value) in telling(labels) {
        text.push_str(&format!("-{name}-{value}"));
    }
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

fn title(name: &str, labels: &labels::Labels) -> String {
    let known = TITLES.iter().find(|(known, _)| *known == name);
    let mut title = known.map_or(name, |(_, title)| title).to_owned();
    let telling: Vec<String> = telling(labels)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !telling.is_empty() {
        title.push_str(&format!(" · {}", telling.join(", ")));
    }
    title
}
