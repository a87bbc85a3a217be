//! The recorder for Python: `vllm_metrics.Session` and the reading of records as Arrow tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use vllm_metrics::{Completed, EndpointConfig, Hooks, Outcome, Reason, Session, SessionConfig};

fn error(error: &vllm_metrics::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// A run being recorded.
#[pyclass(name = "Session", frozen, module = "vllm_monitor._native")]
pub(super) struct PySession {
    session: Mutex<Option<Session>>,
    hooks: Hooks,
}

#[pymethods]
impl PySession {
    /// Starts recording: `endpoints` every `interval` seconds into `output_dir`. `config` is a session's configuration
    /// as JSON; the other arguments win over it.
    #[new]
    #[pyo3(signature = (endpoints, interval, output_dir, facts, config=None))]
    fn new(
        py: Python<'_>,
        endpoints: Vec<String>,
        interval: Option<f64>,
        output_dir: Option<PathBuf>,
        facts: BTreeMap<String, String>,
        config: Option<String>,
    ) -> PyResult<Self> {
        let mut builder = Session::builder();
        if let Some(json) = config {
            builder = builder
                .config(SessionConfig::from_json(&json).map_err(|e| PyValueError::new_err(e.to_string()))?);
        }
        for url in endpoints {
            builder = builder.endpoint(EndpointConfig::new(url));
        }
        if let Some(secs) = interval {
            let interval = Duration::try_from_secs_f64(secs)
                .map_err(|e| PyValueError::new_err(format!("interval {secs} cannot be used: {e}")))?;
            builder = builder.interval(interval);
        }
        if let Some(folder) = output_dir {
            builder = builder.output_dir(folder);
        }
        for (key, value) in facts {
            builder = builder.fact(key, value);
        }
        let session = py.detach(|| builder.start()).map_err(|e| error(&e))?;
        let hooks = session.hooks();
        Ok(Self {
            session: Mutex::new(Some(session)),
            hooks,
        })
    }

    /// Scrapes every endpoint now; false if `limit` seconds passed first.
    fn scrape_now(&self, py: Python<'_>, limit: f64) -> PyResult<bool> {
        let limit = Duration::try_from_secs_f64(limit).map_err(|e| PyValueError::new_err(e.to_string()))?;
        py.detach(|| {
            let session = self
                .session
                .lock()
                .map_err(|_| PyRuntimeError::new_err("an earlier call failed inside"))?;
            let session = session.as_ref().ok_or_else(finished_already)?;
            Ok(session.scrape_now(limit))
        })
    }

    fn model_loaded(&self) {
        self.hooks.model_loaded();
    }

    fn phase(&self, name: &str) {
        self.hooks.phase(name);
    }

    fn test_completed(&self) {
        self.hooks.test_completed();
    }

    fn batch_issued(&self, batch_id: u64, requests: u32) {
        self.hooks.batch_issued(batch_id, requests);
    }

    fn batch_completed(&self, batch_id: u64) {
        self.hooks.batch_completed(batch_id);
    }

    #[pyo3(signature = (id, sample_index=0, batch_id=None))]
    fn request_issued(&self, id: u64, sample_index: u64, batch_id: Option<u64>) {
        self.hooks.request_issued(id, sample_index, batch_id, None);
    }

    fn request_sent(&self, id: u64) {
        self.hooks.request_sent(id);
    }

    fn first_token(&self, id: u64) {
        self.hooks.first_token(id);
    }

    /// `failed` is the reason of a failure; `None` is a full answer.
    #[pyo3(signature = (id, output_tokens=None, prompt_tokens=None, failed=None))]
    fn request_completed(
        &self,
        id: u64,
        output_tokens: Option<u32>,
        prompt_tokens: Option<u32>,
        failed: Option<&str>,
    ) {
        let how = match failed {
            None => Completed::tokens(0),
            Some(_) => Completed::failed(Reason::Other),
        };
        let how = Completed {
            output_tokens,
            prompt_tokens,
            ..how
        };
        debug_assert_eq!(how.outcome == Outcome::Completed, failed.is_none());
        if let Some(reason) = failed {
            self.hooks.request_reason(id, reason);
        }
        self.hooks.request_completed(id, how);
    }

    /// Hook calls that were dropped because they came faster than they could be taken in.
    fn dropped(&self) -> u64 {
        self.hooks.dropped()
    }

    /// Ends the run. Returns the paths by table, and what is missing in words.
    fn finish(&self, py: Python<'_>) -> PyResult<(BTreeMap<&'static str, PathBuf>, Vec<String>)> {
        py.detach(|| {
            let session = self
                .session
                .lock()
                .map_err(|_| PyRuntimeError::new_err("an earlier call failed inside"))?
                .take()
                .ok_or_else(finished_already)?;
            let run = session.finish().map_err(|e| error(&e))?;
            let mut paths = BTreeMap::from([("samples", run.samples_path.clone())]);
            for (name, path) in [
                ("requests", &run.requests_path),
                ("batches", &run.batches_path),
                ("events", &run.events_path),
                ("steps", &run.files.steps),
                ("engine_requests", &run.files.engine_requests),
                ("processed", &run.processed_path),
            ] {
                paths.extend(path.clone().map(|path| (name, path)));
            }
            Ok((paths, run.missing.notes.clone()))
        })
    }
}

fn finished_already() -> PyErr {
    PyRuntimeError::new_err("the session has been finished already")
}

/// One table of a record. Speaks the Arrow PyCapsule interface, so pyarrow, polars, pandas and DuckDB take it without a
/// copy.
#[pyclass(frozen, module = "vllm_monitor._native")]
pub(super) struct ArrowTable {
    batch: RecordBatch,
}

#[pymethods]
impl ArrowTable {
    /// A stream of one batch that shares this table's memory. Requested schemas are not converted to, which the
    /// interface allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let batches = RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema());
        let reader: Box<dyn RecordBatchReader + Send> = Box::new(batches);
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<ArrowTable of {} rows, columns {}>",
            self.batch.num_rows(),
            self.columns().join(", ")
        )
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        let schema = self.batch.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }
}

