//! What stands after the run: the verdict, the record's pictures, the closing table.

use std::path::PathBuf;

use super::after::After;
use super::execute::Ran;
use crate::cli::ScenarioArg;
use crate::closing::Closing;
use crate::counters::Counters;
use crate::exit::{Exit, Fail};
use crate::overhead::Figures;
use crate::{making, no_summary, report, upload};
use mlperf_rules::ENVIRONMENT;

pub(super) fn finish(ran: Ran, runtime: &tokio::runtime::Runtime) -> Result<Exit, Fail> {
    let Ran {
        plan,
        server,
        loadgen,
        cause,
        counters,
        measured,
        printed,
        recorded,
        dataset,
        texts,
        load,
        logs,
        caching,
    } = ran;
    let simulated = server.simulated();
    if let Some(folder) = &plan.figures_dir {
        Figures::new(&measured, Counters::get(&counters.failed), simulated).write(folder)?;
    }
    let mut remarks = load.remarks;
    let ended = report::Ended {
        loadgen,
        cause: cause.as_ref(),
        round: &load.round,
        logs: &logs,
        issue_delays_ns: &measured.issue_delay_ns,
        simulated,
        prefix_caching: caching,
        compliance: plan.is_compliance(),
    };
    let given_up = ended.loadgen.is_none();
    let mut judged = report::judge(ended, &mut remarks);
    let mut files: Vec<(&'static str, PathBuf)> = vec![("LoadGen logs", plan.log_dir.clone())];
    if given_up {
        match no_summary::write(&plan.log_dir, cause.as_ref(), &counters) {
            Ok(path) => files.push(("no summary", path)),
            Err(error) => remarks.push(format!("the note on LoadGen's missing summary: {error}")),
        }
    }
    let mut recorder = Vec::new();
    if let (Some(metrics), Some(recorded)) = (&plan.metrics, recorded) {
        match recorded {
            Ok(finished) => {
                report::record(metrics, &finished, &mut files, &mut recorder);
                recorder.extend(upload::finish(metrics, &finished));
            }
            // The run itself is as good as before; only its record is not.
            Err(error) => recorder.push(format!("THE RECORD WAS NOT FINISHED: {error}")),
        }
    }
    let environment = plan.log_dir.join(ENVIRONMENT);
    match making::environment(server.version.as_deref()).write(&environment) {
        Ok(()) => files.push(("environment", environment)),
        Err(error) => remarks.push(format!("{} could not be written: {error}", environment.display())),
    }
    let replicas = server.pool.status();
    let mut after = After {
        plan: &plan,
        test: load.compliance,
        judged: &mut judged,
        remarks: &mut remarks,
        files: &mut files,
    };
    after.look_into_answers(&dataset, &texts);
    after.leave_record(&server, &dataset, &load.settings, &load.from_files);
    runtime.block_on(server.stop());
    let closing = Closing {
        title: format!(
            "{}, {}, {}",
            plan.model.as_deref().unwrap_or(&plan.benchmark),
            plan.rule_scenario(),
            load.settings.mode
        ),
        simulated,
        result: judged.result,
        remarks,
        issued: Counters::get(&counters.issued),
        failures: counters.failures(),
        retries: counters.retries(),
        replicas,
        loadgen_tokens_per_sec: judged.tokens_per_sec,
        measured,
        has_first_token: plan.scenario != ScenarioArg::Offline,
        recorder,
        files,
    };
    report::print(&printed);
    report::print(&closing.render());
    Ok(judged.exit)
}
