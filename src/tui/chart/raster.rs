//! Dots and lines at more than one dot a cell: braille (2x4), or ASCII (1x2).

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// A grid of dots over a grid of cells. A cell has one colour, so it shows one owner: the last that drew in it. Mixing
/// two curves in a cell would show a shape that belongs to neither.
pub struct Raster {
    cells: (u16, u16),
    /// Binary logarithms of the dots in a cell, across and down.
    shift: (u8, u8),
    dots: Vec<u8>,
    owners: Vec<u8>,
}

/// Bits of the braille block, by column and row of the dot within its cell.
const BRAILLE: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

impl Raster {
    /// An empty raster of this many cells.
    pub fn new(width: u16, height: u16, braille: bool) -> Raster {
        let cells = usize::from(width) * usize::from(height);
        Raster {
            cells: (width, height),
            shift: if braille { (1, 2) } else { (0, 1) },
            dots: vec![0; cells],
            owners: vec![0; cells],
        }
    }

    /// Dots across and down.
    pub fn size(&self) -> (f64, f64) {
        let across = |cells: u16, shift: u8| f64::from(u32::from(cells) << shift);
        (across(self.cells.0, self.shift.0), across(self.cells.1, self.shift.1))
    }

    /// Sets one dot; (0, 0) is at the top left. Dots outside are ignored.
    pub fn dot(&mut self, x: i64, y: i64, owner: u8) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let (cx, cy) = (x >> self.shift.0, y >> self.shift.1);
        if cx >= usize::from(self.cells.0) || cy >= usize::from(self.cells.1) {
            return;
        }
        let cell = cy * usize::from(self.cells.0) + cx;
        if self.owners[cell] != owner {
            self.owners[cell] = owner;
            self.dots[cell] = 0;
        }
        self.dots[cell] |= if self.shift.0 == 1 { BRAILLE[x & 1][y & 3] } else { 1 << (y & 1) };
    }

    /// Draws a line between two places, in dots; parts outside are cut off.
    pub fn line(&mut self, a: (f64, f64), b: (f64, f64), owner: u8) {
        let (w, h) = self.size();
        let Some((a, b)) = cut(a, b, w - 1.0, h - 1.0) else { return };
        let (mut x, mut y) = (a.0.round() as i64, a.1.round() as i64);
        let (end_x, end_y) = (b.0.round() as i64, b.1.round() as i64);
        let (dx, dy) = ((end_x - x).abs(), -(end_y - y).abs());
        let (sx, sy) = ((end_x - x).signum(), (end_y - y).signum());
        let mut error = dx + dy;
        loop {
            self.dot(x, y, owner);
            if x == end_x && y == end_y {
                break;
            }
            let twice = 2 * error;
            if twice >= dy {
                error += dy;
                x += sx;
            }
            if twice <= dx {
                error += dx;
                y += sy;
            }
        }
    }

    /// Puts the dots on the screen; `style` gives each owner's. Cells without dots are left as they are.
    pub fn paint(&self, buf: &mut Buffer, area: Rect, style: impl Fn(u8) -> Style) {
        let width = usize::from(self.cells.0);
        if width == 0 {
            return;
        }
        for (row, (dots, owners)) in self.dots.chunks(width).zip(self.owners.chunks(width)).enumerate() {
            for (column, (dots, owner)) in dots.iter().zip(owners).enumerate() {
                if *dots == 0 || column >= usize::from(area.width) || row >= usize::from(area.height) {
                    continue;
                }
                if let Some(cell) = buf.cell_mut((area.x + column as u16, area.y + row as u16)) {
                    cell.set_char(self.sign(*dots)).set_style(style(*owner));
                }
            }
        }
    }

    fn sign(&self, dots: u8) -> char {
        if self.shift.0 == 1 {
            return char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ');
        }
        match dots {
            1 => '\'',
            2 => '.',
            _ => ':',
        }
    }
}

/// Dots a cell, across and down.
pub fn per_cell(braille: bool) -> (u16, u16) {
    if braille { (2, 4) } else { (1, 2) }
}

