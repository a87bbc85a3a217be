//! Settings and environment of a run, from the record's facts and from the series that carry facts in their labels.

use std::collections::{BTreeMap, BTreeSet};

use run_diagnosis::input::{MathFormat, RequestTimes, RunFacts, Scenario};
use vllm_metrics::derive::goodput::Limits;
use vllm_metrics::derive::{counter, labels, totals};
use vllm_metrics::{RunData, SeriesData};

use crate::facts as fact;

/// Settings of vLLM's cache that change the work. The size of the cache is no setting of its own: it follows from
/// memory.
const CACHE_SETTINGS: [(&str, &str); 3] = [
    ("block_size", "block-size"),
    ("cache_dtype", "kv-cache-dtype"),
    ("enable_prefix_caching", "enable-prefix-caching"),
];

pub(super) fn of(record: &RunData, requests: &[RequestTimes], name: &str) -> RunFacts {
    let facts = Facts { record };
    let scenario = facts.scenario(requests);
    let mut out = RunFacts::new(name, scenario);
    out.simulated = is_simulated(record);
    out.model = facts.text("model");
    out.dataset = facts.text("dataset");
    out.dataset_hash = facts.text(fact::DATASET_HASH);
    out.target_qps = facts
        .number("target_qps")
        .filter(|_| scenario.is_scheduled() || scenario == Scenario::Offline);
    out.concurrency = facts.number("concurrency").map(|n| n as u32);
    out.vllm_version = facts.text("server_version");
    out.server_arguments = facts.server_arguments();
    let gpus = facts.gpus();
    out.gpu_name = (!gpus.is_empty()).then(|| {
        let names: BTreeSet<&str> = gpus.values().map(String::as_str).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    });
    out.gpu_count = u32::try_from(gpus.len()).ok().filter(|count| *count > 0);
    out.environment = facts.environment();
    let limits = Limits::of_manifest(&record.manifest).unwrap_or_default();
    out.ttft_limit_secs = facts.number(fact::TTFT_LIMIT).or(limits.ttft_secs);
    out.tpot_limit_secs = facts.number(fact::TPOT_LIMIT).or(limits.tpot_secs);
    let argument = |name: &str| out.server_arguments.get(name)?.parse::<f64>().ok();
    out.max_num_seqs = argument("max-num-seqs").map(|n| n as u32);
    out.max_num_batched_tokens = argument("max-num-batched-tokens").map(|n| n as u32);
    out.kv_capacity_tokens = facts.kv_capacity_tokens();
    let sixteen_bit = out
        .server_arguments
        .get("dtype")
        .is_some_and(|dtype| ["bfloat16", "float16", "half"].contains(&dtype.as_str()));
    let quantized = out.server_arguments.contains_key("quantization");
    if sixteen_bit && !quantized {
        out.weight_bytes = Some(2.0);
        out.math = Some(MathFormat::Bf16);
    }
    out.client_cores_granted = facts.client_cores();
    out.loopback = facts.loopback();
    out.idle_scrape_secs = facts.idle_scrape_secs(requests);
    out.host_cpu_pressure_ratio = facts.share_of_time(requests, "host_pressure_stall_seconds_total", |l| {
        l.contains(r#""resource":"cpu""#) && l.contains(r#""kind":"some""#)
    });
    out.host_steal_ratio = facts.steal_ratio(requests);
    out
}

/// Whether the server or a GPU was simulated.
pub(crate) fn is_simulated(record: &RunData) -> bool {
    record.manifest.simulated
        || record
            .series
            .iter()
            .any(|series| series.def.source.ends_with("-simulated"))
}

struct Facts<'a> {
    record: &'a RunData,
}

impl<'a> Facts<'a> {
    fn text(&self, key: &str) -> Option<String> {
        self.record
            .manifest
            .facts
            .get(key)
            .filter(|text| !text.is_empty())
            .cloned()
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.text(key)?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
    }

    fn named(&self, name: &'a str) -> impl Iterator<Item = &'a SeriesData> + use<'a> {
        totals::named(self.record, name)
    }

    /// Labels of the first series of a name, which carry facts.
    fn labels(&self, name: &'a str) -> BTreeMap<String, String> {
        self.named(name)
            .next()
            .map(|series| labels::parse(&series.def.labels))
            .unwrap_or_default()
    }

    /// As the harness named it; of a record that names none, by whether requests had a schedule.
    fn scenario(&self, requests: &[RequestTimes]) -> Scenario {
        match self.text("scenario").as_deref() {
            Some("Server") => Scenario::Server,
            Some("Interactive") => Scenario::Interactive,
            Some("Offline") => Scenario::Offline,
            Some("SingleStream") => Scenario::SingleStream,
            Some("MultiStream") => Scenario::MultiStream,
            _ if requests.iter().any(|request| request.scheduled_ns.is_some()) => Scenario::Server,
            _ => Scenario::Concurrency,
        }
    }

