//! Queries of charts and the summary: series by name, sums over engines and servers, windowed rates,
//! quantiles. This module draws nothing.

use vllm_metrics::catalog::{self, AddsUp, Exporter};
use vllm_metrics::derive::align::{self, Combine, Points};
use vllm_metrics::derive::histogram::Histogram;
use vllm_metrics::derive::window::{Merged, Window};
use vllm_metrics::derive::{counter, labels, names, window};
use vllm_metrics::model::ENDPOINTS_FACT;
use vllm_metrics::view::Analysis;
use vllm_metrics::{RunData, SeriesData};

use crate::frame::Frame;
use crate::stats::Stats;

/// An analysed run with its time axis.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The run with what is derived from it.
    pub(crate) analysis: &'a Analysis<'a>,
    /// The run.
    pub(crate) run: &'a RunData,
    /// Its time axis.
    pub(crate) frame: Frame,
    /// Whether any of it was simulated.
    pub(crate) simulated: bool,
}

/// Times and values of one line, with the figures for all of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// Times, ascending.
    pub(crate) times: Vec<i64>,
    /// Values.
    pub(crate) values: Vec<f64>,
    /// Samples further apart than this are not connected.
    pub(crate) longest_step_ns: i64,
    /// Figures of the whole run.
    pub(crate) figures: Figures,
}

impl Curve {
    /// The curve as steps: a value holds from its time to the next. Where it is a mean of the time before it, it holds
    /// from the time before; that of the first value is `begins_ns`. Gaps stay gaps.
    pub(crate) fn stepped(self, begins_ns: Option<i64>) -> Self {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut before: Option<(i64, f64)> = begins_ns.map(|at| (at, f64::NAN));
        for (&t, &v) in self.times.iter().zip(&self.values) {
            if let Some((at, value)) = before.filter(|(at, _)| t - at <= self.longest_step_ns) {
                let (corner, held) = if begins_ns.is_some() { (at, v) } else { (t, value) };
                times.push(corner);
                values.push(held);
            }
            times.push(t);
            values.push(v);
            before = Some((t, v));
        }
        Self {
            times,
            values,
            ..self
        }
    }
}

/// Legend figures of a curve. Each is the figure of that name in the summary.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Figures {
    /// Weighted by time for a gauge, increase over time for a rate.
    pub(crate) mean: Option<f64>,
    /// Largest value, or largest window mean if the next field is set.
    pub(crate) max: Option<f64>,
    /// Length of the windows behind `max`, if they are longer than the time between samples.
    pub(crate) max_over_ns: Option<i64>,
    /// Quantile over all observations of the run, shown instead of a mean.
    pub(crate) whole: Option<f64>,
    /// Last value of a count that only rises.
    pub(crate) total: Option<f64>,
}

impl Curve {
    /// Without figures; `None` if there is no finite value.
    pub(crate) fn of(times: Vec<i64>, values: Vec<f64>, longest_step_ns: i64) -> Option<Self> {
        largest(&values)?;
        Some(Self {
            times,
            values,
            longest_step_ns,
            figures: Figures::default(),
        })
    }
}

impl<'a> View<'a> {
    /// Prepares a run.
    pub(crate) fn of(analysis: &'a Analysis<'a>) -> Self {
        let run = analysis.run();
        let says_so = run
            .manifest
            .facts
            .get("server_version")
            .is_some_and(|version| version.contains("simulated"));
        Self {
            analysis,
            run,
            frame: Frame::of(run),
            simulated: says_so || analysis.is_simulated(),
        }
    }

