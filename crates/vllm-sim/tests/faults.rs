//! Scripted faults as a client meets them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Reply, control, get, metric, metrics, post, send, start, until};
use vllm_sim::{Simulator, StepModel};

const STREAM: &str =
    r#"{"prompt":[5,6,7],"max_tokens":12,"ignore_eos":true,"stream":true,"return_token_ids":true}"#;
const WHOLE: &str = r#"{"prompt":[5,6,7],"max_tokens":12,"ignore_eos":true}"#;

fn sim(faults: &[&str]) -> Simulator {
    start(|c| c.faults = faults.iter().map(|f| f.parse().unwrap()).collect())
}

fn stream(sim: &Simulator) -> std::io::Result<Reply> {
    send(sim, "POST", "/v1/completions", "", STREAM)?.finish()
}

/// Events with tokens in them, whole ones only.
fn tokens(reply: &Reply) -> usize {
    String::from_utf8_lossy(&reply.body).matches("}]}\n\n").count()
}

#[test]
fn a_stream_is_cut_after_exactly_so_many_tokens_and_the_next_is_whole() {
    for kind in ["reset", "truncate"] {
        for (at, after) in [(0, 0), (1, 1), (2, 5)] {
            let sim = sim(&[&format!("{kind} tokens={after} requests={at}")]);
            for request in 0..4 {
                let reply = stream(&sim).unwrap();
                assert_eq!(reply.cut, request == at, "{kind} {after}");
                assert_eq!(
                    tokens(&reply),
                    if request == at { after } else { 12 },
                    "{kind} {after}"
                );
            }
            assert_eq!(sim.fault_hits()[0].1, 1);
        }
    }
}

#[test]
fn a_struck_request_leaves_the_engine() {
    let sim = start(|c| {
        c.engine.step = StepModel {
            fixed_ns: 1e6,
            ..StepModel::INSTANT
        };
        c.faults = vec!["reset tokens=1".parse().unwrap()];
    });
    let body = STREAM.replace("12", "100000");
    assert!(
        send(&sim, "POST", "/v1/completions", "", &body)
            .unwrap()
            .finish()
            .unwrap()
            .cut
    );
    until("it is dropped", || {
        metric(&metrics(&sim), "vllm:num_requests_running") == 0.0
    });
}

