//! Line charts.

use kiln_protocol::figures::with_unit;
use kiln_protocol::wire::{Mark, SeriesInfo};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::action::Action;
use crate::chart::{Plot, Raster, Smoothing, Track};
use crate::colour::Depth;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::curves::{Curves, Panel, SMOOTHING, metric, per_candidate, subject};
use crate::model::detail::Detail;
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let curves = &detail.curves;
    let content = layout::detail(m.size).content;
    if curves.panels.is_empty() {
        return empty(buf, content, m, curves, look);
    }
    let areas = layout::curves(m.size, curves.panels.len(), curves.focus, curves.alone);
    caption(buf, areas.caption, curves, areas.panels.len(), look);
    for (i, area) in &areas.panels {
        if let Some(panel) = curves.panels.get(*i) {
            let focused = *i == curves.focus && areas.panels.len() > 1;
            let titled = areas.caption.is_empty() || areas.panels.len() > 1 || curves.panels.len() == 1;
            draw_panel(buf, *area, curves, panel, titled, focused, look);
        }
    }
}

fn empty(buf: &mut Buffer, area: Rect, m: &Model, curves: &Curves, look: &Look) {
    let key = |action| m.keymap.first_key(action);
    let middle = rows(area, area.height / 2, 1);
    let hidden = curves.series.iter().filter(|s| per_candidate(&s.name)).count();
    if curves.series.is_empty() {
        paint::line_centre(buf, middle, look, &[(Role::Dim, "No points yet: the first ones appear here.")]);
    } else if hidden > 0 && !curves.candidates() {
        let words = format!(" shows the series of single candidates ({hidden}).");
        paint::line_centre(buf, middle, look, &[(Role::Key, &key(Action::PerCandidate)), (Role::Dim, &words)]);
    } else {
        let pick = key(Action::Pick);
        let words = [(Role::Dim, "All series are hidden. "), (Role::Key, &pick), (Role::Dim, " chooses some.")];
        paint::line_centre(buf, middle, look, &words);
    }
}

/// Which charts there are, and what is switched on.
fn caption(buf: &mut Buffer, area: Rect, curves: &Curves, shown: usize, look: &Look) {
    let mut flags = Vec::new();
    if let Some(panel) = curves.focused() {
        if curves.smooth > 0 {
            let how = if curves.median { "median" } else { "smoothed" };
            flags.push(format!("{how} {} %", SMOOTHING[curves.smooth] * 100.0));
        }
        match (panel.log_x, panel.log) {
            (true, true) => flags.push("log x and y".into()),
            (true, false) => flags.push("log x".into()),
            (false, true) => flags.push("log".into()),
            (false, false) => {}
        }
        if curves.clocked.on {
            flags.push("over time".into());
        }
        if panel.zoom.is_some() {
            flags.push("zoomed".into());
        }
    }
    let hidden = curves.series.iter().filter(|s| !curves.shown(&s.name)).count();
    if hidden > 0 {
        flags.push(format!("{hidden} hidden"));
    }
    let flags = flags.join(&format!(" {} ", look.glyphs.separator));
    paint::line_right(buf, area, look, &[(Role::Faint, &flags)]);
    if shown < curves.panels.len() {
        let used = text::width(&flags) as u16 + 2 * u16::from(!flags.is_empty());
        names(buf, Rect { width: area.width.saturating_sub(used), ..area }, curves, look);
    }
}

/// The charts by name, as many as fit, the focused one among them; which one it is where they do not all fit.
fn names(buf: &mut Buffer, area: Rect, curves: &Curves, look: &Look) {
    let titles: Vec<&str> = curves.panels.iter().map(|p| p.title.as_str()).collect();
    let spans = layout::tabs(&titles, curves.focus, area.width);
    if spans.len() < titles.len() && area.width >= 4 * layout::TAB_COUNT {
        let last = spans.last().map_or(0, |s| s.0);
        paint::more(buf, area, look, (curves.focus, titles.len()), (spans[0].0 > 0, last + 1 < titles.len()));
    }
    for (i, from, width) in spans {
        let place = Rect { x: area.x + from, width, ..area };
        let focused = i == curves.focus;
        paint::line(buf, place, look, &[(if focused { Role::Title } else { Role::Faint }, titles[i])]);
        if focused {
            let underlined = look.style(Role::Title).add_modifier(Modifier::UNDERLINED);
            buf.set_style(place.intersection(buf.area), underlined);
        }
    }
}

