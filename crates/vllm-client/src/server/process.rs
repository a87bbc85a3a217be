//! One server process: its process group, its log, its exit.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::watchdog::Watchdog;
use super::{ServerConfig, ServerError};
use crate::config::{ApiKey, ClientConfig};
use crate::{Client, Readiness, WaitReady};

/// Log lines quoted when a server dies or does not become ready.
const LAST_LINES: usize = 20;
/// How much of the log's end is read to find them.
const TAIL_BYTES: u64 = 16 << 10;
/// How long to wait for processes after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// Poll interval of the process table while a group ends.
const LOOK: Duration = Duration::from_millis(20);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited by itself with this status. A status of 0 that was not requested is a failure too.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// A server that exited without being asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server ended with {exit}; its log is {log_path}, which ends:\n{}", last_lines.join("\n"))]
pub struct ProcessEnded {
    /// How.
    pub exit: Exit,
    /// Its log file.
    pub log_path: PathBuf,
    /// The log's last lines.
    pub last_lines: Vec<String>,
}

/// The result of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// How the server ended.
    pub exit: Exit,
    /// The processes that had to be killed with SIGKILL, if any: ids and names of those left at the deadline.
    pub killed: Vec<(i32, String)>,
    /// How long it took.
    pub took: Duration,
}

/// A running server. Dropping it kills its group; [`ServerProcess::stop`] ends it gracefully.
#[derive(Debug)]
pub struct ServerProcess {
    config: ServerConfig,
    child: Child,
    group: Pid,
    port: u16,
    log_start: u64,
    exit: watch::Receiver<Option<Exit>>,
    watcher: Option<JoinHandle<()>>,
    watchdog: Watchdog,
    over: bool,
}

impl ServerProcess {
    /// Starts the process and returns at once; see [`ServerProcess::wait_ready`].
    ///
    /// # Errors
    /// The port is taken, the log cannot be opened, or the command cannot be run.
    pub fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let port = choose_port(&config)?;
        let log_error = |source| ServerError::Log {
            path: config.log_path.clone(),
            source,
        };
        if let Some(dir) = config.log_path.parent() {
            std::fs::create_dir_all(dir).map_err(log_error)?;
        }
        if let Some(dir) = &config.profiler_dir {
            std::fs::create_dir_all(dir).map_err(log_error)?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&config.log_path)
            .map_err(log_error)?;
        let log_start = log.metadata().map_err(log_error)?.len();
        let words = config.words(port);
        let Some((program, rest)) = words.split_first() else {
            return Err(ServerError::Config {
                origin: "command".to_owned(),
                reason: "it is empty".to_owned(),
            });
        };
        tracing::info!(command = ?config.redacted_command(port), log = %config.log_path.display(), "starting server");
        // Started before the server, so that the server is never without it.
        let watched = |source| ServerError::Spawn {
            command: "/bin/sh (the watchdog)".to_owned(),
            source,
        };
        let mut watchdog = Watchdog::start(config.stop_timeout).map_err(watched)?;
        let mut child = Command::new(program)
            .args(rest)
            .envs(&config.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(log_error)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|source| ServerError::Spawn {
                command: program.clone(),
                source,
            })?;
        let group =
            Pid::from_raw(i32::try_from(child.id()).expect("a process id fits the system's own type"));
        if let Err(error) = watchdog.watch(group) {
            // Without the watchdog, the server would survive a crash of this program.
            let killed = child.kill().and_then(|()| child.wait());
            tracing::warn!(?killed, "the server is ended: its watchdog died");
            return Err(watched(error));
        }
        let (tell, exit) = watch::channel(None);
        let watcher = std::thread::Builder::new()
            .name("server-watch".to_owned())
            .spawn(move || watch_child(group, &tell))
            .map_err(|source| ServerError::Spawn {
                command: "a watcher thread".to_owned(),
                source,
            })?;
        Ok(Self {
            config,
            child,
            group,
            port,
            log_start,
            exit,
            watcher: Some(watcher),
            watchdog,
            over: false,
        })
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        let host = match self.config.host.as_str() {
            "0.0.0.0" | "" => "127.0.0.1".to_owned(),
            "::" => "[::1]".to_owned(),
            v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]"),
            host => host.to_owned(),
        };
        format!("http://{host}:{}", self.port)
    }

    /// A client's configuration for this server: its address, and its API key if the settings contain one.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig {
            api_key: self.config.api_key().map(ApiKey::new),
            ..ClientConfig::new(self.url())
        }
    }

    /// The settings it was started with.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Process id of the server, which is also its group's.
    pub fn pid(&self) -> i32 {
        self.group.as_raw()
    }

    /// The command line with secrets replaced, for the record.
    pub fn command_line(&self) -> Vec<String> {
        self.config.redacted_command(self.port)
    }

    /// Waits until the server is ready by health, model list and metrics together, or has died.
    ///
    /// # Errors
    /// [`ServerError::ProcessEnded`] as soon as it ends, [`ServerError::NotReady`] at the startup limit.
    pub async fn wait_ready(&self) -> Result<Readiness, ServerError> {
        let client = Client::new(self.client_config()).map_err(ServerError::Client)?;
        let wait = WaitReady {
            deadline: self.config.startup_timeout,
            model: Some(self.config.served_model_name().to_owned()),
            ..WaitReady::default()
        };
        tokio::select! {
            biased;
            died = self.died() => Err(ServerError::ProcessEnded(died)),
            ready = client.wait_ready(&wait) => ready.map_err(|source| ServerError::NotReady {
                source,
                log_path: self.config.log_path.clone(),
                last_lines: self.last_lines(),
            }),
        }
    }

    /// Returns when the server has exited, with its last log lines. Pending while it runs.
    pub async fn died(&self) -> ProcessEnded {
        let mut exit = self.exit.clone();
        let exit = match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Code(-1)),
            // The watcher sends before it ends, so a closed channel means that it panicked.
            Err(_) => Exit::Code(-1),
        };
        self.report(exit)
    }

    /// Whether and how the server has exited; never blocks.
    pub fn has_died(&self) -> Option<ProcessEnded> {
        let exit = *self.exit.borrow();
        exit.map(|exit| self.report(exit))
    }

    fn report(&self, exit: Exit) -> ProcessEnded {
        ProcessEnded {
            exit,
            log_path: self.config.log_path.clone(),
            last_lines: self.last_lines(),
        }
    }

    /// The last lines of the log that this server wrote.
    pub fn last_lines(&self) -> Vec<String> {
        tail(&self.config.log_path, self.log_start)
            .unwrap_or_else(|e| vec![format!("(the log cannot be read: {e})")])
    }

    /// Ends the server: SIGTERM to its group, the stop timeout, then SIGKILL to what is left of the group.
    ///
    /// # Errors
    /// [`ServerError::Unkillable`] if processes are left even after SIGKILL.
    pub async fn stop(mut self) -> Result<Stopped, ServerError> {
        let start = Instant::now();
        self.signal(Signal::SIGTERM);
        let deadline = start + self.config.stop_timeout;
        let killed = self.gone_by(deadline).await;
        if !killed.is_empty() {
            tracing::warn!(
                ?killed,
                "the server did not end in time after SIGTERM; sending SIGKILL"
            );
            self.signal(Signal::SIGKILL);
            let left = self.gone_by(Instant::now() + KILL_WAIT).await;
            if !left.is_empty() {
                return Err(ServerError::Unkillable {
                    left,
                    after: KILL_WAIT,
                });
            }
        }
        let exit = *self.exit.borrow();
        self.reap();
        Ok(Stopped {
            exit: exit.unwrap_or(Exit::Code(-1)),
            killed,
            took: start.elapsed(),
        })
    }

    /// Waits until no process of the group runs and the leader's exit is known; returns the processes left at
    /// the deadline.
    async fn gone_by(&self, deadline: Instant) -> Vec<(i32, String)> {
        loop {
            let mut left = members(self.group);
            if left.is_empty() && self.exit.borrow().is_some() {
                return left;
            }
            if Instant::now() >= deadline {
                if left.is_empty() {
                    left.push((self.group.as_raw(), "(ended, not yet reported)".to_owned()));
                }
                return left;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Signals the group. This cannot hit another process: the leader is not reaped while this value exists,
    /// so the system does not reuse its process id.
    fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::error!(%error, %signal, group = %self.group, "cannot signal the server"),
        }
    }

    fn reap(&mut self) {
        self.over = true;
        // While the process id still belongs to the leader.
        self.watchdog.stand_down();
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!("the thread that watched the server panicked");
        }
        if let Err(error) = self.child.wait() {
            tracing::error!(%error, "cannot collect the server's exit status");
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.signal(Signal::SIGKILL);
        // A process stuck in the kernel survives SIGKILL; a drop must not wait for it forever.
        let deadline = Instant::now() + KILL_WAIT;
        while self.exit.borrow().is_none() {
            if Instant::now() >= deadline {
                tracing::error!(
                    pid = self.group.as_raw(),
                    "the server survives SIGKILL and is left behind"
                );
                return;
            }
            std::thread::sleep(LOOK);
        }
        self.reap();
    }
}

