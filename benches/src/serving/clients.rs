//! The clients: how each is configured for the load, and how its results are read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use vllm_metrics::Outcome;
use vllm_metrics::store::read_run;

use super::processes::on_core;
use super::{Arrivals, Bench, CLIENT_CORE, Load, PROMPT_TOKENS, Seen, poisson};

/// Samples of the dataset that requests are made from; few, since LoadGen sends whole datasets.
const SAMPLES: usize = 500;
/// The model name of the simulated server.
const MODEL: &str = "simulated-8b";

/// The program that sends the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// `sut`, with LoadGen and with recording on.
    Ours,
    /// `vllm bench serve`.
    VllmBench {
        /// A Python interpreter that has vLLM.
        python: PathBuf,
        /// A folder with a tokenizer, without which it does not start.
        tokenizer: PathBuf,
    },
    /// aiperf.
    Aiperf {
        /// The program.
        program: PathBuf,
        /// A folder with a tokenizer.
        tokenizer: PathBuf,
    },
}

impl Client {
    /// `vllm bench serve` from the folder filled by `scripts/real-vllm install`: `REAL_VLLM_DIR`, or
    /// `target/real-vllm`.
    ///
    /// # Errors
    /// It is not installed.
    pub fn vllm_bench() -> Result<Self> {
        let dir = real_vllm_dir();
        let (python, tokenizer) = (dir.join("venv/bin/python"), dir.join("model"));
        ensure!(
            python.exists() && tokenizer.exists(),
            "vllm bench IS NOT INSTALLED in {}: run scripts/real-vllm install, or set REAL_VLLM_DIR",
            dir.display()
        );
        Ok(Self::VllmBench { python, tokenizer })
    }

    /// The aiperf that the variable `AIPERF` names, with the tokenizer of [`Client::vllm_bench`].
    ///
    /// # Errors
    /// The variable is not set, or there is no tokenizer.
    pub fn aiperf() -> Result<Self> {
        let Some(program) = std::env::var_os("AIPERF").map(PathBuf::from) else {
            bail!("aiperf IS NOT INSTALLED: set AIPERF to its program");
        };
        let tokenizer = real_vllm_dir().join("model");
        ensure!(program.exists(), "AIPERF: {} is not there", program.display());
        ensure!(
            tokenizer.exists(),
            "no tokenizer in {}: run scripts/real-vllm install, or set REAL_VLLM_DIR",
            tokenizer.display()
        );
        Ok(Self::Aiperf { program, tokenizer })
    }

    /// A short name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours => "sut",
            Self::VllmBench { .. } => "vllm bench",
            Self::Aiperf { .. } => "aiperf",
        }
    }

    /// Whether its output reports success. Ours also prints whether the run would count; a short run never
    /// does.
    pub(super) fn ended_well(&self, status: ExitStatus) -> bool {
        match self {
            Self::Ours => matches!(status.code(), Some(0 | 1)),
            _ => status.success(),
        }
    }

    /// The command that sends `load` to `url` and leaves its results in `dir`.
    pub(super) fn command(&self, bench: &Bench, load: &Load, url: &str, dir: &Path) -> Result<Command> {
        match self {
            Self::Ours => ours(bench, load, url, dir),
            Self::VllmBench { python, tokenizer } => vllm_bench(python, tokenizer, load, url, dir),
            Self::Aiperf { program, tokenizer } => aiperf(program, tokenizer, load, url, dir),
        }
    }

    /// Reads the results from `dir`.
    pub(super) fn read(&self, dir: &Path) -> Result<Seen> {
        match self {
            Self::Ours => read_ours(dir),
            Self::VllmBench { .. } => read_vllm_bench(dir),
            Self::Aiperf { .. } => read_aiperf(dir),
        }
    }
}

fn real_vllm_dir() -> PathBuf {
    std::env::var_os("REAL_VLLM_DIR").map_or_else(|| PathBuf::from("target/real-vllm"), PathBuf::from)
}

/// Token ids of a prompt: different for each, and in the vocabulary of any model.
fn prompt(number: usize) -> Vec<usize> {
    (0..PROMPT_TOKENS)
        .map(|at| 16 + (number * 31 + at * 7) % 900)
        .collect()
}

