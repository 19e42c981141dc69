//! The points of one series as a screen needs them.

/// Columns that points are merged into: at most the minimum and the maximum of each is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    pub from: f64,
    pub to: f64,
    pub columns: u32,
}

impl Grid {
    /// Column of `x`; values outside belong to the outermost ones.
    pub fn column(&self, x: f64) -> u32 {
        let t = (x - self.from) / (self.to - self.from) * f64::from(self.columns);
        // `as` saturates, and takes NaN to 0.
        (t as u32).min(self.columns.saturating_sub(1))
    }
}

/// The points of one series, x rising: every one of them, or at most two a column of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    points: Vec<[f64; 2]>,
    grid: Option<Grid>,
    /// `[x, low, high]`, x rising: how far the series that this is the mean of lie apart. NaN where that is not known.
    band: Vec<[f64; 3]>,
    /// The newest point, whether or not it is among those kept.
    last: Option<[f64; 2]>,
    /// The next batch replaces what lies at or beyond its first x: the run has been resumed.
    rewinding: bool,
}

impl Track {
    /// Takes over what the engine has sent for `grid` (`None`: every point).
    pub fn new(points: Vec<[f64; 2]>, grid: Option<Grid>) -> Track {
        let last = points.iter().rev().find(|p| p[0].is_finite()).copied();
        let points = points.into_iter().filter(|p| p[0].is_finite()).collect();
        Track { points, grid, band: Vec::new(), last, rewinding: false }
    }

    /// As [`Track::new`], of means with their standard deviations, one a point; none for a series that is no mean.
    pub fn with_spread(points: Vec<[f64; 2]>, spread: &[f64], grid: Option<Grid>) -> Track {
        let band = points.iter().zip(spread).filter(|(p, _)| p[0].is_finite());
        let band = band.map(|(p, s)| [p[0], p[1] - s, p[1] + s]).collect();
        Track { band, ..Track::new(points, grid) }
    }

    /// The same with every x elsewhere; `to` must not turn their order round.
    pub fn moved(&self, to: impl Fn(f64) -> f64) -> Track {
        Track {
            points: self.points.iter().map(|p| [to(p[0]), p[1]]).collect(),
            band: self.band.iter().map(|b| [to(b[0]), b[1], b[2]]).collect(),
            last: self.last.map(|p| [to(p[0]), p[1]]),
            ..*self
        }
    }

    /// See [`Track::with_spread`]; empty for a series that is no mean.
    pub fn band(&self) -> &[[f64; 3]] {
        &self.band
    }

    /// The standard deviation at a point that [`Track::read`] has read.
    pub fn deviation(&self, x: f64) -> Option<f64> {
        let at = self.band.partition_point(|b| b[0] < x);
        self.band.get(at).filter(|b| b[0] == x).map(|b| (b[2] - b[1]) / 2.0).filter(|d| d.is_finite())
    }

    /// The points, x rising.
    pub fn points(&self) -> &[[f64; 2]] {
        &self.points
    }

    /// What the points are merged into.
    pub fn grid(&self) -> Option<Grid> {
        self.grid
    }

    /// The newest point.
    pub fn last(&self) -> Option<[f64; 2]> {
        self.last
    }

    /// The run continues at an earlier point: what follows replaces what is there.
    pub fn rewind(&mut self) {
        self.rewinding = true;
    }

    /// Adds new points. Points that are known already (a push that overtook the reply to a request) do no harm.
    pub fn push(&mut self, new: &[[f64; 2]]) {
        let Some(first) = new.iter().find(|p| p[0].is_finite()) else { return };
        if std::mem::take(&mut self.rewinding) {
            let keep = self.points.partition_point(|p| p[0] < first[0]);
            self.points.truncate(keep);
            self.last = self.points.last().copied();
        }
        for point in new.iter().filter(|p| p[0].is_finite()) {
            if self.last.is_none_or(|l| point[0] >= l[0]) {
                self.last = Some(*point);
            }
            match self.grid {
                Some(grid) => self.merge(grid, *point),
                None => self.insert(*point),
            }
        }
    }

