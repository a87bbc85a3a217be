//! Known defects of an earlier monitoring system, each as a regression test. The numbers are those of the defect list.

use std::collections::BTreeSet;

use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::{Health, State as S};
use vllm_monitor::preflight::{self, Facts, PortFacts};
use vllm_monitor::state::{decode, encode};
use vllm_monitor::{
    AlertKind, Decision, FailureType, Monitor, Prediction, ProbeOutcome, Snapshot, State, Time,
};

use crate::support::rng::Rng;
use crate::world::{TARGET, World};

/// b2: READY could not be reached, nothing recovered, nothing ended.
#[test]
fn every_state_can_be_reached_and_left() {
    for from in S::ALL {
        assert!(
            S::ALL.iter().any(|to| from.may_become(*to)),
            "{from} is a dead end"
        );
        assert!(
            S::ALL.iter().any(|other| other.may_become(from)),
            "{from} cannot be reached"
        );
    }
    assert!(S::Error.may_become(S::Serving) && S::ShuttingDown.may_become(S::NotStarted));
}

/// b4: a start never changed the state, and the report broke after it.
#[test]
fn the_report_is_consistent_after_a_start() {
    let mut w = World::new();
    w.serve(3);
    let target = w.target();
    assert_eq!(target.lifecycle().state(), S::Serving);
    assert!(!target.lifecycle().reasons().is_empty());
    assert_eq!(target.health(), Health::Healthy);
    assert_eq!(target.assessments().len(), FailureType::ALL.len());
}

/// b5: the complete environment was written into every checkpoint.
#[test]
fn no_value_of_the_environment_is_shown() {
    let secret = "hunter2-canary";
    let facts = Facts {
        environment: Some(vec![
            ("HF_TOKEN".into(), secret.into()),
            ("VLLM_API_KEY".into(), secret.into()),
            ("VLLM_SOMETHING_UNKNOWN".into(), secret.into()),
        ]),
        vllm_version: Some("0.32.0".into()),
        ..Facts::default()
    };
    let shown = serde_json::to_string(&preflight::run(&facts)).expect("plain data");
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains("VLLM_SOMETHING_UNKNOWN"));
}

/// b6: a healthy server yielded predictions of 4 to 5 % from constants.
#[test]
fn ten_thousand_healthy_samples_are_silent() {
    let mut w = World::new();
    let mut rng = Rng::new(6);
    for _ in 0..10_000 {
        w.work();
        let usage = 0.4 + 0.05 * rng.normal();
        w.set("vllm:kv_cache_usage_perc", usage.clamp(0.0, 1.0));
        w.set(
            "vllm:num_requests_running",
            (10.0 + 2.0 * rng.normal()).round().max(1.0),
        );
        w.scrape();
        w.health(ProbeOutcome::Status(200));
        w.tick();
        if w.now > 300.0 {
            for (failure_type, assessment) in w.target().assessments() {
                if let Some(forecast) = assessment.prediction.forecast() {
                    let p = forecast.probability.at(60.0);
                    assert!(p < 0.1, "{failure_type} says {p} at {}", w.now);
                }
            }
        }
    }
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
    assert_eq!(w.path(), [S::Serving]);
}

/// b8: the time to failure was 30 s times the length of a path, 60 or 300.
#[test]
fn the_time_to_failure_falls_as_it_comes_nearer() {
    let mut w = World::new();
    let gib = 1024.0 * 1024.0 * 1024.0;
    let mut times = Vec::new();
    for second in 0..280 {
        let at = w.time();
        let used = 20.0 * gib + 0.03 * gib * f64::from(second);
        w.builder.sample(
            "host_cgroup_memory_used_bytes",
            &[("process", "server")],
            used,
            at,
        );
        w.builder.sample(
            "host_cgroup_memory_limit_bytes",
            &[("process", "server")],
            30.0 * gib,
            at,
        );
        w.serve(1);
        if let Prediction::Forecast(f) = &w.assessment(FailureType::HostMemory).prediction
            && let Some(when) = f.time_to_failure
        {
            times.push((second, when.p50_secs));
        }
    }
    let true_end = 10.0 / 0.03;
    for (second, left) in times.iter().filter(|(second, _)| *second > 120) {
        let truth = true_end - f64::from(*second);
        assert!(
            (left - truth).abs() < 0.35 * truth + 5.0,
            "at {second}: {left} for {truth}"
        );
    }
    assert!(times.len() > 100);
}

