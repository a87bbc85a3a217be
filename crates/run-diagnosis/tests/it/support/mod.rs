//! Synthetic series and runs. Everything comes from a seed.

#![allow(dead_code, reason = "each test binary and example uses a part of it")]

pub(crate) mod engine;
pub(crate) mod false_alarms;
pub(crate) mod triples;
pub(crate) mod window_rates;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use run_diagnosis::input::{Column, PerSecond, RequestTimes, Run, RunFacts, Scenario};

pub(crate) const SECOND_NS: i64 = 1_000_000_000;

/// A generator for one case of one table.
pub(crate) fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A first-order autoregression with mean 0 and deviation 1.
pub(crate) fn autoregression(random: &mut ChaCha8Rng, n: usize, phi: f64) -> Vec<f64> {
    let innovation = (1.0 - phi * phi).sqrt();
    let mut value: f64 = StandardNormal.sample(random);
    (0..n)
        .map(|_| {
            let current = value;
            let noise: f64 = StandardNormal.sample(random);
            value = phi * value + innovation * noise;
            current
        })
        .collect()
}

/// A level of 1 with slow noise, and what happens to it over its length (0 to 1).
pub(crate) fn level(
    random: &mut ChaCha8Rng,
    n: usize,
    phi: f64,
    variation: f64,
    shape: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let noise = autoregression(random, n, phi);
    let place = |i: usize| i as f64 / n as f64;
    noise
        .iter()
        .enumerate()
        .map(|(i, noise)| shape(place(i)) + variation * noise)
        .collect()
}

/// A Server run with these output tokens per second, and 8 requests a second with these times per output token.
pub(crate) fn server_run(tokens: &[f64], tpot_secs: &[f64]) -> Run {
    let requests = tpot_secs.iter().enumerate().flat_map(|(second, tpot)| {
        (0..8).map(move |i| request(second as i64 * SECOND_NS + i * SECOND_NS / 8, 0.05, *tpot, 101))
    });
    Run {
        facts: RunFacts::new("run", Scenario::Server),
        seconds: PerSecond {
            seconds: tokens.len(),
            output_tokens: Column::full(tokens.iter().copied()),
            ..PerSecond::default()
        },
        requests: requests
            .enumerate()
            .map(|(i, request)| RequestTimes {
                sample_index: Some(i as u64),
                ..request
            })
            .collect(),
    }
}

/// A request that was issued on time and sent at once.
pub(crate) fn request(issued_ns: i64, ttft_secs: f64, tpot_secs: f64, output_tokens: u32) -> RequestTimes {
    let after = |ns: i64, secs: f64| ns + (secs * 1e9).round() as i64;
    let first_token_ns = after(issued_ns, ttft_secs);
    RequestTimes {
        scheduled_ns: Some(issued_ns),
        issued_ns,
        sent_ns: Some(issued_ns),
        first_token_ns: Some(first_token_ns),
        done_ns: Some(after(first_token_ns, tpot_secs * f64::from(output_tokens - 1))),
        prompt_tokens: Some(200),
        output_tokens: Some(output_tokens),
        ..RequestTimes::default()
    }
}
