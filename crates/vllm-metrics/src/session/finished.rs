//! What a finished run leaves: its files, what recording it cost, and what is missing.

use std::path::PathBuf;
use std::time::Duration;

use super::Facts;
use super::driver::DriverReport;
use super::receivers::Sent;
use super::samplers::SamplerSummaries;
use super::writer::WriterReport;
use crate::collector::{EndpointReport, Gap};
use crate::recorder::{Dropped, Memory};
#[cfg(feature = "nvml")]
use machine_telemetry::gpu::GpuSummary;
use machine_telemetry::host::HostSummary;
use run_model::Manifest;
use run_store::StoreFiles;

/// A run that has been recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FinishedRun {
    /// Raw samples; empty when the run was given to a store without files.
    pub samples_path: PathBuf,
    /// Derived series (rates, quantiles), once they have been made.
    pub processed_path: Option<PathBuf>,
    /// The requests once more, where any of them gained an estimate of the server's times.
    pub processed_requests_path: Option<PathBuf>,
    /// Requests, if there were any.
    pub requests_path: Option<PathBuf>,
    /// Batches, if there were any.
    pub batches_path: Option<PathBuf>,
    /// Events.
    pub events_path: Option<PathBuf>,
    /// Every file, and their size together.
    pub files: StoreFiles,
    /// The run's facts, as stored.
    pub manifest: Manifest,
    /// What recording cost.
    pub cost: OwnCost,
    /// What is missing, and when.
    pub missing: Missing,
    /// What became of each endpoint.
    pub endpoints: Vec<EndpointReport>,
    /// What became of what was sent to other systems.
    pub sent: Vec<Sent>,
    /// What the GPU sampler had to say, if there was one.
    #[cfg(feature = "nvml")]
    pub gpu: Option<GpuSummary>,
    /// What the host sampler had to say, if there was one.
    pub host: Option<HostSummary>,
    /// What became of the files' upload, if one was asked for.
    #[cfg(feature = "upload")]
    pub uploads: Option<run_store::upload::UploadStats>,
}

/// What recording cost, measured while it was done.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OwnCost {
    /// Scrapes that gave samples.
    pub scrapes: u64,
    /// Those of them that asked for a part of the page only.
    pub partial_scrapes: u64,
    /// Mean time from request to last byte; `None` without scrapes.
    pub mean_fetch: Option<Duration>,
    /// The longest of them.
    pub longest_fetch: Option<Duration>,
    /// Mean time to parse a page and intern its series.
    pub mean_parse: Option<Duration>,
    /// Bytes of pages read.
    pub body_bytes: u64,
    /// Median cost of a hook call in nanoseconds, reading the clock included; `None` if too few were made to time
    /// one.
    pub hook_p50_ns: Option<u32>,
    /// The same at the 99th percentile.
    pub hook_p99_ns: Option<u32>,
    /// The most memory that waiting records ever took.
    pub queue_high_water_bytes: u64,
    /// Distinct series.
    pub series: usize,
    /// How long the session lasted.
    pub wall: Duration,
    /// CPU time of the thread that scrapes and drains hooks; `None` where it ran on the caller's runtime.
    pub collector_cpu: Option<Duration>,
    /// CPU time of the writer thread.
    pub writer_cpu: Option<Duration>,
    /// CPU time of the GPU and host samplers' threads.
    pub sampler_cpu: Option<Duration>,
    /// Memory of the whole process, the harness included, at the end and at most.
    pub resident_bytes: Option<u64>,
    /// The most memory the whole process ever took.
    pub peak_resident_bytes: Option<u64>,
}

impl OwnCost {
    pub(super) fn gather(
        report: &DriverReport,
        sampled: &SamplerSummaries,
        endpoints: &[EndpointReport],
    ) -> Self {
        let memory = Memory::read();
        let sampler_cpu = [
            #[cfg(feature = "nvml")]
            sampled.gpu.as_ref().map(|gpu| gpu.cpu_time),
            sampled.host.as_ref().map(|host| host.cpu_time),
        ];
        let scrapes: u64 = endpoints.iter().map(|endpoint| endpoint.scrapes).sum();
        let mean = |total: Duration| {
            (scrapes > 0).then(|| Duration::from_secs_f64(total.as_secs_f64() / scrapes as f64))
        };
        Self {
            scrapes,
            partial_scrapes: endpoints.iter().map(|endpoint| endpoint.partial_scrapes).sum(),
            mean_fetch: mean(endpoints.iter().map(|endpoint| endpoint.fetch_time).sum()),
            longest_fetch: endpoints
                .iter()
                .map(|e| e.longest_fetch)
                .max()
                .filter(|_| scrapes > 0),
            mean_parse: mean(endpoints.iter().map(|endpoint| endpoint.parse_time).sum()),
            body_bytes: endpoints.iter().map(|endpoint| endpoint.body_bytes).sum(),
            hook_p50_ns: report.hooks.quantile_ns(0.5),
            hook_p99_ns: report.hooks.quantile_ns(0.99),
            sampler_cpu: sampler_cpu.into_iter().flatten().reduce(|sum, cpu| sum + cpu),
            resident_bytes: memory.resident_bytes,
            peak_resident_bytes: memory.peak_resident_bytes,
            ..Self::default()
        }
    }

