//! Executes actions on real servers through the in-engine plugin's levers, vLLM's own routes, processes, and
//! hooks of the operator. Each action is verified after its execution as far as the other side allows it.

mod hook;
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

pub use hook::{Hook, KubernetesScale};
pub use http::Secret;

use crate::{Action, Capability};
use http::Http;

/// Paths of the in-engine plugin and of the simulator; `docs/acting.md` defines the bodies.
const LEVERS: &str = "/v1/monitor/levers";
const ABORT: &str = "/v1/monitor/abort";

/// Result of a restart.
pub type Restarting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Restarts the server with changed arguments. Provided by the owner of the process.
pub type RestartFn = Arc<dyn Fn(BTreeMap<String, String>) -> Restarting + Send + Sync>;

/// Executes the actions of a custom strategy: its name, the payload, the target.
pub type OwnFn = Arc<dyn Fn(String, Value, String) -> Restarting + Send + Sync>;

/// How to reach a target.
#[derive(Clone)]
pub struct Reach {
    /// Its address, such as `http://127.0.0.1:8000`.
    pub url: String,
    /// The server's own API key.
    pub api_key: Option<Secret>,
    /// Token of the levers' routes.
    pub token: Option<Secret>,
    /// How to restart it, if possible.
    pub restart: Option<RestartFn>,
    /// Webhooks, commands and replica counts by name: `scale`, `fail_over`.
    pub hooks: BTreeMap<String, Hook>,
    /// Capabilities that cannot be detected and are confirmed by the operator, such as `route.sleep`.
    pub confirmed: BTreeSet<Capability>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach")
            .field("url", &self.url)
            .field("api_key", &self.api_key)
            .field("token", &self.token)
            .field("restart", &self.restart.is_some())
            .field("hooks", &self.hooks)
            .field("confirmed", &self.confirmed)
            .finish()
    }
}

impl Reach {
    /// A target that is reached only at its address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            token: None,
            restart: None,
            hooks: BTreeMap::new(),
            confirmed: BTreeSet::new(),
        }
    }
}

/// Capabilities of a target, and the reasons for missing ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetCapabilities {
    /// Supported capabilities.
    pub capabilities: BTreeSet<Capability>,
    /// Why others are missing, if the target gave a reason.
    pub reasons: BTreeMap<Capability, String>,
}

/// Executes actions. Clones share the known fencing tokens.
#[derive(Clone)]
pub struct Actuators {
    http: Http,
    reaches: BTreeMap<Arc<str>, Reach>,
    own: Option<OwnFn>,
    fences: Arc<Mutex<BTreeMap<Arc<str>, u64>>>,
}

impl fmt::Debug for Actuators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actuators")
            .field("reaches", &self.reaches)
            .finish_non_exhaustive()
    }
}

impl Actuators {
    /// Creates actuators for these targets.
    ///
    /// # Errors
    /// If no HTTP client can be created.
    pub fn new(reaches: BTreeMap<Arc<str>, Reach>) -> Result<Self, String> {
        Ok(Self {
            http: Http::new()?,
            reaches,
            own: None,
            fences: Arc::default(),
        })
    }

    /// Adds an executor for custom strategies.
    #[must_use]
    pub fn with_own(mut self, own: OwnFn) -> Self {
        self.own = Some(own);
        self
    }

    /// Queries the capabilities of a target. Changes nothing.
    pub async fn find(&self, target: &str) -> TargetCapabilities {
        let mut found = TargetCapabilities::default();
        let Some(reach) = self.reaches.get(target) else {
            return found;
        };
        match self.http.get(reach, LEVERS).await {
            Ok(answer) => {
                let list = |key| answer.get(key).and_then(Value::as_array).into_iter().flatten();
                for lever in list("levers") {
                    let Some(name) = lever["name"].as_str() else {
                        continue;
                    };
                    let capability = Capability::from(format!("lever.{name}"));
                    match lever["error"].as_str() {
                        Some(why) => drop(found.reasons.insert(capability, why.to_owned())),
                        None => drop(found.capabilities.insert(capability)),
                    }
                }
                for which in list("aborts").filter_map(Value::as_str) {
                    found.capabilities.insert(format!("lever.abort_{which}").into());
                }
            }
            Err(problem) => {
                let levers = [
                    "max_num_queued_reqs",
                    "max_num_active_reqs",
                    "watermark_blocks",
                    "drain",
                    "abort_newest",
                    "abort_longest",
                ];
                for lever in levers {
                    found
                        .reasons
                        .insert(format!("lever.{lever}").into(), format!("{LEVERS}: {problem}"));
                }
            }
        }
        match self.http.get(reach, "/is_paused").await {
            Ok(_) => {
                for route in ["route.pause", "route.reset_prefix_cache", "route.reset_mm_cache"] {
                    found.capabilities.insert(route.into());
                }
            }
            Err(problem) => {
                let why = format!("vLLM's development routes are not there (/is_paused: {problem})");
                for route in [
                    "route.pause",
                    "route.reset_prefix_cache",
                    "route.reset_mm_cache",
                    "route.sleep",
                ] {
                    found.reasons.insert(route.into(), why.clone());
                }
            }
        }
        if reach.restart.is_some() {
            found.capabilities.insert("process.restart".into());
        }
        found.capabilities.extend(
            reach
                .hooks
                .keys()
                .map(|hook| Capability::from(format!("hook.{hook}"))),
        );
        found.capabilities.extend(reach.confirmed.iter().cloned());
        found
    }

