//! The driver of a session: the endpoints' tasks, and a loop that drains the hook rings and reports drops.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::receivers::ReceiverMonitor;

use crate::collector::{Collector, ScrapeControl};
#[cfg(feature = "http")]
use crate::export::Server;
use crate::hooks::{Assembler, ControlEvent, HookCosts, HookReader};
use crate::recorder::{
    Dropped, HookFigures, LatestValues, OwnCpu, QueueMonitor, Recorder, SelfSampler, ThreadCpu,
};
use run_model::{EventKind, EventRow};

/// How often hook rings are drained while hooks are called. The rings grow in bursts, so this only bounds the
/// age of a row. Without calls the driver rests until the next one wakes it.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// How often the session's own cost is sampled and drops are checked.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Drives one session; to be spawned on a tokio runtime (see `SessionBuilder::start_with_driver`).
#[derive(Debug)]
pub struct SessionDriver {
    recorder: Recorder,
    collector_cpu: Arc<ThreadCpu>,
    /// Present until its tasks are spawned.
    collector: Option<Collector>,
    control: ScrapeControl,
    stop: CancellationToken,
    wake: Arc<Notify>,
    drain: Drain,
    report_to: Option<crossbeam_channel::Sender<DriverReport>>,
    own_thread: bool,
    #[cfg(feature = "http")]
    server: Option<Server>,
}

/// The parts of a session that its driver needs.
#[derive(Debug)]
pub(super) struct DriverParts {
    pub(super) recorder: Recorder,
    pub(super) queue: QueueMonitor,
    pub(super) latest: Arc<LatestValues>,
    pub(super) collector_cpu: Arc<ThreadCpu>,
    pub(super) writer_cpu: Arc<ThreadCpu>,
}

/// What the driver reports when it ends.
#[derive(Debug, Default)]
pub(crate) struct DriverReport {
    pub(crate) hooks: HookCosts,
    pub(crate) hooks_dropped: u64,
    pub(crate) unfinished_requests: u64,
    pub(crate) requests_without_issue: u64,
    pub(crate) notes: Vec<String>,
}

impl SessionDriver {
    pub(super) fn new(
        parts: DriverParts,
        collector: Collector,
        control: ScrapeControl,
        reader: HookReader,
        wake: Arc<Notify>,
    ) -> Self {
        let stop = control.stopped();
        let drain = Drain {
            own: SelfSampler::new(&parts.recorder),
            recorder: parts.recorder.clone(),
            queue: parts.queue,
            latest: parts.latest,
            collector_cpu: Arc::clone(&parts.collector_cpu),
            writer_cpu: parts.writer_cpu,
            control: control.clone(),
            reader,
            assembler: Assembler::default(),
            reported: Dropped::default(),
            reported_hooks: 0,
            receivers: ReceiverMonitor::default(),
        };
        Self {
            recorder: parts.recorder,
            collector_cpu: parts.collector_cpu,
            collector: Some(collector),
            control,
            stop,
            wake,
            drain,
            report_to: None,
            own_thread: false,
            #[cfg(feature = "http")]
            server: None,
        }
    }

    /// Also serves the session's own endpoint.
    #[cfg(feature = "http")]
    pub(super) fn serving(mut self, server: Option<Server>) -> Self {
        self.server = server;
        self
    }

    /// Reports samples that the receivers did not accept as events.
    pub(super) fn reporting_on(mut self, receivers: ReceiverMonitor) -> Self {
        self.drain.receivers = receivers;
        self
    }

    /// Marks that only the session runs on the current thread, so its CPU time is the session's.
    pub(super) fn on_own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    pub(super) fn reporting_to(mut self, sender: crossbeam_channel::Sender<DriverReport>) -> Self {
        self.report_to = Some(sender);
        self
    }

    /// Runs until the session is finished.
    pub(super) async fn run(mut self) -> DriverReport {
        let tracker = TaskTracker::new();
        // The endpoints' ticks and our own coincide, so that one wake-up serves both.
        let start = Instant::now();
        self.recorder.emit(EventRow::new(
            self.recorder.now_ns(),
            EventKind::SessionStarted,
            "self",
            "recording began",
        ));
        if let Some(collector) = self.collector.take() {
            collector.spawn(&self.control, &tracker, start);
        }
        #[cfg(feature = "http")]
        if let Some(server) = self.server.take() {
            tracker.spawn(server.run(self.stop.clone()));
        }
        tracker.close();
        let mut watch = interval_at(start + WATCH_EVERY, WATCH_EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut busy = false;
        loop {
            if !busy {
                self.drain.reader.set_resting(true);
                // Calls made since the last pass do not wake the driver.
                busy = self.drain.pass();
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(DRAIN_EVERY), if busy => {}
                _ = watch.tick() => self.watch(),
            }
            busy = self.drain.pass();
        }
        // Last scrapes first: hooks may still be called meanwhile.
        tracker.wait().await;
        self.watch();
        self.drain.finish()
    }

    fn watch(&mut self) {
        if self.own_thread {
            self.collector_cpu.update();
        }
        self.drain.watch();
        self.drain.sample_own_cost();
    }
}

impl IntoFuture for SessionDriver {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let report_to = self.report_to.take();
        Box::pin(async move {
            let report = self.run().await;
            if let Some(sender) = report_to {
                // The receiving side is gone if the session was dropped unfinished.
                let _ = sender.send(report);
            }
        })
    }
}

