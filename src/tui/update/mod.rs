//! What happens to the model. No terminal, no clock, no socket: everything comes in as a message and goes out as effects.
//!
//! - here: messages and keys
//! - [`engine`]: frames from the engine, and what is asked of it
//! - [`take`]: reports, tables, bundles of runs
//! - [`feel`]: theme, tour, clipboard, notifications; [`mouse`]: clicks on what all screens have; [`hints`]: keys worth showing
//! - [`pointer`]: what follows the mouse
//! - [`system`]: the page of the machine
//! - [`compare`]: marks, and runs side by side
//! - [`detail`]: keys of the open run; [`knobs`]: its live settings
//! - [`form`]: settings before a start
//! - [`find`]: tags, groups, columns, saved views, completion; [`palette`]

#[cfg(test)]
mod candidate_tests;
mod compare;
#[cfg(test)]
mod compare_tests;
mod detail;
mod engine;
mod feel;
mod find;
#[cfg(test)]
mod find_tests;
mod form;
#[cfg(test)]
mod form_tests;
pub mod hints;
mod knobs;
mod mouse;
mod palette;
mod pointer;
mod retrain;
mod system;
mod take;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod training_tests;

pub use find::columns;

use kiln_protocol::wire::Request;
use kiln_protocol::{Command, Level, RunState};
use ratatui::layout::{Position, Size};

pub use form::selected as selected_setting;
#[cfg(test)]
pub use knobs::open as open_knobs;

use crate::action::{Action, Context};
use crate::glyphs::{ASCII, UNICODE};
use crate::keys::Key;
use crate::layout;
use crate::model::detail::Tab;
use crate::model::list::Scroll;
use crate::model::{Ask, Link, Model, Overlay, Prompt, PromptKind, Question, Screen, figure, pages};
use crate::msg::{Draft, Effect, Msg};
use crate::options::Take;
use crate::saved::ViewChange;

/// Applies a message, and says what is to be done outside.
pub fn update(m: &mut Model, msg: Msg) -> Vec<Effect> {
    let mut effects = Vec::new();
    if let Msg::Hover(x, y) = msg {
        // Most movements change nothing: they must not cost a frame.
        m.dirty |= pointer::hover(m, Position { x, y });
        return effects;
    }
    m.dirty = true;
    match msg {
        Msg::Key(key) => on_key(m, key, &mut effects),
        Msg::Paste(text) => {
            if let Some(prompt) = m.prompt.as_mut().filter(|p| p.kind != PromptKind::Epochs) {
                prompt.line.insert(&text);
                m.completing = None;
                typed(m);
                form::typing(m, &mut effects);
            } else {
                palette::paste(m, &text);
            }
        }
        Msg::Wheel(by) => wheel(m, by as isize * 3),
        Msg::Click(x, y) => {
            click(m, Position { x, y }, &mut effects);
            m.pointer = Some(Position { x, y });
        }
        Msg::Drag(x, y) => pointer::drag(m, Position { x, y }),
        Msg::Hover(..) => {}
        Msg::Cell(cell) => {
            if let (Some(graphics), Some(cell)) = (&mut m.graphics, cell) {
                graphics.cell = cell;
            }
        }
        Msg::Resize(width, height) => m.size = Size { width, height },
        Msg::Tick(now) => {
            m.now = now;
            m.notes.retain(|n| n.until > now);
        }
        Msg::Connected { version, pid } => engine::connected(m, version, pid, &mut effects),
        Msg::Disconnected { reason, retry } => engine::disconnected(m, reason, retry),
        Msg::Frame(frame) => engine::frame(m, *frame, &mut effects),
        Msg::Loaded { preset, spec } => engine::loaded(m, preset, spec, &mut effects),
        Msg::Looked { wanted, info, settings } => form::looked(m, &wanted, *info, settings),
        Msg::Text { preset, text } => form::text(m, preset, text, &mut effects),
        Msg::Saved { preset, saved } => form::saved(m, &preset, saved, &mut effects),
        Msg::Estimated { spec, words } => retrain::estimated(m, spec, words),
        Msg::Compared { runs, found } => compare::compared(m, &runs, *found),
        Msg::Weighed(weighed) => compare::weighed(m, *weighed),
        Msg::Views { views, said } => find::read(m, views, said),
        Msg::Note(level, text) => m.note(level, text),
        Msg::Exported(level, text) => m.note_about(retrain::EXPORT, level, text),
        Msg::Edited { what, text } => {
            // The editor has written all over the screen.
            effects.push(Effect::Redraw);
            match text {
                Ok(text) => edited(m, what, text, &mut effects),
                Err(said) => m.note(Level::Warn, said),
            }
        }
        Msg::Themed { name, problems } => feel::themed(m, name, problems, &mut effects),
        Msg::Suspend => effects.push(Effect::Suspend),
        Msg::Continued => effects.extend([Effect::TakeOver, Effect::Redraw]),
        Msg::Leave => effects.push(Effect::Quit),
    }
    settle(m, &mut effects);
    effects
}

