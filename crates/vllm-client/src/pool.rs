//! Load balancing over replicas: chooses a replica, tracks its health, and retries where allowed. Every
//! failed attempt is returned to the caller.

mod attempts;
mod replica;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::attempts::{Attempts, Settled};
use self::replica::{LONGEST_REST, State};
use crate::{BatchCompletion, Client, Completion, ControlError, FirstToken, StreamError};

/// How a replica is chosen among the healthy ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The replica with the fewest tokens in flight: prompt tokens plus the maximum to generate, over all
    /// unanswered requests of this pool.
    LeastOutstandingTokens,
    /// The replica with the fewest unanswered requests of this pool.
    ShortestQueue,
}

/// When a request is retried; only ever before its first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in total; 1 means no retry, the default.
    pub max_attempts: u32,
    /// Pause before the second attempt; doubles for each further one, up to 5 s. Default 50 ms. Pauses and
    /// attempts together are bounded by the limit of one request
    /// ([`Timeouts::request`](crate::Timeouts::request)). If a server requests a longer wait (`Retry-After`
    /// with status 429 or 503), it is respected; a pool of several servers skips that server for this time,
    /// at most 30 s, and uses another.
    pub first_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            first_pause: Duration::from_millis(50),
        }
    }
}

/// Consecutive failures after which a replica is skipped. A refused connection counts as this many.
const FAILURES_TO_REST: u32 = 3;
/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the replica in the pool's order.
    pub replica: usize,
    /// Its base URL.
    pub url: String,
    /// When it was sent.
    pub started_at: Instant,
    /// How long it took to fail.
    pub took: Duration,
    /// Why it failed.
    pub error: StreamError,
}

/// A completion, the replica that gave it, and the failed attempts before it.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolCompletion {
    /// The answer. Its `sent_at` is that of the attempt that succeeded.
    pub completion: Completion,
    /// Index of the replica that gave it.
    pub replica: usize,
    /// Attempts that failed before, in order.
    pub failed_attempts: Vec<Attempt>,
}

/// The answers to a request of several prompts, the replica that gave them, and the failed attempts before.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolBatchCompletion {
    /// The answers.
    pub completion: BatchCompletion,
    /// Index of the replica that gave them.
    pub replica: usize,
    /// Attempts that failed before, in order.
    pub failed_attempts: Vec<Attempt>,
}

/// All attempts failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}", at(last), last.error, attempts(earlier))]
pub struct PoolError {
    /// Attempts before the last, in order.
    pub earlier: Vec<Attempt>,
    /// The last attempt.
    pub last: Attempt,
}

/// Names the server where the error does not.
fn at(attempt: &Attempt) -> String {
    match attempt.error {
        StreamError::Refused { .. } | StreamError::Reset { .. } | StreamError::Status { .. } => String::new(),
        _ => format!("{}: ", attempt.url),
    }
}

/// Adds the number of attempts if there was more than one.
fn attempts(earlier: &[Attempt]) -> String {
    match earlier.len() {
        0 => String::new(),
        more => format!(" ({} attempts)", more + 1),
    }
}

/// The state of one replica as known to the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its base URL.
    pub url: String,
    /// Requests sent and not answered.
    pub outstanding_requests: usize,
    /// Their tokens, as given to [`Pool::complete`].
    pub outstanding_tokens: u64,
    /// Answers so far.
    pub completed: u64,
    /// Failed attempts so far.
    pub failed: u64,
    /// Whether it is currently skipped.
    pub resting: bool,
}

#[derive(Debug, Default)]
struct Inner {
    states: Vec<State>,
    next: usize,
}

/// Several replicas of one model.
#[derive(Debug)]
pub struct Pool {
    clients: Vec<Client>,
    strategy: Strategy,
    retry: RetryPolicy,
    // Held for a few instructions, never across an await: choosing and counting must be one step.
    inner: Mutex<Inner>,
}

