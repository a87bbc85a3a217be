//! The two traits that a harness implements.

use crate::sample::IssuedSamples;

/// What a callback may fail with.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

/// The system that LoadGen measures.
///
/// The methods take `&self`, and the trait needs `Sync`, since LoadGen calls from its own thread or from
/// several ([`TestSettings::server_issue_threads`](crate::TestSettings::server_issue_threads)), while answers go
/// back from others.
///
/// A panic in a method is caught and counted, never passed on to C++; samples that the method held are answered
/// as failed.
pub trait SystemUnderTest: Sync {
    /// The name in LoadGen's logs. Called at the test's start and end, and timed: a network submission makes a
    /// round trip to the system here. The name that the first call returned is logged.
    fn name(&self) -> String;

    /// Takes the samples of one query.
    ///
    /// Return soon: in the Server scenario the schedule of all later queries waits for this call while their
    /// latencies already count, so put the samples into a queue and answer from other threads. To answer on the
    /// spot is allowed.
    ///
    /// A query has one sample in SingleStream and (unless queries are coalesced) Server, a fixed number in
    /// MultiStream, and all of them in Offline.
    fn issue_query(&self, samples: IssuedSamples<'_>);

    /// Called after the last query of a series: whatever is held back to fill a batch must go now.
    fn flush_queries(&self) {}
}

/// The data set that LoadGen draws samples from.
pub trait QuerySampleLibrary: Sync {
    /// The name in LoadGen's logs. Asked once, before the test.
    fn name(&self) -> String;

    /// Samples in the data set, at least 1. Asked once, before the test.
    fn total_sample_count(&self) -> usize;

    /// Samples that fit into memory together, at least 1. Asked once, before the test. Benchmarks usually
    /// override it by configuration.
    fn performance_sample_count(&self) -> usize {
        self.total_sample_count()
    }

    /// Makes samples ready to be issued; not timed.
    ///
    /// # Errors
    /// An error is counted in [`Incidents`](crate::Incidents), and every query from then on is answered as
    /// failed without reaching the SUT: LoadGen itself has no way to stop.
    fn load_samples(&self, indices: &[usize]) -> Result<(), CallbackError> {
        let _ = indices;
        Ok(())
    }

    /// Lets samples go that `load_samples` made ready.
    fn unload_samples(&self, indices: &[usize]) {
        let _ = indices;
    }
}
