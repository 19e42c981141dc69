//! The launcher's form: settings of a preset with their values, what it costs, and what the selected setting means.

use kiln_protocol::spec::schema::{Field, Kind};
use kiln_protocol::spec::sweep;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::form::{Form, problem_of};
use crate::model::{Model, Prompt, PromptKind};
use crate::options::{PresetInfo, Setting};
use crate::text;
use crate::theme::Role;
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, form: &Form, look: &Look) {
    let areas = layout::form(m.size);
    let info = m.launcher.presets.iter().find(|p| p.name == form.preset);
    caption(buf, areas.caption, m, form, info, look);
    if form.settings.is_empty() {
        let words = info.and_then(|i| i.problem.as_deref()).unwrap_or("Reading the preset");
        for (i, line) in text::wrap(words, usize::from(areas.list.width)).iter().enumerate() {
            paint::line(buf, rows(areas.list, i as u16, 1), look, &[(Role::Dim, line)]);
        }
        return;
    }
    // What is being typed is looked at already.
    let tried = form.trial.as_ref().filter(|_| m.prompt.is_some()).and_then(|trial| trial.info.as_ref());
    if let Some(info) = tried.or(info) {
        costs(buf, areas.costs, info, tried.is_some(), look);
    }
    let problem = info.and_then(|i| i.problem.as_deref()).unwrap_or_default();
    list(buf, areas.list, m, form, problem, look);
    about(buf, areas.about, m, form, problem, look);
}

/// Which preset it is, and how it differs.
fn caption(buf: &mut Buffer, area: Rect, m: &Model, form: &Form, info: Option<&PresetInfo>, look: &Look) {
    let of_a_run = info.is_some_and(|i| !i.run_as.is_empty());
    let own = if of_a_run { "as the run had them" } else { "as the preset has them" };
    let edited = m.launcher.texts.contains_key(&form.preset) && !of_a_run;
    let mut said = match (m.launcher.changes.count(&form.preset), edited) {
        (0, false) => own.to_owned(),
        (0, true) => "edited".to_owned(),
        (1, _) => "1 changed".to_owned(),
        (n, _) => format!("{n} changed"),
    };
    if form.differing {
        said = format!("only what differs   {said}");
    }
    let filter = if form.filter.is_empty() { String::new() } else { format!("/{}   ", form.filter) };
    paint::line_right(buf, area, look, &[(Role::Accent, &filter), (Role::Dim, &said)]);
    let used = (text::width(&filter) + text::width(&said)) as u16;
    let room = area.width.saturating_sub(used + 2);
    let name = text::middle(&form.preset, usize::from(room.saturating_sub(12)), look.glyphs.ellipsis);
    let room = Rect { width: room, ..area };
    paint::line(buf, room, look, &[(Role::Title, "Settings of "), (Role::Title, name.trim_end())]);
}

/// What a run would cost, as many figures as fit.
fn costs(buf: &mut Buffer, area: Rect, info: &PresetInfo, tried: bool, look: &Look) {
    if info.problem.is_some() {
        paint::line(buf, area, look, &[(Role::Bad, look.glyphs.error), (Role::Dim, " cannot be started like this")]);
        return;
    }
    let mut parts: Vec<(Role, String)> = Vec::new();
    let mut used = 0;
    for cost in &info.costs {
        let was = cost.was.as_ref().map(|was| format!(" (was {was})")).unwrap_or_default();
        let role = match (tried, cost.was.is_some()) {
            (_, false) => Role::Text,
            (true, true) => Role::Key,
            (false, true) => Role::Accent,
        };
        let group = [
            (Role::Dim, format!("{} ", cost.name)),
            (role, cost.value.clone()),
            (Role::Faint, was),
            (Role::Text, "   ".to_owned()),
        ];
        let wide: usize = group.iter().take(3).map(|p| text::width(&p.1)).sum();
        if used + wide > usize::from(area.width) {
            break;
        }
        used += wide + 3;
        parts.extend(group);
    }
    paint::words(buf, area, look, &parts);
}

fn list(buf: &mut Buffer, area: Rect, m: &Model, form: &Form, problem: &str, look: &Look) {
    let visible = form.visible(&m.launcher.changes);
    if visible.is_empty() {
        let words = match (form.filter.is_empty(), form.differing) {
            (true, _) => "Nothing differs from the preset. ",
            (false, false) => "No setting is called so. ",
            (false, true) => "No setting that differs is called so. ",
        };
        let key = if form.filter.is_empty() { "d" } else { "/" };
        let rest = if form.filter.is_empty() { " shows all." } else { " looks for others." };
        paint::line(buf, area, look, &[(Role::Dim, words), (Role::Key, key), (Role::Dim, rest)]);
    }
    let longest = form.settings.iter().map(|s| text::width(&s.field.key)).max().unwrap_or(0);
    let keys = longest.min(usize::from(area.width) / 2);
    for (i, setting) in visible.iter().enumerate().skip(form.list.offset).take(usize::from(area.height)) {
        let row = rows(area, (i - form.list.offset) as u16, 1);
        let wrong = problem_of(problem, &setting.field.key);
        line(buf, row, m, setting, (i == form.list.selected, keys), wrong, look);
    }
    paint::scrollbar_beside(buf, area, look, form.list.offset, visible.len());
}

