//! One GPU: reads what is due, and tracks unavailable readings to distinguish absence from zero.
//!
//! The condition of a reading (good, unsupported, failing) is handled in `condition`.

use std::collections::{BTreeMap, HashSet};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};

use super::calls::{CALLS, Call, series_of, spelled};
use super::output::Output;
use super::reading::{REPORTED_STREAKS, Reading, State, fail, is_for_good, is_unknown_field};
use super::series::{self, CALL_SERIES, FAST_FIELDS, SLOW_FIELDS, STATIC_FIELDS, Slot};
use run_model::{Sample, SampleBatch, SeriesDef, SeriesId};

/// Identity of a GPU, valid for the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuIdentity {
    /// NVML's index.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
}

/// One sampled GPU.
pub(crate) struct Gpu<'n> {
    pub(crate) device: Device<'n>,
    pub(crate) identity: GpuIdentity,
    /// False while the GPU is known not to be used by the server.
    pub(crate) selected: bool,
    pub(crate) lost_since_ns: Option<i64>,
    ids: Vec<Option<SeriesId>>,
    pub(crate) calls: [Reading; CALLS],
    pub(crate) fields: Vec<Reading>,
    pub(crate) newly_unsupported: Vec<String>,
    pub(crate) recovery_action: Option<f64>,
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

    /// Makes the due calls and publishes their values, with the times before the first and after the last.
    pub(crate) fn sample(&mut self, calls: &[Call], output: &mut Output<'_>) {
        if self.is_lost() {
            return;
        }
        let start_ns = output.sink.now_ns();
        let mut samples = Vec::with_capacity(24);
        for &call in calls {
            if self.calls[call as usize].state == State::Unsupported {
                continue;
            }
            let mut values = std::mem::take(&mut self.scratch);
            // Not the end of the previous call: its values became samples in between.
            let before_ns = output.sink.now_ns();
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
        // The answers have the order of the requests. Their ids are unreliable: the binding may have
        // renumbered them.
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
                    let told = reading.streaks <= REPORTED_STREAKS;
                    if begun && told {
                        self.tell_failed(&spelled(series_of(slot)), &error, output);
                    }
                }
            }
        }
        Ok(())
    }

    /// Owner of the processes on this GPU; samples the memory of those in `server`. `None` if unreadable.
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
                Ownership::Free
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

    /// Tries to reopen a lost GPU; the time without it becomes a gap.
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

    pub(crate) fn id(&mut self, slot: usize, output: &mut Output<'_>) -> SeriesId {
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

    pub(crate) fn labels<'a>(&'a self, more: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let index = self.identity.index.to_string();
        let mut labels: BTreeMap<&str, &str> = more.collect();
        labels.insert("gpu", &index);
        labels.insert("uuid", &self.identity.uuid);
        labels.insert("name", &self.identity.name);
        serde_json::json!(labels).to_string()
    }

    /// Text that is equal for two handles of the same GPU, even if the GPU no longer answers.
    pub(crate) fn handle_text(&self) -> String {
        format!("{:?}", self.device)
    }
}

/// Owner of the processes that compute on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    Server,
    Others,
    Free,
}

pub(crate) fn hertz(megahertz: u32) -> f64 {
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
