//! What runs on the simulator's engine are said to be: equal, slower, and bound by what bounds them.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/simulated.rs"]
mod support;

use run_diagnosis::bound::Verdict;
use run_report::{Analysis, AnalysisOptions, CompareOptions, Conclusion};
use support::{Simulated, joined};
use vllm_metrics::RunData;
use vllm_sim::virtual_time::{Arrivals, Workload};
use vllm_sim::{OutputLength, SimConfig};

fn server(seed: u64) -> SimConfig {
    let mut config = SimConfig::default();
    config.engine.seed = seed;
    config.engine.enable_prefix_caching = false;
    config
}

fn poisson(seed: u64, rate_per_s: f64, requests: u32, prompt: u32, output: u32) -> Workload {
    Workload {
        seed,
        arrivals: Arrivals::Poisson { rate_per_s },
        requests,
        prompt_tokens: OutputLength::LogNormal {
            median: f64::from(prompt),
            sigma: 0.3,
        },
        output_tokens: Some(OutputLength::LogNormal {
            median: f64::from(output),
            sigma: 0.3,
        }),
        shared_prefix_tokens: 0,
    }
}

fn simulated(server: SimConfig, workload: Workload) -> Simulated {
    Simulated {
        server,
        workload,
        scenario: "Server",
        scheduled_at: None,
        clock_ratio: None,
    }
}

fn named<'a>(record: &'a RunData, name: &str) -> Analysis<'a> {
    Analysis::of(
        record,
        AnalysisOptions {
            name: name.into(),
            ..AnalysisOptions::default()
        },
    )
}

/// Words for time per output token, of B against A.
fn tpot_word(a: &RunData, b: &RunData) -> Conclusion {
    let (a, b) = (named(a, "A"), named(b, "B"));
    let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
    let decisive = &compared.comparisons[0].decisive;
    let tpot = decisive
        .iter()
        .find(|figure| figure.name == "time per output token");
    tpot.unwrap_or_else(|| panic!("{:?}", compared.sentences()))
        .conclusion
}

/// A run with a step that takes `slower` times as long; the workload is the same for the same seed.
fn of_speed(seed: u64, engine_seed: u64, slower: f64) -> RunData {
    let mut config = server(engine_seed);
    config.engine.speed_ratio = 1.0 / slower;
    simulated(config, poisson(seed, 8.0, 1_000, 200, 128)).record()
}

fn pairs() -> u64 {
    // All twenty take a minute without optimisation.
    match std::env::var("RUN_REPORT_PAIRS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => 4,
    }
}

#[test]
fn equal_runs_do_not_differ_and_three_percent_are_found() {
    let (mut equal, mut slower) = (0, 0);
    for seed in 0..pairs() {
        let a = of_speed(seed, 2 * seed, 1.0);
        equal += u64::from(tpot_word(&a, &of_speed(seed, 2 * seed + 1, 1.0)) == Conclusion::NoDifference);
        slower += u64::from(tpot_word(&a, &of_speed(seed, 2 * seed + 1, 1.03)) == Conclusion::Regressed);
    }
    let enough = pairs() - pairs() / 20;
    eprintln_counts("no difference", equal, "regressed", slower);
    assert!(equal >= enough, "{equal} of {} equal runs", pairs());
    assert!(slower >= enough, "{slower} of {} slower runs", pairs());
}

#[allow(
    clippy::print_stderr,
    reason = "counts of a check that is run by hand with more pairs"
)]
fn eprintln_counts(one: &str, ones: u64, other: &str, others: u64) {
    eprintln!("{one} {ones}, {other} {others} of {}", pairs());
}

