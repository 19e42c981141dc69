//! Keys of the open run.

use kiln_protocol::View;
use kiln_protocol::wire::Request;
use ratatui::layout::Position;

use crate::action::Action;
use crate::chart::plot;
use crate::glyphs::{ASCII, UNICODE};
use crate::keys::Key;
use crate::layout;
use crate::model::blocks::measures;
use crate::model::curves::SMOOTHING;
use crate::model::detail::Tab;
use crate::model::figure::Toward;
use crate::model::layers::Columns;
use crate::model::list::by_pages;
use crate::model::past::STATES;
use crate::model::{Ask, Link, Model, Overlay, pages};
use crate::msg::Effect;
use crate::update::pointer;

/// Keeps cursors and scrolling in view, lets axes follow, asks for missing points.
pub fn settle(m: &mut Model, effects: &mut Vec<Effect>) {
    let (size, braille, graphics) = (m.size, m.braille, m.graphics);
    let Some(detail) = &mut m.detail else { return };
    if detail.loaded && !detail.tabs().contains(&detail.tab) {
        detail.tab = Tab::Curves;
    }
    let content = layout::detail(size).content;
    let height = usize::from(content.height);
    let jobs = m.runs.jobs(&detail.id).len();
    match &detail.tab {
        Tab::Jobs => detail.jobs.fit(jobs, usize::from(layout::jobs(size).list.height)),
        Tab::Curves => {
            detail.curves.widen();
            let picker = usize::from(layout::framed(layout::picker(size)).height).saturating_sub(1);
            let listed = detail.curves.pickable().len();
            detail.curves.picker.fit(listed, picker);
            let curves = &mut detail.curves;
            let areas = layout::curves(size, curves.panels.len(), curves.focus, curves.alone);
            let visible: Vec<(usize, u32)> =
                areas.panels.iter().map(|(i, area)| (*i, layout::panel_columns(*area, braille))).collect();
            if detail.loaded && matches!(m.link, Link::Up { .. }) {
                let names = curves.want_clocks(m.now);
                if !names.is_empty() {
                    let request = Request::Clock { run: detail.id.clone(), names };
                    effects.push(m.asked.send(Ask::Clocks(detail.id.clone()), request));
                }
                for want in curves.wants(&visible) {
                    let request = Request::Series {
                        run: detail.id.clone(),
                        names: want.names.clone(),
                        from: want.grid.map(|g| g.from),
                        to: want.grid.map(|g| g.to),
                        columns: want.grid.map_or(0, |g| g.columns),
                    };
                    effects.push(m.asked.send(Ask::Series(detail.id.clone(), want), request));
                }
            }
        }
        Tab::Log => {
            let (lines, _) = layout::log(size);
            detail.log.fit(usize::from(lines.height), layout::log_cells(lines));
        }
        Tab::Settings => {
            // A blank line parts the changed ones from the others.
            let changed = detail.knobs.len() + usize::from(!detail.knobs.is_empty());
            detail.settings.fit(detail.spec.lines().count() + changed, height)
        }
        Tab::Outcome => {
            // The glyphs change no line's length, so either set counts right.
            let glyphs = if braille { &UNICODE } else { &ASCII };
            let width = usize::from(content.width);
            let most = detail.outcome.iter().flat_map(|o| &o.tables).map(|t| pages::most_left(t, width, glyphs)).max();
            detail.outcome_scroll.fit_across(most.unwrap_or(0));
            let left = detail.outcome_scroll.left;
            let lines = detail.outcome.as_ref().map_or(0, |o| pages::outcome(o, width, left, glyphs).len());
            detail.outcome_scroll.fit(lines, height);
        }
        Tab::View(_) if detail.inspect.is_some() => {
            let names = detail.inspected_series();
            detail.fit_inspected(size, if braille { &UNICODE } else { &ASCII });
            if matches!(m.link, Link::Up { .. })
                && let Some(want) = detail.curves.want_whole(&names)
            {
                let request = Request::Series {
                    run: detail.id.clone(),
                    names: want.names.clone(),
                    from: None,
                    to: None,
                    columns: 0,
                };
                effects.push(m.asked.send(Ask::Series(detail.id.clone(), want), request));
            }
        }
        Tab::View(name) => {
            let name = name.clone();
            let wanted = detail.panes.get(&name).is_some_and(|pane| pane.over_time) && !detail.past.is_asked(&name);
            if wanted && matches!(m.link, Link::Up { .. }) {
                detail.past.ask(&name);
                let request = Request::Past { run: detail.id.clone(), view: name.clone(), most: STATES };
                effects.push(m.asked.send(Ask::Past(detail.id.clone(), name), request));
            }
            if let Some((view, pane)) = detail.open_view() {
                pane.follow(view);
                match view {
                    View::Candidates(table) => {
                        pane.fit_candidates(table, usize::from(layout::candidates(size).list.height));
                    }
                    View::Table(table) => {
                        let glyphs = if braille { &UNICODE } else { &ASCII };
                        let width = usize::from(content.width);
                        pane.scroll.fit_across(pages::most_left(table, width, glyphs));
                        pane.scroll.fit(pages::table(table, width, pane.scroll.left, glyphs).len(), height);
                    }
                    View::Matrix(matrix) => {
                        let (rows, columns) = crate::model::figure::extent(matrix);
                        let labels = crate::model::figure::label_width(matrix);
                        let areas = layout::matrix(size, rows, columns, labels, braille);
                        let breaks = if areas.per_row == 1 { matrix.breaks.len() } else { 0 };
                        let lines = usize::from(areas.cells.height * areas.per_row).saturating_sub(breaks).max(1);
                        pane.fit_matrix(matrix, lines, usize::from(areas.cells.width / areas.cell.max(1)));
                    }
                    View::Histogram(histograms) => pane.list.fit(histograms.panels.len(), histograms.panels.len()),
                    View::Images(images) => {
                        let body = layout::figure(content).body;
                        pane.fit_pictures(images, (body.width, body.height), graphics);
                    }
                    View::Layers(layers) => {
                        let list = layout::layers(content).1;
                        let columns = Columns::new(layers, if braille { &UNICODE } else { &ASCII });
                        let room = usize::from(list.width);
                        pane.fit_layers(layers.rows.len(), layers.columns.len(), list.height.into(), |at, first| {
                            columns.first(at, first, room)
                        });
                    }
                    View::Detections(d) => pane.fit_detections(d),
                    View::Clusters(_) | View::Scatter(_) | View::Lines(_) | View::BlockImportance(_) => {}
                }
            }
        }
    }
}

