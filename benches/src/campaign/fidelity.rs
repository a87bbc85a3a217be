//! The simulator against a real server under the same load: the same arrivals, lengths and limits.
//!
//! The preset `tiny-cpu` was fitted on another machine, so one factor, the server's speed, is chosen on the first half of
//! the requests: the one at which the median time between tokens agrees. The distances are those of the second half.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use run_statistics::kolmogorov_smirnov;
use vllm_sim::virtual_time::{RequestRecord, VirtualRequest, VirtualServer};
use vllm_sim::{EngineConfig, SimConfig};

/// Limits of the real server: `--num-gpu-blocks-override 48 --max-num-seqs 16 --no-enable-prefix-caching`.
fn engine(speed_ratio: f64) -> EngineConfig {
    EngineConfig {
        speed_ratio,
        num_gpu_blocks: 48,
        max_num_seqs: 16,
        enable_prefix_caching: false,
        ..EngineConfig::tiny_cpu()
    }
}

/// One request as its client saw it.
#[derive(Debug, Clone)]
struct Sent {
    arrival_secs: f64,
    prompt_tokens: u32,
    output_tokens: u32,
    /// When each token came, in seconds after the request was sent.
    token_secs: Vec<f64>,
}

/// What is compared.
#[derive(Debug, Default)]
struct Figures {
    inter_token_secs: Vec<f64>,
    first_token_secs: Vec<f64>,
    waiting: Vec<f64>,
    preemptions: f64,
}

impl Figures {
    fn tokens(&mut self, token_secs: &[f64]) {
        self.first_token_secs.extend(token_secs.first());
        self.inter_token_secs
            .extend(token_secs.windows(2).map(|pair| pair[1] - pair[0]));
    }
}

/// Compares the load that `scripts/check-monitor-real --only fidelity` left in a folder; as a Markdown table.
///
/// # Errors
/// Names the file and the line that cannot be read.
pub fn compare(folder: &Path) -> Result<String> {
    let requests = requests(&folder.join("requests.csv"))?;
    let queue = queue(&folder.join("queue.csv"))?;
    ensure!(requests.len() >= 40, "{} requests are too few", requests.len());
    let half_secs = requests[requests.len() / 2].arrival_secs;
    let real = |from: f64, to: f64| {
        let mut figures = Figures::default();
        let within = |secs: f64| secs >= from && secs < to;
        for request in requests.iter().filter(|request| within(request.arrival_secs)) {
            figures.tokens(&request.token_secs);
        }
        let rows: Vec<_> = queue.iter().filter(|row| within(row[0])).collect();
        figures.waiting = rows.iter().map(|row| row[2]).collect();
        figures.preemptions = rows.last().map_or(0.0, |row| row[3]) - rows.first().map_or(0.0, |row| row[3]);
        figures
    };
    let first = real(0.0, half_secs);
    let distance = |speed: f64| -> Result<f64> {
        let simulated = simulate(&requests, speed, &queue, (0.0, half_secs))?;
        Ok(
            (median(&simulated.inter_token_secs) / median(&first.inter_token_secs))
                .ln()
                .abs(),
        )
    };
    let mut best = (f64::INFINITY, 1.0);
    for step in -30..=10 {
        let speed = 2_f64.powf(f64::from(step) / 5.0);
        let off = distance(speed)?;
        if off < best.0 {
            best = (off, speed);
        }
    }
    let real = real(half_secs, f64::INFINITY);
    let simulated = simulate(&requests, best.1, &queue, (half_secs, f64::INFINITY))?;
    let mut text = format!(
        "Speed of the simulated server, chosen on the first half: {:.3}. Second half, {} requests:\n\n\
         | | real, median | simulated, median | KS distance |\n|---|---|---|---|\n",
        best.1,
        real.first_token_secs.len()
    );
    for (name, real, simulated) in [
        (
            "time between tokens, s",
            &real.inter_token_secs,
            &simulated.inter_token_secs,
        ),
        (
            "time to first token, s",
            &real.first_token_secs,
            &simulated.first_token_secs,
        ),
        ("waiting requests", &real.waiting, &simulated.waiting),
    ] {
        let distance = kolmogorov_smirnov(real, simulated).context("one side has no values")?;
        let _infallible = writeln!(
            text,
            "| {name} | {:.4} | {:.4} | {:.2} |",
            median(real),
            median(simulated),
            distance.distance
        );
    }
    let _infallible = writeln!(
        text,
        "| preemptions | {} | {} | |",
        real.preemptions, simulated.preemptions
    );
    Ok(text)
}

