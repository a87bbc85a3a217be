//! Answers for a Kubernetes probe. They follow the progress that the monitor sees, not the server's own flag.

use std::time::Duration;

use vllm_monitor::TargetState;
use vllm_monitor::lifecycle::State;

use crate::hub::Hub;

/// Intervals without an evaluation after which the monitor itself counts as stuck, and never less than this long.
const LATE_INTERVALS: f64 = 10.0;
const LATE_SECS: f64 = 15.0;

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The answer; `None` if there is no such target.
    pub is_well: Option<bool>,
    /// Why.
    pub why: String,
}

impl Verdict {
    fn new(is_well: bool, why: impl Into<String>) -> Self {
        Self {
            is_well: Some(is_well),
            why: why.into(),
        }
    }
}

/// Whether the monitor evaluates every target in time. Within the first moments, it does.
pub fn is_active(hub: &Hub, interval: Duration) -> bool {
    let longest = (LATE_INTERVALS * interval.as_secs_f64()).max(LATE_SECS);
    match hub.oldest_step_secs() {
        Some(secs) => secs <= longest,
        None => hub.uptime().as_secs_f64() <= longest,
    }
}

/// Whether the monitor itself makes progress.
pub(super) fn own(hub: &Hub, interval: Duration) -> Verdict {
    if is_active(hub, interval) {
        Verdict::new(true, "every target is evaluated in time")
    } else {
        Verdict::new(false, "a target has not been evaluated in time")
    }
}

/// Whether a server need not be restarted: false only if it is in state ERROR. A server of which nothing is known is
/// not dead. Without a name: the only target, or the monitor itself where there are several.
pub fn live(hub: &Hub, interval: Duration, target: Option<&str>) -> Verdict {
    let monitor = own(hub, interval);
    if monitor.is_well != Some(true) {
        return monitor;
    }
    match look(hub, target) {
        Look::Several => monitor,
        Look::Unknown(name) => no_such(&name),
        Look::At(seen) => Verdict::new(seen.state != State::Error, seen.describe()),
    }
}

/// Whether a server takes requests and there is fresh data to say so. Without a name: every target.
pub fn ready(hub: &Hub, interval: Duration, target: Option<&str>) -> Verdict {
    let monitor = own(hub, interval);
    if monitor.is_well != Some(true) {
        return monitor;
    }
    match look(hub, target) {
        Look::Unknown(name) => no_such(&name),
        Look::At(seen) => Verdict::new(seen.is_ready(), seen.describe()),
        Look::Several => {
            let names: Vec<String> = hub.read(|_, views| views.keys().map(ToString::to_string).collect());
            let not_ready: Vec<String> = names
                .iter()
                .filter_map(|name| match look(hub, Some(name)) {
                    Look::At(seen) if seen.is_ready() => None,
                    Look::At(seen) => Some(format!("{name}: {}", seen.describe())),
                    _ => Some(format!("{name}: not evaluated yet")),
                })
                .collect();
            if not_ready.is_empty() {
                Verdict::new(true, format!("all {} targets take requests", names.len()))
            } else {
                Verdict::new(false, not_ready.join("\n"))
            }
        }
    }
}

fn no_such(name: &str) -> Verdict {
    Verdict {
        is_well: None,
        why: format!("there is no target `{name}`; /status lists them"),
    }
}

struct Seen {
    state: State,
    is_unobserved: bool,
    is_suspended: Option<&'static str>,
    reasons: Vec<String>,
}

impl Seen {
    fn of(target: &TargetState) -> Self {
        let tracker = target.lifecycle();
        let side = tracker.side_states();
        Self {
            state: tracker.state(),
            is_unobserved: tracker.is_unobserved(),
            // A compilation delays requests; the others stop them.
            is_suspended: (side.paused || side.sleeping || side.scaling)
                .then(|| side.reason())
                .flatten(),
            reasons: tracker.reasons().iter().map(ToString::to_string).collect(),
        }
    }

    fn is_ready(&self) -> bool {
        self.state.is_up() && !self.is_unobserved && self.is_suspended.is_none()
    }

    fn describe(&self) -> String {
        let unknown = if self.is_unobserved {
            ", without fresh data"
        } else {
            ""
        };
        let suspended = self.is_suspended.map_or(String::new(), |why| format!(", {why}"));
        format!("{}{unknown}{suspended}: {}", self.state, self.reasons.join("; "))
    }
}

enum Look {
    At(Seen),
    Several,
    Unknown(String),
}

fn look(hub: &Hub, target: Option<&str>) -> Look {
    let name = match target {
        Some(name) => name.to_owned(),
        None => {
            let only =
                hub.read(|_, views| (views.len() == 1).then(|| views.keys().next().cloned()).flatten());
            match only {
                Some(name) => name.to_string(),
                None => return Look::Several,
            }
        }
    };
    let is_known = hub.read(|_, views| views.contains_key(name.as_str()));
    match hub.read_target(&name, Seen::of) {
        Some(seen) if is_known => Look::At(seen),
        None if is_known => Look::At(Seen {
            state: State::NotStarted,
            is_unobserved: true,
            is_suspended: None,
            reasons: vec!["not evaluated yet".to_owned()],
        }),
        _ => Look::Unknown(name),
    }
}
