//! LoadGen's scenarios and modes.

use std::fmt;

/// How queries arrive, and what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// One sample at a time, each after the previous one is complete; the result is a percentile of latency.
    SingleStream,
    /// A fixed number of samples at a time, the next after all are complete; the result is a percentile of
    /// query latency.
    MultiStream,
    /// Poisson arrivals at a given rate; valid if a percentile of latency stays within a limit.
    Server,
    /// All samples at once; the result is throughput.
    Offline,
}

impl Scenario {
    /// All four.
    pub const ALL: [Self; 4] = [Self::SingleStream, Self::MultiStream, Self::Server, Self::Offline];

    /// The name in configuration files and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleStream => "SingleStream",
            Self::MultiStream => "MultiStream",
            Self::Server => "Server",
            Self::Offline => "Offline",
        }
    }

    pub(crate) fn from_raw(raw: i32) -> Self {
        usize::try_from(raw)
            .ok()
            .and_then(|i| Self::ALL.get(i).copied())
            .expect("LoadGen has four scenarios")
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a test is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Accuracy, then performance, in one test.
    Submission,
    /// Every sample once, with answers logged.
    Accuracy,
    /// The scenario's traffic, measured.
    Performance,
    /// A search for the highest valid rate; Server only, and not for submissions.
    FindPeakPerformance,
}

impl Mode {
    const ALL: [Self; 4] = [
        Self::Submission,
        Self::Accuracy,
        Self::Performance,
        Self::FindPeakPerformance,
    ];

    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "SubmissionRun",
            Self::Accuracy => "AccuracyOnly",
            Self::Performance => "PerformanceOnly",
            Self::FindPeakPerformance => "FindPeakPerformance",
        }
    }

    pub(crate) fn from_raw(raw: i32) -> Self {
        usize::try_from(raw)
            .ok()
            .and_then(|i| Self::ALL.get(i).copied())
            .expect("LoadGen has four modes")
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
