//! What is shipped for Prometheus and Grafana: rules are those of `configs/alerts.toml`, dashboards are well formed, and
//! every name of vLLM is one that its catalogue has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use run_alerts::{RuleFile, prometheus};
use serde_json::Value;
use vllm_metrics::catalog::vllm_entry;
use vllm_metrics::derive::expression::Condition;

fn configs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn assert_known(condition: &Condition) {
    for name in condition
        .metric_names()
        .iter()
        .filter(|name| name.starts_with("vllm:"))
    {
        let endings = ["_bucket", "_sum", "_count"];
        let family = endings.iter().find_map(|ending| name.strip_suffix(ending));
        assert!(
            vllm_entry(name).is_some() || family.is_some_and(|family| vllm_entry(family).is_some()),
            "{name} is no metric of vLLM ({condition})"
        );
    }
}

/// `UPDATE_CONFIGS=1 cargo test -p run-alerts --test configs` writes the file.
#[test]
fn the_rules_of_prometheus_are_the_export_of_the_recorders() {
    let file = RuleFile::read(configs().join("alerts.toml")).unwrap();
    assert!(file.rules.len() >= 10);
    file.rules.iter().for_each(|rule| assert_known(&rule.condition));
    let path = configs().join("prometheus/rules.yml");
    let text = format!(
        "# Written from configs/alerts.toml by `sut alerts export`; change that file.\n{}",
        prometheus::rule_file(&file, "recorder")
    );
    if std::env::var_os("UPDATE_CONFIGS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = std::fs::read_dir(configs().join("grafana/dashboards")).unwrap();
    folder
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (
                name,
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn dashboards_are_well_formed_and_their_expressions_parse() {
    let mut uids = BTreeSet::new();
    let mut expressions = 0;
    for (file, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(
            uid.len() <= 40 && uids.insert(uid.to_owned()),
            "{file}: uid {uid}"
        );
        assert!(
            dashboard["id"].is_null() && dashboard["schemaVersion"] == 42,
            "{file}"
        );
        let variables: BTreeSet<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert!(variables.contains("datasource"), "{file}");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{file}: {title}: id");
            let place = |key: &str| panel["gridPos"][key].as_i64().unwrap();
            assert!(
                place("x") + place("w") <= 24,
                "{file}: {title} is wider than the grid"
            );
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{file}: {title} lies over another panel");
                }
            }
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{file}: {title}: unit"
            );
            assert!(
                !panel["description"].as_str().unwrap().is_empty(),
                "{file}: {title}"
            );
            for target in panel["targets"].as_array().unwrap() {
                let mut text = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
                for variable in &variables {
                    text = text.replace(&format!("${variable}"), ".*");
                }
                assert!(
                    !text.contains('$'),
                    "{file}: {title}: {text} uses an unknown variable"
                );
                let condition =
                    Condition::parse(&text).unwrap_or_else(|e| panic!("{file}: {title}: {text}: {e}"));
                assert_known(&condition);
                expressions += 1;
            }
        }
    }
    assert!(
        uids.len() >= 3 && expressions >= 40,
        "{} dashboards, {expressions} expressions",
        uids.len()
    );
}
