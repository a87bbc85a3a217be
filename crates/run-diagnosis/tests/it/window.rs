//! The steady window on synthetic runs, and the error rates of its tests.

use run_diagnosis::input::{Column, RequestTimes, Run, RunFacts, Scenario, Span};
use run_diagnosis::window::{Signal, SteadyWindow, WindowOptions, WindowState, steady_window};
use run_statistics::mean;

use crate::support::window_rates::{Shape, rates};
use crate::support::{SECOND_NS, level, random, request, server_run};

fn window(run: &Run) -> SteadyWindow {
    steady_window(run, WindowOptions::default())
}

fn seconds(span: Option<Span>) -> (i64, i64) {
    let span = span.expect("a usable window");
    (span.from_ns / SECOND_NS, span.to_ns / SECOND_NS)
}

/// Throughput and time per output token with 3 % of slow noise, each with a shape over the run.
fn noisy(seed: u64, n: usize, tokens: impl Fn(f64) -> f64, tpot: impl Fn(f64) -> f64) -> Run {
    let mut random = random(seed);
    let tokens = level(&mut random, n, 0.5, 0.03, tokens);
    let tpot = level(&mut random, n, 0.5, 0.03, tpot);
    let scaled = |values: &[f64], by: f64| values.iter().map(|value| value * by).collect::<Vec<_>>();
    server_run(&scaled(&tokens, 800.0), &scaled(&tpot, 0.01))
}

#[test]
fn a_level_run_is_steady_between_its_edges() {
    let found = window(&noisy(1, 400, |_| 1.0, |_| 1.0));
    assert_eq!(found.state, WindowState::Steady);
    let (from, to) = seconds(found.span);
    assert!(from <= 40 && (398..=400).contains(&to), "{from} to {to}");
    assert!(found.missing.is_empty() && found.drifting.is_empty());
    let throughput = &found.figures[0];
    assert!((throughput.window.unwrap() - 800.0).abs() < 8.0, "{throughput:?}");
    assert!((throughput.ratio.unwrap() - 1.0).abs() < 0.02, "{throughput:?}");
}

#[test]
fn the_time_after_the_last_answer_does_not_count() {
    let mut run = noisy(1, 400, |place| if place < 0.75 { 1.0 } else { 0.0 }, |_| 1.0);
    run.requests = (0..300)
        .map(|i| request(i * SECOND_NS, 0.1, 0.005, 100))
        .collect();
    run.requests.push(RequestTimes {
        done_ns: Some(400 * SECOND_NS),
        output_tokens: None,
        failed: true,
        ..request(299 * SECOND_NS, 0.1, 0.005, 100)
    });
    let throughput = &window(&run).figures[0];
    assert!(
        (throughput.whole_run.unwrap() - 800.0).abs() < 20.0,
        "{throughput:?}"
    );
}

#[test]
fn a_slow_start_is_cut_off() {
    // The first 10 % of the run rise from 40 % of the level.
    let ramp = |place: f64| if place < 0.1 { 0.4 + 6.0 * place } else { 1.0 };
    let (mut raw, mut cut) = (Vec::new(), Vec::new());
    for seed in 0..30 {
        let run = noisy(seed, 600, ramp, |_| 1.0);
        let tokens =
            |from, to| mean(&run.seconds.output_tokens.values(from..to).collect::<Vec<_>>()).unwrap() / 800.0;
        let (from, to) = seconds(window(&run).span);
        raw.push(tokens(0, 600) - 1.0);
        cut.push(tokens(from as usize, to as usize) - 1.0);
    }
    let (raw, cut) = (mean(&raw).unwrap(), mean(&cut).unwrap());
    assert!((-0.035..-0.025).contains(&raw), "the whole run is 3 % low: {raw}");
    assert!(cut.abs() < 0.005, "the window is within 0.5 %: {cut}");
}

