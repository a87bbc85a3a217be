//! One run of a series over rates, in its own process, and what it shows about its rate.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use mlperf_loadgen::{Latencies, LoadGenLog, Validity};

use crate::exit::Fail;
use crate::plan::Overrides;
use crate::series::child::{Program, last_lines};
use crate::shutdown::Shutdown;

/// Name of the file with a trial's console output.
pub(super) const CONSOLE: &str = "console.txt";

/// The columns of [`Outcome::cells`].
pub(super) const HEADINGS: &str =
    " queries/s   queries  result         TTFT p99      TPOT p99    tokens/s  folder";

/// The outcome of a trial.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Arrivals per second.
    pub(super) rate: f64,
    /// Whether the result counts.
    pub(super) valid: bool,
    /// LoadGen's verdict, or why there is none.
    pub(super) word: &'static str,
    /// Queries that LoadGen issued, if it reports them.
    pub(super) queries: Option<u64>,
    /// TTFT at the 99th percentile, ns.
    pub(super) ttft_p99_ns: Option<i64>,
    /// TPOT at the 99th percentile, ns.
    pub(super) tpot_p99_ns: Option<i64>,
    /// Completed tokens per second.
    pub(super) tokens_per_sec: Option<f64>,
    /// Every limit was met and every query answered, but the result does not count for another reason.
    pub(super) other_reason: bool,
    /// Duration, including preparation.
    pub(super) took: Duration,
    /// Folder of the trial.
    pub(super) folder: PathBuf,
}

/// Runs a trial to its end; its console output goes to `console.txt` in its folder.
///
/// # Errors
/// [`Fail`] when the trial shows nothing about the rate: bad input, a lost server, a signal.
pub(super) fn run(
    program: &Program,
    overrides: &Overrides,
    rate: f64,
    shutdown: &Shutdown,
) -> Result<Outcome, Fail> {
    let folder = &overrides.log_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let console = folder.join(CONSOLE);
    let started = Instant::now();
    let status = program.run(overrides, Some(&console), shutdown)?;
    if let Some(reason) = shutdown.reason() {
        return Err(Fail::partial(anyhow!("ended: {reason}")));
    }
    let valid = match status.code() {
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
    let p99 = |latencies: &Latencies| latencies.percentile_ns(99.0);
    Ok(Outcome {
        rate,
        valid,
        word: if valid { "VALID" } else { "INVALID" },
        queries: result.generated_query_count,
        ttft_p99_ns: p99(&result.ttft),
        tpot_p99_ns: p99(&result.tpot),
        tokens_per_sec: result.completed_tokens_per_sec.or(result.tokens_per_sec),
        other_reason: !valid && result.validity == Some(Validity::Valid) && !failed,
        took: started.elapsed(),
        folder: folder.clone(),
    })
}

impl Outcome {
    /// A row of a table under [`HEADINGS`].
    pub(super) fn cells(&self) -> String {
        let absent = || "none".to_owned();
        let ms = |ns: Option<i64>| ns.map_or_else(absent, |ns| format!("{:.2} ms", ns as f64 / 1e6));
        format!(
            "{:>10}  {:>8}  {:<9}  {:>12}  {:>12}  {:>10}  {}",
            self.rate,
            self.queries.map_or_else(absent, |queries| queries.to_string()),
            self.word,
            ms(self.ttft_p99_ns),
            ms(self.tpot_p99_ns),
            self.tokens_per_sec
                .map_or_else(absent, |tokens| format!("{tokens:.1}")),
            self.folder.display()
        )
    }
}
