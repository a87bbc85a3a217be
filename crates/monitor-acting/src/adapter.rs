//! Converts the monitor's state of a target to a [`Situation`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use vllm_monitor::lifecycle::State;
use vllm_monitor::{Condition, FailureType, Snapshot, Source, TargetState};

use crate::{Evidence, EvidenceKind, Failure, Situation, Time, signal};

/// Seconds without progress of own requests that count as evidence of a hang.
const OWN_SILENT_SECS: f64 = 5.0;
/// Minimum share of KV blocks in use for a full cache.
const KV_FULL: f64 = 0.9;

/// The situation after a step of the monitor.
///
/// `horizon_secs` is the horizon of the monitor's alarms, `goodput` the tokens per second within latency
/// targets, if known to the caller; otherwise all generated tokens count. Stale or absent signals are left
/// out.
pub fn situation(
    snapshot: &Snapshot,
    state: &TargetState,
    at: Time,
    horizon_secs: f64,
    goodput: Option<f64>,
) -> Situation {
    let tracker = state.lifecycle();
    let mut failures: Vec<Failure> = state
        .assessments()
        .iter()
        .filter_map(|(failure_type, assessment)| {
            if let Some(condition) = &assessment.condition {
                return Some(present(*failure_type, condition, snapshot));
            }
            let forecast = assessment.prediction.forecast()?;
            let probability = forecast.probability.at(horizon_secs);
            let mut evidence = translate(*failure_type, &forecast.evidence);
            corroborate(*failure_type, snapshot, &mut evidence);
            (probability >= 0.05).then(|| Failure {
                kind: failure_type.as_str().into(),
                present: false,
                probability,
                secs_to_failure: forecast.time_to_failure.map(|time| time.p50_secs),
                evidence,
            })
        })
        .collect();
    failures.extend(exited(snapshot));
    Situation {
        target: snapshot.target.clone(),
        at,
        observed: !tracker.is_unobserved(),
        failures,
        signals: signals(snapshot, state, goodput),
        restarted: false,
        vetoes: BTreeMap::new(),
    }
}

fn signals(
    snapshot: &Snapshot,
    state: &TargetState,
    goodput: Option<f64>,
) -> BTreeMap<Cow<'static, str>, f64> {
    let rates = state.rates();
    let engine = &snapshot.engine;
    let serves = match state.lifecycle().state() {
        State::Ready | State::Serving => Some(1.0),
        // It answers; its progress is covered by the other signals.
        State::Degraded => Some(1.0),
        State::Error
        | State::NotStarted
        | State::Initializing
        | State::LoadingModel
        | State::ShuttingDown => Some(0.0),
    };
    let hangs = state
        .assessments()
        .iter()
        .any(|(failure_type, a)| *failure_type == FailureType::Hang && a.condition.is_some());
    let memory = |used: Option<f64>, total: Option<f64>| Some(used? / total.filter(|total| *total > 0.0)?);
    let gpu_memory = snapshot
        .gpus
        .iter()
        .filter_map(|gpu| {
            memory(
                gpu.memory_used_bytes.if_fresh(),
                gpu.memory_total_bytes.if_fresh(),
            )
        })
        .max_by(f64::total_cmp);
    let host_memory = memory(
        snapshot.process.cgroup_used_bytes.if_fresh(),
        snapshot.process.cgroup_limit_bytes.if_fresh(),
    )
    .or_else(|| {
        let host = &snapshot.host;
        let available = memory(
            host.memory_available_bytes.if_fresh(),
            host.memory_total_bytes.if_fresh(),
        )?;
        Some(1.0 - available)
    });
    [
        (signal::GOODPUT, goodput.or(rates.decode_tokens.if_fresh())),
        (signal::PREEMPTIONS, rates.preemptions.if_fresh()),
        (signal::WAITING, engine.waiting.if_fresh()),
        (signal::RUNNING, engine.running.if_fresh()),
        (signal::KV_USAGE, engine.kv_usage_ratio.if_fresh()),
        (signal::INTER_TOKEN, rates.inter_token_secs.if_fresh()),
        (signal::STEPS, rates.steps.if_fresh()),
        (signal::REJECTIONS, rates.rejections.if_fresh()),
        (signal::ERRORS, rates.errors.if_fresh()),
        (
            signal::SERVING,
            serves.map(|serves| if hangs { 0.0 } else { serves }),
        ),
        (signal::HOST_MEMORY, host_memory),
        (signal::GPU_MEMORY, gpu_memory),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((Cow::Borrowed(name), value.filter(|value| value.is_finite())?)))
    .collect()
}

