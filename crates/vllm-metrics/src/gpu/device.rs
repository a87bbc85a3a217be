//! One GPU: reads what is due, remembers per reading what it cannot give, and keeps absence apart from zero.
//!
//! A reading is in one of three states. *Good*: its value becomes a sample. *Unsupported*: told once, never asked
//! again. *Failing*: asked again at each tick; the stretch without values becomes a `gap` event. A lost GPU is left
//! alone until its handle can be had again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};

use super::cost::{CallCost, Durations};
use super::series::{self, CALL_SERIES, FAST_FIELDS, Field, GpuSeries, SLOW_FIELDS, STATIC_FIELDS, Slot};
use crate::model::{EventRow, MetricType, Sample, SampleBatch, SeriesDef, SeriesId, Severity};
use crate::sink::SampleSink;

/// Which GPU, in words that stay true for the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuIdentity {
    /// NVML's index.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
}

/// One call into the driver. Each is timed and counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Utilization,
    Memory,
    Power,
    SmClock,
    Throttle,
    Temperature,
    FastFields,
    MemoryClock,
    SlowFields,
    StaticFields,
    Processes,
}

/// Every tick.
pub(crate) const CALLS_EVERY_TICK: &[Call] = &[
    Call::Utilization,
    Call::Memory,
    Call::Power,
    Call::SmClock,
    Call::Throttle,
    Call::Temperature,
    Call::FastFields,
];
/// Every slow tick.
pub(crate) const CALLS_SLOW: &[Call] = &[Call::SlowFields, Call::MemoryClock];
const CALLS: usize = 11;

impl Call {
    const ALL: [Self; CALLS] = [
        Self::Utilization,
        Self::Memory,
        Self::Power,
        Self::SmClock,
        Self::Throttle,
        Self::Temperature,
        Self::FastFields,
        Self::MemoryClock,
        Self::SlowFields,
        Self::StaticFields,
        Self::Processes,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Utilization => "utilization",
            Self::Memory => "memory",
            Self::Power => "power",
            Self::SmClock => "sm_clock",
            Self::Throttle => "throttle",
            Self::Temperature => "temperature",
            Self::FastFields => "fast_fields",
            Self::MemoryClock => "memory_clock",
            Self::SlowFields => "slow_fields",
            Self::StaticFields => "static_fields",
            Self::Processes => "processes",
        }
    }

    /// The fields behind a batched call, and where they start among all fields.
    fn fields(self) -> Option<(usize, &'static [Field])> {
        match self {
            Self::FastFields => Some((0, FAST_FIELDS)),
            Self::SlowFields => Some((FAST_FIELDS.len(), SLOW_FIELDS)),
            Self::StaticFields => Some((FAST_FIELDS.len() + SLOW_FIELDS.len(), STATIC_FIELDS)),
            _ => None,
        }
    }

    /// The series a single call fills.
    fn slots(self) -> std::ops::Range<usize> {
        let one = |slot: Slot| slot.0..slot.0 + 1;
        match self {
            Self::Utilization => series::UTILIZATION.0..series::MEMORY_ACTIVITY.0 + 1,
            Self::Memory => series::MEMORY_USED.0..series::MEMORY_RESERVED.0 + 1,
            Self::Power => one(series::POWER),
            Self::SmClock => one(series::SM_CLOCK),
            Self::Throttle => series::THROTTLE.0..series::THROTTLE.0 + series::THROTTLE_BITS,
            Self::Temperature => one(series::TEMPERATURE),
            Self::MemoryClock => one(series::MEMORY_CLOCK),
            Self::Processes => one(series::SERVER_MEMORY),
            Self::FastFields | Self::SlowFields | Self::StaticFields => 0..0,
        }
    }
}

/// Durations per kind of call, over all GPUs.
#[derive(Clone, Default)]
pub(crate) struct Costs {
    calls: [Durations; CALLS],
}

