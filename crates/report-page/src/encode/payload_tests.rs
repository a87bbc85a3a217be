//! Decodes what was encoded: every sample of every series comes back.

use std::collections::BTreeMap;

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::Value;

use super::super::column::decode;
use super::*;
use crate::model::{HistogramColumn, Line, Phase, Request, Section, Series};

/// Blocks of a page by name, decompressed.
fn unpack(page: &Page, options: &Options) -> (Payload, BTreeMap<String, Vec<u8>>) {
    let requests = page.runs.iter().map(Requests::of).collect();
    let payload = encode(page, requests, options).expect("the page can be encoded");
    let blocks = payload
        .blocks
        .iter()
        .map(|(id, text)| {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .expect("base64");
            (
                id.clone(),
                miniz_oxide::inflate::decompress_to_vec(&bytes).expect("raw deflate"),
            )
        })
        .collect();
    (payload, blocks)
}

fn meta(blocks: &BTreeMap<String, Vec<u8>>) -> Value {
    serde_json::from_slice(&blocks["data-meta"]).expect("JSON")
}

fn column(block: &[u8], at: &Value) -> Vec<Option<f64>> {
    decode::column(&mut &block[at.as_u64().expect("an offset") as usize..])
}

/// The points of a series as a page knows them: milliseconds and values, without absent ones.
fn points(meta: &Value, blocks: &BTreeMap<String, Vec<u8>>, series: usize) -> Vec<(f64, f64)> {
    let (run, block) = (&meta["runs"][0], &blocks["data-series-0"]);
    let series = &run["series"][series];
    let axis = &run["axes"][series["axis"].as_u64().expect("an index") as usize];
    let times = column(block, &axis["at"]);
    let values = column(block, &series["at"]);
    assert_eq!(times.len(), values.len());
    times
        .iter()
        .zip(values)
        .filter_map(|(time, value)| Some(((*time)?, value?)))
        .collect()
}

fn series(name: &str, times_ms: &[i64], values: &[f64]) -> Series {
    Series {
        name: name.into(),
        timestamps_ns: times_ms.iter().map(|ms| ms * 1_000_000).collect(),
        values: values.to_vec(),
        ..Series::default()
    }
}

fn page(run: Run) -> Page {
    Page {
        runs: vec![run],
        ..Page::default()
    }
}

proptest! {
    #[test]
    fn every_sample_comes_back(
        all in prop::collection::vec(
            prop::collection::btree_map(0_i64..500, prop_oneof![(-1_000_000_i64..1_000_000).prop_map(|v| v as f64 / 100.0), Just(f64::INFINITY)], 0..60),
            1..8,
        ),
    ) {
        let series: Vec<Series> = all.iter().enumerate().map(|(i, points)| {
            let (times, values): (Vec<i64>, Vec<f64>) = points.iter().map(|(t, v)| (*t, *v)).unzip();
            self::series(&format!("s{i}"), &times, &values)
        }).collect();
        let (_, blocks) = unpack(&page(Run { series, ..Run::default() }), &Options::default());
        let meta = meta(&blocks);
        for (i, expected) in all.iter().enumerate() {
            let expected: Vec<(f64, f64)> = expected.iter().map(|(t, v)| (*t as f64, *v)).collect();
            prop_assert_eq!(points(&meta, &blocks, i), expected);
        }
    }

    #[test]
    fn every_request_comes_back(
        rows in prop::collection::vec((0_i64..1_000_000, prop::option::of((0_i64..5_000, 0_i64..900_000, 0_i64..9_000_000, 0_i64..700_000, 0_i64..700_000)), 0_u32..3_000), 0..80),
    ) {
        let requests = rows.iter().map(|&(issued, parts, tokens)| Request {
            issued_ns: issued * 1_000,
            sent_ns: parts.map(|p| (issued + p.0) * 1_000),
            first_token_ns: parts.map(|p| (issued + p.0 + p.1) * 1_000),
            done_ns: parts.map(|p| (issued + p.0 + p.1 + p.2) * 1_000),
            queue_ns: parts.map(|p| p.3 * 1_000),
            prefill_ns: parts.map(|p| p.4 * 1_000),
            decode_ns: parts.map(|p| (p.2 / 2) * 1_000),
            output_tokens: Some(tokens),
            ..Request::default()
        }).collect();
        let run = Run { requests, ..Run::default() };
        let expected = Requests::of(&run).rows;
        let (_, blocks) = unpack(&page(run), &Options::default());
        let (meta, block) = (meta(&blocks), &blocks["data-requests-0"]);
        let at = &meta["runs"][0]["requests"];
        let ticks = |name: &str| -> Vec<Option<i64>> {
            column(block, &at[name]).into_iter().map(|v| v.map(|ms| (ms * 1e3).round() as i64)).collect()
        };
        let (issued, wait, ttft, rest) = (ticks("issued"), ticks("wait"), ticks("ttft"), ticks("rest"));
        let (queue, prefill, decode) = (ticks("queue"), ticks("prefill"), ticks("decode"));
        for (i, row) in expected.iter().enumerate() {
            prop_assert_eq!(issued[i], Some(row.issued));
            prop_assert_eq!(wait[i].map(|w| row.issued + w), row.sent);
            prop_assert_eq!(ttft[i].map(|t| row.sent.unwrap_or(row.issued) + t), row.first);
            prop_assert_eq!(rest[i].map(|t| row.first.or(row.sent).unwrap_or(row.issued) + t), row.done);
            prop_assert_eq!(queue[i], row.queue);
            // As in model.js: what is left of the client's times.
            prop_assert_eq!(prefill[i].map(|p| ttft[i].unwrap_or(0) - queue[i].unwrap_or(0) - p), row.prefill);
            prop_assert_eq!(decode[i].map(|d| rest[i].unwrap_or(0) - d), row.decode);
        }
    }
}

