//! Simulated GPUs, one per engine: busy while its engine steps, with memory filled like its KV cache.
//!
//! They are read through a fake driver library (`fake-nvml`) by the same code that reads real GPUs, so that a
//! demo without a GPU shows the same plots, marked as simulated.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fake_nvml::live::{Board, LiveGpus, Load};

use crate::config::EngineConfig;
use crate::driver::{EngineHandle, Engines};
use crate::error::{Error, Result};
use crate::threads::spawn;

/// How often the load is transferred to the GPUs.
const EVERY: Duration = Duration::from_millis(100);

/// Simulated GPUs and the thread that updates them. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Gpus {
    library: PathBuf,
    stop: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Gpus {
    /// Writes the fake library into `dir` and starts updating its GPUs.
    ///
    /// # Errors
    /// [`Error::Gpus`] if the folder cannot be written, [`Error::Start`] if the system cannot create a
    /// thread.
    pub(crate) fn start(dir: &Path, count: u32, engine: &EngineConfig, engines: Engines) -> Result<Self> {
        let gpus = |source| Error::Gpus {
            dir: dir.to_owned(),
            source,
        };
        let board = Board {
            clock_ratio: engine.gpu_clock_ratio,
            ..Board::default()
        };
        let per_token_ns = engine.step.per_token_ns / engine.gpu_clock_ratio / engine.speed_ratio;
        let mut live = LiveGpus::create(dir, count, board).map_err(gpus)?;
        let library = live.library().to_owned();
        let stop = Arc::new(Mutex::new(false));
        let stopped = Arc::clone(&stop);
        let thread = spawn("sim-gpus".to_owned(), move || {
            let mut meters = vec![Meter::default(); live.count()];
            let mut since = Instant::now();
            while !*stopped.lock().unwrap_or_else(PoisonError::into_inner) {
                std::thread::sleep(EVERY);
                let elapsed = since.elapsed();
                since += elapsed;
                let engines = engines.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for (gpu, meter) in meters.iter_mut().enumerate() {
                    let load = match engines.get(gpu) {
                        Some(engine) => meter.load(engine, elapsed, per_token_ns),
                        None => Meter::idle(),
                    };
                    if let Err(error) = live.set(gpu, load) {
                        tracing::error!(%error, "the simulated GPUs stand still: their file cannot be written");
                        return;
                    }
                }
            }
        })?;
        Ok(Self {
            library,
            stop,
            thread: Some(thread),
        })
    }

    /// The library to load instead of the driver's.
    pub(crate) fn library(&self) -> &Path {
        &self.library
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the simulated GPUs panicked");
        }
    }
}

/// Counts of one engine at the last update.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    busy_ns: u64,
    computed_tokens: u64,
    /// Busy time not yet shown: an engine counts a step's time when the step ends, and a step may be longer than the
    /// interval.
    owed_ns: f64,
}

impl Meter {
    fn load(&mut self, engine: &EngineHandle, elapsed: Duration, per_token_ns: f64) -> Load {
        let stats = engine.stats();
        let before = *self;
        *self = Self {
            busy_ns: engine.busy_ns(),
            computed_tokens: stats.prompt_tokens.saturating_sub(stats.prompt_tokens_cached),
            owed_ns: 0.0,
        };
        // Counters of a new life start at 0 again.
        let busy_ns = self.busy_ns.saturating_sub(before.busy_ns) as f64;
        let window_ns = elapsed.as_nanos().max(1) as f64;
        let shown_ns = (before.owed_ns + busy_ns).min(window_ns);
        self.owed_ns = before.owed_ns + busy_ns - shown_ns;
        let computed = self.computed_tokens.saturating_sub(before.computed_tokens) as f64;
        Load {
            busy_ratio: shown_ns / window_ns,
            prefill_ratio: if busy_ns > 0.0 {
                (computed * per_token_ns / busy_ns).min(1.0)
            } else {
                0.0
            },
            kv_usage_ratio: stats.kv_usage,
        }
    }

    fn idle() -> Load {
        Load {
            busy_ratio: 0.0,
            prefill_ratio: 0.0,
            kv_usage_ratio: 0.0,
        }
    }
}