    fn insert(&mut self, point: [f64; 2]) {
        let at = self.points.partition_point(|p| p[0] < point[0]);
        match self.points.get_mut(at) {
            Some(old) if old[0] == point[0] => *old = point,
            _ => self.points.insert(at, point),
        }
    }

    /// Keeps minimum and maximum of the point's column. A value that is not finite counts only where the column has no other.
    fn merge(&mut self, grid: Grid, point: [f64; 2]) {
        if point[0] < grid.from || point[0] > grid.to {
            return;
        }
        let column = grid.column(point[0]);
        let start = self.points.partition_point(|p| grid.column(p[0]) < column);
        let end = start + self.points[start..].partition_point(|p| grid.column(p[0]) <= column);
        let mut all: Vec<[f64; 2]> = self.points[start..end].to_vec();
        all.push(point);
        self.points.splice(start..end, extremes(&all));
    }

    /// Least and greatest finite y with x in `from..=to`; only positive ones if asked.
    pub fn bounds(&self, from: f64, to: f64, positive: bool) -> Option<(f64, f64)> {
        let start = self.points.partition_point(|p| p[0] < from);
        self.points[start..]
            .iter()
            .take_while(|p| p[0] <= to)
            .map(|p| p[1])
            .chain(self.band.iter().filter(|b| b[0] >= from && b[0] <= to).flat_map(|b| [b[1], b[2]]))
            .filter(|y| y.is_finite() && (!positive || *y > 0.0))
            .fold(None, |b, y| Some(b.map_or((y, y), |(lo, hi): (f64, f64)| (lo.min(y), hi.max(y)))))
    }

    /// The point nearest to `x`.
    pub fn nearest(&self, x: f64) -> Option<[f64; 2]> {
        let at = self.points.partition_point(|p| p[0] < x);
        let candidates = [at.checked_sub(1).and_then(|i| self.points.get(i)), self.points.get(at)];
        candidates.into_iter().flatten().min_by(|a, b| (a[0] - x).abs().total_cmp(&(b[0] - x).abs())).copied()
    }

    /// What a cursor at `x` reads: the nearest point, unless `x` lies more than `slack` beyond the first or the last one.
    pub fn read(&self, x: f64, slack: f64) -> Option<[f64; 2]> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        (x >= first[0] - slack && x <= last[0] + slack).then(|| self.nearest(x)).flatten()
    }

    /// The first point beyond `x`, to the right or to the left.
    pub fn beyond(&self, x: f64, right: bool) -> Option<[f64; 2]> {
        if right {
            self.points.get(self.points.partition_point(|p| p[0] <= x)).copied()
        } else {
            self.points.get(self.points.partition_point(|p| p[0] < x).checked_sub(1)?).copied()
        }
    }
}

/// Minimum and maximum by y, in order of x; the first point if none is finite.
fn extremes(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite = || points.iter().filter(|p| p[1].is_finite());
    let lo = finite().min_by(|a, b| a[1].total_cmp(&b[1]));
    let hi = finite().max_by(|a, b| a[1].total_cmp(&b[1]));
    match (lo, hi) {
        (Some(lo), Some(hi)) if lo[0] == hi[0] => vec![*hi],
        (Some(lo), Some(hi)) if lo[0] < hi[0] => vec![*lo, *hi],
        (Some(lo), Some(hi)) => vec![*hi, *lo],
        _ => points.first().copied().into_iter().collect(),
    }
}

