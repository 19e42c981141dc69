//! The list of runs.

use kiln_protocol::{RunState, RunSummary};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::action::Action;
use crate::glyphs::Glyphs;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::arrange::tags;
use crate::model::runs::{Column, Line, SortBy, doing};
use crate::model::{Link, Model};
use crate::text;
use crate::theme::Role;
use crate::view::paint;

/// Role and sign of a state: never colour alone.
pub fn state_sign(state: RunState, glyphs: &Glyphs) -> (Role, &'static str) {
    match state {
        RunState::Queued => (Role::Queued, glyphs.queued),
        RunState::Starting => (Role::Starting, glyphs.starting),
        RunState::Running => (Role::Running, glyphs.running),
        RunState::Paused => (Role::Paused, glyphs.paused),
        RunState::Stopping => (Role::Stopping, glyphs.stopping),
        RunState::Stopped => (Role::Stopped, glyphs.stopped),
        RunState::Completed => (Role::Completed, glyphs.completed),
        RunState::Failed => (Role::Failed, glyphs.failed),
    }
}

/// Cells of each column; 0 leaves it out.
struct Columns {
    name: usize,
    /// Those that were asked for, as far as there is room.
    asked: Vec<(Column, usize)>,
    state: usize,
    bar: usize,
    percent: usize,
    best: usize,
    device: usize,
    eta: usize,
    age: usize,
    note: usize,
}

/// Cells of the shortest bar that says anything, and of a name that gives way to it.
const LEAST_BAR: usize = 6;
const LEAST_NAME: usize = 20;

impl Columns {
    fn new(width: u16, longest: usize, asked: Vec<(Column, usize)>) -> Columns {
        // What was asked for comes before what the list has by itself; the last ones give way where there is no room at all.
        let mut asked = asked;
        let mut width = usize::from(width);
        let taken = |asked: &[(Column, usize)]| asked.iter().map(|a| a.1 + 2).sum::<usize>();
        while !asked.is_empty() && width < taken(&asked) + LEAST_NAME + 2 {
            asked.pop();
        }
        width -= taken(&asked);
        let when = |least: usize, cells: usize| if width >= least { cells } else { 0 };
        let mut c = Columns {
            name: longest.clamp(8, 34),
            asked,
            state: when(96, 9),
            bar: 0,
            percent: when(24, 4),
            best: when(36, 8),
            device: if width >= 150 { 22 } else { when(70, 7) },
            eta: when(60, 11),
            age: when(46, 6),
            note: 0,
        };
        // A sign and a blank before the name; two blanks before each other column that is there.
        let others = |c: &Columns| -> usize {
            [c.state, c.bar, c.percent, c.best, c.device, c.eta, c.age, c.note]
                .iter()
                .filter(|w| **w > 0)
                .map(|w| w + 2)
                .sum()
        };
        // A long name gives way to the bar, down to what still tells runs apart: its end does, so it is cut in the middle.
        let bar = if width >= 60 { LEAST_BAR + 2 } else { 0 };
        let room = width.saturating_sub(2 + others(&c));
        let short = room.saturating_sub(bar).max(LEAST_NAME);
        c.name = c.name.min(short).min(room).max(width.min(8).saturating_sub(2));
        let mut left = width.saturating_sub(2 + c.name + others(&c));
        if left >= LEAST_BAR + 2 {
            c.bar = (left - 2).min(if width >= 150 { 34 } else { 26 });
            left -= c.bar + 2;
        }
        if left >= 16 {
            c.note = left - 2;
        }
        c
    }

    /// The columns that are asked for, as wide as their cells in these rows.
    fn asked(m: &Model, rows: &[&RunSummary]) -> Vec<(Column, usize)> {
        let width = |column: &Column| {
            let cells = rows.iter().filter_map(|run| column.cell(run, m.now)).map(|cell| text::width(&cell)).max();
            cells.unwrap_or(0).max(text::width(column.name())).min(column.widest())
        };
        m.runs.columns.iter().map(|column| (column.clone(), width(column))).collect()
    }