/// `titled`: whether the legend names what is measured; the caption above does where not all charts are shown.
fn draw_panel(buf: &mut Buffer, area: Rect, curves: &Curves, panel: &Panel, titled: bool, focused: bool, look: &Look) {
    let (legend_area, chart_area) = layout::panel(area);
    let tracks: Vec<(usize, &str, &Track)> = panel
        .series
        .iter()
        .filter_map(|(i, colour)| {
            let name = curves.series.get(*i)?.name.as_str();
            Some((*colour, name, curves.track(name)?))
        })
        .collect();
    let told = legend(buf, legend_area, curves, panel, titled, focused, look);
    let moved: Vec<Option<Track>> = tracks.iter().map(|(_, name, track)| curves.drawn(panel, name, track)).collect();
    let placed =
        tracks.iter().zip(&moved).map(|((colour, _, track), moved)| (*colour, moved.as_ref().unwrap_or(track)));
    let traces: Vec<(usize, &Track)> = placed.collect();
    let plot = Plot { x: curves.axis(panel), ..Plot::new(chart_area, panel.window(), panel.y.scale()) };
    chart(buf, &plot, &traces, curves.unit(panel), curves.smoothing(), look);
    let placed = |mark: &Mark| Mark { x: curves.drawn_x(panel, mark.x), ..mark.clone() };
    marks(buf, &plot, &curves.marks_in(panel).iter().map(placed).collect::<Vec<_>>(), look);
    if let Some(x) = curves.cursor_in(panel) {
        cursor(buf, &plot, &traces, curves.drawn_x(panel, x), look);
        if !told {
            readout(buf, &plot, curves, panel, x, look);
        }
    }
}

/// Owners of bands in a raster begin here; traces lie below.
const BAND: u8 = 32;

/// Draws axes, bands and traces. `unit` is what x counts.
pub fn chart(buf: &mut Buffer, plot: &Plot, traces: &[(usize, &Track)], unit: &str, smooth: Smoothing, look: &Look) {
    let inner = plot.inner.intersection(buf.area);
    if inner.is_empty() {
        return;
    }
    plot.axes_in(buf, unit, look);
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    // Owners: even ones are the points themselves behind a smoothed line, odd ones the lines in full colour.
    let owner = |colour: usize, front: bool| ((colour % 8) as u8) * 2 + 2 + u8::from(front);
    for (colour, track) in traces.iter().rev().filter(|t| !t.1.band().is_empty()) {
        plot.band(&mut raster, track.band(), BAND + (colour % 8) as u8);
    }
    let calm = |track: &Track| smooth.of(track.points(), |x| plot.x.place(x));
    if smooth != Smoothing::Off {
        for (colour, track) in traces {
            plot.trace(&mut raster, track.points(), owner(*colour, false));
        }
    }
    // The first series is the most important one: it is drawn last and covers the others.
    for (colour, track) in traces.iter().rev() {
        match calm(track) {
            Some(points) => plot.trace(&mut raster, &points, owner(*colour, true)),
            None => plot.trace(&mut raster, track.points(), owner(*colour, true)),
        }
    }
    raster.paint(buf, inner, |owner| {
        if owner >= BAND {
            return look.faded(series(usize::from(owner - BAND)));
        }
        let front = owner % 2 == 1;
        let colour = usize::from((owner - 2) / 2);
        if front { look.style(series(colour)) } else { look.style(Role::Grid) }
    });
    if signed(traces.len(), look) {
        signs(buf, plot, traces, look);
    }
    // A few points alone would be lost as dots.
    for (colour, track) in traces.iter().rev().filter(|t| t.1.points().len() * 8 <= usize::from(inner.width)) {
        for cell in track.points().iter().filter_map(|p| plot.cell(*p)) {
            let sign = if signed(traces.len(), look) { sign(*colour, look) } else { look.glyphs.spot };
            buf[cell].set_symbol(sign).set_style(look.style(series(*colour)));
        }
    }
}

/// Whether lines are told apart by signs upon them, as there are no colours.
fn signed(lines: usize, look: &Look) -> bool {
    lines > 1 && look.theme.depth == Depth::None
}

/// The sign of a series where there are no colours.
fn sign(colour: usize, look: &Look) -> &'static str {
    look.glyphs.points[colour % look.glyphs.points.len()]
}

/// Signs along each line, those of different lines at different places.
fn signs(buf: &mut Buffer, plot: &Plot, traces: &[(usize, &Track)], look: &Look) {
    const EVERY: u16 = 16;
    let (inner, n) = (plot.inner, traces.len().min(usize::from(EVERY)) as u16);
    let slack = slack(plot.x.hi - plot.x.lo, inner.width);
    for (place, (colour, track)) in traces.iter().enumerate().rev() {
        let first = place as u16 % n * (EVERY / n) + 2;
        for column in (first..inner.width).step_by(usize::from(EVERY)) {
            let x = plot.x.at((f64::from(column) + 0.5) / f64::from(inner.width));
            if let Some(cell) = track.read(x, slack).and_then(|p| plot.cell(p)) {
                buf[cell].set_symbol(sign(*colour, look)).set_style(look.style(series(*colour)));
            }
        }
    }
}

