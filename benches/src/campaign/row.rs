//! What is known of a server in one second, as a line of a file that others can read.
//!
//! An empty field is a value that was not observed.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use vllm_monitor::snapshot::{Canary, CanaryResult};
use vllm_monitor::{Absence, Probe, ProbeOutcome, Signal, Snapshot, Time};

type Slot = fn(&mut Snapshot) -> &mut Signal<f64>;

/// Columns of the engine's page.
const PAGE: &[(&str, Slot)] = &[
    ("running", |s| &mut s.engine.running),
    ("waiting", |s| &mut s.engine.waiting),
    ("kv_usage_ratio", |s| &mut s.engine.kv_usage_ratio),
    ("kv_capacity_tokens", |s| &mut s.engine.kv_capacity_tokens),
    ("steps_total", |s| &mut s.engine.steps_total),
    ("prompt_tokens_total", |s| &mut s.engine.prompt_tokens_total),
    ("cached_tokens_total", |s| &mut s.engine.cached_tokens_total),
    ("generation_tokens_total", |s| {
        &mut s.engine.generation_tokens_total
    }),
    ("finished_total", |s| &mut s.engine.finished_total),
    ("rejected_total", |s| &mut s.engine.rejected_total),
    ("preemptions_total", |s| &mut s.engine.preemptions_total),
    ("inter_token_secs_sum", |s| &mut s.engine.inter_token_latency.sum),
    ("inter_token_count", |s| &mut s.engine.inter_token_latency.count),
    ("request_prompt_tokens_sum", |s| {
        &mut s.engine.request_prompt_tokens.sum
    }),
    ("request_prompt_tokens_count", |s| {
        &mut s.engine.request_prompt_tokens.count
    }),
    ("request_generation_tokens_sum", |s| {
        &mut s.engine.request_generation_tokens.sum
    }),
    ("request_generation_tokens_count", |s| {
        &mut s.engine.request_generation_tokens.count
    }),
];

/// Columns of other sources.
const OTHER: &[(&str, Slot)] = &[
    ("max_queued", |s| &mut s.engine.max_queued),
    ("host_memory_available_bytes", |s| {
        &mut s.host.memory_available_bytes
    }),
    ("host_memory_total_bytes", |s| &mut s.host.memory_total_bytes),
    ("resident_bytes", |s| &mut s.process.resident_bytes),
    ("engine_stopped", |s| &mut s.process.engine_stopped),
    ("engine_active", |s| &mut s.process.engine_active),
    ("engine_cpu_secs_total", |s| &mut s.process.engine_cpu_secs_total),
    ("api_stopped", |s| &mut s.process.api_stopped),
];

/// Ages from which on a page and a probe are stale, as the program has them.
const PAGE_SECS: f64 = 5.0;
const PROBE_SECS: f64 = 10.0;

/// What is known in one second.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Seconds since the run began.
    pub secs: f64,
    /// The newest probe of `/health`.
    pub health: Option<Probe>,
    /// The newest reading of `/metrics`.
    pub metrics: Option<Probe>,
    /// Age of the newest whole page.
    pub page_age_secs: Option<f64>,
    /// Whether the process exists.
    pub alive: Option<bool>,
    /// A stop was requested.
    pub stop_requested: bool,
    /// The server reports a pause.
    pub paused: bool,
    /// Seconds for which a request of the monitor's own has been waiting.
    pub canary_waiting_secs: Option<f64>,
    /// Seconds that the newest of them that was answered took.
    pub canary_last_secs: Option<f64>,
    values: Vec<Option<f64>>,
}

impl Row {
    /// From a snapshot.
    pub fn of(mut snapshot: Snapshot) -> Self {
        let values = PAGE
            .iter()
            .chain(OTHER)
            .map(|(_, slot)| slot(&mut snapshot).last())
            .collect();
        Self {
            secs: snapshot.time.as_nanos() as f64 / 1e9,
            health: snapshot.http.health.last(),
            metrics: snapshot.http.metrics.last(),
            page_age_secs: snapshot.engine.sampled_at.map(|at| snapshot.time.secs_since(at)),
            alive: snapshot.process.alive.last(),
            stop_requested: snapshot.process.stop_requested,
            paused: snapshot.http.paused.last() == Some(true),
            canary_waiting_secs: snapshot.canary.waiting_secs.last(),
            canary_last_secs: snapshot.canary.last.last().and_then(|last| last.first_token_secs),
            values,
        }
    }

