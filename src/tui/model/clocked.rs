//! Charts over time at work in place of what the method counts: the same window, cursor and points, drawn where a clock says
//! that they were measured.

use std::collections::BTreeMap;

use kiln_protocol::clock::Clock;

use crate::chart::{Scale, Track};
use crate::model::curves::{Curves, Panel};

/// Seconds after which the clocks of a live run are asked for again.
const EVERY: f64 = 3.0;

/// Whether charts are drawn over time, and the clocks of their series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clocked {
    pub on: bool,
    clocks: BTreeMap<String, Clock>,
    /// When they were last asked for, in seconds since the Unix epoch.
    asked: f64,
}

impl Clocked {
    /// What the engine knows.
    pub fn answer(&mut self, clocks: Vec<Clock>) {
        self.clocks.extend(clocks.into_iter().map(|clock| (clock.name.clone(), clock)));
    }

    fn ahead(&self, name: &str, x: f64) -> bool {
        self.clocks.get(name).and_then(|c| c.points.last()).is_none_or(|last| last[0] < x)
    }
}

impl Curves {
    /// The series whose clocks are to be asked for now. Remembers it as asked.
    pub fn want_clocks(&mut self, now: f64) -> Vec<String> {
        if !self.clocked.on || now - self.clocked.asked < EVERY {
            return Vec::new();
        }
        let drawn = self.panels.iter().flat_map(|p| &p.series).filter_map(|(i, _)| self.series.get(*i));
        let names: Vec<String> =
            drawn.filter(|s| self.clocked.ahead(&s.name, s.last_x)).map(|s| s.name.clone()).collect();
        if !names.is_empty() {
            self.clocked.asked = now;
        }
        names
    }

    /// The clock that a chart's axis goes by: that of its first series that has one.
    fn clock(&self, panel: &Panel) -> Option<&Clock> {
        let mut names = panel.series.iter().filter_map(|(i, _)| self.series.get(*i)).map(|s| s.name.as_str());
        names.find_map(|name| self.clocked.clocks.get(name)).filter(|_| self.clocked.on)
    }

    /// The x axis of a chart as it is drawn: in seconds at work, where that is wanted and known.
    pub fn axis(&self, panel: &Panel) -> Scale {
        let own = panel.x();
        match self.clock(panel) {
            Some(clock) => {
                let (lo, hi) = (seconds(clock, own.lo), seconds(clock, own.hi));
                // An end that is estimated anew with every point would be drawn anew each time.
                let hi = if panel.zoom.is_none() && clock.points.last().is_some_and(|l| l[0] < own.hi) {
                    nice(hi)
                } else {
                    hi
                };
                let least = if own.log { hi * 1e-4 } else { 0.0 };
                Scale { lo: lo.max(least), hi: hi.max(lo + 1e-3), ..own }
            }
            None => own,
        }
    }

    /// Where a place on the x axis as it is drawn lies on the axis of what the method counts, both from 0 to 1.
    pub fn counted(&self, panel: &Panel, place: f64) -> f64 {
        let Some(clock) = self.clock(panel) else { return place };
        panel.x().place(when(clock, self.axis(panel).at(place))).unwrap_or(place)
    }

    /// What x is called on a chart as it is drawn.
    pub fn unit<'a>(&self, panel: &'a Panel) -> &'a str {
        if self.clock(panel).is_some() { "s" } else { &panel.unit }
    }

    /// An x of a chart, as it is drawn.
    pub fn drawn_x(&self, panel: &Panel, x: f64) -> f64 {
        self.clock(panel).map_or(x, |clock| seconds(clock, x))
    }

    /// The points of a series of a chart, as they are drawn; `None`: as they are.
    pub fn drawn(&self, panel: &Panel, name: &str, track: &Track) -> Option<Track> {
        let clock = self.clock(panel)?;
        let clock = self.clocked.clocks.get(name).unwrap_or(clock);
        Some(track.moved(|x| seconds(clock, x)))
    }
}

/// Seconds at work at `x`; beyond what is known, at the pace so far.
fn seconds(clock: &Clock, x: f64) -> f64 {
    match clock.points.last() {
        Some([last, t]) if x > *last && *last > 0.0 => t * x / last,
        _ => clock.at(x).unwrap_or(0.0),
    }
}

