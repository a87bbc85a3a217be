//! Pages, comparisons and exports of made-up records.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use report_page::model::{Completeness, Quantity};
use run_report::export::{Format, console};
use run_report::{
    Analysis, AnalysisOptions, CompareOptions, Conclusion, HarnessVerdict, OwnFigure, Validity,
};
use serde_json::Value;
use support::record;
use vllm_metrics::{Outcome, RunData, StoreFormat, read_run, store};
use vllm_report::RenderOptions;

fn named<'a>(record: &'a RunData, name: &str) -> Analysis<'a> {
    Analysis::of(
        record,
        AnalysisOptions {
            name: name.into(),
            ..AnalysisOptions::default()
        },
    )
}

fn html(analysis: &Analysis<'_>) -> String {
    report_page::render(&run_report::page(&[analysis], None))
        .unwrap()
        .html
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let (one, other) = (record(200, 4.0), record(200, 4.0));
    assert_eq!(html(&named(&one, "A")), html(&named(&other, "A")));
}

#[test]
fn seconds_hold_every_token_and_every_request() {
    let record = record(200, 4.0);
    let analysis = named(&record, "A");
    let seconds = &analysis.run.seconds;
    let sum = |column: &run_diagnosis::input::Column| column.values(0..seconds.seconds).sum::<f64>();
    let tokens: u32 = record.requests.iter().filter_map(|row| row.output_tokens).sum();
    assert!((sum(&seconds.output_tokens) - f64::from(tokens)).abs() < 1e-3);
    // Little's law holds exactly: requests in flight over all seconds are the times that they took.
    let took: i64 = record
        .requests
        .iter()
        .map(|row| row.done_ns.unwrap() - row.issued_ns)
        .sum();
    assert!((sum(&seconds.in_flight) - took as f64 / 1e9).abs() < 1e-3);
    assert_eq!(analysis.run.facts.kv_capacity_tokens, Some(16_000.0));
    assert_eq!(
        analysis.run.facts.server_arguments["enable-prefix-caching"],
        "False"
    );
    assert_eq!(analysis.run.facts.loopback, Some(true));
}

#[test]
fn figures_are_those_of_the_summary_and_say_where_they_come_from() {
    let record = record(200, 4.0);
    let judged = HarnessVerdict {
        validity: Validity::NotValid,
        result: "INVALID".into(),
        reasons: vec!["3 queries failed".into()],
        interrupted: None,
        figures: vec![OwnFigure {
            name: "LoadGen: tokens per second".into(),
            value: 198.5,
            unit: "tokens/s".into(),
            definition: "Output tokens over LoadGen's own window.".into(),
        }],
    };
    let folder = tempfile::tempdir().unwrap();
    judged.write(folder.path(), "x").unwrap();
    assert_eq!(
        HarnessVerdict::read(folder.path(), "x").unwrap().as_ref(),
        Some(&judged)
    );
    assert_eq!(HarnessVerdict::read(folder.path(), "y").unwrap(), None);
    std::fs::write(HarnessVerdict::path(folder.path(), "z"), "{}").unwrap();
    let error = HarnessVerdict::read(folder.path(), "z").unwrap_err().to_string();
    assert!(error.contains("verdict_z.json"), "{error}");

    let analysis = Analysis::of(
        &record,
        AnalysisOptions {
            judged: Some(judged),
            ..AnalysisOptions::default()
        },
    );
    let page = run_report::page(&[&analysis], None);
    let reasons = &page.runs[0].verdict.reasons;
    assert_eq!(reasons[0].text, "3 queries failed");
    let headline = &page.runs[0].headline;
    assert!(headline[0].source.starts_with("LoadGen"));
    let figure = |name: &str| headline.iter().find(|figure| figure.name == name).unwrap();
    let completed = figure("Requests completed").quantity.value();
    assert_eq!(completed, analysis.summary["requests"]["completed"].as_f64());
    let p99 = figure("P99 time to first token, whole run")
        .quantity
        .value()
        .unwrap();
    let of_summary = analysis.summary["requests"]["ttft_sent_seconds"]["percentiles"]["p99"]
        .as_f64()
        .unwrap();
    assert!((p99 - of_summary).abs() < 1e-12, "{p99} {of_summary}");
    assert!(headline.iter().all(|figure| !figure.definition.is_empty()));
    let energy = &figure("Energy per output token").quantity;
    assert!(matches!(energy, Quantity::Absent { reason } if !reason.is_empty()));
    assert!(html(&analysis).contains("INVALID") && !html(&analysis).contains("NOT VALID"));
}

