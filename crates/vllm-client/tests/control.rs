//! Health, models, version, and waiting for all of them, against a scripted server.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::{answer, serve};
use vllm_client::{Client, ClientConfig, ControlError, WaitReady};

const MODELS: &str =
    r#"{"object":"list","data":[{"id":"m","object":"model","root":"/models/m","max_model_len":2048}]}"#;

fn soon(model: &str) -> WaitReady {
    WaitReady {
        deadline: Duration::from_millis(60),
        poll: Duration::from_millis(5),
        model: Some(model.to_owned()),
        metrics: true,
    }
}

#[tokio::test]
async fn routes_answer() {
    let server = serve(|path, _| match path {
        "/health" => answer("200 OK", "text/plain", ""),
        "/v1/models" => answer("200 OK", "application/json", MODELS),
        "/version" => answer("200 OK", "application/json", r#"{"version":"0.32.0"}"#),
        _ => answer("404 Not Found", "application/json", r#"{"detail":"Not Found"}"#),
    })
    .await;
    let client = Client::new(ClientConfig::new(&server.url)).unwrap();
    client.health().await.unwrap();
    let models = client.models().await.unwrap();
    assert_eq!(
        (models[0].id.as_str(), models[0].max_model_len),
        ("m", Some(2048))
    );
    assert_eq!(client.version().await.unwrap(), "0.32.0");
    let error = client.start_profile().await.unwrap_err();
    assert!(matches!(&error, ControlError::Status { code: 404, url, .. } if url.ends_with("/start_profile")));
}

#[tokio::test]
async fn ready_when_all_three_are_there() {
    let server = serve(|path, before| match path {
        "/health" if before < 2 => answer("503 Service Unavailable", "text/plain", ""),
        "/health" => answer("200 OK", "text/plain", ""),
        "/v1/models" => answer("200 OK", "application/json", MODELS),
        "/metrics" if before < 6 => answer("200 OK", "text/plain", "python_info 1\n"),
        "/metrics" => answer("200 OK", "text/plain", "vllm:num_requests_running 0\n"),
        _ => answer("404 Not Found", "text/plain", ""),
    })
    .await;
    let client = Client::new(ClientConfig::new(&server.url)).unwrap();
    let wait = WaitReady {
        deadline: Duration::from_secs(20),
        ..soon("m")
    };
    assert_eq!(client.wait_ready(&wait).await.unwrap().models.len(), 1);
}

#[tokio::test]
async fn not_ready_says_why() {
    let server = serve(|path, _| match path {
        "/health" => answer("200 OK", "text/plain", ""),
        _ => answer("200 OK", "application/json", MODELS),
    })
    .await;
    let client = Client::new(ClientConfig::new(&server.url)).unwrap();
    let error = client.wait_ready(&soon("other")).await.unwrap_err().to_string();
    assert!(error.contains("it serves m, not other"), "{error}");
    let error = client.wait_ready(&soon("m")).await.unwrap_err().to_string();
    assert!(error.contains("no vllm: series"), "{error}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(ClientConfig::new(&gone)).unwrap();
    let error = client.wait_ready(&soon("m")).await.unwrap_err();
    assert!(
        matches!(&error, ControlError::NotReady { reason, .. } if reason.contains("refused")),
        "{error}"
    );
}
