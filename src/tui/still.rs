//! Views as text, for the command line: the drawings of the full screen without the screen.

use crossterm::style::Colored;
use kiln_protocol::View;
use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::chart::{Fit, Plot, Window, scale};
use crate::colour::Depth;
use crate::layout;
use crate::look::Look;
use crate::model::figure::Pane;
use crate::text;
use crate::theme;
use crate::view::{histogram, images, overlay_chart, picture};

/// Lines of a drawing that has no size of its own.
const LINES: u16 = 24;

/// Most lines of a drawing that takes what it needs.
const MOST: u16 = 400;

/// A view drawn in a terminal of that width, without trailing blanks and lines; colours as the look has them. `None` for kinds
/// that are no drawing or need a cursor to be read.
pub fn still(view: &View, width: u16, look: &Look) -> Option<String> {
    let mut pane = Pane::default();
    let height = match view {
        View::Histogram(histograms) => {
            let n = histograms.panels.len();
            let all = |height: &u16| layout::histograms(body(width, *height), n, 0, false).len() >= n;
            (LINES..MOST).step_by(4).find(all).unwrap_or(MOST)
        }
        View::Images(images) => {
            let labelled = images.pictures.iter().any(|p| !p.label.is_empty());
            let pages = |height: &u16| {
                let body = body(width, *height);
                pane.fit_pictures(images, (body.width, body.height), None);
                pane.sheet.page().is_none_or(|page| page.pages <= 1 && page.grid.labels == labelled)
            };
            (LINES..MOST).step_by(4).find(pages).unwrap_or(MOST)
        }
        View::Clusters(_) | View::Scatter(_) => {
            pane.follow(view);
            LINES
        }
        _ => return None,
    };
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    match view {
        View::Histogram(histograms) => histogram::draw(&mut buf, area, histograms, &pane, false, look),
        View::Images(images) => images::draw(&mut buf, area, images, &pane, (false, false), look),
        View::Clusters(clusters) => picture::clusters(&mut buf, area, clusters, &pane, false, look),
        View::Scatter(scatter) => picture::scatter(&mut buf, area, scatter, &pane, false, look),
        _ => return None,
    }
    Some(written(&buf, look.theme.depth > Depth::None))
}

/// A curve of one run, or the mean of several, among others.
#[derive(Clone, Debug)]
pub struct OverlaidLine<'a> {
    /// Decides the colour.
    pub group: usize,
    /// What stands at its end, for where colours are not seen.
    pub letter: String,
    /// `[x, y]`, x rising.
    pub points: &'a [[f64; 2]],
}

