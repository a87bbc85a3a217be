//! Explains LoadGen's INVALID: which limit was missed, by how much, and which flag or rate would help.

use mlperf_loadgen::{RunResult, Validity};

use super::words::{number, time};
use super::{Check, Evidence, Finding};
use crate::early_stopping::over_allowed;

/// LoadGen's verdict; if it is INVALID, every condition that was not met, with its numbers.
pub(super) fn loadgen_valid(evidence: &Evidence<'_>) -> Finding {
    let result = evidence.result;
    let failed = evidence.incidents.is_some_and(|incidents| incidents.failed > 0);
    let check = Check::LoadGenValid;
    match result.validity {
        Some(Validity::Valid) => return Finding::pass(check),
        // Accuracy runs have no verdict, and a truncated run is a separate finding.
        None => return Finding::not_applicable(check),
        Some(Validity::Invalid) => {}
    }
    let mut clauses = Vec::new();
    let mut ways_out = Vec::new();
    for (what, way_out) in [
        duration(result, failed),
        counts(result),
        latency(result),
        early_stopping(result),
    ]
    .into_iter()
    .flatten()
    {
        clauses.push(what);
        ways_out.extend(way_out);
    }
    if clauses.is_empty() {
        let advice = result.invalid_reason.as_deref().unwrap_or_default().trim();
        let why = if advice.is_empty() {
            "it gives no reason".to_owned()
        } else {
            format!("it gives the reason {advice:?}")
        };
        return Finding::fail(check, format!("LoadGen says INVALID; {why}"));
    }
    let finding = Finding::fail(
        check,
        format!("LoadGen says INVALID because {}", clauses.join(", and ")),
    );
    match ways_out.into_iter().next() {
        // The first reason is the cause of the others.
        Some(way_out) => finding.with_way_out(way_out),
        None => finding,
    }
}

/// A clause and a remedy.
type Reason = Option<(String, Option<String>)>;

fn scenario(result: &RunResult) -> &str {
    result
        .effective
        .get("scenario")
        .and_then(|value| value.as_str())
        .unwrap_or_default()
}

/// The duration of the run in seconds, as its scenario defines it.
pub(super) fn measured_secs(result: &RunResult) -> Option<f64> {
    let until_last = |rate: Option<f64>| {
        let rate = rate.filter(|rate| *rate > 0.0)?;
        Some((result.query_count?.saturating_sub(1)) as f64 / rate)
    };
    match scenario(result) {
        "Offline" => Some(result.latency.max_ns? as f64 / 1e9),
        "Server" => until_last(result.scheduled_samples_per_sec),
        "SingleStream" => until_last(result.qps_with_loadgen_overhead),
        // LoadGen logs no rate in this scenario; its interval for the power meter has milliseconds.
        _ => None,
    }
}

/// LoadGen counts failed queries as completed, so a run with failures gives no usable rate.
fn duration(result: &RunResult, failed: bool) -> Reason {
    if result.min_duration_met != Some(false) {
        return None;
    }
    let wanted = result.effective_number("min_duration_ms").unwrap_or_default() / 1e3;
    let what = match measured_secs(result) {
        Some(secs) => format!(
            "the run took {} of the {} s that it has to last",
            time(secs * 1e9),
            number(wanted)
        ),
        None => format!(
            "the run was shorter than the {} s that it has to last",
            number(wanted)
        ),
    };
    let rate = match scenario(result) {
        "Offline" => result.samples_per_sec,
        "SingleStream" => result.qps_with_loadgen_overhead,
        _ => None,
    };
    let way_out = match rate {
        Some(_) if failed => return Some((what, None)),
        Some(rate) => format!(
            "LoadGen prepares as many samples as --target-qps says, so set it to {} (5 % above the {} reached)",
            number((rate * 1.05).ceil()),
            number(rate)
        ),
        None => "LoadGen ended the schedule early, so look for limits (max_duration, max_query_count, \
                 max_async_queries) in user.conf"
            .to_owned(),
    };
    Some((what, Some(way_out)))
}

fn counts(result: &RunResult) -> Reason {
    if result.min_queries_met != Some(false) {
        return None;
    }
    let wanted = result.effective_number("min_query_count").unwrap_or_default();
    let done = result.query_count.unwrap_or_default();
    let what = format!("only {done} of at least {wanted} queries were issued");
    Some((
        what,
        Some("look for max_query_count or max_duration in user.conf".to_owned()),
    ))
}

/// A limit that is judged at a percentile, in nanoseconds.
struct Limit {
    name: &'static str,
    limit: f64,
    measured: f64,
}

fn limits(result: &RunResult) -> Vec<Limit> {
    let percentile = percentile(result) * 100.0;
    let requested = |key: &str| result.requested.get(key).and_then(serde_json::Value::as_f64);
    let tokens = result
        .requested
        .get("use_token_latencies")
        .is_some_and(|value| value == true);
    let candidates = if tokens {
        vec![
            (
                "TTFT",
                requested("server_ttft_latency"),
                result.ttft.percentile_ns(percentile),
            ),
            (
                "TPOT",
                requested("server_tpot_latency"),
                result.tpot.percentile_ns(percentile),
            ),
        ]
    } else {
        let limit = result.effective_number("target_latency_ns");
        vec![("the latency", limit, result.latency.percentile_ns(percentile))]
    };
    candidates
        .into_iter()
        .filter_map(|(name, limit, measured)| {
            Some(Limit {
                name,
                limit: limit?,
                measured: measured? as f64,
            })
        })
        .collect()
}

