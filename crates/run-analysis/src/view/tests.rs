use std::sync::Arc;
use std::time::Duration;

use run_model::{
    EventKind, EventRow, MetricType, Outcome, Record, RequestRow, RunData, Sample, SampleBatch, SeriesDef,
    SeriesId,
};

use super::{Analysis, Figures, LiveView};
use crate::derive::goodput::Limits;

const S: i64 = 1_000_000_000;

fn def(name: &str, labels: &str, metric_type: MetricType) -> Arc<SeriesDef> {
    Arc::new(SeriesDef {
        metric_name: name.into(),
        labels: labels.into(),
        metric_type,
        unit: "".into(),
        source: "vllm".into(),
        endpoint_url: "http://a/metrics".into(),
    })
}

fn defs() -> Vec<Arc<SeriesDef>> {
    use MetricType::{Counter, Gauge, Histogram};
    let ttft = "vllm:time_to_first_token_seconds";
    vec![
        def("vllm:num_requests_running", r#"{"engine":"0"}"#, Gauge),
        def("vllm:num_requests_running", r#"{"engine":"1"}"#, Gauge),
        def("vllm:generation_tokens_total", "{}", Counter),
        def("gpu_power_watts", r#"{"gpu":"0"}"#, Gauge),
        def("gpu_memory_total_bytes", r#"{"gpu":"0"}"#, Gauge),
        def(&format!("{ttft}_bucket"), r#"{"le":"0.1"}"#, Histogram),
        def(&format!("{ttft}_bucket"), r#"{"le":"+Inf"}"#, Histogram),
        def(&format!("{ttft}_sum"), "{}", Histogram),
        def(&format!("{ttft}_count"), "{}", Histogram),
        def("vllm:kv_cache_usage_perc", "{}", Gauge),
    ]
}

/// `seconds` scrapes: 100 tokens, 250 W and two first tokens of 50 ms per second.
fn records(seconds: i64) -> Vec<Record> {
    let mut out: Vec<Record> = defs()
        .into_iter()
        .enumerate()
        .map(|(id, def)| Record::Series(SeriesId(id as u32), def))
        .collect();
    for second in 0..seconds {
        let at_ns = second * S;
        let n = second as f64;
        let mut values = vec![
            3.0,
            4.0,
            100.0 * n,
            250.0,
            f64::NAN,
            2.0 * n,
            2.0 * n,
            0.1 * n,
            2.0 * n,
            0.5,
        ];
        if second == 0 {
            values[4] = 8e10;
        }
        let samples = values
            .iter()
            .enumerate()
            // The memory of a GPU is sampled once.
            .filter(|(_, value)| !value.is_nan())
            .map(|(id, value)| Sample {
                series: SeriesId(id as u32),
                timestamp_ns: at_ns,
                value: *value,
            })
            .collect();
        out.push(Record::Samples(Arc::new(SampleBatch {
            start_ns: at_ns,
            end_ns: at_ns,
            phase: Arc::from("performance"),
            samples,
        })));
        out.push(Record::Request(RequestRow {
            request_id: second as u64,
            sample_index: 0,
            batch_id: None,
            endpoint: 0,
            scheduled_ns: None,
            issued_ns: at_ns - S / 2,
            sent_ns: Some(at_ns - S / 2),
            first_token_ns: Some(at_ns - S / 4),
            done_ns: Some(at_ns),
            prompt_tokens: None,
            output_tokens: Some(11),
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            server_time_source: None,
            outcome: Outcome::Completed,
            reason: None,
        }));
    }
    out
}

fn live(keep: Duration, records: &[Record]) -> LiveView {
    let mut view = LiveView::new(keep).limits(Limits {
        ttft_secs: Some(0.3),
        ..Limits::default()
    });
    view.apply_all(records);
    view
}

#[test]
fn figures_are_those_of_the_window() {
    let view = live(Duration::from_secs(3600), &records(30));
    let figures = view.figures(Duration::from_secs(10));
    assert_eq!(figures.seconds(), 10.0);
    let engine = figures.engine;
    assert_eq!(engine.running, Some(7.0));
    assert_eq!(engine.waiting, None);
    assert_eq!(engine.kv_cache_usage_ratio, Some(0.5));
    assert_eq!(engine.generation_tokens_per_second, Some(100.0));
    let ttft = figures.server.ttft.unwrap();
    assert_eq!((ttft.count, ttft.estimated), (20.0, true));
    assert!(
        (ttft.mean - 0.05).abs() < 1e-9 && (0.0..0.1).contains(&ttft.p99),
        "{ttft:?}"
    );
    let client = figures.client;
    assert_eq!((client.completed, client.failed), (10, 0));
    assert_eq!(client.output_tokens_per_second, Some(11.0));
    let tpot = client.latencies.tpot.unwrap();
    assert_eq!((tpot.count, tpot.p50, tpot.estimated), (10.0, 0.025, false));
    assert_eq!(client.goodput.unwrap().per_second(), Some(1.0));
    let [gpu] = &figures.gpus[..] else {
        panic!("{figures:?}")
    };
    assert_eq!(
        (gpu.power_watts, gpu.memory_total_bytes),
        (Some(250.0), Some(8e10))
    );
    let energy = figures.energy.unwrap();
    assert_eq!((energy.joules, energy.joules_per_token), (2500.0, Some(2.5)));
}

#[test]
fn a_live_run_and_the_finished_one_have_the_same_figures() {
    let view = live(Duration::from_secs(3600), &records(40));
    let mut finished: RunData = view.data().clone();
    finished
        .manifest
        .facts
        .insert(crate::derive::goodput::LIMITS_FACT.into(), "ttft:300ms".into());
    let analysis = Analysis::of(&finished);
    assert_eq!(analysis.span_ns(), Some((-S / 2, 39 * S)));
    let (from_ns, to_ns) = (12 * S + 1, 31 * S);
    assert_eq!(
        analysis.figures(from_ns, to_ns),
        view.figures_between(from_ns, to_ns)
    );
}

#[test]
fn what_a_short_view_forgets_does_not_change_its_window() {
    let all = records(500);
    let (long, short) = (
        live(Duration::from_secs(3600), &all),
        live(Duration::from_secs(20), &all),
    );
    let window = Duration::from_secs(10);
    assert_eq!(long.figures(window), short.figures(window));
    assert_eq!(long.totals(), short.totals());
    let kept = |view: &LiveView| view.data().series.iter().map(|s| s.values.len()).max().unwrap();
    assert!((21..=27).contains(&kept(&short)), "{}", kept(&short));
    assert!(short.data().requests.len() <= 27);
    let mut names: Vec<&str> = short.data().series.iter().map(|s| &*s.def.metric_name).collect();
    let in_order = names.clone();
    names.sort_unstable();
    assert_eq!(names, in_order);
    assert_eq!(&*short.data().series[0].phases[0].1, "performance");
}

#[test]
fn nothing_recorded_has_no_figures() {
    let mut view = LiveView::new(Duration::from_secs(60));
    assert_eq!(view.figures(Duration::from_secs(10)), Figures::default());
    // A series that was never defined.
    view.apply(&Record::Samples(Arc::new(SampleBatch {
        start_ns: S,
        end_ns: S,
        phase: Arc::from(""),
        samples: vec![Sample {
            series: SeriesId(9),
            timestamp_ns: S,
            value: 1.0,
        }],
    })));
    view.apply(&Record::Event(EventRow::new(S, EventKind::Gap, "self", "gone")));
    assert_eq!(view.totals().warnings, 1);
    assert!(view.data().series.is_empty());
    let figures = view.figures(Duration::from_secs(10));
    assert_eq!(
        (figures.engine.running, figures.client.requests_per_second),
        (None, None)
    );
    assert!(figures.gpus.is_empty() && figures.energy.is_none());
}

#[test]
fn derived_series_are_those_of_the_functions() {
    let view = live(Duration::from_secs(3600), &records(20));
    let analysis = view.analysis();
    assert_eq!(
        analysis.derive().series,
        crate::derive::process(view.data()).series
    );
    assert_eq!(analysis.family("vllm:time_to_first_token_seconds").count(), 1);
    assert_eq!(analysis.named("vllm:num_requests_running").count(), 2);
}

#[test]
fn each_endpoint_has_its_own_figures() {
    let mut view = LiveView::new(Duration::from_secs(60));
    let gauge = |url: &str| {
        let def = def("vllm:num_requests_running", "{}", MetricType::Gauge);
        Arc::new(SeriesDef {
            endpoint_url: url.into(),
            ..(*def).clone()
        })
    };
    let sample = |id: u32, second: i64, value: f64| {
        Record::Samples(Arc::new(SampleBatch {
            start_ns: second * S,
            end_ns: second * S,
            phase: Arc::from(""),
            samples: vec![Sample {
                series: SeriesId(id),
                timestamp_ns: second * S,
                value,
            }],
        }))
    };
    view.apply_all(&[
        Record::Series(SeriesId(0), gauge("http://b/metrics")),
        Record::Series(SeriesId(1), gauge("http://a/metrics")),
        sample(0, 1, 5.0),
        sample(1, 1, 7.0),
        sample(1, 30, 9.0),
    ]);
    let [a, b] = &view.endpoints_between(20 * S, 30 * S)[..] else {
        panic!("two endpoints")
    };
    assert_eq!(
        (&*a.endpoint_url, a.engine.running),
        ("http://a/metrics", Some(9.0))
    );
    // Lost since the first second: no figure, but the time of its last sample.
    assert_eq!((b.engine.running, b.newest_ns), (None, Some(S)));
    assert_eq!(view.figures_between(0, S).engine.running, Some(12.0));
}

#[test]
fn the_facts_of_a_run_bring_their_limits() {
    let mut view = LiveView::new(Duration::from_secs(3600)).simulated(true);
    let facts = [(
        crate::derive::goodput::LIMITS_FACT.to_owned(),
        "ttft:300ms".to_owned(),
    )];
    view.describe(run_model::Manifest {
        facts: facts.into(),
        ..run_model::Manifest::default()
    });
    view.apply_all(&records(10));
    assert_eq!(view.totals().good, view.totals().completed);
    assert!(view.data().manifest.simulated);
}
