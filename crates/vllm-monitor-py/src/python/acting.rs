//! `Acts`: decides when strategies written in Python are called.

use monitor_acting::Time;
use monitor_acting::guard::{Limits, Mode};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use vllm_metrics::RunClock;

use super::engine::EngineWatch;
use super::{Pairs, settings};
use crate::acting::{Acts, ActsConfig};

fn now() -> Time {
    Time::from_millis(RunClock::start().now_ns().div_euclid(1_000_000))
}

fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// The acting core for strategies written in Python. Its calls may write to disk.
#[pyclass(frozen, name = "Acts", module = "vllm_monitor._native")]
pub(super) struct PyActs {
    acts: Acts,
}

#[pymethods]
impl PyActs {
    /// `environment` and `flags` as for `EngineWatch`; `allow` names the strategies that may be called.
    #[new]
    #[pyo3(signature = (target, environment, flags, allow, folder=None))]
    fn new(
        target: String,
        environment: Pairs,
        flags: Pairs,
        allow: Vec<String>,
        folder: Option<std::path::PathBuf>,
    ) -> PyResult<Self> {
        let features = settings(environment, flags)?.features;
        let limits = Limits {
            mode: if features.enable_auto_mitigation {
                Mode::Act
            } else {
                Mode::Observe
            },
            allow: allow.into_iter().map(Into::into).collect(),
            probability: features.mitigation_threshold,
            ..Limits::default()
        };
        let config = ActsConfig {
            target,
            limits,
            learning: features.enable_learning,
            folder,
        };
        let acts = Acts::new(config, now()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { acts })
    }

    /// Adds a strategy, described as an arm in JSON.
    fn register(&self, spec: &str) -> PyResult<()> {
        let spec = serde_json::from_str(spec).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.acts
            .register(spec)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Decides on the newest situation of a watch. Returns the calls to make as JSON.
    fn step(&self, py: Python<'_>, watch: &EngineWatch) -> PyResult<String> {
        let jobs = py.detach(|| {
            watch
                .situation()
                .map_or_else(Vec::new, |situation| self.acts.step(&situation))
        });
        json(&jobs)
    }

    /// How a call went: `None`, or what went wrong. Returns further calls as JSON.
    #[pyo3(signature = (ticket, error=None))]
    fn report(&self, py: Python<'_>, ticket: u64, error: Option<String>) -> PyResult<String> {
        let jobs = py.detach(|| self.acts.report(ticket, error.map_or(Ok(()), Err), now()));
        json(&jobs)
    }

    /// Recommended actions against a failure as JSON, best first.
    fn recommendations(&self, failure: &str, watch: &EngineWatch) -> PyResult<String> {
        json(&self.acts.recommendations(failure, watch.situation().as_ref()))
    }

    /// Failures of the newest situation, most probable first.
    fn failures(&self, watch: &EngineWatch) -> Vec<String> {
        let mut failures = watch
            .situation()
            .map_or_else(Vec::new, |situation| situation.failures);
        failures.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        failures
            .into_iter()
            .map(|failure| failure.kind.to_string())
            .collect()
    }

    /// What it does now, as JSON.
    fn status_json(&self) -> PyResult<String> {
        json(&self.acts.status())
    }

    /// Turns the kill switch on or off.
    fn set_kill_switch(&self, on: bool) {
        self.acts.set_kill_switch(on);
    }
}
