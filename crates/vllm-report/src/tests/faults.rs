//! Regression tests: former errors in pictures and the summary, each with the right value.

use vllm_metrics::Severity;

use super::*;
use crate::font;

fn summary(run: &RunData) -> serde_json::Value {
    summarize(&Analysis::of(run))
}

fn at(mut series: SeriesData, endpoint: &str) -> SeriesData {
    series.def = Arc::new(SeriesDef {
        endpoint_url: endpoint.into(),
        ..(*series.def).clone()
    });
    series
}

/// Two servers, both with an engine 0, the second scraped 40 ms after the first.
fn two_servers() -> RunData {
    let mut run = run();
    run.series = Vec::new();
    for (port, late_ns) in [(8000, 0), (8001, 40_000_000)] {
        for series in engine_series(0) {
            let mut series = at(series, &format!("http://127.0.0.1:{port}/metrics"));
            series.timestamps_ns.iter_mut().for_each(|t| *t += late_ns);
            run.series.push(series);
        }
    }
    vllm_metrics::derive::series::sort(&mut run.series);
    run
}

#[test]
fn a_rates_mean_is_increase_over_time_in_picture_and_summary() {
    let mut run = run();
    // Everything but the last tenth was generated while scrapes were missing, and the edges are milliseconds apart.
    let times = vec![
        START,
        START + 5_000_000,
        START + S,
        START + 2 * S,
        START + 40 * S,
        START + 41 * S,
    ];
    let values = vec![0.0, 0.0, 100.0, 200.0, 4000.0, 4100.0];
    run.series
        .retain(|s| &*s.def.metric_name != "vllm:generation_tokens_total");
    let mut tokens = series(
        "vllm:generation_tokens_total",
        "{}",
        MetricType::Counter,
        "tokens",
        |_| 0.0,
    );
    (tokens.timestamps_ns, tokens.values, tokens.phases) = (times, values, Vec::new());
    run.series.push(tokens);
    vllm_metrics::derive::series::sort(&mut run.series);

    let summary = summary(&run);
    let entry = &summary["metrics"]["vllm:generation_tokens_total"];
    for mean in [
        &entry["series"][0]["mean_per_second"],
        &entry["series"][0]["per_second"]["mean"],
        &entry["aggregate"]["mean_per_second"],
        &summary["totals"]["vllm:tokens_per_second"]["series"][0]["mean"],
        &summary["key_metrics"]["vllm:generation_tokens_total"]["mean_per_second"],
    ] {
        assert!((mean.as_f64().unwrap() - 100.0).abs() < 1e-9, "{mean}");
    }
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let panel = chart::requests::output_tokens(&view, 240);
    let crate::panel::Body::Lines(lines) = &panel.body else {
        panic!()
    };
    assert!((lines[0].curve.figures.mean.unwrap() - 100.0).abs() < 1e-9);
}