#[test]
fn a_budget_without_the_servers_times_adds_up_to_the_time_of_the_client() {
    let mut record = record(200, 4.0);
    let mut with = |known: bool| {
        for row in &mut record.requests {
            if !known {
                (row.server_queue_ns, row.server_prefill_ns, row.server_decode_ns) = (None, None, None);
                row.server_time_source = None;
            }
        }
        run_report::page(&[&named(&record, "A")], None).runs[0]
            .budgets
            .clone()
    };
    let sum = |budget: &report_page::model::Budget| -> f64 {
        budget.parts.iter().filter_map(|part| part.seconds.value()).sum()
    };
    let rest = |budget: &report_page::model::Budget| {
        let found = budget
            .parts
            .iter()
            .find(|part| part.name == "not divided further");
        found.and_then(|part| part.seconds.value())
    };
    let (divided, whole) = (with(true), with(false));
    for name in ["Median request", "Request at p99"] {
        let of = |budgets: &[report_page::model::Budget]| {
            budgets.iter().find(|budget| budget.name == name).unwrap().clone()
        };
        let (divided, whole) = (of(&divided), of(&whole));
        assert!(
            (sum(&divided) - sum(&whole)).abs() < 1e-6,
            "{divided:?} {whole:?}"
        );
        assert_eq!(rest(&divided), None);
        assert!(rest(&whole).unwrap() > 0.9 * sum(&whole));
        for part in ["outside the engine", "server queue", "prefill", "decode"] {
            let part = whole.parts.iter().find(|known| known.name == part).unwrap();
            assert!(matches!(part.seconds, Quantity::Absent { .. }));
        }
    }
}

/// The sum of the parts of the median request and of the one at p99.
fn budget_sums(record: &RunData) -> [f64; 2] {
    let page = run_report::page(&[&named(record, "A")], None);
    ["Median request", "Request at p99"].map(|name| {
        let budget = page.runs[0].budgets.iter().find(|budget| budget.name == name);
        budget
            .unwrap()
            .parts
            .iter()
            .filter_map(|part| part.seconds.value())
            .sum()
    })
}

/// Quantile of the time that a request took from a start to its last token, with the budget's window: all requests.
fn quantile_of(record: &RunData, q: f64, start: impl Fn(&vllm_metrics::RequestRow) -> i64) -> f64 {
    let mut times: Vec<f64> = record
        .requests
        .iter()
        .map(|row| (row.done_ns.unwrap() - start(row)) as f64 / 1e9)
        .collect();
    times.sort_by(f64::total_cmp);
    times[(q * (times.len() - 1) as f64).round() as usize]
}

#[test]
fn budgets_rank_requests_by_what_the_parts_add_up_to() {
    // Offline: all issued at once, sent one after the other; who waits longest in the client is answered last.
    let mut offline = record(200, 4.0);
    let issued = offline.requests[0].issued_ns;
    for row in &mut offline.requests {
        (row.scheduled_ns, row.issued_ns) = (None, issued);
    }
    // Server: some requests are issued late, others wait in the client.
    let mut server = record(200, 4.0);
    for (i, row) in server.requests.iter_mut().enumerate() {
        row.scheduled_ns = Some(row.issued_ns - (support::noise(i as u64 + 9) * 3e9) as i64);
    }
    for (record, tolerance) in [(&offline, 0.05), (&server, 0.05)] {
        let start = |row: &vllm_metrics::RequestRow| row.scheduled_ns.unwrap_or(row.issued_ns);
        let sums = budget_sums(record);
        for (sum, q) in sums.into_iter().zip([0.5, 0.99]) {
            let expected = quantile_of(record, q, start);
            assert!((sum / expected - 1.0).abs() < tolerance, "p{q}: {sum} {expected}");
        }
    }
}

