//! Writes a scene as SVG: the same shapes, sharp at any size and searchable.

use std::fmt::Write as _;

use crate::scene::{Color, Point, Rect, Scene, Shape, Weight};

/// The picture as one SVG document, shown at `scale` of its pixels. Text stays text, in our font if the
/// viewer has it.
pub(crate) fn write(scene: &Scene, scale: f32) -> String {
    let mut out = String::with_capacity(scene.shapes.len() * 80);
    let (w, h) = (scene.width, scene.height);
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{:.0}\" viewBox=\"0 0 {w} {h}\" \
         role=\"img\" font-family=\"Roboto, 'Helvetica Neue', Arial, sans-serif\">\n<title>{}</title>\n\
         <rect width=\"{w}\" height=\"{h}\" {}/>\n",
        w as f32 * scale,
        h as f32 * scale,
        escape(&scene.title),
        paint("fill", scene.ground)
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
            fill,
        } => {
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" {}/>",
                paint("fill", *fill)
            )
        }
        Shape::Line { points, color, width } => {
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{width}\" stroke-linejoin=\"bevel\" \
                 stroke-linecap=\"round\"/>",
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
        Shape::Dot {
            at,
            radius,
            color,
            outline,
        } => {
            let look = match outline {
                Some(width) => format!(
                    "fill=\"none\" {} stroke-width=\"{width}\"",
                    paint("stroke", *color)
                ),
                None => paint("fill", *color),
            };
            writeln!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\" {look}/>",
                at.0, at.1
            )
        }
        Shape::Text {
            at: (x, y),
            text,
            size,
            color,
            weight,
            quarter_turns,
        } => {
            let weight = if *weight == Weight::Medium {
                " font-weight=\"500\""
            } else {
                ""
            };
            let turn = match quarter_turns {
                0 => String::new(),
                n => format!(" transform=\"rotate({} {x:.1} {y:.1})\"", u32::from(*n) * 90),
            };
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\"{weight}{turn} {}>{}</text>",
                paint("fill", *color),
                escape(text)
            )
        }
    };
}

fn list(points: &[Point]) -> String {
    let mut out = String::with_capacity(points.len() * 10);
    for (x, y) in points {
        let _ = write!(out, "{x},{y} ");
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

/// Escapes text as XML content: the five reserved characters become entities, control characters (which XML
/// forbids) become the replacement character.
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