#[test]
fn temperatures_and_times_are_not_added_up() {
    let mut run = run();
    for gpu in 0..2 {
        let labels = format!(r#"{{"gpu":"{gpu}"}}"#);
        let degrees = 50.0 + 2.0 * gpu as f64;
        run.series.push(series(
            "DCGM_FI_DEV_GPU_TEMP",
            &labels,
            MetricType::Gauge,
            "",
            |_| degrees,
        ));
        run.series.push(series(
            "vllm:lora_requests_info",
            &labels,
            MetricType::Gauge,
            "",
            |_| 1.7e9,
        ));
        run.series.push(series(
            "process_start_time_seconds",
            &labels,
            MetricType::Gauge,
            "seconds",
            |_| 1.7e9,
        ));
    }
    vllm_metrics::derive::series::sort(&mut run.series);
    let metrics = &summary(&run)["metrics"];
    let temperature = &metrics["DCGM_FI_DEV_GPU_TEMP"]["aggregate"];
    assert_eq!(
        (&temperature["how"], &temperature["mean"]),
        (&"mean over series".into(), &51.0.into())
    );
    for name in ["vllm:lora_requests_info", "process_start_time_seconds"] {
        let entry = &metrics[name]["aggregate"];
        assert!(
            entry["mean"].is_null() && entry["unavailable"].is_string(),
            "{name}: {entry}"
        );
    }
    assert_eq!(
        metrics["vllm:num_requests_running"]["aggregate"]["how"],
        "sum over series"
    );
}

#[test]
fn all_eight_names_are_in_the_summary_failures_included() {
    let mut run = run();
    let key = &summary(&run)["key_metrics"];
    let names: Vec<&String> = key.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(key["vllm:request_failure_total"]["by_reason"]["client"], 1);
    assert_eq!(
        key["vllm:request_failure_total"]["by_reason"]["abort"],
        2.0 * 118.0
    );
    assert!(key["vllm:request_latency"]["unavailable"].is_string());
    assert_eq!(key["vllm:kv_cache_usage_ratio"]["how"], "mean over series");
    assert_eq!(
        key["vllm:request_success_total"]["by_finished_reason"]["stop"],
        2.0 * 118.0
    );
    for r in &mut run.requests {
        r.outcome = Outcome::Completed;
    }
    assert_eq!(
        summary(&run)["key_metrics"]["vllm:request_failure_total"]["by_reason"]["client"],
        0
    );
    let nothing = summary(&RunData::default());
    let entries = nothing["key_metrics"].as_object().unwrap().values();
    assert!(entries.clone().count() == 8 && entries.clone().all(|e| e["unavailable"].is_string()));
}

#[test]
fn latencies_have_a_name_for_each_definition() {
    let mut run = run();
    for request in &mut run.requests {
        request.scheduled_ns = Some(request.issued_ns - S);
    }
    let summary = summary(&run);
    let requests = &summary["requests"];
    let p99 = |name: &str| requests[name]["percentiles"]["p99"].as_f64().unwrap();
    assert!((p99("ttft_scheduled_seconds") - 1.1).abs() < 1e-9);
    assert!((p99("ttft_sent_seconds") - 0.09).abs() < 1e-9);
    assert!((p99("latency_scheduled_seconds") - 1.5).abs() < 1e-9);
    assert!(requests.get("time_to_first_token_seconds").is_none());
    // Pictures and summary show the same figures.
    run.manifest.facts.insert("scenario".into(), "Server".into());
    run.manifest.facts.insert("ttft_limit_secs".into(), "2".into());
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let panel = chart::requests::client_ttft(&view, 240);
    assert_eq!(panel.title, "Time to first token from schedule (client)");
    let crate::panel::Body::Lines(lines) = &panel.body else {
        panic!()
    };
    assert_eq!(lines[1].curve.figures.whole, Some(p99("ttft_scheduled_seconds")));
    assert_eq!(panel.limits[0].value, 2.0);
}

#[test]
fn a_cut_run_says_so_next_to_the_title_with_model_version_and_address() {
    let mut run = run();
    run.manifest.ended_ns = None;
    run.manifest.facts.extend([
        ("server_version".to_owned(), "0.32.0+simulated".to_owned()),
        (
            "metrics.endpoints".to_owned(),
            "http://127.0.0.1:8000/metrics".to_owned(),
        ),
    ]);
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(
        all.contains(&"ABORTED") && all.contains(&"SIMULATED DATA"),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|t| t.contains("vLLM 0.32.0") && t.contains("127.0.0.1:8000") && t.contains("m & <n>"))
    );
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let look = PictureStyle {
        outcome: Some(Outcome_ {
            word: "INVALID".into(),
            reason: Some("50 of 600 queries failed".into()),
        }),
        ..PictureStyle::default()
    };
    let scene = chart::overview::picture(&view)
        .scene(&view, 300.0, &look)
        .unwrap();
    let all = texts(&scene);
    assert!(
        all.contains(&"INVALID") && all.iter().any(|t| t.contains("50 of 600")),
        "{all:?}"
    );
}

