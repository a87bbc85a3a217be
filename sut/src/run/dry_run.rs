//! The output of `--dry-run`.

use std::fmt::Write as _;

use duration_text::Shown;
use mlperf_loadgen::{Mode, Scenario};
use mlperf_rules::RunRecord;
use vllm_client::PrefixCaching;

use super::outlook::Outlook;
use super::prepare::Prepared;
use crate::console::print;
use crate::exit::Fail;
use crate::plan::words::{counted, without_credentials};
use crate::plan::{Plan, ServerPlan};
use crate::recorder;

/// Prints the plan and checks the metrics endpoints.
pub(super) fn show(prepared: &Prepared) -> Result<(), Fail> {
    print(&without_credentials(&text(prepared)));
    if let Some(metrics) = &prepared.plan.metrics {
        for line in recorder::probe(metrics, &prepared.subject())? {
            let line = line.unwrap_or_else(|why| format!("NO METRICS: {why}"));
            print(&without_credentials(&format!("  {:<14} {line}\n", "metrics")));
        }
    }
    Ok(())
}

fn text(prepared: &Prepared) -> String {
    let Prepared {
        plan,
        target,
        workload,
        ..
    } = prepared;
    let (server, load) = (&target.server, &workload.load);
    let mut out = String::from("dry run: every check was made, no load was sent\n");
    let mut row = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        let _infallible = writeln!(out, "  {name:<14} {value}");
    };
    let how = match plan.server {
        ServerPlan::Attach { .. } => "attached",
        ServerPlan::Start(_) => "started",
        ServerPlan::Inherited(_) => "started by the parent process",
        ServerPlan::Simulator => "built-in simulator, SIMULATED",
    };
    row(
        "server",
        format!("{} ({how})", server.urls().collect::<Vec<_>>().join(", ")),
    );
    let version = server.version.as_deref().unwrap_or("of unknown version");
    row("model", format!("{} on vLLM {version}", server.model));
    row(
        "prefix caching",
        match target.caching {
            PrefixCaching::On => "on",
            PrefixCaching::Off => "off",
            PrefixCaching::Unknown => "not reported by the server",
        }
        .into(),
    );
    row(
        "test",
        format!(
            "{}, {}, {}",
            plan.benchmark.loadgen_name, plan.scenario, load.settings.mode
        ),
    );
    row(
        "dataset",
        format!(
            "{}, {} samples",
            workload.dataset.origin,
            workload.dataset.prompts.len()
        ),
    );
    row(
        "answers",
        format!("at most {} tokens each", plan.generation.max_tokens),
    );
    row(
        "in flight",
        format!(
            "at most {} of {}",
            counted(plan.concurrency as u64, "request"),
            counted(plan.batch_size as u64, "prompt")
        ),
    );
    if plan.warm_up > 0 {
        row(
            "warm-up",
            format!("{} synthetic requests to each server", plan.warm_up),
        );
    }
    let outlook = Outlook::of(prepared);
    for line in &outlook.load {
        row("load", line.clone());
    }
    if load.settings.mode == Mode::Performance && load.settings.scenario != Scenario::Server {
        row("at least", Shown(load.settings.min_duration).to_string());
    }
    row(
        "limits",
        format!(
            "a request may take {}, the server may be silent for {}, {} retries",
            Shown(plan.request_timeout),
            Shown(plan.stall_timeout),
            plan.retries
        ),
    );
    if outlook.obstacles.is_empty() {
        row(
            "can be VALID",
            "yes, as far as it is known before the load".into(),
        );
    }
    for obstacle in &outlook.obstacles {
        row("obstacle", obstacle.clone());
    }
    for remark in &load.remarks {
        row("remark", remark.clone());
    }
    for remark in &load.unofficial {
        row("not official", remark.clone());
    }
    row("logs", logs(plan));
    match &plan.metrics {
        None => row("record", "none; --enable-metrics-collection records".into()),
        Some(metrics) => row(
            "record",
            format!(
                "{}, a scrape every {}",
                metrics.output_dir.display(),
                Shown(metrics.interval)
            ),
        ),
    }
    out
}

/// What will happen to the log folder.
fn logs(plan: &Plan) -> String {
    let shown = plan.log_dir.display();
    match RunRecord::read(&plan.log_dir) {
        Ok(record) if record.counts => {
            format!("{shown}; the run in it ({}) will be moved aside", record.result)
        }
        Ok(record) => format!("{shown}; the run in it ({}) will be replaced", record.result),
        Err(_) => shown.to_string(),
    }
}
