//! The probabilities of operations as a heat map: blocks across in network order, operations down, entropy below.

use kiln_protocol::view::BlockImportance;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::rows;
use crate::look::Look;
use crate::model::blocks::{entropy, parts, starts_stage};
use crate::model::figure::Pane;
use crate::text;
use crate::theme::Role;
use crate::view::{matrix, paint};

/// Lines above the operations (stages, signs) and below them (entropy).
const AROUND: u16 = 3;

/// Lines that the whole map takes.
pub fn lines(map: &BlockImportance) -> u16 {
    (map.ops.len() as u16).saturating_add(AROUND)
}

/// Cells of the screen that a block takes, and cells of the names of operations before them.
fn shape(map: &BlockImportance, width: u16) -> (u16, u16) {
    let names = map.ops.iter().map(|op| text::width(op)).chain([7]).max().unwrap_or(0).min(12) as u16 + 1;
    let names = if width >= 3 * names { names } else { 0 };
    let room = usize::from(width - names) / map.blocks.len().max(1);
    (room.clamp(2, 8) as u16, names)
}

pub fn draw(buf: &mut Buffer, area: Rect, map: &BlockImportance, pane: &Pane, look: &Look) {
    let e = look.glyphs.ellipsis;
    let (cell, names) = shape(map, area.width);
    let selected = pane.list.selected.min(map.blocks.len().saturating_sub(1));
    let across = usize::from((area.width - names) / cell).max(1);
    let first = (selected + 1).saturating_sub(across);
    let shown = first..(first + across).min(map.blocks.len());
    // Where not all operations fit, those around the most probable one of the block looked at are in view.
    let poor = area.height <= AROUND;
    let (head, room) = if poor { (0, area.height) } else { (2, area.height - AROUND) };
    let best = map.blocks.get(selected).and_then(|b| {
        let known = b.weights.iter().enumerate().filter_map(|(i, w)| Some((i, w.filter(|w| w.is_finite())?)));
        known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|b| b.0)
    });
    let top = (best.unwrap_or(0) + 1).saturating_sub(usize::from(room).max(1));
    let column = |i: usize| area.x + names + (i - first) as u16 * cell;
    if !poor {
        let mut free = area.x;
        for i in shown.clone() {
            let block = &map.blocks[i];
            let x = column(i);
            if starts_stage(map, i) && x >= free {
                let (stage, place) = parts(&block.name);
                let name = if stage.is_empty() { place } else { stage };
                let stage_end =
                    shown.clone().skip_while(|j| *j <= i).find(|j| starts_stage(map, *j)).map_or(area.right(), column);
                let width = stage_end.saturating_sub(x + 1).max(1);
                let place = Rect { x, width, height: 1, y: area.y };
                free = x + paint::line(
                    buf,
                    place,
                    look,
                    &[(Role::Faint, text::clip(name, usize::from(width), e).as_ref())],
                );
            }
            let signs = [
                (Role::Accent, if block.vital { look.glyphs.vital } else { " " }),
                (Role::Good, if block.locked { look.glyphs.locked } else { " " }),
            ];
            paint::line(buf, Rect { x, width: cell.min(2), height: 1, y: area.y + 1 }, look, &signs);
            if i == selected {
                let place = Rect { x, width: cell, height: 1, y: area.y + 1 };
                buf.set_style(
                    place.intersection(area).intersection(buf.area),
                    paint::reversed(ratatui::style::Style::default()),
                );
            }
        }
    }
    for (line, (op, name)) in map.ops.iter().enumerate().skip(top).take(usize::from(room)).enumerate() {
        let row = rows(area, head + line as u16, 1);
        if names > 0 {
            let chosen = map.blocks.get(selected).is_some_and(|b| b.chosen.as_deref() == Some(name));
            let role = if chosen { Role::Key } else { Role::Faint };
            let label = text::right(name, usize::from(names - 1), e);
            paint::line(buf, Rect { width: names, ..row }, look, &[(role, &label)]);
        }
        for i in shown.clone() {
            let block = &map.blocks[i];
            let place = Rect { x: column(i), width: cell - 1, ..row }.intersection(area);
            let weight = block.weights.get(op).copied().flatten().filter(|w| w.is_finite());
            matrix::whole(buf, place, weight.map(|w| w.clamp(0.0, 1.0)), false, look);
            let chosen = block.chosen.as_deref() == Some(name);
            let told = weight.filter(|_| place.width >= FIGURE);
            if let Some(weight) = told {
                figure(buf, place, weight, look);
            }
            // Beside its figure, where there is one, else in the middle.
            let middle = if told.is_some() { (place.width - FIGURE) / 2 + FIGURE } else { place.width / 2 };
            let spot = place.x + middle;
            if chosen
                && !place.is_empty()
                && let Some(spot) = buf.cell_mut((spot, place.y)).filter(|_| spot < area.right())
            {
                let style = look.style(Role::Title);
                spot.set_symbol(look.glyphs.points[0]).set_fg(style.fg.unwrap_or_default()).modifier |=
                    style.add_modifier;
            }
        }
    }
    if !poor {
        bits(buf, rows(area, area.height - 1, 1), map, shown, (cell, names, first), look);
    }
}

/// Cells of a weight in figures: `.27`.
const FIGURE: u16 = 3;

/// A weight in figures on its shade. The shade's other end is what can be read on it.
fn figure(buf: &mut Buffer, place: Rect, weight: f64, look: &Look) {
    let digits = format!("{:.2}", weight.clamp(0.0, 1.0));
    let words = if weight >= 0.995 { "1.0" } else { digits.trim_start_matches('0') };
    let shade = look.theme.heat(if weight > 0.5 { 0.0 } else { 1.0 });
    let place = Rect { x: place.x + (place.width - FIGURE) / 2, width: FIGURE, ..place };
    for (position, sign) in place.positions().zip(words.chars()) {
        if let Some(cell) = buf.cell_mut(position) {
            cell.set_char(sign).set_fg(shade.unwrap_or_else(|| look.style(Role::Text).fg.unwrap_or_default()));
        }
    }
}

/// The line of entropies: a number where it fits, else a height.
fn bits(
    buf: &mut Buffer,
    area: Rect,
    map: &BlockImportance,
    shown: std::ops::Range<usize>,
    (cell, names, first): (u16, u16, usize),
    look: &Look,
) {
    if names > 0 {
        let label = text::right("entropy", usize::from(names - 1), look.glyphs.ellipsis);
        paint::line(buf, Rect { width: names, ..area }, look, &[(Role::Faint, &label)]);
    }
    for i in shown {
        let x = area.x + names + (i - first) as u16 * cell;
        let place = Rect { x, width: cell - 1, ..area }.intersection(area);
        let words = match entropy(&map.blocks[i].weights) {
            Some((bits, _)) if cell >= 4 => format!("{bits:.1}"),
            Some((bits, most)) => {
                let level = if most > 0.0 { (bits / most * 8.0).round().clamp(0.0, 8.0) as usize } else { 0 };
                look.glyphs.heights[level].into()
            }
            None => look.glyphs.none.into(),
        };
        paint::line(buf, place, look, &[(Role::Dim, &words)]);
    }
}
