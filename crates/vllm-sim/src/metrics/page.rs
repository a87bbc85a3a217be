//! The text of `/metrics`: every `vllm:` family of a 0.32 page, in its order, with its types, labels and buckets.

use std::fmt::Write;

use super::{Histogram, HttpStats, process};
use crate::config::EngineConfig;
use crate::engine::{EngineStats, FinishReason};

/// Families of the recorded page that the simulator does not show, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "python_gc_objects_collected_total",
        "the simulator is no Python process",
    ),
    (
        "python_gc_objects_uncollectable_total",
        "the simulator is no Python process",
    ),
    (
        "python_gc_collections_total",
        "the simulator is no Python process",
    ),
    ("python_info", "the simulator is no Python process"),
];

/// Everything that one page shows.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) model: &'a str,
    pub(crate) config: &'a EngineConfig,
    pub(crate) engines: &'a [EngineStats],
    pub(crate) http: &'a HttpStats,
    /// Requests refused for too many unfinished ones, and for too many tokens in prefill.
    pub(crate) rejections: [u64; 2],
    /// Wall time at which the counters started from 0, in seconds.
    pub(crate) started_secs: f64,
}

/// Renders a page in Prometheus text format 0.0.4.
pub(crate) fn render(snapshot: &Snapshot<'_>) -> String {
    let mut page = Page::new(snapshot);
    page.process();
    page.engine_load();
    page.token_counters();
    page.outcomes();
    page.request_sizes();
    page.latencies();
    page.cache_config();
    page.http();
    page.out
}

struct Page<'a> {
    snapshot: &'a Snapshot<'a>,
    /// `model_name="…"`, escaped once.
    model: String,
    out: String,
}

type PerEngine<'f> = &'f dyn Fn(&EngineStats) -> f64;
type HistogramOf = fn(&EngineStats) -> &Histogram;

impl<'a> Page<'a> {
    fn new(snapshot: &'a Snapshot<'a>) -> Self {
        let model = format!("model_name=\"{}\"", escape_label(snapshot.model));
        Self {
            snapshot,
            model,
            out: String::with_capacity(64 * 1024),
        }
    }