impl Costs {
    pub(crate) fn summaries(&self) -> impl Iterator<Item = CallCost> + '_ {
        let made = Call::ALL
            .into_iter()
            .zip(&self.calls)
            .filter(|(_, durations)| durations.count() > 0);
        made.map(|(call, durations)| durations.summary(call.name()))
    }
}

/// How one reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Unsupported,
    Failing { since_ns: i64, missed: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    state: State,
    streaks: u32,
}

/// After so many streaks of failures, one reading's further streaks are counted and no longer told one by one.
const TOLD_STREAKS: u32 = 10;

/// What the sampler's parts share: where rows go, what they are called, what is counted.
pub(crate) struct Output<'s> {
    pub(crate) sink: &'s mut dyn SampleSink,
    pub(crate) source: Arc<str>,
    pub(crate) costs: Costs,
    pub(crate) read_errors: u64,
}

impl<'s> Output<'s> {
    pub(crate) fn new(sink: &'s mut dyn SampleSink, source: Arc<str>) -> Self {
        Self {
            sink,
            source,
            costs: Costs::default(),
            read_errors: 0,
        }
    }

    pub(crate) fn event(
        &mut self,
        kind: &str,
        severity: Severity,
        message: String,
        attributes: &serde_json::Value,
    ) {
        let now = self.sink.now_ns();
        self.event_from(now, None, kind, severity, message, attributes);
    }

    pub(crate) fn event_from(
        &mut self,
        timestamp_ns: i64,
        end_ns: Option<i64>,
        kind: &str,
        severity: Severity,
        message: String,
        attributes: &serde_json::Value,
    ) {
        self.sink.event(EventRow {
            timestamp_ns,
            end_ns,
            kind: kind.into(),
            severity,
            source: self.source.clone(),
            message: message.into(),
            attributes: attributes.to_string().into(),
        });
    }
}

/// One GPU under the sampler's eye.
pub(crate) struct Gpu<'n> {
    device: Device<'n>,
    pub(crate) identity: GpuIdentity,
    /// False while the GPU is known to belong to somebody else than the server.
    pub(crate) selected: bool,
    lost_since_ns: Option<i64>,
    ids: Vec<Option<SeriesId>>,
    calls: [Reading; CALLS],
    fields: Vec<Reading>,
    newly_unsupported: Vec<String>,
    recovery_action: Option<f64>,
    scratch: Vec<(usize, f64)>,
}

impl<'n> Gpu<'n> {
    pub(crate) fn open(nvml: &'n Nvml, index: u32) -> Result<Self, NvmlError> {
        let device = nvml.device_by_index(index)?;
        let identity = GpuIdentity {
            index,
            uuid: device.uuid()?,
            name: device.name()?,
        };
        let good = Reading {
            state: State::Good,
            streaks: 0,
        };
        let fields = FAST_FIELDS.len() + SLOW_FIELDS.len() + STATIC_FIELDS.len();
        Ok(Self {
            device,
            identity,
            selected: true,
            lost_since_ns: None,
            ids: vec![None; CALL_SERIES.len() + fields],
            calls: [good; CALLS],
            fields: vec![good; fields],
            newly_unsupported: Vec::new(),
            recovery_action: None,
            scratch: Vec::new(),
        })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost_since_ns.is_some()
    }

    /// Readings that this GPU does not have.
    pub(crate) fn unsupported(&self) -> Vec<String> {
        let calls = Call::ALL
            .into_iter()
            .zip(&self.calls)
            .filter(|(_, r)| r.state == State::Unsupported);
        let fields = (0..self.fields.len()).filter(|&i| self.fields[i].state == State::Unsupported);
        let slots = calls
            .flat_map(|(call, _)| call.slots())
            .chain(fields.map(|i| CALL_SERIES.len() + i));
        slots.map(|slot| spelled(series_of(slot))).collect()
    }

