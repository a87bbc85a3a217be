//! What is recorded in addition to the server's own page, from the flag or the key to the files, and what is
//! reported about endpoints at the start.

use std::net::TcpListener;

use crate::support::{Run, simulator};
use vllm_metrics::{TimeSource, read_run};
use vllm_sim::{SimConfig, Simulator};

/// An address where nothing listens.
fn refused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn flags_of_a_run_reach_its_files() {
    let other = Simulator::start(SimConfig::default()).expect("a second server");
    let endpoint = format!("{},node=b", other.url());
    let gateway = refused();
    let run = Run::new(&[
        "--duration",
        "1s",
        "--num-samples",
        "32",
        "--metrics-endpoint",
        &endpoint,
        "--metrics-include",
        "vllm:num_requests_*",
        "--metrics-include",
        "re:vllm:(generation|prompt)_tokens.*",
        "--metrics-exclude",
        "vllm:prompt_tokens*",
        "--metrics-custom",
        "busy=sum(vllm:num_requests_running)",
        "--goodput",
        "e2e:100s",
        "ttft:90",
        "--metrics-pushgateway",
        &gateway,
        "--metrics-serve",
        "127.0.0.1:0",
        "--metrics-debug",
    ])
    .finish();
    other.stop();
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status, Some(0), "{shown}");
    for part in [
        "http://127.0.0.1:",
        "serving the recorder's own metrics at",
        "own cost:",
        "nothing dropped",
        "inside the server, median of",
        "as reported by the server",
        "goodput within e2e:100s ttft:90:",
        "note: Pushgateway http://127.0.0.1:",
    ] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let record = run.record();
    let names: std::collections::BTreeSet<&str> = record
        .series
        .iter()
        .filter(|s| s.def.source.starts_with("vllm"))
        .map(|s| &*s.def.metric_name)
        .collect();
    assert!(names.contains("vllm:num_requests_running"), "{names:?}");
    assert!(names.contains("vllm:generation_tokens_total"), "{names:?}");
    assert!(!names.contains("vllm:prompt_tokens_total"), "{names:?}");
    assert!(!names.contains("vllm:kv_cache_usage_perc"), "{names:?}");
    assert!(
        record
            .series
            .iter()
            .any(|s| s.def.labels.contains("\"node\":\"b\""))
    );
    assert!(record.events.iter().any(|e| &*e.kind == "debug_scrape"));
    assert!(record.events.iter().any(|e| &*e.kind == "not_delivered"));
    assert!(
        record
            .requests
            .iter()
            .all(|r| r.server_time_source == Some(TimeSource::Server))
    );
    let processed = run
        .files("vllm_metrics_")
        .into_iter()
        .find(|path| path.to_string_lossy().contains("_processed"))
        .expect("derived series");
    let processed = read_run(processed).expect("it reads back");
    assert!(processed.series.iter().any(|s| &*s.def.metric_name == "busy"));
    let summary = run.summary();
    assert_eq!(summary["goodput"]["limits"]["e2e_secs"], 100.0);
    // A number without a unit is in milliseconds.
    assert_eq!(summary["goodput"]["limits"]["ttft_secs"], 0.09);
    assert_eq!(summary["outcome"]["word"], "VALID", "{}", summary["outcome"]);
    assert!(summary["custom_metrics"]["busy"]["series"][0]["max"].is_number());
    assert_eq!(summary["own_cost"]["complete"], true);
    assert_eq!(summary["own_cost"]["dropped"]["samples"], 0.0);
    assert!(summary["own_cost"]["cpu_share_ratio"].is_number());
    assert_eq!(
        summary["requests"]["server_times"]["reported"]["count"],
        record.requests.len()
    );
}

#[test]
fn collect_takes_tables_and_tells_what_is_wrong_with_each_endpoint() {
    let server = Simulator::start(SimConfig::default()).expect("a server");
    let (url, gone) = (server.url(), refused());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("collect.toml");
    let text = format!(
        "duration = \"1s\"\ninterval = 0.2\nmetrics-keep-parts = 5\n\
         [[metrics-endpoint]]\nurl = \"{url}\"\nlabels = {{ rack = \"7\" }}\nexpect = [\"vllm:*\"]\n\
         authorization = \"Bearer canary\"\n\
         [[metrics-endpoint]]\nurl = \"{gone}\"\n\
         [[metrics-endpoint]]\nurl = \"{url}/nothing\"\n\
         [[metrics-endpoint]]\nurl = \"{url}/version\"\n\
         [[metrics-endpoint]]\nurl = \"{url}/metrics?again\"\nexpect = [\"DCGM_*\"]\n"
    );
    std::fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let run = Run::new(&["collect", "--config", &file, "--output-dir", "metrics_output"])
        .without_metrics()
        .finish();
    server.stop();
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status, Some(0), "{shown}");
    for part in ["refused", "404", "not a page of metrics", "DCGM_*", "own cost:"] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    assert!(!shown.contains("canary"), "{shown}");
    let record = run.record();
    let running = record.series.iter().find(|s| {
        &*s.def.metric_name == "vllm:num_requests_running" && s.def.labels.contains("\"rack\":\"7\"")
    });
    assert!(running.expect("the labelled endpoint").values.len() >= 3);
}

