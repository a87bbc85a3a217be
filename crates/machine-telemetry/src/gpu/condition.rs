//! Conditions of a GPU's readings, and events on their changes.
//!
//! *Good*: its value becomes a sample. *Unsupported*: reported once, never read again. *Failing*: read again
//! at each tick; the period without values becomes a `gap` event. A lost GPU is not read until its handle is
//! available again.

use nvml_wrapper::error::NvmlError;

use super::calls::{Call, series_of, spelled};
use super::device::Gpu;
use super::output::Output;
use super::reading::{REPORTED_STREAKS, State, fail, is_for_good};
use super::series::CALL_SERIES;
use run_model::EventKind;
use run_model::Severity;

impl Gpu<'_> {
    /// Readings that this GPU does not support.
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

    /// Ends open gaps at the end of the run.
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

    pub(crate) fn failed_until_end(&self, reading: &str) -> String {
        format!(
            "GPU {}: {reading} could not be read until the end of the run",
            self.identity.index
        )
    }

    pub(crate) fn judge_call(
        &mut self,
        call: Call,
        result: Result<(), NvmlError>,
        at_ns: i64,
        output: &mut Output<'_>,
    ) {
        match result {
            Ok(()) => {
                let reading = &mut self.calls[call as usize];
                if let State::Failing { since_ns, missed } = reading.state {
                    reading.state = State::Good;
                    if reading.streaks <= REPORTED_STREAKS {
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
                output.event(
                    EventKind::GpuLost,
                    Severity::Error,
                    message,
                    &self.attributes("lost"),
                );
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
                let told = reading.streaks <= REPORTED_STREAKS;
                if begun && told {
                    self.tell_failed(call.name(), &error, output);
                }
            }
        }
    }

    /// Ends a field's streak of failures, if any, once it has a value.
    pub(crate) fn settle(&mut self, field: usize, now_ns: i64, output: &mut Output<'_>) {
        let reading = &mut self.fields[field];
        let State::Failing { since_ns, missed } = reading.state else {
            return;
        };
        reading.state = State::Good;
        if reading.streaks <= REPORTED_STREAKS {
            let name = spelled(series_of(CALL_SERIES.len() + field));
            let message = format!(
                "GPU {}: {name} is read again after {missed} failed readings",
                self.identity.index
            );
            self.tell_gap(since_ns, now_ns, message, &name, output);
        }
    }

    /// Reports the driver's own advice after a fault when it changes.
    pub(crate) fn watch_recovery_action(&mut self, code: f64, output: &mut Output<'_>) {
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
        output.event(EventKind::GpuRecoveryAction, severity, message, &attributes);
    }

    pub(crate) fn tell_failed(&self, reading: &str, error: &NvmlError, output: &mut Output<'_>) {
        let message = format!(
            "GPU {}: {reading} could not be read ({error}); trying again",
            self.identity.index
        );
        output.event(
            EventKind::ReadFailed,
            Severity::Warning,
            message,
            &self.attributes(reading),
        );
    }

    pub(crate) fn tell_gap(
        &self,
        from_ns: i64,
        to_ns: i64,
        message: String,
        reading: &str,
        output: &mut Output<'_>,
    ) {
        output.event_from(
            from_ns,
            Some(to_ns),
            EventKind::Gap,
            Severity::Warning,
            message,
            &self.attributes(reading),
        );
    }

    pub(crate) fn tell_unsupported(&mut self, output: &mut Output<'_>) {
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
        output.event(EventKind::NotSupported, Severity::Info, message, &attributes);
    }

    pub(crate) fn attributes(&self, reading: &str) -> serde_json::Value {
        serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "reading": reading,
        })
    }
}