fn present(failure_type: FailureType, condition: &Condition, snapshot: &Snapshot) -> Failure {
    let mut evidence = translate(failure_type, &condition.evidence);
    corroborate(failure_type, snapshot, &mut evidence);
    if snapshot
        .gpus
        .iter()
        .any(|gpu| gpu.recovery_action.if_fresh().is_some_and(|action| action > 0.0))
        && failure_type == FailureType::Hardware
    {
        evidence.push(Evidence::new(
            EvidenceKind::DriverRequest,
            "the driver asks for a recovery action",
        ));
    }
    Failure {
        kind: failure_type.as_str().into(),
        present: true,
        probability: 1.0,
        secs_to_failure: Some(0.0),
        evidence,
    }
}

/// A process that exited without a request, with any exit code.
fn exited(snapshot: &Snapshot) -> Option<Failure> {
    let process = &snapshot.process;
    let gone = process.exit.is_some() || process.alive.if_fresh() == Some(false);
    (gone && !process.stop_requested).then(|| {
        let how = match process.exit {
            Some(exit) => match (exit.code, exit.signal) {
                (Some(code), _) => format!("the process ended with code {code}, not asked to"),
                (None, Some(signal)) => format!("the process was ended by signal {signal}"),
                (None, None) => "the process ended, not asked to".to_owned(),
            },
            None => "the process is gone".to_owned(),
        };
        Failure {
            kind: "process_exit".into(),
            present: true,
            probability: 1.0,
            secs_to_failure: Some(0.0),
            evidence: vec![Evidence::new(EvidenceKind::ProcessExit, how)],
        }
    })
}

/// The monitor's evidence, by subject. A learned model adds no evidence, since it only restates its input
/// metrics.
fn translate(failure_type: FailureType, evidence: &[vllm_monitor::Evidence]) -> Vec<Evidence> {
    let about = match failure_type {
        FailureType::KvPreemption => EvidenceKind::KvCache,
        FailureType::QueueOverflow => EvidenceKind::Queue,
        FailureType::Degradation => EvidenceKind::Latency,
        FailureType::Network => EvidenceKind::Network,
        _ => EvidenceKind::Progress,
    };
    evidence
        .iter()
        .filter_map(|fact| {
            let kind = match fact.source {
                Source::Process => EvidenceKind::Process,
                Source::OwnRequests | Source::Canary => EvidenceKind::OwnRequests,
                Source::Http => EvidenceKind::Probe,
                Source::Log => EvidenceKind::Log,
                Source::Metrics => about,
                Source::Gpu => EvidenceKind::Gpu,
                Source::Host => EvidenceKind::Host,
                Source::Peers => EvidenceKind::Peers,
                Source::Model if failure_type == FailureType::Degradation => EvidenceKind::Latency,
                Source::Model => return None,
            };
            Some(Evidence::new(kind, fact.to_string()))
        })
        .collect()
}

