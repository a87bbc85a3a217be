//! Columns one after the other, and the times in them.

use super::column;
use crate::model::Span;

/// Times as milliseconds from the origin, rounded to a microsecond.
pub(super) struct Clock {
    pub(super) origin_ns: i64,
}

impl Clock {
    pub(super) fn us(&self, ns: i64) -> i64 {
        (ns - self.origin_ns + 500).div_euclid(1_000)
    }

    pub(super) fn ms(&self, ns: i64) -> f64 {
        self.us(ns) as f64 / 1e3
    }

    pub(super) fn span(&self, span: Span) -> (f64, f64) {
        (self.ms(span.start_ns), self.ms(span.end_ns))
    }

    pub(super) fn named<'a>(&self, name: &'a str, span: Span) -> (&'a str, f64, f64) {
        (name, self.ms(span.start_ns), self.ms(span.end_ns))
    }
}

/// Columns one after the other; each method returns where its column begins.
#[derive(Default)]
pub(super) struct Block(pub(super) Vec<u8>);

impl Block {
    pub(super) fn floats(&mut self, cells: &[Option<f64>]) -> usize {
        let at = self.0.len();
        column::floats(&mut self.0, cells);
        at
    }

    pub(super) fn integers(
        &mut self,
        exponent: u8,
        cells: impl Iterator<Item = Option<i64>> + Clone,
    ) -> usize {
        let at = self.0.len();
        column::integers(&mut self.0, exponent, cells);
        at
    }

    pub(super) fn times(&mut self, clock: &Clock, times_ns: &[i64]) -> usize {
        self.integers(3, times_ns.iter().map(|&ns| Some(clock.us(ns))))
    }
}
