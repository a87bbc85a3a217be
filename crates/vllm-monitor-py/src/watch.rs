//! A running watch: the side that vLLM calls, and the thread that does the work.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use monitor_acting::Situation;
use rtrb::{Producer, RingBuffer};
use vllm_metrics::RunClock;
use vllm_monitor::config::Settings;

use crate::error::{Error, Result};
use crate::message::{self, Finished, Step};
use crate::status::Status;

mod observe;
mod record;
mod worker;

use record::Record;
use worker::Worker;

/// Calls that may fail before the watch falls silent.
const FAULTS_ALLOWED: u64 = 16;
/// How often the thread empties the ring.
const DRAIN_EVERY: Duration = Duration::from_millis(50);

/// Limits of the engine, as far as its configuration tells them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// `--max-num-seqs`.
    pub max_running: Option<f64>,
    /// `--max-num-queued-reqs`.
    pub max_queued: Option<f64>,
    /// Longest sequence in tokens.
    pub max_model_len_tokens: Option<f64>,
    /// KV blocks of one engine.
    pub kv_blocks: Option<u64>,
    /// Tokens per KV block.
    pub kv_block_tokens: Option<u64>,
}

/// What a watch is started with.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// Name of the target in status, alerts and record.
    pub target: String,
    /// The monitor's settings.
    pub settings: Settings,
    /// Limits of the engine.
    pub limits: Limits,
    /// Version of vLLM.
    pub version: Option<String>,
    /// Folder for a record of steps and requests; none is kept without it.
    pub output_dir: Option<PathBuf>,
    /// Facts for the record's manifest.
    pub facts: BTreeMap<String, String>,
    /// Size of the ring in 64-bit words.
    pub ring_words: usize,
    /// Time between two evaluations.
    pub evaluate_every: Duration,
    /// Time between two writes of the latency histograms, which a killed process loses since the last one.
    pub latencies_every: Duration,
}

