//! Prepares a run: everything that can be checked, refused or built before load is sent.

use anyhow::anyhow;
use bytes::Bytes;
use mlperf_dataset::Dataset;
use mlperf_loadgen::LogSettings;
use mlperf_rules::BenchmarkSpec;
use tokio::runtime::Runtime;
use vllm_client::PrefixCaching;

use super::clean;
use crate::exit::Fail;
use crate::plan::Plan;
use crate::recorder::Subject;
use crate::server::{self, Server};
use crate::shutdown::Shutdown;
use crate::workload::{self, BatchPrompts, ExpectedSamples, Load, official, prompts};

/// A run that is ready for load.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) target: Target,
    pub(super) workload: Workload,
    pub(super) logs: LogSettings,
    /// Prevents other runs of this program from using the log folder.
    pub(super) lock: Option<std::fs::File>,
}

/// The server and its properties.
pub(super) struct Target {
    pub(super) server: Server,
    pub(super) caching: PrefixCaching,
}

/// The requests to send.
pub(super) struct Workload {
    pub(super) dataset: Dataset,
    pub(super) bodies: Vec<Bytes>,
    pub(super) weights: Vec<u64>,
    pub(super) batch_prompts: Option<BatchPrompts>,
    pub(super) load: Load,
    /// Samples that LoadGen will issue, if known.
    pub(super) expected: Option<ExpectedSamples>,
}

impl Prepared {
    /// The run as the recorder sees it.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            plan: &self.plan,
            server: &self.target.server,
            settings: &self.workload.load.settings,
            dataset: &self.workload.dataset,
        }
    }
}

/// Prepares a run; a `dry_run` does not touch an earlier run's files.
pub(super) fn prepare(
    plan: Plan,
    dry_run: bool,
    runtime: &Runtime,
    shutdown: &Shutdown,
) -> Result<Prepared, Fail> {
    let dataset = prompts::load(&plan)?;
    let mut load = workload::settings(&plan, dataset.prompts.len())?;
    let logs = workload::logs(&plan)?;
    let lock = if dry_run {
        None
    } else {
        Some(clean::lock(&plan.log_dir)?)
    };
    let references = if plan.simulate_references {
        prompts::references(&dataset)?
    } else {
        Vec::new()
    };
    let server = runtime.block_on(server::start(&plan, references, shutdown))?;
    let caching = runtime.block_on(server.prefix_caching());
    official::check(&plan, &mut load, &server, caching)?;
    if !server.simulated()
        && let Some(remark) = other_model(&server.model, &plan.benchmark)
    {
        load.remarks.push(remark);
    }
    let bodies = prompts::bodies(&plan, &dataset, &server)?;
    let weights = prompts::weights(&plan, &dataset);
    if dataset.synthetic {
        load.remarks.push(format!(
            "synthetic prompts: {}",
            dataset.origin.trim_start_matches("synthetic: ")
        ));
    }
    let batch_prompts = if plan.batch_size > 1 {
        Some(prompts::batch_prompts(&plan, &dataset, &server)?)
    } else {
        None
    };
    if let Some(metrics) = &plan.metrics {
        check_folder(&metrics.output_dir)?;
    }
    if !dry_run {
        // Last, so that a refused run does not touch the earlier one.
        clean::make_room(
            &plan.log_dir,
            logs.audit_config.as_deref(),
            plan.user_conf.as_deref(),
        )
        .map_err(|error| Fail::usage(anyhow!("--output-log-dir: {error}")))?;
    }
    // An audit file changes the counts in ways that are not known here.
    let expected = if plan.is_compliance() {
        None
    } else {
        Some(workload::expected_samples(&load, dataset.prompts.len()))
    };
    Ok(Prepared {
        plan,
        target: Target { server, caching },
        workload: Workload {
            dataset,
            bodies,
            weights,
            batch_prompts,
            load,
            expected,
        },
        logs,
        lock,
    })
}

/// A remark if the served model is named otherwise than the benchmark's, without the owner in front.
fn other_model(served: &str, benchmark: &BenchmarkSpec) -> Option<String> {
    let plain = |name: &str| -> String {
        let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let kept = name.chars().filter(char::is_ascii_alphanumeric);
        kept.map(|c| c.to_ascii_lowercase()).collect()
    };
    (plain(served) != plain(&benchmark.model)).then(|| {
        format!(
            "the server serves {served}; limits and answer lengths are those of {}, for {} (--lg-model-name chooses another)",
            benchmark.loadgen_name, benchmark.model
        )
    })
}

/// Checks before any load is sent whether the record can be written.
fn check_folder(folder: &std::path::Path) -> Result<(), Fail> {
    let unusable =
        |error: std::io::Error| Fail::usage(anyhow!("--metrics-output-dir {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(unusable)?;
    tempfile::tempfile_in(folder).map_err(unusable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_model_than_the_benchmarks_is_named() {
        let benchmark = BenchmarkSpec::named("llama3_1-8b").map_err(|error| error.to_string());
        let benchmark = benchmark.expect("a benchmark");
        for same in [
            "meta-llama/Llama-3.1-8B-Instruct",
            "/models/llama-3.1-8b-instruct/",
            "Llama_3.1_8B_Instruct",
        ] {
            assert_eq!(other_model(same, &benchmark), None, "{same}");
        }
        let remark = other_model("org/other-70b", &benchmark).unwrap_or_default();
        assert!(
            remark.contains("org/other-70b") && remark.contains("--lg-model-name"),
            "{remark}"
        );
    }
}
