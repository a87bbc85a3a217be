//! A continuous-batching engine in virtual time: paged KV blocks, FCFS admission, chunked prefill, preemption by
//! recompute of the youngest. Times come from a linear step model. Small and fast enough for days of virtual time.

use std::collections::VecDeque;

use super::rng::Rng;

/// What the engine is like.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub kv_blocks: u32,
    pub block_tokens: u32,
    pub max_running: usize,
    pub max_batched_tokens: u32,
    /// Requests waiting and running beyond which the server refuses; `None` for no limit.
    pub max_queued: Option<usize>,
    pub step_secs: f64,
    pub per_token_secs: f64,
    pub per_sequence_secs: f64,
    pub per_context_token_secs: f64,
    pub jitter: f64,
}

impl EngineConfig {
    pub fn capacity_tokens(&self) -> f64 {
        f64::from(self.kv_blocks) * f64::from(self.block_tokens)
    }

    /// Time of a step that decodes `running` sequences with `context` tokens in all.
    pub fn decode_step_secs(&self, running: f64, context: f64) -> f64 {
        self.step_secs
            + running * (self.per_token_secs + self.per_sequence_secs)
            + context * self.per_context_token_secs
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub arrival_secs: f64,
    pub prompt: u32,
    pub output: u32,
}

#[derive(Debug, Clone)]
struct Sequence {
    request: Request,
    generated: u32,
    computed: u32,
    blocks: u32,
    scheduled_secs: Option<f64>,
    last_token_secs: f64,
}

impl Sequence {
    fn len(&self) -> u32 {
        self.request.prompt + self.generated
    }
}

/// Counters as the metrics page shows them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    pub running: f64,
    pub waiting: f64,
    pub kv_usage: f64,
    pub steps: f64,
    pub step_tokens: f64,
    pub preemptions: f64,
    pub prompt_tokens: f64,
    pub generation_tokens: f64,
    pub finished: f64,
    pub rejected: f64,
    pub itl: (f64, f64),
    pub ttft: (f64, f64),
    pub queue: (f64, f64),
    pub inference: (f64, f64),
    pub request_prompt: (f64, f64),
    pub request_generation: (f64, f64),
}

#[derive(Debug)]
pub struct Engine {
    pub config: EngineConfig,
    pub stats: Stats,
    /// Multiplies every step's time.
    pub slow: f64,
    /// No step is made while set.
    pub frozen: bool,
    now_secs: f64,
    free: u32,
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    rng: Rng,
    /// When the first preemption of each episode came.
    pub preempted_at: Vec<f64>,
    pub rejected_at: Vec<f64>,
}

