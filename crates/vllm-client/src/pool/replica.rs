//! The state of one replica, and whether it is skipped for a while.

use std::time::{Duration, Instant};

/// Initial rest of a failing replica; doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
pub(super) const LONGEST_REST: Duration = Duration::from_secs(30);

/// State of the replica.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) requests: usize,
    pub(super) tokens: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) failures_in_a_row: u32,
    pub(super) rest: Option<Duration>,
    pub(super) rests_until: Option<Instant>,
    /// The rest was started by a health check, and no request has failed since.
    pub(super) rests_for_probe: bool,
}

impl State {
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    pub(super) fn recover(&mut self) {
        self.failures_in_a_row = 0;
        self.rest = None;
        self.rests_until = None;
        self.rests_for_probe = false;
    }

    pub(super) fn begin_rest_for_failure(&mut self, now: Instant) {
        self.begin_rest(now);
        self.rests_for_probe = false;
    }

    pub(super) fn begin_rest_for_probe(&mut self, now: Instant) {
        // A rest started by requests is not changed by health checks.
        if self.rest.is_none() {
            self.rests_for_probe = true;
        }
        self.begin_rest(now);
    }

    pub(super) fn end_rest_for_probe(&mut self) {
        if self.rests_for_probe {
            self.rest = None;
            self.rests_until = None;
            self.rests_for_probe = false;
        }
    }

    fn begin_rest(&mut self, now: Instant) {
        // Many requests fail together when a server dies: they start one rest, not one each.
        if !self.rests(now) {
            self.begin_rest_of(self.rest.unwrap_or(FIRST_REST), now);
        }
    }

    pub(super) fn begin_rest_of(&mut self, rest: Duration, now: Instant) {
        self.rest = Some(rest);
        self.rests_until = Some(now + rest);
    }
}
