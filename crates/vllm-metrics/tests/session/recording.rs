//! The output of a healthy run.

use std::time::Duration;

use crate::server::{NEVER, Reply, Server, event_kinds, events, page, recorder, samples, wait_scrapes};
use vllm_metrics::{EndpointConfig, MetricType, Record, Session, StoreFormat};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn first_and_last_counters_bracket_the_run_and_edges_are_scraped() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .fact("model", "m")
        .start()
        .unwrap();
    let hooks = session.hooks();
    // The tick at the start is served first, so nothing below depends on timing.
    server.wait_served(1);
    assert!(session.scrape_now(LONG));
    hooks.model_loaded();
    server.wait_served(3);
    hooks.phase("performance");
    server.wait_served(4);
    hooks.test_completed();
    server.wait_served(5);
    let run = session.finish().unwrap();

    let values = samples(&store, "vllm:generation_tokens_total");
    let expected: Vec<(f64, String)> = (0..6)
        .map(|n| {
            (
                f64::from(n),
                if n < 3 {
                    String::new()
                } else {
                    "performance".into()
                },
            )
        })
        .collect();
    assert_eq!(values, expected);
    assert!(samples(&store, "up").iter().all(|(up, _)| *up == 1.0));
    let kinds = event_kinds(&store);
    assert_eq!(
        kinds,
        [
            "session_started",
            "model_loaded",
            "phase",
            "test_completed",
            "session_finished"
        ]
    );
    assert!(run.missing.is_empty(), "{:?}", run.missing);
    assert_eq!(run.cost.scrapes, 6);
    assert_eq!(run.manifest.facts["model"], "m");
    assert!(run.manifest.ended_ns.unwrap() > run.manifest.started_ns);
    assert_eq!(store.snapshot().manifest.unwrap(), run.manifest);
}

#[test]
fn series_carry_type_unit_labels_and_source() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let endpoint = EndpointConfig::new(server.url())
        .label("node", "n1")
        .bearer("canary");
    builder
        .endpoint(endpoint)
        .interval(NEVER)
        .simulated(true)
        .start()
        .unwrap()
        .finish()
        .unwrap();
    let defs: Vec<_> = store.with(|run| {
        run.records
            .iter()
            .filter_map(|record| {
                if let Record::Series(_, def) = record {
                    Some(def.clone())
                } else {
                    None
                }
            })
            .collect()
    });
    let def = |name: &str| defs.iter().find(|def| &*def.metric_name == name).unwrap();
    let tokens = def("vllm:generation_tokens_total");
    assert_eq!(tokens.metric_type, MetricType::Counter);
    assert_eq!(
        &*tokens.labels,
        r#"{"engine":"0","model_name":"a,b","node":"n1"}"#
    );
    assert_eq!((&*tokens.source, &*tokens.unit), ("vllm-simulated", "tokens"));
    assert_eq!(*tokens.endpoint_url, server.url());
    let sum = def("vllm:e2e_request_latency_seconds_sum");
    assert_eq!((sum.metric_type, &*sum.unit), (MetricType::Histogram, "seconds"));
    assert_eq!(&*def("up").source, "self");
    assert!(
        server.requests()[0]
            .to_ascii_lowercase()
            .contains("authorization: bearer canary")
    );
    assert!(
        !format!("{:?}", store.snapshot()).contains("canary"),
        "secrets are not recorded"
    );
}

#[test]
fn ticks_go_on_by_themselves() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()).partial(Vec::<String>::new()))
        .interval(Duration::from_millis(10))
        .start()
        .unwrap();
    wait_scrapes(&session, 0, 10);
    let run = session.finish().unwrap();
    let values = samples(&store, "vllm:generation_tokens_total");
    assert_eq!(values.len() as u64, run.endpoints[0].scrapes);
    // On a busy machine a scrape may take longer than the 9 ms it has.
    let asked = server.requests().len() as u64;
    assert!(
        asked >= run.endpoints[0].scrapes
            && asked <= run.endpoints[0].scrapes + run.endpoints[0].failed_scrapes
    );
}

#[test]
fn several_endpoints_are_told_apart() {
    let servers: Vec<Server> = (0..3)
        .map(|s| Server::start(move |_| Reply::Page(page(s))))
        .collect();
    let (mut builder, store) = recorder();
    for server in &servers {
        builder = builder.endpoint(EndpointConfig::new(server.url()));
    }
    builder.interval(NEVER).start().unwrap().finish().unwrap();
    let mut values: Vec<f64> = samples(&store, "vllm:generation_tokens_total")
        .iter()
        .map(|(value, _)| *value)
        .collect();
    values.dedup();
    values.sort_by(f64::total_cmp);
    values.dedup();
    assert_eq!(values, [0.0, 1.0, 2.0]);
}

