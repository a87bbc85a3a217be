//! States derived from facts: starts, exits, hangs, missing data.

use vllm_monitor::lifecycle::{Health, State as S};
use vllm_monitor::{AlertKind, EventKind, FailureType, ProbeOutcome};

use crate::world::World;

#[test]
fn a_whole_life_from_start_to_stop() {
    let mut w = World::new();
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(w.lifecycle(), S::NotStarted);
    w.builder.process_alive(true, w.time());
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(w.lifecycle(), S::Initializing);
    for (line, secs) in [
        ("Initializing a V1 LLM engine (v0.32.0) with config: model='m'", 5),
        ("Starting to load model m...", 40),
        ("Loading weights took 38.2 seconds", 2),
        ("Model loading took 14.9 GiB and 39 seconds", 20),
        ("torch.compile took 18.0 s in total", 5),
        ("GPU KV cache size: 299,584 tokens", 8),
        ("Graph capturing finished in 7 secs", 1),
        ("Starting vLLM server on http://0.0.0.0:8000", 2),
    ] {
        w.log(line);
        for _ in 0..secs {
            w.builder.process_alive(true, w.time());
            w.health(ProbeOutcome::Refused);
            w.tick();
        }
    }
    assert_eq!(w.lifecycle(), S::LoadingModel, "{}", w.reasons());
    w.builder.process_alive(true, w.time());
    w.scrape();
    w.health(ProbeOutcome::Status(200));
    w.builder.model_listed(true, w.time());
    w.tick();
    assert_eq!(w.lifecycle(), S::Ready, "{}", w.reasons());
    w.serve(5);
    assert_eq!(w.lifecycle(), S::Serving, "{}", w.reasons());

    w.builder.stop_requested(true);
    w.serve(1);
    assert_eq!(w.lifecycle(), S::ShuttingDown);
    w.exit(Some(0), None);
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(
        w.path(),
        [
            S::Initializing,
            S::LoadingModel,
            S::Ready,
            S::Serving,
            S::ShuttingDown,
            S::NotStarted
        ]
    );
    assert!(
        w.transitions.iter().all(|t| !t.evidence.is_empty()),
        "every change has its reason"
    );
    let phases = w
        .events
        .iter()
        .filter(|e| matches!(e, EventKind::PhaseEnded { .. }))
        .count();
    assert!(phases >= 6, "{phases} phases");
}

#[test]
fn a_late_phase_is_noticed_by_what_earlier_starts_took() {
    let mut w = World::new();
    let start = |w: &mut World, load_secs: u32, ready: bool| {
        w.builder.process_alive(true, w.time());
        w.log("Initializing a V1 LLM engine (v0.32.0)");
        w.health(ProbeOutcome::Refused);
        w.tick();
        w.log("Starting to load model m...");
        for _ in 0..load_secs {
            w.builder.process_alive(true, w.time());
            w.health(ProbeOutcome::Refused);
            w.tick();
        }
        if ready {
            w.log("Starting vLLM server on http://0.0.0.0:8000");
            w.builder.process_alive(true, w.time());
            w.serve(3);
            w.builder.stop_requested(true);
            w.serve(1);
            w.exit(Some(0), None);
            w.tick();
            w.builder.stop_requested(false);
            w.health(ProbeOutcome::Refused);
            w.tick();
        }
    };
    for _ in 0..4 {
        start(&mut w, 40, true);
    }
    assert_eq!(w.raised(FailureType::Startup, AlertKind::Present), 0);
    start(&mut w, 100, false);
    assert_eq!(
        w.raised(FailureType::Startup, AlertKind::Present),
        1,
        "{:?}",
        w.path()
    );
    assert_eq!(w.lifecycle(), S::LoadingModel, "late is not failed");
}

