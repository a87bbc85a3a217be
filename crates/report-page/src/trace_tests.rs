//! What Perfetto and speedscope ask of a trace.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::model::{Event, Phase, Request, Series, Severity, Span};

const MS: i64 = 1_000_000;

fn request(start: i64, first: i64, end: i64) -> Request {
    Request {
        issued_ns: start * MS,
        sent_ns: Some(start * MS),
        first_token_ns: Some(first * MS),
        done_ns: Some(end * MS),
        queue_ns: Some((first - start) * MS / 3),
        prefill_ns: Some((first - start) * MS / 2),
        time_source: Some(TimeSource::Measured),
        output_tokens: Some(12),
        ..Request::default()
    }
}

fn run() -> Run {
    let series = Series {
        name: "running".into(),
        timestamps_ns: (0..100).map(|i| i * 10 * MS).collect(),
        values: (0..100)
            .map(|i| if i == 50 { f64::NAN } else { f64::from(i) })
            .collect(),
        ..Series::default()
    };
    Run {
        name: "A \"quoted\" </script>".into(),
        simulated: true,
        span: Span {
            start_ns: 0,
            end_ns: 1_000 * MS,
        },
        phases: vec![Phase {
            name: "performance".into(),
            span: Span {
                start_ns: 0,
                end_ns: 900 * MS,
            },
        }],
        events: vec![Event {
            at_ns: 5 * MS,
            end_ns: None,
            severity: Severity::Info,
            kind: "phase".into(),
            source: "collector".into(),
            message: "began\n\"now\"".into(),
        }],
        requests: (0..200)
            .map(|i| request(i * 4, i * 4 + 7 + i % 13, i * 4 + 40 + i * 7 % 90))
            .collect(),
        series: vec![series],
        ..Run::default()
    }
}

fn trace(run: &Run, options: &TraceOptions) -> (Vec<Value>, TraceSummary) {
    let mut json = Vec::new();
    let summary = write_trace(run, options, &mut json).expect("memory does not fail");
    let trace: Value = serde_json::from_slice(&json).expect("it is JSON");
    (
        trace["traceEvents"].as_array().expect("an array").clone(),
        summary,
    )
}

#[test]
fn slices_of_a_lane_nest_or_follow_each_other() {
    let (events, summary) = trace(&run(), &TraceOptions::default());
    assert_eq!(summary.requests, 200);
    let mut lanes: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    for event in events.iter().filter(|e| e["ph"] == "X") {
        let number = |name: &str| event[name].as_i64().expect("whole microseconds");
        let lane = (
            event["pid"].as_u64().expect("a number"),
            event["tid"].as_u64().expect("a number"),
        );
        lanes
            .entry(lane)
            .or_default()
            .push((number("ts"), number("ts") + number("dur")));
    }
    assert!(lanes.len() > 5, "requests overlap");
    for slices in lanes.values_mut() {
        slices.sort_by_key(|&(start, end)| (start, -end));
        let mut open: Vec<i64> = Vec::new();
        for &(start, end) in slices.iter() {
            while open.last().is_some_and(|&until| until <= start) {
                open.pop();
            }
            assert!(
                open.last().is_none_or(|&until| end <= until),
                "a slice reaches out of the one around it"
            );
            open.push(end);
        }
    }
}

#[test]
fn every_event_has_what_readers_require() {
    let options = TraceOptions {
        counters: vec!["running".into(), "absent".into()],
        ..TraceOptions::default()
    };
    let (events, summary) = trace(&run(), &options);
    for event in &events {
        for key in ["ph", "name", "pid", "tid", "ts"] {
            assert!(!event[key].is_null(), "{key} is missing in {event}");
        }
    }
    let names = |name: &str| events.iter().filter(|e| e["name"] == name).count();
    assert_eq!(
        (
            names("request"),
            names("queue"),
            names("prefill"),
            names("decode")
        ),
        (200, 200, 200, 200)
    );
    assert_eq!((summary.points, summary.points_not_finite), (99, 1));
    assert_eq!(summary.counters_missing, ["absent"]);
    assert!(events.iter().any(|e| e["args"]["name"] == "requests (SIMULATED)"));
}

#[test]
fn times_that_contradict_each_other_stay_within_the_request() {
    let mut odd = run();
    odd.requests = vec![Request {
        queue_ns: Some(900 * MS),
        prefill_ns: Some(900 * MS),
        time_source: Some(TimeSource::Estimate),
        ..request(10, 20, 15)
    }];
    let (events, _) = trace(&odd, &TraceOptions::default());
    let requests: Vec<_> = events
        .iter()
        .filter(|e| e["ph"] == "X" && e["pid"] == 1)
        .collect();
    assert!(
        requests
            .iter()
            .all(|e| e["ts"].as_i64() >= Some(10_000) && e["dur"].as_i64() <= Some(5_000)),
        "{requests:?}"
    );
    assert!(requests.iter().any(|e| e["name"] == "prefill (estimate)"));
}

#[test]
fn the_size_is_bounded() {
    let (events, summary) = trace(
        &run(),
        &TraceOptions {
            max_requests: 50,
            ..TraceOptions::default()
        },
    );
    assert!((30..80).contains(&summary.requests), "{}", summary.requests);
    assert_eq!(summary.requests + summary.requests_left_out, 200);
    assert_eq!(
        events.iter().filter(|e| e["name"] == "request").count(),
        summary.requests
    );
}
