//! One trial of a search: a run of this very program in a process of its own, since LoadGen runs one test per
//! process, with everything that it was told in a file beside its logs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use mlperf_loadgen::{Latencies, LoadGenLog, Validity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::RunArgs;
use crate::ending::Ending;
use crate::exit::Fail;

/// How often the parent looks at its child.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a child may take to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Lines of a trial's console that an error shows.
const LAST_LINES: usize = 24;

/// What a trial came to.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Queries a second that arrived.
    pub(super) rate: f64,
    /// The result counts.
    pub(super) valid: bool,
    /// LoadGen's word, or what kept it from one.
    pub(super) word: &'static str,
    /// Queries that LoadGen issued, where it tells.
    pub(super) queries: Option<u64>,
    /// TTFT at the 99th percentile, ns.
    pub(super) ttft_p99_ns: Option<i64>,
    /// TPOT at the 99th percentile, ns.
    pub(super) tpot_p99_ns: Option<i64>,
    /// Completed tokens a second.
    pub(super) tokens_per_sec: Option<f64>,
    /// How long it took, preparations included.
    pub(super) took: Duration,
    /// Its folder.
    pub(super) folder: PathBuf,
}

/// Runs a trial to its end.
///
/// # Errors
/// [`Fail`] when the trial says nothing about the rate: bad input, a server that is gone, a signal.
pub(super) fn run(
    args: &RunArgs,
    rate: f64,
    folder: &Path,
    key: Option<&str>,
    ending: &Ending,
) -> Result<Outcome, Fail> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("run.toml");
    let text = toml::to_string(args).context("the trial's flags cannot be written as TOML")?;
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let console = folder.join("console.txt");
    let out = File::create(&console).with_context(|| format!("cannot write {}", console.display()))?;
    let err = out.try_clone().context("cannot share the console's file")?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    if let Some(key) = key {
        // Never in a file.
        command.env("VLLM_API_KEY", key);
    }
    let started = Instant::now();
    let mut child = command.spawn().context("cannot start a trial")?;
    let status = wait(&mut child, ending).context("cannot wait for a trial")?;
    if let Some(cause) = ending.cause() {
        return Err(Fail::partial(anyhow!("the search was ended: {cause}")));
    }
    let valid = match status.and_then(|status| status.code()) {
        Some(0) => true,
        Some(1) => false,
        other => {
            let status = other.map_or("by a signal".to_owned(), |code| format!("with status {code}"));
            return Err(Fail::partial(anyhow!(
                "the trial at {rate} queries/s ended {status}, which says nothing about the rate; its console is {}:\n{}",
                console.display(),
                last_lines(&console)
            )));
        }
    };
    let log = LoadGenLog::read(folder).map_err(|error| anyhow!(error).context("a trial's log"))?;
    let result = log.result;
    let failed = result
        .errors
        .iter()
        .any(|error| error.contains("n_tokens argument missing"));
    if !valid && result.validity == Some(Validity::Valid) && !failed {
        // Every limit was met and every query answered, so a lower rate mends nothing.
        return Err(Fail::partial(anyhow!(
            "the trial at {rate} queries/s does not count for a reason that is not its rate; its console is {}:\n{}",
            console.display(),
            last_lines(&console)
        )));
    }
    let p99 = |latencies: &Latencies| latencies.percentile_ns(99.0);
    Ok(Outcome {
        rate,
        valid,
        word: match (valid, result.validity) {
            (true, _) => "VALID",
            (false, Some(Validity::Valid)) => "NOT VALID",
            (false, _) => "INVALID",
        },
        queries: result.generated_query_count,
        ttft_p99_ns: p99(&result.ttft),
        tpot_p99_ns: p99(&result.tpot),
        tokens_per_sec: result.completed_tokens_per_sec,
        took: started.elapsed(),
        folder: folder.to_owned(),
    })
}

/// Waits for the child's end; hands on the end of the whole program. `None` if it had to be killed.
fn wait(child: &mut Child, ending: &Ending) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut told: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        match told {
            None if ending.stop.is_cancelled() => {
                told = Some(Instant::now());
                // A terminal's Ctrl-C reaches it as well, and a second signal would cut its files short; SIGTERM to
                // us alone does not.
                if ending.cause() != Some(crate::ending::Cause::Signal("SIGINT"))
                    && let Ok(pid) = i32::try_from(child.id())
                {
                    // It may be ending already.
                    let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
            }
            Some(at) if at.elapsed() > END_WITHIN || ending.now.is_cancelled() => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            _ => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
