//! One run: what it is doing, how far it is, and its tabs.

use kiln_protocol::{RunState, RunSummary, View};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::detail::{Detail, Tab};
use crate::model::figure::Pane;
use crate::model::runs::doing;
use crate::model::{Link, Model, pages};
use crate::text;
use crate::theme::Role;
use crate::view::runs::{facts, state_sign};
use crate::view::{
    blocks, candidates, curves, detections, histogram, images, inspect, jobs, layers, lines, log, matrix, paint, past,
    picture,
};

pub fn draw(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let areas = layout::detail(m.size);
    if let Some(run) = m.runs.get(&detail.id) {
        title(buf, m, areas, run, look);
        progress(buf, m, areas.progress, run, look);
    }
    tabs(buf, areas.tabs, detail, look);
    let content = areas.content;
    if !detail.loaded {
        let what = if matches!(m.link, Link::Up { .. }) { "Loading" } else { "Waiting for the engine" };
        paint::line_centre(buf, rows(content, content.height / 2, 1), look, &[(Role::Dim, what)]);
        return;
    }
    let width = usize::from(content.width);
    match &detail.tab {
        Tab::Jobs => jobs::draw(buf, m, detail, look),
        Tab::Curves => curves::draw(buf, m, detail, look),
        Tab::Log => log::draw(buf, m, detail, look),
        Tab::Settings => {
            let lines = pages::settings(&detail.spec, &detail.knobs);
            text_page(buf, content, look, &lines, detail.settings.top);
        }
        Tab::Outcome => {
            let lines =
                detail.outcome.as_ref().map(|o| pages::outcome(o, width, detail.outcome_scroll.left, look.glyphs));
            text_page(buf, content, look, &lines.unwrap_or_default(), detail.outcome_scroll.top);
        }
        Tab::View(_) if detail.inspect.is_some() => inspect::draw(buf, m, detail, look),
        Tab::View(name) => {
            let Some(view) = detail.view(name) else { return };
            let blank = Pane::default();
            let pane = detail.panes.get(name).unwrap_or(&blank);
            match view {
                View::Clusters(clusters) => picture::clusters(buf, content, clusters, pane, true, look),
                View::Scatter(scatter) => picture::scatter(buf, content, scatter, pane, true, look),
                View::Candidates(table) => candidates::draw(buf, m, table, pane, look),
                View::Matrix(values) => matrix::draw(buf, m, values, pane, look),
                View::Table(table) => {
                    let lines = pages::table(table, width, pane.scroll.left, look.glyphs);
                    text_page(buf, content, look, &lines, pane.scroll.top);
                }
                View::BlockImportance(map) => blocks::draw(buf, m, map, pane, look),
                View::Lines(curves) => lines::draw(buf, m, curves, pane, look),
                View::Histogram(panels) if pane.over_time => {
                    past::draw(buf, m, content, panels, detail.past.states(name), pane, look);
                }
                View::Histogram(panels) => histogram::draw(buf, content, panels, pane, true, look),
                View::Images(pictures) => images::draw(buf, content, pictures, pane, (true, m.overlay.is_none()), look),
                View::Layers(table) => layers::draw(buf, content, table, pane, look),
                View::Detections(found) => detections::draw(buf, m, found, pane, look),
            }
        }
    }
}

fn text_page(buf: &mut Buffer, area: Rect, look: &Look, lines: &[pages::Line], top: usize) {
    paint::page(buf, area, look, lines, top);
    paint::scrollbar_beside(buf, area, look, top, lines.len());
}

/// State and what is being done; the judged figure.
fn title(buf: &mut Buffer, m: &Model, areas: layout::DetailAreas, run: &RunSummary, look: &Look) {
    let (role, sign) = state_sign(run.state, look.glyphs);
    let what = match (&m.detail, run.state) {
        // The verdict is what an ended run has to say.
        (Some(Detail { outcome: Some(outcome), .. }), RunState::Completed) => outcome.verdict.as_str(),
        _ => doing(run),
    };
    let state = format!("{sign} {}", run.state);
    let best = figure(m, run);
    if areas.figure.is_empty() {
        let mut right = 0;
        if let Some((value, kind, name)) = &best {
            // The figure keeps its place, and what kind it is, beside that of the verdict; its name gives way to what the run
            // is doing.
            let room = (usize::from(areas.title.width) / 2).saturating_sub(text::width(value) + kind.len() + 2);
            let name = match text::width(name) {
                wide if wide <= room => name.clone(),
                _ if room >= 10 => text::middle(name, room, look.glyphs.ellipsis).trim_end().to_owned(),
                _ => String::new(),
            };
            let words = format!("{}{}", [*kind, &name].join(" ").trim_end(), " ");
            right = (text::width(value) + text::width(&words)) as u16 + 2;
            paint::line_right(buf, areas.title, look, &[(Role::Dim, &words), (Role::Figure, value)]);
        }
        let left = Rect { width: areas.title.width.saturating_sub(right), ..areas.title };
        paint::line(buf, left, look, &[(role, &state), (Role::Text, "  "), (Role::Text, what)]);
        return;
    }
    let head = if run.title.is_empty() { &run.preset } else { &run.title };
    paint::line(buf, rows(areas.title, 0, 1), look, &[(Role::Title, head)]);
    paint::line(buf, rows(areas.title, 1, 1), look, &[(role, &state), (Role::Text, "  "), (Role::Text, what)]);
    let mut details = facts(m, run, look);
    if let Some(host) = &run.host {
        details.push_str(&format!(" {} {host}", look.glyphs.separator));
    }
    paint::line(buf, rows(areas.title, 2, 1), look, &[(Role::Dim, &details)]);
    paint::line(buf, rows(areas.title, 3, 1), look, &[(Role::Faint, &detail_folder(m))]);
    if let Some((value, kind, name)) = &best {
        let words = format!("{kind} {name}");
        paint::line_right(buf, rows(areas.figure, 0, 1), look, &[(Role::Dim, &words)]);
        match paint::large(value).filter(|_| look.glyphs.braille) {
            Some(lines) => {
                for (i, line) in lines.iter().enumerate() {
                    paint::line_right(buf, rows(areas.figure, 1 + i as u16, 1), look, &[(Role::Figure, line)]);
                }
            }
            None => paint::line_right(buf, rows(areas.figure, 1, 1), look, &[(Role::Figure, value)]),
        }
    }
}

