//! One compared figure: both values, their ratio with its interval, and the conclusion.

use serde::Serialize;

use super::conclusion::{CompareOptions, Conclusion, Difference};
use super::interval::{LogRatio, Method};

/// Confidence of every interval.
const CONFIDENCE: f64 = 0.95;

/// A family of tests has this chance of a false alarm (Holm), or this share of them (Benjamini and Hochberg).
const LEVEL: f64 = 0.05;

/// One compared figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedFigure {
    /// What it is: "time per output token", "p90 of time to first token".
    pub name: String,
    /// Unit of both values.
    pub unit: String,
    /// Smaller is better.
    pub lower_is_better: bool,
    /// The base's value.
    pub base: Option<f64>,
    /// The other's value.
    pub other: Option<f64>,
    /// Other over base with its interval, as far as it could be computed.
    #[serde(flatten)]
    pub ratio: Option<RatioInterval>,
    /// What it means.
    pub conclusion: Conclusion,
    /// Why there is no ratio, or why it decides nothing.
    pub because: Option<String>,
    /// For an inconclusive figure: how many times as long a run would probably decide it.
    pub longer_by: Option<f64>,
}

/// A ratio of geometric means with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RatioInterval {
    /// Other over base.
    pub ratio: f64,
    /// Lower end of the interval.
    pub ratio_low: f64,
    /// Upper end of the interval.
    pub ratio_high: f64,
    /// p-value of no difference.
    pub p_value: f64,
    /// The same with the other figures of its family taken into account.
    pub adjusted_p_value: f64,
    /// Independent values behind it; absent for quantiles and where the unit is a whole run.
    pub effective_size: Option<f64>,
    /// How it was measured.
    #[serde(flatten)]
    pub method: Method,
    #[serde(skip)]
    estimate: run_statistics::Estimate,
}

/// A figure before the family's adjustment: a ratio, or why there is none.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) lower_is_better: bool,
    pub(super) base: Option<f64>,
    pub(super) other: Option<f64>,
    pub(super) ratio: Result<LogRatio, Gap>,
}

/// Why a figure has no ratio.
#[derive(Clone)]
pub(super) enum Gap {
    /// The runs do not allow it.
    NotComparable(String),
    /// There is too little for it.
    TooLittle(String),
}

/// How p-values of a family are adjusted.
#[derive(Clone, Copy)]
pub(super) enum Family {
    /// For figures that decide.
    Holm,
    /// For figures that are only shown.
    BenjaminiHochberg,
}

/// Finishes the figures of one family.
pub(super) fn finish(drafts: Vec<Draft>, family: Family, options: &CompareOptions) -> Vec<ComparedFigure> {
    let p_values: Vec<f64> = drafts
        .iter()
        .filter_map(|draft| draft.ratio.as_ref().ok())
        .map(|ratio| ratio.estimate.p_value(0.0))
        .collect();
    let mut adjusted = match family {
        Family::Holm => run_statistics::holm(&p_values),
        Family::BenjaminiHochberg => run_statistics::benjamini_hochberg(&p_values),
    }
    .into_iter();
    drafts
        .into_iter()
        .map(|draft| {
            let ratio = match draft.ratio {
                Ok(ratio) => {
                    let adjusted = adjusted.next().expect("one adjusted value for each ratio");
                    Ok(RatioInterval::of(ratio, adjusted))
                }
                Err(gap) => Err(gap),
            };
            let (conclusion, longer_by, because) = match &ratio {
                Ok(ratio) => {
                    let (conclusion, longer_by) = ratio.decide(draft.lower_is_better, options);
                    (conclusion, longer_by, None)
                }
                Err(Gap::NotComparable(because)) => (Conclusion::NotComparable, None, Some(because.clone())),
                Err(Gap::TooLittle(because)) => (Conclusion::Inconclusive, None, Some(because.clone())),
            };
            ComparedFigure {
                name: draft.name,
                unit: draft.unit,
                lower_is_better: draft.lower_is_better,
                base: draft.base,
                other: draft.other,
                ratio: ratio.ok(),
                conclusion,
                because,
                longer_by,
            }
        })
        .collect()
}

impl RatioInterval {
    fn of(ratio: LogRatio, adjusted_p_value: f64) -> Self {
        let (low, high) = ratio.estimate.interval(CONFIDENCE);
        Self {
            ratio: ratio.estimate.value.exp(),
            ratio_low: low.exp(),
            ratio_high: high.exp(),
            p_value: ratio.estimate.p_value(0.0),
            adjusted_p_value,
            effective_size: ratio.effective_size,
            method: ratio.method,
            estimate: ratio.estimate,
        }
    }

    fn decide(&self, lower_is_better: bool, options: &CompareOptions) -> (Conclusion, Option<f64>) {
        let difference = Difference {
            log_ratio: self.estimate.value,
            half_width: self.estimate.half_width(CONFIDENCE),
            effective_size: self.effective_size,
            family_half_width: self.estimate.half_width(1.0 - self.level()),
            lower_is_better,
        };
        difference.decide(options)
    }

    /// The level at which this test alone has to be significant for the adjusted p-value to be below the family's.
    fn level(&self) -> f64 {
        if self.p_value > 0.0 {
            LEVEL * self.p_value / self.adjusted_p_value
        } else {
            LEVEL
        }
    }

    /// Other over base, minus 1.
    pub fn relative_change(&self) -> f64 {
        self.ratio - 1.0
    }

    /// Half the width of the interval, relative.
    pub fn half_width(&self) -> f64 {
        self.estimate.half_width(CONFIDENCE)
    }
}

impl ComparedFigure {
    /// Whether the figure changed by an amount that counts.
    pub fn has_changed(&self) -> bool {
        matches!(self.conclusion, Conclusion::Improved | Conclusion::Regressed)
    }

    /// Takes a decision back.
    pub(super) fn overrule(&mut self, because: &str) {
        if self.conclusion != Conclusion::NotComparable {
            self.conclusion = Conclusion::Inconclusive;
            self.because = Some(because.to_owned());
            self.longer_by = None;
        }
    }
}
