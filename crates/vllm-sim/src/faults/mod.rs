//! Scripted faults: what fails, for which requests or when, decided the same way in every run.
//!
//! A rule is one line of text, the same on a command line, in a file and on the route `/sim/faults`:
//!
//! ```text
//! KIND [key=value …]
//! ```
//!
//! | kind | what happens | keys of its own |
//! |---|---|---|
//! | `refuse` | connections are refused; those there are end after their answer | |
//! | `reset` | the connection is reset (RST) | `tokens` |
//! | `status` | an error answer, at once | `code` (503) |
//! | `truncate` | the connection ends in mid-stream (FIN) | `tokens` |
//! | `stall` | nothing more comes, the connection stays | `tokens`, `for` |
//! | `garbage` | bytes that are no event, then the stream goes on | `tokens` |
//! | `error` | an error event, then an orderly end: status 200 all the same | `tokens` |
//! | `slow` | steps take longer | `percent` (200) |
//! | `hang` | the engines freeze; `/health` and `/metrics` still answer | `for` |
//! | `engine-death` | open streams end in an error event, new requests get 500, `/health` 503; then as `die` | `for` (7s) |
//! | `die` | everything is closed, as if the process had been killed | |
//! | `restart` | the same, and a new server at the same address, its counters at 0 | `for` (1s) |
//! | `metrics-slow` | `/metrics` answers late | `for` (5s) |
//! | `metrics-garbage` | `/metrics` answers 200 with text that is no page | |
//! | `metrics-truncate` | `/metrics` breaks off in the middle of a line | |
//! | `metrics-reset` | the connection is reset instead of an answer from `/metrics` | |
//! | `metrics-status` | `/metrics` answers an error | `code` (404) |
//!
//! `tokens=N`: after N streamed tokens (0, the default: before the first; an answer that is not streamed is struck
//! before its first byte). `for=DURATION`: how long it lasts (`500ms`, `2s`; without it, for ever).
//!
//! Which requests: `requests=A..B` (counted from 0 in order of arrival, B excluded; also `A` alone or `A..`),
//! `every=N`, `probability=P` (drawn from the seed and the request's number), `times=N` at most. When:
//! `from=DURATION`, `until=DURATION` since the start. All given conditions must hold; none means always. Generation
//! requests and scrapes are counted separately. `refuse` and `slow` take conditions on time only; `hang`, `engine-death`, `die`
//! and `restart` without a condition on requests happen at `from`, once.

mod parse;
mod rule;

pub use parse::FaultParseError;
pub use rule::{Fault, FaultRule, When};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The active rules and their hits. Outlives restarts of the simulated server, since its counts must.
#[derive(Debug)]
pub(crate) struct Faults {
    seed: u64,
    origin: Instant,
    /// Without rules, a request costs one load.
    any: AtomicBool,
    generations: AtomicU64,
    scrapes: AtomicU64,
    rules: Mutex<Vec<Active>>,
}

#[derive(Debug)]
struct Active {
    rule: FaultRule,
    hits: u64,
}

impl Faults {
    pub(crate) fn new(seed: u64, rules: Vec<FaultRule>) -> Self {
        let faults = Self {
            seed,
            origin: Instant::now(),
            any: AtomicBool::new(false),
            generations: AtomicU64::new(0),
            scrapes: AtomicU64::new(0),
            rules: Mutex::new(Vec::new()),
        };
        for rule in rules {
            faults.add(rule);
        }
        faults
    }

    /// Activates a rule. Its times count from the server's start.
    pub(crate) fn add(&self, rule: FaultRule) {
        self.lock().push(Active { rule, hits: 0 });
        self.any.store(true, Ordering::Release);
    }

    /// Removes all rules.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    /// Each rule with its number of hits.
    pub(crate) fn hits(&self) -> Vec<(FaultRule, u64)> {
        self.lock()
            .iter()
            .map(|active| (active.rule.clone(), active.hits))
            .collect()
    }

    /// Counts a generation request and returns the fault to inject, if any.
    pub(crate) fn on_generation(&self) -> Option<Fault> {
        let number = self.generations.fetch_add(1, Ordering::Relaxed);
        self.pick(number, |rule| !rule.fault.is_about_metrics() && !rule.is_timed())
    }

    /// Counts a scrape and returns the fault to inject, if any.
    pub(crate) fn on_scrape(&self) -> Option<Fault> {
        let number = self.scrapes.fetch_add(1, Ordering::Relaxed);
        self.pick(number, |rule| rule.fault.is_about_metrics())
    }

