//! Preflight on set-ups that are broken in one way each.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn check(options: &[&str], variables: &[(&str, &str)], command: &[&str]) -> Output {
    let mut check = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"));
    check.arg("check").args(options).envs(variables.iter().copied());
    if !command.is_empty() {
        check.arg("--").args(command);
    }
    check.output().unwrap()
}

fn findings(options: &[&str], variables: &[(&str, &str)], command: &[&str]) -> (i32, Vec<Value>) {
    let mut all = vec!["--json"];
    all.extend(options);
    let output = check(&all, variables, command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let root: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let findings = root["report"]["findings"].as_array().unwrap().clone();
    (output.status.code().unwrap(), findings)
}

/// The failed finding of a check whose text has these words, with its way out.
#[track_caller]
fn expect(findings: &[Value], check: &str, words: &str, way_out: &str) {
    let fits = |finding: &&Value| {
        finding["check"] == check
            && finding["outcome"] == "fail"
            && finding["what"].as_str().is_some_and(|what| what.contains(words))
            && finding["way_out"]
                .as_str()
                .is_some_and(|text| text.contains(way_out))
    };
    assert!(
        findings.iter().any(|finding| fits(&finding)),
        "{check}: {words}: {findings:#?}"
    );
}

/// A tiny model whose one tensor has this many bytes.
fn model(folder: &Path, bytes: u64) -> String {
    let path = folder.join("model");
    fs::create_dir_all(&path).unwrap();
    let config = json!({
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "max_position_embeddings": 131_072, "torch_dtype": "bfloat16"
    });
    fs::write(path.join("config.json"), config.to_string()).unwrap();
    let header =
        json!({"w": {"dtype": "BF16", "shape": [bytes / 2], "data_offsets": [0, bytes]}}).to_string();
    let file = fs::File::create(path.join("model.safetensors")).unwrap();
    let mut start = (header.len() as u64).to_le_bytes().to_vec();
    start.extend_from_slice(header.as_bytes());
    // The tensor itself is a hole in the file: only headers are read.
    file.set_len(start.len() as u64 + bytes).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &start, 0).unwrap();
    path.display().to_string()
}

/// A driver library with simulated GPUs of 80 GB.
fn driver(folder: &Path, version: &str, gpus: u32) -> String {
    let gpus: String = (0..gpus).map(fake_nvml::data_centre_gpu).collect();
    let library = fake_nvml::install(&folder.join("nvml"), &format!("driver {version}\n{gpus}")).unwrap();
    library.display().to_string()
}

#[test]
fn a_busy_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, found) = findings(&[], &[], &["vllm", "serve", "a/b", "--port", &port]);
    assert_eq!(code, 1);
    expect(&found, "port", &port, "--port");
}

#[test]
fn a_model_that_is_not_there() {
    let (code, found) = findings(&["--model", "/no/such/model"], &[], &[]);
    assert_eq!(code, 1);
    expect(&found, "model", "no such folder", "config.json");
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_HOME", "/no/such/cache")];
    let (code, found) = findings(&["--model", "a/b"], &offline, &[]);
    assert_eq!(code, 1);
    expect(&found, "model", "must not be asked", "HF_HUB_OFFLINE");
}

#[test]
fn weights_that_do_not_fit_and_a_context_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let library = driver(folder.path(), "570.86.15", 1);
    let large = model(folder.path(), 200 << 30);
    let options = ["--nvml-library", library.as_str()];
    let (code, found) = findings(&options, &[], &["vllm", "serve", &large]);
    assert_eq!(code, 1);
    expect(&found, "memory", "GiB", "--tensor-parallel-size");

    // 70 GiB of weights fit, and 131,072 tokens of 128 KiB each do not fit next to them.
    let tight = model(folder.path(), 68 << 30);
    let (code, found) = findings(&options, &[], &["vllm", "serve", &tight]);
    assert_eq!(code, 1);
    expect(&found, "memory", "131072", "--max-model-len");

    let fitting = ["vllm", "serve", &tight, "--max-model-len", "4096"];
    let (_, found) = findings(&options, &[], &fitting);
    let fits = |finding: &Value| finding["check"] != "memory" || finding["outcome"] == "pass";
    assert!(found.iter().all(fits), "{found:#?}");
}

