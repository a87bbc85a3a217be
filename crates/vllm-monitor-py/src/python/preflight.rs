//! The pre-startup checks.

use std::collections::HashMap;
use std::path::Path;

use pyo3::prelude::*;
use vllm_monitor::preflight::{Facts, run, verdict};
use vllm_monitor::shell::facts::{PlannedServer, gather};

/// Runs every check for a server that would be started with `model` and `arguments` in `environment`. Returns the
/// findings as JSON, each finding as text, and the exit status: 0 start, 1 do not start, 2 some checks are unknown.
#[pyfunction]
#[pyo3(signature = (vllm_version, model, arguments, environment))]
pub(super) fn preflight(
    py: Python<'_>,
    vllm_version: Option<String>,
    model: Option<String>,
    arguments: Vec<String>,
    environment: HashMap<String, String>,
) -> PyResult<(String, Vec<String>, u8)> {
    py.detach(|| {
        let server = PlannedServer {
            vllm_version,
            arguments,
            model,
            environment,
            ..PlannedServer::default()
        };
        let facts = Facts {
            // A machine without the driver's folder has no GPU that CUDA could use; with it, GPUs are not read here.
            gpus: (!Path::new("/proc/driver/nvidia").exists()).then(Vec::new),
            ..gather(&server)
        };
        let findings = run(&facts);
        let json = serde_json::to_string(&findings)
            .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
        let texts = findings.iter().map(ToString::to_string).collect();
        Ok((json, texts, verdict(&findings).exit_status()))
    })
}
