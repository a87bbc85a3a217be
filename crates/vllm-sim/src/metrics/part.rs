//! A part of the page, as vLLM's client library serves it under `/metrics/?name[]=NAME&name[]=…`.

use std::collections::BTreeSet;

/// The sample names that a query requests; empty if there are none.
pub(crate) fn asked(query: &str) -> BTreeSet<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| decode(key) == "name[]")
        .map(|(_, value)| decode(value))
        .collect()
}

/// The page reduced to these samples and the comments of their families. In `page`, all comments of a family
/// precede its samples.
pub(crate) fn only(page: &str, names: &BTreeSet<String>) -> String {
    let mut part = String::new();
    let mut comments = String::new();
    for line in page.lines() {
        if line.starts_with('#') {
            if line.starts_with("# HELP") {
                comments.clear();
            }
            comments.push_str(line);
            comments.push('\n');
        } else if line
            .split(['{', ' '])
            .next()
            .is_some_and(|name| names.contains(name))
        {
            part.push_str(&comments);
            comments.clear();
            part.push_str(line);
            part.push('\n');
        }
    }
    part
}

/// Decodes `%5B` and `+`; leaves other text unchanged.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_left() {
        let page = "# HELP a x\n# TYPE a counter\na_total{m=\"1\"} 1\na_created{m=\"1\"} 2\n\
                    # HELP b x\n# TYPE b gauge\nb 3\n";
        let names = asked("name%5B%5D=a_total&name[]=c&x=b");
        assert_eq!(names.len(), 2);
        assert_eq!(
            only(page, &names),
            "# HELP a x\n# TYPE a counter\na_total{m=\"1\"} 1\n"
        );
        assert_eq!(decode("a%3Ab%zz+"), "a:b%zz ");
    }
}
