//! How long levers stay set, and what ends them.

use std::sync::Mutex;

use super::*;
use crate::Settled;
use crate::actuate::{Actuators, Reach};
use crate::audit::{Audit, Record};
use crate::shell::{AuditedActor, carry_out, lock};

const ARM: &str = "tighten_admission";
/// When the lever of [`held`] would end without a renewal.
const ENDS: f64 = 1163.0;

/// A lever that was judged a success. Its renewal is due in a few seconds: the failure is over, and requests wait.
fn held(config: &ActorConfig, world: &World) -> (Actor, World) {
    let (actor, mut world, orders) = acting_in(config, world, 39 + config.limits.confirm_secs as u32);
    assert_eq!(acts(&orders).len(), 1);
    world.failing = false;
    (actor, world)
}

/// The orders of `secs` seconds that the world does not carry out, with each situation changed before it is seen.
fn watch(
    actor: &mut Actor,
    world: &mut World,
    secs: u32,
    mut change: impl FnMut(&mut Actor, &mut Situation),
) -> Vec<(f64, Order)> {
    let mut leases = MemoryLeases::default();
    let mut all = Vec::new();
    for _ in 0..secs {
        let mut situation = world.situation("t");
        change(actor, &mut situation);
        let orders = actor.step(&situation, &mut leases);
        all.extend(orders.into_iter().map(|order| (world.at, order)));
        world.at += 1.0;
    }
    all
}

fn renewals(orders: &[(f64, Order)]) -> usize {
    let is_renewal = |(_, order): &&(f64, Order)| matches!(order, Order::Renew { .. });
    orders.iter().filter(is_renewal).count()
}

#[test]
fn a_renewed_lever_is_still_watched_for_harm() {
    let mut config = acting(&[ARM]);
    // Long enough to know the failure's own effect on goodput.
    config.limits.confirm_secs = 60.0;
    let world = World {
        goodput_lag: 200.0,
        ..World::new((0.05, 0.1))
    };
    let (mut actor, mut world) = held(&config, &world);
    let orders = run(&mut actor, &mut world, 400);
    assert!(renewals(&orders) > 0);
    let (at, why) = &reverts(&orders)[0];
    assert_eq!(why, "it did harm");
    assert!((1360.0..1370.0).contains(at), "goodput falls from 1360 on: {at}");
    assert_eq!(world.lever, None);
    let tally = actor.memory().tallies[&Arc::from(ARM)];
    // The success was counted before: the action counts once, with what it led to.
    assert_eq!((tally.success, tally.worse, tally.reverted), (0, 1, 1));
}

#[test]
fn harm_after_the_verdict_revises_what_was_learned() {
    let mut config = acting(&[ARM]);
    config.limits.confirm_secs = 60.0;
    let world = World {
        goodput_lag: 200.0,
        ..World::new((0.05, 0.1))
    };
    let cell = |actor: &Actor| {
        let cells = actor.memory.learner.cells();
        let of_arm: Vec<_> = cells.filter(|(_, arm, _)| arm.as_ref() == ARM).collect();
        assert_eq!(of_arm.len(), 1, "one context");
        *of_arm[0].2
    };
    let (mut actor, mut world) = held(&config, &world);
    let before = run(&mut actor, &mut world, 60);
    let (_, _, outcome, reward) = &settled(&before)[0];
    assert_eq!(*outcome, Outcome::Success);
    let learned = cell(&actor);
    assert_eq!((learned.count, learned.successes, learned.worse), (1, 1, 0));
    assert_eq!(learned.mean(), *reward);

    let later = run(&mut actor, &mut world, 400);
    let revised: Vec<&Settled> = later
        .iter()
        .filter_map(|(_, order)| match order {
            Order::Settled(s) if s.arm.as_ref() == ARM => Some(s),
            _ => None,
        })
        .collect();
    assert_eq!(revised.len(), 1, "{revised:?}");
    assert_eq!(revised[0].replaces, Some(Outcome::Success));
    assert_eq!(revised[0].verdict.outcome, Outcome::MadeWorse);
    let learned = cell(&actor);
    assert_eq!((learned.count, learned.successes, learned.worse), (1, 0, 1));
    assert_eq!(learned.mean(), revised[0].reward);
    assert!(revised[0].reward.expect("it was observed") < reward.expect("it was observed") - 0.3);
}

