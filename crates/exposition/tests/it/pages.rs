//! Whole pages: a recorded vLLM 0.32 page, and pages shaped like those of other exporters.

use exposition::{Event, Format, Kind, Page, Parser, Reason, Role, Sample};

const VLLM: &str = include_str!("../fixtures/vllm-0.32.txt");
const SGLANG: &str = include_str!("../fixtures/sglang.txt");
const NODE: &str = include_str!("../fixtures/node-exporter.txt");
const DCGM: &str = include_str!("../fixtures/dcgm.txt");

fn samples(page: &str) -> Vec<Sample<'_>> {
    Parser::new(page.as_bytes(), Format::Text)
        .filter_map(|event| match event {
            Event::Sample(sample) => Some(sample),
            _ => None,
        })
        .collect()
}

fn bad(page: &str) -> Vec<(u64, Reason)> {
    Parser::new(page.as_bytes(), Format::Text)
        .filter_map(|event| match event {
            Event::Bad(error) => Some((error.line, error.reason)),
            _ => None,
        })
        .collect()
}

fn find<'a>(samples: &[Sample<'a>], series: &str) -> Sample<'a> {
    *samples
        .iter()
        .find(|s| s.series == series.as_bytes())
        .unwrap_or_else(|| panic!("no series {series}"))
}

#[test]
fn vllm_page_is_read_whole_and_typed() {
    let found = samples(VLLM);
    assert_eq!(bad(VLLM), []);
    assert_eq!(found.len(), VLLM.lines().filter(|l| !l.starts_with('#')).count());
    assert!(found.iter().all(|s| s.kind != Kind::Unknown));

    let s = find(
        &found,
        "vllm:iteration_tokens_total_count{engine=\"0\",model_name=\"tiny\"}",
    );
    assert_eq!((s.kind, s.role, s.value), (Kind::Histogram, Role::Count, 720.0));
    assert_eq!(s.family.text(), "vllm:iteration_tokens_total");
    let s = find(
        &found,
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"tiny\"}",
    );
    assert_eq!((s.kind, s.role, s.value), (Kind::Counter, Role::Value, 160.0));
    let s = find(
        &found,
        "vllm:prompt_tokens_created{engine=\"0\",model_name=\"tiny\"}",
    );
    assert_eq!(
        (s.kind, s.role, s.value),
        (Kind::Gauge, Role::Value, 1.795_277_599_990_811_3e9)
    );
    let s = find(&found, "http_request_size_bytes_sum{handler=\"/v1/completions\"}");
    assert_eq!((s.kind, s.role, s.value), (Kind::Summary, Role::Sum, 1980.0));
    let s = found
        .iter()
        .find(|s| s.name.raw() == b"vllm:cache_config_info")
        .expect("cache configuration");
    assert_eq!(s.labels.get("block_size").as_deref(), Some("128"));
}

#[test]
fn every_number_of_the_vllm_page_is_what_the_standard_library_reads() {
    for line in VLLM.lines().filter(|l| !l.starts_with('#')) {
        let text = line.rsplit(' ').next().expect("a value");
        let expected: f64 = text.parse().expect("a number");
        let found = samples(line)[0].value;
        assert_eq!(found.to_bits(), expected.to_bits(), "{line}");
    }
}

#[test]
fn sglang_page_with_sum_before_buckets_and_progress_text() {
    let found = samples(SGLANG);
    assert_eq!(bad(SGLANG), [(1, Reason::Name)]);
    assert_eq!(
        (found[0].role, found[0].kind, found[0].value),
        (Role::Sum, Kind::Histogram, 1.5)
    );
    assert_eq!(found[3].labels.get("le").as_deref(), Some("+Inf"));
    assert_eq!((found[4].role, found[4].kind), (Role::Count, Kind::Histogram));
    assert_eq!(
        found.last().map(|s| (s.kind, s.value)),
        Some((Kind::Counter, 8_128_902.0))
    );
}

