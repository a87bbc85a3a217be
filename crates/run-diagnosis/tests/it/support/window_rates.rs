//! How often the steady-window test finds what is there, and what is not, in synthetic throughput.

use run_diagnosis::window::{Steadiness, assess};

use super::{level, random};

/// What happens to the level.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Flat,
    /// 10 % down at 60 % of the run.
    Step,
    /// 10 % down from start to end.
    Drift,
    /// 3 % down from start to end.
    SmallDrift,
}

impl Shape {
    fn at(self, place: f64) -> f64 {
        match self {
            Self::Flat => 1.0,
            Self::Step => {
                if place < 0.6 {
                    1.0
                } else {
                    0.9
                }
            }
            Self::Drift => 1.0 - 0.1 * place,
            Self::SmallDrift => 1.0 - 0.03 * place,
        }
    }
}

/// Shares of a number of repetitions, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) shift: f64,
    pub(crate) drift: f64,
    /// Called a shift or a drift, in a run of at least 20 correlation times.
    pub(crate) changed_and_long_enough: f64,
    /// Shorter than 20 correlation times.
    pub(crate) too_short: f64,
}

pub(crate) fn rates(shape: Shape, phi: f64, variation: f64, seconds: usize, repetitions: u64) -> Rates {
    let mut rates = Rates::default();
    let one = 1.0 / repetitions as f64;
    for repetition in 0..repetitions {
        let mut random = random(repetition * 1_000_003 + seconds as u64);
        let series = level(&mut random, seconds, phi, variation, |place| shape.at(place));
        let assessment = assess(&series).expect("a long finite series");
        let too_short = 20.0 * assessment.correlation_time > seconds as f64;
        match assessment.steadiness {
            Steadiness::LevelShift { .. } => rates.shift += one,
            Steadiness::Drift { .. } => rates.drift += one,
            Steadiness::Steady => {}
        }
        if too_short {
            rates.too_short += one;
        } else if assessment.steadiness != Steadiness::Steady {
            rates.changed_and_long_enough += one;
        }
    }
    rates
}
