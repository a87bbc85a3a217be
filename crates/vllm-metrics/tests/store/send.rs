//! Pushgateway and remote write against a receiver with the checks of a real one.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use vllm_metrics::Record;
use vllm_metrics::store::Store;
use vllm_metrics::store::send::{PushgatewayConfig, PushgatewayStore, RemoteWriteConfig, RemoteWriteStore};

use crate::fixture;
use crate::receiver;

#[test]
fn a_gateway_gets_current_values_without_times() {
    let (url, requests) = receiver::start(vec![]);
    let mut config = PushgatewayConfig::new(url, "run");
    config.instance = "host:1".into();
    let (store, monitor) = PushgatewayStore::start(&config).unwrap();
    let mut store: Box<dyn Store> = Box::new(store);
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0..2 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
        let request = receiver::next(&requests);
        assert_eq!(request.line, "put /metrics/job/run/instance/host:1 http/1.1");
        let page = String::from_utf8(request.body).unwrap();
        assert!(page.ends_with('\n'));
        let mut series = HashSet::new();
        let mut families = HashSet::new();
        for line in page.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                assert!(
                    families.insert(declared.split(' ').next().unwrap().to_owned()),
                    "twice: {line}"
                );
                continue;
            }
            // A value and nothing after it: no timestamp.
            let (key, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(
                !key.ends_with(|c: char| c.is_ascii_digit()) && series.insert(key.to_owned()),
                "{line}"
            );
        }
        assert!(page.contains("odd{backslash=\"a\\\\b\\\\n\""), "{page}");
        assert!(
            page.contains("endpoint_url=\"http://b/metrics\""),
            "two endpoints are told apart: {page}"
        );
    }
    store.finish(&fixture::ended()).unwrap();
    let stats = monitor.stats();
    assert_eq!(
        (stats.requests_sent, stats.samples_failed, stats.samples_dropped),
        (2, 0, 0),
        "{stats:?}"
    );
}

type Labels = Vec<(String, String)>;
type Points = Vec<(f64, i64)>;

/// The content of a request, decoded with only the protocol's wire rules.
#[derive(Debug, Default)]
struct Decoded {
    series: Vec<(Labels, Points)>,
    families: usize,
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (number, content) = match key & 7 {
            0 => (varint(&mut bytes), Vec::new()),
            1 => {
                let (head, rest) = bytes.split_at(8);
                bytes = rest;
                (u64::from_le_bytes(head.try_into().unwrap()), Vec::new())
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (head, rest) = bytes.split_at(length);
                bytes = rest;
                (0, head.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, number, content));
    }
    fields
}

fn decode(body: &[u8]) -> Decoded {
    let bytes = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut decoded = Decoded::default();
    for (tag, _, content) in fields(&bytes) {
        if tag == 3 {
            decoded.families += 1;
            continue;
        }
        assert_eq!(tag, 1);
        let (mut labels, mut points) = (Vec::new(), Vec::new());
        for (tag, _, content) in fields(&content) {
            let parts: BTreeMap<u64, (u64, Vec<u8>)> = fields(&content)
                .into_iter()
                .map(|(tag, number, content)| (tag, (number, content)))
                .collect();
            if tag == 1 {
                let text = |tag| {
                    String::from_utf8(parts.get(&tag).map_or(Vec::new(), |part| part.1.clone())).unwrap()
                };
                labels.push((text(1), text(2)));
            } else {
                let number = |tag| parts.get(&tag).map_or(0, |part| part.0);
                points.push((f64::from_bits(number(1)), number(2) as i64));
            }
        }
        decoded.series.push((labels, points));
    }
    decoded
}

