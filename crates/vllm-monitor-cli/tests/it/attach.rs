use exposition::{Format, Page};

use crate::world::{World, complete, decoding_simulator, quick, simulator};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_observed_and_everything_is_answered() {
    let simulator = simulator();
    let url = simulator.url();
    let world = World::new(&quick(&[&format!("tiny={url}")])).await;
    world.until("/readyz", 200).await;
    assert!(complete(&url, 4).await.contains("200 OK"));
    let target = world
        .until_status(0, "its tokens", |target| {
            target["tokens_generated"].as_f64() >= Some(4.0)
        })
        .await;
    assert_eq!(target["version"], "0.32.0+simulated");
    assert_eq!(target["pid"], std::process::id(), "found by its port");
    assert_eq!(target["kv_cache_usage"], 0.0);

    let status = world.status().await;
    for key in [
        "monitor_active",
        "active_requests",
        "tokens_generated",
        "avg_step_duration_ms",
        "mitigation_in_progress",
    ] {
        assert!(status.get(key).is_some(), "{key}: {status:#}");
    }
    assert_eq!(status["monitor_active"], true);
    assert_eq!(status["active_requests"], 0.0);

    let (code, page) = world.get("/metrics").await;
    assert_eq!(code, 200);
    let (page, bad) = Page::parse(page.as_bytes(), Format::Text);
    assert!(bad.is_empty(), "{bad:?}");
    for name in [
        "vllm:monitor_active_requests",
        "vllm:monitor_tokens_generated",
        "vllm:monitor_mitigation_triggered",
        "vllm:monitor_state",
        "vllm:monitor_last_full_pass_timestamp_seconds",
        "vllm:monitor_cpu_seconds_total",
    ] {
        assert!(page.families.iter().any(|family| family.name == name), "{name}");
    }
    assert_eq!(world.path("tiny").first().map(String::as_str), Some("READY"));
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_and_one_that_talks_nonsense_cost_the_others_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let simulator = simulator();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nonsense = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nonsense_at = nonsense.local_addr().unwrap();
    let talker = tokio::spawn(async move {
        loop {
            let (mut stream, _) = nonsense.accept().await.unwrap();
            let page = "HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n<html><body>hello</body></html>";
            let _gone = stream.write_all(page.as_bytes()).await;
            let _gone = stream.shutdown().await;
        }
    });
    let world = World::new(&quick(&[
        &format!("a={}", simulator.url()),
        &format!("b=http://{}", silent.local_addr().unwrap()),
        &format!("c=http://{nonsense_at}"),
        "d=http://127.0.0.1:1",
    ]))
    .await;
    world.until("/readyz?target=a", 200).await;
    assert_eq!(world.get("/readyz?target=b").await.0, 503);
    assert_eq!(world.get("/readyz?target=d").await.0, 503);
    assert_eq!(world.get("/livez?target=e").await.0, 404);
    assert_eq!(world.get("/readyz").await.0, 503, "not all take requests");
    assert_eq!(
        world.get("/livez").await.0,
        200,
        "the monitor itself makes progress"
    );
    let c = world
        .until_status(2, "a fresh probe of nonsense", |target| {
            target["steps"].as_u64() > Some(10)
        })
        .await;
    assert_eq!(
        c["active_requests"],
        serde_json::Value::Null,
        "nonsense is no number"
    );
    let before = world.status().await["targets"][0]["steps"].as_u64().unwrap();
    let after = world
        .until_status(0, "more steps", |target| {
            target["steps"].as_u64() > Some(before + 20)
        })
        .await;
    assert_eq!(after["state"], "READY");
    assert!(after["missed_ticks"].as_u64() < Some(before + 20), "{after:#}");
    talker.abort();
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_with_a_request_in_flight_is_named_while_health_answers_200() {
    let simulator = decoding_simulator();
    let url = simulator.url();
    let world = World::new(&quick(&[&format!("h={url}")])).await;
    world.until("/readyz", 200).await;
    for _ in 0..20 {
        complete(&url, 8).await;
    }
    let tokens = |target: &serde_json::Value| target["tokens_generated"].as_f64();
    world
        .until_status(0, "the end of what was sent", |target| {
            tokens(target) == Some(160.0) && target["active_requests"] == 0.0
        })
        .await;
    // A long answer is under way when the engine freezes.
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { complete(&url, 1500).await }
    });
    world
        .until_status(0, "a running request", |target| tokens(target) > Some(165.0))
        .await;
    simulator.set_hung(true);
    let target = world.until_state(0, "ERROR").await;
    let said = target["evidence"].to_string();
    assert!(said.contains("no step with work present"), "{said}");
    let against = target["against"].to_string();
    assert!(against.contains("/health answers 200"), "{against}");
    assert_eq!(world.get("/livez").await.0, 503);
    assert_eq!(world.get("/readyz").await.0, 503);
    simulator.set_hung(false);
    world.until("/livez", 200).await;
    waiting.abort();
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_hang_is_found_by_the_canary_and_by_nothing_else() {
    let simulator = simulator();
    let mut flags = quick(&[&format!("i={}", simulator.url())]);
    flags.targets[0].canary_secs = Some(10.0);
    let world = World::new(&flags).await;
    world.until("/readyz", 200).await;
    simulator.set_hung(true);
    let target = world.until_state(0, "ERROR").await;
    assert!(target["evidence"].to_string().contains("canary"), "{target:#}");
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_hosts_are_refused_and_a_token_opens_what_is_more_than_reading() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "opensesame\n").unwrap();
    let mut flags = quick(&["t=http://127.0.0.1:1"]);
    flags.token_file = Some(token);
    let world = World::new(&flags).await;
    assert_eq!(
        world.ask("GET /status", "host: evil.example\r\n", "").await.0,
        421
    );
    assert_eq!(world.ask("GET /status", "", "").await.0, 400);
    let post = "POST /control/expect-stop";
    let json = "host: localhost\r\ncontent-type: application/json\r\n";
    let body = r#"{"target":"t"}"#;
    assert_eq!(world.ask(post, json, body).await.0, 401);
    let wrong = format!("{json}authorization: Bearer guess\r\n");
    assert_eq!(world.ask(post, &wrong, body).await.0, 401);
    let right = format!("{json}authorization: Bearer opensesame\r\n");
    assert_eq!(world.ask(post, &right, body).await.0, 200);
    assert_eq!(world.ask(post, &right, r#"{"target":"u"}"#).await.0, 404);
    world
        .until_status(0, "the note", |target| target["steps"].as_u64() > Some(2))
        .await;
    world.runtime.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_streamed_and_a_late_reader_gets_what_it_missed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let simulator = simulator();
    let world = World::new(&quick(&[&format!("e={}", simulator.url())])).await;
    world.until("/readyz", 200).await;
    let mut stream = tokio::net::TcpStream::connect(world.runtime.address().unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET /events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains("\"to\":\"READY\"") {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(
        seen.contains("text/event-stream") && seen.contains("id: 1"),
        "{seen}"
    );
    // The end of the monitor ends the stream.
    world.runtime.finish().await;
    while stream.read(&mut bytes).await.unwrap() > 0 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_is_an_error_at_once_and_a_planned_stop_is_none() {
    let simulator = simulator();
    let world = World::new(&quick(&[&format!("d={}", simulator.url())])).await;
    world.until("/readyz", 200).await;
    let notes = world.runtime.notes("d").unwrap();
    simulator.stop();
    world.until_state(0, "ERROR").await;
    drop(notes);
    world.runtime.finish().await;

    let simulator = crate::world::simulator();
    let world = World::new(&quick(&[&format!("d={}", simulator.url())])).await;
    world.until("/readyz", 200).await;
    let notes = world.runtime.notes("d").unwrap();
    notes
        .send(vllm_monitor_cli::target::Note::StopRequested(true))
        .await
        .unwrap();
    world.until_state(0, "SHUTTING_DOWN").await;
    simulator.stop();
    world
        .until_status(0, "refused probes", |target| {
            target["evidence"].to_string().contains("stop was requested") || target["state"] == "NOT_STARTED"
        })
        .await;
    assert!(
        !world.path("d").contains(&"ERROR".to_owned()),
        "{:?}",
        world.path("d")
    );
    world.runtime.finish().await;
}