/// One setting: its value, what it was, what is wrong with it.
fn line(
    buf: &mut Buffer,
    row: Rect,
    m: &Model,
    setting: &Setting,
    (selected, keys): (bool, usize),
    wrong: Option<&str>,
    look: &Look,
) {
    let Some(form) = &m.launcher.form else { return };
    if selected {
        paint::select(buf, row, look);
    }
    let key = setting.field.key.as_str();
    let change = m.launcher.changes.get(&form.preset, key);
    let sweep = m.launcher.changes.sweep(&form.preset, key);
    let differs = change.is_some() || sweep.is_some() || setting.filed.is_some();
    let (role, sign) = match (wrong, differs) {
        (Some(_), _) => (Role::Bad, look.glyphs.error),
        (None, true) => (Role::Accent, look.glyphs.on),
        (None, false) => (Role::Text, " "),
    };
    let shown = |value: &str| if value.is_empty() { look.glyphs.none.to_owned() } else { value.to_owned() };
    let value = match sweep {
        Some(values) => format!("over {values}"),
        None => shown(change.unwrap_or(&setting.value)),
    };
    let unit = setting.field.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
    let before = setting.filed.as_ref().or(differs.then_some(&setting.value));
    let said = match (wrong, before) {
        (Some(wrong), _) => (Role::Bad, format!("   {wrong}")),
        (None, Some(before)) => (Role::Faint, format!("   was {}", shown(before))),
        (None, None) => (Role::Text, String::new()),
    };
    let name = text::left(key, keys, look.glyphs.ellipsis);
    let parts = [
        (Role::Accent, if selected { look.glyphs.marker } else { " " }),
        (role, sign),
        (Role::Text, " "),
        (if selected { Role::Title } else { Role::Dim }, name.as_str()),
        (Role::Text, "  "),
        (if differs { Role::Accent } else { Role::Text }, value.as_str()),
        (Role::Faint, &unit),
        (said.0, &said.1),
    ];
    paint::line(buf, row, look, &parts);
}

/// What the selected setting means, what it may be, what comes of what is being typed, and what keeps the preset from being
/// started.
fn about(buf: &mut Buffer, area: Rect, m: &Model, form: &Form, problem: &str, look: &Look) {
    let visible = form.visible(&m.launcher.changes);
    let Some(setting) = visible.get(form.list.selected).filter(|_| area.height > 1) else { return };
    let width = usize::from(area.width);
    let rule = look.glyphs.rule.repeat(width);
    paint::line(buf, rows(area, 0, 1), look, &[(Role::Rule, &rule)]);
    let mut lines: Vec<(Role, String)> = Vec::new();
    let typed = m.prompt.as_ref().and_then(|prompt| verdict(prompt, &setting.field));
    match &typed {
        Some(Ok(said)) => lines.push((Role::Good, format!("{} {said}", look.glyphs.completed))),
        Some(Err(said)) => lines.extend(bad(said, width, look)),
        // Those of rows in view stand there, too, but maybe cut short.
        None => problem.lines().for_each(|line| lines.extend(bad(line, width, look))),
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

fn bad(said: &str, width: usize, look: &Look) -> Vec<(Role, String)> {
    let sign = |i: usize| if i == 0 { look.glyphs.error } else { " " };
    let parts = text::wrap(said, width.saturating_sub(2)).into_iter().enumerate();
    parts.map(|(i, part)| (Role::Bad, format!("{} {part}", sign(i)))).collect()
}

/// What is to be said of the value that is being typed.
fn verdict(prompt: &Prompt, field: &Field) -> Option<Result<String, String>> {
    match prompt.kind {
        PromptKind::Setting => Some(field.check(prompt.text()).map(|()| "fits".to_owned())),
        PromptKind::Sweep if prompt.text().trim().is_empty() => Some(Ok("not varied".to_owned())),
        PromptKind::Sweep => Some(sweep::count(field, prompt.text()).map(|count| match count {
            Some(1) => "1 value".to_owned(),
            Some(n) => format!("{n} values"),
            None => "any number of the range: sweep.runs of them are drawn".to_owned(),
        })),
        _ => None,
    }
}

/// `one of sgd, adamw; default sgd`
pub fn may_be(field: &Field) -> String {
    // What only the computer's numbers end at is no limit.
    let max = field.max.filter(|max| *max < f64::from(u32::MAX));
    let what = match (field.kind, field.min.map(plain), max.map(plain)) {
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
    let unit = field.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
    let default = field.default.as_ref().map(|d| format!("; default {d}")).unwrap_or_default();
    let live = if field.live { "; can be changed while a run goes on" } else { "" };
    format!("{what}{unit}{default}{live}")
}

/// Limits as people write them: `1e-8` rather than `0.00000001`.
fn plain(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-4 { format!("{x:e}") } else { x.to_string() }
}
