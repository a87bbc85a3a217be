//! Pictures and summary of ten minutes, and the derived series of the same run.

use std::hint::black_box;

use benches::report::{ten_minutes, write};
use criterion::{Criterion, criterion_group, criterion_main};
use vllm_metrics::derive;

fn report(c: &mut Criterion) {
    let run = ten_minutes();
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    let mut group = c.benchmark_group("report");
    group.sample_size(10);
    group.bench_function("three_plots_and_summary", |b| {
        b.iter(|| write(&run, folder.path()));
    });
    group.bench_function("derived_series", |b| b.iter(|| derive::process(black_box(&run))));
    group.finish();
}

criterion_group!(benches, report);
criterion_main!(benches);
