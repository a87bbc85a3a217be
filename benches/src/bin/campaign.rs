//! The fault campaign.
//!
//! ```text
//! campaign                                    the cases of configs/campaign/report.toml, baselines of tuning.toml
//! campaign --cases FILE [--tuning FILE]       other cases
//! campaign --write FOLDER [--of-each N]       also writes N runs of each case as records
//! campaign --real FOLDER                      scores records of a real server (scripts/check-monitor-real --records)
//! campaign --fidelity FOLDER                  the simulator against a real server under the same load
//! ```
//!
//! Prints tables as Markdown. Simulated runs are in virtual time: the same files give the same tables.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use benches::campaign::{
    Campaign, Case, Finds, HEAD, Record, Variant, compare, lines, parameters, read, simulate, tune, write,
};
use clap::Parser;

/// Runs faults on simulated servers, or reads records of real ones, and scores the monitor and baselines on them.
#[derive(Debug, Parser)]
struct Args {
    /// Cases to report.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/campaign/report.toml"))]
    cases: PathBuf,
    /// Cases on which the parameters of the baselines are chosen.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/campaign/tuning.toml"))]
    tuning: PathBuf,
    /// Seeds of each case, in place of those of the files.
    #[arg(long)]
    seeds: Option<u64>,
    /// Folder for records.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Runs of each case and kind that are written.
    #[arg(long, default_value_t = 1)]
    of_each: usize,
    /// Folder with records to score in place of simulated runs.
    #[arg(long, conflicts_with = "write")]
    real: Option<PathBuf>,
    /// Folder with the requests of a real server, to compare the simulator with.
    #[arg(long, conflicts_with_all = ["write", "real"])]
    fidelity: Option<PathBuf>,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.fidelity {
        println!("{}", compare(folder)?);
        return Ok(());
    }
    let tuning = Campaign::read(&args.tuning)?;
    let mut records = Vec::new();
    for case in &tuning.case {
        records.extend(run(&tuning, case, args.seeds)?);
    }
    let tuned = tune(&records);
    drop(records);
    if let Some(folder) = &args.real {
        let records = read(folder)?;
        ensure!(!records.is_empty(), "{}: no runs", folder.display());
        println!("{HEAD}\n{}", lines(&records, &tuned, Finds::Error));
        return Ok(());
    }
    let campaign = Campaign::read(&args.cases)?;
    println!(
        "SIMULATED: vllm-sim in virtual time, {}\n\n{HEAD}",
        args.cases.display()
    );
    let mut kept: Vec<Record> = Vec::new();
    let wanted = |case: &&Case| {
        args.only
            .as_ref()
            .is_none_or(|part| case.name.contains(part.as_str()))
    };
    for case in campaign.case.iter().filter(wanted) {
        let records = run(&campaign, case, args.seeds)?;
        let otherwise = case.baselines.unwrap_or(Finds::Error);
        print!("{}", lines(&records, &tuned, otherwise));
        for healthy in [false, true] {
            let same = records.iter().filter(|record| record.label.healthy == healthy);
            kept.extend(same.take(args.of_each).cloned());
        }
    }
    println!("\n{}", parameters(&tuned));
    if let Some(folder) = &args.write {
        write(folder, &kept).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// A case at every seed, with and without its fault.
fn run(campaign: &Campaign, case: &Case, seeds: Option<u64>) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for seed in campaign.first_seed..campaign.first_seed + seeds.unwrap_or(campaign.seeds) {
        records.push(simulate(case, seed, Variant::Fault)?);
        records.push(simulate(case, seed, Variant::Healthy(campaign.healthy_factor))?);
    }
    Ok(records)
}