#[test]
fn node_exporter_page() {
    let found = samples(NODE);
    assert_eq!(bad(NODE), []);
    let s = found
        .iter()
        .find(|s| s.name.raw() == b"node_filesystem_avail_bytes")
        .expect("a file system");
    assert_eq!(s.labels.get("device").as_deref(), Some("C:\\data"));
    assert_eq!(
        s.labels.get("mountpoint").as_deref(),
        Some("/mnt/with \"quotes\", a } brace and\na line")
    );
    let s = find(&found, "node_textfile_mtime_seconds{file=\"ipmi.prom\"}");
    assert_eq!(
        (s.value, s.timestamp_ns),
        (1.7e9, Some(1_700_000_000_123_000_000))
    );
    assert!(
        find(
            &found,
            "node_scrape_collector_duration_seconds{collector=\"cpu\"}"
        )
        .value
        .is_nan()
    );
    let s = find(&found, "go_gc_duration_seconds{quantile=\"1\"}");
    assert_eq!((s.kind, s.role), (Kind::Summary, Role::Quantile));
    let s = find(&found, "node_without_a_type_line");
    assert_eq!(
        (s.kind, s.role, s.family.raw()),
        (Kind::Unknown, Role::Value, s.name.raw())
    );
}

#[test]
fn dcgm_page() {
    let found = samples(DCGM);
    assert_eq!(bad(DCGM), []);
    assert_eq!(found.len(), 5);
    assert_eq!(
        found[0].labels.get("modelName").as_deref(),
        Some("NVIDIA H100 80GB HBM3")
    );
    assert_eq!(found[2].value, 612.345);
    assert_eq!(
        (found[3].kind, found[3].value),
        (Kind::Counter, 123_456_789_012.0)
    );
}

/// Compared as text, since NaN is not equal to itself.
fn text(page: &Page) -> String {
    format!("{page:?}")
}

#[test]
fn pages_survive_being_written() {
    for source in [VLLM, SGLANG, NODE, DCGM] {
        let (page, _) = Page::parse(source.as_bytes(), Format::Text);
        let written = page
            .write(Format::Text)
            .expect("a page that was read can be written");
        let (again, bad) = Page::parse(written.as_bytes(), Format::Text);
        assert_eq!(bad, []);
        assert_eq!(text(&again), text(&page));
    }
}

#[test]
fn a_text_page_becomes_openmetrics_and_back() {
    let (page, _) = Page::parse(NODE.as_bytes(), Format::Text);
    let written = page.write(Format::OpenMetrics).expect("writes");
    assert!(written.contains("# TYPE node_cpu_seconds counter\nnode_cpu_seconds_total{cpu=\"0\""));
    let (middle, bad) = Page::parse(written.as_bytes(), Format::OpenMetrics);
    assert_eq!(bad, []);
    let (mut again, bad) = {
        let text = middle.write(Format::Text).expect("writes");
        let (again, bad) = Page::parse(text.as_bytes(), Format::Text);
        (again, bad.len())
    };
    assert_eq!(bad, 0);
    // The unknown family has gained a type line that says so; nothing else may differ.
    again.families.sort_by(|a, b| a.name.cmp(&b.name));
    let mut expected = page;
    expected.families.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(text(&again), text(&expected));
}

/// Found by fuzzing: in OpenMetrics the counter loses its `_total` and would make the untyped sample one of its own.
#[test]
fn two_families_that_would_become_one_are_refused() {
    let source = "bytes 4\n# TYPE bytes_total counter\nbytes_total 5\n";
    let (page, bad) = Page::parse(source.as_bytes(), Format::Text);
    assert_eq!(bad, []);
    let error = page
        .write(Format::OpenMetrics)
        .expect_err("it contradicts itself");
    assert!(error.to_string().contains("\"bytes\""), "{error}");
    let written = page
        .write(Format::Text)
        .expect("the text format tells them apart");
    assert_eq!(Page::parse(written.as_bytes(), Format::Text).0.families.len(), 2);
}
