//! A stored run as the plain input of `run-diagnosis`.

mod facts;
mod grid;
mod requests;
mod seconds;

use run_diagnosis::input::Run;
use vllm_metrics::{RequestRow, RunData};

pub(crate) use grid::Grid;

/// What is known about a run. `requests` are those of the record, with estimates of the server's times where it
/// reported none.
pub(crate) fn of(record: &RunData, requests: &[RequestRow], name: &str) -> Run {
    let requests = requests::of(requests);
    let grid = grid(record, &requests);
    Run {
        facts: facts::of(record, &requests, name),
        seconds: seconds::of(record, &requests, grid),
        requests,
    }
}

/// Whole seconds from the first issued request to the last event of a request; of a record without requests, from its
/// first to its last sample.
fn grid(record: &RunData, requests: &[run_diagnosis::input::RequestTimes]) -> Grid {
    let events = requests.iter().flat_map(|request| {
        [
            Some(request.issued_ns),
            request.sent_ns,
            request.first_token_ns,
            request.done_ns,
        ]
    });
    let samples = || record.series.iter().flat_map(|series| &series.timestamps_ns);
    let start_ns = requests
        .iter()
        .map(|request| request.issued_ns)
        .min()
        .or_else(|| samples().min().copied());
    let end_ns = events.flatten().max().or_else(|| samples().max().copied());
    match start_ns.zip(end_ns) {
        // The last event belongs to a second, too.
        Some((start_ns, end_ns)) => Grid::over(start_ns, end_ns + 1),
        None => Grid::over(0, 0),
    }
}
