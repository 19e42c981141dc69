//! The map of blocks: how blocks fill lines, what is measured of them, where the cursor goes. The arrangement depends on
//! names, operations and sizes alone, never on figures, so that a live map stands still.

use std::ops::Range;

use kiln_protocol::view::{BlockCell, BlockImportance};

use crate::text;

/// What is drawn as bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Lesion,
    Weaken,
    Params,
    Macs,
}

impl Measure {
    pub fn title(self) -> &'static str {
        match self {
            Measure::Lesion => "lesion drop",
            Measure::Weaken => "weaken drop",
            Measure::Params => "params",
            Measure::Macs => "MACs",
        }
    }

    /// The figure of a block; `None` where it is not known.
    pub fn of(self, block: &BlockCell) -> Option<f64> {
        let figure = match self {
            Measure::Lesion => block.lesion,
            Measure::Weaken => block.weaken,
            Measure::Params => Some(block.params as f64),
            Measure::Macs => Some(block.macs as f64),
        };
        figure.filter(|v| v.is_finite())
    }

    /// A figure in words: a share as per cent, a count with its unit.
    pub fn words(self, v: f64) -> String {
        match self {
            Measure::Lesion | Measure::Weaken => format!("{:.1}%", v * 100.0),
            Measure::Params | Measure::Macs => short(v),
        }
    }
}

/// A count in at most six characters: `987`, `12.3k`, `4.05M`.
pub fn short(v: f64) -> String {
    if !v.is_finite() {
        return text::number(v);
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What rounds to a thousand belongs to the next unit.
    match units.into_iter().find(|(unit, _)| v.abs() >= unit * 0.9995) {
        Some((unit, sign)) => {
            let v = v / unit;
            let decimals = if v.abs() >= 99.95 {
                0
            } else if v.abs() >= 9.995 {
                1
            } else {
                2
            };
            format!("{v:.decimals$}{sign}")
        }
        None if v.fract() == 0.0 => format!("{v:.0}"),
        None => format!("{v:.2}"),
    }
}

/// What is known of any block of the map. Never empty: costs always are.
pub fn measures(map: &BlockImportance) -> Vec<Measure> {
    [Measure::Lesion, Measure::Weaken, Measure::Params, Measure::Macs]
        .into_iter()
        .filter(|m| matches!(m, Measure::Params | Measure::Macs) || map.blocks.iter().any(|b| m.of(b).is_some()))
        .collect()
}

/// Stage and place within it: `stage2` and `1` of `stage2.1`; of a name without a point, nothing and the name.
pub fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Whether a block is the first of its stage.
pub fn starts_stage(map: &BlockImportance, i: usize) -> bool {
    i == 0 || parts(&map.blocks[i].name).0 != parts(&map.blocks[i - 1].name).0
}

/// Bits of a distribution over operations, and the most that there could be.
pub fn entropy(weights: &[Option<f64>]) -> Option<(f64, f64)> {
    let known: Vec<f64> = weights.iter().flatten().copied().filter(|p| p.is_finite() && *p >= 0.0).collect();
    if known.is_empty() {
        return None;
    }
    let bits = known.iter().filter(|p| **p > 0.0).map(|p| -p * p.log2()).sum::<f64>();
    Some((bits.max(0.0), (known.len() as f64).log2()))
}

/// How the blocks lie on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrangement {
    /// Columns of the screen that a block takes, with the wire before it.
    pub pitch: u16,
    /// Lines that a row of blocks takes: see [`HEIGHTS`].
    pub height: u16,
    pub rows: Vec<Range<usize>>,
}

/// Lines of a row of blocks, from the richest to the poorest: shortcut, frame with operation (3), figure, three bars, blank;
/// without the blank; with figure and one bar; with one bar; shortcut, operation, bar; operation alone.
pub const HEIGHTS: [u16; 6] = [9, 8, 6, 5, 3, 1];

/// Columns beside the name of an operation: frame and wire.
const AROUND: u16 = 3;

/// Widest that blocks become where there is room.
const WIDEST: u16 = 13;

