//! Small things that all screens are drawn with. All of them keep to the area they are given, and that to the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};

use crate::look::Look;
use crate::model::input::Input;
use crate::model::pages;
use crate::text;
use crate::theme::Role;

/// Writes parts one after the other into the first row of `area`; what does not fit ends in an ellipsis. Returns the cells
/// used.
pub fn line(buf: &mut Buffer, area: Rect, look: &Look, parts: &[(Role, &str)]) -> u16 {
    let area = area.intersection(buf.area);
    let mut used = 0;
    if area.is_empty() {
        return 0;
    }
    for (role, part) in parts {
        let room = usize::from(area.width - used);
        if room == 0 {
            break;
        }
        let fit = text::clip(part, room, look.glyphs.ellipsis);
        buf.set_string(area.x + used, area.y, &fit, look.style(*role));
        used += text::width(&fit) as u16;
        if fit.len() != part.len() {
            break;
        }
    }
    used
}

/// As [`line`], at the right edge.
pub fn line_right(buf: &mut Buffer, area: Rect, look: &Look, parts: &[(Role, &str)]) {
    let width: usize = parts.iter().map(|p| text::width(p.1)).sum();
    let width = (width.min(usize::from(area.width))) as u16;
    line(buf, Rect { x: area.right() - width, width, ..area }, look, parts);
}

/// As [`line`], for words made up on the spot.
pub fn words(buf: &mut Buffer, area: Rect, look: &Look, parts: &[(Role, String)]) -> u16 {
    line(buf, area, look, &lent(parts))
}

/// As [`line_right`], for words made up on the spot.
pub fn words_right(buf: &mut Buffer, area: Rect, look: &Look, parts: &[(Role, String)]) {
    line_right(buf, area, look, &lent(parts));
}

fn lent(parts: &[(Role, String)]) -> Vec<(Role, &str)> {
    parts.iter().map(|(role, text)| (*role, text.as_str())).collect()
}

/// As [`line`], in the middle.
pub fn line_centre(buf: &mut Buffer, area: Rect, look: &Look, parts: &[(Role, &str)]) {
    let width: usize = parts.iter().map(|p| text::width(p.1)).sum();
    let width = (width.min(usize::from(area.width))) as u16;
    line(buf, Rect { x: area.x + (area.width - width) / 2, width, ..area }, look, parts);
}

/// A line that is being typed, with its cursor; a text that the next character takes the place of looks selected. Returns the
/// cells used, those of the cursor among them.
pub fn input(buf: &mut Buffer, area: Rect, input: &Input, role: Role, look: &Look) -> u16 {
    let shown = input.shown(area.width.into());
    let used = line(buf, area, look, &[(role, shown.before), (role, shown.at), (role, shown.after)]);
    let before = (text::width(shown.before) as u16).min(area.width);
    if input.is_selected() {
        select(buf, Rect { width: before, ..area }, look);
    }
    if let Some(cell) = buf.cell_mut((area.x + before, area.y)).filter(|_| before < area.width) {
        cell.set_style(reversed(look.style(Role::Text)));
    }
    used
}

/// Lines of a page from `top` on.
pub fn page(buf: &mut Buffer, area: Rect, look: &Look, lines: &[pages::Line], top: usize) {
    for (row, parts) in lines.iter().skip(top).take(usize::from(area.height)).enumerate() {
        words(buf, crate::layout::rows(area, row as u16, 1), look, parts);
    }
}

/// A thin bar at the right edge that shows where in `len` lines the view is; nothing if all are in view.
pub fn scrollbar(buf: &mut Buffer, area: Rect, look: &Look, top: usize, len: usize) {
    let height = usize::from(area.height);
    if height < 2 || len <= height || area.width == 0 {
        return;
    }
    let size = (height * height / len).clamp(1, height - 1);
    let start = top * (height - size) / (len - height).max(1);
    for row in start..(start + size).min(height) {
        if let Some(cell) = buf.cell_mut(Position { x: area.right() - 1, y: area.y + row as u16 }) {
            cell.set_symbol(look.glyphs.scrollbar).set_style(look.style(Role::Dim));
        }
    }
}

/// A [`scrollbar`] beside the rows in `area`, in the next column, where the screen has one.
pub fn scrollbar_beside(buf: &mut Buffer, area: Rect, look: &Look, top: usize, len: usize) {
    let area = Rect { width: (area.width + 1).min(buf.area.right() - area.x), ..area };
    scrollbar(buf, area, look, top, len);
}

/// At the right edge: which of how many this is, and on which sides there are more than are in view.
pub fn more(buf: &mut Buffer, area: Rect, look: &Look, (at, of): (usize, usize), (before, after): (bool, bool)) {
    let before = if before { look.glyphs.back } else { " " };
    let after = if after { look.glyphs.forward } else { " " };
    let count = format!("{} of {of}", at + 1);
    line_right(buf, area, look, &[(Role::Key, before), (Role::Faint, &count), (Role::Key, after)]);
}

/// Gives all cells of `area` the look of a selected row.
pub fn select(buf: &mut Buffer, area: Rect, look: &Look) {
    buf.set_style(area.intersection(buf.area), look.style(Role::Selection));
}

