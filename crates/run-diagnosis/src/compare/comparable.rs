//! Whether two runs did the same work.

use std::collections::BTreeSet;

use run_statistics::{kolmogorov_smirnov, mean};
use serde::Serialize;

use crate::input::{RequestTimes, Run};

/// Length distributions differ if a Kolmogorov-Smirnov test finds it at this level and the means by this share.
const LENGTHS_P_VALUE: f64 = 0.01;
const LENGTHS_MEAN: f64 = 0.01;

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The runs are not comparable.
    Refuse,
    /// It may move the result; the runs are compared.
    Warn,
    /// It is not known for at least one run, so that it could not be checked.
    Unknown,
}

/// One thing in which two runs differ, or may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its name: `model`, `server_arguments.dtype`, `environment.driver`.
    pub what: String,
    /// The base's value.
    pub base: Option<String>,
    /// The other's value.
    pub other: Option<String>,
    /// What it means.
    pub severity: Severity,
}

/// Everything in which two runs differ. Names in `across` are allowed to.
pub(super) fn mismatches(base: &Run, other: &Run, across: &[String]) -> Vec<Mismatch> {
    let (a, b) = (&base.facts, &other.facts);
    let text = |value: Option<f64>| value.map(|value| value.to_string());
    let count = |value: Option<u32>| value.map(|value| value.to_string());
    let mut found = Vec::new();
    let mut refuse = |what: &str, base: Option<String>, other: Option<String>| {
        found.extend(mismatch(what, base, other, Severity::Refuse));
    };
    refuse("model", a.model.clone(), b.model.clone());
    if a.dataset_hash.is_none() && b.dataset_hash.is_none() && a.dataset != b.dataset {
        refuse("dataset", a.dataset.clone(), b.dataset.clone());
    }
    refuse("dataset_hash", a.dataset_hash.clone(), b.dataset_hash.clone());
    refuse(
        "scenario",
        Some(a.scenario.name().into()),
        Some(b.scenario.name().into()),
    );
    refuse(
        "simulated",
        Some(a.simulated.to_string()),
        Some(b.simulated.to_string()),
    );
    refuse("vllm_version", a.vllm_version.clone(), b.vllm_version.clone());
    refuse("gpu_name", a.gpu_name.clone(), b.gpu_name.clone());
    refuse("gpu_count", count(a.gpu_count), count(b.gpu_count));
    // Neither belongs to every scenario, so that absent on both sides is no gap.
    if a.target_qps.is_some() || b.target_qps.is_some() {
        refuse("target_qps", text(a.target_qps), text(b.target_qps));
    }
    if a.concurrency.is_some() || b.concurrency.is_some() {
        refuse("concurrency", count(a.concurrency), count(b.concurrency));
    }
    let names = |a: &std::collections::BTreeMap<String, String>,
                 b: &std::collections::BTreeMap<String, String>| {
        a.keys().chain(b.keys()).cloned().collect::<BTreeSet<String>>()
    };
    for name in names(&a.server_arguments, &b.server_arguments) {
        // An argument that is not written has its default, which is not the other's value.
        let written = |value: Option<&String>| Some(value.cloned().unwrap_or_else(|| "(not set)".to_owned()));
        let (base, other) = (a.server_arguments.get(&name), b.server_arguments.get(&name));
        refuse(&format!("server_arguments.{name}"), written(base), written(other));
    }
    found.extend(lengths("prompt_tokens", base, other, |request| {
        request.prompt_tokens
    }));
    found.extend(lengths("output_tokens", base, other, |request| {
        request.output_tokens
    }));
    for name in names(&a.environment, &b.environment) {
        let value = |map: &std::collections::BTreeMap<String, String>| map.get(&name).cloned();
        let what = format!("environment.{name}");
        found.extend(mismatch(
            &what,
            value(&a.environment),
            value(&b.environment),
            Severity::Warn,
        ));
    }
    found.extend(run_length(base, other));
    found.retain(|mismatch| !across.contains(&mismatch.what));
    found
}

fn mismatch(what: &str, base: Option<String>, other: Option<String>, severity: Severity) -> Option<Mismatch> {
    let severity = match (&base, &other) {
        (Some(base), Some(other)) if base == other => return None,
        (Some(_), Some(_)) => severity,
        _ => Severity::Unknown,
    };
    Some(Mismatch {
        what: what.to_owned(),
        base,
        other,
        severity,
    })
}

fn lengths(what: &str, base: &Run, other: &Run, of: fn(&RequestTimes) -> Option<u32>) -> Option<Mismatch> {
    let values = |run: &Run| {
        run.requests
            .iter()
            .filter_map(of)
            .map(f64::from)
            .collect::<Vec<f64>>()
    };
    let (a, b) = (values(base), values(other));
    let (Some(test), Some(mean_a), Some(mean_b)) = (kolmogorov_smirnov(&a, &b), mean(&a), mean(&b)) else {
        let known = |values: &[f64]| mean(values).map(|mean| format!("mean {mean:.1}"));
        return mismatch(what, known(&a), known(&b), Severity::Refuse);
    };
    let differ = test.p_value < LENGTHS_P_VALUE && (mean_b / mean_a - 1.0).abs() > LENGTHS_MEAN;
    differ.then(|| Mismatch {
        what: what.to_owned(),
        base: Some(format!("mean {mean_a:.1}")),
        other: Some(format!("mean {mean_b:.1}")),
        severity: Severity::Refuse,
    })
}

/// Runs of other length are compared, but said to be: one may have met something slow that the other was spared.
fn run_length(base: &Run, other: &Run) -> Option<Mismatch> {
    let (a, b) = (base.whole()?.secs(), other.whole()?.secs());
    let differ = (a / b).ln().abs() > 1.25_f64.ln();
    differ.then(|| Mismatch {
        what: "run_length".to_owned(),
        base: Some(crate::words::secs(a)),
        other: Some(crate::words::secs(b)),
        severity: Severity::Warn,
    })
}
