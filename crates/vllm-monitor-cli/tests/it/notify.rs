//! Alerts that reach those who asked for them.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{World, quick, simulator};

/// A receiver that answers these statuses in turn, the last one for ever, and keeps what came.
pub(crate) struct Receiver {
    pub(crate) url: String,
    bodies: Arc<Mutex<Vec<(String, Value)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn new(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let task = tokio::spawn({
            let bodies = Arc::clone(&bodies);
            async move {
                let mut statuses = statuses.iter().copied().peekable();
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut text = String::new();
                    let mut bytes = vec![0; 65_536];
                    let body = loop {
                        let read = stream.read(&mut bytes).await.unwrap();
                        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                        if let Some((_, body)) = text.split_once("\r\n\r\n")
                            && let Ok(body) = serde_json::from_str(body)
                        {
                            break body;
                        }
                        assert!(read > 0, "{text}");
                    };
                    let status = statuses.next_if(|_| true).unwrap_or(200);
                    if status == 200 {
                        let path = text.split(' ').nth(1).unwrap().to_owned();
                        bodies.lock().unwrap().push((path, body));
                    }
                    let answer =
                        format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, bodies, task }
    }

    pub(crate) async fn first(&self, fits: impl Fn(&Value) -> bool) -> (String, Value) {
        let begun = std::time::Instant::now();
        loop {
            let found = self
                .bodies
                .lock()
                .unwrap()
                .iter()
                .find(|(_, body)| fits(body))
                .cloned();
            if let Some(found) = found {
                return found;
            }
            assert!(begun.elapsed().as_secs() < 60, "nothing comes");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// An alert that stands has an end, too: the time at which it is over unless it is repeated.
fn has_ended(alert: &Value) -> bool {
    let ends_at = alert["endsAt"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    ends_at.is_some_and(|at| at <= jiff::Timestamp::now())
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_delivered_with_its_end_even_where_the_first_try_fails() {
    let webhook = Receiver::new(&[503]).await;
    let manager = Receiver::new(&[]).await;
    let dead = "http://127.0.0.1:1";
    let simulator = simulator();
    let mut flags = quick(&[&format!("w={}", simulator.url())]);
    flags.targets[0].canary_secs = Some(10.0);
    flags.webhooks = vec![webhook.url.clone(), dead.to_owned()];
    flags.alertmanagers = vec![format!("{}/", manager.url)];
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    simulator.set_hung(true);
    let is_raised =
        |body: &Value| body["alert"]["change"] == "raised" && body["alert"]["failure_type"] == "hang";
    let (_, body) = webhook.first(is_raised).await;
    assert_eq!(body["target"], "w");
    let of_hang = |body: &Value| body[0]["labels"]["failure_type"] == "hang";
    let (path, body) = manager.first(of_hang).await;
    assert_eq!(path, "/api/v2/alerts");
    let alert = &body[0];
    assert!(!has_ended(alert));
    assert_eq!(alert["labels"]["alertname"], "VllmFailure");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert!(
        alert["annotations"]["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    simulator.set_hung(false);
    let (_, ended) = manager.first(|body| of_hang(body) && has_ended(&body[0])).await;
    assert_eq!(
        ended[0]["startsAt"], alert["startsAt"],
        "the end belongs to that beginning"
    );
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_why_an_alert_was_not_delivered() {
    let webhook = Receiver::new(&[404]).await;
    let simulator = simulator();
    let mut flags = quick(&[&format!("w={}", simulator.url())]);
    flags.targets[0].canary_secs = Some(10.0);
    flags.webhooks = vec![webhook.url.clone()];
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    simulator.set_hung(true);
    let begun = std::time::Instant::now();
    let notifications = loop {
        let status = world.status().await;
        if status["notifications"]["failed"].as_u64() > Some(0) {
            break status["notifications"].clone();
        }
        assert!(begun.elapsed().as_secs() < 60, "{status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let why = notifications["last_error"].as_str().unwrap();
    assert!(
        why.starts_with(&webhook.url) && why.contains("status 404"),
        "{notifications:#}"
    );
    world.runtime.finish().await;
}
