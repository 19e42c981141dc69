//! Curves of an experiment: means over its jobs, with their standard deviation.
//!
//! Jobs of one arm differ in their seed alone, so as a rule their points lie at the same x, and a point of the mean is the
//! mean of points. Where there are more points than columns, or x differs, a point is the mean over jobs of what each has
//! in a column; a job without a point there counts with the straight line between its neighbours.

use std::collections::BTreeMap;

use kiln_protocol::wire::{SeriesInfo, arm_series};

/// The series of an experiment, from those of its jobs, in order of first appearance.
pub(crate) fn infos<'a>(jobs: impl IntoIterator<Item = (Option<&'a str>, Vec<SeriesInfo>)>) -> Vec<SeriesInfo> {
    let mut order: Vec<String> = Vec::new();
    let mut all: BTreeMap<String, Vec<SeriesInfo>> = BTreeMap::new();
    for (arm, series) in jobs {
        for info in series {
            let Some(name) = arm_series(arm, &info.name) else { continue };
            if !all.contains_key(&name) {
                order.push(name.clone());
            }
            all.entry(name).or_default().push(info);
        }
    }
    order.into_iter().filter_map(|name| together(&name, all.get(&name)?)).collect()
}

fn together(name: &str, infos: &[SeriesInfo]) -> Option<SeriesInfo> {
    let last_x = infos.iter().map(|i| i.last_x).max_by(f64::total_cmp)?;
    let furthest: Vec<f64> = infos.iter().filter(|i| i.last_x == last_x).filter_map(|i| i.last_y).collect();
    Some(SeriesInfo {
        name: name.to_owned(),
        points: infos.iter().map(|i| i.points).max()?,
        first_x: infos.iter().map(|i| i.first_x).min_by(f64::total_cmp)?,
        last_x,
        last_y: (!furthest.is_empty()).then(|| furthest.iter().sum::<f64>() / furthest.len() as f64),
        x_max: infos.iter().filter_map(|i| i.x_max).max_by(f64::total_cmp),
        x_unit: infos.iter().find(|i| !i.x_unit.is_empty()).map(|i| i.x_unit.clone()).unwrap_or_default(),
    })
}

/// A mean curve.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mean {
    pub points: Vec<[f64; 2]>,
    /// Sample standard deviation, one a point; NaN where fewer than two jobs have come so far.
    pub spread: Vec<f64>,
    /// Most jobs that a point is the mean of.
    pub jobs: u32,
}

/// The mean of curves, each with x rising, at most one point a column; with `columns` 0 one point for each x that any of
/// them has. Points whose y is not finite count for nothing. Where other curves than before make up the mean, a point with
/// NaN breaks the line.
pub(crate) fn mean(curves: &[Vec<[f64; 2]>], columns: u32) -> Mean {
    let curves: Vec<&[[f64; 2]]> = curves.iter().map(Vec::as_slice).filter(|c| !c.is_empty()).collect();
    let Some(longest) = curves.iter().copied().max_by_key(|c| c.len()) else { return Mean::default() };
    let mut gather = Gather::default();
    let few = columns == 0 || longest.len() <= 2 * columns as usize;
    if few && curves.iter().all(|c| c.iter().zip(longest).all(|(a, b)| a[0].to_bits() == b[0].to_bits())) {
        for (i, at) in longest.iter().enumerate() {
            gather.push(curves.iter().enumerate().filter_map(|(job, c)| Some((job, [at[0], c.get(i)?[1]]))));
        }
        return gather.mean;
    }
    let mut cursors: Vec<Cursor<'_>> = curves.iter().map(|curve| Cursor { curve, at: 0 }).collect();
    if columns == 0 {
        let mut xs: Vec<f64> = curves.iter().flat_map(|c| c.iter().map(|p| p[0])).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        for x in xs {
            gather.push(cursors.iter_mut().enumerate().filter_map(|(job, c)| Some((job, c.take(x, x)?))));
        }
        return gather.mean;
    }
    let from = curves.iter().map(|c| c[0][0]).fold(f64::INFINITY, f64::min);
    let to = curves.iter().filter_map(|c| c.last()).map(|p| p[0]).fold(f64::NEG_INFINITY, f64::max);
    let width = (to - from) / f64::from(columns);
    for column in 0..columns {
        let left = from + width * f64::from(column);
        // The last column ends where the curves do, whatever rounding says.
        let right = if column + 1 == columns { f64::INFINITY } else { from + width * f64::from(column + 1) };
        let points = cursors.iter_mut().enumerate().filter_map(|(job, c)| Some((job, c.take(left, right)?)));
        let points: Vec<(usize, [f64; 2])> = points.collect();
        // Straight lines alone are no news: they would only round the corners off.
        if points.iter().any(|(job, _)| cursors.get(*job).is_some_and(|c| c.moved(left))) {
            gather.push(points.into_iter());
        }
    }
    gather.mean
}

