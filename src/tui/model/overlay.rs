//! Curves of several runs over one another: which series, by what, and the points that are here.

use std::collections::{BTreeSet, HashMap};

use kiln_protocol::RunId;
use kiln_protocol::clock::Clock;
use kiln_protocol::compare::{By, Comparison};
use kiln_protocol::wire::{Series, SeriesInfo};

use crate::chart::{Fit, Smoothing, Window, scale};
use crate::model::curves::SMOOTHING;
use crate::model::list::List;

/// Columns that a series is asked for in: those of the widest terminal, so that neither a resize nor the first zooms ask anew.
pub const COLUMNS: u32 = 1000;

/// Runs whose curves are drawn; more would be a thicket, and as many questions.
pub const MOST: usize = 60;

/// Seconds after which a live run is asked again.
const AGAIN: f64 = 2.0;

/// Points of a mean: as many as a wide chart has columns.
const MEAN: usize = 400;

/// A run's series.
#[derive(Clone, Debug, PartialEq)]
struct Source {
    run: RunId,
    group: usize,
    info: SeriesInfo,
}

/// What is asked of the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    Points(RunId, String),
    Clock(RunId, String),
}

/// A curve as drawn: that of a run, or the mean of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    pub group: usize,
    pub points: Vec<[f64; 2]>,
    /// `[x, low, high]` around a mean; empty for a run.
    pub band: Vec<[f64; 3]>,
}

/// All that is laid over one another.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Names to choose among; see [`Comparison::series`].
    pub series: Vec<String>,
    pub chosen: usize,
    pub by: By,
    pub smooth: usize,
    pub log: bool,
    /// Whether runs of a group are drawn one by one rather than as their mean.
    pub single: bool,
    /// Groups that are not drawn.
    pub hidden: BTreeSet<usize>,
    /// The groups, in the legend.
    pub list: List,
    pub cursor: Option<f64>,
    pub zoom: Option<Window>,
    pub y: Fit,
    /// From the start to the end of what is drawn, or is planned.
    pub full: Window,
    /// What x counts.
    pub unit: String,
    pub drawn: Vec<Drawn>,
    /// Runs that are not drawn, since it is not known where their points lie.
    pub unplaced: usize,
    sources: Vec<Source>,
    points: HashMap<(RunId, String), Vec<[f64; 2]>>,
    clocks: HashMap<(RunId, String), Clock>,
    /// Questions without an answer yet.
    asked: BTreeSet<Need>,
    /// When an answer came.
    answered: HashMap<Need, f64>,
    /// What is drawn no longer fits what is here.
    outdated: bool,
}

impl Overlay {
    /// Takes over which runs there are. Choices stay as far as they still mean something.
    pub fn set(&mut self, runs: &Comparison) {
        let name = self.name().map(str::to_owned);
        self.series = runs.series();
        self.chosen = name.and_then(|name| self.series.iter().position(|s| *s == name)).unwrap_or(0);
        self.sources = runs
            .runs()
            .flat_map(|run| {
                let infos = runs.groups[run.group].series.get(run.member).map_or(&[][..], Vec::as_slice);
                infos.iter().map(move |info| Source { run: run.id.clone(), group: run.group, info: info.clone() })
            })
            .collect();
        self.outdated = true;
    }

    /// The series that is drawn.
    pub fn name(&self) -> Option<&str> {
        self.series.get(self.chosen).map(String::as_str)
    }

    /// Another series, `by` places further on.
    pub fn step_series(&mut self, by: isize) {
        let n = self.series.len() as isize;
        if n > 0 {
            self.chosen = (self.chosen as isize + by).rem_euclid(n) as usize;
            self.anew();
        }
    }

    /// The next thing to lay curves over one another by.
    pub fn next_by(&mut self) {
        let at = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
        self.by = By::ALL[(at + 1) % By::ALL.len()];
        self.anew();
    }

    fn anew(&mut self) {
        (self.zoom, self.cursor, self.y) = (None, None, Fit::default());
        self.outdated = true;
    }

    pub fn toggle(&mut self, group: usize) {
        if !self.hidden.remove(&group) {
            self.hidden.insert(group);
        }
        self.outdated = true;
    }

    pub fn toggle_single(&mut self) {
        self.single = !self.single;
        self.outdated = true;
    }

    pub fn toggle_log(&mut self) {
        self.log = !self.log;
        self.outdated = true;
    }