fn ours(bench: &Bench, load: &Load, url: &str, dir: &Path) -> Result<Command> {
    let dataset = dir.join("dataset.jsonl");
    let samples = SAMPLES.min(load.requests);
    let lines: Vec<String> = (0..samples)
        .map(|number| serde_json::json!({ "tok_input": prompt(number) }).to_string())
        .collect();
    fs::write(&dataset, lines.join("\n"))?;
    // LoadGen sends as many whole datasets as the duration needs; Offline sends a tenth more than that.
    let (scenario, rate, secs, concurrency) = match load.arrivals {
        Arrivals::Poisson(rate) => ("Server", rate, load.requests as f64 / rate, 8192),
        Arrivals::Closed(concurrency) => ("Offline", load.requests as f64 / 1.1, 1.0, concurrency),
    };
    let mut command = on_core(CLIENT_CORE, &bench.sut);
    command
        .args([
            "--url",
            url,
            "--scenario",
            scenario,
            "--no-plots",
            "--no-gpu-telemetry",
        ])
        .args(["--enable-metrics-collection", "--log-level", "WARNING"])
        .args(["--max-tokens", &load.output_tokens.to_string()])
        .args(["--concurrency", &concurrency.to_string()])
        .arg("--dataset-path")
        .arg(&dataset)
        .arg("--input-ids-column")
        .arg("tok_input")
        .args(["--target-qps", &rate.to_string(), "--duration", &secs.to_string()])
        .arg("--output-log-dir")
        .arg(dir.join("mlperf_logs"))
        .arg("--metrics-output-dir")
        .arg(dir.join("metrics_output"));
    Ok(command)
}

fn read_ours(dir: &Path) -> Result<Seen> {
    let run = read_run(dir.join("metrics_output"))?;
    let delays = |time: fn(&vllm_metrics::RequestRow) -> Option<i64>| {
        let times = run.requests.iter();
        sorted(
            times
                .filter_map(|row| Some((time(row)? - row.scheduled_ns?) as f64 / 1e3))
                .collect(),
        )
    };
    let answered: Vec<_> = run
        .requests
        .iter()
        .filter(|row| row.outcome == Outcome::Completed)
        .collect();
    let start = answered.iter().filter_map(|row| row.sent_ns).min();
    let end = answered.iter().filter_map(|row| row.done_ns).max();
    let (start, end) = start.zip(end).context("no request was answered")?;
    Ok(Seen {
        sent: run.requests.len(),
        answered: answered.len(),
        tokens: answered
            .iter()
            .filter_map(|row| row.output_tokens)
            .map(u64::from)
            .sum(),
        wall_secs: (end - start) as f64 / 1e9,
        issue_delay_us: delays(|row| Some(row.issued_ns)),
        sent_delay_us: delays(|row| row.sent_ns),
        ..Seen::default()
    })
}

/// Arrival times of a load in seconds; all zero if the client itself limits requests in flight.
fn times(load: &Load) -> Vec<f64> {
    match load.arrivals {
        Arrivals::Poisson(rate) => poisson(rate, load.requests),
        Arrivals::Closed(_) => vec![0.0; load.requests],
    }
}

fn vllm_bench(python: &Path, tokenizer: &Path, load: &Load, url: &str, dir: &Path) -> Result<Command> {
    let trace = dir.join("trace.jsonl");
    let mut lines = String::new();
    let times = times(load);
    for (number, at) in times.iter().enumerate() {
        let line = serde_json::json!({
            "timestamp": at, "input_length": PROMPT_TOKENS, "output_length": load.output_tokens,
            "hash_ids": [number % SAMPLES],
        });
        writeln!(lines, "{line}")?;
    }
    fs::write(&trace, lines)?;
    fs::write(dir.join("times.json"), serde_json::to_string(&times)?)?;
    let mut command = on_core(CLIENT_CORE, python);
    // The code behind `vllm bench serve`. The command itself needs the metadata of a package named vllm,
    // which the CPU build lacks.
    const PROGRAM: &str = "from vllm.benchmarks.serve import add_cli_args, main\n\
        from vllm.utils.argparse_utils import FlexibleArgumentParser\n\
        parser = FlexibleArgumentParser()\nadd_cli_args(parser)\nmain(parser.parse_args())";
    command
        .args(["-c", PROGRAM, "--backend", "openai"])
        .args([
            "--base-url",
            url,
            "--model",
            MODEL,
            "--dataset-name",
            "timed_trace",
        ])
        .args(["--timed-trace-chunk-hash-size", &PROMPT_TOKENS.to_string()])
        .args([
            "--num-prompts",
            &load.requests.to_string(),
            "--ignore-eos",
            "--disable-tqdm",
        ])
        .args([
            "--save-result",
            "--save-detailed",
            "--result-filename",
            "result.json",
        ])
        .arg("--dataset-path")
        .arg(&trace)
        .arg("--tokenizer")
        .arg(tokenizer)
        .arg("--result-dir")
        .arg(dir)
        .env("HF_HUB_OFFLINE", "1")
        .env("VLLM_NO_USAGE_STATS", "1");
    if let Arrivals::Closed(concurrency) = load.arrivals {
        command.args(["--max-concurrency", &concurrency.to_string()]);
    }
    Ok(command)
}

