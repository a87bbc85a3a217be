//! Generated runs: an engine that fills up, slows down and recovers. Shared by tests and by the example
//! `sample_pages`.

pub(crate) mod cases;
mod charts;
mod findings;

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use report_page::model::*;

pub(crate) const START_NS: i64 = 1_795_278_210_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// What a generated run is like.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) seconds: i64,
    pub(crate) requests: usize,
    pub(crate) series: usize,
    /// Factor on all times of the server.
    pub(crate) slow: f64,
    pub(crate) gpu: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 300,
            requests: 2_400,
            series: 60,
            slow: 1.0,
            gpu: true,
        }
    }
}

pub(crate) fn at(seconds: f64) -> i64 {
    START_NS + (seconds * 1e9) as i64
}

/// Load from 0 to 1 over a run: a ramp, a plateau, a bad stretch, a drain.
fn load(share: f64) -> f64 {
    let ramp = (share / 0.08).min(1.0);
    let drain = ((1.0 - share) / 0.06).min(1.0);
    let bad = if (0.55..0.68).contains(&share) { 1.25 } else { 1.0 };
    0.75 * ramp * drain * bad
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn series(
    name: &str,
    unit: &str,
    source: &str,
    kind: Kind,
    labels: BTreeMap<String, String>,
    times: &[i64],
    value: impl FnMut(&i64) -> f64,
) -> Series {
    Series {
        name: name.into(),
        labels,
        unit: unit.into(),
        source: source.into(),
        kind,
        description: format!("Generated: {name}."),
        timestamps_ns: times.to_vec(),
        values: times.iter().map(value).collect(),
        gaps: Vec::new(),
    }
}

/// A run with everything in it.
pub(crate) fn run(name: &str, shape: &Shape) -> Run {
    let mut rng = ChaCha8Rng::seed_from_u64(shape.seed);
    let end = shape.seconds as f64;
    let (begin_steady, end_steady) = (at(end * 0.1), at(end * 0.93));
    let requests = requests(shape, &mut rng);
    let mut run = Run {
        name: name.into(),
        label: "vllm_metrics_20261121_143010.parquet".into(),
        origin_ns: START_NS,
        span: Span {
            start_ns: START_NS - 2 * SECOND,
            end_ns: at(end + 1.0),
        },
        verdict: Verdict {
            validity: Validity::Valid,
            reasons: vec!["all limits met, minimum duration and query count reached".into()],
        },
        steady: SteadyWindow {
            window: Some(Span {
                start_ns: begin_steady,
                end_ns: end_steady,
            }),
            text: "steady".into(),
        },
        headline: findings::headline(&requests, shape),
        diagnosis: Some(findings::diagnosis(end)),
        budgets: findings::budgets(shape),
        phases: vec![
            Phase {
                name: "warm-up".into(),
                span: Span {
                    start_ns: START_NS - 2 * SECOND,
                    end_ns: START_NS,
                },
            },
            Phase {
                name: "performance".into(),
                span: Span {
                    start_ns: START_NS,
                    end_ns: at(end),
                },
            },
        ],
        events: findings::events(end),
        series: all_series(shape, &mut rng),
        histograms: histograms(shape, &mut rng),
        servers: vec!["127.0.0.1:8000".into(), "127.0.0.1:8001".into()],
        tables: findings::tables(),
        record_file: Some("vllm_metrics_20261121_143010.parquet".into()),
        requests,
        ..Run::default()
    };
    if !shape.gpu {
        let reason = "this machine has no NVIDIA driver (libnvidia-ml.so.1 not found)";
        run.absent.push(Absent {
            what: "GPU utilisation, power, clocks, temperature".into(),
            reason: reason.into(),
        });
        run.absent.push(Absent {
            what: "Energy per output token".into(),
            reason: "it needs the power of a GPU".into(),
        });
    }
    run
}

fn requests(shape: &Shape, rng: &mut ChaCha8Rng) -> Vec<Request> {
    let end = shape.seconds as f64;
    let mut out: Vec<Request> = (0..shape.requests)
        .map(|i| {
            let share = (i as f64 + rng.random::<f64>()) / shape.requests as f64;
            let busy = load(share);
            let mut log_normal = |median: f64, sigma: f64| {
                let normal: f64 = (0..6).map(|_| rng.random::<f64>()).sum::<f64>() * 1.414 - 4.243;
                median * (sigma * normal).exp()
            };
            let prompt = log_normal(420.0, 0.7).clamp(8.0, 8_000.0) as u32;
            let output = log_normal(130.0, 0.6).clamp(1.0, 2_000.0) as u32;
            let queue = if busy > 0.85 {
                log_normal(0.9, 0.5)
            } else {
                log_normal(0.004, 0.6)
            } * shape.slow;
            let prefill = (0.018 + f64::from(prompt) * 45e-6) * log_normal(1.0, 0.1) * shape.slow;
            let step = (0.011 + 0.016 * busy * busy) * log_normal(1.0, 0.06) * shape.slow;
            let decode = f64::from(output.saturating_sub(1)) * step;
            let scheduled = at(share * (end - 8.0).max(end * 0.5));
            let ns = |seconds: f64| (seconds * 1e9) as i64;
            let issued = scheduled + ns(log_normal(120e-6, 0.8));
            let sent = issued + ns(log_normal(60e-6, 0.5));
            let first = sent + ns(0.0009 + queue + prefill);
            let failed = i % 977 == 13;
            Request {
                scheduled_ns: Some(scheduled),
                issued_ns: issued,
                sent_ns: Some(sent),
                first_token_ns: (!failed).then_some(first),
                done_ns: Some(if failed {
                    sent + ns(0.004)
                } else {
                    first + ns(decode + 0.0004)
                }),
                prompt_tokens: Some(prompt),
                output_tokens: (!failed).then_some(output),
                queue_ns: (!failed).then_some(ns(queue)),
                prefill_ns: (!failed).then_some(ns(prefill)),
                decode_ns: (!failed).then_some(ns(decode)),
                time_source: (!failed).then_some(TimeSource::Measured),
                outcome: if failed {
                    Outcome::Failed
                } else {
                    Outcome::Completed
                },
                server: (i % 2) as u32,
            }
        })
        .collect();
    // A few that the end of the run cut off.
    for request in out.iter_mut().rev().take(3) {
        request.done_ns = None;
        request.outcome = Outcome::Open;
    }
    out
}

fn all_series(shape: &Shape, rng: &mut ChaCha8Rng) -> Vec<Series> {
    let end = shape.seconds as f64;
    // Scrapes with the jitter that real ones have, and three at the start as the recorder takes them.
    let mut vllm: Vec<i64> = vec![START_NS - 2 * SECOND, START_NS - 4_000_000, START_NS + 3_000_000];
    vllm.extend((1..=shape.seconds).map(|s| START_NS + s * SECOND + rng.random_range(-6_000_000..6_000_000)));
    let nvml: Vec<i64> = (0..shape.seconds * 2)
        .map(|i| START_NS + i * SECOND / 2 + 40_000_000)
        .collect();
    let share = |ns: i64| ((ns - START_NS) as f64 / 1e9 / end).clamp(0.0, 1.0);
    let running = |ns: &i64, noise: f64| {
        (load(share(*ns)) * 250.0 * (1.0 + 0.06 * noise))
            .round()
            .min(256.0)
    };
    let mut noise = vec![0.0; vllm.len().max(nvml.len())];
    let mut last = 0.0;
    for value in &mut noise {
        last = 0.8 * last + rng.random_range(-0.6..0.6);
        *value = last;
    }
    let mut i = 0;
    let mut next = || {
        i += 1;
        noise[i % noise.len()]
    };
    let engine = || {
        labels(&[
            ("engine", "0"),
            ("model_name", "meta-llama/Llama-3.1-8B-Instruct"),
        ])
    };
    let gauge = Kind::Gauge;
    let mut all = vec![
        series(
            "vllm:num_requests_running",
            "requests",
            "vllm",
            gauge,
            engine(),
            &vllm,
            |ns| running(ns, next()),
        ),
        series(
            "vllm:num_requests_waiting",
            "requests",
            "vllm",
            gauge,
            engine(),
            &vllm,
            |ns| {
                if load(share(*ns)) > 0.85 {
                    (30.0 + 12.0 * next()).round().max(0.0)
                } else {
                    0.0
                }
            },
        ),
        series(
            "vllm:kv_cache_usage_perc",
            "ratio",
            "vllm",
            gauge,
            engine(),
            &vllm,
            |ns| (load(share(*ns)) * 1.02 + 0.02 * next()).clamp(0.0, 0.998),
        ),
    ];
    let tokens = |ns: &i64, n: f64| load(share(*ns)) * 3_200.0 * (1.0 + 0.05 * n) / shape.slow;
    all.push(series(
        "output_tokens_per_second",
        "tokens/s",
        "derived",
        Kind::Derived,
        engine(),
        &vllm,
        |ns| tokens(ns, next()),
    ));
    all.push(series(
        "prompt_tokens_per_second",
        "tokens/s",
        "derived",
        Kind::Derived,
        engine(),
        &vllm,
        |ns| 3.1 * tokens(ns, next()),
    ));
    for (quantile, factor) in [("p50", 1.0), ("p90", 1.9), ("p99", 3.4)] {
        let by = |name: &str| labels(&[("metric", name), ("quantile", quantile)]);
        all.push(series(
            "client_latency",
            "seconds",
            "derived",
            Kind::Derived,
            by("ttft"),
            &vllm,
            |ns| {
                let queue = if load(share(*ns)) > 0.85 { 0.9 } else { 0.004 };
                (queue + 0.04) * factor * shape.slow * (1.0 + 0.08 * next().abs())
            },
        ));
        all.push(series(
            "client_latency",
            "seconds",
            "derived",
            Kind::Derived,
            by("tpot"),
            &vllm,
            |ns| {
                (0.011 + 0.016 * load(share(*ns)).powi(2))
                    * factor.sqrt()
                    * shape.slow
                    * (1.0 + 0.02 * next().abs())
            },
        ));
    }
    let mut total = 0.0;
    all.push(series(
        "vllm:num_preemptions_total",
        "",
        "vllm",
        Kind::Counter,
        engine(),
        &vllm,
        |ns| {
            if load(share(*ns)) > 0.85 {
                total += (next().abs() * 4.0).round();
            }
            total
        },
    ));
    if shape.gpu {
        for gpu in ["0", "1"] {
            let by = || labels(&[("gpu", gpu), ("name", "NVIDIA H100 80GB HBM3")]);
            all.push(series(
                "gpu_utilization_ratio",
                "ratio",
                "nvml",
                gauge,
                by(),
                &nvml,
                |ns| (load(share(*ns)) * 1.3).min(0.99),
            ));
            all.push(series(
                "gpu_power_watts",
                "watts",
                "nvml",
                gauge,
                by(),
                &nvml,
                |ns| (118.0 + 520.0 * load(share(*ns)) + 14.0 * next()).round(),
            ));
            all.push(series(
                "gpu_sm_clock_hertz",
                "hertz",
                "nvml",
                gauge,
                by(),
                &nvml,
                |ns| {
                    if load(share(*ns)) > 0.85 { 1_755e6 } else { 1_980e6 }
                },
            ));
        }
        // Read from a sixth of the run on, until a tenth before its end.
        let mut throttled = 0.0;
        all.push(series(
            "gpu_throttle_seconds_total",
            "seconds",
            "nvml",
            Kind::Counter,
            labels(&[("gpu", "0"), ("reason", "sw_power_cap")]),
            &nvml[nvml.len() / 6..nvml.len() * 9 / 10],
            |_| {
                throttled += 0.125;
                throttled
            },
        ));
    }
    all.push(series(
        "host_cpu_ratio",
        "ratio",
        "host",
        gauge,
        BTreeMap::new(),
        &vllm,
        |_| (0.22 + 0.03 * next()).max(0.01),
    ));
    all.push(series(
        "scrape_duration_seconds",
        "seconds",
        "self",
        gauge,
        BTreeMap::new(),
        &vllm,
        |_| 0.0042 * (1.0 + 0.3 * next().abs()),
    ));
    // The long tail of a real page: counters that count, gauges that stand still.
    let mut k = 0;
    while all.len() < shape.series {
        let by = labels(&[
            ("engine", "0"),
            ("le", &format!("{}", 0.001 * f64::from(1 << (k % 12)))),
            ("family", &format!("{}", k / 12)),
        ]);
        let mut total = 0.0;
        let constant = k % 4 == 0;
        let rate = f64::from(k % 11) * 3.0;
        all.push(series(
            "vllm:generated_bucket_total",
            "",
            "vllm",
            Kind::Counter,
            by,
            &vllm,
            |ns| {
                if !constant {
                    total += (rate * load(share(*ns)) * (1.0 + 0.4 * next())).round().max(0.0);
                }
                total
            },
        ));
        k += 1;
    }
    all
}

fn histograms(shape: &Shape, rng: &mut ChaCha8Rng) -> Vec<Histogram> {
    let bounds: Vec<f64> = [1.0, 2.0, 5.0]
        .iter()
        .flat_map(|m| (-3..=1).map(move |e| m * 10_f64.powi(e)))
        .collect();
    let mut bounds = bounds;
    bounds.sort_by(f64::total_cmp);
    let mut one = |id: &str, title: &str, unit: &str, scale: f64, width: f64, total: f64| {
        let columns = (0..shape.seconds)
            .map(|s| {
                let busy = load(s as f64 / shape.seconds as f64);
                let middle = scale * (1.0 + 2.0 * busy.powi(4) * 4.0) * shape.slow;
                let counts = (0..=bounds.len())
                    .map(|b| {
                        let bound = bounds.get(b).copied().unwrap_or(100.0);
                        let z = (bound / middle).ln() / width;
                        (total * busy * (-z * z / 2.0).exp() * rng.random_range(0.7..1.3)).round() as u64
                    })
                    .collect();
                HistogramColumn {
                    start_ns: START_NS + s * SECOND,
                    end_ns: START_NS + (s + 1) * SECOND,
                    counts,
                }
            })
            .collect();
        Histogram {
            name: format!("vllm:{id}"),
            id: id.replace('_', "-"),
            title: title.into(),
            labels: labels(&[("engine", "0")]),
            unit: unit.into(),
            source: "vllm".into(),
            description: "as the server counts it".into(),
            bounds: bounds
                .iter()
                .map(|b| if unit == "tokens" { b * 1000.0 } else { *b })
                .collect(),
            columns,
        }
    };
    vec![
        one(
            "time_to_first_token_seconds",
            "Time to first token (server)",
            "seconds",
            0.06,
            0.6,
            6.0,
        ),
        one(
            "inter_token_latency_seconds",
            "Inter-token latency (server)",
            "seconds",
            0.014,
            0.4,
            900.0,
        ),
        one(
            "iteration_tokens_total",
            "Tokens per engine step",
            "tokens",
            0.12,
            0.8,
            40.0,
        ),
    ]
}

/// A page of runs that were generated.
pub(crate) fn page(title: &str, runs: Vec<Run>) -> Page {
    Page {
        title: title.into(),
        facts: vec![
            "meta-llama/Llama-3.1-8B-Instruct".into(),
            "vLLM 0.32.0".into(),
            "2 × NVIDIA H100 80GB HBM3".into(),
        ],
        generator: "sut 0.1.0".into(),
        runs,
        charts: charts::all(),
        limits: [(RequestMetric::Ttft, 2.0), (RequestMetric::Tpot, 0.1)]
            .map(|(metric, seconds)| RequestLimit {
                metric,
                label: "limit p99".into(),
                seconds,
            })
            .to_vec(),
        ..Page::default()
    }
}
