//! Compares the estimates and linear interpolation with the truth.

use super::super::quantile;
use super::*;

/// Upper bounds of vLLM's histogram of times to the first token, in seconds.
const BOUNDS: &[f64] = &[
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
    160.0,
    640.0,
    2560.0,
    f64::INFINITY,
];

/// A small uniform random generator (splitmix64): the tables must be the same everywhere.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

type Draw = fn(&mut Random) -> f64;

const DISTRIBUTIONS: &[(&str, Draw)] = &[
    ("log-normal, median 60 ms, sigma 0.6", |r| {
        0.06 * (0.6 * r.normal()).exp()
    }),
    ("log-normal, median 300 ms, sigma 1", |r| 0.3 * r.normal().exp()),
    ("exponential, mean 150 ms", |r| -0.15 * (1.0 - r.unit()).ln()),
    ("normal, 180 ms ± 20 ms", |r| {
        (0.18 + 0.02 * r.normal()).max(0.002)
    }),
    ("uniform, 0.3 s to 2 s", |r| 0.3 + 1.7 * r.unit()),
    ("two peaks, 30 ms and 1.5 s", |r| {
        if r.unit() < 0.9 {
            0.03 * (0.2 * r.normal()).exp()
        } else {
            1.5 * (0.15 * r.normal()).exp()
        }
    }),
    ("tail (Pareto, shape 2.5, from 50 ms)", |r| {
        0.05 * (1.0 - r.unit()).powf(-1.0 / 2.5)
    }),
];

fn observe(values: &[f64]) -> Interval {
    let mut counts = vec![0.0; BOUNDS.len()];
    for v in values {
        counts[BOUNDS.iter().position(|b| v <= b).unwrap()] += 1.0;
    }
    let sum: f64 = values.iter().sum();
    Interval {
        index: 0,
        start_ns: 0,
        end_ns: 0,
        counts,
        sum,
        count: values.len() as f64,
        reset: false,
        known: if values.len() == 1 { vec![sum] } else { Vec::new() },
    }
}

struct Run {
    intervals: Vec<(Interval, Vec<f64>)>,
    whole: (Interval, Vec<f64>),
}

fn run(random: &mut Random, draw: Draw, rate: f64) -> Run {
    let mut intervals = Vec::new();
    let mut all = Vec::new();
    for _ in 0..600 {
        // Poisson arrivals.
        let (mut n, mut p) = (0usize, (-rate).exp());
        let (u, mut sum) = (random.unit(), p);
        while u > sum && n < 1000 {
            n += 1;
            p *= rate / n as f64;
            sum += p;
        }
        let mut values: Vec<f64> = (0..n).map(|_| draw(random)).collect();
        values.sort_by(f64::total_cmp);
        all.extend_from_slice(&values);
        intervals.push((observe(&values), values));
    }
    all.sort_by(f64::total_cmp);
    let mut whole = observe(&all);
    whole.known = intervals
        .iter()
        .flat_map(|(i, _)| i.known.iter().copied())
        .collect();
    Run {
        intervals,
        whole: (whole, all),
    }
}

/// Runs per distribution; the table in the documentation has 20.
const RUNS: usize = 2;

/// Evaluated quantities: quantile, and whether of the whole run or of each interval.
const ASKED: &[(f64, bool)] = &[
    (0.5, false),
    (0.9, false),
    (0.99, false),
    (0.5, true),
    (0.99, true),
];

/// Mean relative errors of (linear interpolation, estimate) for each of [`ASKED`].
fn errors(draw: Draw, rate: f64, runs: usize) -> Vec<(f64, f64)> {
    let mut random = Random(7);
    let mut sums = vec![(0.0, 0.0, 0.0); ASKED.len()];
    for _ in 0..runs {
        let run = run(&mut random, draw, rate);
        let intervals: Vec<Interval> = run.intervals.iter().map(|(i, _)| i.clone()).collect();
        let estimator = Estimator::learn(BOUNDS, &intervals);
        let one = std::slice::from_ref(&run.whole);
        for (sum, (q, per_interval)) in sums.iter_mut().zip(ASKED) {
            for (interval, values) in if *per_interval { &run.intervals } else { one } {
                let Some(truth) = quantile::of_sorted(values, *q) else {
                    continue;
                };
                sum.0 += (quantile::linear(BOUNDS, &interval.counts, *q).unwrap() - truth).abs() / truth;
                sum.1 += (estimator.quantile(interval, *q).unwrap() - truth).abs() / truth;
                sum.2 += 1.0;
            }
        }
    }
    sums.into_iter()
        .map(|(line, ours, n)| (line / n, ours / n))
        .collect()
}

