//! Sheets of pictures: how many fit at which size, and the page that is on the screen, decoded and scaled once.

use std::ops::Range;

use kiln_protocol::view::Images;

use crate::mosaic::{Canvas, DOWN, Factor, Pixels};

/// Pixels that the longer side of a picture keeps where all cannot be in view at once: fewer show no digit any more.
const LEAST: usize = 10;

/// The same where a row is to stay together, which says more than the single picture; that can be looked at alone.
const LEAST_IN_ROW: usize = 5;

/// Cells between blocks of rows that stand side by side.
const BETWEEN: usize = 2;

/// How pictures stand in a pane. Rows run from the top, and where rows have a length of their own, several blocks of them may
/// stand side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub factor: Factor,
    /// Pictures a row of a block.
    pub columns: usize,
    /// Rows in view.
    pub rows: usize,
    pub blocks: usize,
    /// Whether there is a line for the label under each.
    pub labels: bool,
    /// Pixels of a picture's place.
    pub tile: (usize, usize),
}

/// A picture's place in a pane, in pixels from its upper left corner. A column of cells for a mark is free before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub picture: usize,
    pub x: usize,
    pub y: usize,
}

impl Grid {
    /// The largest pictures of at most `size` pixels that are all in view in `pane` (cells); where that would make them too
    /// small to see anything, the smallest that do, in pages. `columns`: pictures a row, 0 for as many as fit; a length that
    /// the pane has no room for counts as 0.
    pub fn new(n: usize, size: (usize, usize), columns: usize, labels: bool, pane: (u16, u16)) -> Grid {
        let pane = pane_pixels(pane);
        let n = n.max(1);
        let room = pane.0.checked_div(columns).filter(|room| *room > LEAST_IN_ROW);
        let columns = room.map_or(0, |_| columns);
        let first = Factor::fitting(size.0, pane.0.saturating_sub(1)).min(Factor::fitting(size.1, pane.1));
        // What may be shrunk, is so far; a picture larger than the pane is shrunk as far as needed.
        let floor = size.0.max(size.1) / LEAST;
        let mut last = if floor >= 2 { Factor::Down(floor) } else { Factor::Up(1) };
        last = last.min(first);
        if let Some(room) = room {
            last = last.min(Factor::fitting(size.0, room - 1));
        }
        let sizes = || std::iter::successors(Some(first), |f| (*f != last).then(|| f.less()));
        for labels in [labels, false] {
            let all = sizes().filter_map(|f| Grid::at(f, n, size, columns, labels, pane)).find(|g| g.capacity() >= n);
            if let Some(grid) = all {
                return grid;
            }
        }
        let at = |labels| Grid::at(last, n, size, columns, labels, pane);
        let paged = at(labels).filter(|g| g.rows >= 2).or_else(|| at(false));
        paged.unwrap_or_else(|| match columns {
            0 => Grid { factor: last, columns: 1, rows: 1, blocks: 1, labels: false, tile: scaled(size, last) },
            // The rows have no room: without them.
            _ => Grid::new(n, size, 0, labels, (pane.0 as u16, (pane.1 / usize::from(DOWN)) as u16)),
        })
    }

    /// What fits at one size; `None` if not even one row does.
    fn at(
        factor: Factor,
        n: usize,
        size: (usize, usize),
        wanted: usize,
        labels: bool,
        pane: (usize, usize),
    ) -> Option<Grid> {
        let tile = scaled(size, factor);
        let grid = Grid { factor, columns: wanted, rows: 1, blocks: 1, labels, tile };
        let (across, down) = grid.pitch();
        let columns = if wanted > 0 { wanted } else { (pane.0 / across).min(n) };
        let spare = pane.0.checked_sub(columns * across)?;
        // No line between pictures is needed under the last.
        let rows = (pane.1 + usize::from(!labels)) / down;
        if columns == 0 || rows == 0 {
            return None;
        }
        let rows = rows.min(n.div_ceil(columns));
        let most = if wanted > 0 { 1 + spare / (columns * across + BETWEEN) } else { 1 };
        Some(Grid { columns, rows, blocks: most.min(n.div_ceil(columns).div_ceil(rows)), ..grid })
    }

    /// Pictures on a page.
    pub fn capacity(&self) -> usize {
        self.columns * self.rows * self.blocks
    }

    /// Pixels from a picture to the next one, across and down.
    fn pitch(&self) -> (usize, usize) {
        let down = usize::from(DOWN);
        // A label takes a line of cells of its own; else a line of pixels parts the pictures.
        (self.tile.0 + 1, if self.labels { self.tile.1.next_multiple_of(down) + down } else { self.tile.1 + 1 })
    }

    /// The places of the pictures of the page that holds one of them.
    fn spots(&self, n: usize, selected: usize) -> Vec<Spot> {
        let first = selected / self.capacity() * self.capacity();
        let (across, down) = self.pitch();
        let spot = |i: usize| {
            let (row, column) = (i / self.columns, i % self.columns);
            let (block, row) = (row / self.rows, row % self.rows);
            let x = block * (self.columns * across + BETWEEN) + column * across + 1;
            Spot { picture: first + i, x, y: row * down }
        };
        (0..self.capacity().min(n - first.min(n))).map(spot).collect()
    }
}

