//! An estimated value with its standard error, and what follows from it by Student's t.

use crate::moments::{all_finite, mean, variance};
use crate::student;

/// A value that is known up to a standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value, in the unit of what was measured.
    pub value: f64,
    /// Standard error of the value, in the same unit.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; need not be whole.
    pub degrees_of_freedom: f64,
}

impl Estimate {
    /// The mean of independent values. `None` for fewer than two values or one that is not finite.
    ///
    /// For values that follow each other in time use [`batch_means`](crate::batch_means): their mean is known less
    /// well than this says.
    ///
    /// ```
    /// use run_statistics::Estimate;
    /// let mean = Estimate::of_independent(&[1.0, 2.0, 3.0]).unwrap();
    /// assert_eq!((mean.value, mean.degrees_of_freedom), (2.0, 2.0));
    /// // t(2) at 97.5 % is 4.3027.
    /// assert!((mean.half_width(0.95) - 4.302652729749463 / 3f64.sqrt()).abs() < 1e-12);
    /// ```
    pub fn of_independent(values: &[f64]) -> Option<Self> {
        let variance = variance(values)?;
        Some(Self {
            value: mean(values)?,
            standard_error: (variance / values.len() as f64).sqrt(),
            degrees_of_freedom: (values.len() - 1) as f64,
        })
    }

    /// Half the width of the two-sided interval that holds the true value with probability `confidence`.
    pub fn half_width(&self, confidence: f64) -> f64 {
        if self.standard_error == 0.0 {
            return 0.0;
        }
        student::quantile(0.5 + 0.5 * confidence, self.degrees_of_freedom) * self.standard_error
    }

    /// Both ends of that interval.
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let half = self.half_width(confidence);
        (self.value - half, self.value + half)
    }

    /// Two-sided p-value of the hypothesis that the true value is `null`.
    pub fn p_value(&self, null: f64) -> f64 {
        let difference = self.value - null;
        if self.standard_error == 0.0 {
            return if difference == 0.0 { 1.0 } else { 0.0 };
        }
        student::two_sided_p(difference / self.standard_error, self.degrees_of_freedom)
    }

    /// `self − other` for two independent estimates, with the degrees of freedom of Welch and Satterthwaite.
    ///
    /// ```
    /// use run_statistics::Estimate;
    /// let a = Estimate { value: 5.0, standard_error: 3.0, degrees_of_freedom: 9.0 };
    /// let b = Estimate { value: 1.0, standard_error: 4.0, degrees_of_freedom: 16.0 };
    /// let difference = a.minus(b);
    /// assert_eq!((difference.value, difference.standard_error), (4.0, 5.0));
    /// // (9 + 16)² / (9²/9 + 16²/16)
    /// assert_eq!(difference.degrees_of_freedom, 25.0);
    /// ```
    pub fn minus(self, other: Self) -> Self {
        let (a, b) = (self.standard_error.powi(2), other.standard_error.powi(2));
        let spread = a * a / self.degrees_of_freedom + b * b / other.degrees_of_freedom;
        Self {
            value: self.value - other.value,
            standard_error: (a + b).sqrt(),
            degrees_of_freedom: if spread > 0.0 {
                (a + b).powi(2) / spread
            } else {
                self.degrees_of_freedom + other.degrees_of_freedom
            },
        }
    }
}

/// ln(bᵢ / aᵢ) of each pair. `None` for different lengths, or a value that is not finite and above 0.
///
/// On logarithms a ratio and its inverse weigh the same, and whatever slows both of a pair alike cancels.
pub fn log_ratios(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    if a.len() != b.len() || !all_positive(a) || !all_positive(b) {
        return None;
    }
    Some(a.iter().zip(b).map(|(a, b)| (b / a).ln()).collect())
}

/// Mean of ln(b / a) over independent pairs; its exponential is the ratio of geometric means. `None` for fewer than
/// two pairs, different lengths, or a value that is not finite and above 0.
///
/// ```
/// use run_statistics::paired_log_ratio;
/// let ratio = paired_log_ratio(&[10.0, 20.0, 40.0], &[11.0, 22.0, 44.0]).unwrap();
/// assert!((ratio.value.exp() - 1.1).abs() < 1e-12);
/// assert!(ratio.standard_error < 1e-12);
/// ```
pub fn paired_log_ratio(a: &[f64], b: &[f64]) -> Option<Estimate> {
    Estimate::of_independent(&log_ratios(a, b)?)
}

fn all_positive(values: &[f64]) -> bool {
    all_finite(values) && values.iter().all(|value| *value > 0.0)
}
