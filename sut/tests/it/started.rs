//! A server described by a YAML file, started and stopped by the program; and the profiler's routes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::support::Run;
use vllm_sim::{EngineConfig, SimConfig, Simulator};

const OFFLINE: &str = "--scenario Offline --duration 100ms --num-samples 32 --target-qps 500 --no-plots";

#[test]
fn a_server_from_yaml_is_started_with_its_arguments_and_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = folder.path().join("server.yaml");
    // The program itself is the server, as a simulator.
    let text = format!(
        "model: org/made-up\n\
         launch_command: ['{}', sim, --preset, tiny-cpu, --served-model-name, '{{model}}', --host, '{{host}}', --port, '{{port}}']\n\
         env_vars: {{RUST_LOG: info}}\n\
         args:\n  output_tokens: 5\n  no_enable_prefix_caching: true\n",
        env!("CARGO_BIN_EXE_sut")
    );
    std::fs::write(&yaml, text).expect("a file");
    let yaml = yaml.to_string_lossy().into_owned();
    let flags: Vec<&str> = OFFLINE.split(' ').chain(["--server-config", &yaml]).collect();
    let run = Run::new(&flags).finish();
    let shown = run.shown();
    assert_eq!(run.status, Some(0), "{shown}");
    let record = run.record();
    assert!(
        record
            .requests
            .iter()
            .all(|request| request.output_tokens == Some(5)),
        "the file's arguments reach the server\n{shown}"
    );
    let log = std::fs::read_to_string(run.log_dir().join("vllm_server.log")).expect("its log");
    let url = log
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect("its address");
    let address = url.trim_start_matches("http://");
    assert!(TcpStream::connect(address).is_err(), "it is stopped\n{shown}");
}

#[test]
fn the_profiler_is_started_and_stopped_once() {
    let server = Simulator::start(SimConfig {
        engine: EngineConfig::tiny_cpu(),
        ..SimConfig::default()
    })
    .expect("the simulator starts");
    let url = server.url();
    let flags: Vec<&str> = OFFLINE
        .split(' ')
        .chain(["--enable-profiler", "--url", &url])
        .collect();
    let run = Run::new(&flags).finish();
    assert_eq!(run.status, Some(0), "{}", run.shown());
    assert!(
        run.stdout.contains("the server's profiler was on"),
        "{}",
        run.shown()
    );
    let page = page(server.address());
    for route in ["/start_profile", "/stop_profile"] {
        let line = page
            .lines()
            .find(|line| line.starts_with("http_requests_total") && line.contains(&format!("\"{route}\"")));
        let line = line.unwrap_or_else(|| panic!("{route} was not called\n{}", run.shown()));
        assert!(line.ends_with(" 1") || line.ends_with(" 1.0"), "{line}");
    }
    server.stop();
}

/// Passes connections on to `server`, except that a request for /stop_profile is reported and never answered.
fn without_stop_profile(server: std::net::SocketAddr, seen: Sender<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a connection");
            let mut answers = TcpStream::connect(server).expect("the server");
            let mut requests = answers.try_clone().expect("a handle");
            let mut back = client.try_clone().expect("a handle");
            let seen = seen.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 1 << 16];
                while let Ok(read @ 1..) = client.read(&mut bytes) {
                    if bytes[..read].starts_with(b"POST /stop_profile") {
                        // The test may be over.
                        let _over = seen.send(());
                    } else if requests.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                let _closed = requests.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        }
    });
    url
}

#[test]
fn a_profiler_that_writes_for_long_belongs_to_no_phase_and_can_be_interrupted() {
    let server = Simulator::start(SimConfig {
        engine: EngineConfig::tiny_cpu(),
        ..SimConfig::default()
    })
    .expect("the simulator starts");
    let (seen, asked) = channel();
    let url = without_stop_profile(server.address(), seen);
    let flags: Vec<&str> = OFFLINE
        .split(' ')
        .chain(["--enable-profiler", "--url", &url])
        .collect();
    let run = Run::new(&flags);
    let child = run
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    asked
        .recv_timeout(Duration::from_secs(120))
        .expect("the profiler is stopped");
    let events = std::fs::read_dir(run.folder().join("metrics_output"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            let name = path.to_string_lossy();
            name.contains("vllm_metrics_") && !name.contains("_processed")
        })
        .map(|raw| vllm_metrics::store::read_run(raw).expect("a record").events)
        .expect("a record");
    assert!(
        events.iter().any(|event| &*event.kind == "session_finished"),
        "the record ends before the trace is written"
    );
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    let run = run.ended(child);
    // Every query was answered before the signal, so the result stands.
    assert_eq!(run.status, Some(0), "{}", run.shown());
    assert!(!run.stdout.contains("ABORTED"), "{}", run.shown());
    server.stop();
}

