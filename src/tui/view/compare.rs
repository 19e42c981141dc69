//! Runs side by side: the table, the strip, the importance of settings, the front.

use kiln_protocol::compare::{Axis, Comparison, EXPLAINS, FigureRow, Importance, RunRef, Spread, letter, plain};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::chart::{Fit, Plot, Raster, Scale, Window};
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::compare::{Compare, Page, Row};
use crate::text;
use crate::theme::{Role, series};
use crate::view::{overlay_chart, paint};

pub fn draw(buf: &mut Buffer, m: &Model, look: &Look) {
    let Some(compare) = &m.compare else { return };
    let areas = layout::compare(m.size);
    title(buf, areas.title, compare, look);
    tabs(buf, areas.tabs, compare.page, look);
    let Some(data) = compare.data.as_deref() else {
        return waiting(buf, areas.content, compare, look);
    };
    match compare.page {
        Page::Curves => overlay_chart::draw(buf, m, compare, data, look),
        Page::Table => table(buf, m, compare, data, look),
        Page::Strip => strip(buf, m, compare, data, look),
        Page::Importance => importance(buf, m, compare, look),
        Page::Front => front(buf, m, compare, data, look),
    }
}

fn title(buf: &mut Buffer, area: Rect, compare: &Compare, look: &Look) {
    let Some(data) = compare.data.as_deref() else { return };
    let runs = data.groups.iter().map(|g| g.runs.len()).sum::<usize>();
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let mut words = vec![plural(runs, "run")];
    if data.groups.len() < runs {
        words.push(plural(data.groups.len(), "group"));
    }
    words.push(match data.settings.len() {
        1 => "1 setting differs".to_owned(),
        n => format!("{n} settings differ"),
    });
    if !data.left_out.is_empty() {
        words.push(format!("{} left out", data.left_out.len()));
    }
    let words = words.join(&format!(" {} ", look.glyphs.separator));
    paint::line(buf, area, look, &[(Role::Title, "Compare"), (Role::Dim, "   "), (Role::Dim, &words)]);
}

fn tabs(buf: &mut Buffer, area: Rect, page: Page, look: &Look) {
    let titles = Page::ALL.map(Page::title);
    let current = Page::ALL.iter().position(|p| *p == page).unwrap_or(0);
    for (i, from, width) in layout::tabs(&titles, current, area.width) {
        let place = Rect { x: area.x + from, width, ..area };
        paint::line(buf, place, look, &[(if i == current { Role::Title } else { Role::Faint }, titles[i])]);
        if i == current {
            let underlined = look.style(Role::Title).add_modifier(Modifier::UNDERLINED);
            buf.set_style(place.intersection(buf.area), underlined);
        }
    }
}

/// Nothing to see yet, or why there never will be.
fn waiting(buf: &mut Buffer, area: Rect, compare: &Compare, look: &Look) {
    let words = match &compare.problem {
        Some(problem) => problem.as_str(),
        None => "Reading the runs.",
    };
    let width = usize::from(area.width.saturating_sub(4)).clamp(1, 90);
    for (i, line) in text::wrap(words, width).iter().enumerate() {
        paint::line_centre(buf, rows(area, area.height / 2 + i as u16, 1), look, &[(Role::Dim, line)]);
    }
}

/// Cells of a column of the table.
const CELL: (usize, usize) = (11, 24);

/// A sign that says which way a figure is better.
fn better(figure: &FigureRow, look: &Look) -> &'static str {
    match figure.higher_is_better {
        Some(true) => look.glyphs.ascending,
        Some(false) => look.glyphs.descending,
        None => " ",
    }
}

