//! Command lines and files that resolve, and those that must not.

use clap::Parser;

use super::words::{parse_duration, split_words};
use super::*;
use crate::cli::Cli;

fn plan(line: &str) -> Result<Plan, String> {
    let cli = Cli::try_parse_from(std::iter::once("sut").chain(line.split_whitespace()))
        .map_err(|e| e.to_string())?;
    Plan::resolve(cli.run).map_err(|fail| fail.error.to_string())
}

#[test]
fn what_runs_where() {
    assert_eq!(plan("").unwrap().server, ServerPlan::Simulator);
    assert_eq!(
        plan("--api-server-url http://h:1/v1/").unwrap().server,
        ServerPlan::Attach {
            urls: vec!["http://h:1".into()]
        }
    );
    let several = plan("--url http://a:1,http://b:2/ --url http://c:3").unwrap();
    assert_eq!(
        several.server,
        ServerPlan::Attach {
            urls: ["http://a:1", "http://b:2", "http://c:3"]
                .map(str::to_owned)
                .to_vec()
        }
    );
    assert!(
        plan("--url http://a:1,http://a:1/v1")
            .unwrap_err()
            .contains("given twice")
    );
    assert!(plan("--balance shortest-queue").unwrap_err().contains("--url"));
    let ServerPlan::Start(config) = plan("--model org/m --server-args --x").unwrap().server else {
        panic!("--model alone starts a server");
    };
    assert_eq!(
        (
            config.model.as_str(),
            config.command.join(" ").as_str(),
            config.args.join(" ").as_str()
        ),
        ("org/m", "vllm serve", "--x")
    );
}

#[test]
fn a_server_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.yaml");
    let yaml = |text: &str, flags: &str| {
        std::fs::write(&path, text).unwrap();
        plan(&format!("--server-config {} {flags}", path.display()))
    };
    let made = yaml(
        "model: org/m\nargs: {max_num_seqs: 4}\n",
        "--server-args=--x --startup-timeout 7",
    )
    .unwrap();
    let ServerPlan::Start(config) = made.server else {
        panic!("the file starts a server");
    };
    assert_eq!(
        (config.model.as_str(), config.args.join(" ").as_str()),
        ("org/m", "--max-num-seqs 4 --x")
    );
    assert_eq!(config.startup_timeout, Duration::from_secs(7));
    for (text, flags, told) in [
        ("modell: x\n", "", "modell"),
        ("args: []\n", "", "--model"),
        ("model: m\n", "--url http://h:1", "--server-config"),
        ("model: m\nargs: {api_key: secret}\n", "", "VLLM_API_KEY"),
    ] {
        let message = yaml(text, flags).unwrap_err();
        assert!(
            message.contains(told) && !message.contains("secret"),
            "{told}: {message}"
        );
    }
}

#[test]
fn the_flags_of_the_search() {
    let peak = plan("--find-peak").unwrap();
    assert_eq!(peak.scenario, ScenarioArg::Server);
    assert_eq!(peak.peak.unwrap().trial, Duration::from_secs(60));
    assert!(
        plan("--find-peak --scenario Offline")
            .unwrap_err()
            .contains("--find-peak")
    );
    assert!(
        plan("--peak-trial 5s")
            .unwrap_err()
            .contains("without --find-peak")
    );
    assert!(
        plan("--find-peak --peak-precision 2")
            .unwrap_err()
            .contains("0.001 to 1")
    );
}

#[test]
fn the_seed_command_line_is_accepted() {
    let plan = plan(
        "--model meta-llama/Llama-3.1-8B --scenario Offline --test-mode performance \
         --enable-metrics-collection --metrics-output-dir ./m --metrics-collection-interval 2 \
         --enable-profiler --print-timing --print-histogram --log-level DEBUG --lg-model-name llama3_1-8b \
         --batch-size 4 --num-samples 13368 --output-log-dir logs",
    )
    .unwrap();
    assert_eq!(plan.metrics.unwrap().interval, Duration::from_secs(2));
    assert_eq!(plan.log_level, LogLevel::Debug);
}

#[test]
fn every_problem_is_said_at_once() {
    let message = plan(
        "--url ftp://h --scenario server --batch-size 4 --target-qps=-1 --duration 5x --user-conf none.conf \
         --metrics-format csv --input-column x --concurrency 0",
    )
    .unwrap_err();
    for part in [
        "--url ftp://h",
        "--batch-size 4",
        "--target-qps -1",
        "--duration 5x",
        "none.conf",
        "--metrics-format has no effect",
        "--input-column names a column",
        "--concurrency",
    ] {
        assert!(message.contains(part), "{part} is missing in:\n{message}");
    }
}

