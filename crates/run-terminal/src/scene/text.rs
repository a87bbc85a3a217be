//! The parts that are lines of text.

use ratatui::text::{Line, Span};
use run_analysis::view::LatencyFigures;
use run_model::Severity;

use super::{Overlay, SceneStyle, Tone};
use crate::format::{ABSENT, clock, gib, number, percent, printable, time, whole};
use crate::{Queries, Snapshot, State};

/// Width of the figures' left half.
const LEFT: usize = 50;

/// Title, verdict, progress.
pub(super) fn header<'a>(snapshot: &Snapshot, look: SceneStyle, width: u16) -> Vec<Line<'a>> {
    let status = &snapshot.status;
    let mut title = vec![look.span(Tone::Bold, printable(&status.title))];
    if status.simulated || snapshot.figures.simulated {
        title.push(look.span(Tone::Warn, "  SIMULATED"));
    }
    if let Some(elapsed) = status.elapsed {
        title.push(look.span(Tone::Plain, format!("  {}", clock(elapsed.as_secs_f64()))));
    }
    if !snapshot.phase.is_empty() {
        title.push(look.span(Tone::Plain, format!("  phase {}", printable(&snapshot.phase))));
    }
    for fact in &status.facts {
        title.push(look.span(Tone::Dim, format!("  {}", printable(fact))));
    }
    let mut lines = vec![Line::from(title), verdict(snapshot, look)];
    if let Some(queries) = &status.queries {
        lines.push(progress(snapshot, queries, look, width));
    }
    let missed = &status.missed;
    if missed.samples + missed.rows + missed.events > 0 {
        let text = format!(
            "not shown here, but in the files: {} samples, {} requests, {} events",
            missed.samples, missed.rows, missed.events
        );
        lines.push(Line::from(look.span(Tone::Warn, text)));
    }
    let notes = status.notes.iter().take(2);
    lines.extend(notes.map(|note| Line::from(look.span(Tone::Warn, printable(note)))));
    lines
}

fn verdict<'a>(snapshot: &Snapshot, look: SceneStyle) -> Line<'a> {
    let status = &snapshot.status;
    let (tone, text) = match &status.state {
        State::Running if status.forecast.is_empty() => (Tone::Plain, "running".to_owned()),
        State::Running => (Tone::Bold, format!("forecast: {}", status.forecast)),
        State::Ending(why) => (Tone::Bad, format!("ENDING: {why}")),
        State::Ended {
            verdict,
            counts,
            reasons,
        } => {
            let word = verdict
                .as_deref()
                .unwrap_or("ended; no verdict is stored with the record");
            let reason = reasons
                .first()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            let tone = match (verdict, counts) {
                (None, _) => Tone::Plain,
                (Some(_), true) => Tone::Good,
                (Some(_), false) => Tone::Bad,
            };
            (tone, format!("{word}{reason}"))
        }
        State::Silent(silence) => (
            Tone::Warn,
            format!(
                "the record has no end, and nothing was added for {}: its run was cut, or hangs",
                clock(silence.as_secs_f64())
            ),
        ),
    };
    Line::from(look.span(tone, printable(&text)))
}

fn progress<'a>(snapshot: &Snapshot, queries: &Queries, look: SceneStyle, width: u16) -> Line<'a> {
    let answered = queries.completed + queries.failed;
    let mut spans = Vec::new();
    if let Some(planned) = queries.planned.filter(|planned| *planned > 0) {
        let share = answered as f64 / planned as f64;
        let cells = (usize::from(width) / 8).clamp(8, 40);
        spans.push(look.span(Tone::Accent, bar(share, cells, look)));
        spans.push(look.span(Tone::Plain, format!(" {answered} of {planned}  ")));
    }
    if let Some(issued) = queries.issued {
        spans.push(look.span(Tone::Plain, format!("issued {issued}  ")));
    }
    spans.push(look.span(Tone::Plain, format!("completed {}  ", queries.completed)));
    if queries.failed > 0 {
        spans.push(look.span(Tone::Bad, format!("FAILED {}  ", queries.failed)));
    } else {
        spans.push(look.span(Tone::Plain, "failed 0  "));
    }
    if let (Some(left), State::Running) = (snapshot.status.left, &snapshot.status.state) {
        spans.push(look.span(Tone::Dim, format!("about {} left", clock(left.as_secs_f64()))));
    }
    Line::from(spans)
}

