//! Tunes and measures the predictors on generated servers.
//!
//! ```text
//! cargo run --release -p vllm-monitor --example monitor_eval -- report [RUNS [SEED]]    on held-out runs, from a seed
//! cargo run --release -p vllm-monitor --example monitor_eval -- calibrate [RUNS] > configs/monitor/calibration.toml
//! cargo run --release -p vllm-monitor --example monitor_eval -- try [RUNS] KEY=VALUE…    on the tuning part
//! cargo run --release -p vllm-monitor --example monitor_eval -- tune RUNS kv|queue KEY=VALUE;…  several at once
//! cargo run --release -p vllm-monitor --example monitor_eval -- show INDEX kv|queue      one run, second by second
//! cargo run --release -p vllm-monitor --example monitor_eval -- trace FILE.csv          arrivals of a real service
//! cargo run --release -p vllm-monitor --example monitor_eval -- cost
//! ```
//!
//! The tuning part and the report differ in seeds, and the report's ramps are both faster and slower than any that was
//! tuned on. The servers are simulated: the figures say how the predictors do on a scheduler that behaves like vLLM's,
//! not on production traffic.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people at a terminal"
)]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "not a library"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cost;
mod degradation;
mod hang;
mod judge;
mod methods;
mod scenario;
mod trace;

use judge::{Tally, Track};
use methods::{Method, Ours, PredictLinear, Static, ThreeSigma};
use scenario::{Limit, Part, REPORT, SMALL, Scenario, TUNING, TUNING_SMALL};
use support::engine::Engine;
use vllm_monitor::FailureType;
use vllm_monitor::config::{Settings, SettingsBuilder};
use vllm_monitor::predict::calibrate::Tables;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runs = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(60);
    match args.first().map(String::as_str) {
        Some("report") => {
            let first_seed = args.get(2).and_then(|n| n.parse().ok());
            let from = |part: Part| Part {
                first_seed: first_seed.unwrap_or(part.first_seed),
                ..part
            };
            report(from(REPORT), runs, &Settings::default(), None);
            println!("\nservers whose KV cache holds 12 to 40 requests, where chance fills the cache:");
            report(from(SMALL), runs, &Settings::default(), None);
            degradation::report(false, 20);
            hang::report(20);
        }
        Some("try") => {
            let settings = args
                .iter()
                .skip(2)
                .filter_map(|arg| arg.split_once('='))
                .fold(Settings::builder(), |builder: SettingsBuilder, (key, value)| {
                    builder.flag(key, value)
                })
                .resolve()
                .unwrap();
            let tables = args.iter().any(|arg| arg == "raw").then(Tables::default);
            report(TUNING, runs, &settings, tables.as_ref());
        }
        Some("tune") => tune(runs, args.get(2).map(String::as_str), &args[3..]),
        Some("show") => show(runs, args.get(2).map(String::as_str), args.get(3)),
        Some("degradation") => degradation::report(true, runs),
        Some("calibrate") => calibrate(runs),
        Some("trace") => of_trace(&args[1]),
        Some("cost") => cost::report(),
        _ => println!("see the first lines of examples/monitor_eval/main.rs"),
    }
}

const TYPES: [(FailureType, Limit); 2] = [
    (FailureType::KvPreemption, Limit::Kv),
    (FailureType::QueueOverflow, Limit::Places),
];

/// What one run shows to all methods, and what happened in it.
struct Watch {
    methods: Vec<Box<dyn Method>>,
    tracks: Vec<Track>,
    present: Vec<bool>,
    failure_type: FailureType,
    /// Waiting requests that are too many on a server without a limit: 10 s of its capacity, at least 8.
    barrier: f64,
    before: (f64, f64),
    over_secs: f64,
}

impl Watch {
    fn new(methods: Vec<Box<dyn Method>>, failure_type: FailureType, capacity: f64) -> Self {
        let tracks = methods.iter().map(|_| Track::default()).collect();
        let barrier = (10.0 * capacity).max(8.0);
        Self {
            methods,
            tracks,
            present: Vec::new(),
            failure_type,
            barrier,
            before: (0.0, 0.0),
            over_secs: 0.0,
        }
    }

