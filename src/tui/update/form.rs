//! Keys of the launcher's form, and what the launcher tells of a preset.

use kiln_protocol::wire::{Request, RunDetail};
use kiln_protocol::{Level, RunId};

use crate::action::Action;
use crate::model::form::{self, Form, Trial};
use crate::model::{Ask, Link, Model, Prompt, PromptKind, Screen};
use crate::msg::{Draft, Effect};
use crate::options::{PresetInfo, Setting, Wanted};

/// Opens the form of the selected preset.
pub fn open(m: &mut Model, effects: &mut Vec<Effect>) {
    if let Some(preset) = m.launcher.selected().map(|p| p.name.clone()) {
        m.launcher.form = Some(Form { preset: preset.clone(), ..Form::default() });
        look(m, &preset, effects);
    }
}

/// Asks what a preset says and costs with its changes.
fn look(m: &Model, preset: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::Look(m.launcher.wanted(preset)));
}

/// Has presets read that nobody has looked at yet: the selected one first, one at a time.
pub fn read(m: &mut Model, effects: &mut Vec<Effect>) {
    if m.launcher.reading.is_some() {
        return;
    }
    let selected = m.launcher.selected().into_iter();
    let next = selected.chain(&m.launcher.presets).find(|p| !p.known).map(|p| p.name.clone());
    if let Some(preset) = next {
        look(m, &preset, effects);
        m.launcher.reading = Some(preset);
    }
}

/// The launcher's answer. One that later changes have overtaken only tells the settings.
pub fn looked(m: &mut Model, wanted: &Wanted, info: PresetInfo, settings: Vec<Setting>) {
    let preset = wanted.preset.as_str();
    if let Some(trial) = m.launcher.form.as_mut().and_then(|f| f.trial.as_mut()).filter(|t| t.wanted == *wanted) {
        trial.info = Some(info.clone());
    }
    let current = m.launcher.wanted(preset);
    let same_text = current.text == wanted.text;
    if let Some(form) = m.launcher.form.as_mut().filter(|f| f.preset == preset && f.settings.is_empty() && same_text) {
        form.fill(settings, info.problem.as_deref(), &m.launcher.changes);
    }
    m.launcher.reading.take_if(|reading| reading == preset);
    if let Some(old) = m.launcher.presets.iter_mut().find(|p| p.name == preset) {
        old.known = true;
    }
    if let Some(old) = m.launcher.presets.iter_mut().find(|p| p.name == preset && current == *wanted) {
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
            run_as: old.run_as.clone(),
            default: old.default,
            known: true,
            ..info
        };
    }
}

/// The selected setting, and its value now.
pub fn selected(m: &Model) -> Option<(&str, &Setting, &str)> {
    let form = m.launcher.form.as_ref()?;
    let setting = form.visible(&m.launcher.changes).get(form.list.selected).copied()?;
    let value = m.launcher.changes.get(&form.preset, &setting.field.key).unwrap_or(&setting.value);
    Some((&form.preset, setting, value))
}

/// What is wrong with the settings of the open form, in a line; `None` where they only lack their data.
pub fn mistake(m: &Model) -> Option<&str> {
    let form = m.launcher.form.as_ref()?;
    let info = m.launcher.presets.iter().find(|p| p.name == form.preset && p.mistaken)?;
    info.problem.as_deref()?.lines().next()
}

