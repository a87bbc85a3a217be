//! Queue overflow: when requests will be refused, or wait longer than their target.
//!
//! A fluid model: requests arrive at a rate with a trend, and leave at the rate that the server reached whenever
//! requests waited. The barrier is the server's own limit where it is known, else the queue that takes the target wait
//! to work off.
//!
//! One long prompt makes others wait for seconds although batch and KV cache have room: its prefill takes the token
//! budget of every step, and almost no request ends. Such a queue says nothing about capacity and ends by itself, so it
//! counts only once it has lasted longer, or against a limit that the server itself enforces.

use serde::{Deserialize, Serialize};

use super::curve::{Curve, TIMES_SECS};
use super::rate::{NODES, RateEstimate, RateEstimator};
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Prediction, Severity};
use crate::numeric::ewma::Ewma;
use crate::numeric::first_passage;
use crate::{Evidence, Source};

/// See the module documentation.
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
    arrivals: RateEstimator,
    finishes: Ewma,
    rejections: Ewma,
    /// Pages in a row on which requests waited, and the time they span.
    pages_waiting: u32,
    waiting_secs: f64,
    /// Most requests that ran at once, slowly forgotten.
    most_running: f64,
    over_barrier_secs: f64,
}

/// Pages in a row with a queue after which the rate of finishes is the server's capacity.
const PAGES_OF_QUEUE: u32 = 3;

/// A queue while batch and cache have room is taken for that of a long prefill for so many seconds.
const PREFILL_SECS: f64 = 20.0;

/// Share of the places, or of the KV blocks, from which on there is no room.
const FULL_RATIO: f64 = 0.9;

impl Predictor for QueueOverflow {
    fn failure_type(&self) -> FailureType {
        FailureType::QueueOverflow
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.memory = None;
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let rates = seen.rates;
        let Some(waiting) = rates.waiting.if_fresh() else {
            return Prediction::needs_signal("a fresh vllm:num_requests_waiting").into();
        };
        let p = &seen.parameters.queue;
        let memory = self.memory.get_or_insert_with(|| Memory {
            arrivals: RateEstimator::new(p.rate_secs),
            finishes: Ewma::new(p.rate_secs),
            rejections: Ewma::new(p.rate_secs),
            pages_waiting: 0,
            waiting_secs: 0.0,
            most_running: 0.0,
            over_barrier_secs: 0.0,
        });
        let is_full = memory.is_full(seen);
        if rates.is_new_page {
            memory.learn(seen, waiting);
        }
        let for_prefill = !is_full && memory.waiting_secs > 0.0 && memory.waiting_secs <= PREFILL_SECS;
        if rates.is_new_page
            && !for_prefill
            && memory.pages_waiting >= PAGES_OF_QUEUE
            && let Some(rate) = rates.finishes.if_fresh()
        {
            self.capacity
                .get_or_insert_with(|| Ewma::new(60.0))
                .add(rate, rates.dt_secs);
        }
        let known = Known {
            waiting,
            running: rates.running.last().unwrap_or(0.0),
            capacity: self
                .capacity
                .filter(|ewma| ewma.weight() > 0.05)
                .and_then(|ewma| ewma.mean()),
            for_prefill,
        };
        let barrier = memory.barrier(seen, &known);
        if rates.is_new_page {
            let over = waiting >= barrier.requests;
            memory.over_barrier_secs = if over {
                memory.over_barrier_secs + rates.dt_secs
            } else {
                0.0
            };
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
    /// Requests wait although there is room for them.
    for_prefill: bool,
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
        }
        if let Some(rate) = rates.finishes.if_fresh() {
            self.finishes.add(rate, dt);
        }
        self.rejections
            .add(rates.rejections.if_fresh().unwrap_or(0.0), dt);
        (self.pages_waiting, self.waiting_secs) = if waiting >= 1.0 {
            (self.pages_waiting.saturating_add(1), self.waiting_secs + dt)
        } else {
            (0, 0.0)
        };
        if let Some(running) = rates.running.if_fresh() {
            self.most_running = (0.9999 * self.most_running).max(running);
        }
    }

    /// Whether batch or KV cache have no room. Where the number of places is not known, the most that ever ran count.
    fn is_full(&self, seen: &Observation<'_>) -> bool {
        let places = seen.snapshot.engine.max_running.last();
        let running = seen.rates.running.last().unwrap_or(0.0);
        let kv_usage = seen.rates.kv_usage_ratio.last().unwrap_or(0.0);
        running >= FULL_RATIO * places.unwrap_or(self.most_running) || kv_usage >= FULL_RATIO
    }

    fn barrier(&self, seen: &Observation<'_>, known: &Known) -> Barrier {
        let p = &seen.parameters.queue;
        match seen.snapshot.engine.max_queued.last() {
            // The server's limit counts running requests too.
            Some(limit) => Barrier {
                requests: (limit - known.running).max(1.0),
                is_server_limit: true,
            },
            None => {
                let out = known.capacity.or(self.finishes.mean()).unwrap_or(0.0);
                Barrier {
                    requests: (out * p.wait_target_secs).max(p.least_barrier),
                    is_server_limit: false,
                }
            }
        }
    }

