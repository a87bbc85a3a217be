//! Kinds of events and their severities, in one table.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// A mark: phase changes, starts, ends.
    Info,
    /// Something is missing or was dropped; the run continues.
    Warning,
    /// The run's result is affected.
    Error,
}

impl Severity {
    /// The text stored in the `severity` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The inverse of [`Severity::as_str`]; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "info" => Self::Info,
            "warning" => Self::Warning,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

macro_rules! kinds {
    ($($variant:ident $text:literal $severity:ident $doc:literal,)+) => {
        /// The kind of an event.
        ///
        /// Stored as text, for example `counter_reset`. It dereferences to that text, so that a kind can be
        /// compared with a string; matches on variants are checked by the compiler.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $(#[doc = $doc] $variant,)+
            /// A kind defined by the harness or by a newer version.
            Other(Arc<str>),
        }

        impl EventKind {
            /// All kinds that the recorder itself writes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The text stored in the `kind` column.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }

            /// The default severity of events of this kind.
            pub fn severity(&self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                    Self::Other(_) => Severity::Info,
                }
            }

            fn known(text: &str) -> Option<Self> {
                Some(match text {
                    $($text => Self::$variant,)+
                    _ => return None,
                })
            }
        }
    };
}

kinds! {
    SessionStarted "session_started" Info "Recording began.",
    SessionFinished "session_finished" Info "Recording ended.",
    Phase "phase" Info "A phase of the run began; its name is the attribute `phase`.",
    ModelLoaded "model_loaded" Info "The model is loaded and answers.",
    TestCompleted "test_completed" Info "The last query was answered.",
    ScrapeFailed "scrape_failed" Warning "A scrape gave no samples; recorded again when the reason changes.",
    Gap "gap" Warning "A stretch without samples of an endpoint or a GPU, with its end.",
    MissedTick "missed_tick" Warning "Ticks that could not be kept.",
    Dropped "dropped" Warning "Records or hook calls were dropped because a queue was full.",
    NotDelivered "not_delivered" Warning "A push receiver did not take samples.",
    CounterReset "counter_reset" Warning "Counters fell: their process restarted.",
    SeveralProcesses "several_processes" Warning "Several processes answer one URL in turn: its counters have no rates or totals.",
    BadLines "bad_lines" Warning "Lines of a page could not be read.",
    DuplicateSeries "duplicate_series" Warning "A page holds a series twice.",
    SourceTimestamps "source_timestamps" Info "Samples carry a time of the server's own clock.",
    NoExpectedMetric "no_expected_metric" Warning "A page holds none of the expected metrics.",
    SelectionUnused "selection_unused" Warning "Nothing on a page fits a selected pattern.",
    MetricDrift "metric_drift" Warning "A page's names differ from what the server's version exports.",
    NoPartialPages "no_partial_pages" Info "The server cannot be asked for a part of its page.",
    DebugScrape "debug_scrape" Info "What one scrape found; written in debug mode.",
    GpuFound "gpu_found" Info "A GPU that is sampled.",
    GpuUnavailable "gpu_unavailable" Info "No GPU can be sampled, and why.",
    GpuMissing "gpu_missing" Warning "A selected GPU does not exist.",
    GpuSelection "gpu_selection" Info "Which GPUs the server uses.",
    GpuLost "gpu_lost" Error "A GPU no longer answers.",
    GpuRecoveryAction "gpu_recovery_action" Warning "The driver asks for an action to recover a GPU.",
    ReadFailed "read_failed" Warning "A reading failed and is tried again.",
    NotSupported "not_supported" Info "Values that this machine does not have.",
    Xid "xid" Error "The GPU driver reported an XID error.",
    EccError "ecc_error" Warning "The GPU reported a memory error.",
    SamplerSummary "sampler_summary" Info "What a sampler did and cost.",
    ProcessGone "process_gone" Warning "A watched process ended.",
    CpuGovernor "cpu_governor" Warning "The CPU frequency governor does not favour performance.",
    BucketFitness "bucket_fitness" Info "A histogram's buckets do not fit what it observed.",
    CustomMetricFailed "custom_metric_failed" Warning "A user's expression could not be evaluated.",
    Retry "retry" Warning "A request was sent again.",
    Alert "alert" Warning "An alert of a rule changed its state.",
}

impl From<&str> for EventKind {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(Arc::from(text)))
    }
}

impl From<Arc<str>> for EventKind {
    fn from(text: Arc<str>) -> Self {
        Self::known(&text).unwrap_or(Self::Other(text))
    }
}

impl From<String> for EventKind {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Deref for EventKind {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for EventKind {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for EventKind {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_and_unknown_ones_keep_their_text() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from(kind.as_str()), *kind);
            assert!(kind.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
        let other = EventKind::from("mine");
        assert_eq!(other, EventKind::Other("mine".into()));
        assert_eq!((&*other, other.severity()), ("mine", Severity::Info));
    }
}
