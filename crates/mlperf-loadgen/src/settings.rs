//! LoadGen's test settings with units, its defaults, and checks that LoadGen does not make.

use std::time::Duration;

use duration_text::Shown;

use crate::error::{Error, Result};
use crate::ffi::{self, RawSettings};
use crate::scenario::{Mode, Scenario};

/// LoadGen's `TestSettings`. The defaults ([`Default`]) are LoadGen's; an official run takes them from the
/// round's configuration by [`from_config`](Self::from_config).
///
/// Percentiles are fractions (0.99). `None` is LoadGen's 0 for "no limit" or "not set".
///
/// LoadGen's fields for the audit TEST05 are left out: it is no longer part of the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct TestSettings {
    /// How queries arrive.
    pub scenario: Scenario,
    /// What the test is for.
    pub mode: Mode,

    /// SingleStream: an estimate, from which LoadGen decides how many queries to prepare.
    pub single_stream_expected_latency: Duration,
    /// SingleStream: the percentile that is the result.
    pub single_stream_target_percentile: f64,

    /// MultiStream: an estimate of a query's latency, from which LoadGen decides how many queries to prepare.
    pub multi_stream_expected_latency: Duration,
    /// MultiStream: the percentile that is the result.
    pub multi_stream_target_percentile: f64,
    /// MultiStream: samples in each query.
    pub multi_stream_samples_per_query: u64,

    /// Server: mean rate of arrivals per second; the lower bound in a search for the peak.
    pub server_target_qps: f64,
    /// Server: latency limit of a query, where token latencies are not measured.
    pub server_target_latency: Duration,
    /// Server: the share of queries that must stay within the limits.
    pub server_target_percentile: f64,
    /// Server: issue queries together when LoadGen is late.
    pub server_coalesce_queries: bool,
    /// Server, peak search: decimal places of the rate.
    pub server_find_peak_qps_decimals_of_precision: u8,
    /// Server, peak search: first step, as a fraction of the rate.
    pub server_find_peak_qps_boundary_step_size: f64,
    /// Server: end early, with an error, once more queries than this are outstanding.
    pub server_max_async_queries: Option<u64>,
    /// Server: number of threads that call `issue_query`, started and ended by [`run_test`](crate::run_test).
    /// 0: the caller's thread calls it. A process can run only one test with such threads.
    pub server_issue_threads: u64,
    /// Server, with token latencies: limit of the time to first token.
    pub server_ttft_latency: Duration,
    /// Server, with token latencies: limit of the mean time per output token after the first.
    pub server_tpot_latency: Duration,

    /// Offline: the rate that the SUT is expected to reach; LoadGen prepares 10 % more than it needs for the
    /// minimum duration.
    pub offline_expected_qps: f64,
    /// Every sample equally often ("equal issue"): the query count is padded to whole data sets.
    pub sample_concatenate_permutation: bool,

    /// The test is valid only if it lasts at least this long. Whole milliseconds.
    pub min_duration: Duration,
    /// The test ends early, with an error, after this. Ignored in Offline. Whole milliseconds.
    pub max_duration: Option<Duration>,
    /// The test is valid only with at least this many queries (Offline: samples). At least 1.
    pub min_query_count: u64,
    /// The test ends early, with an error, after this many queries.
    pub max_query_count: Option<u64>,

    /// Chooses the samples of the performance set.
    pub qsl_rng_seed: u64,
    /// Chooses the order of samples.
    pub sample_index_rng_seed: u64,
    /// Chooses the arrival times in Server.
    pub schedule_rng_seed: u64,
    /// Chooses which answers of a performance test are logged.
    pub accuracy_log_rng_seed: u64,
    /// Share of a performance test's answers that are logged.
    pub accuracy_log_probability: f64,
    /// Approximate number of a performance test's answers that are logged; overrides the probability.
    pub accuracy_log_sampling_target: Option<u64>,

    /// Print the start and the end of the measured interval to standard output.
    pub print_timestamps: bool,
    /// Audit: issue no sample twice.
    pub performance_issue_unique: bool,
    /// Audit: issue only this sample, an index into the performance set.
    pub performance_issue_same: Option<u64>,
    /// Overrides the library's [`performance_sample_count`](crate::QuerySampleLibrary::performance_sample_count).
    pub performance_sample_count_override: Option<u64>,
    /// Number of samples of an accuracy test; `None` uses all.
    pub accuracy_sample_count_override: Option<u64>,

    /// Measure time to first token, time per output token and tokens per second.
    pub use_token_latencies: bool,
    /// Report tokens per second as samples per second times this factor, for benchmarks without token counts.
    pub infer_token_latencies: Option<u64>,
}

