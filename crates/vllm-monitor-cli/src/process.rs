//! One process of this machine, by `/proc`: whether it lives, and what it was started with.

use std::fs;
use std::path::{Path, PathBuf};

use vllm_monitor::preflight::ArgumentTable;

/// A process, distinguished by its start time from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    started: u64,
    proc: PathBuf,
}

impl Identity {
    /// The process with this number; `None` if there is none, or if it has ended and waits to be reaped.
    pub fn of(pid: u32) -> Option<Self> {
        Self::at(Path::new("/proc"), pid)
    }

    fn at(proc: &Path, pid: u32) -> Option<Self> {
        let stat = read_stat(proc, pid)?;
        (!stat.is_over).then(|| Self {
            pid,
            started: stat.started,
            proc: proc.to_owned(),
        })
    }

    /// Whether it still exists.
    pub fn is_alive(&self) -> bool {
        read_stat(&self.proc, self.pid).is_some_and(|stat| stat.started == self.started && !stat.is_over)
    }

    /// Its command line; empty if it cannot be read.
    pub fn command_line(&self) -> Vec<String> {
        let bytes = fs::read(self.proc.join(format!("{}/cmdline", self.pid))).unwrap_or_default();
        bytes
            .split(|b| *b == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }
}

struct Stat {
    started: u64,
    /// A zombie, or dead.
    is_over: bool,
}

fn read_stat(proc: &Path, pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
    // The command stands in parentheses and may itself contain some.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    // `starttime` is field 22; the state is field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat {
        started,
        is_over: matches!(state, "Z" | "X" | "x"),
    })
}

/// Limits that a server's command line sets, as far as it does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ServerLimits {
    /// `--max-num-seqs`.
    pub max_running: Option<f64>,
    /// `--max-num-queued-reqs`.
    pub max_queued: Option<f64>,
    /// `--max-model-len`.
    pub max_model_len: Option<f64>,
}

impl ServerLimits {
    /// From a whole command line: the program, `serve` or the module's name, the arguments.
    ///
    /// ```
    /// use vllm_monitor_cli::process::ServerLimits;
    ///
    /// let line = ["vllm", "serve", "m", "--max-num-seqs", "64"].map(String::from);
    /// assert_eq!(ServerLimits::of(&line).max_running, Some(64.0));
    /// ```
    pub fn of(command_line: &[String]) -> Self {
        let parsed = ArgumentTable::for_version(None).parse(command_line);
        Self {
            max_running: parsed.number("--max-num-seqs"),
            max_queued: parsed.number("--max-num-queued-reqs"),
            max_model_len: parsed.number("--max-model-len"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_reaped_child_does_not() {
        let own = Identity::of(std::process::id()).expect("this process");
        assert!(own.is_alive() && !own.command_line().is_empty());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a child");
        let identity = Identity::of(child.id()).expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(!identity.is_alive());
        assert_eq!(Identity::of(identity.pid), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_another() {
        let proc = tempfile::tempdir().expect("a folder");
        let dir = proc.path().join("7");
        fs::create_dir(&dir).expect("made");
        let stat = |state: &str, started: u64| {
            format!("7 (a) b) {state} 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0")
        };
        fs::write(dir.join("stat"), stat("S", 5)).expect("written");
        let identity = Identity::at(proc.path(), 7).expect("it is there");
        assert!(identity.is_alive());
        fs::write(dir.join("stat"), stat("Z", 5)).expect("written");
        assert!(!identity.is_alive(), "a zombie has ended");
        fs::write(dir.join("stat"), stat("S", 6)).expect("written");
        assert!(!identity.is_alive(), "another start time is another process");
    }
}
