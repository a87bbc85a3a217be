//! The system description and the measurements: from the environment record and from the user's files. A fact
//! that neither provides is an error; nothing is guessed.

use std::collections::BTreeMap;
use std::path::Path;

use mlperf_rules::Environment;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::marks::Mark;
use super::request::Request;
use super::runs::Run;
use crate::SubmissionError;

/// Keys of a system description that must not be empty.
const TOLD: [&str; 23] = [
    "status",
    "system_type",
    "number_of_nodes",
    "host_processor_model_name",
    "host_processors_per_node",
    "host_processor_core_count",
    "host_memory_capacity",
    "host_memory_configuration",
    "host_storage_capacity",
    "host_storage_type",
    "host_networking",
    "host_network_card_count",
    "host_networking_topology",
    "accelerators_per_node",
    "accelerator_model_name",
    "accelerator_memory_capacity",
    "accelerator_host_interconnect",
    "accelerator_memory_configuration",
    "accelerator_interconnect",
    "cooling",
    "framework",
    "operating_system",
    "other_software_stack",
];

/// Keys that must be present and may be empty.
const THERE: [&str; 10] = [
    "host_processor_frequency",
    "host_processor_caches",
    "host_processor_interconnect",
    "accelerator_frequency",
    "accelerator_interconnect_topology",
    "accelerator_on-chip_memories",
    "system_type_detail",
    "hw_notes",
    "sw_notes",
    "system_name",
];

/// Keys of the measurements, none of which may be empty.
const MEASUREMENTS: [&str; 5] = [
    "input_data_types",
    "retraining",
    "starting_weights_filename",
    "weight_data_types",
    "weight_transformations",
];

/// Values that the submission checker accepts.
const CHOICES: [(&str, &[&str]); 2] = [
    ("status", &["available", "preview", "rdi"]),
    (
        "system_type",
        &["datacenter", "edge", "datacenter,edge", "edge,datacenter"],
    ),
];

/// A file of facts, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    system: BTreeMap<String, Value>,
    #[serde(default)]
    measurements: BTreeMap<String, Value>,
}

/// The complete contents of both files.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// `systems/<system>.json`.
    pub(super) system: Map<String, Value>,
    /// `measurements.json` of every scenario, before its notes.
    pub(super) measurements: Map<String, Value>,
}

/// Collects the facts.
///
/// # Errors
/// [`SubmissionError`] names every fact that is missing or wrong.
pub(super) fn gather(request: &Request, runs: &[Run], marks: &[Mark]) -> Result<Facts, SubmissionError> {
    let mut written = Written::default();
    for path in &request.facts {
        let more = read(path)?;
        written.system.extend(more.system);
        written.measurements.extend(more.measurements);
    }
    for (key, what) in [("division", "--division"), ("submitter", "--submitter")] {
        if written.system.remove(key).is_some() {
            tracing::warn!("--facts: {key} is given by {what}, and was left out");
        }
    }
    let mut facts = known(runs);
    facts.extend(written.system);
    facts.insert("division".into(), request.division.as_str().into());
    facts.insert("submitter".into(), request.submitter.clone().into());
    facts
        .entry("system_name".into())
        .or_insert_with(|| request.system.clone().into());
    let mut wrong = missing("system", &facts, &TOLD);
    wrong.extend(missing("measurements", &written.measurements, &MEASUREMENTS));
    for (key, choices) in CHOICES {
        if let Some(given) = facts.get(key).and_then(Value::as_str)
            && !choices.contains(&given)
        {
            wrong.push(format!(
                "[system] {key} is {given:?}: one of {}",
                choices.join(" | ")
            ));
        }
    }
    if !wrong.is_empty() {
        return Err(SubmissionError::Facts { missing: wrong });
    }
    for key in THERE {
        facts.entry(key.into()).or_insert_with(|| "".into());
    }
    mark(&mut facts, marks);
    Ok(Facts {
        system: facts.into_iter().collect(),
        measurements: written.measurements.into_iter().collect(),
    })
}

