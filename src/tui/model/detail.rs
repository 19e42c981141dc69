//! The open run.

use std::collections::BTreeMap;

use kiln_protocol::view::{Candidate, Candidates};
use kiln_protocol::wire::{Mark, RunDetail};
use kiln_protocol::{Body, Event, Outcome, RunId, View};

use crate::model::curves::Curves;
use crate::model::figure::{self, Pane};
use crate::model::inspect::Inspect;
use crate::model::list::{List, Scroll};
use crate::model::log::LogBook;
use crate::model::past::Past;
use crate::model::sheet::Sheet;

/// A tab of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tab {
    #[default]
    Curves,
    /// The jobs of an experiment.
    Jobs,
    /// A view, by name.
    View(String),
    Log,
    Settings,
    Outcome,
}

/// Everything about the open run but its summary, which stands in the list of runs.
#[derive(Clone, Debug)]
pub struct Detail {
    pub id: RunId,
    /// Whether the engine has told about it.
    pub loaded: bool,
    pub tab: Tab,
    /// The tab has been chosen by hand.
    pub steered: bool,
    pub curves: Curves,
    /// Whether it is an experiment; its jobs stand beside the runs.
    pub experiment: bool,
    pub jobs: List,
    pub views: Vec<(String, View)>,
    /// Cursor, order and scrolling of each view.
    pub panes: BTreeMap<String, Pane>,
    pub log: LogBook,
    pub spec: String,
    /// Settings changed while it ran, with the values that hold now.
    pub knobs: Vec<(String, String)>,
    pub folder: String,
    pub settings: Scroll,
    pub outcome: Option<Outcome>,
    pub outcome_scroll: Scroll,
    /// Earlier states of views, where somebody wants to see them.
    pub past: Past,
    /// The candidate that is looked at closely, over the open view.
    pub inspect: Option<Inspect>,
}

impl Detail {
    pub fn new(id: RunId) -> Detail {
        Detail {
            id,
            loaded: false,
            tab: Tab::default(),
            steered: false,
            curves: Curves::default(),
            experiment: false,
            jobs: List::default(),
            views: Vec::new(),
            panes: BTreeMap::new(),
            log: LogBook::default(),
            spec: String::new(),
            knobs: Vec::new(),
            folder: String::new(),
            settings: Scroll::default(),
            outcome: None,
            outcome_scroll: Scroll::default(),
            past: Past::default(),
            inspect: None,
        }
    }

    /// Takes over what the engine has told. Choices, cursors and scrolling stay. A run that is over opens on its outcome.
    pub fn load(&mut self, run: RunDetail) {
        if !self.loaded && !self.steered && run.outcome.is_some() {
            self.tab = Tab::Outcome;
        }
        self.loaded = true;
        self.experiment = !run.jobs.is_empty();
        self.views = run.views;
        self.panes.values_mut().for_each(|pane| pane.sheet = Sheet::default());
        self.spec = run.spec;
        self.knobs = run.knobs.into_iter().collect();
        self.folder = run.folder;
        self.outcome = run.outcome;
        if let Some(best) = &run.summary.best {
            self.curves.judge_by(&best.name);
        }
        self.curves.marks = run.marks;
        self.curves.set_series(run.series);
    }

    /// Takes an event of the past over: its line for the log, and what it planned. All else came with the run itself.
    pub fn recall(&mut self, event: &Event) {
        self.log.add(event);
        if let Body::Started { x_max, x_unit, .. } = &event.body {
            self.curves.started(x_max, x_unit, false);
        }
    }

    /// Takes one event over.
    pub fn apply(&mut self, event: &Event) {
        self.log.add(event);
        match &event.body {
            Body::Started { resumed_from, attempt, x_max, x_unit, .. } => {
                self.curves.started(x_max, x_unit, resumed_from.is_some() || *attempt > 1);
                self.outcome = None;
            }
            Body::Points { series, points } => self.curves.take(series, points),
            Body::View { name, view } => {
                self.past.take(name, event.t, view);
                match self.views.iter_mut().find(|v| v.0 == *name) {
                    Some((_, old)) => old.merge((**view).clone()),
                    None => self.views.push((name.clone(), (**view).clone())),
                }
                if let Some(pane) = self.panes.get_mut(name) {
                    pane.sheet = Sheet::default();
                }
            }
            Body::Best(best) => self.curves.judge_by(&best.name),
            Body::KnobSet { key, value, .. } => {
                match self.knobs.iter_mut().find(|(known, _)| known == key) {
                    Some((_, old)) => value.clone_into(old),
                    None => self.knobs.push((key.clone(), value.clone())),
                }
                Mark::of(event).into_iter().for_each(|mark| self.curves.mark(mark));
            }
            Body::Completed { outcome } => self.outcome = Some((**outcome).clone()),
            _ => {}
        }
    }

