//! `--find-peak`: searches for the highest valid Server rate. Short trials bracket and narrow it; a long run
//! confirms it.
//!
//! The server is started once and reused; each trial is a run of this program in its own process.

mod search;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use duration_text::Shown;
use mlperf_rules::RuleScenario;

use self::search::{Next, Search};
use super::child::{Program, last_lines};
use super::trial::{self, CONSOLE, Outcome};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::{InheritedServer, Overrides, PeakPlan, Plan, Record, Trial};
use crate::server;
use crate::shutdown::Shutdown;
use crate::workload::{self, official, prompts};

/// Default rate of the first trial.
const FIRST_RATE: f64 = 1.0;
/// Fewest queries of a short trial: slightly more than the 662 with which it can still be valid with one
/// query over a limit.
const FEWEST_QUERIES: f64 = 700.0;
/// Number of long runs that may fail before the search gives up.
const MOST_CONFIRMATIONS: u32 = 5;

/// Searches, and prints a table and the result.
///
/// # Errors
/// [`Fail`] when no trial could be made, or when one gave no information about its rate.
pub(crate) fn run(plan: &Plan, peak: &PeakPlan) -> Result<Exit, Fail> {
    let (runtime, shutdown) = Shutdown::watched()?;
    let dataset = prompts::load(plan)?;
    let samples = dataset.prompts.len();
    let references = if plan.simulate_references {
        prompts::references(&dataset)?
    } else {
        Vec::new()
    };
    let mut load = workload::settings(plan, samples)?;
    let server = runtime.block_on(server::start(plan, references, &shutdown))?;
    let caching = runtime.block_on(server.prefix_caching());
    official::check(plan, &mut load, &server, caching)?;
    let mut search = PeakSearch {
        plan,
        peak,
        program: Program::current()?,
        server: server.to_hand_on(),
        samples,
        long: plan.duration.unwrap_or(load.round.min_duration),
        folder: plan.log_dir.join("peak"),
        shutdown: &shutdown,
        trials: Vec::new(),
        short: 0,
    };
    let answer = search.search(plan.target_qps.unwrap_or(FIRST_RATE));
    let simulated = server.simulated();
    runtime.block_on(server.stop());
    let (answer, error) = match answer {
        Ok(answer) => (answer, None),
        Err(error) => (Answer::Ended, Some(error)),
    };
    let found = Found {
        short: search.short.min(search.trials.len()),
        trials: search.trials,
        answer,
    };
    if error.is_none() || !found.trials.is_empty() {
        let text = table::render(&found, &load.settings, simulated);
        print(&text.0);
        if error.is_none() {
            return Ok(text.1);
        }
    }
    error.map_or(Ok(Exit::Partial), Err)
}

/// The result of a search.
#[derive(Debug)]
struct Found {
    trials: Vec<Outcome>,
    /// Number of short trials.
    short: usize,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// The highest rate that was valid in a long run, which was the last trial.
    Confirmed(f64),
    /// The rate was valid in short trials only.
    Unconfirmed(f64),
    /// Every tested rate was valid.
    Above(f64),
    /// No rate was valid.
    None,
    /// The search ended before it had a result.
    Ended,
}

struct PeakSearch<'a> {
    plan: &'a Plan,
    peak: &'a PeakPlan,
    program: Program,
    server: InheritedServer,
    samples: usize,
    /// Duration of a confirming run.
    long: Duration,
    folder: PathBuf,
    shutdown: &'a Shutdown,
    trials: Vec<Outcome>,
    /// Number of short trials.
    short: usize,
}

impl PeakSearch<'_> {
    fn search(&mut self, first: f64) -> Result<Answer, Fail> {
        let mut search = Search::new(first, self.peak.precision);
        let mut rate = loop {
            match search.next() {
                Next::Try(rate) => {
                    let valid = self.short(rate)?;
                    self.short += 1;
                    search.note(rate, valid);
                }
                Next::Found(rate) => break rate,
                Next::AllValid(rate) => return Ok(Answer::Above(rate)),
                Next::NoneValid => return Ok(Answer::None),
            }
        };
        for _ in 0..MOST_CONFIRMATIONS {
            // A shorter run could not be valid at this rate, whatever the server does.
            if self.trial(rate, self.long.max(shortest(rate)?), None)? {
                return Ok(Answer::Confirmed(rate));
            }
            rate = search.below(rate);
        }
        Ok(Answer::Unconfirmed(rate))
    }

    /// A trial that is just long enough for LoadGen's early-stopping test, with as many samples as it has
    /// queries: LoadGen issues whole datasets, and a large one would make every trial long.
    fn short(&mut self, rate: f64) -> Result<bool, Fail> {
        let duration = self.peak.trial.max(shortest(rate)?);
        let queries = (duration.as_secs_f64() * rate).ceil() as usize;
        // Whole datasets: as few as needed, each as small as possible.
        let datasets = queries.div_ceil(self.samples).max(1);
        self.trial(rate, duration, Some(queries.div_ceil(datasets).max(1)))
    }

    /// Runs one trial. A long one sets no number of samples, so it equals a run for submission.
    fn trial(&mut self, rate: f64, duration: Duration, num_samples: Option<usize>) -> Result<bool, Fail> {
        let number = self.trials.len() + 1;
        let folder = self.folder.join(format!("{number:02}_{rate}qps"));
        let overrides = Overrides {
            log_dir: folder.clone(),
            server: Some(self.server.clone()),
            trial: Some(Trial {
                interactive: self.plan.scenario == RuleScenario::Interactive,
                target_qps: rate,
                millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                num_samples,
            }),
            record: Some(match num_samples {
                Some(_) => Record::Nothing,
                None => Record::Into(folder.join("metrics_output")),
            }),
            ..Overrides::default()
        };
        let why = if num_samples.is_some() && duration > self.peak.trial {
            format!(", since LoadGen's test needs {FEWEST_QUERIES} queries")
        } else {
            String::new()
        };
        tracing::info!("trial {number}: {rate} queries/s for {}{why}", Shown(duration));
        let outcome = trial::run(&self.program, &overrides, rate, self.shutdown)?;
        tracing::info!(
            "trial {number}: {} after {:.0} s",
            outcome.word,
            outcome.took.as_secs_f64()
        );
        if outcome.other_reason {
            // A lower rate would not help.
            let console = folder.join(CONSOLE);
            return Err(Fail::partial(anyhow!(
                "the trial at {rate} queries/s does not count for a reason that is not its rate; its console is {}:\n{}",
                console.display(),
                last_lines(&console)
            )));
        }
        let valid = outcome.valid;
        self.trials.push(outcome);
        Ok(valid)
    }
}

/// The shortest trial in which LoadGen's early-stopping test can pass.
fn shortest(rate: f64) -> Result<Duration, Fail> {
    Duration::try_from_secs_f64(FEWEST_QUERIES / rate)
        .map_err(|error| Fail::usage(anyhow!("a trial at {rate} queries/s: its duration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_long_enough_to_be_valid_at_its_rate() {
        let shortest = |rate| shortest(rate).map_err(|fail| fail.message());
        assert_eq!(shortest(100.0), Ok(Duration::from_secs(7)));
        assert!(shortest(1e-30).is_err());
    }
}
