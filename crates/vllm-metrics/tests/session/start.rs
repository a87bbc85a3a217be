//! The three ways to start a session, and invalid ones.

use std::time::Duration;

use crate::server::{NEVER, Reply, Server, page, recorder, samples, scraped_by_hand};
use vllm_metrics::{EndpointConfig, Error, Session};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn on_the_callers_runtime() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .spawn_on(runtime.handle())
        .unwrap();
    assert!(session.scrape_now(LONG));
    session.finish().unwrap();
    assert!(samples(&store, "vllm:generation_tokens_total").len() >= 2);
}

#[test]
fn as_a_future_of_the_callers() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    // One thread for everything, including the caller's own work.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (session, driver) = builder
            .endpoint(EndpointConfig::new(server.url()))
            .interval(NEVER)
            .start_with_driver()
            .unwrap();
        let driver = tokio::spawn(driver.into_future());
        session.finish_async().await.unwrap();
        driver.await.unwrap();
    });
    assert!(!samples(&store, "vllm:generation_tokens_total").is_empty());
}

#[test]
fn a_session_that_is_dropped_ends_its_threads() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (session, store) = scraped_by_hand(&server);
    assert!(session.scrape_now(LONG));
    drop(session);
    assert!(store.snapshot().manifest.is_none(), "not finished");
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let error = Session::builder()
        .endpoint(EndpointConfig::new("gopher://a"))
        .interval(Duration::from_millis(1))
        .start()
        .unwrap_err();
    let Error::Config { problems } = error else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn samplers_run_on_their_own_thread_until_the_end() {
    let (builder, store) = recorder();
    let session = builder
        .sampler("mine", |mut sink, stop| {
            let mut event = vllm_metrics::EventRow {
                timestamp_ns: sink.now_ns(),
                end_ns: None,
                kind: "begun".into(),
                severity: vllm_metrics::Severity::Info,
                source: "host".into(),
                message: "".into(),
                attributes: "{}".into(),
            };
            sink.event(event.clone());
            stop.wait_until(std::time::Instant::now() + LONG);
            event.kind = "ended".into();
            sink.event(event);
        })
        .sampler("broken", |_, _| panic!("no device"))
        .start()
        .unwrap();
    let run = session.finish().unwrap();
    let kinds = crate::server::event_kinds(&store);
    assert!(
        kinds.contains(&"begun".into()) && kinds.contains(&"ended".into()),
        "{kinds:?}"
    );
    assert!(
        run.missing
            .notes
            .iter()
            .any(|note| note.contains("broken") && note.contains("no device"))
    );
}

#[test]
fn finishing_waits_for_no_tick() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path())
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    let begin = std::time::Instant::now();
    session.finish().unwrap();
    let took = begin.elapsed();
    // Takes tens of milliseconds; the bound only excludes a tick or a timeout.
    println!("finished in {took:?}");
    assert!(took < LONG, "{took:?}");
}
