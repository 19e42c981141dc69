//! Series as text, in braille dots.

use std::fmt::Write;

use textplots::{Chart, Plot, Shape};

use crate::human::{self, number};

/// How a plot is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Columns and lines of the drawing, labels aside.
    pub columns: u16,
    pub lines: u16,
    pub log: bool,
    /// Planned end of the x axis.
    pub x_max: Option<f64>,
    /// What x counts, in the plural; may be empty.
    pub x_unit: &'a str,
    /// Deviation of each point, drawn as dots above and below; may be empty.
    pub spread: &'a [f64],
}

/// One series with its name above, the y range at the side and the x range below. NaN leaves a gap; with a logarithmic
/// axis, so does what is not positive.
pub fn plot(name: &str, points: &[[f64; 2]], frame: Frame<'_>) -> String {
    let scaled = |y: f64| if frame.log { y.log10() } else { y };
    let runs: Vec<Vec<(f32, f32)>> = points
        .split(|p| !p[0].is_finite() || !scaled(p[1]).is_finite())
        .filter(|run| !run.is_empty())
        .map(|run| run.iter().map(|p| (p[0] as f32, scaled(p[1]) as f32)).collect())
        .collect();
    let band: Vec<(f32, f32)> = points
        .iter()
        .zip(frame.spread)
        .flat_map(|(p, s)| [[p[0], p[1] - s], [p[0], p[1] + s]])
        .filter(|p| p[0].is_finite() && scaled(p[1]).is_finite())
        .map(|p| (p[0] as f32, scaled(p[1]) as f32))
        .collect();
    let flat = || runs.iter().flatten();
    let Some(first) = flat().next() else {
        return format!("{name}: no point to draw");
    };
    let bounds = |of: &dyn Fn(&(f32, f32)) -> f32| {
        flat().chain(&band).map(of).fold((of(first), of(first)), |(lo, hi), v| (lo.min(v), hi.max(v)))
    };
    let (x0, last_x) = bounds(&|p| p.0);
    let x1 = frame.x_max.map_or(last_x, |x| last_x.max(x as f32));
    let (y0, y1) = bounds(&|p| p.1);
    let x1 = if x1 > x0 { x1 } else { x0 + 1.0 };
    // A flat line is drawn in the middle rather than on the edge.
    let (y0, y1) = if y1 > y0 { (y0, y1) } else { (y0 - 0.5, y1 + 0.5) };

    let unscaled = |y: f32| number(if frame.log { 10f64.powf(f64::from(y)) } else { f64::from(y) });
    let labels = (unscaled(y1), unscaled(y0));
    let margin = labels.0.chars().count().max(labels.1.chars().count());
    let columns = usize::from(frame.columns).saturating_sub(margin + 3).max(10);
    let lines = usize::from(frame.lines).max(2);
    let shapes: Vec<Shape<'_>> = runs
        .iter()
        .map(|run| if run.len() == 1 { Shape::Points(run.as_slice()) } else { Shape::Lines(run.as_slice()) })
        .chain([Shape::Points(&band)])
        .collect();
    // Braille characters have two dots across and four down. textplots draws one dot more than asked for.
    let (dots_x, dots_y) = ((columns * 2 - 2).max(32) as u32, (lines * 4 - 2).max(3) as u32);
    let mut chart = Chart::new_with_y_range(dots_x, dots_y, x0, x1, y0, y1);
    let chart = shapes.iter().fold(&mut chart, |chart, shape| chart.lineplot(shape));
    chart.figures();
    let drawing = chart.frame();
    let rows: Vec<&str> = drawing.lines().take(lines).collect();

    let mut out = String::new();
    let last = flat().next_back().map_or_else(String::new, |p| format!(", last {}", unscaled(p.1)));
    let _ = writeln!(out, "{name}{}{last}", if frame.log { " (log)" } else { "" });
    for (i, row) in rows.iter().enumerate() {
        let label = match i {
            0 => labels.0.as_str(),
            i if i + 1 == rows.len() => labels.1.as_str(),
            _ => "",
        };
        let _ = writeln!(out, "{label:>margin$} │{}", row.trim_end());
    }
    let (left, right) = (number(f64::from(x0)), human::with_unit(&number(f64::from(x1)), frame.x_unit));
    let _ = writeln!(out, "{:>margin$} └{}", "", "─".repeat(columns));
    let gap = columns.saturating_sub(left.chars().count() + right.chars().count()).max(1);
    let _ = write!(out, "{:>margin$}  {left}{}{right}", "", " ".repeat(gap));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> = Frame { columns: 40, lines: 5, log: false, x_max: None, x_unit: "epochs", spread: &[] };

    #[test]
    fn a_rising_line_goes_from_bottom_left_to_top_right() {
        let points: Vec<[f64; 2]> = (0..50).map(|i| [f64::from(i), f64::from(i) / 100.0]).collect();
        let text = plot("train/loss", &points, FRAME);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "train/loss, last 0.4900");
        assert!(lines[1].starts_with("0.4900 │") && lines[5].starts_with("     0 │"), "{text}");
        let marks = |line: &str| {
            let drawn: Vec<char> = line.split('│').nth(1).unwrap_or("").chars().collect();
            (drawn.iter().position(|c| !matches!(c, ' ' | '\u{2800}')), drawn.len())
        };
        assert!(marks(lines[1]).0 > marks(lines[5]).0, "{text}");
        assert_eq!(lines.len(), 8, "{text}");
        assert!(lines.iter().all(|l| l.chars().count() <= 40), "{text}");
        assert!(lines[7].ends_with(" 49 epochs"), "{text}");
    }

    #[test]
    fn gaps_flat_lines_single_points_and_nothing_at_all_are_drawn() {
        assert_eq!(plot("x", &[], FRAME), "x: no point to draw");
        assert_eq!(plot("x", &[[0.0, f64::NAN]], FRAME), "x: no point to draw");
        for points in [vec![[1.0, 2.0]], vec![[0.0, 3.0], [1.0, 3.0]], vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, 2.0]]] {
            let text = plot("x", &points, FRAME);
            let drawn = text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
            assert!(drawn > 0, "{points:?}\n{text}");
        }
        let log = plot("x", &[[0.0, 1.0], [1.0, 0.0], [2.0, 1000.0]], Frame { log: true, ..FRAME });
        assert!(log.contains("1,000 │") && log.starts_with("x (log), last 1,000"), "{log}");
    }
}