impl Arrangement {
    /// Lines of the richest form in which all blocks fit into `width` by `height` cells; the poorest, if none does.
    pub fn new(map: &BlockImportance, width: u16, height: u16) -> Arrangement {
        let ops = map.ops.iter().map(|op| text::width(op)).max().unwrap_or(0).clamp(2, 9) as u16;
        let least = (ops + AROUND).min(width.max(2));
        let most = WIDEST.max(least);
        let rows_at = |pitch: u16| wrapped(map, usize::from(width.saturating_sub(1) / pitch));
        let fewest = rows_at(least).len();
        let lines = HEIGHTS.into_iter().find(|lines| fewest * usize::from(*lines) <= usize::from(height)).unwrap_or(1);
        // As wide as they can be without another row.
        let wider = (least..=most).rev().map(|pitch| (pitch, rows_at(pitch))).find(|(_, rows)| rows.len() <= fewest);
        let (pitch, rows) = wider.unwrap_or_else(|| (least, rows_at(least)));
        Arrangement { pitch, height: lines, rows }
    }

    /// Lines that all of it takes.
    pub fn lines(&self) -> usize {
        self.rows.len() * usize::from(self.height)
    }

    /// Row and place in it of a block.
    pub fn place(&self, block: usize) -> (usize, usize) {
        let row = self.rows.iter().position(|r| r.contains(&block)).unwrap_or(0);
        (row, block - self.rows.get(row).map_or(block, |r| r.start.min(block)))
    }

    /// The block above or below.
    pub fn beside(&self, block: usize, down: bool) -> usize {
        let (row, place) = self.place(block);
        let next = if down { row + 1 } else { row.wrapping_sub(1) };
        self.rows.get(next).map_or(block, |r| (r.start + place).min(r.end.saturating_sub(1)))
    }
}

/// Rows of at most `most` blocks. A stage starts a new row where it does not fit into the rest of one.
fn wrapped(map: &BlockImportance, most: usize) -> Vec<Range<usize>> {
    let most = most.max(1);
    let n = map.blocks.len();
    let mut rows = Vec::new();
    let mut start = 0;
    for i in 1..n {
        let length = i - start;
        let stage = (i + 1..n).find(|j| starts_stage(map, *j)).unwrap_or(n) - i;
        let full = length == most;
        if full || (starts_stage(map, i) && length + stage > most && stage <= most) {
            rows.push(start..i);
            start = i;
        }
    }
    if n > 0 {
        rows.push(start..n);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture_search;

    #[test]
    fn every_block_has_one_place_at_every_size() {
        let map = fixture_search::blocks();
        for width in 0..220 {
            for height in 0..45 {
                let a = Arrangement::new(&map, width, height);
                let all: Vec<usize> = a.rows.iter().flat_map(Clone::clone).collect();
                assert_eq!(all, (0..map.blocks.len()).collect::<Vec<_>>(), "{width}x{height}");
                let widest = a.rows.iter().map(ExactSizeIterator::len).max().unwrap();
                assert!(widest == 1 || widest as u16 * a.pitch < width.max(1), "{width}x{height} {a:?}");
                assert!(a.height == 1 || a.lines() <= usize::from(height));
            }
        }
        assert!(Arrangement::new(&BlockImportance::default(), 80, 10).rows.is_empty());
    }

    #[test]
    fn stages_stay_together_where_they_fit() {
        let map = fixture_search::blocks();
        let a = Arrangement::new(&map, 78, 10);
        assert_eq!((a.height, a.rows), (5, vec![0..10, 10..17]));
        assert_eq!(Arrangement::new(&map, 198, 12).rows.len(), 1);
    }

    #[test]
    fn figures_do_not_move_the_map() {
        let mut map = fixture_search::blocks();
        let before = Arrangement::new(&map, 78, 12);
        for block in &mut map.blocks {
            (block.lesion, block.chosen, block.params, block.locked) = (None, None, 1 << 40, !block.locked);
            block.weights.clear();
        }
        assert_eq!(Arrangement::new(&map, 78, 12), before);
    }

    #[test]
    fn the_cursor_goes_up_and_down_by_rows() {
        let map = fixture_search::blocks();
        let a = Arrangement::new(&map, 78, 10);
        assert_eq!((a.beside(2, true), a.beside(12, false), a.beside(9, true), a.beside(0, false)), (12, 2, 16, 0));
    }

    #[test]
    fn counts_are_short() {
        let cases = [
            (0.0, "0"),
            (987.0, "987"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (4_050_000.0, "4.05M"),
            (2.5e8, "250M"),
        ];
        for (v, expected) in cases {
            assert_eq!(short(v), expected);
        }
    }

    #[test]
    fn entropy_is_in_bits() {
        assert_eq!(entropy(&[Some(0.25); 4]), Some((2.0, 2.0)));
        assert_eq!(entropy(&[Some(1.0), None, Some(0.0)]), Some((0.0, 1.0)));
        assert_eq!(entropy(&[None, Some(f64::NAN)]), None);
    }
}