fn pane_pixels(cells: (u16, u16)) -> (usize, usize) {
    (usize::from(cells.0), usize::from(cells.1) * usize::from(DOWN))
}

fn scaled(size: (usize, usize), factor: Factor) -> (usize, usize) {
    (factor.of(size.0), factor.of(size.1))
}

/// What of a view of pictures is on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What it was made for.
    selected: usize,
    alone: bool,
    pane: (u16, u16),
    pub grid: Grid,
    pub spots: Vec<Spot>,
    pub canvas: Canvas,
    /// From 1.
    pub number: usize,
    pub pages: usize,
}

impl Page {
    /// The picture in a cell of the pane.
    pub fn at(&self, x: usize, y: usize) -> Option<usize> {
        let (width, height) = self.grid.tile;
        let lines = |s: &&Spot| s.y / usize::from(DOWN)..(s.y + height).div_ceil(usize::from(DOWN));
        let hit = self.spots.iter().find(|s| (s.x..s.x + width).contains(&x) && lines(s).contains(&y));
        hit.map(|s| s.picture)
    }
}

/// The pictures of a view, decoded, and the page on the screen. A newer view makes a new one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    decoded: Option<Vec<Result<Pixels, String>>>,
    page: Option<Page>,
}

impl Sheet {
    /// Makes the page that shows a picture: among others, or alone. Does nothing if it is there already.
    pub fn fit(&mut self, images: &Images, selected: usize, alone: bool, pane: (u16, u16)) {
        let same = |p: &Page| p.selected == selected && p.alone == alone && p.pane == pane;
        if self.page.as_ref().is_some_and(same) || images.pictures.is_empty() {
            return;
        }
        let decoded = self.decoded.get_or_insert_with(|| images.pictures.iter().map(Pixels::of).collect());
        let n = decoded.len();
        let size = |shown: &Range<usize>| {
            let largest = |of: fn(&Pixels) -> usize| {
                decoded.get(shown.clone()).into_iter().flatten().flatten().map(of).max().unwrap_or(LEAST / 2)
            };
            (largest(|p| p.width), largest(|p| p.height))
        };
        let columns = (images.columns as usize).min(n);
        let (shown, grid) = if alone {
            let one = selected..selected + 1;
            let grid = Grid::new(1, size(&one), 0, false, pane);
            // Those of its row stand beside it, if it need not be smaller for that: they are there to be compared.
            let first = selected - selected.checked_rem(columns).unwrap_or(0);
            let row = first..(first + columns.max(1)).min(n);
            let together = Grid::at(grid.factor, row.len(), size(&row), row.len(), false, pane_pixels(pane));
            together.map_or((one, grid), |grid| (row, grid))
        } else {
            let labels = images.pictures.iter().any(|p| !p.label.is_empty());
            (0..n, Grid::new(n, size(&(0..n)), columns, labels, pane))
        };
        // Within a page, the selection moves over pictures that stand where they are.
        let mut spots = grid.spots(shown.len(), selected - shown.start);
        spots.iter_mut().for_each(|s| s.picture += shown.start);
        let stays = self.page.take().filter(|p| p.spots == spots && p.grid == grid && p.pane == pane);
        let canvas = stays.map(|p| p.canvas).unwrap_or_else(|| {
            let mut canvas = Canvas::new(pane.0, pane.1);
            for spot in &spots {
                if let Some(Ok(pixels)) = decoded.get(spot.picture) {
                    canvas.put(&pixels.scaled(grid.factor), spot.x, spot.y);
                }
            }
            canvas
        });
        let (number, pages) = match alone {
            true => (selected + 1, n),
            false => (selected / grid.capacity() + 1, n.div_ceil(grid.capacity())),
        };
        self.page = Some(Page { selected, alone, pane, grid, spots, canvas, number, pages });
    }

    pub fn page(&self) -> Option<&Page> {
        self.page.as_ref()
    }

