//! Tests of the checks on logs of real LoadGen runs, reduced to the lines that the checks read.

use std::time::Duration;

use mlperf_loadgen::{Benchmark, Incidents, LoadGenLog, RunResult, Scenario, TestSettings};

use super::*;

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/data/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn result(text: &str) -> RunResult {
    LoadGenLog::parse(text, "").result
}

fn round(scenario: Scenario) -> TestSettings {
    let benchmark = Benchmark::named("llama3_1-8b").unwrap();
    TestSettings::from_config(&benchmark, scenario, None).unwrap().0
}

const ON_TIME: Option<IssueDelay> = Some(IssueDelay {
    p99: Duration::from_micros(90),
    max: Duration::from_millis(1),
});

fn verdict(text: &str, scenario: Scenario) -> Verdict {
    let (result, round) = (result(text), round(scenario));
    judge(&Evidence {
        result: &result,
        incidents: Some(&Incidents::default()),
        round: &round,
        issue_delay: ON_TIME,
        simulated: false,
        prefix_caching: Some(PrefixCaching::Off),
    })
}

/// The lines of a verdict, joined.
fn shown(verdict: &Verdict) -> String {
    verdict.lines().join(" | ")
}

fn paragraph(name: &str, scenario: Scenario) -> String {
    shown(&verdict(&recorded(name), scenario))
}

#[test]
fn every_invalid_has_its_numbers_and_a_way_out() {
    for (name, scenario, expected) in [
        (
            "ttft_over",
            Scenario::Server,
            "not a valid result: | - LoadGen says INVALID because TTFT at the 99th percentile was 1.19 s, 2288 % \
             over the limit of 50 ms | To fix: 408 queries/s arrived and 258 were finished, so the queue grew \
             all the time: try --target-qps 206 (an estimate; --find-peak searches for the highest valid rate)",
        ),
        (
            "tpot_over",
            Scenario::Server,
            "not a valid result: | - LoadGen says INVALID because TPOT at the 99th percentile was 8.58 ms, 329 % \
             over the limit of 2 ms | To fix: the server kept up with the 95.9 queries/s that arrived, so \
             latency, not throughput, is the limit: try --target-qps 50 (an estimate; --find-peak searches for the \
             highest valid rate)",
        ),
        (
            "early_stopping",
            Scenario::Server,
            "not a valid result: | - LoadGen says INVALID because 300 queries with 0 over the TPOT limit are too \
             few for confidence at the 99th percentile: 159 more within it are needed | To fix: run for at \
             least --duration 1s",
        ),
        (
            "short_offline",
            Scenario::Offline,
            "not a valid result: | - LoadGen says INVALID because the run took 71 ms of the 2 s that it has to \
             last | To fix: LoadGen prepares as many samples as --target-qps says, so set it to \
             3700 (5 % above the 3523 reached)",
        ),
        (
            "few_single_stream",
            Scenario::SingleStream,
            "not a valid result: | - LoadGen says INVALID because 50 queries are too few for confidence at the \
             90th percentile: it takes 64 | To fix: set *.SingleStream.min_query_count = 64 in user.conf",
        ),
    ] {
        assert_eq!(paragraph(name, scenario), expected, "{name}");
    }
}

#[test]
fn valid_with_errors_does_not_count() {
    let verdict = verdict(&recorded("errors_but_valid"), Scenario::Server);
    assert!(!verdict.counts());
    assert_eq!(verdict.finding(Check::LoadGenValid).outcome, Outcome::Pass);
    assert_eq!(
        shown(&verdict),
        "not a valid result: | - LoadGen logged 5 errors although it says VALID (5 × \"Number of tokens need to be \
         greater than 1\") | To fix: LoadGen takes no answer of one token, so ask the server for at least two \
         (min_tokens)"
    );
}

#[test]
fn a_full_length_run_with_the_rounds_settings_is_official() {
    let verdict = verdict(&recorded("official_server"), Scenario::Server);
    assert_eq!(verdict.bad().collect::<Vec<_>>(), Vec::<&Finding>::new());
    assert!(verdict.counts() && verdict.bad().next().is_none());
    assert_eq!(shown(&verdict), "valid, and meets what round v6.1 asks for");
}

