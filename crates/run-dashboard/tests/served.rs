//! A run that is served, as a browser and as a hostile page see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use run_dashboard::{Dashboard, Options};
use vllm_metrics::{
    Filter, Manifest, MetricType, Recorder, RunClock, Sample, SampleBatch, SeriesDef, SeriesId,
};

struct Served {
    dashboard: Dashboard,
    address: SocketAddr,
    recorder: Recorder,
    series: SeriesId,
}

fn serve(change: impl FnOnce(&mut Options)) -> Served {
    let recorder = Recorder::new(RunClock::start());
    let series = recorder.series(SeriesDef {
        metric_name: "vllm:num_requests_running".into(),
        labels: "{}".into(),
        metric_type: MetricType::Gauge,
        unit: "requests".into(),
        source: "prometheus".into(),
        endpoint_url: "http://a/metrics".into(),
    });
    let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    options.every = Duration::from_millis(20);
    change(&mut options);
    let manifest = Manifest {
        stamp: "20260101_000000".into(),
        started_ns: recorder.now_ns(),
        simulated: true,
        ..Manifest::default()
    };
    let subscription = recorder.subscribe(Filter::all(), 1 << 20);
    let status_lines = Box::new(|| vec!["forecast: on track".to_owned()]);
    let dashboard = Dashboard::start(&options, subscription, manifest, status_lines).expect("it is served");
    let port = dashboard.url().split(':').nth(2).expect("a port");
    let port: u16 = port.split('/').next().expect("a port").parse().expect("a number");
    Served {
        dashboard,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        recorder,
        series,
    }
}

impl Served {
    fn sample(&self, value: f64) {
        let now_ns = self.recorder.now_ns();
        self.recorder.samples(SampleBatch {
            start_ns: now_ns,
            end_ns: now_ns,
            samples: vec![Sample {
                series: self.series,
                timestamp_ns: now_ns,
                value,
            }],
            ..SampleBatch::default()
        });
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a limit");
        write!(stream, "{request}\r\n\r\n").expect("a request");
        stream
    }

    /// The whole answer.
    fn ask(&self, request: &str) -> String {
        let mut answer = Vec::new();
        self.send(request).read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost"))
    }
}

/// Reads events until one has this text, and returns its `data` line.
fn event(reader: &mut impl BufRead, kind: &str) -> String {
    let mut line = String::new();
    let mut found = false;
    loop {
        line.clear();
        assert!(
            reader.read_line(&mut line).expect("a line") > 0,
            "the events end before {kind}"
        );
        if line.trim_end() == format!("event: {kind}") {
            found = true;
        } else if found && let Some(data) = line.strip_prefix("data: ") {
            return data.trim_end().to_owned();
        }
    }
}

#[test]
fn a_page_shows_what_came_before_and_grows_until_the_report() {
    let served = serve(|_| {});
    served.sample(17.0);
    let page = served.get("/");
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{}", &page[..200]);
    for part in ["SIMULATED", "forecast: on track", "x-frame-options: DENY"] {
        assert!(
            page.to_lowercase().contains(&part.to_lowercase()),
            "{part} is missing"
        );
    }
    // The first page is of the first tick.
    let request = format!(
        "GET /events?after=1 HTTP/1.1\r\nHost: 127.0.0.1:{}",
        served.address.port()
    );
    let mut events = BufReader::new(served.send(&request));
    served.sample(1234.5);
    let update = loop {
        let update = event(&mut events, "update");
        if update.contains("1234.5") {
            break update;
        }
    };
    assert!(
        !update.contains("17.0"),
        "what the page has is not sent again: {update}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, "the final report").unwrap();
    let address = served.address;
    let reader = std::thread::spawn(move || {
        assert_eq!(event(&mut events, "report"), "report");
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let counts = served
        .dashboard
        .finish(Some(path), Duration::from_secs(60), || false);
    assert!(reader.join().unwrap().ends_with("the final report"));
    assert!(counts.pages == 1 && counts.updates >= 1, "{counts:?}");
    assert_eq!((counts.dropped, counts.missed), (0, 0));
}

#[test]
fn without_an_open_page_the_end_waits_for_nothing() {
    let served = serve(|_| {});
    let counts = served
        .dashboard
        .finish(Some("report.html".into()), Duration::from_secs(3600), || false);
    assert_eq!(counts.pages, 0);
}

#[test]
fn foreign_names_and_other_methods_are_refused() {
    let served = serve(|options| options.hosts = vec!["bench.example".into()]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example", 421),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example", 421),
        ("GET / HTTP/1.1\r\nHost: bench.example:80", 200),
        ("GET / HTTP/1.1\r\nHost: [::1]", 200),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\nHost: localhost", 405),
        ("GET /report HTTP/1.1\r\nHost: localhost", 404),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost", 404),
        ("GET /events HTTP/1.1\r\nHost: localhost", 400),
        ("GET / HTTP/1.1", 400),
    ] {
        let answer = served.ask(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer:.100}"
        );
    }
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let served = serve(|options| options.address = SocketAddr::from(([0, 0, 0, 0], 0)));
    let url = served.dashboard.url().to_owned();
    let (_, token) = url.split_once("?token=").expect("the address has a token");
    assert_eq!(token.len(), 32);
    let wrong = "0".repeat(32);
    for path in [
        "/".to_owned(),
        "/report".to_owned(),
        format!("/?token={wrong}"),
        "/?token=".to_owned(),
    ] {
        assert!(served.get(&path).starts_with("HTTP/1.1 401"), "{path}");
    }
    let redirect = served.get(&format!("/?token={token}"));
    assert!(
        redirect.starts_with("HTTP/1.1 303") && redirect.contains("HttpOnly"),
        "{redirect}"
    );
    let with_cookie = |value: &str| {
        served.ask(&format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a=b; sut_dashboard={value}"
        ))
    };
    assert!(with_cookie(token).starts_with("HTTP/1.1 200"));
    assert!(with_cookie(&wrong).starts_with("HTTP/1.1 401"));
}

#[test]
fn pages_beyond_the_limit_get_no_updates() {
    let served = serve(|options| options.clients = 1);
    let request = "GET /events?after=0 HTTP/1.1\r\nHost: localhost";
    let mut first = BufReader::new(served.send(request));
    let mut line = String::new();
    first.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let second = served.ask(request);
    assert!(second.starts_with("HTTP/1.1 503"), "{second}");
    assert!(second.contains("retry-after: 30"), "{second}");
    assert_eq!(served.dashboard.clients(), 1);
}

#[test]
fn an_address_in_use_is_an_error() {
    let served = serve(|_| {});
    let recorder = Recorder::new(RunClock::start());
    let again = Dashboard::start(
        &Options::new(served.address),
        recorder.subscribe(Filter::all(), 1 << 20),
        Manifest::default(),
        Box::new(Vec::new),
    );
    let error = again.unwrap_err().to_string();
    assert!(error.contains(&served.address.to_string()), "{error}");
}
