//! Hardware: XID errors by catalogue, and precursors as risk.
//!
//! GPUs fail rarely and mostly without warning, so a forecast is a base rate, multiplied while there are precursors with
//! a physical cause: frequent corrected memory errors, a pending row remap, link retransmissions. It stays small by
//! design. An error that already happened is a condition, with the action from the catalogue.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vllm_metrics::gpu::xid::{self, XidAction};

use super::{Observation, Predictor};
use crate::config::HardwareParameters;
use crate::forecast::{
    Assessment, Condition, FailureType, HORIZONS_SECS, Horizons, Prediction, Severity, TimeToFailure,
};
use crate::numeric::ewma::Ewma;
use crate::snapshot::Gpu;
use crate::{Evidence, Signal, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Bursts of XID errors by GPU, so that a restart of the monitor does not forget a bad GPU.
    bursts: Vec<(Arc<str>, Bursts)>,
    #[serde(skip)]
    gpus: Vec<GpuMemory>,
    #[serde(skip)]
    observed_secs: f64,
    #[serde(skip)]
    samples: u64,
}

/// Bursts of one GPU within about a day of observed time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bursts {
    code: u64,
    count: f64,
    /// Observed seconds since the newest event.
    quiet_secs: f64,
}

const DAY_SECS: f64 = 86_400.0;
/// Bursts of these codes tend to go on for hours.
const STICKY_SECS: f64 = 3.0 * 3600.0;

#[derive(Debug, Clone, PartialEq)]
struct GpuMemory {
    index: Arc<str>,
    xids: Vec<(u64, f64)>,
    /// The newest XID that matters, and how long ago.
    latest: Option<(u64, f64)>,
    ecc: Counter,
    uncorrected: Counter,
    links: Counter,
    throttle: Counter,
}

/// A counter's rate per second.
#[derive(Debug, Clone, PartialEq)]
struct Counter {
    last: Option<f64>,
    since_secs: f64,
    rate: Ewma,
}

impl Counter {
    fn new(tau_secs: f64) -> Self {
        Self {
            last: None,
            since_secs: 0.0,
            rate: Ewma::new(tau_secs),
        }
    }

    fn add(&mut self, total: Signal<f64>, dt_secs: f64) {
        self.since_secs += dt_secs;
        let Some(total) = total.if_fresh() else { return };
        if let Some(last) = self.last {
            // Readings may be slower than snapshots: an unchanged one is a rate of 0 for now.
            if self.since_secs > 0.0 {
                self.rate
                    .add((total - last).max(0.0) / self.since_secs, self.since_secs);
                self.since_secs = 0.0;
            }
        } else {
            self.since_secs = 0.0;
        }
        self.last = Some(total);
    }

    fn per_sec(&self) -> f64 {
        // An early mean rests on few samples, so it is shrunk towards 0.
        self.rate.mean().unwrap_or(0.0) * self.rate.weight().min(1.0).sqrt()
    }
}

impl Predictor for Hardware {
    fn failure_type(&self) -> FailureType {
        FailureType::Hardware
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if seen.snapshot.gpus.is_empty() {
            return Prediction::needs_signal("GPU readings").into();
        }
        self.observed_secs += seen.dt_secs;
        self.samples += 1;
        let p = &seen.parameters.hardware;
        for (_, bursts) in &mut self.bursts {
            bursts.quiet_secs += seen.dt_secs;
            bursts.count *= (-seen.dt_secs / DAY_SECS).exp();
        }
        let mut worst: Option<Condition> = None;
        let mut hazard_per_sec = 0.0;
        let mut signs = Vec::new();
        for gpu in &seen.snapshot.gpus {
            let place = self.place(gpu, p);
            self.note_xids(place, gpu, seen.dt_secs, p);
            let memory = &mut self.gpus[place];
            memory.ecc.add(gpu.ecc_corrected_total, seen.dt_secs);
            memory.uncorrected.add(gpu.ecc_uncorrected_total, seen.dt_secs);
            memory.links.add(
                gpu.nvlink_errors_total + gpu.pcie_replays_total.or(Signal::fresh(0.0, 0.0)),
                seen.dt_secs,
            );
            memory.throttle.add(
                gpu.thermal_throttle_secs_total + gpu.power_brake_secs_total.or(Signal::fresh(0.0, 0.0)),
                seen.dt_secs,
            );
            let base = 1.0 / (p.mean_hours_between_failures * 3600.0);
            hazard_per_sec += base * memory.factor(gpu, p, &mut signs);
            if let Some(condition) = self.condition(place, gpu, p)
                && worst
                    .as_ref()
                    .is_none_or(|known| condition.severity > known.severity)
            {
                worst = Some(condition);
            }
        }
        let failed = worst.as_ref().is_some_and(|c| c.severity == Severity::Failed);
        let probability = if failed {
            Horizons::all(0.99)
        } else {
            Horizons::new(HORIZONS_SECS.map(|secs| 1.0 - (-hazard_per_sec * secs).exp()))
        };
        let when = failed.then_some(TimeToFailure {
            p10_secs: 0.0,
            p50_secs: 0.0,
            p90_secs: Some(0.0),
        });
        let mut evidence = vec![Evidence::number(
            Source::Model,
            "base rate",
            1.0 / p.mean_hours_between_failures,
            "failures/h per GPU",
        )];
        evidence.append(&mut signs);
        let prediction = seen.forecast(
            FailureType::Hardware,
            probability,
            when,
            evidence,
            (self.samples, self.observed_secs),
        );
        Assessment {
            prediction,
            condition: worst,
        }
    }
}

