//! The engine alone, in virtual time.

use super::*;
use crate::config::{EngineConfig, OutputLength, StepModel};

fn config() -> EngineConfig {
    EngineConfig {
        step: StepModel {
            fixed_ns: 1e6,
            per_token_ns: 1e3,
            ..StepModel::INSTANT
        },
        max_model_len: 1024,
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        block_size: 16,
        num_gpu_blocks: 65,
        vocab_size: 1000,
        output_length: OutputLength::Fixed(20),
        ..EngineConfig::tiny_cpu()
    }
}

fn request(route: u64, prompt: impl Iterator<Item = u32>, max_tokens: u32) -> Request {
    Request {
        route,
        prompt: prompt.collect(),
        max_tokens,
        min_tokens: 0,
        ignore_eos: false,
        seed: 0,
        reference: None,
    }
}

/// Runs until all requests have ended; returns every output.
fn drain(engine: &mut Engine, mut now: Nanos) -> (Nanos, Vec<Output>) {
    let mut outputs = Vec::new();
    loop {
        match engine.begin_step(now) {
            Plan::Idle => return (now, outputs),
            Plan::Wait { until } => now = until,
            Plan::Step { end } => {
                now = end;
                engine.finish_step(now, |output, _| outputs.push(output));
            }
        }
    }
}

/// Begins a step when there must be work.
fn begin(engine: &mut Engine, now: Nanos) -> Nanos {
    match engine.begin_step(now) {
        Plan::Step { end } => end,
        other => panic!("no step: {other:?}"),
    }
}

fn tokens_of(outputs: &[Output], route: u64) -> Vec<u32> {
    outputs
        .iter()
        .filter(|o| o.route == route)
        .filter_map(|o| o.token)
        .collect()
}

