//! The machine and the software of a run, as far as they can be determined, without secrets.
//!
//! Unknown facts are `null`; nothing is guessed. The only program that is executed is `git`, to determine the
//! commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Name of the file in LoadGen's log folder.
pub const ENVIRONMENT: &str = "environment.json";

/// The machine and the software of a run.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Environment {
    /// Name and version of this program.
    pub program: String,
    /// LoadGen's version.
    pub loadgen_version: String,
    /// The command line, with secrets replaced.
    pub command_line: Vec<String>,
    /// The server's answer to `/version`.
    pub server_version: Option<String>,
    /// `PRETTY_NAME` of the operating system.
    pub operating_system: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// The processor's name.
    pub processor: Option<String>,
    /// Number of processors that this process may use.
    pub processors_available: Option<usize>,
    /// Number of processors in the machine.
    pub processors: Option<usize>,
    /// Number of processor packages in the machine, as numbered by the kernel.
    pub processor_chips: Option<usize>,
    /// Number of physical cores in one package.
    pub cores_per_chip: Option<usize>,
    /// Models of the machine's NVIDIA GPUs, as listed by the driver; empty without a driver.
    #[serde(default)]
    pub nvidia_gpus: Vec<String>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Frequency governor of the first processor.
    pub cpu_governor: Option<String>,
    /// NVIDIA driver version.
    pub nvidia_driver: Option<String>,
    /// Commit of the working directory, with `-dirty` when there are changes.
    pub git_commit: Option<String>,
    /// Allow-listed environment variables that are set.
    pub variables: BTreeMap<String, String>,
}

/// Facts of a run that the program knows and the machine does not.
#[derive(Debug, Clone)]
pub struct ProgramFacts<'a> {
    /// Name and version of the program.
    pub program: String,
    /// The program's command line, with secrets replaced.
    pub command_line: Vec<String>,
    /// The version that the server reports.
    pub server_version: Option<String>,
    /// Environment variables to record; others are never read, so they cannot leak.
    pub variables: &'a [&'a str],
}

impl Environment {
    /// Reads the current environment.
    pub fn read(making: ProgramFacts<'_>) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            program: making.program,
            loadgen_version: mlperf_loadgen::loadgen_version(),
            command_line: making.command_line,
            server_version: making.server_version,
            operating_system: fs::read_to_string("/etc/os-release").ok().and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
                Some(line.trim_matches('"').to_owned())
            }),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            processor: cpuinfo
                .lines()
                .find_map(|line| line.strip_prefix("model name"))
                .and_then(|rest| Some(rest.split_once(':')?.1.trim().to_owned())),
            processors_available: std::thread::available_parallelism()
                .ok()
                .map(std::num::NonZero::get),
            processors: match cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count()
            {
                0 => None,
                count => Some(count),
            },
            processor_chips: distinct(&cpuinfo, "physical id"),
            cores_per_chip: number_of(&cpuinfo, "cpu cores"),
            nvidia_gpus: nvidia_gpus(Path::new("/proc/driver/nvidia/gpus")),
            memory_bytes: fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
                Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
            }),
            cpu_governor: line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            nvidia_driver: line_of("/sys/module/nvidia/version"),
            git_commit: git_commit(),
            variables: making
                .variables
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
                .collect(),
        }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        crate::files::write(path, &(text + "\n"))
    }
}

/// The value of each line of /proc/cpuinfo with this key.
fn values<'a>(cpuinfo: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    cpuinfo.lines().filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The number of different values of a key of /proc/cpuinfo; `None` if the kernel does not report the key.
fn distinct(cpuinfo: &str, key: &str) -> Option<usize> {
    let found: std::collections::BTreeSet<&str> = values(cpuinfo, key).collect();
    (!found.is_empty()).then_some(found.len())
}

/// The number that a key of /proc/cpuinfo has on every processor; `None` if they differ or it is not
/// reported.
fn number_of(cpuinfo: &str, key: &str) -> Option<usize> {
    let first = values(cpuinfo, key).next()?;
    let alike = values(cpuinfo, key).all(|value| value == first);
    first.parse().ok().filter(|_| alike)
}

/// The driver's directory contains a folder for each GPU, named by its bus address.
fn nvidia_gpus(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path().join("information"))
        .collect();
    files.sort();
    let model = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let model = values(&text, "Model").next()?.to_owned();
        Some(model)
    };
    files.iter().filter_map(model).collect()
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn git_commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_cores_and_gpus_are_counted_as_they_are_told() {
        let two = "processor\t: 0\nphysical id\t: 0\ncpu cores\t: 4\n\nprocessor\t: 1\nphysical id\t: 1\ncpu cores\t: 4\n";
        assert_eq!(
            (distinct(two, "physical id"), number_of(two, "cpu cores")),
            (Some(2), Some(4))
        );
        let uneven = two.replacen("cores\t: 4", "cores\t: 2", 1);
        assert_eq!(
            (number_of(&uneven, "cpu cores"), distinct("", "physical id")),
            (None, None)
        );
        let dir = tempfile::tempdir().unwrap();
        for bus in ["0000:0a:00.0", "0000:0b:00.0"] {
            fs::create_dir(dir.path().join(bus)).unwrap();
            let text = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 1\n";
            fs::write(dir.path().join(bus).join("information"), text).unwrap();
        }
        assert_eq!(nvidia_gpus(dir.path()), ["NVIDIA H100 80GB HBM3"; 2]);
        assert!(nvidia_gpus(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn what_this_machine_tells_is_there() {
        let read = Environment::read(ProgramFacts {
            program: "sut 0".into(),
            command_line: Vec::new(),
            server_version: Some("0.32.0".into()),
            variables: &["PATH", "SURELY_NOT_SET_ANYWHERE"],
        });
        assert_eq!(read.variables.keys().collect::<Vec<_>>(), ["PATH"]);
        assert!(
            read.kernel.is_some() && read.memory_bytes.is_some_and(|bytes| bytes > 1 << 20),
            "{read:?}"
        );
        assert!(read.processors_available.is_some());
    }
}
