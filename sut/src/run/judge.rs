//! Judges whether a run counts, from LoadGen's logs and other evidence.

use mlperf_loadgen::{Latencies, LoadGenLog, LogSettings, Mode, RunResult, TestSettings, Validity};
use mlperf_rules::verdict::{self, Check, Evidence, IssueDelay, Verdict};
use run_report::OwnFigure;
use vllm_client::PrefixCaching;

use super::outcome::RunOutcome;
use crate::harness::LoadGenResult;
use crate::shutdown::ShutdownReason;

/// A run that was judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JudgedRun {
    pub(super) outcome: RunOutcome,
    /// LoadGen's tokens per second.
    pub(super) tokens_per_sec: Option<f64>,
    /// The verdict; `None` when there are no logs to judge.
    pub(super) verdict: Option<Verdict>,
    /// LoadGen's own figures.
    pub(super) figures: Vec<OwnFigure>,
}

impl JudgedRun {
    fn without_logs(outcome: RunOutcome) -> Self {
        Self {
            outcome,
            tokens_per_sec: None,
            verdict: None,
            figures: Vec::new(),
        }
    }
}

/// The input of a verdict, in addition to LoadGen's logs.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    /// `None` when LoadGen was given up.
    pub(super) loadgen: Option<LoadGenResult>,
    /// Why the run ended early.
    pub(super) reason: Option<&'a ShutdownReason>,
    /// The round's own settings.
    pub(super) round: &'a TestSettings,
    /// Location of LoadGen's logs.
    pub(super) logs: &'a LogSettings,
    /// Scheduled to sent, in nanoseconds.
    pub(super) issue_delays_ns: &'a [i64],
    /// The server was a simulator.
    pub(super) simulated: bool,
    /// The server's prefix caching, as reported before or after the run.
    pub(super) prefix_caching: PrefixCaching,
    /// An audit file was applied, so the run is not judged as a result.
    pub(super) compliance: bool,
    /// The mode of the run.
    pub(super) mode: Mode,
}

/// Reads LoadGen's logs and judges the run.
pub(super) fn judge(ended: Ended<'_>, remarks: &mut Vec<String>) -> JudgedRun {
    let Ended {
        loadgen,
        reason,
        round,
        logs,
        issue_delays_ns,
        simulated,
        prefix_caching,
        compliance,
        mode,
    } = ended;
    if let Some(reason) = reason {
        remarks.push(reason.to_string());
    }
    let Some(loadgen) = loadgen else {
        remarks.push(
            "LoadGen was still following its schedule and was given up; it has written no summary".into(),
        );
        return JudgedRun::without_logs(RunOutcome::Aborted { summary: false });
    };
    let report = match loadgen {
        Ok(report) => report,
        Err(error) => {
            remarks.push(format!("LoadGen: {error}"));
            // An exception during the test, or a refusal before the first query.
            return JudgedRun::without_logs(RunOutcome::NotRun {
                refused: !matches!(error, mlperf_loadgen::Error::LoadGen(_)),
            });
        }
    };
    let log = match LoadGenLog::read(&logs.outdir) {
        Ok(log) => log,
        Err(error) => {
            remarks.push(format!(
                "LoadGen's logs in {} cannot be read: {error}",
                logs.outdir.display()
            ));
            return JudgedRun::without_logs(RunOutcome::NoLogs);
        }
    };
    let result = &log.result;
    let verdict = verdict::judge(&Evidence {
        result,
        incidents: Some(&report.incidents),
        round,
        issue_delay: IssueDelay::from_ns(issue_delays_ns.iter().copied()),
        simulated,
        prefix_caching: Some(match prefix_caching {
            PrefixCaching::On => verdict::PrefixCaching::On,
            PrefixCaching::Off => verdict::PrefixCaching::Off,
            PrefixCaching::Unknown => verdict::PrefixCaching::Unknown,
        }),
    });
    // Under an audit file a run is short on purpose, and LoadGen's early stopping usually reports it as
    // INVALID.
    let counts = if compliance {
        let mut vital = verdict.bad().filter(|finding| finding.check.is_vital());
        vital.all(|finding| finding.check == Check::LoadGenValid)
    } else {
        verdict.counts()
    };
    let outcome = match (reason, counts, result.validity) {
        (Some(_), _, _) => RunOutcome::Aborted { summary: true },
        (None, true, _) if compliance => RunOutcome::NotVerified(None),
        (None, true, _) if mode == Mode::Accuracy => RunOutcome::NotScored,
        (None, true, _) => RunOutcome::Valid,
        (None, false, Some(Validity::Valid)) => RunOutcome::NotCounted,
        (None, false, Some(Validity::Invalid)) => RunOutcome::Invalid,
        (None, false, None) => RunOutcome::NoVerdict,
    };
    // The findings explain nothing if the run was ended early, or if an accuracy or compliance run counts.
    if reason.is_none() && !(counts && (compliance || mode == Mode::Accuracy)) {
        remarks.extend(verdict.lines());
    }
    JudgedRun {
        outcome,
        tokens_per_sec: result.tokens_per_sec.or(result.completed_tokens_per_sec),
        verdict: Some(verdict),
        figures: figures(result),
    }
}

/// LoadGen's measurements, by its own definitions.
fn figures(result: &RunResult) -> Vec<OwnFigure> {
    let figure = |name: &str, value: Option<f64>, unit: &str, definition: &str| {
        value.map(|value| OwnFigure {
            name: format!("LoadGen: {name}"),
            value,
            unit: unit.to_owned(),
            definition: definition.to_owned(),
        })
    };
    let p99 = |latencies: &Latencies| latencies.percentile_ns(99.0).map(|ns| ns as f64 / 1e9);
    [
        figure(
            "tokens per second",
            result.tokens_per_sec.or(result.completed_tokens_per_sec),
            "tokens/s",
            "Offline: output tokens over the time to the last answer. Server: up to the answer of the query that was \
             scheduled last.",
        ),
        figure(
            "samples per second",
            result.samples_per_sec.or(result.completed_samples_per_sec),
            "samples/s",
            "As for tokens per second, of samples.",
        ),
        figure(
            "p99 time to first token",
            p99(&result.ttft),
            "seconds",
            "From the time at which the query was scheduled, over the whole run.",
        ),
        figure(
            "p99 time per output token",
            p99(&result.tpot),
            "seconds",
            "(last - first token) / (tokens - 1), over the whole run.",
        ),
        figure(
            "p99 latency",
            p99(&result.latency),
            "seconds",
            "From the time at which the query was scheduled to its answer, over the whole run.",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