impl Pool {
    /// A pool of at least one client.
    ///
    /// # Errors
    /// [`ControlError::BadSetting`] for an empty list, one URL given twice, or no attempt at all.
    pub fn new(clients: Vec<Client>, strategy: Strategy, retry: RetryPolicy) -> Result<Self, ControlError> {
        let bad = |key, reason: String| Err(ControlError::BadSetting { key, reason });
        if clients.is_empty() {
            return bad("urls", "the list is empty; give at least one server".to_owned());
        }
        for (at, client) in clients.iter().enumerate() {
            if clients[..at].iter().any(|c| c.url() == client.url()) {
                return bad("urls", format!("{} is given twice", client.url()));
            }
        }
        if retry.max_attempts == 0 {
            return bad("max_attempts", "must be at least 1".to_owned());
        }
        let inner = Inner {
            states: vec![State::default(); clients.len()],
            next: 0,
        };
        Ok(Self {
            clients,
            strategy,
            retry,
            inner: Mutex::new(inner),
        })
    }

    /// The replicas, in the order given.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Sends a prepared body to one replica, and to others as the retry policy allows. `request_id` is sent
    /// as by [`Client::complete_as`], the same with every attempt. `tokens` is the request's weight: prompt
    /// tokens plus the maximum to generate. `on_first` is called at most once, as by [`Client::complete`];
    /// `on_retry` for every failed attempt that is followed by another, before the pause, so that nothing is
    /// lost when this future is dropped.
    ///
    /// # Errors
    /// [`PoolError`] holds every attempt.
    pub async fn complete(
        &self,
        request_id: &str,
        body: Bytes,
        tokens: u64,
        on_first: impl FnOnce(FirstToken),
        on_retry: impl FnMut(&Attempt),
    ) -> Result<PoolCompletion, PoolError> {
        let mut on_first = Some(on_first);
        let mut tries = Attempts::new(self, on_retry);
        loop {
            let slot = self.choose(tokens, &tries.failed);
            let started_at = Instant::now();
            let result = self.clients[slot.replica]
                .complete_since(tries.begun_at, request_id, body.clone(), |first| {
                    if let Some(call) = on_first.take() {
                        call(first);
                    }
                })
                .await;
            match tries.settle(slot, started_at, result) {
                Settled::Done(replica, completion) => {
                    return Ok(PoolCompletion {
                        completion,
                        replica,
                        failed_attempts: tries.failed,
                    });
                }
                Settled::Failed(last) => {
                    return Err(PoolError {
                        earlier: tries.failed,
                        last,
                    });
                }
                Settled::Again(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Like [`Pool::complete`] for a body of `prompts` prompts, answered in one response
    /// ([`Client::complete_batch`]).
    ///
    /// # Errors
    /// As [`Pool::complete`].
    pub async fn complete_batch(
        &self,
        body: Bytes,
        prompts: usize,
        tokens: u64,
        on_retry: impl FnMut(&Attempt),
    ) -> Result<PoolBatchCompletion, PoolError> {
        let mut tries = Attempts::new(self, on_retry);
        loop {
            let slot = self.choose(tokens, &tries.failed);
            let started_at = Instant::now();
            let result = self.clients[slot.replica]
                .complete_batch_since(tries.begun_at, body.clone(), prompts)
                .await;
            match tries.settle(slot, started_at, result) {
                Settled::Done(replica, completion) => {
                    return Ok(PoolBatchCompletion {
                        completion,
                        replica,
                        failed_attempts: tries.failed,
                    });
                }
                Settled::Failed(last) => {
                    return Err(PoolError {
                        earlier: tries.failed,
                        last,
                    });
                }
                Settled::Again(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Checks the health of every replica now. A failure starts a rest, and a healthy answer ends a rest that
    /// a health check started. A rest started by failed requests is ended only by a request, since a server
    /// may report itself healthy and yet answer no requests. Results are in the order of [`Pool::clients`].
    pub async fn check_health(&self) -> Vec<Result<(), ControlError>> {
        // Concurrently: an address that drops packets takes its whole timeout.
        let mut asked = tokio::task::JoinSet::new();
        for (replica, client) in self.clients.iter().cloned().enumerate() {
            asked.spawn(async move { (replica, client.health().await) });
        }
        let mut results: Vec<_> = self.clients.iter().map(|_| Ok(())).collect();
        for (replica, result) in asked.join_all().await {
            let mut inner = self.lock();
            let state = &mut inner.states[replica];
            match &result {
                Ok(()) => state.end_rest_for_probe(),
                Err(_) => state.begin_rest_for_probe(Instant::now()),
            }
            results[replica] = result;
        }
        results
    }

    /// The state of each replica.
    pub fn status(&self) -> Vec<ReplicaStatus> {
        let now = Instant::now();
        let inner = self.lock();
        let with_url = inner.states.iter().zip(&self.clients);
        with_url
            .map(|(state, client)| ReplicaStatus {
                url: client.url().to_owned(),
                outstanding_requests: state.requests,
                outstanding_tokens: state.tokens,
                completed: state.completed,
                failed: state.failed,
                resting: state.rests(now),
            })
            .collect()
    }

    /// Picks a replica and counts the request there in one step.
    fn choose(&self, tokens: u64, failed: &[Attempt]) -> Slot<'_> {
        let now = Instant::now();
        let mut inner = self.lock();
        let n = inner.states.len();
        // Healthy replicas not yet tried for this request first, resting ones last: a request is never
        // rejected for lack of a healthy replica, but tried, so that it fails with the real reason.
        let tried = |at: usize| failed.iter().filter(|attempt| attempt.replica == at).count();
        let load = |state: &State| match self.strategy {
            Strategy::RoundRobin => 0,
            Strategy::LeastOutstandingTokens => state.tokens,
            Strategy::ShortestQueue => state.requests as u64,
        };
        let start = inner.next;
        let chosen = (0..n)
            .map(|step| (start + step) % n)
            .min_by_key(|&at| {
                let state = &inner.states[at];
                (state.rests(now), tried(at), load(state))
            })
            .expect("a pool has at least one replica");
        inner.next = (chosen + 1) % n;
        let state = &mut inner.states[chosen];
        state.requests += 1;
        state.tokens = state.tokens.saturating_add(tokens);
        if !state.rests(now)
            && let Some(rest) = state.rest
        {
            // The rest is over and this request is the trial: until its outcome is known, other requests skip
            // the replica.
            state.begin_rest_of((rest * 2).min(LONGEST_REST), now);
        }
        Slot {
            pool: self,
            replica: chosen,
            tokens,
        }
    }

    fn note(&self, replica: usize, error: Option<&StreamError>) {
        let mut inner = self.lock();
        let state = &mut inner.states[replica];
        let Some(error) = error else {
            state.completed += 1;
            state.recover();
            return;
        };
        state.failed += 1;
        if let Some(asked) = error.retry_after()
            && inner.states.len() > 1
        {
            inner.states[replica].begin_rest_of(asked.min(LONGEST_REST), Instant::now());
            return;
        }
        let state = &mut inner.states[replica];
        match error {
            // The request's fault, or a response from a working server.
            StreamError::Status { code: 400..=499, .. } | StreamError::NoTokenIds { .. } => {}
            StreamError::Refused { .. } => state.begin_rest_for_failure(Instant::now()),
            _ => {
                state.failures_in_a_row += 1;
                if state.failures_in_a_row >= FAILURES_TO_REST {
                    state.begin_rest_for_failure(Instant::now());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Only counters are stored here; a panic elsewhere cannot leave them half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight at a replica; releases its slot when dropped.
struct Slot<'a> {
    pool: &'a Pool,
    replica: usize,
    tokens: u64,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        let state = &mut inner.states[self.replica];
        state.requests = state.requests.saturating_sub(1);
        state.tokens = state.tokens.saturating_sub(self.tokens);
    }
}