    pub fn next_smooth(&mut self) {
        self.smooth = (self.smooth + 1) % SMOOTHING.len();
        self.outdated = true;
    }

    /// The runs that have the series, as many as are drawn at most.
    fn lines(&self) -> impl Iterator<Item = &Source> {
        let name = self.name();
        self.sources.iter().filter(move |s| name == Some(s.info.name.as_str())).take(MOST)
    }

    /// Runs that have the series, and how many of them are drawn.
    pub fn counts(&self) -> (usize, usize) {
        let name = self.name();
        let all = self.sources.iter().filter(|s| name == Some(s.info.name.as_str())).count();
        (all, all.min(MOST))
    }

    /// What has to be asked now so that the series can be drawn: once for a run that is over, every few seconds for a live
    /// one. Remembers it as asked.
    pub fn needs(&mut self, now: f64, live: impl Fn(&RunId) -> bool) -> Vec<Need> {
        let timed = self.by == By::Time;
        let wanted: Vec<Need> = self
            .lines()
            .filter(|s| !self.hidden.contains(&s.group))
            .flat_map(|s| {
                let key = || (s.run.clone(), s.info.name.clone());
                let points = Need::Points(key().0, key().1);
                std::iter::once(points).chain(timed.then(|| Need::Clock(key().0, key().1)))
            })
            .filter(|need| !self.asked.contains(need))
            .filter(|need| {
                let (Need::Points(run, _) | Need::Clock(run, _)) = need;
                self.answered.get(need).is_none_or(|t| live(run) && now - t >= AGAIN)
            })
            .collect();
        self.asked.extend(wanted.iter().cloned());
        wanted
    }

    /// Points of a series have come.
    pub fn take_points(&mut self, run: &RunId, name: &str, series: Option<Series>, now: f64) {
        let need = Need::Points(run.clone(), name.to_owned());
        self.asked.remove(&need);
        self.answered.insert(need, now);
        let points = series.map(|s| s.points).unwrap_or_default();
        self.points.insert((run.clone(), name.to_owned()), points);
        self.outdated = true;
    }

    /// So has a clock.
    pub fn take_clock(&mut self, run: &RunId, name: &str, clock: Option<Clock>, now: f64) {
        let need = Need::Clock(run.clone(), name.to_owned());
        self.asked.remove(&need);
        self.answered.insert(need, now);
        if let Some(clock) = clock {
            self.clocks.insert((run.clone(), name.to_owned()), clock);
        }
        self.outdated = true;
    }

    /// The connection is gone: nothing that was asked will be answered.
    pub fn forget(&mut self) {
        self.asked.clear();
    }

    /// A run has changed its state: what it has drawn since is asked for once more.
    pub fn doubt(&mut self, run: &RunId) {
        self.answered.retain(|need, _| !matches!(need, Need::Points(id, _) | Need::Clock(id, _) if id == run));
    }

    /// Puts together what is drawn, if anything has changed.
    pub fn refresh(&mut self) {
        if !std::mem::take(&mut self.outdated) {
            return;
        }
        let mut placed: Vec<(usize, Vec<[f64; 2]>)> = Vec::new();
        let mut plan = 0.0_f64;
        let mut units: Vec<&str> = Vec::new();
        let mut unplaced = 0;
        for source in self.lines().filter(|s| !self.hidden.contains(&s.group)) {
            let key = (source.run.clone(), source.info.name.clone());
            let Some(points) = self.points.get(&key) else { continue };
            match self.by.along(points, &source.info, self.clocks.get(&key)) {
                Some(points) => placed.push((source.group, points)),
                None => {
                    unplaced += 1;
                    continue;
                }
            }
            units.push(&source.info.x_unit);
            plan = plan.max(source.info.x_max.filter(|x| x.is_finite()).unwrap_or(0.0));
        }
        let unit = match self.by {
            By::Share => "% of the plan",
            By::Time => "s",
            By::Count if units.windows(2).all(|w| w[0] == w[1]) => units.first().copied().unwrap_or(""),
            By::Count => "",
        };
        let unit = unit.to_owned();
        let last = placed.iter().flat_map(|(_, p)| p.last()).map(|p| p[0]).fold(0.0, f64::max);
        let first = placed.iter().flat_map(|(_, p)| p.first()).map(|p| p[0]).fold(0.0, f64::min);
        let end = match self.by {
            By::Count if plan >= last && plan > 0.0 => plan,
            By::Share => last.max(100.0),
            // An axis that grows with every answer would be drawn anew each time.
            _ => scale::end_beyond(last),
        };
        self.full = Window { from: first, to: if end > first { end } else { first + 1.0 } };
        let smooth = match SMOOTHING.get(self.smooth) {
            Some(share) if *share > 0.0 => Smoothing::Mean(*share),
            _ => Smoothing::Off,
        };
        let window = self.window();
        let mut drawn: Vec<Drawn> = Vec::new();
        let groups: BTreeSet<usize> = placed.iter().map(|(group, _)| *group).collect();
        for group in groups {
            let own: Vec<&Vec<[f64; 2]>> = placed.iter().filter(|(g, _)| *g == group).map(|(_, p)| p).collect();
            let (points, band) = match own.as_slice() {
                [_, _, ..] if !self.single => mean(&own),
                _ => {
                    drawn.extend(own.into_iter().map(|p| Drawn { group, points: p.clone(), band: Vec::new() }));
                    continue;
                }
            };
            drawn.push(Drawn { group, points, band });
        }
        for line in &mut drawn {
            if let Some(points) = smooth.of(&line.points, |x| Some((x - window.from) / window.span())) {
                line.points = points;
            }
        }
        (self.drawn, self.unit, self.unplaced) = (drawn, unit, unplaced);
        self.follow();
    }

