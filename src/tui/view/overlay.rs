//! What lies over a screen: help, the choice of series, questions.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::action::Action;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::detail::Detail;
use crate::model::list::Scroll;
use crate::model::retrain::Retrain;
use crate::model::{Model, Question, pages, tour};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

pub fn help(buf: &mut Buffer, m: &Model, scroll: Scroll, look: &Look) {
    let inner = paint::boxed(buf, layout::help(m.size), look, "Keys");
    let lines = pages::help(usize::from(inner.width), &m.screen_contexts(), &m.keymap);
    paint::page(buf, inner, look, &lines, scroll.top);
    // On the frame, where there is one.
    let bar = Rect { width: (inner.width + 2).min(buf.area.right() - inner.x), ..inner };
    paint::scrollbar(buf, bar, look, scroll.top, lines.len());
}

/// Messages of late in full, the newest first.
pub fn messages(buf: &mut Buffer, m: &Model, scroll: Scroll, look: &Look) {
    let inner = paint::boxed(buf, layout::help(m.size), look, "Messages");
    let lines = pages::messages(m, usize::from(inner.width), look.glyphs);
    paint::page(buf, inner, look, &lines, scroll.top);
    let bar = Rect { width: (inner.width + 2).min(buf.area.right() - inner.x), ..inner };
    paint::scrollbar(buf, bar, look, scroll.top, lines.len());
}

pub fn confirm(buf: &mut Buffer, m: &Model, question: &Question, look: &Look) {
    let (title, text, yes) = question.words(m);
    let (area, lines) = layout::question(m.size, &text);
    let inner = paint::boxed(buf, area, look, title);
    let keys = [
        (Role::Key, "y"),
        (Role::Text, " "),
        (Role::Text, yes),
        (Role::Dim, "     "),
        (Role::Key, "n"),
        (Role::Dim, " leave it"),
    ];
    // On a screen too small for both, the keys matter more than the words.
    let room = usize::from(inner.height).saturating_sub(1);
    for (i, line) in lines.iter().take(room).enumerate() {
        paint::line(buf, rows(inner, i as u16, 1), look, &[(Role::Text, line)]);
    }
    paint::line(buf, rows(inner, inner.height.saturating_sub(1), 1), look, &keys);
}

/// A page of the tour, and how to turn it.
pub fn tour(buf: &mut Buffer, m: &Model, page: usize, look: &Look) {
    let title = format!("Tour {} of {}", page + 1, tour::LEN);
    let inner = paint::boxed(buf, layout::tour(m.size), look, &title);
    // On a screen too small for all, the keys matter more than the words.
    let bottom = rows(inner, inner.height.saturating_sub(1), 1);
    let words = rows(inner, 0, inner.height.saturating_sub(2).max(1));
    paint::line(buf, rows(words, 0, 1), look, &[(Role::Title, tour::title(page))]);
    let lines = tour::lines(m, page, usize::from(words.width), look.glyphs.enter);
    paint::page(buf, layout::below(words, 2), look, &lines, 0);
    let mut parts: Vec<(Role, String)> = Vec::new();
    let last = page + 1 == tour::LEN;
    for (action, words) in [
        (Action::NextPage, if last { " done     " } else { " next     " }),
        (Action::PrevPage, " back     "),
        (Action::CloseTour, " skip"),
    ] {
        if action == Action::PrevPage && page == 0 || action == Action::CloseTour && last {
            continue;
        }
        let key = m.keymap.first_key(action);
        let key = if key == "enter" { look.glyphs.enter.to_owned() } else { key };
        parts.extend([(Role::Key, key), (Role::Dim, words.to_owned())]);
    }
    let used = paint::words(buf, bottom, look, &parts);
    let dots = |i: usize| if i == page { (Role::Accent, look.glyphs.on) } else { (Role::Faint, look.glyphs.off) };
    let dots: Vec<(Role, &str)> = (0..tour::LEN).map(dots).collect();
    if usize::from(bottom.width.saturating_sub(used)) > dots.len() {
        paint::line_right(buf, bottom, look, &dots);
    }
}