impl Default for TestSettings {
    fn default() -> Self {
        Self::from_raw(&ffi::default_settings())
    }
}

impl TestSettings {
    /// LoadGen's defaults for a scenario and a mode.
    pub fn new(scenario: Scenario, mode: Mode) -> Self {
        Self {
            scenario,
            mode,
            ..Self::default()
        }
    }

    /// Whether LoadGen needs a first token for every sample.
    pub fn needs_first_token(&self) -> bool {
        self.use_token_latencies && self.scenario != Scenario::Offline
    }

    /// The rate of the scenario, per second.
    pub fn target_qps(&self) -> f64 {
        match self.scenario {
            Scenario::SingleStream => 1.0 / self.single_stream_expected_latency.as_secs_f64(),
            Scenario::MultiStream => 1.0 / self.multi_stream_expected_latency.as_secs_f64(),
            Scenario::Server => self.server_target_qps,
            Scenario::Offline => self.offline_expected_qps,
        }
    }

    pub(crate) fn from_raw(raw: &RawSettings) -> Self {
        let some = |value: u64| (value != 0).then_some(value);
        let ms = Duration::from_millis;
        let ns = Duration::from_nanos;
        let float_ns = |value: f64| Duration::from_secs_f64((value / 1e9).max(0.0));
        Self {
            scenario: Scenario::from_raw(raw.scenario),
            mode: Mode::from_raw(raw.mode),
            single_stream_expected_latency: float_ns(raw.single_stream_expected_latency_ns),
            single_stream_target_percentile: raw.single_stream_target_latency_percentile,
            multi_stream_expected_latency: float_ns(raw.multi_stream_expected_latency_ns),
            multi_stream_target_percentile: raw.multi_stream_target_latency_percentile,
            multi_stream_samples_per_query: raw.multi_stream_samples_per_query,
            server_target_qps: raw.server_target_qps,
            server_target_latency: ns(raw.server_target_latency_ns),
            server_target_percentile: raw.server_target_latency_percentile,
            server_coalesce_queries: raw.server_coalesce_queries,
            server_find_peak_qps_decimals_of_precision: u8::try_from(
                raw.server_find_peak_qps_decimals_of_precision,
            )
            .unwrap_or_default(),
            server_find_peak_qps_boundary_step_size: raw.server_find_peak_qps_boundary_step_size,
            server_max_async_queries: some(raw.server_max_async_queries),
            server_issue_threads: raw.server_num_issue_query_threads,
            server_ttft_latency: ns(raw.server_ttft_latency),
            server_tpot_latency: ns(raw.server_tpot_latency),
            offline_expected_qps: raw.offline_expected_qps,
            sample_concatenate_permutation: raw.sample_concatenate_permutation,
            min_duration: ms(raw.min_duration_ms),
            max_duration: some(raw.max_duration_ms).map(ms),
            min_query_count: raw.min_query_count,
            max_query_count: some(raw.max_query_count),
            qsl_rng_seed: raw.qsl_rng_seed,
            sample_index_rng_seed: raw.sample_index_rng_seed,
            schedule_rng_seed: raw.schedule_rng_seed,
            accuracy_log_rng_seed: raw.accuracy_log_rng_seed,
            accuracy_log_probability: raw.accuracy_log_probability,
            accuracy_log_sampling_target: some(raw.accuracy_log_sampling_target),
            print_timestamps: raw.print_timestamps,
            performance_issue_unique: raw.performance_issue_unique,
            performance_issue_same: raw
                .performance_issue_same
                .then_some(raw.performance_issue_same_index),
            performance_sample_count_override: some(raw.performance_sample_count_override),
            accuracy_sample_count_override: some(raw.accuracy_sample_count_override),
            use_token_latencies: raw.use_token_latencies,
            infer_token_latencies: raw
                .infer_token_latencies
                .then_some(raw.token_latency_scaling_factor),
        }
    }