    /// Why a picture cannot be shown.
    pub fn problem(&self, picture: usize) -> Option<&str> {
        self.decoded.as_ref()?.get(picture)?.as_ref().err().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::Picture;

    /// Neither overlap nor places outside the pane.
    fn sound(grid: &Grid, n: usize, pane: (u16, u16)) {
        for selected in [0, n / 2, n - 1] {
            let spots = grid.spots(n, selected);
            assert!(spots.iter().any(|s| s.picture == selected), "{grid:?}");
            let (width, height) = grid.tile;
            for (i, a) in spots.iter().enumerate() {
                assert!(a.x >= 1 && a.x + width <= usize::from(pane.0), "{grid:?} {pane:?}");
                let below = if grid.labels { 2 } else { 0 };
                assert!(a.y + height + below <= usize::from(pane.1) * 2, "{grid:?} {pane:?}");
                for b in &spots[..i] {
                    let apart = a.x.abs_diff(b.x) > width || a.y.abs_diff(b.y) > height;
                    assert!(apart, "{a:?} {b:?} {grid:?}");
                }
            }
        }
    }

    #[test]
    fn pictures_never_overlap_nor_leave_the_pane() {
        for n in [1, 2, 7, 64, 300] {
            for size in [(1, 1), (8, 8), (28, 28), (32, 32), (64, 48), (300, 20)] {
                for columns in [0, 1, 2, 5, 10] {
                    for pane in [(2, 1), (9, 3), (38, 4), (78, 15), (198, 34)] {
                        for labels in [false, true] {
                            sound(&Grid::new(n, size, columns, labels, pane), n, pane);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn all_are_in_view_as_large_as_that_allows() {
        let grid = |n, side, columns, labels, pane| Grid::new(n, (side, side), columns, labels, pane);
        let one = grid(1, 8, 0, false, (78, 15));
        assert_eq!((one.factor, one.capacity()), (Factor::Up(3), 1));
        let many = grid(64, 28, 0, false, (198, 34));
        assert_eq!((many.factor, many.columns, many.rows), (Factor::Down(2), 13, 4), "in pages: smaller is too small");
        let digits = grid(64, 8, 0, false, (198, 34));
        assert_eq!((digits.factor, digits.columns), (Factor::Up(1), 22));
        assert!(digits.capacity() >= 64);
        // Labels go before pictures do.
        assert!(grid(10, 8, 0, true, (78, 15)).labels);
        assert!(!grid(24, 8, 0, true, (78, 14)).labels);
    }

    #[test]
    fn rows_that_mean_something_stay_rows() {
        // Pairs stand side by side, and pairs next to pairs where the pane is wide.
        let pairs = Grid::new(12, (28, 28), 2, true, (198, 34));
        assert_eq!(pairs.columns, 2);
        assert!(pairs.blocks >= 3 && pairs.capacity() >= 12, "{pairs:?}");
        for pair in pairs.spots(12, 0).chunks(2) {
            assert!(pair[0].y == pair[1].y && pair[1].x == pair[0].x + pairs.tile.0 + 1, "{pair:?}");
        }
        // Ten classes a row on a narrow screen: smaller rather than torn apart.
        let classes = Grid::new(40, (28, 28), 10, false, (78, 15));
        assert_eq!((classes.columns, classes.factor), (10, Factor::Down(5)));
        assert_eq!(Grid::new(40, (28, 28), 100, false, (78, 15)).factor, Factor::Down(2), "no room at any size");
    }

    fn images(n: usize) -> Images {
        let picture = |i: usize| Picture::new(format!("{i}"), 8, 8, 1, &[i as u8; 64]);
        Images { pictures: (0..n).map(picture).collect(), ..Images::default() }
    }

    #[test]
    fn a_page_is_made_once_and_again_for_another_place_only() {
        let mut images = images(40);
        let mut sheet = Sheet::default();
        sheet.fit(&images, 0, false, (40, 10));
        let first = sheet.page().unwrap().clone();
        assert!(first.pages > 1 && first.number == 1);
        // What the view says later is not looked at: a newer view makes a newer sheet.
        images.pictures[0] = Picture::new("0", 8, 8, 1, &[255; 64]);
        sheet.fit(&images, 1, false, (40, 10));
        assert_eq!(sheet.page().unwrap().canvas, first.canvas);
        sheet.fit(&images, 39, false, (40, 10));
        assert_eq!(sheet.page().unwrap().number, first.pages);
        assert_ne!(sheet.page().unwrap().canvas, first.canvas);
        sheet.fit(&images, 39, true, (40, 10));
        let alone = sheet.page().unwrap();
        assert_eq!((alone.spots.len(), alone.grid.factor, alone.number, alone.pages), (1, Factor::Up(2), 40, 40));
        let mut fresh = Sheet::default();
        fresh.fit(&images, 0, false, (40, 10));
        assert_ne!(fresh.page().unwrap().canvas, first.canvas);
    }

    #[test]
    fn one_alone_has_its_row_beside_it_where_that_costs_no_size() {
        let pairs = Images { columns: 2, ..images(6) };
        let shown = |pane| {
            let mut sheet = Sheet::default();
            sheet.fit(&pairs, 3, true, pane);
            let page = sheet.page().unwrap();
            (page.spots.iter().map(|s| s.picture).collect::<Vec<_>>(), page.grid.factor)
        };
        assert_eq!(shown((40, 8)), (vec![2, 3], Factor::Up(2)));
        assert_eq!(shown((20, 8)), (vec![3], Factor::Up(2)), "no room beside it");
    }

    #[test]
    fn broken_pictures_leave_their_place_empty_and_say_why() {
        let mut images = images(3);
        images.pictures[1].pixels = "no base64".into();
        images.pictures[2].width = u32::MAX;
        let mut sheet = Sheet::default();
        sheet.fit(&images, 1, false, (40, 10));
        assert_eq!(sheet.page().unwrap().spots.len(), 3);
        assert!(sheet.problem(0).is_none());
        assert!(sheet.problem(1).unwrap().contains("no base64") && sheet.problem(2).unwrap().contains("bytes"));
        sheet.fit(&images, 1, true, (40, 10));
        Sheet::default().fit(&Images::default(), 0, false, (40, 10));
    }
}
