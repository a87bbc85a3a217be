//! The preset `tiny-cpu` compared with the real server it was fitted to, under the same load shape.
//!
//! The recording has counters but no single requests, so the load is reconstructed: each second has as many
//! arrivals, with as many prompt tokens, as had their first token then. Output lengths are drawn from the
//! recorded histogram and scaled to the tokens of the requests that finished around that time. Single
//! requests therefore differ, and only sums are compared.

use super::*;
use crate::config::EngineConfig;
use crate::histogram::Histogram;
use crate::rng::unit;

/// Output lengths of the recording: upper bound of a bucket, requests in it.
const LENGTHS: [(u32, u32); 10] = [
    (1, 47),
    (2, 52),
    (5, 159),
    (10, 219),
    (20, 411),
    (50, 921),
    (100, 799),
    (200, 566),
    (500, 161),
    (1000, 8),
];

/// Totals of the recording: steps with output, and means in seconds.
const STEPS: f64 = 129_008.0;
const INTER_TOKEN: f64 = 0.003_396;
const FIRST_TOKEN: f64 = 0.023_69;
const PREFILL: f64 = 0.010_398;
const DECODE: f64 = 0.225_65;
const END_TO_END: f64 = 0.249_03;
/// Shares of inter-token latencies up to 10 ms, and of steps with one token and with two to eight.
const BELOW_10_MS: f64 = 0.956_6;
const STEPS_OF_ONE: f64 = 0.721;
const STEPS_TO_EIGHT: f64 = 0.959;

struct Second {
    start: Nanos,
    nanos: Nanos,
    first_tokens: u64,
    prompt_tokens: u64,
    finished: u64,
    finished_tokens: u64,
}

fn recording() -> Vec<Second> {
    let mut at = 0;
    include_str!("../../tests/data/tiny-cpu-recording.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let f: Vec<u64> = line.split('\t').map(|field| field.parse().unwrap()).collect();
            let start = at;
            at += f[0] * 1_000_000;
            Second {
                start,
                nanos: f[0] * 1_000_000,
                first_tokens: f[1],
                prompt_tokens: f[2],
                finished: f[3],
                finished_tokens: f[4],
            }
        })
        .collect()
}

/// A length from the recorded histogram, log-uniform within its bucket.
fn draw_length(draw: f64) -> f64 {
    let total: u32 = LENGTHS.iter().map(|(_, n)| n).sum();
    let mut left = draw * f64::from(total);
    let mut low = 0.5;
    for (bound, count) in LENGTHS {
        if left < f64::from(count) {
            let share = left / f64::from(count);
            return low * (f64::from(bound) / low).powf(share);
        }
        left -= f64::from(count);
        low = f64::from(bound);
    }
    low
}

/// Arrival, prompt length, output length.
fn load(front_end_ns: f64) -> Vec<(Nanos, u32, u32)> {
    let seconds = recording();
    let mut load = Vec::new();
    for (index, second) in seconds.iter().enumerate() {
        // Requests finish a little later than they arrive, so use the five seconds around.
        let around = &seconds[index.saturating_sub(1)..(index + 4).min(seconds.len())];
        let finished: u64 = around.iter().map(|s| s.finished).sum();
        let tokens: u64 = around.iter().map(|s| s.finished_tokens).sum();
        let draws: Vec<f64> = (0..second.first_tokens)
            .map(|n| draw_length(unit((index as u64) << 20 | n)))
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len().max(1) as f64;
        let wanted = if finished > 0 {
            tokens as f64 / finished as f64
        } else {
            mean
        };
        for (n, draw) in draws.iter().enumerate() {
            let within = unit((index as u64) << 20 | 1 << 19 | n as u64);
            let arrival =
                (second.start as f64 + within * second.nanos as f64 - front_end_ns).max(0.0) as Nanos;
            let prompt = (second.prompt_tokens / second.first_tokens).clamp(1, 1900) as u32;
            load.push((
                arrival,
                prompt,
                (draw * wanted / mean).round().clamp(1.0, 1000.0) as u32,
            ));
        }
    }
    load.sort_unstable();
    load
}

fn replay(config: &EngineConfig) -> EngineStats {
    let load = load(config.step.front_end_ns);
    // The recorded server's prefix cache was on but had no hits.
    let mut engine = Engine::new(EngineConfig {
        enable_prefix_caching: false,
        ..config.clone()
    });
    let (mut now, mut next) = (0, 0);
    loop {
        while next < load.len() && load[next].0 <= now {
            let (arrival, prompt, output) = load[next];
            engine.submit(
                arrival,
                Request {
                    route: next as u64,
                    prompt: (0..prompt).map(|i| 3 + i % 1000).collect(),
                    max_tokens: output,
                    min_tokens: 0,
                    ignore_eos: true,
                    seed: 0,
                    reference: None,
                },
            );
            next += 1;
        }
        now = match engine.begin_step(now) {
            Plan::Step { end } => {
                engine.finish_step(end, |_, _| ());
                end
            }
            Plan::Wait { until } => load.get(next).map_or(until, |l| l.0.min(until)),
            Plan::Idle if next < load.len() => load[next].0,
            Plan::Idle => return engine.stats().clone(),
        };
    }
}

fn mean(histogram: &Histogram) -> f64 {
    histogram.sum() / histogram.count() as f64
}

fn share_up_to(histogram: &Histogram, bound: f64) -> f64 {
    let at = histogram.bounds().iter().position(|b| *b >= bound).unwrap();
    histogram.cumulative().nth(at).unwrap() as f64 / histogram.count() as f64
}

/// Compared values: name, recorded, simulated.
fn compared(stats: &EngineStats) -> [(&'static str, f64, f64); 9] {
    [
        ("steps with output", STEPS, stats.iteration_tokens.count() as f64),
        (
            "mean inter-token latency",
            INTER_TOKEN,
            mean(&stats.inter_token_latency),
        ),
        (
            "mean time to first token",
            FIRST_TOKEN,
            mean(&stats.time_to_first_token),
        ),
        ("mean prefill time", PREFILL, mean(&stats.prefill_time)),
        ("mean decode time", DECODE, mean(&stats.decode_time)),
        ("mean end-to-end latency", END_TO_END, mean(&stats.e2e_latency)),
        (
            "share of inter-token latencies to 10 ms",
            BELOW_10_MS,
            share_up_to(&stats.inter_token_latency, 0.01),
        ),
        (
            "share of steps of one token",
            STEPS_OF_ONE,
            share_up_to(&stats.iteration_tokens, 1.0),
        ),
        (
            "share of steps to eight tokens",
            STEPS_TO_EIGHT,
            share_up_to(&stats.iteration_tokens, 8.0),
        ),
    ]
}

#[test]
fn the_tiny_preset_is_near_the_server_it_was_fitted_to() {
    let stats = replay(&EngineConfig::tiny_cpu());
    for (name, recorded, simulated) in compared(&stats) {
        let ratio = simulated / recorded;
        // The clustering of arrivals within a second is not recorded, but determines how many steps have a
        // single token.
        let most = if name == "share of steps of one token" {
            0.2
        } else {
            0.1
        };
        assert!(
            (ratio - 1.0).abs() <= most,
            "{name}: recorded {recorded}, simulated {simulated}, ratio {ratio:.3}"
        );
    }
}
