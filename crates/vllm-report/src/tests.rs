//! Complete pictures and summaries of a small synthetic run with phases, a gap, two engines and GPUs.

use std::sync::Arc;

use vllm_metrics::{
    EventRow, Manifest, MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef, Severity,
};

use super::*;
use crate::scene::{Scene, Shape};

mod faults;
mod plots;

const S: i64 = 1_000_000_000;
const START: i64 = 1_795_262_400 * S;

fn series(
    name: &str,
    labels: &str,
    metric_type: MetricType,
    unit: &str,
    value: impl Fn(usize) -> f64,
) -> SeriesData {
    // Sixty scrapes a second apart; twenty to twenty-nine are missing.
    let indices: Vec<usize> = (0..60).filter(|i| !(20..30).contains(i)).collect();
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: unit.into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000".into(),
        }),
        timestamps_ns: indices.iter().map(|i| START + *i as i64 * S).collect(),
        values: indices.iter().map(|i| value(*i)).collect(),
        phases: vec![(0, "warmup".into()), (10, "performance".into())],
    }
}

fn engine_series(engine: usize) -> Vec<SeriesData> {
    let labels = format!(r#"{{"engine":"{engine}","model_name":"m"}}"#);
    let gauge = |name: &str, unit: &str, value: fn(usize) -> f64| {
        series(name, &labels, MetricType::Gauge, unit, value)
    };
    let counter = |name: &str, unit: &str, per_second: f64| {
        series(name, &labels, MetricType::Counter, unit, move |i| {
            i as f64 * per_second
        })
    };
    let mut out = vec![
        gauge("vllm:num_requests_running", "", |i| (i % 7) as f64),
        gauge("vllm:num_requests_waiting", "", |i| (i % 3) as f64),
        gauge("vllm:kv_cache_usage_perc", "ratio", |i| i as f64 / 100.0),
        counter("vllm:generation_tokens_total", "tokens", 100.0),
        counter("vllm:prompt_tokens_total", "tokens", 400.0),
        counter("vllm:num_preemptions_total", "", 0.5),
        counter("vllm:prefix_cache_queries_total", "tokens", 400.0),
        counter("vllm:prefix_cache_hits_total", "tokens", 100.0),
    ];
    for reason in ["stop", "abort"] {
        let labels = format!(r#"{{"engine":"{engine}","finished_reason":"{reason}","model_name":"m"}}"#);
        out.push(series(
            "vllm:request_success_total",
            &labels,
            MetricType::Counter,
            "",
            |i| i as f64 * 2.0,
        ));
    }
    let family = "vllm:time_to_first_token_seconds";
    for (le, share) in [("0.1", 0.5), ("0.5", 1.0), ("+Inf", 1.0)] {
        let labels = format!(r#"{{"engine":"{engine}","le":"{le}","model_name":"m"}}"#);
        let value = move |i: usize| i as f64 * 10.0 * share;
        out.push(series(
            &format!("{family}_bucket"),
            &labels,
            MetricType::Histogram,
            "seconds",
            value,
        ));
    }
    out.push(series(
        &format!("{family}_sum"),
        &labels,
        MetricType::Histogram,
        "seconds",
        |i| i as f64 * 2.0,
    ));
    out.push(series(
        &format!("{family}_count"),
        &labels,
        MetricType::Histogram,
        "seconds",
        |i| i as f64 * 10.0,
    ));
    out
}

fn gpu_series(gpu: usize) -> SeriesData {
    let mut out = series(
        "gpu_utilization_ratio",
        &format!(r#"{{"gpu":"{gpu}"}}"#),
        MetricType::Gauge,
        "ratio",
        |i| (i % 10) as f64 / 10.0,
    );
    out.def = Arc::new(SeriesDef {
        source: "nvml".into(),
        endpoint_url: "".into(),
        ..(*out.def).clone()
    });
    out
}

fn request(i: u64) -> RequestRow {
    let issued_ns = START + i as i64 * S;
    RequestRow {
        request_id: i,
        sample_index: i,
        batch_id: None,
        endpoint: 0,
        scheduled_ns: None,
        issued_ns,
        sent_ns: Some(issued_ns + S / 100),
        first_token_ns: Some(issued_ns + S / 10),
        done_ns: Some(issued_ns + S / 2),
        prompt_tokens: Some(10),
        output_tokens: Some(5),
        server_queue_ns: None,
        server_prefill_ns: None,
        server_decode_ns: None,
        server_time_source: None,
        outcome: if i == 3 {
            Outcome::Failed
        } else {
            Outcome::Completed
        },
        reason: None,
    }
}

fn run() -> RunData {
    let mut all: Vec<SeriesData> = (0..2)
        .flat_map(engine_series)
        .chain((0..2).map(gpu_series))
        .collect();
    vllm_metrics::derive::series::sort(&mut all);
    RunData {
        manifest: Manifest {
            stamp: "20261121_120000".into(),
            started_ns: START,
            ended_ns: Some(START + 59 * S),
            facts: [("model".to_owned(), "m & <n>".to_owned())].into(),
            ..Manifest::default()
        },
        series: all,
        requests: (0..10).map(request).collect(),
        events: vec![EventRow {
            timestamp_ns: START + 20 * S,
            end_ns: Some(START + 30 * S),
            kind: "gap".into(),
            severity: Severity::Warning,
            source: "vllm".into(),
            message: "the endpoint did not answer".into(),
            attributes: "{}".into(),
        }],
        ..RunData::default()
    }
}

fn texts(scene: &Scene) -> Vec<&str> {
    scene
        .shapes
        .iter()
        .filter_map(|s| match s {
            Shape::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn overview(run: &RunData) -> Scene {
    let analysis = Analysis::of(run);
    let view = View::of(&analysis);
    chart::overview::picture(&view)
        .scene(&view, 300.0, &PictureStyle::default())
        .unwrap()
}

#[test]
fn everything_promised_is_written_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = RenderOptions {
        dpi: 40.0,
        svg: true,
        title: Some("System X".into()),
        ..RenderOptions::default()
    };
    let rendered = render(&Analysis::of(&run()), folder.path(), &options).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("visualizations"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "gpu_utilization_20261121_120000.png",
            "gpu_utilization_20261121_120000.svg",
            "metrics_summary_20261121_120000.json",
            "performance_overview_20261121_120000.png",
            "performance_overview_20261121_120000.svg",
            "requests_running_20261121_120000.png",
            "requests_running_20261121_120000.svg",
        ]
    );
    let bytes = std::fs::read(&rendered.overview).unwrap();
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let reader = decoder.read_info().unwrap();
    assert_eq!(reader.info().width, 480);
    assert_eq!(reader.info().pixel_dims.map(|d| d.xppu), Some(1575));
    let svg = std::fs::read_to_string(&rendered.svgs[0]).unwrap();
    assert!(
        svg.contains("System X · Performance overview") && svg.contains("m &amp; &lt;n&gt;"),
        "{svg}"
    );
}

#[test]
fn the_overview_has_its_panels_units_phases_and_its_gap() {
    let run = run();
    let scene = overview(&run);
    let texts = texts(&scene);
    for wanted in [
        "Output tokens, tokens/s",
        "Input tokens, tokens/s",
        "Requests in the engine",
        "Requests finished, per second",
        "Time to first token (server), ms",
        "Time to first token from sending (client), ms",
        "Time per output token (client), ms",
        "Failed requests so far, by kind",
        "KV cache in use, %",
        "Preemptions, per second",
        "Prefix cache hit rate, %",
        "GPU utilization, %",
        "performance",
        "no data",
    ] {
        assert!(texts.contains(&wanted), "{wanted} is not in {texts:?}");
    }
    assert!(
        texts
            .iter()
            .any(|t| t.contains("2026-11-21 12:00:00 UTC") && t.contains("1 gap")),
        "{texts:?}"
    );
    // What the server did not expose is reported in words, not drawn as an empty panel.
    assert!(texts.iter().any(|t| t.contains("observed nothing")), "{texts:?}");
    assert!(!texts.contains(&"SIMULATED DATA"));
}

#[test]
fn no_line_is_drawn_over_the_gap() {
    let mut run = run();
    // The cumulative counts of failures continue where scrapes are missing.
    run.requests.clear();
    run.series.retain(|s| !s.def.labels.contains("abort"));
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    // From the due time of the first missing scrape to the first scrape that succeeded again.
    assert_eq!(view.frame.gaps, [(START + 20 * S, START + 30 * S)]);
    let scene = chart::requests::picture(&view)
        .scene(&view, 300.0, &PictureStyle::default())
        .unwrap();
    // The picture is one column of panels, three pixels a unit: from the plot's left edge to the right margin.
    let (left, right) = ((style::MARGIN + 46.0) * 3.0, (1200.0 - style::MARGIN) * 3.0);
    let x = |second: f32| left + (right - left) * second / 59.0;
    let data_lines = scene.shapes.iter().filter_map(|s| match s {
        Shape::Line { points, .. } => Some(points),
        _ => None,
    });
    let mut lines = 0;
    for points in data_lines {
        lines += 1;
        for pair in points.windows(2) {
            assert!(
                !(pair[0].0 < x(22.0) && pair[1].0 > x(28.0)),
                "{pair:?} crosses the gap"
            );
        }
    }
    assert!(lines >= 8, "{lines}");
}

#[test]
fn simulated_data_are_marked_on_every_picture() {
    let mut run = run();
    let first = &mut run.series[0];
    first.def = Arc::new(SeriesDef {
        source: "vllm-simulated".into(),
        ..(*first.def).clone()
    });
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let pictures = [
        chart::overview::picture(&view),
        chart::requests::picture(&view),
        chart::gpu::picture(&view),
        chart::metric::picture(&view, &["vllm:num_requests_running"], &Choice::default()).unwrap(),
    ];
    for picture in pictures {
        assert!(
            texts(&picture.scene(&view, 300.0, &PictureStyle::default()).unwrap())
                .contains(&"SIMULATED DATA"),
            "{}",
            picture.title
        );
    }
    assert_eq!(summarize(&Analysis::of(&run))["simulated"], true);
}

#[test]
fn a_run_without_gpus_says_so_and_an_empty_run_is_still_drawn() {
    let mut run = run();
    run.series.retain(|s| &*s.def.source != "nvml");
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let scene = chart::gpu::picture(&view)
        .scene(&view, 300.0, &PictureStyle::default())
        .unwrap();
    assert!(texts(&scene).iter().any(|t| t.starts_with("No GPU data")));

    let folder = tempfile::tempdir().unwrap();
    let options = RenderOptions {
        dpi: 30.0,
        ..RenderOptions::default()
    };
    let rendered = render(&Analysis::of(&RunData::default()), folder.path(), &options).unwrap();
    assert!(
        rendered
            .summary
            .ends_with("visualizations/metrics_summary_19700101_000000.json")
    );
}

#[test]
fn the_summary_is_strict_json_with_rates_quantiles_and_what_was_missing() {
    let mut run = run();
    run.series[0].values[0] = f64::NAN;
    let text = serde_json::to_string(&summarize(&Analysis::of(&run))).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tokens = &summary["metrics"]["vllm:generation_tokens_total"];
    assert_eq!(tokens["series"][0]["increase"], 5900.0);
    assert_eq!(tokens["series"][0]["mean_per_second"], 100.0);
    assert_eq!(tokens["series"][0]["labels"]["engine"], "0");
    assert_eq!(tokens["aggregate"]["increase"], 11800.0);
    assert_eq!(
        summary["totals"]["vllm:tokens_per_second"]["series"][0]["median"],
        200.0
    );
    assert_eq!(tokens["aggregate"]["mean_per_second"], 200.0);
    let running = &summary["metrics"]["vllm:num_requests_running"]["series"][0];
    for key in ["count", "mean", "std", "min", "max", "median"] {
        assert!(running[key].is_number(), "{key}: {running}");
    }
    assert!(running["percentiles"]["p99.9"].is_number());
    let ttft = &summary["metrics"]["vllm:time_to_first_token_seconds"]["series"][0];
    assert_eq!(
        (ttft["count"].as_f64(), ttft["mean"].as_f64()),
        (Some(590.0), Some(0.2))
    );
    assert!(ttft["percentiles"]["p99_estimate"].is_number());
    assert_eq!(
        summary["metrics"]["vllm:kv_cache_usage_perc"]["aggregate"]["how"],
        "mean over series"
    );
    assert_eq!(summary["missing"][0]["kind"], "gap");
    assert_eq!(summary["gaps"][0]["duration_secs"], 10.0);
    assert_eq!(summary["requests"]["failed"], 1);
    assert_eq!(summary["requests"]["latency_sent_seconds"]["median"], 0.49);
    assert_eq!(summary["requests"]["tpot_seconds"]["max"], 0.1);
    assert_eq!(summary["requests"]["failures"]["no reason was recorded"], 1);
    assert_eq!(summary["phases"][1]["name"], "performance");
    assert_eq!(summary["time_range"]["start"], "2026-11-21T12:00:00Z");
}

#[test]
fn goodput_is_told_when_limits_are() {
    let folder = tempfile::tempdir().unwrap();
    let options = RenderOptions {
        dpi: 30.0,
        goodput: Some("ttft:95ms".parse().unwrap()),
        ..RenderOptions::default()
    };
    let rendered = render(&Analysis::of(&run()), folder.path(), &options).unwrap();
    let text = std::fs::read_to_string(rendered.summary).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["goodput"]["requests"], 10);
    assert_eq!(summary["goodput"]["good"], 9);
    assert_eq!(summary["bucket_fitness"], serde_json::json!([]));
    assert_eq!(
        summarize(&Analysis::of(&run()))["goodput"],
        serde_json::Value::Null
    );
}

#[test]
fn what_the_facts_tell_is_in_the_summary() {
    let mut run = run();
    let facts = [
        ("goodput.limits", "e2e:10s"),
        ("custom_metric.twice.expression", "2 * vllm:num_requests_waiting"),
        ("custom_metric.twice.unit", "requests"),
        ("custom_metric.never.expression", "rate(not_there_total)"),
        ("cost.scrapes", "7"),
        ("cost.hook_p99_ns", "140"),
        ("cost.dropped_rows", "3"),
    ];
    run.manifest
        .facts
        .extend(facts.map(|(key, value)| (key.to_owned(), value.to_owned())));
    for (at, request) in run.requests.iter_mut().enumerate() {
        if at % 2 == 0 {
            request.server_queue_ns = Some(10_000_000);
            request.server_prefill_ns = Some(20_000_000);
            request.server_decode_ns = Some(30_000_000);
            request.server_time_source = Some(vllm_metrics::TimeSource::Server);
        }
    }
    let summary = summarize(&Analysis::of(&run));
    assert_eq!(summary["goodput"]["limits"]["e2e_secs"], 10.0);
    let custom = &summary["custom_metrics"];
    assert_eq!(custom["twice"]["unit"], "requests");
    assert_eq!(custom["twice"]["series"][0]["max"], 4.0);
    let why = custom["never"]["unavailable"].as_str().unwrap();
    assert!(why.contains("not_there_total"), "{why}");
    let times = &summary["requests"]["server_times"];
    assert_eq!(times["reported"]["count"], run.requests.len().div_ceil(2));
    assert_eq!(times["reported"]["prefill_seconds"]["median"], 0.02);
    // This run has no histograms of these times, so nothing is estimated.
    assert_eq!(times["estimated"]["count"], 0);
    assert_eq!(times["unknown"], run.requests.len() / 2);
    let cost = &summary["own_cost"];
    assert_eq!((&cost["complete"], &cost["scrapes"]), (&true.into(), &7.0.into()));
    assert_eq!(cost["dropped"]["rows"], 3.0);
    assert_eq!(
        cost["dropped"]["samples"],
        serde_json::Value::Null,
        "not known is not 0"
    );
}

#[test]
fn metrics_are_drawn_by_name_and_a_wrong_name_gets_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let run = run();
    let names = metric_names(&Analysis::of(&run));
    assert!(names.contains(&"vllm:time_to_first_token_seconds".to_owned()));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = PlotOptions {
        dpi: 30.0,
        ..PlotOptions::default()
    };
    plot(
        &Analysis::of(&run),
        &all,
        &folder.path().join("all.png"),
        &options,
    )
    .unwrap();
    plot(
        &Analysis::of(&run),
        &all[..1],
        &folder.path().join("one.svg"),
        &options,
    )
    .unwrap();
    assert!(
        std::fs::read_to_string(folder.path().join("one.svg"))
            .unwrap()
            .starts_with("<svg")
    );

    let error = plot(
        &Analysis::of(&run),
        &["vllm:num_requests_runing"],
        &folder.path().join("no.png"),
        &options,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nearest names: vllm:num_requests_running"),
        "{error}"
    );
    let error = plot(
        &Analysis::of(&run),
        &all[..1],
        &folder.path().join("no.png"),
        &PlotOptions { dpi: 9e9, ..options },
    );
    assert!(matches!(error, Err(Error::Size { .. })));
}

/// A gauge every `interval_ns`, a minute long, beginning `late_ns` after the start.
fn ticking(endpoint: &str, interval_ns: i64, late_ns: i64) -> SeriesData {
    let mut out = series(
        "vllm:num_requests_running",
        r#"{"engine":"0"}"#,
        MetricType::Gauge,
        "",
        |_| 3.0,
    );
    out.def = Arc::new(SeriesDef {
        endpoint_url: endpoint.into(),
        ..(*out.def).clone()
    });
    out.timestamps_ns = (0..60 * S / interval_ns)
        .map(|i| START + late_ns + i * interval_ns)
        .collect();
    out.values = vec![3.0; out.timestamps_ns.len()];
    out.phases = Vec::new();
    out
}

#[test]
fn endpoints_that_are_not_scraped_at_the_same_moment_have_no_gaps() {
    let run = RunData {
        series: vec![ticking("http://a", S, 0), ticking("http://b", S, 2_000_000)],
        ..RunData::default()
    };
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    assert_eq!(view.frame.gaps, []);
    let one_fails = RunData {
        series: vec![
            ticking("http://a", S, 0),
            series("vllm:x", "{}", MetricType::Gauge, "", |_| 1.0),
        ],
        ..RunData::default()
    };
    assert_eq!(
        View::of(&Analysis::of(&one_fails)).frame.gaps,
        [],
        "one of them answered all the time"
    );
}

#[test]
fn what_is_scraped_less_often_than_the_rest_is_drawn_all_the_same() {
    let mut run = RunData {
        series: engine_series(0),
        ..RunData::default()
    };
    run.series.push(ticking("http://127.0.0.1:8000", S / 10, 0));
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let family = view.family("vllm:time_to_first_token_seconds");
    let lines = view.quantiles(&family, &[0.5], 100);
    assert!(
        lines[0].is_some(),
        "histograms come once a second, gauges ten times"
    );
    let rate = view
        .rate(&view.named("vllm:generation_tokens_total"), 100)
        .unwrap();
    assert!(rate.values.iter().any(|v| (v - 100.0).abs() < 1e-6), "{rate:?}");
}

#[test]
fn few_scrapes_go_by_what_the_run_was_told() {
    let mut run = RunData {
        series: vec![ticking("http://a", S, 0)],
        ..RunData::default()
    };
    // Two at the start, one at the edge, one at the end of a run shorter than a second.
    let times = [0, 13_000_000, 20_000_000, 800_000_000].map(|t| START + t);
    let series = &mut run.series[0];
    (series.timestamps_ns, series.values) = (times.to_vec(), vec![1.0; 4]);
    assert_eq!(View::of(&Analysis::of(&run)).frame.gaps.len(), 1);
    run.manifest
        .facts
        .insert("metrics.interval_secs".into(), "1".into());
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    assert_eq!(
        (view.frame.gaps.len(), view.frame.told_interval_ns()),
        (0, Some(S))
    );
}

#[test]
fn a_source_that_writes_its_series_one_after_another_has_no_gap_between_seconds() {
    let of_self = |seconds: &[i64]| -> Vec<usize> {
        let series = (0..6).map(|nth| {
            let mut own = series(
                "sut_gauge",
                &format!(r#"{{"nth":"{nth}"}}"#),
                MetricType::Gauge,
                "",
                |_| 1.0,
            );
            let def = Arc::make_mut(&mut own.def);
            (def.source, def.endpoint_url) = ("self".into(), "".into());
            own.timestamps_ns = seconds
                .iter()
                .map(|second| START + second * S + nth * 150_000)
                .collect();
            own.values = vec![1.0; seconds.len()];
            own
        });
        let run = RunData {
            series: series.collect(),
            ..RunData::default()
        };
        let analysis = Analysis::of(&run);
        let frame = View::of(&analysis).frame;
        frame
            .cadences
            .iter()
            .map(|cadence| frame.gaps_of(cadence).len())
            .collect()
    };
    let all: Vec<i64> = (0..60).collect();
    assert_eq!(of_self(&all), [0]);
    // Ten seconds without any of them still are one.
    let stopped: Vec<i64> = all
        .iter()
        .copied()
        .filter(|second| !(20..30).contains(second))
        .collect();
    assert_eq!(of_self(&stopped), [1]);
}
