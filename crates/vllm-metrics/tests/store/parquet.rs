//! Parquet's own guarantees: complete at every flush, parts, and file size.

use std::fs;
use std::time::Duration;

use vllm_metrics::store::{self, StoreOptions};
use vllm_metrics::{Record, Store, StoreFormat, read_run};

use crate::fixture::{self, assert_same};

fn open(dir: &std::path::Path, options: &StoreOptions) -> Box<dyn Store> {
    store::open_with(StoreFormat::Parquet, dir, &fixture::manifest(), options).unwrap()
}

#[test]
fn a_file_is_whole_after_every_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), &StoreOptions::default());
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0..40 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
        let run = read_run(dir.path()).unwrap();
        assert_same(&run, &fixture::expected(tick + 1, fixture::manifest()));
        assert!(run.notes[0].contains("cut"), "{:?}", run.notes);
    }
    // Not finished: the state after a kill.
    drop(store);
    assert_same(
        &read_run(dir.path()).unwrap(),
        &fixture::expected(40, fixture::manifest()),
    );
}

#[test]
fn segments_merge_without_losing_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), &StoreOptions::default());
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    let ticks = 20_000;
    for tick in 0..ticks {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        if tick % 500 == 499 {
            store.flush().unwrap();
        }
    }
    store.flush().unwrap();
    assert_same(
        &read_run(dir.path()).unwrap(),
        &fixture::expected(ticks, fixture::manifest()),
    );
    let files = store.finish(&fixture::ended()).unwrap();
    let run = read_run(&files.samples).unwrap();
    assert_same(&run, &fixture::expected(ticks, fixture::ended()));
    assert_eq!(run.notes, [""; 0]);
}

#[test]
fn parts_are_joined_by_the_reader_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.rotate_bytes = Some(1);
    let mut store = open(dir.path(), &options);
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0..30 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
        assert_same(
            &read_run(dir.path()).unwrap(),
            &fixture::expected(tick + 1, fixture::manifest()),
        );
    }
    assert!(
        fs::read_dir(dir.path()).unwrap().count() > 10,
        "parts lie beside the live files"
    );
    let files = store.finish(&fixture::ended()).unwrap();
    assert_same(
        &read_run(files.events.unwrap()).unwrap(),
        &fixture::expected(30, fixture::ended()),
    );
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn retention_removes_old_parts_and_the_reader_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.rotate_age = Some(Duration::ZERO);
    options.keep_parts = Some(3);
    let mut store = open(dir.path(), &options);
    fixture::write_series(store.as_mut());
    for tick in 0..10 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
    }
    store.finish(&fixture::ended()).unwrap();
    let run = read_run(dir.path()).unwrap();
    let longest = run.series.iter().map(|series| series.values.len()).max();
    assert_eq!(longest, Some(3));
    assert!(
        run.notes.iter().any(|note| note.contains("retention removed 7")),
        "{:?}",
        run.notes
    );
}

#[test]
fn a_part_left_by_a_kill_while_sealing_is_not_read_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), &StoreOptions::default());
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0..5 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
    }
    store.flush().unwrap();
    let live = dir
        .path()
        .join(format!("vllm_metrics_{}.parquet", fixture::STAMP));
    fs::copy(
        &live,
        dir.path()
            .join(format!("vllm_metrics_{}.part0000.parquet", fixture::STAMP)),
    )
    .unwrap();
    assert_same(
        &read_run(&live).unwrap(),
        &fixture::expected(5, fixture::manifest()),
    );
}

#[test]
fn an_existing_run_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &StoreOptions::default()));
    let again = store::open(StoreFormat::Parquet, dir.path(), &fixture::manifest());
    let message = again.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("exists already"), "{message}");
}

#[test]
fn scrape_ends_become_a_series() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), &StoreOptions::default());
    fixture::write_series(store.as_mut());
    for tick in 0..3 {
        let mut batch = fixture::scrape(tick);
        batch.end_ns = batch.start_ns + 1_234_567;
        store.write(Record::Samples(batch.into())).unwrap();
    }
    let files = store.finish(&fixture::ended()).unwrap();
    let run = read_run(&files.samples).unwrap();
    let ends: Vec<_> = run
        .series
        .iter()
        .filter(|s| s.def.metric_name.as_ref() == store::SCRAPE_DURATION)
        .collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].values, [0.001_234_567; 3]);
    assert_eq!(ends[0].def.labels.as_ref(), r#"{"job":"vllm"}"#);
    assert_eq!(ends[0].def.endpoint_url, fixture::defs()[0].endpoint_url);
}

#[test]
fn a_run_is_found_by_folder_stamp_and_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), &StoreOptions::default());
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    store.write(Record::Samples(fixture::scrape(0).into())).unwrap();
    let files = store.finish(&fixture::ended()).unwrap();
    assert_eq!(
        files.total_bytes,
        files
            .all
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum::<u64>()
    );
    let expected = fixture::expected(1, fixture::ended());
    for path in files
        .all
        .iter()
        .cloned()
        .chain([dir.path().to_path_buf(), dir.path().join(fixture::STAMP)])
    {
        assert_same(&read_run(&path).unwrap(), &expected);
    }
    let error = read_run(dir.path().join("other.parquet")).unwrap_err();
    assert!(error.to_string().contains("original name"), "{error}");
}