pub fn act(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let Some(form) = &mut m.launcher.form else { return };
    let preset = form.preset.clone();
    match action {
        Action::FormFilter => {
            let before = form.filter.clone();
            return open_prompt(m, PromptKind::FormFilter, &before);
        }
        Action::Differing => {
            (form.differing, form.list.selected) = (!form.differing, 0);
            return;
        }
        Action::SavePreset => {
            if let Some(problem) = mistake(m) {
                let text = format!("{preset} cannot be saved while it has a mistake: {problem}");
                return m.note_about("save", Level::Warn, text);
            }
            return open_prompt(m, PromptKind::PresetName, &format!("{preset}-tuned"));
        }
        Action::EditText => {
            effects.push(Effect::Text(m.launcher.wanted(&preset)));
            return;
        }
        _ => {}
    }
    let Some((preset, setting, value)) = selected(m).map(|(p, s, v)| (p.to_owned(), s.clone(), v.to_owned())) else {
        return;
    };
    let next = match action {
        Action::Edit | Action::NextOption => form::option(&setting, &value, 1),
        Action::PrevOption => form::option(&setting, &value, -1),
        Action::TakeBack => {
            let varied = m.launcher.changes.vary(&preset, &setting, None);
            if m.launcher.changes.set(&preset, &setting, None) || varied {
                look(m, &preset, effects);
            }
            return;
        }
        Action::Vary => {
            let text = m.launcher.changes.sweep(&preset, &setting.field.key).unwrap_or_default().to_owned();
            return open_prompt(m, PromptKind::Sweep, &text);
        }
        _ => return,
    };
    match next {
        Some(next) => change(m, &preset, &setting, Some(&next), effects),
        None if action == Action::Edit => open_prompt(m, PromptKind::Setting, &value),
        None => m.note(Level::Info, format!("`{}` is typed: space changes it.", setting.field.key)),
    }
}

fn open_prompt(m: &mut Model, kind: PromptKind, text: &str) {
    if let Some(form) = &mut m.launcher.form {
        form.trial = None;
    }
    m.prompt = Some(Prompt::new(kind, text));
}

/// A value is being typed: what would come of it is asked for, as far as it makes sense.
pub fn typing(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(Prompt { kind: kind @ (PromptKind::Setting | PromptKind::Sweep), line, .. }) = m.prompt.clone() else {
        return;
    };
    let text = line.text();
    let Some((preset, setting)) = selected(m).map(|(p, s, _)| (p.to_owned(), s.clone())) else { return };
    let mut changes = m.launcher.changes.clone();
    let sensible = match kind {
        PromptKind::Setting => setting.field.check(text).is_ok() && changes.set(&preset, &setting, Some(text)),
        _ => {
            kiln_protocol::spec::sweep::count(&setting.field, text).is_ok()
                && changes.vary(&preset, &setting, Some(text))
        }
    };
    let wanted = Wanted { changes: changes.arguments(&preset), ..m.launcher.wanted(&preset) };
    if let Some(form) = &mut m.launcher.form {
        let known = form.trial.as_ref().is_some_and(|trial| trial.wanted == wanted);
        if !sensible {
            form.trial = None;
        } else if !known {
            form.trial = Some(Trial { wanted: wanted.clone(), info: None });
            effects.push(Effect::Look(wanted));
        }
    }
}

/// What has been typed is whole.
pub fn typed(m: &mut Model, kind: PromptKind, text: &str, effects: &mut Vec<Effect>) {
    let Some(form) = &mut m.launcher.form else { return };
    form.trial = None;
    let preset = form.preset.clone();
    if kind == PromptKind::PresetName {
        let wanted = m.launcher.wanted(&preset);
        if !text.trim().is_empty() {
            effects.push(Effect::Save { wanted, name: text.trim().to_owned() });
        }
        return;
    }
    let Some((preset, setting)) = selected(m).map(|(p, s, _)| (p.to_owned(), s.clone())) else { return };
    match kind {
        PromptKind::Setting => change(m, &preset, &setting, Some(text), effects),
        PromptKind::Sweep if m.launcher.changes.vary(&preset, &setting, Some(text)) => look(m, &preset, effects),
        _ => {}
    }
}

fn change(m: &mut Model, preset: &str, setting: &Setting, value: Option<&str>, effects: &mut Vec<Effect>) {
    if m.launcher.changes.set(preset, setting, value) {
        look(m, preset, effects);
    }
}

/// The text of a preset has come: the user's editor gets it.
pub fn text(m: &mut Model, preset: String, text: Result<String, String>, effects: &mut Vec<Effect>) {
    match text {
        Ok(text) => effects.push(Effect::EditText { what: Draft::Settings(preset), text, suffix: ".toml" }),
        Err(said) => m.note(Level::Warn, format!("{preset} cannot be edited: {said}")),
    }
}

