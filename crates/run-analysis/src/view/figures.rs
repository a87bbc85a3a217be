//! The quantities of one window of a run.

use std::sync::Arc;

use run_model::labels;
use run_model::{Outcome, RequestRow, RunData, SeriesData};

use super::slice;
use crate::derive::goodput::{self, Goodput, Limits};
use crate::derive::histogram::{self, Histogram};
use crate::derive::{counter, exporters, latency, names, quantile, window};
use crate::energy;

/// Figures of a window. Unknown values are `None` or missing, never 0.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Figures {
    /// Start of the window, in nanoseconds on the run's clock.
    pub from_ns: i64,
    /// End of the window.
    pub to_ns: i64,
    /// From the engines' gauges and counters, all engines and endpoints together.
    pub engine: EngineFigures,
    /// Times that the servers observed, estimated from their histograms.
    pub server: Latencies,
    /// From the requests that ended in the window.
    pub client: ClientFigures,
    /// Each GPU, sorted by its label.
    pub gpus: Vec<GpuFigures>,
    /// Energy of all GPUs.
    pub energy: Option<EnergyFigures>,
    /// Whether any of the data was simulated.
    pub simulated: bool,
}

/// Figures of the engines.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct EngineFigures {
    /// Requests being processed (`vllm:num_requests_running`): the newest values, added up.
    pub running: Option<f64>,
    /// Requests waiting to be scheduled (`vllm:num_requests_waiting`): the newest values, added up.
    pub waiting: Option<f64>,
    /// Share of the KV cache in use, 0 to 1: the newest values, averaged over engines.
    pub kv_cache_usage_ratio: Option<f64>,
    /// Rate of `vllm:generation_tokens_total`.
    pub generation_tokens_per_second: Option<f64>,
    /// Rate of `vllm:prompt_tokens_total`.
    pub prompt_tokens_per_second: Option<f64>,
    /// Rate of `vllm:request_success_total`, every finish reason.
    pub requests_per_second: Option<f64>,
    /// Rate of `vllm:num_preemptions_total`.
    pub preemptions_per_second: Option<f64>,
    /// Iterations per second, the count of `vllm:iteration_tokens_total`.
    pub steps_per_second: Option<f64>,
    /// Hits over queries of the prefix cache; `None` without queries.
    pub prefix_cache_hit_ratio: Option<f64>,
}

/// Figures of one endpoint of the engines.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointFigures {
    /// As in [`run_model::SeriesDef::endpoint_url`].
    pub endpoint_url: Arc<str>,
    /// The endpoint's engines only.
    pub engine: EngineFigures,
    /// Time of its newest sample up to the end of the window.
    pub newest_ns: Option<i64>,
}

impl EndpointFigures {
    /// Computes the figures of each endpoint that has exported a metric of vLLM, sorted by URL. An endpoint
    /// without samples in the window is included, with its newest sample from before it.
    pub fn of(run: &RunData, from_ns: i64, to_ns: i64) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let of_vllm = run
            .series
            .iter()
            .filter(|s| s.def.metric_name.starts_with("vllm:"));
        for series in of_vllm {
            let end = series.timestamps_ns.partition_point(|t| *t <= to_ns);
            let newest_ns = series.timestamps_ns[..end].last().copied();
            let url = &series.def.endpoint_url;
            match out.iter_mut().find(|known| known.endpoint_url == *url) {
                Some(known) => known.newest_ns = known.newest_ns.max(newest_ns),
                None => out.push(Self {
                    endpoint_url: Arc::clone(url),
                    engine: Window {
                        run,
                        from_ns,
                        to_ns,
                        endpoint: Some(url),
                    }
                    .engine(),
                    newest_ns,
                }),
            }
        }
        out.sort_by(|a, b| a.endpoint_url.cmp(&b.endpoint_url));
        out
    }
}

/// A distribution of times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LatencyFigures {
    /// Observations.
    pub count: f64,
    /// Exact mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Whether the percentiles are estimated from a histogram.
    pub estimated: bool,
}

/// Distributions of times, as defined for each field.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Latencies {
    /// Time to first token.
    pub ttft: Option<LatencyFigures>,
    /// Client: time per output token after the first, one value per request. Server: time between two tokens
    /// (`vllm:inter_token_latency_seconds`, or its older name), one value per token.
    pub tpot: Option<LatencyFigures>,
    /// End to end.
    pub e2e: Option<LatencyFigures>,
    /// In the server's queue; server only.
    pub queue: Option<LatencyFigures>,
    /// From scheduling to the first token; server only.
    pub prefill: Option<LatencyFigures>,
    /// From the first token to the last; server only.
    pub decode: Option<LatencyFigures>,
}

