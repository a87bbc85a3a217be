use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const QUIET: [&str; 6] = ["--listen", "off", "--state-file", "off", "--log-file", "off"];

fn monitor(options: &[&str], command: &[&str]) -> Command {
    let mut monitor = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"));
    monitor
        .arg("run")
        .arg("--no-gpus")
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    monitor
}

fn shell(script: &str) -> (ExitStatus, Vec<u8>, String) {
    let output = monitor(&QUIET, &["sh", "-c", script]).output().unwrap();
    (
        output.status,
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The simulated server, which `cargo test` builds next to the tests.
fn server() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/simulated_server")
}

fn term(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
}

#[test]
fn it_ends_with_the_servers_fate() {
    assert_eq!(shell("exit 3").0.code(), Some(3));
    assert_eq!(shell("exit 0").0.code(), Some(1), "an end that nobody asked for");
    assert_eq!(shell("kill -9 $$").0.code(), Some(137));
    let missing = monitor(&QUIET, &["/no/such/program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/program"));
}

#[test]
fn output_passes_through_untouched() {
    let (_, out, err) = shell(r"printf 'a\000b\377\nno end'; printf 'to stderr' >&2; exit 5");
    assert_eq!(out, b"a\0b\xff\nno end");
    assert_eq!(err, "to stderr");
}

#[test]
fn a_signal_is_forwarded_and_the_end_is_then_no_failure() {
    let script = "trap 'echo stopping; exit 0' TERM; echo up; while :; do read -r line; done";
    let mut child = monitor(&QUIET, &["sh", "-c", script]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    term(&child);
    // The shell looks at signals when a line has come.
    let _ended = child.stdin.take().unwrap().write_all(b"\n\n");
    line.clear();
    out.read_to_string(&mut line).unwrap();
    assert_eq!(line, "stopping\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_the_server_leaves_behind_is_ended_and_reaped() {
    // The grandchild would hold the output open, and the GPU, for ever.
    let (status, out, _) = shell("sh -c 'echo $$; exec sleep 1000' & sleep 2; exit 4");
    assert_eq!(status.code(), Some(4));
    let pid: i32 = String::from_utf8(out).unwrap().trim().parse().unwrap();
    assert_eq!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH));
}

#[test]
fn a_whole_life_is_seen_and_has_no_error() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.jsonl");
    let log_text = log.display().to_string();
    let (server, port) = (server().display().to_string(), port.to_string());
    let options = ["--listen", "off", "--state-file", "off", "--log-file", &log_text];
    let mut options = options.to_vec();
    options.extend([
        "--interval-secs",
        "0.2",
        "--set",
        "log_level=debug",
        "--set",
        "prestartup_check=false",
    ]);
    let command = [
        &server,
        "serve",
        "simulated-8b",
        "--port",
        &port,
        "--enable-monitoring",
    ];
    let mut child = monitor(&options, &command).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("startup complete") {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    wait_for(&log, "\"to\":\"READY\"");
    term(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let events = events(&log);
    let path: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"]["kind"]["transition"]["to"].as_str())
        .collect();
    assert_eq!(path.first(), Some(&"INITIALIZING"), "{path:?}");
    assert_eq!(path.last(), Some(&"NOT_STARTED"), "{path:?}");
    for state in ["LOADING_MODEL", "READY", "SHUTTING_DOWN"] {
        assert!(path.contains(&state), "{state} in {path:?}");
    }
    assert!(!path.contains(&"ERROR"), "{path:?}");
    let phases: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"]["kind"]["phase_ended"]["phase"].as_str())
        .collect();
    for phase in ["engine_init", "load_weights", "prepare_model", "start_server"] {
        assert!(phases.contains(&phase), "{phase} in {phases:?}");
    }
}

#[test]
fn an_end_with_code_0_that_nobody_asked_for_is_an_error_event_and_exit_status_1() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.jsonl");
    let log_text = log.display().to_string();
    let (server, port) = (server().display().to_string(), free_port().to_string());
    let options = ["--listen", "off", "--state-file", "off", "--log-file", &log_text];
    let mut options = options.to_vec();
    options.extend(["--interval-secs", "0.2", "--set", "prestartup_check=false"]);
    let command = [&server, "serve", "simulated-8b", "--port", &port];
    let mut child = monitor(&options, &command).spawn().unwrap();
    wait_for(&log, "\"to\":\"READY\"");
    child.stdin.take().unwrap().write_all(b"exit 0\n").unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    let text = std::fs::read_to_string(&log).unwrap();
    let error = text
        .lines()
        .find(|line| line.contains("\"to\":\"ERROR\""))
        .expect("an error");
    assert!(
        error.contains("ended with code 0") && error.contains("no stop had been requested"),
        "{error}"
    );
}

#[test]
fn a_start_that_cannot_succeed_is_not_tried() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let marker = tempfile::tempdir().unwrap().path().join("started");
    let script = marker.display().to_string();
    let output = monitor(&QUIET, &["touch", &script, "serve", "m", "--port", &port])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("{port} is held by")) && said.contains("way out"),
        "{said}"
    );
    assert!(said.contains("not started") && !marker.exists());
}

fn wait_for(log: &std::path::Path, text: &str) {
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(log).is_ok_and(|all| all.contains(text)) {
        assert!(begun.elapsed().as_secs() < 60, "{text} does not come");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn events(log: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
