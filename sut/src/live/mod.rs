//! Feeds a screen: with a stored or growing record, or with a session of this process.

mod scraped;
mod stored;

use std::time::Duration;

use run_report::facts;
use run_terminal::{Limits, MissedUpdates, Output};
use vllm_metrics::Manifest;
use vllm_metrics::derive::goodput;
use vllm_metrics::{Filter, Session, Subscription};

pub(crate) use self::scraped::Scraped;
pub(crate) use self::stored::Stored;

/// How much of a run in progress is kept for figures and graphs.
pub(crate) const KEEP: Duration = Duration::from_secs(600);
/// Size of a view's queue. A scrape of a large page takes about 16 kB.
const QUEUE_BYTES: usize = 8 << 20;

/// Subscribes to everything that a session records.
pub(crate) fn subscribe(session: &Session) -> Subscription {
    session.recorder().subscribe(Filter::all(), QUEUE_BYTES)
}

/// What a subscription has missed so far.
pub(crate) fn missed(subscription: &Subscription) -> MissedUpdates {
    let dropped = subscription.dropped();
    MissedUpdates {
        samples: dropped.samples,
        rows: dropped.rows,
        events: dropped.events,
    }
}

/// Model, scenario and mode of a record, or its stamp.
pub(crate) fn title(manifest: &Manifest) -> String {
    let parts: Vec<&str> = ["model", "scenario", "mode"]
        .iter()
        .filter_map(|key| manifest.facts.get(*key).map(String::as_str))
        .collect();
    if parts.is_empty() {
        format!("run {}", manifest.stamp)
    } else {
        parts.join(", ")
    }
}

/// Version and address of the server.
pub(crate) fn server_facts(manifest: &Manifest) -> Vec<String> {
    let version = manifest
        .facts
        .get("server_version")
        .map(|version| format!("vLLM {version}"));
    let url = manifest.facts.get("server_url").cloned();
    version.into_iter().chain(url).collect()
}

/// The limits of latencies in a record's facts: LoadGen's, or those of the goodput.
pub(crate) fn limits(manifest: &Manifest) -> Limits {
    let number = |key: &str| manifest.facts.get(key)?.parse::<f64>().ok();
    let goodput = goodput::Limits::of_manifest(manifest).unwrap_or_default();
    Limits {
        ttft_secs: number(facts::TTFT_LIMIT).or(goodput.ttft_secs),
        tpot_secs: number(facts::TPOT_LIMIT).or(goodput.tpot_secs),
    }
}

/// Whether a screen can be shown there. If not, that is logged once, with the remedy.
pub(crate) fn can_show(output: Output) -> bool {
    match run_terminal::is_usable(output) {
        Ok(()) => true,
        Err(why) => {
            tracing::warn!("no screen is shown: {why}; progress is written as lines instead");
            false
        }
    }
}
