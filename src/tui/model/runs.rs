//! The list of runs: order, groups, filter, selection. Kept while a run is open.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use kiln_protocol::filter::{Filter, FilterError};
use kiln_protocol::{RunId, RunState, RunSummary};

pub use crate::model::arrange::{Column, GroupBy, SortBy};

use crate::model::arrange::urgency;
use crate::model::list::List;

/// All runs, and how they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    all: Vec<RunSummary>,
    /// Jobs of experiments that have been looked at; never in the list.
    jobs: Vec<RunSummary>,
    /// Whether the engine has told its runs at least once.
    pub loaded: bool,
    pub sort: SortBy,
    pub reverse: bool,
    pub group: Option<GroupBy>,
    /// Groups of which only the first run is shown, by name.
    pub folded: BTreeSet<String>,
    /// Columns asked for, in order.
    pub columns: Vec<Column>,
    /// As it is typed.
    filter: String,
    /// As much of it as can be read.
    wanted: Filter,
    /// What is wrong with the one that is typed.
    pub mistake: Option<FilterError>,
    /// Seconds since the Unix epoch: filters and groups ask for ages.
    pub now: f64,
    pub selected: Option<RunId>,
    /// Runs to be compared.
    pub marked: BTreeSet<RunId>,
    /// The selected run among [`Runs::visible`], and the first line of [`Runs::lines`] on the screen.
    pub list: List,
    /// To be selected as soon as it is in the list: a run that has just been launched.
    awaited: Option<RunId>,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// The beginning of a group: its name, how many runs it has, and how many of them are folded away.
    Group {
        name: String,
        runs: usize,
        folded: usize,
    },
    Run(&'a RunSummary),
}

/// What a run is doing, or why it is not: its reason, else its note. The last note of an ended run says nothing any more.
pub fn doing(run: &RunSummary) -> &str {
    match &run.reason {
        // The state is said beside it: `paused on request` would say it twice.
        Some(reason) if run.state != RunState::Running => {
            reason.strip_prefix(run.state.as_str()).map_or(reason.as_str(), str::trim_start)
        }
        _ if run.state.is_ended() => "",
        _ => &run.progress.note,
    }
}

impl Runs {
    /// No runs yet; `now` in seconds since the Unix epoch.
    pub fn at(now: f64) -> Runs {
        Runs { now, ..Runs::default() }
    }

    /// Takes over the whole list.
    pub fn replace(&mut self, all: Vec<RunSummary>) {
        self.all = all;
        self.loaded = true;
        let all = &self.all;
        self.jobs.retain(|job| job.parent().is_some_and(|parent| all.iter().any(|r| r.id == parent)));
    }

    /// Takes over what has changed.
    pub fn merge(&mut self, changed: Vec<RunSummary>) {
        for run in changed {
            let runs = if run.parent().is_some() { &mut self.jobs } else { &mut self.all };
            match runs.iter_mut().find(|r| r.id == run.id) {
                Some(old) => *old = run,
                None => runs.push(run),
            }
        }
    }

    pub fn remove(&mut self, gone: &[RunId]) {
        self.all.retain(|r| !gone.contains(&r.id));
        self.marked.retain(|id| !gone.contains(id));
        self.jobs.retain(|job| !gone.contains(&job.id) && !job.parent().is_some_and(|parent| gone.contains(&parent)));
    }

    /// The jobs of an experiment, in the order in which they are started.
    pub fn jobs(&self, experiment: &RunId) -> Vec<&RunSummary> {
        let mut jobs: Vec<&RunSummary> = self.jobs.iter().filter(|j| j.parent().as_ref() == Some(experiment)).collect();
        jobs.sort_by_key(|job| job.id.in_order().1);
        jobs
    }

    /// A run, or a job.
    pub fn get(&self, id: &RunId) -> Option<&RunSummary> {
        self.all.iter().chain(&self.jobs).find(|r| r.id == *id)
    }

    /// All runs, in no order; experiments stand for their jobs.
    pub fn all(&self) -> &[RunSummary] {
        &self.all
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Number of runs in each of: live, queued, ended.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |f: &dyn Fn(RunState) -> bool| self.all.iter().filter(|r| f(r.state)).count();
        (count(&RunState::is_live), count(&|s| s == RunState::Queued), count(&RunState::is_ended))
    }

    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Takes over what is typed. A term that cannot be read yet hides nothing.
    pub fn set_filter(&mut self, text: &str) {
        text.clone_into(&mut self.filter);
        (self.wanted, self.mistake) = Filter::read(text);
    }

    /// Whether what is typed can be asked of these runs; see [`Filter::suits`].
    ///
    /// # Errors
    /// The first term that cannot.
    pub fn suits(&self) -> Result<(), FilterError> {
        self.wanted.suits(self.all.iter())
    }

    /// Why the list is empty, as a sentence, where the filter is why.
    pub fn why_none(&self) -> Option<String> {
        self.wanted.why_none(self.all.iter(), self.now)
    }

    /// The rows, filtered and in order, without what is folded away.
    pub fn visible(&self) -> Vec<&RunSummary> {
        let rows = self.lines().into_iter();
        rows.filter_map(|line| if let Line::Run(run) = line { Some(run) } else { None }).collect()
    }

