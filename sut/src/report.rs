//! After the test: what LoadGen says of it, what the recorder kept, and the pictures made of that.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use mlperf_loadgen::{LoadGenLog, LogSettings, Scenario, TestSettings, Validity};
use vllm_client::PrefixCaching;
use vllm_metrics::FinishedRun;
use vllm_metrics::store::{StoreFormat, read_run};
use vllm_report::RenderOptions;

use crate::app::LoadGenResult;
use crate::cli::FormatArg;
use crate::ending::Cause;
use crate::exit::Exit;
use crate::load::Load;
use crate::plan::{MetricsPlan, Plan};
use crate::recording;
use crate::server::Server;
use mlperf_dataset::Dataset;
use mlperf_rules::verdict::{self, Check, Evidence, IssueDelay, Verdict};

/// Writes to standard output; a closed pipe must not turn a finished run into a failed one.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// LoadGen's result in the words of the closing table.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What to exit with.
    pub exit: Exit,
    /// `VALID`, `INVALID`, or why there is no result.
    pub result: String,
    /// LoadGen's tokens per second.
    pub tokens_per_sec: Option<f64>,
    /// The gate's word; `None` when there are no logs to judge.
    pub verdict: Option<Verdict>,
}

/// What a verdict is made from, beside LoadGen's logs.
#[derive(Debug)]
pub struct Ended<'a> {
    /// `None` when LoadGen was given up.
    pub loadgen: Option<LoadGenResult>,
    /// What ended the run early.
    pub cause: Option<&'a Cause>,
    /// The round's own settings.
    pub round: &'a TestSettings,
    /// Where LoadGen logged.
    pub logs: &'a LogSettings,
    /// Scheduled to sent, in nanoseconds.
    pub issue_delays_ns: &'a [i64],
    /// The server was a simulator.
    pub simulated: bool,
    /// What the server said of its prefix caching, before or after.
    pub prefix_caching: PrefixCaching,
    /// An audit file was in effect: the run is not judged as a result.
    pub compliance: bool,
}

/// Reads LoadGen's logs and says whether the run counts.
pub fn judge(ended: Ended<'_>, remarks: &mut Vec<String>) -> Judged {
    let Ended {
        loadgen,
        cause,
        round,
        logs,
        issue_delays_ns,
        simulated,
        prefix_caching,
        compliance,
    } = ended;
    if let Some(cause) = cause {
        remarks.push(cause.to_string());
    }
    let Some(loadgen) = loadgen else {
        remarks.push(
            "LoadGen was still following its schedule and was given up; it has written no summary".into(),
        );
        return Judged {
            exit: Exit::Partial,
            result: "CUT: there is no result".into(),
            tokens_per_sec: None,
            verdict: None,
        };
    };
    let report = match loadgen {
        Ok(report) => report,
        Err(error) => {
            // An exception out of a running test, or a refusal before the first query.
            let thrown = matches!(error, mlperf_loadgen::Error::LoadGen(_));
            remarks.push(format!("LoadGen: {error}"));
            let exit = if thrown { Exit::Bug } else { Exit::Usage };
            return Judged {
                exit,
                result: "NO RESULT: LoadGen did not run the test".into(),
                tokens_per_sec: None,
                verdict: None,
            };
        }
    };
    let log = match LoadGenLog::read(&logs.outdir) {
        Ok(log) => log,
        Err(error) => {
            remarks.push(format!(
                "LoadGen's logs in {} cannot be read: {error}",
                logs.outdir.display()
            ));
            return Judged {
                exit: Exit::Bug,
                result: "NO RESULT: LoadGen's logs cannot be read".into(),
                tokens_per_sec: None,
                verdict: None,
            };
        }
    };
    let result = &log.result;
    let verdict = verdict::judge(&Evidence {
        result,
        incidents: Some(&report.incidents),
        round,
        issue_delay: IssueDelay::from_ns(issue_delays_ns.iter().copied()),
        simulated,
        prefix_caching: Some(match prefix_caching {
            PrefixCaching::On => verdict::PrefixCaching::On,
            PrefixCaching::Off => verdict::PrefixCaching::Off,
            PrefixCaching::Unknown => verdict::PrefixCaching::Unknown,
        }),
    });
    // Under an audit file a run is short on purpose, and LoadGen's early stopping calls it INVALID as a rule.
    let counts = if compliance {
        let mut vital = verdict.bad().filter(|finding| finding.check.is_vital());
        vital.all(|finding| finding.check == Check::LoadGenValid)
    } else {
        verdict.counts()
    };
    if !(compliance && counts) {
        remarks.push(verdict.paragraph());
    }
    let word = match (cause, counts, result.validity) {
        (Some(_), _, _) => "CUT: the run was ended early",
        (None, true, _) if compliance => "ENDED, NOT VERIFIED",
        (None, true, _) if is_accuracy(result) => {
            "ENDED, NOT SCORED: the answers are in LoadGen's accuracy log"
        }
        (None, true, _) => "VALID",
        (None, false, Some(Validity::Valid)) => "NOT VALID, although LoadGen says VALID",
        (None, false, Some(Validity::Invalid)) => "INVALID",
        (None, false, None) => "NO RESULT: LoadGen's log has no verdict",
    };
    let exit = match (cause, counts) {
        (Some(_), _) => Exit::Partial,
        (None, true) => Exit::Valid,
        (None, false) => Exit::NotValid,
    };
    Judged {
        exit,
        result: word.into(),
        tokens_per_sec: result.tokens_per_sec.or(result.completed_tokens_per_sec),
        verdict: Some(verdict),
    }
}

