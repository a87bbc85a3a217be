//! A record on disk that grows, or is complete.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use run_report::HarnessVerdict;
use run_terminal::{Queries, Source, State, Status, Stop};
use vllm_metrics::Manifest;
use vllm_metrics::store::{RunReader, RunTail};
use vllm_metrics::view::LiveView;

use crate::console;

/// Shortest time between two reads of a record that grows; it is written about once a second.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Reading may take this share of the time.
const READ_SHARE: u32 = 50;
/// Silence after which a record without an end is reported. Longer than the largest usual interval.
const SILENCE: Duration = Duration::from_secs(15);

/// A record and where it was read to.
pub(crate) struct Stored {
    tail: RunTail,
    folder: PathBuf,
    manifest: Manifest,
    judged: Option<HarnessVerdict>,
    newest_ns: Option<i64>,
    /// Everything up to the record's end was read.
    is_read: bool,
    problem: Option<String>,
    next_read: Instant,
}

impl Stored {
    /// Opens the record that `path` belongs to.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(path: &Path, folder: &Path) -> vllm_metrics::Result<Self> {
        let reader = RunReader::open(path)?;
        let nothing = reader.clone().metrics_by(|_| false).range(i64::MAX..);
        Ok(Self {
            manifest: nothing.read()?.manifest,
            tail: reader.tail(),
            folder: folder.to_owned(),
            is_read: false,
            judged: None,
            newest_ns: None,
            problem: None,
            next_read: Instant::now(),
        })
    }

    /// The record has an end, and so nothing more follows.
    pub(crate) fn has_ended(&self) -> bool {
        self.manifest.ended_ns.is_some()
    }

    /// Reads what was added.
    pub(crate) fn read(&mut self, view: &mut LiveView) {
        let began = Instant::now();
        if !self.is_read {
            match self.tail.next_records() {
                Ok((manifest, records)) => {
                    self.problem = None;
                    view.describe(manifest.clone());
                    self.manifest = manifest;
                    self.is_read = self.has_ended();
                    view.apply_all(&records);
                    self.newest_ns = view.newest_ns();
                }
                // A file that is being replaced; the next read finds it.
                Err(error) => self.problem = Some(format!("the record cannot be read: {error}")),
            }
        }
        // The verdict is written after the record.
        if self.is_read && self.judged.is_none() {
            match HarnessVerdict::read(&self.folder, &self.manifest.stamp) {
                Ok(judged) => self.judged = judged,
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        self.next_read = Instant::now() + READ_EVERY.max(began.elapsed() * READ_SHARE);
    }

    /// The state of the record at the time `now_ns`.
    pub(crate) fn status(&self, view: &LiveView, now_ns: i64) -> Status {
        let totals = view.totals();
        let has_load = totals.completed + totals.failed > 0;
        let until_ns = self
            .manifest
            .ended_ns
            .or(self.newest_ns)
            .unwrap_or(self.manifest.started_ns);
        let elapsed_ns = u64::try_from(until_ns - self.manifest.started_ns).unwrap_or(0);
        Status {
            title: super::title(&self.manifest),
            facts: super::server_facts(&self.manifest),
            simulated: self.manifest.simulated,
            state: self.state(now_ns),
            queries: has_load.then_some(Queries {
                completed: totals.completed,
                failed: totals.failed,
                ..Queries::default()
            }),
            elapsed: Some(Duration::from_nanos(elapsed_ns)),
            limits: super::limits(&self.manifest),
            notes: self.problem.iter().cloned().collect(),
            log: console::held(),
            ..Status::default()
        }
    }

    fn state(&self, now_ns: i64) -> State {
        if self.is_read {
            return State::Ended {
                verdict: self.judged.as_ref().map(|judged| judged.result.clone()),
                counts: self
                    .judged
                    .as_ref()
                    .is_some_and(|judged| judged.validity == run_report::Validity::Valid),
                reasons: self
                    .judged
                    .as_ref()
                    .map_or_else(Vec::new, |judged| judged.reasons.clone()),
            };
        }
        let since_ns = self.newest_ns.unwrap_or(self.manifest.started_ns);
        let silence = Duration::from_nanos(u64::try_from(now_ns.saturating_sub(since_ns)).unwrap_or(0));
        if silence > SILENCE {
            State::Silent(silence)
        } else {
            State::Running
        }
    }
}

/// Now, on the clock of records.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl Source for Stored {
    fn advance(&mut self, view: &mut LiveView) -> Status {
        if Instant::now() >= self.next_read {
            self.read(view);
        }
        self.status(view, now_ns())
    }

    fn stop(&mut self, _: Stop) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vllm_metrics::store::{StoreFormat, write_run};
    use vllm_metrics::{MetricType, RunData, SeriesData, SeriesDef};

    use super::*;

    const S: i64 = 1_000_000_000;

    /// A record of the first `seconds` seconds of a run, in a folder.
    fn write(folder: &Path, seconds: i64, ended: bool) {
        let run = RunData {
            manifest: Manifest {
                stamp: "20260101_000000".into(),
                started_ns: S,
                ended_ns: ended.then_some((seconds + 1) * S),
                simulated: true,
                facts: [("model", "m"), ("scenario", "Server"), ("ttft_limit_secs", "2")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            },
            series: vec![SeriesData {
                def: Arc::new(SeriesDef {
                    metric_name: "vllm:num_requests_running".into(),
                    labels: "{}".into(),
                    metric_type: MetricType::Gauge,
                    unit: "requests".into(),
                    source: "prometheus".into(),
                    endpoint_url: "http://a/metrics".into(),
                }),
                timestamps_ns: (1..=seconds).map(|second| second * S).collect(),
                values: (1..=seconds).map(|second| second as f64).collect(),
                phases: vec![(0, "performance".into())],
            }],
            ..RunData::default()
        };
        for file in std::fs::read_dir(folder).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        write_run(&run, StoreFormat::Csv, folder, "").unwrap();
    }

    #[test]
    fn a_record_grows_falls_silent_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 3, false);
        let mut stored = Stored::open(folder, folder).unwrap();
        let mut view = LiveView::new(Duration::MAX);
        stored.read(&mut view);
        let status = stored.status(&view, 5 * S);
        assert_eq!(
            (&*status.title, status.simulated, &status.state),
            ("m, Server", true, &State::Running)
        );
        assert_eq!(status.limits.ttft_secs, Some(2.0));
        assert_eq!(status.queries, None);
        let silent = stored.status(&view, 100 * S).state;
        assert_eq!(silent, State::Silent(Duration::from_secs(97)));
        write(folder, 6, true);
        stored.read(&mut view);
        assert_eq!(view.figures(Duration::from_secs(1)).engine.running, Some(6.0));
        // Each sample arrived once.
        assert_eq!(view.totals().samples, 6);
        let ended = stored.status(&view, 100 * S);
        let not_judged = State::Ended {
            verdict: None,
            counts: false,
            reasons: Vec::new(),
        };
        assert_eq!(ended.state, not_judged);
        assert_eq!(ended.elapsed, Some(Duration::from_secs(6)));
        let judged = HarnessVerdict {
            validity: run_report::Validity::NotValid,
            result: "INVALID".into(),
            reasons: vec!["too short".into()],
            interrupted: None,
            figures: Vec::new(),
        };
        judged.write(folder, "20260101_000000").unwrap();
        stored.read(&mut view);
        assert!(matches!(
            stored.status(&view, 100 * S).state,
            State::Ended { verdict: Some(word), counts: false, .. } if word == "INVALID"
        ));
    }

    #[test]
    fn no_record_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Stored::open(folder.path(), folder.path()).is_err());
    }
}
