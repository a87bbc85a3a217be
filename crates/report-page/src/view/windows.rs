//! Tables of counts and latencies: whole run, steady window, and a row that the script fills for a selection.

use serde::Serialize;

use super::Cell;
use crate::model::{self, Quantity};
use crate::numbers::{Distribution, Numbers};
use crate::requests::{Metric, Requests};

#[derive(Debug, Serialize)]
pub(crate) struct Windows {
    pub counts: Vec<Row>,
    pub latencies: Vec<Latency>,
    /// What latencies consist of; folded in the page.
    pub parts: Vec<Latency>,
    /// Steps in which times of requests are kept, where these are coarse.
    pub steps: Option<&'static str>,
    /// Metrics that no request has.
    pub unavailable: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub id: &'static str,
    pub title: &'static str,
    pub definition: &'static str,
    pub rows: Vec<Row>,
}

/// One window of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub run: usize,
    /// `whole`, `steady` or `selection`.
    pub window: &'static str,
    pub label: String,
    pub cells: Vec<Cell>,
}

/// The most common latencies.
const MAIN: [&str; 4] = ["ttft", "ttft_scheduled", "tpot", "e2e"];
/// Columns of the table of counts; `selection.js` fills the same ones.
const COUNTS: usize = 7;
/// Columns of the table of latencies: count, mean, four quantiles, maximum.
const LATENCIES: usize = 7;

impl Windows {
    pub(crate) fn of(runs: &[model::Run], requests: &[Requests]) -> Self {
        let numbers: Vec<(Numbers, Option<Numbers>)> = runs
            .iter()
            .zip(requests)
            .map(|(run, requests)| (Numbers::of_run(requests), Numbers::of_steady(requests, run)))
            .collect();
        let rows = |cells: &dyn Fn(&Numbers, bool) -> Vec<Cell>, columns: usize| {
            let mut rows = Vec::new();
            for (i, (run, (whole, steady))) in runs.iter().zip(&numbers).enumerate() {
                let label = |window: &str| {
                    if runs.len() > 1 {
                        format!("{} · {window}", run.name)
                    } else {
                        window.to_owned()
                    }
                };
                rows.push(Row {
                    run: i,
                    window: "whole",
                    label: label("whole run"),
                    cells: cells(whole, true),
                });
                if let Some(steady) = steady {
                    rows.push(Row {
                        run: i,
                        window: "steady",
                        label: label("steady window"),
                        cells: cells(steady, false),
                    });
                }
                rows.push(Row {
                    run: i,
                    window: "selection",
                    label: label("selection"),
                    cells: vec![Cell::missing("nothing is selected"); columns],
                });
            }
            rows
        };
        let has = |m: usize| numbers.iter().any(|(whole, _)| whole.distributions[m].is_some());
        let metrics = || Metric::ALL.iter().enumerate();
        let (latencies, parts) = metrics()
            .filter(|&(m, _)| has(m))
            .map(|(m, metric)| Latency {
                id: metric.id(),
                title: metric.title(),
                definition: metric.definition(),
                rows: rows(
                    &|numbers, _| latency_cells(numbers.distributions[m].as_ref()),
                    LATENCIES,
                ),
            })
            .partition(|latency| MAIN.contains(&latency.id));
        Self {
            counts: rows(&count_cells, COUNTS),
            latencies,
            parts,
            steps: requests.iter().any(|r| r.tick_ns > 1_000).then_some("0.1 ms"),
            unavailable: metrics()
                .filter(|&(m, _)| !has(m))
                .map(|(_, metric)| metric.title())
                .collect(),
        }
    }
}

/// Of a part of the run, tokens are an estimate: those of a request are spread evenly over its decode.
fn count_cells(numbers: &Numbers, whole: bool) -> Vec<Cell> {
    let rate = |n: f64| {
        if numbers.seconds > 0.0 {
            Quantity::measured(n / numbers.seconds)
        } else {
            Quantity::absent("the window has no length")
        }
    };
    let tokens = match rate(numbers.output_tokens) {
        Quantity::Measured { value } if numbers.output_tokens > 0.0 && !whole => Quantity::estimate(value),
        Quantity::Measured { value } if numbers.output_tokens > 0.0 => Quantity::measured(value),
        Quantity::Measured { .. } => Quantity::absent("no request has a token count"),
        absent => absent,
    };
    [
        Quantity::measured(numbers.seconds),
        Quantity::measured(numbers.issued as f64),
        Quantity::measured(numbers.completed as f64),
        Quantity::measured(numbers.failed as f64),
        rate(numbers.issued as f64),
        rate(numbers.completed as f64),
        tokens,
    ]
    .iter()
    .map(|quantity| Cell::of(quantity, ""))
    .collect()
}

fn latency_cells(distribution: Option<&Distribution>) -> Vec<Cell> {
    let Some(d) = distribution else {
        return vec![Cell::missing("no completed request has it"); LATENCIES];
    };
    let mut values = vec![d.count as f64, d.mean];
    values.extend(d.quantiles);
    values.push(d.max);
    values
        .into_iter()
        .map(|value| Cell::of(&Quantity::measured(value), ""))
        .collect()
}
