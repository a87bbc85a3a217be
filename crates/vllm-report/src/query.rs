//! What charts ask of a run: sums over engines, windowed rates, quantile lines. Nothing here draws.

use plotters::style::RGBColor;
use vllm_metrics::derive::align::{self, Combine};
use vllm_metrics::derive::histogram::{self, Histogram};
use vllm_metrics::derive::{counter, labels, names, totals, window};
use vllm_metrics::{RunData, SeriesData};

use crate::frame::Frame;
use crate::panel::{Line, Look};

/// A run with what every chart needs of it, worked out once.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The run.
    pub(crate) run: &'a RunData,
    /// Its time.
    pub(crate) frame: Frame,
    /// Its histograms.
    pub(crate) histograms: Vec<Histogram>,
    /// Anything in it was simulated.
    pub(crate) simulated: bool,
}

impl<'a> View<'a> {
    /// Prepares a run.
    pub(crate) fn of(run: &'a RunData) -> Self {
        let simulated =
            run.manifest.simulated || run.series.iter().any(|s| s.def.source.ends_with("-simulated"));
        Self {
            run,
            frame: Frame::of(run),
            histograms: histogram::collect(run),
            simulated,
        }
    }

    /// Window that gives about `points` points over the run, in whole intervals of what is looked at.
    pub(crate) fn window_ns(&self, points: i64, interval_ns: i64) -> i64 {
        let interval = interval_ns.max(1);
        let wanted = self.frame.duration_ns() / points.max(1);
        interval * (wanted / interval + i64::from(wanted % interval > 0)).max(1)
    }

