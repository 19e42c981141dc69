//! Where things are. Shared by drawing and by [`crate::update`], which has to know how many rows and columns there are.
//!
//! Everything shrinks: a part that has no room is an empty rectangle, and empty rectangles draw nothing.

use ratatui::layout::{Rect, Size};

use crate::chart::plot;
use crate::text;

mod comparison;

pub use comparison::{CompareAreas, CompareCurves, CompareList, compare, compare_curves, compare_list, compare_table};

/// The three bands of every screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    pub header: Rect,
    pub body: Rect,
    pub footer: Rect,
}

/// The `n` rows at `top` of `area`, as many as there are.
pub fn rows(area: Rect, top: u16, n: u16) -> Rect {
    let top = top.min(area.height);
    Rect { y: area.y + top, height: n.min(area.height - top), ..area }
}

/// All rows of `area` from `top` on.
pub fn below(area: Rect, top: u16) -> Rect {
    rows(area, top, area.height)
}

/// `area` without a column at each side, where it is wide enough.
pub fn inset(area: Rect) -> Rect {
    if area.width >= 20 { Rect { x: area.x + 1, width: area.width - 2, ..area } } else { area }
}

/// Header, body, footer. The body comes first when there are few rows.
pub fn bands(size: Size) -> Bands {
    let all = Rect::new(0, 0, size.width, size.height);
    let header = u16::from(size.height >= 3);
    let footer = u16::from(size.height >= 2);
    Bands {
        header: rows(all, 0, header),
        body: rows(all, header, size.height - header - footer),
        footer: rows(all, size.height - footer, footer),
    }
}

/// The line of a message: one that the screen leaves empty, else the headline of a run, else the header, as over anything that
/// lies over the screen. Never a row of a list, never the keys.
pub fn message(size: Size, detail: bool, covered: bool) -> Rect {
    let Bands { header, body, .. } = bands(size);
    let top = match body.height {
        _ if covered => None,
        34.. if detail && inset(body).width >= 100 => Some(7),
        16.. if detail => Some(2),
        9.. if detail => Some(0),
        10.. => Some(0),
        _ => None,
    };
    match top {
        Some(top) => rows(body, top, 1),
        None => header,
    }
}

/// The screen of runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunsAreas {
    /// Counts, order, filter.
    pub caption: Rect,
    /// Names of columns.
    pub heading: Rect,
    pub list: Rect,
    /// More about the selected run.
    pub about: Rect,
}

pub fn runs(size: Size) -> RunsAreas {
    let body = inset(bands(size).body);
    let tall = body.height;
    let top = match tall {
        0..4 => 0,
        4..10 => 1,
        _ => 3,
    };
    let about = if tall >= 18 { 5 } else { 0 };
    RunsAreas {
        caption: if tall >= 10 { rows(body, 1, 1) } else { rows(body, 0, 0) },
        heading: if tall >= 4 { rows(body, top - 1 + u16::from(tall >= 10), 1) } else { rows(body, 0, 0) },
        list: rows(body, top + u16::from(tall >= 10), tall.saturating_sub(top + u16::from(tall >= 10) + about)),
        about: rows(body, tall - about, about),
    }
}

/// The screen of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetailAreas {
    /// State and note; on tall screens several lines.
    pub title: Rect,
    /// The judged figure in large digits; empty where there is no room.
    pub figure: Rect,
    pub progress: Rect,
    pub tabs: Rect,
    pub content: Rect,
}

/// Cells of the large figure: six digits and a point.
const FIGURE: u16 = 30;

pub fn detail(size: Size) -> DetailAreas {
    let body = inset(bands(size).body);
    let none = Rect { width: 0, height: 0, ..body };
    if body.height >= 34 && body.width >= 100 {
        let figure = Rect { x: body.right() - FIGURE, y: body.y + 1, width: FIGURE, height: 4 };
        return DetailAreas {
            title: Rect { width: body.width - FIGURE - 2, ..rows(body, 1, 4) },
            figure,
            progress: rows(body, 6, 1),
            tabs: rows(body, 8, 1),
            content: below(body, 10),
        };
    }
    match body.height {
        0..4 => DetailAreas { title: none, figure: none, progress: none, tabs: none, content: body },
        4..9 => {
            DetailAreas { title: none, figure: none, progress: none, tabs: rows(body, 0, 1), content: below(body, 1) }
        }
        9..16 => DetailAreas {
            title: rows(body, 0, 1),
            figure: none,
            progress: rows(body, 1, 1),
            tabs: rows(body, 2, 1),
            content: below(body, 3),
        },
        _ => DetailAreas {
            title: rows(body, 0, 1),
            figure: none,
            progress: rows(body, 1, 1),
            tabs: rows(body, 3, 1),
            content: below(body, 4),
        },
    }
}

