//! HTTP server of the session's own endpoint: two pages and few connections, stopped with the session.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exposition::Format;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::page::{is_scraped, render};
use crate::recorder::LatestValues;
use run_model::RunClock;
use run_model::{Error, Result};

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a client may take to send the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Maximum lifetime of a connection, so that an idle one does not hold a slot forever.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// A bound port that is not being served yet.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    latest: Arc<LatestValues>,
    clock: RunClock,
    max_age: Duration,
}

impl Server {
    /// Binds `address` immediately, so that a port in use is reported at the start. Samples older than
    /// `max_age` are omitted.
    pub(crate) fn bind(
        address: SocketAddr,
        latest: &Arc<LatestValues>,
        clock: &RunClock,
        max_age: Duration,
    ) -> Result<Self> {
        let start = |source| Error::Start {
            what: "the session's own metrics endpoint",
            source,
        };
        let listener = TcpListener::bind(address).map_err(start)?;
        listener.set_nonblocking(true).map_err(start)?;
        Ok(Self {
            listener,
            latest: Arc::clone(latest),
            clock: clock.clone(),
            max_age,
        })
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until stopped, then drops open connections.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "the session's own metrics endpoint cannot be served");
                return;
            }
        };
        let loopback = listener
            .local_addr()
            .is_ok_and(|address| address.ip().is_loopback());
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (latest, clock, max_age) = (Arc::clone(&self.latest), self.clock.clone(), self.max_age);
            connections.spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let response = if loopback && !names_this_machine(&request) {
                        plain(StatusCode::FORBIDDEN, FOREIGN.into())
                    } else {
                        answer(&latest, clock.now_ns(), max_age, &request)
                    };
                    async { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIME)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that disconnects is not an error.
                let _ = tokio::time::timeout(CONNECTION_LIFE, connection).await;
            });
        }
    }
}

async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            // Probably out of file descriptors: avoid a busy loop.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

const FOREIGN: &str = "this address is for this machine only; use http://127.0.0.1 or http://localhost\n";

/// Whether a request names this machine. A web page may point a name of its own at 127.0.0.1 and so read what
/// is served there only to this machine.
fn names_this_machine<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(HOST) else {
        return true;
    };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn answer<B>(
    latest: &LatestValues,
    now_ns: i64,
    max_age: Duration,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let scraped = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => false,
        (&Method::GET, "/federate") => true,
        (&Method::GET, _) => {
            return plain(StatusCode::NOT_FOUND, "there are /metrics and /federate\n".into());
        }
        _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    };
    let fresh = latest.fresh(now_ns, max_age);
    let samples = fresh.iter().filter(|sample| is_scraped(sample) == scraped);
    match render(samples, &latest.help()) {
        Ok(page) => plain(StatusCode::OK, page),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(Format::Text.content_type()),
    );
    response
}
