//! When a level that drifts and diffuses first reaches a barrier.
//!
//! The level moves as `drift × t + sqrt(variance_rate) × W(t)`, W a standard Wiener process. The time of its first
//! passage over a barrier at `distance` has an inverse Gaussian distribution if the drift points at the barrier, and
//! a defective one (it may never arrive) if it does not. Both are covered by one formula.

use super::normal::{cdf, scaled_erfc};

/// Probability that the barrier is reached within `horizon_secs`.
///
/// `distance` is in the level's unit (at or below zero: already there), `drift` in units per second, `variance_rate`
/// in squared units per second.
///
/// ```
/// use vllm_monitor::numeric::first_passage::probability;
///
/// // No noise: arrives after exactly 10 s.
/// assert_eq!(probability(1.0, 0.1, 0.0, 9.0), 0.0);
/// assert_eq!(probability(1.0, 0.1, 0.0, 11.0), 1.0);
/// // No drift: the reflection principle, 2 × P(Z < -1).
/// assert!((probability(1.0, 0.0, 0.01, 100.0) - 0.3173).abs() < 1e-4);
/// ```
pub fn probability(distance: f64, drift: f64, variance_rate: f64, horizon_secs: f64) -> f64 {
    if distance <= 0.0 {
        return 1.0;
    }
    if horizon_secs <= 0.0 {
        return 0.0;
    }
    let reach = drift * horizon_secs;
    let variance = variance_rate * horizon_secs;
    if variance <= 0.0 {
        return if reach >= distance { 1.0 } else { 0.0 };
    }
    let deviation = variance.sqrt();
    let ends_above = cdf((reach - distance) / deviation);
    // Paths that touched the barrier and came back: exp(2 μ d / s²) Φ((−d − μ h) / s√h). The exponential may
    // overflow while the other factor vanishes, so both are combined in the exponent.
    let z = (distance + reach) / deviation;
    let came_back = if z >= 0.0 {
        let gap = (distance - reach) / deviation;
        0.5 * scaled_erfc(z * std::f64::consts::FRAC_1_SQRT_2) * (-gap * gap / 2.0).exp()
    } else {
        (2.0 * drift * distance / variance_rate).exp() * cdf(-z)
    };
    (ends_above + came_back).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agrees_with_simulated_paths() {
        // 20,000 random walks with a fixed generator; the step of 1/200 s lets a path miss the barrier a little.
        let mut seed = 7_u64;
        let mut unit = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let (distance, drift, variance_rate, horizon, steps) = (1.0, 0.05, 0.04, 10.0, 2000);
        let dt = horizon / f64::from(steps);
        let mut hits = 0;
        for _ in 0..5_000 {
            let mut level = 0.0;
            for _ in 0..steps {
                let step = if unit() < 0.5 { 1.0 } else { -1.0 };
                level += drift * dt + step * f64::sqrt(variance_rate * dt);
                if level >= distance {
                    hits += 1;
                    break;
                }
            }
        }
        let expected = probability(distance, drift, variance_rate, horizon);
        assert!(
            (f64::from(hits) / 5_000.0 - expected).abs() < 0.03,
            "{hits} {expected}"
        );
    }

    proptest! {
        #[test]
        fn is_a_probability_and_never_falls_with_time(
            distance in 1e-6..1e6_f64,
            drift in -1e3..1e3_f64,
            variance_rate in 0.0..1e6_f64,
            h in 1e-3..1e4_f64,
            more in 1.0..10.0_f64,
        ) {
            let (near, far) = (
                probability(distance, drift, variance_rate, h),
                probability(distance, drift, variance_rate, h * more),
            );
            prop_assert!((0.0..=1.0).contains(&near));
            prop_assert!(far >= near - 1e-9, "{near} {far}");
        }

        #[test]
        fn a_closer_barrier_is_reached_sooner(
            distance in 1e-3..1e3_f64,
            closer in 0.1..1.0_f64,
            drift in -10.0..10.0_f64,
            variance_rate in 1e-6..1e3_f64,
            h in 0.1..1e3_f64,
        ) {
            let far = probability(distance, drift, variance_rate, h);
            let near = probability(distance * closer, drift, variance_rate, h);
            prop_assert!(near >= far - 1e-9, "{near} {far}");
        }
    }
}
