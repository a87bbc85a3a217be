//! Work and output of the servers: requests, tokens, failures, and the latencies of clients.

use std::collections::BTreeMap;

use vllm_metrics::derive::align::{self, Combine};
use vllm_metrics::derive::goodput::Limits;
use vllm_metrics::derive::{labels, latency, quantile};
use vllm_metrics::{Outcome, RequestRow, SeriesData};

use crate::axis::Quantity;
use crate::failures;
use crate::panel::{Limit, Line, LineStyle, Panel};
use crate::picture::Picture;
use crate::query::{self, Curve, Figures, View};
use crate::style::{self, Ink};

/// Points over the width of a whole picture.
const POINTS: i64 = 600;

/// The picture.
pub(crate) fn picture(view: &View<'_>) -> Picture {
    let mut panels = vec![in_engine(view)];
    panels.extend(by_server(view));
    panels.extend([
        output_tokens(view, POINTS),
        input_tokens(view, POINTS),
        finished(view, POINTS),
        failed(view),
    ]);
    Picture {
        title: "Requests and throughput".into(),
        panels,
        columns: 1,
        width: 1200.0,
        row: 250.0,
        height: None,
        inches: 12.0,
        notes: Vec::new(),
    }
    .without_empty_panels()
}

/// The series of each server, by `host:port`; empty for a single server.
fn servers<'s>(series: &[&'s SeriesData]) -> Vec<(&'s str, Vec<&'s SeriesData>)> {
    let mut by_url: BTreeMap<&str, Vec<&SeriesData>> = BTreeMap::new();
    for series in series {
        by_url.entry(&series.def.endpoint_url).or_default().push(series);
    }
    if by_url.len() < 2 {
        return Vec::new();
    }
    by_url
        .into_iter()
        .map(|(url, series)| (query::host_of(url), series))
        .collect()
}

/// Running and waiting, over all servers.
pub(crate) fn in_engine(view: &View<'_>) -> Panel {
    let sum = |name: &str| view.gauge(&view.engine(name), Combine::Sum);
    Panel::of(
        "Requests in the engine",
        Quantity::Other(String::new()),
        [
            Line::of(
                "running",
                LineStyle::Area,
                style::WORK,
                sum("vllm:num_requests_running"),
            ),
            Line::of(
                "waiting",
                LineStyle::Line,
                style::SLOW,
                sum("vllm:num_requests_waiting"),
            ),
        ],
    )
    .or_absent(view.why_nothing("the server exposed no count of running requests"))
}

/// Requests running on each of several servers; shows uneven load.
pub(crate) fn by_server(view: &View<'_>) -> Option<Panel> {
    let servers = servers(&view.engine("vllm:num_requests_running"));
    let lines = servers.iter().enumerate().map(|(i, (host, series))| {
        let curve = view.gauge(series, Combine::Sum);
        Line::of(*host, LineStyle::Line, Ink::Series(i), curve)
    });
    (!servers.is_empty()).then(|| {
        Panel::of(
            "Requests running, by server",
            Quantity::Other(String::new()),
            lines,
        )
    })
}

/// The total rate of all servers in front of each server's own.
fn rate_with_servers(view: &View<'_>, name: &str, title: &str, ink: Ink, points: i64, absent: &str) -> Panel {
    let series = view.engine(name);
    let whole = Line::of("", LineStyle::Area, ink, view.rate(&series, points));
    let each = servers(&series)
        .into_iter()
        .enumerate()
        .map(|(i, (host, series))| {
            Line::of(
                host,
                LineStyle::Background,
                Ink::Series(i + 1),
                view.rate(&series, points),
            )
        });
    let mut panel = Panel::of(
        title,
        Quantity::PerSecond("tokens".into()),
        std::iter::once(whole).chain(each),
    );
    if let crate::panel::Body::Lines(lines) = &mut panel.body
        && lines.len() > 1
    {
        lines[0].name = "all servers".into();
    }
    panel.or_absent(view.why_nothing(absent))
}

/// Output tokens per second, the main figure, with its own axis.
pub(crate) fn output_tokens(view: &View<'_>, points: i64) -> Panel {
    let absent = "the server exposed no counter of output tokens";
    rate_with_servers(
        view,
        "vllm:generation_tokens_total",
        "Output tokens",
        style::WORK,
        points,
        absent,
    )
}

