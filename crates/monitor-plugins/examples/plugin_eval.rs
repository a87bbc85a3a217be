//! Measures hot reloading: edits under load, faulty plugins, memory.
//!
//! ```text
//! cargo run --release -p monitor-plugins --example plugin_eval -- [EDITS]
//! ```
//!
//! One thread passes snapshots to 20 plugins 50 times a second; another repeatedly edits one of their files
//! and reloads, alternating good and bad edits. A tick is lost if it lacks a plugin that is not edited. An edit
//! is lost if its reload reports nothing or another file, or if a good one is not in use afterwards. A plugin is
//! half-loaded if two of its functions answer one tick with different versions. Ticks that start more than a
//! period late are counted, also without edits, since a busy machine delays some by itself. Resident memory is
//! read before the edits, half-way and after them.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monitor_plugins::{Host, HostConfig, Limits, Status};
use serde_json::{Value, json};

const PLUGINS: usize = 20;
const PERIOD: Duration = Duration::from_millis(20);

/// What an edit may be: a name, the source, whether it must be accepted.
const EDITS: &[(&str, &str, bool)] = &[
    (
        "good",
        "fn derive(s) { this.n = (this.n ?? 0) + 1; #{ x: this.n + VERSION, version: VERSION } }
         fn detect(s) { #{ failure: \"version\", evidence: `${VERSION}` } }",
        true,
    ),
    ("syntax error", "fn derive(s) { #{ x: VERSION }", false),
    ("endless loop", "fn derive(s) { loop {} #{ x: VERSION } }", false),
    (
        "recursion",
        "fn f(n) { f(n + VERSION) } fn derive(s) { f(0) }",
        false,
    ),
    ("throws", "fn derive(s) { throw VERSION }", false),
    (
        "panic of a host function",
        "fn derive(s) { panics(VERSION) }",
        false,
    ),
    (
        "string bomb",
        "fn derive(s) { let t = `VERSION`; loop { t += t; } }",
        false,
    ),
    (
        "array bomb",
        "fn derive(s) { let a = [VERSION]; loop { a += a; } }",
        false,
    ),
    (
        "nested bomb",
        "fn derive(s) { let a = [VERSION]; loop { a = [a, a, a]; } }",
        false,
    ),
    ("wrong result", "fn derive(s) { [VERSION] }", false),
    (
        "wrong manifest",
        "fn manifest() { #{ versoin: VERSION } } fn derive(s) { #{ x: 1 } }",
        false,
    ),
];

fn write(folder: &Path, name: &str, source: &str) {
    // As an editor does: write to another file, then rename.
    let aside = folder.join(format!("{name}.tmp"));
    fs::write(&aside, source).expect("the folder is writable");
    fs::rename(&aside, folder.join(format!("{name}.rhai"))).expect("the folder is writable");
}

fn snapshot(n: u64) -> Value {
    let signal = |value: f64| json!({ "fresh": { "value": value, "age_secs": 0.1 } });
    let fields: serde_json::Map<String, Value> = (0..60)
        .map(|i| (format!("signal_{i}"), signal((n + i) as f64)))
        .collect();
    json!({ "schema": 1, "target": "http://simulated:8000", "time": n, "engine": fields })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let edits: usize = std::env::args().nth(1).map_or(Ok(1000), |n| n.parse())?;
    let folder = std::env::temp_dir().join(format!("plugin-eval-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    for i in 0..PLUGINS {
        write(
            &folder,
            &format!("p{i}"),
            "fn derive(s) { #{ x: fresh(s.engine.signal_7) } } fn detect(s) { }",
        );
    }
    let config = HostConfig {
        limits: Limits::default(),
        extend: Some(|engine| {
            engine.register_fn("panics", |_: i64| -> i64 { panic!("on purpose") });
        }),
        ..HostConfig::default()
    };
    // Panics are part of the measurement.
    std::panic::set_hook(Box::new(|_| {}));
    let host = Host::new(&folder, config);
    host.reload();
    // Snapshots for dry runs, and ticks without edits for comparison.
    let over = AtomicBool::new(false);
    let quiet = std::thread::scope(|scope| {
        let ticker = scope.spawn(|| tick(&host, &over));
        std::thread::sleep(Duration::from_secs(5));
        over.store(true, Ordering::Relaxed);
        ticker.join()
    });
    let quiet = quiet.map_err(|_| "the ticking thread panicked")?;
    over.store(false, Ordering::Relaxed);
    let (mut taken, mut rejected, mut lost) = (Vec::new(), 0, 0);
    let mut memory = vec![resident_kib()];
    let (mut wrongly, mut by_kind) = (Vec::new(), vec![0; EDITS.len()]);
    let ticks = std::thread::scope(|scope| {
        let ticker = scope.spawn(|| tick(&host, &over));
        for edit in 0..edits {
            let (kind, source, good) = EDITS[if edit % 2 == 0 {
                0
            } else {
                1 + edit / 2 % (EDITS.len() - 1)
            }];
            by_kind[EDITS.iter().position(|(k, _, _)| *k == kind).unwrap_or(0)] += 1;
            // The first plugins are edited; the last are not and must never be missing.
            let name = format!("p{}", edit % (PLUGINS / 2));
            write(&folder, &name, &source.replace("VERSION", &edit.to_string()));
            let changes = host.reload();
            lost += usize::from(!matches!(&changes[..], [change] if change.plugin == name));
            if good && host.tick(&snapshot(0)).derived.get(&format!("{name}.version")) != Some(&(edit as f64))
            {
                lost += 1;
            }
            if edit + 1 == edits / 2 || edit + 1 == edits {
                memory.push(resident_kib());
            }
            for change in changes {
                taken.push(change.took.as_secs_f64() * 1e3);
                rejected += usize::from(!change.accepted);
                if change.accepted != good {
                    wrongly.push(format!("{kind}: {}", change.what));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        ticker.join()
    });
    let ticks = ticks.map_err(|_| "the ticking thread panicked")?;
    taken.sort_by(f64::total_cmp);
    let at = |q: f64| taken[((taken.len() - 1) as f64 * q) as usize];
    println!(
        "edits {edits}, of which rejected {rejected}, lost {lost}; judged wrongly {}: {wrongly:?}",
        wrongly.len()
    );
    println!(
        "ticks with a half-loaded plugin {}; resident memory before, half-way and after, KiB: {}",
        ticks.half_loaded,
        memory
            .iter()
            .map(|kib| kib.map_or_else(|| "unknown".to_owned(), |kib| kib.to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for ((kind, _, good), n) in EDITS.iter().zip(by_kind) {
        println!(
            "  {kind}: {n}, {}",
            if *good {
                "accepted"
            } else {
                "rejected, the version before stayed"
            }
        );
    }
    println!(
        "edit to use (read, compile, dry run, swap): p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!(
        "without edits: ticks {}, late by more than {PERIOD:?} {}, longest {:.2} ms",
        quiet.count,
        quiet.late,
        quiet.longest.as_secs_f64() * 1e3
    );
    println!(
        "ticks {}, late by more than {PERIOD:?} {}, with a good plugin missing {}; longest tick {:.2} ms",
        ticks.count,
        ticks.late,
        ticks.missing,
        ticks.longest.as_secs_f64() * 1e3
    );
    runtime_faults(&folder, &host);
    println!("highest resident memory: {}", highest_memory());
    fs::remove_dir_all(&folder)?;
    Ok(())
}

struct Ticks {
    count: u64,
    late: u64,
    missing: u64,
    half_loaded: u64,
    longest: Duration,
}

fn tick(host: &Host, over: &AtomicBool) -> Ticks {
    let mut ticks = Ticks {
        count: 0,
        late: 0,
        missing: 0,
        half_loaded: 0,
        longest: Duration::ZERO,
    };
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let started = Instant::now();
        ticks.late += u64::from(started.duration_since(due) > PERIOD);
        let tick = host.tick(&snapshot(ticks.count));
        let good = (PLUGINS / 2..PLUGINS).all(|i| tick.derived.contains_key(&format!("p{i}.x")));
        ticks.missing += u64::from(!good);
        let is_whole = tick.findings.iter().all(|finding| {
            let version = tick.derived.get(&format!("{}.version", finding.plugin));
            version.is_some_and(|version| version.to_string() == finding.evidence)
        });
        ticks.half_loaded += u64::from(!is_whole);
        ticks.count += 1;
        ticks.longest = ticks.longest.max(started.elapsed());
        due += PERIOD;
    }
    ticks
}

/// Plugins that pass their dry run and fail later, and a cycle.
fn runtime_faults(folder: &Path, host: &Host) {
    for (name, source) in [
        ("late_loop", "fn detect(s) { if s.trigger { loop {} } }"),
        (
            "late_bomb",
            "fn detect(s) { if s.trigger { let a = [1]; loop { a += a; } } }",
        ),
        ("late_panic", "fn detect(s) { if s.trigger { panics(1) } }"),
        (
            "cycle_a",
            "fn manifest() { #{ requires: [\"cycle_b\"] } } fn derive(s) { #{ x: 1 } }",
        ),
        (
            "cycle_b",
            "fn manifest() { #{ requires: [\"cycle_a\"] } } fn derive(s) { #{ x: 1 } }",
        ),
    ] {
        write(folder, name, source);
    }
    for n in 0..5_u64 {
        let mut quiet = snapshot(n);
        quiet["trigger"] = false.into();
        host.tick(&quiet);
    }
    // The recorded snapshots have no such field.
    for _ in 0..Limits::default().recorded {
        let mut quiet = snapshot(1);
        quiet["trigger"] = false.into();
        host.record(&quiet);
    }
    host.reload();
    let (mut faults, mut slowest, mut missing) = (0, Duration::ZERO, 0);
    for n in 0..10 {
        let mut loud = snapshot(n);
        loud["trigger"] = true.into();
        let started = Instant::now();
        let tick = host.tick(&loud);
        slowest = slowest.max(started.elapsed());
        faults += tick.faults.len();
        missing += usize::from(!tick.derived.contains_key("p19.x"));
    }
    println!(
        "faults while running: {faults}, longest tick {:.2} ms, ticks without the good plugins {missing}",
        slowest.as_secs_f64() * 1e3
    );
    for listed in host.list() {
        if listed.status != Status::Active {
            println!("  {}: {}", listed.name, listed.status);
        }
    }
}

/// A line of the kernel's account of this process; `None` if there is no such file.
fn memory_of(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn resident_kib() -> Option<u64> {
    memory_of("VmRSS:")
}

fn highest_memory() -> String {
    memory_of("VmHWM:").map_or_else(|| "unknown".to_owned(), |kib| format!("{kib} KiB"))
}
