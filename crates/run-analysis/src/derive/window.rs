//! Joins steps of counters and histograms into windows of a useful width.
//!
//! A scrape forced at a phase edge can follow a regular one by milliseconds, and the rate over that step
//! alone would be a spurious spike. Windows also align endpoints that are scraped at different times.

use super::estimate::Estimator;
use super::histogram::Histogram;
use super::interval::Interval;
pub use super::interval::add;

/// Increase of a counter over one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Start of its first step.
    pub start_ns: i64,
    /// End of its last step.
    pub end_ns: i64,
    /// Sum of increases.
    pub increase: f64,
    /// A single step longer than a usual one, in which the distribution of its increase is unknown.
    pub gap: bool,
}

impl Window {
    /// Length in seconds.
    pub fn secs(&self) -> f64 {
        self.nanos() as f64 / 1e9
    }

    /// Increase per second.
    pub fn per_second(&self) -> f64 {
        self.increase / (self.nanos().max(1) as f64 * 1e-9)
    }

    fn nanos(&self) -> i64 {
        self.end_ns - self.start_ns
    }
}

/// Joins steps into windows of about `window_ns`; their increases sum to those of the steps.
///
/// A step longer than `longest_step_ns` is a separate window. A remainder at the end or before such a step
/// joins the previous window, or becomes a short window if there is none.
pub fn windows(steps: &[super::counter::Step], window_ns: i64, longest_step_ns: i64) -> Vec<Window> {
    let mut out: Vec<Window> = Vec::new();
    let mut open: Option<Window> = None;
    for step in steps {
        let gap = step.end_ns - step.start_ns > longest_step_ns;
        if gap {
            close(&mut out, open.take(), window_ns);
        }
        let window = match open.take() {
            Some(w) => Window {
                end_ns: step.end_ns,
                increase: w.increase + step.increase,
                ..w
            },
            None => Window {
                start_ns: step.start_ns,
                end_ns: step.end_ns,
                increase: step.increase,
                gap,
            },
        };
        if gap || is_full(window.nanos(), window_ns) {
            out.push(window);
        } else {
            open = Some(window);
        }
    }
    close(&mut out, open, window_ns);
    out
}

/// Closes a remainder shorter than a window; at half a window or more it stays separate.
fn close(out: &mut Vec<Window>, rest: Option<Window>, window_ns: i64) {
    let Some(rest) = rest else { return };
    match out.last_mut() {
        Some(last) if !last.gap && rest.nanos() * 2 < window_ns => {
            last.end_ns = rest.end_ns;
            last.increase += rest.increase;
        }
        _ => out.push(rest),
    }
}

/// Rates per second of windows, at each window's end.
///
/// A gap is a `NaN` at its start, so that no line is drawn across it.
pub fn rates(windows: &[Window]) -> (Vec<i64>, Vec<f64>) {
    windows
        .iter()
        .map(|w| {
            if w.gap {
                (w.start_ns, f64::NAN)
            } else {
                (w.end_ns, w.per_second())
            }
        })
        .unzip()
}

/// Three quarters of a window are enough: scrapes jitter, and the next window contains the rest.
fn is_full(nanos: i64, window_ns: i64) -> bool {
    nanos >= window_ns - window_ns / 4
}

/// The combined observations of several histograms per window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Merged {
    /// Upper bounds, ascending; the last is `+Inf`.
    pub bounds: Vec<f64>,
    /// One per window with any scrape.
    pub windows: Vec<Interval>,
    /// All observations between scrapes, including gaps; `None` with fewer than two scrapes.
    pub whole: Option<Interval>,
    /// Learned from every interval of every histogram.
    pub estimator: Option<Estimator>,
    /// Number of histograms that could not be added because their buckets differ from the first one's.
    pub left_out: usize,
}

/// Adds the intervals of several histograms in windows of `window_ns`, starting at `origin_ns`.
///
/// Gaps (longer than `longest_step_ns`) are in no window: the times of their observations are unknown.
pub fn merge(histograms: &[&Histogram], origin_ns: i64, window_ns: i64, longest_step_ns: i64) -> Merged {
    let Some(first) = histograms.first() else {
        return Merged::default();
    };
    let mut out = Merged {
        bounds: first.bounds.clone(),
        ..Merged::default()
    };
    let mut all: Vec<Interval> = Vec::new();
    for histogram in histograms {
        if histogram.bounds == first.bounds {
            all.extend(histogram.intervals());
        } else {
            out.left_out += 1;
        }
    }
    all.sort_by_key(|i| i.end_ns);
    out.estimator = Some(Estimator::learn(&first.bounds, &all));
    out.whole = all.iter().cloned().reduce(|mut whole, interval| {
        add(&mut whole, &interval);
        whole
    });
    all.retain(|i| i.end_ns - i.start_ns <= longest_step_ns);
    let window = window_ns.max(1);
    let number = |i: &Interval| (i.end_ns - origin_ns - 1).div_euclid(window);
    let mut last = None;
    for interval in all {
        let n = number(&interval);
        match out.windows.last_mut() {
            Some(open) if last == Some(n) => add(open, &interval),
            _ => out.windows.push(interval),
        }
        last = Some(n);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::counter;
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_forced_scrape_makes_no_spike() {
        let times = [0, S, 2 * S, 2 * S + S / 100, 3 * S, 4 * S];
        let values = [0.0, 10.0, 20.0, 25.0, 30.0, 40.0];
        let (_, rate) = rates(&windows(&counter::steps(&times, &values), S, 3 * S));
        assert!(rate.iter().all(|r| (9.0..=11.0).contains(r)), "{rate:?}");
    }

    #[test]
    fn a_gap_is_a_break() {
        let times = [0, S, 11 * S, 12 * S];
        let windows = windows(&counter::steps(&times, &[0.0, 1.0, 101.0, 102.0]), S, 3 * S);
        let (at, rate) = rates(&windows);
        assert_eq!(at, [S, S, 12 * S]);
        assert_eq!((rate[0], rate[2]), (1.0, 1.0));
        assert!(rate[1].is_nan());
        assert_eq!(
            windows.iter().map(|w| w.increase).sum::<f64>(),
            102.0,
            "a gap hides no increase"
        );
    }

    /// The run's quantile must be the same in a plot (`whole`) and in the summary (`Histogram::whole`):
    /// observations made while nothing was scraped are often the longest.
    #[test]
    fn the_whole_run_includes_its_gaps_and_no_window_does() {
        let histogram = Histogram {
            name: "h".into(),
            labels: "{}".into(),
            origin: std::sync::Arc::new(run_model::SeriesDef {
                metric_name: "h_count".into(),
                labels: "{}".into(),
                metric_type: run_model::MetricType::Histogram,
                unit: "seconds".into(),
                source: "vllm".into(),
                endpoint_url: "".into(),
            }),
            bounds: vec![0.1, f64::INFINITY],
            timestamps_ns: vec![0, S, 22 * S, 23 * S],
            phases: vec!["".into(); 4],
            cumulative: vec![0.0, 0.0, 10.0, 10.0, 10.0, 60.0, 20.0, 70.0],
            sums: vec![0.0, 1.0, 401.0, 402.0],
            totals: vec![0.0, 10.0, 60.0, 70.0],
        };
        let merged = merge(&[&histogram], 0, S, 3 * S);
        let whole = merged.whole.unwrap();
        assert_eq!(whole.count, 70.0);
        assert_eq!(Some(whole), histogram.whole());
        let counts: Vec<f64> = merged.windows.iter().map(|window| window.count).collect();
        assert_eq!(counts, [10.0, 10.0]);
    }
}
