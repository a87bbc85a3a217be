//! Tunes and measures the predictors on generated servers.
//!
//! ```text
//! cargo run --release -p vllm-monitor --example monitor_eval -- report [RUNS]
//! cargo run --release -p vllm-monitor --example monitor_eval -- calibrate [RUNS] > configs/monitor/calibration.toml
//! cargo run --release -p vllm-monitor --example monitor_eval -- try [RUNS] KEY=VALUE…    on the tuning part
//! cargo run --release -p vllm-monitor --example monitor_eval -- trace FILE.csv          arrivals of a real service
//! cargo run --release -p vllm-monitor --example monitor_eval -- cost
//! ```
//!
//! The tuning part and the report differ in seeds, and the report's ramps are both faster and slower than any that was
//! tuned on. The servers are simulated: the figures say how the predictors do on a scheduler that behaves like vLLM's,
//! not on production traffic.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people at a terminal")]
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations, reason = "not a library")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cost;
mod degradation;
mod judge;
mod methods;
mod scenario;

use judge::{Tally, Track};
use methods::{Method, Ours, PredictLinear, Static, ThreeSigma};
use scenario::{Limit, Part, REPORT, Scenario, TUNING};
use vllm_monitor::FailureType;
use vllm_monitor::config::{Settings, SettingsBuilder};
use vllm_monitor::predict::calibrate::Tables;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runs = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(60);
    match args.first().map(String::as_str) {
        Some("report") => {
            report(REPORT, runs, &Settings::default(), None);
            degradation::report(false, 20);
        }
        Some("try") => {
            let settings = args
                .iter()
                .skip(2)
                .filter_map(|arg| arg.split_once('='))
                .fold(Settings::builder(), |builder: SettingsBuilder, (key, value)| builder.flag(key, value))
                .resolve()
                .unwrap();
            let tables = args.iter().any(|arg| arg == "raw").then(Tables::default);
            report(TUNING, runs, &settings, tables);
        }
        Some("tune") => tune(runs, args.get(2).map(String::as_str), &args[3..]),
        Some("show") => show(runs, args.get(2).map(String::as_str)),
        Some("degradation") => degradation::report(true, runs),
        Some("calibrate") => calibrate(runs),
        Some("cost") => cost::report(),
        _ => println!("see the first lines of examples/monitor_eval/main.rs"),
    }
}

const TYPES: [(FailureType, Limit); 2] =
    [(FailureType::KvPreemption, Limit::Kv), (FailureType::QueueOverflow, Limit::Places)];

/// Runs all scenarios of one part through several methods at once.
fn evaluate(
    part: Part,
    runs: u64,
    (failure_type, limit): (FailureType, Limit),
    methods: &dyn Fn() -> Vec<Box<dyn Method>>,
) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = methods().iter().map(|_| Tally::default()).collect();
    let ramps = (0..runs).map(|i| Scenario::ramp(part, i, limit));
    let hours = (0..runs / 3).map(|i| Scenario::steady(part, i, limit));
    for scenario in ramps.chain(hours) {
        let mut methods = methods();
        let mut tracks: Vec<Track> = methods.iter().map(|_| Track::default()).collect();
        let mut present = Vec::new();
        let mut before = (0.0, 0.0);
        let mut over_secs = 0.0;
        scenario.run(|snapshot, engine| {
            let stats = &engine.stats;
            present.push(match failure_type {
                FailureType::KvPreemption => stats.preemptions > before.0,
                _ => {
                    // The barrier without a limit: the queue that takes 10 s to work off at capacity, at least 8.
                    let over = engine.config.max_queued.is_none()
                        && stats.waiting >= (10.0 * scenario.capacity).max(8.0);
                    over_secs = if over { over_secs + 1.0 } else { 0.0 };
                    stats.rejected > before.1 || over_secs >= 10.0
                }
            });
            before = (stats.preemptions, stats.rejected);
            for (method, track) in methods.iter_mut().zip(&mut tracks) {
                track.said.push(method.see(snapshot));
            }
        });
        for (tally, track) in tallies.iter_mut().zip(&tracks) {
            tally.add(track, &present);
        }
    }
    tallies
}

