//! The whole loop in virtual time, on a server modelled by a few numbers.

mod levers;
mod world;

use super::*;
use crate::guard::MemoryLeases;
use crate::verify::Outcome;
use crate::{Action, Evidence, EvidenceKind, Failure};
use world::World;

const LEVERS: [&str; 3] = [
    "lever.max_num_queued_reqs",
    "lever.max_num_active_reqs",
    "process.restart",
];

fn acting(allow: &[&str]) -> ActorConfig {
    ActorConfig {
        limits: Limits {
            mode: Mode::Act,
            allow: allow.iter().map(|arm| (*arm).into()).collect(),
            ..Limits::default()
        },
        ..ActorConfig::default()
    }
}

fn actor(config: ActorConfig) -> Actor {
    let target = Target::new("t", "gpu").with(LEVERS);
    Actor::new(
        config,
        Strategies::default(),
        Memory::default(),
        [target],
        Time::default(),
    )
}

/// Steps for `secs` and returns the orders with their times.
fn run(actor: &mut Actor, world: &mut World, secs: u32) -> Vec<(f64, Order)> {
    let mut leases = MemoryLeases::default();
    let mut all = Vec::new();
    for _ in 0..secs {
        let orders = actor.step(&world.situation("t"), &mut leases);
        world.apply(&orders);
        all.extend(orders.into_iter().map(|order| (world.at, order)));
        world.at += 1.0;
    }
    all
}

fn acts(orders: &[(f64, Order)]) -> Vec<(f64, String)> {
    orders
        .iter()
        .filter_map(|(at, order)| match order {
            Order::Act(intent) => Some((*at, intent.arm.to_string())),
            _ => None,
        })
        .filter(|(_, arm)| arm != "nothing")
        .collect()
}

/// Seeds differ in whether doing nothing is chosen first; use the first seed that acts.
fn acting_run(config: &ActorConfig, effect: (f64, f64), secs: u32) -> (Actor, World, Vec<(f64, Order)>) {
    acting_in(config, &World::new(effect), secs)
}

fn acting_in(config: &ActorConfig, world: &World, secs: u32) -> (Actor, World, Vec<(f64, Order)>) {
    for seed in 0..20 {
        let mut actor = actor(ActorConfig {
            seed,
            ..config.clone()
        });
        let mut world = world.clone();
        run(&mut actor, &mut world, 100);
        world.failing = true;
        let orders = run(&mut actor, &mut world, secs);
        if acts(&orders)
            .first()
            .is_some_and(|(at, _)| *at == 1100.0 + config.limits.confirm_secs)
        {
            return (actor, world, orders);
        }
    }
    panic!("none of 20 seeds acts");
}

fn settled(orders: &[(f64, Order)]) -> Vec<(f64, String, Outcome, Option<f64>)> {
    orders
        .iter()
        .filter_map(|(at, order)| match order {
            Order::Settled(s) => Some((*at, s.arm.to_string(), s.verdict.outcome, s.reward)),
            _ => None,
        })
        .collect()
}

fn reverts(orders: &[(f64, Order)]) -> Vec<(f64, String)> {
    orders
        .iter()
        .filter_map(|(at, order)| match order {
            Order::Revert { why, .. } => Some((*at, why.to_string())),
            _ => None,
        })
        .collect()
}

#[test]
fn observing_suggests_and_never_acts() {
    let mut actor = actor(ActorConfig::default());
    let mut world = World::new((0.0, 1.0));
    world.failing = true;
    let orders = run(&mut actor, &mut world, 300);
    assert!(acts(&orders).is_empty());
    let suggestions = orders
        .iter()
        .filter(|(_, o)| matches!(o, Order::Suggest(_)))
        .count();
    assert_eq!(suggestions, 5, "one a minute");
    assert!(actor.memory().in_effect.is_empty());
    assert_eq!(world.lever, None);
}

