//! Sheets of pictures: how many fit at which size, and the page that is on the screen, decoded and scaled once.

use kiln_protocol::view::Images;

use crate::graphics::{self, Encoded, Graphics};
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
    /// Every picture begins with a cell, not in the middle of one.
    pub whole: bool,
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
    pub fn new(n: usize, size: (usize, usize), columns: usize, labels: bool, whole: bool, pane: (u16, u16)) -> Grid {
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
            let all = sizes()
                .filter_map(|f| Grid::at(f, n, size, columns, (labels, whole), pane))
                .find(|g| g.capacity() >= n);
            if let Some(grid) = all {
                return grid;
            }
        }
        let at = |labels| Grid::at(last, n, size, columns, (labels, whole), pane);
        let paged = at(labels).filter(|g| g.rows >= 2).or_else(|| at(false));
        paged.unwrap_or_else(|| match columns {
            0 => Grid { factor: last, columns: 1, rows: 1, blocks: 1, labels: false, tile: scaled(size, last), whole },
            // The rows have no room: without them.
            _ => Grid::new(n, size, 0, labels, whole, (pane.0 as u16, (pane.1 / usize::from(DOWN)) as u16)),
        })
    }

    /// What fits at one size; `None` if not even one row does.
    fn at(
        factor: Factor,
        n: usize,
        size: (usize, usize),
        wanted: usize,
        (labels, whole): (bool, bool),
        pane: (usize, usize),
    ) -> Option<Grid> {
        let tile = scaled(size, factor);
        let grid = Grid { factor, columns: wanted, rows: 1, blocks: 1, labels, tile, whole };
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
        let high = match (self.labels, self.whole) {
            (true, _) => self.tile.1.next_multiple_of(down) + down,
            (false, true) => (self.tile.1 + 1).next_multiple_of(down),
            (false, false) => self.tile.1 + 1,
        };
        (self.tile.0 + 1, high)
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

/// What of the pictures is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Looked {
    pub selected: usize,
    /// The selected one has the pane, with those of its row where they fit as large.
    pub alone: bool,
    /// Beside its partner, and what tells them apart.
    pub difference: bool,
    /// One so-many-th of the picture is shown; 0 and 1 show all of it. Counts where it is alone.
    pub zoom: usize,
    /// The middle of that part, from 0 to 1.
    pub centre: (f64, f64),
}

/// A picture's place in cells of the pane, and how the terminal is told of its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub area: (u16, u16, u16, u16),
    pub encoded: Encoded,
}

/// What of a view of pictures is on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What it was made for.
    looked: Looked,
    pane: (u16, u16),
    graphics: Option<Graphics>,
    pub grid: Grid,
    pub spots: Vec<Spot>,
    pub canvas: Canvas,
    /// The pictures in the terminal's own pixels; empty where it has none, or there are too many.
    pub placed: Vec<Placed>,
    /// From 1.
    pub number: usize,
    pub pages: usize,
    /// What is said of what is looked at: the difference, the part.
    pub said: String,
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
    /// Makes the page that shows what is looked at. Does nothing if it is there already.
    pub fn fit(&mut self, images: &Images, looked: Looked, pane: (u16, u16), graphics: Option<Graphics>) {
        let same = |p: &Page| p.looked == looked && p.pane == pane && p.graphics == graphics;
        if self.page.as_ref().is_some_and(same) || images.pictures.is_empty() {
            return;
        }
        let decoded = self.decoded.get_or_insert_with(|| images.pictures.iter().map(Pixels::of).collect());
        let page = if looked.alone || looked.difference {
            alone(images, decoded, looked, pane, graphics)
        } else {
            // Within a page, the selection moves over pictures that stand where they are.
            let old = self.page.take().filter(|p| p.pane == pane && p.graphics == graphics);
            together(images, decoded, looked, pane, graphics, old.filter(|p| !p.looked.alone && !p.looked.difference))
        };
        self.page = Some(page);
    }

    pub fn page(&self) -> Option<&Page> {
        self.page.as_ref()
    }

    /// Why a picture cannot be shown.
    pub fn problem(&self, picture: usize) -> Option<&str> {
        self.decoded.as_ref()?.get(picture)?.as_ref().err().map(String::as_str)
    }
}

/// The largest width and the largest height.
fn largest<'a>(pictures: impl Iterator<Item = &'a Pixels> + Clone) -> (usize, usize) {
    let most = |of: fn(&Pixels) -> usize| pictures.clone().map(of).max().unwrap_or(LEAST / 2);
    (most(|p| p.width), most(|p| p.height))
}

