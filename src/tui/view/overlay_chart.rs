//! Curves of several runs over one another, in one chart.

use kiln_protocol::compare::{Comparison, letter};
use kiln_protocol::figures::with_unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Raster};
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::compare::Compare;
use crate::model::curves::SMOOTHING;
use crate::model::overlay::Overlay;
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

/// A curve.
pub struct Line<'a> {
    pub role: Role,
    /// What stands at its end, for where colours are not seen.
    pub letter: &'a str,
    pub points: &'a [[f64; 2]],
    /// `[x, low, high]` around it; may be empty.
    pub band: &'a [[f64; 3]],
    /// Drawn over the others.
    pub strong: bool,
}

/// Owners of bands in a raster begin here; those of lines lie below.
const BAND: u8 = 64;

/// Axes, bands, lines, and the letters at their ends. The first line covers the others, but for a strong one.
pub fn chart(buf: &mut Buffer, plot: &Plot, lines: &[Line<'_>], unit: &str, look: &Look) {
    let inner = plot.inner.intersection(buf.area);
    if inner.is_empty() {
        return;
    }
    plot.axes_in(buf, unit, look);
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    let mut roles: Vec<Role> = Vec::new();
    let mut owner = |role: Role| {
        let at = roles.iter().position(|r| *r == role).unwrap_or(roles.len());
        if at == roles.len() {
            roles.push(role);
        }
        1 + (at % 60) as u8
    };
    let order = || lines.iter().rev().filter(|l| !l.strong).chain(lines.iter().filter(|l| l.strong));
    for line in order() {
        plot.band(&mut raster, line.band, BAND + owner(line.role));
    }
    for line in order() {
        plot.trace(&mut raster, line.points, owner(line.role));
    }
    raster.paint(buf, inner, |owner| {
        let role = |owner: u8| roles.get(usize::from(owner - 1)).copied().unwrap_or(Role::Text);
        if owner > BAND { look.faded(role(owner - BAND)) } else { look.style(role(owner)) }
    });
    for line in order() {
        let last = line.points.iter().rev().filter(|p| p[1].is_finite()).find_map(|p| plot.cell(*p));
        let Some((x, y)) = last else { continue };
        // Behind the end where there is room, so that the end itself is seen.
        let wide = text::width(line.letter) as u16;
        let x = if x + wide < inner.right() { x + 1 } else { x.saturating_sub(wide.saturating_sub(1)) };
        buf.set_string(x, y, line.letter, look.style(line.role));
    }
}

/// The page of curves.
pub fn draw(buf: &mut Buffer, m: &Model, compare: &Compare, data: &Comparison, look: &Look) {
    let areas = layout::compare_curves(m.size, data.groups.len());
    let overlay = &compare.overlay;
    let Some(name) = overlay.name() else {
        let middle = rows(areas.chart, areas.chart.height / 2, 1);
        return paint::line_centre(buf, middle, look, &[(Role::Dim, "These runs have no series yet.")]);
    };
    caption(buf, areas.caption, overlay, name, look);
    let letters: Vec<String> = (0..data.groups.len()).map(letter).collect();
    let lines: Vec<Line<'_>> = overlay
        .drawn
        .iter()
        .map(|d| Line {
            role: series(d.group),
            letter: letters.get(d.group).map_or("", String::as_str),
            points: &d.points,
            band: &d.band,
            strong: d.group == overlay.list.selected,
        })
        .collect();
    let plot = Plot::new(areas.chart, overlay.window(), overlay.y.scale());
    chart(buf, &plot, &lines, &overlay.unit, look);
    if let Some(x) = overlay.cursor {
        cursor(buf, &plot, x, look);
    }
    if lines.is_empty() {
        let middle = rows(areas.chart, areas.chart.height / 2, 1);
        let words = match overlay.unplaced {
            0 if !overlay.hidden.is_empty() => "All groups that have this series are hidden.",
            0 => "Waiting for points.",
            _ => "None of these series has a planned end to be a share of.",
        };
        paint::line_centre(buf, middle, look, &[(Role::Dim, words)]);
    }
    legend(buf, areas.legend, compare, data, look);
}

fn caption(buf: &mut Buffer, area: Rect, overlay: &Overlay, name: &str, look: &Look) {
    let mut parts = vec![(Role::Title, name.to_owned()), (Role::Dim, format!("  {}", overlay.by.in_words()))];
    if overlay.series.len() > 1 {
        parts.push((Role::Faint, format!("  {} of {} series", overlay.chosen + 1, overlay.series.len())));
    }
    let used = paint::words(buf, area, look, &parts);
    let mut flags = Vec::new();
    if let Some(x) = overlay.cursor {
        flags.push(format!("at {}", with_unit(&text::number(x), &overlay.unit)));
    }
    if overlay.smooth > 0 {
        flags.push(format!("smoothed {} %", SMOOTHING[overlay.smooth] * 100.0));
    }
    if overlay.log {
        flags.push("log".into());
    }
    if overlay.zoom.is_some() {
        flags.push("zoomed".into());
    }
    let (all, drawn) = overlay.counts();
    if drawn < all {
        flags.push(format!("the first {drawn} of {all} runs"));
    }
    if overlay.unplaced > 0 {
        flags.push(format!("{} without a plan", overlay.unplaced));
    }
    let room = Rect { x: area.x + used + 2, width: area.width.saturating_sub(used + 2), ..area };
    paint::line_right(buf, room, look, &[(Role::Faint, &flags.join(&format!(" {} ", look.glyphs.separator)))]);
}

fn cursor(buf: &mut Buffer, plot: &Plot, x: f64, look: &Look) {
    let Some((column, _)) = plot.cell([x, plot.y.lo]) else { return };
    for row in plot.inner.top()..plot.inner.bottom() {
        let cell = &mut buf[(column, row)];
        if cell.symbol() == " " || cell.symbol() == look.glyphs.grid {
            cell.set_symbol(look.glyphs.cursor).set_style(look.style(Role::Faint));
        }
    }
}

/// The groups: letter, colour, name, and the value at the cursor or the newest one.
fn legend(buf: &mut Buffer, area: Rect, compare: &Compare, data: &Comparison, look: &Look) {
    let overlay = &compare.overlay;
    let shown = data.groups.iter().enumerate().skip(overlay.list.offset).take(usize::from(area.height));
    for (i, group) in shown {
        let row = rows(area, (i - overlay.list.offset) as u16, 1);
        if i == overlay.list.selected {
            paint::select(buf, row, look);
        }
        let hidden = overlay.hidden.contains(&i);
        let (sign, role) = match hidden {
            true => (look.glyphs.off, Role::Faint),
            false => (look.glyphs.line, series(i)),
        };
        let value = overlay.read(i, row.width).map(|(value, apart)| {
            let apart = apart.map_or(String::new(), |d| format!(" {} {}", look.glyphs.plus_minus, text::number(d)));
            text::number(value) + &apart
        });
        let value = value.filter(|_| !hidden).unwrap_or_else(|| look.glyphs.none.to_owned());
        let seeds = if group.runs.len() > 1 { format!("  {} runs", group.runs.len()) } else { String::new() };
        let room = usize::from(row.width).saturating_sub(text::width(&value) + 2);
        let fixed = 5 + text::width(&seeds);
        let name =
            text::middle(&group.name, room.saturating_sub(fixed).min(text::width(&group.name)), look.glyphs.ellipsis);
        let parts = [
            (role, format!("{} {sign} ", text::left(&letter(i), 2, ""))),
            (if hidden { Role::Faint } else { Role::Text }, name),
            (Role::Faint, seeds),
        ];
        paint::words(buf, Rect { width: room as u16, ..row }, look, &parts);
        paint::line_right(buf, row, look, &[(Role::Text, &value)]);
    }
    paint::scrollbar_beside(buf, area, look, overlay.list.offset, data.groups.len());
}