#[test]
fn replicas_are_started_with_their_own_ports_gpus_and_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("serve");
    let text = format!(
        "echo \"$CUDA_VISIBLE_DEVICES\" >>'{}'\nexec '{}' sim --preset tiny-cpu --served-model-name tiny --port \"$1\"\n",
        folder.path().join("gpus").display(),
        env!("CARGO_BIN_EXE_sut")
    );
    std::fs::write(&script, text).expect("a file");
    let serve = format!("sh {} {{port}} {{model}} {{host}}", script.display());
    let flags: Vec<&str> = OFFLINE
        .split(' ')
        .chain(["--model", "tiny", "--replicas", "2", "--gpus", "4,5"])
        .chain(["--serve-command", &serve, "--warmup", "3"])
        .collect();
    let run = Run::new(&flags).finish();
    let shown = run.shown();
    assert!(matches!(run.status, Some(0 | 1)), "{shown}");
    let gpus = std::fs::read_to_string(folder.path().join("gpus")).expect("what they saw");
    let mut gpus: Vec<&str> = gpus.lines().collect();
    gpus.sort_unstable();
    assert_eq!(gpus, ["4", "5"], "{shown}");
    let record = run.record();
    for replica in 0..2 {
        assert!(
            record.requests.iter().any(|request| request.endpoint == replica),
            "replica {replica} answered nothing\n{shown}"
        );
    }
    for log in ["vllm_server.log", "vllm_server_1.log"] {
        assert!(run.log_dir().join(log).exists(), "{log}\n{shown}");
    }
    assert!(
        run.stderr.contains("3 warm-up requests to each server"),
        "{shown}"
    );
    // The warm-up is in the servers' counters before the record begins, and in no row.
    assert_eq!(record.manifest.facts["warmup_requests"], "3");
    let finished: f64 = record
        .series
        .iter()
        .filter(|series| &*series.def.metric_name == "vllm:request_success_total")
        .map(|series| series.values[0])
        .sum();
    assert_eq!(finished, 6.0, "{shown}");
}

#[test]
fn a_failed_warm_up_ends_the_run_before_the_test() {
    let server = crate::support::simulator(&["status code=503"]);
    let url = server.url();
    let flags: Vec<&str> = OFFLINE
        .split(' ')
        .chain(["--url", &url, "--warmup", "2"])
        .collect();
    let run = Run::new(&flags).finish();
    assert_eq!(run.status, Some(3), "{}", run.shown());
    assert!(run.stderr.contains("--warmup: a request to"), "{}", run.shown());
    server.stop();
}

#[test]
fn a_server_that_does_not_start_is_reported_once_with_the_flags_that_start_it() {
    let broken = "sh -c 'echo Traceback: no module named vllm; exit 1' {model} {host} {port}";
    for (flags, word) in [
        (
            vec!["--model", "m", "--serve-command", "/no/such/command serve"],
            "cannot run",
        ),
        (
            vec!["--model", "m", "--serve-command", broken],
            "Traceback: no module named vllm",
        ),
    ] {
        let run = Run::new(&flags).without_metrics().finish();
        assert_eq!(run.status, Some(3), "{}", run.shown());
        let error = run.stderr.split("error: ").nth(1).expect("an error");
        assert!(error.contains("--serve-command"), "{}", run.shown());
        assert_eq!(error.matches(word).count(), 1, "{}", run.shown());
    }
}

/// The metrics page of a server.
fn page(server: std::net::SocketAddr) -> String {
    let mut page = String::new();
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .expect("a request");
    stream.read_to_string(&mut page).expect("a page");
    page
}
