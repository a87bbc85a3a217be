//! The figures that every format has, once.

use vllm_metrics::derive::goodput::{self, Limits, started_ns};
use vllm_metrics::derive::{latency, quantile};
use vllm_metrics::{Outcome, RequestRow};

use crate::analysis::Analysis;

/// Figures of one run, as benchmarks report them.
pub(super) struct Figures<'a> {
    pub(super) completed: Vec<&'a RequestRow>,
    pub(super) failed: usize,
    pub(super) unfinished: usize,
    /// From the first request sent to the last one done; 0 without any.
    pub(super) duration_secs: f64,
    pub(super) start_ns: Option<i64>,
    pub(super) end_ns: Option<i64>,
    /// Sum over the completed requests; `None` if one of them does not say.
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) goodput_per_second: Option<f64>,
    pub(super) good_requests: Option<usize>,
    /// Largest number of output tokens in a second.
    pub(super) peak_output_tokens: Option<f64>,
    /// Largest mean number of requests in flight in a second.
    pub(super) peak_in_flight: Option<f64>,
}

impl<'a> Figures<'a> {
    pub(super) fn of(analysis: &'a Analysis<'_>) -> Self {
        let rows = &analysis.record().requests;
        let completed: Vec<&RequestRow> = rows
            .iter()
            .filter(|row| row.outcome == Outcome::Completed)
            .collect();
        let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
        let ended = || rows.iter().filter(|row| row.done_ns.is_some());
        let start_ns = ended().map(started_ns).min();
        let end_ns = ended().filter_map(|row| row.done_ns).max();
        let sum = |of: fn(&RequestRow) -> Option<u32>| {
            let counts = completed.iter().map(|row| of(row).map(u64::from));
            counts.sum::<Option<u64>>().filter(|_| !completed.is_empty())
        };
        let goodput =
            Limits::of_manifest(&analysis.record().manifest).map(|limits| goodput::count(rows, &limits));
        let seconds = &analysis.run.seconds;
        let peak = |column: &run_diagnosis::input::Column| column.values(0..seconds.seconds).reduce(f64::max);
        Self {
            failed: count(Outcome::Failed),
            unfinished: count(Outcome::Unfinished),
            duration_secs: start_ns
                .zip(end_ns)
                .map_or(0.0, |(start, end)| (end - start) as f64 / 1e9),
            start_ns,
            end_ns,
            input_tokens: sum(|row| row.prompt_tokens),
            output_tokens: sum(|row| row.output_tokens),
            goodput_per_second: goodput.and_then(|goodput| goodput.per_second()),
            good_requests: goodput.map(|goodput| goodput.good),
            peak_output_tokens: peak(&seconds.output_tokens),
            peak_in_flight: peak(&seconds.in_flight),
            completed,
        }
    }

    /// Something per second of the run; `None` for a run without length.
    pub(super) fn per_second(&self, amount: f64) -> Option<f64> {
        (self.duration_secs > 0.0).then(|| amount / self.duration_secs)
    }

    pub(super) fn values(&self, of: impl Fn(&RequestRow) -> Option<f64>) -> Values {
        Values::of(self.completed.iter().filter_map(|row| of(row)).collect())
    }

    pub(super) fn ttft(&self) -> Values {
        self.values(latency::ttft_sent_secs)
    }

    pub(super) fn tpot(&self) -> Values {
        self.values(latency::tpot_secs)
    }

    pub(super) fn latency(&self) -> Values {
        self.values(latency::latency_sent_secs)
    }

    pub(super) fn client_queue(&self) -> Values {
        self.values(latency::client_queue_secs)
    }

    pub(super) fn output_lengths(&self) -> Values {
        self.values(|row| row.output_tokens.map(f64::from))
    }

    pub(super) fn input_lengths(&self) -> Values {
        self.values(|row| row.prompt_tokens.map(f64::from))
    }
}

/// Values in order of size.
pub(super) struct Values(Vec<f64>);

impl Values {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn sorted(&self) -> &[f64] {
        &self.0
    }

    pub(super) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.sum() / self.0.len() as f64)
    }

    /// Population standard deviation, as numpy's default and all these tools have it.
    pub(super) fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        Some((squares / self.0.len() as f64).sqrt())
    }

    pub(super) fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        quantile::of_sorted(&self.0, q)
    }
}
