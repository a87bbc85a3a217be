//! `vllm-monitor audit` and `vllm-monitor plugins`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use monitor_acting::audit;
use monitor_plugins::{Host, HostConfig, Role, commands};
use serde_json::Value;
use vllm_monitor_cli::{Error, Result};

/// `vllm-monitor audit`
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: AuditWhat,
}

#[derive(Debug, Subcommand)]
enum AuditWhat {
    /// Check every entry, the chain and the end. Ends with 1 if anything was changed, cut, removed or swapped.
    Verify {
        /// The audit.
        file: PathBuf,
    },
    /// Each action in words: why it was taken, what was expected, what came.
    Show {
        /// The audit.
        file: PathBuf,
    },
}

/// `vllm-monitor plugins`
#[derive(Debug, Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    what: PluginsWhat,
}

#[derive(Debug, Subcommand)]
enum PluginsWhat {
    /// Write a plugin to start from, which runs as it is.
    New {
        /// The plugin folder.
        folder: PathBuf,
        /// Its name: letters, digits and _.
        name: String,
        /// What it does.
        #[arg(long, value_enum, default_value = "detect")]
        role: RoleName,
    },
    /// Load every plugin of a folder and run it over recorded snapshots. Ends with 1 if one cannot be used.
    Validate {
        /// The plugin folder.
        folder: PathBuf,
        /// Snapshots as JSON lines.
        #[arg(long, value_name = "FILE")]
        snapshots: Option<PathBuf>,
    },
    /// Show the plugins of a folder.
    List {
        /// The plugin folder.
        folder: PathBuf,
    },
    /// Run one plugin over recorded snapshots and show what came of each.
    Test {
        /// The plugin.
        file: PathBuf,
        /// Snapshots as JSON lines.
        #[arg(long, value_name = "FILE")]
        snapshots: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Derive,
    Detect,
    Rule,
    Notify,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Derive => Self::Derive,
            RoleName::Detect => Self::Detect,
            RoleName::Rule => Self::Rule,
            RoleName::Notify => Self::Notify,
        }
    }
}

fn problem(error: impl std::fmt::Display) -> Error {
    Error::Settings(vec![error.to_string()])
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

pub(crate) fn audit(command: &Audit) -> Result<ExitCode> {
    match &command.what {
        AuditWhat::Verify { file } => {
            let checked = audit::verify(file)?;
            println!("{}: {checked}", file.display());
            Ok(code(checked.is_intact()))
        }
        AuditWhat::Show { file } => {
            for line in audit::tell(&audit::read(file)?) {
                println!("{line}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(crate) fn plugins(command: &Plugins) -> Result<ExitCode> {
    match &command.what {
        PluginsWhat::New { folder, name, role } => {
            let path = commands::new(folder, name, (*role).into()).map_err(problem)?;
            println!("{}", path.display());
            Ok(ExitCode::SUCCESS)
        }
        PluginsWhat::Validate { folder, snapshots } => {
            let snapshots = snapshots.as_deref().map_or(Ok(Vec::new()), read)?;
            let (lines, good) =
                commands::validate(folder, HostConfig::default(), &snapshots).map_err(problem)?;
            for line in lines {
                println!("{line}");
            }
            Ok(code(good))
        }
        PluginsWhat::List { folder } => {
            let host = Host::new(folder, HostConfig::default());
            host.try_reload().map_err(problem)?;
            print!("{}", commands::list(&host));
            Ok(ExitCode::SUCCESS)
        }
        PluginsWhat::Test { file, snapshots } => {
            let ticks = commands::test(file, HostConfig::default(), &read(snapshots)?).map_err(problem)?;
            let mut good = true;
            for (place, tick) in ticks.iter().enumerate() {
                good &= tick.faults.is_empty();
                println!("{}: {tick:?}", place + 1);
            }
            Ok(code(good))
        }
    }
}

/// Snapshots, one JSON object a line.
fn read(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::File {
        path: file.to_owned(),
        source,
    })?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(place, line)| {
            serde_json::from_str(line)
                .map_err(|e| problem(format!("{}: line {}: {e}", file.display(), place + 1)))
        })
        .collect()
}
