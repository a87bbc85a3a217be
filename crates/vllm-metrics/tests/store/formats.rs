//! Guarantees of every format: the same run read back during the run, after it, and after any conversion.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use vllm_metrics::store::{self, RunReader, StoreOptions};
use vllm_metrics::{Record, RunData, Sample, SampleBatch, SeriesDef, SeriesId, Store, StoreFormat, read_run};

use crate::fixture::{self, assert_same};

const TICKS: usize = 30;

fn open(format: StoreFormat, dir: &Path, options: &StoreOptions) -> Box<dyn Store> {
    let mut store = store::open_with(format, dir, &fixture::manifest(), options).unwrap();
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    store
}

fn record(format: StoreFormat, dir: &Path) -> store::StoreFiles {
    let mut store = open(format, dir, &StoreOptions::default());
    for tick in 0..TICKS {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        if tick % 4 == 0 {
            store.flush().unwrap();
        }
    }
    store.finish(&fixture::ended()).unwrap()
}

#[test]
fn every_format_reads_back_what_was_written() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let files = record(format, dir.path());
        let expected = fixture::expected(TICKS, fixture::ended());
        let places = [dir.path().to_path_buf(), dir.path().join(fixture::STAMP)];
        for path in files.all.iter().cloned().chain(places) {
            let run = read_run(&path).unwrap_or_else(|error| panic!("{format}, {}: {error}", path.display()));
            assert_same(&run, &expected);
            assert_eq!(run.notes, [""; 0], "{format}");
        }
        assert_eq!(
            files.samples.extension().unwrap().to_str(),
            Some(format.extension())
        );
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, files.all.len(), "{format}: {:?}", files.all);
    }
}

#[test]
fn every_format_is_whole_after_every_flush() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(format, dir.path(), &StoreOptions::default());
        for tick in 0..TICKS {
            store
                .write(Record::Samples(fixture::scrape(tick).into()))
                .unwrap();
            store.flush().unwrap();
            let run = read_run(dir.path()).unwrap();
            assert_same(&run, &fixture::expected(tick + 1, fixture::manifest()));
            assert!(
                run.notes.iter().any(|note| note.contains("cut")),
                "{format}: {:?}",
                run.notes
            );
        }
    }
}

#[test]
fn rows_after_the_last_flush_are_all_that_a_kill_takes() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let mut store = open(format, dir.path(), &StoreOptions::default());
        store.write(Record::Samples(fixture::scrape(0).into())).unwrap();
        store.flush().unwrap();
        store.write(Record::Samples(fixture::scrape(1).into())).unwrap();
        // The files as they are now: the state after a kill.
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        drop(store);
        assert_same(
            &read_run(copy.path()).unwrap(),
            &fixture::expected(1, fixture::manifest()),
        );
    }
}

#[test]
fn parts_are_joined_by_the_reader_and_at_the_end() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::default();
        options.rotate_bytes = Some(1);
        if format == StoreFormat::Sqlite {
            let refused = store::open_with(format, dir.path(), &fixture::manifest(), &options);
            let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains("not split into parts"), "{message}");
            continue;
        }
        let mut store = open(format, dir.path(), &options);
        for tick in 0..12 {
            store
                .write(Record::Samples(fixture::scrape(tick).into()))
                .unwrap();
            store.flush().unwrap();
            assert_same(
                &read_run(dir.path()).unwrap(),
                &fixture::expected(tick + 1, fixture::manifest()),
            );
        }
        let files = store.finish(&fixture::ended()).unwrap();
        assert_same(
            &read_run(dir.path()).unwrap(),
            &fixture::expected(12, fixture::ended()),
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), files.all.len());
    }
}

/// Content of every file in a folder, to check that nothing changed it.
fn snapshot(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn any_format_converts_to_any_other_without_loss() {
    let expected: RunData = fixture::expected(TICKS, fixture::ended());
    for &from in StoreFormat::ALL {
        let input = tempfile::tempdir().unwrap();
        let files = record(from, input.path());
        let before = snapshot(input.path());
        for &to in StoreFormat::ALL {
            let output = tempfile::tempdir().unwrap();
            let (written, notes) = store::convert(&files.samples, to, output.path()).unwrap();
            assert_same(&read_run(&written.samples).unwrap(), &expected);
            assert_eq!(notes, [""; 0]);
            if from != to {
                // Into the input's own folder.
                store::convert(&files.samples, to, input.path()).unwrap();
                for path in store::convert(&files.samples, to, input.path()).err().into_iter() {
                    assert!(path.to_string().contains("exists already"), "{path}");
                }
            } else {
                assert!(
                    store::convert(&files.samples, to, input.path()).is_err(),
                    "would overwrite its input"
                );
            }
        }
        let after = snapshot(input.path());
        for file in &before {
            assert!(after.contains(file), "{from}: {:?} was touched", file.0);
        }
    }
}

#[test]
fn a_cut_run_stays_cut_through_a_conversion() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(StoreFormat::Parquet, dir.path(), &StoreOptions::default());
    store.write(Record::Samples(fixture::scrape(0).into())).unwrap();
    store.flush().unwrap();
    let output = tempfile::tempdir().unwrap();
    let (files, notes) = store::convert(dir.path(), StoreFormat::Csv, output.path()).unwrap();
    assert!(notes[0].contains("cut"), "{notes:?}");
    assert_eq!(read_run(files.samples).unwrap().manifest.ended_ns, None);
}

