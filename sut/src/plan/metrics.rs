//! What to record.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use vllm_metrics::config::DEFAULT_INTERVAL;
use vllm_metrics::store::StoreFormat;

use super::RecordingPlan;
use super::words;
use crate::cli::{FormatArg, Merge, MetricsArgs, RunArgs};

/// Default folder of the record.
pub(crate) const METRICS_DIR: &str = "./metrics_output";

/// What to record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetricsPlan {
    /// Folder of the record.
    pub(crate) output_dir: PathBuf,
    /// Time between scrapes.
    pub(crate) interval: Duration,
    /// Format of the raw metrics.
    pub(crate) format: StoreFormat,
    /// Endpoint, if it is not `URL/metrics`.
    pub(crate) url: Option<String>,
    /// Destination of the upload at the end.
    pub(crate) upload: Option<String>,
    /// Draw plots at the end.
    pub(crate) plots: bool,
    /// The record of a run for comparison.
    pub(crate) baseline: Option<PathBuf>,
    /// Serve the report during the run.
    pub(crate) dashboard: Option<DashboardPlan>,
    /// Sample GPUs.
    pub(crate) gpu: bool,
    /// GPUs by NVML index; `None`: those of the server if its process is known, else all of this machine.
    pub(crate) gpus: Option<Vec<u32>>,
    /// Time between two samples of a GPU.
    pub(crate) gpu_interval: Duration,
    /// Additional recording options and receivers.
    pub(crate) recording: RecordingPlan,
}

/// Where the report is served during the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DashboardPlan {
    /// Port 0 is any free port.
    pub(crate) address: SocketAddr,
    /// Names that browsers may use.
    pub(crate) hosts: Vec<String>,
}

impl RunArgs {
    /// Whether the run is recorded: requested, or implied by a flag that only makes sense for a record.
    pub(super) fn records(&self) -> bool {
        let implied = MetricsArgs {
            no_plots: false,
            no_gpu_telemetry: false,
            ..self.metrics.clone()
        };
        implied.is_given() || self.recording.is_given()
    }
}

pub(super) fn resolve(args: &RunArgs, wrong: &mut Vec<String>) -> Option<MetricsPlan> {
    let metrics = &args.metrics;
    let interval = words::interval(
        "--metrics-collection-interval",
        metrics.metrics_collection_interval.as_ref(),
        DEFAULT_INTERVAL,
        wrong,
    );
    if !args.records() {
        for flag in metrics.given() {
            wrong.push(format!(
                "{flag} has no effect without --enable-metrics-collection"
            ));
        }
        return None;
    }
    if metrics.metrics_upload.is_some() && !cfg!(feature = "upload") {
        wrong.push("--metrics-upload: this build cannot upload; build it with --features upload".into());
    }
    let gpu_interval = words::interval("--gpu-interval", metrics.gpu_interval.as_ref(), interval, wrong);
    if metrics.no_gpu_telemetry && (metrics.gpus.is_some() || metrics.gpu_interval.is_some()) {
        wrong.push(
            "--no-gpu-telemetry leaves --gpus and --gpu-interval without effect: drop one or the other"
                .into(),
        );
    }
    let format = metrics.metrics_format.unwrap_or(FormatArg::Parquet).into();
    Some(MetricsPlan {
        output_dir: metrics
            .metrics_output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(METRICS_DIR)),
        interval,
        format,
        url: metrics.metrics_url.clone(),
        upload: metrics.metrics_upload.clone(),
        plots: !metrics.no_plots,
        baseline: baseline(metrics.baseline.as_ref(), wrong),
        dashboard: dashboard(metrics, wrong),
        gpu: !metrics.no_gpu_telemetry,
        gpus: metrics.gpus.clone(),
        gpu_interval,
        recording: RecordingPlan::resolve(&args.recording, format, interval, wrong),
    })
}

fn dashboard(metrics: &MetricsArgs, wrong: &mut Vec<String>) -> Option<DashboardPlan> {
    let Some(port) = metrics.dashboard_port else {
        if metrics.dashboard_address.is_some() || !metrics.dashboard_allow_host.is_empty() {
            wrong.push(
                "--dashboard-address and --dashboard-allow-host have no effect without --dashboard-port"
                    .into(),
            );
        }
        return None;
    };
    let address = metrics
        .dashboard_address
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Some(DashboardPlan {
        address: SocketAddr::new(address, port),
        hosts: metrics.dashboard_allow_host.clone(),
    })
}

/// Detects a missing baseline before the run.
fn baseline(path: Option<&PathBuf>, wrong: &mut Vec<String>) -> Option<PathBuf> {
    let path = path?;
    if !path.exists() {
        wrong.push(format!(
            "--baseline {}: there is no such file or folder",
            path.display()
        ));
    }
    Some(path.clone())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn a_flag_of_the_record_turns_it_on() {
        for (flags, on) in [
            ("", false),
            ("--no-plots", false),
            ("--no-gpu-telemetry", false),
            ("--enable-metrics-collection", true),
            ("--metrics-format csv", true),
            ("--metrics-interval 500ms", true),
            ("--gpus 0", true),
            ("--metrics-debug", true),
            ("--dashboard-port 0", true),
            ("--goodput ttft:200ms", true),
        ] {
            let line = std::iter::once("sut").chain(flags.split_whitespace());
            assert_eq!(Line::parse_from(line).run.records(), on, "{flags}");
        }
        let mut wrong = Vec::new();
        resolve(&Line::parse_from(["sut", "--no-plots"]).run, &mut wrong);
        assert_eq!(
            wrong,
            ["--no-plots has no effect without --enable-metrics-collection"]
        );
    }
}