fn table(buf: &mut Buffer, m: &Model, compare: &Compare, data: &Comparison, look: &Look) {
    let areas = layout::compare_table(m.size);
    let list = compare.rows();
    let width = usize::from(areas.list.width);
    let name = |row: &Row<'_>| match row {
        Row::Heading(_) => 0,
        Row::Figure(figure) => text::width(&figure.label()) + 2,
        Row::Setting(key) => text::width(key),
    };
    let names = list.iter().map(name).max().unwrap_or(0).clamp(8, (width / 3).max(8));
    let room = width.saturating_sub(names + 2);
    let cell = (room / data.groups.len().max(1)).saturating_sub(2).clamp(CELL.0, CELL.1);
    let shown = (room / (cell + 2)).max(1);
    let first = compare.column.saturating_sub(shown - 1);
    let groups = || data.groups.iter().enumerate().skip(first).take(shown);
    let e = look.glyphs.ellipsis;
    let mut heading = vec![(Role::Faint, text::left("", names + 2, e))];
    for (i, group) in groups() {
        let (letter, room) = (letter(i), cell.saturating_sub(2));
        heading.push((series(i), text::left(&letter, 2, "")));
        let role = if i == compare.column { Role::Accent } else { Role::Dim };
        heading.push((role, format!("{}  ", text::middle(&group.name, room, e))));
    }
    paint::words(buf, areas.heading, look, &heading);
    if first > 0 || first + shown < data.groups.len() {
        let more = (first > 0, first + shown < data.groups.len());
        paint::more(buf, areas.heading, look, (compare.column, data.groups.len()), more);
    }
    for (i, row) in list.iter().enumerate().skip(compare.table.offset).take(usize::from(areas.list.height)) {
        let area = rows(areas.list, (i - compare.table.offset) as u16, 1);
        if i == compare.table.selected {
            paint::select(buf, area, look);
        }
        let mut parts = Vec::new();
        match row {
            Row::Heading(words) => parts.push((Role::Faint, (*words).to_owned())),
            Row::Figure(figure) => {
                let label = format!("{} {}", better(figure, look), figure.label());
                parts.push((Role::Text, format!("{}  ", text::left(&label, names, e))));
                let best = best(figure);
                for (g, _) in groups() {
                    let spread = figure.groups.get(g).copied().flatten();
                    let words = spread.map_or_else(|| look.glyphs.none.to_owned(), |s| in_words(&s, cell, look));
                    let role = if best == Some(g) { Role::Good } else { Role::Text };
                    parts.push((role, format!("{}  ", text::left(&words, cell, e))));
                }
            }
            Row::Setting(key) => {
                parts.push((Role::Text, format!("{}  ", text::middle(key, names, e))));
                let values = data.settings.get(*key);
                for (g, _) in groups() {
                    let value = values.and_then(|v| v.get(g)).map_or_else(String::new, plain);
                    let role = if value == "-" { Role::Faint } else { Role::Text };
                    parts.push((role, format!("{}  ", text::left(&value, cell, e))));
                }
            }
        }
        paint::words(buf, area, look, &parts);
    }
    paint::scrollbar_beside(buf, areas.list, look, compare.table.offset, list.len());
    if let Some(row) = list.get(compare.table.selected) {
        paint::words(buf, areas.label, look, &about(row, compare.column, data, look));
    }
}

/// The group whose mean is best, if it is known which way that is and another has one too.
fn best(figure: &FigureRow) -> Option<usize> {
    let higher = figure.higher_is_better?;
    let means = figure.groups.iter().enumerate().filter_map(|(i, s)| Some((i, s.as_ref()?.mean)));
    let known: Vec<(usize, f64)> = means.filter(|(_, mean)| mean.is_finite()).collect();
    if known.len() < 2 {
        return None;
    }
    let order = |a: &&(usize, f64), b: &&(usize, f64)| if higher { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) };
    known.iter().max_by(order).map(|(i, _)| *i)
}

/// Mean and, where there is room, deviation.
fn in_words(s: &Spread, cells: usize, look: &Look) -> String {
    let full = format!("{} {} {}", text::number(s.mean), look.glyphs.plus_minus, text::number(s.std));
    if s.count > 1 && text::width(&full) <= cells { full } else { text::number(s.mean) }
}

/// The selected row in full: the mean of the selected group with its deviation, which the table may have no room for, and
/// differences from the first group; or values.
fn about(row: &Row<'_>, group: usize, data: &Comparison, look: &Look) -> Vec<(Role, String)> {
    let gap = format!(" {} ", look.glyphs.separator);
    match row {
        Row::Heading(_) => Vec::new(),
        Row::Figure(figure) => {
            let one = |(i, d): (usize, &Option<kiln_protocol::compare::Difference>)| {
                let d = d.as_ref()?;
                let sign = if d.difference > 0.0 { "+" } else { "" };
                let p = d.chance().map_or_else(String::new, |p| format!(" ({p}, {} pairs)", d.pairs));
                Some(format!("{} - A: {sign}{}{p}", letter(i), text::number(d.difference)))
            };
            let spread = figure.groups.get(group).and_then(Option::as_ref).filter(|s| s.count > 1);
            let own = spread.map(|s| format!("{} {}", letter(group), in_words(s, usize::MAX, look)));
            let all: Vec<String> =
                own.into_iter().chain(figure.against_first.iter().enumerate().filter_map(one)).collect();
            vec![(Role::Title, format!("{}  ", figure.name)), (Role::Dim, all.join(&gap))]
        }
        Row::Setting(key) => {
            let values = data.settings.get(*key).map(|v| v.iter().map(plain).collect::<Vec<_>>()).unwrap_or_default();
            let all: Vec<String> = values.into_iter().enumerate().map(|(i, v)| format!("{} {v}", letter(i))).collect();
            vec![(Role::Title, format!("{key}  ")), (Role::Dim, all.join(&gap))]
        }
    }
}