/// Cells at the end of the line of tabs that say which one this is of how many, where they are not all in view.
pub const TAB_COUNT: u16 = 11;

/// Where the titles of tabs go in a line `width` cells wide: index, first cell, cells. No title is cut but one that is wider
/// than the line: where they do not all fit, those before and after the current one move out of view, and [`TAB_COUNT`]
/// cells are left at the end of a line that has room for them.
pub fn tabs(titles: &[&str], current: usize, width: u16) -> Vec<(usize, u16, u16)> {
    let wide: Vec<u16> = titles.iter().map(|t| text::width(t) as u16).collect();
    let total = |wide: &[u16], gap: u16| wide.iter().map(|w| w + gap).sum::<u16>().saturating_sub(gap);
    let gap = [3, 2].into_iter().find(|gap| total(&wide, *gap) <= width);
    let room = if gap.is_none() && width >= 4 * TAB_COUNT { width - TAB_COUNT } else { width };
    let gap = gap.unwrap_or(2);
    let mut first = 0;
    while first < current && current < wide.len() && total(&wide[first..=current], gap) > room {
        first += 1;
    }
    let mut out = Vec::new();
    let mut at = 0;
    for (i, w) in wide.iter().enumerate().skip(first) {
        if at + w > room && i != current {
            break;
        }
        out.push((i, at, (*w).min(room.saturating_sub(at))));
        at += w + gap;
    }
    out
}

/// The tab of curves: a line of captions, then the charts.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvesAreas {
    pub caption: Rect,
    /// Index of each visible panel, and its place.
    pub panels: Vec<(usize, Rect)>,
}

/// Least size of a chart where several share the screen.
const PANEL: (u16, u16) = (64, 13);

pub fn curves(size: Size, panels: usize, focus: usize, alone: bool) -> CurvesAreas {
    let content = detail(size).content;
    let caption = u16::from(content.height >= 6 && panels > 0);
    let charts = below(content, caption);
    let mut areas = CurvesAreas { caption: rows(content, 0, caption), panels: Vec::new() };
    if panels == 0 || charts.is_empty() {
        return areas;
    }
    let fit = |room: u16, least: u16| usize::from(room / least).max(1);
    let (mut across, mut down) = (1, 1);
    if !alone {
        across = fit(charts.width, PANEL.0).min(panels).min(3);
        down = fit(charts.height, PANEL.1).min(panels.div_ceil(across));
        // Four charts in two rows of two rather than three and one.
        across = across.min(panels.div_ceil(down));
    }
    let shown = (across * down).min(panels);
    // The page of panels that holds the focused one.
    let first = (focus.min(panels - 1) / shown) * shown;
    let first = first.min(panels - shown);
    let (across16, down16) = (across as u16, down as u16);
    const GAP: u16 = 3;
    let width = (charts.width.saturating_sub((across16 - 1) * GAP)) / across16;
    let height = charts.height / down16;
    for i in 0..shown {
        let (column, row) = ((i % across) as u16, (i / across) as u16);
        let y = charts.y + row * height;
        // The last row takes what the division leaves.
        let tall = if row + 1 == down16 { charts.bottom() - y } else { height - u16::from(height > PANEL.1) };
        areas.panels.push((first + i, Rect { x: charts.x + column * (width + GAP), y, width, height: tall }));
    }
    areas
}

/// A panel's legend and chart.
pub fn panel(area: Rect) -> (Rect, Rect) {
    let legend = u16::from(area.height >= 3);
    (rows(area, 0, legend), below(area, legend))
}

/// Columns of dots of a panel's chart: what the engine is asked for.
pub fn panel_columns(area: Rect, braille: bool) -> u32 {
    plot::columns(panel(area).1, braille)
}

