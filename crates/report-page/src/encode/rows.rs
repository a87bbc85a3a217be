//! Columns of requests, engine steps and batches.

use std::collections::BTreeMap;

use super::block::{Block, Clock};
use super::thin;
use crate::model::{Batch, Outcome, Run, Step, TimeSource};
use crate::requests::Requests;

pub(super) fn request_columns(block: &mut Block, requests: &Requests) -> BTreeMap<&'static str, usize> {
    let rows = || requests.rows.iter();
    let e = requests.exponent;
    let whole = |n: Option<u32>| n.map(i64::from);
    BTreeMap::from([
        ("issued", block.integers(e, rows().map(|r| Some(r.issued)))),
        // Differences within a request are small; the script adds them up again.
        (
            "lag",
            block.integers(e, rows().map(|r| Some(r.issued - r.scheduled?))),
        ),
        (
            "wait",
            block.integers(e, rows().map(|r| Some(r.sent? - r.issued))),
        ),
        (
            "ttft",
            block.integers(e, rows().map(|r| Some(r.first? - r.sent.unwrap_or(r.issued)))),
        ),
        (
            "rest",
            block.integers(
                e,
                rows().map(|r| Some(r.done? - r.first.or(r.sent).unwrap_or(r.issued))),
            ),
        ),
        (
            "prompt",
            block.integers(0, rows().map(|r| whole(r.prompt_tokens))),
        ),
        (
            "output",
            block.integers(0, rows().map(|r| whole(r.output_tokens))),
        ),
        ("queue", block.integers(e, rows().map(|r| r.queue))),
        // The server's times nearly add up to the client's: what is left over is smaller.
        (
            "prefill",
            block.integers(
                e,
                rows().map(|r| left_over(r.first.zip(r.sent).zip(r.queue), r.prefill)),
            ),
        ),
        (
            "decode",
            block.integers(
                e,
                rows().map(|r| left_over(r.done.zip(r.first).zip(Some(0)), r.decode)),
            ),
        ),
        (
            "source",
            block.integers(
                0,
                rows().map(|r| {
                    r.time_source.map(|s| match s {
                        TimeSource::Measured => 0,
                        TimeSource::Estimate => 1,
                    })
                }),
            ),
        ),
        (
            "outcome",
            block.integers(
                0,
                rows().map(|r| {
                    Some(match r.outcome {
                        Outcome::Completed => 0,
                        Outcome::Failed => 1,
                        Outcome::Cancelled => 2,
                        Outcome::Open => 3,
                    })
                }),
            ),
        ),
        (
            "server",
            block.integers(0, rows().map(|r| Some(i64::from(r.server)))),
        ),
        (
            "weight",
            block.floats(&rows().map(|r| Some(r.weight)).collect::<Vec<_>>()),
        ),
    ])
}

/// Later − earlier − part − time if all are known, else the time itself.
fn left_over(known: Option<((i64, i64), i64)>, time: Option<i64>) -> Option<i64> {
    match known {
        Some(((later, earlier), part)) => Some(later - earlier - part - time?),
        None => time,
    }
}

pub(super) fn steps(
    block: &mut Block,
    clock: &Clock,
    run: &Run,
    thinned: bool,
) -> BTreeMap<&'static str, usize> {
    let tokens = |s: &Step| s.prompt_tokens + s.output_tokens;
    let mut steps: Vec<&Step> = run.steps.iter().collect();
    if thinned {
        // The step with the fewest and the one with the most tokens of each window.
        let times: Vec<i64> = run.steps.iter().map(|s| s.end_ns).collect();
        steps = thin::windows(&times, run.span.start_ns, run.span.end_ns)
            .into_iter()
            .flat_map(|window| {
                let part = &run.steps[window];
                let (min, max) = (
                    part.iter().min_by_key(|s| tokens(s)),
                    part.iter().max_by_key(|s| tokens(s)),
                );
                min.into_iter().chain(max.filter(|max| min != Some(max)))
            })
            .collect();
        steps.sort_by_key(|s| s.end_ns);
    }
    if steps.is_empty() {
        return BTreeMap::new();
    }
    let rows = || steps.iter();
    BTreeMap::from([
        ("end", block.integers(3, rows().map(|s| Some(clock.us(s.end_ns))))),
        (
            "duration",
            block.integers(3, rows().map(|s| Some((s.duration_ns? + 500).div_euclid(1_000)))),
        ),
        (
            "prompt",
            block.integers(0, rows().map(|s| Some(i64::from(s.prompt_tokens)))),
        ),
        (
            "output",
            block.integers(0, rows().map(|s| Some(i64::from(s.output_tokens)))),
        ),
        (
            "requests",
            block.integers(0, rows().map(|s| s.requests.map(i64::from))),
        ),
    ])
}

pub(super) fn batches(block: &mut Block, clock: &Clock, batches: &[Batch]) -> BTreeMap<&'static str, usize> {
    if batches.is_empty() {
        return BTreeMap::new();
    }
    let rows = || batches.iter();
    BTreeMap::from([
        (
            "issued",
            block.integers(3, rows().map(|b| Some(clock.us(b.issued_ns)))),
        ),
        (
            "done",
            block.integers(3, rows().map(|b| Some(clock.us(b.done_ns?)))),
        ),
        (
            "requests",
            block.integers(0, rows().map(|b| Some(i64::from(b.requests)))),
        ),
        (
            "failed",
            block.integers(0, rows().map(|b| Some(i64::from(b.failed)))),
        ),
    ])
}
