//! Metrics that are absent, slow, garbage, cut, or that disappear during the run: the session continues, ends
//! promptly, and reports what was missing and when.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::server::{NEVER, Reply, Server, events, page, recorder, samples, scraped_by_hand, wait_scrapes};
use vllm_metrics::{EndpointConfig, FinishedRun, MemoryStore};

const LONG: Duration = Duration::from_secs(20);

/// Records `replies` (repeating the last) and checks that the whole run is one gap with `reason`.
fn check_gap(reply: fn() -> Reply, reason: &str) -> (FinishedRun, MemoryStore) {
    let server = Server::start(move |_| reply());
    let (builder, store) = recorder();
    let endpoint = EndpointConfig::new(server.url()).timeout(Duration::from_secs(10));
    let session = builder.endpoint(endpoint).interval(NEVER).start().unwrap();
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    assert_all_gap(&run, &store, reason);
    (run, store)
}

fn assert_all_gap(run: &FinishedRun, store: &MemoryStore, reason: &str) {
    assert_eq!(run.missing.never_answered.len(), 1);
    assert_eq!(run.missing.gaps.len(), 1, "{:?}", run.missing);
    assert!(
        run.missing.gaps[0].reason.contains(reason),
        "{:?}",
        run.missing.gaps
    );
    assert!(run.missing.gaps[0].end_ns >= run.missing.gaps[0].start_ns);
    assert_eq!(
        samples(store, "vllm:generation_tokens_total"),
        [],
        "nothing is made up"
    );
    let up = samples(store, "up");
    assert!(!up.is_empty() && up.iter().all(|(up, _)| *up == 0.0), "{up:?}");
    assert!(!events(store, Some("scrape_failed")).is_empty());
    assert!(events(store, Some("gap")).iter().all(|gap| gap.end_ns.is_some()));
}

#[test]
fn a_status_other_than_success() {
    check_gap(|| Reply::Status(404), "status 404");
    check_gap(|| Reply::Status(503), "status 503");
}

#[test]
fn a_page_that_moved_or_is_compressed_says_so() {
    check_gap(
        || Reply::Header(307, "location: /metrics/?token=secret"),
        "/metrics/?…; configure that URL",
    );
    check_gap(
        || Reply::Header(200, "content-encoding: gzip"),
        "compressed with gzip, which was not asked for",
    );
}

#[test]
fn something_that_is_no_page_of_metrics() {
    check_gap(
        || Reply::Content("text/html", b"<html><body>Not this</body></html>".into()),
        "text/html",
    );
    check_gap(
        || Reply::Content("application/octet-stream", vec![0xff; 10_000]),
        "not a page of metrics",
    );
    check_gap(|| Reply::Page(String::new()), "empty");
}

#[test]
fn a_page_that_is_cut() {
    check_gap(|| Reply::Cut(page(1)), "connection broke");
    check_gap(|| Reply::Close, "connection broke");
}

#[test]
fn nobody_listens() {
    // Bound and closed again, so that nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(address.to_string()))
        .interval(NEVER)
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    assert_all_gap(&run, &store, "refused");
}

#[test]
fn a_server_that_hangs_delays_the_end_by_one_timeout_only() {
    let server = Server::start(|_| Reply::Hang);
    let (builder, store) = recorder();
    let timeout = Duration::from_millis(300);
    let endpoint = EndpointConfig::new(server.url()).timeout(timeout);
    let session = builder.endpoint(endpoint).interval(NEVER).start().unwrap();
    server.wait_served(1);
    let begin = Instant::now();
    let run = session.finish().unwrap();
    let took = begin.elapsed();
    assert!(took < timeout + LONG / 10, "{took:?}");
    assert_all_gap(&run, &store, "no complete answer");
}

#[test]
fn a_page_larger_than_the_limit() {
    let server = Server::start(|_| Reply::Content("text/plain", vec![b'a'; 2 << 20]));
    let (builder, store) = recorder();
    let config = vllm_metrics::SessionConfig {
        body_limit_mib: Some(1),
        endpoints: vec![EndpointConfig::new(server.url())],
        ..Default::default()
    };
    // `config` replaces earlier settings, but not the store.
    let session = builder.config(config).interval(NEVER).start().unwrap();
    assert!(session.scrape_now(LONG));
    assert_all_gap(&session.finish().unwrap(), &store, "larger than");
}

