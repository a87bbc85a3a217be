//! The GPUs: utilisation, memory, power, clocks, temperature and throttling; without GPUs, a picture with the
//! reason.

use vllm_metrics::SeriesData;
use vllm_metrics::derive::align::Combine;
use vllm_metrics::derive::labels;

use crate::axis::{self, Quantity};
use crate::panel::{Limit, Line, LineStyle, Panel};
use crate::picture::Picture;
use crate::query::{self, View};
use crate::style::Ink;

/// Points over the width of the picture.
const POINTS: i64 = 600;

/// The picture.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    let mut panels = vec![utilization(view)];
    if !panels[0].is_empty() {
        panels.extend([
            memory(view),
            power(view),
            clocks(view),
            temperature(view),
            throttling(view, POINTS),
        ]);
    }
    Picture {
        title: "GPU utilization".into(),
        panels,
        columns: 1,
        width: 1200.0,
        row: 250.0,
        height: None,
        inches: 12.0,
        notes: energy(view).into_iter().collect(),
    }
    .without_empty_panels()
}

/// Utilisation panel, also part of the overview.
pub(crate) fn utilization(view: &View<'_>) -> Panel {
    let series = view.gpu_utilization();
    let all: Vec<&SeriesData> = series.iter().collect();
    Panel::of("GPU utilization", Quantity::Ratio, per_gpu(view, &all))
        .of_whole()
        .sampled(&all)
        .or_absent(why_absent(view))
}

/// Memory in use.
pub(crate) fn memory(view: &View<'_>) -> Panel {
    let series = view.gpu_memory();
    let all: Vec<&SeriesData> = series.iter().collect();
    // Per GPU: how full each one is matters, not the total.
    let lines = per_gpu(view, &all);
    Panel::of("GPU memory in use", Quantity::Bytes, lines)
        .sampled(&all)
        .or_absent("no GPU gave its memory in use")
}

/// Power drawn, with the limit in force.
pub(crate) fn power(view: &View<'_>) -> Panel {
    let series = view.gpu("gpu_power_watts");
    let mut panel = Panel::of("GPU power", Quantity::Other("W".into()), per_gpu(view, &series))
        .sampled(&series)
        .or_absent("no GPU gave its power");
    let limits = view.gpu("gpu_power_limit_watts");
    let highest = limits
        .iter()
        .filter_map(|s| query::largest(&s.values))
        .reduce(f64::max);
    panel.limits = highest
        .map(|value| Limit {
            value,
            name: "limit".into(),
        })
        .into_iter()
        .collect();
    panel
}

fn clocks(view: &View<'_>) -> Panel {
    let series = view.gpu("gpu_sm_clock_hertz");
    Panel::of("GPU clock (SM)", Quantity::Hertz, per_gpu(view, &series))
        .sampled(&series)
        .or_absent("no GPU gave its clock")
}

fn temperature(view: &View<'_>) -> Panel {
    let series = view.gpu("gpu_temperature_celsius");
    Panel::of(
        "GPU temperature",
        Quantity::Other("°C".into()),
        per_gpu(view, &series),
    )
    .sampled(&series)
    .or_absent("no GPU gave its temperature")
}

/// Share of time in which GPUs were throttled, by reason; the mean over GPUs.
pub(crate) fn throttling(view: &View<'_>, points: i64) -> Panel {
    let counted = view.gpu("gpu_throttle_seconds_total");
    let active = view.gpu("gpu_throttle_active");
    let by_seconds = !counted.is_empty();
    let series = if by_seconds { counted } else { active };
    let mut reasons: Vec<String> = series.iter().filter_map(|s| reason(s)).collect();
    reasons.sort();
    reasons.dedup();
    let lines = reasons.iter().enumerate().filter_map(|(i, name)| {
        let of_reason: Vec<&SeriesData> = series
            .iter()
            .copied()
            .filter(|s| reason(s).as_ref() == Some(name))
            .collect();
        let mut curve = if by_seconds {
            view.rate(&of_reason, points)?
        } else {
            view.gauge(&of_reason, Combine::Mean)?
        };
        if by_seconds {
            // Converts seconds per second of all GPUs together to the share per GPU.
            let share = |v: &mut f64| *v /= of_reason.len() as f64;
            curve.values.iter_mut().for_each(share);
            curve.figures.mean.iter_mut().for_each(share);
            curve.figures.max.iter_mut().for_each(share);
        }
        (query::largest(&curve.values) > Some(0.0)).then(|| Line {
            name: name.replace('_', " "),
            ink: Ink::Series(i),
            look: LineStyle::Line,
            // A line from reading to reading would show a slow change that was not measured.
            curve: curve.stepped(first_reading(&of_reason).filter(|_| by_seconds)),
        })
    });
    let why = if series.is_empty() {
        "no GPU gave why it is slowed"
    } else {
        "no GPU was slowed"
    };
    Panel::of(
        "GPU throttled, share of time by reason",
        Quantity::Ratio,
        lines.map(Some),
    )
    .sampled(&series)
    .or_absent(why)
}

fn first_reading(series: &[&SeriesData]) -> Option<i64> {
    series
        .iter()
        .filter_map(|s| s.timestamps_ns.first().copied())
        .min()
}

fn reason(series: &SeriesData) -> Option<String> {
    labels::parse(&series.def.labels).remove("reason")
}

/// A single GPU is one line; several are pale lines behind their mean.
fn per_gpu(view: &View<'_>, series: &[&SeriesData]) -> Vec<Option<Line>> {
    let many = series.len() > 1;
    let names = query::distinct_names(series);
    let mut lines = Vec::new();
    if many {
        lines.push(Line::of(
            "mean of all",
            LineStyle::Line,
            Ink::Whole,
            view.gauge(series, Combine::Mean),
        ));
    }
    for (i, (one, distinct)) in series.iter().zip(names).enumerate() {
        let curve = view.gauge(&[*one], Combine::Mean);
        let look = if many {
            LineStyle::Background
        } else {
            LineStyle::Area
        };
        let name = if distinct.is_empty() {
            gpu_name(one)
        } else {
            distinct
        };
        lines.push(Line::of(name, look, Ink::Series(i), curve));
    }
    lines
}

fn gpu_name(series: &SeriesData) -> String {
    let labels = labels::parse(&series.def.labels);
    let number = ["gpu", "gpu_index", "index", "device", "gpu_id"]
        .iter()
        .find_map(|k| labels.get(*k));
    match number {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("GPU {number}"),
        Some(name) => name.clone(),
        None => "GPU".into(),
    }
}

/// The reason for missing GPUs as recorded with the run, or that nothing measured them.
fn why_absent(view: &View<'_>) -> String {
    let told = view.run.events.iter().find(|e| {
        &*e.kind == "gpu_unavailable"
            || &*e.kind == "gpu_lost"
            || (&*e.kind == "not_supported" && e.message.contains("GPU"))
    });
    match told {
        Some(event) => event.message.to_string(),
        None => "No GPU data: this run holds no series of a GPU sampler or a GPU exporter".into(),
    }
}

/// Energy of the measured window as in the summary; `None` without.
pub(crate) fn energy(view: &View<'_>) -> Option<String> {
    let report = vllm_metrics::energy::report(view.run).ok()?;
    let mut text = format!(
        "Energy of the measured window: {} ± {} J",
        axis::short(report.window.joules()),
        axis::short(report.window.error_joules()),
    );
    if let Some(per_token) = &report.joules_per_output_token {
        text.push_str(&format!(
            ", {} ± {} J per output token",
            axis::short(per_token.value),
            axis::short(per_token.error)
        ));
    }
    Some(text)
}
