//! MLPerf LoadGen as safe Rust.
//!
//! [LoadGen](https://github.com/mlcommons/inference/tree/master/loadgen) is the load generator of the MLPerf
//! Inference benchmarks: it decides when each sample is requested, measures, and judges. This crate compiles
//! LoadGen 6.0.17 from its unmodified published sources, and lets a Rust program be its *system under test*.
//!
//! # Overview
//!
//! * Implement [`SystemUnderTest`] and [`QuerySampleLibrary`]: both take `&self` and are shared among threads.
//! * Each sample arrives as an [`IssuedSample`], which is consumed by its answer.
//! * [`TestSettings`] holds LoadGen's settings with units; [`TestSettings::from_config`] fills them from the
//!   round's configuration and a `user.conf`, for a [`Benchmark`] whose name is checked.
//!   [`TestSettings::effective`] returns what LoadGen will make of them, before any load is sent.
//! * [`LogSettings`] says where LoadGen writes; [`run_test`] runs the test.
//! * [`LoadGenLog`] reads the result back, typed; [`read_accuracy_log`] reads the answers' bytes.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use mlperf_loadgen::{
//!     IssuedSamples, LoadGenLog, LogSettings, Mode, QuerySampleLibrary, Scenario, SystemUnderTest,
//!     TestSettings, Validity, run_test,
//! };
//!
//! struct Echo;
//!
//! impl SystemUnderTest for Echo {
//!     fn name(&self) -> String {
//!         "echo".to_owned()
//!     }
//!
//!     // A real system would put the samples into a queue and answer from other threads.
//!     fn issue_query(&self, samples: IssuedSamples<'_>) {
//!         for sample in samples {
//!             let answer = sample.index().to_le_bytes();
//!             sample.complete(&answer, 0).expect("the test is running");
//!         }
//!     }
//! }
//!
//! struct Thousand;
//!
//! impl QuerySampleLibrary for Thousand {
//!     fn name(&self) -> String {
//!         "thousand numbers".to_owned()
//!     }
//!
//!     fn total_sample_count(&self) -> usize {
//!         1000
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let logs = tempfile::tempdir()?;
//! let mut settings = TestSettings::new(Scenario::Offline, Mode::Performance);
//! settings.min_query_count = 1000;
//! settings.min_duration = Duration::ZERO;
//!
//! let report = run_test(&Echo, &Thousand, &settings, &LogSettings::new(logs.path()))?;
//! assert!(report.incidents.is_empty());
//!
//! let log = LoadGenLog::read(logs.path())?;
//! assert_eq!(log.result.validity, Some(Validity::Valid));
//! assert_eq!(log.result.num_errors, Some(0));
//! # Ok(())
//! # }
//! ```
//!
//! # Exactly one answer
//!
//! LoadGen must get exactly one answer for every sample. A missing answer makes it wait forever; a second
//! answer, or one after the end of the test, corrupts memory. In this crate:
//!
//! * a second answer does not compile, as the first consumes the handle;
//! * a handle that is dropped, also by a panic, answers as a failure;
//! * an answer after the test's end is refused with [`Refused::TestEnded`];
//! * a sample that is completed without the first token that its test needs gets one, with a token count of
//!   0, so that LoadGen logs an error instead of reading beyond the end of a table.
//!
//! [`RunReport::incidents`] counts all of these with their reasons. **A result counts only if there are no
//! incidents, LoadGen reports [`Validity::Valid`], and [`RunResult::error_count`] is 0**: LoadGen by itself
//! reports tests as valid in which every sample failed.
//!
//! # What is refused before a test
//!
//! * Settings that LoadGen divides by, indexes with or never returns from: [`TestSettings::check`].
//! * Benchmark names, keys and values that LoadGen would ignore or misread: [`Error::UnknownBenchmark`],
//!   [`Error::Config`].
//! * A log folder that does not exist or cannot be written to, where LoadGen would return as if the test had
//!   run: [`Error::LogFolder`].
//! * A stray `audit.config`: LoadGen looks for one in the working directory; this crate always passes a path
//!   ([`LogSettings::audit_config`]).
//! * A second test while one runs, a second `user.conf` in a process, and a second test after one with issue
//!   threads: LoadGen keeps these in globals. Run one test per process to avoid all three.
//!
//! # What is left out, and why
//!
//! * `AbortTest`: it stops LoadGen's log thread but not the test, which then never returns. Answer all
//!   samples as failed instead, or end the process ([`end_process`]).
//! * Response callbacks: they would add a call from C++ into a closure before an answer is copied.
//! * Several answers in one call: LoadGen gives them one timestamp, which blurs latencies.
//! * The TEST05 seeds, and the log modes that LoadGen does not implement.
//!
//! # Threads and clock
//!
//! LoadGen calls [`SystemUnderTest::issue_query`] from the thread of [`run_test`], or from its own threads
//! ([`TestSettings::server_issue_threads`]). Answers may come from any thread, but at most 1024 such threads
//! may be alive, and they must end before the process does. LoadGen uses the wall clock: do not let it be
//! stepped during a test.
//!
//! # Building
//!
//! LoadGen's unmodified sources are in `vendor/loadgen`, with their hashes. The build needs a C++14 compiler,
//! but no network, CMake or Python. LoadGen is compiled with `-O2 -DNDEBUG` in every profile. Panics must
//! unwind (`panic = "unwind"`, Cargo's default).

mod accuracy;
mod callbacks;
mod config;
mod early;
mod effective;
mod error;
mod ffi;
mod gate;
mod incidents;
mod log;
mod log_settings;
mod run;
mod sample;
mod scenario;
mod settings;
mod sut;

pub use accuracy::{LoggedAnswer, read_accuracy_log};
pub use config::{Benchmark, ConfigLine, ConfigReport, loadgen_version, mlperf_conf};
pub use early::min_passing_queries;
pub use effective::EffectiveSettings;
pub use error::{Error, Result};
pub use incidents::Incidents;
pub use log::{Latencies, LoadGenLog, LogEntry, RunResult, Validity};
pub use log_settings::LogSettings;
pub use run::{RunReport, end_process, run_test};
pub use sample::{IssuedSample, IssuedSamples, Refused};
pub use scenario::{Mode, Scenario};
pub use settings::TestSettings;
pub use sut::{CallbackError, QuerySampleLibrary, SystemUnderTest};
