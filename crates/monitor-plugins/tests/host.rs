//! The host as a whole: added, changed, broken, removed, required, quarantined.

use std::fs;
use std::path::Path;
use std::time::Duration;

use monitor_plugins::{Host, HostConfig, Limits, Role, Status, commands};
use serde_json::json;

fn write(folder: &Path, name: &str, source: &str) {
    fs::write(folder.join(format!("{name}.rhai")), source).expect("written");
}

fn host(folder: &Path) -> Host {
    Host::new(folder, HostConfig::default())
}

fn status(host: &Host, name: &str) -> Status {
    host.list()
        .into_iter()
        .find(|listed| listed.name == name)
        .unwrap_or_else(|| panic!("{name} is listed"))
        .status
}

#[test]
fn three_lines_are_a_plugin() {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        "mine",
        "fn execute(s) {\n    #{ status: \"ok\", custom_metric: 42 }\n}",
    );
    let host = host(folder.path());
    assert!(host.reload()[0].accepted);
    assert_eq!(host.tick(&json!({})).derived["mine.custom_metric"], 42.0);
}

#[test]
fn files_are_added_changed_broken_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path());
    assert!(host.reload().is_empty());
    let value = |host: &Host| host.tick(&json!({})).derived.get("a.x").copied();
    assert_eq!(value(&host), None);
    write(folder.path(), "a", "fn derive(s) { #{ x: 1 } }");
    host.reload();
    assert_eq!(value(&host), Some(1.0));
    write(folder.path(), "a", "fn derive(s) { #{ x: 2 } }");
    host.reload();
    assert_eq!(value(&host), Some(2.0));
    for broken in [
        "fn derive(s) {",
        "fn derive(s) { throw \"no\" }",
        "fn derive(s) { loop {} }",
        "let x = 1;",
    ] {
        write(folder.path(), "a", broken);
        let changes = host.reload();
        assert!(
            !changes[0].accepted && changes[0].what.contains("a.rhai"),
            "{changes:?}"
        );
        assert_eq!(value(&host), Some(2.0), "the version before stays: {broken}");
        assert_eq!(status(&host, "a"), Status::Active);
        assert!(host.list()[0].pending.is_some());
        assert!(host.reload().is_empty(), "it is looked at once");
    }
    write(folder.path(), "a", "fn derive(s) { #{ x: 3 } }");
    host.reload();
    assert_eq!(value(&host), Some(3.0));
    assert_eq!(host.list()[0].pending, None);
    fs::remove_file(folder.path().join("a.rhai")).expect("removed");
    assert_eq!(host.reload()[0].what, "removed");
    assert_eq!(value(&host), None);
    assert!(host.list().is_empty());
}

#[test]
fn a_file_that_was_just_written_is_left_to_a_later_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = HostConfig {
        settle: Duration::from_secs(60),
        ..HostConfig::default()
    };
    let host = Host::new(folder.path(), config);
    let path = folder.path().join("a.rhai");
    let age = |secs: u64| {
        let file = fs::File::options().write(true).open(&path).expect("it is there");
        let then = std::time::SystemTime::now() - Duration::from_secs(secs);
        file.set_modified(then).expect("its time can be set");
    };
    let value = |host: &Host| host.tick(&json!({})).derived.get("a.x").copied();
    write(folder.path(), "a", "fn derive(s) { #{ x: 1 } }");
    age(120);
    assert!(host.reload()[0].accepted);
    // Half of an edit, valid by itself: the version before stays.
    write(folder.path(), "a", "fn derive(s) { #{ x: 2 } }");
    assert!(host.reload().is_empty());
    assert_eq!(value(&host), Some(1.0));
    write(folder.path(), "a", "fn derive(s) { #{ x: 3 } }");
    age(120);
    assert!(host.reload()[0].accepted);
    assert_eq!(value(&host), Some(3.0));
}

#[test]
fn what_a_plugin_keeps_survives_a_change_of_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path());
    let counting =
        |factor: u32| format!("fn derive(s) {{ this.n = (this.n ?? 0) + 1; #{{ n: this.n * {factor} }} }}");
    write(folder.path(), "a", &counting(1));
    host.reload();
    for n in 1..=3 {
        assert_eq!(host.tick(&json!({})).derived["a.n"], f64::from(n));
    }
    write(folder.path(), "a", &counting(10));
    host.reload();
    assert_eq!(
        host.tick(&json!({})).derived["a.n"],
        40.0,
        "dry runs leave nothing behind"
    );
}

