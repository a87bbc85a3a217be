//! Why a run is being ended before its time, decided once, and told to everybody who has to know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vllm_client::{ControlError, Pool};

/// What ended a run early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT or SIGTERM.
    Signal(&'static str),
    /// The server no longer answers its health route.
    ServerGone(String),
    /// Queries were outstanding and none was answered for too long.
    Stalled(Duration),
}

impl std::fmt::Display for Cause {
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
        }
    }
}

/// Shared by the watchers, the workers and the main loop.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    cause: Arc<Mutex<Option<Cause>>>,
    /// Cancelled as soon as there is a cause; the workers then answer everything as failed.
    pub stop: CancellationToken,
    /// Cancelled by a second signal: do not wait for LoadGen any longer.
    pub now: CancellationToken,
}

impl Ending {
    /// One that SIGINT and SIGTERM end, watched for on `runtime`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals(runtime: &tokio::runtime::Runtime) -> anyhow::Result<Self> {
        let ending = Self::default();
        let _entered = runtime.enter();
        runtime.spawn(watch_signals(ending.clone()).context("cannot watch for signals")?);
        Ok(ending)
    }

    /// Ends the run, unless it is being ended already.
    pub fn end(&self, cause: Cause) {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            tracing::warn!("ending the run: {cause}");
            *known = Some(cause);
            self.stop.cancel();
        }
    }

    /// Why the run is being ended; `None` while it goes on.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Probes in a row that must fail before a server counts as gone.
const PROBES: u32 = 3;
/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(300);

/// Asks the servers' health routes whenever a request failed in a way that a dead server makes it fail. One that is
/// gone among several is told; the run ends when all are.
pub async fn watch_servers(pool: Arc<Pool>, suspect: Arc<Notify>, ending: Ending) {
    let mut told = vec![false; pool.clients().len()];
    loop {
        tokio::select! {
            () = ending.stop.cancelled() => return,
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
                () = ending.stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
        }
        if failed == PROBES {
            return ending.end(Cause::ServerGone(why));
        }
    }
}

/// Why no server is healthy; `None` if any is.
pub fn first_error(health: Vec<Result<(), ControlError>>) -> Option<String> {
    let errors: Result<Vec<ControlError>, ()> =
        health.into_iter().map(|health| health.err().ok_or(())).collect();
    errors.ok()?.first().map(ToString::to_string)
}

/// Turns the first SIGINT or SIGTERM into an orderly end, and a second one into an end without waiting.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch_signals(ending: Ending) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut first = true;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if !first {
                return ending.now.cancel();
            }
            first = false;
            ending.end(Cause::Signal(name));
        }
    })
}