fn report(part: Part, runs: u64, settings: &Settings, tables: Option<Tables>) {
    println!("SIMULATED servers; {runs} ramps and {} hours within capacity for each type", runs / 3);
    for (failure_type, limit) in TYPES {
        let methods = || -> Vec<Box<dyn Method>> {
            let kv = limit == Limit::Kv;
            vec![
                Box::new(Ours::new(settings.clone(), tables.clone(), failure_type)),
                Box::new(Static),
                Box::new(PredictLinear::new(kv)),
                Box::new(ThreeSigma::new(kv)),
            ]
        };
        let tallies = evaluate(part, runs, (failure_type, limit), &methods);
        println!(
            "\n{failure_type}: {} onsets, {:.1} calm hours, base rate at 60 s {:.4}",
            tallies[0].onsets,
            tallies[0].calm_hours,
            tallies[0].horizons[2].base_rate().unwrap_or(f64::NAN)
        );
        println!("{:<16} foreseen >= 5 s   false alarms/h   Brier skill 60 s    ECE 60 s   median lead", "method");
        for (name, tally) in ["ours", "static 5 / 0.8", "predict_linear", "3 sigma"].iter().zip(&tallies) {
            let (f, i) = (tally.figures(), tally.intervals(7));
            let mut leads = tally.leads.clone();
            leads.sort_by(f64::total_cmp);
            let median = leads.get(leads.len() / 2).copied().unwrap_or(f64::NAN);
            println!(
                "{name:<16} {:.2} [{:.2} {:.2}]  {:6.2} [{:.2} {:.2}]  {:5.2} [{:.2} {:.2}]   {:.3} [{:.3} {:.3}]  {median:5.0} s",
                f[0], i[0].0, i[0].1, f[1], i[1].0, i[1].1, f[2], i[2].0, i[2].1, f[3], i[3].0, i[3].1
            );
        }
        let ours = &tallies[0];
        for (horizon, scores) in vllm_monitor::HORIZONS_SECS.iter().zip(&ours.horizons) {
            println!(
                "  ours at {horizon:3} s: base rate {:.4}, Brier {:.5}, skill {:.3}, ECE {:.4}",
                scores.base_rate().unwrap_or(f64::NAN),
                scores.brier().unwrap_or(f64::NAN),
                scores.skill().unwrap_or(f64::NAN),
                scores.calibration_error().unwrap_or(f64::NAN),
            );
        }
        let bins: Vec<String> = ours.horizons[2]
            .bins()
            .iter()
            .map(|bin| format!("{:.2}/{:.2} ({})", bin.probability / bin.pairs, bin.positives / bin.pairs, bin.pairs))
            .collect();
        println!("  reliability at 60 s, said/came (seconds): {}", bins.join(" "));
    }
}

/// Several settings on the tuning part at once: each argument is `KEY=VALUE;KEY=VALUE…`, or `-` for the defaults.
fn tune(runs: u64, which: Option<&str>, candidates: &[String]) {
    let kind = if which == Some("queue") { TYPES[1] } else { TYPES[0] };
    let methods = || -> Vec<Box<dyn Method>> {
        candidates
            .iter()
            .map(|text| {
                let settings = text
                    .split(';')
                    .filter_map(|pair| pair.split_once('='))
                    .fold(Settings::builder(), |builder, (key, value)| builder.flag(key, value))
                    .resolve()
                    .unwrap();
                Box::new(Ours::new(settings, Some(Tables::default()), kind.0)) as Box<dyn Method>
            })
            .collect()
    };
    for (text, tally) in candidates.iter().zip(evaluate(TUNING, runs, kind, &methods)) {
        let f = tally.figures();
        let at: Vec<String> = (0..4)
            .map(|h| {
                let (skill, error) = tally.calibrated(h);
                format!("{skill:.3}/{error:.3}")
            })
            .collect();
        println!("foreseen {:.2} false/h {:.2} calibrated skill/ECE {}  {text}", f[0], f[1], at.join(" "));
    }
}

/// One ramp of the tuning part, second by second.
fn show(index: u64, which: Option<&str>) {
    let (failure_type, limit) = if which == Some("queue") { TYPES[1] } else { TYPES[0] };
    let scenario = Scenario::ramp(TUNING, index, limit);
    println!("{scenario:?}");
    let monitor = vllm_monitor::Monitor::new(Settings::default());
    let mut state = vllm_monitor::State::default();
    let mut preemptions = 0.0;
    scenario.run(|snapshot, engine| {
        monitor.step(&mut state, snapshot);
        let target = state.target("generated").unwrap();
        let (_, assessment) = target.assessments().iter().find(|(known, _)| *known == failure_type).unwrap();
        let s = &engine.stats;
        let new = s.preemptions - preemptions;
        preemptions = s.preemptions;
        print!(
            "{:6.0} kv {:.3} run {:3.0} wait {:3.0} preempt {new:3.0} rejected {:4.0} ",
            snapshot.time.as_nanos() as f64 / 1e9,
            s.kv_usage,
            s.running,
            s.waiting,
            s.rejected
        );
        match &assessment.prediction {
            vllm_monitor::Prediction::Forecast(f) => {
                let evidence: Vec<String> = f.evidence.iter().map(ToString::to_string).collect();
                println!("{:.3?} {}", f.probability.as_array(), evidence.join(", "));
            }
            other => println!("{other:?}"),
        }
    });
}

/// Fits calibration tables on the tuning part and prints them as a file.
fn calibrate(runs: u64) {
    use vllm_monitor::predict::calibrate::Calibrator;
    use vllm_monitor::predict::score::Resolved;
    println!("# Calibration tables of vllm-monitor: what each raw probability came to on generated runs.");
    println!("# Made by `monitor_eval calibrate {runs}` (crates/vllm-monitor/examples/monitor_eval) on its tuning part.");
    for (failure_type, limit) in TYPES {
        let methods = || -> Vec<Box<dyn Method>> {
            vec![Box::new(Ours::new(Settings::default(), Some(Tables::default()), failure_type))]
        };
        let tally = &evaluate(TUNING, runs, (failure_type, limit), &methods)[0];
        let mut calibrator = Calibrator::default();
        for (horizon, pairs) in tally.pairs.iter().enumerate() {
            for (_, raw, happened) in pairs {
                calibrator.learn(Resolved { horizon, raw: *raw, happened: *happened });
            }
        }
        for (table, secs) in calibrator.raw_tables().iter().zip(vllm_monitor::HORIZONS_SECS) {
            let list = |values: &[f64]| values.iter().map(|v| format!("{v:.5}")).collect::<Vec<_>>().join(", ");
            println!("\n[[table]]\nfailure_type = \"{failure_type}\"\nhorizon_secs = {secs}");
            println!("x = [{}]\ny = [{}]", list(&table.x), list(&table.y));
        }
    }
}
