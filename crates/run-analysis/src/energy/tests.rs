//! Energy of synthetic runs with known true energy.

use std::sync::Arc;

use super::*;
use run_model::{MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef};

const SECOND: i64 = 1_000_000_000;

fn series(name: &str, labels: &str, points: &[(f64, f64)]) -> SeriesData {
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type: MetricType::Gauge,
            unit: "".into(),
            source: "nvml".into(),
            endpoint_url: "".into(),
        }),
        timestamps_ns: points.iter().map(|(at, _)| (at * 1e9) as i64).collect(),
        values: points.iter().map(|(_, value)| *value).collect(),
        phases: Vec::new(),
    }
}

fn request(issued: f64, first: f64, done: f64, prompt: u32, output: u32) -> RequestRow {
    let ns = |seconds: f64| (seconds * 1e9) as i64;
    RequestRow {
        request_id: 0,
        sample_index: 0,
        batch_id: None,
        endpoint: 0,
        scheduled_ns: None,
        issued_ns: ns(issued),
        sent_ns: Some(ns(issued)),
        first_token_ns: Some(ns(first)),
        done_ns: Some(ns(done)),
        prompt_tokens: Some(prompt),
        output_tokens: Some(output),
        server_queue_ns: None,
        server_prefill_ns: None,
        server_decode_ns: None,
        server_time_source: None,
        outcome: Outcome::Completed,
        reason: None,
    }
}

const GPU0: &str = r#"{"gpu":"0","uuid":"GPU-0"}"#;
const GPU1: &str = r#"{"gpu":"1","uuid":"GPU-1"}"#;

fn every_second(to: usize, value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    (0..=to).map(|i| (i as f64, value(i as f64))).collect()
}

#[test]
fn the_counter_comes_first_and_each_gpu_takes_its_best() {
    let run = RunData {
        series: vec![
            series(
                "gpu_energy_joules_total",
                GPU0,
                &every_second(20, |t| 1e6 + 100.0 * t),
            ),
            series("gpu_power_watts", GPU0, &every_second(20, |_| 900.0)),
            series("gpu_energy_joules_total", GPU1, &every_second(20, |_| 0.0)),
            series("gpu_power_instant_watts", GPU1, &every_second(20, |_| 50.0)),
            series("gpu_power_watts", GPU1, &every_second(20, |_| 900.0)),
        ],
        ..RunData::default()
    };
    let window = energy_between(&run, 2 * SECOND, 12 * SECOND).unwrap();
    assert_eq!(
        window.joules(),
        1500.0,
        "the counter's total since boot is not in it"
    );
    assert_eq!(window.error_joules(), 0.0);
    let methods: Vec<_> = window.gpus.iter().map(|gpu| gpu.method.as_str()).collect();
    assert_eq!(methods, ["energy_counter", "instant_power_integral"]);
    assert_eq!((window.sampling_rate_hz(), window.mean_watts()), (1.0, 150.0));
}

#[test]
fn an_edge_inside_a_step_is_bounded_by_the_step() {
    let run = RunData {
        series: vec![series(
            "gpu_energy_joules_total",
            GPU0,
            &every_second(20, |t| 100.0 * t),
        )],
        ..RunData::default()
    };
    let window = energy_between(&run, 2 * SECOND + SECOND / 4, 12 * SECOND).unwrap();
    assert_eq!((window.joules(), window.error_joules()), (975.0, 75.0));
    let half = energy_between(&run, 15 * SECOND, 25 * SECOND).unwrap();
    assert_eq!(
        (half.joules(), half.covered_ratio()),
        (500.0, 0.5),
        "nothing is made up after the last sample"
    );
    assert_eq!(half.mean_watts(), 100.0);
}

#[test]
fn averaged_power_carries_the_error_of_its_lag() {
    let power = |t: f64| if (5.0..15.0).contains(&t) { 700.0 } else { 100.0 };
    let run = RunData {
        series: vec![series("gpu_power_watts", GPU0, &every_second(20, power))],
        ..RunData::default()
    };
    let window = energy_between(&run, 5 * SECOND, 15 * SECOND).unwrap();
    assert_eq!(window.method().unwrap().as_str(), "average_power_integral");
    let truth = 7000.0;
    assert!(
        (window.joules() - truth).abs() <= window.error_joules(),
        "{window:?}"
    );
    assert!(
        window.error_joules() >= 600.0 && window.error_joules() < 2500.0,
        "{window:?}"
    );
}