/// A picture with a line of facts below, and a legend aside where there is room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureAreas {
    pub caption: Rect,
    pub picture: Rect,
    pub legend: Rect,
    pub note: Rect,
    pub label: Rect,
}

pub fn picture(size: Size) -> PictureAreas {
    picture_in(detail(size).content)
}

/// Points in a plane with their legend, wherever they are drawn.
pub fn picture_in(content: Rect) -> PictureAreas {
    let FigureAreas { caption, body, note, label } = figure(content);
    let legend = if body.width >= 60 { (body.width / 4).clamp(18, 32) } else { 0 };
    PictureAreas {
        caption,
        picture: Rect { width: body.width - legend - u16::from(legend > 0), ..body },
        legend: Rect { x: body.right() - legend, width: legend, ..body },
        note,
        label,
    }
}

/// A figure with its title above, and the method's note and what the cursor is on below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FigureAreas {
    pub caption: Rect,
    pub body: Rect,
    pub note: Rect,
    pub label: Rect,
}

pub fn figure(content: Rect) -> FigureAreas {
    let (caption, below_lines) = match content.height {
        0..5 => (0, 0),
        5..8 => (0, 1),
        _ => (1, 2),
    };
    FigureAreas {
        caption: rows(content, 0, caption),
        body: rows(content, caption, content.height - caption - below_lines),
        note: if below_lines == 2 { rows(content, content.height - 2, 1) } else { rows(content, 0, 0) },
        label: rows(content, content.height - below_lines.min(1), below_lines.min(1)),
    }
}

/// Cells of a histogram where several share the pane: fewer show no shape.
const HISTOGRAM: (u16, u16) = (24, 6);

/// How many times wider than high a histogram looks best, in cells.
const ASPECT: f64 = 4.0;

/// How many histograms stand across and down: all of them, in the shape that suits them, or as many as there is room for.
fn histogram_grid(n: usize, area: Rect) -> (usize, usize) {
    let most = (usize::from(area.width / HISTOGRAM.0).max(1), usize::from(area.height / HISTOGRAM.1).max(1));
    let oddness = |&(across, down): &(usize, usize)| {
        let (wide, high) = (f64::from(area.width.max(1)) / across as f64, f64::from(area.height.max(1)) / down as f64);
        (wide / high / ASPECT).ln().abs()
    };
    let all = (1..=most.1.min(n)).map(|down| n.div_ceil(down)).filter(|across| *across <= most.0);
    // As many rows as that many across need: none stays empty.
    let all = all.map(|across| (across, n.div_ceil(across)));
    all.min_by(|a, b| oddness(a).total_cmp(&oddness(b))).unwrap_or(most)
}

/// Index and place of the histograms in view in `area`: all of them, else the page that holds the one looked at, or that one
/// alone.
pub fn histograms(area: Rect, n: usize, focus: usize, alone: bool) -> Vec<(usize, Rect)> {
    if n == 0 || area.is_empty() {
        return Vec::new();
    }
    let focus = focus.min(n - 1);
    if alone {
        return vec![(focus, area)];
    }
    const GAP: u16 = 2;
    let (across, down) = histogram_grid(n, area);
    let shown = across * down;
    let first = focus / shown * shown;
    let (across16, down16) = (across as u16, down as u16);
    let width = area.width.saturating_sub((across16 - 1) * GAP) / across16;
    let height = area.height / down16;
    let place = |i: usize| {
        let (column, row) = ((i % across) as u16, (i / across) as u16);
        let y = area.y + row * height;
        // The last row takes what the division leaves; the others keep a line free where there is one to spare.
        let tall = if row + 1 == down16 { area.bottom() - y } else { height - u16::from(height > HISTOGRAM.1) };
        (first + i, Rect { x: area.x + column * (width + GAP), y, width, height: tall })
    };
    (0..shown.min(n - first)).map(place).collect()
}

/// A histogram: its name, names of marked places (where there are any), and the chart with its axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramAreas {
    pub name: Rect,
    pub marks: Rect,
    pub chart: Rect,
}

