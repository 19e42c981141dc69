//! The palette, and the boxes over the list of runs: saved views, choice of columns.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::list::List;
use crate::model::palette::{Palette, marked};
use crate::saved;
use crate::text;
use crate::theme::Role;
use crate::update::columns as choosable;
use crate::view::paint;

/// Cells of the word that says what kind of thing a line is.
const KIND: usize = 8;

pub fn draw(buf: &mut Buffer, m: &Model, palette: &Palette, look: &Look) {
    let areas = layout::palette(m.size);
    paint::boxed(buf, areas.frame, look, "Find and do");
    let found = palette.found();
    let count = format!("{} of {}", found.len(), palette.total());
    let used = paint::line(buf, areas.query, look, &[(Role::Accent, look.glyphs.forward), (Role::Text, " ")]);
    let place = Rect { x: areas.query.x + used, width: areas.query.width - used, ..areas.query };
    let used = used + paint::input(buf, place, palette.line(), Role::Title, look);
    let room = Rect {
        x: areas.query.x + (used + 1).min(areas.query.width),
        width: areas.query.width.saturating_sub(used + 1),
        ..areas.query
    };
    let hint = "letters of an action, a run, a preset, a view";
    if palette.query().is_empty() && usize::from(room.width) > hint.len() + count.len() + 2 {
        paint::line(buf, room, look, &[(Role::Faint, hint)]);
    }
    paint::line_right(buf, room, look, &[(Role::Faint, &count)]);
    let list = areas.list;
    if found.len() == 0 {
        let words =
            [(Role::Dim, "Nothing has these letters. "), (Role::Key, "ctrl-u"), (Role::Dim, " empties the line.")];
        paint::line(buf, rows(list, 0, 1), look, &words);
        return;
    }
    let len = found.len();
    for (i, (item, hit)) in found.enumerate().skip(palette.list.offset).take(usize::from(list.height)) {
        let row = rows(list, (i - palette.list.offset) as u16, 1);
        if i == palette.list.selected {
            paint::select(buf, row, look);
        }
        let key = if item.key == "enter" { look.glyphs.enter } else { item.key.as_str() };
        let keyed = text::width(key) as u16 + u16::from(!key.is_empty());
        let kind = text::left(item.kind(), KIND, "");
        let mut parts = vec![(Role::Faint, kind.as_str())];
        let lit = marked(&item.name, &hit.marks);
        parts.extend(lit.into_iter().map(|(hit, part)| (if hit { Role::Match } else { Role::Text }, part)));
        parts.extend([(Role::Text, "  "), (Role::Dim, item.about.as_str())]);
        paint::line(buf, Rect { width: row.width.saturating_sub(keyed), ..row }, look, &parts);
        paint::line_right(buf, row, look, &[(Role::Key, key)]);
    }
    let bar = Rect { width: (list.width + 2).min(buf.area.right() - list.x), ..list };
    paint::scrollbar(buf, bar, look, palette.list.offset, len);
}

/// Saved views: names, and what each does.
pub fn views(buf: &mut Buffer, m: &Model, selected: List, look: &Look) {
    let inner = paint::boxed(buf, layout::views(m.size), look, "Saved views");
    let longest = m.saved.iter().map(|v| text::width(&v.name)).max().unwrap_or(0).clamp(8, 24);
    let shipped = saved::shipped();
    for (i, view) in m.saved.iter().enumerate().skip(selected.offset).take(usize::from(inner.height)) {
        let row = rows(inner, (i - selected.offset) as u16, 1);
        if i == selected.selected {
            paint::select(buf, row, look);
        }
        let name = text::left(&view.name, longest, look.glyphs.ellipsis);
        let words = view.words().replace('·', look.glyphs.separator);
        let role = if shipped.contains(view) { Role::Text } else { Role::Title };
        paint::line(buf, row, look, &[(role, &name), (Role::Text, "  "), (Role::Dim, &words)]);
    }
    let bar = Rect { width: (inner.width + 2).min(buf.area.right() - inner.x), ..inner };
    paint::scrollbar(buf, bar, look, selected.offset, m.saved.len());
}

/// The columns that can be chosen; those that are, with their place.
pub fn columns(buf: &mut Buffer, m: &Model, selected: List, look: &Look) {
    let inner = paint::boxed(buf, layout::picker(m.size), look, "Columns");
    let all = choosable(m);
    let now = m.runs.all().iter().find(|run| Some(&run.id) == m.runs.selected.as_ref());
    for (i, column) in all.iter().enumerate().skip(selected.offset).take(usize::from(inner.height)) {
        let row = rows(inner, (i - selected.offset) as u16, 1);
        if i == selected.selected {
            paint::select(buf, row, look);
        }
        let place = m.runs.columns.iter().position(|c| c == column);
        let (role, sign) =
            if place.is_some() { (Role::Accent, look.glyphs.on) } else { (Role::Faint, look.glyphs.off) };
        let number = place.map_or("   ".to_owned(), |at| format!("{:>2} ", at + 1));
        let name = if place.is_some() { Role::Text } else { Role::Dim };
        // What the selected run has there says more than any word about the column.
        let example = now.and_then(|run| column.cell(run, m.now)).unwrap_or_else(|| look.glyphs.none.to_owned());
        let example = text::clip(&example, usize::from(row.width / 2), look.glyphs.ellipsis).into_owned();
        let left = Rect { width: row.width.saturating_sub(text::width(&example) as u16 + 2), ..row };
        paint::line(buf, left, look, &[(role, sign), (Role::Faint, &number), (name, column.name())]);
        paint::line_right(buf, row, look, &[(Role::Dim, &example)]);
    }
    let bar = Rect { width: (inner.width + 2).min(buf.area.right() - inner.x), ..inner };
    paint::scrollbar(buf, bar, look, selected.offset, all.len());
}
