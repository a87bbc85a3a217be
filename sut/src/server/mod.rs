//! The server of a run (attached, started, or simulated) and its properties once it is ready.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::{join_all, try_join_all};
use url::{Host, Url};
use vllm_client::server::{ProcessEnded, ServerConfig, ServerError, ServerProcess};
use vllm_client::{
    ApiKey, Client, ClientConfig, ModelInfo, Pool, PrefixCaching, RetryPolicy, Timeouts, WaitReady,
};
use vllm_sim::{EngineConfig, ReferenceAnswer, SimConfig, Simulator};

use crate::exit::Fail;
use crate::plan::{InheritedServer, Plan, ServerPlan, replicas};
use crate::shutdown::Shutdown;

/// A server that is ready, and what must be stopped at the end.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its replicas, at least one.
    pub(crate) pool: Arc<Pool>,
    /// Model name in requests.
    pub(crate) model: String,
    /// Longest prompt plus answer in tokens, if reported.
    pub(crate) max_model_len: Option<u64>,
    /// The server's answer to `/version`, if it has that route.
    pub(crate) version: Option<String>,
    held: Held,
}

/// What must be stopped at the end.
#[derive(Debug)]
enum Held {
    /// Nothing: the server was already running.
    Nothing,
    /// Our simulator, and the folder of its simulated GPU driver.
    Simulator(Simulator, tempfile::TempDir),
    /// Nothing here: the parent process started the server and will stop it.
    Inherited(InheritedServer),
    /// Processes that we started, at least one. Each has a watchdog that ends it if we are gone.
    Processes(Vec<ServerProcess>),
}

/// Name of the started server's log in LoadGen's log folder, unless its configuration gives another one.
pub(crate) const SERVER_LOG: &str = "vllm_server.log";

