//! The drawing backend for plotters: it records shapes, and measures text in the font that is drawn later.
//!
//! plotters' own bitmap backend does not smooth thick lines and uses the machine's fonts. Recording keeps one
//! picture for every file format and leaves the pixels to a real rasterizer.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
    FontTransform,
};

use crate::font;
use crate::scene::{Color, Point, Rect, Scene, Shape, Weight};

/// Records shapes into a scene.
#[derive(Debug)]
pub(crate) struct Canvas<'a>(&'a mut Scene);

/// The backend's error type; recording cannot fail.
pub(crate) type Failure = DrawingErrorKind<Infallible>;

impl<'a> Canvas<'a> {
    /// A canvas of the scene's size.
    pub(crate) fn on(scene: &'a mut Scene) -> Self {
        Self(scene)
    }

    fn add(&mut self, shape: Shape) -> Result<(), Failure> {
        self.0.shapes.push(shape);
        Ok(())
    }
}

fn color(color: BackendColor) -> Color {
    let (r, g, b) = color.rgb;
    Color {
        r,
        g,
        b,
        a: (color.alpha.clamp(0.0, 1.0) * 255.0).round() as u8,
    }
}

fn point(at: BackendCoord) -> Point {
    (at.0 as f32, at.1 as f32)
}

/// Text has two weights: bold becomes medium.
pub(crate) fn weight(style: &FontStyle) -> Weight {
    if matches!(style, FontStyle::Bold) {
        Weight::Medium
    } else {
        Weight::Regular
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.0.width, self.0.height)
    }

    fn ensure_prepared(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, ink: BackendColor) -> Result<(), Failure> {
        let (x, y) = point(at);
        self.add(Shape::Rect {
            rect: Rect { x, y, w: 1.0, h: 1.0 },
            fill: color(ink),
        })
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), Failure> {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), Failure> {
        let ((x0, y0), (x1, y1)) = (upper_left, bottom_right);
        if !fill {
            return self.draw_path([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], style);
        }
        let ink = color(style.color());
        if ink.a == 0 {
            return Ok(());
        }
        let (x, y) = (x0.min(x1) as f32, y0.min(y1) as f32);
        let rect = Rect {
            x,
            y,
            w: (x1.max(x0) as f32 - x).max(1.0),
            h: (y1.max(y0) as f32 - y).max(1.0),
        };
        self.add(Shape::Rect { rect, fill: ink })
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), Failure> {
        let (ink, width) = (color(style.color()), style.stroke_width() as f32);
        let points: Vec<Point> = path.into_iter().map(point).collect();
        if ink.a == 0 || style.stroke_width() == 0 || points.len() < 2 {
            return Ok(());
        }
        if let [(x0, y0), (x1, y1)] = points[..]
            && (x0 == x1 || y0 == y1)
        {
            // Vertical and horizontal lines become rectangles on whole pixels, so that all are equally thick
            // and crisp.
            let (across, down) = ((x1 - x0).abs(), (y1 - y0).abs());
            let (x, y, half) = (x0.min(x1), y0.min(y1), (width / 2.0).floor());
            let rect = if y0 == y1 {
                Rect {
                    x,
                    y: y - half,
                    w: across.max(1.0),
                    h: width,
                }
            } else {
                Rect {
                    x: x - half,
                    y,
                    w: width,
                    h: down,
                }
            };
            return self.add(Shape::Rect { rect, fill: ink });
        }
        self.add(Shape::Line {
            points,
            color: ink,
            width,
        })
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Result<(), Failure> {
        let outline = (!fill).then(|| style.stroke_width() as f32);
        self.add(Shape::Dot {
            at: point(center),
            radius: radius as f32,
            color: color(style.color()),
            outline,
        })
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), Failure> {
        let fill = color(style.color());
        let points: Vec<Point> = corners.into_iter().map(point).collect();
        if fill.a == 0 || points.len() < 3 {
            return Ok(());
        }
        self.add(Shape::Area { points, fill })
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), Failure> {
        let (size, weight) = (style.size() as f32, weight(&style.style()));
        let width = font::width(text, size, weight);
        let right = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let down = match style.anchor().v_pos {
            VPos::Top => font::ASCENT * size,
            // Half the height of a capital, so that text looks vertically centred.
            VPos::Center => font::CAPITAL / 2.0 * size,
            VPos::Bottom => -font::DESCENT * size,
        };
        let (x, y) = point(at);
        let (quarter_turns, start) = match style.transform() {
            FontTransform::None => (0, (x + right, y + down)),
            FontTransform::Rotate90 => (1, (x - down, y + right)),
            FontTransform::Rotate180 => (2, (x - right, y - down)),
            FontTransform::Rotate270 => (3, (x + down, y - right)),
        };
        let color = color(style.color());
        self.add(Shape::Text {
            at: start,
            text: text.to_owned(),
            size,
            color,
            weight,
            quarter_turns,
        })
    }

    fn estimate_text_size<S: BackendTextStyle>(&self, text: &str, style: &S) -> Result<(u32, u32), Failure> {
        let size = style.size() as f32;
        let width = font::width(text, size, weight(&style.style())).ceil() as u32;
        let height = (size * (font::ASCENT + font::DESCENT)).ceil() as u32;
        match style.transform() {
            FontTransform::None | FontTransform::Rotate180 => Ok((width, height)),
            FontTransform::Rotate90 | FontTransform::Rotate270 => Ok((height, width)),
        }
    }
}
