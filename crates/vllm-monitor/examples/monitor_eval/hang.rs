//! Engines that freeze, under load and while idle, against healthy hours and saturation.

use vllm_monitor::config::Settings;
use vllm_monitor::{FailureType, Monitor, Snapshot, State};

use crate::scenario::{Limit, REPORT, Scenario};
use crate::support::engine::Engine;
use crate::support::feed::Feed;
use crate::support::load::Arrivals;
use crate::support::rng::Rng;

/// The rule for comparison: the count of steps does not change for 120 s while requests run or wait.
#[derive(Default)]
struct Heartbeat {
    steps: f64,
    silent_secs: u32,
}

impl Heartbeat {
    fn see(&mut self, snapshot: &Snapshot) -> bool {
        let engine = &snapshot.engine;
        let steps = engine.steps_total.last().unwrap_or(0.0);
        let works = (engine.running + engine.waiting).last().is_some_and(|n| n > 0.0);
        self.silent_secs = if works && steps <= self.steps {
            self.silent_secs + 1
        } else {
            0
        };
        self.steps = steps;
        self.silent_secs >= 120
    }
}

/// What freezes when: load as a share of capacity, and whether the engine freezes while it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    UnderLoad,
    WhileIdle,
    Healthy,
    Saturated,
}

const FREEZE: u64 = 600;
const END: u64 = 900;

/// Seconds from the freeze to the verdict of ours and of the heartbeat rule; for healthy cases, seconds of false ones.
fn run(case: Case, index: u64) -> (Option<u64>, Option<u64>) {
    let base = Scenario::steady(REPORT, 300 + index, Limit::Places);
    let mut rng = Rng::new(base.seed ^ 0x4A46);
    let share = match case {
        Case::Saturated => 1.5,
        _ => rng.between(0.1, 0.7),
    };
    let freeze = (FREEZE + (rng.unit() * 60.0) as u64) as f64;
    let rate = |t: f64| {
        // Before it freezes while idle, the load stops for half a minute; one request of ours comes after it.
        if case == Case::WhileIdle && t > freeze - 30.0 {
            0.0
        } else {
            share * base.capacity
        }
    };
    let end = if matches!(case, Case::Healthy | Case::Saturated) {
        3600
    } else {
        END
    };
    let mut arrivals =
        Arrivals::new(rate, 2.0 * base.capacity, base.lengths, end as f64, base.seed).peekable();
    let mut engine = Engine::new(base.engine.clone(), base.seed);
    let mut feed = Feed::new("generated", &engine);
    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    let mut peer = Heartbeat::default();
    let (mut ours, mut theirs) = (None, None);
    for second in 1..=end {
        let at = second as f64;
        engine.frozen = matches!(case, Case::UnderLoad | Case::WhileIdle) && at > freeze;
        engine.advance(at, &mut arrivals);
        if case == Case::WhileIdle && at > freeze {
            feed.own(1.0, at - freeze);
        }
        feed.page(&engine, at);
        let snapshot = feed.snapshot(at);
        monitor.step(&mut state, &snapshot);
        let target = state.target("generated").unwrap();
        let hung = target
            .assessments()
            .iter()
            .any(|(kind, a)| *kind == FailureType::Hang && a.condition.is_some());
        let since = second.saturating_sub(freeze as u64);
        if hung && ours.is_none() {
            ours = Some(since);
        }
        if peer.see(&snapshot) && theirs.is_none() {
            theirs = Some(since);
        }
    }
    (ours, theirs)
}

pub fn report(runs: u64) {
    println!(
        "\nhang: {runs} servers each; seconds from the freeze to the verdict (health probes answer 200 throughout)"
    );
    for case in [Case::UnderLoad, Case::WhileIdle, Case::Healthy, Case::Saturated] {
        let outcomes: Vec<_> = (0..runs).map(|i| run(case, i)).collect();
        let words = |times: Vec<Option<u64>>| {
            let mut found: Vec<u64> = times.into_iter().flatten().collect();
            found.sort_unstable();
            match (found.get(found.len() / 2), found.last()) {
                (Some(median), Some(most)) => {
                    format!("{} found, median {median} s, slowest {most} s", found.len())
                }
                _ => "0 found".to_owned(),
            }
        };
        println!(
            "{case:?}: ours {}; heartbeat of 120 s {}",
            words(outcomes.iter().map(|o| o.0).collect()),
            words(outcomes.iter().map(|o| o.1).collect())
        );
    }
}
