//! Marking runs, and the screen that compares them.

use kiln_protocol::compare::{Comparison, Weighed};
use kiln_protocol::wire::{Reply, Request};
use kiln_protocol::{Level, RunId};
use ratatui::layout::Position;

use crate::action::Action;
use crate::chart::plot;
use crate::keys::Key;
use crate::layout;
use crate::model::compare::{Compare, Page};
use crate::model::list::List;
use crate::model::overlay::{COLUMNS, Need};
use crate::model::{Ask, Link, Model, Screen};
use crate::msg::Effect;

/// Marks the selected run, or takes its mark away, and goes on to the next one.
pub fn mark(m: &mut Model) {
    if let Some(id) = m.runs.selected.clone() {
        m.runs.mark(&id);
        m.runs.step(1);
    }
}

/// Marks all runs that the filter leaves; takes all marks away if they are marked already.
pub fn mark_all(m: &mut Model) {
    let all: Vec<RunId> = m.runs.visible().iter().map(|r| r.id.clone()).collect();
    let marked = all.iter().all(|id| m.runs.marked.contains(id));
    if marked {
        m.runs.marked.clear();
    } else {
        m.runs.marked.extend(all);
    }
}

/// Opens the comparison of the marked runs; without marks, that of the selected experiment's arms.
pub fn open(m: &mut Model) {
    // In the order of the list: the first one is what the others are compared with.
    let mut runs: Vec<RunId> =
        m.runs.visible().iter().map(|r| &r.id).filter(|id| m.runs.marked.contains(*id)).cloned().collect();
    runs.extend(m.runs.marked.iter().filter(|id| !runs.contains(id)).cloned().collect::<Vec<_>>());
    let selected = m.runs.selected.as_ref().and_then(|id| m.runs.get(id));
    if let Some(run) = selected.filter(|run| runs.len() < 2 && !runs.contains(&run.id)) {
        runs.push(run.id.clone());
    }
    let alone = |id: &RunId| m.runs.get(id).is_none_or(|run| run.jobs.is_none());
    match runs.as_slice() {
        [] => {}
        [only] if alone(only) => {
            m.note(Level::Info, "It takes two to compare: mark runs with the space bar, then press this key again.");
        }
        _ => {
            m.compare = Some(Compare::new(runs));
            m.screen = Screen::Compare;
        }
    }
}

/// Leaves the screen; first takes cursor and zoom away. Returns whether it is left.
pub fn leave(m: &mut Model) -> bool {
    let Some(compare) = &mut m.compare else { return true };
    let overlay = &mut compare.overlay;
    if compare.page == Page::Curves && (overlay.cursor.take().is_some() || overlay.zoom_all()) {
        return false;
    }
    m.compare = None;
    true
}

/// Keeps lists in view, and asks for what the page needs.
pub fn settle(m: &mut Model, effects: &mut Vec<Effect>) {
    let size = m.size;
    let Some(compare) = &mut m.compare else { return };
    let up = matches!(m.link, Link::Up { .. });
    if up && let Some(changed) = compare.wants(&m.runs) {
        changed.iter().for_each(|id| compare.overlay.doubt(id));
        effects.push(Effect::Compare(compare.runs.clone()));
    }
    if let Some((comparison, figure, against)) = compare.wants_weights() {
        effects.push(Effect::Weigh { comparison, figure, against });
    }
    let Some(data) = compare.data.clone() else { return };
    let rows = compare.rows().len();
    compare.table.fit(rows, usize::from(layout::compare_table(size).list.height));
    compare.column = compare.column.min(data.groups.len().saturating_sub(1));
    let list = usize::from(layout::compare_list(size).list.height);
    compare.strip.fit(compare.order().len(), list);
    compare.axis = compare.axis.min(compare.axes().len().saturating_sub(1));
    let weights = compare.weights().and_then(|w| w.importance.as_ref()).map_or(0, |i| i.weights.len());
    compare.weights.fit(weights, list);
    let points = compare.points().len();
    compare.front.fit(points, points);
    let legend = layout::compare_curves(size, data.groups.len()).legend;
    compare.overlay.list.fit(data.groups.len(), usize::from(legend.height));
    if compare.page != Page::Curves {
        return;
    }
    if up {
        let runs = &m.runs;
        // What is not known of a job is known of its experiment.
        let live = |id: &RunId| {
            let known = runs.get(id).or_else(|| runs.get(&id.parent()?.0));
            known.is_some_and(|run| run.state.is_live())
        };
        for need in compare.overlay.needs(m.now, live) {
            let request = match &need {
                Need::Points(run, name) => Request::Series {
                    run: run.clone(),
                    names: vec![name.clone()],
                    from: None,
                    to: None,
                    columns: COLUMNS,
                },
                Need::Clock(run, name) => Request::Clock { run: run.clone(), names: vec![name.clone()] },
            };
            effects.push(m.asked.send(Ask::Overlay(need), request));
        }
    }
    compare.overlay.refresh();
}

