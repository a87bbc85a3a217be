//! Forecasts during a run whether it will meet its limits: LoadGen's early-stopping test applied to the
//! answers so far, as half a sentence for the progress line.
//!
//! The workers count slow answers as they arrive; the test itself runs only when the sentence is requested,
//! about once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mlperf_loadgen::{Scenario, TestSettings};

use super::request_log::RequestTimes;
use mlperf_rules::early_stopping::{Forecast, forecast, queries_needed};

/// One limit that LoadGen judges, and the number of answers over it.
#[derive(Debug)]
struct Limit {
    what: Quantity,
    limit_ns: i64,
    over: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Ttft,
    Tpot,
    Latency,
}

impl Quantity {
    fn name(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::Latency => "latency",
        }
    }

    /// The value as LoadGen computes it; `None` if the answer has no such value.
    fn of(self, answered: &RequestTimes) -> Option<i64> {
        match self {
            Self::Ttft => Some(answered.first_token_ns? - answered.scheduled_ns),
            Self::Tpot if answered.output_tokens < 2 => None,
            Self::Tpot => {
                Some((answered.done_ns - answered.first_token_ns?) / i64::from(answered.output_tokens - 1))
            }
            Self::Latency => Some(answered.done_ns - answered.scheduled_ns),
        }
    }
}

/// Numbers of answers, and of answers that were too slow.
#[derive(Debug)]
pub(crate) struct EarlyStopForecast {
    done: AtomicU64,
    limits: Vec<Limit>,
    percentile: f64,
    /// The result is the percentile itself, which needs enough queries for an estimate.
    estimated: bool,
    min_duration: Duration,
    min_queries: u64,
    /// Number of answers per query.
    samples_per_query: u64,
}

/// The current state of the run, provided by the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunState {
    /// Queries that failed.
    pub(crate) failed: u64,
    /// Samples that LoadGen will issue, if known.
    pub(crate) planned: Option<u64>,
    /// Time since the start.
    pub(crate) elapsed: Duration,
}

impl EarlyStopForecast {
    /// Starts without any answer. `min_query_count` is the count that LoadGen uses. `None` if LoadGen judges
    /// no latency (Offline) or nothing at all (accuracy runs).
    pub(crate) fn new(settings: &TestSettings, min_query_count: u64) -> Option<Self> {
        if settings.mode != mlperf_loadgen::Mode::Performance {
            return None;
        }
        let limit = |what, limit: Duration| Limit {
            what,
            limit_ns: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
            over: AtomicU64::new(0),
        };
        let (limits, percentile) = match settings.scenario {
            Scenario::Offline => return None,
            Scenario::Server if settings.use_token_latencies => (
                vec![
                    limit(Quantity::Ttft, settings.server_ttft_latency),
                    limit(Quantity::Tpot, settings.server_tpot_latency),
                ],
                settings.server_target_percentile,
            ),
            Scenario::Server => (
                vec![limit(Quantity::Latency, settings.server_target_latency)],
                settings.server_target_percentile,
            ),
            Scenario::SingleStream => (Vec::new(), settings.single_stream_target_percentile),
            Scenario::MultiStream => (Vec::new(), settings.multi_stream_target_percentile),
        };
        Some(Self {
            done: AtomicU64::new(0),
            estimated: limits.is_empty(),
            limits,
            percentile,
            min_duration: settings.min_duration,
            min_queries: min_query_count,
            samples_per_query: match settings.scenario {
                Scenario::MultiStream => settings.multi_stream_samples_per_query.max(1),
                Scenario::Server | Scenario::SingleStream | Scenario::Offline => 1,
            },
        })
    }