use crate::outcome::Outcome as Outcome_;

#[test]
fn failures_have_a_panel_by_kind_and_no_room_where_there_are_none() {
    let mut run = run();
    run.series.retain(|s| !s.def.labels.contains("abort"));
    for (i, request) in run.requests.iter_mut().enumerate().take(6) {
        request.outcome = Outcome::Failed;
        let why = if i < 4 {
            "http://h:1 answered with status 503: busy"
        } else {
            "the run is being ended"
        };
        request.reason = Some(why.into());
    }
    let scene = overview(&run);
    let all = texts(&scene);
    for wanted in [
        "Failed requests so far, by kind",
        "the server answered with status 503",
        "total 4",
        "total 2",
    ] {
        assert!(all.contains(&wanted), "{wanted}: {all:?}");
    }
    for request in &mut run.requests {
        request.outcome = Outcome::Completed;
    }
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(!all.contains(&"Failed requests so far, by kind"));
    assert!(
        all.iter()
            .any(|t| t.starts_with("Not drawn") && t.contains("none failed")),
        "{all:?}"
    );
}

#[test]
fn panels_of_constant_zero_give_their_room_away() {
    let mut run = run();
    for series in &mut run.series {
        if &*series.def.metric_name == "vllm:num_preemptions_total" {
            series.values.fill(0.0);
        }
    }
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(!all.contains(&"Preemptions, per second"));
    assert!(
        all.iter()
            .any(|t| t.contains("Preemptions") && t.contains("zero throughout")),
        "{all:?}"
    );
}

#[test]
fn servers_are_named_by_host_and_port_and_add_up_without_steps() {
    let mut run = two_servers();
    for series in &mut run.series {
        if &*series.def.metric_name == "vllm:num_requests_running" {
            series.values = series
                .timestamps_ns
                .iter()
                .map(|t| (t - START) as f64 / S as f64)
                .collect();
        }
    }
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let panel = chart::requests::in_engine(&view);
    let crate::panel::Body::Lines(lines) = &panel.body else {
        panic!()
    };
    let curve = &lines[0].curve;
    for (t, value) in curve
        .times
        .iter()
        .zip(&curve.values)
        .filter(|(t, v)| v.is_finite() && **t < START + 59 * S)
    {
        let wanted = 2.0 * (t - START) as f64 / S as f64;
        assert!((value - wanted).abs() < 1e-6, "{t}: {value} {wanted}");
    }
    // The mean of the sum is the sum of the means, however close together the scrapes of the two are.
    let both = &summary(&run)["metrics"]["vllm:num_requests_running"];
    let mean = |entry: &serde_json::Value| entry["mean"].as_f64().unwrap();
    let of_each = mean(&both["series"][0]) + mean(&both["series"][1]);
    assert!((mean(&both["aggregate"]) - of_each).abs() < 0.2, "{both}");
    assert_eq!(lines[0].curve.figures.mean, both["aggregate"]["mean"].as_f64());
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(all.contains(&"Requests running, by server"));
    for host in ["127.0.0.1:8000", "127.0.0.1:8001"] {
        assert!(all.contains(&host), "{host}: {all:?}");
    }
}

#[test]
fn a_lost_server_is_marked_from_when_it_gave_nothing() {
    let mut run = two_servers();
    for series in run
        .series
        .iter_mut()
        .filter(|s| s.def.endpoint_url.contains("8001"))
    {
        let kept = series.timestamps_ns.partition_point(|t| *t < START + 40 * S);
        series.timestamps_ns.truncate(kept);
        series.values.truncate(kept);
    }
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let lost = view.frame.lost();
    assert_eq!(
        lost,
        [(
            "http://127.0.0.1:8001/metrics".into(),
            START + 40 * S + 40_000_000
        )]
    );
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(
        all.iter().any(|t| t.contains("127.0.0.1:8001 was lost")),
        "{all:?}"
    );
    // The sum continues with the remaining server.
    let sum = chart::requests::in_engine(&view);
    let crate::panel::Body::Lines(lines) = &sum.body else {
        panic!()
    };
    assert!(lines[0].curve.times.last() >= Some(&(START + 59 * S)));
}