fn simulate(requests: &[Sent], speed: f64, queue: &[[f64; 4]], (from, to): (f64, f64)) -> Result<Figures> {
    let mut server = VirtualServer::new(SimConfig {
        engine: engine(speed),
        ..SimConfig::default()
    })?;
    server.keep_token_times(true);
    let mut figures = Figures::default();
    let within = |secs: f64| secs >= from && secs < to;
    let mut sent = requests.iter().enumerate().peekable();
    let mut ended: Vec<RequestRecord> = Vec::new();
    let (mut before, mut last) = (None, 0.0);
    for row in queue {
        while let Some((n, request)) = sent.next_if(|(_, request)| request.arrival_secs <= row[0]) {
            server.advance_to(Duration::from_secs_f64(request.arrival_secs));
            let prompt: Vec<u32> = (0..request.prompt_tokens)
                .map(|at| 10 + (at * 31 + n as u32 * 7) % 890)
                .collect();
            server.submit(VirtualRequest::of(prompt.into(), request.output_tokens));
        }
        server.advance_to(Duration::from_secs_f64(row[0]));
        if within(row[0]) {
            let engine = server.engines()[0];
            figures.waiting.push(engine.waiting as f64);
            last = engine.preemptions as f64;
            before = before.or(Some(last));
        }
        ended.extend(server.take_ended());
    }
    figures.preemptions = last - before.unwrap_or(0.0);
    server.advance_to(Duration::from_secs_f64(
        queue.last().map_or(0.0, |row| row[0]) + 600.0,
    ));
    ended.extend(server.take_ended());
    for record in ended.iter().filter(|record| within(record.arrival.as_secs_f64())) {
        let arrival = record.arrival.as_secs_f64();
        let times: Vec<f64> = record
            .token_times
            .iter()
            .map(|at| at.as_secs_f64() - arrival)
            .collect();
        figures.tokens(&times);
    }
    Ok(figures)
}

fn median(values: &[f64]) -> f64 {
    run_statistics::percentile::median(values).unwrap_or(f64::NAN)
}

fn requests(path: &Path) -> Result<Vec<Sent>> {
    lines(path)?
        .into_iter()
        .map(|(n, line)| {
            let at = || format!("{}:{n}", path.display());
            let fields: Vec<&str> = line.split(',').collect();
            ensure!(
                fields.len() == 4,
                "{}: {} fields in place of 4",
                at(),
                fields.len()
            );
            Ok(Sent {
                arrival_secs: fields[0].parse().with_context(at)?,
                prompt_tokens: fields[1].parse().with_context(at)?,
                output_tokens: fields[2].parse().with_context(at)?,
                token_secs: fields[3]
                    .split_whitespace()
                    .map(|text| text.parse().with_context(at))
                    .collect::<Result<_>>()?,
            })
        })
        .collect()
}

fn queue(path: &Path) -> Result<Vec<[f64; 4]>> {
    lines(path)?
        .into_iter()
        .map(|(n, line)| {
            let at = || format!("{}:{n}", path.display());
            let values = line
                .split(',')
                .map(|text| text.parse().with_context(at))
                .collect::<Result<Vec<f64>>>()?;
            values.try_into().ok().with_context(at)
        })
        .collect()
}

/// Lines after the header, with their numbers.
fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text
        .lines()
        .enumerate()
        .skip(1)
        .map(|(n, line)| (n + 1, line.to_owned()))
        .collect())
}