#[test]
fn a_series_that_a_format_cannot_hold_costs_only_itself() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store::open(format, dir.path(), &fixture::manifest()).unwrap();
        let def = |name: &str, labels: &str| {
            let mut def = SeriesDef::clone(&fixture::defs()[0]);
            def.metric_name = name.into();
            def.labels = labels.into();
            Arc::new(def)
        };
        let refused = store
            .write(Record::Series(SeriesId(0), def("broken", "{not json")))
            .is_err();
        store
            .write(Record::Series(SeriesId(1), def("sound", "{}")))
            .unwrap();
        let batch = SampleBatch {
            start_ns: fixture::START_NS,
            end_ns: fixture::START_NS + 1,
            phase: "".into(),
            samples: [0, 1]
                .map(|id| Sample {
                    series: SeriesId(id),
                    timestamp_ns: fixture::START_NS,
                    value: 2.0,
                })
                .into(),
        };
        assert_eq!(
            store.write(Record::Samples(batch.into())).is_err(),
            refused,
            "{format}"
        );
        let files = store.finish(&fixture::ended()).unwrap();
        let run = read_run(files.samples).unwrap();
        let sound = run
            .series
            .iter()
            .find(|s| s.def.metric_name.as_ref() == "sound")
            .unwrap();
        assert_eq!(sound.values, [2.0], "{format}");
    }
}

/// The number of the line that holds the byte at `at`.
fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
}

