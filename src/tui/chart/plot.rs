//! Axes and placement: from values to cells.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::raster::{Raster, per_cell};
use crate::chart::scale::Scale;
use crate::look::Look;
use crate::text;
use crate::theme::Role;

/// Cells for the labels of the y axis, with the blank that follows. Fixed, so that the number of columns to ask the
/// engine for does not depend on the data.
pub const GUTTER: u16 = 8;

/// A range of x that a chart shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub from: f64,
    pub to: f64,
}

impl Default for Window {
    fn default() -> Window {
        Window { from: 0.0, to: 1.0 }
    }
}

impl Window {
    pub fn span(&self) -> f64 {
        self.to - self.from
    }

    /// Shrinks (`factor` < 1) or grows the window so that `at` stays where it is on the screen.
    pub fn zoom(&self, factor: f64, at: f64) -> Window {
        Window { from: at - (at - self.from) * factor, to: at + (self.to - at) * factor }
    }

    /// Moved, but not beyond `limit`; cut to `limit` where it is larger.
    pub fn within(&self, limit: Window) -> Window {
        if self.span() >= limit.span() {
            return limit;
        }
        let shift = (limit.from - self.from).max(0.0) + (limit.to - self.to).min(0.0);
        Window { from: self.from + shift, to: self.to + shift }
    }
}

/// A chart's place on the screen and its two axes.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// The whole area, with labels.
    pub area: Rect,
    /// Where data are drawn.
    pub inner: Rect,
    pub x: Scale,
    pub y: Scale,
}

/// The part of `area` where data are drawn: without the gutter on the left and the labels below, where there is room for
/// these at all.
pub fn inner(area: Rect) -> Rect {
    let gutter = if area.width >= 3 * GUTTER { GUTTER } else { 0 };
    let below = u16::from(area.height >= 4);
    Rect { x: area.x + gutter, width: area.width - gutter, height: area.height - below, ..area }
}

/// Columns of dots in the part of `area` where data are drawn: what to ask the engine for.
pub fn columns(area: Rect, braille: bool) -> u32 {
    u32::from(inner(area).width) * u32::from(per_cell(braille).0)
}

impl Plot {
    pub fn new(area: Rect, window: Window, y: Scale) -> Plot {
        Plot { area, inner: inner(area), x: Scale { lo: window.from, hi: window.to, log: false }, y }
    }

    /// Place of a point in dots of a raster over `inner`.
    pub fn dot(&self, raster: &Raster, point: [f64; 2]) -> Option<(f64, f64)> {
        let (w, h) = raster.size();
        Some((self.x.place(point[0])? * (w - 1.0), (1.0 - self.y.place(point[1])?) * (h - 1.0)))
    }

    /// The cell that holds a point, if it is in view.
    pub fn cell(&self, point: [f64; 2]) -> Option<(u16, u16)> {
        let (tx, ty) = (self.x.place(point[0])?, self.y.place(point[1])?);
        if !(-1e-9..=1.0 + 1e-9).contains(&tx) || !(-1e-9..=1.0 + 1e-9).contains(&ty) || self.inner.is_empty() {
            return None;
        }
        let column = (tx.clamp(0.0, 1.0) * f64::from(self.inner.width - 1)).round() as u16;
        let row = ((1.0 - ty.clamp(0.0, 1.0)) * f64::from(self.inner.height - 1)).round() as u16;
        Some((self.inner.x + column, self.inner.y + row))
    }

    /// Draws a straight line between two points, whichever lies further left.
    pub fn segment(&self, raster: &mut Raster, a: [f64; 2], b: [f64; 2], owner: u8) {
        if let (Some(a), Some(b)) = (self.dot(raster, a), self.dot(raster, b)) {
            raster.line(a, b, owner);
        }
    }

    /// Draws points as a line; what is not finite is a gap, and a point alone between gaps is a dot.
    pub fn trace(&self, raster: &mut Raster, points: &[[f64; 2]], owner: u8) {
        // One point beyond each edge is enough to lead the line out of view.
        let start = points.partition_point(|p| p[0] < self.x.lo).saturating_sub(1);
        let mut before: Option<(f64, f64)> = None;
        let mut beyond = false;
        for point in &points[start..] {
            if beyond {
                break;
            }
            beyond = point[0] > self.x.hi;
            let here = self.dot(raster, *point);
            match (before, here) {
                (Some(a), Some(b)) => raster.line(a, b, owner),
                (None, Some((x, y))) => raster.line((x, y), (x, y), owner),
                _ => {}
            }
            before = here;
        }
    }

    /// Fills the band between `low` and `high` of points `[x, low, high]` with every fourth dot, in a pattern that does not
    /// move when the data do.
    pub fn band(&self, raster: &mut Raster, points: &[[f64; 3]], owner: u8) {
        let (width, height) = raster.size();
        let start = points.partition_point(|p| p[0] < self.x.lo).saturating_sub(1);
        for pair in points[start..].windows(2) {
            let [a, b] = [pair[0], pair[1]];
            if a[0] > self.x.hi {
                break;
            }
            let ends = [[a[0], a[1]], [a[0], a[2]], [b[0], b[1]], [b[0], b[2]]].map(|p| self.dot(raster, p));
            let [Some(al), Some(ah), Some(bl), Some(bh)] = ends else { continue };
            let (from, to) = (al.0.max(0.0).round() as i64, bl.0.min(width - 1.0).round() as i64);
            for x in from..=to {
                let t = if bl.0 > al.0 { ((x as f64 - al.0) / (bl.0 - al.0)).clamp(0.0, 1.0) } else { 0.0 };
                let at = |a: f64, b: f64| (a + (b - a) * t).clamp(0.0, height - 1.0).round() as i64;
                for y in at(ah.1, bh.1)..=at(al.1, bl.1) {
                    if x % 2 == 0 && (y + x) % 2 == 0 {
                        raster.dot(x, y, owner);
                    }
                }
            }
        }
    }

