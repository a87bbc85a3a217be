//! What a screen is fed with.

use std::time::Duration;

use run_analysis::view::LiveView;

/// Delivers a run to a [`Screen`](crate::Screen), on the screen's thread.
pub trait Source: Send {
    /// Applies the records that are new to the view and returns the state of the run. Called about four times a
    /// second; it may read files, but should not wait.
    fn advance(&mut self, view: &mut LiveView) -> Status;

    /// The user wants to stop the run. The screen stays until [`Screen::finish`](crate::Screen::finish), so that the
    /// orderly end can be watched.
    fn stop(&mut self, how: Stop);
}

/// How the user asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// With the key for it, and after a question.
    Asked,
    /// With Ctrl-C.
    Interrupted,
}

/// What records do not contain. Whatever is unknown is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// For example `llama3_1-8b, Server, PerformanceOnly`.
    pub title: String,
    /// Short facts: version, server.
    pub facts: Vec<String>,
    /// The server or its data is simulated.
    pub simulated: bool,
    /// Whether the run goes on.
    pub state: State,
    /// The load.
    pub queries: Option<Queries>,
    /// Since the start.
    pub elapsed: Option<Duration>,
    /// Estimated time to the end.
    pub left: Option<Duration>,
    /// Whether the run will be valid, in words; empty if it is not judged by latencies.
    pub forecast: String,
    /// The limits of the percentile that is judged.
    pub limits: Limits,
    /// What this view itself has missed.
    pub missed: MissedUpdates,
    /// Why figures are absent, and other remarks, most important first.
    pub notes: Vec<String>,
    /// The newest lines of the program's log, oldest first.
    pub log: Vec<String>,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Running,
    /// It is being ended, and why.
    Ending(String),
    /// It has ended.
    Ended {
        /// The verdict in the harness's words; `None` if it was not judged.
        verdict: Option<String>,
        /// The result counts.
        counts: bool,
        /// Why, most important first.
        reasons: Vec<String>,
    },
    /// Its record has no end, and nothing was added for this long.
    Silent(Duration),
}

/// Queries since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Queries {
    /// Issued by the load generator; `None` if that is not recorded.
    pub issued: Option<u64>,
    /// Answered in full.
    pub completed: u64,
    /// Answered as failed.
    pub failed: u64,
    /// How many there will be.
    pub planned: Option<u64>,
    /// Answers per second, where no record provides it.
    pub per_second: Option<f64>,
    /// Output tokens per second, where no record provides it.
    pub tokens_per_second: Option<f64>,
}

/// Limits of latencies in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Of the time to first token.
    pub ttft_secs: Option<f64>,
    /// Of the time per output token.
    pub tpot_secs: Option<f64>,
}

/// Records that were dropped before they reached this view; the files have them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissedUpdates {
    /// Samples.
    pub samples: u64,
    /// Requests and batches.
    pub rows: u64,
    /// Events.
    pub events: u64,
}
