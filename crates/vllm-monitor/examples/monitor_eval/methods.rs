//! The monitor and the baselines, each as "given snapshots, say probabilities and whether an alarm stands".

use std::collections::VecDeque;

use vllm_monitor::config::Settings;
use vllm_monitor::policy::THRESHOLDS;
use vllm_monitor::predict::calibrate::Tables;
use vllm_monitor::{AlertKind, FailureType, Monitor, Snapshot, State};

pub trait Method {
    fn see(&mut self, snapshot: &Snapshot) -> Option<([f64; 4], bool)>;
}

/// The monitor itself.
pub struct Ours {
    monitor: Monitor,
    state: State,
    failure_type: FailureType,
}

impl Ours {
    pub fn new(settings: Settings, tables: Option<Tables>, failure_type: FailureType) -> Self {
        let monitor = Monitor::new(settings);
        let monitor = match tables {
            Some(tables) => monitor.with_tables(tables),
            None => monitor,
        };
        assert!(THRESHOLDS.iter().any(|(known, _)| *known == failure_type));
        Self {
            monitor,
            state: State::default(),
            failure_type,
        }
    }
}

impl Method for Ours {
    fn see(&mut self, snapshot: &Snapshot) -> Option<([f64; 4], bool)> {
        self.monitor.step(&mut self.state, snapshot);
        let target = self.state.target(&snapshot.target)?;
        let (_, assessment) = target
            .assessments()
            .iter()
            .find(|(known, _)| *known == self.failure_type)?;
        let forecast = assessment.prediction.forecast()?;
        let alarm = target
            .firing_alerts()
            .contains(&(self.failure_type, AlertKind::Predicted));
        Some((forecast.probability.as_array(), alarm))
    }
}

/// The saturation rule of the Kubernetes inference gateway: at least 5 waiting, or 80 % of the KV cache in use.
pub struct Static;

impl Method for Static {
    fn see(&mut self, snapshot: &Snapshot) -> Option<([f64; 4], bool)> {
        let (waiting, usage) = (
            snapshot.engine.waiting.if_fresh()?,
            snapshot.engine.kv_usage_ratio.if_fresh()?,
        );
        let alarm = waiting >= 5.0 || usage >= 0.8;
        Some(([f64::from(u8::from(alarm)); 4], alarm))
    }
}

/// A straight line through the last minute that crosses the barrier within the horizon, and the level already beyond a
/// threshold: the form of the node alerts of Prometheus' own rules.
pub struct PredictLinear {
    pub kv: bool,
    window: VecDeque<f64>,
    stands_secs: u32,
}

impl PredictLinear {
    pub fn new(kv: bool) -> Self {
        Self {
            kv,
            window: VecDeque::new(),
            stands_secs: 0,
        }
    }
}

impl Method for PredictLinear {
    fn see(&mut self, snapshot: &Snapshot) -> Option<([f64; 4], bool)> {
        let engine = &snapshot.engine;
        let (level, barrier, threshold) = if self.kv {
            (engine.kv_usage_ratio.if_fresh()?, 1.0, 0.6)
        } else {
            let barrier = match engine.max_queued.last() {
                Some(limit) => limit - engine.running.last()?,
                None => 20.0,
            };
            (engine.waiting.if_fresh()?, barrier, 2.0)
        };
        self.window.push_back(level);
        if self.window.len() > 60 {
            self.window.pop_front();
        }
        let n = self.window.len() as f64;
        if n < 10.0 {
            return Some(([0.0; 4], false));
        }
        let mean_t = (n - 1.0) / 2.0;
        let mean = self.window.iter().sum::<f64>() / n;
        let (mut tx, mut tt) = (0.0, 0.0);
        for (t, x) in self.window.iter().enumerate() {
            tx += (t as f64 - mean_t) * (x - mean);
            tt += (t as f64 - mean_t).powi(2);
        }
        let slope = tx / tt;
        let says = |secs: f64| {
            f64::from(u8::from(
                level > threshold && mean + slope * (n - 1.0 - mean_t + secs) >= barrier,
            ))
        };
        let p = [says(5.0), says(30.0), says(60.0), says(300.0)];
        self.stands_secs = if p[2] > 0.0 { self.stands_secs + 1 } else { 0 };
        Some((p, self.stands_secs >= 3))
    }
}

/// Three standard deviations from an exponentially weighted mean of a minute.
pub struct ThreeSigma {
    pub kv: bool,
    mean: Option<f64>,
    variance: f64,
}

impl ThreeSigma {
    pub fn new(kv: bool) -> Self {
        Self {
            kv,
            mean: None,
            variance: 0.0,
        }
    }
}

impl Method for ThreeSigma {
    fn see(&mut self, snapshot: &Snapshot) -> Option<([f64; 4], bool)> {
        let engine = &snapshot.engine;
        let level = if self.kv {
            engine.kv_usage_ratio.if_fresh()?
        } else {
            engine.waiting.if_fresh()?
        };
        let mean = *self.mean.get_or_insert(level);
        let alarm = level - mean > 3.0 * self.variance.sqrt().max(1e-3);
        let weight = 1.0 / 60.0;
        self.mean = Some(mean + weight * (level - mean));
        self.variance += weight * ((level - mean).powi(2) - self.variance);
        Some(([f64::from(u8::from(alarm)); 4], alarm))
    }
}
