//! One rule: a fault and the conditions under which it applies.

use std::time::Duration;

use crate::rng::{mix2, unit};

/// What fails. The module's table describes each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Connections are refused.
    Refuse,
    /// The connection is reset after this many tokens.
    Reset {
        /// Streamed tokens before it.
        tokens: u32,
    },
    /// An error answer.
    Status {
        /// HTTP status, 400 to 599.
        code: u16,
    },
    /// The connection ends in mid-stream after this many tokens.
    Truncate {
        /// Streamed tokens before it.
        tokens: u32,
    },
    /// Nothing more comes after this many tokens.
    Stall {
        /// Streamed tokens before it.
        tokens: u32,
        /// How long; `None` for ever.
        lasts: Option<Duration>,
    },
    /// Bytes that are no event come after this many tokens.
    Garbage {
        /// Streamed tokens before it.
        tokens: u32,
    },
    /// An error event ends the stream in good order after this many tokens.
    Error {
        /// Streamed tokens before it.
        tokens: u32,
    },
    /// Steps take longer.
    Slow {
        /// Of the time they would take; 100 changes nothing.
        percent: u32,
    },
    /// The engines freeze.
    Hang {
        /// How long; `None` for ever.
        lasts: Option<Duration>,
    },
    /// The engines are dead and the front end is not, for a while.
    EngineDeath {
        /// Until the server is gone.
        lasts: Duration,
    },
    /// The server is gone.
    Die,
    /// The server is gone, and comes back with its counters at 0.
    Restart {
        /// How long it is away.
        away: Duration,
    },
    /// `/metrics` answers late.
    MetricsSlow {
        /// How late.
        delay: Duration,
    },
    /// `/metrics` answers text that is no page.
    MetricsGarbage,
    /// `/metrics` breaks off.
    MetricsTruncate,
    /// `/metrics` resets the connection.
    MetricsReset,
    /// `/metrics` answers an error.
    MetricsStatus {
        /// HTTP status, 400 to 599.
        code: u16,
    },
}

impl Fault {
    /// True for the faults of `/metrics`, which count scrapes instead of generation requests.
    pub(crate) fn is_about_metrics(&self) -> bool {
        matches!(
            self,
            Self::MetricsSlow { .. }
                | Self::MetricsGarbage
                | Self::MetricsTruncate
                | Self::MetricsReset
                | Self::MetricsStatus { .. }
        )
    }
}

/// Conditions; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct When {
    /// Number of the first affected request, counted from 0 in order of arrival.
    pub first: Option<u64>,
    /// Number of the first request that is no longer affected.
    pub end: Option<u64>,
    /// Every so many requests: with 5, numbers 4, 9, 14, …
    pub every: Option<u64>,
    /// Share of requests, 0 to 1, drawn from the seed and the request's number.
    pub probability: Option<f64>,
    /// Earliest time since the start.
    pub from: Option<Duration>,
    /// Time since the start at which it ends.
    pub until: Option<Duration>,
    /// At most so many times.
    pub times: Option<u64>,
}

impl When {
    /// True if the rule applies to single requests.
    pub(crate) fn is_about_requests(&self) -> bool {
        self.first.is_some() || self.end.is_some() || self.every.is_some() || self.probability.is_some()
    }

    /// True if the conditions hold for request `number` now. `rule` makes the draws of two rules independent.
    pub(crate) fn holds(&self, seed: u64, rule: u64, number: u64, elapsed: Duration) -> bool {
        self.first.is_none_or(|first| number >= first)
            && self.end.is_none_or(|end| number < end)
            && self.every.is_none_or(|every| (number + 1).is_multiple_of(every))
            && self
                .probability
                .is_none_or(|p| unit(mix2(mix2(seed, rule), number)) < p)
            && self.from.is_none_or(|from| elapsed >= from)
            && self.until.is_none_or(|until| elapsed < until)
    }
}

/// A fault and its conditions. Read one from text with [`str::parse`].
///
/// ```
/// use vllm_sim::{Fault, FaultRule};
///
/// let rule: FaultRule = "status code=503 requests=100..150".parse()?;
/// assert_eq!(rule.fault, Fault::Status { code: 503 });
/// assert_eq!((rule.when.first, rule.when.end), (Some(100), Some(150)));
/// # Ok::<(), vllm_sim::FaultParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub fault: Fault,
    /// To which requests, and when.
    pub when: When,
}

impl FaultRule {
    /// True for a fault that happens at a time rather than to a request.
    pub(crate) fn is_timed(&self) -> bool {
        match self.fault {
            Fault::Refuse | Fault::Slow { .. } => true,
            Fault::Hang { .. } | Fault::EngineDeath { .. } | Fault::Die | Fault::Restart { .. } => {
                !self.when.is_about_requests()
            }
            _ => false,
        }
    }

    /// When a timed rule begins and ends, since the start.
    pub(crate) fn window(&self) -> (Duration, Option<Duration>) {
        let from = self.when.from.unwrap_or_default();
        let lasts = match self.fault {
            Fault::Hang { lasts } => lasts,
            _ => None,
        };
        (
            from,
            lasts
                .map(|lasts| from + lasts)
                .into_iter()
                .chain(self.when.until)
                .min(),
        )
    }

    /// True if a timed rule holds now.
    pub(crate) fn is_in_window(&self, elapsed: Duration) -> bool {
        let (from, until) = self.window();
        elapsed >= from && until.is_none_or(|until| elapsed < until)
    }
}