    /// The usual distance of samples of all these series, the longest of them: some are scraped less often.
    pub(crate) fn interval_ns<'t>(&self, times: impl Iterator<Item = &'t [i64]>) -> i64 {
        times
            .filter_map(|times| self.frame.usual_interval_ns(times))
            .max()
            .or(self.frame.scrape_interval_ns())
            .unwrap_or(1_000_000_000)
    }

    /// Rate of these counters, added up, and the window it is of.
    pub(crate) fn rate(
        &self,
        series: impl Iterator<Item = &'a SeriesData>,
        points: i64,
    ) -> (Vec<i64>, Vec<f64>, i64) {
        let series: Vec<&SeriesData> = series.collect();
        let interval = self.interval_ns(series.iter().map(|s| &s.timestamps_ns[..]));
        let window = self.window_ns(points, interval);
        let longest = align::longest_step_ns(interval);
        let rates: Vec<_> = series
            .iter()
            .map(|s| window::rates(&counter::steps(&s.timestamps_ns, &s.values), window, longest))
            .collect();
        let points: Vec<align::Points<'_>> = rates.iter().map(|(t, v)| (&t[..], &v[..])).collect();
        let (times, values) = align::combine(&points, Combine::Sum);
        (times, values, window)
    }

    /// A line of the rate of one counter, over all engines and endpoints.
    pub(crate) fn rate_line(
        &self,
        name: &str,
        counter: &'a str,
        look: Look,
        color: RGBColor,
        points: i64,
    ) -> Option<Line> {
        let (times, values, window) = self.rate(totals::named(self.run, counter), points);
        self.line(name, look, color, times, values, window)
    }

    /// A line of a gauge, over all engines and endpoints.
    pub(crate) fn gauge_line(
        &self,
        name: &str,
        gauge: &str,
        how: Combine,
        look: Look,
        color: RGBColor,
    ) -> Option<Line> {
        let (times, values) = totals::gauge(self.run, gauge, how);
        let interval = self.line_interval_ns(&times);
        self.line(name, look, color, times, values, interval)
    }

    /// The usual distance of a line's points. Those of several endpoints together lie closer than either's own.
    pub(crate) fn line_interval_ns(&self, times: &[i64]) -> i64 {
        let own = self.frame.usual_interval_ns(times);
        own.max(self.frame.scrape_interval_ns()).unwrap_or(0)
    }

    /// A line from times and values of scraped series, broken where no endpoint answered; `None` without any.
    pub(crate) fn line(
        &self,
        name: &str,
        look: Look,
        color: RGBColor,
        mut times: Vec<i64>,
        mut values: Vec<f64>,
        interval_ns: i64,
    ) -> Option<Line> {
        if times.is_empty() {
            return None;
        }
        for &(from, _) in &self.frame.gaps {
            let at = times.partition_point(|t| *t <= from);
            times.insert(at, from);
            values.insert(at, f64::NAN);
        }
        // A rate's window may be a step longer than it should and still follow the one before it at once.
        let longest_step_ns = if interval_ns > 0 {
            align::longest_step_ns(interval_ns) + interval_ns
        } else {
            i64::MAX
        };
        Some(Line {
            name: name.into(),
            color,
            look,
            times,
            values,
            longest_step_ns,
            whole: None,
        })
    }

    /// Quantile lines of the first of these histogram families that the run holds.
    pub(crate) fn quantile_lines(
        &self,
        families: &[&str],
        quantiles: &[(f64, &str, RGBColor)],
        points: i64,
    ) -> Vec<Line> {
        let Some(found) = families.iter().map(|f| self.family(f)).find(|h| !h.is_empty()) else {
            return Vec::new();
        };
        let interval = self.interval_ns(found.iter().map(|h| &h.timestamps_ns[..]));
        let window = self.window_ns(points, interval);
        let longest = align::longest_step_ns(interval);
        let merged = window::merge(&found, self.frame.start_ns, window, longest);
        let Some(estimator) = &merged.estimator else {
            return Vec::new();
        };
        quantiles
            .iter()
            .filter_map(|(q, name, color)| {
                let (times, values) = merged
                    .windows
                    .iter()
                    .filter_map(|w| estimator.quantile(w, *q).map(|v| (w.end_ns, v)))
                    .unzip();
                let mut line = self.line(name, Look::Line, *color, times, values, window)?;
                line.whole = merged.whole.as_ref().and_then(|w| estimator.quantile(w, *q));
                Some(line)
            })
            .collect()
    }

    /// Every histogram of a family.
    pub(crate) fn family(&self, name: &str) -> Vec<&Histogram> {
        self.histograms.iter().filter(|h| h.name == name).collect()
    }

    /// GPU utilisation, one series per GPU.
    pub(crate) fn gpu_utilization(&self) -> Vec<SeriesData> {
        self.named_or("vllm:gpu_utilization", names::gpu_utilization)
    }

    /// GPU memory in use, one series per GPU.
    pub(crate) fn gpu_memory(&self) -> Vec<SeriesData> {
        self.named_or("vllm:gpu_memory_used", names::gpu_memory_used)
    }

    /// KV cache in use, one series per engine.
    pub(crate) fn kv_cache(&self) -> Vec<SeriesData> {
        self.named_or("vllm:kv_cache_usage_ratio", names::kv_cache_usage)
    }

    fn named_or(&self, name: &str, derive: fn(&RunData) -> Vec<SeriesData>) -> Vec<SeriesData> {
        let own: Vec<SeriesData> = totals::named(self.run, name).cloned().collect();
        if own.is_empty() { derive(self.run) } else { own }
    }
}

/// What tells these series apart: the labels whose values differ, for example `engine 1`. Empty for a single one.
pub(crate) fn distinct_names(series: &[&SeriesData]) -> Vec<String> {
    let all: Vec<labels::Labels> = series.iter().map(|s| labels::parse(&s.def.labels)).collect();
    let mut keys: Vec<&String> = all.iter().flat_map(|l| l.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|k| all.iter().any(|l| l.get(*k) != all[0].get(*k)));
    let urls = series
        .iter()
        .any(|s| s.def.endpoint_url != series[0].def.endpoint_url);
    series
        .iter()
        .zip(&all)
        .map(|(s, l)| {
            let mut parts: Vec<String> = keys
                .iter()
                .filter_map(|k| l.get(*k).map(|v| format!("{k} {v}")))
                .collect();
            if urls {
                parts.push(s.def.endpoint_url.trim_start_matches("http://").to_string());
            }
            parts.join(", ")
        })
        .collect()
}
