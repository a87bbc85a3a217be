//! Finishes a run: the verdict, the record's plots, the closing table.

use std::path::PathBuf;

use mlperf_dataset::Dataset;
use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::{ENVIRONMENT, RunRecord, findings};
use tokio::runtime::Runtime;

use super::answers::Answers;
use super::execute::Executed;
use super::judge::{Ended, JudgedRun, judge};
use super::outcome::RunOutcome;
use super::result::{RunResult, stamp_now};
use super::table::{SummaryTable, VALUES};
use super::{environment, no_summary, user_conf};
use crate::console::{print, print_wrapped};
use crate::exit::{Exit, Fail};
use crate::harness::Figures;
use crate::harness::counters::Counters;
use crate::plan::Plan;
use crate::recorder;
use crate::server::Server;
use crate::shutdown::ShutdownReason;
use crate::workload::Load;
use mlperf_rules::RuleScenario;

/// Judges the run, writes its derived files and prints the closing table.
pub(super) fn finish(executed: Executed, runtime: &Runtime) -> Result<Exit, Fail> {
    let Executed {
        plan,
        server,
        dataset,
        load,
        logs,
        loadgen,
        expected,
        reason,
        test,
        stats,
        printed,
        recorded,
        caching,
        dashboard,
        shutdown,
        _lock,
    } = executed;
    let simulated = server.simulated();
    let counters = &test.counters;
    if let Some(folder) = &plan.figures_dir {
        Figures::new(&stats, Counters::get(&counters.failed), simulated).write(folder)?;
    }
    let mut remarks = load.remarks.clone();
    let mut files: Vec<(&'static str, PathBuf)> = vec![("LoadGen logs", plan.log_dir.clone())];
    if loadgen.is_none() {
        match no_summary::write(&plan.log_dir, reason.as_ref(), counters) {
            Ok(path) => files.push(("no summary", path)),
            Err(error) => remarks.push(format!("the note on LoadGen's missing summary: {error}")),
        }
    }
    let mut judged = judge(
        Ended {
            loadgen,
            reason: reason.as_ref(),
            round: &load.round,
            logs: &logs,
            issue_delays_ns: &stats.issue_delay_ns,
            simulated,
            prefix_caching: caching,
            compliance: plan.is_compliance(),
            mode: plan.mode,
        },
        &mut remarks,
    );
    if stats.impossible > 0 {
        remarks.push(format!(
            "the machine's clock was stepped during the run: {} answers lie before their scheduled times and are left out \
             of the latencies; LoadGen's own figures are wrong then",
            stats.impossible
        ));
    }
    let environment = plan.log_dir.join(ENVIRONMENT);
    match environment::read(server.version.as_deref()).write(&environment) {
        Ok(()) => files.push(("environment", environment)),
        Err(error) => remarks.push(format!("{} could not be written: {error}", environment.display())),
    }
    let mut answers = Answers {
        plan: &plan,
        dataset: &dataset,
        texts: &test.texts,
        test: load.compliance,
        remarks: &mut remarks,
        files: &mut files,
    };
    judged.outcome = answers.judge(judged.outcome);
    let conf = user_conf::write(&plan, &load.settings, &load.from_files, simulated);
    if let Err(error) = conf {
        remarks.push(format!("user.conf of the run could not be written: {error}"));
    }
    let record = record(&plan, &server, &dataset, &load, &judged, load.compliance);
    match record.write(&plan.log_dir) {
        Ok(path) => files.push(("run", path)),
        Err(error) => remarks.push(format!("the run's record could not be written: {error}")),
    }
    let mut recorder = Vec::new();
    let mut stamp = None;
    let mut exit = judged.outcome.exit();
    if let (Some(metrics), Some(recorded)) = (&plan.metrics, recorded) {
        match recorded {
            Ok(finished) => {
                stamp = Some(finished.manifest.stamp.clone());
                let verdict = verdict(&judged, &remarks, reason.as_ref());
                let compared = recorder::finish(metrics, &finished, Some(verdict), &mut files, &mut recorder);
                // A run that does not count keeps its own status.
                if let (Exit::Valid, Some(compared)) = (exit, compared) {
                    exit = compared;
                }
                recorder.extend(recorder::finish_upload(metrics, &finished));
            }
            // The run itself is unaffected; only its record is incomplete.
            Err(error) => recorder.push(format!("THE RECORD WAS NOT FINISHED: {error}")),
        }
    }
    let (failures, retries) = (counters.failures(), counters.retries());
    let answers = counters.remarks();
    let path_of = |name: &str| {
        files
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, path)| path.clone())
    };
    let report = path_of("report");
    let result = RunResult {
        stamp: &stamp.unwrap_or_else(stamp_now),
        outcome: &judged.outcome,
        reasons: &remarks,
        run: serde_json::to_value(&record).unwrap_or_default(),
        stats: &stats,
        issued: Counters::get(&counters.issued),
        failures: &failures,
        retries: &retries,
        remarks: &answers,
        loadgen_tokens_per_sec: judged.tokens_per_sec,
        min_duration_secs: load.settings.min_duration.as_secs_f64(),
        min_query_count: load.effective.min_query_count,
        expected,
        warmup_requests: plan.warm_up,
        summary: path_of("summary").as_deref(),
        missing: recorder
            .iter()
            .filter(|line| line.starts_with("MISSING"))
            .collect(),
        files: &files,
    }
    .write(&plan.log_dir);
    match result {
        Ok(path) => files.push(("result", path)),
        Err(error) => remarks.push(format!("the result could not be written: {error}")),
    }
    let replicas = server.pool.status();
    runtime.block_on(server.stop());
    let table = SummaryTable {
        title: format!(
            "{}, {}, {}",
            plan.model.as_deref().unwrap_or(&plan.benchmark.loadgen_name),
            plan.scenario,
            load.settings.mode
        ),
        simulated,
        result: judged.outcome.to_string(),
        remarks,
        issued: Counters::get(&counters.issued),
        rounding: expected.and_then(|expected| expected.rounding()),
        failures,
        retries,
        answers,
        replicas,
        loadgen_tokens_per_sec: judged.tokens_per_sec,
        measured: stats,
        has_first_token: plan.scenario != RuleScenario::Offline,
        recorder,
        files,
    };
    print(&printed);
    print_wrapped(&table.render(), VALUES);
    if let Some(dashboard) = dashboard {
        super::dashboard::finish(dashboard, report, &shutdown);
    }
    Ok(exit)
}

