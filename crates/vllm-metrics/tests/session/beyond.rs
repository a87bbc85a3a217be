//! A session's output in addition to its raw files: samples sent to receivers, user-defined metrics, and
//! requests with the server's times.

use std::path::PathBuf;
use std::time::Duration;

use crate::receiver;
use crate::server::{NEVER, Reply, Server, page};
use vllm_metrics::derive::CustomMetric;
use vllm_metrics::store::send::{PushgatewayConfig, RemoteWriteConfig};
use vllm_metrics::{Completed, EndpointConfig, SelectionConfig, Session, StoreOptions, TimeSource, read_run};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn no_secret_of_an_address_is_shown_or_stored() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let (refusing, requests) = receiver::start(vec![400; 1000]);
    let secret = |path: &str| format!("{}{path}?u=me&p=canary", refusing.replace("://", "://me:canary@"));
    let (write, push) = (secret("/write"), secret(""));
    let session = Session::builder()
        .endpoint(EndpointConfig::new(format!("{}?token=canary", server.url())).bearer("canary"))
        .interval(NEVER)
        .output_dir(dir.path())
        .format(vllm_metrics::StoreFormat::Csv)
        .remote_write(RemoteWriteConfig::new(write, "test"))
        .pushgateway(PushgatewayConfig::new(push, "test"))
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    // The address is used as given.
    let lines = [receiver::next(&requests).line, receiver::next(&requests).line];
    assert!(lines.iter().all(|line| line.contains("p=canary")), "{lines:?}");
    let run = session.finish().unwrap();
    assert_eq!(run.sent.len(), 2);
    assert!(
        run.sent.iter().all(|sent| sent.receiver.ends_with("?…")),
        "{:?}",
        run.sent
    );
    assert!(!format!("{run:?}").contains("canary"), "{run:?}");
    for file in &run.files.all {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(!text.contains("canary"), "{}", file.display());
    }
}

#[test]
fn receivers_get_what_the_files_get() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let (taking, requests) = receiver::start(Vec::new());
    // A gateway that rejects permanently: retrying would not help.
    let (refusing, _kept) = receiver::start(vec![400; 1000]);
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path())
        .select(SelectionConfig {
            include: vec!["vllm:num_*".into()],
            ..SelectionConfig::default()
        })
        .remote_write(RemoteWriteConfig::new(format!("{taking}/api/v1/write"), "test"))
        .pushgateway(PushgatewayConfig::new(refusing, "test"))
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    // Remote write has one sample of a series per millisecond, and the end scrapes again.
    std::thread::sleep(std::time::Duration::from_millis(2));
    let run = session.finish().unwrap();
    assert!(receiver::next(&requests).line.starts_with("post /api/v1/write"));
    let data = read_run(&run.samples_path).unwrap();
    let names: Vec<&str> = data.series.iter().map(|s| &*s.def.metric_name).collect();
    assert!(names.contains(&"vllm:num_requests_running"), "{names:?}");
    assert!(!names.contains(&"vllm:generation_tokens_total"), "not selected");
    // The file stores add the duration of each of the session's own ticks.
    let sent = |s: &&vllm_metrics::SeriesData| {
        !(s.def.endpoint_url.is_empty() && &*s.def.metric_name == vllm_metrics::store::SCRAPE_DURATION)
    };
    let samples: usize = data.series.iter().filter(sent).map(|s| s.values.len()).sum();
    let [written, pushed] = &run.sent[..] else {
        panic!("{:?}", run.sent)
    };
    assert!(
        written.receiver.starts_with("remote write http://127."),
        "{written}"
    );
    assert_eq!(written.stats.samples_sent as usize, samples, "{written}");
    assert!(written.is_complete() && !pushed.is_complete(), "{pushed}");
    let note = run.missing.notes.iter().find(|note| note.contains("Pushgateway"));
    assert!(note.unwrap().contains("400"), "{note:?}");
}

