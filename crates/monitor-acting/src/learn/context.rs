//! The circumstances of a choice, in a few classes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Failure, Situation, signal};

/// Time until the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It is present.
    Present,
    /// Within 30 seconds.
    Soon,
    /// Later, or unknown.
    Later,
}

/// How loaded the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Not known.
    Unknown,
    /// Less than half of the KV cache in use, and no queue.
    Low,
    /// More, and no long queue.
    Medium,
    /// Nine tenths of the KV cache in use, or a queue longer than a fifth of the batch.
    High,
}

/// The circumstances of a choice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Context {
    /// Type of the failure.
    pub failure: Arc<str>,
    /// How soon.
    pub urgency: Urgency,
    /// How loaded.
    pub load: Load,
    /// Kind of the target.
    pub target_kind: Arc<str>,
}

impl Context {
    /// A context from its parts.
    pub fn new(
        failure: impl Into<Arc<str>>,
        urgency: Urgency,
        load: Load,
        target_kind: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            failure: failure.into(),
            urgency,
            load,
            target_kind: target_kind.into(),
        }
    }

    /// The context of a failure in a situation.
    pub fn of(failure: &Failure, situation: &Situation, target_kind: &Arc<str>) -> Self {
        let urgency = match failure.secs_to_failure {
            _ if failure.present => Urgency::Present,
            Some(secs) if secs <= 30.0 => Urgency::Soon,
            _ => Urgency::Later,
        };
        let (kv, running, waiting) = (
            situation.signal(signal::KV_USAGE),
            situation.signal(signal::RUNNING),
            situation.signal(signal::WAITING),
        );
        let queued = running
            .zip(waiting)
            .is_some_and(|(running, waiting)| waiting > 0.2 * running.max(1.0));
        let load = match kv {
            _ if queued => Load::High,
            None => Load::Unknown,
            Some(kv) if kv >= 0.9 => Load::High,
            Some(kv) if kv >= 0.5 => Load::Medium,
            Some(_) => Load::Low,
        };
        Self::new(Arc::clone(&failure.kind), urgency, load, Arc::clone(target_kind))
    }

    /// As one word, for maps and labels.
    pub fn key(&self) -> String {
        format!(
            "{}/{:?}/{:?}/{}",
            self.failure, self.urgency, self.load, self.target_kind
        )
        .to_ascii_lowercase()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urgency = match self.urgency {
            Urgency::Present => "present",
            Urgency::Soon => "expected within 30 s",
            Urgency::Later => "expected later",
        };
        let load = match self.load {
            Load::Unknown => "unknown load",
            Load::Low => "low load",
            Load::Medium => "medium load",
            Load::High => "high load",
        };
        write!(
            f,
            "{} {urgency}, {load}, {} target",
            self.failure, self.target_kind
        )
    }
}
