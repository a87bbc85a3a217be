//! Continuous batching over one block pool: chooses the tokens and sequences that the next step computes.

use std::collections::VecDeque;

use super::blocks::{BlockId, BlockPool};
use super::sequence::Sequence;
use super::stats::{EngineStats, THROUGHPUT_STEPS};
use super::{FinishReason, InFlight, Nanos, Output, PauseMode, Plan, Request, RequestId, Sleep};
use crate::config::EngineConfig;
use crate::levers::{Lever, LeverState};
use crate::rng::{mix2, normal};

/// In the current step, sequence `slot` computes `tokens`.
#[derive(Debug, Clone, Copy)]
struct Scheduled {
    slot: u32,
    serial: u32,
    tokens: u32,
}

/// Whether new steps are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planning {
    Running,
    /// Until the requests from before the pause have ended.
    Draining,
    Paused,
}

/// One engine. See the module above.
#[derive(Debug)]
pub(crate) struct Engine {
    config: EngineConfig,
    pool: BlockPool,
    slots: Vec<Option<Sequence>>,
    free_slots: Vec<u32>,
    next_serial: u32,
    /// Slots, oldest first: the last one is preempted first.
    running: Vec<u32>,
    waiting: VecDeque<u32>,
    /// On their way through the front end, oldest first.
    arriving: VecDeque<u32>,
    step: Vec<Scheduled>,
    stepping: bool,
    steps: u64,
    planning: Planning,
    sleep: Sleep,
    levers: LeverState,
    aborted: Vec<Output>,
    /// When the serial front end has processed all current requests.
    front_end_free: Nanos,
    slow_percent: u32,
    last_arrival: Nanos,
    /// Time and token count at the last throughput update.
    throughput_from: (Nanos, u64),
    stats: EngineStats,
}

/// Pending accounting of an aborted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) prompt_tokens: u64,
    pub(crate) has_first_token: bool,
}

impl Dropped {
    fn of(sequence: &Sequence) -> Self {
        Self {
            prompt_tokens: sequence.prompt.len() as u64,
            has_first_token: sequence.generated > 0,
        }
    }
}

impl Engine {
    /// An idle engine. The configuration has been validated.
    pub(crate) fn new(config: EngineConfig) -> Self {
        Self {
            pool: BlockPool::new(config.num_gpu_blocks.saturating_sub(1) as usize),
            stats: EngineStats::new(config.max_model_len),
            config,
            slots: Vec::new(),
            free_slots: Vec::new(),
            next_serial: 0,
            running: Vec::new(),
            waiting: VecDeque::new(),
            arriving: VecDeque::new(),
            step: Vec::new(),
            stepping: false,
            steps: 0,
            planning: Planning::Running,
            sleep: Sleep::default(),
            levers: LeverState::default(),
            aborted: Vec::new(),
            front_end_free: 0,
            slow_percent: 100,
            last_arrival: 0,
            throughput_from: (0, 0),
        }
    }

    /// Counts so far. The gauges are those of the last step's end.
    pub(crate) fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Unfinished requests.
    pub(crate) fn unfinished(&self) -> usize {
        self.running.len() + self.waiting.len() + self.arriving.len()
    }

    /// Requests in the front end, in the queue, in the batch.
    pub(crate) fn queues(&self) -> (usize, usize, usize) {
        (self.arriving.len(), self.waiting.len(), self.running.len())
    }

