//! CPU, memory, faults and files of the server's process tree and, separately, of our own process.

use std::collections::{HashMap, HashSet};

use super::cpu::TICKS_PER_SECOND;
use super::emit::Emitter;
use super::roles::{Role, RoleStates};
use super::tree::process_tree_in;
use run_model::EventKind;
use run_model::Severity;

/// `/proc/<pid>/status` has sizes in KiB, whatever the page size.
const STATUS_KIB: f64 = 1024.0;

/// One group of processes whose counters never decrease, even when a member ends.
pub(crate) struct Group {
    label: &'static str,
    root: u32,
    with_children: bool,
    members: HashSet<u32>,
    last: HashMap<(u32, u64), (Counters, Option<Role>)>,
    ended: Counters,
    roles: HashMap<u32, Role>,
    engine_ended_seconds: f64,
    told_gone: bool,
}

/// Counters of a process or of a group. Values from `stat` are always present; the others are in files that a
/// kernel, a container or another user's process may hide.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counters {
    user_seconds: f64,
    system_seconds: f64,
    minor_faults: f64,
    major_faults: f64,
    read_bytes: Option<f64>,
    written_bytes: Option<f64>,
    voluntary_switches: Option<f64>,
    forced_switches: Option<f64>,
}

impl Counters {
    /// Zero counters, the start of sums.
    const ZERO: Self = Self {
        user_seconds: 0.0,
        system_seconds: 0.0,
        minor_faults: 0.0,
        major_faults: 0.0,
        read_bytes: Some(0.0),
        written_bytes: Some(0.0),
        voluntary_switches: Some(0.0),
        forced_switches: Some(0.0),
    };

    fn seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    fn optional(&mut self) -> [&mut Option<f64>; 4] {
        [
            &mut self.read_bytes,
            &mut self.written_bytes,
            &mut self.voluntary_switches,
            &mut self.forced_switches,
        ]
    }

    /// Adds a member. A value that is unknown for one member is unknown for the sum: a partial sum would look
    /// like the whole, and the counter would change with whatever is readable.
    fn add(&mut self, mut other: Self) {
        self.user_seconds += other.user_seconds;
        self.system_seconds += other.system_seconds;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        for (sum, more) in self.optional().into_iter().zip(other.optional()) {
            *sum = sum.zip(*more).map(|(sum, more)| sum + more);
        }
    }
}

impl Group {
    /// The server: its first process and all descendants.
    pub(crate) fn server(pid: u32) -> Self {
        Self::new("server", pid, true)
    }

    /// Our process alone, because a server that we started is our child.
    pub(crate) fn own(pid: u32) -> Self {
        Self::new("self", pid, false)
    }

    fn new(label: &'static str, root: u32, with_children: bool) -> Self {
        Self {
            label,
            root,
            with_children,
            members: HashSet::from([root]),
            last: HashMap::new(),
            ended: Counters::ZERO,
            roles: HashMap::new(),
            engine_ended_seconds: 0.0,
            told_gone: false,
        }
    }

    /// Updates the members of the group; reads every process of the host.
    pub(crate) fn refresh(&mut self, emit: &mut Emitter<'_>) {
        if !self.with_children {
            return;
        }
        self.members = process_tree_in(&emit.root().join("proc"), self.root);
        // Read each time, because vLLM names its processes after their start.
        let role = |&pid: &u32| {
            let line = emit.text(&format!("proc/{pid}/cmdline"))?;
            Some((pid, Role::of(&line, pid == self.root)?))
        };
        self.roles = self.members.iter().filter_map(role).collect();
        if self.members.is_empty() && !std::mem::replace(&mut self.told_gone, true) {
            let message = format!(
                "the {} (pid {}) is not among this host's processes",
                self.label, self.root
            );
            let attributes = serde_json::json!({ "process": self.label, "pid": self.root });
            emit.event(EventKind::ProcessGone, Severity::Warning, message, &attributes);
        }
    }

