//! When the points of a series were measured: what charts need to lay runs over one another by time.
//!
//! Points say where on their own axis they lie (epochs, iterations, networks), events say when they were written. Time is
//! time at work, as in [`RunSummary::worked`]: pauses, the queue and the time between attempts do not count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Body, Event};
use crate::reduce::{Pace, reduce};
use crate::run::{RunId, RunSummary};

/// When a series got where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Name of the series.
    pub name: String,
    /// `[x, seconds at work since the first start]`, both rising.
    pub points: Vec<[f64; 2]>,
}

/// Pairs kept of one series; beyond it every second one goes, so that a run of a year costs no more than one of an hour.
const KEPT: usize = 1024;

/// Events that are less than so many seconds apart were held back and written together.
const APART: f64 = 0.02;

impl Clock {
    /// Seconds at work when the series was at `x`, on straight lines between what is known; `None` before anything is.
    pub fn at(&self, x: f64) -> Option<f64> {
        let last = self.points.last()?;
        if !x.is_finite() {
            return None;
        }
        let i = self.points.partition_point(|p| p[0] < x);
        let Some(after) = self.points.get(i) else { return Some(last[1]) };
        let before = i.checked_sub(1).and_then(|i| self.points.get(i)).copied().unwrap_or([x.min(0.0), 0.0]);
        let share = if after[0] > before[0] { (x - before[0]) / (after[0] - before[0]) } else { 1.0 };
        Some(before[1] + share.clamp(0.0, 1.0) * (after[1] - before[1]))
    }

    /// The points of the series with time in place of x; those of an unknown time are left out.
    pub fn timed(&self, points: &[[f64; 2]]) -> Vec<[f64; 2]> {
        points.iter().filter_map(|p| Some([self.at(p[0])?, p[1]])).collect()
    }

    fn note(&mut self, first: f64, last: f64, seconds: f64) {
        // A resumed run goes over part of its way once more: what it did there before is void.
        let keep = self.points.partition_point(|p| p[0] < first);
        self.points.truncate(keep);
        match self.points.last_mut() {
            // Written in one go with what came before: only the last of them says when.
            Some(known) if seconds - known[1] < APART && known[0] <= last => known[0] = last,
            _ => self.points.push([last, seconds]),
        }
        if self.points.len() > 2 * KEPT {
            let newest = self.points.len() - 1;
            let mut i = 0;
            self.points.retain(|_| {
                i += 1;
                i % 2 == 0 || i == newest + 1
            });
        }
    }
}

/// The clocks of all series of a run, from its events in order.
#[derive(Clone, Debug)]
pub struct Clocks {
    summary: RunSummary,
    pace: Pace,
    clocks: BTreeMap<String, Clock>,
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks {
            summary: RunSummary::queued(RunId(String::new()), 0.0),
            pace: Pace::default(),
            clocks: BTreeMap::new(),
        }
    }
}

impl Clocks {
    /// Takes one event in; one that was taken in before changes nothing.
    pub fn take(&mut self, event: &Event) {
        if !reduce(&mut self.summary, &mut self.pace, event) {
            return;
        }
        let worked = self.summary.worked.unwrap_or(0.0);
        match &event.body {
            Body::Started { resumed_from: None, .. } => self.clocks.clear(),
            Body::Points { series, points } => {
                let xs = || points.iter().map(|p| p[0]).filter(|x| x.is_finite());
                let (Some(first), Some(last)) = (xs().next(), xs().next_back()) else { return };
                let clock = self.clocks.entry(series.clone());
                clock.or_insert_with(|| Clock { name: series.clone(), points: Vec::new() }).note(first, last, worked);
            }
            _ => {}
        }
    }

    /// The clock of a series, if it has points yet.
    pub fn of(&self, series: &str) -> Option<&Clock> {
        self.clocks.get(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(resumed_from: Option<u64>) -> Body {
        crate::testing::started(1, resumed_from)
    }

    fn points(xs: &[f64]) -> Body {
        Body::Points { series: "train/loss".into(), points: xs.iter().map(|x| [*x, 1.0]).collect() }
    }

    fn clocks(events: Vec<(f64, Body)>) -> Clocks {
        let mut clocks = Clocks::default();
        for (i, (t, body)) in events.into_iter().enumerate() {
            clocks.take(&Event { seq: i as u64 + 1, t, body });
        }
        clocks
    }

    #[test]
    fn pauses_do_not_count_and_points_of_a_batch_lie_between_its_neighbours() {
        let clocks = clocks(vec![
            (100.0, started(None)),
            (110.0, points(&[1.0])),
            (112.0, Body::Paused { reason: "asked for".into() }),
            (512.0, Body::Resumed { reason: "asked for".into() }),
            (520.0, points(&[2.0, 3.0])),
        ]);
        let clock = clocks.of("train/loss").unwrap();
        assert_eq!(clock.points, [[1.0, 10.0], [3.0, 20.0]]);
        let seconds: Vec<f64> = [0.0, 0.5, 1.0, 2.0, 3.0, 9.0].iter().map(|x| clock.at(*x).unwrap()).collect();
        assert_eq!(seconds, [0.0, 5.0, 10.0, 15.0, 20.0, 20.0]);
        assert_eq!(clock.timed(&[[2.0, 0.7], [f64::NAN, 1.0]]), [[15.0, 0.7]]);
        assert!(clocks.of("valid/loss").is_none());
    }

    #[test]
    fn what_is_written_in_one_go_lies_along_the_time_before() {
        let mut events = vec![(0.0, started(None))];
        events.extend((1..=10).map(|i| (1.0 + 0.001 * f64::from(i), points(&[f64::from(i)]))));
        events.push((2.0, points(&[20.0])));
        let clocks = clocks(events);
        let clock = clocks.of("train/loss").unwrap();
        assert_eq!(clock.points.len(), 2);
        assert!((clock.at(5.0).unwrap() - 0.5).abs() < 0.01 && (clock.at(15.0).unwrap() - 1.5).abs() < 0.01);
    }

    #[test]
    fn what_a_resumed_run_does_again_takes_the_place_of_what_it_did() {
        let mut events = vec![(0.0, started(None)), (10.0, points(&[1.0])), (20.0, points(&[2.0]))];
        events.extend([(30.0, points(&[3.0])), (100.0, started(Some(2))), (115.0, points(&[2.5]))]);
        let resumed = clocks(events.clone());
        // 30 s of the first attempt, 15 of the second.
        assert_eq!(resumed.of("train/loss").unwrap().points, [[1.0, 10.0], [2.0, 20.0], [2.5, 45.0]]);
        events.push((200.0, started(None)));
        assert!(clocks(events).of("train/loss").is_none(), "started anew");
    }

    #[test]
    fn a_long_run_keeps_its_newest_point_and_no_more_than_it_may() {
        let mut events = vec![(0.0, started(None))];
        events.extend((1..=10_000).map(|i| (f64::from(i), points(&[f64::from(i)]))));
        let clocks = clocks(events);
        let clock = clocks.of("train/loss").unwrap();
        assert!(clock.points.len() <= 2 * KEPT && clock.points.len() >= KEPT / 2);
        assert_eq!(clock.points.last(), Some(&[10_000.0, 10_000.0]));
        assert!((clock.at(1234.5).unwrap() - 1234.5).abs() < 1e-6);
    }
}
