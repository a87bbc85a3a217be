//! Several servers behind one door: chooses a replica, keeps account of its health, and sends again what may be sent
//! again. Every attempt that failed is handed back, so that nothing is retried in silence.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{BatchCompletion, Client, Completion, ControlError, FirstToken, StreamError};

/// How a replica is chosen among the healthy ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The one with the fewest tokens underway: prompt plus most tokens to generate of every request that this pool
    /// has sent there and that is not answered.
    LeastOutstandingTokens,
    /// The one with the fewest requests of this pool that are not answered.
    ShortestQueue,
}

/// When a request is sent again. Only ever before its first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; 1 is no retry, the default.
    pub max_attempts: u32,
    /// Pause before the second attempt; doubles for each further one, up to 5 s. Default 50 ms. Pauses and attempts
    /// together last no longer than one request may ([`Timeouts::request`](crate::Timeouts::request)).
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

/// Consecutive failures after which a replica is passed over. A refused connection counts as this many.
const FAILURES_TO_REST: u32 = 3;
/// How long a failing replica is passed over at first; doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Longest pause before an attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the replica in the order the pool was given.
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

/// A completion, who gave it, and what was tried before.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolCompletion {
    /// The answer. Its `sent_at` is that of the attempt that succeeded.
    pub completion: Completion,
    /// Index of the replica that gave it.
    pub replica: usize,
    /// Attempts that failed before, in order.
    pub failed_attempts: Vec<Attempt>,
}

/// The answers to a request of several prompts, who gave them, and what was tried before.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolBatchCompletion {
    /// The answers.
    pub completion: BatchCompletion,
    /// Index of the replica that gave them.
    pub replica: usize,
    /// Attempts that failed before, in order.
    pub failed_attempts: Vec<Attempt>,
}

/// No attempt succeeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", last.error, attempts(earlier))]
pub struct PoolError {
    /// Attempts before the last, in order.
    pub earlier: Vec<Attempt>,
    /// The one that decided.
    pub last: Attempt,
}

/// Says how often a request was tried, where that was more than once.
fn attempts(earlier: &[Attempt]) -> String {
    match earlier.len() {
        0 => String::new(),
        more => format!(" ({} attempts)", more + 1),
    }
}

/// What the pool knows of one replica.
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
    /// Whether it is passed over at the moment.
    pub resting: bool,
}

#[derive(Debug, Clone, Default)]
struct State {
    requests: usize,
    tokens: u64,
    completed: u64,
    failed: u64,
    failures_in_a_row: u32,
    rest: Option<Duration>,
    rests_until: Option<Instant>,
    /// The rest was begun by a probe of its health, and no request has failed since.
    rests_for_probe: bool,
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

    /// Sends a prepared body to one replica, and to others as the retry policy allows. `request_id` is sent as by
    /// [`Client::complete_as`], the same with every attempt. `tokens` is the request's weight: prompt tokens plus the
    /// most it may generate. `on_first` is called at most once, as [`Client::complete`] does; `on_retry` for every
    /// attempt that failed and is followed by another, before the pause, so that nothing is lost when this future is
    /// dropped.
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
        let mut tries = Tries::new(self, on_retry);
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

    /// As [`Pool::complete`] for a body of `prompts` prompts, answered in one piece
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
        let mut tries = Tries::new(self, on_retry);
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

