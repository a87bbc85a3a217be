//! Regret of selection methods, on measured rewards.

use std::collections::BTreeMap;
use std::sync::Arc;

use monitor_acting::learn::{Candidate, Context, Learner, Load, Urgency};
use monitor_acting::strategy::Strategies;
use monitor_acting::verify::Outcome;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::saved::Pools;
use super::statistics::{interval, median};

const ROUNDS: usize = 600;
/// From this round on, the best and the worst arm of each failure are exchanged.
const FLIP: usize = 300;
/// Rounds over which "90 % of optimal" is evaluated.
const WINDOW: usize = 40;

/// One failure: its arms, mildest first, with their rewards.
struct Bandit {
    context: Context,
    candidates: Vec<Candidate>,
    rewards: Vec<Vec<f64>>,
    /// Positions of the arms before and after the exchange.
    places: [Vec<usize>; 2],
}

impl Bandit {
    fn mean(&self, flipped: usize, arm: usize) -> f64 {
        let rewards = &self.rewards[self.places[flipped][arm]];
        rewards.iter().sum::<f64>() / rewards.len() as f64
    }

    fn best(&self, flipped: usize) -> f64 {
        (0..self.candidates.len())
            .map(|arm| self.mean(flipped, arm))
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

fn bandits(pools: &Pools) -> Vec<Bandit> {
    let strategies = Strategies::default();
    pools
        .iter()
        .map(|(failure, pool)| {
            let mut arms: Vec<(&String, &Vec<f64>)> = pool.iter().collect();
            arms.sort_by_key(|(arm, _)| strategies.get(arm).map_or(0, |s| s.spec().severity));
            let candidates = arms
                .iter()
                .map(|(arm, _)| Candidate {
                    arm: arm.as_str().into(),
                    prior: strategies.get(arm).expect("built in").spec().against[*failure].prior,
                })
                .collect();
            let rewards: Vec<Vec<f64>> = arms.iter().map(|(_, rewards)| (*rewards).clone()).collect();
            let mean = |i: usize| rewards[i].iter().sum::<f64>() / rewards[i].len() as f64;
            let best = (0..rewards.len())
                .max_by(|a, b| mean(*a).total_cmp(&mean(*b)))
                .expect("nothing is one");
            let worst = (0..rewards.len())
                .min_by(|a, b| mean(*a).total_cmp(&mean(*b)))
                .expect("nothing is one");
            let same: Vec<usize> = (0..rewards.len()).collect();
            let mut flipped = same.clone();
            flipped.swap(best, worst);
            Bandit {
                context: Context::new(*failure, Urgency::Present, Load::High, "simulated"),
                candidates,
                rewards,
                places: [same, flipped],
            }
        })
        .collect()
}

/// A selection method.
enum Way {
    Thompson(Box<Learner>),
    /// The mildest arm, one step more severe after each failure, and back to the mildest after the last: the
    /// method of monitors with a fixed list.
    Ladder(BTreeMap<usize, usize>),
    Greedy(BTreeMap<(usize, usize), (f64, f64)>),
    Random,
}

impl Way {
    fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("Thompson sampling", Self::Thompson(Box::default())),
            ("fixed ladder", Self::Ladder(BTreeMap::new())),
            ("epsilon-greedy 0.1", Self::Greedy(BTreeMap::new())),
            ("random", Self::Random),
        ]
    }

    fn choose(&self, which: usize, bandit: &Bandit, rng: &mut ChaCha8Rng) -> usize {
        let n = bandit.candidates.len();
        match self {
            Self::Thompson(learner) => {
                let choice = learner.choose(&bandit.context, &bandit.candidates, rng);
                bandit
                    .candidates
                    .iter()
                    .position(|c| c.arm == choice.arm)
                    .expect("it is one of them")
            }
            // The first arm does nothing; a ladder always does something if it can.
            Self::Ladder(at) => at.get(&which).copied().unwrap_or(usize::from(n > 1)),
            Self::Greedy(_) if rng.random::<f64>() < 0.1 => rng.random_range(0..n),
            Self::Greedy(seen) => (0..n)
                .max_by(|a, b| {
                    let value = |arm: usize| {
                        let prior = bandit.candidates[arm].prior;
                        let (sum, count) = seen.get(&(which, arm)).copied().unwrap_or_default();
                        (sum + prior.mean) / (count + 1.0)
                    };
                    value(*a).total_cmp(&value(*b))
                })
                .expect("nothing is one"),
            Self::Random => rng.random_range(0..n),
        }
    }

