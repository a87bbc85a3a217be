//! What a watch leaves on disk: steps, requests, latencies and what the monitor decided, in a record of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use vllm_metrics::{
    EngineRequestRow, EventRow, MetricType, Recorder, RunClock, Sample, SampleBatch, SeriesDef, SeriesId,
    Session, Severity, StepRow,
};
use vllm_monitor::{AlertChange, Decision, EventKind};

use crate::error::Result;
use crate::latency::Latencies;
use crate::message::Finished;
use crate::tally::{CountedStep, Tally};

/// Who saw it, in the columns `source`.
const SOURCE: &str = "vllm-engine";

pub(super) struct Record {
    session: Session,
    recorder: Recorder,
}

impl Record {
    /// Begins a record in `folder`, which is made if need be.
    pub(super) fn start(folder: PathBuf, facts: BTreeMap<String, String>) -> Result<Self> {
        let mut builder = Session::builder().output_dir(folder).raw_only();
        for (key, value) in facts {
            builder = builder.fact(key, value);
        }
        let session = builder.start()?;
        let recorder = session.recorder();
        Ok(Self { session, recorder })
    }

    pub(super) fn clock(&self) -> RunClock {
        self.session.clock()
    }

    /// The record's stamp, by which its files are named.
    pub(super) fn stamp(&self) -> String {
        self.session.stamp()
    }

    pub(super) fn step(&self, counted: &CountedStep) {
        let step = &counted.step;
        let scheduled = step.scheduled.as_ref();
        self.recorder.step(StepRow {
            step: counted.number,
            engine: step.engine,
            timestamp_ns: step.at_ns,
            duration_ns: counted.duration_ns,
            elapsed_ns: scheduled.map(|told| i64::try_from(told.elapsed_ns).unwrap_or(i64::MAX)),
            running: step.running,
            waiting: step.waiting + step.deferred,
            prefill_tokens: scheduled.map(|told| told.prefill_tokens),
            decode_tokens: scheduled.map(|told| told.decode_tokens),
            prompt_tokens: step.prompt_tokens,
            generation_tokens: step.generation_tokens,
            preemptions: step.preemptions,
            kv_usage_ratio: Some(step.kv_usage_ratio).filter(|ratio| ratio.is_finite()),
        });
    }

    pub(super) fn finished(&self, at_ns: i64, request: &Finished<'_>) {
        self.recorder.engine_request(EngineRequestRow {
            server_request_id: request.request_id.into(),
            request_id: client_id(request.request_id),
            engine: request.engine,
            done_ns: at_ns,
            reason: request.reason.as_str().into(),
            prompt_tokens: request.prompt_tokens,
            cached_tokens: request.cached_tokens,
            output_tokens: request.generation_tokens,
            preemptions: request.preemptions,
            e2e_ns: nanos(request.e2e_secs),
            queue_ns: nanos(request.queued_secs),
            prefill_ns: nanos(request.prefill_secs),
            decode_ns: nanos(request.decode_secs),
        });
    }

    /// Changes of state, and alerts that begin or end.
    pub(super) fn decisions(&self, decisions: &[Decision]) {
        for decision in decisions {
            let (at, kind, severity, message) = match decision {
                Decision::Event(event) => match &event.kind {
                    EventKind::Transition(change) => {
                        let text = format!("{} to {}", change.from, change.to);
                        (event.at, "engine_state", Severity::Info, text)
                    }
                    _ => continue,
                },
                Decision::Alert(alert) => {
                    let (severity, word) = match alert.change {
                        AlertChange::Raised => (Severity::Warning, "begins"),
                        AlertChange::Cleared => (Severity::Info, "ends"),
                    };
                    let text = format!("{} ({:?}) {word}", alert.failure_type, alert.kind).to_lowercase();
                    (alert.at, "engine_alert", severity, text)
                }
                _ => continue,
            };
            let attributes = serde_json::to_string(decision).unwrap_or_else(|_| "{}".to_owned());
            self.recorder.event(EventRow {
                timestamp_ns: at.as_nanos(),
                end_ns: None,
                kind: kind.into(),
                severity,
                source: SOURCE.into(),
                message: message.into(),
                attributes: attributes.into(),
            });
        }
    }

    /// Writes the latencies so far, as cumulative histograms.
    pub(super) fn all_latencies(&self, tally: &Tally) {
        for (index, engine) in &tally.engines {
            self.latencies(
                "vllm:monitor_inter_token_latency_seconds",
                *index,
                &engine.inter_token,
            );
            self.latencies(
                "vllm:monitor_time_to_first_token_seconds",
                *index,
                &engine.first_token,
            );
        }
    }

    /// Writes the latencies and closes the files. Returns what is missing, in words.
    pub(super) fn finish(self, tally: &Tally) -> Result<Vec<String>> {
        self.all_latencies(tally);
        let finished = self.session.finish()?;
        Ok(finished.missing.notes.clone())
    }

    /// A histogram with a bound for each bucket that holds a latency: three digits, however long the run.
    fn latencies(&self, name: &str, engine: u32, latencies: &Latencies) {
        let at_ns = self.recorder.now_ns();
        let mut samples = Vec::new();
        let mut put = |part: &str, labels: String, value: f64| {
            let series = self.series(format!("{name}_{part}").into(), labels.into());
            samples.push(Sample {
                series,
                timestamp_ns: at_ns,
                value,
            });
        };
        let mut below = 0;
        for (bound, count) in latencies.buckets() {
            below += count;
            put(
                "bucket",
                format!(r#"{{"engine":"{engine}","le":"{bound}"}}"#),
                below as f64,
            );
        }
        put(
            "bucket",
            format!(r#"{{"engine":"{engine}","le":"+Inf"}}"#),
            below as f64,
        );
        put("sum", format!(r#"{{"engine":"{engine}"}}"#), latencies.sum_secs());
        put(
            "count",
            format!(r#"{{"engine":"{engine}"}}"#),
            latencies.count() as f64,
        );
        self.recorder.samples(SampleBatch {
            start_ns: at_ns,
            end_ns: at_ns,
            phase: Arc::from(""),
            samples,
        });
    }

    fn series(&self, metric_name: Arc<str>, labels: Arc<str>) -> SeriesId {
        self.recorder.series(SeriesDef {
            metric_name,
            labels,
            metric_type: MetricType::Histogram,
            unit: "seconds".into(),
            source: SOURCE.into(),
            endpoint_url: "".into(),
        })
    }
}

fn nanos(secs: f64) -> i64 {
    // A cast of what is no number gives 0; vLLM's times are finite.
    (secs * 1e9).round() as i64
}

/// The client's number in vLLM's id, which is `cmpl-<X-Request-Id>-<index>…` or `chatcmpl-<X-Request-Id>…`. Ids that
/// vLLM made itself are random and hexadecimal; one of digits alone would be 32 digits long, too long for a number.
fn client_id(server_request_id: &str) -> Option<u64> {
    let mut parts = server_request_id.split('-');
    let first = parts.next()?;
    if first.parse::<u64>().is_ok() {
        return first.parse().ok();
    }
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::client_id;

    #[test]
    fn the_clients_number_is_found_in_vllms_ids() {
        assert_eq!(client_id("cmpl-42-0-9f3c1a22"), Some(42));
        assert_eq!(client_id("chatcmpl-18446744073709551615"), Some(u64::MAX));
        assert_eq!(client_id("17"), Some(17));
        assert_eq!(client_id("cmpl-9d5ed678fe57bcca610140957afab571-0"), None);
        assert_eq!(client_id("chatcmpl-11111111111111111111111111111111"), None);
        assert_eq!(client_id("req_1"), None);
    }
}
