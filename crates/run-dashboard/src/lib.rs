//! The interactive report of a run that goes on, served to browsers.
//!
//! ```text
//!  Subscription ─► worker: LiveView ─► Analysis ─► page ─┬─► GET /        (rendered when asked for)
//!                                                        └─► update ─► hub ─► GET /events, bounded per client
//! ```
//!
//! The page is that of `run-report`; [`report_page::Update`] appends to it. The worker analyses the run only while a
//! page is open, and at most for 2 % of the time, so that it takes little from the run. A page that is opened late
//! shows what came before. A client that does not keep up is disconnected and counted; nothing waits for it.
//!
//! The server listens on loopback unless told otherwise, checks `Host`, and elsewhere requires a token. It answers
//! only GET, and sends nothing but the page, its updates and, after the end, the report.

mod error;
mod growing;
mod hub;
mod serve;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio_util::sync::CancellationToken;
use vllm_metrics::{Manifest, Subscription};

pub use error::{Error, Result};
use growing::{Command, Worker};
use hub::Hub;
use serve::{Access, Routes};

/// How a run is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 is any free port.
    pub address: SocketAddr,
    /// Names by which browsers may call the server, in addition to addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Pages at a time that receive updates; further ones are refused.
    pub clients: usize,
    /// Shortest time between two updates.
    pub every: Duration,
}

impl Options {
    /// Serves at `address`: 16 clients, an update every 2 s at most.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            hosts: Vec::new(),
            clients: 16,
            every: Duration::from_secs(2),
        }
    }
}

/// Returns the lines on the state of the run that the page shows until there is a verdict. Called at each analysis.
pub type StatusLines = Box<dyn Fn() -> Vec<String> + Send>;

/// A run that is served until [`Dashboard::finish`], or until it is dropped.
#[derive(Debug)]
pub struct Dashboard {
    url: String,
    hub: Arc<Hub>,
    commands: Sender<Command>,
    worker: Option<JoinHandle<Duration>>,
    server: Option<JoinHandle<()>>,
    stop: CancellationToken,
    started: Instant,
}

/// What serving a run has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Pages delivered.
    pub pages: u64,
    /// Updates sent, each client counted.
    pub updates: u64,
    /// Clients disconnected because they did not keep up.
    pub dropped: u64,
    /// Records that did not reach the page because its queue was full; the files have them.
    pub missed: u64,
    /// CPU time of the worker.
    pub cpu: Duration,
    /// How long the run was served.
    pub wall: Duration,
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9);
        write!(
            f,
            "{} pages and {} updates sent, {share:.2} % of one core; {} slow clients disconnected, {} records missed",
            self.pages, self.updates, self.dropped, self.missed
        )
    }
}

impl Dashboard {
    /// Binds the address and begins to serve what the subscription delivers.
    ///
    /// # Errors
    /// If the address cannot be bound, or a thread cannot be started.
    pub fn start(
        options: &Options,
        subscription: Subscription,
        manifest: Manifest,
        status_lines: StatusLines,
    ) -> Result<Self> {
        let listen = |source| Error::Listen {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let token = (!address.ip().is_loopback()).then(|| format!("{:032x}", rand::random::<u128>()));
        let url = match &token {
            None => format!("http://{address}/"),
            Some(token) => format!("http://{address}/?token={token}"),
        };
        let hub = Arc::new(Hub::new(options.clients));
        let (commands, receiver) = channel();
        let worker = Worker::new(
            subscription,
            manifest,
            status_lines,
            Arc::clone(&hub),
            options.every,
        );
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let worker = thread("dashboard-page")
            .spawn(move || worker.run(&receiver))
            .map_err(Error::Thread)?;
        let stop = CancellationToken::new();
        let routes = Arc::new(Routes::new(
            Access {
                hosts: options.hosts.clone(),
                token,
            },
            Arc::clone(&hub),
            commands.clone(),
        ));
        let stopped = stop.clone();
        let server = thread("dashboard")
            .spawn(move || serve::run(listener, &routes, &stopped))
            .map_err(Error::Thread)?;
        Ok(Self {
            url,
            hub,
            commands,
            worker: Some(worker),
            server: Some(server),
            stop,
            started: Instant::now(),
        })
    }

    /// Where to open it. Beyond loopback this contains the token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Pages that are open now.
    pub fn clients(&self) -> usize {
        self.hub.clients()
    }

    /// The run has ended: pages receive the last update and a link to the report. Waits until each open page has
    /// loaded it, at most for `patience` and until `stopped`, then stops serving.
    pub fn finish(
        mut self,
        report: Option<PathBuf>,
        patience: Duration,
        stopped: impl Fn() -> bool,
    ) -> Served {
        // The worker sends the last update, then the event of the report, and ends.
        let has_report = report.is_some();
        let _ended = self.commands.send(Command::Finish(report));
        let cpu = self
            .worker
            .take()
            .and_then(|worker| worker.join().ok())
            .unwrap_or_default();
        let deadline = Instant::now() + patience;
        let wanted = if has_report { self.hub.clients() as u64 } else { 0 };
        while self.hub.reports() < wanted && Instant::now() < deadline && !stopped() {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end();
        Served {
            cpu,
            wall: self.started.elapsed(),
            ..self.hub.served()
        }
    }

    fn end(&mut self) {
        let _ended = self.commands.send(Command::Finish(None));
        self.stop.cancel();
        // A panic of either thread was reported by the hook.
        if let Some(worker) = self.worker.take() {
            let _panicked = worker.join();
        }
        if let Some(server) = self.server.take() {
            let _panicked = server.join();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end();
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(Duration::ZERO, |used| {
        let micros = (used.user_time() + used.system_time()).num_microseconds();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    })
}
