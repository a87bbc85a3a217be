//! What the engine's processes do, read from `/proc` and the GPUs: proof or disproof that it computes.

use super::Observation;
use crate::{Evidence, Signal, Source};

/// What the engine's processes do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Activity {
    /// Not observable: another machine, no process titles, or readings that are too old.
    Unknown,
    /// Stopped by a signal or a debugger, for so many seconds.
    Stopped(f64),
    /// Asleep without CPU time, its GPUs idle, for so many seconds.
    Still(f64),
    /// It uses the CPU, and its GPUs are idle or not observable.
    Cpu,
    /// A GPU of it is busy.
    Gpu,
}

impl Activity {
    /// In words, where it says something.
    pub(super) fn evidence(self) -> Option<Evidence> {
        Some(match self {
            Self::Unknown => return None,
            Self::Stopped(secs) => {
                Evidence::number(Source::Process, "the engine's process is stopped, for", secs, "s")
            }
            Self::Still(secs) => Evidence::number(
                Source::Process,
                "the engine uses neither CPU nor GPU, for",
                secs,
                "s",
            ),
            Self::Cpu => Evidence::text(Source::Process, "the engine uses the CPU"),
            Self::Gpu => Evidence::text(Source::Gpu, "the engine's GPU is busy"),
        })
    }
}

/// Readings older than this say nothing about now, in seconds.
const MOST_AGE_SECS: f64 = 4.0;

/// Counts how long the engine has been stopped or still.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ActivityTracker {
    cpu_secs: Option<f64>,
    stopped_secs: f64,
    still_secs: f64,
}

impl ActivityTracker {
    pub(super) fn update(&mut self, seen: &Observation<'_>) -> Activity {
        let process = &seen.snapshot.process;
        let recent = |signal: Signal<f64>| {
            let is_recent = signal.age_secs().is_some_and(|age| age <= MOST_AGE_SECS);
            signal.if_fresh().filter(|_| is_recent)
        };
        let (Some(cpu_secs), Some(active), Some(stopped)) = (
            recent(process.engine_cpu_secs_total),
            recent(process.engine_active),
            recent(process.engine_stopped),
        ) else {
            *self = Self::default();
            return Activity::Unknown;
        };
        let used = self.cpu_secs.replace(cpu_secs).map(|before| cpu_secs - before);
        if stopped > 0.0 {
            self.stopped_secs += seen.dt_secs;
            self.still_secs = 0.0;
            return Activity::Stopped(self.stopped_secs);
        }
        self.stopped_secs = 0.0;
        let is_gpu_busy = seen
            .snapshot
            .gpus
            .iter()
            .any(|gpu| recent(gpu.utilization_ratio).is_some_and(|ratio| ratio > 0.0));
        let uses_cpu =
            active > 0.0 || used.is_none_or(|secs| secs > seen.parameters.hang.still_cores * seen.dt_secs);
        if is_gpu_busy || uses_cpu {
            self.still_secs = 0.0;
            return if is_gpu_busy { Activity::Gpu } else { Activity::Cpu };
        }
        self.still_secs += seen.dt_secs;
        Activity::Still(self.still_secs)
    }
}
