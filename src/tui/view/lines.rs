//! Curves with error bars, such as a figure of merit against the number of labels.

use kiln_protocol::view::Lines;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Raster, Scale, Window};
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::figure::{Pane, abscissas};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

/// Cells between two neighbouring x from which on deviations are bars; closer ones are drawn as bands.
const BARS: f64 = 2.5;

pub fn draw(buf: &mut Buffer, m: &Model, view: &Lines, pane: &Pane, look: &Look) {
    let areas = layout::lines(m.size);
    let used = paint::line(buf, areas.caption, look, &[(Role::Title, &view.title)]);
    let room =
        Rect { x: areas.caption.x + used + 1, width: areas.caption.width.saturating_sub(used + 1), ..areas.caption };
    let [across, up] = look.glyphs.axes;
    let words =
        format!("{across} {}{}   {up} {}", view.x_label, if pane.x.scale().log { " (log)" } else { "" }, view.y_label);
    paint::line_right(buf, room, look, &[(Role::Faint, &words)]);
    if view.lines.iter().all(|l| l.points.is_empty()) {
        let row = rows(areas.picture, areas.picture.height / 2, 1);
        return paint::line_centre(buf, row, look, &[(Role::Dim, "No points yet: they appear as they are measured.")]);
    }
    let (x, y) = pane.scales();
    // Room at both ends for curves that stand aside of their x: see `curves`.
    let aside = (view.lines.len() as f64 / 2.0 + 1.0) / f64::from(areas.picture.width.max(1));
    let aside = aside.min(0.15);
    let x = Scale { lo: x.at(-aside), hi: x.at(1.0 + aside), ..x };
    let plot = Plot { x, ..Plot::new(areas.picture, Window { from: x.lo, to: x.hi }, y) };
    let xs = abscissas(view);
    if xs.len() <= usize::from(plot.inner.width / 6) {
        // Few enough to be named themselves.
        let ticks: Vec<(f64, String)> = xs.into_iter().map(|x| (x, text::number(x))).collect();
        plot.axes_at(buf, "", &ticks, look);
    } else {
        plot.axes(buf, look);
    }
    curves(buf, &plot, view, look);
    cursor(buf, &plot, view, pane, look);
    legend(buf, areas.legend, view, pane, look);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    label(buf, areas.label, view, pane, areas.legend.is_empty(), look);
}

/// Least distance of two neighbouring x on the screen, in cells.
fn spacing(plot: &Plot, xs: &[f64]) -> f64 {
    let places: Vec<f64> = xs.iter().filter_map(|x| plot.x.place(*x)).collect();
    let least = places.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    least * f64::from(plot.inner.width)
}

/// Lines, then deviations, then marks; the first line is drawn last and covers the others.
fn curves(buf: &mut Buffer, plot: &Plot, view: &Lines, look: &Look) {
    let inner = plot.inner.intersection(buf.area);
    if inner.is_empty() {
        return;
    }
    let n = view.lines.len();
    let spacing = spacing(plot, &abscissas(view));
    // Where there is room, the lines stand a cell apart from each other at the same x, so that their bars do not coincide.
    let aside = if spacing > n as f64 + 1.0 { 1.0 } else { 0.0 };
    let shift = |i: usize| ((i as f64 - (n as f64 - 1.0) / 2.0) * aside).round();
    let dots_across = {
        let raster = Raster::new(1, 1, look.glyphs.braille);
        raster.size().0
    };
    let owner = |i: usize, front: bool| ((i % 8) as u8) * 2 + 2 + u8::from(front);
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    let place = |raster: &Raster, i: usize, point: [f64; 2]| {
        plot.dot(raster, point).map(|(x, y)| (x + shift(i) * dots_across, y))
    };
    for (i, line) in view.lines.iter().enumerate().rev() {
        if spacing < BARS {
            let band: Vec<[f64; 3]> = line.points.iter().map(|[x, y, d]| [*x, y - d, y + d]).collect();
            plot.band(&mut raster, &band, owner(i, false));
        }
    }
    for (i, line) in view.lines.iter().enumerate().rev() {
        for pair in line.points.windows(2) {
            let ends = pair.iter().map(|p| place(&raster, i, [p[0], p[1]])).collect::<Option<Vec<_>>>();
            if let Some([a, b]) = ends.as_deref() {
                raster.line(*a, *b, owner(i, true));
            }
        }
    }
    raster.paint(buf, inner, |owner| {
        let role = series(usize::from((owner - 2) / 2));
        if owner % 2 == 1 { look.style(role) } else { look.faded(role) }
    });
    for (i, line) in view.lines.iter().enumerate().rev() {
        let style = look.style(series(i));
        for [x, y, deviation] in &line.points {
            let Some((column, row)) = plot.cell([*x, *y]) else { continue };
            let column = f64::from(column) + shift(i);
            if column < f64::from(inner.left()) || column >= f64::from(inner.right()) {
                continue;
            }
            let column = column as u16;
            if spacing >= BARS && *deviation > 0.0 {
                let reach = |v: f64| plot.y.place(v).map(|t| ((1.0 - t) * f64::from(inner.height - 1)).round() as i64);
                let (Some(top), Some(bottom)) = (reach(y + deviation), reach(y - deviation)) else { continue };
                let last = i64::from(inner.height) - 1;
                for r in top.max(0)..=bottom.min(last) {
                    if let Some(cell) = buf.cell_mut((column, inner.y + r as u16)) {
                        cell.set_symbol(look.glyphs.bar_upright).set_style(style);
                    }
                }
            }
            if let Some(cell) = buf.cell_mut((column, row)) {
                cell.set_symbol(sign(i, look)).set_style(style);
            }
        }
    }
}

