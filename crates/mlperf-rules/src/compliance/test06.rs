//! TEST06 on LoadGen's log: every answer must begin with the token that was reported first, have at most one
//! end-of-sequence token at its end, and contain as many tokens as were counted. As in MLCommons' script, an
//! end-of-sequence token that is followed by others is not detected.
//!
//! The checks and the outcome file equal those of MLCommons' verification script. The only difference is that
//! this implementation knows the model's own end-of-sequence ids, while the script looks for 2 by default.

use std::fmt::Write as _;
use std::path::Path;

use mlperf_loadgen::LoggedAnswer;

use super::{Verified, VerifyError, logged};

/// The default id of MLCommons' script, which the simulator uses too.
const DEFAULT_EOS: i32 = 2;

/// The result of the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test06 {
    /// Number of answers in LoadGen's log.
    pub answers: usize,
    /// Samples whose first token differs from the answer's; `None` in Offline, where no first token is
    /// reported.
    pub wrong_first_token: Option<Vec<u64>>,
    /// Samples with several end-of-sequence tokens at their end, or whose bytes are not whole tokens.
    pub late_end: Vec<u64>,
    /// Samples whose token count is not the answer's length.
    pub wrong_length: Vec<u64>,
}

/// Reads `mlperf_log_accuracy.json` of a run under the audit file and checks every answer. `end_ids` are the
/// model's end-of-sequence ids.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(log: &Path, offline: bool, end_ids: &[i32]) -> Result<Test06, VerifyError> {
    Ok(check(&logged(log)?, offline, end_ids))
}

fn check(answers: &[LoggedAnswer], offline: bool, end_ids: &[i32]) -> Test06 {
    let failing = |good: &dyn Fn(&LoggedAnswer) -> bool| -> Vec<u64> {
        answers
            .iter()
            .filter(|answer| !good(answer))
            .map(|answer| answer.qsl_idx)
            .collect()
    };
    let is_end = |word: &[u8; 4]| {
        let id = i32::from_le_bytes(*word);
        id == DEFAULT_EOS || end_ids.contains(&id)
    };
    Test06 {
        answers: answers.len(),
        wrong_first_token: (!offline).then(|| {
            // An answer without a reported first token cannot be shown to begin with it.
            failing(&|answer| {
                answer
                    .first_token
                    .as_ref()
                    .is_some_and(|first| !first.is_empty() && answer.data.starts_with(first))
            })
        }),
        late_end: failing(&|answer| {
            let (words, rest) = answer.data.as_chunks::<4>();
            rest.is_empty() && words.iter().rev().take_while(|word| is_end(word)).count() <= 1
        }),
        wrong_length: failing(&|answer| {
            answer.token_count == i64::try_from(answer.data.len()).ok().map(|bytes| bytes / 4)
        }),
    }
}

impl Test06 {
    /// Whether all answers are good.
    pub fn passed(&self) -> bool {
        self.wrong_first_token.as_ref().is_none_or(Vec::is_empty)
            && self.late_end.is_empty()
            && self.wrong_length.is_empty()
    }

    /// `verify_accuracy.txt`, in the words that the submission checker looks for.
    pub fn text(&self) -> String {
        let word = |good: bool| if good { "True" } else { "False" };
        let first = self
            .wrong_first_token
            .as_ref()
            .map_or("Skipped", |wrong| word(wrong.is_empty()));
        let end = if self.passed() { "complete" } else { "failed" };
        format!(
            "First token check pass: {first}\nEOS check pass: {}\nSample length check pass: {}\n\
             TEST06 verification {end}\n",
            word(self.late_end.is_empty()),
            word(self.wrong_length.is_empty())
        )
    }

    /// The result as a test outcome.
    pub fn outcome(&self) -> Verified {
        Verified {
            passed: self.passed(),
            sentence: self.sentence(),
            text: self.text(),
        }
    }

    /// The result in one sentence.
    pub fn sentence(&self) -> String {
        if self.passed() {
            return format!("TEST06 passed on {} logged answers", self.answers);
        }
        let mut text = format!("TEST06 failed on {} logged answers", self.answers);
        let none = Vec::new();
        for (samples, what) in [
            (
                self.wrong_first_token.as_ref().unwrap_or(&none),
                "do not begin with the first token that was reported",
            ),
            (&self.late_end, "have several end-of-sequence tokens at their end"),
            (
                &self.wrong_length,
                "hold another number of tokens than was counted",
            ),
        ] {
            if let Some(sample) = samples.first() {
                // Writing to a `String` cannot fail.
                let _infallible = write!(text, "; {} {what} (first: sample {sample})", samples.len());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a log in LoadGen's format and verifies it.
    fn verified(rows: &[(&[i32], Option<i32>, usize)], offline: bool) -> Test06 {
        let hex = |ids: &[i32]| -> String {
            ids.iter()
                .flat_map(|id| id.to_le_bytes())
                .map(|byte| format!("{byte:02X}"))
                .collect()
        };
        let rows: Vec<String> = rows
            .iter()
            .enumerate()
            .map(|(i, (ids, first, count))| {
                let first = first.map_or(String::new(), |id| {
                    format!("\"token_data\" : \"{}\", ", hex(&[id]))
                });
                format!(
                    "{{ \"seq_id\" : {i}, \"qsl_idx\" : {i}, \"data\" : \"{}\", {first}\"token_count\" : {count} }}",
                    hex(ids)
                )
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mlperf_log_accuracy.json");
        std::fs::write(&path, format!("[\n{}\n]\n", rows.join(",\n"))).unwrap();
        verify(&path, offline, &[128_009]).unwrap()
    }

    #[test]
    fn good_answers_pass() {
        let server = verified(&[(&[5, 6, 2], Some(5), 3), (&[7, 128_009], Some(7), 2)], false);
        assert!(server.passed());
        assert_eq!(
            server.text(),
            "First token check pass: True\nEOS check pass: True\nSample length check pass: True\n\
             TEST06 verification complete\n"
        );
        let offline = verified(&[(&[5, 6, 2], None, 3)], true);
        assert!(offline.text().starts_with("First token check pass: Skipped\n"));
    }

    #[test]
    fn each_fault_is_found_by_itself() {
        let first = verified(&[(&[5, 6], Some(5), 2), (&[5, 6], Some(6), 2)], false);
        assert_eq!(first.wrong_first_token, Some(vec![1]));
        assert!(
            first
                .text()
                .contains("First token check pass: False\nEOS check pass: True")
        );
        let missing = verified(&[(&[5, 6], None, 2)], false);
        assert_eq!(missing.wrong_first_token, Some(vec![0]));
        let inside = verified(&[(&[5, 128_009, 6], None, 3)], true);
        assert!(inside.passed(), "only the end is looked at");
        let end = verified(&[(&[5, 128_009, 128_009], None, 3)], true);
        assert!(
            end.sentence()
                .contains("1 have several end-of-sequence tokens at their end")
        );
        assert_eq!((end.late_end.as_slice(), end.passed()), ([0].as_slice(), false));
        let length = verified(&[(&[5, 6], None, 3)], true);
        assert_eq!(length.wrong_length, vec![0]);
        assert!(length.sentence().contains("1 hold another number of tokens"));
        assert!(length.text().ends_with("TEST06 verification failed\n"));
    }

    #[test]
    fn a_log_without_answers_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mlperf_log_accuracy.json");
        std::fs::write(&path, "[\n]\n").unwrap();
        let error = verify(&path, true, &[]).unwrap_err().to_string();
        assert!(error.contains("--compliance"), "{error}");
    }
}
