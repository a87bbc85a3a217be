//! The process figures of the page, from `/proc/self`. On a system without it they are missing, not 0.

use std::fs;

/// Values of the process collector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessFigures {
    pub(crate) virtual_bytes: f64,
    pub(crate) resident_bytes: f64,
    pub(crate) cpu_secs: f64,
    pub(crate) open_fds: f64,
    pub(crate) max_fds: f64,
}

/// Reads them now.
pub(crate) fn read() -> Option<ProcessFigures> {
    // The kernel reports CPU time to user space in hundredths of a second on every architecture it supports.
    const TICKS_PER_SEC: f64 = 100.0;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = |key: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name is in brackets and may hold spaces; user and system time are the 12th and 13th after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let files = limits.lines().find(|line| line.starts_with("Max open files"))?;
    Some(ProcessFigures {
        virtual_bytes: kib("VmSize")? * 1024.0,
        resident_bytes: kib("VmRSS")? * 1024.0,
        cpu_secs: (user + system) / TICKS_PER_SEC,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        max_fds: files.split_whitespace().nth(3)?.parse().ok()?,
    })
}
