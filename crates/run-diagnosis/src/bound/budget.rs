//! What the time to first token and the time per output token consist of.

use run_statistics::{mean, percentile};
use serde::Serialize;

use super::quantity::Quantity;
use super::readings::Readings;
use super::step_fit::StepFit;
use crate::input::{RequestTimes, Run, Span};
use crate::words::secs;

/// Requests around a percentile that are averaged.
const AROUND: usize = 25;

/// A fitted step may be longer than the measured time per token by this factor: both are averages of other things.
const LARGEST_EXCESS: f64 = 1.2;

/// One part of a latency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetPart {
    /// What the time goes to.
    pub name: &'static str,
    /// How much, in seconds.
    pub secs: f64,
    /// Share of the whole.
    pub ratio: f64,
}

/// A latency in parts, the largest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyBudget {
    /// Which requests: "median" or "p99".
    pub requests: &'static str,
    /// The latency, in seconds.
    pub total_secs: f64,
    /// Its parts.
    pub parts: Vec<BudgetPart>,
}

impl LatencyBudget {
    fn of(requests: &'static str, parts: Vec<(&'static str, f64)>) -> Self {
        let total_secs: f64 = parts.iter().map(|(_, secs)| secs).sum();
        let mut parts: Vec<BudgetPart> = parts
            .into_iter()
            .map(|(name, secs)| BudgetPart {
                name,
                secs,
                ratio: if total_secs > 0.0 { secs / total_secs } else { 0.0 },
            })
            .collect();
        parts.sort_by(|a, b| b.secs.total_cmp(&a.secs));
        Self {
            requests,
            total_secs,
            parts,
        }
    }
}

/// What a latency is made of, or what is missing to say it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Cause {
    /// The largest part.
    Known {
        /// Its name.
        largest: &'static str,
        /// The median request, and the one at the 99th percentile where there are enough.
        budgets: Vec<LatencyBudget>,
    },
    /// Not evaluated.
    NotEvaluated {
        /// What is missing or does not fit together.
        because: String,
    },
}

impl Cause {
    fn of(budgets: Vec<LatencyBudget>) -> Option<Self> {
        let largest = budgets.first()?.parts.first()?.name;
        Some(Self::Known { largest, budgets })
    }

    fn not_evaluated(because: impl Into<String>) -> Self {
        Self::NotEvaluated {
            because: because.into(),
        }
    }
}

/// From the schedule's time to the first token: delay of issuing, client's queue, outside the engine, server's queue,
/// prefill.
pub(super) fn time_to_first_token(run: &Run, span: Span) -> Cause {
    let mut split: Vec<[f64; 5]> = Vec::new();
    let issued = run
        .requests
        .iter()
        .filter(|request| span.contains(request.issued_ns));
    split.extend(issued.filter_map(split_first_token));
    if split.is_empty() {
        return Cause::not_evaluated("the server's queue and prefill times of requests are missing");
    }
    split.sort_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum()));
    let mut budgets = vec![around("median", &split, 0.5)];
    // Of fewer requests the 99th percentile is just the slowest one.
    if split.len() >= 100 {
        budgets.push(around("p99", &split, 0.99));
    }
    Cause::of(budgets).expect("there is a median budget with parts")
}

/// A request without a schedule was issued when it was meant to be.
fn split_first_token(request: &RequestTimes) -> Option<[f64; 5]> {
    let lag = request.schedule_lag_secs().unwrap_or(0.0);
    let queue = request.server_queue_ns? as f64 / 1e9;
    let prefill = request.server_prefill_ns? as f64 / 1e9;
    let outside = (request.ttft_secs()? - queue - prefill).max(0.0);
    Some([lag, request.client_queue_secs()?, outside, queue, prefill])
}

/// Parts averaged over the requests around a percentile of sorted requests.
fn around(name: &'static str, sorted: &[[f64; 5]], q: f64) -> LatencyBudget {
    let centre = ((sorted.len() - 1) as f64 * q).round() as usize;
    let reach = (AROUND / 2).min(centre).min(sorted.len() - 1 - centre);
    let near = &sorted[centre - reach..=centre + reach];
    let part = |i: usize| near.iter().map(|parts| parts[i]).sum::<f64>() / near.len() as f64;
    LatencyBudget::of(
        name,
        vec![
            ("delay of issuing", part(0)),
            ("queue of the client", part(1)),
            ("outside the engine", part(2)),
            ("queue of the server", part(3)),
            ("prefill", part(4)),
        ],
    )
}

/// From the fitted time of a step: what every step takes, keys and values, the decoded tokens, the prompt tokens that
/// are computed in the same steps (interference), and what is left between steps and the client.
pub(super) fn time_per_output_token(
    run: &Run,
    span: Span,
    readings: &Readings,
    fit: Result<&StepFit, &String>,
) -> Cause {
    let fit = match fit {
        Ok(fit) => fit,
        Err(because) => return Cause::not_evaluated(because),
    };
    let tpots: Vec<f64> = run
        .requests
        .iter()
        .filter(|request| span.contains(request.issued_ns))
        .filter_map(RequestTimes::tpot_secs)
        .collect();
    let Some(tpot) = percentile::median(&tpots) else {
        return Cause::not_evaluated("no request has two tokens or more");
    };
    let mut steps = Vec::new();
    for second in readings.seconds.clone() {
        let (Some(tokens), Some(prompt_share)) = (
            readings.at(Quantity::TokensPerStep, second),
            readings.at(Quantity::PromptShareRatio, second),
        ) else {
            continue;
        };
        let context = fit.context_secs(second).unwrap_or(0.0);
        let token_secs = fit.per_token_secs * tokens;
        steps.push([
            fit.fixed_secs,
            context,
            token_secs * (1.0 - prompt_share),
            token_secs * prompt_share,
        ]);
    }
    let part = |i: usize| mean(&steps.iter().map(|parts| parts[i]).collect::<Vec<f64>>());
    let (Some(fixed), Some(context), Some(decode), Some(prompt)) = (part(0), part(1), part(2), part(3))
    else {
        return Cause::not_evaluated(
            "tokens per step and the share of prompt tokens are not known in the same seconds",
        );
    };
    let step = fixed + context + decode + prompt;
    if step > LARGEST_EXCESS * tpot {
        return Cause::not_evaluated(format!(
            "the fitted step of {} is longer than the time per output token of {}",
            secs(step),
            secs(tpot)
        ));
    }
    let between = (tpot - step).max(0.0);
    let budget = LatencyBudget::of(
        "median",
        vec![
            ("weights and fixed costs of a step", fixed),
            ("keys and values", context),
            ("decoded tokens of the batch", decode),
            ("prompt tokens in the same steps (interference)", prompt),
            ("between steps, network and client", between),
        ],
    );
    Cause::of(vec![budget]).expect("there is a median budget with parts")
}