/// The part of a segment within `0..=w`, `0..=h` (Liang and Barsky). `None` if there is none, or an end is not finite.
fn cut(a: (f64, f64), b: (f64, f64), w: f64, h: f64) -> Option<((f64, f64), (f64, f64))> {
    if ![a.0, a.1, b.0, b.1].iter().all(|v| v.is_finite()) || w < 0.0 || h < 0.0 {
        return None;
    }
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    for (delta, room) in [(-dx, a.0), (dx, w - a.0), (-dy, a.1), (dy, h - a.1)] {
        if delta == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if delta < 0.0 {
            from = from.max(room / delta);
        } else {
            to = to.min(room / delta);
        }
    }
    (from <= to).then_some(((a.0 + from * dx, a.1 + from * dy), (a.0 + to * dx, a.1 + to * dy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raster: &Raster) -> Vec<String> {
        let area = Rect::new(0, 0, raster.cells.0, raster.cells.1);
        let mut buf = Buffer::empty(area);
        raster.paint(&mut buf, area, |_| Style::default());
        (0..area.height).map(|y| (0..area.width).map(|x| buf[(x, y)].symbol().to_owned()).collect::<String>()).collect()
    }

    #[test]
    fn braille_dots_have_their_bits() {
        for (x, row) in BRAILLE.iter().enumerate() {
            for (y, bit) in row.iter().enumerate() {
                let mut raster = Raster::new(1, 1, true);
                raster.dot(x as i64, y as i64, 1);
                let expected = char::from_u32(0x2800 + u32::from(*bit)).unwrap().to_string();
                assert_eq!(text(&raster), [expected]);
            }
        }
    }

    #[test]
    fn lines_join_their_ends_without_holes() {
        let mut raster = Raster::new(4, 2, true);
        raster.line((0.0, 7.0), (7.0, 0.0), 1);
        assert_eq!(text(&raster), ["  ⡠⠊", "⡠⠊  "]);
        let mut ascii = Raster::new(4, 2, false);
        ascii.line((0.0, 3.0), (3.0, 0.0), 1);
        assert_eq!(text(&ascii), ["  .'", ".'  "]);
    }

    #[test]
    fn a_cell_shows_the_last_owner_alone() {
        let mut raster = Raster::new(1, 1, true);
        raster.dot(0, 0, 1);
        raster.dot(1, 3, 2);
        assert_eq!(text(&raster), ["⢀"]);
    }

    #[test]
    fn lines_outside_are_cut_like_brute_force() {
        // Against the line drawn dot by dot on a plane without edges.
        let mut state = 3_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / (1 << 24) as f64
        };
        for _ in 0..500 {
            let (a, b) =
                ((random() * 60.0 - 20.0, random() * 60.0 - 20.0), (random() * 60.0 - 20.0, random() * 60.0 - 20.0));
            let inside = |t: f64| {
                let (x, y) = (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
                (0.0..=19.0).contains(&x) && (0.0..=15.0).contains(&y)
            };
            let any = (0..=2000).any(|i| inside(f64::from(i) / 2000.0));
            let part = cut(a, b, 19.0, 15.0);
            assert!(part.is_some() || !any, "{a:?} {b:?}");
            if let Some((p, q)) = part {
                for v in [p, q] {
                    assert!(v.0 > -1e-6 && v.0 < 19.0 + 1e-6 && v.1 > -1e-6 && v.1 < 15.0 + 1e-6);
                }
            }
        }
    }

    #[test]
    fn odd_lines_draw_nothing_and_end() {
        let mut raster = Raster::new(2, 2, true);
        raster.line((f64::NAN, 0.0), (1.0, 1.0), 1);
        raster.line((f64::INFINITY, 0.0), (1.0, 1.0), 1);
        assert!(raster.dots.iter().all(|d| *d == 0));
        raster.line((-1e300, 0.0), (1e300, 1.0), 1);
        Raster::new(0, 0, true).line((0.0, 0.0), (1.0, 1.0), 1);
        raster.dot(i64::MIN, i64::MAX, 1);
    }
}
