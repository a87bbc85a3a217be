//! The HTTP server: three routes, few connections, GET only.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::growing::Command;
use crate::hub::Hub;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// Longest wait for a request's headers.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Longest time of a connection that receives no events.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Time between two signs of life to each page.
const HEARTBEAT: Duration = Duration::from_secs(15);
const COOKIE: &str = "sut_dashboard";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Who may read.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) hosts: Vec<String>,
    pub(crate) token: Option<String>,
}

/// What requests need.
#[derive(Debug)]
pub(crate) struct Routes {
    access: Access,
    hub: Arc<Hub>,
    commands: Sender<Command>,
}

impl Routes {
    pub(crate) fn new(access: Access, hub: Arc<Hub>, commands: Sender<Command>) -> Self {
        Self {
            access,
            hub,
            commands,
        }
    }
}

/// Serves until stopped, on the calling thread.
pub(crate) fn run(listener: TcpListener, routes: &Arc<Routes>, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(accept(listener, routes, stop)),
        Err(error) => tracing::warn!("the dashboard cannot be served: {error}"),
    }
}

async fn accept(listener: TcpListener, routes: &Arc<Routes>, stop: &CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!("the dashboard cannot be served: {error}"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, _)) => Some((stream, place)),
                Err(_) => {
                    // Probably out of file descriptors: a pause instead of a busy loop.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    None
                }
            }
        };
        let (stream, place) = tokio::select! {
            () = stop.cancelled() => break,
            _ = heartbeat.tick() => {
                routes.hub.heartbeat();
                continue;
            }
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
        };
        let routes = Arc::clone(routes);
        connections.spawn(async move {
            let _place = place;
            connection(TokioIo::new(stream), &routes).await;
        });
    }
    // What was sent last is still on its way: a short time for it, then the connections are dropped.
    let settled = async { while connections.join_next().await.is_some() {} };
    let _cut = tokio::time::timeout(Duration::from_millis(200), settled).await;
}

async fn connection(stream: TokioIo<tokio::net::TcpStream>, routes: &Routes) {
    // Cancelled if the client does not keep up: it may read nothing at all.
    let kill = CancellationToken::new();
    // Cancelled once the connection receives events, which may last as long as the run.
    let lasting = CancellationToken::new();
    let service = service_fn(|request| {
        let (kill, lasting) = (kill.clone(), lasting.clone());
        async move { Ok::<_, Infallible>(answer(routes, &request, kill, &lasting).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        // An idle connection would take the place of another.
        .keep_alive(false)
        .serve_connection(stream, service);
    let too_long = async {
        tokio::select! {
            () = lasting.cancelled() => std::future::pending().await,
            () = tokio::time::sleep(ANSWER_TIME) => {}
        }
    };
    tokio::select! {
        // A client that goes away is no error.
        _gone = serving => {}
        () = kill.cancelled() => {}
        () = too_long => {}
    }
}

async fn answer<B>(
    routes: &Routes,
    request: &Request<B>,
    kill: CancellationToken,
    lasting: &CancellationToken,
) -> Response<Body> {
    if let Some(refusal) = refusal(&routes.access, request) {
        return refusal;
    }
    match request.uri().path() {
        "/" => page(routes).await,
        "/events" => events(routes, request, kill, lasting),
        "/report" => report(routes),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /, /events and, after the run, /report\n",
        ),
    }
}

/// Why a request is not answered, or how a browser is given the token as a cookie.
fn refusal<B>(access: &Access, request: &Request<B>) -> Option<Response<Body>> {
    let of = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    match of(header::HOST) {
        Some(host) if http_guard::is_known_host(host, &access.hosts) => {}
        Some(_) => {
            let why = "this name is not allowed; allow it with --dashboard-allow-host\n";
            return Some(text(StatusCode::MISDIRECTED_REQUEST, why));
        }
        None => return Some(text(StatusCode::BAD_REQUEST, "a Host header is needed\n")),
    }
    if request.method() != Method::GET {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    let token = access.token.as_deref()?;
    let cookies = of(header::COOKIE).unwrap_or_default().split(';');
    let mut cookies = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    if cookies.any(|(name, value)| name == COOKIE && http_guard::is_same_secret(value, token)) {
        return None;
    }
    match parameter(request, "token") {
        Some(given) if http_guard::is_same_secret(given, token) => {
            // The token leaves the address bar.
            let mut response = text(StatusCode::SEE_OTHER, "");
            let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, HeaderValue::from_static("/"));
            let cookie = HeaderValue::try_from(cookie).expect("the token is hexadecimal digits");
            headers.insert(header::SET_COOKIE, cookie);
            Some(response)
        }
        _ => Some(text(
            StatusCode::UNAUTHORIZED,
            "open the address that the program printed: it contains a token\n",
        )),
    }
}

fn parameter<'r, B>(request: &'r Request<B>, name: &str) -> Option<&'r str> {
    let pairs = request.uri().query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

async fn page(routes: &Routes) -> Response<Body> {
    let (reply, answer) = oneshot::channel();
    let sent = routes.commands.send(Command::Page(reply));
    match answer.await {
        Ok(Ok(html)) => {
            routes.hub.count_page();
            response(StatusCode::OK, "text/html; charset=utf-8", html)
        }
        Ok(Err(error)) => {
            tracing::warn!("the dashboard has no page: {error}");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page cannot be made; the log says why\n",
            )
        }
        // The worker has ended with the run.
        Err(_) if sent.is_err() || routes.hub.report().is_some() => report(routes),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the run has ended\n"),
    }
}

fn events<B>(
    routes: &Routes,
    request: &Request<B>,
    kill: CancellationToken,
    lasting: &CancellationToken,
) -> Response<Body> {
    let last = request
        .headers()
        .get("last-event-id")
        .and_then(|id| id.to_str().ok());
    let after = last
        .or_else(|| parameter(request, "after"))
        .and_then(|id| id.parse().ok());
    let Some(after) = after else {
        return text(StatusCode::BAD_REQUEST, "after= or Last-Event-ID is needed\n");
    };
    match routes.hub.connect(after, kill) {
        Ok(receiver) => {
            lasting.cancel();
            let frames = stream::unfold(receiver, |mut receiver| async {
                let event = receiver.recv().await?;
                Some((Ok(Frame::data(event)), receiver))
            });
            with_headers(
                StatusCode::OK,
                "text/event-stream",
                BodyExt::boxed_unsync(StreamBody::new(frames)),
            )
        }
        Err(most) => {
            let why = format!("{} pages are open already, and no more receive updates\n", most.0);
            let mut response = response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why.into());
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
            response
        }
    }
}

fn report(routes: &Routes) -> Response<Body> {
    let Some(path) = routes.hub.report() else {
        return text(
            StatusCode::NOT_FOUND,
            "the report is written at the end of the run\n",
        );
    };
    match std::fs::read(&path) {
        Ok(html) => {
            routes.hub.count_report();
            response(StatusCode::OK, "text/html; charset=utf-8", html.into())
        }
        Err(error) => {
            tracing::warn!("the report {} cannot be served: {error}", path.display());
            text(StatusCode::NOT_FOUND, "the report cannot be read\n")
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    response(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    with_headers(status, kind, Full::new(body).boxed_unsync())
}

/// The page's own policy allows no other source; these headers add what a policy inside a page cannot state.
fn with_headers(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
