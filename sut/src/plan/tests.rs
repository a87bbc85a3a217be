//! Command lines and files that resolve, and ones that must be refused.

use clap::Parser;

use super::words::{parse_duration, split_words};
use super::*;
use crate::cli::Cli;

fn task(line: &str) -> Result<(Task, LogLevel), String> {
    let cli = Cli::try_parse_from(std::iter::once("sut").chain(line.split_whitespace()))
        .map_err(|e| e.to_string())?;
    Task::resolve(cli.run, None).map_err(|fail| fail.error.to_string())
}

fn plan(line: &str) -> Result<Plan, String> {
    match task(line)?.0 {
        Task::One(plan)
        | Task::DryRun(plan)
        | Task::Both(plan)
        | Task::Peak(plan, _)
        | Task::Sweep(plan, _) => Ok(plan),
    }
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
    let ServerPlan::Start(replicas) = plan("--model org/m --server-args --x").unwrap().server else {
        panic!("--model alone starts a server");
    };
    let config = &replicas[0];
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
        "--server-args=--x --startup-timeout 7s",
    )
    .unwrap();
    let ServerPlan::Start(replicas) = made.server else {
        panic!("the file starts a server");
    };
    let config = &replicas[0];
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
    let Task::Peak(searched, peak) = task("--find-peak").unwrap().0 else {
        panic!("it is a search");
    };
    assert_eq!(searched.scenario, RuleScenario::Server);
    assert_eq!(peak.trial, Duration::from_secs(60));
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
    let (task, level) = task(
        "--model meta-llama/Llama-3.1-8B --scenario Offline --test-mode performance \
         --enable-metrics-collection --metrics-output-dir ./m --metrics-collection-interval 2 \
         --enable-profiler --print-timing --print-histogram --log-level DEBUG --lg-model-name llama3_1-8b \
         --batch-size 4 --num-samples 13368 --output-log-dir logs",
    )
    .unwrap();
    let Task::One(plan) = task else {
        panic!("it is one run");
    };
    assert_eq!(plan.metrics.unwrap().interval, Duration::from_secs(2));
    assert_eq!(level, LogLevel::Debug);
}

