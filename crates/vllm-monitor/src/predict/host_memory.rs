//! Host memory: when the cgroup's limit or the machine's memory is reached.
//!
//! The level is what the server's cgroup uses, against its limit; without a limit it is the machine's used memory,
//! against all of it. Reclaimable page cache counts as used in a cgroup, so a flat level near the limit is not an
//! alarm; kills by the kernel are.

use super::passage::Passage;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::trend::Trend;
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostMemory {
    trend: Option<Trend>,
    resident: Option<Trend>,
    kills: Option<f64>,
    killed_secs_ago: Option<f64>,
}

/// Seconds for which a kill counts as present.
const KILL_RECENT_SECS: f64 = 300.0;

impl Predictor for HostMemory {
    fn failure_type(&self) -> FailureType {
        FailureType::HostMemory
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        let condition_of_kills = self.kills(seen);
        let (process, host) = (&seen.snapshot.process, &seen.snapshot.host);
        let of_cgroup = process
            .cgroup_used_bytes
            .with(process.cgroup_limit_bytes, |used, limit| (used, limit));
        let of_host = host
            .memory_available_bytes
            .with(host.memory_total_bytes, |free, total| (total - free, total));
        // The relevant barrier is the one that is nearer in relative terms.
        let share = |pair: Option<(f64, f64)>| pair.map_or(-1.0, |(used, limit)| used / limit.max(1.0));
        let (pair, is_cgroup) = if share(of_cgroup.if_fresh()) >= share(of_host.if_fresh()) {
            (of_cgroup.if_fresh(), true)
        } else {
            (of_host.if_fresh(), false)
        };
        let Some((used, limit)) = pair else {
            let prediction = Prediction::needs_signal("host or cgroup memory readings");
            return Assessment {
                prediction,
                condition: condition_of_kills,
            };
        };
        let p = &seen.parameters.host_memory;
        let trend = self.trend.get_or_insert_with(|| Trend::new(p.trend_secs));
        if trend
            .last()
            .is_some_and(|last| (used - last).abs() > 0.25 * limit)
        {
            // A jump (another barrier, a restart, a freed cache) is not a trend.
            trend.reset();
        }
        trend.add(used, seen.dt_secs.max(1e-3));
        if let Some(resident) = process.resident_bytes.if_fresh() {
            self.resident
                .get_or_insert_with(|| Trend::new(p.trend_secs))
                .add(resident, seen.dt_secs.max(1e-3));
        }
        let Some(line) = trend.line().filter(|_| trend.span_secs() >= p.min_observed_secs) else {
            let prediction = Prediction::needs("seconds of samples", trend.span_secs(), p.min_observed_secs);
            return Assessment {
                prediction,
                condition: condition_of_kills,
            };
        };
        let mut evidence = vec![
            Evidence::number(Source::Process, "memory used", used / GIB, "GiB"),
            Evidence::number(Source::Process, "limit", limit / GIB, "GiB"),
            Evidence::number(Source::Process, "growth", line.slope / MIB, "MiB/s"),
        ];
        if !is_cgroup {
            evidence.push(Evidence::text(Source::Host, "of the whole machine"));
        }
        if let Some(resident) = self.resident.as_ref().and_then(Trend::line) {
            let growth = resident.slope / MIB;
            evidence.push(Evidence::number(
                Source::Process,
                "growth of the server's processes",
                growth,
                "MiB/s",
            ));
        }
        let passage = Passage {
            distance: limit - used,
            drift: line.slope,
            variance_rate: line.variance_rate.max(1.0),
            drift_error: line.slope_error,
        };
        let grows = line.slope > line.slope_error;
        let horizons = if grows {
            passage.curve().horizons()
        } else {
            Horizons::all(0.0)
        };
        let when = if grows {
            passage.curve().time_to_failure()
        } else {
            None
        };
        let tight = grows && limit - used < p.tight_ratio * limit;
        let condition = condition_of_kills.or_else(|| {
            tight.then(|| Condition {
                failure_type: FailureType::HostMemory,
                severity: Severity::Degraded,
                evidence: evidence.clone(),
                advice: Some("raise the memory limit, or find what grows".into()),
            })
        });
        let basis = (trend.samples(), trend.span_secs());
        let prediction = seen.forecast(FailureType::HostMemory, horizons, when, evidence, basis);
        Assessment {
            prediction,
            condition,
        }
    }
}

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

impl HostMemory {
    fn kills(&mut self, seen: &Observation<'_>) -> Option<Condition> {
        let kills = seen
            .snapshot
            .process
            .cgroup_oom_kills_total
            .or(seen.snapshot.host.oom_kills_total)
            .if_fresh();
        if let (Some(now), Some(before)) = (kills, self.kills)
            && now > before
        {
            self.killed_secs_ago = Some(0.0);
        } else if let Some(secs) = &mut self.killed_secs_ago {
            *secs += seen.dt_secs;
        }
        self.kills = kills.or(self.kills);
        self.killed_secs_ago
            .filter(|secs| *secs < KILL_RECENT_SECS)
            .map(|secs| Condition {
                failure_type: FailureType::HostMemory,
                severity: Severity::Degraded,
                evidence: vec![Evidence::number(
                    Source::Host,
                    "the kernel ended a process for lack of memory",
                    secs,
                    "s ago",
                )],
                advice: Some("raise the memory limit, or lower what the server keeps on the host".into()),
            })
    }
}
