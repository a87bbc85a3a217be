//! The host sampler's thread: values of every tick, values of every tenth second, and its own cost.

use std::time::Instant;

use super::cgroup::Cgroup;
use super::cpu::{self, Frequency};
use super::devices::Devices;
use super::emit::Emitter;
use super::processes::Group;
use super::{HostConfig, HostSummary, memory};
use run_model::EventKind;
use run_model::Severity;
use run_model::schedule::{Schedule, thread_cpu_time};
use run_model::{SampleSink, StopToken};

/// Runs until stopped.
pub(crate) fn run(config: &HostConfig, sink: &mut dyn SampleSink, stop: &StopToken) -> HostSummary {
    let own_pid = std::process::id();
    let mut own_cost_sink = sink.fork();
    let mut own_cost = Emitter::new(own_cost_sink.as_mut(), "self", &config.root);
    let mut emit = Emitter::new(sink, "host", &config.root);
    let mut groups = vec![Group::own(own_pid)];
    groups.extend(config.server_pid.map(Group::server));
    let cgroups = find_cgroups(config, own_pid, &mut emit);
    let (mut devices, mut frequency) = (Devices::default(), Frequency::default());
    let mut schedule = Schedule::new(config.interval);
    let mut next_slow = schedule.origin();
    let mut ticks = 0;
    loop {
        let began = Instant::now();
        let slow = began >= next_slow;
        emit.begin();
        if ticks == 0 {
            cpu::facts(&mut emit);
        }
        cpu::times(&mut emit);
        cpu::pressure(&mut emit);
        memory::sizes(&mut emit);
        memory::faults(&mut emit);
        devices.disks(&mut emit);
        devices.interfaces(&mut emit);
        for group in &mut groups {
            if slow {
                group.refresh(&mut emit);
                group.files(&mut emit);
            }
            group.sample(&mut emit);
        }
        if slow {
            frequency.read(&mut emit);
            cgroups.iter().for_each(|cgroup| cgroup.sample(&mut emit));
            next_slow = began + config.slow_interval;
        }
        emit.end();
        ticks += 1;
        if slow {
            tell_cost(&mut own_cost, began.elapsed().as_secs_f64(), schedule.missed());
        }
        let due = schedule.next(Instant::now());
        if let Some(missed) = due.newly_late {
            let message = format!(
                "host samples came late: reading took {}, and this machine may be busy",
                duration_text::Shown(began.elapsed())
            );
            let attributes = serde_json::json!({ "sampler": "host", "missed": missed });
            emit.event(EventKind::MissedTick, Severity::Warning, message, &attributes);
        }
        if stop.wait_until(due.at) {
            break;
        }
    }
    tell_cost(&mut own_cost, 0.0, schedule.missed());
    let summary = HostSummary {
        absent: emit.absent(),
        ticks,
        missed_ticks: schedule.missed(),
        cpu_time: thread_cpu_time(),
        lived: schedule.origin().elapsed(),
        panicked: false,
    };
    let share = summary.cpu_time.as_secs_f64() / summary.lived.as_secs_f64().max(f64::MIN_POSITIVE);
    let message = format!(
        "the host sampler kept {} ticks with {:.3} % of one core; {} ticks missed",
        summary.ticks,
        share * 100.0,
        summary.missed_ticks
    );
    let attributes = serde_json::json!({
        "sampler": "host", "cpu_share": share, "ticks": summary.ticks, "missed_ticks": summary.missed_ticks,
        "absent": summary.absent,
    });
    emit.event(EventKind::SamplerSummary, Severity::Info, message, &attributes);
    summary
}

fn find_cgroups(config: &HostConfig, own_pid: u32, emit: &mut Emitter<'_>) -> Vec<Cgroup> {
    let wanted = [
        Some(("self", own_pid)),
        config.server_pid.map(|pid| ("server", pid)),
    ];
    let mut found = Vec::new();
    for (label, pid) in wanted.into_iter().flatten() {
        match Cgroup::find(label, pid, emit) {
            Some(cgroup) => found.push(cgroup),
            None => emit.note_absent(&format!("cgroup limits of the {label}")),
        }
    }
    found
}

fn tell_cost(emit: &mut Emitter<'_>, tick_seconds: f64, missed_ticks: u64) {
    emit.begin();
    if tick_seconds > 0.0 {
        emit.gauge("host_sampler_tick_seconds", &[], "seconds", tick_seconds);
    }
    emit.counter(
        "host_sampler_cpu_seconds_total",
        &[],
        "seconds",
        thread_cpu_time().as_secs_f64(),
    );
    emit.counter(
        "host_sampler_missed_ticks_total",
        &[],
        "ticks",
        missed_ticks as f64,
    );
    emit.end();
}