/// Whether a file of LoadGen's log folder is the log of a started server: `vllm_server.log`, or
/// `vllm_server_1.log` and so on of further replicas.
pub(crate) fn is_server_log(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    let number = name
        .strip_prefix("vllm_server_")
        .and_then(|rest| rest.strip_suffix(".log"));
    name == SERVER_LOG
        || number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Time between two lines about a server that is loading.
const REPORT_LOADING: Duration = Duration::from_secs(30);

/// Longest wait for a profiler's trace.
const PROFILE_WRITING: Duration = Duration::from_secs(300);

/// How long an attached server may take to answer all its routes.
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// Starts the planned server and waits until it is ready, or until the run is ended.
///
/// # Errors
/// [`crate::exit::Exit::Unreachable`] when it does not become ready, [`crate::exit::Exit::Usage`] when it
/// does not serve the requested model, [`crate::exit::Exit::Partial`] when `ending` has ended it.
pub(crate) async fn start(
    plan: &Plan,
    references: Vec<ReferenceAnswer>,
    ending: &Shutdown,
) -> Result<Server, Fail> {
    let interrupted = || Err(Fail::partial(anyhow!("interrupted before any load was sent")));
    tokio::select! {
        biased;
        // Dropping the start kills a server that is still loading, so that nothing is left behind.
        () = ending.stop.cancelled() => interrupted(),
        started = become_ready(plan, references) => match started {
            // A signal to the process group may have ended what was being started.
            Err(_) if ending.stop.is_cancelled() => interrupted(),
            started => started,
        },
    }
}

async fn become_ready(plan: &Plan, references: Vec<ReferenceAnswer>) -> Result<Server, Fail> {
    let (urls, held) = match &plan.server {
        ServerPlan::Attach { urls } => (urls.clone(), Held::Nothing),
        ServerPlan::Inherited(inherited) => (inherited.urls.clone(), Held::Inherited(inherited.clone())),
        ServerPlan::Simulator => {
            let gpu_dir = tempfile::tempdir().context("cannot make a folder for the simulated GPU driver")?;
            let simulator = Simulator::start(SimConfig {
                gpu_dir: Some(gpu_dir.path().to_owned()),
                model: "simulated-8b".into(),
                // Prefix caching is forbidden in MLPerf, so the demonstration does not use it either.
                engine: EngineConfig {
                    seed: plan.seed,
                    enable_prefix_caching: false,
                    ..EngineConfig::h100_8b()
                },
                per_request_metrics: true,
                references: references.into(),
                ..SimConfig::default()
            })
            .context("the built-in simulator did not start")?;
            let url = simulator.url();
            tracing::info!(
                "no --url and no --model: using the built-in simulator at {url}; all results are SIMULATED"
            );
            (vec![url], Held::Simulator(simulator, gpu_dir))
        }
        ServerPlan::Start(replicas) => {
            let processes = start_all(plan, replicas).await?;
            let urls = processes.iter().map(ServerProcess::url).collect();
            (urls, Held::Processes(processes))
        }
    };
    let clients = urls
        .iter()
        .map(|url| client(url, plan))
        .collect::<Result<Vec<_>, _>>()?;
    let asked = match &held {
        // A started server may serve its model under another name, given in its configuration.
        Held::Processes(all) => all
            .first()
            .map(|process| process.config().served_model_name().to_owned()),
        Held::Inherited(inherited) => Some(inherited.model.clone()),
        _ => plan.model.clone(),
    };
    let mut models = Vec::with_capacity(clients.len());
    for client in &clients {
        // Replicas serve the same model, so the first one's model is requested from the others.
        let asked = asked
            .as_deref()
            .or(models.first().map(|model: &ModelInfo| model.id.as_str()));
        models.push(served(client, asked).await?);
    }
    let mut version = None;
    for client in &clients {
        match client.version().await {
            Ok(told) => {
                if version.as_ref().is_some_and(|first| *first != told) {
                    tracing::warn!("{} is version {told}, the first one is another", client.url());
                }
                version.get_or_insert(told);
            }
            Err(error) => tracing::warn!("the server does not report its version: {error}"),
        }
    }
    let retry = RetryPolicy {
        max_attempts: plan.retries.saturating_add(1),
        ..RetryPolicy::default()
    };
    Ok(Server {
        model: models[0].id.clone(),
        max_model_len: models.iter().filter_map(|model| model.max_model_len).min(),
        pool: Arc::new(Pool::new(clients, plan.balance, retry).map_err(Fail::usage)?),
        version,
        held,
    })
}

/// Starts all replicas at once and waits until every one is ready.
async fn start_all(plan: &Plan, replicas: &[ServerConfig]) -> Result<Vec<ServerProcess>, Fail> {
    let mut processes = Vec::with_capacity(replicas.len());
    for (number, replica) in replicas.iter().enumerate() {
        let mut config = replica.clone();
        if config.log_path.parent() == Some(Path::new("")) {
            config.log_path = plan.log_dir.join(&config.log_path);
        }
        if let Some(key) = &plan.api_key {
            config.env.insert("VLLM_API_KEY".to_owned(), key.clone());
        }
        if plan.profiler && config.profiler_dir.is_none() {
            let dir = plan.log_dir.join("profile");
            config.profiler_dir = Some(if replicas.len() > 1 {
                replicas::profiler_dir(&dir, number)
            } else {
                dir
            });
        }
        for ignored in &config.ignored {
            tracing::warn!("--server-config: {ignored}");
        }
        let log = config.log_path.clone();
        let gpus = match config.env.get("CUDA_VISIBLE_DEVICES") {
            Some(gpus) if replicas.len() > 1 => format!(" on GPU {gpus}"),
            _ => String::new(),
        };
        let process = ServerProcess::start(config).map_err(|error| not_started(&error))?;
        let shown = process.command_line().join(" ");
        tracing::info!("started {shown}{gpus}; its log is {}", log.display());
        processes.push(process);
    }
    let ready = processes.iter().map(|process| async {
        let ready = tokio::select! {
            ready = process.wait_ready() => ready.map_err(|error| not_started(&error))?,
            never = report_loading(|waited| say_loading(process, waited)) => match never {},
        };
        tracing::info!(
            "the server at {} was ready after {:.1} s",
            process.url(),
            ready.waited.as_secs_f64()
        );
        Ok::<(), Fail>(())
    });
    try_join_all(ready).await?;
    Ok(processes)
}

/// A server that could not be started, with the flags that change how it is.
fn not_started(error: &ServerError) -> Fail {
    let text = match error {
        ServerError::Spawn { .. } => {
            format!(
                "{error}; --serve-command sets the command that starts the server, --url attaches to a running one"
            )
        }
        ServerError::ProcessEnded(_) | ServerError::NotReady { .. } => format!(
            "{error}\nIt was started by --serve-command (default: vllm serve) with --server-args; other ways to start it are, \
             for example, --serve-command \"python -m vllm.entrypoints.openai.api_server\" and --server-config"
        ),
        _ => error.to_string(),
    };
    Fail::unreachable(anyhow!(text))
}

/// Calls `say` from time to time with how long a server has been loading.
async fn report_loading(mut say: impl FnMut(Duration)) -> Infallible {
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(REPORT_LOADING).await;
        waited += REPORT_LOADING;
        say(waited);
    }
}

