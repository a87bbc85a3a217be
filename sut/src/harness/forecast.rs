//! Forecasts during a run whether it will meet its limits: LoadGen's early-stopping test applied to the
//! answers so far, and to outstanding requests that have already missed a limit, as half a sentence for the progress
//! line.
//!
//! The workers count slow answers as they arrive; the test itself runs only when the sentence is requested,
//! about once a second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlperf_loadgen::{Scenario, TestSettings};
use vllm_metrics::RunClock;

use super::request_log::RequestTimes;
use mlperf_rules::early_stopping::{Forecast, forecast, queries_needed};

/// One limit that LoadGen judges.
#[derive(Debug, Clone, Copy)]
struct Limit {
    what: Quantity,
    limit_ns: i64,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
struct Pending {
    scheduled_ns: i64,
    first_token_ns: Option<i64>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Answers.
    done: u64,
    /// Answers over each limit.
    over: Vec<u64>,
    /// Issued samples without an answer, by id; empty in scenarios without limits.
    pending: HashMap<u64, Pending>,
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

    /// The least value that a request without an answer can still have at `now_ns`. A TPOT cannot be known before
    /// the number of tokens is.
    fn at_least(self, pending: Pending, now_ns: i64) -> Option<i64> {
        match self {
            Self::Ttft => Some(pending.first_token_ns.unwrap_or(now_ns) - pending.scheduled_ns),
            Self::Tpot => None,
            Self::Latency => Some(now_ns - pending.scheduled_ns),
        }
    }
}

/// Numbers of answers, and of answers that were too slow.
#[derive(Debug)]
pub(crate) struct EarlyStopForecast {
    counted: Mutex<Counted>,
    limits: Vec<Limit>,
    clock: RunClock,
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
    pub(crate) fn new(settings: &TestSettings, min_query_count: u64, clock: RunClock) -> Option<Self> {
        if settings.mode != mlperf_loadgen::Mode::Performance {
            return None;
        }
        let limit = |what, limit: Duration| Limit {
            what,
            limit_ns: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
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
            counted: Mutex::new(Counted {
                over: vec![0; limits.len()],
                ..Counted::default()
            }),
            estimated: limits.is_empty(),
            limits,
            clock,
            percentile,
            min_duration: settings.min_duration,
            min_queries: min_query_count,
            samples_per_query: match settings.scenario {
                Scenario::MultiStream => settings.multi_stream_samples_per_query.max(1),
                Scenario::Server | Scenario::SingleStream | Scenario::Offline => 1,
            },
        })
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// LoadGen issued a sample.
    pub(crate) fn issued(&self, id: u64, scheduled_ns: i64) {
        if !self.limits.is_empty() {
            let pending = Pending {
                scheduled_ns,
                first_token_ns: None,
            };
            self.counted().pending.insert(id, pending);
        }
    }

    /// A sample's first token arrived.
    pub(crate) fn first_token(&self, id: u64, at_ns: i64) {
        if !self.limits.is_empty()
            && let Some(pending) = self.counted().pending.get_mut(&id)
        {
            pending.first_token_ns = Some(at_ns);
        }
    }

    /// A sample failed.
    pub(crate) fn failed(&self, id: u64) {
        self.counted().pending.remove(&id);
    }

    /// Counts the answer to a sample.
    pub(crate) fn note(&self, id: u64, answered: &RequestTimes) {
        let mut counted = self.counted();
        counted.pending.remove(&id);
        counted.done += 1;
        for (limit, over) in self.limits.iter().zip(&mut counted.over) {
            *over += u64::from(limit.what.of(answered).is_some_and(|ns| ns > limit.limit_ns));
        }
    }

    /// Number of answers, and for each limit the outstanding samples that already missed it and all that missed it.
    fn misses(&self, now_ns: i64) -> (u64, Vec<(Limit, u64, u64)>) {
        let counted = self.counted();
        let of = |(limit, over): (&Limit, &u64)| {
            let missed = |pending: &&Pending| {
                limit
                    .what
                    .at_least(**pending, now_ns)
                    .is_some_and(|ns| ns > limit.limit_ns)
            };
            let outstanding = match limit.what {
                Quantity::Tpot => 0,
                Quantity::Ttft | Quantity::Latency => counted.pending.values().filter(missed).count() as u64,
            };
            (*limit, outstanding, over + outstanding)
        };
        (
            counted.done,
            self.limits.iter().zip(&counted.over).map(of).collect(),
        )
    }

