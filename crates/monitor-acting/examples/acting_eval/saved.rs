//! Goodput saved by acting, compared with doing nothing and with the best single action at the same seed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use monitor_acting::guard::{Limits, MemoryLeases, Mode};
use monitor_acting::strategy::Strategies;
use monitor_acting::verify::Outcome;
use monitor_acting::{Actor, ActorConfig, Memory, Order, Target, Time};

use super::statistics::interval;
use super::world::{Fault, Scenario, TARGET, World};

/// Seeds used only for learning.
const TRAINING: u64 = 10_000;
/// Training runs of each fault.
const TRAINING_RUNS: u64 = 12;
/// The actions that the simulated target supports.
pub(crate) const ARMS: [&str; 7] = [
    "tighten_admission",
    "reject_queue",
    "limit_active",
    "watermark",
    "abort_newest",
    "abort_longest",
    "restart",
];

pub(crate) fn target() -> Target {
    Target::new(TARGET, "simulated").with([
        "lever.max_num_queued_reqs",
        "lever.max_num_active_reqs",
        "lever.watermark_blocks",
        "lever.abort_newest",
        "lever.abort_longest",
        "process.restart",
    ])
}

pub(crate) fn limits(mode: Mode) -> Limits {
    Limits {
        mode,
        allow: ARMS.iter().map(|arm| (*arm).into()).collect(),
        ..Limits::default()
    }
}

/// Result of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) good: f64,
    pub(crate) preemptions: u32,
    pub(crate) actions: u32,
    pub(crate) worse: u32,
    pub(crate) failed: u32,
    /// Verdicts that were replaced by harm that appeared later.
    pub(crate) revised: u32,
    pub(crate) reverted: u32,
    pub(crate) arms: BTreeMap<Arc<str>, u32>,
    /// Each verdict: second, arm, failure, outcome and why.
    pub(crate) verdicts: Vec<String>,
    /// Verdicts by arm, failure and outcome.
    pub(crate) outcomes: BTreeMap<(Arc<str>, Arc<str>, Outcome), u32>,
}

/// No action at all.
fn without(scenario: &Scenario) -> Run {
    let mut world = World::new(scenario.clone());
    while !world.is_over() {
        world.second();
    }
    Run {
        good: world.good,
        preemptions: world.preemptions,
        ..Run::default()
    }
}

/// One action whenever the monitor would act, repeated meanwhile. `None` if no failure here is covered by the
/// action.
fn always(scenario: &Scenario, arm: &str) -> Option<Run> {
    let strategies = Strategies::default();
    let config = ActorConfig {
        limits: limits(Mode::Observe),
        ..ActorConfig::default()
    };
    let mut actor = Actor::new(
        config,
        strategies.clone(),
        Memory::default(),
        [target()],
        Time::default(),
    );
    let mut world = World::new(scenario.clone());
    let strategy = strategies.get(arm)?;
    let mut run = Run::default();
    while !world.is_over() {
        let situation = world.second();
        for order in actor.step(&situation, &mut MemoryLeases::default()) {
            let Order::Suggest(intent) = order else { continue };
            if let Ok(plan) = strategy.plan(&intent.failure, &situation) {
                run.actions += 1;
                world.apply(&plan.actions).ok()?;
            }
        }
    }
    run.good = world.good;
    run.preemptions = world.preemptions;
    (run.actions > 0).then_some(run)
}

