//! Follows a run on disk while it grows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use run_model::{Manifest, Record, Result, RunData, Sample, SampleBatch, SeriesDef, SeriesId};

use super::RunReader;
use super::replay::rows;

/// Maximum delay of a new sample relative to the newest one seen: the longest scrape, with a margin.
const OVERLAP_NS: i64 = 60_000_000_000;

/// Returns what was added to a run's files since the last call, each row once.
///
/// Only the end of the files is read again: for Parquet, the row groups of the last minute. The newest time
/// of each series and the identities of returned requests and events are kept, not their content.
///
/// ```no_run
/// use run_store::RunReader;
///
/// let mut tail = RunReader::open("metrics_output")?.tail();
/// loop {
///     let part = tail.next_part()?;
///     for request in &part.requests {
///         println!("{} {}", request.request_id, request.outcome.as_str());
///     }
///     if part.manifest.ended_ns.is_some() {
///         break;
///     }
///     std::thread::sleep(std::time::Duration::from_secs(1));
/// }
/// # Ok::<(), run_model::Error>(())
/// ```
#[derive(Debug)]
pub struct RunTail {
    reader: RunReader,
    newest_ns: i64,
    series: HashMap<Arc<SeriesDef>, i64>,
    ids: HashMap<Arc<SeriesDef>, SeriesId>,
    requests: HashSet<(u64, i64)>,
    batches: HashSet<u64>,
    steps: HashSet<(u32, u64)>,
    engine_requests: HashSet<(Arc<str>, i64)>,
    events: HashSet<(i64, Arc<str>)>,
}

impl RunTail {
    pub(crate) fn new(reader: RunReader) -> Self {
        Self {
            reader,
            newest_ns: i64::MIN,
            series: HashMap::new(),
            ids: HashMap::new(),
            requests: HashSet::new(),
            batches: HashSet::new(),
            steps: HashSet::new(),
            engine_requests: HashSet::new(),
            events: HashSet::new(),
        }
    }

    /// Returns what was added since the last call; the first call returns everything selected. Empty if there
    /// is nothing new. The manifest has an end once the run has.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged. The next call tries again.
    pub fn next_part(&mut self) -> Result<RunData> {
        let from_ns = self.newest_ns.saturating_sub(OVERLAP_NS);
        let mut part = self.reader.clone().no_earlier_than(from_ns).read()?;
        for series in &mut part.series {
            let seen_ns = self.series.entry(Arc::clone(&series.def)).or_insert(i64::MIN);
            let seen = series.timestamps_ns.partition_point(|t| t <= seen_ns);
            *seen_ns = series
                .timestamps_ns
                .last()
                .map_or(*seen_ns, |last| *last.max(seen_ns));
            self.newest_ns = self.newest_ns.max(*seen_ns);
            let in_force = series
                .phases
                .partition_point(|(start, _)| *start <= seen)
                .saturating_sub(1);
            series.phases.drain(..in_force);
            for (start, _) in &mut series.phases {
                *start = start.saturating_sub(seen);
            }
            series.timestamps_ns.drain(..seen);
            series.values.drain(..seen);
        }
        part.series.retain(|series| !series.values.is_empty());
        part.requests
            .retain(|row| self.requests.insert((row.request_id, row.issued_ns)));
        part.batches.retain(|row| self.batches.insert(row.batch_id));
        part.steps.retain(|row| self.steps.insert((row.engine, row.step)));
        part.engine_requests.retain(|row| {
            self.engine_requests
                .insert((Arc::clone(&row.server_request_id), row.done_ns))
        });
        part.events
            .retain(|row| self.events.insert((row.timestamp_ns, Arc::clone(&row.message))));
        Ok(part)
    }

    /// Like [`RunTail::next_part`], as the records that a subscriber of the run receives, with the manifest: each
    /// series before its first sample, and under the same id in every call. Samples are grouped by series, not by
    /// scrape.
    ///
    /// # Errors
    /// As [`RunTail::next_part`].
    pub fn next_records(&mut self) -> Result<(Manifest, Vec<Record>)> {
        let part = self.next_part()?;
        let mut records = Vec::new();
        for series in &part.series {
            let next =
                SeriesId(u32::try_from(self.ids.len()).expect("a run has fewer than four billion series"));
            let id = *self.ids.entry(Arc::clone(&series.def)).or_insert(next);
            if id == next {
                records.push(Record::Series(id, Arc::clone(&series.def)));
            }
            let ends = series.phases.iter().skip(1).map(|(start, _)| *start);
            let ends = ends.chain([series.values.len()]);
            for ((start, phase), end) in series.phases.iter().zip(ends) {
                let samples: Vec<Sample> = (*start..end)
                    .map(|at| Sample {
                        series: id,
                        timestamp_ns: series.timestamps_ns[at],
                        value: series.values[at],
                    })
                    .collect();
                let Some(last) = samples.last() else { continue };
                records.push(Record::Samples(Arc::new(SampleBatch {
                    start_ns: last.timestamp_ns,
                    end_ns: last.timestamp_ns,
                    phase: Arc::clone(phase),
                    samples,
                })));
            }
        }
        records.extend(rows(&part));
        Ok((part.manifest, records))
    }
}