/// The verdict as it is stored with the record.
fn verdict(
    judged: &JudgedRun,
    remarks: &[String],
    reason: Option<&ShutdownReason>,
) -> run_report::HarnessVerdict {
    run_report::HarnessVerdict {
        validity: match judged.outcome {
            RunOutcome::Aborted { .. } => run_report::Validity::Aborted,
            _ if judged.outcome.counts() => run_report::Validity::Valid,
            _ => run_report::Validity::NotValid,
        },
        result: judged.outcome.to_string(),
        reasons: remarks.to_vec(),
        interrupted: reason.map(ToString::to_string),
        figures: judged.figures.clone(),
    }
}

/// `sut_run.json`.
fn record(
    plan: &Plan,
    server: &Server,
    dataset: &Dataset,
    load: &Load,
    judged: &JudgedRun,
    compliance: Option<ComplianceTest>,
) -> RunRecord {
    RunRecord {
        program: format!("sut {}", env!("CARGO_PKG_VERSION")),
        benchmark: plan.benchmark.loadgen_name.clone(),
        scenario: plan.scenario,
        kind: plan.kind(),
        compliance,
        simulated: server.simulated(),
        result: judged.outcome.to_string(),
        counts: judged.outcome.counts(),
        findings: judged.verdict.as_ref().map(findings).unwrap_or_default(),
        model: server.model.clone(),
        server_version: server.version.clone(),
        server_on_this_host: server.is_on_this_host(),
        dataset: dataset.origin.clone(),
        samples: dataset.prompts.len(),
        max_tokens: plan.generation.max_tokens,
        batch_size: plan.batch_size,
        concurrency: plan.concurrency,
        target_qps: load.settings.target_qps(),
    }
}