/// The harness's view of the requests that ended in the window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct ClientFigures {
    /// Answered in full.
    pub completed: usize,
    /// Failed.
    pub failed: usize,
    /// Completed requests per second of the window; `None` without any request.
    pub requests_per_second: Option<f64>,
    /// Output tokens of completed requests per second of the window; `None` if none reported its tokens.
    pub output_tokens_per_second: Option<f64>,
    /// Their exact times, counted from sending ([`crate::derive::latency`]).
    pub latencies: Latencies,
    /// Requests within the limits; `None` without limits or requests.
    pub goodput: Option<Goodput>,
}

/// One GPU's newest values.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct GpuFigures {
    /// Its `gpu` label, or its UUID.
    pub gpu: String,
    /// Share of time in which a kernel ran, 0 to 1.
    pub utilization_ratio: Option<f64>,
    /// Memory in use.
    pub memory_used_bytes: Option<f64>,
    /// Total memory.
    pub memory_total_bytes: Option<f64>,
    /// Power.
    pub power_watts: Option<f64>,
    /// Temperature.
    pub temperature_celsius: Option<f64>,
    /// Clock of its multiprocessors.
    pub sm_clock_hertz: Option<f64>,
}

/// Energy of all GPUs in the window.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct EnergyFigures {
    /// Energy of the covered part of the window.
    pub joules: f64,
    /// Mean power of the covered part.
    pub mean_watts: f64,
    /// Energy per token generated in the window; `None` without tokens.
    pub joules_per_token: Option<f64>,
}

const TTFT: &[&str] = &["vllm:time_to_first_token_seconds"];
const ITL: &[&str] = &[
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",
];
const E2E: &[&str] = &["vllm:e2e_request_latency_seconds"];
const QUEUE: &[&str] = &["vllm:request_queue_time_seconds"];
const PREFILL: &[&str] = &["vllm:request_prefill_time_seconds"];
const DECODE: &[&str] = &["vllm:request_decode_time_seconds"];

impl Figures {
    /// Computes the figures of the window from `from_ns` to `to_ns`. A rate is measured between the last
    /// sample before the window (or the first in it) and the last one in it.
    pub fn of(run: &RunData, from_ns: i64, to_ns: i64, limits: Option<&Limits>) -> Self {
        let view = Window {
            run,
            from_ns,
            to_ns,
            endpoint: None,
        };
        let engine = view.engine();
        let tokens = view.increase("vllm:generation_tokens_total");
        let gpu_run = view.gpu_run();
        Self {
            from_ns,
            to_ns,
            server: view.server(),
            client: view.client(limits),
            gpus: gpus(&gpu_run, from_ns, to_ns),
            energy: energy::energy_between(&gpu_run, from_ns, to_ns)
                .ok()
                .map(|energy| EnergyFigures {
                    joules: energy.joules(),
                    mean_watts: energy.mean_watts(),
                    joules_per_token: tokens.filter(|n| *n > 0.0).map(|n| energy.joules() / n),
                }),
            simulated: run.manifest.simulated
                || run.series.iter().any(|s| s.def.source.ends_with("-simulated")),
            engine,
        }
    }

    /// Length of the window in seconds.
    pub fn seconds(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }
}

struct Window<'a> {
    run: &'a RunData,
    from_ns: i64,
    to_ns: i64,
    /// Only the engines of this endpoint.
    endpoint: Option<&'a str>,
}

impl<'a> Window<'a> {
    fn named(&self, name: &'static str) -> impl Iterator<Item = &'a SeriesData> + use<'a> {
        let endpoint = self.endpoint;
        self.run.series.iter().filter(move |s| {
            &*s.def.metric_name == name && endpoint.is_none_or(|url| &*s.def.endpoint_url == url)
        })
    }

    fn newest(&self, name: &'static str) -> impl Iterator<Item = f64> {
        let (from_ns, to_ns) = (self.from_ns, self.to_ns);
        self.named(name)
            .filter_map(move |series| slice::newest(series, from_ns, to_ns))
    }

