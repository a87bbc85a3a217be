//! Splits energy into prefill and decode by a regression of each window's energy on its prefill tokens,
//! decode tokens and seconds.
//!
//! `joules = a × prefill tokens + b × decode tokens + c × seconds`. `a` and `b` are the energy per token in
//! addition to the base power `c` in watts. Prompt tokens taken from a cache are not prefill.

use super::regression::{Coefficient, Fit, FitError, least_squares};
use super::steps::{self, Step, seconds};
use super::window::{Method, Source, sources};
use run_model::RunData;

/// Coefficients of the regression.
const COLUMNS: usize = 3;

/// The split and its reliability.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergySplit {
    /// Energy per prompt token computed, in joules.
    pub joules_per_prefill_token: Coefficient,
    /// Energy per output token, in joules.
    pub joules_per_decode_token: Coefficient,
    /// Power without any token, in watts.
    pub base_watts: Coefficient,
    /// Prompt tokens computed in the windows.
    pub prefill_tokens: f64,
    /// Output tokens in the windows.
    pub decode_tokens: f64,
    /// Seconds in the windows.
    pub seconds: f64,
    /// Energy measured in the windows, in joules.
    pub joules: f64,
    /// How the energy was measured (the least reliable method among the GPUs).
    pub method: Method,
    /// Source of the tokens: `counters` (the server's) or `requests` (the client's rows).
    pub tokens_from: &'static str,
    /// The fit: residuals, share explained, autocorrelation, number of windows.
    pub fit: Fit,
}

impl EnergySplit {
    /// Energy of prefill in the windows, in joules, with its standard error.
    pub fn prefill_joules(&self) -> Coefficient {
        times(self.joules_per_prefill_token, self.prefill_tokens)
    }

    /// Energy of decode in the windows, in joules, with its standard error.
    pub fn decode_joules(&self) -> Coefficient {
        times(self.joules_per_decode_token, self.decode_tokens)
    }

    /// Energy drawn without any token in the windows, in joules, with its standard error.
    pub fn base_joules(&self) -> Coefficient {
        times(self.base_watts, self.seconds)
    }
}

fn times(coefficient: Coefficient, factor: f64) -> Coefficient {
    Coefficient {
        value: coefficient.value * factor,
        standard_error: coefficient.standard_error * factor,
    }
}

