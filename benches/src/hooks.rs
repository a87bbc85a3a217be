//! What one hook call costs the harness, compared with the usual ways to hand an event over.

use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use vllm_metrics::{Completed, Hooks, MemoryStore, Session};

use crate::Figure;

/// Threads that write concurrently.
pub const THREADS: usize = 4;
/// Bursts per thread, and calls per burst: as many as a ring holds, followed by a pause in which it is
/// emptied.
const BURSTS: u64 = 60;
const CALLS: u64 = 4000;
const PAUSE: Duration = Duration::from_millis(25);

/// The event that the peers hand over: the same data as a hook call, with a timestamp from `std`.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What happened.
    pub kind: u8,
    /// Which request.
    pub id: u64,
    /// Details.
    pub details: [u64; 3],
}

impl Event {
    /// The event `kind` of request `id`, now.
    pub fn now(kind: u8, id: u64) -> Self {
        Self {
            at: Instant::now(),
            kind,
            id,
            details: [id, 0, 0],
        }
    }
}

/// A session that only takes hooks.
///
/// # Panics
/// If the system has no thread left for it.
pub fn session() -> Session {
    Session::builder()
        .store(Box::new(MemoryStore::new()))
        .start()
        .expect("a session without endpoints starts")
}

/// The four calls of a request's life, in turn.
pub fn call(hooks: &Hooks, n: u64) {
    let id = n / 4;
    match n % 4 {
        0 => hooks.request_issued(id, id, Some(1), None),
        1 => hooks.request_sent(id),
        2 => hooks.first_token(id),
        _ => hooks.request_completed(id, Completed::tokens(16)),
    }
}

/// Nanoseconds per call of `work` with [`THREADS`] threads calling concurrently, less the cost of the timing.
fn distribution<W>(work: impl Fn(usize) -> W) -> Vec<f64>
where
    W: FnMut(u64) + Send,
{
    let barrier = Arc::new(Barrier::new(THREADS));
    let clock = quanta::Clock::new();
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let mut work = work(thread);
                let barrier = Arc::clone(&barrier);
                let clock = clock.clone();
                scope.spawn(move || {
                    let first = thread as u64 * BURSTS * CALLS * 4;
                    // The first call of a thread may allocate.
                    work(first);
                    let mut took = Vec::with_capacity((BURSTS * CALLS) as usize);
                    for burst in 0..BURSTS {
                        barrier.wait();
                        for n in 0..CALLS {
                            let begin = clock.raw();
                            work(first + 4 + burst * CALLS + n);
                            let end = clock.raw();
                            took.push(end.saturating_sub(begin));
                        }
                        std::thread::sleep(PAUSE);
                    }
                    took
                })
            })
            .collect();
        for thread in threads {
            all.extend(thread.join().expect("a measuring thread does not panic"));
        }
    });
    let mut empty: Vec<u64> = (0..100_000)
        .map(|_| {
            let begin = clock.raw();
            clock.raw().saturating_sub(begin)
        })
        .collect();
    empty.sort_unstable();
    let timing = empty[empty.len() / 2];
    let mut ns: Vec<f64> = all
        .into_iter()
        .map(|ticks| clock.delta_as_nanos(0, ticks.saturating_sub(timing)) as f64)
        .collect();
    ns.sort_unstable_by(f64::total_cmp);
    ns
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// `hook_p50_ns` and `hook_p99_ns`, compared with an unbounded channel and a vector behind a mutex.
///
/// # Panics
/// If a session cannot be started or finished.
pub fn figures() -> Vec<Figure> {
    let session = session();
    let hooks = session.hooks();
    let ours = distribution(|_| {
        let hooks = hooks.clone();
        move |n| call(&hooks, n)
    });
    let run = session.finish().expect("a session in memory finishes");
    let dropped = run.missing.dropped_hook_calls;

    let (sender, receiver) = channel::<Event>();
    let drain = std::thread::spawn(move || {
        receiver
            .into_iter()
            .map(|event| event.id)
            .fold(0, u64::wrapping_add)
    });
    let by_channel = distribution(|_| {
        let sender: Sender<Event> = sender.clone();
        move |n| {
            let _ = black_box(sender.send(Event::now((n % 4) as u8, n / 4)));
        }
    });
    drop(sender);
    drain.join().expect("the draining thread does not panic");

    let events = Mutex::new(Vec::<Event>::new());
    let events = &events;
    let by_mutex = distribution(|_| {
        move |n: u64| {
            if let Ok(mut events) = events.lock() {
                // Emptied in place from time to time, as a reader would.
                if events.len() == 1 << 16 {
                    events.clear();
                }
                events.push(Event::now((n % 4) as u8, n / 4));
            }
        }
    });

    let figure = |name, q| Figure {
        name,
        value: Some(quantile(&ours, q)),
        unit: "ns",
        context: format!(
            "{THREADS} threads, clock reading included; std mpsc send {:.0} ns, push behind a mutex {:.0} ns; \
             {dropped} calls dropped; timed inside the session p50 {} p99 {}",
            quantile(&by_channel, q),
            quantile(&by_mutex, q),
            run.cost.hook_p50_ns.unwrap_or_default(),
            run.cost.hook_p99_ns.unwrap_or_default(),
        ),
    };
    vec![figure("hook_p50_ns", 0.5), figure("hook_p99_ns", 0.99)]
}
