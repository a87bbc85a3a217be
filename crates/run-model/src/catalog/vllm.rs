//! vLLM's own metrics by version, from `vllm.csv` next to this file.
//!
//! Names are those of the text format, so counters end in `_total`. `first` and `gone` are the first releases
//! with and without a metric; `a..b` means somewhere between the two, as far as public sources show. `when`
//! is the condition for exporting it; empty means always. `now` is the name of its replacement.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::stems;
use super::version::{Span, Version};
use crate::model::MetricType;

const TABLE: &str = include_str!("vllm.csv");

/// One metric family of vLLM.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name of the family in the text format.
    pub name: &'static str,
    /// Type of the family.
    pub metric_type: MetricType,
    /// Unit of its values; empty for info families.
    pub unit: &'static str,
    /// First release that exports it. [`Version::OLDEST`] means that release or any older one.
    pub first: Span,
    /// First release that no longer exports it by default, if any.
    pub gone: Option<Span>,
    /// The feature or option that it requires; empty if a server always exports it.
    pub when: &'static str,
    /// Name of the equivalent metric in newer releases.
    pub now: Option<&'static str>,
    /// Description.
    pub meaning: &'static str,
}

/// Whether a release exports a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Presence {
    /// Yes, unconditionally.
    Always,
    /// Yes, under the condition in [`Entry::when`].
    Conditional,
    /// Not known: the release is within a [`Span`].
    Uncertain,
    /// It was added later.
    NotYet,
    /// It was removed earlier.
    Gone,
}

impl Entry {
    /// Whether a server of this version exports it.
    pub fn presence(&self, version: Version) -> Presence {
        if self.first.earliest > Version::OLDEST && version < self.first.earliest {
            return Presence::NotYet;
        }
        if self.gone.is_some_and(|gone| version >= gone.latest) {
            return Presence::Gone;
        }
        let came = version >= self.first.latest || self.first.latest == Version::OLDEST;
        let stays = self.gone.is_none_or(|gone| version < gone.earliest);
        match (came && stays, self.when.is_empty()) {
            (false, _) => Presence::Uncertain,
            (true, true) => Presence::Always,
            (true, false) => Presence::Conditional,
        }
    }
}

struct Catalog {
    entries: Vec<Entry>,
    by_name: HashMap<&'static str, usize>,
}

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let entries: Vec<Entry> = TABLE.lines().skip(1).map(parse).collect();
        let by_name = entries
            .iter()
            .enumerate()
            .map(|(i, entry)| (entry.name, i))
            .collect();
        Catalog { entries, by_name }
    })
}

fn parse(line: &'static str) -> Entry {
    let fields: Vec<&'static str> = line.splitn(8, ',').collect();
    let [name, kind, unit, first, gone, when, now, meaning] = fields[..] else {
        unreachable!("a test counts the fields of every line of vllm.csv")
    };
    let span = |text: &str| {
        text.parse::<Span>()
            .expect("a test reads every version in vllm.csv")
    };
    Entry {
        name,
        metric_type: MetricType::from_text(kind).expect("a test reads every kind in vllm.csv"),
        unit,
        first: span(first),
        gone: (!gone.is_empty()).then(|| span(gone)),
        when,
        now: (!now.is_empty()).then_some(now),
        meaning,
    }
}

/// Every metric that any release from 0.6 to 0.32 exports or exported, under whatever condition.
pub fn vllm_entries() -> &'static [Entry] {
    &catalog().entries
}

/// Returns the entry of a sample or family name, with or without histogram suffixes, `_created`, and the
/// `_total` of counters, since client libraries differ there.
pub fn vllm_entry(name: &str) -> Option<&'static Entry> {
    let Catalog { entries, by_name } = catalog();
    let get = |name: &str| by_name.get(name).map(|&i| &entries[i]);
    if let Some(entry) = get(name).or_else(|| get(&format!("{name}_total"))) {
        return Some(entry);
    }
    stems(name).find_map(|(stem, suffix)| match suffix {
        "_created" => get(stem).or_else(|| get(&format!("{stem}_total"))),
        "_total" => None,
        _ => get(stem).filter(|entry| entry.metric_type == MetricType::Histogram),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let entries = vllm_entries();
        assert_eq!(catalog().by_name.len(), entries.len(), "a name stands twice");
        for entry in entries {
            assert!(entry.name.starts_with("vllm:"), "{}", entry.name);
            assert!(!entry.meaning.is_empty(), "{}", entry.name);
            assert!(entry.first.earliest <= entry.first.latest, "{}", entry.name);
            assert!(entry.first.latest <= Version::NEWEST, "{}", entry.name);
            if let Some(gone) = entry.gone {
                assert!(
                    entry.first.earliest < gone.latest && gone.earliest <= gone.latest,
                    "{}",
                    entry.name
                );
            }
            if let Some(now) = entry.now {
                let now = vllm_entry(now).unwrap_or_else(|| panic!("{now} is not in the table"));
                assert_eq!(
                    (now.metric_type, now.unit, now.now),
                    (entry.metric_type, entry.unit, None)
                );
            }
            let is_total = entry.name.ends_with("_total");
            assert!(
                entry.metric_type != MetricType::Counter || is_total,
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn names_are_found_with_any_ending() {
        for (name, expected) in [
            ("vllm:num_requests_running", Some("vllm:num_requests_running")),
            ("vllm:prompt_tokens", Some("vllm:prompt_tokens_total")),
            ("vllm:prompt_tokens_total", Some("vllm:prompt_tokens_total")),
            ("vllm:prompt_tokens_created", Some("vllm:prompt_tokens_total")),
            ("vllm:iteration_tokens_total", Some("vllm:iteration_tokens_total")),
            (
                "vllm:iteration_tokens_total_bucket",
                Some("vllm:iteration_tokens_total"),
            ),
            (
                "vllm:iteration_tokens_total_created",
                Some("vllm:iteration_tokens_total"),
            ),
            ("vllm:num_requests_running_sum", None),
            ("vllm:invented", None),
        ] {
            assert_eq!(vllm_entry(name).map(|entry| entry.name), expected, "{name}");
        }
    }

    #[test]
    fn presence_by_version() {
        let check = |name: &str, version: &str, expected: Presence| {
            let version = version.parse().expect("a version");
            assert_eq!(
                vllm_entry(name).expect(name).presence(version),
                expected,
                "{name} at {version}"
            );
        };
        check("vllm:num_requests_running", "0.5.0", Presence::Always);
        check("vllm:num_requests_running", "0.40.0", Presence::Always);
        check("vllm:kv_cache_usage_perc", "0.9.0", Presence::NotYet);
        check("vllm:kv_cache_usage_perc", "0.9.1", Presence::Uncertain);
        check("vllm:kv_cache_usage_perc", "0.10.0", Presence::Always);
        check("vllm:gpu_cache_usage_perc", "0.10.1", Presence::Always);
        check("vllm:gpu_cache_usage_perc", "0.11.0", Presence::Uncertain);
        check("vllm:gpu_cache_usage_perc", "0.12.0", Presence::Gone);
        check("vllm:lora_requests_info", "0.32.0", Presence::Conditional);
    }
}
