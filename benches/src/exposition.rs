//! How fast a page of a real vLLM is parsed, compared with peers.

use std::hint::black_box;
use std::time::Duration;

use exposition::{Event, Format, Parser};

use crate::Figure;
use crate::timing::megabytes_per_second;

/// A page served by vLLM 0.32. Its help texts are replaced by others of the usual length.
pub fn page() -> String {
    const RECORDED: &str = include_str!("../../crates/exposition/tests/fixtures/vllm-0.32.txt");
    let mut page = String::new();
    for line in RECORDED.lines() {
        if let Some(family) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next())
        {
            page.push_str(&format!(
                "# HELP {family} A stand-in that is about as long as the help texts of vLLM usually are.\n"
            ));
        }
        page.push_str(line);
        page.push('\n');
    }
    page
}

/// Parses the page with our parser and sums what it yields, so that the compiler cannot remove the work.
///
/// Names, label names, quotes and escapes are checked, every value is read exactly, and every sample gets the kind
/// of its family and its role.
pub fn ours(page: &str) -> (usize, f64) {
    let mut samples = 0;
    let mut sum = 0.0;
    for event in Parser::new(page.as_bytes(), Format::Text) {
        if let Event::Sample(sample) = event {
            samples += 1;
            sum += sample.value;
            black_box(&sample);
        }
    }
    (samples, sum)
}

/// The minimum for any reader: split at line feeds, split each line at its last space, parse the number. It
/// checks nothing and knows neither labels nor types.
pub fn line_split(page: &str) -> (usize, f64) {
    let mut samples = 0;
    let mut sum = 0.0;
    let bytes = page.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |n| start + n);
        let line = &page[start..end];
        start = end + 1;
        if line.starts_with('#') {
            continue;
        }
        if let Some(space) = memchr::memrchr(b' ', line.as_bytes())
            && let Ok(value) = line[space + 1..].parse::<f64>()
        {
            samples += 1;
            sum += value;
            black_box(&line[..space]);
        }
    }
    (samples, sum)
}

/// The page in a form that `openmetrics-parser` accepts: it rejects metric names with a colon.
pub fn page_without_colons(page: &str) -> String {
    page.replace("vllm:", "vllm_")
}

/// The `openmetrics-parser` crate in its Prometheus mode: it allocates families, labels and values.
///
/// # Panics
/// If it rejects the page.
pub fn openmetrics_parser(page: &str) -> usize {
    let exposition =
        openmetrics_parser::prometheus::parse_prometheus(page).expect("the peer accepts the page");
    exposition.families.len()
}

/// `exposition_parse_mb_per_s` and `exposition_parse_vs_line_split_ratio`.
pub fn figures() -> Vec<Figure> {
    let page = page();
    let page = page.as_str();
    let without_colons = page_without_colons(page);
    let (samples, sum) = ours(page);
    let (split_samples, split_sum) = line_split(page);
    assert_eq!(
        (samples, sum.to_bits()),
        (split_samples, split_sum.to_bits()),
        "both read the same values"
    );

    let rates = megabytes_per_second(
        page.len(),
        15,
        Duration::from_millis(60),
        &mut [
            &mut || {
                black_box(ours(black_box(page)));
            },
            &mut || {
                black_box(line_split(black_box(page)));
            },
            &mut || {
                black_box(openmetrics_parser(black_box(&without_colons)));
            },
        ],
    );
    let [ours, line_split, peer] = rates[..] else {
        unreachable!("one rate for each of three candidates")
    };
    let input = format!("vLLM 0.32 page, {} bytes, {samples} samples", page.len());
    vec![
        Figure {
            name: "exposition_parse_mb_per_s",
            value: Some(ours),
            unit: "MB/s",
            context: format!(
                "all labels checked, values exact, kinds and roles resolved; bare line split and float parse \
                 {line_split:.0} MB/s; openmetrics-parser (owned families; refuses colons, so given vllm_ for vllm:) {peer:.1} MB/s; {input}"
            ),
        },
        Figure {
            name: "exposition_parse_vs_line_split_ratio",
            value: Some(ours / line_split),
            unit: "ratio",
            context: format!(
                "complete parse {ours:.0} MB/s over a bare line split and float parse, which checks nothing and knows \
                 neither labels nor types, {line_split:.0} MB/s; aim 0.5; {input}"
            ),
        },
    ]
}
