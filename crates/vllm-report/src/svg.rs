//! A scene as SVG text: the same shapes, readable at any size and searchable.

use std::fmt::Write as _;

use crate::scene::{Anchor, Color, Point, Rect, Scene, Shape, Weight};

/// The picture as one SVG document. Text stays text, in our font where the reader has it.
pub(crate) fn write(scene: &Scene) -> String {
    let mut out = String::with_capacity(scene.shapes.len() * 80);
    let (w, h) = (scene.width, scene.height);
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         role=\"img\" font-family=\"Roboto, 'Helvetica Neue', Arial, sans-serif\">\n<title>{}</title>\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n",
        escape(&scene.title)
    );
    for shape in &scene.shapes {
        shape_to(&mut out, shape);
    }
    out.push_str("</svg>\n");
    out
}

fn shape_to(out: &mut String, shape: &Shape) {
    let _ = match shape {
        Shape::Rect {
            rect: Rect { x, y, w, h },
            radius,
            fill,
        } => {
            let round = if *radius > 0.0 {
                format!(" rx=\"{radius}\"")
            } else {
                String::new()
            };
            writeln!(
                out,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\"{round} {}/>",
                paint("fill", *fill)
            )
        }
        Shape::Line {
            points,
            color,
            width,
            dash,
        } => {
            let dash = dash.map_or_else(String::new, |[on, off]| {
                format!(" stroke-dasharray=\"{on} {off}\"")
            });
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{width}\" stroke-linejoin=\"round\"{dash}/>",
                list(points),
                paint("stroke", *color)
            )
        }
        Shape::Area { points, fill } => {
            writeln!(
                out,
                "<polygon points=\"{}\" {}/>",
                list(points),
                paint("fill", *fill)
            )
        }
        Shape::Dot { at, radius, fill } => {
            writeln!(
                out,
                "<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"{radius}\" {}/>",
                at.0,
                at.1,
                paint("fill", *fill)
            )
        }
        Shape::Text { at, text, style } => {
            let anchor = match style.anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if style.weight == Weight::Medium {
                " font-weight=\"500\""
            } else {
                ""
            };
            writeln!(
                out,
                "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{}\"{anchor}{weight} {}>{}</text>",
                at.0,
                at.1,
                style.size,
                paint("fill", style.color),
                escape(text)
            )
        }
    };
}

fn list(points: &[Point]) -> String {
    let mut out = String::with_capacity(points.len() * 14);
    for (x, y) in points {
        let _ = write!(out, "{x:.2},{y:.2} ");
    }
    out.pop();
    out
}

fn paint(what: &str, color: Color) -> String {
    let rgb = format!("{what}=\"#{:02x}{:02x}{:02x}\"", color.r, color.g, color.b);
    if color.a == 255 {
        return rgb;
    }
    format!("{rgb} {what}-opacity=\"{:.3}\"", f32::from(color.a) / 255.0)
}

/// Text as XML content: the five reserved signs are written as entities, control characters (which XML forbids) as
/// the replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}
