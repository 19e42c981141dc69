//! The main screens in a theme for bright terminals, with their colours: which role's colour stands where.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Style};

use super::tests::{screens, text};
use super::view;
use crate::colour::{self, Depth};
use crate::look::Look;
use crate::model::Model;

/// Screens that hold most of what there is to colour.
const MAIN: [&str; 6] = ["runs", "curves", "form-changed", "compare-curves", "compare-table", "machine"];

/// A colour as theme files write it.
fn ink(colour: Option<Color>) -> String {
    match colour {
        None | Some(Color::Reset) => "-".to_owned(),
        Some(Color::Rgb(r, g, b)) => format!("#{r:02x}{g:02x}{b:02x}"),
        Some(other) => other.to_string(),
    }
}

/// The screen as text; below it a letter for the style of each cell, and what the letters stand for.
fn coloured(m: &Model, look: &Look) -> String {
    let mut buf = Buffer::empty(Rect::new(0, 0, m.size.width, m.size.height));
    view(&mut buf, m, look);
    let mut letters: BTreeMap<String, char> = BTreeMap::new();
    let mut grid = String::new();
    for y in 0..m.size.height {
        let line: String = (0..m.size.width)
            .map(|x| {
                let cell = &buf[(x, y)];
                let style: Style = cell.style();
                // Of a blank only what lies under it is seen.
                let fg = if cell.symbol() == " " { "-".to_owned() } else { ink(style.fg) };
                let bg = ink(style.bg);
                let mut words = format!("{fg} on {bg}");
                for (name, _) in style.add_modifier.iter_names() {
                    words.push_str(&format!(" {}", name.to_lowercase()));
                }
                if words == "- on -" {
                    return ' ';
                }
                let next = letters.len() as u8;
                *letters.entry(words).or_insert(char::from(if next < 26 { b'a' + next } else { b'A' + next - 26 }))
            })
            .collect();
        grid.push_str(line.trim_end());
        grid.push('\n');
    }
    let mut legend: Vec<(char, String)> = letters.into_iter().map(|(words, letter)| (letter, words)).collect();
    legend.sort_by_key(|(letter, _)| (letter.is_uppercase(), *letter));
    let legend: String = legend.into_iter().map(|(letter, words)| format!("{letter} {words}\n")).collect();
    format!("{}\n{grid}\n{legend}", text(m, look))
}

fn snapshot(width: u16, height: u16) {
    let look = Look::plain("light", Depth::True, false);
    let all = screens(Size { width, height });
    for name in MAIN {
        let (_, m) = all.iter().find(|(other, _)| other == name).unwrap();
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("light-{name}-{width}x{height}"), coloured(m, &look));
        });
    }
}

#[test]
fn light_screens_at_80x24() {
    snapshot(80, 24);
}

#[test]
fn light_screens_at_200x50() {
    snapshot(200, 50);
}

/// No theme for bright terminals may write in what only dark ones show.
#[test]
fn nothing_on_a_light_screen_is_too_pale_to_be_read() {
    for theme in ["light", "contrast-light"] {
        let look = Look::plain(theme, Depth::True, false);
        for (name, m) in screens(Size { width: 80, height: 24 }) {
            let mut buf = Buffer::empty(Rect::new(0, 0, m.size.width, m.size.height));
            view(&mut buf, &m, &look);
            for cell in buf.content().iter().filter(|c| c.symbol().chars().all(char::is_alphanumeric)) {
                let style = cell.style();
                let (Some(Color::Rgb(r, g, b)), None | Some(Color::Reset)) = (style.fg, style.bg) else { continue };
                let pale = colour::brightness([r, g, b]);
                assert!(pale < 0.72, "{theme}, {name}: `{}` in #{r:02x}{g:02x}{b:02x}", cell.symbol());
            }
        }
    }
}
