//! Conditions: what they yield, and that a view of the newest records yields the same as the whole run.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use run_model::labels::Labels;
use run_model::{MetricType, Record, Sample, SampleBatch, SeriesDef, SeriesId};

use super::*;
use crate::view::LiveView;

const S: i64 = 1_000_000_000;
const LOOKBACK: Duration = Duration::from_secs(3);

fn def(name: &str, labels: &str) -> SeriesDef {
    SeriesDef {
        metric_name: name.into(),
        labels: labels.into(),
        metric_type: MetricType::Gauge,
        unit: "".into(),
        source: "vllm".into(),
        endpoint_url: "http://h:1/metrics".into(),
    }
}

fn run(series: &[(&str, &str, &[f64])]) -> RunData {
    let mut run = RunData {
        series: series
            .iter()
            .map(|(name, labels, values)| SeriesData {
                def: Arc::new(def(name, labels)),
                timestamps_ns: (0..values.len() as i64).map(|i| i * S).collect(),
                values: values.to_vec(),
                phases: Vec::new(),
            })
            .collect(),
        ..RunData::default()
    };
    crate::derive::series::sort(&mut run.series);
    run
}

fn example() -> RunData {
    let buckets = |le: &str| format!(r#"{{"le":"{le}"}}"#);
    run(&[
        ("kv", r#"{"engine":"0"}"#, &[0.5, 0.9, 0.97, 0.98]),
        ("kv", r#"{"engine":"1"}"#, &[0.1, 0.1, 0.2, 0.1]),
        ("preempted_total", r#"{"engine":"0"}"#, &[0.0, 0.0, 4.0, 10.0]),
        ("preempted_total", r#"{"engine":"1"}"#, &[7.0, 7.0, 2.0, 2.0]),
        ("limit", "{}", &[8.0; 4]),
        ("h_bucket", &buckets("1"), &[0.0, 0.0, 0.0, 4.0]),
        ("h_bucket", &buckets("2"), &[0.0, 0.0, 0.0, 8.0]),
        ("h_bucket", &buckets("+Inf"), &[0.0, 0.0, 0.0, 10.0]),
    ])
}

/// Results at 3 s, `engine=value` of each.
fn holds(text: &str) -> Result<Vec<String>, String> {
    let condition = Condition::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    match condition.at(&example(), 3 * S, LOOKBACK) {
        Ok(found) => Ok(found
            .into_iter()
            .map(|(labels, value)| {
                let engine = labels.get("engine").map_or("", String::as_str);
                format!("{engine}={value}")
            })
            .collect()),
        Err(missing) => Err(missing.to_string()),
    }
}

#[test]
fn conditions_yield_what_promql_yields() {
    for (text, wanted) in [
        ("kv > 0.95", &["0=0.98"][..]),
        ("0.95 < kv", &["0=0.98"]),
        ("kv != 0.98", &["1=0.1"]),
        ("kv{engine=~\"0|7\"}", &["0=0.98"]),
        ("kv{engine!~\"0\"}", &["1=0.1"]),
        ("kv{instance=\"h:1\",other=\"\"} > 1", &[]),
        ("increase(preempted_total[10s])", &["0=10", "1=2"]),
        ("rate(preempted_total[2s])", &["0=6", "1=0"]),
        ("delta(kv{engine=\"0\"}[10s]) >= 0.4", &["0=0.48"]),
        ("max_over_time(kv[2s])", &["0=0.98", "1=0.2"]),
        ("min_over_time(kv[2s])", &["0=0.97", "1=0.1"]),
        ("count_over_time(kv[1m30s])", &["0=4", "1=4"]),
        ("kv > 0.95 and rate(preempted_total[2s]) > 0", &["0=0.98"]),
        ("kv > 0.95 and on() limit == 9", &[]),
        ("kv unless kv > 0.95", &["1=0.1"]),
        ("kv > 0.95 or kv < 0.15", &["0=0.98", "1=0.1"]),
        ("kv > 0.9 or missing > 1", &["0=0.98"]),
        ("kv > 0.9 unless missing > 1", &["0=0.98"]),
        ("count(kv > 0.05)", &["=2"]),
        ("sum by (engine) (preempted_total) > 5", &["0=10"]),
        ("max without (engine) (preempted_total)", &["=10"]),
        ("avg(preempted_total) by (nothing)", &["=6"]),
        ("preempted_total / on () count(limit)", &[]),
        ("absent(kv)", &[]),
        ("absent(missing{engine=\"7\"})", &["7=1"]),
        ("histogram_quantile(0.5, rate(h_bucket[2s]))", &["=1.25"]),
        (
            "histogram_quantile(0.95, sum by (le) (rate(h_bucket[2s])))",
            &["=2"],
        ),
        ("-kv{engine=\"0\"} < -0.5 * 1", &["0=-0.98"]),
        ("kv / 0 > 1e9", &["0=inf", "1=inf"]),
    ] {
        match holds(text) {
            Ok(found) => assert_eq!(found, wanted, "{text}"),
            Err(missing) => assert!(
                missing.contains("several series") && wanted.is_empty(),
                "{text}: {missing}"
            ),
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    for (text, part) in [
        ("missing > 1", "no sample of missing in 3s"),
        ("kv{engine=\"9\"} > 1", "no sample of kv with these labels"),
        ("rate(kv[500ms]) > 1", "not two samples of kv in 500ms"),
        ("kv > 0 and missing", "no sample of missing"),
        ("sum(missing) + kv", "no sample of missing"),
        ("preempted_total / on() kv", "several series"),
    ] {
        let missing = holds(text).unwrap_err();
        assert!(missing.contains(part), "{text}: {missing}");
    }
    // A sample from before the lookback is not current.
    let condition = Condition::parse("kv > 0").unwrap();
    assert!(condition.at(&example(), 7 * S, LOOKBACK).is_err());
    assert!(condition.at(&example(), -S, LOOKBACK).is_err());
}

#[test]
fn what_is_not_promql_is_refused_with_its_column() {
    for (text, column, word) in [
        ("rate(kv) > 1", 1, "rate(kv[1m])"),
        ("1 < increase(kv)", 5, "increase(kv[1m])"),
        ("mean(kv) > 1", 1, "avg"),
        (
            "quantile(0.5, h) > 1",
            1,
            "histogram_quantile(0.5, rate(h_bucket[1m]))",
        ),
        ("1 > 2", 1, "numbers"),
        ("kv and 1", 1, "both sides"),
        ("kv + on(a) 1", 1, "both sides"),
        ("1 + 2", 1, "is a number"),
        ("sum(1)", 5, "needs series"),
        ("rate(kv[])", 9, "a window is"),
        ("rate(kv[2w])", 10, "unit of time"),
        ("rate(kv[2d])", 9, "a window is"),
        ("rate(kv[5s)", 11, "] is expected"),
        ("kv{a=~\"(\"}", 7, "not a regular expression"),
        ("kv > bool 1", 10, "bool is not supported"),
        ("kv * on(a) group_left kv", 22, "group_left is not supported"),
        ("kv >", 5, "ends"),
        ("sum by kv", 8, "( is expected"),
        ("delta(kv)", 9, "[ is expected"),
    ] {
        let error = Condition::parse(text).unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
    let chain = vec!["kv"; 100_000].join("+");
    assert!(Condition::parse(&chain).unwrap_err().reason.contains("operators"));
}

#[test]
fn custom_metrics_take_conditions_too() {
    let expression = Expression::parse("kv > 0.9 and increase(preempted_total[5s]) > 1").unwrap();
    let found = expression.evaluate(&example(), "mine", "").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].timestamps_ns[..], &found[0].values[..]),
        (&[2 * S, 3 * S][..], &[0.97, 0.98][..])
    );
    let error = Expression::parse("nothing > 1")
        .unwrap()
        .evaluate(&example(), "mine", "")
        .unwrap_err();
    assert!(error.to_string().contains("no series named nothing"));
    assert!(Expression::parse("rate(kv) > 1").is_err());
}

/// Conditions of every kind over two gauges, two counters and a histogram.
const CONDITIONS: &[&str] = &[
    "g > 3",
    "g{i=\"0\"} - on() g{i=\"1\"} < 2",
    "rate(c_total[4s]) > 0.5",
    "increase(c_total[7s]) >= 1 and g > 2",
    "sum(increase(c_total[5s])) > 3 or absent(g)",
    "delta(g[6s]) != 0 unless g == 1",
    "avg_over_time(g[5s]) > avg by (i) (g)",
    "max_over_time(g[9s]) - min_over_time(g[3s]) > 1",
    "count_over_time(c_total[3s]) < 3",
    "histogram_quantile(0.5, rate(h_bucket[6s])) > 0.7",
];

/// One scrape: how long after the one before, in tenths of a second, and a value for each series that it has.
fn scrapes() -> impl Strategy<Value = Vec<(i64, Vec<Option<u8>>)>> {
    let value = proptest::option::weighted(0.9, 0..12_u8);
    proptest::collection::vec((1..30_i64, proptest::collection::vec(value, 6)), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// After every scrape, a view that keeps the longest window and the lookback yields exactly what the whole run yields.
    #[test]
    fn incremental_evaluation_is_batch_evaluation(scrapes in scrapes(), at_offset in 0..20_i64) {
        let defs = [
            def("g", r#"{"i":"0"}"#),
            def("g", r#"{"i":"1"}"#),
            def("c_total", r#"{"i":"0"}"#),
            def("c_total", r#"{"i":"1"}"#),
            def("h_bucket", r#"{"le":"1"}"#),
            def("h_bucket", r#"{"le":"+Inf"}"#),
        ];
        let conditions: Vec<Condition> = CONDITIONS.iter().map(|text| Condition::parse(text).unwrap()).collect();
        let longest = conditions.iter().map(Condition::longest_window).max().unwrap();
        let mut live = LiveView::new(longest + LOOKBACK);
        let mut whole = LiveView::new(Duration::from_secs(1_000_000));
        let mut apply = |records: &[Record]| {
            live.apply_all(records);
            whole.apply_all(records);
            (live.clone(), whole.clone())
        };
        for (id, def) in defs.iter().enumerate() {
            apply(&[Record::Series(SeriesId(id as u32), Arc::new(def.clone()))]);
        }
        let mut now_ns = 0;
        let mut evaluated: Vec<(i64, Vec<Result<InstantVector, NoData>>)> = Vec::new();
        let evaluate = |run: &RunData, at_ns: i64| -> Vec<_> {
            conditions.iter().map(|condition| condition.at(run, at_ns, LOOKBACK)).collect()
        };
        let mut last = None;
        for (after, values) in scrapes {
            now_ns += after * S / 10;
            let samples = values.iter().enumerate().filter_map(|(id, value)| Some(Sample {
                series: SeriesId(id as u32),
                timestamp_ns: now_ns,
                value: f64::from((*value)?),
            }));
            let batch = SampleBatch { samples: samples.collect(), start_ns: now_ns, end_ns: now_ns, ..SampleBatch::default() };
            let (live, whole) = apply(&[Record::Samples(Arc::new(batch))]);
            let at_ns = now_ns + at_offset * S / 10;
            evaluated.push((at_ns, evaluate(live.data(), at_ns)));
            last = Some(whole);
        }
        let whole = last.unwrap();
        for (at_ns, found) in evaluated {
            // The batch evaluation sees later samples, too, up to the instant.
            let known_ns = at_ns - at_offset * S / 10;
            let until = until(whole.data(), known_ns);
            prop_assert_eq!(evaluate(&until, at_ns), found, "at {} ns", at_ns);
        }
    }
}

/// The part of a run up to a time.
fn until(run: &RunData, until_ns: i64) -> RunData {
    let mut run = run.clone();
    for series in &mut run.series {
        let end = series.timestamps_ns.partition_point(|t| *t <= until_ns);
        series.timestamps_ns.truncate(end);
        series.values.truncate(end);
    }
    run
}

#[test]
fn an_instance_of_its_own_is_kept() {
    let mut run = run(&[("x", r#"{"instance":"a"}"#, &[1.0]), ("x", "{}", &[1.0])]);
    run.series[0].phases.clear();
    let found = Condition::parse("x").unwrap().at(&run, 0, LOOKBACK).unwrap();
    let instances: Vec<&str> = found
        .iter()
        .map(|(labels, _): &(Labels, f64)| labels["instance"].as_str())
        .collect();
    assert_eq!(instances, ["a", "h:1"]);
}
