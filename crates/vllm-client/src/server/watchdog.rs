//! A small process that ends the server when this program has died, in whatever way.
//!
//! It waits for the end of a pipe whose other end only this program holds: the system closes that end when the program
//! is gone, also after SIGKILL. Then it sends SIGTERM to the server's process group and, after the stop timeout,
//! SIGKILL. The alternative, `PR_SET_PDEATHSIG`, needs `unsafe`, reaches the group's leader only, and follows the
//! thread that has started it instead of the process.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;

/// `$1` is the stop timeout in tenths of a second. The first line is the group's number; a second line means that the
/// program has ended the server itself. `kill -0` fails once nothing of the group is left.
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

/// The process. Dropping it without [`Watchdog::stand_down`] has the same effect as the death of this program.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts it, in a process group of its own, so that what a terminal sends to this program's group does not
    /// reach it.
    ///
    /// # Errors
    /// There is no `/bin/sh`, or the system grants no process.
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

    /// Names the group to end.
    ///
    /// # Errors
    /// The process has ended.
    pub(super) fn watch(&mut self, group: Pid) -> std::io::Result<()> {
        self.say(&format!("{group}\n"))
    }

    /// Ends it: the server has been ended.
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
