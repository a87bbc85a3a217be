//! What a target's task keeps, and how notes become snapshots.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use vllm_metrics::host::listening_process;
use vllm_monitor::log::LogMark;
use vllm_monitor::snapshot::{Canary as CanarySignal, CanaryResult, OwnRequests};
use vllm_monitor::{ProbeOutcome, Signal, SnapshotBuilder, StaleAfter, Time};

use super::{Note, TargetSpec};
use crate::hub::{Counts, Hub};
use crate::probe::{self, Answer, PageReader};
use crate::process::{Identity, ServerLimits};
use crate::sampler::{Sampled, SamplerConfig, Samplers};

/// Time between searches for the process of a server; each reads every process of the machine.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// What the task itself keeps.
pub(super) struct Watched {
    pub(super) spec: TargetSpec,
    hub: Arc<Hub>,
    builder: SnapshotBuilder,
    pages: PageReader,
    pub(super) counts: Counts,
    pub(super) samplers: Option<(Samplers, mpsc::Receiver<Sampled>)>,
    process: Option<Identity>,
    /// A parent reports the process, so it is not searched for.
    pub(super) has_parent: bool,
    limits: ServerLimits,
    looked_at: Option<Instant>,
    pub(super) health: Option<ProbeOutcome>,
    canary_sent: Option<Time>,
    canary_last: Option<(CanaryResult, Time)>,
    own: Option<(OwnRequests, Time)>,
    version: Option<vllm_metrics::catalog::Version>,
    lost_gpus: Vec<String>,
}

impl Watched {
    pub(super) fn new(spec: TargetSpec, hub: Arc<Hub>) -> Self {
        let interval_secs = spec.interval.as_secs_f64();
        let defaults = StaleAfter::default();
        let stale_after = StaleAfter {
            engine_secs: defaults.engine_secs.max(3.0 * interval_secs),
            probe_secs: defaults.probe_secs.max(3.0 * interval_secs),
            sampler_secs: defaults.sampler_secs.max(3.0 * interval_secs),
        };
        let builder = SnapshotBuilder::new(Arc::clone(&spec.name), stale_after);
        let mut watched = Self {
            builder,
            hub,
            pages: PageReader::default(),
            counts: Counts::default(),
            samplers: None,
            process: None,
            has_parent: false,
            limits: ServerLimits::default(),
            looked_at: None,
            health: None,
            canary_sent: None,
            canary_last: None,
            own: None,
            version: None,
            lost_gpus: Vec::new(),
            spec,
        };
        if let Some(pid) = watched.spec.pid {
            watched.adopt(pid);
        }
        watched
    }

    /// Takes a report. Returns whether it should be evaluated before the next tick.
    pub(super) fn take(&mut self, note: Note) -> bool {
        match note {
            Note::Health(answer) => {
                let outcome = answer.probe.outcome;
                self.see_status(&answer);
                self.builder.health(answer.probe);
                // A failure is evaluated at once, and so is the end of one.
                let is_news = self.health != Some(outcome) || !outcome.is_success();
                self.health = Some(outcome);
                return is_news;
            }
            Note::Page(answer) => self.page(&answer),
            Note::Models(listed, longest, at) => {
                self.builder.model_listed(listed, at);
                if longest.is_some() && self.limits.max_model_len != longest {
                    self.limits.max_model_len = longest;
                    self.set_limits();
                }
            }
            Note::Paused(paused, at) => self.builder.paused(paused, at),
            Note::Version(version) => {
                self.version = version.parse().ok();
                self.builder.version(&version);
            }
            Note::Line(line) => return self.line(&line),
            Note::Log(Ok(())) => {
                self.builder.log_followed();
                self.note("log", None);
            }
            Note::Log(Err(problem)) => self.note("log", Some(problem)),
            Note::CanarySent(at) => {
                self.counts.canaries += 1;
                self.canary_sent = Some(at);
            }
            Note::CanaryDone(result, at) => {
                self.canary_sent = None;
                self.canary_last = Some((result, at));
            }
            Note::Started(pid) => {
                self.has_parent = true;
                self.adopt(pid);
            }
            Note::Exit(exit) => {
                self.process = None;
                self.samplers = None;
                self.builder.process_exit(exit);
                return true;
            }
            Note::StopRequested(requested) => {
                self.builder.stop_requested(requested);
                return true;
            }
            Note::Own(own) => self.own = Some((own, self.hub.now())),
        }
        false
    }

    fn page(&mut self, answer: &Answer) {
        let mut probe = answer.probe;
        self.see_status(answer);
        if let Some(body) = answer.success() {
            let summary = self.pages.read(&mut self.builder, body, probe.at);
            self.counts.pages += u64::from(summary.samples > 0);
            self.counts.bad_lines += summary.bad_lines as u64;
            if summary.samples == 0 {
                self.counts.bad_pages += 1;
                probe.outcome = ProbeOutcome::Malformed;
            }
        }
        self.builder.metrics_probe(probe);
    }

    fn see_status(&mut self, answer: &Answer) {
        if let ProbeOutcome::Status(status) = answer.probe.outcome {
            let scaling = probe::says_scaling(status, &answer.body);
            self.builder.scaling(scaling, answer.ended);
        }
    }