/// The comparison has come.
pub fn compared(m: &mut Model, runs: &[RunId], found: Result<Comparison, String>) {
    if let Some(compare) = m.compare.as_mut().filter(|c| c.runs == runs) {
        compare.take(found);
    }
}

pub fn weighed(m: &mut Model, weighed: Weighed) {
    if let Some(compare) = &mut m.compare {
        compare.take_weights(weighed);
    }
}

/// Points or a clock have come, or the engine has refused them.
pub fn answered(m: &mut Model, need: Need, reply: Option<Reply>) {
    let now = m.now;
    let Some(compare) = &mut m.compare else { return };
    match (need, reply) {
        (Need::Points(run, name), reply) => {
            let series = match reply {
                Some(Reply::Series { series }) => series.into_iter().find(|s| s.name == name),
                _ => None,
            };
            compare.overlay.take_points(&run, &name, series, now);
        }
        (Need::Clock(run, name), reply) => {
            let clock = match reply {
                Some(Reply::Clock { clocks }) => clocks.into_iter().find(|c| c.name == name),
                _ => None,
            };
            compare.overlay.take_clock(&run, &name, clock, now);
        }
    }
}

/// Does what a key means here.
pub fn act(m: &mut Model, action: Action, key: Key, effects: &mut Vec<Effect>) {
    let size = m.size;
    let Some(compare) = &mut m.compare else { return };
    let groups = compare.data.as_ref().map_or(0, |data| data.groups.len());
    let curves = compare.page == Page::Curves;
    match action {
        Action::OpenCompared => {
            if let Some(id) = compare.selected() {
                super::engine::open(m, id, effects);
            }
        }
        Action::NextTab => compare.page = turned(compare.page, 1),
        Action::PrevTab => compare.page = turned(compare.page, -1),
        Action::GoTab => {
            let number = key.typed().and_then(|c| c.to_digit(10)).unwrap_or(0) as usize;
            if let Some(page) = number.checked_sub(1).and_then(|i| Page::ALL.get(i)) {
                compare.page = *page;
            }
        }
        Action::CursorLeft | Action::CursorRight => {
            let by = if action == Action::CursorLeft { -1 } else { 1 };
            let cells = plot::inner(layout::compare_curves(size, groups).chart).width;
            match compare.page {
                Page::Curves => compare.overlay.move_cursor(by as f64, cells),
                Page::Table => compare.column = compare.column.saturating_add_signed(by),
                Page::Strip => compare.axis = compare.axis.saturating_add_signed(by),
                Page::Front => step(m, by),
                Page::Importance => {}
            }
        }
        Action::ZoomIn if curves => compare.overlay.zoom_by(0.5),
        Action::ZoomOut if curves => compare.overlay.zoom_by(2.0),
        Action::ZoomAll if curves => drop(compare.overlay.zoom_all()),
        Action::PanLeft if curves => compare.overlay.pan(-0.25),
        Action::PanRight if curves => compare.overlay.pan(0.25),
        Action::Smooth if curves => compare.overlay.next_smooth(),
        Action::LogY if curves => compare.overlay.toggle_log(),
        Action::NextSeries if curves => compare.overlay.step_series(1),
        Action::PrevSeries if curves => compare.overlay.step_series(-1),
        Action::Along if curves => compare.overlay.next_by(),
        Action::Means if curves => compare.overlay.toggle_single(),
        Action::HideLine if curves => {
            let group = compare.overlay.list.selected;
            compare.overlay.toggle(group);
        }
        Action::NextFigure => compare.step_figure(1),
        Action::PrevFigure => compare.step_figure(-1),
        Action::NextCost => compare.step_against(1),
        Action::Everything => compare.all = !compare.all,
        _ => {}
    }
}

