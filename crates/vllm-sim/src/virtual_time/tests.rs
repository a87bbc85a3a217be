use std::time::Duration;

use super::*;
use crate::config::{EngineConfig, OutputLength, SimConfig, StepModel};
use crate::engine::{FinishReason, PauseMode};
use crate::levers::Lever;

fn workload() -> Workload {
    Workload {
        requests: 200,
        arrivals: Arrivals::Poisson { rate_per_s: 10.0 },
        ..Workload::default()
    }
}

/// A server whose 30 blocks of 16 tokens are too few for its load.
fn short_of_blocks() -> SimConfig {
    SimConfig {
        engine: EngineConfig {
            max_model_len: 400,
            num_gpu_blocks: 31,
            max_num_seqs: 16,
            enable_prefix_caching: false,
            ..EngineConfig::h100_8b()
        },
        ..SimConfig::default()
    }
}

fn burst() -> Workload {
    Workload {
        arrivals: Arrivals::AllAtOnce,
        requests: 40,
        prompt_tokens: OutputLength::Fixed(60),
        output_tokens: Some(OutputLength::Fixed(100)),
        ..Workload::default()
    }
}

#[test]
fn the_same_seed_gives_the_same_run_byte_by_byte() {
    let config = SimConfig::default();
    let options = RunOptions::default();
    let one = run(&config, &workload(), &options).unwrap();
    assert_eq!(one, run(&config, &workload(), &options).unwrap());
    let other = Workload {
        seed: 1,
        ..workload()
    };
    assert_ne!(one.requests, run(&config, &other, &options).unwrap().requests);
    assert!(one.requests.iter().all(RequestRecord::is_complete));
    // The last page includes every token of the records.
    let generated: u32 = one.requests.iter().map(|r| r.output_tokens).sum();
    let (_, page) = one.pages.last().unwrap();
    assert!(
        page.contains(&format!(
            "vllm:generation_tokens_total{{engine=\"0\",model_name=\"simulated-8b\"}} {generated}.0"
        )),
        "{generated} is not on the page"
    );
    assert!(!page.contains("process_resident_memory_bytes"));
}

#[test]
fn a_slower_step_shows_in_the_time_per_token_of_every_request() {
    let slower = SimConfig {
        engine: EngineConfig {
            speed_ratio: 1.0 / 1.03,
            ..EngineConfig::h100_8b()
        },
        ..SimConfig::default()
    };
    let options = RunOptions::default();
    let a = run(&SimConfig::default(), &workload(), &options).unwrap();
    let b = run(&slower, &workload(), &options).unwrap();
    let mean = |run: &VirtualRun| {
        let tpots: Vec<f64> = run
            .requests
            .iter()
            .filter_map(RequestRecord::tpot)
            .map(|t| t.as_secs_f64())
            .collect();
        tpots.iter().sum::<f64>() / tpots.len() as f64
    };
    let ratio = mean(&b) / mean(&a);
    assert!((1.02..1.06).contains(&ratio), "{ratio}");
}

#[test]
fn a_closed_loop_keeps_its_concurrency() {
    let closed = Workload {
        arrivals: Arrivals::Closed { concurrency: 4 },
        requests: 50,
        ..workload()
    };
    let options = RunOptions {
        scrape_every: Some(Duration::from_millis(100)),
        ..RunOptions::default()
    };
    let mut most = 0;
    let run = run_with(&SimConfig::default(), &closed, &options, |server, _| {
        most = most.max(server.in_flight().len());
    })
    .unwrap();
    assert_eq!((run.requests.len(), most), (50, 4));
}

#[test]
fn a_serial_front_end_limits_the_rate_at_which_requests_reach_the_queue() {
    let config = |front_end_serial| SimConfig {
        engine: EngineConfig {
            step: StepModel {
                front_end_ns: 100e6,
                ..StepModel::H100_8B
            },
            front_end_serial,
            ..EngineConfig::h100_8b()
        },
        ..SimConfig::default()
    };
    let options = RunOptions::default();
    // 20 requests a second, of which a serial front end passes 10.
    let load = Workload {
        arrivals: Arrivals::Poisson { rate_per_s: 20.0 },
        ..workload()
    };
    let apart = run(&config(false), &load, &options).unwrap();
    let serial = run(&config(true), &load, &options).unwrap();
    let span = |run: &VirtualRun| {
        let queued = run.requests.iter().filter_map(|r| r.queued);
        queued.max().unwrap().as_secs_f64()
    };
    assert!(span(&apart) < 14.0, "{}", span(&apart));
    assert!(span(&serial) > 19.9, "{}", span(&serial));
    let waiting = serial.pages.iter().filter(|(_, page)| {
        page.contains("vllm:num_requests_waiting{engine=\"0\",model_name=\"simulated-8b\"} 0.0")
    });
    assert!(
        waiting.count() + 2 >= serial.pages.len(),
        "nothing waits for the engine"
    );
    // Each of the 200 requests took 100 ms of the API process.
    let (_, page) = serial.pages.last().unwrap();
    assert!(page.contains("process_cpu_seconds_total 20.0"));
}