impl GpuMemory {
    /// Factor on the base rate.
    fn factor(&self, gpu: &Gpu, p: &HardwareParameters, signs: &mut Vec<Evidence>) -> f64 {
        let mut factor: f64 = 1.0;
        let mut sign = |what: &'static str, value: f64, unit: &'static str, by: f64| {
            signs.push(Evidence::number(Source::Gpu, what, value, unit));
            factor = factor.max(by);
        };
        let ecc_per_hour = self.ecc.per_sec() * 3600.0;
        if ecc_per_hour > p.ecc_per_hour {
            sign("corrected memory errors", ecc_per_hour, "/h", p.ecc_factor);
        }
        if gpu.remap_pending.if_fresh().is_some_and(|pending| pending > 0.0) {
            sign("row remap waits for a reset", 1.0, "", p.remap_factor);
        }
        let links_per_minute = self.links.per_sec() * 60.0;
        if links_per_minute > p.link_errors_per_minute {
            sign(
                "transfers repeated by links",
                links_per_minute,
                "/min",
                p.link_factor,
            );
        }
        if self
            .latest
            .is_some_and(|(code, _)| xid::look_up(code).action == XidAction::Risk)
        {
            sign("XID 92: corrected errors at a high rate", 1.0, "", p.ecc_factor);
        }
        factor
    }
}

impl Hardware {
    fn place(&mut self, gpu: &Gpu, p: &HardwareParameters) -> usize {
        self.gpus
            .iter()
            .position(|known| known.index == gpu.index)
            .unwrap_or_else(|| {
                self.gpus.push(GpuMemory {
                    index: Arc::clone(&gpu.index),
                    xids: Vec::new(),
                    latest: None,
                    ecc: Counter::new(p.rate_secs),
                    uncorrected: Counter::new(p.rate_secs),
                    links: Counter::new(p.rate_secs),
                    throttle: Counter::new(p.rate_secs),
                });
                self.gpus.len() - 1
            })
    }

    fn note_xids(&mut self, place: usize, gpu: &Gpu, dt_secs: f64, p: &HardwareParameters) {
        let memory = &mut self.gpus[place];
        if let Some((_, ago)) = &mut memory.latest {
            *ago += dt_secs;
        }
        for count in &gpu.xids {
            let known = memory.xids.iter_mut().find(|(code, _)| *code == count.code);
            // The series begins with the first event, so a code that was not there before is one too.
            let before = known.as_ref().map_or(0.0, |(_, total)| *total);
            if count.total <= before {
                continue;
            }
            match known {
                Some((_, total)) => *total = count.total,
                None => memory.xids.push((count.code, count.total)),
            }
            let entry = xid::look_up(count.code);
            if matches!(entry.action, XidAction::Ignore) {
                continue;
            }
            let graver = |code: u64| xid::look_up(code).severity();
            if memory
                .latest
                .is_none_or(|(code, ago)| ago > p.recent_secs || entry.severity() >= graver(code))
            {
                memory.latest = Some((count.code, 0.0));
            }
            let merge_secs = if entry.sticky { STICKY_SECS } else { p.burst_secs };
            match self.bursts.iter_mut().find(|(index, _)| *index == gpu.index) {
                Some((_, bursts)) => {
                    if bursts.code != count.code || bursts.quiet_secs > merge_secs {
                        bursts.count += 1.0;
                    }
                    (bursts.code, bursts.quiet_secs) = (count.code, 0.0);
                }
                None => {
                    let first = Bursts {
                        code: count.code,
                        count: 1.0,
                        quiet_secs: 0.0,
                    };
                    self.bursts.push((Arc::clone(&gpu.index), first));
                }
            }
        }
    }