#[test]
fn every_request_gets_its_tokens_once_and_the_pool_is_free_again() {
    let mut engine = Engine::new(config());
    for route in 0..20 {
        engine.submit(0, request(route, (0..40).map(|i| 10 + route as u32 + i), 12));
    }
    let (_, outputs) = drain(&mut engine, 0);
    for route in 0..20 {
        let of: Vec<_> = outputs.iter().filter(|o| o.route == route).collect();
        assert_eq!(of.len(), 12);
        assert_eq!(of.iter().filter(|o| o.finish.is_some()).count(), 1);
        assert_eq!(of[11].finish, Some(FinishReason::Length));
    }
    let stats = engine.stats();
    assert_eq!(stats.generation_tokens, 240);
    assert_eq!(stats.prompt_tokens, 800);
    assert_eq!(stats.finished[FinishReason::Length as usize], 20);
    for histogram in [
        &stats.e2e_latency,
        &stats.queue_time,
        &stats.params_max_tokens,
        &stats.time_per_output_token,
    ] {
        assert_eq!(histogram.count(), 20);
    }
    assert_eq!(stats.time_to_first_token.count(), 20);
    assert_eq!(stats.inter_token_latency.count(), 220);
    assert_eq!(
        stats.iteration_tokens.sum(),
        (240 + 800 - stats.prompt_tokens_cached) as f64
    );
    assert_eq!((stats.running, stats.waiting, stats.kv_usage), (0, 0, 0.0));
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let mut engine = Engine::new(EngineConfig {
            seed,
            step: StepModel::TINY_CPU,
            output_length: OutputLength::LogNormal {
                median: 30.0,
                sigma: 0.8,
            },
            ..config()
        });
        for route in 0..12 {
            engine.submit(
                route * 500_000,
                request(route, (0..30).map(|i| 5 + i * 3 + route as u32), 200),
            );
        }
        drain(&mut engine, 6_000_000)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn an_answer_does_not_depend_on_what_else_runs() {
    let alone = {
        let mut engine = Engine::new(config());
        engine.submit(0, request(0, 100..150, 100));
        tokens_of(&drain(&mut engine, 0).1, 0)
    };
    let mut engine = Engine::new(EngineConfig {
        num_gpu_blocks: 65,
        ..config()
    });
    for route in 1..30 {
        engine.submit(0, request(route, (0..200).map(|i| 3 + i + route as u32), 60));
    }
    engine.submit(0, request(0, 100..150, 100));
    assert_eq!(tokens_of(&drain(&mut engine, 0).1, 0), alone);
    assert_eq!(alone.len(), 20);
    assert_eq!(alone.last(), Some(&crate::tokens::EOS_TOKEN));
}

#[test]
fn a_long_prompt_is_cut_over_steps_while_others_decode() {
    let mut engine = Engine::new(config());
    engine.submit(0, request(0, 5..10, 20));
    let mut now = begin(&mut engine, 0);
    engine.finish_step(now, |_, _| {});
    engine.submit(now, request(1, (0..200).map(|i| 300 + i), 5));
    let mut first = 0;
    let mut steps_until_first = 0;
    while first == 0 {
        now = begin(&mut engine, now);
        steps_until_first += 1;
        let mut others = 0;
        engine.finish_step(now, |output, _| {
            if output.route == 1 {
                first = output.token.unwrap_or(0);
            } else {
                others += 1;
            }
        });
        assert_eq!(others, 1, "the decoding request gets its token in every step");
    }
    // 63 tokens of budget are left next to one decode: 200 tokens need four steps.
    assert_eq!(steps_until_first, 4);
}

#[test]
fn without_chunked_prefill_a_prompt_waits_until_it_fits() {
    let mut engine = Engine::new(EngineConfig {
        enable_chunked_prefill: false,
        max_model_len: 64,
        max_num_batched_tokens: 64,
        ..config()
    });
    engine.submit(0, request(0, 100..140, 2));
    engine.submit(0, request(1, 200..240, 2));
    let now = begin(&mut engine, 0);
    let mut routes = Vec::new();
    engine.finish_step(now, |output, _| routes.push(output.route));
    assert_eq!(routes, [0]);
}

#[test]
fn limits_hold_in_every_step() {
    let mut engine = Engine::new(EngineConfig {
        max_num_seqs: 3,
        ..config()
    });
    for route in 0..9 {
        engine.submit(0, request(route, (0..10).map(|i| 20 * route as u32 + i + 3), 10));
    }
    let mut now = 0;
    while let Plan::Step { end } = engine.begin_step(now) {
        now = end;
        let mut outputs = 0;
        engine.finish_step(now, |_, _| outputs += 1);
        assert!(outputs <= 3 && engine.stats().running <= 3);
    }
}

#[test]
fn when_blocks_run_out_the_youngest_is_put_back_and_still_finishes() {
    // Space for 20 blocks of 16: six requests that grow to 96 tokens (6 blocks) cannot all stay.
    let mut engine = Engine::new(EngineConfig {
        num_gpu_blocks: 21,
        max_model_len: 320,
        enable_prefix_caching: false,
        output_length: OutputLength::Fixed(1000),
        ..config()
    });
    for route in 0..6 {
        engine.submit(0, request(route, (0..32).map(|i| 40 * route as u32 + i + 3), 64));
    }
    let (_, outputs) = drain(&mut engine, 0);
    let stats = engine.stats();
    assert!(stats.preemptions > 0);
    assert_eq!(stats.request_preemptions.sum(), stats.preemptions as f64);
    assert_eq!(stats.generation_tokens, 6 * 64);
    assert_eq!(
        stats.prompt_tokens,
        6 * 32,
        "a recomputed prompt is not counted again"
    );
    assert_eq!(outputs.len(), 6 * 64);
    // The oldest is never the victim.
    let ends: Vec<u64> = outputs
        .iter()
        .filter(|o| o.finish.is_some())
        .map(|o| o.route)
        .collect();
    assert_eq!(ends[0], 0);
    assert_eq!(stats.kv_usage, 0.0);
}

#[test]
fn a_shared_prefix_is_computed_once() {
    let run = |caching| {
        let mut engine = Engine::new(EngineConfig {
            enable_prefix_caching: caching,
            ..config()
        });
        engine.submit(0, request(0, 100..164, 4));
        let (now, _) = drain(&mut engine, 0);
        engine.submit(now, request(1, 100..164, 4));
        let (_, outputs) = drain(&mut engine, now);
        (engine.stats().clone(), outputs)
    };
    let (with, _) = run(true);
    // 64 tokens are four blocks; the last is computed again so that there is something to sample from.
    assert_eq!((with.prefix_queries, with.prefix_hits), (128, 48));
    assert_eq!((with.prompt_tokens, with.prompt_tokens_cached), (128, 48));
    assert_eq!(with.prefill_kv_computed.sum(), 80.0);
    let (without, _) = run(false);
    assert_eq!(
        (
            without.prefix_queries,
            without.prefix_hits,
            without.prompt_tokens_cached
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_chat_that_comes_back_hits_the_blocks_of_its_own_answer() {
    let mut engine = Engine::new(config());
    engine.submit(0, request(0, 100..120, 20));
    let (now, outputs) = drain(&mut engine, 0);
    let history: Vec<u32> = (100..120)
        .chain(tokens_of(&outputs, 0))
        .chain([7, 8, 9])
        .collect();
    engine.submit(now, request(1, history.into_iter(), 2));
    drain(&mut engine, now);
    assert_eq!(engine.stats().prefix_hits, 32);
}

#[test]
fn an_aborted_request_leaves_nothing_behind_even_in_mid_step() {
    let mut engine = Engine::new(config());
    let first = engine.submit(0, request(0, 100..140, 50));
    engine.submit(0, request(1, 200..210, 5));
    let now = begin(&mut engine, 0);
    let dropped = engine.abort(first).unwrap();
    assert_eq!((dropped.prompt_tokens, dropped.has_first_token), (40, false));
    assert_eq!(engine.abort(first), None);
    // The slot is given to another request before the step ends.
    engine.submit(now, request(2, 300..310, 5));
    engine.finish_step(now, |output, _| assert_eq!(output.route, 1));
    let (_, outputs) = drain(&mut engine, now);
    assert!(outputs.iter().all(|o| o.route != 0));
    assert_eq!(tokens_of(&outputs, 2).len(), 5);
    assert_eq!(engine.stats().finished.iter().sum::<u64>(), 2);
    assert!(engine.reset_prefix_cache());
}

#[test]
fn lengths_follow_the_request() {
    let mut engine = Engine::new(config());
    let cases = [
        (0, 100, 0, false, 20, FinishReason::Stop),
        (1, 5, 0, false, 5, FinishReason::Length),
    ];
    for (route, max_tokens, min_tokens, ignore_eos, ..) in cases {
        engine.submit(
            0,
            Request {
                min_tokens,
                ignore_eos,
                ..request(route, 100..110, max_tokens)
            },
        );
    }
    engine.submit(
        0,
        Request {
            min_tokens: 30,
            ..request(2, 100..110, 100)
        },
    );
    engine.submit(
        0,
        Request {
            ignore_eos: true,
            ..request(3, 100..110, 100)
        },
    );
    engine.submit(
        0,
        Request {
            reference: Some(Arc::from([7u32, 8, 9])),
            ..request(4, 100..110, 100)
        },
    );
    engine.submit(0, request(5, (0..1020).map(|i| i % 900 + 3), 100));
    let (_, outputs) = drain(&mut engine, 0);
    let of = |route| {
        let last = outputs.iter().rfind(|o| o.route == route).unwrap();
        (tokens_of(&outputs, route).len(), last.finish.unwrap())
    };
    for (route, _, _, _, length, reason) in cases {
        assert_eq!(of(route), (length, reason));
    }
    assert_eq!(of(2), (30, FinishReason::Stop));
    assert_eq!(of(3), (100, FinishReason::Length));
    assert_eq!(tokens_of(&outputs, 4), [7, 8, 9]);
    assert_eq!(of(4), (3, FinishReason::Stop));
    assert_eq!(
        of(5),
        (4, FinishReason::Length),
        "the longest sequence cuts an answer"
    );
}

#[test]
fn a_paused_engine_keeps_its_requests() {
    let mut engine = Engine::new(config());
    engine.submit(0, request(0, 100..110, 5));
    engine.pause(PauseMode::Keep);
    assert!(engine.is_paused());
    assert_eq!(engine.begin_step(0), Plan::Idle);
    engine.resume();
    assert_eq!(drain(&mut engine, 0).1.len(), 5);
}

#[test]
fn the_speed_ratio_divides_time() {
    let end = |speed_ratio| {
        let mut engine = Engine::new(EngineConfig {
            speed_ratio,
            ..config()
        });
        engine.submit(0, request(0, 100..110, 20));
        drain(&mut engine, 0).0
    };
    assert_eq!(end(1.0) / 2, end(2.0));
}

#[test]
fn the_front_end_delays_requests_and_is_no_queue_time() {
    let step = StepModel {
        front_end_ns: 5e6,
        fixed_ns: 1e6,
        ..StepModel::INSTANT
    };
    let mut engine = Engine::new(EngineConfig { step, ..config() });
    engine.submit(0, request(0, 100..110, 3));
    assert_eq!(engine.begin_step(0), Plan::Wait { until: 5_000_000 });
    let (end, outputs) = drain(&mut engine, 0);
    assert_eq!((end, outputs.len()), (8_000_000, 3));
    let stats = engine.stats();
    assert_eq!(
        (stats.queue_time.sum(), stats.time_to_first_token.sum()),
        (0.0, 0.006)
    );
}

#[test]
fn memory_follows_what_is_unfinished_not_what_has_been() {
    let mut engine = Engine::new(EngineConfig {
        num_gpu_blocks: 256,
        max_num_seqs: 64,
        ..config()
    });
    let mut now = 0;
    for wave in 0..500 {
        for route in 0..40 {
            engine.submit(
                now,
                request(
                    route,
                    (0..20).map(|i| 3 + (wave * 40 + route as u32 + i * 7) % 900),
                    4,
                ),
            );
        }
        now = drain(&mut engine, now).0;
    }
    assert_eq!(engine.stats().finished.iter().sum::<u64>(), 20_000);
    assert_eq!(engine.footprint(), (40, 0));
}