#[test]
fn a_power_cap_slows_compute_and_leaves_memory_reads() {
    let mut engine = EngineConfig::h100_8b();
    let (prefill, decode) = (engine.step_ns(8000, 2, 8000), engine.step_ns(8, 8, 8000));
    engine.gpu_clock_ratio = 0.8;
    let (capped_prefill, capped_decode) = (engine.step_ns(8000, 2, 8000), engine.step_ns(8, 8, 8000));
    assert!(capped_prefill / prefill > 1.2, "{}", capped_prefill / prefill);
    assert!((capped_decode / decode - 1.0).abs() < 1e-9);
}

#[test]
fn limiting_active_requests_ends_preemption_and_goes_back_by_itself() {
    let options = RunOptions {
        scrape_every: Some(Duration::from_millis(50)),
        ..RunOptions::default()
    };
    let preemptions = |run: &VirtualRun| run.requests.iter().map(|r| r.preemptions).sum::<u32>();
    let free = run(&short_of_blocks(), &burst(), &options).unwrap();
    assert!(preemptions(&free) > 0);

    let mut most_running = 0;
    let limited = run_with(&short_of_blocks(), &burst(), &options, |server, _| {
        if server.now().is_zero() {
            server
                .set_lever(Lever::MaxNumActiveReqs, 3, Duration::from_secs(3600))
                .unwrap();
        }
        most_running = most_running.max(server.engines()[0].running);
    })
    .unwrap();
    // Three requests of 160 tokens fit into 30 blocks of 16.
    assert_eq!((preemptions(&limited), most_running), (0, 3));

    let mut server = VirtualServer::new(short_of_blocks()).unwrap();
    server
        .set_lever(Lever::MaxNumActiveReqs, 1, Duration::from_secs(1))
        .unwrap();
    for n in 0..8 {
        server.submit(burst().request(n, &short_of_blocks().engine));
    }
    server.advance_to(Duration::from_millis(900));
    assert_eq!((server.engines()[0].running, server.levers().len()), (1, 1));
    server.advance_to(Duration::from_millis(1100));
    assert!(server.engines()[0].running > 1);
    assert!(server.levers().is_empty());
}

#[test]
fn a_watermark_trades_preemptions_for_concurrency() {
    let with = |watermark| {
        let mut config = short_of_blocks();
        config.engine.watermark = watermark;
        let run = run(&config, &burst(), &RunOptions::default()).unwrap();
        assert!(run.requests.iter().all(RequestRecord::is_complete));
        run.requests.iter().map(|r| r.preemptions).sum::<u32>()
    };
    assert!(with(0.5) < with(0.0) / 2, "{} {}", with(0.5), with(0.0));
}

#[test]
fn an_admission_lever_refuses_at_once_and_is_counted() {
    let mut server = VirtualServer::new(SimConfig::default()).unwrap();
    let request = |n| workload().request(n, &EngineConfig::h100_8b());
    server
        .set_lever(Lever::MaxNumQueuedReqs, 0, Duration::from_secs(10))
        .unwrap();
    server.submit(request(0));
    let ended = server.take_ended();
    assert_eq!(ended[0].outcome, Outcome::Refused { status: 503 });
    let page = server.metrics_page().unwrap();
    assert!(page.contains(
        "vllm:admission_rejections_total{model_name=\"simulated-8b\",reason=\"max_num_queued_reqs\"} 1.0"
    ));
    server.reset_lever(Lever::MaxNumQueuedReqs);
    server.submit(request(1));
    assert_eq!(server.in_flight(), [1]);
    assert!(
        server
            .set_lever(Lever::MaxNumActiveReqs, 0, Duration::ZERO)
            .is_err()
    );
}