impl WatchConfig {
    /// Defaults: a ring of 1 MiB, one evaluation a second.
    pub fn new(target: impl Into<String>, settings: Settings) -> Self {
        Self {
            target: target.into(),
            settings,
            limits: Limits::default(),
            version: None,
            output_dir: None,
            facts: BTreeMap::new(),
            ring_words: 1 << 17,
            evaluate_every: Duration::from_secs(1),
            latencies_every: Duration::from_secs(60),
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl<T: std::fmt::Display> From<T> for Fault {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// The words of one call.
#[derive(Debug)]
pub struct Call<'a> {
    words: &'a mut Vec<u64>,
    refused: u64,
}

impl Call<'_> {
    /// The step that the call is about.
    pub fn step(&mut self, step: &Step) {
        message::put_step(self.words, step);
    }

    /// Times between tokens, in seconds: `count` of them.
    pub fn inter_token(&mut self, engine: u32, count: usize, secs: impl Iterator<Item = f64>) {
        self.refused += message::put_latencies(self.words, engine, false, count, secs) as u64;
    }

    /// Times to first tokens, in seconds: `count` of them.
    pub fn first_token(&mut self, engine: u32, count: usize, secs: impl Iterator<Item = f64>) {
        self.refused += message::put_latencies(self.words, engine, true, count, secs) as u64;
    }

    /// A request that ended.
    pub fn finished(&mut self, at_ns: i64, request: &Finished<'_>) {
        self.refused += u64::from(request.request_id.len() > message::ID_BYTES);
        message::put_finished(self.words, at_ns, request);
    }
}

#[derive(Debug)]
struct Sender {
    producer: Producer<u64>,
    scratch: Vec<u64>,
}

/// What both sides look at.
#[derive(Debug)]
struct Shared {
    dropped: AtomicU64,
    refused: AtomicU64,
    faults: AtomicU64,
    /// Too many calls failed.
    silenced: AtomicBool,
    /// The watch was ended, by its owner or by a panic of its thread.
    closed: AtomicBool,
    last_fault: Mutex<Option<String>>,
    /// What the last evaluation showed, for acting.
    situation: Mutex<Option<Situation>>,
    /// Requests that the frontend has taken and not answered, and when it said so; negative before it did.
    in_flight: AtomicI64,
    in_flight_at_ns: AtomicI64,
    queued_prompt_tokens: AtomicU64,
    rejections: AtomicU64,
    engine_errored: AtomicBool,
    asleep: AtomicBool,
    acting: AtomicBool,
    control: Mutex<Control>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes those who wait for the thread.
    served: Condvar,
}

#[derive(Debug, Default)]
struct Control {
    /// Evaluations asked for, and carried out.
    asked: u64,
    served: u64,
    stop: bool,
    ended: bool,
    published: Option<Arc<Published>>,
}

/// What the thread publishes.
#[derive(Debug)]
struct Published {
    status: Status,
    page: String,
}

/// A running watch. Every method may be called from any thread; [`Watch::record`] never waits.
#[derive(Debug)]
pub struct Watch {
    clock: RunClock,
    sender: Mutex<Sender>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Recorder`] if the record's files cannot be opened, [`Error::Thread`] if the system refuses a thread.
    pub fn start(config: WatchConfig) -> Result<Self> {
        let (producer, consumer) = RingBuffer::new(config.ring_words);
        let record = match &config.output_dir {
            Some(folder) => Some(Record::start(folder.clone(), config.facts.clone())?),
            None => None,
        };
        let clock = record.as_ref().map_or_else(RunClock::start, Record::clock);
        let shared = Arc::new(Shared {
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            silenced: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            last_fault: Mutex::new(None),
            situation: Mutex::new(None),
            in_flight: AtomicI64::new(-1),
            in_flight_at_ns: AtomicI64::new(0),
            queued_prompt_tokens: AtomicU64::new(0),
            rejections: AtomicU64::new(0),
            engine_errored: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            acting: AtomicBool::new(false),
            control: Mutex::new(Control::default()),
            wake: Condvar::new(),
            served: Condvar::new(),
        });
        let worker = Worker::new(config, record, clock.clone(), consumer, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("vllm-monitor".into())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self {
            clock,
            sender: Mutex::new(Sender {
                producer,
                scratch: Vec::with_capacity(1024),
            }),
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes one call of the stat logger. `fill` is given the record's time and puts the messages; if it fails or
    /// panics, nothing of the call is kept and the fault is counted. After 16 faults, calls are passed over.
    pub fn record(&self, fill: impl FnOnce(i64, &mut Call<'_>) -> std::result::Result<(), Fault>) {
        if !self.shared.is_listening() {
            return;
        }
        let mut sender = match self.sender.try_lock() {
            Ok(sender) => sender,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Engines behind one frontend report from one thread; a second thread at the same moment is not waited for.
            Err(TryLockError::WouldBlock) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let Sender { producer, scratch } = &mut *sender;
        scratch.clear();
        let mut call = Call {
            words: scratch,
            refused: 0,
        };
        let now_ns = self.clock.now_ns();
        // What a panic leaves half-done is the scratch memory, which the next call clears.
        match catch_unwind(AssertUnwindSafe(|| fill(now_ns, &mut call))) {
            Ok(Ok(())) => {
                let refused = call.refused;
                if producer.push_entire_slice(scratch).is_err() {
                    self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
                if refused > 0 {
                    self.shared.refused.fetch_add(refused, Ordering::Relaxed);
                }
            }
            Ok(Err(Fault(reason))) => self.shared.fault(reason),
            Err(panic) => self.shared.fault(panic_text(panic.as_ref())),
        }
    }

    /// Requests that the frontend has taken and not answered, and the prompt tokens of those without a first token.
    pub fn in_flight(&self, requests: u64, queued_prompt_tokens: u64) {
        let shared = &self.shared;
        shared
            .queued_prompt_tokens
            .store(queued_prompt_tokens, Ordering::Relaxed);
        shared
            .in_flight
            .store(i64::try_from(requests).unwrap_or(i64::MAX), Ordering::Relaxed);
        shared
            .in_flight_at_ns
            .store(self.clock.now_ns(), Ordering::Relaxed);
    }

    /// The frontend refused a request for lack of room in the queue.
    pub fn rejected(&self) {
        self.shared.rejections.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether vLLM itself says that its engine is dead.
    pub fn engine_errored(&self, errored: bool) {
        self.shared.engine_errored.store(errored, Ordering::Relaxed);
    }

    /// Whether the engine sleeps.
    pub fn asleep(&self, asleep: bool) {
        self.shared.asleep.store(asleep, Ordering::Relaxed);
    }

    /// Whether a lever is set.
    pub fn acting(&self, acting: bool) {
        self.shared.acting.store(acting, Ordering::Relaxed);
    }

    /// Counts a fault of the caller's own.
    pub fn fault(&self, reason: impl Into<String>) {
        self.shared.fault(reason.into());
    }

    /// The state of everything, with all calls that came before taken in. Waits up to `limit` for the thread; what it
    /// published last is returned if it does not answer, and `None` if it never did.
    pub fn status(&self, limit: Duration) -> Option<Status> {
        self.ask(limit).map(|published| published.status.clone())
    }

    /// [`Watch::status`] as a Prometheus page.
    pub fn page(&self, limit: Duration) -> Option<String> {
        self.ask(limit).map(|published| published.page.clone())
    }

    /// What the last evaluation showed, for acting; `None` before the first.
    pub fn situation(&self) -> Option<Situation> {
        lock(&self.shared.situation).clone()
    }

    /// [`Watch::page`] as published last, without asking the thread.
    pub fn latest_page(&self) -> Option<String> {
        let published = lock(&self.shared.control).published.clone();
        published.map(|published| published.page.clone())
    }

    /// What was published last, without asking the thread.
    pub fn latest<T>(&self, look: impl FnOnce(&Status) -> T) -> Option<T> {
        let published = lock(&self.shared.control).published.clone();
        published.map(|published| look(&published.status))
    }

    fn ask(&self, limit: Duration) -> Option<Arc<Published>> {
        let mut control = lock(&self.shared.control);
        control.asked += 1;
        let ticket = control.asked;
        self.shared.wake.notify_all();
        let deadline = Instant::now() + limit;
        while control.served < ticket && !control.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            control = self
                .shared
                .served
                .wait_timeout(control, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        control.published.clone()
    }

    /// Ends the thread, which takes in what is left. Waits for it. Further calls are passed over.
    pub fn finish(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        lock(&self.shared.control).stop = true;
        self.shared.wake.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && let Err(panic) = thread.join()
        {
            self.shared.fault(panic_text(panic.as_ref()));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Not finished: end the thread without waiting for it.
        lock(&self.shared.control).stop = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// Whether calls are taken in.
    fn is_listening(&self) -> bool {
        !self.silenced.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed)
    }

    fn fault(&self, reason: String) {
        let before = self.faults.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_fault) = Some(reason);
        if before + 1 >= FAULTS_ALLOWED {
            self.silenced.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
