//! How several series of one metric (engines, GPUs, replicas) combine: a sum, a mean, or not at all.

use super::{exported, vllm_entry};
use crate::model::{MetricType, SeriesDef};

/// How the series of one metric combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddsUp {
    /// Amounts: requests, tokens, bytes, watts, and every counter.
    Sum,
    /// Levels: ratios, temperatures, clocks, durations.
    Mean,
    /// Combined values are meaningless, for the reason given as part of a sentence.
    Never(&'static str),
}

/// Units whose values are amounts.
const AMOUNTS: &[&str] = &[
    "blocks",
    "bytes",
    "bytes_per_second",
    "bytes/second",
    "chunks",
    "connections",
    "drafts",
    "errors",
    "failures",
    "items",
    "jobs",
    "joules",
    "keys",
    "operations",
    "packets",
    "pages",
    "preemptions",
    "requests",
    "requests/second",
    "rows",
    "steps",
    "steps/second",
    "tasks",
    "tokens",
    "tokens_per_second",
    "tokens/second",
    "watts",
];
/// Units whose values are levels.
const LEVELS: &[&str] = &[
    "celsius",
    "hertz",
    "milliseconds",
    "percent",
    "ratio",
    "seconds",
    "volts",
];
/// Gauges with a unit of amounts that describe a single thing, such as a mean length or a limit per part.
const LEVELS_BY_NAME: &[&str] = &["sglang:spec_accept_length", "vllm:engine_tokens_per_step"];

/// Returns how the series of `def`'s metric combine, by the catalogue's unit, or by the series' own unit and
/// name if the catalogue does not contain the metric.
///
/// ```
/// use std::sync::Arc;
/// use run_model::catalog::{AddsUp, adds_up};
/// use run_model::model::{MetricType, SeriesDef};
///
/// let def = |name: &str| SeriesDef {
///     metric_name: Arc::from(name),
///     labels: Arc::from("{}"),
///     metric_type: MetricType::Gauge,
///     unit: Arc::from(""),
///     source: Arc::from("prometheus"),
///     endpoint_url: Arc::from(""),
/// };
/// assert_eq!(adds_up(&def("vllm:num_requests_running")), AddsUp::Sum);
/// assert_eq!(adds_up(&def("DCGM_FI_DEV_GPU_TEMP")), AddsUp::Mean);
/// assert!(matches!(adds_up(&def("process_start_time_seconds")), AddsUp::Never(_)));
/// ```
pub fn adds_up(def: &SeriesDef) -> AddsUp {
    let name = &*def.metric_name;
    let known = vllm_entry(name)
        .map(|entry| (entry.metric_type, entry.unit))
        .or_else(|| exported(name).map(|entry| (entry.metric_type, entry.unit)));
    let (metric_type, unit) = match known {
        Some((metric_type, unit)) if !unit.is_empty() || metric_type == MetricType::Info => {
            (metric_type, unit)
        }
        Some((metric_type, _)) => (metric_type, &*def.unit),
        None => (def.metric_type, &*def.unit),
    };
    if metric_type == MetricType::Info || name.ends_with("_info") {
        return AddsUp::Never("an info metric's value is a constant or a time");
    }
    if is_moment(name) {
        return AddsUp::Never("a point in time cannot be added or averaged");
    }
    if matches!(metric_type, MetricType::Histogram | MetricType::Counter) {
        return AddsUp::Sum;
    }
    if def.metric_type == MetricType::Summary {
        return if name.ends_with("_sum") || name.ends_with("_count") {
            AddsUp::Sum
        } else {
            AddsUp::Never("quantiles of different series do not combine")
        };
    }
    match unit {
        "bool" | "code" => AddsUp::Never("a state or code is not an amount"),
        _ if LEVELS_BY_NAME.contains(&name) => AddsUp::Mean,
        unit if AMOUNTS.contains(&unit) => AddsUp::Sum,
        unit if LEVELS.contains(&unit) => AddsUp::Mean,
        _ => by_name(name),
    }
}

