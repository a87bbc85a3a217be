//! One GET with its times and, if it fails, the reason in the core's terms.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use vllm_metrics::{RunClock, ShownUrl};
use vllm_monitor::{Probe, ProbeOutcome, Time};

/// Where a server is.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Arc<str>,
    host: String,
    port: u16,
    prefix: String,
    key: Option<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|_| "redacted");
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("key", &key)
            .finish()
    }
}

impl Endpoint {
    /// Reads a URL such as `http://127.0.0.1:8000`; a trailing `/` or `/v1` is accepted.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str, key: Option<String>) -> Result<Self, String> {
        let shown = ShownUrl::from_text(text);
        let url = url::Url::parse(text).map_err(|e| format!("`{shown}` is not a URL: {e}"))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(format!(
                    "`{shown}`: this build probes over http only; give the server's own http address"
                ));
            }
            other => return Err(format!("`{shown}`: {other} is not a scheme of vLLM; http is")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user or password is not accepted; use api_key_file".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("`{shown}`: a query or fragment has no meaning here"));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => host.to_string(),
            None => return Err(format!("`{shown}` has no host")),
        };
        let path = url.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        let port = url.port().unwrap_or(80);
        let shown = if host.contains(':') {
            format!("http://[{host}]:{port}{prefix}")
        } else {
            format!("http://{host}:{port}{prefix}")
        };
        Ok(Self {
            url: shown.into(),
            host,
            port,
            prefix,
            key,
        })
    }

    /// Scheme, host, port and prefix.
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The key that the server asks for, if one was given.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The address, if the host is this machine by its name: `localhost` or a loopback address.
    pub fn loopback(&self) -> Option<Option<IpAddr>> {
        if self.host == "localhost" {
            return Some(None);
        }
        match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => Some(Some(ip)),
            _ => None,
        }
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Limits of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the request to the end of the answer.
    pub reply: Duration,
    /// Bytes of an answer; a longer one counts as malformed.
    pub body_bytes: usize,
}

impl Limits {
    /// For routes with short answers: 2 s to connect, 5 s to reply, 1 MiB.
    pub const SHORT: Self = Self {
        connect: Duration::from_secs(2),
        reply: Duration::from_secs(5),
        body_bytes: 1 << 20,
    };
    /// For a page of metrics: 2 s to connect, 10 s to reply, 16 MiB.
    pub const PAGE: Self = Self {
        connect: Duration::from_secs(2),
        reply: Duration::from_secs(10),
        body_bytes: 16 << 20,
    };
}

/// What came of one GET.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Times and outcome.
    pub probe: Probe,
    /// The body; empty unless it was read whole.
    pub body: Bytes,
    /// When the answer was complete, or given up.
    pub ended: Time,
}

impl Answer {
    /// The body of an answer with status 200 to 299.
    pub fn success(&self) -> Option<&Bytes> {
        self.probe.outcome.is_success().then_some(&self.body)
    }
}

/// Asks for one route and reads the whole answer.
pub async fn get(endpoint: &Endpoint, path: &str, limits: Limits, clock: &RunClock) -> Answer {
    let mut probe = Probe {
        at: Time::from_nanos(clock.now_ns()),
        outcome: ProbeOutcome::NoReply,
        connect_secs: None,
        first_byte_secs: None,
    };
    let begun = Instant::now();
    let connect = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let body = match timeout(limits.connect, connect).await {
        Err(_) => {
            probe.outcome = ProbeOutcome::ConnectTimeout;
            Bytes::new()
        }
        Ok(Err(error)) => {
            probe.outcome = match error.kind() {
                io::ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ProbeOutcome::Reset,
                _ => ProbeOutcome::Unreachable,
            };
            Bytes::new()
        }
        Ok(Ok(stream)) => {
            probe.connect_secs = Some(begun.elapsed().as_secs_f64());
            exchange(stream, endpoint, path, limits, &mut probe).await
        }
    };
    Answer {
        probe,
        body,
        ended: Time::from_nanos(clock.now_ns()),
    }
}

async fn exchange(
    stream: TcpStream,
    endpoint: &Endpoint,
    path: &str,
    limits: Limits,
    probe: &mut Probe,
) -> Bytes {
    let sent = Instant::now();
    let deadline = sent + limits.reply;
    // A small request must not wait for more bytes to come.
    let _best_effort = stream.set_nodelay(true);
    let head = tokio::time::timeout_at(deadline, head(stream, endpoint, path)).await;
    let (response, _connection) = match head {
        Err(_) => return Bytes::new(), // NoReply
        Ok(Err(outcome)) => {
            probe.outcome = outcome;
            return Bytes::new();
        }
        Ok(Ok(answered)) => answered,
    };
    probe.first_byte_secs = Some(sent.elapsed().as_secs_f64());
    let status = response.status().as_u16();
    if response.body().size_hint().lower() > limits.body_bytes as u64 {
        probe.outcome = ProbeOutcome::Malformed;
        return Bytes::new();
    }
    let body = http_body_util::Limited::new(response.into_body(), limits.body_bytes);
    match tokio::time::timeout_at(deadline, body.collect()).await {
        // It began and did not end: as good as cut short.
        Err(_) => {
            probe.outcome = ProbeOutcome::Truncated;
            Bytes::new()
        }
        Ok(Err(error)) => {
            probe.outcome = if error.is::<http_body_util::LengthLimitError>() {
                ProbeOutcome::Malformed
            } else {
                error
                    .downcast_ref::<hyper::Error>()
                    .map_or(ProbeOutcome::Truncated, body_failure)
            };
            Bytes::new()
        }
        Ok(Ok(collected)) => {
            probe.outcome = ProbeOutcome::Status(status);
            collected.to_bytes()
        }
    }
}

