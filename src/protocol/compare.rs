//! Several runs side by side: what `kiln compare` computes and the workbench draws.
//!
//! Runs that differ in nothing but their seeds are one group. What is said of groups (means, differences) stands beside what
//! is said of runs (curves, the strip, importance, the front).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::clock::Clock;
use crate::run::RunId;
use crate::wire::SeriesInfo;

/// Runs, what they were set to, and what they found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub groups: Vec<Group>,
    /// Settings in which the groups differ, by key: one value a group, null where it has no such setting.
    pub settings: BTreeMap<String, Vec<Json>>,
    /// Those that the methods want to be judged by come first.
    pub figures: Vec<FigureRow>,
    /// Sentences about runs that could not be compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Runs that differ in nothing but their seeds, in the order of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Preset, and arm of a job.
    pub name: String,
    pub runs: Vec<RunId>,
    pub seeds: Vec<u64>,
    /// One list a run: what it has drawn.
    #[serde(skip)]
    pub series: Vec<Vec<SeriesInfo>>,
}

/// One figure of all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureRow {
    pub name: String,
    pub unit: String,
    pub higher_is_better: Option<bool>,
    /// Whether a method wants to be judged by it.
    pub headline: bool,
    /// One a group; null where none of its runs has this figure.
    pub groups: Vec<Option<Spread>>,
    /// One a group: what it has more than the first. Null for the first, and where either lacks the figure.
    pub against_first: Vec<Option<Difference>>,
    /// One list a group, with one value a run.
    pub runs: Vec<Vec<Option<f64>>>,
}

/// Mean and deviation over runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub count: usize,
    pub mean: f64,
    /// Sample standard deviation; 0 for a single run.
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

/// What a group has more than the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Difference of the means; with common seeds, mean of the differences seed by seed.
    pub difference: f64,
    /// Common seeds, if there are two and more.
    pub pairs: usize,
    /// Two-sided p-value of the paired t-test over them.
    pub p: Option<f64>,
}

impl Difference {
    /// `p 0.012`, `p <0.001`; `None` where there was nothing to test.
    pub fn chance(&self) -> Option<String> {
        self.p.map(|p| if p < 0.001 { "p <0.001".to_owned() } else { format!("p {p:.3}") })
    }
}

/// What the settings have to do with a figure, and which runs no other beats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    pub figure: String,
    /// The figure on the other axis of the front.
    pub against: String,
    pub importance: Option<Importance>,
    /// Why there is no importance, as a sentence; empty where there is one.
    pub why_not: String,
    /// Places of the runs ([`Comparison::runs`]) that no other run beats in both figures, the least of `against` first.
    pub front: Vec<usize>,
}

/// How much each setting that differs has to do with a figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    pub figure: String,
    /// Runs that it was learned from.
    pub runs: usize,
    /// Share of the figure's variance that a random forest explains on runs that its trees have not seen; about 0 and below
    /// means that the settings tell nothing, and the weights are noise.
    pub explained: f64,
    /// The weightiest first.
    pub weights: Vec<Weight>,
}

/// What one setting has to do with a figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Several where they were only ever changed together, so that nobody can tell their effects apart.
    pub keys: Vec<String>,
    /// By how much the squared error of the forest grows on unseen runs when the values of this setting are shuffled among
    /// the runs, in units of the figure's variance; 0: it does not matter.
    pub loss: f64,
    /// Standard deviation of that over shuffles.
    pub std: f64,
    /// Rank correlation of the setting with the figure, -1 to 1; `None` where the setting has no order.
    pub trend: Option<f64>,
}

/// Importance below this share of explained variance means nothing.
pub const EXPLAINS: f64 = 0.05;

/// One run of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunRef<'a> {
    /// Index of its group.
    pub group: usize,
    /// Its place in the group.
    pub member: usize,
    pub id: &'a RunId,
    pub seed: u64,
}

