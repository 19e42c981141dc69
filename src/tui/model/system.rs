//! The page of the machine: what it has and how it has been, what it works on, what waits, and what is worth doing.

use std::collections::VecDeque;

use kiln_protocol::advice::Advice;
use kiln_protocol::wire::{Sample, Share, Slot, System};
use kiln_protocol::{Level, RunId, RunState, RunSummary};

use crate::glyphs::Glyphs;
use crate::model::list::List;
use crate::model::pages::Line;
use crate::model::{Model, Screen};
use crate::text;
use crate::theme::Role;

/// Samples kept: ten minutes of one a second.
const HISTORY: usize = 600;

/// What the client knows of the machine beside its newest figures, and where the page stands.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The oldest first.
    pub history: VecDeque<Sample>,
    pub slots: Vec<Slot>,
    /// The worst first.
    pub advice: Vec<Advice>,
    /// What is looked at.
    pub selected: Option<Item>,
    /// Its place among the items; where it was, once it is gone.
    pub at: usize,
    /// First visible line of each column.
    pub tops: [usize; 2],
    /// When the engine was last asked, in seconds since the Unix epoch.
    pub asked: f64,
    /// Where the page was opened from.
    pub from: Option<Screen>,
}

impl Machine {
    /// Takes the newest figures into the history.
    pub fn take(&mut self, system: &System) {
        if self.history.back().is_some_and(|last| last.t >= system.t) {
            return;
        }
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(system.sample());
    }
}

/// A thing on the page that can be looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Gpu(usize),
    Cpu,
    Ram,
    Disk,
    Folder,
    /// Rule, and the run it speaks of.
    Advice(String, Option<RunId>),
    Run(RunId),
    Queued(RunId),
}

impl Item {
    /// The run that it stands for.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Item::Run(run) | Item::Queued(run) | Item::Advice(_, Some(run)) => Some(run),
            _ => None,
        }
    }
}

/// A line of the page, and the place among the items of what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub item: Option<usize>,
    pub line: Line,
}

/// The page: its items in order, and its lines in one or two columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Item>,
    pub columns: [Vec<Row>; 2],
}

/// Runs that wait, in the order in which they are started; experiments stand for their waiting jobs.
pub fn queue(m: &Model) -> Vec<&RunSummary> {
    let waits =
        |r: &&RunSummary| r.state == RunState::Queued || r.jobs.is_some_and(|j| j.queued > 0 && !r.state.is_ended());
    let mut queue: Vec<&RunSummary> = m.runs.all().iter().filter(waits).collect();
    queue.sort_by(|a, b| b.priority.cmp(&a.priority).then(a.created.total_cmp(&b.created)).then(a.id.cmp(&b.id)));
    queue
}

/// Runs that are worked on, the oldest first.
fn live(m: &Model) -> Vec<&RunSummary> {
    let mut live: Vec<&RunSummary> = m.runs.all().iter().filter(|r| r.state.is_live()).collect();
    live.sort_by(|a, b| a.created.total_cmp(&b.created).then(a.id.cmp(&b.id)));
    live
}

/// What a run takes, its jobs taken together.
fn share_of(system: &System, run: &RunId) -> Option<Share> {
    let own = |s: &&Share| s.run == *run || s.run.parent().is_some_and(|(parent, _)| parent == *run);
    let mut shares = system.shares.iter().filter(own).cloned();
    let first = shares.next()?;
    Some(shares.fold(first, |sum, s| Share {
        cpu: sum.cpu + s.cpu,
        ram: sum.ram + s.ram,
        gpu_memory: sum.gpu_memory + s.gpu_memory,
        ..sum
    }))
}

/// Puts the page together, for columns `widths` cells wide; the second 0 where there is one column.
pub fn page(m: &Model, widths: [usize; 2], glyphs: &Glyphs) -> Page {
    let mut page = Page::default();
    let Some(system) = &m.system else { return page };
    machine(&mut page, m, system, widths[0], glyphs);
    let second = usize::from(widths[1] > 0);
    advice(&mut page, m, widths[0], glyphs);
    if second == 0 {
        page.blank(0);
    }
    runs(&mut page, m, system, second, widths[second], glyphs);
    waiting(&mut page, m, second, widths[second], glyphs);
    page
}

