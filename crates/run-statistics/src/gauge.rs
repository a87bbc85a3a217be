//! Time-weighted mean and percentiles of a sampled gauge.

/// A gauge over a stretch of time, each sample weighted by how long it was the newest one.
///
/// A mean of the samples alone would weight a burst of close scrapes like the whole rest of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct GaugeOverTime {
    /// (value, nanoseconds it held), in ascending order of value.
    held: Vec<(f64, i64)>,
    /// Nanoseconds of the stretch during which a value is known.
    pub covered_ns: i64,
}

impl GaugeOverTime {
    /// From samples (time, value) in ascending order of time, over `from_ns..to_ns`.
    ///
    /// A value holds until the next sample, but for at most `max_hold_ns`: a longer silence is a gap and not covered.
    /// Samples before `from_ns` count for what reaches into the stretch. Values that are not finite cover nothing.
    /// `None` if nothing is covered.
    ///
    /// ```
    /// use run_statistics::GaugeOverTime;
    /// let samples = [(0, 1.0), (10, 5.0), (20, 5.0)];
    /// let gauge = GaugeOverTime::of(&samples, 0, 40, 10).unwrap();
    /// // 1 for 10 ns, 5 for 20 ns; from 30 to 40 nothing is known.
    /// assert_eq!(gauge.covered_ns, 30);
    /// assert_eq!(gauge.mean(), 110.0 / 30.0);
    /// assert_eq!(gauge.percentile(0.3), 1.0);
    /// assert_eq!(gauge.percentile(0.5), 5.0);
    /// ```
    pub fn of(samples: &[(i64, f64)], from_ns: i64, to_ns: i64, max_hold_ns: i64) -> Option<Self> {
        let mut held = Vec::new();
        for (i, &(time_ns, value)) in samples.iter().enumerate() {
            let next_ns = samples.get(i + 1).map_or(to_ns, |(next_ns, _)| *next_ns);
            let end_ns = next_ns.min(time_ns.saturating_add(max_hold_ns)).min(to_ns);
            let held_ns = end_ns - time_ns.max(from_ns);
            if held_ns > 0 && value.is_finite() {
                held.push((value, held_ns));
            }
        }
        held.sort_by(|a, b| a.0.total_cmp(&b.0));
        let covered_ns = held.iter().map(|(_, ns)| ns).sum();
        (covered_ns > 0).then_some(Self { held, covered_ns })
    }

    /// Mean over the covered time.
    pub fn mean(&self) -> f64 {
        let weighted: f64 = self.held.iter().map(|(value, ns)| value * *ns as f64).sum();
        weighted / self.covered_ns as f64
    }

    /// The smallest value that the gauge did not exceed during a share `q` of the covered time.
    pub fn percentile(&self, q: f64) -> f64 {
        let wanted_ns = q.clamp(0.0, 1.0) * self.covered_ns as f64;
        let mut below_ns = 0;
        let mut last = f64::NAN;
        for (value, ns) in &self.held {
            below_ns += ns;
            last = *value;
            if below_ns as f64 >= wanted_ns {
                break;
            }
        }
        last
    }

    /// Share of the covered time during which the gauge was at or above `level`.
    ///
    /// ```
    /// use run_statistics::GaugeOverTime;
    /// let gauge = GaugeOverTime::of(&[(0, 0.5), (30, 0.96)], 0, 40, 100).unwrap();
    /// assert_eq!(gauge.share_at_or_above(0.95), 0.25);
    /// ```
    pub fn share_at_or_above(&self, level: f64) -> f64 {
        let above_ns: i64 = self
            .held
            .iter()
            .filter(|(value, _)| *value >= level)
            .map(|(_, ns)| ns)
            .sum();
        above_ns as f64 / self.covered_ns as f64
    }
}
