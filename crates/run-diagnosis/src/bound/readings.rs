//! Every quantity of the rules: a value per second, one for the whole window, or why it is missing.

use std::collections::BTreeMap;
use std::ops::Range;

use run_statistics::percentile;

use super::quantity::Quantity;
use crate::input::Span;

pub(super) enum Values {
    PerSecond(Vec<Option<f64>>),
    Constant(f64),
    Missing(String),
}

/// All quantities in a range of seconds.
pub(super) struct Readings {
    pub(super) seconds: Range<usize>,
    pub(super) start_ns: i64,
    pub(super) values: BTreeMap<Quantity, Values>,
}

impl Readings {
    /// A quantity in one second.
    pub(super) fn at(&self, quantity: Quantity, second: usize) -> Option<f64> {
        match self.values.get(&quantity)? {
            Values::PerSecond(cells) => *cells.get(second.checked_sub(self.seconds.start)?)?,
            Values::Constant(value) => Some(*value),
            Values::Missing(_) => None,
        }
    }

    /// The stretch of time of some seconds.
    pub(super) fn span(&self, from: usize, to: usize) -> Span {
        let begins_ns = |second: usize| self.start_ns + second as i64 * 1_000_000_000;
        Span {
            from_ns: begins_ns(from),
            to_ns: begins_ns(to),
        }
    }

    /// Median over some seconds.
    pub(super) fn median(&self, quantity: Quantity, seconds: &[usize]) -> Option<f64> {
        let values: Vec<f64> = seconds
            .iter()
            .filter_map(|second| self.at(quantity, *second))
            .collect();
        percentile::median(&values)
    }

    /// Why a quantity has no value in most seconds.
    pub(super) fn missing(&self, quantity: Quantity) -> Option<String> {
        match self.values.get(&quantity)? {
            Values::Constant(_) => None,
            Values::Missing(because) => Some(format!("{} ({because})", quantity.describe())),
            Values::PerSecond(cells) => {
                let absent = cells.iter().filter(|cell| cell.is_none()).count();
                let share = absent as f64 / cells.len().max(1) as f64;
                let absent_in = crate::words::share(share);
                (share > 0.5)
                    .then(|| format!("{} (absent in {absent_in} of the seconds)", quantity.describe()))
            }
        }
    }
}
