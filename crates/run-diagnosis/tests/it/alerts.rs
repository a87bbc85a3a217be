//! The states of alert rules.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use run_diagnosis::alerts::{AlertState, Evaluation, Labels, RuleState, RuleTiming, Transition};

use crate::support::SECOND_NS;

fn rule(hold_secs: u64, keep_firing_secs: u64) -> RuleState {
    RuleState::new(RuleTiming {
        hold: Duration::from_secs(hold_secs),
        keep_firing: Duration::from_secs(keep_firing_secs),
        ..RuleTiming::default()
    })
}

fn labels(gpu: &str) -> Labels {
    Labels::from([("gpu".to_owned(), gpu.to_owned())])
}

fn holds(values: &[(&str, f64)]) -> Evaluation {
    Evaluation::Values(values.iter().map(|(gpu, value)| (labels(gpu), *value)).collect())
}

fn missing() -> Evaluation {
    Evaluation::NoData {
        because: "the server does not answer".to_owned(),
    }
}

fn states(transitions: &[Transition]) -> Vec<(AlertState, AlertState)> {
    transitions
        .iter()
        .map(|transition| (transition.from, transition.to))
        .collect()
}

use AlertState::{Firing, Inactive, NoData, Pending};

#[test]
fn an_alert_without_a_hold_fires_at_once() {
    let mut rule = rule(0, 0);
    let found = rule.evaluate(0, holds(&[("0", 91.0)]));
    assert_eq!(states(&found), [(Inactive, Firing)]);
    assert_eq!(
        (found[0].value, found[0].labels.as_ref()),
        (Some(91.0), Some(&labels("0")))
    );
}

#[test]
fn every_label_set_is_an_alert_of_its_own() {
    let mut rule = rule(10, 0);
    rule.evaluate(0, holds(&[("0", 1.0)]));
    rule.evaluate(5 * SECOND_NS, holds(&[("0", 1.0), ("1", 1.0)]));
    let found = rule.evaluate(10 * SECOND_NS, holds(&[("0", 1.0), ("1", 1.0)]));
    assert_eq!(states(&found), [(Pending, Firing)]);
    let current: Vec<(AlertState, i64)> = rule
        .alerts()
        .map(|alert| (alert.state, alert.active_since_ns / SECOND_NS))
        .collect();
    assert_eq!(current, [(Firing, 0), (Pending, 5)]);
    assert_eq!(rule.state(), Firing);
}

#[test]
fn one_evaluation_below_the_threshold_starts_the_wait_again() {
    let mut rule = rule(10, 0);
    for (second, value, expected) in [
        (0, Some(1.0), vec![(Inactive, Pending)]),
        (9, None, vec![(Pending, Inactive)]),
        (10, Some(1.0), vec![(Inactive, Pending)]),
        (19, Some(1.0), vec![]),
        (20, Some(1.0), vec![(Pending, Firing)]),
    ] {
        let evaluation = value.map_or_else(|| holds(&[]), |value| holds(&[("0", value)]));
        assert_eq!(
            states(&rule.evaluate(second * SECOND_NS, evaluation)),
            expected,
            "at {second} s"
        );
    }
}

#[test]
fn a_firing_alert_keeps_firing_for_as_long_as_told() {
    let mut rule = rule(0, 30);
    rule.evaluate(0, holds(&[("0", 1.0)]));
    assert!(rule.evaluate(10 * SECOND_NS, holds(&[])).is_empty());
    // It holds again: the 30 s begin anew with the next evaluation at which it does not.
    assert!(rule.evaluate(30 * SECOND_NS, holds(&[("0", 2.0)])).is_empty());
    assert!(rule.evaluate(40 * SECOND_NS, holds(&[])).is_empty());
    assert!(rule.evaluate(69 * SECOND_NS, holds(&[])).is_empty());
    assert_eq!(rule.state(), Firing);
    let found = rule.evaluate(70 * SECOND_NS, holds(&[]));
    assert_eq!(states(&found), [(Firing, Inactive)]);
    assert_eq!(found[0].value, Some(2.0));
}

#[test]
fn missing_data_is_a_state_and_not_all_clear() {
    let mut rule = rule(0, 0);
    rule.evaluate(0, holds(&[("0", 1.0), ("1", 1.0)]));
    // Two missed evaluations change nothing.
    assert!(rule.evaluate(SECOND_NS, missing()).is_empty());
    assert!(rule.evaluate(2 * SECOND_NS, missing()).is_empty());
    assert_eq!(rule.state(), Firing);
    let found = rule.evaluate(3 * SECOND_NS, missing());
    assert_eq!(states(&found), [(Firing, NoData); 3]);
    assert_eq!(found[0].labels, None);
    assert_eq!(found[2].because.as_deref(), Some("the server does not answer"));
    assert_eq!((rule.state(), rule.alerts().count()), (NoData, 0));
    assert!(rule.evaluate(4 * SECOND_NS, missing()).is_empty());

    let back = rule.evaluate(5 * SECOND_NS, holds(&[("0", 1.0)]));
    assert_eq!(states(&back), [(NoData, Inactive), (Inactive, Firing)]);
}

#[test]
fn a_missed_evaluation_does_not_start_a_wait_again() {
    let mut rule = rule(10, 0);
    rule.evaluate(0, holds(&[("0", 1.0)]));
    rule.evaluate(5 * SECOND_NS, missing());
    assert_eq!(
        states(&rule.evaluate(10 * SECOND_NS, holds(&[("0", 1.0)]))),
        [(Pending, Firing)]
    );
}

proptest! {
    /// Against the definition, on evaluations a second apart that all have data.
    #[test]
    fn an_alert_fires_by_its_definition(condition in vec(any::<bool>(), 1..60), hold in 0..6_usize, keep in 0..6_usize) {
        let mut rule = rule(hold as u64, keep as u64);
        let mut was_firing = false;
        for (now, holds_now) in condition.iter().enumerate() {
            let evaluation = if *holds_now { holds(&[("0", 1.0)]) } else { holds(&[]) };
            rule.evaluate(now as i64 * SECOND_NS, evaluation);
            let held_long = now >= hold && condition[now - hold..=now].iter().all(|held| *held);
            let first_false = condition[..=now].iter().rposition(|held| *held).map(|last| last + 1);
            let kept = was_firing && !holds_now && first_false.is_some_and(|first| now - first < keep);
            let expected = if *holds_now { was_firing || held_long } else { kept };
            prop_assert_eq!(rule.state() == Firing, expected, "at {}", now);
            was_firing = expected;
        }
    }

    /// Transitions chain: each one starts from where the alert was.
    #[test]
    fn transitions_follow_each_other(steps in vec(prop_oneof![Just(None), Just(Some(false)), Just(Some(true))], 1..80)) {
        let mut rule = rule(2, 2);
        let mut current = Inactive;
        for (now, step) in steps.iter().enumerate() {
            let evaluation = match step {
                None => missing(),
                Some(true) => holds(&[("0", 1.0)]),
                Some(false) => holds(&[]),
            };
            for transition in rule.evaluate(now as i64 * SECOND_NS, evaluation) {
                prop_assert_ne!(transition.from, transition.to);
                if transition.labels.is_some() {
                    prop_assert_eq!(transition.from, current);
                    current = if transition.to == NoData { Inactive } else { transition.to };
                }
            }
            let alive = rule.alerts().next().map_or(Inactive, |alert| alert.state);
            prop_assert_eq!(alive, current);
        }
    }
}
