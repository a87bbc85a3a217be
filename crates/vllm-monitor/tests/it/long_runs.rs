//! Hours and days in virtual time on a generated scheduler: what must raise an alarm and what must not.

use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::State as S;
use vllm_monitor::state::encode;
use vllm_monitor::{Alert, AlertChange, AlertKind, Decision, EventKind, FailureType, Monitor, State};

use crate::support::engine::{Engine, EngineConfig, Request};
use crate::support::feed::Feed;
use crate::support::load::{Arrivals, Lengths};

const LENGTHS: Lengths = Lengths {
    prompt_median: 200.0,
    prompt_sigma: 0.6,
    output_median: 60.0,
    output_sigma: 0.5,
};

fn config() -> EngineConfig {
    EngineConfig {
        kv_blocks: 2000,
        block_tokens: 16,
        max_running: 32,
        max_batched_tokens: 2048,
        max_queued: None,
        step_secs: 0.06,
        per_token_secs: 2e-5,
        per_sequence_secs: 2e-4,
        per_context_token_secs: 1e-7,
        jitter: 0.05,
    }
}

struct Run {
    monitor: Monitor,
    state: State,
    alerts: Vec<Alert>,
    path: Vec<S>,
}

impl Run {
    fn new() -> Self {
        Self {
            monitor: Monitor::new(Settings::default()),
            state: State::default(),
            alerts: Vec::new(),
            path: Vec::new(),
        }
    }

    fn step(&mut self, feed: &mut Feed, at: f64) {
        for decision in self.monitor.step(&mut self.state, &feed.snapshot(at)) {
            match decision {
                Decision::Alert(alert) => self.alerts.push(alert),
                Decision::Event(event) => {
                    if let EventKind::Transition(transition) = event.kind {
                        self.path.push(transition.to);
                    }
                }
                _ => {}
            }
        }
    }

    fn raised(&self, failure_type: FailureType) -> usize {
        self.alerts
            .iter()
            .filter(|a| a.failure_type == failure_type && a.change == AlertChange::Raised)
            .count()
    }
}

/// A day with night and noon, scraped every second.
#[test]
fn a_healthy_day_is_quiet() {
    let day = 86_400.0;
    let rate = |t: f64| 2.0 * (1.0 - 0.6 * (t / day * std::f64::consts::TAU).cos());
    let mut arrivals = Arrivals::new(rate, 3.5, LENGTHS, day, 24).peekable();
    let mut engine = Engine::new(config(), 24);
    let mut feed = Feed::new("day", &engine);
    let mut run = Run::new();
    for second in 1..=day as u32 {
        let at = f64::from(second);
        engine.advance(at, &mut arrivals);
        feed.page(&engine, at);
        run.step(&mut feed, at);
    }
    assert_eq!(engine.stats.preemptions, 0.0, "the day itself is healthy");
    assert!(engine.stats.finished > 100_000.0);
    assert_eq!(run.raised(FailureType::Hang), 0);
    let other = run
        .alerts
        .iter()
        .filter(|a| a.change == AlertChange::Raised)
        .count();
    assert!(other <= 1, "{:?}", run.alerts);
    assert!(!run.path.contains(&S::Error), "{:?}", run.path);
}

/// An hour with every place taken and a queue: slow, and working.
#[test]
fn an_hour_of_saturation_is_no_hang() {
    let mut arrivals = Arrivals::new(|_| 9.0, 9.5, LENGTHS, 3600.0, 8).peekable();
    let mut engine = Engine::new(
        EngineConfig {
            max_queued: Some(200),
            ..config()
        },
        8,
    );
    let mut feed = Feed::new("busy", &engine);
    let mut run = Run::new();
    for second in 1..=3600 {
        let at = f64::from(second);
        engine.advance(at, &mut arrivals);
        // A busy API process answers every third scrape only.
        if second % 3 == 0 {
            feed.page(&engine, at);
        }
        run.step(&mut feed, at);
    }
    assert!(engine.stats.rejected > 100.0, "it is saturated");
    assert_eq!(run.raised(FailureType::Hang), 0);
    assert!(!run.path.contains(&S::Error), "{:?}", run.path);
    assert!(
        run.raised(FailureType::QueueOverflow) >= 1,
        "that it is overloaded is said"
    );
}

