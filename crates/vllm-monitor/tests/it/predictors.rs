//! Predictors one by one on drawn series. Those of KV and queue are measured on a scheduler: `long_runs` and the
//! evaluation program.

use vllm_monitor::snapshot::Exit;
use vllm_monitor::{AlertKind, FailureType, Prediction, ProbeOutcome, Severity, Signal, Time};

use crate::world::{World, probe};

#[test]
fn a_busy_server_answers_slowly_and_connects_quickly() {
    let mut w = World::serving();
    for _ in 0..300 {
        w.work();
        w.scrape();
        let mut slow = probe(w.time(), ProbeOutcome::Status(200));
        slow.first_byte_secs = Some(2.5);
        w.builder.health(slow);
        w.tick();
    }
    assert_eq!(w.raised(FailureType::Network, AlertKind::Present), 0);
    for _ in 0..120 {
        w.work();
        w.scrape();
        let mut far = probe(w.time(), ProbeOutcome::Status(200));
        far.connect_secs = Some(0.9);
        w.builder.health(far);
        w.builder.metrics_probe(far);
        w.tick();
    }
    assert_eq!(
        w.raised(FailureType::Network, AlertKind::Present),
        1,
        "connecting itself became slow"
    );
}

#[test]
fn failed_transfers_between_servers_are_network() {
    let mut w = World::serving();
    for second in 0..120 {
        w.set("vllm:nixl_num_failed_transfers_total", f64::from(second) * 0.5);
        w.serve(1);
    }
    let condition = w
        .assessment(FailureType::Network)
        .condition
        .clone()
        .expect("it is present");
    assert!(
        condition
            .evidence
            .iter()
            .any(|e| e.to_string().contains("transfers between servers")),
        "{condition:?}"
    );
}

#[test]
fn a_long_prefill_is_no_hang() {
    // A source without output: steps do not count, but the gauge of the KV cache moves with every part of the prompt.
    let mut w = World::serving();
    w.set("vllm:num_requests_running", 1.0);
    for part in 0..60 {
        w.set("vllm:kv_cache_usage_perc", 0.3 + f64::from(part) * 0.005);
        w.stand_still(1);
    }
    assert_eq!(
        w.raised(FailureType::Hang, AlertKind::Present),
        0,
        "{}",
        w.reasons()
    );
}

#[test]
fn own_progress_outweighs_a_frozen_page() {
    let mut w = World::serving();
    for _ in 0..60 {
        w.own(4.0, 0.2);
        w.stand_still(1);
    }
    assert_eq!(
        w.raised(FailureType::Hang, AlertKind::Present),
        0,
        "tokens flow: {}",
        w.reasons()
    );
}

#[test]
fn a_canary_that_waits_shows_a_hang_of_an_idle_server() {
    let mut w = World::serving();
    w.set("vllm:num_requests_running", 0.0);
    w.stand_still(30);
    for second in 0..15 {
        w.builder.canary(vllm_monitor::snapshot::Canary {
            waiting_secs: Signal::fresh(f64::from(second) + 1.0, 0.0),
            last: Signal::default(),
        });
        w.stand_still(1);
    }
    assert_eq!(w.raised(FailureType::Hang, AlertKind::Present), 1);
    assert!(w.reasons().contains("canary"), "{}", w.reasons());
}

#[test]
fn canaries_that_were_answered_show_how_long_one_may_wait() {
    use vllm_monitor::snapshot::{Canary, CanaryResult};

    // An idle server, so no gaps between steps were learned.
    for (answered, found_within_10_s) in [(0, false), (4, true)] {
        let mut w = World::new();
        for n in 0..answered {
            w.add("vllm:iteration_tokens_total_count", 1.0);
            let answered = CanaryResult {
                ok: true,
                first_token_secs: Some(0.2 + f64::from(n) * 0.01),
            };
            w.builder.canary(Canary {
                waiting_secs: Signal::default(),
                last: Signal::fresh(answered, 0.0),
            });
            w.stand_still(30);
        }
        w.stand_still(30);
        for second in 0..10 {
            w.builder.canary(Canary {
                waiting_secs: Signal::fresh(f64::from(second), 0.0),
                last: Signal::default(),
            });
            w.stand_still(1);
        }
        let raised = w.raised(FailureType::Hang, AlertKind::Present) == 1;
        assert_eq!(raised, found_within_10_s, "{answered} answered: {}", w.reasons());
    }
}