#[test]
fn what_is_scraped_together_shares_its_times() {
    let times: Vec<i64> = (0..1_000).map(|i| i * 1_000).collect();
    let values: Vec<f64> = times.iter().map(|&t| t as f64).collect();
    let run = Run {
        series: vec![
            series("all", &times, &values),
            series("late", &times[400..], &values[400..]),
            series("other", &[3, 700], &[1.0, 2.0]),
        ],
        ..Run::default()
    };
    let (payload, blocks) = unpack(&page(run), &Options::default());
    let meta = meta(&blocks);
    assert_eq!(meta["runs"][0]["axes"].as_array().map(Vec::len), Some(2));
    assert_eq!(points(&meta, &blocks, 1).len(), 600);
    assert_eq!(payload.samples, 1_602);
}

#[test]
fn a_sample_takes_a_fraction_of_a_byte() {
    // 200 series as a server has them: counters that count up, gauges that change little, constants.
    let times: Vec<i64> = (0..3_600).map(|i| i * 1_000).collect();
    let series: Vec<Series> = (0..200_i64)
        .map(|k| {
            let mut total = 0;
            let values: Vec<f64> = (0..3_600_i64)
                .map(|i| {
                    total += if k % 4 == 0 {
                        0
                    } else {
                        (i * 7 + k) % 11 % (k % 5 + 1)
                    };
                    total as f64
                })
                .collect();
            self::series(&format!("s{k}"), &times, &values)
        })
        .collect();
    let (payload, _) = unpack(
        &page(Run {
            series,
            ..Run::default()
        }),
        &Options::default(),
    );
    let bytes = payload.series_bytes as f64 / payload.samples as f64;
    assert!(bytes < 0.2, "{bytes} bytes of base64 per sample");
}

#[test]
fn beyond_the_budget_extremes_survive_and_the_reader_is_told() {
    let times: Vec<i64> = (0..50_000).map(|i| i * 100).collect();
    let mut values: Vec<f64> = times.iter().map(|&t| (t * 7919 % 104_729) as f64).collect();
    values[31_337] = 1e6;
    let run = Run {
        name: "A".into(),
        span: Span {
            start_ns: 0,
            end_ns: 5_000_000_000_000,
        },
        series: vec![series("noisy", &times, &values)],
        record_file: Some("all.parquet".into()),
        ..Run::default()
    };
    let options = Options {
        max_run_bytes: 50_000,
        ..Options::default()
    };
    let (payload, blocks) = unpack(&page(run), &options);
    let meta = meta(&blocks);
    let points = points(&meta, &blocks, 0);
    assert_eq!(points.len(), 6_000);
    assert!(points.iter().any(|p| p.1 == 1e6));
    assert_eq!(meta["runs"][0]["axes"][0]["thinned"], true);
    assert!(
        payload.remarks[0].contains("all are in all.parquet"),
        "{:?}",
        payload.remarks
    );
}

#[test]
fn charts_find_their_series_in_every_run() {
    let run = |names: &[&str]| Run {
        series: names.iter().map(|n| series(n, &[0], &[1.0])).collect(),
        ..Run::default()
    };
    let chart = Chart {
        id: "kv".into(),
        section: Section::Engine,
        title: String::new(),
        unit: String::new(),
        definition: String::new(),
        kind: crate::model::ChartKind::Line,
        log: false,
        range: None,
        lines: vec![Line {
            series: "b".into(),
            label: "b".into(),
        }],
        bands: Vec::new(),
        thresholds: Vec::new(),
    };
    let page = Page {
        runs: vec![run(&["a", "b"]), run(&["c"])],
        charts: vec![chart],
        ..Page::default()
    };
    let (_, blocks) = unpack(&page, &Options::default());
    assert_eq!(meta(&blocks)["chart_series"], serde_json::json!([[[1, null]]]));
}

#[test]
fn histograms_and_phases_come_back() {
    let columns = [(0, 1_000, [3, 0]), (1_000, 2_000, [5, 1])];
    let histogram = Histogram {
        id: "ttft".into(),
        bounds: vec![0.5],
        columns: columns
            .iter()
            .map(|(from, to, counts)| HistogramColumn {
                start_ns: from * 1_000_000,
                end_ns: to * 1_000_000,
                counts: counts.to_vec(),
            })
            .collect(),
        ..Histogram::default()
    };
    let phase = Phase {
        name: "performance".into(),
        span: Span {
            start_ns: 1_500_000,
            end_ns: 9_000_000,
        },
    };
    let run = Run {
        histograms: vec![histogram],
        phases: vec![phase],
        origin_ns: 500_000,
        ..Run::default()
    };
    let (_, blocks) = unpack(&page(run), &Options::default());
    let meta = meta(&blocks);
    let (h, block) = (&meta["runs"][0]["histograms"][0], &blocks["data-histograms-0"]);
    assert_eq!(column(block, &h["counts"][0]), [Some(3.0), Some(5.0)]);
    assert_eq!(column(block, &h["counts"][1]), [Some(0.0), Some(1.0)]);
    assert_eq!(column(block, &h["ends"]), [Some(999.5), Some(1_999.5)]);
    assert_eq!(
        meta["runs"][0]["phases"],
        serde_json::json!([["performance", 1.0, 8.5]])
    );
    assert_eq!(meta["runs"][0]["origin_ns"], "500000");
}