/// What the page is about; of what follows that, the longest that fits.
fn chosen(buf: &mut Buffer, area: Rect, words: &[(Role, String)], rest: &[&str], look: &Look) {
    let used = paint::words(buf, rows(area, 0, 1), look, words);
    let room = Rect { x: area.x + used, width: area.width - used, ..rows(area, 0, 1) };
    if let Some(rest) = rest.iter().find(|rest| text::width(rest) <= room.width.into()) {
        paint::line(buf, room, look, &[(Role::Dim, rest)]);
    }
}

fn strip(buf: &mut Buffer, m: &Model, compare: &Compare, data: &Comparison, look: &Look) {
    let areas = layout::compare_list(m.size);
    let Some(figure) = compare.chosen() else { return };
    let runs: Vec<RunRef<'_>> = data.runs().collect();
    let (values, axes, order) = (figure.flat(), compare.axes(), compare.order());
    let words = [(Role::Dim, "Runs by ".to_owned()), (Role::Title, figure.label())];
    let rest = [", the best first; columns go from least to greatest", ", the best first"];
    chosen(buf, areas.heading, &words, &rest, look);
    let e = look.glyphs.ellipsis;
    let width = usize::from(areas.list.width);
    let longest = runs.iter().map(|r| text::width(&r.id.0)).max().unwrap_or(0);
    let name = longest.min(if width >= 120 { 32 } else { 20 }).min(width / 2);
    // Figures and settings have longer names than their values; where there is room, they are written out.
    let (figures, cells) = if width >= 120 { (16, 19) } else { (10, 11) };
    let room = width.saturating_sub(3 + name + 2 + figures + 2);
    let shown = room / (cells + 2);
    let first = compare.axis.saturating_sub(shown.saturating_sub(1));
    let view = || axes.iter().enumerate().skip(first).take(shown);
    let mut heading = vec![
        (Role::Faint, text::left("", 3 + name + 2, e)),
        (Role::Faint, format!("{}  ", text::right(end(&figure.name), figures, e))),
    ];
    for (i, axis) in view() {
        let role = if i == compare.axis { Role::Accent } else { Role::Faint };
        heading.push((role, format!("{}  ", text::left(end(&axis.name), cells, e))));
    }
    paint::words(buf, rows(areas.heading, 1, 1), look, &heading);
    for (i, place) in order.iter().enumerate().skip(compare.strip.offset).take(usize::from(areas.list.height)) {
        let area = rows(areas.list, (i - compare.strip.offset) as u16, 1);
        if i == compare.strip.selected {
            paint::select(buf, area, look);
        }
        let run = runs[*place];
        let value = values[*place].map_or_else(|| look.glyphs.none.to_owned(), text::number);
        let mut parts = vec![
            (series(run.group), text::left(&letter(run.group), 3, "")),
            (Role::Text, format!("{}  ", text::middle(&run.id.0, name, e))),
            (Role::Title, format!("{}  ", text::right(&value, figures, e))),
        ];
        for (_, axis) in view() {
            parts.extend(track(axis, *place, run.group, cells, look));
            parts.push((Role::Text, "  ".into()));
        }
        paint::words(buf, area, look, &parts);
    }
    paint::scrollbar_beside(buf, areas.list, look, compare.strip.offset, order.len());
    if let Some(axis) = axes.get(compare.axis) {
        let here = order.get(compare.strip.selected).and_then(|place| axis.words.get(*place));
        let here = here.filter(|w| !w.is_empty()).map_or_else(|| "none".to_owned(), Clone::clone);
        let by = if axis.log { ", by ratio" } else { "" };
        let range = format!("  {} to {}{by}; here ", axis.ends[0], axis.ends[1]);
        let words = [(Role::Accent, axis.name.clone()), (Role::Dim, range), (Role::Text, here)];
        paint::words(buf, rows(areas.label, 1, 1), look, &words);
        let more = (first > 0, first + shown < axes.len());
        if more.0 || more.1 {
            paint::more(buf, rows(areas.label, 0, 1), look, (compare.axis, axes.len()), more);
        }
    }
}