/// Prompt tokens per second.
pub(crate) fn input_tokens(view: &View<'_>, points: i64) -> Panel {
    let absent = "the server exposed no counter of input tokens";
    rate_with_servers(
        view,
        "vllm:prompt_tokens_total",
        "Input tokens",
        style::INPUT,
        points,
        absent,
    )
}

/// Whether a finish reason means that the request was not answered.
fn is_failure(series: &SeriesData) -> bool {
    let reason = labels::parse(&series.def.labels).remove("finished_reason");
    matches!(reason.as_deref(), Some("abort" | "error"))
}

/// Requests finished per second, as the server counts them.
pub(crate) fn finished(view: &View<'_>, points: i64) -> Panel {
    let (failed, completed): (Vec<&SeriesData>, Vec<&SeriesData>) = view
        .engine("vllm:request_success_total")
        .into_iter()
        .partition(|s| is_failure(s));
    // A flat line at zero under the other one is less clear than leaving it out of the legend.
    let some_failed = view
        .rate(&failed, points)
        .filter(|c| query::largest(&c.values) > Some(0.0));
    Panel::of(
        "Requests finished",
        Quantity::PerSecond(String::new()),
        [
            Line::of(
                "completed",
                LineStyle::Area,
                style::WORK,
                view.rate(&completed, points),
            ),
            Line::of("aborted or failed", LineStyle::Line, Ink::Bad, some_failed),
        ],
    )
    .or_absent(view.why_nothing("the server exposed no counter of finished requests"))
}

/// Largest number of failure kinds with a line of their own.
const KINDS: usize = 5;

/// Cumulative failures by kind, as seen by the client and as counted by the server.
pub(crate) fn failed(view: &View<'_>) -> Panel {
    let mut kinds: Vec<(String, Vec<(i64, f64)>)> = failures::by_kind(&view.run.requests)
        .into_iter()
        .map(|(kind, times)| {
            let counted = times.into_iter().enumerate().map(|(i, t)| (t, (i + 1) as f64));
            (kind, counted.collect())
        })
        .collect();
    kinds.extend(counted_by_server(view));
    kinds.sort_by(|a, b| {
        let total = |points: &[(i64, f64)]| points.last().map_or(0.0, |p| p.1);
        total(&b.1).total_cmp(&total(&a.1))
    });
    let left_out = kinds.len().saturating_sub(KINDS);
    let lines = kinds
        .into_iter()
        .take(KINDS)
        .enumerate()
        .map(|(i, (kind, points))| {
            let ink = if i == 0 { Ink::Bad } else { Ink::Series(i) };
            Line::of(kind, LineStyle::Line, ink, staircase(view, &points))
        });
    let title = match left_out {
        0 => "Failed requests so far, by kind".to_owned(),
        n => format!("Failed requests so far, by kind ({n} rarer kinds are in the summary)"),
    };
    let none = if view.run.requests.is_empty() {
        "no request rows, and the server counted none"
    } else {
        "none failed"
    };
    Panel::of(title, Quantity::Other(String::new()), lines)
        .unscraped()
        .or_absent(none)
}

/// Requests that the server counted as aborted or failed, and 5xx answers of its HTTP layer, if any.
fn counted_by_server(view: &View<'_>) -> Vec<(String, Vec<(i64, f64)>)> {
    let aborted = view
        .engine("vllm:request_success_total")
        .into_iter()
        .filter(|s| is_failure(s));
    let http = view.named("http_requests_total").into_iter().filter(|s| {
        let status = labels::parse(&s.def.labels).remove("status");
        status.is_some_and(|status| status.starts_with('5'))
    });
    let groups = [
        ("aborted or in error (server)", aborted.collect::<Vec<_>>()),
        ("HTTP 5xx (server)", http.collect()),
    ];
    groups
        .into_iter()
        .filter_map(|(name, series)| {
            let (windows, _, _) = view.windows(&series, None);
            let mut total = 0.0;
            let points: Vec<(i64, f64)> = windows
                .iter()
                .filter(|w| w.increase > 0.0)
                .map(|w| {
                    total += w.increase;
                    (w.end_ns, total)
                })
                .collect();
            (!points.is_empty()).then(|| (name.to_owned(), points))
        })
        .collect()
}

