//! Request and batch rows from hook calls of many threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::server::{events, recorder};
use vllm_metrics::{
    BatchRow, Completed, EventRow, MemoryStore, Outcome, Reason, Record, RequestRow, ServerTimes,
    SessionConfig, Severity, TimeSource,
};

fn rows(store: &MemoryStore) -> (BTreeMap<u64, RequestRow>, BTreeMap<u64, BatchRow>) {
    let mut requests = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for record in store.snapshot().records {
        match record {
            Record::Request(row) => assert!(
                requests.insert(row.request_id, row).is_none(),
                "one row per request"
            ),
            Record::Batch(row) => assert!(batches.insert(row.batch_id, row).is_none(), "one row per batch"),
            _ => {}
        }
    }
    (requests, batches)
}

#[test]
fn rows_are_whole_whichever_thread_called_what() {
    const THREADS: u64 = 4;
    const EACH: u64 = 1000;
    let (builder, store) = recorder();
    let session = builder.start().unwrap();
    let hooks = session.hooks();
    // One thread issues, others send, others complete, as LoadGen's thread and a runtime's workers do.
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let hooks = hooks.clone();
            let (to_worker, worker) = std::sync::mpsc::channel::<u64>();
            let worker_hooks = hooks.clone();
            scope.spawn(move || {
                hooks.batch_issued(thread, EACH as u32);
                for n in 0..EACH {
                    let id = thread * EACH + n;
                    hooks.request_issued(id, n, Some(thread), Some(id as i64));
                    to_worker.send(id).unwrap();
                }
            });
            scope.spawn(move || {
                for id in worker {
                    worker_hooks.request_sent(id);
                    worker_hooks.first_token(id);
                    worker_hooks.request_completed(id, Completed::tokens(3));
                }
                worker_hooks.batch_completed(thread);
            });
        }
    });
    let run = session.finish().unwrap();
    assert!(run.missing.is_empty(), "{:?}", run.missing);
    let (requests, batches) = rows(&store);
    assert_eq!(requests.len() as u64, THREADS * EACH);
    for (id, row) in &requests {
        assert_eq!(row.sample_index, id % EACH);
        assert_eq!(row.batch_id, Some(id / EACH));
        assert_eq!(row.scheduled_ns, Some(*id as i64));
        assert_eq!(
            (row.outcome, row.output_tokens, row.reason.clone()),
            (Outcome::Completed, Some(3), None)
        );
        let times = [Some(row.issued_ns), row.sent_ns, row.first_token_ns, row.done_ns].map(Option::unwrap);
        // Both threads read the same counter; converting it costs less than a microsecond of order.
        assert!(
            times.windows(2).all(|pair| pair[0] <= pair[1] + 1000),
            "{times:?}"
        );
    }
    assert_eq!(batches.len() as u64, THREADS);
    for row in batches.values() {
        assert_eq!(
            (u64::from(row.requests), row.output_tokens, row.failed),
            (EACH, Some(3 * EACH), 0)
        );
        assert!(row.done_ns.unwrap() >= row.issued_ns);
    }
    assert!(run.cost.hook_p50_ns.unwrap() <= run.cost.hook_p99_ns.unwrap());
}

