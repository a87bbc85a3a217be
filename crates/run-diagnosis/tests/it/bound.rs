//! The diagnosis on runs that are bound by one thing on purpose.

use run_diagnosis::bound::{Cause, Confidence, Diagnosis, RuleState, Verdict, diagnose};
use run_diagnosis::input::{Column, MathFormat, Run, Scenario};
use run_diagnosis::window::{WindowOptions, steady_window};

use crate::support::engine::{Engine, at_once, poisson, serve, serve_concurrently};

/// With what a recorder knows about a machine with one H100.
fn on_h100(mut run: Run) -> Run {
    run.facts.gpu_name = Some("NVIDIA H100 80GB HBM3".to_owned());
    run.facts.math = Some(MathFormat::Bf16);
    run.facts.weight_bytes = Some(2.0);
    run.facts.ttft_limit_secs = Some(2.0);
    run.facts.tpot_limit_secs = Some(0.1);
    run.facts.client_cores_granted = Some(2.0);
    run.facts.idle_scrape_secs = Some(0.005);
    let seconds = run.seconds.seconds;
    let full = |value: f64| Column::full(vec![value; seconds]);
    run.seconds.gpu_utilization_ratio = full(0.97);
    run.seconds.throttled_secs = full(0.0);
    run.seconds.sm_clock_ratio = full(1.0);
    run.seconds.client_cpu_cores = full(0.3);
    run.seconds.scrape_secs = full(0.006);
    run
}

/// Looks at the steady window, or at the middle of the run where there is none.
fn diagnosis(run: &Run) -> Diagnosis {
    let window = steady_window(run, WindowOptions::default());
    let whole = run.whole().expect("a run has requests");
    let fifth = (whole.to_ns - whole.from_ns) / 5;
    diagnose(
        run,
        window.span.unwrap_or(run_diagnosis::input::Span {
            from_ns: whole.from_ns + fifth,
            to_ns: whole.to_ns - fifth,
        }),
    )
}

#[track_caller]
fn bound_by(diagnosis: &Diagnosis, rule: &str) {
    let shares: Vec<_> = diagnosis
        .rules
        .iter()
        .map(|rule| {
            (
                rule.id.as_str(),
                rule.labelled_ratio,
                rule.found_ratio,
                &rule.state,
            )
        })
        .collect();
    assert_eq!(
        diagnosis.verdict,
        Verdict::BoundBy {
            rule: rule.to_owned()
        },
        "{shares:#?} {:?} {:?}",
        diagnosis.step_fit,
        diagnosis.step_fit_missing
    );
    let outcome = diagnosis.rule(rule).expect("a rule of the table");
    assert_eq!(outcome.state, RuleState::Found);
}

#[track_caller]
fn largest(cause: &Cause) -> &'static str {
    match cause {
        Cause::Known { largest, .. } => largest,
        Cause::NotEvaluated { because } => panic!("{because}"),
    }
}