    /// The cells of a row, in order, each with its role, blanks between them.
    fn row(&self, cells: [(Role, String); 8], look: &Look) -> Vec<(Role, String)> {
        let e = look.glyphs.ellipsis;
        let shapes = [
            (self.state, false),
            (self.bar, false),
            (self.percent, true),
            (self.best, true),
            (self.device, false),
            (self.eta, true),
            (self.age, true),
            (self.note, false),
        ];
        let mut out = Vec::new();
        for ((role, cell), (width, right)) in cells.into_iter().zip(shapes).filter(|c| c.1.0 > 0) {
            out.push((Role::Text, "  ".to_owned()));
            out.push((role, if right { text::right(&cell, width, e) } else { text::left(&cell, width, e) }));
        }
        out
    }
}

pub fn draw(buf: &mut Buffer, m: &Model, look: &Look) {
    let areas = layout::runs(m.size);
    if m.runs.is_empty() {
        return empty(buf, m, look);
    }
    caption(buf, m, areas.caption, look);
    let lines = m.runs.lines();
    let rows_shown: Vec<&RunSummary> =
        lines.iter().filter_map(|line| if let Line::Run(run) = line { Some(*run) } else { None }).collect();
    let longest = rows_shown.iter().map(|r| text::width(&r.id.0)).max().unwrap_or(0);
    let columns = Columns::new(areas.list.width, longest, Columns::asked(m, &rows_shown));
    heading(buf, m, areas.heading, &columns, look);
    if rows_shown.is_empty() {
        let why = m.runs.why_none().unwrap_or_else(|| "No run matches.".into());
        let words =
            [(Role::Dim, why.as_str()), (Role::Text, " "), (Role::Key, "esc"), (Role::Dim, " takes the filter away.")];
        paint::line(buf, rows(areas.list, 0, 1), look, &words);
    }
    let height = usize::from(areas.list.height);
    for (i, line) in lines.iter().enumerate().skip(m.runs.list.offset).take(height) {
        let area = rows(areas.list, (i - m.runs.list.offset) as u16, 1);
        match line {
            Line::Group { name, runs, folded } => group(buf, area, name, (*runs, *folded), look),
            Line::Run(run) => {
                if m.runs.selected.as_ref() == Some(&run.id) {
                    paint::select(buf, area, look);
                }
                row(buf, m, area, run, &columns, look);
                if m.runs.marked.contains(&run.id) {
                    mark(buf, area, look);
                }
            }
        }
    }
    paint::scrollbar(
        buf,
        Rect { width: areas.list.width + u16::from(m.size.width >= 20), ..areas.list },
        look,
        m.runs.list.offset,
        lines.len(),
    );
    if let Some(run) = rows_shown.get(m.runs.list.selected) {
        about(buf, m, areas.about, run, look);
    }
}

/// The name of a group, and how many runs it has.
fn group(buf: &mut Buffer, area: Rect, name: &str, (runs, folded): (usize, usize), look: &Look) {
    let count = match (runs, folded) {
        (1, _) => "1 run".to_owned(),
        (_, 0) => format!("{runs} runs"),
        _ => format!("{runs} runs, {folded} folded away"),
    };
    let sign = if folded > 0 { look.glyphs.forward } else { look.glyphs.descending };
    let parts =
        [(Role::Faint, sign), (Role::Text, " "), (Role::Accent, name), (Role::Faint, "  "), (Role::Faint, &count)];
    let used = paint::line(buf, area, look, &parts);
    let rule = look.glyphs.rule.repeat(usize::from(area.width.saturating_sub(used + 1)));
    let rest = Rect { x: area.x + (used + 1).min(area.width), width: area.width.saturating_sub(used + 1), ..area };
    paint::line(buf, rest, look, &[(Role::Rule, &rule)]);
}

