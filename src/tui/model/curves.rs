//! Curves: which series are drawn, in which chart, over which window; and the points that are here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_protocol::event::of_series;
use kiln_protocol::wire::{Mark, Series, SeriesInfo, parse_arm_series};

use crate::chart::{Fit, Grid, Scale, Smoothing, Track, Window, scale, track};
use crate::model::clocked::Clocked;
use crate::model::list::List;
use crate::text;

/// Series of at most this many points are held whole: any zoom and exact smoothing then need no question to the engine.
pub const WHOLE: u64 = 2048;

/// Strengths of smoothing: memory of the mean as a share of the window.
pub const SMOOTHING: [f64; 5] = [0.0, 0.005, 0.01, 0.02, 0.05];

/// Times as many columns for a logarithmic axis.
const FINER: u32 = 16;

/// What is asked of the engine for some series of one chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    pub names: Vec<String>,
    /// `None` asks for every point.
    pub grid: Option<Grid>,
}

/// What the series of one chart share: what they measure, the planned end of their x axis as bits (so that it compares
/// exactly), and what x counts.
type Key = (String, Option<u64>, String);

/// One chart: all drawn series that measure the same over the same plan, counted in the same unit (epochs, networks,
/// iterations).
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Last part of the series' names, such as `accuracy`; of a group of alike series ([`alike`]) the part that they share.
    pub metric: String,
    /// Planned end of the x axis, as bits, so that it compares exactly.
    plan: Option<u64>,
    /// What the chart is called: what it measures, or, where several measure the same, the name of its first series.
    pub title: String,
    /// Index among [`Curves::series`], and index of the colour.
    pub series: Vec<(usize, usize)>,
    /// From the start to the planned end.
    pub full: Window,
    pub zoom: Option<Window>,
    pub y: Fit,
    pub log: bool,
    /// The x axis is logarithmic.
    pub log_x: bool,
    /// What the x axis counts, in the plural; empty where the method does not say.
    pub unit: String,
}

impl Panel {
    fn key(&self) -> Key {
        (self.metric.clone(), self.plan, self.unit.clone())
    }

    /// The window that is shown.
    pub fn window(&self) -> Window {
        self.zoom.unwrap_or(self.full)
    }

    /// The x axis as it is drawn.
    pub fn x(&self) -> Scale {
        let Window { from, to } = self.window();
        Scale { lo: from, hi: to, log: self.log_x }
    }

    /// A value of x on an axis on which equal steps look equal, and back.
    fn warp(&self, x: f64) -> f64 {
        if self.log_x { x.max(f64::MIN_POSITIVE).ln() } else { x }
    }

    fn unwarp(&self, x: f64) -> f64 {
        if self.log_x { x.exp() } else { x }
    }

    fn warped(&self, window: Window) -> Window {
        Window { from: self.warp(window.from), to: self.warp(window.to) }
    }

    /// Shows another part of the axis, given on one on which equal steps look equal.
    fn show(&mut self, wished: Window) {
        let full = self.warped(self.full);
        let next = wished.within(full);
        // A millionth of the axis: beyond that, neighbouring columns are equal in f64 and nothing is to be seen.
        if next.span() > full.span() * 1e-6 {
            let whole = next == full;
            self.zoom = (!whole).then(|| Window { from: self.unwarp(next.from), to: self.unwarp(next.to) });
            // What is looked at closely is looked at closely in both directions.
            self.y = Fit::default();
        }
    }
}

/// All curves of a run.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    pub series: Vec<SeriesInfo>,
    /// Series switched on or off by hand.
    pub chosen: BTreeMap<String, bool>,
    /// Whether series of single candidates are drawn; `None`: if there are no others.
    candidates: Option<bool>,
    pub smooth: usize,
    /// Smoothing takes the median of its window, not an exponential mean.
    pub median: bool,
    /// Charts over time.
    pub clocked: Clocked,
    pub panels: Vec<Panel>,
    /// The panel that keys act on.
    pub focus: usize,
    /// The focus has been moved by hand; until then it is on the judged panel.
    steered: bool,
    /// Show the focused panel alone.
    pub alone: bool,
    /// Live settings that were changed.
    pub marks: Vec<Mark>,
    /// Place of the cursor on the x axis.
    pub cursor: Option<f64>,
    pub picker: List,
    pub picker_filter: String,
    tracks: HashMap<String, Track>,
    /// What has been asked for and not been answered.
    asked: HashMap<String, Option<Grid>>,
    /// Tracks that may have missed something.
    stale: BTreeSet<String>,
    /// Planned ends of x axes by series name; `*` for all others.
    plans: BTreeMap<String, f64>,
    /// What they count, likewise.
    units: BTreeMap<String, String>,
    /// The series by which the run is judged: its panel comes first.
    judged: Option<String>,
}

