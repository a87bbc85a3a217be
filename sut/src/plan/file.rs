//! The configuration file and how the command line wins over it.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use crate::cli::RunArgs;
use crate::recording::RecordingArgs;

/// Reads the flags of a command, and those about the record that stand among them.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<(T, RecordingArgs)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    // The error of the TOML reader shows line, column and the keys it knows.
    split(&text).with_context(|| format!("--config {}", path.display()))
}

/// One flat file for two structs, since serde cannot flatten one into the other and still refuse unknown keys.
fn split<T: DeserializeOwned>(text: &str) -> Result<(T, RecordingArgs), toml::de::Error> {
    let root = DeTable::parse(text)?;
    let span = root.span();
    let keys = RecordingArgs::keys();
    let (mut recording, mut others) = (DeTable::new(), DeTable::new());
    for (key, value) in root.into_inner() {
        let is_ours = keys.iter().any(|known| known == key.get_ref());
        if is_ours { &mut recording } else { &mut others }.insert(key, value);
    }
    let located = |mut error: toml::de::Error| {
        error.set_input(Some(text));
        error
    };
    Ok((
        T::deserialize(Deserializer::from(Spanned::new(span.clone(), others))).map_err(located)?,
        RecordingArgs::deserialize(Deserializer::from(Spanned::new(span, recording))).map_err(located)?,
    ))
}

/// The command line wins, key by key; a switch is on when either turns it on.
pub(super) fn merge(line: RunArgs, file: RunArgs) -> RunArgs {
    RunArgs {
        config: line.config,
        overhead_check: line.overhead_check,
        overhead_arm: line.overhead_arm,
        overhead_dir: line.overhead_dir,
        url: line.url.or(file.url),
        balance: line.balance.or(file.balance),
        retries: line.retries.or(file.retries),
        model: line.model.or(file.model),
        serve_command: line.serve_command.or(file.serve_command),
        server_args: line.server_args.or(file.server_args),
        server_config: line.server_config.or(file.server_config),
        startup_timeout: line.startup_timeout.or(file.startup_timeout),
        handed_server: line.handed_server,
        api_key: line.api_key.or(file.api_key),
        enable_profiler: line.enable_profiler || file.enable_profiler,
        dataset_path: line.dataset_path.or(file.dataset_path),
        accuracy_dataset_path: line.accuracy_dataset_path.or(file.accuracy_dataset_path),
        input_column: line.input_column.or(file.input_column),
        input_ids_column: line.input_ids_column.or(file.input_ids_column),
        output_column: line.output_column.or(file.output_column),
        simulate_references: line.simulate_references || file.simulate_references,
        scenario: line.scenario.or(file.scenario),
        test_mode: line.test_mode.or(file.test_mode),
        batch_size: line.batch_size.or(file.batch_size),
        official: line.official || file.official,
        find_peak: line.find_peak || file.find_peak,
        peak_trial: line.peak_trial.or(file.peak_trial),
        peak_precision: line.peak_precision.or(file.peak_precision),
        num_samples: line.num_samples.or(file.num_samples),
        concurrency: line.concurrency.or(file.concurrency),
        target_qps: line.target_qps.or(file.target_qps),
        duration: line.duration.or(file.duration),
        max_tokens: line.max_tokens.or(file.max_tokens),
        request_timeout: line.request_timeout.or(file.request_timeout),
        stall_timeout: line.stall_timeout.or(file.stall_timeout),
        seed: line.seed.or(file.seed),
        user_conf: line.user_conf.or(file.user_conf),
        lg_model_name: line.lg_model_name.or(file.lg_model_name),
        output_log_dir: line.output_log_dir.or(file.output_log_dir),
        audit_config: line.audit_config.or(file.audit_config),
        compliance: line.compliance.or(file.compliance),
        enable_metrics_collection: line.enable_metrics_collection || file.enable_metrics_collection,
        metrics_output_dir: line.metrics_output_dir.or(file.metrics_output_dir),
        metrics_collection_interval: line
            .metrics_collection_interval
            .or(file.metrics_collection_interval),
        metrics_format: line.metrics_format.or(file.metrics_format),
        metrics_url: line.metrics_url.or(file.metrics_url),
        metrics_upload: line.metrics_upload.or(file.metrics_upload),
        no_plots: line.no_plots || file.no_plots,
        no_gpu_telemetry: line.no_gpu_telemetry || file.no_gpu_telemetry,
        gpus: line.gpus.or(file.gpus),
        gpu_interval: line.gpu_interval.or(file.gpu_interval),
        recording: line.recording.or(file.recording),
        print_timing: line.print_timing || file.print_timing,
        print_histogram: line.print_histogram || file.print_histogram,
        log_level: line.log_level.or(file.log_level),
        dry_run: line.dry_run || file.dry_run,
    }
}