#[test]
fn no_figure_is_better_than_a_wrong_one() {
    let run = RunData {
        series: vec![series("gpu_energy_joules_total", GPU0, &every_second(20, |t| t))],
        ..RunData::default()
    };
    assert_eq!(
        energy_between(&run, 0, SECOND / 2),
        Err(EnergyUnavailable::WindowTooShort)
    );
    assert_eq!(
        energy_between(&run, 30 * SECOND, 40 * SECOND),
        Err(EnergyUnavailable::NothingInWindow)
    );
    assert_eq!(
        energy_between(&RunData::default(), 0, SECOND * 9),
        Err(EnergyUnavailable::NoSource)
    );
    assert_eq!(report(&run), Err(EnergyUnavailable::NoRequests));
}

#[test]
fn energy_per_token_and_request() {
    let run = RunData {
        series: vec![series(
            "gpu_energy_joules_total",
            GPU0,
            &every_second(20, |t| 100.0 * t),
        )],
        requests: vec![request(0.0, 1.0, 5.0, 10, 30), request(1.0, 2.0, 10.0, 10, 20)],
        ..RunData::default()
    };
    let report = report(&run).unwrap();
    assert_eq!(report.joules_per_output_token.unwrap().value, 20.0);
    assert_eq!(report.joules_per_request.unwrap().value, 500.0);
    assert_eq!(report.output_tokens_per_joule.unwrap().value, 0.05);
    let json = report.to_json();
    assert_eq!(json["measurement_method"], "energy_counter");
    assert_eq!(json["energy_joules"]["value"], 1000.0);
    assert!(
        json["split"]["unavailable"].as_str().unwrap().contains("too few"),
        "{json}"
    );
}

#[test]
fn tokens_of_the_server_stand_in_for_rows_without_counts() {
    let mut row = request(0.0, 1.0, 10.0, 10, 30);
    row.output_tokens = None;
    let run = RunData {
        series: vec![
            series("gpu_energy_joules_total", GPU0, &every_second(20, |t| 100.0 * t)),
            series(
                "vllm:generation_tokens_total",
                "{}",
                &every_second(20, |t| 5.0 * t),
            ),
        ],
        requests: vec![row],
        ..RunData::default()
    };
    let report = report(&run).unwrap();
    assert_eq!(report.output_tokens, Some((50.0, "counters")));
    assert_eq!(report.joules_per_output_token.unwrap().value, 20.0);
}

/// Two minutes of bursts: prefill for one of every seven seconds, decode most of the time, some idle.
fn bursts(prefill: f64, decode: f64, base: f64) -> RunData {
    let prefill_rate = |t: usize| if t.is_multiple_of(7) { 4000.0 } else { 0.0 };
    let decode_rate = |t: usize| {
        if t % 11 < 8 {
            300.0 + 50.0 * (t % 3) as f64
        } else {
            0.0
        }
    };
    let (mut joules, mut prompt, mut cached, mut output) = (0.0, 0.0, 0.0, 0.0);
    let mut points: [Vec<(f64, f64)>; 4] = Default::default();
    for t in 0..=120 {
        for (points, value) in points.iter_mut().zip([joules, prompt, cached, output]) {
            points.push((t as f64, value));
        }
        joules += prefill * prefill_rate(t) + decode * decode_rate(t) + base;
        // A fifth of the prompt tokens come from the cache and need no energy.
        prompt += prefill_rate(t) * 1.25;
        cached += prefill_rate(t) * 0.25;
        output += decode_rate(t);
    }
    RunData {
        series: vec![
            series("gpu_energy_joules_total", GPU0, &points[0]),
            series("vllm:prompt_tokens_total", "{}", &points[1]),
            series("vllm:prompt_tokens_cached_total", "{}", &points[2]),
            series("vllm:generation_tokens_total", "{}", &points[3]),
        ],
        ..RunData::default()
    }
}

