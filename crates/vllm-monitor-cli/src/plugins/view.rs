//! What is shown of the plugins.

use std::collections::BTreeMap;

use monitor_plugins::{Finding, ListedPlugin, Status, Veto};
use serde::{Deserialize, Serialize};

use super::{Shared, lock};

/// The plugins and their newest results.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PluginsStatus {
    /// Their folder; absent if plugins are off.
    pub folder: Option<String>,
    /// Why the folder cannot be read now. What was loaded stays in use.
    pub problem: Option<String>,
    /// Files that were accepted since the start: new, edited and removed ones.
    pub accepted: u64,
    /// Files that were refused.
    pub refused: u64,
    /// Each file.
    pub plugins: Vec<PluginStatus>,
    /// The newest results, by target.
    pub targets: BTreeMap<String, TargetResults>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version, if there is a usable one.
    pub version: Option<String>,
    /// `active`, `inactive`, `rejected` or `quarantined`.
    pub state: String,
    /// Why it is not active.
    pub why: Option<String>,
    /// Why the file's current contents are not in use, while an older version runs.
    pub pending: Option<String>,
    /// What it does: `derive`, `detect`, `rule`, `notify`.
    pub roles: Vec<String>,
    /// Calls so far.
    pub calls: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Its longest tick so far, in milliseconds.
    pub slowest_ms: f64,
}

/// Results for one target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TargetResults {
    /// Derived signals, named `plugin.signal`.
    pub derived: BTreeMap<String, f64>,
    /// Failures found.
    pub findings: Vec<Finding>,
    /// Actions that must not be used.
    pub vetoes: Vec<Veto>,
}

impl Shared {
    pub(super) fn status(&self) -> PluginsStatus {
        let edits = lock(&self.edits).clone();
        let latest = lock(&self.latest);
        let targets = latest.iter().map(|(name, tick)| {
            let results = TargetResults {
                derived: tick.derived.clone(),
                findings: tick.findings.clone(),
                vetoes: tick.vetoes.clone(),
            };
            (name.to_string(), results)
        });
        PluginsStatus {
            folder: Some(self.host.folder().display().to_string()),
            problem: edits.problem,
            accepted: edits.accepted,
            refused: edits.refused,
            plugins: self.host.list().into_iter().map(shown).collect(),
            targets: targets.collect(),
        }
    }
}

fn shown(listed: ListedPlugin) -> PluginStatus {
    let (state, why) = match listed.status {
        Status::Active => ("active", None),
        Status::Inactive(why) => ("inactive", Some(why)),
        Status::Rejected(why) => ("rejected", Some(why)),
        Status::Quarantined(why) => ("quarantined", Some(why)),
    };
    PluginStatus {
        name: listed.name,
        version: listed.manifest.map(|manifest| manifest.version),
        state: state.to_owned(),
        why,
        pending: listed.pending,
        roles: listed.roles.iter().map(ToString::to_string).collect(),
        calls: listed.calls,
        faults: listed.faults,
        slowest_ms: listed.slowest.as_secs_f64() * 1e3,
    }
}
