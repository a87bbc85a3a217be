//! The two axes for plotters: elapsed time with round ticks, and values with round ones.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::axis::{self, Clock, TimeAxis, ValueAxis};
use crate::frame::Frame;

/// Nanoseconds on the run's clock from start to end of the frame, labelled with the time elapsed.
#[derive(Debug, Clone)]
pub(crate) struct TimeRange {
    start_ns: i64,
    end_ns: i64,
    axis: TimeAxis,
}

impl TimeRange {
    /// The frame's time with at most about `ticks` ticks.
    pub(crate) fn of(frame: &Frame, clock: Clock, ticks: usize) -> Self {
        Self {
            start_ns: frame.start_ns,
            end_ns: frame.end_ns,
            axis: axis::time_axis(clock, frame.start_ns, frame.duration_ns(), ticks),
        }
    }
}

/// Position of a share (0 to 1) between two pixels.
fn place(share: f64, limit: (i32, i32)) -> i32 {
    limit.0 + (share.clamp(0.0, 1.0) * f64::from(limit.1 - limit.0)).round() as i32
}

/// plotters requests ticks twice, for bold and for light grid lines; all of ours are bold.
fn bold(hint: &impl KeyPointHint) -> bool {
    matches!(hint.weight(), KeyPointWeight::Bold)
}

impl Ranged for TimeRange {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, value: &i64, limit: (i32, i32)) -> i32 {
        place(
            (value - self.start_ns) as f64 / (self.end_ns - self.start_ns).max(1) as f64,
            limit,
        )
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<i64> {
        if bold(&hint) {
            self.axis.ticks.iter().map(|t| self.start_ns + t).collect()
        } else {
            Vec::new()
        }
    }

    fn range(&self) -> Range<i64> {
        self.start_ns..self.end_ns
    }
}

impl ValueFormatter<i64> for TimeRange {
    fn format_ext(&self, value: &i64) -> String {
        self.axis.label(value - self.start_ns)
    }
}

/// Values in the displayed unit.
#[derive(Debug, Clone)]
pub(crate) struct ValueRange(pub(crate) ValueAxis);

impl Ranged for ValueRange {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        place((value - self.0.min) / (self.0.max - self.0.min), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if bold(&hint) {
            self.0.ticks.clone()
        } else {
            Vec::new()
        }
    }

    fn range(&self) -> Range<f64> {
        self.0.min..self.0.max
    }
}

impl ValueFormatter<f64> for ValueRange {
    fn format_ext(&self, value: &f64) -> String {
        match (value.round() as usize)
            .checked_sub(1)
            .and_then(|row| self.0.names.get(row))
        {
            Some(name) => name.clone(),
            None => axis::tick_label(*value, self.0.step, self.0.max),
        }
    }
}
