//! Cursors within views: which point, row or cell is looked at, and in which order.

use std::cmp::Ordering;

use kiln_protocol::View;
use kiln_protocol::view::{
    BlockImportance, Candidate, Candidates, Clusters, Detection, Detections, Images, Lines, Matrix, Panel, Scatter,
    Scene,
};
use ratatui::layout::Rect;

use crate::action::Context;
use crate::chart::{Fit, Scale};
use crate::graphics::Graphics;
use crate::model::blocks::Arrangement;
use crate::model::list::{List, Scroll, by_pages};
use crate::model::panels::{self, Bins};
use crate::model::sheet::{Looked, Sheet};

/// What the client remembers of one view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pane {
    /// Index of the selected point, picture, panel or row; in a table of candidates, of the row as sorted.
    pub list: List,
    /// Id of the selected candidate: the selection follows it through sorting.
    pub candidate: Option<u32>,
    /// Column that candidates are sorted by: 0 is the id, 1 the cluster, then the figures.
    pub sort: usize,
    pub reverse: bool,
    /// Row and column of a matrix; of layers, the column.
    pub cell: (usize, usize),
    /// First visible row and column of a matrix; of layers, the column.
    pub corner: (usize, usize),
    pub scroll: Scroll,
    /// What the bars of a map of blocks show: index among what is known, repeating.
    pub measure: usize,
    /// A map of blocks shows its weights alone.
    pub weights: bool,
    /// Where the cursor of curves or histograms stands on the x axis; `None` until it is moved.
    pub x_cursor: Option<f64>,
    /// One histogram or picture has the whole pane.
    pub alone: bool,
    /// A histogram is shown as it was over time.
    pub over_time: bool,
    /// Pictures, decoded; a newer view makes it void.
    pub sheet: Sheet,
    /// A picture is shown beside another, with their difference.
    pub difference: bool,
    /// One so-many-th of a picture is shown, around a place from 0 to 1.
    pub zoom: usize,
    pub centre: (f64, f64),
    /// Least score of a detection that is shown, in hundredths.
    pub least_score: u8,
    /// Axes of pictures; they move seldom, so that a live picture stands still.
    pub x: Fit,
    pub y: Fit,
}

/// The keys that a view understands.
pub fn context(view: &View) -> Context {
    match view {
        View::Clusters(_) => Context::Clusters,
        View::Candidates(_) => Context::Candidates,
        View::Scatter(_) => Context::Scatter,
        View::Matrix(_) => Context::Matrix,
        View::Lines(_) => Context::Lines,
        View::BlockImportance(_) => Context::Blocks,
        View::Histogram(_) => Context::Histogram,
        View::Images(_) => Context::Images,
        View::Layers(_) => Context::Layers,
        View::Detections(_) => Context::Detections,
        View::Table(_) => Context::Text,
    }
}

/// Whether a view has histograms or pictures enough for one to be looked at alone.
pub fn several(view: &View) -> bool {
    match view {
        View::Histogram(histograms) => histograms.panels.len() > 1,
        View::Images(images) => images.pictures.len() > 1,
        View::Detections(d) => d.scenes.len() > 1,
        _ => false,
    }
}

/// A way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Left,
    Right,
    Up,
    Down,
}

impl Pane {
    /// Lets axes follow the data of the view.
    pub fn follow(&mut self, view: &View) {
        if let View::Lines(lines) = view {
            return self.follow_lines(lines);
        }
        let points = points(view);
        let bounds = |i: usize| {
            let finite = points.iter().filter(|p| p[0].is_finite() && p[1].is_finite()).map(|p| p[i]);
            finite.fold(None, |b: Option<(f64, f64)>, v| Some(b.map_or((v, v), |(lo, hi)| (lo.min(v), hi.max(v)))))
        };
        let margin = |b: Option<(f64, f64)>| {
            // A point on the very edge would lie on the labels.
            // What is never below zero, such as a cost, has no axis there.
            let least = |lo: f64| if lo >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
            b.map(|(lo, hi)| ((lo - (hi - lo) * 0.02).max(least(lo)), hi + (hi - lo) * 0.02))
        };
        let (mut x, mut y) = (bounds(0), bounds(1));
        if matches!(view, View::Scatter(s) if s.diagonal) {
            let both = x.zip(y).map(|(x, y)| (x.0.min(y.0), x.1.max(y.1)));
            (x, y) = (both, both);
        }
        self.x.follow(margin(x), false);
        self.y.follow(margin(y), false);
    }