#[test]
fn metrics_of_the_users_own_reach_the_derived_series_and_the_facts() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path())
        .custom_metric(CustomMetric::new("twice", "2 * vllm:generation_tokens_total", "tokens").unwrap())
        .custom_metric(CustomMetric::new("never", "rate(not_there_total)", "").unwrap())
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    let derived = read_run(run.processed_path.as_ref().unwrap()).unwrap();
    let raw = read_run(&run.samples_path).unwrap();
    let of = |data: &vllm_metrics::RunData, name: &str| {
        let series = data.series.iter().find(|s| &*s.def.metric_name == name);
        series.map(|s| s.values.clone()).unwrap()
    };
    let doubled: Vec<f64> = of(&raw, "vllm:generation_tokens_total")
        .iter()
        .map(|v| 2.0 * v)
        .collect();
    assert_eq!(of(&derived, "twice"), doubled);
    assert_eq!(CustomMetric::of_manifest(&raw.manifest).len(), 2);
    let notes = &run.missing.notes;
    assert!(
        notes
            .iter()
            .any(|n| n.contains("never") && n.contains("not_there_total")),
        "{notes:?}"
    );
}

/// `n` requests have finished, each after 1 us, 2 us and 3 us: less than a client's own time of any request.
fn with_times(n: usize) -> String {
    let histogram = |name: &str, each: f64| {
        format!(
            "# TYPE {name} histogram\n{name}_bucket{{le=\"+Inf\"}} {n}\n{name}_count {n}\n{name}_sum {}\n",
            each * n as f64
        )
    };
    histogram("vllm:request_queue_time_seconds", 1e-6)
        + &histogram("vllm:request_prefill_time_seconds", 2e-6)
        + &histogram("vllm:request_decode_time_seconds", 3e-6)
}

#[test]
fn a_request_that_finished_alone_gets_its_server_times() {
    // The first scrape of the session may be the first or the second page; one request finishes after it.
    let first = std::sync::atomic::AtomicUsize::new(usize::MAX);
    let server = Server::start(move |n| {
        let first = first.fetch_min(n, std::sync::atomic::Ordering::Relaxed).min(n);
        Reply::Page(with_times(n.min(first + 1)))
    });
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path())
        .start()
        .unwrap();
    let hooks = session.hooks();
    assert!(session.scrape_now(LONG));
    hooks.request_issued(1, 0, None, None);
    hooks.request_sent(1);
    hooks.request_completed(1, Completed::tokens(4));
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    let sources = |path: &PathBuf| -> Vec<_> {
        let requests = read_run(path).unwrap().requests;
        requests.iter().map(|r| r.server_time_source).collect()
    };
    assert_eq!(
        sources(&run.samples_path),
        [None],
        "the raw rows stay as they are"
    );
    let joined = run.processed_requests_path.as_ref().unwrap();
    assert_eq!(sources(joined), [Some(TimeSource::Estimate)]);
}

#[test]
fn a_long_run_keeps_the_newest_parts() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.rotate_bytes = Some(1);
    options.keep_parts = Some(1);
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(Duration::from_millis(50))
        .output_dir(dir.path())
        .store_options(options)
        .start()
        .unwrap();
    // Parts are cut at flushes, so wait for the name of a later part instead of for a time.
    let later = dir
        .path()
        .join(format!("vllm_metrics_{}.part0002.parquet", session.stamp()));
    let deadline = std::time::Instant::now() + LONG;
    while !later.exists() {
        assert!(std::time::Instant::now() < deadline, "no third part");
        assert!(session.scrape_now(LONG));
    }
    let run = session.finish().unwrap();
    let first = dir
        .path()
        .join(format!("vllm_metrics_{}.part0000.parquet", run.manifest.stamp));
    assert!(!first.exists());
    let notes = read_run(&run.samples_path).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("retention")), "{notes:?}");
}