    /// Largest number of slots in use at once, and current number of sequences.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> (usize, usize) {
        (self.slots.len(), self.slots.iter().flatten().count())
    }

    /// Queues a request.
    pub(crate) fn submit(&mut self, now: Nanos, request: Request) -> RequestId {
        self.last_arrival = now;
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let queued = self.pass_front_end(now);
        let mut sequence = Sequence::new(&self.config, serial, request, now, queued);
        sequence.held = self.planning == Planning::Draining;
        let slot = match self.free_slots.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(sequence);
        self.arriving.push_back(slot);
        RequestId { slot, serial }
    }

    /// When a request that arrives now reaches the queue.
    fn pass_front_end(&mut self, now: Nanos) -> Nanos {
        let takes = (self.config.step.front_end_ns / self.config.speed_ratio) as Nanos;
        self.stats.front_end_busy_ns += takes;
        if !self.config.front_end_serial {
            return now + takes;
        }
        self.front_end_free = self.front_end_free.max(now) + takes;
        self.front_end_free
    }

    /// Drops an unfinished request, even in the middle of a step. It is not counted as finished: in vLLM a
    /// disconnected client is no outcome. Unknown ids are ignored, since the last token may be in transit.
    pub(crate) fn abort(&mut self, id: RequestId) -> Option<Dropped> {
        let sequence = self
            .slots
            .get(id.slot as usize)?
            .as_ref()
            .filter(|s| s.serial == id.serial)?;
        let dropped = Dropped::of(sequence);
        self.running.retain(|&slot| slot != id.slot);
        self.waiting.retain(|&slot| slot != id.slot);
        self.arriving.retain(|&slot| slot != id.slot);
        self.remove(id.slot);
        self.publish_gauges();
        Some(dropped)
    }

    /// Ends an unfinished request from the server's side: [`Engine::take_aborted`] then has an output with
    /// reason `abort` for it. `None` for an id that has ended.
    pub(crate) fn end_by_abort(&mut self, id: RequestId) -> Option<Dropped> {
        let sequence = self
            .slots
            .get(id.slot as usize)?
            .as_ref()
            .filter(|s| s.serial == id.serial)?;
        let output = Output {
            route: sequence.route,
            token: None,
            finish: Some(FinishReason::Abort),
            cached_prompt_tokens: sequence.cached_prompt_tokens,
            preemptions: sequence.preemptions,
            timing: sequence.timing,
        };
        let dropped = self.abort(id)?;
        self.stats.finished[FinishReason::Abort as usize] += 1;
        self.aborted.push(output);
        Some(dropped)
    }

    /// The outputs of requests that were aborted since the last call.
    pub(crate) fn take_aborted(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.aborted)
    }

    /// Unfinished requests, in no particular order.
    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(slot, sequence)| {
                let sequence = sequence.as_ref()?;
                Some(InFlight {
                    id: RequestId {
                        slot,
                        serial: sequence.serial,
                    },
                    arrival: sequence.timing.arrival,
                    tokens: sequence.len(),
                })
            })
            .collect()
    }

    /// Arrival of the newest request: no step can start before it.
    pub(crate) fn last_arrival(&self) -> Nanos {
        self.last_arrival
    }

    /// Stops planning; the current step still ends. Requests in flight stay in every mode: for
    /// [`PauseMode::Abort`] the caller ends them with [`Engine::end_by_abort`].
    pub(crate) fn pause(&mut self, mode: PauseMode) {
        self.planning = match mode {
            PauseMode::Wait if self.unfinished() > 0 => Planning::Draining,
            _ => Planning::Paused,
        };
    }

    /// Plans again, unless the engine sleeps.
    pub(crate) fn resume(&mut self) {
        if !self.sleep.is_asleep() {
            self.planning = Planning::Running;
            for sequence in self.slots.iter_mut().flatten() {
                sequence.held = false;
            }
        }
    }

    /// Gives up weights and KV cache. Running requests are preempted, since their computed state is lost.
    /// Level 0 only pauses.
    pub(crate) fn fall_asleep(&mut self, level: u8) {
        self.planning = Planning::Paused;
        if level == 0 {
            return;
        }
        self.preempt_all();
        let is_empty = self.pool.reset_cache();
        debug_assert!(is_empty, "no request holds blocks any more");
        self.sleep = Sleep {
            weights_level: level,
            kv_cache: true,
        };
        self.publish_gauges();
    }

    /// Preempts every running request; the results of the current step are lost.
    pub(crate) fn preempt_all(&mut self) {
        self.step.clear();
        while let Some(slot) = self.running.pop() {
            self.preempt(slot);
        }
        self.publish_gauges();
    }

    /// Restores weights or KV cache; planning resumes when both are there.
    pub(crate) fn wake_up(&mut self, weights: bool, kv_cache: bool) {
        if weights {
            self.sleep.weights_level = 0;
        }
        if kv_cache {
            self.sleep.kv_cache = false;
        }
        self.resume();
        self.publish_gauges();
    }

    /// Discards the current step, which then never ends.
    pub(crate) fn drop_step(&mut self) {
        self.step.clear();
        self.stepping = false;
    }

    /// True while any part sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.sleep.is_asleep()
    }

    /// Current settings of the levers.
    pub(crate) fn set_levers(&mut self, levers: LeverState) {
        self.levers = levers;
    }

    /// Scales the duration of steps by this factor, from the next one on.
    pub(crate) fn set_slow(&mut self, percent: u32) {
        self.slow_percent = percent;
    }

    /// True while nothing is planned; a pause that waits counts once the last request has ended.
    pub(crate) fn is_paused(&self) -> bool {
        self.planning == Planning::Paused
    }

    /// Forgets cached prefixes; false while any block is held.
    pub(crate) fn reset_prefix_cache(&mut self) -> bool {
        self.pool.reset_cache()
    }

    /// Plans a step that starts at `now`, or returns why there is none.
    pub(crate) fn begin_step(&mut self, now: Nanos) -> Plan {
        debug_assert!(!self.stepping, "a step is under way");
        if self.planning == Planning::Paused {
            return Plan::Idle;
        }
        self.admit(now);
        if self.running.is_empty() && self.waiting.is_empty() {
            let next = self.arriving.front().map(|&slot| self.sequence(slot));
            if let Some(next) = next.filter(|next| !next.held) {
                return Plan::Wait {
                    until: next.timing.queued,
                };
            }
            if self.planning == Planning::Draining {
                self.planning = Planning::Paused;
            }
            return Plan::Idle;
        }
        self.step.clear();
        let lever = |lever| {
            self.levers
                .get(lever, now)
                .and_then(|value| u32::try_from(value).ok())
        };
        let mut budget = lever(Lever::MaxNumScheduledTokens).unwrap_or(self.config.max_num_batched_tokens);
        let preempted = self.schedule_running(&mut budget);
        // Blocks just taken from one request are not given to a new one in the same step.
        if !preempted {
            self.schedule_waiting(&mut budget, now);
        }
        debug_assert!(!self.step.is_empty(), "validated limits let one sequence run");
        self.stepping = true;
        Plan::Step {
            end: now + self.duration_ns(),
        }
    }

    /// Queues the requests that have passed the front end.
    fn admit(&mut self, now: Nanos) {
        while let Some(&slot) = self.arriving.front()
            && self.sequence(slot).timing.queued <= now
            && !self.sequence(slot).held
        {
            self.arriving.pop_front();
            self.waiting.push_back(slot);
        }
    }

    fn sequence(&self, slot: u32) -> &Sequence {
        self.slots[slot as usize]
            .as_ref()
            .expect("a listed slot holds a sequence")
    }

    /// Ends the current step at `now` and returns its tokens, each with the number of prompt tokens that left
    /// prefill with it (0 except for a first token).
    pub(crate) fn finish_step(&mut self, now: Nanos, mut sink: impl FnMut(Output, u64)) {
        debug_assert!(self.stepping, "no step is under way");
        self.stepping = false;
        self.steps += 1;
        self.stats.steps += 1;
        let step = std::mem::take(&mut self.step);
        let (mut prompt_computed, mut outputs, mut finished) = (0u64, 0u64, 0u64);
        for scheduled in &step {
            // Aborted in the meantime, and the slot may have been reused.
            let Some(sequence) = self.slots[scheduled.slot as usize]
                .as_mut()
                .filter(|s| s.serial == scheduled.serial)
            else {
                continue;
            };
            sequence.computed += scheduled.tokens;
            if sequence.computed < sequence.len() {
                continue;
            }
            let token = sequence.output_token(sequence.generated);
            let mut prefilled = 0;
            if sequence.generated == 0 {
                sequence.timing.first_token = now;
                let prompt = sequence.prompt.len() as u64;
                let cached = u64::from(sequence.cached_prompt_tokens);
                prefilled = prompt;
                prompt_computed += prompt - cached;
                self.stats.prompt_tokens += prompt;
                self.stats.prompt_tokens_cached += cached;
                self.stats
                    .time_to_first_token
                    .observe(secs(now - sequence.timing.arrival));
            } else {
                self.stats
                    .inter_token_latency
                    .observe(secs(now - sequence.timing.last_token));
            }
            sequence.timing.last_token = now;
            sequence.generated += 1;
            outputs += 1;
            let finish = (sequence.generated >= sequence.target).then_some(sequence.reason);
            sink(
                Output {
                    route: sequence.route,
                    token: Some(token),
                    finish,
                    cached_prompt_tokens: sequence.cached_prompt_tokens,
                    preemptions: sequence.preemptions,
                    timing: sequence.timing,
                },
                prefilled,
            );
            if let Some(reason) = finish {
                finished += 1;
                Self::count_finished(&mut self.stats, sequence, reason, now);
                self.remove(scheduled.slot);
            }
        }
        if finished > 0 {
            let slots = &self.slots;
            // A freed slot cannot have been reused: between steps, requests enter only through `waiting`.
            self.running.retain(|&slot| slots[slot as usize].is_some());
        }
        self.stats.generation_tokens += outputs;
        if outputs > 0 {
            self.stats
                .iteration_tokens
                .observe((prompt_computed + outputs) as f64);
        }
        self.step = step;
        self.publish_gauges();
        self.publish_throughput(now);
    }

    fn publish_throughput(&mut self, now: Nanos) {
        let (from, tokens) = self.throughput_from;
        let idle = self.unfinished() == 0;
        if idle || self.steps.is_multiple_of(THROUGHPUT_STEPS) {
            let elapsed = secs(now.saturating_sub(from));
            let generated = (self.stats.generation_tokens - tokens) as f64;
            self.stats.throughput = if idle || elapsed == 0.0 {
                0.0
            } else {
                generated / elapsed
            };
            self.throughput_from = (now, self.stats.generation_tokens);
        }
    }

    fn schedule_running(&mut self, budget: &mut u32) -> bool {
        let mut preempted = false;
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let slot = self.running[at];
            let sequence = self.slots[slot as usize]
                .as_ref()
                .expect("a running slot holds a sequence");
            let (serial, tokens) = (sequence.serial, (sequence.len() - sequence.computed).min(*budget));
            let mut granted = self.grow(slot, tokens);
            while !granted {
                preempted = true;
                let victim = self.running.pop().expect("the sequence that asks is running");
                self.preempt(victim);
                if victim == slot {
                    break;
                }
                granted = self.grow(slot, tokens);
            }
            if !granted {
                break;
            }
            *budget -= tokens;
            self.step.push(Scheduled { slot, serial, tokens });
            at += 1;
        }
        preempted
    }

    fn schedule_waiting(&mut self, budget: &mut u32, now: Nanos) {
        let most_running = self
            .levers
            .get(Lever::MaxNumActiveReqs, now)
            .unwrap_or(u64::from(self.config.max_num_seqs)) as usize;
        let watermark = self
            .levers
            .get(Lever::WatermarkBlocks, now)
            .unwrap_or_else(|| self.config.watermark_blocks()) as usize;
        while *budget > 0 && self.running.len() < most_running {
            let Some(&slot) = self.waiting.front() else { return };
            // A request that runs alone needs no reserve; with one, it could wait forever.
            let reserved = if self.running.is_empty() { 0 } else { watermark };
            let hit = self.prefix_hit(slot);
            let block_size = self.config.block_size;
            let sequence = self.slots[slot as usize]
                .as_mut()
                .expect("a waiting slot holds a sequence");
            let serial = sequence.serial;
            let cached = hit.len() as u32 * block_size;
            let missing = sequence.len() - cached;
            if !self.config.enable_chunked_prefill && missing > *budget {
                return;
            }
            let tokens = missing.min(*budget);
            // Free blocks of the hit are no longer free once they are held.
            let revived = hit.iter().filter(|&&id| self.pool.is_free(id)).count();
            let needed = (cached + tokens).div_ceil(block_size) as usize - hit.len();
            if needed + revived + reserved > self.pool.free() {
                return;
            }
            for &id in &hit {
                self.pool.hold(id);
            }
            sequence.blocks = hit;
            sequence.computed = cached;
            if !sequence.timing.is_scheduled {
                sequence.timing.is_scheduled = true;
                sequence.timing.scheduled = now;
                sequence.cached_prompt_tokens = cached.min(sequence.prompt.len() as u32);
                if self.config.enable_prefix_caching {
                    self.stats.prefix_queries += u64::from(sequence.len());
                    self.stats.prefix_hits += u64::from(cached);
                }
            }
            let granted = self.grow(slot, tokens);
            debug_assert!(granted, "room was checked");
            self.waiting.pop_front();
            self.running.push(slot);
            *budget -= tokens;
            self.step.push(Scheduled { slot, serial, tokens });
        }
    }

    /// Cached blocks of the longest known prefix. At least one token must be left to compute, as the input
    /// for sampling.
    fn prefix_hit(&mut self, slot: u32) -> Vec<BlockId> {
        if !self.config.enable_prefix_caching {
            return Vec::new();
        }
        let sequence = self.slots[slot as usize]
            .as_mut()
            .expect("a waiting slot holds a sequence");
        sequence.hash_full_blocks(self.config.block_size);
        let most = (sequence.len() - 1) / self.config.block_size;
        sequence
            .hashes
            .iter()
            .take(most as usize)
            .map_while(|&hash| self.pool.find(hash))
            .collect()
    }

    /// Allocates blocks for `tokens` more of a sequence; all or nothing.
    fn grow(&mut self, slot: u32, tokens: u32) -> bool {
        let block_size = self.config.block_size;
        let sequence = self.slots[slot as usize]
            .as_mut()
            .expect("the slot holds a sequence");
        let end = sequence.computed + tokens;
        let needed = (end.div_ceil(block_size) as usize).saturating_sub(sequence.blocks.len());
        if needed > self.pool.free() {
            return false;
        }
        for _ in 0..needed {
            let id = self.pool.take().expect("the number of free blocks was checked");
            sequence.blocks.push(id);
        }
        if self.config.enable_prefix_caching {
            let (before, after) = (sequence.computed / block_size, end / block_size);
            if after > before {
                sequence.hash_full_blocks(block_size);
                for index in before..after {
                    self.pool
                        .remember(sequence.blocks[index as usize], sequence.hashes[index as usize]);
                }
            }
        }
        true
    }

    fn preempt(&mut self, slot: u32) {
        let sequence = self.slots[slot as usize]
            .as_mut()
            .expect("a running slot holds a sequence");
        self.pool.release(&mut sequence.blocks);
        sequence.computed = 0;
        sequence.preemptions += 1;
        self.stats.preemptions += 1;
        debug_assert!(
            self.step.iter().all(|s| s.slot != slot),
            "planned sequences are older than their victims"
        );
        self.waiting.push_front(slot);
    }

    fn remove(&mut self, slot: u32) {
        let mut sequence = self.slots[slot as usize]
            .take()
            .expect("the slot holds a sequence");
        self.pool.release(&mut sequence.blocks);
        self.free_slots.push(slot);
    }

    fn duration_ns(&self) -> Nanos {
        let (mut tokens, mut kv_tokens) = (0u64, 0u64);
        for scheduled in &self.step {
            let sequence = self.slots[scheduled.slot as usize]
                .as_ref()
                .expect("a planned slot holds a sequence");
            tokens += u64::from(scheduled.tokens);
            kv_tokens += u64::from(sequence.computed + scheduled.tokens);
        }
        let mut ns = self.config.step_ns(tokens, self.step.len() as u64, kv_tokens);
        let jitter_ratio = self.config.step.jitter_ratio;
        if jitter_ratio > 0.0 {
            let z = normal(mix2(self.config.seed ^ 0x7117, self.steps)).clamp(-3.0, 3.0);
            ns *= (1.0 + jitter_ratio * z).max(0.0);
        }
        (ns * f64::from(self.slow_percent) / 100.0) as Nanos
    }

    fn publish_gauges(&mut self) {
        self.stats.running = self.running.len();
        self.stats.waiting = self.waiting.len();
        self.stats.kv_usage = self.pool.usage();
        self.stats.sleep_level = self.sleep.weights_level;
    }

    fn count_finished(stats: &mut EngineStats, sequence: &Sequence, reason: FinishReason, now: Nanos) {
        let t = sequence.timing;
        let generated = sequence.generated;
        let decode = secs(t.last_token - t.first_token);
        stats.finished[reason as usize] += 1;
        stats.request_prompt_tokens.observe(sequence.prompt.len() as f64);
        stats.request_generation_tokens.observe(f64::from(generated));
        stats.max_num_generation_tokens.observe(f64::from(generated));
        stats.params_n.observe(1.0);
        stats.params_max_tokens.observe(f64::from(sequence.max_tokens));
        stats.e2e_latency.observe(secs(now - t.arrival));
        stats.queue_time.observe(secs(t.scheduled - t.queued));
        stats.prefill_time.observe(secs(t.first_token - t.scheduled));
        stats.decode_time.observe(decode);
        stats.inference_time.observe(secs(t.last_token - t.scheduled));
        stats.time_per_output_token.observe(if generated > 1 {
            decode / f64::from(generated - 1)
        } else {
            0.0
        });
        stats.request_preemptions.observe(f64::from(sequence.preemptions));
        stats.prefill_kv_computed.observe(f64::from(
            sequence.prompt.len() as u32 - sequence.cached_prompt_tokens,
        ));
    }
}

fn secs(ns: Nanos) -> f64 {
    ns as f64 / 1e9
}
