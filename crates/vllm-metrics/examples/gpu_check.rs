//! Runs the GPU sampler for a while and prints the figures in `docs/gpu-costs.md`: cost per driver call, the
//! energy counter against integrated power, and what the board does not support.
//!
//! `gpu_check SECONDS INTERVAL_SECONDS [fake]`; `fake` reads scripted GPUs instead of real ones, which tests
//! only this program, not a driver. `scripts/gpu-sampler-check` adds a load.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vllm_metrics::derive::labels;
use vllm_metrics::energy::{Method, energy_between};
use vllm_metrics::gpu::{GpuConfig, GpuSampler, GpuSummary};
use vllm_metrics::{EventRow, RunData, SampleBatch, SampleSink, SeriesData, SeriesDef, SeriesId, StopToken};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| args.get(place).and_then(|word| word.parse::<f64>().ok());
    let (Some(seconds), Some(interval)) = (number(0), number(1)) else {
        return Err("usage: gpu_check SECONDS INTERVAL_SECONDS [fake]".into());
    };
    let fake = args.get(2).is_some_and(|word| word == "fake");
    let dir = std::env::temp_dir().join(format!("gpu-check-{}", std::process::id()));
    let library = fake
        .then(|| fake_nvml::install(&dir, &fake_script()))
        .transpose()?;
    let config = GpuConfig {
        library,
        simulated: fake,
        interval: Duration::from_secs_f64(interval),
        ..GpuConfig::default()
    };
    let sink = Kept::default();
    let stop = StopToken::new();
    let sampler = GpuSampler::start(config, Box::new(sink.clone()), stop.clone())?;
    stop.wait_until(Instant::now() + Duration::from_secs_f64(seconds));
    stop.stop();
    let summary = sampler.join();
    let _leftover = std::fs::remove_dir_all(&dir);
    if let Some(why) = &summary.unavailable {
        return Err(format!("nothing was measured: {why}").into());
    }
    print(&summary, &sink.into_run(), interval, fake)
}

/// Two GPUs whose counter and power agree, one of them without a counter.
fn fake_script() -> String {
    let busy = "ramp 0 1000 energy 0 4e8\nramp 0 1000 field:83 0 4e8\nset power 400000\nset field:186 400000\n\
                set utilization 80\n";
    let first = fake_nvml::data_centre_gpu(0) + busy;
    let second = fake_nvml::data_centre_gpu(1) + busy + "error field:83 NOT_SUPPORTED\n";
    first + &second
}

fn print(summary: &GpuSummary, run: &RunData, interval: f64, fake: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let info = run
        .series
        .iter()
        .find(|series| &*series.def.metric_name == "gpu_info");
    let facts = info
        .map(|series| labels::parse(&series.def.labels))
        .unwrap_or_default();
    let fact = |key: &str| facts.get(key).map_or("unknown", String::as_str);
    let what = if fake { " (scripted, not a GPU)" } else { "" };
    writeln!(
        out,
        "### {} x {}, driver {}, every {interval} s{what}\n",
        summary.gpus.len(),
        fact("name"),
        fact("driver_version")
    )?;
    let share = summary.cpu_time.as_secs_f64() / summary.lived.as_secs_f64();
    writeln!(
        out,
        "{} ticks in {:.0} s, {} missed, {} failed readings, {:.4} of one core.\n",
        summary.ticks,
        summary.lived.as_secs_f64(),
        summary.missed_ticks,
        summary.read_errors,
        share
    )?;
    writeln!(
        out,
        "| call | calls | p50 us | p99 us | max us |\n|---|---|---|---|---|"
    )?;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    for cost in &summary.calls {
        let (p50, p99, max) = (us(cost.p50), us(cost.p99), us(cost.max));
        writeln!(
            out,
            "| {} | {} | {p50:.1} | {p99:.1} | {max:.1} |",
            cost.call, cost.count
        )?;
    }
    writeln!(
        out,
        "\n| GPU | method | joules | sampling error | covered |\n|---|---|---|---|---|"
    )?;
    let (from_ns, to_ns) = span(run);
    for method in [
        "gpu_energy_joules_total",
        "gpu_power_instant_watts",
        "gpu_power_watts",
    ] {
        let one = only(run, method);
        let Ok(window) = energy_between(&one, from_ns, to_ns) else {
            writeln!(out, "| all | {method} | not available | | |")?;
            continue;
        };
        for gpu in &window.gpus {
            let (name, joules, error) = (Method::as_str(gpu.method), gpu.joules, gpu.error_joules);
            writeln!(
                out,
                "| {} | {name} | {joules:.1} | {error:.1} | {:.3} |",
                gpu.gpu, gpu.covered_ratio
            )?;
        }
    }
    for (gpu, series) in &summary.not_supported {
        let list = if series.is_empty() {
            "nothing".to_owned()
        } else {
            series.join(", ")
        };
        writeln!(out, "\nNot supported on GPU {gpu}: {list}.")?;
    }
    writeln!(out)?;
    Ok(())
}

/// The run with only one energy source.
fn only(run: &RunData, name: &str) -> RunData {
    let series = run
        .series
        .iter()
        .filter(|series| &*series.def.metric_name == name)
        .cloned()
        .collect();
    RunData {
        series,
        ..RunData::default()
    }
}

fn span(run: &RunData) -> (i64, i64) {
    let power = run
        .series
        .iter()
        .filter(|series| series.def.metric_name.starts_with("gpu_power"));
    let times: Vec<i64> = power
        .flat_map(|series| series.timestamps_ns.iter().copied())
        .collect();
    (
        times.iter().copied().min().unwrap_or(0),
        times.iter().copied().max().unwrap_or(0),
    )
}

/// Keeps every sample in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ids: BTreeMap<(String, String), SeriesId>,
    series: Vec<SeriesData>,
    origin: Option<Instant>,
}

impl Kept {
    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn into_run(self) -> RunData {
        let series = self.with(|state| std::mem::take(&mut state.series));
        RunData {
            series,
            ..RunData::default()
        }
    }
}

impl SampleSink for Kept {
    fn now_ns(&self) -> i64 {
        let elapsed = self.with(|state| state.origin.get_or_insert_with(Instant::now).elapsed());
        i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        self.with(|state| {
            let key = (def.metric_name.to_string(), def.labels.to_string());
            let next = SeriesId(u32::try_from(state.series.len()).unwrap_or(u32::MAX));
            *state.ids.entry(key).or_insert_with(|| {
                let (timestamps_ns, values, phases) = Default::default();
                state.series.push(SeriesData {
                    def: Arc::new(def),
                    timestamps_ns,
                    values,
                    phases,
                });
                next
            })
        })
    }

    fn samples(&mut self, batch: SampleBatch) {
        self.with(|state| {
            for sample in batch.samples {
                let series = &mut state.series[sample.series.0 as usize];
                series.timestamps_ns.push(sample.timestamp_ns);
                series.values.push(sample.value);
            }
        });
    }

    fn event(&mut self, event: EventRow) {
        // The summary has what matters of the events; they are printed so that faults show at once.
        let _unseen = writeln!(std::io::stderr(), "{}: {}", event.kind, event.message);
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(self.clone())
    }
}
