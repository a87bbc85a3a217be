//! All routes except completions: health, models, version, metrics page, profiler; and waiting until all are
//! ready.

use std::time::{Duration, Instant};

use exposition::{Event, Format, Parser};
use reqwest::Method;
use serde::Deserialize;

use crate::client::{Client, chain, join};
use crate::error::{ControlError, excerpt};

/// One entry of `/v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelInfo {
    /// The model name for requests.
    pub id: String,
    /// Path or repository it was loaded from, if the server says so.
    #[serde(default)]
    pub root: Option<String>,
    /// Longest prompt plus answer in tokens, if the server says so.
    #[serde(default)]
    pub max_model_len: Option<u64>,
}

/// What [`Client::wait_ready`] waits for, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitReady {
    /// Give up after this long.
    pub deadline: Duration,
    /// Poll interval.
    pub poll: Duration,
    /// The model that must be served; `None` takes any.
    pub model: Option<String>,
    /// Whether `/metrics` must answer with `vllm:` series.
    pub metrics: bool,
}

impl Default for WaitReady {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(600),
            poll: Duration::from_millis(250),
            model: None,
            metrics: true,
        }
    }
}

/// A server that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// What it serves.
    pub models: Vec<ModelInfo>,
    /// How long it took.
    pub waited: Duration,
}

/// Whether a server reuses the KV cache of common prompt prefixes. On by default in vLLM, forbidden in
/// MLPerf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixCaching {
    /// At least one engine has it on.
    On,
    /// Every engine reports it as off.
    Off,
    /// The server does not report it (older than the `enable_prefix_caching` label), and no hit was counted.
    Unknown,
}

impl PrefixCaching {
    /// Reads it from a metrics page: the `enable_prefix_caching` label of `vllm:cache_config_info`, else a hits
    /// counter that is not zero.
    pub fn from_metrics_page(page: &[u8]) -> Self {
        let mut found = Self::Unknown;
        for event in Parser::new(page, Format::Text) {
            let Event::Sample(sample) = event else { continue };
            match sample.name.raw() {
                b"vllm:prefix_cache_hits_total" | b"vllm:gpu_prefix_cache_hits_total"
                    if sample.value > 0.0 =>
                {
                    return Self::On;
                }
                b"vllm:cache_config_info" => match sample.labels.get("enable_prefix_caching") {
                    Some(on) if on.eq_ignore_ascii_case("true") => return Self::On,
                    Some(off) if off.eq_ignore_ascii_case("false") => found = Self::Off,
                    _ => {}
                },
                _ => {}
            }
        }
        found
    }
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelInfo>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Longest answer of a control route, in bytes. A metrics page of vLLM has about 50 kB.
const MOST_BYTES: usize = 64 << 20;
/// Number of stale kept connections after which a control request is abandoned.
const MOST_STALE: usize = 4;

impl Client {
    /// `GET /health`. vLLM returns a flag and does not probe the engine: a hanging engine stays healthy.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`], or [`ControlError::Status`] (503 when the engine is dead).
    pub async fn health(&self) -> Result<(), ControlError> {
        self.control(Method::GET, "health").await.map(drop)
    }

    /// `GET /v1/models`.
    ///
    /// # Errors
    /// As [`Client::health`], and [`ControlError::Unexpected`].
    pub async fn models(&self) -> Result<Vec<ModelInfo>, ControlError> {
        let list: ModelList = self.json("v1/models").await?;
        Ok(list.data)
    }

    /// `GET /version`: the server's version text.
    ///
    /// # Errors
    /// As [`Client::models`].
    pub async fn version(&self) -> Result<String, ControlError> {
        let version: Version = self.json("version").await?;
        Ok(version.version)
    }

    /// `GET /metrics`: the unmodified page.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn metrics_page(&self) -> Result<Vec<u8>, ControlError> {
        self.control(Method::GET, "metrics").await
    }