#[test]
fn two_queries_a_second_are_below_capacity() {
    let run = on_h100(serve(
        &Engine::h100_8b(),
        &poisson(1, 240, 2.0, 200.0, 128.0),
        Scenario::Server,
        2,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "below_capacity");
    let rule = found.rule("below_capacity").unwrap();
    assert_eq!(rule.confidence, Some(Confidence::Strong));
    assert!(rule.by_how_much.as_ref().unwrap().contains("1024"), "{rule:?}");
    assert_eq!(
        largest(&found.time_per_output_token),
        "weights and fixed costs of a step"
    );
    assert!(found.sentences()[0].starts_with("Bound by nothing: the load is below capacity"));
}

#[test]
fn a_client_with_four_places_holds_requests_back() {
    let engine = Engine {
        client_limit: Some(4),
        ..Engine::h100_8b()
    };
    let run = on_h100(serve(
        &engine,
        &poisson(3, 600, 6.0, 200.0, 128.0),
        Scenario::Server,
        4,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "client");
    assert!(found.is_bound_by_client());
    assert_eq!(largest(&found.time_to_first_token), "queue of the client");
    assert_eq!(found.rule("measurement").unwrap().state, RuleState::Found);
}

#[test]
fn a_late_client_is_found_from_its_own_times() {
    let mut run = on_h100(serve(
        &Engine::h100_8b(),
        &poisson(5, 480, 4.0, 200.0, 128.0),
        Scenario::Server,
        6,
    ));
    for request in &mut run.requests {
        request.scheduled_ns = request.scheduled_ns.map(|ns| ns - 30_000_000);
    }
    let found = diagnosis(&run);
    bound_by(&found, "client");
    let rule = found.rule("client").unwrap();
    assert!(
        rule.evidence[0].text.contains("30 ms (condition: above 20 ms)"),
        "{:?}",
        rule.evidence
    );
    // Requests are late, but none is missing at the server.
    assert_eq!(found.rule("measurement").unwrap().state, RuleState::Clear);
}

#[test]
fn eight_sequences_are_an_admission_limit() {
    let engine = Engine {
        max_num_seqs: 8,
        ..Engine::h100_8b()
    };
    let mut run = on_h100(serve(
        &engine,
        &poisson(7, 1200, 12.0, 200.0, 128.0),
        Scenario::Server,
        8,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "sequence_limit");
    assert_eq!(largest(&found.time_to_first_token), "queue of the server");
    let rule = found.rule("sequence_limit").unwrap();
    assert!(
        rule.by_how_much
            .as_ref()
            .unwrap()
            .starts_with("From 8 to about 2"),
        "{rule:?}"
    );

    // Without the server's arguments the plateau shows the limit.
    run.facts.max_num_seqs = None;
    bound_by(&diagnosis(&run), "sequence_limit");
}

#[test]
fn a_small_cache_with_long_answers_preempts() {
    let engine = Engine {
        kv_capacity_tokens: 6400,
        ..Engine::h100_8b()
    };
    let run = on_h100(serve(
        &engine,
        &poisson(9, 600, 5.0, 200.0, 600.0),
        Scenario::Server,
        10,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "kv_capacity");
    let rule = found.rule("kv_capacity").unwrap();
    assert!(
        rule.by_how_much
            .as_ref()
            .unwrap()
            .contains("preemptions per second"),
        "{rule:?}"
    );
}

#[test]
fn long_prompts_with_short_answers_are_prefill() {
    let run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(11, 900, 4000.0, 3.0),
        16,
        12,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "prefill_compute");
    let rule = found.rule("prefill_compute").unwrap();
    assert!(
        rule.evidence
            .iter()
            .any(|evidence| evidence.text.contains("prompt tokens")),
        "{rule:?}"
    );
}

#[test]
fn few_sequences_read_weights() {
    let run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(13, 240, 16.0, 500.0),
        8,
        14,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "decode_bandwidth_weights");
    assert_eq!(
        largest(&found.time_per_output_token),
        "weights and fixed costs of a step"
    );
}

#[test]
fn long_contexts_read_keys_and_values() {
    let run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(15, 600, 2500.0, 2500.0),
        60,
        16,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "decode_bandwidth_kv");
    assert_eq!(largest(&found.time_per_output_token), "keys and values");
}

#[test]
fn a_batch_of_512_computes() {
    let run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(17, 6000, 16.0, 200.0),
        512,
        18,
    ));
    let found = diagnosis(&run);
    bound_by(&found, "decode_compute");
    assert!(found.rule("decode_compute").unwrap().confidence >= Some(Confidence::Fair));
    assert_eq!(
        largest(&found.time_per_output_token),
        "decoded tokens of the batch"
    );
}

#[test]
fn a_busy_front_end_is_one_process() {
    let engine = Engine {
        front_end_secs: 0.1,
        ..Engine::h100_8b()
    };
    let mut run = on_h100(serve(
        &engine,
        &poisson(19, 1200, 10.0, 50.0, 20.0),
        Scenario::Server,
        20,
    ));
    run.seconds.gpu_utilization_ratio = Column::full(vec![0.4; run.seconds.seconds]);
    run.seconds.scrape_secs = Column::full(vec![0.08; run.seconds.seconds]);
    let found = diagnosis(&run);
    bound_by(&found, "front_end");
    assert_eq!(largest(&found.time_to_first_token), "outside the engine");
    assert_eq!(
        found.rule("front_end").unwrap().confidence,
        Some(Confidence::Strong)
    );
}

