//! Which series are drawn together.

use serde::{Deserialize, Serialize};

/// A chart over time. Lines name series by their key, so one chart serves every run of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Short and unique, letters, digits and `-`; part of links into the page.
    pub id: String,
    /// Where on the page.
    pub section: Section,
    /// For example `Requests running and waiting`.
    pub title: String,
    /// Unit of all lines, as in [`Figure`](super::Figure).
    pub unit: String,
    /// What is drawn, in a sentence or two.
    pub definition: String,
    /// How lines are drawn.
    pub kind: ChartKind,
    /// Whether the value axis is logarithmic.
    pub log: bool,
    /// Fixed ends of the value axis, for example 0 and 1 for a ratio.
    pub range: Option<(f64, f64)>,
    /// The lines. At most eight stay readable; every one gets its own colour and dash pattern.
    pub lines: Vec<Line>,
    /// Areas between two lines.
    pub bands: Vec<Band>,
    /// Horizontal lines.
    pub thresholds: Vec<Threshold>,
}

/// Part of the page, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Throughput, TTFT and TPOT.
    Performance,
    /// Running, waiting, KV cache, preemptions.
    Engine,
    /// GPU and energy.
    Gpu,
    /// Host, network, and the cost of recording itself.
    Host,
}

/// How the lines of a chart are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// Straight lines between points.
    Line,
    /// A value holds until the next one; for gauges that jump.
    Step,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Key of the series: see [`series_key`](super::series_key).
    pub series: String,
    /// Name in the legend.
    pub label: String,
}

/// The area between two lines, for example p50 and p99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// Index of the lower line in [`Chart::lines`].
    pub low: usize,
    /// Index of the upper line.
    pub high: usize,
}

/// A horizontal line, for example a latency limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// For example `limit p99`.
    pub label: String,
    /// In the chart's unit.
    pub value: f64,
}