/// As many as fit, among them the selected one.
fn together(
    images: &Images,
    decoded: &[Result<Pixels, String>],
    looked: Looked,
    pane: (u16, u16),
    graphics: Option<Graphics>,
    old: Option<Page>,
) -> Page {
    let n = decoded.len();
    let labels = images.pictures.iter().any(|p| !p.label.is_empty());
    let columns = (images.columns as usize).min(n);
    let grid = Grid::new(n, largest(decoded.iter().flatten()), columns, labels, graphics.is_some(), pane);
    let spots = grid.spots(n, looked.selected);
    let (number, pages) = (looked.selected / grid.capacity() + 1, n.div_ceil(grid.capacity()));
    if let Some(old) = old.filter(|p| p.spots == spots && p.grid == grid) {
        return Page { looked, number, pages, ..old };
    }
    let shown: Vec<(Spot, &Pixels)> =
        spots.iter().filter_map(|s| Some((*s, decoded.get(s.picture)?.as_ref().ok()?))).collect();
    let (canvas, placed) = drawn(&grid, &shown, pane, graphics);
    Page { looked, pane, graphics, grid, spots, canvas, placed, number, pages, said: String::new() }
}

/// The selected one, or a part of it, with those of its row or its difference from its partner, where they fit.
fn alone(
    images: &Images,
    decoded: &[Result<Pixels, String>],
    looked: Looked,
    pane: (u16, u16),
    graphics: Option<Graphics>,
) -> Page {
    let n = decoded.len();
    let columns = (images.columns as usize).min(n);
    let mut said = Vec::new();
    let part = |pixels: &Pixels| pixels.part(looked.zoom.max(1), looked.centre);
    // Pictures by place; the difference has none, and stands for the selected one.
    let mut tiles: Vec<(usize, Pixels)> = Vec::new();
    let pixels = |i: usize| decoded.get(i).and_then(|d| d.as_ref().ok());
    let other = looked.difference.then(|| partner(looked.selected, columns, n)).flatten();
    let both = other.and_then(|other| Some((other, pixels(other)?, pixels(looked.selected)?)));
    let difference = both.and_then(|(_, a, b)| a.difference(b));
    match (both, difference) {
        (Some((other, a, b)), Some(difference)) => {
            let psnr = difference.psnr.map_or("the same".to_owned(), |db| format!("PSNR {db:.1} dB"));
            let gain = if difference.gain > 1 { format!(" x{}", difference.gain) } else { String::new() };
            said.push(format!("difference{gain}: mean {:.1} of 255, {psnr}", difference.mean));
            tiles.push((other, part(a).0));
            tiles.push((looked.selected, part(b).0));
            tiles.sort_by_key(|t| t.0);
            tiles.push((looked.selected, part(&difference.pixels).0));
        }
        _ => {
            if looked.difference {
                said.push("no other picture of the same size to compare with".into());
            }
            // Those of its row stand beside it, if it need not be smaller for that: they are there to be compared.
            let first = looked.selected - looked.selected.checked_rem(columns).unwrap_or(0);
            let row = first..(first + columns.max(1)).min(n);
            tiles.extend(row.filter_map(|i| Some((i, part(pixels(i)?).0))));
        }
    }
    if looked.zoom > 1
        && let Some(whole) = pixels(looked.selected)
    {
        let (shown, (left, top)) = part(whole);
        said.push(format!("{} x {} pixels from {left}, {top} on", shown.width, shown.height));
    }
    let compares = looked.difference && tiles.len() == 3;
    let own = tiles.iter().filter(|t| t.0 == looked.selected).map(|t| &t.1);
    let single = Grid::new(1, largest(own), 0, false, graphics.is_some(), pane);
    let pixels_of_pane = pane_pixels(pane);
    let size = largest(tiles.iter().map(|t| &t.1));
    let at = |factor| {
        Grid::at(factor, tiles.len().max(1), size, tiles.len().max(1), (false, graphics.is_some()), pixels_of_pane)
    };
    let side_by_side = if compares {
        // To be compared they must all be seen: as large as that allows.
        let seen = |f: &Factor| f.of(size.0.max(size.1)) >= LEAST_IN_ROW.min(size.0.max(size.1));
        let smaller = std::iter::successors(Some(single.factor), |f| Some(f.less()).filter(seen));
        smaller.into_iter().find_map(at)
    } else {
        at(single.factor)
    };
    let grid = match side_by_side {
        Some(grid) => grid,
        None => {
            // The difference is what was asked for; else the selected one.
            let keep =
                if compares { tiles.len() - 1 } else { tiles.iter().position(|t| t.0 == looked.selected).unwrap_or(0) };
            tiles = tiles.into_iter().skip(keep).take(1).collect();
            single
        }
    };
    let mut spots = grid.spots(tiles.len().max(1), 0);
    for (spot, tile) in spots.iter_mut().zip(&tiles) {
        spot.picture = tile.0;
    }
    if tiles.is_empty() {
        spots.iter_mut().for_each(|s| s.picture = looked.selected);
    }
    let shown: Vec<(Spot, &Pixels)> = spots.iter().copied().zip(tiles.iter().map(|t| &t.1)).collect();
    let (canvas, placed) = drawn(&grid, &shown, pane, graphics);
    let (number, pages) = (looked.selected + 1, n);
    Page { looked, pane, graphics, grid, spots, canvas, placed, number, pages, said: said.join("; ") }
}

