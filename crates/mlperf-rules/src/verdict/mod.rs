//! The acceptance checks in addition to LoadGen's verdict: whether the result counts, whether it is official,
//! and if not, the reason and the simplest remedy. Pure functions over the values of the log.
//!
//! LoadGen reports runs as VALID in which every sample failed, and the submission checker passes runs that
//! LoadGen reports as INVALID. Both are therefore checked again here, with everything else that makes a
//! result worthless.

mod invalid;
mod official;
mod words;

use std::time::Duration;

use mlperf_loadgen::{Incidents, RunResult, TestSettings, Validity};

/// The round whose configuration is compiled into LoadGen 6.0.17.
pub const ROUND: &str = "v6.1";

/// The input of a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// LoadGen's detail log.
    pub result: &'a RunResult,
    /// The incidents that the binding counted; `None` if only the logs are available.
    pub incidents: Option<&'a Incidents>,
    /// The round's own settings for the benchmark and scenario:
    /// [`TestSettings::from_config`] without a user's file.
    pub round: &'a TestSettings,
    /// How late queries were issued; `None` if it was not measured.
    pub issue_delay: Option<IssueDelay>,
    /// The server was the built-in simulator.
    pub simulated: bool,
    /// Whether the server reused results of other queries; `None` if only the logs are available.
    pub prefix_caching: Option<PrefixCaching>,
}

/// The delay between the time at which LoadGen's schedule wanted a query to be sent and its arrival at our
/// worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueDelay {
    /// 99th percentile.
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
}

impl IssueDelay {
    /// Computes both from single delays in nanoseconds, in any order; negative ones count as zero. `None`
    /// without any.
    pub fn from_ns(delays: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut delays: Vec<u64> = delays
            .into_iter()
            .map(|ns| u64::try_from(ns).unwrap_or(0))
            .collect();
        delays.sort_unstable();
        let max = Duration::from_nanos(*delays.last()?);
        // LoadGen's own rule for the index of a percentile.
        let p99 = Duration::from_nanos(delays[delays.len() * 99 / 100]);
        Some(Self { p99, max })
    }
}

/// Whether a server reuses results that it computed for other queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixCaching {
    /// It does.
    On,
    /// It does not.
    Off,
    /// The server does not report it.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The log is complete.
    Ended,
    /// LoadGen reports VALID.
    LoadGenValid,
    /// LoadGen logged no error.
    NoErrors,
    /// Every query got exactly one real answer.
    EveryQueryAnswered,
    /// Seeds equal the round's.
    Seeds,
    /// Latency limits and percentiles equal the round's.
    Limits,
    /// The run is as long as the round requires.
    Duration,
    /// The numbers of samples and queries are those that the round requires, chosen by the round's rule.
    Counts,
    /// No audit configuration was in effect.
    NoAudit,
    /// LoadGen is the round's version, unmodified.
    LoadGenBuild,
    /// The client was not the bottleneck.
    ClientKeptUp,
    /// The server was not a simulator.
    RealServer,
    /// The server did not reuse results of other queries.
    NoPrefixCaching,
}

impl Check {
    /// Whether the result is worthless if the check fails. The other checks only decide whether it is
    /// official.
    pub fn is_vital(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::LoadGenValid | Self::NoErrors | Self::EveryQueryAnswered
        )
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "run ended",
            Self::LoadGenValid => "LoadGen's verdict",
            Self::NoErrors => "LoadGen's errors",
            Self::EveryQueryAnswered => "answers",
            Self::Seeds => "seeds",
            Self::Limits => "limits",
            Self::Duration => "duration",
            Self::Counts => "sample counts",
            Self::NoAudit => "audit file",
            Self::LoadGenBuild => "LoadGen's build",
            Self::ClientKeptUp => "client",
            Self::RealServer => "server",
            Self::NoPrefixCaching => "prefix caching",
        }
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The check passed.
    Pass,
    /// The check failed.
    Fail,
    /// The logs do not contain the answer. Treated as not passed.
    Unknown,
    /// The check does not apply in this mode or scenario.
    NotApplicable,
}

/// The outcome of one check, with an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// The outcome.
    pub outcome: Outcome,
    /// What was found, with numbers, as a clause without initial capital or full stop. Empty if the check
    /// passed.
    pub what: String,
    /// The simplest remedy as a clause, if there is one.
    pub way_out: Option<String>,
}

impl Finding {
    fn pass(check: Check) -> Self {
        Self::new(check, Outcome::Pass, String::new())
    }

    fn not_applicable(check: Check) -> Self {
        Self::new(check, Outcome::NotApplicable, String::new())
    }