#[test]
fn a_slow_path_with_an_idle_front_end_is_the_network() {
    let mut run = on_h100(serve(
        &Engine::h100_8b(),
        &poisson(21, 600, 6.0, 200.0, 64.0),
        Scenario::Server,
        22,
    ));
    run.facts.ttft_limit_secs = Some(0.1);
    for request in &mut run.requests {
        request.first_token_ns = request.first_token_ns.map(|ns| ns + 150_000_000);
        request.done_ns = request.done_ns.map(|ns| ns + 300_000_000);
    }
    let found = diagnosis(&run);
    bound_by(&found, "network");
    assert_eq!(largest(&found.time_to_first_token), "outside the engine");

    run.facts.loopback = Some(true);
    let found = diagnosis(&run);
    assert_eq!(found.rule("network").unwrap().state, RuleState::Clear);
}

#[test]
fn a_lost_clock_matters_where_arithmetic_does() {
    let slow = Engine {
        speed_ratio: 0.8,
        ..Engine::h100_8b()
    };
    let throttled = |mut run: Run| {
        run.seconds.throttled_secs = Column::full(vec![0.6; run.seconds.seconds]);
        run.seconds.sm_clock_ratio = Column::full(vec![0.8; run.seconds.seconds]);
        run
    };
    let run = throttled(on_h100(serve_concurrently(
        &slow,
        &at_once(23, 6000, 16.0, 200.0),
        512,
        24,
    )));
    let found = diagnosis(&run);
    bound_by(&found, "power");
    assert!(
        found
            .rule("power")
            .unwrap()
            .by_how_much
            .as_ref()
            .unwrap()
            .contains("20 %")
    );

    // Eight sequences wait for memory, and the memory clock did not change.
    let run = throttled(on_h100(serve_concurrently(
        &slow,
        &at_once(25, 240, 16.0, 500.0),
        8,
        26,
    )));
    let found = diagnosis(&run);
    bound_by(&found, "decode_bandwidth_weights");
    assert_eq!(found.rule("power").unwrap().state, RuleState::Clear);
}

#[test]
fn a_waiting_gpu_is_the_engines_host_code() {
    let mut run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(27, 240, 16.0, 500.0),
        8,
        28,
    ));
    run.seconds.gpu_utilization_ratio = Column::full(vec![0.55; run.seconds.seconds]);
    bound_by(&diagnosis(&run), "engine_host");
}

#[test]
fn deferred_requests_are_named() {
    let mut run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(29, 240, 16.0, 500.0),
        8,
        30,
    ));
    run.seconds.waiting_deferred = Column::full(vec![2.0; run.seconds.seconds]);
    let found = diagnosis(&run);
    bound_by(&found, "deferred");
    // Two more requests at the server than the client has.
    assert_eq!(found.rule("measurement").unwrap().state, RuleState::Found);
}

#[test]
fn without_a_known_gpu_the_step_time_shows_the_ridge() {
    let mut run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(17, 6000, 16.0, 200.0),
        512,
        18,
    ));
    run.facts.gpu_name = None;
    bound_by(&diagnosis(&run), "decode_compute");
    let mut run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(13, 240, 16.0, 500.0),
        8,
        14,
    ));
    run.facts.gpu_name = Some("Unheard GPU".into());
    bound_by(&diagnosis(&run), "decode_bandwidth_weights");
}

/// The times of its steps follow the tokens beyond a ridge of 100; steps are counted, so that a second has some more or
/// fewer. `tokens` are those of a step in each second.
fn counted_steps(run: &mut Run, tokens: impl Fn(usize) -> f64) {
    let steps: Vec<f64> = (0..run.seconds.seconds)
        .map(|second| (1.0 / (3e-3 + 30e-6 * tokens(second)) + [-0.5, 0.0, 0.5][second % 3]).round())
        .collect();
    let computed = steps
        .iter()
        .enumerate()
        .map(|(second, steps)| steps * tokens(second));
    run.seconds.step_tokens = Column::full(computed);
    run.seconds.engine_steps = Column::full(steps);
}

