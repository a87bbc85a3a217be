//! The client against the simulated server: complete responses instead of scripted ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use vllm_client::{
    Client, ClientConfig, FinishReason, Pool, PrefixCaching, RequestBody, RetryPolicy, Strategy, StreamError,
    WaitReady,
};
use vllm_sim::{EngineConfig, SimConfig, Simulator};

fn start(prefix_caching: bool) -> (Simulator, Client) {
    let engine = EngineConfig {
        enable_prefix_caching: prefix_caching,
        ..EngineConfig::instant()
    };
    let config = SimConfig {
        engine,
        per_request_metrics: true,
        model: "sim".to_owned(),
        ..SimConfig::default()
    };
    let simulator = Simulator::start(config).unwrap();
    let client = Client::new(ClientConfig::new(simulator.url())).unwrap();
    (simulator, client)
}

#[tokio::test]
async fn streamed_and_unstreamed() {
    let (simulator, client) = start(false);
    let wait = WaitReady {
        model: Some("sim".to_owned()),
        ..WaitReady::default()
    };
    let ready = client.wait_ready(&wait).await.unwrap();
    assert_eq!(ready.models[0].id, "sim");
    assert!(!client.version().await.unwrap().is_empty());
    assert_eq!(client.prefix_caching().await.unwrap(), PrefixCaching::Off);

    let request = RequestBody::from_token_ids("sim", &[11, 12, 13])
        .max_tokens(24)
        .ignore_eos(true);
    let mut first = None;
    let done = client
        .complete(request.clone().build(), |f| first = f.token_id)
        .await
        .unwrap();
    assert_eq!((done.n_tokens(), done.usage_agrees()), (24, Some(true)));
    assert_eq!(first, done.token_ids.first().copied());
    assert_eq!(done.finish_reason, Some(FinishReason::Length));
    assert_eq!(done.usage.unwrap().prompt_tokens, 3);
    assert!(done.server_metrics.unwrap().time_to_first_token_ms.is_some());

    let whole = client
        .complete_unstreamed(request.streaming(false).build())
        .await
        .unwrap();
    assert_eq!((whole.n_tokens(), whole.usage_agrees()), (24, Some(true)));

    let batch = RequestBody::from_batch("sim", &[&[11, 12], &[13], &[14, 15]])
        .max_tokens(5)
        .ignore_eos(true);
    let done = client.complete_batch(batch.build(), 3).await.unwrap();
    assert_eq!(
        done.answers
            .iter()
            .map(vllm_client::Completion::n_tokens)
            .collect::<Vec<_>>(),
        [5, 5, 5]
    );
    assert_eq!(done.usage_agrees(), Some(true));

    let unknown = RequestBody::from_token_ids("other", &[1]).max_tokens(1).build();
    let error = client.complete(unknown, |_| {}).await.unwrap_err();
    assert!(
        matches!(&error, StreamError::Status { code: 404, body, .. } if body.contains("other")),
        "{error}"
    );
    simulator.stop();
}

#[tokio::test]
async fn prefix_caching_is_seen() {
    let (simulator, client) = start(true);
    assert_eq!(client.prefix_caching().await.unwrap(), PrefixCaching::On);
    simulator.stop();
}

#[tokio::test]
async fn a_pool_shares_the_work_and_outlives_a_replica() {
    let (one, first) = start(false);
    let (two, second) = start(false);
    let retry = RetryPolicy {
        max_attempts: 3,
        ..RetryPolicy::default()
    };
    let pool = Pool::new(vec![first, second], Strategy::RoundRobin, retry).unwrap();
    let body = RequestBody::from_token_ids("sim", &[11, 12, 13])
        .max_tokens(4)
        .ignore_eos(true)
        .build();
    for _ in 0..6 {
        pool.complete("a", body.clone(), 7, |_| {}, |_| {}).await.unwrap();
    }
    assert_eq!(
        pool.status().iter().map(|s| s.completed).collect::<Vec<_>>(),
        [3, 3]
    );
    one.stop();
    let mut failed = 0;
    for _ in 0..6 {
        let done = pool.complete("b", body.clone(), 7, |_| {}, |_| {}).await.unwrap();
        assert_eq!(done.replica, 1);
        failed += done.failed_attempts.len();
    }
    assert!(failed >= 1);
    assert_eq!(pool.status()[0].failed, failed as u64);
    two.stop();
}
