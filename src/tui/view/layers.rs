//! What is known of layers: a row each, in network order, figures as numbers and bars.

use kiln_protocol::view::{Layer, Layers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::figure::Pane;
use crate::model::layers::{Columns, Place, figure, heading};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

pub fn draw(buf: &mut Buffer, content: Rect, view: &Layers, pane: &Pane, look: &Look) {
    let areas = layout::figure(content);
    let (head, list) = layout::layers(content);
    let used = paint::line(buf, areas.caption, look, &[(Role::Title, &view.title)]);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    if view.rows.is_empty() {
        let row = rows(list, list.height / 2, 1);
        return paint::line_centre(buf, row, look, &[(Role::Dim, "No layers yet: they appear as they are measured.")]);
    }
    let width = usize::from(list.width);
    let columns = Columns::new(view, look.glyphs);
    let name = columns.name(width);
    let places = columns.places(pane.corner.1, width);
    if places.len() < view.columns.len()
        && let (Some(first), Some(last)) = (places.first(), places.last())
    {
        let words = format!("columns {} to {} of {}", first.column + 1, last.column + 1, view.columns.len());
        let caption = areas.caption;
        let room = Rect { x: caption.x + used + 1, width: caption.width.saturating_sub(used + 1), ..caption };
        paint::line_right(buf, room, look, &[(Role::Faint, &words)]);
    }
    let e = look.glyphs.ellipsis;
    paint::line(buf, Rect { width: name as u16, ..head }, look, &[(Role::Faint, "layer")]);
    for place in &places {
        let role = if place.column == pane.cell.1 { Role::Key } else { Role::Faint };
        let words = heading(&view.columns[place.column]);
        // Over the numbers, to the right as they are; a longer one reaches over the bar.
        let words = if text::width(&words) <= place.number { text::right(&words, place.number, e) } else { words };
        paint::line(buf, part(head, place.x, place.number + place.bar), look, &[(role, &words)]);
    }
    let shown = view.rows.iter().enumerate().skip(pane.list.offset).take(list.height.into());
    for (line, (i, layer)) in shown.enumerate() {
        let row = rows(list, line as u16, 1);
        let role = if i == pane.list.selected { Role::Title } else { Role::Text };
        paint::line(buf, part(row, 0, name), look, &[(role, text::clip(&layer.name, name, e).as_ref())]);
        for place in &places {
            cell(buf, row, view, layer, place, look);
        }
        if i == pane.list.selected {
            paint::select(buf, row, look);
        }
    }
    paint::scrollbar_beside(buf, list, look, pane.list.offset, view.rows.len());
    label(buf, areas.label, view, pane, look);
}

/// Some cells of a line, as far as it reaches.
fn part(line: Rect, x: usize, width: usize) -> Rect {
    let x = (x.min(usize::from(line.width))) as u16;
    Rect { x: line.x + x, width: (line.width - x).min(width as u16), ..line }
}

fn cell(buf: &mut Buffer, row: Rect, view: &Layers, layer: &Layer, place: &Place, look: &Look) {
    let column = &view.columns[place.column];
    let value = layer.cells.get(place.column).copied().flatten();
    let words = text::right(&figure(column, value, look.glyphs), place.number, look.glyphs.ellipsis);
    let role = if value.is_some_and(f64::is_finite) { Role::Text } else { Role::Faint };
    paint::line(buf, part(row, place.x, place.number), look, &[(role, &words)]);
    let (Some(full), Some(v)) = (column.full, value) else { return };
    let bar = part(row, place.x + place.number + 1, place.bar.saturating_sub(1));
    let (done, rest) = paint::bar(bar.width, v / full, look);
    paint::line(buf, bar, look, &[(series(place.column), &done), (Role::BarTrack, &rest)]);
}

/// All of the layer under the cursor, the column looked at first.
fn label(buf: &mut Buffer, area: Rect, view: &Layers, pane: &Pane, look: &Look) {
    let Some(layer) = view.rows.get(pane.list.selected) else { return };
    let at = pane.cell.1.min(view.columns.len());
    let mut parts: Vec<(Role, String)> = vec![(Role::Title, layer.name.clone())];
    let in_order = (at..view.columns.len()).chain(0..at);
    for i in in_order {
        let column = &view.columns[i];
        let value = figure(column, layer.cells.get(i).copied().flatten(), look.glyphs);
        parts.extend([(Role::Dim, format!("   {} ", column.name)), (Role::Text, value)]);
        if !column.unit.is_empty() {
            parts.push((Role::Dim, format!(" {}", column.unit)));
        }
    }
    paint::words(buf, area, look, &parts);
}
