//! What it costs to record one idle server, and what hooks cost during a run.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vllm_metrics::{Completed, EndpointConfig, Hooks, Session};

use crate::Figure;

/// Settling time before the measured interval, and its length.
const SETTLE: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(30);
/// Clock ticks per second in `/proc/*/stat`; fixed by Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// `recorder_cpu_share_1s` and `recorder_wakeups_per_s`: a session that scrapes one server each second and
/// does nothing else. The server and the rest of this process are not counted. Debian's `prometheus` is
/// measured on the same page where it is installed.
///
/// # Panics
/// If the session cannot be started or finished.
pub fn at_rest(page: &str) -> Vec<Figure> {
    let server = serve(page);
    let dir = tempfile::tempdir().expect("a folder for the run");
    let session = Session::builder()
        .endpoint(EndpointConfig::new(format!("http://{server}")))
        .interval(Duration::from_secs(1))
        .output_dir(dir.path())
        .start()
        .expect("the session starts");
    thread::sleep(SETTLE);
    let (before, start) = (Cost::of_session(), Instant::now());
    thread::sleep(MEASURED);
    let (after, seconds) = (Cost::of_session(), start.elapsed().as_secs_f64());
    let run = session.finish().expect("the session finishes");
    let share = (after.cpu_secs - before.cpu_secs) / seconds;
    let wakeups = (after.wakeups - before.wakeups) as f64 / seconds;
    let context = match prometheus(server, dir.path()) {
        Ok(share) => format!("prometheus on the same page: {share:.4} of a core"),
        Err(why) => format!("prometheus SKIPPED: {why}"),
    };
    let input = format!("{} series each second for {seconds:.0} s", run.cost.series);
    vec![
        Figure {
            name: "recorder_cpu_share_1s",
            value: Some(share),
            unit: "cores",
            context: format!("{input}; {context}"),
        },
        Figure {
            name: "recorder_wakeups_per_s",
            value: Some(wakeups),
            unit: "1/s",
            context: format!(
                "voluntary context switches of the collector's and the writer's thread; {input}"
            ),
        },
    ]
}

/// `run_hook_p50_ns` and `run_hook_p99_ns`: hooks as a run calls them, from many threads that do other work
/// between calls, while the session scrapes and writes.
///
/// # Panics
/// If the session cannot be started or finished.
pub fn in_a_run(page: &str) -> Vec<Figure> {
    const THREADS: u64 = 32;
    const LENGTH: Duration = Duration::from_secs(10);
    let server = serve(page);
    let dir = tempfile::tempdir().expect("a folder for the run");
    let session = Session::builder()
        .endpoint(EndpointConfig::new(format!("http://{server}")))
        .output_dir(dir.path())
        .start()
        .expect("the session starts");
    let next = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + LENGTH;
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (hooks, next) = (session.hooks(), Arc::clone(&next));
            thread::spawn(move || {
                while Instant::now() < until {
                    request(&hooks, next.fetch_add(1, Ordering::Relaxed));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker ends");
    }
    let run = session.finish().expect("the session finishes");
    let calls = 4 * next.load(Ordering::Relaxed);
    let context = format!(
        "{calls} calls from {THREADS} threads in {LENGTH:?}, one in 8 of a thread's first 512 and one in 64 after them timed, clock reading included"
    );
    let dropped = run.missing.dropped_hook_calls;
    assert_eq!(dropped, 0, "no call is dropped at this rate");
    let figure = |name, ns: Option<u32>| Figure {
        name,
        value: ns.map(f64::from),
        unit: "ns",
        context: context.clone(),
    };
    vec![
        figure("run_hook_p50_ns", run.cost.hook_p50_ns),
        figure("run_hook_p99_ns", run.cost.hook_p99_ns),
    ]
}

/// One request of a run: the calls of a worker, with network waits and memory traffic in between.
fn request(hooks: &Hooks, id: u64) {
    let mut body = vec![0u8; 16 << 10];
    let mut work = |byte: u8| {
        body.fill(byte);
        std::hint::black_box(&body);
        thread::sleep(Duration::from_millis(1));
    };
    hooks.request_issued(id, id, None, None);
    work(1);
    hooks.request_sent(id);
    work(2);
    hooks.first_token(id);
    work(3);
    hooks.request_completed(id, Completed::tokens(128));
}

/// CPU time and wake-ups of some threads.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu_secs: f64,
    wakeups: u64,
}

impl Cost {
    /// Of the session's threads in this process.
    fn of_session() -> Self {
        let mut cost = Self::default();
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            if !read("comm").starts_with("metrics-") {
                continue;
            }
            // Nanoseconds of CPU time.
            let on_cpu = read("schedstat");
            let ns: f64 = on_cpu
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0);
            cost.cpu_secs += ns / 1e9;
            cost.wakeups += read("status")
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .and_then(|text| text.trim().parse::<u64>().ok())
                .unwrap_or(0);
        }
        cost
    }
}

/// Serves `page` for ever, over connections that stay open.
fn serve(page: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a bound port has an address");
    let reply: Arc<[u8]> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
    .into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let reply = Arc::clone(&reply);
            thread::spawn(move || {
                let mut writer = stream.try_clone().ok()?;
                let mut line = String::new();
                let mut reader = BufReader::new(stream);
                loop {
                    line.clear();
                    if reader.read_line(&mut line).ok()? == 0 {
                        return None::<()>;
                    }
                    if line == "\r\n" {
                        writer.write_all(&reply).ok()?;
                    }
                }
            });
        }
    });
    address
}

/// CPU share of a Prometheus that scrapes `server` each second, or the reason why it was not measured.
fn prometheus(server: SocketAddr, dir: &Path) -> Result<f64, String> {
    let config = dir.join("prometheus.yml");
    let text = format!(
        "scrape_configs:\n  - job_name: vllm\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs:\n      - targets: ['{server}']\n"
    );
    fs::write(&config, text).map_err(|error| error.to_string())?;
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("prometheus").display()
        ))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Ended(child.map_err(|error| format!("cannot start `prometheus`: {error}"))?);
    thread::sleep(SETTLE + SETTLE);
    let (before, start) = (process_cpu_secs(child.0.id())?, Instant::now());
    thread::sleep(MEASURED);
    let after = process_cpu_secs(child.0.id())?;
    match child.0.try_wait() {
        Ok(None) => Ok((after - before) / start.elapsed().as_secs_f64()),
        Ok(Some(status)) => Err(format!("it ended early: {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Killed when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn process_cpu_secs(pid: u32) -> Result<f64, String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    // The name may contain spaces; the fields after its closing bracket do not.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err("its times could not be read".into()),
    }
}
