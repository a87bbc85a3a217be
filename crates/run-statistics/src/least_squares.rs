//! Ordinary least squares for a few columns, with the covariance of the coefficients.

use crate::cholesky::Cholesky;
use crate::moments::all_finite;

/// A column counts as a mix of the others when less than this share of its square is its own.
const OWN_SHARE: f64 = 1e-10;

/// A fitted linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearFit {
    /// One coefficient per column.
    pub coefficients: Vec<f64>,
    /// Covariance of the coefficients, by rows, from the scatter of the residuals.
    pub covariance: Vec<f64>,
    /// Variance of the residuals: their squares over rows less columns.
    pub residual_variance: f64,
    /// Share of the left side's variance about its mean that the fit explains; 0 for a constant left side.
    pub r_squared: f64,
    /// Rows used.
    pub rows: usize,
}

impl LinearFit {
    /// Standard error of one coefficient; `None` for a column that does not exist.
    pub fn standard_error(&self, column: usize) -> Option<f64> {
        let columns = self.coefficients.len();
        (column < columns).then(|| self.covariance[column * columns + column].max(0.0).sqrt())
    }

    /// The fitted value for one row.
    pub fn predict(&self, row: &[f64]) -> f64 {
        row.iter().zip(&self.coefficients).map(|(x, b)| x * b).sum()
    }
}

/// Why there is no fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Rows and left side do not fit together, or a value is not finite: an error of the caller.
    #[error("rows and left side must be finite and of matching lengths")]
    Malformed,
    /// Not more rows than columns.
    #[error("a fit with errors needs more rows than columns: {rows} rows, {columns} columns")]
    TooFewRows {
        /// Rows given.
        rows: usize,
        /// Columns wanted.
        columns: usize,
    },
    /// One column is a linear combination of the others, or constant zero.
    #[error("the columns are not independent, so their coefficients are not determined")]
    Collinear,
}

/// Fits y ≈ Σ coefficient × column. `x` holds the rows one after the other; a column of ones gives a constant term.
///
/// Columns are scaled to unit length first, so that tokens in thousands and seconds weigh the same.
///
/// # Errors
/// See [`FitError`].
///
/// ```
/// // y = 1 + 2 x
/// let x = [1.0, 0.0, 1.0, 1.0, 1.0, 2.0];
/// let fit = run_statistics::least_squares(&x, 2, &[1.0, 3.0, 5.0])?;
/// assert!((fit.coefficients[1] - 2.0).abs() < 1e-12);
/// # Ok::<(), run_statistics::FitError>(())
/// ```
pub fn least_squares(x: &[f64], columns: usize, y: &[f64]) -> Result<LinearFit, FitError> {
    let rows = y.len();
    if columns == 0 || x.len() != rows * columns || !all_finite(x) || !all_finite(y) {
        return Err(FitError::Malformed);
    }
    if rows <= columns {
        return Err(FitError::TooFewRows { rows, columns });
    }
    let mut scale = vec![0.0; columns];
    for row in x.chunks_exact(columns) {
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
    let mut normal = vec![0.0; columns * columns];
    let mut right = vec![0.0; columns];
    for (row, y) in x.chunks_exact(columns).zip(y) {
        for i in 0..columns {
            right[i] += row[i] / scale[i] * y;
            for j in 0..=i {
                normal[i * columns + j] += row[i] / scale[i] * row[j] / scale[j];
            }
        }
    }
    let factor = Cholesky::of(&normal)
        .filter(|factor| factor.smallest_pivot() > OWN_SHARE)
        .ok_or(FitError::Collinear)?;
    let solved = factor
        .solve(&right)
        .expect("the right side has one value per column");
    let coefficients: Vec<f64> = solved.iter().zip(&scale).map(|(b, scale)| b / scale).collect();
    let mut fit = LinearFit {
        coefficients,
        covariance: factor.inverse(),
        residual_variance: 0.0,
        r_squared: 0.0,
        rows,
    };
    let squares: f64 = x
        .chunks_exact(columns)
        .zip(y)
        .map(|(row, y)| (y - fit.predict(row)).powi(2))
        .sum();
    fit.residual_variance = squares / (rows - columns) as f64;
    for i in 0..columns {
        for j in 0..columns {
            fit.covariance[i * columns + j] *= fit.residual_variance / scale[i] / scale[j];
        }
    }
    let mean = y.iter().sum::<f64>() / rows as f64;
    let about_mean: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
    if about_mean > 0.0 {
        fit.r_squared = 1.0 - squares / about_mean;
    }
    Ok(fit)
}
