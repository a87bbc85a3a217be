//! From runs on the simulator to a submission: accuracy, compliance, Interactive and the tree.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Run;
use mlperf_loadgen::LoadGenLog;

/// The simulator's words for the token ids 3, 4, 5, …
fn word(id: usize) -> char {
    char::from(b'a' + u8::try_from(id - 3).unwrap())
}

/// A dataset with references, 24 rows; the answers differ from the references in one word of ten.
fn dataset(folder: &Path) -> PathBuf {
    let mut rows = Vec::new();
    for row in 0..24_usize {
        let prompt: Vec<usize> = (0..20).map(|i| 3 + (row * 7 + i * 5) % 26).collect();
        let answer: Vec<usize> = (0..20).map(|i| 3 + (row + i * 3) % 26).collect();
        let words = answer.iter().enumerate().map(|(i, id)| {
            let id = if i % 10 == 0 { 3 + (id - 2) % 26 } else { *id };
            word(id).to_string()
        });
        rows.push(format!(
            "{{\"tok_input\": {prompt:?}, \"tok_output\": {answer:?}, \"output\": \"{}\"}}",
            words.collect::<Vec<_>>().join(" ")
        ));
    }
    let path = folder.join("data.json");
    std::fs::write(&path, format!("[{}]", rows.join(",\n"))).unwrap();
    path
}

