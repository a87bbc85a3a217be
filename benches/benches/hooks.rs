//! One hook call, compared with the usual ways to hand an event over; and the work of one scrape after its
//! bytes have arrived.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use benches::hooks::{Event, call, session};
use benches::scrape_cycle::{Ours, Straightforward};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn hooks(c: &mut Criterion) {
    let mut group = c.benchmark_group("hook");
    let session = session();
    let hooks = session.hooks();
    let mut n = 0;
    // Bursts smaller than a ring, so that no measured call is dropped.
    group.bench_function("ours_1000_calls", |b| {
        b.iter_batched(
            || std::thread::sleep(std::time::Duration::from_millis(1)),
            |()| {
                for _ in 0..1000 {
                    call(&hooks, n);
                    n += 1;
                }
            },
            BatchSize::PerIteration,
        );
    });
    let (sender, receiver) = channel();
    let drain = std::thread::spawn(move || receiver.into_iter().map(|event: Event| event.id).max());
    group.bench_function("mpsc_1000_sends", |b| {
        b.iter(|| {
            (0..1000)
                .filter(|id| sender.send(Event::now(0, black_box(*id))).is_ok())
                .count()
        });
    });
    drop(sender);
    drop(drain.join());
    let events = Mutex::new(Vec::new());
    group.bench_function("mutex_1000_pushes", |b| {
        b.iter(|| {
            for id in 0..1000 {
                if let Ok(mut events) = events.lock() {
                    events.push(Event::now(0, black_box(id)));
                }
            }
            if let Ok(mut events) = events.lock() {
                events.clear();
            }
        });
    });
    group.finish();
    drop(session.finish());
}

fn scrape_cycle(c: &mut Criterion) {
    let page = benches::exposition::page();
    let (mut ours, mut naive) = (Ours::default(), Straightforward::default());
    let mut group = c.benchmark_group("scrape_cycle");
    group.bench_function("ours", |b| b.iter(|| ours.cycle(black_box(&page))));
    group.bench_function("owned_maps", |b| b.iter(|| naive.cycle(black_box(&page))));
    group.finish();
}

criterion_group!(benches, hooks, scrape_cycle);
criterion_main!(benches);
