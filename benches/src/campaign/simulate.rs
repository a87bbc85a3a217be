//! One run of a case on a simulated server in virtual time.

use std::time::Duration;

use anyhow::Result;
use vllm_monitor::snapshot::{Canary, CanaryResult};
use vllm_monitor::{Probe, ProbeOutcome, Signal, SnapshotBuilder, StaleAfter, Time};
use vllm_monitor_cli::probe::PageReader;
use vllm_sim::virtual_time::{Arrivals, VirtualRequest, VirtualServer, Workload};
use vllm_sim::{OutputLength, SimConfig};

use super::case::{Case, Fault, Finds};
use super::record::{Label, Record, onsets, present};
use super::row::Row;

/// The run with the fault, or its matched healthy one: the same server and traffic without fault and ramp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Variant {
    /// With the fault.
    Fault,
    /// Without, so many times as long.
    Healthy(f64),
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

    fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + self.unit() * (high - low)
    }
}

/// Memory of the simulated machine.
const HOST_BYTES: f64 = 64e9;

/// Runs a case at a seed. The same arguments give the same record.
///
/// # Errors
/// If the server's configuration is refused.
pub fn simulate(case: &Case, seed: u64, variant: Variant) -> Result<Record> {
    let mut draw = Draw(
        seed.wrapping_mul(31)
            .wrapping_add(u64::from(variant != Variant::Fault)),
    );
    let onset = draw.between(case.onset_secs).round();
    let ramp_secs = draw.between(case.ramp_secs);
    let (fault, end) = match variant {
        Variant::Fault => (case.fault, onset + case.after_secs),
        Variant::Healthy(factor) => (Fault::None, (onset + case.after_secs) * factor),
    };
    let is_healthy = variant != Variant::Fault;
    let rate = |at: f64| match case.rate_after_per_s {
        Some(after) if !is_healthy && at >= onset => {
            let share = ((at - onset) / ramp_secs.max(1e-9)).min(1.0);
            case.rate_per_s + share * (after - case.rate_per_s)
        }
        _ => case.rate_per_s,
    };
    let times = arrivals(
        rate,
        case.rate_per_s.max(case.rate_after_per_s.unwrap_or(0.0)),
        end,
        &mut draw,
    );
    let lengths = |median| OutputLength::LogNormal {
        median,
        sigma: case.sigma,
    };
    let workload = Workload {
        seed,
        requests: u32::try_from(times.len())?,
        arrivals: Arrivals::At(times.clone()),
        prompt_tokens: lengths(case.prompt_tokens),
        output_tokens: Some(lengths(case.output_tokens)),
        ..Workload::default()
    };
    let engine = case.engine(seed)?;
    let mut run = Run {
        server: VirtualServer::new(SimConfig {
            engine: engine.clone(),
            max_num_queued_reqs: case.max_num_queued_reqs,
            ..SimConfig::default()
        })?,
        builder: SnapshotBuilder::new("record", StaleAfter::default()),
        pages: PageReader::default(),
        canary: None,
        canary_last_secs: None,
        draw,
    };
    run.builder.version("0.32.0");
    run.builder.limits(
        Some(f64::from(engine.max_num_seqs)),
        case.max_num_queued_reqs.map(f64::from),
        Some(f64::from(engine.max_model_len)),
    );
    let mut rows = Vec::with_capacity(end as usize);
    let (mut sent, mut struck) = (0, false);
    for second in 1..=end as u64 {
        let now = second as f64;
        while let Some(at) = times.get(sent).filter(|at| at.as_secs_f64() <= now) {
            run.server.advance_to(*at);
            run.server.submit(workload.request(sent as u32, &engine));
            sent += 1;
        }
        if !struck && now >= onset && !is_healthy {
            struck = true;
            run.strike(fault, case);
        }
        run.canary(case.canary_secs, now);
        run.server.advance_to(Duration::from_secs(second));
        rows.push(run.observe(now, struck.then_some(fault), now - onset, case));
    }
    let mut label = Label {
        case: case.name.clone(),
        seed,
        simulated: true,
        healthy: is_healthy,
        injected_secs: (!is_healthy).then_some(onset),
        onset_secs: Vec::new(),
        finds: case.finds,
        monitor_restart_secs: (!is_healthy && fault == Fault::MonitorRestart).then_some(onset),
    };
    label.onset_secs = match case.finds {
        Some(Finds::KvPreemption | Finds::QueueOverflow) => onsets(&rows, &present(&label, &rows)),
        Some(Finds::HostMemory) if !is_healthy => {
            let empty = |row: &&Row| {
                row.value("host_memory_available_bytes")
                    .is_some_and(|free| free <= 0.0)
            };
            rows.iter().find(empty).map(|row| row.secs).into_iter().collect()
        }
        Some(_) if !is_healthy => vec![onset],
        _ => Vec::new(),
    };
    let present = present(&label, &rows);
    Ok(Record { label, rows, present })
}

/// Arrivals of a Poisson process with a rate that changes, by thinning.
fn arrivals(rate: impl Fn(f64) -> f64, highest: f64, end: f64, draw: &mut Draw) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut at = 0.0;
    if highest <= 0.0 {
        return times;
    }
    loop {
        at += -(1.0 - draw.unit()).ln() / highest;
        if at >= end {
            break;
        }
        if draw.unit() * highest < rate(at) {
            times.push(Duration::from_secs_f64(at));
        }
    }
    times
}

