//! Short intervals: partial scrapes between whole pages, if the server supports them.

use std::time::Duration;

use crate::server::{Reply, Server, event_kinds, page, recorder, samples};
use vllm_metrics::EndpointConfig;

const PART: &str = "# TYPE vllm:generation_tokens_total counter\n\
                    vllm:generation_tokens_total{engine=\"0\",model_name=\"a,b\"} 7.0\n\
                    # TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"a,b\"} 3.0\n";

fn often(server: &Server) -> EndpointConfig {
    EndpointConfig::new(server.url())
        .interval(Duration::from_millis(200))
        .full_interval(Duration::from_secs(3600))
}

#[test]
fn a_server_that_can_is_asked_for_parts() {
    let server = Server::start(|_| Reply::PartOrPage(PART, page(7)));
    let (builder, store) = recorder();
    let session = builder.endpoint(often(&server)).start().unwrap();
    server.wait_served(6);
    let failed = session.endpoints()[0].failed_scrapes;
    session.finish().unwrap();
    let requests = server.requests();
    let whole = requests
        .iter()
        .filter(|head| head.starts_with("GET /metrics HTTP"))
        .count();
    let parts = requests
        .iter()
        .filter(|head| head.starts_with("GET /metrics/?name"))
        .count();
    assert_eq!(whole + parts, requests.len());
    // The first page and the final one are whole; so is the one after a scrape that was late.
    assert!(whole >= 2 && whole as u64 <= 2 + failed, "{requests:?}");
    let histograms = samples(&store, "vllm:e2e_request_latency_seconds_count").len();
    let gauges = samples(&store, "vllm:num_requests_running").len();
    assert!(histograms <= whole && gauges as u64 + failed >= requests.len() as u64);
    assert!(!event_kinds(&store).iter().any(|kind| kind == "no_partial_pages"));
}

#[test]
fn a_server_that_cannot_is_soon_not_asked_any_more_and_told_about() {
    // Returns the whole page whatever the query, as exporters of other libraries do.
    let server = Server::start(|n| Reply::Page(page(n)));
    let (builder, store) = recorder();
    let session = builder.endpoint(often(&server)).start().unwrap();
    server.wait_served(8);
    session.finish().unwrap();
    let requests = server.requests();
    let asked: Vec<bool> = requests.iter().map(|head| head.contains("name%5B%5D")).collect();
    assert!(
        asked.contains(&true) && asked.ends_with(&[false, false]),
        "{asked:?}"
    );
    let told = event_kinds(&store);
    assert_eq!(told.iter().filter(|kind| *kind == "no_partial_pages").count(), 1);
    assert!(samples(&store, "vllm:e2e_request_latency_seconds_count").len() > 2);
}