impl Page {
    fn blank(&mut self, column: usize) {
        if !self.columns[column].is_empty() {
            self.columns[column].push(Row { item: None, line: Line::new() });
        }
    }

    fn heading(&mut self, column: usize, words: Line) {
        self.columns[column].push(Row { item: None, line: words });
    }

    /// Lines about a new item.
    fn add(&mut self, column: usize, item: Item, lines: Vec<Line>) {
        let at = self.items.len();
        self.items.push(item);
        self.columns[column].extend(lines.into_iter().map(|line| Row { item: Some(at), line }));
    }

    /// Column and lines of an item: the first, and one behind the last.
    pub fn lines_of(&self, item: usize) -> Option<(usize, std::ops::Range<usize>)> {
        (0..2).find_map(|column| {
            let rows = &self.columns[column];
            let first = rows.iter().position(|row| row.item == Some(item))?;
            let last = rows.iter().rposition(|row| row.item == Some(item))?;
            Some((column, first..last + 1))
        })
    }
}

/// Cells of the name of a figure, and of its bar.
const NAME: usize = 8;
const BAR: usize = 10;

/// A figure of the machine: name, bar, share, how it has been, and what else there is to say, the most important first.
fn figure(
    name: &str,
    share: f64,
    past: &[f64],
    facts: &[(Role, String)],
    warn: bool,
    width: usize,
    glyphs: &Glyphs,
) -> Line {
    let role = if warn { Role::Warn } else { Role::Text };
    let (done, rest) = glyphs.bar_of(BAR as u16, share);
    let mut line = vec![
        (Role::Dim, text::left(name, NAME, glyphs.ellipsis)),
        (if warn { Role::Warn } else { Role::Bar }, done),
        (Role::BarTrack, rest),
        (role, format!(" {:>4}  ", text::percent(share))),
    ];
    let mut room = width.saturating_sub(NAME + BAR + 7);
    let spark = (room / 3).min(60);
    if spark >= 6 {
        line.push((Role::Accent, glyphs.spark(past, spark)));
        line.push((Role::Text, "  ".into()));
        room -= spark + 2;
    }
    for (role, fact) in facts.iter().filter(|f| !f.1.is_empty()) {
        let wide = text::width(fact) + 2;
        if wide > room + 2 {
            break;
        }
        room = room.saturating_sub(wide);
        line.push((*role, format!("{fact}  ")));
    }
    line
}

