//! GPU utilisation and memory, per GPU with the mean; without GPUs, a picture that says why.

use vllm_metrics::SeriesData;
use vllm_metrics::derive::align::{self, Combine, Points};
use vllm_metrics::derive::labels;

use crate::axis::Quantity;
use crate::panel::{Line, Look, Panel};
use crate::picture::Picture;
use crate::query::View;
use crate::style;

/// The picture.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    let mut panels = vec![utilization(view)];
    panels.extend(memory(view));
    Picture {
        title: "GPU utilization".into(),
        height: if panels.len() > 1 { 800.0 } else { 600.0 },
        panels,
        columns: 1,
        width: 1200.0,
        inches: 12.0,
        notes: Vec::new(),
    }
}

/// Utilisation panel, also part of the overview.
pub(crate) fn utilization(view: &View<'_>) -> Panel {
    let series = view.gpu_utilization();
    Panel {
        title: "GPU utilization".into(),
        quantity: Quantity::Ratio,
        lines: per_gpu(&series, Combine::Mean, "mean of all"),
        fixed_max: Some(1.0),
        absent: why_absent(view),
    }
}

/// Memory panel; `None` if no GPU told.
pub(crate) fn memory(view: &View<'_>) -> Option<Panel> {
    let series = view.gpu_memory();
    (!series.is_empty()).then(|| Panel {
        title: "GPU memory in use".into(),
        quantity: Quantity::Bytes,
        lines: per_gpu(&series, Combine::Mean, "mean of all"),
        fixed_max: None,
        absent: String::new(),
    })
}

/// A single GPU is a line; several are pale lines behind their mean.
fn per_gpu(series: &[SeriesData], how: Combine, together: &str) -> Vec<Line> {
    let many = series.len() > 1;
    let mut lines = Vec::new();
    if many {
        let points: Vec<Points<'_>> = series
            .iter()
            .map(|s| (&s.timestamps_ns[..], &s.values[..]))
            .collect();
        let (times, values) = align::combine(&points, how);
        lines.push(Line {
            name: together.into(),
            color: style::INK,
            look: Look::Line,
            longest_step_ns: step(&times),
            whole: None,
            times,
            values,
        });
    }
    for (i, s) in series.iter().enumerate() {
        lines.push(Line {
            name: gpu_name(s, i),
            color: style::series(i),
            look: if many { Look::Background } else { Look::Area },
            longest_step_ns: step(&s.timestamps_ns),
            whole: None,
            times: s.timestamps_ns.clone(),
            values: s.values.clone(),
        });
    }
    lines
}

fn step(times: &[i64]) -> i64 {
    align::median_interval_ns(times).map_or(i64::MAX, align::longest_step_ns)
}

fn gpu_name(series: &SeriesData, index: usize) -> String {
    let labels = labels::parse(&series.def.labels);
    let number = ["gpu", "gpu_index", "index", "device", "gpu_id"]
        .iter()
        .find_map(|k| labels.get(*k));
    match number {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("GPU {number}"),
        Some(name) => name.clone(),
        None => format!("GPU {index}"),
    }
}

/// The run's own words about missing GPUs, or that nothing measured them.
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
