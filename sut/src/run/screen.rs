//! Feeds a screen with the run of this process.

use nix::sys::signal::{Signal, killpg};
use run_terminal::{Queries, Source, State, Status, Stop};
use vllm_metrics::view::LiveView;
use vllm_metrics::{Manifest, Subscription};

use super::counting::Counting;
use crate::shutdown::Shutdown;
use crate::{console, live};

/// A run that goes on.
pub(super) struct Running {
    pub(super) counting: Counting,
    /// `None` if nothing is recorded.
    pub(super) recorded: Option<Recorded>,
    pub(super) shutdown: Shutdown,
    /// Model, scenario and mode.
    pub(super) title: String,
    pub(super) simulated: bool,
}

/// What the recorder delivers.
pub(super) struct Recorded {
    pub(super) subscription: Subscription,
    pub(super) manifest: Manifest,
}

impl Source for Running {
    fn advance(&mut self, view: &mut LiveView) -> Status {
        let progress = self.counting.progress();
        let mut status = Status {
            title: self.title.clone(),
            simulated: self.simulated,
            state: match self.shutdown.reason() {
                Some(reason) => State::Ending(reason.to_string()),
                None => State::Running,
            },
            queries: Some(Queries {
                issued: Some(progress.issued),
                completed: progress.completed,
                failed: progress.failed,
                planned: progress.planned,
                per_second: Some(progress.queries_per_second),
                tokens_per_second: Some(progress.tokens_per_second),
            }),
            elapsed: Some(progress.elapsed),
            left: progress.left,
            forecast: progress.forecast,
            log: console::held(),
            ..Status::default()
        };
        match &self.recorded {
            Some(recorded) => {
                if view.data().manifest.stamp.is_empty() {
                    view.describe(recorded.manifest.clone());
                }
                view.apply_all(&recorded.subscription.try_take());
                status.missed = live::missed(&recorded.subscription);
                status.facts = live::server_facts(&recorded.manifest);
                status.limits = live::limits(&recorded.manifest);
            }
            None => status.notes.push(
                "nothing is recorded: --enable-metrics-collection shows the server, its GPUs and latencies"
                    .into(),
            ),
        }
        status
    }

    /// As the terminal does for Ctrl-C outside of raw mode: the signal goes to the whole process group.
    fn stop(&mut self, _: Stop) {
        if let Err(error) = killpg(nix::unistd::getpgrp(), Signal::SIGINT) {
            tracing::warn!("the run cannot be stopped by a key: {error}");
        }
    }
}