/// Each change to the log of an official run makes exactly one check fail.
#[test]
fn whatever_is_not_as_the_round_has_it_is_found() {
    let text = recorded("official_server");
    for (from, to, check, words) in [
        (
            r#""effective_schedule_rng_seed", "value": 16159082839903944936"#,
            r#""effective_schedule_rng_seed", "value": 3936089224930324775"#,
            Check::Seeds,
            "schedule_rng_seed is 3936089224930324775 and not 16159082839903944936",
        ),
        (
            r#""requested_server_ttft_latency", "value": 2000000000"#,
            r#""requested_server_ttft_latency", "value": 4000000000"#,
            Check::Limits,
            "server_ttft_latency (ns) is 4000000000 and not 2000000000",
        ),
        (
            r#""requested_use_token_latencies", "value": true"#,
            r#""requested_use_token_latencies", "value": false"#,
            Check::Limits,
            "token latencies are not measured",
        ),
        (
            r#""effective_min_duration_ms", "value": 600000"#,
            r#""effective_min_duration_ms", "value": 60000"#,
            Check::Duration,
            "had to last 60 s, where round v6.1 asks for 600 s",
        ),
        (
            r#""effective_performance_sample_count", "value": 13368"#,
            r#""effective_performance_sample_count", "value": 1000"#,
            Check::Counts,
            "performance_sample_count is 1000, at least 13368 wanted",
        ),
        (
            r#""effective_sample_concatenate_permutation", "value": true"#,
            r#""effective_sample_concatenate_permutation", "value": false"#,
            Check::Counts,
            "sample_concatenate_permutation",
        ),
        (
            r#""value": "6.0.17 @"#,
            r#""value": "5.1.2 @"#,
            Check::LoadGenBuild,
            "LoadGen is 5.1.2 @",
        ),
        (
            r#""loadgen_git_status_message", "value": """#,
            r#""loadgen_git_status_message", "value": " M loadgen.cc""#,
            Check::LoadGenBuild,
            "changed sources",
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from} stands in the log");
        let verdict = verdict(&changed, Scenario::Server);
        let bad: Vec<_> = verdict.bad().collect();
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert_eq!((bad[0].check, bad[0].outcome), (check, Outcome::Fail));
        assert!(bad[0].what.contains(words), "{}", bad[0].what);
        assert!(verdict.counts() && verdict.bad().next().is_some());
        assert!(shown(&verdict).starts_with("valid, but not an official result: | - "));
    }
}

#[test]
fn an_audit_is_found() {
    let verdict = verdict(&recorded("audit"), Scenario::Server);
    assert_eq!(verdict.finding(Check::NoAudit).outcome, Outcome::Fail);
    assert!(verdict.counts());
}

#[test]
fn a_client_that_is_late_or_not_looked_at_is_not_official() {
    let (result, round) = (result(&recorded("official_server")), round(Scenario::Server));
    let with = |issue_delay, simulated| {
        judge(&Evidence {
            result: &result,
            incidents: None,
            round: &round,
            issue_delay,
            simulated,
            prefix_caching: None,
        })
    };
    let late = IssueDelay::from_ns((0..1000).map(|i| i * 30_000));
    assert_eq!(
        shown(&with(late, false)),
        "valid, but not an official result: | - sut issued queries late: p99 delay 29.7 ms (longest 30 ms), allowed 20 ms \
         (a hundredth of the limit) | To fix: \
         give this program more cores, or take other work off the machine"
    );
    assert_eq!(
        with(None, false).finding(Check::ClientKeptUp).outcome,
        Outcome::Unknown
    );
    assert!(with(None, false).bad().next().is_some());
    assert_eq!(
        with(ON_TIME, true).finding(Check::RealServer).outcome,
        Outcome::Fail
    );
}

#[test]
fn unanswered_queries_count_even_where_loadgen_is_content() {
    let (result, round) = (result(&recorded("official_server")), round(Scenario::Server));
    let report = {
        let mut incidents = Incidents::default();
        incidents.failed = 3;
        incidents.reasons = vec!["sample 7: connection reset".to_owned()];
        incidents
    };
    let verdict = judge(&Evidence {
        result: &result,
        incidents: Some(&report),
        round: &round,
        issue_delay: ON_TIME,
        simulated: false,
        prefix_caching: Some(PrefixCaching::Off),
    });
    assert!(!verdict.counts());
    assert_eq!(
        shown(&verdict),
        "not a valid result: | - 3 queries failed (first: sample 7: connection reset) | To fix: look at the server's log at that time"
    );
}

#[test]
fn a_log_that_was_cut_says_so() {
    let text = recorded("official_server");
    let end = text.find("result_validity").unwrap();
    let verdict = verdict(&text[..end], Scenario::Server);
    assert_eq!(verdict.finding(Check::Ended).outcome, Outcome::Fail);
    assert!(shown(&verdict).contains("stops before the result"));
}

#[test]
fn delays_have_loadgens_percentile() {
    assert_eq!(IssueDelay::from_ns([]), None);
    let delay = IssueDelay::from_ns([5, -3, 7]).unwrap();
    assert_eq!((delay.p99.as_nanos(), delay.max.as_nanos()), (7, 7));
}

#[test]
fn failed_queries_come_before_what_loadgen_logs_about_them() {
    let mut result = result(&recorded("official_server"));
    result.errors = vec!["LogCompletion n_tokens argument missing".into(); 3];
    result.num_errors = Some(3);
    let mut incidents = Incidents::default();
    incidents.failed = 3;
    incidents.reasons = vec!["the server answered with status 503".into()];
    let round = round(Scenario::Server);
    let verdict = judge(&Evidence {
        result: &result,
        incidents: Some(&incidents),
        round: &round,
        issue_delay: ON_TIME,
        simulated: false,
        prefix_caching: Some(PrefixCaching::Off),
    });
    assert_eq!(
        shown(&verdict),
        "not a valid result: | - 3 queries failed (first: the server answered with status 503) | - LoadGen logged 3 errors \
         for failed queries, whose answers have no tokens | To fix: look at the server's log at that time"
    );
}
