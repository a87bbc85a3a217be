//! The fault table of the simulated server as seen by a client: each fault by name, with what had arrived, in
//! time.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::time::Duration;

use vllm_client::{
    Client, ClientConfig, Completion, Received, RequestBody, StreamError, TimeoutKind, Timeouts,
};
use vllm_sim::{EngineConfig, SimConfig, Simulator};

const TOKENS: usize = 12;

/// A short limit between chunks only where it is tested: a slow machine must not turn another fault into a
/// timeout.
fn start(rules: &[&str]) -> (Simulator, Client) {
    let stalls = rules.iter().any(|rule| rule.starts_with("stall"));
    let faults = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let config = SimConfig {
        engine: EngineConfig::instant(),
        faults,
        ..SimConfig::default()
    };
    let simulator = Simulator::start(config).unwrap();
    let timeouts = Timeouts {
        first_token: Duration::from_secs(20),
        between_chunks: Duration::from_millis(if stalls { 1_000 } else { 20_000 }),
        request: Duration::from_secs(20),
        ..Timeouts::default()
    };
    let config = ClientConfig {
        timeouts,
        ..ClientConfig::new(simulator.url())
    };
    (simulator, Client::new(config).unwrap())
}

async fn ask(client: &Client) -> Result<Completion, StreamError> {
    let model = SimConfig::default().model;
    let body = RequestBody::from_token_ids(model, &[11, 12, 13])
        .max_tokens(TOKENS as u32)
        .ignore_eos(true)
        .build();
    let mut firsts = 0;
    let result = client.complete(body, |_| firsts += 1).await;
    match &result {
        Ok(done) => assert_eq!(
            (firsts, done.n_tokens(), done.usage_agrees()),
            (1, TOKENS, Some(true))
        ),
        Err(error) => assert_eq!(firsts == 1, error.had_first_token(), "{error}"),
    }
    result
}

/// The first request meets the fault, the second one on the same client is answered.
async fn strikes_once(rule: &str) -> StreamError {
    let (simulator, client) = start(&[&format!("{rule} requests=0")]);
    let error = ask(&client).await.unwrap_err();
    ask(&client).await.unwrap();
    simulator.stop();
    error
}

fn received(tokens: usize) -> Received {
    Received {
        first_token: tokens > 0,
        tokens,
    }
}

#[tokio::test]
async fn broken_connections() {
    for tokens in [0, 5] {
        for kind in ["reset", "truncate"] {
            let error = strikes_once(&format!("{kind} tokens={tokens}")).await;
            assert!(
                matches!(error, StreamError::Reset { .. } | StreamError::Truncated { .. }),
                "{kind} {tokens}: {error}"
            );
            // A reset may overtake tokens in transit; none is invented.
            let got = error.received();
            assert!(
                got.tokens <= tokens && got.first_token == (got.tokens > 0),
                "{kind} {tokens}: {error}"
            );
            assert_eq!(error.is_retryable(), got.tokens == 0);
        }
    }
}

#[tokio::test]
async fn overload_and_errors() {
    let error = strikes_once("status code=503").await;
    assert!(
        matches!(error, StreamError::Status { code: 503, .. }) && error.is_retryable(),
        "{error}"
    );
    let error = strikes_once("status code=400").await;
    assert!(
        matches!(error, StreamError::Status { code: 400, .. }) && !error.is_retryable(),
        "{error}"
    );
    for tokens in [0, 5] {
        let error = strikes_once(&format!("error tokens={tokens}")).await;
        assert!(matches!(error, StreamError::Server { .. }), "{error}");
        assert_eq!(error.received(), received(tokens));
    }
}

#[tokio::test]
async fn garbage_and_stalls() {
    for tokens in [0, 5] {
        let error = strikes_once(&format!("garbage tokens={tokens}")).await;
        assert!(matches!(error, StreamError::Malformed { .. }), "{error}");
        assert_eq!(error.received(), received(tokens));
    }
    let error = strikes_once("stall tokens=5").await;
    assert!(
        matches!(
            error,
            StreamError::Timeout {
                kind: TimeoutKind::BetweenChunks,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.received(), received(5));
}

#[tokio::test]
async fn a_server_that_dies_and_one_that_is_gone() {
    let (simulator, client) = start(&["die requests=1"]);
    ask(&client).await.unwrap();
    let error = ask(&client).await.unwrap_err();
    assert!(
        matches!(error, StreamError::Reset { .. } | StreamError::Truncated { .. }),
        "{error}"
    );
    let error = ask(&client).await.unwrap_err();
    assert!(
        matches!(error, StreamError::Refused { .. }) && error.is_retryable(),
        "{error}"
    );
    simulator.stop();
}