/// The user's editor has left this of a preset's text.
pub fn edited(m: &mut Model, preset: &str, text: &str, effects: &mut Vec<Effect>) {
    let text = kiln_protocol::spec::edit::plain(text);
    let Some(form) = m.launcher.form.as_mut().filter(|f| f.preset == preset) else { return };
    // The settings are to be read anew, and the changes of the form have become part of the text.
    *form = form.anew(&m.launcher.changes);
    m.launcher.texts.insert(preset.to_owned(), text);
    m.launcher.changes.forget(preset);
    look(m, preset, effects);
}

/// A preset was saved, or was not.
pub fn saved(m: &mut Model, preset: &str, saved: Result<(String, String), String>, effects: &mut Vec<Effect>) {
    let (name, said) = match saved {
        Ok(saved) => saved,
        Err(said) => return m.note(Level::Warn, said),
    };
    m.note(Level::Info, said);
    let before = m.launcher.form.as_ref().map(|form| form.anew(&m.launcher.changes));
    // What was changed of the one is part of the other now.
    for preset in [preset, &name] {
        m.launcher.changes.forget(preset);
        m.launcher.texts.remove(preset);
    }
    let run_as = |p: &&PresetInfo| !p.run_as.is_empty() && p.name == preset;
    if let Some(of_a_run) = m.launcher.presets.iter().find(run_as).map(|p| p.name.clone()) {
        m.launcher.presets.retain(|p| p.name != of_a_run);
    } else if let Some(old) = m.launcher.presets.iter_mut().find(|p| p.name == preset) {
        old.known = false;
    }
    match m.launcher.presets.iter_mut().find(|p| p.name == name) {
        Some(known) => known.known = false,
        // One's own come first, as at the next start.
        None => m.launcher.presets.insert(0, PresetInfo { name: name.clone(), ..PresetInfo::default() }),
    }
    m.launcher.select(&name);
    if let Some(form) = before {
        // What differed is part of the preset now.
        m.launcher.form = Some(Form { preset: name.clone(), differing: false, ..form });
        look(m, &name, effects);
    }
}

/// Asks for the settings of the run that commands act on.
pub fn clone(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(id) = m.target() else { return };
    if matches!(m.link, Link::Up { .. }) {
        effects.push(m.asked.send(Ask::Clone(id.clone()), Request::Run { run: id }));
    } else {
        m.note(Level::Warn, "The engine is not connected, and it alone knows the run's settings.");
    }
}

/// The settings of a run have come: they become a preset of this session, open in the form.
pub fn cloned(m: &mut Model, run: &RunDetail, effects: &mut Vec<Effect>) {
    let name = run.summary.id.0.clone();
    if run.spec.trim().is_empty() {
        return m.note(Level::Warn, format!("The settings of {name} are not known: its folder has no spec.toml."));
    }
    let preset = &run.summary.preset;
    let info = PresetInfo {
        name: name.clone(),
        title: format!("The settings of {name}"),
        method: run.summary.method.clone(),
        run_as: if preset.is_empty() { base(&run.summary.id) } else { preset.clone() },
        known: true,
        ..PresetInfo::default()
    };
    m.launcher.presets.retain(|p| p.name != name);
    m.launcher.presets.insert(0, info);
    m.launcher.changes.forget(&name);
    m.launcher.texts.insert(name.clone(), run.spec.clone());
    m.launcher.select(&name);
    (m.screen, m.overlay) = (Screen::Launcher, None);
    if !run.knobs.is_empty() {
        let turned: Vec<String> = run.knobs.iter().map(|(key, value)| format!("{key} was set to {value}")).collect();
        let turned = turned.join(", ");
        m.note(Level::Info, format!("{name} was started with these settings; while it went on, {turned}."));
    }
    open(m, effects);
}

/// What a run is called after, where nobody says: its id without the random part.
fn base(id: &RunId) -> String {
    id.0.rsplit_once('-').map_or(id.0.as_str(), |(name, _)| name).to_owned()
}