/// Where the values of a setting or figure lie between the least and the greatest: one axis of parallel coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub name: String,
    /// One a run, from 0 to 1; `None` where it has no value.
    pub places: Vec<Option<f64>>,
    /// What a run has, in words; empty where it has no value.
    pub words: Vec<String>,
    /// What lies at 0 and at 1.
    pub ends: [String; 2],
    /// Whether equal distances are equal ratios.
    pub log: bool,
}

/// A letter for a group, as names are too long for columns.
pub fn letter(i: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(i % 26).unwrap_or(0));
    if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26) }
}

/// A setting's value as it would be typed; a dash where there is none.
pub fn plain(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// What curves of several runs are laid over one another by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// What each series counts itself: epochs, iterations, networks.
    #[default]
    Count,
    /// Per cent of what was planned: compares runs that count differently, or go on for longer.
    Share,
    /// Seconds at work since the first start.
    Time,
}

impl By {
    pub const ALL: [By; 3] = [By::Count, By::Share, By::Time];

    pub fn in_words(self) -> &'static str {
        match self {
            By::Count => "by steps as counted",
            By::Share => "by share of the plan",
            By::Time => "by time at work",
        }
    }

    /// The points of a series by this; `None` where it is not known: a series without a planned end, or without a clock.
    pub fn along(self, points: &[[f64; 2]], info: &SeriesInfo, clock: Option<&Clock>) -> Option<Vec<[f64; 2]>> {
        match self {
            By::Count => Some(points.to_vec()),
            By::Share => {
                let end = info.x_max.filter(|x| *x > 0.0)?;
                Some(points.iter().map(|p| [100.0 * p[0] / end, p[1]]).collect())
            }
            By::Time => Some(clock?.timed(points)),
        }
    }
}

/// Values that lie further apart than this are told apart by ratio.
const WIDE: f64 = 30.0;

impl Comparison {
    /// All runs, group after group: what places in [`Weighed::front`] and [`Axis::places`] count.
    pub fn runs(&self) -> impl Iterator<Item = RunRef<'_>> {
        self.groups.iter().enumerate().flat_map(|(group, g)| {
            let seeds = g.seeds.iter().copied().chain(std::iter::repeat(0));
            g.runs.iter().zip(seeds).enumerate().map(move |(member, (id, seed))| RunRef { group, member, id, seed })
        })
    }

    pub fn figure(&self, name: &str) -> Option<&FigureRow> {
        self.figures.iter().find(|row| row.name == name)
    }

    /// What a figure is held against where nobody says what: parameters, multiplications, or the time that it took.
    pub fn cost(&self, figure: &str) -> Option<&FigureRow> {
        // What all runs have the same of sets none apart.
        let varies = |f: &&FigureRow| {
            let mut values = f.flat().into_iter().flatten();
            values.next().is_some_and(|first| values.any(|v| v != first))
        };
        let others = || self.figures.iter().filter(|f| f.name != figure).filter(varies);
        let named = |name: &str| others().find(|f| f.name == name || f.name.ends_with(&format!("_{name}")));
        let cheaper = |f: &&FigureRow| f.higher_is_better == Some(false) && f.unit == "s";
        named("params")
            .or(named("parameters"))
            .or(named("macs"))
            .or_else(|| others().find(cheaper))
            .or_else(|| others().next())
    }

    /// Names of the series that the runs have, those of single candidates aside: what most runs have first, figures of merit
    /// of the validation before those of training.
    pub fn series(&self) -> Vec<String> {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for info in self.groups.iter().flat_map(|g| &g.series).flatten().filter(|s| !s.name.starts_with("cand-")) {
            match counts.iter_mut().find(|(name, _)| *name == info.name) {
                Some((_, n)) => *n += 1,
                None => counts.push((&info.name, 1)),
            }
        }
        let merit = |name: &str| match name {
            "valid/accuracy" => 0,
            "valid/loss" => 1,
            _ if name.ends_with("accuracy") => 2,
            _ if name.ends_with("loss") => 3,
            _ => 4,
        };
        counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), merit(name)));
        counts.into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// Places of the runs, the best by this figure first; those without it last, as they stand.
    pub fn best_first(&self, figure: &FigureRow) -> Vec<usize> {
        let values = figure.flat();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| match (values[*a], values[*b]) {
            (Some(a), Some(b)) if figure.higher_is_better == Some(false) => a.total_cmp(&b),
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        order
    }

    /// A setting that differs, as an axis.
    pub fn setting_axis(&self, key: &str) -> Option<Axis> {
        let values = self.settings.get(key)?;
        let of_runs: Vec<&Json> = self.runs().map(|run| values.get(run.group).unwrap_or(&Json::Null)).collect();
        let words = of_runs.iter().map(|v| if v.is_null() { String::new() } else { plain(v) }).collect();
        let numbers: Option<Vec<Option<f64>>> =
            of_runs.iter().map(|v| if v.is_null() { Some(None) } else { v.as_f64().map(Some) }).collect();
        Some(match numbers {
            Some(numbers) => Axis::of_numbers(key, &numbers, words),
            None => Axis::of_names(key, words),
        })
    }
}

