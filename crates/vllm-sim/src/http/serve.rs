//! The event loop of one HTTP thread. The first thread accepts connections and distributes them over all
//! threads.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::Shared;
use super::live::Worker;
use super::routes;
use super::wire::{Trigger, Wire};
use crate::driver::QUEUE_BATCHES;
use crate::engine::Output;

/// Pause before retrying an operation that the system rejected.
const RETRY: Duration = Duration::from_millis(10);

/// Signals that control the server from outside.
#[derive(Debug, Clone)]
pub(crate) struct Gates {
    /// Close every connection and stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// Reject new connections; close the others after their answers.
    pub(crate) refuse: watch::Receiver<bool>,
    /// The engines have died: every stream must check.
    pub(crate) dead: watch::Receiver<bool>,
}

/// A listening socket and the threads for its connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: std::net::TcpListener,
    /// The other threads.
    pub(crate) others: Vec<mpsc::UnboundedSender<std::net::TcpStream>>,
}

/// How a thread gets connections.
#[derive(Debug)]
pub(crate) enum Source {
    /// It accepts them.
    Acceptor(Acceptor),
    /// Another thread passes them on.
    Assigned(mpsc::UnboundedReceiver<std::net::TcpStream>),
}

/// Serves connections on the calling thread until it is stopped, when all connections are closed.
pub(crate) fn serve(
    shared: Arc<Shared>,
    thread: usize,
    source: Source,
    mut outputs: mpsc::Receiver<Vec<Output>>,
    mut gates: Gates,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let worker = Rc::new(Worker::new(shared, thread));
    LocalSet::new().block_on(&runtime, async {
        let dispatcher = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let mut batches = Vec::with_capacity(QUEUE_BATCHES);
            // Take all available batches: if an engine is ahead, its tokens are written in fewer, larger
            // pieces.
            while outputs.recv_many(&mut batches, QUEUE_BATCHES).await > 0 {
                for batch in batches.drain(..) {
                    dispatcher.dispatch(&batch);
                }
                // Let the streams write before processing more.
                tokio::task::yield_now().await;
            }
        });
        let waker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            if turns(&mut gates.dead, true).await {
                waker.wake_all();
            }
        });
        let refuse = gates.refuse.clone();
        let incoming = async {
            match source {
                Source::Acceptor(acceptor) => accept(&worker, acceptor, refuse).await,
                Source::Assigned(sockets) => receive(&worker, sockets, refuse).await,
            }
        };
        tokio::select! {
            ended = incoming => ended,
            _ = turns(&mut gates.stop, true) => Ok(()),
        }
    })
}

/// Accepts forever, except while connections are rejected.
async fn accept(
    worker: &Rc<Worker>,
    acceptor: Acceptor,
    mut refuse: watch::Receiver<bool>,
) -> io::Result<()> {
    let address = acceptor.listener.local_addr()?;
    let mut listener = Some(TcpListener::from_std(acceptor.listener)?);
    let mut turn = 0;
    let for_connections = refuse.clone();
    loop {
        let Some(open) = &listener else {
            if !turns(&mut refuse, false).await {
                return Ok(());
            }
            listener = Some(listen_again(address).await);
            continue;
        };
        tokio::select! {
            accepted = open.accept() => match accepted {
                Ok((socket, _)) => {
                    turn = (turn + 1) % (acceptor.others.len() + 1);
                    match turn.checked_sub(1) {
                        None => spawn(worker, socket, for_connections.clone()),
                        // If the thread is gone, the connection is closed.
                        Some(other) => drop(acceptor.others[other].send(socket.into_std()?)),
                    }
                }
                Err(error) => {
                    // Most likely out of file descriptors: wait for some to close instead of spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(RETRY).await;
                }
            },
            // The system rejects connections to a closed socket.
            refused = turns(&mut refuse, true) => {
                if !refused {
                    return Ok(());
                }
                listener = None;
            }
        }
    }
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::warn!(%error, %address, "cannot listen again yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn receive(
    worker: &Rc<Worker>,
    mut sockets: mpsc::UnboundedReceiver<std::net::TcpStream>,
    refuse: watch::Receiver<bool>,
) -> io::Result<()> {
    while let Some(socket) = sockets.recv().await {
        spawn(worker, TcpStream::from_std(socket)?, refuse.clone());
    }
    Ok(())
}

fn spawn(worker: &Rc<Worker>, socket: TcpStream, refuse: watch::Receiver<bool>) {
    tokio::task::spawn_local(connection(Rc::clone(worker), socket, refuse));
}

async fn connection(worker: Rc<Worker>, socket: TcpStream, mut refuse: watch::Receiver<bool>) {
    // A chunk is one write; waiting for more data (Nagle) would only delay tokens.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    let trigger = Trigger::default();
    let wire = Wire::new(socket, trigger.clone());
    let timeout = worker.shared.config.request_timeout;
    let service = service_fn(move |request| {
        let (worker, trigger) = (Rc::clone(&worker), trigger.clone());
        async move { Ok::<_, io::Error>(routes::answer(worker, request, trigger).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(timeout);
    let mut served = pin!(builder.serve_connection(wire, service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = turns(&mut refuse, true) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until a gate has this value; false if it is gone. Returns no reference to the value, since holding
/// one over an `await` would lock the gate.
async fn turns(gate: &mut watch::Receiver<bool>, value: bool) -> bool {
    gate.wait_for(|now| *now == value).await.is_ok()
}
