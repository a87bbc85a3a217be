//! Which series feed which field of a snapshot, by their newest names.

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
    /// Buckets and times of creation, which feed no field.
    Other,
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
#[derive(Debug, Clone, Copy)]
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
    Row {
        name,
        part: Part::Value,
        only: None,
        field,
        combine,
        is_counter: false,
        member: None,
    }
}

const fn counter(name: &'static str, field: Field) -> Row {
    Row {
        is_counter: true,
        ..row(name, field, Combine::Sum)
    }
}

const fn part(name: &'static str, part: Part, field: Field) -> Row {
    Row {
        part,
        ..counter(name, field)
    }
}

const fn only(row: Row, label: &'static str, values: &'static [&'static str]) -> Row {
    Row {
        only: Some((label, values)),
        ..row
    }
}

const fn member(row: Row, slot: fn(&mut Member) -> &mut Signal<f64>) -> Row {
    Row {
        member: Some(slot),
        ..row
    }
}

use Combine::{Largest, Newest, Sum};
use Field as F;

/// Every series that means something to the monitor.
pub(super) const ROWS: &[Row] = &[
    member(
        row("vllm:num_requests_running", F::Engine(|e| &mut e.running), Sum),
        |m| &mut m.running,
    ),
    member(
        row("vllm:num_requests_waiting", F::Engine(|e| &mut e.waiting), Sum),
        |m| &mut m.waiting,
    ),
    only(
        row(
            "vllm:num_requests_waiting_by_reason",
            F::Engine(|e| &mut e.waiting_deferred),
            Sum,
        ),
        "reason",
        &["deferred"],
    ),
    row(
        "vllm:kv_cache_usage_perc",
        F::Engine(|e| &mut e.kv_usage_ratio),
        Largest,
    ),
    row("vllm:cache_config_info", F::CacheConfig, Newest),
    only(
        row("vllm:engine_sleep_state", F::Engine(|e| &mut e.asleep), Largest),
        "sleep_state",
        &["weights_offloaded", "discard_all"],
    ),
    member(
        part(
            "vllm:iteration_tokens_total",
            Part::Count,
            F::Engine(|e| &mut e.steps_total),
        ),
        |m| &mut m.steps_total,
    ),
    part(
        "vllm:iteration_tokens_total",
        Part::Sum,
        F::Engine(|e| &mut e.step_tokens_total),
    ),
    counter(
        "vllm_monitor_engine_steps_total",
        F::Engine(|e| &mut e.exact_steps_total),
    ),
    counter(
        "vllm:num_preemptions_total",
        F::Engine(|e| &mut e.preemptions_total),
    ),
    counter(
        "vllm:prompt_tokens_total",
        F::Engine(|e| &mut e.prompt_tokens_total),
    ),
    counter(
        "vllm:prompt_tokens_cached_total",
        F::Engine(|e| &mut e.cached_tokens_total),
    ),
    counter(
        "vllm:generation_tokens_total",
        F::Engine(|e| &mut e.generation_tokens_total),
    ),
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
    counter(
        "vllm:admission_rejections_total",
        F::Engine(|e| &mut e.rejected_total),
    ),
    counter(
        "vllm:corrupted_requests_total",
        F::Engine(|e| &mut e.corrupted_total),
    ),
    counter(
        "vllm:nixl_num_failed_transfers_total",
        F::Engine(|e| &mut e.kv_transfer_failures_total),
    ),
    counter(
        "vllm:nixl_num_failed_notifications_total",
        F::Engine(|e| &mut e.kv_transfer_failures_total),
    ),
    member(
        part(
            "vllm:inter_token_latency_seconds",
            Part::Sum,
            F::Engine(|e| &mut e.inter_token_latency.sum),
        ),
        |m| &mut m.inter_token_latency.sum,
    ),
    member(
        part(
            "vllm:inter_token_latency_seconds",
            Part::Count,
            F::Engine(|e| &mut e.inter_token_latency.count),
        ),
        |m| &mut m.inter_token_latency.count,
    ),
    part(
        "vllm:time_to_first_token_seconds",
        Part::Sum,
        F::Engine(|e| &mut e.time_to_first_token.sum),
    ),
    part(
        "vllm:time_to_first_token_seconds",
        Part::Count,
        F::Engine(|e| &mut e.time_to_first_token.count),
    ),
    part(
        "vllm:request_queue_time_seconds",
        Part::Sum,
        F::Engine(|e| &mut e.queue_time.sum),
    ),
    part(
        "vllm:request_queue_time_seconds",
        Part::Count,
        F::Engine(|e| &mut e.queue_time.count),
    ),
    part(
        "vllm:request_inference_time_seconds",
        Part::Sum,
        F::Engine(|e| &mut e.inference_time.sum),
    ),
    part(
        "vllm:request_inference_time_seconds",
        Part::Count,
        F::Engine(|e| &mut e.inference_time.count),
    ),
    part(
        "vllm:request_prompt_tokens",
        Part::Sum,
        F::Engine(|e| &mut e.request_prompt_tokens.sum),
    ),
    part(
        "vllm:request_prompt_tokens",
        Part::Count,
        F::Engine(|e| &mut e.request_prompt_tokens.count),
    ),
    part(
        "vllm:request_generation_tokens",
        Part::Sum,
        F::Engine(|e| &mut e.request_generation_tokens.sum),
    ),
    part(
        "vllm:request_generation_tokens",
        Part::Count,
        F::Engine(|e| &mut e.request_generation_tokens.count),
    ),
    counter("http_requests_total", F::Http(|h| &mut h.requests_total)),
    only(
        counter("http_requests_total", F::Http(|h| &mut h.server_errors_total)),
        "status",
        &["5xx", "500", "501", "502", "503", "504"],
    ),
    row("process_start_time_seconds", F::ProcessStart, Newest),
    row(
        "process_resident_memory_bytes",
        F::Process(|p| &mut p.resident_bytes),
        Newest,
    ),
    row("process_open_fds", F::Process(|p| &mut p.open_files), Newest),
    row("process_max_fds", F::Process(|p| &mut p.open_files_limit), Newest),
    only(
        row(
            "host_process_resident_bytes",
            F::Process(|p| &mut p.resident_bytes),
            Newest,
        ),
        "process",
        &["server"],
    ),
    only(
        row(
            "host_process_open_files",
            F::Process(|p| &mut p.open_files),
            Newest,
        ),
        "process",
        &["server"],
    ),
    only(
        row(
            "host_process_open_files_limit",
            F::Process(|p| &mut p.open_files_limit),
            Newest,
        ),
        "process",
        &["server"],
    ),
    only(
        row(
            "host_engine_processes",
            F::Process(|p| &mut p.engine_stopped),
            Sum,
        ),
        "state",
        &["stopped"],
    ),
    only(
        row("host_engine_processes", F::Process(|p| &mut p.engine_active), Sum),
        "state",
        &["running", "disk"],
    ),
    counter(
        "host_engine_cpu_seconds_total",
        F::Process(|p| &mut p.engine_cpu_secs_total),
    ),
    only(
        row("host_api_processes", F::Process(|p| &mut p.api_stopped), Sum),
        "state",
        &["stopped"],
    ),
    only(
        row(
            "host_cgroup_memory_used_bytes",
            F::Process(|p| &mut p.cgroup_used_bytes),
            Newest,
        ),
        "process",
        &["server"],
    ),
    only(
        row(
            "host_cgroup_memory_limit_bytes",
            F::Process(|p| &mut p.cgroup_limit_bytes),
            Newest,
        ),
        "process",
        &["server"],
    ),
    only(
        counter(
            "host_cgroup_oom_kills_total",
            F::Process(|p| &mut p.cgroup_oom_kills_total),
        ),
        "process",
        &["server"],
    ),
    row(
        "host_memory_available_bytes",
        F::Host(|h| &mut h.memory_available_bytes),
        Newest,
    ),
    row(
        "host_memory_total_bytes",
        F::Host(|h| &mut h.memory_total_bytes),
        Newest,
    ),
    counter("host_oom_kills_total", F::Host(|h| &mut h.oom_kills_total)),
    counter(
        "host_network_errors_total",
        F::Host(|h| &mut h.network_errors_total),
    ),
    counter(
        "host_network_drops_total",
        F::Host(|h| &mut h.network_errors_total),
    ),
    row(
        "gpu_memory_used_bytes",
        F::Gpu(|g| &mut g.memory_used_bytes),
        Newest,
    ),
    row(
        "gpu_memory_total_bytes",
        F::Gpu(|g| &mut g.memory_total_bytes),
        Newest,
    ),
    row(
        "gpu_server_memory_bytes",
        F::Gpu(|g| &mut g.server_memory_bytes),
        Newest,
    ),
    row(
        "gpu_utilization_ratio",
        F::Gpu(|g| &mut g.utilization_ratio),
        Newest,
    ),
    row(
        "gpu_temperature_celsius",
        F::Gpu(|g| &mut g.temperature_celsius),
        Newest,
    ),
    row(
        "gpu_temperature_slowdown_celsius",
        F::Gpu(|g| &mut g.slowdown_celsius),
        Newest,
    ),
    row("gpu_sm_clock_hertz", F::Gpu(|g| &mut g.sm_clock_hertz), Newest),
    row(
        "gpu_sm_clock_max_hertz",
        F::Gpu(|g| &mut g.sm_clock_max_hertz),
        Newest,
    ),
    only(
        counter(
            "gpu_throttle_seconds_total",
            F::Gpu(|g| &mut g.thermal_throttle_secs_total),
        ),
        "reason",
        &["hw_thermal", "sw_thermal", "thermal"],
    ),
    only(
        counter(
            "gpu_throttle_seconds_total",
            F::Gpu(|g| &mut g.power_brake_secs_total),
        ),
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