    /// The addresses of the servers as `host:port`, as the record lists them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let facts = &self.run.manifest.facts;
        let listed = facts.get(ENDPOINTS_FACT).or(facts.get("server_url"));
        let mut hosts: Vec<String> = match listed {
            Some(urls) => urls
                .split([' ', ','])
                .map(|url| host_of(url).to_owned())
                .collect(),
            None => {
                let cadences = self.frame.cadences.iter().filter(|c| !c.endpoint_url.is_empty());
                cadences.map(|c| host_of(&c.endpoint_url).to_owned()).collect()
            }
        };
        hosts.retain(|host| !host.is_empty());
        hosts.dedup();
        hosts
    }

    /// Why a server has no data: it never answered, or `otherwise`.
    pub(crate) fn why_nothing(&self, otherwise: &str) -> String {
        let answered = self.frame.cadences.iter().any(|c| !c.endpoint_url.is_empty());
        let hosts = self.hosts();
        if answered || hosts.is_empty() {
            return otherwise.to_owned();
        }
        format!("{} never answered", hosts.join(", "))
    }

    /// Every series of exactly this name.
    pub(crate) fn named(&self, name: &str) -> Vec<&'a SeriesData> {
        self.analysis.named(name).collect()
    }

    /// The series that vLLM calls `name`: under that name, under the name of an older release, or under that
    /// of another engine; the first of these that the run contains.
    pub(crate) fn engine(&self, name: &str) -> Vec<&'a SeriesData> {
        aliases(name)
            .map(|alias| self.named(alias))
            .find(|series| !series.is_empty())
            .unwrap_or_default()
    }

    /// The histograms that vLLM calls `family`, by the same rule as [`View::engine`].
    pub(crate) fn engine_family(&self, family: &str) -> Vec<&'a Histogram> {
        aliases(family)
            .map(|alias| self.family(alias))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// Every histogram of a family.
    pub(crate) fn family(&self, name: &str) -> Vec<&'a Histogram> {
        self.analysis.family(name).collect()
    }

    /// A metric of the GPUs by its name in our sampler, from the sampler or from a GPU exporter.
    pub(crate) fn gpu(&self, name: &str) -> Vec<&'a SeriesData> {
        let exported = self.analysis.exported_gpus().iter();
        self.analysis
            .named(name)
            .chain(exported.filter(|series| &*series.def.metric_name == name))
            .collect()
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
        let own = self.named_or("vllm:kv_cache_usage_ratio", names::kv_cache_usage);
        if !own.is_empty() {
            return own;
        }
        let other = self.engine("vllm:kv_cache_usage_perc");
        other.iter().map(|s| (*s).clone()).collect()
    }

    fn named_or(&self, name: &str, derive: fn(&RunData) -> Vec<SeriesData>) -> Vec<SeriesData> {
        let own = self.named(name);
        if own.is_empty() {
            derive(self.run)
        } else {
            own.iter().map(|s| (*s).clone()).collect()
        }
    }

    /// Window length for about `points` points over the run, in whole sampling intervals.
    pub(crate) fn window_ns(&self, points: i64, interval_ns: i64) -> i64 {
        let interval = interval_ns.max(1);
        let wanted = self.frame.duration_ns() / points.max(1);
        interval * (wanted / interval + i64::from(wanted % interval > 0)).max(1)
    }

    /// The usual sampling interval of these series; the longest one, since some are scraped less often.
    pub(crate) fn interval_ns<'t>(&self, times: impl Iterator<Item = &'t [i64]>) -> i64 {
        times
            .filter_map(|times| self.frame.usual_interval_ns(times))
            .max()
            .or(self.frame.scrape_interval_ns())
            .unwrap_or(1_000_000_000)
    }

    /// The total increase of these counters in windows of about `window_ns`, or of the usual interval if
    /// `None`; and that interval.
    pub(crate) fn windows(&self, series: &[&SeriesData], points: Option<i64>) -> (Vec<Window>, i64, i64) {
        let interval = self.interval_ns(series.iter().map(|s| &s.timestamps_ns[..]));
        let window = points.map_or(interval, |points| self.window_ns(points, interval));
        let steps = match series {
            [] => Vec::new(),
            _ => counter::sum_steps(&points_of(series)),
        };
        let windows = window::windows(&steps, window, align::longest_step_ns(interval));
        (windows, window, interval)
    }

    /// Rate per second of these counters, summed; `None` with fewer than two samples.
    pub(crate) fn rate(&self, series: &[&SeriesData], points: i64) -> Option<Curve> {
        let (windows, window, interval) = self.windows(series, Some(points));
        let (times, values) = window::rates(&windows);
        // A window may be one step too long and still be adjacent to the previous one.
        let mut curve = Curve::of(times, values, align::longest_step_ns(window) + window)?;
        curve.figures = Figures {
            mean: rate_stats(&windows).mean,
            max: largest(&curve.values),
            max_over_ns: (window > interval).then_some(window),
            ..Figures::default()
        };
        Some(curve)
    }

    /// These gauges combined, or each sample of a single one.
    pub(crate) fn gauge(&self, series: &[&SeriesData], how: Combine) -> Option<Curve> {
        let points = points_of(series);
        let (times, values) = align::combine(&points, how);
        let stats = Stats::of_gauge(&times, &values, align::longest_step_of(&points));
        let interval = self.line_interval_ns(&times);
        let longest = if interval > 0 {
            align::longest_step_ns(interval)
        } else {
            i64::MAX
        };
        let mut curve = Curve::of(times, values, longest)?;
        curve.figures = Figures {
            mean: stats.mean,
            max: stats.max,
            ..Figures::default()
        };
        Some(curve)
    }

    /// The usual distance of a line's points. Points of several endpoints together are closer than those of
    /// each.
    fn line_interval_ns(&self, times: &[i64]) -> i64 {
        let own = self.frame.usual_interval_ns(times);
        own.max(self.frame.scrape_interval_ns()).unwrap_or(0)
    }

    /// The total observations of the histograms, in windows for about `points` points; and the window.
    pub(crate) fn merged(&self, histograms: &[&Histogram], points: i64) -> (Merged, i64) {
        let interval = self.interval_ns(histograms.iter().map(|h| &h.timestamps_ns[..]));
        let window = self.window_ns(points, interval);
        let longest = align::longest_step_ns(interval);
        let merged = window::merge(histograms, self.frame.start_ns, window, longest);
        (merged, window)
    }

    /// Quantiles of these histograms' observations, with a curve for each of `quantiles` that is defined.
    pub(crate) fn quantiles(
        &self,
        histograms: &[&Histogram],
        quantiles: &[f64],
        points: i64,
    ) -> Vec<Option<Curve>> {
        let (merged, window) = self.merged(histograms, points);
        quantiles
            .iter()
            .map(|q| {
                let estimator = merged.estimator.as_ref()?;
                let mut points: Vec<(i64, f64)> = merged
                    .windows
                    .iter()
                    .filter_map(|w| estimator.quantile(w, *q).map(|v| (w.end_ns, v)))
                    .collect();
                // Windows without observations are no gap, but windows without a scrape are.
                points.extend(self.frame.gaps.iter().map(|(from, _)| (*from, f64::NAN)));
                points.sort_by_key(|(t, _)| *t);
                let (times, values) = points.into_iter().unzip();
                let mut curve = Curve::of(times, values, align::longest_step_ns(window) + window)?;
                curve.figures = Figures {
                    whole: merged.whole.as_ref().and_then(|w| estimator.quantile(w, *q)),
                    max: largest(&curve.values),
                    max_over_ns: Some(window),
                    ..Figures::default()
                };
                Some(curve)
            })
            .collect()
    }
}