/// The figure of a run that stands for it, what kind it is, and its name: the best that it has reached; of an experiment that is over, the
/// mean of the arm that is best by its foremost figure.
fn figure(m: &Model, run: &RunSummary) -> Option<(String, &'static str, String)> {
    if run.jobs.is_none() {
        return run.best.as_ref().map(|b| (text::number(b.value), "best", b.name.clone()));
    }
    let outcome = m.detail.as_ref().filter(|d| d.id == run.id)?.outcome.as_ref()?;
    let first = outcome.headline.first()?;
    let kind = |name: &str| name.rsplit('/').nth(1).map(str::to_owned);
    let same = outcome.headline.iter().filter(|f| kind(&f.name) == kind(&first.name));
    let known = same.filter_map(|f| Some((&f.name, outcome.figures.get(&f.name).copied().flatten()?)));
    let best = known.reduce(|best, next| match first.higher_is_better {
        Some(true) if next.1 > best.1 => next,
        Some(false) if next.1 < best.1 => next,
        _ => best,
    });
    let (name, value) = best?;
    let of = name.strip_suffix("/mean")?;
    let words = match of.rsplit_once('/') {
        Some((arm, figure)) => format!("{figure} of {arm}"),
        None => of.to_owned(),
    };
    Some((text::number(value), "mean", words))
}

fn detail_folder(m: &Model) -> String {
    m.detail.as_ref().map(|d| d.folder.clone()).unwrap_or_default()
}

fn progress(buf: &mut Buffer, m: &Model, area: Rect, run: &RunSummary, look: &Look) {
    let left = run.eta.filter(|_| run.state == RunState::Running).map(|s| format!("  {} left", text::duration(s)));
    let took = run.took(m.now).map(|took| format!("  {}", text::duration(took)));
    // Right-aligned in a fixed width, so that the bar's end does not wander with the estimate.
    let words = text::left(&left.or(took).unwrap_or_default(), 18, look.glyphs.ellipsis);
    let percent = format!("  {:>4}", text::percent(run.progress.fraction()));
    let room = area.width.saturating_sub((text::width(&words) + text::width(&percent)) as u16);
    let (done, rest) = paint::bar(room, run.progress.fraction(), look);
    let role = if run.state.is_live() { Role::Bar } else { Role::Faint };
    let parts = [(role, done.as_str()), (Role::BarTrack, &rest), (Role::Title, &percent), (Role::Dim, &words)];
    paint::line(buf, area, look, &parts);
}

fn tabs(buf: &mut Buffer, area: Rect, detail: &Detail, look: &Look) {
    let tabs = detail.tabs();
    let titles = detail.titles();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let current = tabs.iter().position(|t| *t == detail.tab).unwrap_or(0);
    let spans = layout::tabs(&titles, current, area.width);
    if spans.len() < titles.len() && area.width >= 4 * layout::TAB_COUNT {
        let (first, last) = (spans.first().map_or(0, |s| s.0), spans.last().map_or(0, |s| s.0));
        paint::more(buf, area, look, (current, titles.len()), (first > 0, last + 1 < titles.len()));
    }
    for (i, from, width) in spans {
        let place = Rect { x: area.x + from, width, ..area };
        let role = if i == current { Role::Accent } else { Role::Dim };
        paint::line(buf, place, look, &[(role, titles[i])]);
        if i == current {
            let style = look
                .style(Role::Accent)
                .add_modifier(ratatui::style::Modifier::UNDERLINED | ratatui::style::Modifier::BOLD);
            buf.set_style(place.intersection(buf.area), style);
        }
    }
}
