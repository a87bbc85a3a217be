//! Colours and sizes of every picture, in one place.

use crate::scene::{Anchor, Color, TextStyle, Weight};

/// Text that is read.
pub(crate) const INK: Color = Color::hex(0x1B2430);
/// Text that explains.
pub(crate) const MUTED: Color = Color::hex(0x5B6675);
/// Text that may be overlooked.
pub(crate) const FAINT: Color = Color::hex(0x8A94A3);
/// Grid lines.
pub(crate) const GRID: Color = Color::hex(0xE7EBF0);
/// Axis line and panel edges.
pub(crate) const AXIS: Color = Color::hex(0xB8C1CC);
/// Where there are no data.
pub(crate) const GAP: Color = Color::hex(0xECEEF1);
/// Every other phase lies on this.
pub(crate) const PHASE: Color = Color::hex(0x3B6FB6).with_alpha(14);
/// Line at a phase's start.
pub(crate) const PHASE_EDGE: Color = Color::hex(0x7F93AD);
/// The word that tells simulated data.
pub(crate) const SIMULATED: Color = Color::hex(0xB45309);
/// What lies below that word.
pub(crate) const SIMULATED_GROUND: Color = Color::hex(0xFEF0D5);
/// Failures.
pub(crate) const BAD: Color = Color::hex(0xC62F45);

/// Colours of lines, told apart also by people who see few of them, strongest first.
pub(crate) const SERIES: &[Color] = &[
    Color::hex(0x1F6FC5),
    Color::hex(0xE07B1A),
    Color::hex(0x15907A),
    Color::hex(0x8A54C7),
    Color::hex(0xC63D6C),
    Color::hex(0x7A8B1E),
    Color::hex(0x1B9AC4),
    Color::hex(0x9A6338),
];

/// Blue of what was produced or is at work.
pub(crate) const BLUE: Color = SERIES[0];
/// Orange of what waits, or of the slow end of a distribution.
pub(crate) const ORANGE: Color = SERIES[1];
/// Green of caches and hits.
pub(crate) const GREEN: Color = SERIES[2];
/// Violet of the fourth thing.
pub(crate) const VIOLET: Color = SERIES[3];

/// Colour of the line with this index; they repeat after the last.
pub(crate) fn series(index: usize) -> Color {
    SERIES[index % SERIES.len()]
}

/// A text style.
pub(crate) const fn text(size: f32, color: Color, weight: Weight, anchor: Anchor) -> TextStyle {
    TextStyle {
        size,
        color,
        weight,
        anchor,
    }
}

/// Thickness of data lines in logical units.
pub(crate) const LINE: f32 = 1.6;
/// Margin around a picture.
pub(crate) const MARGIN: f32 = 28.0;