    fn line(&mut self, line: &str) -> bool {
        let found = self.spec.patterns.find(line, self.version, self.hub.now());
        let Some(mark) = found else { return false };
        self.mark(mark);
        true
    }

    fn mark(&mut self, mark: LogMark) {
        self.builder.log_mark(mark);
    }

    fn note(&self, source: &'static str, problem: Option<String>) {
        self.hub.update_view(&self.spec.name, |view| match problem {
            Some(problem) => drop(view.notes.insert(source, problem)),
            None => drop(view.notes.remove(source)),
        });
    }

    /// Whether the process lives; a server on this machine whose process is not known is searched for by its port.
    pub(super) fn look_at_process(&mut self) {
        let now = self.hub.now();
        if let Some(process) = &self.process {
            let is_alive = process.is_alive();
            if is_alive || !self.has_parent {
                self.builder.process_alive(is_alive, now);
            }
            if !is_alive {
                self.process = None;
                self.samplers = None;
            }
            return;
        }
        if self.has_parent || self.spec.pid.is_some() {
            return;
        }
        let Some(address) = self.spec.endpoint.loopback() else {
            return;
        };
        // The search reads every process of the machine.
        if self.looked_at.is_some_and(|at| at.elapsed() < SEARCH_INTERVAL) {
            return;
        }
        self.looked_at = Some(Instant::now());
        match find(address, self.spec.endpoint.port()) {
            Ok(pid) => self.adopt(pid),
            Err(problem) => self.note("process", Some(problem)),
        }
    }

    fn adopt(&mut self, pid: u32) {
        let now = self.hub.now();
        let Some(process) = Identity::of(pid) else {
            self.builder.process_alive(false, now);
            self.note("process", Some(format!("there is no process {pid}")));
            return;
        };
        self.note("process", None);
        let told = ServerLimits::of(&process.command_line());
        self.limits = ServerLimits {
            max_model_len: told.max_model_len.or(self.limits.max_model_len),
            ..told
        };
        self.set_limits();
        self.pages.forget();
        self.builder.process_alive(true, now);
        self.process = Some(process);
        self.hub.update_view(&self.spec.name, |view| view.pid = Some(pid));
        let config = SamplerConfig {
            pid,
            interval: self.spec.interval.max(Duration::from_secs(1)),
            gpus: self.spec.gpus,
            nvml_library: self.spec.nvml_library.clone(),
        };
        match Samplers::start(&config, self.hub.clock()) {
            Ok(samplers) => self.samplers = Some(samplers),
            Err(e) => self.note("sampler", Some(format!("no sampler could be started: {e}"))),
        }
    }

    fn set_limits(&mut self) {
        let limits = self.limits;
        self.builder
            .limits(limits.max_running, limits.max_queued, limits.max_model_len);
    }

    pub(super) fn sampled(&mut self, sampled: Sampled) {
        match sampled {
            Sampled::Values(at, values) => {
                for (series, value) in values {
                    let labels: Vec<(&str, &str)> = series
                        .labels
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_str()))
                        .collect();
                    if let Some((_, gpu)) = labels.iter().find(|(name, _)| *name == "gpu")
                        && let Some(place) = self.lost_gpus.iter().position(|lost| lost == gpu)
                    {
                        self.lost_gpus.swap_remove(place);
                        self.builder.gpu_lost(gpu, false);
                    }
                    self.builder.sample(&series.name, &labels, value, at);
                }
            }
            Sampled::GpuLost(gpu) => {
                self.builder.gpu_lost(&gpu, true);
                self.lost_gpus.push(gpu);
            }
            Sampled::Unavailable(why) => self.note("gpu", Some(why)),
        }
    }

    pub(super) fn step(&mut self) {
        let now = self.hub.now();
        let waiting = self
            .canary_sent
            .map_or(Signal::default(), |sent| Signal::fresh(now.secs_since(sent), 0.0));
        let longest = self.spec.canary.map_or(0.0, |every| 2.5 * every.as_secs_f64());
        let last = self.canary_last.map_or(Signal::default(), |(result, at)| {
            Signal::aged(result, now.secs_since(at), longest)
        });
        self.builder.canary(CanarySignal {
            waiting_secs: waiting,
            last,
        });
        if let Some((own, at)) = &self.own {
            let age = now.secs_since(*at);
            let aged = |signal: Signal<f64>| match signal.last() {
                Some(value) => Signal::aged(value, age, 5.0),
                None => signal,
            };
            self.builder.own(OwnRequests {
                in_flight: aged(own.in_flight),
                since_progress_secs: aged(own.since_progress_secs).map(|secs| secs + age),
                queued_prompt_tokens: aged(own.queued_prompt_tokens),
            });
        }
        if let Some((samplers, _)) = &self.samplers {
            self.counts.lost_samples = samplers.lost();
        }
        let snapshot = self.builder.build(now);
        self.hub.step(snapshot);
        let counts = self.counts;
        self.hub.update_view(&self.spec.name, |view| {
            view.counts = Counts {
                steps: view.counts.steps,
                panics: view.counts.panics,
                ..counts
            };
        });
    }
}

fn find(address: Option<IpAddr>, port: u16) -> Result<u32, String> {
    listening_process(address, port).map_err(|e| e.to_string())
}
