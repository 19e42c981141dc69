//! What follows the mouse: cursors under it, and charts that are dragged along. Nothing here has no key.

use kiln_protocol::View;
use ratatui::layout::Position;

use crate::chart::{Plot, Window, plot};
use crate::layout;
use crate::model::detail::Tab;
use crate::model::{Model, Screen, figure};

/// Cells from the pointer within which a point is meant by it.
const NEAR: f64 = 3.0;

/// Whether the open run has the screen to itself.
fn free(m: &Model) -> bool {
    m.screen == Screen::Detail && m.overlay.is_none() && m.prompt.is_none()
}

/// Where on the x axis of the focused chart the pointer is, from 0 to 1; `None` if it is elsewhere.
pub fn place(m: &Model, at: Position) -> Option<f64> {
    let detail = m.detail.as_ref().filter(|d| free(m) && d.tab == Tab::Curves)?;
    let curves = &detail.curves;
    let areas = layout::curves(m.size, curves.panels.len(), curves.focus, curves.alone);
    let area = areas.panels.iter().find(|(i, _)| *i == curves.focus)?.1;
    let inner = plot::inner(layout::panel(area).1);
    let last = f64::from(inner.width.max(2) - 1);
    let panel = curves.focused()?;
    inner.contains(at).then(|| curves.counted(panel, f64::from(at.x - inner.x) / last))
}

/// The pointer has moved. Returns whether anything that is drawn has changed.
pub fn hover(m: &mut Model, at: Position) -> bool {
    m.pointer = Some(at);
    if !free(m) {
        return false;
    }
    if let Some(place) = place(m, at) {
        return m.detail.as_mut().is_some_and(|d| d.curves.put_cursor(place));
    }
    let size = m.size;
    let Some(detail) = m.detail.as_mut().filter(|d| d.inspect.is_none()) else { return false };
    let body = layout::figure(layout::detail(size).content).body;
    let Some((view, pane)) = detail.open_view() else { return false };
    match view {
        View::Scatter(_) | View::Clusters(_) => {
            let areas = layout::picture(size);
            let (x, y) = pane.scales();
            let plot = Plot::new(areas.picture, Window { from: x.lo, to: x.hi }, y);
            let distance = |p: &[f64; 2]| {
                let (column, row) = plot.cell(*p)?;
                // A cell is about twice as high as it is wide.
                let (dx, dy) = (f64::from(column) - f64::from(at.x), 2.0 * (f64::from(row) - f64::from(at.y)));
                Some((dx * dx + dy * dy).sqrt())
            };
            let points = figure::points(view);
            let nearest = points.iter().enumerate().filter_map(|(i, p)| Some((i, distance(p)?)));
            match nearest.min_by(|a, b| a.1.total_cmp(&b.1)) {
                Some((i, far)) if far <= NEAR => std::mem::replace(&mut pane.list.selected, i) != i,
                _ => false,
            }
        }
        View::Histogram(histograms) => {
            let shown = layout::histograms(body, histograms.panels.len(), pane.list.selected, pane.alone);
            let alone = shown.len() == 1;
            let hit = shown.into_iter().find(|(i, area)| *i == pane.list.selected && area.contains(at));
            let Some((i, area)) = hit else { return false };
            pane.point_bin(&histograms.panels[i], area, alone, at.x)
        }
        _ => false,
    }
}

/// The pointer has moved with its button held: what is under it comes along.
pub fn drag(m: &mut Model, at: Position) {
    let before = m.pointer.replace(at);
    let places = before.and_then(|before| Some((place(m, before)?, place(m, at)?)));
    if let (Some((from, to)), Some(detail)) = (places, &mut m.detail) {
        detail.curves.pan(from - to);
    }
}

