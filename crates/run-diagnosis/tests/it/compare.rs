//! Comparisons of runs, and the error rates of their intervals.

use run_diagnosis::bound::diagnose;
use run_diagnosis::compare::{
    CompareOptions, ComparedFigure, ComparedRun, Comparison, Conclusion, HistoryFigure, Method, Metric,
    OtherSeries, Severity, compare, compare_repeats, history,
};
use run_diagnosis::input::{Column, Run, Scenario};
use run_diagnosis::window::{SteadyWindow, WindowOptions, steady_window};

use crate::support::engine::{Engine, at_once, serve};
use crate::support::false_alarms::{false_alarms, p99_false_alarms};
use crate::support::triples::{Load, run, triples};

const LOAD: Load = Load {
    requests: 1200,
    qps: 8.0,
    slow_steps: false,
};

/// A run of 150 s with its window.
struct Looked {
    run: Run,
    window: SteadyWindow,
}

impl Looked {
    fn of(run: Run) -> Self {
        let window = steady_window(&run, WindowOptions::default());
        Self { run, window }
    }

    fn new(name: &str, requests_seed: u64, jitter_seed: u64, speed_ratio: f64) -> Self {
        let mut run = run(LOAD, requests_seed, jitter_seed, speed_ratio);
        run.facts.name = name.to_owned();
        run.facts.model = Some("llama".to_owned());
        run.facts.ttft_limit_secs = Some(0.5);
        Self::of(run)
    }

    fn compared(&self) -> ComparedRun<'_> {
        ComparedRun {
            run: &self.run,
            window: &self.window,
            diagnosis: None,
            others: &[],
        }
    }
}

fn against(base: &Looked, other: &Looked) -> Comparison {
    compare(base.compared(), other.compared(), &CompareOptions::default())
}

#[track_caller]
fn figure(comparison: &Comparison, metric: Metric) -> &ComparedFigure {
    let found = comparison
        .decisive
        .iter()
        .find(|figure| figure.name == metric.name());
    found.unwrap_or_else(|| panic!("no {metric:?} in {:?}", comparison.decisive))
}

#[test]
fn the_same_requests_on_equal_servers_are_no_difference() {
    let (a, b) = (Looked::new("a", 1, 1, 1.0), Looked::new("b", 1, 2, 1.0));
    let comparison = against(&a, &b);
    assert!(comparison.paired);
    for metric in [
        Metric::TimePerOutputToken,
        Metric::OutputTokenThroughput,
        Metric::EndToEndLatency,
    ] {
        assert_eq!(
            figure(&comparison, metric).conclusion,
            Conclusion::NoDifference,
            "{:?}",
            figure(&comparison, metric)
        );
    }
    let tpot = figure(&comparison, Metric::TimePerOutputToken);
    let ratio = tpot.ratio.unwrap();
    assert!(
        matches!(ratio.method, Method::Paired { pairs } if pairs > 800),
        "{ratio:?}"
    );
    assert!(
        ratio.ratio_low < 1.0 && ratio.ratio_high > 1.0 && ratio.half_width() < 0.002,
        "{ratio:?}"
    );
    assert!(!comparison.has_regressed());
    let sentences = comparison.sentences();
    assert!(
        sentences.iter().any(|text| text.starts_with("One run each")),
        "{sentences:?}"
    );
}

#[test]
fn a_step_that_is_three_percent_slower_is_found_and_its_reverse_is_an_improvement() {
    let (a, c) = (Looked::new("a", 2, 3, 1.0), Looked::new("c", 2, 4, 1.0 / 1.03));
    let comparison = against(&a, &c);
    assert_eq!(comparison.conclusion, Conclusion::Regressed);
    let tpot = figure(&comparison, Metric::TimePerOutputToken);
    assert_eq!(tpot.conclusion, Conclusion::Regressed);
    let change = tpot.ratio.unwrap().relative_change();
    assert!((0.028..0.045).contains(&change), "{change}");
    // The schedule, not the server, sets the throughput of a Server run below capacity.
    assert_eq!(
        figure(&comparison, Metric::OutputTokenThroughput).conclusion,
        Conclusion::NoDifference
    );
    assert!(
        comparison.sentences()[0].starts_with("c against a: regressed"),
        "{:?}",
        comparison.sentences()
    );
    assert_eq!(against(&c, &a).conclusion, Conclusion::Improved);
}

