//! Our own acceptance gate beside LoadGen's verdict: does the result count, is it an official one, and if not, why
//! and what is the nearest way out. Pure functions over the log's values.
//!
//! LoadGen calls runs VALID in which every sample failed, and the submission checker passes runs that LoadGen calls
//! INVALID; so both are asked again here, with everything else that makes a result worthless.

mod invalid;
mod official;
mod words;

use std::time::Duration;

use mlperf_loadgen::{Incidents, RunResult, TestSettings, Validity};

/// The round whose configuration is compiled into LoadGen 6.0.17.
pub const ROUND: &str = "v6.1";

/// What the verdict is made from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// LoadGen's detail log.
    pub result: &'a RunResult,
    /// What the binding counted; `None` when the logs are all there is.
    pub incidents: Option<&'a Incidents>,
    /// The round's own settings for the benchmark and scenario:
    /// [`TestSettings::from_config`] without a user's file.
    pub round: &'a TestSettings,
    /// How late queries were issued; `None` if nobody looked.
    pub issue_delay: Option<IssueDelay>,
    /// The server was the built-in simulator.
    pub simulated: bool,
    /// Whether the server reused what it had computed for other queries; `None` if the logs are all there is.
    pub prefix_caching: Option<PrefixCaching>,
}

/// From when LoadGen's schedule wanted a query to go out to when our worker had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueDelay {
    /// 99th percentile.
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
}

impl IssueDelay {
    /// From single delays in nanoseconds, in any order; negative ones count as zero. `None` if there are none.
    pub fn from_ns(delays: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut delays: Vec<u64> = delays
            .into_iter()
            .map(|ns| u64::try_from(ns).unwrap_or(0))
            .collect();
        delays.sort_unstable();
        let max = Duration::from_nanos(*delays.last()?);
        // LoadGen's own rule for a percentile's index.
        let p99 = Duration::from_nanos(delays[delays.len() * 99 / 100]);
        Some(Self { p99, max })
    }
}

/// Whether a server reuses what it computed for other queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixCaching {
    /// It does.
    On,
    /// It does not.
    Off,
    /// The server does not report it.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The log goes on to its end.
    Ended,
    /// LoadGen says VALID.
    LoadGenValid,
    /// LoadGen logged no error.
    NoErrors,
    /// Every query got a real answer, and just one.
    EveryQueryAnswered,
    /// Seeds as the round's.
    Seeds,
    /// Latency limits and percentiles as the round's.
    Limits,
    /// As long as the round asks for.
    Duration,
    /// As many samples and queries as the round asks for, chosen by the round's rule.
    Counts,
    /// No audit configuration in effect.
    NoAudit,
    /// LoadGen is the round's version, unchanged.
    LoadGenBuild,
    /// Our own program was not what limited the server.
    ClientKeptUp,
    /// The server was a real one.
    RealServer,
    /// The server computed every query anew.
    NoPrefixCaching,
}

impl Check {
    /// Whether the result is worthless without it; the others only keep it from being an official one.
    pub fn is_vital(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::LoadGenValid | Self::NoErrors | Self::EveryQueryAnswered
        )
    }

    /// Name in reports.
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

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Pass,
    /// Not good.
    Fail,
    /// The logs do not tell. Counts as not good.
    Unknown,
    /// Has no meaning in this mode or scenario.
    NotApplicable,
}

/// One check with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found, with numbers, as a clause without capital or full stop. Empty where all is well.
    pub what: String,
    /// The nearest way out, as a clause, where there is one.
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

    /// Whether it stands in the way.
    pub fn is_bad(&self) -> bool {
        matches!(self.outcome, Outcome::Fail | Outcome::Unknown)
    }
}

/// The gate's word on one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// All checks, in the order of [`Check`].
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// The result counts: LoadGen's VALID (in a performance run), no error, every query answered.
    pub fn counts(&self) -> bool {
        self.bad().all(|finding| !finding.check.is_vital())
    }

    /// What stands in the way, in order.
    pub fn bad(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_bad())
    }

    /// One check's finding.
    pub fn finding(&self, check: Check) -> &Finding {
        self.findings
            .iter()
            .find(|finding| finding.check == check)
            .expect("every check is made")
    }

    /// The verdict for people, a line each: a heading, what stands in the way, and the ways out.
    pub fn lines(&self) -> Vec<String> {
        let vital: Vec<&Finding> = self.bad().filter(|finding| finding.check.is_vital()).collect();
        if !vital.is_empty() {
            // Why a worthless result is not official either is of no use to the reader.
            return words::lines("not a valid result:", &vital);
        }
        let rest: Vec<&Finding> = self.bad().collect();
        if rest.is_empty() {
            return vec![format!("valid, and meets what round {ROUND} asks for")];
        }
        words::lines("valid, but not an official result:", &rest)
    }
}

/// Makes every check.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut findings = vec![
        ended(evidence.result),
        invalid::loadgen_valid(evidence),
        no_errors(evidence.result),
        every_query_answered(evidence),
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
    // Accuracy runs have no verdict; the measured interval's end is the last that they log.
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

fn no_errors(result: &RunResult) -> Finding {
    let count = result.error_count();
    if count == 0 {
        return Finding::pass(Check::NoErrors);
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
