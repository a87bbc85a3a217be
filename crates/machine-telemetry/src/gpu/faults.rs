//! Reports faults immediately: a thread that waits for NVML events and turns XID and ECC events into rows.
//!
//! It is a separate thread because a driver call of the sampler can take seconds when a GPU fails, which is
//! exactly when the event must not be delayed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;
use nvml_wrapper::{EventSet, Nvml};

use super::device::GpuIdentity;
use super::output::Output;
use super::xid;
use run_model::EventKind;
use run_model::StopToken;
use run_model::{MetricType, Sample, SampleBatch, SeriesDef, SeriesId, Severity};

/// The wait returns immediately on an event; this only bounds the delay of a stop.
const WAIT_MS: u32 = 100;
/// A failing GPU can raise thousands of events. Beyond this rate per second and kind, they are only counted.
const REPORTED_PER_SECOND: u32 = 10;

/// A GPU to listen to, and the text of its handle, which identifies its events when it no longer answers.
pub(crate) struct EventSupport {
    pub(crate) identity: GpuIdentity,
    pub(crate) handle_text: String,
}

/// Listens until stopped. Sets `struck` at each event, so that the sampler reads the error counters and the
/// driver's recovery action at its next tick instead of its next slow one.
pub(crate) fn listen(
    nvml: &Nvml,
    gpus: &[EventSupport],
    struck: &AtomicBool,
    output: &mut Output<'_>,
    stop: &StopToken,
) {
    let Some(set) = register(nvml, gpus, output) else {
        return;
    };
    let mut limiter = EventLimiter::default();
    let mut failing = false;
    while !stop.is_stopped() {
        match set.wait(WAIT_MS) {
            Ok(event) => {
                failing = false;
                record(&event, gpus, &mut limiter, output);
                struck.store(true, Ordering::Relaxed);
            }
            Err(NvmlError::Timeout) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let message = format!("waiting for GPU events failed ({error}); trying again");
                    output.event(
                        EventKind::ReadFailed,
                        Severity::Warning,
                        message,
                        &serde_json::json!({"reading": "events"}),
                    );
                }
                stop.wait_until(Instant::now() + Duration::from_millis(u64::from(WAIT_MS)));
            }
        }
    }
}

/// Creates an event set with every GPU that supports it, skipping GPUs that fail to register.
fn register<'n>(nvml: &'n Nvml, gpus: &[EventSupport], output: &mut Output<'_>) -> Option<EventSet<'n>> {
    let wanted =
        EventTypes::CRITICAL_XID_ERROR | EventTypes::SINGLE_BIT_ECC_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR;
    let mut refused: Vec<(usize, String)> = Vec::new();
    // A failed registration frees the whole set, so each failure starts over without that GPU.
    let set = 'again: loop {
        let mut set = match nvml.create_event_set() {
            Ok(set) => set,
            Err(error) => {
                let message = format!("GPU faults will not be seen as they happen: no event set ({error})");
                output.event(
                    EventKind::NotSupported,
                    Severity::Warning,
                    message,
                    &serde_json::json!({"series": ["events"]}),
                );
                return None;
            }
        };
        for (place, gpu) in gpus.iter().enumerate() {
            if refused.iter().any(|(refused, _)| *refused == place) {
                continue;
            }
            let registered = nvml
                .device_by_index(gpu.identity.index)
                .and_then(|device| Ok((device.supported_event_types()? & wanted, device)));
            match registered {
                Err(error) => refused.push((place, error.to_string())),
                Ok((types, _)) if types.is_empty() => refused.push((place, "no event types".to_owned())),
                Ok((types, device)) => match device.register_events(types, set) {
                    Ok(kept) => set = kept,
                    Err(error) => {
                        refused.push((place, error.to_string()));
                        continue 'again;
                    }
                },
            }
        }
        break set;
    };
    for (place, why) in &refused {
        let identity = &gpus[*place].identity;
        let message = format!(
            "GPU {}: faults will not be seen as they happen ({why})",
            identity.index
        );
        let attributes = serde_json::json!({
            "gpu": identity.index.to_string(), "uuid": identity.uuid, "series": ["events"],
        });
        output.event(EventKind::NotSupported, Severity::Warning, message, &attributes);
    }
    (refused.len() < gpus.len()).then_some(set)
}

/// Counts events per GPU and kind, and limits how many are reported.
#[derive(Default)]
struct EventLimiter {
    kinds: HashMap<(Option<u32>, Kind), Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Xid(u64),
    EccSingle,
    EccDouble,
}