    /// Arguments that the harness recorded, and what the server itself says of its cache.
    fn server_arguments(&self) -> BTreeMap<String, String> {
        let recorded = self.record.manifest.facts.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(fact::SERVER_ARGUMENT)?.to_owned(), value.clone()))
        });
        let cache = self.labels("vllm:cache_config_info");
        let reported = CACHE_SETTINGS
            .iter()
            .filter_map(|(label, argument)| Some(((*argument).to_owned(), cache.get(*label)?.clone())));
        // What the server says of itself is the value in effect.
        recorded.chain(reported).collect()
    }

    /// Name by index.
    fn gpus(&self) -> BTreeMap<String, String> {
        self.record
            .series
            .iter()
            .filter(|series| series.def.metric_name.starts_with("gpu_"))
            .filter_map(|series| {
                let mut labels = labels::parse(&series.def.labels);
                Some((labels.remove("gpu")?, labels.remove("name")?))
            })
            .collect()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let gpu = self.labels("gpu_info");
        let host = self.labels("host_info");
        let governor = self.labels("host_cpu_governor_info");
        [
            ("driver", gpu.get("driver_version")),
            ("kernel", host.get("kernel")),
            ("cpu", host.get("cpu_model")),
            ("cpus", host.get("cpus")),
            ("governor", governor.get("governor")),
            ("seed", self.record.manifest.facts.get("seed")),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.clone())))
        .collect()
    }

    /// Of all engines together.
    fn kv_capacity_tokens(&self) -> Option<f64> {
        self.named("vllm:cache_config_info")
            .map(|series| {
                let labels = labels::parse(&series.def.labels);
                let number = |name: &str| labels.get(name)?.parse::<f64>().ok();
                number("kv_cache_size_tokens")
                    .or_else(|| Some(number("num_gpu_blocks")? * number("block_size")?))
            })
            .sum::<Option<f64>>()
            .filter(|tokens| *tokens > 0.0)
    }

    /// What the control group grants, or else every processor of the host.
    fn client_cores(&self) -> Option<f64> {
        let granted = self
            .named("host_cgroup_cpu_limit_cores")
            .find(|series| series.def.labels.contains(r#""process":"self""#))
            .and_then(|series| series.values.last().copied());
        let all = || self.labels("host_info").get("cpus")?.parse::<f64>().ok();
        granted.or_else(all)
    }

    /// Whether every server is on the client's own host, by its address.
    fn loopback(&self) -> Option<bool> {
        let urls = self.text("server_url")?;
        let is_local = |url: &str| {
            let host = url.split_once("://").map_or(url, |(_, rest)| rest);
            ["localhost", "127.", "[::1]"]
                .iter()
                .any(|local| host.starts_with(local))
        };
        Some(urls.split(',').all(is_local))
    }

    /// Median of the scrapes before the first request; without any, not known.
    fn idle_scrape_secs(&self, requests: &[RequestTimes]) -> Option<f64> {
        let first_ns = requests.iter().map(|request| request.issued_ns).min()?;
        let mut idle: Vec<f64> = self
            .named("scrape_duration_seconds")
            .flat_map(|series| series.timestamps_ns.iter().zip(&series.values))
            .filter(|(time, secs)| **time < first_ns && secs.is_finite())
            .map(|(_, secs)| *secs)
            .collect();
        idle.sort_by(f64::total_cmp);
        vllm_metrics::derive::quantile::of_sorted(&idle, 0.5)
    }

    /// What a counter of seconds grew by while requests were underway, over that time.
    fn share_of_time(
        &self,
        requests: &[RequestTimes],
        name: &'a str,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<f64> {
        let from_ns = requests.iter().map(|request| request.issued_ns).min()?;
        let to_ns = requests.iter().filter_map(|request| request.done_ns).max()?;
        let mut found = false;
        let (mut grown, mut observed_ns) = (0.0, 0);
        for series in self.named(name).filter(|series| wanted(&series.def.labels)) {
            found = true;
            for step in counter::steps(&series.timestamps_ns, &series.values) {
                if step.start_ns >= from_ns && step.end_ns <= to_ns {
                    grown += step.increase;
                    observed_ns += step.end_ns - step.start_ns;
                }
            }
        }
        (found && observed_ns > 0).then(|| grown / (observed_ns as f64 / 1e9))
    }

    fn steal_ratio(&self, requests: &[RequestTimes]) -> Option<f64> {
        const NAME: &str = "host_cpu_seconds_total";
        let steal = self.share_of_time(requests, NAME, |labels| labels.contains(r#""steal""#))?;
        let modes = self.named(NAME).count() as f64;
        let all = self.share_of_time(requests, NAME, |_| true)? * modes;
        (all > 0.0).then(|| steal / all)
    }
}