/// A hang in the middle of work is found within ten seconds, and a healthy hour before it has no alarm.
#[test]
fn a_hang_under_load_is_found_within_ten_seconds() {
    for seed in 0..5 {
        let mut arrivals = Arrivals::new(|_| 3.0, 3.1, LENGTHS, 1200.0, seed).peekable();
        let mut engine = Engine::new(config(), seed);
        let mut feed = Feed::new("hang", &engine);
        let mut run = Run::new();
        let freeze_at = 900 + seed as u32 * 13;
        let mut found = None;
        for second in 1..=1200 {
            let at = f64::from(second);
            engine.frozen = second > freeze_at;
            engine.advance(at, &mut arrivals);
            feed.page(&engine, at);
            run.step(&mut feed, at);
            if found.is_none() && run.raised(FailureType::Hang) > 0 {
                found = Some(second);
            }
        }
        let found = found.expect("it is found");
        assert!(
            (freeze_at..=freeze_at + 10).contains(&found),
            "frozen at {freeze_at}, found at {found}"
        );
    }
}

/// One prompt of the greatest length, cut into many steps without output.
#[test]
fn a_long_prefill_on_an_idle_server_is_no_hang() {
    let slow = EngineConfig {
        per_token_secs: 2e-3,
        kv_blocks: 4000,
        max_batched_tokens: 512,
        ..config()
    };
    let requests = (0..40).map(|i| Request {
        arrival_secs: 10.0 * f64::from(i),
        prompt: if i == 30 { 16_000 } else { 200 },
        output: 20,
    });
    let mut arrivals = requests.collect::<Vec<_>>().into_iter().peekable();
    let mut engine = Engine::new(slow, 3);
    let mut feed = Feed::new("prefill", &engine);
    let mut run = Run::new();
    for second in 1..=600 {
        let at = f64::from(second);
        engine.advance(at, &mut arrivals);
        feed.own(engine.unfinished() as f64, 30.0);
        feed.page(&engine, at);
        run.step(&mut feed, at);
    }
    assert_eq!(run.raised(FailureType::Hang), 0, "{:?}", run.alerts);
}

/// One prompt of 131,000 tokens among short ones: others wait behind its prefill for some seconds. That is no overload.
#[test]
fn a_queue_behind_one_long_prompt_is_no_overflow() {
    let large = EngineConfig {
        kv_blocks: 26_300,
        max_running: 1024,
        max_batched_tokens: 8192,
        step_secs: 0.02,
        per_token_secs: 2.7e-5,
        per_sequence_secs: 1e-4,
        ..config()
    };
    for seed in 0..6 {
        let short = Arrivals::new(|_| 4.0, 4.1, LENGTHS, 600.0, seed);
        let mut requests: Vec<Request> = short.collect();
        requests.push(Request {
            arrival_secs: 300.0 + seed as f64,
            prompt: 131_000,
            output: 8,
        });
        requests.sort_by(|a, b| a.arrival_secs.total_cmp(&b.arrival_secs));
        let mut arrivals = requests.into_iter().peekable();
        let mut engine = Engine::new(large.clone(), seed);
        let mut feed = Feed::new("prompt", &engine);
        let mut run = Run::new();
        let mut longest_queue = 0.0_f64;
        for second in 1..=600 {
            let at = f64::from(second);
            engine.advance(at, &mut arrivals);
            longest_queue = longest_queue.max(engine.stats.waiting);
            feed.page(&engine, at);
            run.step(&mut feed, at);
        }
        assert!(
            longest_queue >= 8.0,
            "seed {seed}: {longest_queue} wait behind the prompt"
        );
        assert_eq!(
            run.raised(FailureType::QueueOverflow),
            0,
            "seed {seed}: {:?}",
            run.alerts
        );
    }
}

/// The load doubles; steps take longer because there is more to do.
#[test]
fn a_load_that_doubles_is_no_degradation_and_slower_steps_are() {
    for (slow, degraded) in [(1.0, false), (1.2, true)] {
        let rate = |t: f64| if t > 1200.0 && slow == 1.0 { 4.0 } else { 2.0 };
        let mut arrivals = Arrivals::new(rate, 4.2, LENGTHS, 1800.0, 5).peekable();
        let mut engine = Engine::new(config(), 5);
        let mut feed = Feed::new("d", &engine);
        let mut run = Run::new();
        let mut found = None;
        for second in 1..=1800 {
            let at = f64::from(second);
            if second > 1200 {
                engine.slow = slow;
            }
            engine.advance(at, &mut arrivals);
            feed.page(&engine, at);
            run.step(&mut feed, at);
            if found.is_none() && run.raised(FailureType::Degradation) > 0 {
                found = Some(second);
            }
        }
        match found {
            Some(second) => assert!(degraded && (1200..1260).contains(&second), "{slow}: {second}"),
            None => assert!(!degraded, "{slow}"),
        }
    }
}

