//! The content of a panel before it is drawn.

use vllm_metrics::SeriesData;
use vllm_metrics::derive::align;

use crate::axis::{self, Quantity};
use crate::frame::Frame;
use crate::query::{self, Curve};
use crate::style::Ink;

/// How one series is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LineStyle {
    /// A line.
    Line,
    /// A line with its area filled down to zero.
    Area,
    /// A thin, pale line behind a total.
    Background,
    /// The area between the curve and these values, one per point.
    Band(Vec<f64>),
}

/// One series of a panel, in base units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Legend.
    pub(crate) name: String,
    /// Colour.
    pub(crate) ink: Ink,
    /// Style.
    pub(crate) look: LineStyle,
    /// Data.
    pub(crate) curve: Curve,
}

impl Line {
    /// A line; `None` for no curve.
    pub(crate) fn of(
        name: impl Into<String>,
        look: LineStyle,
        ink: Ink,
        curve: Option<Curve>,
    ) -> Option<Self> {
        Some(Self {
            name: name.into(),
            ink,
            look,
            curve: curve?,
        })
    }

    pub(crate) fn max(&self) -> Option<f64> {
        query::largest(&self.curve.values)
    }

    pub(crate) fn min(&self) -> Option<f64> {
        let lower = match &self.look {
            LineStyle::Band(lower) => lower,
            _ => &self.curve.values,
        };
        lower.iter().copied().filter(|v| v.is_finite()).reduce(f64::min)
    }

    /// The figures of the legend; `factor` converts from base units to displayed ones.
    pub(crate) fn figures(&self, factor: f64) -> String {
        let short = |value: f64| axis::short(value * factor);
        let figures = &self.curve.figures;
        let mut parts = Vec::new();
        parts.extend(figures.total.map(|total| format!("total {}", short(total))));
        parts.extend(figures.whole.map(|whole| format!("run {}", short(whole))));
        parts.extend(figures.mean.map(|mean| format!("mean {}", short(mean))));
        parts.extend(figures.max.map(|max| match figures.max_over_ns {
            // The highest mean of single windows; no figure of the whole run has this name.
            Some(window) => format!("highest {} in {}", short(max), axis::duration(window)),
            None => format!("max {}", short(max)),
        }));
        parts.join(" · ")
    }
}

/// A level that must not be exceeded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    /// In base units.
    pub(crate) value: f64,
    /// Its name.
    pub(crate) name: String,
}

/// How often values in each bucket were observed, over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    /// Upper bounds of the rows, ascending, finite; the first row begins at 0.
    pub(crate) bounds: Vec<f64>,
    /// Start, end and observations per row of each column.
    pub(crate) columns: Vec<(i64, i64, Vec<f64>)>,
}

/// What fills a panel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Series; the first is drawn last, on top. If empty, the reason is written instead.
    Lines(Vec<Line>),
    /// A heat map.
    Heat(Heat),
}

/// When some series were sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readings {
    first_ns: i64,
    last_ns: i64,
    /// Longest time without a reading that is no gap. A single reading does not show when the next one was due.
    longest_ns: i64,
}

impl Readings {
    /// `None` if there are none.
    fn of(series: &[&SeriesData]) -> Option<Self> {
        let times = || series.iter().map(|series| &series.timestamps_ns[..]);
        let intervals = times().filter_map(align::median_interval_ns);
        Some(Self {
            first_ns: times().filter_map(|times| times.first().copied()).min()?,
            last_ns: times().filter_map(|times| times.last().copied()).max()?,
            longest_ns: intervals.max().map_or(i64::MAX, align::longest_step_ns),
        })
    }

    /// Those of both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
            longest_ns: self.longest_ns.max(other.longest_ns),
        }
    }

    /// The parts of the run before the first reading and after the last one, if a reading was due in them.
    pub(crate) fn missing(&self, frame: &Frame) -> Vec<(i64, i64)> {
        let edges = [(frame.start_ns, self.first_ns), (self.last_ns, frame.end_ns)];
        let is_due = |(from, to): &(i64, i64)| to - from > self.longest_ns;
        edges.into_iter().filter(is_due).collect()
    }
}

/// A panel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panel {
    /// Title.
    pub(crate) title: String,
    /// Unit of its value axis.
    pub(crate) quantity: Quantity,
    /// Its content.
    pub(crate) body: Body,
    /// Fixed end of the value axis, if any (1.0 for a ratio).
    pub(crate) fixed_max: Option<f64>,
    /// Levels that must not be exceeded.
    pub(crate) limits: Vec<Limit>,
    /// Whether its data come from scrapes of the servers, whose gaps are then its gaps.
    pub(crate) scraped: bool,
    /// From when to when it was read, where the time before and after is to be marked as not read.
    pub(crate) read: Option<Readings>,
    /// The reason to show if there is nothing to draw.
    pub(crate) absent: String,
}

impl Panel {
    /// A panel of lines from scraped series.
    pub(crate) fn of(
        title: impl Into<String>,
        quantity: Quantity,
        lines: impl IntoIterator<Item = Option<Line>>,
    ) -> Self {
        Self {
            title: title.into(),
            quantity,
            body: Body::Lines(lines.into_iter().flatten().collect()),
            fixed_max: None,
            limits: Vec::new(),
            scraped: true,
            read: None,
            absent: "no samples".into(),
        }
    }

    /// The same with the reason to show if it is empty.
    pub(crate) fn or_absent(mut self, why: impl Into<String>) -> Self {
        self.absent = why.into();
        self
    }

    /// The same with an axis that ends at 100 %.
    pub(crate) fn of_whole(mut self) -> Self {
        self.fixed_max = Some(1.0);
        self
    }

    /// The same for data that do not come from scrapes.
    pub(crate) fn unscraped(mut self) -> Self {
        self.scraped = false;
        self
    }

    /// The same for these series, which do not come from scrapes: the time before their first reading and after their
    /// last one is marked.
    pub(crate) fn sampled(self, series: &[&SeriesData]) -> Self {
        let mut panel = self.unscraped();
        panel.read = Readings::of(series);
        panel
    }

    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.body {
            Body::Lines(lines) => lines.is_empty(),
            Body::Heat(heat) => heat.columns.is_empty(),
        }
    }

    /// Whether all its values are 0.
    pub(crate) fn is_zero(&self) -> bool {
        let zero = |line: &Line| line.max() == Some(0.0) && line.min() == Some(0.0);
        !self.is_empty() && matches!(&self.body, Body::Lines(lines) if lines.iter().all(zero))
    }
}