fn turned(page: Page, by: isize) -> Page {
    let at = Page::ALL.iter().position(|p| *p == page).unwrap_or(0) as isize;
    Page::ALL[(at + by).rem_euclid(Page::ALL.len() as isize) as usize]
}

/// The list of the open page, and how many rows it has.
fn list(compare: &mut Compare) -> (usize, &mut List) {
    let groups = compare.data.as_ref().map_or(0, |data| data.groups.len());
    match compare.page {
        Page::Curves => (groups, &mut compare.overlay.list),
        Page::Table => (compare.rows().len(), &mut compare.table),
        Page::Strip => (compare.order().len(), &mut compare.strip),
        Page::Importance => {
            let n = compare.weights().and_then(|w| w.importance.as_ref()).map_or(0, |i| i.weights.len());
            (n, &mut compare.weights)
        }
        Page::Front => (compare.points().len(), &mut compare.front),
    }
}

/// Moves the selection of the open page.
pub fn step(m: &mut Model, by: isize) {
    if let Some(compare) = &mut m.compare {
        let (rows, list) = list(compare);
        list.step(by, rows);
    }
}

/// Rows of the open page.
pub fn page(m: &Model) -> u16 {
    let Some(compare) = &m.compare else { return 1 };
    let groups = compare.data.as_ref().map_or(0, |data| data.groups.len());
    match compare.page {
        Page::Curves => layout::compare_curves(m.size, groups).legend.height,
        Page::Table => layout::compare_table(m.size).list.height,
        _ => layout::compare_list(m.size).list.height,
    }
}

/// A click on a page's name opens it, one on a row selects it; one on the selected row opens its run.
pub fn click(m: &mut Model, at: Position, effects: &mut Vec<Effect>) {
    let size = m.size;
    let Some(compare) = &mut m.compare else { return };
    let tabs = layout::compare(size).tabs;
    if tabs.contains(at) {
        let titles = Page::ALL.map(Page::title);
        let current = Page::ALL.iter().position(|p| *p == compare.page).unwrap_or(0);
        let spans = layout::tabs(&titles, current, tabs.width);
        let hit = spans.into_iter().find(|(_, from, width)| (*from..from + width).contains(&(at.x - tabs.x)));
        if let Some(page) = hit.and_then(|(i, ..)| Page::ALL.get(i)) {
            compare.page = *page;
        }
        return;
    }
    let groups = compare.data.as_ref().map_or(0, |data| data.groups.len());
    let area = match compare.page {
        Page::Curves => layout::compare_curves(size, groups).legend,
        Page::Table => layout::compare_table(size).list,
        Page::Strip | Page::Importance => layout::compare_list(size).list,
        Page::Front => return,
    };
    if !area.contains(at) {
        return;
    }
    let opens = compare.page == Page::Strip;
    let (rows, list) = list(compare);
    let row = list.offset + usize::from(at.y - area.y);
    if row >= rows {
        return;
    }
    if list.selected == row && opens {
        if let Some(id) = compare.selected() {
            super::engine::open(m, id, effects);
        }
    } else {
        list.selected = row;
    }
}

/// Whether a key of the screen makes sense on the open page.
pub fn applies(m: &Model, action: Action) -> bool {
    let Some(compare) = m.compare.as_ref().filter(|c| c.data.is_some()) else { return false };
    let page = compare.page;
    match action {
        Action::NextSeries => page == Page::Curves && compare.overlay.series.len() > 1,
        Action::Along | Action::HideLine | Action::Smooth | Action::LogY | Action::ZoomOut => page == Page::Curves,
        Action::Means => {
            page == Page::Curves && compare.data.as_ref().is_some_and(|d| d.groups.iter().any(|g| g.runs.len() > 1))
        }
        Action::CursorRight => !matches!(page, Page::Importance),
        Action::NextFigure => matches!(page, Page::Strip | Page::Importance | Page::Front),
        Action::NextCost => page == Page::Front,
        Action::Everything => page == Page::Table,
        Action::OpenCompared => compare.selected().is_some(),
        _ => true,
    }
}
