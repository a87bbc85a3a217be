//! The fault campaign: faults on simulated servers in virtual time, each at many seeds, next to healthy runs.
//!
//! ```text
//! cargo run --release -p vllm-monitor-cli --example campaign -- configs/monitor/campaign.toml
//! ```
//!
//! Sizes, traffic and seeds come from the file, so that it can be run on cases that nobody tuned for. The monitor reads
//! the same pages that a live one would, once a second. Two baselines see the same: polling `/health`, and the rule that
//! the step counter stands still for 120 s while requests run or wait. Everything is SIMULATED.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::error::Error;
use std::time::Duration;

use serde::Deserialize;
use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::State as Lifecycle;
use vllm_monitor::snapshot::{Canary, CanaryResult};
use vllm_monitor::{
    AlertChange, Decision, EventKind, Monitor, Probe, ProbeOutcome, Signal, SnapshotBuilder, StaleAfter,
    State, Time,
};
use vllm_monitor_cli::probe::PageReader;
use vllm_sim::virtual_time::{Arrivals, VirtualRequest, VirtualServer, Workload};
use vllm_sim::{EngineConfig, OutputLength, SimConfig};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Campaign {
    first_seed: u64,
    seeds: u64,
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    preset: String,
    fault: Fault,
    /// Requests per second before and after the onset.
    rate_per_s: f64,
    rate_after_per_s: Option<f64>,
    prompt_tokens: u32,
    output_tokens: u32,
    /// Range from which the onset is drawn.
    onset_secs: (f64, f64),
    after_secs: f64,
    /// Of a slow fault: time of a step, 100 is usual.
    percent: Option<u32>,
    canary_secs: Option<f64>,
    /// What has to be found; absent for a healthy case.
    finds: Option<Finds>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    None,
    Hang,
    EngineDeath,
    ProcessDeath,
    Slow,
    LongPrompt,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Finds {
    /// The state ERROR.
    Error,
    /// An alert of degradation.
    Degradation,
}

/// What came of one run, in seconds after the onset; alarms before it, or in a healthy run at any time, are false.
#[derive(Debug, Default)]
struct Result {
    ours: Option<f64>,
    health: Option<f64>,
    heartbeat: Option<f64>,
    false_alarms: Vec<String>,
    healthy_secs: f64,
}

/// Uniform numbers from a seed.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn arrivals(case: &Case, onset: f64, draw: &mut Draw) -> Vec<Duration> {
    let end = onset + case.after_secs;
    let mut times = Vec::new();
    let mut at = 0.0;
    loop {
        let rate = if at < onset {
            case.rate_per_s
        } else {
            case.rate_after_per_s.unwrap_or(case.rate_per_s)
        };
        if rate <= 0.0 {
            if at >= onset {
                return times;
            }
            at = onset;
            continue;
        }
        at += -(1.0 - draw.unit()).ln() / rate;
        if at >= end {
            return times;
        }
        times.push(Duration::from_secs_f64(at));
    }
}

