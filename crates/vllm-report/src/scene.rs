//! A picture as a list of shapes in pixels, before it becomes a file.
//!
//! The PNG writer and the SVG writer draw the same list, so both files show the same picture.

/// A colour with opacity, 0 to 255 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color {
    /// Red.
    pub(crate) r: u8,
    /// Green.
    pub(crate) g: u8,
    /// Blue.
    pub(crate) b: u8,
    /// Opacity: at 255 nothing below is visible.
    pub(crate) a: u8,
}

/// The two weights of the font that we ship.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// For running text.
    Regular,
    /// For titles and names.
    Medium,
}

/// A point in pixels; y grows downwards.
pub(crate) type Point = (f32, f32);

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    /// Left edge.
    pub(crate) x: f32,
    /// Top edge.
    pub(crate) y: f32,
    /// Width.
    pub(crate) w: f32,
    /// Height.
    pub(crate) h: f32,
}

/// One thing to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A filled rectangle.
    Rect {
        /// Where.
        rect: Rect,
        /// Filling.
        fill: Color,
    },
    /// An open line through points.
    Line {
        /// The points.
        points: Vec<Point>,
        /// Colour.
        color: Color,
        /// Thickness.
        width: f32,
    },
    /// A filled polygon.
    Area {
        /// The corners.
        points: Vec<Point>,
        /// Filling.
        fill: Color,
    },
    /// A circle.
    Dot {
        /// Centre.
        at: Point,
        /// Radius.
        radius: f32,
        /// Colour.
        color: Color,
        /// Thickness of the outline; `None` for a filled one.
        outline: Option<f32>,
    },
    /// One line of text whose baseline starts at `at`.
    Text {
        /// Start of the baseline.
        at: Point,
        /// The text.
        text: String,
        /// Height of the letter body in pixels.
        size: f32,
        /// Colour.
        color: Color,
        /// Weight.
        weight: Weight,
        /// Clockwise quarter turns about `at`.
        quarter_turns: u8,
    },
}

/// A whole picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// The background; opaque.
    pub(crate) ground: Color,
    /// Accessible name for screen readers.
    pub(crate) title: String,
    /// Shapes, bottom first.
    pub(crate) shapes: Vec<Shape>,
}
