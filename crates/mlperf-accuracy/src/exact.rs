//! Exact match: the share of answers that are identical to the reference.

/// The result over all answers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExactMatch {
    /// Answers that match, in percent of all; 0 when there are none.
    pub percent: f64,
    /// Answers that match.
    pub matches: usize,
    /// Number of answers.
    pub total: usize,
}

/// Compares pairs of (reference, answer) after trimming white space at both ends.
///
/// For benchmarks whose reference script first extracts an answer from the text (deepseek-r1, gpt-oss-120b),
/// pass the extracted answers; their extraction, part of which runs generated code, is not done here.
pub fn exact_match<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> ExactMatch {
    let mut result = ExactMatch::default();
    for (reference, answer) in pairs {
        result.total += 1;
        result.matches += usize::from(reference.trim() == answer.trim());
    }
    if result.total > 0 {
        result.percent = result.matches as f64 / result.total as f64 * 100.0;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let result = exact_match([("A", "A"), ("42", " 42\n"), ("B", "b"), ("x y", "x  y")]);
        assert_eq!(
            result,
            ExactMatch {
                percent: 50.0,
                matches: 2,
                total: 4
            }
        );
        assert_eq!(exact_match([]).percent, 0.0);
    }
}
