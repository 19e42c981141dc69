//! Histograms: bars of one group, outlines of several; marked places and a cursor.

use kiln_protocol::view::{Histograms, Panel};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Raster};
use crate::colour::Depth;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::figure::Pane;
use crate::model::panels::{Bins, groups, marks, plot};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

/// Columns from one sign to the next on outlines without colour.
const EVERY: u16 = 5;

/// `cursor`: whether one histogram is looked at.
pub fn draw(buf: &mut Buffer, content: Rect, view: &Histograms, pane: &Pane, cursor: bool, look: &Look) {
    let areas = layout::figure(content);
    let names = groups(view);
    let focus = pane.list.selected.min(view.panels.len().saturating_sub(1));
    let shown = layout::histograms(areas.body, view.panels.len(), focus, pane.alone);
    caption(buf, areas.caption, view, &names, &shown, look);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    if view.panels.is_empty() {
        let row = rows(areas.body, areas.body.height / 2, 1);
        let words = "Nothing counted yet: histograms appear as values are.";
        return paint::line_centre(buf, row, look, &[(Role::Dim, words)]);
    }
    let single = shown.len() == 1;
    for (i, area) in &shown {
        let looked_at = cursor && *i == focus;
        let seen = Seen { looked_at, single, cursor: pane.x_cursor.filter(|_| looked_at) };
        panel(buf, *area, &view.panels[*i], &names, seen, look);
    }
    if !cursor {
        return;
    }
    label(buf, areas.label, &view.panels[focus], &names, pane.x_cursor, look);
}

/// Title; which panels of how many; groups and what x is.
fn caption(buf: &mut Buffer, area: Rect, view: &Histograms, names: &[&str], shown: &[(usize, Rect)], look: &Look) {
    let used = paint::line(buf, area, look, &[(Role::Title, &view.title)]);
    let room = Rect { x: area.x + used + 1, width: area.width.saturating_sub(used + 1), ..area };
    let mut parts: Vec<(Role, String)> = Vec::new();
    if let (Some(first), Some(last)) = (shown.first(), shown.last())
        && shown.len() < view.panels.len()
    {
        let which =
            if first.0 == last.0 { format!("{}", last.0 + 1) } else { format!("{} to {}", first.0 + 1, last.0 + 1) };
        parts.push((Role::Faint, format!("{which} of {}   ", view.panels.len())));
    }
    if names.len() > 1 {
        for (g, name) in names.iter().enumerate() {
            parts.extend([(series(g), format!("{} ", sign(g, look))), (Role::Dim, format!("{name}   "))]);
        }
    }
    if !view.x_label.is_empty() {
        parts.push((Role::Faint, format!("{} {}", look.glyphs.axes[0], view.x_label)));
    }
    paint::words_right(buf, room, look, &parts);
}

fn sign(group: usize, look: &Look) -> &'static str {
    look.glyphs.points[group % look.glyphs.points.len()]
}

/// Place of a group among all groups of the view.
fn place_of(names: &[&str], name: &str) -> usize {
    names.iter().position(|n| *n == name).unwrap_or(0)
}

/// How a panel is looked at.
#[derive(Clone, Copy)]
struct Seen {
    looked_at: bool,
    /// No other one is in view.
    single: bool,
    cursor: Option<f64>,
}

