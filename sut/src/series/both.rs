//! `--test-mode both`: performance, then accuracy, then compliance if requested. A server that must be
//! started is started once, here, and shared with the children, since loading a model takes longer than many
//! runs.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mlperf_rules::compliance::ComplianceTest;

use super::child::{Program, exit_of};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::{InheritedServer, Kind, Overrides, Plan, ServerPlan};
use crate::server::{self, Server};
use crate::shutdown::Shutdown;

/// One of the runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: &'static str,
    log_dir: PathBuf,
    kind: Kind,
}

fn steps(log_dir: &Path, compliance: Option<ComplianceTest>) -> Vec<Step> {
    let step = |name, folder: &str, kind| Step {
        name,
        log_dir: log_dir.join(folder),
        kind,
    };
    let mut steps = vec![
        step("performance", "performance/run_1", Kind::Performance),
        step("accuracy", "accuracy", Kind::Accuracy),
    ];
    if let Some(test) = compliance {
        steps.push(step(test.name(), test.name(), Kind::Compliance(test)));
    }
    steps
}

/// Runs them one after the other. A run that does not count does not stop the series, but one that was
/// aborted or could not start does. The exit status is the first one that is not 0.
///
/// # Errors
/// [`Fail`] when a process cannot be started.
pub(crate) fn run(plan: &Plan) -> Result<Exit, Fail> {
    let (runtime, shutdown) = Shutdown::watched()?;
    let server = match plan.server {
        ServerPlan::Start { .. } => Some(start(plan, &runtime, &shutdown)?),
        _ => None,
    };
    let inherited = server.as_ref().map(Server::to_hand_on);
    let exit = run_all(plan, inherited.as_ref(), &shutdown);
    if let Some(server) = server {
        runtime.block_on(server.stop());
    }
    runtime.shutdown_background();
    exit
}

fn start(plan: &Plan, runtime: &tokio::runtime::Runtime, shutdown: &Shutdown) -> Result<Server, Fail> {
    std::fs::create_dir_all(&plan.log_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-log-dir {}: cannot make the folder: {error}",
            plan.log_dir.display()
        ))
    })?;
    runtime.block_on(server::start(plan, Vec::new(), shutdown))
}

fn run_all(plan: &Plan, inherited: Option<&InheritedServer>, shutdown: &Shutdown) -> Result<Exit, Fail> {
    let program = Program::current()?;
    let mut first = Exit::Valid;
    let mut done = Vec::new();
    for step in steps(&plan.log_dir, plan.compliance) {
        print(&format!(
            "== {} run, logs in {} ==\n",
            step.name,
            step.log_dir.display()
        ));
        let overrides = Overrides {
            log_dir: step.log_dir,
            kind: Some(step.kind),
            server: inherited.cloned(),
            ..Overrides::default()
        };
        let exit = exit_of(program.run(&overrides, None, shutdown)?);
        done.push(format!(
            "  {:<14} {} (exit {})\n",
            step.name,
            exit.word(),
            exit as u8
        ));
        if first == Exit::Valid {
            first = exit;
        }
        if !matches!(exit, Exit::Valid | Exit::NotValid) || shutdown.reason().is_some() {
            break;
        }
    }
    print(&format!(
        "== summary, logs in {} ==\n{}",
        plan.log_dir.display(),
        done.concat()
    ));
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_those_of_a_submission() {
        let steps = steps(Path::new("logs"), Some(ComplianceTest::Test06));
        let folders: Vec<_> = steps.iter().map(|step| step.log_dir.as_path()).collect();
        let wanted = ["logs/performance/run_1", "logs/accuracy", "logs/TEST06"];
        assert_eq!(folders, wanted.map(Path::new));
        assert_eq!(steps[2].kind, Kind::Compliance(ComplianceTest::Test06));
    }
}
