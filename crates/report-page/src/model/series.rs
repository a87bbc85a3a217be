//! Samples over time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Span;

/// One series with all its samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Metric name as the source spells it.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Unit, as in [`Figure`](super::Figure); empty if it has none.
    pub unit: String,
    /// Where it comes from, for example `vllm`, `nvml`, `host`, `self` or `derived`.
    pub source: String,
    /// What the values are.
    pub kind: Kind,
    /// Help text.
    pub description: String,
    /// When, strictly rising, Unix nanoseconds. Series that are scraped together share these times in the file.
    pub timestamps_ns: Vec<i64>,
    /// One value per timestamp. NaN and infinities are kept as such.
    pub values: Vec<f64>,
    /// Stretches without data, where a line must be broken.
    pub gaps: Vec<Span>,
}

impl Series {
    /// The name by which charts refer to the series.
    #[must_use]
    pub fn key(&self) -> String {
        series_key(&self.name, &self.labels)
    }
}

/// `name{label="value",…}` with sorted labels; the name alone if there are none.
///
/// ```
/// use std::collections::BTreeMap;
/// let labels = BTreeMap::from([("engine".to_owned(), "0".to_owned())]);
/// assert_eq!(report_page::model::series_key("vllm:num_requests_running", &labels),
///     "vllm:num_requests_running{engine=\"0\"}");
/// ```
#[must_use]
pub fn series_key(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// What the values of a series are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A value that holds until the next sample.
    #[default]
    Gauge,
    /// A total that only rises. The page can show it as a rate.
    Counter,
    /// Computed from others by the recorder.
    Derived,
}

/// Counts of observations by bucket over time: drawn as a heat map with estimated quantiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Metric name without `_bucket`.
    pub name: String,
    /// Short and unique within the run, letters, digits and `-`; the same in every run that is compared.
    pub id: String,
    /// For example `Time to first token (server)`.
    pub title: String,
    /// Labels without `le`.
    pub labels: BTreeMap<String, String>,
    /// Unit of the bounds, as in [`Figure`](super::Figure).
    pub unit: String,
    /// Where it comes from.
    pub source: String,
    /// Help text.
    pub description: String,
    /// Upper bounds of the buckets, rising. The last one is infinite and is not listed: there is one bucket more
    /// than bounds.
    pub bounds: Vec<f64>,
    /// Intervals in the order of time. A gap is an interval that is not there.
    pub columns: Vec<HistogramColumn>,
}

/// What was observed in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramColumn {
    /// Begin (excluded), Unix nanoseconds.
    pub start_ns: i64,
    /// End (included), Unix nanoseconds.
    pub end_ns: i64,
    /// Observations in each bucket during the interval; not cumulative. One more than there are bounds.
    pub counts: Vec<u64>,
}