#[test]
fn a_limit_stands_at_the_figure_that_loadgen_judges() {
    let mut record = record(200, 4.0);
    record.manifest.facts.insert("ttft_limit_secs".into(), "2".into());
    let limited = |judged: Option<HarnessVerdict>| -> Vec<String> {
        let analysis = Analysis::of(
            &record,
            AnalysisOptions {
                name: "A".into(),
                judged,
                ..AnalysisOptions::default()
            },
        );
        let page = run_report::page(&[&analysis], None);
        let figures = page.runs[0].headline.iter();
        figures
            .filter(|figure| figure.limit.is_some())
            .map(|figure| figure.name.clone())
            .collect()
    };
    assert!(limited(None).contains(&"P99 time to first token, whole run".to_owned()));
    let judged = HarnessVerdict {
        validity: Validity::Valid,
        result: "VALID".into(),
        reasons: Vec::new(),
        interrupted: None,
        figures: vec![OwnFigure {
            name: "LoadGen: p99 time to first token".into(),
            value: 0.3182,
            unit: "seconds".into(),
            definition: "From the time at which the query was scheduled.".into(),
        }],
    };
    assert_eq!(limited(Some(judged)), ["LoadGen: p99 time to first token"]);
}

#[test]
fn a_killed_run_and_text_from_outside_are_shown_as_such() {
    let mut record = record(60, 4.0);
    record.manifest.ended_ns = None;
    record
        .notes
        .push("the run was cut: 2 s of samples were recovered".into());
    record.requests.last_mut().unwrap().outcome = Outcome::Unfinished;
    let analysis = named(&record, "A");
    let page = run_report::page(&[&analysis], None);
    assert!(
        matches!(&page.runs[0].completeness, Completeness::Interrupted { reason } if reason.contains("cut"))
    );
    assert!(
        page.runs[0]
            .absent
            .iter()
            .any(|absent| absent.reason.contains("recovered"))
    );
    let html = html(&analysis);
    assert!(!html.contains("<script>alert(1)"));
    assert!(html.contains("refused"));
}

#[test]
fn records_with_little_in_them_are_shown() {
    let empty = RunData::default();
    assert!(html(&named(&empty, "A")).contains("the record has no requests"));
    let mut one = record(60, 4.0);
    one.requests.truncate(1);
    assert!(html(&named(&one, "A")).contains("too short"));
    one.series.clear();
    assert!(html(&named(&one, "A")).contains("the record has no vllm:num_requests_running"));
}

#[test]
fn equal_runs_do_not_differ_and_another_model_is_not_comparable() {
    let (one, same) = (record(300, 4.0), record(300, 4.0));
    let (a, b) = (named(&one, "A"), named(&same, "B"));
    let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
    assert_eq!(
        compared.conclusion(),
        Conclusion::NoDifference,
        "{:?}",
        compared.sentences()
    );
    let decisive = compared
        .page
        .differences
        .iter()
        .filter(|difference| difference.gate);
    assert!(decisive.count() >= 3);

    let mut other = record(300, 4.0);
    other.manifest.facts.insert("model".into(), "another".into());
    let c = named(&other, "C");
    let compared = run_report::compare(&[&a, &b, &c], &CompareOptions::default()).unwrap();
    assert_eq!(compared.conclusion(), Conclusion::NotComparable);
    let model = &compared.page.configuration[0];
    assert_eq!((model.name.as_str(), model.blocking), ("model", true));
    let values: Vec<Option<&str>> = model.values.iter().map(Option::as_deref).collect();
    assert_eq!(values, [Some("m"), Some("m"), Some("another")]);
    let page = run_report::page(&[&a, &b, &c], Some(compared.page));
    assert!(
        report_page::render(&page)
            .unwrap()
            .html
            .contains("not comparable")
    );
    assert!(run_report::compare(&[&a], &CompareOptions::default()).is_err());
}