    /// Half a sentence that states whether the run will be valid.
    pub(crate) fn sentence(&self, moment: RunState) -> String {
        self.sentence_at(moment, self.clock.now_ns())
    }

    fn sentence_at(&self, moment: RunState, now_ns: i64) -> String {
        if moment.failed > 0 {
            return "cannot be VALID: queries failed".into();
        }
        let (answers, misses) = self.misses(now_ns);
        let done = answers / self.samples_per_query;
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
        let worst = misses
            .into_iter()
            .map(|(limit, outstanding, over)| {
                (
                    limit.what,
                    forecast(done + outstanding, over, self.percentile, planned),
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
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100, RunClock::start()).unwrap();
        assert_eq!(
            forecast.sentence_at(moment(0), 0),
            "early stopping (TPOT): needs about 459 more queries"
        );
        for _ in 0..700 {
            // A value equal to the limit is within it.
            forecast.note(0, &answer(100, 10));
        }
        let room = "1 more may miss the TPOT limit";
        assert_eq!(
            forecast.sentence_at(moment(20), 0),
            format!("on track: 40 s to the least duration, {room}")
        );
        assert_eq!(
            forecast.sentence_at(moment(61), 0),
            format!("valid if stopped now ({room})")
        );
        for _ in 0..40 {
            forecast.note(0, &answer(101, 10));
        }
        let text = forecast.sentence_at(moment(61), 0);
        assert!(
            text.starts_with("early stopping (TTFT): cannot pass at this rate: 5.41 %"),
            "{text}"
        );
        let failed = RunState {
            failed: 1,
            ..moment(61)
        };
        assert!(forecast.sentence_at(failed, 0).starts_with("cannot be VALID"));
    }

    #[test]
    fn what_the_schedule_cannot_make_up_for_is_certain() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100, RunClock::start()).unwrap();
        for _ in 0..30 {
            forecast.note(0, &answer(10, 20));
        }
        let short = RunState {
            planned: Some(500),
            ..moment(5)
        };
        assert!(
            forecast
                .sentence_at(short, 0)
                .starts_with("early stopping (TPOT): cannot pass any more")
        );
        let too_short = RunState {
            planned: Some(64),
            ..moment(5)
        };
        assert_eq!(
            forecast.sentence_at(too_short, 0),
            "cannot be VALID: 64 queries planned, at least 459 needed"
        );
    }

    #[test]
    fn streams_want_enough_queries_and_offline_wants_none() {
        let forecast =
            EarlyStopForecast::new(&settings(Scenario::SingleStream), 1, RunClock::start()).unwrap();
        assert_eq!(forecast.sentence_at(moment(0), 0), "64 more queries needed");
        for _ in 0..64 {
            forecast.note(0, &answer(1000, 1000));
        }
        assert_eq!(
            forecast.sentence_at(moment(60), 0),
            "valid if stopped now (enough queries)"
        );
        assert!(EarlyStopForecast::new(&settings(Scenario::Offline), 1, RunClock::start()).is_none());
        let accuracy = TestSettings {
            mode: Mode::Accuracy,
            ..settings(Scenario::Server)
        };
        assert!(EarlyStopForecast::new(&accuracy, 1, RunClock::start()).is_none());
    }

    #[test]
    fn a_query_of_several_samples_is_one_query() {
        let settings = TestSettings {
            multi_stream_samples_per_query: 8,
            ..settings(Scenario::MultiStream)
        };
        let forecast = EarlyStopForecast::new(&settings, 1000, RunClock::start()).unwrap();
        // The last query lacks an answer.
        for _ in 0..(500 * 8 + 7) {
            forecast.note(0, &answer(1, 1));
        }
        assert_eq!(forecast.sentence_at(moment(60), 0), "500 more queries needed");
        for _ in 0..500 * 8 {
            forecast.note(0, &answer(1, 1));
        }
        let text = forecast.sentence_at(moment(60), 0);
        assert_eq!(text, "valid if stopped now (enough queries)");
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_per_token() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100, RunClock::start()).unwrap();
        forecast.note(
            0,
            &RequestTimes {
                output_tokens: 1,
                ..answer(1, 1_000_000)
            },
        );
        assert_eq!(forecast.counted().over, [0, 0]);
    }

