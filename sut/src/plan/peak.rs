//! What the flags of the search for the highest valid rate say.

use std::time::Duration;

use super::words::parse_duration;
use crate::cli::{ModeArg, RunArgs, ScenarioArg};
use crate::peak::PeakPlan;

/// Length of a short trial.
const TRIAL: Duration = Duration::from_secs(60);
/// How closely the peak is to be known.
const PRECISION: f64 = 0.02;

pub(super) fn resolve(args: &RunArgs, scenario: ScenarioArg, wrong: &mut Vec<String>) -> Option<PeakPlan> {
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
    if !matches!(scenario, ScenarioArg::Server | ScenarioArg::Interactive) {
        wrong.push("--find-peak searches a rate of arrivals, which only Server and Interactive have".into());
    }
    if args.test_mode.is_some_and(|mode| mode != ModeArg::Performance) {
        wrong.push("--find-peak makes performance runs: leave --test-mode out".into());
    }
    let trial = match args.peak_trial.as_deref().map(parse_duration) {
        None => TRIAL,
        Some(Ok(trial)) => trial,
        Some(Err(why)) => {
            wrong.push(format!("--peak-trial: {why}"));
            TRIAL
        }
    };
    if args.compliance.is_some() || args.audit_config.is_some() {
        wrong.push("--find-peak makes no compliance runs: leave --compliance and --audit-config out".into());
    }
    for flag in args.recording.given() {
        wrong.push(format!(
            "{flag} is not for the trials of --find-peak: record a run at the rate that it finds"
        ));
    }
    // Each trial reads its flags from a file beside its logs, and that is no place for a secret.
    for (flag, values) in [
        ("--url", args.url.as_deref().unwrap_or_default()),
        ("--metrics-url", args.metrics_url.as_slice()),
        ("--metrics-upload", args.metrics_upload.as_slice()),
    ] {
        if vllm_client::redact_args(values) != values {
            wrong.push(format!(
                "{flag} holds a password or token, which --find-peak would store in the flags of its trials: give the \
                 server's key with --api-key or VLLM_API_KEY, and record a run at the rate that is found"
            ));
        }
    }
    let precision = args.peak_precision.unwrap_or(PRECISION);
    if !(0.001..=1.0).contains(&precision) {
        wrong.push(format!("--peak-precision {precision}: must be from 0.001 to 1"));
    }
    Some(PeakPlan { trial, precision })
}
