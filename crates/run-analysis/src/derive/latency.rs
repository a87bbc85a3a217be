//! The times of a request as its client saw them: one definition for each name, used wherever the name stands.
//!
//! | name | from | to |
//! |---|---|---|
//! | `ttft_scheduled` | when the load generator wanted it sent | first token |
//! | `ttft_sent` | its bytes were handed to the network | first token |
//! | `latency_scheduled` | when the load generator wanted it sent | answered |
//! | `latency_sent` | its bytes were handed to the network | answered |
//! | `client_queue` | the harness was handed it | its bytes were handed to the network |
//! | `tpot` | first token | answered, divided by the tokens after the first |
//!
//! LoadGen's own figures, and its verdict, are of the scheduled ones. What the server observed itself stands under
//! its own names, such as `vllm:time_to_first_token_seconds`. All in seconds; `None` where either end is not known.

use run_model::RequestRow;

/// When the load generator wanted it sent, to its first token.
pub fn ttft_scheduled_secs(request: &RequestRow) -> Option<f64> {
    between(request.scheduled_ns, request.first_token_ns)
}

/// Sent to first token.
pub fn ttft_sent_secs(request: &RequestRow) -> Option<f64> {
    between(request.sent_ns, request.first_token_ns)
}

/// When the load generator wanted it sent, to its answer.
pub fn latency_scheduled_secs(request: &RequestRow) -> Option<f64> {
    between(request.scheduled_ns, request.done_ns)
}

/// Sent to answered.
pub fn latency_sent_secs(request: &RequestRow) -> Option<f64> {
    between(request.sent_ns, request.done_ns)
}

/// Issued to sent: what the harness itself made it wait.
pub fn client_queue_secs(request: &RequestRow) -> Option<f64> {
    between(Some(request.issued_ns), request.sent_ns)
}

/// (Answered − first token) / (output tokens − 1); `None` for fewer than two tokens.
pub fn tpot_secs(request: &RequestRow) -> Option<f64> {
    let tokens = request.output_tokens.filter(|tokens| *tokens > 1)?;
    Some(between(request.first_token_ns, request.done_ns)? / f64::from(tokens - 1))
}

fn between(from_ns: Option<i64>, to_ns: Option<i64>) -> Option<f64> {
    Some((to_ns? - from_ns?) as f64 / 1e9)
}
