//! What the plugins derived, found and cost.

use std::collections::BTreeMap;

use exposition::{Kind, WriteError};

use super::Page;
use crate::plugins::PluginsStatus;

pub(super) fn families(page: &mut Page, status: &PluginsStatus) -> Result<(), WriteError> {
    let plugins = &status.plugins;
    page.rows(
        "vllm:monitor_plugin_active",
        Kind::Gauge,
        "1 if the plugin runs.",
        plugins.iter().map(|plugin| {
            let active = f64::from(u8::from(plugin.state == "active"));
            (vec![("plugin", plugin.name.as_str())], active)
        }),
    )?;
    page.rows(
        "vllm:monitor_plugin_calls_total",
        Kind::Counter,
        "Snapshots passed to the plugin.",
        plugins
            .iter()
            .map(|plugin| (vec![("plugin", plugin.name.as_str())], plugin.calls as f64)),
    )?;
    page.rows(
        "vllm:monitor_plugin_faults_total",
        Kind::Counter,
        "Calls of the plugin that failed.",
        plugins
            .iter()
            .map(|plugin| (vec![("plugin", plugin.name.as_str())], plugin.faults as f64)),
    )?;
    page.rows(
        "vllm:monitor_plugin_signal",
        Kind::Gauge,
        "A signal that a plugin derived from the newest snapshot.",
        status.targets.iter().flat_map(|(target, results)| {
            results.derived.iter().map(move |(name, value)| {
                let (plugin, signal) = name.split_once('.').unwrap_or(("", name));
                let labels = vec![
                    ("target", target.as_str()),
                    ("plugin", plugin),
                    ("signal", signal),
                ];
                (labels, *value)
            })
        }),
    )?;
    page.rows(
        "vllm:monitor_plugin_finding",
        Kind::Gauge,
        "Probability of a failure that a plugin found; 1 if it is present.",
        findings(status)
            .into_iter()
            .map(|((target, plugin, failure), probability)| {
                let labels = vec![("target", target), ("plugin", plugin), ("failure", failure)];
                (labels, probability)
            }),
    )
}

/// The highest probability by target, plugin and failure: a plugin may report one failure several times.
fn findings(status: &PluginsStatus) -> BTreeMap<(&str, &str, &str), f64> {
    let mut found = BTreeMap::new();
    for (target, results) in &status.targets {
        for finding in &results.findings {
            let key = (target.as_str(), finding.plugin.as_str(), finding.failure.as_str());
            let highest: &mut f64 = found.entry(key).or_default();
            *highest = highest.max(finding.probability);
        }
    }
    found
}
