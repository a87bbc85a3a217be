//! A simulated server in virtual time with a load, a fault, the monitor, and the goodput of its clients.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use exposition::{Event as Line, Format, Parser};
use monitor_acting::{Action, Situation, Time, adapter};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp, LogNormal};
use vllm_monitor::config::Settings;
use vllm_monitor::snapshot::{Exit, OwnRequests};
use vllm_monitor::{Monitor, Probe, ProbeOutcome, Signal, SnapshotBuilder, StaleAfter, State};
use vllm_sim::virtual_time::{VirtualRequest, VirtualServer};
use vllm_sim::{EngineConfig, Lever, SimConfig};

/// Latency targets of the simulated clients.
const TTFT_SECS: f64 = 2.0;
const TPOT_SECS: f64 = 0.05;
/// From the exit of a process to a server that answers.
pub(crate) const RESTART_SECS: f64 = 30.0;
/// The target's name.
pub(crate) const TARGET: &str = "http://simulated:8000";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers get longer, so that the KV cache is too small.
    KvPressure,
    /// More requests than can be served.
    Flood,
    /// The engine computes slower.
    Slow,
    /// The engine hangs.
    Hang,
    /// The server's process ends with code 0.
    Exit,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [Self::KvPressure, Self::Flood, Self::Slow, Self::Hang, Self::Exit];
}

/// One scenario of a server: calm, then the fault, then calm again.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) fault: Fault,
    /// Severity; 1 is usual.
    pub(crate) size: f64,
    pub(crate) seed: u64,
    pub(crate) begins: f64,
    pub(crate) ends: f64,
    pub(crate) until: f64,
}

impl Scenario {
    pub(crate) fn new(fault: Fault, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5CE0);
        let begins = rng.random_range(40.0..60.0);
        let lasts = match fault {
            Fault::Hang | Fault::Exit => 120.0,
            _ => 90.0,
        };
        Self {
            fault,
            size: rng.random_range(0.8..1.25),
            seed,
            begins,
            ends: begins + lasts,
            until: begins + lasts + 10.0,
        }
    }
}

/// The server: an H100 with an 8B model and a KV cache of 32,000 tokens.
fn config(seed: u64) -> SimConfig {
    SimConfig {
        engine: EngineConfig {
            seed,
            num_gpu_blocks: 2000,
            max_num_seqs: 256,
            max_model_len: 8192,
            enable_prefix_caching: false,
            ..EngineConfig::h100_8b()
        },
        ..SimConfig::default()
    }
}