    fn pick(&self, number: u64, concerns: impl Fn(&FaultRule) -> bool) -> Option<Fault> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let elapsed = self.origin.elapsed();
        let mut rules = self.lock();
        for (at, active) in rules.iter_mut().enumerate() {
            let left = active.rule.when.times.is_none_or(|times| active.hits < times);
            if left && concerns(&active.rule) && active.rule.when.holds(self.seed, at as u64, number, elapsed)
            {
                active.hits += 1;
                return Some(active.rule.fault.clone());
            }
        }
        None
    }

    /// True if a new server must hang from its start.
    pub(crate) fn begins_hung(&self) -> bool {
        let elapsed = self.origin.elapsed();
        self.lock().iter().map(|active| &active.rule).any(|rule| {
            matches!(rule.fault, Fault::Hang { .. }) && rule.is_timed() && rule.is_in_window(elapsed)
        })
    }

    /// The state required by the timed rules now, and when to check again.
    pub(crate) fn timed(&self) -> Timed {
        let elapsed = self.origin.elapsed();
        let mut timed = Timed {
            refuse: false,
            hang: false,
            slow_percent: 100,
            end: None,
            next: None,
        };
        for active in self.lock().iter_mut().filter(|active| active.rule.is_timed()) {
            let (from, until) = active.rule.window();
            let edges = [Some(from), until]
                .into_iter()
                .flatten()
                .filter_map(|edge| edge.checked_sub(elapsed));
            timed.next = edges.filter(|left| !left.is_zero()).chain(timed.next).min();
            let inside = active.rule.is_in_window(elapsed);
            match &active.rule.fault {
                Fault::Refuse if inside => {
                    active.hits = 1;
                    timed.refuse = true;
                }
                Fault::Hang { .. } if inside => {
                    active.hits = 1;
                    timed.hang = true;
                }
                Fault::Slow { percent } if inside => {
                    active.hits = 1;
                    timed.slow_percent = *percent;
                }
                Fault::EngineDeath { .. } | Fault::Die | Fault::Restart { .. }
                    if inside && active.hits == 0 =>
                {
                    active.hits = 1;
                    timed.end = Some(active.rule.fault.clone());
                }
                _ => {}
            }
        }
        timed
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Active>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state required by timed rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timed {
    pub(crate) refuse: bool,
    pub(crate) hang: bool,
    /// Duration of steps in percent of normal.
    pub(crate) slow_percent: u32,
    /// [`Fault::EngineDeath`], [`Fault::Die`] or [`Fault::Restart`], returned once.
    pub(crate) end: Option<Fault>,
    /// Time until the state changes by itself.
    pub(crate) next: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &[&str]) -> Faults {
        Faults::new(7, rules.iter().map(|r| r.parse().unwrap()).collect())
    }

    #[test]
    fn requests_are_chosen_by_number() {
        let f = faults(&["status requests=2..4", "reset every=5"]);
        let kinds: Vec<Option<Fault>> = (0..10).map(|_| f.on_generation()).collect();
        let status = Some(Fault::Status { code: 503 });
        let reset = Some(Fault::Reset { tokens: 0 });
        for (at, kind) in kinds.iter().enumerate() {
            let expected = match at {
                2 | 3 => &status,
                4 | 9 => &reset,
                _ => &None,
            };
            assert_eq!(kind, expected, "request {at}");
        }
        assert_eq!(f.hits().iter().map(|(_, hits)| *hits).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn probability_is_drawn_from_the_seed_and_times_bounds_it() {
        let chosen = |seed, rule: &str| -> Vec<usize> {
            let f = Faults::new(seed, vec![rule.parse().unwrap()]);
            (0..1000).filter(|_| f.on_generation().is_some()).collect()
        };
        let some = chosen(1, "reset probability=0.1");
        assert_eq!(some, chosen(1, "reset probability=0.1"));
        assert_ne!(some, chosen(2, "reset probability=0.1"));
        assert!((60..140).contains(&some.len()), "{}", some.len());
        assert_eq!(chosen(1, "reset probability=0.1 times=3").len(), 3);
        assert_eq!(chosen(1, "reset").len(), 1000);
    }

    #[test]
    fn scrapes_are_counted_apart() {
        let f = faults(&["metrics-status requests=0..2", "status requests=1"]);
        assert_eq!(f.on_generation(), None);
        assert_eq!(f.on_scrape(), Some(Fault::MetricsStatus { code: 404 }));
        assert_eq!(f.on_generation(), Some(Fault::Status { code: 503 }));
        assert_eq!(f.on_scrape(), Some(Fault::MetricsStatus { code: 404 }));
        assert_eq!(f.on_scrape(), None);
    }

    #[test]
    fn timed_rules_say_what_holds_and_when_to_look_again() {
        let f = faults(&["refuse until=1h", "hang from=2h for=1h", "die"]);
        let now = f.timed();
        assert!(now.refuse && !now.hang);
        assert_eq!(now.end, Some(Fault::Die));
        assert!(now.next.unwrap() <= Duration::from_secs(3600));
        assert_eq!(f.timed().end, None, "a server dies once");
        assert_eq!(f.on_generation(), None);
        f.clear();
        assert_eq!(
            f.timed(),
            Timed {
                refuse: false,
                hang: false,
                slow_percent: 100,
                end: None,
                next: None
            }
        );
    }
}