/// Statistics of a counter's rate over windows; the mean is increase over time.
pub(crate) fn rate_stats(windows: &[Window]) -> Stats {
    let timed = windows.iter().filter(|w| w.end_ns > w.start_ns);
    let (rates, secs): (Vec<f64>, Vec<f64>) = timed.map(|w| (w.per_second(), w.secs())).unzip();
    Stats::weighted(&rates, &secs)
}

/// The largest finite value.
pub(crate) fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().filter(|v| v.is_finite()).reduce(f64::max)
}

/// Series as times and values.
pub(crate) fn points_of<'s>(series: &[&'s SeriesData]) -> Vec<Points<'s>> {
    series
        .iter()
        .map(|s| (&s.timestamps_ns[..], &s.values[..]))
        .collect()
}

/// How series of this metric are combined, and the name of that; or the reason why they cannot be.
pub(crate) fn combined(series: &[&SeriesData]) -> Result<(Combine, &'static str), &'static str> {
    match series.first().map(|s| catalog::adds_up(&s.def)) {
        Some(AddsUp::Sum) => Ok((Combine::Sum, "sum over series")),
        Some(AddsUp::Mean) => Ok((Combine::Mean, "mean over series")),
        Some(AddsUp::Never(why)) => Err(why),
        None => Err("there is no series"),
    }
}

/// Unit of a histogram's observations, from the catalogue or the name; its count series has none.
pub(crate) fn unit_of_family(histogram: &Histogram) -> &str {
    let known = catalog::unit_of(&format!("{}_sum", histogram.name)).filter(|unit| !unit.is_empty());
    known.unwrap_or_else(|| unit_or_ending(&histogram.origin.unit, &histogram.name))
}

/// The unit of the definition, or the one at the end of the name.
pub(crate) fn unit_or_ending<'n>(unit: &'n str, name: &'n str) -> &'n str {
    if !unit.is_empty() {
        return unit;
    }
    let name = name.strip_suffix("_total").unwrap_or(name);
    [
        "seconds", "bytes", "ratio", "tokens", "watts", "joules", "celsius", "hertz",
    ]
    .into_iter()
    .find(|u| name.ends_with(u))
    .unwrap_or("")
}

/// `name`, then its names in older releases of vLLM and in other engines.
fn aliases(name: &str) -> impl Iterator<Item = &str> {
    let older = catalog::vllm_entries()
        .iter()
        .filter(move |entry| entry.now == Some(name))
        .map(|entry| entry.name);
    let others = catalog::exporters()
        .iter()
        .filter(move |e| e.exporter == Exporter::Sglang && e.ours == Some(name))
        .map(|e| e.name);
    std::iter::once(name).chain(older).chain(others)
}

/// An endpoint as `host:port`, with its path where that is not `/metrics`.
pub(crate) fn host_of(endpoint_url: &str) -> &str {
    let bare = endpoint_url
        .split_once("://")
        .map_or(endpoint_url, |(_, rest)| rest);
    bare.strip_suffix("/metrics")
        .unwrap_or(bare)
        .trim_end_matches('/')
}

/// Labels that are left out of legends if others distinguish the series.
const QUIET_LABELS: &[&str] = &[
    "derived_from",
    "model_name",
    "uuid",
    "UUID",
    "name",
    "hostname",
    "Hostname",
];

/// What distinguishes these series: the labels whose values differ, for example `engine 1`, and the server as
/// `host:port` if there are several. Empty for a single one.
pub(crate) fn distinct_names(series: &[&SeriesData]) -> Vec<String> {
    let all: Vec<labels::Labels> = series.iter().map(|s| labels::parse(&s.def.labels)).collect();
    let mut keys: Vec<&String> = all.iter().flat_map(|l| l.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|k| all.iter().any(|l| l.get(*k) != all[0].get(*k)));
    let urls = series
        .iter()
        .any(|s| s.def.endpoint_url != series[0].def.endpoint_url);
    // Addresses are clearer than the server numbers given by a harness.
    let quiet = |key: &str| QUIET_LABELS.contains(&key) || (urls && key == "replica");
    if urls || keys.iter().any(|k| !quiet(k)) {
        keys.retain(|k| !quiet(k));
    }
    series
        .iter()
        .zip(&all)
        .map(|(s, l)| {
            let host = urls.then(|| host_of(&s.def.endpoint_url).to_owned());
            let told = keys.iter().filter_map(|k| {
                let value = l.get(*k)?;
                // Self-explanatory values need no key.
                Some(if k.contains("reason") || k.as_str() == "le" {
                    value.clone()
                } else {
                    format!("{} {value}", k.replace("gpu", "GPU"))
                })
            });
            host.into_iter().chain(told).collect::<Vec<_>>().join(", ")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_named_by_host_and_port() {
        for (url, name) in [
            ("http://127.0.0.1:8000/metrics", "127.0.0.1:8000"),
            ("https://gpu1/metrics", "gpu1"),
            ("http://gpu1:9400/other", "gpu1:9400/other"),
            ("gpu1:8000", "gpu1:8000"),
        ] {
            assert_eq!(host_of(url), name);
        }
    }

    #[test]
    fn older_releases_and_other_engines_have_their_own_names_for_the_same() {
        let names: Vec<&str> = aliases("vllm:kv_cache_usage_perc").collect();
        assert_eq!(
            names,
            [
                "vllm:kv_cache_usage_perc",
                "vllm:gpu_cache_usage_perc",
                "sglang:token_usage"
            ]
        );
    }

    #[test]
    fn steps_hold_and_do_not_cross_gaps() {
        let curve = || Curve {
            times: vec![0, 10, 20, 60],
            values: vec![0.0, 0.5, 0.0, 1.0],
            longest_step_ns: 25,
            figures: Figures::default(),
        };
        let before = curve().stepped(Some(-10));
        assert_eq!(before.times, [-10, 0, 0, 10, 10, 20, 60]);
        assert_eq!(before.values, [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 1.0]);
        assert_eq!(
            curve().stepped(Some(-30)).times[0],
            0,
            "a gap before the first value stays one"
        );
        let after = curve().stepped(None);
        assert_eq!(after.times, [0, 10, 10, 20, 20, 60]);
        assert_eq!(after.values, [0.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
    }
}
