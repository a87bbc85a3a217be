//! Rates and means between the two newest pages of metrics, computed once for all predictors.

use serde::{Deserialize, Serialize};

use crate::{Absence, Signal, Snapshot, Time};

/// What happened per second between the newest two pages of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// The snapshot brought a page that the one before did not have.
    pub is_new_page: bool,
    /// Seconds between the two pages.
    pub dt_secs: f64,
    /// Seconds since the heartbeat last moved, in time that was observed; absent before the first movement.
    pub heartbeat_age_secs: Signal<f64>,
    /// Running requests, stale if the heartbeat stands still although there is work: gauges are set by steps.
    pub running: Signal<f64>,
    /// Waiting requests, likewise.
    pub waiting: Signal<f64>,
    /// Share of KV blocks in use, likewise.
    pub kv_usage_ratio: Signal<f64>,
    /// Steps per second.
    pub steps: Signal<f64>,
    /// Requests that arrived per second.
    pub arrivals: Signal<f64>,
    /// Requests that ended per second.
    pub finishes: Signal<f64>,
    /// Prompt tokens computed per second.
    pub prefill_tokens: Signal<f64>,
    /// Tokens generated per second.
    pub decode_tokens: Signal<f64>,
    /// Preemptions per second.
    pub preemptions: Signal<f64>,
    /// Requests refused per second.
    pub rejections: Signal<f64>,
    /// Requests ended by an error per second.
    pub errors: Signal<f64>,
    /// Mean time between tokens, in seconds; absent if no token was generated.
    pub inter_token_secs: Signal<f64>,
    /// Tokens between which that mean was taken.
    pub inter_token_count: f64,
    /// Mean prompt tokens of the requests that ended; absent if none did.
    pub mean_prompt_tokens: Signal<f64>,
    /// Mean generated tokens of the requests that ended.
    pub mean_generation_tokens: Signal<f64>,
}

/// Counters of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Page {
    at: Time,
    steps: Signal<f64>,
    kv_usage: Signal<f64>,
    running: Signal<f64>,
    waiting: Signal<f64>,
    finished: Signal<f64>,
    rejected: Signal<f64>,
    prompt: Signal<f64>,
    cached: Signal<f64>,
    generated: Signal<f64>,
    preemptions: Signal<f64>,
    errors: Signal<f64>,
    inter_token: (Signal<f64>, Signal<f64>),
    request_prompt: (Signal<f64>, Signal<f64>),
    request_generation: (Signal<f64>, Signal<f64>),
}

impl Page {
    fn of(snapshot: &Snapshot, at: Time) -> Self {
        let engine = &snapshot.engine;
        let totals = |totals: crate::snapshot::Totals| (totals.sum, totals.count);
        Self {
            at,
            steps: engine.exact_steps_total.or(engine.steps_total),
            kv_usage: engine.kv_usage_ratio,
            running: engine.running,
            waiting: engine.waiting,
            finished: engine.finished_total,
            rejected: engine.rejected_total.or(Signal::fresh(0.0, 0.0)),
            prompt: engine.prompt_tokens_total,
            cached: engine.cached_tokens_total.or(Signal::fresh(0.0, 0.0)),
            generated: engine.generation_tokens_total,
            preemptions: engine.preemptions_total,
            errors: engine.errors_total,
            inter_token: totals(engine.inter_token_latency),
            request_prompt: totals(engine.request_prompt_tokens),
            request_generation: totals(engine.request_generation_tokens),
        }
    }
}

/// Keeps the page before and the time of the last heartbeat.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RateTracker {
    page: Option<Page>,
    rates: Rates,
    snapshot_at: Option<Time>,
    heartbeat: Option<f64>,
    /// Observed time since the heartbeat moved.
    heartbeat_age_secs: Option<f64>,
}