/// Waits for the leader's exit without reaping it, and sends how it exited.
fn watch_child(pid: Pid, tell: &watch::Sender<Option<Exit>>) {
    let exit = loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(_, code)) => break Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => break Exit::Signal(signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, %pid, "cannot wait for the server");
                break Exit::Code(-1);
            }
        }
    };
    tell.send_replace(Some(exit));
}

fn choose_port(config: &ServerConfig) -> Result<u16, ServerError> {
    let wanted = config.port.unwrap_or(0);
    // Bound only for a moment: detects now, with a clear message, what the server would fail on a minute
    // later, and prevents mistaking another server on the same port for ours.
    let taken = |reason: std::io::Error| ServerError::PortTaken {
        host: config.host.clone(),
        port: wanted,
        reason: reason.to_string(),
    };
    let host = config.host.trim_matches(['[', ']']);
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let listener = TcpListener::bind((host, wanted)).map_err(taken)?;
    Ok(listener.local_addr().map_err(taken)?.port())
}

/// Running processes of a group, from the process table: ids and names. Zombies do not count as running.
fn members(group: Pid) -> Vec<(i32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // A process may exit between the listing and this read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // `pid (name) state ppid pgrp …`; the name may contain anything, so parse from its last parenthesis.
        let Some((head, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        let (state, pgrp) = (fields.next(), fields.nth(1));
        if pgrp.and_then(|p| p.parse().ok()) == Some(group.as_raw()) && !matches!(state, Some("Z" | "X")) {
            found.push((
                pid,
                head.split_once('(').map_or(head, |(_, name)| name).to_owned(),
            ));
        }
    }
    found
}

fn tail(path: &Path, from: u64) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(from);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> = text.lines().rev().take(LAST_LINES).map(str::to_owned).collect();
    lines.reverse();
    Ok(lines)
}