/// A click on a chart: it is the one that keys act on, and its cursor comes there. Returns whether a chart was hit.
pub fn click(m: &mut Model, at: Position) -> bool {
    let size = m.size;
    let Some(detail) = m.detail.as_mut().filter(|d| d.tab == Tab::Curves) else { return false };
    let curves = &mut detail.curves;
    let areas = layout::curves(size, curves.panels.len(), curves.focus, curves.alone);
    let Some((panel, _)) = areas.panels.iter().find(|(_, area)| area.contains(at)) else { return false };
    curves.next_panel(*panel as isize - curves.focus as isize);
    if let Some(place) = place(m, at)
        && let Some(detail) = &mut m.detail
    {
        detail.curves.put_cursor(place);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::msg::Msg;
    use crate::update::update;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 120, height: 40 };

    fn at(m: &mut Model, x: u16, y: u16, msg: fn(u16, u16) -> Msg) -> bool {
        m.dirty = false;
        update(m, msg(x, y));
        m.dirty
    }

    #[test]
    fn the_pointer_reads_a_chart_and_costs_a_frame_only_when_it_reads_another_point() {
        let mut m = fixture::opened(SIZE);
        fixture::keys(&mut m, "1 z");
        assert!(at(&mut m, 60, 25, Msg::Hover));
        let cursor = m.detail.as_ref().unwrap().curves.cursor;
        assert!(cursor.is_some());
        assert!(!at(&mut m, 60, 26, Msg::Hover), "the same column");
        assert!(!at(&mut m, 60, 0, Msg::Hover), "the header");
        assert_eq!(m.detail.as_ref().unwrap().curves.cursor, cursor);
        fixture::keys(&mut m, "?");
        assert!(!at(&mut m, 30, 25, Msg::Hover), "under the help");
    }

    #[test]
    fn the_wheel_zooms_where_the_pointer_is_and_dragging_moves_the_window() {
        let mut m = fixture::opened(SIZE);
        fixture::keys(&mut m, "1 z");
        let window = |m: &Model| m.detail.as_ref().unwrap().curves.focused().unwrap().window();
        let full = window(&m);
        at(&mut m, 40, 25, Msg::Hover);
        let place = place(&m, Position { x: 40, y: 25 }).unwrap();
        update(&mut m, Msg::Wheel(-1));
        let zoomed = window(&m);
        let under = |w: Window| w.from + place * w.span();
        assert!((under(full) - under(zoomed)).abs() < 1e-9 * full.span() && zoomed.span() < full.span());
        update(&mut m, Msg::Click(40, 25));
        update(&mut m, Msg::Drag(50, 25));
        let moved = window(&m);
        assert!(moved.from < zoomed.from && (moved.span() - zoomed.span()).abs() < 1e-9 * full.span());
    }

    #[test]
    fn a_click_on_another_chart_makes_it_the_one_that_keys_act_on() {
        let mut m = fixture::opened(Size { width: 200, height: 50 });
        fixture::keys(&mut m, "1");
        let curves = &m.detail.as_ref().unwrap().curves;
        let areas = layout::curves(m.size, curves.panels.len(), 0, false);
        assert!(areas.panels.len() > 1);
        let (panel, area) = areas.panels[1];
        update(&mut m, Msg::Click(area.x + area.width / 2, area.y + area.height / 2));
        let curves = &m.detail.as_ref().unwrap().curves;
        assert!(curves.focus == panel && curves.cursor.is_some());
    }

    #[test]
    fn hovering_over_points_tells_of_them() {
        let mut m = fixture::search(SIZE);
        fixture::keys(&mut m, "5");
        let areas = layout::picture(SIZE);
        let mut seen = std::collections::BTreeSet::new();
        for y in areas.picture.top()..areas.picture.bottom() {
            for x in areas.picture.left()..areas.picture.right() {
                let changed = at(&mut m, x, y, Msg::Hover);
                let selected = m.detail.as_mut().unwrap().open_view().unwrap().1.list.selected;
                assert!(!changed || seen.last() != Some(&selected) || seen.len() > 1);
                seen.insert(selected);
            }
        }
        assert!(seen.len() > 5, "{seen:?}");
    }

    #[test]
    fn hovering_over_a_histogram_reads_its_bins() {
        let mut m = fixture::training(SIZE);
        fixture::keys(&mut m, "3 enter");
        let body = layout::figure(layout::detail(SIZE).content).body;
        let mut seen = Vec::new();
        for x in body.left()..body.right() {
            at(&mut m, x, body.y + 8, Msg::Hover);
            seen.push(m.detail.as_mut().unwrap().open_view().unwrap().1.x_cursor);
        }
        seen.dedup();
        assert!(seen.len() > 8 && seen.iter().flatten().is_sorted(), "{seen:?}");
    }
}
