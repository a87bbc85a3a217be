//! The settings of an audit file, independent of comments and order.

use std::collections::BTreeMap;

/// Every key with its value as written; the last occurrence of a key wins. `None` if a line is not `key =
/// value`.
pub(super) fn settings(text: &str) -> Option<BTreeMap<&str, &str>> {
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(key) = words.next() else {
            continue;
        };
        let (Some("="), Some(value), None) = (words.next(), words.next(), words.next()) else {
            return None;
        };
        settings.insert(key, value);
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::super::ComplianceTest;

    /// The settings of the round's file, in a different order and with different comments.
    const AS_IN_THE_ROUND: &str = "# times are in milliseconds\n\n*.*.mode = 2\n*.*.min_duration = 0\n\
        *.*.accuracy_log_rng_seed = 720381539243781796\n*.*.accuracy_log_sampling_target = 100\n\
        *.*.min_query_count = 100 # all of them\n#*.*.min_query_count = 1\n*.*.sample_concatenate_permutation = 0";

    #[test]
    fn a_test_is_known_by_its_settings_alone() {
        let of = ComplianceTest::of_audit;
        assert_eq!(of(AS_IN_THE_ROUND), Some(ComplianceTest::Test06));
        assert_eq!(of(&ComplianceTest::Test06.audit(0)), Some(ComplianceTest::Test06));
        for (what, text) in [
            (
                "another count",
                AS_IN_THE_ROUND.replace("min_query_count = 100", "min_query_count = 1"),
            ),
            (
                "one more",
                format!("{AS_IN_THE_ROUND}\n*.Server.min_query_count = 1\n"),
            ),
            ("one less", AS_IN_THE_ROUND.replace("*.*.mode = 2\n", "")),
            ("a later one", format!("{AS_IN_THE_ROUND}\n*.*.mode = 0\n")),
            ("no setting", format!("{AS_IN_THE_ROUND}\nsomething else\n")),
            ("nothing", String::new()),
            ("another test", ComplianceTest::Test07.audit(990)),
        ] {
            assert_eq!(of(&text), None, "{what}");
        }
    }
}