/// Logs that a server is still loading, with the last line of its log.
fn say_loading(process: &ServerProcess, waited: Duration) {
    let last = process.last_lines().pop().unwrap_or_default();
    tracing::info!(
        "the server at {} is not ready after {} s; the last line of its log: {last}",
        process.url(),
        waited.as_secs()
    );
}

/// Waits until a server answers, and selects the requested model, or its only one.
async fn served(client: &Client, asked: Option<&str>) -> Result<ModelInfo, Fail> {
    let url = client.url();
    // An attached server may serve its metrics elsewhere or not at all; the recorder reports what it misses.
    let wait = WaitReady {
        deadline: ATTACH_DEADLINE,
        model: None,
        metrics: false,
        ..WaitReady::default()
    };
    let ready = client.wait_ready(&wait).await.map_err(|error| {
        Fail::unreachable(anyhow!(error).context(format!("no vLLM server is ready at {url}")))
    })?;
    let names: Vec<&str> = ready.models.iter().map(|model| model.id.as_str()).collect();
    let names = names.join(", ");
    match (asked, ready.models.as_slice()) {
        (Some(name), models) => models
            .iter()
            .find(|model| model.id == name)
            .cloned()
            .ok_or_else(|| {
                Fail::usage(anyhow!(
                    "--model {name}: {url} does not serve it; it serves {names}"
                ))
            }),
        (None, [only]) => Ok(only.clone()),
        (None, several) => Err(Fail::usage(anyhow!(
            "{url} serves {} models ({names}): choose one with --model",
            several.len()
        ))),
    }
}

fn client(url: &str, plan: &Plan) -> Result<Client, Fail> {
    let timeouts = Timeouts {
        request: plan.request_timeout,
        // An answer may wait long in the server's queue, but once it streams it must keep streaming.
        first_token: plan.request_timeout,
        between_chunks: plan.request_timeout.min(plan.stall_timeout),
        ..Timeouts::default()
    };
    Client::new(ClientConfig {
        api_key: plan.api_key.as_ref().map(ApiKey::new),
        timeouts,
        pool_size: plan.concurrency,
        // Accuracy is judged by texts; in a timed run they would only add cost.
        keep_text: plan.keeps_texts(),
        ..ClientConfig::new(url)
    })
    .map_err(Fail::usage)
}

