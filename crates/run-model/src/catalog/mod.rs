//! Known metrics by name: vLLM's by version, those of other exporters, and names that documents promise but
//! no server exports. Only data and lookups: series that are in no table are stored all the same.
//!
//! ```
//! use run_model::catalog::{self, Version};
//!
//! let entry = catalog::vllm_entry("vllm:time_to_first_token_seconds_bucket").expect("a well-known name");
//! assert_eq!((entry.name, entry.unit), ("vllm:time_to_first_token_seconds", "seconds"));
//!
//! let seen = ["vllm:gpu_cache_usage_perc", "vllm:num_requests_running"];
//! let drift = catalog::drift(Some(Version::new(0, 8, 5)), seen);
//! assert!(drift.renamed.is_empty(), "at 0.8.5 the older name is the right one");
//! ```

mod adds_up;
mod blanks;
mod drift;
mod exporters;
mod promised;
mod version;
mod vllm;

pub use adds_up::{AddsUp, adds_up};
pub use blanks::{blank, may_be_blank};
pub use drift::{Drift, Renamed, Unexpected, Why, drift};
pub use exporters::{Exported, Exporter, exported, exporters, names_of};
pub use promised::{PROMISED, PromisedMetric, Source, promised};
pub use version::{NotAVersion, Span, Version};
pub use vllm::{Entry, Presence, vllm_entries, vllm_entry};

use crate::model::MetricType;

/// Returns the unit in which samples of this name are exposed, empty if the name has none. `None` if no table
/// contains the name.
///
/// Also `None` if the unit is not a base unit (DCGM's MiB, AMD's MB): see [`exported`] for the factor.
pub fn unit_of(sample_name: &str) -> Option<&'static str> {
    let (entry_name, metric_type, unit) = match vllm_entry(sample_name) {
        Some(entry) => (entry.name, entry.metric_type, entry.unit),
        None => {
            let exported = exported(sample_name).filter(|e| e.factor == 1.0)?;
            (exported.name, exported.metric_type, exported.unit)
        }
    };
    let is_count = metric_type == MetricType::Histogram
        && matches!(sample_name.strip_prefix(entry_name), Some("_bucket" | "_count"));
    Some(if is_count { "" } else { unit })
}

/// Possible family names of a sample, one for each suffix that the formats add.
fn stems(sample_name: &str) -> impl Iterator<Item = (&str, &'static str)> {
    ["_bucket", "_sum", "_count", "_created", "_total"]
        .into_iter()
        .filter_map(move |suffix| Some((sample_name.strip_suffix(suffix)?, suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_role_of_the_sample() {
        for (name, unit) in [
            ("vllm:time_to_first_token_seconds_sum", Some("seconds")),
            ("vllm:time_to_first_token_seconds_bucket", Some("")),
            ("vllm:time_to_first_token_seconds_count", Some("")),
            ("vllm:num_requests_running", Some("requests")),
            ("vllm:generation_tokens_total", Some("tokens")),
            ("node_load1", Some("tasks")),
            ("DCGM_FI_DEV_FB_USED", None),
            ("something_else", None),
        ] {
            assert_eq!(unit_of(name), unit, "{name}");
        }
    }
}
