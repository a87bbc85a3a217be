//! Baselines: rules that are in use elsewhere, each with a grid of its parameters.

use std::collections::VecDeque;

use vllm_monitor::Snapshot;

use super::case::Finds;
use super::kmeans::KMeans;
use super::methods::{Method, Rule};

/// A baseline for one thing to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// `/health` failed so many times in a row.
    HealthPoll,
    /// The step counter stands still for so many seconds while requests run or wait.
    Heartbeat,
    /// The level is at or above a threshold: the saturation rule of the Kubernetes inference gateway.
    Static,
    /// A straight line through the last seconds crosses the limit within the horizon, and the level is above a
    /// threshold: the form of Prometheus' node alerts.
    PredictLinear,
    /// The level is so many deviations above its exponentially weighted mean.
    Sigma,
    /// Two clusters of the recent past; the present is far from both.
    KMeans,
    /// An alarm each second with this probability, whatever is seen.
    Random,
}

impl Baseline {
    /// Those that apply.
    pub fn of(finds: Finds) -> &'static [Self] {
        match finds {
            Finds::Error | Finds::Network => &[Self::HealthPoll, Self::Heartbeat, Self::Random],
            Finds::Degradation => &[Self::Static, Self::Sigma, Self::KMeans, Self::Random],
            Finds::KvPreemption | Finds::QueueOverflow | Finds::HostMemory => &[
                Self::Static,
                Self::PredictLinear,
                Self::Sigma,
                Self::KMeans,
                Self::Random,
            ],
        }
    }

    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::HealthPoll => "polling /health",
            Self::Heartbeat => "step counter stands still",
            Self::Static => "threshold",
            Self::PredictLinear => "straight line",
            Self::Sigma => "sigma of a moving mean",
            Self::KMeans => "k-means",
            Self::Random => "random",
        }
    }

    /// Parameters to try.
    pub fn grid(self, finds: Finds) -> Vec<Vec<f64>> {
        let pairs = |a: &[f64], b: &[f64]| a.iter().flat_map(|a| b.iter().map(|b| vec![*a, *b])).collect();
        let one = |values: &[f64]| values.iter().map(|value| vec![*value]).collect();
        match self {
            Self::HealthPoll => one(&[1.0, 2.0, 3.0, 5.0, 10.0]),
            Self::Heartbeat => one(&[3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0]),
            Self::Static => match finds {
                Finds::QueueOverflow => one(&[2.0, 5.0, 10.0, 20.0, 40.0, 80.0]),
                Finds::Degradation => one(&[0.005, 0.008, 0.010, 0.012, 0.015, 0.02, 0.03, 0.05]),
                _ => one(&[0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]),
            },
            Self::PredictLinear => {
                let thresholds: &[f64] = if finds == Finds::QueueOverflow {
                    &[1.0, 5.0, 20.0]
                } else {
                    &[0.3, 0.6, 0.8]
                };
                let windows = [20.0, 60.0, 120.0, 300.0];
                let mut grid = Vec::new();
                for window in windows {
                    for threshold in thresholds {
                        for horizon in [30.0, 60.0, 120.0] {
                            grid.push(vec![window, *threshold, horizon]);
                        }
                    }
                }
                grid
            }
            Self::Sigma => pairs(&[3.0, 4.0, 5.0, 6.0, 8.0, 12.0], &[30.0, 60.0, 300.0]),
            Self::KMeans => pairs(&[1.5, 2.0, 3.0, 5.0, 8.0], &[120.0, 300.0]),
            Self::Random => one(&[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03]),
        }
    }

    /// With these parameters.
    pub(super) fn make(self, finds: Finds, p: &[f64]) -> Box<dyn Method> {
        let level = Level { finds, before: None };
        let p0 = p[0];
        match self {
            Self::HealthPoll => {
                let mut failed = 0.0;
                Box::new(Rule::new(finds, move |s: &Snapshot| {
                    let well = s
                        .http
                        .health
                        .if_fresh()
                        .is_some_and(|probe| probe.outcome.is_success());
                    failed = if well { 0.0 } else { failed + 1.0 };
                    Some(failed >= p0)
                }))
            }
            Self::Heartbeat => {
                let (mut steps, mut still_secs) = (f64::NAN, 0.0);
                Box::new(Rule::new(finds, move |s: &Snapshot| {
                    let now = s.engine.steps_total.if_fresh()?;
                    let works = (s.engine.running + s.engine.waiting)
                        .if_fresh()
                        .is_some_and(|n| n > 0.0);
                    still_secs = if now == steps && works {
                        still_secs + 1.0
                    } else {
                        0.0
                    };
                    steps = now;
                    Some(still_secs >= p0)
                }))
            }
            Self::Static => {
                let mut level = level;
                Box::new(Rule::new(finds, move |s: &Snapshot| Some(level.of(s)?.0 >= p0)))
            }
            Self::PredictLinear => {
                let (threshold, horizon) = (p[1], p[2]);
                let (mut level, mut line) = (level, Line::new(p0 as usize));
                let mut stands = 0;
                Box::new(Rule::new(finds, move |s: &Snapshot| {
                    let (now, limit) = level.of(s)?;
                    let crosses = line.add(now).is_some_and(|line| line.at(horizon) >= limit);
                    stands = if crosses && now > threshold { stands + 1 } else { 0 };
                    Some(stands >= 3)
                }))
            }
            Self::Sigma => {
                let (mut level, weight) = (level, 1.0 / p[1]);
                let (mut mean, mut variance, mut seen) = (0.0, 0.0, 0.0);
                Box::new(Rule::new(finds, move |s: &Snapshot| {
                    let (now, _) = level.of(s)?;
                    if seen == 0.0 {
                        mean = now;
                    }
                    seen += 1.0;
                    let far = now - mean > p0 * f64::sqrt(variance).max(1e-3 * mean.abs().max(1e-3));
                    mean += weight * (now - mean);
                    variance += weight * ((now - mean).powi(2) - variance);
                    Some(far && seen > 30.0)
                }))
            }
            Self::KMeans => {
                let (mut level, mut clusters) = (level, KMeans::new(p[1] as usize));
                let mut stands = 0;
                Box::new(Rule::new(finds, move |s: &Snapshot| {
                    let far = clusters.add(level.of(s)?.0) > p0;
                    stands = if far { stands + 1 } else { 0 };
                    Some(stands >= 3)
                }))
            }
            Self::Random => {
                let mut state = 0x1234_5678_9abc_def0_u64;
                Box::new(Rule::new(finds, move |_: &Snapshot| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    Some((state >> 11) as f64 / ((1_u64 << 53) as f64) < p0)
                }))
            }
        }
    }
}

