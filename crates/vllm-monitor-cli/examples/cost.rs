//! What observing costs: CPU time, memory and missed ticks of `vllm-monitor attach` with many targets.
//!
//! ```text
//! cargo build --release -p vllm-monitor-cli
//! cargo run --release -p vllm-monitor-cli --example cost -- TARGETS SECONDS
//! ```
//!
//! All targets are one simulated server under light load, so each page is as long as a real one of vLLM. The monitor is a
//! process of its own: what the simulator takes is not counted. The first half of the time warms up.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use vllm_sim::{EngineConfig, SimConfig, Simulator};

/// Clock ticks of `/proc` per second, the same on every Linux of today.
const TICKS: f64 = 100.0;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

struct Cost {
    cpu_secs: f64,
    resident_bytes: f64,
}

fn cost(pid: u32) -> Result<Cost, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat[stat.rfind(')').ok_or("stat")? + 2..].split(' ').collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("VmRSS")?;
    Ok(Cost {
        cpu_secs: (fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS,
        resident_bytes: resident.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0,
    })
}

/// The values of one metric on the monitor's page.
fn values(port: u16, name: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let values = page
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.collect())
}

/// The sum of a counter over all targets.
fn counter(port: u16, name: &str) -> Result<f64, Box<dyn Error>> {
    Ok(values(port, name)?.iter().sum())
}

/// This machine's address towards others. Connecting a datagram socket sends nothing.
fn own_address() -> Result<std::net::IpAddr, Box<dyn Error>> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9")?;
    Ok(socket.local_addr()?.ip())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let targets: u32 = arguments.next().unwrap_or("300".into()).parse()?;
    let secs: f64 = arguments.next().unwrap_or("60".into()).parse()?;
    let simulator = Simulator::start(SimConfig {
        listen: "0.0.0.0:0".parse()?,
        engine: EngineConfig::tiny_cpu(),
        ..SimConfig::default()
    })?;
    // By an address other than loopback, targets are as on other machines: their processes and GPUs are not read.
    let address = std::net::SocketAddr::new(own_address()?, simulator.address().port());
    let mut config = String::from("state_file = \"off\"\nlog_file = \"off\"\n");
    for n in 0..targets {
        writeln!(config, "[[target]]\nname = \"t{n}\"\nurl = \"http://{address}\"")?;
    }
    let path = std::env::temp_dir().join(format!("vllm-monitor-cost-{}.toml", std::process::id()));
    std::fs::write(&path, config)?;
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.local_addr()?.port()
    };
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no folder")?;
    let monitor = Command::new(folder.join("vllm-monitor"))
        .args(["attach", "--listen", &port.to_string(), "--config"])
        .arg(&path)
        .spawn()?;
    let monitor = Killed(monitor);
    let half = Duration::from_secs_f64(secs / 2.0);
    std::thread::sleep(half);
    let (before, begun) = (cost(monitor.0.id())?, Instant::now());
    let (steps_before, pages_before, missed_before) = (
        counter(port, "vllm:monitor_target_steps_total")?,
        counter(port, "vllm:monitor_pages_total")?,
        counter(port, "vllm:monitor_missed_ticks_total")?,
    );
    let mut ages = Vec::new();
    while begun.elapsed() < half {
        std::thread::sleep(Duration::from_secs(5).min(half.saturating_sub(begun.elapsed())));
        ages.extend(values(port, "vllm:monitor_metrics_age_seconds{")?);
    }
    let (after, elapsed) = (cost(monitor.0.id())?, begun.elapsed().as_secs_f64());
    let steps = counter(port, "vllm:monitor_target_steps_total")? - steps_before;
    let pages = counter(port, "vllm:monitor_pages_total")? - pages_before;
    let missed = counter(port, "vllm:monitor_missed_ticks_total")? - missed_before;
    let cores = (after.cpu_secs - before.cpu_secs) / elapsed;
    println!("{targets} targets (SIMULATED server), {elapsed:.0} s, one snapshot a second each");
    println!(
        "CPU: {:.3} cores in all, {:.4} % of a core per target",
        cores,
        100.0 * cores / f64::from(targets)
    );
    println!(
        "memory: {:.1} MB, {:+.1} MB over the time",
        after.resident_bytes / 1e6,
        (after.resident_bytes - before.resident_bytes) / 1e6
    );
    ages.sort_by(f64::total_cmp);
    if let Some(oldest) = ages.last() {
        let middle = ages[ages.len() / 2];
        println!("age of the page at an evaluation: median {middle:.2} s, oldest {oldest:.2} s");
    }
    println!("evaluations: {steps:.0}, pages read: {pages:.0}, missed ticks: {missed:.0}");
    std::fs::remove_file(path)?;
    Ok(())
}