/// Whether the values are times since the epoch.
fn is_moment(name: &str) -> bool {
    name.ends_with("_created")
        || [
            "start_time_seconds",
            "boot_time_seconds",
            "timestamp_seconds",
            "last_reload_time_seconds",
        ]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// For a metric of unknown unit: looks for typical words in its name.
fn by_name(name: &str) -> AddsUp {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let ends = |words: &[&str]| words.iter().any(|word| lower.ends_with(word));
    if ends(&["_ratio", "_perc", "_percent", "_util", "_usage", "_utilization"])
        || has(&[
            "temperature",
            "_temp",
            "_clock",
            "_hertz",
            "_rate",
            "latency",
            "duration",
        ])
    {
        AddsUp::Mean
    } else if has(&["num_", "_count", "bytes", "tokens", "requests"]) {
        AddsUp::Sum
    } else {
        AddsUp::Never("neither the catalogue nor its name says how this metric adds up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{exporters, vllm_entries};

    fn of(name: &str, metric_type: MetricType, unit: &str) -> AddsUp {
        adds_up(&SeriesDef {
            metric_name: name.into(),
            labels: "{}".into(),
            metric_type,
            unit: unit.into(),
            source: "prometheus".into(),
            endpoint_url: "".into(),
        })
    }

    #[test]
    fn nothing_adds_up_temperatures_ratios_times_or_info() {
        use MetricType::{Counter, Gauge, Info, Unknown};
        for (name, metric_type, unit, mean) in [
            ("DCGM_FI_DEV_GPU_TEMP", Gauge, "", true),
            ("DCGM_FI_DEV_GPU_UTIL", Gauge, "", true),
            ("vllm:kv_cache_usage_perc", Gauge, "ratio", true),
            ("sglang:token_usage", Gauge, "ratio", true),
            ("gpu_sm_clock_hertz", Gauge, "hertz", true),
            ("my_temperature", Unknown, "", true),
            ("vllm:request_latency", Gauge, "seconds", true),
            ("process_start_time_seconds", Gauge, "seconds", false),
            ("vllm:lora_requests_info", Gauge, "", false),
            ("vllm:cache_config_info", Gauge, "", false),
            ("python_info", Info, "", false),
            ("vllm:generation_tokens_created", Gauge, "seconds", false),
            ("gpu_throttle_active", Gauge, "bool", false),
            ("DCGM_FI_DEV_XID_ERRORS", Gauge, "", false),
            ("something_odd", Unknown, "", false),
        ] {
            let got = of(name, metric_type, unit);
            let right = if mean {
                got == AddsUp::Mean
            } else {
                matches!(got, AddsUp::Never(_))
            };
            assert!(right, "{name}: {got:?}");
        }
        for (name, metric_type, unit) in [
            ("vllm:num_requests_running", Gauge, ""),
            ("vllm:generation_tokens_total", Counter, "tokens"),
            ("anything_total", Counter, ""),
            ("gpu_power_watts", Gauge, "watts"),
            ("gpu_memory_used_bytes", Gauge, "bytes"),
            ("process_cpu_seconds_total", Counter, "seconds"),
        ] {
            assert_eq!(of(name, metric_type, unit), AddsUp::Sum, "{name}");
        }
    }

    #[test]
    fn every_gauge_of_the_catalogue_is_decided_by_its_unit() {
        let vllm = vllm_entries().iter().map(|e| (e.name, e.metric_type, e.unit));
        let others = exporters().iter().map(|e| (e.name, e.metric_type, e.unit));
        for (name, metric_type, unit) in vllm.chain(others) {
            if metric_type == MetricType::Gauge {
                assert!(
                    AMOUNTS.contains(&unit) || LEVELS.contains(&unit) || unit == "bool" || unit == "code",
                    "{name}: how does {unit:?} add up?"
                );
            }
        }
    }
}
