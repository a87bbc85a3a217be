//! The flags as written. Each is also a key of the configuration file, where some take a table instead of a text.

use clap::Args;
use serde::Deserialize;

use super::spec::{CustomSpec, EndpointSpec, ReceiverSpec};

/// Flags about the record that test runs and `sut collect` share.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordingArgs {
    /// One more Prometheus endpoint to scrape, with labels for its series: http://gpu7:9400,node=gpu7. Repeat for
    /// several. In the configuration file also a table with url, labels, authorization, timeout, interval,
    /// full-interval, partial, include, exclude, expect, server-version, ca-file and insecure-skip-verify.
    #[arg(long, value_name = "URL[,LABEL=VALUE...]", help_heading = "Recording")]
    pub metrics_endpoint: Vec<EndpointSpec>,
    /// Record only metrics that fit: an exact name, a glob (vllm:*_seconds), or re:REGEX. Repeat for several.
    #[arg(long, value_name = "PATTERN", help_heading = "Recording")]
    pub metrics_include: Vec<String>,
    /// Leave out metrics that fit. Repeat for several; wins over --metrics-include.
    #[arg(long, value_name = "PATTERN", help_heading = "Recording")]
    pub metrics_exclude: Vec<String>,
    /// Metric of your own over the recorded series: 'busy=sum(vllm:num_requests_running) / 256'. Repeat for several.
    /// In the configuration file also a table with name, expression and unit.
    #[arg(long, value_name = "NAME=EXPRESSION", help_heading = "Recording")]
    pub metrics_custom: Vec<CustomSpec>,
    /// Limits on latency for the goodput in the summary: 'ttft:200ms tpot:50ms e2e:10s'.
    #[arg(long, value_name = "LIMITS", help_heading = "Recording")]
    pub goodput: Option<String>,
    /// Start a new part of each file when it is this large: 64MB, 1GiB.
    #[arg(long, value_name = "SIZE", help_heading = "Recording")]
    pub metrics_rotate_size: Option<String>,
    /// Start a new part of each file when it is this old: 10m, 1h.
    #[arg(long, value_name = "TIME", help_heading = "Recording")]
    pub metrics_rotate_every: Option<String>,
    /// Keep at most this many finished parts of each file; older ones are removed.
    #[arg(long, value_name = "N", help_heading = "Recording")]
    pub metrics_keep_parts: Option<usize>,
    /// Remove finished parts older than this: 1h, 24h.
    #[arg(long, value_name = "TIME", help_heading = "Recording")]
    pub metrics_keep_for: Option<String>,
    /// Push current values to this Pushgateway as well, for example http://gateway:9091. In the configuration file
    /// also a table with url, job, labels (instance only), authorization and timeout.
    #[arg(long, value_name = "URL", help_heading = "Recording")]
    pub metrics_pushgateway: Option<ReceiverSpec>,
    /// Send every sample by Prometheus remote write as well, for example http://prometheus:9090/api/v1/write. In the
    /// configuration file also a table with url, job, labels, authorization and timeout.
    #[arg(long, value_name = "URL", help_heading = "Recording")]
    pub metrics_remote_write: Option<ReceiverSpec>,
    /// The label `job` of what is sent. Default: sut.
    #[arg(long, value_name = "NAME", help_heading = "Recording")]
    pub metrics_job: Option<String>,
    /// Serve a Prometheus page of the recorder itself (/metrics) and of the newest scraped samples (/federate) at this
    /// address while recording, for example 127.0.0.1:9464; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", help_heading = "Recording")]
    pub metrics_serve: Option<String>,
    /// Leave an event of every scrape that says what it found.
    #[arg(long, help_heading = "Recording")]
    pub metrics_debug: bool,
}

impl RecordingArgs {
    /// The keys of the configuration file that belong here: the flags' names.
    pub(crate) fn keys() -> Vec<String> {
        Self::augment_args(clap::Command::new("keys"))
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect()
    }

    /// `self` is the command line, which wins key by key; lists are not joined.
    #[must_use]
    pub(crate) fn or(self, file: Self) -> Self {
        fn first<T>(line: Vec<T>, file: Vec<T>) -> Vec<T> {
            if line.is_empty() { file } else { line }
        }
        Self {
            metrics_endpoint: first(self.metrics_endpoint, file.metrics_endpoint),
            metrics_include: first(self.metrics_include, file.metrics_include),
            metrics_exclude: first(self.metrics_exclude, file.metrics_exclude),
            metrics_custom: first(self.metrics_custom, file.metrics_custom),
            goodput: self.goodput.or(file.goodput),
            metrics_rotate_size: self.metrics_rotate_size.or(file.metrics_rotate_size),
            metrics_rotate_every: self.metrics_rotate_every.or(file.metrics_rotate_every),
            metrics_keep_parts: self.metrics_keep_parts.or(file.metrics_keep_parts),
            metrics_keep_for: self.metrics_keep_for.or(file.metrics_keep_for),
            metrics_pushgateway: self.metrics_pushgateway.or(file.metrics_pushgateway),
            metrics_remote_write: self.metrics_remote_write.or(file.metrics_remote_write),
            metrics_job: self.metrics_job.or(file.metrics_job),
            metrics_serve: self.metrics_serve.or(file.metrics_serve),
            metrics_debug: self.metrics_debug || file.metrics_debug,
        }
    }

    /// The flags that were given, for a run that records nothing.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let Self {
            metrics_endpoint,
            metrics_include,
            metrics_exclude,
            metrics_custom,
            goodput,
            metrics_rotate_size,
            metrics_rotate_every,
            metrics_keep_parts,
            metrics_keep_for,
            metrics_pushgateway,
            metrics_remote_write,
            metrics_job,
            metrics_serve,
            metrics_debug,
        } = self;
        [
            ("--metrics-endpoint", !metrics_endpoint.is_empty()),
            ("--metrics-include", !metrics_include.is_empty()),
            ("--metrics-exclude", !metrics_exclude.is_empty()),
            ("--metrics-custom", !metrics_custom.is_empty()),
            ("--goodput", goodput.is_some()),
            ("--metrics-rotate-size", metrics_rotate_size.is_some()),
            ("--metrics-rotate-every", metrics_rotate_every.is_some()),
            ("--metrics-keep-parts", metrics_keep_parts.is_some()),
            ("--metrics-keep-for", metrics_keep_for.is_some()),
            ("--metrics-pushgateway", metrics_pushgateway.is_some()),
            ("--metrics-remote-write", metrics_remote_write.is_some()),
            ("--metrics-job", metrics_job.is_some()),
            ("--metrics-serve", metrics_serve.is_some()),
            ("--metrics-debug", *metrics_debug),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}
