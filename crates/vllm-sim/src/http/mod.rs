//! The HTTP side: one event loop per thread, connections served by hyper, tokens passed to streams as they
//! arrive.

mod api_error;
mod body;
mod dev;
mod guard;
mod levers;
mod live;
mod openai;
mod reply;
mod routes;
mod serve;
mod stream;
mod stream_fault;
mod wire;

pub(crate) use serve::{Acceptor, Gates, Source, serve};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::SimConfig;
use crate::control::Control;
use crate::driver::EngineHandle;
use crate::engine::{Nanos, RequestId};
use crate::faults::Faults;
use crate::metrics::{Exchange, HttpStats};
use crate::rng::hash_tokens;
use crate::tokens::Tokenizer;

/// State shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: SimConfig,
    pub(crate) clock: Clock,
    pub(crate) engines: Vec<Arc<EngineHandle>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) control: Arc<Control>,
    dead: AtomicBool,
    http: Mutex<HttpStats>,
    /// Requests in flight by client-visible id.
    requests: Mutex<HashMap<String, Vec<(usize, RequestId)>>>,
    /// Hash of a prompt to its index in the references.
    references: HashMap<u64, usize>,
    tokenizer: Tokenizer,
    model_json: Arc<str>,
    next_request: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        config: SimConfig,
        clock: Clock,
        engines: Vec<Arc<EngineHandle>>,
        admission: Arc<Admission>,
        faults: Arc<Faults>,
        control: Arc<Control>,
    ) -> Self {
        let references = config
            .references
            .iter()
            .enumerate()
            .map(|(at, r)| (hash_tokens(0, &r.prompt_token_ids), at))
            .collect();
        Self {
            tokenizer: Tokenizer::new(config.engine.vocab_size),
            model_json: api_error::quote(&config.model).into(),
            config,
            clock,
            engines,
            admission,
            faults,
            control,
            dead: AtomicBool::new(false),
            http: Mutex::new(HttpStats::new()),
            requests: Mutex::default(),
            references,
            next_request: AtomicU64::new(0),
        }
    }

    /// The known answer to a prompt.
    fn reference(&self, prompt: &[u32]) -> Option<Arc<[u32]>> {
        if self.references.is_empty() {
            return None;
        }
        let reference = &self.config.references[*self.references.get(&hash_tokens(0, prompt))?];
        (reference.prompt_token_ids == prompt).then(|| Arc::from(reference.output_token_ids.as_slice()))
    }

    /// True once the engines are dead; they stay so for the rest of this life.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Declares the engines dead. Waiting tasks are woken by [`Gates::dead`].
    pub(crate) fn declare_dead(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Counts an exchange that began at `started` and ends now.
    pub(crate) fn record(&self, mut exchange: Exchange, started: Nanos) {
        let now = self.clock.now();
        exchange.seconds = (now - started) as f64 / 1e9;
        self.lock_http().record(exchange, self.clock.wall_secs(now));
    }

    fn lock_http(&self) -> std::sync::MutexGuard<'_, HttpStats> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the parts of a request in flight.
    fn enter(&self, id: &str, parts: &[(usize, RequestId)]) {
        self.lock_requests().insert(id.to_owned(), parts.to_vec());
    }

    /// Forgets a request that has ended.
    fn leave(&self, id: &str) {
        self.lock_requests().remove(id);
    }

    /// The parts of a request in flight; none for an unknown id.
    fn parts_of(&self, id: &str) -> Vec<(usize, RequestId)> {
        self.lock_requests().get(id).cloned().unwrap_or_default()
    }

    fn lock_requests(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<(usize, RequestId)>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }
}
