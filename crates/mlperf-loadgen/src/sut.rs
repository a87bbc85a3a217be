//! The two traits that a harness implements.

use crate::sample::IssuedSamples;

/// The error of a callback.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

/// The system that LoadGen measures.
///
/// The methods take `&self`, and the trait requires `Sync`, since LoadGen calls from its own thread or from
/// several ([`TestSettings::server_issue_threads`](crate::TestSettings::server_issue_threads)), while answers
/// are sent from other threads.
///
/// A panic in a method is caught and counted, never passed on to C++; the samples that the method held are
/// answered as failed.
pub trait SystemUnderTest: Sync {
    /// The name in LoadGen's logs. Called at the start and the end of the test, and timed: a network
    /// submission makes a round trip to the system here. The name returned by the first call is logged.
    fn name(&self) -> String;

    /// Takes the samples of one query.
    ///
    /// Return quickly: in the Server scenario the schedule of all later queries waits for this call while
    /// their latencies already count, so put the samples into a queue and answer from other threads.
    /// Answering inside the call is allowed.
    ///
    /// A query has one sample in SingleStream and (unless queries are coalesced) Server, a fixed number in
    /// MultiStream, and all of them in Offline.
    fn issue_query(&self, samples: IssuedSamples<'_>);

    /// Called after the last query of a series: send anything that is held back to fill a batch.
    fn flush_queries(&self) {}
}

/// The data set that LoadGen draws samples from.
pub trait QuerySampleLibrary: Sync {
    /// The name in LoadGen's logs. Called once, before the test.
    fn name(&self) -> String;

    /// Number of samples in the data set, at least 1. Called once, before the test.
    fn total_sample_count(&self) -> usize;

    /// Number of samples that fit into memory together, at least 1. Called once, before the test. Benchmarks
    /// usually override it in their configuration.
    fn performance_sample_count(&self) -> usize {
        self.total_sample_count()
    }

    /// Prepares samples for being issued; not timed.
    ///
    /// # Errors
    /// An error is counted in [`Incidents`](crate::Incidents), and every later query is answered as failed
    /// without reaching the SUT, since LoadGen itself cannot stop.
    fn load_samples(&self, indices: &[usize]) -> Result<(), CallbackError> {
        let _ = indices;
        Ok(())
    }

    /// Releases samples that `load_samples` prepared.
    fn unload_samples(&self, indices: &[usize]) {
        let _ = indices;
    }
}
