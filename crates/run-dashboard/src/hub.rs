//! The open pages, and the newest updates for those that connect late.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Served;

/// Events that wait for one client; one more, and the client is disconnected.
const CLIENT_QUEUE: usize = 8;
/// Updates and bytes that are kept for a page that was rendered a moment before it connects.
const KEPT_UPDATES: usize = 4;
const KEPT_BYTES: usize = 4 << 20;

/// Shared by the worker, which publishes, and the server, which registers clients.
#[derive(Debug)]
pub(crate) struct Hub {
    most_clients: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: Vec<Client>,
    /// The tick of the newest page or update.
    tick: u64,
    kept: VecDeque<(u64, Bytes)>,
    /// Sent to every client and to those that follow: the run has ended.
    last: Option<Bytes>,
    report: Option<PathBuf>,
    reports: u64,
    served: Served,
}

#[derive(Debug)]
struct Client {
    sender: mpsc::Sender<Bytes>,
    /// Ends its connection, even if the other side reads nothing.
    kill: CancellationToken,
}

/// Why a client receives no updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) usize);

/// An event in the format of server-sent events. `data` has no line breaks.
fn event(kind: &str, id: u64, data: &str) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"))
}

impl Hub {
    pub(crate) fn new(most_clients: usize) -> Self {
        Self {
            most_clients,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a client whose page is of the tick `after`.
    pub(crate) fn connect(
        &self,
        after: u64,
        kill: CancellationToken,
    ) -> Result<mpsc::Receiver<Bytes>, TooMany> {
        let mut state = self.state();
        state.clients.retain(|client| !client.sender.is_closed());
        if state.clients.len() >= self.most_clients {
            return Err(TooMany(self.most_clients));
        }
        let (sender, receiver) = mpsc::channel(CLIENT_QUEUE);
        let known = after == state.tick || state.kept.front().is_some_and(|(tick, _)| *tick <= after + 1);
        // The queue is larger than what is kept.
        let _fits = sender.try_send(Bytes::from_static(b"retry: 2000\n\n"));
        if known {
            for (_, update) in state.kept.iter().filter(|(tick, _)| *tick > after) {
                let _fits = sender.try_send(update.clone());
            }
        } else {
            let _fits = sender.try_send(event("reload", state.tick, ""));
        }
        if let Some(last) = &state.last {
            let _fits = sender.try_send(last.clone());
        }
        state.clients.push(Client { sender, kill });
        Ok(receiver)
    }

    /// The tick of the newest page, which a page that is rendered now has.
    pub(crate) fn tick(&self) -> u64 {
        self.state().tick
    }

    /// Sends an update to every page, and keeps it for a while.
    pub(crate) fn update(&self, json: &str) {
        let mut state = self.state();
        state.tick += 1;
        let update = event("update", state.tick, json);
        let tick = state.tick;
        state.kept.push_back((tick, update.clone()));
        while state.kept.len() > KEPT_UPDATES
            || state.kept.iter().map(|(_, update)| update.len()).sum::<usize>() > KEPT_BYTES
        {
            state.kept.pop_front();
        }
        let sent = send(&mut state, &update);
        state.served.updates += sent;
    }

    /// Makes every page load again, because updates cannot describe what has changed.
    pub(crate) fn reload(&self) {
        let mut state = self.state();
        state.tick += 1;
        state.kept.clear();
        let event = event("reload", state.tick, "");
        send(&mut state, &event);
    }

    /// The page changed while no page was open.
    pub(crate) fn advance(&self) {
        let mut state = self.state();
        state.tick += 1;
        state.kept.clear();
    }

    /// Keeps connections alive, and finds those that are gone.
    pub(crate) fn heartbeat(&self) {
        send(&mut self.state(), &Bytes::from_static(b":\n\n"));
    }

    /// The run has ended.
    pub(crate) fn end(&self, report: Option<PathBuf>) {
        let mut state = self.state();
        state.tick += 1;
        if report.is_some() {
            let last = event("report", state.tick, "report");
            send(&mut state, &last);
            state.last = Some(last);
        }
        state.report = report;
    }

    pub(crate) fn report(&self) -> Option<PathBuf> {
        self.state().report.clone()
    }

    pub(crate) fn count_page(&self) {
        self.state().served.pages += 1;
    }

    pub(crate) fn count_report(&self) {
        self.state().reports += 1;
    }

    pub(crate) fn count_missed(&self, missed: u64) {
        self.state().served.missed = missed;
    }

    pub(crate) fn reports(&self) -> u64 {
        self.state().reports
    }

    pub(crate) fn served(&self) -> Served {
        self.state().served
    }

    pub(crate) fn clients(&self) -> usize {
        let mut state = self.state();
        state.clients.retain(|client| !client.sender.is_closed());
        state.clients.len()
    }
}

/// Sends to every client; one whose queue is full is disconnected and counted. Returns how many took it.
fn send(state: &mut State, event: &Bytes) -> u64 {
    let (mut sent, mut dropped) = (0, 0);
    state
        .clients
        .retain(|client| match client.sender.try_send(event.clone()) {
            Ok(()) => {
                sent += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped += 1;
                client.kill.cancel();
                false
            }
        });
    state.served.dropped += dropped;
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(receiver: &mut mpsc::Receiver<Bytes>) -> Vec<String> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    #[test]
    fn a_page_gets_what_came_after_it_once() {
        let hub = Hub::new(2);
        hub.update("1");
        hub.update("2");
        let mut late = hub.connect(1, CancellationToken::new()).unwrap();
        hub.update("3");
        let events = texts(&mut late);
        assert_eq!(events[0], "retry: 2000\n\n");
        assert_eq!(events[1], "id: 2\nevent: update\ndata: 2\n\n");
        assert_eq!(events[2], "id: 3\nevent: update\ndata: 3\n\n");
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn a_page_that_is_too_old_loads_again() {
        let hub = Hub::new(2);
        for _ in 0..KEPT_UPDATES + 2 {
            hub.update("x");
        }
        let mut old = hub.connect(0, CancellationToken::new()).unwrap();
        assert!(texts(&mut old)[1].contains("event: reload"));
        let large = "x".repeat(KEPT_BYTES);
        hub.update(&large);
        let mut behind = hub.connect(hub.tick() - 1, CancellationToken::new()).unwrap();
        assert!(texts(&mut behind)[1].contains("event: reload"));
    }

    #[test]
    fn a_slow_client_is_disconnected_and_counted() {
        let hub = Hub::new(2);
        let kill = CancellationToken::new();
        let _unread = hub.connect(0, kill.clone()).unwrap();
        for _ in 0..CLIENT_QUEUE {
            hub.update("x");
        }
        assert!(kill.is_cancelled());
        assert_eq!((hub.served().dropped, hub.clients()), (1, 0));
    }

    #[test]
    fn clients_are_limited_and_a_closed_one_makes_room() {
        let hub = Hub::new(1);
        let first = hub.connect(0, CancellationToken::new()).unwrap();
        assert_eq!(hub.connect(0, CancellationToken::new()).err(), Some(TooMany(1)));
        drop(first);
        assert!(hub.connect(0, CancellationToken::new()).is_ok());
    }

    #[test]
    fn the_end_reaches_pages_that_connect_after_it() {
        let hub = Hub::new(2);
        hub.end(Some("report.html".into()));
        let mut late = hub.connect(hub.tick(), CancellationToken::new()).unwrap();
        assert!(
            texts(&mut late)
                .last()
                .unwrap()
                .contains("event: report\ndata: report\n")
        );
    }
}
