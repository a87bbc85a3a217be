//! What a screen costs: CPU time and bytes of a run that is drawn four times a second, in simulated time.
//!
//! ```text
//! cargo run --release -p run-terminal --example cost
//! ```
//!
//! Every second brings a scrape of four engines with their histograms, and 50 finished requests. The time is that of
//! applying the records, computing the figures and drawing; waiting for keys is not part of it.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use run_analysis::view::LiveView;
use run_model::{MetricType, Outcome, Record, RequestRow, Sample, SampleBatch, SeriesDef, SeriesId};
use run_terminal::{History, SceneStyle, Snapshot, Status, draw};

const S: i64 = 1_000_000_000;
const SECONDS: i64 = 600;
const PICTURES: u32 = 4;
const REQUESTS: i64 = 50;

/// Counts what is written.
struct Counted(Arc<AtomicU64>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn definitions() -> Vec<SeriesDef> {
    let mut all = Vec::new();
    for engine in 0..4 {
        let url = format!("http://10.0.0.{engine}:8000/metrics");
        let mut add = |name: &str, labels: &str, metric_type| {
            all.push(SeriesDef {
                metric_name: name.into(),
                labels: labels.into(),
                metric_type,
                unit: "".into(),
                source: "prometheus".into(),
                endpoint_url: url.as_str().into(),
            });
        };
        for name in [
            "num_requests_running",
            "num_requests_waiting",
            "kv_cache_usage_perc",
        ] {
            add(&format!("vllm:{name}"), "{}", MetricType::Gauge);
        }
        for name in [
            "generation_tokens_total",
            "prompt_tokens_total",
            "num_preemptions_total",
        ] {
            add(&format!("vllm:{name}"), "{}", MetricType::Counter);
        }
        for family in [
            "time_to_first_token_seconds",
            "inter_token_latency_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
            "request_prefill_time_seconds",
            "request_decode_time_seconds",
        ] {
            let bucket = format!("vllm:{family}_bucket");
            for le in 0..22 {
                let labels = format!(r#"{{"le":"{}"}}"#, f64::from(le) / 10.0);
                add(&bucket, &labels, MetricType::Histogram);
            }
            add(&bucket, r#"{"le":"+Inf"}"#, MetricType::Histogram);
            add(&format!("vllm:{family}_sum"), "{}", MetricType::Histogram);
            add(&format!("vllm:{family}_count"), "{}", MetricType::Histogram);
        }
        for other in 0..9 {
            add(&format!("other_{other}_total"), "{}", MetricType::Counter);
        }
    }
    all
}

fn second(view: &mut LiveView, series: usize, second: i64) {
    let at_ns = second * S;
    let samples = (0..series).map(|id| Sample {
        series: SeriesId(id as u32),
        timestamp_ns: at_ns,
        value: (second * (1 + id as i64 % 50)) as f64,
    });
    view.apply(&Record::Samples(Arc::new(SampleBatch {
        start_ns: at_ns,
        end_ns: at_ns,
        phase: "performance".into(),
        samples: samples.collect(),
    })));
    for request in 0..REQUESTS {
        let done_ns = at_ns + request * (S / REQUESTS);
        view.apply(&Record::Request(RequestRow {
            request_id: (second * REQUESTS + request) as u64,
            sample_index: 0,
            batch_id: None,
            endpoint: 0,
            scheduled_ns: None,
            issued_ns: done_ns - 9 * S,
            sent_ns: Some(done_ns - 9 * S),
            first_token_ns: Some(done_ns - 8 * S),
            done_ns: Some(done_ns),
            prompt_tokens: Some(500),
            output_tokens: Some(128),
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            server_time_source: None,
            outcome: Outcome::Completed,
            reason: None,
        }));
    }
}

fn main() -> io::Result<()> {
    for (width, height) in [(80, 24), (200, 60)] {
        let definitions = definitions();
        let count = definitions.len();
        let mut view = LiveView::new(Duration::from_secs(600));
        for (id, definition) in definitions.into_iter().enumerate() {
            view.apply(&Record::Series(SeriesId(id as u32), Arc::new(definition)));
        }
        let options = TerminalOptions {
            viewport: Viewport::Fixed(Rect::new(0, 0, width, height)),
        };
        let bytes = Arc::new(AtomicU64::new(0));
        let backend = CrosstermBackend::new(Counted(Arc::clone(&bytes)));
        let mut terminal = Terminal::with_options(backend, options)?;
        let look = SceneStyle {
            colour: true,
            ascii: false,
        };
        let mut history = History::default();
        let began = Instant::now();
        for at in 1..=SECONDS {
            second(&mut view, count, at);
            for _ in 0..PICTURES {
                history.advance(&view);
                // As if every picture had new records.
                let snapshot = Snapshot::of(&view, &history, Status::default(), Some(10 * S));
                terminal.draw(|frame| draw(frame, &snapshot, look))?;
            }
        }
        let took = began.elapsed().as_secs_f64();
        println!(
            "{width} x {height}: {:.2} % of one core ({count} series, {REQUESTS} requests/s, {PICTURES} pictures/s, \
             {SECONDS} s), {:.1} kB/s",
            100.0 * took / SECONDS as f64,
            bytes.load(Ordering::Relaxed) as f64 / SECONDS as f64 / 1e3,
        );
    }
    Ok(())
}
