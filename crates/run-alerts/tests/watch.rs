//! Rules over a recorder that publishes, with two receivers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use run_alerts::{Alerting, Receivers, RuleFile, WatchOptions, over_run};
use serde_json::Value;
use vllm_metrics::view::LiveView;
use vllm_metrics::{
    EventKind, Filter, MetricType, Record, Recorder, RunClock, RunData, Sample, SampleBatch, SeriesDef,
};

const RULES: &str = r#"
    [[rule]]
    name = "Full"
    expression = "kv > 0.9"
    severity = "critical"
    labels = { team = "serving" }
    summary = "engine {{engine}} is at {{value}}"

    [[rule]]
    name = "NotThere"
    expression = "nothing > 0"
"#;

/// A server that takes every request and passes on its path and body.
fn receiver() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut bytes) = (String::new(), [0; 65_536]);
            let body = loop {
                let read = stream.read(&mut bytes).unwrap();
                text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                if let Some((_, body)) = text.split_once("\r\n\r\n")
                    && let Ok(body) = serde_json::from_str(body)
                {
                    break body;
                }
                assert!(read > 0, "{text}");
            };
            let path = text.split(' ').nth(1).unwrap().to_owned();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
            if send.send((path, body)).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

fn gauge(recorder: &Recorder, name: &str) -> impl Fn(f64) + use<> {
    let series = recorder.series(SeriesDef {
        metric_name: name.into(),
        labels: r#"{"engine":"0"}"#.into(),
        metric_type: MetricType::Gauge,
        unit: "".into(),
        source: "vllm-simulated".into(),
        endpoint_url: "http://h:1/metrics".into(),
    });
    let recorder = recorder.clone();
    move |value| {
        let timestamp_ns = recorder.now_ns();
        recorder.samples(SampleBatch {
            start_ns: timestamp_ns,
            end_ns: timestamp_ns,
            samples: vec![Sample {
                series,
                timestamp_ns,
                value,
            }],
            ..SampleBatch::default()
        });
    }
}

#[test]
fn an_alert_is_in_the_record_and_at_its_receivers() {
    let recorder = Recorder::new(RunClock::start());
    let events = recorder.subscribe(Filter::none().events(true), 1 << 20);
    let (webhook, at_webhook) = receiver();
    let (manager, at_manager) = receiver();
    let options = WatchOptions {
        every: Duration::from_millis(20),
        interval: Duration::from_secs(60),
        receivers: Receivers {
            webhooks: vec![webhook],
            alertmanagers: vec![format!("{manager}/")],
        },
    };
    let file = RuleFile::parse("rules.toml", RULES).unwrap();
    let kv = gauge(&recorder, "kv");
    let alerting = Alerting::start(&recorder, &file, &options).unwrap();

    kv(0.95);
    let wait = Duration::from_secs(60);
    let (path, body) = at_manager.recv_timeout(wait).unwrap();
    assert_eq!(path, "/api/v2/alerts");
    let fired = &body[0];
    assert_eq!(fired["labels"]["alertname"], "Full");
    assert_eq!(fired["labels"]["severity"], "critical");
    assert_eq!(fired["labels"]["team"], "serving");
    assert_eq!(fired["labels"]["instance"], "h:1");
    assert_eq!(fired["annotations"]["summary"], "engine 0 is at 0.95");
    assert!(
        fired["annotations"]["simulated"]
            .as_str()
            .unwrap()
            .contains("SIMULATED")
    );
    let (_, hooked) = at_webhook.recv_timeout(wait).unwrap();
    assert_eq!(
        (&hooked["version"], &hooked["status"]),
        (&"4".into(), &"firing".into())
    );

    kv(0.5);
    let (_, body) = at_manager.recv_timeout(wait).unwrap();
    assert_eq!(
        body[0]["startsAt"], fired["startsAt"],
        "the end belongs to that beginning"
    );
    assert_eq!(body[0]["labels"], fired["labels"]);
    assert!(body[0]["endsAt"].as_str() > body[0]["startsAt"].as_str());
    let (_, hooked) = at_webhook.recv_timeout(wait).unwrap();
    assert_eq!(hooked["alerts"][0]["status"], "resolved");

    // Three evaluations without data have passed by now, or do so soon.
    let begun = Instant::now();
    let mut told: Vec<String> = Vec::new();
    while !told.iter().any(|text| text.contains("NotThere has no data")) {
        assert!(begun.elapsed() < wait, "{told:?}");
        let records = events.take_within(Duration::from_millis(50)).unwrap();
        told.extend(records.iter().filter_map(|record| match record {
            Record::Event(event) => {
                assert_eq!(event.kind, EventKind::Alert);
                Some(event.message.to_string())
            }
            _ => None,
        }));
    }
    let fires = told.iter().find(|text| text.contains("fires")).unwrap();
    assert_eq!(
        fires,
        "alert Full{engine=\"0\",instance=\"h:1\"} fires: engine 0 is at 0.95 [SIMULATED]"
    );
    assert!(told.iter().any(|text| text.contains("is resolved")));
    let summary = alerting.finish().unwrap();
    assert_eq!((summary.fired, summary.resolved, summary.delivered), (1, 1, 4));
    assert_eq!(summary.without_data, ["NotThere"]);
    assert!(summary.firing.is_empty() && summary.not_delivered == 0);
}

#[test]
fn a_stored_run_gives_the_same_changes() {
    let recorder = Recorder::new(RunClock::start());
    let all = recorder.subscribe(Filter::all(), 1 << 20);
    gauge(&recorder, "kv")(0.95);
    let mut view = LiveView::new(Duration::from_secs(3600));
    view.apply_all(&all.try_take());
    let mut run: RunData = view.data().clone();
    // Ten samples a second apart: high from the third to the sixth.
    let series = &mut run.series[0];
    let first = series.timestamps_ns[0];
    series.timestamps_ns = (0..10).map(|i| first + i * 1_000_000_000).collect();
    series.values = (0..10)
        .map(|i| if (3..=6).contains(&i) { 0.95 } else { 0.1 })
        .collect();
    let file = RuleFile::parse(
        "rules.toml",
        "[[rule]]\nname = 'Full'\nexpression = 'kv > 0.9'\nfor = '2s'\nkeep-firing-for = '1s'",
    )
    .unwrap();
    let changes: Vec<(i64, String)> = over_run(&file, &run, Duration::from_secs(1))
        .iter()
        .map(|change| {
            let secs = (change.transition.at_ns - first) / 1_000_000_000;
            (secs, change.message())
        })
        .collect();
    let text = |what: &str| format!("alert Full{{engine=\"0\",instance=\"h:1\"}} {what} [SIMULATED]");
    assert_eq!(
        changes,
        [
            (3, text("is pending, value 0.95")),
            (5, text("fires, value 0.95")),
            (8, text("is resolved")),
        ]
    );
}
