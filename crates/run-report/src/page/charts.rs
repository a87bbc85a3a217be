//! Which series are drawn together.

use std::collections::BTreeSet;

use report_page::model::{Band, Chart, ChartKind, Line, Run, Section, Series, Threshold};

use super::latency;
use crate::analysis::Analysis;

/// More lines than this in one chart cannot be read.
const MOST_LINES: usize = 8;

pub(super) fn of(runs: &[Run], analyses: &[&Analysis<'_>]) -> Vec<Chart> {
    let find = Find { runs };
    let mut charts = vec![
        find.chart(
            Section::Performance,
            "output-tokens",
            "Output tokens per second",
            "tokens/s",
            "Tokens that reached the client, and tokens that the server counted.",
            &[
                ("client_output_tokens_per_second", "client"),
                ("vllm:tokens_per_second", "server"),
            ],
        ),
        find.chart(
            Section::Performance,
            "prompt-tokens",
            "Prompt tokens per second",
            "tokens/s",
            "Prompt tokens that the server counted, those found in its cache included.",
            &[("vllm:prompt_tokens_per_second", "prompt")],
        ),
        find.chart(
            Section::Performance,
            "requests-per-second",
            "Finished requests per second",
            "requests/s",
            "Requests that the server finished, whatever the reason.",
            &[("vllm:requests_per_second", "finished")],
        ),
    ];
    for (index, metric) in latency::METRICS.iter().enumerate() {
        charts.push(find.latency(index, metric, analyses));
    }
    charts.extend(find.engine());
    charts.extend(find.gpu());
    charts.extend(find.host());
    charts.retain(|chart| !chart.lines.is_empty());
    charts
}

struct Find<'a> {
    runs: &'a [Run],
}

