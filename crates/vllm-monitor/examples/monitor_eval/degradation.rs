//! Slower steps at equal load, and more load at equal speed.

use vllm_monitor::config::Settings;
use vllm_monitor::{FailureType, Monitor, State};

use crate::scenario::{Limit, Part, REPORT, Scenario, TUNING};
use crate::support::engine::Engine;
use crate::support::feed::Feed;
use crate::support::load::Arrivals;
use crate::support::rng::Rng;

/// What changes after the time of learning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Every step takes this many times as long.
    Slower(f64),
    /// This many times the requests.
    MoreLoad(f64),
}

const LEARN_SECS: u64 = 600;
const AFTER_SECS: u64 = 300;

/// Seconds from the change to the first report of a degradation, and reports before the change.
pub fn run(part: Part, index: u64, change: Change, settings: &Settings) -> (Option<u64>, u64) {
    let base = Scenario::steady(part, index, Limit::Places);
    let mut rng = Rng::new(base.seed ^ 0xDE6);
    // The doubled load must still be within capacity: the question is load against slowness, not overload.
    let share = rng.between(0.15, 0.4);
    let more = match change {
        Change::MoreLoad(times) => times,
        Change::Slower(_) => 1.0,
    };
    let rate = |t: f64| {
        let swing = 1.0 + 0.2 * (t / 240.0 * std::f64::consts::TAU).sin();
        base.capacity * share * swing * if t > LEARN_SECS as f64 { more } else { 1.0 }
    };
    let end = LEARN_SECS + AFTER_SECS;
    let most = base.capacity * 2.5;
    let mut arrivals = Arrivals::new(rate, most, base.lengths, end as f64, base.seed).peekable();
    let mut engine = Engine::new(base.engine.clone(), base.seed);
    let mut feed = Feed::new("generated", &engine);
    let monitor = Monitor::new(settings.clone());
    let mut state = State::default();
    let (mut found, mut early, mut stood) = (None, 0, false);
    for second in 1..=end {
        if let (Change::Slower(times), true) = (change, second == LEARN_SECS) {
            engine.slow = times;
        }
        let at = second as f64;
        engine.advance(at, &mut arrivals);
        feed.page(&engine, at);
        monitor.step(&mut state, &feed.snapshot(at));
        let target = state.target("generated").unwrap();
        let stands = target
            .assessments()
            .iter()
            .any(|(kind, a)| *kind == FailureType::Degradation && a.condition.is_some());
        if stands && !stood {
            if second < LEARN_SECS {
                early += 1;
            } else if found.is_none() {
                found = Some(second - LEARN_SECS);
            }
        }
        stood = stands;
    }
    (found, early)
}

pub fn report(tuning: bool, runs: u64) {
    let part = if tuning { TUNING } else { REPORT };
    let settings = Settings::default();
    println!(
        "\ndegradation: {LEARN_SECS} s of learning, then {AFTER_SECS} s after the change; {runs} servers each"
    );
    for change in [
        Change::Slower(1.1),
        Change::Slower(1.2),
        Change::Slower(1.5),
        Change::MoreLoad(1.5),
        Change::MoreLoad(2.0),
    ] {
        let outcomes: Vec<(Option<u64>, u64)> = (0..runs).map(|i| run(part, i, change, &settings)).collect();
        let within = outcomes
            .iter()
            .filter(|(found, _)| found.is_some_and(|secs| secs <= 60))
            .count();
        let ever = outcomes.iter().filter(|(found, _)| found.is_some()).count();
        let early: u64 = outcomes.iter().map(|(_, early)| early).sum();
        let mut times: Vec<u64> = outcomes.iter().filter_map(|(found, _)| *found).collect();
        times.sort_unstable();
        let median = times
            .get(times.len() / 2)
            .map_or("-".to_owned(), |secs| format!("{secs} s"));
        println!(
            "{change:?}: reported within 60 s in {within} of {runs}, ever in {ever}, median {median}; before the change {early} reports"
        );
    }
}
