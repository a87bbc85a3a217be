//! The one-shot handle of an issued sample.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::ffi::{self, RawSample};
use crate::gate::{self, Call};
use crate::incidents::INCIDENTS;

/// Whether LoadGen wants first tokens in the running test. Fixed before the first sample is issued.
pub(crate) static NEEDS_FIRST_TOKEN: AtomicBool = AtomicBool::new(false);

/// One sample that LoadGen waits for.
///
/// LoadGen must get exactly one answer per sample: without one the test never ends, and a second one corrupts
/// memory. The handle is therefore consumed by its answer, cannot be cloned, and answers when it is dropped,
/// also during a panic: as a failure, with no data and no tokens. LoadGen logs that as an error where it
/// measures tokens, and [`Incidents`](crate::Incidents) counts it in every case. Do not leak a handle
/// ([`std::mem::forget`]): LoadGen then waits forever.
///
/// A handle may be sent to any thread and answered there, also while `issue_query` is still running.
///
/// A second answer does not compile:
///
/// ```compile_fail,E0382
/// fn twice(sample: mlperf_loadgen::IssuedSample) {
///     let _ = sample.complete(b"one", 2);
///     let _ = sample.complete(b"two", 2);
/// }
/// ```
///
/// nor does a copy of the handle:
///
/// ```compile_fail,E0599
/// fn copy(sample: mlperf_loadgen::IssuedSample) -> (mlperf_loadgen::IssuedSample, mlperf_loadgen::IssuedSample) {
///     (sample.clone(), sample)
/// }
/// ```
///
/// while one answer does:
///
/// ```
/// fn once(mut sample: mlperf_loadgen::IssuedSample) -> Result<(), mlperf_loadgen::Refused> {
///     sample.first_token(b"one")?;
///     sample.complete(b"one two", 2)
/// }
/// ```
///
/// # Timing
///
/// LoadGen takes its timestamp inside [`first_token`](Self::first_token) and [`complete`](Self::complete):
/// call them as soon as the bytes are available, before any work that can wait. The bytes are copied before
/// the call returns, and only in tests that log them.
///
/// Report the first token and the completion from the same thread: LoadGen has a queue for each thread and
/// reads the queues one after the other. From two threads it can see them in the wrong order, even if they
/// are tens of milliseconds apart on a busy machine, and logs that as an error.
///
/// # Threads
///
/// LoadGen logs an error once more than 1024 living threads have called into it. Use a small, fixed set of
/// threads for answers, and join them before the process exits.
#[must_use = "dropping a sample answers LoadGen with a failure"]
#[derive(Debug)]
pub struct IssuedSample {
    id: usize,
    index: usize,
    epoch: u32,
    has_first_token: bool,
}

/// Why a call did not reach LoadGen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The test that issued the sample has ended, and its memory is freed.
    #[error("the test that issued this sample has ended")]
    TestEnded,
    /// The sample's first token was already reported.
    #[error("the first token of this sample was already reported")]
    SecondFirstToken,
    /// LoadGen threw a C++ exception.
    #[error("LoadGen failed: {0}")]
    LoadGen(String),
}

impl IssuedSample {
    #[inline]
    pub(crate) fn new(raw: RawSample, epoch: u32) -> Self {
        Self {
            id: raw.id,
            index: raw.index,
            epoch,
            has_first_token: false,
        }
    }

    /// The sample's index in the query sample library.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// A number that is unique among the outstanding samples of the test: for logs and maps.
    ///
    /// It is an address inside LoadGen, so it may be reused by a later test in the same process.
    #[inline]
    pub fn id(&self) -> usize {
        self.id
    }

    /// When LoadGen's schedule wanted the sample to be issued. Latencies are measured from this moment.
    ///
    /// In the Server scenario the difference from [`issued_at`](Self::issued_at) shows whether `issue_query`
    /// delays LoadGen. `None` after the end of the test.
    pub fn scheduled_at(&self) -> Option<SystemTime> {
        self.times().map(|(scheduled, _)| scheduled)
    }

