//! The monitor's own request for one token: the only probe that shows whether an idle engine still computes.

use std::time::Duration;

use vllm_client::{ApiKey, Client, ClientConfig, RequestBody, Timeouts, TokenPolicy};
use vllm_monitor::snapshot::CanaryResult;

use super::Endpoint;

/// Longest wait for the token. A canary that waits longer counts as failed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Sends canaries to one server.
#[derive(Debug)]
pub struct Canary {
    client: Client,
    sent: u64,
}

impl Canary {
    /// For the server at this place.
    ///
    /// # Errors
    /// What the client says about the address.
    pub fn new(endpoint: &Endpoint) -> Result<Self, String> {
        let config = ClientConfig {
            api_key: endpoint.key().map(ApiKey::new),
            timeouts: Timeouts {
                connect: Duration::from_secs(2),
                first_token: LONGEST_WAIT,
                between_chunks: Duration::from_secs(30),
                request: LONGEST_WAIT + Duration::from_secs(30),
                ..Timeouts::default()
            },
            pool_size: 1,
            token_policy: TokenPolicy::AllowCountOnly,
            ..ClientConfig::new(&**endpoint.url())
        };
        let client = Client::new(config).map_err(|e| e.to_string())?;
        Ok(Self { client, sent: 0 })
    }

    /// Asks for one token and waits for it. The request's id starts with `vllm-monitor-canary-`.
    pub async fn send(&mut self, model: &str) -> CanaryResult {
        self.sent += 1;
        let body = RequestBody::from_text(model, "1")
            .max_tokens(1)
            .temperature(0.0)
            .build();
        let begun = std::time::Instant::now();
        let mut first = None;
        let id = format!("vllm-monitor-canary-{}", self.sent);
        let answer = self
            .client
            .complete_as(&id, body, |token| {
                first = Some(token.at.saturating_duration_since(begun).as_secs_f64());
            })
            .await;
        CanaryResult {
            ok: answer.is_ok(),
            first_token_secs: first,
        }
    }
}