    fn condition(&self, place: usize, gpu: &Gpu, p: &HardwareParameters) -> Option<Condition> {
        let memory = &self.gpus[place];
        let named = |text: String| Evidence::text(Source::Gpu, format!("GPU {}: {text}", gpu.index));
        let condition = |severity, evidence: Vec<Evidence>, advice: String| Condition {
            failure_type: FailureType::Hardware,
            severity,
            evidence,
            advice: Some(advice.into()),
        };
        if gpu.lost {
            let evidence = vec![named("the driver no longer finds it".to_owned())];
            return Some(condition(
                Severity::Failed,
                evidence,
                "reboot the host; a person has to look".to_owned(),
            ));
        }
        let recovery = gpu.recovery_action.if_fresh().unwrap_or(0.0);
        let driver_asks = match recovery as u64 {
            1 => Some("reset the GPU"),
            2 => Some("reboot the host"),
            3 => Some("drain traffic between GPUs"),
            4 => Some("drain the GPU and reset it"),
            _ => None,
        };
        if let Some((code, ago)) = memory.latest.filter(|(_, ago)| *ago < p.recent_secs) {
            let entry = xid::look_up(code);
            let mut evidence = vec![
                named(format!("XID {code}, {}", entry.meaning)),
                Evidence::number(Source::Gpu, "seen", ago, "s ago"),
            ];
            let bursts = self
                .bursts
                .iter()
                .find(|(index, _)| *index == gpu.index)
                .map_or(0.0, |(_, b)| b.count);
            let mut advice = action_words(entry.action, driver_asks);
            if bursts >= p.bursts_for_human - 0.5 {
                evidence.push(Evidence::number(
                    Source::Gpu,
                    "bursts within a day",
                    bursts.round(),
                    "",
                ));
                advice = "the GPU fails again and again: a person has to look".to_owned();
            } else if bursts > 1.5 && entry.action == XidAction::RestartEngine {
                evidence.push(Evidence::number(
                    Source::Gpu,
                    "bursts within a day",
                    bursts.round(),
                    "",
                ));
                advice =
                    "it came back after a restart would have helped: drain the GPU and reset it".to_owned();
            }
            let severity = match entry.action {
                XidAction::Record | XidAction::Risk => None,
                XidAction::RebootHost => Some(Severity::Failed),
                // Whether the engine survived shows in its own signs.
                _ => Some(Severity::Degraded),
            };
            if let Some(severity) = severity {
                return Some(condition(severity, evidence, advice));
            }
        }
        if let Some(asks) = driver_asks {
            let evidence = vec![named(format!("the driver asks to {asks}"))];
            return Some(condition(
                Severity::Degraded,
                evidence,
                format!("{asks} when it is next free"),
            ));
        }
        if gpu.remap_failed.if_fresh().is_some_and(|failed| failed > 0.0) {
            let evidence = vec![named("a row remap failed".to_owned())];
            return Some(condition(
                Severity::Degraded,
                evidence,
                "drain the GPU, reset and inspect it".to_owned(),
            ));
        }
        if memory
            .uncorrected
            .rate
            .mean()
            .is_some_and(|rate| rate * p.rate_secs > 0.1)
        {
            let evidence = vec![named("memory errors that could not be corrected".to_owned())];
            return Some(condition(
                Severity::Degraded,
                evidence,
                "drain the GPU and reset it".to_owned(),
            ));
        }
        let throttled = memory.throttle.per_sec();
        if throttled > p.throttle_ratio {
            let evidence = vec![
                named("slowed down for heat or power".to_owned()),
                Evidence::number(Source::Gpu, "share of time", throttled.min(1.0), ""),
            ];
            return Some(condition(
                Severity::Degraded,
                evidence,
                "check cooling and power".to_owned(),
            ));
        }
        None
    }
}

fn action_words(action: XidAction, driver_asks: Option<&str>) -> String {
    match action {
        XidAction::Ignore | XidAction::Record | XidAction::Risk => "keep it in the record".to_owned(),
        XidAction::RestartEngine => "restart the engine".to_owned(),
        XidAction::ResetAtNextWindow => "reset the GPU when it is next free".to_owned(),
        XidAction::DrainAndResetGpu => "drain the GPU and reset it".to_owned(),
        XidAction::RebootHost => "reboot the host; a person has to look".to_owned(),
        XidAction::FollowRecoveryAction => driver_asks
            .unwrap_or("do what gpu_recovery_action says")
            .to_owned(),
        XidAction::DecodeSubcode => "decode the sub-code in the kernel's log".to_owned(),
        _ => "a person has to look".to_owned(),
    }
}