    #[test]
    fn an_outstanding_request_counts_once_it_has_missed_its_limit() {
        let forecast = EarlyStopForecast::new(&settings(Scenario::Server), 100, RunClock::start()).unwrap();
        for id in 0..700 {
            forecast.note(id, &answer(100, 10));
        }
        for id in 1000..1040 {
            forecast.issued(id, 0);
        }
        let limit_ns = 100_000_000;
        let valid = "valid if stopped now (1 more may miss the TPOT limit)";
        assert_eq!(forecast.sentence_at(moment(61), limit_ns), valid);
        let late = forecast.sentence_at(moment(61), limit_ns + 1);
        assert!(
            late.starts_with("early stopping (TTFT): cannot pass at this rate: 5.41 %"),
            "{late}"
        );
        // First tokens in time, seen later, are no misses; a late one stays one.
        for id in 1000..1040 {
            forecast.first_token(id, limit_ns);
        }
        assert_eq!(forecast.sentence_at(moment(61), 10 * limit_ns), valid);
        for id in 1000..1040 {
            forecast.first_token(id, limit_ns + 1);
        }
        assert_eq!(forecast.sentence_at(moment(61), 10 * limit_ns), late);
        for id in 1000..1040 {
            forecast.failed(id);
        }
        assert_eq!(forecast.sentence_at(moment(61), 10 * limit_ns), valid);
    }

    /// One request of a generated run: scheduled, first token, end, tokens.
    fn requests() -> impl proptest::strategy::Strategy<Value = Vec<(i64, i64, i64, u32)>> {
        let one = (0..2000_i64, 0..250_i64, 0..600_i64, 1..30_u32);
        proptest::collection::vec(one, 1..600)
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]

        /// Ends and misses at any moment are those that LoadGen finds in the same requests when all have ended.
        #[test]
        fn the_forecast_is_never_more_optimistic_than_the_verdict(
            run in requests(),
            at_ms in 0..3000_i64,
            token_latencies in proptest::bool::ANY,
        ) {
            let settings = TestSettings {
                use_token_latencies: token_latencies,
                server_target_latency: Duration::from_millis(300),
                ..settings(Scenario::Server)
            };
            let forecast = EarlyStopForecast::new(&settings, 1, RunClock::start()).unwrap();
            let ns = |ms: i64| ms * 1_000_000;
            let ended: Vec<RequestTimes> = run
                .iter()
                .map(|(scheduled, ttft, rest, tokens)| RequestTimes {
                    scheduled_ns: ns(*scheduled),
                    sent_ns: ns(*scheduled),
                    first_token_ns: Some(ns(scheduled + ttft)),
                    done_ns: ns(scheduled + ttft + rest),
                    output_tokens: *tokens,
                    ..answer(0, 0)
                })
                .collect();
            let now = ns(at_ms);
            for (id, times) in (0..).zip(&ended).filter(|(_, times)| times.scheduled_ns <= now) {
                forecast.issued(id, times.scheduled_ns);
                if let Some(first) = times.first_token_ns.filter(|first| *first <= now) {
                    forecast.first_token(id, first);
                }
                if times.done_ns <= now {
                    forecast.note(id, times);
                }
            }
            let (done, misses) = forecast.misses(now);
            let answered = |times: &&RequestTimes| times.done_ns <= now;
            proptest::prop_assert_eq!(done, ended.iter().filter(answered).count() as u64);
            for (limit, outstanding, over) in misses {
                let finally = |times: &&RequestTimes| {
                    limit.what.of(times).is_some_and(|ns| ns > limit.limit_ns)
                };
                let among_answers = ended.iter().filter(answered).filter(finally).count() as u64;
                let will_miss = ended
                    .iter()
                    .filter(|times| times.scheduled_ns <= now && times.done_ns > now)
                    .filter(finally)
                    .count() as u64;
                // Each counted request misses in the end; none of the answered ones that missed is left out.
                proptest::prop_assert_eq!(over, among_answers + outstanding);
                proptest::prop_assert!(outstanding <= will_miss);
                if limit.what == Quantity::Ttft {
                    let certain = ended
                        .iter()
                        .filter(|times| times.done_ns > now && now - times.scheduled_ns > limit.limit_ns)
                        .filter(finally)
                        .count() as u64;
                    proptest::prop_assert!(outstanding >= certain);
                }
                // LoadGen's own number of queries that a run with as many misses needs.
                let needed = mlperf_loadgen::min_passing_queries(over, 0.99).unwrap();
                let says_valid = matches!(
                    super::forecast(done + outstanding, over, 0.99, None),
                    Forecast::Valid { .. }
                );
                proptest::prop_assert_eq!(says_valid, done + outstanding >= needed);
            }
        }
    }
}