impl RateTracker {
    /// Takes a snapshot and returns the newest rates. A gap between snapshots longer than `longest_gap_secs` counts as
    /// not observed.
    pub fn update(&mut self, snapshot: &Snapshot, longest_gap_secs: f64) -> Rates {
        let observed = match self.snapshot_at {
            Some(before) => {
                let dt = snapshot.time.secs_since(before);
                if dt > longest_gap_secs {
                    // What happened meanwhile was not observed, so timers restart.
                    self.heartbeat_age_secs = self.heartbeat_age_secs.map(|_| 0.0);
                    self.page = None;
                    0.0
                } else {
                    dt
                }
            }
            None => 0.0,
        };
        self.snapshot_at = Some(snapshot.time);
        self.heartbeat_age_secs = self.heartbeat_age_secs.map(|age| age + observed);

        let is_new = snapshot
            .engine
            .sampled_at
            .is_some_and(|at| self.page.is_none_or(|page| at > page.at));
        if let (true, Some(at)) = (is_new, snapshot.engine.sampled_at) {
            let page = Page::of(snapshot, at);
            if let Some(steps) = page.steps.if_fresh() {
                // A step without output does not count as one, but every step sets the gauges: a long prefill shows
                // in them.
                let gauges = self.page.is_some_and(|before| {
                    [
                        (before.kv_usage, page.kv_usage),
                        (before.running, page.running),
                        (before.waiting, page.waiting),
                    ]
                    .iter()
                    .any(|(before, now)| before.last() != now.last())
                });
                if self.heartbeat.is_some_and(|before| steps > before) || gauges {
                    self.heartbeat_age_secs = Some(snapshot.time.secs_since(at));
                } else if self.heartbeat.is_none() {
                    // The first page is the baseline: how long the count has stood there is not known.
                    self.heartbeat_age_secs = Some(0.0);
                }
                self.heartbeat = Some(steps);
            }
            self.rates = between(self.page.as_ref(), &page);
            self.page = Some(page);
        } else {
            self.rates.age(observed);
        }
        self.rates.is_new_page = is_new;
        self.rates.heartbeat_age_secs = match (self.heartbeat_age_secs, snapshot.engine.steps_total) {
            (Some(age), _) => Signal::fresh(age, 0.0),
            (None, Signal::Absent(why)) => Signal::Absent(why),
            (None, _) => Signal::Absent(Absence::NeedsTwoSamples),
        };
        self.rates.gauges(snapshot);
        self.rates
    }
}

/// Gauges are trusted for this long after the last heartbeat while there is work.
const GAUGE_MEMORY_SECS: f64 = 10.0;

impl Rates {
    fn gauges(&mut self, snapshot: &Snapshot) {
        let engine = &snapshot.engine;
        let has_work = snapshot.own.in_flight.if_fresh().is_some_and(|n| n > 0.0)
            || (engine.running + engine.waiting).last().is_some_and(|n| n > 0.0);
        let silent_secs = self.heartbeat_age_secs.last().unwrap_or(0.0);
        let believe = |signal: Signal<f64>| match signal {
            Signal::Fresh { value, age_secs } if has_work && silent_secs > GAUGE_MEMORY_SECS => {
                Signal::Stale {
                    value,
                    age_secs: age_secs.max(silent_secs),
                }
            }
            other => other,
        };
        self.running = believe(engine.running);
        self.waiting = believe(engine.waiting);
        self.kv_usage_ratio = believe(engine.kv_usage_ratio);
    }

    /// Lets the rates of the last page grow older by one snapshot without a new page.
    fn age(&mut self, secs: f64) {
        for signal in [
            &mut self.steps,
            &mut self.arrivals,
            &mut self.finishes,
            &mut self.prefill_tokens,
            &mut self.decode_tokens,
            &mut self.preemptions,
            &mut self.rejections,
            &mut self.errors,
            &mut self.inter_token_secs,
            &mut self.mean_prompt_tokens,
            &mut self.mean_generation_tokens,
        ] {
            if let Signal::Fresh { age_secs, .. } | Signal::Stale { age_secs, .. } = signal {
                *age_secs += secs;
            }
            if let Signal::Fresh { value, age_secs } = *signal
                && age_secs > GAUGE_MEMORY_SECS
            {
                *signal = Signal::Stale { value, age_secs };
            }
        }
    }
}

