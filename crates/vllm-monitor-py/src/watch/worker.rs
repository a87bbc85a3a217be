//! The thread of a watch: empties the ring, evaluates once a second, answers those who ask.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rtrb::Consumer;
use vllm_metrics::RunClock;
use vllm_monitor::Time;

use super::observe::Observer;
use super::record::Record;
use super::{DRAIN_EVERY, Published, Shared, WatchConfig, lock, panic_text};
use crate::message::{Message, each_message};
use crate::page;
use crate::tally::Tally;

pub(super) struct Worker {
    clock: RunClock,
    ring: Consumer<u64>,
    shared: Arc<Shared>,
    observer: Observer,
    record: Option<Record>,
    /// Where the record is, or why there is none.
    record_place: Option<String>,
    tally: Tally,
    every: std::time::Duration,
    latencies_every: std::time::Duration,
    /// Scratch memory: the words of one pass, and the bytes of an id.
    words: Vec<u64>,
    id: Vec<u8>,
    faults_told: bool,
    silence_told: bool,
    drops_told: bool,
}

impl Worker {
    pub(super) fn new(
        config: WatchConfig,
        record: Option<Record>,
        clock: RunClock,
        ring: Consumer<u64>,
        shared: Arc<Shared>,
    ) -> Self {
        let folder = config
            .output_dir
            .as_ref()
            .map(|folder| folder.display().to_string());
        let record_place = folder
            .zip(record.as_ref())
            .map(|(folder, record)| format!("{folder}/vllm_metrics_{}.parquet", record.stamp()));
        Self {
            clock,
            ring,
            record,
            record_place,
            shared,
            every: config.evaluate_every,
            latencies_every: config.latencies_every,
            observer: Observer::new(config),
            tally: Tally::default(),
            words: Vec::new(),
            id: Vec::new(),
            faults_told: false,
            silence_told: false,
            drops_told: false,
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let end = catch_unwind(AssertUnwindSafe(move || self.work()));
        if let Err(panic) = end {
            let reason = panic_text(panic.as_ref());
            tell(&format!(
                "the monitor's thread ended and monitors nothing any more: {reason}"
            ));
            shared.fault(reason);
            shared.closed.store(true, Ordering::Relaxed);
        }
        let mut control = lock(&shared.control);
        control.ended = true;
        if let Some(published) = &control.published {
            let mut status = published.status.clone();
            status.monitor_active = false;
            let page = published.page.clone();
            control.published = Some(Arc::new(Published { status, page }));
        }
        shared.served.notify_all();
    }

    fn work(&mut self) {
        let mut next = Instant::now();
        let mut latencies_at = next + self.latencies_every;
        loop {
            let (asked, stop) = self.wait();
            self.drain();
            let now = Instant::now();
            let due = now >= next;
            if due {
                next = now + self.every;
            }
            if now >= latencies_at {
                latencies_at = now + self.latencies_every;
                if let Some(record) = &self.record {
                    record.all_latencies(&self.tally);
                }
            }
            if due || stop || asked.is_some() {
                self.tell_once();
                self.publish(due, asked);
            }
            if stop {
                self.close_record();
                return;
            }
        }
    }

    fn close_record(&mut self) {
        let Some(record) = self.record.take() else { return };
        match record.finish(&self.tally) {
            Ok(notes) => notes.iter().for_each(|note| tell(&format!("the record: {note}"))),
            Err(error) => tell(&format!("the record could not be closed: {error}")),
        }
    }

    /// Sleeps until there is something to do: the number of evaluations asked for, if any is open, and whether to stop.
    fn wait(&self) -> (Option<u64>, bool) {
        let open = |control: &super::Control| (control.asked > control.served).then_some(control.asked);
        let control = lock(&self.shared.control);
        if control.stop || open(&control).is_some() {
            return (open(&control), control.stop);
        }
        let (control, _) = self
            .shared
            .wake
            .wait_timeout(control, DRAIN_EVERY)
            .unwrap_or_else(PoisonError::into_inner);
        (open(&control), control.stop)
    }

    fn drain(&mut self) {
        self.words.clear();
        let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) else {
            return;
        };
        let (first, second) = chunk.as_slices();
        self.words.extend_from_slice(first);
        self.words.extend_from_slice(second);
        chunk.commit_all();
        let tally = &mut self.tally;
        let record = self.record.as_ref();
        let whole = each_message(&self.words, &mut self.id, |message| match message {
            Message::Step(step) => {
                if let (Some(counted), Some(record)) = (tally.step(step), record) {
                    record.step(&counted);
                }
            }
            other => {
                tally.other(&other);
                if let (Message::Finished { at_ns, request }, Some(record)) = (&other, record) {
                    record.finished(*at_ns, request);
                }
            }
        });
        if !whole {
            self.shared.fault("the ring held words that no call wrote".into());
        }
    }

    fn publish(&mut self, evaluate: bool, asked: Option<u64>) {
        let now_ns = self.clock.now_ns();
        if evaluate {
            let decisions = self
                .observer
                .evaluate(Time::from_nanos(now_ns), &self.tally, &self.shared);
            if let Some(record) = &self.record {
                record.decisions(&decisions);
            }
        }
        let mut status = self.observer.status(now_ns, &self.tally, &self.shared);
        status.record.clone_from(&self.record_place);
        let page = match page::write(&status, &self.tally) {
            Ok(page) => page,
            Err(error) => {
                self.shared.fault(error.to_string());
                String::new()
            }
        };
        let mut control = lock(&self.shared.control);
        control.published = Some(Arc::new(Published { status, page }));
        if let Some(asked) = asked {
            control.served = asked;
        }
        self.shared.served.notify_all();
    }

    /// Says each kind of trouble once.
    fn tell_once(&mut self) {
        let faults = self.shared.faults.load(Ordering::Relaxed);
        if faults > 0 && !self.faults_told {
            self.faults_told = true;
            let reason = lock(&self.shared.last_fault).clone().unwrap_or_default();
            tell(&format!(
                "a step could not be recorded ({reason}); the engine is not affected. Further faults are counted in the \
                 status and not told"
            ));
        }
        if self.shared.silenced.load(Ordering::Relaxed) && faults > 0 && !self.silence_told {
            self.silence_told = true;
            tell(&format!(
                "{faults} steps could not be recorded; recording is off until the server restarts"
            ));
        }
        if self.shared.dropped.load(Ordering::Relaxed) > 0 && !self.drops_told {
            self.drops_told = true;
            tell("steps came faster than they could be taken in; lost ones are counted in the status");
        }
    }
}

/// One line on standard error, as vLLM's own log is. A closed one is no reason to fail.
fn tell(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "vllm_monitor: {text}");
}
