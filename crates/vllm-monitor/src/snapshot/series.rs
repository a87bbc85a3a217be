//! Which series feed which field of a snapshot. Older names of vLLM's metrics are resolved by the catalogue of
//! `vllm-metrics`, so this table speaks of the newest names only.

use vllm_metrics::catalog::{Presence, Version, vllm_entries, vllm_entry};

use super::{Engine, Gpu, Host, Http, Member, Process};
use crate::Signal;

/// How the series of one field become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    Sum,
    Largest,
    /// The newest, for values that exist once.
    Newest,
}

/// Which number of a family a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Value,
    Sum,
    Count,
}

/// A field that series feed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Engine(fn(&mut Engine) -> &mut Signal<f64>),
    Http(fn(&mut Http) -> &mut Signal<f64>),
    Host(fn(&mut Host) -> &mut Signal<f64>),
    Process(fn(&mut Process) -> &mut Signal<f64>),
    Gpu(fn(&mut Gpu) -> &mut Signal<f64>),
    /// Counted by the label `xid`.
    Xid,
    /// Start time of the server's process: a change resets every counter of the page.
    ProcessStart,
    /// The value is 1; what matters are the labels.
    CacheConfig,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) part: Part,
    /// Only series with one of these values of the label.
    pub(super) only: Option<(&'static str, &'static [&'static str])>,
    pub(super) field: Field,
    pub(super) combine: Combine,
    pub(super) is_counter: bool,
    /// The same value of one data-parallel member.
    pub(super) member: Option<fn(&mut Member) -> &mut Signal<f64>>,
}

const fn row(name: &'static str, field: Field, combine: Combine) -> Row {
    Row { name, part: Part::Value, only: None, field, combine, is_counter: false, member: None }
}

const fn counter(name: &'static str, field: Field) -> Row {
    Row { is_counter: true, ..row(name, field, Combine::Sum) }
}

const fn part(name: &'static str, part: Part, field: Field) -> Row {
    Row { part, ..counter(name, field) }
}

const fn only(row: Row, label: &'static str, values: &'static [&'static str]) -> Row {
    Row { only: Some((label, values)), ..row }
}

const fn member(row: Row, slot: fn(&mut Member) -> &mut Signal<f64>) -> Row {
    Row { member: Some(slot), ..row }
}

use Combine::{Largest, Newest, Sum};
use Field as F;

/// Every series that means something to the monitor.
pub(super) const ROWS: &[Row] = &[
    member(row("vllm:num_requests_running", F::Engine(|e| &mut e.running), Sum), |m| &mut m.running),
    member(row("vllm:num_requests_waiting", F::Engine(|e| &mut e.waiting), Sum), |m| &mut m.waiting),
    only(
        row("vllm:num_requests_waiting_by_reason", F::Engine(|e| &mut e.waiting_deferred), Sum),
        "reason",
        &["deferred"],
    ),
    row("vllm:kv_cache_usage_perc", F::Engine(|e| &mut e.kv_usage_ratio), Largest),
    row("vllm:cache_config_info", F::CacheConfig, Newest),
    only(
        row("vllm:engine_sleep_state", F::Engine(|e| &mut e.asleep), Largest),
        "sleep_state",
        &["weights_offloaded", "discard_all"],
    ),
    member(
        part("vllm:iteration_tokens_total", Part::Count, F::Engine(|e| &mut e.steps_total)),
        |m| &mut m.steps_total,
    ),
    part("vllm:iteration_tokens_total", Part::Sum, F::Engine(|e| &mut e.step_tokens_total)),
    counter("vllm_monitor_engine_steps_total", F::Engine(|e| &mut e.exact_steps_total)),
    counter("vllm:num_preemptions_total", F::Engine(|e| &mut e.preemptions_total)),
    counter("vllm:prompt_tokens_total", F::Engine(|e| &mut e.prompt_tokens_total)),
    counter("vllm:prompt_tokens_cached_total", F::Engine(|e| &mut e.cached_tokens_total)),
    counter("vllm:generation_tokens_total", F::Engine(|e| &mut e.generation_tokens_total)),
    counter("vllm:request_success_total", F::Engine(|e| &mut e.finished_total)),
    only(
        counter("vllm:request_success_total", F::Engine(|e| &mut e.errors_total)),
        "finished_reason",
        &["error"],
    ),
    only(
        counter("vllm:request_success_total", F::Engine(|e| &mut e.aborted_total)),
        "finished_reason",
        &["abort"],
    ),
    counter("vllm:admission_rejections_total", F::Engine(|e| &mut e.rejected_total)),
    counter("vllm:corrupted_requests_total", F::Engine(|e| &mut e.corrupted_total)),
    counter("vllm:nixl_num_failed_transfers_total", F::Engine(|e| &mut e.kv_transfer_failures_total)),
    counter("vllm:nixl_num_failed_notifications_total", F::Engine(|e| &mut e.kv_transfer_failures_total)),
    member(
        part("vllm:inter_token_latency_seconds", Part::Sum, F::Engine(|e| &mut e.inter_token_latency.sum)),
        |m| &mut m.inter_token_latency.sum,
    ),
    member(
        part("vllm:inter_token_latency_seconds", Part::Count, F::Engine(|e| &mut e.inter_token_latency.count)),
        |m| &mut m.inter_token_latency.count,
    ),
    part("vllm:time_to_first_token_seconds", Part::Sum, F::Engine(|e| &mut e.time_to_first_token.sum)),
    part("vllm:time_to_first_token_seconds", Part::Count, F::Engine(|e| &mut e.time_to_first_token.count)),
    part("vllm:request_queue_time_seconds", Part::Sum, F::Engine(|e| &mut e.queue_time.sum)),
    part("vllm:request_queue_time_seconds", Part::Count, F::Engine(|e| &mut e.queue_time.count)),
    part("vllm:request_inference_time_seconds", Part::Sum, F::Engine(|e| &mut e.inference_time.sum)),
    part("vllm:request_inference_time_seconds", Part::Count, F::Engine(|e| &mut e.inference_time.count)),
    part("vllm:request_prompt_tokens", Part::Sum, F::Engine(|e| &mut e.request_prompt_tokens.sum)),
    part("vllm:request_prompt_tokens", Part::Count, F::Engine(|e| &mut e.request_prompt_tokens.count)),
    part("vllm:request_generation_tokens", Part::Sum, F::Engine(|e| &mut e.request_generation_tokens.sum)),
    part("vllm:request_generation_tokens", Part::Count, F::Engine(|e| &mut e.request_generation_tokens.count)),
    counter("http_requests_total", F::Http(|h| &mut h.requests_total)),
    only(
        counter("http_requests_total", F::Http(|h| &mut h.server_errors_total)),
        "status",
        &["5xx", "500", "501", "502", "503", "504"],
    ),
    row("process_start_time_seconds", F::ProcessStart, Newest),
    row("process_resident_memory_bytes", F::Process(|p| &mut p.resident_bytes), Newest),
    row("process_open_fds", F::Process(|p| &mut p.open_files), Newest),
    row("process_max_fds", F::Process(|p| &mut p.open_files_limit), Newest),
    only(
        row("host_process_resident_bytes", F::Process(|p| &mut p.resident_bytes), Newest),
        "process",
        &["server"],
    ),
    only(row("host_process_open_files", F::Process(|p| &mut p.open_files), Newest), "process", &["server"]),
    only(
        row("host_process_open_files_limit", F::Process(|p| &mut p.open_files_limit), Newest),
        "process",
        &["server"],
    ),
    only(
        row("host_cgroup_memory_used_bytes", F::Process(|p| &mut p.cgroup_used_bytes), Newest),
        "process",
        &["server"],
    ),
    only(
        row("host_cgroup_memory_limit_bytes", F::Process(|p| &mut p.cgroup_limit_bytes), Newest),
        "process",
        &["server"],
    ),
    only(
        counter("host_cgroup_oom_kills_total", F::Process(|p| &mut p.cgroup_oom_kills_total)),
        "process",
        &["server"],
    ),
    row("host_memory_available_bytes", F::Host(|h| &mut h.memory_available_bytes), Newest),
    row("host_memory_total_bytes", F::Host(|h| &mut h.memory_total_bytes), Newest),
    counter("host_oom_kills_total", F::Host(|h| &mut h.oom_kills_total)),
    counter("host_network_errors_total", F::Host(|h| &mut h.network_errors_total)),
    counter("host_network_drops_total", F::Host(|h| &mut h.network_errors_total)),
    row("gpu_memory_used_bytes", F::Gpu(|g| &mut g.memory_used_bytes), Newest),
    row("gpu_memory_total_bytes", F::Gpu(|g| &mut g.memory_total_bytes), Newest),
    row("gpu_server_memory_bytes", F::Gpu(|g| &mut g.server_memory_bytes), Newest),
    row("gpu_utilization_ratio", F::Gpu(|g| &mut g.utilization_ratio), Newest),
    row("gpu_temperature_celsius", F::Gpu(|g| &mut g.temperature_celsius), Newest),
    row("gpu_temperature_slowdown_celsius", F::Gpu(|g| &mut g.slowdown_celsius), Newest),
    row("gpu_sm_clock_hertz", F::Gpu(|g| &mut g.sm_clock_hertz), Newest),
    row("gpu_sm_clock_max_hertz", F::Gpu(|g| &mut g.sm_clock_max_hertz), Newest),
    only(
        counter("gpu_throttle_seconds_total", F::Gpu(|g| &mut g.thermal_throttle_secs_total)),
        "reason",
        &["hw_thermal", "sw_thermal", "thermal"],
    ),
    only(
        counter("gpu_throttle_seconds_total", F::Gpu(|g| &mut g.power_brake_secs_total)),
        "reason",
        &["hw_power_brake"],
    ),
    only(
        counter("gpu_ecc_errors_total", F::Gpu(|g| &mut g.ecc_corrected_total)),
        "kind",
        &["corrected"],
    ),
    only(
        counter("gpu_ecc_errors_total", F::Gpu(|g| &mut g.ecc_uncorrected_total)),
        "kind",
        &["uncorrected"],
    ),
    row("gpu_row_remap_pending", F::Gpu(|g| &mut g.remap_pending), Newest),
    row("gpu_row_remap_failed", F::Gpu(|g| &mut g.remap_failed), Newest),
    counter("gpu_row_remaps_total", F::Gpu(|g| &mut g.remapped_rows_total)),
    counter("gpu_nvlink_errors_total", F::Gpu(|g| &mut g.nvlink_errors_total)),
    counter("gpu_pcie_replays_total", F::Gpu(|g| &mut g.pcie_replays_total)),
    row("gpu_recovery_action", F::Gpu(|g| &mut g.recovery_action), Newest),
    counter("gpu_xid_events_total", F::Xid),
];

/// The newest name of a sample's family, which part of it the sample is, and whether the name is an older alias.
pub(super) fn canonical(sample_name: &str) -> (&str, Part, bool) {
    let Some(entry) = vllm_entry(sample_name) else {
        return (sample_name, Part::Value, false);
    };
    let part = match sample_name.strip_prefix(entry.name) {
        Some("_sum") => Part::Sum,
        Some("_count") => Part::Count,
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
            let entry = vllm_entry(row.name).unwrap_or_else(|| panic!("{} is not in the catalogue", row.name));
            assert_eq!((entry.name, entry.now), (row.name, None));
        }
    }

    #[test]
    fn older_names_resolve() {
        for (sample, name, part, is_alias) in [
            ("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc", Part::Value, true),
            ("vllm:time_per_output_token_seconds_sum", "vllm:inter_token_latency_seconds", Part::Sum, true),
            ("vllm:inter_token_latency_seconds_count", "vllm:inter_token_latency_seconds", Part::Count, false),
            ("vllm:prompt_tokens", "vllm:prompt_tokens_total", Part::Value, false),
            ("vllm:iteration_tokens_total_count", "vllm:iteration_tokens_total", Part::Count, false),
            ("gpu_power_watts", "gpu_power_watts", Part::Value, false),
        ] {
            assert_eq!(canonical(sample), (name, part, is_alias), "{sample}");
        }
    }

    #[test]
    fn what_is_expected_depends_on_the_version() {
        let new = expected(Version::new(0, 32, 0));
        assert!(new.contains(&"vllm:kv_cache_usage_perc") && new.contains(&"vllm:inter_token_latency_seconds"));
        let old = expected(Version::new(0, 6, 0));
        assert!(old.contains(&"vllm:kv_cache_usage_perc"), "the old name stands for it");
        assert!(!old.contains(&"vllm:iteration_tokens_total"), "it came later");
    }
}
