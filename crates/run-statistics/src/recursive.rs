//! Least squares that follows a slowly changing relation: recursive, with forgetting.

/// Recursive least squares. Each update costs the square of the number of columns and no memory.
///
/// With forgetting λ the row k updates ago weighs λᵏ, so the fit remembers about 1 / (1 − λ) rows. While rows carry
/// no new information the covariance would grow without bound ("wind-up"); it is held below its initial trace.
#[derive(Debug, Clone, PartialEq)]
pub struct RecursiveLeastSquares {
    coefficients: Vec<f64>,
    /// Inverse of the weighted normal matrix, by rows; symmetric.
    inverse: Vec<f64>,
    forgetting: f64,
    largest_trace: f64,
    updates: u64,
}

impl RecursiveLeastSquares {
    /// Starts with coefficients of 0 and a prior of this variance for each, in units of the residual variance: large
    /// means that the first rows decide.
    ///
    /// # Panics
    /// For no columns, a forgetting outside (0, 1], or a prior variance that is not positive.
    pub fn new(columns: usize, forgetting: f64, prior_variance: f64) -> Self {
        assert!(columns > 0, "at least one column");
        assert!(forgetting > 0.0 && forgetting <= 1.0, "forgetting lies in (0, 1]");
        assert!(
            prior_variance > 0.0 && prior_variance.is_finite(),
            "a positive prior variance"
        );
        let mut inverse = vec![0.0; columns * columns];
        for i in 0..columns {
            inverse[i * columns + i] = prior_variance;
        }
        Self {
            coefficients: vec![0.0; columns],
            inverse,
            forgetting,
            largest_trace: columns as f64 * prior_variance,
            updates: 0,
        }
    }

    /// What the model expects for a row.
    pub fn predict(&self, row: &[f64]) -> f64 {
        row.iter().zip(&self.coefficients).map(|(x, b)| x * b).sum()
    }

    /// Learns one row and returns the residual *before* learning it: the error of an honest one-step forecast. `None`,
    /// with nothing learned, for a row of another length or a value that is not finite.
    ///
    /// ```
    /// use run_statistics::RecursiveLeastSquares;
    /// let mut model = RecursiveLeastSquares::new(2, 0.99, 1e6);
    /// for i in 0..50 {
    ///     let x = f64::from(i % 7);
    ///     model.update(&[1.0, x], 3.0 + 0.5 * x);
    /// }
    /// assert!((model.coefficients()[1] - 0.5).abs() < 1e-4);
    /// ```
    pub fn update(&mut self, row: &[f64], y: f64) -> Option<f64> {
        let n = self.coefficients.len();
        if row.len() != n || !y.is_finite() || row.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let projected: Vec<f64> = (0..n)
            .map(|i| (0..n).map(|j| self.inverse[i * n + j] * row[j]).sum())
            .collect();
        let spread: f64 = row.iter().zip(&projected).map(|(x, p)| x * p).sum();
        let denominator = self.forgetting + spread;
        let residual = y - self.predict(row);
        for (coefficient, p) in self.coefficients.iter_mut().zip(&projected) {
            *coefficient += p / denominator * residual;
        }
        for i in 0..n {
            for j in 0..=i {
                let value = self.inverse[i * n + j] - projected[i] * projected[j] / denominator;
                // Both halves are written from one value, so that rounding cannot make the matrix unsymmetric.
                self.inverse[i * n + j] = value;
                self.inverse[j * n + i] = value;
            }
        }
        let trace: f64 = (0..n).map(|i| self.inverse[i * n + i]).sum();
        let growth = (1.0 / self.forgetting)
            .min(self.largest_trace / trace.max(f64::MIN_POSITIVE))
            .max(1.0);
        for value in &mut self.inverse {
            *value *= growth;
        }
        self.updates += 1;
        Some(residual)
    }

    /// The current coefficients, one per column.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Rows learned.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}