#[test]
fn each_pause_mode_does_with_requests_what_it_says() {
    for mode in [PauseMode::Abort, PauseMode::Wait, PauseMode::Keep] {
        let mut server = VirtualServer::new(SimConfig::default()).unwrap();
        let request = |n| workload().request(n, &EngineConfig::h100_8b());
        server.submit(request(0));
        server.advance_to(Duration::from_millis(200));
        server.pause(mode);
        server.submit(request(1));
        server.advance_to(Duration::from_secs(60));
        let ended = server.take_ended();
        let outcomes: Vec<_> = ended.iter().map(|r| (r.number, r.outcome)).collect();
        match mode {
            PauseMode::Abort => assert_eq!(outcomes, [(0, Outcome::Finished(FinishReason::Abort))]),
            PauseMode::Wait => assert_eq!(outcomes, [(0, Outcome::Finished(FinishReason::Length))]),
            PauseMode::Keep => assert!(outcomes.is_empty()),
        }
        assert!(server.engines()[0].is_paused);
        server.resume();
        server.advance_to(Duration::from_secs(120));
        let left = server.take_ended();
        assert!(left.iter().all(RequestRecord::is_complete));
        assert_eq!(ended.len() + left.len(), 2, "{mode:?}");
    }
}

#[test]
fn a_sleeping_server_holds_no_blocks_and_computes_again_what_it_kept() {
    let mut server = VirtualServer::new(SimConfig::default()).unwrap();
    server.submit(workload().request(0, &EngineConfig::h100_8b()));
    server.advance_to(Duration::from_millis(300));
    assert!(server.engines()[0].kv_usage_ratio > 0.0);
    server.sleep(1, PauseMode::Keep);
    let asleep = server.engines()[0];
    assert!(asleep.is_asleep && asleep.kv_usage_ratio == 0.0);
    assert!(
        server
            .metrics_page()
            .unwrap()
            .contains("sleep_state=\"weights_offloaded\"} 1.0")
    );
    server.resume();
    assert!(server.engines()[0].is_paused, "asleep, it cannot resume");
    server.wake_up();
    server.advance_to(Duration::from_secs(60));
    let ended = server.take_ended();
    assert!(ended[0].is_complete());
    assert_eq!(ended[0].preemptions, 1);
}

#[test]
fn hang_death_and_restart() {
    let mut server = VirtualServer::new(SimConfig::default()).unwrap();
    let request = |n| workload().request(n, &EngineConfig::h100_8b());
    server.submit(request(0));
    server.advance_to(Duration::from_millis(100));
    server.set_hung(true);
    let before = server.engines()[0].generation_tokens;
    server.advance_to(Duration::from_secs(10));
    assert_eq!(server.engines()[0].generation_tokens, before);
    assert_eq!(server.health(), Some(200));
    server.set_hung(false);
    server.advance_to(Duration::from_secs(20));
    assert!(server.take_ended()[0].is_complete());

    server.submit(request(1));
    server.kill_engines();
    server.submit(request(2));
    assert_eq!(server.health(), Some(503));
    server.die();
    server.submit(request(3));
    assert_eq!((server.health(), server.metrics_page()), (None, None));
    let outcomes: Vec<_> = server.take_ended().into_iter().map(|r| r.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Broken,
            Outcome::Refused { status: 500 },
            Outcome::ConnectionRefused
        ]
    );
    server.restart();
    assert_eq!(server.engines()[0].generation_tokens, 0);
    server.submit(request(4));
    server.advance_to(Duration::from_secs(40));
    assert!(server.take_ended()[0].is_complete());
}

#[test]
fn cancel_and_abort_free_what_a_request_held() {
    let mut server = VirtualServer::new(SimConfig::default()).unwrap();
    let request = |n| workload().request(n, &EngineConfig::h100_8b());
    let (a, b) = (server.submit(request(0)), server.submit(request(1)));
    server.advance_to(Duration::from_millis(100));
    assert!(server.cancel(a) && server.abort(b));
    assert!(!server.cancel(a) && !server.abort(b));
    let outcomes: Vec<_> = server.take_ended().into_iter().map(|r| r.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Cancelled, Outcome::Finished(FinishReason::Abort)]
    );
    server.advance_to(Duration::from_secs(1));
    assert_eq!(server.engines()[0].kv_usage_ratio, 0.0);
}