    fn sum(&self, name: &'static str) -> Option<f64> {
        self.newest(name).reduce(|a, b| a + b)
    }

    fn mean(&self, name: &'static str) -> Option<f64> {
        let (sum, count) = self.newest(name).fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Increase and covered seconds of each series of a counter.
    fn steps(&self, name: &'static str) -> impl Iterator<Item = (f64, f64)> {
        let (from_ns, to_ns) = (self.from_ns, self.to_ns);
        self.named(name).filter_map(move |series| {
            let (start, end) = slice::bounds(&series.timestamps_ns, from_ns, to_ns);
            let steps = counter::steps(&series.timestamps_ns[start..end], &series.values[start..end]);
            let seconds = (steps.last()?.end_ns - steps.first()?.start_ns) as f64 / 1e9;
            (seconds > 0.0).then(|| (steps.iter().map(|step| step.increase).sum(), seconds))
        })
    }

    fn increase(&self, name: &'static str) -> Option<f64> {
        self.steps(name)
            .map(|(increase, _)| increase)
            .reduce(|a, b| a + b)
    }

    fn rate(&self, name: &'static str) -> Option<f64> {
        self.steps(name)
            .map(|(increase, seconds)| increase / seconds)
            .reduce(|a, b| a + b)
    }

    fn engine(&self) -> EngineFigures {
        let queries = self
            .increase("vllm:prefix_cache_queries_total")
            .filter(|n| *n > 0.0);
        EngineFigures {
            running: self.sum("vllm:num_requests_running"),
            waiting: self.sum("vllm:num_requests_waiting"),
            kv_cache_usage_ratio: names::KV_CACHE_USAGE
                .iter()
                .find_map(|(name, factor)| Some(self.mean(name)? * factor)),
            generation_tokens_per_second: self.rate("vllm:generation_tokens_total"),
            prompt_tokens_per_second: self.rate("vllm:prompt_tokens_total"),
            requests_per_second: self.rate("vllm:request_success_total"),
            preemptions_per_second: self.rate("vllm:num_preemptions_total"),
            steps_per_second: self.rate("vllm:iteration_tokens_total_count"),
            prefix_cache_hit_ratio: queries
                .and_then(|queries| Some(self.increase("vllm:prefix_cache_hits_total")? / queries)),
        }
    }

    fn server(&self) -> Latencies {
        let families = [TTFT, ITL, E2E, QUEUE, PREFILL, DECODE];
        let wanted = |name: &str| families.iter().any(|f| f.iter().any(|f| name.starts_with(f)));
        let part = RunData {
            series: self
                .run
                .series
                .iter()
                .filter(|series| wanted(&series.def.metric_name))
                .map(|series| slice::part(series, self.from_ns, self.to_ns))
                .filter(|series| series.timestamps_ns.len() > 1)
                .collect(),
            ..RunData::default()
        };
        let histograms = histogram::collect(&part);
        let of = |names: &[&str]| names.iter().find_map(|name| self.observed(&histograms, name));
        Latencies {
            ttft: of(TTFT),
            tpot: of(ITL),
            e2e: of(E2E),
            queue: of(QUEUE),
            prefill: of(PREFILL),
            decode: of(DECODE),
        }
    }

    fn observed(&self, histograms: &[Histogram], name: &str) -> Option<LatencyFigures> {
        let family: Vec<&Histogram> = histograms.iter().filter(|h| h.name == name).collect();
        let merged = window::merge(&family, self.from_ns, i64::MAX, i64::MAX);
        let (whole, estimator) = (merged.whole?, merged.estimator?);
        let at = |q| estimator.quantile(&whole, q);
        Some(LatencyFigures {
            count: whole.count,
            mean: whole.mean()?,
            p50: at(0.5)?,
            p90: at(0.9)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            estimated: true,
        })
    }

    fn client(&self, limits: Option<&Limits>) -> ClientFigures {
        let ended: Vec<&RequestRow> = self
            .run
            .requests
            .iter()
            .filter(|r| r.done_ns.is_some_and(|t| t > self.from_ns && t <= self.to_ns))
            .collect();
        let completed: Vec<&RequestRow> = ended
            .iter()
            .copied()
            .filter(|r| r.outcome == Outcome::Completed)
            .collect();
        let seconds = (self.to_ns - self.from_ns) as f64 / 1e9;
        let per_second = |n: f64| (seconds > 0.0).then(|| n / seconds);
        let exact =
            |of: fn(&RequestRow) -> Option<f64>| exact(completed.iter().filter_map(|r| of(r)).collect());
        let tokens = completed
            .iter()
            .filter_map(|r| r.output_tokens)
            .map(f64::from)
            .reduce(|a, b| a + b);
        let goodput = limits.filter(|_| !ended.is_empty()).map(|limits| {
            let rows: Vec<RequestRow> = ended.iter().map(|r| (*r).clone()).collect();
            Goodput {
                duration_secs: seconds,
                ..goodput::count(&rows, limits)
            }
        });
        ClientFigures {
            completed: completed.len(),
            failed: ended.iter().filter(|r| r.outcome == Outcome::Failed).count(),
            requests_per_second: if ended.is_empty() {
                None
            } else {
                per_second(completed.len() as f64)
            },
            output_tokens_per_second: tokens.and_then(per_second),
            latencies: Latencies {
                ttft: exact(latency::ttft_sent_secs),
                tpot: exact(latency::tpot_secs),
                e2e: exact(latency::latency_sent_secs),
                ..Latencies::default()
            },
            goodput,
        }
    }

    /// The GPUs' series of the window under the sampler's names.
    fn gpu_run(&self) -> RunData {
        let is_gpu = |s: &&SeriesData| {
            s.def.metric_name.starts_with("gpu_") || exporters::canonical(&s.def.metric_name).is_some()
        };
        let mut run = RunData {
            series: self
                .run
                .series
                .iter()
                .filter(is_gpu)
                .map(|series| slice::part(series, self.from_ns, self.to_ns))
                .filter(|series| !series.timestamps_ns.is_empty())
                .collect(),
            ..RunData::default()
        };
        run.manifest.simulated = self.run.manifest.simulated;
        let mapped = exporters::mapped(&run);
        run.series.extend(mapped);
        run
    }
}

/// Exact figures of times; `None` without any.
fn exact(mut values: Vec<f64>) -> Option<LatencyFigures> {
    values.sort_by(f64::total_cmp);
    let at = |q| quantile::of_sorted(&values, q);
    Some(LatencyFigures {
        count: values.len() as f64,
        p50: at(0.5)?,
        p90: at(0.9)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
        mean: values.iter().sum::<f64>() / values.len() as f64,
        estimated: false,
    })
}

fn gpus(run: &RunData, from_ns: i64, to_ns: i64) -> Vec<GpuFigures> {
    let mut out: Vec<((String, String), GpuFigures)> = Vec::new();
    for series in &run.series {
        let name = &*series.def.metric_name;
        let place: fn(&mut GpuFigures) -> &mut Option<f64> = match name {
            "gpu_utilization_ratio" => |g| &mut g.utilization_ratio,
            "gpu_memory_used_bytes" => |g| &mut g.memory_used_bytes,
            "gpu_memory_total_bytes" => |g| &mut g.memory_total_bytes,
            "gpu_power_watts" => |g| &mut g.power_watts,
            "gpu_temperature_celsius" => |g| &mut g.temperature_celsius,
            "gpu_sm_clock_hertz" => |g| &mut g.sm_clock_hertz,
            _ => continue,
        };
        let labels = labels::parse(&series.def.labels);
        let Some(gpu) = labels.get("gpu").or(labels.get("uuid")).cloned() else {
            continue;
        };
        // Constants are sampled once, so the newest value may be before the window.
        let value = match name {
            "gpu_memory_total_bytes" => slice::newest(series, i64::MIN, to_ns),
            _ => slice::newest(series, from_ns, to_ns),
        };
        let Some(value) = value else { continue };
        // The same index on two hosts means two GPUs.
        let host = labels.get("uuid").cloned().unwrap_or_default() + &series.def.endpoint_url;
        let key = (gpu, host);
        let at = out
            .iter()
            .position(|(other, _)| *other == key)
            .unwrap_or_else(|| {
                let gpu = key.0.clone();
                out.push((
                    key.clone(),
                    GpuFigures {
                        gpu,
                        ..GpuFigures::default()
                    },
                ));
                out.len() - 1
            });
        place(&mut out[at].1).get_or_insert(value);
    }
    out.sort_by(|a, b| (a.0.0.len(), &a.0).cmp(&(b.0.0.len(), &b.0)));
    out.into_iter().map(|(_, figures)| figures).collect()
}