/// The whole loop.
fn acting(scenario: &Scenario, memory: Memory, config: ActorConfig, offset: f64) -> (Run, Memory) {
    let at = Time::from_secs_f64(1e9 + offset);
    let mut actor = Actor::new(config, Strategies::default(), memory, [target()], at);
    let mut leases = MemoryLeases::default();
    let mut world = World::new(scenario.clone());
    world.offset = offset;
    let mut run = Run::default();
    while !world.is_over() {
        let situation = world.second();
        let mut open = actor.step(&situation, &mut leases);
        while let Some(order) = open.pop() {
            match order {
                Order::Act(intent) => {
                    let applied = world.apply(&intent.plan.actions);
                    if !intent.plan.actions.is_empty() {
                        run.actions += 1;
                        *run.arms.entry(Arc::clone(&intent.arm)).or_default() += 1;
                    }
                    open.extend(actor.report(intent.ticket, applied, situation.at));
                }
                Order::Renew { actions, .. } => {
                    world.apply(&actions).expect("what was set can be set again");
                }
                Order::Revert { actions, why, .. } => {
                    run.reverted += u32::from(why != "its time is over");
                    world.apply(&actions).expect("what was set can be reset");
                }
                Order::Settled(settled) if settled.arm.as_ref() != "nothing" => {
                    let kind = |outcome| (Arc::clone(&settled.arm), Arc::clone(&settled.failure), outcome);
                    if let Some(before) = settled.replaces {
                        *run.outcomes.entry(kind(before)).or_default() -= 1;
                        run.revised += 1;
                    }
                    *run.outcomes.entry(kind(settled.verdict.outcome)).or_default() += 1;
                    run.verdicts.push(format!(
                        "{:.0} s: {} against {}: {:?} (goodput forecast and seen {:.0?}): {}",
                        world.now,
                        settled.arm,
                        settled.failure,
                        settled.verdict.outcome,
                        settled.verdict.goodput,
                        settled.verdict.why
                    ));
                }
                _ => {}
            }
        }
    }
    let of = |wanted| {
        run.outcomes
            .iter()
            .filter(|((.., outcome), _)| *outcome == wanted)
            .map(|(_, n)| n)
            .sum()
    };
    (run.worse, run.failed) = (of(Outcome::MadeWorse), of(Outcome::Failure));
    run.good = world.good;
    run.preemptions = world.preemptions;
    (run, actor.memory().clone())
}

/// All measurements of one fault at one seed.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) fault: Fault,
    pub(crate) seed: u64,
    pub(crate) none: Run,
    pub(crate) acting: Run,
    pub(crate) arms: BTreeMap<&'static str, Run>,
}

impl Measured {
    fn oracle(&self) -> f64 {
        self.arms
            .values()
            .map(|run| run.good)
            .fold(self.none.good, f64::max)
    }
}

/// A memory that has learned from runs of other seeds.
fn trained() -> Memory {
    let mut memory = Memory::default();
    let mut limits = limits(Mode::Act);
    limits.hold_out = 0.1;
    let mut offset = 0.0;
    for run in 0..TRAINING_RUNS {
        for fault in Fault::ALL {
            let config = ActorConfig {
                limits: limits.clone(),
                seed: run,
                ..ActorConfig::default()
            };
            let after = acting(&Scenario::new(fault, TRAINING + run), memory, config, offset).1;
            // Only the learned state is kept: between two failures a server serves long enough to renew
            // budgets, which these short runs leave out.
            memory = Memory::default();
            memory.learner = after.learner;
            memory.decisions = after.decisions;
            offset += 7200.0;
        }
    }
    memory
}

pub(crate) fn measure(seeds: Range<u64>) -> Vec<Measured> {
    let memory = trained();
    for rule in memory.learner.rules(&Strategies::default()).iter().take(6) {
        println!("learned: {rule}");
    }
    println!();
    let mut all = Vec::new();
    for fault in Fault::ALL {
        for seed in seeds.clone() {
            let scenario = Scenario::new(fault, seed);
            let config = ActorConfig {
                limits: limits(Mode::Act),
                seed,
                ..ActorConfig::default()
            };
            all.push(Measured {
                fault,
                seed,
                none: without(&scenario),
                acting: acting(&scenario, memory.clone(), config, 1e7).0,
                arms: ARMS
                    .into_iter()
                    .filter_map(|arm| Some((arm, always(&scenario, arm)?)))
                    .collect(),
            });
        }
    }
    all
}