/// A text comes back from the user's editor.
fn edited(m: &mut Model, what: Draft, text: String, effects: &mut Vec<Effect>) {
    match what {
        Draft::Settings(preset) => form::edited(m, &preset, &text, effects),
        Draft::Note(run) => find::noted(m, run, text, effects),
    }
}

/// Puts right what depends on sizes, and asks the engine for what the screen now needs.
fn settle(m: &mut Model, effects: &mut Vec<Effect>) {
    let size = m.size;
    if m.overlay.is_none() {
        m.beneath.clear();
    }
    m.runs.now = m.now;
    m.runs.fit(usize::from(layout::runs(size).list.height));
    let presets = m.launcher.visible().count();
    m.launcher.list.fit(presets, usize::from(layout::launcher(size).1.height));
    if let Some(form) = &mut m.launcher.form {
        let rows = form.visible(&m.launcher.changes).len();
        form.list.fit(rows, usize::from(layout::form(size).list.height));
    }
    if let Some(Overlay::Knobs(knobs)) = &mut m.overlay {
        knobs.list.fit(knobs.knobs.len(), knobs.knobs.len());
    }
    let current = m.screen_contexts();
    if let Some(Overlay::Help(scroll)) = &mut m.overlay {
        let area = layout::framed(layout::help(size));
        scroll.fit(pages::help(usize::from(area.width), &current, &m.keymap).len(), usize::from(area.height));
    }
    if let Some(Overlay::Messages(scroll)) = m.overlay {
        let area = layout::framed(layout::help(size));
        let glyphs = if m.braille { &UNICODE } else { &ASCII };
        let lines = pages::messages(m, usize::from(area.width), glyphs).len();
        let mut scroll = scroll;
        scroll.fit(lines, usize::from(area.height));
        m.overlay = Some(Overlay::Messages(scroll));
    }
    let columns = if let Some(Overlay::Columns(_)) = m.overlay { find::columns(m).len() } else { 0 };
    match &mut m.overlay {
        Some(Overlay::Palette(palette)) => {
            let rows = palette.found().len();
            palette.list.fit(rows, usize::from(layout::palette(size).list.height));
        }
        Some(Overlay::Views(list)) => list.fit(m.saved.len(), usize::from(layout::framed(layout::views(size)).height)),
        Some(Overlay::Columns(list)) => list.fit(columns, usize::from(layout::framed(layout::picker(size)).height)),
        _ => {}
    }
    if m.screen == Screen::Detail {
        detail::settle(m, effects);
    }
    if m.screen == Screen::Compare {
        compare::settle(m, effects);
    }
    if m.screen == Screen::Launcher {
        form::read(m, effects);
    }
    system::settle(m, effects);
}