pub fn histogram(area: Rect, marked: bool) -> HistogramAreas {
    let name = u16::from(area.height >= 3);
    let marks = u16::from(marked && area.height >= 5);
    HistogramAreas { name: rows(area, 0, name), marks: rows(area, name, marks), chart: below(area, name + marks) }
}

/// A table of layers within a figure's body: names of columns, and rows.
pub fn layers(content: Rect) -> (Rect, Rect) {
    let body = figure(content).body;
    let heading = u16::from(body.height >= 3);
    (rows(body, 0, heading), below(body, heading))
}

/// Curves with error bars: as [`picture`], with a legend that has room for figures.
pub fn lines(size: Size) -> PictureAreas {
    let areas = picture(size);
    let body = Rect { width: detail(size).content.width, ..areas.picture };
    let legend = if body.width >= 60 { (body.width * 2 / 5).clamp(28, 48) } else { 0 };
    PictureAreas {
        picture: Rect { width: body.width - legend - 2 * u16::from(legend > 0), ..body },
        legend: Rect { x: body.right() - legend, width: legend, ..body },
        ..areas
    }
}

/// A map of blocks: the map itself, budgets below it, the method's note, and lines about the block under the cursor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlocksAreas {
    pub caption: Rect,
    pub body: Rect,
    pub gauges: Rect,
    pub note: Rect,
    pub label: Rect,
}

/// `gauges`: how many budgets there are.
pub fn blocks(size: Size, gauges: usize) -> BlocksAreas {
    let content = detail(size).content;
    let tall = content.height;
    let caption = u16::from(tall >= 6);
    let label = match tall {
        0..4 => 0,
        4..10 => 1,
        _ => 2,
    };
    let note = u16::from(tall >= 12);
    let gauges = if tall >= 9 { (gauges.min(6) as u16).min(tall / 4) } else { 0 };
    let gap = u16::from(tall >= 30 && gauges > 0);
    let body = tall - caption - label - note - gauges - gap;
    BlocksAreas {
        caption: rows(content, 0, caption),
        body: rows(content, caption, body),
        gauges: rows(content, caption + body + gap, gauges),
        note: rows(content, caption + body + gap + gauges, note),
        label: rows(content, tall - label, label),
    }
}

/// The jobs of an experiment: counts, names of columns, rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobsAreas {
    pub caption: Rect,
    pub heading: Rect,
    pub list: Rect,
}

pub fn jobs(size: Size) -> JobsAreas {
    let content = detail(size).content;
    let (caption, heading) = (u16::from(content.height >= 5), u16::from(content.height >= 3));
    JobsAreas {
        caption: rows(content, 0, caption),
        heading: rows(content, caption, heading),
        list: below(content, caption + heading),
    }
}

/// The page of a candidate: words, and beside or below them the charts of its history.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectAreas {
    pub words: Rect,
    pub charts: Vec<Rect>,
}

/// `charts`: how many there are to draw; those without room are left out.
pub fn inspect(size: Size, charts: usize) -> InspectAreas {
    let content = detail(size).content;
    if charts == 0 || content.height < 6 {
        return InspectAreas { words: content, charts: Vec::new() };
    }
    if content.width >= 110 {
        let wide = (content.width * 2 / 5).min(80);
        let right = Rect { x: content.right() - wide, width: wide, ..content };
        let fit = charts.min(usize::from(right.height / 8).max(1));
        let height = (right.height / fit as u16).min(16);
        let charts = (0..fit as u16).map(|i| rows(right, i * height, height)).collect();
        return InspectAreas { words: Rect { width: content.width - wide - 3, ..content }, charts };
    }
    if content.height < 15 {
        return InspectAreas { words: content, charts: Vec::new() };
    }
    let height = content.height * 2 / 5;
    InspectAreas {
        words: rows(content, 0, content.height - height),
        charts: vec![rows(content, content.height - height, height)],
    }
}

/// A table of candidates: heading, rows, and a line about the selected one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CandidatesAreas {
    pub heading: Rect,
    pub list: Rect,
    pub label: Rect,
}

pub fn candidates(size: Size) -> CandidatesAreas {
    let content = detail(size).content;
    let (heading, label) = (u16::from(content.height >= 3), if content.height >= 8 { 2 } else { 0 });
    CandidatesAreas {
        heading: rows(content, 0, heading),
        list: rows(content, heading, content.height - heading - label),
        label: rows(content, content.height - label.min(1), label.min(1)),
    }
}