/// Why there is no split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitUnavailable {
    /// No energy to split.
    #[error("no GPU in this run reported its energy or power")]
    NoEnergy,
    /// There is no source of token counts over time.
    #[error("neither token counters nor request rows with token counts are in this run")]
    NoTokens,
    /// The 95 % interval of a coefficient contains 0 or lies below it, so that the split says nothing.
    #[error("this run does not determine the energy of {0}: the 95 % interval of its estimate contains 0")]
    Undetermined(&'static str),
    /// The regression failed.
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// Splits the energy between two times.
///
/// # Errors
///
/// If energy or tokens are missing, the window is too short for a regression, the load did not vary enough to
/// separate prefill, decode and idle time, or an estimate is not above 0 with 95 % confidence.
pub fn split(run: &RunData, from_ns: i64, to_ns: i64) -> Result<EnergySplit, SplitUnavailable> {
    let sources = sources(run);
    let method = sources
        .iter()
        .map(|source| source.method)
        .max()
        .ok_or(SplitUnavailable::NoEnergy)?;
    let (prefill, decode, tokens_from) = tokens(run).ok_or(SplitUnavailable::NoTokens)?;
    let edges = edges(&sources, method, from_ns, to_ns);
    let mut rows = Vec::with_capacity(edges.len());
    let mut joules = Vec::with_capacity(edges.len());
    for edge in edges.windows(2) {
        let (from, to) = (edge[0], edge[1]);
        let energy: Vec<_> = sources
            .iter()
            .map(|source| steps::inside(&source.steps, from, to))
            .collect();
        // A window with a gap in the energy data would have too few joules.
        if energy.iter().any(|inside| inside.covered_ns < to - from) {
            continue;
        }
        let amount = |tokens: &[Step]| steps::inside(tokens, from, to).amount;
        rows.push([amount(&prefill), amount(&decode), seconds(to - from)]);
        joules.push(energy.iter().map(|inside| inside.amount).sum());
    }
    let fit = least_squares(&rows, &joules)?;
    for (coefficient, of) in fit.coefficients.iter().zip(["a prefill token", "a decode token"]) {
        if !is_determined(*coefficient, fit.rows) {
            return Err(SplitUnavailable::Undetermined(of));
        }
    }
    let total = |column: usize| rows.iter().map(|row| row[column]).sum();
    Ok(EnergySplit {
        joules_per_prefill_token: fit.coefficients[0],
        joules_per_decode_token: fit.coefficients[1],
        base_watts: fit.coefficients[2],
        prefill_tokens: total(0),
        decode_tokens: total(1),
        seconds: total(2),
        joules: joules.iter().sum(),
        method,
        tokens_from,
        fit,
    })
}

/// Whether a coefficient is above 0 with 95 % confidence.
fn is_determined(coefficient: Coefficient, rows: usize) -> bool {
    let degrees = rows.saturating_sub(COLUMNS) as f64;
    let half_width = run_statistics::student::quantile(0.975, degrees) * coefficient.standard_error;
    coefficient.value - half_width > 0.0
}

/// Window edges: times at which the first GPU was read, at least a second apart (two for averaged power,
/// whose average would otherwise smear one window into the next).
fn edges(sources: &[Source], method: Method, from_ns: i64, to_ns: i64) -> Vec<i64> {
    let apart = if method == Method::AveragePowerIntegral {
        2_000_000_000
    } else {
        1_000_000_000
    };
    let mut edges: Vec<i64> = Vec::new();
    let Some(first) = sources.first() else {
        return edges;
    };
    let moments = first.steps.iter().flat_map(|step| [step.from_ns, step.to_ns]);
    // Ticks jitter, so an edge may be slightly early.
    let slack = apart / 20;
    for moment in moments.filter(|moment| (from_ns..=to_ns).contains(moment)) {
        if edges.last().is_none_or(|last| moment - last >= apart - slack) {
            edges.push(moment);
        }
    }
    edges
}

/// Tokens over time: the server's counters, otherwise the client's rows.
fn tokens(run: &RunData) -> Option<(Vec<Step>, Vec<Step>, &'static str)> {
    let counted = |name: &str| {
        let series = run
            .series
            .iter()
            .filter(|series| &*series.def.metric_name == name);
        merge(
            series
                .map(|series| steps::of_counter(&series.timestamps_ns, &series.values))
                .collect(),
        )
    };
    let decode = counted("vllm:generation_tokens_total");
    let prompt = counted("vllm:prompt_tokens_total");
    if !decode.is_empty() && !prompt.is_empty() {
        let cached = counted("vllm:prompt_tokens_cached_total");
        return Some((without(&prompt, &cached), decode, "counters"));
    }
    let mut prefill = Vec::new();
    let mut decode = Vec::new();
    for request in &run.requests {
        let Some(first) = request.first_token_ns else {
            continue;
        };
        let since = request.sent_ns.unwrap_or(request.issued_ns);
        let began = request
            .server_prefill_ns
            .map_or(since, |prefill| (first - prefill).max(since));
        if let Some(tokens) = request.prompt_tokens {
            prefill.push(Step {
                from_ns: began,
                to_ns: first,
                amount: f64::from(tokens),
                error: 0.0,
            });
        }
        if let (Some(done), Some(tokens)) = (request.done_ns, request.output_tokens) {
            let rest = f64::from(tokens.saturating_sub(1));
            decode.push(Step {
                from_ns: first,
                to_ns: done,
                amount: rest,
                error: 0.0,
            });
        }
    }
    (!prefill.is_empty() && !decode.is_empty()).then(|| (spread(prefill), spread(decode), "requests"))
}

/// Merges several engines' counters into one sequence of steps.
fn merge(mut all: Vec<Vec<Step>>) -> Vec<Step> {
    if all.len() == 1 {
        return all.swap_remove(0);
    }
    spread(all.into_iter().flatten().collect())
}

/// Converts overlapping steps to disjoint ones: between any two adjacent edges, the sum of all rates.
fn spread(overlapping: Vec<Step>) -> Vec<Step> {
    let mut changes: Vec<(i64, f64)> = Vec::with_capacity(2 * overlapping.len());
    for step in overlapping {
        // A step of zero length is given a microsecond.
        let to_ns = step.to_ns.max(step.from_ns + 1000);
        let rate = step.amount / (to_ns - step.from_ns) as f64;
        changes.push((step.from_ns, rate));
        changes.push((to_ns, -rate));
    }
    changes.sort_by_key(|(at, _)| *at);
    let mut out: Vec<Step> = Vec::with_capacity(changes.len());
    let (mut rate, mut at) = (0.0, i64::MIN);
    for (moment, change) in changes {
        if moment > at && at > i64::MIN {
            let amount = f64::max(rate * (moment - at) as f64, 0.0);
            out.push(Step {
                from_ns: at,
                to_ns: moment,
                amount,
                error: 0.0,
            });
        }
        rate += change;
        at = moment;
    }
    out
}

/// Subtracts the amounts of `part` from those of `all`.
fn without(all: &[Step], part: &[Step]) -> Vec<Step> {
    let less = |step: &Step| {
        let cached = steps::inside(part, step.from_ns, step.to_ns).amount;
        Step {
            amount: (step.amount - cached).max(0.0),
            ..*step
        }
    };
    all.iter().map(less).collect()
}