/// The x at which so many seconds had been worked: the other way round.
fn when(clock: &Clock, t: f64) -> f64 {
    let Some([last, end]) = clock.points.last().copied() else { return 0.0 };
    if t >= end {
        return if end > 0.0 { last * t / end } else { last };
    }
    let i = clock.points.partition_point(|p| p[1] < t);
    let after = clock.points.get(i).copied().unwrap_or([last, end]);
    let before = i.checked_sub(1).and_then(|i| clock.points.get(i)).copied().unwrap_or([0.0, 0.0]);
    let share = if after[1] > before[1] { (t - before[1]) / (after[1] - before[1]) } else { 1.0 };
    before[0] + share.clamp(0.0, 1.0) * (after[0] - before[0])
}

/// The next of 1, 2, 5, 10 ... that leaves little empty.
fn nice(seconds: f64) -> f64 {
    if !seconds.is_finite() || seconds <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(seconds.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|m| m * power).find(|n| *n >= seconds).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::wire::{Series, SeriesInfo};

    fn clock(points: &[[f64; 2]]) -> Clock {
        Clock { name: "train/loss".into(), points: points.to_vec() }
    }

    fn curves() -> Curves {
        let mut curves = Curves::default();
        curves.set_series(vec![SeriesInfo {
            name: "train/loss".into(),
            points: 3,
            first_x: 1.0,
            last_x: 4.0,
            last_y: Some(1.0),
            x_max: Some(10.0),
            x_unit: "epochs".into(),
        }]);
        let want = curves.wants(&[(0, 100)]).remove(0);
        let points = vec![[1.0, 3.0], [2.0, 2.0], [4.0, 1.0]];
        curves.answer(&want, vec![Series { name: "train/loss".into(), points, total: 3, ..Series::default() }]);
        curves.clocked.on = true;
        curves
    }

    #[test]
    fn time_and_count_lead_into_one_another() {
        let clock = clock(&[[1.0, 10.0], [2.0, 30.0], [4.0, 40.0]]);
        for x in [0.0, 0.5, 1.0, 1.7, 2.0, 3.5, 4.0, 8.0] {
            assert!((when(&clock, seconds(&clock, x)) - x).abs() < 1e-9, "{x}");
        }
        assert_eq!(seconds(&clock, 8.0), 80.0, "at the pace so far");
        assert_eq!((when(&self::clock(&[]), 3.0), seconds(&self::clock(&[]), 3.0)), (0.0, 0.0));
        assert_eq!([0.0, 1.0, 1.1, 99.0, 101.0, 7000.0].map(nice), [1.0, 1.0, 1.2, 100.0, 120.0, 8000.0]);
    }

    #[test]
    fn a_chart_over_time_has_its_points_where_the_clock_says() {
        let mut curves = curves();
        assert_eq!(curves.unit(&curves.panels[0]), "epochs", "no clock yet");
        curves.clocked.answer(vec![clock(&[[1.0, 10.0], [2.0, 30.0], [4.0, 40.0]])]);
        let panel = &curves.panels[0];
        let track = curves.drawn(panel, "train/loss", curves.track("train/loss").unwrap()).unwrap();
        assert_eq!(track.points(), [[10.0, 3.0], [30.0, 2.0], [40.0, 1.0]]);
        let axis = curves.axis(panel);
        // Ten epochs at the pace of four in 40 s.
        assert_eq!((axis.lo, axis.hi, curves.unit(panel)), (0.0, 100.0, "s"));
        assert!((curves.counted(panel, 0.3) - 0.2).abs() < 1e-9, "30 s are two of ten epochs");
        assert_eq!(curves.drawn_x(panel, 2.0), 30.0);
    }

    #[test]
    fn clocks_are_asked_for_while_they_lag_behind_and_not_too_often() {
        let mut curves = curves();
        assert_eq!(curves.want_clocks(100.0), ["train/loss"]);
        assert_eq!(curves.want_clocks(101.0), [""; 0]);
        assert_eq!(curves.want_clocks(104.0), ["train/loss"]);
        curves.clocked.answer(vec![clock(&[[4.0, 40.0]])]);
        assert_eq!(curves.want_clocks(110.0), [""; 0], "nothing newer");
        curves.take("train/loss", &[[5.0, 1.0]]);
        assert_eq!(curves.want_clocks(120.0), ["train/loss"]);
        curves.clocked.on = false;
        assert_eq!(curves.want_clocks(200.0), [""; 0]);
    }
}