    /// CPU time of all our threads as a share of one core's; `None` if any of it ran on somebody else's thread.
    pub fn cpu_share_ratio(&self) -> Option<f64> {
        let cpu =
            self.collector_cpu? + self.writer_cpu.unwrap_or_default() + self.sampler_cpu.unwrap_or_default();
        (!self.wall.is_zero()).then(|| cpu.as_secs_f64() / self.wall.as_secs_f64())
    }

    /// The same as facts of the manifest, under `cost.`.
    pub(super) fn add_facts(&self, dropped: Dropped, dropped_hook_calls: u64, facts: &mut Facts) {
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                facts.insert(format!("cost.{key}"), value);
            }
        };
        let secs = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64().to_string());
        add("scrapes", Some(self.scrapes.to_string()));
        add("partial_scrapes", Some(self.partial_scrapes.to_string()));
        add("mean_fetch_secs", secs(self.mean_fetch));
        add("longest_fetch_secs", secs(self.longest_fetch));
        add("mean_parse_secs", secs(self.mean_parse));
        add("body_bytes", Some(self.body_bytes.to_string()));
        add("hook_p50_ns", self.hook_p50_ns.map(|ns| ns.to_string()));
        add("hook_p99_ns", self.hook_p99_ns.map(|ns| ns.to_string()));
        add(
            "queue_high_water_bytes",
            Some(self.queue_high_water_bytes.to_string()),
        );
        add("series", Some(self.series.to_string()));
        add("collector_cpu_secs", secs(self.collector_cpu));
        add("writer_cpu_secs", secs(self.writer_cpu));
        add("sampler_cpu_secs", secs(self.sampler_cpu));
        add(
            "cpu_share_ratio",
            self.cpu_share_ratio().map(|share| share.to_string()),
        );
        for (key, count) in [
            ("dropped_samples", dropped.samples),
            ("dropped_rows", dropped.rows),
            ("dropped_events", dropped.events),
            ("dropped_hook_calls", dropped_hook_calls),
        ] {
            add(key, Some(count.to_string()));
        }
        add(
            "resident_bytes",
            self.resident_bytes.map(|bytes| bytes.to_string()),
        );
        add(
            "peak_resident_bytes",
            self.peak_resident_bytes.map(|bytes| bytes.to_string()),
        );
    }
}

/// What is missing from a run, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Stretches without samples of an endpoint.
    pub gaps: Vec<Gap>,
    /// Endpoints that never answered.
    pub never_answered: Vec<String>,
    /// Ticks that could not be kept.
    pub missed_ticks: u64,
    /// What the queue dropped because the store could not keep up.
    pub dropped: Dropped,
    /// Hook calls dropped because a ring was full.
    pub dropped_hook_calls: u64,
    /// Requests that were not answered before the end.
    pub unfinished_requests: u64,
    /// Requests whose `request_issued` never came; their issue time is that of the first mark that did.
    pub requests_without_issue: u64,
    /// Records the store refused.
    pub refused_records: u64,
    /// Lines of pages that could not be read.
    pub bad_lines: u64,
    /// Everything else, in sentences.
    pub notes: Vec<String>,
}

impl Missing {
    pub(super) fn gather(
        endpoints: &[EndpointReport],
        dropped: Dropped,
        report: &DriverReport,
        writer: &WriterReport,
        mut notes: Vec<String>,
    ) -> Self {
        notes.extend(writer.problems());
        Self {
            gaps: endpoints
                .iter()
                .flat_map(|endpoint| endpoint.gaps.clone())
                .collect(),
            never_answered: endpoints
                .iter()
                .filter(|endpoint| endpoint.never_answered)
                .map(|endpoint| endpoint.endpoint_url.clone())
                .collect(),
            missed_ticks: endpoints.iter().map(|endpoint| endpoint.missed_ticks).sum(),
            dropped,
            dropped_hook_calls: report.hooks_dropped,
            unfinished_requests: report.unfinished_requests,
            requests_without_issue: report.requests_without_issue,
            refused_records: writer.refused.load(std::sync::atomic::Ordering::Relaxed),
            bad_lines: endpoints.iter().map(|endpoint| endpoint.bad_lines).sum(),
            notes,
        }
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
