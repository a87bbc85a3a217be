//! The manifest as JSON text: what every format keeps beside its rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use run_model::Manifest;

/// Key under which the manifest's JSON text stands in a file's own metadata.
pub(crate) const MANIFEST_KEY: &str = "vllm_metrics.manifest";
/// Key of the table's name: `samples`, `requests`, `batches` or `events`.
pub(crate) const TABLE_KEY: &str = "vllm_metrics.table";
/// Key of the number of the part (from 0) whose rows a live or part file holds; absent in a finished file.
pub(crate) const PART_KEY: &str = "vllm_metrics.part";
/// Key of the first part that retention has left.
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