pub(crate) fn report(all: &[Measured]) {
    println!("## Goodput saved (tokens of requests with a first token within 2 s and 50 ms a token)\n");
    println!(
        "| fault | seeds | without | acting | oracle | share of the oracle's gain | preemptions without / with | actions a run | harmed runs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut runs, mut harmed, mut worse, mut failed, mut revised, mut reverted) = (0, 0, 0, 0, 0, 0);
    let mut gains = (0.0, 0.0);
    for fault in Fault::ALL {
        let of: Vec<&Measured> = all.iter().filter(|m| m.fault == fault).collect();
        let mean = |f: &dyn Fn(&Measured) -> f64| interval(&of.iter().map(|m| f(m)).collect::<Vec<_>>());
        let (none, acting, oracle) = (
            mean(&|m| m.none.good),
            mean(&|m| m.acting.good),
            mean(&|m| m.oracle()),
        );
        let gain: Vec<f64> = of.iter().map(|m| m.acting.good - m.none.good).collect();
        let best: f64 = of.iter().map(|m| m.oracle() - m.none.good).sum();
        let (saved, half) = interval(&gain);
        let n = of.len() as f64;
        // A run is harmed if it lost more than 2 % compared with the same seed without any action.
        let bad = of
            .iter()
            .filter(|m| m.acting.actions > 0 && m.acting.good < 0.98 * m.none.good)
            .count();
        runs += of.iter().filter(|m| m.acting.actions > 0).count();
        harmed += bad;
        for m in &of {
            worse += m.acting.worse;
            failed += m.acting.failed;
            revised += m.acting.revised;
            reverted += m.acting.reverted;
        }
        gains.0 += saved * n;
        gains.1 += best;
        println!(
            "| {fault:?} | {} | {:.0} ± {:.0} | {:.0} ± {:.0} | {:.0} ± {:.0} | {:.0} % ± {:.0} | {:.0} / {:.0} | {:.1} | {bad} |",
            of.len(),
            none.0,
            none.1,
            acting.0,
            acting.1,
            oracle.0,
            oracle.1,
            100.0 * saved * n / best,
            100.0 * half * n / best,
            mean(&|m| f64::from(m.none.preemptions)).0,
            mean(&|m| f64::from(m.acting.preemptions)).0,
            mean(&|m| f64::from(m.acting.actions)).0,
        );
    }
    println!(
        "\nall faults: {:.0} % of the oracle's gain",
        100.0 * gains.0 / gains.1
    );
    println!(
        "harmed: {harmed} of {runs} runs with actions ({:.1} %); judged harmful {worse} ({revised} of them after \
         another verdict), judged without effect {failed}, taken back before their time {reverted}\n",
        100.0 * harmed as f64 / runs.max(1) as f64
    );
    for m in all
        .iter()
        .filter(|m| m.acting.actions > 0 && m.acting.good < 0.98 * m.none.good)
    {
        println!(
            "harmed: {:?}, seed {}: {:.0} without, {:.0} with, single actions {:?}",
            m.fault,
            m.seed,
            m.none.good,
            m.acting.good,
            m.arms
                .iter()
                .map(|(arm, run)| (*arm, run.good.round()))
                .collect::<Vec<_>>()
        );
        for verdict in &m.acting.verdicts {
            println!("  {verdict}");
        }
    }
    println!("Mean goodput by single action:\n");
    for fault in Fault::ALL {
        let of: Vec<&Measured> = all.iter().filter(|m| m.fault == fault).collect();
        let mut line = format!(
            "- {fault:?}: nothing {:.0}",
            interval(&of.iter().map(|m| m.none.good).collect::<Vec<_>>()).0
        );
        for arm in ARMS {
            let good: Vec<f64> = of.iter().filter_map(|m| Some(m.arms.get(arm)?.good)).collect();
            if !good.is_empty() {
                line.push_str(&format!(", {arm} {:.0} ({} runs)", interval(&good).0, good.len()));
            }
        }
        let mut chosen: BTreeMap<&str, u32> = BTreeMap::new();
        for m in &of {
            for (arm, n) in &m.acting.arms {
                *chosen.entry(arm).or_default() += n;
            }
        }
        println!("{line}; chosen when acting {chosen:?}");
        let mut outcomes: BTreeMap<_, u32> = BTreeMap::new();
        for (kind, n) in of.iter().flat_map(|m| &m.acting.outcomes) {
            *outcomes.entry(kind).or_default() += n;
        }
        for ((arm, failure, outcome), n) in outcomes.into_iter().filter(|(_, n)| *n > 0) {
            println!("  - {arm} against {failure}: {outcome:?} {n}");
        }
    }
    println!();
}

/// Rewards by fault and arm: share of the best goodput seen at that seed, less the arm's cost.
pub(crate) type Pools = BTreeMap<&'static str, BTreeMap<String, Vec<f64>>>;

pub(crate) fn pools(all: &[Measured]) -> Pools {
    let strategies = Strategies::default();
    let mut pools = Pools::new();
    for m in all {
        let name = match m.fault {
            Fault::KvPressure => "kv_preemption",
            Fault::Flood => "queue_overflow",
            Fault::Slow => "degradation",
            Fault::Hang => "hang",
            Fault::Exit => "process_exit",
        };
        let best = m.oracle().max(1.0);
        let pool = pools.entry(name).or_default();
        pool.entry("nothing".into()).or_default().push(m.none.good / best);
        for (arm, run) in &m.arms {
            let spec = strategies.get(arm).expect("built in").spec();
            if spec.against.contains_key(name) {
                pool.entry((*arm).into())
                    .or_default()
                    .push((run.good / best - spec.cost).clamp(-1.0, 1.0));
            }
        }
    }
    pools
}
