//! `vllm-monitor status`, `watch` and `export`: commands that ask a monitor that runs.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use vllm_metrics::RunClock;
use vllm_monitor_cli::acting::Advice;
use vllm_monitor_cli::probe::{self, Endpoint, Limits};
use vllm_monitor_cli::status::Status;
use vllm_monitor_cli::transfer;
use vllm_monitor_cli::{Error, Result};

use crate::cli::{Ask, Export, Format, Import, Recommendations, Watch};
use crate::{FAILED, view};

/// The monitor does not answer.
const UNREACHABLE: u8 = 3;

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "no runtime could be started",
            source,
        })?;
    Ok(runtime.block_on(work))
}

/// The body of a route of a monitor.
async fn get(monitor: &str, path: &str) -> Result<Vec<u8>, String> {
    let url = if monitor.contains("://") {
        monitor.to_owned()
    } else {
        format!("http://{monitor}")
    };
    let endpoint = Endpoint::parse(&url, None)?;
    let answer = probe::get(&endpoint, path, Limits::PAGE, &RunClock::start()).await;
    match answer.success() {
        Some(body) => Ok(body.to_vec()),
        None => Err(format!(
            "{}{path}: {}; is a vllm-monitor running there? Name another one with --monitor",
            endpoint.url(),
            answer.probe.outcome.describe()
        )),
    }
}

fn unreachable(problem: &str) -> ExitCode {
    eprintln!("vllm-monitor: {problem}");
    ExitCode::from(UNREACHABLE)
}

fn read(body: &[u8]) -> Result<Status, String> {
    serde_json::from_slice(body).map_err(|e| format!("the answer is not a status of this version: {e}"))
}

/// 0 if every target takes requests, 1 if one does not, 3 if there is no monitor.
pub(crate) fn status(ask: &Ask) -> Result<ExitCode> {
    let body = match block_on(get(&ask.monitor, "/status"))? {
        Ok(body) => body,
        Err(problem) => return Ok(unreachable(&problem)),
    };
    let status = match read(&body) {
        Ok(status) => status,
        Err(problem) => return Ok(unreachable(&problem)),
    };
    if ask.json {
        println!("{}", String::from_utf8_lossy(&body));
    } else {
        print!("{}", view::text(&status));
    }
    let all_up = status.monitor_active && status.targets.iter().all(|target| target.state.is_up());
    Ok(if all_up {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// 0 with an answer, 3 without a monitor.
pub(crate) fn recommendations(ask: &Recommendations) -> Result<ExitCode> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("target", &ask.target), ("failure", &ask.failure)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    let path = format!("/recommendations?{}", query.finish());
    let body = match block_on(get(&ask.monitor, &path))? {
        Ok(body) => body,
        Err(problem) => return Ok(unreachable(&problem)),
    };
    if ask.json {
        println!("{}", String::from_utf8_lossy(&body));
        return Ok(ExitCode::SUCCESS);
    }
    match serde_json::from_slice::<Advice>(&body) {
        Ok(advice) => print!("{}", view::advice(&advice)),
        Err(e) => {
            return Ok(unreachable(&format!(
                "the answer is not one of this version: {e}"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the status again and again until interrupted.
pub(crate) fn watch(watch: &Watch) -> Result<ExitCode> {
    let pause = Duration::from_secs_f64(watch.every_secs.clamp(0.2, 60.0));
    let is_terminal = std::io::stdout().is_terminal();
    block_on(async {
        loop {
            let shown = match get(&watch.monitor, "/status").await.and_then(|body| read(&body)) {
                Ok(status) => view::text(&status),
                Err(problem) => format!("{problem}\n"),
            };
            let mut out = std::io::stdout().lock();
            // To the corner, and each line cleared behind its text: the screen does not flicker.
            let written = if is_terminal {
                write!(out, "\x1b[H{}\x1b[J", shown.replace('\n', "\x1b[K\n"))
            } else {
                writeln!(out, "{shown}")
            };
            if written.and_then(|()| out.flush()).is_err() {
                return ExitCode::SUCCESS;
            }
            drop(out);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => return ExitCode::SUCCESS,
            }
        }
    })
}

fn write(output: Option<&PathBuf>, bytes: &[u8]) -> Result<()> {
    let (path, written) = match output {
        Some(path) => (path.clone(), std::fs::write(path, bytes)),
        None => (
            PathBuf::from("standard output"),
            std::io::stdout().write_all(bytes),
        ),
    };
    written.map_err(|source| Error::File { path, source })
}

pub(crate) fn export(export: &Export) -> Result<ExitCode> {
    let bytes = match export.format {
        Format::Prometheus => match block_on(get(&export.monitor, "/metrics"))? {
            Ok(page) => page,
            Err(problem) => return Ok(unreachable(&problem)),
        },
        Format::Json => {
            // Without a monitor that runs, what was learned can be exported all the same.
            let status = block_on(get(&export.monitor, "/status"))?.and_then(|body| {
                serde_json::from_slice(&body)
                    .map_err(|e| format!("{}/status: the answer is not JSON: {e}", export.monitor))
            });
            let status = match status {
                Ok(status) => Some(status),
                Err(problem) => {
                    eprintln!("vllm-monitor: exported without the status: {problem}");
                    None
                }
            };
            let state_file = crate::state_file(export.state_file.as_deref())?;
            transfer::export(status, &state_file)?.into_bytes()
        }
    };
    write(export.output.as_ref(), &bytes)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn import(import: &Import) -> Result<ExitCode> {
    let state_file = crate::state_file(import.state_file.as_deref())?;
    let targets = transfer::import(&import.file, &state_file)?;
    println!("{targets} targets imported into {}", state_file.display());
    Ok(ExitCode::SUCCESS)
}