fn machine(page: &mut Page, m: &Model, s: &System, width: usize, glyphs: &Glyphs) {
    let past = |of: &dyn Fn(&Sample) -> Option<f64>| -> Vec<f64> { m.machine.history.iter().filter_map(of).collect() };
    let share = |used: u64, total: u64| if total > 0 { used as f64 / total as f64 } else { 0.0 };
    page.heading(0, vec![(Role::Title, "Machine".into())]);
    for (i, gpu) in s.gpus.iter().enumerate() {
        let hot = gpu.temperature >= 85;
        let limit = if gpu.power_limit > 0.0 { format!("/{:.0}", gpu.power_limit) } else { String::new() };
        let clock = if gpu.clock > 0 { format!("{} MHz", gpu.clock) } else { String::new() };
        let busy = [
            (if hot { Role::Warn } else { Role::Text }, format!("{}°", gpu.temperature)),
            (Role::Text, format!("{:.0}{limit} W", gpu.power)),
            (Role::Dim, clock),
            (Role::Faint, gpu.name.clone()),
        ];
        let used = share(gpu.memory_used, gpu.memory_total);
        let n = gpu.processes.len();
        let processes = match n {
            0 => String::new(),
            1 => "1 process".into(),
            n => format!("{n} processes"),
        };
        let memory = [(Role::Text, text::bytes_of(gpu.memory_used, gpu.memory_total)), (Role::Dim, processes)];
        let of = |part: usize| past(&|sample: &Sample| Some(sample.gpus.get(i)?[part]));
        let lines = vec![
            figure(&format!("gpu {}", gpu.index), gpu.utilisation, &of(0), &busy, false, width, glyphs),
            figure("  memory", used, &of(1), &memory, used >= 0.97, width, glyphs),
        ];
        page.add(0, Item::Gpu(i), lines);
    }
    let cores = if s.cores == 1 { "1 core".into() } else { format!("{} cores", s.cores) };
    let cpu = [(Role::Text, cores), (Role::Dim, format!("load {:.1}", s.load))];
    page.add(0, Item::Cpu, vec![figure("cpu", s.cpu, &past(&|p| Some(p.cpu)), &cpu, false, width, glyphs)]);
    let used = share(s.ram_used, s.ram_total);
    let ram = [(Role::Text, text::bytes_of(s.ram_used, s.ram_total))];
    page.add(0, Item::Ram, vec![figure("ram", used, &past(&|p| Some(p.ram)), &ram, used >= 0.92, width, glyphs)]);
    let free = share(s.disk_free, s.disk_total);
    let disk = [(Role::Text, format!("{} free of {}", text::bytes(s.disk_free), text::bytes(s.disk_total)))];
    let full = s.disk_total > 0 && free < 0.05;
    page.add(0, Item::Disk, vec![figure("disk", 1.0 - free, &past(&|p| Some(p.disk)), &disk, full, width, glyphs)]);
    let folder = &s.folder;
    if !folder.kind.is_empty() || folder.latency.is_some() || folder.waiting.is_some() {
        let (role, write) = match (folder.waiting, folder.latency) {
            (Some(waiting), _) => (Role::Bad, format!("no answer for {}", text::duration(waiting))),
            (None, Some(latency)) => (
                if latency > 0.25 { Role::Warn } else { Role::Text },
                format!("a small write takes {}", brief(latency)),
            ),
            (None, None) => (Role::Dim, "not measured yet".into()),
        };
        let place = if folder.network { " over the network" } else { "" };
        let line = vec![
            (Role::Dim, text::left("files", NAME, glyphs.ellipsis)),
            (role, write),
            (Role::Dim, format!("  {}{place}", folder.kind)),
        ];
        page.add(0, Item::Folder, vec![line]);
    }
}