#[test]
fn steps_that_are_alike_do_not_show_the_ridge() {
    let mut run = on_h100(serve_concurrently(
        &Engine::h100_8b(),
        &at_once(17, 12_000, 16.0, 200.0),
        512,
        18,
    ));
    run.facts.gpu_name = None;
    let alike = |second: usize| 537.0 + (second * 7 % 5) as f64 * 0.5;
    counted_steps(&mut run, alike);
    let found = diagnosis(&run);
    assert_eq!(found.verdict, Verdict::Unknown, "{:?}", found.step_fit);
    for rule in ["decode_compute", "decode_bandwidth_weights"] {
        let RuleState::NotEvaluated { missing } = &found.rule(rule).unwrap().state else {
            panic!("{rule}: {:?}", found.rule(rule));
        };
        assert!(
            missing
                .iter()
                .any(|text| text.contains("537 to 539 tokens are too alike")),
            "{missing:?}"
        );
    }

    // The batch drains: smaller steps show what each token adds.
    let seconds = run.seconds.seconds;
    counted_steps(&mut run, |second| match seconds - second {
        left @ 1..10 => 50.0 * left as f64,
        _ => alike(second),
    });
    let found = diagnosis(&run);
    bound_by(&found, "decode_compute");
    let ridge = found.step_fit.as_ref().unwrap().ridge_tokens();
    assert!((60.0..150.0).contains(&ridge), "{ridge}");
}

#[test]
fn what_is_missing_is_named_rule_by_rule() {
    let mut run = serve(
        &Engine::h100_8b(),
        &poisson(1, 240, 2.0, 200.0, 128.0),
        Scenario::Server,
        2,
    );
    run.facts.max_num_seqs = None;
    run.seconds.engine_steps = Column::absent("the server exports no iteration_tokens_total");
    run.seconds.kv_cache_usage_ratio = Column::absent("no KV gauge");
    for request in &mut run.requests {
        request.server_queue_ns = None;
    }
    let found = diagnosis(&run);
    assert_eq!(found.verdict, Verdict::Unknown);
    assert!(found.unlabelled_ratio > 0.9);
    for (rule, what) in [
        ("below_capacity", "max_num_seqs is not known"),
        ("power", "not recorded"),
        ("decode_bandwidth_weights", "iteration_tokens_total"),
    ] {
        let RuleState::NotEvaluated { missing } = &found.rule(rule).unwrap().state else {
            panic!("{rule}: {:?}", found.rule(rule));
        };
        assert!(
            missing.iter().any(|text| text.contains(what)),
            "{rule}: {missing:?}"
        );
    }
    assert!(matches!(found.time_to_first_token, Cause::NotEvaluated { .. }));
    assert!(
        found.sentences()[0].contains("not known"),
        "{:?}",
        found.sentences()
    );
}

#[test]
fn an_offline_run_is_never_below_capacity() {
    let run = on_h100(serve(
        &Engine::h100_8b(),
        &at_once(31, 4000, 16.0, 200.0),
        Scenario::Offline,
        32,
    ));
    let found = diagnosis(&run);
    let RuleState::NotEvaluated { missing } = &found.rule("below_capacity").unwrap().state else {
        panic!()
    };
    assert_eq!(missing, &["it does not apply to Offline"]);
    // 1,024 sequences are far beyond the ridge, so that the queue is no reason to raise the limit.
    bound_by(&found, "decode_compute");
    assert_eq!(found.rule("sequence_limit").unwrap().state, RuleState::Clear);
}

#[test]
fn shares_add_up_and_serialise() {
    let run = on_h100(serve(
        &Engine::h100_8b(),
        &poisson(1, 240, 2.0, 200.0, 128.0),
        Scenario::Server,
        2,
    ));
    let found = diagnosis(&run);
    let labelled: f64 = found.rules.iter().map(|rule| rule.labelled_ratio).sum();
    assert!((labelled + found.unlabelled_ratio - 1.0).abs() < 1e-9);
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["verdict"]["kind"], "bound_by");
    assert_eq!(json["rules"][0]["state"], "found");
    assert_eq!(json["rules"][0]["evidence"][0]["quantity"], "waiting");
}
