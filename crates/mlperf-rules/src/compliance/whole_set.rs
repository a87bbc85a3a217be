//! The tests over every sample of a set: TEST07 checks that the answers of a timed run are right, TEST09 that
//! they are as long as the reference's.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ComplianceTest, Verified, VerifyError, logged};
use crate::benchmark::ComplianceLimits;

/// TEST07 from a score: `percent` of the answers to `samples` samples were right.
pub fn answers_are_right(percent: Option<f64>, samples: usize, limits: &ComplianceLimits) -> Verified {
    let asked = limits.min.unwrap_or(0.0);
    let found = percent.map_or("not known".to_owned(), |percent| format!("{percent:.3}"));
    let good = percent.is_some_and(|percent| percent >= asked);
    outcome(
        ComplianceTest::Test07,
        good,
        samples,
        limits,
        &format!("exact match {found}, at least {asked} asked"),
        &format!("Accuracy score: {found}\nAccuracy threshold: {asked}\n"),
    )
}

/// TEST09 on LoadGen's log: the mean number of tokens of the answers, each sample counted once.
///
/// # Errors
/// See [`VerifyError`].
pub fn answers_are_long_enough(log: &Path, limits: &ComplianceLimits) -> Result<Verified, VerifyError> {
    let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
    for answer in logged(log)? {
        lengths.entry(answer.qsl_idx).or_insert(answer.data.len() / 4);
    }
    let samples = lengths.len();
    let mean = lengths.values().sum::<usize>() as f64 / samples as f64;
    let (min, max) = (limits.min.unwrap_or(0.0), limits.max.unwrap_or(f64::INFINITY));
    Ok(outcome(
        ComplianceTest::Test09,
        (min..=max).contains(&mean),
        samples,
        limits,
        &format!("{mean:.2} tokens an answer, {min} to {max} asked"),
        &format!("Mean output tokens: {mean:.2}\nMin threshold: {min}\nMax threshold: {max}\n"),
    ))
}

/// A result over fewer samples than the set has proves nothing.
fn outcome(
    test: ComplianceTest,
    good: bool,
    samples: usize,
    limits: &ComplianceLimits,
    sentence: &str,
    figures: &str,
) -> Verified {
    let whole = samples as u64 >= limits.samples;
    let passed = good && whole;
    let word = if passed { "passed" } else { "failed" };
    let short = if whole {
        String::new()
    } else {
        format!("; only {samples} of {} samples were answered", limits.samples)
    };
    let end = if passed { "TEST PASS" } else { "TEST FAIL" };
    Verified {
        passed,
        sentence: format!("{test} {word}: {sentence}{short}"),
        text: format!("Samples: {samples} of {}\n{figures}{end}\n", limits.samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_answers_to_the_whole_set_pass() {
        let limits = ComplianceLimits {
            samples: 990,
            min: Some(60.698),
            max: None,
        };
        let good = answers_are_right(Some(62.15), 990, &limits);
        assert!(
            good.passed && good.text.ends_with("Accuracy threshold: 60.698\nTEST PASS\n"),
            "{good:?}"
        );
        for (percent, samples) in [(Some(60.6), 990), (None, 990), (Some(99.0), 989)] {
            let bad = answers_are_right(percent, samples, &limits);
            assert!(!bad.passed && bad.text.ends_with("TEST FAIL\n"), "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_means_over_samples() {
        let limits = |samples| ComplianceLimits {
            samples,
            min: Some(1.5),
            max: Some(2.5),
        };
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.json");
        let row = |seq: u64, qsl: u64, words: usize| {
            format!(
                "{{\"seq_id\":{seq},\"qsl_idx\":{qsl},\"data\":\"{}\"}}",
                "01000000".repeat(words)
            )
        };
        // The second answer to sample 1 does not count.
        std::fs::write(
            &log,
            format!("[{},{},{}]", row(0, 0, 1), row(1, 1, 3), row(2, 1, 90)),
        )
        .unwrap();
        let good = answers_are_long_enough(&log, &limits(2)).unwrap();
        assert!(
            good.passed && good.text.contains("Mean output tokens: 2.00"),
            "{good:?}"
        );
        let short = answers_are_long_enough(&log, &limits(3)).unwrap();
        assert!(
            !short.passed && short.sentence.contains("only 2 of 3 samples"),
            "{short:?}"
        );
        std::fs::write(&log, format!("[{}]", row(0, 0, 3))).unwrap();
        assert!(!answers_are_long_enough(&log, &limits(1)).unwrap().passed);
        std::fs::write(&log, "[\n]\n").unwrap();
        assert!(answers_are_long_enough(&log, &limits(1)).is_err());
    }
}