#[test]
fn a_degraded_end_is_a_level_shift_and_not_cut_off() {
    for seed in 0..10 {
        let found = window(&noisy(
            seed,
            600,
            |place| if place < 0.6 { 1.0 } else { 0.88 },
            |_| 1.0,
        ));
        let WindowState::LevelShift {
            signal,
            at_ns,
            relative_change,
            first_is_used,
            second,
            ..
        } = found.state
        else {
            panic!("{:?}", found.state)
        };
        assert_eq!(signal, Signal::OutputTokens);
        assert!(
            (350..=370).contains(&(at_ns / SECOND_NS)),
            "{seed} {at_ns} {relative_change} {:?}",
            found.start
        );
        assert!((relative_change + 0.12).abs() < 0.03, "{relative_change}");
        assert!(first_is_used && second.from_ns == at_ns);
        assert!(seconds(found.span).1 <= 370);
    }
}

#[test]
fn a_change_in_the_first_fifth_counts_as_start_up() {
    let found = window(&noisy(
        3,
        600,
        |_| 1.0,
        |place| if place < 0.2 { 1.0 } else { 1.3 },
    ));
    assert_eq!(found.state, WindowState::Steady);
    assert!((115..=125).contains(&seconds(found.span).0), "{found:?}");
    assert!(
        found
            .start
            .unwrap()
            .because
            .contains("time per output token had not settled")
    );
}

#[test]
fn a_first_level_shorter_than_the_minimum_leaves_no_window() {
    let run = noisy(3, 600, |place| if place < 0.6 { 1.0 } else { 0.85 }, |_| 1.0);
    let found = steady_window(&run, WindowOptions { floor_secs: 400.0 });
    let WindowState::LevelShift {
        first_is_used,
        signal,
        ..
    } = found.state
    else {
        panic!("{found:?}")
    };
    assert_eq!(
        (signal, first_is_used, found.span),
        (Signal::OutputTokens, false, None)
    );
    assert!(
        found.sentences()[0].ends_with("there is no steady window."),
        "{:?}",
        found.sentences()
    );
}

#[test]
fn a_drift_takes_the_single_number_from_its_own_series_only() {
    let found = window(&noisy(4, 900, |_| 1.0, |place| 1.0 + 0.2 * place));
    assert_eq!(found.state, WindowState::Drifting, "{found:?}");
    assert_eq!(found.span_for(Signal::TimePerOutputToken), None);
    assert!(found.span_for(Signal::OutputTokens).is_some());
    assert!(
        found.sentences()[0].starts_with("The run drifts"),
        "{:?}",
        found.sentences()
    );
}

#[test]
fn short_runs_are_named_with_what_would_do() {
    let found = window(&noisy(5, 50, |_| 1.0, |_| 1.0));
    assert!(matches!(found.state, WindowState::TooShort { .. }), "{found:?}");
    assert_eq!(found.span, None);
    assert_eq!(found.minimum.as_ref().unwrap().required_secs, 60.0);

    // Each answer takes 30 s, so 150 s are needed.
    let mut slow = noisy(6, 120, |_| 1.0, |_| 1.0);
    for request in &mut slow.requests {
        request.done_ns = request.first_token_ns.map(|ns| ns + 30 * SECOND_NS);
    }
    let found = window(&slow);
    let required = found.minimum.as_ref().unwrap().required_secs;
    assert!((150.0..151.0).contains(&required), "{required}");
    assert!(
        found.sentences()[0].contains("5 times the 99th percentile of latency"),
        "{:?}",
        found.sentences()
    );

    let official = steady_window(&noisy(7, 400, |_| 1.0, |_| 1.0), WindowOptions::OFFICIAL);
    assert!(matches!(official.state, WindowState::TooShort { .. }));
}

#[test]
fn slow_noise_needs_a_longer_run() {
    let mut random = random(8);
    let tokens = level(&mut random, 300, 0.97, 0.05, |_| 1.0);
    let found = window(&server_run(&tokens, &[0.01; 300]));
    assert!(matches!(found.state, WindowState::TooShort { .. }), "{found:?}");
    assert!(found.minimum.unwrap().correlation_secs.unwrap() > 300.0);
}

