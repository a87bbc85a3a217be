//! The recorder of a run: which endpoints, GPUs and processes it watches.

use anyhow::Context;
use vllm_metrics::catalog::Version;
use vllm_metrics::gpu::{GpuConfig, GpuSelection};
use vllm_metrics::host::HostConfig;
use vllm_metrics::{EndpointConfig, Session, SessionBuilder};

use super::prepare::Prepared;
use crate::exit::Fail;
use crate::plan::MetricsPlan;
use crate::recording;
use crate::report;
use crate::server::Server;

/// What the endpoints of a run answer, a line each; an error for one that has no metrics.
pub(super) fn look(metrics: &MetricsPlan, prepared: &Prepared) -> Result<Vec<Result<String, String>>, Fail> {
    let mut endpoints = endpoints(metrics, prepared);
    endpoints.extend(metrics.recording.endpoints.iter().cloned());
    let looked = recording::look(&endpoints).context("cannot look at the metrics endpoints")?;
    Ok(looked.iter().map(recording::told).collect())
}

pub(super) fn start(metrics: &MetricsPlan, prepared: &Prepared) -> Result<Session, Fail> {
    let plan = &prepared.plan;
    for line in look(metrics, prepared)? {
        match line {
            Ok(line) => tracing::info!("metrics: {line}"),
            Err(line) => tracing::warn!("NO METRICS: {line}; it is tried again while the run goes on"),
        }
    }
    let mut builder = Session::builder();
    for endpoint in endpoints(metrics, prepared) {
        builder = builder.endpoint(endpoint);
    }
    builder = builder
        .interval(metrics.interval)
        .output_dir(&metrics.output_dir)
        .format(report::store_format(metrics.format))
        .simulated(prepared.server.simulated());
    for (key, value) in report::facts(plan, &prepared.load.settings, &prepared.server, &prepared.dataset) {
        builder = builder.fact(key, value);
    }
    // A folder that cannot be written is the user's to mend, and no load has been sent.
    let builder = metrics.recording.apply(builder);
    let session = samplers(builder, metrics, &prepared.server)
        .start()
        .map_err(Fail::usage)?;
    report::own_pages(&session);
    Ok(session)
}

/// The endpoints of one run: that of `--metrics-url`, or one for each server.
fn endpoints(metrics: &MetricsPlan, prepared: &Prepared) -> Vec<EndpointConfig> {
    let servers: Vec<&str> = prepared.server.urls().collect();
    // A version that the catalogue cannot place compares with nothing.
    let version = prepared
        .server
        .version
        .as_ref()
        .filter(|version| version.parse::<Version>().is_ok());
    let endpoint = |url: String| {
        let mut endpoint = EndpointConfig::new(url).expect("vllm:*");
        endpoint.server_version = version.cloned();
        // The key belongs to the server, and to nobody else that --metrics-url may name.
        match &prepared.plan.api_key {
            Some(key) if servers.iter().any(|server| endpoint.url.starts_with(server)) => {
                endpoint.bearer(key)
            }
            _ => endpoint,
        }
    };
    if let Some(url) = &metrics.url {
        return vec![endpoint(url.clone())];
    }
    let several = servers.len() > 1;
    let each = servers.iter().enumerate().map(|(number, server)| {
        let endpoint = endpoint(format!("{server}/metrics"));
        if several {
            endpoint.label("replica", number.to_string())
        } else {
            endpoint
        }
    });
    each.collect()
}

/// Adds the samplers of GPUs and host, each on a thread of its own.
fn samplers(builder: SessionBuilder, metrics: &MetricsPlan, server: &Server) -> SessionBuilder {
    let server_pid = server.pid().and_then(|pid| u32::try_from(pid).ok());
    let host = HostConfig {
        interval: metrics.interval,
        server_pid,
        ..HostConfig::default()
    };
    let builder = builder.host(host);
    let selection = match (&metrics.gpus, server_pid) {
        (Some(indices), _) => GpuSelection::Indices(indices.clone()),
        // Other people's GPUs on a shared machine must not count into this run's energy.
        (None, Some(pid)) => GpuSelection::ServerProcess(pid),
        (None, None) => GpuSelection::All,
    };
    if !metrics.gpu || (metrics.gpus.is_none() && !server.is_on_this_host()) {
        return builder;
    }
    let library = server.simulated_gpu_library().map(std::path::Path::to_owned);
    let gpu = GpuConfig {
        simulated: library.is_some(),
        library,
        interval: metrics.gpu_interval,
        selection,
        server_pid,
        ..GpuConfig::default()
    };
    builder.gpu(gpu)
}
