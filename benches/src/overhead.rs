//! What metrics collection costs a run: `sut --overhead-check` against the real vLLM named by an environment
//! variable, or else against the simulator, in which case the figure says so.
//!
//! | variable | meaning |
//! |---|---|
//! | `SUT_REAL_VLLM_URL` | the server; unset: the simulator |
//! | `SUT_OVERHEAD_PAIRS` | pairs of runs for each interval, 10 unless given (3 against the simulator) |
//! | `SUT_OVERHEAD_ARGS` | flags of the load instead of the figure's own, separated by spaces |

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser as _;
use sut::overhead::{Comparison, Finding, Program, measure};
use sut::{Cli, Exit};

use crate::figure::Figure;

/// First argument of a child process that is to run as `sut`.
const CHILD: &str = "sut-child";

/// If this process was started as a child, performs one run of the check and returns its exit status.
pub fn child() -> Option<Exit> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != CHILD {
        return None;
    }
    let cli = Cli::parse_from(std::iter::once(OsString::from("sut")).chain(args));
    Some(match sut::run(cli) {
        Ok(exit) => exit,
        Err(fail) => {
            // A closed pipe must not change the exit status.
            let _closed = writeln!(std::io::stderr(), "error: {:#}", fail.error);
            fail.exit
        }
    })
}

/// The ratio of throughput with collection to that without, scraping once a second.
pub fn each_second() -> Vec<Figure> {
    vec![figure("collection_on_off_throughput_ratio", "1")]
}

/// The same, scraping ten times a second.
pub fn each_tenth() -> Vec<Figure> {
    vec![figure("collection_on_off_throughput_ratio_100ms", "0.1")]
}

fn figure(name: &'static str, interval: &str) -> Figure {
    let (value, context) = match compare(interval) {
        Ok((comparison, against)) => {
            let ratio = comparison.ratio;
            let context = format!(
                "against {against}, a scrape each {interval} s: 95 % interval {:.5} to {:.5}, n = {} alternating \
                 pairs: {:?}",
                ratio.low,
                ratio.high,
                ratio.n,
                Finding::of(&ratio),
            );
            (Some(ratio.mean), context)
        }
        Err(error) => (None, format!("{error:#}")),
    };
    Figure {
        name,
        value,
        unit: "ratio",
        context,
    }
}

fn compare(interval: &str) -> Result<(Comparison, String)> {
    let url = std::env::var("SUT_REAL_VLLM_URL").ok();
    let load = std::env::var("SUT_OVERHEAD_ARGS").unwrap_or_else(|_| {
        match url {
            Some(_) => {
                "--scenario Offline --num-samples 64 --target-qps 10 --duration 10s --max-tokens 16 --concurrency 32"
            }
            None => "--scenario Offline --num-samples 64 --duration 5s",
        }
        .to_owned()
    });
    let pairs = match std::env::var("SUT_OVERHEAD_PAIRS") {
        Ok(text) => text.parse().context("SUT_OVERHEAD_PAIRS")?,
        Err(_) if url.is_some() => 10,
        Err(_) => 3,
    };
    let folder = tempfile::tempdir()?;
    let mut args: Vec<String> = load.split_whitespace().map(str::to_owned).collect();
    args.extend(["--metrics-collection-interval".into(), interval.into()]);
    args.extend([
        "--metrics-output-dir".into(),
        folder.path().display().to_string(),
        "--enable-metrics-collection".into(),
    ]);
    if let Some(url) = &url {
        args.extend(["--url".into(), url.clone()]);
    }
    let run = Cli::try_parse_from(std::iter::once("sut".to_owned()).chain(args.iter().cloned()))?.run;
    let program = Program {
        command: vec![std::env::current_exe()?.into_os_string(), CHILD.into()],
        args: args.into_iter().map(OsString::from).collect(),
    };
    let comparison = measure(&program, run, pairs).map_err(|fail| anyhow!(fail.error))?;
    let against = match url {
        Some(url) => format!(
            "the server at {url}{}",
            if comparison.simulated { ", SIMULATED" } else { "" }
        ),
        None => "the SIMULATED server in each run's own process".to_owned(),
    };
    Ok((comparison, against))
}