impl FigureRow {
    /// One value a run, in the order of [`Comparison::runs`].
    pub fn flat(&self) -> Vec<Option<f64>> {
        self.runs.iter().flatten().map(|v| v.filter(|v| v.is_finite())).collect()
    }

    /// The figure as an axis.
    pub fn axis(&self) -> Axis {
        let values = self.flat();
        let words = values.iter().map(|v| v.map_or_else(String::new, crate::figures::number)).collect();
        Axis::of_numbers(&self.name, &values, words)
    }

    /// Name and unit: `seconds (s)`.
    pub fn label(&self) -> String {
        if self.unit.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.unit) }
    }
}

impl Axis {
    fn of_numbers(name: &str, values: &[Option<f64>], words: Vec<String>) -> Axis {
        let known = || values.iter().flatten().copied();
        let (lo, hi) = known().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let log = lo > 0.0 && hi / lo >= WIDE;
        let scaled = |v: f64| if log { v.ln() } else { v };
        let span = scaled(hi) - scaled(lo);
        let place = |v: f64| if span > 0.0 { (scaled(v) - scaled(lo)) / span } else { 0.5 };
        let end = |v: f64| {
            let at = values.iter().position(|x| *x == Some(v));
            at.and_then(|i| words.get(i)).cloned().unwrap_or_default()
        };
        Axis {
            name: name.to_owned(),
            places: values.iter().map(|v| v.map(place)).collect(),
            ends: [end(lo), end(hi)],
            words,
            log,
        }
    }