    fn see(&mut self, snapshot: &vllm_monitor::Snapshot, engine: &Engine) {
        let stats = &engine.stats;
        self.present.push(match self.failure_type {
            FailureType::KvPreemption => stats.preemptions > self.before.0,
            _ => {
                let over = engine.config.max_queued.is_none() && stats.waiting >= self.barrier;
                self.over_secs = if over { self.over_secs + 1.0 } else { 0.0 };
                stats.rejected > self.before.1 || self.over_secs >= 10.0
            }
        });
        self.before = (stats.preemptions, stats.rejected);
        for (method, track) in self.methods.iter_mut().zip(&mut self.tracks) {
            track.said.push(method.see(snapshot));
        }
    }

    fn count(&self, tallies: &mut [Tally]) {
        for (tally, track) in tallies.iter_mut().zip(&self.tracks) {
            tally.add(track, &self.present);
        }
    }
}

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
        let mut watch = Watch::new(methods(), failure_type, scenario.capacity);
        scenario.run(|snapshot, engine| watch.see(snapshot, engine));
        watch.count(&mut tallies);
    }
    tallies
}

/// The monitor and the baselines.
fn all_methods(
    settings: &Settings,
    tables: Option<&Tables>,
    (failure_type, limit): (FailureType, Limit),
) -> Vec<Box<dyn Method>> {
    let kv = limit == Limit::Kv;
    vec![
        Box::new(Ours::new(settings.clone(), tables.cloned(), failure_type)),
        Box::new(Static),
        Box::new(PredictLinear::new(kv)),
        Box::new(ThreeSigma::new(kv)),
    ]
}

/// The hour of a real service on servers of several sizes.
fn of_trace(path: &str) {
    let requests = trace::read(&std::fs::read_to_string(path).unwrap());
    println!(
        "SIMULATED servers under the arrivals of {path}: {} requests",
        requests.len()
    );
    for kind in TYPES {
        let mut tallies: Vec<Tally> = vec![Tally::default(); 4];
        for fullest in [0.02, 0.01, 0.005, 0.002] {
            let mut watch = Watch::new(
                all_methods(&Settings::default(), None, kind),
                kind.0,
                requests.len() as f64 / 3600.0,
            );
            trace::run(&requests, kind.1, fullest, |snapshot, engine| {
                watch.see(snapshot, engine);
            });
            watch.count(&mut tallies);
        }
        print_table(kind.0, &tallies);
    }
}

fn report(part: Part, runs: u64, settings: &Settings, tables: Option<&Tables>) {
    println!(
        "SIMULATED servers; {runs} ramps and {} hours within capacity for each type",
        runs / 3
    );
    for kind in TYPES {
        let tallies = evaluate(part, runs, kind, &|| all_methods(settings, tables, kind));
        print_table(kind.0, &tallies);
    }
}