fn read_vllm_bench(dir: &Path) -> Result<Seen> {
    let result: Value = serde_json::from_str(&fs::read_to_string(dir.join("result.json"))?)?;
    let times: Vec<f64> = serde_json::from_str(&fs::read_to_string(dir.join("times.json"))?)?;
    let number = |key: &str| {
        result[key]
            .as_f64()
            .with_context(|| format!("no {key} in its result"))
    };
    let starts: Vec<f64> = list(&result["start_times"]).context("no start_times in its result")?;
    ensure!(
        starts.len() == times.len(),
        "{} of {} requests",
        starts.len(),
        times.len()
    );
    Ok(Seen {
        sent: starts.len(),
        answered: number("completed")? as usize,
        tokens: number("total_output_tokens")? as u64,
        wall_secs: number("duration")?,
        sent_delay_us: delays_from_earliest(&starts, &times),
        ..Seen::default()
    })
}

/// Delays of starts behind their planned times, in microseconds. The plan's own start is not reported, so the
/// least late request counts as on time, which flatters the client.
fn delays_from_earliest(starts: &[f64], planned: &[f64]) -> Vec<f64> {
    let behind: Vec<f64> = starts.iter().zip(planned).map(|(start, at)| start - at).collect();
    let least = behind.iter().copied().fold(f64::INFINITY, f64::min);
    sorted(behind.into_iter().map(|late| (late - least) * 1e6).collect())
}

fn list(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn aiperf(program: &Path, tokenizer: &Path, load: &Load, url: &str, dir: &Path) -> Result<Command> {
    let input = dir.join("input.jsonl");
    let mut lines = String::new();
    let times = times(load);
    for (number, at) in times.iter().enumerate() {
        // It accepts only texts; the simulated server counts a token for each word.
        let words: Vec<String> = prompt(number % SAMPLES)
            .iter()
            .map(|id| format!("w{id}"))
            .collect();
        let mut line = serde_json::json!({ "text": words.join(" "), "output_length": load.output_tokens });
        if let Arrivals::Poisson(_) = load.arrivals {
            line["timestamp"] = (at * 1e3).into();
        }
        writeln!(lines, "{line}")?;
    }
    fs::write(&input, lines)?;
    fs::write(dir.join("times.json"), serde_json::to_string(&times)?)?;
    let mut command = on_core(CLIENT_CORE, program);
    command
        .args([
            "profile",
            "--model",
            MODEL,
            "--url",
            url,
            "--endpoint-type",
            "completions",
            "--streaming",
        ])
        .args([
            "--custom-dataset-type",
            "single_turn",
            "--ui",
            "none",
            "--use-server-token-count",
        ])
        .args([
            "--no-server-metrics",
            "--no-gpu-telemetry",
            "--extra-inputs",
            "ignore_eos:true",
        ])
        .arg("--input-file")
        .arg(&input)
        .arg("--tokenizer")
        .arg(tokenizer)
        .arg("--artifact-dir")
        .arg(dir.join("artifacts"));
    match load.arrivals {
        Arrivals::Poisson(_) => command.arg("--fixed-schedule"),
        Arrivals::Closed(concurrency) => command
            .args(["--concurrency", &concurrency.to_string()])
            .args(["--request-count", &load.requests.to_string()]),
    };
    Ok(command)
}

fn read_aiperf(dir: &Path) -> Result<Seen> {
    let times: Vec<f64> = serde_json::from_str(&fs::read_to_string(dir.join("times.json"))?)?;
    let records = fs::read_to_string(dir.join("artifacts/profile_export.jsonl"))?;
    let (mut tokens, mut answered, mut end) = (0, 0, f64::NEG_INFINITY);
    let (mut starts, mut planned) = (Vec::new(), Vec::new());
    for line in records.lines() {
        let record: Value = serde_json::from_str(line)?;
        let meta = &record["metadata"];
        let secs = |key: &str| meta[key].as_i64().map(|ns| ns as f64 / 1e9);
        let number = meta["session_num"]
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        let (Some(start), Some(done), Some(number)) =
            (secs("request_start_ns"), secs("request_end_ns"), number)
        else {
            bail!("a record without its times: {line}");
        };
        starts.push(start);
        planned.push(*times.get(number).context("a record of no request")?);
        if let Some(length) = record["metrics"]["output_sequence_length"]["value"].as_f64() {
            answered += 1;
            tokens += length as u64;
            end = end.max(done);
        }
    }
    let start = starts.iter().copied().fold(f64::INFINITY, f64::min);
    ensure!(answered > 0, "no record of an answer");
    Ok(Seen {
        sent: starts.len(),
        answered,
        tokens,
        wall_secs: end - start,
        sent_delay_us: delays_from_earliest(&starts, &planned),
        ..Seen::default()
    })
}
