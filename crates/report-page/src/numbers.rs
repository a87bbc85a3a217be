//! Counts, rates and quantiles of the requests in a window; `stats.js` computes the same for a selection.

use crate::model::{Outcome, Run};
use crate::requests::{Metric, Requests, Row};

/// LoadGen's rule, as in every other table and card of the report.
pub(crate) use run_statistics::percentile::loadgen as quantile;

/// The quantiles that are shown.
pub(crate) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Distribution of one metric in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    pub count: usize,
    pub mean: f64,
    pub quantiles: [f64; 4],
    pub max: f64,
}

impl Distribution {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let quantiles = QUANTILES.map(|q| quantile(&values, q).expect("there is a last value"));
        Some(Self {
            count,
            mean,
            quantiles,
            max,
        })
    }
}

/// What happened in a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    pub seconds: f64,
    pub issued: usize,
    pub completed: usize,
    pub failed: usize,
    pub output_tokens: f64,
    /// In the order of [`Metric::ALL`].
    pub distributions: Vec<Option<Distribution>>,
}

impl Numbers {
    /// Of the window from `start_ms` to `end_ms` after the origin.
    pub(crate) fn of(requests: &Requests, start_ms: f64, end_ms: f64) -> Self {
        let inside = |ticks: i64| (start_ms..=end_ms).contains(&requests.ms(ticks));
        let issued: Vec<_> = requests.rows.iter().filter(|row| inside(row.issued)).collect();
        let ended = |outcome: Outcome| {
            requests
                .rows
                .iter()
                .filter(|row| row.outcome == outcome && row.done.is_some_and(inside))
                .count()
        };
        Self {
            seconds: (end_ms - start_ms) / 1e3,
            issued: issued.len(),
            completed: ended(Outcome::Completed),
            failed: ended(Outcome::Failed),
            output_tokens: requests
                .rows
                .iter()
                .filter_map(|row| tokens_inside(requests, row, start_ms, end_ms))
                .sum(),
            distributions: Metric::ALL
                .iter()
                .map(|&metric| {
                    Distribution::of(
                        issued
                            .iter()
                            .filter_map(|row| requests.metric(row, metric))
                            .collect(),
                    )
                })
                .collect(),
        }
    }

    /// Of the whole run: from the first request issued to the last answer. A record begins before and ends after it.
    pub(crate) fn of_run(requests: &Requests) -> Self {
        let last = |row: &Row| row.done.or(row.first).unwrap_or(row.issued);
        let start = requests.rows.iter().map(|row| row.issued).min();
        let end = requests.rows.iter().map(last).max();
        let ms = |ticks: Option<i64>| ticks.map_or(0.0, |ticks| requests.ms(ticks));
        Self::of(requests, ms(start), ms(end))
    }

    /// Of the steady window, if there is one.
    pub(crate) fn of_steady(requests: &Requests, run: &Run) -> Option<Self> {
        let ms = |ns: i64| (ns - run.origin_ns) as f64 / 1e6;
        run.steady
            .window
            .map(|w| Self::of(requests, ms(w.start_ns), ms(w.end_ns)))
    }
}

/// Output tokens of a completed request that arrived in a window: the first at its time, the others evenly from then to
/// the last; all at the end where the time of the first is not known.
fn tokens_inside(requests: &Requests, row: &Row, start_ms: f64, end_ms: f64) -> Option<f64> {
    if row.outcome != Outcome::Completed {
        return None;
    }
    let (done, tokens) = (requests.ms(row.done?), f64::from(row.output_tokens?));
    let at = |ms: f64, tokens: f64| {
        if (start_ms..=end_ms).contains(&ms) {
            tokens
        } else {
            0.0
        }
    };
    let Some(first) = row
        .first
        .map(|ticks| requests.ms(ticks))
        .filter(|_| tokens >= 1.0)
    else {
        return Some(at(done, tokens));
    };
    let rest = if done > first {
        (tokens - 1.0) * (done.min(end_ms) - first.max(start_ms)).max(0.0) / (done - first)
    } else {
        at(done, tokens - 1.0)
    };
    Some(at(first, 1.0) + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Request;

    #[test]
    fn quantiles_follow_loadgens_rule() {
        let distribution = Distribution::of(vec![8.0, 1.0, 4.0, 2.0]).expect("four values");
        assert_eq!(distribution.quantiles, [4.0, 8.0, 8.0, 8.0]);
        assert_eq!(
            Distribution::of(vec![7.0]).expect("one value").quantiles,
            [7.0; 4]
        );
        assert_eq!(Distribution::of(Vec::new()), None);
    }

    #[test]
    fn a_window_counts_what_it_holds() {
        let request = |issued_ms: i64| Request {
            issued_ns: issued_ms * 1_000_000,
            sent_ns: Some(issued_ms * 1_000_000),
            first_token_ns: Some((issued_ms + 100) * 1_000_000),
            done_ns: Some((issued_ms + 1_100) * 1_000_000),
            output_tokens: Some(10),
            ..Request::default()
        };
        let run = Run {
            requests: vec![request(0), request(500), request(3_000)],
            ..Run::default()
        };
        let requests = Requests::of(&run);
        let numbers = Numbers::of(&requests, 0.0, 1_100.0);
        assert_eq!((numbers.issued, numbers.completed, numbers.failed), (2, 1, 0));
        assert!(
            (numbers.output_tokens - 15.5).abs() < 1e-9,
            "ten of the first; of the second the first and half of the nine others"
        );
        let ttft = numbers.distributions[0].as_ref().expect("two requests have one");
        assert_eq!((ttft.count, ttft.mean, ttft.max), (2, 100.0, 100.0));
        let whole = Numbers::of_run(&requests);
        assert_eq!((whole.seconds, whole.output_tokens), (4.1, 30.0));
    }
}
