//! Whether the machine was quiet enough for latencies to mean anything.

use run_statistics::{mean, percentile};

use super::ComparedRun;
use crate::input::RequestTimes;
use crate::words::{secs, share};

/// The client may be late by this share of the limit on the time to first token, and by at least this: the limits of
/// the diagnosis' client rule.
const LATE_SHARE: f64 = 0.01;
const LATE_FLOOR_SECS: f64 = 0.005;

/// Share of time that may be lost to other work on the host.
const LOST_TIME: f64 = 0.05;

/// Difference in throttled seconds per second.
const THROTTLING: f64 = 0.1;

/// Why the latencies of these runs cannot be compared, one sentence each.
pub(super) fn reasons(base: &ComparedRun<'_>, other: &ComparedRun<'_>) -> Vec<String> {
    let mut reasons: Vec<String> = [base, other].into_iter().flat_map(of_one).collect();
    let throttled = |compared: &ComparedRun<'_>| {
        let span = compared.window.span.or(compared.window.whole)?;
        let seconds = compared.run.seconds.inside(span);
        mean(
            &compared
                .run
                .seconds
                .throttled_secs
                .values(seconds)
                .collect::<Vec<f64>>(),
        )
    };
    if let (Some(a), Some(b)) = (throttled(base), throttled(other))
        && (a - b).abs() > THROTTLING
    {
        reasons.push(format!(
            "the GPUs were throttled {} of the time in one run and {} in the other",
            share(a),
            share(b)
        ));
    }
    reasons
}

fn of_one(compared: &ComparedRun<'_>) -> Vec<String> {
    let facts = &compared.run.facts;
    let name = &facts.name;
    let mut reasons = Vec::new();
    let delays: Vec<f64> = compared
        .run
        .requests
        .iter()
        .filter_map(RequestTimes::schedule_lag_secs)
        .collect();
    let limit = facts
        .ttft_limit_secs
        .map_or(LATE_FLOOR_SECS, |limit| (LATE_SHARE * limit).max(LATE_FLOOR_SECS));
    if let Some(p99) = percentile::linear(&percentile::sorted(&delays), 0.99)
        && p99 > limit
    {
        reasons.push(format!(
            "{name}: the client was late by {} at p99, at most {} are accepted",
            secs(p99),
            secs(limit)
        ));
    }
    for (value, what) in [
        (
            facts.host_cpu_pressure_ratio,
            "work on the host waited for a processor",
        ),
        (facts.host_steal_ratio, "the hypervisor took processors away"),
    ] {
        if let Some(ratio) = value.filter(|ratio| *ratio > LOST_TIME) {
            reasons.push(format!("{name}: {what} {} of the time", share(ratio)));
        }
    }
    reasons
}
