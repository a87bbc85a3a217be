//! Requests to the supervisor thread of a simulated server.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::faults::Fault;

/// Requests, collected until the supervisor reads them.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pending: Mutex<PendingOrders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PendingOrders {
    stop: bool,
    /// Set manually until it is reset.
    hung_by_hand: bool,
    /// Set by a request's fault; `None` inside means forever.
    hung_until: Option<Option<Instant>>,
    end: Option<Fault>,
    /// There are new requests since the last read.
    news: bool,
}

/// What the supervisor must do.
#[derive(Debug, PartialEq)]
pub(crate) struct Orders {
    pub(crate) stop: bool,
    pub(crate) hang: bool,
    /// [`Fault::EngineDeath`], [`Fault::Die`] or [`Fault::Restart`].
    pub(crate) end: Option<Fault>,
    /// Time until the orders change by themselves.
    pub(crate) next: Option<Duration>,
}

impl Control {
    /// The server must stop permanently.
    pub(crate) fn stop(&self) {
        self.tell(|pending| pending.stop = true);
    }

    /// The engines must freeze or continue.
    pub(crate) fn hang_by_hand(&self, hung: bool) {
        self.tell(|pending| {
            pending.hung_by_hand = hung;
            if !hung {
                pending.hung_until = None;
            }
        });
    }

    /// A fault of the whole server that was triggered by a request.
    pub(crate) fn inject(&self, fault: Fault) {
        self.tell(|pending| match fault {
            Fault::Hang { lasts } => pending.hung_until = Some(lasts.map(|lasts| Instant::now() + lasts)),
            end => pending.end = Some(end),
        });
    }

    /// The rules have changed.
    pub(crate) fn look_again(&self) {
        self.tell(|_| ());
    }

    /// True once the server must stop permanently.
    pub(crate) fn stopping(&self) -> bool {
        self.lock().stop
    }

    /// The current orders.
    pub(crate) fn orders(&self) -> Orders {
        let mut pending = self.lock();
        pending.news = false;
        let now = Instant::now();
        let (hung, next) = match pending.hung_until {
            None => (false, None),
            Some(None) => (true, None),
            Some(Some(until)) => (
                until > now,
                until.checked_duration_since(now).filter(|left| !left.is_zero()),
            ),
        };
        Orders {
            stop: pending.stop,
            hang: pending.hung_by_hand || hung,
            end: pending.end.take(),
            next,
        }
    }

    /// Waits for new requests, at most for `most`.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let start = Instant::now();
        let mut pending = self.lock();
        while !pending.news {
            let Some(most) = most else {
                pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = most.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return;
            };
            pending = self
                .changed
                .wait_timeout(pending, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn tell(&self, change: impl FnOnce(&mut PendingOrders)) {
        let mut pending = self.lock();
        change(&mut pending);
        pending.news = true;
        drop(pending);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, PendingOrders> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
