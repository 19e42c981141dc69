//! The page of the machine.

use ratatui::buffer::Buffer;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::system::{about, page};
use crate::model::{Link, Model};
use crate::text;
use crate::theme::Role;
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, look: &Look) {
    let areas = layout::system(m.size);
    if m.system.is_none() {
        let what = match &m.link {
            Link::Up { .. } => "The first figures of the machine come within a second.",
            _ => "Figures of the machine come from the engine, which is not connected yet.",
        };
        let middle = rows(areas.columns[0], areas.columns[0].height / 2, 1);
        return paint::line_centre(buf, middle, look, &[(Role::Dim, what)]);
    }
    let page = page(m, areas.widths(), look.glyphs);
    for ((area, rows_of), top) in areas.columns.iter().zip(&page.columns).zip(m.machine.tops) {
        for (line, row) in rows_of.iter().skip(top).take(usize::from(area.height)).enumerate() {
            let place = rows(*area, line as u16, 1);
            paint::words(buf, place, look, &row.line);
            if row.item == Some(m.machine.at) {
                paint::select(buf, place, look);
            }
        }
        paint::scrollbar_beside(buf, *area, look, top, rows_of.len());
    }
    let Some(item) = m.machine.selected.as_ref().filter(|_| !areas.about.is_empty()) else { return };
    let rule = look.glyphs.rule.repeat(usize::from(areas.about.width));
    paint::line(buf, rows(areas.about, 0, 1), look, &[(Role::Rule, &rule)]);
    let words = about(m, item, look.glyphs);
    for (i, line) in text::wrap(&words, usize::from(areas.about.width)).iter().enumerate().take(2) {
        paint::line(buf, rows(areas.about, i as u16 + 1, 1), look, &[(Role::Dim, line)]);
    }
}
