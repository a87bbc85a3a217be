//! The page with SGLang's names for the same numbers, for tests of collectors that claim to read both.
//!
//! Differences from vLLM's page that break collectors: no `engine` label (`dp_rank`, and only with several
//! engines), `_sum` before the buckets, a throughput gauge, and no `_created` families. Only the families
//! used by dashboards are included.

use exposition::{FamilyHeader, Format, Kind, Role, SampleLine, Writer, format_float};

use super::page::Snapshot;
use crate::engine::EngineStats;
use crate::histogram::Histogram;

type Read<'r> = &'r dyn Fn(&EngineStats) -> f64;
type HistogramOf = fn(&EngineStats) -> &Histogram;

/// Renders the page.
pub(crate) fn render(snapshot: &Snapshot<'_>) -> String {
    let config = snapshot.config;
    let capacity = config.usable_tokens() as f64;
    let hit_rate = |s: &EngineStats| {
        if s.prefix_queries == 0 {
            0.0
        } else {
            s.prefix_hits as f64 / s.prefix_queries as f64
        }
    };
    let mut page = Page {
        snapshot,
        out: Writer::new(Format::Text),
    };
    let families: [(&str, Kind, &str, Read<'_>); 11] = [
        ("num_running_reqs", Kind::Gauge, "Requests in the batch.", &|s| {
            s.running as f64
        }),
        ("num_used_tokens", Kind::Gauge, "KV slots in use.", &|s| {
            (s.kv_usage * capacity).round()
        }),
        (
            "max_total_num_tokens",
            Kind::Gauge,
            "KV slots there are.",
            &|_| capacity,
        ),
        (
            "token_usage",
            Kind::Gauge,
            "Share of KV slots in use, 0 to 1.",
            &|s| s.kv_usage,
        ),
        (
            "gen_throughput",
            Kind::Gauge,
            "Tokens per second over the last steps.",
            &|s| s.throughput,
        ),
        ("num_queue_reqs", Kind::Gauge, "Requests in the queue.", &|s| {
            s.waiting as f64
        }),
        (
            "cache_hit_rate",
            Kind::Gauge,
            "Share of looked-up tokens found in the prefix cache.",
            &hit_rate,
        ),
        (
            "prompt_tokens_total",
            Kind::Counter,
            "Prompt tokens processed.",
            &|s| s.prompt_tokens as f64,
        ),
        (
            "generation_tokens_total",
            Kind::Counter,
            "Tokens generated.",
            &|s| s.generation_tokens as f64,
        ),
        (
            "cached_tokens_total",
            Kind::Counter,
            "Prompt tokens from a cache.",
            &|s| s.prompt_tokens_cached as f64,
        ),
        (
            "num_requests_total",
            Kind::Counter,
            "Requests that ended.",
            &|s| s.finished.iter().sum::<u64>() as f64,
        ),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help);
        let role = if kind == Kind::Counter {
            Role::Total
        } else {
            Role::Value
        };
        page.each(|out, labels, stats| sample(out, role, labels, read(stats)));
    }
    let histograms: [(&str, &str, HistogramOf); 3] = [
        (
            "time_to_first_token_seconds",
            "From arrival to the first token.",
            |s| &s.time_to_first_token,
        ),
        (
            "inter_token_latency_seconds",
            "From one token of a request to its next.",
            |s| &s.inter_token_latency,
        ),
        (
            "e2e_request_latency_seconds",
            "From arrival to the last token.",
            |s| &s.e2e_latency,
        ),
    ];
    for (name, help, of) in histograms {
        page.family(name, Kind::Histogram, help);
        page.each(|out, labels, stats| histogram(out, labels, of(stats)));
    }
    page.out.finish()
}

struct Page<'a> {
    snapshot: &'a Snapshot<'a>,
    out: Writer,
}

impl Page<'_> {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let name = format!("sglang:{name}");
        self.out
            .family(&FamilyHeader {
                help: Some(help),
                ..FamilyHeader::new(&name, kind)
            })
            .expect("the names are not empty");
    }

    fn each(&mut self, mut write: impl FnMut(&mut Writer, &[(&str, &str)], &EngineStats)) {
        let several = self.snapshot.engines.len() > 1;
        for (rank, stats) in self.snapshot.engines.iter().enumerate() {
            let rank = rank.to_string();
            let model = ("model_name", self.snapshot.model);
            if several {
                write(&mut self.out, &[("dp_rank", &rank), model], stats);
            } else {
                write(&mut self.out, &[model], stats);
            }
        }
    }
}

fn sample(out: &mut Writer, role: Role, labels: &[(&str, &str)], value: f64) {
    out.sample(&SampleLine {
        labels,
        ..SampleLine::new(role, value)
    })
    .expect("the role is one of the family's kind");
}

fn histogram(out: &mut Writer, labels: &[(&str, &str)], histogram: &Histogram) {
    sample(out, Role::Sum, labels, histogram.sum());
    let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(histogram.cumulative()) {
        let bound = format_float(bound);
        let labels: Vec<_> = [("le", bound.as_str())]
            .into_iter()
            .chain(labels.iter().copied())
            .collect();
        sample(out, Role::Bucket, &labels, count as f64);
    }
    sample(out, Role::Count, labels, histogram.count() as f64);
}