fn run(case: &Case, seed: u64) -> std::result::Result<Result, Box<dyn Error>> {
    let mut draw = Draw(seed);
    let onset = case.onset_secs.0 + draw.unit() * (case.onset_secs.1 - case.onset_secs.0);
    let config = SimConfig {
        engine: EngineConfig {
            seed,
            ..EngineConfig::preset(&case.preset)?
        },
        ..SimConfig::default()
    };
    let times = arrivals(case, onset, &mut draw);
    let workload = Workload {
        seed,
        requests: u32::try_from(times.len())?,
        arrivals: Arrivals::At(times.clone()),
        prompt_tokens: OutputLength::LogNormal {
            median: f64::from(case.prompt_tokens),
            sigma: 0.5,
        },
        output_tokens: Some(OutputLength::LogNormal {
            median: f64::from(case.output_tokens),
            sigma: 0.5,
        }),
        ..Workload::default()
    };
    let mut server = VirtualServer::new(config)?;
    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    let mut builder = SnapshotBuilder::new("campaign", StaleAfter::default());
    builder.version("0.32.0");
    let mut pages = PageReader::default();
    let (mut sent, mut struck) = (0, false);
    let mut canary: Option<(u64, f64)> = None;
    let mut canary_last: Option<(CanaryResult, f64)> = None;
    let mut result = Result {
        healthy_secs: if case.finds.is_some() {
            onset
        } else {
            onset + case.after_secs
        },
        ..Result::default()
    };
    let (mut steps, mut still_secs) = (f64::NAN, 0.0);
    for second in 1..=(onset + case.after_secs) as u64 {
        let now = second as f64;
        while let Some(at) = times.get(sent).filter(|at| at.as_secs_f64() <= now) {
            server.advance_to(*at);
            server.submit(workload.request(sent as u32, &server.config().engine.clone()));
            sent += 1;
        }
        if !struck && now >= onset {
            struck = true;
            match case.fault {
                Fault::None => {}
                Fault::Hang => server.set_hung(true),
                Fault::EngineDeath => server.kill_engines(),
                Fault::ProcessDeath => server.die(),
                Fault::Slow => server.set_slow(case.percent.unwrap_or(120)),
                Fault::LongPrompt => {
                    let tokens = server.config().engine.max_model_len - 64;
                    let prompt: Vec<u32> = (0..tokens).map(|n| 1000 + n % 500).collect();
                    server.submit(VirtualRequest::of(prompt.into(), 8));
                }
            }
        }
        if let Some(every) = case.canary_secs
            && canary.is_none()
            && now % every < 1.0
        {
            canary = Some((server.submit(VirtualRequest::of(vec![1001, 1002].into(), 1)), now));
        }
        server.advance_to(Duration::from_secs(second));
        for ended in server.take_ended() {
            if let Some((number, sent)) = canary.filter(|(number, _)| *number == ended.number) {
                let result = CanaryResult {
                    ok: ended.is_complete(),
                    first_token_secs: ended.ttft().map(|time| time.as_secs_f64()),
                };
                let _same = number;
                canary_last = Some((result, now.max(sent)));
                canary = None;
            }
        }
        let at = Time::from_secs_f64(now);
        let outcome = server
            .health()
            .map_or(ProbeOutcome::Refused, ProbeOutcome::Status);
        let probe = |outcome| Probe {
            at,
            outcome,
            connect_secs: Some(0.0005),
            first_byte_secs: Some(0.002),
        };
        builder.health(probe(outcome));
        let page = server.metrics_page();
        if let Some(page) = &page {
            pages.read(&mut builder, page.as_bytes(), at);
        }
        builder.metrics_probe(probe(
            page.map_or(ProbeOutcome::Refused, |_| ProbeOutcome::Status(200)),
        ));
        builder.canary(Canary {
            waiting_secs: canary.map_or(Signal::default(), |(_, sent)| Signal::fresh(now - sent, 0.0)),
            last: canary_last.map_or(Signal::default(), |(last, at)| Signal::aged(last, now - at, 60.0)),
        });
        let snapshot = builder.build(at);
        let after = now - onset;
        // The baselines.
        if outcome != ProbeOutcome::Status(200) && struck {
            result.health.get_or_insert(after);
        }
        let engine = &snapshot.engine;
        let has_work = (engine.running + engine.waiting)
            .if_fresh()
            .is_some_and(|n| n > 0.0);
        let counted = engine.steps_total.if_fresh().unwrap_or(f64::NAN);
        still_secs = if counted == steps && has_work {
            still_secs + 1.0
        } else {
            0.0
        };
        steps = counted;
        if still_secs >= 120.0 && struck {
            result.heartbeat.get_or_insert(after);
        }
        for decision in monitor.step(&mut state, &snapshot) {
            let found = match &decision {
                Decision::Event(event) => match &event.kind {
                    EventKind::Transition(t) if t.to == Lifecycle::Error => {
                        Some((Finds::Error, "ERROR".to_owned()))
                    }
                    _ => None,
                },
                Decision::Alert(alert) if alert.change == AlertChange::Raised => match alert.failure_type {
                    vllm_monitor::FailureType::Degradation => {
                        Some((Finds::Degradation, "degradation".to_owned()))
                    }
                    other if !struck || case.finds.is_none() => {
                        result.false_alarms.push(other.to_string());
                        None
                    }
                    _ => None,
                },
                _ => None,
            };
            if let Some((finds, word)) = found {
                if struck && case.finds == Some(finds) {
                    result.ours.get_or_insert(after);
                } else if !struck || case.finds.is_none() {
                    result.false_alarms.push(word);
                }
            }
        }
    }
    Ok(result)
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn found(all: &[Result], which: fn(&Result) -> Option<f64>) -> String {
    let mut delays: Vec<f64> = all.iter().filter_map(which).collect();
    let count = delays.len();
    match (median(&mut delays), delays.last()) {
        (Some(half), Some(longest)) => format!("{count}/{}, {half:.0} s, {longest:.0} s", all.len()),
        _ => format!("{count}/{}", all.len()),
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: campaign FILE")?;
    let campaign: Campaign =
        toml::from_str(&std::fs::read_to_string(&path)?).map_err(|e| format!("{path}: {e}"))?;
    println!("SIMULATED. Found, median and longest time after the onset.\n");
    println!("| case | monitor | /health | heartbeat 120 s | healthy hours | false alarms |");
    println!("|---|---|---|---|---|---|");
    for case in &campaign.case {
        let seeds = campaign.first_seed..campaign.first_seed + campaign.seeds;
        let all: Vec<Result> = seeds
            .map(|seed| run(case, seed))
            .collect::<std::result::Result<_, _>>()?;
        let hours: f64 = all.iter().map(|result| result.healthy_secs).sum::<f64>() / 3600.0;
        let mut false_alarms: Vec<&str> = all
            .iter()
            .flat_map(|result| result.false_alarms.iter().map(String::as_str))
            .collect();
        false_alarms.sort_unstable();
        let (count, kinds) = (false_alarms.len(), {
            false_alarms.dedup();
            false_alarms.join(", ")
        });
        let columns = match case.finds {
            Some(_) => [
                found(&all, |result| result.ours),
                found(&all, |result| result.health),
                found(&all, |result| result.heartbeat),
            ],
            None => [const { String::new() }; 3],
        };
        println!(
            "| {} | {} | {} | {} | {hours:.1} | {count} {kinds} |",
            case.name, columns[0], columns[1], columns[2]
        );
    }
    Ok(())
}
