//! Tests which replica is chosen, which rests, and when a request is given up.

use super::attempts::LONGEST_PAUSE;
use super::*;
use crate::{ClientConfig, Received};

fn pool(n: usize, strategy: Strategy) -> Pool {
    let client = |i| Client::new(ClientConfig::new(format!("http://127.0.0.1:{}", i + 1))).unwrap();
    Pool::new((0..n).map(client).collect(), strategy, RetryPolicy::default()).unwrap()
}

fn refused() -> StreamError {
    StreamError::Refused {
        url: String::new(),
        reason: String::new(),
    }
}

#[test]
fn round_robin_takes_turns() {
    let pool = pool(3, Strategy::RoundRobin);
    let turns: Vec<_> = (0..5).map(|_| pool.choose(1, &[]).replica).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1]);
}

#[test]
fn loads_decide_and_are_given_back() {
    let tokens = pool(2, Strategy::LeastOutstandingTokens);
    let heavy = tokens.choose(1000, &[]);
    let light: Vec<_> = (0..3).map(|_| tokens.choose(10, &[])).collect();
    assert!(light.iter().all(|slot| slot.replica != heavy.replica));
    assert_eq!(tokens.status()[0].outstanding_tokens, 1000);
    drop(heavy);
    assert_eq!(tokens.choose(10, &[]).replica, 0);
    drop(light);
    assert!(
        tokens
            .status()
            .iter()
            .all(|s| (s.outstanding_requests, s.outstanding_tokens) == (0, 0))
    );

    let queue = pool(2, Strategy::ShortestQueue);
    let first = queue.choose(1000, &[]);
    let second = queue.choose(1, &[]);
    assert_ne!(first.replica, second.replica);
    drop(second);
    assert_eq!(queue.choose(1, &[]).replica, 1);
}

#[test]
fn failing_replicas_rest_and_come_back() {
    let pool = pool(2, Strategy::RoundRobin);
    pool.note(0, Some(&refused()));
    assert!(pool.status()[0].resting);
    assert!((0..4).all(|_| pool.choose(1, &[]).replica == 1));
    // One reset does not start a rest, three in a row do.
    let reset = StreamError::Truncated {
        received: Received::default(),
    };
    pool.note(1, Some(&reset));
    pool.note(1, Some(&reset));
    assert!(!pool.status()[1].resting);
    pool.note(1, Some(&reset));
    assert!(pool.status()[1].resting);
    // All replicas rest: one is still tried.
    let _slot = pool.choose(1, &[]);
    pool.note(0, None);
    assert!(!pool.status()[0].resting);
    assert_eq!((pool.status()[1].failed, pool.status()[0].completed), (3, 1));
}

#[test]
fn a_healthy_answer_ends_no_rest_that_requests_began() {
    let pool = pool(1, Strategy::RoundRobin);
    let now = Instant::now();
    let rests = || pool.status()[0].resting;
    pool.lock().states[0].begin_rest_for_probe(now);
    assert!(rests());
    pool.lock().states[0].end_rest_for_probe();
    assert!(!rests());
    pool.note(0, Some(&refused()));
    pool.lock().states[0].begin_rest_for_probe(now);
    pool.lock().states[0].end_rest_for_probe();
    assert!(rests(), "a request began it");
    pool.note(0, None);
    // Failures between two probes are not forgotten.
    let reset = StreamError::Truncated {
        received: Received::default(),
    };
    for _ in 0..FAILURES_TO_REST {
        pool.lock().states[0].end_rest_for_probe();
        assert!(!rests());
        pool.note(0, Some(&reset));
    }
    assert!(rests());
}

#[test]
fn pauses_grow_to_their_longest_and_end_with_the_request() {
    let mut pool = pool(1, Strategy::RoundRobin);
    pool.retry.max_attempts = 100;
    let mut tries = Attempts::new(&pool, |_| {});
    let settle = |tries: &mut Attempts<'_, _>| match tries.settle(
        pool.choose(1, &[]),
        Instant::now(),
        Err::<(), _>(refused()),
    ) {
        Settled::Again(pause) => Some(pause),
        Settled::Failed(_) => None,
        Settled::Done(..) => unreachable!(),
    };
    let pauses: Vec<_> = (0..9).filter_map(|_| settle(&mut tries)).collect();
    assert_eq!(
        pauses[..2],
        [Duration::from_millis(50), Duration::from_millis(100)]
    );
    assert_eq!(pauses[7..], [LONGEST_PAUSE; 2]);
    // All but the last pause of the hour has passed.
    let gone = pool.clients[0].config.timeouts.request - LONGEST_PAUSE;
    tries.begun_at = tries.begun_at.checked_sub(gone).unwrap();
    assert_eq!(settle(&mut tries), None);
}

#[test]
fn a_bad_request_says_nothing_about_the_server() {
    let pool = pool(1, Strategy::RoundRobin);
    for _ in 0..5 {
        pool.note(
            0,
            Some(&StreamError::Status {
                retry_after: None,
                url: String::new(),
                code: 400,
                body: String::new(),
            }),
        );
    }
    assert!(!pool.status()[0].resting);
}

fn asks_to_wait(secs: u64) -> StreamError {
    StreamError::Status {
        retry_after: Some(Duration::from_secs(secs)),
        url: String::new(),
        code: 429,
        body: String::new(),
    }
}

#[test]
fn a_server_gets_the_wait_it_asks_for_within_the_requests_limit() {
    let mut one = pool(1, Strategy::RoundRobin);
    one.retry.max_attempts = 9;
    let mut tries = Attempts::new(&one, |_: &Attempt| {});
    let settled = tries.settle::<()>(one.choose(1, &[]), Instant::now(), Err(asks_to_wait(7)));
    assert!(matches!(settled, Settled::Again(wait) if wait == Duration::from_secs(7)));
    let settled = tries.settle::<()>(one.choose(1, &[]), Instant::now(), Err(asks_to_wait(7200)));
    assert!(
        matches!(settled, Settled::Failed(_)),
        "the request's limit is an hour"
    );

    // Others need not wait for it, and it is skipped.
    let mut two = pool(2, Strategy::RoundRobin);
    two.retry.max_attempts = 9;
    let mut tries = Attempts::new(&two, |_: &Attempt| {});
    let slot = two.choose(1, &[]);
    let asked = slot.replica;
    let settled = tries.settle::<()>(slot, Instant::now(), Err(asks_to_wait(7)));
    assert!(matches!(settled, Settled::Again(wait) if wait < Duration::from_secs(7)));
    assert!(two.status()[asked].resting && !two.status()[1 - asked].resting);
}

#[test]
fn wrong_pools_are_refused() {
    let client = Client::new(ClientConfig::new("http://h:1")).unwrap();
    let retry = RetryPolicy::default();
    for (clients, retry, told) in [
        (vec![], retry, "empty"),
        (vec![client.clone(), client.clone()], retry, "twice"),
        (
            vec![client],
            RetryPolicy {
                max_attempts: 0,
                ..retry
            },
            "at least 1",
        ),
    ] {
        let error = Pool::new(clients, Strategy::RoundRobin, retry).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}
