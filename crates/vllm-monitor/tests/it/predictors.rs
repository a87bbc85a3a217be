//! Predictors one by one on drawn series. Those of KV and queue are measured on a scheduler: `long_runs` and the
//! evaluation program.

use vllm_monitor::lifecycle::State as S;
use vllm_monitor::snapshot::Exit;
use vllm_monitor::{AlertKind, FailureType, Prediction, ProbeOutcome, Severity, Signal, Time};

use crate::world::{World, probe};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn forecast(w: &World, failure_type: FailureType) -> vllm_monitor::Forecast {
    match &w.assessment(failure_type).prediction {
        Prediction::Forecast(forecast) => forecast.clone(),
        other => panic!("{failure_type}: {other:?}"),
    }
}

#[test]
fn memory_of_the_cgroup_runs_out_when_the_forecast_says() {
    let mut w = World::new();
    let limit = 32.0 * GIB;
    let mut foreseen = None;
    for second in 0..600 {
        // 10 MiB/s after two calm minutes; the limit is reached at second 120 + 400.
        let used = 28.0 * GIB + 0.01 * GIB * f64::from((second - 120).max(0)) ;
        let at = w.time();
        w.builder.sample("host_cgroup_memory_used_bytes", &[("process", "server")], used.min(limit), at);
        w.builder.sample("host_cgroup_memory_limit_bytes", &[("process", "server")], limit, at);
        w.serve(1);
        if foreseen.is_none() && w.raised(FailureType::HostMemory, AlertKind::Foreseen) > 0 {
            let f = forecast(&w, FailureType::HostMemory);
            foreseen = Some((second, f.time_to_failure.expect("a time").p50_secs));
        }
    }
    let (at, left) = foreseen.expect("it is foreseen");
    let end = 120.0 + 400.0;
    assert!((400..500).contains(&at), "not at once and not too late: {at}");
    let error = (f64::from(at) + left - end).abs();
    assert!(error < 0.3 * (end - f64::from(at)).max(20.0), "{left} s left at {at}");
}

#[test]
fn flat_host_memory_near_its_limit_is_no_alarm() {
    let mut w = World::new();
    for second in 0..1800 {
        let wobble = (f64::from(second) * 0.9).sin() * 0.02 * GIB;
        let at = w.time();
        w.builder.sample("host_cgroup_memory_used_bytes", &[("process", "server")], 30.0 * GIB + wobble, at);
        w.builder.sample("host_cgroup_memory_limit_bytes", &[("process", "server")], 32.0 * GIB, at);
        w.serve(1);
    }
    assert_eq!(w.raised(FailureType::HostMemory, AlertKind::Foreseen), 0);
    assert_eq!(w.raised(FailureType::HostMemory, AlertKind::Present), 0);
}

#[test]
fn a_kill_for_lack_of_memory_is_present() {
    let mut w = World::serving();
    for kills in [0.0, 1.0] {
        w.builder.sample("host_oom_kills_total", &[], kills, w.time());
        w.serve(2);
    }
    assert_eq!(w.raised(FailureType::HostMemory, AlertKind::Present), 1);
}

#[test]
fn a_neighbour_that_takes_device_memory_is_foreseen() {
    let mut w = World::new();
    let gpu = [("gpu", "0")];
    let mut alarm_at = None;
    for second in 0..400 {
        let used = 60.0 * GIB + 0.1 * GIB * f64::from((second - 100).max(0));
        let at = w.time();
        w.builder.sample("gpu_memory_total_bytes", &gpu, 80.0 * GIB, at);
        w.builder.sample("gpu_memory_used_bytes", &gpu, used.min(79.9 * GIB), at);
        w.serve(1);
        if alarm_at.is_none() && w.raised(FailureType::GpuMemory, AlertKind::Foreseen) > 0 {
            alarm_at = Some(second);
        }
    }
    let alarm_at = alarm_at.expect("it is foreseen");
    assert!((180..290).contains(&alarm_at), "{alarm_at}");
    assert_eq!(w.raised(FailureType::GpuMemory, AlertKind::Present), 1, "little is left at the end");
}

#[test]
fn reserved_device_memory_that_is_flat_is_no_alarm() {
    let mut w = World::new();
    for _ in 0..600 {
        let at = w.time();
        w.builder.sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, at);
        w.builder.sample("gpu_memory_used_bytes", &[("gpu", "0")], 76.0 * GIB, at);
        w.serve(1);
    }
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
    assert!(forecast(&w, FailureType::GpuMemory).probability.as_array()[3] < 0.01);
}

#[test]
fn xids_have_the_catalogues_actions() {
    for (code, state, words) in [
        ("79", S::Error, "reboot the host"),
        ("95", S::Degraded, "drain the GPU and reset it"),
        ("31", S::Degraded, "restart the engine"),
        ("63", S::Degraded, "next free"),
    ] {
        let mut w = World::serving();
        w.builder.sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, w.time());
        w.serve(5);
        w.builder.sample("gpu_xid_events_total", &[("gpu", "0"), ("xid", code)], 1.0, w.time());
        w.serve(10);
        let condition = w.assessment(FailureType::Hardware).condition.clone().expect("it is present");
        assert!(condition.advice.as_deref().is_some_and(|a| a.contains(words)), "{code}: {condition:?}");
        assert_eq!(w.lifecycle(), state, "{code}: {}", w.reasons());
        w.serve(700);
        assert!(w.lifecycle() == S::Serving, "{code}: an old event is no condition: {}", w.reasons());
    }
}