    fn fail(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, what.into())
    }

    fn unknown(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Unknown, what.into())
    }

    fn new(check: Check, outcome: Outcome, what: String) -> Self {
        Self {
            check,
            outcome,
            what,
            way_out: None,
        }
    }

    fn with_way_out(mut self, way_out: impl Into<String>) -> Self {
        self.way_out = Some(way_out.into());
        self
    }

    /// Whether it prevents an official result.
    pub fn is_bad(&self) -> bool {
        matches!(self.outcome, Outcome::Fail | Outcome::Unknown)
    }
}

/// The verdict on one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// All checks, in the order of [`Check`].
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Whether the result counts: LoadGen's VALID (in a performance run), no error, every query answered.
    pub fn counts(&self) -> bool {
        self.bad().all(|finding| !finding.check.is_vital())
    }

    /// The findings that prevent an official result, in order.
    pub fn bad(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_bad())
    }

    /// The finding of one check.
    pub fn finding(&self, check: Check) -> &Finding {
        self.findings
            .iter()
            .find(|finding| finding.check == check)
            .expect("every check is made")
    }

    /// The verdict for users, one line each: a heading, the findings, and the remedies.
    pub fn lines(&self) -> Vec<String> {
        let vital: Vec<&Finding> = self.bad().filter(|finding| finding.check.is_vital()).collect();
        if !vital.is_empty() {
            // For a worthless result the reader does not need to know why it is also not official.
            return words::lines("not a valid result:", &vital);
        }
        let rest: Vec<&Finding> = self.bad().collect();
        if rest.is_empty() {
            return vec![format!("valid, and meets what round {ROUND} asks for")];
        }
        words::lines("valid, but not an official result:", &rest)
    }
}

/// Performs every check.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut findings = vec![
        ended(evidence.result),
        // Failed queries cause most of what LoadGen reports.
        every_query_answered(evidence),
        invalid::loadgen_valid(evidence),
        no_errors(evidence),
    ];
    findings.extend(official::checks(evidence));
    Verdict { findings }
}

fn is_accuracy(result: &RunResult) -> bool {
    result
        .effective
        .get("test_mode")
        .is_some_and(|mode| mode == "AccuracyOnly")
}

fn ended(result: &RunResult) -> Finding {
    // Accuracy runs have no verdict; the end of the measured interval is the last entry that they log.
    let ended = if is_accuracy(result) {
        result.power_end.is_some()
    } else {
        result.validity.is_some()
    };
    if ended {
        return Finding::pass(Check::Ended);
    }
    Finding::fail(
        Check::Ended,
        "LoadGen's log stops before the result, so the run was cut",
    )
    .with_way_out("find out from the events who ended it, and run again")
}

fn no_errors(evidence: &Evidence<'_>) -> Finding {
    let result = evidence.result;
    let count = result.error_count();
    if count == 0 {
        return Finding::pass(Check::NoErrors);
    }
    let failed = evidence.incidents.map_or(0, |incidents| incidents.failed);
    if failed > 0 && count <= failed && result.errors.iter().all(|error| words::is_of_failed_query(error)) {
        let what = format!(
            "LoadGen logged {count} error{} for failed queries, whose answers have no tokens",
            words::plural(count)
        );
        return Finding::fail(Check::NoErrors, what);
    }
    let verdict = match result.validity {
        Some(Validity::Valid) => " although it says VALID",
        _ => "",
    };
    let what = format!(
        "LoadGen logged {count} error{}{verdict} ({})",
        words::plural(count),
        words::grouped(&result.errors)
    );
    let finding = Finding::fail(Check::NoErrors, what);
    match words::way_out_of_errors(&result.errors) {
        Some(way_out) => finding.with_way_out(way_out),
        None => finding,
    }
}

fn every_query_answered(evidence: &Evidence<'_>) -> Finding {
    let check = Check::EveryQueryAnswered;
    let Some(incidents) = evidence.incidents else {
        // LoadGen's log shows failed queries as errors, at least where it measures tokens.
        return Finding::not_applicable(check);
    };
    if incidents.is_empty() {
        return Finding::pass(check);
    }
    let counts = [
        (incidents.failed, "queries failed"),
        (incidents.dropped, "dropped without an answer"),
        (incidents.missing_first_token, "without a first token"),
        (incidents.second_first_token, "with two first tokens"),
        (incidents.late, "answered after the end"),
        (incidents.panics, "panics"),
        (incidents.load_failures, "failures to load samples"),
        (incidents.exceptions, "LoadGen exceptions"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut what = counts.join(", ");
    if let Some(first) = incidents.reasons.first() {
        what.push_str(&format!(" (first: {first})"));
    }
    Finding::fail(check, what).with_way_out("look at the server's log at that time")
}

#[cfg(test)]
mod tests;