#[test]
fn a_driver_that_is_too_old_and_too_few_gpus() {
    let folder = tempfile::tempdir().unwrap();
    let library = driver(folder.path(), "470.10.01", 1);
    let options = ["--nvml-library", library.as_str()];
    let (code, found) = findings(
        &options,
        &[],
        &["vllm", "serve", "a/b", "--tensor-parallel-size", "4"],
    );
    assert_eq!(code, 1);
    expect(&found, "driver", "470.10.01", "newer driver");
    expect(&found, "memory", "4", "--tensor-parallel-size");
}

#[test]
fn a_driver_that_does_not_load() {
    let folder = tempfile::tempdir().unwrap();
    let library = fake_nvml::install(folder.path(), "init DRIVER_NOT_LOADED\n").unwrap();
    let library = library.display().to_string();
    // The default port may be in use here.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let command = ["vllm", "serve", "a/b", "--port", &port];
    let (code, found) = findings(&["--nvml-library", &library], &[], &command);
    assert_eq!(code, 2, "nothing blocks, and not everything could be checked");
    let is_unknown = |finding: &Value| finding["check"] == "gpu" && finding["outcome"] == "unknown";
    assert!(found.iter().any(is_unknown), "{found:#?}");
}

#[test]
fn a_folder_that_cannot_be_written_to() {
    // Tests may run as root, who may write anywhere; but nobody can make a folder within a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    let cache = file.path().join("vllm-cache");
    let variables = [("VLLM_CACHE_ROOT", cache.to_str().unwrap())];
    let (code, found) = findings(&["--model", "a/b"], &variables, &[]);
    assert_eq!(code, 1);
    expect(&found, "disk", "cannot be written", "another folder");
}

#[test]
fn a_model_that_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 1 << 20);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(Path::new(&model).join("model.safetensors"))
        .unwrap();
    file.set_len(1000).unwrap();
    let (code, found) = findings(&["--model", &model], &[], &[]);
    assert_eq!(code, 1);
    expect(&found, "model", "should have", "fetch");
}

#[test]
fn an_argument_that_this_version_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder
        .path()
        .join("lib/python3.12/site-packages/vllm-0.32.0.dist-info");
    fs::create_dir_all(prefix).unwrap();
    fs::create_dir_all(folder.path().join("bin")).unwrap();
    let program = folder.path().join("bin/vllm");
    fs::write(&program, "").unwrap();
    let program = program.display().to_string();
    let (code, found) = findings(&[], &[], &[&program, "serve", "a/b", "--swap-space", "4"]);
    assert_eq!(code, 1);
    expect(&found, "arguments", "--swap-space", "refuses to start");
}

#[test]
fn a_low_limit_of_open_files() {
    let script = format!(
        "ulimit -S -n 256; exec {} check --json -- vllm serve a/b",
        env!("CARGO_BIN_EXE_vllm-monitor")
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let root: Value = serde_json::from_slice(&output.stdout).unwrap();
    expect(
        root["report"]["findings"].as_array().unwrap(),
        "limits",
        "256 open files",
        "ulimit -n",
    );
}

#[test]
fn a_second_owner() {
    let (_, found) = findings(
        &["--model", "a/b"],
        &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
        &[],
    );
    expect(&found, "owner", "kubernetes", "one of the two");
}

#[test]
fn auto_fix_makes_what_is_missing_writes_it_down_and_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("vllm-cache");
    let undo = folder.path().join("undo.json").display().to_string();
    let variables = [("VLLM_CACHE_ROOT", cache.to_str().unwrap())];
    let (_, found) = findings(&["--model", "a/b"], &variables, &[]);
    expect(&found, "disk", "not there", "make the folder");
    assert!(!cache.exists(), "a check alone changes nothing");
    let fixing = ["--model", "a/b", "--auto-fix", &undo];
    let (_, found) = findings(&fixing, &variables, &[]);
    assert!(cache.is_dir());
    assert!(
        found
            .iter()
            .all(|f| f["check"] != "disk" || f["outcome"] == "pass"),
        "{found:#?}"
    );
    let output = check(&["--undo", &undo], &[], &[]);
    assert!(output.status.success() && !cache.exists());
}

#[test]
fn without_anything_to_check_it_says_what_to_give() {
    let output = check(&[], &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("vllm serve MODEL"));
}