fn on_key(m: &mut Model, key: Key, effects: &mut Vec<Effect>) {
    if m.prompt.is_some() {
        return prompt_key(m, key, effects);
    }
    if matches!(m.overlay, Some(Overlay::Palette(_))) {
        return palette::key(m, key, effects);
    }
    if key.code == crossterm::event::KeyCode::Esc && m.overlay.is_none() {
        // What went wrong is acknowledged by a key of its own; other messages go along.
        let failed = m.notes.iter().any(|n| n.level == Level::Error);
        m.notes.clear();
        if failed {
            return;
        }
    }
    let Some(action) = m.keymap.lookup(&m.contexts(), key, m.facts()) else { return };
    let closed = m.toured.take().filter(|(last, t)| *last == key && m.now - t < LINGERS);
    if action == Action::Launch && closed.is_some() {
        // Pressed once too often on the tour's last page.
        return m.note(Level::Info, format!("The tour is over: {key} once more starts the selected preset."));
    }
    let touring = matches!(m.overlay, Some(Overlay::Tour(_)));
    act(m, action, key, effects);
    if touring && m.overlay.is_none() {
        m.toured = Some((key, m.now));
    }
}

/// Seconds after the tour's end in which the key that ended it starts nothing.
const LINGERS: f64 = 1.5;

/// Does what a key means.
fn act(m: &mut Model, action: Action, key: Key, effects: &mut Vec<Effect>) {
    match action {
        Action::Quit => effects.push(Effect::Quit),
        Action::Suspend => effects.push(Effect::Suspend),
        Action::Redraw => effects.push(Effect::Redraw),
        Action::Theme | Action::Tour | Action::NextPage | Action::PrevPage | Action::CloseTour => {
            feel::act(m, action, effects)
        }
        Action::Copy | Action::CopyId | Action::CopyPath | Action::Mouse => feel::act(m, action, effects),
        Action::Help => m.cover(Overlay::Help(Scroll::default())),
        Action::Messages => m.cover(Overlay::Messages(Scroll::default())),
        Action::CloseHelp => m.uncover(),
        Action::Decline | Action::ClosePicker | Action::CloseKnobs => m.overlay = None,
        Action::Confirm => confirmed(m, effects),
        Action::Retrain => retrain::ask(m, effects),
        Action::Export => retrain::export(m, effects),
        Action::Report => take::take(m, Take::Report, effects),
        Action::TakePoints => take::take(m, Take::Points, effects),
        Action::TakeEvents => take::take(m, Take::Events, effects),
        Action::TakeCharts => take::take(m, Take::Charts, effects),
        Action::TakeBundle => take::take(m, Take::Bundle, effects),
        Action::Repeat => take::take(m, Take::Repeat, effects),
        Action::Mark => compare::mark(m),
        Action::MarkAll => compare::mark_all(m),
        Action::Compare => compare::open(m),
        Action::OpenJob => {
            let open = m.detail.as_ref().and_then(|d| Some(m.runs.jobs(&d.id).get(d.jobs.selected)?.id.clone()));
            if let Some(id) = open {
                engine::open(m, id, effects);
            }
        }
        Action::Launcher => m.screen = Screen::Launcher,
        Action::Launch => launch(m, effects),
        Action::Settings => form::open(m, effects),
        Action::CloseForm => m.launcher.form = None,
        Action::System => system::toggle(m),
        Action::Ahead | Action::Behind => system::reorder(m, action, effects),
        Action::Sooner | Action::Later if m.screen == Screen::System => system::reorder(m, action, effects),
        Action::Open if m.screen == Screen::System => {
            if let Some(id) = system::chosen(m) {
                engine::open(m, id, effects);
            }
        }
        Action::Edit
        | Action::NextOption
        | Action::PrevOption
        | Action::TakeBack
        | Action::Vary
        | Action::FormFilter
        | Action::Differing
        | Action::SavePreset
        | Action::EditText => form::act(m, action, effects),
        Action::Clone => form::clone(m, effects),
        Action::Tune => knobs::ask(m, effects),
        Action::TurnKnob => knobs::edit(m),
        Action::Open => {
            if let Some(id) = m.runs.selected.clone() {
                engine::open(m, id, effects);
            }
        }
        Action::Back => back(m, effects),
        Action::ClearFilter if m.runs.filter().is_empty() => m.runs.group = None,
        Action::ClearFilter => m.runs.set_filter(""),
        Action::Palette => palette::open(m),
        Action::Filter => prompt(m, PromptKind::RunFilter),
        Action::PresetFilter => prompt(m, PromptKind::PresetFilter),
        Action::PickFilter => prompt(m, PromptKind::SeriesFilter),
        Action::Search => prompt(m, PromptKind::LogSearch),
        Action::Pause | Action::Resume | Action::Stop | Action::Remove | Action::Checkpoint => {
            command(m, action, effects);
        }
        Action::Sooner => priority(m, 1, effects),
        Action::Later => priority(m, -1, effects),
        Action::Tags
        | Action::Note
        | Action::Group
        | Action::Fold
        | Action::Columns
        | Action::Views
        | Action::ApplyView
        | Action::SaveView
        | Action::RemoveView
        | Action::CloseViews
        | Action::ToggleColumn
        | Action::ColumnLeft
        | Action::ColumnRight
        | Action::NoColumns
        | Action::CloseColumns => find::act(m, action, effects),
        Action::Up => step(m, -1),
        Action::Down => step(m, 1),
        Action::PageUp => step(m, -page(m)),
        Action::PageDown => step(m, page(m)),
        // Half of the range: two of them added stay within it.
        Action::Top => step(m, isize::MIN / 2),
        Action::Bottom => step(m, isize::MAX / 2),
        Action::NextRun => neighbour(m, 1, effects),
        Action::PrevRun => neighbour(m, -1, effects),
        Action::Sort | Action::SortBack | Action::Reverse if m.screen == Screen::Runs => match action {
            Action::Reverse => m.runs.reverse = !m.runs.reverse,
            _ => {
                m.runs.sort = m.runs.sort.next(if action == Action::Sort { 1 } else { -1 });
                m.runs.reverse = false;
            }
        },
        _ if m.screen == Screen::Compare => compare::act(m, action, key, effects),
        _ => detail::act(m, action, key),
    }
}