#[test]
fn xids_without_meaning_are_left() {
    let mut w = World::serving();
    for code in ["43", "45", "107"] {
        w.builder.sample("gpu_xid_events_total", &[("gpu", "0"), ("xid", code)], 1.0, w.time());
        w.serve(5);
    }
    assert!(w.assessment(FailureType::Hardware).condition.is_none());
    assert_eq!(w.lifecycle(), S::Serving);
}

#[test]
fn an_error_that_comes_back_calls_for_the_next_stronger_action() {
    let mut w = World::serving();
    let mut advice = Vec::new();
    for burst in 1..=6 {
        w.builder.sample("gpu_xid_events_total", &[("gpu", "0"), ("xid", "31")], f64::from(burst), w.time());
        w.serve(10);
        let condition = w.assessment(FailureType::Hardware).condition.clone().expect("it is present");
        advice.push(condition.advice.expect("advice").into_owned());
        w.serve(300);
    }
    assert!(advice[0].contains("restart the engine"), "{advice:?}");
    assert!(advice[1].contains("reset"), "{advice:?}");
    assert!(advice[5].contains("a person"), "{advice:?}");
}

#[test]
fn precursors_raise_a_small_risk_and_a_lost_gpu_fails() {
    let mut w = World::serving();
    let at = w.time();
    w.builder.sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, at);
    w.builder.sample("gpu_row_remap_pending", &[("gpu", "0")], 0.0, at);
    w.serve(2);
    let base = forecast(&w, FailureType::Hardware).probability.as_array()[3];
    assert!(base > 0.0 && base < 1e-4, "the base rate is small: {base}");
    w.builder.sample("gpu_row_remap_pending", &[("gpu", "0")], 1.0, w.time());
    w.serve(2);
    let raised = forecast(&w, FailureType::Hardware);
    assert!(raised.probability.as_array()[3] > 10.0 * base, "{raised:?}");
    assert!(raised.evidence.iter().any(|e| e.to_string().contains("row remap")));
    w.builder.gpu_lost("0", true);
    w.serve(2);
    let condition = w.assessment(FailureType::Hardware).condition.clone().expect("it is present");
    assert_eq!(condition.severity, Severity::Failed);
}

#[test]
fn throttling_that_lasts_degrades() {
    let mut w = World::serving();
    let mut throttled = 0.0;
    for second in 0..900 {
        if second > 200 {
            throttled += 0.5;
        }
        let labels = [("gpu", "0"), ("reason", "hw_thermal")];
        w.builder.sample("gpu_throttle_seconds_total", &labels, throttled, w.time());
        w.serve(1);
    }
    let condition = w.assessment(FailureType::Hardware).condition.clone().expect("it is present");
    assert!(condition.evidence[0].to_string().contains("heat or power"), "{condition:?}");
    assert_eq!(w.lifecycle(), S::Degraded);
}

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
    assert_eq!(w.raised(FailureType::Network, AlertKind::Present), 1, "connecting itself became slow");
}

#[test]
fn failed_transfers_between_servers_are_network() {
    let mut w = World::serving();
    for second in 0..120 {
        w.set("vllm:nixl_num_failed_transfers_total", f64::from(second) * 0.5);
        w.serve(1);
    }
    let condition = w.assessment(FailureType::Network).condition.clone().expect("it is present");
    assert!(condition.evidence.iter().any(|e| e.to_string().contains("transfers between servers")), "{condition:?}");
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
    assert_eq!(w.raised(FailureType::Hang, AlertKind::Present), 0, "{}", w.reasons());
}

#[test]
fn own_progress_outweighs_a_frozen_page() {
    let mut w = World::serving();
    for _ in 0..60 {
        w.own(4.0, 0.2);
        w.stand_still(1);
    }
    assert_eq!(w.raised(FailureType::Hang, AlertKind::Present), 0, "tokens flow: {}", w.reasons());
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
            w.builder.sample("vllm:num_requests_running", &[("engine", &engine)], 4.0, at);
            w.builder.sample("vllm:num_requests_waiting", &[("engine", &engine)], 0.0, at);
            w.builder.sample("vllm:iteration_tokens_total_count", &[("engine", &engine)], *steps, at);
        }
        w.builder.page_complete(w.time());
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    let condition = w.assessment(FailureType::Hang).condition.clone().expect("it is present");
    assert!(condition.evidence.iter().any(|e| e.to_string().contains("only engine 2")), "{condition:?}");
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
            w.builder.sample("vllm:num_requests_running", &[("engine", &engine)], 8.0, at);
            w.builder.sample("vllm:iteration_tokens_total_count", &[("engine", &engine)], *steps, at);
            w.builder.sample("vllm:inter_token_latency_seconds_sum", &[("engine", &engine)], *sum, at);
            w.builder.sample("vllm:inter_token_latency_seconds_count", &[("engine", &engine)], *count, at);
        }
        w.builder.page_complete(w.time());
        w.health(ProbeOutcome::Status(200));
        w.tick();
    }
    let condition = w.assessment(FailureType::Straggler).condition.clone().expect("it is present");
    assert!(condition.evidence.iter().any(|e| e.to_string().contains("engine 1 is the slowest")), "{condition:?}");
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
fn a_server_that_is_gone_is_foreseen_by_nobody() {
    let mut w = World::serving();
    w.builder.process_exit(Exit { at: Time::from_secs_f64(w.now), code: Some(1), signal: None });
    for _ in 0..30 {
        w.health(ProbeOutcome::Refused);
        w.tick();
    }
    for failure_type in [FailureType::KvPreemption, FailureType::QueueOverflow, FailureType::Hang] {
        let prediction = &w.assessment(failure_type).prediction;
        assert!(prediction.forecast().is_none(), "{failure_type}: {prediction:?}");
    }
}
