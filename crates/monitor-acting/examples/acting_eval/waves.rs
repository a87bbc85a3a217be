//! 24 hours of square-wave load: no flapping.

use std::collections::BTreeMap;

use monitor_acting::guard::{Flaps, MemoryLeases, Mode};
use monitor_acting::strategy::Strategies;
use monitor_acting::{Actor, ActorConfig, Memory, Order, Time};

use super::saved::{limits, target};
use super::world::{Fault, Scenario, World};

const HOURS: f64 = 24.0;
/// Half of the wave's period.
const HALF_SECS: f64 = 300.0;

/// # Errors
/// If a lever flapped.
pub(crate) fn report() -> Result<(), String> {
    let limits = limits(Mode::Act);
    let config = ActorConfig {
        limits: limits.clone(),
        ..ActorConfig::default()
    };
    let mut actor = Actor::new(
        config,
        Strategies::default(),
        Memory::default(),
        [target()],
        Time::from_secs_f64(1e9),
    );
    let mut leases = MemoryLeases::default();
    let mut scenario = Scenario::new(Fault::Flood, 1);
    scenario.until = HOURS * 3600.0;
    let mut world = World::new(scenario);
    world.wave_secs = Some(HALF_SECS);
    let (mut by_hour, mut whys) = (BTreeMap::<u64, u32>::new(), BTreeMap::<String, u32>::new());
    let (mut actions, mut renewals, mut escalations, mut flaps) = (0, 0, 0, Flaps::default());
    while !world.is_over() {
        let situation = world.second();
        let mut open = actor.step(&situation, &mut leases);
        open.reverse();
        while let Some(order) = open.pop() {
            flaps.see(&order, situation.at, &limits);
            match order {
                Order::Act(intent) => {
                    let applied = world.apply(&intent.plan.actions);
                    if !intent.plan.actions.is_empty() {
                        actions += 1;
                        *by_hour.entry((world.now / 3600.0) as u64).or_default() += 1;
                    }
                    open.extend(actor.report(intent.ticket, applied, situation.at));
                }
                Order::Renew { actions, .. } => {
                    world.apply(&actions).expect("what was set can be set again");
                    renewals += 1;
                }
                Order::Revert { actions, why, .. } => {
                    world.apply(&actions).expect("what was set can be reset");
                    *whys.entry(why.into_owned()).or_default() += 1;
                }
                Order::Escalate { .. } => escalations += 1,
                _ => {}
            }
        }
    }
    let most = by_hour.values().max().copied().unwrap_or(0);
    println!("## {HOURS:.0} hours of square-wave load, {HALF_SECS:.0} s each way\n");
    println!(
        "{actions} actions over {:.0} waves, at most {most} within an hour; {renewals} renewals; taken back {whys:?}; calls \
         for an operator: {escalations}; levers set again within {:.0} s after they were taken back: {}; a lever is set at \
         the end: {}\n",
        HOURS * 3600.0 / (2.0 * HALF_SECS),
        limits.cooldown_secs,
        flaps.count(),
        world.has_lever()
    );
    match flaps.count() {
        0 if actions == 0 => Err("no action was taken, so that nothing could flap".into()),
        0 => Ok(()),
        n => Err(format!("{n} flaps")),
    }
}
