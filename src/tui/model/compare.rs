//! Runs side by side: the state of the screen that compares them.

use std::sync::Arc;

use kiln_protocol::compare::{Axis, Comparison, FigureRow, Weighed};
use kiln_protocol::{RunId, RunState};

use crate::model::list::List;
use crate::model::overlay::Overlay;
use crate::model::runs::Runs;

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    #[default]
    Curves,
    Table,
    Strip,
    Importance,
    Front,
}

impl Page {
    pub const ALL: [Page; 5] = [Page::Curves, Page::Table, Page::Strip, Page::Importance, Page::Front];

    pub fn title(self) -> &'static str {
        match self {
            Page::Curves => "Curves",
            Page::Table => "Table",
            Page::Strip => "Strip",
            Page::Importance => "Importance",
            Page::Front => "Front",
        }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    Heading(&'static str),
    Figure(&'a FigureRow),
    Setting(&'a str),
}

/// How a run stood when the comparison was asked for.
type Standing = (RunId, Option<(RunState, u32)>);

/// The runs, and how they are shown.
#[derive(Clone, Debug, Default)]
pub struct Compare {
    /// As marked; experiments stand for their jobs.
    pub runs: Vec<RunId>,
    pub page: Page,
    pub data: Option<Arc<Comparison>>,
    /// Why there is nothing to see.
    pub problem: Option<String>,
    /// A comparison has been asked for and not come yet.
    pub busy: bool,
    standing: Vec<Standing>,
    /// What strip, importance and front are about.
    pub figure: String,
    /// The other axis of the front.
    pub against: String,
    /// All figures in the table, not only the foremost.
    pub all: bool,
    pub weighed: Option<Weighed>,
    /// Figures that weights have been asked for.
    weighing: Option<(String, String)>,
    pub table: List,
    /// First group in view.
    pub column: usize,
    pub strip: List,
    /// The axis that the cursor is on.
    pub axis: usize,
    pub weights: List,
    pub front: List,
    pub overlay: Overlay,
}

impl Compare {
    pub fn new(runs: Vec<RunId>) -> Compare {
        Compare { runs, ..Compare::default() }
    }

    /// Whether to ask for the comparison: there is none yet, or a run stands otherwise than it did. Remembers it as asked, and
    /// says which runs have changed.
    pub fn wants(&mut self, runs: &Runs) -> Option<Vec<RunId>> {
        if self.busy {
            return None;
        }
        let now: Vec<Standing> = self
            .runs
            .iter()
            .map(|id| (id.clone(), runs.get(id).map(|r| (r.state, r.jobs.map_or(0, |jobs| jobs.ended())))))
            .collect();
        if (self.data.is_some() || self.problem.is_some()) && now == self.standing {
            return None;
        }
        let changed = now.iter().filter(|n| !self.standing.contains(n)).map(|(id, _)| id.clone()).collect();
        (self.standing, self.busy) = (now, true);
        Some(changed)
    }

    /// The comparison has come, or why there is none.
    pub fn take(&mut self, found: Result<Comparison, String>) {
        self.busy = false;
        match found {
            Ok(data) => {
                self.overlay.set(&data);
                // The first line is a heading, of which there is nothing to say.
                self.table.selected = self.table.selected.max(1);
                if data.figure(&self.figure).is_none() {
                    // Runs of several methods have few figures in common; the time that they took is seldom the question.
                    let runs = |f: &FigureRow| f.flat().iter().flatten().count();
                    let most = data.figures.iter().rev().max_by_key(|f| (f.headline, f.unit != "s", runs(f)));
                    self.figure = most.map(|f| f.name.clone()).unwrap_or_default();
                }
                if data.figure(&self.against).is_none() {
                    self.against = data.cost(&self.figure).map(|f| f.name.clone()).unwrap_or_default();
                }
                (self.weighed, self.weighing) = (None, None);
                (self.data, self.problem) = (Some(Arc::new(data)), None);
            }
            Err(said) => self.problem = Some(said),
        }
    }

    /// Whether to ask what weighs: on a page that shows it. Remembers it as asked.
    pub fn wants_weights(&mut self) -> Option<(Arc<Comparison>, String, String)> {
        let data = self.data.clone()?;
        let wanted = (self.figure.clone(), self.against.clone());
        if !matches!(self.page, Page::Strip | Page::Importance | Page::Front) || self.weighing.as_ref() == Some(&wanted)
        {
            return None;
        }
        self.weighing = Some(wanted.clone());
        Some((data, wanted.0, wanted.1))
    }

    /// The weights have come; those of figures that nobody looks at any more are dropped.
    pub fn take_weights(&mut self, weighed: Weighed) {
        if weighed.figure == self.figure && weighed.against == self.against {
            self.weighed = Some(weighed);
        }
    }

    /// What is known of the chosen figures.
    pub fn weights(&self) -> Option<&Weighed> {
        self.weighed.as_ref().filter(|w| w.figure == self.figure && w.against == self.against)
    }

    /// The chosen figure.
    pub fn chosen(&self) -> Option<&FigureRow> {
        self.data.as_deref()?.figure(&self.figure)
    }

    /// Chooses the figure `by` places further on.
    pub fn step_figure(&mut self, by: isize) {
        let Some(data) = &self.data else { return };
        if let Some(next) = next(data, &self.figure, "", by) {
            self.figure = next;
        }
        if self.figure == self.against {
            self.against = data.cost(&self.figure).map(|f| f.name.clone()).unwrap_or_default();
        }
    }

    /// Chooses the other axis of the front, never the figure itself.
    pub fn step_against(&mut self, by: isize) {
        let Some(data) = &self.data else { return };
        if let Some(next) = next(data, &self.against, &self.figure, by) {
            self.against = next;
        }
    }

    /// The lines of the table: figures, then settings that differ.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let Some(data) = self.data.as_deref() else { return Vec::new() };
        let foremost = data.figures.iter().any(|f| f.headline);
        let figures = data.figures.iter().filter(|f| self.all || f.headline || !foremost).map(Row::Figure);
        let mut rows: Vec<Row<'_>> = std::iter::once(Row::Heading("Figures")).chain(figures).collect();
        if !data.settings.is_empty() {
            rows.push(Row::Heading("Settings that differ"));
            rows.extend(data.settings.keys().map(|key| Row::Setting(key)));
        }
        rows
    }

    /// Places of the runs in the strip: the best first.
    pub fn order(&self) -> Vec<usize> {
        match (self.data.as_deref(), self.chosen()) {
            (Some(data), Some(figure)) => data.best_first(figure),
            _ => Vec::new(),
        }
    }

    /// The axes of the strip: settings, the weightiest first where that is known, then the other foremost figures.
    pub fn axes(&self) -> Vec<Axis> {
        let Some(data) = self.data.as_deref() else { return Vec::new() };
        let importance = self.weights().and_then(|w| w.importance.as_ref());
        let weighty: Vec<&String> = importance.iter().flat_map(|i| &i.weights).flat_map(|w| &w.keys).collect();
        let rest = data.settings.keys().filter(|key| !weighty.contains(key));
        let settings = weighty.iter().copied().chain(rest).filter_map(|key| data.setting_axis(key));
        let others = data.figures.iter().filter(|f| f.headline && f.name != self.figure);
        settings.chain(others.map(FigureRow::axis)).collect()
    }

    /// Points of the front's picture, by the other figure rising: place of the run, other figure, figure.
    pub fn points(&self) -> Vec<(usize, [f64; 2])> {
        let Some(data) = self.data.as_deref() else { return Vec::new() };
        let (Some(figure), Some(against)) = (data.figure(&self.figure), data.figure(&self.against)) else {
            return Vec::new();
        };
        let pairs = against.flat().into_iter().zip(figure.flat()).enumerate();
        let mut points: Vec<(usize, [f64; 2])> = pairs.filter_map(|(i, (x, y))| Some((i, [x?, y?]))).collect();
        points.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]).then(a.1[1].total_cmp(&b.1[1])));
        points
    }

    /// The run that the cursor is on: on pages of groups, the first of the group.
    pub fn selected(&self) -> Option<RunId> {
        let data = self.data.as_deref()?;
        let place = match self.page {
            Page::Strip => *self.order().get(self.strip.selected)?,
            Page::Front => self.points().get(self.front.selected)?.0,
            Page::Curves => return data.groups.get(self.overlay.list.selected)?.runs.first().cloned(),
            Page::Table => return data.groups.get(self.column)?.runs.first().cloned(),
            Page::Importance => return None,
        };
        data.runs().nth(place).map(|run| run.id.clone())
    }
}

