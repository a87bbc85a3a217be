//! Reading a part of a run: metrics, a time range, and what is added during the run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use vllm_metrics::store::{self, RunReader, StoreOptions};
use vllm_metrics::{Record, RunData, SeriesDef, Store, StoreFormat, read_run};

use crate::fixture::{self, assert_same_samples};

const S: i64 = 1_000_000_000;

fn open(format: StoreFormat, dir: &Path) -> Box<dyn Store> {
    let mut store = store::open_with(format, dir, &fixture::manifest(), &StoreOptions::default()).unwrap();
    fixture::write_series(store.as_mut());
    store
}

fn write(store: &mut dyn Store, ticks: std::ops::Range<usize>) {
    for tick in ticks {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
    }
    store.flush().unwrap();
}

/// What a reader of a part must return: these metrics and this time range of the whole run.
fn part_of(run: &RunData, accepts: fn(&str) -> bool, from_ns: i64, to_ns: i64) -> RunData {
    let mut part = run.clone();
    for series in &mut part.series {
        let keep: Vec<usize> = (0..series.values.len())
            .filter(|&i| (from_ns..=to_ns).contains(&series.timestamps_ns[i]))
            .collect();
        let phase = |at: usize| {
            let after = series.phases.partition_point(|(first, _)| *first <= at);
            Arc::clone(&series.phases[after - 1].1)
        };
        let mut phases: Vec<(usize, Arc<str>)> = Vec::new();
        for (index, &at) in keep.iter().enumerate() {
            let phase = phase(at);
            if phases.last().is_none_or(|(_, last)| *last != phase) {
                phases.push((index, phase));
            }
        }
        series.timestamps_ns = keep.iter().map(|&i| series.timestamps_ns[i]).collect();
        series.values = keep.iter().map(|&i| series.values[i]).collect();
        series.phases = phases;
    }
    part.series
        .retain(|series| accepts(&series.def.metric_name) && !series.values.is_empty());
    part
}

#[test]
fn a_part_is_what_the_whole_has_of_it_in_every_format() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(format, dir.path());
        fixture::write_rows(store.as_mut());
        write(store.as_mut(), 0..30);
        store.finish(&fixture::ended()).unwrap();
        let whole = read_run(dir.path()).unwrap();
        let (from_ns, to_ns) = (fixture::START_NS + 10 * S, fixture::START_NS + 20 * S);
        let reader = RunReader::open(dir.path()).unwrap();
        assert_eq!(
            reader.last_sample_ns().unwrap(),
            whole
                .series
                .iter()
                .filter_map(|s| s.timestamps_ns.last().copied())
                .max(),
            "{format}"
        );

        let part = reader.clone().range(from_ns..=to_ns).read().unwrap();
        assert_same_samples(&part, &part_of(&whole, |_| true, from_ns, to_ns));
        assert!(
            !part.series.is_empty() && part.series.len() <= whole.series.len(),
            "{format}"
        );

        let part = reader.clone().metrics(["vllm:num_*"]).read().unwrap();
        let accepts: fn(&str) -> bool = |name| name.starts_with("vllm:num_");
        assert_same_samples(&part, &part_of(&whole, accepts, i64::MIN, i64::MAX));
        assert!(!part.series.is_empty(), "{format}");

        let both = reader.clone().metrics_by(accepts).range(..to_ns).read().unwrap();
        assert_same_samples(&both, &part_of(&whole, accepts, i64::MIN, to_ns - 1));

        let nothing = reader.range(..fixture::START_NS - 3600 * S).read().unwrap();
        assert!(nothing.series.is_empty() && nothing.events.is_empty(), "{format}");
        // A row without an end never ends.
        assert!(nothing.requests.is_empty(), "{format}");
    }
}

#[test]
fn a_tail_gives_each_row_once_while_the_run_goes_on() {
    for &format in StoreFormat::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(format, dir.path());
        write(store.as_mut(), 0..5);
        let mut tail = RunReader::open(dir.path()).unwrap().tail();
        let mut seen: BTreeMap<String, (Vec<i64>, usize)> = BTreeMap::new();
        let (mut requests, mut events) = (0, 0);
        let mut take = |part: RunData| {
            for series in &part.series {
                let key = |def: &SeriesDef| format!("{def:?}");
                let (times, values) = seen.entry(key(&series.def)).or_default();
                times.extend(&series.timestamps_ns);
                *values += series.values.len();
            }
            requests += part.requests.len();
            events += part.events.len();
            part.manifest.ended_ns
        };
        assert_eq!(take(tail.next_part().unwrap()), None, "{format}");
        assert!(
            tail.next_part().unwrap().series.is_empty(),
            "{format}: nothing came"
        );
        fixture::write_rows(store.as_mut());
        write(store.as_mut(), 5..130);
        take(tail.next_part().unwrap());
        write(store.as_mut(), 130..140);
        take(tail.next_part().unwrap());
        store.finish(&fixture::ended()).unwrap();
        assert!(take(tail.next_part().unwrap()).is_some(), "{format}");
        let whole = read_run(dir.path()).unwrap();
        assert_eq!(seen.len(), whole.series.len(), "{format}");
        for series in &whole.series {
            let (times, values) = &seen[&format!("{:?}", series.def)];
            assert_eq!(
                (times, *values),
                (&series.timestamps_ns, series.values.len()),
                "{format}"
            );
        }
        assert_eq!(
            (requests, events),
            (whole.requests.len(), whole.events.len()),
            "{format}"
        );
    }
}
