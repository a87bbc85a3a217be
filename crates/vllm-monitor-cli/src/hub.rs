//! The one place that owns the core's state: snapshots in, numbered records out.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::broadcast;
use vllm_metrics::RunClock;
use vllm_monitor::{Decision, Monitor, Snapshot, State, TargetState, Time};

/// Records that are kept for readers who come later.
const KEPT_RECORDS: usize = 512;
/// Records that may wait for one reader; a slower reader is told how many it lost.
const READER_QUEUE: usize = 1024;

/// One decision, numbered in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Number, from 1.
    pub id: u64,
    /// Wall-clock time, RFC 3339 in UTC.
    pub time: String,
    /// The target.
    pub target: Arc<str>,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

impl Record {
    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data with text keys")
    }
}

/// What is known of one target besides the core's state.
#[derive(Debug, Clone, Default)]
pub struct TargetView {
    /// Its URL.
    pub url: Arc<str>,
    /// The newest snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Counts of its task.
    pub counts: Counts,
    /// Why a source is not available, one sentence each.
    pub notes: BTreeMap<&'static str, String>,
    /// The server's process, if it runs on this machine.
    pub pid: Option<u32>,
}

/// What a target's task counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Snapshots that were evaluated.
    pub steps: u64,
    /// Ticks that were missed.
    pub missed_ticks: u64,
    /// Pages of metrics read.
    pub pages: u64,
    /// Lines of metrics pages that could not be read.
    pub bad_lines: u64,
    /// Pages that were not pages of metrics.
    pub bad_pages: u64,
    /// Sampler batches that were lost.
    pub lost_samples: u64,
    /// Canaries sent.
    pub canaries: u64,
    /// Snapshots during which the evaluation panicked: a defect of this program.
    pub panics: u64,
}

/// Totals of the whole monitor.
#[derive(Debug, Default)]
pub struct Totals {
    /// Nanoseconds spent evaluating.
    pub step_nanos: AtomicU64,
    /// Snapshots evaluated.
    pub steps: AtomicU64,
    /// Lines that the journal could not write.
    pub journal_lost: AtomicU64,
    /// Lines written.
    pub journal_lines: AtomicU64,
    /// Saves of the state that failed.
    pub saves_failed: AtomicU64,
    /// Saves that succeeded.
    pub saves: AtomicU64,
    /// Notifications.
    pub notified: Arc<alert_delivery::Counts>,
    /// Actions that were begun.
    pub mitigations: AtomicU64,
}

/// The core with its state, and everyone who listens.
#[derive(Debug)]
pub struct Hub {
    clock: RunClock,
    began: Instant,
    monitor: Monitor,
    state: Mutex<State>,
    views: Mutex<BTreeMap<Arc<str>, TargetView>>,
    kept: Mutex<VecDeque<Arc<Record>>>,
    next_id: AtomicU64,
    /// `None` once closed.
    out: Mutex<Option<broadcast::Sender<Arc<Record>>>>,
    /// Totals of the whole monitor.
    pub totals: Totals,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A hub around a monitor and what it learned before.
    pub fn new(monitor: Monitor, state: State, clock: RunClock) -> Self {
        Self {
            clock,
            began: Instant::now(),
            monitor,
            state: Mutex::new(state),
            views: Mutex::default(),
            kept: Mutex::default(),
            next_id: AtomicU64::new(1),
            out: Mutex::new(Some(broadcast::channel(READER_QUEUE).0)),
            totals: Totals::default(),
        }
    }

    /// The clock of every time in snapshots and decisions.
    pub fn clock(&self) -> &RunClock {
        &self.clock
    }

    /// Now, on that clock.
    pub fn now(&self) -> Time {
        Time::from_nanos(self.clock.now_ns())
    }

    /// How long this monitor has been running.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// The core.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Adds a target, so that it is shown before its first snapshot.
    pub fn add(&self, name: &Arc<str>, url: &Arc<str>) {
        let view = TargetView {
            url: Arc::clone(url),
            ..TargetView::default()
        };
        lock(&self.views).insert(Arc::clone(name), view);
    }

    /// Changes what is known of a target.
    pub fn update_view(&self, name: &str, change: impl FnOnce(&mut TargetView)) {
        if let Some(view) = lock(&self.views).get_mut(name) {
            change(view);
        }
    }