#[test]
fn requirements_conflicts_needs_and_cycles() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin =
        |manifest: &str| format!("fn manifest() {{ #{{ {manifest} }} }} fn derive(s) {{ #{{ x: 1 }} }}");
    write(folder.path(), "base", &plugin("priority: 500"));
    write(
        folder.path(),
        "user",
        "fn manifest() { #{ requires: [\"base\"], priority: 1 } } fn derive(s) { #{ y: s.derived[\"base.x\"] + 1 } }",
    );
    write(folder.path(), "one", &plugin("requires: [\"two\"]"));
    write(folder.path(), "two", &plugin("requires: [\"three\"]"));
    write(folder.path(), "three", &plugin("requires: [\"one\"]"));
    write(folder.path(), "behind", &plugin("requires: [\"three\"]"));
    write(folder.path(), "orphan", &plugin("requires: [\"nobody\"]"));
    write(folder.path(), "needy", &plugin("needs: [\"gpu\"]"));
    write(folder.path(), "off", &plugin("enabled: false"));
    write(
        folder.path(),
        "old",
        &plugin("conflicts: [\"base\"], priority: 900"),
    );
    write(folder.path(), "typo", &plugin("requries: []"));
    write(folder.path(), "future", &plugin("schema: 99"));
    let host = host(folder.path());
    host.reload();
    let tick = host.tick(&json!({}));
    assert_eq!(
        tick.derived["user.y"], 2.0,
        "base runs before, whatever the priority"
    );
    assert!(tick.faults.is_empty());
    for (name, part) in [
        ("one", "which requires it"),
        ("two", "which requires it"),
        ("three", "which requires it"),
        ("behind", "which does not run"),
        ("orphan", "does not exist"),
        ("needy", "it needs gpu"),
        ("off", "not enabled"),
        ("old", "conflicts with base"),
        ("typo", "requries is not a key"),
        ("future", "schema 99"),
    ] {
        let status = status(&host, name).to_string();
        assert!(status.contains(part), "{name}: {status}");
        assert!(
            !tick.derived.contains_key(&format!("{name}.x")),
            "{name} does not run"
        );
    }
    // An edit resolves the cycle; the plugins that require it run too.
    write(folder.path(), "three", &plugin(""));
    host.reload();
    for name in ["one", "two", "three", "behind"] {
        assert_eq!(status(&host, name), Status::Active, "{name}");
    }
    // Without its base the dependent plugin stops, and returns with it.
    fs::remove_file(folder.path().join("base.rhai")).expect("removed");
    host.reload();
    assert!(matches!(status(&host, "user"), Status::Inactive(_)));
    assert_eq!(
        status(&host, "old"),
        Status::Active,
        "what it conflicted with is gone"
    );
}

#[test]
fn one_that_fails_costs_itself_only_and_is_quarantined() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "bad", "fn detect(s) { if s.on { loop {} } }");
    write(
        folder.path(),
        "good",
        "fn detect(s) { if s.on { #{ failure: \"seen\" } } }",
    );
    let host = host(folder.path());
    host.reload();
    for i in 0..5 {
        let tick = host.tick(&json!({ "on": true }));
        assert_eq!(tick.findings.len(), 1);
        assert_eq!(
            tick.faults.len(),
            usize::from(i < 3),
            "after three faults it does not run any more"
        );
    }
    assert!(
        status(&host, "bad")
            .to_string()
            .contains("quarantined: detect failed 3 times")
    );
    write(folder.path(), "bad", "fn detect(s) { }");
    host.reload();
    assert_eq!(
        status(&host, "bad"),
        Status::Active,
        "new contents get a new chance"
    );
}

#[test]
fn the_version_before_returns_when_a_new_one_fails_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path());
    write(folder.path(), "a", "fn derive(s) { #{ x: 1 } }");
    host.reload();
    host.tick(&json!({ "on": false }));
    write(
        folder.path(),
        "a",
        "fn derive(s) { if s.on { throw \"late\" } #{ x: 2 } }",
    );
    assert!(host.reload()[0].accepted, "recorded snapshots do not show it");
    for _ in 0..3 {
        assert_eq!(host.tick(&json!({ "on": true })).derived.get("a.x"), None);
    }
    assert_eq!(host.tick(&json!({ "on": true })).derived["a.x"], 1.0);
    assert_eq!(status(&host, "a"), Status::Active);
    assert!(
        host.list()[0]
            .pending
            .as_deref()
            .is_some_and(|why| why.contains("late"))
    );
    assert!(
        host.reload().is_empty(),
        "the same contents do not come back by themselves"
    );
}