#[test]
fn an_effect_is_verified_and_the_lever_stands_until_its_time_is_over() {
    let (mut actor, mut world, mut orders) = acting_run(&acting(&["tighten_admission"]), (0.05, 1.4), 35);
    world.failing = false;
    world.waiting = 0.0;
    orders.extend(run(&mut actor, &mut world, 35));
    let Order::Act(intent) = &orders[0].1 else {
        panic!("{orders:?}")
    };
    assert_eq!(
        intent.plan.actions,
        [Action::SetLever {
            lever: "max_num_queued_reqs".into(),
            value: 35.0,
            ttl_secs: 60.0
        }]
    );
    assert!(
        intent
            .refused
            .iter()
            .any(|r| r.arm.as_ref() == "watermark" && r.why.contains("unsupported here"))
    );
    assert!(
        intent
            .refused
            .iter()
            .any(|r| r.arm.as_ref() == "limit_active" && r.why.contains("opted in"))
    );
    assert!(intent.propensity > 0.0 && intent.reason.contains("kv_preemption is present"));
    let settled = settled(&orders);
    assert_eq!(settled.len(), 1, "{settled:?}");
    let (at, _, outcome, reward) = &settled[0];
    assert_eq!((*at, *outcome), (1163.0, Outcome::Success));
    assert!(reward.expect("it was observed") > 0.75, "{reward:?}");
    assert_eq!(reverts(&orders), [(1163.0, "its time is over".to_owned())]);
    assert_eq!(world.lever, None);
    assert!(actor.memory().in_effect.is_empty());
}

#[test]
fn no_effect_is_taken_back_and_its_posterior_falls() {
    let config = acting(&["tighten_admission"]);
    let (actor, world, orders) = acting_run(&config, (1.0, 1.0), 300);
    let (at, arm, outcome, reward) = &settled(&orders)[0];
    assert_eq!(
        (*at, arm.as_str(), *outcome),
        (1148.0, "tighten_admission", Outcome::Failure)
    );
    assert!(reward.expect("it was observed") < 0.65);
    assert_eq!(reverts(&orders)[0], (1148.0, "it had no effect".to_owned()));
    assert_eq!(world.lever, None);
    assert_eq!(acts(&orders).len(), 1, "it is not tried again in this episode");
    let escalated = orders
        .iter()
        .filter(|(_, o)| matches!(o, Order::Escalate { .. }))
        .count();
    assert_eq!(escalated, 1, "a person is called, once");
    let recommended = actor.get_learning_recommendations("t", "kv_preemption", Some(&world.situation("t")));
    let found = recommended
        .iter()
        .find(|r| &*r.strategy == "tighten_admission")
        .expect("listed");
    assert!(found.score < 0.74, "the prior was 0.75: {found:?}");
}

#[test]
fn harm_is_taken_back_before_the_deadline() {
    let mut config = acting(&["tighten_admission"]);
    // Long enough to know the failure's own effect on goodput.
    config.limits.confirm_secs = 60.0;
    let (actor, world, orders) = acting_run(&config, (0.0, 0.3), 100);
    let (at, _, outcome, _) = &settled(&orders)[0];
    assert_eq!(*outcome, Outcome::MadeWorse);
    assert!(*at <= 1172.0, "at {at}");
    assert_eq!(reverts(&orders)[0].1, "it did harm");
    assert_eq!(world.lever, None);
    let tally = actor.memory().tallies[&Arc::from("tighten_admission")];
    assert_eq!((tally.worse, tally.reverted), (1, 1));
}

/// Long enough for an action to be judged before its harm shows.
fn late_harm() -> World {
    World {
        goodput_lag: 25.0,
        ..World::new((0.05, 0.1))
    }
}

#[test]
fn goodput_that_collapses_after_a_success_is_harm() {
    let mut config = acting(&["limit_active"]);
    config.limits.confirm_secs = 60.0;
    let (actor, world, orders) = acting_in(&config, &late_harm(), 100);
    let settled = settled(&orders);
    let (at, _, outcome, reward) = &settled[0];
    // The signal moved as promised at the deadline, 1180; goodput falls from 1185 on.
    assert_eq!(*outcome, Outcome::MadeWorse, "{settled:?}");
    assert!((1185.0..=1195.0).contains(at), "at {at}");
    assert_eq!(reverts(&orders)[0], (*at, "it did harm".to_owned()));
    assert_eq!(world.lever, None);
    let tally = actor.memory().tallies[&Arc::from("limit_active")];
    assert_eq!((tally.success, tally.worse, tally.reverted), (0, 1, 1));
    // Half of the window passed before the collapse; the rest counts as it would have gone on.
    let reward = reward.expect("it was observed");
    assert!(reward < 0.45, "{reward}");
    let recommended = actor.get_learning_recommendations("t", "kv_preemption", Some(&world.situation("t")));
    let found = recommended.iter().find(|r| &*r.strategy == "limit_active");
    assert!(
        found.is_none_or(|r| r.score < 0.65),
        "the prior was 0.65: {found:?}"
    );
}

