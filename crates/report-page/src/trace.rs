//! A run as Chrome trace events, for Perfetto and speedscope.
//!
//! One process holds the requests, each a slice on the first lane that is free with its queue, prefill and decode
//! inside; another the phases and events; a third the counters. Written as a stream: memory does not grow with the
//! file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::encode::thin;
use crate::model::{Outcome, Run, TimeSource};
use crate::requests::{Requests, Row};
use crate::{Error, Result, check};

/// What goes into a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceOptions {
    /// Keys of series that become counters, see [`series_key`](crate::model::series_key). Longer ones are reduced to
    /// the smallest, largest and last value of each 1/2,000 of the run.
    pub counters: Vec<String>,
    /// Requests up to which all are written, about 600 bytes each. Above: every one that failed, every one beyond
    /// p99.9, and a sample of the rest. Default 50,000.
    pub max_requests: usize,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            counters: Vec::new(),
            max_requests: 50_000,
        }
    }
}

/// What a trace holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSummary {
    /// Requests that were written.
    pub requests: usize,
    /// Requests that were left out because of [`TraceOptions::max_requests`].
    pub requests_left_out: usize,
    /// Points of counters.
    pub points: usize,
    /// Points that were left out because the format has no NaN and no infinity.
    pub points_not_finite: usize,
    /// Keys of counters that the run does not have.
    pub counters_missing: Vec<String>,
}

const REQUESTS: u32 = 1;
const PHASES: u32 = 2;
const COUNTERS: u32 = 3;

/// Writes a run. Times are microseconds from the start of the record.
///
/// ```
/// use report_page::{TraceOptions, model::Run, write_trace};
///
/// let mut json = Vec::new();
/// write_trace(&Run::default(), &TraceOptions::default(), &mut json)?;
/// assert!(json.starts_with(b"{\"displayTimeUnit\":\"ms\""));
/// # Ok::<(), report_page::Error>(())
/// ```
///
/// # Errors
/// If the run contradicts itself, or the output cannot be written.
pub fn write_trace(run: &Run, options: &TraceOptions, out: impl Write) -> Result<TraceSummary> {
    check::run(run)?;
    let mut events = Events { out, first: true };
    let mut summary = TraceSummary::default();
    write!(
        events.out,
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{},\"traceEvents\":[",
        other_data(run)
    )?;
    let mark = if run.simulated { " (SIMULATED)" } else { "" };
    for (pid, name) in [
        (REQUESTS, "requests"),
        (PHASES, "phases and events"),
        (COUNTERS, "samples"),
    ] {
        events.name("process_name", pid, 0, &format!("{name}{mark}"))?;
    }
    phases(run, &mut events)?;
    requests(run, options, &mut events, &mut summary)?;
    counters(run, options, &mut events, &mut summary)?;
    events.out.write_all(b"\n]}\n")?;
    events.out.flush()?;
    Ok(summary)
}

fn other_data(run: &Run) -> Value {
    json!({
        "run": run.name,
        "record": run.label,
        "simulated": run.simulated,
        "start_unix_ns": run.span.start_ns.to_string(),
    })
}

struct Events<W> {
    out: W,
    first: bool,
}

impl<W: Write> Events<W> {
    fn write(&mut self, event: &Value) -> Result<()> {
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut self.out, event).map_err(|error| Error::Write(error.into()))
    }

    fn name(&mut self, what: &str, pid: u32, tid: usize, name: &str) -> Result<()> {
        self.write(
            &json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": { "name": name } }),
        )
    }

    fn slice(
        &mut self,
        name: &str,
        pid: u32,
        tid: usize,
        start_us: i64,
        end_us: i64,
        args: Value,
    ) -> Result<()> {
        let mut event = Map::new();
        event.insert("ph".into(), "X".into());
        event.insert("name".into(), name.into());
        event.insert("pid".into(), pid.into());
        event.insert("tid".into(), tid.into());
        event.insert("ts".into(), start_us.into());
        event.insert("dur".into(), (end_us - start_us).max(0).into());
        if !args.is_null() {
            event.insert("args".into(), args);
        }
        self.write(&Value::Object(event))
    }
}

fn phases<W: Write>(run: &Run, events: &mut Events<W>) -> Result<()> {
    let us = |ns: i64| (ns - run.span.start_ns) / 1_000;
    for (lane, phase) in run.phases.iter().enumerate() {
        // A lane each: phases may overlap.
        events.slice(
            &phase.name,
            PHASES,
            lane + 1,
            us(phase.span.start_ns),
            us(phase.span.end_ns),
            Value::Null,
        )?;
    }
    for event in &run.events {
        events.write(&json!({
            "ph": "i", "s": "p", "name": event.kind, "pid": PHASES, "tid": 0, "ts": us(event.at_ns),
            "args": { "message": event.message, "source": event.source },
        }))?;
    }
    Ok(())
}