#[test]
fn wrong_results_are_faults() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, source) in [
        ("a", "fn derive(s) { 5 }"),
        ("b", "fn derive(s) { #{ x: 1.0 / 0.0 } }"),
        ("c", "fn detect(s) { #{ failure: \"not a name!\" } }"),
        ("d", "fn detect(s) { #{ failure: \"x\", probability: 7 } }"),
        ("e", "fn rule(s) { #{ veto: 3 } }"),
        (
            "f",
            "fn detect(s) { let a = []; for i in 0..500 { a.push(#{ failure: \"x\" }) } a }",
        ),
        ("g", "fn derive(a, b) { #{} }"),
    ] {
        write(folder.path(), name, source);
    }
    let host = host(folder.path());
    host.record(&json!({}));
    host.reload();
    for listed in host.list() {
        assert!(
            matches!(listed.status, Status::Rejected(_)),
            "{}: {}",
            listed.name,
            listed.status
        );
    }
    write(folder.path(), "not-a-name", "fn derive(s) { #{} }");
    write(
        folder.path(),
        "huge",
        &format!("fn derive(s) {{ #{{}} }} // {}", "x".repeat(100_000)),
    );
    host.reload();
    assert!(matches!(status(&host, "not-a-name"), Status::Rejected(_)));
    assert!(status(&host, "huge").to_string().contains("bytes"));
}

#[test]
fn templates_run_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    for role in Role::ALL {
        let path = commands::new(folder.path(), &format!("my_{role}"), role).expect("written");
        assert!(
            commands::new(folder.path(), &format!("my_{role}"), role).is_err(),
            "it is not overwritten"
        );
        let signal = |value: f64| json!({ "fresh": { "value": value, "age_secs": 0.1 } });
        let snapshot = json!({ "engine": { "waiting": signal(300.0), "running": signal(30.0) } });
        let ticks = commands::test(&path, HostConfig::default(), &vec![snapshot; 12]).expect("it runs");
        let last = ticks.last().expect("twelve");
        assert!(last.faults.is_empty(), "{role}: {:?}", last.faults);
        match role {
            Role::Derive => assert_eq!(last.derived["my_derive.waiting_per_running"], 10.0),
            Role::Detect => assert_eq!((ticks[8].findings.len(), last.findings.len()), (0, 1)),
            Role::Rule => assert!(
                last.vetoes
                    .iter()
                    .any(|veto| veto.actions.contains(&"restart".to_owned()))
            ),
            Role::Notify => {}
        }
    }
    let host = host(folder.path());
    host.reload();
    let event = json!({ "change": "raised", "target": "t", "failure_type": "hang", "text": "it hangs" });
    let (messages, faults) = host.notify(&event);
    assert!(faults.is_empty());
    assert_eq!(
        (messages[0].title.as_str(), messages[0].text.as_str()),
        ("t: hang", "it hangs")
    );
    let (lines, good) = commands::validate::<()>(folder.path(), HostConfig::default(), &[]).expect("read");
    assert!(good && lines.len() == 4, "{lines:?}");
    assert!(commands::list(&host).contains("my_notify  version 1  notify  active"));
    assert!(commands::new(folder.path(), "1bad", Role::Rule).is_err());
}

#[test]
fn a_missing_folder_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a", "fn derive(s) { #{ x: 1 } }");
    let host = host(folder.path());
    host.reload();
    let moved = folder.path().with_extension("moved");
    fs::rename(folder.path(), &moved).expect("moved");
    let changes = host.reload();
    assert!(!changes[0].accepted);
    assert_eq!(host.tick(&json!({})).derived["a.x"], 1.0);
    fs::rename(&moved, folder.path()).expect("moved back");
    assert!(host.reload().is_empty());
}

#[test]
fn a_folder_of_too_many_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    for i in 0..30 {
        write(folder.path(), &format!("p{i}"), "fn derive(s) { #{ x: 1 } }");
    }
    let config = HostConfig {
        limits: Limits {
            plugins: 20,
            ..Limits::default()
        },
        ..HostConfig::default()
    };
    let host = Host::new(folder.path(), config);
    host.reload();
    assert_eq!(host.tick(&json!({})).derived.len(), 20);
    assert_eq!(
        host.list().iter().filter(|l| l.status != Status::Active).count(),
        10
    );
}