    fn of_names(name: &str, words: Vec<String>) -> Axis {
        let mut levels: Vec<&str> = words.iter().map(String::as_str).filter(|w| !w.is_empty()).collect();
        levels.sort_unstable();
        levels.dedup();
        let last = levels.len().saturating_sub(1);
        let place = |word: &String| {
            let at = levels.iter().position(|l| *l == word)?;
            Some(if last > 0 { at as f64 / last as f64 } else { 0.5 })
        };
        let end = |level: Option<&&str>| level.map_or_else(String::new, |l| (*l).to_owned());
        Axis {
            name: name.to_owned(),
            places: words.iter().map(place).collect(),
            ends: [end(levels.first()), end(levels.last())],
            words,
            log: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chance_is_nought() {
        let said = |p| Difference { p, ..Difference::default() }.chance();
        assert_eq!((said(Some(0.0124)).as_deref(), said(Some(0.0004)).as_deref()), (Some("p 0.012"), Some("p <0.001")));
        assert_eq!(said(None), None);
    }

    fn comparison() -> Comparison {
        let group = |name: &str, runs: &[&str]| Group {
            name: name.into(),
            runs: runs.iter().map(|r| RunId((*r).into())).collect(),
            seeds: (1..=runs.len() as u64).collect(),
            series: Vec::new(),
        };
        let accuracy = FigureRow {
            name: "accuracy".into(),
            higher_is_better: Some(true),
            runs: vec![vec![Some(0.8), Some(0.9)], vec![Some(f64::NAN)], vec![Some(0.85)]],
            ..FigureRow::default()
        };
        Comparison {
            groups: vec![group("a", &["a1", "a2"]), group("b", &["b1"]), group("c", &["c1"])],
            settings: BTreeMap::from([
                ("optim.lr".into(), vec![0.001.into(), 0.1.into(), 0.01.into()]),
                ("optim.kind".into(), vec!["sgd".into(), "adam".into(), "sgd".into()]),
                ("train.epochs".into(), vec![5.into(), Json::Null, 10.into()]),
            ]),
            figures: vec![accuracy],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn runs_are_counted_group_after_group_and_ordered_by_a_figure() {
        let c = comparison();
        let ids: Vec<(usize, usize, &str)> = c.runs().map(|r| (r.group, r.member, r.id.0.as_str())).collect();
        assert_eq!(ids, [(0, 0, "a1"), (0, 1, "a2"), (1, 0, "b1"), (2, 0, "c1")]);
        assert_eq!(c.best_first(&c.figures[0]), [1, 3, 0, 2], "the one without a figure comes last");
        let lower = FigureRow { higher_is_better: Some(false), ..c.figures[0].clone() };
        assert_eq!(c.best_first(&lower), [0, 3, 1, 2]);
    }

    #[test]
    fn axes_place_numbers_by_size_or_ratio_and_names_in_order() {
        let c = comparison();
        let lr = c.setting_axis("optim.lr").unwrap();
        assert!(lr.log);
        let places: Vec<f64> = lr.places.iter().map(|p| p.unwrap()).collect();
        assert!((places[3] - 0.5).abs() < 1e-12 && places[0] == 0.0 && places[2] == 1.0, "{places:?}");
        assert_eq!(lr.ends, ["0.001", "0.1"]);
        let kind = c.setting_axis("optim.kind").unwrap();
        assert_eq!(kind.places, [Some(1.0), Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(kind.ends, ["adam", "sgd"]);
        let epochs = c.setting_axis("train.epochs").unwrap();
        assert_eq!((epochs.places[2], epochs.words[2].as_str(), epochs.log), (None, "", false));
        let accuracy = c.figures[0].axis();
        assert_eq!((accuracy.places[1], accuracy.places[2]), (Some(1.0), None));
        assert_eq!(c.setting_axis("data.set"), None);
    }

    #[test]
    fn a_figure_is_held_against_what_it_costs() {
        let mut c = comparison();
        assert_eq!(c.cost("accuracy"), None);
        let more = ["depth", "macs", "seconds", "params"].map(|name| FigureRow {
            name: name.into(),
            runs: vec![vec![Some(1.0), Some(if name == "macs" { 1.0 } else { 2.0 })]],
            unit: if name == "seconds" { "s".into() } else { String::new() },
            higher_is_better: (name == "seconds").then_some(false),
            ..FigureRow::default()
        });
        c.figures.extend(more);
        assert_eq!(c.cost("accuracy").unwrap().name, "params");
        c.figures.pop();
        assert_eq!(c.cost("accuracy").unwrap().name, "seconds", "all have the same macs");
        assert_eq!(c.cost("seconds").unwrap().name, "accuracy");
    }

    #[test]
    fn the_series_that_most_runs_have_come_first() {
        let mut c = comparison();
        let info = |name: &str| SeriesInfo {
            name: name.into(),
            points: 3,
            first_x: 0.0,
            last_x: 2.0,
            last_y: None,
            x_max: None,
            x_unit: String::new(),
        };
        c.groups[0].series = vec![vec![info("train/loss"), info("valid/accuracy"), info("cand-001/valid/accuracy")]; 2];
        c.groups[1].series = vec![vec![info("train/loss"), info("search/tau")]];
        assert_eq!(c.series(), ["train/loss", "valid/accuracy", "search/tau"]);
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 53].map(letter), ["A", "Z", "A1", "B2"]);
    }
}