    fn follow_lines(&mut self, lines: &Lines) {
        let points = || lines.lines.iter().flat_map(|l| &l.points).filter(|p| p[0].is_finite() && p[1].is_finite());
        let bounds = |all: &mut dyn Iterator<Item = f64>| {
            all.fold(None, |b: Option<(f64, f64)>, v| Some(b.map_or((v, v), |(lo, hi)| (lo.min(v), hi.max(v)))))
        };
        let deviation = |p: &[f64; 3]| if p[2].is_finite() { p[2].abs() } else { 0.0 };
        let log = lines.log_x && points().all(|p| p[0] > 0.0);
        self.x.follow(bounds(&mut points().map(|p| p[0])), log);
        let ends = points().flat_map(|p| [p[1] - deviation(p), p[1] + deviation(p)]);
        self.y.follow(bounds(&mut ends.collect::<Vec<_>>().into_iter()), false);
    }

    /// The x at which curves are read: the point nearest to where the cursor was put. `None` without a cursor.
    pub fn at(&self, lines: &Lines) -> Option<f64> {
        let wished = self.x_cursor?;
        abscissas(lines).into_iter().min_by(|a, b| (a - wished).abs().total_cmp(&(b - wished).abs()))
    }

    /// Moves the cursor of curves to the next x that has a point; the first move puts it at the last one.
    fn step_x(&mut self, lines: &Lines, by: isize) {
        let xs = abscissas(lines);
        let here = self.at(lines).and_then(|x| xs.iter().position(|other| *other == x));
        let next = here.map_or(xs.len().saturating_sub(1), |i| i.saturating_add_signed(by).min(xs.len() - 1));
        self.x_cursor = xs.get(next).copied();
    }

    /// Moves the cursor of a histogram by bins; the first move puts it at the highest one.
    fn step_bin(&mut self, panel: Option<&Panel>, by: isize) {
        let Some(Ok(Some(bins))) = panel.map(Bins::of) else { return };
        let bin = match self.x_cursor {
            Some(x) => bins.at(x).saturating_add_signed(by).min(bins.count() - 1),
            None => bins.highest(),
        };
        self.x_cursor = Some(bins.centre(bin));
    }

    /// Puts the cursor of a histogram drawn in `area` on the bin under a column of the screen. Returns whether it has moved.
    pub fn point_bin(&mut self, panel: &Panel, area: Rect, single: bool, column: u16) -> bool {
        let Ok(Some(bins)) = Bins::of(panel) else { return false };
        let plot = panels::plot(panel, &bins, area, single);
        if column < plot.inner.left() || column >= plot.inner.right() {
            return false;
        }
        let share = (f64::from(column - plot.inner.left()) + 0.5) / f64::from(plot.inner.width);
        let at = bins.centre(bins.at(plot.x.at(share)));
        self.x_cursor.replace(at) != Some(at)
    }

    fn step_picture(&mut self, images: &Images, toward: Toward) {
        let row = match self.sheet.page() {
            Some(page) if !self.alone => page.grid.columns,
            _ => (images.columns as usize).max(1),
        };
        let by = match toward {
            Toward::Left => -1,
            Toward::Right => 1,
            Toward::Up => -(row as isize),
            Toward::Down => row as isize,
        };
        let next = self.list.selected.checked_add_signed(by).filter(|i| *i < images.pictures.len());
        self.list.selected = next.unwrap_or(self.list.selected);
    }

    /// Goes to the next scene (left, right), or the next of its boxes that are shown (up, down), the surest first.
    fn step_detection(&mut self, view: &Detections, toward: Toward) {
        match toward {
            Toward::Left | Toward::Right => {
                self.list.step(if toward == Toward::Left { -1 } else { 1 }, view.scenes.len());
                self.cell.0 = 0;
            }
            Toward::Up => self.cell.0 = self.cell.0.saturating_sub(1),
            Toward::Down => self.cell.0 += 1,
        }
        self.fit_detections(view);
    }

