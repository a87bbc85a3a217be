//! The commands that ask a monitor, and those that work on files.

use std::process::{Command, Output};

use serde_json::Value;
use vllm_monitor::{Probe, ProbeOutcome, SnapshotBuilder, StaleAfter, Time};

use crate::world::{World, quick, simulator};

async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_export_ask_a_monitor_and_import_takes_what_was_learned() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let mut flags = quick(&[&format!("a={}", simulator.url())]);
    flags.state_file = Some(state.clone());
    flags.save_interval_secs = Some(0.05);
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    let monitor = world.runtime.address().unwrap().to_string();

    let shown = run(&["status", "--monitor", &monitor]).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.status.success() && text.contains("READY") && text.contains("because"),
        "{text}"
    );
    let json = run(&["status", "--json", "--monitor", &monitor]).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["targets"][0]["name"], "a");

    let page = run(&["export", "--format", "prometheus", "--monitor", &monitor]).await;
    assert!(
        String::from_utf8(page.stdout)
            .unwrap()
            .contains("vllm:monitor_state{")
    );
    let begun = std::time::Instant::now();
    // The first file may be written before the first step of the target.
    while !std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"a\"")) {
        assert!(begun.elapsed().as_secs() < 60, "nothing is saved");
        tokio::task::yield_now().await;
    }
    let file = folder.path().join("export.json").display().to_string();
    let exported = run(&[
        "export",
        "--monitor",
        &monitor,
        "--state-file",
        &state,
        "-o",
        &file,
    ])
    .await;
    assert!(exported.status.success(), "{exported:?}");
    let refused = run(&["import", &file, "--state-file", &state]).await;
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("another vllm-monitor"),
        "{refused:?}"
    );
    let elsewhere = folder.path().join("elsewhere").display().to_string();
    let imported = run(&["import", &file, "--state-file", &elsewhere]).await;
    assert!(
        String::from_utf8_lossy(&imported.stdout).starts_with("1 targets"),
        "{imported:?}"
    );
    world.runtime.finish().await;

    let gone = run(&["status", "--monitor", &monitor]).await;
    assert_eq!(gone.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("--monitor"));
    let without = run(&["export", "--monitor", &monitor, "--state-file", &state]).await;
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(
        without.status.success() && said.contains("exported without the status") && said.contains(&monitor),
        "{without:?}"
    );
    let exported: Value = serde_json::from_slice(&without.stdout).unwrap();
    assert!(exported["status"].is_null() && exported["learned"]["targets"]["a"].is_object());
}

#[tokio::test]
async fn a_file_of_snapshots_is_replayed_and_a_bad_line_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut builder = SnapshotBuilder::new("t", StaleAfter::default());
    let mut lines = String::new();
    for second in 1..=30 {
        let at = Time::from_secs_f64(f64::from(second));
        builder.health(Probe {
            at,
            outcome: if second < 20 {
                ProbeOutcome::Status(200)
            } else {
                ProbeOutcome::Status(503)
            },
            connect_secs: Some(0.001),
            first_byte_secs: Some(0.002),
        });
        lines += &serde_json::to_string(&builder.build(at)).unwrap();
        lines.push('\n');
    }
    std::fs::write(&path, &lines).unwrap();
    let record = path.display().to_string();
    let replayed = run(&["replay", &record]).await;
    let text = String::from_utf8(replayed.stdout).unwrap();
    assert!(text.contains("-> READY") && text.contains("-> ERROR"), "{text}");
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("30 snapshots"));
    assert_eq!(
        text,
        String::from_utf8(run(&["replay", &record]).await.stdout).unwrap()
    );

    std::fs::write(&path, format!("{lines}{{\n")).unwrap();
    let failed = run(&["replay", &record]).await;
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("run.jsonl:31"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn every_setting_is_printed_with_where_it_came_from() {
    let printed = run(&[
        "attach",
        "--url",
        "http://a",
        "--listen",
        "7000",
        "--set",
        "parameters.hang.floor_secs=20",
        "--print-config",
    ])
    .await;
    let text = String::from_utf8(printed.stdout).unwrap();
    for line in [
        "serve.listen = 7000  # flag --listen",
        "interval_secs = 1  # default",
        "hang.floor_secs = 20  # flag",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let nothing = run(&["attach"]).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--url"));
}