#[test]
fn other_requests_are_two_samples_with_a_wider_interval() {
    let (a, b) = (Looked::new("a", 5, 5, 1.0), Looked::new("b", 6, 6, 1.0));
    let comparison = against(&a, &b);
    assert!(!comparison.paired);
    let tpot = figure(&comparison, Metric::TimePerOutputToken).ratio.unwrap();
    assert!(matches!(tpot.method, Method::TwoSamples { .. }));
    assert!(tpot.half_width() > 0.003, "{tpot:?}");
}

#[test]
fn end_to_end_latency_is_paired_where_answers_have_one_length() {
    let a = Looked::new("a", 7, 7, 1.0);
    let mut other = run(LOAD, 7, 8, 1.0);
    for request in other.requests.iter_mut().step_by(4) {
        request.output_tokens = request.output_tokens.map(|tokens| tokens + 1);
    }
    let b = Looked::of(other);
    let comparison = against(&a, &b);
    let pairs = |metric| match figure(&comparison, metric).ratio.unwrap().method {
        Method::Paired { pairs } => pairs as f64,
        method => panic!("{method:?}"),
    };
    let share = pairs(Metric::EndToEndLatency) / pairs(Metric::TimePerOutputToken);
    assert!((0.7..0.8).contains(&share), "{share}");
}

#[test]
fn other_work_is_refused_and_named() {
    let a = Looked::new("a", 8, 9, 1.0);
    let changed = |change: fn(&mut Run)| {
        let mut other = Looked::new("b", 8, 10, 1.0);
        change(&mut other.run);
        against(&a, &other)
    };
    for (what, change) in [
        (
            "model",
            (|run: &mut Run| run.facts.model = Some("other".into())) as fn(&mut Run),
        ),
        ("scenario", |run| run.facts.scenario = Scenario::Interactive),
        ("simulated", |run| run.facts.simulated = false),
        ("server_arguments.dtype", |run| {
            run.facts
                .server_arguments
                .insert("dtype".into(), "float16".into());
        }),
        ("output_tokens", |run| {
            for request in &mut run.requests {
                request.output_tokens = request.output_tokens.map(|tokens| tokens * 2);
            }
        }),
    ] {
        let comparison = changed(change);
        assert_eq!(comparison.conclusion, Conclusion::NotComparable, "{what}");
        assert!(comparison.decisive.is_empty());
        let refused: Vec<&str> = comparison
            .mismatches
            .iter()
            .filter(|mismatch| mismatch.severity == Severity::Refuse)
            .map(|mismatch| mismatch.what.as_str())
            .collect();
        assert_eq!(refused, [what]);
        assert!(
            comparison.sentences()[0].contains(what),
            "{:?}",
            comparison.sentences()
        );
    }
    // A driver is only mentioned; what is not known is said to be unchecked.
    let comparison = changed(|run| {
        run.facts.environment.insert("driver".into(), "580".into());
        run.facts.model = None;
    });
    assert_ne!(comparison.conclusion, Conclusion::NotComparable);
    let unknown: Vec<&str> = comparison
        .mismatches
        .iter()
        .filter(|mismatch| mismatch.severity == Severity::Unknown)
        .map(|mismatch| mismatch.what.as_str())
        .collect();
    assert!(
        unknown.contains(&"model") && unknown.contains(&"environment.driver"),
        "{unknown:?}"
    );
}

#[test]
fn versions_are_compared_across_when_asked() {
    let (mut a, mut b) = (Looked::new("a", 9, 11, 1.0), Looked::new("b", 9, 12, 1.0));
    a.run.facts.vllm_version = Some("0.31".into());
    b.run.facts.vllm_version = Some("0.32".into());
    assert_eq!(against(&a, &b).conclusion, Conclusion::NotComparable);
    let across = CompareOptions {
        across: vec!["vllm_version".to_owned()],
        ..CompareOptions::default()
    };
    assert_ne!(
        compare(a.compared(), b.compared(), &across).conclusion,
        Conclusion::NotComparable
    );
}

