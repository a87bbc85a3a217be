//! One life of a simulated server: its engines, threads and counters from a start to an end.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::SimConfig;
use crate::control::Control;
use crate::driver::{EngineHandle, Engines, QUEUE_BATCHES};
use crate::error::{Error, Result};
use crate::faults::Faults;
use crate::http::{self, Acceptor, Gates, Shared, Source};
use crate::threads::spawn;

/// A running server.
#[derive(Debug)]
pub(crate) struct Instance {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    refuse: watch::Sender<bool>,
    dead: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Binds the address; it is released when the listener is dropped or its life ends.
///
/// # Errors
/// [`Error::Listen`] if it cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    Ok(listener)
}

impl Instance {
    /// Starts every thread. Counters begin at 0.
    ///
    /// # Errors
    /// [`Error::Start`] if the system cannot create a thread.
    pub(crate) fn start(
        config: SimConfig,
        listener: TcpListener,
        faults: Arc<Faults>,
        control: Arc<Control>,
        metered: &Engines,
    ) -> Result<Self> {
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
        *metered.lock().unwrap_or_else(PoisonError::into_inner) = engines.clone();
        let threads = config.http_threads as usize;
        let (stop, stopped) = watch::channel(false);
        let (refuse, refused) = watch::channel(false);
        let (dead, died) = watch::channel(false);
        let gates = Gates {
            stop: stopped,
            refuse: refused,
            dead: died,
        };
        let shared = Arc::new(Shared::new(config, clock, engines, admission, faults, control));
        let mut life = Self {
            shared,
            stop,
            refuse,
            dead,
            threads: Vec::new(),
        };

        // Before the first request can arrive; later changes are made by the supervisor.
        life.set_hung(life.shared.faults.begins_hung());

        let mut sources = Vec::new();
        let mut others = Vec::new();
        for _ in 1..threads {
            let (socket, sockets) = mpsc::unbounded_channel();
            others.push(socket);
            sources.push(Source::Assigned(sockets));
        }
        sources.insert(0, Source::Acceptor(Acceptor { listener, others }));

        let mut sinks = Vec::new();
        for (thread, source) in sources.into_iter().enumerate() {
            let (sink, outputs) = mpsc::channel(QUEUE_BATCHES);
            sinks.push(sink);
            let (shared, gates) = (Arc::clone(&life.shared), gates.clone());
            let body = move || {
                if let Err(error) = http::serve(shared, thread, source, outputs, gates) {
                    tracing::error!(%error, "an HTTP thread ended");
                }
            };
            life.threads.push(spawn(format!("sim-http-{thread}"), body)?);
        }
        for (number, engine) in life.shared.engines.iter().enumerate() {
            let (engine, sinks) = (Arc::clone(engine), sinks.clone());
            life.threads
                .push(spawn(format!("sim-engine-{number}"), move || engine.run(&sinks))?);
        }
        Ok(life)
    }

    /// Scales the duration of steps, in percent; 100 is normal.
    pub(crate) fn set_slow(&self, percent: u32) {
        for engine in &self.shared.engines {
            engine.set_slow(percent);
        }
    }

    /// Kills the engines but not the front end.
    pub(crate) fn kill_engines(&self) {
        self.shared.declare_dead();
        self.set_hung(true);
        self.dead.send_replace(true);
    }

    /// Freezes the engines or lets them continue. Dead ones stay dead.
    pub(crate) fn set_hung(&self, hung: bool) {
        let hung = hung || self.shared.is_dead();
        for engine in &self.shared.engines {
            engine.set_hung(hung);
        }
    }

    /// Rejects connections or accepts them again.
    pub(crate) fn set_refuse(&self, refuse: bool) {
        self.refuse
            .send_if_modified(|now| std::mem::replace(now, refuse) != refuse);
    }
}

impl Drop for Instance {
    /// Closes every connection and joins every thread.
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for engine in &self.shared.engines {
            engine.stop();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a simulator thread panicked");
            }
        }
    }
}
