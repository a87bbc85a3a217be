//! Starting, watching and stopping a process. The server is this test program itself, run as a child.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use vllm_client::server::{Exit, ServerConfig, ServerError, ServerProcess};
use vllm_client::{Client, PrefixCaching};

/// Not a test: the body of the child process that the tests start. Does nothing otherwise.
#[test]
#[ignore = "runs as the child process of the other tests"]
fn child() {
    let Ok(address) = std::env::var("CHILD_ADDRESS") else {
        return;
    };
    let listener = TcpListener::bind(address).unwrap();
    println!("child is listening");
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let body = match head.split(' ').nth(1).unwrap_or_default() {
            "/v1/models" => "{\"data\":[{\"id\":\"tiny\"}]}",
            "/metrics" => {
                "vllm:cache_config_info{a=\"1\",enable_prefix_caching=\"False\",engine=\"0\"} 1.0\n"
            }
            _ => "{}",
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    }
}

/// A shell line that runs as the server; `$0` is this program, `$1` the address.
fn config(dir: &Path, line: &str) -> ServerConfig {
    let exe = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let words = ["sh", "-c", line, exe.as_str(), "{host}:{port}", "{model}"];
    ServerConfig {
        command: words.map(str::to_owned).to_vec(),
        log_path: dir.join("logs/server.log"),
        startup_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(20),
        ..ServerConfig::new("tiny")
    }
}

const SERVE: &str = "CHILD_ADDRESS=$1 exec \"$0\" child --exact --ignored --nocapture";

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn start_ready_stop() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(config(dir.path(), SERVE)).unwrap();
    let ready = server.wait_ready().await.unwrap();
    assert_eq!(ready.models[0].id, "tiny");
    assert!(server.has_died().is_none());
    let client = Client::new(server.client_config()).unwrap();
    assert_eq!(client.prefix_caching().await.unwrap(), PrefixCaching::Off);
    let pid = server.pid();
    let stopped = server.stop().await.unwrap();
    assert_eq!((stopped.exit, stopped.killed.len()), (Exit::Signal(15), 0));
    assert!(!alive(pid));
    let log = std::fs::read_to_string(dir.path().join("logs/server.log")).unwrap();
    assert!(log.contains("child is listening"), "{log}");
}

#[tokio::test]
async fn a_child_that_dies_is_told_with_its_last_lines() {
    let dir = tempfile::tempdir().unwrap();
    let line = "for i in $(seq 100); do echo line $i; done; echo CUDA is out of luck >&2; exit 3";
    let start = Instant::now();
    let server = ServerProcess::start(config(dir.path(), line)).unwrap();
    let error = server.wait_ready().await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    let ServerError::ProcessEnded(died) = &error else {
        panic!("{error}")
    };
    assert_eq!(died.exit, Exit::Code(3));
    assert_eq!(died.last_lines.len(), 20);
    assert!(
        error.to_string().contains("exit status 3") && error.to_string().contains("out of luck"),
        "{error}"
    );
    assert_eq!(server.has_died().as_ref(), Some(died));
    server.stop().await.unwrap();

    // Status 0 counts as an exit too, and lines of an earlier start are not attributed to this one.
    let server = ServerProcess::start(config(dir.path(), "echo bye")).unwrap();
    let died = server.died().await;
    assert_eq!(
        (died.exit, died.last_lines),
        (Exit::Code(0), vec!["bye".to_owned()])
    );
}

#[tokio::test]
async fn what_ignores_term_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    // The leader and its child both ignore TERM; the child prints its process id.
    let line = "trap '' TERM; (trap '' TERM; while :; do sleep 0.2; done) & echo child $!; wait; sleep 600";
    let mut config = config(dir.path(), line);
    config.stop_timeout = Duration::from_millis(100);
    let server = ServerProcess::start(config).unwrap();
    let child = loop {
        let lines = server.last_lines();
        if let Some(pid) = lines.first().and_then(|l| l.strip_prefix("child ")) {
            break pid.parse::<i32>().unwrap();
        }
        tokio::task::yield_now().await;
    };
    let stopped = server.stop().await.unwrap();
    assert_eq!(stopped.exit, Exit::Signal(9));
    assert!(
        stopped.killed.iter().any(|(pid, _)| *pid == child),
        "{:?}",
        stopped.killed
    );
    assert!(!alive(child));
}

#[tokio::test]
async fn children_of_a_dead_leader_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(config(dir.path(), "sleep 600 & echo child $!; exit 1")).unwrap();
    let died = server.died().await;
    let child: i32 = died.last_lines[0]
        .strip_prefix("child ")
        .unwrap()
        .parse()
        .unwrap();
    assert!(alive(child));
    let pid = server.pid();
    drop(server);
    assert!(!alive(pid));
    // The kernel ends it a moment after the signal.
    while alive(child) {
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = ServerProcess::start(ServerConfig {
        port: Some(port),
        ..config(dir.path(), SERVE)
    })
    .unwrap_err();
    assert!(
        matches!(error, ServerError::PortTaken { .. }) && error.to_string().contains("attach"),
        "{error}"
    );

    let mut absent = config(dir.path(), "");
    absent.command = vec!["no-such-program-anywhere".to_owned()];
    let error = ServerProcess::start(absent).unwrap_err().to_string();
    assert!(
        error.contains("no-such-program-anywhere") && error.contains("installed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config(dir.path(), "echo loading weights; sleep 600");
    slow.startup_timeout = Duration::from_secs(3);
    let server = ServerProcess::start(slow).unwrap();
    let error = server.wait_ready().await.unwrap_err();
    assert!(matches!(error, ServerError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("loading weights"), "{error}");
}

/// Not a test: a program that starts a server and is killed.
#[test]
#[ignore = "runs as the child process of another test"]
fn parent() {
    let Ok(dir) = std::env::var("SERVER_DIR") else {
        return;
    };
    // The leader and a child that is not notified of the leader's exit.
    let mut config = config(Path::new(&dir), "sleep 600 & echo $! > child; wait");
    config.stop_timeout = Duration::from_secs(1);
    let server = ServerProcess::start(config).unwrap();
    println!("server {}", server.pid());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_server_dies_with_the_program_that_started_it_however_that_dies() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    for signal in ["KILL", "HUP", "QUIT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        // A job in the background, or under nohup, ignores some of these signals, and so would its children.
        let mut program = Command::new("env")
            .arg("--default-signal")
            .arg(std::env::current_exe().unwrap())
            .args(["parent", "--exact", "--ignored", "--nocapture"])
            .env("SERVER_DIR", dir.path())
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let leader: i32 = lines
            .find_map(|line| line.unwrap().rsplit_once("server ")?.1.trim().parse().ok())
            .unwrap();
        let child: i32 = until(|| {
            std::fs::read_to_string(dir.path().join("child"))
                .ok()?
                .trim()
                .parse()
                .ok()
        });
        let number = program.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &number])
            .status();
        assert!(sent.unwrap().success());
        program.wait().unwrap();
        until(|| (!alive(leader) && !alive(child)).then_some(()));
    }
}

/// Retries until there is an answer.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it never happens");
        std::thread::yield_now();
    }
}