/// Empties an area that something is drawn over. A wide character that reaches into it from the left goes too: terminals draw
/// it as one, so that what comes upon its second half would not be seen.
pub fn blank(buf: &mut Buffer, area: Rect) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        if let Some(before) = area.left().checked_sub(1).filter(|x| *x >= buf.area.left())
            && !area.is_empty()
            && text::width(buf[(before, y)].symbol()) > 1
        {
            buf[(before, y)].set_symbol(" ");
        }
        for x in area.left()..area.right() {
            buf[(x, y)].reset();
        }
    }
}

/// Empties an area and draws a frame with a title around it. Returns what is inside.
pub fn boxed(buf: &mut Buffer, area: Rect, look: &Look, title: &str) -> Rect {
    let area = area.intersection(buf.area);
    blank(buf, area);
    let inner = crate::layout::framed(area);
    if inner == area {
        return inner;
    }
    let [tl, tr, bl, br, h, v] = look.glyphs.frame;
    let style = look.style(Role::Faint);
    let across = h.repeat(usize::from(area.width - 2));
    buf.set_string(area.x, area.y, format!("{tl}{across}{tr}"), style);
    buf.set_string(area.x, area.bottom() - 1, format!("{bl}{across}{br}"), style);
    for y in area.y + 1..area.bottom() - 1 {
        buf.set_string(area.x, y, v, style);
        buf.set_string(area.right() - 1, y, v, style);
    }
    let place = Rect { x: area.x + 2, width: area.width - 4, height: 1, ..area };
    line(buf, place, look, &[(Role::Accent, &format!(" {title} "))]);
    inner
}

/// A progress bar: the done part and the rest, together `width` cells.
pub fn bar(width: u16, fraction: f64, look: &Look) -> (String, String) {
    look.glyphs.bar_of(width, fraction)
}

/// A style with reversed colours: the cursor of a picture.
pub fn reversed(style: Style) -> Style {
    style.add_modifier(Modifier::REVERSED)
}

/// A figure in digits three rows high, its lines; `None` for what has letters.
pub fn large(text: &str) -> Option<[String; 3]> {
    let mut rows = [String::new(), String::new(), String::new()];
    for c in text.chars() {
        let sign = match c {
            '0' => ["┏━┓", "┃ ┃", "┗━┛"],
            '1' => [" ╻ ", " ┃ ", " ╹ "],
            '2' => ["╺━┓", "┏━┛", "┗━╸"],
            '3' => ["╺━┓", "╺━┫", "╺━┛"],
            '4' => ["╻ ╻", "┗━┫", "  ╹"],
            '5' => ["┏━╸", "┗━┓", "╺━┛"],
            '6' => ["┏━╸", "┣━┓", "┗━┛"],
            '7' => ["╺━┓", "  ┃", "  ╹"],
            '8' => ["┏━┓", "┣━┫", "┗━┛"],
            '9' => ["┏━┓", "┗━┫", "╺━┛"],
            '.' => [" ", " ", "▖"],
            '-' => ["  ", "╺╸", "  "],
            _ => return None,
        };
        for (row, part) in rows.iter_mut().zip(sign) {
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(part);
        }
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::Depth;

    #[test]
    fn bars_always_fill_their_width() {
        for ascii in [false, true] {
            let look = Look::plain("dark", Depth::True, ascii);
            for width in 0..30 {
                for i in 0..=40 {
                    let (done, rest) = bar(width, f64::from(i) / 40.0, &look);
                    assert_eq!(text::width(&done) + text::width(&rest), usize::from(width));
                }
            }
            assert_eq!(bar(10, 1.0, &look).1, "");
            assert_eq!(bar(10, f64::NAN, &look).0, "");
        }
    }

    #[test]
    fn a_box_over_half_a_wide_character_takes_it_away() {
        let look = Look::plain("dark", Depth::None, false);
        let mut buf = Buffer::empty(Rect::new(0, 0, 20, 5));
        (0..5).for_each(|y| buf.set_string(0, y, "a日本日本日本日本日", Style::new()));
        boxed(&mut buf, Rect::new(4, 1, 9, 3), &look, "x");
        let row = |y: u16| (0..20).map(|x| buf[(x, y)].symbol().to_owned()).collect::<Vec<_>>();
        assert_eq!(row(0)[3], "本", "what nothing lies upon stays");
        for y in 1..4 {
            assert_eq!(row(y)[..4], ["a", "日", " ", " "], "line {y}");
            assert!(row(y)[4..13].iter().all(|symbol| text::width(symbol) == 1), "{:?}", row(y));
        }
    }

    #[test]
    fn large_digits_line_up() {
        for text in ["0.9612", "-12.3", "4875"] {
            let rows = large(text).unwrap();
            assert!(rows.iter().all(|r| text::width(r) == text::width(&rows[0])), "{rows:?}");
        }
        assert_eq!(large("1.2e-05"), None);
    }

    #[test]
    fn a_line_keeps_to_its_area() {
        let look = Look::plain("dark", Depth::None, false);
        for width in 0..12 {
            let mut buf = Buffer::empty(Rect::new(0, 0, 14, 1));
            let used =
                line(&mut buf, Rect::new(1, 0, width, 1), &look, &[(Role::Text, "日本語"), (Role::Dim, "abcdef")]);
            assert!(used <= width);
            assert_eq!(buf[(0, 0)].symbol(), " ");
            assert!((width + 1..14).all(|x| buf[(x, 0)].symbol() == " "));
        }
        let mut buf = Buffer::empty(Rect::new(0, 0, 2, 1));
        line(&mut buf, Rect::new(5, 5, 10, 1), &look, &[(Role::Text, "out of the screen")]);
    }
}
