//! Shutdown: records the first reason to end a run and cancels its tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vllm_client::{ControlError, Pool};

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShutdownReason {
    /// One of [`SIGNALS`].
    Signal(&'static str),
    /// The server no longer answers its health route.
    ServerGone(String),
    /// Queries were outstanding, and none was answered for too long.
    Stalled(Duration),
    /// The wall clock, by which LoadGen schedules and measures, was set.
    ClockStepped {
        /// New time minus old time, in nanoseconds.
        step_ns: i128,
    },
}

impl std::fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "{name} was received"),
            Self::ServerGone(why) => write!(f, "the server is gone: {why}"),
            Self::Stalled(limit) => {
                write!(
                    f,
                    "no query was answered for {:.1} s although some were waiting",
                    limit.as_secs_f64()
                )
            }
            Self::ClockStepped { step_ns } => {
                let direction = if *step_ns < 0 { "back" } else { "forward" };
                write!(
                    f,
                    "the machine's clock was set {direction} by {:.1} s; LoadGen schedules and measures by it, so the \
                     result would be wrong; repeat the run with a clock that is only slewed",
                    step_ns.unsigned_abs() as f64 / 1e9
                )
            }
        }
    }
}

/// Shared by the watchers, the workers and the main loop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    reason: Arc<Mutex<Option<ShutdownReason>>>,
    /// Cancelled as soon as there is a reason; the workers then answer everything as failed.
    pub(crate) stop: CancellationToken,
    /// Cancelled by a second signal: do not wait for LoadGen any more.
    pub(crate) now: CancellationToken,
}

impl Shutdown {
    /// The runtime that `builder` describes, and a shutdown that signals trigger, watched on it.
    ///
    /// # Errors
    /// When the runtime cannot be started or the handlers cannot be installed.
    pub(crate) fn with_runtime(builder: &mut Builder) -> anyhow::Result<(Runtime, Self)> {
        // A signal that arrives between the installation of its handler and the start of the watch would be
        // lost. They are blocked meanwhile, and for good in the runtime's threads, which inherit the mask.
        let before = SIGNALS
            .iter()
            .map(|(_, signal)| *signal)
            .collect::<SigSet>()
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .context("cannot block signals")?;
        let made = builder
            .enable_all()
            .build()
            .context("cannot start the worker threads")
            .and_then(|runtime| {
                let shutdown = Self::default();
                let entered = runtime.enter();
                runtime.spawn(watch_signals(shutdown.clone()).context("cannot watch for signals")?);
                drop(entered);
                Ok((runtime, shutdown))
            });
        before.thread_set_mask().context("cannot unblock signals")?;
        made
    }

    /// As [`Shutdown::with_runtime`], with a runtime of one thread for callers that have none.
    ///
    /// # Errors
    /// As [`Shutdown::with_runtime`].
    pub(crate) fn watched() -> anyhow::Result<(Runtime, Self)> {
        Self::with_runtime(Builder::new_multi_thread().worker_threads(1))
    }

    /// Ends the run, unless it is already being ended.
    pub(crate) fn begin(&self, reason: ShutdownReason) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            tracing::warn!("ending the run: {reason}");
            *known = Some(reason);
            self.stop.cancel();
        }
    }

    /// Why the run is being ended; `None` while it goes on.
    pub(crate) fn reason(&self) -> Option<ShutdownReason> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Number of consecutive failed probes after which a server counts as gone.
const PROBES: u32 = 3;
/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(300);

/// Probes the servers' health routes whenever a request fails as it would with a dead server. If one of
/// several is gone, that is logged; the run ends when all are gone.
pub(crate) async fn watch_servers(pool: Arc<Pool>, suspect: Arc<Notify>, shutdown: Shutdown) {
    let mut told = vec![false; pool.clients().len()];
    loop {
        tokio::select! {
            () = shutdown.stop.cancelled() => return,
            () = suspect.notified() => {}
        }
        let mut failed = 0;
        let mut why = String::new();
        while failed < PROBES {
            let health = pool.check_health().await;
            for ((client, health), told) in pool.clients().iter().zip(&health).zip(&mut told) {
                if let Err(error) = health
                    && pool.clients().len() > 1
                    && !std::mem::replace(told, true)
                {
                    tracing::warn!("{} does not answer; the others go on: {error}", client.url());
                }
            }
            match first_error(health) {
                None => break,
                Some(error) => why = error,
            }
            failed += 1;
            tokio::select! {
                () = shutdown.stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
        }
        if failed == PROBES {
            return shutdown.begin(ShutdownReason::ServerGone(why));
        }
    }
}

/// Why no server is healthy; `None` if any is.
pub(crate) fn first_error(health: Vec<Result<(), ControlError>>) -> Option<String> {
    let errors: Result<Vec<ControlError>, ()> =
        health.into_iter().map(|health| health.err().ok_or(())).collect();
    errors.ok()?.first().map(ToString::to_string)
}

/// Signals that end a run gracefully: Ctrl-C, `kill`, a closed terminal or session, Ctrl-\\.
const SIGNALS: [(&str, Signal); 4] = [
    ("SIGINT", Signal::SIGINT),
    ("SIGTERM", Signal::SIGTERM),
    ("SIGHUP", Signal::SIGHUP),
    ("SIGQUIT", Signal::SIGQUIT),
];

/// Turns the first signal into a graceful end, and the second one into an immediate end.
///
/// # Errors
/// When the handlers cannot be installed.
fn watch_signals(shutdown: Shutdown) -> std::io::Result<impl Future<Output = ()>> {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    for (name, number) in SIGNALS {
        let mut stream = signal(SignalKind::from_raw(number as i32))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            // The receiver is gone when the run has ended.
            while stream.recv().await.is_some() && sender.send(name).is_ok() {}
        });
    }
    Ok(async move {
        if let Some(name) = received.recv().await {
            shutdown.begin(ShutdownReason::Signal(name));
        }
        // A closing terminal sends SIGHUP to the group, often twice: both count as the first request.
        while let Some(name) = received.recv().await {
            if name != "SIGHUP" {
                return shutdown.now.cancel();
            }
        }
    })
}
