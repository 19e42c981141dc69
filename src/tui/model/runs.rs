//! The list of runs: order, filter, selection. Kept while a run is open.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use kiln_protocol::run::Best;
use kiln_protocol::{RunId, RunState, RunSummary};

use crate::model::list::List;
use crate::text;

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Newest first.
    #[default]
    Created,
    Name,
    State,
    Progress,
    Best,
    Device,
    Eta,
    Age,
}

impl SortBy {
    pub const ALL: [SortBy; 8] = [
        SortBy::Created,
        SortBy::Name,
        SortBy::State,
        SortBy::Progress,
        SortBy::Best,
        SortBy::Device,
        SortBy::Eta,
        SortBy::Age,
    ];

    /// In words, for the line above the list.
    pub fn as_str(self) -> &'static str {
        match self {
            SortBy::Created => "start",
            SortBy::Name => "name",
            SortBy::State => "state",
            SortBy::Progress => "progress",
            SortBy::Best => "best",
            SortBy::Device => "device",
            SortBy::Eta => "time left",
            SortBy::Age => "last event",
        }
    }

    /// Whether the greatest stands first, unless turned round: the newest run, the one furthest on, the best.
    fn descends(self) -> bool {
        matches!(self, SortBy::Created | SortBy::Progress | SortBy::Best)
    }

    /// The sort criterion `by` places further on.
    pub fn next(self, by: isize) -> SortBy {
        let at = SortBy::ALL.iter().position(|s| *s == self).unwrap_or(0) as isize;
        SortBy::ALL[(at + by).rem_euclid(SortBy::ALL.len() as isize) as usize]
    }
}

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
    pub filter: String,
    pub selected: Option<RunId>,
    /// Runs to be compared.
    pub marked: BTreeSet<RunId>,
    pub list: List,
    /// To be selected as soon as it is in the list: a run that has just been launched.
    awaited: Option<RunId>,
}

/// Runs that need attention or move come first.
fn urgency(state: RunState) -> u8 {
    match state {
        RunState::Running => 0,
        RunState::Stopping => 1,
        RunState::Starting => 2,
        RunState::Paused => 3,
        RunState::Queued => 4,
        RunState::Failed => 5,
        RunState::Stopped => 6,
        RunState::Completed => 7,
    }
}

/// The best figure that a run has reached. An experiment has none: the best of all its jobs says nothing of its arms.
pub fn best(run: &RunSummary) -> Option<&Best> {
    run.best.as_ref().filter(|_| run.jobs.is_none())
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

    /// The rows, filtered and in order.
    pub fn visible(&self) -> Vec<&RunSummary> {
        let words: Vec<&str> = self.filter.split_whitespace().collect();
        let shows = |r: &&RunSummary| {
            let fields = [&r.id.0, &r.preset, &r.title, &r.method, r.state.as_str(), r.device.as_deref().unwrap_or("")];
            words.iter().all(|w| fields.iter().any(|f| text::matches(f, w)))
        };
        let mut rows: Vec<&RunSummary> = self.all.iter().filter(shows).collect();
        rows.sort_by(|a, b| self.order(a, b).then(b.created.total_cmp(&a.created)).then(a.id.cmp(&b.id)));
        rows
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
                let key = |r: &RunSummary| best(r).map(|b| if b.higher_is_better { -b.value } else { b.value });
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

    /// Keeps the selection on its run, or on its row if the run is not shown, and in a view of `height` rows.
    pub fn fit(&mut self, height: usize) {
        if self.awaited.as_ref().is_some_and(|id| self.get(id).is_some()) {
            self.selected = self.awaited.take();
        }
        let rows = self.visible();
        let mut list = self.list;
        if let Some(at) = self.selected.as_ref().and_then(|id| rows.iter().position(|r| r.id == *id)) {
            list.selected = at;
        }
        list.fit(rows.len(), height);
        let selected = rows.get(list.selected).map(|r| r.id.clone());
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
        runs.filter = "no such run".into();
        runs.fit(10);
        assert_eq!(runs.selected, None);
    }

    #[test]
    fn sorting_puts_missing_figures_last_and_the_best_first() {
        let mut runs = Runs::default();
        runs.replace(fixture::summaries());
        runs.sort = SortBy::Best;
        let best: Vec<Option<f64>> = runs.visible().iter().map(|r| super::best(r).map(|b| b.value)).collect();
        let known: Vec<f64> = best.iter().map_while(|b| *b).collect();
        assert!(known.len() >= 2 && known.len() < best.len() && best[known.len()..].iter().all(Option::is_none));
        assert!(known.is_sorted_by(|a, b| a >= b) && runs.descending(), "the best first: {known:?}");
        runs.reverse = true;
        let turned: Vec<Option<f64>> = runs.visible().iter().map(|r| super::best(r).map(|b| b.value)).collect();
        assert_eq!(turned[..known.len()], known.iter().rev().map(|b| Some(*b)).collect::<Vec<_>>());
        assert!(!runs.descending());
        (runs.sort, runs.reverse) = (SortBy::State, false);
        assert_eq!(runs.visible()[0].state, RunState::Running);
    }

    #[test]
    fn all_words_of_the_filter_must_match_somewhere() {
        let mut runs = Runs::default();
        runs.replace(fixture::summaries());
        runs.filter = "DIGITS running".into();
        let rows = runs.visible();
        assert!(!rows.is_empty() && rows.iter().all(|r| r.state == RunState::Running && r.id.0.contains("digits")));
    }
}