    fn condition(&self, seen: &Observation<'_>, known: &Known, barrier: &Barrier) -> Option<Condition> {
        let refused = self.rejections.mean().filter(|rate| *rate > 0.01);
        let too_long = self.over_barrier_secs >= seen.parameters.queue.onset_after_secs;
        if refused.is_none() && !too_long {
            return None;
        }
        let mut evidence = vec![Evidence::number(
            Source::Metrics,
            "waiting",
            known.waiting,
            "requests",
        )];
        if let Some(rate) = refused {
            evidence.push(Evidence::number(Source::Metrics, "refused", rate, "requests/s"));
        }
        if too_long {
            evidence.push(Evidence::number(
                Source::Model,
                "queue barrier",
                barrier.requests,
                "requests",
            ));
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
        let (samples, observed) = self.arrivals.observed();
        let estimate = self.arrivals.estimate(p.slope_prior_per_sec, p.slope_lasts_secs);
        let Some(arrivals) = estimate.filter(|_| observed >= p.min_observed_secs) else {
            return Prediction::needs("seconds of samples", observed, p.min_observed_secs);
        };
        let fluid = Fluid {
            arrivals,
            departures: match known.capacity {
                Some(capacity) => Some(capacity),
                None if known.waiting >= 1.0 => self.finishes.mean(),
                None => None,
            },
            waiting: known.waiting,
            barrier: barrier.requests,
        };
        let is_prefill = known.for_prefill && !barrier.is_server_limit;
        let curve = if is_prefill {
            Curve::of(|_| 0.0)
        } else {
            fluid.curve()
        };
        let mut evidence = vec![
            Evidence::number(Source::Metrics, "waiting", known.waiting, "requests"),
            Evidence::number(Source::Metrics, "arrivals", arrivals.rate, "/s"),
            Evidence::number(Source::Model, "change of arrivals", arrivals.slope, "/s per s"),
        ];
        if let Some(capacity) = known.capacity {
            evidence.push(Evidence::number(
                Source::Model,
                "throughput under queueing",
                capacity,
                "/s",
            ));
        }
        if is_prefill {
            evidence.push(Evidence::text(
                Source::Model,
                "batch and KV cache have room: requests wait for a prefill",
            ));
        }
        let words = if barrier.is_server_limit {
            "room in the server's queue limit"
        } else {
            "queue barrier"
        };
        evidence.push(Evidence::number(
            Source::Model,
            words,
            barrier.requests,
            "requests",
        ));
        seen.forecast(
            FailureType::QueueOverflow,
            curve.horizons(),
            curve.time_to_failure(),
            evidence,
            (samples, observed),
        )
    }
}

/// Arrivals against departures.
#[derive(Debug, Clone, Copy)]
struct Fluid {
    arrivals: RateEstimate,
    /// Requests per second that leave while there is a queue; `None` if there never was one.
    departures: Option<f64>,
    waiting: f64,
    barrier: f64,
}

impl Fluid {
    fn curve(&self) -> Curve {
        if self.waiting >= self.barrier {
            return Curve::of(|_| 1.0);
        }
        // Without a queue so far, the capacity is unknown.
        let Some(departures) = self.departures else {
            return Curve::of(|_| 0.0);
        };
        let mut sum = [0.0; TIMES_SECS.len()];
        for (z, weight) in NODES {
            self.add_given(departures, z, weight, &mut sum);
        }
        Curve::new(sum)
    }

    /// Adds the curve for arrivals that are `z` standard errors above the estimate.
    fn add_given(&self, departures: f64, z: f64, weight: f64, sum: &mut [f64; TIMES_SECS.len()]) {
        let mut survives = 1.0;
        // The queue, and where and when it last began to grow: noise adds up from there.
        let (mut queue, mut before_secs) = (self.waiting, 0.0);
        let (mut from, mut since_secs) = (self.waiting, 0.0);
        let mut reached = 0.0_f64;
        for (p, t) in sum.iter_mut().zip(TIMES_SECS) {
            let piece_secs = t - before_secs;
            let rate = self.arrivals.after(before_secs + piece_secs / 2.0, z);
            queue += (rate - departures) * piece_secs;
            if queue <= 0.0 {
                // While the mean queue is empty, a random busy period may still reach the barrier.
                let load = (rate / departures.max(1e-9)).clamp(0.0, 1.0);
                let per_sec = (departures - rate).max(0.0) * (1.0 - load) * load.powf(self.barrier);
                survives *= (-per_sec * piece_secs).exp();
                queue = 0.0;
                (from, since_secs) = (0.0, t);
            } else {
                let secs = (t - since_secs).max(1e-3);
                let noise = rate + departures;
                let drift = (queue - from) / secs;
                reached = reached.max(first_passage::probability(
                    self.barrier - from,
                    drift,
                    noise,
                    secs,
                ));
            }
            *p += weight * (1.0 - survives * (1.0 - reached));
            before_secs = t;
        }
    }
}