/// A record read back.
#[pyclass(frozen, module = "vllm_monitor._native")]
pub(super) struct Run {
    tables: Vec<(&'static str, RecordBatch)>,
    facts: BTreeMap<String, String>,
    stamp: String,
    simulated: bool,
    notes: Vec<String>,
}

#[pymethods]
impl Run {
    /// Reads the record that `path` belongs to: any of its files, or its folder.
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| {
            let run = vllm_metrics::read_run(&path).map_err(|e| error(&e))?;
            Ok(Self {
                tables: vllm_metrics::store::arrow::tables(&run).map_err(|e| error(&e))?,
                facts: run.manifest.facts,
                stamp: run.manifest.stamp,
                simulated: run.manifest.simulated,
                notes: run.notes,
            })
        })
    }

    /// Names of the tables.
    #[getter]
    fn tables(&self) -> Vec<&'static str> {
        self.tables.iter().map(|(name, _)| *name).collect()
    }

    /// A table by name.
    fn table(&self, name: &str) -> PyResult<ArrowTable> {
        let found = self.tables.iter().find(|(known, _)| *known == name);
        let (_, batch) = found.ok_or_else(|| {
            PyKeyError::new_err(format!(
                "there is no table {name}; there are {}",
                self.tables().join(", ")
            ))
        })?;
        Ok(ArrowTable { batch: batch.clone() })
    }

    /// Facts of the manifest.
    #[getter]
    fn facts(&self) -> BTreeMap<String, String> {
        self.facts.clone()
    }

    /// `YYYYMMDD_HHMMSS` (UTC) of the start.
    #[getter]
    fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The data come from a simulator.
    #[getter]
    fn simulated(&self) -> bool {
        self.simulated
    }

    /// What the reader has to say: the run was cut, a file is missing.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