fn panel(buf: &mut Buffer, area: Rect, panel: &Panel, names: &[&str], seen: Seen, look: &Look) {
    let role = if seen.looked_at && !seen.single { Role::Key } else { Role::Title };
    let bins = Bins::of(panel);
    let marks = marks(panel, bins.as_ref().ok().and_then(Option::as_ref));
    let areas = layout::histogram(area, !marks.is_empty());
    let bins = match bins {
        Ok(Some(bins)) => bins,
        other => {
            let why = match other {
                Err(why) => (Role::Bad, why),
                _ => (Role::Dim, "Nothing counted yet."),
            };
            paint::line(buf, areas.name, look, &[(role, &panel.name)]);
            let row = rows(areas.chart, areas.chart.height / 2, 1);
            return paint::line_centre(buf, row, look, &[why]);
        }
    };
    let top = bins.top();
    let most = if top > 0.0 { format!("to {}", text::number(top)) } else { "all empty".into() };
    let taken = text::width(&most) as u16 + 1;
    let heading = Rect { width: areas.name.width.saturating_sub(taken), ..areas.name };
    paint::line(buf, heading, look, &[(role, &panel.name)]);
    paint::line_right(buf, areas.name, look, &[(Role::Faint, &most)]);
    let plot = plot(panel, &bins, area.intersection(buf.area), seen.single);
    let inner = plot.inner;
    // Labels closer than on wide charts, since these are narrow; those that meet are left out.
    plot.axes_at(buf, "", &plot.x.ticks(usize::from(inner.width / 8).clamp(2, 10)), look);
    if inner.is_empty() {
        return;
    }
    match panel.groups.as_slice() {
        [one] => bars(buf, &plot, &bins, place_of(names, &one.name), look),
        several => {
            let owners: Vec<usize> = several.iter().map(|g| place_of(names, &g.name)).collect();
            outlines(buf, &plot, &bins, &owners, look);
        }
    }
    let mut free = areas.marks.x;
    for (name, at) in &marks {
        upright(buf, &plot, *at, look.glyphs.mark, Role::Warn, true, look);
        free = mark_name(buf, &plot, areas.marks, free, name, *at, look);
    }
    if let Some(x) = seen.cursor {
        upright(buf, &plot, bins.centre(bins.at(x)), look.glyphs.cursor, Role::Key, false, look);
    }
}

/// A line from top to bottom; over everything, or where nothing is.
fn upright(buf: &mut Buffer, plot: &Plot, at: f64, sign: &str, role: Role, over: bool, look: &Look) {
    let Some((column, _)) = plot.cell([at, 0.0]) else { return };
    for row in plot.inner.top()..plot.inner.bottom() {
        let cell = &mut buf[(column, row)];
        if over || cell.symbol() == " " || cell.symbol() == look.glyphs.grid {
            cell.set_symbol(sign).set_style(look.style(role));
        } else {
            cell.set_style(look.style(role));
        }
    }
}

/// The name of a marked place above its line, right of what stands there already. Returns where the next one may begin.
fn mark_name(buf: &mut Buffer, plot: &Plot, line: Rect, free: u16, name: &str, at: f64, look: &Look) -> u16 {
    let Some((column, _)) = plot.cell([at, 0.0]).filter(|_| !line.is_empty()) else { return free };
    let words = format!("{} {name}", look.glyphs.descending);
    let width = text::width(&words) as u16;
    // The sign stands on the line; at the right edge, the name goes before it.
    let (x, words) = if column + width <= line.right() {
        (column, words)
    } else {
        let words = format!("{name} {}", look.glyphs.descending);
        ((column + 1).saturating_sub(width), words)
    };
    if x < free.max(line.x) {
        return free;
    }
    paint::line(buf, Rect { x, width: line.right() - x, ..line }, look, &[(Role::Warn, &words)]);
    x + width + 1
}

/// Bars of eighths of cells.
fn bars(buf: &mut Buffer, plot: &Plot, bins: &Bins, colour: usize, look: &Look) {
    let inner = plot.inner;
    let step = (plot.x.hi - plot.x.lo) / f64::from(inner.width);
    let style = look.style(series(colour));
    for column in 0..inner.width {
        let lo = plot.x.lo + f64::from(column) * step;
        let middle = lo + step / 2.0;
        if middle < bins.edges[0] || middle > bins.edges[bins.count()] {
            continue;
        }
        let value = bins.column(0, lo, lo + step);
        let share = plot.y.place(value).unwrap_or(0.0).clamp(0.0, 1.0);
        let eighths = (share * 8.0 * f64::from(inner.height)).round() as usize;
        // What is there at all is seen.
        let eighths = if value > 0.0 { eighths.max(1) } else { 0 };
        for line in 0..inner.height {
            let here = eighths.saturating_sub(8 * usize::from(line)).min(8);
            if here > 0 {
                let cell = &mut buf[(inner.x + column, inner.bottom() - 1 - line)];
                cell.set_symbol(look.glyphs.heights[here]).set_style(style);
            }
        }
    }
}

