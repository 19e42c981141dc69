//! Pictures out of characters: scaling by whole numbers, and two pixels to a cell.
//!
//! Where there are colours and Unicode, each cell is a half-block: its upper and its lower half are pixels of their own. In
//! ASCII a cell shows the mean of both as background; without colours, as a character of a ramp from dark to bright.

use kiln_protocol::view::Picture;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::colour;
use crate::look::Look;
use crate::theme::Role;

/// Pixels a cell: one across, and this many down, since cells are about twice as high as wide.
pub const DOWN: u16 = 2;

/// From dark to bright on a dark background.
const RAMP: [&str; 10] = [" ", ".", ":", "-", "=", "+", "*", "#", "%", "@"];

/// A size relative to a picture's own, by whole numbers, so that all its pixels are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// So many times larger: each pixel repeated.
    Up(usize),
    /// A so-many-th of it: means of squares. At least 2.
    Down(usize),
}

impl Factor {
    /// What becomes of a length.
    pub fn of(self, length: usize) -> usize {
        match self {
            Factor::Up(by) => length.saturating_mul(by),
            Factor::Down(by) => length.div_ceil(by),
        }
    }

    /// The next smaller one.
    pub fn less(self) -> Factor {
        match self {
            Factor::Up(1) => Factor::Down(2),
            Factor::Up(by) => Factor::Up(by - 1),
            Factor::Down(by) => Factor::Down(by + 1),
        }
    }

    /// The largest at which a length is at most `room`, which is at least 1.
    pub fn fitting(length: usize, room: usize) -> Factor {
        let (length, room) = (length.max(1), room.max(1));
        if length <= room { Factor::Up(room / length) } else { Factor::Down(length.div_ceil(room)) }
    }

    /// The smaller of two.
    pub fn min(self, other: Factor) -> Factor {
        match (self, other) {
            (Factor::Up(a), Factor::Up(b)) => Factor::Up(a.min(b)),
            (Factor::Down(a), Factor::Down(b)) => Factor::Down(a.max(b)),
            (down @ Factor::Down(_), _) | (_, down) => down,
        }
    }
}

impl std::fmt::Display for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Factor::Up(by) => write!(f, "{by}:1"),
            Factor::Down(by) => write!(f, "1:{by}"),
        }
    }
}

/// Fewest pixels of a part: fewer are no picture.
const PART: usize = 4;

/// Most that a small difference is enlarged by.
const GAIN: u8 = 16;

/// How two pictures differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What they lie apart, in each channel, enlarged by `gain`.
    pub pixels: Pixels,
    /// Mean distance, of 255.
    pub mean: f64,
    /// Peak signal-to-noise ratio in decibels; `None` where they are the same.
    pub psnr: Option<f64>,
    pub gain: u8,
}

/// A picture, decoded: rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    rgb: Vec<[u8; 3]>,
}