/// Rows of whatever scrolls now, less one for context.
fn page(m: &Model) -> isize {
    let height = match (&m.overlay, m.screen) {
        (Some(Overlay::Help(_) | Overlay::Messages(_)), _) => layout::framed(layout::help(m.size)).height,
        (Some(Overlay::Picker | Overlay::Columns(_)), _) => layout::framed(layout::picker(m.size)).height,
        (Some(Overlay::Views(_)), _) => layout::framed(layout::views(m.size)).height,
        (Some(Overlay::Palette(_)), _) => layout::palette(m.size).list.height,
        (_, Screen::Runs) => layout::runs(m.size).list.height,
        (_, Screen::Launcher) if m.launcher.form.is_some() => layout::form(m.size).list.height,
        (_, Screen::Launcher) => layout::launcher(m.size).1.height,
        (_, Screen::Compare) => compare::page(m),
        (_, Screen::Detail) => layout::detail(m.size).content.height,
        (_, Screen::System) => layout::system(m.size).columns[0].height,
    };
    isize::from(height as i16).max(2) - 1
}

/// Moves whatever scrolls or selects now.
fn step(m: &mut Model, by: isize) {
    let columns = if let Some(Overlay::Columns(_)) = m.overlay { find::columns(m).len() } else { 0 };
    match (&mut m.overlay, m.screen) {
        (Some(Overlay::Help(scroll) | Overlay::Messages(scroll)), _) => scroll.step(by),
        (Some(Overlay::Confirm(_) | Overlay::Retrain(_) | Overlay::Tour(_)), _) => {}
        (Some(Overlay::Knobs(knobs)), _) => knobs.list.step(by, knobs.knobs.len()),
        (Some(Overlay::Views(list)), _) => list.step(by, m.saved.len()),
        (Some(Overlay::Columns(list)), _) => list.step(by, columns),
        (Some(Overlay::Palette(_)), _) => palette::step(m, by.signum()),
        (Some(Overlay::Picker), _) => {
            if let Some(detail) = &mut m.detail {
                let n = detail.curves.pickable().len();
                detail.curves.picker.step(by, n);
            }
        }
        (None, Screen::Runs) => m.runs.step(by),
        (None, Screen::Launcher) => match &mut m.launcher.form {
            Some(form) => form.list.step(by, form.visible(&m.launcher.changes).len()),
            None => {
                let presets = m.launcher.visible().count();
                m.launcher.list.step(by, presets);
            }
        },
        (None, Screen::Compare) => compare::step(m, by),
        (None, Screen::Detail) => detail::step(m, by),
        (None, Screen::System) => crate::model::system::step(m, by),
    }
}

