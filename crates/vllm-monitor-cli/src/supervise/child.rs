//! The server as a child in a process group of its own.

use std::cell::Cell;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::output;
use crate::error::{Error, Result};
use crate::target::Note;

/// Time that processes left behind by the server have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildEnd {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    output: output::OutputForwarder,
    /// Processes of others that were reaped.
    orphans: Cell<u64>,
}

impl Child {
    /// Starts a command with these variables besides the inherited ones.
    pub(super) fn start(
        words: &[String],
        variables: &[(String, String)],
        notes: Option<mpsc::Sender<Note>>,
    ) -> Result<Self> {
        let (program, arguments) = words.split_first().ok_or_else(|| {
            Error::Settings(vec![
                "no command: give it after `--`, as in `-- vllm serve MODEL`".to_owned(),
            ])
        })?;
        // Processes that outlive their parent come to us, so that they can be ended and reaped. As process 1 they
        // come anyway; elsewhere an old kernel may refuse, which costs only that.
        let _best_effort = nix::sys::prctl::set_child_subreaper(true);
        let mut child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start {
                command: program.clone(),
                source,
            })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers are positive i32"));
        let output = output::OutputForwarder::start(child.stdout.take(), child.stderr.take(), notes)?;
        Ok(Self {
            pid,
            output,
            orphans: Cell::new(0),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Reaps whatever has ended. How the server ended, if it is among them.
    pub(super) fn reap(&self) -> Option<ChildEnd> {
        let mut end = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.pid => end = Some(ChildEnd::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.pid => {
                    end = Some(ChildEnd::Signal(signal as i32));
                }
                Ok(WaitStatus::StillAlive) => return end,
                Ok(_) => self.orphans.set(self.orphans.get() + 1),
                Err(Errno::EINTR) => {}
                // No child is left.
                Err(_) => return end,
            }
        }
    }

    /// Passes a signal on to the server itself; it passes it on to its own processes in its own order.
    pub(super) fn signal(&self, number: i32) {
        if let Ok(signal) = Signal::try_from(number) {
            // It may have ended in between.
            let _gone = kill(self.pid, signal);
        }
    }

    /// Kills the server with everything in its group.
    pub(super) fn kill_group(&self) {
        let _gone = killpg(self.pid, Signal::SIGKILL);
    }

    /// Ends what the server left behind in its group: an engine without its front end holds the GPU's memory.
    pub(super) async fn end_group(&self) {
        let is_left = || killpg(self.pid, None).is_ok();
        if is_left() {
            let _gone = killpg(self.pid, Signal::SIGTERM);
            let deadline = tokio::time::Instant::now() + GRACE;
            while is_left() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.reap();
            }
            let _gone = killpg(self.pid, Signal::SIGKILL);
            self.reap();
        }
        self.output.finish().await;
    }
}