    fn learn(&mut self, which: usize, bandit: &Bandit, arm: usize, reward: f64) {
        let n = bandit.candidates.len();
        match self {
            Self::Thompson(learner) => {
                let outcome = if reward > 0.5 {
                    Outcome::Success
                } else {
                    Outcome::Failure
                };
                learner.observe(&bandit.context, &bandit.candidates[arm].arm, reward, outcome);
            }
            Self::Ladder(at) => {
                let next = match reward {
                    r if r >= 0.5 => arm,
                    _ if arm + 1 < n => arm + 1,
                    _ => usize::from(n > 1),
                };
                at.insert(which, next);
            }
            Self::Greedy(seen) => {
                let entry = seen.entry((which, arm)).or_default();
                entry.0 += reward;
                entry.1 += 1.0;
            }
            Self::Random => {}
        }
    }
}

/// Result of one method at one seed.
struct Played {
    regret: f64,
    regret_after_flip: f64,
    to_ninety: Option<usize>,
    recovered: Option<usize>,
}

fn play(way: &mut Way, bandits: &[Bandit], seed: u64) -> Played {
    let mut shares = Vec::new();
    let (mut regret, mut after) = (0.0, 0.0);
    for round in 0..ROUNDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(round as u64);
        let flipped = usize::from(round >= FLIP);
        let which = rng.random_range(0..bandits.len());
        let draw: f64 = rng.random();
        let bandit = &bandits[which];
        let arm = way.choose(which, bandit, &mut rng);
        let rewards = &bandit.rewards[bandit.places[flipped][arm]];
        let reward = rewards[(draw * rewards.len() as f64) as usize % rewards.len()];
        way.learn(which, bandit, arm, reward);
        let lost = bandit.best(flipped) - bandit.mean(flipped, arm);
        if round < FLIP {
            regret += lost;
        } else {
            after += lost;
        }
        shares.push(bandit.mean(flipped, arm) / bandit.best(flipped));
    }
    let reaches = |from: usize, to: usize| {
        (from..=to - WINDOW)
            .find(|start| shares[*start..*start + WINDOW].iter().sum::<f64>() / WINDOW as f64 >= 0.9)
    };
    Played {
        regret,
        regret_after_flip: after,
        to_ninety: reaches(0, FLIP),
        recovered: reaches(FLIP, ROUNDS).map(|round| round - FLIP),
    }
}

pub(crate) fn report(pools: &Pools, seeds: u64) {
    let bandits = bandits(pools);
    println!("## Learning on the rewards measured above\n");
    for bandit in &bandits {
        let arms: Vec<String> = (0..bandit.candidates.len())
            .map(|arm| format!("{} {:.2}", bandit.candidates[arm].arm, bandit.mean(0, arm)))
            .collect();
        println!("- {}: {}", bandit.context.failure, arms.join(", "));
    }
    println!(
        "\n{ROUNDS} failures of random type; from failure {FLIP} on the best and the worst action of each change places.\n"
    );
    println!(
        "| way | regret before the flip | rounds to 90 % of optimal | regret after the flip | rounds to 90 % again |"
    );
    println!("|---|---|---|---|---|");
    for place in 0..Way::all().len() {
        let name = Way::all()[place].0;
        let played: Vec<Played> = (0..seeds.max(30))
            .map(|seed| play(&mut Way::all().remove(place).1, &bandits, seed))
            .collect();
        let (before, half) = interval(&played.iter().map(|p| p.regret).collect::<Vec<_>>());
        let (after, half_after) = interval(&played.iter().map(|p| p.regret_after_flip).collect::<Vec<_>>());
        let rounds = |of: &dyn Fn(&Played) -> Option<usize>| {
            let mut found: Vec<f64> = played.iter().filter_map(|p| Some(of(p)? as f64)).collect();
            if found.is_empty() {
                return format!("never in {}", played.len());
            }
            let n = found.len();
            format!(
                "{:.0} (median, {n} of {} seeds)",
                median(&mut found),
                played.len()
            )
        };
        println!(
            "| {name} | {before:.1} ± {half:.1} | {} | {after:.1} ± {half_after:.1} | {} |",
            rounds(&|p| p.to_ninety),
            rounds(&|p| p.recovered),
        );
    }
    println!();
}

/// A fixed bandit for the test of restarts.
pub(crate) fn fixed() -> (Context, Vec<Candidate>, [f64; 4]) {
    let strategies = Strategies::default();
    let candidates = ["nothing", "tighten_admission", "limit_active", "watermark"]
        .map(|arm| Candidate {
            arm: Arc::from(arm),
            prior: strategies.get(arm).expect("built in").spec().against["kv_preemption"].prior,
        })
        .into();
    let context = Context::new("kv_preemption", Urgency::Soon, Load::High, "simulated");
    (context, candidates, [0.5, 0.6, 0.85, 0.3])
}
