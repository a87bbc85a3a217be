//! Where a run stands against its limits while it goes on: LoadGen's early-stopping test applied to what is known so
//! far, as half a sentence for the progress line.
//!
//! The workers count slow answers as they come; the test itself is made when somebody looks, about once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mlperf_loadgen::{Scenario, TestSettings};

use crate::ledger::Answered;
use mlperf_rules::early_stopping::{Forecast, forecast, queries_needed};

/// One limit that LoadGen judges, and how many answers were over it.
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

    /// As LoadGen computes it; `None` where the answer has no such value.
    fn of(self, answered: &Answered) -> Option<i64> {
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

/// How many answers there are and how many were too slow.
#[derive(Debug)]
pub struct Standing {
    done: AtomicU64,
    limits: Vec<Limit>,
    percentile: f64,
    /// The percentile itself is the result, and wants enough queries for an estimate.
    estimated: bool,
    min_duration: Duration,
    min_queries: u64,
    /// Answers that one query has.
    samples_per_query: u64,
}

/// What the rest of the program knows of the run at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Queries that failed.
    pub failed: u64,
    /// Queries that LoadGen will issue, where that is known.
    pub planned: Option<u64>,
    /// Time since the start.
    pub elapsed: Duration,
}

impl Standing {
    /// Nothing answered yet. `None` where LoadGen judges no latency (Offline) or nothing at all (accuracy runs).
    pub fn new(settings: &TestSettings) -> Option<Self> {
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
            min_queries: settings.min_query_count,
            samples_per_query: match settings.scenario {
                Scenario::MultiStream => settings.multi_stream_samples_per_query.max(1),
                Scenario::Server | Scenario::SingleStream | Scenario::Offline => 1,
            },
        })
    }

    /// Counts an answer.
    pub fn note(&self, answered: &Answered) {
        for limit in &self.limits {
            if limit.what.of(answered).is_some_and(|ns| ns > limit.limit_ns) {
                limit.over.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Half a sentence on whether the run will be valid.
    pub fn sentence(&self, moment: Moment) -> String {
        if moment.failed > 0 {
            return "cannot count any more: queries failed".into();
        }
        // Every answer counts as slow before it counts as done, so this order never makes it look better than it is.
        let done = self.done.load(Ordering::Relaxed) / self.samples_per_query;
        if self.estimated {
            // LoadGen leaves out the slowest ones but needs at least one to leave out.
            let needed = queries_needed(1, self.percentile).max(self.min_queries);
            return match needed.checked_sub(done).filter(|more| *more > 0) {
                Some(more) => format!("needs {more} more queries"),
                None => self.hold(moment, "enough queries"),
            };
        }
        let worst = self
            .limits
            .iter()
            .map(|limit| {
                let over = limit.over.load(Ordering::Relaxed);
                (
                    limit.what,
                    forecast(done, over.min(done), self.percentile, moment.planned),
                )
            })
            .max_by_key(|(_, forecast)| badness(forecast));
        match worst {
            Some((_, Forecast::Valid { .. })) if done < self.min_queries => {
                format!("needs {} more queries", self.min_queries - done)
            }
            Some((what, Forecast::Valid { spare })) => {
                let room = format!("room for {spare} more over the {} limit", what.name());
                self.hold(moment, &room)
            }
            Some((what, other)) => format!("{}: {other}", what.name()),
            None => String::new(),
        }
    }

    /// The latencies are good; whether the run has lasted long enough is another matter.
    fn hold(&self, moment: Moment, what: &str) -> String {
        match self.min_duration.checked_sub(moment.elapsed) {
            Some(left) if !left.is_zero() => {
                format!(
                    "valid so far ({what}), {:.0} s too short yet",
                    left.as_secs_f64().ceil()
                )
            }
            _ => format!("valid if stopped now ({what})"),
        }
    }
}

/// Orders forecasts: the larger, the worse.
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
    fn answer(ttft_ms: i64, tpot_ms: i64) -> Answered {
        let first = ttft_ms * 1_000_000;
        Answered {
            batch: 0,
            scheduled_ns: 0,
            sent_ns: 0,
            first_token_ns: Some(first),
            done_ns: first + 10 * tpot_ms * 1_000_000,
            output_tokens: 11,
            prompt_tokens: None,
        }
    }

    fn moment(secs: u64) -> Moment {
        Moment {
            failed: 0,
            planned: Some(10_000),
            elapsed: Duration::from_secs(secs),
        }
    }

    #[test]
    fn a_server_run_from_its_beginning_to_its_end() {
        let standing = Standing::new(&settings(Scenario::Server)).unwrap();
        assert_eq!(standing.sentence(moment(0)), "TPOT: needs about 459 more queries");
        for _ in 0..700 {
            // Exactly at the limit is within it.
            standing.note(&answer(100, 10));
        }
        let room = "room for 1 more over the TPOT limit";
        assert_eq!(
            standing.sentence(moment(20)),
            format!("valid so far ({room}), 40 s too short yet")
        );
        assert_eq!(
            standing.sentence(moment(61)),
            format!("valid if stopped now ({room})")
        );
        for _ in 0..40 {
            standing.note(&answer(101, 10));
        }
        let text = standing.sentence(moment(61));
        assert!(
            text.starts_with("TTFT: cannot pass at this rate: 5.41 %"),
            "{text}"
        );
        let failed = Moment {
            failed: 1,
            ..moment(61)
        };
        assert!(standing.sentence(failed).starts_with("cannot count any more"));
    }

    #[test]
    fn what_the_schedule_cannot_make_up_for_is_certain() {
        let standing = Standing::new(&settings(Scenario::Server)).unwrap();
        for _ in 0..30 {
            standing.note(&answer(10, 20));
        }
        let short = Moment {
            planned: Some(500),
            ..moment(5)
        };
        assert!(standing.sentence(short).starts_with("TPOT: cannot pass any more"));
    }

    #[test]
    fn streams_want_enough_queries_and_offline_wants_none() {
        let standing = Standing::new(&TestSettings {
            min_query_count: 1,
            ..settings(Scenario::SingleStream)
        })
        .unwrap();
        assert_eq!(standing.sentence(moment(0)), "needs 64 more queries");
        for _ in 0..64 {
            standing.note(&answer(1000, 1000));
        }
        assert_eq!(
            standing.sentence(moment(60)),
            "valid if stopped now (enough queries)"
        );
        assert!(Standing::new(&settings(Scenario::Offline)).is_none());
        let accuracy = TestSettings {
            mode: Mode::Accuracy,
            ..settings(Scenario::Server)
        };
        assert!(Standing::new(&accuracy).is_none());
    }

    #[test]
    fn a_query_of_several_samples_is_one_query() {
        let settings = TestSettings {
            min_query_count: 1000,
            multi_stream_samples_per_query: 8,
            ..settings(Scenario::MultiStream)
        };
        let standing = Standing::new(&settings).unwrap();
        // The last query lacks an answer.
        for _ in 0..(500 * 8 + 7) {
            standing.note(&answer(1, 1));
        }
        assert_eq!(standing.sentence(moment(60)), "needs 500 more queries");
        for _ in 0..500 * 8 {
            standing.note(&answer(1, 1));
        }
        let text = standing.sentence(moment(60));
        assert_eq!(text, "valid if stopped now (enough queries)");
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_per_token() {
        let standing = Standing::new(&settings(Scenario::Server)).unwrap();
        standing.note(&Answered {
            output_tokens: 1,
            ..answer(1, 1_000_000)
        });
        assert!(
            standing
                .limits
                .iter()
                .all(|limit| limit.over.load(Ordering::Relaxed) == 0)
        );
    }
}