    /// As a snapshot that the monitor and the baselines read.
    pub fn snapshot(&self) -> Snapshot {
        let now = Time::from_secs_f64(self.secs);
        let mut snapshot = Snapshot::empty("record", now);
        let absent = Signal::Absent(Absence::NotExported);
        for (n, (_, slot)) in PAGE.iter().chain(OTHER).enumerate() {
            let age = if n < PAGE.len() {
                self.page_age_secs
            } else {
                Some(0.0)
            };
            *slot(&mut snapshot) = match (self.values[n], age) {
                (Some(value), Some(age)) => Signal::aged(value, age, PAGE_SECS),
                _ => absent,
            };
        }
        snapshot.engine.sampled_at = self.page_age_secs.map(|age| Time::from_secs_f64(self.secs - age));
        let aged = |probe: Option<Probe>| match probe {
            Some(probe) => Signal::aged(probe, now.secs_since(probe.at), PROBE_SECS),
            None => Signal::default(),
        };
        snapshot.http.health = aged(self.health);
        snapshot.http.metrics = aged(self.metrics);
        snapshot.http.paused = Signal::fresh(self.paused, 0.0);
        snapshot.process.alive = self
            .alive
            .map_or(Signal::default(), |alive| Signal::fresh(alive, 0.0));
        snapshot.process.stop_requested = self.stop_requested;
        snapshot.canary = Canary {
            waiting_secs: self
                .canary_waiting_secs
                .map_or(Signal::default(), |secs| Signal::fresh(secs, 0.0)),
            last: self.canary_last_secs.map_or(Signal::default(), |secs| {
                let answered = CanaryResult {
                    ok: true,
                    first_token_secs: Some(secs),
                };
                Signal::fresh(answered, 0.0)
            }),
        };
        snapshot
    }

    /// A value by its column.
    pub fn value(&self, column: &str) -> Option<f64> {
        let place = PAGE.iter().chain(OTHER).position(|(name, _)| *name == column)?;
        self.values[place]
    }

    /// Sets a value by its column.
    pub fn set(&mut self, column: &str, value: f64) {
        let place = PAGE.iter().chain(OTHER).position(|(name, _)| *name == column);
        self.values[place.expect("a known column")] = Some(value);
    }

    /// The header of a file of rows.
    pub fn header() -> String {
        let mut header =
            "run,secs,health,health_connect_secs,metrics,page_age_secs,alive,stop_requested,paused,\
                          canary_waiting_secs,canary_last_secs"
                .to_owned();
        for (name, _) in PAGE.iter().chain(OTHER) {
            header.push(',');
            header.push_str(name);
        }
        header
    }

    /// As a line of that file.
    pub fn line(&self, run: usize) -> String {
        let mut line = format!("{run},{}", number(self.secs));
        let age = |probe: Probe| Time::from_secs_f64(self.secs).secs_since(probe.at);
        let probe = |probe: Option<Probe>| {
            probe.map_or(String::new(), |p| {
                format!("{}@{}", word(p.outcome), number(age(p)))
            })
        };
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let _infallible = write!(
            line,
            ",{},{},{},{},{},{},{},{},{}",
            probe(self.health),
            optional(self.health.and_then(|p| p.connect_secs)),
            probe(self.metrics),
            optional(self.page_age_secs),
            self.alive.map_or("", |alive| if alive { "1" } else { "0" }),
            u8::from(self.stop_requested),
            u8::from(self.paused),
            optional(self.canary_waiting_secs),
            optional(self.canary_last_secs),
        );
        for value in &self.values {
            line.push(',');
            line.push_str(&optional(*value));
        }
        line
    }

