//! Finding one's way among runs: tags, notes, groups, columns, saved views, and completion of what is typed.

use kiln_protocol::labels::check_tag;
use kiln_protocol::wire::Request;
use kiln_protocol::{Level, RunId};

use crate::action::Action;
use crate::model::arrange::{Column, GroupBy};
use crate::model::input::Input;
use crate::model::list::List;
use crate::model::typing::{self, Completing};
use crate::model::{Ask, Model, Overlay, Prompt, PromptKind, Question};
use crate::msg::{Draft, Effect};
use crate::saved::{self, SavedView, ViewChange};
use crate::update::connected;

pub fn act(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::Tags => {
            let Some(run) = m.target().and_then(|id| m.runs.get(&id)) else { return };
            let mut text = run.tags.join(" ");
            if !text.is_empty() {
                text.push(' ');
            }
            m.tagging = Some(run.id.clone());
            // A list that is gone on with: taking a tag away is the rarer wish.
            m.prompt = Some(Prompt { kind: PromptKind::Tags, line: Input::at_end(&text), before: text });
        }
        Action::Group => {
            m.runs.group = GroupBy::next(m.runs.group);
            m.runs.folded.clear();
        }
        Action::Fold if m.runs.group.is_none() => {
            let key = m.keymap.first_key(Action::Group);
            m.note(
                Level::Info,
                format!("There are no groups to fold: {key} puts runs together by method, state and more."),
            );
        }
        Action::Fold => m.runs.fold(),
        Action::Columns => m.overlay = Some(Overlay::Columns(List::default())),
        Action::Views => m.overlay = Some(Overlay::Views(List::default())),
        Action::CloseViews | Action::CloseColumns => m.overlay = None,
        Action::ApplyView => {
            if let Some(name) = selected_view(m).map(|v| v.name.clone()) {
                m.overlay = None;
                apply(m, &name);
            }
        }
        Action::SaveView => {
            m.prompt = Some(Prompt::new(PromptKind::ViewName, ""));
        }
        Action::RemoveView => {
            let Some(view) = selected_view(m) else { return };
            let name = view.name.clone();
            if saved::shipped().contains(view) {
                return m.note(
                    Level::Info,
                    format!("`{name}` comes with Kiln and stays; one of that name of your own takes its place."),
                );
            }
            m.overlay = Some(Overlay::Confirm(Question::RemoveView(name)));
        }
        Action::ToggleColumn => {
            if let Some(column) = selected_column(m) {
                match m.runs.columns.iter().position(|c| *c == column) {
                    Some(at) => drop(m.runs.columns.remove(at)),
                    None => m.runs.columns.push(column),
                }
            }
        }
        Action::ColumnLeft | Action::ColumnRight => {
            let at = selected_column(m).and_then(|column| m.runs.columns.iter().position(|c| *c == column));
            let to = at.and_then(|at| if action == Action::ColumnLeft { at.checked_sub(1) } else { Some(at + 1) });
            if let Some((at, to)) = at.zip(to.filter(|to| *to < m.runs.columns.len())) {
                m.runs.columns.swap(at, to);
            }
        }
        Action::NoColumns => m.runs.columns.clear(),
        Action::Note => {
            // The row has the first line alone.
            if let Some(run) = m.target().filter(|_| connected(m)) {
                effects.push(m.asked.send(Ask::Note(run.clone()), Request::Run { run }));
            }
        }
        _ => {}
    }
}

/// The columns that can be chosen: all that the runs can fill, and those that were asked for besides.
pub fn columns(m: &Model) -> Vec<Column> {
    let mut all = Column::all(m.runs.all().iter());
    let besides = m.runs.columns.iter().filter(|c| !all.contains(c)).cloned().collect::<Vec<_>>();
    all.extend(besides);
    all
}

fn selected_column(m: &Model) -> Option<Column> {
    let Some(Overlay::Columns(list)) = &m.overlay else { return None };
    columns(m).into_iter().nth(list.selected)
}

