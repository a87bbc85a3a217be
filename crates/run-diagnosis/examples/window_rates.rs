//! Prints the whole table of false alarms and detections of the steady-window test, in percent of 400 repetitions.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "../tests/it/support/mod.rs"]
mod support;

use support::window_rates::{Shape, rates};

fn main() {
    println!("CV    φ    seconds  change      shift  drift  either, ≥ 20 correlation times  too short");
    for variation in [0.05, 0.1] {
        for phi in [0.3, 0.6, 0.8, 0.9] {
            for seconds in [300, 600, 1200, 3600] {
                for shape in [Shape::Flat, Shape::Step, Shape::Drift, Shape::SmallDrift] {
                    let rates = rates(shape, phi, variation, seconds, 400);
                    println!(
                        "{variation:<5} {phi:<4} {seconds:<8} {:<11} {:>5.1}  {:>5.1}  {:>30.1}  {:>9.1}",
                        format!("{shape:?}"),
                        100.0 * rates.shift,
                        100.0 * rates.drift,
                        100.0 * rates.changed_and_long_enough,
                        100.0 * rates.too_short,
                    );
                }
            }
        }
    }
}
