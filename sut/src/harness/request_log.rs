//! The times of every answered query, as measured by the harness: the input of the closing table and the
//! print-outs, with or without metrics.

use std::sync::Mutex;

use vllm_metrics::derive::quantile::of_sorted_as_loadgen;

/// One answered query; times in nanoseconds on the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestTimes {
    /// The query's batch.
    pub(crate) batch: u64,
    /// When LoadGen's schedule wanted it to be sent.
    pub(crate) scheduled_ns: i64,
    /// When it was passed to the connection pool.
    pub(crate) sent_ns: i64,
    /// When its first token arrived.
    pub(crate) first_token_ns: Option<i64>,
    /// When its end arrived.
    pub(crate) done_ns: i64,
    /// Number of output tokens, including the first.
    pub(crate) output_tokens: u32,
    /// Number of prompt tokens, if the server reported it.
    pub(crate) prompt_tokens: Option<u32>,
}

/// All answers so far. Memory is bounded by LoadGen's query count, at 64 bytes per answer.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    answered: Mutex<Vec<RequestTimes>>,
}

impl RequestLog {
    /// Adds an answer.
    pub(crate) fn push(&self, answered: RequestTimes) {
        self.lock().push(answered);
    }

    /// Takes all answers, leaving the log empty.
    pub(crate) fn take(&self) -> Vec<RequestTimes> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<RequestTimes>> {
        self.answered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// All figures that the harness measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LatencyStats {
    /// Number of answered queries.
    pub(crate) completed: u64,
    /// Number of their output tokens.
    pub(crate) output_tokens: u64,
    /// From the first scheduled time to the end of [`Window`].
    pub(crate) duration_secs: f64,
    /// Output tokens per second of that time; `None` when nothing was answered.
    pub(crate) tokens_per_sec: Option<f64>,
    /// Answers per second of that time.
    pub(crate) queries_per_sec: Option<f64>,
    /// Scheduled to first token, ascending.
    pub(crate) ttft_ns: Vec<i64>,
    /// Sent to first token, ascending: the server's share of the time to first token.
    pub(crate) ttft_from_send_ns: Vec<i64>,
    /// (Last token − first token) / (tokens − 1), ascending; answers of one token are left out.
    pub(crate) tpot_ns: Vec<i64>,
    /// Scheduled to last token, ascending.
    pub(crate) latency_ns: Vec<i64>,
    /// Answers whose end or first token precedes their scheduled time because the wall clock, by which
    /// LoadGen schedules, was stepped. They are excluded from all latencies.
    pub(crate) impossible: u64,
    /// Scheduled to sent, ascending: the delay of the harness itself, including the wait for permits.
    pub(crate) issue_delay_ns: Vec<i64>,
}

/// The end of the interval for throughput: LoadGen's two definitions, so that its figures and ours are
/// comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// At the last answer (Offline).
    LastAnswer,
    /// At the answer of the query that was scheduled last, even if others are still outstanding (all other
    /// scenarios).
    AnswerOfLastQuery,
}