/// Does what a key means on a tab.
pub fn act(m: &mut Model, action: Action, key: Key) {
    let size = m.size;
    let Some(detail) = &mut m.detail else { return };
    let curves = &mut detail.curves;
    let areas = layout::curves(size, curves.panels.len(), curves.focus, curves.alone);
    let panel = areas.panels.iter().find(|p| p.0 == curves.focus);
    let cells = panel.map_or(1, |(_, area)| plot::inner(layout::panel(*area).1).width);
    match action {
        Action::CursorLeft => curves.move_cursor(-1.0, cells),
        Action::CursorRight => curves.move_cursor(1.0, cells),
        Action::ZoomIn => curves.zoom(0.5),
        Action::ZoomOut => curves.zoom(2.0),
        Action::ZoomAll => {
            curves.zoom_all();
        }
        Action::PanLeft => curves.pan(-0.25),
        Action::PanRight => curves.pan(0.25),
        Action::Smooth => curves.smooth = (curves.smooth + 1) % SMOOTHING.len(),
        Action::LogY => curves.toggle_log(),
        Action::LogX => curves.toggle_log_x(),
        Action::OverClock => curves.clocked.on = !curves.clocked.on,
        Action::Median => {
            curves.median = !curves.median;
            // Of a line that is not smoothed neither kind is seen.
            curves.smooth = curves.smooth.max(2);
        }
        Action::NextPanel => curves.next_panel(1),
        Action::PrevPanel => curves.next_panel(-1),
        Action::Maximise => curves.alone = !curves.alone,
        Action::PerCandidate => curves.toggle_candidates(),
        Action::Pick => m.overlay = Some(Overlay::Picker),
        Action::Toggle => {
            let chosen =
                curves.pickable().get(curves.picker.selected).map(|s| (s.name.clone(), !curves.shown(&s.name)));
            if let Some((name, on)) = chosen {
                curves.choose(&[name], on);
            }
        }
        Action::All | Action::Nothing => {
            let names: Vec<String> = curves.pickable().iter().map(|s| s.name.clone()).collect();
            curves.choose(&names, action == Action::All);
        }
        Action::PointLeft => go(m, Toward::Left),
        Action::PointRight => go(m, Toward::Right),
        Action::PointUp => go(m, Toward::Up),
        Action::PointDown => go(m, Toward::Down),
        Action::Inspect => {
            detail.inspect();
        }
        Action::CloseInspect => detail.inspect = None,
        Action::NextMeasure | Action::Weights => {
            if let Some((View::BlockImportance(map), pane)) = detail.open_view() {
                match action {
                    Action::Weights => pane.weights = !pane.weights,
                    _ => pane.measure = (pane.measure + 1) % measures(map).len(),
                }
            }
        }
        Action::Closer | Action::Further | Action::Difference => {
            if let Some((View::Images(_), pane)) = detail.open_view() {
                match action {
                    Action::Difference => pane.difference = !pane.difference,
                    _ => pane.zoom_picture(action == Action::Closer),
                }
            }
        }
        Action::PartLeft | Action::PartRight | Action::PartUp | Action::PartDown => {
            if let Some((View::Images(_), pane)) = detail.open_view() {
                pane.pan_picture(match action {
                    Action::PartLeft => (-0.25, 0.0),
                    Action::PartRight => (0.25, 0.0),
                    Action::PartUp => (0.0, -0.25),
                    _ => (0.0, 0.25),
                });
            }
        }
        Action::OverTime => {
            if let Some((View::Histogram(_), pane)) = detail.open_view() {
                pane.over_time = !pane.over_time;
            }
        }
        Action::ScoreUp | Action::ScoreDown | Action::Truth => {
            if let Some((View::Detections(_), pane)) = detail.open_view() {
                match action {
                    Action::Truth => pane.alone = !pane.alone,
                    _ => pane.step_score(if action == Action::ScoreUp { 5 } else { -5 }),
                }
            }
        }
        Action::Alone => {
            if let Some((_, pane)) = detail.open_view() {
                pane.alone = !pane.alone;
            }
        }
        Action::NextWinner => {
            if let Some((View::Clusters(clusters), pane)) = detail.open_view() {
                pane.next_winner(clusters);
            }
        }
        Action::Sort | Action::SortBack | Action::Reverse => {
            if let Some((View::Candidates(table), pane)) = detail.open_view() {
                match action {
                    Action::Sort => pane.step_sort(table, 1),
                    Action::SortBack => pane.step_sort(table, -1),
                    _ => pane.reverse = !pane.reverse,
                }
            }
        }
        Action::NextMatch => {
            detail.log.search(true);
        }
        Action::PrevMatch => {
            detail.log.search(false);
        }
        Action::Details => detail.log.toggle_details(),
        Action::Follow => detail.log.follow = !detail.log.follow,
        Action::NextTab => detail.step_tab(1),
        Action::PrevTab => detail.step_tab(-1),
        Action::GoTab => {
            if let Some(tab) = key.digit().and_then(|n| detail.tabs().into_iter().nth(n - 1)) {
                (detail.tab, detail.steered) = (tab, true);
                detail.inspect = None;
            }
        }
        _ => {}
    }
}

