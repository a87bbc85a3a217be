//! The performance overview: what came out, how fast it felt, and what it cost the server, on one page.

use vllm_metrics::derive::align::{self, Combine, Points};
use vllm_metrics::derive::totals;

use super::{ESTIMATES, gpu, requests};
use crate::axis::Quantity;
use crate::panel::{Line, Look, Panel};
use crate::picture::Picture;
use crate::query::View;
use crate::style;

/// Points over the width of one panel.
const POINTS: i64 = 240;

/// The picture: three panels a row, a fourth row when there are GPUs.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    let mut panels = vec![
        requests::tokens(view, POINTS),
        requests::in_engine(view),
        requests::finished(view, POINTS),
        latency(view, "Time to first token", &["vllm:time_to_first_token_seconds"]),
        latency(
            view,
            "Inter-token latency",
            &[
                "vllm:inter_token_latency_seconds",
                "vllm:time_per_output_token_seconds",
            ],
        ),
        latency(view, "End-to-end latency", &["vllm:e2e_request_latency_seconds"]),
        kv_cache(view),
        preemptions(view),
        prefix_cache(view),
    ];
    let utilization = gpu::utilization(view);
    if !utilization.lines.is_empty() {
        panels.push(utilization);
        panels.extend(gpu::memory(view));
    }
    let rows = panels.len().div_ceil(3) as f32;
    Picture {
        title: "Performance overview".into(),
        panels,
        columns: 3,
        width: 1600.0,
        height: 144.0 + rows * 270.0,
        inches: 12.0,
        notes: vec![ESTIMATES.into()],
    }
}

fn latency(view: &View<'_>, title: &str, families: &[&str]) -> Panel {
    Panel {
        title: title.into(),
        quantity: Quantity::Seconds,
        lines: view.quantile_lines(
            families,
            &[(0.5, "p50", style::BLUE), (0.99, "p99", style::ORANGE)],
            POINTS,
        ),
        fixed_max: None,
        absent: format!("The server observed nothing in {}", families[0]),
    }
}

fn kv_cache(view: &View<'_>) -> Panel {
    let series = view.kv_cache();
    let points: Vec<Points<'_>> = series
        .iter()
        .map(|s| (&s.timestamps_ns[..], &s.values[..]))
        .collect();
    let (times, values) = align::combine(&points, Combine::Mean);
    let interval = view.line_interval_ns(&times);
    let name = if series.len() > 1 {
        "mean of engines"
    } else {
        "in use"
    };
    let mut lines: Vec<Line> = view
        .line(name, Look::Area, style::VIOLET, times, values, interval)
        .into_iter()
        .collect();
    if series.len() > 1 {
        lines.extend(series.iter().enumerate().filter_map(|(i, s)| {
            let (times, values) = (s.timestamps_ns.clone(), s.values.clone());
            view.line(
                &format!("engine {i}"),
                Look::Background,
                style::series(i),
                times,
                values,
                interval,
            )
        }));
    }
    Panel {
        title: "KV cache in use".into(),
        quantity: Quantity::Ratio,
        lines,
        fixed_max: Some(1.0),
        absent: "The server exposed no KV cache usage".into(),
    }
}

fn preemptions(view: &View<'_>) -> Panel {
    Panel {
        title: "Preemptions".into(),
        quantity: Quantity::PerSecond(String::new()),
        lines: view
            .rate_line(
                "preemptions",
                "vllm:num_preemptions_total",
                Look::Area,
                style::BAD,
                POINTS,
            )
            .into_iter()
            .collect(),
        fixed_max: None,
        absent: "The server exposed no counter of preemptions".into(),
    }
}

fn prefix_cache(view: &View<'_>) -> Panel {
    let (queries, hits) = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total");
    let (times, asked, window) = view.rate(totals::named(view.run, queries), POINTS);
    let (hit_times, hit, _) = view.rate(totals::named(view.run, hits), POINTS);
    let ratio: (Vec<i64>, Vec<f64>) = if times == hit_times {
        // Nothing asked, no ratio.
        times
            .iter()
            .zip(asked.iter().zip(&hit))
            .filter(|(_, (a, _))| **a > 0.0)
            .map(|(t, (a, h))| (*t, h / a))
            .unzip()
    } else {
        (Vec::new(), Vec::new())
    };
    Panel {
        title: "Prefix cache hits".into(),
        quantity: Quantity::Ratio,
        lines: view
            .line("tokens found", Look::Area, style::GREEN, ratio.0, ratio.1, window)
            .into_iter()
            .collect(),
        fixed_max: Some(1.0),
        absent: if times.is_empty() {
            "The server exposed no prefix cache counters".into()
        } else {
            "No tokens were looked up in the prefix cache".into()
        },
    }
}
