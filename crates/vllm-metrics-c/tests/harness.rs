//! The header and the library as a C++ harness uses them: compiled, linked and run.

use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder that contains this package's libraries: the parent of the test's own.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let deps = test.parent().expect("a test lies in a folder");
    deps.parent()
        .expect("the test's folder lies in the profile's")
        .to_path_buf()
}

/// Runs `command` and returns what it printed.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Compiles `source` against the header and the static library.
fn compile(compiler: &str, standard: &str, source: &Path, program: &Path) {
    let libraries = library_dir();
    // Building this test also builds the package's libraries, into `deps`; only `cargo build` copies them up.
    let library = [libraries.join("deps"), libraries]
        .iter()
        .map(|dir| dir.join("libvllm_metrics_c.a"))
        .find(|path| path.exists())
        .expect("cargo builds the static library before the tests of its package");
    output(
        Command::new(compiler)
            .args([standard, "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(program)
            .arg(source)
            .arg("-I")
            .arg(Path::new(CRATE).join("include"))
            .arg(&library)
            .args(["-lpthread", "-ldl", "-lm"]),
    );
}

/// The snippet of `docs/integration.md` compiles as C and records a run.
#[test]
fn the_c_snippet_of_the_integration_page_records_a_run() {
    let page = Path::new(CRATE).join("../../docs/integration.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("```c\n").expect("the page has a C snippet");
    let (snippet, _) = rest.split_once("```").expect("the snippet ends");
    let dir = tempfile::tempdir().expect("a folder");
    let (source, program) = (dir.path().join("harness.c"), dir.path().join("harness"));
    std::fs::write(&source, snippet).expect("the source is written");
    compile(
        std::env::var("CC").as_deref().unwrap_or("gcc"),
        "-std=c11",
        &source,
        &program,
    );
    let printed = output(Command::new(&program).arg(dir.path().join("out")));
    let summary: serde_json::Value = serde_json::from_str(printed.trim()).expect("the summary is JSON");
    let samples = summary["samples"].as_str().expect("a path");
    let run = vllm_metrics::read_run(samples).expect("the run reads back");
    assert_eq!(run.requests.len(), 8);
}

#[test]
fn a_cpp_harness_records_a_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = dir.path().join("harness");
    compile(
        std::env::var("CXX").as_deref().unwrap_or("g++"),
        "-std=c++17",
        &Path::new(CRATE).join("tests/harness.cpp"),
        &program,
    );
    let printed = output(Command::new(&program).arg(dir.path().join("out")));
    let summary: serde_json::Value = serde_json::from_str(printed.trim()).expect("the summary is JSON");
    assert_eq!(summary["missing"]["dropped_hook_calls"], 0, "{summary}");
    let samples = summary["samples"].as_str().expect("a path");
    let run = vllm_metrics::read_run(samples).expect("the run reads back");
    assert_eq!(run.manifest.facts["harness"], "c++");
    assert_eq!(run.requests.len(), 300);
    assert_eq!(
        run.requests
            .iter()
            .filter(|row| row.reason.as_deref() == Some("http_503"))
            .count(),
        3
    );
    assert!(
        run.requests
            .iter()
            .all(|row| row.server_queue_ns == Some(1000) && row.scheduled_ns.is_some())
    );
    assert_eq!(run.batches.len(), 3);
}

/// The header declares exactly the functions of the library, since it is generated from this source.
#[test]
fn the_header_is_up_to_date() {
    let functions = |text: &str, before: &str| {
        let mut names: Vec<String> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .filter_map(|line| {
                let (start, _) = line.split_once('(')?;
                let name = start.rsplit([' ', '*']).next()?;
                (name.starts_with("vm_") && line.contains(before)).then(|| name.to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let source = std::fs::read_to_string(Path::new(CRATE).join("src/lib.rs")).expect("the source");
    let header =
        std::fs::read_to_string(Path::new(CRATE).join("include/vllm_metrics.h")).expect("the header");
    let declared = functions(&header, "");
    assert!(declared.len() > 10, "{declared:?}");
    assert_eq!(
        declared,
        functions(&source, "extern \"C\" fn"),
        "run scripts/c-header"
    );
}
