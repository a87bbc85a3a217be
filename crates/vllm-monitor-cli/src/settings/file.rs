//! The settings file as it is written: TOML, or JSON if its name ends in `.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The program's own keys of a file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FileSettings {
    pub(super) interval_secs: Option<f64>,
    pub(super) state_file: Option<String>,
    pub(super) save_interval_secs: Option<f64>,
    pub(super) log_file: Option<String>,
    pub(super) log_patterns: Option<PathBuf>,
    pub(super) plugin_folder: Option<String>,
    pub(super) serve: ServeTable,
    pub(super) alerts: AlertTable,
    pub(super) acting: ActingTable,
    pub(super) target: Vec<TargetTable>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServeTable {
    pub(super) listen: Option<String>,
    pub(super) allow_hosts: Vec<String>,
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertTable {
    pub(super) webhooks: Vec<String>,
    pub(super) alertmanagers: Vec<String>,
}

/// One target of a file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TargetTable {
    pub(super) name: Option<String>,
    pub(super) url: String,
    pub(super) pid: Option<u32>,
    pub(super) log: Option<PathBuf>,
    pub(super) model: Option<String>,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) canary_secs: Option<f64>,
    pub(super) gpus: Option<bool>,
    pub(super) act: Option<bool>,
    pub(super) kind: Option<String>,
    pub(super) lever_token_file: Option<PathBuf>,
    pub(super) restart_command: Vec<String>,
    pub(super) restart_owner: Option<String>,
    pub(super) confirmed: Vec<String>,
}

/// What may be done to targets.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ActingTable {
    pub(super) allow: Vec<String>,
    pub(super) folder: Option<PathBuf>,
    pub(super) audit_file: Option<PathBuf>,
    pub(super) lease_folder: Option<PathBuf>,
    pub(super) kill_switch_file: Option<PathBuf>,
    pub(super) lever_token_file: Option<PathBuf>,
    pub(super) holder: Option<String>,
    pub(super) arms_file: Option<PathBuf>,
    pub(super) limits: Map<String, Value>,
    pub(super) hooks: BTreeMap<String, HookTable>,
}

/// One way to call something of the user's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum HookTable {
    /// A URL.
    Webhook {
        url: String,
        token_file: Option<PathBuf>,
    },
    /// A program with its arguments.
    Command {
        command: Vec<String>,
        #[serde(default = "half_a_minute")]
        limit_secs: f64,
    },
    /// The replica count of a Kubernetes workload.
    Kubernetes {
        api: String,
        token_file: Option<PathBuf>,
        #[serde(default = "deployments")]
        resource: String,
        namespace: String,
        name: String,
        least: u64,
        most: u64,
    },
}

fn half_a_minute() -> f64 {
    30.0
}

fn deployments() -> String {
    "deployments".to_owned()
}

/// Keys that are the program's; the others are the core's.
const OURS: &[&str] = &[
    "interval_secs",
    "state_file",
    "save_interval_secs",
    "log_file",
    "log_patterns",
    "plugin_folder",
    "serve",
    "alerts",
    "acting",
    "target",
];

/// Splits a file into the program's keys and the text of the rest, for the core.
///
/// # Errors
/// What is wrong, naming the key.
pub(super) fn split(path: &Path, text: &str) -> Result<(FileSettings, String), String> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let root: Value = if is_json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        toml::from_str(text).map_err(|e| e.to_string())?
    };
    let Value::Object(root) = root else {
        return Err("not a table of keys and values".to_owned());
    };
    let (ours, rest): (Map<String, Value>, Map<String, Value>) = root
        .into_iter()
        .partition(|(key, _)| OURS.contains(&key.as_str()));
    let settings = serde_json::from_value(Value::Object(ours)).map_err(|e| e.to_string())?;
    let rest = if is_json {
        serde_json::to_string(&rest).map_err(|e| e.to_string())?
    } else {
        toml::to_string(&rest).map_err(|e| e.to_string())?
    };
    Ok((settings, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_split_between_program_and_core() {
        let text = "enable_learning = false\ninterval_secs = 2\n[[target]]\nurl = \"http://a\"\n[parameters.hang]\nfloor_secs = 20";
        let (ours, rest) = split(Path::new("m.toml"), text).expect("well-formed");
        assert_eq!((ours.interval_secs, ours.target.len()), (Some(2.0), 1));
        assert!(rest.contains("enable_learning") && rest.contains("floor_secs") && !rest.contains("target"));
        let json = r#"{"enable_predictive": true, "serve": {"listen": "off"}}"#;
        let (ours, rest) = split(Path::new("m.json"), json).expect("well-formed");
        assert_eq!(
            (ours.serve.listen.as_deref(), rest.as_str()),
            (Some("off"), r#"{"enable_predictive":true}"#)
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (text, word) in [
            ("[serve]\nlissten = \"x\"", "lissten"),
            ("[[target]]\nuri = \"x\"", "uri"),
            ("interval_secs = \"x\"", "f64"),
        ] {
            let problem = split(Path::new("m.toml"), text).expect_err("refused");
            assert!(problem.contains(word), "{problem}");
        }
    }
}
