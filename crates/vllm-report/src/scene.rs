//! A picture as a list of shapes in logical units, before anybody decides how it becomes a file.
//!
//! One logical unit is about a point on a screen at usual size; the raster writer scales it to pixels, the SVG writer
//! takes it as it is. Both draw the same list, so both files show the same picture.

/// A colour with opacity, 0 to 255 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color {
    /// Red.
    pub(crate) r: u8,
    /// Green.
    pub(crate) g: u8,
    /// Blue.
    pub(crate) b: u8,
    /// Opacity: 255 hides what is below.
    pub(crate) a: u8,
}

impl Color {
    /// An opaque colour from its hexadecimal form, for example `0x2563EB`.
    pub(crate) const fn hex(rgb: u32) -> Self {
        Self {
            r: (rgb >> 16) as u8,
            g: (rgb >> 8) as u8,
            b: rgb as u8,
            a: 255,
        }
    }

    /// The same colour with another opacity.
    pub(crate) const fn with_alpha(self, a: u8) -> Self {
        Self { a, ..self }
    }
}

/// Which side of its position a text lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The text starts at the position.
    Start,
    /// The text is centred on it.
    Middle,
    /// The text ends at it.
    End,
}

/// The two weights of the font that we ship.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// For everything that is read.
    Regular,
    /// For titles and figures that are looked at.
    Medium,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TextStyle {
    /// Height of the letter body in logical units.
    pub(crate) size: f32,
    /// Colour.
    pub(crate) color: Color,
    /// Weight.
    pub(crate) weight: Weight,
    /// Side.
    pub(crate) anchor: Anchor,
}

/// A point in logical units; y grows downwards.
pub(crate) type Point = (f32, f32);

/// A rectangle in logical units.
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

impl Rect {
    /// Right edge.
    pub(crate) fn right(&self) -> f32 {
        self.x + self.w
    }

    /// Bottom edge.
    pub(crate) fn bottom(&self) -> f32 {
        self.y + self.h
    }
}

/// One thing to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A filled rectangle; `radius` 0 has sharp corners on whole pixels.
    Rect {
        /// Where.
        rect: Rect,
        /// Radius of the corners.
        radius: f32,
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
        /// Lengths drawn and left out, for a dashed line.
        dash: Option<[f32; 2]>,
    },
    /// A filled polygon.
    Area {
        /// The corners.
        points: Vec<Point>,
        /// Filling.
        fill: Color,
    },
    /// A filled circle.
    Dot {
        /// Centre.
        at: Point,
        /// Radius.
        radius: f32,
        /// Filling.
        fill: Color,
    },
    /// One line of text; its baseline is at `at`.
    Text {
        /// Where the baseline starts, is centred or ends.
        at: Point,
        /// What.
        text: String,
        /// Look.
        style: TextStyle,
    },
}

/// A whole picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    /// Width in logical units.
    pub(crate) width: f32,
    /// Height in logical units.
    pub(crate) height: f32,
    /// What it is called by programs that read pictures aloud.
    pub(crate) title: String,
    /// Shapes, the first at the bottom.
    pub(crate) shapes: Vec<Shape>,
}

impl Scene {
    /// An empty white picture.
    pub(crate) fn new(width: f32, height: f32, title: &str) -> Self {
        Self {
            width,
            height,
            title: title.to_owned(),
            shapes: Vec::new(),
        }
    }

    /// A filled rectangle with sharp corners.
    pub(crate) fn rect(&mut self, rect: Rect, fill: Color) {
        self.shapes.push(Shape::Rect {
            rect,
            radius: 0.0,
            fill,
        });
    }

    /// A filled rectangle with round corners.
    pub(crate) fn round_rect(&mut self, rect: Rect, radius: f32, fill: Color) {
        self.shapes.push(Shape::Rect { rect, radius, fill });
    }

    /// A line; fewer than two points draw nothing.
    pub(crate) fn line(&mut self, points: Vec<Point>, color: Color, width: f32, dash: Option<[f32; 2]>) {
        if points.len() > 1 {
            self.shapes.push(Shape::Line {
                points,
                color,
                width,
                dash,
            });
        }
    }

    /// A filled polygon; fewer than three corners draw nothing.
    pub(crate) fn area(&mut self, points: Vec<Point>, fill: Color) {
        if points.len() > 2 {
            self.shapes.push(Shape::Area { points, fill });
        }
    }

    /// A filled circle.
    pub(crate) fn dot(&mut self, at: Point, radius: f32, fill: Color) {
        self.shapes.push(Shape::Dot { at, radius, fill });
    }

    /// A line of text.
    pub(crate) fn text(&mut self, at: Point, text: impl Into<String>, style: TextStyle) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            style,
        });
    }
}
