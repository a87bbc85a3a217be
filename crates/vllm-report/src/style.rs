//! Colours of each theme and sizes of every picture.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

use crate::scene::Weight;

/// Colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Theme {
    /// On white.
    #[default]
    Light,
    /// On dark grey.
    Dark,
    /// On white, with the colours of Okabe and Ito, which people with any colour vision can distinguish.
    ColorBlind,
}

impl Theme {
    /// The theme of this name: `light`, `dark` or `color-blind`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            "color-blind" | "colour-blind" | "colorblind" => Self::ColorBlind,
            _ => return None,
        })
    }

    pub(crate) fn palette(self) -> &'static Palette {
        match self {
            Self::Light => &LIGHT,
            Self::Dark => &DARK,
            Self::ColorBlind => &COLOR_BLIND,
        }
    }
}

/// The role of a line or mark, before a theme gives it a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// One of several lines of the same kind; colours repeat after the last.
    Series(usize),
    /// A total in front of its parts.
    Whole,
    /// Failures and losses.
    Bad,
}

/// Output and active work.
pub(crate) const WORK: Ink = Ink::Series(0);
/// Waiting, or the slow end of a distribution.
pub(crate) const SLOW: Ink = Ink::Series(1);
/// Caches and inputs.
pub(crate) const INPUT: Ink = Ink::Series(2);
/// Memory.
pub(crate) const MEMORY: Ink = Ink::Series(3);

/// The colours of a theme.
#[derive(Debug)]
pub(crate) struct Palette {
    /// Behind everything.
    pub(crate) ground: RGBColor,
    /// Main text.
    pub(crate) ink: RGBColor,
    /// Explanatory text.
    pub(crate) muted: RGBColor,
    /// Secondary text.
    pub(crate) faint: RGBColor,
    /// Grid lines.
    pub(crate) grid: RGBColor,
    /// Axis line and ticks.
    pub(crate) axis: RGBColor,
    /// Gaps in the data.
    pub(crate) gap: RGBColor,
    /// Background of every other phase.
    pub(crate) phase: RGBColor,
    /// Line at a phase's start.
    pub(crate) phase_edge: RGBColor,
    /// Text that marks simulated data.
    pub(crate) simulated: RGBColor,
    /// Background of that text.
    pub(crate) simulated_ground: RGBColor,
    /// A valid result.
    pub(crate) good: RGBColor,
    /// Failures.
    pub(crate) bad: RGBColor,
    /// Lines of one kind, strongest first.
    pub(crate) series: [RGBColor; 8],
    /// Cell of a heat map with most observations; fewer are closer to the background.
    pub(crate) heat: RGBColor,
}

impl Palette {
    /// The colour of an ink.
    pub(crate) fn color(&self, ink: Ink) -> RGBColor {
        match ink {
            Ink::Series(index) => self.series[index % self.series.len()],
            Ink::Whole => self.ink,
            Ink::Bad => self.bad,
        }
    }
}

/// A colour from its hexadecimal form.
const fn hex(rgb: u32) -> RGBColor {
    RGBColor((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

const LIGHT: Palette = Palette {
    ground: hex(0xFFFFFF),
    ink: hex(0x1B2430),
    muted: hex(0x5B6675),
    faint: hex(0x8A94A3),
    grid: hex(0xE7EBF0),
    axis: hex(0xB8C1CC),
    gap: hex(0xECEEF1),
    phase: hex(0xF3F7FC),
    phase_edge: hex(0x7F93AD),
    simulated: hex(0xA8480A),
    simulated_ground: hex(0xFEF0D5),
    good: hex(0x15803D),
    bad: hex(0xC62F45),
    series: [
        hex(0x1F6FC5),
        hex(0xE07B1A),
        hex(0x15907A),
        hex(0x8A54C7),
        hex(0xC63D6C),
        hex(0x7A8B1E),
        hex(0x1B9AC4),
        hex(0x9A6338),
    ],
    heat: hex(0x123F73),
};

const DARK: Palette = Palette {
    ground: hex(0x14181F),
    ink: hex(0xE8ECF2),
    muted: hex(0xA7B1BF),
    faint: hex(0x7C8796),
    grid: hex(0x2A313C),
    axis: hex(0x4A5462),
    gap: hex(0x272D37),
    phase: hex(0x1A212B),
    phase_edge: hex(0x6C7F99),
    simulated: hex(0xFFC48A),
    simulated_ground: hex(0x4A3313),
    good: hex(0x5BCB86),
    bad: hex(0xFF6B7F),
    series: [
        hex(0x5AA9F5),
        hex(0xF5A04C),
        hex(0x3CC7AC),
        hex(0xB58AF0),
        hex(0xF0719D),
        hex(0xB3C546),
        hex(0x56C6EC),
        hex(0xCB9568),
    ],
    heat: hex(0x9CCBFF),
};

/// Okabe and Ito, "Color Universal Design": the eight colours without black, which is used for text, plus
/// grey.
const COLOR_BLIND: Palette = Palette {
    good: hex(0x0072B2),
    bad: hex(0xD55E00),
    series: [
        hex(0x0072B2),
        hex(0xE69F00),
        hex(0x009E73),
        hex(0xCC79A7),
        hex(0x56B4E9),
        hex(0xD55E00),
        hex(0x8C8C8C),
        hex(0xB8A800),
    ],
    ..LIGHT
};

/// A text style for plotters; `size` in pixels.
pub(crate) fn text(
    size: f32,
    color: RGBColor,
    weight: Weight,
    across: HPos,
    down: VPos,
) -> TextStyle<'static> {
    // The backend maps Bold to our medium weight.
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