#[test]
fn an_unrequested_exit_is_a_failure_even_with_code_0() {
    for (code, signal) in [(Some(0), None), (Some(1), None), (None, Some(9))] {
        let mut w = World::serving();
        w.exit(code, signal);
        w.health(ProbeOutcome::Refused);
        w.tick();
        assert_eq!(w.lifecycle(), S::Error, "{code:?} {signal:?}");
        assert!(
            w.reasons().contains("no stop had been requested"),
            "{}",
            w.reasons()
        );
    }
}

#[test]
fn an_engine_that_dies_and_then_ends_in_good_order_has_failed() {
    // The API process shuts down by itself after the engine's death, and ends with code 0.
    let mut w = World::serving();
    w.log("ERROR EngineCore encountered a fatal error.");
    w.health(ProbeOutcome::Status(503));
    w.tick();
    assert_eq!(
        w.lifecycle(),
        S::Error,
        "a 503 and the log are two signs: {}",
        w.reasons()
    );
    w.log("INFO:     Shutting down");
    w.log("INFO [shutdown] API server: shutdown triggered");
    w.exit(Some(0), None);
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(w.lifecycle(), S::Error, "{}", w.reasons());
}

#[test]
fn a_stop_that_only_the_log_shows_is_no_failure() {
    let mut w = World::serving();
    w.log("INFO [shutdown] API server: shutdown triggered");
    w.serve(1);
    assert_eq!(
        w.lifecycle(),
        S::ShuttingDown,
        "someone sent SIGTERM: {}",
        w.reasons()
    );
    w.exit(Some(0), None);
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(w.lifecycle(), S::NotStarted, "{}", w.reasons());
}

#[test]
fn a_start_that_fails_names_what_the_log_says() {
    let mut w = World::new();
    w.builder.process_alive(true, w.time());
    w.log("Starting to load model m...");
    w.health(ProbeOutcome::Refused);
    w.tick();
    w.log("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`");
    w.exit(Some(1), None);
    w.tick();
    assert_eq!(w.lifecycle(), S::Error);
    assert!(w.reasons().contains("no_kv_room"), "{}", w.reasons());
}

#[test]
fn a_503_alone_counts_after_the_second_probe() {
    let mut w = World::serving();
    w.health(ProbeOutcome::Status(503));
    w.scrape();
    w.tick();
    assert_ne!(w.lifecycle(), S::Error);
    w.health(ProbeOutcome::Status(503));
    w.scrape();
    w.tick();
    assert_eq!(w.lifecycle(), S::Error, "{}", w.reasons());
    // It comes back, but only a while without trouble makes it well.
    w.serve(10);
    assert_eq!(w.lifecycle(), S::Error);
    w.serve(40);
    assert_eq!(w.lifecycle(), S::Serving, "{}", w.reasons());
}

#[test]
fn a_frozen_engine_is_an_error_although_its_api_answers() {
    let mut w = World::serving();
    w.stand_still(12);
    assert_eq!(w.lifecycle(), S::Error, "{}", w.reasons());
    let error = w.transitions.last().expect("it changed");
    let against: Vec<String> = error.against.iter().map(ToString::to_string).collect();
    assert!(
        against.contains(&"/health answers 200".to_owned()),
        "the evidence against it is reported: {against:?}"
    );
    w.serve(60);
    assert_eq!(w.lifecycle(), S::Serving, "it recovered: {}", w.reasons());
}

#[test]
fn a_hang_that_begins_while_idle_shows_only_in_our_own_requests() {
    let idle = |w: &mut World| {
        w.set("vllm:num_requests_running", 0.0);
        w.set("vllm:kv_cache_usage_perc", 0.0);
    };
    let mut w = World::serving();
    idle(&mut w);
    w.stand_still(60);
    assert!(w.lifecycle().is_up(), "idle is not hung: {}", w.reasons());
    for second in 0..12 {
        w.own(1.0, f64::from(second));
        w.stand_still(1);
    }
    assert_eq!(
        w.lifecycle(),
        S::Error,
        "the gauges show 0 all the time: {}",
        w.reasons()
    );
    assert!(w.reasons().contains("requests of our own"), "{}", w.reasons());
}

