//! Measures acting on simulated servers in virtual time. Everything here is SIMULATED.
//!
//! ```text
//! cargo run --release -p monitor-acting --example acting_eval -- all [SEEDS [FIRST]]
//! cargo run --release -p monitor-acting --example acting_eval -- saved|learning|restarts|waves [SEEDS [FIRST]]
//! ```
//!
//! SEEDS is 30 unless given; FIRST is the first seed of the measured runs, 0 unless given.
//!
//! - `saved`: each fault, with and without acting at the same seed (the true counterfactual), and with each single
//!   action, the best of which is the oracle.
//! - `learning`: regret of Thompson sampling, a fixed ladder, epsilon-greedy and random, on rewards measured by `saved`;
//!   with an exchange of the arms' effects.
//! - `restarts`: the same curve when the process is repeatedly killed with SIGKILL.
//! - `waves`: 24 hours of square-wave load; exit code 1 if a lever flapped.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

mod bandit;
mod killed;
mod saved;
mod statistics;
mod waves;
mod world;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let what = words.first().map_or("all", String::as_str);
    if what == "child" {
        return killed::child(&words[1..]);
    }
    let seeds: u64 = words.get(1).map_or(Ok(30), |n| n.parse())?;
    let first: u64 = words.get(2).map_or(Ok(0), |n| n.parse())?;
    let range = first..first + seeds;
    println!("SIMULATED: virtual time, {seeds} seeds from {first}\n");
    match what {
        "saved" => {
            saved::report(&saved::measure(range));
        }
        "learning" => bandit::report(&saved::pools(&saved::measure(range)), seeds),
        "restarts" => killed::report(seeds)?,
        "waves" => waves::report()?,
        "all" => {
            let measured = saved::measure(range);
            saved::report(&measured);
            bandit::report(&saved::pools(&measured), seeds);
            killed::report(seeds)?;
            waves::report()?;
        }
        other => return Err(format!("{other} is none of all, saved, learning, restarts and waves").into()),
    }
    Ok(())
}