/// Cells before the text of a log line: time, a blank, level, a blank.
pub const LOG_MARGIN: u16 = 11;

/// The log: lines and, where there is room, a line about search and following.
pub fn log(size: Size) -> (Rect, Rect) {
    let content = detail(size).content;
    let caption = u16::from(content.height >= 4);
    (rows(content, 0, content.height - caption), rows(content, content.height - caption, caption))
}

/// Cells for the text of a log line.
pub fn log_cells(area: Rect) -> usize {
    usize::from(area.width - log_margin(area))
}

/// Cells before it; none on narrow screens.
pub fn log_margin(area: Rect) -> u16 {
    if area.width >= 4 * LOG_MARGIN { LOG_MARGIN } else { 0 }
}

/// A heat map: cells of `cell` columns, `per_row` matrix rows to a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixAreas {
    pub caption: Rect,
    pub heading: Rect,
    pub cells: Rect,
    pub labels: Rect,
    pub label: Rect,
    /// Columns of the screen that a cell takes.
    pub cell: u16,
    /// Rows of the matrix in a line of the screen: 2 with half-blocks.
    pub per_row: u16,
}

/// `halves`: whether two rows may share a line (needs colours and Unicode).
pub fn matrix(size: Size, rows_all: usize, columns_all: usize, label_width: usize, halves: bool) -> MatrixAreas {
    let content = detail(size).content;
    let caption = u16::from(content.height >= 8);
    let label = u16::from(content.height >= 4);
    let heading = u16::from(content.height >= 6);
    let labels = if content.width >= 40 { (label_width as u16 + 1).min(content.width / 4) } else { 0 };
    let body = rows(content, caption + heading, content.height - caption - heading - label);
    let cells = Rect { x: body.x + labels, width: body.width - labels, ..body };
    let crowded = rows_all > usize::from(cells.height);
    let per_row = if halves && crowded { 2 } else { 1 };
    let room = usize::from(cells.width) / columns_all.max(1);
    let cell = if per_row == 2 { room.clamp(1, 4) } else { room.clamp(1, 8) } as u16;
    MatrixAreas {
        caption: rows(content, 0, caption),
        heading: Rect { x: cells.x, width: cells.width, ..rows(content, caption, heading) },
        cells,
        labels: Rect { width: labels, ..body },
        label: rows(content, content.height - label, label),
        cell,
        per_row,
    }
}

/// The launcher: list on the left, about the selected preset on the right (below on narrow screens).
pub fn launcher(size: Size) -> (Rect, Rect, Rect) {
    let body = inset(bands(size).body);
    if body.height < 6 {
        return (rows(body, 0, 0), body, rows(body, 0, 0));
    }
    let caption = rows(body, 1, 1);
    let rest = below(body, 3);
    if body.width >= 76 {
        let list = (body.width * 2 / 5).clamp(26, 44);
        let about = Rect { x: rest.x + list + 3, width: rest.width - list - 3, ..rest };
        return (caption, Rect { width: list, ..rest }, about);
    }
    let list = (rest.height / 2).clamp(1, 8);
    (caption, rows(rest, 0, list), below(rest, list + 1))
}

/// The launcher's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormAreas {
    pub caption: Rect,
    /// What a run would cost; empty on low screens.
    pub costs: Rect,
    pub list: Rect,
    /// About the selected setting, under a rule; empty on low screens.
    pub about: Rect,
}

pub fn form(size: Size) -> FormAreas {
    let body = inset(bands(size).body);
    if body.height < 8 {
        let none = rows(body, 0, 0);
        return FormAreas { caption: none, costs: none, list: body, about: none };
    }
    let about = (body.height / 3).clamp(4, 9);
    let costs = u16::from(body.height >= 12);
    let list = below(body, 3 + costs);
    FormAreas {
        caption: rows(body, 1, 1),
        costs: rows(body, 2, costs),
        list: rows(list, 0, list.height.saturating_sub(about)),
        about: rows(body, body.height - about, about),
    }
}

