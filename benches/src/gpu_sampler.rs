//! What the GPU sampler costs: its share of one core with eight fake GPUs, at one and at ten ticks a second.
//!
//! The driver is fake, so the time inside real driver calls is not in these figures: they are the sampler's
//! own cost (scheduling, the C interface, turning answers into samples). For comparison, the cost of starting
//! a process that does nothing once a tick is given: the minimum for any tool that polls by running
//! `nvidia-smi`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use vllm_metrics::gpu::{GpuConfig, GpuSampler};
use vllm_metrics::{EventRow, SampleBatch, SampleSink, SeriesDef, SeriesId, StopToken};

use crate::Figure;

const GPUS: u32 = 8;

/// The two figures.
pub fn figures() -> Vec<Figure> {
    vec![
        figure("gpu_sampler_cpu_share_1s", Duration::from_secs(1), 30),
        figure("gpu_sampler_cpu_share_100ms", Duration::from_millis(100), 150),
    ]
}

fn figure(name: &'static str, interval: Duration, ticks: u32) -> Figure {
    let starts = process_starts(interval, ticks.min(50));
    match sampler(interval, ticks) {
        Ok((share, samples)) => Figure {
            name,
            value: Some(share),
            unit: "ratio",
            context: format!(
                "share of one core, {GPUS} fake GPUs, {samples} samples a tick, sampler and fault thread; for comparison, \
                 starting `true` once a tick (no driver work at all): {}",
                starts.map_or_else(|why| why, |share| format!("{share:.4}"))
            ),
        },
        Err(why) => Figure {
            name,
            value: None,
            unit: "ratio",
            context: why,
        },
    }
}

/// CPU share of this process while the sampler runs, after its start; and samples per tick.
fn sampler(interval: Duration, ticks: u32) -> Result<(f64, u64), String> {
    let dir = std::env::temp_dir().join(format!("gpu-sampler-bench-{}", std::process::id()));
    let script: String = (0..GPUS).map(fake_nvml::data_centre_gpu).collect();
    let library = fake_nvml::install(&dir, &script).map_err(|error| format!("no fake library: {error}"))?;
    let config = GpuConfig {
        library: Some(library),
        simulated: true,
        interval,
        ..GpuConfig::default()
    };
    let stop = StopToken::new();
    let (sink, counted) = CountingSink::new();
    let sampler = GpuSampler::start(config, Box::new(sink), stop.clone())
        .map_err(|error| format!("no sampler thread: {error}"))?;
    // The first tick also loads the library, reports the constants and reads the slow tier.
    counted.wait_for_first_tick()?;
    stop.wait_until(Instant::now() + interval / 2);
    let (cpu, wall, samples) = (process_cpu(), Instant::now(), counted.samples());
    stop.wait_until(wall + interval * ticks);
    let share = (process_cpu() - cpu).as_secs_f64() / wall.elapsed().as_secs_f64();
    let per_tick = (counted.samples() - samples) / u64::from(ticks);
    stop.stop();
    let summary = sampler.join();
    let _leftover = std::fs::remove_dir_all(&dir);
    match summary.unavailable {
        Some(why) => Err(why),
        None if summary.missed_ticks > u64::from(ticks / 10) => Err(format!(
            "{} of {} ticks were missed: the machine is too busy",
            summary.missed_ticks, ticks
        )),
        None => Ok((share, per_tick)),
    }
}

/// CPU share of starting a process once a tick, that of this process and of the children.
fn process_starts(interval: Duration, ticks: u32) -> Result<f64, String> {
    let used = || process_cpu() + children_cpu();
    let (cpu, wall) = (used(), Instant::now());
    for tick in 1..=ticks {
        let status = Command::new("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.map_err(|error| format!("`true` could not be started ({error})"))?;
        StopToken::new().wait_until(wall + interval * tick);
    }
    Ok((used() - cpu).as_secs_f64() / wall.elapsed().as_secs_f64())
}

fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// CPU time of children that have ended and were waited for.
fn children_cpu() -> Duration {
    let time = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    usage.map_or(Duration::ZERO, |usage| {
        time(usage.user_time()) + time(usage.system_time())
    })
}

/// A sink that only counts, so that no store is measured along with the sampler.
struct CountingSink {
    counts: Arc<Counts>,
    clock: Instant,
}

#[derive(Default)]
struct Counts {
    series: AtomicU32,
    samples: AtomicU64,
    first_tick: StopToken,
}

impl CountingSink {
    fn new() -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (
            Self {
                counts: Arc::clone(&counts),
                clock: Instant::now(),
            },
            counts,
        )
    }
}

impl Counts {
    fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    fn wait_for_first_tick(&self) -> Result<(), String> {
        let came = self
            .first_tick
            .wait_until(Instant::now() + Duration::from_secs(30));
        came.then_some(())
            .ok_or_else(|| "the sampler's first tick did not come in 30 s".to_owned())
    }
}

impl SampleSink for CountingSink {
    fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    fn intern(&mut self, _def: SeriesDef) -> SeriesId {
        SeriesId(self.counts.series.fetch_add(1, Ordering::Relaxed))
    }

    fn samples(&mut self, batch: SampleBatch) {
        self.counts
            .samples
            .fetch_add(batch.samples.len() as u64, Ordering::Relaxed);
        self.counts.first_tick.stop();
    }

    fn event(&mut self, _event: EventRow) {}

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(Self {
            counts: Arc::clone(&self.counts),
            clock: self.clock,
        })
    }
}
