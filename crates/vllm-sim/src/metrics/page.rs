//! The text of `/metrics`: the catalogue's families, and those of the process and the HTTP layer, as in vLLM
//! 0.32.

use exposition::{FamilyHeader, Format, Kind, Role, SampleLine, Writer, format_float};

use super::catalog::{FAMILIES, Family, Read, Source};
use super::http_stats::RouteStats;
use super::{HttpStats, ProcessFigures};
use crate::config::EngineConfig;
use crate::engine::EngineStats;
use crate::histogram::Histogram;

/// The content type of the page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The data of one page.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) model: &'a str,
    pub(crate) config: &'a EngineConfig,
    pub(crate) engines: &'a [EngineStats],
    pub(crate) http: &'a HttpStats,
    /// Requests rejected by the limit on unfinished requests, and by the limit on tokens in prefill.
    pub(crate) rejections: [u64; 2],
    /// Wall time at which the counters started at 0, in seconds.
    pub(crate) started_secs: f64,
    /// Figures of the process; `None` in virtual time.
    pub(crate) process: Option<ProcessFigures>,
}

/// Renders a page in Prometheus text format 0.0.4.
pub(crate) fn render(snapshot: &Snapshot<'_>) -> String {
    let engines = (0..snapshot.engines.len())
        .map(|engine| engine.to_string())
        .collect();
    let mut page = Page {
        snapshot,
        engines,
        writer: Writer::new(Format::Text),
    };
    page.process();
    for family in FAMILIES {
        page.engine_family(family);
    }
    page.http();
    page.writer.finish()
}

type Labels<'l> = Vec<(&'l str, &'l str)>;

struct Page<'a> {
    snapshot: &'a Snapshot<'a>,
    /// The engines' numbers as label values.
    engines: Vec<String>,
    writer: Writer,
}