fn caption(buf: &mut Buffer, m: &Model, area: Rect, look: &Look) {
    let (live, queued, ended) = m.runs.counts();
    let counts = format!("   {live} active {sep} {queued} queued {sep} {ended} ended", sep = look.glyphs.separator);
    let used = paint::line(buf, area, look, &[(Role::Title, "Runs"), (Role::Dim, &counts)]);
    let order = match (m.runs.sort, m.runs.descending()) {
        (SortBy::Created, true) => "newest first".to_owned(),
        (SortBy::Created, false) => "oldest first".to_owned(),
        (by, descending) => format!("by {} {}", by.as_str(), look.glyphs.order(descending)),
    };
    let order = match m.runs.group {
        Some(group) => format!("{}, {order}", group.as_str()),
        None => order,
    };
    let shown = format!("{} of {}   ", m.runs.visible().len(), m.runs.all().len());
    let marked = format!("{} marked   ", m.runs.marked.len());
    let mut parts = vec![(Role::Faint, order.as_str())];
    if !m.runs.marked.is_empty() {
        parts.insert(0, (Role::Key, marked.as_str()));
    }
    if !m.runs.filter().is_empty() {
        let filter =
            [(Role::Accent, "/"), (Role::Accent, m.runs.filter()), (Role::Faint, "   "), (Role::Faint, &shown)];
        parts.splice(0..0, filter);
    }
    let room = Rect { x: area.x + used + 1, width: area.width.saturating_sub(used + 1), ..area };
    paint::line_right(buf, room, look, &parts);
}

/// The sign of a marked run, before the row where there is a cell, else between its state and its name.
fn mark(buf: &mut Buffer, area: Rect, look: &Look) {
    let x = if area.x > 0 { area.x - 1 } else { area.x + 1 };
    if let Some(cell) = buf.cell_mut((x, area.y)) {
        cell.set_symbol(look.glyphs.marker).set_style(look.style(Role::Key));
    }
}

fn heading(buf: &mut Buffer, m: &Model, area: Rect, columns: &Columns, look: &Look) {
    let sign = look.glyphs.order(m.runs.descending());
    let title = |text: &str, by: SortBy| {
        let sorted = m.runs.sort == by;
        (
            if sorted { Role::Accent } else { Role::Faint },
            if sorted { format!("{text}{sign}") } else { text.to_owned() },
        )
    };
    let name = title("run", SortBy::Name);
    // Without a column of states their signs are sorted; without bars the figures have the heading.
    let signs = if columns.state == 0 && m.runs.sort == SortBy::State { sign } else { "" };
    let mut parts = vec![
        (Role::Accent, text::left(signs, 2, "")),
        (name.0, text::left(&name.1, columns.name, look.glyphs.ellipsis)),
    ];
    for (column, cells) in &columns.asked {
        let title = ends(column.name(), *cells, column.is_figure(), look);
        parts.extend([(Role::Text, "  ".to_owned()), (Role::Faint, title)]);
    }
    let (over_bar, over_figure) = match columns.bar {
        0 => ((Role::Faint, String::new()), title("done", SortBy::Progress)),
        _ => (title("done", SortBy::Progress), (Role::Faint, String::new())),
    };
    let cells = [
        title("state", SortBy::State),
        over_bar,
        over_figure,
        title("best", SortBy::Best),
        title("device", SortBy::Device),
        title("left", SortBy::Eta),
        title("seen", SortBy::Age),
        (Role::Faint, "doing".into()),
    ];
    parts.extend(columns.row(cells, look));
    paint::words(buf, area, look, &parts);
}

/// A cell of a column that was asked for. Of a figure's name the end tells most: `accuracy` of `valid/accuracy`.
fn ends(cell: &str, cells: usize, to_right: bool, look: &Look) -> String {
    let leaf = if text::width(cell) > cells { cell.rsplit('/').next().unwrap_or(cell) } else { cell };
    if to_right {
        text::right(leaf, cells, look.glyphs.ellipsis)
    } else {
        text::left(leaf, cells, look.glyphs.ellipsis)
    }
}

