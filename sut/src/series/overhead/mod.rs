//! `sut --overhead-check`: runs the same load with and without metrics collection, in alternation, and
//! evaluates the difference in throughput.
//!
//! Each run is a separate process, since LoadGen allows one run per process. A warm-up run is not counted.
//! The order within a pair alternates, so that a drift of the machine cancels out.

mod stats;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mlperf_loadgen::Mode;
use serde_json::json;

pub use self::stats::Ratio;
use super::child::{Program, exit_of, last_lines};
use crate::cli::RunArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::harness::Figures;
use crate::plan::{Overrides, Plan, Record, ServerPlan, Task, Trial};
use crate::shutdown::Shutdown;

/// A loss below this share is negligible.
const TOLERATED_LOSS: f64 = 0.005;
/// An interval that extends further than this to either side is inconclusive.
const WIDE: f64 = 0.02;

/// Default number of pairs.
const PAIRS: u32 = 5;

/// The result of the check.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Throughput with collection divided by throughput without.
    pub ratio: Ratio,
    /// Tokens per second of each pair: without, with.
    pub pairs: Vec<(f64, f64)>,
    /// The server was a simulator.
    pub simulated: bool,
    /// The folder of all runs.
    pub folder: PathBuf,
}

/// The interpretation of the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The interval contains 1 and is narrow.
    NoCost,
    /// Slower, but by a negligible amount.
    SmallCost,
    /// Slower by a larger amount.
    Cost,
    /// Faster. Collection cannot be the cause, so something else changed.
    Faster,
    /// The interval contains 1 and is wide.
    Inconclusive,
}

impl Finding {
    /// Interprets `ratio`, with collection over without.
    pub fn of(ratio: &Ratio) -> Self {
        if ratio.contains_one() {
            if ratio.high - ratio.low > 2.0 * WIDE {
                Self::Inconclusive
            } else {
                Self::NoCost
            }
        } else if ratio.low > 1.0 {
            Self::Faster
        } else if ratio.mean > 1.0 - TOLERATED_LOSS {
            Self::SmallCost
        } else {
            Self::Cost
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::NoCost => "no_cost",
            Self::SmallCost => "small_cost",
            Self::Cost => "cost",
            Self::Faster => "faster",
            Self::Inconclusive => "inconclusive",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::NoCost => "no cost can be distinguished from noise: the interval contains 1",
            Self::SmallCost => "a cost below 0.5 %",
            Self::Cost => "COLLECTION COSTS THROUGHPUT",
            Self::Faster => "faster with collection: something else than collection changed between the runs",
            Self::Inconclusive => {
                "INCONCLUSIVE: the interval contains 1, but is wider than 4 %; more pairs, longer runs or a quieter \
                 machine narrow it"
            }
        }
    }
}

impl Comparison {
    /// Whether the cost of collection was shown to be negligible.
    pub fn passes(&self) -> bool {
        !matches!(Finding::of(&self.ratio), Finding::Cost | Finding::Inconclusive)
    }

    /// The table of the check.
    pub fn render(&self) -> String {
        let Self {
            ratio,
            pairs,
            simulated,
            folder,
        } = self;
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let mark = if *simulated { "   [SIMULATED]" } else { "" };
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<20} {value}");
        };
        row("overhead check", format!("{} pairs of runs{mark}", ratio.n));
        row(
            "without collection",
            format!("{:.2} tokens/s on average", mean(|p| p.0)),
        );
        row(
            "with collection",
            format!("{:.2} tokens/s on average", mean(|p| p.1)),
        );
        row(
            "with / without",
            format!(
                "{:.3}, 95 % interval {:.3} to {:.3} (paired t on logarithms, n = {})",
                ratio.mean, ratio.low, ratio.high, ratio.n
            ),
        );
        row("verdict", Finding::of(ratio).sentence().to_owned());
        row("files", folder.display().to_string());
        out
    }
}

/// Runs the check that the command line requests.
///
/// # Errors
/// [`Fail`] with the exit status and the message for the user.
pub(crate) fn run(args: RunArgs) -> Result<Exit, Fail> {
    let pairs = args.overhead_check.unwrap_or(PAIRS);
    let comparison = measure(&Program::current()?, args, pairs)?;
    print(&comparison.render());
    Ok(if comparison.passes() {
        Exit::Valid
    } else {
        Exit::NotValid
    })
}

