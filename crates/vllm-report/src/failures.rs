//! Failed requests by reason.

use std::collections::BTreeMap;

use vllm_metrics::{Outcome, RequestRow};

/// Longest name of a kind, in characters.
const LONGEST: usize = 60;

/// Times of failures by kind; times ascending, the most frequent kind first.
pub(crate) fn by_kind(rows: &[RequestRow]) -> Vec<(String, Vec<i64>)> {
    let mut kinds: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.outcome == Outcome::Failed) {
        kinds
            .entry(kind(row.reason.as_deref().unwrap_or("")))
            .or_default()
            .push(row.done_ns.unwrap_or(row.issued_ns));
    }
    for times in kinds.values_mut() {
        times.sort_unstable();
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // Stable sort: kinds of equal frequency stay in alphabetical order.
    kinds.sort_by_key(|(_, times)| std::cmp::Reverse(times.len()));
    kinds
}

/// The reason up to its first colon, without the server's address at its start and without request-specific parts: with
/// `…` for numbers other than a status and `the server` for its address.
fn kind(reason: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in reason.lines().next().unwrap_or("").split_whitespace() {
        let bare = word.trim_end_matches([':', ';', ',']);
        if words.is_empty() && word.ends_with(':') && bare.contains("://") {
            continue;
        }
        let status = words.last().is_some_and(|w| matches!(*w, "status" | "HTTP"));
        words.push(match bare {
            url if url.contains("://") => "the server",
            number if number.bytes().any(|b| b.is_ascii_digit()) && !status => "…",
            other => other,
        });
        if word.ends_with([':', ';']) && !bare.is_empty() {
            break;
        }
    }
    if words.is_empty() {
        return "no reason was recorded".into();
    }
    words.join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_request_to_request_is_no_kind_of_its_own() {
        for (reason, wanted) in [
            (
                "http://h:8000 answered with status 503: queue is full, 17 wait",
                "the server answered with status 503",
            ),
            (
                "cannot connect to http://h:8000: connection refused",
                "cannot connect to the server",
            ),
            (
                "http://h:8000: the limit of 30s (whole request) passed after 9 tokens",
                "the limit of … (whole request) passed after … tokens",
            ),
            ("the run is being ended", "the run is being ended"),
            ("", "no reason was recorded"),
        ] {
            assert_eq!(kind(reason), wanted);
        }
    }
}
