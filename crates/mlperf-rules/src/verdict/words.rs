//! Formats numbers and lists as text.

use super::Finding;

/// Nanoseconds in a suitable unit.
pub(super) fn time(ns: f64) -> String {
    match ns.abs() {
        v if v >= 1e9 => format!("{} s", number(ns / 1e9)),
        v if v >= 1e6 => format!("{} ms", number(ns / 1e6)),
        v if v >= 1e3 => format!("{} µs", number(ns / 1e3)),
        _ => format!("{ns:.0} ns"),
    }
}

/// Three significant digits, without trailing zeros.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// The plural ending of a noun for a count.
pub(super) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Equal texts once, with their count; the three most frequent.
pub(super) fn grouped(texts: &[String]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for text in texts {
        match kinds.iter_mut().find(|(known, _)| known == text) {
            Some((_, count)) => *count += 1,
            None => kinds.push((text, 1)),
        }
    }
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut shown: Vec<String> = kinds
        .iter()
        .take(3)
        .map(|(text, count)| format!("{count} × \"{}\"", text.trim_end_matches('.')))
        .collect();
    if kinds.len() > 3 {
        shown.push(format!("{} other kinds", kinds.len() - 3));
    }
    shown.join(", ")
}

/// Whether an error of LoadGen's log is about an answer without tokens, which is that of a failed query.
pub(super) fn is_of_failed_query(error: &str) -> bool {
    error.contains("n_tokens argument missing")
}

/// The remedy for LoadGen's most informative error.
pub(super) fn way_out_of_errors(errors: &[String]) -> Option<String> {
    let any = |part: &str| errors.iter().any(|error| error.contains(part));
    let text = if errors.iter().any(|error| is_of_failed_query(error)) {
        "an answer without tokens is a failed request, so look at the server's log at that time"
    } else if any("Number of tokens need to be greater than 1") {
        "LoadGen takes no answer of one token, so ask the server for at least two (min_tokens)"
    } else if any("before it's first token") {
        "every answer needs its first token reported, so stream the answers"
    } else if any("Ran out of generated queries") {
        "LoadGen prepared too few queries, so raise --target-qps to the rate that was reached"
    } else if any("Max query count reached") || any("Max duration reached") {
        "take max_query_count and max_duration out of user.conf"
    } else if any("Too many outstanding queries") {
        "take max_async_queries out of user.conf, or lower --target-qps"
    } else if any("Multiple conf files") {
        "run every test in a process of its own"
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// Findings under a heading, one line each, followed by the remedies.
pub(super) fn lines(heading: &str, findings: &[&Finding]) -> Vec<String> {
    let mut lines = vec![heading.to_owned()];
    lines.extend(findings.iter().map(|finding| format!("- {}", finding.what)));
    let mut ways: Vec<&str> = Vec::new();
    for way in findings.iter().filter_map(|finding| finding.way_out.as_deref()) {
        // Skip a remedy that is contained in another one.
        if !ways.iter().any(|known| known.contains(way)) {
            ways.push(way);
        }
    }
    lines.extend(ways.iter().map(|way| format!("To fix: {way}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (ns, text) in [
            (2_710_000_000.0, "2.71 s"),
            (35_160_000.0, "35.2 ms"),
            (2e9, "2 s"),
            (450e6, "450 ms"),
        ] {
            assert_eq!(time(ns), text);
        }
        assert_eq!((time(1500.0).as_str(), time(7.0).as_str()), ("1.50 µs", "7 ns"));
    }

    #[test]
    fn equal_errors_are_counted() {
        let errors: Vec<String> = ["a.", "b", "a."].map(str::to_owned).to_vec();
        assert_eq!(grouped(&errors), "2 × \"a\", 1 × \"b\"");
    }
}