#[test]
fn a_record_without_the_hash_of_its_dataset_is_compared_and_the_gap_is_named() {
    let (mut one, old) = (record(300, 4.0), record(300, 4.0));
    one.manifest
        .facts
        .insert("dataset_hash".into(), "0123abcd".into());
    let (a, b) = (named(&one, "A"), named(&old, "B"));
    let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
    assert_eq!(compared.conclusion(), Conclusion::NoDifference);
    let said = compared.sentences().join("\n");
    assert!(
        said.contains("so not checked: dataset_hash (0123abcd, not known)"),
        "{said}"
    );
}

#[test]
fn percentiles_of_cards_and_tables_follow_one_rule_and_reasons_are_nested_under_their_heading() {
    let record = record(200, 4.0);
    let judged = HarnessVerdict {
        validity: Validity::Valid,
        result: "VALID".into(),
        reasons: vec!["valid, but:".into(), "- a reason".into()],
        interrupted: None,
        figures: Vec::new(),
    };
    let analysis = Analysis::of(
        &record,
        AnalysisOptions {
            judged: Some(judged),
            ..AnalysisOptions::default()
        },
    );
    let page = run_report::page(&[&analysis], None);
    let [reason] = &page.runs[0].verdict.reasons[..] else {
        panic!("{:?}", page.runs[0].verdict)
    };
    assert_eq!(reason.text, "valid, but:");
    assert_eq!(reason.details, ["a reason"]);
    let mut ttft: Vec<f64> = record
        .requests
        .iter()
        .map(|row| (row.first_token_ns.unwrap() - row.sent_ns.unwrap()) as f64 / 1e9)
        .collect();
    ttft.sort_by(f64::total_cmp);
    // LoadGen's rule: the value at index n × q, rounded down.
    let p99 = ttft[(ttft.len() as f64 * 0.99) as usize];
    let card = page.runs[0]
        .headline
        .iter()
        .find(|figure| figure.name == "P99 time to first token, whole run")
        .unwrap();
    assert!((card.quantity.value().unwrap() - p99).abs() < 1e-9);
}

