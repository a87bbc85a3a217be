//! Requests to the supervisor thread of a simulated server.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::faults::Fault;

/// Requests, collected until the supervisor reads them.
#[derive(Debug, Default)]
pub(crate) struct Control {
    wishes: Mutex<Wishes>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wishes {
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
        self.tell(|wishes| wishes.stop = true);
    }

    /// The engines must freeze or continue.
    pub(crate) fn hang_by_hand(&self, hung: bool) {
        self.tell(|wishes| {
            wishes.hung_by_hand = hung;
            if !hung {
                wishes.hung_until = None;
            }
        });
    }

    /// A fault of the whole server that was triggered by a request.
    pub(crate) fn inject(&self, fault: Fault) {
        self.tell(|wishes| match fault {
            Fault::Hang { lasts } => wishes.hung_until = Some(lasts.map(|lasts| Instant::now() + lasts)),
            end => wishes.end = Some(end),
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
        let mut wishes = self.lock();
        wishes.news = false;
        let now = Instant::now();
        let (hung, next) = match wishes.hung_until {
            None => (false, None),
            Some(None) => (true, None),
            Some(Some(until)) => (
                until > now,
                until.checked_duration_since(now).filter(|left| !left.is_zero()),
            ),
        };
        Orders {
            stop: wishes.stop,
            hang: wishes.hung_by_hand || hung,
            end: wishes.end.take(),
            next,
        }
    }

    /// Waits for new requests, at most for `most`.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let start = Instant::now();
        let mut wishes = self.lock();
        while !wishes.news {
            let Some(most) = most else {
                wishes = self.changed.wait(wishes).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = most.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return;
            };
            wishes = self
                .changed
                .wait_timeout(wishes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Wishes)) {
        let mut wishes = self.lock();
        change(&mut wishes);
        wishes.news = true;
        drop(wishes);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
