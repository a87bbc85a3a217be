//! The session's own endpoint, the newest samples, and the check before a run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::server::{NEVER, Reply, Server, events, page, recorder};
use exposition::Page;
use vllm_metrics::{EndpointConfig, Error, validate_endpoint};

const LONG: Duration = Duration::from_secs(20);

fn get(address: SocketAddr, path: &str) -> String {
    get_as(address, path, "localhost")
}

fn get_as(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn half_requests_and_foreign_names_shut_nobody_out() {
    let (builder, _store) = recorder();
    let session = builder
        .interval(NEVER)
        .serve("127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let address = session.metrics_address().unwrap();
    // As many as are served at once.
    let half: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: ").unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream
        })
        .collect();
    for mut stream in half {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }
    assert!(get(address, "/metrics").starts_with("HTTP/1.1 200"));
    for host in ["127.0.0.1:9464", "[::1]:80", "LOCALHOST"] {
        assert!(
            get_as(address, "/metrics", host).starts_with("HTTP/1.1 200"),
            "{host}"
        );
    }
    for host in ["rebound.example:9464", "10.0.0.1", "localhost.example"] {
        assert!(
            get_as(address, "/metrics", host).starts_with("HTTP/1.1 403"),
            "{host}"
        );
    }
    session.finish().unwrap();
}

#[test]
fn own_and_scraped_series_are_served_while_the_run_goes_on() {
    let server = Server::start(|_| Reply::Page(page(7)));
    let (builder, _store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .serve("127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    let address = session.metrics_address().unwrap();

    let own = get(address, "/metrics");
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
    assert!(own.contains("# TYPE up gauge\nup{endpoint_url="), "{own}");
    assert!(!own.contains("vllm:"), "{own}");
    let scraped = get(address, "/federate");
    let body = scraped.split_once("\r\n\r\n").unwrap().1;
    let (parsed, bad) = Page::parse(body.as_bytes(), exposition::Format::Text);
    assert!(bad.is_empty(), "{bad:?}");
    assert!(
        parsed
            .families
            .iter()
            .any(|family| family.name == "vllm:e2e_request_latency_seconds"),
        "{body}"
    );
    assert!(
        body.contains("vllm:generation_tokens_total{endpoint_url="),
        "{body}"
    );
    assert!(get(address, "/").starts_with("HTTP/1.1 404"));

    let latest = session.latest(LONG);
    let tokens = latest
        .iter()
        .find(|sample| &*sample.def.metric_name == "vllm:generation_tokens_total")
        .unwrap();
    assert_eq!(tokens.value, 7.0);
    session.finish().unwrap();
    assert!(TcpStream::connect(address).is_err(), "gone with the session");
}

#[test]
fn a_port_that_is_taken_is_told_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (builder, _store) = recorder();
    let error = builder.serve(taken.local_addr().unwrap()).start().unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error}");
}

#[test]
fn debug_tells_what_every_scrape_found() {
    let server = Server::start(|_| Reply::Page(page(7)));
    let (builder, store) = recorder();
    let session = builder
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .debug(true)
        .start()
        .unwrap();
    assert!(session.scrape_now(LONG));
    let run = session.finish().unwrap();
    let told = events(&store, Some("debug_scrape"));
    assert_eq!(told.len() as u64, run.cost.scrapes);
    assert!(
        told[0].attributes.contains("\"samples\":6"),
        "{}",
        told[0].attributes
    );
}

#[test]
fn an_endpoint_is_looked_at_before_a_run() {
    let check = |reply: fn() -> Reply, expect: &str, reason: &str| {
        let server = Server::start(move |_| reply());
        let endpoint = EndpointConfig::new(server.url())
            .expect(expect)
            .timeout(Duration::from_millis(900));
        match validate_endpoint(endpoint) {
            Ok(found) => assert_eq!((reason, found.samples, found.bad_lines), ("", 6, 0)),
            Err(Error::Endpoint { reason: told, .. }) => assert!(told.contains(reason), "{told}"),
            Err(other) => panic!("{other}"),
        }
    };
    check(|| Reply::Page(page(1)), "vllm:*", "");
    check(
        || Reply::Page(page(1)),
        "sglang:*",
        "none of the expected metrics (sglang:*)",
    );
    check(|| Reply::Status(404), "", "status 404");
    check(
        || Reply::Content("text/html", b"<p>hello</p>".into()),
        "",
        "text/html",
    );
    check(|| Reply::Hang, "", "no complete answer");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = validate_endpoint(EndpointConfig::new(unused.to_string())).unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(matches!(
        validate_endpoint(EndpointConfig::new("gopher://a")),
        Err(Error::Config { .. })
    ));
}
