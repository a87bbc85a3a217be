//! Client-side times of the requests, the server's share of them, and goodput.

use serde_json::{Map, Value, json};
use vllm_metrics::derive::goodput::{self, Limits};
use vllm_metrics::derive::join::{self, Joined};
use vllm_metrics::derive::latency;
use vllm_metrics::{Outcome, RequestRow, TimeSource};

use super::secs;
use crate::failures;
use crate::query::View;
use crate::stats::{self, Stats};

/// Client-side times of the requests; exact, since every request is known. Null without request rows.
pub(super) fn of(view: &View<'_>) -> Value {
    let rows = &view.run.requests[..];
    if rows.is_empty() {
        return Value::Null;
    }
    let count = |outcome: Outcome| rows.iter().filter(|r| r.outcome == outcome).count();
    let done: Vec<&RequestRow> = rows.iter().filter(|r| r.outcome == Outcome::Completed).collect();
    let seconds = |of: fn(&RequestRow) -> Option<f64>| {
        Stats::of_observations(&done.iter().filter_map(|r| of(r)).collect::<Vec<_>>())
    };
    // If no row has a value, the sum is unknown, not 0.
    let tokens = |of: &dyn Fn(&RequestRow) -> Option<u32>| -> Option<u64> {
        done.iter()
            .filter_map(|r| of(r))
            .map(u64::from)
            .reduce(|sum, count| sum + count)
    };
    json!({
        "count": rows.len(),
        "completed": count(Outcome::Completed),
        "failed": count(Outcome::Failed),
        "unfinished": count(Outcome::Unfinished),
        "prompt_tokens": tokens(&|r| r.prompt_tokens),
        "output_tokens": tokens(&|r| r.output_tokens),
        "definitions": {
            "ttft_scheduled_seconds": "scheduled by the load generator to first token; what LoadGen judges",
            "ttft_sent_seconds": "sent to first token",
            "tpot_seconds": "(done - first token) / (output tokens - 1)",
            "latency_scheduled_seconds": "scheduled by the load generator to done; what LoadGen judges",
            "latency_sent_seconds": "sent to done",
            "client_queue_seconds": "issued to sent",
        },
        "ttft_scheduled_seconds": seconds(latency::ttft_scheduled_secs),
        "ttft_sent_seconds": seconds(latency::ttft_sent_secs),
        "tpot_seconds": seconds(latency::tpot_secs),
        "latency_scheduled_seconds": seconds(latency::latency_scheduled_secs),
        "latency_sent_seconds": seconds(latency::latency_sent_secs),
        "client_queue_seconds": seconds(latency::client_queue_secs),
        "failures": failures(rows),
        "server_times": server_times(view.analysis.joined()),
    })
}

/// Failed requests by reason.
fn failures(rows: &[RequestRow]) -> Value {
    let kinds = failures::by_kind(rows);
    Value::Object(
        kinds
            .iter()
            .map(|(kind, times)| (kind.clone(), Value::from(times.len())))
            .collect(),
    )
}

/// The server's share of the requests' times: as it reported them, or estimated where it did not.
fn server_times(joined: &Joined) -> Value {
    let of = |source: TimeSource, ending: &str| {
        let rows = || {
            joined
                .requests
                .iter()
                .filter(move |r| r.server_time_source == Some(source))
        };
        let stats = |of: &dyn Fn(&RequestRow) -> Option<f64>| {
            json!(Stats::of_observations(&rows().filter_map(of).collect::<Vec<_>>()))
        };
        let mut entry = Map::new();
        entry.insert("count".into(), Value::from(rows().count()));
        entry.insert(
            format!("queue_seconds{ending}"),
            stats(&|r| r.server_queue_ns.map(secs)),
        );
        entry.insert(
            format!("prefill_seconds{ending}"),
            stats(&|r| r.server_prefill_ns.map(secs)),
        );
        entry.insert(
            format!("decode_seconds{ending}"),
            stats(&|r| r.server_decode_ns.map(secs)),
        );
        entry.insert(
            format!("outside_engine_seconds{ending}"),
            stats(&join::outside_engine_secs),
        );
        Value::Object(entry)
    };
    let means = joined.means.map(|means| {
        json!({
            "count": means.requests,
            "queue_seconds": means.queue_secs,
            "prefill_seconds": means.prefill_secs,
            "decode_seconds": means.decode_secs,
            "outside_engine_seconds": means.outside_engine_secs,
        })
    });
    json!({
        "means": means,
        "means_unavailable": joined.no_means,
        "reported": of(TimeSource::Server, ""),
        "estimated": of(TimeSource::Estimate, "_estimate"),
        "unknown": joined.unknown,
        "several_servers": joined.several_servers,
        "definitions": {
            "means": "over all completed requests, from the sums and counts of the server's histograms",
            "estimated": "requests that were the only one to finish between two scrapes; their own times",
            "prefill_seconds": "scheduled to first token, inside the engine",
            "outside_engine_seconds": "client's sent to done, less queue, prefill and decode: network, HTTP, tokenizer",
        },
    })
}

pub(super) fn goodput_of(rows: &[RequestRow], limits: &Limits) -> Value {
    let got = goodput::count(rows, limits);
    json!({
        "limits": {
            "ttft_secs": limits.ttft_secs,
            "tpot_secs": limits.tpot_secs,
            "e2e_secs": limits.e2e_secs,
        },
        "requests": got.requests,
        "good": got.good,
        "duration_secs": got.duration_secs,
        "requests_per_second": stats::number(got.per_second()),
        "ratio": stats::number(got.ratio()),
    })
}