/// Drains the hooks.
#[derive(Debug)]
struct Drain {
    own: SelfSampler,
    recorder: Recorder,
    /// The queue of the run's files.
    queue: QueueMonitor,
    latest: Arc<LatestValues>,
    collector_cpu: Arc<ThreadCpu>,
    writer_cpu: Arc<ThreadCpu>,
    control: ScrapeControl,
    reader: HookReader,
    assembler: Assembler,
    reported: Dropped,
    reported_hooks: u64,
    receivers: ReceiverMonitor,
}

impl Drain {
    /// Handles control events first, so that a phase is known before the samples of the scrape it forces.
    /// Returns false if there was nothing to do.
    fn pass(&mut self) -> bool {
        let control_events: Vec<ControlEvent> = self.reader.control_events().collect();
        for control_event in control_events {
            self.control_event(control_event);
        }
        let recorder = &self.recorder;
        self.assembler
            .pass(&mut self.reader, &mut |record| recorder.publish(&record))
    }

    fn control_event(&mut self, control_event: ControlEvent) {
        let mark = |at_ns, kind, message: String, attributes| {
            let event = EventRow::new(at_ns, kind, "harness", message).attributes(&attributes);
            self.recorder.emit(event);
        };
        match control_event {
            ControlEvent::Phase { at_ns, name } => {
                mark(
                    at_ns,
                    EventKind::Phase,
                    format!("phase {name} began"),
                    json!({"phase": *name}),
                );
                self.recorder.begin_phase(at_ns, name);
                self.control.force();
            }
            ControlEvent::ModelLoaded { at_ns } => {
                mark(
                    at_ns,
                    EventKind::ModelLoaded,
                    "the model is loaded and answers".into(),
                    json!({}),
                );
                self.control.force();
            }
            ControlEvent::TestCompleted { at_ns } => {
                mark(
                    at_ns,
                    EventKind::TestCompleted,
                    "the last query was answered".into(),
                    json!({}),
                );
                self.control.force();
            }
            ControlEvent::Event(event) => self.recorder.event(event),
            ControlEvent::Reason { id, reason } => self.assembler.reason(id, reason),
        }
    }

    fn sample_own_cost(&self) {
        let costs = self.reader.costs();
        let hooks = HookFigures {
            p50_ns: costs.quantile_ns(0.5),
            p99_ns: costs.quantile_ns(0.99),
            dropped: self.reader.dropped(),
        };
        let cpu = OwnCpu {
            collector: self.collector_cpu.get(),
            writer: self.writer_cpu.get(),
        };
        self.own.sample(&self.queue, cpu, hooks);
        self.latest.fold();
    }

    /// Reports drops and failing receivers since the last call.
    fn watch(&mut self) {
        for news in self.receivers.news() {
            let now_ns = self.recorder.now_ns();
            self.recorder
                .emit(EventRow::new(now_ns, EventKind::NotDelivered, "self", news));
        }
        let dropped = self.queue.dropped();
        let hooks = self.reader.dropped();
        if dropped == self.reported && hooks == self.reported_hooks {
            return;
        }
        let samples = dropped.samples - self.reported.samples;
        let rows = dropped.rows - self.reported.rows;
        let events = dropped.events - self.reported.events;
        let calls = hooks - self.reported_hooks;
        (self.reported, self.reported_hooks) = (dropped, hooks);
        let message = format!(
            "dropped because the store could not keep up: {samples} samples, {rows} rows, {events} events; because a \
             hook ring was full: {calls} hook calls"
        );
        self.recorder.emit(
            EventRow::new(self.recorder.now_ns(), EventKind::Dropped, "self", message).attributes(
                &json!({"samples": samples, "rows": rows, "events": events, "hook_calls": calls}),
            ),
        );
    }

    fn finish(mut self) -> DriverReport {
        // Two passes complete all answered requests; the rest was not answered.
        self.pass();
        self.pass();
        let recorder = &self.recorder;
        let unfinished_requests = self.assembler.finish(&mut |record| recorder.publish(&record));
        self.watch();
        self.recorder.emit(EventRow::new(
            self.recorder.now_ns(),
            EventKind::SessionFinished,
            "self",
            "recording ended",
        ));
        let requests_without_issue = self.assembler.without_issue();
        let mut notes = Vec::new();
        if requests_without_issue > 0 {
            notes.push(format!(
                "{requests_without_issue} requests have no issue time of their own"
            ));
        }
        DriverReport {
            hooks: self.reader.costs().clone(),
            hooks_dropped: self.reader.dropped(),
            unfinished_requests,
            requests_without_issue,
            notes,
        }
    }
}
