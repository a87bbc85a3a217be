//! Device memory taken by other processes.
//!
//! vLLM reserves its pool at start, so the memory in use is flat while it serves. What can be predicted is another
//! process that grows, from its slope and the free memory. A spike inside the engine (sampler, adapter, image) happens
//! within one step and has no lead time; the evidence states the free memory and the largest spike seen so far.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::passage::Passage;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::trend::Trend;
use crate::snapshot::Gpu;
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuMemory {
    /// By GPU: the largest rise and fall within the trend's time, in bytes.
    largest_spike_bytes: Vec<(Arc<str>, f64)>,
    #[serde(skip)]
    trends: Vec<(Arc<str>, Trend, f64)>,
}

impl Predictor for GpuMemory {
    fn failure_type(&self) -> FailureType {
        FailureType::GpuMemory
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.trends.clear();
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let mut worst: Option<(Passage, f64, f64, Arc<str>)> = None;
        let mut have_secs: f64 = 0.0;
        let mut any = false;
        for gpu in &seen.snapshot.gpus {
            let (Some(used), Some(total)) = (gpu.memory_used_bytes.if_fresh(), gpu.memory_total_bytes.last())
            else {
                continue;
            };
            any = true;
            let trend = self.trend(gpu, seen, used);
            have_secs = have_secs.max(trend.span_secs());
            let p = &seen.parameters.gpu_memory;
            let Some(line) = trend.line().filter(|_| trend.span_secs() >= p.min_observed_secs) else {
                continue;
            };
            let free = total - used;
            let passage = Passage {
                distance: free - p.reserve_bytes,
                drift: line.slope,
                variance_rate: line.variance_rate.max(1.0),
                drift_error: line.slope_error,
            };
            let is_worse = worst.as_ref().is_none_or(|(other, ..)| {
                passage.probability(300.0) > other.probability(300.0)
                    || (passage.probability(300.0) >= other.probability(300.0)
                        && passage.distance < other.distance)
            });
            if is_worse {
                worst = Some((passage, free, total, Arc::clone(&gpu.index)));
            }
        }
        let Some((passage, free, total, gpu)) = worst else {
            let want = seen.parameters.gpu_memory.min_observed_secs;
            return match any {
                true => Prediction::needs("seconds of samples", have_secs, want).into(),
                false => Prediction::needs_signal("GPU memory readings").into(),
            };
        };
        let mut evidence = vec![
            Evidence::text(Source::Gpu, format!("GPU {gpu}")),
            Evidence::number(Source::Gpu, "free", free / GIB, "GiB"),
            Evidence::number(Source::Gpu, "growth", passage.drift / MIB, "MiB/s"),
        ];
        if let Some((_, spike)) = self.largest_spike_bytes.iter().find(|(index, _)| *index == gpu) {
            evidence.push(Evidence::number(
                Source::Model,
                "largest spike seen",
                spike / GIB,
                "GiB",
            ));
        }
        let tight = free < seen.parameters.gpu_memory.tight_ratio * total;
        let condition = tight.then(|| Condition {
            failure_type: FailureType::GpuMemory,
            severity: Severity::Degraded,
            evidence: evidence.clone(),
            advice: Some("find the other process on this GPU; a spike of the engine would fail now".into()),
        });
        // Without a positive drift, noise alone must not accumulate to an alarm over five minutes.
        let horizons = if passage.drift <= 0.0 {
            Horizons::all(0.0)
        } else {
            passage.curve().horizons()
        };
        let when = if passage.drift > 0.0 {
            passage.curve().time_to_failure()
        } else {
            None
        };
        let samples = self.trends.first().map_or(0, |(_, trend, _)| trend.samples());
        let prediction = seen.forecast(
            FailureType::GpuMemory,
            horizons,
            when,
            evidence,
            (samples, have_secs),
        );
        Assessment {
            prediction,
            condition,
        }
    }
}

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

impl GpuMemory {
    fn trend(&mut self, gpu: &Gpu, seen: &Observation<'_>, used: f64) -> &Trend {
        let place = self
            .trends
            .iter()
            .position(|(index, ..)| *index == gpu.index)
            .unwrap_or_else(|| {
                let trend = Trend::new(seen.parameters.gpu_memory.trend_secs);
                self.trends.push((Arc::clone(&gpu.index), trend, 0.0));
                self.trends.len() - 1
            });
        let (index, trend, age) = &mut self.trends[place];
        *age += seen.dt_secs;
        let reading_age = gpu.memory_used_bytes.age_secs().unwrap_or(0.0);
        // The same reading in the next snapshot is no new sample.
        let is_new = trend.samples() == 0 || reading_age < *age;
        if is_new {
            if let Some(last) = trend.last() {
                let spike = used - last;
                let known = self
                    .largest_spike_bytes
                    .iter_mut()
                    .find(|(known, _)| known == index);
                match known {
                    Some((_, largest)) => *largest = largest.max(spike),
                    None => self.largest_spike_bytes.push((Arc::clone(index), spike.max(0.0))),
                }
            }
            trend.add(used, age.max(1e-3));
            *age = 0.0;
        }
        trend
    }
}
