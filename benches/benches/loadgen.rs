//! The same question as the figure `loadgen_binding_qps_ratio`: time per query of a SingleStream null SUT, through
//! the binding and in plain C++.

use std::time::Duration;

use benches::loadgen::{Side, child, queries_per_second};
use criterion::Criterion;

fn main() {
    if child().expect("the null SUT runs") {
        return;
    }
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5));
    let mut group = criterion.benchmark_group("loadgen_single_stream_query");
    for (name, side) in [("cpp", Side::Cpp), ("binding", Side::Rust)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                // A round measures 100 000 queries, so one round is enough for any number of iterations.
                let rate = queries_per_second(side).expect("the round runs");
                Duration::from_secs_f64(iterations as f64 / rate)
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
