//! Small symmetric positive definite matrices.

/// The Cholesky factor L of a symmetric positive definite matrix A = L Lᵀ, stored by rows.
///
/// For the handful of columns of a regression; nothing here is tuned for large matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct Cholesky {
    size: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Factors a square matrix given by rows; only its lower triangle is read. `None` if the matrix has no rows, is
    /// not square or not positive definite.
    ///
    /// ```
    /// use run_statistics::Cholesky;
    /// let factor = Cholesky::of(&[4.0, 2.0, 2.0, 3.0]).unwrap();
    /// let x = factor.solve(&[8.0, 8.0]).unwrap();
    /// assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
    /// assert!(Cholesky::of(&[1.0, 2.0, 2.0, 1.0]).is_none());
    /// ```
    pub fn of(matrix: &[f64]) -> Option<Self> {
        let size = matrix.len().isqrt();
        if size == 0 || size * size != matrix.len() {
            return None;
        }
        let mut lower = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| lower[i * size + k] * lower[j * size + k]).sum();
                let left = matrix[i * size + j] - known;
                lower[i * size + j] = if i == j {
                    // The comparison also refuses NaN.
                    if !(left > 0.0 && left.is_finite()) {
                        return None;
                    }
                    left.sqrt()
                } else {
                    left / lower[j * size + j]
                };
            }
        }
        Some(Self { size, lower })
    }

    /// Rows of the matrix.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Solves A x = b. `None` if b has another length than A has rows.
    pub fn solve(&self, b: &[f64]) -> Option<Vec<f64>> {
        if b.len() != self.size {
            return None;
        }
        let n = self.size;
        let mut x = b.to_vec();
        for i in 0..n {
            let known: f64 = (0..i).map(|k| self.lower[i * n + k] * x[k]).sum();
            x[i] = (x[i] - known) / self.lower[i * n + i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| self.lower[k * n + i] * x[k]).sum();
            x[i] = (x[i] - known) / self.lower[i * n + i];
        }
        Some(x)
    }

    /// The inverse of A, by rows.
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.size;
        let mut inverse = vec![0.0; n * n];
        for column in 0..n {
            let mut unit = vec![0.0; n];
            unit[column] = 1.0;
            let solved = self.solve(&unit).expect("the unit vector has the matrix's size");
            for (row, value) in solved.into_iter().enumerate() {
                inverse[row * n + column] = value;
            }
        }
        inverse
    }

    /// The smallest squared diagonal element of the factor. For a matrix with ones on its diagonal it is the share of
    /// a column that the columns before it do not explain.
    pub fn smallest_pivot(&self) -> f64 {
        (0..self.size)
            .map(|i| self.lower[i * self.size + i].powi(2))
            .fold(f64::INFINITY, f64::min)
    }
}