    pub(crate) fn to_raw(&self) -> RawSettings {
        // `check` refuses durations beyond the range.
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        RawSettings {
            scenario: self.scenario as i32,
            mode: self.mode as i32,
            single_stream_expected_latency_ns: ns(self.single_stream_expected_latency) as f64,
            single_stream_target_latency_percentile: self.single_stream_target_percentile,
            multi_stream_expected_latency_ns: ns(self.multi_stream_expected_latency) as f64,
            multi_stream_target_latency_percentile: self.multi_stream_target_percentile,
            multi_stream_samples_per_query: self.multi_stream_samples_per_query,
            server_target_qps: self.server_target_qps,
            server_target_latency_ns: ns(self.server_target_latency),
            server_target_latency_percentile: self.server_target_percentile,
            server_coalesce_queries: self.server_coalesce_queries,
            server_find_peak_qps_decimals_of_precision: self
                .server_find_peak_qps_decimals_of_precision
                .into(),
            server_find_peak_qps_boundary_step_size: self.server_find_peak_qps_boundary_step_size,
            server_max_async_queries: self.server_max_async_queries.unwrap_or(0),
            server_num_issue_query_threads: self.server_issue_threads,
            server_ttft_latency: ns(self.server_ttft_latency),
            server_tpot_latency: ns(self.server_tpot_latency),
            offline_expected_qps: self.offline_expected_qps,
            sample_concatenate_permutation: self.sample_concatenate_permutation,
            min_duration_ms: ms(self.min_duration),
            max_duration_ms: self.max_duration.map_or(0, ms),
            min_query_count: self.min_query_count,
            max_query_count: self.max_query_count.unwrap_or(0),
            qsl_rng_seed: self.qsl_rng_seed,
            sample_index_rng_seed: self.sample_index_rng_seed,
            schedule_rng_seed: self.schedule_rng_seed,
            accuracy_log_rng_seed: self.accuracy_log_rng_seed,
            accuracy_log_probability: self.accuracy_log_probability,
            accuracy_log_sampling_target: self.accuracy_log_sampling_target.unwrap_or(0),
            print_timestamps: self.print_timestamps,
            performance_issue_unique: self.performance_issue_unique,
            performance_issue_same: self.performance_issue_same.is_some(),
            performance_issue_same_index: self.performance_issue_same.unwrap_or(0),
            performance_sample_count_override: self.performance_sample_count_override.unwrap_or(0),
            accuracy_sample_count_override: self.accuracy_sample_count_override.unwrap_or(0),
            use_token_latencies: self.use_token_latencies,
            infer_token_latencies: self.infer_token_latencies.is_some(),
            token_latency_scaling_factor: self.infer_token_latencies.unwrap_or(0),
        }
    }

    /// Refuses values that LoadGen would divide by, loop on, or use as an index beyond the end of a table.
    ///
    /// [`run_test`](crate::run_test) checks too; call this to find out early.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Mode`] or [`Error::Library`].
    pub fn check(&self, total_samples: usize, performance_samples: usize) -> Result<()> {
        if total_samples == 0 || performance_samples == 0 {
            return Err(Error::Library(format!(
                "{total_samples} samples in total and {performance_samples} in the performance set, \
                 where LoadGen needs at least one of each"
            )));
        }
        if self.mode == Mode::FindPeakPerformance && self.scenario != Scenario::Server {
            return Err(Error::Mode {
                mode: self.mode,
                scenario: self.scenario,
            });
        }
        self.check_rates()?;
        self.check_counts()?;
        self.check_durations()?;

        let set = self
            .performance_sample_count_override
            .unwrap_or(performance_samples as u64);
        let loaded = set.min(total_samples as u64);
        if let Some(index) = self.performance_issue_same {
            require(index < loaded, "performance_issue_same", || {
                format!("index {index} is outside of the performance set of {loaded} samples")
            })?;
            require(!self.performance_issue_unique, "performance_issue_same", || {
                "contradicts performance_issue_unique".to_owned()
            })?;
        }
        let smallest = match self.scenario {
            Scenario::Offline => set,
            Scenario::MultiStream => self.multi_stream_samples_per_query,
            _ => 1,
        };
        require(
            !self.performance_issue_unique || smallest <= loaded,
            "performance_issue_unique",
            || format!("a query would need {smallest} different samples of {loaded}"),
        )
    }