impl Server {
    /// Base URLs of the replicas.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.pool.clients().iter().map(Client::url)
    }

    /// Whether any replica reuses results of other queries: on if one reports so, off if all report so.
    pub(crate) async fn prefix_caching(&self) -> PrefixCaching {
        let mut all = PrefixCaching::Off;
        for client in self.pool.clients() {
            match client.prefix_caching().await {
                Ok(PrefixCaching::On) => return PrefixCaching::On,
                Ok(PrefixCaching::Off) => {}
                Ok(PrefixCaching::Unknown) => all = PrefixCaching::Unknown,
                Err(error) => {
                    tracing::debug!("prefix caching is not known: {error}");
                    all = PrefixCaching::Unknown;
                }
            }
        }
        all
    }

    /// Starts every replica's profiler.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`]: a server has the route only if it was started with a profiler.
    pub(crate) async fn start_profile(&self) -> Result<(), Fail> {
        for client in self.pool.clients() {
            client
                .start_profile()
                .await
                .map_err(|error| Fail::usage(anyhow!(error).context("--enable-profiler")))?;
        }
        Ok(())
    }

    /// Stops every replica's profiler, which may take long because it writes its trace.
    pub(crate) async fn stop_profile(&self) {
        for client in self.pool.clients() {
            if let Err(error) = client.stop_profile(PROFILE_WRITING).await {
                tracing::warn!("the profiler could not be stopped: {error}");
            }
        }
    }

    /// How any server that we started has died; `None` while it is alive, and for every other server.
    pub(crate) fn has_died(&self) -> Option<ProcessEnded> {
        match &self.held {
            Held::Processes(all) => all.iter().find_map(ServerProcess::has_died),
            _ => None,
        }
    }

    /// Whether the server is simulated: our own simulator reports so in its version, even on another machine.
    pub(crate) fn simulated(&self) -> bool {
        matches!(self.held, Held::Simulator(..))
            || self.version.as_ref().is_some_and(|v| v.contains("simulated"))
    }

    /// The driver library of the simulated GPUs, if the server is simulated.
    pub(crate) fn simulated_gpu_library(&self) -> Option<&std::path::Path> {
        match &self.held {
            Held::Simulator(simulator, _) => simulator.nvml_library(),
            _ => None,
        }
    }

    /// Whether all replicas run on this machine, as far as their addresses show. This machine's sensors then
    /// describe the server.
    pub(crate) fn is_on_this_host(&self) -> bool {
        self.urls().all(is_loopback)
    }

    /// Whether the server was already running.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// The started server's process, for per-process measurements; `None` if there are several.
    pub(crate) fn pid(&self) -> Option<i32> {
        match &self.held {
            Held::Processes(all) => match &all[..] {
                [process] => Some(process.pid()),
                _ => None,
            },
            Held::Inherited(inherited) => inherited.pid,
            _ => None,
        }
    }

    /// What a child needs to run its test on this server.
    pub(crate) fn to_hand_on(&self) -> InheritedServer {
        InheritedServer {
            pid: self.pid(),
            urls: self.urls().map(str::to_owned).collect(),
            model: self.model.clone(),
        }
    }

    /// Stops what was started; an attached server keeps running.
    pub(crate) async fn stop(self) {
        match self.held {
            Held::Nothing | Held::Inherited(_) => {}
            Held::Simulator(simulator, _gpu_dir) => simulator.stop(),
            Held::Processes(all) => {
                let ends = all.into_iter().map(|process| async move {
                    if let Err(error) = process.stop().await {
                        tracing::error!("the server could not be stopped: {error}");
                    }
                });
                join_all(ends).await;
            }
        }
    }
}

/// Whether a URL's host is this machine, by its loopback address or name.
fn is_loopback(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_loads_for_long_is_reported_every_half_minute() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut said = Vec::new();
        runtime.block_on(async {
            let limit = tokio::time::sleep(Duration::from_secs(274));
            tokio::select! {
                never = report_loading(|waited| said.push(waited.as_secs())) => match never {},
                () = limit => {}
            }
        });
        assert_eq!(said, [30, 60, 90, 120, 150, 180, 210, 240, 270]);
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for (url, local) in [
            ("http://127.0.0.1:8000", true),
            ("http://localhost", true),
            ("http://me@LOCALHOST:1/a", true),
            ("http://[::1]:8000", true),
            ("http://localhost.example.com", false),
            ("http://127.evil:80", false),
            ("http://10.0.0.1", false),
            ("no URL", false),
        ] {
            assert_eq!(is_loopback(url), local, "{url}");
        }
    }
}
