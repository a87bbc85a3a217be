//! Requests as the diagnosis wants them.

use run_diagnosis::input::RequestTimes;
use vllm_metrics::{Outcome, RequestRow, TimeSource};

/// The requests in the order in which they were issued.
///
/// Where the server reported its times for some requests, only those are taken; otherwise the estimates, if there are
/// any.
pub(crate) fn of(rows: &[RequestRow]) -> Vec<RequestTimes> {
    let reported = rows
        .iter()
        .any(|row| row.server_time_source == Some(TimeSource::Server));
    let mut requests: Vec<RequestTimes> = rows
        .iter()
        .map(|row| {
            let usable = !reported || row.server_time_source == Some(TimeSource::Server);
            RequestTimes {
                sample_index: Some(row.sample_index),
                scheduled_ns: row.scheduled_ns,
                issued_ns: row.issued_ns,
                sent_ns: row.sent_ns,
                first_token_ns: row.first_token_ns,
                done_ns: row.done_ns,
                prompt_tokens: row.prompt_tokens,
                output_tokens: row.output_tokens,
                server_queue_ns: row.server_queue_ns.filter(|_| usable),
                server_prefill_ns: row.server_prefill_ns.filter(|_| usable),
                server_decode_ns: row.server_decode_ns.filter(|_| usable),
                failed: row.outcome != Outcome::Completed,
            }
        })
        .collect();
    requests.sort_by_key(|request| request.issued_ns);
    requests
}
