//! The performance overview on one page: output, latency, and load on the server.

use vllm_metrics::SeriesData;
use vllm_metrics::derive::align::Combine;

use super::{ESTIMATES, gpu, requests};
use crate::axis::Quantity;
use crate::panel::{Line, LineStyle, Panel};
use crate::picture::Picture;
use crate::query::{self, Curve, Figures, View};
use crate::stats::Stats;
use crate::style::{self, Ink};

/// Points over the width of one panel.
const POINTS: i64 = 240;

/// The picture, three panels per row; panels without data leave their space to the others.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    let mut panels = vec![
        requests::output_tokens(view, POINTS),
        requests::in_engine(view),
        requests::finished(view, POINTS),
    ];
    panels.extend(requests::by_server(view));
    panels.extend([
        requests::failed(view),
        requests::client_ttft(view, POINTS),
        requests::client_tpot(view, POINTS),
        latency(
            view,
            "Time to first token (server)",
            "vllm:time_to_first_token_seconds",
        ),
        latency(
            view,
            "Inter-token latency (server)",
            "vllm:inter_token_latency_seconds",
        ),
        latency(
            view,
            "End-to-end latency (server)",
            "vllm:e2e_request_latency_seconds",
        ),
        kv_cache(view),
        preemptions(view),
        prefix_cache(view),
        requests::input_tokens(view, POINTS),
    ]);
    let utilization = gpu::utilization(view);
    if !utilization.is_empty() {
        panels.extend([
            utilization,
            gpu::memory(view),
            gpu::power(view),
            gpu::throttling(view, POINTS),
        ]);
    }
    let mut notes = vec![ESTIMATES.into()];
    notes.extend(gpu::energy(view));
    Picture {
        title: "Performance overview".into(),
        panels,
        columns: 3,
        width: 1600.0,
        row: 270.0,
        height: None,
        inches: 12.0,
        notes,
    }
    .without_empty_panels()
}

fn latency(view: &View<'_>, title: &str, family: &str) -> Panel {
    let found = view.engine_family(family);
    let names = [("p50", style::WORK), ("p99", style::SLOW)];
    let curves = view.quantiles(&found, &[0.5, 0.99], POINTS);
    let lines = names
        .into_iter()
        .zip(curves)
        .map(|((name, ink), curve)| Line::of(name, LineStyle::Line, ink, curve));
    Panel::of(title, Quantity::Seconds, lines)
        .or_absent(view.why_nothing(&format!("the server observed nothing in {family}")))
}

fn kv_cache(view: &View<'_>) -> Panel {
    let series = view.kv_cache();
    let all: Vec<&SeriesData> = series.iter().collect();
    let whole = if all.len() > 1 { "mean of all" } else { "in use" };
    let mut lines = vec![Line::of(
        whole,
        LineStyle::Area,
        style::MEMORY,
        view.gauge(&all, Combine::Mean),
    )];
    if all.len() > 1 {
        let names = query::distinct_names(&all);
        lines.extend(all.iter().zip(names).enumerate().map(|(i, (one, name))| {
            let curve = view.gauge(&[*one], Combine::Mean);
            Line::of(name, LineStyle::Background, Ink::Series(i), curve)
        }));
    }
    Panel::of("KV cache in use", Quantity::Ratio, lines)
        .of_whole()
        .or_absent(view.why_nothing("the server exposed no KV cache usage"))
}

fn preemptions(view: &View<'_>) -> Panel {
    let rate = view.rate(&view.engine("vllm:num_preemptions_total"), POINTS);
    Panel::of(
        "Preemptions",
        Quantity::PerSecond(String::new()),
        [Line::of("", LineStyle::Area, Ink::Bad, rate)],
    )
    .or_absent(view.why_nothing("the server exposed no counter of preemptions"))
}

fn prefix_cache(view: &View<'_>) -> Panel {
    let windows = |name: &str| view.windows(&view.engine(name), Some(POINTS));
    let (asked, window, _) = windows("vllm:prefix_cache_queries_total");
    let (hits, _, _) = windows("vllm:prefix_cache_hits_total");
    let same = asked.len() == hits.len() && asked.iter().zip(&hits).all(|(a, h)| a.end_ns == h.end_ns);
    let pairs = || asked.iter().zip(&hits).filter(|(a, _)| same && a.increase > 0.0);
    // No queries, so there is no ratio.
    let (times, ratios): (Vec<i64>, Vec<f64>) =
        pairs().map(|(a, h)| (a.end_ns, h.increase / a.increase)).unzip();
    let weights: Vec<f64> = pairs().map(|(a, _)| a.increase).collect();
    let stats = Stats::weighted(&ratios, &weights);
    let curve = Curve::of(times, ratios, window * 4).map(|curve| Curve {
        figures: Figures {
            mean: stats.mean,
            max: stats.max,
            max_over_ns: Some(window),
            ..Figures::default()
        },
        ..curve
    });
    let why = if asked.is_empty() {
        "the server exposed no prefix cache counters"
    } else {
        "no tokens were looked up in the prefix cache"
    };
    Panel::of(
        "Prefix cache hit rate",
        Quantity::Ratio,
        [Line::of("", LineStyle::Area, style::INPUT, curve)],
    )
    .of_whole()
    .or_absent(view.why_nothing(why))
}
