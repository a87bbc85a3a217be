//! Any metric by its name: gauges as they are, counters as rates, histograms as quantiles.

use vllm_metrics::derive::align;
use vllm_metrics::derive::{counter, window};
use vllm_metrics::{MetricType, SeriesData};

use super::ESTIMATES;
use crate::axis::Quantity;
use crate::error::{Error, Result};
use crate::panel::{Line, Look, Panel};
use crate::picture::Picture;
use crate::query::{self, View};
use crate::style;

/// Points over the width of a page.
const POINTS: i64 = 600;
const QUANTILES: &[(f64, &str, plotters::style::RGBColor)] = &[
    (0.5, "p50", style::SERIES[0]),
    (0.9, "p90", style::SERIES[2]),
    (0.99, "p99", style::SERIES[1]),
];

/// A picture with a panel for each name.
pub(crate) fn picture(view: &View<'_>, names: &[&str]) -> Result<Picture> {
    let columns = if names.len() > 2 { 2 } else { 1 };
    let points = POINTS / columns as i64;
    let panels = names
        .iter()
        .map(|name| panel(view, name, points))
        .collect::<Result<Vec<_>>>()?;
    let rows = panels.len().div_ceil(columns).max(1);
    let histogram = names.iter().any(|n| !view.family(n).is_empty());
    Ok(Picture {
        title: if let [only] = names {
            (*only).to_owned()
        } else {
            format!("{} metrics", names.len())
        },
        panels,
        columns,
        width: 1200.0,
        height: if rows == 1 {
            640.0
        } else {
            144.0 + 290.0 * rows as f32
        },
        inches: 12.0,
        notes: if histogram {
            vec![ESTIMATES.into()]
        } else {
            Vec::new()
        },
    })
}

/// Names that can be asked for: families of histograms, and every other metric.
pub(crate) fn names(view: &View<'_>) -> Vec<String> {
    let mut names: Vec<String> = view
        .run
        .series
        .iter()
        .filter(|s| s.def.metric_type != MetricType::Histogram)
        .map(|s| s.def.metric_name.to_string())
        .chain(view.histograms.iter().map(|h| h.name.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn panel(view: &View<'_>, name: &str, points: i64) -> Result<Panel> {
    let family = view.family(name);
    if let Some(first) = family.first() {
        return Ok(Panel {
            title: name.into(),
            quantity: Quantity::from_unit(unit_or_ending(&first.origin.unit, name)),
            lines: view.quantile_lines(&[name], QUANTILES, points),
            fixed_max: None,
            absent: "Nothing was observed".into(),
        });
    }
    let series: Vec<&SeriesData> = view
        .run
        .series
        .iter()
        .filter(|s| &*s.def.metric_name == name)
        .collect();
    let Some(first) = series.first() else {
        return Err(Error::UnknownMetric {
            name: name.into(),
            nearest: nearest(view, name),
        });
    };
    let counter = first.def.metric_type == MetricType::Counter;
    let unit = unit_or_ending(&first.def.unit, name);
    let labels = query::distinct_names(&series);
    let mut lines: Vec<Line> = series
        .iter()
        .zip(labels)
        .enumerate()
        .map(|(i, (s, label))| line(view, s, label, i, counter.then_some(points)))
        .collect();
    // The busiest first: the legend may not have room for all.
    lines.sort_by(|a, b| peak(b).total_cmp(&peak(a)));
    Ok(Panel {
        title: if counter {
            format!("{name}, rate")
        } else {
            name.into()
        },
        quantity: if counter {
            Quantity::PerSecond(unit.into())
        } else {
            Quantity::from_unit(unit)
        },
        lines,
        fixed_max: None,
        absent: "No samples".into(),
    })
}

fn line(view: &View<'_>, series: &SeriesData, label: String, index: usize, rate_points: Option<i64>) -> Line {
    let (times, values, interval) = if let Some(points) = rate_points {
        let interval = view.interval_ns(std::iter::once(&series.timestamps_ns[..]));
        let window = view.window_ns(points, interval);
        let (times, values) = window::rates(
            &counter::steps(&series.timestamps_ns, &series.values),
            window,
            align::longest_step_ns(interval),
        );
        (times, values, Some(window))
    } else {
        let interval = align::median_interval_ns(&series.timestamps_ns);
        (series.timestamps_ns.clone(), series.values.clone(), interval)
    };
    Line {
        name: label,
        color: style::series(index),
        look: Look::Line,
        times,
        values,
        longest_step_ns: interval.map_or(i64::MAX, align::longest_step_ns),
        whole: None,
    }
}

fn peak(line: &Line) -> f64 {
    line.values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .fold(f64::NEG_INFINITY, f64::max)
}

/// The unit of the definition, or the one that the name ends in.
fn unit_or_ending<'a>(unit: &'a str, name: &'a str) -> &'a str {
    if !unit.is_empty() {
        return unit;
    }
    let name = name.strip_suffix("_total").unwrap_or(name);
    ["seconds", "bytes", "ratio", "tokens"]
        .into_iter()
        .find(|u| name.ends_with(u))
        .unwrap_or("")
}

/// Names that share the most beginning or contain what was asked for.
fn nearest(view: &View<'_>, name: &str) -> String {
    let wanted = name.trim_start_matches("vllm:");
    let mut found: Vec<(usize, String)> = names(view)
        .into_iter()
        .map(|n| {
            let bare = n.trim_start_matches("vllm:");
            let same = bare
                .bytes()
                .zip(wanted.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            (same + if bare.contains(wanted) { 100 } else { 0 }, n)
        })
        .filter(|(score, _)| *score > 2)
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let words: Vec<String> = found.into_iter().take(3).map(|(_, n)| n).collect();
    if words.is_empty() {
        "none".into()
    } else {
        words.join(", ")
    }
}
