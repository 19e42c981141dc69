//! The jobs of an experiment.

use kiln_protocol::{RunState, RunSummary};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::detail::Detail;
use crate::model::runs::doing;
use crate::text;
use crate::theme::Role;
use crate::view::paint;
use crate::view::runs::state_sign;

/// Cells of each column; 0 leaves it out. The arm takes what it needs, the note what is left.
struct Columns {
    number: usize,
    arm: usize,
    seed: usize,
    state: usize,
    bar: usize,
    percent: usize,
    best: usize,
    time: usize,
    note: usize,
}

impl Columns {
    fn new(jobs: &[&RunSummary], width: u16) -> Columns {
        let width = usize::from(width);
        let when = |least: usize, cells: usize| if width >= least { cells } else { 0 };
        let widest = |f: &dyn Fn(&RunSummary) -> usize| jobs.iter().map(|job| f(job)).max().unwrap_or(0);
        let arm = widest(&|job| text::width(job.arm.as_deref().unwrap_or_default()));
        let mut c = Columns {
            number: widest(&|job| job.id.in_order().1.to_string().len()),
            arm: if arm > 0 { arm.max(3).min(width / 3) } else { 0 },
            seed: widest(&|job| job.seed.to_string().len()).max(4),
            state: when(60, 9),
            bar: 0,
            percent: when(30, 4),
            best: when(40, 8),
            time: when(50, 14),
            note: 0,
        };
        let used: usize = [c.number, c.arm, c.seed, c.state, c.bar, c.percent, c.best, c.time]
            .iter()
            .filter(|w| **w > 0)
            .map(|w| w + 2)
            .sum();
        // A sign and a blank stand before each row.
        let left = width.saturating_sub(used + 2);
        // A bar or a note of a few cells says nothing.
        if left >= 7 {
            c.bar = (left - 2).min(14);
        }
        c.note = left.saturating_sub(c.bar + 4);
        if c.note < 12 {
            c.note = 0;
        }
        c
    }

    /// Cells of a row, in order of the columns; numbers to the right.
    fn row(&self, cells: [(Role, String); 9], look: &Look) -> Vec<(Role, String)> {
        let shapes = [
            (self.number, true),
            (self.arm, false),
            (self.seed, true),
            (self.state, false),
            (self.bar, false),
            (self.percent, true),
            (self.best, true),
            (self.time, true),
            (self.note, false),
        ];
        let mut out = Vec::new();
        for ((role, cell), (width, right)) in cells.into_iter().zip(shapes).filter(|c| c.1.0 > 0) {
            let e = look.glyphs.ellipsis;
            out.push((role, if right { text::right(&cell, width, e) } else { text::left(&cell, width, e) }));
            out.push((Role::Text, "  ".to_owned()));
        }
        out
    }
}

pub fn draw(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let areas = layout::jobs(m.size);
    let jobs = m.runs.jobs(&detail.id);
    let columns = Columns::new(&jobs, areas.list.width);
    caption(buf, areas.caption, &jobs, look);
    let words = ["", "arm", "seed", "state", "done", "", "best", "time", "doing"];
    let heading = columns.row(words.map(|w| (Role::Faint, w.to_owned())), look);
    paint::words(buf, areas.heading, look, &[vec![(Role::Text, "  ".to_owned())], heading].concat());
    let shown = jobs.iter().enumerate().skip(detail.jobs.offset).take(usize::from(areas.list.height));
    for (i, job) in shown {
        let area = rows(areas.list, (i - detail.jobs.offset) as u16, 1);
        if i == detail.jobs.selected {
            paint::select(buf, area, look);
        }
        row(buf, m, area, job, &columns, look);
    }
    paint::scrollbar_beside(buf, areas.list, look, detail.jobs.offset, jobs.len());
}

fn caption(buf: &mut Buffer, area: Rect, jobs: &[&RunSummary], look: &Look) {
    let count = |f: fn(RunState) -> bool| jobs.iter().filter(|job| f(job.state)).count();
    let separator = format!(" {} ", look.glyphs.separator);
    let words = [
        format!("{} of {} completed", count(|s| s == RunState::Completed), jobs.len()),
        format!("{} running", count(RunState::is_live)),
        format!("{} queued", count(|s| s == RunState::Queued)),
        format!("{} failed or stopped", count(|s| matches!(s, RunState::Failed | RunState::Stopped))),
    ];
    let shown: Vec<String> = words.into_iter().filter(|w| !w.starts_with("0 ") || w.contains("completed")).collect();
    paint::line(buf, area, look, &[(Role::Dim, &shown.join(&separator))]);
}

fn row(buf: &mut Buffer, m: &Model, area: Rect, job: &RunSummary, columns: &Columns, look: &Look) {
    let (role, sign) = state_sign(job.state, look.glyphs);
    let none = || (Role::Faint, look.glyphs.none.to_owned());
    let known = |text: Option<String>| text.map_or_else(none, |t| (Role::Text, t));
    let (done, rest) = paint::bar(columns.bar as u16, job.progress.fraction(), look);
    let started = job.progress.total > 0.0;
    let percent = if started { text::percent(job.progress.fraction()) } else { String::new() };
    let left = job.eta.filter(|_| job.state == RunState::Running).map(|s| format!("{} left", text::duration(s)));
    let cells = [
        (if job.state.is_live() { Role::Title } else { Role::Text }, job.id.in_order().1.to_string()),
        (Role::Text, job.arm.clone().unwrap_or_default()),
        (Role::Text, job.seed.to_string()),
        (role, job.state.to_string()),
        (Role::Bar, format!("{done}{rest}")),
        (Role::Text, percent),
        known(job.best.as_ref().map(|b| text::number(b.value))),
        known(left.or_else(|| job.took(m.now).map(text::duration))),
        (Role::Dim, doing(job).to_owned()),
    ];
    let parts = [vec![(role, format!("{sign} "))], columns.row(cells, look)].concat();
    paint::words(buf, area, look, &parts);
}