/// A place in a curve that moves on from column to column.
struct Cursor<'a> {
    curve: &'a [[f64; 2]],
    /// First point that was not taken.
    at: usize,
}

impl Cursor<'_> {
    /// The mean of the points with `left <= x < right` (or `x == left`); without any, the straight line at the middle.
    fn take(&mut self, left: f64, right: f64) -> Option<[f64; 2]> {
        let begin = self.at;
        while self.curve.get(self.at).is_some_and(|p| p[0] < right || p[0] <= left) {
            self.at += 1;
        }
        let inside = &self.curve[begin..self.at];
        if inside.is_empty() {
            let (before, after) = (self.curve.get(begin.checked_sub(1)?)?, self.curve.get(begin)?);
            let x = if right.is_finite() { (left + right) / 2.0 } else { left };
            let share = (x - before[0]) / (after[0] - before[0]);
            return Some([x, before[1] + share * (after[1] - before[1])]);
        }
        let finite = || inside.iter().filter(|p| p[1].is_finite());
        let n = finite().count() as f64;
        if n == 0.0 {
            return Some([inside[0][0], f64::NAN]);
        }
        Some([finite().map(|p| p[0]).sum::<f64>() / n, finite().map(|p| p[1]).sum::<f64>() / n])
    }

    /// Whether the last column, which began at `left`, had points of its own.
    fn moved(&self, left: f64) -> bool {
        self.at.checked_sub(1).and_then(|at| self.curve.get(at)).is_some_and(|p| p[0] >= left)
    }
}

#[derive(Default)]
struct Gather {
    mean: Mean,
    /// Who made up the last point.
    who: Vec<usize>,
}

impl Gather {
    fn push(&mut self, points: impl Iterator<Item = (usize, [f64; 2])>) {
        let all: Vec<(usize, [f64; 2])> = points.collect();
        let finite: Vec<(usize, [f64; 2])> = all.iter().copied().filter(|(_, p)| p[1].is_finite()).collect();
        let who: Vec<usize> = finite.iter().map(|(job, _)| *job).collect();
        let Some(first) = all.first() else { return };
        let changed = !self.who.is_empty() && self.who != who;
        if changed || who.is_empty() {
            let x = finite.first().unwrap_or(first).1[0];
            self.mean.points.push([x, f64::NAN]);
            self.mean.spread.push(f64::NAN);
        }
        if !who.is_empty() {
            let n = finite.len() as f64;
            let mean = |axis: usize| finite.iter().map(|(_, p)| p[axis]).sum::<f64>() / n;
            let (x, y) = (mean(0), mean(1));
            let squares = finite.iter().map(|(_, p)| (p[1] - y).powi(2)).sum::<f64>();
            self.mean.points.push([x, y]);
            self.mean.spread.push(if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { f64::NAN });
            self.mean.jobs = self.mean.jobs.max(finite.len() as u32);
        }
        self.who = who;
    }
}

#[cfg(test)]
mod tests {
    use kiln_protocol::wire::parse_arm_series;
    use kiln_protocol::{Body, Event, RunId, RunSummary};