impl LatencyStats {
    /// Computes all figures.
    pub(crate) fn from_answers(answers: &[RequestTimes], window: Window) -> Self {
        let last = match window {
            Window::LastAnswer => answers.iter().max_by_key(|a| a.done_ns),
            Window::AnswerOfLastQuery => answers.iter().max_by_key(|a| a.scheduled_ns),
        };
        let start = answers.iter().map(|a| a.scheduled_ns).min();
        let (Some(start), Some(end)) = (start, last.map(|a| a.done_ns)) else {
            return Self::default();
        };
        let impossible = |a: &RequestTimes| {
            a.done_ns < a.scheduled_ns || a.first_token_ns.is_some_and(|first| first < a.scheduled_ns)
        };
        let possible: Vec<&RequestTimes> = answers.iter().filter(|a| !impossible(a)).collect();
        let duration_secs = (end - start).max(1) as f64 / 1e9;
        let output_tokens = answers.iter().map(|a| u64::from(a.output_tokens)).sum::<u64>();
        let sorted = |mut values: Vec<i64>| {
            values.sort_unstable();
            values
        };
        Self {
            completed: answers.len() as u64,
            output_tokens,
            duration_secs,
            tokens_per_sec: Some(output_tokens as f64 / duration_secs),
            queries_per_sec: Some(answers.len() as f64 / duration_secs),
            impossible: (answers.len() - possible.len()) as u64,
            ttft_ns: sorted(
                possible
                    .iter()
                    .filter_map(|a| Some(a.first_token_ns? - a.scheduled_ns))
                    .collect(),
            ),
            ttft_from_send_ns: sorted(
                possible
                    .iter()
                    .filter_map(|a| Some(a.first_token_ns? - a.sent_ns))
                    .collect(),
            ),
            tpot_ns: sorted(
                possible
                    .iter()
                    .filter(|a| a.output_tokens > 1)
                    .filter_map(|a| Some((a.done_ns - a.first_token_ns?) / i64::from(a.output_tokens - 1)))
                    .collect(),
            ),
            latency_ns: sorted(possible.iter().map(|a| a.done_ns - a.scheduled_ns).collect()),
            issue_delay_ns: sorted(possible.iter().map(|a| a.sent_ns - a.scheduled_ns).collect()),
        }
    }
}

/// The value at percentile `p` (0 to 100) of ascending values by LoadGen's rule: the value at the index `p /
/// 100 × n`, rounded down. `None` when there are no values.
pub(crate) fn percentile(sorted: &[i64], p: f64) -> Option<i64> {
    of_sorted_as_loadgen(sorted, p / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_answers() {
        let answer = |scheduled_ns, first, done_ns, output_tokens| RequestTimes {
            batch: 0,
            scheduled_ns,
            sent_ns: scheduled_ns + 10,
            first_token_ns: Some(first),
            done_ns,
            output_tokens,
            prompt_tokens: None,
        };
        let answers = [answer(0, 1_000, 1_000_000_000, 1), answer(500, 2_500, 6_500, 5)];
        let measured = LatencyStats::from_answers(&answers, Window::LastAnswer);
        assert_eq!((measured.completed, measured.output_tokens), (2, 6));
        assert_eq!(measured.duration_secs, 1.0);
        assert_eq!(measured.tokens_per_sec, Some(6.0));
        assert_eq!(measured.ttft_ns, [1_000, 2_000]);
        assert_eq!(
            measured.tpot_ns,
            [1_000],
            "an answer of one token has no time per output token"
        );
        assert_eq!(measured.issue_delay_ns, [10, 10]);
        let until_last_query = LatencyStats::from_answers(&answers, Window::AnswerOfLastQuery);
        assert_eq!(until_last_query.duration_secs, 6_500e-9);
    }

    #[test]
    fn a_stepped_clock_gives_no_negative_latency() {
        let answer = |scheduled_ns| RequestTimes {
            batch: 0,
            scheduled_ns,
            sent_ns: 100,
            first_token_ns: Some(200),
            done_ns: 300,
            output_tokens: 2,
            prompt_tokens: None,
        };
        let stats = LatencyStats::from_answers(&[answer(50), answer(250), answer(5_000)], Window::LastAnswer);
        assert_eq!((stats.completed, stats.impossible), (3, 2));
        assert_eq!((stats.ttft_ns, stats.latency_ns), (vec![150], vec![250]));
    }

    #[test]
    fn nothing_answered_is_not_zero() {
        let measured = LatencyStats::from_answers(&[], Window::LastAnswer);
        assert_eq!(measured.tokens_per_sec, None);
        assert_eq!(percentile(&measured.ttft_ns, 99.0), None);
    }

    #[test]
    fn percentiles_are_loadgens() {
        assert_eq!(percentile(&[10, 20], 50.0), Some(20));
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile(&[0, 1, 2, 3, 4], 100.0), Some(4));
        let hundred: Vec<i64> = (0..100).collect();
        assert_eq!(percentile(&hundred, 99.0), Some(99));
        assert_eq!(percentile(&hundred, 90.0), Some(90));
    }
}
