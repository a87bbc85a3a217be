//! Any metric by its name: gauges unchanged, counters as rates, histograms as quantile bands or heat maps;
//! alone, in a grid or overlaid; with a line for each series, for each value of some labels, or for all
//! combined.

use std::collections::BTreeMap;

use vllm_metrics::derive::align::Combine;
use vllm_metrics::derive::histogram::Histogram;
use vllm_metrics::derive::labels;
use vllm_metrics::{MetricType, SeriesData};

use super::ESTIMATES;
use crate::axis::Quantity;
use crate::error::{Error, Result};
use crate::panel::{Body, Heat, Line, LineStyle, Panel, Readings};
use crate::picture::Picture;
use crate::query::{self, Curve, View};
use crate::style::{self, Ink};

/// Points over the width of a page.
const POINTS: i64 = 600;

/// Which lines a metric with several series is drawn as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lines {
    /// One line per series.
    #[default]
    Each,
    /// One per combination of the values of these labels; series that agree in them are combined.
    By(Vec<String>),
    /// One line for all series combined.
    Together,
}

/// How several metrics are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// A panel for each.
    #[default]
    Grid,
    /// All in one panel. Metrics of different units are each drawn as a share of their own maximum.
    Overlay,
}

/// How a histogram is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Distribution {
    /// The median in a band from the 10th to the 90th percentile, with the 99th above.
    #[default]
    Quantiles,
    /// The observations in each bucket over time.
    Heatmap,
}

/// What is drawn, and of which series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    pub(crate) lines: Lines,
    pub(crate) layout: Layout,
    pub(crate) distribution: Distribution,
    /// Only series with all of these labels.
    pub(crate) labels: Vec<(String, String)>,
}

/// A picture of the metrics of these names.
pub(crate) fn picture(view: &View<'_>, names: &[&str], choice: &Choice) -> Result<Picture> {
    let overlay = choice.layout == Layout::Overlay && names.len() > 1;
    let columns = if names.len() > 2 && !overlay { 2 } else { 1 };
    let points = POINTS / columns as i64;
    let mut panels = names
        .iter()
        .map(|name| panel(view, name, choice, points))
        .collect::<Result<Vec<_>>>()?;
    if overlay {
        panels = vec![overlaid(panels)?];
    }
    let histogram = names.iter().any(|n| !view.family(n).is_empty());
    let estimated = histogram && choice.distribution == Distribution::Quantiles;
    Ok(Picture {
        title: if let [only] = names {
            (*only).to_owned()
        } else {
            format!("{} metrics", names.len())
        },
        row: if panels.len() == 1 { 500.0 } else { 290.0 },
        panels,
        columns,
        width: 1200.0,
        height: None,
        inches: 12.0,
        notes: if estimated {
            vec![ESTIMATES.into()]
        } else {
            Vec::new()
        },
    })
}

