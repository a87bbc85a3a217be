//! Student's t distribution, with fractional degrees of freedom.

use std::f64::consts::PI;

/// Beyond this the normal distribution is the same to the last digit of a float.
const AS_NORMAL: f64 = 1e10;

/// Probability of a value at or below `t` with `degrees` degrees of freedom (above 0).
///
/// From the regularised incomplete beta function by its continued fraction (Abramowitz and Stegun 26.5.8, 26.7.1).
///
/// ```
/// // With one degree of freedom, t is the Cauchy distribution.
/// assert!((run_statistics::student::cdf(1.0, 1.0) - 0.75).abs() < 1e-15);
/// ```
pub fn cdf(t: f64, degrees: f64) -> f64 {
    if t > 0.0 {
        1.0 - upper_tail(t, degrees)
    } else {
        upper_tail(-t, degrees)
    }
}

/// Probability of a value at least as far from 0 as `t`, on either side.
///
/// ```
/// let p = run_statistics::student::two_sided_p(2.0, 10.0);
/// assert!((p - 0.073388034770740).abs() < 1e-12);
/// ```
pub fn two_sided_p(t: f64, degrees: f64) -> f64 {
    2.0 * upper_tail(t.abs(), degrees)
}

/// The value below which t lies with probability `p`; infinite at 0 and 1, NaN outside or for no degrees of freedom.
///
/// ```
/// assert!((run_statistics::student::quantile(0.975, 9.0) - 2.262157162798205).abs() < 1e-12);
/// ```
pub fn quantile(p: f64, degrees: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || degrees.is_nan() || degrees <= 0.0 {
        return f64::NAN;
    }
    if p < 0.5 {
        return -upper_quantile(p, degrees);
    }
    upper_quantile(1.0 - p, degrees)
}

/// The value above which t lies with probability `tail`, which is at most one half.
fn upper_quantile(tail: f64, degrees: f64) -> f64 {
    if tail >= 0.5 {
        return 0.0;
    }
    if tail == 0.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while upper_tail(high, degrees) > tail {
        low = high;
        high *= 2.0;
        if high.is_infinite() {
            return high;
        }
    }
    // Newton's method, replaced by a bisection where it would leave the bracket.
    let mut t = f64::midpoint(low, high);
    for _ in 0..200 {
        let excess = upper_tail(t, degrees) - tail;
        if excess > 0.0 {
            low = t;
        } else {
            high = t;
        }
        let newton = t + excess / density(t, degrees);
        let next = if newton > low && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        if (next - t).abs() <= 1e-15 * t.abs() {
            return next;
        }
        t = next;
    }
    t
}

/// Probability of a value above `t`, which is not negative.
fn upper_tail(t: f64, degrees: f64) -> f64 {
    if t.is_nan() || degrees.is_nan() || degrees <= 0.0 {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    if degrees > AS_NORMAL {
        return super::normal::cdf(-t);
    }
    if t == 0.0 {
        return 0.5;
    }
    // With x = ν / (ν + t²) the tail is I_x(ν/2, 1/2) / 2. Both x and 1 − x are formed without a subtraction.
    let a = 0.5 * degrees;
    let ratio = t * t / degrees;
    let x = 1.0 / (1.0 + ratio);
    let y = ratio / (1.0 + ratio);
    let ln_front = -a * ratio.ln_1p() + 0.5 * y.ln() - ln_beta_half(a);
    if x < (a + 1.0) / (a + 2.5) {
        0.5 * ln_front.exp() * beta_fraction(a, 0.5, x) / a
    } else {
        0.5 - ln_front.exp() * beta_fraction(0.5, a, y)
    }
}

fn density(t: f64, degrees: f64) -> f64 {
    if degrees > AS_NORMAL {
        return super::normal::density(t);
    }
    let ln_scale = -ln_beta_half(0.5 * degrees) - 0.5 * degrees.ln();
    (ln_scale - 0.5 * (degrees + 1.0) * (t * t / degrees).ln_1p()).exp()
}

/// ln B(a, 1/2). For large `a` the difference of two logarithms of gamma loses digits, so its series is used.
fn ln_beta_half(a: f64) -> f64 {
    let ratio = if a < 50.0 {
        libm::lgamma(a + 0.5) - libm::lgamma(a)
    } else {
        0.5 * a.ln() - 1.0 / (8.0 * a) + 1.0 / (192.0 * a.powi(3)) - 1.0 / (640.0 * a.powi(5))
    };
    0.5 * PI.ln() - ratio
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..20_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}
