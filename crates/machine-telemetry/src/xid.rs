//! What an XID error means and what to do about it. The knowledge is data: `xid.csv` beside this file.
//!
//! `driver_advice` is the driver vendor's published first action; `action` is what we suggest, which follows it for a
//! first occurrence and is stricter where the run's result or its neighbours are at stake. An error that comes back
//! on the same GPU calls for the next stronger action: that judgement needs history and is the monitor's.

use std::sync::OnceLock;

use run_model::Severity;

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XidClass {
    /// A compute, copy or video engine, most often driven wrong by a program.
    Engine,
    /// Device memory.
    Memory,
    /// NVLink or the link to the CPU.
    Link,
    /// The host's bus.
    Bus,
    /// A controller on the GPU.
    Firmware,
    /// A unit that did not answer in time.
    Timeout,
    /// Power supply.
    Power,
    /// Driver or virtualisation software.
    Software,
    /// The driver says what to do in another field.
    DriverAdvice,
    /// A consequence of something else.
    Symptom,
    /// Not in the catalogue.
    Unknown,
}

/// What we suggest. Suggest only: this crate acts on nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XidAction {
    /// Nothing to do.
    Ignore,
    /// Keep it in the record.
    Record,
    /// Raises the risk that the GPU fails soon.
    Risk,
    /// Restart the serving engine.
    RestartEngine,
    /// Degraded: reset the GPU when it is next free.
    ResetAtNextWindow,
    /// Take the GPU's work away and reset it.
    DrainAndResetGpu,
    /// Reboot the host.
    RebootHost,
    /// Do what `gpu_recovery_action` says.
    FollowRecoveryAction,
    /// The sub-code in the kernel log decides.
    DecodeSubcode,
    /// A person has to look.
    Human,
}

/// One line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xid {
    /// The number.
    pub code: u64,
    /// Where the fault lies.
    pub class: XidClass,
    /// What we suggest at its first occurrence.
    pub action: XidAction,
    /// The vendor's published first action, as one word.
    pub driver_advice: &'static str,
    /// Its bursts tend to go on for hours.
    pub sticky: bool,
    /// What happened, in one clause.
    pub meaning: &'static str,
}

impl XidClass {
    /// The word used in the catalogue and in event attributes.
    pub fn as_str(self) -> &'static str {
        CLASSES
            .iter()
            .find(|(class, _)| *class == self)
            .map_or("unknown", |(_, word)| word)
    }
}

impl XidAction {
    /// The word used in the catalogue and in event attributes.
    pub fn as_str(self) -> &'static str {
        ACTIONS
            .iter()
            .find(|(action, _)| *action == self)
            .map_or("human", |(_, word)| word)
    }
}

impl Xid {
    /// How much the error matters to a run in progress.
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

/// The whole catalogue, by ascending code.
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

/// What is known of one code. A code that is not listed is for a person to look at.
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