fn go(m: &mut Model, toward: Toward) {
    let size = m.size;
    if let Some(scroll) = m.detail.as_mut().and_then(|d| d.page_mut()) {
        return scroll.step_across(if toward == Toward::Left { -1 } else { 1 });
    }
    match m.detail.as_mut().and_then(|d| d.open_view()) {
        Some((View::BlockImportance(map), pane)) => {
            let body = layout::blocks(size, map.gauges.len()).body;
            pane.step_block(map, toward, body.width, body.height);
        }
        Some((view, pane)) => pane.go(view, toward),
        None => {}
    }
}

/// Scrolls or moves the selection of the open tab.
pub fn step(m: &mut Model, by: isize) {
    let content = layout::detail(m.size).content;
    let Some(detail) = &mut m.detail else { return };
    let jobs = m.runs.jobs(&detail.id).len();
    match &detail.tab {
        Tab::Curves => {}
        Tab::Jobs => detail.jobs.step(by, jobs),
        Tab::Log => detail.log.step(by),
        Tab::Settings => detail.settings.step(by),
        Tab::Outcome => detail.outcome_scroll.step(by),
        Tab::View(_) if detail.inspect.is_some() => {
            if let Some(page) = &mut detail.inspect {
                page.scroll.step(by);
            }
        }
        Tab::View(_) => match detail.open_view() {
            Some((View::Candidates(table), pane)) => pane.step_candidate(table, by),
            Some((View::Table(_), pane)) => pane.scroll.step(by),
            Some((View::Layers(layers), pane)) => pane.list.step(by, layers.rows.len()),
            Some((View::Images(images), pane)) => pane.page_pictures(images, by),
            Some((View::Histogram(histograms), pane)) => {
                let n = histograms.panels.len();
                let shown = layout::histograms(layout::figure(content).body, n, pane.list.selected, pane.alone).len();
                pane.list.step(by_pages(by, shown), n);
            }
            Some((view, pane)) => {
                let toward = if by < 0 { Toward::Up } else { Toward::Down };
                pane.go(view, toward);
            }
            None => {}
        },
    }
}

