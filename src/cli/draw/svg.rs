//! A scene as SVG.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Anchor, Ink, Palette, Scene, Shape, font, png};

/// Where the colours come from.
#[derive(Clone, Copy, Debug)]
pub enum Colours {
    /// A file of its own.
    Fixed(Palette),
    /// The style sheet of a page: see [`style_sheet`].
    Page,
}

/// The SVG, one element; for a file of its own put nothing around it.
pub fn write(scene: &Scene, colours: Colours) -> String {
    let mut out = String::new();
    let (w, h) = (number(scene.width), number(scene.height));
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" font-family="{}">"#,
        font::FAMILY
    );
    if let Colours::Fixed(_) = colours {
        let _ = write!(out, r#"<rect width="100%" height="100%" {}/>"#, paint("fill", Ink::Paper, colours));
    }
    for shape in &scene.shapes {
        out.push('\n');
        self::shape(&mut out, shape, colours);
    }
    out.push_str("\n</svg>\n");
    out
}

fn shape(out: &mut String, shape: &Shape, colours: Colours) {
    let _ = match shape {
        Shape::Line { points, ink, width, dash } => {
            let dash = match dash {
                [] => String::new(),
                dash => {
                    let dash: Vec<String> = dash.iter().map(|d| number(*d)).collect();
                    format!(r#" stroke-dasharray="{}""#, dash.join(" "))
                }
            };
            write!(
                out,
                r#"<polyline points="{}" fill="none" {} stroke-width="{}" stroke-linejoin="round"{dash}/>"#,
                self::points(points),
                paint("stroke", *ink, colours),
                number(*width)
            )
        }
        Shape::Area { points, ink, opacity } => write!(
            out,
            r#"<polygon points="{}" {} fill-opacity="{}"/>"#,
            self::points(points),
            paint("fill", *ink, colours),
            number(*opacity)
        ),
        Shape::Rect { x, y, width, height, ink, label } => {
            let [x, y, w, h] = [x, y, width, height].map(|v| number(*v));
            let fill = paint("fill", *ink, colours);
            write!(out, r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" {fill}>{}</rect>"#, title(label))
        }
        Shape::Dot { x, y, radius, ink, label } => {
            let [x, y, r] = [x, y, radius].map(|v| number(*v));
            write!(
                out,
                r#"<circle cx="{x}" cy="{y}" r="{r}" {}>{}</circle>"#,
                paint("fill", *ink, colours),
                title(label)
            )
        }
        Shape::Text { x, y, text, size, anchor, ink, bold, up } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let [x, y, size] = [x, y, size].map(|v| number(*v));
            let turn = if *up { format!(r#" transform="rotate(-90 {x} {y})""#) } else { String::new() };
            let weight = if *bold { r#" font-weight="bold""# } else { "" };
            let (fill, text) = (paint("fill", *ink, colours), escape(text));
            write!(
                out,
                r#"<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" {fill}{weight}{turn}>{text}</text>"#
            )
        }
        Shape::Pixels { x, y, width, height, columns, rows, rgb } => {
            let [x, y, w, h] = [x, y, width, height].map(|v| number(*v));
            let data = png::of_pixels(*columns, *rows, rgb).map(|png| BASE64.encode(png)).unwrap_or_default();
            write!(
                out,
                r#"<image x="{x}" y="{y}" width="{w}" height="{h}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>"#
            )
        }
    };
}

fn points(points: &[[f32; 2]]) -> String {
    let points: Vec<String> = points.iter().map(|p| format!("{},{}", number(p[0]), number(p[1]))).collect();
    points.join(" ")
}

/// Two digits after the point, without those that say nothing.
fn number(v: f32) -> String {
    let text = format!("{v:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

fn title(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!("<title>{}</title>", escape(label)) }
}

fn paint(what: &str, ink: Ink, colours: Colours) -> String {
    match (colours, ink) {
        (Colours::Fixed(palette), ink) => format!(r#"{what}="{}""#, hex(palette.rgb(ink))),
        // The scale for heat is the same on every paper.
        (Colours::Page, Ink::Heat(_)) => format!(r#"{what}="{}""#, hex(super::LIGHT.rgb(ink))),
        (Colours::Page, ink) => format!(r#"style="{what}:var(--{})""#, variable(ink)),
    }
}

fn variable(ink: Ink) -> String {
    match ink {
        Ink::Paper => "paper".into(),
        Ink::Text | Ink::Heat(_) => "text".into(),
        Ink::Dim => "dim".into(),
        Ink::Grid => "grid".into(),
        Ink::Series(n) => format!("s{}", n % super::SERIES),
    }
}

/// The variables that [`Colours::Page`] refers to, as declarations of CSS.
pub fn style_sheet(palette: &Palette) -> String {
    let inks = [Ink::Paper, Ink::Text, Ink::Dim, Ink::Grid].into_iter().chain((0..super::SERIES).map(Ink::Series));
    inks.map(|ink| format!("--{}:{};", variable(ink), hex(palette.rgb(ink)))).collect()
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text for XML and HTML, within elements and within attributes. Characters that XML forbids are left out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{DARK, LIGHT};

    fn scene() -> Scene {
        let mut scene = Scene::new(100.0, 50.5);
        scene.line(vec![[0.0, 0.0], [10.126, 1.0 / 3.0]], Ink::Series(8), 1.5);
        scene.text([1.0, 2.0], "a<b & \"c\"\u{1b}", Anchor::End, Ink::Text);
        let label = "7: <x>".to_owned();
        scene.shapes.push(Shape::Dot { x: 1.0, y: -0.001, radius: 2.0, ink: Ink::Heat(1.0), label });
        scene
    }

    #[test]
    fn shapes_become_elements_and_texts_are_escaped() {
        let svg = write(&scene(), Colours::Fixed(LIGHT));
        assert!(svg.starts_with(r#"<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50.5""#), "{svg}");
        assert!(svg.contains(r##"points="0,0 10.13,0.33" fill="none" stroke="#d55e00" stroke-width="1.5""##), "{svg}");
        assert!(svg.contains(">a&lt;b &amp; &quot;c&quot;</text>"), "{svg}");
        assert!(svg.contains(r#"cx="1" cy="0""#) && svg.contains("<title>7: &lt;x&gt;</title>"), "{svg}");
        assert!(svg.contains(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##));
        assert!(write(&scene(), Colours::Fixed(DARK)).contains("#0d1117"));
    }

    #[test]
    fn on_a_page_colours_are_those_of_the_page() {
        let svg = write(&scene(), Colours::Page);
        assert!(svg.contains(r#"style="stroke:var(--s1)""#) && !svg.contains("100%"), "{svg}");
        let sheet = style_sheet(&DARK);
        assert!(sheet.contains("--paper:#0d1117;") && sheet.contains("--s6:#a5a5a5;"), "{sheet}");
    }
}