/// How far beyond its ends a series may be read: a cell.
fn slack(span: f64, cells: u16) -> f64 {
    span / f64::from(cells.max(1))
}

/// Vertical lines where live settings were changed, each with what was set beside its top, where there is room for words.
fn marks(buf: &mut Buffer, plot: &Plot, marks: &[Mark], look: &Look) {
    let mut free = plot.inner.left();
    if plot.inner.intersection(buf.area) != plot.inner {
        return;
    }
    for mark in marks {
        let Some((column, _)) = plot.cell([mark.x, plot.y.lo]) else { continue };
        for row in plot.inner.top()..plot.inner.bottom() {
            let cell = &mut buf[(column, row)];
            if cell.symbol() == " " || cell.symbol() == look.glyphs.grid {
                cell.set_symbol(look.glyphs.mark).set_style(look.style(Role::Warn));
            }
        }
        let name = mark.key.rsplit('.').next().unwrap_or_default();
        let label = format!("{name} {}", mark.value);
        let whole = Rect { x: column + 1, width: (text::width(&label) as u16).min(24), ..plot.inner };
        if whole.x < free || whole.right() > plot.inner.right() {
            continue;
        }
        // Words must not cover the lines that they are about.
        let blank =
            |place: &Rect| place.positions().all(|at| buf[at].symbol() == " " || buf[at].symbol() == look.glyphs.grid);
        if let Some(place) = (0..whole.height).map(|row| rows(whole, row, 1)).find(blank) {
            paint::line(buf, place, look, &[(Role::Warn, &label)]);
            free = whole.right() + 1;
        }
    }
}

/// A vertical line at the cursor; the points it reads are marked.
fn cursor(buf: &mut Buffer, plot: &Plot, traces: &[(usize, &Track)], x: f64, look: &Look) {
    let Some((column, _)) = plot.cell([x, plot.y.lo]) else { return };
    for row in plot.inner.top()..plot.inner.bottom() {
        let cell = &mut buf[(column, row)];
        if cell.symbol() == " " || cell.symbol() == look.glyphs.grid {
            cell.set_symbol(look.glyphs.cursor).set_style(look.style(Role::Faint));
        }
    }
    let slack = slack(plot.x.hi - plot.x.lo, plot.inner.width);
    for (colour, track) in traces.iter().rev() {
        if let Some(cell) = track.read(x, slack).and_then(|p| plot.cell(p)) {
            buf[cell].set_symbol(look.glyphs.points[0]).set_style(look.style(series(*colour)));
        }
    }
}

/// What a series is called in a legend: what tells it from the others of its chart; nothing if nothing has to.
fn called<'a>(panel: &Panel, series: &'a str) -> &'a str {
    // In a group of alike series the last part tells them apart.
    let grouped = metric(series) != panel.metric;
    let name = if grouped { metric(series) } else { subject(series) };
    if name == panel.metric || series == panel.title { "" } else { name }
}

/// The value of a series at the cursor, or its newest one; of a mean with how far what it is the mean of lies apart.
fn value(curves: &Curves, info: &SeriesInfo, cursor: Option<f64>, slack: f64, look: &Look) -> String {
    let track = curves.track(&info.name);
    let point = match cursor {
        Some(x) => track.and_then(|t| t.read(x, slack)),
        None => track.and_then(Track::last),
    };
    let value = point.map(|p| p[1]).or(info.last_y.filter(|_| cursor.is_none()));
    let apart = point.zip(track).and_then(|(p, t)| t.deviation(p[0]));
    let apart = apart.map_or(String::new(), |d| format!(" {} {}", look.glyphs.plus_minus, text::number(d)));
    value.map_or(look.glyphs.none.to_owned(), text::number) + &apart
}

/// What is drawn, with the newest values, or those at the cursor. Returns whether there was room for all.
fn legend(
    buf: &mut Buffer,
    area: Rect,
    curves: &Curves,
    panel: &Panel,
    titled: bool,
    focused: bool,
    look: &Look,
) -> bool {
    let role = if focused { Role::Accent } else { Role::Title };
    let slack = slack(panel.window().span(), area.width);
    let mut parts: Vec<(Role, String)> = Vec::new();
    if titled {
        parts.extend([(role, panel.title.clone()), (Role::Text, "  ".into())]);
    }
    let cursor = curves.cursor_in(panel);
    if let Some(x) = cursor {
        let counted = with_unit(&text::number(x), &panel.unit);
        let time = match curves.unit(panel) == panel.unit {
            true => String::new(),
            false => format!(", {}", text::duration(curves.drawn_x(panel, x))),
        };
        parts.push((Role::Key, format!("at {counted}{time}  ")));
    }
    let room = usize::from(area.width);
    let total = panel.series.len();
    let mut all = true;
    for (n, (i, colour)) in panel.series.iter().enumerate() {
        let Some(info) = curves.series.get(*i) else { continue };
        let name = called(panel, &info.name);
        let part = [
            (series(*colour), format!("{} ", if signed(total, look) { sign(*colour, look) } else { look.glyphs.line })),
            (Role::Dim, if name.is_empty() { String::new() } else { format!("{name} ") }),
            (Role::Text, value(curves, info, cursor, slack, look)),
            (Role::Text, "   ".into()),
        ];
        let wide = |parts: &[(Role, String)]| parts.iter().map(|p| text::width(&p.1)).sum::<usize>();
        let more = total - n;
        // The last part needs no blanks after it; all others leave room to say how many are left out.
        let reserve = if more > 1 { 6 } else { 0 };
        if wide(&parts) + wide(&part[..3]) + reserve > room && n > 0 {
            parts.push((Role::Faint, format!("+{more}")));
            all = false;
            break;
        }
        parts.extend(part);
    }
    paint::words(buf, area, look, &parts);
    all && !area.is_empty()
}

