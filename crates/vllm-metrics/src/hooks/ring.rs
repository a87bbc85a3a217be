//! One ring per calling thread, and the reader that drains all of them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use super::entry::{Entry, WORDS, Words};
use run_model::EventRow;
use run_model::RunClock;
use run_model::clock::{TickConverter, Ticks};

/// One in this many calls of a thread is timed; a power of two. Timing costs one more reading of the counter.
const TIMED_EVERY: u32 = 64;
/// The same for a thread's first [`EARLY_CALLS`]. Most threads of a harness make few calls, and what these
/// need has left the cache since the last one: without them, the percentiles would be those of tight loops.
const TIMED_EVERY_EARLY: u32 = 8;
const EARLY_CALLS: u32 = 512;
/// The fill level of a thread's ring is checked once per this many calls; a power of two.
const FILL_CHECKED_EVERY: u32 = 256;
/// Entries of a thread's first ring: 28 KiB, which a thread that answers requests fills in a tenth of a
/// second at 5,000 calls a second. A full ring is followed by one of twice its size.
const FIRST_RING: usize = 512;
/// Capacity of the channel of control events (marks, reasons).
const CONTROL_EVENTS: usize = 4096;
/// Number of timed calls kept for the percentiles.
const COSTS: usize = 1 << 16;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// This thread's rings.
    static RINGS: RefCell<ThreadRings> = const {
        RefCell::new(ThreadRings { first: None, others: Vec::new() })
    };
}

/// The rings of one thread, one per live session that it has called: usually one, which is not behind a
/// pointer, because between two calls a busy thread loses what it does not use from the cache.
struct ThreadRings {
    first: Option<ThreadRing>,
    others: Vec<ThreadRing>,
}

impl ThreadRings {
    #[inline]
    fn of(&mut self, hub: &RingHub) -> &mut ThreadRing {
        let is_first = self
            .first
            .as_ref()
            .is_some_and(|ring| ring.session == hub.hot.session);
        if !is_first {
            self.bring_forward(hub);
        }
        self.first.as_mut().expect("brought forward")
    }

    /// Makes the session's ring the first; a new one in the first call.
    #[cold]
    fn bring_forward(&mut self, hub: &RingHub) {
        let is_this = |ring: &ThreadRing| ring.session == hub.hot.session;
        let ring = match self.others.iter().position(is_this) {
            Some(at) => self.others.swap_remove(at),
            None => {
                self.others.retain(|ring| !ring.producer.is_abandoned());
                hub.first_ring()
            }
        };
        self.others.extend(self.first.replace(ring));
    }
}

struct ThreadRing {
    session: u64,
    calls: u32,
    capacity: usize,
    producer: Producer<Words>,
}

/// A control event: sent through a bounded channel instead of a ring.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    ModelLoaded { at_ns: i64 },
    Phase { at_ns: i64, name: Arc<str> },
    TestCompleted { at_ns: i64 },
    Event(EventRow),
    Reason { id: u64, reason: Arc<str> },
}

/// State shared by the callers of one session.
#[derive(Debug)]
pub(crate) struct RingHub {
    hot: Hot,
    ring_words: usize,
    /// Rings not yet picked up by the reader.
    fresh: Mutex<Vec<Consumer<Words>>>,
    dropped: AtomicU64,
    control_events: crossbeam_channel::Sender<ControlEvent>,
    wake: Arc<Notify>,
}

/// What every call reads, in cache lines that are written only when the reader falls asleep or is woken.
#[derive(Debug)]
#[repr(align(128))]
struct Hot {
    session: u64,
    origin: u64,
    /// Whether the reader sleeps until a hook wakes it.
    resting: AtomicBool,
    clock: RunClock,
}

pub(crate) fn hub(clock: &RunClock, ring_words: usize, wake: Arc<Notify>) -> (Arc<RingHub>, HookReader) {
    let (sender, receiver) = crossbeam_channel::bounded(CONTROL_EVENTS);
    let hub = Arc::new(RingHub {
        hot: Hot {
            session: NEXT_SESSION.fetch_add(1, Ordering::Relaxed),
            origin: clock.ticks().0,
            resting: AtomicBool::new(false),
            clock: clock.clone(),
        },
        ring_words,
        fresh: Mutex::new(Vec::new()),
        dropped: AtomicU64::new(0),
        control_events: sender,
        wake,
    });
    let reader = HookReader {
        hub: Arc::clone(&hub),
        rings: Vec::new(),
        control_events: receiver,
        converter: clock.converter(),
        costs: HookCosts::default(),
    };
    (hub, reader)
}

