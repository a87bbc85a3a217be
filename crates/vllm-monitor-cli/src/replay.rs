//! `vllm-monitor replay`

use std::io::BufRead as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use vllm_monitor::{AlertChange, Decision, EventKind, Monitor, Snapshot, State, Time};
use vllm_monitor_cli::hub::rfc3339;
use vllm_monitor_cli::journal::Level;
use vllm_monitor_cli::settings::Flags;
use vllm_monitor_cli::{Error, Result, recorded};

use crate::cli::Replay;
use crate::resolve;

/// First bytes of what is not JSON lines but a run of the recorder.
fn is_snapshots(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

pub(crate) fn replay(arguments: &Replay) -> Result<ExitCode> {
    let flags = Flags {
        config: arguments.config.clone(),
        core: arguments.set.clone(),
        ..Flags::default()
    };
    let settings = resolve(&flags)?.core;
    let level = Level::from_word(&settings.features.log_level);
    for path in &arguments.records {
        // Each record begins anew: what one taught must not colour the next.
        let monitor = Monitor::new(settings.clone());
        let mut state = State::default();
        let begun = Instant::now();
        let mut seen = Seen::default();
        let mut take = |snapshot: &Snapshot| {
            seen.count(snapshot);
            for decision in monitor.step(&mut state, snapshot) {
                if Level::of(&decision) <= level {
                    show(snapshot, &decision, arguments.json);
                }
            }
        };
        if is_snapshots(path) {
            read_lines(path, &mut take)?;
        } else {
            let interval = Duration::from_secs(1);
            let snapshots = recorded::snapshots(path, interval).map_err(|problem| Error::File {
                path: path.clone(),
                source: std::io::Error::other(problem),
            })?;
            snapshots.iter().for_each(&mut take);
        }
        summarize(path, &seen, &state, begun.elapsed());
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads line by line: a record of days need not fit into memory.
fn read_lines(path: &Path, take: &mut impl FnMut(&Snapshot)) -> Result<()> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let name = path.display().to_string();
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(failed)?;
        for snapshot in vllm_monitor::replay::read_lines(&line, &format!("{name}:{}", number + 1)) {
            take(&snapshot?);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    snapshots: u64,
    first: Option<Time>,
    last: Option<Time>,
}

impl Seen {
    fn count(&mut self, snapshot: &Snapshot) {
        self.snapshots += 1;
        self.first = self.first.or(Some(snapshot.time));
        self.last = Some(snapshot.time);
    }
}

fn show(snapshot: &Snapshot, decision: &Decision, json: bool) {
    if json {
        let line = serde_json::to_string(decision).expect("plain data with text keys");
        println!("{line}");
        return;
    }
    let time = rfc3339(snapshot.time.as_nanos());
    let words = match decision {
        Decision::Event(event) => match &event.kind {
            EventKind::Transition(t) => {
                let evidence: Vec<String> = t.evidence.iter().map(ToString::to_string).collect();
                format!("{} -> {}: {}", t.from, t.to, evidence.join("; "))
            }
            EventKind::PhaseEnded { phase, secs } => format!("{} took {secs:.1} s", phase.as_str()),
            EventKind::Onset { failure_type } => format!("{failure_type} began"),
            other => format!("{other:?}"),
        },
        Decision::Alert(alert) => {
            let change = match alert.change {
                AlertChange::Raised => "ALERT",
                AlertChange::Cleared => "over ",
            };
            let p = alert.forecast.as_ref().map_or_else(String::new, |f| {
                format!(", {:.0} % within 60 s", f.probability.at(60.0) * 100.0)
            });
            format!("{change} {} {}{p}", alert.failure_type, alert.kind)
        }
        other => format!("{other:?}"),
    };
    println!("{time}  {}  {words}", snapshot.target);
}

fn summarize(path: &Path, seen: &Seen, state: &State, took: Duration) {
    let (Some(first), Some(last)) = (seen.first, seen.last) else {
        eprintln!("{}: no snapshots", path.display());
        return;
    };
    let secs = last.secs_since(first);
    eprintln!(
        "{}: {} snapshots over {secs:.0} s in {:.2} s, {:.0} times as fast as they came",
        path.display(),
        seen.snapshots,
        took.as_secs_f64(),
        secs / took.as_secs_f64().max(1e-9)
    );
    for (name, target) in state.targets() {
        eprintln!("  {name}: {}", target.state());
        for failure_type in vllm_monitor::FailureType::ALL {
            let score = target.score(failure_type);
            if score.onsets == 0.0 && score.alarms == 0.0 {
                continue;
            }
            let skill = score.horizons[2]
                .skill()
                .map_or_else(|| "not determined".to_owned(), |skill| format!("{skill:.2}"));
            eprintln!(
                "    {failure_type}: {} began, {} predicted, {} alarms, {} false; Brier skill at 60 s {skill}",
                score.onsets, score.predicted, score.alarms, score.false_alarms
            );
        }
    }
}
