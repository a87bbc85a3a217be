//! Requests in steps of one tick, the quantities of each, and which are kept when there are too many.
//!
//! Everything that the page shows of requests is computed from these rounded times, by this file and by `stats.js`
//! alike, so a number is the same wherever it stands.

use crate::model::{Outcome, Request, Run, TimeSource};

/// Up to so many requests, times are kept in microseconds; above in steps of 0.1 ms.
const FINE: usize = 20_000;

/// The requests of a run, by time of issue.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Nanoseconds of a tick.
    pub tick_ns: i64,
    /// A tick is 10^-exponent ms.
    pub exponent: u8,
    pub rows: Vec<Row>,
}

/// One request; times in ticks from the run's origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub scheduled: Option<i64>,
    pub issued: i64,
    pub sent: Option<i64>,
    pub first: Option<i64>,
    pub done: Option<i64>,
    pub prompt_tokens: Option<u32>,
    pub output_tokens: Option<u32>,
    pub queue: Option<i64>,
    pub prefill: Option<i64>,
    pub decode: Option<i64>,
    pub time_source: Option<TimeSource>,
    pub outcome: Outcome,
    pub server: u32,
    /// How many requests this one represents.
    pub weight: f64,
}

impl Requests {
    pub(crate) fn of(run: &Run) -> Self {
        let (tick_ns, exponent) = if run.requests.len() <= FINE {
            (1_000, 3)
        } else {
            (100_000, 1)
        };
        let round = |ns: i64| (ns + tick_ns / 2).div_euclid(tick_ns);
        let at = |ns: i64| round(ns - run.origin_ns);
        let mut rows: Vec<Row> = run
            .requests
            .iter()
            .map(|r: &Request| Row {
                scheduled: r.scheduled_ns.map(at),
                issued: at(r.issued_ns),
                sent: r.sent_ns.map(at),
                first: r.first_token_ns.map(at),
                done: r.done_ns.map(at),
                prompt_tokens: r.prompt_tokens,
                output_tokens: r.output_tokens,
                queue: r.queue_ns.map(round),
                prefill: r.prefill_ns.map(round),
                decode: r.decode_ns.map(round),
                time_source: r.time_source,
                outcome: r.outcome,
                server: r.server,
                weight: 1.0,
            })
            .collect();
        rows.sort_by_key(|r| (r.issued, r.sent, r.done));
        Self {
            tick_ns,
            exponent,
            rows,
        }
    }

    /// A time of the run in milliseconds from its origin, as the columns hold it.
    pub(crate) fn ms(&self, ticks: i64) -> f64 {
        ticks as f64 / 10_f64.powi(i32::from(self.exponent))
    }

    /// The value of a metric in milliseconds, for a request that was completed.
    pub(crate) fn metric(&self, row: &Row, metric: Metric) -> Option<f64> {
        if row.outcome != Outcome::Completed {
            return None;
        }
        let ticks = match metric {
            Metric::Ttft => row.first? - row.sent?,
            Metric::TtftScheduled => row.first? - row.scheduled?,
            Metric::Tpot => {
                let tokens = row.output_tokens.filter(|&n| n >= 2)?;
                return Some(self.ms(row.done? - row.first?) / f64::from(tokens - 1));
            }
            Metric::E2e => row.done? - row.sent?,
            Metric::ScheduleLag => row.issued - row.scheduled?,
            Metric::ClientQueue => row.sent? - row.issued,
            Metric::Queue => row.queue?,
            Metric::Prefill => row.prefill?,
            Metric::Decode => row.decode?,
            Metric::Outside => row.done? - row.sent? - row.queue? - row.prefill? - row.decode?,
        };
        Some(self.ms(ticks))
    }

    /// At most about `limit` requests: every one that was not completed, every one beyond p99.9 of TTFT, TPOT or
    /// latency, and of the rest a sample that depends on nothing but its position.
    pub(crate) fn sampled(mut self, limit: usize) -> Self {
        if self.rows.len() <= limit {
            return self;
        }
        let mut keep: Vec<bool> = self
            .rows
            .iter()
            .map(|r| r.outcome != Outcome::Completed)
            .collect();
        for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
            let values: Vec<_> = self.rows.iter().map(|row| self.metric(row, metric)).collect();
            let mut sorted: Vec<f64> = values.iter().flatten().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let Some(bound) = crate::numbers::quantile(&sorted, 0.999) else {
                continue;
            };
            for (keep, value) in keep.iter_mut().zip(values) {
                *keep |= value.is_some_and(|v| v > bound);
            }
        }
        let all = keep.iter().filter(|&&k| k).count();
        let rest = self.rows.len() - all;
        let share = limit.saturating_sub(all).max(1) as f64 / rest.max(1) as f64;
        let bound = (share * u64::MAX as f64) as u64;
        let drawn: Vec<bool> = (0..self.rows.len())
            .map(|i| !keep[i] && scramble(i as u64) < bound)
            .collect();
        let weight = rest as f64 / drawn.iter().filter(|&&d| d).count().max(1) as f64;
        let mut i = 0;
        self.rows.retain_mut(|row| {
            if drawn[i] {
                row.weight = weight;
            }
            i += 1;
            keep[i - 1] || drawn[i - 1]
        });
        self
    }
}

