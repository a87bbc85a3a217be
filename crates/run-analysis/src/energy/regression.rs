//! Ordinary least squares for a handful of coefficients, with standard errors.

/// One fitted coefficient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Best estimate.
    pub value: f64,
    /// Standard error, from the scatter of the residuals.
    pub standard_error: f64,
}

/// A fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// One per column.
    pub coefficients: Vec<Coefficient>,
    /// Standard deviation of the residuals, in the unit of the left side.
    pub residual_deviation: f64,
    /// Share of the left side's variance (about its mean) that the fit explains.
    pub r_squared: f64,
    /// Correlation of each residual with the next. Far from 0, the standard errors are too small.
    pub residual_autocorrelation: f64,
    /// Number of rows used.
    pub rows: usize,
}

/// Why there is no fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Fewer rows than a fit with standard errors needs.
    #[error("too few windows for a fit")]
    TooFewRows,
    /// Two columns are collinear, so their shares cannot be separated.
    #[error("prefill, decode and idle time are collinear in this run, so their shares cannot be separated")]
    Collinear,
}

/// With fewer rows, the standard errors would mean little.
const ROWS_PER_COLUMN: usize = 5;

/// A column is collinear if less than this share of its square is independent of the others.
const OWN_SHARE: f64 = 1e-4;

/// Fits `y ≈ Σ coefficient × column` without a constant term; a column of ones (or of seconds) adds one.
///
/// # Errors
///
/// With fewer than five rows per column, or when the columns are not independent.
pub fn least_squares<const N: usize>(rows: &[[f64; N]], y: &[f64]) -> Result<Fit, FitError> {
    let n = rows.len().min(y.len());
    if n < ROWS_PER_COLUMN * N {
        return Err(FitError::TooFewRows);
    }
    let (rows, y) = (&rows[..n], &y[..n]);
    // Scales columns to unit length first, so that tokens in thousands and seconds have equal weight.
    let mut scale = [0.0; N];
    for row in rows {
        for (scale, x) in scale.iter_mut().zip(row) {
            *scale += x * x;
        }
    }
    for scale in &mut scale {
        *scale = scale.sqrt();
        if *scale == 0.0 || !scale.is_finite() {
            return Err(FitError::Collinear);
        }
    }
    let mut normal = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, y) in rows.iter().zip(y) {
        for i in 0..N {
            right[i] += row[i] / scale[i] * y;
            for j in 0..N {
                normal[i][j] += row[i] / scale[i] * row[j] / scale[j];
            }
        }
    }
    let inverse = invert(normal).ok_or(FitError::Collinear)?;
    let mut fitted = [0.0; N];
    for i in 0..N {
        fitted[i] = (0..N).map(|j| inverse[i][j] * right[j]).sum::<f64>() / scale[i];
    }
    let residual = |(row, y): (&[f64; N], &f64)| y - row.iter().zip(&fitted).map(|(x, b)| x * b).sum::<f64>();
    let residuals: Vec<f64> = rows.iter().zip(y).map(residual).collect();
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let variance = squares / (n - N) as f64;
    let mean = y.iter().sum::<f64>() / n as f64;
    let about_mean: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
    let with_next: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let coefficients = (0..N)
        .map(|i| Coefficient {
            value: fitted[i],
            standard_error: (variance * inverse[i][i]).max(0.0).sqrt() / scale[i],
        })
        .collect();
    Ok(Fit {
        coefficients,
        residual_deviation: variance.sqrt(),
        r_squared: if about_mean > 0.0 {
            1.0 - squares / about_mean
        } else {
            0.0
        },
        residual_autocorrelation: if squares > 0.0 { with_next / squares } else { 0.0 },
        rows: n,
    })
}

/// Gauss-Jordan elimination on a matrix with ones on its diagonal. The remaining pivot of a column is the
/// share of it that the previous columns do not explain.
fn invert<const N: usize>(mut a: [[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let mut inverse = [[0.0; N]; N];
    for (i, row) in inverse.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for i in 0..N {
        let pivot = a[i][i];
        if !pivot.is_finite() || pivot < OWN_SHARE {
            return None;
        }
        for j in 0..N {
            a[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for other in 0..N {
            if other == i {
                continue;
            }
            let factor = a[other][i];
            for j in 0..N {
                a[other][j] -= factor * a[i][j];
                inverse[other][j] -= factor * inverse[i][j];
            }
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed scatter without a pattern.
    fn noise(i: usize) -> f64 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 31;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }

    #[test]
    fn coefficients_come_back_within_their_errors() {
        let truth = [0.05, 0.8, 70.0];
        let rows: Vec<[f64; 3]> = (0..200)
            .map(|i| [(i % 7) as f64 * 1000.0, 300.0 + (i % 5) as f64 * 100.0, 1.0])
            .collect();
        let y: Vec<f64> = rows
            .iter()
            .enumerate()
            .map(|(i, row)| row.iter().zip(&truth).map(|(x, b)| x * b).sum::<f64>() + 40.0 * noise(i))
            .collect();
        let fit = least_squares(&rows, &y).unwrap();
        for (coefficient, truth) in fit.coefficients.iter().zip(truth) {
            assert!(coefficient.standard_error > 0.0);
            assert!(
                (coefficient.value - truth).abs() < 4.0 * coefficient.standard_error,
                "{fit:?}"
            );
        }
        // Uniform scatter of width 40 has a deviation of 40 / sqrt(12).
        assert!((fit.residual_deviation - 11.5).abs() < 1.5, "{fit:?}");
        assert!(
            fit.r_squared > 0.97 && fit.residual_autocorrelation.abs() < 0.3,
            "{fit:?}"
        );
    }

    #[test]
    fn columns_that_move_together_are_refused() {
        let rows: Vec<[f64; 2]> = (0..50).map(|i| [i as f64, 2.0 * i as f64]).collect();
        let y: Vec<f64> = (0..50).map(|i| i as f64).collect();
        assert_eq!(least_squares(&rows, &y), Err(FitError::Collinear));
        let zeros: Vec<[f64; 2]> = (0..50).map(|i| [i as f64, 0.0]).collect();
        assert_eq!(least_squares(&zeros, &y), Err(FitError::Collinear));
        assert_eq!(least_squares(&rows[..5], &y[..5]), Err(FitError::TooFewRows));
    }
}