/// The cell of a row of the table of counts.
fn count(html: &str, window: &str, column: usize) -> f64 {
    let row = html.split(&format!(r#"data-window="{window}""#)).nth(1).unwrap();
    let cell = row.split("<td").nth(column + 1).unwrap();
    let number = cell.split(r#"<span class="number">"#).nth(1).unwrap();
    number
        .split('<')
        .next()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap()
}

#[test]
fn throughput_has_one_value_in_cards_sentences_and_tables() {
    let mut record = record(900, 8.0);
    // The record begins before and ends after the run, which is no whole number of seconds.
    for series in &mut record.series {
        series
            .timestamps_ns
            .iter_mut()
            .for_each(|t| *t -= 5 * support::SECOND);
    }
    record.manifest.ended_ns = Some(support::START + 200 * support::SECOND);
    let analysis = named(&record, "A");
    let html = html(&analysis);
    let page = run_report::page(&[&analysis], None);
    let card = |name: &str| {
        let figure = page.runs[0].headline.iter().find(|figure| figure.name == name);
        figure
            .unwrap_or_else(|| panic!("{name}"))
            .quantity
            .value()
            .unwrap()
    };
    let rows = &record.requests;
    let tokens: u32 = rows.iter().filter_map(|row| row.output_tokens).sum();
    let first = rows.iter().map(|row| row.issued_ns).min().unwrap();
    let last = rows.iter().filter_map(|row| row.done_ns).max().unwrap();
    let expected = f64::from(tokens) / ((last - first) as f64 / 1e9);
    let whole = card("Output token throughput, whole run");
    assert!((whole / expected - 1.0).abs() < 1e-9, "{whole} {expected}");
    // The page rounds to four digits.
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 2e-3;
    assert!(
        close(count(&html, "whole", 6), whole),
        "{} {whole}",
        count(&html, "whole", 6)
    );
    let steady = card("Output token throughput, steady window");
    assert!(
        close(count(&html, "steady", 6), steady),
        "{} {steady}",
        count(&html, "steady", 6)
    );
    let span = analysis.window.span.unwrap();
    assert_eq!(
        (span.to_ns - analysis.window.whole.unwrap().from_ns) % support::SECOND,
        0
    );
    let sentence = format!("{whole:.0} output tokens/s over the whole run, {steady:.0} in the steady window");
    assert!(
        analysis.lines().join(" ").contains(&sentence),
        "{:?}",
        analysis.lines()
    );
}

#[test]
fn engine_steps_of_a_record_are_on_the_page() {
    let mut record = record(60, 4.0);
    record.steps = (0..50)
        .map(|i| vllm_metrics::StepRow {
            step: i,
            engine: 0,
            timestamp_ns: support::START + i as i64 * support::SECOND,
            duration_ns: Some(20_000_000),
            elapsed_ns: None,
            running: 4,
            waiting: 0,
            prefill_tokens: None,
            decode_tokens: Some(4),
            prompt_tokens: 200,
            generation_tokens: 3,
            preemptions: 0,
            kv_usage_ratio: Some(0.1),
        })
        .collect();
    let analysis = named(&record, "A");
    let page = run_report::page(&[&analysis], None);
    let steps = &page.runs[0].steps;
    assert_eq!(steps.len(), 50);
    assert_eq!((steps[0].prompt_tokens, steps[0].output_tokens), (200, 4));
    assert_eq!(steps[0].duration_ns, Some(20_000_000));
    assert!(html(&analysis).contains("Tokens per engine step"));
}

#[test]
fn a_slower_token_regresses_and_repeats_are_the_unit() {
    let one = record(300, 4.0);
    let mut slow = record(300, 4.0);
    for row in &mut slow.requests {
        let first = row.first_token_ns.unwrap();
        row.done_ns = row.done_ns.map(|done| first + (done - first) * 103 / 100);
    }
    let (a, b) = (named(&one, "A"), named(&slow, "B"));
    let compared = run_report::compare(&[&a, &b], &CompareOptions::default()).unwrap();
    let tpot = &compared.comparisons[0].decisive[0];
    assert_eq!(
        (tpot.name.as_str(), tpot.conclusion),
        ("time per output token", Conclusion::Regressed)
    );

    let repeats = run_report::compare_repeats(&[&a, &a, &a], &[&b, &b, &b], true, &CompareOptions::default());
    let repeats = repeats.unwrap();
    assert_eq!((repeats.comparisons.len(), repeats.comparisons[0].runs), (1, 3));
    assert!(
        repeats
            .page
            .differences
            .iter()
            .all(|difference| difference.run == 3)
    );
    assert!(run_report::compare_repeats(&[], &[&b], false, &CompareOptions::default()).is_err());
}

#[test]
fn exports_have_the_keys_and_units_of_their_tools() {
    let mut record = record(100, 4.0);
    record.requests[3].outcome = Outcome::Failed;
    record.requests[3].reason = Some("503".into());
    let analysis = named(&record, "A");
    let bench = Format::VllmBench.of(&analysis);
    assert_eq!(bench["completed"], 399);
    assert_eq!(bench["failed"], 1);
    assert_eq!(bench["errors"][3], "503");
    let list = |key: &str| bench[key].as_array().unwrap().len();
    assert_eq!((list("ttfts"), list("itls"), list("input_lens")), (400, 400, 400));
    let ttft = bench["mean_ttft_ms"].as_f64().unwrap();
    let of_summary = &analysis.summary["requests"]["ttft_sent_seconds"]["mean"];
    assert!((ttft - of_summary.as_f64().unwrap() * 1e3).abs() < 1e-9);

    let aiperf = Format::Aiperf.of(&analysis);
    assert_eq!(aiperf["time_to_first_token"]["unit"], "ms");
    assert_eq!(aiperf["request_count"]["avg"], 399.0);
    let endpoints = Format::Endpoints.of(&analysis);
    assert_eq!(endpoints["n_samples_failed"], 1);
    let counts = endpoints["ttft"]["histogram"]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 399);

    let mlflow = Format::Mlflow.of(&analysis);
    for batch in mlflow["log_batch"].as_array().unwrap() {
        assert!(batch["metrics"].as_array().unwrap().len() <= run_report::export::MOST_METRICS);
        for metric in batch["metrics"].as_array().unwrap() {
            let key = metric["key"].as_str().unwrap();
            assert!(!key.contains(['{', '=', '"']), "{key}");
        }
    }
    let block = console(&analysis);
    assert!(
        block.contains("Successful requests:                     399       \n"),
        "{block}"
    );
    assert!(block.contains("Mean TTFT (ms):"));
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        let folder = tempfile::tempdir().unwrap();
        assert!(format.write(&analysis, folder.path()).unwrap().exists());
    }
}

#[test]
fn a_trace_holds_requests_and_counters() {
    let record = record(60, 4.0);
    let analysis = named(&record, "A");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    run_report::write_trace(&run_report::page(&[&analysis], None), &path).unwrap();
    let trace: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.len() > 240);
    assert!(events.iter().any(|event| event["ph"] == "C"));
}

