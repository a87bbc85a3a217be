//! The server of a run: attached to, started, or simulated; and what is known about it once it is ready.

use std::time::Duration;

use anyhow::{Context, anyhow};
use vllm_client::server::{Died, ServerConfig, ServerProcess};
use vllm_client::{ApiKey, Client, ClientConfig, Timeouts, WaitReady};
use vllm_sim::{EngineConfig, SimConfig, Simulator};

use crate::exit::Fail;
use crate::plan::{Plan, ServerPlan};

/// A server that is ready, and what must be stopped at the end.
#[derive(Debug)]
pub struct Server {
    /// Talks to it.
    pub client: Client,
    /// Base URL.
    pub url: String,
    /// Name that requests give.
    pub model: String,
    /// Longest prompt plus answer in tokens, where told.
    pub max_model_len: Option<u64>,
    /// What `/version` says, where it is served.
    pub version: Option<String>,
    held: Held,
}

/// What must be stopped at the end.
#[derive(Debug)]
enum Held {
    /// Nothing: the server was there before us.
    Nothing,
    /// Our simulator, and the folder of its simulated GPU driver, which goes with it.
    Simulator(Simulator, tempfile::TempDir),
    /// A process that we started.
    Process(Box<ServerProcess>),
}

/// Name of the started server's log, in the folder of LoadGen's logs.
const SERVER_LOG: &str = "vllm_server.log";

/// How long an attached server may take to answer all its routes.
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// Starts what the plan says and waits until it is ready.
///
/// # Errors
/// [`crate::exit::Exit::Unreachable`] when it does not become ready, [`crate::exit::Exit::Usage`] when it does not
/// serve the model that was asked for.
pub async fn start(plan: &Plan) -> Result<Server, Fail> {
    let (url, held) = match &plan.server {
        ServerPlan::Attach { url } => (url.clone(), Held::Nothing),
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
                ..SimConfig::default()
            })
            .context("the built-in simulator did not start")?;
            let url = simulator.url();
            tracing::info!(
                "no --url and no --model: using the built-in simulator at {url}; all results are SIMULATED"
            );
            (url, Held::Simulator(simulator, gpu_dir))
        }
        ServerPlan::Start {
            model,
            command,
            args,
            startup_timeout,
        } => {
            let process = ServerProcess::start(ServerConfig {
                command: command.clone(),
                args: args.clone(),
                log_path: plan.log_dir.join(SERVER_LOG),
                startup_timeout: *startup_timeout,
                env: plan
                    .api_key
                    .iter()
                    .map(|key| ("VLLM_API_KEY".to_owned(), key.clone()))
                    .collect(),
                profiler_dir: plan.profiler.then(|| plan.log_dir.join("profile")),
                ..ServerConfig::new(model)
            })
            .map_err(Fail::unreachable)?;
            let shown = process.command_line().join(" ");
            tracing::info!(
                "started {shown}; its log is {}",
                plan.log_dir.join(SERVER_LOG).display()
            );
            let ready = process.wait_ready().await.map_err(Fail::unreachable)?;
            tracing::info!("the server was ready after {:.1} s", ready.waited.as_secs_f64());
            (process.url(), Held::Process(Box::new(process)))
        }
    };
    let client = client(&url, plan)?;
    // An attached server may have its metrics elsewhere or off; the recorder says what it misses.
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
    let asked = match &held {
        // A started server may serve its model under another name, which it has told.
        Held::Process(process) => Some(process.config().served_model_name().to_owned()),
        _ => plan.model.clone(),
    };
    let model = match (&asked, ready.models.as_slice()) {
        (Some(name), models) => models.iter().find(|model| model.id == *name).ok_or_else(|| {
            Fail::usage(anyhow!(
                "--model {name}: {url} does not serve it; it serves {}",
                names.join(", ")
            ))
        })?,
        (None, [only]) => only,
        (None, _) => {
            return Err(Fail::usage(anyhow!(
                "{url} serves {} models ({}): choose one with --model",
                names.len(),
                names.join(", ")
            )));
        }
    };
    let version = match client.version().await {
        Ok(version) => Some(version),
        Err(error) => {
            tracing::warn!("the server does not tell its version: {error}");
            None
        }
    };
    Ok(Server {
        model: model.id.clone(),
        max_model_len: model.max_model_len,
        client,
        url,
        version,
        held,
    })
}

fn client(url: &str, plan: &Plan) -> Result<Client, Fail> {
    let timeouts = Timeouts {
        request: plan.request_timeout,
        // An answer may wait long in the server's queue; once it flows it must keep flowing.
        first_token: plan.request_timeout,
        between_chunks: plan.request_timeout.min(plan.stall_timeout),
        ..Timeouts::default()
    };
    Client::new(ClientConfig {
        api_key: plan.api_key.as_ref().map(ApiKey::new),
        timeouts,
        pool_size: plan.concurrency,
        ..ClientConfig::new(url)
    })
    .map_err(Fail::usage)
}

impl Server {
    /// How a server that we started has died; `None` while it lives, and for every other server.
    pub fn has_died(&self) -> Option<Died> {
        match &self.held {
            Held::Process(process) => process.has_died(),
            _ => None,
        }
    }

    /// Whether what it measures is simulated: our own simulator says so in its version, wherever it runs.
    pub fn simulated(&self) -> bool {
        matches!(self.held, Held::Simulator(..))
            || self.version.as_ref().is_some_and(|v| v.contains("simulated"))
    }

    /// The driver library of the simulated GPUs, where the server is simulated.
    pub fn simulated_gpu_library(&self) -> Option<&std::path::Path> {
        match &self.held {
            Held::Simulator(simulator, _) => simulator.nvml_library(),
            _ => None,
        }
    }

    /// Whether it runs on this machine, as far as its address tells: what this machine's sensors say is about it then.
    pub fn is_on_this_host(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or(&self.url);
        ["127.", "localhost", "[::1]"]
            .iter()
            .any(|local| host.starts_with(local))
    }

    /// The started server's process, for what is measured per process.
    pub fn pid(&self) -> Option<i32> {
        match &self.held {
            Held::Process(process) => Some(process.pid()),
            _ => None,
        }
    }

    /// Stops what was started; an attached server is left alone.
    pub async fn stop(self) {
        match self.held {
            Held::Nothing => {}
            Held::Simulator(simulator, _gpu_dir) => simulator.stop(),
            Held::Process(process) => {
                if let Err(error) = process.stop().await {
                    tracing::error!("the server could not be stopped: {error}");
                }
            }
        }
    }
}
