//! What to record.

use std::path::PathBuf;
use std::time::Duration;

use vllm_metrics::config::DEFAULT_INTERVAL;

use super::words;
use crate::cli::{FormatArg, RunArgs};
use crate::recording::{RecordingArgs, RecordingPlan};

/// What to record.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsPlan {
    /// Folder.
    pub output_dir: PathBuf,
    /// Time between scrapes.
    pub interval: Duration,
    /// Raw format.
    pub format: FormatArg,
    /// Endpoint when it is not `URL/metrics`.
    pub url: Option<String>,
    /// Where the files are copied to in the end.
    pub upload: Option<String>,
    /// Draw pictures at the end.
    pub plots: bool,
    /// Sample the GPUs.
    pub gpu: bool,
    /// Which, by NVML index; `None`: the server's own where its process is known, else all of this machine.
    pub gpus: Option<Vec<u32>>,
    /// Time between two samples of a GPU.
    pub gpu_interval: Duration,
    /// What else to record, and where else to send it.
    pub recording: RecordingPlan,
}

/// Turns the flags of a run that records into those of the same run without a record: what has no effect then is
/// refused.
pub(crate) fn record_nothing(args: &mut RunArgs) {
    args.enable_metrics_collection = false;
    args.metrics_output_dir = None;
    args.metrics_collection_interval = None;
    args.metrics_format = None;
    args.metrics_url = None;
    args.metrics_upload = None;
    args.no_gpu_telemetry = false;
    args.gpus = None;
    args.gpu_interval = None;
    args.no_plots = false;
    args.recording = RecordingArgs::default();
}

pub(super) fn resolve(args: &RunArgs, wrong: &mut Vec<String>) -> Option<MetricsPlan> {
    let interval = words::interval(
        "--metrics-collection-interval",
        args.metrics_collection_interval,
        DEFAULT_INTERVAL,
        wrong,
    );
    if !args.enable_metrics_collection {
        let mut given_flags = args.recording.given();
        for (flag, given) in [
            ("--metrics-output-dir", args.metrics_output_dir.is_some()),
            (
                "--metrics-collection-interval",
                args.metrics_collection_interval.is_some(),
            ),
            ("--metrics-format", args.metrics_format.is_some()),
            ("--metrics-url", args.metrics_url.is_some()),
            ("--metrics-upload", args.metrics_upload.is_some()),
            ("--gpu-interval", args.gpu_interval.is_some()),
            ("--no-gpu-telemetry", args.no_gpu_telemetry),
            ("--gpus", args.gpus.is_some()),
            ("--no-plots", args.no_plots),
        ] {
            if given {
                given_flags.push(flag);
            }
        }
        for flag in given_flags {
            wrong.push(format!(
                "{flag} has no effect without --enable-metrics-collection"
            ));
        }
        return None;
    }
    if args.metrics_upload.is_some() && !cfg!(feature = "upload") {
        wrong.push("--metrics-upload: this build cannot upload; build it with --features upload".into());
    }
    let gpu_interval = words::interval("--gpu-interval", args.gpu_interval, interval, wrong);
    if args.no_gpu_telemetry && (args.gpus.is_some() || args.gpu_interval.is_some()) {
        wrong.push(
            "--no-gpu-telemetry leaves --gpus and --gpu-interval without effect: drop one or the other"
                .into(),
        );
    }
    let format = args.metrics_format.unwrap_or(FormatArg::Parquet);
    Some(MetricsPlan {
        output_dir: args
            .metrics_output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("./metrics_output")),
        interval,
        format,
        url: args.metrics_url.clone(),
        upload: args.metrics_upload.clone(),
        plots: !args.no_plots,
        gpu: !args.no_gpu_telemetry,
        gpus: args.gpus.clone(),
        gpu_interval,
        recording: RecordingPlan::resolve(&args.recording, format, interval, wrong),
    })
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
    fn no_flag_of_the_record_is_left_where_nothing_is_recorded() {
        let flags = "sut --enable-metrics-collection --metrics-output-dir d --metrics-collection-interval 1 \
                     --metrics-format csv --metrics-url http://h/metrics --metrics-upload file:///f --gpu-interval 1 \
                     --no-gpu-telemetry --gpus 0 --no-plots --metrics-debug";
        let mut args = Line::parse_from(flags.split_whitespace()).run;
        let refused = |args: &RunArgs| {
            let mut wrong = Vec::new();
            resolve(args, &mut wrong);
            wrong
        };
        args.enable_metrics_collection = false;
        assert_eq!(refused(&args).len(), 10, "{:?}", refused(&args));
        record_nothing(&mut args);
        assert_eq!(refused(&args), [""; 0]);
    }
}