/// Measures `pairs` pairs of runs with the flags `args`, which are those of `program`.
///
/// # Errors
/// [`Exit::Usage`] if the check would be meaningless, [`Exit::Partial`] when it was interrupted, and the
/// status of a run that did not answer every query.
pub fn measure(program: &Program, args: RunArgs, pairs: u32) -> Result<Comparison, Fail> {
    let mut args = args;
    args.overhead_check = None;
    args.metrics.enable_metrics_collection = true;
    let (task, _) = Task::resolve(args, None)?;
    let plan = refuse(&task, pairs)?;
    let base = plan
        .metrics
        .as_ref()
        .map_or_else(PathBuf::new, |m| m.output_dir.clone());
    let folder = new_folder(&base)?;
    let (runtime, shutdown) = Shutdown::watched()?;
    let check = Check {
        program,
        folder: &folder,
        shutdown: &shutdown,
    };
    let measured = check.pairs(pairs);
    runtime.shutdown_background();
    let measured = measured?;
    let ratios: Vec<f64> = measured.pairs.iter().map(|(off, on)| on / off).collect();
    let comparison = Comparison {
        ratio: Ratio::of(&ratios).context("a run measured no throughput")?,
        pairs: measured.pairs,
        simulated: measured.simulated,
        folder,
    };
    write(&comparison)?;
    Ok(comparison)
}

/// Refuses tasks that the check cannot measure.
fn refuse(task: &Task, pairs: u32) -> Result<&Plan, Fail> {
    let mut wrong = Vec::new();
    let plan = match task {
        Task::One(plan) => plan,
        Task::DryRun(plan) => {
            wrong.push("it sends load: leave out --dry-run");
            plan
        }
        Task::Both(plan) | Task::Peak(plan, _) | Task::Sweep(plan, _) => {
            wrong.push("it compares throughput: it makes single performance runs only");
            plan
        }
    };
    if !(3..=1000).contains(&pairs) {
        wrong.push("it takes from 3 to 1000 pairs: the 95 % interval of fewer is too wide to show a cost");
    }
    if plan.mode != Mode::Performance {
        wrong.push("it compares throughput: --test-mode can only be performance");
    }
    if Trial::is_searched(plan.scenario) {
        wrong.push(
            "in this scenario the load sets the throughput, not the server: use --scenario Offline or SingleStream",
        );
    }
    if matches!(plan.server, ServerPlan::Start { .. }) {
        wrong.push(
            "a server started anew for each run differs more than collection does: start it yourself and give --url",
        );
    }
    if plan.profiler {
        wrong.push("the profiler costs more than collection: leave out --enable-profiler");
    }
    if wrong.is_empty() {
        return Ok(plan);
    }
    Err(Fail::usage(anyhow!(
        "--overhead-check: nothing was sent, because:\n  - {}",
        wrong.join("\n  - ")
    )))
}

/// The first `overhead_0001`, `overhead_0002`, … that does not exist yet.
fn new_folder(base: &Path) -> Result<PathBuf, Fail> {
    let unusable =
        |error: std::io::Error| Fail::usage(anyhow!("--metrics-output-dir {}: {error}", base.display()));
    std::fs::create_dir_all(base).map_err(unusable)?;
    for number in 1..=9999 {
        let folder = base.join(format!("overhead_{number:04}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unusable(error)),
        }
    }
    Err(Fail::usage(anyhow!(
        "--metrics-output-dir {}: it holds 9999 checks: choose another folder",
        base.display()
    )))
}

/// Tokens per second of all pairs.
#[derive(Debug, Default)]
struct Measured {
    pairs: Vec<(f64, f64)>,
    simulated: bool,
}

/// With or without collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    On,
    Off,
}

struct Check<'a> {
    program: &'a Program,
    folder: &'a Path,
    shutdown: &'a Shutdown,
}

