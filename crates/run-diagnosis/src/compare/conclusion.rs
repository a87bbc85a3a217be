//! The five words of a comparison, and how one is chosen.

use serde::Serialize;

/// What a comparison says about a metric. "Not significant" is not "no difference", so there are five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Better by at least the smallest effect that counts.
    Improved,
    /// Worse by at least the smallest effect that counts.
    Regressed,
    /// Equal within the equivalence margin.
    NoDifference,
    /// The runs do not decide it.
    Inconclusive,
    /// The runs did different work, or the figure describes no server.
    NotComparable,
}

impl Conclusion {
    /// As sentences say it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::Regressed => "regressed",
            Self::NoDifference => "no difference",
            Self::Inconclusive => "inconclusive",
            Self::NotComparable => "not comparable",
        }
    }
}

/// Which effects count.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// Smallest relative difference that is called improved or regressed: 0.01 is 1 %.
    pub min_effect: f64,
    /// Relative differences within this margin on both sides are no difference: 0.02 is 2 %.
    pub equivalence: f64,
    /// Settings that may differ, by the names in [`Mismatch::what`](super::Mismatch): to compare across versions of
    /// vLLM, `vllm_version`.
    pub across: Vec<String>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            min_effect: 0.01,
            equivalence: 0.02,
            across: Vec::new(),
        }
    }
}

/// Fewest independent values for a decision; with fewer the interval itself is not to be trusted.
pub const FEWEST_INDEPENDENT: f64 = 20.0;

/// Unless the difference is this many half-widths of its interval away from what would change the conclusion: from 0
/// for a change, from the margin for none.
pub const CERTAIN_HALF_WIDTHS: f64 = 3.0;

/// A difference of logarithms with its interval, ready for a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// ln(other / base).
    pub log_ratio: f64,
    /// Half the width of its 95 % interval.
    pub half_width: f64,
    /// Independent values behind it; absent where the unit is a whole run.
    pub effective_size: Option<f64>,
    /// Half the width of the interval at the level that the other tests of its family leave to this one: what the
    /// difference has to exceed to be one.
    pub family_half_width: f64,
    /// Smaller is better, as for a latency.
    pub lower_is_better: bool,
}

impl Difference {
    /// Whether there is enough for a decision.
    pub fn is_decidable(&self, options: &CompareOptions) -> bool {
        let certain = CERTAIN_HALF_WIDTHS * self.half_width;
        self.effective_size.is_none_or(|size| size >= FEWEST_INDEPENDENT)
            || self.log_ratio.abs() >= certain
            || options.equivalence - self.log_ratio.abs() >= certain
    }

    /// Chooses the conclusion, and for [`Conclusion::Inconclusive`] by which factor a run would have to be longer.
    ///
    /// ```
    /// use run_diagnosis::compare::{CompareOptions, Difference, Conclusion};
    /// let difference = Difference {
    ///     log_ratio: 0.03, half_width: 0.01, family_half_width: 0.012, effective_size: Some(80.0),
    ///     lower_is_better: true,
    /// };
    /// let options = CompareOptions::default();
    /// assert_eq!(difference.decide(&options).0, Conclusion::Regressed);
    /// let wide = Difference { log_ratio: 0.0, half_width: 0.04, family_half_width: 0.05, ..difference };
    /// assert_eq!(wide.decide(&options), (Conclusion::Inconclusive, Some(4.0)));
    /// ```
    pub fn decide(&self, options: &CompareOptions) -> (Conclusion, Option<f64>) {
        let (size, half_width) = (self.log_ratio.abs(), self.half_width);
        if !self.is_decidable(options) {
            let factor = self
                .effective_size
                .map(|effective| FEWEST_INDEPENDENT / effective);
            return (
                Conclusion::Inconclusive,
                factor.filter(|factor| factor.is_finite()),
            );
        }
        if size > self.family_half_width && size >= options.min_effect.ln_1p() {
            let better = (self.log_ratio < 0.0) == self.lower_is_better;
            return (
                if better {
                    Conclusion::Improved
                } else {
                    Conclusion::Regressed
                },
                None,
            );
        }
        if size + half_width <= options.equivalence {
            return (Conclusion::NoDifference, None);
        }
        // Either the interval has to fit into the margin, or to leave 0 out.
        let times_wider = if size < options.equivalence {
            half_width / (options.equivalence - size)
        } else {
            self.family_half_width / size
        };
        (Conclusion::Inconclusive, Some(times_wider.powi(2).max(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(log_ratio: f64, half_width: f64) -> Difference {
        Difference {
            log_ratio,
            half_width,
            effective_size: Some(100.0),
            family_half_width: half_width,
            lower_is_better: true,
        }
    }

    fn conclusion(difference: Difference) -> Conclusion {
        difference.decide(&CompareOptions::default()).0
    }

    #[test]
    fn small_certain_differences_are_none() {
        assert_eq!(conclusion(difference(0.005, 0.001)), Conclusion::NoDifference);
        assert_eq!(conclusion(difference(0.015, 0.001)), Conclusion::Regressed);
        assert_eq!(conclusion(difference(-0.015, 0.001)), Conclusion::Improved);
        assert_eq!(conclusion(difference(0.01, 0.015)), Conclusion::Inconclusive);
    }

    #[test]
    fn throughput_is_better_when_larger() {
        let throughput = Difference {
            lower_is_better: false,
            ..difference(0.05, 0.01)
        };
        assert_eq!(conclusion(throughput), Conclusion::Improved);
    }

    #[test]
    fn few_independent_values_decide_only_large_differences() {
        let few = |log_ratio| Difference {
            effective_size: Some(5.0),
            ..difference(log_ratio, 0.01)
        };
        assert_eq!(
            few(0.029).decide(&CompareOptions::default()),
            (Conclusion::Inconclusive, Some(4.0))
        );
        assert_eq!(conclusion(few(0.031)), Conclusion::Regressed);
        assert_eq!(conclusion(few(0.001)), Conclusion::Inconclusive);
        // Far inside the margin is as certain as far outside 0.
        let narrow = Difference {
            half_width: 0.005,
            family_half_width: 0.005,
            ..few(0.004)
        };
        assert_eq!(conclusion(narrow), Conclusion::NoDifference);
    }

    #[test]
    fn what_the_family_does_not_find_is_not_called_a_change() {
        let alone = Difference {
            family_half_width: 0.033,
            ..difference(0.03, 0.028)
        };
        let (conclusion, longer_by) = alone.decide(&CompareOptions::default());
        assert_eq!(conclusion, Conclusion::Inconclusive);
        assert!((longer_by.unwrap() - 1.21).abs() < 1e-9);
    }
}
