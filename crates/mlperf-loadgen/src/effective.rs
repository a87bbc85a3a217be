//! The effective settings of a test.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ffi;
use crate::scenario::{Mode, Scenario};
use crate::settings::TestSettings;

/// The settings that LoadGen computes from [`TestSettings`] and a library's sample counts: the `effective_*`
/// values of its detail log, available before any load is sent.
///
/// An audit configuration changes them again when the test starts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EffectiveSettings {
    /// How queries arrive.
    pub scenario: Scenario,
    /// What the test is for.
    pub mode: Mode,
    /// Samples in each query. In Offline: all samples, before padding to whole data sets.
    pub samples_per_query: u64,
    /// Queries per second, from which LoadGen computes the schedule or the number of queries.
    pub target_qps: f64,
    /// Latency limit of a query; zero where token latencies are measured instead.
    pub target_latency: Duration,
    /// The percentile that is judged, as a fraction.
    pub target_percentile: f64,
    /// Most queries that may be outstanding.
    pub max_async_queries: Option<u64>,
    /// The duration for which queries are generated.
    pub target_duration: Duration,
    /// The shortest duration of a valid test.
    pub min_duration: Duration,
    /// The duration after which a test ends early.
    pub max_duration: Option<Duration>,
    /// The smallest number of queries of a valid test; 1 in Offline.
    pub min_query_count: u64,
    /// The number of queries after which a test ends early.
    pub max_query_count: Option<u64>,
    /// The smallest number of samples of a valid test.
    pub min_sample_count: u64,
    /// Chooses the samples of the performance set.
    pub qsl_rng_seed: u64,
    /// Chooses the order of samples.
    pub sample_index_rng_seed: u64,
    /// Chooses the arrival times in Server.
    pub schedule_rng_seed: u64,
    /// Chooses which answers are logged.
    pub accuracy_log_rng_seed: u64,
    /// Share of a performance test's answers that are logged.
    pub accuracy_log_probability: f64,
    /// Number of a performance test's answers that are logged.
    pub accuracy_log_sampling_target: Option<u64>,
    /// No sample is issued twice.
    pub performance_issue_unique: bool,
    /// Only this sample is issued.
    pub performance_issue_same: Option<u64>,
    /// Samples in the performance set.
    pub performance_sample_count: u64,
    /// Samples of an accuracy test.
    pub accuracy_sample_count: u64,
    /// Every sample is issued equally often.
    pub sample_concatenate_permutation: bool,
    /// Token latencies are measured.
    pub use_token_latencies: bool,
    /// Limit of the time to first token, in Server with token latencies.
    pub ttft_latency: Duration,
    /// Limit of the time per output token, in Server with token latencies.
    pub tpot_latency: Duration,
}

impl TestSettings {
    /// Computes what LoadGen will use for these settings and a sample library of these sizes.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn effective(&self, total_samples: usize, performance_samples: usize) -> Result<EffectiveSettings> {
        self.check(total_samples, performance_samples)?;
        let raw = ffi::effective_settings(&self.to_raw(), performance_samples, total_samples)
            .map_err(|error| Error::LoadGen(error.what().to_owned()))?;
        let some = |value: u64| (value != 0).then_some(value);
        let unsigned = |value: i64| u64::try_from(value).unwrap_or_default();
        let ns = |value: i64| Duration::from_nanos(unsigned(value));
        let ms = |value: i64| Duration::from_millis(unsigned(value));
        Ok(EffectiveSettings {
            scenario: Scenario::from_raw(raw.scenario),
            mode: Mode::from_raw(raw.mode),
            samples_per_query: raw.samples_per_query,
            target_qps: raw.target_qps,
            target_latency: ns(raw.target_latency_ns),
            target_percentile: raw.target_latency_percentile,
            max_async_queries: some(raw.max_async_queries),
            target_duration: ms(raw.target_duration_ms),
            min_duration: ms(raw.min_duration_ms),
            max_duration: some(unsigned(raw.max_duration_ms)).map(Duration::from_millis),
            min_query_count: raw.min_query_count,
            max_query_count: some(raw.max_query_count),
            min_sample_count: raw.min_sample_count,
            qsl_rng_seed: raw.qsl_rng_seed,
            sample_index_rng_seed: raw.sample_index_rng_seed,
            schedule_rng_seed: raw.schedule_rng_seed,
            accuracy_log_rng_seed: raw.accuracy_log_rng_seed,
            accuracy_log_probability: raw.accuracy_log_probability,
            accuracy_log_sampling_target: some(raw.accuracy_log_sampling_target),
            performance_issue_unique: raw.performance_issue_unique,
            performance_issue_same: raw
                .performance_issue_same
                .then_some(raw.performance_issue_same_index),
            performance_sample_count: raw.performance_sample_count,
            accuracy_sample_count: raw.accuracy_sample_count,
            sample_concatenate_permutation: raw.sample_concatenate_permutation,
            use_token_latencies: raw.use_token_latencies,
            ttft_latency: ns(raw.ttft_latency_ns),
            tpot_latency: ns(raw.tpot_latency_ns),
        })
    }
}