/// The line that an error names.
fn named_line(error: &str) -> Option<usize> {
    let (_, after) = error.split_once("line ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[test]
fn a_damaged_byte_is_an_error_that_names_the_file_and_the_line() {
    for (format, needle, damage) in [
        // In the middle of a number, at the end of a text, at the start of a time, in a name, and in a comment with a time.
        (StoreFormat::Csv, ".0,", b'x'),
        (StoreFormat::Csv, "\",gauge", b'x'),
        (StoreFormat::Csv, "2025-06-01T12:00:20", b'x'),
        (StoreFormat::Csv, "2025-06-01T12:00:20", b'"'),
        (StoreFormat::Csv, ",gauge,", 0xff),
        (StoreFormat::Json, ".0,", b'x'),
        (StoreFormat::Json, "2025-06-01T12:00:20", b'x'),
        (StoreFormat::Json, "\",\"metric_name\"", b'x'),
        (StoreFormat::Json, "},\n", b'x'),
        (StoreFormat::Json, ",\n", b' '),
        (StoreFormat::PrometheusText, "vllm:prompt_tokens_total", b'{'),
        (StoreFormat::PrometheusText, "{\"time_ns\":1748779220", b'x'),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let files = record(format, dir.path());
        let mut bytes = fs::read(&files.samples).unwrap();
        // In the rows: the declarations of Prometheus text hold names too.
        let body = bytes.len() / 2;
        let at = bytes[body..]
            .windows(needle.len())
            .position(|window| window == needle.as_bytes())
            .unwrap_or_else(|| panic!("{format}: {needle}"))
            + body;
        bytes[at] = damage;
        fs::write(&files.samples, &bytes).unwrap();
        let error = read_run(dir.path()).unwrap_err().to_string();
        assert!(error.contains(files.samples.to_str().unwrap()), "{error}");
        assert_eq!(
            named_line(&error),
            Some(line_of(&bytes, at)),
            "{format}, {needle}, byte {damage}: {error}"
        );
        assert_eq!(error.matches("line ").count(), 1, "{error}");
    }
}

/// Text tables of one scrape, each with its text: every byte of them can be damaged.
fn small_files(format: StoreFormat, dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut store = open(format, dir, &StoreOptions::default());
    store.write(Record::Samples(fixture::scrape(0).into())).unwrap();
    let files = store.finish(&fixture::ended()).unwrap();
    let tables = [Some(files.samples), files.requests, files.batches, files.events];
    tables
        .into_iter()
        .flatten()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// The lines that an error about the byte at `at` may name.
fn lines_of(path: &Path, whole: &[u8], at: usize) -> std::ops::RangeInclusive<usize> {
    let line = line_of(whole, at);
    // Prometheus text has its other tables in CSV.
    if path.extension().is_none_or(|ending| ending != "csv") {
        return line..=line;
    }
    if line == 1 {
        // The number of columns is wrong, of the header or of the first row.
        return 1..=2;
    }
    // A row with a text of several lines: any of them.
    let quotes = |to: usize| whole[..to].iter().filter(|&&byte| byte == b'"').count();
    let is_row_start = |&at: &usize| whole[at - 1] == b'\n' && quotes(at).is_multiple_of(2);
    let begin = (1..=at).rev().find(is_row_start).unwrap_or(0);
    let end = (at + 1..whole.len()).find(is_row_start).unwrap_or(whole.len());
    line_of(whole, begin)..=line_of(whole, end - 1)
}

#[test]
fn whichever_byte_is_damaged_no_error_names_another_line() {
    const DAMAGES: [u8; 5] = [b'x', b'"', b',', b'}', 0xff];
    for format in [StoreFormat::Csv, StoreFormat::Json, StoreFormat::PrometheusText] {
        let dir = tempfile::tempdir().unwrap();
        let (mut errors, mut damages) = (0, 0);
        for (path, whole) in small_files(format, dir.path()) {
            for at in (0..whole.len()).step_by(3) {
                let mut bytes = whole.clone();
                bytes[at] = DAMAGES[damages % DAMAGES.len()];
                fs::write(&path, &bytes).unwrap();
                damages += 1;
                let Err(error) = read_run(dir.path()) else {
                    continue;
                };
                errors += 1;
                let error = error.to_string();
                assert!(
                    named_line(&error).is_some_and(|line| lines_of(&path, &whole, at).contains(&line)),
                    "{format}, byte {:?} instead of {:?} at {at}, line {}: {error}",
                    char::from(bytes[at]),
                    char::from(whole[at]),
                    line_of(&whole, at)
                );
            }
            fs::write(&path, &whole).unwrap();
        }
        assert!(errors > 100, "{format}: {errors} errors of {damages}");
    }
}

/// Moves everything that a run tells of times.
fn shifted(run: &RunData, by_ns: i64) -> RunData {
    let mut run = run.clone();
    let move_by = |time: &mut i64| *time += by_ns;
    move_by(&mut run.manifest.started_ns);
    run.manifest.ended_ns.iter_mut().for_each(move_by);
    run.series
        .iter_mut()
        .flat_map(|s| &mut s.timestamps_ns)
        .for_each(move_by);
    for row in &mut run.requests {
        let times = [
            &mut row.scheduled_ns,
            &mut row.sent_ns,
            &mut row.first_token_ns,
            &mut row.done_ns,
        ];
        times.into_iter().flatten().for_each(move_by);
        move_by(&mut row.issued_ns);
    }
    for row in &mut run.batches {
        move_by(&mut row.issued_ns);
        row.done_ns.iter_mut().for_each(move_by);
    }
    run.steps
        .iter_mut()
        .for_each(|row| move_by(&mut row.timestamp_ns));
    run.engine_requests
        .iter_mut()
        .for_each(|row| move_by(&mut row.done_ns));
    for row in &mut run.events {
        move_by(&mut row.timestamp_ns);
        row.end_ns.iter_mut().for_each(move_by);
    }
    run
}

#[test]
fn times_before_1970_survive_every_format() {
    // From a second before 1970 to half a minute after its start.
    let by_ns = -fixture::START_NS - 1_000_000_000;
    let expected = shifted(&fixture::expected(TICKS, fixture::ended()), by_ns);
    assert!(expected.manifest.started_ns < 0 && expected.manifest.ended_ns > Some(0));
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let files = store::write_run(&expected, format, dir.path(), "").unwrap();
        assert_same(&read_run(&files.samples).unwrap(), &expected);
        let reader = RunReader::open(dir.path()).unwrap().range(..0).read().unwrap();
        let last = reader
            .series
            .iter()
            .filter_map(|series| series.timestamps_ns.last().copied())
            .max();
        assert!(last.is_some_and(|last_ns| last_ns < 0), "{format}: {last:?}");
    }
}
