//! From layers of raw values to [`Settings`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Features, KEYS, Parameters, Provenance, Settings};
use crate::error::{Error, Result};

const DEFAULTS: &str = include_str!("../../../../configs/monitor/parameters.toml");

/// What a feature's value looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`; in the environment also `1` and `0`.
    Switch,
    /// A number from 0 to 1.
    Ratio,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Features: key, other spellings, kind, default.
pub const FEATURES: &[(&str, &[&str], Kind, &str)] = &[
    ("enable_monitoring", &[], Kind::Switch, "false"),
    (
        "enable_predictive",
        &["enable_predictive_detection"],
        Kind::Switch,
        "true",
    ),
    (
        "enable_learning",
        &["enable_continuous_learning"],
        Kind::Switch,
        "true",
    ),
    (
        "enable_auto_mitigation",
        &["enable_auto_mitigate"],
        Kind::Switch,
        "false",
    ),
    ("mitigation_threshold", &[], Kind::Ratio, "0.8"),
    ("learning_rate", &[], Kind::Ratio, "0.1"),
    ("plugin_directory", &[], Kind::Text, ""),
    ("prestartup_check", &[], Kind::Switch, "true"),
    (
        "log_level",
        &[],
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        "info",
    ),
];

/// Variables of the environment and the keys that they set.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("VLLM_ENABLE_MONITORING", "enable_monitoring"),
    ("VLLM_MONITOR_PREDICTIVE", "enable_predictive"),
    ("VLLM_MONITOR_LEARNING", "enable_learning"),
    ("VLLM_MONITOR_AUTO_MITIGATE", "enable_auto_mitigation"),
    ("VLLM_MONITOR_MITIGATION_THRESHOLD", "mitigation_threshold"),
    ("VLLM_MONITOR_LOG_LEVEL", "log_level"),
    ("VLLM_MONITOR_PRESTARTUP_CHECK", "prestartup_check"),
];

/// Variables that the Python package inside vLLM reads. A server's environment holds them too, so they are no mistake.
const OF_THE_PYTHON_PACKAGE: &[&str] = &[
    "VLLM_MONITOR_NODES",
    "VLLM_MONITOR_OUTPUT_DIR",
    "VLLM_MONITOR_TOKEN",
];

/// Variables with this prefix belong to the monitor, so an unknown one is a mistake.
const PREFIX: &str = "VLLM_MONITOR_";

/// Layers of raw values, later resolved together.
#[derive(Debug, Clone, Default)]
pub struct SettingsBuilder {
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String)>,
}

impl SettingsBuilder {
    /// The text of a settings file: TOML, or JSON if its name ends in `.json`. Later files win.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    /// Variables of the environment; those that do not concern the monitor are passed over.
    #[must_use]
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment.extend(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        self
    }

    /// A flag: a key as in files, such as `mitigation_threshold` or `parameters.hang.floor_secs`.
    #[must_use]
    pub fn flag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }

    /// Resolves all layers.
    ///
    /// # Errors
    /// [`Error::Settings`] with one line for each key or value that cannot be used.
    pub fn resolve(self) -> Result<Settings> {
        let mut problems = Vec::new();
        let mut draft = Draft::defaults();
        for (path, text) in &self.files {
            match read(path, text) {
                Ok(root) => draft.file(path, &root, &mut problems),
                Err(problem) => problems.push(format!("{path}: {problem}")),
            }
        }
        for (name, value) in &self.environment {
            match ENVIRONMENT.iter().find(|(known, _)| known == name) {
                Some((_, key)) => draft.set(key, value, Provenance::Environment(name.clone()), &mut problems),
                None if name.starts_with(PREFIX) && !OF_THE_PYTHON_PACKAGE.contains(&name.as_str()) => {
                    let known: Vec<&str> = ENVIRONMENT.iter().map(|(name, _)| *name).collect();
                    problems.push(format!(
                        "environment {name}: not a variable of the monitor; known are {}",
                        known.join(", ")
                    ));
                }
                None => {}
            }
        }
        for (key, value) in &self.flags {
            draft.set(
                key,
                value,
                Provenance::Flag(format!("--{}", key.replace('_', "-"))),
                &mut problems,
            );
        }
        if draft.parameters.alarm.clear_probability > draft.parameters.alarm.raise_probability {
            problems.push(
                "alarm.clear_probability is above alarm.raise_probability: an alarm would never rest".into(),
            );
        }
        if problems.is_empty() {
            Ok(draft.finish())
        } else {
            Err(Error::Settings(problems))
        }
    }
}

fn read(path: &str, text: &str) -> Result<Value, String> {
    if path.ends_with(".json") {
        serde_json::from_str(text).map_err(|e| e.to_string())
    } else {
        toml::from_str(text).map_err(|e| e.to_string())
    }
}

/// Settings under way.
struct Draft {
    parameters: Parameters,
    features: BTreeMap<&'static str, String>,
    provenance: BTreeMap<&'static str, (String, Provenance)>,
    version: String,
}

