//! The report, served during a run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Run, simulator};

fn get(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the dashboard listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("a request");
    stream
}

#[test]
fn a_browser_follows_a_run_and_gets_its_report() {
    let simulator = simulator(&[]);
    let flags = "--scenario Offline --duration 3s --num-samples 64 --target-qps 100 --max-tokens 16 --no-plots --dashboard-port 0";
    let mut flags: Vec<&str> = flags.split_whitespace().collect();
    let url = simulator.url();
    flags.extend(["--url", &url]);
    let run = Run::new(&flags);
    let mut child = run
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("its log"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(
            log.read_line(&mut line).expect("the log is text") > 0,
            "no address in the log"
        );
        if let Some((_, address)) = line.trim_end().split_once("dashboard: http://") {
            break address.trim_end_matches('/').to_owned();
        }
    };
    // Read on, so that the program can write.
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).map(|_| rest)
    });
    let mut page = String::new();
    get(&address, "/").read_to_string(&mut page).expect("a page");
    assert!(page.starts_with("HTTP/1.1 200"), "{page:.300}");
    // The first page is of the first tick.
    let mut events = BufReader::new(get(&address, "/events?after=1"));
    let mut kinds = Vec::new();
    loop {
        line.clear();
        assert!(
            events.read_line(&mut line).expect("events") > 0,
            "the events end early: {kinds:?}"
        );
        if let Some(kind) = line.trim_end().strip_prefix("event: ") {
            kinds.push(kind.to_owned());
            if kind == "report" {
                break;
            }
        }
    }
    assert!(
        kinds.iter().any(|kind| kind == "update" || kind == "reload"),
        "{kinds:?}"
    );
    let mut report = String::new();
    get(&address, "/report")
        .read_to_string(&mut report)
        .expect("a report");
    let status = child.wait().expect("an end");
    let rest = rest.join().expect("the log is read").expect("the log is text");
    assert!(status.code().is_some_and(|code| code <= 1), "{status:?} {rest}");
    assert!(
        rest.contains("0 slow clients disconnected, 0 records missed"),
        "{rest}"
    );
    let file = std::fs::read_dir(run.folder().join("metrics_output"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("report_"))
        })
        .expect("a report");
    let stored = std::fs::read_to_string(file).expect("the report is text");
    assert!(report.ends_with(&stored), "the report is the stored one");
    simulator.stop();
}

#[test]
fn an_address_in_use_is_found_before_the_load() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let simulator = simulator(&[]);
    let url = simulator.url();
    let run = Run::new(&["--url", &url, "--num-samples", "8", "--dashboard-port", &port]).finish();
    assert_eq!(run.status, Some(2), "{}", run.shown());
    assert!(
        run.stderr
            .contains("--dashboard-port: cannot listen at 127.0.0.1:"),
        "{}",
        run.shown()
    );
    simulator.stop();
}
