//! The monitor acts: on a simulated server under memory pressure, and on a server that it supervises.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use monitor_acting::audit::{self, Record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vllm_monitor_cli::settings::Flags;
use vllm_sim::{ControlToken, EngineConfig, OutputLength, SimConfig, Simulator};

use crate::world::{LONGEST, World, complete, quick};

const TOKEN: &str = "token-of-the-levers";

/// Actions that last seconds instead of a minute.
const ARMS: &str = r#"
version = "test"
[window_secs]
kv_preemption = 4
[capabilities]
"lever.max_num_queued_reqs" = "there is no plugin"
"route.sleep" = "there is no GPU"
[[arm]]
name = "nothing"
title = "Nothing"
severity = 0
blast = "none"
cost = 0.0
against.kv_preemption = { prior = { mean = 0.0, weight = 1000 }, effect = { signal = "preemptions_per_sec", change = "falls", by = 0.1, within_secs = 2 } }
[[arm]]
name = "tighten_admission"
title = "Refuse new requests"
severity = 1
blast = "new_requests"
requires = ["lever.max_num_queued_reqs"]
cost = 0.0
ttl_secs = 3
steps = [{ lever = "max_num_queued_reqs", scaled = { of = ["running_requests", "waiting_requests"], factor = 0.3, floor = 1 } }]
against.kv_preemption = { prior = { mean = 0.9, weight = 1000 }, effect = { signal = "preemptions_per_sec", change = "falls", by = 0.1, within_secs = 2 } }
[[arm]]
name = "sleep"
title = "Sleep"
severity = 5
blast = "all_requests"
requires = ["route.sleep"]
cost = 0.0
steps = [{ route = "/sleep" }]
against.kv_preemption = { prior = { mean = 0.9, weight = 1000 }, effect = { signal = "preemptions_per_sec", change = "falls", by = 0.1, within_secs = 2 } }
"#;

