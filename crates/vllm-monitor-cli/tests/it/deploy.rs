//! What is shipped for deployment names only what is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use exposition::{Format, Page};
use regex::Regex;
use vllm_metrics::catalog::vllm_entry;

use crate::world::{World, complete, quick, simulator};

fn deploy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs/monitor/deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap()
}

/// Names of metrics in the rules and the dashboard.
fn used() -> BTreeSet<String> {
    let name = Regex::new(r"vllm:[a-z_]+").unwrap();
    let all = read("prometheus-rules.yml") + read("grafana-dashboard.json").as_str();
    name.find_iter(&all)
        .map(|found| found.as_str().to_owned())
        .collect()
}

/// On the page only once a forecast was resolved, or a failure is to be expected.
const LATER: &[&str] = &[
    "vllm:monitor_forecast_skill",
    "vllm:monitor_time_to_failure_seconds",
    "vllm:monitor_failure_probability",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_rules_and_dashboard_is_on_a_page() {
    let simulator = simulator();
    let world = World::new(&quick(&[&simulator.url()])).await;
    world.until("/readyz", 200).await;
    complete(&simulator.url(), 4).await;
    world
        .until_status(0, "tokens", |target| {
            target["tokens_generated"].as_f64() > Some(0.0)
        })
        .await;
    let (_, page) = world.get("/metrics").await;
    let (page, bad) = Page::parse(page.as_bytes(), Format::Text);
    assert!(bad.is_empty());
    let names: BTreeSet<String> = page.families.into_iter().map(|family| family.name).collect();
    let source =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/serve/metrics.rs"))
            .unwrap();
    let mut seen = 0;
    for name in used() {
        if name.starts_with("vllm:monitor_") {
            let comes_later = LATER.contains(&name.as_str()) && source.contains(&format!("\"{name}\""));
            assert!(
                names.contains(&name) || comes_later,
                "{name} is on no page of the monitor"
            );
        } else {
            assert!(vllm_entry(&name).is_some(), "{name} is no metric of vLLM");
        }
        seen += 1;
    }
    assert!(seen >= 15, "{seen} names were found");
    world.runtime.finish().await;
}

#[test]
fn the_entry_point_keeps_every_word_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let stub = folder.path().join("vllm-monitor");
    std::fs::write(&stub, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    std::fs::set_permissions(&stub, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |arguments: &[&str]| {
        let output = Command::new("sh")
            .arg(deploy().join("entrypoint.sh"))
            .args(arguments)
            .env("PATH", &path)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(
        run(&["serve", "a model", "--port", "1"]),
        (0, "run\n--\nvllm\nserve\na model\n--port\n1\n".to_owned())
    );
    assert_eq!(run(&["--model", "m"]).1, "run\n--\nvllm\nserve\n--model\nm\n");
    assert_eq!(run(&["python", "-m", "x"]).1, "run\n--\npython\n-m\nx\n");
    assert_eq!(run(&[]).0, 2);
}

#[test]
fn the_unit_and_the_pod_start_the_monitor_with_options_that_it_has() {
    let help = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
            .args([command, "--help"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let unit = read("vllm-monitored.service").replace("\\\n", " ");
    for (line, command) in [("ExecStartPre=", "check"), ("ExecStart=", "run")] {
        let line = unit.lines().find(|text| text.starts_with(line)).unwrap();
        let (own, servers) = line.split_once(" -- ").unwrap();
        assert!(own.contains(&format!("vllm-monitor {command} ")), "{own}");
        let help = help(command);
        for option in own.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{command} has no {option}");
        }
        assert!(servers.trim_start().starts_with("vllm serve"));
    }
    let pod = read("kubernetes.yaml");
    for route in Regex::new(r"path: (/\S+), port").unwrap().captures_iter(&pod) {
        assert!(["/readyz", "/livez"].contains(&&route[1]), "{}", &route[1]);
    }
}