    /// From a line and its header's columns: the run, and the row.
    ///
    /// # Errors
    /// Names the column and the text that is not its value.
    pub fn parse(line: &str) -> Result<(usize, Self)> {
        let fields: Vec<&str> = line.split(',').collect();
        let columns = 11 + PAGE.len() + OTHER.len();
        ensure!(
            fields.len() == columns,
            "{} fields in place of {columns}",
            fields.len()
        );
        let optional = |at: usize| match fields[at] {
            "" => Ok(None),
            text => Ok::<_, anyhow::Error>(Some(
                text.parse::<f64>()
                    .ok()
                    .filter(|value| value.is_finite())
                    .with_context(|| format!("column {}: `{text}` is not a number", at + 1))?,
            )),
        };
        let secs = optional(1)?.context("column 2 is empty")?;
        let connect = optional(3)?;
        let probe = |at: usize| -> Result<Option<Probe>> {
            let Some((outcome, age)) = fields[at].split_once('@') else {
                return Ok(None);
            };
            let age: f64 = age
                .parse()
                .with_context(|| format!("column {}: `{age}`", at + 1))?;
            Ok(Some(Probe {
                at: Time::from_secs_f64(secs - age),
                outcome: outcome_of(outcome)?,
                connect_secs: connect,
                first_byte_secs: None,
            }))
        };
        Ok((
            fields[0]
                .parse()
                .with_context(|| format!("column 1: `{}`", fields[0]))?,
            Self {
                secs,
                health: probe(2)?,
                metrics: probe(4)?,
                page_age_secs: optional(5)?,
                alive: optional(6)?.map(|alive| alive > 0.0),
                stop_requested: optional(7)? == Some(1.0),
                paused: optional(8)? == Some(1.0),
                canary_waiting_secs: optional(9)?,
                canary_last_secs: optional(10)?,
                values: (11..columns).map(optional).collect::<Result<_>>()?,
            },
        ))
    }
}

/// At most six digits behind the point, and none that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

const WORDS: [(&str, ProbeOutcome); 7] = [
    ("refused", ProbeOutcome::Refused),
    ("connect_timeout", ProbeOutcome::ConnectTimeout),
    ("unreachable", ProbeOutcome::Unreachable),
    ("no_reply", ProbeOutcome::NoReply),
    ("reset", ProbeOutcome::Reset),
    ("truncated", ProbeOutcome::Truncated),
    ("malformed", ProbeOutcome::Malformed),
];

fn word(outcome: ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Status(status) => status.to_string(),
        other => WORDS
            .iter()
            .find(|(_, known)| *known == other)
            .map_or("malformed", |(word, _)| word)
            .to_owned(),
    }
}

fn outcome_of(text: &str) -> Result<ProbeOutcome> {
    if let Ok(status) = text.parse() {
        return Ok(ProbeOutcome::Status(status));
    }
    match WORDS.iter().find(|(word, _)| *word == text) {
        Some((_, outcome)) => Ok(*outcome),
        None => bail!("`{text}` is not the outcome of a probe"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let mut snapshot = Snapshot::empty("record", Time::from_secs_f64(12.0));
        snapshot.engine.sampled_at = Some(Time::from_secs_f64(11.0));
        snapshot.engine.running = Signal::fresh(3.0, 1.0);
        snapshot.engine.kv_usage_ratio = Signal::fresh(0.25, 1.0);
        snapshot.http.health = Signal::fresh(
            Probe {
                at: Time::from_secs_f64(12.0),
                outcome: ProbeOutcome::Reset,
                connect_secs: Some(0.5),
                first_byte_secs: None,
            },
            0.0,
        );
        let row = Row::of(snapshot);
        let (run, back) = Row::parse(&row.line(7)).expect("our own line");
        assert_eq!((run, &back), (7, &row));
        assert_eq!(Row::header().split(',').count(), row.line(7).split(',').count());
        let again = back.snapshot();
        assert_eq!(again.engine.running.if_fresh(), Some(3.0));
        assert!(again.engine.waiting.is_absent(), "absent is not zero");
        assert!(Row::parse("1,2,3").is_err());
    }
}