/// A bar of `cells` characters in brackets.
fn bar(share: f64, cells: usize, look: SceneStyle) -> String {
    let full = (share.clamp(0.0, 1.0) * cells as f64).round() as usize;
    let (full_cell, empty_cell) = if look.ascii { ("#", "-") } else { ("█", "░") };
    format!("[{}{}]", full_cell.repeat(full), empty_cell.repeat(cells - full))
}

/// A heading over a part.
fn rule<'a>(title: &str, look: SceneStyle, width: u16) -> Line<'a> {
    let stroke = if look.ascii { "-" } else { "─" };
    let rest = usize::from(width).saturating_sub(title.chars().count() + 4);
    let text = format!("{} {title} {}", stroke.repeat(2), stroke.repeat(rest));
    Line::from(look.span(Tone::Dim, text))
}

fn row<'a>(left: Vec<Span<'a>>, right: Vec<Span<'a>>) -> Line<'a> {
    let mut spans = left;
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::raw(" ".repeat(LEFT.saturating_sub(used).max(1))));
    spans.extend(right);
    Line::from(spans)
}

/// Rates, latencies with their limits, and the engines' state.
pub(super) fn figures<'a>(snapshot: &Snapshot, look: SceneStyle, width: u16) -> Vec<Line<'a>> {
    let (engine, client) = (&snapshot.figures.engine, &snapshot.figures.client);
    let (limits, queries) = (&snapshot.status.limits, snapshot.status.queries.as_ref());
    let name = |name: &str| look.span(Tone::Dim, format!("{name:<10}"));
    let plain = |text: String| look.span(Tone::Plain, text);
    let tokens = engine
        .generation_tokens_per_second
        .or(client.output_tokens_per_second)
        .or(queries.and_then(|q| q.tokens_per_second));
    let per_second = client
        .requests_per_second
        .or(engine.requests_per_second)
        .or(queries.and_then(|q| q.per_second));
    let latency = |label: &str, of: fn(&run_analysis::view::Latencies) -> Option<LatencyFigures>, limit| {
        let measured = of(&client.latencies);
        let figures = measured.or(of(&snapshot.figures.server));
        let mut spans = vec![name(label)];
        let at = |of: fn(&LatencyFigures) -> f64| time(figures.as_ref().map(of));
        spans.push(plain(format!(
            "p50 {:>7}  p99 {:>7}",
            at(|f| f.p50),
            at(|f| f.p99)
        )));
        match (limit, figures) {
            (Some(limit), Some(figures)) if figures.p99 > limit => {
                spans.push(look.span(Tone::Bad, format!("  OVER {}", time(Some(limit)))));
            }
            (Some(limit), _) => spans.push(look.span(Tone::Dim, format!("  limit {}", time(Some(limit))))),
            (None, Some(figures)) if figures.estimated => {
                spans.push(look.span(Tone::Dim, "  by the server"));
            }
            (None, _) => {}
        }
        spans
    };
    let kv = engine.kv_cache_usage_ratio;
    let mut kv_spans = vec![name("KV cache")];
    if let Some(share) = kv {
        kv_spans.push(look.span(
            if share >= 0.95 { Tone::Warn } else { Tone::Accent },
            bar(share, 10, look),
        ));
    }
    kv_spans.push(plain(format!(" {}", percent(kv))));
    let preempting = engine.preemptions_per_second.is_some_and(|rate| rate > 0.0);
    let mut energy = vec![name("energy")];
    energy.push(plain(match &snapshot.figures.energy {
        Some(figures) => format!(
            "{} W, {} J/token",
            number(Some(figures.mean_watts)),
            number(figures.joules_per_token)
        ),
        None => format!("{ABSENT} (no power recorded)"),
    }));
    vec![
        rule(&snapshot.window, look, width),
        row(
            vec![
                name("tokens/s"),
                look.span(Tone::Bold, number(tokens)),
                plain(format!("   prompt {}", number(engine.prompt_tokens_per_second))),
            ],
            vec![
                name("running"),
                plain(format!(
                    "{:<6} waiting {}",
                    whole(engine.running),
                    whole(engine.waiting)
                )),
            ],
        ),
        row(vec![name("queries/s"), plain(number(per_second))], kv_spans),
        row(
            latency("TTFT", |times| times.ttft, limits.ttft_secs),
            vec![
                name("preempt/s"),
                look.span(
                    if preempting { Tone::Warn } else { Tone::Plain },
                    number(engine.preemptions_per_second),
                ),
            ],
        ),
        row(
            latency("TPOT", |times| times.tpot, limits.tpot_secs),
            vec![name("steps/s"), plain(number(engine.steps_per_second))],
        ),
        row(
            latency("latency", |times| times.e2e, None),
            vec![
                name("prefix hit"),
                plain(format!(" {}", percent(engine.prefix_cache_hit_ratio))),
            ],
        ),
        Line::from(energy),
    ]
}