    /// Lets the y axis follow what is in view.
    fn follow(&mut self) {
        let window = self.window();
        let log = self.log;
        let inside = |x: f64| x >= window.from && x <= window.to;
        let values = self.drawn.iter().flat_map(|d| {
            let line = d.points.iter().filter(move |p| inside(p[0])).map(|p| p[1]);
            line.chain(d.band.iter().filter(move |b| inside(b[0])).flat_map(|b| [b[1], b[2]]))
        });
        let bounds = values
            .filter(|y| y.is_finite() && (!log || *y > 0.0))
            .fold(None, |b, y| Some(b.map_or((y, y), |(lo, hi): (f64, f64)| (lo.min(y), hi.max(y)))));
        self.y.follow(bounds, log);
    }

    /// The window that is shown.
    pub fn window(&self) -> Window {
        self.zoom.unwrap_or(self.full)
    }

    /// Zooms around the cursor, or around the middle.
    pub fn zoom_by(&mut self, factor: f64) {
        let window = self.window();
        let at = self.cursor.filter(|x| *x >= window.from && *x <= window.to);
        let next = window.zoom(factor, at.unwrap_or((window.from + window.to) / 2.0)).within(self.full);
        if next.span() > self.full.span() * 1e-6 {
            self.zoom = (next != self.full).then_some(next);
            self.y = Fit::default();
            self.outdated = true;
        }
    }

    /// Shows the whole axis again. Returns whether it was not.
    pub fn zoom_all(&mut self) -> bool {
        let zoomed = self.zoom.take().is_some();
        if zoomed {
            self.y = Fit::default();
            self.outdated = true;
        }
        zoomed
    }

    /// Moves the zoomed window by a share of itself.
    pub fn pan(&mut self, share: f64) {
        if let Some(window) = self.zoom {
            let by = window.span() * share;
            self.zoom = Some(Window { from: window.from + by, to: window.to + by }.within(self.full));
            self.y = Fit::default();
            self.outdated = true;
        }
    }

    /// Moves the cursor by `by` cells of a plot that is `cells` wide, onto a point; the first move puts it at the newest one.
    pub fn move_cursor(&mut self, by: f64, cells: u16) {
        let window = self.window();
        let xs = || self.drawn.iter().flat_map(|d| d.points.iter().map(|p| p[0]));
        let Some(x) = self.cursor else {
            let newest = xs().fold(window.from, f64::max);
            self.cursor = Some(newest.clamp(window.from, window.to));
            return;
        };
        let wished = x + by * window.span() / f64::from(cells.max(2) - 1);
        let near = |a: &f64, b: &f64| (a - wished).abs().total_cmp(&(b - wished).abs());
        let next = xs().filter(|at| (at - x) * by > 0.0).min_by(near);
        if let Some(at) = next {
            self.cursor = Some(at.clamp(window.from, window.to));
        }
    }

