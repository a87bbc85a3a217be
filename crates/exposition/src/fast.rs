//! Parses the common form of a line without inspecting single characters: `name{label="value",…} number`, and
//! the
//! `# TYPE` and `# HELP` lines above it.
//!
//! The common form has no optional white space, no escapes, only ASCII and no timestamp, like nearly all
//! lines of every exporter. All other lines, valid or not, are left to [`crate::line`] and
//! [`crate::metadata`], which implement the whole grammar. Both sides must agree on every line that this one
//! accepts.

use crate::block::Scanner;
use crate::float;
use crate::kind::Kind;
use crate::labels::Labels;
use crate::line::Line;
use crate::metadata::Metadata;
use crate::name::Name;

/// Parses the sample line that begins at `start` and returns where the next line begins; `None` if it is not
/// of the common form.
///
/// The scanner is at `start` before, and at the next line afterwards; after `None` it may be anywhere.
#[inline]
pub(crate) fn parse<'a>(
    page: &'a [u8],
    scanner: &mut Scanner<'a>,
    start: usize,
) -> Option<(Line<'a>, usize)> {
    let name_end = metric_name_end(page, scanner, start)?;

    let mut labels = Labels::default();
    let mut series_end = name_end;
    if page[name_end] == b'{' {
        let mut at = name_end + 1;
        loop {
            let equals = scanner.step();
            if equals == at || two_at(page, equals)? != *b"=\"" || page[at].is_ascii_digit() {
                return None;
            }
            let quote = scanner.step();
            let [b'"', behind] = two_at(page, quote)? else {
                return None;
            };
            if behind == b'}' {
                series_end = quote + 2;
                break;
            }
            if behind != b',' {
                return None;
            }
            at = quote + 2;
        }
        labels = Labels::new(&page[name_end + 1..series_end - 1]);
    }

    if page.get(series_end) != Some(&b' ') {
        return None;
    }
    let (value, len) = float::parse_prefix(&page[series_end + 1..])?;
    let end = series_end + 1 + len;
    if page.get(end).is_some_and(|&b| b != b'\n') {
        return None;
    }
    let line = Line {
        series: &page[start..series_end],
        name: Name::new(&page[start..name_end]),
        labels,
        value,
        timestamp_ns: None,
        exemplar: None,
    };
    let next = (end + 1).min(page.len());
    scanner.skip_to(next);
    Some((line, next))
}

/// Parses the `# TYPE` or `# HELP` line that begins at `start` and returns where the next one begins; `None`
/// if it is of another form. The scanner moves as in [`parse`].
#[inline]
pub(crate) fn parse_metadata<'a>(
    page: &'a [u8],
    scanner: &mut Scanner<'a>,
    start: usize,
) -> Option<(Metadata<'a>, usize)> {
    let name_start = start + b"# TYPE ".len();
    let keyword = page.get(start..name_start)?;
    let is_type = keyword == b"# TYPE ";
    if !is_type && keyword != b"# HELP " {
        return None;
    }
    scanner.skip_to(name_start);
    let name_end = metric_name_end(page, scanner, name_start)?;
    if page[name_end] != b' ' {
        return None;
    }
    let family = &page[name_start..name_end];
    let text_start = name_end + 1;
    if is_type {
        let end = scanner.step();
        if page.get(end) != Some(&b'\n') {
            return None;
        }
        let kind = Kind::from_word(&page[text_start..end])?;
        scanner.skip_to(end + 1);
        return Some((Metadata::Type { family, kind }, end + 1));
    }
    let end = text_start + memchr::memchr(b'\n', &page[text_start..])?;
    let text = &page[text_start..end];
    // A `\r` belongs to the line's end.
    if !text.is_ascii() || text.ends_with(b"\r") {
        return None;
    }
    Some((
        Metadata::Help {
            family,
            escaped: text,
        },
        end + 1,
    ))
}

/// The byte at `at` and the one after it.
#[inline(always)]
fn two_at(page: &[u8], at: usize) -> Option<[u8; 2]> {
    page.get(at..)?.first_chunk().copied()
}