pub(crate) struct World {
    scenario: Scenario,
    server: VirtualServer,
    monitor: Monitor,
    state: State,
    builder: SnapshotBuilder,
    rng: ChaCha8Rng,
    next_arrival: f64,
    restart_at: Option<f64>,
    restarted: bool,
    exited: bool,
    last_progress: f64,
    prompt: Arc<[u32]>,
    recent: VecDeque<f64>,
    /// Seconds added to the times of situations, so that runs follow one another.
    pub(crate) offset: f64,
    /// Whether the load is a square wave instead of the scenario's.
    pub(crate) wave_secs: Option<f64>,
    /// Tokens within the targets, during the fault and after it.
    pub(crate) good: f64,
    pub(crate) preemptions: u32,
    pub(crate) now: f64,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let server = VirtualServer::new(config(scenario.seed)).expect("the configuration is valid");
        let mut builder = SnapshotBuilder::new(TARGET, StaleAfter::default());
        builder.version("0.32.0+simulated");
        builder.limits(Some(256.0), None, Some(8192.0));
        Self {
            rng: ChaCha8Rng::seed_from_u64(scenario.seed),
            scenario,
            server,
            monitor: Monitor::new(Settings::default()),
            state: State::default(),
            builder,
            next_arrival: 0.0,
            restart_at: None,
            restarted: false,
            exited: false,
            last_progress: 0.0,
            prompt: (1000..9000).collect::<Vec<u32>>().into(),
            recent: VecDeque::new(),
            offset: 0.0,
            wave_secs: None,
            good: 0.0,
            preemptions: 0,
            now: 0.0,
        }
    }

    fn in_fault(&self, at: f64) -> bool {
        (self.scenario.begins..self.scenario.ends).contains(&at)
    }

    /// Requests per second, and the median length of their answers.
    fn load(&self, at: f64) -> (f64, f64) {
        if let Some(secs) = self.wave_secs {
            let high = (at / secs) as u64 % 2 == 1;
            return if high { (40.0, 150.0) } else { (10.0, 150.0) };
        }
        match self.scenario.fault {
            Fault::KvPressure if self.in_fault(at) => (14.0 * self.scenario.size, 480.0),
            Fault::Flood if self.in_fault(at) => (45.0 * self.scenario.size, 150.0),
            Fault::Slow => (18.0, 150.0),
            _ => (12.0, 150.0),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.now >= self.scenario.until
    }

    /// One second. Returns the situation at its end.
    pub(crate) fn second(&mut self) -> Situation {
        let until = self.now + 1.0;
        let fault_now = self.in_fault(until) && !self.in_fault(self.now);
        let fault_over = !self.in_fault(until) && self.in_fault(self.now);
        match self.scenario.fault {
            Fault::Slow if fault_now => self.server.set_slow((100.0 + 120.0 * self.scenario.size) as u32),
            Fault::Slow if fault_over => self.server.set_slow(100),
            Fault::Hang if fault_now => self.server.set_hung(true),
            Fault::Exit if fault_now => {
                self.server.die();
                self.exited = true;
            }
            _ => {}
        }
        while self.next_arrival < until {
            self.advance(self.next_arrival);
            let (rate, median) = self.load(self.next_arrival);
            let prompt = LogNormal::new(300f64.ln(), 0.6)
                .expect("valid")
                .sample(&mut self.rng);
            let output = LogNormal::new(median.ln(), 0.5)
                .expect("valid")
                .sample(&mut self.rng);
            let from = self.rng.random_range(0..2000_usize);
            let length = (prompt as usize).clamp(10, 3000);
            self.server.submit(VirtualRequest::of(
                self.prompt[from..from + length].into(),
                (output as u32).clamp(2, 2000),
            ));
            self.next_arrival += Exp::new(rate).expect("positive").sample(&mut self.rng);
        }
        self.advance(until);
        self.now = until;
        self.count();
        self.observe()
    }

    fn advance(&mut self, to: f64) {
        if let Some(at) = self.restart_at.filter(|at| *at <= to) {
            self.server.advance_to(Duration::from_secs_f64(at));
            self.server.restart();
            self.restart_at = None;
            self.exited = false;
            self.restarted = true;
        }
        self.server.advance_to(Duration::from_secs_f64(to));
    }

    fn count(&mut self) {
        let mut good = 0.0;
        for record in self.server.take_ended() {
            if record.output_tokens > 0 {
                self.last_progress = self.now;
            }
            self.preemptions += record.preemptions;
            let within = record.is_complete()
                && record.ttft().is_some_and(|t| t.as_secs_f64() <= TTFT_SECS)
                && record.tpot().is_none_or(|t| t.as_secs_f64() <= TPOT_SECS);
            if within {
                good += f64::from(record.output_tokens);
            }
        }
        if self.now > self.scenario.begins {
            self.good += good;
        }
        self.recent.push_back(good);
        if self.recent.len() > 5 {
            self.recent.pop_front();
        }
    }

    fn observe(&mut self) -> Situation {
        let at = vllm_monitor::Time::from_secs_f64(self.now);
        let page = self.server.metrics_page();
        let is_there = page.is_some();
        let probe = |outcome| Probe {
            at,
            outcome,
            connect_secs: is_there.then_some(0.0005),
            first_byte_secs: is_there.then_some(0.003),
        };
        if let Some(page) = &page {
            for event in Parser::new(page.as_bytes(), Format::Text) {
                let Line::Sample(sample) = event else { continue };
                let name = sample.name.text();
                let labels: Vec<(String, String)> = sample
                    .labels
                    .iter()
                    .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
                    .collect();
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                if name == "vllm:cache_config_info" {
                    self.builder.cache_config(&labels, at);
                } else {
                    self.builder.sample(&name, &labels, sample.value, at);
                }
            }
            self.builder.page_complete(at);
        }
        let metrics = if is_there {
            ProbeOutcome::Status(200)
        } else {
            ProbeOutcome::Refused
        };
        self.builder.metrics_probe(probe(metrics));
        let health = self
            .server
            .health()
            .map_or(ProbeOutcome::Refused, ProbeOutcome::Status);
        self.builder.health(probe(health));
        let in_flight = self.server.in_flight().len();
        if in_flight == 0 {
            self.last_progress = self.now;
        }
        self.builder.own(OwnRequests {
            in_flight: Signal::fresh(in_flight as f64, 0.0),
            since_progress_secs: Signal::fresh(self.now - self.last_progress, 0.0),
            queued_prompt_tokens: Signal::default(),
        });
        self.builder.process_alive(is_there || !self.exited, at);
        if !is_there && self.exited {
            self.builder.process_exit(Exit {
                at,
                code: Some(0),
                signal: None,
            });
        }
        self.builder
            .stop_requested(!is_there && self.restart_at.is_some());
        let snapshot = self.builder.build(at);
        self.monitor.step(&mut self.state, &snapshot);
        let target = self.state.target(TARGET).expect("it was just stepped");
        let goodput = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let mut situation = adapter::situation(
            &snapshot,
            target,
            Time::from_secs_f64(1e9 + self.offset + self.now),
            30.0,
            Some(goodput),
        );
        situation.restarted = self.restarted;
        self.restarted = false;
        situation
    }

    /// Executes actions on the simulated server, up to the first that fails.
    pub(crate) fn apply(&mut self, actions: &[Action]) -> Result<(), String> {
        actions.iter().try_for_each(|action| self.apply_one(action))
    }

    fn apply_one(&mut self, action: &Action) -> Result<(), String> {
        let secs = Duration::from_secs_f64;
        match action {
            Action::SetLever {
                lever,
                value,
                ttl_secs,
            } => {
                let known = Lever::named(lever).ok_or_else(|| format!("no lever {lever}"))?;
                self.server
                    .set_lever(known, *value as u64, secs(*ttl_secs))
                    .map_err(|e| e.to_string())
            }
            Action::ResetLever { lever } => {
                self.server
                    .reset_lever(Lever::named(lever).ok_or_else(|| format!("no lever {lever}"))?);
                Ok(())
            }
            Action::Abort { which, count } => {
                match which {
                    monitor_acting::AbortOrder::Newest => self.server.abort_newest(*count as usize),
                    monitor_acting::AbortOrder::Longest => self.server.abort_longest(*count as usize),
                };
                Ok(())
            }
            Action::Restart { .. } => {
                self.server.set_hung(false);
                self.server.set_slow(100);
                self.server.die();
                self.restart_at = Some(self.now + RESTART_SECS);
                Ok(())
            }
            Action::Nothing => Ok(()),
            other => Err(format!("the simulator cannot do {other:?}")),
        }
    }

    /// Whether a lever is set.
    pub(crate) fn has_lever(&self) -> bool {
        !self.server.levers().is_empty()
    }
}