impl Find<'_> {
    /// Keys of a metric in any run, in the order of the runs, with a name for the legend.
    fn lines(&self, name: &str, label: &str) -> Vec<Line> {
        let mut seen = BTreeSet::new();
        let found: Vec<&Series> = self
            .runs
            .iter()
            .flat_map(|run| &run.series)
            .filter(|series| series.name == name)
            .filter(|series| seen.insert(series.key()))
            .collect();
        let telling = telling(&found);
        found
            .iter()
            .map(|series| {
                let parts: Vec<String> = telling
                    .iter()
                    .filter_map(|key| Some(format!("{key} {}", series.labels.get(*key)?)))
                    .collect();
                let label = match (label, parts.join(", ")) {
                    ("", parts) => parts,
                    (label, parts) if parts.is_empty() => label.to_owned(),
                    (label, parts) => format!("{label}, {parts}"),
                };
                Line {
                    series: series.key(),
                    label: if label.is_empty() { name.to_owned() } else { label },
                }
            })
            .collect()
    }

    fn chart(
        &self,
        section: Section,
        id: &str,
        title: &str,
        unit: &str,
        definition: &str,
        names: &[(&str, &str)],
    ) -> Chart {
        let mut lines: Vec<Line> = names
            .iter()
            .flat_map(|(name, label)| self.lines(name, label))
            .collect();
        let left_out = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        let mut definition = definition.to_owned();
        if left_out > 0 {
            definition.push_str(&format!(
                " {left_out} more series of these names are in the list of all series."
            ));
        }
        Chart {
            id: id.to_owned(),
            section,
            title: title.to_owned(),
            unit: unit.to_owned(),
            definition,
            kind: ChartKind::Line,
            log: false,
            range: (unit == "ratio").then_some((0.0, 1.0)),
            lines,
            bands: Vec::new(),
            thresholds: Vec::new(),
        }
    }

    fn latency(&self, index: usize, metric: &latency::Metric, analyses: &[&Analysis<'_>]) -> Chart {
        let limit = |analysis: &&Analysis<'_>| match index {
            0 => analysis.run.facts.ttft_limit_secs,
            _ => analysis.run.facts.tpot_limit_secs,
        };
        let placed: BTreeSet<&str> = analyses
            .iter()
            .map(|analysis| metric.placed(analysis.run.facts.scenario))
            .collect();
        let mut chart = self.chart(
            Section::Performance,
            if index == 0 { "ttft" } else { "tpot" },
            &capital(metric.what),
            "seconds",
            &format!(
                "Quantiles of the {} at the client, of requests {} in the time up to each point; exact.",
                metric.what,
                Vec::from_iter(placed).join(" or ")
            ),
            &[],
        );
        let keys: Vec<Line> = self.lines(metric.name, "");
        chart.lines = latency::QUANTILES
            .iter()
            .filter_map(|(q, quantile)| {
                let line = keys
                    .iter()
                    .find(|line| line.series.contains(&format!("\"{quantile}\"")))?;
                Some(Line {
                    label: format!("p{:.0}", q * 100.0),
                    ..line.clone()
                })
            })
            .collect();
        if chart.lines.len() == 3 {
            chart.bands = vec![Band { low: 0, high: 2 }];
        }
        chart.thresholds = analyses
            .iter()
            .find_map(limit)
            .map(|value| Threshold {
                label: "limit of p99".to_owned(),
                value,
            })
            .into_iter()
            .collect();
        chart
    }

    fn engine(&self) -> Vec<Chart> {
        let chart = |id, title, unit, definition, names: &[(&str, &str)]| {
            self.chart(Section::Engine, id, title, unit, definition, names)
        };
        vec![
            Chart {
                kind: ChartKind::Step,
                ..chart(
                    "requests",
                    "Requests in the system",
                    "requests",
                    "Running and waiting in the engine as it reports them, and in flight at the client. In flight above \
                     running and waiting together are requests between client and engine.",
                    &[
                        ("vllm:num_requests_running", "running"),
                        ("vllm:num_requests_waiting", "waiting"),
                        ("client_requests_in_flight", "in flight at the client"),
                        ("client_requests_queued", "queued in the client"),
                    ],
                )
            },
            chart(
                "kv-cache",
                "KV cache usage",
                "ratio",
                "Share of the KV cache's blocks in use.",
                &[
                    ("vllm:kv_cache_usage_perc", ""),
                    ("vllm:gpu_cache_usage_perc", ""),
                ],
            ),
            chart(
                "preemptions",
                "Preemptions per second",
                "1/s",
                "Requests that lost their blocks and are computed again.",
                &[("vllm:num_preemptions_total", "")],
            ),
            chart(
                "step-tokens",
                "Tokens per engine step",
                "tokens",
                "Mean tokens of an iteration between two scrapes, prompt and output tokens together; exact.",
                &[("vllm:engine_tokens_per_step", "")],
            ),
            chart(
                "step-seconds",
                "Time per engine step",
                "seconds",
                "Time between two scrapes over the iterations in it, idle time included.",
                &[("vllm:engine_step_seconds", "")],
            ),
            chart(
                "prefix-cache",
                "Prefix cache hits",
                "ratio",
                "Prompt tokens found in the prefix cache over those looked for.",
                &[("vllm:prefix_cache_hit_ratio", "")],
            ),
        ]
    }

    fn gpu(&self) -> Vec<Chart> {
        let chart = |id, title, unit, definition, names: &[(&str, &str)]| {
            self.chart(Section::Gpu, id, title, unit, definition, names)
        };
        vec![
            chart(
                "gpu-utilization",
                "GPU utilization",
                "ratio",
                "Share of the time in which any kernel ran. It says that the GPU worked, not how much of it.",
                &[("gpu_utilization_ratio", ""), ("vllm:gpu_utilization", "")],
            ),
            chart(
                "gpu-memory",
                "GPU memory in use",
                "bytes",
                "Memory in use by all processes.",
                &[("gpu_memory_used_bytes", ""), ("vllm:gpu_memory_used", "")],
            ),
            chart(
                "gpu-power",
                "GPU power",
                "watts",
                "Power draw as the driver reports it.",
                &[("gpu_power_watts", "")],
            ),
            chart(
                "gpu-clock",
                "GPU clock",
                "hertz",
                "Clock of the streaming multiprocessors.",
                &[("gpu_sm_clock_hertz", "")],
            ),
            chart(
                "gpu-temperature",
                "GPU temperature",
                "celsius",
                "Temperature of the GPU.",
                &[("gpu_temperature_celsius", "")],
            ),
            Chart {
                kind: ChartKind::Step,
                ..chart(
                    "gpu-throttling",
                    "GPU clock reductions",
                    "",
                    "Seconds per second in which the driver names a reason for a reduced clock.",
                    &[("gpu_throttle_seconds_total", "")],
                )
            },
        ]
    }

    fn host(&self) -> Vec<Chart> {
        let chart = |id, title, unit, definition, names: &[(&str, &str)]| {
            self.chart(Section::Host, id, title, unit, definition, names)
        };
        vec![
            chart(
                "host-processes",
                "Cores used by client and server",
                "cores",
                "CPU seconds per second of the harness's process and of the server's processes.",
                &[("host_process_cpu_seconds_total", "")],
            ),
            chart(
                "host-cpu",
                "Processor time of the host",
                "cores",
                "CPU seconds per second of all processors together, by mode.",
                &[("host_cpu_seconds_total", "")],
            ),
            chart(
                "host-pressure",
                "Work that waited for a resource",
                "",
                "Pressure stall information: seconds per second in which some or all work waited.",
                &[("host_pressure_stall_seconds_total", "")],
            ),
            chart(
                "host-memory",
                "Resident memory",
                "bytes",
                "Of the harness and of the server's processes.",
                &[("host_process_resident_bytes", "")],
            ),
            chart(
                "network",
                "Network traffic",
                "bytes/s",
                "Bytes per second over the network interfaces of this host.",
                &[("host_network_bytes_total", "")],
            ),
            chart(
                "scrape",
                "Duration of a scrape",
                "seconds",
                "From sending the request for the metrics page to its last byte.",
                &[("scrape_duration_seconds", "")],
            ),
            chart(
                "own-cpu",
                "Processor time of recording",
                "cores",
                "CPU seconds per second of the recorder's threads.",
                &[("vllm_metrics_cpu_seconds_total", "")],
            ),
        ]
    }
}

/// Labels whose values differ between these series.
fn telling<'a>(series: &[&'a Series]) -> Vec<&'a str> {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for series in series {
        keys.extend(series.labels.keys().map(String::as_str));
    }
    keys.into_iter()
        .filter(|key| {
            series
                .iter()
                .any(|other| other.labels.get(*key) != series[0].labels.get(*key))
        })
        .collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
