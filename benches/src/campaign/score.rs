//! Scores of one method over the records of one case.

use run_statistics::group_bootstrap;
use vllm_monitor::HORIZONS_SECS;
use vllm_monitor::numeric::score::Scores;

use super::case::Finds;
use super::methods::{Method, Said};
use super::record::{QUIET_SECS, Record};

/// Range of seconds before an onset in which an alarm predicts it.
const LEAD_SECS: (f64, f64) = (5.0, 120.0);
/// Seconds after an onset within which an alarm finds it.
const WITHIN_SECS: f64 = 120.0;

/// A figure with its 95 % interval over runs.
pub(super) type Interval = Option<(f64, f64, f64)>;

/// What one method did in one run.
#[derive(Debug, Clone, Default)]
struct Run {
    onsets: f64,
    found: f64,
    /// Seconds from the onset to the alarm, or before it where the failure is predicted.
    delays: Vec<f64>,
    false_alarms: f64,
    healthy_hours: f64,
    horizons: [Scores; 4],
}

/// Scores over runs.
#[derive(Debug, Clone)]
pub(super) struct MethodScore {
    /// Onsets.
    pub(super) onsets: f64,
    /// Of these, found or predicted in time.
    pub(super) found: f64,
    /// Their share.
    pub(super) recall: Interval,
    /// Median and worst delay, or lead: the worst lead is the shortest.
    pub(super) delay: Option<(f64, f64)>,
    /// Hours in which no failure was there or near.
    pub(super) healthy_hours: f64,
    /// Alarms in them.
    pub(super) false_alarms: f64,
    /// Per hour.
    pub(super) false_per_hour: Interval,
    /// Brier skill at 60 s against the base rate.
    pub(super) skill: Interval,
    /// Expected calibration error at 60 s.
    pub(super) calibration_error: Interval,
    /// Brier skill at 5, 30, 60 and 300 s.
    pub(super) skills: [Option<f64>; 4],
    /// Share of seconds at 60 s with the failure to come.
    pub(super) base_rate: Option<f64>,
}

/// Runs a method over records, each from its beginning, and scores it.
pub(super) fn score(
    records: &[&Record],
    finds: Option<Finds>,
    make: &dyn Fn() -> Box<dyn Method>,
) -> MethodScore {
    let runs: Vec<Run> = records
        .iter()
        .map(|record| run(record, finds, make().as_mut()))
        .collect();
    let sum = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>();
    let predicted = finds.is_some_and(Finds::is_predicted);
    let mut delays: Vec<f64> = runs.iter().flat_map(|run| run.delays.iter().copied()).collect();
    delays.sort_by(f64::total_cmp);
    let worst = if predicted { delays.first() } else { delays.last() };
    let interval = |figure: &dyn Fn(&[&Run]) -> Option<f64>| {
        let drawn = group_bootstrap(&runs, figure, 400, 0.95, 7)?;
        Some((drawn.value, drawn.low, drawn.high))
    };
    let merged = |runs: &[&Run], horizon: usize| {
        let mut scores = Scores::default();
        for run in runs {
            scores.merge(&run.horizons[horizon]);
        }
        scores
    };
    let ratio = |runs: &[&Run], over: fn(&Run) -> f64, under: fn(&Run) -> f64| {
        let under: f64 = runs.iter().map(|run| under(run)).sum();
        (under > 0.0).then(|| runs.iter().map(|run| over(run)).sum::<f64>() / under)
    };
    let all: Vec<&Run> = runs.iter().collect();
    MethodScore {
        onsets: sum(|run| run.onsets),
        found: sum(|run| run.found),
        recall: interval(&|runs| ratio(runs, |run| run.found, |run| run.onsets)),
        delay: worst.map(|worst| (delays[delays.len() / 2], *worst)),
        healthy_hours: sum(|run| run.healthy_hours),
        false_alarms: sum(|run| run.false_alarms),
        false_per_hour: interval(&|runs| ratio(runs, |run| run.false_alarms, |run| run.healthy_hours)),
        skill: interval(&|runs| merged(runs, 2).skill()).filter(|_| predicted),
        calibration_error: interval(&|runs| merged(runs, 2).calibration_error()).filter(|_| predicted),
        skills: std::array::from_fn(|horizon| merged(&all, horizon).skill()),
        base_rate: merged(&all, 2).base_rate(),
    }
}

fn run(record: &Record, finds: Option<Finds>, method: &mut dyn Method) -> Run {
    let label = &record.label;
    let onsets = &label.onset_secs;
    let mut result = Run {
        onsets: if label.finds.is_some() {
            onsets.len() as f64
        } else {
            0.0
        },
        ..Run::default()
    };
    let predicted = finds.is_some_and(Finds::is_predicted);
    let end = record.rows.last().map_or(0.0, |row| row.secs);
    let mut alarms: Vec<f64> = Vec::new();
    let (mut last_present, mut before, mut restarted) = (f64::NEG_INFINITY, 0.0, false);
    for (row, there) in record.rows.iter().zip(&record.present) {
        let secs = row.secs;
        if label.monitor_restart_secs.is_some_and(|at| secs >= at) && !restarted {
            restarted = true;
            method.restart();
        }
        let Said {
            probability,
            alarms: said,
        } = method.see(&row.snapshot());
        if *there {
            last_present = secs;
        }
        let is_healthy = !there && secs - last_present > QUIET_SECS;
        let passed = secs - before;
        before = secs;
        let right = |alarm: &Option<Finds>| finds.is_some() && *alarm == finds;
        // An ERROR where the network fails, say, is worse than silence, whenever it comes.
        let wrong_name = said.contains(&Some(Finds::Error))
            && matches!(finds, None | Some(Finds::Network | Finds::Degradation));
        alarms.extend(said.iter().filter(|alarm| right(alarm)).map(|_| secs));
        let next = onsets
            .iter()
            .find(|onset| **onset > secs)
            .map(|onset| onset - secs);
        if !is_healthy {
            result.false_alarms += f64::from(u8::from(wrong_name));
            continue;
        }
        result.healthy_hours += passed / 3600.0;
        let is_open = end - secs <= LEAD_SECS.1;
        let near = predicted && (next.is_some_and(|secs| secs <= LEAD_SECS.1) || is_open);
        let wrong = said.iter().filter(|alarm| !(right(alarm) && near)).count();
        result.false_alarms += wrong as f64;
        let Some(probability) = probability else { continue };
        for (h, horizon) in HORIZONS_SECS.into_iter().enumerate() {
            // The last seconds of a run do not know what follows.
            if next.is_none_or(|next| next > horizon) && end - secs <= horizon {
                continue;
            }
            result.horizons[h].add(probability[h], next.is_some_and(|next| next <= horizon));
        }
    }
    for onset in onsets.iter().filter(|_| label.finds.is_some()) {
        let delay = if predicted {
            let leads = alarms.iter().map(|at| onset - at);
            leads
                .filter(|lead| (LEAD_SECS.0..=LEAD_SECS.1).contains(lead))
                .reduce(f64::max)
        } else {
            let delays = alarms.iter().map(|at| at - onset);
            delays
                .filter(|delay| (0.0..=WITHIN_SECS).contains(delay))
                .reduce(f64::min)
        };
        if let Some(delay) = delay {
            result.found += 1.0;
            result.delays.push(delay);
        }
    }
    result
}