/// A ramp that fills the KV cache is predicted, with a time that fits.
#[test]
fn kv_preemption_is_predicted_on_a_ramp() {
    let capacity = EngineConfig {
        kv_blocks: 1600,
        max_running: 256,
        ..config()
    };
    let rate = |t: f64| 6.0 + 0.06 * (t - 300.0).max(0.0);
    let mut arrivals = Arrivals::new(rate, 40.0, LENGTHS, 900.0, 77).peekable();
    let mut engine = Engine::new(capacity, 77);
    let mut feed = Feed::new("kv", &engine);
    let mut run = Run::new();
    let (mut alarm, mut onset) = (None, None);
    for second in 1..=900 {
        let at = f64::from(second);
        engine.advance(at, &mut arrivals);
        feed.page(&engine, at);
        run.step(&mut feed, at);
        let predicted = run
            .alerts
            .iter()
            .any(|a| a.failure_type == FailureType::KvPreemption && a.kind == AlertKind::Predicted);
        if predicted && alarm.is_none() {
            alarm = Some(second);
        }
        if engine.stats.preemptions > 0.0 {
            onset = Some(second);
            break;
        }
    }
    let (alarm, onset) = (alarm.expect("an alarm"), onset.expect("an onset"));
    assert!(onset - alarm >= 5, "alarm at {alarm}, onset at {onset}");
    assert!(alarm > 300, "not before the ramp: {alarm}");
}

/// A flood of requests is predicted before the server refuses the first.
#[test]
fn queue_overflow_is_predicted_on_a_flood() {
    let limited = EngineConfig {
        max_queued: Some(150),
        ..config()
    };
    // A short rush first: only a server that once had a queue shows what it can work off.
    let rate = |t: f64| match t {
        100.0..130.0 => 9.0,
        600.0.. => 8.5,
        _ => 2.0,
    };
    let mut arrivals = Arrivals::new(rate, 9.2, LENGTHS, 900.0, 3).peekable();
    let mut engine = Engine::new(limited, 3);
    let mut feed = Feed::new("queue", &engine);
    let mut run = Run::new();
    let (mut alarm, mut onset) = (None, None);
    for second in 1..=900 {
        let at = f64::from(second);
        engine.advance(at, &mut arrivals);
        feed.page(&engine, at);
        run.step(&mut feed, at);
        let predicted = run.alerts.iter().any(|a| {
            a.failure_type == FailureType::QueueOverflow
                && a.kind == AlertKind::Predicted
                && a.at.as_nanos() > 600_000_000_000
        });
        if predicted && alarm.is_none() {
            alarm = Some(second);
        }
        if second > 600 && engine.stats.rejected > 0.0 {
            onset = Some(second);
            break;
        }
    }
    let (alarm, onset) = (alarm.expect("an alarm"), onset.expect("an onset"));
    assert!(onset - alarm >= 5, "alarm at {alarm}, onset at {onset}");
}

/// A week at one snapshot in ten seconds: what is kept does not grow.
#[test]
fn memory_is_flat_over_a_week() {
    let mut w = crate::world::World::new();
    let mut sizes = Vec::new();
    for hour in 0..7 * 24 {
        for _ in 0..360 {
            w.work();
            w.scrape();
            w.health(vllm_monitor::ProbeOutcome::Status(200));
            w.builder
                .sample("gpu_memory_used_bytes", &[("gpu", "0")], 7e10, w.time());
            w.builder
                .sample("gpu_memory_total_bytes", &[("gpu", "0")], 8e10, w.time());
            w.tick();
            w.now += 9.0;
        }
        w.events.clear();
        if hour % 24 == 23 {
            let saved = encode(&w.state.save("1")).len();
            let live = format!("{:?}", w.target()).len();
            sizes.push((saved, live));
        }
    }
    let (first, last) = (sizes[0], sizes[6]);
    assert!(last.0 < first.0 + first.0 / 10, "saved: {sizes:?}");
    assert!(last.1 < first.1 + first.1 / 10, "live: {sizes:?}");
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
}
