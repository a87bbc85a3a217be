//! The server's side of the harness: permits, requests, first tokens and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mlperf_accuracy::Texts;
use mlperf_loadgen::IssuedSample;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vllm_client::{Attempt, Completion, FinishReason, Pool, RequestBody, StreamError};
use vllm_metrics::{Completed, EventRow, Hooks, Reason, RunClock, ServerTimes, Severity, TimeSource};

use super::bridge::{Batch, ENDING};
use super::counters::Counters;
use super::forecast::EarlyStopForecast;
use super::request_log::{RequestLog, RequestTimes};
use super::threads::WorkerThreads;
use crate::workload::BatchPrompts;

/// Impossible as long as dataset and library agree on their size, but a query must be answered in any case.
const UNKNOWN_SAMPLE: &str = "LoadGen asked for a sample that the dataset does not have";

/// The state that all workers share.
#[derive(Debug)]
pub(crate) struct Workers {
    /// The servers.
    pub(crate) pool: Arc<Pool>,
    /// One prepared body per sample of the dataset.
    pub(crate) bodies: Vec<Bytes>,
    /// For each sample, the tokens of its prompt and of its longest possible answer, for the choice of a
    /// server.
    pub(crate) weights: Vec<u64>,
    /// Set when a batch is sent as one request.
    pub(crate) batch_prompts: Option<BatchPrompts>,
    /// Limits the requests in flight.
    pub(crate) permits: Arc<Semaphore>,
    /// Progress.
    pub(crate) counters: Arc<Counters>,
    /// The times of every answer.
    pub(crate) requests: Arc<RequestLog>,
    /// The forecast of validity, in scenarios with latency limits.
    pub(crate) forecast: Option<Arc<EarlyStopForecast>>,
    /// Collects the texts of the answers in an accuracy run.
    pub(crate) texts: Option<Arc<Texts>>,
    /// The recorder, when there is one.
    pub(crate) hooks: Option<Hooks>,
    /// The run's clock.
    pub(crate) clock: RunClock,
    /// Cancelled when the run is being ended: all outstanding queries are then answered as failed at once.
    pub(crate) stop: CancellationToken,
    /// Notified of a failure that may mean that the server is gone.
    pub(crate) suspect: Arc<Notify>,
}

/// Takes batches until the channel closes, and starts requests as permits allow: one per batch if
/// `batch_prompts` is set, else one per sample.
pub(crate) async fn dispatch(
    workers: Arc<Workers>,
    threads: Arc<WorkerThreads>,
    mut queue: mpsc::UnboundedReceiver<Batch>,
    tasks: TaskTracker,
) {
    while let Some(batch) = queue.recv().await {
        let requests: Vec<Vec<IssuedSample>> = if workers.batch_prompts.is_some() {
            vec![batch.samples]
        } else {
            batch.samples.into_iter().map(|sample| vec![sample]).collect()
        };
        let left = Arc::new(AtomicUsize::new(requests.len()));
        for samples in requests {
            let permit = tokio::select! {
                biased;
                () = workers.stop.cancelled() => None,
                permit = Arc::clone(&workers.permits).acquire_owned() => permit.ok(),
            };
            let workers = Arc::clone(&workers);
            let left = Arc::clone(&left);
            let Some(permit) = permit else {
                for sample in samples {
                    workers.answer_failed(sample, &CANCELLED);
                }
                workers.batch_step(batch.id, &left);
                continue;
            };
            let request = async move {
                workers.serve_all(batch.id, samples).await;
                workers.batch_step(batch.id, &left);
                drop(permit);
            };
            tasks.spawn_on(request, threads.next());
        }
    }
}

impl Workers {
    fn batch_step(&self, batch: u64, left: &AtomicUsize) {
        if left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(hooks) = &self.hooks
        {
            hooks.batch_completed(batch);
        }
    }

    async fn serve_all(&self, batch: u64, mut samples: Vec<IssuedSample>) {
        match &self.batch_prompts {
            Some(batch_prompts) => self.serve_batch_prompts(batch_prompts, batch, samples).await,
            None => {
                while let Some(sample) = samples.pop() {
                    self.serve(batch, sample).await;
                }
            }
        }
    }