#[test]
fn failures_times_and_reasons_are_kept() {
    let (builder, store) = recorder();
    let session = builder.start().unwrap();
    let hooks = session.hooks();
    let server = ServerTimes {
        queue_ns: Some(1),
        prefill_ns: Some(2),
        decode_ns: None,
        source: TimeSource::Server,
    };
    hooks.request_issued(1, 10, None, None);
    hooks.request_completed(
        1,
        Completed {
            prompt_tokens: Some(7),
            server: Some(server),
            reason: Reason::Length,
            ..Completed::tokens(5)
        },
    );
    hooks.request_issued(2, 20, None, None);
    hooks.request_completed(2, Completed::failed(Reason::HttpStatus(503)));
    hooks.request_issued(3, 30, None, None);
    hooks.request_reason(3, "the answer held no choices");
    hooks.request_completed(3, Completed::failed(Reason::BadResponse));
    hooks.request_issued(4, 40, None, None);
    hooks.request_sent(4);
    // Completed without `request_issued`.
    hooks.request_completed(5, Completed::tokens(1));
    let run = session.finish().unwrap();
    let (requests, _) = rows(&store);
    let first = &requests[&1];
    assert_eq!((first.prompt_tokens, first.output_tokens), (Some(7), Some(5)));
    assert_eq!(
        (
            first.server_queue_ns,
            first.server_prefill_ns,
            first.server_decode_ns
        ),
        (Some(1), Some(2), None)
    );
    assert_eq!(first.server_time_source, Some(TimeSource::Server));
    assert_eq!(first.reason.as_deref(), Some("length"));
    assert_eq!(
        (requests[&2].outcome, requests[&2].reason.as_deref()),
        (Outcome::Failed, Some("http_503"))
    );
    assert_eq!(requests[&3].reason.as_deref(), Some("the answer held no choices"));
    assert_eq!(
        (requests[&4].outcome, requests[&4].done_ns),
        (Outcome::Unfinished, None)
    );
    assert_eq!(Some(requests[&5].issued_ns), requests[&5].done_ns);
    assert_eq!(
        (
            run.missing.unfinished_requests,
            run.missing.requests_without_issue
        ),
        (1, 1)
    );
}

#[test]
fn an_id_that_is_used_again_gives_two_rows() {
    let (builder, store) = recorder();
    let session = builder.start().unwrap();
    let hooks = session.hooks();
    for index in 0..2 {
        hooks.request_issued(7, index, None, None);
        hooks.request_completed(7, Completed::tokens(1));
    }
    session.finish().unwrap();
    let indexes: Vec<u64> = store
        .snapshot()
        .records
        .iter()
        .filter_map(|record| {
            if let Record::Request(row) = record {
                Some(row.sample_index)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(indexes, [0, 1]);
}

#[test]
fn a_full_ring_drops_and_counts() {
    let (builder, store) = recorder();
    let config = SessionConfig {
        hook_ring_kib: Some(1),
        ..SessionConfig::default()
    };
    // The driver does not run before the ring is full.
    let (session, driver) = builder.config(config).start_with_driver().unwrap();
    let hooks = session.hooks();
    for id in 0..1000 {
        hooks.request_issued(id, id, None, None);
    }
    assert!(hooks.dropped() > 900);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(driver.into_future());
    let run = session.finish().unwrap();
    assert_eq!(run.missing.dropped_hook_calls + rows(&store).0.len() as u64, 1000);
    assert_eq!(events(&store, Some("dropped")).len(), 1);
}

#[test]
fn threads_that_ended_and_sessions_that_ended_do_no_harm() {
    let (builder, store) = recorder();
    let session = builder.start().unwrap();
    let hooks = session.hooks();
    for id in 0..20 {
        let hooks = hooks.clone();
        std::thread::spawn(move || hooks.request_issued(id, id, None, None))
            .join()
            .unwrap();
    }
    hooks.event(EventRow {
        timestamp_ns: session.clock().now_ns(),
        end_ns: None,
        kind: "mine".into(),
        severity: Severity::Info,
        source: "harness".into(),
        message: Arc::default(),
        attributes: "{}".into(),
    });
    session.finish().unwrap();
    assert_eq!(rows(&store).0.len(), 20);
    assert_eq!(events(&store, Some("mine")).len(), 1);
    // After the end.
    hooks.request_issued(99, 0, None, None);
    hooks.phase("late");
    // The same thread in another session.
    let (builder, store) = recorder();
    let session = builder.start().unwrap();
    session.hooks().request_issued(1, 1, None, None);
    session.finish().unwrap();
    assert_eq!(rows(&store).0.len(), 1);
}