/// The values of all series at the cursor, one a line, on the side of the chart where the cursor is not; as many as there is
/// room for, and how many more.
fn readout(buf: &mut Buffer, plot: &Plot, curves: &Curves, panel: &Panel, x: f64, look: &Look) {
    let inner = plot.inner.intersection(buf.area);
    let slack = slack(panel.window().span(), inner.width);
    let mut lines: Vec<[(Role, String); 3]> = Vec::new();
    let mut silent = 0;
    for (i, colour) in &panel.series {
        let Some(info) = curves.series.get(*i) else { continue };
        if curves.track(&info.name).and_then(|t| t.read(x, slack)).is_none() {
            silent += 1;
            continue;
        }
        let name = called(panel, &info.name);
        let name = if name.is_empty() { info.name.as_str() } else { name };
        let value = value(curves, info, Some(x), slack, look);
        let sign = if signed(panel.series.len(), look) { sign(*colour, look) } else { look.glyphs.line };
        lines.push([(series(*colour), sign.to_owned()), (Role::Dim, name.to_owned()), (Role::Text, value)]);
    }
    let none = if silent > 0 { format!(" {silent} have no point here") } else { String::new() };
    let widest = |part: usize| lines.iter().map(|l| text::width(&l[part].1)).max().unwrap_or(0);
    let (names, values) = (widest(1).min(28), widest(2));
    let width = (names + values + 6).max(text::width(&none)) as u16;
    // It must not hide the chart that it tells of.
    if inner.width < 2 * width || inner.height < 4 {
        return;
    }
    let all = lines.len() + usize::from(silent > 0);
    let height = (all as u16).min(inner.height - 1);
    let shown = if all > usize::from(height) { usize::from(height) - 1 } else { lines.len() };
    let right = plot.x.place(curves.drawn_x(panel, x)).is_none_or(|place| place < 0.5);
    let left_edge = if right { inner.right() - width } else { inner.x };
    let area = Rect { x: left_edge, y: inner.y, width, height };
    paint::blank(buf, area);
    let more = lines.len() - shown;
    let last = if more > 0 { format!(" and {more} more") } else { none };
    for (row, [sign, name, value]) in lines.into_iter().take(shown).enumerate() {
        let parts = [
            (Role::Text, " ".to_owned()),
            sign,
            (name.0, format!(" {}  ", text::left(&name.1, names, look.glyphs.ellipsis))),
            (value.0, text::right(&value.1, values, look.glyphs.ellipsis)),
        ];
        paint::words(buf, rows(area, row as u16, 1), look, &parts);
    }
    if !last.is_empty() && height > 0 {
        paint::line(buf, rows(area, height - 1, 1), look, &[(Role::Faint, &last)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Scale, Window};

    fn drawn(depth: Depth) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, 60, 12));
        let track =
            |from: f64| Track::new((0..100).map(|x| [f64::from(x), from + f64::from(x) / 100.0]).collect(), None);
        let scale = Scale { lo: 0.0, hi: 3.0, log: false };
        let plot = Plot::new(buf.area, Window { from: 0.0, to: 99.0 }, scale);
        chart(
            &mut buf,
            &plot,
            &[(0, &track(0.5)), (1, &track(1.5))],
            "steps",
            Smoothing::Off,
            &Look::plain("dark", depth, false),
        );
        buf.content.iter().map(|c| c.symbol()).collect()
    }

    #[test]
    fn without_colours_lines_are_told_apart_by_signs() {
        let plain = drawn(Depth::None);
        assert!(plain.matches('●').count() >= 3 && plain.matches('▲').count() >= 3, "{plain}");
        let coloured = drawn(Depth::True);
        assert!(!coloured.contains('●') && !coloured.contains('▲'), "{coloured}");
    }
}