impl<'a> Page<'a> {
    fn process(&mut self) {
        let figures = self.snapshot.process;
        // With a serial front end, this is the API process whose CPU time vLLM reports.
        let front_end = self.snapshot.config.front_end_serial.then(|| {
            let busy: u64 = self
                .snapshot
                .engines
                .iter()
                .map(|engine| engine.front_end_busy_ns)
                .sum();
            busy as f64 / 1e9
        });
        let mut one = |name: &str, kind, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                family(&mut self.writer, name, kind, help);
                sample(&mut self.writer, Role::Value, &[], value);
            }
        };
        let started = Some(self.snapshot.started_secs);
        one(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Address space of the simulator.",
            figures.map(|f| f.virtual_bytes),
        );
        one(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory the simulator holds.",
            figures.map(|f| f.resident_bytes),
        );
        one(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the simulated server started.",
            started,
        );
        one(
            "process_cpu_seconds_total",
            Kind::Counter,
            match front_end {
                Some(_) => "CPU time of the simulated front end.",
                None => "CPU time the simulator has used.",
            },
            front_end.or(figures.map(|f| f.cpu_secs)),
        );
        one(
            "process_open_fds",
            Kind::Gauge,
            "Files and sockets the simulator has open.",
            figures.map(|f| f.open_fds),
        );
        one(
            "process_max_fds",
            Kind::Gauge,
            "Files and sockets the simulator may open.",
            figures.map(|f| f.max_fds),
        );
    }

    fn engine_family(&mut self, (name, help, source): &Family) {
        let snapshot = self.snapshot;
        let total = format!("{name}_total");
        match *source {
            Source::Gauge(read) => {
                family(&mut self.writer, name, Kind::Gauge, help);
                self.per_engine(Role::Value, "", &[("", read)]);
            }
            Source::GaugeBy(label, parts) => {
                family(&mut self.writer, name, Kind::Gauge, help);
                self.per_engine(Role::Value, label, parts);
            }
            Source::Counter(read) => {
                family(&mut self.writer, &total, Kind::Counter, help);
                self.per_engine(Role::Total, "", &[("", read)]);
                self.created(name, help, "", &[("", read)]);
            }
            Source::CounterBy(label, parts) => {
                family(&mut self.writer, &total, Kind::Counter, help);
                self.per_engine(Role::Total, label, parts);
                self.created(name, help, label, parts);
            }
            Source::Rejections => {
                let reasons = ["max_num_queued_reqs", "max_num_queued_tokens"];
                let labels = |reason| [("model_name", snapshot.model), ("reason", reason)];
                family(&mut self.writer, &total, Kind::Counter, help);
                for (reason, count) in reasons.iter().zip(snapshot.rejections) {
                    sample(&mut self.writer, Role::Total, &labels(reason), count as f64);
                }
                family(&mut self.writer, &format!("{name}_created"), Kind::Gauge, help);
                for reason in reasons {
                    sample(
                        &mut self.writer,
                        Role::Value,
                        &labels(reason),
                        snapshot.started_secs,
                    );
                }
            }
            Source::Histogram(of) => {
                family(&mut self.writer, name, Kind::Histogram, help);
                for (engine, stats) in self.engines.iter().zip(snapshot.engines) {
                    histogram(
                        &mut self.writer,
                        &[("engine", engine), ("model_name", snapshot.model)],
                        of(stats),
                    );
                }
                self.created(name, help, "", &[("", |_| 0.0)]);
            }
            Source::CacheConfig => {
                family(&mut self.writer, name, Kind::Gauge, help);
                let facts = cache_facts(snapshot.config);
                for engine in &self.engines {
                    let mut labels: Labels<'_> = facts.iter().map(|(k, v)| (*k, v.as_str())).collect();
                    labels.push(("engine", engine));
                    labels.sort_unstable();
                    sample(&mut self.writer, Role::Value, &labels, 1.0);
                }
            }
        }
    }

    /// One sample per engine and part. Labels are sorted by name, as on the real page.
    fn per_engine(&mut self, role: Role, label: &str, parts: &[(&str, Read)]) {
        for (engine, stats) in self.engines.iter().zip(self.snapshot.engines) {
            for (part, read) in parts {
                let labels = engine_labels(engine, self.snapshot.model, label, part);
                sample(&mut self.writer, role, &labels, read(stats));
            }
        }
    }

    /// The `_created` family that the Python client writes for each counter and histogram.
    fn created(&mut self, name: &str, help: &str, label: &str, parts: &[(&str, Read)]) {
        family(&mut self.writer, &format!("{name}_created"), Kind::Gauge, help);
        for engine in &self.engines {
            for (part, _) in parts {
                let labels = engine_labels(engine, self.snapshot.model, label, part);
                sample(&mut self.writer, Role::Value, &labels, self.snapshot.started_secs);
            }
        }
    }

    fn http(&mut self) {
        let http = self.snapshot.http;
        let out = &mut self.writer;
        let statuses = || {
            http.routes.iter().flat_map(|((handler, method), route)| {
                let labels = move |status| [("handler", *handler), ("method", *method), ("status", status)];
                route
                    .by_status
                    .iter()
                    .map(move |(status, count)| (labels(*status), *count, route.created_secs))
            })
        };
        let help = "HTTP requests answered.";
        family(out, "http_requests_total", Kind::Counter, help);
        for (labels, count, _) in statuses() {
            sample(out, Role::Total, &labels, count as f64);
        }
        family(out, "http_requests_created", Kind::Gauge, help);
        for (labels, _, created) in statuses() {
            sample(out, Role::Value, &labels, created);
        }

        http_sizes(
            out,
            http,
            "http_request_size_bytes",
            "Bytes of request bodies.",
            |r| r.request_bytes,
        );
        let help = "Bytes of answers that were not streamed.";
        http_sizes(out, http, "http_response_size_bytes", help, |r| r.response_bytes);

        let help = "From a request's head to its answer's end, in fine buckets.";
        family(out, "http_request_duration_highr_seconds", Kind::Histogram, help);
        histogram(out, &[], &http.fine);
        family(
            out,
            "http_request_duration_highr_seconds_created",
            Kind::Gauge,
            help,
        );
        sample(out, Role::Value, &[], self.snapshot.started_secs);

        let help = "From a request's head to its answer's end, by route.";
        family(out, "http_request_duration_seconds", Kind::Histogram, help);
        for ((handler, method), route) in &http.routes {
            histogram(out, &[("handler", handler), ("method", method)], &route.duration);
        }
        family(out, "http_request_duration_seconds_created", Kind::Gauge, help);
        for ((handler, method), route) in &http.routes {
            sample(
                out,
                Role::Value,
                &[("handler", handler), ("method", method)],
                route.created_secs,
            );
        }
    }
}

fn engine_labels<'l>(engine: &'l str, model: &'l str, label: &'l str, part: &'l str) -> Labels<'l> {
    let mut labels = vec![("engine", engine), ("model_name", model)];
    if !label.is_empty() {
        labels.push((label, part));
        labels.sort_unstable();
    }
    labels
}

