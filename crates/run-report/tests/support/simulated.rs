//! Records of runs on the simulator's engine in virtual time: the pages that it shows and the requests that it served,
//! written to a Parquet record and read back.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use vllm_metrics::{
    Manifest, MetricType, Outcome, PageIngest, Record, RequestRow, RunData, SeriesData, SeriesDef, TimeSource,
};
use vllm_sim::SimConfig;
use vllm_sim::virtual_time::{Arrivals, RunOptions, Workload, run};

const START: i64 = 1_790_000_000_000_000_000;
const URL: &str = "http://127.0.0.1:8000/metrics";
/// How long a scrape takes while the server is idle.
const IDLE_SCRAPE_SECS: f64 = 0.005;

/// A run to be recorded.
#[derive(Clone)]
pub(crate) struct Simulated {
    pub(crate) server: SimConfig,
    pub(crate) workload: Workload,
    pub(crate) scenario: &'static str,
    /// The client sends by a closed loop although requests are scheduled at this rate: it is the bound.
    pub(crate) scheduled_at: Option<f64>,
    /// The driver reports a power limit and this share of the SM clock.
    pub(crate) clock_ratio: Option<f64>,
}

impl Simulated {
    pub(crate) fn record(&self) -> RunData {
        let made = run(&self.server, &self.workload, &RunOptions::default()).unwrap();
        let mut ingest = PageIngest::new(URL);
        for (at, page) in &made.pages {
            ingest.page(page.as_bytes(), ns(*at));
        }
        let mut defs = Vec::new();
        let mut series: Vec<SeriesData> = Vec::new();
        for record in ingest.records() {
            match record {
                Record::Series(_, def) => {
                    series.push(SeriesData {
                        def: std::sync::Arc::clone(&def),
                        timestamps_ns: Vec::new(),
                        values: Vec::new(),
                        phases: vec![(0, "performance".into())],
                    });
                    defs.push(def);
                }
                Record::Samples(batch) => {
                    for sample in &batch.samples {
                        let into = &mut series[sample.series.0 as usize];
                        into.timestamps_ns.push(sample.timestamp_ns);
                        into.values.push(sample.value);
                    }
                }
                _ => {}
            }
        }
        series.extend(self.own_series(&made.pages));
        vllm_metrics::derive::series::sort(&mut series);
        let scheduled = self.scheduled_at.map(|rate_per_s| {
            let arrivals = Workload {
                arrivals: Arrivals::Poisson { rate_per_s },
                ..self.workload.clone()
            };
            arrivals.arrival_times().unwrap()
        });
        let requests: Vec<RequestRow> = made
            .requests
            .iter()
            .map(|request| {
                let sent = ns(request.arrival);
                let issued = match &scheduled {
                    Some(times) => ns(times[request.number as usize]).min(sent),
                    None => sent,
                };
                let time = |at: Option<Duration>| at.map(ns);
                let between = |from: Option<Duration>, to: Option<Duration>| Some(ns(to?) - ns(from?));
                RequestRow {
                    request_id: request.number,
                    sample_index: request.number,
                    batch_id: None,
                    endpoint: 0,
                    scheduled_ns: self.is_scheduled().then_some(issued),
                    issued_ns: issued,
                    sent_ns: Some(sent),
                    first_token_ns: time(request.first_token),
                    done_ns: Some(ns(request.ended)),
                    prompt_tokens: Some(request.prompt_tokens),
                    output_tokens: Some(request.output_tokens),
                    server_queue_ns: between(request.queued, request.scheduled),
                    server_prefill_ns: between(request.scheduled, request.first_token),
                    server_decode_ns: between(request.first_token, request.last_token),
                    server_time_source: Some(TimeSource::Server),
                    outcome: match request.is_complete() {
                        true => Outcome::Completed,
                        false => Outcome::Failed,
                    },
                    reason: None,
                }
            })
            .collect();
        let engine = &self.server.engine;
        let rate = match self.workload.arrivals {
            Arrivals::Poisson { rate_per_s } => rate_per_s,
            _ => self.scheduled_at.unwrap_or(0.0),
        };
        let mut facts = vec![
            ("model", "simulated-8b".to_owned()),
            ("scenario", self.scenario.to_owned()),
            ("server_url", "http://127.0.0.1:8000".to_owned()),
            ("dataset", format!("workload {}", self.workload.requests)),
            ("metrics.endpoints", URL.to_owned()),
            ("ttft_limit_secs", "2".to_owned()),
            ("tpot_limit_secs", "0.1".to_owned()),
            ("server_argument.max-num-seqs", engine.max_num_seqs.to_string()),
            (
                "server_argument.max-num-batched-tokens",
                engine.max_num_batched_tokens.to_string(),
            ),
        ];
        if rate > 0.0 {
            facts.push(("target_qps", rate.to_string()));
        }
        let record = RunData {
            manifest: Manifest {
                stamp: "20260921_133320".into(),
                started_ns: START,
                ended_ns: Some(ns(made.ended)),
                simulated: true,
                facts: facts
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            },
            series,
            requests,
            ..RunData::default()
        };
        stored(&record)
    }