/// Available names: families of histograms, and every other metric.
pub(crate) fn names(view: &View<'_>) -> Vec<String> {
    let mut names: Vec<String> = view
        .run
        .series
        .iter()
        .filter(|s| s.def.metric_type != MetricType::Histogram)
        .map(|s| s.def.metric_name.to_string())
        .chain(view.analysis.histograms().iter().map(|h| h.name.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn chosen(choice: &Choice, label_text: &str) -> bool {
    if choice.labels.is_empty() {
        return true;
    }
    let labels = labels::parse(label_text);
    choice
        .labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn panel(view: &View<'_>, name: &str, choice: &Choice, points: i64) -> Result<Panel> {
    let absent = if choice.labels.is_empty() {
        "no samples"
    } else {
        "no series has these labels"
    };
    let family: Vec<&Histogram> = view.family(name);
    if !family.is_empty() {
        let family: Vec<&Histogram> = family.into_iter().filter(|h| chosen(choice, &h.labels)).collect();
        return Ok(
            distribution(view, name, &family, choice, points).or_absent(if family.is_empty() {
                absent
            } else {
                "nothing was observed"
            }),
        );
    }
    let all = view.named(name);
    let Some(first) = all.first() else {
        return Err(Error::UnknownMetric {
            name: name.into(),
            nearest: nearest(view, name),
        });
    };
    let series: Vec<&SeriesData> = all
        .iter()
        .copied()
        .filter(|s| chosen(choice, &s.def.labels))
        .collect();
    let counter = first.def.metric_type == MetricType::Counter;
    let unit = query::unit_or_ending(&first.def.unit, name);
    let mut lines: Vec<Line> = groups(&series, &choice.lines, name)?
        .into_iter()
        .enumerate()
        .filter_map(|(i, group)| {
            let curve = if counter {
                view.rate(&group.series, points)
            } else {
                view.gauge(&group.series, group.how)
            };
            Line::of(group.name, LineStyle::Line, Ink::Series(i), curve)
        })
        .collect();
    // The busiest first, since the legend may not have space for all.
    lines.sort_by(|a, b| b.max().unwrap_or(0.0).total_cmp(&a.max().unwrap_or(0.0)));
    let title = if counter {
        format!("{name}, rate")
    } else {
        name.to_owned()
    };
    let quantity = if counter {
        Quantity::PerSecond(unit.into())
    } else {
        Quantity::from_unit(unit)
    };
    let mut panel = Panel::of(title, quantity, lines.into_iter().map(Some)).or_absent(absent);
    if all.iter().all(|s| s.def.endpoint_url.is_empty()) {
        panel = panel.sampled(&series);
    }
    Ok(panel)
}

/// Series that are drawn as one line.
struct Group<'a> {
    name: String,
    series: Vec<&'a SeriesData>,
    how: Combine,
}

fn groups<'a>(series: &[&'a SeriesData], lines: &Lines, metric: &str) -> Result<Vec<Group<'a>>> {
    let single = |(name, one): (String, &&'a SeriesData)| Group {
        name,
        series: vec![*one],
        how: Combine::Sum,
    };
    let keys: &[String] = match lines {
        Lines::Each => {
            return Ok(query::distinct_names(series)
                .into_iter()
                .zip(series)
                .map(single)
                .collect());
        }
        Lines::By(keys) => keys,
        Lines::Together => &[],
    };
    let mut by: BTreeMap<Vec<String>, Vec<&SeriesData>> = BTreeMap::new();
    for one in series {
        let mut labels = labels::parse(&one.def.labels);
        // The address of the server is treated like a label.
        labels
            .entry("server".into())
            .or_insert_with(|| query::host_of(&one.def.endpoint_url).to_owned());
        let values = keys
            .iter()
            .map(|key| labels.remove(key).unwrap_or_default())
            .collect();
        by.entry(values).or_default().push(one);
    }
    let counter = series
        .first()
        .is_some_and(|s| s.def.metric_type == MetricType::Counter);
    by.into_iter()
        .map(|(values, series)| {
            let how = match query::combined(&series) {
                _ if counter || series.len() == 1 => Combine::Sum,
                Ok((how, _)) => how,
                Err(why) => {
                    return Err(Error::NotCombined {
                        name: metric.to_owned(),
                        why: why.to_owned(),
                    });
                }
            };
            let name = if keys.is_empty() && series.len() > 1 && !counter {
                if how == Combine::Mean {
                    "mean of all"
                } else {
                    "all together"
                }
                .to_owned()
            } else {
                values.join(", ")
            };
            Ok(Group { name, series, how })
        })
        .collect()
}

fn distribution(view: &View<'_>, name: &str, family: &[&Histogram], choice: &Choice, points: i64) -> Panel {
    let unit = family.first().map_or("", |h| query::unit_of_family(h));
    let quantity = Quantity::from_unit(unit);
    if choice.distribution == Distribution::Heatmap {
        let mut panel = Panel::of(name, quantity, []);
        panel.body = Body::Heat(heat(view, family, points / 3));
        return panel;
    }
    let mut curves = view.quantiles(family, &[0.1, 0.5, 0.9, 0.99], points).into_iter();
    let mut next = || curves.next().flatten();
    let (low, median, high, p99) = (next(), next(), next(), next());
    let band = match (low, high) {
        (Some(low), Some(high)) if low.times == high.times => Line::of(
            "p10 to p90",
            LineStyle::Band(low.values),
            style::WORK,
            Some(without_figures(high)),
        ),
        _ => None,
    };
    Panel::of(
        name,
        quantity,
        [
            Line::of("p50", LineStyle::Line, style::WORK, median),
            Line::of("p99", LineStyle::Line, style::SLOW, p99),
            band,
        ],
    )
}