#[test]
fn a_trace_of_a_page_that_contradicts_itself_keeps_the_file_that_was_there() {
    let record = record(60, 4.0);
    let analysis = named(&record, "A");
    let mut page = run_report::page(&[&analysis], None);
    let twice = page.runs[0].series[0].clone();
    page.runs[0].series.push(twice);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    std::fs::write(&path, "an earlier trace").unwrap();
    let error = run_report::write_trace(&page, &path).unwrap_err();
    assert!(error.to_string().contains("occurs twice"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "an earlier trace");
}

/// The record as if it had started at this time.
fn started_at(record: &RunData, start_ns: i64) -> RunData {
    let mut run = record.clone();
    let by_ns = start_ns - run.manifest.started_ns;
    let move_by = |time: &mut i64| *time += by_ns;
    move_by(&mut run.manifest.started_ns);
    run.manifest.ended_ns.iter_mut().for_each(move_by);
    run.series
        .iter_mut()
        .flat_map(|series| &mut series.timestamps_ns)
        .for_each(move_by);
    for row in &mut run.requests {
        move_by(&mut row.issued_ns);
        [
            &mut row.scheduled_ns,
            &mut row.sent_ns,
            &mut row.first_token_ns,
            &mut row.done_ns,
        ]
        .into_iter()
        .flatten()
        .for_each(move_by);
    }
    for row in &mut run.events {
        move_by(&mut row.timestamp_ns);
        row.end_ns.iter_mut().for_each(move_by);
    }
    run
}

#[test]
fn a_record_from_before_1970_is_stored_drawn_and_reported_like_any_other() {
    let record = record(60, 4.0);
    let early = started_at(&record, -30 * support::SECOND);
    let folder = tempfile::tempdir().unwrap();
    let written = store::write_run(&early, StoreFormat::Parquet, folder.path(), "").unwrap();
    let read = read_run(&written.samples).unwrap();
    assert_eq!((&read.requests, &read.events), (&early.requests, &early.events));
    let (usual, early) = (named(&record, "A"), named(&read, "A"));
    for key in ["total_records", "requests", "totals", "key_metrics", "metrics"] {
        assert_eq!(early.summary[key], usual.summary[key], "{key}");
    }
    assert_eq!(early.lines(), usual.lines());
    assert!(html(&early).contains("1969-12-31 23:59:30"));
    vllm_report::render(early.data(), folder.path(), &RenderOptions::default()).unwrap();
    let trace = folder.path().join("trace.json");
    run_report::write_trace(&run_report::page(&[&early], None), &trace).unwrap();
    for format in Format::ALL {
        format.write(&early, folder.path()).unwrap();
    }
}