/// The last part of a dotted key, which tells it apart in few cells.
fn end(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// A line with a point where the run's value lies.
fn track(axis: &Axis, place: usize, group: usize, cells: usize, look: &Look) -> Vec<(Role, String)> {
    let Some(at) = axis.places.get(place).copied().flatten() else {
        return vec![(Role::Faint, text::left(look.glyphs.none, cells, ""))];
    };
    let last = cells.saturating_sub(1);
    let at = (at.clamp(0.0, 1.0) * last as f64).round() as usize;
    let line = |n: usize| look.glyphs.separator.repeat(n);
    let sign = look.glyphs.points[group % look.glyphs.points.len()];
    vec![(Role::Grid, line(at)), (series(group), sign.to_owned()), (Role::Grid, line(last - at))]
}

fn importance(buf: &mut Buffer, m: &Model, compare: &Compare, look: &Look) {
    let areas = layout::compare_list(m.size);
    let words = [(Role::Dim, "What matters for ".to_owned()), (Role::Title, compare.figure.clone())];
    let rest = [": loss of a random forest when it is shuffled", ": loss when it is shuffled"];
    chosen(buf, areas.heading, &words, &rest, look);
    let Some(weighed) = compare.weights() else {
        return say(buf, areas.list, "Growing trees.", look);
    };
    let Some(found) = &weighed.importance else {
        return say(buf, areas.list, &weighed.why_not, look);
    };
    weights(buf, areas, compare, found, look);
}

fn say(buf: &mut Buffer, area: Rect, words: &str, look: &Look) {
    let width = usize::from(area.width.saturating_sub(4)).clamp(1, 90);
    for (i, line) in text::wrap(words, width).iter().enumerate() {
        paint::line_centre(buf, rows(area, area.height / 3 + i as u16, 1), look, &[(Role::Dim, line)]);
    }
}

fn weights(buf: &mut Buffer, areas: layout::CompareList, compare: &Compare, found: &Importance, look: &Look) {
    let e = look.glyphs.ellipsis;
    let width = usize::from(areas.list.width);
    let label = |keys: &[String]| keys.join(" + ");
    let longest = found.weights.iter().map(|w| text::width(&label(&w.keys))).max().unwrap_or(0);
    const FIGURES: usize = 16;
    let trend = if width >= 76 { 20 } else { 0 };
    let name = longest.clamp(8, 44).min(width.saturating_sub(FIGURES + 2) / 2);
    let bar = width.saturating_sub(name + 2 + FIGURES + 2 + trend).min(60);
    let mut heading = vec![
        (Role::Faint, format!("{}  ", text::left("setting", name, e))),
        (Role::Faint, format!("{}  ", text::left("weight", FIGURES, e))),
        (Role::Faint, text::left("", bar, e)),
    ];
    if trend > 0 {
        heading.push((Role::Faint, "  where it is higher".into()));
    }
    paint::words(buf, rows(areas.heading, 1, 1), look, &heading);
    let most = found.weights.iter().map(|w| w.loss).fold(0.0, f64::max);
    let noise = found.explained < EXPLAINS;
    let shown = found.weights.iter().enumerate().skip(compare.weights.offset).take(usize::from(areas.list.height));
    for (i, weight) in shown {
        let area = rows(areas.list, (i - compare.weights.offset) as u16, 1);
        if i == compare.weights.selected {
            paint::select(buf, area, look);
        }
        let share = if most > 0.0 { (weight.loss / most).max(0.0) } else { 0.0 };
        let (done, rest) = paint::bar(bar as u16, share, look);
        let figures = format!("{:.3} {} {:.3}", weight.loss, look.glyphs.plus_minus, weight.std);
        let mut parts = vec![
            (Role::Text, format!("{}  ", text::middle(&label(&weight.keys), name, e))),
            (Role::Text, format!("{}  ", text::left(&figures, FIGURES, e))),
            (if noise { Role::Faint } else { Role::Bar }, done),
            (Role::BarTrack, rest),
        ];
        if trend > 0 {
            parts.push((Role::Dim, format!("  {}", direction(weight.trend))));
        }
        paint::words(buf, area, look, &parts);
    }
    paint::scrollbar_beside(buf, areas.list, look, compare.weights.offset, found.weights.len());
    let share = text::percent(found.explained.clamp(0.0, 1.0));
    let words =
        format!("The forest explains {share} of the variance of {} runs, each unseen by its trees.", found.runs);
    paint::line(buf, rows(areas.label, 0, 1), look, &[(Role::Dim, &words)]);
    if noise {
        let words = "That is nothing: these weights are noise. More runs may tell more.";
        paint::line(
            buf,
            rows(areas.label, 1, 1),
            look,
            &[(Role::Warn, look.glyphs.warning), (Role::Warn, " "), (Role::Warn, words)],
        );
    } else if let Some(weight) = found.weights.get(compare.weights.selected).filter(|w| w.keys.len() > 1) {
        let words = format!("{} were only ever changed together.", weight.keys.join(", "));
        paint::line(buf, rows(areas.label, 1, 1), look, &[(Role::Dim, &words)]);
    }
}

/// What the figure does where a setting is higher.
fn direction(trend: Option<f64>) -> String {
    match trend {
        None => String::new(),
        Some(t) if t.abs() < 0.1 => "no trend".into(),
        Some(t) if t > 0.0 => format!("higher (tau {t:.2})"),
        Some(t) => format!("lower (tau {t:.2})"),
    }
}

/// Nice numbers around values, as an axis.
fn scale(values: impl Iterator<Item = f64>) -> Scale {
    let bounds = values.fold(None, |b, v| Some(b.map_or((v, v), |(lo, hi): (f64, f64)| (lo.min(v), hi.max(v)))));
    let mut fit = Fit::default();
    fit.follow(bounds, false);
    fit.scale()
}

fn front(buf: &mut Buffer, m: &Model, compare: &Compare, data: &Comparison, look: &Look) {
    let areas = layout::compare_list(m.size);
    let points = compare.points();
    let picture = Rect { y: areas.heading.bottom().min(areas.list.y), ..areas.list };
    let [across, up] = look.glyphs.axes;
    let front = compare.weights().map_or(&[][..], |w| w.front.as_slice());
    let words = [
        (Role::Title, format!("{up} {}", compare.figure)),
        (Role::Dim, " against ".to_owned()),
        (Role::Title, format!("{across} {}", compare.against)),
    ];
    let counts = format!("   {} of {}", front.len(), points.len());
    let rest = [format!("{counts} runs that no other beats in both"), format!("{counts} unbeaten in both"), counts];
    chosen(buf, areas.heading, &words, &rest.each_ref().map(String::as_str), look);
    if points.is_empty() {
        let words = if compare.against.is_empty() {
            "The runs have one figure alone: nothing to hold it against.".to_owned()
        } else {
            format!("No run has both {} and {}.", compare.figure, compare.against)
        };
        return say(buf, areas.list, &words, look);
    }
    let x = scale(points.iter().map(|p| p.1[0]));
    let plot = Plot::new(picture, Window { from: x.lo, to: x.hi }, scale(points.iter().map(|p| p.1[1])));
    let inner = plot.inner.intersection(buf.area);
    plot.axes(buf, look);
    let mut raster = Raster::new(inner.width, inner.height, look.glyphs.braille);
    let on_front: Vec<[f64; 2]> = points.iter().filter(|p| front.contains(&p.0)).map(|p| p.1).collect();
    plot.trace(&mut raster, &on_front, 1);
    raster.paint(buf, inner, |_| look.style(Role::Faint));
    let runs: Vec<RunRef<'_>> = data.runs().collect();
    let selected = compare.front.selected.min(points.len() - 1);
    let others = (0..points.len()).filter(|i| *i != selected);
    // Those on the front cover the others, and the selected one all.
    let behind = others.clone().filter(|i| !front.contains(&points[*i].0));
    let ahead = others.filter(|i| front.contains(&points[*i].0));
    for i in behind.chain(ahead).chain([selected]) {
        let (place, at) = points[i];
        let Some((x, y)) = plot.cell(at) else { continue };
        let group = runs[place].group;
        let style = look.style(series(group));
        let style = if front.contains(&place) { style.add_modifier(Modifier::BOLD) } else { style };
        let style = if i == selected { paint::reversed(style) } else { style };
        buf[(x, y)].reset();
        buf[(x, y)].set_symbol(look.glyphs.points[group % look.glyphs.points.len()]).set_style(style);
    }
    let (place, [x, y]) = points[selected];
    let run = runs[place];
    let won = if front.contains(&place) { format!("  {} on the front", look.glyphs.winner) } else { String::new() };
    let words = [
        (series(run.group), format!("{} ", letter(run.group))),
        (Role::Text, run.id.0.clone()),
        (Role::Dim, format!("   {up} {}   {across} {}", text::number(y), text::number(x))),
        (Role::Good, won),
    ];
    paint::words(buf, rows(areas.label, 1, 1), look, &words);
}
