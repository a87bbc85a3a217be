//! `vllm-monitor check`

use std::process::ExitCode;

use vllm_monitor::preflight::Verdict;
use vllm_monitor_cli::check::{self, Applied, Asked, Report};
use vllm_monitor_cli::supervise::{ServerCommand, take_switches};
use vllm_monitor_cli::{Error, Result};

use crate::cli::Check;

pub(crate) fn check(arguments: &Check) -> Result<ExitCode> {
    if let Some(path) = &arguments.undo {
        let lines = check::undo(path).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
        for line in lines {
            println!("{line}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let words = match (&arguments.command[..], &arguments.model) {
        ([], Some(model)) => vec!["vllm".to_owned(), "serve".to_owned(), model.clone()],
        ([], None) => {
            return Err(Error::Settings(vec![
                "nothing to check: give `-- vllm serve MODEL …`, or --model".to_owned(),
            ]));
        }
        (command, _) => {
            take_switches(command)
                .map_err(|problem| Error::Settings(vec![problem]))?
                .0
        }
    };
    let mut asked = Asked::here(ServerCommand::new(words));
    asked.nvml_library.clone_from(&arguments.nvml_library);
    let mut report = Report::of(&check::gather(&asked));
    let mut applied = Vec::new();
    if let Some(undo_file) = &arguments.auto_fix {
        let repaired = check::repair(asked, &report, undo_file).map_err(|source| Error::File {
            path: undo_file.clone(),
            source,
        })?;
        report = repaired.report;
        applied = repaired.applied;
    }
    if arguments.json {
        let all = serde_json::json!({ "report": report, "applied": applied });
        println!("{all:#}");
    } else {
        for fix in &applied {
            println!("{}", describe(fix));
        }
        print!("{}", report.to_text());
    }
    let is_unsure = report.exit_status == Verdict::StartUnsure.exit_status();
    Ok(if is_unsure && arguments.allow_unknown {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(report.exit_status)
    })
}

/// One fix in words.
pub(crate) fn describe(fix: &Applied) -> String {
    match &fix.problem {
        None => format!("fixed   {}: {} (to undo: {})", fix.check, fix.change, fix.undo),
        Some(problem) => format!("not fixed {}: {}: {problem}", fix.check, fix.change),
    }
}