/// A band has two edges, and one figure would describe neither.
fn without_figures(curve: Curve) -> Curve {
    Curve {
        figures: query::Figures::default(),
        ..curve
    }
}

fn heat(view: &View<'_>, family: &[&Histogram], points: i64) -> Heat {
    let (merged, _) = view.merged(family, points);
    // Rows from the first nonempty bucket to the last, with one empty row at either end.
    let counts = |row: usize| {
        merged
            .windows
            .iter()
            .map(move |w| w.counts.get(row).copied().unwrap_or(0.0))
    };
    let rows = merged.bounds.iter().filter(|bound| bound.is_finite()).count();
    let used: Vec<usize> = (0..merged.bounds.len())
        .filter(|row| counts(*row).any(|c| c > 0.0))
        .collect();
    let (Some(first), Some(last)) = (used.first(), used.last()) else {
        return Heat {
            bounds: Vec::new(),
            columns: Vec::new(),
        };
    };
    let from = first.saturating_sub(1);
    let to = (last + 2).min(merged.bounds.len());
    let mut bounds: Vec<f64> = merged.bounds[from..to.min(rows).max(from)].to_vec();
    if to > rows {
        // Observations above the last finite bound have no upper bound.
        bounds.push(f64::INFINITY);
    }
    let columns = merged
        .windows
        .iter()
        .map(|w| (w.start_ns, w.end_ns, w.counts[from..to].to_vec()))
        .collect();
    Heat { bounds, columns }
}

/// The lines of several panels in one. Metrics of different units lose their axis but keep their figures.
fn overlaid(panels: Vec<Panel>) -> Result<Panel> {
    if let Some(heat) = panels.iter().find(|panel| matches!(panel.body, Body::Heat(_))) {
        return Err(Error::NotOverlaid {
            name: heat.title.clone(),
        });
    }
    let same = panels.windows(2).all(|pair| pair[0].quantity == pair[1].quantity);
    let (quantity, title) = match panels.first() {
        Some(first) if same => (first.quantity.clone(), String::new()),
        _ => (Quantity::Ratio, "share of each one's maximum".to_owned()),
    };
    let scraped = panels.iter().any(|panel| panel.scraped);
    // Marked is only the time in which no line has a reading.
    let read: Option<Vec<Readings>> = panels.iter().map(|panel| panel.read).collect();
    let mut lines: Vec<Option<Line>> = Vec::new();
    for panel in panels {
        let Body::Lines(of_panel) = panel.body else {
            continue;
        };
        let top = of_panel.iter().filter_map(Line::max).fold(0.0, f64::max);
        let (factor, unit) = panel.quantity.shown(top);
        for mut line in of_panel {
            let mut name = panel.title.clone();
            if !line.name.is_empty() {
                name = format!("{name} {}", line.name);
            }
            if !same {
                // The figures use the metric's own unit; the curve shows the share.
                name = format!("{name} ({} {unit})", line.figures(factor));
                let share = if top > 0.0 { 1.0 / top } else { 1.0 };
                line.curve.values.iter_mut().for_each(|v| *v *= share);
                if let LineStyle::Band(lower) = &mut line.look {
                    lower.iter_mut().for_each(|v| *v *= share);
                }
                line.curve = without_figures(line.curve);
            }
            line.name = name;
            line.ink = Ink::Series(lines.len());
            lines.push(Some(line));
        }
    }
    let mut panel = Panel::of(title, quantity, lines);
    panel.scraped = scraped;
    panel.read = read.and_then(|read| read.into_iter().reduce(Readings::and));
    panel.fixed_max = (!same).then_some(1.0);
    Ok(panel)
}

/// Names with the longest common prefix, or that contain the requested name.
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