/// The real page has one series per handler, for all its methods together.
fn http_sizes(out: &mut Writer, http: &HttpStats, name: &str, help: &str, bytes: fn(&RouteStats) -> u64) {
    let mut handlers: Vec<(&str, u64, u64, f64)> = Vec::new();
    for ((handler, _), route) in &http.routes {
        match handlers.last_mut().filter(|last| last.0 == *handler) {
            Some(last) => {
                last.1 += route.count;
                last.2 += bytes(route);
            }
            None => handlers.push((handler, route.count, bytes(route), route.created_secs)),
        }
    }
    family(out, name, Kind::Summary, help);
    for (handler, count, sum, _) in &handlers {
        sample(out, Role::Count, &[("handler", handler)], *count as f64);
        sample(out, Role::Sum, &[("handler", handler)], *sum as f64);
    }
    family(out, &format!("{name}_created"), Kind::Gauge, help);
    for (handler, _, _, created) in &handlers {
        sample(out, Role::Value, &[("handler", handler)], *created);
    }
}

/// Features that are not simulated are reported as absent, in the real server's form.
fn cache_facts(config: &EngineConfig) -> Vec<(&'static str, String)> {
    let tokens = u64::from(config.block_size) * u64::from(config.num_gpu_blocks);
    let concurrency = tokens as f64 / f64::from(config.max_model_len);
    let truth = |value: bool| if value { "True" } else { "False" };
    let mut facts = vec![
        ("block_size", config.block_size.to_string()),
        ("effective_attention_block_size", config.block_size.to_string()),
        (
            "enable_prefix_caching",
            truth(config.enable_prefix_caching).to_owned(),
        ),
        ("kv_cache_max_concurrency", format_float(concurrency)),
        ("kv_cache_size_tokens", tokens.to_string()),
        ("num_gpu_blocks", config.num_gpu_blocks.to_string()),
    ];
    let fixed = [
        ("True", ["_block_size_resolved", "swa_bounded_replay"].as_slice()),
        (
            "False",
            &[
                "enable_mamba_shared_prefix_checkpoint",
                "is_attention_free",
                "kv_sharing_fast_prefill",
                "use_kda_recoverssm",
                "use_replayssm",
                "user_specified_block_size",
            ],
        ),
        (
            "None",
            &[
                "cache_hit_alignment_tokens",
                "hash_block_size",
                "kv_cache_layout",
                "kv_cache_memory_bytes",
                "kv_offloading_size",
                "mamba_block_size",
                "mamba_page_size_padded",
                "num_cpu_blocks",
                "num_gpu_blocks_override",
                "prefix_match_unit",
                "skip_page_size_padded",
                "sliding_window",
            ],
        ),
        ("auto", &["cache_dtype", "mamba_cache_dtype"]),
        ("0.92", &["gpu_memory_utilization"]),
        ("[]", &["kv_cache_dtype_skip_layers"]),
        ("native", &["kv_offloading_backend"]),
        ("none", &["mamba_cache_mode"]),
        ("float32", &["mamba_ssm_cache_dtype"]),
        ("0", &["prefix_cache_retention_interval"]),
        ("sha256", &["prefix_caching_hash_algo"]),
        ("16", &["replayssm_buffer_len"]),
    ];
    for (value, names) in fixed {
        facts.extend(names.iter().map(|name| (*name, value.to_owned())));
    }
    facts
}

fn family(out: &mut Writer, name: &str, kind: Kind, help: &str) {
    out.family(&FamilyHeader {
        help: Some(help),
        ..FamilyHeader::new(name, kind)
    })
    .expect("the catalogue's names are not empty");
}

fn sample(out: &mut Writer, role: Role, labels: &[(&str, &str)], value: f64) {
    out.sample(&SampleLine {
        labels,
        ..SampleLine::new(role, value)
    })
    .expect("the role is one of the family's kind");
}

fn histogram(out: &mut Writer, labels: &[(&str, &str)], histogram: &Histogram) {
    let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(histogram.cumulative()) {
        let bound = format_float(bound);
        let mut labels = labels.to_vec();
        labels.push(("le", &bound));
        labels.sort_unstable();
        sample(out, Role::Bucket, &labels, count as f64);
    }
    sample(out, Role::Count, labels, histogram.count() as f64);
    sample(out, Role::Sum, labels, histogram.sum());
}