/// What a series measures: the last part of its name.
pub fn metric(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The name without what it measures: `train` of `train/loss`. The whole name if there is nothing else.
pub fn subject(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(subject, _)| subject)
}

/// Whether a series belongs to a single candidate: its first part ends in a number, as in `cand-007/valid/accuracy`.
pub fn per_candidate(name: &str) -> bool {
    name.split_once('/').and_then(|(first, _)| first.rsplit_once('-')).is_some_and(|(word, number)| {
        !word.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Least number of alike series under one name that share a chart.
const GROUP: usize = 3;

/// Whether a series is likely one of many that say the same of the parts of something: its last part is numbered, as in
/// `entropy/stage1.1`. A chart of its own would be called after the part.
fn alike(name: &str) -> bool {
    name.contains('/') && !per_candidate(name) && metric(name).ends_with(|c: char| c.is_ascii_digit())
}

/// Whether a series is of the training that a run is about, not of a stage before it: `valid/accuracy`, in any arm.
fn of_training(name: &str) -> bool {
    matches!(parse_arm_series(subject(name)).1, "valid" | "train")
}

/// What of a run matters before the rest, whatever the method: how right it is, how wrong, then all else.
fn weight_of(metric: &str) -> usize {
    match metric {
        "accuracy" => 0,
        "loss" => 1,
        _ => 2,
    }
}

impl Curves {
    /// Takes over what the engine knows of the series of a run.
    pub fn set_series(&mut self, series: Vec<SeriesInfo>) {
        self.series = series;
        self.refresh();
    }

    /// The figure by which the run is judged.
    pub fn judge_by(&mut self, name: &str) {
        if self.judged.as_deref() != Some(name) {
            self.judged = Some(name.to_owned());
            self.refresh();
        }
    }

    /// A live setting was changed. What is known already, or says what was set before, is no news.
    pub fn mark(&mut self, mark: Mark) {
        if self.marks.iter().rev().find(|m| m.key == mark.key).is_none_or(|m| m.value != mark.value) {
            self.marks.push(mark);
        }
    }

    /// The marks of a chart: those of charts that count what the method itself counts.
    pub fn marks_in(&self, panel: &Panel) -> &[Mark] {
        let own = self.panels.first().is_some_and(|first| first.unit == panel.unit);
        if own { &self.marks } else { &[] }
    }

    /// A worker has taken the run up: plans for axes; and, if it resumes, what comes replaces what is here.
    pub fn started(&mut self, plans: &BTreeMap<String, f64>, units: &BTreeMap<String, String>, resumed: bool) {
        self.plans.extend(plans.iter().map(|(k, v)| (k.clone(), *v)));
        self.units.extend(units.iter().map(|(k, v)| (k.clone(), v.clone())));
        for info in &mut self.series {
            if let Some(end) = of_series(plans, &info.name) {
                info.x_max = Some(*end);
            }
            if let Some(unit) = of_series(units, &info.name) {
                info.x_unit.clone_from(unit);
            }
        }
        if resumed {
            self.tracks.values_mut().for_each(Track::rewind);
            self.doubt();
        }
        self.refresh();
    }

    /// Something may have been missed: every track is to be asked for anew. What is here stays on the screen meanwhile.
    pub fn doubt(&mut self) {
        self.stale = self.tracks.keys().cloned().collect();
        self.asked.clear();
    }

    /// Series of an experiment have new points: what is here of them is to be asked for anew. Returns whether all of them are
    /// known.
    pub fn grown(&mut self, names: &[String]) -> bool {
        for name in names.iter().filter(|name| self.tracks.contains_key(*name)) {
            self.stale.insert(name.clone());
            self.asked.remove(name);
        }
        names.iter().all(|name| self.series.iter().any(|s| s.name == *name))
    }

    /// Whether series of single candidates are drawn.
    pub fn candidates(&self) -> bool {
        self.candidates.unwrap_or_else(|| self.series.iter().all(|s| per_candidate(&s.name)))
    }

    /// Whether a series is drawn.
    pub fn shown(&self, name: &str) -> bool {
        self.chosen.get(name).copied().unwrap_or_else(|| !per_candidate(name) || self.candidates())
    }

    /// The points of a series, as far as they are here.
    pub fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.get(name)
    }

    /// The series that the picker lists.
    pub fn pickable(&self) -> Vec<&SeriesInfo> {
        self.series.iter().filter(|s| text::matches(&s.name, &self.picker_filter)).collect()
    }

    /// Shows or hides what the picker lists.
    pub fn choose(&mut self, names: &[String], on: bool) {
        self.chosen.extend(names.iter().map(|n| (n.clone(), on)));
        self.refresh();
    }

    /// Shows or hides series of single candidates; forgets what was chosen by hand among them.
    pub fn toggle_candidates(&mut self) {
        self.candidates = Some(!self.candidates());
        self.chosen.retain(|name, _| !per_candidate(name));
        self.refresh();
    }

    /// New points of a series.
    pub fn take(&mut self, name: &str, points: &[[f64; 2]]) {
        let Some(last) = points.last() else { return };
        match self.series.iter_mut().find(|s| s.name == name) {
            Some(info) => {
                info.points += points.len() as u64;
                (info.last_x, info.last_y) = (last[0], Some(last[1]).filter(|y| y.is_finite()));
            }
            None => {
                self.series.push(SeriesInfo {
                    name: name.to_owned(),
                    points: points.len() as u64,
                    first_x: points[0][0],
                    last_x: last[0],
                    last_y: Some(last[1]).filter(|y| y.is_finite()),
                    x_max: of_series(&self.plans, name).copied(),
                    x_unit: of_series(&self.units, name).cloned().unwrap_or_default(),
                });
                self.tracks.insert(name.to_owned(), Track::default());
                self.refresh();
            }
        }
        if let Some(track) = self.tracks.get_mut(name) {
            track.push(points);
        }
        self.widen();
    }

    /// An answer of the engine.
    pub fn answer(&mut self, want: &Want, series: Vec<Series>) {
        for name in &want.names {
            if self.asked.get(name) == Some(&want.grid) {
                self.asked.remove(name);
            }
        }
        for answer in series.into_iter().filter(|s| want.names.contains(&s.name)) {
            // An experiment tells that its series have grown, not by what.
            if answer.jobs > 0
                && let Some(info) = self.series.iter_mut().find(|s| s.name == answer.name)
                && let Some(last) = answer.points.iter().rev().find(|p| p[1].is_finite())
            {
                (info.last_x, info.last_y) = (last[0].max(info.last_x), Some(last[1]));
                info.points = info.points.max(answer.total);
            }
            let mut track = Track::with_spread(answer.points, &answer.spread, want.grid);
            let old = self.tracks.remove(&answer.name);
            if let (Some(old), false) = (&old, self.stale.contains(&answer.name)) {
                // Pushes may have overtaken the answer.
                let newest = track.last().map_or(f64::NEG_INFINITY, |p| p[0]);
                let newer: Vec<[f64; 2]> = old.points().iter().filter(|p| p[0] > newest).copied().collect();
                track.push(&newer);
            }
            self.stale.remove(&answer.name);
            self.tracks.insert(answer.name, track);
        }
        self.widen();
    }

    /// What has to be asked so that the panels named (with their columns of dots) can be drawn. Remembers it as asked.
    pub fn wants(&mut self, visible: &[(usize, u32)]) -> Vec<Want> {
        let mut wants: Vec<Want> = Vec::new();
        for (at, columns) in visible {
            let Some(panel) = self.panels.get(*at) else { continue };
            let window = panel.window();
            // The engine's columns are equally wide; on a logarithmic axis those at its beginning are drawn wider.
            let finer = if panel.log_x { FINER } else { 1 };
            let grid = Grid { from: window.from, to: window.to, columns: columns.saturating_mul(finer).max(1) };
            for (index, _) in &panel.series {
                let Some(info) = self.series.get(*index) else { continue };
                let wanted = (info.points > WHOLE).then_some(grid);
                if let Some(track) = self.tracks.get_mut(&info.name) {
                    let fits = match (track.grid(), wanted) {
                        (None, Some(grid)) if !self.stale.contains(&info.name) => {
                            // All points are here: no need to ask.
                            if track.points().len() as u64 > 2 * WHOLE {
                                *track = Track::new(track::decimate(track.points(), grid), Some(grid));
                            }
                            true
                        }
                        (have, wanted) => have == wanted,
                    };
                    if fits && !self.stale.contains(&info.name) {
                        continue;
                    }
                }
                if self.asked.get(&info.name) == Some(&wanted) {
                    continue;
                }
                self.asked.insert(info.name.clone(), wanted);
                match wants.iter_mut().find(|w| w.grid == wanted) {
                    Some(want) => want.names.push(info.name.clone()),
                    None => wants.push(Want { names: vec![info.name.clone()], grid: wanted }),
                }
            }
        }
        wants
    }

    /// What has to be asked so that these series are here with all their points. Remembers it as asked.
    pub fn want_whole(&mut self, names: &[String]) -> Option<Want> {
        let missing = |name: &&String| {
            let here = self.tracks.get(*name).is_some_and(|t| t.grid().is_none()) && !self.stale.contains(*name);
            !here && self.asked.get(*name) != Some(&None)
        };
        let names: Vec<String> = names.iter().filter(missing).cloned().collect();
        self.asked.extend(names.iter().map(|name| (name.clone(), None)));
        (!names.is_empty()).then_some(Want { names, grid: None })
    }

    /// Puts the panels together again after series or choices have changed.
    fn refresh(&mut self) {
        // Alike series share a chart, so that they do not hide the others in a row of charts.
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for info in self.series.iter().filter(|s| alike(&s.name)) {
            *numbers.entry(subject(&info.name)).or_default() += 1;
        }
        let grouped = |name: &str| alike(name) && numbers.get(subject(name)).is_some_and(|n| *n >= GROUP);
        let measures = |name: &str| if grouped(name) { subject(name).to_owned() } else { metric(name).to_owned() };
        let key = |s: &SeriesInfo| -> Key { (measures(&s.name), s.x_max.map(f64::to_bits), s.x_unit.clone()) };
        let mut keys: Vec<Key> = Vec::new();
        for info in self.series.iter().filter(|s| self.shown(&s.name)) {
            if !keys.contains(&key(info)) {
                keys.push(key(info));
            }
        }
        // The chart of the judged figure first, then how right and how wrong; groups and charts of nothing but candidates last.
        let rank = |k: &Key| {
            let own = self.series.iter().filter(|s| key(s) == *k && !per_candidate(&s.name));
            let names: Vec<&str> = own.map(|s| s.name.as_str()).collect();
            let judged = self.judged.as_deref();
            let class = match (names.is_empty(), judged.is_some_and(|j| names.contains(&j))) {
                (false, true) => 0,
                (false, false) if judged.is_some_and(|j| metric(j) == k.0) => 1,
                (false, false) if names.iter().all(|n| grouped(n)) => 5,
                (false, false) => 2 + weight_of(&k.0),
                (true, _) => 6,
            };
            (class, !names.iter().any(|n| of_training(n)))
        };
        keys.sort_by_key(rank);
        let focused = self.panels.get(self.focus).filter(|_| self.steered).map(Panel::key);
        let mut old = std::mem::take(&mut self.panels);
        let mut panels: Vec<Panel> = Vec::with_capacity(keys.len());
        for k in &keys {
            let members = self.series.iter().enumerate().filter(|(_, s)| key(s) == *k);
            // Colours belong to the series of the run first: those of candidates must not shift them.
            let (own, single): (Vec<_>, Vec<_>) = members.partition(|(_, s)| !per_candidate(&s.name));
            let alone = keys.iter().filter(|other| other.0 == k.0).count() == 1;
            let title = match own.first() {
                _ if alone => k.0.clone(),
                Some((_, first)) if grouped(&first.name) => k.0.clone(),
                Some((_, first)) => first.name.clone(),
                None => format!("{} of candidates", k.0),
            };
            let coloured = own.into_iter().chain(single).enumerate();
            let series = coloured.filter(|(_, (_, s))| self.shown(&s.name)).map(|(c, (i, _))| (i, c)).collect();
            panels.push(match old.iter().position(|p| p.key() == *k) {
                Some(at) => Panel { series, title, ..old.swap_remove(at) },
                None => Panel {
                    metric: k.0.clone(),
                    plan: k.1,
                    title,
                    series,
                    full: Window { from: 0.0, to: 0.0 },
                    zoom: None,
                    y: Fit::default(),
                    log: false,
                    log_x: false,
                    unit: k.2.clone(),
                },
            });
        }
        self.panels = panels;
        let before = std::mem::replace(
            &mut self.focus,
            focused.and_then(|f| self.panels.iter().position(|p| p.key() == f)).unwrap_or(0),
        );
        self.widen();
        if self.focus != before {
            self.keep_cursor();
        }
    }

    /// Extends the windows where data have run beyond them, and lets the y ranges follow.
    pub fn widen(&mut self) {
        for panel in &mut self.panels {
            let infos = || panel.series.iter().filter_map(|(i, _)| self.series.get(*i));
            let first = infos().map(|s| s.first_x).filter(|x| x.is_finite()).fold(0.0, f64::min);
            let last = infos().map(|s| s.last_x).filter(|x| x.is_finite()).fold(0.0, f64::max);
            let plan = infos().filter_map(|s| s.x_max).filter(|x| x.is_finite()).fold(0.0, f64::max);
            panel.full.from = first;
            if panel.log_x {
                // It begins at the first point beyond 0.
                let positive = infos().map(|s| s.first_x).filter(|x| x.is_finite() && *x > 0.0).reduce(f64::min);
                panel.full.from = positive.unwrap_or(if last > 0.0 { last * 1e-3 } else { 1e-3 });
            }
            let first = panel.full.from;
            if plan > 0.0 && last <= plan {
                panel.full.to = plan;
            } else if panel.full.to < last || panel.full.to <= first {
                panel.full.to = scale::end_beyond(last);
            }
            let window = panel.window();
            let bounds = panel
                .series
                .iter()
                .filter_map(|(i, _)| {
                    self.tracks.get(&self.series.get(*i)?.name)?.bounds(window.from, window.to, panel.log)
                })
                .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            panel.y.follow(bounds, panel.log);
        }
    }

    pub fn focused(&self) -> Option<&Panel> {
        self.panels.get(self.focus)
    }

    /// Switches the focused panel's y axis between linear and logarithmic.
    pub fn toggle_log(&mut self) {
        if let Some(panel) = self.panels.get_mut(self.focus) {
            panel.log = !panel.log;
        }
        self.widen();
    }

    /// Switches the focused panel's x axis between linear and logarithmic.
    pub fn toggle_log_x(&mut self) {
        if let Some(panel) = self.panels.get_mut(self.focus) {
            panel.log_x = !panel.log_x;
            (panel.zoom, panel.y) = (None, Fit::default());
        }
        self.widen();
        self.keep_cursor();
    }

    /// How lines are smoothed.
    pub fn smoothing(&self) -> Smoothing {
        match SMOOTHING.get(self.smooth) {
            Some(share) if *share > 0.0 && self.median => Smoothing::Median(*share),
            Some(share) if *share > 0.0 => Smoothing::Mean(*share),
            _ => Smoothing::Off,
        }
    }

    /// The tracks of the focused panel.
    fn tracks_of(&self, panel: &Panel) -> impl Iterator<Item = &Track> {
        panel.series.iter().filter_map(|(i, _)| self.tracks.get(&self.series.get(*i)?.name))
    }

    /// Moves the cursor by `by` cells of a plot that is `cells` wide; the first move puts it at the newest point.
    pub fn move_cursor(&mut self, by: f64, cells: u16) {
        let Some(panel) = self.focused() else { return };
        let window = panel.window();
        let newest =
            panel.series.iter().filter_map(|(i, _)| Some(self.series.get(*i)?.last_x)).fold(window.from, f64::max);
        let Some(x) = self.cursor else {
            self.cursor = Some(newest.clamp(window.from, window.to));
            return;
        };
        let step = by * panel.warped(window).span() / f64::from(cells.max(2) - 1);
        let wished = panel.unwarp(panel.warp(x) + step);
        // The cursor stands on points: the one nearest to where it is going, or the next one where they are far apart.
        let near = |a: &f64, b: &f64| (a - wished).abs().total_cmp(&(b - wished).abs());
        let ahead = |at: &f64| (at - x) * by > 0.0;
        let nearest = self.tracks_of(panel).filter_map(|t| t.nearest(wished)).map(|p| p[0]).filter(ahead).min_by(near);
        let next = || self.tracks_of(panel).filter_map(|t| t.beyond(x, by > 0.0)).map(|p| p[0]).min_by(near);
        if let Some(at) = nearest.or_else(next) {
            self.cursor = Some(at.clamp(window.from, window.to));
        }
    }

    /// Puts the cursor on the point nearest to a place of the focused panel's x axis, from 0 to 1. Returns whether it has moved.
    pub fn put_cursor(&mut self, place: f64) -> bool {
        let Some(panel) = self.focused() else { return false };
        let window = panel.window();
        let wished = panel.x().at(place.clamp(0.0, 1.0));
        let near = |a: &f64, b: &f64| (a - wished).abs().total_cmp(&(b - wished).abs());
        let nearest = self.tracks_of(panel).filter_map(|t| t.nearest(wished)).map(|p| p[0]).min_by(near);
        let Some(at) = nearest.map(|x| x.clamp(window.from, window.to)) else { return false };
        self.cursor.replace(at) != Some(at)
    }

    /// Zooms the focused panel around the cursor, or around its middle.
    pub fn zoom(&mut self, factor: f64) {
        let cursor = self.cursor;
        if let Some(panel) = self.panels.get(self.focus) {
            let window = panel.window();
            let at = cursor.filter(|x| *x >= window.from && *x <= window.to).and_then(|x| panel.x().place(x));
            self.zoom_at(factor, at.unwrap_or(0.5));
        }
    }

    /// Zooms the focused panel so that what is at a place of its x axis, from 0 to 1, stays there.
    pub fn zoom_at(&mut self, factor: f64, place: f64) {
        if let Some(panel) = self.panels.get_mut(self.focus) {
            let window = panel.warped(panel.window());
            panel.show(window.zoom(factor, window.from + place * window.span()));
        }
        self.widen();
    }

    /// Shows the whole axis again. Returns whether anything was zoomed.
    pub fn zoom_all(&mut self) -> bool {
        let zoomed = self.panels.get_mut(self.focus).is_some_and(|panel| {
            let zoomed = panel.zoom.take().is_some();
            if zoomed {
                panel.y = Fit::default();
            }
            zoomed
        });
        self.widen();
        zoomed
    }

    /// Moves the zoomed window by a share of itself.
    pub fn pan(&mut self, share: f64) {
        if let Some(panel) = self.panels.get_mut(self.focus)
            && let Some(window) = panel.zoom
        {
            let window = panel.warped(window);
            let by = window.span() * share;
            panel.show(Window { from: window.from + by, to: window.to + by });
        }
        self.widen();
    }

    pub fn next_panel(&mut self, by: isize) {
        self.steered = true;
        if !self.panels.is_empty() {
            self.focus = (self.focus as isize + by).rem_euclid(self.panels.len() as isize) as usize;
        }
        self.keep_cursor();
    }

    /// A cursor that another chart has left beyond the focused one's window comes back to its edge.
    fn keep_cursor(&mut self) {
        if let (Some(x), Some(panel)) = (self.cursor, self.panels.get(self.focus)) {
            let window = panel.window();
            self.cursor = Some(x.max(window.from).min(window.to));
        }
    }

    /// Where the cursor stands on the x axis of a panel: on that of the focused one, and on those that count the same.
    pub fn cursor_in(&self, panel: &Panel) -> Option<f64> {
        self.cursor.filter(|_| self.focused().is_some_and(|focused| focused.unit == panel.unit))
    }
}

#[cfg(test)]
mod tests;
