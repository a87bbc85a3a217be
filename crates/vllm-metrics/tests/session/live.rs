//! A subscriber of a session receives what its files contain.

use std::time::Duration;

use crate::server::{NEVER, Reply, Server, page};
use vllm_metrics::view::{Analysis, LiveView};
use vllm_metrics::{Completed, EndpointConfig, EventKind, Filter, Record, Session, read_run};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_live_view_has_the_figures_of_the_files() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path())
        .start()
        .unwrap();
    let subscription = session.recorder().subscribe(Filter::all(), 8 << 20);
    let consumer = std::thread::spawn(move || {
        let mut view = LiveView::new(NEVER);
        while let Some(records) = subscription.take() {
            view.apply_all(&records);
        }
        (view, subscription.dropped())
    });
    let hooks = session.hooks();
    hooks.phase("performance");
    for id in 0..50 {
        hooks.request_issued(id, id, None, None);
        hooks.first_token(id);
        hooks.request_completed(id, Completed::tokens(4));
    }
    for _ in 0..3 {
        assert!(session.scrape_now(LONG));
    }
    let run = session.finish().unwrap();
    let (view, dropped) = consumer.join().unwrap();
    assert!(!dropped.any(), "{dropped:?}");
    let data = read_run(&run.samples_path).unwrap();
    let analysis = Analysis::of(&data);
    let (from_ns, to_ns) = analysis.span_ns().unwrap();
    let figures = analysis.figures(from_ns, to_ns);
    assert_eq!(figures, view.figures_between(from_ns, to_ns));
    assert_eq!((figures.client.completed, view.totals().output_tokens), (50, 200));
    assert!(figures.engine.running.is_some() && figures.engine.generation_tokens_per_second.is_some());
    assert_eq!(view.phase(), "performance");
    assert_eq!(view.data().requests, data.requests);
}

#[test]
fn a_subscriber_of_events_gets_events_only() {
    let (builder, _store) = crate::server::recorder();
    let session = builder.interval(NEVER).start().unwrap();
    let subscription = session.recorder().subscribe(Filter::none().events(true), 1 << 20);
    session.hooks().model_loaded();
    session.finish().unwrap();
    let mut kinds = Vec::new();
    while let Some(records) = subscription.take() {
        for record in records {
            match record {
                Record::Event(event) => kinds.push(event.kind),
                Record::Series(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(kinds.contains(&EventKind::ModelLoaded), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&EventKind::SessionFinished));
}