#[test]
fn missing_data_is_neither_healthy_nor_dead() {
    let mut w = World::serving();
    for _ in 0..60 {
        w.tick();
    }
    assert_eq!(w.lifecycle(), S::Serving, "the last known state stands");
    assert_eq!(w.target().health(), Health::Unknown);
    assert!(w.events.contains(&EventKind::ObservationLost));
    w.serve(1);
    assert_eq!(w.target().health(), Health::Healthy);
    assert!(w.events.contains(&EventKind::ObservationRestored));
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
}

#[test]
fn refused_after_ready_is_an_error_and_refused_before_is_a_start() {
    let mut w = World::serving();
    for _ in 0..3 {
        w.health(ProbeOutcome::Refused);
        w.builder
            .metrics_probe(crate::world::probe(w.time(), ProbeOutcome::Refused));
        w.tick();
    }
    assert_eq!(w.lifecycle(), S::Error, "{}", w.reasons());
    w.builder.process_alive(true, w.time());
    w.log("Initializing a V1 LLM engine (v0.32.0)");
    w.health(ProbeOutcome::Refused);
    w.tick();
    assert_eq!(w.lifecycle(), S::Initializing, "{}", w.reasons());
}

#[test]
fn a_hung_api_process_is_distinguished_from_a_hung_engine() {
    let mut w = World::serving();
    for second in 0..40 {
        w.health(ProbeOutcome::NoReply);
        w.builder
            .metrics_probe(crate::world::probe(w.time(), ProbeOutcome::NoReply));
        w.own(3.0, f64::from(second));
        w.tick();
    }
    assert_eq!(w.lifecycle(), S::Error, "{}", w.reasons());
    assert!(
        w.reasons().contains("API process takes connections"),
        "{}",
        w.reasons()
    );
    assert!(
        w.assessment(FailureType::Hang).condition.is_none(),
        "of the engine nothing is known"
    );
}

#[test]
fn a_lost_network_degrades_and_never_fails_the_server() {
    let mut w = World::serving();
    for second in 0..120 {
        let outcome = [
            ProbeOutcome::Reset,
            ProbeOutcome::ConnectTimeout,
            ProbeOutcome::Truncated,
        ][second % 3];
        w.health(outcome);
        w.builder.metrics_probe(crate::world::probe(w.time(), outcome));
        w.builder.process_alive(true, w.time());
        w.tick();
    }
    assert_eq!(w.lifecycle(), S::Degraded, "{}", w.reasons());
    assert!(!w.path().contains(&S::Error));
    assert_eq!(w.raised(FailureType::Network, AlertKind::Present), 1);
    assert_eq!(w.raised(FailureType::Hang, AlertKind::Present), 0);
}

#[test]
fn pause_sleep_scaling_and_compilation_suspend_hang_detection() {
    type Prepare = fn(&mut World);
    let cases: [(&str, Prepare); 4] = [
        ("paused", |w| w.builder.paused(true, w.time())),
        ("sleep", |w| {
            w.builder.sample(
                "vllm:engine_sleep_state",
                &[("sleep_state", "weights_offloaded")],
                1.0,
                w.time(),
            );
        }),
        ("scaling", |w| w.builder.scaling(true, w.time())),
        ("compilation", |w| {
            w.log("WARNING Triton kernel JIT compilation during inference: f. This causes…");
        }),
    ];
    for (name, prepare) in cases {
        let mut w = World::serving();
        w.own(2.0, 0.0);
        for second in 0..50 {
            if name != "compilation" || second == 0 {
                prepare(&mut w);
            }
            w.own(2.0, f64::from(second));
            w.stand_still(1);
        }
        assert_eq!(
            w.raised(FailureType::Hang, AlertKind::Present),
            0,
            "{name}: {}",
            w.reasons()
        );
        assert_ne!(w.lifecycle(), S::Error, "{name}: {}", w.reasons());
    }
}