#[test]
fn another_dataset_model_or_caching_setting_is_not_comparable() {
    let a = of_speed(1, 1, 1.0);
    let refused = |change: &dyn Fn(&mut RunData), what: &str| {
        let mut b = of_speed(1, 2, 1.0);
        change(&mut b);
        let (a, b) = (named(&a, "A"), named(&b, "B"));
        let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
        assert_eq!(compared.conclusion(), Conclusion::NotComparable, "{what}");
        let mut blocking = compared
            .page
            .configuration
            .iter()
            .filter(|setting| setting.blocking);
        assert!(
            blocking.any(|setting| setting.name == what),
            "{what}: {:?}",
            compared.page
        );
    };
    refused(
        &|run| drop(run.manifest.facts.insert("dataset".into(), "another".into())),
        "dataset",
    );
    refused(
        &|run| drop(run.manifest.facts.insert("model".into(), "another".into())),
        "model",
    );
    let mut caching = server(2);
    caching.engine.enable_prefix_caching = true;
    let b = simulated(caching, poisson(1, 8.0, 1_000, 200, 128)).record();
    let (a, b) = (named(&a, "A"), named(&b, "B"));
    let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
    assert_eq!(compared.conclusion(), Conclusion::NotComparable);
}

/// Runs made to be bound by one thing, and the rule that has to be named first.
fn bounds(seed: u64) -> Vec<(&'static str, Simulated)> {
    let base = || simulated(server(seed), poisson(seed, 8.0, 1_000, 200, 128));
    let client = Simulated {
        workload: Workload {
            arrivals: Arrivals::Closed { concurrency: 4 },
            ..poisson(seed, 8.0, 700, 200, 128)
        },
        scheduled_at: Some(8.0),
        ..base()
    };
    let mut sequences = base();
    sequences.server.engine.max_num_seqs = 8;
    sequences.workload = poisson(seed, 12.0, 1_200, 100, 128);
    let mut kv = base();
    kv.server.engine.num_gpu_blocks = 400;
    kv.server.engine.max_model_len = 4_096;
    kv.workload = poisson(seed, 7.0, 700, 100, 400);
    let mut prefill = base();
    prefill.workload = poisson(seed, 9.0, 900, 4_000, 3);
    let offline = |requests, prompt, output, concurrency| Simulated {
        workload: Workload {
            arrivals: Arrivals::Closed { concurrency },
            ..poisson(seed, 1.0, requests, prompt, output)
        },
        scenario: "Offline",
        ..base()
    };
    let decode = offline(260, 16, 500, 8);
    let mut large = offline(26_000, 16, 300, 512);
    large.server.engine.max_num_seqs = 512;
    let mut front_end = base();
    front_end.server.engine.front_end_serial = true;
    front_end.server.engine.step.front_end_ns = 60e6;
    front_end.workload = poisson(seed, 18.0, 1_500, 20, 30);
    let mut power = large.clone();
    power.server.engine.speed_ratio = 0.8;
    power.clock_ratio = Some(0.8);
    let mut idle = base();
    idle.workload = poisson(seed, 2.0, 300, 200, 128);
    vec![
        ("client", client),
        ("sequence_limit", sequences),
        ("kv_capacity", kv),
        ("prefill_compute", prefill),
        ("decode_bandwidth_weights", decode),
        ("decode_compute", large),
        ("front_end", front_end),
        ("power", power),
        ("below_capacity", idle),
    ]
}

/// A third of the time below capacity, a third bound by its sequence limit, a third by long prompts: no label has half of
/// the seconds.
fn balanced(seed: u64) -> RunData {
    let mut sequences = simulated(server(seed), poisson(seed, 12.0, 1_200, 100, 128));
    sequences.server.engine.max_num_seqs = 8;
    let mut prefill = simulated(server(seed), poisson(seed, 9.0, 900, 4_000, 3));
    prefill.server.engine.max_num_seqs = 8;
    let mut idle = simulated(server(seed), poisson(seed, 2.0, 200, 200, 128));
    idle.server.engine.max_num_seqs = 8;
    joined(&[idle.record(), sequences.record(), prefill.record()])
}