/// The page of the machine: one column of lines, or two, and lines about what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemAreas {
    /// The second is empty where there is one column.
    pub columns: [Rect; 2],
    /// Under a rule; empty on low screens.
    pub about: Rect,
}

impl SystemAreas {
    /// Cells of each column.
    pub fn widths(&self) -> [usize; 2] {
        self.columns.map(|c| usize::from(c.width))
    }
}

pub fn system(size: Size) -> SystemAreas {
    let body = inset(bands(size).body);
    let about = if body.height >= 14 { 3 } else { 0 };
    let top = u16::from(body.height >= 10);
    let page = rows(body, top, body.height.saturating_sub(top + about));
    let about = rows(body, body.height - about, about);
    if body.width < 150 {
        return SystemAreas { columns: [page, Rect { width: 0, ..page }], about };
    }
    const GAP: u16 = 4;
    let left = (body.width - GAP) / 2;
    let right = Rect { x: body.x + left + GAP, width: body.width - left - GAP, ..page };
    SystemAreas { columns: [Rect { width: left, ..page }, right], about }
}

/// A box in the middle of the screen.
pub fn dialog(size: Size, width: u16, height: u16) -> Rect {
    let (w, h) = (width.min(size.width), height.min(size.height));
    Rect { x: (size.width - w) / 2, y: (size.height - h) / 2, width: w, height: h }
}

/// The help overlay, and the picker.
pub fn help(size: Size) -> Rect {
    dialog(size, 92, size.height.saturating_sub(2).max(1))
}

/// A page of the tour.
pub fn tour(size: Size) -> Rect {
    dialog(size, 72, 18)
}

/// A question with this text: its box, and the lines of the text within.
pub fn question(size: Size, words: &str) -> (Rect, Vec<String>) {
    let width = 60.min(size.width);
    let lines = text::wrap(words, usize::from(width.saturating_sub(4)).max(1));
    (dialog(size, width, lines.len() as u16 + 4), lines)
}

pub fn picker(size: Size) -> Rect {
    dialog(size, 64, size.height.saturating_sub(4).clamp(1, 30))
}

/// The palette: what is typed, and what matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaletteAreas {
    pub frame: Rect,
    pub query: Rect,
    pub list: Rect,
}

pub fn palette(size: Size) -> PaletteAreas {
    let height = size.height.saturating_sub(4).clamp(1, 24);
    let frame = dialog(size, 100, height);
    // In the upper half: what is typed stays where the eyes are, however few lines match.
    let frame = Rect { y: (size.height - frame.height).min(2), ..frame };
    let inner = framed(frame);
    PaletteAreas { frame, query: rows(inner, 0, 1), list: below(inner, 1) }
}

/// The saved views.
pub fn views(size: Size) -> Rect {
    dialog(size, 76, size.height.saturating_sub(4).clamp(1, 16))
}