#[test]
fn every_problem_is_said_at_once() {
    let message = plan(
        "--url ftp://h --scenario server --batch-size 4 --target-qps=-1 --duration 5x --user-conf none.conf \
         --no-plots --input-column x --concurrency 0",
    )
    .unwrap_err();
    for part in [
        "--url ftp://h",
        "--batch-size 4",
        "--target-qps -1",
        "--duration 5x",
        "none.conf",
        "--no-plots has no effect",
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
        ("1h 30m", 5400.0),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(secs)), "{text}");
    }
    for text in ["", "s", "5x", "-1s", "0", "-1", "NaN", "inf"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn words_keep_quoted_spaces() {
    assert_eq!(
        split_words(r#"a "b c" 'd "e"' f''g "" h\ i"#).unwrap(),
        ["a", "b c", "d \"e\"", "fg", "", "h i"]
    );
    assert!(split_words("a 'b").is_err());
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
    assert_eq!(
        (made.scenario, made.target_qps),
        (RuleScenario::Server, Some(7.0))
    );
    assert!(made.metrics.is_some());
    assert!(matches!(made.server, ServerPlan::Attach { urls } if urls.len() == 2));
    std::fs::write(&file, "target_qps = 1\n").unwrap();
    let wrong = |text: &str| {
        std::fs::write(&file, text).unwrap();
        plan(&format!("--config {}", file.display())).unwrap_err()
    };
    for (text, told) in [
        (
            "target_qps = 1\n",
            "line 1, column 1: unknown key target_qps: did you mean target-qps?",
        ),
        (
            "\nscenaro = 'Server'\n",
            "line 2, column 1: unknown key scenaro: did you mean scenario?",
        ),
        ("metrics-formt = 1\n", "did you mean metrics-format?"),
        ("config = 'x'\n", "unknown key config"),
        ("retries = 'many'\n", "line 1"),
        ("retries = \n", "line 1"),
    ] {
        let message = wrong(text);
        assert!(
            message.contains("run.toml") && message.contains(told),
            "{told} is missing in {message}"
        );
    }
    // No error repeats a value, since it may be a secret.
    for text in [
        "api_key = 'CANARY'\n",
        "api-key = ['CANARY']\n",
        "authorisation = 'CANARY'\n",
        "retries = 'CANARY'\n",
        "api-key = 'CANARY\n",
        "metrics-pushgateway = { url = 'http://h', authorisation = 'CANARY' }\n",
        "metrics-remote-write = { url = 'http://h', authorization = ['CANARY'] }\n",
    ] {
        let message = wrong(text);
        assert!(!message.contains("CANARY"), "{message}");
    }
}

/// A child of a series gets the command line of its parent.
#[test]
fn a_parents_changes_win() {
    let child = |line: &str, overrides: &Overrides| {
        let cli = Cli::try_parse_from(std::iter::once("sut").chain(line.split_whitespace())).unwrap();
        let (task, _) = Task::resolve(cli.run, Some(overrides))
            .map_err(|fail| fail.error)
            .unwrap();
        let Task::One(plan) = task else {
            panic!("a child runs one test: {task:?}");
        };
        plan
    };
    let both = child(
        "--test-mode both --compliance TEST06 --output-log-dir x --model m",
        &Overrides {
            log_dir: "x/accuracy".into(),
            kind: Some(Kind::Accuracy),
            server: Some(InheritedServer {
                pid: Some(7),
                urls: vec!["http://h:1".into()],
                model: "m".into(),
            }),
            ..Overrides::default()
        },
    );
    assert_eq!((both.mode, both.compliance), (Mode::Accuracy, None));
    assert_eq!(both.log_dir, PathBuf::from("x/accuracy"));
    assert!(matches!(both.server, ServerPlan::Inherited(inherited) if inherited.pid == Some(7)));
    let trial = child(
        "--find-peak --peak-trial 5s --url http://h:1 --metrics-format csv --official",
        &Overrides {
            log_dir: "t".into(),
            trial: Some(Trial {
                interactive: true,
                target_qps: 12.5,
                millis: 1500,
                num_samples: Some(9),
            }),
            record: Some(Record::Nothing),
            ..Overrides::default()
        },
    );
    assert_eq!(trial.scenario, RuleScenario::Interactive);
    assert_eq!((trial.target_qps, trial.num_samples), (Some(12.5), Some(9)));
    assert_eq!(trial.duration, Some(Duration::from_millis(1500)));
    assert!(trial.metrics.is_none() && !trial.official);
    let arm = child(
        "--overhead-check 3 --no-plots",
        &Overrides {
            record: Some(Record::WithoutPictures("m".into())),
            ..Overrides::default()
        },
    );
    assert!(
        arm.metrics
            .is_some_and(|metrics| metrics.output_dir == *"m" && !metrics.plots)
    );
    // What a parent writes, a child reads back.
    let overrides = Overrides {
        kind: Some(Kind::Compliance(ComplianceTest::Test09)),
        ..Overrides::default()
    };
    let text = serde_json::to_string(&overrides).unwrap();
    assert_eq!(serde_json::from_str::<Overrides>(&text).unwrap(), overrides);
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
        // Alert rules are a file of another kind: `--alert-rules`.
        if path.extension().is_some_and(|e| e == "toml") && !path.ends_with("alerts.toml") {
            let cli = Cli::try_parse_from(["sut", "--config", path.to_str().unwrap()]).unwrap();
            Task::resolve(cli.run, None).map_err(|fail| fail.error).unwrap();
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
        assert_eq!(plan.scenario, RuleScenario::Interactive);
        assert_eq!(
            (plan.benchmark.loadgen_name.as_str(), plan.loadgen_name().as_str()),
            ("llama3_1-8b", "llama3_1-8b-interactive")
        );
    }
}

#[test]
fn counts_that_do_not_fit_into_memory_are_refused() {
    for flag in ["--num-samples", "--warmup"] {
        for count in ["1000000000", "9223372036854775807"] {
            let message = plan(&format!("{flag} {count}")).unwrap_err();
            assert!(message.contains(flag) && message.contains(count), "{message}");
        }
    }
    assert!(plan("--num-samples 0").unwrap_err().contains("from 1 to"));
}

#[test]
fn a_sweep_is_a_task_of_its_own() {
    let Ok((Task::Sweep(_, rates), _)) = task("--url http://a:1 --scenario Server --sweep 1,2.5") else {
        panic!("two rates make a sweep");
    };
    assert_eq!(rates, [1.0, 2.5]);
    for (line, told) in [
        ("--sweep 0", "--sweep 0"),
        ("--sweep 1 --find-peak", "--find-peak"),
        ("--sweep 1 --target-qps 2", "--target-qps"),
        ("--sweep 1 --test-mode both", "--test-mode"),
    ] {
        let message = task(line).unwrap_err();
        assert!(message.contains(told), "{line}: {message}");
    }
}

#[test]
fn replicas_are_for_servers_that_are_started() {
    let ServerPlan::Start(all) = plan("--model m --replicas 2 --balance shortest-queue")
        .unwrap()
        .server
    else {
        panic!("they are started");
    };
    assert_eq!(all.len(), 2);
    for line in ["--replicas 2", "--url http://a:1 --replicas 2"] {
        assert!(plan(line).unwrap_err().contains("--replicas"), "{line}");
    }
}
