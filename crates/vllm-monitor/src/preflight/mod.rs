//! Checks before a server is started. Pure: facts in, findings out; a shell gathers facts and applies fixes.
//!
//! A check passes, fails, or is unknown because a fact is missing. Each finding shows its arithmetic and a way out. A fix
//! is only proposed; it is marked safe only if it changes nothing that the user asked for.

mod arguments;
mod cgroup;
mod disk;
mod driver;
mod environment;
mod facts;
mod fit;
mod limits;
mod model;
mod model_files;
mod owners;
mod port;
mod shared_memory;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use arguments::{Argument, ArgumentTable, ParsedArguments, Value};
pub use facts::{
    CgroupFacts, DiskFacts, Facts, GpuFacts, LimitFacts, ModelLocation, Owner, PortFacts, SharedMemoryFacts,
};
pub use model_files::{ModelConfig, ModelFacts, ModelFiles, SafetensorsHeader};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Passed.
    Pass,
    /// Failed.
    Fail,
    /// A fact is missing.
    Unknown,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Importance {
    /// Worth knowing.
    Advice,
    /// The server would not start, or not serve.
    Blocks,
}

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    /// What to change.
    pub change: Change,
    /// It changes nothing that the user asked for and nothing outside the server's own process or folders, so it may
    /// be applied automatically when fixes are enabled.
    pub is_safe: bool,
    /// How to take it back.
    pub undo: String,
}

/// What a fix changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An argument of the server; an empty value takes it away.
    Argument {
        /// With its dashes.
        flag: String,
        /// Its value.
        value: String,
    },
    /// A variable in the server's own environment.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A folder to be made.
    Folder {
        /// Its path.
        path: String,
    },
    /// The soft limit of open files of the server's process, up to the hard limit.
    OpenFiles {
        /// The new limit.
        limit: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { flag, value } if value.is_empty() => write!(f, "remove {flag}"),
            Self::Argument { flag, value } => write!(f, "set {flag} to {value}"),
            Self::Variable { name, value } => write!(f, "set the variable {name} to {value}"),
            Self::Folder { path } => write!(f, "create the folder {path}"),
            Self::OpenFiles { limit } => write!(f, "set the limit of open files to {limit}"),
        }
    }
}

/// One answer of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub check: String,
    /// The answer.
    pub outcome: Outcome,
    /// How much it matters.
    pub importance: Importance,
    /// What was found, with the arithmetic.
    pub what: String,
    /// What to do about it.
    pub way_out: Option<String>,
    /// What could be changed.
    pub fix: Option<Fix>,
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, importance: Importance, what: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            outcome,
            importance,
            what: what.into(),
            way_out: None,
            fix: None,
        }
    }

    fn pass(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Pass, Importance::Advice, what)
    }

    fn blocks(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, Importance::Blocks, what)
    }

    fn advice(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, Importance::Advice, what)
    }

    fn unknown(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Unknown, Importance::Advice, what)
    }

    fn way_out(mut self, text: impl Into<String>) -> Self {
        self.way_out = Some(text.into());
        self
    }

    fn fix(mut self, change: Change, is_safe: bool, undo: impl Into<String>) -> Self {
        self.fix = Some(Fix {
            change,
            is_safe,
            undo: undo.into(),
        });
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.outcome, self.importance) {
            (Outcome::Pass, _) => "ok",
            (Outcome::Unknown, _) => "unknown",
            (Outcome::Fail, Importance::Advice) => "advice",
            (Outcome::Fail, Importance::Blocks) => "FAIL",
        };
        write!(f, "{word:<8}{}: {}", self.check, self.what)?;
        if let Some(way_out) = &self.way_out {
            write!(f, "\n        way out: {way_out}")?;
        }
        Ok(())
    }
}

/// Runs all checks.
///
/// ```
/// use vllm_monitor::preflight::{Facts, PortFacts, Verdict, run, verdict};
///
/// let facts = Facts {
///     port: Some(PortFacts { port: 8000, is_free: false, holder: Some("python (pid 71)".into()) }),
///     ..Facts::default()
/// };
/// let findings = run(&facts);
/// assert_eq!(verdict(&findings), Verdict::DoNotStart);
/// assert!(findings.iter().any(|f| f.to_string().contains("python (pid 71)")));
/// ```
pub fn run(facts: &Facts) -> Vec<Finding> {
    let parsed = ArgumentTable::for_version(facts.vllm_version.as_deref()).parse(&facts.arguments);
    let mut findings = Vec::new();
    findings.extend(driver::check(facts));
    findings.extend(arguments::check(facts, &parsed));
    findings.extend(environment::check(facts));
    findings.extend(model::check(facts));
    findings.extend(fit::check(facts, &parsed));
    findings.extend(port::check(facts));
    findings.extend(disk::check(facts));
    findings.extend(limits::check(facts, &parsed));
    findings.extend(cgroup::check(facts));
    findings.extend(shared_memory::check(facts, &parsed));
    findings.extend(owners::check(facts));
    findings
}

/// The overall verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// All checks passed or gave advice only.
    Start,
    /// No check failed, but some are unknown.
    StartUnsure,
    /// The server would not start or not serve.
    DoNotStart,
}

impl Verdict {
    /// Exit status of a program that reports it: 0, 2, 1.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Start => 0,
            Self::DoNotStart => 1,
            Self::StartUnsure => 2,
        }
    }
}

/// The overall verdict: a blocking failure outweighs everything, then unknown checks.
pub fn verdict(findings: &[Finding]) -> Verdict {
    let blocks = |f: &Finding| f.outcome == Outcome::Fail && f.importance == Importance::Blocks;
    if findings.iter().any(blocks) {
        Verdict::DoNotStart
    } else if findings.iter().any(|f| f.outcome == Outcome::Unknown) {
        Verdict::StartUnsure
    } else {
        Verdict::Start
    }
}

/// Bytes as people read them.
fn gib(bytes: f64) -> String {
    format!("{:.2} GiB", bytes / (1024.0 * 1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_facts_nothing_passes_and_nothing_fails() {
        let findings = run(&Facts::default());
        assert!(
            findings.iter().all(|f| f.outcome != Outcome::Fail),
            "{findings:#?}"
        );
        assert_eq!(verdict(&findings), Verdict::StartUnsure);
        assert!(findings.len() >= 9);
    }

    #[test]
    fn exit_statuses() {
        let fail = Finding::blocks("a", "x");
        assert_eq!(verdict(&[]).exit_status(), 0);
        assert_eq!(verdict(&[fail, Finding::unknown("b", "y")]).exit_status(), 1);
        assert_eq!(
            verdict(&[Finding::unknown("b", "y"), Finding::advice("c", "z")]).exit_status(),
            2
        );
    }
}
