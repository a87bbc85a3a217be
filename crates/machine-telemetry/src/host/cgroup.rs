//! Container limits: CPU quota, memory limit, and how often either was reached. Supports cgroups v1 and v2.

use super::emit::Emitter;

/// Location of one process's limits. Determined once: a process rarely moves.
pub(crate) struct Cgroup {
    label: &'static str,
    version: Version,
}

enum Version {
    /// Folders from the process's own up to the root, whose limits all apply.
    Two(Vec<String>),
    One {
        cpu: Vec<String>,
        memory: Vec<String>,
    },
}

impl Cgroup {
    /// Finds the cgroup of a process; `None` if the host has none.
    pub(crate) fn find(label: &'static str, pid: u32, emit: &Emitter<'_>) -> Option<Self> {
        let text = emit.text(&format!("proc/{pid}/cgroup"))?;
        let mut unified = None;
        let mut cpu = None;
        let mut memory = None;
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            match controllers {
                "" => unified = Some(path),
                _ if controllers.split(',').any(|name| name == "cpu") => cpu = Some((controllers, path)),
                _ if controllers.split(',').any(|name| name == "memory") => memory = Some(path),
                _ => {}
            }
        }
        if cpu.is_some() || memory.is_some() {
            // The v1 controllers take precedence if mounted, even with an empty unified tree.
            let cpu = cpu.map_or_else(Vec::new, |(controllers, path)| {
                let mount = [controllers, "cpu"]
                    .into_iter()
                    .find(|name| emit.exists(&format!("sys/fs/cgroup/{name}")));
                mount.map_or_else(Vec::new, |name| {
                    ancestors(&format!("sys/fs/cgroup/{name}"), path, "cpu.stat", emit)
                })
            });
            let memory = memory.map_or_else(Vec::new, |path| {
                ancestors("sys/fs/cgroup/memory", path, "memory.usage_in_bytes", emit)
            });
            return (!cpu.is_empty() || !memory.is_empty()).then_some(Self {
                label,
                version: Version::One { cpu, memory },
            });
        }
        let folders = ancestors("sys/fs/cgroup", unified?, "cgroup.controllers", emit);
        (!folders.is_empty()).then_some(Self {
            label,
            version: Version::Two(folders),
        })
    }

    /// Publishes limits and how often they were reached. Without a limit there is no series.
    pub(crate) fn sample(&self, emit: &mut Emitter<'_>) {
        let who = [("process", self.label)];
        let (cores, memory_limit, memory_used, stat, oom_kills, throttle_unit) = match &self.version {
            Version::Two(folders) => {
                let cores = tightest(folders, |folder| {
                    quota_v2(&emit.text(&format!("{folder}/cpu.max"))?)
                });
                let limit = tightest(folders, |folder| number(emit, folder, "memory.max"));
                let used = folders
                    .first()
                    .and_then(|folder| number(emit, folder, "memory.current"));
                let stat = folders
                    .first()
                    .and_then(|folder| emit.text(&format!("{folder}/cpu.stat")));
                let events = folders
                    .first()
                    .and_then(|folder| emit.text(&format!("{folder}/memory.events")));
                let kills = events.and_then(|text| entry(&text, "oom_kill"));
                (cores, limit, used, stat, kills, ("throttled_usec", 1e-6))
            }
            Version::One { cpu, memory } => {
                let cores = tightest(cpu, |folder| {
                    let quota = number(emit, folder, "cpu.cfs_quota_us").filter(|&quota| quota > 0.0)?;
                    Some(quota / number(emit, folder, "cpu.cfs_period_us").filter(|&period| period > 0.0)?)
                });
                // Without a limit, the v1 file contains the largest number of whole pages.
                let limit = tightest(memory, |folder| {
                    number(emit, folder, "memory.limit_in_bytes").filter(|&bytes| bytes < 9e18)
                });
                let used = memory
                    .first()
                    .and_then(|folder| number(emit, folder, "memory.usage_in_bytes"));
                let stat = cpu
                    .first()
                    .and_then(|folder| emit.text(&format!("{folder}/cpu.stat")));
                let control = memory
                    .first()
                    .and_then(|folder| emit.text(&format!("{folder}/memory.oom_control")));
                let kills = control.and_then(|text| entry(&text, "oom_kill"));
                (cores, limit, used, stat, kills, ("throttled_time", 1e-9))
            }
        };
        if let Some(cores) = cores {
            emit.gauge("host_cgroup_cpu_limit_cores", &who, "cores", cores);
        }
        if let Some(bytes) = memory_limit {
            emit.gauge("host_cgroup_memory_limit_bytes", &who, "bytes", bytes);
        }
        if let Some(bytes) = memory_used {
            emit.gauge("host_cgroup_memory_used_bytes", &who, "bytes", bytes);
        }
        if let Some(kills) = oom_kills {
            emit.counter("host_cgroup_oom_kills_total", &who, "kills", kills);
        }
        let Some(stat) = stat else { return };
        if let Some(periods) = entry(&stat, "nr_throttled") {
            emit.counter(
                "host_cgroup_cpu_throttled_periods_total",
                &who,
                "periods",
                periods,
            );
        }
        let (key, unit) = throttle_unit;
        if let Some(throttled) = entry(&stat, key) {
            emit.counter(
                "host_cgroup_cpu_throttled_seconds_total",
                &who,
                "seconds",
                throttled * unit,
            );
        }
    }
}

/// Returns the process's folder and its ancestors that contain `probe`. In a container the path may be one of
/// the host's that does not exist here; then the mount itself is the container's own group.
fn ancestors(mount: &str, path: &str, probe: &str, emit: &Emitter<'_>) -> Vec<String> {
    let mut folders = Vec::new();
    let mut rest = path.trim_matches('/');
    loop {
        let folder = if rest.is_empty() {
            mount.to_owned()
        } else {
            format!("{mount}/{rest}")
        };
        if emit.exists(&format!("{folder}/{probe}")) {
            folders.push(folder);
        }
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None if rest.is_empty() => return folders,
            None => rest = "",
        }
    }
}

fn tightest(folders: &[String], limit: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    folders
        .iter()
        .filter_map(|folder| limit(folder))
        .min_by(f64::total_cmp)
}

fn number(emit: &Emitter<'_>, folder: &str, file: &str) -> Option<f64> {
    // "max" does not parse and means no limit.
    emit.text(&format!("{folder}/{file}"))?.trim().parse().ok()
}

fn quota_v2(text: &str) -> Option<f64> {
    let mut words = text.split_ascii_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    Some(quota / words.next()?.parse::<f64>().ok()?)
}

fn entry(text: &str, key: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
