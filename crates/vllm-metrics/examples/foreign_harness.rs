//! A harness unrelated to MLPerf, recorded by a session: a toy server answers requests on four threads, and
//! the run's files can be read by any tool.
//!
//! `cargo run -p vllm-metrics --example foreign_harness [URL]` records the toy load and scrapes the server at
//! the URL meanwhile, or the toy server without a URL.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vllm_metrics::{Completed, EndpointConfig, Session};

const REQUESTS: u64 = 200;
const WORKERS: u64 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokens = Arc::new(AtomicU64::new(0));
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => toy_server(Arc::clone(&tokens))?,
    };
    let dir = std::env::temp_dir().join(format!("foreign_harness_{}", std::process::id()));

    // The ten lines that a harness needs.
    let session = Session::builder()
        .endpoint(EndpointConfig::new(url))
        .interval(Duration::from_millis(100))
        .output_dir(&dir)
        .serve("127.0.0.1:0".parse()?)
        .simulated(true)
        .start()?;
    let hooks = session.hooks();
    hooks.model_loaded();
    // Counters start exactly here, before any load.
    session.scrape_now(session.longest_timeout());
    hooks.phase("performance");
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (hooks, tokens) = (hooks.clone(), Arc::clone(&tokens));
            scope.spawn(move || {
                hooks.batch_issued(worker, (REQUESTS / WORKERS) as u32);
                for n in 0..REQUESTS / WORKERS {
                    let id = worker * REQUESTS + n;
                    hooks.request_issued(id, n, Some(worker), None);
                    hooks.request_sent(id);
                    // A real harness would wait for its server here.
                    std::thread::sleep(Duration::from_millis(2));
                    hooks.first_token(id);
                    tokens.fetch_add(16, Ordering::Relaxed);
                    hooks.request_completed(id, Completed::tokens(16));
                }
                hooks.batch_completed(worker);
            });
        }
    });
    hooks.test_completed();
    let run = session.finish()?;

    let mut out = std::io::stdout().lock();
    writeln!(out, "samples   {}", run.samples_path.display())?;
    writeln!(
        out,
        "derived   {}",
        run.processed_path.as_deref().unwrap_or(&dir).display()
    )?;
    let data = vllm_metrics::read_run(&run.samples_path)?;
    let answered: u64 = data
        .requests
        .iter()
        .filter_map(|row| row.output_tokens)
        .map(u64::from)
        .sum();
    writeln!(out, "requests  {} with {answered} tokens", data.requests.len())?;
    for series in data
        .series
        .iter()
        .filter(|series| &*series.def.metric_name == "vllm:generation_tokens_total")
    {
        let (first, last) = (
            series.values.first().unwrap_or(&0.0),
            series.values.last().unwrap_or(&0.0),
        );
        writeln!(
            out,
            "server    {} tokens in {} scrapes",
            last - first,
            series.values.len()
        )?;
    }
    let cost = &run.cost;
    writeln!(
        out,
        "cost      hook p50 {:?} ns, p99 {:?} ns",
        cost.hook_p50_ns, cost.hook_p99_ns
    )?;
    writeln!(
        out,
        "          scrape {:?}, parse {:?}",
        cost.mean_fetch, cost.mean_parse
    )?;
    writeln!(out, "missing   {:?}", run.missing)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Serves one counter at `/metrics`, on a port that the system chooses.
fn toy_server(tokens: Arc<AtomicU64>) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tokens = Arc::clone(&tokens);
            std::thread::spawn(move || answer(&stream, &tokens));
        }
    });
    Ok(url)
}

fn answer(stream: &TcpStream, tokens: &AtomicU64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            let page = format!(
                "# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{{engine=\"0\"}} {}\n",
                tokens.load(Ordering::Relaxed)
            );
            write!(
                &*stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            )?;
        }
    }
    Ok(())
}
