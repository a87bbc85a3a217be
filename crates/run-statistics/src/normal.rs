//! The standard normal distribution.

use std::f64::consts::{PI, SQRT_2};

/// Probability of a standard normal value at or below `z`.
///
/// ```
/// assert!((run_statistics::normal::cdf(1.959963984540054) - 0.975).abs() < 1e-15);
/// ```
pub fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// Natural logarithm of [`cdf`], also where `cdf` itself is too small for a float.
///
/// ```
/// let deep = run_statistics::normal::ln_cdf(-40.0);
/// assert!((deep + 804.608442).abs() < 1e-6);
/// ```
pub fn ln_cdf(z: f64) -> f64 {
    if z > 0.0 {
        return (-cdf(-z)).ln_1p();
    }
    if z > -30.0 {
        return cdf(z).ln();
    }
    // Asymptotic series of the tail (Abramowitz and Stegun 26.2.12); at 30 its fifth term is below 1e-12.
    let squared = z * z;
    let series =
        1.0 - 1.0 / squared + 3.0 / squared.powi(2) - 15.0 / squared.powi(3) + 105.0 / squared.powi(4);
    -0.5 * squared - (-z * (2.0 * PI).sqrt()).ln() + series.ln()
}

/// Density at `z`.
pub(crate) fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

/// The value below which a standard normal value lies with probability `p`; infinite at 0 and 1, NaN outside.
///
/// Starts from Abramowitz and Stegun 26.2.23 and refines with Halley's method on the smaller tail.
///
/// ```
/// assert!((run_statistics::normal::quantile(0.975) - 1.959963984540054).abs() < 1e-14);
/// ```
pub fn quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    let t = (-2.0 * p.ln()).sqrt();
    let mut z = (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
        / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t.powi(3))
        - t;
    for _ in 0..4 {
        let step = (cdf(z) - p) / density(z);
        if !step.is_finite() {
            break;
        }
        z -= step / (1.0 + 0.5 * z * step);
    }
    z
}

/// Probability of a value at least as far from 0 as `z`, on either side.
///
/// ```
/// assert!((run_statistics::normal::two_sided_p(1.959963984540054) - 0.05).abs() < 1e-15);
/// ```
pub fn two_sided_p(z: f64) -> f64 {
    libm::erfc(z.abs() / SQRT_2)
}
