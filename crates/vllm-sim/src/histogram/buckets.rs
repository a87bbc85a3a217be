//! Bucket bounds of vLLM 0.32's histograms.

/// Tokens of one engine step.
pub(crate) const ITERATION_TOKENS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
/// The request parameter `n`.
pub(crate) const PARAMS_N: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// Preemptions of one request.
pub(crate) const PREEMPTIONS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
/// Time to first token.
pub(crate) const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
/// Times per token: between tokens, and per output token of a request.
pub(crate) const PER_TOKEN_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// Times of a whole request and of its phases.
pub(crate) const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
/// The fine histogram of HTTP durations.
pub(crate) const HTTP_FINE_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
];
/// The coarse histogram of HTTP durations, per route.
pub(crate) const HTTP_COARSE_SECONDS: &[f64] = &[0.1, 0.5, 1.0];

/// Token counts of a request: 1, 2, 5, 10, … up to the longest possible sequence.
pub(crate) fn tokens(max_model_len: u32) -> Vec<f64> {
    let mut bounds = Vec::new();
    let mut decade = 1u64;
    loop {
        for step in [1, 2, 5] {
            let bound = step * decade;
            if bound > u64::from(max_model_len) {
                return bounds;
            }
            bounds.push(bound as f64);
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn token_bounds_stop_at_the_longest_sequence() {
        assert_eq!(
            super::tokens(2048),
            [1., 2., 5., 10., 20., 50., 100., 200., 500., 1000., 2000.]
        );
        assert_eq!(super::tokens(1), [1.0]);
    }
}
