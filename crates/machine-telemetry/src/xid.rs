//! Meaning of XID errors and suggested actions, from `xid.csv` next to this file.
//!
//! `driver_advice` is the first action published by the driver vendor. `action` is our suggestion: it follows
//! that advice for a first occurrence and is stricter if the run's result or other GPUs are affected. A
//! repeated error on the same GPU calls for the next stronger action, which the monitor decides from its
//! history.

use std::sync::OnceLock;

use run_model::Severity;

/// Location of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XidClass {
    /// A compute, copy or video engine; usually caused by a program.
    Engine,
    /// Device memory.
    Memory,
    /// NVLink or the link to the CPU.
    Link,
    /// The host's bus.
    Bus,
    /// A controller on the GPU.
    Firmware,
    /// A unit that timed out.
    Timeout,
    /// Power supply.
    Power,
    /// Driver or virtualisation software.
    Software,
    /// The driver specifies the action in another field.
    DriverAdvice,
    /// A consequence of something else.
    Symptom,
    /// Not in the catalogue.
    Unknown,
}

/// Suggested action. This crate only suggests and never acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XidAction {
    /// Nothing to do.
    Ignore,
    /// Record it.
    Record,
    /// Increases the risk that the GPU fails soon.
    Risk,
    /// Restart the serving engine.
    RestartEngine,
    /// Degraded: reset the GPU when it is next free.
    ResetAtNextWindow,
    /// Move work off the GPU and reset it.
    DrainAndResetGpu,
    /// Reboot the host.
    RebootHost,
    /// Follow `gpu_recovery_action`.
    FollowRecoveryAction,
    /// Depends on the sub-code in the kernel log.
    DecodeSubcode,
    /// Requires a person.
    Human,
}

/// One entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xid {
    /// XID code.
    pub code: u64,
    /// Location of the fault.
    pub class: XidClass,
    /// Suggested action at its first occurrence.
    pub action: XidAction,
    /// The vendor's published first action, as one word.
    pub driver_advice: &'static str,
    /// Whether its bursts tend to last for hours.
    pub sticky: bool,
    /// What happened, in one clause.
    pub meaning: &'static str,
}

impl XidClass {
    /// The name used in the catalogue and in event attributes.
    pub fn as_str(self) -> &'static str {
        CLASSES
            .iter()
            .find(|(class, _)| *class == self)
            .map_or("unknown", |(_, word)| word)
    }
}

impl XidAction {
    /// The name used in the catalogue and in event attributes.
    pub fn as_str(self) -> &'static str {
        ACTIONS
            .iter()
            .find(|(action, _)| *action == self)
            .map_or("human", |(_, word)| word)
    }
}

impl Xid {
    /// Severity for a run in progress.
    pub fn severity(&self) -> Severity {
        match self.action {
            XidAction::Ignore | XidAction::Record => Severity::Info,
            XidAction::Risk | XidAction::ResetAtNextWindow => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

const CLASSES: &[(XidClass, &str)] = &[
    (XidClass::Engine, "engine"),
    (XidClass::Memory, "memory"),
    (XidClass::Link, "link"),
    (XidClass::Bus, "bus"),
    (XidClass::Firmware, "firmware"),
    (XidClass::Timeout, "timeout"),
    (XidClass::Power, "power"),
    (XidClass::Software, "software"),
    (XidClass::DriverAdvice, "driver_advice"),
    (XidClass::Symptom, "symptom"),
    (XidClass::Unknown, "unknown"),
];

const ACTIONS: &[(XidAction, &str)] = &[
    (XidAction::Ignore, "ignore"),
    (XidAction::Record, "record"),
    (XidAction::Risk, "risk"),
    (XidAction::RestartEngine, "restart_engine"),
    (XidAction::ResetAtNextWindow, "reset_at_next_window"),
    (XidAction::DrainAndResetGpu, "drain_and_reset_gpu"),
    (XidAction::RebootHost, "reboot_host"),
    (XidAction::FollowRecoveryAction, "follow_recovery_action"),
    (XidAction::DecodeSubcode, "decode_subcode"),
    (XidAction::Human, "human"),
];

/// The whole catalogue, in ascending order of codes.
pub fn catalogue() -> &'static [Xid] {
    static CATALOGUE: OnceLock<Vec<Xid>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        include_str!("xid.csv")
            .lines()
            .skip(1)
            .map(|line| parse(line).expect("a test parses every line"))
            .collect()
    })
}

/// Returns the entry of a code. A code that is not in the catalogue requires a person.
pub fn look_up(code: u64) -> Xid {
    let catalogue = catalogue();
    match catalogue.binary_search_by_key(&code, |xid| xid.code) {
        Ok(place) => catalogue[place].clone(),
        Err(_) => Xid {
            code,
            class: XidClass::Unknown,
            action: XidAction::Human,
            driver_advice: "contact_support",
            sticky: false,
            meaning: "not in the catalogue",
        },
    }
}

fn parse(line: &'static str) -> Option<Xid> {
    let mut cells = line.split(',');
    let code = cells.next()?.parse().ok()?;
    let (class, action) = (cells.next()?, cells.next()?);
    let class = CLASSES.iter().find(|(_, word)| *word == class)?.0;
    let action = ACTIONS.iter().find(|(_, word)| *word == action)?.0;
    let driver_advice = cells.next()?;
    let sticky = match cells.next()? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let meaning = cells.next()?;
    cells.next().is_none().then_some(Xid {
        code,
        class,
        action,
        driver_advice,
        sticky,
        meaning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_parses_and_codes_ascend() {
        let codes: Vec<u64> = catalogue().iter().map(|xid| xid.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b));
        assert_eq!(codes.len(), include_str!("xid.csv").lines().count() - 1);
    }

    #[test]
    fn known_codes_have_the_action_of_their_class() {
        for (code, class, action) in [
            (13, "engine", "restart_engine"),
            (31, "engine", "restart_engine"),
            (48, "memory", "drain_and_reset_gpu"),
            (63, "memory", "reset_at_next_window"),
            (74, "link", "drain_and_reset_gpu"),
            (79, "bus", "reboot_host"),
            (92, "memory", "risk"),
            (94, "memory", "restart_engine"),
            (119, "firmware", "drain_and_reset_gpu"),
            (145, "link", "decode_subcode"),
            (154, "driver_advice", "follow_recovery_action"),
            (107, "symptom", "ignore"),
            (5, "unknown", "human"),
        ] {
            let xid = look_up(code);
            assert_eq!(
                (xid.class.as_str(), xid.action.as_str()),
                (class, action),
                "{code}"
            );
        }
        let sticky: Vec<u64> = catalogue()
            .iter()
            .filter(|xid| xid.sticky)
            .map(|xid| xid.code)
            .collect();
        assert_eq!(sticky, [74, 79, 95, 109, 119]);
    }
}
