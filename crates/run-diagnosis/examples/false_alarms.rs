//! Prints how often two equal runs are called different, in percent of 600 repetitions.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "../tests/it/support/mod.rs"]
mod support;

use support::false_alarms::{false_alarms, p99_false_alarms};

fn main() {
    println!("φ     n     independent  Welch  batch means  decided and wrong  decided  called changed");
    for (phi, n) in [
        (0.0, 300),
        (0.5, 300),
        (0.9, 900),
        (0.9, 3600),
        (0.97, 3600),
        (0.9, 300),
        (0.97, 900),
        (0.97, 300),
        (0.99, 3600),
    ] {
        let rates = false_alarms(phi, n, 600);
        println!(
            "{phi:<5} {n:<5} {:>11.0}  {:>5.1}  {:>11.1}  {:>17.1}  {:>7.1}  {:>14.1}",
            n as f64 * (1.0 - phi) / (1.0 + phi),
            100.0 * rates.welch,
            100.0 * rates.batch_means,
            100.0 * rates.decided_and_wrong,
            100.0 * rates.decided,
            100.0 * rates.called_changed,
        );
    }
    println!("\nThe same for p99 by sections, of 300 repetitions");
    println!("φ     n      false alarms  half-width in %");
    for (phi, n) in [(0.0, 3000), (0.9, 3000), (0.0, 20_000), (0.9, 20_000)] {
        let (alarms, half_width) = p99_false_alarms(phi, n, 300);
        println!(
            "{phi:<5} {n:<6} {:>12.1}  {:>15.2}",
            100.0 * alarms,
            100.0 * half_width
        );
    }
}