#[test]
fn goodput_that_falls_because_demand_does_is_not_harm() {
    let mut config = acting(&["tighten_admission"]);
    config.limits.confirm_secs = 60.0;
    let world = World {
        goodput_lag: f64::INFINITY,
        ..World::new((0.05, 1.0))
    };
    let (mut actor, mut world, mut orders) = acting_in(&config, &world, 90);
    world.idle = true;
    orders.extend(run(&mut actor, &mut world, 40));
    let settled = settled(&orders);
    assert_eq!(settled[0].2, Outcome::Success, "{settled:?}");
    assert_eq!(reverts(&orders)[0].1, "its time is over");
}

#[test]
fn a_lever_that_helped_is_renewed_before_its_time_is_over_while_the_failure_lasts() {
    let (mut actor, mut world, mut orders) = acting_run(&acting(&["tighten_admission"]), (0.05, 1.4), 50);
    let renewed = |orders: &[(f64, Order)]| {
        orders
            .iter()
            .filter(|(_, order)| matches!(order, Order::Renew { .. }))
            .map(|(at, _)| *at)
            .collect::<Vec<_>>()
    };
    assert_eq!(renewed(&orders), [1148.0], "a quarter of its time before its end");
    // The lever ended the failure, and requests still wait.
    world.failing = false;
    orders.extend(run(&mut actor, &mut world, 100));
    assert_eq!(renewed(&orders), [1148.0, 1193.0, 1238.0]);
    assert!(reverts(&orders).is_empty() && world.lever.is_some());
    world.idle = true;
    orders.extend(run(&mut actor, &mut world, 100));
    assert_eq!(reverts(&orders), [(1298.0, "its time is over".to_owned())]);
    assert_eq!(acts(&orders).len(), 1);
    assert_eq!(world.lever, None);
}

#[test]
fn what_did_not_help_is_not_renewed() {
    let (_, _, orders) = acting_run(&acting(&["tighten_admission"]), (1.0, 1.0), 100);
    assert!(
        !orders
            .iter()
            .any(|(_, order)| matches!(order, Order::Renew { .. }))
    );
}

#[test]
fn a_lever_does_not_stay_for_ever() {
    let config = acting(&["tighten_admission"]);
    let (mut actor, mut world, mut orders) = acting_run(&config, (0.05, 1.4), 30);
    world.failing = false;
    orders.extend(run(&mut actor, &mut world, 2000));
    let (began, ended) = (acts(&orders)[0].0, reverts(&orders)[0].0);
    let held = ended - began;
    let most = config.limits.longest_lever_secs;
    assert!(held > most - 60.0 && held <= most, "{held}");
}

#[test]
fn nothing_flaps_under_a_square_wave() {
    let config = acting(&["tighten_admission", "limit_active"]);
    for effect in [(0.05, 1.4), (1.0, 1.0), (0.3, 0.3)] {
        let mut actor = actor(config.clone());
        let mut leases = MemoryLeases::default();
        let mut world = World::new(effect);
        let (mut flaps, mut actions) = (crate::guard::Flaps::default(), 0);
        for second in 0..7200 {
            world.failing = second % 300 > 150;
            world.idle = !world.failing;
            let orders = actor.step(&world.situation("t"), &mut leases);
            world.apply(&orders);
            for order in &orders {
                flaps.see(order, Time::from_secs_f64(world.at), &config.limits);
                actions += usize::from(matches!(order, Order::Act(_)));
            }
            world.at += 1.0;
        }
        assert!(actions > 0, "{effect:?}");
        assert_eq!(flaps.count(), 0, "{effect:?}");
    }
}