fn wheel(m: &mut Model, by: isize) {
    if m.prompt.is_some() {
        return;
    }
    let zooms = m.overlay.is_none() && m.contexts().first() == Some(&Context::Curves);
    let factor = if by < 0 { 0.8 } else { 1.25 };
    let place = m.pointer.filter(|_| zooms).and_then(|at| pointer::place(m, at));
    match (&mut m.detail, zooms, place) {
        (Some(detail), true, Some(place)) => detail.curves.zoom_at(factor, place),
        (Some(detail), true, None) => detail.curves.zoom(factor),
        _ => step(m, by),
    }
}

fn click(m: &mut Model, at: Position, effects: &mut Vec<Effect>) {
    if mouse::over(m, at, effects) {
        return;
    }
    match m.screen {
        Screen::Runs => {
            let list = layout::runs(m.size).list;
            if list.contains(at) {
                let line = m.runs.list.offset + usize::from(at.y - list.y);
                match m.runs.on_line(line) {
                    Some(id) if m.runs.selected.as_ref() == Some(&id) => engine::open(m, id, effects),
                    Some(id) => m.runs.selected = Some(id),
                    None => {}
                }
            }
        }
        Screen::Launcher if m.launcher.form.is_some() => {
            let list = layout::form(m.size).list;
            if let Some(form) = m.launcher.form.as_mut().filter(|_| list.contains(at)) {
                form.list.selected = form.list.offset + usize::from(at.y - list.y);
            }
        }
        Screen::Launcher => {
            let list = layout::launcher(m.size).1;
            if list.contains(at) {
                m.launcher.list.selected = m.launcher.list.offset + usize::from(at.y - list.y);
            }
        }
        Screen::Compare => compare::click(m, at, effects),
        Screen::Detail => detail::click(m, at),
        Screen::System => {
            if system::click(m, at)
                && let Some(id) = system::chosen(m)
            {
                engine::open(m, id, effects);
            }
        }
    }
}

fn back(m: &mut Model, effects: &mut Vec<Effect>) {
    if m.screen == Screen::System {
        return system::leave(m);
    }
    if m.screen == Screen::Launcher && !m.launcher.filter.is_empty() {
        return m.launcher.set_filter("");
    }
    if m.screen == Screen::Detail && detail::retreat(m) || m.screen == Screen::Compare && !compare::leave(m) {
        return;
    }
    if m.screen == Screen::Detail && m.compare.is_some() {
        // A run that was opened from a comparison leads back to it.
        engine::close(m, effects);
        m.screen = Screen::Compare;
        return;
    }
    if let (Screen::Detail, Some(detail)) = (m.screen, &m.detail) {
        if let Some((experiment, n)) = detail.id.parent() {
            engine::open(m, experiment, effects);
            if let Some(detail) = &mut m.detail {
                (detail.tab, detail.steered) = (Tab::Jobs, true);
                detail.jobs.selected = n.saturating_sub(1) as usize;
            }
            return;
        }
        engine::close(m, effects);
    }
    m.compare = None;
    m.screen = Screen::Runs;
}