/// The picture that another one is compared with: the first of its row, of the first the second; without rows, its neighbour.
fn partner(selected: usize, columns: usize, n: usize) -> Option<usize> {
    let first = if columns >= 2 { selected - selected % columns } else { selected.saturating_sub(1) };
    let other = if first == selected { selected + 1 } else { first };
    (other < n).then_some(other)
}

/// Pictures at their spots: out of characters, and in the terminal's own pixels where it has any and they are not too many.
fn drawn(
    grid: &Grid,
    shown: &[(Spot, &Pixels)],
    pane: (u16, u16),
    graphics: Option<Graphics>,
) -> (Canvas, Vec<Placed>) {
    let mut canvas = Canvas::new(pane.0, pane.1);
    let down = usize::from(DOWN);
    let mut placed = Vec::new();
    let area = |spot: &Spot, size: (usize, usize)| {
        let (top, end) = (spot.y / down, (spot.y + size.1).div_ceil(down));
        (spot.x as u16, top as u16, size.0 as u16, (end - top) as u16)
    };
    let sizes: Vec<(usize, usize)> = shown.iter().map(|(_, p)| scaled((p.width, p.height), grid.factor)).collect();
    let cells: usize = shown
        .iter()
        .zip(&sizes)
        .map(|((s, _), size)| area(s, *size))
        .map(|a| usize::from(a.2) * usize::from(a.3))
        .sum();
    let graphics = graphics.filter(|g| cells * usize::from(g.cell.0) * usize::from(g.cell.1) <= graphics::MOST);
    for ((spot, pixels), size) in shown.iter().zip(sizes) {
        canvas.put(&pixels.scaled(grid.factor), spot.x, spot.y);
        let area = area(spot, size);
        let fits = area.0 + area.2 <= pane.0 && area.1 + area.3 <= pane.1;
        if let Some(graphics) = graphics.filter(|_| fits) {
            placed.extend(
                graphics
                    .encode(pixels, size, spot.y % down > 0, (area.2, area.3))
                    .map(|encoded| Placed { area, encoded }),
            );
        }
    }
    // All or none: pictures that are to be compared must look alike.
    if placed.len() < shown.len() {
        placed.clear();
    }
    (canvas, placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::Picture;

    fn at(selected: usize, alone: bool) -> Looked {
        Looked { selected, alone, ..Looked::default() }
    }

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
                            for whole in [false, true] {
                                let grid = Grid::new(n, size, columns, labels, whole, pane);
                                sound(&grid, n, pane);
                                let starts = grid.spots(n, 0);
                                assert!(!whole || starts.iter().all(|s| s.y % 2 == 0), "{grid:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn all_are_in_view_as_large_as_that_allows() {
        let grid = |n, side, columns, labels, pane| Grid::new(n, (side, side), columns, labels, false, pane);
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
        let pairs = Grid::new(12, (28, 28), 2, true, false, (198, 34));
        assert_eq!(pairs.columns, 2);
        assert!(pairs.blocks >= 3 && pairs.capacity() >= 12, "{pairs:?}");
        for pair in pairs.spots(12, 0).chunks(2) {
            assert!(pair[0].y == pair[1].y && pair[1].x == pair[0].x + pairs.tile.0 + 1, "{pair:?}");
        }
        // Ten classes a row on a narrow screen: smaller rather than torn apart.
        let classes = Grid::new(40, (28, 28), 10, false, false, (78, 15));
        assert_eq!((classes.columns, classes.factor), (10, Factor::Down(5)));
        assert_eq!(Grid::new(40, (28, 28), 100, false, false, (78, 15)).factor, Factor::Down(2), "no room at any size");
    }

    fn images(n: usize) -> Images {
        let picture = |i: usize| Picture::new(format!("{i}"), 8, 8, 1, &[i as u8; 64]);
        Images { pictures: (0..n).map(picture).collect(), ..Images::default() }
    }

    #[test]
    fn a_page_is_made_once_and_again_for_another_place_only() {
        let mut images = images(40);
        let mut sheet = Sheet::default();
        sheet.fit(&images, at(0, false), (40, 10), None);
        let first = sheet.page().unwrap().clone();
        assert!(first.pages > 1 && first.number == 1);
        // What the view says later is not looked at: a newer view makes a newer sheet.
        images.pictures[0] = Picture::new("0", 8, 8, 1, &[255; 64]);
        sheet.fit(&images, at(1, false), (40, 10), None);
        assert_eq!(sheet.page().unwrap().canvas, first.canvas);
        sheet.fit(&images, at(39, false), (40, 10), None);
        assert_eq!(sheet.page().unwrap().number, first.pages);
        assert_ne!(sheet.page().unwrap().canvas, first.canvas);
        sheet.fit(&images, at(39, true), (40, 10), None);
        let alone = sheet.page().unwrap();
        assert_eq!((alone.spots.len(), alone.grid.factor, alone.number, alone.pages), (1, Factor::Up(2), 40, 40));
        let mut fresh = Sheet::default();
        fresh.fit(&images, at(0, false), (40, 10), None);
        assert_ne!(fresh.page().unwrap().canvas, first.canvas);
    }

    #[test]
    fn one_alone_has_its_row_beside_it_where_that_costs_no_size() {
        let pairs = Images { columns: 2, ..images(6) };
        let shown = |pane| {
            let mut sheet = Sheet::default();
            sheet.fit(&pairs, at(3, true), pane, None);
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
        sheet.fit(&images, at(1, false), (40, 10), None);
        assert_eq!(sheet.page().unwrap().spots.len(), 3);
        assert!(sheet.problem(0).is_none());
        assert!(sheet.problem(1).unwrap().contains("no base64") && sheet.problem(2).unwrap().contains("bytes"));
        sheet.fit(&images, at(1, true), (40, 10), None);
        Sheet::default().fit(&Images::default(), at(0, false), (40, 10), None);
    }

    #[test]
    fn a_picture_is_compared_with_the_first_of_its_row() {
        assert_eq!(
            [(3, 2, 6), (2, 2, 6), (5, 3, 6), (0, 0, 6), (4, 0, 6), (0, 0, 1)]
                .map(|(i, columns, n)| partner(i, columns, n)),
            [Some(2), Some(3), Some(3), Some(1), Some(3), None]
        );
        let pairs = Images { columns: 2, ..images(6) };
        let mut sheet = Sheet::default();
        let looked = Looked { difference: true, ..at(3, true) };
        sheet.fit(&pairs, looked, (60, 10), None);
        let page = sheet.page().unwrap();
        assert_eq!(page.spots.iter().map(|s| s.picture).collect::<Vec<_>>(), [2, 3, 3]);
        assert_eq!(page.said, "difference x16: mean 1.0 of 255, PSNR 48.1 dB");
        // Where three have no room, the difference has all of it.
        sheet.fit(&pairs, looked, (9, 5), None);
        assert_eq!(sheet.page().unwrap().spots.len(), 1);
        let mut odd = pairs.clone();
        odd.pictures[2] = Picture::new("", 4, 4, 1, &[0; 16]);
        let mut sheet = Sheet::default();
        sheet.fit(&odd, looked, (60, 10), None);
        assert!(sheet.page().unwrap().said.contains("no other picture"), "{}", sheet.page().unwrap().said);
    }

    #[test]
    fn a_part_is_as_large_as_the_whole_was() {
        let mut sheet = Sheet::default();
        let zoomed = |zoom| Looked { zoom, centre: (1.0, 0.0), ..at(0, true) };
        sheet.fit(&images(1), zoomed(1), (40, 12), None);
        assert_eq!((sheet.page().unwrap().grid.factor, sheet.page().unwrap().said.as_str()), (Factor::Up(3), ""));
        sheet.fit(&images(1), zoomed(2), (40, 12), None);
        assert_eq!(sheet.page().unwrap().grid.factor, Factor::Up(6));
        assert_eq!(sheet.page().unwrap().said, "4 x 4 pixels from 4, 0 on");
    }

    #[test]
    fn a_terminal_with_pixels_of_its_own_gets_them_while_they_are_few() {
        let graphics = |cell| Some(Graphics { kind: crate::graphics::Kind::Kitty, cell, tmux: false });
        let mut sheet = Sheet::default();
        sheet.fit(&images(6), at(0, false), (40, 10), graphics((8, 16)));
        let page = sheet.page().unwrap();
        assert_eq!(page.placed.len(), page.spots.len());
        for (placed, spot) in page.placed.iter().zip(&page.spots) {
            let (x, y, width, height) = placed.area;
            assert_eq!((usize::from(x), usize::from(y) * 2), (spot.x, spot.y));
            assert!(x + width <= 40 && y + height <= 10);
        }
        sheet.fit(&images(6), at(0, false), (40, 10), graphics((80, 160)));
        assert!(sheet.page().unwrap().placed.is_empty(), "too many");
        sheet.fit(&images(6), at(0, false), (40, 10), None);
        assert!(sheet.page().unwrap().placed.is_empty());
    }
}
