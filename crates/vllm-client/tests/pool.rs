//! A pool of scripted servers: retries before the first token only, every attempt written down.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod common;

use std::time::{Duration, Instant};

use common::{DONE, Scripted, Step, answer, end, piece, serve, stream_head, tokens};
use vllm_client::{
    Attempt, Client, ClientConfig, Pool, PoolError, Received, RequestBody, RetryPolicy, Strategy,
    StreamError, TimeoutKind,
};

fn body() -> bytes::Bytes {
    RequestBody::from_token_ids("m", &[1, 2, 3]).max_tokens(4).build()
}

fn good(id: i32) -> Vec<Step> {
    vec![
        stream_head(),
        piece([tokens(&[id], "stop").as_str(), DONE].concat()),
        end(),
    ]
}

fn pool(servers: &[&Scripted], max_attempts: u32) -> Pool {
    let client = |s: &&Scripted| Client::new(ClientConfig::new(&s.url)).unwrap();
    let retry = RetryPolicy {
        max_attempts,
        first_pause: Duration::from_millis(1),
    };
    Pool::new(servers.iter().map(client).collect(), Strategy::RoundRobin, retry).unwrap()
}

#[tokio::test]
async fn another_replica_answers_and_the_failure_is_told() {
    let full = serve(|_, _| answer("503 Service Unavailable", "application/json", "{}")).await;
    let well = serve(|_, _| good(7)).await;
    let pool = pool(&[&full, &well], 3);
    let (mut firsts, mut retries) = (Vec::new(), Vec::new());
    let done = pool
        .complete(
            "r1",
            body(),
            7,
            |first| firsts.push(first),
            |attempt| retries.push(attempt.clone()),
        )
        .await
        .unwrap();
    assert_eq!(retries, done.failed_attempts);
    assert_eq!(
        (done.replica, done.completion.token_ids.as_slice()),
        (1, [7].as_slice())
    );
    assert_eq!(done.failed_attempts.len(), 1);
    let attempt = &done.failed_attempts[0];
    assert_eq!((attempt.replica, &attempt.url), (0, &full.url));
    assert!(matches!(attempt.error, StreamError::Status { code: 503, .. }));
    assert_eq!(firsts.len(), 1);
    for server in [&full, &well] {
        let head = server.seen.lock().unwrap()[0].0.to_ascii_lowercase();
        assert!(head.contains("x-request-id: r1"), "{head}");
    }
    let status = pool.status();
    assert_eq!(
        (
            status[0].failed,
            status[1].completed,
            status[0].outstanding_tokens
        ),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn after_the_first_token_nothing_is_sent_again() {
    let cut = serve(|_, _| vec![stream_head(), piece(tokens(&[1, 2], "")), Step::Close]).await;
    let well = serve(|_, _| good(7)).await;
    let mut firsts = 0;
    let error = pool(&[&cut, &well], 5)
        .complete("r1", body(), 7, |_| firsts += 1, |_| unreachable!())
        .await
        .unwrap_err();
    assert!(
        error.earlier.is_empty() && error.last.error.had_first_token(),
        "{error}"
    );
    assert_eq!((firsts, well.seen.lock().unwrap().len()), (1, 0));
}

#[test]
fn every_error_names_its_server_once() {
    let url = || "http://h:1".to_owned();
    let received = Received::default();
    let reason = || "why".to_owned();
    for error in [
        StreamError::Refused {
            url: url(),
            reason: reason(),
        },
        StreamError::Timeout {
            kind: TimeoutKind::Request,
            limit: Duration::from_secs(30),
            received,
        },
        StreamError::Truncated { received },
        StreamError::Malformed {
            reason: reason(),
            line: String::new(),
            received,
        },
        StreamError::NoTokenIds {
            text_chunks: 1,
            usage_tokens: None,
        },
    ] {
        let last = Attempt {
            replica: 0,
            url: url(),
            started_at: Instant::now(),
            took: Duration::ZERO,
            error,
        };
        let shown = PoolError {
            earlier: Vec::new(),
            last,
        }
        .to_string();
        assert_eq!(shown.matches("http://h:1").count(), 1, "{shown}");
    }
}

#[tokio::test]
async fn attempts_end() {
    let broken = serve(|_, _| vec![Step::Break]).await;
    let mut retries = 0;
    let error = pool(&[&broken], 3)
        .complete("r1", body(), 7, |_| {}, |_| retries += 1)
        .await
        .unwrap_err();
    assert_eq!(retries, 2, "the last failure is followed by nothing");
    assert_eq!((error.earlier.len(), broken.seen.lock().unwrap().len()), (2, 3));
    assert!(error.to_string().contains("3 attempts"), "{error}");

    let wrong = serve(|_, _| answer("400 Bad Request", "application/json", "{}")).await;
    let error = pool(&[&wrong], 3)
        .complete("r1", body(), 7, |_| {}, |_| {})
        .await
        .unwrap_err();
    assert_eq!((error.earlier.len(), wrong.seen.lock().unwrap().len()), (0, 1));
}

#[tokio::test]
async fn a_batch_goes_elsewhere_too() {
    let full = serve(|_, _| answer("503 Service Unavailable", "application/json", "{}")).await;
    let well = serve(|_, _| {
        let choice = |at: i32| {
            format!("{{\"index\":{at},\"text\":\"\",\"token_ids\":[{at},9],\"finish_reason\":\"stop\"}}")
        };
        let body = format!("{{\"choices\":[{},{}]}}", choice(0), choice(1));
        answer("200 OK", "application/json", &body)
    })
    .await;
    let mut retries = 0;
    let done = pool(&[&full, &well], 2)
        .complete_batch(body(), 2, 14, |_| retries += 1)
        .await
        .unwrap();
    assert_eq!((done.replica, done.failed_attempts.len(), retries), (1, 1, 1));
    assert_eq!(done.completion.answers[1].token_ids, [1, 9]);
}

#[tokio::test]
async fn health_of_each() {
    let well = serve(|_, _| answer("200 OK", "text/plain", "")).await;
    let dead = serve(|_, _| answer("503 Service Unavailable", "text/plain", "")).await;
    let pool = pool(&[&well, &dead], 1);
    let health = pool.check_health().await;
    assert!(health[0].is_ok() && health[1].is_err());
    assert_eq!(
        pool.status().iter().map(|s| s.resting).collect::<Vec<_>>(),
        [false, true]
    );
}
