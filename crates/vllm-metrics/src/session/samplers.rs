//! The sampler threads of a session, started and stopped together, and their summaries.

use std::thread::JoinHandle;

use crate::recorder::Recorder;
#[cfg(feature = "nvml")]
use machine_telemetry::gpu::{GpuConfig, GpuSampler, GpuSummary};
use machine_telemetry::host::{HostConfig, HostSampler, HostSummary};
use run_model::error::panic_text;
use run_model::{Error, Result};
use run_model::{SampleSink, StopToken};

/// The function that a sampler's thread runs.
pub(super) type SamplerBody = Box<dyn FnOnce(Box<dyn SampleSink>, StopToken) + Send>;

/// Running samplers. Dropping them signals them to stop without waiting.
#[derive(Debug, Default)]
pub(super) struct Samplers {
    stop: StopToken,
    threads: Vec<(String, JoinHandle<()>)>,
    #[cfg(feature = "nvml")]
    gpu: Option<GpuSampler>,
    host: Option<HostSampler>,
}

/// The samplers' summaries.
#[derive(Debug, Default)]
pub(super) struct SamplerSummaries {
    #[cfg(feature = "nvml")]
    pub(super) gpu: Option<GpuSummary>,
    pub(super) host: Option<HostSummary>,
    pub(super) notes: Vec<String>,
}

impl Samplers {
    pub(super) fn start(&mut self, name: String, body: SamplerBody, recorder: &Recorder) -> Result<()> {
        let sink = Box::new(recorder.clone());
        let stop = self.stop.clone();
        let thread = std::thread::Builder::new()
            .name(format!("metrics-{name}"))
            .spawn(move || body(sink, stop))
            .map_err(not_started)?;
        self.threads.push((name, thread));
        Ok(())
    }

    #[cfg(feature = "nvml")]
    pub(super) fn start_gpu(&mut self, config: GpuConfig, recorder: &Recorder) -> Result<()> {
        let sink = Box::new(recorder.clone());
        self.gpu = Some(GpuSampler::start(config, sink, self.stop.clone()).map_err(not_started)?);
        Ok(())
    }

    pub(super) fn start_host(&mut self, config: HostConfig, recorder: &Recorder) -> Result<()> {
        let sink = Box::new(recorder.clone());
        self.host = Some(HostSampler::start(config, sink, self.stop.clone()).map_err(not_started)?);
        Ok(())
    }

    /// Stops all samplers and waits for them.
    pub(super) fn finish(mut self) -> SamplerSummaries {
        self.stop.stop();
        let mut summaries = SamplerSummaries::default();
        for (name, thread) in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                summaries.notes.push(format!(
                    "the {name} sampler panicked: {}",
                    panic_text(panic.as_ref())
                ));
            }
        }
        #[cfg(feature = "nvml")]
        {
            summaries.gpu = self.gpu.take().map(GpuSampler::join);
            let unavailable = summaries.gpu.as_ref().and_then(|gpu| gpu.unavailable.clone());
            summaries
                .notes
                .extend(unavailable.map(|reason| format!("no GPU was sampled: {reason}")));
        }
        summaries.host = self.host.take().map(HostSampler::join);
        if summaries.host.as_ref().is_some_and(|host| host.panicked) {
            summaries.notes.push("the host sampler panicked".into());
        }
        summaries
    }
}

impl Drop for Samplers {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn not_started(source: std::io::Error) -> Error {
    Error::Start {
        what: "a sampler thread",
        source,
    }
}
