//! Runs this program as a child process: the same command line, with [`Overrides`] in the environment.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::PROGRESS;
use crate::exit::Exit;
use crate::plan::Overrides;
use crate::shutdown::{Shutdown, ShutdownReason};

/// Interval at which the parent checks its child.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a child may take to end after it was asked to.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Number of lines of a child's console in an error.
const LAST_LINES: usize = 24;

/// The program to run and its flags.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable and the arguments that make it behave as `sut`.
    pub command: Vec<OsString>,
    /// The flags of the run.
    pub args: Vec<OsString>,
}

impl Program {
    /// This program with its own arguments.
    pub(crate) fn current() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        Ok(Self {
            command: vec![program.into_os_string()],
            args: std::env::args_os().skip(1).collect(),
        })
    }

    /// Runs the program to its end. Its console output goes to `console`, or to ours. Signals are forwarded,
    /// and a child that then does not end is killed.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn run(
        &self,
        overrides: &Overrides,
        console: Option<&Path>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<ExitStatus> {
        let [program, leading @ ..] = &self.command[..] else {
            return Err(anyhow!("there is no program to run"));
        };
        let mut command = Command::new(program);
        command
            .args(leading)
            .args(&self.args)
            .env(Overrides::VARIABLE, serde_json::to_string(overrides)?);
        if let Some(console) = console {
            let out = File::create(console).with_context(|| format!("cannot write {}", console.display()))?;
            let err = out.try_clone().context("cannot share the console's file")?;
            command.stdin(Stdio::null()).stdout(out).stderr(err);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let follow = console
            .and_then(|console| File::open(console).ok())
            .map(Follow::new);
        wait(&mut child, shutdown, follow).context("cannot wait for a run's process")
    }
}

/// Longest line of progress that is repeated.
const LONGEST_LINE: usize = 4096;

/// Reads the lines of progress that a child appends to its console's file.
struct Follow<R> {
    console: R,
    /// The line that is not complete yet.
    rest: Vec<u8>,
}

impl<R: Read> Follow<R> {
    fn new(console: R) -> Self {
        Self {
            console,
            rest: Vec::new(),
        }
    }

    /// The newest complete line of progress since the last call. A console that cannot be read shows none: it must not
    /// end a run.
    fn newest(&mut self) -> Option<String> {
        let mut newest = None;
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = self.console.read(&mut chunk) {
            for &byte in &chunk[..read] {
                if byte != b'\n' {
                    if self.rest.len() < LONGEST_LINE {
                        self.rest.push(byte);
                    }
                    continue;
                }
                if self.rest.starts_with(PROGRESS.as_bytes()) {
                    newest = Some(String::from_utf8_lossy(&self.rest).into_owned());
                }
                self.rest.clear();
            }
        }
        newest
    }
}

/// The meaning of a child's status; [`Exit::Partial`] if it was killed.
pub(crate) fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or(Exit::Partial, Exit::from_code)
}

/// Waits for the child's end, and repeats the lines of progress in `follow` on standard error.
fn wait(
    child: &mut Child,
    shutdown: &Shutdown,
    mut follow: Option<Follow<File>>,
) -> std::io::Result<ExitStatus> {
    let mut told: Option<Instant> = None;
    let mut hurried = false;
    loop {
        if let Some(line) = follow.as_mut().and_then(Follow::newest) {
            // A closed pipe must not end a benchmark.
            let _closed = writeln!(std::io::stderr(), "{line}");
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match (told, shutdown.reason()) {
            (None, Some(reason)) => {
                told = Some(Instant::now());
                hand_on(child.id(), &reason);
            }
            (Some(at), Some(_)) if at.elapsed() > END_WITHIN => child.kill()?,
            (Some(_), Some(reason)) if shutdown.now.is_cancelled() && !hurried => {
                hurried = true;
                hand_on(child.id(), &reason);
            }
            _ => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Asks the child to end. A terminal sends Ctrl-C to every process of the group, and a child that gets a
/// signal twice ends without waiting for LoadGen, so an interrupt from a terminal is not forwarded.
fn hand_on(pid: u32, reason: &ShutdownReason) {
    let from_terminal =
        *reason == ShutdownReason::Signal("SIGINT") && std::io::IsTerminal::is_terminal(&std::io::stdin());
    if from_terminal {
        return;
    }
    if let Ok(pid) = i32::try_from(pid)
        && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM)
    {
        // The child has just ended by itself.
        tracing::debug!("the run's process could not be signalled: {error}");
    }
}

/// The end of a child's console, for an error.
pub(crate) fn last_lines(console: &Path) -> String {
    let text = std::fs::read_to_string(console).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn lines_of_progress_are_repeated_once_they_are_complete() {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        let mut follow = Follow::new(written.reopen().unwrap());
        let mut write = |text: &str| {
            written.seek(std::io::SeekFrom::End(0)).unwrap();
            written.write_all(text.as_bytes()).unwrap();
        };
        assert_eq!(follow.newest(), None);
        write("INFO attached\nprogress: 5 s, 1 of 2\nprogress: 10");
        assert_eq!(follow.newest().as_deref(), Some("progress: 5 s, 1 of 2"));
        assert_eq!(follow.newest(), None);
        write(" s, 2 of 2\n  result  VALID\n");
        assert_eq!(follow.newest().as_deref(), Some("progress: 10 s, 2 of 2"));
        write(&format!("progress: {}\n", "x".repeat(3 * LONGEST_LINE)));
        assert_eq!(follow.newest().unwrap().len(), LONGEST_LINE);
    }
}
