//! The sampler's thread: opens the driver's library, follows the schedule, and reports its cost at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duration_text::Shown;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::calls::{CALLS_EVERY_TICK, CALLS_SLOW};
use super::device::{Gpu, Ownership};
use super::faults::{self, EventSupport};
use super::output::Output;
use super::self_cost::SelfCost;
use super::{GpuConfig, GpuSelection, GpuSummary};
use crate::host::process_tree;
use run_model::EventKind;
use run_model::Severity;
use run_model::schedule::{Schedule, thread_cpu_time};
use run_model::{SampleSink, StopToken};

/// Runs until stopped, or returns immediately if there is nothing to sample.
pub(crate) fn run(config: &GpuConfig, sink: &mut dyn SampleSink, stop: &StopToken) -> GpuSummary {
    let mut fault_sink = sink.fork();
    let mut output = Output::new(sink, config.source());
    let nvml = match open(config) {
        Ok(nvml) => nvml,
        Err(why) => return unavailable(why, &mut output),
    };
    let mut gpus = match open_gpus(&nvml, config, &mut output) {
        Ok(gpus) => gpus,
        Err(why) => return unavailable(why, &mut output),
    };
    for gpu in &mut gpus {
        gpu.announce(&nvml, &mut output);
    }
    let listened: Vec<EventSupport> = gpus
        .iter()
        .map(|gpu| EventSupport {
            identity: gpu.identity.clone(),
            handle_text: gpu.handle_text(),
        })
        .collect();
    let struck = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("gpu-faults".to_owned());
        let listener = builder.spawn_scoped(scope, || {
            let mut output = Output::new(fault_sink.as_mut(), config.source());
            faults::listen(&nvml, &listened, &struck, &mut output, stop);
        });
        if let Err(error) = listener {
            let message = format!("GPU faults will not be seen as they happen: no thread ({error})");
            output.event(
                EventKind::NotSupported,
                Severity::Warning,
                message,
                &serde_json::json!({"series": ["events"]}),
            );
        }
        keep_schedule(&nvml, &mut gpus, config, &struck, &mut output, stop)
    })
}

fn open(config: &GpuConfig) -> Result<Nvml, String> {
    let mut builder = Nvml::builder();
    if let Some(path) = &config.library {
        builder.lib_path(path.as_os_str());
    }
    builder.init().map_err(|error| match (&config.library, error) {
        (None, NvmlError::LibloadingError(_)) => {
            "this machine has no NVIDIA driver library (libnvidia-ml.so.1)".to_owned()
        }
        (Some(path), NvmlError::LibloadingError(error)) => {
            format!(
                "{} could not be loaded as NVIDIA driver library: {error}",
                path.display()
            )
        }
        (_, error) => format!("the NVIDIA driver library would not start: {error}"),
    })
}

fn unavailable(why: String, output: &mut Output<'_>) -> GpuSummary {
    let message = format!("{why}; no GPU series in this run");
    tracing::info!("{message}");
    output.event(
        EventKind::GpuUnavailable,
        Severity::Info,
        message,
        &serde_json::json!({}),
    );
    GpuSummary {
        unavailable: Some(why),
        ..GpuSummary::default()
    }
}

/// Opens the selected GPUs. One that cannot be opened is reported and skipped.
fn open_gpus<'n>(
    nvml: &'n Nvml,
    config: &GpuConfig,
    output: &mut Output<'_>,
) -> Result<Vec<Gpu<'n>>, String> {
    let count = nvml
        .device_count()
        .map_err(|error| format!("the GPUs could not be counted: {error}"))?;
    let mut gpus = Vec::new();
    for index in 0..count {
        if matches!(&config.selection, GpuSelection::Indices(wanted) if !wanted.contains(&index)) {
            continue;
        }
        match Gpu::open(nvml, index) {
            Ok(gpu) => match &config.selection {
                GpuSelection::Uuids(wanted) if !wanted.contains(&gpu.identity.uuid) => {}
                _ => gpus.push(gpu),
            },
            Err(error) => {
                let message = format!("GPU {index} could not be opened ({error}) and is not watched");
                let kind = if matches!(error, NvmlError::GpuLost) {
                    EventKind::GpuLost
                } else {
                    EventKind::ReadFailed
                };
                output.event(
                    kind,
                    Severity::Error,
                    message,
                    &serde_json::json!({"gpu": index.to_string()}),
                );
            }
        }
    }
    tell_missing(&gpus, config, count, output);
    if gpus.is_empty() {
        return Err(format!("none of {count} GPUs is one of those asked for"));
    }
    Ok(gpus)
}