/// How many jobs of an experiment have ended, in at most `cells` cells.
fn jobs_in_words(run: &RunSummary, cells: usize) -> Option<String> {
    let jobs = run.jobs?;
    let counts = format!("{}/{}", jobs.ended(), jobs.total);
    let full = format!("{counts} job{}", if jobs.total == 1 { "" } else { "s" });
    Some(if text::width(&full) <= cells { full } else { counts })
}

/// `cpu` of `cpu (2 cores)`, `cuda:0` of `cuda:0 NVIDIA H100`, where there is little room.
fn device(run: &RunSummary, cells: usize) -> &str {
    let full = run.device.as_deref().unwrap_or("");
    if text::width(full) <= cells { full } else { full.split(' ').next().unwrap_or(full) }
}

fn row(buf: &mut Buffer, m: &Model, area: Rect, run: &RunSummary, columns: &Columns, look: &Look) {
    let (role, sign) = state_sign(run.state, look.glyphs);
    let none = || look.glyphs.none.to_owned();
    let known = |text: Option<String>| text.map_or((Role::Faint, none()), |t| (Role::Text, t));
    let eta = run.eta.filter(|_| run.state == RunState::Running).map(text::duration);
    let age = run.last_event.map(|t| text::age(m.now - t));
    // A silent running worker is the one thing to notice at a glance.
    let silent = run.state == RunState::Running && run.last_event.is_some_and(|t| m.now - t > 60.0);
    let name_role = if run.state.is_live() { Role::Title } else { Role::Text };
    let started = run.progress.total > 0.0;
    let (done, rest) = paint::bar(columns.bar as u16, run.progress.fraction(), look);
    let percent = if started { text::percent(run.progress.fraction()) } else { String::new() };
    let cells = [
        (role, run.state.as_str().to_owned()),
        (Role::Bar, String::new()),
        (Role::Text, percent),
        known(run.best.as_ref().map(|b| text::number(b.value))),
        (Role::Dim, jobs_in_words(run, columns.device).unwrap_or_else(|| device(run, columns.device).to_owned())),
        known(eta),
        (if silent { Role::Warn } else { Role::Dim }, age.unwrap_or_else(none)),
        match doing(run) {
            // Where nothing is going on, there is room for what people say.
            "" if !columns.asked.iter().any(|a| a.0 == Column::Tags) => (Role::Accent, tags(run)),
            doing => (Role::Dim, doing.to_owned()),
        },
    ];
    let mut parts =
        vec![(role, format!("{sign} ")), (name_role, text::middle(&run.id.0, columns.name, look.glyphs.ellipsis))];
    for (column, cells) in &columns.asked {
        let (role, cell) = match column.cell(run, m.now) {
            Some(cell) if column.is_figure() => (Role::Text, cell),
            Some(cell) => (Role::Dim, cell),
            None => (Role::Faint, none()),
        };
        parts.extend([(Role::Text, "  ".to_owned()), (role, ends(&cell, *cells, column.is_figure(), look))]);
    }
    let mut after = columns.row(cells, look).into_iter();
    if columns.state > 0 {
        parts.extend(after.by_ref().take(2));
    }
    if columns.bar > 0 {
        parts.extend(after.by_ref().take(1));
        after.next();
        let muted = if run.state.is_live() { Role::Bar } else { Role::Faint };
        parts.extend([(muted, done), (Role::BarTrack, rest)]);
    }
    parts.extend(after);
    paint::words(buf, area, look, &parts);
}