#[test]
fn a_reset_is_no_orderly_end() {
    let sim = sim(&["reset tokens=1"]);
    let mut call = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    call.head().unwrap();
    call.chunk().unwrap();
    let mut rest = Vec::new();
    let error = std::io::Read::read_to_end(&mut call.reader, &mut rest).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn answers_that_are_not_streamed_are_struck_too() {
    let whole = |sim: &Simulator| send(sim, "POST", "/v1/completions", "", WHOLE).unwrap().finish();
    let sim = sim(&[
        "reset requests=0",
        "truncate requests=1",
        "garbage requests=2",
        "status requests=3",
    ]);
    assert!(whole(&sim).is_err());
    let cut = whole(&sim).unwrap();
    assert!(cut.cut && !cut.body.is_empty());
    let garbage = whole(&sim).unwrap();
    assert!(garbage.status == 200 && serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    assert_eq!(whole(&sim).unwrap().status, 503);
    assert_eq!(whole(&sim).unwrap().status, 200);
}

#[test]
fn a_burst_of_503_ends_by_itself() {
    let sim = sim(&["status requests=2..5"]);
    let statuses: Vec<u16> = (0..7).map(|_| stream(&sim).unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 200, 200]);
    let page = metrics(&sim);
    assert_eq!(
        page["http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"5xx\"}"],
        3.0
    );
}

#[test]
fn a_stall_holds_the_stream_and_lets_it_go_again() {
    let sim = sim(&["stall tokens=3 for=200ms requests=0", "stall tokens=3 requests=1"]);
    let start = Instant::now();
    let reply = stream(&sim).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!((tokens(&reply), reply.cut), (12, false));

    let mut call = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    call.head().unwrap();
    let mut text = String::new();
    while text.matches("}]}\n\n").count() < 3 {
        text += std::str::from_utf8(&call.chunk().unwrap()).unwrap();
    }
    call.reader
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(call.chunk().is_err(), "nothing more may come: {text}");
    assert_eq!(text.matches("}]}\n\n").count(), 3);
}

#[test]
fn garbage_comes_in_the_middle_and_the_stream_goes_on() {
    let sim = sim(&["garbage tokens=4"]);
    let reply = stream(&sim).unwrap();
    assert!(std::str::from_utf8(&reply.body).is_err());
    assert!(!reply.cut && reply.body.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(tokens(&reply), 12);
}

#[test]
fn the_metrics_route_fails_alone() {
    let sim = sim(&[
        "metrics-status requests=0",
        "metrics-garbage requests=1",
        "metrics-truncate requests=2",
        "metrics-reset requests=3",
        "metrics-slow for=200ms requests=4",
    ]);
    assert_eq!(get(&sim, "/metrics").status, 404);
    let garbage = get(&sim, "/metrics");
    assert!(garbage.status == 200 && std::str::from_utf8(&garbage.body).is_err());
    let cut = get(&sim, "/metrics");
    assert!(cut.cut && cut.body.len() > 10_000);
    assert!(send(&sim, "GET", "/metrics", "", "").unwrap().finish().is_err());
    let start = Instant::now();
    assert_eq!(get(&sim, "/metrics").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(stream(&sim).unwrap().status, 200);
    assert_eq!(get(&sim, "/health").status, 200);
}

#[test]
fn a_refusing_server_finishes_what_it_has_and_comes_back() {
    let sim = sim(&[]);
    post(&sim, "/pause", "");
    let call = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    until("it is queued", || get(&sim, "/load").json()["server_load"] == 1);
    let resume = TcpStream::connect(sim.address()).unwrap();
    sim.add_fault("refuse".parse().unwrap());
    until("it refuses", || TcpStream::connect(sim.address()).is_err());
    drop(resume);
    sim.clear_faults();
    until("it accepts", || TcpStream::connect(sim.address()).is_ok());
    post(&sim, "/resume", "");
    assert_eq!(tokens(&call.finish().unwrap()), 12);
}

#[test]
fn a_server_that_dies_takes_every_connection_with_it() {
    let sim = sim(&["die requests=2"]);
    post(&sim, "/pause", "");
    let first = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    let second = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    until("both are queued", || {
        get(&sim, "/load").json()["server_load"] == 2
    });
    assert!(stream(&sim).is_err());
    for call in [first, second] {
        assert!(call.finish().map_or(true, |reply| reply.cut));
    }
    until("it is gone", || TcpStream::connect(sim.address()).is_err());
    sim.stop();
}

#[test]
fn a_restarted_server_counts_from_zero_at_the_same_address() {
    let sim = sim(&["restart for=50ms requests=3"]);
    for _ in 0..3 {
        stream(&sim).unwrap();
    }
    let before = metrics(&sim);
    assert_eq!(metric(&before, "vllm:generation_tokens_total"), 36.0);
    assert!(stream(&sim).is_err());
    until("it is back", || TcpStream::connect(sim.address()).is_ok());
    let after = metrics(&sim);
    assert_eq!(metric(&after, "vllm:generation_tokens_total"), 0.0);
    assert!(after["process_start_time_seconds"] > before["process_start_time_seconds"]);
    assert_eq!(tokens(&stream(&sim).unwrap()), 12);
}

#[test]
fn a_hung_engine_keeps_its_gauges_and_its_health() {
    let sim = start(|c| {
        c.engine.step = StepModel {
            fixed_ns: 1e6,
            ..StepModel::INSTANT
        }
    });
    let body = STREAM.replace("12", "2000");
    let mut call = send(&sim, "POST", "/v1/completions", "", &body).unwrap();
    call.head().unwrap();
    call.chunk().unwrap();
    sim.set_hung(true);
    let steps = |sim: &Simulator| metric(&metrics(sim), "vllm:iteration_tokens_total_count");
    let mut last = steps(&sim);
    until("it stands still", || {
        // Two looks five steps apart that see the same.
        std::thread::sleep(Duration::from_millis(5));
        std::mem::replace(&mut last, steps(&sim)) == last
    });
    assert_eq!(metric(&metrics(&sim), "vllm:num_requests_running"), 1.0);
    assert_eq!(get(&sim, "/health").status, 200);
    sim.set_hung(false);
    until("it goes on", || steps(&sim) > last);
}

#[test]
fn rules_can_be_given_and_taken_while_it_runs() {
    let sim = sim(&[]);
    let added = control(
        &sim,
        "POST",
        "/sim/faults",
        "status code=500 times=1\n\nmetrics-status requests=5..6\n",
    );
    assert_eq!(
        added.text(),
        "0\tstatus code=500 times=1\n0\tmetrics-status code=404 requests=5..6\n"
    );
    assert_eq!(stream(&sim).unwrap().status, 500);
    assert_eq!(stream(&sim).unwrap().status, 200);
    assert!(
        control(&sim, "GET", "/sim/faults", "")
            .text()
            .starts_with("1\tstatus")
    );
    let wrong = control(&sim, "POST", "/sim/faults", "status code=500\nexplode");
    assert_eq!(
        (
            wrong.status,
            control(&sim, "GET", "/sim/faults", "").text().lines().count()
        ),
        (400, 2)
    );
    let cleared = control(&sim, "DELETE", "/sim/faults", "");
    assert_eq!(cleared.text(), "");
}

#[test]
fn a_timed_hang_ends_by_itself() {
    let start = Instant::now();
    let sim = sim(&["hang for=100ms"]);
    assert_eq!(tokens(&stream(&sim).unwrap()), 12);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn an_error_event_ends_a_stream_in_good_order() {
    let sim = sim(&["error tokens=3 requests=0", "error requests=1"]);
    let reply = stream(&sim).unwrap();
    assert_eq!((reply.status, reply.cut, tokens(&reply)), (200, false, 3));
    let events = reply.events();
    assert_eq!(events.last().unwrap()["error"]["code"], 500);
    let whole = send(&sim, "POST", "/v1/completions", "", WHOLE)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(whole.status, 500);
}

#[test]
fn dead_engines_fail_every_request_and_health() {
    let sim = sim(&[]);
    post(&sim, "/pause", "");
    let streamed = send(&sim, "POST", "/v1/completions", "", STREAM).unwrap();
    let whole = send(&sim, "POST", "/v1/completions", "", WHOLE).unwrap();
    until("both are queued", || {
        get(&sim, "/load").json()["server_load"] == 2
    });
    sim.add_fault("engine-death for=1h".parse().unwrap());
    let streamed = streamed.finish().unwrap();
    assert_eq!((streamed.status, streamed.cut), (200, false));
    assert_eq!(streamed.events()[0]["error"]["type"], "InternalServerError");
    assert_eq!(whole.finish().unwrap().status, 500);
    assert_eq!(stream(&sim).unwrap().status, 500);
    assert_eq!(get(&sim, "/health").status, 503);
    assert_eq!(get(&sim, "/metrics").status, 200);
}

#[test]
fn the_front_end_follows_its_engines() {
    let sim = sim(&["engine-death for=500ms requests=1"]);
    assert_eq!(stream(&sim).unwrap().status, 200);
    assert_eq!(stream(&sim).unwrap().status, 500);
    until("it is gone", || TcpStream::connect(sim.address()).is_err());
}

#[test]
fn slow_steps_take_their_share() {
    let sim = start(|c| {
        c.engine.step = StepModel {
            fixed_ns: 1e6,
            ..StepModel::INSTANT
        };
        c.faults = vec!["slow percent=1000".parse().unwrap()];
    });
    until("it is slow", || {
        let before = metric(&metrics(&sim), "vllm:e2e_request_latency_seconds_sum");
        stream(&sim).unwrap();
        // 12 steps of 10 ms; without the fault 12 ms in all.
        metric(&metrics(&sim), "vllm:e2e_request_latency_seconds_sum") - before >= 0.1
    });
}