#[test]
fn a_server_that_goes_away_and_comes_back_leaves_one_gap_and_a_counter_reset() {
    let server = Server::start(|n| Reply::Page(page(100 + n)));
    let address = server.address();
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(Duration::from_millis(500))
        .start()
        .unwrap();
    wait_scrapes(&session, 0, 3);
    server.stop();
    // Three scheduled scrapes are refused.
    while session.endpoints()[0].failed_scrapes < 3 {
        session.scrape_now(LONG);
    }
    let _server = Server::start_at(address, |n| Reply::Page(page(n)));
    let before = session.endpoints()[0].scrapes;
    wait_scrapes(&session, 0, before + 3);
    let run = session.finish().unwrap();

    assert_eq!(run.missing.gaps.len(), 1, "{:?}", run.missing.gaps);
    assert_eq!(events(&store, Some("gap")).len(), 1);
    assert_eq!(run.endpoints[0].counter_resets, 1);
    assert_eq!(events(&store, Some("counter_reset")).len(), 1);
    let up = samples(&store, "up");
    let first_down = up.iter().position(|(up, _)| *up == 0.0).unwrap();
    let last_down = up.iter().rposition(|(up, _)| *up == 0.0).unwrap();
    assert!(
        up[first_down..=last_down].iter().all(|(up, _)| *up == 0.0),
        "down once, in one stretch"
    );
    assert!(first_down >= 2 && last_down < up.len() - 1);
    let values = samples(&store, "vllm:generation_tokens_total");
    assert!(values[0].0 >= 100.0 && values.last().unwrap().0 < 100.0);
}

#[test]
fn several_processes_behind_one_url_are_not_restarts() {
    // Two processes answer in turn; each counts on from its own level.
    let server = Server::start(|n| Reply::Page(page(if n % 2 == 0 { 1000 + n } else { 200 + n })));
    let (session, store) = scraped_by_hand(&server);
    for _ in 0..10 {
        assert!(session.scrape_now(LONG));
    }
    let run = session.finish().unwrap();
    assert_eq!(run.endpoints[0].counter_resets, 0);
    assert!(events(&store, Some("counter_reset")).is_empty());
    let found = events(&store, Some("several_processes"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("one URL per process"), "{found:?}");
}

#[test]
fn one_bad_endpoint_does_not_touch_a_good_one() {
    let good = Server::start(|n| Reply::Page(page(n)));
    let bad = Server::start(|_| Reply::Hang);
    let (builder, store) = recorder();
    let session = builder
        .endpoint(
            EndpointConfig::new(bad.url())
                .interval(NEVER)
                .timeout(Duration::from_millis(500)),
        )
        .endpoint(EndpointConfig::new(good.url()))
        .interval(Duration::from_millis(10))
        .start()
        .unwrap();
    bad.wait_served(1);
    wait_scrapes(&session, 1, 5);
    let run = session.finish().unwrap();
    assert!(samples(&store, "vllm:generation_tokens_total").len() >= 5);
    assert_eq!(run.missing.never_answered, [bad.url()]);
}

#[test]
fn a_kept_connection_that_the_server_closed_is_no_failed_scrape() {
    // Every second request closes the connection instead of answering, like a restarted server.
    let server = Server::start(|n| {
        if n % 2 == 1 {
            Reply::Close
        } else {
            Reply::Page(page(n))
        }
    });
    let (session, store) = scraped_by_hand(&server);
    for _ in 0..3 {
        assert!(session.scrape_now(LONG));
    }
    let run = session.finish().unwrap();
    assert!(run.missing.gaps.is_empty(), "{:?}", run.missing.gaps);
    assert!(samples(&store, "up").iter().all(|(up, _)| *up == 1.0));
}

#[test]
fn a_thousand_dead_endpoints_take_no_thread_each() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let (mut builder, store) = recorder();
    for n in 0..1000 {
        builder = builder.endpoint(EndpointConfig::new(format!("http://{address}/{n}")));
    }
    let session = builder.interval(NEVER).start().unwrap();
    assert!(session.scrape_now(LONG));
    // Other tests of this process start threads as well.
    let during = threads();
    assert!(during < before + 200, "{before} threads before, {during} now");
    let run = session.finish().unwrap();
    assert_eq!(run.missing.never_answered.len(), 1000);
    assert_eq!(run.missing.gaps.len(), 1000);
    let up = samples(&store, "up");
    assert!(up.len() >= 1000 && up.iter().all(|(up, _)| *up == 0.0));
}