/// Opens the run `by` rows further down the list.
fn neighbour(m: &mut Model, by: isize, effects: &mut Vec<Effect>) {
    let job = m.detail.as_ref().and_then(|d| Some((d.id.clone(), d.id.parent()?.0)));
    let next = match job {
        // A job's neighbours are the other jobs of its experiment.
        Some((id, experiment)) => {
            let jobs = m.runs.jobs(&experiment);
            let here = jobs.iter().position(|job| job.id == id);
            let next = here.and_then(|at| jobs.get(at.checked_add_signed(by)?));
            next.map(|job| job.id.clone())
        }
        None => {
            m.runs.step(by);
            m.runs.selected.clone()
        }
    };
    if let Some(id) = next.filter(|id| m.detail.as_ref().is_some_and(|d| d.id != *id)) {
        let tab = m.detail.as_ref().map(|d| d.tab.clone());
        engine::open(m, id, effects);
        // Whoever compares runs stays on the tab that is being compared.
        if let (Some(detail), Some(tab)) = (&mut m.detail, tab) {
            (detail.tab, detail.steered) = (tab, true);
        }
    }
}

fn connected(m: &mut Model) -> bool {
    let up = matches!(m.link, Link::Up { .. });
    if !up {
        m.note(Level::Warn, "Nothing was done: the engine is not connected. Kiln keeps trying.");
    }
    up
}

/// Pause, resume, stop, remove, checkpoint: checked against the run's state, so that a wrong key says why it does nothing.
fn command(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let Some(run) = m.target().and_then(|id| m.runs.get(&id)).cloned() else { return };
    let state = run.state;
    let refuse =
        |m: &mut Model, what: &str| m.note_about(&run.id.0, Level::Info, format!("{} is {state}: {what}", run.id));
    let command = match action {
        Action::Pause if state == RunState::Paused => Command::Resume,
        Action::Pause if state == RunState::Running => Command::Pause,
        Action::Pause => return refuse(m, "only a running run can be paused."),
        Action::Resume if state == RunState::Paused || (state.is_ended() && state != RunState::Completed) => {
            Command::Resume
        }
        Action::Resume => return refuse(m, "there is nothing to resume."),
        Action::Checkpoint if state == RunState::Running => Command::Checkpoint,
        Action::Checkpoint => return refuse(m, "a checkpoint can be asked for only while a run goes on."),
        Action::Stop if state.is_ended() => return refuse(m, "there is nothing to stop."),
        Action::Stop => {
            m.overlay = Some(Overlay::Confirm(Question::Stop(run.id)));
            return;
        }
        _ if !state.is_ended() => return refuse(m, "stop it before removing it."),
        _ => {
            m.overlay = Some(Overlay::Confirm(Question::Remove(run.id)));
            return;
        }
    };
    if connected(m) {
        let what = match command {
            Command::Pause => "pause",
            Command::Resume => "resume",
            _ => "write a checkpoint of",
        };
        effects.push(m.asked.send(Ask::Do(run.id.clone(), what), Request::Control { run: run.id, command }));
    }
}

fn confirmed(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(Overlay::Confirm(question)) = m.overlay.take() else { return };
    if let Question::RemoveView(name) = question {
        return effects.push(Effect::Views(ViewChange::Remove(name)));
    }
    if !connected(m) {
        return;
    }
    effects.push(match question {
        Question::Stop(run) => {
            m.asked.send(Ask::Do(run.clone(), "stop"), Request::Control { run, command: Command::Stop })
        }
        Question::Remove(run) => m.asked.send(Ask::Do(run.clone(), "remove"), Request::Remove { run }),
        // A matter of this client alone, done above.
        Question::RemoveView(_) => return,
    });
}

fn priority(m: &mut Model, by: i32, effects: &mut Vec<Effect>) {
    let Some(run) = m.target().and_then(|id| m.runs.get(&id)).cloned() else { return };
    if run.state != RunState::Queued {
        m.note(Level::Info, format!("{} is {}: only queued runs have a place in the queue.", run.id, run.state));
    } else if connected(m) {
        let priority = run.priority.saturating_add(by);
        effects.push(m.asked.send(Ask::Do(run.id.clone(), "move"), Request::Priority { run: run.id, priority }));
    }
}