    fn check_rates(&self) -> Result<()> {
        let positive = |name, value: f64| {
            require(value.is_finite() && value > 0.0, name, || {
                format!("{value} is not a rate that LoadGen can divide by")
            })
        };
        match self.scenario {
            Scenario::Server => positive("server_target_qps", self.server_target_qps)?,
            Scenario::Offline => positive("offline_expected_qps", self.offline_expected_qps)?,
            Scenario::SingleStream => {
                positive(
                    "single_stream_expected_latency",
                    self.single_stream_expected_latency.as_secs_f64(),
                )?;
            }
            Scenario::MultiStream => {
                positive(
                    "multi_stream_expected_latency",
                    self.multi_stream_expected_latency.as_secs_f64(),
                )?;
            }
        }
        positive(
            "server_find_peak_qps_boundary_step_size",
            self.server_find_peak_qps_boundary_step_size,
        )?;
        require(
            self.server_find_peak_qps_decimals_of_precision <= 9,
            "server_find_peak_qps_decimals_of_precision",
            || "more than 9 decimal places".to_owned(),
        )?;
        for (name, value) in [
            (
                "single_stream_target_percentile",
                self.single_stream_target_percentile,
            ),
            (
                "multi_stream_target_percentile",
                self.multi_stream_target_percentile,
            ),
            ("server_target_percentile", self.server_target_percentile),
        ] {
            require(value > 0.0 && value < 1.0, name, || {
                format!("{value} is not between 0 and 1")
            })?;
        }
        require(
            (0.0..=1.0).contains(&self.accuracy_log_probability),
            "accuracy_log_probability",
            || format!("{} is not between 0 and 1", self.accuracy_log_probability),
        )
    }

    fn check_counts(&self) -> Result<()> {
        // LoadGen prepares every query before the test, at some hundred bytes each. A larger number cannot be
        // intended, and the resulting C++ exception cannot be recovered from.
        const MOST: u64 = 1 << 32;
        let within = |name, value: u64| {
            require((1..=MOST).contains(&value), name, || {
                format!("{value} is not between 1 and {MOST}")
            })
        };
        within("min_query_count", self.min_query_count)?;
        within(
            "multi_stream_samples_per_query",
            self.multi_stream_samples_per_query,
        )?;
        for (name, value) in [
            ("max_query_count", self.max_query_count),
            (
                "performance_sample_count_override",
                self.performance_sample_count_override,
            ),
            (
                "accuracy_sample_count_override",
                self.accuracy_sample_count_override,
            ),
            ("server_max_async_queries", self.server_max_async_queries),
            ("accuracy_log_sampling_target", self.accuracy_log_sampling_target),
            ("infer_token_latencies", self.infer_token_latencies),
        ] {
            value.map_or(Ok(()), |value| within(name, value))?;
        }
        let most = self.target_qps() * self.min_duration.as_secs_f64() * 2.0;
        require(most <= MOST as f64, "min_duration", || {
            format!(
                "with a rate of {} per second it would make {most:.0} queries",
                self.target_qps()
            )
        })?;
        let threads = self.server_issue_threads;
        require(
            threads == 0 || self.scenario == Scenario::Server,
            "server_issue_threads",
            || {
                format!(
                    "LoadGen has issue threads in Server only, not in {}",
                    self.scenario
                )
            },
        )?;
        require(threads <= 64, "server_issue_threads", || {
            format!("{threads} threads: at most 64")
        })?;
        // LoadGen splits both counts among the threads, and a thread without queries ends the test
        // incorrectly.
        require(
            threads <= self.min_query_count && self.max_query_count.is_none_or(|max| threads <= max),
            "server_issue_threads",
            || format!("{threads} threads, but fewer queries"),
        )
    }

