//! Queue overflow: when requests will be refused, or wait longer than their target.
//!
//! A fluid model: requests arrive at a rate with a trend, and leave at the rate that the server reached whenever
//! requests waited. The barrier is the server's own limit where it is known, else the queue that takes the target wait
//! to work off.

use serde::{Deserialize, Serialize};

use super::passage::time_to_failure;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, HORIZONS_SECS, Horizons, Prediction, Severity};
use crate::numeric::ewma::Ewma;
use crate::numeric::first_passage;
use crate::numeric::trend::Trend;
use crate::{Evidence, Source};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueOverflow {
    /// Requests per second that the server ends while others wait; learned, and kept over a restart.
    capacity: Option<Ewma>,
    #[serde(skip)]
    memory: Option<Memory>,
}

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    arrivals: Ewma,
    trend: Trend,
    finishes: Ewma,
    rejections: Ewma,
    /// Pages in a row on which requests waited.
    pages_waiting: u32,
    over_barrier_secs: f64,
}

/// Pages in a row with a queue after which the rate of finishes is the server's capacity.
const PAGES_OF_QUEUE: u32 = 3;

/// Seconds after which a trend of arrivals has spent itself: bursts end.
const TREND_LASTS_SECS: f64 = 45.0;

impl Predictor for QueueOverflow {
    fn failure_type(&self) -> FailureType {
        FailureType::QueueOverflow
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.memory = None;
            return Prediction::Suspended { reason: reason.into() }.into();
        }
        let rates = seen.rates;
        let Some(waiting) = rates.waiting.if_fresh() else {
            return Prediction::needs_signal("a fresh vllm:num_requests_waiting").into();
        };
        let p = &seen.parameters.queue;
        let memory = self.memory.get_or_insert_with(|| Memory {
            arrivals: Ewma::new(p.rate_secs),
            trend: Trend::new(p.trend_secs),
            finishes: Ewma::new(p.rate_secs),
            rejections: Ewma::new(p.rate_secs),
            pages_waiting: 0,
            over_barrier_secs: 0.0,
        });
        if rates.is_new_page {
            memory.learn(seen, waiting);
            if memory.pages_waiting >= PAGES_OF_QUEUE
                && let Some(rate) = rates.finishes.if_fresh()
            {
                self.capacity.get_or_insert_with(|| Ewma::new(60.0)).add(rate, rates.dt_secs);
            }
        }
        let known = Known {
            waiting,
            running: rates.running.last().unwrap_or(0.0),
            capacity: self.capacity.filter(|ewma| ewma.weight() > 0.05).and_then(|ewma| ewma.mean()),
        };
        let barrier = memory.barrier(seen, &known);
        if rates.is_new_page {
            let over = waiting >= barrier.requests;
            memory.over_barrier_secs = if over { memory.over_barrier_secs + rates.dt_secs } else { 0.0 };
        }
        Assessment {
            condition: memory.condition(seen, &known, &barrier),
            prediction: memory.predict(seen, &known, &barrier),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    waiting: f64,
    running: f64,
    capacity: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Barrier {
    /// Waiting requests that are too many.
    requests: f64,
    is_server_limit: bool,
}

impl Memory {
    fn learn(&mut self, seen: &Observation<'_>, waiting: f64) {
        let rates = seen.rates;
        let dt = rates.dt_secs;
        if let Some(rate) = rates.arrivals.if_fresh() {
            self.arrivals.add(rate, dt);
            self.trend.add(rate, dt);
        }
        if let Some(rate) = rates.finishes.if_fresh() {
            self.finishes.add(rate, dt);
        }
        self.rejections.add(rates.rejections.if_fresh().unwrap_or(0.0), dt);
        self.pages_waiting = if waiting >= 1.0 { self.pages_waiting.saturating_add(1) } else { 0 };
    }

    fn barrier(&self, seen: &Observation<'_>, known: &Known) -> Barrier {
        let p = &seen.parameters.queue;
        match seen.snapshot.engine.max_queued.last() {
            // The server's limit counts running requests too.
            Some(limit) => Barrier { requests: (limit - known.running).max(1.0), is_server_limit: true },
            None => {
                let out = known.capacity.or(self.finishes.mean()).unwrap_or(0.0);
                Barrier { requests: (out * p.wait_target_secs).max(p.least_barrier), is_server_limit: false }
            }
        }
    }

    fn condition(&self, seen: &Observation<'_>, known: &Known, barrier: &Barrier) -> Option<Condition> {
        let refused = self.rejections.mean().filter(|rate| *rate > 0.01);
        let too_long = self.over_barrier_secs >= seen.parameters.queue.onset_after_secs;
        if refused.is_none() && !too_long {
            return None;
        }
        let mut evidence = vec![Evidence::number(Source::Metrics, "waiting", known.waiting, "requests")];
        if let Some(rate) = refused {
            evidence.push(Evidence::number(Source::Metrics, "refused", rate, "requests/s"));
        }
        if too_long {
            evidence.push(Evidence::number(Source::Model, "more than can wait", barrier.requests, "requests"));
        }
        Some(Condition {
            failure_type: FailureType::QueueOverflow,
            severity: Severity::Degraded,
            evidence,
            advice: Some("add a replica, or refuse requests earlier".into()),
        })
    }

    fn predict(&self, seen: &Observation<'_>, known: &Known, barrier: &Barrier) -> Prediction {
        let p = &seen.parameters.queue;
        let watched = self.trend.span_secs();
        let (Some(line), Some(arrivals)) = (self.trend.line(), self.arrivals.mean()) else {
            return Prediction::needs("seconds of samples", watched, p.min_watched_secs);
        };
        if watched < p.min_watched_secs {
            return Prediction::needs("seconds of samples", watched, p.min_watched_secs);
        }
        let fluid = Fluid::new(self, known, arrivals, line.slope, p.rate_secs);
        let distance = barrier.requests - known.waiting;
        let at = |secs: f64| fluid.probability(known.waiting, distance, secs);
        let mut evidence = vec![
            Evidence::number(Source::Metrics, "waiting", known.waiting, "requests"),
            Evidence::number(Source::Metrics, "arrivals", arrivals, "/s"),
        ];
        if let Some(capacity) = known.capacity {
            evidence.push(Evidence::number(Source::Model, "most that was ever worked off", capacity, "/s"));
        }
        let words = if barrier.is_server_limit { "the server's limit leaves room for" } else { "too many from" };
        evidence.push(Evidence::number(Source::Model, words, barrier.requests, "requests"));
        seen.forecast(
            FailureType::QueueOverflow,
            Horizons::new(HORIZONS_SECS.map(at)),
            time_to_failure(at),
            evidence,
            (self.trend.samples(), watched),
        )
    }
}

/// Arrivals against departures.
#[derive(Debug, Clone, Copy)]
struct Fluid {
    arrivals: f64,
    slope: f64,
    /// Requests per second that leave while there is a queue; `None` if there never was one.
    departures: Option<f64>,
    noise: f64,
    error: f64,
}

impl Fluid {
    fn new(memory: &Memory, known: &Known, arrivals: f64, slope: f64, rate_secs: f64) -> Self {
        let finishes = memory.finishes.mean().unwrap_or(0.0);
        let window = (2.0 * rate_secs).min(memory.trend.span_secs().max(1.0));
        let error = (arrivals / window).sqrt();
        let slope_error = 2.0 * error / window;
        let departures = match known.capacity {
            Some(capacity) => Some(capacity),
            None if known.waiting >= 1.0 => Some(finishes),
            None => None,
        };
        Self {
            arrivals,
            slope: slope * (1.0 - slope_error * slope_error / (slope * slope + 1e-12)).max(0.0),
            departures,
            noise: arrivals + departures.unwrap_or(finishes),
            error,
        }
    }

    /// Expected change of the queue after `secs`, with the queue never below zero.
    fn growth(&self, waiting: f64, secs: f64) -> f64 {
        let Some(departures) = self.departures else {
            // A server that never had a queue: what comes leaves again.
            return 0.0;
        };
        let steps = 24;
        let dt = secs / f64::from(steps);
        let mut queue = waiting;
        for i in 0..steps {
            let t = (f64::from(i) + 0.5) * dt;
            let arrivals =
                (self.arrivals + self.slope * TREND_LASTS_SECS * (1.0 - (-t / TREND_LASTS_SECS).exp())).max(0.0);
            queue = (queue + (arrivals - departures) * dt).max(0.0);
        }
        queue - waiting
    }

    fn probability(&self, waiting: f64, distance: f64, secs: f64) -> f64 {
        let grown = self.growth(waiting, secs);
        let variance = self.noise * secs + (self.error * secs).powi(2);
        if self.departures.is_none() {
            return 0.0;
        }
        // A queue that empties does so again and again: what came before does not add up.
        let held = if grown <= -waiting + 1e-9 && waiting < 1.0 { 0.25 } else { 1.0 };
        first_passage::probability(distance, grown / secs, variance * held / secs, secs)
    }
}
