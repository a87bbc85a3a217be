//! Many endpoints on one core. A responder on one core serves a vLLM page at the given number of addresses,
//! and a collector on another scrapes them all once a second: ours and, where installed, Debian's
//! `prometheus` and `vmagent`, one after the other, measured the same way.
//!
//! `cargo run --release -p benches --bin fleet [ENDPOINTS] [SECONDS]`, by default 1000 and 20. One line per
//! collector: `name<TAB>value<TAB>unit<TAB>context`; SKIPPED with the reason where one is missing.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use benches::serving::pin_self;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use vllm_metrics::{EndpointConfig, EndpointReport, Session};

/// Cores of the collector and of the responder.
const COLLECTOR_CORE: &str = "0";
const RESPONDER_CORE: &str = "1";
/// Time for a collector to start, connect to every endpoint and read every series once.
const WARM_UP: Duration = Duration::from_secs(8);

fn main() -> Result<()> {
    // One connection per endpoint, in each process.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, port, endpoints, seconds, dir] = &args[..]
        && word == "collect"
    {
        return collect(port, endpoints.parse()?, seconds.parse()?, Path::new(dir));
    }
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (endpoints, seconds) = (number(0, 1000)?, number(1, 20)?);
    pin_self(RESPONDER_CORE)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let dir = tempfile::tempdir()?;
    runtime.block_on(async {
        let responder = Responder::start().await?;
        for name in ["ours", "prometheus", "vmagent"] {
            let line = match measure(name, &responder, endpoints, seconds, dir.path()).await {
                Ok(line) => line,
                Err(reason) => format!("fleet_{name}\tSKIPPED\t\t{reason:#}"),
            };
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(())
    })
}

/// Runs a session of ours as a separate process that scrapes and prints its own counters.
fn collect(port: &str, endpoints: u64, seconds: u64, dir: &Path) -> Result<()> {
    let mut builder = Session::builder()
        .interval(Duration::from_secs(1))
        .output_dir(dir)
        .raw_only();
    for n in 0..endpoints {
        builder = builder.endpoint(EndpointConfig::new(format!(
            "http://127.0.0.1:{port}/e{n}/metrics"
        )));
    }
    let session = builder.start()?;
    let whole = Duration::from_secs(seconds);
    std::thread::sleep(WARM_UP.min(whole));
    let warm = Lost::of(&session.endpoints());
    std::thread::sleep(whole.saturating_sub(WARM_UP));
    let scraped = Lost::of(&session.endpoints());
    let run = session.finish()?;
    let all = Lost::of(&run.endpoints);
    writeln!(
        std::io::stdout(),
        "{} missed ticks and {} failed scrapes after warming up ({} and {} before it, {} and {} at the end), \
         {} samples dropped, {:.1} ms mean scrape, {:.0} us mean parse",
        scraped.ticks - warm.ticks,
        scraped.scrapes - warm.scrapes,
        warm.ticks,
        warm.scrapes,
        all.ticks - scraped.ticks,
        all.scrapes - scraped.scrapes,
        run.missing.dropped.samples,
        run.cost.mean_fetch.unwrap_or_default().as_secs_f64() * 1e3,
        run.cost.mean_parse.unwrap_or_default().as_secs_f64() * 1e6,
    )?;
    Ok(())
}

/// The losses of all endpoints together.
struct Lost {
    ticks: u64,
    scrapes: u64,
}

impl Lost {
    fn of(endpoints: &[EndpointReport]) -> Self {
        Self {
            ticks: endpoints.iter().map(|endpoint| endpoint.missed_ticks).sum(),
            scrapes: endpoints.iter().map(|endpoint| endpoint.failed_scrapes).sum(),
        }
    }
}

/// Starts one collector, lets it warm up, and reads its CPU time and the responder's count at both ends of an
/// interval.
async fn measure(
    name: &str,
    responder: &Responder,
    endpoints: u64,
    seconds: u64,
    dir: &Path,
) -> Result<String> {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let mut collector = Collector::start(name, responder.port, endpoints, seconds, &dir)?;
    tokio::time::sleep(WARM_UP).await;
    if let Some(status) = collector.child.try_wait()? {
        bail!("{name} ended at once with {status}");
    }
    let (cpu_before, served_before) = (collector.cpu_seconds()?, responder.served());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (cpu_after, served_after) = (collector.cpu_seconds()?, responder.served());
    let peak_mib = collector.peak_bytes()? as f64 / f64::from(1 << 20);
    let own_words = collector.finish().await?;
    let scrapes = served_after - served_before;
    let samples = scrapes as f64 * responder.samples as f64;
    if scrapes == 0 {
        bail!("{name} scraped nothing");
    }
    let per_million = (cpu_after - cpu_before) / (samples / 1e6);
    Ok(format!(
        "fleet_{name}_cpu_s_per_million_samples\t{per_million:.4}\ts\t{endpoints} endpoints at 1 Hz on one core for \
         {seconds} s: {scrapes} of {} scrapes, core busy {:.0} %, peak {peak_mib:.0} MiB; {own_words}",
        endpoints * seconds,
        100.0 * (cpu_after - cpu_before) / seconds as f64,
    ))
}

/// A collector's process; killed when dropped.
struct Collector {
    child: Child,
    is_ours: bool,
}

impl Collector {
    fn start(name: &str, port: u16, endpoints: u64, seconds: u64, dir: &Path) -> Result<Self> {
        let program = if name == "ours" {
            std::env::current_exe()?
        } else {
            name.into()
        };
        let mut command = Command::new("taskset");
        command.args(["-c", COLLECTOR_CORE]).arg(&program);
        if name == "ours" {
            let lasts = WARM_UP.as_secs() + seconds + 2;
            command
                .args([
                    "collect",
                    &port.to_string(),
                    &endpoints.to_string(),
                    &lasts.to_string(),
                ])
                .arg(dir);
        } else {
            let found = Command::new("which").arg(name).stdout(Stdio::null()).status()?;
            if !found.success() {
                bail!("{name} IS NOT INSTALLED (Debian has it)");
            }
            let config = dir.join("scrape.yml");
            std::fs::write(&config, scrape_config(port, endpoints))?;
            if name == "prometheus" {
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
                    .arg("--web.listen-address=127.0.0.1:0");
            } else {
                command
                    .arg(format!("-promscrape.config={}", config.display()))
                    .arg(format!("-remoteWrite.url=http://127.0.0.1:{port}/write"))
                    .arg(format!("-remoteWrite.tmpDataPath={}", dir.join("data").display()))
                    .arg("-httpListenAddr=127.0.0.1:0");
            }
        }
        let child = command
            .stdout(if name == "ours" {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stderr(Stdio::null())
            .spawn()
            .context("taskset cannot be started")?;
        Ok(Self {
            child,
            is_ours: name == "ours",
        })
    }

    /// User and system time so far; by then the collector has replaced `taskset`.
    fn cpu_seconds(&self) -> Result<f64> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit_once(')').context("no process name in stat")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|text| text.parse::<f64>().ok())
                .context("stat is short")
        };
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("no VmHWM")?;
        let kib: u64 = line
            .split_whitespace()
            .next()
            .context("VmHWM without a number")?
            .parse()?;
        Ok(kib * 1024)
    }

    /// Its own report; only our collector prints one and exits by itself.
    async fn finish(mut self) -> Result<String> {
        if !self.is_ours {
            return Ok("counted by the responder".into());
        }
        let Some(mut stdout) = self.child.stdout.take() else {
            bail!("no output")
        };
        let said = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut stdout, &mut said).map(|_| said)
        });
        Ok(said.await??.trim().to_owned())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scrape_config(port: u16, endpoints: u64) -> String {
    let mut config = String::from("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n");
    for n in 0..endpoints {
        config.push_str(&format!(
            "- job_name: e{n}\n  metrics_path: /e{n}/metrics\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
        ));
    }
    config
}

/// Serves the same page for every request, and discards what is posted.
struct Responder {
    port: u16,
    samples: usize,
    served: Arc<AtomicU64>,
}

impl Responder {
    async fn start() -> Result<Self> {
        let page = benches::exposition::page();
        let samples = benches::exposition::ours(&page).0;
        let answer = Arc::new(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{page}",
            page.len()
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let served = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&served);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, counter) = (Arc::clone(&answer), Arc::clone(&counter));
                // A broken connection is the collector's concern.
                tokio::spawn(async move { drop(serve(stream, &answer, &counter).await) });
            }
        });
        Ok(Self {
            port,
            samples,
            served,
        })
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

async fn serve(stream: tokio::net::TcpStream, answer: &str, served: &AtomicU64) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut body = Vec::new();
    loop {
        let (mut is_post, mut length) = (false, 0);
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            is_post |= line.starts_with("POST ");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        if is_post {
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await?;
        } else {
            stream.get_mut().write_all(answer.as_bytes()).await?;
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}