    fn check_durations(&self) -> Result<()> {
        for (name, duration) in [
            ("min_duration", Some(self.min_duration)),
            ("max_duration", self.max_duration),
        ] {
            let Some(duration) = duration else { continue };
            require(duration.subsec_nanos() % 1_000_000 == 0, name, || {
                format!("{} is not a whole number of milliseconds", Shown(duration))
            })?;
        }
        // LoadGen counts in signed 64-bit nanoseconds.
        const LONGEST: Duration = Duration::from_secs(86_400 * 365);
        for (name, duration) in [
            ("min_duration", self.min_duration),
            ("max_duration", self.max_duration.unwrap_or_default()),
            ("server_target_latency", self.server_target_latency),
            ("server_ttft_latency", self.server_ttft_latency),
            ("server_tpot_latency", self.server_tpot_latency),
            (
                "single_stream_expected_latency",
                self.single_stream_expected_latency,
            ),
            (
                "multi_stream_expected_latency",
                self.multi_stream_expected_latency,
            ),
        ] {
            require(duration <= LONGEST, name, || {
                format!("{} is longer than a year", Shown(duration))
            })?;
        }
        require(self.max_duration != Some(Duration::ZERO), "max_duration", || {
            "LoadGen reads 0 as no limit; leave it out".to_owned()
        })
    }
}

fn require(holds: bool, name: &'static str, problem: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Setting {
            name,
            problem: problem(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_loadgens_and_survive_the_way_there_and_back() {
        let raw = ffi::default_settings();
        let settings = TestSettings::default();
        assert_eq!(settings.to_raw(), raw);
        assert_eq!(settings.min_query_count, 100);
        assert_eq!(settings.min_duration, Duration::from_secs(10));
        assert_eq!(settings.scenario, Scenario::SingleStream);
    }

    #[test]
    fn what_loadgen_would_choke_on_is_refused_by_name() {
        fn refused(change: impl FnOnce(&mut TestSettings)) -> String {
            let mut settings = TestSettings::new(Scenario::Server, Mode::Performance);
            change(&mut settings);
            settings.check(10, 10).expect_err("refused").to_string()
        }
        assert!(refused(|s| s.server_target_qps = 0.0).contains("server_target_qps"));
        assert!(refused(|s| s.server_target_qps = f64::NAN).contains("server_target_qps"));
        assert!(refused(|s| s.min_query_count = 0).contains("min_query_count"));
        assert!(refused(|s| s.min_query_count = u64::MAX).contains("min_query_count"));
        assert!(refused(|s| s.server_target_percentile = 99.0).contains("server_target_percentile"));
        assert!(refused(|s| s.min_duration = Duration::from_micros(1500)).contains("milliseconds"));
        assert!(refused(|s| s.performance_issue_same = Some(10)).contains("performance_issue_same"));
        assert!(refused(|s| s.server_issue_threads = 65).contains("server_issue_threads"));
        assert!(refused(|s| s.max_duration = Some(Duration::MAX)).contains("max_duration"));
        assert!(
            refused(|s| (s.server_target_qps, s.min_duration) = (1e12, Duration::from_secs(600)))
                .contains("min_duration")
        );
        assert!(
            refused(|s| {
                s.scenario = Scenario::Offline;
                s.mode = Mode::FindPeakPerformance;
            })
            .contains("no FindPeakPerformance mode in the Offline scenario")
        );
        let settings = TestSettings::new(Scenario::Offline, Mode::Performance);
        assert!(settings.check(0, 0).is_err());
        assert!(settings.check(10, 10).is_ok());
    }
}
