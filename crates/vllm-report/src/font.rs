//! The bundled font: widths for layout, outlines for the raster writer.

use std::sync::OnceLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::scene::Weight;

static REGULAR: &[u8] = include_bytes!("../fonts/Roboto-Regular-subset.ttf");
static MEDIUM: &[u8] = include_bytes!("../fonts/Roboto-Medium-subset.ttf");

/// Height of the letter body above the baseline, as a share of the size.
pub(crate) const ASCENT: f32 = 0.93;
/// Depth of the letter body below the baseline, as a share of the size.
pub(crate) const DESCENT: f32 = 0.24;
/// Height of a capital, as a share of the size.
pub(crate) const CAPITAL: f32 = 0.711;

fn face(weight: Weight) -> &'static Face<'static> {
    static FACES: OnceLock<[Face<'static>; 2]> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        [REGULAR, MEDIUM].map(|bytes| Face::parse(bytes, 0).expect("the fonts in this crate are whole"))
    });
    match weight {
        Weight::Regular => &faces[0],
        Weight::Medium => &faces[1],
    }
}

fn glyph(face: &Face<'_>, c: char) -> GlyphId {
    // Glyph 0 is the empty box for characters that the font lacks: visibly missing, never dropped silently.
    face.glyph_index(c).unwrap_or(GlyphId(0))
}

/// Width of a text in the unit of `size`.
pub(crate) fn width(text: &str, size: f32, weight: Weight) -> f32 {
    let face = face(weight);
    let units: u32 = text
        .chars()
        .map(|c| u32::from(face.glyph_hor_advance(glyph(face, c)).unwrap_or(0)))
        .sum();
    units as f32 * size / f32::from(face.units_per_em())
}

/// The text, shortened with an ellipsis until it is at most `limit` wide.
pub(crate) fn fit(text: &str, size: f32, weight: Weight, limit: f32) -> String {
    if width(text, size, weight) <= limit {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let shorter: String = kept.iter().chain(std::iter::once(&'…')).collect();
        if width(&shorter, size, weight) <= limit {
            return shorter;
        }
    }
    String::new()
}

/// Passes the outline of each glyph to `place`, with the glyph's horizontal offset.
///
/// `place` receives a function that draws the glyph into a builder. Coordinates are in font units with y
/// pointing up; [`scale`] converts them to a size.
pub(crate) fn outline(
    text: &str,
    weight: Weight,
    mut place: impl FnMut(f32, &dyn Fn(&mut dyn OutlineBuilder)),
) {
    let face = face(weight);
    let mut x = 0u32;
    for c in text.chars() {
        let id = glyph(face, c);
        place(x as f32, &|builder| {
            face.outline_glyph(id, builder);
        });
        x += u32::from(face.glyph_hor_advance(id).unwrap_or(0));
    }
}

/// Factor from font units to the unit of `size`.
pub(crate) fn scale(size: f32, weight: Weight) -> f32 {
    size / f32::from(face(weight).units_per_em())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_equally_wide_and_every_sign_we_print_has_a_glyph() {
        assert_eq!(
            width("1", 10.0, Weight::Regular),
            width("8", 10.0, Weight::Regular)
        );
        for weight in [Weight::Regular, Weight::Medium] {
            for c in "0123456789.,:;%·–—…×µ°±≈≤≥−/()[]{}='\"_<>äéß".chars() {
                assert_ne!(glyph(face(weight), c).0, 0, "{c}");
            }
        }
    }

    #[test]
    fn long_text_is_shortened_to_fit() {
        let text = fit("a very long model name", 12.0, Weight::Regular, 60.0);
        assert!(text.ends_with('…') && width(&text, 12.0, Weight::Regular) <= 60.0);
        assert_eq!(fit("short", 12.0, Weight::Regular, 60.0), "short");
    }
}
