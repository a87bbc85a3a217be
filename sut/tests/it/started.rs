//! A server described by a YAML file, started and stopped by the program; and the profiler's routes.

use std::io::{Read, Write};
use std::net::TcpStream;

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
    let mut page = String::new();
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .expect("a request");
    stream.read_to_string(&mut page).expect("a page");
    for route in ["/start_profile", "/stop_profile"] {
        let line = page
            .lines()
            .find(|line| line.starts_with("http_requests_total") && line.contains(&format!("\"{route}\"")));
        let line = line.unwrap_or_else(|| panic!("{route} was not called\n{}", run.shown()));
        assert!(line.ends_with(" 1") || line.ends_with(" 1.0"), "{line}");
    }
    server.stop();
}