/// One line per GPU; empty without any.
pub(super) fn gpus<'a>(snapshot: &Snapshot, look: SceneStyle, width: u16) -> Vec<Line<'a>> {
    let lines = snapshot.figures.gpus.iter().map(|gpu| {
        let hot = gpu.temperature_celsius.is_some_and(|celsius| celsius >= 85.0);
        Line::from(vec![
            look.span(Tone::Dim, format!("GPU {:<6}", printable(&gpu.gpu))),
            look.span(
                Tone::Plain,
                format!(
                    "{:>6}  {:>6} W  ",
                    percent(gpu.utilization_ratio),
                    number(gpu.power_watts)
                ),
            ),
            look.span(
                if hot { Tone::Warn } else { Tone::Plain },
                format!("{:>4} C  ", whole(gpu.temperature_celsius)),
            ),
            look.span(
                Tone::Plain,
                format!(
                    "{} of {} GiB  {} MHz",
                    gib(gpu.memory_used_bytes),
                    gib(gpu.memory_total_bytes),
                    whole(gpu.sm_clock_hertz.map(|hertz| hertz / 1e6))
                ),
            ),
        ])
    });
    let mut lines: Vec<Line<'_>> = lines.collect();
    if !lines.is_empty() {
        lines.insert(0, rule("GPUs", look, width));
    }
    lines
}

/// One line per server; empty with a single one.
pub(super) fn servers<'a>(snapshot: &Snapshot, look: SceneStyle, width: u16) -> Vec<Line<'a>> {
    if snapshot.endpoints.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![rule("servers", look, width)];
    let name_width = usize::from(width).saturating_sub(58).clamp(12, 40);
    lines.extend(snapshot.endpoints.iter().map(|endpoint| {
        let url = printable(&endpoint.endpoint_url);
        let shown = url.strip_prefix("http://").unwrap_or(&url);
        let shown: String = shown
            .trim_end_matches("/metrics")
            .chars()
            .take(name_width)
            .collect();
        let label = look.span(Tone::Dim, format!("{shown:<name_width$}  "));
        let engine = &endpoint.engine;
        let is_lost = engine.running.is_none();
        let silence = endpoint
            .newest_ns
            .zip(snapshot.newest_ns)
            .map(|(newest, now)| (now - newest) as f64 / 1e9);
        let rest = match silence {
            Some(silence) if is_lost => {
                look.span(Tone::Bad, format!("LOST: no sample for {}", clock(silence)))
            }
            _ if is_lost => look.span(Tone::Bad, "LOST: no sample"),
            _ => look.span(
                Tone::Plain,
                format!(
                    "{:>5} running {:>5} waiting  KV {:>5}  {:>6} tokens/s",
                    whole(engine.running),
                    whole(engine.waiting),
                    percent(engine.kv_cache_usage_ratio),
                    number(engine.generation_tokens_per_second)
                ),
            ),
        };
        Line::from(vec![label, rest])
    }));
    lines
}