/// `0.4 ms`, `12 ms`, `1.3 s`.
fn brief(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

fn advice(page: &mut Page, m: &Model, width: usize, glyphs: &Glyphs) {
    page.blank(0);
    page.heading(0, vec![(Role::Title, "Advice".into())]);
    if m.machine.advice.is_empty() {
        page.heading(
            0,
            vec![(Role::Dim, "Nothing to mend: no rule finds fault with the machine or a live run.".into())],
        );
    }
    for a in &m.machine.advice {
        let (role, sign) = match a.level {
            Level::Error => (Role::Bad, glyphs.error),
            Level::Warn => (Role::Warn, glyphs.warning),
            _ => (Role::Info, glyphs.info),
        };
        let room = width.saturating_sub(2).max(1);
        let mut lines = Vec::new();
        let whom = a.run.as_ref().map(|run| format!("{run}: ")).unwrap_or_default();
        for (i, part) in text::wrap(&format!("{whom}{}", a.what), room).into_iter().enumerate() {
            lines.push(vec![(role, if i == 0 { format!("{sign} ") } else { "  ".into() }), (Role::Text, part)]);
        }
        for part in text::wrap(&a.remedy, room) {
            lines.push(vec![(Role::Dim, format!("  {part}"))]);
        }
        page.add(0, Item::Advice(a.rule.clone(), a.run.clone()), lines);
    }
}

/// Columns of figures beside the name of a run, with the blanks before them.
const FIGURES: [(&str, usize); 5] = [("device", 9), ("cpu", 7), ("ram", 9), ("gpu mem", 9), ("done", 6)];

/// A row of figures; those that have no room for a name of `least` cells beside them are left out, the last first.
fn columns(name: &str, figures: &[(Role, String)], width: usize, role: Role, glyphs: &Glyphs) -> Line {
    let mut shown = FIGURES.len();
    let taken = |n: usize| FIGURES[..n].iter().map(|f| f.1).sum::<usize>();
    while shown > 0 && taken(shown) + 20 > width {
        shown -= 1;
    }
    let room = width.saturating_sub(taken(shown));
    let mut line = vec![(role, text::middle(name, room, glyphs.ellipsis))];
    for ((role, figure), (_, wide)) in figures.iter().zip(&FIGURES[..shown]) {
        line.push((*role, text::right(figure, *wide, glyphs.ellipsis)));
    }
    line
}

fn runs(page: &mut Page, m: &Model, s: &System, column: usize, width: usize, glyphs: &Glyphs) {
    let live = live(m);
    let heads: Vec<(Role, String)> = FIGURES.iter().map(|f| (Role::Faint, f.0.to_owned())).collect();
    let name = format!("Running ({})", live.len());
    page.heading(column, columns(&name, if live.is_empty() { &[] } else { &heads }, width, Role::Title, glyphs));
    if live.is_empty() {
        let free = m.machine.slots.iter().filter(|slot| slot.run.is_none()).count();
        let words = if free > 0 {
            format!("Nothing runs; {free} device{} free.", if free == 1 { " is" } else { "s are" })
        } else {
            "Nothing runs.".into()
        };
        page.heading(column, vec![(Role::Dim, words)]);
    }
    for run in live {
        let share = share_of(s, &run.id);
        let known = |text: Option<String>| text.map_or((Role::Faint, glyphs.none.to_owned()), |t| (Role::Text, t));
        let device = run.device.as_deref().map(|d| d.split(' ').next().unwrap_or(d).to_owned());
        let device = device.or_else(|| run.jobs.map(|j| counted(j.live)));
        let figures = [
            known(device),
            known(share.as_ref().map(|s| format!("{:.1}", s.cpu))),
            known(share.as_ref().map(|s| text::bytes(s.ram))),
            known(share.as_ref().filter(|s| s.gpu_memory > 0).map(|s| text::bytes(s.gpu_memory))),
            (Role::Text, text::percent(run.progress.fraction())),
        ];
        page.add(column, Item::Run(run.id.clone()), vec![columns(&run.id.0, &figures, width, Role::Text, glyphs)]);
    }
}

fn counted(jobs: u32) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

/// Heads of the columns behind a waiting run.
const WAITING: &str = "  priority  waiting";

fn waiting(page: &mut Page, m: &Model, column: usize, width: usize, glyphs: &Glyphs) {
    let queue = queue(m);
    page.blank(column);
    let name = text::left(&format!("Queue ({})", queue.len()), width.saturating_sub(WAITING.len()), glyphs.ellipsis);
    let mut heading = vec![(Role::Title, name)];
    if !queue.is_empty() {
        heading.push((Role::Faint, WAITING.to_owned()));
    }
    page.heading(column, heading);
    if queue.is_empty() {
        page.heading(column, vec![(Role::Dim, "Nothing waits.".into())]);
    }
    for (place, run) in queue.into_iter().enumerate() {
        let jobs = run.jobs.map(|j| format!("  {}", counted(j.queued))).unwrap_or_default();
        let after = format!("{jobs}  {:>8}  {:>7}", run.priority, text::age(m.now - run.created));
        let number = format!("{:>2}  ", place + 1);
        let room = width.saturating_sub(text::width(&after) + text::width(&number));
        let line = vec![
            (Role::Queued, number),
            (Role::Text, text::middle(&run.id.0, room, glyphs.ellipsis)),
            (Role::Dim, after),
        ];
        page.add(column, Item::Queued(run.id.clone()), vec![line]);
    }
}

/// More about what is looked at, for the lines below the page.
pub fn about(m: &Model, item: &Item, glyphs: &Glyphs) -> String {
    let sep = format!(" {} ", glyphs.separator);
    let Some(s) = &m.system else { return String::new() };
    match item {
        Item::Gpu(i) => {
            let Some(gpu) = s.gpus.get(*i) else { return String::new() };
            let mut words = vec![gpu.name.clone()];
            if gpu.clock_max > 0 {
                words.push(format!("clock {} of {} MHz, memory {} MHz", gpu.clock, gpu.clock_max, gpu.memory_clock));
            }
            let process = |p: &kiln_protocol::wire::GpuProcess| {
                let whose = match &p.run {
                    Some(run) => run.0.clone(),
                    None if p.name.is_empty() => "another process".into(),
                    None => p.name.clone(),
                };
                format!("{whose} (pid {}) {}", p.pid, text::bytes(p.memory))
            };
            words.extend(gpu.processes.iter().map(process));
            if gpu.processes.is_empty() {
                words.push("nobody computes on it".into());
            }
            words.join(&sep)
        }
        Item::Cpu => {
            let kiln = s.shares.iter().map(|share| share.cpu).fold(0.0, |sum, cpu| sum + cpu);
            format!("{kiln:.1} of {} cores work for Kiln's runs; {:.1} threads want to run (mean of a minute)", s.cores, s.load)
        }
        Item::Ram => {
            let kiln: u64 = s.shares.iter().map(|share| share.ram).sum();
            format!("{} of it belong to Kiln's runs", text::bytes(kiln))
        }
        Item::Disk => "the file system of KILN_HOME; runs pause before it is full".into(),
        Item::Folder => {
            "how long a few bytes take until they are safe: what events and checkpoints wait for; measured every 10 s while somebody looks on".into()
        }
        Item::Advice(rule, run) => {
            let whom = run.as_ref().map_or("the machine".to_owned(), |run| run.0.clone());
            format!("rule {rule}, about {whom}")
        }
        Item::Run(run) | Item::Queued(run) => {
            let Some(run) = m.runs.get(run) else { return String::new() };
            let left = run.eta.filter(|_| run.state == RunState::Running).map(|s| format!("{} left", text::duration(s)));
            let doing = crate::model::runs::doing(run);
            let words = [Some(run.title.clone()), Some(doing.to_owned()), left];
            words.into_iter().flatten().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(&sep)
        }
    }
}

/// Selects what is `by` places further on.
pub fn step(m: &mut Model, by: isize) {
    let items = page(m, [80, 0], &crate::glyphs::ASCII).items;
    let mut list = List { selected: m.machine.at, offset: 0 };
    list.step(by, items.len());
    m.machine.at = list.selected;
    m.machine.selected = items.get(list.selected).cloned();
}

/// Keeps the selection on its item, or on its place if that is gone, and its lines in view of `height` lines.
pub fn fit(m: &mut Model, widths: [usize; 2], height: usize, glyphs: &Glyphs) {
    let page = page(m, widths, glyphs);
    let state = &mut m.machine;
    let found = state.selected.as_ref().and_then(|item| page.items.iter().position(|i| i == item));
    state.at = found.unwrap_or(state.at).min(page.items.len().saturating_sub(1));
    state.selected = page.items.get(state.at).cloned();
    for column in 0..2 {
        let len = page.columns[column].len();
        state.tops[column] = state.tops[column].min(len.saturating_sub(height));
    }
    if let Some((column, lines)) = page.lines_of(state.at) {
        let top = &mut state.tops[column];
        *top = (*top).max(lines.end.saturating_sub(height)).min(lines.start);
        // The heading above the first item comes along with it.
        if lines.end <= height && page.columns[column].iter().take(*top).all(|row| row.item.is_none()) {
            *top = 0;
        }
        let len = page.columns[column].len();
        let rest = &page.columns[column][lines.end.min(len)..];
        if rest.iter().all(|row| row.item.is_none()) {
            *top = (*top).max(len.saturating_sub(height)).min(lines.start);
        }
    }
}

/// The priorities that put a queued run before the one above it (`up`), or behind the one below, and leave the order of all
/// others as it is; `None` where there is no such neighbour. Of equal priority the older run goes first, so runs further up may
/// have to be raised, too.
pub fn moved(queue: &[&RunSummary], run: &RunId, up: bool) -> Option<Vec<(RunId, i32)>> {
    let at = queue.iter().position(|r| r.id == *run)?;
    // One that goes down lets the next one go up.
    let climber = if up { at } else { at + 1 };
    let passed = *queue.get(climber.checked_sub(1)?)?;
    let climber = *queue.get(climber)?;
    let above = queue.iter().take_while(|r| r.id != passed.id).copied();
    let mut changes = Vec::new();
    let (mut below, mut least) = (passed, passed.priority);
    for run in std::iter::once(climber).chain(above.collect::<Vec<_>>().into_iter().rev()) {
        let older = (run.created, &run.id) < (below.created, &below.id);
        let needed = least.saturating_add(i32::from(!older));
        let priority = run.priority.max(needed);
        if priority == run.priority {
            least = priority;
            below = run;
            if run.id != climber.id {
                break;
            }
            continue;
        }
        changes.push((run.id.clone(), priority));
        (below, least) = (run, priority);
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::glyphs::UNICODE;
    use ratatui::layout::Size;

    fn queued(id: &str, priority: i32, created: f64) -> RunSummary {
        let mut run = fixture::summaries()[0].clone();
        (run.id, run.priority, run.created, run.state) = (RunId(id.into()), priority, created, RunState::Queued);
        run
    }

    #[test]
    fn moving_in_the_queue_passes_exactly_one() {
        let runs =
            [queued("a", 2, 5.0), queued("b", 0, 1.0), queued("c", 0, 2.0), queued("d", 0, 3.0), queued("e", -1, 0.0)];
        let with = |runs: &[RunSummary]| {
            let mut m = fixture::model(Size { width: 80, height: 24 });
            m.runs.replace(runs.to_vec());
            m
        };
        let order = |runs: &[RunSummary]| queue(&with(runs)).iter().map(|r| r.id.0.clone()).collect::<String>();
        assert_eq!(order(&runs), "abcde");
        for (run, up, expected) in [
            ("b", true, "bacde"),
            ("c", true, "acbde"),
            ("d", true, "abdce"),
            ("e", true, "abced"),
            ("a", false, "bacde"),
            ("b", false, "acbde"),
            ("d", false, "abced"),
        ] {
            let mut after = runs.to_vec();
            for (id, priority) in moved(&queue(&with(&runs)), &RunId(run.into()), up).unwrap() {
                after.iter_mut().find(|r| r.id == id).unwrap().priority = priority;
            }
            assert_eq!(order(&after), expected, "{run} {up}");
        }
        assert_eq!(moved(&queue(&with(&runs)), &RunId("a".into()), true), None);
        assert_eq!(moved(&queue(&with(&runs)), &RunId("e".into()), false), None);
        assert_eq!(moved(&[], &RunId("e".into()), false), None);
    }

    #[test]
    fn the_selection_stays_on_its_item_when_others_come() {
        let mut m = fixture::model(Size { width: 80, height: 24 });
        fixture::machine(&mut m);
        fit(&mut m, [78, 0], 15, &UNICODE);
        let items = page(&m, [78, 0], &UNICODE).items;
        let at = items.iter().position(|i| matches!(i, Item::Run(_))).unwrap();
        step(&mut m, at as isize);
        let kept = m.machine.selected.clone();
        let more = Advice { rule: "x".into(), level: Level::Warn, run: None, what: "w".into(), remedy: "r".into() };
        m.machine.advice.insert(0, more);
        fit(&mut m, [78, 0], 15, &UNICODE);
        assert_eq!((m.machine.selected.clone(), m.machine.at), (kept, at + 1));
    }

    #[test]
    fn every_item_comes_into_view() {
        let mut m = fixture::model(Size { width: 80, height: 24 });
        fixture::machine(&mut m);
        for widths in [[78, 0], [90, 90], [10, 0]] {
            for height in [1, 3, 8, 40] {
                step(&mut m, isize::MIN / 2);
                for _ in 0..40 {
                    fit(&mut m, widths, height, &UNICODE);
                    let page = page(&m, widths, &UNICODE);
                    let (column, lines) = page.lines_of(m.machine.at).unwrap();
                    let top = m.machine.tops[column];
                    assert!(lines.start >= top && lines.start < top + height, "{lines:?} {top} {height}");
                    step(&mut m, 1);
                }
            }
        }
    }
}