    /// Whether the server's prefix caching is on, read from its metrics page.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn prefix_caching(&self) -> Result<PrefixCaching, ControlError> {
        Ok(PrefixCaching::from_metrics_page(&self.metrics_page().await?))
    }

    /// `POST /start_profile`. The server has this route only when it was started with a profiler.
    ///
    /// # Errors
    /// As [`Client::health`]; status 404 means that the server was started without a profiler.
    pub async fn start_profile(&self) -> Result<(), ControlError> {
        self.control(Method::POST, "start_profile").await.map(drop)
    }

    /// `POST /stop_profile`. The server writes its trace before it answers, which may take long, so `limit`
    /// replaces the usual control timeout.
    ///
    /// # Errors
    /// As [`Client::start_profile`].
    pub async fn stop_profile(&self, limit: Duration) -> Result<(), ControlError> {
        self.control_within(Method::POST, "stop_profile", limit)
            .await
            .map(drop)
    }

    /// Waits until health, the model list and the metrics page are all available, and returns the models.
    ///
    /// # Errors
    /// [`ControlError::NotReady`] at the deadline, with the first part that was still missing and why.
    pub async fn wait_ready(&self, wait: &WaitReady) -> Result<Readiness, ControlError> {
        let start = Instant::now();
        loop {
            let reason = match self.look(wait).await {
                Ok(models) => {
                    return Ok(Readiness {
                        models,
                        waited: start.elapsed(),
                    });
                }
                Err(error) => error.to_string(),
            };
            let waited = start.elapsed();
            if waited + wait.poll > wait.deadline {
                return Err(ControlError::NotReady {
                    url: self.shown.clone(),
                    waited,
                    reason,
                });
            }
            tracing::debug!(url = %self.shown, %reason, "not ready yet");
            tokio::time::sleep(wait.poll).await;
        }
    }

    async fn look(&self, wait: &WaitReady) -> Result<Vec<ModelInfo>, ControlError> {
        self.health().await?;
        let models = self.models().await?;
        let unexpected = |route: &str, reason: String| ControlError::Unexpected {
            url: join(&self.base, route).to_string(),
            reason,
        };
        if models.is_empty() {
            return Err(unexpected("v1/models", "the list is empty".to_owned()));
        }
        if let Some(wanted) = &wait.model
            && !models.iter().any(|m| m.id == *wanted)
        {
            let served: Vec<_> = models.iter().map(|m| m.id.as_str()).collect();
            let reason = format!("it serves {}, not {wanted}", served.join(", "));
            return Err(unexpected("v1/models", reason));
        }
        if wait.metrics {
            let page = self.metrics_page().await?;
            if memchr::memmem::find(&page, b"vllm:").is_none() {
                return Err(unexpected(
                    "metrics",
                    format!(
                        "no vllm: series on it: {:?}",
                        excerpt(self.without_key(&page).as_bytes())
                    ),
                ));
            }
        }
        Ok(models)
    }

    async fn json<T: for<'de> Deserialize<'de>>(&self, route: &str) -> Result<T, ControlError> {
        let body = self.control(Method::GET, route).await?;
        serde_json::from_slice(&body).map_err(|e| ControlError::Unexpected {
            url: join(&self.base, route).to_string(),
            reason: format!("{e}: {:?}", excerpt(self.without_key(&body).as_bytes())),
        })
    }

    async fn control(&self, method: Method, route: &str) -> Result<Vec<u8>, ControlError> {
        self.control_within(method, route, self.config.timeouts.control)
            .await
    }

    async fn control_within(
        &self,
        method: Method,
        route: &str,
        limit: Duration,
    ) -> Result<Vec<u8>, ControlError> {
        let url = join(&self.base, route);
        let exchange = async {
            let ask = || self.http.request(method.clone(), url.clone()).send();
            let mut asked = ask().await;
            // A kept connection may have been closed by the server's idle timeout or with the thread that
            // owned it, which proves nothing about the server. A new connection does.
            for _ in 0..self.config.pool_size.min(MOST_STALE) {
                match asked {
                    Err(e)
                        if method == Method::GET && e.is_request() && !e.is_connect() && !e.is_timeout() =>
                    {
                        asked = ask().await;
                    }
                    _ => break,
                }
            }
            let response = asked.map_err(|e| chain(&e))?;
            let code = response.status().as_u16();
            if code != 200 {
                let body = self.body_excerpt(response).await;
                return Ok(Err(ControlError::Status {
                    url: url.to_string(),
                    code,
                    body,
                }));
            }
            let mut response = response;
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|e| chain(&e))? {
                if body.len() + piece.len() > MOST_BYTES {
                    return Ok(Err(ControlError::Unexpected {
                        url: url.to_string(),
                        reason: format!("an answer of more than {MOST_BYTES} bytes"),
                    }));
                }
                body.extend_from_slice(&piece);
            }
            Ok(Ok(body))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => Err(ControlError::Unreachable {
                url: url.to_string(),
                reason,
            }),
            Err(_) => Err(ControlError::Unreachable {
                url: url.to_string(),
                reason: format!("no answer within {}", duration_text::Shown(limit)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PrefixCaching::{self, Off, On, Unknown};

    #[test]
    fn prefix_caching_from_a_page() {
        for (page, expected) in [
            ("", Unknown),
            ("vllm:cache_config_info{block_size=\"16\"} 1.0", Unknown),
            (
                "vllm:cache_config_info{enable_prefix_caching=\"False\",engine=\"0\"} 1.0\n",
                Off,
            ),
            (
                "vllm:cache_config_info{enable_prefix_caching=\"False\",engine=\"0\"} 1.0\n\
                 vllm:cache_config_info{enable_prefix_caching=\"True\",engine=\"1\"} 1.0\n",
                On,
            ),
            ("vllm:prefix_cache_hits_total{engine=\"0\"} 0.0\n", Unknown),
            ("vllm:gpu_prefix_cache_hits_total{engine=\"0\"} 16.0\n", On),
            // A timestamp and an exemplar are not hits; line ends and number formats vary.
            (
                "vllm:prefix_cache_hits_total{engine=\"0\"} 0.0 1700000000000\n",
                Unknown,
            ),
            (
                "vllm:prefix_cache_hits_total{engine=\"0\"} 0.0 # {trace_id=\"a\"} 1.0\n",
                Unknown,
            ),
            ("vllm:prefix_cache_hits_total{engine=\"0\"} 12.0\r\n", On),
            (
                "vllm:cache_config_info{engine=\"0\",enable_prefix_caching=\"false\"} 1\n",
                Off,
            ),
            (
                "vllm:cache_config_info{block_size=\"16\", enable_prefix_caching=\"True\", engine=\"0\"} 1\n",
                On,
            ),
        ] {
            assert_eq!(
                PrefixCaching::from_metrics_page(page.as_bytes()),
                expected,
                "{page}"
            );
        }
    }
}