#[test]
fn durations() {
    for (text, secs) in [
        ("30s", 30.0),
        ("10m", 600.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("90", 90.0),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(secs)), "{text}");
    }
    for text in ["", "s", "5x", "-1s", "0"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn words_keep_quoted_spaces() {
    assert_eq!(
        split_words(r#"a "b c" 'd "e"' f''g "" "#),
        ["a", "b c", "d \"e\"", "fg", ""]
    );
}

#[test]
fn a_configuration_file_fills_in_and_refuses_unknown_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.toml");
    std::fs::write(
        &file,
        "scenario = \"Server\"\ntarget-qps = 3.5\nenable-metrics-collection = true\n\
         url = [\"http://a:1\", \"http://b:1\"]\nbalance = \"least-tokens\"\n",
    )
    .unwrap();
    let made = plan(&format!("--config {} --target-qps 7", file.display())).unwrap();
    assert_eq!((made.scenario, made.target_qps), (ScenarioArg::Server, Some(7.0)));
    assert!(made.metrics.is_some());
    assert!(matches!(made.server, ServerPlan::Attach { urls } if urls.len() == 2));
    std::fs::write(&file, "target_qps = 1\n").unwrap();
    let message = Plan::resolve(
        Cli::try_parse_from(["sut", "--config", file.to_str().unwrap()])
            .unwrap()
            .run,
    )
    .map_err(|fail| format!("{:#}", fail.error))
    .unwrap_err();
    assert!(
        message.contains("run.toml") && message.contains("target_qps"),
        "{message}"
    );
}

#[test]
fn a_search_refuses_what_its_files_would_give_away() {
    let base = "--find-peak --scenario Server --url http://a:1 --enable-metrics-collection";
    for (url, refused) in [
        ("http://me:hush@a:9400/metrics", true),
        ("me:hush@a:9400", true),
        ("http://a:9400/metrics?token=hush", true),
        ("http://a:9400/metrics", false),
    ] {
        let made = plan(&format!("{base} --metrics-url {url}"));
        assert_eq!(made.is_err(), refused, "{url}");
        if let Err(message) = made {
            assert!(message.contains("--metrics-url holds"), "{message}");
            assert!(!message.contains("hush"), "{message}");
        }
    }
}

#[test]
fn a_rate_has_a_lower_bound() {
    for qps in ["1e-20", "0", "-1", "NaN", "inf"] {
        let message = plan(&format!("--url http://a:1 --target-qps={qps}")).unwrap_err();
        assert!(
            message.contains("--target-qps") && message.contains("0.000001"),
            "{message}"
        );
    }
    assert!(plan("--url http://a:1 --target-qps 0.000001").is_ok());
}

#[test]
fn every_example_configuration_resolves() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let cli = Cli::try_parse_from(["sut", "--config", path.to_str().unwrap()]).unwrap();
            Plan::resolve(cli.run).map_err(|fail| fail.error).unwrap();
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn accuracy_runs_may_have_a_dataset_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (timed, judged) = (dir.path().join("a.json"), dir.path().join("b.json"));
    std::fs::write(&timed, "[]").unwrap();
    let line = format!(
        "--dataset-path {} --accuracy-dataset-path {}",
        timed.display(),
        judged.display()
    );
    let DatasetPlan::File { path, .. } = plan(&line).unwrap().dataset else {
        panic!("the dataset is a file");
    };
    assert_eq!(path, timed);
    let missing = plan(&format!("{line} --test-mode accuracy")).unwrap_err();
    assert!(
        missing.contains("--accuracy-dataset-path: there is no file"),
        "{missing}"
    );
}

#[test]
fn interactive_is_a_scenario_and_a_benchmarks_other_name() {
    let by_name = plan("--lg-model-name llama3_1-8b-interactive").unwrap();
    let by_scenario = plan("--scenario interactive").unwrap();
    for plan in [by_name, by_scenario] {
        assert_eq!(plan.scenario, ScenarioArg::Interactive);
        assert_eq!(
            (plan.benchmark.as_str(), plan.loadgen_name().as_str()),
            ("llama3_1-8b", "llama3_1-8b-interactive")
        );
    }
}
