//! Results and error messages of expressions.

use std::sync::Arc;

use super::*;
use run_model::{MetricType, SeriesDef};

const S: i64 = 1_000_000_000;

fn series(name: &str, labels: &str, metric_type: MetricType, values: &[f64]) -> SeriesData {
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: "".into(),
            source: "vllm".into(),
            endpoint_url: "u".into(),
        }),
        timestamps_ns: (0..values.len() as i64).map(|i| i * S).collect(),
        values: values.to_vec(),
        phases: vec![(0, "performance".into())],
    }
}

fn run() -> RunData {
    let (zero, one) = (r#"{"engine":"0"}"#, r#"{"engine":"1"}"#);
    RunData {
        series: vec![
            series("vllm:tokens_total", zero, MetricType::Counter, &[0.0, 10.0, 30.0]),
            series("vllm:tokens_total", one, MetricType::Counter, &[5.0, 6.0, 8.0]),
            series("running", zero, MetricType::Gauge, &[1.0, 2.0, 0.0]),
            series("running", one, MetricType::Gauge, &[1.0, 1.0, 4.0]),
            series(
                "h_bucket",
                r#"{"le":"1"}"#,
                MetricType::Histogram,
                &[0.0, 1.0, 3.0],
            ),
            series(
                "h_bucket",
                r#"{"le":"+Inf"}"#,
                MetricType::Histogram,
                &[0.0, 1.0, 3.0],
            ),
            series("h_sum", "{}", MetricType::Histogram, &[0.0, 0.25, 1.25]),
            series("h_count", "{}", MetricType::Histogram, &[0.0, 1.0, 3.0]),
        ],
        ..RunData::default()
    }
}

fn values(text: &str) -> Vec<Vec<f64>> {
    let out = Expression::parse(text)
        .unwrap()
        .evaluate(&run(), "mine", "x")
        .unwrap();
    assert!(
        out.iter()
            .all(|s| &*s.def.metric_name == "mine" && &*s.def.source == "derived")
    );
    out.into_iter().map(|s| s.values).collect()
}

#[test]
fn series_and_numbers_are_combined_as_written() {
    assert_eq!(values("running * 2 + 1"), [[3.0, 5.0, 1.0], [3.0, 3.0, 9.0]]);
    assert_eq!(values("1 + 2 * running{engine=\"0\"}"), [[3.0, 5.0, 1.0]]);
    assert_eq!(
        values("(1 + 2) * -running{ engine = \"1\" }"),
        [[-3.0, -3.0, -12.0]]
    );
    assert_eq!(values("1e1 - running{engine=\"1\"} - 2"), [[7.0, 7.0, 4.0]]);
}

#[test]
fn rates_sums_and_means() {
    assert_eq!(values("rate(vllm:tokens_total)"), [[10.0, 20.0], [1.0, 2.0]]);
    assert_eq!(values("sum(increase(vllm:tokens_total))"), [[11.0, 22.0]]);
    assert_eq!(values("mean(running)"), [[1.0, 1.5, 2.0]]);
    // Equal labels pair; a division by zero has no row.
    assert_eq!(
        values("rate(vllm:tokens_total) / running"),
        [vec![5.0], vec![1.0, 0.5]]
    );
    assert_eq!(
        values("running / sum(running)"),
        [[0.5, 2.0 / 3.0, 0.0], [0.5, 1.0 / 3.0, 1.0]]
    );
}

#[test]
fn quantiles_of_histograms() {
    let got = values("quantile(0.5, h)");
    assert_eq!(got[0][0], 0.25, "a single observation is exact");
    assert!((got[0][1] - 0.5).abs() < 0.3);
}

#[test]
fn errors_name_column_and_reason() {
    for (text, column, word) in [
        ("", 1, "ends"),
        ("1 +", 4, "ends"),
        ("running )", 9, "complete"),
        ("(running", 9, ") is expected"),
        ("median(running)", 1, "no function median"),
        ("quantile(1.5, h)", 10, "not a quantile"),
        ("running{engine=0}", 16, "\" is expected"),
        ("running{engine=\"0", 18, "closing quote"),
        ("1.2.3 * running", 1, "not a number"),
        ("running % 2", 9, "not expected"),
        ("é", 1, "not é"),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
    for (text, column, word) in [
        ("1 + 2", 1, "is a number"),
        ("1 + nothing", 5, "no series named nothing"),
        ("running{engine=\"7\"}", 1, "these labels"),
        ("quantile(0.5, running)", 1, "no histogram running"),
    ] {
        let error = Expression::parse(text)
            .unwrap()
            .evaluate(&run(), "mine", "")
            .unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
}

#[test]
fn deep_nesting_is_refused_not_a_crash() {
    let text = "(".repeat(100_000);
    assert!(Expression::parse(&text).unwrap_err().reason.contains("deep"));
    let text = "-".repeat(100_000);
    assert!(Expression::parse(&text).unwrap_err().reason.contains("deep"));
}