impl Kind {
    fn of(event: &EventData<'_>) -> Self {
        match &event.event_data {
            // The driver uses 999 for an unknown number.
            Some(XidError::Value(code)) => Self::Xid(*code),
            Some(XidError::Unknown) => Self::Xid(999),
            None if event.event_type.contains(EventTypes::DOUBLE_BIT_ECC_ERROR) => Self::EccDouble,
            None => Self::EccSingle,
        }
    }
}

struct Count {
    series: SeriesId,
    total: u64,
    second_began: Instant,
    this_second: u32,
    suppressed: u64,
}

impl Count {
    fn new(series: SeriesId) -> Self {
        Self {
            series,
            total: 0,
            second_began: Instant::now(),
            this_second: 0,
            suppressed: 0,
        }
    }

    /// Counts an event. If it is to be reported, returns how many before it were not.
    fn add(&mut self) -> Option<u64> {
        self.total += 1;
        if self.second_began.elapsed() >= Duration::from_secs(1) {
            (self.second_began, self.this_second) = (Instant::now(), 0);
        }
        self.this_second += 1;
        if self.this_second > REPORTED_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Adds an event to its counter's series, and reports it unless there are too many.
fn record(event: &EventData<'_>, gpus: &[EventSupport], limiter: &mut EventLimiter, output: &mut Output<'_>) {
    let now_ns = output.sink.now_ns();
    let text = format!("{:?}", event.device);
    let identity = gpus
        .iter()
        .find(|gpu| gpu.handle_text == text)
        .map(|gpu| &gpu.identity);
    let kind = Kind::of(event);
    let source = output.source.clone();
    let count = limiter
        .kinds
        .entry((identity.map(|identity| identity.index), kind))
        .or_insert_with(|| Count::new(output.sink.intern(counter(kind, identity, source))));
    let reported = count.add();
    let sample = Sample {
        series: count.series,
        timestamp_ns: now_ns,
        value: count.total as f64,
    };
    output.sink.samples(SampleBatch {
        start_ns: now_ns,
        end_ns: now_ns,
        samples: vec![sample],
        ..Default::default()
    });
    if let Some(suppressed_before) = reported {
        report(now_ns, kind, identity, suppressed_before, output);
    }
}

fn report(
    now_ns: i64,
    kind: Kind,
    identity: Option<&GpuIdentity>,
    suppressed_before: u64,
    output: &mut Output<'_>,
) {
    let gpu = identity.map_or_else(
        || "an unknown GPU".to_owned(),
        |identity| format!("GPU {}", identity.index),
    );
    let mut attributes = serde_json::json!({ "suppressed_before": suppressed_before });
    if let Some(identity) = identity {
        attributes["gpu"] = identity.index.to_string().into();
        attributes["uuid"] = identity.uuid.clone().into();
    }
    let (event, severity, message) = match kind {
        Kind::Xid(code) => {
            let xid = xid::look_up(code);
            attributes["xid"] = code.into();
            attributes["class"] = xid.class.as_str().into();
            attributes["action"] = xid.action.as_str().into();
            attributes["driver_advice"] = xid.driver_advice.into();
            let (meaning, action) = (xid.meaning, xid.action.as_str());
            let message = format!("{gpu}: XID {code}, {meaning}; suggested: {action}");
            (EventKind::Xid, xid.severity(), message)
        }
        Kind::EccSingle => {
            attributes["ecc"] = "corrected".into();
            let message = format!("{gpu}: a memory error was corrected");
            (EventKind::EccError, Severity::Warning, message)
        }
        Kind::EccDouble => {
            attributes["ecc"] = "uncorrected".into();
            let message = format!("{gpu}: a memory error could not be corrected");
            (EventKind::EccError, Severity::Error, message)
        }
    };
    output.event_from(now_ns, None, event, severity, message, &attributes);
}

/// The counter series of one kind of event; it begins with the first event.
fn counter(kind: Kind, identity: Option<&GpuIdentity>, source: Arc<str>) -> SeriesDef {
    let mut labels: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(identity) = identity {
        labels.insert("gpu", identity.index.to_string());
        labels.insert("uuid", identity.uuid.clone());
        labels.insert("name", identity.name.clone());
    }
    let (name, key, value) = match kind {
        Kind::Xid(code) => ("gpu_xid_events_total", "xid", code.to_string()),
        Kind::EccSingle => ("gpu_ecc_events_total", "kind", "corrected".to_owned()),
        Kind::EccDouble => ("gpu_ecc_events_total", "kind", "uncorrected".to_owned()),
    };
    labels.insert(key, value);
    SeriesDef {
        metric_name: name.into(),
        labels: serde_json::json!(labels).to_string().into(),
        metric_type: MetricType::Counter,
        unit: "events".into(),
        source,
        endpoint_url: "".into(),
    }
}