/// At most two points (minimum and maximum) for each column of `grid`. What the engine does, for data that is here.
pub fn decimate(points: &[[f64; 2]], grid: Grid) -> Vec<[f64; 2]> {
    let inside = points.iter().filter(|p| p[0] >= grid.from && p[0] <= grid.to).copied().collect::<Vec<_>>();
    inside.chunk_by(|a, b| grid.column(a[0]) == grid.column(b[0])).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<[f64; 2]> {
        let mut state = 7_u64;
        (0..n)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let y = match state >> 58 {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    _ => (state >> 33) as f64 / 1e9,
                };
                [i as f64 * 0.1, y]
            })
            .collect()
    }

    fn brute(points: &[[f64; 2]], grid: Grid, column: u32) -> Option<(f64, f64)> {
        let ys = points.iter().filter(|p| p[0] <= grid.to && grid.column(p[0]) == column && p[1].is_finite());
        ys.fold(None, |b: Option<(f64, f64)>, p| Some(b.map_or((p[1], p[1]), |(l, h)| (l.min(p[1]), h.max(p[1])))))
    }

    #[test]
    fn decimation_keeps_the_extremes_of_every_column() {
        let points = noise(5000);
        for columns in [1, 3, 77, 400, 20_000] {
            let grid = Grid { from: 0.0, to: 400.0, columns };
            let kept = decimate(&points, grid);
            assert!(kept.windows(2).all(|w| w[0][0] <= w[1][0]));
            assert!(kept.len() <= 2 * columns as usize);
            for column in 0..columns.min(400) {
                assert_eq!(brute(&kept, grid, column), brute(&points, grid, column), "{columns} {column}");
            }
        }
    }

    #[test]
    fn pushing_one_by_one_equals_decimating_at_once() {
        let points = noise(3000);
        let grid = Grid { from: 0.0, to: 300.0, columns: 91 };
        let mut track = Track::new(Vec::new(), Some(grid));
        for point in &points {
            track.push(&[*point]);
        }
        let (a, b) = (track.points(), decimate(&points, grid));
        for column in 0..91 {
            assert_eq!(brute(a, grid, column), brute(&b, grid, column));
        }
        // Pushes that the engine's reply has overtaken are harmless.
        let before: Vec<_> = track.points().iter().map(|p| p.map(f64::to_bits)).collect();
        track.push(&points[100..200]);
        assert_eq!(track.points().iter().map(|p| p.map(f64::to_bits)).collect::<Vec<_>>(), before);
    }

    #[test]
    fn a_resumed_run_replaces_its_tail() {
        let mut track = Track::new(vec![[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]], None);
        track.rewind();
        track.push(&[[3.0, 30.0]]);
        track.push(&[[3.5, 35.0]]);
        assert_eq!(track.points(), [[1.0, 1.0], [2.0, 2.0], [3.0, 30.0], [3.5, 35.0]]);
        assert_eq!(track.last(), Some([3.5, 35.0]));
    }

    #[test]
    fn the_nearest_point_and_the_bounds_match_brute_force() {
        let points = noise(700);
        let track = Track::new(points.clone(), None);
        for i in 0..300 {
            let x = f64::from(i) * 0.2317;
            let best = points.iter().map(|p| (p[0] - x).abs()).fold(f64::MAX, f64::min);
            assert_eq!((track.nearest(x).unwrap()[0] - x).abs(), best);
            let brute = points
                .iter()
                .filter(|p| p[0] >= x && p[0] <= x + 5.0 && p[1].is_finite())
                .fold((f64::MAX, f64::MIN), |b, p| (b.0.min(p[1]), b.1.max(p[1])));
            if let Some(bounds) = track.bounds(x, x + 5.0, false) {
                assert_eq!(bounds, brute);
            }
        }
        assert_eq!(track.read(-0.2, 0.1), None);
        assert_eq!(track.read(-0.05, 0.1).map(|p| p[0]), Some(0.0));
        assert_eq!(
            (track.beyond(0.25, true).unwrap()[0], track.beyond(0.25, false).unwrap()[0]),
            (points[3][0], points[2][0])
        );
        assert_eq!((track.beyond(0.0, false), track.beyond(1e9, true)), (None, None));
        assert_eq!(Track::default().nearest(1.0), None);
        assert_eq!(Track::default().bounds(0.0, 1.0, false), None);
    }

    #[test]
    fn odd_x_values_are_dropped() {
        let mut track = Track::new(vec![[f64::NAN, 1.0], [1.0, 1.0]], None);
        track.push(&[[f64::INFINITY, 2.0], [0.5, 0.5]]);
        assert_eq!(track.points(), [[0.5, 0.5], [1.0, 1.0]]);
    }
}
