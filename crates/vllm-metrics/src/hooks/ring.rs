//! One ring per calling thread, and the reader that empties them all.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use super::entry::{Entry, WORDS, Words};
use crate::clock::{RunClock, TickConverter, Ticks};
use crate::model::EventRow;

/// Every how many calls of a thread one is timed; a power of two. Timing costs one more reading of the counter.
const TIMED_EVERY: u32 = 64;
/// Marks that may wait in the side door.
const ASIDES: usize = 4096;
/// How many timed calls are kept for the percentiles.
const COSTS: usize = 1 << 16;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// This thread's rings, one per live session that it has called: almost always one.
    static RINGS: RefCell<Vec<ThreadRing>> = const { RefCell::new(Vec::new()) };
}

struct ThreadRing {
    session: u64,
    calls: u32,
    producer: Producer<Words>,
}

/// A mark that takes the side door.
#[derive(Debug)]
pub(crate) enum Aside {
    ModelLoaded { at_ns: i64 },
    Phase { at_ns: i64, name: Arc<str> },
    TestCompleted { at_ns: i64 },
    Event(EventRow),
    Reason { id: u64, reason: Arc<str> },
}

/// What the callers of one session share.
#[derive(Debug)]
pub(crate) struct RingHub {
    session: u64,
    clock: RunClock,
    origin: u64,
    ring_words: usize,
    /// Rings that the reader has not taken over yet.
    fresh: Mutex<Vec<Consumer<Words>>>,
    dropped: AtomicU64,
    asides: crossbeam_channel::Sender<Aside>,
    wake: Arc<Notify>,
}

pub(crate) fn hub(clock: &RunClock, ring_words: usize, wake: Arc<Notify>) -> (Arc<RingHub>, HookReader) {
    let (sender, receiver) = crossbeam_channel::bounded(ASIDES);
    let hub = Arc::new(RingHub {
        session: NEXT_SESSION.fetch_add(1, Ordering::Relaxed),
        clock: clock.clone(),
        origin: clock.ticks().0,
        ring_words,
        fresh: Mutex::new(Vec::new()),
        dropped: AtomicU64::new(0),
        asides: sender,
        wake,
    });
    let reader = HookReader {
        hub: Arc::clone(&hub),
        rings: Vec::new(),
        asides: receiver,
        converter: clock.converter(),
        costs: HookCosts::default(),
    };
    (hub, reader)
}

impl RingHub {
    pub(super) fn clock(&self) -> &RunClock {
        &self.clock
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn record(&self, entry: Entry) {
        let ticks = self.clock.ticks().0;
        let words = entry.encode(ticks.saturating_sub(self.origin));
        // `try_with`: a thread that is being torn down has no ring any more, and that must not panic.
        let kept = RINGS
            .try_with(|rings| {
                // Only a hook called from within a hook could have borrowed it: there is none.
                let Ok(mut rings) = rings.try_borrow_mut() else {
                    return false;
                };
                let at = match rings.iter().position(|ring| ring.session == self.session) {
                    Some(at) => at,
                    None => self.add_ring(&mut rings),
                };
                let ring = &mut rings[at];
                let kept = ring.producer.push(words).is_ok();
                ring.calls = ring.calls.wrapping_add(1);
                if ring.calls.is_multiple_of(TIMED_EVERY) {
                    let took = self.clock.ticks().0.saturating_sub(ticks);
                    let cost = Entry::Cost { ticks: took }.encode(0);
                    // A full ring loses this measurement, nothing of the run.
                    let _ = ring.producer.push(cost);
                }
                kept
            })
            .unwrap_or(false);
        if !kept {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first call of a thread: the only one that allocates or takes a lock.
    #[cold]
    fn add_ring(&self, rings: &mut Vec<ThreadRing>) -> usize {
        rings.retain(|ring| !ring.producer.is_abandoned());
        let (producer, consumer) = RingBuffer::new((self.ring_words / WORDS).max(1));
        self.fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(consumer);
        rings.push(ThreadRing {
            session: self.session,
            calls: 0,
            producer,
        });
        rings.len() - 1
    }

    pub(super) fn aside(&self, aside: Aside) {
        if self.asides.try_send(aside).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }
}

/// The session's side: empties every thread's ring.
#[derive(Debug)]
pub(crate) struct HookReader {
    hub: Arc<RingHub>,
    rings: Vec<Consumer<Words>>,
    asides: crossbeam_channel::Receiver<Aside>,
    converter: TickConverter,
    costs: HookCosts,
}

impl HookReader {
    /// Hands every entry that is there to `take`, with its time on the run's clock. Entries of one thread come in
    /// order; those of two threads may not.
    pub(super) fn drain(&mut self, mut take: impl FnMut(i64, Entry)) {
        self.rings
            .append(&mut self.hub.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        self.converter.refresh();
        for ring in &mut self.rings {
            let Ok(chunk) = ring.read_chunk(ring.slots()) else {
                continue;
            };
            let (first, second) = chunk.as_slices();
            for words in first.iter().chain(second) {
                match Entry::decode(*words) {
                    Some((_, Entry::Cost { ticks })) => self.costs.add(ticks, &self.converter),
                    Some((since_origin, entry)) => {
                        take(self.converter.to_ns(Ticks(self.hub.origin + since_origin)), entry);
                    }
                    // Only `encode` writes here.
                    None => debug_assert!(false, "an entry of no known kind"),
                }
            }
            chunk.commit_all();
        }
        // Its thread ended and nothing can come any more.
        self.rings
            .retain(|ring| !(ring.is_abandoned() && ring.is_empty()));
    }

    /// The marks that took the side door, in order.
    pub(crate) fn asides(&self) -> impl Iterator<Item = Aside> + '_ {
        self.asides.try_iter()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.hub.dropped()
    }

    pub(crate) fn costs(&self) -> &HookCosts {
        &self.costs
    }
}

/// What hook calls cost, from the one in [`TIMED_EVERY`] that was timed.
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
            // Overwrite in turn: the latest stretch of a long run, not its beginning.
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
