//! CPU time per core and per kind of work, pressure, frequency and governor.

use super::emit::Emitter;
use run_model::EventKind;
use run_model::Severity;

/// The kernel reports CPU times in ticks of 1/100 s on every architecture that serves models.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// Columns of a `cpu` line. Guest time is included in `user` and `nice`, so it has no column of its own.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// `/proc/stat`: all cores by mode, only busy time per core, so that hundreds of cores stay cheap.
pub(crate) fn times(emit: &mut Emitter<'_>) {
    emit.read("proc/stat", |text, emit| {
        for line in text.lines().take_while(|line| line.starts_with("cpu")) {
            let mut words = line.split_ascii_whitespace();
            let core = &words.next().unwrap_or_default()[3..];
            let mut seconds = [0.0; MODES.len()];
            for (place, word) in seconds.iter_mut().zip(words) {
                *place = word.parse().unwrap_or(f64::NAN) / TICKS_PER_SECOND;
            }
            if core.is_empty() {
                for (mode, seconds) in MODES.into_iter().zip(seconds) {
                    emit.counter("host_cpu_seconds_total", &[("mode", mode)], "seconds", seconds);
                }
            } else {
                let idle = seconds[3] + seconds[4];
                let busy = seconds.iter().sum::<f64>() - idle;
                emit.counter("host_cpu_busy_seconds_total", &[("cpu", core)], "seconds", busy);
            }
        }
    });
}

/// `/proc/pressure`: time during which some, or all, work waited for a resource.
pub(crate) fn pressure(emit: &mut Emitter<'_>) {
    for (resource, path) in [
        ("cpu", "proc/pressure/cpu"),
        ("memory", "proc/pressure/memory"),
        ("io", "proc/pressure/io"),
    ] {
        emit.read(path, |text, emit| {
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let kind = words.next().unwrap_or_default();
                let total = words.find_map(|word| word.strip_prefix("total=")?.parse::<f64>().ok());
                if let Some(microseconds) = total {
                    let labels = [("resource", resource), ("kind", kind)];
                    emit.counter(
                        "host_pressure_stall_seconds_total",
                        &labels,
                        "seconds",
                        microseconds / 1e6,
                    );
                }
            }
        });
    }
}

/// Frequency over all cores, and its governor.
#[derive(Default)]
pub(crate) struct Frequency {
    cores: Option<Vec<String>>,
    governor: Option<String>,
}

impl Frequency {
    /// Reads the frequencies; reports the governor when first seen and when it changes.
    pub(crate) fn read(&mut self, emit: &mut Emitter<'_>) {
        let cores = self.cores.get_or_insert_with(|| {
            let names = emit.list("sys/devices/system/cpu").unwrap_or_default();
            let is_core = |name: &String| {
                name.strip_prefix("cpu")
                    .is_some_and(|rest| rest.parse::<u32>().is_ok())
                    && emit.exists(&format!("sys/devices/system/cpu/{name}/cpufreq/scaling_cur_freq"))
            };
            names.into_iter().filter(is_core).collect()
        });
        if cores.is_empty() {
            // No frequency driver (typically a virtual machine): use the CPU's own information, if any.
            emit.note_absent("sys/devices/system/cpu/cpu*/cpufreq");
            emit.read("proc/cpuinfo", |text, emit| {
                let clocks = text.lines().filter(|line| line.starts_with("cpu MHz"));
                let megahertz = clocks.filter_map(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok());
                let hertz: Vec<f64> = megahertz.map(|megahertz| megahertz * 1e6).collect();
                spread(emit, &hertz);
            });
            return;
        }
        let of_core =
            |core: &String| emit.text(&format!("sys/devices/system/cpu/{core}/cpufreq/scaling_cur_freq"));
        let hertz = cores
            .iter()
            .filter_map(|core| of_core(core)?.trim().parse::<f64>().ok());
        let hertz: Vec<f64> = hertz.map(|kilohertz| kilohertz * 1e3).collect();
        let governor = emit.text(&format!(
            "sys/devices/system/cpu/{}/cpufreq/scaling_governor",
            cores[0]
        ));
        spread(emit, &hertz);
        let Some(governor) = governor.map(|text| text.trim().to_owned()) else {
            return;
        };
        if self.governor.as_ref() != Some(&governor) {
            emit.info("host_cpu_governor_info", &[("governor", &governor)]);
            let first = self.governor.is_none();
            let severity = if first && governor == "performance" {
                Severity::Info
            } else {
                Severity::Warning
            };
            let advice = if governor == "performance" {
                ""
            } else {
                "; latencies can double under a saving governor"
            };
            let message = format!("the CPU frequency governor is `{governor}`{advice}");
            emit.event(
                EventKind::CpuGovernor,
                severity,
                message,
                &serde_json::json!({ "governor": governor }),
            );
            self.governor = Some(governor);
        }
    }
}

fn spread(emit: &mut Emitter<'_>, hertz: &[f64]) {
    if hertz.is_empty() {
        return;
    }
    let mean = hertz.iter().sum::<f64>() / hertz.len() as f64;
    let least = hertz.iter().copied().fold(f64::INFINITY, f64::min);
    let most = hertz.iter().copied().fold(0.0, f64::max);
    for (statistic, value) in [("min", least), ("mean", mean), ("max", most)] {
        emit.gauge(
            "host_cpu_frequency_hertz",
            &[("statistic", statistic)],
            "hertz",
            value,
        );
    }
}

/// Publishes constants, once.
pub(crate) fn facts(emit: &mut Emitter<'_>) {
    let kernel = emit.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = emit.text("proc/cpuinfo").unwrap_or_default();
    let mut facts = vec![("kernel", kernel.trim().to_owned())];
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    facts.extend(
        model
            .and_then(|line| line.split_once(':'))
            .map(|(_, name)| ("cpu_model", name.trim().to_owned())),
    );
    let cpus = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    if cpus > 0 {
        facts.push(("cpus", cpus.to_string()));
    }
    facts.retain(|(_, value)| !value.is_empty());
    let labels: Vec<(&str, &str)> = facts.iter().map(|(key, value)| (*key, value.as_str())).collect();
    if !labels.is_empty() {
        emit.info("host_info", &labels);
    }
}
