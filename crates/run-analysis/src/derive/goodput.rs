//! Goodput: requests per second that met every latency limit, from the request rows.

use super::latency;
use run_model::{Manifest, Outcome, RequestRow};

/// The fact that stores a run's limits as written, for later readers.
pub const LIMITS_FACT: &str = "goodput.limits";

/// Limits that a request must meet to count. Absent limits are not checked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Sent to first token, in seconds.
    pub ttft_secs: Option<f64>,
    /// (Done − first token) / (output tokens − 1), in seconds.
    pub tpot_secs: Option<f64>,
    /// Sent to done, in seconds.
    pub e2e_secs: Option<f64>,
}

impl Limits {
    /// Returns the limits in a run's facts, if any.
    pub fn of_manifest(manifest: &Manifest) -> Option<Self> {
        manifest.facts.get(LIMITS_FACT)?.parse().ok()
    }
}

/// Why limits could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("goodput limits: {0}; write them as ttft:200ms tpot:50ms e2e:10s")]
pub struct LimitsError(String);

impl std::str::FromStr for Limits {
    type Err = LimitsError;

    /// Parses `ttft:200ms tpot:50 e2e:10s`, separated by spaces or commas: in milliseconds unless a unit
    /// (`us`, `ms`, `s`) is given.
    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let mut out = Self::default();
        for part in text.split([' ', ',']).filter(|p| !p.is_empty()) {
            let (name, value) = part
                .split_once(':')
                .ok_or_else(|| LimitsError(format!("{part} has no colon")))?;
            let (number, factor) = match value {
                v if v.ends_with("us") => (&v[..v.len() - 2], 1e-6),
                v if v.ends_with("ms") => (&v[..v.len() - 2], 1e-3),
                v if v.ends_with('s') => (&v[..v.len() - 1], 1.0),
                v => (v, 1e-3),
            };
            let limit = number
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n > 0.0)
                .ok_or_else(|| LimitsError(format!("{value} is not a time above 0")))?;
            let place = match name {
                "ttft" => &mut out.ttft_secs,
                "tpot" => &mut out.tpot_secs,
                "e2e" | "e2el" => &mut out.e2e_secs,
                other => return Err(LimitsError(format!("{other} is none of ttft, tpot, e2e"))),
            };
            if place.replace(limit * factor).is_some() {
                return Err(LimitsError(format!("{name} is given twice")));
            }
        }
        if out == Self::default() {
            return Err(LimitsError("no limit is given".into()));
        }
        Ok(out)
    }
}

/// The result of applying limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Requests counted: completed and failed ones, but not unfinished ones.
    pub requests: usize,
    /// Requests completed within every limit.
    pub good: usize,
    /// Time from the first request sent to the last one done.
    pub duration_secs: f64,
}

impl Goodput {
    /// Good requests per second; `None` if the duration is zero.
    pub fn per_second(&self) -> Option<f64> {
        (self.duration_secs > 0.0).then(|| self.good as f64 / self.duration_secs)
    }

    /// Share of good requests; `None` without requests.
    pub fn ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.good as f64 / self.requests as f64)
    }
}

/// Counts the requests that met the limits. A limit on a time that a request does not have (a single token
/// has no TPOT) is met; a failed request meets none.
pub fn count(requests: &[RequestRow], limits: &Limits) -> Goodput {
    let judged = || requests.iter().filter(|r| r.outcome != Outcome::Unfinished);
    let start = judged().map(started_ns).min();
    let end = judged().filter_map(|r| r.done_ns).max();
    Goodput {
        requests: judged().count(),
        good: judged().filter(|r| is_good(r, limits)).count(),
        duration_secs: match (start, end) {
            (Some(start), Some(end)) if end > start => (end - start) as f64 / 1e9,
            _ => 0.0,
        },
    }
}

/// When a request was sent, or when it was issued if it was never sent.
pub fn started_ns(request: &RequestRow) -> i64 {
    request.sent_ns.unwrap_or(request.issued_ns)
}

fn is_good(request: &RequestRow, limits: &Limits) -> bool {
    let within = |limit: Option<f64>, value: Option<f64>| match (limit, value) {
        (Some(limit), Some(value)) => value <= limit,
        _ => true,
    };
    request.outcome == Outcome::Completed
        && within(limits.ttft_secs, latency::ttft_sent_secs(request))
        && within(limits.tpot_secs, latency::tpot_secs(request))
        && within(limits.e2e_secs, latency::latency_sent_secs(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_mistakes_are_named() {
        let limits: Limits = "ttft:200ms tpot:50,e2e:10s".parse().unwrap();
        assert_eq!(
            limits,
            Limits {
                ttft_secs: Some(0.2),
                tpot_secs: Some(0.05),
                e2e_secs: Some(10.0)
            }
        );
        for (text, word) in [
            ("", "no limit"),
            ("ttft", "colon"),
            ("x:1", "none of"),
            ("ttft:-1", "above 0"),
            ("ttft:1 ttft:2", "twice"),
        ] {
            let error = text.parse::<Limits>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    fn row(id: u64, ttft_ms: i64, outcome: Outcome) -> RequestRow {
        let sent = id as i64 * 1_000_000_000;
        RequestRow {
            request_id: id,
            sample_index: id,
            batch_id: None,
            endpoint: 0,
            scheduled_ns: None,
            issued_ns: sent,
            sent_ns: Some(sent),
            first_token_ns: Some(sent + ttft_ms * 1_000_000),
            done_ns: Some(sent + 1_000_000_000),
            prompt_tokens: None,
            output_tokens: Some(11),
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            server_time_source: None,
            outcome,
            reason: None,
        }
    }

    #[test]
    fn only_requests_within_every_limit_count() {
        let rows = [
            row(0, 100, Outcome::Completed),
            row(1, 300, Outcome::Completed),
            row(2, 100, Outcome::Failed),
            row(3, 100, Outcome::Unfinished),
        ];
        let limits = Limits {
            ttft_secs: Some(0.2),
            tpot_secs: Some(0.1),
            e2e_secs: None,
        };
        let got = count(&rows, &limits);
        assert_eq!((got.requests, got.good), (3, 1));
        assert_eq!(got.per_second(), Some(1.0 / 3.0));
        assert_eq!(count(&[], &limits).ratio(), None);
    }
}
