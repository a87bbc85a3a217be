//! Which plugins run, and in which order: requirements, conflicts, needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::plugin::Plugin;

/// Plugins in the order in which they run, and why the others do not.
pub(crate) fn arrange(
    plugins: &BTreeMap<String, Arc<Plugin>>,
    capabilities: &BTreeSet<String>,
) -> (Vec<Arc<Plugin>>, BTreeMap<String, String>) {
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    let mut by_priority: Vec<&Arc<Plugin>> = plugins.values().collect();
    by_priority.sort_by(|a, b| (a.manifest.priority, &a.name).cmp(&(b.manifest.priority, &b.name)));
    for plugin in &by_priority {
        let manifest = &plugin.manifest;
        let lacking: Vec<&str> = manifest
            .needs
            .iter()
            .filter(|need| !capabilities.contains(*need))
            .map(String::as_str)
            .collect();
        if !manifest.enabled {
            refused.insert(plugin.name.clone(), "it is not enabled".into());
        } else if !lacking.is_empty() {
            refused.insert(plugin.name.clone(), format!("it needs {}", lacking.join(", ")));
        }
    }
    // Of two conflicting plugins the earlier one runs.
    let mut kept: Vec<&Arc<Plugin>> = Vec::new();
    for plugin in &by_priority {
        if refused.contains_key(&plugin.name) {
            continue;
        }
        let enemy = kept.iter().find(|other| {
            plugin.manifest.conflicts.contains(&other.name) || other.manifest.conflicts.contains(&plugin.name)
        });
        match enemy {
            Some(other) => {
                refused.insert(plugin.name.clone(), format!("it conflicts with {}", other.name));
            }
            None => kept.push(plugin),
        }
    }
    // Repeatedly adds plugins whose requirements run; the remaining ones are in a cycle or require a plugin
    // that does not run.
    let mut order: Vec<Arc<Plugin>> = Vec::new();
    let mut running: BTreeSet<&str> = BTreeSet::new();
    loop {
        let next = kept.iter().position(|plugin| {
            !running.contains(plugin.name.as_str())
                && plugin
                    .manifest
                    .requires
                    .iter()
                    .all(|required| running.contains(required.as_str()))
        });
        let Some(place) = next else { break };
        running.insert(&kept[place].name);
        order.push(Arc::clone(kept[place]));
    }
    for plugin in &kept {
        if running.contains(plugin.name.as_str()) {
            continue;
        }
        let missing: Vec<&str> = plugin
            .manifest
            .requires
            .iter()
            .filter(|required| !running.contains(required.as_str()))
            .map(String::as_str)
            .collect();
        let why = match missing.iter().find(|required| !plugins.contains_key(**required)) {
            Some(absent) => format!("it requires {absent}, which does not exist"),
            None if requires_itself(plugin, plugins) => {
                format!("it requires {}, which requires it", missing.join(", "))
            }
            None => format!("it requires {}, which does not run", missing.join(", ")),
        };
        refused.insert(plugin.name.clone(), why);
    }
    (order, refused)
}

/// Whether a plugin is part of a cycle.
fn requires_itself(plugin: &Plugin, plugins: &BTreeMap<String, Arc<Plugin>>) -> bool {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = plugin.manifest.requires.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        if name == plugin.name {
            return true;
        }
        if seen.insert(name)
            && let Some(next) = plugins.get(name)
        {
            open.extend(next.manifest.requires.iter().map(String::as_str));
        }
    }
    false
}
