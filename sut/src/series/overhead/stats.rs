//! The ratio of paired measurements, with its confidence interval.

/// A ratio of two throughputs measured in pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Geometric mean of the pairs' ratios.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Number of pairs.
    pub n: usize,
}

impl Ratio {
    /// Computed from the ratio of each pair; `None` for fewer than two pairs, or for a ratio that is not
    /// positive.
    ///
    /// Student's t on the logarithms: a ratio and its inverse have equal weight, and anything that slows both
    /// runs of a pair equally cancels out.
    pub fn of(ratios: &[f64]) -> Option<Self> {
        let n = ratios.len();
        if n < 2 || !ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0) {
            return None;
        }
        let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let mean = logs.iter().sum::<f64>() / n as f64;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let half = t_975(n - 1) * (variance / n as f64).sqrt();
        Some(Self {
            mean: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            n,
        })
    }

    /// Whether the interval contains 1.
    pub fn contains_one(&self) -> bool {
        (self.low..=self.high).contains(&1.0)
    }
}

/// The 97.5 % quantile of Student's t, for two-sided 95 % intervals.
fn t_975(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    match degrees {
        0 => f64::INFINITY,
        1..=30 => TABLE[degrees - 1],
        _ => {
            // Two terms of the expansion around the normal quantile, accurate to three decimals from here on.
            let (z, n): (f64, f64) = (1.959_964, degrees as f64);
            z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let ratio = Ratio::of(&[1.0, 1.1, 0.9, 1.0]).unwrap();
        // Computed by hand: logarithms 0, 0.0953102, -0.1053605, 0; mean -0.0025126; s = 0.0819747; t(3) =
        // 3.182.
        assert!((ratio.mean - 0.997_491).abs() < 1e-5, "{ratio:?}");
        assert!((ratio.high.ln() - ratio.mean.ln() - 3.182 * 0.081_974_7 / 2.0).abs() < 1e-5);
        assert!(ratio.contains_one() && ratio.n == 4);
        assert!(!Ratio::of(&[0.9, 0.9001, 0.8999]).unwrap().contains_one());
    }

    #[test]
    fn too_little_gives_no_interval() {
        assert_eq!(Ratio::of(&[1.0]), None);
        assert_eq!(Ratio::of(&[1.0, f64::NAN]), None);
        assert_eq!(Ratio::of(&[1.0, 0.0]), None);
    }

    #[test]
    fn quantiles_go_on_smoothly_beyond_the_table() {
        assert!((t_975(31) - 2.0395).abs() < 1e-3, "{}", t_975(31));
        assert!((t_975(120) - 1.9799).abs() < 1e-3, "{}", t_975(120));
    }
}
