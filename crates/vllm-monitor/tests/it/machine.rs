//! Predictors of memory and hardware on drawn series.

use vllm_monitor::lifecycle::State as S;
use vllm_monitor::{AlertKind, FailureType, Prediction, Severity};

use crate::world::World;

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
    let mut predicted = None;
    for second in 0..600 {
        // 10 MiB/s after two calm minutes; the limit is reached at second 120 + 400.
        let used = 28.0 * GIB + 0.01 * GIB * f64::from((second - 120).max(0));
        let at = w.time();
        w.builder.sample(
            "host_cgroup_memory_used_bytes",
            &[("process", "server")],
            used.min(limit),
            at,
        );
        w.builder.sample(
            "host_cgroup_memory_limit_bytes",
            &[("process", "server")],
            limit,
            at,
        );
        w.serve(1);
        if predicted.is_none() && w.raised(FailureType::HostMemory, AlertKind::Predicted) > 0 {
            let f = forecast(&w, FailureType::HostMemory);
            predicted = Some((second, f.time_to_failure.expect("a time").p50_secs));
        }
    }
    let (at, left) = predicted.expect("it is predicted");
    let end = 120.0 + 400.0;
    assert!((400..500).contains(&at), "not at once and not too late: {at}");
    let error = (f64::from(at) + left - end).abs();
    assert!(
        error < 0.3 * (end - f64::from(at)).max(20.0),
        "{left} s left at {at}"
    );
}

#[test]
fn flat_host_memory_near_its_limit_is_no_alarm() {
    let mut w = World::new();
    for second in 0..1800 {
        let wobble = (f64::from(second) * 0.9).sin() * 0.02 * GIB;
        let at = w.time();
        w.builder.sample(
            "host_cgroup_memory_used_bytes",
            &[("process", "server")],
            30.0 * GIB + wobble,
            at,
        );
        w.builder.sample(
            "host_cgroup_memory_limit_bytes",
            &[("process", "server")],
            32.0 * GIB,
            at,
        );
        w.serve(1);
    }
    assert_eq!(w.raised(FailureType::HostMemory, AlertKind::Predicted), 0);
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
fn a_neighbour_that_takes_device_memory_is_predicted() {
    let mut w = World::new();
    let gpu = [("gpu", "0")];
    let mut alarm_at = None;
    for second in 0..400 {
        let used = 60.0 * GIB + 0.1 * GIB * f64::from((second - 100).max(0));
        let at = w.time();
        w.builder.sample("gpu_memory_total_bytes", &gpu, 80.0 * GIB, at);
        w.builder
            .sample("gpu_memory_used_bytes", &gpu, used.min(79.9 * GIB), at);
        w.serve(1);
        if alarm_at.is_none() && w.raised(FailureType::GpuMemory, AlertKind::Predicted) > 0 {
            alarm_at = Some(second);
        }
    }
    let alarm_at = alarm_at.expect("it is predicted");
    assert!((180..290).contains(&alarm_at), "{alarm_at}");
    assert_eq!(
        w.raised(FailureType::GpuMemory, AlertKind::Present),
        1,
        "little is left at the end"
    );
}

#[test]
fn reserved_device_memory_that_is_flat_is_no_alarm() {
    let mut w = World::new();
    for _ in 0..600 {
        let at = w.time();
        w.builder
            .sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, at);
        w.builder
            .sample("gpu_memory_used_bytes", &[("gpu", "0")], 76.0 * GIB, at);
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
        w.builder
            .sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, w.time());
        w.serve(5);
        w.builder.sample(
            "gpu_xid_events_total",
            &[("gpu", "0"), ("xid", code)],
            1.0,
            w.time(),
        );
        w.serve(10);
        let condition = w
            .assessment(FailureType::Hardware)
            .condition
            .clone()
            .expect("it is present");
        assert!(
            condition.advice.as_deref().is_some_and(|a| a.contains(words)),
            "{code}: {condition:?}"
        );
        assert_eq!(w.lifecycle(), state, "{code}: {}", w.reasons());
        w.serve(700);
        assert!(
            w.lifecycle() == S::Serving,
            "{code}: an old event is no condition: {}",
            w.reasons()
        );
    }
}

#[test]
fn xids_without_meaning_are_left() {
    let mut w = World::serving();
    for code in ["43", "45", "107"] {
        w.builder.sample(
            "gpu_xid_events_total",
            &[("gpu", "0"), ("xid", code)],
            1.0,
            w.time(),
        );
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
        w.builder.sample(
            "gpu_xid_events_total",
            &[("gpu", "0"), ("xid", "31")],
            f64::from(burst),
            w.time(),
        );
        w.serve(10);
        let condition = w
            .assessment(FailureType::Hardware)
            .condition
            .clone()
            .expect("it is present");
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
    w.builder
        .sample("gpu_memory_total_bytes", &[("gpu", "0")], 80.0 * GIB, at);
    w.builder
        .sample("gpu_row_remap_pending", &[("gpu", "0")], 0.0, at);
    w.serve(2);
    let base = forecast(&w, FailureType::Hardware).probability.as_array()[3];
    assert!(base > 0.0 && base < 1e-4, "the base rate is small: {base}");
    w.builder
        .sample("gpu_row_remap_pending", &[("gpu", "0")], 1.0, w.time());
    w.serve(2);
    let raised = forecast(&w, FailureType::Hardware);
    assert!(raised.probability.as_array()[3] > 10.0 * base, "{raised:?}");
    assert!(
        raised
            .evidence
            .iter()
            .any(|e| e.to_string().contains("row remap"))
    );
    w.builder.gpu_lost("0", true);
    w.serve(2);
    let condition = w
        .assessment(FailureType::Hardware)
        .condition
        .clone()
        .expect("it is present");
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
        w.builder
            .sample("gpu_throttle_seconds_total", &labels, throttled, w.time());
        w.serve(1);
    }
    let condition = w
        .assessment(FailureType::Hardware)
        .condition
        .clone()
        .expect("it is present");
    assert!(
        condition.evidence[0].to_string().contains("heat or power"),
        "{condition:?}"
    );
    assert_eq!(w.lifecycle(), S::Degraded);
}
