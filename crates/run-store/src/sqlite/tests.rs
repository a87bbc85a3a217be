use super::*;
use run_model::{Sample, SampleBatch, SeriesId};

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
    let def = SeriesDef {
        metric_name: "a".into(),
        labels: "{}".into(),
        metric_type: MetricType::Gauge,
        unit: "".into(),
        source: "test".into(),
        endpoint_url: "".into(),
    };
    store.write(Record::Series(SeriesId(0), Arc::new(def))).unwrap();
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