#[test]
fn mistakes_in_the_file_name_their_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.toml");
    let path = file.to_string_lossy().into_owned();
    for (text, parts) in [
        (
            "scenario = \"Offline\"\n[[metrics-endpoint]]\nurl = \"a\"\ncolour = \"red\"\n",
            ["line 4", "colour"],
        ),
        ("metrics-custom = [\"x=rate(\"]\n", ["line 1", "column"]),
        (
            "seed = 1\nmetrics-keep-parts = \"many\"\n",
            ["line 2", "metrics-keep-parts"],
        ),
        ("seed = 1\nno-such-key = 2\n", ["line 2", "no-such-key"]),
    ] {
        std::fs::write(&file, text).expect("a file");
        let run = Run::new(&["--config", &path]).finish();
        assert_eq!(run.status, Some(2), "{text}\n{}", run.stderr);
        for part in parts {
            assert!(run.stderr.contains(part), "{part} is missing in\n{}", run.stderr);
        }
    }
}

#[test]
fn a_port_that_is_taken_is_told_before_any_load() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = Run::new(&["--metrics-serve", &address]).finish();
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains(&format!("--metrics-serve {address}")),
        "{}",
        run.stderr
    );
}

#[test]
fn credentials_are_not_shown_by_a_dry_run() {
    let run = Run::new(&[
        "--dry-run",
        "--metrics-endpoint",
        "http://user:canary@127.0.0.1:1/metrics",
        "--metrics-remote-write",
        "http://user:canary@127.0.0.1:1/write",
    ])
    .finish();
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status, Some(0), "{shown}");
    assert!(shown.contains("refused") && !shown.contains("canary"), "{shown}");
}

#[test]
fn a_recorded_simulator_is_marked_without_a_run_too() {
    let server = simulator(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sut"))
        .args([
            "collect",
            "--duration",
            "300ms",
            "--no-plots",
            "--url",
            &server.url(),
        ])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("marked SIMULATED"), "{shown}");
    let run = read_run(folder.path().join("metrics_output")).expect("a record");
    assert!(run.manifest.simulated, "{shown}");
    assert!(
        run.series
            .iter()
            .filter(|series| series.def.metric_name.starts_with("vllm:"))
            .all(|series| &*series.def.source == "vllm-simulated"),
        "{shown}"
    );
    server.stop();
}

#[test]
fn a_thousand_dead_endpoints_are_counted_without_a_line_for_each() {
    let gone = refused();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("collect.toml");
    let tables: String = (0..1000)
        .map(|n| format!("[[metrics-endpoint]]\nurl = \"{gone}/{n}/metrics\"\n"))
        .collect();
    std::fs::write(&file, format!("duration = \"1s\"\nno-plots = true\n{tables}")).expect("a file");
    let run = Run::new(&[
        "collect",
        "--config",
        &file.to_string_lossy(),
        "--output-dir",
        "metrics_output",
    ])
    .without_metrics()
    .finish();
    assert_eq!(run.status, Some(3), "{}", run.shown());
    assert!(
        run.shown().contains("1000 of 1000 endpoints never answered"),
        "{}",
        run.shown()
    );
    assert!(run.shown().lines().count() < 100, "{}", run.shown());
    let record = run.record();
    let silent = record
        .series
        .iter()
        .filter(|s| &*s.def.metric_name == "up" && s.values.iter().all(|up| *up == 0.0));
    assert_eq!(silent.count(), 1000, "each is recorded as down");
    let gaps: std::collections::BTreeSet<&str> = record
        .events
        .iter()
        .filter(|e| &*e.kind == "gap")
        .map(|e| &*e.attributes)
        .collect();
    assert_eq!(gaps.len(), 1000, "each has a gap with its reason");
    let peak = run.summary()["own_cost"]["peak_resident_bytes"]
        .as_f64()
        .expect("a figure");
    assert!(peak < 500e6, "{peak} bytes");
}

#[test]
fn too_little_address_space_is_an_error_and_no_abort() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_string_lossy().into_owned();
    for (args, least) in [
        (vec!["--duration", "1s"], 1500),
        (
            vec!["collect", "--url", "http://127.0.0.1:1", "--output-dir", &output],
            1500,
        ),
        (vec!["--dry-run", "--duration", "1s"], 512),
        (vec!["report", &output], 512),
    ] {
        for mib in [200, 400, 800, 1100].into_iter().filter(|mib| *mib < least) {
            let run = Run::new(&args)
                .without_metrics()
                .with_address_space_mib(mib)
                .finish();
            assert_eq!(run.status, Some(2), "{}", run.shown());
            let told = format!("address space is {mib} MiB");
            assert!(
                run.stderr.contains(&told) && run.stderr.contains("ulimit -v"),
                "{}",
                run.stderr
            );
        }
    }
}