#[test]
fn a_noisy_host_decides_no_latency() {
    let (a, mut c) = (Looked::new("a", 10, 13, 1.0), Looked::new("c", 10, 14, 0.8));
    assert_eq!(against(&a, &c).conclusion, Conclusion::Regressed);
    c.run.facts.host_steal_ratio = Some(0.12);
    let comparison = against(&a, &c);
    assert_eq!(
        figure(&comparison, Metric::TimePerOutputToken).conclusion,
        Conclusion::Inconclusive
    );
    assert_eq!(
        figure(&comparison, Metric::TimePerOutputToken).because.as_deref(),
        Some("noisy host")
    );
    assert_eq!(
        figure(&comparison, Metric::OutputTokenThroughput).conclusion,
        Conclusion::NoDifference
    );
    assert!(comparison.is_undecided() && !comparison.has_regressed());
    assert!(
        comparison
            .sentences()
            .iter()
            .any(|text| text.contains("12 % of the time"))
    );

    c.run.facts.host_steal_ratio = None;
    for request in &mut c.run.requests {
        request.scheduled_ns = request.scheduled_ns.map(|ns| ns - 8_000_000);
    }
    assert!(
        against(&a, &c).noise[0].contains("late by 8.00 ms"),
        "{:?}",
        against(&a, &c).noise
    );
}

#[test]
fn a_client_that_bound_the_run_says_nothing_about_latency() {
    let a = Looked::new("a", 11, 15, 1.0);
    let late = Engine {
        client_limit: Some(4),
        ..Engine::h100_8b()
    };
    let requests = crate::support::engine::poisson(1_011, LOAD.requests, LOAD.qps, 256.0, 128.0);
    let mut run = serve(&late, &requests, Scenario::Server, 16);
    for (i, request) in run.requests.iter_mut().enumerate() {
        request.sample_index = Some(11_000_000 + i as u64);
    }
    let b = Looked::of(run);
    let diagnosis = diagnose(&b.run, b.run.whole().unwrap());
    assert!(diagnosis.is_bound_by_client(), "{:?}", diagnosis.verdict);
    let bound = ComparedRun {
        diagnosis: Some(&diagnosis),
        ..b.compared()
    };
    let comparison = compare(a.compared(), bound, &CompareOptions::default());
    let tpot = figure(&comparison, Metric::TimePerOutputToken);
    assert_eq!(tpot.conclusion, Conclusion::NotComparable);
    assert!(tpot.because.as_ref().unwrap().contains("bound by its client"));
}

#[test]
fn without_a_steady_window_only_throughput_is_compared() {
    let (a, mut b) = (Looked::new("a", 12, 17, 1.0), Looked::new("b", 12, 18, 1.0));
    b.window = steady_window(&b.run, WindowOptions::OFFICIAL);
    assert!(b.window.span.is_none());
    let comparison = against(&a, &b);
    assert_eq!(
        figure(&comparison, Metric::TimePerOutputToken).conclusion,
        Conclusion::NotComparable
    );
    assert_ne!(
        figure(&comparison, Metric::OutputTokenThroughput).conclusion,
        Conclusion::NotComparable
    );
    let headline = &comparison.sentences()[0];
    let left_out = "in what is comparable; not comparable: time per output token, end-to-end latency and time to first token.";
    assert!(headline.ends_with(left_out), "{headline}");
}

#[test]
fn offline_runs_are_compared_by_throughput_and_time_per_token() {
    let offline = |jitter, speed_ratio| {
        let engine = Engine {
            speed_ratio,
            max_num_seqs: 128,
            ..Engine::h100_8b()
        };
        let mut run = serve(
            &engine,
            &at_once(13, 8000, 256.0, 128.0),
            Scenario::Offline,
            jitter,
        );
        run.facts.name = format!("offline {jitter}");
        Looked::of(run)
    };
    let (a, b) = (offline(1, 1.0), offline(2, 1.0 / 1.1));
    let comparison = against(&a, &b);
    let names: Vec<&str> = comparison
        .decisive
        .iter()
        .map(|figure| figure.name.as_str())
        .collect();
    assert_eq!(names, ["time per output token", "output token throughput"]);
    let throughput = figure(&comparison, Metric::OutputTokenThroughput);
    assert_eq!(
        throughput.conclusion,
        Conclusion::Regressed,
        "{throughput:?} {:?}",
        a.window
    );
    assert!(
        (throughput.ratio.unwrap().relative_change() + 0.09).abs() < 0.03,
        "{throughput:?}"
    );
}

