//! Scores of one method over many runs: probabilities at 1 Hz against what happened, and alarms against onsets.
//!
//! Definitions, fixed before tuning. KV onset: the first second with a preemption after 60 s without. Queue onset: the
//! first refusal, or, without a limit of the server, waiting at or above the barrier for 10 s; after 60 s without. A
//! second counts if no failure was there in the 60 s before. An alarm is right if an onset follows within 120 s;
//! predicted means an alarm at least 5 s and at most 120 s ahead.

use vllm_monitor::HORIZONS_SECS;
use vllm_monitor::numeric::score::Scores;

pub const REACH_SECS: f64 = 120.0;
pub const LEAD_SECS: f64 = 5.0;
const QUIET_SECS: u64 = 60;

/// What one method said in one run: probabilities and whether an alarm stood, for each second.
#[derive(Debug, Default)]
pub struct Track {
    pub said: Vec<Option<([f64; 4], bool)>>,
}

/// Onsets of a run, as seconds, from a flag for each second.
pub fn onsets(present: &[bool]) -> Vec<u64> {
    let mut found = Vec::new();
    let mut quiet = QUIET_SECS;
    for (second, there) in present.iter().enumerate() {
        if *there {
            if quiet >= QUIET_SECS {
                found.push(second as u64);
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    found
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub horizons: [Scores; 4],
    pub onsets: f64,
    pub predicted: f64,
    pub alarms: f64,
    pub false_alarms: f64,
    pub calm_hours: f64,
    pub leads: Vec<f64>,
    /// Run, probability and outcome at each horizon, for calibration tables.
    pub pairs: [Vec<(usize, f64, bool)>; 4],
    /// Runs, for resampling.
    pub by_run: Vec<(f64, f64, f64, f64, [Scores; 4])>,
}

impl Tally {
    pub fn add(&mut self, track: &Track, present: &[bool]) {
        let onsets = onsets(present);
        let mut run: [Scores; 4] = std::array::from_fn(|_| Scores::default());
        let mut quiet = QUIET_SECS;
        let (mut calm, mut alarms, mut false_alarms) = (0.0, 0.0, 0.0);
        let mut raised: Vec<u64> = Vec::new();
        let mut stood = false;
        for (second, said) in track.said.iter().enumerate() {
            let second = second as u64;
            let there = present[second as usize];
            quiet = if there { 0 } else { quiet + 1 };
            let eligible = !there && quiet >= QUIET_SECS;
            let Some((p, alarm)) = said else {
                stood = false;
                continue;
            };
            if *alarm && !stood && eligible {
                raised.push(second);
            }
            stood = *alarm;
            if !eligible {
                continue;
            }
            calm += 1.0 / 3600.0;
            let next = onsets
                .iter()
                .find(|onset| **onset > second)
                .map(|onset| (*onset - second) as f64);
            for (h, horizon) in HORIZONS_SECS.iter().enumerate() {
                // The last seconds of a run do not know what follows.
                if next.is_none_or(|n| n > *horizon) && (track.said.len() as u64 - second) as f64 <= *horizon
                {
                    continue;
                }
                let happened = next.is_some_and(|n| n <= *horizon);
                run[h].add(p[h], happened);
                self.pairs[h].push((self.by_run.len(), p[h], happened));
            }
        }
        let mut predicted = 0.0;
        for onset in &onsets {
            let lead = raised
                .iter()
                .filter(|at| **at < *onset)
                .map(|at| (*onset - *at) as f64)
                .filter(|lead| (LEAD_SECS..=REACH_SECS).contains(lead))
                .fold(0.0, f64::max);
            if lead >= LEAD_SECS {
                predicted += 1.0;
                self.leads.push(lead);
            }
        }
        for at in &raised {
            let right = onsets
                .iter()
                .any(|onset| *onset >= *at && (*onset - *at) as f64 <= REACH_SECS);
            let open = (track.said.len() as u64 - at) as f64 <= REACH_SECS;
            alarms += 1.0;
            if !right && !open {
                false_alarms += 1.0;
            }
        }
        self.onsets += onsets.len() as f64;
        self.predicted += predicted;
        self.alarms += alarms;
        self.false_alarms += false_alarms;
        self.calm_hours += calm;
        for (total, one) in self.horizons.iter_mut().zip(&run) {
            total.merge(one);
        }
        self.by_run
            .push((onsets.len() as f64, predicted, false_alarms, calm, run));
    }

    /// (recall, false alarms per calm hour, Brier skill at 60 s, calibration error at 60 s).
    pub fn figures(&self) -> [f64; 4] {
        figures(&self.by_run.iter().collect::<Vec<_>>())
    }

    /// Brier skill and calibration error at one horizon if a table is fitted on every other run and applied to the rest.
    pub fn calibrated(&self, horizon: usize) -> (f64, f64) {
        use vllm_monitor::predict::calibrate::Calibrator;
        use vllm_monitor::predict::score::Resolved;
        let mut scores = Scores::default();
        for half in [0, 1] {
            let mut calibrator = Calibrator::default();
            for (run, raw, happened) in &self.pairs[horizon] {
                if run % 2 == half {
                    calibrator.learn(Resolved {
                        horizon,
                        raw: *raw,
                        happened: *happened,
                    });
                }
            }
            let table = &calibrator.raw_tables()[horizon];
            for (run, raw, happened) in &self.pairs[horizon] {
                if run % 2 != half {
                    scores.add(table.apply(*raw), *happened);
                }
            }
        }
        (
            scores.skill().unwrap_or(f64::NAN),
            scores.calibration_error().unwrap_or(f64::NAN),
        )
    }

    /// 95 % intervals by resampling runs.
    pub fn intervals(&self, seed: u64) -> [(f64, f64); 4] {
        let mut rng = crate::support::rng::Rng::new(seed);
        let mut drawn: [Vec<f64>; 4] = Default::default();
        for _ in 0..400 {
            let sample: Vec<_> = (0..self.by_run.len())
                .map(|_| &self.by_run[(rng.unit() * self.by_run.len() as f64) as usize])
                .collect();
            for (all, one) in drawn.iter_mut().zip(figures(&sample)) {
                all.push(one);
            }
        }
        drawn.map(|mut all| {
            all.sort_by(f64::total_cmp);
            (all[10], all[389])
        })
    }
}

type Run = (f64, f64, f64, f64, [Scores; 4]);

fn figures(runs: &[&Run]) -> [f64; 4] {
    let mut scores = Scores::default();
    let (mut onsets, mut predicted, mut wrong, mut calm) = (0.0, 0.0, 0.0, 0.0);
    for (o, f, w, c, horizons) in runs {
        onsets += o;
        predicted += f;
        wrong += w;
        calm += c;
        scores.merge(&horizons[2]);
    }
    [
        predicted / onsets,
        wrong / calm,
        scores.skill().unwrap_or(f64::NAN),
        scores.calibration_error().unwrap_or(f64::NAN),
    ]
}