/// A count that rises at these moments and is constant between them.
fn staircase(view: &View<'_>, points: &[(i64, f64)]) -> Option<Curve> {
    let total = points.last()?.1;
    let (mut times, mut values) = (vec![view.frame.start_ns], vec![0.0]);
    for &(t, value) in points {
        times.extend([t, t]);
        values.extend([values.last().copied().unwrap_or(0.0), value]);
    }
    times.push(view.frame.end_ns);
    values.push(total);
    let mut curve = Curve::of(times, values, i64::MAX)?;
    curve.figures = Figures {
        total: Some(total),
        ..Figures::default()
    };
    Some(curve)
}

/// Facts in which a harness stores the limits behind its verdict.
const LIMIT_FACTS: [&str; 2] = ["ttft_limit_secs", "tpot_limit_secs"];

/// Time to first token as seen by clients, with its limit. In scenarios with a schedule it is counted from
/// the scheduled time, as in LoadGen.
pub(crate) fn client_ttft(view: &View<'_>, points: i64) -> Panel {
    let scheduled = view
        .run
        .manifest
        .facts
        .get("scenario")
        .is_some_and(|s| s == "Server" || s == "Interactive");
    let (title, of): (_, fn(&RequestRow) -> Option<f64>) = if scheduled {
        (
            "Time to first token from schedule (client)",
            latency::ttft_scheduled_secs,
        )
    } else {
        (
            "Time to first token from sending (client)",
            latency::ttft_sent_secs,
        )
    };
    let limit = limit(view, LIMIT_FACTS[0], |limits| limits.ttft_secs);
    client(view, title, of, |r| r.first_token_ns, limit, points)
}

/// Time per output token as seen by clients, with its limit.
pub(crate) fn client_tpot(view: &View<'_>, points: i64) -> Panel {
    let limit = limit(view, LIMIT_FACTS[1], |limits| limits.tpot_secs);
    client(
        view,
        "Time per output token (client)",
        latency::tpot_secs,
        |r| r.done_ns,
        limit,
        points,
    )
}

fn limit(view: &View<'_>, fact: &str, of: fn(&Limits) -> Option<f64>) -> Option<f64> {
    let verdict = view
        .run
        .manifest
        .facts
        .get(fact)
        .and_then(|secs| secs.parse::<f64>().ok());
    let goodput = || of(&Limits::of_manifest(&view.run.manifest)?);
    verdict.filter(|secs| *secs > 0.0).or_else(goodput)
}

/// p50 and p99 of a time of the completed requests, over those with a value in each window; exact.
fn client(
    view: &View<'_>,
    title: &str,
    of: fn(&RequestRow) -> Option<f64>,
    at: fn(&RequestRow) -> Option<i64>,
    limit: Option<f64>,
    points: i64,
) -> Panel {
    let done = view
        .run
        .requests
        .iter()
        .filter(|r| r.outcome == Outcome::Completed);
    let mut seen: Vec<(i64, f64)> = done.filter_map(|r| Some((at(r)?, of(r)?))).collect();
    seen.sort_by_key(|(t, _)| *t);
    let window = view.window_ns(points, view.frame.told_interval_ns().unwrap_or(1_000_000_000));
    let curve = |q: f64| {
        let sorted = |values: &[(i64, f64)]| {
            let mut sorted: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let number = |t: i64| (t - view.frame.start_ns).div_euclid(window);
        let (times, values): (Vec<i64>, Vec<f64>) = seen
            .chunk_by(|a, b| number(a.0) == number(b.0))
            .filter_map(|chunk| {
                Some((
                    chunk.last()?.0,
                    quantile::of_sorted_as_loadgen(&sorted(chunk), q)?,
                ))
            })
            .unzip();
        let mut curve = Curve::of(times, values, align::longest_step_ns(window) + window)?;
        curve.figures = Figures {
            whole: quantile::of_sorted_as_loadgen(&sorted(&seen), q),
            max: query::largest(&curve.values),
            max_over_ns: Some(window),
            ..Figures::default()
        };
        Some(curve)
    };
    let mut panel = Panel::of(
        title,
        Quantity::Seconds,
        [
            Line::of("p50", LineStyle::Line, style::WORK, curve(0.5)),
            Line::of("p99", LineStyle::Line, style::SLOW, curve(0.99)),
        ],
    )
    .unscraped()
    .or_absent("no completed request has this time");
    panel.limits = limit
        .map(|value| Limit {
            value,
            name: "limit".into(),
        })
        .into_iter()
        .collect();
    panel
}
