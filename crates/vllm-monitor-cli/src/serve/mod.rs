//! The monitor's own endpoint: `/metrics`, `/status`, `/events`, `/livez`, `/readyz`, and what a token opens.
//!
//! It listens on loopback unless told otherwise. A request whose `Host` is a name that was not allowed is refused, so
//! that a web page cannot reach it through a name of its own. Connections, headers, bodies and listeners are limited.

mod control;
mod events;
mod guard;
mod metrics;
mod probes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::acting::{ActingHandle, Advice};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::plugins::PluginHandle;
use crate::status::Status;
use crate::target::Note;

pub use guard::Access;
pub use metrics::page as metrics_page;
pub use probes::{Verdict, is_active, live, ready};

/// Connections at a time; further ones wait.
const MOST_CONNECTIONS: usize = 256;
/// Longest wait for a request's headers.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// What the routes need.
#[derive(Debug, Clone)]
pub struct App {
    /// The monitor.
    pub hub: Arc<Hub>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Time between snapshots, from which "in time" follows.
    pub interval: Duration,
    /// Where each target takes reports.
    pub notes: Arc<std::collections::BTreeMap<Arc<str>, mpsc::Sender<Note>>>,
    /// The part that acts.
    pub acting: ActingHandle,
    /// The plugins.
    pub plugins: PluginHandle,
}

/// A bound endpoint that serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Binds the address and begins to serve.
    ///
    /// # Errors
    /// [`Error::Listen`] if the address cannot be had.
    pub async fn start(address: SocketAddr, app: App) -> Result<Self> {
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let task = tokio::spawn(accept(listener, router(app)));
        Ok(Self { address: bound, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of file descriptors, most likely: a pause instead of a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no error of ours.
            let _gone = connection.await;
            drop(place);
        });
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/events", get(events::stream))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/monitor/livez", get(own_livez))
        .route("/recommendations", get(recommendations))
        .route("/control/kill-switch", post(control::kill_switch))
        .route("/control/reset-breaker", post(control::reset_breaker))
        .route("/control/expect-stop", post(control::expect_stop))
        .route("/control/accept-speed", post(control::accept_speed))
        .layer(axum::extract::DefaultBodyLimit::max(16 << 10))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app.access),
            guard::check,
        ))
        .with_state(app)
}

async fn overview() -> &'static str {
    "vllm-monitor\n\n\
     /metrics   Prometheus text\n\
     /status    everything that is known, as JSON\n\
     /events    what happens, as server-sent events; ?after=N for those after record N\n\
     /livez     503 if the server has failed; ?target=NAME where there are several\n\
     /recommendations  actions against failures, best first, and what was learned; ?target=NAME&failure=NAME\n\
     /readyz    503 unless the server takes requests; ?target=NAME\n\
     /monitor/livez  503 if the monitor itself makes no progress\n"
}

async fn metrics(State(app): State<App>) -> Response {
    match metrics::page(&app.hub, &app.acting.status(), &app.plugins.status()) {
        Ok(page) => (
            [(header::CONTENT_TYPE, exposition::Format::Text.content_type())],
            page,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status(State(app): State<App>) -> axum::Json<Status> {
    let active = is_active(&app.hub, app.interval);
    axum::Json(Status::of(
        &app.hub,
        active,
        app.acting.status(),
        app.plugins.status(),
    ))
}

/// What a question about actions is limited to.
#[derive(Debug, Deserialize)]
struct About {
    target: Option<String>,
    failure: Option<String>,
}

async fn recommendations(State(app): State<App>, Query(about): Query<About>) -> Response {
    let advice = move || -> Advice {
        app.acting
            .advice(about.target.as_deref(), about.failure.as_deref())
    };
    match tokio::task::spawn_blocking(advice).await {
        Ok(advice) => axum::Json(advice).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Which target a question is about.
#[derive(Debug, Deserialize)]
struct Which {
    target: Option<String>,
}

async fn livez(State(app): State<App>, Query(which): Query<Which>) -> Response {
    answer(&live(&app.hub, app.interval, which.target.as_deref()))
}

async fn readyz(State(app): State<App>, Query(which): Query<Which>) -> Response {
    answer(&ready(&app.hub, app.interval, which.target.as_deref()))
}

async fn own_livez(State(app): State<App>) -> Response {
    answer(&probes::own(&app.hub, app.interval))
}

fn answer(verdict: &Verdict) -> Response {
    let status = match verdict.is_well {
        Some(true) => StatusCode::OK,
        Some(false) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::NOT_FOUND,
    };
    (status, format!("{}\n", verdict.why)).into_response()
}
