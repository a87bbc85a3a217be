//! `--test-mode both`: performance, then accuracy, then compliance where it is asked for, each in a process of its own,
//! since LoadGen can run one test in a process.
//!
//! The child is this program with the same command line, but for the mode and the folder of its logs. A server that
//! has to be started is started once, here, and handed to the children: loading a model takes longer than many a run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::HANDED_SERVER;
use crate::ending::{Cause, Ending};
use crate::exit::{Exit, Fail};
use crate::plan::{HandedServer, Plan, ServerPlan};
use crate::report;
use crate::server::{self, Server};
use mlperf_rules::compliance::ComplianceTest;

/// How often the child is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Flags that each child gets a value of its own for.
const OWN_FLAGS: [&str; 3] = ["--test-mode", "--output-log-dir", "--compliance"];

/// One run of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: &'static str,
    log_dir: PathBuf,
    mode: &'static str,
    compliance: &'static str,
}

fn steps(log_dir: &Path, compliance: Option<ComplianceTest>) -> Vec<Step> {
    let step = |name, folder: &str, mode, compliance| Step {
        name,
        log_dir: log_dir.join(folder),
        mode,
        compliance,
    };
    let mut steps = vec![
        step("performance", "performance/run_1", "performance", "none"),
        step("accuracy", "accuracy", "accuracy", "none"),
    ];
    if let Some(test) = compliance {
        steps.push(step(test.name(), test.name(), "performance", test.name()));
    }
    steps
}

/// Runs them one after the other. A run that does not count does not keep the next from being made; one that was cut
/// or could not start does. The exit status is the first that was not 0.
///
/// # Errors
/// [`Fail`] when a process cannot be started.
pub fn run(plan: &Plan) -> Result<Exit, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the thread that watches for signals")?;
    let ending = Ending::on_signals(&runtime)?;
    let server = match plan.server {
        ServerPlan::Start { .. } => Some(start(plan, &runtime, &ending)?),
        _ => None,
    };
    let handed = server.as_ref().and_then(Server::to_hand_on);
    let row = row(plan, handed.as_ref(), &ending);
    if let Some(server) = server {
        runtime.block_on(server.stop());
    }
    runtime.shutdown_background();
    row
}

fn start(plan: &Plan, runtime: &tokio::runtime::Runtime, ending: &Ending) -> Result<Server, Fail> {
    std::fs::create_dir_all(&plan.log_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-log-dir {}: cannot make the folder: {error}",
            plan.log_dir.display()
        ))
    })?;
    runtime.block_on(server::start(plan, Vec::new(), ending))
}

/// All runs, one after the other.
fn row(plan: &Plan, handed: Option<&HandedServer>, ending: &Ending) -> Result<Exit, Fail> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let common = without(std::env::args_os().skip(1), &OWN_FLAGS);
    let mut worst = Exit::Valid;
    let mut done = Vec::new();
    for step in steps(&plan.log_dir, plan.compliance) {
        report::print(&format!(
            "== {} run, logs in {} ==\n",
            step.name,
            step.log_dir.display()
        ));
        let mut command = Command::new(&program);
        command.args(&common).args(["--test-mode", step.mode]);
        command.args(["--compliance", step.compliance]);
        command.arg("--output-log-dir").arg(&step.log_dir);
        if let Some(handed) = handed {
            command.env(HANDED_SERVER, handed.to_flag());
        }
        let status = attend(&mut command, ending)?;
        let exit = exit_of(status);
        done.push(format!("  {:<14} exit status {}\n", step.name, exit as u8));
        if worst == Exit::Valid {
            worst = exit;
        }
        if !matches!(exit, Exit::Valid | Exit::NotValid) || ending.cause().is_some() {
            break;
        }
    }
    report::print(&format!(
        "== runs in turn, logs in {} ==\n{}",
        plan.log_dir.display(),
        done.concat()
    ));
    Ok(worst)
}

/// The command line without some flags and their values, in both spellings.
fn without(args: impl Iterator<Item = OsString>, flags: &[&str]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        let (name, value) = text.split_once('=').map_or((&*text, None), |(n, v)| (n, Some(v)));
        if flags.contains(&name) {
            if value.is_none() {
                args.next();
            }
        } else {
            kept.push(arg);
        }
    }
    kept
}

/// Starts a child and waits for its end; a signal to us is handed on to it.
fn attend(command: &mut Command, ending: &Ending) -> Result<ExitStatus, Fail> {
    let mut child = command
        .spawn()
        .map_err(|error| anyhow!("cannot start {}: {error}", command.get_program().display()))?;
    let mut told = 0;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the run's process")? {
            return Ok(status);
        }
        let wanted = u8::from(ending.cause().is_some()) + u8::from(ending.now.is_cancelled());
        if told < wanted {
            told = wanted;
            hand_on(child.id(), ending.cause().as_ref());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A terminal sends its signals to every process of the group, and a child that gets one twice would end without
/// waiting for LoadGen; so an interrupt from a terminal is left to the terminal.
fn hand_on(pid: u32, cause: Option<&Cause>) {
    let from_terminal =
        cause == Some(&Cause::Signal("SIGINT")) && std::io::IsTerminal::is_terminal(&std::io::stdin());
    if from_terminal {
        return;
    }
    if let Ok(pid) = i32::try_from(pid)
        && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM)
    {
        // It has just ended by itself.
        tracing::debug!("the run's process could not be signalled: {error}");
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    // A child without a status was killed.
    status.code().map_or(Exit::Partial, Exit::from_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_the_same_line_but_for_its_own_flags() {
        let line = "--test-mode both --scenario Offline --output-log-dir=x --compliance TEST06 --duration 1s";
        let kept = without(line.split(' ').map(OsString::from), &OWN_FLAGS);
        assert_eq!(
            kept,
            ["--scenario", "Offline", "--duration", "1s"].map(OsString::from)
        );
    }

    #[test]
    fn folders_are_those_of_a_submission() {
        let steps = steps(Path::new("logs"), Some(ComplianceTest::Test06));
        let folders: Vec<_> = steps.iter().map(|step| step.log_dir.as_path()).collect();
        let wanted = ["logs/performance/run_1", "logs/accuracy", "logs/TEST06"];
        assert_eq!(folders, wanted.map(Path::new));
        assert_eq!(steps[2].compliance, "TEST06");
    }
}