/// The percentile that is judged, as a fraction.
fn percentile(result: &RunResult) -> f64 {
    result
        .effective_number("target_latency_percentile")
        .unwrap_or(0.99)
}

fn latency(result: &RunResult) -> Reason {
    if result.perf_constraints_met != Some(false) {
        return None;
    }
    let over: Vec<Limit> = limits(result)
        .into_iter()
        .filter(|limit| limit.measured > limit.limit)
        .collect();
    if over.is_empty() {
        return None;
    }
    let percentile = number(percentile(result) * 100.0);
    let clauses: Vec<String> = over
        .iter()
        .map(|limit| {
            format!(
                "{} at the {percentile}th percentile was {}, {} % over the limit of {}",
                limit.name,
                time(limit.measured),
                number((limit.measured / limit.limit - 1.0) * 100.0),
                time(limit.limit)
            )
        })
        .collect();
    Some((clauses.join(" and "), lower_rate(result, &over)))
}

/// Share of the rate that an overloaded server finished at which it is likely to meet its limits: at the full rate, any
/// burst of arrivals leaves a queue that does not shrink.
const OF_FINISHED: f64 = 0.8;

/// The rates to try where the server kept up, as shares of the present one. Latency near saturation rises much faster
/// than load, so the rate falls less than the latency has to.
const LEAST_OF_RATE: f64 = 0.5;
const MOST_OF_RATE: f64 = 0.85;

/// A rate to try next, where these limits were missed. It is an estimate: one run does not show how latency depends
/// on load.
fn lower_rate(result: &RunResult, over: &[Limit]) -> Option<String> {
    const SEARCH: &str = "an estimate; --find-peak searches for the highest valid rate";
    let share = |over: &mut dyn Iterator<Item = &Limit>| {
        over.map(|limit| limit.limit / limit.measured).fold(1.0, f64::min)
    };
    let (arrived, finished) = (
        result.scheduled_samples_per_sec?,
        result.completed_samples_per_sec?,
    );
    if finished < 0.97 * arrived {
        // In a queue that grows, the time to first token says nothing about the server. The time per output token is
        // that of full batches, which have to become smaller by as much as it is over its limit.
        let tokens = share(&mut over.iter().filter(|limit| limit.name == "TPOT"));
        return Some(format!(
            "{} queries/s arrived and {} were finished, so the queue grew all the time: try --target-qps {} ({SEARCH})",
            number(arrived),
            number(finished),
            number(finished * OF_FINISHED * tokens.max(LEAST_OF_RATE))
        ));
    }
    let target = result.effective_number("target_qps").unwrap_or(arrived);
    Some(format!(
        "the server kept up with the {} queries/s that arrived, so latency, not throughput, is the limit: try \
         --target-qps {} ({SEARCH})",
        number(arrived),
        number(target * share(&mut over.iter()).clamp(LEAST_OF_RATE, MOST_OF_RATE))
    ))
}

fn early_stopping(result: &RunResult) -> Reason {
    // If a limit is missed by far, the early-stopping test cannot pass either and adds no information.
    if result.early_stopping_met != Some(false) || result.perf_constraints_met == Some(false) {
        return None;
    }
    let done = result.query_count?;
    let percentile = percentile(result);
    let words = [
        &result.early_stopping_result,
        &result.early_stopping_tpot_result,
        &result.early_stopping_ttft_result,
    ];
    let needed = words
        .into_iter()
        .flatten()
        .find_map(|words| needed(words, done))?;
    let more = needed.saturating_sub(done);
    let confidence = format!(
        "for confidence at the {}th percentile",
        number(percentile * 100.0)
    );
    if scenario(result) != "Server" {
        let what = format!("{done} queries are too few {confidence}: it takes {needed}");
        let way_out = format!(
            "set *.{}.min_query_count = {needed} in user.conf",
            scenario(result)
        );
        return Some((what, Some(way_out)));
    }
    let over = over_allowed(needed, percentile).unwrap_or_default();
    let limit = match &result.early_stopping_tpot_result {
        Some(words) if words.contains("unsuccessful") => "the TPOT limit",
        Some(_) => "the TTFT limit",
        None => "the latency limit",
    };
    let what = format!(
        "{done} queries with {over} over {limit} are too few {confidence}: {more} more within it are needed"
    );
    let rate = result.scheduled_samples_per_sec.filter(|rate| *rate > 0.0)?;
    // Not all further queries will be within the limit, so one more in twenty is requested.
    let secs = (needed as f64 * 1.05 / rate).ceil();
    let way_out = match over {
        0 => Some(format!("run for at least --duration {secs}s")),
        _ if over as f64 / done as f64 >= 1.0 - percentile => lower_rate(result, &[]),
        _ => Some(format!(
            "run for at least --duration {secs}s, or lower --target-qps a little"
        )),
    };
    Some((what, way_out))
}

/// The number of queries that LoadGen's message asks for.
fn needed(words: &str, done: u64) -> Option<u64> {
    let number_after = |marker: &str| {
        let (_, rest) = words.split_once(marker)?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    number_after("Would need to run at least")
        .map(|more| done + more)
        .or_else(|| number_after("Need to process at least"))
}