fn sign(i: usize, look: &Look) -> &'static str {
    look.glyphs.points[i % look.glyphs.points.len()]
}

fn cursor(buf: &mut Buffer, plot: &Plot, view: &Lines, pane: &Pane, look: &Look) {
    let Some((column, _)) = pane.at(view).and_then(|x| plot.cell([x, plot.y.lo])) else { return };
    for row in plot.inner.top()..plot.inner.bottom() {
        let cell = &mut buf[(column, row)];
        if cell.symbol() == " " || cell.symbol() == look.glyphs.grid {
            cell.set_symbol(look.glyphs.cursor).set_style(look.style(Role::Key));
        }
    }
}

/// Mean and deviation, with the digits that the deviation leaves meaning to.
fn figure(mean: f64, deviation: f64, look: &Look) -> String {
    if deviation > 0.0 {
        format!("{} {} {}", text::number(mean), look.glyphs.plus_minus, text::number(deviation))
    } else {
        text::number(mean)
    }
}

/// The point of each line at the cursor; without a cursor, its last one.
fn readings(view: &Lines, pane: &Pane) -> Vec<Option<[f64; 3]>> {
    let at = pane.at(view);
    let read = |points: &[[f64; 3]]| match at {
        Some(x) => points.iter().find(|p| p[0] == x).copied(),
        None => points.last().copied(),
    };
    view.lines.iter().map(|line| read(&line.points)).collect()
}

fn legend(buf: &mut Buffer, area: Rect, view: &Lines, pane: &Pane, look: &Look) {
    if area.is_empty() {
        return;
    }
    let head = match pane.at(view) {
        Some(x) => format!("at {} {}", text::number(x), view.x_label),
        None => "at the last point".into(),
    };
    paint::line(buf, rows(area, 0, 1), look, &[(Role::Faint, &head)]);
    let room = usize::from(area.height.saturating_sub(1));
    for (i, (line, point)) in view.lines.iter().zip(readings(view, pane)).take(room).enumerate() {
        let row = rows(area, i as u16 + 1, 1);
        let value = point.map_or(look.glyphs.none.to_owned(), |p| figure(p[1], p[2], look));
        let left = Rect { width: row.width.saturating_sub(text::width(&value) as u16 + 1), ..row };
        paint::line(buf, left, look, &[(series(i), sign(i, look)), (Role::Text, " "), (Role::Text, &line.name)]);
        paint::line_right(buf, row, look, &[(Role::Text, &value)]);
    }
}

/// Under the picture: where the cursor is; without a legend also what is there.
fn label(buf: &mut Buffer, area: Rect, view: &Lines, pane: &Pane, all: bool, look: &Look) {
    let mut parts: Vec<(Role, String)> = Vec::new();
    if let Some(x) = pane.at(view) {
        parts.push((Role::Key, format!("{} {}   ", text::number(x), view.x_label)));
    }
    if all {
        for (i, (line, point)) in view.lines.iter().zip(readings(view, pane)).enumerate() {
            let value = point.map_or(look.glyphs.none.to_owned(), |p| figure(p[1], p[2], look));
            parts.extend([(series(i), format!("{} ", sign(i, look))), (Role::Dim, format!("{} ", line.name))]);
            parts.push((Role::Text, format!("{value}   ")));
        }
    }
    paint::words(buf, area, look, &parts);
}
