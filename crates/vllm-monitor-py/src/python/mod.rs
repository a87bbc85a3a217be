//! The Python module `vllm_monitor._native`. Everything here converts and forwards; nothing decides.
#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 converts an argument into a value that it hands over"
)]

mod acting;
mod detector;
mod engine;
mod preflight;
mod recorder;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use vllm_monitor::config::Settings;

/// Rust underneath `vllm_monitor` and `vllm_metrics`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<engine::EngineWatch>()?;
    module.add_class::<detector::Detector>()?;
    module.add_class::<acting::PyActs>()?;
    module.add_class::<recorder::PySession>()?;
    module.add_class::<recorder::Run>()?;
    module.add_class::<recorder::ArrowTable>()?;
    module.add_function(wrap_pyfunction!(engine::inject_panics, module)?)?;
    module.add_function(wrap_pyfunction!(preflight::preflight, module)?)?;
    Ok(())
}

/// Pairs of names and values, as Python's `dict.items()` gives them.
type Pairs = Vec<(String, String)>;

/// Settings from the environment's variables and the caller's keywords, which win.
fn settings(environment: Pairs, flags: Pairs) -> PyResult<Settings> {
    let mut builder = Settings::builder().environment(environment);
    for (key, value) in flags {
        builder = builder.flag(key, value);
    }
    builder
        .resolve()
        .map_err(|error| PyValueError::new_err(error.to_string()))
}
