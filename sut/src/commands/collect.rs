//! `sut collect`: records metrics endpoints without sending load.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use vllm_client::{Client, ClientConfig};
use vllm_metrics::catalog::Version;
use vllm_metrics::config::DEFAULT_INTERVAL;
use vllm_metrics::{EndpointCheck, EndpointConfig, EventRow, Session};

use super::wait_for_end;
use crate::cli::{CollectArgs, FormatArg};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::{self, METRICS_DIR, MetricsPlan, RecordingPlan, refusal, words};
use crate::recorder;

/// Longest wait for a first scrape of the endpoints.
const FIRST_SCRAPE: Duration = Duration::from_secs(2);

/// Records until interrupted or for the requested time.
///
/// # Errors
/// [`Fail`] with the exit status and the message for the user.
pub(super) fn run(args: CollectArgs) -> Result<Exit, Fail> {
    let args = plan::collect_args(args).map_err(Fail::usage)?;
    let Collecting {
        metrics,
        endpoints,
        duration,
    } = resolve(&args)?;
    let looked = recorder::probe_endpoints(&endpoints).context("cannot ask the endpoints")?;
    for line in recorder::describe_probes(&looked) {
        match line {
            Ok(line) => tracing::info!("metrics: {line}"),
            Err(line) => tracing::warn!("NO METRICS: {line}; tried again while recording"),
        }
    }
    let mut builder = Session::builder()
        .interval(metrics.interval)
        .output_dir(&metrics.output_dir)
        .format(metrics.format);
    let count = endpoints.len();
    let mut versions: Vec<String> = Vec::new();
    for (endpoint, (_, answer)) in endpoints.into_iter().zip(&looked) {
        let version = match answer {
            Ok(found) => version_of(found)?,
            Err(_) => None,
        };
        // A version that is not in the catalogue cannot be compared.
        let known = version
            .clone()
            .filter(|version| endpoint.server_version.is_none() && version.parse::<Version>().is_ok());
        builder = builder.endpoint(match known {
            Some(version) => endpoint.server_version(version),
            None => endpoint,
        });
        versions.extend(version.filter(|version| !versions.contains(version)));
    }
    // The simulator declares itself in its version.
    let simulated = versions.iter().any(|version| version.contains("simulated"));
    if simulated {
        tracing::warn!("a simulator is recorded; everything made of this record is marked SIMULATED");
    }
    builder = builder.simulated(simulated);
    if !versions.is_empty() {
        builder = builder.fact("server_version", versions.join(", "));
    }
    let recording = RecordingPlan {
        // They are already among the endpoints.
        endpoints: Vec::new(),
        ..metrics.recording.clone()
    };
    let session = recording.start(builder)?;
    session.scrape_now(FIRST_SCRAPE);
    tracing::info!(
        "recording {} into {}; stop with Ctrl-C",
        words::counted(count as u64, "endpoint"),
        metrics.output_dir.display()
    );
    let hooks = session.hooks();
    wait_for_end(duration, |seconds| {
        let message = format!(
            "the machine's clock was set {} by {:.1} s; recorded times go on as before",
            if seconds < 0.0 { "back" } else { "forward" },
            seconds.abs()
        );
        tracing::warn!("{message}");
        hooks.event(EventRow::new(
            session.clock().now_ns(),
            "clock_stepped",
            "self",
            message,
        ));
    })?;
    // Most likely a full disk or a removed folder. What was recorded is kept.
    let finished = session
        .finish()
        .map_err(|error| Fail::partial(anyhow!("the record was not finished: {error}")))?;
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    recorder::finish(&metrics, &finished, None, &mut files, &mut lines);
    for line in lines {
        print(&format!("  {line}\n"));
    }
    for (name, path) in files {
        print(&format!("  {name:<10} {}\n", path.display()));
    }
    let unreachable = finished.missing.never_answered.len() == count;
    Ok(if unreachable {
        Exit::Unreachable
    } else {
        Exit::Valid
    })
}

/// The checked flags.
struct Collecting {
    metrics: MetricsPlan,
    endpoints: Vec<EndpointConfig>,
    duration: Option<Duration>,
}

fn resolve(args: &CollectArgs) -> Result<Collecting, Fail> {
    let mut wrong = Vec::new();
    let interval = words::interval("--interval", args.interval.as_ref(), DEFAULT_INTERVAL, &mut wrong);
    let duration = words::duration("--duration", args.duration.as_ref(), &mut wrong);
    let format = args.format.unwrap_or(FormatArg::Parquet).into();
    let recording = RecordingPlan::resolve(&args.recording, format, interval, &mut wrong);
    let mut endpoints: Vec<EndpointConfig> = args.url.iter().map(EndpointConfig::new).collect();
    endpoints.extend(recording.endpoints.iter().cloned());
    if endpoints.is_empty() {
        wrong.push("nothing to record: give --url or --metrics-endpoint".into());
    }
    if !wrong.is_empty() {
        return Err(refusal("nothing was recorded", &wrong));
    }
    let metrics = MetricsPlan {
        output_dir: args
            .output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(METRICS_DIR)),
        interval,
        format,
        url: None,
        upload: None,
        plots: !args.no_plots,
        baseline: None,
        dashboard: None,
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

/// The version of the vLLM server behind an endpoint, if it is one and reports it.
fn version_of(found: &EndpointCheck) -> Result<Option<String>, Fail> {
    let is_vllm = found.names.iter().any(|name| name.starts_with("vllm:"));
    let Some(base) = found.endpoint_url.strip_suffix("/metrics").filter(|_| is_vllm) else {
        return Ok(None);
    };
    let Ok(client) = Client::new(ClientConfig::new(base)) else {
        return Ok(None);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot ask for the version")?;
    Ok(runtime.block_on(client.version()).ok())
}
