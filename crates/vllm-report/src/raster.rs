//! A scene as pixels and as a PNG file.

use std::path::Path;

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use crate::error::{Error, Result};
use crate::font;
use crate::scene::{Anchor, Color, Point, Rect, Scene, Shape, TextStyle};

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

/// Draws a scene with `scale` pixels per logical unit.
pub(crate) fn draw(scene: &Scene, scale: f32) -> Result<Image> {
    let (width, height) = ((scene.width * scale).round(), (scene.height * scale).round());
    let fits = |v: f32| (1.0..=30_000.0).contains(&v);
    let pixmap = if fits(width) && fits(height) {
        Pixmap::new(width as u32, height as u32)
    } else {
        None
    };
    let Some(mut pixmap) = pixmap else {
        return Err(Error::Size {
            width: width.max(0.0) as u64,
            height: height.max(0.0) as u64,
        });
    };
    pixmap.fill(tiny_skia::Color::WHITE);
    for shape in &scene.shapes {
        draw_shape(&mut pixmap, shape, scale);
    }
    // The background is opaque, so premultiplied colours are the colours.
    let mut rgb = Vec::with_capacity(pixmap.data().len() / 4 * 3);
    for pixel in pixmap.data().chunks_exact(4) {
        rgb.extend_from_slice(&pixel[..3]);
    }
    Ok(Image {
        width: pixmap.width(),
        height: pixmap.height(),
        rgb,
    })
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.r, color.g, color.b, color.a);
    paint.anti_alias = true;
    paint
}

fn draw_shape(pixmap: &mut Pixmap, shape: &Shape, scale: f32) {
    match shape {
        Shape::Rect { rect, radius, fill } if *radius <= 0.0 => sharp_rect(pixmap, rect, *fill, scale),
        Shape::Rect { rect, radius, fill } => {
            if let Some(path) = round_rect(rect, *radius) {
                fill_path(pixmap, &path, *fill, scale);
            }
        }
        Shape::Line {
            points,
            color,
            width,
            dash,
        } => {
            if let Some(path) = polyline(points, false) {
                let stroke = Stroke {
                    width: *width,
                    line_join: LineJoin::Round,
                    line_cap: if dash.is_some() {
                        LineCap::Butt
                    } else {
                        LineCap::Round
                    },
                    dash: dash.and_then(|d| StrokeDash::new(d.to_vec(), 0.0)),
                    ..Stroke::default()
                };
                pixmap.stroke_path(
                    &path,
                    &paint(*color),
                    &stroke,
                    Transform::from_scale(scale, scale),
                    None,
                );
            }
        }
        Shape::Area { points, fill } => {
            if let Some(path) = polyline(points, true) {
                fill_path(pixmap, &path, *fill, scale);
            }
        }
        Shape::Dot { at, radius, fill } => {
            if let Some(path) = PathBuilder::from_circle(at.0, at.1, *radius) {
                fill_path(pixmap, &path, *fill, scale);
            }
        }
        Shape::Text { at, text, style } => draw_text(pixmap, *at, text, style, scale),
    }
}

/// Snapped to whole pixels, at least one in each direction: hairlines stay crisp and equally dark.
fn sharp_rect(pixmap: &mut Pixmap, rect: &Rect, fill: Color, scale: f32) {
    let (x, y) = ((rect.x * scale).round(), (rect.y * scale).round());
    let w = ((rect.right() * scale).round() - x).max(1.0);
    let h = ((rect.bottom() * scale).round() - y).max(1.0);
    if let Some(rect) = tiny_skia::Rect::from_xywh(x, y, w, h) {
        let mut paint = paint(fill);
        paint.anti_alias = false;
        pixmap.fill_rect(rect, &paint, Transform::identity(), None);
    }
}

fn fill_path(pixmap: &mut Pixmap, path: &tiny_skia::Path, fill: Color, scale: f32) {
    pixmap.fill_path(
        path,
        &paint(fill),
        FillRule::Winding,
        Transform::from_scale(scale, scale),
        None,
    );
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

fn round_rect(rect: &Rect, radius: f32) -> Option<tiny_skia::Path> {
    let r = radius.min(rect.w / 2.0).min(rect.h / 2.0);
    // Distance of the control points that makes a cubic curve look like a quarter of a circle.
    let k = r * 0.552_284_8;
    let (left, top, right, bottom) = (rect.x, rect.y, rect.right(), rect.bottom());
    let mut b = PathBuilder::new();
    b.move_to(left + r, top);
    b.line_to(right - r, top);
    b.cubic_to(right - r + k, top, right, top + r - k, right, top + r);
    b.line_to(right, bottom - r);
    b.cubic_to(right, bottom - r + k, right - r + k, bottom, right - r, bottom);
    b.line_to(left + r, bottom);
    b.cubic_to(left + r - k, bottom, left, bottom - r + k, left, bottom - r);
    b.line_to(left, top + r);
    b.cubic_to(left, top + r - k, left + r - k, top, left + r, top);
    b.close();
    b.finish()
}

/// Puts glyph outlines, moved to their place in the line, into one path.
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

fn draw_text(pixmap: &mut Pixmap, at: Point, text: &str, style: &TextStyle, scale: f32) {
    let width = font::width(text, style.size, style.weight);
    let x = match style.anchor {
        Anchor::Start => at.0,
        Anchor::Middle => at.0 - width / 2.0,
        Anchor::End => at.0 - width,
    };
    let mut path = PathBuilder::new();
    font::outline(text, style.weight, |x, draw| {
        draw(&mut Glyphs { path: &mut path, x });
    });
    let Some(path) = path.finish() else { return };
    let units = font::scale(style.size, style.weight) * scale;
    // Font outlines have y upwards.
    let place = Transform::from_row(units, 0.0, 0.0, -units, x * scale, at.1 * scale);
    pixmap.fill_path(&path, &paint(style.color), FillRule::Winding, place, None);
}

/// Encodes the picture; `dpi` is kept in the file so that programs print it at its intended size.
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
    // Most rows of a chart repeat the row above.
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