fn missing(table: &str, facts: &BTreeMap<String, Value>, keys: &[&str]) -> Vec<String> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        // The checker treats a bare 0 as missing.
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    };
    keys.iter()
        .filter(|key| facts.get(**key).is_none_or(empty))
        .map(|key| match facts.get(*key) {
            Some(Value::Number(_)) => {
                format!(
                    "[{table}] {key} is 0, which the submission checker takes for nothing said: write \"0\""
                )
            }
            _ => format!("[{table}] {key}"),
        })
        .collect()
}

/// Facts from the environment records of the runs. A machine that the server did not run on contributes
/// nothing.
fn known(runs: &[Run]) -> BTreeMap<String, Value> {
    let mut facts = BTreeMap::new();
    let Some(run) = runs.first() else {
        return facts;
    };
    let mut tell = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.insert(key.to_owned(), Value::String(value));
        }
    };
    tell(
        "framework",
        run.record
            .server_version
            .as_ref()
            .map(|version| format!("vLLM {version}")),
    );
    let Some(Environment {
        processor,
        memory_bytes,
        operating_system,
        kernel,
        nvidia_driver,
        nvidia_gpus,
        processor_chips,
        cores_per_chip,
        loadgen_version,
        program,
        ..
    }) = &run.environment
    else {
        return facts;
    };
    let driver = nvidia_driver
        .as_ref()
        .map(|driver| format!(", NVIDIA driver {driver}"));
    if run.record.server_on_this_host {
        tell("host_processor_model_name", processor.clone());
        tell(
            "host_processors_per_node",
            processor_chips.map(|chips| chips.to_string()),
        );
        tell(
            "host_processor_core_count",
            cores_per_chip.map(|cores| cores.to_string()),
        );
        // Only the user knows how many GPUs served; their model is known if all are the same.
        if let Some(model) = nvidia_gpus.first()
            && nvidia_gpus.iter().all(|other| other == model)
        {
            tell("accelerator_model_name", Some(model.clone()));
        }
        tell(
            "host_memory_capacity",
            memory_bytes.map(|bytes| format!("{:.0} GiB", bytes as f64 / (1u64 << 30) as f64)),
        );
        let kernel = kernel
            .as_ref()
            .map(|kernel| format!(" (Linux {kernel})"))
            .unwrap_or_default();
        tell(
            "operating_system",
            operating_system
                .as_ref()
                .map(|system| format!("{system}{kernel}")),
        );
        tell(
            "other_software_stack",
            Some(format!(
                "{program}, LoadGen {loadgen_version}{}",
                driver.unwrap_or_default()
            )),
        );
    }
    facts
}

/// States in the system's name and in both notes what a reader must know about the data.
fn mark(facts: &mut BTreeMap<String, Value>, marks: &[Mark]) {
    let text = |facts: &BTreeMap<String, Value>, key: &str| -> String {
        facts
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut name = text(facts, "system_name");
    for mark in marks
        .iter()
        .filter(|mark| !name.contains(mark.word))
        .collect::<Vec<_>>()
    {
        name.push_str(&format!(" ({})", mark.word));
    }
    facts.insert("system_name".into(), name.into());
    for key in ["hw_notes", "sw_notes"] {
        let notes = text(facts, key);
        let sentences: Vec<String> = marks.iter().map(Mark::line).collect();
        let marked = format!("{} {notes}", sentences.join(" "));
        facts.insert(key.into(), marked.trim().to_owned().into());
    }
}

fn read(path: &Path) -> Result<Written, SubmissionError> {
    let wrong = |problem: String| SubmissionError::Input {
        what: format!("--facts {}", path.display()),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let system: BTreeMap<String, Value> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        return Ok(Written {
            system,
            ..Written::default()
        });
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string()))
}
