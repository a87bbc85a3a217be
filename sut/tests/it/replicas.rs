//! Several servers and retried requests: how load is distributed, what is recorded, and the cost of a dead
//! replica.

use crate::support::{Finished, Run, simulator};
use vllm_metrics::Outcome;
use vllm_sim::Simulator;

/// 256 queries, as fast as they are answered.
const OFFLINE: &str = "--scenario Offline --duration 100ms --num-samples 64 --target-qps 2000 --max-tokens 8 \
                       --concurrency 16 --no-plots";

fn run(servers: &[&Simulator], more: &str) -> Finished {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let urls = urls.join(",");
    let flags: Vec<&str> = OFFLINE
        .split_whitespace()
        .chain(["--url", &urls])
        .chain(more.split_whitespace())
        .collect();
    Run::new(&flags).finish()
}

/// Answers and failed attempts of each replica, from the closing table.
fn per_replica(run: &Finished) -> Vec<(usize, usize)> {
    run.stdout
        .lines()
        .filter(|line| line.trim_start().starts_with("replica "))
        .map(|line| {
            let number = |before: &str| {
                let text = line.split(before).next().expect("a beginning");
                let text = text.rsplit([' ']).next().expect("a last word");
                text.parse().unwrap_or_else(|_| panic!("{line}"))
            };
            (number(" completed"), number(" attempts failed"))
        })
        .collect()
}

#[test]
fn requests_that_failed_before_their_first_token_are_sent_again_and_written_down() {
    let server = simulator(&[
        "status code=503 requests=10..16",
        "truncate tokens=0 requests=30..32",
    ]);
    let run = run(&[&server], "--retries 4");
    let shown = run.shown();
    assert_eq!(run.status, Some(0), "{shown}");
    let record = run.record();
    assert_eq!(record.requests.len(), 256, "{shown}");
    assert!(
        record.requests.iter().all(|r| r.outcome == Outcome::Completed),
        "{shown}"
    );
    let retries: Vec<_> = record
        .events
        .iter()
        .filter(|event| &*event.kind == "retry")
        .collect();
    assert_eq!(retries.len(), 8, "{shown}");
    assert!(
        retries
            .iter()
            .any(|event| event.attributes.contains("\"kind\":\"reset\""))
    );
    let summary = std::fs::read_dir(run.metrics_dir().join("visualizations"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|e| e == "json"))
        .expect("a summary");
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(summary).expect("text")).expect("JSON");
    assert_eq!(summary["event_counts"]["retry"], 8, "{shown}");
    for part in [
        "8 attempts failed before their first token",
        "6 x status",
        "2 x reset",
    ] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{shown}");
    }
    server.stop();
}

#[test]
fn every_replica_gets_its_share_and_is_recorded() {
    let (one, two) = (simulator(&[]), simulator(&[]));
    let run = run(&[&one, &two], "");
    let shown = run.shown();
    assert_eq!(run.status, Some(0), "{shown}");
    assert_eq!(per_replica(&run), [(128, 0), (128, 0)], "in turns\n{shown}");
    // Neither server reports its times, so their histograms give the means.
    assert!(
        run.stdout.contains("inside the server, mean of 256: queue"),
        "{shown}"
    );
    assert!(!run.stdout.contains("OTHER CLIENTS"), "{shown}");
    let record = run.record();
    for (number, server) in [&one, &two].iter().enumerate() {
        let label = format!("\"replica\":\"{number}\"");
        let tokens = record.series.iter().find(|series| {
            &*series.def.metric_name == "vllm:generation_tokens_total"
                && series.def.endpoint_url.starts_with(&server.url())
                && series.def.labels.contains(&label)
        });
        let tokens = tokens.unwrap_or_else(|| panic!("no tokens of {}\n{shown}", server.url()));
        assert_eq!(tokens.values.last(), Some(&(128.0 * 8.0)), "{shown}");
        let rows = record.requests.iter().filter(|r| r.endpoint as usize == number);
        assert_eq!(rows.count(), 128, "rows tell which server answered\n{shown}");
    }
    one.stop();
    two.stop();
}

#[test]
fn load_goes_where_there_is_less_of_it() {
    let (slow, quick) = (simulator(&["slow percent=1000"]), simulator(&[]));
    for balance in ["shortest-queue", "least-tokens"] {
        let run = run(&[&slow, &quick], &format!("--balance {balance}"));
        let shown = run.shown();
        assert_eq!(run.status, Some(0), "{shown}");
        let done = per_replica(&run);
        assert_eq!(done[0].0 + done[1].0, 256, "{shown}");
        assert!(done[1].0 > done[0].0 + 64, "{done:?}\n{shown}");
    }
    slow.stop();
    quick.stop();
}

#[test]
fn the_others_go_on_when_a_replica_dies() {
    let (mortal, well) = (simulator(&["die requests=20"]), simulator(&[]));
    let run = run(&[&mortal, &well], "--retries 3");
    let shown = run.shown();
    let done = per_replica(&run);
    assert!(
        done[0].0 <= 20 && done[0].1 > 0 && done[1].0 > 200,
        "{done:?}\n{shown}"
    );
    let record = run.record();
    let lost = record
        .requests
        .iter()
        .filter(|r| r.outcome == Outcome::Failed)
        .count();
    assert!(lost <= 16, "only what was streaming: {lost}\n{shown}");
    // Answers that were streaming on it are lost. If there are any, the run still ends and does not count.
    assert_eq!(run.status, Some(i32::from(lost > 0)), "{shown}");
    assert_eq!(record.requests.len(), 256, "{shown}");
    assert!(run.stderr.contains("the others go on"), "{shown}");
    well.stop();
}
