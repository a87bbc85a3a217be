//! Marks on everything made from runs that are simulated or unfit.

use super::runs::Run;

/// A word for names and a sentence for notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// In capitals, for names of folders and systems.
    pub(super) word: &'static str,
    /// The reason.
    pub(super) why: String,
}

impl Mark {
    /// `SIMULATED: …`
    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.word, self.why)
    }
}

/// The mark for runs against a simulator; `None` when all servers were real.
pub(super) fn simulated(runs: &[Run]) -> Option<Mark> {
    runs.iter().any(|run| run.record.simulated).then(|| Mark {
        word: "SIMULATED",
        why: "made against a simulated server; no model ran, and these results must not be submitted.".into(),
    })
}

/// The mark for runs that are not fit for a submission.
pub(super) fn unfit(reasons: &[String]) -> Option<Mark> {
    (!reasons.is_empty()).then(|| Mark {
        word: "UNFIT",
        why: format!("not fit for a submission: {}.", reasons.join("; ")),
    })
}
