//! Everything that can be found out, refused and made ready before load is sent.

use anyhow::anyhow;
use bytes::Bytes;
use mlperf_loadgen::LogSettings;
use vllm_client::PrefixCaching;

use crate::ending::Ending;
use crate::exit::Fail;
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::server::{self, Server};
use crate::worker::Together;
use crate::{leftovers, official, prompts};
use mlperf_dataset::Dataset;

/// Everything that is ready before load is sent.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) server: Server,
    pub(super) dataset: Dataset,
    pub(super) bodies: Vec<Bytes>,
    pub(super) weights: Vec<u64>,
    pub(super) together: Option<Together>,
    pub(super) load: Load,
    pub(super) logs: LogSettings,
    pub(super) expected: Option<u64>,
    pub(super) caching: PrefixCaching,
}

pub(super) fn prepare(
    plan: Plan,
    runtime: &tokio::runtime::Runtime,
    ending: &Ending,
) -> Result<Prepared, Fail> {
    let dataset = prompts::load(&plan)?;
    let mut load = load::settings(&plan, dataset.prompts.len())?;
    let logs = load::logs(&plan)?;
    let references = if plan.simulate_references {
        prompts::references(&dataset)?
    } else {
        Vec::new()
    };
    let server = runtime.block_on(server::start(&plan, references, ending))?;
    let caching = runtime.block_on(server.prefix_caching());
    official::check(&plan, &mut load, &server, caching)?;
    let bodies = prompts::bodies(&plan, &dataset, &server)?;
    let weights = prompts::weights(&plan, &dataset)?;
    if dataset.synthetic {
        load.remarks
            .push(format!("the prompts are made up: {}", dataset.origin));
    }
    let together = if plan.batch_size > 1 {
        Some(prompts::together(&plan, &dataset, &server)?)
    } else {
        None
    };
    if let Some(metrics) = &plan.metrics {
        check_folder(&metrics.output_dir)?;
    }
    if !plan.dry_run {
        // Last, so that a run which is refused leaves the earlier one as it was.
        leftovers::remove(&plan.log_dir, logs.audit_config.as_deref())
            .map_err(|error| Fail::usage(anyhow!("--output-log-dir: {error}")))?;
    }
    // An audit file changes the counts behind our back.
    let expected = if plan.is_compliance() {
        None
    } else {
        load::expected_queries(&load.settings, dataset.prompts.len())
    };
    Ok(Prepared {
        plan,
        server,
        dataset,
        bodies,
        weights,
        together,
        load,
        logs,
        expected,
        caching,
    })
}

/// Finds out before any load is sent whether the record can be written.
fn check_folder(folder: &std::path::Path) -> Result<(), Fail> {
    let unusable =
        |error: std::io::Error| Fail::usage(anyhow!("--metrics-output-dir {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(unusable)?;
    tempfile::tempfile_in(folder).map_err(unusable)?;
    Ok(())
}
