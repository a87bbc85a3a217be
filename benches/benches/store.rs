//! Writing a recording into each store, a flush after each scrape, and reading it back.

use benches::store::{recording, replay};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vllm_metrics::StoreFormat;

fn write(c: &mut Criterion) {
    let recording = recording();
    let mut group = c.benchmark_group("store_write_and_read");
    group
        .throughput(Throughput::Elements(recording.samples as u64))
        .sample_size(10);
    for &format in StoreFormat::ALL {
        group.bench_function(format.as_str(), |b| b.iter(|| replay(&recording, format)));
    }
    group.finish();
}

criterion_group!(benches, write);
criterion_main!(benches);
