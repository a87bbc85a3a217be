//! The load's progress: counts, rates, time left and forecast, for every kind of display.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mlperf_loadgen::TestSettings;

use super::time_left::TimeLeft;
use crate::harness::counters::Counters;
use crate::harness::forecast::{EarlyStopForecast, RunState};

/// Shortest time between two computations of rates and forecast.
const RATES_EVERY: Duration = Duration::from_secs(1);

/// The number of tokens received so far, including those of answers that are not complete.
pub(super) type Streamed = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Reads the counters of a run.
#[derive(Clone)]
pub(super) struct Counting {
    started: Instant,
    counters: Arc<Counters>,
    streamed: Streamed,
    /// Queries that LoadGen will issue, if known.
    expected: Option<u64>,
    time_left: Option<TimeLeft>,
    /// Set if LoadGen judges latencies.
    forecast: Option<Arc<EarlyStopForecast>>,
    previous: (Instant, u64, u64),
    rate: (f64, f64),
    /// When the load is expected to end, in time since its start.
    end: Option<Duration>,
    /// The forecast's last sentence; computing it more often is wasteful.
    sentence: String,
}

/// The load at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoadProgress {
    pub(super) elapsed: Duration,
    pub(super) issued: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) in_flight: i64,
    pub(super) planned: Option<u64>,
    pub(super) queries_per_second: f64,
    pub(super) tokens_per_second: f64,
    /// Known only where [`TimeLeft`] knows it.
    pub(super) left: Option<Duration>,
    /// Empty if LoadGen judges no latency.
    pub(super) forecast: String,
}

impl LoadProgress {
    /// Answered queries.
    pub(super) fn done(&self) -> u64 {
        self.completed + self.failed
    }

    /// Queries that were or will be issued.
    pub(super) fn total(&self) -> u64 {
        self.planned.unwrap_or(0).max(self.issued)
    }
}

impl Counting {
    pub(super) fn start(
        counters: Arc<Counters>,
        streamed: Streamed,
        settings: &TestSettings,
        expected: Option<u64>,
        forecast: Option<Arc<EarlyStopForecast>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            counters,
            streamed,
            expected,
            time_left: TimeLeft::new(settings, expected),
            forecast,
            previous: (now, 0, 0),
            rate: (0.0, 0.0),
            end: None,
            sentence: String::new(),
        }
    }

    /// The load now.
    pub(super) fn progress(&mut self) -> LoadProgress {
        let now = Instant::now();
        let elapsed = now.duration_since(self.started);
        let completed = Counters::get(&self.counters.completed);
        let failed = Counters::get(&self.counters.failed);
        let done = completed + failed;
        // Answers that are not streamed are counted at their end.
        let tokens = (self.streamed)().max(Counters::get(&self.counters.output_tokens));
        let window = now.duration_since(self.previous.0);
        if window >= RATES_EVERY {
            let per_second = |count: u64| count as f64 / window.as_secs_f64();
            self.rate = (
                per_second(done.saturating_sub(self.previous.1)),
                per_second(tokens.saturating_sub(self.previous.2)),
            );
            self.previous = (now, done, tokens);
            let left = self.time_left.as_mut().and_then(|left| left.at(elapsed, done));
            self.end = left.map(|left| elapsed + left);
            if let Some(forecast) = &self.forecast {
                self.sentence = forecast.sentence(RunState {
                    failed,
                    planned: self.expected,
                    elapsed,
                });
            }
        }
        LoadProgress {
            elapsed,
            issued: Counters::get(&self.counters.issued),
            completed,
            failed,
            in_flight: self.counters.in_flight.load(Ordering::Relaxed),
            planned: self.expected,
            queries_per_second: self.rate.0,
            tokens_per_second: self.rate.1,
            left: self
                .end
                .map(|end| end.saturating_sub(elapsed))
                .filter(|left| !left.is_zero()),
            forecast: self.sentence.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mlperf_loadgen::{Mode, Scenario};

    use super::*;

    #[test]
    fn tokens_of_answers_that_are_not_complete_count() {
        let counters = Arc::new(Counters::default());
        for _ in 0..128 {
            Counters::bump(&counters.issued);
        }
        let settings = TestSettings::new(Scenario::Offline, Mode::Performance);
        let mut counting = Counting::start(counters, Arc::new(|| 4000), &settings, Some(128), None);
        counting.previous.0 -= Duration::from_secs(2);
        let progress = counting.progress();
        assert_eq!(progress.queries_per_second, 0.0);
        // 4000 tokens in slightly more than 2 s.
        let tokens = progress.tokens_per_second;
        assert!(tokens > 0.0 && tokens <= 2000.0, "{tokens}");
        assert_eq!(progress.left, None, "the time left is not known");
        assert_eq!(progress.total(), 128);
    }
}