/// Writes reports of five runs, drawn by RUN_REPORT_BLIND_SEED and named by number, and the answers in a file of their own:
/// the reader of the reports should not know which run is which.
#[test]
#[ignore = "writes reports to be read: RUN_REPORT_BLIND=folder RUN_REPORT_BLIND_SEED=n"]
fn reports_of_five_runs_without_their_names() {
    let folder = std::path::PathBuf::from(std::env::var_os("RUN_REPORT_BLIND").unwrap());
    let seed: u64 = std::env::var("RUN_REPORT_BLIND_SEED").unwrap().parse().unwrap();
    let mut all = bounds(seed);
    all.sort_by_key(|(bound, _)| {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        bound.bytes().fold(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), mix)
    });
    let mut answers = String::new();
    for (number, (bound, run)) in all.into_iter().take(5).enumerate() {
        let record = run.record();
        let analysis = named(&record, "A");
        let page = run_report::page(&[&analysis], None);
        run_report::write_report(&page, &folder.join(format!("run_{number}.html"))).unwrap();
        answers += &format!("{number} {bound}\n");
    }
    std::fs::write(folder.join("answers.txt"), answers).unwrap();
}

/// The rule that is named first, and the headline of the diagnosis.
fn first_named(record: &RunData) -> (String, String) {
    let analysis = named(record, "A");
    let diagnosis = analysis.diagnosis.as_ref().unwrap();
    let rule = match &diagnosis.verdict {
        Verdict::BoundBy { rule } => rule.clone(),
        other => format!("{other:?}"),
    };
    (rule, analysis.lines().join(" "))
}

/// The closing table of a run prints these lines.
#[test]
fn an_overload_is_named_with_its_numbers_in_the_lines_of_a_run() {
    let (_, kv) = bounds(1).remove(2);
    let record = kv.record();
    let lines = named(&record, "A").lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("KV cache") && line.contains("preemptions per second")),
        "{lines:#?}"
    );
}

#[test]
fn latencies_of_an_offline_run_stand_where_they_were_known() {
    let offline = Simulated {
        workload: Workload {
            arrivals: Arrivals::Closed { concurrency: 8 },
            ..poisson(1, 1.0, 200, 16, 100)
        },
        scenario: "Offline",
        ..simulated(server(1), poisson(1, 8.0, 1, 1, 1))
    };
    let mut record = offline.record();
    let first_ns = record.requests.iter().map(|row| row.issued_ns).min().unwrap();
    record
        .requests
        .iter_mut()
        .for_each(|row| row.issued_ns = first_ns);
    let page = run_report::page(&[&named(&record, "A")], None);
    for name in [
        "client_time_to_first_token_seconds",
        "client_time_per_output_token_seconds",
    ] {
        let mut series = page.runs[0].series.iter().filter(|series| series.name == name);
        let points = series.next().map_or(0, |series| series.timestamps_ns.len());
        assert!(points >= 5, "{name} has {points} points");
    }
    let chart = page.charts.iter().find(|chart| chart.id == "ttft").unwrap();
    assert!(
        chart.definition.contains("whose first token came"),
        "{}",
        chart.definition
    );
}

/// The seeds of `RUN_REPORT_SEEDS`, as in `10..20`; the first one if it is not set.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RUN_REPORT_SEEDS") else {
        return 0..1;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
#[allow(clippy::print_stderr, reason = "what a check by hand with more seeds is for")]
fn what_bounds_a_run_is_named_first() {
    let tried = seeds().end - seeds().start;
    let only = std::env::var("RUN_REPORT_BOUND").ok();
    let wanted = |bound: &str| only.as_deref().is_none_or(|only| only == bound);
    let mut named = std::collections::BTreeMap::new();
    for seed in seeds() {
        let balanced = wanted("mixed").then(|| ("mixed", balanced(seed)));
        let one_bound = bounds(seed).into_iter().filter(|(bound, _)| wanted(bound));
        for (bound, record) in one_bound
            .map(|(bound, run)| (bound, run.record()))
            .chain(balanced)
        {
            let (found, said) = first_named(&record);
            let right = found.to_lowercase() == bound;
            *named.entry(bound).or_insert(0) += u64::from(right);
            if !right {
                eprintln!("seed {seed}: {bound} was called {found}: {said}");
            }
        }
    }
    eprintln!("of {tried}: {named:?}");
    for (bound, right) in named {
        assert!(right >= tried - tried / 10, "{bound}: {right} of {tried}");
    }
}