/// The part of a framed box inside its frame; of a box too small for a frame, all of it.
pub fn framed(area: Rect) -> Rect {
    if area.width < 12 || area.height < 4 {
        return area;
    }
    Rect { x: area.x + 2, y: area.y + 1, width: area.width - 4, height: area.height - 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(part: Rect, size: Size) {
        assert!(part.right() <= size.width && part.bottom() <= size.height, "{part:?} in {size:?}");
    }

    #[test]
    fn nothing_ever_leaves_the_screen() {
        for width in (0..70).chain([79, 80, 99, 100, 120, 200, 400]) {
            for height in (0..60).chain([100]) {
                let size = Size { width, height };
                let b = bands(size);
                assert_eq!(b.header.height + b.body.height + b.footer.height, height);
                let r = runs(size);
                let d = detail(size);
                let p = picture(size);
                let c = candidates(size);
                let m = matrix(size, 40, 40, 12, true);
                let l = launcher(size);
                let parts = [
                    r.caption,
                    r.heading,
                    r.list,
                    r.about,
                    d.title,
                    d.figure,
                    d.progress,
                    d.tabs,
                    d.content,
                    p.caption,
                    p.picture,
                    p.legend,
                    p.note,
                    p.label,
                    lines(size).picture,
                    lines(size).legend,
                    inspect(size, 2).words,
                    jobs(size).list,
                    inspect(size, 2).charts.last().copied().unwrap_or_default(),
                    blocks(size, 3).body,
                    blocks(size, 3).gauges,
                    blocks(size, 3).note,
                    blocks(size, 3).label,
                    c.heading,
                    c.list,
                    c.label,
                    log(size).0,
                    log(size).1,
                    m.caption,
                    m.heading,
                    m.cells,
                    m.labels,
                    m.label,
                    l.0,
                    l.1,
                    l.2,
                    system(size).columns[0],
                    system(size).columns[1],
                    system(size).about,
                    help(size),
                    palette(size).frame,
                    palette(size).query,
                    palette(size).list,
                    views(size),
                    picker(size),
                    framed(help(size)),
                ];
                parts.into_iter().for_each(|part| inside(part, size));
                let f = figure(d.content);
                let lines = [f.caption, f.body, f.note, f.label, layers(d.content).0, layers(d.content).1];
                lines.into_iter().for_each(|part| inside(part, size));
                for (n, focus, alone) in [(0, 0, false), (1, 0, false), (3, 2, false), (40, 39, false), (7, 3, true)] {
                    let areas = histograms(f.body, n, focus, alone);
                    assert!(n == 0 || f.body.is_empty() || areas.iter().any(|a| a.0 == focus), "{size:?} {n}");
                    for (_, area) in areas {
                        inside(area, size);
                        let parts = histogram(area, true);
                        [parts.name, parts.marks, parts.chart].into_iter().for_each(|part| inside(part, size));
                    }
                }
                log_cells(log(size).0);
                for panels in [0, 1, 2, 5, 9] {
                    for focus in 0..panels.max(1) {
                        for alone in [false, true] {
                            let areas = curves(size, panels, focus, alone);
                            areas.panels.iter().for_each(|p| inside(p.1, size));
                            if panels > 0 && !d.content.is_empty() {
                                assert!(areas.panels.iter().any(|p| p.0 == focus), "{size:?} {panels} {focus}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_current_tab_is_always_in_view() {
        let titles = ["Curves", "clusters", "candidates", "early and final", "Log", "Settings"];
        for width in 1..80 {
            for current in 0..titles.len() {
                let spans = tabs(&titles, current, width);
                assert!(spans.iter().any(|s| s.0 == current), "{width} {current}");
                assert!(spans.iter().all(|s| s.1 + s.2 <= width));
            }
        }
        // Where they do not all fit, none is cut, and what is left out can be told.
        for (current, width) in [(0, 46), (3, 46), (5, 46)] {
            let spans = tabs(&titles, current, width);
            assert!(spans.len() < 6 && spans.iter().all(|s| s.1 + s.2 <= width - TAB_COUNT), "{spans:?}");
            assert!(spans.iter().all(|(i, _, w)| usize::from(*w) == text::width(titles[*i])), "{spans:?}");
        }
        assert!(tabs(&[], 0, 10).is_empty());
    }

    #[test]
    fn histograms_fill_the_pane_or_come_in_pages() {
        let grid = |n, width, height| histogram_grid(n, Rect::new(0, 0, width, height));
        assert_eq!(grid(1, 78, 15), (1, 1));
        assert_eq!(grid(6, 78, 15), (3, 2));
        assert_eq!(grid(6, 198, 34), (3, 2));
        assert_eq!(grid(50, 78, 15), (3, 2), "in pages");
        for n in 1..60 {
            for (width, height) in [(38, 8), (78, 15), (198, 34), (20, 3)] {
                let (across, down) = grid(n, width, height);
                assert!(across * (down - 1) < n, "an empty row: {n} at {width}x{height}");
                let shown = histograms(Rect::new(0, 0, width, height), n, n - 1, false);
                assert_eq!(shown.last().map(|s| s.0), Some(n - 1));
            }
        }
    }

    #[test]
    fn an_ordinary_terminal_has_room_for_everything() {
        let size = Size { width: 80, height: 24 };
        assert!(runs(size).list.height >= 10);
        assert!(detail(size).content.height >= 17);
        assert_eq!(curves(size, 2, 0, false).panels.len(), 1);
        assert_eq!(curves(Size { width: 200, height: 50 }, 2, 0, false).panels.len(), 2);
    }
}
