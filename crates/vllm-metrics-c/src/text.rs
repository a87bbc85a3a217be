//! C strings in and out, and the JSON summary of a run.

use std::ffi::{CStr, c_char};
use std::path::Path;

use serde_json::{Value, json};
use vllm_metrics::FinishedRun;

/// Returns the text at `text`; `None` if it is null or not UTF-8.
///
/// # Safety
///
/// `text` is null or a NUL-terminated string that lives as long as the result is used.
pub(crate) unsafe fn read<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// Writes `text` and a zero byte, truncated at a character boundary. Writes nothing if `size` is 0.
///
/// # Safety
///
/// `to` is null or has room for `size` bytes.
pub(crate) unsafe fn write(text: &str, to: *mut c_char, size: usize) {
    if to.is_null() || size == 0 {
        return;
    }
    let end = text.floor_char_boundary(size - 1);
    // SAFETY: `end` < `size`, so text and zero byte fit; the two cannot overlap, since `text` is ours.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), to, end);
        *to.add(end) = 0;
    }
}

/// A finished run as a JSON object.
pub(crate) fn summary(run: &FinishedRun) -> String {
    let path = |path: Option<&Path>| path.map_or(Value::Null, |path| path.display().to_string().into());
    let cost = &run.cost;
    let missing = &run.missing;
    let gaps: Vec<Value> = missing
        .gaps
        .iter()
        .map(|gap| {
            json!({
                "endpoint_url": gap.endpoint_url,
                "start_ns": gap.start_ns,
                "end_ns": gap.end_ns,
                "reason": gap.reason,
                "missed_scrapes": gap.missed_scrapes,
            })
        })
        .collect();
    json!({
        "samples": path(Some(&run.samples_path)),
        "processed": path(run.processed_path.as_deref()),
        "requests": path(run.requests_path.as_deref()),
        "events": path(run.events_path.as_deref()),
        "cost": {
            "scrapes": cost.scrapes,
            "hook_p50_ns": cost.hook_p50_ns,
            "hook_p99_ns": cost.hook_p99_ns,
            "cpu_share_ratio": cost.cpu_share_ratio(),
        },
        "missing": {
            "gaps": gaps,
            "never_answered": missing.never_answered,
            "missed_ticks": missing.missed_ticks,
            "dropped_samples": missing.dropped.samples,
            "dropped_hook_calls": missing.dropped_hook_calls,
            "unfinished_requests": missing.unfinished_requests,
            "notes": missing.notes,
        },
    })
    .to_string()
}
