//! Properties of any sequence of snapshots: no panics, legal transitions, ordered probabilities, determinism.

use proptest::prelude::*;
use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::State as Lifecycle;
use vllm_monitor::snapshot::Exit;
use vllm_monitor::{
    Absence, Decision, EventKind, Monitor, Prediction, Probe, ProbeOutcome, Signal, Snapshot, State, Time,
};

fn signal() -> impl Strategy<Value = Signal<f64>> {
    let value = prop_oneof![
        6 => 0.0..1000.0_f64,
        2 => Just(0.0),
        1 => prop_oneof![Just(f64::MAX), Just(-1.0), Just(1e-300), Just(f64::NAN), Just(f64::INFINITY)],
    ];
    prop_oneof![
        6 => (value.clone(), 0.0..3.0_f64).prop_map(|(v, age)| Signal::fresh(v, age)),
        1 => (value, 10.0..1000.0_f64).prop_map(|(v, age)| Signal::stale(v, age)),
        1 => Just(Signal::Absent(Absence::NotExported)),
    ]
}

fn outcome() -> impl Strategy<Value = ProbeOutcome> {
    prop_oneof![
        4 => Just(ProbeOutcome::Status(200)),
        1 => Just(ProbeOutcome::Status(503)),
        1 => Just(ProbeOutcome::Refused),
        1 => Just(ProbeOutcome::ConnectTimeout),
        1 => Just(ProbeOutcome::NoReply),
        1 => Just(ProbeOutcome::Truncated),
    ]
}

#[derive(Debug, Clone)]
struct Facts {
    dt: f64,
    signals: Vec<Signal<f64>>,
    health: Option<ProbeOutcome>,
    alive: Option<bool>,
    exit: bool,
    stop: bool,
    paused: bool,
    page: bool,
}

fn facts() -> impl Strategy<Value = Facts> {
    (
        prop_oneof![8 => 0.1..2.0_f64, 1 => 20.0..5000.0_f64, 1 => -10.0..0.0_f64],
        prop::collection::vec(signal(), 16),
        prop::option::weighted(0.8, outcome()),
        prop::option::weighted(0.5, any::<bool>()),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(dt, signals, health, alive, exit, stop, paused, page)| Facts {
            dt,
            signals,
            health,
            alive,
            exit,
            stop,
            paused,
            page,
        })
}

fn snapshot(facts: &Facts, now: f64) -> Snapshot {
    let time = Time::from_secs_f64(now);
    let mut s = Snapshot::empty("t", time);
    let mut signals = facts.signals.iter().copied();
    let mut next = || signals.next().expect("enough of them");
    s.engine.sampled_at = facts.page.then_some(time);
    s.engine.running = next();
    s.engine.waiting = next();
    s.engine.kv_usage_ratio = next().map(|v| v / 1000.0);
    s.engine.kv_capacity_tokens = next();
    s.engine.steps_total = next();
    s.engine.generation_tokens_total = next();
    s.engine.prompt_tokens_total = next();
    s.engine.finished_total = next();
    s.engine.preemptions_total = next();
    s.engine.inter_token_latency.sum = next();
    s.engine.inter_token_latency.count = next();
    s.engine.request_generation_tokens.sum = next();
    s.engine.request_generation_tokens.count = next();
    s.own.in_flight = next();
    s.own.since_progress_secs = next();
    s.host.memory_available_bytes = next();
    s.host.memory_total_bytes = Signal::fresh(1000.0, 0.0);
    if let Some(outcome) = facts.health {
        let probe = Probe {
            at: time,
            outcome,
            connect_secs: Some(0.001),
            first_byte_secs: None,
        };
        s.http.health = Signal::fresh(probe, 0.0);
    }
    if let Some(alive) = facts.alive {
        s.process.alive = Signal::fresh(alive, 0.0);
    }
    s.process.exit = facts.exit.then_some(Exit {
        at: time,
        code: Some(0),
        signal: None,
    });
    s.process.stop_requested = facts.stop;
    s.http.paused = Signal::fresh(facts.paused, 0.0);
    s
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_keeps_the_rules(sequence in prop::collection::vec(facts(), 1..120)) {
        let monitor = Monitor::new(Settings::default());
        let mut state = State::default();
        let mut at = Lifecycle::NotStarted;
        let mut now = 100.0;
        for facts in &sequence {
            now += facts.dt;
            let decisions = monitor.step(&mut state, &snapshot(facts, now));
            for decision in &decisions {
                if let Decision::Event(event) = decision
                    && let EventKind::Transition(transition) = &event.kind
                {
                    prop_assert_eq!(transition.from, at);
                    prop_assert!(transition.from.may_become(transition.to), "{:?}", transition);
                    prop_assert!(!transition.evidence.is_empty(), "{:?}", transition);
                    at = transition.to;
                }
            }
            let target = state.target("t").expect("it was stepped");
            prop_assert_eq!(target.lifecycle().state(), at, "every change of state is an event");
            for (failure_type, assessment) in target.assessments() {
                let Prediction::Forecast(forecast) = &assessment.prediction else { continue };
                let p = forecast.probability.as_array();
                prop_assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{}: {:?}", failure_type, p);
                prop_assert!(p.windows(2).all(|pair| pair[0] <= pair[1]), "{}: {:?}", failure_type, p);
                if let Some(when) = forecast.time_to_failure {
                    prop_assert!(when.p10_secs >= 0.0 && when.p10_secs <= when.p50_secs);
                    prop_assert!(when.p90_secs.is_none_or(|p90| when.p50_secs <= p90));
                }
            }
        }
    }

    #[test]
    fn the_same_snapshots_give_the_same_decisions(sequence in prop::collection::vec(facts(), 1..40)) {
        let run = || {
            let monitor = Monitor::new(Settings::default());
            let mut state = State::default();
            let mut now = 100.0;
            let mut all = Vec::new();
            for facts in &sequence {
                now += facts.dt;
                all.extend(monitor.step(&mut state, &snapshot(facts, now)));
            }
            format!("{all:?}")
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn another_schema_is_refused_and_not_evaluated() {
    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    let snapshot = Snapshot {
        schema: 99,
        ..Snapshot::empty("t", Time::ZERO)
    };
    let decisions = monitor.step(&mut state, &snapshot);
    assert!(matches!(
        &decisions[..],
        [Decision::Event(event)] if matches!(event.kind, EventKind::SnapshotRefused { schema: 99, expected: 1 })
    ));
    assert!(state.target("t").is_none());
}

#[test]
fn a_clock_that_jumps_back_or_ahead_is_reported_and_alarms_nothing() {
    let mut w = crate::world::World::serving();
    w.now -= 3600.0;
    w.serve(60);
    assert!(
        w.events
            .iter()
            .any(|e| matches!(e, EventKind::ClockWentBack { .. }))
    );
    w.now += 7200.0;
    w.serve(60);
    assert!(
        w.events
            .iter()
            .any(|e| matches!(e, EventKind::ObservationGap { secs } if *secs > 7000.0))
    );
    assert_eq!(w.alerts.len(), 0, "{:?}", w.alerts);
    assert_eq!(w.lifecycle(), Lifecycle::Serving);
}
