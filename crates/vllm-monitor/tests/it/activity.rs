//! What the engine's processes do decides how long a silence may last.

use vllm_monitor::lifecycle::State as Lifecycle;
use vllm_monitor::{AlertKind, FailureType, ProbeOutcome};

use crate::world::World;

/// A server that has just been found, with a request in flight: nothing is learned yet.
fn untaught() -> World {
    let mut w = World::new();
    for _ in 0..15 {
        w.engine("sleeping", w.now);
        w.serve(1);
    }
    w.set("vllm:num_requests_running", 1.0);
    w
}

/// Seconds of silence until the hang is reported, at most `most`.
fn until_hang(w: &mut World, most: u32, mut reading: impl FnMut(&mut World)) -> Option<u32> {
    for second in 1..=most {
        reading(w);
        w.stand_still(1);
        if w.raised(FailureType::Hang, AlertKind::Present) > 0 {
            assert_eq!(w.lifecycle(), Lifecycle::Error);
            return Some(second);
        }
    }
    None
}

#[test]
fn a_stopped_engine_is_found_before_anything_was_learned() {
    let mut w = untaught();
    let secs = until_hang(&mut w, 60, |w| w.engine("stopped", 15.0));
    assert!(secs.is_some_and(|secs| secs <= 10), "{secs:?}");
    assert!(w.reasons().contains("stopped"), "{}", w.reasons());
}

#[test]
fn an_engine_that_sleeps_with_work_is_found_before_anything_was_learned() {
    let mut w = untaught();
    let secs = until_hang(&mut w, 60, |w| w.engine("sleeping", 15.0));
    assert!(secs.is_some_and(|secs| (6..=10).contains(&secs)), "{secs:?}");
    assert!(w.reasons().contains("neither CPU nor GPU"), "{}", w.reasons());
}

#[test]
fn an_engine_stopped_while_idle_is_found_without_a_canary() {
    let mut w = untaught();
    w.set("vllm:num_requests_running", 0.0);
    let secs = until_hang(&mut w, 60, |w| w.engine("stopped", 15.0));
    assert!(secs.is_some_and(|secs| secs <= 10), "{secs:?}");
}

#[test]
fn an_idle_engine_sleeps_and_that_is_no_hang() {
    let mut w = untaught();
    w.set("vllm:num_requests_running", 0.0);
    assert_eq!(until_hang(&mut w, 3600, |w| w.engine("sleeping", 15.0)), None);
}

#[test]
fn a_long_prompt_or_a_compilation_on_the_cpu_is_no_hang() {
    for learned_secs in [0, 300] {
        let mut w = untaught();
        for _ in 0..learned_secs {
            w.engine("running", w.now);
            w.serve(1);
        }
        let secs = until_hang(&mut w, 50, |w| w.engine("sleeping", w.now));
        assert_eq!(secs, None, "after {learned_secs} s of learning: {}", w.reasons());
        let secs = until_hang(&mut w, 50, |w| w.engine("running", w.now));
        assert!(secs.is_some(), "not for ever");
    }
}

#[test]
fn a_computation_that_ends_is_counted_from_its_end() {
    let mut w = untaught();
    assert_eq!(until_hang(&mut w, 30, |w| w.engine("running", w.now)), None);
    let cpu_secs = w.now;
    let secs = until_hang(&mut w, 30, |w| w.engine("sleeping", cpu_secs));
    assert!(secs.is_some_and(|secs| (7..=10).contains(&secs)), "{secs:?}");
}

#[test]
fn a_busy_gpu_does_not_extend_the_learned_bound() {
    let mut w = untaught();
    for _ in 0..300 {
        w.engine("running", w.now);
        w.serve(1);
    }
    let secs = until_hang(&mut w, 60, |w| {
        w.engine("running", w.now);
        let at = w.time();
        w.builder
            .sample("gpu_utilization_ratio", &[("gpu", "0")], 1.0, at);
    });
    assert!(secs.is_some_and(|secs| secs <= 10), "{secs:?}");
}

#[test]
fn old_readings_prove_nothing() {
    let mut w = untaught();
    w.engine("sleeping", 15.0);
    assert_eq!(until_hang(&mut w, 50, |_| {}), None, "{}", w.reasons());
}

#[test]
fn a_pause_is_no_hang_of_a_sleeping_engine() {
    let mut w = untaught();
    let secs = until_hang(&mut w, 120, |w| {
        w.engine("sleeping", 15.0);
        let at = w.time();
        w.builder.paused(true, at);
    });
    assert_eq!(secs, None);
}

#[test]
fn a_stopped_api_process_is_named_and_not_the_engine() {
    let mut w = untaught();
    for _ in 0..20 {
        w.engine("sleeping", 15.0);
        w.processes("host_api_processes", "stopped");
        w.health(ProbeOutcome::NoReply);
        w.tick();
        if w.lifecycle() == Lifecycle::Error {
            break;
        }
    }
    assert_eq!(w.lifecycle(), Lifecycle::Error);
    assert!(
        w.reasons().contains("the API process is stopped"),
        "{}",
        w.reasons()
    );
    assert_eq!(w.raised(FailureType::Hang, AlertKind::Present), 0);
}