#[test]
fn a_revert_carries_the_present_fence() {
    let (mut actor, mut world) = held(&acting(&[ARM]), &World::new((0.05, 1.4)));
    let fence = actor.memory.in_effect[0].intent.fence;
    // The lease passed to another monitor, which lost it again: the fence of the action is an old one.
    let mut leases = MemoryLeases::default();
    let past = Time::from_secs_f64(world.at - 100.0);
    for holder in ["another", "a third"] {
        let at = past.plus_secs(if holder == "another" { 0.0 } else { 20.0 });
        assert!(
            leases
                .acquire("t", &holder.into(), at, 10.0)
                .expect("it works")
                .is_some()
        );
    }
    actor.set_kill_switch(true);
    let orders = actor.step(&world.situation("t"), &mut leases);
    world.apply(&orders);
    let [.., Order::Revert { fence: present, .. }] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!((fence, *present), (1, 3));
    assert_eq!(world.lever, None);
}

#[test]
fn a_former_leader_does_not_revert() {
    for kill in [true, false] {
        let (mut actor, mut world) = held(&acting(&[ARM]), &World::new((0.05, 1.4)));
        let mut leases = MemoryLeases::default();
        let now = Time::from_secs_f64(world.at);
        leases
            .acquire("t", &"the new leader".into(), now, 600.0)
            .expect("it works");
        actor.set_kill_switch(kill);
        let mut orders = Vec::new();
        for _ in 0..30 {
            orders.extend(actor.step(&world.situation("t"), &mut leases));
            world.at += 1.0;
        }
        assert!(
            !orders
                .iter()
                .any(|o| matches!(o, Order::Revert { .. } | Order::Renew { .. }))
        );
        let left = orders.iter().filter(|o| matches!(o, Order::NotReverted { .. }));
        assert_eq!(left.count(), 1, "kill switch {kill}: {orders:?}");
        assert!(
            actor.memory.in_effect.is_empty(),
            "it is not in charge of the lever any more"
        );
    }
}

#[test]
fn a_lever_that_is_set_to_other_values_does_not_stay_for_ever() {
    let mut config = acting(&[ARM]);
    config.limits.longest_lever_secs = 150.0;
    config.limits.per_hour = 1000;
    let (mut actor, mut world, first) = acting_run(&config, (0.3, 1.4), 4);
    assert_eq!(acts(&first).len(), 1);
    let mut leases = MemoryLeases::default();
    let (mut since, mut sets, mut most_sets, mut longest) = (Some(1103.0), 1, 1, 0.0_f64);
    for _ in 0..2000 {
        let orders = actor.step(&world.situation("t"), &mut leases);
        world.apply(&orders);
        for order in &orders {
            match order {
                Order::Act(intent) if !intent.plan.actions.is_empty() => {
                    // Each value helps, although the failure stays.
                    world.effect.0 *= 0.3;
                    since.get_or_insert(world.at);
                    sets += 1;
                    most_sets = sets.max(most_sets);
                }
                Order::Revert { .. } => {
                    longest = longest.max(world.at - since.take().expect("it was set"));
                    (sets, world.effect.0) = (0, 1.0);
                }
                Order::Escalate { why, .. } if longest == 0.0 => panic!("{why}"),
                _ => {}
            }
        }
        world.at += 1.0;
    }
    assert!(most_sets > 1, "it was never set to another value");
    assert!((100.0..=150.0).contains(&longest), "{longest}");
}

#[test]
fn a_renewal_needs_what_an_action_needs() {
    type Forbid = fn(&mut Actor, &mut Situation);
    let cases: [(&str, bool, Forbid); 4] = [
        ("permitted", true, |_, _| {}),
        ("vetoed", false, |_, situation| {
            situation.vetoes.insert(ARM.into(), "not at night".into());
        }),
        ("not enabled", false, |actor, _| {
            actor.config.limits.allow.clear();
        }),
        ("excluded", false, |actor, _| {
            actor.targets.get_mut("t").expect("it is known").excluded = true;
        }),
    ];
    for (name, renews, forbid) in cases {
        let (mut actor, mut world) = held(&acting(&[ARM]), &World::new((0.05, 1.4)));
        let orders = watch(&mut actor, &mut world, 30, forbid);
        assert_eq!(renewals(&orders) > 0, renews, "{name}");
        assert_eq!(
            reverts(&orders).first().map(|(at, _)| *at),
            (!renews).then_some(ENDS),
            "{name}"
        );
    }
}

