//! The standard normal distribution, accurate far into its tails.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// `P(Z <= z)` of a standard normal variable.
///
/// ```
/// use vllm_monitor::numeric::normal::cdf;
///
/// assert!((cdf(0.0) - 0.5).abs() < 1e-12);
/// assert!((cdf(1.96) - 0.975).abs() < 1e-4);
/// ```
pub fn cdf(z: f64) -> f64 {
    if z.is_nan() {
        return f64::NAN;
    }
    let x = z.abs() * FRAC_1_SQRT_2;
    let upper_tail = 0.5 * scaled_erfc(x) * (-x * x).exp();
    if z < 0.0 { upper_tail } else { 1.0 - upper_tail }
}

/// `exp(x²) × erfc(x)` for `x >= 0`: the complementary error function without its underflow.
pub fn scaled_erfc(x: f64) -> f64 {
    debug_assert!(x >= 0.0, "the tail is the upper one");
    if x < 2.0 {
        // erf(x) = 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)): all terms positive, so nothing cancels.
        let mut term = x;
        let mut sum = x;
        let mut n = 0.0;
        while term > sum * 1e-16 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        (x * x).exp() - 2.0 / PI.sqrt() * sum
    } else {
        // Continued fraction x + (1/2)/(x + 1/(x + (3/2)/(x + …))), evaluated from the inside out.
        let depth = 40;
        let mut fraction = x;
        for n in (1..=depth).rev() {
            fraction = x + f64::from(n) / 2.0 / fraction;
        }
        1.0 / (PI.sqrt() * fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (z, p) in [
            (-6.0, 9.865_876_450_377e-10),
            (-3.0, 1.349_898_031_630e-3),
            (-1.0, 0.158_655_253_931_457),
            (0.5, 0.691_462_461_274_013),
            (2.5, 0.993_790_334_674_224),
            (4.0, 0.999_968_328_758_167),
        ] {
            assert!((cdf(z) / p - 1.0).abs() < 1e-9, "{z}: {} for {p}", cdf(z));
        }
        assert_eq!(cdf(-60.0), 0.0);
        assert_eq!(cdf(60.0), 1.0);
    }

    #[test]
    fn both_branches_meet() {
        let (below, above) = (scaled_erfc(2.0 - 1e-9), scaled_erfc(2.0));
        assert!((below / above - 1.0).abs() < 1e-8, "{below} {above}");
        // For large x it behaves as 1 / (x √π).
        assert!((scaled_erfc(1e6) * 1e6 * PI.sqrt() - 1.0).abs() < 1e-6);
    }
}
