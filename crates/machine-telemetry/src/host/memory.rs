//! Memory, page faults, swap traffic and out-of-memory kills.

use super::emit::Emitter;

/// `/proc/meminfo`.
pub(crate) fn sizes(emit: &mut Emitter<'_>) {
    emit.read("proc/meminfo", |text, emit| {
        for line in text.lines() {
            let Some((name, rest)) = line.split_once(':') else {
                continue;
            };
            let series = match name {
                "MemTotal" => "host_memory_total_bytes",
                "MemAvailable" => "host_memory_available_bytes",
                "Cached" => "host_memory_cached_bytes",
                "Dirty" => "host_memory_dirty_bytes",
                "SwapTotal" => "host_swap_total_bytes",
                "SwapFree" => "host_swap_free_bytes",
                _ => continue,
            };
            if let Some(kib) = rest
                .split_ascii_whitespace()
                .next()
                .and_then(|word| word.parse::<f64>().ok())
            {
                emit.gauge(series, &[], "bytes", kib * 1024.0);
            }
        }
    });
}

/// `/proc/vmstat`.
pub(crate) fn faults(emit: &mut Emitter<'_>) {
    emit.read("proc/vmstat", |text, emit| {
        let mut all_faults = None;
        let mut major_faults = None;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else { continue };
            match name {
                "pgfault" => all_faults = Some(value),
                "pgmajfault" => major_faults = Some(value),
                "pswpin" => emit.counter("host_swap_pages_total", &[("direction", "in")], "pages", value),
                "pswpout" => emit.counter("host_swap_pages_total", &[("direction", "out")], "pages", value),
                "oom_kill" => emit.counter("host_oom_kills_total", &[], "kills", value),
                _ => {}
            }
        }
        if let (Some(all), Some(major)) = (all_faults, major_faults) {
            emit.counter(
                "host_page_faults_total",
                &[("kind", "minor")],
                "faults",
                all - major,
            );
            emit.counter("host_page_faults_total", &[("kind", "major")], "faults", major);
        }
    });
}
