//! The program `vllm-monitor`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod ask;
mod check_command;
mod cli;
mod replay;
mod run;
mod tools;
mod view;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use vllm_monitor_cli::notify::Watch;
use vllm_monitor_cli::runtime::Runtime;
use vllm_monitor_cli::settings::{Flags, Resolved};
use vllm_monitor_cli::{Error, Result};

use crate::cli::{Cli, Command};

/// Settings that cannot be used, as clap's own exit status.
const USAGE: u8 = 2;
/// The monitor could not start or go on.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Attach(attach) => match attach.flags() {
            Ok(flags) => observe(&flags, attach.common.print_config),
            Err(problem) => Err(Error::Settings(vec![problem])),
        },
        Command::Run(command) => run::run(command),
        Command::Check(command) => check_command::check(command),
        Command::Status(command) => ask::status(command),
        Command::Watch(command) => ask::watch(command),
        Command::Recommendations(command) => ask::recommendations(command),
        Command::Replay(command) => replay::replay(command),
        Command::Export(command) => ask::export(command),
        Command::Import(command) => ask::import(command),
        Command::Audit(command) => tools::audit(command),
        Command::Plugins(command) => tools::plugins(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vllm-monitor: {error}");
            ExitCode::from(if matches!(error, Error::Settings(_)) {
                USAGE
            } else {
                FAILED
            })
        }
    }
}

fn resolve(flags: &Flags) -> Result<Resolved> {
    // Variables that are not text cannot be ours.
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Resolved::new(flags, &environment)
}

/// Where what was learned is kept, by the flag or as a monitor would resolve it.
fn state_file(flag: Option<&str>) -> Result<std::path::PathBuf> {
    let flags = Flags {
        state_file: flag.map(str::to_owned),
        ..Flags::default()
    };
    resolve(&flags)?
        .state_file
        .ok_or_else(|| Error::Settings(vec!["no state file: give one with --state-file".to_owned()]))
}

fn print(settings: &Resolved) {
    print!("{}", settings.print());
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        // Probes of hundreds of servers fit one thread; the second keeps their times right meanwhile.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "no runtime could be started",
            source,
        })
}

fn observe(flags: &Flags, print_config: bool) -> Result<ExitCode> {
    let settings = resolve(flags)?;
    if print_config {
        print(&settings);
        return Ok(ExitCode::SUCCESS);
    }
    if !settings.core.features.enable_monitoring {
        return Err(Error::Settings(vec![format!(
            "monitoring is turned off ({})",
            settings
                .core
                .provenance("enable_monitoring")
                .map_or_else(String::new, ToString::to_string)
        )]));
    }
    if settings.targets.is_empty() {
        return Err(Error::Settings(vec![
            "nothing to observe: give --url http://HOST:PORT, or [[target]] in a settings file".to_owned(),
        ]));
    }
    runtime()?.block_on(async {
        let mut monitor = Runtime::start(settings).await?;
        monitor.follow_for_systemd(Watch::Monitor);
        for warning in monitor.warnings() {
            eprintln!("vllm-monitor: {warning}");
        }
        if let Some(address) = monitor.address() {
            eprintln!("vllm-monitor: http://{address}/status");
        }
        stopped().await?;
        monitor.finish().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits for SIGTERM or SIGINT.
async fn stopped() -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::System {
            what: "signals cannot be received",
            source,
        })
    };
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
