//! `Detector`: forecasts from numbers that the caller has, one checkpoint after the other.

use std::sync::Mutex;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use vllm_monitor::{Monitor, SnapshotBuilder, StaleAfter, State, Time};

use super::{Pairs, settings};
use crate::status::PredictionStatus;

const TARGET: &str = "checkpoints";

/// Feeds checkpoints to a monitor of its own.
#[pyclass(frozen, module = "vllm_monitor._native")]
pub(super) struct Detector {
    monitor: Monitor,
    inside: Mutex<(State, SnapshotBuilder)>,
}

#[pymethods]
impl Detector {
    /// `environment` and `flags` as for `EngineWatch`.
    #[new]
    fn new(environment: Pairs, flags: Pairs) -> PyResult<Self> {
        Ok(Self {
            monitor: Monitor::new(settings(environment, flags)?),
            inside: Mutex::new((
                State::default(),
                SnapshotBuilder::new(TARGET, StaleAfter::default()),
            )),
        })
    }

    /// Takes the values of one moment: names of vLLM's metrics and their values, and seconds since the Unix epoch.
    /// Moments must come in order. Returns what each predictor says as JSON, and the names that mean nothing.
    fn analyze(&self, at_secs: f64, values: Vec<(String, f64)>) -> PyResult<(String, Vec<String>)> {
        let mut inside = self
            .inside
            .lock()
            .map_err(|_| PyRuntimeError::new_err("an earlier call failed inside; make a new detector"))?;
        let (state, builder) = &mut *inside;
        let at = Time::from_secs_f64(at_secs);
        let mut unknown = Vec::new();
        for (name, value) in values {
            if !builder.sample(&name, &[], value, at) {
                unknown.push(name);
            }
        }
        builder.page_complete(at);
        let snapshot = builder.build(at);
        let _decisions = self.monitor.step(state, &snapshot);
        let predictions: Vec<PredictionStatus> = state
            .target(TARGET)
            .map(|target| {
                let each = target.assessments().iter();
                each.map(|(failure_type, assessment)| PredictionStatus::of(*failure_type, assessment))
                    .collect()
            })
            .unwrap_or_default();
        let json = serde_json::to_string(&predictions)
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok((json, unknown))
    }
}
