//! Recording flags shared by test runs and `sut collect`. Each is also a key of the configuration file, where
//! some accept a table instead of a text.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::TimeText;
use super::merge::flags;
use super::run::one_or_many;
use super::spec::{CustomSpec, EndpointSpec, ReceiverSpec};

flags! {
    /// Recording flags shared by test runs and `sut collect`.
    #[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    pub struct RecordingArgs {
        /// Additional Prometheus endpoint to scrape, with labels for its series: http://gpu7:9400,node=gpu7.
        /// Repeatable. In the configuration file also a table with url, labels, authorization, timeout,
        /// interval, full-interval, partial, include, exclude, expect, server-version, ca-file and
        /// insecure-skip-verify.
        #[arg(long, value_name = "URL[,LABEL=VALUE...]", help_heading = "Recording")]
        pub metrics_endpoint: Vec<EndpointSpec>,
        /// Record only matching metrics: an exact name, a glob (vllm:*_seconds), or re:REGEX. Repeatable.
        #[arg(long, value_name = "PATTERN", help_heading = "Recording")]
        pub metrics_include: Vec<String>,
        /// Leave out matching metrics. Repeatable; wins over --metrics-include.
        #[arg(long, value_name = "PATTERN", help_heading = "Recording")]
        pub metrics_exclude: Vec<String>,
        /// Custom metric over the recorded series: 'busy=sum(vllm:num_requests_running) / 256'. Repeatable.
        /// In the configuration file also a table with name, expression and unit.
        #[arg(long, value_name = "NAME=EXPRESSION", help_heading = "Recording")]
        pub metrics_custom: Vec<CustomSpec>,
        /// Latency limits for the goodput in the summary: ttft:200ms tpot:50ms e2e:10s; a number without a
        /// unit is in milliseconds.
        #[arg(long, value_name = "LIMIT", num_args = 1.., help_heading = "Recording")]
        #[serde(deserialize_with = "one_or_many")]
        pub goodput: Option<Vec<String>>,
        /// Start a new part of each file when it reaches this size: 64MB, 1GiB.
        #[arg(long, value_name = "SIZE", help_heading = "Recording")]
        pub metrics_rotate_size: Option<String>,
        /// Start a new part of each file when it reaches this age: 10m, 1h.
        #[arg(long, value_name = "TIME", help_heading = "Recording")]
        pub metrics_rotate_every: Option<TimeText>,
        /// Keep at most this many finished parts of each file; older ones are removed.
        #[arg(long, value_name = "N", help_heading = "Recording")]
        pub metrics_keep_parts: Option<usize>,
        /// Remove finished parts older than this: 1h, 24h.
        #[arg(long, value_name = "TIME", help_heading = "Recording")]
        pub metrics_keep_for: Option<TimeText>,
        /// Also push current values to this Pushgateway, for example http://gateway:9091. In the
        /// configuration file also a table with url, job, labels (instance only), authorization and timeout.
        #[arg(long, value_name = "URL", help_heading = "Recording")]
        pub metrics_pushgateway: Option<ReceiverSpec>,
        /// Also send every sample by Prometheus remote write, for example to
        /// http://prometheus:9090/api/v1/write. In the configuration file also a table with url, job, labels,
        /// authorization and timeout.
        #[arg(long, value_name = "URL", help_heading = "Recording")]
        pub metrics_remote_write: Option<ReceiverSpec>,
        /// Value of the label `job` of everything that is sent. Default: sut.
        #[arg(long, value_name = "NAME", help_heading = "Recording")]
        pub metrics_job: Option<String>,
        /// While recording, serve the recorder's own Prometheus page (/metrics) and the latest scraped
        /// samples (/federate) at this address, for example 127.0.0.1:9464; with port 0 the system chooses a
        /// port.
        #[arg(long, value_name = "ADDRESS", help_heading = "Recording")]
        pub metrics_serve: Option<String>,
        /// Evaluate the alert rules of this TOML file while recording. Each change of an alert is an event of
        /// the record and a line of the log. `sut alerts check FILE` checks such a file.
        #[arg(long, value_name = "FILE", help_heading = "Recording")]
        pub alert_rules: Option<PathBuf>,
        /// Also send alerts to this URL, in the format of Alertmanager's webhooks. Repeatable.
        #[arg(long, value_name = "URL", help_heading = "Recording")]
        pub alert_webhook: Vec<String>,
        /// Also send alerts to this Alertmanager, for example http://alertmanager:9093. Repeatable.
        #[arg(long, value_name = "URL", help_heading = "Recording")]
        pub alertmanager: Vec<String>,
        /// Record an event with the outcome of every scrape.
        #[arg(long, help_heading = "Recording")]
        pub metrics_debug: bool,
    }
}
