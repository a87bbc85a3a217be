//! `vllm-monitor run`

use std::path::Path;
use std::process::ExitCode;

use vllm_monitor_cli::check::{self, Asked, Report};
use vllm_monitor_cli::journal::Destination;
use vllm_monitor_cli::supervise::{self, ServerCommand, take_switches};
use vllm_monitor_cli::{Error, Result};

use crate::cli::Run;
use crate::{FAILED, resolve, runtime};

pub(crate) fn run(arguments: &Run) -> Result<ExitCode> {
    let usage = |problem| Error::Settings(vec![problem]);
    let (words, switches) = take_switches(&arguments.command).map_err(usage)?;
    let mut command = ServerCommand::new(words);

    let mut flags = arguments.common.flags();
    flags.config = flags.config.or(switches.config);
    // What stood among the server's arguments is a flag too; a flag of the monitor itself comes later and wins.
    flags.core.splice(0..0, switches.core);
    let mut target = arguments.target.flags(&command.url);
    target.model = target.model.or_else(|| command.served_model.clone());
    target.api_key = command.api_key().or_else(|| std::env::var("VLLM_API_KEY").ok());
    flags.targets = vec![target];
    // Standard output is the server's.
    flags.default_log = Some(Destination::Stderr);
    let settings = resolve(&flags)?;
    if arguments.common.print_config {
        crate::print(&settings);
        return Ok(ExitCode::SUCCESS);
    }
    if settings.targets.len() > 1 {
        return Err(usage(
            "`run` observes the server that it starts; [[target]] belongs to `attach`".to_owned(),
        ));
    }

    let features = &settings.core.features;
    let mut variables = Vec::new();
    if features.prestartup_check && command.is_vllm {
        let mut asked = Asked::here(command);
        asked.nvml_library = arguments.common.nvml_library();
        let (asked, report) = checked(asked, arguments.auto_fix.as_deref())?;
        if report.blocks() {
            eprint!("{}", report.to_text());
            eprintln!("vllm-monitor: not started; --set prestartup_check=false starts it all the same");
            return Ok(ExitCode::from(FAILED));
        }
        command = asked.command;
        variables = asked.changed;
    }
    if let Some(why) = &command.unreachable {
        eprintln!("vllm-monitor: {why}; its process and its log are observed");
    }
    let settings = features.enable_monitoring.then_some(settings);
    let status = runtime()?.block_on(supervise::run(settings, &command, &variables, |warnings| {
        for warning in warnings {
            eprintln!("vllm-monitor: {warning}");
        }
    }))?;
    Ok(ExitCode::from(status))
}

fn checked(asked: Asked, undo_file: Option<&Path>) -> Result<(Asked, Report)> {
    let report = Report::of(&check::gather(&asked));
    let Some(undo_file) = undo_file else {
        return Ok((asked, report));
    };
    let repaired = check::repair(asked, &report, undo_file).map_err(|source| Error::File {
        path: undo_file.to_owned(),
        source,
    })?;
    for fix in &repaired.applied {
        eprintln!("vllm-monitor: {}", crate::check_command::describe(fix));
    }
    Ok((repaired.asked, repaired.report))
}
