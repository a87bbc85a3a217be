//! The times of a request as seen by the client, with one definition for each name.
//!
//! | name | from | to |
//! |---|---|---|
//! | `ttft_scheduled` | scheduled send time of the load generator | first token |
//! | `ttft_sent` | bytes passed to the network | first token |
//! | `latency_scheduled` | scheduled send time of the load generator | answered |
//! | `latency_sent` | bytes passed to the network | answered |
//! | `client_queue` | request passed to the harness | bytes passed to the network |
//! | `tpot` | first token | answered, divided by the tokens after the first |
//!
//! LoadGen's figures and verdict use the scheduled ones. The server's own observations have their own names,
//! such as `vllm:time_to_first_token_seconds`. All in seconds; `None` if either end is not known.

use run_model::RequestRow;

/// Scheduled send time to first token.
pub fn ttft_scheduled_secs(request: &RequestRow) -> Option<f64> {
    between(request.scheduled_ns, request.first_token_ns)
}

/// Sent to first token.
pub fn ttft_sent_secs(request: &RequestRow) -> Option<f64> {
    between(request.sent_ns, request.first_token_ns)
}

/// Scheduled send time to answer.
pub fn latency_scheduled_secs(request: &RequestRow) -> Option<f64> {
    between(request.scheduled_ns, request.done_ns)
}

/// Sent to answered.
pub fn latency_sent_secs(request: &RequestRow) -> Option<f64> {
    between(request.sent_ns, request.done_ns)
}

/// Issued to sent: the time the request waited in the harness.
pub fn client_queue_secs(request: &RequestRow) -> Option<f64> {
    between(Some(request.issued_ns), request.sent_ns)
}

/// (Answered − first token) / (output tokens − 1); `None` for fewer than two tokens.
pub fn tpot_secs(request: &RequestRow) -> Option<f64> {
    let tokens = request.output_tokens.filter(|tokens| *tokens > 1)?;
    Some(between(request.first_token_ns, request.done_ns)? / f64::from(tokens - 1))
}

/// `None` also for times in the wrong order: a schedule follows the wall clock, which may have been stepped.
fn between(from_ns: Option<i64>, to_ns: Option<i64>) -> Option<f64> {
    let ns = to_ns?.checked_sub(from_ns?)?;
    (ns >= 0).then(|| ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn times_in_the_wrong_order_are_no_latency() {
        assert_eq!(between(Some(1_000_000_000), Some(1_500_000_000)), Some(0.5));
        assert_eq!(between(Some(5), Some(5)), Some(0.0));
        assert_eq!(between(Some(6), Some(5)), None);
        assert_eq!(between(None, Some(5)), None);
    }
}