/// Facts of another kind that support the failure.
fn corroborate(failure_type: FailureType, snapshot: &Snapshot, evidence: &mut Vec<Evidence>) {
    let engine = &snapshot.engine;
    let waiting = engine.waiting.if_fresh().filter(|waiting| *waiting > 0.0);
    let full = engine.kv_usage_ratio.if_fresh().filter(|usage| *usage >= KV_FULL);
    let mut add = |kind, text: String| evidence.push(Evidence::new(kind, text));
    match failure_type {
        FailureType::KvPreemption => {
            if let Some(waiting) = waiting {
                add(EvidenceKind::Queue, format!("{waiting:.0} requests wait"));
            }
        }
        FailureType::QueueOverflow => {
            if let Some(full) = full {
                add(EvidenceKind::KvCache, format!("KV use {full:.2}"));
            }
            let batch_full = engine
                .running
                .if_fresh()
                .zip(engine.max_running.last())
                .filter(|(running, most)| running >= most);
            if let Some((running, _)) = batch_full {
                add(
                    EvidenceKind::Progress,
                    format!("the batch is full with {running:.0} requests"),
                );
            }
        }
        FailureType::Hang => {
            if let Some(secs) = snapshot
                .own
                .since_progress_secs
                .if_fresh()
                .filter(|secs| *secs >= OWN_SILENT_SECS)
            {
                add(
                    EvidenceKind::OwnRequests,
                    format!("own requests made no progress for {secs:.0} s"),
                );
            }
            if let Some(secs) = snapshot
                .canary
                .waiting_secs
                .if_fresh()
                .filter(|secs| *secs >= OWN_SILENT_SECS)
            {
                add(
                    EvidenceKind::OwnRequests,
                    format!("the canary has waited for {secs:.0} s"),
                );
            }
            if let Some(waiting) = waiting {
                add(
                    EvidenceKind::Queue,
                    format!("{waiting:.0} requests wait and none is admitted"),
                );
            }
        }
        FailureType::Degradation => {
            if let Some(waiting) = waiting {
                add(EvidenceKind::Queue, format!("{waiting:.0} requests wait"));
            }
            if snapshot.gpus.iter().any(|gpu| {
                gpu.sm_clock_hertz
                    .if_fresh()
                    .zip(gpu.sm_clock_max_hertz.last())
                    .is_some_and(|(clock, most)| clock < 0.7 * most)
            }) {
                add(
                    EvidenceKind::Gpu,
                    "a GPU's clock is below 70 % of its highest".to_owned(),
                );
            }
        }
        FailureType::HostMemory => {
            let oom = snapshot.process.cgroup_oom_kills_total.if_fresh().unwrap_or(0.0)
                + snapshot.host.oom_kills_total.if_fresh().unwrap_or(0.0);
            if oom > 0.0 {
                add(
                    EvidenceKind::Host,
                    format!("{oom:.0} processes were ended for lack of memory"),
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use vllm_monitor::config::Settings;
    use vllm_monitor::snapshot::Exit;
    use vllm_monitor::{Monitor, Signal, State as MonitorState};

    use super::*;

    fn after(snapshot: &Snapshot) -> Situation {
        let monitor = Monitor::new(Settings::default());
        let mut state = MonitorState::default();
        monitor.step(&mut state, snapshot);
        let target = state.target(&snapshot.target).expect("it was seen");
        situation(snapshot, target, Time::from_secs_f64(5.0), 30.0, None)
    }

    #[test]
    fn a_process_that_ended_unasked_is_a_failure_whatever_its_code() {
        let mut snapshot = Snapshot::empty("t", vllm_monitor::Time::from_secs_f64(5.0));
        snapshot.process.exit = Some(Exit {
            at: snapshot.time,
            code: Some(0),
            signal: None,
        });
        let found = after(&snapshot);
        let failure = &found.failures[0];
        assert_eq!(failure.kind.as_ref(), "process_exit");
        assert!(failure.evidence[0].kind.is_sufficient());
        snapshot.process.stop_requested = true;
        assert!(
            after(&snapshot)
                .failures
                .iter()
                .all(|f| f.kind.as_ref() != "process_exit")
        );
    }

    #[test]
    fn what_is_stale_or_absent_is_no_signal() {
        let mut snapshot = Snapshot::empty("t", vllm_monitor::Time::from_secs_f64(5.0));
        snapshot.engine.waiting = Signal::fresh(7.0, 0.1);
        snapshot.engine.running = Signal::stale(3.0, 60.0);
        let found = after(&snapshot);
        assert_eq!(found.signal(signal::WAITING), Some(7.0));
        assert_eq!(found.signal(signal::RUNNING), None);
        assert_eq!(found.signal(signal::KV_USAGE), None);
    }
}
