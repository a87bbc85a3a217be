//! One task per server: collects what the sources report and evaluates a snapshot at each tick.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use vllm_metrics::host::listening_process;
use vllm_monitor::lifecycle::{LogMark, LogPatterns};
use vllm_monitor::snapshot::{Canary as CanarySignal, CanaryResult, Exit, OwnRequests};
use vllm_monitor::{ProbeOutcome, Signal, SnapshotBuilder, StaleAfter, Time};

use crate::hub::{Counts, Hub};
use crate::probe::{self, Answer, Canary, Endpoint, Limits, PageReader};
use crate::process::{Identity, ServerLimits};
use crate::sampler::{Sampled, SamplerConfig, Samplers};
use crate::tail::Tail;

/// Reports that wait for one target's task. Sources wait when it is full.
const QUEUE: usize = 256;
/// Time between looks at routes that change seldom.
const SLOW: Duration = Duration::from_secs(10);
/// Time until a failed probe of `/health` is repeated, so that a failure is confirmed within a second.
const AGAIN: Duration = Duration::from_millis(250);
/// Failed probes that are repeated at once.
const CONFIRMATIONS: u32 = 4;
/// Time between looks at a log file.
const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// Marks of one portion of a log that are passed on; a server that floods its log has said enough.
const MOST_MARKS: usize = 200;

/// One server to observe.
#[derive(Debug, Clone)]
pub struct TargetSpec {
    /// Its name in labels and files.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its first process, if given.
    pub pid: Option<u32>,
    /// Its log file.
    pub log: Option<PathBuf>,
    /// The model that it should serve; any if none is given.
    pub model: Option<String>,
    /// Time between snapshots, probes and pages.
    pub interval: Duration,
    /// Time between canaries; none if not given.
    pub canary: Option<Duration>,
    /// Read the GPUs of a server on this machine.
    pub gpus: bool,
    /// Another driver library than the system's.
    pub nvml_library: Option<PathBuf>,
    /// Patterns of its log.
    pub patterns: Arc<LogPatterns>,
}

/// What a source reports.
#[derive(Debug)]
pub enum Note {
    /// An answer of `/health`.
    Health(Answer),
    /// An answer of `/metrics`.
    Page(Answer),
    /// Whether the model is listed, and the longest sequence.
    Models(bool, Option<f64>, Time),
    /// Whether scheduling is paused.
    Paused(bool, Time),
    /// The server's version.
    Version(String),
    /// A line of the log.
    Line(String),
    /// The log is read, or why it is not.
    Log(Result<(), String>),
    /// A canary was sent.
    CanarySent(Time),
    /// A canary ended.
    CanaryDone(CanaryResult, Time),
    /// The server's process ended, as its parent saw it.
    Exit(Exit),
    /// The server's process, as its parent started it.
    Started(u32),
    /// Someone asked the server to stop, or withdrew it.
    StopRequested(bool),
    /// Requests of our own that are in flight.
    Own(OwnRequests),
}

/// A target's task.
#[derive(Debug)]
pub struct Target {
    notes: mpsc::Sender<Note>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    /// Starts to observe.
    pub fn spawn(spec: TargetSpec, hub: Arc<Hub>) -> Self {
        let (notes, received) = mpsc::channel(QUEUE);
        hub.add(&spec.name, spec.endpoint.url());
        let task = tokio::spawn(observe(spec, hub, notes.clone(), received));
        Self { notes, task }
    }

