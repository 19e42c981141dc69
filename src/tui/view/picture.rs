//! Points in a plane: clusters and scatter pictures.

use kiln_protocol::view::{Clusters, Scatter};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Raster, Window};
use crate::layout::{self, PictureAreas, rows};
use crate::look::Look;
use crate::model::figure::{Pane, scatter_point};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

/// Owners of the dots of the diagonal and of edges; groups have 1 to 8.
const DIAGONAL: u8 = 9;
const EDGES: u8 = 10;

/// A point as drawn.
struct Mark<'a> {
    at: [f64; 2],
    sign: &'a str,
    role: Role,
    ringed: bool,
    /// Drawn over the others: a front.
    front: bool,
}

fn plot(areas: &PictureAreas, pane: &Pane) -> Plot {
    let (x, y) = pane.scales();
    Plot::new(areas.picture, Window { from: x.lo, to: x.hi }, y)
}

fn caption(buf: &mut Buffer, area: Rect, title: &str, x: &str, y: &str, look: &Look) {
    let used = paint::line(buf, area, look, &[(Role::Title, title)]);
    let room = Rect { x: area.x + used + 1, width: area.width.saturating_sub(used + 1), ..area };
    let [across, up] = look.glyphs.axes;
    let words = format!("{across} {x}   {up} {y}");
    paint::line_right(buf, room, look, &[(Role::Faint, &words)]);
}

/// Draws marks in order: later ones cover earlier ones. The selected one comes last, reversed.
fn marks(buf: &mut Buffer, plot: &Plot, marks: &[Mark], selected: Option<usize>, look: &Look) {
    // A ring takes the cells beside its point: drawn after the points, so that none breaks it.
    let plain = (0..marks.len()).filter(|i| !marks[*i].ringed && !marks[*i].front);
    let front = (0..marks.len()).filter(|i| marks[*i].front);
    let ringed = (0..marks.len()).filter(|i| marks[*i].ringed);
    for i in plain.chain(front).chain(ringed).filter(|i| Some(*i) != selected).chain(selected) {
        let Some(mark) = marks.get(i) else { continue };
        let Some((x, y)) = plot.cell(mark.at) else { continue };
        let style = look.style(mark.role);
        let style = if Some(i) == selected { paint::reversed(style) } else { style };
        buf[(x, y)].reset();
        buf[(x, y)].set_symbol(mark.sign).set_style(style);
        if mark.ringed {
            for (side, ring) in [(x.checked_sub(1), look.glyphs.ring[0]), (x.checked_add(1), look.glyphs.ring[1])] {
                if let Some(x) = side.filter(|x| *x >= plot.inner.left() && *x < plot.inner.right()) {
                    buf[(x, y)].reset();
                    buf[(x, y)]
                        .set_symbol(ring)
                        .set_style(look.style(mark.role).add_modifier(ratatui::style::Modifier::BOLD));
                }
            }
        }
    }
}

/// The legend aside: sign, name, count.
fn legend(buf: &mut Buffer, area: Rect, entries: &[(Role, &str, &str, String)], look: &Look) {
    for (i, (role, sign, name, count)) in entries.iter().take(usize::from(area.height)).enumerate() {
        let row = rows(area, i as u16, 1);
        let words = text::width(count) as u16 + 1;
        let left = Rect { width: row.width.saturating_sub(words), ..row };
        paint::line(buf, left, look, &[(*role, sign), (Role::Text, " "), (Role::Text, name)]);
        paint::line_right(buf, row, look, &[(Role::Dim, count)]);
    }
}

/// Under the picture: the method's note, and what the cursor is on.
fn under(buf: &mut Buffer, areas: &PictureAreas, note: &str, sign: (Role, &str), label: &str, look: &Look) {
    paint::line(buf, areas.note, look, &[(Role::Dim, note)]);
    if !label.is_empty() {
        paint::line(buf, areas.label, look, &[sign, (Role::Text, " "), (Role::Text, label)]);
    }
}

fn waiting(buf: &mut Buffer, area: Rect, look: &Look) {
    let row = rows(area, area.height / 2, 1);
    paint::line_centre(buf, row, look, &[(Role::Dim, "No points yet: they appear as they are measured.")]);
}

/// Sign and role of a cluster; members of none (failed, or not assigned yet) are small dots.
pub fn cluster_sign(cluster: Option<u32>, look: &Look) -> (Role, &'static str) {
    match cluster {
        Some(c) => (series(c as usize), look.glyphs.points[c as usize % look.glyphs.points.len()]),
        None => (Role::Faint, look.glyphs.separator),
    }
}

