//! The server: engines, admission and page, advanced by its caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Outcome, RequestRecord};
use crate::admission::Admission;
use crate::config::{MetricsStyle, SimConfig};
use crate::engine::{Dropped, Engine, Nanos, Output, PauseMode, Plan, Request, RequestId};
use crate::error::{Error, Result};
use crate::levers::{Lever, LeverSetting};
use crate::metrics::{HttpStats, page, sglang};

/// Wall time at virtual time 0, in Unix seconds, since the page shows wall times.
const EPOCH_UNIX_SECS: f64 = 1_700_000_000.0;

/// A generation request.
#[derive(Debug, Clone)]
pub struct VirtualRequest {
    /// Token ids of the prompt: at least one, and fewer than the longest sequence.
    pub prompt: Arc<[u32]>,
    /// Most tokens to generate; at least 1.
    pub max_tokens: u32,
    /// The model does not end on its own before this many.
    pub min_tokens: u32,
    /// The model never ends on its own: exactly `max_tokens` are generated, if they fit into the sequence.
    pub ignore_eos: bool,
    /// Mixed into the seed of the answer.
    pub seed: u64,
}

impl VirtualRequest {
    /// A request for exactly `tokens` tokens.
    pub fn of(prompt: Arc<[u32]>, tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens: tokens,
            min_tokens: 0,
            ignore_eos: true,
            seed: 0,
        }
    }
}

/// The activity of one engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineState {
    /// Requests in the front end.
    pub in_front_end: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests in the batch.
    pub running: usize,
    /// Share of the KV blocks in use, 0 to 1.
    pub kv_usage_ratio: f64,
    /// Preemptions since the server's start.
    pub preemptions: u64,
    /// Prompt tokens of requests that got their first token, since the server's start.
    pub prompt_tokens: u64,
    /// Tokens generated since the server's start.
    pub generation_tokens: u64,
    /// Steps since the server's start.
    pub steps: u64,
    /// Time in which a step was running, since the server's start.
    pub busy: Duration,
    /// True while no steps are planned.
    pub is_paused: bool,
    /// True while weights or KV cache are given up.
    pub is_asleep: bool,
}

/// A simulated server in virtual time. See the [module](super).
#[derive(Debug)]
pub struct VirtualServer {
    config: SimConfig,
    keep_token_times: bool,
    now: Nanos,
    next_number: u64,
    /// `None` while no server is running.
    life: Option<VirtualInstance>,
    slow_percent: u32,
    hung_since: Option<Nanos>,
    open: BTreeMap<u64, Open>,
    ended: Vec<RequestRecord>,
}

/// From one start of the server to its death.
#[derive(Debug)]
struct VirtualInstance {
    started: Nanos,
    engines: Vec<VirtualEngine>,
    admission: Admission,
    /// The engines are dead; the front end still answers.
    is_dead: bool,
}

#[derive(Debug)]
struct VirtualEngine {
    engine: Engine,
    doing: EngineActivity,
    busy: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum EngineActivity {
    Nothing,
    Waiting { until: Nanos },
    Step { start: Nanos, end: Nanos },
}

/// A request in flight.
#[derive(Debug)]
struct Open {
    engine: usize,
    id: RequestId,
    prompt_tokens: u32,
    arrival: Nanos,
    output_tokens: u32,
    last: Option<Output>,
    token_times: Vec<Duration>,
}

impl VirtualServer {
    /// A server that has just started, at virtual time 0. Only the fields of the configuration for engines,
    /// admission and the page are used; address, threads and GPUs are ignored.
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid value, and for fault rules, which need a clock.
    pub fn new(config: SimConfig) -> Result<Self> {
        config.validate()?;
        if !config.faults.is_empty() {
            return Err(Error::Config(
                "fault rules do not work in virtual time: call set_hung, set_slow, kill_engines, die or restart"
                    .to_owned(),
            ));
        }
        let mut server = Self {
            config,
            keep_token_times: false,
            now: 0,
            next_number: 0,
            life: None,
            slow_percent: 100,
            hung_since: None,
            open: BTreeMap::new(),
            ended: Vec::new(),
        };
        server.start();
        Ok(server)
    }