impl Pixels {
    /// Decodes a picture; grey becomes three equal channels.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn of(picture: &Picture) -> Result<Pixels, String> {
        let bytes = picture.bytes()?;
        let rgb = match picture.channels {
            1 => bytes.iter().map(|v| [*v; 3]).collect(),
            _ => bytes.as_chunks::<3>().0.to_vec(),
        };
        Ok(Pixels { width: picture.width as usize, height: picture.height as usize, rgb })
    }

    /// Rows from the top.
    pub fn rows(&self) -> impl Iterator<Item = &[[u8; 3]]> {
        self.rgb.chunks(self.width.max(1))
    }

    /// The picture at any size, at least 1 by 1: pixels repeated where it grows, means of those that fall together where it shrinks.
    pub fn resampled(&self, width: usize, height: usize) -> Pixels {
        let (width, height) = (width.max(1), height.max(1));
        // Of `n` pixels, those that the `i`-th of `m` shows: at least one.
        let span = |i: usize, m: usize, n: usize| {
            let from = i * n / m;
            from..((i + 1) * n / m).clamp(from + 1, n.max(from + 1))
        };
        let pixel = |x: usize, y: usize| {
            let (columns, rows) = (span(x, width, self.width), span(y, height, self.height));
            let n = (columns.len() * rows.len()).max(1) as u64;
            let mut sums = [0_u64; 3];
            for row in rows {
                for p in
                    self.rgb.get(row * self.width + columns.start..row * self.width + columns.end).unwrap_or_default()
                {
                    sums.iter_mut().zip(p).for_each(|(sum, v)| *sum += u64::from(*v));
                }
            }
            sums.map(|sum| ((sum + n / 2) / n) as u8)
        };
        let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
        Pixels { width, height, rgb }
    }

    /// A part of the picture, one `times`-th of its width and height and at least a few pixels, as near to a centre (from 0 to 1)
    /// as its edges allow; and its first column and row.
    pub fn part(&self, times: usize, centre: (f64, f64)) -> (Pixels, (usize, usize)) {
        let size = |n: usize| n.div_ceil(times.max(1)).max(PART.min(n));
        let (width, height) = (size(self.width), size(self.height));
        let first = |n: usize, size: usize, at: f64| {
            let wished = at * n as f64 - size as f64 / 2.0;
            (wished.round().max(0.0) as usize).min(n - size)
        };
        let (left, top) = (first(self.width, width, centre.0), first(self.height, height, centre.1));
        let rows = (top..top + height).flat_map(|y| &self.rgb[y * self.width + left..y * self.width + left + width]);
        (Pixels { width, height, rgb: rows.copied().collect() }, (left, top))
    }

    /// How another picture of the same size differs; `None` if it has another size.
    pub fn difference(&self, other: &Pixels) -> Option<Difference> {
        if (self.width, self.height) != (other.width, other.height) || self.rgb.is_empty() {
            return None;
        }
        let apart: Vec<[u8; 3]> =
            self.rgb.iter().zip(&other.rgb).map(|(a, b)| std::array::from_fn(|i| a[i].abs_diff(b[i]))).collect();
        let all = || apart.iter().flatten().map(|v| f64::from(*v));
        let n = (apart.len() * 3) as f64;
        let (mean, square) = (all().sum::<f64>() / n, all().map(|v| v * v).sum::<f64>() / n);
        let most = apart.iter().flatten().copied().max().unwrap_or(0);
        let gain = 255_u8.checked_div(most).map_or(1, |gain| gain.clamp(1, GAIN));
        let rgb = apart.into_iter().map(|p| p.map(|v| v.saturating_mul(gain))).collect();
        let psnr = (square > 0.0).then(|| 10.0 * (255.0 * 255.0 / square).log10());
        Some(Difference { pixels: Pixels { width: self.width, height: self.height, rgb }, mean, psnr, gain })
    }

    /// The picture at another size: repeated pixels, or means of boxes (those at the right and lower edge may be smaller).
    pub fn scaled(&self, factor: Factor) -> Pixels {
        let (width, height) = (factor.of(self.width), factor.of(self.height));
        let pixel = |x: usize, y: usize| match factor {
            Factor::Up(by) => self.rgb[y / by * self.width + x / by],
            Factor::Down(by) => {
                let (columns, rows) = (x * by..(x * by + by).min(self.width), y * by..(y * by + by).min(self.height));
                let n = (columns.len() * rows.len()) as u32;
                let mut sums = [0_u32; 3];
                for row in rows {
                    for p in &self.rgb[row * self.width + columns.start..row * self.width + columns.end] {
                        sums.iter_mut().zip(p).for_each(|(sum, v)| *sum += u32::from(*v));
                    }
                }
                sums.map(|sum| ((sum + n / 2) / n) as u8)
            }
        };
        let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
        Pixels { width, height, rgb }
    }
}

/// A part of the screen as pixels, some of them empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canvas {
    width: usize,
    pixels: Vec<Option<[u8; 3]>>,
}

impl Canvas {
    /// An empty one for an area of this many cells.
    pub fn new(width: u16, height: u16) -> Canvas {
        let width = usize::from(width);
        Canvas { width, pixels: vec![None; width * usize::from(height) * usize::from(DOWN)] }
    }

    /// Puts a picture with its upper left corner at a pixel; what lies outside is cut off.
    pub fn put(&mut self, picture: &Pixels, x: usize, y: usize) {
        let across = picture.width.min(self.width.saturating_sub(x));
        for (row, from) in picture.rgb.chunks(picture.width.max(1)).enumerate() {
            let start = (y + row) * self.width + x;
            let Some(to) = self.pixels.get_mut(start..start + across) else { return };
            to.iter_mut().zip(from).for_each(|(to, from)| *to = Some(*from));
        }
    }

    /// Draws onto the cells of `area`; those of empty pixels are left as they are.
    pub fn paint(&self, buf: &mut Buffer, area: Rect, look: &Look) {
        if self.width == 0 {
            return;
        }
        for (line, rows) in
            self.pixels.chunks(self.width * usize::from(DOWN)).enumerate().take(usize::from(area.height))
        {
            let (upper, lower) = rows.split_at(self.width);
            for (column, pair) in upper.iter().zip(lower).enumerate().take(usize::from(area.width)) {
                if let Some(cell) = buf.cell_mut((area.x + column as u16, area.y + line as u16))
                    && let Some((sign, style)) = sign(*pair.0, *pair.1, look)
                {
                    cell.reset();
                    cell.set_symbol(sign).set_style(style);
                }
            }
        }
    }
}