/// Reports selected GPUs that do not exist.
fn tell_missing(gpus: &[Gpu<'_>], config: &GpuConfig, count: u32, output: &mut Output<'_>) {
    let missing: Vec<String> = match &config.selection {
        GpuSelection::Indices(wanted) => wanted
            .iter()
            .filter(|&&index| index >= count)
            .map(ToString::to_string)
            .collect(),
        GpuSelection::Uuids(wanted) => {
            let here = |uuid: &&String| gpus.iter().any(|gpu| gpu.identity.uuid == **uuid);
            wanted.iter().filter(|uuid| !here(uuid)).cloned().collect()
        }
        GpuSelection::All | GpuSelection::ServerProcess(_) => Vec::new(),
    };
    if !missing.is_empty() {
        let message = format!("GPUs asked for but not found: {}", missing.join(", "));
        output.event(
            EventKind::GpuMissing,
            Severity::Warning,
            message,
            &serde_json::json!({"missing": missing}),
        );
    }
}

fn keep_schedule<'n>(
    nvml: &'n Nvml,
    gpus: &mut [Gpu<'n>],
    config: &GpuConfig,
    struck: &AtomicBool,
    output: &mut Output<'_>,
    stop: &StopToken,
) -> GpuSummary {
    let mut cost = SelfCost::new(config.simulated, output.sink);
    let mut ownership = ServerGpus::default();
    let mut schedule = Schedule::new(config.interval);
    let mut next_slow = schedule.origin();
    let mut next_processes = schedule.origin();
    loop {
        let began = Instant::now();
        if began >= next_processes {
            let found = ownership.refresh(gpus, config, output);
            // Until the server's processes appear on a GPU, check as often as the slow tier.
            next_processes = began
                + if found {
                    config.process_interval
                } else {
                    config.slow_interval
                };
        }
        let slow = struck.swap(false, Ordering::Relaxed) || began >= next_slow;
        for gpu in gpus.iter_mut().filter(|gpu| gpu.selected) {
            gpu.sample(CALLS_EVERY_TICK, output);
            if slow {
                gpu.sample(CALLS_SLOW, output);
                gpu.try_regain(nvml, output);
            }
        }
        cost.tick(began.elapsed());
        if slow {
            next_slow = began + config.slow_interval;
            cost.tell(output, schedule.missed());
        }
        let due = schedule.next(Instant::now());
        if let Some(missed) = due.newly_late {
            tell_late(began.elapsed(), missed, config.interval, output);
        }
        if stop.wait_until(due.at) {
            break;
        }
    }
    for gpu in gpus.iter_mut() {
        // Energy and power up to the end, not up to the last tick.
        if gpu.selected {
            gpu.sample(CALLS_EVERY_TICK, output);
        }
        gpu.finish(output);
    }
    cost.tell(output, schedule.missed());
    let summary = GpuSummary {
        gpus: gpus
            .iter()
            .filter(|gpu| gpu.selected)
            .map(|gpu| gpu.identity.clone())
            .collect(),
        unavailable: None,
        not_supported: gpus
            .iter()
            .map(|gpu| (gpu.identity.index, gpu.unsupported()))
            .collect(),
        calls: output.costs.summaries().collect(),
        ticks: cost.ticks(),
        missed_ticks: schedule.missed(),
        read_errors: output.read_errors,
        cpu_time: thread_cpu_time(),
        lived: schedule.origin().elapsed(),
    };
    tell_summary(&summary, output);
    summary
}

/// Publishes the summary event: sampled GPUs, unsupported readings, cost.
fn tell_summary(summary: &GpuSummary, output: &mut Output<'_>) {
    let share = summary.cpu_time.as_secs_f64() / summary.lived.as_secs_f64().max(f64::MIN_POSITIVE);
    let message = format!(
        "the GPU sampler watched {} GPUs in {} ticks with {:.3} % of one core; {} ticks missed, {} readings failed",
        summary.gpus.len(),
        summary.ticks,
        share * 100.0,
        summary.missed_ticks,
        summary.read_errors
    );
    let seconds = |cost: &super::CallCost| {
        let (p50, p99) = (cost.p50.as_secs_f64(), cost.p99.as_secs_f64());
        let call = serde_json::json!({
            "count": cost.count, "p50_seconds": p50, "p99_seconds": p99, "max_seconds": cost.max.as_secs_f64(),
        });
        (cost.call.to_owned(), call)
    };
    let attributes = serde_json::json!({
        "sampler": "gpu",
        "cpu_share": share,
        "ticks": summary.ticks,
        "missed_ticks": summary.missed_ticks,
        "read_errors": summary.read_errors,
        "calls": summary.calls.iter().map(seconds).collect::<serde_json::Map<_, _>>(),
        "not_supported": summary.not_supported.iter().map(|(gpu, series)| (gpu.to_string(), series.clone().into()))
            .collect::<serde_json::Map<_, _>>(),
    });
    output.event(EventKind::SamplerSummary, Severity::Info, message, &attributes);
}

fn tell_late(took: Duration, missed: u32, interval: Duration, output: &mut Output<'_>) {
    let message = format!(
        "GPU samples came late and {missed} were missed: reading took {}, the time between ticks is {}",
        Shown(took),
        Shown(interval)
    );
    let attributes = serde_json::json!({
        "sampler": "gpu", "took_seconds": took.as_secs_f64(), "missed": missed,
    });
    output.event(EventKind::MissedTick, Severity::Warning, message, &attributes);
}

/// GPUs used by the server. Once one is found, others are skipped until a later worker uses them.
#[derive(Default)]
struct ServerGpus {
    found: bool,
    told_unfound: bool,
}

impl ServerGpus {
    /// Checks the processes of every GPU; returns true once the server was found or if none is configured.
    fn refresh(&mut self, gpus: &mut [Gpu<'_>], config: &GpuConfig, output: &mut Output<'_>) -> bool {
        let pid = match (&config.selection, config.server_pid) {
            (&GpuSelection::ServerProcess(pid), _) | (_, Some(pid)) => pid,
            _ => return true,
        };
        let restrict = matches!(config.selection, GpuSelection::ServerProcess(_));
        let tree = process_tree(pid);
        let mut on: Vec<bool> = Vec::with_capacity(gpus.len());
        for gpu in gpus.iter_mut() {
            on.push(gpu.server_memory(&tree, output) == Some(Ownership::Server));
        }
        if !restrict {
            return true;
        }
        if !on.contains(&true) {
            if !self.found && !std::mem::replace(&mut self.told_unfound, true) {
                let message = format!(
                    "no GPU shows a process of the server (pid {pid}) yet; all {} are watched. If this stays, the \
                     server runs in another process namespace: name its GPUs by index or UUID",
                    gpus.len()
                );
                output.event(
                    EventKind::GpuSelection,
                    Severity::Info,
                    message,
                    &serde_json::json!({"pid": pid}),
                );
            }
            return self.found;
        }
        let mut changed = !self.found;
        self.found = true;
        for (gpu, on) in gpus.iter_mut().zip(on) {
            let selected = on || (gpu.selected && !changed);
            changed |= selected != gpu.selected;
            gpu.selected = selected;
        }
        if changed {
            let chosen: Vec<u32> = gpus
                .iter()
                .filter(|gpu| gpu.selected)
                .map(|gpu| gpu.identity.index)
                .collect();
            let message =
                format!("the server (pid {pid}) computes on GPUs {chosen:?}; the others are left out");
            output.event(
                EventKind::GpuSelection,
                Severity::Info,
                message,
                &serde_json::json!({"pid": pid, "gpus": chosen}),
            );
        }
        true
    }
}
