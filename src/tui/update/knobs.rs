//! Live settings of a run: what they are, what is typed, what is sent.

use kiln_protocol::wire::{Request, RunDetail};
use kiln_protocol::{Command, Level};

use crate::keys::Key;
use crate::model::knobs::Knobs;
use crate::model::{Ask, Link, Model, Overlay, Prompt, PromptKind};
use crate::msg::Effect;

/// Asks what can be changed of the run that commands act on.
pub fn ask(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(id) = m.target() else { return };
    if matches!(m.link, Link::Up { .. }) {
        effects.push(m.asked.send(Ask::Tune(id.clone()), Request::Run { run: id }));
    } else {
        m.note(Level::Warn, "Nothing was done: the engine is not connected. Kiln keeps trying.");
    }
}

/// The run has been told.
pub fn open(m: &mut Model, run: &RunDetail) {
    match Knobs::new(run) {
        Ok(knobs) => m.overlay = Some(Overlay::Knobs(Box::new(knobs))),
        Err(said) => m.note_about(&run.summary.id.0, Level::Info, said),
    }
}

/// Has another value typed.
pub fn edit(m: &mut Model) {
    let Some(Overlay::Knobs(knobs)) = &mut m.overlay else { return };
    knobs.wrong = None;
    let Some(value) = knobs.selected().map(|knob| knob.value.clone()) else { return };
    m.prompt = Some(Prompt::new(PromptKind::Knob, &value));
}

/// A key while a value is typed. A value that does not fit stays in the line, and the box says why.
pub fn key(m: &mut Model, key: Key, effects: &mut Vec<Effect>) {
    use crossterm::event::KeyCode;
    let (Some(prompt), Some(Overlay::Knobs(knobs))) = (&mut m.prompt, &mut m.overlay) else { return };
    match key.code {
        KeyCode::Char('c') if key.ctrl => effects.push(Effect::Quit),
        KeyCode::Esc => {
            knobs.wrong = None;
            m.prompt = None;
            return;
        }
        KeyCode::Enter => {
            let text = prompt.text().trim().to_owned();
            let Some(knob) = knobs.selected() else { return };
            knobs.wrong = knob.field.check(&text).err();
            if knobs.wrong.is_none() {
                m.prompt = None;
                send(m, text, effects);
            }
            return;
        }
        _ => drop(prompt.line.key(key)),
    }
    let text = prompt.text().trim().to_owned();
    knobs.wrong = knobs.selected().and_then(|knob| knob.field.check(&text).err());
}

fn send(m: &mut Model, value: String, effects: &mut Vec<Effect>) {
    let Some(Overlay::Knobs(knobs)) = &m.overlay else { return };
    let Some(knob) = knobs.selected().filter(|knob| knob.value != value) else { return };
    let (run, key) = (knobs.run.clone(), knob.field.key.clone());
    if matches!(m.link, Link::Up { .. }) {
        let command = Command::Set { key: key.clone(), value: value.clone() };
        effects.push(m.asked.send(Ask::Knob(run.clone(), key, value), Request::Control { run, command }));
    } else {
        m.note(Level::Warn, "Nothing was changed: the engine is not connected. Kiln keeps trying.");
    }
}

/// The engine has passed a change on.
pub fn sent(m: &mut Model, run: &kiln_protocol::RunId, key: &str, value: &str) {
    let mut when = "";
    if let Some(Overlay::Knobs(knobs)) = m.overlay.as_mut().filter(|o| matches!(o, Overlay::Knobs(k) if k.run == *run))
    {
        knobs.turned(key, value);
        when = knobs.when();
    }
    m.note_about(&run.0, Level::Info, format!("{run}: {key} is {value}{when}."));
}