/// A heading and the newest events.
pub(super) fn events<'a>(snapshot: &Snapshot, look: SceneStyle, rows: usize, width: u16) -> Vec<Line<'a>> {
    if rows == 0 {
        return Vec::new();
    }
    let mut lines = vec![rule("events", look, width)];
    let started_ns = snapshot.started_ns.unwrap_or_default();
    lines.extend(snapshot.events.iter().take(rows - 1).map(|event| {
        let tone = match event.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warn,
            _ => Tone::Plain,
        };
        let at = clock((event.timestamp_ns - started_ns) as f64 / 1e9);
        Line::from(vec![
            look.span(Tone::Dim, format!("{at:>7}  ")),
            look.span(tone, format!("{}: ", printable(event.kind.as_str()))),
            look.span(Tone::Plain, printable(&event.message)),
        ])
    }));
    if snapshot.events.is_empty() && rows > 1 {
        lines.push(Line::from(look.span(Tone::Dim, "   none yet")));
    }
    lines
}

/// A heading and the newest lines of the log; empty without any.
pub(super) fn log<'a>(snapshot: &Snapshot, look: SceneStyle, rows: usize, width: u16) -> Vec<Line<'a>> {
    let log = &snapshot.status.log;
    if rows < 2 || log.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![rule("log", look, width)];
    let skipped = log.len().saturating_sub(rows - 1);
    lines.extend(
        log.iter()
            .skip(skipped)
            .map(|line| Line::from(look.span(Tone::Plain, printable(line)))),
    );
    lines
}

/// Keys, and what is missing.
pub(super) fn footer<'a>(snapshot: &Snapshot, look: SceneStyle, paused: bool) -> Line<'a> {
    let totals = &snapshot.totals;
    let mut spans = vec![look.span(Tone::Dim, "q quit  w window  p pause  ? help  ")];
    if paused {
        spans.push(look.span(Tone::Warn, "PAUSED  "));
    }
    for (count, word, tone) in [
        (totals.errors, "errors", Tone::Bad),
        (totals.warnings, "warnings", Tone::Warn),
        (totals.gaps, "gaps", Tone::Warn),
        (totals.drops, "drops", Tone::Warn),
    ] {
        let tone = if count > 0 { tone } else { Tone::Dim };
        spans.push(look.span(tone, format!("{word} {count}  ")));
    }
    Line::from(spans)
}

pub(super) fn overlay<'a>(overlay: Overlay, look: SceneStyle) -> Vec<Line<'a>> {
    let lines: &[&str] = match overlay {
        Overlay::None => &[],
        Overlay::Question => &[
            "Stop the run? It cannot be resumed, and its result will not count.",
            "",
            "y  stop it     any other key  go on",
        ],
        Overlay::Help => &[
            "q       stop the run, or leave a record",
            "Ctrl-C  stop at once, as the signal SIGINT does",
            "w       window of the figures: 10 s, 60 s, everything kept",
            "p       pause the picture; the run goes on",
            "?       this help",
            "",
            "TTFT    sent to first token",
            "TPOT    (last - first token) / (tokens - 1)",
            "latency sent to last token",
            "-       not measured in this window",
        ],
    };
    lines
        .iter()
        .map(|line| Line::from(look.span(Tone::Plain, format!(" {line}"))))
        .collect()
}
