//! Runs the program in a separate folder and inspects everything that it writes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mlperf_loadgen::{LoadGenLog, Validity};
use vllm_metrics::store::read_run;
use vllm_metrics::{Outcome, RunData};
use vllm_sim::{EngineConfig, SimConfig, Simulator};

/// A simulator with short answers and the given faults, one line each.
pub(crate) fn simulator(faults: &[&str]) -> Simulator {
    Simulator::start(SimConfig {
        engine: EngineConfig {
            enable_prefix_caching: false,
            ..EngineConfig::tiny_cpu()
        },
        faults: faults.iter().map(|line| line.parse().expect("a fault")).collect(),
        ..SimConfig::default()
    })
    .expect("the simulator starts")
}

/// A run to start.
pub(crate) struct Run {
    folder: tempfile::TempDir,
    args: Vec<String>,
    metrics: bool,
    /// Shell commands before the program, which replaces the shell.
    shell: Option<String>,
}

/// A run that has ended.
pub(crate) struct Finished {
    folder: tempfile::TempDir,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            args: args.iter().map(ToString::to_string).collect(),
            metrics: true,
            shell: None,
        }
    }

    /// Limits the size of every file: a write beyond it fails, as on a full disk.
    pub(crate) fn with_file_limit_kib(mut self, kib: u32) -> Self {
        // The signal that the limit sends would kill us; an ignored signal stays ignored in the program. The shell
        // counts in blocks of 512 bytes.
        self.shell = Some(format!("trap '' XFSZ; ulimit -f {}", 2 * kib));
        self
    }

    /// Limits the address space.
    pub(crate) fn with_address_space_mib(mut self, mib: u32) -> Self {
        self.shell = Some(format!("ulimit -v {}", mib * 1024));
        self
    }

    pub(crate) fn without_metrics(mut self) -> Self {
        self.metrics = false;
        self
    }

    /// The run's own folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The program with its arguments, in the run's folder, not yet started.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.shell {
            None => Command::new(env!("CARGO_BIN_EXE_sut")),
            Some(before) => {
                let mut shell = Command::new("sh");
                let line = format!("{before}; exec \"$0\" \"$@\"");
                shell.args(["-c", &line, env!("CARGO_BIN_EXE_sut")]);
                shell
            }
        };
        command
            .args(&self.args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if self.metrics {
            command.arg("--enable-metrics-collection");
        }
        command
    }

    pub(crate) fn finish(self) -> Finished {
        let output = self.command().output().expect("the program starts");
        self.with(&output)
    }

    /// Waits for a child made with [`Run::command`] whose output is piped.
    pub(crate) fn ended(self, child: std::process::Child) -> Finished {
        let output = child.wait_with_output().expect("an end");
        self.with(&output)
    }

    fn with(self, output: &std::process::Output) -> Finished {
        Finished {
            folder: self.folder,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// The whole console output, for messages.
    pub(crate) fn shown(&self) -> String {
        format!("status {:?}\n{}{}", self.status, self.stdout, self.stderr)
    }

    pub(crate) fn metrics_dir(&self) -> PathBuf {
        self.folder.path().join("metrics_output")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.folder.path().join("mlperf_logs")
    }

    pub(crate) fn loadgen(&self) -> LoadGenLog {
        LoadGenLog::read(&self.log_dir()).unwrap_or_else(|e| panic!("{e}\n{}{}", self.stdout, self.stderr))
    }

    /// The raw record.
    pub(crate) fn record(&self) -> RunData {
        let raw = self
            .files("vllm_metrics_")
            .into_iter()
            .find(|path| !path.to_string_lossy().contains("_processed"));
        read_run(raw.expect("a raw file")).expect("the record reads back")
    }

    /// Files in the metrics folder whose names start with `prefix`.
    pub(crate) fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(self.metrics_dir())
            .expect("a metrics folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .collect();
        found.sort();
        found
    }

    /// The summary, as JSON.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let folder = self.metrics_dir().join("visualizations");
        let path = std::fs::read_dir(&folder)
            .expect("a folder of pictures")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.to_string_lossy().contains("metrics_summary_"))
            .expect("a summary");
        serde_json::from_str(&std::fs::read_to_string(path).expect("it is readable")).expect("it is JSON")
    }

    /// Asserts that LoadGen's log, our table and the record agree.
    pub(crate) fn assert_consistent(&self) {
        let shown = format!("{}{}", self.stdout, self.stderr);
        let log = self.loadgen();
        let result = &log.result;
        assert_eq!(result.num_errors, Some(0), "{:?}\n{shown}", result.errors);
        assert!(result.errors.is_empty(), "{:?}", result.errors);
        let valid = result.validity == Some(Validity::Valid);
        assert_eq!(
            self.status,
            Some(if valid { 0 } else { 1 }),
            "the exit status is LoadGen's verdict\n{shown}"
        );

        let run = self.record();
        assert!(run.notes.is_empty(), "{:?}", run.notes);
        assert!(
            run.requests.iter().all(|r| r.outcome == Outcome::Completed),
            "{shown}"
        );
        let per_query = result
            .generated_samples_per_query
            .expect("LoadGen tells the size of its queries");
        let samples = result.generated_query_count.expect("LoadGen counts its queries") * per_query;
        assert_eq!(run.requests.len() as u64, samples, "completed is issued\n{shown}");

        let (ours, theirs) = self.throughputs();
        assert!(
            (ours / theirs - 1.0).abs() < 1e-3,
            "{ours} against LoadGen's {theirs} tokens/s\n{shown}"
        );

        let reported: u64 = run
            .requests
            .iter()
            .map(|r| u64::from(r.output_tokens.expect("a count")))
            .sum();
        let mut increase = 0.0;
        for series in run
            .series
            .iter()
            .filter(|s| &*s.def.metric_name == "vllm:generation_tokens_total")
        {
            increase += series.values.last().expect("a last") - series.values.first().expect("a first");
        }
        assert_eq!(
            increase, reported as f64,
            "the engine's tokens are those reported to LoadGen\n{shown}"
        );

        for picture in [
            "gpu_utilization_",
            "requests_running_",
            "performance_overview_",
            "metrics_summary_",
        ] {
            let folder = self.metrics_dir().join("visualizations");
            let there = std::fs::read_dir(&folder)
                .expect("a folder of pictures")
                .any(|entry| {
                    entry
                        .expect("an entry")
                        .file_name()
                        .to_string_lossy()
                        .starts_with(picture)
                });
            assert!(there, "{picture} is missing in {}", folder.display());
        }
        for prefix in ["requests_", "events_"] {
            let raw = self
                .files(prefix)
                .into_iter()
                .filter(|path| !path.to_string_lossy().contains("_processed"));
            assert_eq!(raw.count(), 1, "{prefix}");
        }
    }

    /// Tokens per second from our table: ours and LoadGen's.
    fn throughputs(&self) -> (f64, f64) {
        self.both_throughputs().expect("both are shown")
    }

    /// As [`Finished::throughputs`]; `None` if LoadGen reports none.
    pub(crate) fn both_throughputs(&self) -> Option<(f64, f64)> {
        let line = self
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with("throughput"))
            .expect("a line");
        if !line.contains("LoadGen") {
            return None;
        }
        let mut numbers = line
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter_map(|word| word.parse::<f64>().ok());
        Some((numbers.next().expect("ours"), numbers.next().expect("LoadGen's")))
    }
}