/// The finalizer of SplitMix64: spreads positions evenly over all integers.
fn scramble(position: u64) -> u64 {
    let mut z = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A duration of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Ttft,
    TtftScheduled,
    Tpot,
    E2e,
    ScheduleLag,
    ClientQueue,
    Queue,
    Prefill,
    Decode,
    Outside,
}

impl Metric {
    pub(crate) const ALL: [Self; 10] = [
        Self::Ttft,
        Self::TtftScheduled,
        Self::Tpot,
        Self::E2e,
        Self::ScheduleLag,
        Self::ClientQueue,
        Self::Queue,
        Self::Prefill,
        Self::Decode,
        Self::Outside,
    ];

    /// Name in links and in `stats.js`.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::TtftScheduled => "ttft_scheduled",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
            Self::ScheduleLag => "schedule_lag",
            Self::ClientQueue => "client_queue",
            Self::Queue => "queue",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Outside => "outside",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::TtftScheduled => "TTFT from schedule",
            Self::Tpot => "TPOT",
            Self::E2e => "Latency",
            Self::ScheduleLag => "Schedule lag",
            Self::ClientQueue => "Client queue",
            Self::Queue => "Server queue",
            Self::Prefill => "Prefill",
            Self::Decode => "Decode",
            Self::Outside => "Outside the engine",
        }
    }

    pub(crate) fn definition(self) -> &'static str {
        match self {
            Self::Ttft => {
                "Time to first token: from the request being sent to its first content token, as the client saw it."
            }
            Self::TtftScheduled => {
                "Time to first token from when the request should have been issued: schedule lag and client queue are \
                 included. This is LoadGen's definition."
            }
            Self::Tpot => {
                "Time per output token: (done − first token) ÷ (output tokens − 1), per request; requests with fewer \
                 than two output tokens have none."
            }
            Self::E2e => "From the request being sent to its last token, as the client saw it.",
            Self::ScheduleLag => "From when the request should have been issued to when it was.",
            Self::ClientQueue => {
                "From being issued to being sent: waiting for a free connection or permit in the client."
            }
            Self::Queue => "Time in the server's waiting queue.",
            Self::Prefill => "From being scheduled by the engine to its first token.",
            Self::Decode => "From the engine's first token to its last.",
            Self::Outside => "Latency less server queue, prefill and decode: network, API server, tokenizer.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: i64) -> Run {
        let requests = (0..n)
            .map(|i| Request {
                issued_ns: i * 1_000_000,
                sent_ns: Some(i * 1_000_000),
                first_token_ns: Some(i * 1_000_000 + 50_000_000 + i),
                done_ns: Some(i * 1_000_000 + 90_000_000),
                output_tokens: Some(11),
                outcome: if i % 1000 == 7 {
                    Outcome::Failed
                } else {
                    Outcome::Completed
                },
                ..Request::default()
            })
            .collect();
        Run {
            requests,
            ..Run::default()
        }
    }

    #[test]
    fn a_sample_keeps_failures_and_the_slowest() {
        let all = Requests::of(&run(30_000));
        assert_eq!(all.tick_ns, 100_000);
        let slowest = all
            .rows
            .iter()
            .filter_map(|r| all.metric(r, Metric::Ttft))
            .fold(0.0, f64::max);
        let some = all.sampled(10_000);
        assert!((9_800..10_200).contains(&some.rows.len()), "{}", some.rows.len());
        assert_eq!(
            some.rows.iter().filter(|r| r.outcome == Outcome::Failed).count(),
            30
        );
        assert_eq!(
            some.rows
                .iter()
                .filter_map(|r| some.metric(r, Metric::Ttft))
                .fold(0.0, f64::max),
            slowest
        );
        let stands_for: f64 = some.rows.iter().map(|r| r.weight).sum();
        assert!((stands_for - 30_000.0).abs() < 1.0, "{stands_for}");
    }

    #[test]
    fn metrics_are_those_of_completed_requests() {
        let all = Requests::of(&run(10));
        assert_eq!(all.metric(&all.rows[0], Metric::Ttft), Some(50.0));
        assert_eq!(all.metric(&all.rows[0], Metric::Tpot), Some(4.0));
        assert_eq!(all.metric(&all.rows[7], Metric::Ttft), None, "it failed");
        assert_eq!(
            all.metric(&all.rows[0], Metric::Queue),
            None,
            "the server did not report it"
        );
    }
}