    /// What a group has at the cursor, else at its end: value, and deviation where it is a mean.
    pub fn read(&self, group: usize, cells: u16) -> Option<(f64, Option<f64>)> {
        let slack = self.window().span() / f64::from(cells.max(1));
        let line = self.drawn.iter().find(|d| d.group == group)?;
        let finite = || line.points.iter().filter(|p| p[1].is_finite());
        let point = match self.cursor {
            Some(x) => {
                let (first, last) = (finite().next()?, finite().next_back()?);
                let within = x >= first[0] - slack && x <= last[0] + slack;
                finite().min_by(|a, b| (a[0] - x).abs().total_cmp(&(b[0] - x).abs())).filter(|_| within)?
            }
            // Where runs go on after others have ended, their mean is one of other runs.
            None => {
                let of_all = |p: &&[f64; 2]| line.band.iter().any(|b| b[0] == p[0] && b[1].is_finite());
                finite().rfind(of_all).or_else(|| finite().next_back())?
            }
        };
        let at = line.band.iter().find(|b| b[0] == point[0]);
        Some((point[1], at.map(|b| (b[2] - b[1]) / 2.0).filter(|d| d.is_finite())))
    }
}

/// Mean and standard deviation of curves, x rising: at the points that any of them has, on straight lines between those of
/// the others. Where another number of curves than before goes on, a point without y breaks the line.
fn mean(curves: &[&Vec<[f64; 2]>]) -> (Vec<[f64; 2]>, Vec<[f64; 3]>) {
    let mut xs: Vec<f64> = curves.iter().flat_map(|c| c.iter().map(|p| p[0])).filter(|x| x.is_finite()).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let every = xs.len().div_ceil(MEAN).max(1);
    let last = xs.len().saturating_sub(1);
    let xs = xs.into_iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last).map(|(_, x)| x);
    let (mut points, mut band): (Vec<[f64; 2]>, Vec<[f64; 3]>) = (Vec::new(), Vec::new());
    let mut before = 0;
    for x in xs {
        let values: Vec<f64> = curves.iter().filter_map(|c| at(c, x)).filter(|y| y.is_finite()).collect();
        let n = values.len() as f64;
        if values.is_empty() {
            continue;
        }
        if before > 0 && values.len() != before {
            points.push([x, f64::NAN]);
            band.push([x, f64::NAN, f64::NAN]);
        }
        before = values.len();
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let std = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
        points.push([x, mean]);
        band.push([x, mean - std, mean + std]);
    }
    (points, band)
}