/// How two pixels, one above the other, are drawn in a cell.
fn sign(upper: Option<[u8; 3]>, lower: Option<[u8; 3]>, look: &Look) -> Option<(&'static str, Style)> {
    let style = Style::default();
    let depth = look.theme.depth;
    let mean = match (upper, lower) {
        (Some(a), Some(b)) => std::array::from_fn(|i| ((u16::from(a[i]) + u16::from(b[i])) / 2) as u8),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    let Some(colour) = colour::pixel(mean, depth) else {
        let bright = colour::brightness(mean);
        let dense = if look.theme.is_light() { 1.0 - bright } else { bright };
        let style = match colour::hue(mean).filter(|_| depth == colour::Depth::Ansi16) {
            Some(hue) => style.fg(hue),
            None => look.style(Role::Text),
        };
        return Some((RAMP[((dense * RAMP.len() as f64) as usize).min(RAMP.len() - 1)], style));
    };
    if !look.glyphs.braille {
        return Some((" ", style.bg(colour)));
    }
    let at = |rgb: [u8; 3]| colour::pixel(rgb, depth).unwrap_or(colour);
    Some(match (upper, lower) {
        // A blank is shorter to send than a block of one colour twice.
        (Some(a), Some(b)) if at(a) == at(b) => (" ", style.bg(at(a))),
        (Some(a), Some(b)) => ("▀", style.fg(at(a)).bg(at(b))),
        (Some(a), None) => ("▀", style.fg(at(a))),
        (_, b) => ("▄", style.fg(at(b.unwrap_or(mean)))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::Depth;
    use ratatui::style::Color;

    fn grey(width: u32, height: u32, bytes: &[u8]) -> Pixels {
        Pixels::of(&Picture::new("", width, height, 1, bytes)).unwrap()
    }

    fn lines(buf: &Buffer) -> Vec<String> {
        let area = buf.area;
        (0..area.height).map(|y| (0..area.width).map(|x| buf[(x, y)].symbol()).collect()).collect()
    }

    #[test]
    fn factors_shrink_step_by_step_and_fit() {
        assert_eq!(Factor::Up(2).less().less(), Factor::Down(2));
        assert_eq!([Factor::fitting(28, 90), Factor::fitting(28, 28)], [Factor::Up(3), Factor::Up(1)]);
        for length in 1..80 {
            for room in 1..80 {
                let factor = Factor::fitting(length, room);
                assert!(factor.of(length) <= room);
                let larger = match factor {
                    Factor::Up(by) => Factor::Up(by + 1),
                    Factor::Down(2) => Factor::Up(1),
                    Factor::Down(by) => Factor::Down(by - 1),
                };
                assert!(larger.of(length) > room && larger.less() == factor && larger.min(factor) == factor);
            }
        }
        assert_eq!(Factor::fitting(0, 0), Factor::Up(1));
    }

    #[test]
    fn up_repeats_and_down_takes_means() {
        let small = grey(3, 2, &[0, 50, 100, 10, 60, 201]);
        let large = small.scaled(Factor::Up(2));
        assert_eq!((large.width, large.height), (6, 4));
        assert_eq!(large.rgb[13], [10; 3]);
        // Every pixel of the large one is the same box: shrinking it gives the small one back.
        assert_eq!(large.scaled(Factor::Down(2)), small);
        let tiny = small.scaled(Factor::Down(2));
        assert_eq!((tiny.width, tiny.height), (2, 1));
        // (0 + 50 + 10 + 60) / 4 and, of the two that are left, (100 + 201) / 2.
        assert_eq!(tiny.rgb, [[30; 3], [151; 3]]);
        let colours = Pixels::of(&Picture::new("", 1, 2, 3, &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(colours.rgb, [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(colours.scaled(Factor::Down(9)).rgb, [[3, 4, 5]]);
    }

    #[test]
    fn any_size_repeats_or_averages_and_whole_factors_agree() {
        let small = grey(3, 2, &[0, 50, 100, 10, 60, 201]);
        for by in 1..5 {
            assert_eq!(small.resampled(3 * by, 2 * by), small.scaled(Factor::Up(by)));
        }
        assert_eq!(small.scaled(Factor::Up(6)).resampled(3, 2), small);
        assert_eq!(small.resampled(1, 1).rgb, [[70; 3]]);
        assert_eq!(small.resampled(0, 0).rgb, [[70; 3]]);
        for (width, height) in [(2, 1), (5, 7), (100, 3)] {
            let other = small.resampled(width, height);
            assert_eq!((other.width, other.height, other.rgb.len()), (width, height, width * height));
        }
    }

    #[test]
    fn parts_stay_within_the_picture() {
        let picture = grey(16, 8, &(0..128).collect::<Vec<u8>>());
        assert_eq!(picture.part(1, (0.3, 0.9)), (picture.clone(), (0, 0)));
        let (part, at) = picture.part(2, (0.5, 0.5));
        assert_eq!((part.width, part.height, at, part.rgb[0]), (8, 4, (4, 2), [2 * 16 + 4; 3]));
        assert_eq!(picture.part(2, (1.0, 1.0)).1, (8, 4));
        let (least, _) = picture.part(1000, (0.0, 0.0));
        assert_eq!((least.width, least.height), (4, 4));
        assert_eq!(grey(2, 1, &[1, 2]).part(9, (0.5, 0.5)).0, grey(2, 1, &[1, 2]));
    }

    #[test]
    fn differences_are_enlarged_until_they_are_seen() {
        let (a, b) = (grey(2, 1, &[100, 100]), grey(2, 1, &[100, 110]));
        let difference = a.difference(&b).unwrap();
        assert_eq!((difference.gain, difference.mean), (16, 5.0));
        assert_eq!(difference.pixels.rgb, [[0; 3], [160; 3]]);
        assert!((difference.psnr.unwrap() - 10.0 * (65025.0_f64 / 50.0).log10()).abs() < 1e-9);
        assert_eq!(a.difference(&a).unwrap().psnr, None);
        assert_eq!(a.difference(&grey(1, 2, &[1, 2])), None);
        assert_eq!(grey(1, 1, &[0]).difference(&grey(1, 1, &[200])).unwrap().gain, 1);
    }

    #[test]
    fn half_blocks_hold_two_pixels_a_cell() {
        let mut canvas = Canvas::new(3, 2);
        canvas.put(&grey(2, 3, &[0, 255, 255, 255, 9, 9]), 1, 0);
        let area = Rect::new(0, 0, 3, 2);
        let mut buf = Buffer::filled(area, ratatui::buffer::Cell::new("x"));
        canvas.paint(&mut buf, area, &Look::plain("dark", Depth::True, false));
        assert_eq!(lines(&buf), ["x▀ ", "x▀▀"]);
        let rgb = |v: u8| Color::Rgb(v, v, v);
        assert_eq!((buf[(1, 0)].fg, buf[(1, 0)].bg), (rgb(0), rgb(255)));
        assert_eq!(buf[(2, 0)].bg, rgb(255));
        assert_eq!((buf[(1, 1)].fg, buf[(1, 1)].bg), (rgb(9), Color::Reset), "below it is nothing");
    }

    #[test]
    fn without_colour_bright_is_dense_on_dark_and_thin_on_light() {
        let ramp: Vec<u8> = (0..10).map(|i| i * 28).collect();
        let area = Rect::new(0, 0, 10, 1);
        let drawn = |theme: &str, depth, ascii| {
            let mut canvas = Canvas::new(10, 1);
            canvas.put(&grey(10, 1, &ramp), 0, 0);
            let mut buf = Buffer::empty(area);
            canvas.paint(&mut buf, area, &Look::plain(theme, depth, ascii));
            lines(&buf).remove(0)
        };
        for ascii in [true, false] {
            assert_eq!(drawn("dark", Depth::None, ascii), " .:-=+*#%@");
            assert_eq!(drawn("light", Depth::None, ascii), "@%#*+=-:. ");
            assert_eq!(drawn("dark", Depth::Ansi16, ascii), " .:-=+*#%@");
        }
        assert_eq!(drawn("dark", Depth::Ansi256, true), " ".repeat(10), "backgrounds");
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut canvas = Canvas::new(2, 1);
        let picture = grey(5, 5, &[200; 25]);
        for (x, y) in [(0, 0), (1, 1), (2, 0), (0, 2), (9, 9)] {
            canvas.put(&picture, x, y);
        }
        let mut buf = Buffer::empty(Rect::new(0, 0, 2, 2));
        canvas.paint(&mut buf, Rect::new(1, 1, 2, 1), &Look::plain("dark", Depth::True, false));
        assert_eq!(lines(&buf), ["  ", "  "]);
        assert_eq!(buf[(1, 1)].bg, Color::Rgb(200, 200, 200));
        Canvas::new(0, 0).paint(&mut buf, Rect::new(0, 0, 2, 2), &Look::plain("dark", Depth::True, false));
    }
}
