//! Parsing one vLLM page: ours, the bare line split, and `openmetrics-parser`.

use std::hint::black_box;

use benches::exposition::{line_split, openmetrics_parser, ours, page, page_without_colons};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn parse(c: &mut Criterion) {
    let page = page();
    let page = page.as_str();
    let without_colons = page_without_colons(page);
    let mut group = c.benchmark_group("exposition_parse");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("ours", |b| b.iter(|| ours(black_box(page))));
    group.bench_function("line_split", |b| b.iter(|| line_split(black_box(page))));
    group.bench_function("openmetrics_parser", |b| {
        b.iter(|| openmetrics_parser(black_box(&without_colons)));
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