#[test]
fn other_series_are_shown_and_never_decide() {
    let (a, b) = (Looked::new("a", 14, 19, 1.0), Looked::new("b", 14, 20, 1.0));
    let power = |watts: f64| {
        vec![OtherSeries {
            name: "GPU power".to_owned(),
            unit: "W".to_owned(),
            lower_is_better: true,
            column: Column::full((0..200).map(|i| watts + f64::from((i * 7) % 5))),
        }]
    };
    let (base, other) = (power(500.0), power(560.0));
    let comparison = compare(
        ComparedRun {
            others: &base,
            ..a.compared()
        },
        ComparedRun {
            others: &other,
            ..b.compared()
        },
        &CompareOptions::default(),
    );
    let found = comparison
        .others
        .iter()
        .find(|figure| figure.name == "GPU power")
        .unwrap();
    assert!(found.has_changed());
    assert!(!comparison.has_regressed());
    assert!(
        comparison
            .sentences()
            .iter()
            .any(|text| text.contains("Also changed: GPU power +12.0 %"))
    );
}

#[test]
fn with_repeats_the_run_is_the_unit() {
    let runs = |speed_ratio: f64, jitter_seed: u64| -> Vec<Looked> {
        (0..4)
            .map(|i| Looked::new("run", 15, jitter_seed + i, speed_ratio))
            .collect()
    };
    let (a, b, c) = (runs(1.0, 30), runs(1.0, 40), runs(1.0 / 1.03, 50));
    let repeats = |base: &[Looked], other: &[Looked], in_turn: bool| {
        let base: Vec<ComparedRun<'_>> = base.iter().map(Looked::compared).collect();
        let other: Vec<ComparedRun<'_>> = other.iter().map(Looked::compared).collect();
        compare_repeats(&base, &other, in_turn, &CompareOptions::default()).unwrap()
    };

    let equal = repeats(&a, &b, true);
    let tpot = figure(&equal, Metric::TimePerOutputToken);
    assert_eq!(tpot.conclusion, Conclusion::NoDifference, "{tpot:?}");
    assert_eq!(tpot.ratio.unwrap().method, Method::PairedRuns { pairs: 4 });
    assert!(
        equal
            .sentences()
            .iter()
            .all(|text| !text.starts_with("One run each"))
    );

    let slower = repeats(&a, &c, true);
    assert_eq!(
        figure(&slower, Metric::TimePerOutputToken).conclusion,
        Conclusion::Regressed
    );
    // Not in turn, or of other numbers: two groups.
    let groups = repeats(&a, &c[..3], true);
    let tpot = figure(&groups, Metric::TimePerOutputToken);
    assert_eq!(
        (tpot.conclusion, tpot.ratio.unwrap().method),
        (Conclusion::Regressed, Method::Runs { base: 4, other: 3 })
    );

    let few = repeats(&a[..2], &c[..2], true);
    assert_eq!(few.conclusion, Conclusion::Inconclusive);
    assert!(
        few.decisive[0]
            .because
            .as_ref()
            .unwrap()
            .contains("at least 3 a side"),
        "{:?}",
        few.decisive[0]
    );
}

#[test]
fn repeats_of_one_side_must_not_differ() {
    let mut a: Vec<Looked> = (0..3).map(|i| Looked::new("a", 16, 60 + i, 1.0)).collect();
    let b: Vec<Looked> = (0..3).map(|i| Looked::new("b", 16, 70 + i, 1.0)).collect();
    a[2].run.facts.model = Some("other".into());
    let a: Vec<ComparedRun<'_>> = a.iter().map(Looked::compared).collect();
    let b: Vec<ComparedRun<'_>> = b.iter().map(Looked::compared).collect();
    let comparison = compare_repeats(&a, &b, true, &CompareOptions::default()).unwrap();
    assert_eq!(comparison.conclusion, Conclusion::NotComparable);
    assert!(compare_repeats(&[], &b, true, &CompareOptions::default()).is_none());
}

#[test]
fn changes_of_a_history_are_counted_in_both_directions() {
    let value = |run: i32| match run {
        0..12 => 10.0,
        12..24 => 10.8,
        _ => 9.9,
    };
    let values = (0..36)
        .map(|run| Some(value(run) + 0.03 * f64::from((run * 5) % 7)))
        .collect();
    let found = history(&HistoryFigure {
        name: "time per output token".to_owned(),
        lower_is_better: true,
        values,
    });
    assert_eq!((found.regressions, found.improvements), (1, 1));
    let runs: Vec<usize> = found.changes.unwrap().iter().map(|change| change.run).collect();
    assert_eq!(runs, [12, 24]);

    let short = history(&HistoryFigure {
        name: "x".to_owned(),
        lower_is_better: true,
        values: vec![Some(1.0), None, Some(2.0), Some(3.0), Some(4.0)],
    });
    assert_eq!(short.changes, None);
    assert_eq!(
        short.ratios_to_first,
        [Some(1.0), None, Some(2.0), Some(3.0), Some(4.0)]
    );
    assert_eq!(short.trend_per_run, Some(1.0));
}