    use super::*;
    use crate::Store;

    fn curve(n: u32, y: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
        (1..=n).map(|x| [f64::from(x), y(f64::from(x))]).collect()
    }

    #[test]
    fn equal_x_gives_means_of_points() {
        let mean = mean(&[curve(3, |x| x), curve(3, |x| x + 2.0)], 100);
        assert_eq!(mean.points, [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]);
        assert_eq!((mean.spread, mean.jobs), (vec![2f64.sqrt(); 3], 2));
    }

    #[test]
    fn the_line_breaks_where_fewer_go_on_and_one_alone_has_no_spread() {
        let mean = mean(&[curve(4, |_| 1.0), curve(2, |_| 3.0), vec![]], 100);
        let y: Vec<String> = mean.points.iter().map(|p| p[1].to_string()).collect();
        assert_eq!(y, ["2", "2", "NaN", "1", "1"]);
        assert_eq!(mean.points[2][0], 3.0);
        assert!(mean.spread[..2].iter().all(|s| *s == 2f64.sqrt()) && mean.spread[2..].iter().all(|s| s.is_nan()));
    }

    #[test]
    fn a_job_that_diverged_leaves_the_mean() {
        let mean = mean(&[curve(3, |_| 1.0), vec![[1.0, 3.0], [2.0, f64::NAN], [3.0, f64::INFINITY]]], 100);
        let y: Vec<String> = mean.points.iter().map(|p| p[1].to_string()).collect();
        assert_eq!(y, ["2", "NaN", "1", "1"]);
        let nothing = super::mean(&[vec![[1.0, f64::NAN]]], 10);
        assert!(nothing.points.len() == 1 && nothing.points[0][1].is_nan() && nothing.jobs == 0);
        assert_eq!(super::mean(&[], 10), Mean::default());
    }

    #[test]
    fn many_points_become_means_of_columns() {
        let jobs: Vec<Vec<[f64; 2]>> = (0..3).map(|k| curve(10_000, move |x| x + f64::from(k))).collect();
        let mean = mean(&jobs, 50);
        assert_eq!((mean.points.len(), mean.jobs), (50, 3));
        for (point, spread) in mean.points.iter().zip(&mean.spread) {
            assert!((point[1] - point[0] - 1.0).abs() < 1e-9, "a straight line stays one: {point:?}");
            assert!((spread - 1.0).abs() < 1e-9, "{spread}");
        }
        assert!(mean.points[0][0] > 50.0 && mean.points[0][0] < 151.0);
    }

    #[test]
    fn different_x_is_met_half_way() {
        let even: Vec<[f64; 2]> = (0..=5).map(|i| [2.0 * f64::from(i), 4.0 * f64::from(i)]).collect();
        let odd: Vec<[f64; 2]> = (0..=3).map(|i| [3.0 * f64::from(i), 6.0 * f64::from(i) + 2.0]).collect();
        for columns in [0, 4] {
            let mean = mean(&[even.clone(), odd.clone()], columns);
            for (p, s) in mean.points.iter().zip(&mean.spread).filter(|(p, _)| p[1].is_finite()) {
                let both = if p[0] <= 9.0 { 1.0 } else { 0.0 };
                assert!((p[1] - 2.0 * p[0] - both).abs() < 1e-9, "{columns}: {p:?}");
                assert!(s.is_nan() == (both == 0.0), "{columns}: {p:?} {s}");
            }
            assert!(mean.points.len() >= 4);
        }
    }