#[test]
fn a_renewed_lever_counts_for_the_fleet() {
    let config = acting(&[ARM]);
    let (mut actor, mut world) = held(&config, &World::new((0.05, 1.4)));
    run(&mut actor, &mut world, 400);
    assert!(world.lever.is_some());
    let now = Time::from_secs_f64(world.at);
    assert_eq!(
        actor.memory.fleet.permits("another", now, &config.limits, 2),
        Err(1)
    );
}

#[test]
fn a_renewal_extends_the_lease_and_needs_it() {
    let config = acting(&[ARM]);
    for is_lost in [false, true] {
        let (mut actor, mut world) = held(&config, &World::new((0.05, 1.4)));
        actor.config.limits.lease_secs = 60.0;
        let mut leases = MemoryLeases::default();
        let mut of_the_other = leases.clone();
        let mut other = |at: f64| {
            let now = Time::from_secs_f64(at);
            of_the_other
                .acquire("t", &"other".into(), now, 60.0)
                .expect("it works")
        };
        if is_lost {
            assert!(other(world.at).is_some());
        }
        let mut orders = Vec::new();
        for _ in 0..10 {
            orders.extend(
                actor
                    .step(&world.situation("t"), &mut leases)
                    .into_iter()
                    .map(|o| (world.at, o)),
            );
            world.at += 1.0;
        }
        assert_eq!(renewals(&orders), usize::from(!is_lost));
        if !is_lost {
            assert_eq!(other(world.at), None, "the lease was extended with the lever");
        }
    }
}

#[test]
fn without_a_lever_nothing_is_renewed() {
    let (mut actor, mut world) = held(&acting(&[ARM]), &World::new((0.05, 1.4)));
    actor.memory.in_effect[0].intent.plan.actions = vec![Action::Route {
        path: "/pause".into(),
    }];
    let orders = run(&mut actor, &mut world, 30);
    assert_eq!(renewals(&orders), 0);
    assert_eq!(reverts(&orders)[0].0, ENDS);
}

#[tokio::test]
async fn a_renewal_that_fails_or_is_not_on_record_does_not_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    for has_audit in [true, false] {
        let (mut actor, mut world) = held(&acting(&[ARM]), &World::new((0.05, 1.4)));
        let mut leases = MemoryLeases::default();
        let orders = loop {
            let orders = actor.step(&world.situation("t"), &mut leases);
            if !orders.is_empty() {
                break orders;
            }
            world.at += 1.0;
        };
        assert!(matches!(orders[..], [Order::Renew { .. }]), "{orders:?}");
        let now = Time::from_secs_f64(world.at);
        let extended = actor.memory.in_effect[0].revert_at.expect("it ends");
        assert!(extended > Time::from_secs_f64(ENDS));
        let audit = has_audit.then(|| Audit::open(&path, now).expect("opened"));
        let audited = Mutex::new(AuditedActor { actor, audit });
        let reach = Reach::new("http://127.0.0.1:1");
        let actuators = Actuators::new([("t".into(), reach)].into()).expect("a client");
        let done = carry_out(orders, &audited, &actuators, || now).await;
        let problem = &done.problems[0];
        let error = done.renewals[0].error.as_ref().expect("it failed");
        assert!(problem.contains(error.as_str()), "{problem}: {error}");
        let why = if has_audit {
            "cannot connect"
        } else {
            "no audit is open"
        };
        assert!(
            problem.contains("could not be renewed") && problem.contains(why),
            "{problem}"
        );
        assert_eq!(
            lock(&audited).actor.memory.in_effect[0].revert_at,
            Some(Time::from_secs_f64(ENDS))
        );
    }
    let records = crate::audit::read(&path).expect("read");
    assert!(
        matches!(
            records[..],
            [
                (_, Record::Renewing { .. }),
                (_, Record::Renewed { error: Some(_), .. })
            ]
        ),
        "{records:?}"
    );
}

#[test]
fn a_single_request_at_the_deadline_is_no_unserved_demand() {
    let mut config = acting(&[ARM]);
    config.limits.confirm_secs = 60.0;
    let world = World {
        goodput_lag: f64::INFINITY,
        ..World::new((0.05, 1.0))
    };
    // Decided at 1160, judged at 1205.
    let (mut actor, mut world, _) = acting_in(&config, &world, 96);
    world.idle = true;
    let orders = watch(&mut actor, &mut world, 40, |_, situation| {
        if situation.at == Time::from_secs_f64(1205.0) {
            situation.signals.insert(signal::WAITING.into(), 1.0);
        }
    });
    let settled = settled(&orders);
    assert_eq!(settled[0].2, Outcome::Success, "{settled:?}");
}
