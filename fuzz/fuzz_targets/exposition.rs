//! The parser of Prometheus text and OpenMetrics: both parsing paths agree, and what is written is read back.

#![no_main]

use exposition::{Event, Exemplar, Format, Labels, Page, Parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, page)) = input.split_first() else { return };
    let format = if choice % 2 == 0 { Format::Text } else { Format::OpenMetrics };

    // A byte order mark at the start is ignored; elsewhere it is a bad name.
    let page = page.strip_prefix(b"\xef\xbb\xbf").unwrap_or(page);
    if !page.starts_with(b"\xef\xbb\xbf") {
        let marked = [b"\xef\xbb\xbf", page].concat();
        assert_eq!(events(page, format), events(&marked, format));
    }

    // White space at the start of a line is ignored, but disables the fast path.
    let indented: Vec<u8> = page.split_inclusive(|&b| b == b'\n').flat_map(|line| [b" ", line].concat()).collect();
    assert_eq!(events(page, format), events(&indented, format));

    // Writing normalizes a page, unless it contradicts itself; writing it again changes nothing.
    let (first, _) = Page::parse(page, format);
    let Ok(text) = first.write(format) else { return };
    let (second, bad) = Page::parse(text.as_bytes(), format);
    assert_eq!(bad, [], "{text}");
    let Ok(text) = second.write(format) else { return };
    let (third, bad) = Page::parse(text.as_bytes(), format);
    assert_eq!(bad, [], "{text}");
    // Compared as text, since NaN is not equal to itself.
    assert_eq!(format!("{second:?}"), format!("{third:?}"));
});

/// Everything that a page yields, as text and without positions.
fn events(page: &[u8], format: Format) -> Vec<String> {
    let text = |labels: Labels<'_>| -> Vec<_> {
        labels.iter().map(|label| (label.name.text().into_owned(), label.value().into_owned())).collect()
    };
    let exemplar = |e: Exemplar<'_>| format!("{:?} {:?} {:?}", text(e.labels), e.value, e.timestamp_ns);
    Parser::new(page, format)
        .map(|event| match event {
            Event::Sample(s) => format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                s.name.text(),
                text(s.labels),
                s.value,
                s.timestamp_ns,
                s.exemplar().map(exemplar),
                s.family,
                s.kind,
                s.role
            ),
            Event::Bad(error) => error.to_string(),
            other => format!("{other:?} {:?}", other.help_text()),
        })
        .collect()
}