fn requests<W: Write>(
    run: &Run,
    options: &TraceOptions,
    events: &mut Events<W>,
    summary: &mut TraceSummary,
) -> Result<()> {
    let requests = Requests::of(run);
    let total = requests.rows.len();
    let requests = requests.sampled(options.max_requests);
    summary.requests = requests.rows.len();
    summary.requests_left_out = total - requests.rows.len();
    let shift_us = (run.origin_ns - run.span.start_ns) / 1_000;
    let us = |ticks: i64| ticks * requests.tick_ns / 1_000 + shift_us;
    let end_of_run = (run.span.end_ns - run.origin_ns) / requests.tick_ns;
    let mut lanes = Lanes::default();
    for row in &requests.rows {
        let end = row.done.unwrap_or(end_of_run.max(row.issued));
        let lane = lanes.take(row.issued, end);
        let name = match row.outcome {
            Outcome::Completed => "request",
            Outcome::Failed => "request (failed)",
            Outcome::Cancelled => "request (cancelled)",
            Outcome::Open => "request (not ended)",
        };
        events.slice(name, REQUESTS, lane, us(row.issued), us(end), args(run, row))?;
        for (name, from, to) in parts(row, end) {
            if to > from {
                events.slice(name, REQUESTS, lane, us(from), us(to), Value::Null)?;
            }
        }
    }
    for lane in 1..=lanes.count {
        events.name("thread_name", REQUESTS, lane, &format!("lane {lane}"))?;
    }
    Ok(())
}

fn args(run: &Run, row: &Row) -> Value {
    let mut args = Map::new();
    let numbers = [
        ("prompt_tokens", row.prompt_tokens),
        ("output_tokens", row.output_tokens),
    ];
    for (name, tokens) in numbers {
        if let Some(tokens) = tokens {
            args.insert(name.into(), tokens.into());
        }
    }
    if let Some(server) = run.servers.get(row.server as usize) {
        args.insert("server".into(), server.as_str().into());
    }
    Value::Object(args)
}

/// Parts of a request, one after the other within it; from and to in ticks.
fn parts(row: &Row, end: i64) -> Vec<(&'static str, i64, i64)> {
    let Some(first) = row.first.filter(|_| row.outcome == Outcome::Completed) else {
        return Vec::new();
    };
    let first = first.clamp(row.issued, end);
    let estimate = row.time_source == Some(TimeSource::Estimate);
    match (row.queue, row.prefill) {
        (Some(queue), Some(prefill)) => {
            let prefill_start = (first - prefill).max(row.issued);
            let queue_start = (prefill_start - queue).max(row.issued);
            let names = if estimate {
                ["queue (estimate)", "prefill (estimate)", "decode"]
            } else {
                ["queue", "prefill", "decode"]
            };
            vec![
                (names[0], queue_start, prefill_start),
                (names[1], prefill_start, first),
                (names[2], first, end),
            ]
        }
        _ => vec![
            ("until the first token", row.issued, first),
            ("decode", first, end),
        ],
    }
}

/// The first free lane for each request, by time of issue.
#[derive(Debug, Default)]
struct Lanes {
    in_use: BinaryHeap<Reverse<(i64, usize)>>,
    free: BinaryHeap<Reverse<usize>>,
    count: usize,
}

impl Lanes {
    /// Lanes count from 1.
    fn take(&mut self, start: i64, end: i64) -> usize {
        while let Some(&Reverse((until, lane))) = self.in_use.peek()
            && until <= start
        {
            self.in_use.pop();
            self.free.push(Reverse(lane));
        }
        let lane = self.free.pop().map_or_else(
            || {
                self.count += 1;
                self.count
            },
            |Reverse(lane)| lane,
        );
        // An empty request still takes its lane for a moment: two slices at one point would nest.
        self.in_use.push(Reverse((end.max(start + 1), lane)));
        lane
    }
}

fn counters<W: Write>(
    run: &Run,
    options: &TraceOptions,
    events: &mut Events<W>,
    summary: &mut TraceSummary,
) -> Result<()> {
    for key in &options.counters {
        let Some(series) = run.series.iter().find(|series| series.key() == *key) else {
            summary.counters_missing.push(key.clone());
            continue;
        };
        let windows = thin::windows(&series.timestamps_ns, run.span.start_ns, run.span.end_ns);
        let cells: Vec<Option<f64>> = series.values.iter().copied().map(Some).collect();
        let times = thin::times(&series.timestamps_ns, &windows);
        for (ns, value) in times.into_iter().zip(thin::values(&cells, &windows)) {
            let Some(value) = value.filter(|v| v.is_finite()) else {
                summary.points_not_finite += 1;
                continue;
            };
            summary.points += 1;
            let us = (ns - run.span.start_ns) / 1_000;
            events.write(&json!({
                "ph": "C", "name": key, "pid": COUNTERS, "tid": 0, "ts": us, "args": { "value": value },
            }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