    fn process(&mut self) {
        let figures = process::read();
        let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                family(&mut self.out, name, kind, help);
                sample(&mut self.out, name, "", value);
            }
        };
        gauge(
            "process_virtual_memory_bytes",
            "gauge",
            "Address space of the simulator.",
            figures.map(|f| f.virtual_bytes),
        );
        gauge(
            "process_resident_memory_bytes",
            "gauge",
            "Memory the simulator holds.",
            figures.map(|f| f.resident_bytes),
        );
        gauge(
            "process_start_time_seconds",
            "gauge",
            "When the simulated server started.",
            Some(self.snapshot.started_secs),
        );
        gauge(
            "process_cpu_seconds_total",
            "counter",
            "CPU time the simulator has used.",
            figures.map(|f| f.cpu_secs),
        );
        gauge(
            "process_open_fds",
            "gauge",
            "Files and sockets the simulator has open.",
            figures.map(|f| f.open_fds),
        );
        gauge(
            "process_max_fds",
            "gauge",
            "Files and sockets the simulator may open.",
            figures.map(|f| f.max_fds),
        );
    }

    fn engine_load(&mut self) {
        for (what, help) in [
            (
                "vllm:estimated_flops_per_gpu",
                "Operations per GPU by the model's arithmetic; stays 0, not simulated.",
            ),
            (
                "vllm:estimated_read_bytes_per_gpu",
                "Bytes read per GPU by the model's arithmetic; stays 0, not simulated.",
            ),
            (
                "vllm:estimated_write_bytes_per_gpu",
                "Bytes written per GPU by the model's arithmetic; stays 0, not simulated.",
            ),
        ] {
            self.counter(what, help, &|_| 0.0);
        }
        self.gauge("vllm:num_requests_running", "Requests in the batch.", &|s| {
            s.running as f64
        });
        self.gauge("vllm:num_requests_waiting", "Requests in the queue.", &|s| {
            s.waiting as f64
        });
        self.gauge_by(
            "vllm:num_requests_waiting_by_reason",
            "Requests in the queue, by what they wait for.",
            "reason",
            &[("capacity", &|s| s.waiting as f64), ("deferred", &|_| 0.0)],
        );
        self.gauge_by(
            "vllm:engine_sleep_state",
            "1 for the state the engine is in.",
            "sleep_state",
            &[
                ("awake", &|_| 1.0),
                ("weights_offloaded", &|_| 0.0),
                ("discard_all", &|_| 0.0),
            ],
        );
        self.gauge(
            "vllm:kv_cache_usage_perc",
            "Share of KV blocks in use, 0 to 1.",
            &|s| s.kv_usage,
        );
    }

    fn token_counters(&mut self) {
        self.counter(
            "vllm:prefix_cache_queries",
            "Tokens looked up in the prefix cache.",
            &|s| s.prefix_queries as f64,
        );
        self.counter(
            "vllm:prefix_cache_hits",
            "Tokens found in the prefix cache.",
            &|s| s.prefix_hits as f64,
        );
        self.counter(
            "vllm:external_prefix_cache_queries",
            "Tokens looked up in another server's cache; none here.",
            &|_| 0.0,
        );
        self.counter(
            "vllm:external_prefix_cache_hits",
            "Tokens found in another server's cache; none here.",
            &|_| 0.0,
        );
        self.counter(
            "vllm:mm_cache_queries",
            "Items looked up in the multi-modal cache; none here.",
            &|_| 0.0,
        );
        self.counter(
            "vllm:mm_cache_hits",
            "Items found in the multi-modal cache; none here.",
            &|_| 0.0,
        );
        self.counter(
            "vllm:num_preemptions",
            "Times a running request was put back.",
            &|s| s.preemptions as f64,
        );
        self.counter(
            "vllm:prompt_tokens",
            "Prompt tokens of requests that got their first token.",
            &|s| s.prompt_tokens as f64,
        );
        self.counter_by(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens by where their keys and values came from.",
            "source",
            &[
                ("local_compute", &|s| {
                    (s.prompt_tokens - s.prompt_tokens_cached) as f64
                }),
                ("local_cache_hit", &|s| s.prompt_tokens_cached as f64),
                ("external_kv_transfer", &|_| 0.0),
            ],
        );
        self.counter(
            "vllm:prompt_tokens_cached",
            "Prompt tokens that needed no compute.",
            &|s| s.prompt_tokens_cached as f64,
        );
        self.counter_by(
            "vllm:prompt_tokens_cached_by_source",
            "Prompt tokens that needed no compute, by the cache that had them.",
            "source",
            &[
                ("device", &|s| s.prompt_tokens_cached as f64),
                ("host", &|_| 0.0),
                ("p2p", &|_| 0.0),
                ("disk", &|_| 0.0),
                ("external_unspecified", &|_| 0.0),
            ],
        );
        self.counter("vllm:generation_tokens", "Tokens generated.", &|s| {
            s.generation_tokens as f64
        });
    }

    fn outcomes(&mut self) {
        let by_reason: Vec<_> = FinishReason::ALL
            .map(|reason| {
                (reason.as_str(), move |s: &EngineStats| {
                    s.finished[reason as usize] as f64
                })
            })
            .into();
        let parts: Vec<(&str, PerEngine<'_>)> = by_reason
            .iter()
            .map(|(name, f)| (*name, f as PerEngine<'_>))
            .collect();
        self.counter_by(
            "vllm:request_success",
            "Requests that ended, by why they did.",
            "finished_reason",
            &parts,
        );

        let name = "vllm:admission_rejections";
        let labels: Vec<String> = ["max_num_queued_reqs", "max_num_queued_tokens"]
            .iter()
            .map(|reason| format!("{},reason=\"{reason}\"", self.model))
            .collect();
        let help = "Requests refused at the door, by the limit they met.";
        family(&mut self.out, &format!("{name}_total"), "counter", help);
        for (labels, value) in labels.iter().zip(self.snapshot.rejections) {
            sample(
                &mut self.out,
                "vllm:admission_rejections_total",
                labels,
                value as f64,
            );
        }
        self.created(name, help, &labels);
    }

    fn request_sizes(&mut self) {
        let families: [(&str, &str, HistogramOf); 6] = [
            (
                "vllm:request_prompt_tokens",
                "Prompt tokens of a finished request.",
                |s| &s.request_prompt_tokens,
            ),
            (
                "vllm:request_generation_tokens",
                "Tokens generated by a finished request.",
                |s| &s.request_generation_tokens,
            ),
            (
                "vllm:iteration_tokens_total",
                "Tokens of one engine step that had output.",
                |s| &s.iteration_tokens,
            ),
            (
                "vllm:request_max_num_generation_tokens",
                "Longest output among a request's choices.",
                |s| &s.max_num_generation_tokens,
            ),
            ("vllm:request_params_n", "Choices a request asked for.", |s| {
                &s.params_n
            }),
            (
                "vllm:request_params_max_tokens",
                "Output tokens a request allowed.",
                |s| &s.params_max_tokens,
            ),
        ];
        self.histograms(&families);
    }

    fn latencies(&mut self) {
        let families: [(&str, &str, HistogramOf); 10] = [
            (
                "vllm:time_to_first_token_seconds",
                "From arrival to the first token.",
                |s| &s.time_to_first_token,
            ),
            (
                "vllm:inter_token_latency_seconds",
                "From one token of a request to its next.",
                |s| &s.inter_token_latency,
            ),
            (
                "vllm:request_time_per_output_token_seconds",
                "Mean time per token after a request's first.",
                |s| &s.time_per_output_token,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                "From arrival to the last token.",
                |s| &s.e2e_latency,
            ),
            (
                "vllm:request_queue_time_seconds",
                "From arrival to the first scheduling.",
                |s| &s.queue_time,
            ),
            (
                "vllm:request_inference_time_seconds",
                "From the first scheduling to the last token.",
                |s| &s.inference_time,
            ),
            (
                "vllm:request_prefill_time_seconds",
                "From the first scheduling to the first token.",
                |s| &s.prefill_time,
            ),
            (
                "vllm:request_decode_time_seconds",
                "From the first token to the last.",
                |s| &s.decode_time,
            ),
            (
                "vllm:request_num_preemptions",
                "Times a finished request was put back.",
                |s| &s.request_preemptions,
            ),
            (
                "vllm:request_prefill_kv_computed_tokens",
                "Prompt tokens a finished request had to compute.",
                |s| &s.prefill_kv_computed,
            ),
        ];
        self.histograms(&families);
    }

    fn cache_config(&mut self) {
        let config = self.snapshot.config;
        let tokens = u64::from(config.block_size) * u64::from(config.num_gpu_blocks);
        let concurrency = tokens as f64 / f64::from(config.max_model_len);
        let (block, blocks) = (config.block_size, config.num_gpu_blocks);
        let caching = if config.enable_prefix_caching {
            "True"
        } else {
            "False"
        };
        family(
            &mut self.out,
            "vllm:cache_config_info",
            "gauge",
            "How the KV cache is laid out; always 1.",
        );
        for engine in 0..self.snapshot.engines.len() {
            // What is not simulated is named as absent, in the server's own way of writing it.
            let labels = format!(
                "_block_size_resolved=\"True\",block_size=\"{block}\",cache_dtype=\"auto\",\
                 cache_hit_alignment_tokens=\"None\",effective_attention_block_size=\"{block}\",\
                 enable_mamba_shared_prefix_checkpoint=\"False\",enable_prefix_caching=\"{caching}\",\
                 engine=\"{engine}\",gpu_memory_utilization=\"0.92\",hash_block_size=\"None\",\
                 is_attention_free=\"False\",kv_cache_dtype_skip_layers=\"[]\",kv_cache_layout=\"None\",\
                 kv_cache_max_concurrency=\"{concurrency:?}\",kv_cache_memory_bytes=\"None\",\
                 kv_cache_size_tokens=\"{tokens}\",kv_offloading_backend=\"native\",kv_offloading_size=\"None\",\
                 kv_sharing_fast_prefill=\"False\",mamba_block_size=\"None\",mamba_cache_dtype=\"auto\",\
                 mamba_cache_mode=\"none\",mamba_page_size_padded=\"None\",mamba_ssm_cache_dtype=\"float32\",\
                 num_cpu_blocks=\"None\",num_gpu_blocks=\"{blocks}\",num_gpu_blocks_override=\"None\",\
                 prefix_cache_retention_interval=\"0\",prefix_caching_hash_algo=\"sha256\",\
                 prefix_match_unit=\"None\",replayssm_buffer_len=\"16\",skip_page_size_padded=\"None\",\
                 sliding_window=\"None\",swa_bounded_replay=\"True\",use_kda_recoverssm=\"False\",\
                 use_replayssm=\"False\",user_specified_block_size=\"False\""
            );
            sample(&mut self.out, "vllm:cache_config_info", &labels, 1.0);
        }
    }

    fn http(&mut self) {
        let http = self.snapshot.http;
        let help = "HTTP requests answered.";
        family(&mut self.out, "http_requests_total", "counter", help);
        let mut created = Vec::new();
        for ((handler, method), route) in &http.routes {
            for (status, count) in &route.by_status {
                let labels = format!("handler=\"{handler}\",method=\"{method}\",status=\"{status}\"");
                sample(&mut self.out, "http_requests_total", &labels, *count as f64);
                created.push((labels, route.created_secs));
            }
        }
        self.created_at("http_requests", help, &created);
        self.http_sizes("http_request_size_bytes", "Bytes of request bodies.", |r| {
            r.request_bytes
        });
        self.http_sizes(
            "http_response_size_bytes",
            "Bytes of answers that were not streamed.",
            |r| r.response_bytes,
        );

        let (name, help) = (
            "http_request_duration_highr_seconds",
            "From a request's head to its answer's end, fine buckets.",
        );
        family(&mut self.out, name, "histogram", help);
        histogram(&mut self.out, name, "", "", &http.fine);
        self.created(name, help, &[String::new()]);

        let (name, help) = (
            "http_request_duration_seconds",
            "From a request's head to its answer's end, by route.",
        );
        family(&mut self.out, name, "histogram", help);
        let mut created = Vec::new();
        for ((handler, method), route) in &http.routes {
            let (before, after) = (format!("handler=\"{handler}\""), format!("method=\"{method}\""));
            histogram(&mut self.out, name, &before, &after, &route.duration);
            created.push((format!("{before},{after}"), route.created_secs));
        }
        self.created_at(name, help, &created);
    }

    fn http_sizes(&mut self, name: &str, help: &str, bytes: fn(&super::http_stats::RouteStats) -> u64) {
        // The real page has one series per handler, all methods together.
        let mut handlers: Vec<(&str, u64, u64, f64)> = Vec::new();
        for ((handler, _), route) in &self.snapshot.http.routes {
            match handlers.last_mut().filter(|last| last.0 == *handler) {
                Some(last) => {
                    last.1 += route.count;
                    last.2 += bytes(route);
                }
                None => handlers.push((handler, route.count, bytes(route), route.created_secs)),
            }
        }
        family(&mut self.out, name, "summary", help);
        let mut created = Vec::new();
        for (handler, count, sum, at) in handlers {
            let labels = format!("handler=\"{handler}\"");
            sample(&mut self.out, &format!("{name}_count"), &labels, count as f64);
            sample(&mut self.out, &format!("{name}_sum"), &labels, sum as f64);
            created.push((labels, at));
        }
        self.created_at(name, help, &created);
    }

    fn engine_labels(&self, engine: usize) -> String {
        format!("engine=\"{engine}\",{}", self.model)
    }

    fn gauge(&mut self, name: &str, help: &str, value: PerEngine<'_>) {
        family(&mut self.out, name, "gauge", help);
        for (engine, stats) in self.snapshot.engines.iter().enumerate() {
            let labels = self.engine_labels(engine);
            sample(&mut self.out, name, &labels, value(stats));
        }
    }

    fn gauge_by(&mut self, name: &str, help: &str, label: &str, parts: &[(&str, PerEngine<'_>)]) {
        family(&mut self.out, name, "gauge", help);
        self.samples_by(name, label, parts);
    }

    fn counter(&mut self, name: &str, help: &str, value: PerEngine<'_>) {
        let total = format!("{name}_total");
        family(&mut self.out, &total, "counter", help);
        let labels: Vec<String> = (0..self.snapshot.engines.len())
            .map(|e| self.engine_labels(e))
            .collect();
        for (labels, stats) in labels.iter().zip(self.snapshot.engines) {
            sample(&mut self.out, &total, labels, value(stats));
        }
        self.created(name, help, &labels);
    }

    fn counter_by(&mut self, name: &str, help: &str, label: &str, parts: &[(&str, PerEngine<'_>)]) {
        let total = format!("{name}_total");
        family(&mut self.out, &total, "counter", help);
        let labels = self.samples_by(&total, label, parts);
        self.created(name, help, &labels);
    }

    /// One sample per engine and part; gives the label sets back.
    fn samples_by(&mut self, name: &str, label: &str, parts: &[(&str, PerEngine<'_>)]) -> Vec<String> {
        let mut all = Vec::new();
        for (engine, stats) in self.snapshot.engines.iter().enumerate() {
            for (part, value) in parts {
                // Label names are sorted, as the real page has them.
                let labels = if label < "model_name" {
                    format!("engine=\"{engine}\",{label}=\"{part}\",{}", self.model)
                } else {
                    format!("engine=\"{engine}\",{},{label}=\"{part}\"", self.model)
                };
                sample(&mut self.out, name, &labels, value(stats));
                all.push(labels);
            }
        }
        all
    }

    fn histograms(&mut self, families: &[(&str, &str, HistogramOf)]) {
        for (name, help, of) in families {
            family(&mut self.out, name, "histogram", help);
            let mut labels = Vec::new();
            for (engine, stats) in self.snapshot.engines.iter().enumerate() {
                histogram(
                    &mut self.out,
                    name,
                    &format!("engine=\"{engine}\""),
                    &self.model,
                    of(stats),
                );
                labels.push(self.engine_labels(engine));
            }
            self.created(name, help, &labels);
        }
    }

    /// The `_created` family that the Python client writes beside a counter, histogram or summary.
    fn created(&mut self, name: &str, help: &str, labels: &[String]) {
        let at = self.snapshot.started_secs;
        let stamped: Vec<(String, f64)> = labels.iter().map(|l| (l.clone(), at)).collect();
        self.created_at(name, help, &stamped);
    }

    fn created_at(&mut self, name: &str, help: &str, labels: &[(String, f64)]) {
        let name = format!("{name}_created");
        family(&mut self.out, &name, "gauge", help);
        for (labels, at) in labels {
            sample(&mut self.out, &name, labels, *at);
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value:?}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value:?}")
    };
}

/// `before` and `after` are the labels on either side of `le`.
fn histogram(out: &mut String, name: &str, before: &str, after: &str, histogram: &Histogram) {
    let join = |left: &str, right: &str| match (left.is_empty(), right.is_empty()) {
        (false, false) => format!("{left},{right}"),
        _ => format!("{left}{right}"),
    };
    let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(histogram.cumulative()) {
        let le = if bound.is_infinite() {
            "le=\"+Inf\"".to_owned()
        } else {
            format!("le=\"{bound:?}\"")
        };
        sample(
            out,
            &format!("{name}_bucket"),
            &join(&join(before, &le), after),
            count as f64,
        );
    }
    let labels = join(before, after);
    sample(out, &format!("{name}_count"), &labels, histogram.count() as f64);
    sample(out, &format!("{name}_sum"), &labels, histogram.sum());
}

fn escape_label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
