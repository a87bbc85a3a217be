//! Where the time of a typical request went.

use report_page::model::{Budget, BudgetPart, Quantity};
use run_diagnosis::bound::Cause;
use run_diagnosis::input::RequestTimes;
use vllm_metrics::TimeSource;

use crate::analysis::Analysis;

/// Requests around a quantile that are averaged.
const AROUND: usize = 25;

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Budget> {
    let mut budgets = end_to_end(analysis);
    if let Some(diagnosis) = &analysis.diagnosis {
        budgets.extend(cause(
            "Time from schedule to first token",
            &diagnosis.time_to_first_token,
            estimated(analysis),
        ));
        // A step's parts come from a fit.
        budgets.extend(cause(
            "Time per output token",
            &diagnosis.time_per_output_token,
            true,
        ));
    }
    budgets
}

/// Whether the server's times are estimates.
fn estimated(analysis: &Analysis<'_>) -> bool {
    !analysis
        .joined()
        .requests
        .iter()
        .any(|row| row.server_time_source == Some(TimeSource::Server))
}

/// Parts of a request from its scheduled time to its end, in order.
type Part = (&'static str, &'static str, fn(&RequestTimes) -> Option<f64>);

const PARTS: [Part; 6] = [
    (
        "schedule lag",
        "From the time that the schedule wanted to the time of issue.",
        RequestTimes::schedule_lag_secs,
    ),
    (
        "client queue",
        "From issue to sending.",
        RequestTimes::client_queue_secs,
    ),
    (
        "outside the engine",
        "What queue, prefill and decode leave of the time from sending to the end: network, HTTP, tokenizer.",
        RequestTimes::outside_engine_secs,
    ),
    ("server queue", "Waiting in the engine's queue.", |request| {
        secs(request.server_queue_ns)
    }),
    (
        "prefill",
        "From being scheduled to the first token, in the engine.",
        |request| secs(request.server_prefill_ns),
    ),
    (
        "decode",
        "From the first token to the last, in the engine.",
        |request| secs(request.server_decode_ns),
    ),
];

fn secs(ns: Option<i64>) -> Option<f64> {
    ns.map(|ns| ns as f64 / 1e9)
}

/// The median request and the one at p99 of the steady window or else the whole run, ranked by what the parts add up to.
fn end_to_end(analysis: &Analysis<'_>) -> Vec<Budget> {
    let Some(span) = analysis.window.span.or(analysis.window.whole) else {
        return Vec::new();
    };
    let mut requests: Vec<(f64, &RequestTimes)> = analysis
        .run
        .requests
        .iter()
        .filter(|request| span.contains(request.issued_ns))
        .filter_map(|request| Some((request.intended_e2e_secs()?, request)))
        .collect();
    requests.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut quantiles = vec![("Median request", "p50", 0.5)];
    if requests.len() >= 100 {
        quantiles.push(("Request at p99", "p99", 0.99));
    }
    if requests.is_empty() {
        return Vec::new();
    }
    let estimate = estimated(analysis);
    quantiles
        .into_iter()
        .map(|(name, quantile, q)| {
            let middle = (q * (requests.len() - 1) as f64).round() as usize;
            // As many on both sides, so that the mean stays at the quantile.
            let reach = AROUND.min(middle).min(requests.len() - 1 - middle);
            let around: Vec<&RequestTimes> = requests[middle - reach..=middle + reach]
                .iter()
                .map(|(_, request)| *request)
                .collect();
            around_quantile(name, quantile, &around, estimate)
        })
        .collect()
}

/// The mean of these requests. Parts that the server's times would give are left out where those times are not known,
/// and one part holds their sum, so that the parts always add up to the client's own time.
fn around_quantile(name: &str, quantile: &str, around: &[&RequestTimes], estimate: bool) -> Budget {
    let divided: Vec<&RequestTimes> = around
        .iter()
        .filter(|request| request.outside_engine_secs().is_some())
        .copied()
        .collect();
    // Where most have the server's times, the mean is over those which have them.
    let (averaged, is_divided) = match divided.len() * 2 > around.len() {
        true => (&divided[..], true),
        false => (around, false),
    };
    let part = |(name, definition, part): &Part| {
        let is_unknown = !is_divided && OF_SERVER.contains(name);
        BudgetPart {
            name: (*name).to_owned(),
            seconds: if is_unknown {
                Quantity::absent(NOT_KNOWN)
            } else {
                mean(
                    averaged.iter().filter_map(|request| part(request)),
                    estimate,
                    name,
                )
            },
            definition: (*definition).to_owned(),
        }
    };
    let mut parts: Vec<BudgetPart> = PARTS.iter().map(part).collect();
    if !is_divided {
        parts.push(BudgetPart {
            name: "not divided further".to_owned(),
            seconds: mean(
                averaged.iter().filter_map(|request| request.e2e_secs()),
                false,
                "not divided further",
            ),
            definition: format!("From sending to the last token, undivided: {NOT_KNOWN}."),
        });
    }
    let which = match averaged.len() == around.len() {
        true => format!("{} requests", around.len()),
        false => format!(
            "the {} of {} requests whose server's times are known,",
            averaged.len(),
            around.len()
        ),
    };
    Budget {
        name: name.to_owned(),
        definition: format!(
            "Mean of {which} around the {quantile} of the time that the parts add up to: from the scheduled time, or else \
             the time of issue, to the last token."
        ),
        parts,
    }
}

/// Parts that only the server's times give.
const OF_SERVER: [&str; 4] = ["outside the engine", "server queue", "prefill", "decode"];
const NOT_KNOWN: &str = "the server's times of these requests are not known";

fn mean(values: impl Iterator<Item = f64>, estimate: bool, part: &str) -> Quantity {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    let of_server = OF_SERVER.contains(&part);
    match count > 0.0 {
        true if estimate && of_server => Quantity::estimate(sum / count),
        true => Quantity::measured(sum / count),
        false if of_server => Quantity::absent(NOT_KNOWN),
        false => Quantity::absent("not recorded for these requests"),
    }
}

fn cause(what: &str, cause: &Cause, estimate: bool) -> Vec<Budget> {
    let Cause::Known { budgets, .. } = cause else {
        return Vec::new();
    };
    let of_part = |secs: f64| {
        if estimate {
            Quantity::estimate(secs)
        } else {
            Quantity::measured(secs)
        }
    };
    budgets
        .iter()
        .map(|budget| Budget {
            name: format!("{what}, {}", budget.requests),
            definition: format!(
                "What the {} of the {} consists of.",
                budget.requests,
                what.to_lowercase()
            ),
            parts: budget
                .parts
                .iter()
                .map(|part| BudgetPart {
                    name: part_name(part.name).to_owned(),
                    seconds: of_part(part.secs),
                    definition: String::new(),
                })
                .collect(),
        })
        .collect()
}

/// Parts of a first token have the names that they have in the whole request.
fn part_name(name: &'static str) -> &'static str {
    match name {
        "delay of issuing" => "schedule lag",
        "queue of the client" => "client queue",
        "queue of the server" => "server queue",
        other => other,
    }
}
