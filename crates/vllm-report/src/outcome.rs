//! The outcome of a run: the word next to every title.

use serde::Serialize;

use crate::query::View;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The word: `VALID`, `INVALID`, `ABORTED`, or any other word of the harness.
    pub word: String,
    /// The reason, if the result is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The fact in which a harness may store the word with the record.
const RESULT_FACT: &str = "result";

impl Outcome {
    /// The caller's outcome, or else the record's; a record that was never closed is of an aborted run.
    /// `None` for a recording without a verdict.
    pub(crate) fn of(view: &View<'_>, known: Option<&Self>) -> Option<Self> {
        if let Some(known) = known {
            return Some(known.clone());
        }
        if let Some(word) = view.run.manifest.facts.get(RESULT_FACT) {
            return Some(Self {
                word: word.clone(),
                reason: None,
            });
        }
        let empty = view.run.series.is_empty() && view.run.requests.is_empty();
        (view.run.manifest.ended_ns.is_none() && !empty).then(|| Self {
            word: "ABORTED".into(),
            reason: Some("the recording was not closed".into()),
        })
    }

    /// Whether the result counts.
    pub(crate) fn is_good(&self) -> bool {
        self.word == "VALID" || self.word.starts_with("VALID ")
    }
}
