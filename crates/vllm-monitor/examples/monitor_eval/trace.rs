//! Arrivals of a real service: bursts that no generator drew.
//!
//! The file has the columns TIMESTAMP, ContextTokens, GeneratedTokens, as in the Azure Public Dataset (Azure LLM
//! inference traces 2023, CC-BY 4.0). It is given by its path and is not part of this project.

use crate::scenario::Limit;
use crate::support::engine::{Engine, EngineConfig, Request};
use crate::support::feed::Feed;
use vllm_monitor::Snapshot;

/// Requests of a file, from second 0.
pub fn read(text: &str) -> Vec<Request> {
    let mut requests: Vec<Request> = text.lines().skip(1).filter_map(line).collect();
    let first = requests.first().map_or(0.0, |r| r.arrival_secs);
    for request in &mut requests {
        request.arrival_secs -= first;
    }
    requests.sort_by(|a, b| a.arrival_secs.total_cmp(&b.arrival_secs));
    requests
}

/// `2023-11-16 18:17:03.9799600,4808,10`
fn line(line: &str) -> Option<Request> {
    let mut cells = line.split(',');
    let (_, time) = cells.next()?.split_once(' ')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let secs = parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??;
    let prompt = cells.next()?.trim().parse().ok()?;
    let output = cells.next()?.trim().parse().ok()?;
    Some(Request {
        arrival_secs: secs,
        prompt,
        output,
    })
}

fn server(kv_tokens: f64, max_running: usize) -> EngineConfig {
    EngineConfig {
        kv_blocks: (kv_tokens / 16.0) as u32,
        block_tokens: 16,
        max_running,
        max_batched_tokens: 2048,
        max_queued: None,
        step_secs: 0.02,
        per_token_secs: 4e-5,
        per_sequence_secs: 1e-4,
        per_context_token_secs: 2e-8,
        jitter: 0.05,
    }
}

/// Runs the hour on a server that is just too small for its bursts: with room for all but the fullest share of seconds.
pub fn run(requests: &[Request], limit: Limit, fullest: f64, mut each: impl FnMut(&Snapshot, &Engine)) {
    let mut used = Vec::new();
    drive(requests, server(1e7, 4096), |_, engine| {
        used.push(match limit {
            Limit::Kv => engine.stats.kv_usage * 1e7,
            Limit::Places => engine.stats.running,
        });
    });
    used.sort_by(f64::total_cmp);
    let enough = used[((used.len() as f64 * (1.0 - fullest)) as usize).min(used.len() - 1)];
    let config = match limit {
        Limit::Kv => server(enough.max(30_000.0), 4096),
        Limit::Places => server(1e7, enough.max(2.0) as usize),
    };
    drive(requests, config, &mut each);
}

fn drive(requests: &[Request], config: EngineConfig, mut each: impl FnMut(&Snapshot, &Engine)) {
    let mut source = requests.iter().copied().peekable();
    let mut engine = Engine::new(config, 1);
    let mut feed = Feed::new("trace", &engine);
    let end = requests.last().map_or(0.0, |r| r.arrival_secs);
    for second in 1..=end as u64 {
        let at = second as f64;
        engine.advance(at, &mut source);
        feed.page(&engine, at);
        each(&feed.snapshot(at), &engine);
    }
}