/// Takes away the innermost thing that was put over the open tab. Returns whether there was one.
pub fn retreat(m: &mut Model) -> bool {
    let Some(detail) = &mut m.detail else { return false };
    match &detail.tab {
        Tab::Curves => detail.curves.cursor.take().is_some() || detail.curves.zoom_all(),
        Tab::View(_) if detail.inspect.is_some() => detail.inspect.take().is_some(),
        Tab::View(name) => {
            let Some(pane) = detail.panes.get_mut(name) else { return false };
            pane.x_cursor.take().is_some()
                || std::mem::take(&mut pane.zoom) > 1
                || std::mem::take(&mut pane.difference)
                || std::mem::take(&mut pane.over_time)
                || std::mem::take(&mut pane.alone)
        }
        Tab::Log if !detail.log.query.is_empty() => {
            detail.log.query.clear();
            detail.log.found = None;
            detail.log.follow = true;
            true
        }
        _ => false,
    }
}

/// A click selects a tab, or what is clicked in it.
pub fn click(m: &mut Model, at: Position) {
    let size = m.size;
    let Some(detail) = &mut m.detail else { return };
    let areas = layout::detail(size);
    if areas.tabs.contains(at) {
        let tabs = detail.tabs();
        let titles = detail.titles();
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let current = tabs.iter().position(|t| *t == detail.tab).unwrap_or(0);
        let hit = layout::tabs(&titles, current, areas.tabs.width)
            .into_iter()
            .find(|(_, from, width)| (*from..from + width).contains(&(at.x - areas.tabs.x)));
        if let Some(tab) = hit.and_then(|(i, _, _)| tabs.get(i)) {
            detail.inspect = None;
            detail.tab = tab.clone();
        }
        return;
    }
    if pointer::click(m, at) {
        return;
    }
    let Some(detail) = &mut m.detail else { return };
    let list = layout::candidates(size).list;
    if detail.inspect.is_some() {
        return;
    }
    let jobs = layout::jobs(size).list;
    if detail.tab == Tab::Jobs && jobs.contains(at) {
        detail.jobs.selected = detail.jobs.offset + usize::from(at.y - jobs.y);
        return;
    }
    let figure = layout::figure(areas.content).body;
    match detail.open_view() {
        Some((View::Candidates(table), pane)) if list.contains(at) => {
            let row = pane.list.offset + usize::from(at.y - list.y);
            let by = row as isize - pane.list.selected as isize;
            pane.step_candidate(table, by);
        }
        Some((View::Layers(_), pane)) => {
            let list = layout::layers(areas.content).1;
            if list.contains(at) {
                pane.list.selected = pane.list.offset + usize::from(at.y - list.y);
            }
        }
        Some((View::Images(_), pane)) if figure.contains(at) => {
            let cell = (usize::from(at.x - figure.x), usize::from(at.y - figure.y));
            if let Some(picture) = pane.sheet.page().and_then(|page| page.at(cell.0, cell.1)) {
                pane.list.selected = picture;
            }
        }
        Some((View::Histogram(histograms), pane)) => {
            let shown = layout::histograms(figure, histograms.panels.len(), pane.list.selected, pane.alone);
            if let Some((panel, _)) = shown.into_iter().find(|s| s.1.contains(at)) {
                pane.list.selected = panel;
            }
        }
        _ => {}
    }
}