struct Run {
    server: VirtualServer,
    builder: SnapshotBuilder,
    pages: PageReader,
    canary: Option<(u64, f64)>,
    canary_last_secs: Option<f64>,
    draw: Draw,
}

impl Run {
    fn strike(&mut self, fault: Fault, case: &Case) {
        match fault {
            Fault::EngineKill => self.server.kill_engines(),
            Fault::ServerKill => self.server.die(),
            Fault::Hang => self.server.set_hung(true),
            Fault::Slow => self.server.set_slow(case.size.unwrap_or(130.0) as u32),
            Fault::Restart => self.server.restart(),
            Fault::LongPrompt => {
                let tokens = self.server.config().engine.max_model_len - 64;
                let prompt: Vec<u32> = (0..tokens).map(|n| 1000 + n % 500).collect();
                self.server.submit(VirtualRequest::of(prompt.into(), 8));
            }
            _ => {}
        }
    }

    fn canary(&mut self, every: Option<f64>, now: f64) {
        for ended in self.server.take_ended() {
            if self.canary.is_some_and(|(number, _)| number == ended.number) {
                self.canary = None;
                if let Some(first) = ended.first_token {
                    self.canary_last_secs = Some(first.saturating_sub(ended.arrival).as_secs_f64());
                }
            }
        }
        if let Some(every) = every
            && self.canary.is_none()
            && now % every < 1.0
        {
            let request = VirtualRequest::of(vec![1001, 1002].into(), 1);
            self.canary = Some((self.server.submit(request), now));
        }
    }

    fn observe(&mut self, now: f64, fault: Option<Fault>, after: f64, case: &Case) -> Row {
        let at = Time::from_secs_f64(now);
        let usual = self
            .server
            .health()
            .map_or(ProbeOutcome::Refused, ProbeOutcome::Status);
        let mut page = self.server.metrics_page();
        let hit = self.draw.unit() < case.size.unwrap_or(1.0);
        let (mut outcome, mut connect_secs) = (usual, 0.0005);
        match fault {
            Some(Fault::ApiHang) => outcome = ProbeOutcome::NoReply,
            Some(Fault::Stop) if after >= 5.0 => outcome = ProbeOutcome::Refused,
            Some(Fault::NetworkDelay) if hit => connect_secs = 1.5,
            Some(Fault::NetworkDrop) if hit => outcome = ProbeOutcome::ConnectTimeout,
            Some(Fault::NetworkReset) if hit => outcome = ProbeOutcome::Reset,
            Some(Fault::NetworkTruncate) if hit => outcome = ProbeOutcome::Truncated,
            Some(Fault::OldNames) => {
                page = page.map(|page| {
                    page.replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
                        .replace("vllm:prefix_cache_", "vllm:gpu_prefix_cache_")
                        .replace(
                            "vllm:inter_token_latency_seconds",
                            "vllm:time_per_output_token_seconds",
                        )
                });
            }
            _ => {}
        }
        if fault == Some(Fault::Stop) {
            self.builder.stop_requested(true);
            self.builder.process_alive(after < 5.0, at);
        }
        let probe = |outcome: ProbeOutcome| Probe {
            at,
            outcome,
            connect_secs: outcome.is_connected().then_some(connect_secs),
            first_byte_secs: matches!(outcome, ProbeOutcome::Status(_)).then_some(0.002),
        };
        self.builder.health(probe(outcome));
        // A truncated page is dropped by the reader; a hung engine's front end still serves its own.
        let page = page.filter(|_| matches!(outcome, ProbeOutcome::Status(_)));
        self.builder.metrics_probe(probe(match (&page, outcome) {
            (Some(_), _) => ProbeOutcome::Status(200),
            (None, ProbeOutcome::Status(_)) => ProbeOutcome::Refused,
            (None, outcome) => outcome,
        }));
        if let Some(page) = page {
            self.pages.read(&mut self.builder, page.as_bytes(), at);
        }
        self.builder.canary(Canary {
            waiting_secs: self
                .canary
                .map_or(Signal::default(), |(_, sent)| Signal::fresh(now - sent, 0.0)),
            last: self.canary_last_secs.map_or(Signal::default(), |secs| {
                let answered = CanaryResult {
                    ok: true,
                    first_token_secs: Some(secs),
                };
                Signal::fresh(answered, 0.0)
            }),
        });
        let mut row = Row::of(self.builder.build(at));
        let taken = match fault {
            Some(Fault::HostMemory) => after * case.size.unwrap_or(0.2e9),
            _ => 0.0,
        };
        // A machine whose other processes take and return memory.
        let noise = 2e9 * (now / 37.0).sin() + 0.2e9 * (self.draw.unit() - 0.5);
        let free = (0.6 * HOST_BYTES + noise - taken).max(0.0);
        row.set("host_memory_total_bytes", HOST_BYTES);
        row.set("host_memory_available_bytes", free.round());
        row.set("resident_bytes", (8e9 + taken).round());
        row
    }
}