    /// Tells what never changes: one info series and the constant gauges.
    pub(crate) fn announce(&mut self, nvml: &Nvml, output: &mut Output<'_>) {
        let start_ns = output.sink.now_ns();
        let device = &self.device;
        let mut values = Vec::new();
        let mut constant = |slot: Slot, value: Option<f64>| values.extend(value.map(|value| (slot.0, value)));
        constant(
            series::MEMORY_TOTAL,
            device.memory_info().ok().map(|memory| memory.total as f64),
        );
        constant(
            series::SM_CLOCK_MAX,
            device.max_clock_info(Clock::SM).ok().map(hertz),
        );
        constant(
            series::MEMORY_CLOCK_MAX,
            device.max_clock_info(Clock::Memory).ok().map(hertz),
        );
        use nvml_wrapper::enum_wrappers::device::TemperatureThreshold::{Shutdown, Slowdown};
        constant(
            series::SLOWDOWN,
            device.temperature_threshold(Slowdown).ok().map(f64::from),
        );
        constant(
            series::SHUTDOWN,
            device.temperature_threshold(Shutdown).ok().map(f64::from),
        );

        let mut facts = BTreeMap::new();
        let mut fact =
            |key: &'static str, value: Option<String>| facts.extend(value.map(|value| (key, value)));
        fact("driver_version", nvml.sys_driver_version().ok());
        fact("nvml_version", nvml.sys_nvml_version().ok());
        fact(
            "cuda_driver_version",
            nvml.sys_cuda_driver_version()
                .ok()
                .map(|v| format!("{}.{}", v / 1000, v % 1000 / 10)),
        );
        fact("pci_bus_id", device.pci_info().ok().map(|pci| pci.bus_id));
        fact("vbios_version", device.vbios_version().ok());
        fact(
            "compute_capability",
            device
                .cuda_compute_capability()
                .ok()
                .map(|c| format!("{}.{}", c.major, c.minor)),
        );
        fact(
            "ecc_enabled",
            device
                .is_ecc_enabled()
                .ok()
                .map(|ecc| ecc.currently_enabled.to_string()),
        );
        fact(
            "persistence_mode",
            device.is_in_persistent_mode().ok().map(|on| on.to_string()),
        );
        fact(
            "mig_enabled",
            device.mig_mode().ok().map(|mode| (mode.current != 0).to_string()),
        );
        fact(
            "pcie_link_generation",
            device
                .current_pcie_link_gen()
                .ok()
                .map(|generation| generation.to_string()),
        );
        fact(
            "pcie_link_width",
            device
                .current_pcie_link_width()
                .ok()
                .map(|width| width.to_string()),
        );
        let info = output.sink.intern(SeriesDef {
            metric_name: "gpu_info".into(),
            labels: self
                .labels(facts.iter().map(|(key, value)| (*key, value.as_str())))
                .into(),
            metric_type: MetricType::Info,
            unit: "".into(),
            source: output.source.clone(),
            endpoint_url: "".into(),
        });
        let mut samples = vec![Sample {
            series: info,
            timestamp_ns: start_ns,
            value: 1.0,
        }];
        for (slot, value) in values {
            samples.push(Sample {
                series: self.id(slot, output),
                timestamp_ns: start_ns,
                value,
            });
        }
        let end_ns = output.sink.now_ns();
        output.sink.samples(SampleBatch {
            start_ns,
            end_ns,
            samples,
            ..SampleBatch::default()
        });
        let attributes = serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "name": self.identity.name,
            "facts": facts,
        });
        let message = format!(
            "GPU {} is {} ({})",
            self.identity.index, self.identity.name, self.identity.uuid
        );
        output.event("gpu_found", Severity::Info, message, &attributes);
        self.sample(&[Call::StaticFields], output);
    }

    /// Makes the calls that are due and hands over what they gave, with the time before the first and after the last.
    pub(crate) fn sample(&mut self, calls: &[Call], output: &mut Output<'_>) {
        if self.is_lost() {
            return;
        }
        let start_ns = output.sink.now_ns();
        let mut before_ns = start_ns;
        let mut samples = Vec::with_capacity(24);
        for &call in calls {
            if self.calls[call as usize].state == State::Unsupported {
                continue;
            }
            let mut values = std::mem::take(&mut self.scratch);
            let result = self.read(call, before_ns, &mut values, output);
            let after_ns = output.sink.now_ns();
            output.costs.calls[call as usize].record(u64::try_from(after_ns - before_ns).unwrap_or(0));
            for (slot, value) in values.drain(..) {
                samples.push(Sample {
                    series: self.id(slot, output),
                    timestamp_ns: start_ns,
                    value,
                });
            }
            self.scratch = values;
            let lost = matches!(result, Err(NvmlError::GpuLost | NvmlError::ResetRequired));
            self.judge_call(call, result, before_ns, output);
            if lost {
                break;
            }
            before_ns = after_ns;
        }
        let end_ns = output.sink.now_ns();
        if !samples.is_empty() {
            output.sink.samples(SampleBatch {
                start_ns,
                end_ns,
                samples,
                ..SampleBatch::default()
            });
        }
        self.tell_unsupported(output);
    }

    fn read(
        &mut self,
        call: Call,
        now_ns: i64,
        out: &mut Vec<(usize, f64)>,
        output: &mut Output<'_>,
    ) -> Result<(), NvmlError> {
        let device = &self.device;
        let mut put = |slot: Slot, value: f64| out.push((slot.0, value));
        match call {
            Call::Utilization => {
                let rates = device.utilization_rates()?;
                put(series::UTILIZATION, f64::from(rates.gpu) / 100.0);
                put(series::MEMORY_ACTIVITY, f64::from(rates.memory) / 100.0);
            }
            Call::Memory => {
                let memory = device.memory_info()?;
                put(series::MEMORY_USED, memory.used as f64);
                put(series::MEMORY_RESERVED, memory.reserved as f64);
            }
            Call::Power => put(series::POWER, f64::from(device.power_usage()?) / 1e3),
            Call::SmClock => put(series::SM_CLOCK, hertz(device.clock_info(Clock::SM)?)),
            Call::MemoryClock => put(series::MEMORY_CLOCK, hertz(device.clock_info(Clock::Memory)?)),
            Call::Temperature => put(
                series::TEMPERATURE,
                f64::from(device.temperature(TemperatureSensor::Gpu)?),
            ),
            Call::Throttle => {
                let bits = device.current_throttle_reasons()?.bits();
                for bit in 0..series::THROTTLE_BITS {
                    put(
                        Slot(series::THROTTLE.0 + bit),
                        f64::from(u8::from(bits >> bit & 1 == 1)),
                    );
                }
            }
            Call::Processes => {}
            Call::FastFields | Call::SlowFields | Call::StaticFields => {
                return self.read_fields(call, now_ns, out, output);
            }
        }
        Ok(())
    }

    fn read_fields(
        &mut self,
        call: Call,
        now_ns: i64,
        out: &mut Vec<(usize, f64)>,
        output: &mut Output<'_>,
    ) -> Result<(), NvmlError> {
        let (first, fields) = call.fields().expect("only batched calls come here");
        let asked: Vec<usize> = (0..fields.len())
            .filter(|i| self.fields[first + i].state != State::Unsupported)
            .collect();
        if asked.is_empty() {
            self.calls[call as usize].state = State::Unsupported;
            return Ok(());
        }
        let ids: Vec<FieldId> = asked.iter().map(|&i| FieldId(fields[i].id)).collect();
        // The answers come back in the order asked. Their ids do not help: the binding may have renumbered them.
        let answers = self.device.field_values_for(&ids)?;
        for (&i, answer) in asked.iter().zip(answers) {
            let slot = CALL_SERIES.len() + first + i;
            match answer.and_then(|sample| sample.value) {
                Ok(value) => {
                    let value = fields[i].scale.apply(number(&value));
                    if fields[i].series.name == "gpu_recovery_action" {
                        self.watch_recovery_action(value, output);
                    }
                    out.push((slot, value));
                    self.settle(first + i, now_ns, output);
                }
                Err(error) if is_for_good(&error) || is_unknown_field(&error) => {
                    self.fields[first + i].state = State::Unsupported;
                    self.newly_unsupported.push(spelled(series_of(slot)));
                }
                Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => return Err(error),
                Err(error) => {
                    output.read_errors += 1;
                    let reading = &mut self.fields[first + i];
                    let begun = fail(reading, now_ns);
                    let told = reading.streaks <= TOLD_STREAKS;
                    if begun && told {
                        self.tell_failed(&spelled(series_of(slot)), &error, output);
                    }
                }
            }
        }
        Ok(())
    }

    /// Which processes compute on this GPU, and the memory of those in `server`. `None`: could not be read.
    pub(crate) fn server_memory(
        &mut self,
        server: &HashSet<u32>,
        output: &mut Output<'_>,
    ) -> Option<Ownership> {
        if self.is_lost() || self.calls[Call::Processes as usize].state == State::Unsupported {
            return None;
        }
        let before_ns = output.sink.now_ns();
        let result = self.device.running_compute_processes();
        let after_ns = output.sink.now_ns();
        output.costs.calls[Call::Processes as usize].record(u64::try_from(after_ns - before_ns).unwrap_or(0));
        let (processes, result) = match result {
            Ok(processes) => (Some(processes), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.judge_call(Call::Processes, result, before_ns, output);
        self.tell_unsupported(output);
        let processes = processes?;
        let ours: Vec<_> = processes
            .iter()
            .filter(|process| server.contains(&process.pid))
            .collect();
        if ours.is_empty() {
            return Some(if processes.is_empty() {
                Ownership::Nobody
            } else {
                Ownership::Others
            });
        }
        let bytes: u64 = ours
            .iter()
            .filter_map(|process| match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            })
            .sum();
        if bytes > 0 {
            let series = self.id(series::SERVER_MEMORY.0, output);
            let sample = Sample {
                series,
                timestamp_ns: before_ns,
                value: bytes as f64,
            };
            let batch = SampleBatch {
                start_ns: before_ns,
                end_ns: after_ns,
                samples: vec![sample],
                ..Default::default()
            };
            output.sink.samples(batch);
        }
        Some(Ownership::Server)
    }

    /// Tries to get a lost GPU back; the stretch without it becomes a gap.
    pub(crate) fn try_regain(&mut self, nvml: &'n Nvml, output: &mut Output<'_>) {
        let Some(since_ns) = self.lost_since_ns else {
            return;
        };
        let Ok(device) = nvml.device_by_uuid(self.identity.uuid.as_str()) else {
            return;
        };
        if device.memory_info().is_err() && device.uuid().is_err() {
            return;
        }
        self.device = device;
        self.lost_since_ns = None;
        let now = output.sink.now_ns();
        let message = format!("GPU {} answers again", self.identity.index);
        self.tell_gap(since_ns, now, message, "lost", output);
    }

    /// Ends the open gaps when the run ends.
    pub(crate) fn finish(&mut self, output: &mut Output<'_>) {
        let now = output.sink.now_ns();
        if let Some(since_ns) = self.lost_since_ns {
            let message = format!("GPU {} was lost until the end of the run", self.identity.index);
            self.tell_gap(since_ns, now, message, "lost", output);
        }
        for call in Call::ALL {
            if let State::Failing { since_ns, .. } = self.calls[call as usize].state {
                self.tell_gap(
                    since_ns,
                    now,
                    self.failed_until_end(call.name()),
                    call.name(),
                    output,
                );
            }
        }
        for i in 0..self.fields.len() {
            if let State::Failing { since_ns, .. } = self.fields[i].state {
                let name = spelled(series_of(CALL_SERIES.len() + i));
                self.tell_gap(since_ns, now, self.failed_until_end(&name), &name, output);
            }
        }
    }

    fn failed_until_end(&self, reading: &str) -> String {
        format!(
            "GPU {}: {reading} could not be read until the end of the run",
            self.identity.index
        )
    }

    fn judge_call(&mut self, call: Call, result: Result<(), NvmlError>, at_ns: i64, output: &mut Output<'_>) {
        match result {
            Ok(()) => {
                let reading = &mut self.calls[call as usize];
                if let State::Failing { since_ns, missed } = reading.state {
                    reading.state = State::Good;
                    if reading.streaks <= TOLD_STREAKS {
                        let message = format!(
                            "GPU {}: {} is read again after {missed} failed readings",
                            self.identity.index,
                            call.name()
                        );
                        self.tell_gap(since_ns, at_ns, message, call.name(), output);
                    }
                }
            }
            Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => {
                self.lost_since_ns = Some(at_ns);
                let message = format!(
                    "GPU {} ({}) is lost: {error}",
                    self.identity.index, self.identity.uuid
                );
                output.event("gpu_lost", Severity::Error, message, &self.attributes("lost"));
            }
            Err(error) if is_for_good(&error) => {
                self.calls[call as usize].state = State::Unsupported;
                match call.fields() {
                    None => self
                        .newly_unsupported
                        .extend(call.slots().map(|slot| spelled(series_of(slot)))),
                    Some((first, fields)) => {
                        for i in first..first + fields.len() {
                            self.fields[i].state = State::Unsupported;
                            self.newly_unsupported
                                .push(spelled(series_of(CALL_SERIES.len() + i)));
                        }
                    }
                }
            }
            Err(error) => {
                output.read_errors += 1;
                let reading = &mut self.calls[call as usize];
                let begun = fail(reading, at_ns);
                let told = reading.streaks <= TOLD_STREAKS;
                if begun && told {
                    self.tell_failed(call.name(), &error, output);
                }
            }
        }
    }

    /// A field gave a value: ends its streak of failures, if there was one.
    fn settle(&mut self, field: usize, now_ns: i64, output: &mut Output<'_>) {
        let reading = &mut self.fields[field];
        let State::Failing { since_ns, missed } = reading.state else {
            return;
        };
        reading.state = State::Good;
        if reading.streaks <= TOLD_STREAKS {
            let name = spelled(series_of(CALL_SERIES.len() + field));
            let message = format!(
                "GPU {}: {name} is read again after {missed} failed readings",
                self.identity.index
            );
            self.tell_gap(since_ns, now_ns, message, &name, output);
        }
    }

    /// The driver's own advice after a fault, told when it changes.
    fn watch_recovery_action(&mut self, code: f64, output: &mut Output<'_>) {
        let before = self.recovery_action.replace(code);
        if before == Some(code) || (before.is_none() && code == 0.0) {
            return;
        }
        let action = match code as i64 {
            0 => "none",
            1 => "reset_gpu",
            2 => "reboot_node",
            3 => "drain_peer_traffic",
            4 => "drain_and_reset",
            _ => "unknown",
        };
        let severity = if code == 0.0 {
            Severity::Info
        } else {
            Severity::Error
        };
        let message = format!(
            "GPU {}: the driver asks for recovery action `{action}`",
            self.identity.index
        );
        let attributes = serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "action": action, "code": code,
        });
        output.event("gpu_recovery_action", severity, message, &attributes);
    }

    fn tell_failed(&self, reading: &str, error: &NvmlError, output: &mut Output<'_>) {
        let message = format!(
            "GPU {}: {reading} could not be read ({error}); trying again",
            self.identity.index
        );
        output.event(
            "read_failed",
            Severity::Warning,
            message,
            &self.attributes(reading),
        );
    }

    fn tell_gap(&self, from_ns: i64, to_ns: i64, message: String, reading: &str, output: &mut Output<'_>) {
        output.event_from(
            from_ns,
            Some(to_ns),
            "gap",
            Severity::Warning,
            message,
            &self.attributes(reading),
        );
    }

    fn tell_unsupported(&mut self, output: &mut Output<'_>) {
        if self.newly_unsupported.is_empty() {
            return;
        }
        let series = std::mem::take(&mut self.newly_unsupported);
        let message = format!(
            "GPU {} does not support {}",
            self.identity.index,
            series.join(", ")
        );
        let attributes = serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "series": series,
        });
        output.event("not_supported", Severity::Info, message, &attributes);
    }

    fn attributes(&self, reading: &str) -> serde_json::Value {
        serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "reading": reading,
        })
    }

    fn id(&mut self, slot: usize, output: &mut Output<'_>) -> SeriesId {
        if let Some(id) = self.ids[slot] {
            return id;
        }
        let series = series_of(slot);
        let id = output.sink.intern(SeriesDef {
            metric_name: series.name.into(),
            labels: self.labels(series.label.into_iter()).into(),
            metric_type: series.metric_type,
            unit: series.unit.into(),
            source: output.source.clone(),
            endpoint_url: "".into(),
        });
        self.ids[slot] = Some(id);
        id
    }

    fn labels<'a>(&'a self, more: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let index = self.identity.index.to_string();
        let mut labels: BTreeMap<&str, &str> = more.collect();
        labels.insert("gpu", &index);
        labels.insert("uuid", &self.identity.uuid);
        labels.insert("name", &self.identity.name);
        serde_json::json!(labels).to_string()
    }

    /// Text that is equal for two handles of the same GPU, even when the GPU no longer answers.
    pub(crate) fn handle_text(&self) -> String {
        format!("{:?}", self.device)
    }
}

