//! The gate that every call into a running test must pass. LoadGen's sample ids are addresses, so a call
//! after the end of the test would access freed memory.
//!
//! One word holds the test's number in its upper half and the number of calls in flight in its lower half. A
//! call increments the count and then compares the number: if it belongs to another test, the call is
//! refused. Closing changes the number and then waits for the calls in flight. Two uncontended atomic
//! additions per call take about 10 ns.

use std::sync::atomic::{AtomicU64, Ordering};

const ONE_EPOCH: u64 = 1 << 32;
const CALLS: u64 = ONE_EPOCH - 1;

/// The only gate of the process, since LoadGen is one per process.
static GATE: Gate = Gate::new();

/// Passes if the test `epoch` is still running.
#[inline]
pub(crate) fn enter(epoch: u32) -> Option<Call<'static>> {
    GATE.enter(epoch)
}

/// Opens the gate for a new test and returns its number. The caller holds the process's run lock.
pub(crate) fn open() -> u32 {
    GATE.open()
}

/// Refuses further calls and waits until those in flight have returned.
pub(crate) fn close() {
    GATE.close();
}

/// The number of the running test.
#[inline]
pub(crate) fn epoch() -> u32 {
    GATE.epoch()
}

/// Proof that a test is running; it cannot end before this is dropped.
pub(crate) struct Call<'g>(&'g Gate);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_sub(1, Ordering::Release);
    }
}

/// A separate type, so that a unit test can have its own gate.
struct Gate {
    word: AtomicU64,
}

impl Gate {
    const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    #[inline]
    fn enter(&self, epoch: u32) -> Option<Call<'_>> {
        let before = self.word.fetch_add(1, Ordering::Acquire);
        let call = Call(self);
        (before >> 32 == u64::from(epoch)).then_some(call)
    }

    fn open(&self) -> u32 {
        epoch_of(self.word.fetch_add(ONE_EPOCH, Ordering::AcqRel) + ONE_EPOCH)
    }

    fn close(&self) {
        self.word.fetch_add(ONE_EPOCH, Ordering::AcqRel);
        while self.word.load(Ordering::Acquire) & CALLS != 0 {
            std::thread::yield_now();
        }
    }

    #[inline]
    fn epoch(&self) -> u32 {
        epoch_of(self.word.load(Ordering::Relaxed))
    }
}

#[inline]
fn epoch_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_ends_only_after_the_calls_in_flight() {
        let gate = Gate::new();
        let epoch = gate.open();
        assert_eq!(gate.epoch(), epoch);
        assert!(gate.enter(epoch + 1).is_none());
        let call = gate.enter(epoch).expect("open");
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| gate.close());
            // Once the number has changed, further calls are refused while the close still waits.
            while gate.epoch() == epoch {
                std::thread::yield_now();
            }
            assert!(gate.enter(epoch).is_none());
            assert!(!closing.is_finished());
            drop(call);
        });
        assert!(gate.enter(epoch).is_none());
        assert_eq!(gate.word.load(Ordering::Relaxed) & CALLS, 0);
    }
}
