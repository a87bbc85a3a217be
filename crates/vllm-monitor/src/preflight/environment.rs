//! Variables of the environment that change what the server or the monitor does.

use super::{Facts, Finding};

/// Every variable that vLLM 0.32 reads.
const KNOWN: &str = include_str!("../../data/environment-0.32.txt");

/// Names of the monitor's own, which vLLM does not know and warns about.
const OURS: &[&str] = &["VLLM_ENABLE_MONITORING", "VLLM_MONITOR_"];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(environment) = &facts.environment else {
        return vec![Finding::unknown("environment", "the environment was not checked")];
    };
    let value = |name: &str| {
        environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    };
    let is_on = |name: &str| value(name).is_some_and(|v| matches!(v, "1" | "true" | "True" | "TRUE"));
    let mut findings = Vec::new();
    let mut advise = |what: String, way_out: &str| {
        findings.push(Finding::advice("environment", what).way_out(way_out));
    };
    if is_on("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH") {
        advise(
            "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH is set: a dead engine never ends the process".into(),
            "unset it unless something watches for 503",
        );
    }
    if let Some(secs) = value("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS").and_then(|v| v.parse::<f64>().ok())
        && secs > 600.0
    {
        advise(
            format!("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS is {secs}: vLLM itself notices a hang that late"),
            "leave it at 300 or below",
        );
    }
    if let Some(secs) = value("VLLM_ENGINE_READY_TIMEOUT_S").and_then(|v| v.parse::<f64>().ok())
        && secs < 120.0
    {
        advise(
            format!("VLLM_ENGINE_READY_TIMEOUT_S is {secs}: large models load for longer"),
            "leave it at 600 or above what earlier starts took",
        );
    }
    if is_on("VLLM_SERVER_DEV_MODE") {
        advise(
            "VLLM_SERVER_DEV_MODE is set: control routes are open and not guarded by the API key".into(),
            "unset it, or bind to 127.0.0.1",
        );
    }
    if is_on("CUDA_LAUNCH_BLOCKING") {
        advise(
            "CUDA_LAUNCH_BLOCKING is set: every kernel waits for the one before".into(),
            "unset it",
        );
    }
    if let Some(plugins) = value("VLLM_PLUGINS") {
        findings.push(Finding::pass(
            "environment",
            format!("VLLM_PLUGINS allows only {plugins}"),
        ));
    }
    // The table is that of one release; of others it would call new variables unknown.
    if facts
        .vllm_version
        .as_deref()
        .is_some_and(|version| version.starts_with("0.32"))
    {
        for (name, _) in environment.iter().filter(|(name, _)| name.starts_with("VLLM_")) {
            let is_ours = OURS.iter().any(|ours| name.starts_with(ours));
            if !is_ours && !KNOWN.lines().any(|known| known == name) {
                findings.push(
                    Finding::advice("environment", format!("{name} is not read by vLLM 0.32"))
                        .way_out("check the spelling"),
                );
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::pass(
            "environment",
            "nothing that changes how the server behaves",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<Finding> {
        let environment = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        check(&Facts {
            environment: Some(environment),
            vllm_version: Some("0.32.0".into()),
            ..Facts::default()
        })
    }

    #[test]
    fn what_matters_is_named() {
        for (name, value) in [
            ("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "1"),
            ("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "3600"),
            ("VLLM_SERVER_DEV_MODE", "1"),
            ("VLLM_LOGING_LEVEL", "DEBUG"),
        ] {
            let findings = found(&[(name, value)]);
            assert!(
                findings
                    .iter()
                    .any(|f| f.outcome == Outcome::Fail && f.what.contains(name)),
                "{name}"
            );
        }
        for (name, value) in [
            ("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "0"),
            ("VLLM_LOGGING_LEVEL", "DEBUG"),
            ("VLLM_MONITOR_PREDICTIVE", "true"),
            ("HOME", "/root"),
        ] {
            assert!(
                found(&[(name, value)]).iter().all(|f| f.outcome == Outcome::Pass),
                "{name}"
            );
        }
    }
}