fn selected_view(m: &Model) -> Option<&SavedView> {
    let Some(Overlay::Views(list)) = &m.overlay else { return None };
    m.saved.get(list.selected)
}

/// Makes the list look as a saved view says.
pub fn apply(m: &mut Model, name: &str) {
    let Some(view) = m.saved.iter().find(|v| v.name == name).cloned() else { return };
    view.apply(&mut m.runs);
    m.note_about("view", Level::Info, format!("{name}: {}", view.words()));
}

/// Views that were read from their file.
pub fn read(m: &mut Model, views: Vec<SavedView>, said: Result<String, String>) {
    m.saved = views;
    match said {
        Ok(said) => m.note_about("view", Level::Info, said),
        Err(said) => m.note_about("view", Level::Error, said),
    }
}

/// A line has been typed to its end. Returns whether it may go.
pub fn entered(m: &mut Model, kind: PromptKind, text: &str, effects: &mut Vec<Effect>) -> bool {
    match kind {
        PromptKind::RunFilter => {
            let Some(mistake) = m.runs.mistake.as_ref().map(ToString::to_string) else { return true };
            m.note_about("filter", Level::Warn, format!("The filter cannot be read: {mistake}"));
            false
        }
        PromptKind::Tags => tagged(m, text, effects),
        PromptKind::ViewName if text.trim().is_empty() => true,
        PromptKind::ViewName => {
            let name = text.trim();
            if let Err(said) = saved::check_name(name) {
                m.note(Level::Warn, said);
                return false;
            }
            let view = SavedView::of(name, &m.runs);
            effects.push(Effect::Views(ViewChange::Save(view)));
            true
        }
        _ => true,
    }
}

fn tagged(m: &mut Model, text: &str, effects: &mut Vec<Effect>) -> bool {
    let tags: Vec<String> = text.split_whitespace().map(|t| t.trim_start_matches('#').to_owned()).collect();
    if let Some(said) = tags.iter().find_map(|tag| check_tag(tag).err()) {
        m.note_about("tags", Level::Warn, said);
        return false;
    }
    let Some(run) = m.tagging.take().and_then(|id| m.runs.get(&id)).map(|r| (r.id.clone(), r.tags.clone())) else {
        return true;
    };
    let (run, before) = run;
    let add: Vec<String> = tags.iter().filter(|t| !before.contains(t)).cloned().collect();
    let remove: Vec<String> = before.into_iter().filter(|t| !tags.contains(t)).collect();
    if !(add.is_empty() && remove.is_empty()) && connected(m) {
        effects.push(m.asked.send(Ask::Do(run.clone(), "tag"), Request::Tag { run, add, remove }));
    }
    true
}

/// A run's note is known: it goes to the editor.
pub fn edit_note(run: RunId, note: String, effects: &mut Vec<Effect>) {
    effects.push(Effect::EditText { what: Draft::Note(run), text: note, suffix: ".md" });
}

/// A note has come back from the editor. Where it is as it was, the engine does nothing.
pub fn noted(m: &mut Model, run: RunId, note: String, effects: &mut Vec<Effect>) {
    if connected(m) {
        effects.push(m.asked.send(Ask::Do(run.clone(), "write the note of"), Request::Note { run, note }));
    }
}

/// Puts the next way to go on in the place of what was typed.
pub fn complete(m: &mut Model, by: isize) {
    let offers = typing::offers(m);
    let Some(prompt) = &mut m.prompt else { return };
    if offers.is_empty() {
        return;
    }
    let at = match &m.completing {
        Some(c) => (c.at as isize + by).rem_euclid(offers.len() as isize) as usize,
        None if by < 0 => offers.len() - 1,
        None => 0,
    };
    let base = m.completing.take().map_or_else(|| prompt.text().to_owned(), |c| c.base);
    if let Some(offer) = offers.get(at) {
        prompt.line.set(&offer.whole);
    }
    // With one way to go on there is nothing to go round: what comes next is completed anew.
    if offers.len() > 1 {
        m.completing = Some(Completing { base, at });
    }
}