/// The curve at x, between its first and its last point.
fn at(curve: &[[f64; 2]], x: f64) -> Option<f64> {
    let i = curve.partition_point(|p| p[0] < x);
    let after = curve.get(i)?;
    if after[0] == x {
        return Some(after[1]);
    }
    let before = curve.get(i.checked_sub(1)?)?;
    let share = (x - before[0]) / (after[0] - before[0]);
    Some(before[1] + share * (after[1] - before[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::compare::Group;

    fn info(name: &str, x_max: Option<f64>) -> SeriesInfo {
        SeriesInfo {
            name: name.into(),
            points: 3,
            first_x: 1.0,
            last_x: 3.0,
            last_y: Some(0.5),
            x_max,
            x_unit: "epochs".into(),
        }
    }

    /// Group A with two seeds, group B with one run.
    fn comparison() -> Comparison {
        let group = |name: &str, runs: &[&str], end: f64| Group {
            name: name.into(),
            runs: runs.iter().map(|r| RunId((*r).into())).collect(),
            seeds: (1..=runs.len() as u64).collect(),
            series: vec![vec![info("train/loss", Some(end)), info("valid/accuracy", None)]; runs.len()],
        };
        Comparison { groups: vec![group("a", &["a1", "a2"], 4.0), group("b", &["b1"], 10.0)], ..Comparison::default() }
    }

    fn answer(overlay: &mut Overlay, now: f64) {
        for need in overlay.needs(now, |_| false) {
            match need {
                Need::Points(run, name) => {
                    let lift = if run.0 == "a2" { 2.0 } else { 0.0 };
                    let points = (1..=3).map(|x| [f64::from(x), f64::from(x) + lift]).collect();
                    overlay.take_points(&run, &name, Some(Series { points, ..Series::default() }), now);
                }
                Need::Clock(run, name) => {
                    let clock = Clock { name: name.clone(), points: vec![[1.0, 10.0], [3.0, 50.0]] };
                    overlay.take_clock(&run, &name, Some(clock), now);
                }
            }
        }
        overlay.refresh();
    }

    fn overlay() -> Overlay {
        let mut overlay = Overlay::default();
        overlay.set(&comparison());
        overlay.step_series(overlay.series.iter().position(|s| s == "train/loss").unwrap() as isize);
        answer(&mut overlay, 0.0);
        overlay
    }

    #[test]
    fn runs_of_a_group_are_one_mean_with_a_band_or_one_line_each() {
        let mut o = overlay();
        assert_eq!(o.drawn.iter().map(|d| d.group).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(o.drawn[0].points, [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]);
        let half = 2.0_f64.sqrt();
        assert!((o.drawn[0].band[0][2] - 2.0 - half).abs() < 1e-12);
        assert_eq!(o.read(0, 50).map(|(v, d)| (v, d.unwrap() > 1.4)), Some((4.0, true)));
        // The longer of both goes on alone: that is no mean of both.
        let points = (1..=4).map(|x| [f64::from(x), f64::from(x) + 2.0]).collect();
        o.take_points(&RunId("a2".into()), "train/loss", Some(Series { points, ..Series::default() }), 0.0);
        o.refresh();
        assert_eq!(o.read(0, 50).map(|(v, d)| (v, d.is_some())), Some((4.0, true)));
        o.toggle_single();
        o.refresh();
        assert_eq!(o.drawn.iter().map(|d| d.group).collect::<Vec<_>>(), [0, 0, 1]);
        o.toggle(0);
        o.refresh();
        assert_eq!(o.drawn.iter().map(|d| d.group).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn curves_lie_by_count_by_share_or_by_time() {
        let mut o = overlay();
        assert_eq!((o.full, o.unit.as_str()), (Window { from: 0.0, to: 10.0 }, "epochs"));
        o.next_by();
        o.refresh();
        assert_eq!(o.drawn[1].points.last(), Some(&[30.0, 3.0]), "3 of 10 epochs");
        assert_eq!(o.drawn[0].points.last().unwrap()[0], 75.0);
        assert_eq!(o.full.to, 100.0);
        o.next_by();
        assert_eq!(o.needs(0.0, |_| false).len(), 3, "clocks alone");
        o.forget();
        answer(&mut o, 0.0);
        assert_eq!(o.drawn[1].points, [[10.0, 1.0], [30.0, 2.0], [50.0, 3.0]]);
        o.step_series(1);
        o.next_by();
        o.next_by();
        answer(&mut o, 0.0);
        assert_eq!((o.drawn.len(), o.unplaced), (0, 3), "no plan, no share");
    }

    #[test]
    fn an_ended_run_is_asked_once_and_a_live_one_again_after_a_while() {
        let mut o = overlay();
        let live = |run: &RunId| run.0 == "b1";
        assert_eq!(o.needs(1.0, live), []);
        let need = Need::Points(RunId("b1".into()), "train/loss".into());
        assert_eq!(o.needs(2.5, live), std::slice::from_ref(&need));
        assert_eq!(o.needs(9.0, live), [], "not before the answer");
        o.forget();
        assert_eq!(o.needs(9.0, live), [need]);
        o.doubt(&RunId("a1".into()));
        assert_eq!(o.needs(9.0, |_| false), [Need::Points(RunId("a1".into()), "train/loss".into())]);
    }

    #[test]
    fn a_mean_breaks_where_fewer_go_on() {
        let (a, b) = (vec![[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], vec![[1.0, 3.0], [2.0, 4.0]]);
        let (points, band) = mean(&[&a, &b]);
        assert_eq!(points.iter().map(|p| p[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 3.0]);
        assert_eq!((points[1][1], points[3][1]), (3.0, 3.0));
        assert!(points[2][1].is_nan() && band[3][1].is_nan() && band.len() == points.len());
        let long: Vec<[f64; 2]> = (0..5000).map(|i| [f64::from(i), 1.0]).collect();
        let (points, _) = mean(&[&long, &long]);
        assert!(points.len() <= MEAN + 1 && points.last() == Some(&[4999.0, 1.0]));
    }

    #[test]
    fn the_cursor_stands_on_points_and_zoom_keeps_it() {
        let mut o = overlay();
        o.move_cursor(-1.0, 101);
        assert_eq!(o.cursor, Some(3.0));
        o.move_cursor(-1.0, 101);
        assert_eq!(o.cursor, Some(2.0));
        assert_eq!(o.read(1, 50), Some((2.0, None)));
        o.zoom_by(0.5);
        assert_eq!(o.window(), Window { from: 1.0, to: 6.0 });
        o.pan(10.0);
        assert_eq!(o.window().to, 10.0);
        assert!(o.zoom_all() && !o.zoom_all());
    }
}