    /// Where a parent or a harness reports what it knows of the server.
    pub fn notes(&self) -> mpsc::Sender<Note> {
        self.notes.clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(
    spec: TargetSpec,
    hub: Arc<Hub>,
    notes: mpsc::Sender<Note>,
    mut received: mpsc::Receiver<Note>,
) {
    let mut sources = JoinSet::new();
    // Targets start at different moments of an interval, so that many of them do not probe at once.
    let offset = spec.interval.mul_f64(spread(&spec.name));
    let shared = Arc::new(Shared {
        spec: spec.clone(),
        hub: Arc::clone(&hub),
        notes,
        served: Mutex::default(),
    });
    sources.spawn(health(Arc::clone(&shared), offset));
    sources.spawn(pages(Arc::clone(&shared), offset));
    sources.spawn(slow_routes(Arc::clone(&shared), offset));
    if let Some(path) = spec.log.clone() {
        sources.spawn(log(Arc::clone(&shared), path));
    }
    if let Some(every) = spec.canary {
        sources.spawn(canaries(Arc::clone(&shared), every));
    }
    let mut watched = Watched::new(spec, hub);
    let mut tick = interval_at(Instant::now() + offset, watched.spec.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last_tick = Instant::now() + offset;
    loop {
        let sampled = async {
            match &mut watched.samplers {
                Some((_, sampled)) => sampled.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(note) = received.recv() => {
                if watched.take(note) {
                    watched.step();
                }
            }
            sampled = sampled => match sampled {
                Some(sampled) => watched.sampled(sampled),
                // Both samplers have ended; the host's never does by itself.
                None => watched.samplers = None,
            },
            now = tick.tick() => {
                let missed = now.duration_since(last_tick).as_secs_f64() / watched.spec.interval.as_secs_f64();
                watched.counts.missed_ticks += (missed.round() as u64).saturating_sub(1);
                last_tick = now;
                watched.look_at_process();
                // A server that runs already looks like one that starts until its first answer.
                if watched.health.is_some() || watched.has_parent {
                    watched.step();
                }
            }
        }
    }
}

/// From 0 to 1, by the name.
fn spread(name: &str) -> f64 {
    let hash = name.bytes().fold(2_166_136_261_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    f64::from(hash) / f64::from(u32::MAX)
}

/// What the sources of one target share.
struct Shared {
    spec: TargetSpec,
    hub: Arc<Hub>,
    notes: mpsc::Sender<Note>,
    /// The first model that the server lists, for the canary.
    served: Mutex<Option<String>>,
}

impl Shared {
    async fn get(&self, path: &str, limits: Limits) -> Answer {
        probe::get(&self.spec.endpoint, path, limits, self.hub.clock()).await
    }

    /// The receiver ends after its sources, so a failure to send is the end.
    async fn send(&self, note: Note) {
        let _ended = self.notes.send(note).await;
    }
}

async fn health(shared: Arc<Shared>, offset: Duration) {
    sleep(offset).await;
    let mut failures = 0;
    let mut next = Instant::now();
    loop {
        let answer = shared.get("/health", Limits::SHORT).await;
        let is_well = answer.probe.outcome.is_success();
        failures = if is_well { 0 } else { failures + 1 };
        shared.send(Note::Health(answer)).await;
        let interval = shared.spec.interval;
        let wait = if (1..=CONFIRMATIONS).contains(&failures) {
            AGAIN.min(interval)
        } else {
            interval
        };
        next = (next + wait).max(Instant::now());
        tokio::time::sleep_until(next).await;
    }
}

async fn pages(shared: Arc<Shared>, offset: Duration) {
    let mut tick = interval_at(Instant::now() + offset, shared.spec.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let answer = shared.get("/metrics", Limits::PAGE).await;
        shared.send(Note::Page(answer)).await;
    }
}

/// `/version`, `/v1/models` and `/is_paused`. Only a server in its development mode has the last.
async fn slow_routes(shared: Arc<Shared>, offset: Duration) {
    sleep(offset).await;
    let mut round: u32 = 0;
    let mut has_pause = true;
    loop {
        // A pause must be known before its silence looks like a hang; the other two change with a restart only.
        let is_full = round.is_multiple_of(5);
        if is_full {
            let answer = shared.get("/version", Limits::SHORT).await;
            if let Some(version) = answer.success().and_then(|body| probe::version(body)) {
                shared.send(Note::Version(version)).await;
            }
            let answer = shared.get("/v1/models", Limits::SHORT).await;
            if let Some(Ok((names, longest))) = answer.success().map(|body| probe::models(body)) {
                let listed = match &shared.spec.model {
                    Some(wanted) => names.contains(wanted),
                    None => !names.is_empty(),
                };
                *shared.served.lock().unwrap_or_else(PoisonError::into_inner) = names.into_iter().next();
                shared.send(Note::Models(listed, longest, answer.ended)).await;
            }
        }
        if has_pause || round.is_multiple_of(30) {
            let answer = shared.get("/is_paused", Limits::SHORT).await;
            match answer.probe.outcome {
                ProbeOutcome::Status(200) => {
                    has_pause = true;
                    let text = String::from_utf8_lossy(&answer.body).replace(' ', "");
                    shared
                        .send(Note::Paused(text.contains("\"is_paused\":true"), answer.ended))
                        .await;
                }
                ProbeOutcome::Status(_) => has_pause = false,
                _ => {}
            }
        }
        round = round.wrapping_add(1);
        sleep(SLOW / 5).await;
    }
}

async fn log(shared: Arc<Shared>, path: PathBuf) {
    let mut tail = Tail::new(path);
    let mut said = None;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            let found = tail.poll(|line| lines.push(line.to_owned()));
            (tail, lines, found)
        });
        let Ok((back, lines, found)) = read.await else {
            return;
        };
        tail = back;
        let state = match found {
            Ok(true) => Ok(()),
            Ok(false) => Err("the log file does not exist".to_owned()),
            Err(e) => Err(format!("the log file cannot be read: {e}")),
        };
        if said.as_ref() != Some(&state) {
            said = Some(state.clone());
            shared.send(Note::Log(state)).await;
        }
        let patterns = &shared.spec.patterns;
        let marks = lines
            .into_iter()
            .filter(|line| patterns.find(line, None, Time::ZERO).is_some())
            .take(MOST_MARKS);
        for line in marks {
            shared.send(Note::Line(line)).await;
        }
        sleep(LOG_INTERVAL).await;
    }
}

async fn canaries(shared: Arc<Shared>, every: Duration) {
    let Ok(mut canary) = Canary::new(&shared.spec.endpoint) else {
        return;
    };
    let mut tick = interval_at(Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let is_up = shared
            .hub
            .read_target(&shared.spec.name, |target| target.state().is_up());
        let listed = shared
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let model = shared.spec.model.clone().or(listed);
        let (Some(true), Some(model)) = (is_up, model) else {
            continue;
        };
        shared.send(Note::CanarySent(shared.hub.now())).await;
        let result = canary.send(&model).await;
        shared.send(Note::CanaryDone(result, shared.hub.now())).await;
    }
}

/// What the task itself keeps.
struct Watched {
    spec: TargetSpec,
    hub: Arc<Hub>,
    builder: SnapshotBuilder,
    pages: PageReader,
    counts: Counts,
    samplers: Option<(Samplers, mpsc::Receiver<Sampled>)>,
    process: Option<Identity>,
    /// A parent reports the process, so it is not searched for.
    has_parent: bool,
    limits: ServerLimits,
    looked_at: Option<Instant>,
    health: Option<ProbeOutcome>,
    canary_sent: Option<Time>,
    canary_last: Option<(CanaryResult, Time)>,
    own: Option<(OwnRequests, Time)>,
    version: Option<vllm_metrics::catalog::Version>,
    lost_gpus: Vec<String>,
}

impl Watched {
    fn new(spec: TargetSpec, hub: Arc<Hub>) -> Self {
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
    fn take(&mut self, note: Note) -> bool {
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
    fn look_at_process(&mut self) {
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
        if self.looked_at.is_some_and(|at| at.elapsed() < SLOW / 2) {
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

    fn sampled(&mut self, sampled: Sampled) {
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

    fn step(&mut self) {
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
