//! Plugins of a folder, edited while the monitor runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vllm_monitor_cli::settings::Flags;

use crate::acting::{Pressed, actions, flags, settings, until};
use crate::notify::Receiver;
use crate::world::{World, quick, simulator};

fn write(folder: &Path, name: &str, source: &str) {
    std::fs::write(folder.join(format!("{name}.rhai")), source).unwrap();
}

/// As [`write`], long enough ago to be loaded at the start.
fn write_earlier(folder: &Path, name: &str, source: &str) {
    write(folder, name, source);
    let file = std::fs::File::options()
        .write(true)
        .open(folder.join(format!("{name}.rhai")));
    let then = std::time::SystemTime::now() - Duration::from_secs(60);
    file.unwrap().set_modified(then).unwrap();
}

fn with_plugins(flags: Flags, folder: &Path) -> Flags {
    Flags {
        plugin_folder: Some(folder.display().to_string()),
        ..flags
    }
}

impl World {
    async fn until_plugins(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_part("/plugins", what, holds).await
    }

    fn said_by(&self, plugin: &str, words: &str) -> bool {
        self.records().iter().any(|record| {
            let said = &record["event"]["kind"]["plugin"];
            said["plugin"] == plugin && said["text"].as_str().is_some_and(|text| text.contains(words))
        })
    }
}

fn derived(plugins: &Value) -> &Value {
    &plugins["targets"]["w"]["derived"]["a.x"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_takes_effect_and_a_broken_one_leaves_the_last_good_version() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "a", "fn derive(s) { #{ x: 1 } }");
    let world = World::new(&with_plugins(quick(&[&format!("w={}", simulator.url())]), path)).await;
    world.until_plugins("x = 1", |p| *derived(p) == 1.0).await;
    let (_, page) = world.get("/metrics").await;
    let sample = r#"vllm:monitor_plugin_signal{target="w",plugin="a",signal="x"} 1"#;
    assert!(page.contains(sample), "{page}");

    write(path, "a", "fn derive(s) { #{ x: 2 } }");
    world.until_plugins("x = 2", |p| *derived(p) == 2.0).await;

    write(path, "a", "fn derive(s) {\n    let y = 3;\n    #{ x: y \n}");
    let plugins = world
        .until_plugins("the refusal", |p| p["plugins"][0]["pending"].is_string())
        .await;
    let why = plugins["plugins"][0]["pending"].as_str().unwrap();
    assert!(why.contains("a.rhai") && why.contains("line 4"), "{why}");
    assert_eq!(plugins["plugins"][0]["state"], "active");
    assert_eq!(plugins["refused"], 1);
    assert!(world.said_by("a", "line 4"));
    let calls = plugins["plugins"][0]["calls"].as_u64().unwrap();
    let later = world
        .until_plugins("another tick", |p| {
            p["plugins"][0]["calls"].as_u64() > Some(calls + 1)
        })
        .await;
    assert_eq!(*derived(&later), 2.0, "the last good version runs");
    let shown = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
        .args(["status", "--monitor"])
        .arg(world.runtime.address().unwrap().to_string())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("1 of 1 active")
            && shown.contains("an older version runs")
            && shown.contains("line 4"),
        "{shown}"
    );

    write(path, "a", "fn derive(s) { #{ x: 3 } }");
    let plugins = world.until_plugins("x = 3", |p| *derived(p) == 3.0).await;
    assert!(plugins["plugins"][0]["pending"].is_null());
    write(
        path,
        "b",
        "fn detect(s) { #{ failure: \"odd\", probability: 0.7, evidence: `target ${s.target}` } }",
    );
    world
        .until_plugins("the finding", |p| {
            p["targets"]["w"]["findings"][0]["evidence"] == "target w"
        })
        .await;
    assert!(world.said_by("b", "odd is expected with probability 70 %"));
    let (_, page) = world.get("/metrics").await;
    let sample = r#"vllm:monitor_plugin_finding{target="w",plugin="b",failure="odd"} 0.7"#;
    assert!(page.contains(sample), "{page}");

    std::fs::remove_file(path.join("a.rhai")).unwrap();
    world
        .until_plugins("the removal", |p| {
            derived(p).is_null() && p["plugins"][0]["name"] == "b"
        })
        .await;
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_and_a_memory_bomb_cost_their_own_plugin_only() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_earlier(path, "a", "fn derive(s) { #{ x: 1 } }");
    // They pass their dry run, in which there is no snapshot yet, and fail later.
    write_earlier(path, "looping", "fn detect(s) { loop {} }");
    write_earlier(path, "bomb", "fn detect(s) { let a = [s]; loop { a += a; } }");
    let world = World::new(&with_plugins(quick(&[&format!("w={}", simulator.url())]), path)).await;
    let plugins = world
        .until_plugins("both in quarantine", |p| {
            let state = |place: usize| p["plugins"][place]["state"].as_str() == Some("quarantined");
            state(1) && state(2)
        })
        .await;
    let faulty = plugins["plugins"].as_array().unwrap();
    assert_eq!(faulty[1]["faults"], 3, "{faulty:#?}");
    assert_eq!(
        (&faulty[0]["state"], &faulty[0]["faults"]),
        (&"active".into(), &0.into())
    );
    assert!(world.said_by("looping", "quarantined"));
    let calls = faulty[0]["calls"].as_u64().unwrap();
    world
        .until_plugins("later ticks", |p| {
            p["plugins"][0]["calls"].as_u64() > Some(calls + 2)
        })
        .await;
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_forbids_an_action_until_its_file_is_removed() {
    let pressed = Pressed::new();
    let folder = tempfile::tempdir().unwrap();
    let plugins = tempfile::tempdir().unwrap();
    write(
        plugins.path(),
        "night",
        "fn rule(s) { #{ veto: [\"tighten_admission\"], why: \"not at night\" } }",
    );
    let config = settings(folder.path(), "vetoed", "");
    let world = World::new(&with_plugins(flags(&pressed.simulator, config), plugins.path())).await;
    world
        .until_part("/acting", "the veto", |acting| {
            acting["escalated"]
                .to_string()
                .contains("plugin night: not at night")
        })
        .await;
    assert!(actions(&world).is_empty() && !pressed.is_clamped().await);
    std::fs::remove_file(plugins.path().join("night.rhai")).unwrap();
    until("the action", || !actions(&world).is_empty()).await;
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_about_an_alert_reaches_the_webhook() {
    let webhook = Receiver::new(&[]).await;
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "words",
        "fn notify(e) { #{ title: `${e.failure_type} ${e.change}`, text: e.text } }",
    );
    let mut flags = with_plugins(quick(&[&format!("w={}", simulator.url())]), folder.path());
    flags.targets[0].canary_secs = Some(10.0);
    flags.webhooks = vec![webhook.url.clone()];
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    simulator.set_hung(true);
    let (_, body) = webhook.first(|body| body["title"] == "hang raised").await;
    assert_eq!((&body["plugin"], &body["target"]), (&"words".into(), &"w".into()));
    assert!(body["text"].as_str().is_some_and(|text| !text.is_empty()));
    world.runtime.finish().await;
}