    /// Executes actions in order and stops at the first failure. A fencing token smaller than an earlier one
    /// is rejected, because its holder has lost the lease.
    ///
    /// # Errors
    /// Which action failed and why.
    pub async fn carry_out(
        &self,
        target: &str,
        arm: &str,
        actions: &[Action],
        fence: u64,
    ) -> Result<(), String> {
        let reach = self
            .reaches
            .get(target)
            .ok_or_else(|| format!("{target} is not configured"))?;
        {
            let mut fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = fences.entry(target.into()).or_default();
            if fence < *seen {
                return Err(format!("the lease was lost: fence {fence} after {seen}"));
            }
            *seen = fence;
        }
        for action in actions {
            self.carry_out_one(reach, target, arm, action, fence).await?;
        }
        Ok(())
    }

    async fn carry_out_one(
        &self,
        reach: &Reach,
        target: &str,
        arm: &str,
        action: &Action,
        fence: u64,
    ) -> Result<(), String> {
        match action {
            Action::Nothing => Ok(()),
            Action::SetLever {
                lever,
                value,
                ttl_secs,
            } => {
                let whole = value.max(0.0).round() as u64;
                let body = json!({ "value": whole, "ttl_seconds": ttl_secs });
                let now = self
                    .http
                    .post(reach, &format!("{LEVERS}/{lever}"), Some(&body))
                    .await?;
                if now["value"].as_u64() != Some(whole) {
                    return Err(format!("{lever} was set to {whole} and is {}", now["value"]));
                }
                if now["seconds_left"]
                    .as_f64()
                    .is_none_or(|secs| secs > ttl_secs + 1.0)
                {
                    return Err(format!("{lever} was set without its time to live"));
                }
                Ok(())
            }
            Action::ResetLever { lever } => {
                let now = self.http.delete(reach, &format!("{LEVERS}/{lever}")).await?;
                if now["name"] == lever.as_ref() && now["seconds_left"].is_null() {
                    Ok(())
                } else {
                    Err(format!("{lever} was reset and is still {}", now["value"]))
                }
            }
            Action::Abort { which, count } => {
                let body = json!({ "which": which, "count": count });
                let answer = self.http.post(reach, ABORT, Some(&body)).await?;
                match answer["aborted"].as_u64() {
                    Some(_) => Ok(()),
                    None => Err("how many were aborted is not said".into()),
                }
            }
            Action::Route { path } => self.route(reach, path).await,
            Action::Restart { arguments } => match &reach.restart {
                Some(restart) => restart(arguments.clone()).await,
                None => Err("this monitor does not own the server's process".into()),
            },
            Action::Hook { hook, change } => match reach.hooks.get(hook.as_ref()) {
                Some(configured) => configured.call(&self.http, target, change, fence).await,
                None => Err(format!("no hook {hook} is configured")),
            },
            Action::Own { payload } => match &self.own {
                Some(own) => own(arm.to_owned(), payload.clone(), target.to_owned()).await,
                None => Err("nothing carries out strategies of one's own".into()),
            },
        }
    }

    /// One of vLLM's own routes, verified where possible.
    async fn route(&self, reach: &Reach, path: &str) -> Result<(), String> {
        let name = path.split('?').next().unwrap_or(path);
        let body = (name == "/fault_tolerance/apply").then(|| json!({ "instruction": "retry" }));
        let answer = self.http.post(reach, path, body.as_ref()).await?;
        if answer.get("success").and_then(Value::as_bool) == Some(false) {
            return Err(format!("{name} was refused: {answer}"));
        }
        let expected = match name {
            "/pause" => Some(true),
            "/resume" => Some(false),
            _ => None,
        };
        if let Some(expected) = expected {
            let answer = self.http.get(reach, "/is_paused").await?;
            let paused = answer.get("is_paused").and_then(Value::as_bool);
            if paused != Some(expected) {
                return Err(format!("after {name}, /is_paused says {answer}"));
            }
        }
        Ok(())
    }
}
