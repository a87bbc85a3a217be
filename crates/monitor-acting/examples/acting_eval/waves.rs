//! 24 hours of square-wave load: no flapping.

use std::collections::BTreeMap;
use std::sync::Arc;

use monitor_acting::guard::{MemoryLeases, Mode};
use monitor_acting::strategy::Strategies;
use monitor_acting::{Actor, ActorConfig, Memory, Order, Time};

use super::saved::{limits, target};
use super::world::{Fault, Scenario, World};

const HOURS: f64 = 24.0;
/// Half of the wave's period.
const HALF_SECS: f64 = 300.0;

pub(crate) fn report() {
    let config = ActorConfig {
        limits: limits(Mode::Act),
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
    let mut by_hour: BTreeMap<u64, u32> = BTreeMap::new();
    let mut taken_back: BTreeMap<Arc<str>, f64> = BTreeMap::new();
    let (mut actions, mut renewals, mut flaps, mut soonest) = (0, 0, 0, f64::INFINITY);
    while !world.is_over() {
        let situation = world.second();
        let now = world.now;
        for order in actor.step(&situation, &mut leases) {
            match order {
                Order::Act(intent) if !intent.plan.actions.is_empty() => {
                    for action in &intent.plan.actions {
                        world.apply(action).expect("the simulator can do it");
                    }
                    actions += 1;
                    *by_hour.entry((now / 3600.0) as u64).or_default() += 1;
                    if let Some(before) = taken_back.get(&intent.arm) {
                        // In the same second it is a renewal: the server never works without the lever.
                        if now == *before {
                            renewals += 1;
                        } else {
                            soonest = soonest.min(now - before);
                            flaps += u32::from(now - before < 30.0);
                        }
                    }
                }
                Order::Revert { actions, arm, .. } => {
                    for action in &actions {
                        world.apply(action).expect("what was set can be reset");
                    }
                    taken_back.insert(arm, now);
                }
                _ => {}
            }
        }
    }
    let most = by_hour.values().max().copied().unwrap_or(0);
    println!("## {HOURS:.0} hours of square-wave load, {HALF_SECS:.0} s each way\n");
    println!(
        "{actions} actions over {:.0} waves, at most {most} within an hour, of them renewals in the second in which the time of \
         the lever ended: {renewals}; set again within 30 s after being taken back: {flaps}; soonest {soonest:.0} s; a lever \
         is set at the end: {}\n",
        HOURS * 3600.0 / (2.0 * HALF_SECS),
        world.has_lever()
    );
}