/// Starts the selected preset: loads it first, then asks the engine. One that cannot be started says why.
fn launch(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(info) = m.launcher.selected() else { return };
    let preset = info.name.clone();
    if let Some(problem) = &info.problem {
        let text = format!("{preset} cannot be started yet: {problem}");
        return m.note(Level::Warn, text);
    }
    if m.launcher.busy.is_none() && connected(m) {
        m.launcher.problems.remove(&preset);
        m.launcher.busy = Some(preset.clone());
        effects.push(Effect::Load(m.launcher.wanted(&preset)));
    }
}

fn prompt(m: &mut Model, kind: PromptKind) {
    let text = match kind {
        PromptKind::RunFilter => m.runs.filter().to_owned(),
        PromptKind::PresetFilter => m.launcher.filter.clone(),
        _ => prompted(m, kind).map(|t| t.clone()).unwrap_or_default(),
    };
    m.prompt = Some(Prompt::new(kind, &text));
}

/// The text that a prompt edits.
fn prompted(m: &mut Model, kind: PromptKind) -> Option<&mut String> {
    match kind {
        // Read whenever it changes.
        PromptKind::RunFilter | PromptKind::PresetFilter => None,
        PromptKind::Tags | PromptKind::ViewName => None,
        PromptKind::SeriesFilter => m.detail.as_mut().map(|d| &mut d.curves.picker_filter),
        PromptKind::LogSearch => m.detail.as_mut().map(|d| &mut d.log.query),
        PromptKind::Epochs => match &mut m.overlay {
            Some(Overlay::Retrain(question)) => Some(&mut question.epochs),
            _ => None,
        },
        PromptKind::FormFilter => m.launcher.form.as_mut().map(|f| &mut f.filter),
        // Applied when it is whole.
        PromptKind::Setting | PromptKind::Sweep | PromptKind::PresetName | PromptKind::Knob => None,
    }
}

fn prompt_key(m: &mut Model, key: Key, effects: &mut Vec<Effect>) {
    use crossterm::event::KeyCode;
    if matches!(m.prompt, Some(Prompt { kind: PromptKind::Epochs, .. })) {
        return retrain::key(m, key, effects);
    }
    if matches!(m.prompt, Some(Prompt { kind: PromptKind::Knob, .. })) {
        return knobs::key(m, key, effects);
    }
    match key.code {
        KeyCode::Tab => {
            find::complete(m, 1);
            return typed(m);
        }
        KeyCode::BackTab => {
            find::complete(m, -1);
            return typed(m);
        }
        _ => m.completing = None,
    }
    let Some(prompt) = &mut m.prompt else { return };
    let whole = in_form(prompt.kind) || matches!(prompt.kind, PromptKind::Tags | PromptKind::ViewName);
    match key.code {
        KeyCode::Char('c') if key.ctrl => effects.push(Effect::Quit),
        KeyCode::Backspace if prompt.text().is_empty() && !whole => m.prompt = None,
        KeyCode::Esc => {
            let before = std::mem::take(&mut prompt.before);
            prompt.line.set(&before);
            typed(m);
            m.prompt = None;
            return;
        }
        KeyCode::Enter => {
            let (kind, text) = (prompt.kind, prompt.text().to_owned());
            if !find::entered(m, kind, &text, effects) {
                return;
            }
            m.prompt = None;
            if in_form(kind) {
                form::typed(m, kind, &text, effects);
            }
            if kind == PromptKind::LogSearch
                && let Some(detail) = &mut m.detail
                && !detail.log.search(true)
                && !detail.log.query.is_empty()
            {
                let text = format!("No line of the log contains `{}`.", detail.log.query);
                m.note(Level::Info, text);
            }
            return;
        }
        KeyCode::Up | KeyCode::Down if whole => {}
        KeyCode::Up => return step(m, -1),
        KeyCode::Down => return step(m, 1),
        _ => drop(prompt.line.key(key)),
    }
    typed(m);
    form::typing(m, effects);
}

