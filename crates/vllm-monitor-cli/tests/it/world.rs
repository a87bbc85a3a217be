//! A simulated server, a monitor that observes it, and ways to ask both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vllm_monitor_cli::hub::Record;
use vllm_monitor_cli::runtime::Runtime;
use vllm_monitor_cli::settings::{Flags, Resolved, TargetFlags};
use vllm_sim::{EngineConfig, OutputLength, SimConfig, Simulator};

/// Longest wait for anything. Reached only by a test that fails.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

pub(crate) fn simulator() -> Simulator {
    Simulator::start(SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        engine: EngineConfig::instant(),
        ..SimConfig::default()
    })
    .unwrap()
}

/// A server whose answers take seconds.
pub(crate) fn decoding_simulator() -> Simulator {
    Simulator::start(SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        engine: EngineConfig {
            output_length: OutputLength::Fixed(1900),
            speed_ratio: 0.2,
            ..EngineConfig::tiny_cpu()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// Short times, so that a test sees in seconds what takes minutes otherwise. Each is a setting that users have.
pub(crate) fn quick(urls: &[&str]) -> Flags {
    let core = [
        ("parameters.lifecycle.degrade_after_secs", "0.5"),
        ("parameters.lifecycle.recover_after_secs", "1"),
        ("parameters.lifecycle.idle_after_secs", "1"),
        ("parameters.lifecycle.silent_api_secs", "2"),
        ("parameters.hang.floor_secs", "1"),
        ("parameters.hang.untaught_secs", "2"),
        ("parameters.hang.canary_secs", "2"),
        ("parameters.hang.grace_secs", "0"),
    ];
    Flags {
        core: core
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        interval_secs: Some(0.2),
        listen: Some("127.0.0.1:0".to_owned()),
        state_file: Some("off".to_owned()),
        log_file: Some("off".to_owned()),
        targets: urls
            .iter()
            .map(|url| TargetFlags {
                url: (*url).to_owned(),
                gpus: Some(false),
                ..TargetFlags::default()
            })
            .collect(),
        ..Flags::default()
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
}

impl World {
    pub(crate) async fn new(flags: &Flags) -> Self {
        let settings = Resolved::new(flags, &[]).unwrap();
        Self {
            runtime: Runtime::start(settings).await.unwrap(),
        }
    }

    /// Status and body of a GET with this `Host`, or of another request if `head` is given.
    pub(crate) async fn ask(&self, head: &str, headers: &str, body: &str) -> (u16, String) {
        let address = self.runtime.address().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8(answer).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), "host: localhost\r\n", "").await
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").await.1).unwrap()
    }

    /// Waits until a route answers with this status.
    pub(crate) async fn until(&self, path: &str, status: u16) -> String {
        let begun = Instant::now();
        loop {
            let (got, body) = self.get(path).await;
            if got == status {
                return body;
            }
            assert!(begun.elapsed() < LONGEST, "{path} still answers {got}: {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a target is in this state and returns its part of the status.
    pub(crate) async fn until_state(&self, target: usize, state: &str) -> Value {
        self.until_status(target, &format!("the state {state}"), |status| {
            status["state"] == state
        })
        .await
    }

    /// Waits until the status of a target is as it should be.
    pub(crate) async fn until_status(
        &self,
        target: usize,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        self.until_part(&format!("/targets/{target}"), what, holds).await
    }

    /// Waits until the part of the status that a JSON pointer names is as it should be.
    pub(crate) async fn until_part(
        &self,
        pointer: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let mut status = self.status().await;
            let part = status.pointer_mut(pointer).map(Value::take).unwrap_or_default();
            if holds(&part) {
                return part;
            }
            assert!(begun.elapsed() < LONGEST, "{what} does not come: {part:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every record so far, as JSON.
    pub(crate) fn records(&self) -> Vec<Value> {
        let kept: Vec<Arc<Record>> = self.runtime.hub().listen(0).0;
        kept.iter()
            .map(|record| serde_json::from_str(&record.to_json()).unwrap())
            .collect()
    }

    /// States that a target went to, in order.
    pub(crate) fn path(&self, target: &str) -> Vec<String> {
        self.records()
            .iter()
            .filter(|record| record["target"] == target)
            .filter_map(|record| {
                record["event"]["kind"]["transition"]["to"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }
}

/// Sends a request for tokens and waits for its end, whatever it is.
pub(crate) async fn complete(url: &str, tokens: u32) -> String {
    let authority = url.strip_prefix("http://").unwrap();
    let body = format!(r#"{{"model":"simulated-8b","prompt":"a b c","max_tokens":{tokens}}}"#);
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _cut_short = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