    /// Asks every replica for its health now. A failure begins a rest, and a healthy answer ends a rest that began so;
    /// one that failed requests began is ended by a request alone, since a server may be healthy by its own word and
    /// answer nothing. Answers in the order of [`Pool::clients`].
    pub async fn check_health(&self) -> Vec<Result<(), ControlError>> {
        // All at once: an address that swallows packets takes its whole timeout.
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

    /// What is known of each replica.
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
        // Well and untried for this request first, resting ones last: a request is never refused for want of a healthy
        // replica, it is tried and fails with the real reason.
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
            // The rest is over and this request is the trial: until its outcome is known, others pass on.
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
        match error {
            // The request's fault, or an answer of a server that works.
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
        // Only counters live here; a panic elsewhere cannot leave them half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's attempts so far.
struct Tries<'a, F> {
    pool: &'a Pool,
    failed: Vec<Attempt>,
    pause: Duration,
    /// When the first attempt began; the request's limit counts from here.
    begun_at: Instant,
    on_retry: F,
}

/// What follows an attempt.
enum Settled<T> {
    /// It succeeded, at this replica.
    Done(usize, T),
    /// It failed and was the last.
    Failed(Attempt),
    /// It failed, and another follows after this pause.
    Again(Duration),
}

impl<'a, F: FnMut(&Attempt)> Tries<'a, F> {
    fn new(pool: &'a Pool, on_retry: F) -> Self {
        Self {
            pool,
            failed: Vec::new(),
            pause: pool.retry.first_pause.min(LONGEST_PAUSE),
            begun_at: Instant::now(),
            on_retry,
        }
    }

    fn settle<T>(
        &mut self,
        slot: Slot<'_>,
        started_at: Instant,
        result: Result<T, StreamError>,
    ) -> Settled<T> {
        let (pool, replica) = (self.pool, slot.replica);
        pool.note(replica, result.as_ref().err());
        drop(slot);
        let error = match result {
            Ok(done) => return Settled::Done(replica, done),
            Err(error) => error,
        };
        let attempt = Attempt {
            replica,
            url: pool.clients[replica].url().to_owned(),
            started_at,
            took: started_at.elapsed(),
            error,
        };
        let attempts = u32::try_from(self.failed.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let left = pool.clients[replica]
            .config
            .timeouts
            .request
            .saturating_sub(self.begun_at.elapsed());
        if attempts >= pool.retry.max_attempts || !attempt.error.is_retryable() || left <= self.pause {
            return Settled::Failed(attempt);
        }
        tracing::debug!(url = %attempt.url, error = %attempt.error, attempts, "sending a request again");
        (self.on_retry)(&attempt);
        self.failed.push(attempt);
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        Settled::Again(pause)
    }
}

impl State {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    fn recover(&mut self) {
        self.failures_in_a_row = 0;
        self.rest = None;
        self.rests_until = None;
        self.rests_for_probe = false;
    }

    fn begin_rest_for_failure(&mut self, now: Instant) {
        self.begin_rest(now);
        self.rests_for_probe = false;
    }

    fn begin_rest_for_probe(&mut self, now: Instant) {
        // A rest that requests began stays theirs.
        if self.rest.is_none() {
            self.rests_for_probe = true;
        }
        self.begin_rest(now);
    }

    fn end_rest_for_probe(&mut self) {
        if self.rests_for_probe {
            self.rest = None;
            self.rests_until = None;
            self.rests_for_probe = false;
        }
    }

    fn begin_rest(&mut self, now: Instant) {
        // Many requests fail together when a server goes: they begin one rest, not one each.
        if !self.rests(now) {
            self.begin_rest_of(self.rest.unwrap_or(FIRST_REST), now);
        }
    }

    fn begin_rest_of(&mut self, rest: Duration, now: Instant) {
        self.rest = Some(rest);
        self.rests_until = Some(now + rest);
    }
}

/// A request underway at a replica; gives its place back when it ends in any way.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientConfig, Received};

    fn pool(n: usize, strategy: Strategy) -> Pool {
        let client = |i| Client::new(ClientConfig::new(format!("http://127.0.0.1:{}", i + 1))).unwrap();
        Pool::new((0..n).map(client).collect(), strategy, RetryPolicy::default()).unwrap()
    }

    fn refused() -> StreamError {
        StreamError::Refused {
            url: String::new(),
            reason: String::new(),
        }
    }

    #[test]
    fn round_robin_takes_turns() {
        let pool = pool(3, Strategy::RoundRobin);
        let turns: Vec<_> = (0..5).map(|_| pool.choose(1, &[]).replica).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn loads_decide_and_are_given_back() {
        let tokens = pool(2, Strategy::LeastOutstandingTokens);
        let heavy = tokens.choose(1000, &[]);
        let light: Vec<_> = (0..3).map(|_| tokens.choose(10, &[])).collect();
        assert!(light.iter().all(|slot| slot.replica != heavy.replica));
        assert_eq!(tokens.status()[0].outstanding_tokens, 1000);
        drop(heavy);
        assert_eq!(tokens.choose(10, &[]).replica, 0);
        drop(light);
        assert!(
            tokens
                .status()
                .iter()
                .all(|s| (s.outstanding_requests, s.outstanding_tokens) == (0, 0))
        );

        let queue = pool(2, Strategy::ShortestQueue);
        let first = queue.choose(1000, &[]);
        let second = queue.choose(1, &[]);
        assert_ne!(first.replica, second.replica);
        drop(second);
        assert_eq!(queue.choose(1, &[]).replica, 1);
    }

    #[test]
    fn failing_replicas_rest_and_come_back() {
        let pool = pool(2, Strategy::RoundRobin);
        pool.note(0, Some(&refused()));
        assert!(pool.status()[0].resting);
        assert!((0..4).all(|_| pool.choose(1, &[]).replica == 1));
        // One reset is no reason to rest, three in a row are.
        let reset = StreamError::Truncated {
            received: Received::default(),
        };
        pool.note(1, Some(&reset));
        pool.note(1, Some(&reset));
        assert!(!pool.status()[1].resting);
        pool.note(1, Some(&reset));
        assert!(pool.status()[1].resting);
        // All rest: still somebody is tried.
        let _slot = pool.choose(1, &[]);
        pool.note(0, None);
        assert!(!pool.status()[0].resting);
        assert_eq!((pool.status()[1].failed, pool.status()[0].completed), (3, 1));
    }

    #[test]
    fn a_healthy_answer_ends_no_rest_that_requests_began() {
        let pool = pool(1, Strategy::RoundRobin);
        let now = Instant::now();
        let rests = || pool.status()[0].resting;
        pool.lock().states[0].begin_rest_for_probe(now);
        assert!(rests());
        pool.lock().states[0].end_rest_for_probe();
        assert!(!rests());
        pool.note(0, Some(&refused()));
        pool.lock().states[0].begin_rest_for_probe(now);
        pool.lock().states[0].end_rest_for_probe();
        assert!(rests(), "a request began it");
        pool.note(0, None);
        // What failed between two probes is not forgotten.
        let reset = StreamError::Truncated {
            received: Received::default(),
        };
        for _ in 0..FAILURES_TO_REST {
            pool.lock().states[0].end_rest_for_probe();
            assert!(!rests());
            pool.note(0, Some(&reset));
        }
        assert!(rests());
    }

    #[test]
    fn pauses_grow_to_their_longest_and_end_with_the_request() {
        let mut pool = pool(1, Strategy::RoundRobin);
        pool.retry.max_attempts = 100;
        let mut tries = Tries::new(&pool, |_| {});
        let settle = |tries: &mut Tries<'_, _>| match tries.settle(
            pool.choose(1, &[]),
            Instant::now(),
            Err::<(), _>(refused()),
        ) {
            Settled::Again(pause) => Some(pause),
            Settled::Failed(_) => None,
            Settled::Done(..) => unreachable!(),
        };
        let pauses: Vec<_> = (0..9).filter_map(|_| settle(&mut tries)).collect();
        assert_eq!(
            pauses[..2],
            [Duration::from_millis(50), Duration::from_millis(100)]
        );
        assert_eq!(pauses[7..], [LONGEST_PAUSE; 2]);
        // All but the last pause of the hour is gone.
        let gone = pool.clients[0].config.timeouts.request - LONGEST_PAUSE;
        tries.begun_at = tries.begun_at.checked_sub(gone).unwrap();
        assert_eq!(settle(&mut tries), None);
    }

    #[test]
    fn a_bad_request_says_nothing_about_the_server() {
        let pool = pool(1, Strategy::RoundRobin);
        for _ in 0..5 {
            pool.note(
                0,
                Some(&StreamError::Status {
                    url: String::new(),
                    code: 400,
                    body: String::new(),
                }),
            );
        }
        assert!(!pool.status()[0].resting);
    }

    #[test]
    fn wrong_pools_are_refused() {
        let client = Client::new(ClientConfig::new("http://h:1")).unwrap();
        let retry = RetryPolicy::default();
        for (clients, retry, told) in [
            (vec![], retry, "empty"),
            (vec![client.clone(), client.clone()], retry, "twice"),
            (
                vec![client],
                RetryPolicy {
                    max_attempts: 0,
                    ..retry
                },
                "at least 1",
            ),
        ] {
            let error = Pool::new(clients, Strategy::RoundRobin, retry).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
