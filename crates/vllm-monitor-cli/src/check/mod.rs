//! `vllm-monitor check`: gathers facts about this machine, the model and a server's command line, and lets the core
//! judge them.

mod facts;
mod fix;
mod gpus;

use serde::Serialize;
use vllm_monitor::preflight::{self, Finding, Verdict};

pub use facts::{Asked, gather};
pub use fix::{Applied, Repaired, repair, undo};

/// The result of all checks.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `start`, `start_unsure` or `do_not_start`.
    pub verdict: &'static str,
    /// Exit status that says the same: 0, 2 or 1.
    pub exit_status: u8,
    /// What each check found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Judges facts.
    pub fn of(facts: &preflight::Facts) -> Self {
        let findings = preflight::run(facts);
        let verdict = preflight::verdict(&findings);
        Self {
            verdict: match verdict {
                Verdict::Start => "start",
                Verdict::StartUnsure => "start_unsure",
                Verdict::DoNotStart => "do_not_start",
            },
            exit_status: verdict.exit_status(),
            findings,
        }
    }

    /// Whether a server started now would not serve.
    pub fn blocks(&self) -> bool {
        self.exit_status == Verdict::DoNotStart.exit_status()
    }

    /// For people: what needs attention first, then what is well.
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let passes = |finding: &&Finding| finding.outcome == preflight::Outcome::Pass;
        for finding in self.findings.iter().filter(|f| !passes(f)) {
            let _infallible = writeln!(text, "{finding}");
        }
        for finding in self.findings.iter().filter(passes) {
            let _infallible = writeln!(text, "{finding}");
        }
        let _infallible = writeln!(
            text,
            "{}",
            match self.verdict {
                "start" => "nothing prevents a start",
                "do_not_start" => "the server would not start, or not serve",
                _ => "nothing found against a start, but not everything could be checked",
            }
        );
        text
    }
}
