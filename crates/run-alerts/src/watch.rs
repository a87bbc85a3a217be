//! Watches a recorder: a thread that evaluates the rules while a record is made.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use alert_delivery::Counts;
use run_diagnosis::alerts::AlertState;
use tokio::sync::oneshot;
use vllm_metrics::view::LiveView;
use vllm_metrics::{Filter, Recorder, Subscription};

use crate::change::Change;
use crate::error::{Error, Result};
use crate::evaluator::Evaluator;
use crate::receivers::{ReceiverTasks, Receivers};
use crate::rules::RuleFile;

/// Bytes of samples that may wait for an evaluation.
const QUEUE_BYTES: usize = 16 << 20;

/// How rules are watched.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Time between evaluations.
    pub every: Duration,
    /// Longest time between two samples of a series.
    pub interval: Duration,
    /// Where alerts go, besides the log and the record.
    pub receivers: Receivers,
}

/// What happened until the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Evaluations of all rules.
    pub evaluations: u64,
    /// How often an alert began to fire.
    pub fired: u64,
    /// How often an alert ceased to fire.
    pub resolved: u64,
    /// Rules and labels of the alerts that fire at the end.
    pub firing: Vec<String>,
    /// Names of rules that had no data at the end.
    pub without_data: Vec<String>,
    /// Requests that a receiver took.
    pub delivered: u64,
    /// Requests and alerts that could not be delivered.
    pub not_delivered: u64,
    /// Why the last of them failed: the receiver's URL without secrets, and its status or the error.
    pub last_error: Option<String>,
    /// Samples that were dropped before an evaluation, because it was too slow.
    pub dropped_samples: u64,
}

/// A thread that evaluates rules over what a recorder publishes, until it is finished.
///
/// Every change is an event of the record ([`vllm_metrics::EventKind::Alert`]) and a line of the log; alerts that begin or
/// cease to fire also go to the receivers.
#[derive(Debug)]
pub struct Alerting {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Summary>,
}

impl Alerting {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Start`] if no thread, runtime or HTTP client can be had.
    pub fn start(recorder: &Recorder, file: &RuleFile, options: &WatchOptions) -> Result<Self> {
        let names: BTreeSet<String> = file.metric_names().into_iter().map(str::to_owned).collect();
        let filter = Filter::none()
            .samples(true)
            .series(move |def| names.contains(&*def.metric_name));
        let evaluator = Evaluator::new(file, options.interval);
        let view = LiveView::new(evaluator.reads());
        let watch = Watch {
            recorder: recorder.clone(),
            subscription: recorder.subscribe(filter, QUEUE_BYTES),
            evaluator,
            view,
            every: options.every,
            summary: Summary::default(),
            without_data: BTreeSet::new(),
        };
        let counts = Arc::new(Counts::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let tasks = {
            let _context = runtime.enter();
            ReceiverTasks::start(&options.receivers, &counts).map_err(Error::Start)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("alerts".into())
            .spawn(move || {
                let mut summary = runtime.block_on(watch.run(tasks, stopped));
                summary.delivered = counts.delivered.load(Ordering::Relaxed);
                summary.not_delivered = counts.failed.load(Ordering::Relaxed);
                summary.last_error = counts.last_error();
                summary
            })
            .map_err(Error::Start)?;
        Ok(Self { stop, thread })
    }

    /// Evaluates a last time, waits up to ten seconds for the last deliveries, and returns what happened. Call it before
    /// the recorder's session ends, so that the last changes are in the record.
    ///
    /// An alert that fires at the end is not resolved: nothing says that its condition is over. An Alertmanager drops it
    /// when it is not repeated.
    ///
    /// # Errors
    /// [`Error::Start`] if the thread panicked.
    pub fn finish(self) -> Result<Summary> {
        let _ended = self.stop.send(());
        self.thread
            .join()
            .map_err(|_| Error::Start(io::Error::other("the thread of the alerts panicked")))
    }
}

struct Watch {
    recorder: Recorder,
    subscription: Subscription,
    evaluator: Evaluator,
    view: LiveView,
    every: Duration,
    summary: Summary,
    without_data: BTreeSet<String>,
}

impl Watch {
    async fn run(mut self, tasks: ReceiverTasks, mut stopped: oneshot::Receiver<()>) -> Summary {
        let first = tokio::time::Instant::now() + self.every;
        let mut ticks = tokio::time::interval_at(first, self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.evaluate(&tasks),
                _ = &mut stopped => break,
            }
        }
        self.evaluate(&tasks);
        tasks.finish().await;
        self.summary.firing = self
            .evaluator
            .alerts()
            .filter(|(_, alert)| alert.state == AlertState::Firing)
            .map(|(rule, alert)| {
                let labels: Vec<String> = alert.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
                format!("{rule}{{{}}}", labels.join(","))
            })
            .collect();
        self.summary.without_data = self.without_data.into_iter().collect();
        self.summary.dropped_samples = self.subscription.dropped().samples;
        self.summary
    }

    fn evaluate(&mut self, tasks: &ReceiverTasks) {
        self.view.apply_all(&self.subscription.try_take());
        self.summary.evaluations += 1;
        let now_ns = self.recorder.now_ns();
        for change in self.evaluator.evaluate(self.view.data(), now_ns) {
            self.report(change, tasks);
        }
    }

    fn report(&mut self, change: Change, tasks: &ReceiverTasks) {
        let transition = &change.transition;
        if transition.labels.is_some() {
            self.summary.fired += u64::from(transition.to == AlertState::Firing);
            self.summary.resolved += u64::from(transition.from == AlertState::Firing);
        } else if transition.to == AlertState::NoData {
            self.without_data.insert(change.rule.clone());
        } else {
            self.without_data.remove(&change.rule);
        }
        self.recorder.emit(change.event());
        if change.is_notified() {
            tasks.send(&Arc::new(change));
        }
    }
}
