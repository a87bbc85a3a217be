//! Ends a started server when the process that started it ends, even if that process is killed.
//!
//! A second process of this program, in its own process group, holds the read end of a pipe. If the write end
//! closes without a farewell byte, the parent is gone: the guard asks the server's process group to end, and
//! kills it if it does not.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exit::{Exit, Fail};

/// How long a server may take to end after it was asked to.
const END_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The guard of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Option<ChildStdin>,
    child: Child,
}

impl Guard {
    /// Guards a process group.
    ///
    /// # Errors
    /// When the guard process cannot be started.
    pub(crate) fn start(group: i32) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut child = Command::new(program)
            .args(["guard", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals from a terminal must not reach it.
            .process_group(0)
            .spawn()
            .context("cannot start the process that ends the server with this one")?;
        Ok(Self {
            pipe: child.stdin.take(),
            child,
        })
    }
}

impl Drop for Guard {
    /// The server has been or will be stopped, so the guard is no longer needed.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // The guard may have been killed.
            let _gone = pipe.write_all(b"x");
        }
        let _gone = self.child.wait();
    }
}

/// The main function of the guard process.
pub(crate) fn run(group: i32) -> Result<Exit, Fail> {
    let mut farewell = [0_u8];
    // An error is treated like the end of the pipe.
    if std::io::stdin().read(&mut farewell).unwrap_or(0) > 0 || group <= 1 {
        return Ok(Exit::Valid);
    }
    let group = Pid::from_raw(group);
    let asked = Instant::now();
    let mut signal = Signal::SIGTERM;
    while killpg(group, signal) != Err(Errno::ESRCH) {
        if signal == Signal::SIGKILL {
            break;
        }
        while asked.elapsed() < END_WITHIN && killpg(group, None) != Err(Errno::ESRCH) {
            std::thread::sleep(LOOK_EVERY);
        }
        signal = Signal::SIGKILL;
    }
    Ok(Exit::Valid)
}