#[test]
fn while_the_size_changes_every_route_answers_503_and_nothing_is_wrong() {
    let mut w = World::serving();
    for _ in 0..60 {
        w.builder.scaling(true, w.time());
        w.health(ProbeOutcome::Status(503));
        w.builder
            .metrics_probe(crate::world::probe(w.time(), ProbeOutcome::Status(503)));
        w.tick();
    }
    assert!(!w.path().contains(&S::Error), "{}", w.reasons());
}

#[test]
fn a_pause_that_goes_on_after_its_end_is_a_hang_after_its_grace() {
    let mut w = World::serving();
    for _ in 0..60 {
        w.builder.paused(true, w.time());
        w.stand_still(1);
    }
    for _ in 0..30 {
        w.builder.paused(false, w.time());
        w.stand_still(1);
    }
    assert_eq!(
        w.raised(FailureType::Hang, AlertKind::Present),
        1,
        "{}",
        w.reasons()
    );
}

#[test]
fn an_unobserved_restart_passes_through_error() {
    let mut w = World::serving();
    w.log("Initializing a V1 LLM engine (v0.32.0)");
    w.builder.process_alive(true, w.time());
    for _ in 0..20 {
        w.health(ProbeOutcome::Refused);
        w.builder.process_alive(true, w.time());
        w.tick();
    }
    let path = w.path();
    assert!(path.contains(&S::Error), "{path:?}");
    assert!(
        path.ends_with(&[S::Error, S::Initializing]) || w.lifecycle() == S::Error,
        "{path:?}"
    );
}

#[test]
fn a_server_that_does_not_list_its_model_is_not_ready() {
    let mut w = World::new();
    w.builder.process_alive(true, w.time());
    w.scrape();
    w.health(ProbeOutcome::Status(200));
    w.builder.model_listed(false, w.time());
    w.tick();
    assert!(!w.lifecycle().is_up(), "{}", w.reasons());
}

#[test]
fn idle_for_a_minute_is_ready_and_work_is_serving() {
    let mut w = World::serving();
    w.set("vllm:num_requests_running", 0.0);
    w.set("vllm:kv_cache_usage_perc", 0.0);
    w.stand_still(75);
    assert_eq!(w.lifecycle(), S::Ready);
    w.serve(2);
    assert_eq!(w.lifecycle(), S::Serving);
}

#[test]
fn missing_metrics_are_named_once() {
    let mut w = World::new();
    w.builder.version("0.32.0");
    w.page.remove("vllm:kv_cache_usage_perc");
    for _ in 0..20 {
        w.add("vllm:iteration_tokens_total_count", 50.0);
        w.scrape();
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    let named: Vec<&EventKind> = w
        .events
        .iter()
        .filter(|e| matches!(e, EventKind::MetricsMissing { .. }))
        .collect();
    assert_eq!(named.len(), 1, "{named:?}");
    let EventKind::MetricsMissing { names } = named[0] else {
        unreachable!("it was filtered")
    };
    assert!(names.iter().any(|name| &**name == "vllm:kv_cache_usage_perc"));
    assert!(w.lifecycle().is_up(), "a missing metric is no failure");
    assert!(matches!(
        w.assessment(FailureType::KvPreemption).prediction,
        vllm_monitor::Prediction::NotEnoughData { .. }
    ));
}

#[test]
fn a_page_refused_just_before_the_start_ended_is_no_degradation() {
    let mut w = World::new();
    let at = w.time();
    w.builder.process_alive(true, at);
    w.health(ProbeOutcome::Refused);
    w.builder
        .metrics_probe(crate::world::probe(at, ProbeOutcome::Refused));
    w.tick();
    // The probe of /health comes first once the server listens.
    w.health(ProbeOutcome::Status(200));
    w.tick();
    w.scrape();
    w.tick();
    assert_eq!(w.path(), [S::Initializing, S::Ready]);
}
