//! `--warmup`: requests before the test, so that the server's first-use costs are not measured.

use anyhow::anyhow;
use mlperf_dataset::Synthetic;
use tokio::task::JoinSet;
use vllm_client::{Client, RequestBody};

use crate::exit::Fail;
use crate::plan::Plan;
use crate::server::Server;

/// Seed of the prompts. They are never those of the dataset: a server with prefix caching would answer the
/// test's queries from its cache.
const SEED: u64 = 0x7741_524D;

/// Sends the requests to each server, as many at a time as in the test, and waits for their answers.
///
/// # Errors
/// [`crate::exit::Exit::Unreachable`] when a request fails.
pub(super) async fn warm_up(plan: &Plan, server: &Server) -> Result<(), Fail> {
    if plan.warm_up == 0 {
        return Ok(());
    }
    let prompts = Synthetic {
        samples: plan.warm_up,
        seed: SEED,
        ..Synthetic::default()
    }
    .build()
    .prompts;
    // Leaves space for the answer.
    let longest = server.max_model_len.map_or(usize::MAX, |most| {
        let left = most.saturating_sub(u64::from(plan.generation.max_tokens)).max(1);
        usize::try_from(left).unwrap_or(usize::MAX)
    });
    for client in server.pool.clients() {
        let mut running = JoinSet::new();
        for prompt in &prompts {
            if running.len() >= plan.concurrency {
                checked(client, running.join_next().await)?;
            }
            let ids = &prompt.token_ids[..prompt.token_ids.len().min(longest)];
            let body = RequestBody::from_token_ids(&server.model, ids);
            let body = plan.generation.apply(body).build();
            let client = client.clone();
            running.spawn(async move { client.complete(body, |_| {}).await.map(drop) });
        }
        while let Some(ended) = running.join_next().await {
            checked(client, Some(ended))?;
        }
    }
    tracing::info!("{} warm-up requests to each server were answered", plan.warm_up);
    Ok(())
}

type Ended = Result<Result<(), vllm_client::StreamError>, tokio::task::JoinError>;

fn checked(client: &Client, ended: Option<Ended>) -> Result<(), Fail> {
    let failed = |why: String| {
        Fail::unreachable(anyhow!(
            "--warmup: a request to {} failed before the test: {why}",
            client.url()
        ))
    };
    match ended {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(failed(error.to_string())),
        Some(Err(error)) => Err(failed(error.to_string())),
    }
}