#[test]
fn a_veto_is_obeyed_and_shown() {
    let mut actor = actor(acting(&["tighten_admission"]));
    let mut world = World::new((0.0, 1.2));
    world.failing = true;
    let mut reasons = Vec::new();
    for _ in 0..100 {
        let mut situation = world.situation("t");
        let why = "plugin night: not at night";
        situation.vetoes.insert("tighten_admission".into(), why.into());
        for order in actor.step(&situation, &mut MemoryLeases::default()) {
            match order {
                Order::Act(intent) => assert!(intent.plan.actions.is_empty(), "{intent:?}"),
                Order::Escalate { why, .. } => reasons.push(why),
                _ => {}
            }
        }
        world.at += 1.0;
    }
    assert_eq!(reasons.len(), 1);
    assert!(
        reasons[0].contains("tighten_admission: plugin night: not at night"),
        "{reasons:?}"
    );
}

#[test]
fn one_kind_of_evidence_is_not_enough() {
    let mut actor = actor(acting(&["tighten_admission", "restart"]));
    let mut world = World::new((0.0, 1.0));
    world.failing = true;
    world.kinds = vec![EvidenceKind::KvCache, EvidenceKind::KvCache];
    assert!(run(&mut actor, &mut world, 100).is_empty());
}

#[test]
fn what_cannot_be_observed_is_not_counted() {
    let config = acting(&["tighten_admission"]);
    let (mut actor, mut world, orders) = acting_run(&config, (0.0, 1.2), 10);
    assert_eq!(acts(&orders).len(), 1);
    world.observed = false;
    let orders = run(&mut actor, &mut world, 60);
    let (_, _, outcome, reward) = &settled(&orders)[0];
    assert_eq!((*outcome, *reward), (Outcome::NotApplicable, None));
    assert_eq!(reverts(&orders)[0].1, "its effect cannot be observed");
    assert_eq!(
        actor.memory().learner.censored()[&Arc::from("tighten_admission")],
        1
    );
    assert_eq!(actor.memory().learner.cells().count(), 0);
}

#[test]
fn the_kill_switch_takes_everything_back() {
    let (mut actor, mut world, _) = acting_run(&acting(&["tighten_admission"]), (0.0, 1.2), 30);
    assert!(world.lever.is_some());
    actor.set_kill_switch(true);
    let orders = run(&mut actor, &mut world, 200);
    assert_eq!(reverts(&orders), [(1130.0, "the kill switch is on".to_owned())]);
    assert!(acts(&orders).is_empty() && world.lever.is_none());
    assert!(actor.acts().expect_err("it is on").contains("kill switch"));
}

#[test]
fn an_action_that_fails_is_taken_back_and_not_repeated() {
    let (mut actor, world, orders) = acting_run(&acting(&["tighten_admission"]), (0.0, 1.2), 4);
    let Order::Act(intent) = &orders[0].1 else {
        panic!("{orders:?}")
    };
    let orders = actor.report(
        intent.ticket,
        Err("status 404".into()),
        Time::from_secs_f64(world.at),
    );
    assert!(matches!(&orders[0], Order::Settled(s) if s.verdict.why.contains("status 404")));
    assert!(matches!(&orders[1], Order::Revert { .. }));
    assert!(actor.memory().in_effect.is_empty());
}

#[test]
fn restarts_are_left_to_their_owner() {
    let mut actor = actor(acting(&["restart"]));
    let mut target = Target::new("t", "gpu").with(LEVERS);
    target.restart_owner = Some("systemd".into());
    actor.set_target(target);
    let situation = Situation {
        failures: vec![Failure {
            kind: "process_exit".into(),
            present: true,
            probability: 1.0,
            secs_to_failure: None,
            evidence: vec![Evidence::new(EvidenceKind::ProcessExit, "code 0")],
        }],
        ..World::new((1.0, 1.0)).situation("t")
    };
    let orders = actor.step(&situation, &mut MemoryLeases::default());
    assert!(
        matches!(&orders[..], [Order::Escalate { why, .. }] if why.contains("systemd restarts this server")),
        "{orders:?}"
    );
}

#[test]
fn two_monitors_on_one_target_act_once() {
    let mut leases = MemoryLeases::default();
    let mut config = acting(&["tighten_admission"]);
    let mut first = actor(config.clone());
    config.holder = "the other".into();
    let mut second = actor(config);
    let mut world = World::new((0.0, 1.2));
    let (mut by_first, mut by_second) = (0, 0);
    for second_count in 0..200 {
        world.failing = second_count >= 100;
        let situation = world.situation("t");
        for (actor, count) in [(&mut first, &mut by_first), (&mut second, &mut by_second)] {
            let orders = actor.step(&situation, &mut leases);
            *count += orders.iter().filter(|o| matches!(o, Order::Act(_))).count();
            world.apply(&orders);
        }
        world.at += 1.0;
    }
    assert!(by_first > 0);
    assert_eq!(by_second, 0);
}

