//! Keys of the launcher's form, and what the launcher tells of a preset.

use kiln_protocol::Level;

use crate::action::Action;
use crate::model::form::{self, Form};
use crate::model::{Model, Prompt, PromptKind};
use crate::msg::Effect;
use crate::options::{PresetInfo, Setting};

/// Opens the form of the selected preset.
pub fn open(m: &mut Model, effects: &mut Vec<Effect>) {
    if let Some(preset) = m.launcher.selected().map(|p| p.name.clone()) {
        m.launcher.form = Some(Form { preset: preset.clone(), ..Form::default() });
        look(m, preset, effects);
    }
}

/// Asks what a preset says and costs with its changes.
fn look(m: &Model, preset: String, effects: &mut Vec<Effect>) {
    let changes = m.launcher.changes.arguments(&preset);
    effects.push(Effect::Look { preset, changes });
}

/// Has presets read that nobody has looked at yet: the selected one first, one at a time.
pub fn read(m: &mut Model, effects: &mut Vec<Effect>) {
    if m.launcher.reading.is_some() {
        return;
    }
    let selected = m.launcher.selected().into_iter();
    let next = selected.chain(&m.launcher.presets).find(|p| !p.known).map(|p| p.name.clone());
    if let Some(preset) = next {
        m.launcher.reading = Some(preset.clone());
        look(m, preset, effects);
    }
}

/// The launcher's answer. One that later changes have overtaken only tells the settings.
pub fn looked(m: &mut Model, preset: &str, changes: &[String], info: PresetInfo, settings: Vec<Setting>) {
    let current = m.launcher.changes.arguments(preset) == changes;
    if let Some(form) = m.launcher.form.as_mut().filter(|f| f.preset == preset && f.settings.is_empty()) {
        form.settings = settings;
        // What keeps the preset from being started is what somebody opens the form for.
        let asked = |s: &Setting| info.problem.as_ref().is_some_and(|p| p.contains(&format!("{}:", s.field.key)));
        form.list.selected = form.settings.iter().position(asked).unwrap_or(0);
    }
    m.launcher.reading.take_if(|reading| reading == preset);
    if let Some(old) = m.launcher.presets.iter_mut().find(|p| p.name == preset) {
        old.known = true;
    }
    if let Some(old) = m.launcher.presets.iter_mut().find(|p| p.name == preset && current) {
        m.launcher.problems.remove(preset);
        // A preset that cannot be read as it is now keeps its words.
        let (title, words) = if info.title.is_empty() && info.description.is_empty() {
            (old.title.clone(), old.description.clone())
        } else {
            (info.title, info.description)
        };
        *old = PresetInfo {
            title,
            description: words,
            method: if info.method.is_empty() { old.method.clone() } else { info.method },
            name: old.name.clone(),
            default: old.default,
            known: true,
            ..info
        };
    }
}

/// The selected setting, and its value now.
pub fn selected(m: &Model) -> Option<(&str, &Setting, &str)> {
    let form = m.launcher.form.as_ref()?;
    let setting = form.settings.get(form.list.selected)?;
    let value = m.launcher.changes.get(&form.preset, &setting.field.key).unwrap_or(&setting.value);
    Some((&form.preset, setting, value))
}

pub fn act(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let Some((preset, setting, value)) = selected(m).map(|(p, s, v)| (p.to_owned(), s.clone(), v.to_owned())) else {
        return;
    };
    let next = match action {
        Action::Edit => form::option(&setting, &value, 1),
        Action::NextOption => form::option(&setting, &value, 1),
        Action::PrevOption => form::option(&setting, &value, -1),
        Action::TakeBack => {
            return change(m, &preset, &setting, None, effects);
        }
        _ => return,
    };
    match next {
        Some(next) => change(m, &preset, &setting, Some(&next), effects),
        None if action == Action::Edit => {
            m.prompt = Some(Prompt { kind: PromptKind::Setting, before: value.clone(), text: value });
        }
        None => m.note(Level::Info, format!("`{}` is typed: enter changes it.", setting.field.key)),
    }
}

/// A value has been typed.
pub fn typed(m: &mut Model, text: &str, effects: &mut Vec<Effect>) {
    if let Some((preset, setting)) = selected(m).map(|(p, s, _)| (p.to_owned(), s.clone())) {
        change(m, &preset, &setting, Some(text), effects);
    }
}

fn change(m: &mut Model, preset: &str, setting: &Setting, value: Option<&str>, effects: &mut Vec<Effect>) {
    if m.launcher.changes.set(preset, setting, value) {
        look(m, preset.to_owned(), effects);
    }
}