#[test]
fn prefill_and_decode_are_told_apart() {
    let split = split(&bursts(0.05, 0.8, 70.0), 0, 120 * SECOND).unwrap();
    assert!(
        (split.joules_per_prefill_token.value - 0.05).abs() < 1e-6,
        "{split:?}"
    );
    assert!(
        (split.joules_per_decode_token.value - 0.8).abs() < 1e-6,
        "{split:?}"
    );
    assert!((split.base_watts.value - 70.0).abs() < 1e-3, "{split:?}");
    let parts = split.prefill_joules().value + split.decode_joules().value + split.base_joules().value;
    assert!((parts - split.joules).abs() < 1e-3 * split.joules);
    assert_eq!((split.tokens_from, split.fit.rows), ("counters", 120));
}

#[test]
fn a_steady_load_cannot_be_split_and_says_so() {
    let run = RunData {
        series: vec![
            series("gpu_energy_joules_total", GPU0, &every_second(60, |t| 500.0 * t)),
            series("vllm:prompt_tokens_total", "{}", &every_second(60, |t| 100.0 * t)),
            series(
                "vllm:generation_tokens_total",
                "{}",
                &every_second(60, |t| 300.0 * t),
            ),
        ],
        ..RunData::default()
    };
    assert_eq!(
        split(&run, 0, 60 * SECOND),
        Err(SplitUnavailable::Fit(FitError::Collinear))
    );
    assert_eq!(
        split(&RunData::default(), 0, SECOND),
        Err(SplitUnavailable::NoEnergy)
    );
}

#[test]
fn without_counters_the_rows_of_the_client_carry_the_tokens() {
    let mut run = bursts(0.0, 0.0, 0.0);
    // Each request: one second of prefill, then decode; the only sources of energy.
    let mut joules = vec![0.0; 122];
    let mut requests = Vec::new();
    for (i, start) in (0..110usize).step_by(3).enumerate() {
        let (prompt, output) = (1000 + 400 * (i % 4) as u32, 101 + 60 * (i % 3) as u32);
        let decode_seconds = 2 + i % 5;
        let from = start as f64;
        requests.push(request(
            from,
            from + 1.0,
            from + 1.0 + decode_seconds as f64,
            prompt,
            output,
        ));
        joules[start + 1] += 0.05 * f64::from(prompt);
        for second in 0..decode_seconds {
            joules[start + 2 + second] += 0.8 * f64::from(output - 1) / decode_seconds as f64;
        }
    }
    let mut total = 0.0;
    let counter: Vec<(f64, f64)> = (0..=120)
        .map(|t| {
            total += joules[t] + 70.0;
            (t as f64, total)
        })
        .collect();
    run.series = vec![series("gpu_energy_joules_total", GPU0, &counter)];
    run.requests = requests;
    let split = split(&run, 0, 110 * SECOND).unwrap();
    assert_eq!(split.tokens_from, "requests");
    assert!(
        (split.joules_per_prefill_token.value - 0.05).abs() < 1e-3,
        "{split:?}"
    );
    assert!(
        (split.joules_per_decode_token.value - 0.8).abs() < 1e-2,
        "{split:?}"
    );
}

#[test]
fn a_split_that_the_run_does_not_determine_is_absent_with_its_reason() {
    // Decode costs nothing here: its estimate scatters about 0, on either side.
    let mut run = bursts(0.05, 0.0, 70.0);
    let scatter = |i: usize| [37.0, -12.0, 25.0, -41.0, 8.0, -19.0, 30.0][i % 7];
    for series in &mut run.series {
        if &*series.def.metric_name == "gpu_energy_joules_total" {
            for (i, value) in series.values.iter_mut().enumerate() {
                *value += scatter(i);
            }
        }
    }
    let why = split(&run, 0, 120 * SECOND).unwrap_err();
    assert_eq!(why, SplitUnavailable::Undetermined("a decode token"));
    assert!(
        why.to_string()
            .contains("does not determine the energy of a decode token")
    );
}