/// More about the selected run, under the list.
fn about(buf: &mut Buffer, m: &Model, area: Rect, run: &RunSummary, look: &Look) {
    if area.height < 5 {
        return;
    }
    let (role, _) = state_sign(run.state, look.glyphs);
    let rule = look.glyphs.rule.repeat(usize::from(area.width));
    paint::line(buf, rows(area, 0, 1), look, &[(Role::Rule, &rule)]);
    let title = if run.title.is_empty() { &run.preset } else { &run.title };
    paint::line(buf, rows(area, 1, 1), look, &[(Role::Title, title)]);
    let tags = tags(run);
    let between = if tags.is_empty() { "" } else { "  " };
    let state = [
        (role, run.state.as_str()),
        (Role::Text, between),
        (Role::Accent, tags.as_str()),
        (Role::Text, "  "),
        (Role::Text, doing(run)),
    ];
    paint::line(buf, rows(area, 2, 1), look, &state);
    let facts = facts(m, run, look);
    paint::line(buf, rows(area, 3, 1), look, &[(Role::Dim, &facts)]);
    if !run.note.is_empty() {
        paint::line(buf, rows(area, 4, 1), look, &[(Role::Faint, "note  "), (Role::Text, &run.note)]);
    }
}

/// `seed 1`; `seeds 1, 2` of an experiment whose jobs are known.
fn seeds(m: &Model, run: &RunSummary) -> Option<String> {
    if run.jobs.is_none() {
        return Some(format!("seed {}", run.seed));
    }
    let mut seeds: Vec<u64> = m.runs.jobs(&run.id).iter().map(|job| job.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let words = match seeds.as_slice() {
        [] => return None,
        [seed] => format!("seed {seed}"),
        // A long row of them is told by its ends.
        [first, .., last] if seeds.len() > 5 => format!("{} seeds, {first} to {last}", seeds.len()),
        all => format!("seeds {}", all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    };
    Some(words)
}

/// Method, work done, time taken, device, attempts: what fits one line.
pub fn facts(m: &Model, run: &RunSummary, look: &Look) -> String {
    let mut facts = vec![run.method.clone()];
    facts.extend(seeds(m, run));
    if run.progress.total > 0.0 {
        let (done, total) = (text::count(run.progress.done.floor()), text::count(run.progress.total));
        facts.push(format!("{done} of {total} {}", run.progress.unit));
    }
    facts.extend(run.took(m.now).map(text::duration));
    if let Some(device) = &run.device {
        facts.push(device.clone());
    }
    if run.attempts > 1 {
        facts.push(format!("attempt {}", run.attempts));
    }
    if run.priority != 0 {
        facts.push(format!("priority {:+}", run.priority));
    }
    facts.join(&format!(" {} ", look.glyphs.separator))
}

/// No runs, or none known yet: what to press.
fn empty(buf: &mut Buffer, m: &Model, look: &Look) {
    let body = layout::bands(m.size).body;
    let middle = body.height / 2;
    let (new, leave) = (m.keymap.first_key(Action::Launcher), m.keymap.first_key(Action::Quit));
    let (what, how): (&str, [(Role, &str); 3]) = match (m.runs.loaded, &m.link) {
        (true, _) => ("No runs yet", [(Role::Key, new.as_str()), (Role::Dim, " opens the launcher"), (Role::Dim, "")]),
        (false, Link::Down { .. }) => {
            ("No engine", [(Role::Dim, "Kiln keeps trying; "), (Role::Key, leave.as_str()), (Role::Dim, " leaves")])
        }
        (false, _) => ("Connecting to the engine", [(Role::Dim, ""), (Role::Dim, ""), (Role::Dim, "")]),
    };
    paint::line_centre(buf, rows(body, middle.saturating_sub(1), 1), look, &[(Role::Title, what)]);
    paint::line_centre(buf, rows(body, middle + 1, 1), look, &how);
    if let (false, Link::Down { reason, .. }) = (m.runs.loaded, &m.link) {
        let width = usize::from(body.width.saturating_sub(4)).clamp(1, 90);
        for (i, line) in text::wrap(reason, width).iter().enumerate() {
            paint::line_centre(buf, rows(body, middle + 3 + i as u16, 1), look, &[(Role::Text, line)]);
        }
    }
}