    fn is_scheduled(&self) -> bool {
        ["Server", "Interactive"].contains(&self.scenario)
    }

    /// Adds what our own samplers would have recorded.
    fn own_series(&self, pages: &[(Duration, String)]) -> Vec<SeriesData> {
        let times: Vec<i64> = pages.iter().map(|(at, _)| ns(*at)).collect();
        let series =
            |name: &str, labels: &str, metric_type, source: &str, url: &str, values: Vec<f64>| SeriesData {
                def: std::sync::Arc::new(SeriesDef {
                    metric_name: name.into(),
                    labels: labels.into(),
                    metric_type,
                    unit: "".into(),
                    source: source.into(),
                    endpoint_url: url.into(),
                }),
                timestamps_ns: times.clone(),
                values,
                phases: vec![(0, "performance".into())],
            };
        let mut all = vec![series(
            "scrape_duration_seconds",
            "{}",
            MetricType::Gauge,
            "self",
            URL,
            vec![IDLE_SCRAPE_SECS; times.len()],
        )];
        if let Some(ratio) = self.clock_ratio {
            let gpu = r#"{"gpu":"0","name":"Simulated GPU","uuid":"GPU-0"}"#;
            let throttle = r#"{"gpu":"0","name":"Simulated GPU","reason":"sw_power_cap","uuid":"GPU-0"}"#;
            let most = 1.98e9;
            let mut add = |name: &str, labels: &str, metric_type, values: Vec<f64>| {
                all.push(series(name, labels, metric_type, "nvml-simulated", "", values));
            };
            add(
                "gpu_throttle_seconds_total",
                throttle,
                MetricType::Counter,
                (0..times.len()).map(|second| second as f64).collect(),
            );
            add(
                "gpu_sm_clock_hertz",
                gpu,
                MetricType::Gauge,
                vec![most * ratio; times.len()],
            );
            add(
                "gpu_sm_clock_max_hertz",
                gpu,
                MetricType::Gauge,
                vec![most; times.len()],
            );
            add(
                "gpu_utilization_ratio",
                gpu,
                MetricType::Gauge,
                vec![1.0; times.len()],
            );
        }
        all
    }
}

/// One record of several, one after the other, as of one server: counters go on from part to part.
pub(crate) fn joined(parts: &[RunData]) -> RunData {
    let mut all = RunData {
        manifest: parts[0].manifest.clone(),
        ..RunData::default()
    };
    let mut shift_ns = 0;
    for part in parts {
        for series in &part.series {
            let place = all.series.iter().position(|known| known.def == series.def);
            let place = place.unwrap_or_else(|| {
                let (timestamps_ns, values) = (Vec::new(), Vec::new());
                all.series.push(SeriesData {
                    timestamps_ns,
                    values,
                    ..series.clone()
                });
                all.series.len() - 1
            });
            let into = &mut all.series[place];
            let goes_on = matches!(
                series.def.metric_type,
                MetricType::Counter | MetricType::Histogram
            );
            let base = into.values.last().copied().filter(|_| goes_on).unwrap_or(0.0);
            into.timestamps_ns
                .extend(series.timestamps_ns.iter().map(|t| t + shift_ns));
            into.values.extend(series.values.iter().map(|value| value + base));
        }
        let number = all.requests.len() as u64;
        all.requests.extend(part.requests.iter().map(|row| {
            let later = |at: Option<i64>| at.map(|at| at + shift_ns);
            RequestRow {
                request_id: row.request_id + number,
                scheduled_ns: later(row.scheduled_ns),
                issued_ns: row.issued_ns + shift_ns,
                sent_ns: later(row.sent_ns),
                first_token_ns: later(row.first_token_ns),
                done_ns: later(row.done_ns),
                ..row.clone()
            }
        }));
        let ended = part.manifest.ended_ns.unwrap();
        all.manifest.ended_ns = Some(ended + shift_ns);
        shift_ns += ended - START + 1_000_000_000;
    }
    vllm_metrics::derive::series::sort(&mut all.series);
    stored(&all)
}

fn ns(at: Duration) -> i64 {
    START + i64::try_from(at.as_nanos()).unwrap()
}

/// Written as Parquet and read back.
fn stored(record: &RunData) -> RunData {
    let folder = tempfile::tempdir().unwrap();
    let files = vllm_metrics::store::write_run(record, vllm_metrics::StoreFormat::Parquet, folder.path(), "")
        .unwrap();
    vllm_metrics::read_run(&files.samples).unwrap()
}
