//! Colours and sizes of every picture, in one place.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

use crate::scene::Weight;

/// A colour from its hexadecimal form.
const fn hex(rgb: u32) -> RGBColor {
    RGBColor((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

/// Text that is read.
pub(crate) const INK: RGBColor = hex(0x1B2430);
/// Text that explains.
pub(crate) const MUTED: RGBColor = hex(0x5B6675);
/// Text that may be overlooked.
pub(crate) const FAINT: RGBColor = hex(0x8A94A3);
/// Grid lines.
pub(crate) const GRID: RGBColor = hex(0xE7EBF0);
/// Axis line and ticks.
pub(crate) const AXIS: RGBColor = hex(0xB8C1CC);
/// Where there are no data.
pub(crate) const GAP: RGBColor = hex(0xECEEF1);
/// Every other phase lies on this.
pub(crate) const PHASE: RGBColor = hex(0xF3F7FC);
/// Line at a phase's start.
pub(crate) const PHASE_EDGE: RGBColor = hex(0x7F93AD);
/// The word that tells simulated data.
pub(crate) const SIMULATED: RGBColor = hex(0xA8480A);
/// What lies below that word.
pub(crate) const SIMULATED_GROUND: RGBColor = hex(0xFEF0D5);
/// Failures.
pub(crate) const BAD: RGBColor = hex(0xC62F45);

/// Colours of lines, told apart also by people who see few of them, strongest first.
pub(crate) const SERIES: &[RGBColor] = &[
    hex(0x1F6FC5),
    hex(0xE07B1A),
    hex(0x15907A),
    hex(0x8A54C7),
    hex(0xC63D6C),
    hex(0x7A8B1E),
    hex(0x1B9AC4),
    hex(0x9A6338),
];

/// Blue of what was produced or is at work.
pub(crate) const BLUE: RGBColor = SERIES[0];
/// Orange of what waits, or of the slow end of a distribution.
pub(crate) const ORANGE: RGBColor = SERIES[1];
/// Green of caches and hits.
pub(crate) const GREEN: RGBColor = SERIES[2];
/// Violet of the fourth thing.
pub(crate) const VIOLET: RGBColor = SERIES[3];

/// Colour of the line with this index; they repeat after the last.
pub(crate) fn series(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// A text style for plotters; `size` in pixels.
pub(crate) fn text(
    size: f32,
    color: RGBColor,
    weight: Weight,
    across: HPos,
    down: VPos,
) -> TextStyle<'static> {
    // The backend takes Bold for our medium weight.
    let style = if weight == Weight::Medium {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    TextStyle {
        font: FontDesc::new(FontFamily::SansSerif, f64::from(size), style),
        color: color.to_backend_color(),
        pos: Pos::new(across, down),
    }
}

/// Thickness of data lines in logical units.
pub(crate) const LINE: f32 = 1.6;
/// Thickness of pale lines behind a mean, in logical units.
pub(crate) const THIN_LINE: f32 = 1.0;
/// Margin around a picture in logical units.
pub(crate) const MARGIN: f32 = 28.0;
