//! The launcher: presets, what they do, what they cost.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::action::Action;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::options::PresetInfo;
use crate::text;
use crate::theme::Role;
use crate::view::{form, paint};

pub fn draw(buf: &mut Buffer, m: &Model, look: &Look) {
    let (caption, list, about) = layout::launcher(m.size);
    let state = &m.launcher;
    if let Some(form) = &state.form {
        return form::draw(buf, m, form, look);
    }
    if state.presets.is_empty() {
        let row = rows(list, list.height / 2, 1);
        paint::line_centre(
            buf,
            row,
            look,
            &[(Role::Dim, "No presets were found. `kiln doctor` says where they are looked for.")],
        );
        return;
    }
    let words = if m.runs.is_empty() && m.runs.loaded { "Start a run" } else { "Start another run" };
    let used = paint::line(buf, caption, look, &[(Role::Title, words)]);
    let shown: Vec<&PresetInfo> = state.visible().collect();
    if !state.filter.is_empty() {
        let count = format!("   {} of {}", shown.len(), state.presets.len());
        paint::line_right(
            buf,
            caption,
            look,
            &[(Role::Accent, "/"), (Role::Accent, &state.filter), (Role::Dim, &count)],
        );
    }
    if shown.is_empty() {
        let key = m.keymap.first_key(Action::PresetFilter);
        let words = [(Role::Dim, "No preset is called so. "), (Role::Key, &*key), (Role::Dim, " looks for others.")];
        paint::line(buf, rows(list, 0, 1), look, &words);
        return;
    }
    if shown.iter().any(|p| state.problem(p).is_some()) {
        let room = Rect { x: list.x + used, width: list.width.saturating_sub(used), ..caption };
        paint::line_right(buf, room, look, &[(Role::Warn, look.glyphs.warning), (Role::Faint, " not ready")]);
    }
    // The scrollbar has a column of its own.
    let bar = list;
    let list = Rect { width: list.width - u16::from(shown.len() > usize::from(list.height)), ..list };
    for (i, preset) in shown.iter().enumerate().skip(state.list.offset).take(usize::from(list.height)) {
        let row = rows(list, (i - state.list.offset) as u16, 1);
        let selected = i == state.list.selected;
        if selected {
            paint::select(buf, row, look);
        }
        let marker = if selected { look.glyphs.marker } else { " " };
        let broken = state.problem(preset).is_some();
        let role = if broken { Role::Dim } else { Role::Text };
        let sign = if broken { format!("{} ", look.glyphs.warning) } else { String::new() };
        let room = usize::from(row.width).saturating_sub(text::width(marker) + text::width(&sign));
        let name = text::middle(&preset.name, room, look.glyphs.ellipsis);
        let name = (if selected { Role::Title } else { role }, name.trim_end());
        let used = paint::line(buf, row, look, &[(Role::Accent, marker), (Role::Warn, &sign), name]);
        let room = Rect { x: row.x + used + 1, width: row.width.saturating_sub(used + 1), ..row };
        if text::width(&preset.method) <= usize::from(room.width) {
            paint::line_right(buf, room, look, &[(Role::Faint, &preset.method)]);
        }
    }
    paint::scrollbar(buf, bar, look, state.list.offset, shown.len());
    if let Some(preset) = state.selected() {
        describe(buf, m, about, preset, look);
    }
}

/// What the selected preset does, what it costs, what is wrong with it, and what to press.
fn describe(buf: &mut Buffer, m: &Model, area: Rect, preset: &PresetInfo, look: &Look) {
    let width = usize::from(area.width);
    let mut lines: Vec<(Role, String)> = Vec::new();
    let title = if preset.title.is_empty() { &preset.name } else { &preset.title };
    lines.extend(text::wrap(title, width).into_iter().map(|l| (Role::Title, l)));
    let problem = m.launcher.problem(preset);
    let mut changed = m.launcher.changes.in_words(&preset.name);
    if m.launcher.texts.contains_key(&preset.name) && preset.run_as.is_empty() {
        changed.insert(0, "its text, in the editor".to_owned());
    }
    match problem {
        Some(problem) => {
            lines.push((Role::Text, String::new()));
            for (i, line) in problem.lines().flat_map(|l| text::wrap(l, width.saturating_sub(2))).enumerate() {
                let sign = if i == 0 { look.glyphs.error } else { " " };
                lines.push((Role::Bad, format!("{sign} {line}")));
            }
        }
        None if !preset.estimate.is_empty() => {
            lines.extend(text::wrap(&preset.estimate, width).into_iter().map(|l| (Role::Accent, l)));
        }
        None => {}
    }
    if !preset.known {
        lines.push((Role::Dim, "Reading the preset".to_owned()));
    }
    if !changed.is_empty() {
        lines.push((Role::Text, String::new()));
        lines.push((Role::Text, "Changed for this start:".to_owned()));
        lines.extend(changed.iter().flat_map(|c| text::wrap(c, width)).map(|l| (Role::Accent, l)));
    }
    if !preset.description.is_empty() {
        lines.push((Role::Text, String::new()));
        lines.extend(text::wrap(&preset.description, width.min(72)).into_iter().map(|l| (Role::Dim, l)));
    }
    let settings = m.keymap.first_key(Action::Settings);
    let busy = m.launcher.busy.as_deref() == Some(preset.name.as_str());
    // What to press comes last, after a blank line where there is room for one.
    let blank = usize::from(area.height >= 5);
    let press = 1 + blank;
    let room = usize::from(area.height).saturating_sub(press);
    for (i, (role, line)) in lines.iter().take(room).enumerate() {
        paint::line(buf, rows(area, i as u16, 1), look, &[(*role, line)]);
    }
    let at = rows(area, (lines.len().min(room) + blank) as u16, 1);
    if busy {
        paint::line(buf, at, look, &[(Role::Running, look.glyphs.starting), (Role::Text, " starting")]);
    } else if problem.is_none() {
        let words = [
            (Role::Key, look.glyphs.enter),
            (Role::Text, " starts it   "),
            (Role::Key, settings.as_str()),
            (Role::Text, " settings"),
        ];
        paint::line(buf, at, look, &words);
    } else {
        paint::line(buf, at, look, &[(Role::Key, &settings), (Role::Text, " changes its settings")]);
    }
}
