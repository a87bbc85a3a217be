//! The resolved flags of the search for the highest valid rate.

use std::time::Duration;

use mlperf_rules::RuleScenario;

use super::{Trial, words};
use crate::cli::{ModeArg, RunArgs};

/// Default length of a short trial.
const TRIAL: Duration = Duration::from_secs(60);
/// Default precision of the peak.
const PRECISION: f64 = 0.02;

/// The resolved flags of the search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeakPlan {
    /// Shortest duration of a short trial.
    pub(crate) trial: Duration,
    /// Precision of the peak, as a fraction of it.
    pub(crate) precision: f64,
}

pub(super) fn resolve(args: &RunArgs, scenario: RuleScenario, wrong: &mut Vec<String>) -> Option<PeakPlan> {
    if !args.find_peak {
        for (flag, given) in [
            ("--peak-trial", args.peak_trial.is_some()),
            ("--peak-precision", args.peak_precision.is_some()),
        ] {
            if given {
                wrong.push(format!("{flag} has no effect without --find-peak"));
            }
        }
        return None;
    }
    if !Trial::is_searched(scenario) {
        wrong.push("--find-peak searches a rate of arrivals, which only Server and Interactive have".into());
    }
    if args.test_mode.is_some_and(|mode| mode != ModeArg::Performance) {
        wrong.push("--find-peak makes performance runs: leave --test-mode out".into());
    }
    let trial = words::duration("--peak-trial", args.peak_trial.as_ref(), wrong).unwrap_or(TRIAL);
    if args.compliance.is_some() || args.audit_config.is_some() {
        wrong.push("--find-peak makes no compliance runs: leave --compliance and --audit-config out".into());
    }
    for flag in args.recording.given() {
        wrong.push(format!(
            "{flag} is not for the trials of --find-peak: record a run at the rate that it finds"
        ));
    }
    let precision = args.peak_precision.unwrap_or(PRECISION);
    if !(0.001..=1.0).contains(&precision) {
        wrong.push(format!("--peak-precision {precision}: must be from 0.001 to 1"));
    }
    Some(PeakPlan { trial, precision })
}