    /// Counts an answer.
    pub(crate) fn note(&self, answered: &RequestTimes) {
        for limit in &self.limits {
            if limit.what.of(answered).is_some_and(|ns| ns > limit.limit_ns) {
                limit.over.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Half a sentence that states whether the run will be valid.
    pub(crate) fn sentence(&self, moment: RunState) -> String {
        if moment.failed > 0 {
            return "cannot be VALID: queries failed".into();
        }
        // An answer counts as slow before it counts as done, so this order never makes the run look better
        // than it is.
        let done = self.done.load(Ordering::Relaxed) / self.samples_per_query;
        if self.estimated {
            // LoadGen leaves out the slowest queries, but needs at least one to leave out.
            let needed = queries_needed(1, self.percentile).max(self.min_queries);
            return match needed.checked_sub(done).filter(|more| *more > 0) {
                Some(more) => format!("{more} more queries needed"),
                None => self.hold(moment, "enough queries"),
            };
        }
        let fewest = queries_needed(0, self.percentile);
        let planned = moment.planned.map(|samples| samples / self.samples_per_query);
        if let Some(planned) = planned.filter(|planned| *planned < fewest) {
            return format!("cannot be VALID: {planned} queries planned, at least {fewest} needed");
        }
        let worst = self
            .limits
            .iter()
            .map(|limit| {
                let over = limit.over.load(Ordering::Relaxed);
                (
                    limit.what,
                    forecast(done, over.min(done), self.percentile, planned),
                )
            })
            .max_by_key(|(_, forecast)| badness(forecast));
        match worst {
            Some((_, Forecast::Valid { .. })) if done < self.min_queries => {
                format!("{} more queries needed", self.min_queries - done)
            }
            Some((what, Forecast::Valid { spare })) => {
                let room = format!("{spare} more may miss the {} limit", what.name());
                self.hold(moment, &room)
            }
            Some((what, other)) => format!("early stopping ({}): {other}", what.name()),
            None => String::new(),
        }
    }

    /// The latencies are within the limits; the run may still be too short.
    fn hold(&self, moment: RunState, what: &str) -> String {
        match self.min_duration.checked_sub(moment.elapsed) {
            Some(left) if !left.is_zero() => {
                format!(
                    "on track: {:.0} s to the least duration, {what}",
                    left.as_secs_f64().ceil()
                )
            }
            _ => format!("valid if stopped now ({what})"),
        }
    }
}

/// Sort key of forecasts: larger is worse.
fn badness(forecast: &Forecast) -> (u8, u64) {
    match *forecast {
        Forecast::Valid { spare } => (0, u64::MAX - spare),
        Forecast::NeedsMore { at_this_rate, .. } => (1, at_this_rate),
        Forecast::CannotPass { for_certain, .. } => (2 + u8::from(for_certain), 0),
    }
}

#[cfg(test)]
mod tests {
    use mlperf_loadgen::Mode;

    use super::*;

    fn settings(scenario: Scenario) -> TestSettings {
        TestSettings {
            use_token_latencies: true,
            server_ttft_latency: Duration::from_millis(100),
            server_tpot_latency: Duration::from_millis(10),
            server_target_percentile: 0.99,
            min_duration: Duration::from_secs(60),
            min_query_count: 100,
            ..TestSettings::new(scenario, Mode::Performance)
        }
    }

    /// An answer of eleven tokens with these times in milliseconds.
    fn answer(ttft_ms: i64, tpot_ms: i64) -> RequestTimes {
        let first = ttft_ms * 1_000_000;
        RequestTimes {
            batch: 0,
            scheduled_ns: 0,
            sent_ns: 0,
            first_token_ns: Some(first),
            done_ns: first + 10 * tpot_ms * 1_000_000,
            output_tokens: 11,
            prompt_tokens: None,
        }
    }

    fn moment(secs: u64) -> RunState {
        RunState {
            failed: 0,
            planned: Some(10_000),
            elapsed: Duration::from_secs(secs),
        }
    }

    #[test]
    fn a_server_run_from_its_beginning_to_its_end() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100).unwrap();
        assert_eq!(
            forecast.sentence(moment(0)),
            "early stopping (TPOT): needs about 459 more queries"
        );
        for _ in 0..700 {
            // A value equal to the limit is within it.
            forecast.note(&answer(100, 10));
        }
        let room = "1 more may miss the TPOT limit";
        assert_eq!(
            forecast.sentence(moment(20)),
            format!("on track: 40 s to the least duration, {room}")
        );
        assert_eq!(
            forecast.sentence(moment(61)),
            format!("valid if stopped now ({room})")
        );
        for _ in 0..40 {
            forecast.note(&answer(101, 10));
        }
        let text = forecast.sentence(moment(61));
        assert!(
            text.starts_with("early stopping (TTFT): cannot pass at this rate: 5.41 %"),
            "{text}"
        );
        let failed = RunState {
            failed: 1,
            ..moment(61)
        };
        assert!(forecast.sentence(failed).starts_with("cannot be VALID"));
    }

    #[test]
    fn what_the_schedule_cannot_make_up_for_is_certain() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100).unwrap();
        for _ in 0..30 {
            forecast.note(&answer(10, 20));
        }
        let short = RunState {
            planned: Some(500),
            ..moment(5)
        };
        assert!(
            forecast
                .sentence(short)
                .starts_with("early stopping (TPOT): cannot pass any more")
        );
        let too_short = RunState {
            planned: Some(64),
            ..moment(5)
        };
        assert_eq!(
            forecast.sentence(too_short),
            "cannot be VALID: 64 queries planned, at least 459 needed"
        );
    }

    #[test]
    fn streams_want_enough_queries_and_offline_wants_none() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::SingleStream), 1).unwrap();
        assert_eq!(forecast.sentence(moment(0)), "64 more queries needed");
        for _ in 0..64 {
            forecast.note(&answer(1000, 1000));
        }
        assert_eq!(
            forecast.sentence(moment(60)),
            "valid if stopped now (enough queries)"
        );
        assert!(EarlyStopForecast::new(&settings(Scenario::Offline), 1).is_none());
        let accuracy = TestSettings {
            mode: Mode::Accuracy,
            ..settings(Scenario::Server)
        };
        assert!(EarlyStopForecast::new(&accuracy, 1).is_none());
    }

    #[test]
    fn a_query_of_several_samples_is_one_query() {
        let settings = TestSettings {
            multi_stream_samples_per_query: 8,
            ..settings(Scenario::MultiStream)
        };
        let forecast = EarlyStopForecast::new(&settings, 1000).unwrap();
        // The last query lacks an answer.
        for _ in 0..(500 * 8 + 7) {
            forecast.note(&answer(1, 1));
        }
        assert_eq!(forecast.sentence(moment(60)), "500 more queries needed");
        for _ in 0..500 * 8 {
            forecast.note(&answer(1, 1));
        }
        let text = forecast.sentence(moment(60));
        assert_eq!(text, "valid if stopped now (enough queries)");
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_per_token() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100).unwrap();
        forecast.note(&RequestTimes {
            output_tokens: 1,
            ..answer(1, 1_000_000)
        });
        assert!(
            forecast
                .limits
                .iter()
                .all(|limit| limit.over.load(Ordering::Relaxed) == 0)
        );
    }
}