    /// Publishes counters and memory of all members.
    pub(crate) fn sample(&mut self, emit: &mut Emitter<'_>) {
        let mut now = HashMap::with_capacity(self.last.len());
        let mut states = RoleStates::default();
        let mut resident_bytes = Some(0.0);
        let mut threads = 0.0;
        for &pid in &self.members {
            let Some(stat) = emit
                .text(&format!("proc/{pid}/stat"))
                .and_then(|text| Stat::parse(&text))
            else {
                continue;
            };
            let status = emit.text(&format!("proc/{pid}/status"));
            let io = emit.text(&format!("proc/{pid}/io"));
            if (status.is_none() || io.is_none()) && !emit.exists(&format!("proc/{pid}/stat")) {
                // It ended during the read: its last counters are kept.
                continue;
            }
            let in_status = |key| status.as_deref().and_then(|text| value_of(text, key));
            let in_io = |key| io.as_deref().and_then(|text| value_of(text, key));
            let role = self.roles.get(&pid).copied();
            states.add(role, stat.state);
            let counters = Counters {
                user_seconds: stat.user_ticks / TICKS_PER_SECOND,
                system_seconds: stat.system_ticks / TICKS_PER_SECOND,
                minor_faults: stat.minor_faults,
                major_faults: stat.major_faults,
                read_bytes: in_io("read_bytes"),
                written_bytes: in_io("write_bytes"),
                voluntary_switches: in_status("voluntary_ctxt_switches"),
                forced_switches: in_status("nonvoluntary_ctxt_switches"),
            };
            now.insert((pid, stat.start), (counters, role));
            // A zombie holds no memory, and its status has no sizes.
            let resident = if stat.state == 'Z' {
                Some(0.0)
            } else {
                in_status("VmRSS")
            };
            resident_bytes = resident_bytes
                .zip(resident)
                .map(|(sum, kib)| sum + kib * STATUS_KIB);
            threads += stat.threads;
        }
        if now.is_empty() {
            return;
        }
        // A member's last counters stay in the sum after it ends.
        for (member, (counters, role)) in &self.last {
            if !now.contains_key(member) {
                self.ended.add(*counters);
                if *role == Some(Role::Engine) {
                    self.engine_ended_seconds += counters.seconds();
                }
            }
        }
        let mut sum = self.ended;
        let mut engine_seconds = self.engine_ended_seconds;
        for (counters, role) in now.values() {
            sum.add(*counters);
            if *role == Some(Role::Engine) {
                engine_seconds += counters.seconds();
            }
        }
        states.publish(engine_seconds, emit);
        let count = now.len() as f64;
        self.last = now;
        self.tell(&sum, resident_bytes, threads, count, emit);
    }

    fn tell(
        &self,
        sum: &Counters,
        resident_bytes: Option<f64>,
        threads: f64,
        count: f64,
        emit: &mut Emitter<'_>,
    ) {
        let who = ("process", self.label);
        let mut two = |name, key, pairs: [(&str, Option<f64>); 2], unit, what: &str| {
            for (value, amount) in pairs {
                match amount {
                    Some(amount) => emit.counter(name, &[who, (key, value)], unit, amount),
                    None => emit.note_absent(&format!("{what} of the {} (no permission?)", self.label)),
                }
            }
        };
        let cpu = [
            ("user", Some(sum.user_seconds)),
            ("system", Some(sum.system_seconds)),
        ];
        two(
            "host_process_cpu_seconds_total",
            "mode",
            cpu,
            "seconds",
            "CPU time",
        );
        let faults = [
            ("minor", Some(sum.minor_faults)),
            ("major", Some(sum.major_faults)),
        ];
        two(
            "host_process_page_faults_total",
            "kind",
            faults,
            "faults",
            "page faults",
        );
        let bytes = [("read", sum.read_bytes), ("write", sum.written_bytes)];
        two(
            "host_process_disk_bytes_total",
            "direction",
            bytes,
            "bytes",
            "disk traffic",
        );
        let switches = [
            ("voluntary", sum.voluntary_switches),
            ("forced", sum.forced_switches),
        ];
        two(
            "host_process_context_switches_total",
            "kind",
            switches,
            "switches",
            "context switches",
        );
        match resident_bytes {
            Some(bytes) => emit.gauge("host_process_resident_bytes", &[who], "bytes", bytes),
            None => emit.note_absent(&format!("resident memory of the {}", self.label)),
        }
        emit.gauge("host_process_threads", &[who], "threads", threads);
        emit.gauge("host_processes", &[who], "processes", count);
    }

    /// Publishes the number of open files of all members, and the lowest limit among them.
    pub(crate) fn files(&self, emit: &mut Emitter<'_>) {
        let mut open = 0.0;
        let mut limit = f64::INFINITY;
        for &pid in &self.members {
            let Some(files) = emit.list(&format!("proc/{pid}/fd")) else {
                if emit.exists(&format!("proc/{pid}")) {
                    emit.note_absent(&format!("open files of the {} (no permission?)", self.label));
                    return;
                }
                continue;
            };
            open += files.len() as f64;
            let limits = emit.text(&format!("proc/{pid}/limits")).unwrap_or_default();
            let line = limits
                .lines()
                .find_map(|line| line.strip_prefix("Max open files"));
            let soft = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok());
            limit = limit.min(soft.unwrap_or(f64::INFINITY));
        }
        if open > 0.0 {
            emit.gauge(
                "host_process_open_files",
                &[("process", self.label)],
                "files",
                open,
            );
        }
        if limit.is_finite() {
            emit.gauge(
                "host_process_open_files_limit",
                &[("process", self.label)],
                "files",
                limit,
            );
        }
    }
}

struct Stat {
    user_ticks: f64,
    system_ticks: f64,
    minor_faults: f64,
    major_faults: f64,
    threads: f64,
    start: u64,
    /// The letter of `/proc/<pid>/stat`: R, S, D, T, Z, …
    state: char,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The command is in parentheses and may contain any character; the text after the last one is
        // regular.
        let words: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |place: usize| words.get(place)?.parse::<f64>().ok();
        Some(Self {
            minor_faults: number(7)?,
            major_faults: number(9)?,
            user_ticks: number(11)?,
            system_ticks: number(12)?,
            threads: number(17)?,
            start: words.get(19)?.parse().ok()?,
            state: words.first()?.chars().next()?,
        })
    }
}

/// Returns the number after `key:`.
fn value_of(text: &str, key: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
