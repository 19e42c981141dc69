//! The font that comes with Kiln: a server has none. Bold is the same font with a heavier outline.

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, OutlineBuilder};

const DEJAVU: &[u8] = include_bytes!("../../../assets/font/DejaVuSans.ttf");

/// What stands for the font in files that others draw. Verdana is as wide.
pub const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Drawn for characters that the font lacks.
const UNKNOWN: char = '\u{fffd}';

/// How wide a text is in that size, in pixels.
pub fn width(text: &str, size: f32) -> f32 {
    match Face::parse(DEJAVU, 0) {
        Ok(face) => advance(&face, text) * size / f32::from(face.units_per_em()),
        // Only a broken build has no font; most letters are about so wide.
        Err(_) => text.chars().count() as f32 * size * 0.6,
    }
}

fn advance(face: &Face<'_>, text: &str) -> f32 {
    text.chars().filter_map(|c| face.glyph_hor_advance(glyph(face, c)?)).map(f32::from).sum()
}

fn glyph(face: &Face<'_>, c: char) -> Option<ttf_parser::GlyphId> {
    face.glyph_index(c).or_else(|| face.glyph_index(UNKNOWN))
}

/// Outlines of a text that begins at the origin, its base line on y = 0; nothing for blanks.
pub fn outline(text: &str, size: f32) -> Option<Path> {
    let face = Face::parse(DEJAVU, 0).ok()?;
    let scale = size / f32::from(face.units_per_em());
    let mut pen = Pen { path: PathBuilder::new(), x: 0.0, scale };
    for c in text.chars() {
        let Some(glyph) = glyph(&face, c) else { continue };
        // A blank has no outline.
        let _ = face.outline_glyph(glyph, &mut pen);
        pen.x += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
    }
    pen.path.finish()
}

/// A text cut to a width, with a sign where something is missing.
pub fn cut(text: &str, size: f32, room: f32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while !short.is_empty() && width(&short, size) + width("…", size) > room {
        short.pop();
    }
    short + "…"
}

struct Pen {
    path: PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_their_widths_and_outlines() {
        assert!((width("m", 10.0) - 9.74).abs() < 0.05, "{}", width("m", 10.0));
        assert_eq!(width("iii", 12.0), 3.0 * width("i", 12.0));
        let path = outline("x", 10.0).unwrap();
        assert!(path.bounds().top() < -4.0 && path.bounds().bottom().abs() < 0.1, "{:?}", path.bounds());
        assert!(outline("  ", 10.0).is_none());
        for sign in "±·–…∂αμ²×≤→".chars() {
            assert_ne!(width(&sign.to_string(), 10.0), width("\u{fffd}", 10.0), "{sign} is not in the font");
        }
        assert!(width("\u{4e00}", 10.0) > 0.0, "unknown letters take room");
    }

    #[test]
    fn a_text_that_is_too_long_says_so() {
        let short = cut("valid/accuracy of the winner", 11.0, 80.0);
        assert!(short.ends_with('…') && width(&short, 11.0) <= 80.0, "{short}");
        assert_eq!(cut("loss", 11.0, 80.0), "loss");
        assert_eq!(cut("loss", 11.0, 0.0), "…");
    }
}
