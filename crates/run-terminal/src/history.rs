//! Figures over time, for the graphs.

use std::collections::VecDeque;

use run_analysis::view::{Figures, LiveView};

/// Points kept; no terminal is wider.
const MOST_POINTS: usize = 400;
/// Points computed at once when a record is opened.
const AT_ONCE: usize = 200;
/// Shortest window behind one point: with a scrape each second, rates need more than one second.
const SHORTEST_WINDOW_NS: i64 = 5_000_000_000;

/// Figures of one moment. Absent figures are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// End of its window.
    pub at_ns: i64,
    /// Tokens generated per second.
    pub tokens_per_second: Option<f64>,
    /// 99th percentile of the time to first token, in seconds.
    pub ttft_p99: Option<f64>,
    /// 99th percentile of the time per output token, in seconds.
    pub tpot_p99: Option<f64>,
    /// Requests running.
    pub running: Option<f64>,
    /// Requests waiting.
    pub waiting: Option<f64>,
    /// Share of the KV cache in use.
    pub kv_cache_usage_ratio: Option<f64>,
    /// Power of all GPUs in watts.
    pub power_watts: Option<f64>,
}

impl Point {
    fn of(figures: &Figures) -> Self {
        let latencies =
            |of: fn(&run_analysis::view::Latencies) -> Option<run_analysis::view::LatencyFigures>| {
                of(&figures.client.latencies)
                    .or(of(&figures.server))
                    .map(|times| times.p99)
            };
        let power: Vec<f64> = figures.gpus.iter().filter_map(|gpu| gpu.power_watts).collect();
        Self {
            at_ns: figures.to_ns,
            tokens_per_second: figures
                .engine
                .generation_tokens_per_second
                .or(figures.client.output_tokens_per_second),
            ttft_p99: latencies(|times| times.ttft),
            tpot_p99: latencies(|times| times.tpot),
            running: figures.engine.running,
            waiting: figures.engine.waiting,
            kv_cache_usage_ratio: figures.engine.kv_cache_usage_ratio,
            power_watts: (!power.is_empty()).then(|| power.iter().sum()),
        }
    }
}

/// Points at equal distances, oldest first.
#[derive(Debug, Clone)]
pub struct History {
    step_ns: i64,
    points: VecDeque<Point>,
}

impl History {
    /// An empty history with a point every `step_ns`.
    pub fn new(step_ns: i64) -> Self {
        Self {
            step_ns: step_ns.max(1),
            points: VecDeque::new(),
        }
    }

    /// A history that covers all of a view.
    pub fn of(view: &LiveView) -> Self {
        let span_ns = view.analysis().span_ns().map_or(0, |(from, to)| to - from);
        let mut history = Self::new((span_ns / AT_ONCE as i64).max(1_000_000_000));
        history.advance(view);
        history
    }

    /// Adds the points up to the newest record. Of a long stretch, only its end is added.
    pub fn advance(&mut self, view: &LiveView) {
        let Some(newest_ns) = view.newest_ns() else {
            return;
        };
        let earliest = newest_ns.saturating_sub(self.step_ns.saturating_mul(AT_ONCE as i64 - 1));
        let first = match self.points.back() {
            Some(last) => last.at_ns.saturating_add(self.step_ns),
            None => view.analysis().span_ns().map_or(newest_ns, |(from, _)| from),
        };
        let mut at_ns = first.max(earliest);
        while at_ns <= newest_ns {
            let window = self.step_ns.max(SHORTEST_WINDOW_NS);
            let figures = view.figures_between(at_ns.saturating_sub(window), at_ns);
            self.points.push_back(Point::of(&figures));
            if self.points.len() > MOST_POINTS {
                self.points.pop_front();
            }
            at_ns = at_ns.saturating_add(self.step_ns);
        }
    }

    /// Time between two points.
    pub fn step_ns(&self) -> i64 {
        self.step_ns
    }

    /// The newest `count` values of a quantity, oldest first.
    pub fn last(&self, count: usize, of: fn(&Point) -> Option<f64>) -> Vec<Option<f64>> {
        let skipped = self.points.len().saturating_sub(count);
        self.points.iter().skip(skipped).map(of).collect()
    }
}

impl Default for History {
    /// A point every second.
    fn default() -> Self {
        Self::new(1_000_000_000)
    }
}