#[test]
fn remote_write_sends_sorted_labels_and_rising_times() {
    let (url, requests) = receiver::start(vec![]);
    let mut config = RemoteWriteConfig::new(format!("{url}/api/v1/write"), "vllm");
    config.labels.insert("run".into(), fixture::STAMP.into());
    config
        .delivery
        .headers
        .push(("authorization".into(), "Bearer secret".into()));
    assert!(!format!("{config:?}").contains("secret"));
    let (store, monitor) = RemoteWriteStore::start(config).unwrap();
    let mut store: Box<dyn Store> = Box::new(store);
    fixture::write_series(store.as_mut());
    let mut expected = 0;
    for tick in 0..3 {
        let batch = fixture::scrape(tick);
        expected += batch.samples.len();
        store.write(Record::Samples(batch.into())).unwrap();
    }
    // The same moment again: a receiver would reject the request, so it is dropped and counted.
    let again = fixture::scrape(2);
    let dropped = again.samples.len() as u64;
    store.write(Record::Samples(again.into())).unwrap();
    store.finish(&fixture::ended()).unwrap();
    let request = receiver::next(&requests);
    assert_eq!(request.line, "post /api/v1/write http/1.1");
    for header in [
        "content-type: application/x-protobuf",
        "content-encoding: snappy",
        "x-prometheus-remote-write-version: 0.1.0",
        "authorization: bearer secret",
    ] {
        assert!(request.headers.contains(header), "{}", request.headers);
    }
    let decoded = decode(&request.body);
    assert!(decoded.families >= 7, "{}", decoded.families);
    let mut points = 0;
    for (labels, samples) in &decoded.series {
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}");
        assert!(labels.contains(&("job".into(), "vllm".into())));
        assert!(labels.contains(&("run".into(), fixture::STAMP.into())));
        assert!(samples.is_sorted_by(|a, b| a.1 < b.1), "{samples:?}");
        points += samples.len();
    }
    assert_eq!(points, expected);
    let instances: HashSet<_> = decoded
        .series
        .iter()
        .flat_map(|s| &s.0)
        .filter(|l| l.0 == "instance")
        .map(|l| l.1.as_str())
        .collect();
    assert_eq!(instances, ["127.0.0.1:8000", "b:80", "other:9100"].into());
    let stats = monitor.stats();
    assert_eq!(
        (stats.samples_sent, stats.samples_dropped),
        (expected as u64, dropped),
        "{stats:?}"
    );
}

#[test]
fn a_refusal_that_may_pass_is_tried_again_and_others_are_not() {
    let (url, requests) = receiver::start(vec![503, 429, 200, 400]);
    let mut config = RemoteWriteConfig::new(url, "vllm");
    config.delivery.first_pause = Duration::from_millis(1);
    let (store, monitor) = RemoteWriteStore::start(config).unwrap();
    let mut store: Box<dyn Store> = Box::new(store);
    fixture::write_series(store.as_mut());
    for tick in 0..2 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
    }
    store.finish(&fixture::ended()).unwrap();
    let bodies: Vec<_> = (0..4).map(|_| receiver::next(&requests).body).collect();
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2] && bodies[2] != bodies[3]);
    let stats = monitor.stats();
    assert_eq!((stats.requests_sent, stats.retries), (1, 2), "{stats:?}");
    assert_eq!(stats.samples_failed, fixture::scrape(1).samples.len() as u64);
    assert!(stats.last_error.unwrap().contains("400"));
}

#[test]
fn a_receiver_that_is_away_costs_the_run_nothing_but_counted_samples() {
    // Bound but never accepted from: the system accepts connections, and they are never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = PushgatewayConfig::new(format!("http://{}", silent.local_addr().unwrap()), "run");
    config.delivery.queue = 2;
    config.delivery.drain = Duration::from_millis(50);
    let (store, monitor) = PushgatewayStore::start(&config).unwrap();
    let mut store: Box<dyn Store> = Box::new(store);
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0..10 {
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
    }
    assert!(monitor.stats().samples_dropped > 0);
    let error = store.finish(&fixture::ended()).unwrap_err().to_string();
    assert!(error.contains("not all samples were delivered"), "{error}");
}
