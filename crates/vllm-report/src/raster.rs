//! Rasterizes a scene and encodes it as PNG.

use std::path::Path;

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, Transform};
use ttf_parser::OutlineBuilder;

use crate::error::{Error, Result};
use crate::font;
use crate::scene::{Color, Point, Rect, Scene, Shape};

/// An opaque picture, three bytes a pixel.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Pixels across.
    pub(crate) width: u32,
    /// Pixels down.
    pub(crate) height: u32,
    /// Red, green, blue, row by row.
    pub(crate) rgb: Vec<u8>,
}

/// Draws a scene.
pub(crate) fn draw(scene: &Scene) -> Result<Image> {
    let Some(mut pixmap) = Pixmap::new(scene.width, scene.height) else {
        return Err(Error::Size {
            width: scene.width.into(),
            height: scene.height.into(),
        });
    };
    let Color { r, g, b, .. } = scene.ground;
    pixmap.fill(tiny_skia::Color::from_rgba8(r, g, b, 255));
    for shape in &scene.shapes {
        draw_shape(&mut pixmap, shape);
    }
    // The background is opaque, so premultiplied colours equal the plain ones. Dropping the opacity in place
    // touches no new pages.
    let mut rgb = pixmap.take();
    let pixels = rgb.len() / 4;
    for pixel in 0..pixels {
        let (from, to) = (pixel * 4, pixel * 3);
        let [r, g, b] = [rgb[from], rgb[from + 1], rgb[from + 2]];
        rgb[to..to + 3].copy_from_slice(&[r, g, b]);
    }
    rgb.truncate(pixels * 3);
    Ok(Image {
        width: scene.width,
        height: scene.height,
        rgb,
    })
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.r, color.g, color.b, color.a);
    paint.anti_alias = true;
    paint
}

fn draw_shape(pixmap: &mut Pixmap, shape: &Shape) {
    match shape {
        Shape::Rect { rect, fill } => fill_rect(pixmap, rect, *fill),
        Shape::Line { points, color, width } => {
            if let Some(path) = polyline(points, false) {
                stroke(pixmap, &path, *color, *width);
            }
        }
        Shape::Area { points, fill } => {
            if let Some(path) = polyline(points, true) {
                fill_path(pixmap, &path, *fill);
            }
        }
        Shape::Dot {
            at,
            radius,
            color,
            outline,
        } => {
            let Some(path) = PathBuilder::from_circle(at.0, at.1, *radius) else {
                return;
            };
            match outline {
                Some(width) => stroke(pixmap, &path, *color, *width),
                None => fill_path(pixmap, &path, *color),
            }
        }
        Shape::Text {
            at,
            text,
            size,
            color,
            weight,
            quarter_turns,
        } => {
            let mut path = PathBuilder::new();
            font::outline(text, *weight, |x, draw| draw(&mut Glyphs { path: &mut path, x }));
            let Some(path) = path.finish() else { return };
            let units = font::scale(*size, *weight);
            // Font outlines have y pointing up.
            let place = Transform::from_translate(at.0, at.1)
                .pre_concat(Transform::from_rotate(f32::from(*quarter_turns) * 90.0))
                .pre_scale(units, -units);
            pixmap.fill_path(&path, &paint(*color), FillRule::Winding, place, None);
        }
    }
}

/// Edges are on whole pixels, so no smoothing is needed.
fn fill_rect(pixmap: &mut Pixmap, rect: &Rect, fill: Color) {
    if let Some(rect) = tiny_skia::Rect::from_xywh(rect.x, rect.y, rect.w, rect.h) {
        let mut paint = paint(fill);
        paint.anti_alias = false;
        pixmap.fill_rect(rect, &paint, Transform::identity(), None);
    }
}

fn stroke(pixmap: &mut Pixmap, path: &tiny_skia::Path, color: Color, width: f32) {
    let stroke = Stroke {
        width,
        // A bevel ends at the point itself, costs the fewest edges, and looks like a round join at this width.
        line_join: LineJoin::Bevel,
        line_cap: LineCap::Round,
        ..Stroke::default()
    };
    pixmap.stroke_path(path, &paint(color), &stroke, Transform::identity(), None);
}

fn fill_path(pixmap: &mut Pixmap, path: &tiny_skia::Path, fill: Color) {
    pixmap.fill_path(path, &paint(fill), FillRule::Winding, Transform::identity(), None);
}

fn polyline(points: &[Point], close: bool) -> Option<tiny_skia::Path> {
    let mut builder = PathBuilder::with_capacity(points.len() + 1, points.len() + 1);
    let (first, rest) = points.split_first()?;
    builder.move_to(first.0, first.1);
    for point in rest {
        builder.line_to(point.0, point.1);
    }
    if close {
        builder.close();
    }
    builder.finish()
}

/// Adds glyph outlines, at their position in the line, to one path.
struct Glyphs<'a> {
    path: &'a mut PathBuilder,
    x: f32,
}

impl OutlineBuilder for Glyphs<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(x + self.x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(x + self.x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.path.quad_to(x1 + self.x, y1, x + self.x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.path
            .cubic_to(x1 + self.x, y1, x2 + self.x, y2, x + self.x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

/// Encodes the picture; `dpi` is stored in the file so that programs print it at its intended size.
pub(crate) fn encode_png(image: &Image, dpi: f32, path: &Path) -> Result<Vec<u8>> {
    let fail = |source| Error::Encode {
        path: path.to_owned(),
        source,
    };
    let mut out = Vec::with_capacity(image.rgb.len() / 16);
    let mut encoder = png::Encoder::new(&mut out, image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    // Most rows of a chart repeat the previous one.
    encoder.set_filter(png::Filter::Up);
    let per_metre = (dpi / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(&image.rgb).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(out)
}