/// A line along the tops of the bins of each group, with the group's sign on its highest bin; without colour, on every few
/// columns, for then they alone tell the groups apart.
fn outlines(buf: &mut Buffer, plot: &Plot, bins: &Bins, owners: &[usize], look: &Look) {
    let inner = plot.inner;
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    // The first group is drawn last and covers the others.
    for (group, owner) in owners.iter().enumerate().rev() {
        let mut corners = vec![[bins.edges[0], 0.0]];
        for (bin, count) in bins.counts[group].iter().enumerate() {
            corners.extend([[bins.edges[bin], *count], [bins.edges[bin + 1], *count]]);
        }
        corners.push([bins.edges[bins.count()], 0.0]);
        // Empty bins are left to the axis.
        for pair in corners.windows(2).filter(|pair| pair[0][1].max(pair[1][1]) > 0.0) {
            plot.segment(&mut raster, pair[0], pair[1], (*owner % 8) as u8 + 1);
        }
    }
    raster.paint(buf, inner, |owner| look.style(series(usize::from(owner - 1))));
    let step = (plot.x.hi - plot.x.lo) / f64::from(inner.width);
    for (group, owner) in owners.iter().enumerate().rev() {
        let counts = &bins.counts[group];
        let mut put = |x: f64, count: f64| {
            if let Some(at) = plot.cell([x, count]).filter(|_| count > 0.0) {
                buf[at].set_symbol(sign(*owner, look)).set_style(look.style(series(*owner)));
            }
        };
        let peak = (0..bins.count()).rev().max_by(|a, b| counts[*a].total_cmp(&counts[*b])).unwrap_or(0);
        put(bins.centre(peak), counts[peak]);
        if look.theme.depth == Depth::None {
            for column in (group as u16 * 2 % EVERY..inner.width).step_by(EVERY.into()) {
                let x = plot.x.lo + (f64::from(column) + 0.5) * step;
                if (bins.edges[0]..=bins.edges[bins.count()]).contains(&x) {
                    put(x, counts[bins.at(x)]);
                }
            }
        }
    }
}

/// What the cursor is on; without one, how much there is.
fn label(buf: &mut Buffer, area: Rect, panel: &Panel, names: &[&str], cursor: Option<f64>, look: &Look) {
    let Ok(Some(bins)) = Bins::of(panel) else { return };
    let mut parts: Vec<(Role, String)> = Vec::new();
    if !panel.name.is_empty() {
        parts.push((Role::Title, format!("{}   ", panel.name)));
    }
    let bin = cursor.map(|x| bins.at(x));
    let edge = |i: usize| text::number(bins.edges[i]);
    parts.push(match bin {
        Some(bin) => (Role::Key, format!("{} to {}   ", edge(bin), edge(bin + 1))),
        None => {
            let n = bins.count();
            let word = if n == 1 { "bin" } else { "bins" };
            (Role::Dim, format!("{n} {word} from {} to {}   ", edge(0), edge(n)))
        }
    });
    for (group, of) in panel.groups.iter().enumerate() {
        let g = place_of(names, &of.name);
        if names.len() > 1 {
            parts.push((series(g), format!("{} ", sign(g, look))));
        }
        let name = if of.name.is_empty() { String::new() } else { format!("{} ", of.name) };
        parts.push((Role::Dim, name));
        match bin {
            Some(bin) => {
                let share = bins.share(group, bin).map_or(String::new(), |s| format!(" ({:.1}%)", 100.0 * s));
                parts.extend([(Role::Text, text::number(bins.counts[group][bin])), (Role::Dim, format!("{share}   "))]);
            }
            None => {
                let total: f64 = bins.counts[group].iter().sum();
                parts.push((Role::Text, format!("{}   ", text::number(total))));
            }
        }
    }
    paint::words(buf, area, look, &parts);
}
