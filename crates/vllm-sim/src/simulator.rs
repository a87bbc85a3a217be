//! A running simulated server: its threads, its address, its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::config::SimConfig;
use crate::driver::{Admission, Clock, EngineHandle, QUEUE_BATCHES};
use crate::error::{Error, Result};
use crate::http::{self, Shared};

/// A simulated server on its own threads. Dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    http_threads: Vec<JoinHandle<()>>,
    engine_threads: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Binds the address and starts serving. Connections are accepted when this returns.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that cannot be served, [`Error::Listen`] for an address that cannot be had,
    /// [`Error::Start`] when the system grants no thread or event loop.
    pub fn start(config: SimConfig) -> Result<Self> {
        config.validate()?;
        let asked = config.listen;
        let listen = |source| Error::Listen {
            address: asked,
            source,
        };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        let clock = Clock::start();
        let admission = Arc::new(Admission::new(
            config.max_num_queued_reqs,
            config.max_num_queued_tokens,
        ));
        let engines: Vec<Arc<EngineHandle>> = (0..config.replicas)
            .map(|_| {
                Arc::new(EngineHandle::new(
                    config.engine.clone(),
                    clock,
                    Arc::clone(&admission),
                ))
            })
            .collect();
        let threads = config.http_threads as usize;
        let shared = Arc::new(Shared::new(config, clock, engines, admission));
        let (stop, stopped) = watch::channel(false);
        let mut simulator = Self {
            address,
            shared,
            stop,
            http_threads: Vec::new(),
            engine_threads: Vec::new(),
        };

        let mut sinks = Vec::new();
        for thread in 0..threads {
            let (sink, outputs) = mpsc::channel(QUEUE_BATCHES);
            sinks.push(sink);
            let listener = listener.try_clone().map_err(listen)?;
            let (shared, stopped) = (Arc::clone(&simulator.shared), stopped.clone());
            let body = move || {
                if let Err(error) = http::serve(shared, thread, listener, outputs, stopped) {
                    tracing::error!(%error, "an HTTP thread could not start its event loop");
                }
            };
            simulator
                .http_threads
                .push(spawn(format!("sim-http-{thread}"), body)?);
        }
        for (number, engine) in simulator.shared.engines.iter().enumerate() {
            let (engine, sinks) = (Arc::clone(engine), sinks.clone());
            simulator
                .engine_threads
                .push(spawn(format!("sim-engine-{number}"), move || engine.run(&sinks))?);
        }
        Ok(simulator)
    }

    /// `http://address:port`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Freezes every engine (true) or lets it go on (false): requests enter and nothing comes out, `/health` still
    /// says 200, gauges keep their last values.
    pub fn set_hung(&self, hung: bool) {
        for engine in &self.shared.engines {
            engine.set_hung(hung);
        }
    }

    /// Stops serving: connections are cut, threads are joined. Returns when the last has ended.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stop.send_replace(true);
        for engine in &self.shared.engines {
            engine.stop();
        }
        for thread in self.http_threads.drain(..).chain(self.engine_threads.drain(..)) {
            if thread.join().is_err() {
                tracing::error!("a simulator thread panicked");
            }
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let start = |source: io::Error| Error::Start {
        what: "thread",
        source,
    };
    std::thread::Builder::new().name(name).spawn(body).map_err(start)
}
