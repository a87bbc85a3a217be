//! Faults of the network, of GPUs, and of the monitor itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vllm_monitor_cli::state_keeper::StateKeeper;

use crate::world::{World, quick, simulator};

/// What a proxy does to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    Delay,
    Reset,
    Truncate,
    Drip,
}

/// Bytes of an answer that pass before it is cut short or drips.
const BEFORE: usize = 600;

/// A TCP proxy in front of a server.
struct Proxy {
    url: String,
    fault: Arc<AtomicU8>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn new(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fault = Arc::new(AtomicU8::new(Fault::None as u8));
        let task = tokio::spawn({
            let fault = Arc::clone(&fault);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, server, fault.load(Ordering::Relaxed)));
                }
            }
        });
        Self { url, fault, task }
    }

    fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, server: std::net::SocketAddr, fault: u8) {
    let is = |wanted: Fault| fault == wanted as u8;
    if is(Fault::Reset) {
        client.set_zero_linger().unwrap();
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let mut request = vec![0; 8192];
    let Ok(read) = client.read(&mut request).await else {
        return;
    };
    if server.write_all(&request[..read]).await.is_err() {
        return;
    }
    let mut answer = Vec::new();
    if server.read_to_end(&mut answer).await.is_err() {
        return;
    }
    if is(Fault::Delay) {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let until = if is(Fault::Truncate) || is(Fault::Drip) {
        answer.len().min(BEFORE)
    } else {
        answer.len()
    };
    let _gone = client.write_all(&answer[..until]).await;
    if is(Fault::Drip) {
        for byte in &answer[until..] {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if client.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    }
    let _gone = client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_network_are_named_and_are_no_failure_of_the_engine() {
    let simulator = simulator();
    let proxy = Proxy::new(simulator.address()).await;
    let mut flags = quick(&[&format!("n={}", proxy.url)]);
    flags
        .core
        .push(("parameters.network.fault_secs".into(), "2".into()));
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    world
        .until_status(0, "enough probes", |target| target["steps"].as_u64() > Some(20))
        .await;
    for fault in [Fault::Reset, Fault::Truncate, Fault::Drip] {
        proxy.set(fault);
        let target = world.until_state(0, "DEGRADED").await;
        let named = world
            .until_status(0, &format!("{fault:?} named"), |target| {
                target["alerts"].to_string().contains("network")
            })
            .await;
        assert_ne!(target["state"], "ERROR", "{fault:?}: {named:#}");
        proxy.set(Fault::None);
        world.until("/readyz", 200).await;
        world
            .until_status(0, "recovery", |target| {
                target["state"] == "READY" || target["state"] == "SERVING"
            })
            .await;
    }
    proxy.set(Fault::Delay);
    let steps = world.status().await["targets"][0]["steps"].as_u64().unwrap();
    world
        .until_status(0, "some time", |target| {
            target["steps"].as_u64() > Some(steps + 20)
        })
        .await;
    assert!(
        !world.path("n").contains(&"ERROR".to_owned()),
        "{:?}",
        world.path("n")
    );
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xid_is_named_with_what_to_do_and_a_lost_gpu_too() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "{}xid 3 48\n{}lost 4\n",
        fake_nvml::data_centre_gpu(0),
        fake_nvml::data_centre_gpu(1)
    );
    let library = fake_nvml::install(folder.path(), &script).unwrap();
    let mut flags = quick(&[&format!("g={}", simulator.url())]);
    flags.targets[0].gpus = None;
    flags.nvml_library = Some(library);
    let world = World::new(&flags).await;
    let target = world
        .until_status(0, "the XID", |target| {
            let said = hardware(target).to_string();
            said.contains("XID 48") || said.contains("48")
        })
        .await;
    assert!(hardware(&target)["advice"].is_string(), "{target:#}");
    world
        .until_status(0, "the lost GPU", |target| {
            hardware(target)
                .to_string()
                .contains("GPU 1: the driver no longer finds it")
        })
        .await;
    world.runtime.finish().await;
}

/// The present condition of the hardware.
fn hardware(target: &serde_json::Value) -> &serde_json::Value {
    target["assessments"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pair| pair[0] == "hardware")
        .map_or(&serde_json::Value::Null, |pair| &pair[1]["condition"])
}

fn modified(path: &std::path::Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}

fn has_target(path: &std::path::Path, name: &str) -> bool {
    std::fs::read(path)
        .ok()
        .and_then(|bytes| vllm_monitor::state::decode(&bytes).ok())
        .is_some_and(|saved| saved.targets.contains_key(name))
}

/// Times that the monitor is killed.
const KILLS: u32 = 30;

#[test]
fn the_state_survives_kill_9_at_any_moment() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let log = folder.path().join("events.jsonl");
    let mut learned = 0;
    for kill in 0..KILLS {
        let mut monitor = std::process::Command::new(env!("CARGO_BIN_EXE_vllm-monitor"))
            .args(["attach", "--listen", "off", "--no-gpus", "--interval-secs", "0.1"])
            .args(["--url", &format!("k={}", simulator.url())])
            .args(["--set", "log_level=debug", "--save-interval-secs", "0.05"])
            .arg("--state-file")
            .arg(&state)
            .arg("--log-file")
            .arg(&log)
            .spawn()
            .unwrap();
        // Until it has saved once, or nothing can be lost; then somewhere within a save or between two.
        let before = modified(&state);
        let begun = std::time::Instant::now();
        let is_saved = || modified(&state) != before && has_target(&state, "k");
        while !is_saved() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is saved");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(u64::from(kill) * 1931));
        monitor.kill().unwrap();
        monitor.wait().unwrap();

        let opened = StateKeeper::open(Some(&state));
        assert_eq!(opened.warning, None, "kill {kill}");
        if opened.state.target("k").is_some() {
            learned += 1;
        }
    }
    assert_eq!(learned, KILLS, "every start took over what was learned");
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    // The server was never touched.
    assert_eq!(simulator.fault_hits().len(), 0);
}