/// Points of clusters within `content`; with the selected one marked and named, if a `cursor` is shown.
pub fn clusters(buf: &mut Buffer, content: Rect, view: &Clusters, pane: &Pane, cursor: bool, look: &Look) {
    let areas = layout::picture_in(content);
    caption(buf, areas.caption, &view.title, &view.x_label, &view.y_label, look);
    if view.points.is_empty() {
        return waiting(buf, areas.picture, look);
    }
    let plot = plot(&areas, pane);
    plot.axes(buf, look);
    let mut all: Vec<Mark> = view
        .points
        .iter()
        .map(|p| {
            let (role, sign) = cluster_sign(p.cluster, look);
            Mark { at: [p.x, p.y], sign, role, ringed: p.winner, front: false }
        })
        .collect();
    all.extend(view.centroids.iter().enumerate().map(|(c, at)| Mark {
        at: *at,
        sign: look.glyphs.centroid,
        role: series(c),
        ringed: false,
        front: false,
    }));
    let selected = pane.list.selected.min(view.points.len() - 1);
    marks(buf, &plot, &all, cursor.then_some(selected), look);
    let n = view.names.len().max(view.centroids.len());
    let mut entries: Vec<(Role, &str, &str, String)> = (0..n)
        .map(|c| {
            let (role, sign) = cluster_sign(Some(c as u32), look);
            let members = view.points.iter().filter(|p| p.cluster == Some(c as u32)).count();
            (role, sign, view.names.get(c).map_or("", String::as_str), members.to_string())
        })
        .collect();
    let alone = view.points.iter().filter(|p| p.cluster.is_none()).count();
    if alone > 0 {
        let (role, sign) = cluster_sign(None, look);
        entries.push((role, sign, "in no cluster", alone.to_string()));
    }
    if !view.centroids.is_empty() {
        entries.push((Role::Dim, look.glyphs.centroid, "centroid", String::new()));
    }
    if view.points.iter().any(|p| p.winner) {
        let ring = look.glyphs.ring;
        let winners = view.points.iter().filter(|p| p.winner).count();
        entries.push((Role::Dim, ring[0], "", String::new()));
        let last = entries.len() - 1;
        let row = rows(areas.legend, last as u16, 1);
        legend(buf, areas.legend, &entries[..last], look);
        let words = format!("{} {} winner", ring[0], ring[1]).replacen(' ', look.glyphs.points[0], 1);
        paint::line(buf, row, look, &[(Role::Dim, &words)]);
        paint::line_right(buf, row, look, &[(Role::Dim, &winners.to_string())]);
    } else {
        legend(buf, areas.legend, &entries, look);
    }
    let point = &view.points[selected];
    let won = if point.winner { format!("  {} winner", look.glyphs.winner) } else { String::new() };
    let label = if cursor { format!("{}{won}", point.label) } else { String::new() };
    under(buf, &areas, &view.note, cluster_sign(point.cluster, look), &label, look);
}

/// Points of groups within `content`; with the selected one marked and named, if a `cursor` is shown.
pub fn scatter(buf: &mut Buffer, content: Rect, view: &Scatter, pane: &Pane, cursor: bool, look: &Look) {
    let areas = layout::picture_in(content);
    caption(buf, areas.caption, &view.title, &view.x_label, &view.y_label, look);
    let total: usize = view.groups.iter().map(|g| g.points.len()).sum();
    if total == 0 {
        return waiting(buf, areas.picture, look);
    }
    let plot = plot(&areas, pane);
    plot.axes(buf, look);
    lines(buf, &plot, view, look);
    let sign = |g: usize| (series(g), look.glyphs.points[g % look.glyphs.points.len()]);
    let mut all = Vec::with_capacity(total);
    for (g, group) in view.groups.iter().enumerate() {
        let (role, sign) = sign(g);
        all.extend(group.points.iter().map(|at| Mark { at: *at, sign, role, ringed: false, front: group.joined }));
    }
    let selected = pane.list.selected.min(total - 1);
    marks(buf, &plot, &all, cursor.then_some(selected), look);
    let entries: Vec<(Role, &str, &str, String)> = view
        .groups
        .iter()
        .enumerate()
        .map(|(g, group)| (sign(g).0, sign(g).1, group.name.as_str(), group.points.len().to_string()))
        .collect();
    legend(buf, areas.legend, &entries, look);
    if let Some((g, i)) = scatter_point(view, selected) {
        let group = &view.groups[g];
        let [x, y] = group.points[i];
        let (x, y) = (text::number(x), text::number(y));
        let label = group.labels.get(i).map_or("", String::as_str);
        let [across, up] = look.glyphs.axes;
        let label = if cursor { format!("{label}   {across} {x}   {up} {y}") } else { String::new() };
        under(buf, &areas, &view.note, sign(g), label.trim_start(), look);
    }
}

/// Edges, the diagonal, one straight line a group over the range of its points, and what joins them.
fn lines(buf: &mut Buffer, plot: &Plot, view: &Scatter, look: &Look) {
    let inner = plot.inner.intersection(buf.area);
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    let points: Vec<[f64; 2]> = view.groups.iter().flat_map(|g| g.points.iter().copied()).collect();
    for [a, b] in &view.edges {
        if let (Some(a), Some(b)) = (points.get(*a as usize), points.get(*b as usize)) {
            plot.segment(&mut raster, *a, *b, EDGES);
        }
    }
    if view.diagonal {
        let (lo, hi) = (plot.x.lo.min(plot.y.lo), plot.x.hi.max(plot.y.hi));
        plot.trace(&mut raster, &[[lo, lo], [hi, hi]], DIAGONAL);
    }
    for (g, group) in view.groups.iter().enumerate() {
        let Some([slope, intercept]) = group.trend else { continue };
        let xs = || group.points.iter().map(|p| p[0]).filter(|x| x.is_finite());
        let (lo, hi) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
        if lo <= hi {
            let ends = [lo, hi].map(|x| [x, slope * x + intercept]);
            plot.trace(&mut raster, &ends, (g % 8) as u8 + 1);
        }
    }
    for (g, group) in view.groups.iter().enumerate().filter(|(_, group)| group.joined) {
        plot.trace(&mut raster, &group.points, (g % 8) as u8 + 1);
    }
    raster.paint(buf, inner, |owner| match owner {
        DIAGONAL | EDGES => look.style(Role::Faint),
        owner => look.style(series(usize::from(owner - 1))),
    });
}