/// Before a candidate is trained in full: what, for how long; the epochs are typed in the status bar.
pub fn retrain(buf: &mut Buffer, m: &Model, question: &Retrain, look: &Look) {
    let width = 64.min(m.size.width);
    let room = usize::from(width.saturating_sub(4)).max(1);
    let origin = m.detail.as_ref().map(|d| d.id.0.as_str()).unwrap_or_default();
    let what = format!(
        "Train candidate {:03} of {origin} in full, from scratch, with the data and optimiser of its run?",
        question.candidate
    );
    let mut lines: Vec<(Role, String)> = text::wrap(&what, room).into_iter().map(|l| (Role::Text, l)).collect();
    lines.push((Role::Dim, question.arch.clone()));
    lines.push((Role::Text, String::new()));
    let epochs = format!("epochs   {}", question.epochs);
    lines.push((Role::Title, epochs));
    let (role, words) = match (&question.request, question.words()) {
        (Err(said), _) | (_, Some(Err(said))) => (Role::Warn, said.clone()),
        (_, Some(Ok(words))) => (Role::Dim, words.clone()),
        (_, None) => (Role::Faint, format!("estimating{}", look.glyphs.ellipsis)),
    };
    // Two lines whatever is said: the box must not change its size while one types.
    let mut said = text::wrap(&words, room);
    said.resize(2, String::new());
    lines.extend(said.into_iter().map(|l| (role, l)));
    let inner = paint::boxed(buf, layout::dialog(m.size, width, lines.len() as u16 + 4), look, "Full training");
    let keys = [
        (Role::Key, look.glyphs.enter),
        (Role::Text, " start"),
        (Role::Dim, "     "),
        (Role::Key, "0-9"),
        (Role::Dim, " epochs     "),
        (Role::Key, "esc"),
        (Role::Dim, " leave it"),
    ];
    let above = usize::from(inner.height).saturating_sub(1);
    for (i, (role, line)) in lines.iter().take(above).enumerate() {
        paint::line(buf, rows(inner, i as u16, 1), look, &[(*role, line)]);
    }
    paint::line(buf, rows(inner, inner.height.saturating_sub(1), 1), look, &keys);
}

pub fn picker(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let curves = &detail.curves;
    let inner = paint::boxed(buf, layout::picker(m.size), look, "Series");
    let listed = curves.pickable();
    let shown = listed.iter().filter(|s| curves.shown(&s.name)).count();
    let filter = if curves.picker_filter.is_empty() { String::new() } else { format!("/{}   ", curves.picker_filter) };
    let count = format!("{shown} of {} shown", listed.len());
    paint::line_right(buf, rows(inner, 0, 1), look, &[(Role::Accent, &filter), (Role::Faint, &count)]);
    let list = layout::below(inner, 1);
    for (i, info) in listed.iter().enumerate().skip(curves.picker.offset).take(usize::from(list.height)) {
        let row = rows(list, (i - curves.picker.offset) as u16, 1);
        if i == curves.picker.selected {
            paint::select(buf, row, look);
        }
        let on = curves.shown(&info.name);
        let at = curves.series.iter().position(|s| s.name == info.name);
        let colour = curves.panels.iter().flat_map(|p| &p.series).find(|s| Some(s.0) == at).map(|s| s.1);
        let (role, sign) = match (on, colour) {
            (true, Some(colour)) => (series(colour), look.glyphs.on),
            (true, None) => (Role::Text, look.glyphs.on),
            (false, _) => (Role::Faint, look.glyphs.off),
        };
        let value = info.last_y.map_or(look.glyphs.none.to_owned(), text::number);
        let name = Rect { width: row.width.saturating_sub(11), ..row };
        let words = if on { Role::Text } else { Role::Dim };
        paint::line(buf, name, look, &[(role, sign), (Role::Text, "  "), (words, &info.name)]);
        paint::line_right(buf, row, look, &[(Role::Dim, &value)]);
    }
    let bar = Rect { width: (list.width + 2).min(buf.area.right() - list.x), ..list };
    paint::scrollbar(buf, bar, look, curves.picker.offset, listed.len());
}