#[test]
fn a_server_that_never_answered_is_said_once_and_in_those_words() {
    let run = RunData {
        manifest: Manifest {
            started_ns: START,
            ended_ns: Some(START + 3 * S),
            facts: [(
                "metrics.endpoints".to_owned(),
                "http://127.0.0.1:26099/metrics".to_owned(),
            )]
            .into(),
            ..Manifest::default()
        },
        ..RunData::default()
    };
    let scene = overview(&run);
    let all = texts(&scene);
    assert!(!all.iter().any(|t| t.contains("exposed no")), "{all:?}");
    assert!(
        all.iter().any(|t| t.contains("127.0.0.1:26099 never answered")),
        "{all:?}"
    );
}

#[test]
fn another_engine_is_drawn_and_summarised_under_its_own_names() {
    let mut run = run();
    run.series = vec![
        series("sglang:num_running_reqs", "{}", MetricType::Gauge, "", |i| {
            i as f64
        }),
        series("sglang:token_usage", "{}", MetricType::Gauge, "", |_| 0.5),
        series(
            "sglang:generation_tokens_total",
            "{}",
            MetricType::Counter,
            "",
            |i| i as f64 * 10.0,
        ),
    ];
    let key = &summary(&run)["key_metrics"];
    assert_eq!(
        key["vllm:num_requests_running"]["from"],
        "sglang:num_running_reqs"
    );
    assert_eq!(key["vllm:generation_tokens_total"]["mean_per_second"], 10.0);
    assert_eq!(key["vllm:kv_cache_usage_ratio"]["mean"], 0.5);
    let scene = overview(&run);
    let all = texts(&scene);
    for title in [
        "Output tokens, tokens/s",
        "Requests in the engine",
        "KV cache in use, %",
    ] {
        assert!(all.contains(&title), "{title}: {all:?}");
    }
}

#[test]
fn counters_of_several_processes_have_a_reason_instead_of_a_total() {
    let mut run = run();
    run.series = vec![
        series(
            "vllm:generation_tokens_total",
            r#"{"engine":"0"}"#,
            MetricType::Counter,
            "",
            |i| {
                if i % 2 == 0 {
                    1000.0 + i as f64
                } else {
                    200.0 + i as f64
                }
            },
        ),
        series(
            "vllm:generation_tokens_total",
            r#"{"engine":"1"}"#,
            MetricType::Counter,
            "",
            |i| i as f64 * 10.0,
        ),
    ];
    let summary = summary(&run);
    let entry = &summary["metrics"]["vllm:generation_tokens_total"];
    let all = &entry["aggregate"];
    assert_eq!(all["unavailable"], "several processes answer its URL in turn");
    for (of, key) in [
        (all, "increase"),
        (all, "observed_secs"),
        (&entry["series"][0], "increase"),
    ] {
        assert!(of[key].is_null(), "{key}: {of}");
    }
    assert!(entry["series"][1]["increase"].as_f64() > Some(0.0), "{entry}");
}

#[test]
fn restarts_are_marked_and_warnings_on_request() {
    let mut run = run();
    for (kind, message) in [
        ("counter_reset", "the server was started again"),
        ("bad_lines", "3 lines could not be read"),
    ] {
        run.events.push(EventRow {
            timestamp_ns: START + 45 * S,
            end_ns: None,
            kind: kind.into(),
            severity: Severity::Warning,
            source: "self".into(),
            message: message.into(),
            attributes: "{}".into(),
        });
    }
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let notes = |events| {
        let look = PictureStyle {
            events,
            ..PictureStyle::default()
        };
        let scene = chart::requests::picture(&view)
            .scene(&view, 300.0, &look)
            .unwrap();
        texts(&scene).iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()
    };
    assert!(
        notes(false)
            .iter()
            .any(|t| t.contains("at 45 s, the server was started again"))
    );
    assert!(!notes(false).iter().any(|t| t.contains("3 lines")));
    assert!(
        notes(true)
            .iter()
            .any(|t| t.contains("3 lines could not be read"))
    );
}