/// b9: accuracy was never computed.
#[test]
fn forecasts_are_scored_by_what_happened() {
    let mut w = World::new();
    w.serve(900);
    let score = w.target().score(FailureType::KvPreemption);
    assert!(score.horizons[2].pairs() > 100.0, "{}", score.horizons[2].pairs());
    assert_eq!(
        score.accuracy(),
        Some(1.0),
        "nothing was predicted and nothing came"
    );
    assert_eq!(score.false_alarms_per_healthy_hour(), Some(0.0));
}

/// b11: the trend function could never return "degrading".
#[test]
fn a_latency_that_rises_at_equal_load_is_degrading_and_one_that_falls_is_not() {
    for (factor, degraded) in [(1.4, true), (0.7, false)] {
        let mut w = World::new();
        w.serve(400);
        for _ in 0..120 {
            w.work();
            // The page says 500 tokens took 10 s in all; now they take more or less.
            w.add("vllm:inter_token_latency_seconds_sum", 10.0 * (factor - 1.0));
            w.scrape();
            w.health(ProbeOutcome::Status(200));
            w.tick();
        }
        let present = w.raised(FailureType::Degradation, AlertKind::Present) > 0;
        assert_eq!(present, degraded, "{factor}");
    }
}

/// b12: white noise was an anomaly in 18 of 40 windows, and two findings at once broke it.
#[test]
fn noise_is_no_anomaly_and_several_findings_at_once_are_fine() {
    let mut w = World::new();
    let mut rng = Rng::new(12);
    for _ in 0..3600 {
        w.work();
        w.add("vllm:inter_token_latency_seconds_sum", 1.0 * rng.normal());
        w.scrape();
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
    // A kill, an XID and a frozen engine together.
    w.builder.sample("host_oom_kills_total", &[], 0.0, w.time());
    w.serve(1);
    w.builder.sample("host_oom_kills_total", &[], 1.0, w.time());
    w.builder.sample(
        "gpu_xid_events_total",
        &[("gpu", "0"), ("xid", "31")],
        1.0,
        w.time(),
    );
    w.stand_still(15);
    let kinds: BTreeSet<FailureType> = w.alerts.iter().map(|alert| alert.failure_type).collect();
    assert!(kinds.len() >= 3, "{kinds:?}");
}

/// b13: an empty input was 0 % health and "intervention required".
#[test]
fn an_empty_input_is_unknown() {
    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    for second in 0..120 {
        let snapshot = Snapshot::empty(TARGET, Time::from_secs_f64(f64::from(second)));
        let decisions = monitor.step(&mut state, &snapshot);
        assert_eq!(decisions, [], "nothing is known, so nothing is said");
    }
    let target = state.target(TARGET).expect("it was stepped");
    assert_eq!(
        (target.health(), target.state()),
        (Health::Unknown, S::NotStarted)
    );
    for (failure_type, assessment) in target.assessments() {
        assert!(
            assessment.condition.is_none() && assessment.prediction.forecast().is_none(),
            "{failure_type}"
        );
    }
}

/// b24: acting was on by default.
#[test]
fn an_observing_monitor_acts_on_nothing_even_if_asked_to() {
    let settings = Settings::builder()
        .flag("enable_auto_mitigation", "true")
        .resolve()
        .expect("well-formed");
    let mut w = World::with_settings(settings);
    w.serve(120);
    w.stand_still(30);
    assert_eq!(w.lifecycle(), S::Error);
    // `World::tick` panics at any decision that is neither an event nor an alert.
}

/// b29: what was written could not be read back.
#[test]
fn what_was_learned_survives_a_restart() {
    let mut w = World::new();
    w.serve(900);
    let bytes = encode(&w.state.save("1"));
    let saved = decode(&bytes).expect("it reads back");
    let restored = State::restore(saved.clone());
    assert_eq!(restored.save("1"), saved, "nothing is lost on the way");

    // The restored monitor knows the server's gaps: it does not need to learn them again.
    let mut fresh = World::new();
    fresh.state = restored;
    fresh.serve(30);
    fresh.stand_still(10);
    assert_eq!(fresh.lifecycle(), S::Error, "{}", fresh.reasons());
    let mut untaught = World::new();
    untaught.serve(30);
    untaught.stand_still(10);
    assert_ne!(untaught.lifecycle(), S::Error, "an untaught one waits longer");
}

/// b30: exit status 0 on failure, and unknown facts passed.
#[test]
fn a_failed_check_is_not_a_success() {
    let held = PortFacts {
        port: 8000,
        is_free: false,
        holder: None,
    };
    let facts = Facts {
        port: Some(held),
        ..Facts::default()
    };
    assert_eq!(preflight::verdict(&preflight::run(&facts)).exit_status(), 1);
    assert_eq!(
        preflight::verdict(&preflight::run(&Facts::default())).exit_status(),
        2
    );
}

/// b32: none of the variables was read.
#[test]
fn forecasts_can_be_turned_off() {
    let settings = Settings::builder()
        .environment([("VLLM_MONITOR_PREDICTIVE", "false")])
        .resolve()
        .expect("well-formed");
    let mut w = World::with_settings(settings);
    w.serve(120);
    for (failure_type, assessment) in w.target().assessments() {
        assert!(assessment.prediction.forecast().is_none(), "{failure_type}");
    }
    assert_eq!(w.lifecycle(), S::Serving, "states do not need forecasts");
}

/// b34: it was written for one version's internals.
#[test]
fn a_server_of_0_6_is_understood() {
    let mut w = World::new();
    w.page.clear();
    for second in 0..60 {
        let n = f64::from(second);
        for (name, value) in [
            ("vllm:num_requests_running", 5.0),
            ("vllm:num_requests_waiting", 0.0),
            ("vllm:gpu_cache_usage_perc", 0.25 + 0.001 * n),
            ("vllm:prompt_tokens_total", 100.0 * n),
            ("vllm:generation_tokens_total", 200.0 * n),
            ("vllm:request_success_total", 2.0 * n),
            ("vllm:time_per_output_token_seconds_sum", 4.0 * n),
            ("vllm:time_per_output_token_seconds_count", 200.0 * n),
            ("vllm:num_preemptions_total", 0.0),
        ] {
            w.set(name, value);
        }
        // No label `engine` then.
        let at = w.time();
        for (name, value) in w.page.clone() {
            w.builder.sample(name, &[("model_name", "m")], value, at);
        }
        w.builder.page_complete(at);
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    assert_eq!(w.lifecycle(), S::Serving);
    assert!(
        w.assessment(FailureType::KvPreemption)
            .prediction
            .forecast()
            .is_some()
    );
    assert!(
        w.target()
            .rates()
            .inter_token_secs
            .if_fresh()
            .is_some_and(|s| (s - 0.02).abs() < 1e-9)
    );
    assert!(
        matches!(
            w.assessment(FailureType::Hang).prediction,
            Prediction::NotEnoughData { .. }
        ),
        "no heartbeat then"
    );
}

/// Decisions are plain data: a bug report is a record of them.
#[test]
fn decisions_read_back_from_json() {
    let mut w = World::serving();
    w.stand_still(15);
    let snapshot = w.builder.build(w.time());
    let mut decisions = w.monitor.step(&mut w.state, &snapshot);
    decisions.extend(w.alerts.iter().cloned().map(Decision::Alert));
    assert!(!decisions.is_empty());
    for decision in decisions {
        let text = serde_json::to_string(&decision).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Decision>(&text).expect("it reads back"),
            decision
        );
    }
}