    /// When LoadGen issued the sample. `None` after the end of the test.
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.times().map(|(_, issued)| issued)
    }

    fn times(&self) -> Option<(SystemTime, SystemTime)> {
        let call = gate::enter(self.epoch)?;
        let (scheduled, issued) = ffi::times_unix_ns(&call, self.id);
        // LoadGen's clock is the wall clock, which may stand before 1970.
        let time = |ns: i64| {
            let span = Duration::from_nanos(ns.unsigned_abs());
            if ns < 0 {
                SystemTime::UNIX_EPOCH - span
            } else {
                SystemTime::UNIX_EPOCH + span
            }
        };
        Some((time(scheduled), time(issued)))
    }

    /// Reports the bytes of the first token, for the time to first token.
    ///
    /// Does nothing in tests that do not measure it: Offline, and benchmarks without token latencies.
    ///
    /// # Errors
    /// [`Refused::TestEnded`], [`Refused::SecondFirstToken`] or [`Refused::LoadGen`]; the sample still needs
    /// its answer.
    pub fn first_token(&mut self, data: &[u8]) -> Result<(), Refused> {
        let call = self.enter()?;
        if self.has_first_token {
            INCIDENTS.count(&INCIDENTS.second_first_token, || {
                format!("sample {} reported its first token twice", self.index)
            });
            return Err(Refused::SecondFirstToken);
        }
        self.has_first_token = true;
        if NEEDS_FIRST_TOKEN.load(Ordering::Relaxed) {
            ffi::first_token(&call, self.id, data).map_err(|error| exception(&error))?;
        }
        Ok(())
    }

    /// Answers LoadGen with the sample's output, first token included, and its token count.
    ///
    /// `n_tokens` is only read in benchmarks that measure token latencies; pass 0 elsewhere. It must be at
    /// least 2 there: LoadGen logs an error for 0 and for 1, so an answer of a single token cannot be
    /// reported without an error.
    ///
    /// If the test needs a first token and none was reported, one is reported to LoadGen now (it would
    /// otherwise read beyond the end of its tables), with a token count of 0, so that the run's log has an
    /// error for it.
    ///
    /// # Errors
    /// [`Refused::TestEnded`] or [`Refused::LoadGen`].
    #[inline]
    pub fn complete(self, data: &[u8], n_tokens: u32) -> Result<(), Refused> {
        let mut n_tokens = i64::from(n_tokens);
        if !self.has_first_token && NEEDS_FIRST_TOKEN.load(Ordering::Relaxed) {
            INCIDENTS.count(&INCIDENTS.missing_first_token, || {
                format!("sample {} was completed without a first token", self.index)
            });
            n_tokens = 0;
        }
        let result = self.answer(data, n_tokens);
        std::mem::forget(self);
        result
    }

    /// Answers LoadGen with a failure: no data, no tokens. The reason is kept in
    /// [`Incidents`](crate::Incidents).
    ///
    /// # Errors
    /// [`Refused::TestEnded`] or [`Refused::LoadGen`].
    pub fn fail(self, reason: &str) -> Result<(), Refused> {
        INCIDENTS.count(&INCIDENTS.failed, || format!("sample {}: {reason}", self.index));
        let result = self.answer(&[], 0);
        std::mem::forget(self);
        result
    }

    #[inline]
    fn answer(&self, data: &[u8], n_tokens: i64) -> Result<(), Refused> {
        let call = self.enter()?;
        if !self.has_first_token && NEEDS_FIRST_TOKEN.load(Ordering::Relaxed) {
            ffi::first_token(&call, self.id, &[]).map_err(|error| exception(&error))?;
        }
        ffi::complete(&call, self.id, data, n_tokens).map_err(|error| exception(&error))
    }

    #[inline]
    fn enter(&self) -> Result<Call<'static>, Refused> {
        gate::enter(self.epoch).ok_or_else(|| {
            INCIDENTS.count(&INCIDENTS.late, || {
                format!("sample {} was answered after the test", self.index)
            });
            Refused::TestEnded
        })
    }
}

impl Drop for IssuedSample {
    fn drop(&mut self) {
        INCIDENTS.count(&INCIDENTS.dropped, || {
            let why = if std::thread::panicking() {
                " by a panic"
            } else {
                ""
            };
            format!("sample {} was dropped{why} without an answer", self.index)
        });
        // A refusal is counted; a drop cannot return it.
        let _ = self.answer(&[], 0);
    }
}

fn exception(error: &cxx::Exception) -> Refused {
    INCIDENTS.count(&INCIDENTS.exceptions, || format!("LoadGen threw: {error}"));
    Refused::LoadGen(error.what().to_owned())
}

/// The samples of one query, returned one by one.
///
/// Samples that are not taken count as dropped.
#[derive(Debug)]
pub struct IssuedSamples<'a> {
    raw: std::slice::Iter<'a, RawSample>,
    epoch: u32,
}

impl<'a> IssuedSamples<'a> {
    #[inline]
    pub(crate) fn new(raw: &'a [RawSample], epoch: u32) -> Self {
        Self {
            raw: raw.iter(),
            epoch,
        }
    }
}

impl Iterator for IssuedSamples<'_> {
    type Item = IssuedSample;

    #[inline]
    fn next(&mut self) -> Option<IssuedSample> {
        self.raw.next().map(|raw| IssuedSample::new(*raw, self.epoch))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.raw.size_hint()
    }
}

impl ExactSizeIterator for IssuedSamples<'_> {}

impl Drop for IssuedSamples<'_> {
    fn drop(&mut self) {
        // Dropping each handle answers it.
        for sample in self {
            drop(sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No test runs in this process, so the address must not be dereferenced.
    #[test]
    fn a_sample_of_a_test_that_is_over_is_refused() {
        let sample = || IssuedSample::new(RawSample { id: 8, index: 3 }, u32::MAX);
        assert_eq!(sample().first_token(b"x"), Err(Refused::TestEnded));
        assert_eq!(sample().complete(b"x", 2), Err(Refused::TestEnded));
        assert_eq!(sample().fail("late"), Err(Refused::TestEnded));
        assert_eq!(sample().issued_at(), None);
        let incidents = INCIDENTS.take();
        // The handle that only reported a first token was dropped too.
        assert_eq!(
            (incidents.late, incidents.dropped, incidents.failed),
            (5, 2, 1),
            "{incidents:?}"
        );
        assert!(
            incidents.reasons[0].contains("sample 3 was answered after the test"),
            "{incidents:?}"
        );
    }
}