    /// Draws grid lines and labels.
    pub fn axes(&self, buf: &mut Buffer, look: &Look) {
        self.axes_in(buf, "", look);
    }

    /// As [`Plot::axes`]; what x counts stands at the end of its axis, where there is room.
    pub fn axes_in(&self, buf: &mut Buffer, unit: &str, look: &Look) {
        self.axes_at(buf, unit, &self.x.ticks(usize::from(self.inner.width / 12).clamp(1, 10)), look);
    }

    /// As [`Plot::axes_in`], with these ticks of the x axis and their labels; a label that meets the one before is left out.
    pub fn axes_at(&self, buf: &mut Buffer, unit: &str, ticks: &[(f64, String)], look: &Look) {
        let inner = self.inner;
        if inner.is_empty() {
            return;
        }
        let (grid, dim) = (look.style(Role::Grid), look.style(Role::Faint));
        for (value, label) in self.y.ticks(usize::from(inner.height / 3).clamp(1, 8)) {
            let Some((_, row)) = self.cell([self.x.lo, value]) else { continue };
            for column in inner.left()..inner.right() {
                buf[(column, row)].set_symbol(look.glyphs.grid).set_style(grid);
            }
            if inner.x > self.area.x {
                let label = text::right(&label, usize::from(inner.x - self.area.x - 1), look.glyphs.ellipsis);
                buf.set_string(self.area.x, row, label, dim);
            }
        }
        self.x_labels(buf, unit, ticks, look);
    }

    /// The labels of the x axis alone.
    pub fn x_labels(&self, buf: &mut Buffer, unit: &str, ticks: &[(f64, String)], look: &Look) {
        let (inner, dim) = (self.inner, look.style(Role::Faint));
        if inner.is_empty() || inner.bottom() >= self.area.bottom() {
            return;
        }
        let mut free = self.area.x;
        let mut end = self.area.right();
        let taken = text::width(unit) as u16;
        if taken > 0 && taken.saturating_mul(4) <= inner.width {
            end -= taken;
            buf.set_string(end, inner.bottom(), unit, dim);
        }
        for (value, label) in ticks {
            let Some((column, _)) = self.cell([*value, self.y.lo]) else { continue };
            let width = text::width(label) as u16;
            let start = column
                .saturating_sub(width / 2)
                .max(inner.x)
                .min(end.saturating_sub(width + u16::from(end < self.area.right())));
            if start >= free && start + width <= end {
                buf.set_string(start, inner.bottom(), label, dim);
                free = start + width + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_keeps_room_for_labels_only_where_there_is_any() {
        assert_eq!(inner(Rect::new(0, 0, 80, 20)), Rect::new(8, 0, 72, 19));
        assert_eq!(inner(Rect::new(0, 0, 10, 3)), Rect::new(0, 0, 10, 3));
        assert_eq!(inner(Rect::new(0, 0, 0, 0)), Rect::new(0, 0, 0, 0));
        assert_eq!(columns(Rect::new(0, 0, 80, 20), true), 144);
        assert_eq!(columns(Rect::new(0, 0, 80, 20), false), 72);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_cursor() {
        let window = Window { from: 0.0, to: 100.0 };
        let zoomed = window.zoom(0.5, 80.0);
        assert_eq!(zoomed, Window { from: 40.0, to: 90.0 });
        let place = |w: Window| (80.0 - w.from) / w.span();
        assert_eq!(place(window), place(zoomed));
        assert_eq!(Window { from: -20.0, to: 30.0 }.within(window), Window { from: 0.0, to: 50.0 });
        assert_eq!(Window { from: 80.0, to: 120.0 }.within(window), Window { from: 60.0, to: 100.0 });
        assert_eq!(Window { from: -80.0, to: 120.0 }.within(window), window);
    }

    #[test]
    fn gaps_are_gaps() {
        let plot =
            Plot::new(Rect::new(0, 0, 10, 2), Window { from: 0.0, to: 9.0 }, Scale { lo: 0.0, hi: 1.0, log: false });
        let mut raster = Raster::new(10, 2, false);
        let points: Vec<_> = (0..10).map(|i| [f64::from(i), if i == 4 { f64::NAN } else { 1.0 }]).collect();
        plot.trace(&mut raster, &points, 1);
        let mut buf = Buffer::empty(Rect::new(0, 0, 10, 2));
        raster.paint(&mut buf, Rect::new(0, 0, 10, 2), |_| ratatui::style::Style::default());
        let row: String = (0..10).map(|x| buf[(x, 0)].symbol().to_owned()).collect();
        assert_eq!(row, "'''' '''''");
    }
}