    /// Keeps the time of every token in the records. Off by default: it takes 16 bytes per token.
    pub fn keep_token_times(&mut self, keep: bool) {
        self.keep_token_times = keep;
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &SimConfig {
        &self.config
    }

    /// Virtual time since its creation.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Submits a request that arrives now. Returns its number; its record follows from
    /// [`VirtualServer::take_ended`], at once if it is rejected.
    pub fn submit(&mut self, request: VirtualRequest) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let prompt_tokens = request.prompt.len() as u32;
        let refuse = |server: &mut Self, outcome| {
            server
                .ended
                .push(refused(number, prompt_tokens, server.now(), outcome));
            number
        };
        let longest = self.config.engine.max_model_len;
        let fits = prompt_tokens >= 1 && prompt_tokens < longest && request.max_tokens >= 1;
        let Some(life) = &mut self.life else {
            return refuse(self, Outcome::ConnectionRefused);
        };
        if life.is_dead {
            return refuse(self, Outcome::Refused { status: 500 });
        }
        if !fits {
            return refuse(self, Outcome::Refused { status: 400 });
        }
        if !life.admission.admits(self.now, 1, u64::from(prompt_tokens)) {
            return refuse(self, Outcome::Refused { status: 503 });
        }
        life.admission.entered(u64::from(prompt_tokens));
        let engine = (0..life.engines.len())
            .min_by_key(|&at| life.engines[at].engine.unfinished())
            .expect("a server has an engine");
        let id = life.engines[engine].engine.submit(
            self.now,
            Request {
                route: number,
                prompt: request.prompt,
                max_tokens: request.max_tokens,
                min_tokens: request.min_tokens,
                ignore_eos: request.ignore_eos,
                seed: request.seed,
                reference: None,
            },
        );
        let open = Open {
            engine,
            id,
            prompt_tokens,
            arrival: self.now,
            output_tokens: 0,
            last: None,
            token_times: Vec::new(),
        };
        self.open.insert(number, open);
        number
    }

