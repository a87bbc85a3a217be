//! A small process that ends the server if this program dies for any reason.
//!
//! It waits for the end of a pipe whose other end is held only by this program: the system closes that end
//! when the program exits, even after SIGKILL. Then it sends SIGTERM to the server's process group and, after
//! the stop timeout, SIGKILL. The alternative, `PR_SET_PDEATHSIG`, needs `unsafe`, reaches only the group's
//! leader, and is tied to the thread that started it instead of the process.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;

/// `$1` is the stop timeout in tenths of a second. The first line is the process group id; a second line
/// means that the program has ended the server itself. `kill -0` fails once no process of the group is left.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r group || exit 0
if read -r _; then exit 0; fi
kill -TERM "-$group" 2>/dev/null
left=$1
while [ "$left" -gt 0 ] && kill -0 "-$group" 2>/dev/null; do
    sleep 0.1
    left=$((left - 1))
done
kill -KILL "-$group" 2>/dev/null
"#;

/// The watchdog. Dropping it without [`Watchdog::stand_down`] has the same effect as the death of this
/// program.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts it in its own process group, so that signals from a terminal to this program's group do not
    /// reach it.
    ///
    /// # Errors
    /// `/bin/sh` is missing, or the system cannot create a process.
    pub(super) fn start(stop_timeout: Duration) -> std::io::Result<Self> {
        let tenths = stop_timeout.as_millis().div_ceil(100);
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "server-watchdog", &tenths.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    /// Sets the group to end.
    ///
    /// # Errors
    /// The process has ended.
    pub(super) fn watch(&mut self, group: Pid) -> std::io::Result<()> {
        self.say(&format!("{group}\n"))
    }

    /// Ends it, because the server has been ended.
    pub(super) fn stand_down(&mut self) {
        if let Err(error) = self.say("done\n").and_then(|()| self.child.wait()) {
            tracing::warn!(%error, "the server's watchdog cannot be ended in order");
        }
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        match &mut self.child.stdin {
            Some(pipe) => pipe.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }
}