    /// The lines of the list: rows, and before each group its name. Groups stand in the order of their first rows.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut rows: Vec<&RunSummary> = self.all.iter().filter(|run| self.wanted.matches(run, self.now)).collect();
        rows.sort_by(|a, b| self.order(a, b).then(b.created.total_cmp(&a.created)).then(a.id.cmp(&b.id)));
        let Some(group) = self.group else { return rows.into_iter().map(Line::Run).collect() };
        let mut groups: Vec<(String, Vec<&RunSummary>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for run in rows {
            let name = group.of(run, self.now);
            let at = *places.entry(name.clone()).or_insert(groups.len());
            match groups.get_mut(at) {
                Some(group) => group.1.push(run),
                None => groups.push((name, vec![run])),
            }
        }
        let mut lines = Vec::new();
        for (name, runs) in groups {
            let shown = if self.folded.contains(&name) { 1 } else { runs.len() };
            lines.push(Line::Group { name, runs: runs.len(), folded: runs.len() - shown });
            lines.extend(runs.into_iter().take(shown).map(Line::Run));
        }
        lines
    }

    /// Shows only the first run of the selected run's group, or all of them again.
    pub fn fold(&mut self) {
        let run = self.selected.as_ref().and_then(|id| self.get(id));
        let Some(name) = self.group.zip(run).map(|(group, run)| group.of(run, self.now)) else { return };
        if self.folded.remove(&name) {
            return;
        }
        self.folded.insert(name.clone());
        // The one that stays is the one to be on.
        let lines = self.lines();
        let at = lines.iter().position(|line| matches!(line, Line::Group { name: of, .. } if *of == name));
        let first =
            at.and_then(|at| if let Some(Line::Run(run)) = lines.get(at + 1) { Some(run.id.clone()) } else { None });
        self.selected = first.or(self.selected.take());
    }

    /// The run on a line of the list.
    pub fn on_line(&self, line: usize) -> Option<RunId> {
        match self.lines().get(line)? {
            Line::Run(run) => Some(run.id.clone()),
            Line::Group { .. } => None,
        }
    }

    /// Whether the greatest stands first now.
    pub fn descending(&self) -> bool {
        self.sort.descends() != self.reverse
    }