    /// Keeps scene and box among those there are.
    pub fn fit_detections(&mut self, view: &Detections) {
        self.list.selected = self.list.selected.min(view.scenes.len().saturating_sub(1));
        let shown = view.scenes.get(self.list.selected).map_or(0, |scene| self.boxes(scene).len());
        self.cell.0 = self.cell.0.min(shown.saturating_sub(1));
    }

    /// The boxes of a scene that are shown, the surest first.
    pub fn boxes<'a>(&self, scene: &'a Scene) -> Vec<&'a Detection> {
        let least = f64::from(self.least_score) / 100.0;
        let mut shown: Vec<&Detection> = scene.found.iter().filter(|d| d.score.is_none_or(|s| s >= least)).collect();
        let score = |d: &Detection| d.score.filter(|s| s.is_finite()).unwrap_or(f64::INFINITY);
        shown.sort_by(|a, b| score(b).total_cmp(&score(a)));
        shown
    }

    /// Shows boxes from another score on.
    pub fn step_score(&mut self, by: i16) {
        self.least_score = (i16::from(self.least_score) + by).clamp(0, 95) as u8;
    }

    /// Goes on by pages of pictures, or to either end.
    pub fn page_pictures(&mut self, images: &Images, by: isize) {
        let by = by_pages(by, self.sheet.page().map_or(1, |p| p.grid.capacity()));
        self.list.step(by, images.pictures.len());
    }

    /// Keeps the selection among the pictures, and makes the page that shows it in a pane of this many cells.
    pub fn fit_pictures(&mut self, images: &Images, pane: (u16, u16), graphics: Option<Graphics>) {
        self.list.selected = self.list.selected.min(images.pictures.len().saturating_sub(1));
        let looked = Looked {
            selected: self.list.selected,
            alone: self.alone,
            difference: self.difference,
            zoom: if self.alone { self.zoom } else { 0 },
            centre: if self.zoom > 1 { self.centre } else { (0.5, 0.5) },
        };
        self.sheet.fit(images, looked, pane, graphics);
    }

    /// Shows less of a picture, larger, or more of it; the picture then has the pane alone.
    pub fn zoom_picture(&mut self, closer: bool) {
        const STEPS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
        let at = STEPS.iter().position(|s| *s >= self.zoom.max(1)).unwrap_or(STEPS.len() - 1);
        if self.zoom <= 1 {
            self.centre = (0.5, 0.5);
        }
        self.alone |= closer;
        self.zoom = STEPS[if closer { (at + 1).min(STEPS.len() - 1) } else { at.saturating_sub(1) }];
    }

    /// Moves the part of a picture that is shown by a share of that part.
    pub fn pan_picture(&mut self, by: (f64, f64)) {
        let zoom = self.zoom.max(1) as f64;
        // The middle of the part keeps half of it from the edge: else keys would seem to do nothing on the way back.
        let held = |at: f64, by: f64| (at + by / zoom).clamp(0.5 / zoom, 1.0 - 0.5 / zoom);
        self.centre = (held(self.centre.0, by.0), held(self.centre.1, by.1));
    }

    /// Keeps the selected row and column in view. `first`: given a column that must be in view and the first one that is, the
    /// first one that may be.
    pub fn fit_layers(&mut self, rows: usize, columns: usize, height: usize, first: impl Fn(usize, usize) -> usize) {
        self.list.fit(rows, height);
        self.cell.1 = self.cell.1.min(columns.saturating_sub(1));
        self.corner.1 = first(self.cell.1, self.corner.1);
    }

    pub fn scales(&self) -> (Scale, Scale) {
        (self.x.scale(), self.y.scale())
    }

    /// Moves the cursor of a picture to the nearest point that way, or that of a matrix by a cell.
    pub fn go(&mut self, view: &View, toward: Toward) {
        if let View::Matrix(matrix) = view {
            let (rows, columns) = extent(matrix);
            let (row, column) = self.cell;
            self.cell = match toward {
                Toward::Left => (row, column.saturating_sub(1)),
                Toward::Right => (row, (column + 1).min(columns.saturating_sub(1))),
                Toward::Up => (row.saturating_sub(1), column),
                Toward::Down => ((row + 1).min(rows.saturating_sub(1)), column),
            };
            return;
        }
        if let View::Lines(lines) = view {
            return match toward {
                Toward::Left => self.step_x(lines, -1),
                Toward::Right => self.step_x(lines, 1),
                Toward::Up | Toward::Down => {}
            };
        }
        match view {
            View::Histogram(histograms) => {
                match toward {
                    Toward::Left => self.step_bin(histograms.panels.get(self.list.selected), -1),
                    Toward::Right => self.step_bin(histograms.panels.get(self.list.selected), 1),
                    Toward::Up => self.list.step(-1, histograms.panels.len()),
                    Toward::Down => self.list.step(1, histograms.panels.len()),
                }
                return;
            }
            View::Images(images) => return self.step_picture(images, toward),
            View::Detections(d) => return self.step_detection(d, toward),
            View::Layers(layers) => {
                let by = if toward == Toward::Left { -1 } else { 1 };
                let mut columns = List { selected: self.cell.1, offset: 0 };
                columns.step(by, layers.columns.len());
                self.cell.1 = columns.selected;
                return;
            }
            _ => {}
        }
        let points = points(view);
        let (x, y) = self.scales();
        let place = |p: &[f64; 2]| Some((x.place(p[0])?, y.place(p[1])?));
        let Some(here) = points.get(self.list.selected).and_then(place) else {
            self.list.selected = points.iter().position(|p| place(p).is_some()).unwrap_or(0);
            return;
        };
        let cost = |p: &[f64; 2]| {
            let (px, py) = place(p)?;
            let (dx, dy) = (px - here.0, py - here.1);
            let (along, across) = match toward {
                Toward::Left => (-dx, dy),
                Toward::Right => (dx, dy),
                Toward::Up => (dy, dx),
                Toward::Down => (-dy, dx),
            };
            // Nearly straight ahead is preferred to a little nearer but aside.
            (along > 1e-9).then(|| along + 3.0 * across.abs())
        };
        let best =
            points.iter().enumerate().filter_map(|(i, p)| Some((i, cost(p)?))).min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((i, _)) = best {
            self.list.selected = i;
        }
    }

    /// Moves the cursor among blocks that are drawn in `width` by `height` cells.
    pub fn step_block(&mut self, map: &BlockImportance, toward: Toward, width: u16, height: u16) {
        let last = map.blocks.len().saturating_sub(1);
        let here = self.list.selected.min(last);
        self.list.selected = match toward {
            Toward::Left => here.saturating_sub(1),
            Toward::Right => (here + 1).min(last),
            Toward::Up | Toward::Down => Arrangement::new(map, width, height).beside(here, toward == Toward::Down),
        };
    }

    /// Goes to the next winner of a cluster.
    pub fn next_winner(&mut self, clusters: &Clusters) {
        let n = clusters.points.len();
        let next = (1..=n).map(|i| (self.list.selected + i) % n).find(|i| clusters.points[*i].winner);
        self.list.selected = next.unwrap_or(self.list.selected);
    }

    /// Moves the selection among candidates.
    pub fn step_candidate(&mut self, table: &Candidates, by: isize) {
        let rows = sorted(table, self);
        self.list.step(by, rows.len());
        self.candidate = rows.get(self.list.selected).map(|r| r.id);
    }

    /// Sorts candidates by another column, from the best on.
    pub fn step_sort(&mut self, table: &Candidates, by: isize) {
        let columns = table.columns.len() + 2;
        self.sort = (self.sort.min(columns - 1) as isize + by).rem_euclid(columns as isize) as usize;
        self.reverse = false;
    }

    /// Keeps the selection on its candidate and in a view of `height` rows.
    pub fn fit_candidates(&mut self, table: &Candidates, height: usize) {
        let rows = sorted(table, self);
        if let Some(at) = self.candidate.and_then(|id| rows.iter().position(|r| r.id == id)) {
            self.list.selected = at;
        }
        self.list.fit(rows.len(), height);
    }

    /// Keeps the cell within the matrix and in a view of `rows` by `columns` cells.
    pub fn fit_matrix(&mut self, matrix: &Matrix, rows: usize, columns: usize) {
        let (all_rows, all_columns) = extent(matrix);
        let mut down = List { selected: self.cell.0, offset: self.corner.0 };
        let mut across = List { selected: self.cell.1, offset: self.corner.1 };
        down.fit(all_rows, rows);
        across.fit(all_columns, columns);
        self.cell = (down.selected, across.selected);
        self.corner = (down.offset, across.offset);
    }
}

