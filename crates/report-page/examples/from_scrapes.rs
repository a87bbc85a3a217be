//! Draws what a server's `/metrics` said: pages in Prometheus text format, each after a line
//! `# SCRAPE <Unix nanoseconds>`.
//!
//! usage: from_scrapes FILE OUTPUT.html
//!
//! Shows how input is filled: series as they are, histograms from their cumulative buckets.

use std::collections::BTreeMap;
use std::time::Instant;

use report_page::model::{
    Chart, ChartKind, Histogram, HistogramColumn, Kind, Line, Page, Run, Section, Series, Span,
};

type Labels = BTreeMap<String, String>;

#[allow(clippy::print_stdout, reason = "an example that reports")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: from_scrapes FILE OUTPUT.html".into());
    };
    let page = page(&read(&std::fs::read_to_string(input)?));
    let begun = Instant::now();
    let rendered = report_page::render(&page)?;
    let took = begun.elapsed();
    std::fs::write(output, &rendered.html)?;
    println!(
        "{} series, {} samples in {} bytes of base64 ({:.3} each), the page {} bytes, made in {} ms",
        page.runs[0].series.len(),
        rendered.samples,
        rendered.series_bytes,
        rendered.series_bytes as f64 / rendered.samples as f64,
        rendered.html.len(),
        took.as_millis(),
    );
    Ok(())
}

/// Every series of every scrape, by name and labels.
fn read(text: &str) -> BTreeMap<(String, Labels), Series> {
    let mut all: BTreeMap<(String, Labels), Series> = BTreeMap::new();
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut now = 0;
    for line in text.lines() {
        if let Some(ns) = line.strip_prefix("# SCRAPE ") {
            now = ns.trim().parse().unwrap_or(now);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name.into(), kind.into());
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            helps.insert(name.into(), help.into());
        } else if let Some((name, labels, value)) = sample(line) {
            let series = all.entry((name, labels)).or_insert_with_key(|(name, labels)| {
                let family = name
                    .trim_end_matches("_bucket")
                    .trim_end_matches("_sum")
                    .trim_end_matches("_count");
                let counter = kinds
                    .get(name)
                    .or(kinds.get(family))
                    .is_some_and(|kind| kind != "gauge");
                Series {
                    unit: if name.contains("_seconds") && !counter {
                        "seconds".into()
                    } else {
                        String::new()
                    },
                    source: "vllm".into(),
                    kind: if counter { Kind::Counter } else { Kind::Gauge },
                    description: helps.get(name).or(helps.get(family)).cloned().unwrap_or_default(),
                    name: name.clone(),
                    labels: labels.clone(),
                    ..Series::default()
                }
            });
            series.timestamps_ns.push(now);
            series.values.push(value);
        }
    }
    all
}

/// One line `name{label="value",…} value`; label values without escapes only, which is what vLLM writes.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    (!line.starts_with('#')).then_some((name.to_owned(), labels, value.parse().ok()?))
}

fn page(all: &BTreeMap<(String, Labels), Series>) -> Page {
    let times = || all.values().flat_map(|s| &s.timestamps_ns);
    let span = Span {
        start_ns: times().min().copied().unwrap_or(0),
        end_ns: times().max().copied().unwrap_or(0),
    };
    let key = |name: &str| {
        all.values()
            .find(|s| s.name == name)
            .map_or_else(String::new, Series::key)
    };
    let chart = |id: &str, section, title: &str, unit: &str, lines: &[(&str, &str)]| Chart {
        id: id.into(),
        section,
        title: title.into(),
        unit: unit.into(),
        definition: "As the server reports it.".into(),
        kind: ChartKind::Line,
        log: false,
        range: None,
        lines: lines
            .iter()
            .map(|(name, label)| Line {
                series: key(name),
                label: (*label).into(),
            })
            .collect(),
        bands: Vec::new(),
        thresholds: Vec::new(),
    };
    Page {
        title: "A recording of /metrics".into(),
        charts: vec![
            chart(
                "output",
                Section::Performance,
                "Output tokens per second",
                "tokens/s",
                &[("vllm:generation_tokens_total", "output")],
            ),
            chart(
                "prompt",
                Section::Performance,
                "Prompt tokens per second",
                "tokens/s",
                &[("vllm:prompt_tokens_total", "prompt")],
            ),
            chart(
                "requests",
                Section::Engine,
                "Requests",
                "requests",
                &[
                    ("vllm:num_requests_running", "running"),
                    ("vllm:num_requests_waiting", "waiting"),
                ],
            ),
            chart(
                "kv",
                Section::Engine,
                "KV cache usage",
                "ratio",
                &[("vllm:kv_cache_usage_perc", "used")],
            ),
            chart(
                "preemptions",
                Section::Engine,
                "Preemptions",
                "1/s",
                &[("vllm:num_preemptions_total", "preemptions")],
            ),
            chart(
                "memory",
                Section::Host,
                "Memory of the API server",
                "bytes",
                &[("process_resident_memory_bytes", "resident")],
            ),
        ],
        runs: vec![Run {
            name: "A".into(),
            origin_ns: span.start_ns,
            span,
            series: all.values().cloned().collect(),
            histograms: histograms(all),
            ..Run::default()
        }],
        ..Page::default()
    }
}

/// The histograms of the server that saw anything.
fn histograms(all: &BTreeMap<(String, Labels), Series>) -> Vec<Histogram> {
    let mut families: BTreeMap<(&str, Labels), Vec<(f64, &Series)>> = BTreeMap::new();
    for series in all.values() {
        if let (Some(family), Some(le)) = (series.name.strip_suffix("_bucket"), series.labels.get("le")) {
            let mut labels = series.labels.clone();
            labels.remove("le");
            let bound = le
                .trim_start_matches('+')
                .replace("Inf", "inf")
                .parse()
                .unwrap_or(f64::INFINITY);
            families
                .entry((family, labels))
                .or_default()
                .push((bound, series));
        }
    }
    let of_family = |((family, labels), mut buckets): ((&str, Labels), Vec<(f64, &Series)>)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let times = &buckets[0].1.timestamps_ns;
        let grown = |bucket: usize, t: usize| {
            (buckets[bucket].1.values[t] - buckets[bucket].1.values[t - 1]).max(0.0) as u64
        };
        let column = |t: usize| HistogramColumn {
            start_ns: times[t - 1],
            end_ns: times[t],
            counts: (0..buckets.len())
                .map(|b| grown(b, t).saturating_sub(if b == 0 { 0 } else { grown(b - 1, t) }))
                .collect(),
        };
        let columns: Vec<HistogramColumn> = (1..times.len()).map(column).collect();
        let seen = columns.iter().any(|c| c.counts.iter().any(|&n| n > 0));
        seen.then(|| Histogram {
            name: family.into(),
            id: family.replace([':', '_'], "-"),
            title: family.trim_start_matches("vllm:").replace('_', " "),
            unit: if family.contains("_seconds") {
                "seconds".into()
            } else {
                "tokens".into()
            },
            source: "vllm".into(),
            description: buckets[0].1.description.clone(),
            bounds: buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect(),
            labels,
            columns,
        })
    };
    families.into_iter().filter_map(of_family).collect()
}
