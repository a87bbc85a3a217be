//! Requests, batches and engine steps, row by row.

use report_page::model::{Batch, Outcome, Request, Step, TimeSource};
use vllm_metrics::model::ENDPOINTS_FACT;
use vllm_metrics::{RequestRow, RunData};

/// Servers by the index that requests have.
pub(super) fn servers(record: &RunData) -> Vec<String> {
    let listed: Vec<String> = match record.manifest.facts.get(ENDPOINTS_FACT) {
        Some(urls) => urls.split(' ').map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let most = record
        .requests
        .iter()
        .map(|request| request.endpoint as usize + 1)
        .max()
        .unwrap_or(0);
    (0..most)
        .map(|index| {
            listed
                .get(index)
                .cloned()
                .unwrap_or_else(|| format!("server {index}"))
        })
        .collect()
}

pub(super) fn of(rows: &[RequestRow], servers: usize) -> Vec<Request> {
    rows.iter()
        .map(|row| Request {
            scheduled_ns: row.scheduled_ns,
            issued_ns: row.issued_ns,
            sent_ns: row.sent_ns,
            first_token_ns: row.first_token_ns,
            done_ns: row.done_ns,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.output_tokens,
            queue_ns: row.server_queue_ns,
            prefill_ns: row.server_prefill_ns,
            decode_ns: row.server_decode_ns,
            time_source: row.server_time_source.and_then(|source| match source {
                vllm_metrics::TimeSource::Server => Some(TimeSource::Measured),
                vllm_metrics::TimeSource::Estimate => Some(TimeSource::Estimate),
                _ => None,
            }),
            outcome: match row.outcome {
                vllm_metrics::Outcome::Completed => Outcome::Completed,
                vllm_metrics::Outcome::Unfinished => Outcome::Open,
                _ => Outcome::Failed,
            },
            server: row.endpoint.min(servers.saturating_sub(1) as u32),
        })
        .collect()
}

pub(super) fn batches(record: &RunData) -> Vec<Batch> {
    record
        .batches
        .iter()
        .map(|batch| Batch {
            issued_ns: batch.issued_ns,
            done_ns: batch.done_ns,
            requests: batch.requests,
            failed: batch.failed,
        })
        .collect()
}

/// Steps of all engines. An engine that does not report what it computed is shown with the prompts whose prefill ended and
/// the tokens that it generated.
pub(super) fn steps(record: &RunData) -> Vec<Step> {
    record
        .steps
        .iter()
        .map(|row| Step {
            end_ns: row.timestamp_ns,
            duration_ns: row.elapsed_ns.or(row.duration_ns),
            prompt_tokens: row.prefill_tokens.unwrap_or(row.prompt_tokens),
            output_tokens: row.decode_tokens.unwrap_or(row.generation_tokens),
            requests: Some(row.running),
        })
        .collect()
}
