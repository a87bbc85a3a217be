//! `vllm-monitor run … -- vllm serve MODEL …`: starts a server, observes it, and ends with its status.
//!
//! Fit to be the first process of a container: it forwards signals to the server, reaps processes whose parent is
//! gone, passes output through byte by byte, and after the server's end removes what is left of its process group.

mod arguments;
mod child;
mod output;
mod restart;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use vllm_monitor::Time;
use vllm_monitor::snapshot::Exit;

pub use arguments::{ServerCommand, Switches, take_switches};
use child::{Child, ChildEnd};
use restart::{Supervised, may_restart, with_restarts};

use crate::error::{Error, Result};
use crate::notify::Watch;
use crate::runtime::Runtime;
use crate::settings::Resolved;
use crate::target::Note;

/// Longest wait for the last evaluation and its notifications after the server has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Exit status for a server that ended with code 0 although nobody had asked it to: vLLM does so when its engine dies.
pub const UNASKED_END: u8 = 1;

/// Runs a server, with these variables in addition to the inherited ones, to its end and returns the exit status to end
/// with: the server's own code, 128 and the signal that ended it, or [`UNASKED_END`]. Where restarts are enabled, the
/// end of the server is the end only if it is not restarted. `warn` receives what the user should know of the start.
///
/// # Errors
/// If the monitor or the server could not be started.
pub async fn run(
    settings: Option<Resolved>,
    command: &ServerCommand,
    variables: &[(String, String)],
    warn: impl Fn(&[String]),
) -> Result<u8> {
    // Before the server can end, or its end would be missed.
    let mut ended = listen(SignalKind::child())?;
    let mut signals = Signals::listen()?;
    let (restarts, requests) = mpsc::channel(1);
    let settings = settings.map(|settings| with_restarts(settings, command, restarts));
    let restarted = settings.as_ref().is_some_and(may_restart);
    let mut monitor = match settings {
        Some(settings) => Some(Runtime::start(settings).await?),
        None => None,
    };
    if let Some(monitor) = &mut monitor {
        monitor.follow_for_systemd(Watch::Server);
        warn(monitor.warnings());
    }
    let target = monitor
        .as_ref()
        .and_then(|monitor| monitor.hub().read(|_, views| views.keys().next().cloned()));
    let reporter = Reporter {
        notes: monitor
            .as_ref()
            .zip(target.as_ref())
            .and_then(|(monitor, target)| monitor.notes(target)),
        monitor: monitor.as_ref().map(|monitor| Arc::clone(monitor.hub())),
    };
    let child = Child::start(&command.words, variables, reporter.notes.clone())?;
    reporter.started(child.pid()).await;
    let acting = monitor.as_ref().map(Runtime::acting);
    let mut server = Supervised {
        command,
        variables,
        reporter,
        child,
        requests,
        acting: acting.filter(|_| restarted),
        asked: false,
        stopping: None,
    };
    let end = server.watch(&mut ended, &mut signals).await;
    let asked = server.asked;
    drop(server);
    if let Some(monitor) = monitor {
        monitor.finish().await;
    }
    Ok(status(end, asked))
}

fn status(end: ChildEnd, asked: bool) -> u8 {
    match end {
        ChildEnd::Code(0) if !asked => UNASKED_END,
        // The system keeps eight bits of a code.
        ChildEnd::Code(code) => u8::try_from(code & 0xff).unwrap_or(UNASKED_END),
        ChildEnd::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
    }
}

/// Reports to the target, if there is one.
struct Reporter {
    notes: Option<mpsc::Sender<Note>>,
    monitor: Option<Arc<crate::hub::Hub>>,
}

impl Reporter {
    async fn started(&self, pid: u32) {
        self.send(Note::StopRequested(false)).await;
        self.send(Note::Started(pid)).await;
        self.send(Note::Log(Ok(()))).await;
    }

    async fn send(&self, note: Note) {
        if let Some(notes) = &self.notes {
            let _ended = notes.send(note).await;
        }
    }

    /// Reports the end and waits until it was evaluated.
    async fn ended(&self, end: ChildEnd) {
        let Some(hub) = &self.monitor else { return };
        let at: Time = hub.now();
        let (code, number) = match end {
            ChildEnd::Code(code) => (Some(code), None),
            ChildEnd::Signal(number) => (None, Some(number)),
        };
        self.send(Note::Exit(Exit {
            at,
            code,
            signal: number,
        }))
        .await;
        let evaluated = async {
            let has_exit = || {
                hub.read(|_, views| {
                    views
                        .values()
                        .any(|view| view.snapshot.as_ref().is_some_and(|s| s.process.exit.is_some()))
                })
            };
            while !has_exit() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _late = tokio::time::timeout(LAST_WORDS, evaluated).await;
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|source| Error::System {
        what: "signals cannot be received",
        source,
    })
}

/// A signal to pass on.
struct Received {
    number: i32,
    asks_to_stop: bool,
}

/// The signals that are passed on.
struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
    winch: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hup: listen(SignalKind::hangup())?,
            usr1: listen(SignalKind::user_defined1())?,
            usr2: listen(SignalKind::user_defined2())?,
            winch: listen(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Received {
        let (kind, asks_to_stop) = tokio::select! {
            _ = self.term.recv() => (SignalKind::terminate(), true),
            _ = self.int.recv() => (SignalKind::interrupt(), true),
            _ = self.quit.recv() => (SignalKind::quit(), true),
            _ = self.hup.recv() => (SignalKind::hangup(), true),
            _ = self.usr1.recv() => (SignalKind::user_defined1(), false),
            _ = self.usr2.recv() => (SignalKind::user_defined2(), false),
            _ = self.winch.recv() => (SignalKind::window_change(), false),
        };
        Received {
            number: kind.as_raw_value(),
            asks_to_stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_nobody_asked_for_is_a_failure_whatever_its_code() {
        assert_eq!(status(ChildEnd::Code(0), true), 0);
        assert_eq!(status(ChildEnd::Code(0), false), UNASKED_END);
        assert_eq!(status(ChildEnd::Code(3), false), 3);
        assert_eq!(status(ChildEnd::Signal(9), false), 137);
        assert_eq!(status(ChildEnd::Signal(15), true), 143);
    }
}