    fn order(&self, a: &RunSummary, b: &RunSummary) -> Ordering {
        let turn = |order: Ordering| if self.reverse { order.reverse() } else { order };
        // What is missing goes to the end, whichever way round the rest is.
        fn by<T>(a: Option<T>, b: Option<T>, order: impl Fn(&T, &T) -> Ordering) -> Ordering {
            match (&a, &b) {
                (Some(a), Some(b)) => order(a, b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
        }
        let least = |a: &f64, b: &f64| turn(a.total_cmp(b));
        match self.sort {
            SortBy::Created => turn(b.created.total_cmp(&a.created)),
            SortBy::Name => turn(a.id.cmp(&b.id)),
            SortBy::State => turn(urgency(a.state).cmp(&urgency(b.state))),
            SortBy::Progress => turn(b.progress.fraction().total_cmp(&a.progress.fraction())),
            SortBy::Best => {
                let key = |r: &RunSummary| r.best.as_ref().map(|b| if b.higher_is_better { -b.value } else { b.value });
                by(key(a), key(b), least)
            }
            SortBy::Device => by(a.device.as_ref(), b.device.as_ref(), |a, b| turn(a.cmp(b))),
            SortBy::Eta => by(a.eta, b.eta, least),
            SortBy::Age => by(a.last_event.map(|t| -t), b.last_event.map(|t| -t), least),
        }
    }

    /// Marks a run, or takes its mark away.
    pub fn mark(&mut self, id: &RunId) {
        if !self.marked.remove(id) {
            self.marked.insert(id.clone());
        }
    }

    /// Moves the selection by rows.
    pub fn step(&mut self, by: isize) {
        let rows = self.visible();
        let mut list = self.list;
        list.step(by, rows.len());
        self.selected = rows.get(list.selected).map(|r| r.id.clone());
        self.list = list;
    }

    /// Selects a run, now or when it appears.
    pub fn select(&mut self, id: RunId) {
        self.awaited = Some(id.clone());
        self.selected = Some(id);
    }

    /// Keeps the selection on its run, or on its row if the run is not shown, and in a view of `height` lines.
    pub fn fit(&mut self, height: usize) {
        if self.awaited.as_ref().is_some_and(|id| self.get(id).is_some()) {
            self.selected = self.awaited.take();
        }
        let lines = self.lines();
        let rows: Vec<(usize, &RunId)> = lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| if let Line::Run(run) = line { Some((at, &run.id)) } else { None })
            .collect();
        let mut list = self.list;
        if let Some(at) = self.selected.as_ref().and_then(|id| rows.iter().position(|r| r.1 == id)) {
            list.selected = at;
        }
        list.selected = list.selected.min(rows.len().saturating_sub(1));
        let row = rows.get(list.selected);
        // The lines scroll; what is selected are rows.
        let line = row.map_or(0, |r| r.0);
        let mut scroll = List { selected: line, offset: list.offset };
        scroll.fit(lines.len(), height);
        // A group's name comes into view with its first row.
        let named = line > 0 && matches!(lines.get(line - 1), Some(Line::Group { .. }));
        if named && scroll.offset == line && height > 1 {
            scroll.offset -= 1;
        }
        list.offset = scroll.offset;
        let selected = row.map(|r| r.1.clone());
        (self.list, self.selected) = (list, selected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_selection_follows_its_run_through_sorting_and_filtering() {
        let mut runs = Runs::default();
        runs.replace(fixture::summaries());
        runs.fit(10);
        runs.step(2);
        let kept = runs.selected.clone().unwrap();
        for sort in SortBy::ALL {
            for reverse in [false, true] {
                (runs.sort, runs.reverse) = (sort, reverse);
                runs.fit(10);
                assert_eq!(runs.selected.as_ref(), Some(&kept));
                assert_eq!(runs.visible()[runs.list.selected].id, kept);
            }
        }
        runs.set_filter("nowhere");
        runs.fit(10);
        assert_eq!(runs.selected, None);
        assert_eq!(runs.why_none().unwrap(), "No run matches `nowhere`.");
    }

    #[test]
    fn sorting_puts_missing_figures_last_and_the_best_first() {
        let mut runs = Runs::default();
        runs.replace(fixture::summaries());
        runs.sort = SortBy::Best;
        let best: Vec<Option<f64>> = runs.visible().iter().map(|r| r.best.as_ref().map(|b| b.value)).collect();
        let known: Vec<f64> = best.iter().map_while(|b| *b).collect();
        assert!(known.len() >= 2 && known.len() < best.len() && best[known.len()..].iter().all(Option::is_none));
        assert!(known.is_sorted_by(|a, b| a >= b) && runs.descending(), "the best first: {known:?}");
        runs.reverse = true;
        let turned: Vec<Option<f64>> = runs.visible().iter().map(|r| r.best.as_ref().map(|b| b.value)).collect();
        assert_eq!(turned[..known.len()], known.iter().rev().map(|b| Some(*b)).collect::<Vec<_>>());
        assert!(!runs.descending());
        (runs.sort, runs.reverse) = (SortBy::State, false);
        assert_eq!(runs.visible()[0].state, RunState::Running);
    }

    #[test]
    fn a_term_that_cannot_be_read_yet_hides_nothing() {
        let mut runs = Runs { now: fixture::NOW, ..Runs::default() };
        runs.replace(fixture::summaries());
        runs.set_filter("DIGITS running");
        let rows = runs.visible();
        assert!(!rows.is_empty() && rows.iter().all(|r| r.state == RunState::Running && r.id.0.contains("digits")));
        let before: Vec<RunId> = rows.iter().map(|r| r.id.clone()).collect();
        runs.set_filter("DIGITS running acc>");
        assert_eq!(runs.visible().iter().map(|r| r.id.clone()).collect::<Vec<_>>(), before);
        assert!(runs.mistake.as_ref().is_some_and(|m| m.to_string().contains("expected a number")));
        runs.set_filter("tag:paper age<2d");
        assert!(runs.mistake.is_none() && runs.visible().len() == 1);
    }

    #[test]
    fn groups_keep_the_order_of_their_first_runs_and_fold_to_them() {
        let mut runs = Runs { now: fixture::NOW, group: Some(GroupBy::Method), ..Runs::default() };
        runs.replace(fixture::summaries());
        runs.fit(20);
        let names = |runs: &Runs| -> Vec<(String, usize, usize)> {
            let group = |line| match line {
                Line::Group { name, runs, folded } => Some((name, runs, folded)),
                Line::Run(_) => None,
            };
            runs.lines().into_iter().filter_map(group).collect()
        };
        assert_eq!(names(&runs), [("train".into(), 5, 0), ("dc-nas".into(), 3, 0)]);
        assert_eq!(runs.lines().len(), 2 + 8);
        assert_eq!(runs.on_line(0), None, "a name is no run");
        let first = runs.on_line(1).unwrap();
        runs.step(2);
        runs.fold();
        runs.fit(20);
        assert_eq!(names(&runs)[0], ("train".into(), 5, 4));
        assert_eq!(runs.selected.as_ref(), Some(&first), "the selection stays on what is shown");
        runs.fold();
        assert_eq!(runs.visible().len(), 8);
        // Whatever the height, the selected row is in view, and its group's name with the first row.
        for height in 1..12 {
            for by in [-100, 1, 1, 1, 1, 1, 1, 1, 1, -1, -5] {
                runs.step(by);
                runs.fit(height);
                let line = runs
                    .lines()
                    .iter()
                    .position(|l| matches!(l, Line::Run(r) if Some(&r.id) == runs.selected.as_ref()));
                assert!((runs.list.offset..runs.list.offset + height).contains(&line.unwrap()), "{height} {by}");
            }
            runs.step(-100);
            runs.fit(height);
            assert!(height == 1 || runs.list.offset == 0);
        }
    }
}
