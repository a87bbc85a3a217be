//! The time of an engine step, fitted to a run: fixed + per token + per token of context.

use std::ops::Range;

use run_statistics::{FitError, LinearFit, least_squares, percentile};
use serde::Serialize;

use crate::input::Run;

/// Busy seconds that a fit needs.
const FEWEST_SECONDS: usize = 30;

/// Steps are counted and not timed: of fewer steps a second the time of one is off by more than a twentieth, which is
/// more than tokens per step usually change it.
const FEWEST_STEPS: f64 = 20.0;

/// A difference counts as seen from so many standard errors.
const SEEN: f64 = 2.0;

/// A growth that is not known to this is not known: half the distance between the thresholds that rules compare it with.
const GROWTH_KNOWN_TO: f64 = 0.15;

/// Step time ≈ fixed + tokens × per_token + context tokens × per_context_token, in seconds.
///
/// From the seconds in which some request was under way the whole time, by the client's exact times: there, the time
/// of a step is one second over the number of steps. (The gauge of running requests is read once a second and does not
/// show pauses.) Coefficients that come out negative are within their error of 0 and are set to 0.
///
/// Steps of a steady load are alike, and their times then show the sum of fixed and token time, but not the parts. The
/// busy seconds of the whole run are used if those of the window do not say which part is larger: while the batch fills
/// and drains, steps have other numbers of tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepFit {
    /// What every step takes: reading weights, launching, scheduling.
    pub fixed_secs: f64,
    /// What each computed token adds.
    pub per_token_secs: f64,
    /// Standard error of that.
    pub per_token_error_secs: f64,
    /// What each token of context adds: reading its keys and values. Absent where the cache's size or use is not known.
    pub per_context_token_secs: Option<f64>,
    /// Share of the variance of step time that the fit explains.
    pub r_squared: f64,
    /// Seconds used.
    pub seconds: usize,
    #[serde(skip)]
    split: Split,
    #[serde(skip)]
    context_tokens: Vec<Option<f64>>,
    #[serde(skip)]
    first: usize,
}

/// Fixed time and time per token as fitted, with their covariance.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    fixed_secs: f64,
    per_token_secs: f64,
    fixed_variance: f64,
    per_token_variance: f64,
    covariance: f64,
}

impl Split {
    fn of(fit: &LinearFit) -> Self {
        let columns = fit.coefficients.len();
        Self {
            fixed_secs: fit.coefficients[0],
            per_token_secs: fit.coefficients[1],
            fixed_variance: fit.covariance[0],
            per_token_variance: fit.covariance[columns + 1],
            covariance: fit.covariance[1],
        }
    }

    /// Whether the tokens of a step take more time than its fixed part; `None` if the errors allow both.
    fn is_beyond_ridge(&self, tokens: f64) -> Option<bool> {
        let excess = self.per_token_secs * tokens - self.fixed_secs;
        let variance =
            self.fixed_variance + tokens * tokens * self.per_token_variance - 2.0 * tokens * self.covariance;
        (excess.abs() > SEEN * variance.max(0.0).sqrt()).then_some(excess > 0.0)
    }
}

impl StepFit {
    /// A fit for these seconds.
    pub(super) fn of(run: &Run, seconds: Range<usize>) -> Result<Self, String> {
        let in_window = Self::over(run, seconds.clone());
        if in_window.as_ref().is_ok_and(|fit| fit.shows_ridge(run, &seconds)) {
            return in_window;
        }
        match Self::over(run, 0..run.seconds.seconds) {
            Ok(whole) if whole.shows_ridge(run, &seconds) => Ok(whole),
            _ => in_window,
        }
    }

    /// Whether it says, of the usual step of these seconds, on which side of the ridge it is.
    fn shows_ridge(&self, run: &Run, seconds: &Range<usize>) -> bool {
        let tokens: Vec<f64> = seconds
            .clone()
            .filter_map(|second| tokens_per_step(run, second))
            .collect();
        percentile::median(&tokens).is_some_and(|tokens| self.is_beyond_ridge(tokens).is_some())
    }