    /// Sends all samples as one request and answers each of them.
    async fn serve_batch_prompts(
        &self,
        batch_prompts: &BatchPrompts,
        batch: u64,
        samples: Vec<IssuedSample>,
    ) {
        let prompts: Option<Vec<&[i32]>> = samples
            .iter()
            .map(|sample| batch_prompts.prompts.get(sample.index()).map(Vec::as_slice))
            .collect();
        let Some(prompts) = prompts else {
            return self.fail_all(samples, &NO_SAMPLE);
        };
        let body = batch_prompts
            .generation
            .apply(RequestBody::from_batch(&batch_prompts.model, &prompts))
            .build();
        let count = i64::try_from(samples.len()).unwrap_or(i64::MAX);
        let tokens = samples.iter().map(|sample| self.weight(sample.index())).sum();
        let first_id = samples.first().map_or(0, |sample| sample.id() as u64);
        for sample in &samples {
            if let Some(hooks) = &self.hooks {
                hooks.request_sent(sample.id() as u64);
            }
            Counters::bump(&self.counters.sent);
        }
        self.counters.in_flight.fetch_add(count, Ordering::Relaxed);
        let result = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            result = self.pool.complete_batch(body, samples.len(), tokens, |attempt| self.retried(first_id, attempt)) => {
                Some(result)
            }
        };
        self.counters.in_flight.fetch_sub(count, Ordering::Relaxed);
        match result {
            Some(Ok(done)) => {
                for (sample, completion) in samples.into_iter().zip(&done.completion.answers) {
                    self.answer(batch, sample, completion, done.replica);
                }
            }
            Some(Err(error)) => {
                let why = error.to_string();
                self.note(&error.last.error);
                self.fail_all(samples, &Failure::of(&error.last, &why));
            }
            None => self.fail_all(samples, &CANCELLED),
        }
    }

    fn fail_all(&self, samples: Vec<IssuedSample>, failure: &Failure<'_>) {
        for sample in samples {
            self.answer_failed(sample, failure);
        }
    }

    /// Records whether a failure may mean that the server is gone, or shows that it is alive.
    fn note(&self, error: &StreamError) {
        if matches!(
            error,
            StreamError::Refused { .. } | StreamError::Reset { .. } | StreamError::Timeout { .. }
        ) {
            self.suspect.notify_one();
        } else {
            self.alive();
        }
    }

    async fn serve(&self, batch: u64, mut sample: IssuedSample) {
        let (id, index) = (sample.id() as u64, sample.index());
        let Some(body) = self.bodies.get(index) else {
            return self.answer_failed(sample, &NO_SAMPLE);
        };
        if let Some(hooks) = &self.hooks {
            hooks.request_sent(id);
        }
        Counters::bump(&self.counters.sent);
        self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{id:x}");
        let mut streaming = None;
        let result = {
            // LoadGen takes the timestamp of the first token inside this call, so it comes first.
            let on_first = |first: vllm_client::FirstToken| {
                let bytes = first.token_id.unwrap_or_default().to_le_bytes();
                // The binding counts a refusal, and the verdict shows it.
                let _refused = sample.first_token(if first.token_id.is_some() { &bytes } else { &[] });
                if let Some(hooks) = &self.hooks {
                    hooks.first_token(id);
                }
                if let Some(forecast) = &self.forecast {
                    forecast.first_token(id, self.clock.at(first.at));
                }
                self.alive();
                streaming = Some(self.counters.begin_stream());
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                result = self.pool.complete(
                    &request_id,
                    body.clone(),
                    self.weight(index),
                    on_first,
                    |attempt| self.retried(id, attempt),
                ) => Some(result),
            }
        };
        drop(streaming);
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        match result {
            Some(Ok(done)) => self.answer(batch, sample, &done.completion, done.replica),
            Some(Err(error)) => {
                self.note(&error.last.error);
                self.answer_failed(sample, &Failure::of(&error.last, &error.to_string()));
            }
            None => self.answer_failed(sample, &CANCELLED),
        }
    }

    fn weight(&self, index: usize) -> u64 {
        // Validated with the bodies; a weight only affects the choice of a server.
        self.weights.get(index).copied().unwrap_or(0)
    }

    /// Records that a request failed before its first token and is sent again.
    fn retried(&self, id: u64, attempt: &Attempt) {
        self.note(&attempt.error);
        let why = attempt.error.to_string();
        self.counters.retry(attempt.error.kind(), &why);
        if let Some(hooks) = &self.hooks {
            let attributes = serde_json::json!({
                "request": format!("{id:x}"),
                "url": attempt.url,
                "took_secs": attempt.took.as_secs_f64(),
                "kind": attempt.error.kind(),
            });
            hooks.event(EventRow {
                timestamp_ns: self.clock.now_ns(),
                end_ns: None,
                kind: "retry".into(),
                severity: Severity::Warning,
                source: "harness".into(),
                message: format!("a request is sent again: {why}").into(),
                attributes: attributes.to_string().into(),
            });
        }
    }

    /// Records that the server is alive.
    fn alive(&self) {
        self.counters
            .last_answer_ns
            .fetch_max(self.clock.now_ns() - self.clock.started_ns(), Ordering::Relaxed);
    }

    fn answer(&self, batch: u64, sample: IssuedSample, completion: &Completion, replica: usize) {
        let id = sample.id() as u64;
        let n_tokens = u32::try_from(completion.n_tokens()).unwrap_or(u32::MAX);
        let bytes = completion.token_bytes();
        let scheduled_ns = sample.scheduled_at().map(RunClock::unix_ns);
        let done_ns = self.clock.now_ns();
        let sample_index = sample.index();
        let prompt_tokens = completion
            .usage
            .and_then(|usage| u32::try_from(usage.prompt_tokens).ok());
        // Before LoadGen, which may issue the next query within the call: the recorded end of a request is
        // LoadGen's.
        if let Some(hooks) = &self.hooks {
            hooks.request_completed(
                id,
                Completed {
                    endpoint: endpoint_of(replica),
                    prompt_tokens,
                    server: completion.server_metrics.map(|times| ServerTimes {
                        queue_ns: times.queue_time_ms.map(ms_to_ns),
                        // vLLM measures this from the moment the request was scheduled, which excludes the
                        // queue.
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
        // The binding counts a refusal, and the verdict shows it.
        let _refused = sample.complete(&bytes, n_tokens);
        if let (Some(texts), Some(text)) = (&self.texts, &completion.text) {
            texts.keep(sample_index, text);
        }
        for remark in &completion.remarks {
            self.counters.remark(remark.kind(), &remark.to_string());
        }
        self.alive();
        Counters::bump(&self.counters.completed);
        self.counters
            .output_tokens
            .fetch_add(u64::from(n_tokens), Ordering::Relaxed);
        let sent_ns = self.clock.at(completion.sent_at);
        let answered = RequestTimes {
            batch,
            scheduled_ns: scheduled_ns.unwrap_or(sent_ns),
            sent_ns,
            first_token_ns: completion.first_token_at.map(|at| self.clock.at(at)),
            done_ns,
            output_tokens: n_tokens,
            prompt_tokens,
        };
        if let Some(forecast) = &self.forecast {
            forecast.note(id, &answered);
        }
        let ms = |since_ns: i64, ns: i64| (ns - since_ns) as f64 / 1e6;
        tracing::debug!(
            request = format_args!("{id:x}"),
            sample = sample_index,
            replica,
            tokens = n_tokens,
            ttft_ms = answered.first_token_ns.map(|ns| ms(sent_ns, ns)),
            latency_ms = ms(sent_ns, done_ns),
            "request completed"
        );
        self.requests.push(answered);
    }

    fn answer_failed(&self, sample: IssuedSample, failure: &Failure<'_>) {
        let id = sample.id() as u64;
        tracing::debug!(
            request = format_args!("{id:x}"),
            sample = sample.index(),
            kind = failure.kind,
            why = failure.why,
            "request failed"
        );
        if let Some(hooks) = &self.hooks {
            hooks.request_completed(
                id,
                Completed {
                    endpoint: endpoint_of(failure.replica),
                    ..Completed::failed(failure.reason)
                },
            );
            hooks.request_reason(id, failure.why);
        }
        // The binding counts a refusal, and the verdict shows it.
        let _refused = sample.fail(failure.why);
        self.counters.fail(failure.kind, failure.why);
        if let Some(forecast) = &self.forecast {
            forecast.failed(id);
        }
    }
}

/// How a query failed.
struct Failure<'a> {
    /// The kind.
    kind: &'static str,
    why: &'a str,
    reason: Reason,
    /// The server that was used last; the first one for a request that was not sent.
    replica: usize,
}

const CANCELLED: Failure<'static> = Failure {
    kind: "ending",
    why: ENDING,
    reason: Reason::Cancelled,
    replica: 0,
};

const NO_SAMPLE: Failure<'static> = Failure {
    kind: "dataset",
    why: UNKNOWN_SAMPLE,
    reason: Reason::Other,
    replica: 0,
};

impl<'a> Failure<'a> {
    fn of(last: &Attempt, why: &'a str) -> Self {
        Self {
            kind: last.error.kind(),
            why,
            reason: reason_of(&last.error),
            replica: last.replica,
        }
    }
}

/// The recorder's endpoints are the servers, in the same order.
fn endpoint_of(replica: usize) -> u32 {
    u32::try_from(replica).unwrap_or(u32::MAX)
}

/// The recorder's reason for a client error; the message is recorded separately.
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