/// Whose processes compute on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    Server,
    Others,
    Nobody,
}

fn hertz(megahertz: u32) -> f64 {
    f64::from(megahertz) * 1e6
}

fn number(value: &SampleValue) -> f64 {
    match *value {
        SampleValue::F64(value) => value,
        SampleValue::U32(value) => f64::from(value),
        SampleValue::U64(value) => value as f64,
        SampleValue::I64(value) => value as f64,
    }
}

/// Asking again would give the same answer for as long as this driver runs.
fn is_for_good(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
    )
}

/// A field id that this driver does not know, or a value type that the binding does not know (NVML's signed 32-bit
/// integers, which the temperature limits use).
fn is_unknown_field(error: &NvmlError) -> bool {
    matches!(error, NvmlError::InvalidArg | NvmlError::UnexpectedVariant(_))
}

/// Counts one failed reading; true if it is the first of a streak.
fn fail(reading: &mut Reading, at_ns: i64) -> bool {
    if let State::Failing { missed, .. } = &mut reading.state {
        *missed += 1;
        return false;
    }
    reading.state = State::Failing {
        since_ns: at_ns,
        missed: 1,
    };
    reading.streaks += 1;
    true
}

fn series_of(slot: usize) -> &'static GpuSeries {
    let mut fields = FAST_FIELDS.iter().chain(SLOW_FIELDS).chain(STATIC_FIELDS);
    match CALL_SERIES.get(slot) {
        Some(series) => series,
        None => fields
            .nth(slot - CALL_SERIES.len())
            .map(|field| &field.series)
            .expect("a slot has a series"),
    }
}

/// Name with its own label, as in an exposition.
fn spelled(series: &GpuSeries) -> String {
    match series.label {
        Some((key, value)) => format!("{}{{{key}=\"{value}\"}}", series.name),
        None => series.name.to_owned(),
    }
}