#[test]
fn a_comparison_serialises() {
    let (a, b) = (Looked::new("a", 1, 1, 1.0), Looked::new("b", 1, 2, 1.0));
    let json = serde_json::to_value(against(&a, &b)).unwrap();
    assert_eq!(json["decisive"][0]["conclusion"], "no_difference");
    assert_eq!(json["decisive"][0]["method"], "paired");
    assert!(json["decisive"][0]["ratio_low"].as_f64().unwrap() < 1.0);
}

/// Part of the table that `examples/false_alarms.rs` prints. With 150 repetitions a share of 5 % has an error of 1.8
/// points, so that 11 % is more than three errors above it.
#[test]
fn equal_runs_are_rarely_called_different() {
    for (phi, n, decided) in [
        (0.5, 300, 0.9),
        (0.9, 900, 0.75),
        (0.9, 300, 0.0),
        (0.97, 900, 0.0),
    ] {
        let rates = false_alarms(phi, n, 150);
        assert!(rates.decided_and_wrong <= 0.11, "φ {phi}, n {n}: {rates:?}");
        assert!(rates.decided >= decided, "φ {phi}, n {n}: {rates:?}");
        assert!(
            rates.welch > 0.15,
            "φ {phi}, n {n}: the test for independent values is wrong here: {rates:?}"
        );
    }
    // Five independent values: no method is honest, and this one says so.
    let hopeless = false_alarms(0.97, 300, 150);
    assert!(
        hopeless.decided < 0.05 && hopeless.decided_and_wrong < 0.03,
        "{hopeless:?}"
    );
}

#[test]
fn a_quantile_of_equal_runs_is_rarely_called_different() {
    for phi in [0.0, 0.9] {
        let (alarms, half_width) = p99_false_alarms(phi, 3000, 100);
        assert!(alarms <= 0.12, "φ {phi}: {alarms}");
        assert!(half_width > 0.01, "φ {phi}: {half_width}");
    }
}

/// The whole table with more repetitions, in about a minute.
#[test]
#[ignore = "takes a minute; the table is in examples/false_alarms.rs"]
fn equal_runs_are_rarely_called_different_at_length() {
    for (phi, n) in [
        (0.5, 300),
        (0.9, 900),
        (0.9, 3600),
        (0.97, 3600),
        (0.9, 300),
        (0.97, 900),
        (0.99, 3600),
    ] {
        let rates = false_alarms(phi, n, 600);
        assert!(rates.decided_and_wrong <= 0.08, "φ {phi}, n {n}: {rates:?}");
    }
}

/// Nineteen of twenty: equal servers with the same requests are no difference in time per output token, servers whose
/// every step takes 3 % longer are a regression, and neither is ever called the wrong conclusion.
#[test]
fn nineteen_of_twenty() {
    for load in [
        Load {
            requests: 500,
            qps: 8.0,
            slow_steps: false,
        },
        Load {
            requests: 1000,
            qps: 20.0,
            slow_steps: false,
        },
    ] {
        let counts = triples(load, 20, true);
        assert!(counts.tpot_equal.no_difference >= 19, "{load:?}: {counts:?}");
        assert!(counts.tpot_slower.regressed >= 19, "{load:?}: {counts:?}");
        assert_eq!(
            counts.tpot_equal.regressed + counts.tpot_equal.improved,
            0,
            "{load:?}: {counts:?}"
        );
        assert_eq!(counts.tpot_slower.improved, 0, "{load:?}: {counts:?}");
        assert!(counts.together_slower.regressed >= 19, "{load:?}: {counts:?}");
        assert!(
            counts.together_equal.regressed + counts.together_equal.improved <= 2,
            "{load:?}: {counts:?}"
        );
        assert_eq!(counts.throughput_equal.no_difference, 20, "{load:?}: {counts:?}");
    }
}
