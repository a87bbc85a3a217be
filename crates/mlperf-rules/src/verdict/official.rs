//! Checks whether a valid result is official: every setting must equal the round's.

use mlperf_loadgen::{Mode, RunResult, Scenario, TestSettings};

use super::invalid::measured_secs;
use super::words::{number, time};
use super::{Check, Evidence, Finding, PrefixCaching, ROUND, is_accuracy};

/// Largest allowed ratio of our own delay to the latency limit, at the 99th percentile.
const DELAY_SHARE: f64 = 0.01;

pub(super) fn checks(evidence: &Evidence<'_>) -> Vec<Finding> {
    let (result, round) = (evidence.result, evidence.round);
    vec![
        seeds(result, round),
        limits(result, round),
        duration(result, round),
        counts(result, round),
        no_audit(result),
        loadgen_build(result),
        client_kept_up(evidence),
        real_server(evidence.simulated),
        no_prefix_caching(evidence.prefix_caching),
    ]
}

/// A value of the log and the corresponding value of the round.
struct Pair {
    key: &'static str,
    found: Option<f64>,
    wanted: f64,
}

fn differing(pairs: &[Pair]) -> Option<String> {
    let texts: Vec<String> = pairs
        .iter()
        .filter(|pair| {
            pair.found
                .is_none_or(|found| (found - pair.wanted).abs() > 1e-9 * pair.wanted.abs())
        })
        .map(|pair| {
            let found = pair.found.map_or("absent".to_owned(), |found| found.to_string());
            format!("{} is {found} and not {}", pair.key, pair.wanted)
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn seeds(result: &RunResult, round: &TestSettings) -> Finding {
    // Compared as integers, since a double cannot represent them.
    let pairs = [
        ("qsl_rng_seed", round.qsl_rng_seed),
        ("sample_index_rng_seed", round.sample_index_rng_seed),
        ("schedule_rng_seed", round.schedule_rng_seed),
    ];
    let wrong: Vec<String> = pairs
        .iter()
        .filter_map(|(key, wanted)| {
            let found = result.effective.get(*key)?;
            (found.as_u64() != Some(*wanted)).then(|| format!("{key} is {found} and not {wanted}"))
        })
        .collect();
    let absent = pairs
        .iter()
        .filter(|(key, _)| !result.effective.contains_key(*key))
        .count();
    if absent > 0 {
        return Finding::unknown(Check::Seeds, "the log does not contain the seeds");
    }
    if wrong.is_empty() {
        return Finding::pass(Check::Seeds);
    }
    Finding::fail(
        Check::Seeds,
        format!("the seeds are not those of round {ROUND}: {}", wrong.join(", ")),
    )
    .with_way_out("use a benchmark's settings as LoadGen has them")
}

fn limits(result: &RunResult, round: &TestSettings) -> Finding {
    let check = Check::Limits;
    let requested = |key: &str| result.requested.get(key).and_then(serde_json::Value::as_f64);
    let mut pairs = Vec::new();
    let measured = |key: &str| {
        result
            .requested
            .get(key)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false)
    };
    if measured("use_token_latencies") != round.use_token_latencies {
        let what = if round.use_token_latencies {
            "token latencies are not measured, as the round does for this benchmark"
        } else {
            "token latencies are measured, which the round does not for this benchmark"
        };
        return Finding::fail(check, what).with_way_out("check --lg-model-name");
    }
    match round.scenario {
        Scenario::Server if round.use_token_latencies => {
            pairs.push(Pair {
                key: "server_ttft_latency (ns)",
                found: requested("server_ttft_latency"),
                wanted: round.server_ttft_latency.as_nanos() as f64,
            });
            pairs.push(Pair {
                key: "server_tpot_latency (ns)",
                found: requested("server_tpot_latency"),
                wanted: round.server_tpot_latency.as_nanos() as f64,
            });
        }
        Scenario::Server => pairs.push(Pair {
            key: "target_latency_ns",
            found: result.effective_number("target_latency_ns"),
            wanted: round.server_target_latency.as_nanos() as f64,
        }),
        Scenario::Offline => return Finding::pass(check),
        Scenario::SingleStream | Scenario::MultiStream => {}
    }
    pairs.push(Pair {
        key: "target_latency_percentile",
        found: result.effective_number("target_latency_percentile"),
        wanted: match round.scenario {
            Scenario::SingleStream => round.single_stream_target_percentile,
            Scenario::MultiStream => round.multi_stream_target_percentile,
            Scenario::Server | Scenario::Offline => round.server_target_percentile,
        },
    });
    match differing(&pairs) {
        None => Finding::pass(check),
        Some(what) => Finding::fail(
            check,
            format!("the limits are not those of round {ROUND}: {what}"),
        )
        .with_way_out("take them out of user.conf"),
    }
}

fn duration(result: &RunResult, round: &TestSettings) -> Finding {
    let check = Check::Duration;
    if is_accuracy(result) {
        return Finding::not_applicable(check);
    }
    let wanted = round.min_duration.as_secs_f64();
    let asked = result.effective_number("min_duration_ms").map(|ms| ms / 1e3);
    // LoadGen judges the requested duration. The duration of MultiStream is not in its log.
    let lasted = measured_secs(result).or(asked.filter(|_| result.min_duration_met == Some(true)));
    match (asked, lasted) {
        (Some(asked), Some(lasted)) if asked >= wanted && lasted >= wanted => Finding::pass(check),
        (Some(asked), _) if asked < wanted => Finding::fail(
            check,
            format!(
                "the run had to last {} s, where round {ROUND} asks for {} s",
                number(asked),
                number(wanted)
            ),
        )
        .with_way_out(format!("--duration {wanted}s")),
        (Some(_), Some(lasted)) => Finding::fail(
            check,
            format!(
                "the run lasted {}, where round {ROUND} asks for {} s",
                time(lasted * 1e9),
                number(wanted)
            ),
        ),
        _ => Finding::unknown(check, "the log does not contain the run's duration"),
    }
}

fn counts(result: &RunResult, round: &TestSettings) -> Finding {
    let check = Check::Counts;
    let mut wrong = Vec::new();
    let mut at_least = |key: &'static str, wanted: u64| {
        let found = result.effective.get(key).and_then(serde_json::Value::as_u64);
        if found.is_none_or(|found| found < wanted) {
            let found = found.map_or("absent".to_owned(), |found| found.to_string());
            wrong.push(format!("{key} is {found}, at least {wanted} wanted"));
        }
    };
    if is_accuracy(result) {
        if let Some(wanted) = round
            .accuracy_sample_count_override
            .or(round.performance_sample_count_override)
        {
            at_least("accuracy_sample_count", wanted);
        }
    } else {
        if let Some(wanted) = round.performance_sample_count_override {
            at_least("performance_sample_count", wanted);
        }
        match round.scenario {
            // LoadGen converts the count to the samples of the only query.
            Scenario::Offline => {
                let set = round.performance_sample_count_override.unwrap_or(0);
                at_least("samples_per_query", round.min_query_count.max(set));
            }
            _ => at_least("min_query_count", round.min_query_count),
        }
    }
    let flag = |key: &str| {
        result
            .effective
            .get(key)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false)
    };
    if flag("sample_concatenate_permutation") != round.sample_concatenate_permutation {
        wrong.push("sample_concatenate_permutation is not the round's".to_owned());
    }
    for key in ["performance_issue_unique", "performance_issue_same"] {
        if flag(key) && round.mode == Mode::Performance {
            wrong.push(format!("{key} is on, as in an audit"));
        }
    }
    if wrong.is_empty() {
        return Finding::pass(check);
    }
    Finding::fail(
        check,
        format!("counts are not those of round {ROUND}: {}", wrong.join(", ")),
    )
    .with_way_out("use the whole dataset, and no counts of your own (--num-samples, user.conf)")
}

