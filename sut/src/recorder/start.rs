//! Starts the recorder of a run: which endpoints, GPUs and processes it monitors.

use anyhow::Context;
use url::Url;
use vllm_metrics::catalog::Version;
use vllm_metrics::gpu::{GpuConfig, GpuSelection};
use vllm_metrics::host::HostConfig;
use vllm_metrics::{EndpointConfig, Session, SessionBuilder};

use mlperf_dataset::Dataset;
use mlperf_loadgen::TestSettings;

use super::{check, facts, upload};
use crate::exit::Fail;
use crate::plan::{MetricsPlan, Plan, Recording};
use crate::server::Server;

/// A run to be recorded.
pub(crate) struct Subject<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) server: &'a Server,
    pub(crate) settings: &'a TestSettings,
    /// The prompts.
    pub(crate) dataset: &'a Dataset,
}

/// The results of checking a run's endpoints, one line each; an error for an endpoint without metrics.
///
/// # Errors
/// When no runtime can be started.
pub(crate) fn probe(
    metrics: &MetricsPlan,
    subject: &Subject<'_>,
) -> anyhow::Result<Vec<Result<String, String>>> {
    let mut endpoints = endpoints(metrics, subject);
    endpoints.extend(metrics.recording.endpoints.iter().cloned());
    let probed = check::probe(&endpoints).context("cannot ask the metrics endpoints")?;
    Ok(check::describe_all(&probed))
}

/// Starts the record of a run.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] for a folder that is not writable or an address that cannot be bound.
pub(crate) fn start(metrics: &MetricsPlan, subject: &Subject<'_>) -> Result<Recording, Fail> {
    for line in probe(metrics, subject)? {
        match line {
            Ok(line) => tracing::info!("metrics: {line}"),
            Err(line) => tracing::warn!("NO METRICS: {line}; tried again while the run goes on"),
        }
    }
    let mut builder = Session::builder();
    for endpoint in endpoints(metrics, subject) {
        builder = builder.endpoint(endpoint);
    }
    builder = builder
        .interval(metrics.interval)
        .output_dir(&metrics.output_dir)
        .format(metrics.format)
        .simulated(subject.server.simulated());
    for (key, value) in labels(subject) {
        builder = builder.fact(key, value);
    }
    let builder = upload::attach(builder, metrics)?;
    metrics
        .recording
        .start(samplers(builder, metrics, subject.server))
}

/// The labels of the record.
fn labels(subject: &Subject<'_>) -> Vec<(String, String)> {
    let Subject {
        plan,
        server,
        settings,
        dataset,
    } = subject;
    let mut labels = vec![
        ("model", server.model.clone()),
        ("server_url", server.urls().collect::<Vec<_>>().join(",")),
        ("benchmark", plan.benchmark.loadgen_name.clone()),
        ("scenario", plan.scenario.to_string()),
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
        ("retries_allowed", plan.retries.to_string()),
        ("warmup_requests", plan.warm_up.to_string()),
        ("sut_version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Some(version) = &server.version {
        labels.push(("server_version", version.clone()));
    }
    let named = labels.into_iter().map(|(key, value)| (key.to_owned(), value));
    named.chain(facts::of(plan, settings, dataset)).collect()
}

/// The endpoints of a run: the one of `--metrics-url`, or one per server.
fn endpoints(metrics: &MetricsPlan, subject: &Subject<'_>) -> Vec<EndpointConfig> {
    let servers: Vec<&str> = subject.server.urls().collect();
    // A version that is not in the catalogue cannot be compared.
    let version = subject
        .server
        .version
        .as_ref()
        .filter(|version| version.parse::<Version>().is_ok());
    let endpoint = |url: String| {
        let mut endpoint = EndpointConfig::new(url).expect("vllm:*");
        endpoint.server_version = version.cloned();
        // The key is sent only to the server itself, not to another host in --metrics-url.
        match &subject.plan.api_key {
            Some(key) if servers.iter().any(|server| same_origin(server, &endpoint.url)) => {
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

/// Adds the samplers of GPUs and host, each on its own thread.
fn samplers(builder: SessionBuilder, metrics: &MetricsPlan, server: &Server) -> SessionBuilder {
    let server_pid = server_pid(server);
    let host = HostConfig {
        interval: metrics.interval,
        server_pid,
        ..HostConfig::default()
    };
    let builder = builder.host(host);
    let selection = match (&metrics.gpus, server_pid) {
        (Some(indices), _) => GpuSelection::Indices(indices.clone()),
        // GPUs of other users on a shared machine must not count towards this run's energy.
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

/// The server's first process: the one that we started, or the one that listens at the address of an attached
/// server on this machine. Without it nothing is measured per process, and the server's GPUs cannot be
/// distinguished from others; this is logged.
fn server_pid(server: &Server) -> Option<u32> {
    if let Some(pid) = server.pid() {
        return u32::try_from(pid).ok();
    }
    if !server.is_attached() || !server.is_on_this_host() {
        return None;
    }
    let mut found = Vec::new();
    for url in server.urls() {
        let (host, port) = host_and_port(url)?;
        match vllm_metrics::host::listening_process(host.parse().ok(), port) {
            Ok(pid) if found.contains(&pid) => {}
            Ok(pid) => found.push(pid),
            Err(why) => {
                tracing::warn!("the server's own processes are not measured: {why}");
                return None;
            }
        }
    }
    match found[..] {
        [pid] => {
            tracing::info!("the server is process {pid}: its CPU, memory and GPUs are recorded separately");
            Some(pid)
        }
        _ => {
            tracing::warn!(
                "the servers are processes {found:?}; only one is told apart from the rest of the machine, so none is: \
                 name their GPUs with --gpus"
            );
            None
        }
    }
}

/// Whether two URLs have the same scheme, host and port; a text that is not a URL never matches.
fn same_origin(server: &str, url: &str) -> bool {
    // A metrics endpoint may have no scheme.
    let origin = |text: &str| {
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        url.ok().map(|url| url.origin())
    };
    origin(server).is_some_and(|server| server.is_tuple() && origin(url) == Some(server))
}

/// Host and port of a base URL.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::{host_and_port, same_origin};

    #[test]
    fn a_url_names_a_host_and_a_port() {
        for (url, told) in [
            ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
            ("http://localhost:8000/a", ("localhost", 8000)),
            ("http://[::1]:8000", ("::1", 8000)),
            ("http://[::1]", ("::1", 80)),
            ("https://localhost", ("localhost", 443)),
        ] {
            assert_eq!(host_and_port(url), Some((told.0.to_owned(), told.1)), "{url}");
        }
    }

    #[test]
    fn only_the_server_itself_gets_its_key() {
        for (server, url, told) in [
            ("http://gpu1", "http://gpu1/metrics", true),
            ("http://gpu1:80", "http://GPU1/metrics", true),
            ("http://gpu1:8000/v", "http://gpu1:8000/metrics", true),
            ("http://gpu1:8000", "gpu1:8000", true),
            ("http://gpu1", "http://gpu10:9400/metrics", false),
            ("http://h:80", "http://h:8080", false),
            ("http://a", "http://a.evil", false),
            ("http://a", "http://a@evil/metrics", false),
            ("http://a", "https://a/metrics", false),
            ("not a URL", "not a URL", false),
        ] {
            assert_eq!(same_origin(server, url), told, "{server} {url}");
        }
    }
}