impl Engine {
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        Self {
            free: config.kv_blocks,
            config,
            stats: Stats::default(),
            slow: 1.0,
            frozen: false,
            now_secs: 0.0,
            running: Vec::new(),
            waiting: VecDeque::new(),
            rng: Rng::new(seed ^ 0xE61E),
            preempted_at: Vec::new(),
            rejected_at: Vec::new(),
        }
    }

    pub fn unfinished(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    pub fn submit(&mut self, request: Request) {
        let limit = (self.config.capacity_tokens() as u32).saturating_sub(2 * self.config.block_tokens);
        let prompt = request.prompt.clamp(1, limit / 2);
        let request = Request {
            prompt,
            output: request.output.clamp(1, limit - prompt),
            ..request
        };
        if self
            .config
            .max_queued
            .is_some_and(|most| self.unfinished() >= most)
        {
            self.stats.rejected += 1.0;
            self.rejected_at.push(request.arrival_secs);
            return;
        }
        self.waiting.push_back(Sequence {
            request,
            generated: 0,
            computed: 0,
            blocks: 0,
            scheduled_secs: None,
            last_token_secs: request.arrival_secs,
        });
    }

    /// Runs until `until_secs`, taking requests from the source as they arrive.
    pub fn advance(
        &mut self,
        until_secs: f64,
        source: &mut std::iter::Peekable<impl Iterator<Item = Request>>,
    ) {
        loop {
            while let Some(request) = source.next_if(|request| request.arrival_secs <= self.now_secs) {
                self.submit(request);
            }
            if self.now_secs >= until_secs {
                return;
            }
            let next = source
                .peek()
                .map_or(f64::INFINITY, |request| request.arrival_secs);
            if self.frozen || (self.running.is_empty() && self.waiting.is_empty()) {
                self.now_secs = next.min(until_secs).max(self.now_secs);
                if self.now_secs >= until_secs && next > until_secs {
                    return;
                }
                continue;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        let block = self.config.block_tokens;
        let mut budget = self.config.max_batched_tokens;
        let mut preempted = false;
        let mut tokens = vec![0u32; self.running.len()];
        let mut i = 0;
        while i < self.running.len() {
            let want = (self.running[i].len() - self.running[i].computed).min(budget);
            let end = self.running[i].computed + want;
            let needed = end.div_ceil(block).saturating_sub(self.running[i].blocks);
            while needed > self.free && self.running.len() > i + 1 {
                self.preempt_last();
                tokens.pop();
                preempted = true;
            }
            if needed > self.free {
                // It is the youngest itself that lacks a block.
                self.preempt_last();
                tokens.pop();
                preempted = true;
                break;
            }
            self.free -= needed;
            self.running[i].blocks += needed;
            tokens[i] = want;
            budget -= want;
            i += 1;
        }
        while !preempted && budget > 0 && self.running.len() < self.config.max_running {
            let Some(sequence) = self.waiting.front() else {
                break;
            };
            let want = sequence.len().min(budget);
            let needed = want.div_ceil(block);
            if needed > self.free {
                break;
            }
            let mut sequence = self.waiting.pop_front().expect("it was looked at");
            self.free -= needed;
            sequence.blocks = needed;
            sequence.computed = 0;
            if sequence.scheduled_secs.is_none() {
                sequence.scheduled_secs = Some(self.now_secs);
                self.stats.queue.0 += self.now_secs - sequence.request.arrival_secs;
                self.stats.queue.1 += 1.0;
            }
            budget -= want;
            tokens.push(want);
            self.running.push(sequence);
        }
        let total: u32 = tokens.iter().sum();
        let context: f64 = self.running.iter().map(|s| f64::from(s.computed)).sum::<f64>() + f64::from(total);
        let c = &self.config;
        let secs = c.step_secs
            + f64::from(total) * c.per_token_secs
            + self.running.len() as f64 * c.per_sequence_secs
            + context * c.per_context_token_secs;
        let jitter = 1.0 + c.jitter * self.rng.normal().clamp(-3.0, 3.0);
        self.now_secs += secs * self.slow * jitter.max(0.1);
        self.finish(&tokens, total);
    }

    fn finish(&mut self, tokens: &[u32], total: u32) {
        let now = self.now_secs;
        let stats = &mut self.stats;
        let mut outputs = 0;
        let mut freed = 0;
        let mut place = 0;
        self.running.retain_mut(|sequence| {
            sequence.computed += tokens[place];
            place += 1;
            if sequence.computed < sequence.len() {
                return true;
            }
            outputs += 1;
            if sequence.generated == 0 {
                stats.prompt_tokens += f64::from(sequence.request.prompt);
                stats.ttft.0 += now - sequence.request.arrival_secs;
                stats.ttft.1 += 1.0;
            } else {
                stats.itl.0 += now - sequence.last_token_secs;
                stats.itl.1 += 1.0;
            }
            sequence.last_token_secs = now;
            sequence.generated += 1;
            stats.generation_tokens += 1.0;
            if sequence.generated < sequence.request.output {
                return true;
            }
            stats.finished += 1.0;
            stats.request_prompt.0 += f64::from(sequence.request.prompt);
            stats.request_prompt.1 += 1.0;
            stats.request_generation.0 += f64::from(sequence.generated);
            stats.request_generation.1 += 1.0;
            stats.inference.0 += now - sequence.scheduled_secs.unwrap_or(now);
            stats.inference.1 += 1.0;
            freed += sequence.blocks;
            false
        });
        self.free += freed;
        if outputs > 0 {
            self.stats.steps += 1.0;
            self.stats.step_tokens += f64::from(total);
        }
        self.stats.running = self.running.len() as f64;
        self.stats.waiting = self.waiting.len() as f64;
        self.stats.kv_usage = 1.0 - f64::from(self.free) / f64::from(self.config.kv_blocks);
    }

    fn preempt_last(&mut self) {
        let mut victim = self.running.pop().expect("at least one sequence is running");
        self.free += victim.blocks;
        victim.blocks = 0;
        victim.computed = 0;
        self.waiting.push_front(victim);
        self.stats.preemptions += 1.0;
        let now = self.now_secs;
        self.preempted_at.push(now);
        // Only episodes matter: keep the first of each minute.
        if let [.., before, _] = self.preempted_at[..]
            && now - before < 1.0
        {
            self.preempted_at.pop();
            if let Some(last) = self.preempted_at.last_mut() {
                *last = now;
            }
        }
    }
}