#[test]
fn a_common_cause_in_a_fleet_trips_the_breaker_and_stays_tripped() {
    let config = acting(&["tighten_admission"]);
    let targets = || (0..20).map(|i| Target::new(format!("t{i}"), "gpu").with(LEVERS));
    let mut actor = Actor::new(
        config.clone(),
        Strategies::default(),
        Memory::default(),
        targets(),
        Time::default(),
    );
    let mut leases = MemoryLeases::default();
    let mut world = World::new((0.0, 1.0));
    world.failing = true;
    let (mut acted, mut tripped) = (BTreeSet::new(), 0);
    for _ in 0..120 {
        for i in 0..20 {
            for order in actor.step(&world.situation(&format!("t{i}")), &mut leases) {
                match order {
                    Order::Act(intent) if !intent.plan.actions.is_empty() => {
                        acted.insert(intent.target);
                    }
                    Order::BreakerTripped { .. } => tripped += 1,
                    _ => {}
                }
            }
        }
        world.at += 1.0;
    }
    assert_eq!((acted.len(), tripped), (6, 1), "30 % of 20");
    let json = serde_json::to_string(actor.memory()).expect("plain data");
    let memory: Memory = serde_json::from_str(&json).expect("it reads back");
    let mut again = Actor::new(
        config,
        Strategies::default(),
        memory,
        targets(),
        Time::from_secs_f64(world.at),
    );
    world.at += 4000.0;
    let orders = again.step(&world.situation("t19"), &mut leases);
    assert!(!orders.iter().any(|o| matches!(o, Order::Act(_))), "{orders:?}");
    again.reset_breaker();
    world.at += 100.0;
    let orders = again.step(&world.situation("t19"), &mut leases);
    assert!(orders.iter().any(|o| matches!(o, Order::Act(_))), "{orders:?}");
}

#[test]
fn a_restart_at_any_moment_changes_nothing() {
    let config = acting(&["tighten_admission", "limit_active"]);
    let play = |restart_every: Option<u32>| {
        let mut actor = actor(config.clone());
        let mut leases = MemoryLeases::default();
        let mut world = World::new((0.2, 1.2));
        let mut log = Vec::new();
        for second in 0..3000_u32 {
            world.failing = second % 400 > 200;
            if restart_every.is_some_and(|every| second % every == 0) {
                let json = serde_json::to_string(actor.memory()).expect("plain data");
                let memory = serde_json::from_str(&json).expect("it reads back");
                let recents = std::mem::take(&mut actor.recents);
                let target = Target::new("t", "gpu").with(LEVERS);
                actor = Actor::new(
                    config.clone(),
                    Strategies::default(),
                    memory,
                    [target],
                    Time::from_secs_f64(world.at),
                );
                // The same history of the signals, as for a monitor that reads its record back.
                actor.recents = recents;
            }
            let orders = actor.step(&world.situation("t"), &mut leases);
            world.apply(&orders);
            log.extend(orders);
            world.at += 1.0;
        }
        log
    };
    let whole = play(None);
    assert!(whole.len() > 20);
    assert_eq!(play(Some(7)), whole);
}

#[test]
fn held_out_failures_are_marked_and_propensities_account_for_them() {
    let mut config = acting(&["tighten_admission"]);
    config.limits.hold_out = 0.3;
    config.limits.per_hour = 1000;
    let mut actor = actor(config);
    let mut world = World::new((0.1, 1.3));
    let (mut held, mut all) = (0.0, 0.0);
    for _ in 0..60 {
        world.failing = false;
        run(&mut actor, &mut world, 1000);
        world.failing = true;
        for (_, order) in run(&mut actor, &mut world, 30) {
            if let Order::Act(intent) = order {
                all += 1.0;
                held += f64::from(u8::from(intent.held_out));
                assert!((intent.propensities.values().sum::<f64>() - 1.0).abs() < 1e-9);
                assert!(intent.propensities["nothing"] >= 0.3);
            }
        }
    }
    let share = held / all;
    assert!((0.15..0.45).contains(&share), "{held} of {all}");
}
