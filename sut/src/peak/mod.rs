//! `--find-peak`: the highest Server rate that is valid. Short trials bracket it and close in; a long run confirms it.
//!
//! The server is started once and stays; each trial is a run of this program in a process of its own.

mod search;
mod table;
mod trial;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};

use self::search::{Next, Search};
use self::trial::Outcome;
use crate::cli::{RunArgs, ScenarioArg};
use crate::ending::Ending;
use crate::exit::{Exit, Fail};
use crate::load;
use crate::plan::{self, Plan};
use crate::server::{self, Server};
use crate::{official, prompts, report};

/// Rate to begin with where nobody gave one.
const FIRST_RATE: f64 = 1.0;
/// Queries that a short trial has at least: with one of them over a limit it can still be valid (662), and a little
/// more.
const FEWEST_QUERIES: f64 = 700.0;
/// Long runs that may fail before the search gives up confirming.
const MOST_CONFIRMATIONS: u32 = 5;

/// What the flags of the search say.
#[derive(Debug, Clone, PartialEq)]
pub struct PeakPlan {
    /// Shortest duration of a short trial.
    pub trial: Duration,
    /// How closely the peak is to be known, as a fraction of it.
    pub precision: f64,
}

/// Searches, prints a table and the answer.
///
/// # Errors
/// [`Fail`] when no trial could be made, or one said nothing about its rate.
pub fn run(plan: &Plan, peak: &PeakPlan, args: &RunArgs) -> Result<Exit, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    let ending = Ending::on_signals(&runtime)?;
    let dataset = prompts::load(plan)?;
    let samples = dataset.prompts.len();
    let references = if plan.simulate_references {
        prompts::references(&dataset)?
    } else {
        Vec::new()
    };
    let mut load = load::settings(plan, samples)?;
    let server = runtime.block_on(server::start(plan, references, &ending))?;
    let caching = runtime.block_on(server.prefix_caching());
    official::check(plan, &mut load, &server, caching)?;
    let hunt = Hunt {
        plan,
        peak,
        args: attached(args, plan.scenario, &server),
        samples,
        long: plan.duration.unwrap_or(load.round.min_duration),
        folder: plan.log_dir.join("peak"),
        ending: &ending,
    };
    let first = plan.target_qps.unwrap_or(FIRST_RATE);
    let found = hunt.search(first);
    let simulated = server.simulated();
    runtime.block_on(server.stop());
    let text = table::render(&found?, &load.settings, simulated);
    report::print(&text.0);
    Ok(text.1)
}

/// The flags of every trial: as given, but on the server that is there.
fn attached(args: &RunArgs, scenario: ScenarioArg, server: &Server) -> RunArgs {
    RunArgs {
        config: None,
        url: Some(server.urls().map(str::to_owned).collect()),
        model: Some(server.model.clone()),
        serve_command: None,
        server_args: None,
        server_config: None,
        simulate_references: false,
        handed_server: None,
        startup_timeout: None,
        api_key: None,
        scenario: Some(scenario),
        find_peak: false,
        peak_trial: None,
        peak_precision: None,
        dry_run: false,
        official: false,
        ..args.clone()
    }
}

/// What a search came to.
#[derive(Debug)]
struct Found {
    trials: Vec<Outcome>,
    /// How many of the trials were short ones.
    short: usize,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// This rate held in a long run, the last of the trials.
    Confirmed(f64),
    /// It held in short trials only.
    Unconfirmed(f64),
    /// Every rate that was tried was valid.
    Above(f64),
    /// No rate was valid.
    None,
}

struct Hunt<'a> {
    plan: &'a Plan,
    peak: &'a PeakPlan,
    args: RunArgs,
    samples: usize,
    /// Duration of a confirming run.
    long: Duration,
    folder: std::path::PathBuf,
    ending: &'a Ending,
}

impl Hunt<'_> {
    fn search(&self, first: f64) -> Result<Found, Fail> {
        let mut search = Search::new(first, self.peak.precision);
        let mut trials = Vec::new();
        let candidate = loop {
            match search.next() {
                Next::Try(rate) => {
                    let outcome = self.short(rate, trials.len() + 1)?;
                    search.note(rate, outcome.valid);
                    trials.push(outcome);
                }
                Next::Found(rate) => break Ok(rate),
                Next::AllValid(rate) => break Err(Answer::Above(rate)),
                Next::NoneValid => break Err(Answer::None),
            }
        };
        let short = trials.len();
        let mut rate = match candidate {
            Ok(rate) => rate,
            Err(answer) => {
                return Ok(Found {
                    trials,
                    short,
                    answer,
                });
            }
        };
        for _ in 0..MOST_CONFIRMATIONS {
            let outcome = self.long(rate, trials.len() + 1)?;
            let valid = outcome.valid;
            trials.push(outcome);
            if valid {
                return Ok(Found {
                    trials,
                    short,
                    answer: Answer::Confirmed(rate),
                });
            }
            rate = search.below(rate);
        }
        Ok(Found {
            trials,
            short,
            answer: Answer::Unconfirmed(rate),
        })
    }

    /// A trial that is long enough for LoadGen's test of confidence, with as many samples as it has queries: LoadGen
    /// issues whole datasets, and a large one would make every trial long.
    fn short(&self, rate: f64, number: usize) -> Result<Outcome, Fail> {
        let fewest = Duration::try_from_secs_f64(FEWEST_QUERIES / rate)
            .map_err(|error| Fail::usage(anyhow!("a trial at {rate} queries/s: its duration: {error}")))?;
        let duration = self.peak.trial.max(fewest);
        let queries = (duration.as_secs_f64() * rate).ceil() as usize;
        // Whole datasets: as few as are needed, and each just large enough.
        let datasets = queries.div_ceil(self.samples).max(1);
        let mut args = RunArgs {
            num_samples: Some(queries.div_ceil(datasets).max(1)),
            duration: Some(format!("{}ms", duration.as_millis())),
            ..self.args.clone()
        };
        plan::record_nothing(&mut args);
        self.trial(args, rate, number)
    }

    /// A run as it would be submitted: the whole dataset and the full duration.
    fn long(&self, rate: f64, number: usize) -> Result<Outcome, Fail> {
        let args = RunArgs {
            duration: Some(format!("{}ms", self.long.as_millis())),
            ..self.args.clone()
        };
        self.trial(args, rate, number)
    }

    fn trial(&self, args: RunArgs, rate: f64, number: usize) -> Result<Outcome, Fail> {
        let folder = self.folder.join(format!("{number:02}_{rate}qps"));
        let args = RunArgs {
            target_qps: Some(rate),
            output_log_dir: Some(absolute(&folder)?),
            metrics_output_dir: args
                .enable_metrics_collection
                .then(|| folder.join("metrics_output")),
            ..args
        };
        tracing::info!(
            "trial {number}: {rate} queries/s for {}",
            args.duration
                .as_deref()
                .unwrap_or("as long as the round asks for")
        );
        let outcome = trial::run(&args, rate, &folder, self.plan.api_key.as_deref(), self.ending)?;
        tracing::info!(
            "trial {number}: {} after {:.0} s",
            outcome.word,
            outcome.took.as_secs_f64()
        );
        Ok(outcome)
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Fail> {
    Ok(std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))?)
}
