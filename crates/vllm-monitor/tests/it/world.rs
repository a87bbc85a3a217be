//! A server whose every observable is set by hand, and the monitor that watches it.

use std::collections::BTreeMap;

use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::{State as Lifecycle, Transition};
use vllm_monitor::log::LogPatterns;
use vllm_monitor::snapshot::{Exit, OwnRequests};
use vllm_monitor::{
    Alert, AlertChange, AlertKind, Assessment, Decision, EventKind, FailureType, Monitor, Probe,
    ProbeOutcome, Signal, SnapshotBuilder, StaleAfter, State, TargetState, Time,
};

pub const TARGET: &str = "http://server:8000";

pub struct World {
    pub monitor: Monitor,
    pub state: State,
    pub builder: SnapshotBuilder,
    pub now: f64,
    pub transitions: Vec<Transition>,
    pub alerts: Vec<Alert>,
    pub events: Vec<EventKind>,
    /// Values of the page, by metric name.
    pub page: BTreeMap<&'static str, f64>,
    patterns: LogPatterns,
}

impl World {
    pub fn new() -> Self {
        Self::with_settings(Settings::default())
    }

    pub fn with_settings(settings: Settings) -> Self {
        Self {
            monitor: Monitor::new(settings),
            state: State::default(),
            builder: SnapshotBuilder::new(TARGET, StaleAfter::default()),
            now: 0.0,
            transitions: Vec::new(),
            alerts: Vec::new(),
            events: Vec::new(),
            page: BTreeMap::from([
                ("vllm:num_requests_running", 0.0),
                ("vllm:num_requests_waiting", 0.0),
                ("vllm:kv_cache_usage_perc", 0.0),
                ("vllm:iteration_tokens_total_count", 1000.0),
                ("vllm:generation_tokens_total", 5000.0),
                ("vllm:prompt_tokens_total", 5000.0),
                ("vllm:request_success_total", 50.0),
                ("vllm:num_preemptions_total", 0.0),
                ("vllm:inter_token_latency_seconds_sum", 100.0),
                ("vllm:inter_token_latency_seconds_count", 5000.0),
            ]),
            patterns: LogPatterns::compiled_in(),
        }
    }

    /// A server that was found serving, observed for a while.
    pub fn serving() -> Self {
        let mut world = Self::new();
        world.serve(120);
        assert_eq!(world.lifecycle(), Lifecycle::Serving);
        world
    }

    pub fn time(&self) -> Time {
        Time::from_secs_f64(self.now)
    }

    pub fn set(&mut self, name: &'static str, value: f64) {
        self.page.insert(name, value);
    }

    pub fn add(&mut self, name: &'static str, more: f64) {
        *self.page.entry(name).or_insert(0.0) += more;
    }

    /// Reads the page.
    pub fn scrape(&mut self) {
        let at = self.time();
        for (name, value) in &self.page {
            self.builder.sample(name, &[("engine", "0")], *value, at);
        }
        self.builder.page_complete(at);
        self.builder.metrics_probe(probe(at, ProbeOutcome::Status(200)));
    }

    pub fn health(&mut self, outcome: ProbeOutcome) {
        self.builder.health(probe(self.time(), outcome));
    }

    pub fn log(&mut self, line: &str) {
        self.builder.log_followed();
        if let Some(mark) = self.patterns.find(line, None, self.time()) {
            self.builder.log_mark(mark);
        }
    }

    pub fn exit(&mut self, code: Option<i32>, signal: Option<i32>) {
        self.builder.process_exit(Exit {
            at: self.time(),
            code,
            signal,
        });
    }

    pub fn own(&mut self, in_flight: f64, since_progress_secs: f64) {
        self.builder.own(OwnRequests {
            in_flight: Signal::fresh(in_flight, 0.0),
            since_progress_secs: Signal::fresh(since_progress_secs, 0.0),
            queued_prompt_tokens: Signal::default(),
        });
    }

    /// Makes a snapshot of what is known, steps, and lets a second pass.
    pub fn tick(&mut self) {
        let snapshot = self.builder.build(self.time());
        for decision in self.monitor.step(&mut self.state, &snapshot) {
            match decision {
                Decision::Event(event) => {
                    if let EventKind::Transition(transition) = &event.kind {
                        self.transitions.push(transition.clone());
                    }
                    self.events.push(event.kind);
                }
                Decision::Alert(alert) => self.alerts.push(alert),
                other => panic!("an observing policy decides nothing else: {other:?}"),
            }
        }
        self.now += 1.0;
    }

    /// Healthy work for so many seconds: ten requests, fifty steps a second.
    pub fn serve(&mut self, secs: u32) {
        for _ in 0..secs {
            self.work();
            self.scrape();
            self.health(ProbeOutcome::Status(200));
            self.tick();
        }
    }

    /// One second of work on the page.
    pub fn work(&mut self) {
        self.set("vllm:num_requests_running", 10.0);
        let wobble = (self.now * 0.7).sin() * 0.02;
        self.set("vllm:kv_cache_usage_perc", 0.3 + wobble);
        self.add("vllm:iteration_tokens_total_count", 50.0);
        self.add("vllm:generation_tokens_total", 500.0);
        self.add("vllm:prompt_tokens_total", 300.0);
        self.add("vllm:request_success_total", 5.0);
        self.add("vllm:inter_token_latency_seconds_sum", 10.0);
        self.add("vllm:inter_token_latency_seconds_count", 500.0);
    }

    /// A reading of the engine's process: its state (`running`, `sleeping`, `disk` or `stopped`) and CPU time.
    pub fn engine(&mut self, state: &str, cpu_secs: f64) {
        self.processes("host_engine_processes", state);
        let at = self.time();
        self.builder
            .sample("host_engine_cpu_seconds_total", &[], cpu_secs, at);
    }

    /// A reading of one process of a role.
    pub fn processes(&mut self, name: &str, state: &str) {
        let at = self.time();
        for known in ["running", "sleeping", "disk", "stopped"] {
            let count = f64::from(u8::from(known == state));
            self.builder.sample(name, &[("state", known)], count, at);
        }
    }

    /// The page is served, but no step is made.
    pub fn stand_still(&mut self, secs: u32) {
        for _ in 0..secs {
            self.scrape();
            self.health(ProbeOutcome::Status(200));
            self.tick();
        }
    }

    pub fn target(&self) -> &TargetState {
        self.state.target(TARGET).expect("it was stepped")
    }

    pub fn lifecycle(&self) -> Lifecycle {
        self.target().lifecycle().state()
    }

    pub fn path(&self) -> Vec<Lifecycle> {
        self.transitions.iter().map(|transition| transition.to).collect()
    }

    pub fn assessment(&self, failure_type: FailureType) -> &Assessment {
        let assessments = self.target().assessments();
        &assessments
            .iter()
            .find(|(known, _)| *known == failure_type)
            .expect("every type has one")
            .1
    }

    /// Alerts raised of one type and kind.
    pub fn raised(&self, failure_type: FailureType, kind: AlertKind) -> usize {
        self.alerts
            .iter()
            .filter(|a| a.failure_type == failure_type && a.kind == kind && a.change == AlertChange::Raised)
            .count()
    }

    /// Evidence of the newest transition, in words.
    pub fn reasons(&self) -> String {
        let reasons = self.target().lifecycle().reasons();
        reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

pub fn probe(at: Time, outcome: ProbeOutcome) -> Probe {
    let connected = outcome.is_connected();
    Probe {
        at,
        outcome,
        connect_secs: connected.then_some(0.0004),
        first_byte_secs: matches!(outcome, ProbeOutcome::Status(_)).then_some(0.003),
    }
}
