//! The manifest as JSON text, which every format stores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use run_model::Manifest;

/// Metadata key of the manifest's JSON text in a file.
#[cfg(any(feature = "parquet", feature = "sqlite"))]
pub(crate) const MANIFEST_KEY: &str = "vllm_metrics.manifest";
/// Key of the table's name: `samples`, `requests`, `batches` or `events`.
#[cfg(feature = "parquet")]
pub(crate) const TABLE_KEY: &str = "vllm_metrics.table";
/// Key of the part number (from 0) of a live or part file; absent in a finished file.
#[cfg(feature = "parquet")]
pub(crate) const PART_KEY: &str = "vllm_metrics.part";
/// Key of the first part kept by retention.
#[cfg(feature = "parquet")]
pub(crate) const FIRST_PART_KEY: &str = "vllm_metrics.first_part";

#[derive(Serialize, Deserialize)]
struct Text {
    stamp: String,
    started_ns: i64,
    ended_ns: Option<i64>,
    simulated: bool,
    #[serde(default)]
    facts: BTreeMap<String, String>,
}

/// One line of JSON.
pub(crate) fn to_json(manifest: &Manifest) -> String {
    let text = Text {
        stamp: manifest.stamp.clone(),
        started_ns: manifest.started_ns,
        ended_ns: manifest.ended_ns,
        simulated: manifest.simulated,
        facts: manifest.facts.clone(),
    };
    serde_json::to_string(&text).expect("a struct of strings and integers always serialises")
}

/// The inverse of [`to_json`].
pub(crate) fn from_json(json: &str) -> Result<Manifest, serde_json::Error> {
    let text: Text = serde_json::from_str(json)?;
    Ok(Manifest {
        stamp: text.stamp,
        started_ns: text.started_ns,
        ended_ns: text.ended_ns,
        simulated: text.simulated,
        facts: text.facts,
    })
}
