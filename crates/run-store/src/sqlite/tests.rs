use super::*;
use run_model::{MetricType, Sample, SampleBatch, SeriesDef, SeriesId};

fn batch(at: i64) -> Record {
    // Enough rows that a few batches need another page of the database.
    let samples = (0..200)
        .map(|n| Sample {
            series: SeriesId(0),
            timestamp_ns: at * 1_000_000 + n,
            value: n as f64,
        })
        .collect();
    Record::Samples(Arc::new(SampleBatch {
        start_ns: at * 1_000_000,
        end_ns: at * 1_000_000,
        phase: Arc::from(format!("phase {}", at / 10)),
        samples,
    }))
}

#[test]
fn a_disk_that_was_full_for_a_while_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = RunFiles::new(folder.path(), "20240101_000000", crate::StoreFormat::Sqlite);
    let mut store = SqliteStore::create(&files, &Manifest::default()).unwrap();
    let limit = |store: &SqliteStore, pages: i64| {
        store
            .database
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    };
    store.write(one_gauge()).unwrap();
    for at in 0..5 {
        store.write(batch(at)).unwrap();
    }
    store.flush().unwrap();
    let pages: i64 = store
        .database
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    limit(&store, pages + 2);
    let mut refused = 0;
    for at in 5..40 {
        store.write(batch(at)).unwrap();
        refused += u32::from(at % 10 == 0 && store.flush().is_err());
    }
    assert!(refused > 0, "the limit holds");
    limit(&store, 1_000_000);
    store.flush().unwrap();
    store.write(batch(40)).unwrap();
    let written = Box::new(store).finish(&Manifest::default()).unwrap();
    let database = Connection::open(written.samples).unwrap();
    let count = |query: &str| -> i64 { database.query_row(query, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM samples"), 41 * 200);
    assert_eq!(
        count("SELECT count(DISTINCT timestamp_ns) FROM samples"),
        41 * 200
    );
    assert_eq!(count("SELECT count(*) FROM series"), 1);
    assert_eq!(
        count("SELECT count(*) FROM samples JOIN phases USING (phase_id)"),
        41 * 200
    );
}

fn one_gauge() -> Record {
    Record::Series(
        SeriesId(0),
        Arc::new(SeriesDef {
            metric_name: "a".into(),
            labels: "{}".into(),
            metric_type: MetricType::Gauge,
            unit: "".into(),
            source: "test".into(),
            endpoint_url: "".into(),
        }),
    )
}

/// The files of a folder with their content.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_journal_left_by_a_kill_is_rolled_back_in_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let files = RunFiles::new(folder.path(), "20240101_000000", crate::StoreFormat::Sqlite);
    let mut store = Box::new(SqliteStore::create(&files, &Manifest::default()).unwrap());
    store.write(one_gauge()).unwrap();
    store.write(batch(0)).unwrap();
    let written = store.finish(&Manifest::default()).unwrap();
    // What a kill leaves: pages already changed, with their old content in the journal.
    let database = Connection::open(&written.samples).unwrap();
    database.pragma_update(None, "cache_size", 1).unwrap();
    database
        .execute_batch(
            "BEGIN; UPDATE samples SET value = 7, value_text = 'changed by a transaction that never ended';",
        )
        .unwrap();
    let killed = tempfile::tempdir().unwrap();
    for (path, bytes) in contents(folder.path()) {
        std::fs::write(killed.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let left = contents(killed.path());
    assert_eq!(left.len(), 2, "a database and its journal");
    let run = crate::read_run(killed.path()).unwrap();
    let expected: Vec<f64> = (0..200).map(f64::from).collect();
    assert_eq!(run.series[0].values, expected);
    assert_eq!(contents(killed.path()), left, "the files stay as they are");
}

#[test]
fn the_view_shows_times_before_1970() {
    let folder = tempfile::tempdir().unwrap();
    let files = RunFiles::new(folder.path(), "19691231_235958", crate::StoreFormat::Sqlite);
    let mut store = Box::new(SqliteStore::create(&files, &Manifest::default()).unwrap());
    store.write(one_gauge()).unwrap();
    store.write(batch(-1_500)).unwrap();
    let written = store.finish(&Manifest::default()).unwrap();
    let database = Connection::open(written.samples).unwrap();
    let first: String = database
        .query_row("SELECT min(timestamp) FROM metrics", [], |row| row.get(0))
        .unwrap();
    assert_eq!(first, "1969-12-31T23:59:58.500000000Z");
}