    /// Evaluates a snapshot and publishes what was decided.
    pub fn step(&self, snapshot: Snapshot) -> Vec<Arc<Record>> {
        let begun = Instant::now();
        let name = Arc::clone(&snapshot.target);
        let decisions = {
            let mut state = lock(&self.state);
            // A defect in the evaluation of one target must not end that of the others.
            let stepped = catch_unwind(AssertUnwindSafe(|| self.monitor.step(&mut state, &snapshot)));
            stepped.unwrap_or_else(|_| {
                state.forget(&name);
                self.update_view(&name, |view| view.counts.panics += 1);
                Vec::new()
            })
        };
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.totals.step_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.totals.steps.fetch_add(1, Ordering::Relaxed);
        self.update_view(&name, |view| {
            view.counts.steps += 1;
            view.snapshot = Some(Arc::new(snapshot));
        });
        decisions.into_iter().map(|d| self.publish(&name, d)).collect()
    }

    /// Publishes a decision that did not come from a step, such as the outcome of an action.
    pub fn publish(&self, target: &Arc<str>, decision: Decision) -> Arc<Record> {
        if matches!(&decision, Decision::Intent(intent) if !intent.observe_only) {
            self.totals.mitigations.fetch_add(1, Ordering::Relaxed);
        }
        // Numbers are given under the lock, so that they rise in the order in which readers see them.
        let mut kept = lock(&self.kept);
        let record = Arc::new(Record {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            time: rfc3339(self.clock.now_ns()),
            target: Arc::clone(target),
            decision,
        });
        if kept.len() == KEPT_RECORDS {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&record));
        if let Some(out) = &*lock(&self.out) {
            // It fails only while there are no readers.
            let _readers = out.send(Arc::clone(&record));
        }
        record
    }

    /// Records after number `after`, as far as they are kept, and every later one until [`Hub::close`].
    pub fn listen(&self, after: u64) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let kept = lock(&self.kept);
        let before = kept.iter().filter(|record| record.id > after).cloned().collect();
        let later = match &*lock(&self.out) {
            Some(out) => out.subscribe(),
            None => broadcast::channel(1).1,
        };
        (before, later)
    }

    /// Ends every reader's stream of records, after those that were published.
    pub fn close(&self) {
        *lock(&self.out) = None;
    }

    /// Looks at everything: the core's state and the targets' views.
    pub fn read<T>(&self, look: impl FnOnce(&State, &BTreeMap<Arc<str>, TargetView>) -> T) -> T {
        let state = lock(&self.state);
        let views = lock(&self.views);
        look(&state, &views)
    }

    /// Looks at one target of the core.
    pub fn read_target<T>(&self, name: &str, look: impl FnOnce(&TargetState) -> T) -> Option<T> {
        lock(&self.state).target(name).map(look)
    }

    /// Changes one target of the core.
    pub fn change_target<T>(&self, name: &str, change: impl FnOnce(&mut TargetState) -> T) -> Option<T> {
        lock(&self.state).target_mut(name).map(change)
    }

    /// Seconds since the target that waits longest was last evaluated; `None` before every target was.
    pub fn oldest_step_secs(&self) -> Option<f64> {
        let now = self.now();
        self.read(|_, views| {
            views
                .values()
                .map(|view| view.snapshot.as_ref().map(|s| now.secs_since(s.time)))
                .try_fold(0.0, |worst: f64, age| age.map(|age| worst.max(age)))
        })
    }
}

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(unix_ns: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ns.div_euclid(1_000_000))
        .map_or_else(|_| unix_ns.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use vllm_monitor::config::Settings;

    use super::*;

    fn hub() -> Hub {
        Hub::new(
            Monitor::new(Settings::default()),
            State::default(),
            RunClock::start(),
        )
    }

    fn mark(hub: &Hub, target: &Arc<str>) -> u64 {
        let event = vllm_monitor::Event {
            target: Arc::clone(target),
            at: hub.now(),
            kind: vllm_monitor::EventKind::ObservationLost,
        };
        hub.publish(target, Decision::Event(event)).id
    }

    #[test]
    fn records_are_numbered_kept_and_passed_on() {
        let hub = hub();
        let target: Arc<str> = "t".into();
        for _ in 0..KEPT_RECORDS + 5 {
            mark(&hub, &target);
        }
        let (kept, mut later) = hub.listen(0);
        assert_eq!((kept.len(), kept[0].id), (KEPT_RECORDS, 6));
        let id = mark(&hub, &target);
        assert_eq!(later.try_recv().expect("sent").id, id);
        let json = hub.listen(id - 1).0[0].to_json();
        assert!(
            json.contains("\"target\":\"t\"") && json.contains("observation_lost"),
            "{json}"
        );
    }

    #[test]
    fn a_target_without_a_step_is_not_a_full_pass() {
        let hub = hub();
        hub.add(&"a".into(), &"http://a:80".into());
        assert_eq!(hub.oldest_step_secs(), None);
        hub.step(Snapshot::empty("a", hub.now()));
        assert!(hub.oldest_step_secs().is_some_and(|secs| secs < 60.0));
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
    }
}
