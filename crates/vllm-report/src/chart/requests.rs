//! Requests running and waiting, with the tokens and requests that came out of them.

use vllm_metrics::derive::align::Combine;
use vllm_metrics::derive::totals;

use crate::axis::Quantity;
use crate::panel::{Look, Panel};
use crate::picture::Picture;
use crate::query::View;
use crate::style;

/// Points over the width of a whole picture.
const POINTS: i64 = 600;

/// The picture.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    Picture {
        title: "Requests and throughput".into(),
        panels: vec![in_engine(view), tokens(view, POINTS), finished(view, POINTS)],
        columns: 1,
        width: 1200.0,
        height: 860.0,
        inches: 12.0,
        notes: Vec::new(),
    }
}

/// Running and waiting.
pub(crate) fn in_engine(view: &View<'_>) -> Panel {
    let running = ["vllm:num_requests_running", "sglang:num_running_reqs"];
    let waiting = ["vllm:num_requests_waiting", "sglang:num_queue_reqs"];
    let first = |names: &[&str], label, look, color| {
        names
            .iter()
            .find_map(|name| view.gauge_line(label, name, Combine::Sum, look, color))
    };
    Panel {
        title: "Requests in the engine".into(),
        quantity: Quantity::Other(String::new()),
        lines: [
            first(&running, "running", Look::Area, style::BLUE),
            first(&waiting, "waiting", Look::Line, style::ORANGE),
        ]
        .into_iter()
        .flatten()
        .collect(),
        fixed_max: None,
        absent: "The server exposed no count of running requests".into(),
    }
}

/// Tokens per second.
pub(crate) fn tokens(view: &View<'_>, points: i64) -> Panel {
    Panel {
        title: "Token throughput".into(),
        quantity: Quantity::PerSecond("tokens".into()),
        lines: [
            view.rate_line(
                "generated",
                "vllm:generation_tokens_total",
                Look::Area,
                style::BLUE,
                points,
            ),
            view.rate_line(
                "prompt",
                "vllm:prompt_tokens_total",
                Look::Line,
                style::GREEN,
                points,
            ),
        ]
        .into_iter()
        .flatten()
        .collect(),
        fixed_max: None,
        absent: "The server exposed no token counters".into(),
    }
}

/// Requests finished per second, by what became of them.
pub(crate) fn finished(view: &View<'_>, points: i64) -> Panel {
    let by_reason = |failed: bool| {
        totals::named(view.run, "vllm:request_success_total").filter(move |s| {
            let l = &s.def.labels;
            (l.contains(r#""finished_reason":"abort""#) || l.contains(r#""finished_reason":"error""#))
                == failed
        })
    };
    let (times, values, window) = view.rate(by_reason(false), points);
    let (failed_times, failed, _) = view.rate(by_reason(true), points);
    let some_failed = failed.iter().any(|v| *v > 0.0);
    Panel {
        title: "Requests finished".into(),
        quantity: Quantity::PerSecond(String::new()),
        lines: [
            view.line("completed", Look::Area, style::BLUE, times, values, window),
            // A flat line at zero under the other one says less than its absence from the legend.
            some_failed
                .then(|| {
                    view.line(
                        "aborted or failed",
                        Look::Line,
                        style::BAD,
                        failed_times,
                        failed,
                        window,
                    )
                })
                .flatten(),
        ]
        .into_iter()
        .flatten()
        .collect(),
        fixed_max: None,
        absent: "The server exposed no counter of finished requests".into(),
    }
}