fn sut(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sut"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

const FACTS: &str = r#"
[system]
status = "available"
system_type = "datacenter"
number_of_nodes = "1"
host_processor_model_name = "a processor"
host_processors_per_node = "1"
host_processor_core_count = "2"
host_memory_capacity = "8 GiB"
host_memory_configuration = "one bar"
host_storage_capacity = "1 TB"
host_storage_type = "SSD"
host_networking = "none"
host_network_card_count = "0"
host_networking_topology = "none"
accelerators_per_node = "1"
accelerator_model_name = "none"
accelerator_memory_capacity = "none"
accelerator_host_interconnect = "none"
accelerator_memory_configuration = "none"
accelerator_interconnect = "none"
cooling = "air"
operating_system = "some Linux"

[measurements]
input_data_types = "int32"
retraining = "no"
starting_weights_filename = "none"
weight_data_types = "bf16"
weight_transformations = "none"
"#;

/// Performance, accuracy and TEST06 of one scenario in one call, with a separate folder for each scenario.
fn run_all(folder: &Path, scenario: &str) -> String {
    let output = sut(
        folder,
        &format!(
            "--scenario {scenario} --test-mode both --compliance TEST06 --dataset-path data.json \
             --simulate-references --duration 1s --target-qps 100 --output-log-dir runs/{scenario}"
        ),
    );
    text(&output)
}

#[test]
fn a_tree_is_made_of_runs_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    dataset(folder);
    let shown = run_all(folder, "Offline") + &run_all(folder, "Interactive");
    // Answers share nine words of ten with the references; their length is far from the benchmark's.
    assert!(shown.contains("rouge1 90 (at least 38.391)"), "{shown}");
    assert!(shown.contains("gen_len 936 MISSES ITS LIMIT"), "{shown}");
    assert!(shown.contains("TEST06 PASSED"), "{shown}");
    let verified =
        std::fs::read_to_string(folder.join("runs/Interactive/TEST06/verify_accuracy.txt")).unwrap();
    assert!(
        verified.starts_with("First token check pass: True\n"),
        "{verified}"
    );
    let log = LoadGenLog::read(&folder.join("runs/Interactive/performance/run_1")).unwrap();
    assert_eq!(log.result.requested["server_ttft_latency"], 500_000_000);
    assert_eq!(log.result.requested["server_tpot_latency"], 30_000_000);

    std::fs::write(folder.join("facts.toml"), FACTS).unwrap();
    std::fs::write(folder.join("calibration.md"), "No weights were quantised.\n").unwrap();
    let submit = "submission --run runs --out tree --division closed --submitter Me --system box";
    // Facts that only a user knows and unfit runs are listed, and nothing is written.
    let refused = sut(folder, submit);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for part in [
        "not fit for a closed submission",
        "gen_len 936",
        "asks for 600 s",
        "--allow-unfit",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    let unfit = format!("{submit} --allow-unfit");
    let said = text(&sut(folder, &unfit));
    assert!(said.contains("[system] accelerator_model_name"), "{said}");
    assert!(!said.contains("[system] framework"), "{said}");
    let with_facts = format!("{unfit} --facts facts.toml");
    let said = text(&sut(folder, &with_facts));
    assert!(
        said.contains("--calibration") && said.contains("--source"),
        "{said}"
    );
    assert!(!folder.join("tree").exists());

    let whole = format!("{with_facts} --calibration calibration.md --source https://example.org/code");
    let made = sut(folder, &whole);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    let wanted = [
        "documentation/calibration.md",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/README.md",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/TEST06/accuracy/mlperf_log_accuracy.json",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/TEST06/verify_accuracy.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/accuracy/accuracy.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/accuracy/mlperf_log_accuracy.json",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/accuracy/mlperf_log_detail.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/accuracy/mlperf_log_summary.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/measurements.json",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/performance/run_1/mlperf_log_detail.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/performance/run_1/mlperf_log_summary.txt",
        "results/box-SIMULATED-UNFIT/llama3.1-8b/Interactive/user.conf",
        "src/llama3.1-8b/README.md",
        "systems/box-SIMULATED-UNFIT.json",
    ];
    let files = files(&folder.join("tree/closed/Me"));
    let of_interactive: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains("/Offline/"))
        .collect();
    assert_eq!(of_interactive, wanted);
    assert_eq!(files.len(), wanted.len() + 11);
    // Every file shows that it is simulated, by itself or through LoadGen's name of the system. Answer logs
    // contain only numbers; their path contains the folder's name.
    for name in files
        .iter()
        .filter(|name| !name.ends_with("mlperf_log_accuracy.json"))
    {
        let content = std::fs::read_to_string(folder.join("tree/closed/Me").join(name)).unwrap();
        assert!(content.to_uppercase().contains("SIMULATED"), "{name}:\n{content}");
    }
    let accuracy = std::fs::read_to_string(
        folder.join("tree/closed/Me/results/box-SIMULATED-UNFIT/llama3.1-8b/Offline/accuracy/accuracy.txt"),
    )
    .unwrap();
    assert!(
        accuracy
            .lines()
            .any(|line| line.len() == 69 && line.starts_with("hash=")),
        "{accuracy}"
    );
    assert!(
        accuracy.lines().any(|line| line.starts_with("{'rouge1': '90.0'")),
        "{accuracy}"
    );
    let system: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(folder.join("tree/closed/Me/systems/box-SIMULATED-UNFIT.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(system["system_name"], "box (SIMULATED) (UNFIT)");
    assert_eq!(system["framework"], "vLLM 0.32.0+simulated");
    assert_eq!(
        (&system["division"], &system["submitter"]),
        (&"closed".into(), &"Me".into())
    );
    // A submission needs a complete pair, and refuses two runs of a kind.
    let half = sut(
        folder,
        &whole.replace("--run runs", "--run runs/Offline/performance"),
    );
    assert!(
        text(&half).contains("Offline has no accuracy run"),
        "{}",
        text(&half)
    );
    copy(&folder.join("runs/Offline/accuracy"), &folder.join("runs/again"));
    let twice = sut(folder, &whole);
    assert!(
        text(&twice).contains("are both accuracy runs of Offline"),
        "{}",
        text(&twice)
    );
    std::fs::remove_dir_all(folder.join("runs/again")).unwrap();
    // LoadGen's logs do not show that answers were truncated; the run's record does.
    let record = folder.join("runs/Offline/performance/run_1/sut_run.json");
    let told = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, told.replace("\"max_tokens\": 128", "\"max_tokens\": 16")).unwrap();
    let cut = text(&sut(folder, submit));
    assert!(
        cut.contains("at most 16 tokens, where the rules have 128"),
        "{cut}"
    );
    std::fs::write(&record, told).unwrap();
    // What the checker would refuse is refused here.
    std::fs::write(folder.join("wrong.toml"), "[system]\nstatus = \"soon\"\n").unwrap();
    let wrong = sut(folder, &format!("{whole} --facts wrong.toml"));
    assert!(
        text(&wrong).contains("status is \"soon\": one of available"),
        "{}",
        text(&wrong)
    );
    // A tree that would be incomplete is not started.
    let log = folder.join("runs/Offline/TEST06/mlperf_log_accuracy.json");
    let answers = std::fs::read(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let summary = folder.join("runs/Offline/accuracy/mlperf_log_summary.txt");
    std::fs::rename(&summary, folder.join("away")).unwrap();
    let elsewhere = whole.replace("--out tree", "--out other");
    let not_whole = sut(folder, &elsewhere);
    let said = text(&not_whole);
    assert_eq!(not_whole.status.code(), Some(2), "{said}");
    assert!(
        said.contains("nothing was laid out")
            && said.contains("accuracy/mlperf_log_summary.txt")
            && said.contains("Offline TEST06: "),
        "{said}"
    );
    assert!(!folder.join("other").exists());
    std::fs::write(&log, answers).unwrap();
    std::fs::rename(folder.join("away"), &summary).unwrap();
    // A file that other benchmarks share is not changed.
    let shared = folder.join("other/closed/Me/documentation/calibration.md");
    std::fs::create_dir_all(shared.parent().unwrap()).unwrap();
    std::fs::write(&shared, "Another's.\n").unwrap();
    let said = text(&sut(folder, &elsewhere));
    assert!(
        said.contains("calibration.md is there already and says something else"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), "Another's.\n");
    assert_eq!(self::files(&folder.join("other")).len(), 1);
    // Nothing is overwritten.
    assert!(text(&sut(folder, &whole)).contains("exists already"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn an_accuracy_run_is_scored_again_from_its_folder() {
    let run = Run::new(&[
        "--test-mode",
        "accuracy",
        "--dataset-path",
        "data.json",
        "--simulate-references",
        "--batch-size",
        "4",
    ])
    .without_metrics();
    dataset(run.folder());
    let done = run.finish();
    assert!(
        done.stdout.contains("BELOW THE BENCHMARK'S LIMITS"),
        "{}{}",
        done.stdout,
        done.stderr
    );
    assert_eq!(done.status, Some(1));
    assert!(
        !done.stdout.contains("but not an official result"),
        "a result below its limits is not called valid\n{}",
        done.stdout
    );
    let folder = done.log_dir();
    let first = std::fs::read_to_string(folder.join("accuracy.txt")).unwrap();
    std::fs::remove_file(folder.join("accuracy.txt")).unwrap();
    let again = sut(
        folder.parent().unwrap(),
        "score --run mlperf_logs --dataset-path data.json",
    );
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert_eq!(
        std::fs::read_to_string(folder.join("accuracy.txt")).unwrap(),
        first
    );
    let texts = std::fs::read_to_string(folder.join("answers.jsonl")).unwrap();
    assert_eq!(texts.lines().count(), 24);
}

/// A folder is used three times: no file of a run is mistaken for the next one's, and a run without a verdict
/// does not count.
#[test]
fn a_folder_that_is_used_again_holds_the_last_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    dataset(folder);
    let run = |flags: &str| {
        let line = format!("--dataset-path data.json --simulate-references --output-log-dir logs {flags}");
        let output = sut(folder, &line);
        (output.status.code(), text(&output))
    };
    let names = || -> Vec<String> {
        let ours = |name: &String| !name.starts_with("mlperf_log_") && !name.starts_with("result_");
        files(&folder.join("logs")).into_iter().filter(ours).collect()
    };
    run("--test-mode accuracy --target-qps 100");
    let of_accuracy = names();
    assert!(
        of_accuracy.contains(&"accuracy.txt".to_owned()),
        "{of_accuracy:?}"
    );
    // Neither a dry run nor a refused run removes anything.
    run("--dry-run");
    let (status, said) = run("--official");
    assert_eq!(status, Some(2), "{said}");
    assert_eq!(names(), of_accuracy);
    let (status, said) = run("--compliance TEST06");
    assert!(status == Some(0) && said.contains("TEST06 PASSED"), "{said}");
    let of_test = [
        "audit.config",
        "environment.json",
        "sut_run.json",
        "user.conf",
        "verify_accuracy.txt",
    ];
    assert_eq!(names(), of_test);
    // The same settings in a user's file are the same test; other settings are no known test.
    let audit = std::fs::read_to_string(folder.join("logs/audit.config")).unwrap();
    std::fs::write(folder.join("same.config"), format!("# mine\n{audit}\n")).unwrap();
    let other = audit.replace("min_query_count = 100", "min_query_count = 30");
    assert_ne!(other, audit);
    std::fs::write(folder.join("other.config"), other).unwrap();
    let (status, said) = run("--audit-config same.config");
    assert!(status == Some(0) && said.contains("TEST06 PASSED"), "{said}");
    let (status, said) = run("--audit-config other.config");
    assert!(
        said.contains("ENDED, NOT VERIFIED") && !said.contains("TEST06 PASSED"),
        "{said}"
    );
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(names(), ["environment.json", "sut_run.json", "user.conf"]);
    // A run that is repeated from its own user.conf writes its settings there, and the next run reads them.
    for (flag, rate) in [("--target-qps 90", 90.0), ("--target-qps 80", 80.0), ("", 80.0)] {
        run(&format!("--user-conf logs/user.conf --duration 1s {flag}"));
        let conf = std::fs::read_to_string(folder.join("logs/user.conf")).unwrap();
        let line = format!("llama3_1-8b.Offline.target_qps = {rate}\n");
        assert!(
            conf.contains(&line) && conf.matches("target_qps").count() == 1,
            "{conf}"
        );
        let record = std::fs::read_to_string(folder.join("logs/sut_run.json")).unwrap();
        assert!(record.contains(&format!("\"target_qps\": {rate:?}")), "{record}");
    }
}

/// gpt-oss-120b has its own tests, over whole sets.
#[test]
fn tests_over_a_whole_set_count_their_samples() {
    let folder = tempfile::tempdir().unwrap();
    // The simulator's words for 4 and 30 are b and ab: an answer with option B. Every tenth is C.
    let rows = (0..990).map(|row| {
        let option = if row % 10 == 0 { 5 } else { 4 };
        format!(
            "{{\"tok_input\": [{}, 7, 9], \"tok_output\": [{option}, 30], \"ground_truth\": \"B\", \
             \"dataset\": \"gpqa_diamond\"}}",
            100 + row
        )
    });
    let rows: Vec<String> = rows.collect();
    std::fs::write(folder.path().join("data.json"), format!("[{}]", rows.join(","))).unwrap();
    let run = |test: &str| {
        let line = format!(
            "--lg-model-name gpt-oss-120b --scenario Offline --compliance {test} --dataset-path data.json \
             --simulate-references --target-qps 1000 --output-log-dir {test}"
        );
        let output = sut(folder.path(), &line);
        (output.status.code(), text(&output))
    };
    let (status, said) = run("TEST07");
    assert!(
        said.contains("TEST07 passed: exact match 90.000, at least 60.698 asked"),
        "{said}"
    );
    assert_eq!(status, Some(0), "{said}");
    let outcome = std::fs::read_to_string(folder.path().join("TEST07/verify_accuracy.txt")).unwrap();
    assert!(
        outcome.starts_with("Samples: 990 of 990\n") && outcome.ends_with("TEST PASS\n"),
        "{outcome}"
    );
    let (status, said) = run("TEST09");
    assert!(
        said.contains("TEST09 failed: 2.00 tokens an answer, 1150.38 to 1406.02 asked"),
        "{said}"
    );
    assert!(said.contains("only 990 of 6396 samples"), "{said}");
    assert_eq!(status, Some(1), "{said}");
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (line, part) in [
        ("--simulate-references", "give the dataset"),
        (
            "--lg-model-name llama3_1-8b-interactive --scenario Offline",
            "the Interactive scenario",
        ),
        ("--compliance TEST06 --test-mode accuracy", "timed runs"),
        (
            "--compliance TEST06 --lg-model-name gpt-oss-120b",
            "asks TEST07 and TEST09 of gpt-oss-120b",
        ),
        (
            "--compliance TEST09 --scenario Server",
            "asks TEST06 of llama3_1-8b",
        ),
        (
            "--lg-model-name mixtral-8x7b --scenario Interactive",
            "mixtral-8x7b",
        ),
        (
            "submission --run . --out x --division open --submitter a/b --system c",
            "--submitter",
        ),
        (
            "submission --run . --out x --division open --submitter a --system c",
            "sut_run.json",
        ),
    ] {
        let output = sut(folder.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output));
        assert!(text(&output).contains(part), "{line}: {}", text(&output));
    }
}