/// Whether the line is part of the form, and applied when it is whole.
fn in_form(kind: PromptKind) -> bool {
    matches!(kind, PromptKind::Setting | PromptKind::Sweep | PromptKind::PresetName)
}

/// Filters and searches apply while they are typed.
fn typed(m: &mut Model) {
    let Some((kind, text)) = m.prompt.as_ref().map(|p| (p.kind, p.text().to_owned())) else { return };
    if kind == PromptKind::RunFilter {
        m.runs.set_filter(&text);
    } else if kind == PromptKind::PresetFilter {
        m.launcher.set_filter(&text);
    } else if let Some(edited) = prompted(m, kind) {
        *edited = text;
    }
}

/// Whether a key of the current context makes sense for what is selected: decides which hints the status bar shows.
pub fn applies(m: &Model, action: Action) -> bool {
    let state = m.target().and_then(|id| m.runs.get(&id)).map(|r| r.state);
    let any = |f: fn(RunState) -> bool| state.is_some_and(f);
    if m.screen == Screen::Compare && action.contexts().contains(&Context::Compare) {
        return compare::applies(m, action);
    }
    match action {
        Action::Open | Action::Behind if m.screen == Screen::System => system::applies(m, action),
        Action::Open => state.is_some(),
        Action::Mark => !m.runs.is_empty(),
        Action::Compare => {
            let selected = m.target().and_then(|id| m.runs.get(&id));
            !m.runs.marked.is_empty() || selected.is_some_and(|run| run.jobs.is_some())
        }
        Action::Pause => any(|s| matches!(s, RunState::Running)),
        Action::Resume => any(|s| matches!(s, RunState::Paused | RunState::Stopped | RunState::Failed)),
        Action::Stop => any(|s| !s.is_ended()),
        Action::Remove => any(RunState::is_ended),
        Action::Filter | Action::Sort | Action::Reverse if m.screen == Screen::Runs => !m.runs.is_empty(),
        Action::Launch => m.launcher.selected().is_some_and(|p| m.launcher.problem(p).is_none()),
        Action::SavePreset => m.launcher.selected().is_some() && form::mistake(m).is_none(),
        Action::Settings | Action::EditText => m.launcher.selected().is_some(),
        Action::Edit | Action::Vary => form::selected(m).is_some(),
        Action::Tune => any(|s| s != RunState::Completed),
        Action::NextOption => form::selected(m).is_some_and(|(_, s, v)| crate::model::form::option(s, v, 1).is_some()),
        Action::TakeBack => form::selected(m)
            .is_some_and(|(p, s, v)| s.value != v || m.launcher.changes.sweep(p, &s.field.key).is_some()),
        Action::NextPanel | Action::Maximise => m.detail.as_ref().is_some_and(|d| d.curves.panels.len() > 1),
        Action::PerCandidate => m
            .detail
            .as_ref()
            .is_some_and(|d| d.curves.series.iter().any(|s| crate::model::curves::per_candidate(&s.name))),
        // Views with two ways to go say so in one hint.
        Action::PointRight => match m.contexts().first() {
            Some(Context::Text) => m.detail.as_ref().and_then(|d| d.page()).is_some_and(|scroll| scroll.most_left > 0),
            context => matches!(context, Some(Context::Lines | Context::Layers)),
        },
        Action::Alone => m.detail.as_ref().is_some_and(|d| match &d.tab {
            Tab::View(name) => d.view(name).is_some_and(figure::several),
            _ => false,
        }),
        Action::Export => m.contexts().first() == Some(&Context::Inspect) || state == Some(RunState::Completed),
        Action::NextWinner => m.detail.as_ref().is_some_and(|d| match &d.tab {
            Tab::View(name) => d.view(name).is_some_and(|v| figure::context(v) == Context::Clusters),
            _ => false,
        }),
        _ => true,
    }
}