impl Draft {
    fn defaults() -> Self {
        let root: Value = toml::from_str(DEFAULTS).expect("a test reads the compiled-in parameters");
        let mut draft = Self {
            parameters: Parameters::UNSET,
            features: BTreeMap::new(),
            provenance: BTreeMap::new(),
            version: root
                .get("version")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        };
        for (key, _, _, value) in FEATURES {
            draft.features.insert(key, (*value).to_owned());
            draft
                .provenance
                .insert(key, ((*value).to_owned(), Provenance::Default));
        }
        for key in KEYS {
            let (group, name) = key.name.split_once('.').expect("every key has a group");
            let value = root
                .get(group)
                .and_then(|group| group.get(name))
                .and_then(Value::as_f64);
            let value = value.expect("a test finds every parameter in the file");
            *draft
                .parameters
                .value_mut(key.name)
                .expect("it comes from the list") = value;
            draft
                .provenance
                .insert(key.name, (value.to_string(), Provenance::Default));
        }
        draft
    }

    fn file(&mut self, path: &str, root: &Value, problems: &mut Vec<String>) {
        let from = || Provenance::File(path.to_owned());
        let Some(root) = root.as_object() else {
            problems.push(format!("{path}: not a table of keys and values"));
            return;
        };
        for (key, value) in root {
            match (key.as_str(), value) {
                // The seed's name for the table that may hold the features.
                ("monitor_config", Value::Object(inner)) => {
                    for (key, value) in inner {
                        self.set(key, &plain(value), from(), problems);
                    }
                }
                ("parameters", Value::Object(groups)) => {
                    for (group, inner) in groups {
                        let Some(inner) = inner.as_object() else {
                            problems.push(format!("{path}: parameters.{group}: not a table"));
                            continue;
                        };
                        for (name, value) in inner {
                            self.set(&format!("{group}.{name}"), &plain(value), from(), problems);
                        }
                    }
                }
                _ => self.set(key, &plain(value), from(), problems),
            }
        }
    }

    fn set(&mut self, key: &str, value: &str, from: Provenance, problems: &mut Vec<String>) {
        let key = key.strip_prefix("parameters.").unwrap_or(key);
        if let Some((canonical, _, kind, _)) = FEATURES
            .iter()
            .find(|(name, aliases, ..)| *name == key || aliases.contains(&key))
        {
            match check(*kind, value) {
                Ok(value) => {
                    self.features.insert(canonical, value.clone());
                    self.provenance.insert(canonical, (value, from));
                }
                Err(wanted) => problems.push(format!("{from}: {key} = {value}: {wanted}")),
            }
            return;
        }
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            problems.push(format!("{from}: {key}: no such key{}", hint(key)));
            return;
        };
        match value.trim().parse::<f64>() {
            Ok(number) if (known.smallest..=known.largest).contains(&number) => {
                *self
                    .parameters
                    .value_mut(known.name)
                    .expect("it comes from the list") = number;
                self.provenance.insert(known.name, (number.to_string(), from));
            }
            Ok(_) => problems.push(format!(
                "{from}: {key} = {value}: {} to {} is possible ({})",
                known.smallest, known.largest, known.meaning
            )),
            Err(_) => problems.push(format!(
                "{from}: {key} = {value}: not a number ({})",
                known.meaning
            )),
        }
    }

    fn finish(self) -> Settings {
        let text = |key: &str| self.features.get(key).cloned().unwrap_or_default();
        let switch = |key: &str| text(key) == "true";
        let ratio = |key: &str| text(key).parse().expect("ratios were checked");
        let changed = KEYS.iter().any(|key| {
            self.provenance
                .get(key.name)
                .is_some_and(|(_, from)| *from != Provenance::Default)
        });
        Settings {
            features: Features {
                enable_monitoring: switch("enable_monitoring"),
                enable_predictive: switch("enable_predictive"),
                enable_learning: switch("enable_learning"),
                enable_auto_mitigation: switch("enable_auto_mitigation"),
                mitigation_threshold: ratio("mitigation_threshold"),
                learning_rate: ratio("learning_rate"),
                plugin_directory: Some(text("plugin_directory")).filter(|path| !path.is_empty()),
                prestartup_check: switch("prestartup_check"),
                log_level: text("log_level"),
            },
            parameters: self.parameters,
            model_version: if changed {
                format!("{}+", self.version)
            } else {
                self.version
            },
            provenance: self.provenance,
        }
    }
}

/// A value as the text that a flag would have.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The value in its canonical spelling, or what would be possible.
fn check(kind: Kind, value: &str) -> Result<String, String> {
    let value = value.trim();
    match kind {
        Kind::Switch => match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok("true".to_owned()),
            "false" | "0" => Ok("false".to_owned()),
            _ => Err("true or false is possible".to_owned()),
        },
        Kind::Ratio => match value.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(number.to_string()),
            _ => Err("a number from 0 to 1 is possible".to_owned()),
        },
        Kind::Text => Ok(value.to_owned()),
        Kind::Word(words) => {
            let lower = value.to_ascii_lowercase();
            if words.contains(&lower.as_str()) {
                Ok(lower)
            } else {
                Err(format!("one of {} is possible", words.join(", ")))
            }
        }
    }
}

/// Keys that the writer may have meant: those of the same group, or the features.
fn hint(key: &str) -> String {
    let near: Vec<&str> = match key.split_once('.') {
        Some((group, _)) => KEYS
            .iter()
            .map(|k| k.name)
            .filter(|name| name.split('.').next() == Some(group))
            .collect(),
        None => FEATURES.iter().map(|(name, ..)| *name).collect(),
    };
    if near.is_empty() {
        String::new()
    } else {
        format!("; there are {}", near.join(", "))
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
