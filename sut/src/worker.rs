//! The server's side of the harness: permits, requests, first tokens and answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use mlperf_loadgen::IssuedSample;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vllm_client::{Client, Completion, FinishReason, StreamError};
use vllm_metrics::{Completed, Hooks, Reason, RunClock, ServerTimes, TimeSource};

use crate::bridge::{Batch, ENDING, unix_ns};
use crate::counters::Counters;
use crate::ledger::{Answered, Ledger};

/// What every worker needs.
#[derive(Debug)]
pub struct Workers {
    /// The server.
    pub client: Client,
    /// One prepared body per sample of the dataset.
    pub bodies: Vec<Bytes>,
    /// Requests in flight at most.
    pub permits: Arc<Semaphore>,
    /// Progress.
    pub counters: Arc<Counters>,
    /// The times of every answer.
    pub ledger: Arc<Ledger>,
    /// The recorder, when there is one.
    pub hooks: Option<Hooks>,
    /// The run's clock.
    pub clock: RunClock,
    /// Cancelled when the run is being ended: everything outstanding is then answered as failed at once.
    pub stop: CancellationToken,
    /// Woken by a failure that may mean that the server is gone.
    pub suspect: Arc<Notify>,
}

/// Takes batches until the channel closes, and starts a request for each sample as permits allow.
pub async fn dispatch(workers: Arc<Workers>, mut queue: mpsc::UnboundedReceiver<Batch>, tasks: TaskTracker) {
    while let Some(batch) = queue.recv().await {
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(batch.samples.len()));
        for sample in batch.samples {
            let permit = tokio::select! {
                biased;
                () = workers.stop.cancelled() => None,
                permit = Arc::clone(&workers.permits).acquire_owned() => permit.ok(),
            };
            let workers = Arc::clone(&workers);
            let left = Arc::clone(&left);
            let Some(permit) = permit else {
                workers.answer_failed(sample, "ending", ENDING, Reason::Cancelled);
                workers.batch_step(batch.id, &left);
                continue;
            };
            tasks.spawn(async move {
                workers.serve(sample).await;
                workers.batch_step(batch.id, &left);
                drop(permit);
            });
        }
    }
}

impl Workers {
    fn batch_step(&self, batch: u64, left: &std::sync::atomic::AtomicUsize) {
        if left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(hooks) = &self.hooks
        {
            hooks.batch_completed(batch);
        }
    }

    async fn serve(&self, mut sample: IssuedSample) {
        let id = sample.id() as u64;
        let Some(body) = self.bodies.get(sample.index()) else {
            let why = "LoadGen asked for a sample that the dataset does not have";
            return self.answer_failed(sample, "dataset", why, Reason::Other);
        };
        if let Some(hooks) = &self.hooks {
            hooks.request_sent(id);
        }
        Counters::bump(&self.counters.sent);
        self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{id:x}");
        let result = {
            // LoadGen takes the time of the first token inside this call, so nothing comes before it.
            let on_first = |first: vllm_client::FirstToken| {
                let bytes = first.token_id.unwrap_or_default().to_le_bytes();
                // A refusal is counted by the binding and shown in the verdict.
                let _refused = sample.first_token(if first.token_id.is_some() { &bytes } else { &[] });
                if let Some(hooks) = &self.hooks {
                    hooks.first_token(id);
                }
                self.alive();
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                result = self.client.complete_as(&request_id, body.clone(), on_first) => Some(result),
            }
        };
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        match result {
            Some(Ok(completion)) => self.answer(sample, &completion),
            Some(Err(error)) => {
                if matches!(
                    error,
                    StreamError::Refused { .. } | StreamError::Reset { .. } | StreamError::Timeout { .. }
                ) {
                    self.suspect.notify_one();
                } else {
                    self.alive();
                }
                self.answer_failed(sample, error.kind(), &error.to_string(), reason_of(&error));
            }
            None => self.answer_failed(sample, "ending", ENDING, Reason::Cancelled),
        }
    }

    /// Notes a sign of life from the server.
    fn alive(&self) {
        self.counters
            .last_answer_ns
            .fetch_max(self.clock.now_ns(), Ordering::Relaxed);
    }

    fn answer(&self, sample: IssuedSample, completion: &Completion) {
        let id = sample.id() as u64;
        let n_tokens = u32::try_from(completion.n_tokens()).unwrap_or(u32::MAX);
        let bytes = completion.token_bytes();
        let scheduled_ns = sample.scheduled_at().and_then(unix_ns);
        let done_ns = self.clock.now_ns();
        // A refusal is counted by the binding and shown in the verdict.
        let _refused = sample.complete(&bytes, n_tokens);
        self.alive();
        Counters::bump(&self.counters.completed);
        self.counters
            .output_tokens
            .fetch_add(u64::from(n_tokens), Ordering::Relaxed);
        if n_tokens == 1 {
            Counters::bump(&self.counters.one_token_answers);
        }
        let prompt_tokens = completion
            .usage
            .and_then(|usage| u32::try_from(usage.prompt_tokens).ok());
        self.counters
            .prompt_tokens
            .fetch_add(prompt_tokens.map_or(0, u64::from), Ordering::Relaxed);
        let sent_ns = self.clock.at(completion.sent_at);
        self.ledger.push(Answered {
            scheduled_ns: scheduled_ns.unwrap_or(sent_ns),
            sent_ns,
            first_token_ns: completion.first_token_at.map(|at| self.clock.at(at)),
            done_ns,
            output_tokens: n_tokens,
            prompt_tokens,
        });
        if let Some(hooks) = &self.hooks {
            hooks.request_completed(
                id,
                Completed {
                    prompt_tokens,
                    server: completion.server_metrics.map(|times| ServerTimes {
                        queue_ns: times.queue_time_ms.map(ms_to_ns),
                        // vLLM counts this one from the moment the request was scheduled: the queue is not in it.
                        prefill_ns: times.time_to_first_token_ms.map(ms_to_ns),
                        decode_ns: times.generation_time_ms.map(ms_to_ns),
                        source: TimeSource::Server,
                    }),
                    reason: match completion.finish_reason {
                        Some(FinishReason::Stop) => Reason::Stop,
                        Some(FinishReason::Length) => Reason::Length,
                        Some(_) => Reason::Other,
                        None => Reason::Unknown,
                    },
                    ..Completed::tokens(n_tokens)
                },
            );
        }
    }

    fn answer_failed(&self, sample: IssuedSample, kind: &'static str, why: &str, reason: Reason) {
        let id = sample.id() as u64;
        // A refusal is counted by the binding and shown in the verdict.
        let _refused = sample.fail(why);
        self.counters.fail(kind, why);
        if let Some(hooks) = &self.hooks {
            hooks.request_completed(id, Completed::failed(reason));
            hooks.request_reason(id, why);
        }
    }
}

/// The recorder's word for a client's failure; the sentence goes beside it.
fn reason_of(error: &StreamError) -> Reason {
    match error {
        StreamError::Refused { .. } => Reason::Connect,
        StreamError::Reset { .. } | StreamError::Truncated { .. } => Reason::Disconnected,
        StreamError::Status { code, .. } => Reason::HttpStatus(*code),
        StreamError::Timeout { .. } => Reason::Timeout,
        StreamError::Malformed { .. } | StreamError::NoTokenIds { .. } => Reason::BadResponse,
        StreamError::Server { .. } => Reason::Abort,
        _ => Reason::Other,
    }
}

fn ms_to_ns(ms: f64) -> i64 {
    (ms * 1e6).round() as i64
}
