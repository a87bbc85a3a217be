//! Hooks configured by the operator: webhooks, commands, replica counts.

use std::time::Duration;

use monitor_plugins::subprocess::Subprocess;
use serde_json::{Value, json};

use super::http::{Http, Secret};

/// A hook for scaling or failing over.
#[derive(Debug, Clone)]
pub enum Hook {
    /// A POST of `{"schema":1,"target":…,"change":…,"fence":…}`; a status of 200 to 299 is success.
    Webhook {
        /// URL.
        url: String,
        /// Its bearer token.
        token: Option<Secret>,
    },
    /// A program that receives the same object as one line and answers `{"ok":true}`.
    Command {
        /// The program.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Time limit.
        limit: Duration,
    },
    /// The replica count of a Kubernetes workload.
    Kubernetes(KubernetesScale),
}

/// The replica count of a Deployment or StatefulSet, through its `scale` subresource.
#[derive(Debug, Clone)]
pub struct KubernetesScale {
    /// Address of the API server, such as that of `kubectl proxy`; `https` needs the feature `tls`.
    pub api: String,
    /// Token of a service account that may get and patch `deployments/scale`.
    pub token: Option<Secret>,
    /// `deployments` or `statefulsets`.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Fewest replicas.
    pub least: u64,
    /// Most replicas.
    pub most: u64,
}

impl Hook {
    pub(super) async fn call(
        &self,
        http: &Http,
        target: &str,
        change: &str,
        fence: u64,
    ) -> Result<(), String> {
        let body = json!({ "schema": 1, "target": target, "change": change, "fence": fence });
        match self {
            Self::Webhook { url, token } => http
                .call(
                    reqwest::Method::POST,
                    url,
                    "application/json",
                    Some(&body),
                    token.as_ref(),
                )
                .await
                .map(|_| ()),
            Self::Command {
                program,
                arguments,
                limit,
            } => {
                let command = Subprocess {
                    program: program.clone(),
                    arguments: arguments.clone(),
                    limit: *limit,
                };
                tokio::task::spawn_blocking(move || command.ask(&body))
                    .await
                    .map_err(|e| format!("the command's thread ended: {e}"))?
                    .map(|_| ())
                    .map_err(|e| e.to_string())
            }
            Self::Kubernetes(scale) => scale.change(http, change).await,
        }
    }
}

impl KubernetesScale {
    fn url(&self) -> String {
        format!(
            "{}/apis/apps/v1/namespaces/{}/{}/{}/scale",
            self.api.trim_end_matches('/'),
            self.namespace,
            self.resource,
            self.name
        )
    }

    /// Changes the count by `+N` or `-N`, within its bounds, and checks the API server's result.
    async fn change(&self, http: &Http, change: &str) -> Result<(), String> {
        let by: i64 = change
            .parse()
            .map_err(|_| format!("{change:?} is not a change such as +1"))?;
        let token = self.token.as_ref();
        let now = http
            .call(reqwest::Method::GET, &self.url(), "", None, token)
            .await?;
        let replicas = now["spec"]["replicas"]
            .as_i64()
            .ok_or("the API server does not say how many replicas there are")?;
        let wanted = replicas
            .saturating_add(by)
            .clamp(self.least as i64, self.most as i64);
        if wanted == replicas {
            return Err(format!(
                "{replicas} replicas, and the bounds are {} and {}",
                self.least, self.most
            ));
        }
        // The version makes the change fail if another client changed it meanwhile.
        let version = now["metadata"]["resourceVersion"].clone();
        let mut patch = json!({ "spec": { "replicas": wanted } });
        if let Value::String(version) = version {
            patch["metadata"] = json!({ "resourceVersion": version });
        }
        let after = http
            .call(
                reqwest::Method::PATCH,
                &self.url(),
                "application/merge-patch+json",
                Some(&patch),
                token,
            )
            .await?;
        match after["spec"]["replicas"].as_i64() {
            Some(replicas) if replicas == wanted => Ok(()),
            other => Err(format!(
                "{wanted} replicas were asked for, and the answer is {other:?}"
            )),
        }
    }
}
