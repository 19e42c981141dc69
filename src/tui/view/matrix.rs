//! Heat maps.

use kiln_protocol::view::Matrix;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::colour::Depth;
use crate::layout::{self, MatrixAreas, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::figure::{Pane, extent, label_width};
use crate::text;
use crate::theme::Role;
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, matrix: &Matrix, pane: &Pane, look: &Look) {
    let (all_rows, all_columns) = extent(matrix);
    let areas = layout::matrix(m.size, all_rows, all_columns, label_width(matrix), look.glyphs.braille);
    if all_rows == 0 || all_columns == 0 {
        let row = rows(areas.cells, areas.cells.height / 2, 1);
        paint::line_centre(buf, row, look, &[(Role::Dim, "Nothing measured yet.")]);
        return;
    }
    let finite = || matrix.values.iter().flatten().flatten().copied().filter(|v| v.is_finite());
    let (lo, hi) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let place = |v: Option<f64>| v.filter(|v| v.is_finite()).map(|v| if hi > lo { (v - lo) / (hi - lo) } else { 0.5 });
    caption(buf, areas.caption, matrix, lo, hi, look);
    heading(buf, &areas, matrix, pane, look);
    let value = |row: usize, column: usize| matrix.values.get(row).and_then(|r| r.get(column)).copied().flatten();
    let columns =
        (usize::from(areas.cells.width) / usize::from(areas.cell)).min(all_columns - pane.corner.1.min(all_columns));
    let mut row = pane.corner.0;
    let mut y = 0;
    while row < all_rows && y < areas.cells.height {
        let line = rows(areas.cells, y, 1);
        if areas.per_row == 1 && matrix.breaks.contains(&row) && row > pane.corner.0 {
            let rule = look.glyphs.rule.repeat(columns * usize::from(areas.cell));
            paint::line(buf, line, look, &[(Role::Faint, &rule)]);
            y += 1;
            if y == areas.cells.height {
                break;
            }
        }
        let line = rows(areas.cells, y, 1);
        if let Some(label) = matrix.row_labels.get(row) {
            let at = rows(areas.labels, y, 1);
            let width = usize::from(at.width).saturating_sub(1);
            let role = if row == pane.cell.0 { Role::Key } else { Role::Faint };
            paint::line(buf, at, look, &[(role, &text::right(label, width, look.glyphs.ellipsis))]);
        }
        for shown in 0..columns {
            let column = pane.corner.1 + shown;
            let under_cursor = |r: usize| pane.cell == (r, column);
            let here = Rect { x: line.x + (shown as u16) * areas.cell, width: areas.cell, ..line };
            if areas.per_row == 2 {
                let lower = (row + 1 < all_rows).then(|| place(value(row + 1, column))).flatten();
                let cursor = under_cursor(row) || under_cursor(row + 1);
                halves(buf, here, place(value(row, column)), lower, cursor, look);
            } else {
                whole(buf, here, place(value(row, column)), under_cursor(row), look);
            }
        }
        row += usize::from(areas.per_row);
        y += 1;
    }
    label(buf, areas.label, matrix, pane, value(pane.cell.0, pane.cell.1), look);
}

/// Title and the scale of the colours.
fn caption(buf: &mut Buffer, area: Rect, matrix: &Matrix, lo: f64, hi: f64, look: &Look) {
    let used = paint::line(buf, area, look, &[(Role::Title, &matrix.title)]);
    if lo > hi || area.width < used + 34 {
        return;
    }
    let (lo, hi) = (text::number(lo), text::number(hi));
    const STEPS: u16 = 12;
    let width = STEPS + 2 + (text::width(&lo) + text::width(&hi)) as u16;
    let at = Rect { x: area.right() - width, width, ..area };
    let used = paint::line(buf, at, look, &[(Role::Faint, &lo), (Role::Text, " ")]);
    for i in 0..STEPS {
        let cell = Rect { x: at.x + used + i, width: 1, ..at };
        whole(buf, cell, Some(f64::from(i) / f64::from(STEPS - 1)), false, look);
    }
    let rest = Rect { x: at.x + used + STEPS, width: width - used - STEPS, ..at };
    paint::line(buf, rest, look, &[(Role::Text, " "), (Role::Faint, &hi)]);
}