#[test]
fn what_is_missing_is_named() {
    let mut run = noisy(9, 300, |_| 1.0, |_| 1.0);
    run.seconds.output_tokens = Column::absent("the client kept no token times");
    let found = window(&run);
    assert_eq!(found.state, WindowState::Steady);
    assert_eq!(
        found.missing,
        ["output tokens per second (the client kept no token times)"]
    );

    for request in &mut run.requests {
        request.output_tokens = None;
    }
    let found = window(&run);
    let WindowState::NotEvaluated { missing } = &found.state else {
        panic!("{found:?}")
    };
    assert_eq!(missing.len(), 2);
    assert!(found.span.is_none());

    run.requests.clear();
    assert!(matches!(window(&run).state, WindowState::NotEvaluated { .. }));
}

#[test]
fn the_drain_of_an_offline_run_begins_where_the_server_runs_out_of_requests() {
    let mut random = random(10);
    let shape = |place: f64| if place < 0.9 { 1.0 } else { 0.3 };
    let tokens = level(&mut random, 400, 0.5, 0.03, shape);
    let mut run = Run {
        facts: RunFacts::new("offline", Scenario::Offline),
        ..server_run(&tokens, &[])
    };
    run.requests = (0..400)
        .map(|i| RequestTimes {
            issued_ns: 0,
            sent_ns: Some(0),
            scheduled_ns: None,
            ..request(i * SECOND_NS, 0.1, 0.005, 100)
        })
        .collect();
    run.seconds.running = Column::full((0..400).map(|second| if second < 360 { 256.0 } else { 60.0 }));
    let found = window(&run);
    assert_eq!(found.state, WindowState::Steady, "{found:?}");
    assert_eq!(seconds(found.span).1, 360);
    assert_eq!(
        found.missing,
        ["time per output token over time (Offline issues all requests at once)"]
    );
    assert!(found.figures[0].ratio.unwrap() > 1.05, "{:?}", found.figures[0]);

    // Without the gauge the drain cannot be seen, and the sentence says so.
    run.seconds.running = Column::absent("no server page");
    let found = window(&run);
    assert!(found.end.unwrap().because.contains("no server page"));
}

#[test]
fn a_window_serialises_with_its_state() {
    let found = window(&noisy(1, 400, |_| 1.0, |_| 1.0));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["state"], "steady");
    assert_eq!(json["figures"][0]["unit"], "tokens/s");
}

/// A part of the table that `examples/window_rates.rs` prints; with 60 repetitions a share has an error of up to 6
/// points.
#[test]
fn error_rates_stay_where_they_were_measured() {
    const REPETITIONS: u64 = 60;
    // (φ, CV, seconds, most false alarms, fewest shifts found as shift, fewest drifts found as either)
    for (phi, variation, n, false_alarms, shifts, drifts) in [
        (0.3, 0.05, 300, 0.02, 0.90, 0.95),
        (0.3, 0.10, 600, 0.05, 0.90, 0.92),
        (0.8, 0.05, 600, 0.05, 0.90, 0.92),
        (0.8, 0.10, 1200, 0.07, 0.75, 0.75),
        (0.9, 0.10, 1200, 0.15, 0.55, 0.42),
    ] {
        let case = format!("φ {phi}, CV {variation}, {n} s");
        let flat = rates(Shape::Flat, phi, variation, n, REPETITIONS);
        assert!(flat.shift + flat.drift <= false_alarms, "{case}: {flat:?}");
        let step = rates(Shape::Step, phi, variation, n, REPETITIONS);
        assert!(step.shift >= shifts, "{case}: {step:?}");
        let drift = rates(Shape::Drift, phi, variation, n, REPETITIONS);
        assert!(drift.shift + drift.drift >= drifts, "{case}: {drift:?}");
        let small = rates(Shape::SmallDrift, phi, variation, n, REPETITIONS);
        assert!(small.shift + small.drift <= 0.25, "{case}: {small:?}");
    }
}

#[test]
fn too_few_correlation_times_are_refused() {
    // 300 s at φ 0.9 are 16 correlation times, at φ 0.97 five.
    let almost = rates(Shape::Flat, 0.9, 0.1, 300, 100);
    assert!(
        almost.too_short > 0.25 && almost.changed_and_long_enough < 0.2,
        "{almost:?}"
    );
    let far = rates(Shape::Flat, 0.97, 0.1, 300, 100);
    assert!(far.too_short > 0.75, "{far:?}");
}
