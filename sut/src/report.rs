//! After the test: what LoadGen says of it, what the recorder kept, and the pictures made of that.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use mlperf_loadgen::{LoadGenLog, LogSettings, Scenario, TestSettings, Validity};
use vllm_metrics::store::{StoreFormat, read_run};
use vllm_metrics::{FinishedRun, Gap};
use vllm_report::RenderOptions;

use crate::app::LoadGenResult;
use crate::cli::FormatArg;
use crate::counters::Counters;
use crate::dataset::Dataset;
use crate::ending::Cause;
use crate::exit::{Exit, Fail};
use crate::load;
use crate::plan::{MetricsPlan, Plan};
use crate::server::Server;

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
}

/// Reads LoadGen's logs and says whether the run counts.
///
/// # Errors
/// When LoadGen refused the test, or its logs cannot be read although it ended.
pub fn judge(
    loadgen: Option<LoadGenResult>,
    cause: Option<&Cause>,
    counters: &Counters,
    logs: &LogSettings,
    remarks: &mut Vec<String>,
) -> Result<Judged, Fail> {
    if let Some(cause) = cause {
        remarks.push(cause.to_string());
    }
    let Some(ended) = loadgen else {
        remarks.push(
            "LoadGen was still following its schedule and was given up; it has written no summary".into(),
        );
        return Ok(Judged {
            exit: Exit::Partial,
            result: "CUT: there is no result".into(),
            tokens_per_sec: None,
        });
    };
    // Everything LoadGen refuses is refused before the first query.
    let report = ended.map_err(Fail::usage)?;
    let log = LoadGenLog::read(&logs.outdir)
        .with_context(|| format!("LoadGen's logs in {} cannot be read", logs.outdir.display()))?;
    let result = &log.result;
    if let Some(reason) = &result.invalid_reason {
        remarks.extend(
            reason
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }
    remarks.extend(
        report
            .incidents
            .reasons
            .iter()
            .take(3)
            .map(|reason| format!("LoadGen binding: {reason}")),
    );
    let errors = result.error_count();
    if errors > 0 {
        let first = result.errors.first().map_or("", String::as_str);
        remarks.push(format!("LoadGen logged {errors} errors; the first: {first}"));
    }
    let failed = Counters::get(&counters.failed);
    let one_token = Counters::get(&counters.one_token_answers);
    if one_token > 0 {
        remarks.push(format!(
            "{one_token} answers had a single token, which LoadGen cannot accept"
        ));
    }
    let valid = result.validity == Some(Validity::Valid);
    let counts = valid && errors == 0 && failed == 0 && report.incidents.is_empty();
    let word = match (result.validity, counts) {
        (_, _) if cause.is_some() => "CUT: the run was ended early",
        (Some(Validity::Valid), true) => "VALID",
        (Some(Validity::Valid), false) => "NOT VALID: LoadGen says VALID, but see below",
        (Some(Validity::Invalid), _) => "INVALID",
        (None, _) => "NO RESULT: LoadGen's log has no verdict",
    };
    let exit = match (cause.is_some(), counts) {
        (true, _) => Exit::Partial,
        (false, true) => Exit::Valid,
        (false, false) => Exit::NotValid,
    };
    Ok(Judged {
        exit,
        result: word.into(),
        tokens_per_sec: result.tokens_per_sec.or(result.completed_tokens_per_sec),
    })
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
        ("server_url", server.url.clone()),
        ("benchmark", plan.benchmark.clone()),
        ("scenario", settings.scenario.to_string()),
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
        (
            "max_tokens",
            load::benchmark_sampling(plan).max_tokens.to_string(),
        ),
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
    lines.extend(describe(finished));
    files.push(("samples", finished.samples_path.clone()));
    files.extend(finished.processed_path.clone().map(|path| ("processed", path)));
    if let Err(error) = draw(metrics, finished, files) {
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
) -> anyhow::Result<()> {
    let run = read_run(&finished.samples_path).context("the record cannot be read back")?;
    if !metrics.plots {
        return Ok(());
    }
    let rendered = vllm_report::render(&run, &metrics.output_dir, &RenderOptions::default())?;
    files.push(("overview", rendered.overview));
    files.push(("summary", rendered.summary));
    Ok(())
}

/// What the recorder cost and what it missed, a line each.
fn describe(finished: &FinishedRun) -> Vec<String> {
    let cost = &finished.cost;
    let ms = |duration: Option<std::time::Duration>| {
        duration.map_or("none".to_owned(), |duration| {
            format!("{:.2} ms", duration.as_secs_f64() * 1e3)
        })
    };
    let mut lines = vec![format!(
        "{} scrapes of {} series, {} bytes on disk; fetch {} and parse {} on average",
        cost.scrapes,
        cost.series,
        finished.files.total_bytes,
        ms(cost.mean_fetch),
        ms(cost.mean_parse)
    )];
    let missing = &finished.missing;
    for url in &missing.never_answered {
        lines.push(format!(
            "MISSING: {url} never answered; there are no server metrics of this run"
        ));
    }
    for gap in &missing.gaps {
        lines.push(describe_gap(gap, finished.manifest.started_ns));
    }
    for (count, what) in [
        (missing.missed_ticks, "scrapes came too late to be made"),
        (missing.dropped_hook_calls, "hook calls were dropped"),
        (missing.unfinished_requests, "requests had no end"),
        (missing.refused_records, "records could not be stored"),
        (missing.bad_lines, "lines of metrics pages could not be read"),
    ] {
        if count > 0 {
            lines.push(format!("MISSING: {count} {what}"));
        }
    }
    if missing.dropped != vllm_metrics::Dropped::default() {
        lines.push(format!(
            "MISSING: dropped before the store: {:?}",
            missing.dropped
        ));
    }
    lines.extend(missing.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn describe_gap(gap: &Gap, started_ns: i64) -> String {
    let since_start = |ns: i64| (ns - started_ns) as f64 / 1e9;
    format!(
        "MISSING: {} gave nothing from {:.1} s to {:.1} s of the run ({} scrapes): {}",
        gap.endpoint_url,
        since_start(gap.start_ns),
        since_start(gap.end_ns),
        gap.missed_scrapes,
        gap.reason
    )
}

/// What `--dry-run` shows.
pub fn plan_text(plan: &Plan, settings: &TestSettings, remarks: &[String], dataset: &Dataset) -> String {
    let mut text = format!(
        "plan (nothing is sent):\n{}\n\nLoadGen:\n{settings:#?}\n",
        plan.shown()
    );
    text.push_str(&format!("\ndataset: {}\n", dataset.origin));
    if settings.scenario == Scenario::Server && settings.mode == mlperf_loadgen::Mode::Performance {
        text.push_str("arrivals: Poisson, fixed by the round's seed\n");
    }
    for remark in remarks {
        text.push_str(&format!("remark: {remark}\n"));
    }
    text
}