/// Column labels where they fit: each over its cell, else every so many.
fn heading(buf: &mut Buffer, areas: &MatrixAreas, matrix: &Matrix, pane: &Pane, look: &Look) {
    let mut free = 0;
    for (shown, label) in matrix.column_labels.iter().skip(pane.corner.1).enumerate() {
        let at = shown as u16 * areas.cell;
        if at >= areas.heading.width {
            break;
        }
        let width = text::width(label) as u16;
        if at >= free && at + width <= areas.heading.width {
            let place = Rect { x: areas.heading.x + at, width, ..areas.heading };
            let role = if pane.corner.1 + shown == pane.cell.1 { Role::Key } else { Role::Faint };
            paint::line(buf, place, look, &[(role, label)]);
            free = at + width + 1;
        }
    }
}

pub fn whole(buf: &mut Buffer, area: Rect, place: Option<f64>, cursor: bool, look: &Look) {
    let Some(t) = place else {
        let dots = look.glyphs.separator.repeat(usize::from(area.width.min(1)));
        paint::line(buf, area, look, &[(if cursor { Role::Key } else { Role::Grid }, &dots)]);
        return;
    };
    match look.theme.heat(t) {
        Some(colour) => {
            let mark = if cursor { look.glyphs.marker } else { " " };
            buf.set_style(area.intersection(buf.area), Style::default().bg(colour));
            if let Some(cell) = buf.cell_mut((area.x, area.y)) {
                cell.set_symbol(mark);
            }
        }
        None => {
            let shade = look.glyphs.shades[((t * 4.0).round() as usize).min(4)];
            let role = if cursor { Role::Key } else { Role::Text };
            paint::line(buf, area, look, &[(role, &shade.repeat(usize::from(area.width)))]);
            if cursor {
                let style = paint::reversed(look.style(Role::Text));
                buf.set_style(area.intersection(buf.area), style);
            }
        }
    }
}

/// Two matrix rows in one line of the screen.
pub fn halves(buf: &mut Buffer, area: Rect, upper: Option<f64>, lower: Option<f64>, cursor: bool, look: &Look) {
    if look.theme.depth < Depth::Ansi256 {
        // Shades cannot be halved: the mean of both is shown.
        let mean = upper.zip(lower).map(|(a, b)| (a + b) / 2.0).or(upper).or(lower);
        return whole(buf, area, mean, cursor, look);
    }
    for position in area.intersection(buf.area).positions() {
        let cell = &mut buf[position];
        match (upper.and_then(|t| look.theme.heat(t)), lower.and_then(|t| look.theme.heat(t))) {
            (Some(a), Some(b)) => cell.set_symbol("▀").set_fg(a).set_bg(b),
            (Some(a), None) => cell.set_symbol("▀").set_fg(a),
            (None, Some(b)) => cell.set_symbol("▄").set_fg(b),
            (None, None) => cell,
        };
        if cursor && position.x == area.x {
            cell.set_symbol(look.glyphs.points[3]).set_style(look.style(Role::Key));
        }
    }
}

/// The cell under the cursor, in words.
fn label(buf: &mut Buffer, area: Rect, matrix: &Matrix, pane: &Pane, value: Option<f64>, look: &Look) {
    let name = |labels: &[String], i: usize| labels.get(i).cloned().unwrap_or_else(|| (i + 1).to_string());
    let what = format!(
        "{} {} {}  ",
        name(&matrix.row_labels, pane.cell.0),
        look.glyphs.separator,
        name(&matrix.column_labels, pane.cell.1)
    );
    let value = value.map_or(look.glyphs.none.to_owned(), text::number);
    paint::line(buf, area, look, &[(Role::Dim, &what), (Role::Title, &value)]);
}