    /// Where the open tab is scrolled to, if it is a page of tables.
    pub fn page(&self) -> Option<&Scroll> {
        match &self.tab {
            Tab::Outcome => Some(&self.outcome_scroll),
            Tab::View(name) if matches!(self.view(name), Some(View::Table(_))) => Some(&self.panes.get(name)?.scroll),
            _ => None,
        }
    }

    /// As [`Detail::page`], to be moved.
    pub fn page_mut(&mut self) -> Option<&mut Scroll> {
        match &self.tab {
            Tab::Outcome => Some(&mut self.outcome_scroll),
            Tab::View(_) => match self.open_view()? {
                (View::Table(_), pane) => Some(&mut pane.scroll),
                _ => None,
            },
            _ => None,
        }
    }

    /// The tabs that the run has now, in order.
    pub fn tabs(&self) -> Vec<Tab> {
        let mut tabs = vec![Tab::Curves];
        tabs.extend(self.experiment.then_some(Tab::Jobs));
        tabs.extend(self.views.iter().map(|(name, _)| Tab::View(name.clone())));
        tabs.extend([Tab::Log, Tab::Settings]);
        if self.outcome.is_some() {
            tabs.push(Tab::Outcome);
        }
        tabs
    }

    /// The tab `by` places further on, round the end.
    pub fn step_tab(&mut self, by: isize) {
        self.steered = true;
        self.inspect = None;
        let tabs = self.tabs();
        let at = tabs.iter().position(|t| *t == self.tab).unwrap_or(0) as isize;
        if let Some(tab) = tabs.get((at + by).rem_euclid(tabs.len() as isize) as usize) {
            self.tab = tab.clone();
        }
    }

    /// Titles of the tabs, in order, each behind the digit that opens it; names of views with a capital, as the others.
    pub fn titles(&self) -> Vec<String> {
        let capital = |name: &str| {
            let mut chars = name.chars();
            chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
        };
        let title = |tab: &Tab| match tab {
            Tab::Curves => "Curves".into(),
            Tab::Jobs => "Jobs".into(),
            Tab::View(name) => capital(name),
            Tab::Log => "Log".into(),
            Tab::Settings => "Settings".into(),
            Tab::Outcome => "Outcome".into(),
        };
        let numbered = |(i, title): (usize, String)| if i < 9 { format!("{} {title}", i + 1) } else { title };
        self.tabs().iter().map(title).enumerate().map(numbered).collect()
    }

    /// A view by name.
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|v| v.0 == name).map(|v| &v.1)
    }

    /// A candidate's row, in the first table that has it.
    pub fn candidate(&self, id: u32) -> Option<(&Candidates, &Candidate)> {
        self.views.iter().find_map(|(_, view)| match view {
            View::Candidates(table) => table.rows.iter().find(|row| row.id == id).map(|row| (table, row)),
            _ => None,
        })
    }

    /// Opens the page about the candidate under the cursor of the open view. Returns whether there is one.
    pub fn inspect(&mut self) -> bool {
        let Some((id, label)) = self.open_view().and_then(|(view, pane)| figure::under_cursor(view, pane)) else {
            return false;
        };
        let row = id.and_then(|id| self.candidate(id)).map(|(_, row)| row.arch.clone());
        let texts: Vec<&str> = row.as_deref().into_iter().chain([label.as_str()]).collect();
        self.inspect = Some(Inspect::open(&self.spec, id, label.clone(), &texts));
        true
    }

    /// Names of the series of the candidate that is looked at.
    pub fn inspected_series(&self) -> Vec<String> {
        let Some(page) = &self.inspect else { return Vec::new() };
        self.curves.series.iter().filter(|s| page.owns(&s.name)).map(|s| s.name.clone()).collect()
    }

    /// The view of the open tab, and its cursor.
    pub fn open_view(&mut self) -> Option<(&View, &mut Pane)> {
        let Tab::View(name) = &self.tab else { return None };
        let view = self.views.iter().find(|v| v.0 == *name).map(|v| &v.1)?;
        Some((view, self.panes.entry(name.clone()).or_default()))
    }
}