    /// Numbers of the requests in flight, oldest first.
    pub fn in_flight(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    /// Cancels a request, as if its client had disconnected. Returns whether it was in flight.
    pub fn cancel(&mut self, number: u64) -> bool {
        let Some(open) = self.open.remove(&number) else {
            return false;
        };
        if let Some(life) = &mut self.life
            && let Some(dropped) = life.engines[open.engine].engine.abort(open.id)
        {
            life.account(dropped);
        }
        self.close(number, open, Outcome::Cancelled);
        true
    }

    /// The server ends a request, with reason `abort`: vLLM's `/abort_requests`. Returns whether it was in flight.
    pub fn abort(&mut self, number: u64) -> bool {
        let (Some(open), Some(life)) = (self.open.get(&number), &mut self.life) else {
            return false;
        };
        let Some(dropped) = life.engines[open.engine].engine.end_by_abort(open.id) else {
            return false;
        };
        life.account(dropped);
        self.collect_aborted();
        true
    }

    /// The server ends the `count` newest requests in flight. Returns how many it ended.
    pub fn abort_newest(&mut self, count: usize) -> usize {
        let newest: Vec<u64> = self.open.keys().rev().copied().take(count).collect();
        newest.into_iter().filter(|&number| self.abort(number)).count()
    }

    /// The server ends the `count` requests in flight that hold the most tokens. Returns how many it ended.
    pub fn abort_longest(&mut self, count: usize) -> usize {
        let mut longest: Vec<(u64, u64)> = self
            .open
            .iter()
            .map(|(&number, open)| (u64::from(open.prompt_tokens + open.output_tokens), number))
            .collect();
        longest.sort_unstable_by_key(|&(tokens, number)| (std::cmp::Reverse(tokens), number));
        let longest = longest.into_iter().take(count);
        longest.filter(|&(_, number)| self.abort(number)).count()
    }

    /// Time of the next event without a further call: a step ends or a request reaches the queue. `None`
    /// while the server is idle.
    pub fn next_event(&mut self) -> Option<Duration> {
        self.next().map(|(_, at)| Duration::from_nanos(at))
    }

    /// Advances time and processes everything due until then. A time in the past has no effect.
    pub fn advance_to(&mut self, time: Duration) {
        let until = nanos(time);
        while let Some((engine, at)) = self.next()
            && at <= until
        {
            self.now = at;
            self.finish(engine);
        }
        self.now = self.now.max(until);
    }

    /// Records of the requests that have ended since the last call, in the order in which they ended.
    pub fn take_ended(&mut self) -> Vec<RequestRecord> {
        std::mem::take(&mut self.ended)
    }

    /// The current metrics page; `None` while no server is running.
    pub fn metrics_page(&self) -> Option<String> {
        let life = self.life.as_ref()?;
        let engines: Vec<_> = life.engines.iter().map(|e| e.engine.stats().clone()).collect();
        let snapshot = page::Snapshot {
            model: &self.config.model,
            config: &self.config.engine,
            engines: &engines,
            http: &HttpStats::new(),
            rejections: life.admission.rejections(),
            started_secs: EPOCH_UNIX_SECS + life.started as f64 / 1e9,
            process: None,
        };
        Some(match self.config.metrics_style {
            MetricsStyle::Vllm => page::render(&snapshot),
            MetricsStyle::Sglang => sglang::render(&snapshot),
        })
    }

    /// Status of `/health`: 200, 503 when the engines are dead or [`Lever::Drain`] is set, `None` while no
    /// server is running. As with vLLM, a hung engine is healthy.
    pub fn health(&self) -> Option<u16> {
        self.life.as_ref().map(|life| {
            let is_drained = life.admission.levers().get(Lever::Drain, self.now) == Some(1);
            if life.is_dead || is_drained { 503 } else { 200 }
        })
    }

    /// The activity of each engine; empty while no server is running.
    pub fn engines(&self) -> Vec<EngineState> {
        let engines = self.life.iter().flat_map(|life| &life.engines);
        engines
            .map(|e| {
                let stats = e.engine.stats();
                let (in_front_end, waiting, running) = e.engine.queues();
                EngineState {
                    in_front_end,
                    waiting,
                    running,
                    kv_usage_ratio: stats.kv_usage,
                    preemptions: stats.preemptions,
                    prompt_tokens: stats.prompt_tokens,
                    generation_tokens: stats.generation_tokens,
                    steps: stats.steps,
                    busy: Duration::from_nanos(e.busy),
                    is_paused: e.engine.is_paused(),
                    is_asleep: e.engine.is_asleep(),
                }
            })
            .collect()
    }

    /// Sets a lever for `ttl`, after which it returns to its default by itself.
    ///
    /// # Errors
    /// [`Error::Config`] for a value outside [`Lever::bounds`].
    pub fn set_lever(&mut self, lever: Lever, value: u64, ttl: Duration) -> Result<()> {
        lever.check(value, &self.config)?;
        let until = self.now.saturating_add(nanos(ttl));
        self.change_levers(|levers| levers.set(lever, value, until));
        Ok(())
    }

    /// Resets a lever to its default.
    pub fn reset_lever(&mut self, lever: Lever) {
        self.change_levers(|levers| levers.reset(lever));
    }

    /// The levers that are not at their default.
    pub fn levers(&self) -> Vec<LeverSetting> {
        let life = self.life.as_ref();
        life.map(|life| life.admission.levers().moved(self.now))
            .unwrap_or_default()
    }

    /// vLLM's `/pause`. Requests in flight end, run out or stop according to `mode`; new ones are accepted
    /// and wait.
    pub fn pause(&mut self, mode: PauseMode) {
        if mode == PauseMode::Abort {
            for number in self.in_flight() {
                self.abort(number);
            }
        }
        self.for_engines(|engine| engine.pause(mode));
    }

    /// vLLM's `/resume`.
    pub fn resume(&mut self) {
        self.for_engines(Engine::resume);
    }

    /// vLLM's `/sleep`: a pause that at levels 1 and 2 also gives up weights and KV cache. Requests that are
    /// in flight after [`PauseMode::Keep`] are recomputed. [`PauseMode::Wait`] is treated as `Keep`, since
    /// virtual time cannot pass within a call.
    pub fn sleep(&mut self, level: u8, mode: PauseMode) {
        self.pause(mode);
        self.for_engines(|engine| engine.fall_asleep(level.min(2)));
        // The results of the current step are lost.
        for e in self.life.iter_mut().flat_map(|life| &mut life.engines) {
            if level > 0 {
                e.engine.drop_step();
                e.doing = EngineActivity::Nothing;
            }
        }
    }

    /// vLLM's `/wake_up` without tags.
    pub fn wake_up(&mut self) {
        self.for_engines(|engine| engine.wake_up(true, true));
    }

    /// vLLM's `/reset_prefix_cache`: false if a block is in use.
    pub fn reset_prefix_cache(&mut self) -> bool {
        let engines = self.life.iter_mut().flat_map(|life| &mut life.engines);
        let done: Vec<bool> = engines.map(|e| e.engine.reset_prefix_cache()).collect();
        done.into_iter().all(|done| done)
    }

    /// Scales the duration of steps that begin from now on, in percent: at 150 a step takes one and a half
    /// times as long.
    pub fn set_slow(&mut self, percent: u32) {
        self.slow_percent = percent;
        self.for_engines(|engine| engine.set_slow(percent));
    }

    /// Freezes the engines, or lets them continue. While frozen, requests enter, no tokens leave, gauges keep
    /// their values.
    pub fn set_hung(&mut self, hung: bool) {
        match (hung, self.hung_since) {
            (true, None) => self.hung_since = Some(self.now),
            (false, Some(since)) => {
                self.hung_since = None;
                let lost = self.now - since;
                for e in self.life.iter_mut().flat_map(|life| &mut life.engines) {
                    if let EngineActivity::Step { end, .. } = &mut e.doing {
                        *end += lost;
                    }
                }
            }
            _ => {}
        }
    }

    /// Every engine dies: requests in flight end as [`Outcome::Broken`], new ones get status 500,
    /// [`VirtualServer::health`] is 503, and [`VirtualServer::metrics_page`] keeps its last values. Only
    /// [`VirtualServer::restart`] brings them back. Does nothing while no server is running.
    pub fn kill_engines(&mut self) {
        if let Some(life) = &mut self.life {
            life.is_dead = true;
        }
        self.break_all();
    }

    /// The whole server ends, as if its processes had been killed.
    pub fn die(&mut self) {
        self.break_all();
        self.life = None;
    }

    /// Starts a new server at the same address: counters at 0, levers at their defaults, nothing hung. A
    /// running one dies first.
    pub fn restart(&mut self) {
        self.die();
        self.start();
    }

    fn start(&mut self) {
        self.hung_since = None;
        let engine = || {
            let mut engine = Engine::new(self.config.engine.clone());
            engine.set_slow(self.slow_percent);
            VirtualEngine {
                engine,
                doing: EngineActivity::Nothing,
                busy: 0,
            }
        };
        self.life = Some(VirtualInstance {
            started: self.now,
            engines: (0..self.config.replicas).map(|_| engine()).collect(),
            admission: Admission::new(self.config.max_num_queued_reqs, self.config.max_num_queued_tokens),
            is_dead: false,
        });
    }

    /// Starts steps on every idle engine; then returns the earliest event and its engine.
    fn next(&mut self) -> Option<(usize, Nanos)> {
        let now = self.now;
        let life = self.life.as_mut().filter(|life| !life.is_dead)?;
        if self.hung_since.is_some() {
            return None;
        }
        let due = life.engines.iter_mut().enumerate().filter_map(|(at, e)| {
            if e.doing == EngineActivity::Nothing {
                e.doing = match e.engine.begin_step(now) {
                    Plan::Idle => EngineActivity::Nothing,
                    Plan::Wait { until } => EngineActivity::Waiting { until },
                    Plan::Step { end } => EngineActivity::Step { start: now, end },
                };
            }
            match e.doing {
                EngineActivity::Nothing => None,
                // After a hang it may be in the past.
                EngineActivity::Waiting { until } => Some((at, until.max(now))),
                EngineActivity::Step { end, .. } => Some((at, end)),
            }
        });
        due.min_by_key(|&(engine, at)| (at, engine))
    }

    /// Processes the due event of one engine.
    fn finish(&mut self, engine: usize) {
        let now = self.now;
        let Some(life) = &mut self.life else { return };
        let e = &mut life.engines[engine];
        let doing = std::mem::replace(&mut e.doing, EngineActivity::Nothing);
        let EngineActivity::Step { start, .. } = doing else {
            return;
        };
        e.busy += now - start;
        let mut outputs = Vec::new();
        let mut prefilled = 0;
        e.engine.finish_step(now, |output, prompt_tokens| {
            prefilled += prompt_tokens;
            outputs.push(output);
        });
        life.admission.prefilled(prefilled);
        life.admission
            .left(outputs.iter().filter(|output| output.finish.is_some()).count());
        for output in outputs {
            self.take(output);
        }
    }

    fn take(&mut self, output: Output) {
        let number = output.route;
        let Some(open) = self.open.get_mut(&number) else {
            return;
        };
        open.last = Some(output);
        if output.token.is_some() {
            open.output_tokens += 1;
            if self.keep_token_times {
                open.token_times
                    .push(Duration::from_nanos(output.timing.last_token));
            }
        }
        if let Some(reason) = output.finish
            && let Some(open) = self.open.remove(&number)
        {
            self.close(number, open, Outcome::Finished(reason));
        }
    }

    fn collect_aborted(&mut self) {
        let engines = self.life.iter_mut().flat_map(|life| &mut life.engines);
        let outputs: Vec<Output> = engines.flat_map(|e| e.engine.take_aborted()).collect();
        for output in outputs {
            self.take(output);
        }
    }

    fn break_all(&mut self) {
        for (number, open) in std::mem::take(&mut self.open) {
            self.close(number, open, Outcome::Broken);
        }
    }

    fn close(&mut self, number: u64, open: Open, outcome: Outcome) {
        let last = open.last;
        let timing = last.map(|output| output.timing);
        let has_token = open.output_tokens > 0;
        self.ended.push(RequestRecord {
            number,
            engine: Some(open.engine as u32),
            prompt_tokens: open.prompt_tokens,
            cached_prompt_tokens: last.map_or(0, |output| output.cached_prompt_tokens),
            output_tokens: open.output_tokens,
            preemptions: last.map_or(0, |output| output.preemptions),
            arrival: Duration::from_nanos(open.arrival),
            queued: timing.map(|t| Duration::from_nanos(t.queued)),
            scheduled: timing
                .filter(|t| t.is_scheduled)
                .map(|t| Duration::from_nanos(t.scheduled)),
            first_token: timing
                .filter(|_| has_token)
                .map(|t| Duration::from_nanos(t.first_token)),
            last_token: timing
                .filter(|_| has_token)
                .map(|t| Duration::from_nanos(t.last_token)),
            ended: self.now(),
            outcome,
            token_times: open.token_times,
        });
    }

    fn change_levers(&mut self, change: impl FnOnce(&mut crate::levers::LeverState)) {
        let Some(life) = &mut self.life else { return };
        let levers = life.admission.change_levers(change);
        for e in &mut life.engines {
            e.engine.set_levers(levers);
        }
    }

    fn for_engines(&mut self, mut act: impl FnMut(&mut Engine)) {
        for e in self.life.iter_mut().flat_map(|life| &mut life.engines) {
            act(&mut e.engine);
        }
    }
}

impl VirtualInstance {
    fn account(&self, dropped: Dropped) {
        self.admission.left(1);
        if !dropped.has_first_token {
            self.admission.prefilled(dropped.prompt_tokens);
        }
    }
}

fn refused(number: u64, prompt_tokens: u32, at: Duration, outcome: Outcome) -> RequestRecord {
    RequestRecord {
        number,
        engine: None,
        prompt_tokens,
        cached_prompt_tokens: 0,
        output_tokens: 0,
        preemptions: 0,
        arrival: at,
        queued: None,
        scheduled: None,
        first_token: None,
        last_token: None,
        ended: at,
        outcome,
        token_times: Vec::new(),
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
