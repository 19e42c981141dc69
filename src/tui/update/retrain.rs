//! Training a candidate in full: the question, what is typed into it, the start.

use kiln_protocol::Level;
use kiln_protocol::wire::{Request, RunDetail};

use crate::keys::Key;
use crate::model::retrain::Retrain;
use crate::model::{Ask, Link, Model, Overlay, Prompt, PromptKind};
use crate::msg::Effect;

/// Asks for how many epochs the candidate that is looked at shall be trained.
pub fn ask(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(page) = m.detail.as_ref().and_then(|d| d.inspect.as_ref()) else { return };
    let Some(id) = page.id else {
        return m.note(Level::Info, "This point is no candidate of the run: there is nothing to train.");
    };
    let arch = page.anatomy.as_ref().map_or_else(|_| page.label.clone(), |a| a.arch.to_string());
    let Some(run) = open_run(m) else { return };
    match Retrain::new(run, id, arch) {
        Ok(question) => {
            effects.extend(question.spec().map(|spec| Effect::Estimate(spec.to_owned())));
            m.prompt = Some(Prompt::new(PromptKind::Epochs, &question.epochs));
            m.overlay = Some(Overlay::Retrain(Box::new(question)));
        }
        Err(said) => m.note(Level::Warn, format!("Candidate {id} cannot be trained: {said}.")),
    }
}

/// The open run as the engine tells it.
fn open_run(m: &Model) -> Option<RunDetail> {
    let detail = m.detail.as_ref()?;
    Some(RunDetail {
        summary: m.runs.get(&detail.id)?.clone(),
        spec: detail.spec.clone(),
        series: Vec::new(),
        views: detail.views.clone(),
        outcome: None,
        folder: detail.folder.clone(),
        knobs: Vec::new(),
        marks: Vec::new(),
        jobs: Vec::new(),
        note: String::new(),
    })
}

/// What messages about files of weights are about.
pub const EXPORT: &str = "export";

/// Has the weights of the candidate that is looked at written to a file, or those of the run's own network.
pub fn export(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(detail) = &m.detail else { return };
    let candidate = match detail.inspect.as_ref().map(|page| page.id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return m.note(Level::Info, "This point is no candidate of the run: there is nothing to export."),
    };
    let run = detail.id.clone();
    m.note_about(EXPORT, Level::Info, "Writing the weights");
    effects.push(Effect::Export { run, candidate });
}

/// A key while the question is open.
pub fn key(m: &mut Model, key: Key, effects: &mut Vec<Effect>) {
    use crossterm::event::KeyCode;
    let (Some(prompt), Some(Overlay::Retrain(question))) = (&mut m.prompt, &mut m.overlay) else { return };
    let before = prompt.text().to_owned();
    match key.code {
        KeyCode::Char('c') if key.ctrl => effects.push(Effect::Quit),
        KeyCode::Esc => return close(m),
        KeyCode::Enter => return start(m, effects),
        _ => {
            let fits = |c: char| c.is_ascii_digit() && (before.len() < 6 || prompt.line.is_selected());
            if key.typed().is_none_or(fits) {
                prompt.line.key(key);
            }
        }
    }
    if prompt.text() != before {
        question.set(prompt.text());
        effects.extend(question.spec().map(|spec| Effect::Estimate(spec.to_owned())));
    }
}

/// An estimate has come.
pub fn estimated(m: &mut Model, spec: String, words: Result<String, String>) {
    if let Some(Overlay::Retrain(question)) = &mut m.overlay
        && question.spec() == Some(spec.as_str())
    {
        question.estimate = Some((spec, words));
    }
}

fn close(m: &mut Model) {
    (m.overlay, m.prompt) = (None, None);
}

fn start(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(Overlay::Retrain(question)) = &m.overlay else { return };
    // What is wrong stands in the box.
    let Ok(request @ Request::Launch { preset, .. }) = &question.request else { return };
    let (preset, request) = (preset.clone(), request.clone());
    if matches!(m.link, Link::Up { .. }) {
        close(m);
        effects.push(m.asked.send(Ask::Launch(preset), request));
    } else {
        m.note(Level::Warn, "Nothing was started: the engine is not connected. Kiln keeps trying.");
    }
}