impl Check<'_> {
    fn pairs(&self, pairs: u32) -> Result<Measured, Fail> {
        let mut measured = Measured::default();
        tracing::info!("overhead check: a first run warms the server up and is not counted");
        self.run("warm_up", Arm::Off)?;
        for pair in 1..=pairs {
            let name = format!("pair_{pair:04}");
            let order = if pair % 2 == 1 {
                [Arm::Off, Arm::On]
            } else {
                [Arm::On, Arm::Off]
            };
            let (mut off, mut on) = (0.0, 0.0);
            for arm in order {
                let (rate, figures) = self.run(&name, arm)?;
                measured.simulated |= figures.simulated;
                *match arm {
                    Arm::Off => &mut off,
                    Arm::On => &mut on,
                } = rate;
            }
            tracing::info!(
                "pair {pair} of {pairs}: without {off:.2}, with {on:.2} tokens/s, ratio {:.3}",
                on / off
            );
            measured.pairs.push((off, on));
        }
        Ok(measured)
    }

    /// Runs one test in its own process.
    fn run(&self, name: &str, arm: Arm) -> Result<(f64, Figures), Fail> {
        let word = match arm {
            Arm::On => "on",
            Arm::Off => "off",
        };
        let folder = self.folder.join(format!("{name}_{word}"));
        std::fs::create_dir_all(&folder).context("cannot make the run's folder")?;
        let console = folder.join("output.log");
        let overrides = Overrides {
            log_dir: folder.join("mlperf_logs"),
            record: Some(match arm {
                // Plots are drawn after the timed part, so they would only prolong the check.
                Arm::On => Record::WithoutPictures(folder.join("metrics_output")),
                Arm::Off => Record::Nothing,
            }),
            figures_dir: Some(folder.clone()),
            ..Overrides::default()
        };
        let status = self.program.run(&overrides, Some(&console), self.shutdown)?;
        if self.shutdown.reason().is_some() {
            return Err(Fail::partial(anyhow!(
                "the check was interrupted; partial results are in {}",
                self.folder.display()
            )));
        }
        let failed = |exit, why: String| Fail {
            exit,
            error: anyhow!(
                "the run {name}, {word}, {why}; the end of {}:\n{}",
                console.display(),
                last_lines(&console)
            ),
        };
        // A short run is often INVALID by the round's rules, but its throughput is usable.
        match exit_of(status) {
            Exit::Valid | Exit::NotValid => {}
            exit => return Err(failed(exit, format!("ended with {status}"))),
        }
        let figures = Figures::read(&folder)?;
        match figures.tokens_per_sec {
            Some(rate) if figures.failed == 0 => Ok((rate, figures)),
            _ => Err(failed(
                Exit::NotValid,
                format!(
                    "answered {} queries and failed {}",
                    figures.completed, figures.failed
                ),
            )),
        }
    }
}

fn write(comparison: &Comparison) -> anyhow::Result<()> {
    let Comparison {
        ratio,
        pairs,
        simulated,
        folder,
    } = comparison;
    let value = json!({
        "with_over_without": { "mean": ratio.mean, "low": ratio.low, "high": ratio.high, "confidence": 0.95, "n": ratio.n },
        "finding": Finding::of(ratio).word(),
        "passes": comparison.passes(),
        "simulated": simulated,
        "pairs": pairs.iter().map(|(off, on)| json!({ "off_tokens_per_sec": off, "on_tokens_per_sec": on })).collect::<Vec<_>>(),
    });
    let path = folder.join("overhead_check.json");
    let text = serde_json::to_string_pretty(&value)? + "\n";
    mlperf_rules::files::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_interval_shows_nothing() {
        for (low, mean, high, finding) in [
            (0.99, 1.0, 1.01, Finding::NoCost),
            (0.93, 0.98, 1.03, Finding::Inconclusive),
            (0.995, 0.997, 0.999, Finding::SmallCost),
            (0.97, 0.98, 0.99, Finding::Cost),
            (1.01, 1.02, 1.03, Finding::Faster),
        ] {
            let ratio = Ratio {
                mean,
                low,
                high,
                n: 10,
            };
            assert_eq!(Finding::of(&ratio), finding, "{ratio:?}");
        }
    }
}