/// The figure `by` places after `from`, without `but`.
fn next(data: &Comparison, from: &str, but: &str, by: isize) -> Option<String> {
    let names: Vec<&str> = data.figures.iter().map(|f| f.name.as_str()).filter(|name| *name != but).collect();
    let at = names.iter().position(|name| *name == from).map_or(0, |at| at as isize + by);
    let at = at.rem_euclid(names.len().max(1) as isize) as usize;
    names.get(at).map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::fixture_compare;

    fn compare() -> Compare {
        let mut compare = Compare::new(vec![RunId(fixture::EXPERIMENT.into())]);
        compare.take(Ok(fixture_compare::comparison()));
        compare
    }

    #[test]
    fn a_comparison_is_asked_for_once_and_again_when_a_run_stands_otherwise() {
        let mut runs = Runs::default();
        runs.replace(fixture::summaries());
        let mut compare = Compare::new(vec![fixture::summaries()[0].id.clone(), fixture::summaries()[4].id.clone()]);
        assert_eq!(compare.wants(&runs).map(|c| c.len()), Some(2));
        assert_eq!(compare.wants(&runs), None, "not while one is under way");
        compare.take(Err("the engine is away".into()));
        assert_eq!(compare.wants(&runs), None, "nor again for the same");
        let mut changed = fixture::summaries()[0].clone();
        changed.state = RunState::Completed;
        runs.merge(vec![changed.clone()]);
        assert_eq!(compare.wants(&runs), Some(vec![changed.id]));
    }

    #[test]
    fn figures_go_round_and_the_other_axis_is_never_the_figure_itself() {
        let mut c = compare();
        assert_eq!((c.figure.as_str(), c.against.as_str()), ("test_accuracy", "params"));
        let n = c.data.as_ref().unwrap().figures.len();
        for _ in 0..n {
            c.step_figure(1);
            assert_ne!(c.figure, c.against);
        }
        assert_eq!(c.figure, "test_accuracy");
        for _ in 0..2 * n {
            c.step_against(1);
            assert_ne!(c.against, c.figure);
        }
    }

    #[test]
    fn weights_are_asked_for_where_they_are_shown_and_only_once() {
        let mut c = compare();
        assert!(c.wants_weights().is_none(), "curves need none");
        c.page = Page::Importance;
        let (data, figure, against) = c.wants_weights().unwrap();
        assert!(c.wants_weights().is_none() && data.groups.len() > 2);
        c.take_weights(Weighed { figure: "other".into(), ..Weighed::default() });
        assert!(c.weights().is_none());
        c.take_weights(Weighed { figure, against, ..Weighed::default() });
        assert!(c.weights().is_some());
        c.step_figure(1);
        assert!(c.weights().is_none() && c.wants_weights().is_some());
    }

    #[test]
    fn rows_are_the_foremost_figures_and_the_settings() {
        let mut c = compare();
        let short = c.rows().len();
        assert!(matches!(c.rows()[..2], [Row::Heading("Figures"), Row::Figure(f)] if f.name == "test_accuracy"));
        assert!(matches!(c.rows().last(), Some(Row::Setting(_))));
        c.all = true;
        assert!(c.rows().len() > short);
    }

    #[test]
    fn the_selected_run_is_that_of_the_row() {
        let mut c = compare();
        c.page = Page::Strip;
        let best = c.order()[0];
        let expected = c.data.as_ref().unwrap().runs().nth(best).unwrap().id.clone();
        assert_eq!(c.selected(), Some(expected));
        c.page = Page::Front;
        c.front.selected = c.points().len() - 1;
        assert!(c.selected().is_some());
        c.page = Page::Importance;
        assert_eq!(c.selected(), None);
    }
}