/// Rows and columns of a matrix, whatever its rows' lengths.
pub fn extent(matrix: &Matrix) -> (usize, usize) {
    (matrix.values.len(), matrix.values.iter().map(Vec::len).max().unwrap_or(0))
}

/// Every x at which a curve has a point, rising, each once.
pub fn abscissas(lines: &Lines) -> Vec<f64> {
    let all = lines.lines.iter().flat_map(|l| l.points.iter().map(|p| p[0]));
    let mut xs: Vec<f64> = all.filter(|x| x.is_finite()).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    xs
}

/// The candidate under the cursor of a view: its number, where the view says it, and what the cursor shows of it. `None` for
/// views of something else, and empty ones.
pub fn under_cursor(view: &View, pane: &Pane) -> Option<(Option<u32>, String)> {
    match view {
        View::Candidates(table) => {
            let rows = sorted(table, pane);
            let row = rows.get(pane.list.selected)?;
            Some((Some(row.id), row.arch.clone()))
        }
        View::Clusters(c) => {
            let point = c.points.get(pane.list.selected.min(c.points.len().saturating_sub(1)))?;
            Some((Some(point.id), point.label.clone()))
        }
        View::Scatter(s) => {
            let total: usize = s.groups.iter().map(|g| g.points.len()).sum();
            let (group, i) = scatter_point(s, pane.list.selected.min(total.saturating_sub(1)))?;
            let group = &s.groups[group];
            Some((group.ids.get(i).copied(), group.labels.get(i).cloned().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Cells that the row labels of a matrix ask for.
pub fn label_width(matrix: &Matrix) -> usize {
    matrix.row_labels.iter().map(|l| crate::text::width(l)).max().unwrap_or(0).clamp(2, 14)
}

/// The points of a picture in the order of its cursor; empty for other views.
pub fn points(view: &View) -> Vec<[f64; 2]> {
    match view {
        View::Clusters(c) => c.points.iter().map(|p| [p.x, p.y]).collect(),
        View::Scatter(s) => s.groups.iter().flat_map(|g| g.points.iter().copied()).collect(),
        _ => Vec::new(),
    }
}

/// Group and index within it of the `i`-th point of a scatter picture.
pub fn scatter_point(scatter: &Scatter, i: usize) -> Option<(usize, usize)> {
    let mut left = i;
    for (group, of) in scatter.groups.iter().enumerate() {
        if left < of.points.len() {
            return Some((group, left));
        }
        left -= of.points.len();
    }
    None
}

/// Whether the greatest stands first in the column that a table of candidates is sorted by: the best comes first.
pub fn descending(table: &Candidates, pane: &Pane) -> bool {
    let column = pane.sort.checked_sub(2).and_then(|column| table.columns.get(column));
    column.and_then(|c| c.higher_is_better).unwrap_or(false) != pane.reverse
}

/// The rows of a table of candidates in the order of its pane. Unknown figures come last either way round.
pub fn sorted<'a>(table: &'a Candidates, pane: &Pane) -> Vec<&'a Candidate> {
    let mut rows: Vec<&Candidate> = table.rows.iter().collect();
    let turn = |order: Ordering, reverse: bool| if reverse { order.reverse() } else { order };
    rows.sort_by(|a, b| {
        let order = match pane.sort {
            0 => turn(a.id.cmp(&b.id), pane.reverse),
            1 => match (a.cluster, b.cluster) {
                (Some(x), Some(y)) => turn(x.cmp(&y), pane.reverse).then(b.winner.cmp(&a.winner)),
                (x, y) => y.is_some().cmp(&x.is_some()),
            },
            column => {
                let column = column - 2;
                let figure = |r: &Candidate| r.cells.get(column).copied().flatten().filter(|v| !v.is_nan());
                match (figure(a), figure(b)) {
                    (Some(x), Some(y)) => turn(x.total_cmp(&y), descending(table, pane)),
                    (x, y) => y.is_some().cmp(&x.is_some()),
                }
            }
        };
        order.then(a.id.cmp(&b.id))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn view(kind: &str) -> View {
        fixture::views().into_iter().map(|v| v.1).find(|v| v.kind() == kind).unwrap()
    }

    #[test]
    fn the_cursor_reaches_neighbours_and_never_leaves() {
        for kind in ["clusters", "scatter"] {
            let view = view(kind);
            let mut pane = Pane::default();
            pane.follow(&view);
            let all = points(&view);
            let mut seen = std::collections::HashSet::new();
            for i in 0..2000_usize {
                let toward = [Toward::Right, Toward::Down, Toward::Left, Toward::Up][(i / 7 + i * i % 11) % 4];
                let before = all[pane.list.selected];
                pane.go(&view, toward);
                let after = all[pane.list.selected];
                match toward {
                    Toward::Right => assert!(after[0] >= before[0]),
                    Toward::Left => assert!(after[0] <= before[0]),
                    Toward::Up => assert!(after[1] >= before[1]),
                    Toward::Down => assert!(after[1] <= before[1]),
                }
                seen.insert(pane.list.selected);
            }
            assert!(seen.len() > all.len() / 3, "{kind}: {} of {}", seen.len(), all.len());
        }
    }

    #[test]
    fn costs_have_no_axis_below_zero() {
        let group = kiln_protocol::view::ScatterGroup { points: vec![[1.0, 0.9], [2.0e6, 0.98]], ..Default::default() };
        let view = View::Scatter(Scatter { groups: vec![group], ..Scatter::default() });
        let mut pane = Pane::default();
        pane.follow(&view);
        assert_eq!(pane.x.scale().lo, 0.0);
    }

    #[test]
    fn winners_are_visited_in_turn() {
        let View::Clusters(clusters) = view("clusters") else { unreachable!() };
        let mut pane = Pane::default();
        let mut visited = Vec::new();
        for _ in 0..clusters.names.len() {
            pane.next_winner(&clusters);
            assert!(clusters.points[pane.list.selected].winner);
            visited.push(pane.list.selected);
        }
        visited.sort();
        visited.dedup();
        assert_eq!(visited.len(), clusters.names.len());
        pane.next_winner(&Clusters::default());
    }

    #[test]
    fn candidates_sort_from_the_best_with_unknown_figures_last() {
        let View::Candidates(table) = view("candidates") else { unreachable!() };
        let mut pane = Pane::default();
        for column in 0..table.columns.len() + 2 {
            assert_eq!(pane.sort, column);
            for reverse in [false, true] {
                pane.reverse = reverse;
                let rows = sorted(&table, &pane);
                assert_eq!(rows.len(), table.rows.len());
                if column >= 2 {
                    let figures: Vec<_> = rows.iter().map(|r| r.cells[column - 2]).collect();
                    let known: Vec<f64> = figures.iter().map_while(|f| *f).collect();
                    assert!(figures[known.len()..].iter().all(Option::is_none));
                    let down = table.columns[column - 2].higher_is_better.unwrap_or(false) != reverse;
                    assert_eq!(descending(&table, &pane), down);
                    assert!(known.windows(2).all(|w| if down { w[0] >= w[1] } else { w[0] <= w[1] }));
                }
            }
            pane.step_sort(&table, 1);
        }
        assert_eq!(pane.sort, 0);
    }

    #[test]
    fn the_selected_candidate_stays_selected_when_the_order_changes() {
        let View::Candidates(table) = view("candidates") else { unreachable!() };
        let mut pane = Pane::default();
        pane.step_candidate(&table, 3);
        let id = pane.candidate;
        for _ in 0..6 {
            pane.step_sort(&table, 1);
            pane.fit_candidates(&table, 5);
            assert_eq!(Some(sorted(&table, &pane)[pane.list.selected].id), id);
        }
    }

    #[test]
    fn a_ragged_matrix_is_walked_safely() {
        let matrix = Matrix { values: vec![vec![Some(1.0)], vec![], vec![None, Some(f64::NAN)]], ..Matrix::default() };
        let view = View::Matrix(matrix.clone());
        let mut pane = Pane::default();
        for toward in [Toward::Down, Toward::Right, Toward::Right, Toward::Down, Toward::Down, Toward::Up] {
            pane.go(&view, toward);
            pane.fit_matrix(&matrix, 1, 1);
            assert_eq!(pane.cell, pane.corner);
        }
        assert_eq!(pane.cell, (1, 1));
        pane.go(&View::Matrix(Matrix::default()), Toward::Down);
        pane.fit_matrix(&Matrix::default(), 5, 5);
        assert_eq!(pane.cell, (0, 0));
    }
}