fn between(before: Option<&Page>, page: &Page) -> Rates {
    let Some(before) = before else {
        let needs_two = Signal::Absent(Absence::NeedsTwoSamples);
        return Rates {
            steps: needs_two,
            arrivals: needs_two,
            finishes: needs_two,
            prefill_tokens: needs_two,
            decode_tokens: needs_two,
            preemptions: needs_two,
            rejections: needs_two,
            errors: needs_two,
            inter_token_secs: needs_two,
            mean_prompt_tokens: needs_two,
            mean_generation_tokens: needs_two,
            ..Rates::default()
        };
    };
    let dt_secs = page.at.secs_since(before.at).max(1e-3);
    // The page before was fresh when it was taken; that it is older now does not make the difference stale.
    let increase = |now: Signal<f64>, then: Signal<f64>| now.with(then, |now, then| (now - then).max(0.0));
    let rate = |now: Signal<f64>, then: Signal<f64>| increase(now, then).map(|more| more / dt_secs);
    let mean = |now: (Signal<f64>, Signal<f64>), then: (Signal<f64>, Signal<f64>)| {
        let (sum, count) = (increase(now.0, then.0), increase(now.1, then.1));
        match count.last() {
            Some(0.0) => (Signal::Absent(Absence::NeedsTwoSamples), 0.0),
            _ => (sum / count, count.last().unwrap_or(0.0)),
        }
    };
    let (inter_token_secs, inter_token_count) = mean(page.inter_token, before.inter_token);
    let seen = |p: &Page| p.finished + p.running + p.waiting + p.rejected;
    Rates {
        dt_secs,
        steps: rate(page.steps, before.steps),
        arrivals: rate(seen(page), seen(before)),
        finishes: rate(page.finished, before.finished),
        prefill_tokens: rate(page.prompt - page.cached, before.prompt - before.cached),
        decode_tokens: rate(page.generated, before.generated),
        preemptions: rate(page.preemptions, before.preemptions),
        rejections: rate(page.rejected, before.rejected),
        errors: rate(page.errors, before.errors),
        inter_token_secs,
        inter_token_count,
        mean_prompt_tokens: mean(page.request_prompt, before.request_prompt).0,
        mean_generation_tokens: mean(page.request_generation, before.request_generation).0,
        ..Rates::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(at: f64, steps: f64, running: f64, finished: f64) -> Snapshot {
        let mut snapshot = Snapshot::empty("t", Time::from_secs_f64(at));
        snapshot.engine.sampled_at = Some(snapshot.time);
        snapshot.engine.steps_total = Signal::fresh(steps, 0.0);
        snapshot.engine.running = Signal::fresh(running, 0.0);
        snapshot.engine.waiting = Signal::fresh(0.0, 0.0);
        snapshot.engine.finished_total = Signal::fresh(finished, 0.0);
        snapshot
    }

    #[test]
    fn rates_need_two_pages() {
        let mut tracker = RateTracker::default();
        let first = tracker.update(&page(0.0, 100.0, 0.0, 50.0), 10.0);
        assert_eq!(
            first.finishes,
            Signal::Absent(Absence::NeedsTwoSamples),
            "no spike from the life before"
        );
        let second = tracker.update(&page(2.0, 120.0, 4.0, 56.0), 10.0);
        assert_eq!(second.finishes.if_fresh(), Some(3.0));
        assert_eq!(
            second.arrivals.if_fresh(),
            Some(5.0),
            "6 ended and 4 more are there"
        );
        assert_eq!(second.steps.if_fresh(), Some(10.0));
        assert_eq!(second.heartbeat_age_secs.if_fresh(), Some(0.0));
    }

    #[test]
    fn the_heartbeat_ages_only_while_it_is_watched() {
        let mut tracker = RateTracker::default();
        tracker.update(&page(0.0, 1.0, 1.0, 0.0), 10.0);
        tracker.update(&page(1.0, 2.0, 1.0, 0.0), 10.0);
        let later = tracker.update(&page(6.0, 2.0, 1.0, 0.0), 10.0);
        assert_eq!(later.heartbeat_age_secs.if_fresh(), Some(5.0));
        let after_a_gap = tracker.update(&page(3600.0, 2.0, 1.0, 0.0), 10.0);
        assert_eq!(
            after_a_gap.heartbeat_age_secs.if_fresh(),
            Some(0.0),
            "the gap itself was not observed"
        );
    }

    #[test]
    fn gauges_of_a_silent_engine_with_work_are_stale() {
        let mut tracker = RateTracker::default();
        tracker.update(&page(0.0, 1.0, 3.0, 0.0), 10.0);
        tracker.update(&page(1.0, 2.0, 3.0, 0.0), 10.0);
        let mut last = Rates::default();
        for second in 2..20 {
            last = tracker.update(&page(f64::from(second), 2.0, 3.0, 0.0), 10.0);
        }
        assert!(!last.running.is_fresh() && last.running.last() == Some(3.0));
        // Without work a silent engine is idle, and 0 is right.
        let mut idle = RateTracker::default();
        for second in 0..20 {
            last = idle.update(&page(f64::from(second), 2.0, 0.0, 0.0), 10.0);
        }
        assert_eq!(last.running.if_fresh(), Some(0.0));
    }
}
