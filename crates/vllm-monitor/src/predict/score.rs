//! Scores of forecasts: probabilities against outcomes, alarms against failures.
//!
//! Every few seconds a forecast is kept until its horizons have passed or the failure has begun. Forecasts that cannot
//! be resolved, because the server stopped or was not observed, are dropped and counted.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::forecast::{HORIZONS_SECS, Horizons};
use crate::numeric::quantile::LogHistogram;
use crate::numeric::score::Scores;

/// An alarm is correct if the failure begins within this time, in seconds.
pub const ALARM_REACH_SECS: f64 = 120.0;

/// A lead that counts, in seconds.
pub const USEFUL_LEAD_SECS: f64 = 5.0;

/// A forecast that waits for its outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pending {
    age_secs: f64,
    raw: Horizons,
    calibrated: Horizons,
    /// Horizons that are resolved already.
    resolved: usize,
}

/// One resolved pair: horizon, probability before calibration, whether it happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved {
    /// Place in [`HORIZONS_SECS`].
    pub horizon: usize,
    /// The predictor's own probability.
    pub raw: f64,
    /// The failure began within the horizon.
    pub happened: bool,
}

/// Scores of one failure type at one target. Survives a restart; what is pending does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForecastScore {
    /// At each of [`HORIZONS_SECS`].
    pub horizons: [Scores; HORIZONS_SECS.len()],
    /// Failures that began.
    pub onsets: f64,
    /// Of these, with an alarm at least [`USEFUL_LEAD_SECS`] ahead.
    pub predicted: f64,
    /// Alarms raised.
    pub alarms: f64,
    /// Of these, without a failure within [`ALARM_REACH_SECS`].
    pub false_alarms: f64,
    /// Forecasts that could not be resolved.
    pub dropped: f64,
    /// Seconds in which nothing was wrong and forecasts were made.
    pub healthy_secs: f64,
    /// From alarm to failure, in seconds.
    pub leads: LogHistogram,
    #[serde(skip)]
    pending: VecDeque<Pending>,
    #[serde(skip)]
    since_kept_secs: f64,
    #[serde(skip)]
    alarm_age_secs: Option<f64>,
}

impl Default for ForecastScore {
    fn default() -> Self {
        Self {
            horizons: std::array::from_fn(|_| Scores::default()),
            onsets: 0.0,
            predicted: 0.0,
            alarms: 0.0,
            false_alarms: 0.0,
            dropped: 0.0,
            healthy_secs: 0.0,
            leads: LogHistogram::new(1e6),
            pending: VecDeque::new(),
            since_kept_secs: f64::INFINITY,
            alarm_age_secs: None,
        }
    }
}

/// The outcome of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Seconds since the snapshot before.
    pub dt_secs: f64,
    /// The failure began.
    pub began: bool,
    /// The forecast before and after calibration, if one was made and nothing was wrong.
    pub forecast: Option<(Horizons, Horizons)>,
    /// An alarm was raised with this snapshot.
    pub alarm_raised: bool,
    /// Earlier forecasts cannot be resolved: there was a gap, or the server stopped.
    pub broken: bool,
}

impl ForecastScore {
    /// Takes one snapshot's outcome and returns what it resolved. `sample_secs` is the time between forecasts that are
    /// kept.
    pub fn update(&mut self, outcome: Outcome, sample_secs: f64) -> Vec<Resolved> {
        let mut resolved = Vec::new();
        if outcome.broken {
            self.dropped += self.pending.len() as f64;
            self.pending.clear();
            self.alarm_age_secs = None;
            self.since_kept_secs = f64::INFINITY;
        }
        for pending in &mut self.pending {
            pending.age_secs += outcome.dt_secs;
        }
        self.since_kept_secs += outcome.dt_secs;
        if let Some(age) = &mut self.alarm_age_secs {
            *age += outcome.dt_secs;
        }
        self.resolve(outcome.began, &mut resolved);
        self.count_alarms(outcome);
        if let Some((raw, calibrated)) = outcome.forecast {
            self.healthy_secs += outcome.dt_secs;
            if self.since_kept_secs >= sample_secs {
                self.since_kept_secs = 0.0;
                self.pending.push_back(Pending {
                    age_secs: 0.0,
                    raw,
                    calibrated,
                    resolved: 0,
                });
            }
        }
        resolved
    }

    fn resolve(&mut self, began: bool, resolved: &mut Vec<Resolved>) {
        for pending in &mut self.pending {
            while let Some(horizon) = HORIZONS_SECS.get(pending.resolved) {
                let within = pending.age_secs <= *horizon;
                if within && !began {
                    break;
                }
                let place = pending.resolved;
                let happened = within && began;
                self.horizons[place].add(pending.calibrated.as_array()[place], happened);
                resolved.push(Resolved {
                    horizon: place,
                    raw: pending.raw.as_array()[place],
                    happened,
                });
                pending.resolved += 1;
            }
        }
        self.pending
            .retain(|pending| pending.resolved < HORIZONS_SECS.len());
    }