/// Ends the connection's task when the answer has been read or given up.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn head(
    stream: TcpStream,
    endpoint: &Endpoint,
    path: &str,
) -> Result<(Response<Incoming>, Connection), ProbeOutcome> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| head_failure(&e))?;
    let task = Connection(tokio::spawn(async move {
        // Its errors reach the sender and the body as well.
        let _reported = connection.await;
    }));
    let mut request = Request::get(format!("{}{path}", endpoint.prefix))
        .header(HOST, endpoint.authority())
        .header(CONNECTION, "close")
        .header(ACCEPT, "*/*");
    if let Some(key) = &endpoint.key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeOutcome::Malformed)?;
    let response = sender.send_request(request).await.map_err(|e| head_failure(&e))?;
    Ok((response, task))
}

fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

fn head_failure(error: &hyper::Error) -> ProbeOutcome {
    if error.is_parse() || error.is_parse_too_large() {
        ProbeOutcome::Malformed
    } else if error.is_incomplete_message()
        || io_kind(error).is_some()
        || error.is_canceled()
        || error.is_closed()
    {
        ProbeOutcome::Reset
    } else {
        ProbeOutcome::Malformed
    }
}

fn body_failure(error: &hyper::Error) -> ProbeOutcome {
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => ProbeOutcome::Reset,
        _ if error.is_parse() => ProbeOutcome::Malformed,
        _ => ProbeOutcome::Truncated,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const QUICK: Limits = Limits {
        connect: Duration::from_secs(2),
        reply: Duration::from_millis(300),
        body_bytes: 1000,
    };

    /// A server that reads a request, writes these bytes and then closes, resets or keeps the connection.
    async fn against(bytes: &'static [u8], end: &'static str) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.expect("a request");
            stream.write_all(bytes).await.expect("written");
            match end {
                "keep" => std::future::pending().await,
                "reset" => stream.set_zero_linger().expect("a TCP socket"),
                _ => {}
            }
        });
        let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}"), None).expect("a URL");
        let answer = get(&endpoint, "/health", QUICK, &RunClock::start()).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn every_kind_of_answer_has_its_outcome() {
        for (bytes, end, outcome) in [
            (
                &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
                "keep",
                ProbeOutcome::Status(200),
            ),
            (
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
                "close",
                ProbeOutcome::Status(503),
            ),
            (b"", "keep", ProbeOutcome::NoReply),
            (b"", "close", ProbeOutcome::Reset),
            (b"", "reset", ProbeOutcome::Reset),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
                "close",
                ProbeOutcome::Truncated,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
                "keep",
                ProbeOutcome::Truncated,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\nok",
                "keep",
                ProbeOutcome::Malformed,
            ),
            (b"220 smtp ready\r\n\r\n", "keep", ProbeOutcome::Malformed),
        ] {
            let answer = against(bytes, end).await;
            assert_eq!(
                answer.probe.outcome,
                outcome,
                "{:?} then {end}",
                String::from_utf8_lossy(bytes)
            );
            assert!(answer.probe.connect_secs.is_some());
        }
    }

    #[tokio::test]
    async fn nothing_listens_or_no_such_host() {
        let clock = RunClock::start();
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listener.local_addr().expect("bound").port()
        };
        let refused = Endpoint::parse(&format!("http://127.0.0.1:{port}"), None).expect("a URL");
        assert_eq!(
            get(&refused, "/", QUICK, &clock).await.probe.outcome,
            ProbeOutcome::Refused
        );
        let nowhere = Endpoint::parse("http://no-such-host.invalid", None).expect("a URL");
        let outcome = get(&nowhere, "/", QUICK, &clock).await.probe.outcome;
        assert!(
            matches!(outcome, ProbeOutcome::Unreachable | ProbeOutcome::ConnectTimeout),
            "{outcome:?}"
        );
    }

    #[test]
    fn urls_are_read_and_mistakes_named() {
        let endpoint = Endpoint::parse("http://[::1]:8000/v1/", None).expect("a URL");
        assert_eq!(&**endpoint.url(), "http://[::1]:8000");
        assert!(endpoint.loopback().is_some());
        let prefixed = Endpoint::parse("http://gpu7/llm", None).expect("a URL");
        assert_eq!((&**prefixed.url(), prefixed.port()), ("http://gpu7:80/llm", 80));
        assert_eq!(prefixed.loopback(), None);
        for (text, word) in [
            ("localhost:8000", "scheme"),
            ("https://a", "http only"),
            ("http://u:p@a", "api_key_file"),
            ("nonsense", "not a URL"),
        ] {
            let problem = Endpoint::parse(text, None).expect_err("refused");
            assert!(problem.contains(word), "{text}: {problem}");
        }
        let secret = Endpoint::parse("http://a", Some("s3cret".into())).expect("a URL");
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
