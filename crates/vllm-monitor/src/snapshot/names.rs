//! Names of series: older ones of vLLM resolved to the newest by the catalogue of `vllm-metrics`, and those that a
//! version should export.

use vllm_metrics::catalog::{Presence, Version, vllm_entries, vllm_entry};

use super::series::{Part, ROWS};

/// The newest name of a sample's family, which part of it the sample is, and whether the name is an older alias.
pub(super) fn canonical(sample_name: &str) -> (&str, Part, bool) {
    let Some(entry) = vllm_entry(sample_name) else {
        return (sample_name, Part::Value, false);
    };
    // A counter's family is named without `_total` in some versions; the rest is what the sample is within its family.
    let family = entry.name.strip_suffix("_total").unwrap_or(entry.name);
    let part = match sample_name.strip_prefix(entry.name) {
        Some("_sum") => Part::Sum,
        Some("_count") => Part::Count,
        Some("_bucket") => Part::Other,
        Some("_created") => Part::Other,
        _ if sample_name.strip_prefix(family) == Some("_created") => Part::Other,
        _ => Part::Value,
    };
    (entry.now.unwrap_or(entry.name), part, entry.now.is_some())
}

/// Names that a server of this version exports without condition and that feed a field. An older alias stands for
/// its newest name where the version still has it.
pub(super) fn expected(version: Version) -> Vec<&'static str> {
    let nearest = version.clamp(Version::OLDEST, Version::NEWEST);
    let mut names: Vec<&'static str> = vllm_entries()
        .iter()
        .filter(|entry| entry.presence(nearest) == Presence::Always)
        .map(|entry| entry.now.unwrap_or(entry.name))
        .filter(|name| ROWS.iter().any(|row| row.name == *name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vllm_row_is_in_the_catalogue_under_its_newest_name() {
        for row in ROWS.iter().filter(|row| row.name.starts_with("vllm:")) {
            let entry =
                vllm_entry(row.name).unwrap_or_else(|| panic!("{} is not in the catalogue", row.name));
            assert_eq!((entry.name, entry.now), (row.name, None));
        }
    }

    #[test]
    fn older_names_resolve() {
        for (sample, name, part, is_alias) in [
            (
                "vllm:gpu_cache_usage_perc",
                "vllm:kv_cache_usage_perc",
                Part::Value,
                true,
            ),
            (
                "vllm:time_per_output_token_seconds_sum",
                "vllm:inter_token_latency_seconds",
                Part::Sum,
                true,
            ),
            (
                "vllm:inter_token_latency_seconds_count",
                "vllm:inter_token_latency_seconds",
                Part::Count,
                false,
            ),
            (
                "vllm:prompt_tokens",
                "vllm:prompt_tokens_total",
                Part::Value,
                false,
            ),
            (
                "vllm:iteration_tokens_total_count",
                "vllm:iteration_tokens_total",
                Part::Count,
                false,
            ),
            // When a series began, in seconds since the epoch, is no value of it.
            (
                "vllm:generation_tokens_created",
                "vllm:generation_tokens_total",
                Part::Other,
                false,
            ),
            (
                "vllm:iteration_tokens_total_created",
                "vllm:iteration_tokens_total",
                Part::Other,
                false,
            ),
            (
                "vllm:time_to_first_token_seconds_bucket",
                "vllm:time_to_first_token_seconds",
                Part::Other,
                false,
            ),
            ("gpu_power_watts", "gpu_power_watts", Part::Value, false),
        ] {
            assert_eq!(canonical(sample), (name, part, is_alias), "{sample}");
        }
    }

    #[test]
    fn what_is_expected_depends_on_the_version() {
        let new = expected(Version::new(0, 32, 0));
        assert!(
            new.contains(&"vllm:kv_cache_usage_perc") && new.contains(&"vllm:inter_token_latency_seconds")
        );
        let old = expected(Version::new(0, 6, 0));
        assert!(
            old.contains(&"vllm:kv_cache_usage_perc"),
            "the old name stands for it"
        );
        assert!(!old.contains(&"vllm:iteration_tokens_total"), "it came later");
    }
}