    #[test]
    fn names_say_whose_series_it_is() {
        assert_eq!(arm_series(Some("joint"), "train/loss").as_deref(), Some("joint: train/loss"));
        assert_eq!(parse_arm_series("joint: train/loss"), (Some("joint"), "train/loss"));
        assert_eq!(parse_arm_series("train/loss"), (None, "train/loss"));
        assert_eq!(arm_series(None, "cand-007/valid/accuracy"), None);
        let info = |name: &str, points, last_x, last_y| SeriesInfo {
            name: name.into(),
            points,
            first_x: 0.5,
            last_x,
            last_y: Some(last_y),
            x_max: Some(9.0),
            x_unit: "epochs".into(),
        };
        let all = infos([
            (Some("a"), vec![info("loss", 3, 4.0, 1.0), info("cand-001/loss", 3, 4.0, 1.0)]),
            (Some("b"), vec![info("loss", 3, 4.0, 7.0)]),
            (Some("a"), vec![info("loss", 2, 3.0, 5.0)]),
            (Some("a"), vec![info("loss", 2, 4.0, 2.0)]),
        ]);
        assert_eq!(all.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["a: loss", "b: loss"]);
        assert_eq!((all[0].points, all[0].last_y, all[0].x_unit.as_str()), (3, Some(1.5), "epochs"));
    }

    /// Jobs of one arm, their points in batches as a worker sends them.
    fn experiment(jobs: u32, points: usize, resumed: bool) -> (tempfile::TempDir, Store, RunId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap().0;
        let run = RunId("x-0001".into());
        store.insert(RunSummary::queued(run.clone(), 0.0), "").unwrap();
        for n in 1..=jobs {
            let job = run.job(n);
            store.insert(RunSummary { arm: Some("a".into()), ..RunSummary::queued(job.clone(), 0.0) }, "").unwrap();
            let all: Vec<[f64; 2]> = (0..points).map(|i| [i as f64, (i as f64 / 900.0).sin() + f64::from(n)]).collect();
            let mut seq = 0;
            let mut send = |body: Body| {
                seq += 1;
                store.ingest(&job, &[Event { seq, t: 0.0, body }], seq).unwrap();
            };
            let start = |resumed_from| kiln_protocol::testing::started(1, resumed_from);
            let series = || "loss".to_owned();
            send(start(None));
            let (first, rest) = all.split_at(if resumed { points / 2 } else { 0 });
            if resumed {
                send(Body::Points { series: series(), points: first.to_vec() });
                let lost = (0..points / 4).map(|i| [(points / 2 + i) as f64, 99.0]).collect();
                send(Body::Points { series: series(), points: lost });
                // Somebody looks before the worker dies and goes on from its checkpoint.
                assert!(store.series(&run, "a: loss", None, None, 20).unwrap().total > 0);
                send(start(Some(1)));
            }
            for batch in rest.chunks(10_000) {
                send(Body::Points { series: series(), points: batch.to_vec() });
            }
        }
        (dir, store, run)
    }

    #[test]
    fn the_store_answers_for_an_experiment_what_its_jobs_amount_to() {
        let (points, jobs, columns) = (40_000, 3, 50);
        for resumed in [false, true] {
            let (_dir, store, run) = experiment(jobs, points, resumed);
            let info = &store.detail(&run, std::path::Path::new("/x")).unwrap().series[0];
            assert_eq!((info.name.as_str(), info.points), ("a: loss", points as u64));
            for (from, to) in [(None, None), (Some(10_000.0), Some(39_000.0)), (Some(100.0), Some(900.0))] {
                let asked = store.series(&run, "a: loss", from, to, columns).unwrap();
                assert_eq!(asked.jobs, jobs);
                assert!(asked.points.len() >= columns as usize - 1, "{}", asked.points.len());
                for (point, spread) in asked.points.iter().zip(&asked.spread) {
                    // Means over the few hundred points of a column stay near the curve.
                    let expected = (point[0] / 900.0).sin() + 2.0;
                    assert!((point[1] - expected).abs() < 0.1, "{resumed}: {point:?}, not {expected}");
                    assert!((spread - 1.0).abs() < 1e-9, "{spread}");
                }
            }
            let whole = store.series(&run, "a: loss", None, None, 0).unwrap();
            assert_eq!((whole.points.len(), whole.total), (points, points as u64));
            assert!(store.series(&run, "b: loss", None, None, 0).is_err());
        }
    }
}
