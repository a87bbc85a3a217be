//! `sut collect`: records metrics endpoints without sending load.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use vllm_client::{Client, ClientConfig};
use vllm_metrics::catalog::Version;
use vllm_metrics::config::DEFAULT_INTERVAL;
use vllm_metrics::{EndpointCheck, EndpointConfig, Session};

use crate::cli::{CollectArgs, FormatArg};
use crate::commands::wait_for_end;
use crate::exit::{Exit, Fail};
use crate::plan::{MetricsPlan, file, words};
use crate::recording::{self, RecordingPlan};
use crate::report;

/// Longest wait for the last forced scrape of an endpoint to tell that it answers.
const FIRST_SCRAPE: Duration = Duration::from_secs(2);

/// Records until interrupted or for the time that was asked for.
///
/// # Errors
/// [`Fail`] with the exit status and what to tell the user.
pub fn run(args: CollectArgs) -> Result<Exit, Fail> {
    let args = match &args.config {
        None => args,
        Some(path) => {
            let (from_file, recording) = file::read::<CollectArgs>(path).map_err(Fail::usage)?;
            merge(
                args,
                CollectArgs {
                    recording,
                    ..from_file
                },
            )
        }
    };
    let Collecting {
        metrics,
        endpoints,
        duration,
    } = resolve(&args)?;
    let looked = recording::look(&endpoints).context("cannot look at the endpoints")?;
    for answer in &looked {
        match recording::told(answer) {
            Ok(line) => tracing::info!("metrics: {line}"),
            Err(line) => tracing::warn!("NO METRICS: {line}; it is tried again while recording"),
        }
    }
    let mut builder = Session::builder()
        .interval(metrics.interval)
        .output_dir(&metrics.output_dir)
        .format(report::store_format(metrics.format));
    let count = endpoints.len();
    for (endpoint, (_, answer)) in endpoints.into_iter().zip(&looked) {
        builder = builder.endpoint(match answer {
            Ok(found) if endpoint.server_version.is_none() => with_version(endpoint, found)?,
            _ => endpoint,
        });
    }
    let recording = RecordingPlan {
        // They are among the endpoints already.
        endpoints: Vec::new(),
        ..metrics.recording.clone()
    };
    let session = recording.start(builder)?;
    session.scrape_now(FIRST_SCRAPE);
    tracing::info!(
        "recording {count} endpoints into {}; stop with Ctrl-C",
        metrics.output_dir.display()
    );
    wait_for_end(duration)?;
    let finished = session.finish().context("the record was not finished")?;
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    report::record(&metrics, &finished, &mut files, &mut lines);
    for line in lines {
        report::print(&format!("  {line}\n"));
    }
    for (name, path) in files {
        report::print(&format!("  {name:<10} {}\n", path.display()));
    }
    let unreachable = finished.missing.never_answered.len() == count;
    Ok(if unreachable {
        Exit::Unreachable
    } else {
        Exit::Valid
    })
}

/// Everything checked.
struct Collecting {
    metrics: MetricsPlan,
    endpoints: Vec<EndpointConfig>,
    duration: Option<Duration>,
}

fn resolve(args: &CollectArgs) -> Result<Collecting, Fail> {
    let mut wrong = Vec::new();
    let interval = words::interval("--interval", args.interval, DEFAULT_INTERVAL, &mut wrong);
    let duration = words::duration("--duration", args.duration.as_deref(), &mut wrong);
    let format = args.format.unwrap_or(FormatArg::Parquet);
    let recording = RecordingPlan::resolve(&args.recording, format, interval, &mut wrong);
    let mut endpoints: Vec<EndpointConfig> = args.url.iter().map(EndpointConfig::new).collect();
    endpoints.extend(recording.endpoints.iter().cloned());
    if endpoints.is_empty() {
        wrong.push("nothing to record: give --url or --metrics-endpoint".into());
    }
    if !wrong.is_empty() {
        return Err(Fail::usage(anyhow!(
            "nothing was recorded, because:\n  - {}",
            wrong.join("\n  - ")
        )));
    }
    let metrics = MetricsPlan {
        output_dir: args
            .output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("./metrics_output")),
        interval,
        format,
        url: None,
        upload: None,
        plots: !args.no_plots,
        gpu: false,
        gpus: None,
        gpu_interval: interval,
        recording,
    };
    Ok(Collecting {
        metrics,
        endpoints,
        duration,
    })
}

/// The command line wins, key by key.
fn merge(line: CollectArgs, file: CollectArgs) -> CollectArgs {
    CollectArgs {
        config: line.config,
        url: if line.url.is_empty() { file.url } else { line.url },
        interval: line.interval.or(file.interval),
        duration: line.duration.or(file.duration),
        output_dir: line.output_dir.or(file.output_dir),
        format: line.format.or(file.format),
        no_plots: line.no_plots || file.no_plots,
        recording: line.recording.or(file.recording),
    }
}

/// Asks the vLLM server behind an endpoint that answered for its version, so that its page is compared with what that
/// version exports.
fn with_version(endpoint: EndpointConfig, found: &EndpointCheck) -> Result<EndpointConfig, Fail> {
    let is_vllm = found.names.iter().any(|name| name.starts_with("vllm:"));
    let Some(base) = found.endpoint_url.strip_suffix("/metrics").filter(|_| is_vllm) else {
        return Ok(endpoint);
    };
    let Ok(client) = Client::new(ClientConfig::new(base)) else {
        return Ok(endpoint);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot ask for the version")?;
    Ok(match runtime.block_on(client.version()) {
        // A version that the catalogue cannot place compares with nothing.
        Ok(version) if version.parse::<Version>().is_ok() => endpoint.server_version(version),
        _ => endpoint,
    })
}