/// Bounds of every text of a scene.
fn boxes(scene: &Scene) -> Vec<(String, [f32; 4])> {
    scene
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            Shape::Text {
                at,
                text,
                size,
                weight,
                quarter_turns: 0,
                ..
            } if !text.trim().is_empty() => {
                let wide = font::width(text, *size, *weight);
                let [left, top] = [at.0, at.1 - font::CAPITAL * size];
                Some((text.clone(), [left, top, left + wide, at.1]))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn no_text_lies_over_another() {
    let mut lost = two_servers();
    for series in lost
        .series
        .iter_mut()
        .filter(|s| s.def.endpoint_url.contains("8001"))
    {
        series.timestamps_ns.truncate(20);
        series.values.truncate(20);
    }
    let mut bare = run();
    bare.series
        .retain(|s| !s.def.metric_name.contains("time_to_first") && &*s.def.source != "nvml");
    for (name, run) in [
        ("plain", run()),
        ("lost", lost),
        ("bare", bare),
        ("empty", RunData::default()),
    ] {
        let analysis = Analysis::of(&run);
        let view = View::of(&analysis);
        let pictures = [
            chart::overview::picture(&view),
            chart::requests::picture(&view),
            chart::gpu::picture(&view),
        ];
        for picture in pictures {
            let look = PictureStyle {
                events: true,
                ..PictureStyle::default()
            };
            let scene = picture.scene(&view, 300.0, &look).unwrap();
            let boxes = boxes(&scene);
            for (i, (text, a)) in boxes.iter().enumerate() {
                for (other, b) in &boxes[i + 1..] {
                    let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
                    assert!(apart, "{name}, {}: {text:?} over {other:?}", picture.title);
                }
                assert!(
                    a[2] <= scene.width as f32 + 1.0,
                    "{name}, {}: {text:?} leaves the page",
                    picture.title
                );
            }
        }
    }
}

#[test]
fn throttling_is_drawn_where_it_was_read_and_the_time_before_and_after_is_marked() {
    let mut run = run();
    let mut throttled = series(
        "gpu_throttle_seconds_total",
        r#"{"gpu":"0","reason":"sw_power_cap"}"#,
        MetricType::Counter,
        "seconds",
        |i| i as f64 * 0.5,
    );
    // The sampler starts fifteen seconds into the run and ends fifteen seconds before its end.
    let end_ns = throttled.timestamps_ns.last().copied().unwrap() - 15 * S;
    (throttled.timestamps_ns, throttled.values) = throttled
        .timestamps_ns
        .iter()
        .copied()
        .zip(throttled.values.iter().copied())
        .filter(|(t, _)| (START + 15 * S..=end_ns).contains(t))
        .unzip();
    throttled.phases = Vec::new();
    run.series.push(throttled);
    vllm_metrics::derive::series::sort(&mut run.series);
    let analysis = Analysis::of(&run);
    let view = View::of(&analysis);
    let panel = chart::gpu::throttling(&view, 600);
    let crate::panel::Body::Lines(lines) = &panel.body else {
        panic!()
    };
    let curve = &lines[0].curve;
    assert_eq!((curve.times[0], curve.values[0]), (START + 15 * S, 0.5));
    let missing = panel.read.unwrap().missing(&view.frame);
    let [(_, first), (last, _)] = missing[..] else {
        panic!("{missing:?}")
    };
    assert_eq!((first, last), (START + 15 * S, end_ns));
    let picture = chart::gpu::picture(&view);
    let scene = picture.scene(&view, 300.0, &PictureStyle::default()).unwrap();
    let marked = texts(&scene).into_iter().filter(|text| *text == "no reading");
    assert_eq!(marked.count(), 2, "{:?}", texts(&scene));
}