fn is_accuracy(result: &mlperf_loadgen::RunResult) -> bool {
    result.effective.get("test_mode").and_then(|mode| mode.as_str()) == Some("AccuracyOnly")
}

/// The store's format for a flag.
pub fn store_format(format: FormatArg) -> StoreFormat {
    match format {
        FormatArg::Parquet => StoreFormat::Parquet,
        FormatArg::Json => StoreFormat::Json,
        FormatArg::Csv => StoreFormat::Csv,
        FormatArg::Sqlite => StoreFormat::Sqlite,
        FormatArg::Prom => StoreFormat::PrometheusText,
    }
}

/// Facts kept with the record.
pub fn facts(
    plan: &Plan,
    settings: &TestSettings,
    server: &Server,
    dataset: &Dataset,
) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("model", server.model.clone()),
        ("server_url", server.urls().collect::<Vec<_>>().join(",")),
        ("benchmark", plan.benchmark.clone()),
        ("scenario", plan.rule_scenario().to_string()),
        ("mode", settings.mode.to_string()),
        ("dataset", dataset.origin.clone()),
        ("samples", dataset.prompts.len().to_string()),
        ("target_qps", settings.target_qps().to_string()),
        (
            "min_duration_secs",
            settings.min_duration.as_secs_f64().to_string(),
        ),
        ("batch_size", plan.batch_size.to_string()),
        ("concurrency", plan.concurrency.to_string()),
        ("retries_allowed", plan.retries.to_string()),
        ("sut_version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Some(version) = &server.version {
        facts.push(("server_version", version.clone()));
    }
    facts
}

/// Post-processes and draws what was recorded; adds what came out to `files` and what is missing to `lines`.
pub fn record(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) {
    lines.extend(recording::describe(finished));
    files.push(("samples", finished.samples_path.clone()));
    files.extend(finished.processed_path.clone().map(|path| ("processed", path)));
    files.extend(
        finished
            .processed_requests_path
            .clone()
            .map(|path| ("requests", path)),
    );
    if let Err(error) = draw(metrics, finished, files, lines) {
        // The raw record is whole; only what is made of it is not, and it can be made again.
        lines.push(format!(
            "NO PICTURES: {error:#}; try again with: sut report {}",
            finished.samples_path.display()
        ));
    }
}

fn draw(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) -> anyhow::Result<()> {
    let run = read_run(&finished.samples_path).context("the record cannot be read back")?;
    lines.extend(recording::of_requests(&run));
    if !metrics.plots {
        // The summary is the one file that says what was missing, so it is written all the same.
        let folder = metrics.output_dir.join("visualizations");
        std::fs::create_dir_all(&folder).context("the summary's folder cannot be made")?;
        let path = folder.join(format!("metrics_summary_{}.json", run.manifest.stamp));
        let text = serde_json::to_string_pretty(&vllm_report::summarize(&run))?;
        std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        files.push(("summary", path));
        return Ok(());
    }
    let rendered = vllm_report::render(&run, &metrics.output_dir, &RenderOptions::default())?;
    files.push(("overview", rendered.overview));
    files.push(("summary", rendered.summary));
    Ok(())
}

/// What `--dry-run` shows.
pub fn plan_text(plan: &Plan, load: &Load, dataset: &Dataset, caching: PrefixCaching) -> String {
    let mut text = format!(
        "plan (nothing is sent):\n{}\n\nLoadGen:\n{:#?}\n",
        plan.shown(),
        load.settings
    );
    text.push_str(&format!("\nLoadGen will work with:\n{:#?}\n", load.effective));
    text.push_str(&format!("\ndataset: {}\n", dataset.origin));
    text.push_str(&format!("prefix caching of the server: {caching:?}\n"));
    if load.settings.scenario == Scenario::Server {
        text.push_str("arrivals: Poisson, fixed by the round's seed\n");
    }
    for remark in &load.remarks {
        text.push_str(&format!("remark: {remark}\n"));
    }
    for remark in &load.unofficial {
        text.push_str(&format!("not official: {remark}\n"));
    }
    text
}
