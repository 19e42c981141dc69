//! A scene as PNG.

use tiny_skia::{
    Color, FillRule, FilterQuality, LineJoin, Paint, PathBuilder, Pixmap, PixmapPaint, Rect, Stroke, StrokeDash,
    Transform,
};

use super::{Anchor, Ink, Palette, Scene, Shape, font};

/// Pixels of the file for each of the scene: sharp on screens of today and in print.
const SCALE: f32 = 2.0;

/// More than this nobody looks at, and memory must hold it.
const MOST: f32 = 30_000.0;

/// The drawing as a PNG file.
///
/// # Errors
/// A sentence: it is too large.
pub fn write(scene: &Scene, palette: &Palette) -> Result<Vec<u8>, String> {
    let (width, height) = ((scene.width * SCALE).ceil(), (scene.height * SCALE).ceil());
    let too_large =
        || format!("a picture of {width} x {height} pixels is too large for PNG; choose fewer series, or SVG");
    if width > MOST || height > MOST {
        return Err(too_large());
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(too_large)?;
    let [r, g, b] = palette.paper;
    pixmap.fill(Color::from_rgba8(r, g, b, 255));
    for shape in &scene.shapes {
        draw(&mut pixmap, shape, palette);
    }
    pixmap.encode_png().map_err(|e| format!("the picture cannot be written as PNG: {e}"))
}

fn paint(palette: &Palette, ink: Ink, opacity: f32) -> Paint<'static> {
    let [r, g, b] = palette.rgb(ink);
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(r, g, b, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

fn polygon(points: &[[f32; 2]], close: bool) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    for (i, [x, y]) in points.iter().enumerate() {
        if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
    }
    if close {
        path.close();
    }
    path.finish()
}

/// What cannot be drawn (a line of one point, an area without extent) is left out.
fn draw(pixmap: &mut Pixmap, shape: &Shape, palette: &Palette) {
    let scale = Transform::from_scale(SCALE, SCALE);
    match shape {
        Shape::Line { points, ink, width, dash } => {
            let Some(path) = polygon(points, false) else { return };
            let dash = if dash.is_empty() { None } else { StrokeDash::new(dash.to_vec(), 0.0) };
            let stroke = Stroke { width: *width, line_join: LineJoin::Round, dash, ..Stroke::default() };
            pixmap.stroke_path(&path, &paint(palette, *ink, 1.0), &stroke, scale, None);
        }
        Shape::Area { points, ink, opacity } => {
            let Some(path) = polygon(points, true) else { return };
            pixmap.fill_path(&path, &paint(palette, *ink, *opacity), FillRule::Winding, scale, None);
        }
        Shape::Rect { x, y, width, height, ink, .. } => {
            let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { return };
            let sharp = Paint { anti_alias: false, ..paint(palette, *ink, 1.0) };
            pixmap.fill_rect(rect, &sharp, scale, None);
        }
        Shape::Dot { x, y, radius, ink, .. } => {
            let Some(path) = PathBuilder::from_circle(*x, *y, *radius) else { return };
            pixmap.fill_path(&path, &paint(palette, *ink, 1.0), FillRule::Winding, scale, None);
        }
        Shape::Text { x, y, text, size, anchor, ink, bold, up } => {
            let Some(path) = font::outline(text, *size) else { return };
            let back = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => font::width(text, *size) / 2.0,
                Anchor::End => font::width(text, *size),
            };
            let turn = if *up { -90.0 } else { 0.0 };
            let place = Transform::from_translate(-back, 0.0).post_rotate(turn).post_translate(*x, *y);
            let (place, paint) = (place.post_scale(SCALE, SCALE), paint(palette, *ink, 1.0));
            pixmap.fill_path(&path, &paint, FillRule::Winding, place, None);
            if *bold {
                let stroke = Stroke { width: size / 18.0, ..Stroke::default() };
                pixmap.stroke_path(&path, &paint, &stroke, place, None);
            }
        }
        Shape::Pixels { x, y, width, height, columns, rows, rgb } => {
            let Some(picture) = pixels(*columns, *rows, rgb) else { return };
            let place = Transform::from_scale(width / *columns as f32, height / *rows as f32).post_translate(*x, *y);
            let paint = PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
            pixmap.draw_pixmap(0, 0, picture.as_ref(), &paint, place.post_concat(scale), None);
        }
    }
}

fn pixels(columns: u32, rows: u32, rgb: &[u8]) -> Option<Pixmap> {
    let mut pixmap = Pixmap::new(columns, rows)?;
    let opaque = |c: &[u8]| Color::from_rgba8(c[0], c[1], c[2], 255).premultiply().to_color_u8();
    for (pixel, rgb) in pixmap.pixels_mut().iter_mut().zip(rgb.chunks_exact(3)) {
        *pixel = opaque(rgb);
    }
    Some(pixmap)
}

/// A picture of RGB bytes as a PNG file; nothing where there are no pixels.
pub fn of_pixels(columns: u32, rows: u32, rgb: &[u8]) -> Option<Vec<u8>> {
    pixels(columns, rows, rgb)?.encode_png().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::LIGHT;

    fn decode(png: &[u8]) -> Pixmap {
        Pixmap::decode_png(png).unwrap()
    }

    #[test]
    fn what_is_drawn_is_where_it_should_be() {
        let mut scene = Scene::new(40.0, 20.0);
        let label = String::new();
        scene.shapes.push(Shape::Rect { x: 10.0, y: 5.0, width: 20.0, height: 10.0, ink: Ink::Series(0), label });
        let picture = decode(&write(&scene, &LIGHT).unwrap());
        assert_eq!((picture.width(), picture.height()), (80, 40));
        let at = |x, y| picture.pixel(x, y).map(|p| [p.red(), p.green(), p.blue()]).unwrap();
        assert_eq!((at(40, 20), at(2, 2), at(21, 11)), ([0, 114, 178], [255, 255, 255], [0, 114, 178]));
        assert_eq!((at(18, 20), at(61, 20)), ([255; 3], [255; 3]));
    }

    #[test]
    fn texts_are_drawn_also_upwards() {
        let dark = |up: bool| {
            let mut scene = Scene::new(60.0, 60.0);
            let text = Shape::Text {
                x: 30.0,
                y: 30.0,
                text: "lllll".into(),
                size: 12.0,
                anchor: Anchor::Start,
                ink: Ink::Text,
                bold: false,
                up,
            };
            scene.shapes.push(text);
            let picture = decode(&write(&scene, &LIGHT).unwrap());
            let (mut right, mut above) = (0, 0);
            for y in 0..120 {
                for x in 0..120 {
                    let is_dark = picture.pixel(x, y).is_some_and(|p| p.red() < 128);
                    right += u32::from(is_dark && x > 70);
                    above += u32::from(is_dark && y < 40);
                }
            }
            (right, above)
        };
        let (along, up) = (dark(false), dark(true));
        assert!(along.0 > 20 && along.1 == 0, "{along:?}");
        assert!(up.0 == 0 && up.1 > 20, "{up:?}");
    }

    #[test]
    fn pictures_keep_their_pixels_and_giants_are_refused() {
        let png = of_pixels(2, 1, &[255, 0, 0, 0, 0, 255]).unwrap();
        let picture = decode(&png);
        assert_eq!(picture.pixel(1, 0).map(|p| (p.red(), p.blue())), Some((0, 255)));
        assert_eq!(of_pixels(0, 1, &[]), None);
        assert!(write(&Scene::new(20_000.0, 10.0), &LIGHT).unwrap_err().contains("SVG"));
    }
}