impl RingHub {
    pub(super) fn clock(&self) -> &RunClock {
        &self.hot.clock
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn record(&self, entry: Entry) {
        let hot = &self.hot;
        let ticks = hot.clock.ticks().0;
        let words = entry.encode(ticks.saturating_sub(hot.origin));
        // `try_with`: a thread that is being torn down has no ring any more, which must not panic.
        let kept = RINGS
            .try_with(|rings| {
                // Only a hook called from within a hook could have borrowed it, which never happens.
                let Ok(mut rings) = rings.try_borrow_mut() else {
                    return false;
                };
                let ring = rings.of(self);
                let kept = ring.producer.push(words).is_ok() || self.push_into_larger(ring, words);
                ring.calls = ring.calls.wrapping_add(1);
                if ring.calls.is_multiple_of(TIMED_EVERY_EARLY)
                    && (ring.calls <= EARLY_CALLS || ring.calls.is_multiple_of(TIMED_EVERY))
                {
                    let took = hot.clock.ticks().0.saturating_sub(ticks);
                    let cost = Entry::Cost { ticks: took }.encode(0);
                    // If the ring is full, only this measurement is lost.
                    let _ = ring.producer.push(cost);
                    if ring.calls.is_multiple_of(FILL_CHECKED_EVERY)
                        && ring.producer.slots() < ring.capacity / 2
                    {
                        self.wake.notify_one();
                    }
                }
                kept
            })
            .unwrap_or(false);
        if !kept {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // The first call after an idle period. Relaxed: a call that just misses the flag is read at the
        // reader's next tick.
        if hot.resting.load(Ordering::Relaxed) {
            self.wake_reader();
        }
    }

    #[cold]
    fn wake_reader(&self) {
        if self.hot.resting.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// The ring for the first call of a thread: allocates and takes a lock.
    fn first_ring(&self) -> ThreadRing {
        let capacity = FIRST_RING.min(self.largest_ring());
        ThreadRing {
            session: self.hot.session,
            calls: 0,
            capacity,
            producer: self.new_ring(capacity),
        }
    }

    /// Continues in a larger ring after a burst filled this one; the reader empties the full ring first.
    /// Returns false if the ring already has the maximum size.
    #[cold]
    fn push_into_larger(&self, ring: &mut ThreadRing, words: Words) -> bool {
        let capacity = (ring.capacity * 2).min(self.largest_ring());
        if capacity <= ring.capacity {
            return false;
        }
        ring.producer = self.new_ring(capacity);
        ring.capacity = capacity;
        self.wake.notify_one();
        ring.producer.push(words).is_ok()
    }

    fn largest_ring(&self) -> usize {
        (self.ring_words / WORDS).max(1)
    }

    fn new_ring(&self, capacity: usize) -> Producer<Words> {
        let (mut producer, mut consumer) = RingBuffer::new(capacity);
        // Touches every page now: a page fault would add a microsecond to a later call.
        while producer.push(Words::default()).is_ok() {}
        if let Ok(chunk) = consumer.read_chunk(capacity) {
            chunk.commit_all();
        }
        self.fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(consumer);
        producer
    }

    pub(super) fn control_event(&self, control_event: ControlEvent) {
        if self.control_events.try_send(control_event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }
}

/// The session's side: drains every thread's ring.
#[derive(Debug)]
pub(crate) struct HookReader {
    hub: Arc<RingHub>,
    rings: Vec<Consumer<Words>>,
    control_events: crossbeam_channel::Receiver<ControlEvent>,
    converter: TickConverter,
    costs: HookCosts,
}

impl HookReader {
    /// Passes every available entry to `take` with its time on the run's clock, and returns their number.
    /// Entries of one thread arrive in order; entries of different threads may not.
    pub(super) fn drain(&mut self, mut take: impl FnMut(i64, Entry)) -> usize {
        let mut count = 0;
        self.rings
            .append(&mut self.hub.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        self.converter.refresh();
        for ring in &mut self.rings {
            let Ok(chunk) = ring.read_chunk(ring.slots()) else {
                continue;
            };
            let (first, second) = chunk.as_slices();
            count += first.len() + second.len();
            for words in first.iter().chain(second) {
                match Entry::decode(*words) {
                    Some((_, Entry::Cost { ticks })) => self.costs.add(ticks, &self.converter),
                    Some((since_origin, entry)) => {
                        take(
                            self.converter.to_ns(Ticks(self.hub.hot.origin + since_origin)),
                            entry,
                        );
                    }
                    // Only `encode` writes here.
                    None => debug_assert!(false, "an entry of no known kind"),
                }
            }
            chunk.commit_all();
        }
        // Its thread has ended, so no more entries can arrive.
        self.rings
            .retain(|ring| !(ring.is_abandoned() && ring.is_empty()));
        count
    }

    /// Sets whether the reader sleeps, in which case the next hook call wakes it.
    pub(crate) fn set_resting(&self, resting: bool) {
        self.hub.hot.resting.store(resting, Ordering::Relaxed);
    }

    /// Returns the control events, in order.
    pub(crate) fn control_events(&self) -> impl Iterator<Item = ControlEvent> + '_ {
        self.control_events.try_iter()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.hub.dropped()
    }

    pub(crate) fn costs(&self) -> &HookCosts {
        &self.costs
    }
}

/// Cost of hook calls, from those that were timed.
#[derive(Debug, Default, Clone)]
pub(crate) struct HookCosts {
    sampled_ns: Vec<u32>,
    seen: u64,
}

impl HookCosts {
    fn add(&mut self, ticks: u64, converter: &TickConverter) {
        let ns = u32::try_from(converter.span_ns(0, ticks)).unwrap_or(u32::MAX);
        if self.sampled_ns.len() < COSTS {
            self.sampled_ns.push(ns);
        } else {
            // Overwrites the oldest, so that a long run keeps its latest calls.
            self.sampled_ns[(self.seen % COSTS as u64) as usize] = ns;
        }
        self.seen += 1;
    }

    /// Quantile `q` (0 to 1) in nanoseconds; `None` when no call was timed.
    pub(crate) fn quantile_ns(&self, q: f64) -> Option<u32> {
        let mut sorted = self.sampled_ns.clone();
        if sorted.is_empty() {
            return None;
        }
        let at = ((sorted.len() - 1) as f64 * q).round() as usize;
        Some(*sorted.select_nth_unstable(at).1)
    }
}
