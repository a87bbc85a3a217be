//! The HTTP side: one event loop per thread, connections served by hyper, tokens handed to streams as they come.

mod body;
mod live;
mod openai;
mod reply;
mod routes;
mod stream;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::config::SimConfig;
use crate::driver::{Admission, Clock, EngineHandle};
use crate::engine::{Nanos, Output};
use crate::metrics::{Exchange, HttpStats};
use crate::rng::hash_tokens;
use crate::tokens::Tokenizer;
use live::Worker;

/// What all threads of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: SimConfig,
    pub(crate) clock: Clock,
    pub(crate) engines: Vec<Arc<EngineHandle>>,
    pub(crate) admission: Arc<Admission>,
    http: Mutex<HttpStats>,
    /// Hash of a prompt to its place among the references.
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
    ) -> Self {
        let references = config
            .references
            .iter()
            .enumerate()
            .map(|(at, r)| (hash_tokens(0, &r.prompt_token_ids), at))
            .collect();
        Self {
            tokenizer: Tokenizer::new(config.engine.vocab_size),
            model_json: reply::quote(&config.model).into(),
            config,
            clock,
            engines,
            admission,
            http: Mutex::new(HttpStats::new()),
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

    /// Counts an exchange that began at `started` and ends now.
    pub(crate) fn record(&self, mut exchange: Exchange, started: Nanos) {
        let now = self.clock.now();
        exchange.seconds = (now - started) as f64 / 1e9;
        self.lock_http().record(exchange, self.clock.wall_secs(now));
    }

    fn lock_http(&self) -> std::sync::MutexGuard<'_, HttpStats> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves connections on the calling thread until `stop` turns true. Every connection is cut then.
pub(crate) fn serve(
    shared: Arc<Shared>,
    thread: usize,
    listener: TcpListener,
    mut outputs: mpsc::Receiver<Vec<Output>>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let local = LocalSet::new();
    let worker = Rc::new(Worker::new(shared, thread));
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let dispatcher = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            while let Some(batch) = outputs.recv().await {
                dispatcher.dispatch(&batch);
                // Let the streams write before the next batch is looked at.
                tokio::task::yield_now().await;
            }
        });
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        tokio::task::spawn_local(connection(Rc::clone(&worker), socket));
                    }
                    Err(error) => {
                        // Most likely out of file descriptors: wait for some to close instead of spinning.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                },
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    })
}

async fn connection(worker: Rc<Worker>, socket: TcpStream) {
    // A chunk is one write; waiting for more to send with it would only delay tokens.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    let service = service_fn(move |request| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, io::Error>(routes::answer(worker, request).await) }
    });
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await
    {
        tracing::debug!(%error, "a connection ended early");
    }
}