    /// From some seconds.
    fn over(run: &Run, seconds: Range<usize>) -> Result<Self, String> {
        let context_tokens: Vec<Option<f64>> = seconds
            .clone()
            .map(|second| Some(run.seconds.kv_cache_usage_ratio.at(second)? * run.facts.kv_capacity_tokens?))
            .collect();
        let with_context = context_tokens.iter().any(Option::is_some);
        let columns = if with_context { 3 } else { 2 };
        // A sample of the counters covers parts of two seconds: both are to be busy.
        let around = seconds.start.saturating_sub(1)..(seconds.end + 1).min(run.seconds.seconds);
        let busy = busy_seconds(run, &around);
        let is_busy = |second: usize| {
            let at = |second: usize| busy.get(second.checked_sub(around.start)?).copied();
            [second.checked_sub(1), Some(second), Some(second + 1)]
                .into_iter()
                .all(|second| second.and_then(at) == Some(true))
        };
        let (mut rows, mut step_secs) = (Vec::new(), Vec::new());
        for (second, context) in seconds.clone().zip(&context_tokens) {
            let (Some(steps), Some(tokens)) =
                (run.seconds.engine_steps.at(second), tokens_per_step(run, second))
            else {
                continue;
            };
            if !is_busy(second) || steps < 1.0 || (with_context && context.is_none()) {
                continue;
            }
            rows.extend([1.0, tokens].into_iter().chain(*context));
            step_secs.push(1.0 / steps);
        }
        if step_secs.len() < FEWEST_SECONDS {
            return Err(format!(
                "the step time could not be fitted: {} busy seconds with known steps, {FEWEST_SECONDS} are needed",
                step_secs.len()
            ));
        }
        let step_median = percentile::median(&step_secs).unwrap_or(f64::INFINITY);
        if step_median * FEWEST_STEPS > 1.0 {
            return Err(format!(
                "the step time could not be fitted: {:.1} steps a second are too few to time one, {FEWEST_STEPS:.0} are \
                 needed",
                1.0 / step_median
            ));
        }
        let fit = least_squares(&rows, columns, &step_secs).map_err(|error| match error {
            FitError::Collinear => {
                "the step time could not be fitted: tokens per step and context hardly vary, or only together"
                    .to_owned()
            }
            other => format!("the step time could not be fitted: {other}"),
        })?;
        Ok(Self {
            fixed_secs: fit.coefficients[0].max(0.0),
            per_token_secs: fit.coefficients[1].max(0.0),
            per_token_error_secs: fit.standard_error(1).unwrap_or(f64::INFINITY),
            per_context_token_secs: fit.coefficients.get(2).map(|coefficient| coefficient.max(0.0)),
            r_squared: fit.r_squared,
            seconds: step_secs.len(),
            split: Split::of(&fit),
            context_tokens,
            first: seconds.start,
        })
    }

    /// Tokens per step whose own time equals the fixed time. Where the time per token is not seen above its error, the
    /// smallest number that the error allows: the ridge is at least there.
    pub fn ridge_tokens(&self) -> f64 {
        let seen = self.per_token_secs > SEEN * self.per_token_error_secs;
        let per_token = if seen {
            self.per_token_secs
        } else {
            self.per_token_secs + SEEN * self.per_token_error_secs
        };
        self.fixed_secs / per_token
    }

    /// Whether a step with so many tokens is beyond the ridge; `None` if the fit does not say.
    pub(super) fn is_beyond_ridge(&self, tokens: f64) -> Option<bool> {
        self.split.is_beyond_ridge(tokens)
    }

    /// By which share the step time grows when its tokens double; `None` where the errors of the fit are large.
    pub(super) fn growth(&self, tokens: f64, second: usize) -> Option<f64> {
        let token_secs = self.per_token_secs * tokens;
        let step_secs = self.fixed_secs + token_secs + self.context_secs(second).unwrap_or(0.0);
        let error = SEEN * self.per_token_error_secs * tokens / step_secs;
        Some(token_secs / step_secs).filter(|growth| growth.is_finite() && error <= GROWTH_KNOWN_TO)
    }

    /// Time for keys and values over the fixed time.
    pub(super) fn kv_to_fixed(&self, second: usize) -> Option<f64> {
        Some(self.context_secs(second)? / self.fixed_secs).filter(|ratio| ratio.is_finite())
    }

    pub(super) fn context_secs(&self, second: usize) -> Option<f64> {
        let tokens = (*self.context_tokens.get(second.checked_sub(self.first)?)?)?;
        Some(self.per_context_token_secs? * tokens)
    }
}

fn tokens_per_step(run: &Run, second: usize) -> Option<f64> {
    let (tokens, steps) = (
        run.seconds.step_tokens.at(second)?,
        run.seconds.engine_steps.at(second)?,
    );
    Some(tokens / steps).filter(|tokens| tokens.is_finite())
}

/// Whether at least one request was under way in every moment of each second.
fn busy_seconds(run: &Run, seconds: &Range<usize>) -> Vec<bool> {
    const SECOND: i64 = 1_000_000_000;
    let mut under_way: Vec<(i64, i64)> = run
        .requests
        .iter()
        .filter_map(|request| Some((request.sent_ns?, request.done_ns?)))
        .collect();
    under_way.sort_unstable();
    let mut idle_ns = vec![0; seconds.len()];
    let first_ns = run.seconds.begins_ns(seconds.start);
    let end_ns = run.seconds.begins_ns(seconds.end);
    let mut add_idle = |from_ns: i64, to_ns: i64| {
        let (mut from_ns, to_ns) = (from_ns.max(first_ns), to_ns.min(end_ns));
        while from_ns < to_ns {
            let second = (from_ns - first_ns) / SECOND;
            let until_ns = to_ns.min(first_ns + (second + 1) * SECOND);
            idle_ns[second as usize] += until_ns - from_ns;
            from_ns = until_ns;
        }
    };
    let mut covered_to_ns = i64::MIN;
    for (from_ns, to_ns) in under_way {
        if from_ns > covered_to_ns {
            add_idle(covered_to_ns, from_ns);
        }
        covered_to_ns = covered_to_ns.max(to_ns);
    }
    add_idle(covered_to_ns, i64::MAX);
    idle_ns
        .into_iter()
        .map(|idle_ns| idle_ns <= SECOND / 100)
        .collect()
}