#[test]
fn one_member_that_stands_still_is_named() {
    let mut w = World::new();
    let mut steps = [0.0; 4];
    for second in 0..240 {
        for (i, steps) in steps.iter_mut().enumerate() {
            if i != 2 || second < 200 {
                *steps += 50.0;
            }
            let at = w.time();
            let engine = i.to_string();
            w.builder
                .sample("vllm:num_requests_running", &[("engine", &engine)], 4.0, at);
            w.builder
                .sample("vllm:num_requests_waiting", &[("engine", &engine)], 0.0, at);
            w.builder.sample(
                "vllm:iteration_tokens_total_count",
                &[("engine", &engine)],
                *steps,
                at,
            );
        }
        w.builder.page_complete(w.time());
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    let condition = w
        .assessment(FailureType::Hang)
        .condition
        .clone()
        .expect("it is present");
    assert!(
        condition
            .evidence
            .iter()
            .any(|e| e.to_string().contains("only engine 2")),
        "{condition:?}"
    );
    assert_eq!(condition.severity, Severity::Degraded, "the others serve");
}

#[test]
fn a_member_slower_than_its_peers_is_a_straggler() {
    let mut w = World::new();
    let mut totals = [(0.0, 0.0, 0.0); 4];
    for second in 0..300 {
        for (i, (steps, sum, count)) in totals.iter_mut().enumerate() {
            let secs = if i == 1 && second > 100 { 0.03 } else { 0.02 };
            *steps += 50.0;
            *sum += secs * 400.0;
            *count += 400.0;
            let at = w.time();
            let engine = i.to_string();
            w.builder
                .sample("vllm:num_requests_running", &[("engine", &engine)], 8.0, at);
            w.builder.sample(
                "vllm:iteration_tokens_total_count",
                &[("engine", &engine)],
                *steps,
                at,
            );
            w.builder.sample(
                "vllm:inter_token_latency_seconds_sum",
                &[("engine", &engine)],
                *sum,
                at,
            );
            w.builder.sample(
                "vllm:inter_token_latency_seconds_count",
                &[("engine", &engine)],
                *count,
                at,
            );
        }
        w.builder.page_complete(w.time());
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    let condition = w
        .assessment(FailureType::Straggler)
        .condition
        .clone()
        .expect("it is present");
    assert!(
        condition
            .evidence
            .iter()
            .any(|e| e.to_string().contains("engine 1 is the slowest")),
        "{condition:?}"
    );
}

#[test]
fn without_peers_a_comparison_needs_them() {
    let w = World::serving();
    assert!(matches!(
        &w.assessment(FailureType::Straggler).prediction,
        Prediction::NotEnoughData { need } if need.what.contains("peers")
    ));
}

#[test]
fn errors_of_the_server_degrade_and_those_of_clients_do_not() {
    let answer = |w: &mut World, status: &'static str, total: f64| {
        let labels = [
            ("handler", "/v1/completions"),
            ("method", "POST"),
            ("status", status),
        ];
        w.builder.sample("http_requests_total", &labels, total, w.time());
    };
    for (status, present) in [("4xx", 0), ("5xx", 1)] {
        let mut w = World::serving();
        answer(&mut w, "2xx", 0.0);
        answer(&mut w, status, 0.0);
        w.serve(2);
        for second in 1..=60 {
            answer(&mut w, "2xx", 4.0 * f64::from(second));
            answer(&mut w, status, f64::from(second));
            w.serve(1);
        }
        assert_eq!(
            w.raised(FailureType::RequestErrors, AlertKind::Present),
            present,
            "{status}"
        );
    }
}

#[test]
fn output_that_is_not_a_number_is_reported_at_once() {
    let mut w = World::serving();
    w.set("vllm:corrupted_requests_total", 0.0);
    w.serve(2);
    w.set("vllm:corrupted_requests_total", 1.0);
    w.serve(2);
    let condition = w
        .assessment(FailureType::RequestErrors)
        .condition
        .clone()
        .expect("it is present");
    assert!(
        condition.advice.as_deref().is_some_and(|a| a.contains("weights")),
        "{condition:?}"
    );
}

#[test]
fn no_forecasts_are_made_for_a_server_that_is_gone() {
    let mut w = World::serving();
    w.builder.process_exit(Exit {
        at: Time::from_secs_f64(w.now),
        code: Some(1),
        signal: None,
    });
    for _ in 0..30 {
        w.health(ProbeOutcome::Refused);
        w.tick();
    }
    for failure_type in [
        FailureType::KvPreemption,
        FailureType::QueueOverflow,
        FailureType::Hang,
    ] {
        let prediction = &w.assessment(failure_type).prediction;
        assert!(prediction.forecast().is_none(), "{failure_type}: {prediction:?}");
    }
}
