//! Sheets of pictures.

use kiln_protocol::view::Images;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::figure::Pane;
use crate::model::sheet::{Sheet, Spot};
use crate::mosaic::DOWN;
use crate::text;
use crate::theme::Role;
use crate::view::paint;

/// `cursor`: whether one picture is looked at. `bare`: nothing lies over the screen, so that the terminal may show pixels of its
/// own.
pub fn draw(buf: &mut Buffer, content: Rect, view: &Images, pane: &Pane, (cursor, bare): (bool, bool), look: &Look) {
    let areas = layout::figure(content);
    let used = paint::line(buf, areas.caption, look, &[(Role::Title, &view.title)]);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    let Some(page) = pane.sheet.page().filter(|_| !view.pictures.is_empty()) else {
        let row = rows(areas.body, areas.body.height / 2, 1);
        return paint::line_centre(buf, row, look, &[(Role::Dim, "No pictures yet: they appear as they are made.")]);
    };
    let selected = Some(pane.list.selected.min(view.pictures.len() - 1)).filter(|_| cursor);
    let sep = look.glyphs.separator;
    let mut words = format!("{}", page.grid.factor);
    if let Some(at) = selected {
        words = format!("{} of {} {sep} {words}", at + 1, view.pictures.len());
        if page.pages > 1 && !pane.alone && !pane.difference {
            words = format!("page {} of {} {sep} {words}", page.number, page.pages);
        }
    }
    let caption = areas.caption;
    let room = Rect { x: caption.x + used + 1, width: caption.width.saturating_sub(used + 1), ..caption };
    paint::line_right(buf, room, look, &[(Role::Faint, &words)]);
    if page.placed.is_empty() || !bare {
        page.canvas.paint(buf, areas.body, look);
    }
    for placed in page.placed.iter().filter(|_| bare) {
        let (x, y, width, height) = placed.area;
        placed.encoded.draw(buf, Rect { x: areas.body.x + x, y: areas.body.y + y, width, height });
    }
    for spot in &page.spots {
        around(buf, areas.body, view, &pane.sheet, *spot, Some(spot.picture) == selected, look);
    }
    let Some(selected) = selected else { return };
    let picture = &view.pictures[selected];
    let label = if picture.label.is_empty() { (selected + 1).to_string() } else { picture.label.clone() };
    let what = match pane.sheet.problem(selected) {
        Some(problem) => (Role::Bad, problem.to_owned()),
        None => {
            let kind = if picture.channels == 1 { "grey" } else { "RGB" };
            let said = if page.said.is_empty() { String::new() } else { format!("   {}", page.said) };
            (Role::Dim, format!("{} x {} {kind}{said}", picture.width, picture.height))
        }
    };
    paint::line(buf, areas.label, look, &[(Role::Key, &label), (Role::Text, "   "), (what.0, &what.1)]);
}

/// What stands around a picture: the mark of the selected one, its label, a sign in the place of one that cannot be shown.
fn around(buf: &mut Buffer, area: Rect, view: &Images, sheet: &Sheet, spot: Spot, selected: bool, look: &Look) {
    let Some(page) = sheet.page() else { return };
    let down = usize::from(DOWN);
    let (width, height) = page.grid.tile;
    let x = area.x.saturating_add(spot.x as u16);
    let (first, last) = (spot.y / down, (spot.y + height.max(1) - 1) / down);
    let role = if selected { Role::Key } else { Role::Dim };
    if sheet.problem(spot.picture).is_some() {
        let place =
            Rect { x, width: (area.right().saturating_sub(x)).min(width as u16), ..rows(area, first as u16, 1) };
        paint::line(buf, place, look, &[(Role::Bad, look.glyphs.failed)]);
    }
    if selected && page.spots.len() > 1 {
        for line in first..=last.min(usize::from(area.height).saturating_sub(1)) {
            if let Some(cell) = buf.cell_mut((x.saturating_sub(1), area.y + line as u16)) {
                cell.set_symbol(look.glyphs.marker).set_style(look.style(Role::Key));
            }
        }
    }
    if page.grid.labels {
        let label = text::clip(&view.pictures[spot.picture].label, width, look.glyphs.ellipsis);
        let place = Rect { x, width: area.right().saturating_sub(x), ..rows(area, last as u16 + 1, 1) };
        paint::line(buf, place, look, &[(role, &label)]);
    }
}
