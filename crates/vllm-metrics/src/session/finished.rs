//! The result of a run: its files, the cost of recording, and what is missing.

use std::path::PathBuf;
#[cfg(feature = "analysis")]
use std::sync::Arc;
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
#[cfg(feature = "analysis")]
use run_analysis::view::Analysis;
use run_model::Manifest;
use run_store::StoreFiles;

/// A recorded run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FinishedRun {
    /// Raw samples; empty when the run was written to a store without files.
    pub samples_path: PathBuf,
    /// Derived series (rates, quantiles), if made.
    pub processed_path: Option<PathBuf>,
    /// The requests with estimated server times, if any could be estimated.
    pub processed_requests_path: Option<PathBuf>,
    /// Requests, if there were any.
    pub requests_path: Option<PathBuf>,
    /// Batches, if there were any.
    pub batches_path: Option<PathBuf>,
    /// Events.
    pub events_path: Option<PathBuf>,
    /// Every file, and their total size.
    pub files: StoreFiles,
    /// The run's facts, as stored.
    pub manifest: Manifest,
    /// Cost of recording.
    pub cost: OwnCost,
    /// What is missing, and when.
    pub missing: Missing,
    /// Scrape statistics of each endpoint.
    pub endpoints: Vec<EndpointReport>,
    /// Delivery statistics of samples sent to other systems.
    pub sent: Vec<Sent>,
    /// Summary of the GPU sampler, if there was one.
    #[cfg(feature = "nvml")]
    pub gpu: Option<GpuSummary>,
    /// Summary of the host sampler, if there was one.
    pub host: Option<HostSummary>,
    /// The run as read back from its files, with what is derived from it. `None` if no derived series were to
    /// be written, or if the files could not be read, which [`Missing::notes`] then says.
    #[cfg(feature = "analysis")]
    pub analysis: Option<Arc<Analysis<'static>>>,
    /// Upload statistics, if an upload was configured.
    #[cfg(feature = "upload")]
    pub uploads: Option<run_store::upload::UploadStats>,
}

/// Cost of recording, measured during the run.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OwnCost {
    /// Successful scrapes.
    pub scrapes: u64,
    /// Successful scrapes of a part of the page.
    pub partial_scrapes: u64,
    /// Mean time from request to last byte; `None` without scrapes.
    pub mean_fetch: Option<Duration>,
    /// Longest time from request to last byte.
    pub longest_fetch: Option<Duration>,
    /// Mean time to parse a page and intern its series.
    pub mean_parse: Option<Duration>,
    /// Bytes of pages read.
    pub body_bytes: u64,
    /// Median cost of a hook call in nanoseconds, including reading the clock; `None` if too few calls were
    /// made to time one.
    pub hook_p50_ns: Option<u32>,
    /// The same at the 99th percentile.
    pub hook_p99_ns: Option<u32>,
    /// Maximum memory used by waiting records.
    pub queue_high_water_bytes: u64,
    /// Number of distinct series.
    pub series: usize,
    /// Duration of the session.
    pub wall: Duration,
    /// CPU time of the thread that scrapes and drains hooks; `None` if that ran on the caller's runtime.
    pub collector_cpu: Option<Duration>,
    /// CPU time of the writer thread.
    pub writer_cpu: Option<Duration>,
    /// CPU time of the GPU and host samplers' threads.
    pub sampler_cpu: Option<Duration>,
    /// Memory of the whole process, harness included, at the end.
    pub resident_bytes: Option<u64>,
    /// Peak memory of the whole process.
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

    /// CPU time of the session's threads per wall time; `None` if the driver ran on the caller's runtime.
    pub fn cpu_share_ratio(&self) -> Option<f64> {
        let cpu =
            self.collector_cpu? + self.writer_cpu.unwrap_or_default() + self.sampler_cpu.unwrap_or_default();
        (!self.wall.is_zero()).then(|| cpu.as_secs_f64() / self.wall.as_secs_f64())
    }

    /// Adds the cost as facts of the manifest, under `cost.`.
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
    /// Periods without samples of an endpoint.
    pub gaps: Vec<Gap>,
    /// Endpoints that never answered.
    pub never_answered: Vec<String>,
    /// Ticks that were skipped.
    pub missed_ticks: u64,
    /// Records dropped because the store could not keep up.
    pub dropped: Dropped,
    /// Hook calls dropped because a ring was full.
    pub dropped_hook_calls: u64,
    /// Requests without an answer before the end.
    pub unfinished_requests: u64,
    /// Requests without `request_issued`; their issue time is that of their first mark.
    pub requests_without_issue: u64,
    /// Records that the store rejected.
    pub refused_records: u64,
    /// Unreadable lines of pages.
    pub bad_lines: u64,
    /// Samples of series beyond the most that are recorded of one endpoint; they were left out.
    pub beyond_limit: u64,
    /// Everything else, as sentences.
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
            beyond_limit: endpoints.iter().map(|endpoint| endpoint.beyond_limit).sum(),
            notes,
        }
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