/// End of the metric name that begins at `start`, where the scanner is; `None` if there is none, or if the
/// page ends with it.
#[inline]
fn metric_name_end(page: &[u8], scanner: &mut Scanner<'_>, start: usize) -> Option<usize> {
    let mut end = scanner.step();
    while page.get(end)? == &b':' {
        end = scanner.step();
    }
    (end > start && !page[start].is_ascii_digit()).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kind::Format;
    use crate::line;
    use crate::metadata::{self, Comment};

    fn scanner(text: &[u8]) -> Scanner<'_> {
        let mut scanner = Scanner::new(text);
        scanner.start(0);
        scanner
    }

    fn check(text: &[u8]) -> bool {
        for format in [Format::Text, Format::OpenMetrics] {
            let Some((quick, next)) = parse(text, &mut scanner(text), 0) else {
                return false;
            };
            let end = text.iter().position(|&b| b == b'\n').unwrap_or(text.len());
            assert_eq!(next, (end + 1).min(text.len()));
            let whole = line::parse(&text[..end], format).expect("what the quick way accepts is right");
            assert_eq!(quick.value.to_bits(), whole.value.to_bits());
            assert_eq!(Line { value: 0.0, ..quick }, Line { value: 0.0, ..whole });
        }
        true
    }

    #[test]
    fn takes_the_usual_lines_and_leaves_the_others() {
        for taken in [
            "a 1",
            "a:b 1\nc",
            "a{b=\"c\"} 1.5e+09\n",
            "a{b=\"c }{,=\",d=\"\"} -1\n",
            "_ 0",
            "a +Inf\n",
        ] {
            assert!(check(taken.as_bytes()), "{taken}");
        }
        for left in [
            "",
            "\n",
            "1a 1",
            "a",
            "a ",
            "a  1",
            "a 1 2",
            "a{} 1",
            "a{b=\"c\",} 1",
            "a{1=\"c\"} 1",
            "a{b=\"\\n\"} 1",
            "a{b=\"ü\"} 1",
            "a{b=\"c\"",
            "a{b=\"c",
            "a{b=",
            "a{b",
            "a{",
            "a{b=\"c\"}1",
            "a 1\r\n",
            "a{b:c=\"d\"} 1",
            "a{b=\"c\nd\"} 1",
            "a 1e",
            "a -",
        ] {
            assert!(!check(left.as_bytes()), "{left}");
        }
    }

    fn check_metadata(text: &[u8]) -> bool {
        let Some((quick, next)) = parse_metadata(text, &mut scanner(text), 0) else {
            return false;
        };
        let end = text
            .iter()
            .position(|&b| b == b'\n')
            .expect("the quick way needs a line feed");
        assert_eq!(next, end + 1);
        assert_eq!(metadata::parse(&text[..end]), Ok(Some(Comment::Metadata(quick))));
        true
    }

    #[test]
    fn takes_the_usual_metadata_and_leaves_the_rest() {
        for taken in ["# TYPE a:b gauge\n", "# HELP a  b \"c\" \\n d\n", "# HELP a \n"] {
            assert!(check_metadata(taken.as_bytes()), "{taken}");
        }
        for left in [
            "#",
            "# TYPE a gauge",
            "# TYPE a gauge\r\n",
            "# TYPE a gadget\n",
            "# HELP a\n",
            "# HELP a ü\n",
            "# UNIT a b\n",
        ] {
            assert!(!check_metadata(left.as_bytes()), "{left}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_complete_grammar(
            text in "[a-z:_0-9]{1,70}([{]([a-z0-9_:]{1,30}=\"[a-z\\\\ü ,=}]{0,70}\",?){0,3}[}])? [-+0-9.e]{0,20}\n?.{0,5}"
        ) {
            check(text.as_bytes());
        }

        #[test]
        fn agrees_on_metadata(
            text in "# (TYPE|HELP) [a-z:0-9]{1,70} ?(counter|gauge|histogram|[a-z \"ü\\\\\r]{0,80})\n.{0,5}"
        ) {
            check_metadata(text.as_bytes());
        }

        #[test]
        fn agrees_on_lines_it_must_take(
            text in "[a-z:_]{1,70}([{][a-z_]{1,30}=\"[a-z ,=}]{0,70}\"(,[a-z]{1,9}=\"[a-z{]{0,20}\"){0,2}[}])? [0-9]{1,18}(\\.[0-9])?\n.{0,80}"
        ) {
            prop_assert!(check(text.as_bytes()));
        }
    }
}
