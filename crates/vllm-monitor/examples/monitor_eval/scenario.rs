//! Generated runs: servers with random capacity, lengths and speed under ramps, floods and steady loads.

use crate::support::engine::{Engine, EngineConfig};
use crate::support::feed::Feed;
use crate::support::load::{Arrivals, Lengths};
use crate::support::rng::Rng;
use vllm_monitor::Snapshot;

/// What limits the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The KV cache: overload leads to preemption.
    Kv,
    /// The places in the batch: overload leads to a queue.
    Places,
}

/// How the load moves.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// From one share of capacity to another within some seconds, after a calm start, then held.
    Ramp {
        from: f64,
        to: f64,
        calm_secs: f64,
        ramp_secs: f64,
        hold_secs: f64,
    },
    /// Around one share of capacity, slowly swinging.
    Steady { share: f64, swing: f64, secs: f64 },
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub limit: Limit,
    pub engine: EngineConfig,
    pub lengths: Lengths,
    pub shape: Shape,
    /// Requests per second at which the limit is just met.
    pub capacity: f64,
}

/// Ranges that differ between the runs that parameters are tuned on and those that are reported.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub first_seed: u64,
    pub ramp_secs: (f64, f64),
    pub ramp_to: (f64, f64),
    /// Requests that the KV cache holds at once. Few of them fluctuate much, and chance fills the cache.
    pub concurrency: (f64, f64),
}

/// For tuning and for calibration tables.
pub const TUNING: Part = Part {
    first_seed: 1_000,
    ramp_secs: (90.0, 300.0),
    ramp_to: (1.3, 1.8),
    concurrency: (60.0, 250.0),
};

/// For calibration tables: servers with a KV cache for few requests, with seeds of their own.
pub const TUNING_SMALL: Part = Part {
    first_seed: 300_000,
    concurrency: (12.0, 60.0),
    ..TUNING
};

/// For the report: other seeds, and ramps both faster and slower than those tuned on.
pub const REPORT: Part = Part {
    first_seed: 900_000,
    ramp_secs: (60.0, 420.0),
    ramp_to: (1.2, 2.2),
    concurrency: (50.0, 400.0),
};

/// Servers with a KV cache for few requests, such as a small model on a CPU: reported separately.
pub const SMALL: Part = Part {
    first_seed: 700_000,
    concurrency: (12.0, 40.0),
    ..REPORT
};

impl Scenario {
    fn server(seed: u64, part: Part, limit: Limit) -> (Rng, EngineConfig, Lengths, f64, f64) {
        let mut rng = Rng::new(seed);
        let lengths = Lengths {
            prompt_median: rng.log_between(80.0, 800.0),
            prompt_sigma: rng.between(0.3, 0.9),
            output_median: rng.log_between(60.0, 350.0),
            output_sigma: rng.between(0.3, 0.8),
        };
        let places = rng.log_between(12.0, 60.0).round();
        let context = lengths.mean_context();
        let block_tokens = 16;
        // With the KV cache as limit there are more places than it can hold, and the other way round.
        let kv_tokens = match limit {
            Limit::Kv => context * rng.log_between(part.concurrency.0, part.concurrency.1),
            Limit::Places => context * places * 4.0,
        };
        let engine = EngineConfig {
            kv_blocks: (kv_tokens / f64::from(block_tokens)).ceil() as u32,
            block_tokens,
            max_running: if limit == Limit::Kv { 1024 } else { places as usize },
            max_batched_tokens: 2048,
            max_queued: None,
            step_secs: rng.log_between(0.010, 0.030),
            per_token_secs: rng.log_between(1e-5, 4e-5),
            per_sequence_secs: rng.log_between(2e-5, 2e-4),
            per_context_token_secs: rng.log_between(1e-8, 5e-8),
            jitter: 0.05,
        };
        let running = match limit {
            Limit::Kv => kv_tokens / context,
            Limit::Places => places,
        };
        let mut itl = engine.decode_step_secs(running, running * context);
        // Prefill shares the steps: its tokens per second take their part of every second.
        for _ in 0..20 {
            let rate = running / (lengths.mean_output() * itl);
            let prefill = (rate * lengths.mean_prompt() * engine.per_token_secs).min(0.9);
            itl = engine.decode_step_secs(running, running * context) / (1.0 - prefill);
        }
        let capacity = running / (lengths.mean_output() * itl);
        (rng, engine, lengths, capacity, running)
    }

    /// A ramp into overload.
    pub fn ramp(part: Part, index: u64, limit: Limit) -> Self {
        let seed = part.first_seed + index;
        let (mut rng, mut engine, lengths, capacity, _) = Self::server(seed, part, limit);
        if limit == Limit::Places && rng.unit() < 0.5 {
            engine.max_queued = Some(engine.max_running + rng.log_between(30.0, 200.0) as usize);
        }
        let shape = Shape::Ramp {
            from: rng.between(0.3, 0.65),
            to: rng.between(part.ramp_to.0, part.ramp_to.1),
            calm_secs: rng.between(120.0, 300.0),
            ramp_secs: rng.log_between(part.ramp_secs.0, part.ramp_secs.1),
            hold_secs: 240.0,
        };
        Self {
            seed,
            limit,
            engine,
            lengths,
            shape,
            capacity,
        }
    }

    /// An hour within capacity.
    pub fn steady(part: Part, index: u64, limit: Limit) -> Self {
        let seed = part.first_seed + 50_000 + index;
        let (mut rng, engine, lengths, capacity, running) = Self::server(seed, part, limit);
        // Within capacity means that no overload is to be expected: the mean stays four standard deviations of a
        // Poisson number of requests below the limit. Borderline loads are not included.
        let swing = rng.between(0.05, 0.2);
        let highest = (1.0 - 4.0 / running.sqrt()).clamp(0.2, 0.7);
        let share = rng.between(0.1, highest) / (1.0 + swing);
        let shape = Shape::Steady {
            share,
            swing,
            secs: 3600.0,
        };
        Self {
            seed,
            limit,
            engine,
            lengths,
            shape,
            capacity,
        }
    }

    pub fn duration_secs(&self) -> f64 {
        match self.shape {
            Shape::Ramp {
                calm_secs,
                ramp_secs,
                hold_secs,
                ..
            } => calm_secs + ramp_secs + hold_secs,
            Shape::Steady { secs, .. } => secs,
        }
    }

    fn rate(&self, at: f64) -> f64 {
        let share = match self.shape {
            Shape::Ramp {
                from,
                to,
                calm_secs,
                ramp_secs,
                ..
            } => from + (to - from) * ((at - calm_secs) / ramp_secs).clamp(0.0, 1.0),
            Shape::Steady { share, swing, .. } => {
                let phase = self.seed as f64;
                share * (1.0 + swing * (at / 600.0 * std::f64::consts::TAU + phase).sin())
            }
        };
        share * self.capacity
    }

    /// Runs it and hands out a snapshot each second, with the engine as it is then.
    pub fn run(&self, mut each: impl FnMut(&Snapshot, &Engine)) -> Engine {
        let secs = self.duration_secs();
        let most = 2.6 * self.capacity;
        let mut arrivals = Arrivals::new(|t| self.rate(t), most, self.lengths, secs, self.seed).peekable();
        let mut engine = Engine::new(self.engine.clone(), self.seed);
        let mut feed = Feed::new("generated", &engine);
        for second in 1..=secs as u64 {
            let at = second as f64;
            engine.advance(at, &mut arrivals);
            feed.page(&engine, at);
            each(&feed.snapshot(at), &engine);
        }
        engine
    }
}
