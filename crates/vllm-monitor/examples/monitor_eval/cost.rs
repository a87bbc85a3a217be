//! What one step costs, and making its snapshot.

use std::time::Instant;

use vllm_monitor::config::Settings;
use vllm_monitor::{Monitor, Snapshot, State};

use crate::scenario::{Limit, Scenario, TUNING};

const TARGETS: usize = 300;
const SECS: usize = 120;

pub fn report() {
    // Busy servers on their way into overload: every predictor has work to do.
    let mut snapshots: Vec<Vec<Snapshot>> = Vec::new();
    for index in 0..6 {
        let limit = if index % 2 == 0 { Limit::Kv } else { Limit::Places };
        let mut run = Vec::new();
        Scenario::ramp(TUNING, index, limit).run(|snapshot, _| run.push(snapshot.clone()));
        let from = run.len().saturating_sub(SECS + 240);
        snapshots.push(run[from..from + SECS].to_vec());
    }
    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    let names: Vec<std::sync::Arc<str>> = (0..TARGETS).map(|i| format!("http://{i}").into()).collect();
    let round = |second: usize| -> Vec<Snapshot> {
        let one = |(i, name): (usize, &std::sync::Arc<str>)| Snapshot {
            target: std::sync::Arc::clone(name),
            ..snapshots[i % snapshots.len()][second].clone()
        };
        names.iter().enumerate().map(one).collect()
    };
    let mut per_round: Vec<f64> = (0..SECS)
        .map(|second| {
            let round = round(second);
            let start = Instant::now();
            for snapshot in &round {
                std::hint::black_box(monitor.step(&mut state, snapshot));
            }
            start.elapsed().as_secs_f64()
        })
        .collect();
    per_round.sort_by(f64::total_cmp);
    let median = per_round[SECS / 2];
    println!("{TARGETS} targets at 1 Hz, {SECS} s, one thread");
    println!(
        "step: {:.0} ns per target (median round), {:.0} ns in the slowest round",
        median / TARGETS as f64 * 1e9,
        per_round[SECS - 1] / TARGETS as f64 * 1e9
    );
    println!("share of one core for all targets: {:.2} %", median * 100.0);

    let mut built = Instant::now().elapsed();
    let mut count = 0u32;
    let mut last = Instant::now();
    Scenario::ramp(TUNING, 0, Limit::Kv).run(|_, _| {
        built += last.elapsed();
        count += 1;
        last = Instant::now();
    });
    println!(
        "generating a second of a busy server and its snapshot: {:.0} ns",
        built.as_secs_f64() / f64::from(count) * 1e9
    );
}