/// A server whose cache is too small for its load.
pub(crate) struct Pressed {
    pub(crate) simulator: Simulator,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Pressed {
    pub(crate) fn new() -> Self {
        let simulator = Simulator::start(SimConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            control_token: Some(ControlToken::new(TOKEN)),
            engine: EngineConfig {
                output_length: OutputLength::Fixed(400),
                block_size: 16,
                num_gpu_blocks: 64,
                max_num_seqs: 16,
                max_model_len: 1000,
                ..EngineConfig::tiny_cpu()
            },
            ..SimConfig::default()
        })
        .unwrap();
        let clients = (0..24)
            .map(|_| {
                let url = simulator.url();
                tokio::spawn(async move {
                    loop {
                        complete(&url, 400).await;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        Self { simulator, clients }
    }

    /// Whether a lever is set, as the server itself says.
    pub(crate) async fn is_clamped(&self) -> bool {
        let mut stream = TcpStream::connect(self.simulator.address()).await.unwrap();
        let request = format!(
            "GET /v1/monitor/levers HTTP/1.1\r\nhost: localhost\r\nx-monitor-token: {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.contains("seconds_left")
    }

    async fn until_clamped(&self, clamped: bool) {
        let begun = Instant::now();
        while self.is_clamped().await != clamped {
            assert!(begun.elapsed() < LONGEST, "clamped is not {clamped}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Pressed {
    fn drop(&mut self) {
        self.clients.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A settings file with actions turned on, and its folder.
pub(crate) fn settings(folder: &Path, name: &str, more: &str) -> PathBuf {
    std::fs::write(folder.join("arms.toml"), ARMS).unwrap();
    std::fs::write(folder.join("levers"), TOKEN).unwrap();
    std::fs::write(folder.join("token"), "of-the-monitor").unwrap();
    let path = folder.join(format!("{name}.toml"));
    let folder = folder.display();
    let text = format!(
        r#"
enable_auto_mitigation = true
[serve]
token_file = "{folder}/token"
[acting]
allow = ["tighten_admission", "sleep"]
arms_file = "{folder}/arms.toml"
lever_token_file = "{folder}/levers"
folder = "{folder}/{name}"
lease_folder = "{folder}/leases"
holder = "{name}"
[acting.limits]
confirm_secs = 0.2
# The pressure does not end: without it the lever would be renewed for 15 minutes.
longest_lever_secs = 6
{more}
"#
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn flags(simulator: &Simulator, config: PathBuf) -> Flags {
    Flags {
        config: Some(config),
        ..quick(&[&format!("t={}", simulator.url())])
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONGEST, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn actions(world: &World) -> Vec<Value> {
    let records = world.records().into_iter();
    records
        .filter(|record| record["intent"]["observe_only"] == false)
        .collect()
}

fn notes(world: &World) -> Vec<String> {
    let records = world.records().into_iter();
    records
        .filter_map(|record| Some(record["event"]["kind"]["acting"]["text"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_pressure_is_met_by_a_clamp_that_is_judged_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "");
    let world = World::new(&flags(&pressed.simulator, config)).await;
    until("an action", || !actions(&world).is_empty()).await;
    pressed.until_clamped(true).await;
    let status = world.status().await;
    assert_eq!(status["mitigation_in_progress"], true, "{status:#}");
    assert_eq!(status["acting"]["acts"], true);
    assert!(
        world
            .get("/metrics")
            .await
            .1
            .contains("vllm:monitor_mitigation_in_progress 1")
    );
    until("a verdict", || {
        notes(&world)
            .iter()
            .any(|note| note.starts_with("tighten_admission against kv_preemption"))
    })
    .await;
    until("the revert", || {
        world
            .records()
            .iter()
            .any(|record| record["revert"]["action"] == "tighten_admission")
    })
    .await;
    pressed.until_clamped(false).await;

    // What it cannot do was reported with the reason.
    assert!(
        notes(&world)
            .iter()
            .any(|note| note.contains("enabled: sleep: unsupported here:")),
        "{:?}",
        notes(&world)
    );
    world.runtime.finish().await;
    let audit_file = folder.path().join("one/audit.jsonl");
    let records: Vec<Record> = audit::read(&audit_file)
        .unwrap()
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    let place = |is: fn(&Record) -> bool| records.iter().position(is);
    let intent = place(|r| matches!(r, Record::Intent(_))).expect("an intent");
    let executed = place(|r| matches!(r, Record::Executed { error: None, .. })).expect("its execution");
    let settled = place(|r| matches!(r, Record::Settled(_))).expect("its verdict");
    let reverted = place(|r| matches!(r, Record::Reverted { error: None, .. })).expect("its revert");
    assert!(
        intent < executed && executed < settled && executed < reverted,
        "{records:#?}"
    );

    let program = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
            .args(words)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let file = audit_file.display().to_string();
    let (code, said, _) = program(&["audit", "verify", &file]);
    assert_eq!(code, Some(0), "{said}");
    let (_, told, _) = program(&["audit", "show", &file]);
    assert!(told.contains("tighten_admission against kv_preemption"), "{told}");
    let (code, _, error) = program(&["audit", "verify", "/no/such/audit"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("/no/such/audit") && !error.contains("settings"),
        "{error}"
    );
}

/// Relays to a server, but closes the connection of every second and later request that sets a lever. Returns its URL.
async fn relay_that_refuses_renewals(to: std::net::SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let set = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(to).await.unwrap();
            let set = Arc::clone(&set);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let requests = async {
                    let mut chunk = vec![0; 1 << 16];
                    while let Ok(n @ 1..) = from_client.read(&mut chunk).await {
                        if chunk[..n].starts_with(b"POST /v1/monitor/levers/")
                            && set.fetch_add(1, Ordering::Relaxed) > 0
                        {
                            return;
                        }
                        if to_server.write_all(&chunk[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = requests => {}
                    _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_is_published_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let url = relay_that_refuses_renewals(pressed.simulator.address()).await;
    let config = settings(folder.path(), "one", "");
    // What the lever does at once, so that it is a success and renewed.
    let refuses = r#"signal = "rejections_per_sec", change = "rises", by = 0.1, within_secs = 2"#;
    let (before, after) = ARMS.split_once("[[arm]]\nname = \"tighten_admission\"").unwrap();
    let after = after.replacen(
        r#"signal = "preemptions_per_sec", change = "falls", by = 0.1, within_secs = 2"#,
        refuses,
        1,
    );
    let arms = format!("{before}[[arm]]\nname = \"tighten_admission\"{after}");
    std::fs::write(folder.path().join("arms.toml"), arms).unwrap();
    let world = World::new(&Flags {
        config: Some(config),
        ..quick(&[&format!("t={url}")])
    })
    .await;
    until("the renewal", || {
        notes(&world)
            .iter()
            .any(|note| note.starts_with("tighten_admission could not be renewed"))
    })
    .await;
    let renewed = notes(&world)
        .into_iter()
        .filter(|note| note.contains("is renewed"))
        .collect::<Vec<_>>();
    assert!(renewed.is_empty(), "{renewed:?}");
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_it_only_reports_what_it_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "");
    let mut flags = flags(&pressed.simulator, config);
    flags.core.push(("enable_auto_mitigation".into(), "false".into()));
    let world = World::new(&flags).await;
    until("a suggestion", || {
        world
            .records()
            .iter()
            .any(|record| record["intent"]["action"] == "tighten_admission")
    })
    .await;
    assert_eq!(actions(&world), Vec::<Value>::new());
    assert!(!pressed.is_clamped().await);
    let status = world.status().await;
    assert_eq!(status["mitigation_in_progress"], false);
    assert_eq!(status["acting"]["why_not"], "the mode is observe");
    assert!(!folder.path().join("one").exists(), "nothing is written");
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_monitors_of_one_server_act_once() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let one = World::new(&flags(&pressed.simulator, settings(folder.path(), "one", ""))).await;
    // By another name, as another user may have it.
    let mut other = flags(&pressed.simulator, settings(folder.path(), "two", ""));
    other.targets[0].url = other.targets[0].url.replacen("t=", "u=", 1);
    let two = World::new(&other).await;
    let verdicts = |world: &World| {
        notes(world)
            .iter()
            .filter(|note| note.starts_with("tighten_admission against"))
            .count()
    };
    until("a verdict", || verdicts(&one) + verdicts(&two) > 0).await;
    // Both have seen the failure for as long as an action takes.
    for world in [&one, &two] {
        let steps = world.status().await["targets"][0]["steps"].as_u64().unwrap();
        world
            .until_status(0, "more steps", |t| t["steps"].as_u64() > Some(steps + 5))
            .await;
    }
    assert_eq!(actions(&one).len() + actions(&two).len(), 1);
    one.runtime.finish().await;
    two.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_need_the_token_and_the_kill_switch_stops_everything() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "");
    let stop = folder.path().join("one/stop");
    std::fs::create_dir(folder.path().join("one")).unwrap();
    std::fs::write(&stop, "").unwrap();
    let world = World::new(&flags(&pressed.simulator, config)).await;
    let json = "host: localhost\r\ncontent-type: application/json\r\n";
    let right = format!("{json}authorization: Bearer of-the-monitor\r\n");
    for path in ["/control/kill-switch", "/control/reset-breaker"] {
        let post = format!("POST {path}");
        let on = r#"{"on":true}"#;
        assert_eq!(world.ask(&post, json, on).await.0, 401, "{path}");
        let wrong = format!("{json}authorization: Bearer guess\r\n");
        assert_eq!(world.ask(&post, &wrong, on).await.0, 401, "{path}");
        let rebound = right.replace("localhost", "evil.example");
        assert_eq!(world.ask(&post, &rebound, on).await.0, 421, "{path}");
        for header in ["origin: http://evil.example", "sec-fetch-site: cross-site"] {
            let foreign = format!("{right}{header}\r\n");
            assert_eq!(world.ask(&post, &foreign, on).await.0, 403, "{path} {header}");
        }
    }
    // A failure that lasts, and nothing is done.
    world
        .until_status(0, "the failure", |target| {
            target["alerts"].to_string().contains("kv_preemption")
        })
        .await;
    let steps = world.status().await["targets"][0]["steps"].as_u64().unwrap();
    world
        .until_status(0, "more steps", |t| t["steps"].as_u64() > Some(steps + 10))
        .await;
    assert_eq!(actions(&world), Vec::<Value>::new());
    let status = world.status().await;
    assert_eq!(status["acting"]["why_not"], "the kill switch is on");
    let off = world
        .ask("POST /control/kill-switch", &right, r#"{"on":false}"#)
        .await;
    assert_eq!(off.0, 409, "the file still exists: {}", off.1);

    // Without the file it acts; the route then takes the action back.
    std::fs::remove_file(&stop).unwrap();
    pressed.until_clamped(true).await;
    assert_eq!(
        world
            .ask("POST /control/kill-switch", &right, r#"{"on":true}"#)
            .await
            .0,
        200
    );
    pressed.until_clamped(false).await;
    assert_eq!(world.ask("POST /control/reset-breaker", &right, "").await.0, 200);

    let (code, body) = world.get("/recommendations?target=t&failure=kv_preemption").await;
    assert_eq!(code, 200);
    let advice: Value = serde_json::from_str(&body).unwrap();
    let first = &advice["recommendations"][0]["actions"][0];
    assert_eq!(first["strategy"], "tighten_admission", "{advice:#}");
    assert!(first["confidence"].as_f64() > Some(0.9), "{advice:#}");
    let monitor = world.runtime.address().unwrap().to_string();
    let shown = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
            .args([
                "recommendations",
                "--failure",
                "kv_preemption",
                "--monitor",
                &monitor,
            ])
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("1. tighten_admission") && text.contains("kill switch"),
        "{text}"
    );
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_memory_trips_the_breaker() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "");
    std::fs::create_dir(folder.path().join("one")).unwrap();
    std::fs::write(folder.path().join("one/memory"), "rubbish").unwrap();
    let world = World::new(&flags(&pressed.simulator, config)).await;
    assert!(
        world.runtime.warnings()[0].contains("reset-breaker"),
        "{:?}",
        world.runtime.warnings()
    );
    let status = world.status().await;
    assert!(
        status["acting"]["breaker"].as_str().unwrap().contains("memory"),
        "{status:#}"
    );
    let right = "host: localhost\r\nauthorization: Bearer of-the-monitor\r\n";
    assert_eq!(world.ask("POST /control/reset-breaker", right, "").await.0, 200);
    assert_eq!(world.status().await["acting"]["acts"], true);
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_that_is_not_saved_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "");
    let memory = folder.path().join("one/memory");
    std::fs::create_dir(folder.path().join("one")).unwrap();
    std::fs::write(&memory, "rubbish").unwrap();
    let world = World::new(&flags(&pressed.simulator, config)).await;
    // A folder with contents in the file's place: nothing can be renamed onto it, not even by root.
    if memory.is_file() {
        std::fs::remove_file(&memory).unwrap();
    }
    std::fs::create_dir_all(memory.join("occupied")).unwrap();
    let right = "host: localhost\r\nauthorization: Bearer of-the-monitor\r\n";
    let (status, body) = world.ask("POST /control/reset-breaker", right, "").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("until the next restart only"), "{body}");
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clamp_of_a_killed_monitor_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let pressed = Pressed::new();
    let config = settings(folder.path(), "one", "").display().to_string();
    let mut monitor = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
        .args(["attach", "--no-gpus", "--interval-secs", "0.2", "--listen", "off"])
        .args(["--state-file", "off", "--log-file", "off", "--config", &config])
        .args(["--url", &pressed.simulator.url()])
        .spawn()
        .unwrap();
    pressed.until_clamped(true).await;
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    pressed.until_clamped(false).await;
    let records = audit::read(&folder.path().join("one/audit.jsonl")).unwrap();
    assert!(
        !records
            .iter()
            .any(|(_, record)| matches!(record, Record::Reverted { .. })),
        "the engine restored it, not the monitor"
    );
}

/// A monitor with its server. A test that fails leaves neither behind.
struct Supervised(std::process::Child);

impl Supervised {
    fn tell(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Asks it to stop and returns its exit status.
    fn stop(mut self) -> Option<i32> {
        self.term();
        self.0.wait().unwrap().code()
    }

    fn term(&self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _gone = kill(pid, Signal::SIGTERM);
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let begun = Instant::now();
        self.term();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A supervised server on which `restart` is enabled: the monitor with its log, and the server's port.
fn supervised(folder: &Path, more: &[&str]) -> (Supervised, PathBuf, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let log = folder.join("events.jsonl");
    let server = std::env::current_exe().unwrap();
    let server = server
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/simulated_server");
    let child = Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
        .args(["run", "--no-gpus", "--listen", "off", "--interval-secs", "0.2"])
        .args([
            "--allow-action",
            "restart",
            "--set",
            "enable_auto_mitigation=true",
        ])
        .args([
            "--set",
            "prestartup_check=false",
            "--set",
            "parameters.hang.floor_secs=1",
        ])
        .args([
            "--set",
            "parameters.hang.untaught_secs=2",
            "--set",
            "parameters.hang.grace_secs=0",
        ])
        .arg("--state-file")
        .arg(folder.join("state"))
        .arg("--log-file")
        .arg(&log)
        .arg("--")
        .arg(server)
        .args(["serve", "simulated-8b", "--port", &port.to_string()])
        .args(more)
        .env("XDG_STATE_HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (Supervised(child), log, port)
}

fn count(log: &Path, text: &str) -> usize {
    std::fs::read_to_string(log).map_or(0, |all| all.matches(text).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_restarted_and_serves_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut monitor, log, port) = supervised(folder.path(), &["--slow"]);
    until("the server", || count(&log, "\"to\":\"READY\"") == 1).await;
    let url = format!("http://127.0.0.1:{port}");
    // One runs, the others wait.
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { complete(&url, 1500).await })
        })
        .collect();
    until("work", || count(&log, "\"to\":\"SERVING\"") > 0).await;
    monitor.tell("hang");
    until("the restart", || count(&log, "\"action\":\"restart\"") > 0).await;
    for request in waiting {
        request.await.unwrap();
    }
    until("the next server", || {
        count(&log, "\"from\":\"LOADING_MODEL\"") > 1
    })
    .await;
    assert!(complete(&url, 2).await.contains("200 OK"));
    assert_eq!(monitor.stop(), Some(0));
    let told = audit::tell(&audit::read(&folder.path().join("state-acting/audit.jsonl")).unwrap());
    assert!(
        told.iter().any(|line| line.contains("restart against hang")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_with_code_0_is_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut monitor, log, port) = supervised(folder.path(), &[]);
    until("the server", || count(&log, "\"to\":\"READY\"") == 1).await;
    monitor.tell("exit 0");
    until("the next server", || {
        count(&log, "\"from\":\"LOADING_MODEL\"") > 1
    })
    .await;
    assert!(
        complete(&format!("http://127.0.0.1:{port}"), 2)
            .await
            .contains("200 OK")
    );
    assert_eq!(monitor.stop(), Some(0));
    let told = audit::tell(&audit::read(&folder.path().join("state-acting/audit.jsonl")).unwrap());
    assert!(told.iter().any(|line| line.contains("code 0")), "{told:?}");
}