    fn count_alarms(&mut self, outcome: Outcome) {
        if outcome.began {
            self.onsets += 1.0;
            if let Some(age) = self.alarm_age_secs.take() {
                self.leads.add(age);
                if age >= USEFUL_LEAD_SECS {
                    self.predicted += 1.0;
                }
            }
        } else if self.alarm_age_secs.is_some_and(|age| age > ALARM_REACH_SECS) {
            self.false_alarms += 1.0;
            self.alarm_age_secs = None;
        }
        if outcome.alarm_raised {
            self.alarms += 1.0;
            if !outcome.began && self.alarm_age_secs.is_none() {
                self.alarm_age_secs = Some(0.0);
            }
        }
    }

    /// Share of resolved forecasts at 60 s that were on the right side of one half; `None` before any was resolved.
    pub fn accuracy(&self) -> Option<f64> {
        let scores = &self.horizons[2];
        if scores.pairs() <= 0.0 {
            return None;
        }
        let half = scores.bins().len() / 2;
        let right: f64 = scores
            .bins()
            .iter()
            .enumerate()
            .map(|(i, bin)| {
                if i >= half {
                    bin.positives
                } else {
                    bin.pairs - bin.positives
                }
            })
            .sum();
        Some(right / scores.pairs())
    }

    /// False alarms per hour in which nothing was wrong; `None` before the first minute.
    pub fn false_alarms_per_healthy_hour(&self) -> Option<f64> {
        (self.healthy_secs >= 60.0).then(|| self.false_alarms / (self.healthy_secs / 3600.0))
    }

    /// Share of failures with a useful alarm; `None` before the first failure.
    pub fn recall(&self) -> Option<f64> {
        (self.onsets > 0.0).then(|| self.predicted / self.onsets)
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (scores, more) in self.horizons.iter_mut().zip(&other.horizons) {
            scores.merge(more);
        }
        self.onsets += other.onsets;
        self.predicted += other.predicted;
        self.alarms += other.alarms;
        self.false_alarms += other.false_alarms;
        self.dropped += other.dropped;
        self.healthy_secs += other.healthy_secs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Outcome = Outcome {
        dt_secs: 1.0,
        began: false,
        forecast: None,
        alarm_raised: false,
        broken: false,
    };

    fn says(p: f64) -> Outcome {
        Outcome {
            forecast: Some((Horizons::all(p), Horizons::all(p))),
            ..CALM
        }
    }

    #[test]
    fn each_horizon_is_resolved_by_itself() {
        let mut score = ForecastScore::default();
        score.update(says(0.9), 1e9);
        let mut resolved = Vec::new();
        for _ in 0..39 {
            resolved.extend(score.update(CALM, 1e9));
        }
        resolved.extend(score.update(Outcome { began: true, ..CALM }, 1e9));
        let outcomes: Vec<(usize, bool)> = resolved.iter().map(|r| (r.horizon, r.happened)).collect();
        assert_eq!(
            outcomes,
            [(0, false), (1, false), (2, true), (3, true)],
            "it began after 40 s"
        );
        assert_eq!(score.accuracy(), Some(1.0));
    }

    #[test]
    fn alarms_are_right_wrong_or_late() {
        let mut score = ForecastScore::default();
        let run = |score: &mut ForecastScore, lead: u32, begins: bool| {
            score.update(
                Outcome {
                    alarm_raised: true,
                    ..says(0.9)
                },
                5.0,
            );
            for _ in 0..lead {
                score.update(says(0.9), 5.0);
            }
            if begins {
                score.update(Outcome { began: true, ..CALM }, 5.0);
            }
        };
        run(&mut score, 10, true);
        run(&mut score, 2, true);
        run(&mut score, 200, false);
        assert_eq!(
            (score.alarms, score.onsets, score.predicted, score.false_alarms),
            (3.0, 2.0, 1.0, 1.0)
        );
        assert_eq!(score.recall(), Some(0.5));
    }

    #[test]
    fn what_was_not_watched_is_dropped_and_counted() {
        let mut score = ForecastScore::default();
        for _ in 0..20 {
            score.update(says(0.1), 5.0);
        }
        let resolved = score.update(Outcome { broken: true, ..CALM }, 5.0);
        assert!(resolved.is_empty() && score.dropped >= 3.0, "{}", score.dropped);
    }

    #[test]
    fn memory_is_bounded() {
        let mut score = ForecastScore::default();
        for _ in 0..100_000 {
            score.update(says(0.1), 1.0);
        }
        assert!(score.pending.len() <= 302, "{}", score.pending.len());
    }
}