/// The number whose rise foretells the failure, and its limit.
struct Level {
    finds: Finds,
    /// Sum and count of the time between tokens.
    before: Option<(f64, f64)>,
}

impl Level {
    fn of(&mut self, s: &Snapshot) -> Option<(f64, f64)> {
        let engine = &s.engine;
        match self.finds {
            Finds::QueueOverflow => {
                let limit = match engine.max_queued.last() {
                    Some(limit) => limit - engine.running.last()?,
                    None => 20.0,
                };
                Some((engine.waiting.if_fresh()?, limit))
            }
            Finds::HostMemory => {
                let host = &s.host;
                let used = 1.0 - host.memory_available_bytes.if_fresh()? / host.memory_total_bytes.last()?;
                Some((used, 1.0))
            }
            Finds::Degradation => {
                let itl = &engine.inter_token_latency;
                let now = (itl.sum.if_fresh()?, itl.count.if_fresh()?);
                let before = self.before.replace(now)?;
                let tokens = now.1 - before.1;
                (tokens > 0.0).then(|| ((now.0 - before.0) / tokens, f64::INFINITY))
            }
            _ => Some((engine.kv_usage_ratio.if_fresh()?, 1.0)),
        }
    }
}

/// A straight line through the newest values, one a second.
struct Line {
    window: VecDeque<f64>,
    most: usize,
}

struct Fit {
    end: f64,
    slope: f64,
}

impl Fit {
    fn at(&self, secs: f64) -> f64 {
        self.end + self.slope * secs
    }
}

impl Line {
    fn new(most: usize) -> Self {
        Self {
            window: VecDeque::new(),
            most,
        }
    }

    fn add(&mut self, value: f64) -> Option<Fit> {
        self.window.push_back(value);
        if self.window.len() > self.most {
            self.window.pop_front();
        }
        let n = self.window.len() as f64;
        if n < 10.0 {
            return None;
        }
        let middle = (n - 1.0) / 2.0;
        let mean = self.window.iter().sum::<f64>() / n;
        let (mut tx, mut tt) = (0.0, 0.0);
        for (t, x) in self.window.iter().enumerate() {
            tx += (t as f64 - middle) * (x - mean);
            tt += (t as f64 - middle).powi(2);
        }
        let slope = tx / tt;
        Some(Fit {
            end: mean + slope * middle,
            slope,
        })
    }
}