#[test]
fn odd_pages_are_kept_and_told_once() {
    let server = Server::start(|_| Reply::Page("a 1\nthis is junk\nb 2 1700000000000\nb 3\n".into()));
    let (builder, store) = recorder();
    let endpoint = EndpointConfig::new(server.url()).expect("vllm:*");
    let session = builder.endpoint(endpoint).interval(NEVER).start().unwrap();
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    for kind in [
        "bad_lines",
        "duplicate_series",
        "source_timestamps",
        "no_expected_metric",
    ] {
        assert_eq!(events(&store, Some(kind)).len(), 1, "{kind}");
    }
    assert_eq!(run.missing.bad_lines, run.cost.scrapes);
    assert!(samples(&store, "b").iter().all(|(value, _)| *value == 2.0));
}

#[test]
fn own_cost_is_measured_and_kept() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .host(vllm_metrics::host::HostConfig::default())
        .start()
        .unwrap();
    let hooks = session.hooks();
    for id in 0..1000 {
        hooks.request_issued(id, id, None, None);
        hooks.request_completed(id, vllm_metrics::Completed::tokens(1));
    }
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    let cost = &run.cost;
    assert!(cost.mean_fetch.is_some() && cost.mean_parse.is_some() && cost.longest_fetch >= cost.mean_fetch);
    assert!(cost.hook_p50_ns.is_some() && cost.hook_p99_ns >= cost.hook_p50_ns);
    assert!(cost.queue_high_water_bytes > 0 && cost.body_bytes > 0);
    assert!(cost.collector_cpu.is_some() && cost.writer_cpu.is_some() && cost.sampler_cpu.is_some());
    assert!(cost.cpu_share_ratio().unwrap() > 0.0);
    assert!(cost.peak_resident_bytes.unwrap() > 0);
    for name in [
        "vllm_metrics_cpu_seconds_total",
        "vllm_metrics_queue_peak_bytes",
        "vllm_metrics_dropped_total",
    ] {
        assert!(!samples(&store, name).is_empty(), "{name}");
    }
    assert!(run.manifest.facts.contains_key("cost.hook_p99_ns"));
    assert!(run.host.is_some());
}

#[test]
fn selection_and_drift_are_told_by_name() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let endpoint = EndpointConfig::new(server.url())
        .select(["vllm:generation_tokens_total", "vllm:nothing_like_this"])
        .server_version("0.32.0");
    builder
        .endpoint(endpoint)
        .interval(NEVER)
        .start()
        .unwrap()
        .finish()
        .unwrap();
    assert!(!samples(&store, "vllm:generation_tokens_total").is_empty());
    assert!(samples(&store, "vllm:num_requests_running").is_empty());
    let unused = events(&store, Some("selection_unused"));
    assert!(
        unused.len() == 1 && unused[0].message.contains("vllm:nothing_like_this"),
        "{unused:?}"
    );
    // The page lacks most of what this version exports.
    let drift = events(&store, Some("metric_drift"));
    assert!(
        drift
            .iter()
            .any(|event| event.message.contains("vllm:num_requests_waiting")),
        "{drift:?}"
    );
}

/// In the manifest of every format, and in Prometheus text, recorded or converted.
#[test]
fn what_a_server_says_about_its_metrics_is_kept() {
    let page = format!(
        "# HELP own_seconds How long \\\\ it\\ntook \"exactly\"\n# TYPE own_seconds histogram\n\
         own_seconds_bucket{{le=\"+Inf\"}} 1\nown_seconds_sum 1\nown_seconds_count 1\n\
         # HELP flood {}\nflood 1\n# HELP bare_total Things\n# HELP bare_total Again\nbare_total 1\nsilent 1\n",
        "x".repeat(1 << 20)
    );
    let server = Server::start(move |_| Reply::Page(page.clone()));
    let folder = tempfile::tempdir().unwrap();
    let mut texts = Vec::new();
    for format in [StoreFormat::PrometheusText, StoreFormat::Parquet] {
        let into = folder.path().join(format!("{format:?}"));
        let session = Session::builder()
            .output_dir(&into)
            .format(format)
            .endpoint(EndpointConfig::new(server.url()))
            .interval(NEVER)
            .start()
            .unwrap();
        assert!(session.scrape_now(LONG));
        let run = session.finish().unwrap();
        let kept: serde_json::Value = serde_json::from_str(&run.manifest.facts["metrics.help"]).unwrap();
        let own = "How long \\ it took \"exactly\"";
        assert_eq!(
            kept,
            serde_json::json!({"own_seconds": own, "bare_total": "Things"})
        );
        assert_eq!(run.manifest.facts["metrics.help_left_out"], "1");
        let output = folder.path().join(format!("{format:?}-as-text"));
        let (converted, notes) =
            vllm_metrics::store::convert(&run.samples_path, StoreFormat::PrometheusText, &output).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        texts.push(std::fs::read_to_string(converted.samples).unwrap());
        if format == StoreFormat::PrometheusText {
            texts.push(std::fs::read_to_string(&run.samples_path).unwrap());
        }
    }
    for text in texts {
        for line in [
            "# HELP own_seconds How long \\\\ it took \"exactly\"",
            "# HELP bare_total Things",
            "# HELP silent Recorded from prometheus.",
            "# HELP flood Recorded from prometheus.",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}");
        }
    }
}
