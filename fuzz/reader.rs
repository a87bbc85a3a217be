//! Shared by the fuzz targets of the readers: writes the input as a file of a run, and reads that run.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;
use vllm_metrics::store::write_run;
use vllm_metrics::{RunData, StoreFormat, read_run};

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    // In memory where such a folder exists, since a disk would dominate the time.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a folder for the files to be read")
});

/// Reads `input` as a run of `format`. The first byte selects which of the run's files it is.
///
/// No input may cause a panic, and every series must have as many times as values. What could be read is
/// written and read again, and must not change.
pub fn read(format: StoreFormat, input: &[u8]) {
    let Some((&choice, content)) = input.split_first() else { return };
    let table = match (choice % 8, format) {
        (_, StoreFormat::Sqlite) => "vllm_metrics",
        (5, _) => "requests",
        (6, _) => "batches",
        (7, _) => "events",
        _ => "vllm_metrics",
    };
    let extension = match (table, format) {
        ("vllm_metrics", _) => format.extension(),
        (_, StoreFormat::PrometheusText) => "prom.csv",
        _ => format.extension(),
    };
    let given = fresh("given");
    let file = given.join(format!("{table}_20260101_000000.{extension}"));
    fs::write(&file, content).expect("the input can be written");
    let Ok(first) = read_run(&file) else { return };
    check(&first);

    let Some(second) = again(&first, format, "second") else { return };
    let third = again(&second, format, "third").expect("what was written once can be written again");
    assert_eq!(text(&second), text(&third));
}

fn fresh(name: &str) -> std::path::PathBuf {
    let folder = FOLDER.path().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the files to be read");
    folder
}

/// Writes the run and reads it back; `None` if it cannot be written.
fn again(run: &RunData, format: StoreFormat, folder: &str) -> Option<RunData> {
    let folder = fresh(folder);
    let written = write_run(run, format, &folder, "").ok()?;
    let read = read_run(&written.samples).expect("what was written can be read");
    check(&read);
    Some(read)
}

fn check(run: &RunData) {
    for series in &run.series {
        assert_eq!(series.timestamps_ns.len(), series.values.len(), "{:?}", series.def);
        assert!(series.timestamps_ns.is_sorted(), "{:?}", series.def);
    }
}

/// Compared as text, since NaN is not equal to itself.
fn text(run: &RunData) -> String {
    format!("{:?} {:?} {:?} {:?}", run.series, run.requests, run.batches, run.events)
}
