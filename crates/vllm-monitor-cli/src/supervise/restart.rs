//! One server after another: restarts that the acting part asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use monitor_acting::actuate::RestartFn;
use monitor_acting::guard::Mode;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::arguments::ServerCommand;
use super::child::{Child, ChildEnd};
use super::{Reporter, Signals};
use crate::acting::ActingHandle;
use crate::settings::Resolved;
use crate::target::Note;

/// The actions that restart a server.
const RESTARTS: [&str; 3] = ["restart", "restart_smaller", "restart_eager"];
/// Time that a server has to end after SIGTERM; a hung engine does not end by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Longest wait for a restart of a server that has ended: longer than the longest pause between restarts.
const LONGEST_WAIT: Duration = Duration::from_secs(330);
/// Time between looks at whether a restart is still possible.
const LOOK: Duration = Duration::from_millis(100);

/// A restart that the acting part asks for.
#[derive(Debug)]
pub(super) struct Request {
    arguments: BTreeMap<String, String>,
    done: oneshot::Sender<Result<(), String>>,
}

/// The settings with a way to restart the server of this command.
pub(super) fn with_restarts(
    mut settings: Resolved,
    command: &ServerCommand,
    requests: mpsc::Sender<Request>,
) -> Resolved {
    let restart: RestartFn = Arc::new(move |arguments| {
        let requests = requests.clone();
        Box::pin(async move {
            let (done, result) = oneshot::channel();
            let gone = |_| "the server is no longer supervised".to_owned();
            let sent = requests.send(Request { arguments, done }).await;
            sent.map_err(|_| "the server is no longer supervised".to_owned())?;
            result.await.map_err(gone)?
        })
    });
    for target in settings.acting.targets.values_mut() {
        target.restart = Some(Arc::clone(&restart));
        // vLLM's own supervisor stops all its servers if one of them ends.
        let is_owned = command
            .words
            .iter()
            .any(|word| word == "--data-parallel-multi-port-external-lb");
        if is_owned && target.restart_owner.is_none() {
            target.restart_owner = Some("vLLM's data-parallel supervisor".to_owned());
        }
    }
    settings
}

/// Whether restarts are enabled.
pub(super) fn may_restart(settings: &Resolved) -> bool {
    let acting = &settings.acting;
    acting.limits.mode == Mode::Act
        && RESTARTS.iter().any(|name| acting.limits.allow.contains(*name))
        && acting
            .targets
            .values()
            .all(|target| !target.excluded && target.restart_owner.is_none())
}

/// A server that may be restarted.
pub(super) struct Supervised<'a> {
    pub(super) command: &'a ServerCommand,
    pub(super) variables: &'a [(String, String)],
    pub(super) reporter: Reporter,
    pub(super) child: Child,
    pub(super) requests: mpsc::Receiver<Request>,
    /// The acting part, where restarts are enabled.
    pub(super) acting: Option<ActingHandle>,
    /// A signal asked to stop.
    pub(super) asked: bool,
    /// A restart for which the server is being stopped, and when it is killed.
    pub(super) stopping: Option<(Request, Instant)>,
}

impl Supervised<'_> {
    /// Watches the server, and those that follow it, to the end of the last.
    pub(super) async fn watch(&mut self, ended: &mut Signal, signals: &mut Signals) -> ChildEnd {
        loop {
            let kill_at = self.stopping.as_ref().map(|(_, at)| *at);
            let late = async {
                match kill_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ended.recv() => {
                    if let Some(end) = self.child.reap()
                        && !self.follows(end, signals).await
                    {
                        return end;
                    }
                }
                received = signals.next() => {
                    if received.asks_to_stop {
                        self.asked = true;
                        self.reporter.send(Note::StopRequested(true)).await;
                    }
                    self.child.signal(received.number);
                }
                Some(request) = self.requests.recv(), if self.stopping.is_none() => {
                    self.reporter.send(Note::StopRequested(true)).await;
                    self.child.signal(nix::sys::signal::Signal::SIGTERM as i32);
                    self.stopping = Some((request, Instant::now() + STOP_GRACE));
                }
                () = late => {
                    self.child.kill_group();
                    if let Some((_, at)) = &mut self.stopping {
                        *at += STOP_GRACE;
                    }
                }
            }
        }
    }

    /// After the end of a server: whether another one was started in its place.
    async fn follows(&mut self, end: ChildEnd, signals: &mut Signals) -> bool {
        self.child.end_group().await;
        self.reporter.ended(end).await;
        let request = match self.stopping.take() {
            Some((request, _)) => Some(request),
            None => self.restart_of_ended(signals).await,
        };
        let Some(Request { arguments, done }) = request else {
            return false;
        };
        if self.asked {
            let _gone = done.send(Err("the server was asked to stop".to_owned()));
            return false;
        }
        let words = match self.command.with_arguments(&arguments) {
            Ok(words) => words,
            Err(problem) => {
                let _gone = done.send(Err(problem));
                return false;
            }
        };
        match Child::start(&words, self.variables, self.reporter.notes.clone()) {
            Ok(child) => {
                self.child = child;
                self.reporter.started(self.child.pid()).await;
                let _gone = done.send(Ok(()));
                true
            }
            Err(e) => {
                let _gone = done.send(Err(e.to_string()));
                false
            }
        }
    }

    /// Waits for the acting part to restart a server that has ended; `None` if it will not.
    async fn restart_of_ended(&mut self, signals: &mut Signals) -> Option<Request> {
        let acting = self.acting.clone().filter(|_| !self.asked)?;
        let deadline = Instant::now() + LONGEST_WAIT;
        loop {
            tokio::select! {
                request = self.requests.recv() => return request,
                received = signals.next() => {
                    if received.asks_to_stop {
                        self.asked = true;
                        return None;
                    }
                }
                () = tokio::time::sleep(LOOK) => {
                    let status = acting.status();
                    if !status.acts || !status.escalated.is_empty() || Instant::now() > deadline {
                        return None;
                    }
                }
            }
        }
    }
}
