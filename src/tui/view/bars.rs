//! Header, status bar, messages.

use kiln_protocol::Level;
use kiln_protocol::wire::System;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::action::Action;
use crate::layout;
use crate::look::Look;
use crate::model::typing;
use crate::model::{Link, Model, Overlay, Prompt, PromptKind, Screen};
use crate::text;
use crate::theme::Role;
use crate::update::{hints, selected_setting};
use crate::view::paint;

/// Name, where we are, and the machine.
pub fn header(buf: &mut Buffer, m: &Model, look: &Look) {
    let area = layout::inset(layout::bands(m.size).header);
    let place = match (m.screen, &m.detail) {
        (Screen::Detail, Some(detail)) => detail.id.0.as_str(),
        (Screen::Launcher, _) => "new run",
        (Screen::System, _) => "machine",
        (Screen::Compare, _) => "compare",
        _ => "",
    };
    let back = format!(" {} ", look.glyphs.back);
    let mut parts = vec![(Role::Accent, "kiln")];
    // A long name leaves the figures of the machine their room.
    let most = usize::from(area.width).saturating_sub(MACHINE).max(PLACE);
    let place = text::middle(place, text::width(place).min(most), look.glyphs.ellipsis);
    if !place.is_empty() {
        parts.extend([(Role::Faint, back.as_str()), (Role::Title, place.trim_end())]);
    }
    let used = paint::line(buf, area, look, &parts);
    let room = Rect { x: area.x + used + 2, width: area.width.saturating_sub(used + 2), ..area };
    if room.is_empty() {
        return;
    }
    let words: Vec<(Role, String)> = match &m.link {
        Link::Connecting => vec![(Role::Dim, format!("connecting{}", look.glyphs.ellipsis))],
        Link::Down { retry_at, .. } => {
            let left = (retry_at - m.now).ceil().max(0.0);
            let when = if left > 0.0 { format!("trying again in {left:.0}s") } else { "connecting".into() };
            vec![(Role::Warn, format!("{} no engine", look.glyphs.warning)), (Role::Dim, format!("  {when}"))]
        }
        Link::Up { .. } => m.system.as_ref().map(|s| system(s, usize::from(room.width), look)).unwrap_or_default(),
    };
    paint::words_right(buf, room, look, &words);
}

/// Cells that are left beside the name of what is open: `kiln ‹`, a gap, and the first figures of the machine.
const MACHINE: usize = 54;

/// Cells that the name has all the same.
const PLACE: usize = 24;

/// Figures of the machine in at most `room` cells: what fits, the GPUs first of all.
fn system(s: &System, room: usize, look: &Look) -> Vec<(Role, String)> {
    let level = |used: f64, warn: f64| if used >= warn { Role::Warn } else { Role::Text };
    let share = |used: u64, total: u64| if total > 0 { used as f64 / total as f64 } else { 0.0 };
    let mut groups: Vec<Vec<(Role, String)>> = Vec::new();
    match s.gpus.as_slice() {
        [] => {}
        [gpu] => groups.push(vec![
            (Role::Dim, "gpu ".into()),
            (Role::Text, format!("{:>3.0}%", gpu.utilisation * 100.0)),
            (
                level(share(gpu.memory_used, gpu.memory_total), 0.95),
                format!(" {}", text::bytes_of(gpu.memory_used, gpu.memory_total)),
            ),
            (if gpu.temperature >= 85 { Role::Warn } else { Role::Dim }, format!(" {}°", gpu.temperature)),
        ]),
        many => {
            let mut group = vec![(Role::Dim, format!("{} gpus ", many.len()))];
            for gpu in many {
                // One bar a card, as high as it is busy: eight of them fit into eight cells.
                let i = (gpu.utilisation.clamp(0.0, 1.0) * 8.0).round() as usize;
                group
                    .push((if gpu.temperature >= 85 { Role::Warn } else { Role::Text }, look.glyphs.heights[i].into()));
            }
            let (used, total) = many.iter().fold((0, 0_u64), |a: (u64, u64), g| {
                (a.0.saturating_add(g.memory_used), a.1.saturating_add(g.memory_total))
            });
            group.push((level(share(used, total), 0.95), format!(" {}", text::bytes_of(used, total))));
            groups.push(group);
        }
    }
    groups.push(vec![(Role::Dim, "cpu ".into()), (Role::Text, format!("{:>3.0}%", s.cpu * 100.0))]);
    groups.push(vec![
        (Role::Dim, "ram ".into()),
        (level(share(s.ram_used, s.ram_total), 0.92), text::bytes_of(s.ram_used, s.ram_total)),
    ]);
    let full = s.disk_total > 0 && share(s.disk_free, s.disk_total) < 0.05;
    groups.push(vec![
        (Role::Dim, "disk ".into()),
        (if full { Role::Warn } else { Role::Text }, text::bytes(s.disk_free)),
        (Role::Dim, " free".into()),
    ]);
    let mut out: Vec<(Role, String)> = Vec::new();
    let mut used = 0;
    for group in groups {
        let wide: usize = group.iter().map(|p| text::width(&p.1)).sum::<usize>() + if out.is_empty() { 0 } else { 3 };
        if used + wide > room {
            break;
        }
        used += wide;
        if !out.is_empty() {
            out.push((Role::Dim, "   ".into()));
        }
        out.extend(group);
    }
    out
}