fn no_audit(result: &RunResult) -> Finding {
    if !result.audit_config_found {
        return Finding::pass(Check::NoAudit);
    }
    Finding::fail(Check::NoAudit, "an audit configuration was in effect")
        .with_way_out("leave --audit-config out, except in compliance runs")
}

fn loadgen_build(result: &RunResult) -> Finding {
    let check = Check::LoadGenBuild;
    let ours = mlperf_loadgen::loadgen_version();
    let Some(version) = &result.loadgen_version else {
        return Finding::unknown(check, "the log does not contain LoadGen's version");
    };
    if version.split_whitespace().next() != Some(ours.as_str()) {
        return Finding::fail(
            check,
            format!("LoadGen is {version}, where round {ROUND} uses {ours}"),
        );
    }
    match result.loadgen_git_status.as_deref() {
        Some("" | "NA") | None => Finding::pass(check),
        Some(_) => Finding::fail(check, "LoadGen was built from changed sources"),
    }
}

fn client_kept_up(evidence: &Evidence<'_>) -> Finding {
    let check = Check::ClientKeptUp;
    let round = evidence.round;
    if round.scenario != Scenario::Server || is_accuracy(evidence.result) {
        // Only this scenario has a schedule that the client can fall behind.
        return Finding::not_applicable(check);
    }
    let Some(delay) = evidence.issue_delay else {
        return Finding::unknown(check, "how late queries were issued was not recorded");
    };
    let limit = if round.use_token_latencies {
        round.server_ttft_latency
    } else {
        round.server_target_latency
    };
    let allowed = limit.as_nanos() as f64 * DELAY_SHARE;
    let p99 = delay.p99.as_nanos() as f64;
    if p99 <= allowed {
        return Finding::pass(check);
    }
    Finding::fail(
        check,
        format!(
            "sut issued queries late: p99 delay {} (longest {}), allowed {} (a hundredth of the limit)",
            time(p99),
            time(delay.max.as_nanos() as f64),
            time(allowed)
        ),
    )
    .with_way_out("give this program more cores, or take other work off the machine")
}

fn real_server(simulated: bool) -> Finding {
    if simulated {
        return Finding::fail(Check::RealServer, "the server was the built-in simulator")
            .with_way_out("point --url at a real server, or start one with --model");
    }
    Finding::pass(Check::RealServer)
}

fn no_prefix_caching(caching: Option<PrefixCaching>) -> Finding {
    let check = Check::NoPrefixCaching;
    match caching {
        None => Finding::not_applicable(check),
        Some(PrefixCaching::Off) => Finding::pass(check),
        Some(PrefixCaching::On) => Finding::fail(check, "prefix caching is on; MLPerf does not allow it")
            .with_way_out("serve with --no-enable-prefix-caching"),
        Some(PrefixCaching::Unknown) => {
            Finding::unknown(check, "the server does not report whether prefix caching is off")
        }
    }
}
