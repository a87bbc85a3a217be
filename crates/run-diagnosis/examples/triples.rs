//! Prints which words come out for equal runs (A, B) and for one that is 3 % slower in every step (A, C), of 20 triples.
//!
//! The number of triples may be given. Words: = no difference, - regressed, + improved, ? inconclusive, ! not comparable.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "../tests/it/support/mod.rs"]
mod support;

use support::triples::{Load, triples};

fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(20);
    let load = |requests, qps, slow_steps| Load {
        requests,
        qps,
        slow_steps,
    };
    for load in [
        load(500, 8.0, false),
        load(1000, 20.0, false),
        load(500, 20.0, true),
        load(2000, 20.0, true),
    ] {
        for paired in [true, false] {
            let counts = triples(load, count, paired);
            println!("{load:?}, {}", if paired { "paired" } else { "two samples" });
            println!(
                "  TPOT        A~B {}   A~C {}",
                counts.tpot_equal, counts.tpot_slower
            );
            println!(
                "  TTFT        A~B {}   A~C {}",
                counts.ttft_equal, counts.ttft_slower
            );
            println!(
                "  throughput  A~B {}   A~C {}",
                counts.throughput_equal, counts.throughput_slower
            );
            println!(
                "  together    A~B {}   A~C {}",
                counts.together_equal, counts.together_slower
            );
            println!(
                "  half-width of TPOT {:.2} %",
                100.0 * counts.half_widths / count as f64
            );
        }
    }
}