/// Curves over one another in one chart. `unit` is what x counts.
pub fn overlaid(lines: &[OverlaidLine<'_>], unit: &str, log: bool, width: u16, height: u16, look: &Look) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    let xs = || lines.iter().flat_map(|l| l.points.iter().map(|p| p[0])).filter(|x| x.is_finite());
    let (first, last) = (xs().fold(0.0, f64::min), xs().fold(0.0, f64::max));
    let end = scale::end_beyond(last);
    let window = Window { from: first, to: if end > first { end } else { first + 1.0 } };
    let ys = lines.iter().flat_map(|l| l.points.iter().map(|p| p[1])).filter(|y| y.is_finite() && (!log || *y > 0.0));
    let bounds = ys.fold(None, |b, y| Some(b.map_or((y, y), |(lo, hi): (f64, f64)| (lo.min(y), hi.max(y)))));
    let mut fit = Fit::default();
    fit.follow(bounds, log);
    let plot = Plot::new(area, window, fit.scale());
    let drawn: Vec<overlay_chart::Line<'_>> = lines
        .iter()
        .map(|l| overlay_chart::Line {
            role: theme::series(l.group),
            letter: &l.letter,
            points: l.points,
            band: &[],
            strong: false,
        })
        .collect();
    overlay_chart::chart(&mut buf, &plot, &drawn, unit, look);
    written(&buf, look.theme.depth > Depth::None)
}

fn body(width: u16, height: u16) -> Rect {
    layout::figure(Rect::new(0, 0, width, height)).body
}

/// A buffer as lines; with escape sequences for styles, if wanted.
fn written(buf: &Buffer, styled: bool) -> String {
    let mut lines: Vec<String> = Vec::new();
    for y in 0..buf.area.height {
        let cells: Vec<_> = (0..buf.area.width).map(|x| &buf[(x, y)]).collect();
        let seen = |cell: &&&Cell| cell.symbol() != " " || cell.bg != Color::Reset;
        let end = cells.len() - cells.iter().rev().take_while(|cell| !seen(cell)).count();
        let (mut line, mut last, mut skip) = (String::new(), Style::reset(), 0);
        for cell in &cells[..end] {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = text::width(cell.symbol()).saturating_sub(1);
            if styled && cell.style() != last {
                last = cell.style();
                line.push_str(&sequence(last));
            }
            line.push_str(cell.symbol());
        }
        if sequence(last) != RESET {
            line.push_str(RESET);
        }
        lines.push(line);
    }
    let end = lines.iter().rposition(|l| !l.is_empty()).map_or(0, |i| i + 1);
    lines[..end].join("\n")
}

const RESET: &str = "\u{1b}[0m";

/// What switches a terminal to a style, whatever was before.
fn sequence(style: Style) -> String {
    let flags = [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::ITALIC, ";3"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::REVERSED, ";7"),
    ];
    let flags: String = flags.into_iter().filter(|f| style.add_modifier.contains(f.0)).map(|f| f.1).collect();
    let known = |colour: Option<Color>| colour.filter(|c| *c != Color::Reset).map(IntoCrossterm::into_crossterm);
    let colours = known(style.fg).map(Colored::ForegroundColor).into_iter();
    let colours = colours.chain(known(style.bg).map(Colored::BackgroundColor)).map(|c| format!(";{c}"));
    format!("\u{1b}[0{flags}{}m", colours.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture_search, fixture_training};

    #[test]
    fn without_colour_a_drawing_is_plain_text_of_its_width() {
        for ascii in [false, true] {
            let look = Look::plain("dark", Depth::None, ascii);
            for (name, view) in fixture_training::views() {
                for width in [20, 40, 80, 200] {
                    let Some(drawn) = still(&view, width, &look) else {
                        assert_eq!(name, "Layers");
                        continue;
                    };
                    assert!(!drawn.contains('\u{1b}') && drawn.lines().count() > 3, "{drawn}");
                    assert!(drawn.lines().all(|l| text::width(l) <= usize::from(width)), "{drawn}");
                }
            }
        }
    }

    #[test]
    fn all_panels_and_pictures_are_drawn_however_long_that_becomes() {
        let look = Look::plain("dark", Depth::None, true);
        let weights = View::Histogram(fixture_training::weights());
        let drawn = still(&weights, 60, &look).unwrap();
        assert!((1..=6).all(|i| drawn.contains(&format!("conv{i}"))), "{drawn}");
        let pairs = still(&View::Images(fixture_training::pairs()), 40, &look).unwrap();
        assert!((0..6).all(|i| pairs.contains(&format!("{i} before"))), "{pairs}");
    }

    #[test]
    fn points_are_drawn_with_their_groups_and_no_cursor() {
        let look = Look::plain("dark", Depth::None, true);
        for (name, view) in fixture_search::views() {
            let View::Scatter(scatter) = &view else { continue };
            let drawn = still(&view, 80, &look).unwrap();
            assert!(drawn.contains(&scatter.title) && drawn.contains(&scatter.note), "{name}: {drawn}");
            assert!(scatter.groups.iter().all(|g| drawn.contains(&g.name)), "{name}: {drawn}");
            assert!(drawn.lines().all(|l| text::width(l) <= 80), "{name}: {drawn}");
            // A cursor would name its point in the last line.
            let label = &scatter.groups[0].labels[0];
            assert!(label.is_empty() || !drawn.contains(label.as_str()), "{name}: {drawn}");
        }
    }

    #[test]
    fn colours_are_switched_on_and_off_again() {
        let look = Look::plain("dark", Depth::True, false);
        let drawn = still(&View::Images(fixture_training::samples()), 80, &look).unwrap();
        for line in drawn.lines().filter(|l| l.contains('\u{1b}')) {
            assert!(line.ends_with(RESET), "{line:?}");
        }
        assert!(drawn.contains("\u{1b}[0;38;2;"), "half-blocks in true colour");
        let style = Style::new().fg(Color::Indexed(7)).bg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::BOLD);
        assert_eq!(sequence(style), "\u{1b}[0;1;38;5;7;48;2;1;2;3m");
        assert_eq!(sequence(Style::reset()), RESET);
    }
}
