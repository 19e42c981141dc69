//! The launcher's form: settings of a preset with their values, and what the selected one means.

use kiln_protocol::spec::schema::{Field, Kind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::form::Form;
use crate::text;
use crate::theme::Role;
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, form: &Form, look: &Look) {
    let areas = layout::form(m.size);
    let changes = &m.launcher.changes;
    let info = m.launcher.presets.iter().find(|p| p.name == form.preset);
    let changed = match changes.of(&form.preset).len() {
        0 => "as the preset has them".to_owned(),
        1 => "1 changed".to_owned(),
        n => format!("{n} changed"),
    };
    paint::line_right(buf, areas.caption, look, &[(Role::Dim, &changed)]);
    paint::line(buf, areas.caption, look, &[(Role::Title, "Settings of "), (Role::Title, &form.preset)]);
    if form.settings.is_empty() {
        let words = info.and_then(|i| i.problem.as_deref()).unwrap_or("Reading the preset");
        for (i, line) in text::wrap(words, usize::from(areas.list.width)).iter().enumerate() {
            paint::line(buf, rows(areas.list, i as u16, 1), look, &[(Role::Dim, line)]);
        }
        return;
    }
    let longest = form.settings.iter().map(|s| text::width(&s.field.key)).max().unwrap_or(0);
    let keys = longest.min(usize::from(areas.list.width) / 2);
    for (i, setting) in form.settings.iter().enumerate().skip(form.list.offset).take(usize::from(areas.list.height)) {
        let row = rows(areas.list, (i - form.list.offset) as u16, 1);
        let selected = i == form.list.selected;
        if selected {
            paint::select(buf, row, look);
        }
        let key = &setting.field.key;
        let change = changes.get(&form.preset, key);
        let wrong = info.and_then(|i| i.problem.as_ref()).is_some_and(|p| p.contains(&format!("{key}:")));
        let (role, sign) = match (wrong, change) {
            (true, _) => (Role::Bad, look.glyphs.error),
            (false, Some(_)) => (Role::Accent, look.glyphs.on),
            (false, None) => (Role::Text, " "),
        };
        let value = change.unwrap_or(&setting.value);
        let value = if value.is_empty() { look.glyphs.none } else { value };
        let name = text::left(key, keys, look.glyphs.ellipsis);
        let unit = setting.field.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
        let value_role = if change.is_some() { Role::Accent } else { Role::Text };
        let parts = [
            (Role::Accent, if selected { look.glyphs.marker } else { " " }),
            (role, sign),
            (Role::Text, " "),
            (if selected { Role::Title } else { Role::Dim }, name.as_str()),
            (Role::Text, "  "),
            (value_role, value),
            (Role::Faint, &unit),
        ];
        paint::line(buf, row, look, &parts);
    }
    paint::scrollbar_beside(buf, areas.list, look, form.list.offset, form.settings.len());
    about(buf, areas.about, form, info.and_then(|i| i.problem.as_deref()), look);
}

/// What the selected setting means, what it may be, and what keeps the preset from being started.
fn about(buf: &mut Buffer, area: Rect, form: &Form, problem: Option<&str>, look: &Look) {
    let Some(setting) = form.settings.get(form.list.selected).filter(|_| area.height > 1) else { return };
    let width = usize::from(area.width);
    let rule = look.glyphs.rule.repeat(width);
    paint::line(buf, rows(area, 0, 1), look, &[(Role::Rule, &rule)]);
    let mut lines: Vec<(Role, String)> = Vec::new();
    for line in problem.into_iter().flat_map(str::lines) {
        for (i, part) in text::wrap(line, width.saturating_sub(2)).into_iter().enumerate() {
            lines.push((Role::Bad, format!("{} {part}", if i == 0 { look.glyphs.error } else { " " })));
        }
    }
    let help = text::wrap(&setting.field.help, width);
    // The help of the setting has a place of its own, however much is wrong.
    lines.truncate(usize::from(area.height - 1).saturating_sub(help.len().min(2)).max(1));
    lines.extend(help.into_iter().map(|l| (Role::Text, l)));
    lines.extend(text::wrap(&may_be(&setting.field), width).into_iter().map(|l| (Role::Dim, l)));
    for (i, (role, line)) in lines.iter().take(usize::from(area.height - 1)).enumerate() {
        paint::line(buf, rows(area, 1 + i as u16, 1), look, &[(*role, line)]);
    }
}

/// `one of sgd, adamw; default sgd`
fn may_be(field: &Field) -> String {
    let bound = |b: Option<f64>| b.map(|b| b.to_string());
    let what = match (field.kind, bound(field.min), bound(field.max)) {
        (Kind::Choice, ..) => {
            let options: Vec<&str> = field.options.iter().map(|o| o.value.as_str()).collect();
            format!("one of {}", options.join(", "))
        }
        (Kind::Switch, ..) => "true or false".to_owned(),
        (Kind::Integer | Kind::Number, Some(min), Some(max)) => format!("{min} to {max}"),
        (Kind::Integer | Kind::Number, Some(min), None) => format!("{min} or more"),
        (Kind::Integer | Kind::Number, None, Some(max)) => format!("at most {max}"),
        (Kind::Integer, ..) => "a whole number".to_owned(),
        (Kind::Number, ..) => "a number".to_owned(),
        (Kind::Text, ..) => "text".to_owned(),
        (Kind::List, ..) => "a list, such as [\"a\", \"b\"]".to_owned(),
        (Kind::Map, ..) => "a table, such as { family = [\"fast\"] }".to_owned(),
    };
    let default = field.default.as_ref().map(|d| format!("; default {d}")).unwrap_or_default();
    format!("{what}{default}")
}
