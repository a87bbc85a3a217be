//! Processes pinned to cores, and what they cost.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use vllm_metrics::host::process_tree;

use super::SERVER_CORE;

/// How often a client's memory and threads are sampled.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// `/proc` reports CPU time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// A command pinned to one core; `taskset` replaces itself with the program.
pub(super) fn on_core(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Pins this process, so that measuring does not use the client's core.
///
/// # Errors
/// There is no `taskset`, or only one core.
pub fn pin_self(core: &str) -> Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-cp", core, &pid])
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("SKIPPED: THIS NEEDS taskset AND TWO CORES"),
    }
}

/// The simulated server, on a core of its own; killed when dropped.
#[derive(Debug)]
pub struct Simulated {
    child: Child,
    /// Where it listens.
    pub url: String,
}

impl Simulated {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// It did not start, or did not print its address.
    pub fn start(sut: &Path, output_tokens: u32, args: &[String]) -> Result<Self> {
        let mut child = on_core(SERVER_CORE, sut)
            .args(["sim", "--port", "0", "--no-enable-prefix-caching"])
            .args(["--output-tokens", &output_tokens.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("taskset cannot be started")?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let Some(url) = said.split_whitespace().find(|word| word.starts_with("http://")) else {
            let _already_gone = child.kill();
            child.wait()?;
            bail!("{} sim did not print its address but {said:?}", sut.display());
        };
        let url = url.to_owned();
        Ok(Self { child, url })
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// It has exited.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.child.id()).context("the simulated server is gone")
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A client that has ended.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) status: ExitStatus,
    pub(super) cpu_secs: f64,
    pub(super) peak_bytes: u64,
    pub(super) most_threads: u64,
    said: String,
}

impl Watched {
    /// Runs a client until it exits, with its output in a file in `dir`.
    pub(super) fn run(mut command: Command, dir: &Path, limit: Duration) -> Result<Self> {
        let log = dir.join("client.log");
        let file = std::fs::File::create(&log)?;
        let before = children_cpu_seconds()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let started = Instant::now();
        let (mut peak_bytes, mut most_threads) = (0, 0);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > limit {
                // Helper processes first, while they are still attributed to it.
                for pid in process_tree(child.id()) {
                    let _gone = Command::new("kill").args(["-9", &pid.to_string()]).status();
                }
                child.wait()?;
                bail!("it ran longer than {} s", limit.as_secs());
            }
            let (bytes, threads) = sizes(child.id());
            peak_bytes = peak_bytes.max(bytes);
            most_threads = most_threads.max(threads);
            std::thread::sleep(LOOK_EVERY);
        };
        Ok(Self {
            status,
            cpu_secs: children_cpu_seconds()? - before,
            peak_bytes,
            most_threads,
            said: std::fs::read_to_string(&log).unwrap_or_default(),
        })
    }

    /// The end of its output.
    pub(super) fn last_words(&self) -> String {
        let lines: Vec<&str> = self.said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

/// Resident memory and threads of a process and all its descendants.
fn sizes(root: u32) -> (u64, u64) {
    let (mut bytes, mut threads) = (0, 0);
    for pid in process_tree(root) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        // The peak of the process itself, not its current size.
        bytes += number("VmHWM:") * 1024;
        threads += number("Threads:");
    }
    (bytes, threads)
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// CPU time of all children that have been waited for, including theirs.
fn children_cpu_seconds() -> Result<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