/// Keys that matter now; or the line being typed.
pub fn footer(buf: &mut Buffer, m: &Model, look: &Look) {
    let area = layout::inset(layout::bands(m.size).footer);
    if let Some(prompt) = &m.prompt {
        return typed(buf, m, prompt, area, look);
    }
    let shown = hints::fitting(m, area.width, look.glyphs);
    let mut parts: Vec<(Role, &str)> = Vec::new();
    for hint in &shown {
        parts.extend([(Role::Key, hint.key.as_str()), (Role::Dim, " "), (Role::Dim, hint.words), (Role::Dim, "   ")]);
    }
    parts.pop();
    paint::line(buf, area, look, &parts);
}

/// The line being typed; behind it what is wrong with it so far, else ways to go on.
fn typed(buf: &mut Buffer, m: &Model, prompt: &Prompt, area: Rect, look: &Look) {
    let what = match prompt.kind {
        PromptKind::RunFilter | PromptKind::PresetFilter => "filter ",
        PromptKind::Tags => "tags ",
        PromptKind::ViewName => "save as ",
        PromptKind::SeriesFilter => "series ",
        PromptKind::LogSearch => "search ",
        PromptKind::Epochs => "epochs ",
        PromptKind::Setting => match selected_setting(m) {
            Some((_, setting, _)) => &format!("{} = ", setting.field.key),
            None => "",
        },
        PromptKind::Sweep => match selected_setting(m) {
            Some((_, setting, _)) => &format!("{} over ", setting.field.key),
            None => "",
        },
        PromptKind::FormFilter => "find ",
        PromptKind::PresetName => "save as ",
        PromptKind::Knob => match &m.overlay {
            Some(Overlay::Knobs(knobs)) => {
                &knobs.selected().map(|knob| format!("{} = ", knob.field.key)).unwrap_or_default()
            }
            _ => "",
        },
    };
    let used = paint::line(buf, area, look, &[(Role::Accent, what)]);
    let place = Rect { x: area.x + used, width: area.width - used, ..area };
    let used = used + paint::input(buf, place, &prompt.line, Role::Text, look);
    let rest = Rect { x: area.x + (used + 3).min(area.width), width: area.width.saturating_sub(used + 3), ..area };
    if rest.width < 8 {
        return;
    }
    if let Some(mistake) = typing::mistake(m) {
        paint::line(buf, rest, look, &[(Role::Warn, look.glyphs.warning), (Role::Warn, " "), (Role::Dim, &mistake)]);
        return;
    }
    let offers = typing::offers(m);
    let at = m.completing.as_ref().map(|c| c.at);
    let mut parts: Vec<(Role, &str)> = Vec::new();
    // The one that stands in the text is in view, wherever in the row it is.
    let first = at.unwrap_or(0).saturating_sub(1);
    if !offers.is_empty() {
        parts.extend([(Role::Key, "tab"), (Role::Text, "  ")]);
    }
    for (i, offer) in offers.iter().enumerate().skip(first).take(24) {
        let role = if at == Some(i) { Role::Accent } else { Role::Dim };
        parts.extend([(role, offer.word.as_str()), (Role::Text, "  ")]);
    }
    paint::line(buf, rest, look, &parts);
}

/// The newest message, in the line that costs least: one that is empty anyway, where there is such a line. What does not fit
/// can be read in full with a key.
pub fn messages(buf: &mut Buffer, m: &Model, look: &Look) {
    // A list that waits for its engine has the reason in its middle.
    let waits = m.screen == Screen::Runs && m.runs.is_empty() && !m.runs.loaded && m.overlay.is_none();
    let Some((level, text, more)) = m.message().filter(|_| !waits || !m.notes.is_empty()) else { return };
    let area = layout::message(m.size, m.screen == Screen::Detail, m.overlay.is_some());
    paint::blank(buf, area);
    let area = layout::inset(area);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let whole = text::width(&text) + 2 <= usize::from(area.width);
    let count = if more > 0 { format!("+{more} ") } else { String::new() };
    let key = m.keymap.first_key(Action::Messages);
    let hint = [(Role::Faint, count.as_str()), (Role::Key, key.as_str()), (Role::Dim, " more")];
    let wide = if whole && more == 0 { 0 } else { hint.iter().map(|p| text::width(p.1) as u16).sum::<u16>() + 2 };
    let wide = if area.width >= 4 * wide { wide } else { 0 };
    let (role, sign) = level_sign(level, look);
    let left = Rect { width: area.width - wide, ..area };
    paint::line(buf, left, look, &[(role, sign), (role, " "), (Role::Text, &text)]);
    if wide > 0 {
        paint::line_right(buf, area, look, &hint);
    }
}

/// Role and sign of a level.
pub fn level_sign(level: Level, look: &Look) -> (Role, &'static str) {
    match level {
        Level::Debug => (Role::Faint, look.glyphs.separator),
        Level::Info => (Role::Info, look.glyphs.info),
        Level::Warn => (Role::Warn, look.glyphs.warning),
        Level::Error => (Role::Bad, look.glyphs.error),
    }
}
