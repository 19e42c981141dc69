//! What is known of a stretch of points without reading them, and how a chart is made of that.

use crate::codec;

/// Points of a block: the smallest stretch that is summed up.
pub(crate) const BLOCK: usize = 512;

/// Blocks summed up once more: the coarse level.
pub(crate) const GROUP: usize = 64;

/// Bytes of a summary on disk.
pub(crate) const SUMMARY_BYTES: usize = 52;

/// A stretch of points, x rising. Points whose y is not finite count, but are never a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub count: u32,
    pub first_x: f64,
    pub last_x: f64,
    /// The first of the smallest y, and of the largest; y is NaN if none is finite.
    pub min: [f64; 2],
    pub max: [f64; 2],
}

impl Summary {
    pub(crate) fn of(points: &[[f64; 2]]) -> Option<Summary> {
        let mut all = points.iter().map(|p| Summary::point(*p));
        let first = all.next()?;
        Some(all.fold(first, |sum, next| sum.and(&next)))
    }

    /// Several stretches in a row as one.
    pub(crate) fn sum(stretches: &[Summary]) -> Option<Summary> {
        stretches.iter().copied().reduce(|sum, next| sum.and(&next))
    }

    fn point(p: [f64; 2]) -> Summary {
        let bound = if p[1].is_finite() { p } else { [p[0], f64::NAN] };
        Summary { count: 1, first_x: p[0], last_x: p[0], min: bound, max: bound }
    }

    /// This stretch and the one behind it.
    #[must_use]
    fn and(&self, next: &Summary) -> Summary {
        // Comparisons with NaN are false, so a bound that is missing is replaced and never replaces.
        let min = if self.min[1].is_nan() || next.min[1] < self.min[1] { next.min } else { self.min };
        let max = if self.max[1].is_nan() || next.max[1] > self.max[1] { next.max } else { self.max };
        let (min, max) = if next.min[1].is_nan() { (self.min, self.max) } else { (min, max) };
        Summary { count: self.count + next.count, first_x: self.first_x, last_x: next.last_x, min, max }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        for v in [self.first_x, self.last_x, self.min[0], self.min[1], self.max[0], self.max[1]] {
            out.extend_from_slice(&v.to_le_bytes());
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Summary> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let float = |i: usize| rest.get(i * 8..).and_then(<[u8]>::first_chunk::<8>).map(|b| f64::from_le_bytes(*b));
        Some(Summary {
            count: u32::from_le_bytes(*count),
            first_x: float(0)?,
            last_x: float(1)?,
            min: [float(2)?, float(3)?],
            max: [float(4)?, float(5)?],
        })
    }
}

/// A block as stored: summary, points.
pub(crate) fn write_block(points: &[[f64; 2]], summary: &Summary) -> Vec<u8> {
    let mut block = Vec::with_capacity(SUMMARY_BYTES + points.len() * 8);
    summary.write(&mut block);
    codec::encode(points, &mut block);
    block
}

/// Appends the points of a block.
pub(crate) fn read_block(block: &[u8], points: &mut Vec<[f64; 2]>) -> Option<()> {
    codec::decode(block.get(SUMMARY_BYTES..)?, points)
}

/// Gathers points and summaries, in order of x, into the columns of a chart.
pub(crate) struct Columns {
    from: f64,
    scale: f64,
    last: f64,
    current: Option<(f64, Summary)>,
    out: Vec<[f64; 2]>,
}

impl Columns {
    /// `columns` columns of equal width from `from` to `to`; a point on the right edge belongs to the last.
    pub(crate) fn new(from: f64, to: f64, columns: u32) -> Columns {
        let scale = f64::from(columns) / (to - from);
        let scale = if scale.is_finite() { scale } else { 0.0 };
        let out = Vec::with_capacity(columns as usize * 2);
        Columns { from, scale, last: f64::from(columns.saturating_sub(1)), current: None, out }
    }

    /// The column of an x. Never falls where x rises.
    fn column(&self, x: f64) -> f64 {
        ((x - self.from) * self.scale).floor().clamp(0.0, self.last)
    }

    /// Takes a whole stretch, if it lies within one column.
    pub(crate) fn take(&mut self, stretch: &Summary) -> bool {
        let column = self.column(stretch.first_x);
        if column != self.column(stretch.last_x) {
            return false;
        }
        match &mut self.current {
            Some((at, sum)) if *at == column => *sum = sum.and(stretch),
            _ => {
                self.close();
                self.current = Some((column, *stretch));
            }
        }
        true
    }

    pub(crate) fn push(&mut self, point: [f64; 2]) {
        self.take(&Summary::point(point));
    }

    /// At most two points a column: smallest and largest y, in order of x; one with NaN where no y is finite.
    fn close(&mut self) {
        let Some((_, sum)) = self.current.take() else { return };
        if sum.min[1].is_nan() {
            self.out.push([sum.first_x, f64::NAN]);
        } else if sum.min == sum.max {
            self.out.push(sum.min);
        } else if sum.min[0] <= sum.max[0] {
            self.out.extend([sum.min, sum.max]);
        } else {
            self.out.extend([sum.max, sum.min]);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<[f64; 2]> {
        self.close();
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &Summary, b: &Summary) -> bool {
        format!("{a:?}") == format!("{b:?}")
    }

    #[test]
    fn a_summary_is_the_same_however_the_stretch_is_cut() {
        let y = [f64::NAN, 3.0, 1.0, f64::INFINITY, 1.0, 4.0, f64::NEG_INFINITY, 4.0, f64::NAN];
        let points: Vec<[f64; 2]> = y.iter().enumerate().map(|(i, &y)| [i as f64, y]).collect();
        let whole = Summary::of(&points).unwrap();
        assert_eq!((whole.count, whole.min, whole.max), (9, [2.0, 1.0], [5.0, 4.0]));
        for cut in 1..points.len() {
            let (a, b) = points.split_at(cut);
            assert!(same(&Summary::of(a).unwrap().and(&Summary::of(b).unwrap()), &whole), "cut {cut}");
        }
        let none = Summary::of(&points[..1]).unwrap();
        assert!(none.min[1].is_nan() && none.max[1].is_nan());
        assert!(Summary::of(&[]).is_none());
        let mut bytes = Vec::new();
        whole.write(&mut bytes);
        assert_eq!(bytes.len(), SUMMARY_BYTES);
        assert!(same(&Summary::read(&bytes).unwrap(), &whole));
        assert!(Summary::read(&bytes[1..]).is_none());
    }

    #[test]
    fn a_range_without_width_is_one_column() {
        let mut columns = Columns::new(2.0, 2.0, 10);
        for y in [1.0, 3.0, 2.0] {
            columns.push([2.0, y]);
        }
        assert_eq!(columns.finish(), [[2.0, 1.0], [2.0, 3.0]]);
    }
}