/// Error ratio, linear over estimate, geometric mean over the distributions, for each of [`ASKED`].
fn compare(rate: f64, runs: usize) -> Vec<f64> {
    let mut logs = vec![0.0; ASKED.len()];
    for (name, draw) in DISTRIBUTIONS {
        print!("//! | {name}, {rate}/s |");
        for (log, (line, ours)) in logs.iter_mut().zip(errors(*draw, rate, runs)) {
            print!(" {:.1} → {:.1} % |", line * 100.0, ours * 100.0);
            *log += (line / ours).ln() / DISTRIBUTIONS.len() as f64;
        }
        println!();
    }
    let ratios: Vec<f64> = logs.into_iter().map(f64::exp).collect();
    println!("//! | **errors' ratio, {rate}/s** | {ratios:.1?} |");
    ratios
}

#[test]
fn table() {
    println!("//! | distribution | run p50 | run p90 | run p99 | interval p50 | interval p99 |");
    println!("//! |---|---|---|---|---|---|");
    for rate in [20.0, 1.0] {
        let ratios = compare(rate, RUNS);
        let (runs, intervals) = ratios.split_at(3);
        assert!(runs.iter().all(|r| *r > 2.0), "{ratios:?}");
        assert!(intervals.iter().all(|r| *r > 1.1), "{ratios:?}");
    }
}

#[test]
fn a_single_observation_is_exact_and_nothing_is_none() {
    let values = [0.0123, 0.3, 0.31, 70.0];
    let intervals: Vec<Interval> = values.iter().map(|v| observe(&[*v])).collect();
    let estimator = Estimator::learn(BOUNDS, &intervals);
    for (interval, value) in intervals.iter().zip(values) {
        for q in [0.0, 0.5, 0.99] {
            assert!((estimator.quantile(interval, q).unwrap() - value).abs() < 1e-9 * value);
        }
    }
    assert_eq!(estimator.quantile(&observe(&[]), 0.5), None);
    assert_eq!(Estimator::learn(BOUNDS, &[]).quantile(&observe(&[]), 0.5), None);
}

#[test]
fn estimates_stay_in_the_buckets_and_rise_with_the_quantile() {
    let mut random = Random(1);
    for (_, draw) in DISTRIBUTIONS {
        let run = run(&mut random, *draw, 5.0);
        let intervals: Vec<Interval> = run.intervals.iter().map(|(i, _)| i.clone()).collect();
        let estimator = Estimator::learn(BOUNDS, &intervals);
        for interval in intervals.iter().take(50).filter(|i| i.count > 0.0) {
            let all: Vec<f64> = (0..=100)
                .map(|q| estimator.quantile(interval, f64::from(q) / 100.0).unwrap())
                .collect();
            assert!(all.windows(2).all(|w| w[0] <= w[1] + 1e-9), "{all:?}");
            let first = interval.counts.iter().position(|c| *c > 0.0).unwrap();
            let last = interval.counts.iter().rposition(|c| *c > 0.0).unwrap();
            assert!(all[0] >= lower_bound(BOUNDS, first) - 1e-9 && all[100] <= BOUNDS[last] + 1e-9);
        }
        let std = estimator.std(&run.whole.0).unwrap();
        let values = &run.whole.1;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let truth =
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt();
        assert!((std / truth - 1.0).abs() < 0.5, "{std} for {truth}");
    }
}

#[test]
fn a_sum_that_contradicts_the_buckets_breaks_nothing() {
    let mut torn = observe(&[0.03, 0.5]);
    torn.sum = -5.0;
    let estimator = Estimator::learn(BOUNDS, std::slice::from_ref(&torn));
    let got = estimator.quantile(&torn, 0.5).unwrap();
    assert!((0.0..=0.5).contains(&got), "{got}");
}