fn print_table(failure_type: FailureType, tallies: &[Tally]) {
    println!(
        "\n{failure_type}: {} onsets, {:.1} calm hours, base rate at 60 s {:.4}",
        tallies[0].onsets,
        tallies[0].calm_hours,
        tallies[0].horizons[2].base_rate().unwrap_or(f64::NAN)
    );
    println!(
        "{:<16} predicted >= 5 s   false alarms/h   Brier skill 60 s    ECE 60 s   median lead",
        "method"
    );
    for (name, tally) in ["ours", "static 5 / 0.8", "predict_linear", "3 sigma"]
        .iter()
        .zip(tallies)
    {
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
        .map(|bin| {
            format!(
                "{:.2}/{:.2} ({})",
                bin.probability / bin.pairs,
                bin.positives / bin.pairs,
                bin.pairs
            )
        })
        .collect();
    println!("  reliability at 60 s, said/came (seconds): {}", bins.join(" "));
}

/// Several settings on the tuning part at once: each argument is `KEY=VALUE;KEY=VALUE…`, or `-` for the defaults.
fn tune(runs: u64, which: Option<&str>, candidates: &[String]) {
    let kind = if which == Some("queue") {
        TYPES[1]
    } else {
        TYPES[0]
    };
    let methods = || -> Vec<Box<dyn Method>> {
        candidates
            .iter()
            .map(|text| {
                let settings = text
                    .split(';')
                    .filter_map(|pair| pair.split_once('='))
                    .fold(Settings::builder(), |builder, (key, value)| {
                        builder.flag(key, value)
                    })
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
        println!(
            "predicted {:.2} false/h {:.2} calibrated skill/ECE {}  {text}",
            f[0],
            f[1],
            at.join(" ")
        );
    }
}

/// One ramp of the tuning part, or the hour of a trace, second by second.
fn show(index: u64, which: Option<&str>, trace: Option<&String>) {
    let (failure_type, limit) = if which == Some("queue") {
        TYPES[1]
    } else {
        TYPES[0]
    };
    let monitor = vllm_monitor::Monitor::new(Settings::default());
    let mut state = vllm_monitor::State::default();
    let mut preemptions = 0.0;
    let mut name = "generated";
    if trace.is_some() {
        name = "trace";
    }
    let mut each = |snapshot: &vllm_monitor::Snapshot, engine: &Engine| {
        monitor.step(&mut state, snapshot);
        let target = state.target(name).unwrap();
        let (_, assessment) = target
            .assessments()
            .iter()
            .find(|(known, _)| *known == failure_type)
            .unwrap();
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
    };
    match trace {
        Some(path) => trace::run(
            &trace::read(&std::fs::read_to_string(path).unwrap()),
            limit,
            0.005,
            &mut each,
        ),
        None => {
            let scenario = Scenario::ramp(TUNING, index, limit);
            println!("{scenario:?}");
            scenario.run(&mut each);
        }
    }
}

/// Fits calibration tables on the tuning part and prints them as a file.
fn calibrate(runs: u64) {
    use vllm_monitor::predict::calibrate::Calibrator;
    use vllm_monitor::predict::score::Resolved;
    println!("# Calibration tables of vllm-monitor: what each raw probability came to on generated runs.");
    println!(
        "# Made by `monitor_eval calibrate {runs}` (crates/vllm-monitor/examples/monitor_eval) on its tuning part."
    );
    println!(
        "# Generated runs fail far more often than servers do, mostly by ramps that begin later and that nothing shows yet."
    );
    println!(
        "# That base rate, the share that came true where the raw probability is 0, is taken out of every value."
    );
    for (failure_type, limit) in TYPES {
        let methods = || -> Vec<Box<dyn Method>> {
            vec![Box::new(Ours::new(
                Settings::default(),
                Some(Tables::default()),
                failure_type,
            ))]
        };
        // The concurrency of a server says how much its KV cache fluctuates; it does not affect a queue.
        let parts: &[Part] = match limit {
            Limit::Kv => &[TUNING, TUNING_SMALL],
            Limit::Places => &[TUNING],
        };
        let mut calibrator = Calibrator::default();
        for part in parts {
            let tally = &evaluate(*part, runs, (failure_type, limit), &methods)[0];
            for (horizon, pairs) in tally.pairs.iter().enumerate() {
                for (_, raw, happened) in pairs {
                    calibrator.learn(Resolved {
                        horizon,
                        raw: *raw,
                        happened: *happened,
                    });
                }
            }
        }
        for (mut table, secs) in calibrator
            .raw_tables()
            .into_iter()
            .zip(vllm_monitor::HORIZONS_SECS)
        {
            let base = table.y[0];
            for y in &mut table.y {
                *y = (*y - base) / (1.0 - base);
            }
            let list = |values: &[f64]| {
                values
                    .iter()
                    .map(|v| format!("{v:.5}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            println!("\n[[table]]\nfailure_type = \"{failure_type}\"\nhorizon_secs = {secs}");
            println!("x = [{}]\ny = [{}]", list(&table.x), list(&table.y));
        }
    }
}
