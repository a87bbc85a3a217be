//! Bounded HTTP to servers and hooks.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Reach;

/// Time limit of a call. A pause that waits for requests takes longest.
const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// A token that is never displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
}

impl Http {
    pub(super) fn new() -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            // No redirects: a control call must reach the configured address or fail.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| format!("no HTTP client: {e}"))?;
        Ok(Self { client })
    }

    pub(super) async fn get(&self, reach: &Reach, path: &str) -> Result<Value, String> {
        let url = format!("{}{path}", reach.url.trim_end_matches('/'));
        self.send(to(reach, self.client.get(url))).await
    }

    pub(super) async fn post(
        &self,
        reach: &Reach,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let url = format!("{}{path}", reach.url.trim_end_matches('/'));
        self.send(to(reach, with_body(self.client.post(url), body))).await
    }

    pub(super) async fn delete(&self, reach: &Reach, path: &str) -> Result<Value, String> {
        let url = format!("{}{path}", reach.url.trim_end_matches('/'));
        self.send(to(reach, self.client.delete(url))).await
    }

    /// Any other address.
    pub(super) async fn call(
        &self,
        method: reqwest::Method,
        url: &str,
        content_type: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<Value, String> {
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request
                .header("content-type", content_type)
                .body(body.to_string());
        }
        if let Some(Secret(token)) = token {
            request = request.bearer_auth(token);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let mut answer = request.send().await.map_err(|e| describe(&e))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| describe(&e))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let text: String = text.chars().take(300).collect();
            return Err(format!("status {}: {}", status.as_u16(), text.trim()));
        }
        // Some of vLLM's routes answer without a body.
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// With the server's API key, and the token of the levers.
fn to(reach: &Reach, mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    if let Some(Secret(key)) = &reach.api_key {
        request = request.bearer_auth(key);
    }
    if let Some(Secret(token)) = &reach.token {
        request = request.header("x-monitor-token", token);
    }
    request
}

fn with_body(request: reqwest::RequestBuilder, body: Option<&Value>) -> reqwest::RequestBuilder {
    match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(body.to_string()),
        None => request,
    }
}

/// An error with its causes, without the address, which may contain credentials.
fn describe(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the call failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
