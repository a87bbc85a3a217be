//! A small HTTP server that answers each request from a script, on a port that the system chooses.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vllm_metrics::{EndpointConfig, MemoryStore, Record, Session, SessionBuilder};

/// One answer.
pub(crate) enum Reply {
    /// Status 200 and this page.
    Page(String),
    /// The first if the query names metrics and the path ends in a slash, else the second.
    PartOrPage(&'static str, String),
    /// This status and an empty body.
    Status(u16),
    /// Status 200, this content type and body.
    Content(&'static str, Vec<u8>),
    /// This status and header, and a page as the body.
    Header(u16, &'static str),
    /// The headers announce more than is sent, then the connection is closed.
    Cut(String),
    /// The connection is closed without an answer.
    Close,
    /// No answer until the server is stopped.
    Hang,
}

#[derive(Default)]
struct State {
    served: usize,
    requests: Vec<String>,
    streams: Vec<TcpStream>,
    stopped: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

pub(crate) struct Server {
    address: SocketAddr,
    shared: Shared,
    accepting: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers request `n` (from 0) with `script(n)`.
    pub(crate) fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// Like [`Server::start`], at an address that was used before.
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Shared = Arc::default();
        let accepting = Arc::new(AtomicBool::new(true));
        let script = Arc::new(script);
        let thread = std::thread::spawn({
            let (shared, accepting) = (Arc::clone(&shared), Arc::clone(&accepting));
            move || {
                let mut connections = Vec::new();
                for stream in listener.incoming() {
                    if !accepting.load(Ordering::SeqCst) {
                        break;
                    }
                    let stream = stream.unwrap();
                    shared.0.lock().unwrap().streams.push(stream.try_clone().unwrap());
                    let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                    connections.push(std::thread::spawn(move || {
                        serve(stream, &shared, script.as_ref());
                    }));
                }
                drop(listener);
                for connection in connections {
                    connection.join().unwrap();
                }
            }
        });
        Self {
            address,
            shared,
            accepting,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Waits until at least `n` requests have arrived.
    pub(crate) fn wait_served(&self, n: usize) {
        let guard = self.shared.0.lock().unwrap();
        let (guard, waited) = self
            .shared
            .1
            .wait_timeout_while(guard, Duration::from_secs(20), |state| state.served < n)
            .unwrap();
        assert!(!waited.timed_out(), "only {} of {n} requests came", guard.served);
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().requests.clone()
    }

    /// Closes every connection and the port.
    pub(crate) fn stop(mut self) {
        self.stop_now();
    }

    fn stop_now(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.accepting.store(false, Ordering::SeqCst);
        {
            let mut state = self.shared.0.lock().unwrap();
            state.stopped = true;
            for stream in &state.streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
            self.shared.1.notify_all();
        }
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_now();
    }
}

fn serve(stream: TcpStream, shared: &Shared, script: &(impl Fn(usize) -> Reply + ?Sized)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        loop {
            let start = head.len();
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if &head[start..] == "\r\n" => break,
                Ok(_) => {}
            }
        }
        let asks = head.contains("/?name%5B%5D=");
        let n = {
            let mut state = shared.0.lock().unwrap();
            state.requests.push(head);
            state.served += 1;
            shared.1.notify_all();
            state.served - 1
        };
        if answer(&mut stream, script(n), asks, shared).is_err() {
            return;
        }
    }
}

fn answer(stream: &mut TcpStream, reply: Reply, asks: bool, shared: &Shared) -> std::io::Result<()> {
    const TEXT: &str = "text/plain; version=0.0.4";
    let full = |stream: &mut TcpStream, status: u16, content_type: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    };
    match reply {
        Reply::Page(page) => full(stream, 200, TEXT, page.as_bytes()),
        Reply::PartOrPage(part, _) if asks => full(stream, 200, TEXT, part.as_bytes()),
        Reply::PartOrPage(_, page) => full(stream, 200, TEXT, page.as_bytes()),
        Reply::Status(status) => full(stream, status, TEXT, b""),
        Reply::Content(content_type, body) => full(stream, 200, content_type, &body),
        Reply::Header(status, header) => {
            let page = page(1);
            let length = page.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: {TEXT}\r\n{header}\r\ncontent-length: {length}\r\n\r\n{page}"
            )
        }
        Reply::Cut(half) => {
            let length = half.len() + 1000;
            write!(
                stream,
                "HTTP/1.1 200 X\r\ncontent-type: {TEXT}\r\ncontent-length: {length}\r\n\r\n{half}"
            )?;
            stream.shutdown(Shutdown::Both)
        }
        Reply::Close => stream.shutdown(Shutdown::Both),
        Reply::Hang => {
            let guard = shared.0.lock().unwrap();
            drop(shared.1.wait_while(guard, |state| !state.stopped).unwrap());
            Ok(())
        }
    }
}

/// A page like vLLM's, with one counter, one gauge and one histogram, all counting `n`.
pub(crate) fn page(n: usize) -> String {
    let half = n / 2;
    format!(
        "# TYPE vllm:generation_tokens_total counter\n\
         vllm:generation_tokens_total{{engine=\"0\",model_name=\"a,b\"}} {n}.0\n\
         # TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"a,b\"}} {half}.0\n\
         # TYPE vllm:e2e_request_latency_seconds histogram\n\
         vllm:e2e_request_latency_seconds_bucket{{engine=\"0\",le=\"0.3\"}} {half}.0\n\
         vllm:e2e_request_latency_seconds_bucket{{engine=\"0\",le=\"+Inf\"}} {n}.0\n\
         vllm:e2e_request_latency_seconds_count{{engine=\"0\"}} {n}.0\n\
         vllm:e2e_request_latency_seconds_sum{{engine=\"0\"}} {n}.5\n"
    )
}

/// A session builder that writes to the returned store.
pub(crate) fn recorder() -> (SessionBuilder, MemoryStore) {
    let store = MemoryStore::new();
    (Session::builder().store(Box::new(store.clone())), store)
}

/// An interval longer than any test: nothing is scraped unless a test asks for it.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A session that scrapes `server` only when it is asked to.
pub(crate) fn scraped_by_hand(server: &Server) -> (Session, MemoryStore) {
    let (builder, store) = recorder();
    let builder = builder.endpoint(EndpointConfig::new(server.url()));
    (builder.interval(NEVER).start().unwrap(), store)
}

/// (value, phase) of every sample of the series `name`, in order, after checking that definitions come first.
pub(crate) fn samples(store: &MemoryStore, name: &str) -> Vec<(f64, String)> {
    store.with(|run| {
        let mut names = Vec::new();
        let mut found = Vec::new();
        for record in &run.records {
            match record {
                Record::Series(id, def) => {
                    assert_eq!(id.0 as usize, names.len(), "ids are dense and in order");
                    names.push(def.metric_name.to_string());
                }
                Record::Samples(batch) => {
                    for sample in &batch.samples {
                        if names[sample.series.0 as usize] == name {
                            found.push((sample.value, batch.phase.to_string()));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    })
}

/// The kinds of all events, in order of arrival.
pub(crate) fn event_kinds(store: &MemoryStore) -> Vec<String> {
    events(store, None)
        .iter()
        .map(|event| event.kind.to_string())
        .collect()
}

/// Events of one kind, or all.
pub(crate) fn events(store: &MemoryStore, kind: Option<&str>) -> Vec<vllm_metrics::EventRow> {
    store.with(|run| {
        run.records
            .iter()
            .filter_map(|record| match record {
                Record::Event(event) if kind.is_none_or(|kind| *event.kind == *kind) => Some(event.clone()),
                _ => None,
            })
            .collect()
    })
}

/// Forces scrapes until endpoint `index` has had `n` successful ones.
pub(crate) fn wait_scrapes(session: &Session, index: usize, n: u64) {
    let mut tries = 0;
    while session.endpoints()[index].scrapes < n {
        session.scrape_now(Duration::from_secs(20));
        tries += 1;
        assert!(tries < 1000, "{:?}", session.endpoints());
    }
}
