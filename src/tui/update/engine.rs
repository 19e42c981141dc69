//! Frames from the engine, and what is asked of it.

use kiln_protocol::wire::{FromEngine, Push, Reply, Request};
use kiln_protocol::{Level, RunId, RunState, RunSummary};

use crate::model::detail::Detail;
use crate::model::runs::doing;
use crate::model::{Ask, Link, Model, Screen};
use crate::msg::Effect;
use crate::options::Start;
use crate::update::{feel, find, form, knobs, system};

/// Events asked for when a run is opened: enough to scroll back for a while, read in an instant.
const EVENTS: u32 = 5000;

/// A connection stands: ask for everything that may have changed meanwhile.
pub fn connected(m: &mut Model, version: String, pid: u32, effects: &mut Vec<Effect>) {
    if matches!(m.link, Link::Down { .. }) {
        m.note(Level::Info, format!("Connected to the engine (pid {pid})."));
    }
    m.link = Link::Up { version, pid };
    effects.push(m.asked.send(Ask::Runs, Request::Runs));
    effects.push(m.asked.send(Ask::Status, Request::Status));
    match m.detail.as_ref().map(|d| d.id.clone()) {
        Some(id) => ask_run(m, id, effects),
        None => effects.push(m.asked.send(Ask::Watch, Request::Watch { run: None })),
    }
}

/// The connection is gone. What is on the screen stays.
pub fn disconnected(m: &mut Model, reason: String, retry: f64) {
    let since = match &m.link {
        Link::Down { since, .. } => *since,
        _ => m.now,
    };
    m.link = Link::Down { reason, since, retry_at: m.now + retry };
    for ask in m.asked.forget() {
        match ask {
            Ask::Launch(preset) => {
                m.note(
                    Level::Warn,
                    format!(
                        "The connection was lost while {preset} was being started; the list will show whether it was."
                    ),
                );
            }
            Ask::Do(run, what) => {
                m.note(Level::Warn, format!("The connection was lost before the engine confirmed: {what} {run}."))
            }
            _ => {}
        }
    }
    m.launcher.busy = None;
    if let Some(detail) = &mut m.detail {
        detail.curves.doubt();
        detail.past.doubt();
    }
    if let Some(compare) = &mut m.compare {
        compare.overlay.forget();
    }
}

/// Opens a run: watches it and asks for everything about it.
pub fn open(m: &mut Model, id: RunId, effects: &mut Vec<Effect>) {
    m.screen = Screen::Detail;
    m.overlay = None;
    if id.parent().is_none() {
        m.runs.select(id.clone());
    }
    if m.detail.as_ref().is_some_and(|d| d.id == id) {
        return;
    }
    m.detail = Some(Detail::new(id.clone()));
    if matches!(m.link, Link::Up { .. }) {
        ask_run(m, id, effects);
    }
}

fn ask_run(m: &mut Model, id: RunId, effects: &mut Vec<Effect>) {
    effects.push(m.asked.send(Ask::Watch, Request::Watch { run: Some(id.clone()) }));
    effects.push(m.asked.send(Ask::Run(id.clone()), Request::Run { run: id.clone() }));
    let request = Request::Events { run: id.clone(), after: 0, limit: EVENTS, tail: true };
    effects.push(m.asked.send(Ask::Events(id), request));
}

/// Closes the open run.
pub fn close(m: &mut Model, effects: &mut Vec<Effect>) {
    if m.detail.take().is_some() && matches!(m.link, Link::Up { .. }) {
        effects.push(m.asked.send(Ask::Watch, Request::Watch { run: None }));
    }
}

/// A preset has been loaded: have it started.
pub fn loaded(m: &mut Model, preset: String, spec: Result<String, String>, effects: &mut Vec<Effect>) {
    match spec {
        Ok(spec) if matches!(m.link, Link::Up { .. }) => {
            let of_a_run = m.launcher.presets.iter().find(|p| p.name == preset && !p.run_as.is_empty());
            let called = of_a_run.map_or_else(|| preset.clone(), |p| p.run_as.clone());
            let request = Request::Launch { preset: called, spec, priority: 0, origin: None };
            effects.push(m.asked.send(Ask::Launch(preset), request));
        }
        Ok(_) => {
            m.launcher.busy = None;
            m.note(Level::Warn, format!("{preset} was not started: the engine is not connected. Kiln keeps trying."));
        }
        Err(problems) => {
            m.launcher.busy = None;
            m.launcher.problems.insert(preset, problems);
        }
    }
}

pub fn frame(m: &mut Model, frame: FromEngine, effects: &mut Vec<Effect>) {
    match frame {
        FromEngine::Reply { id, reply } => {
            let Some(ask) = m.asked.answered(id) else { return };
            match reply {
                Ok(reply) => answer(m, ask, reply, effects),
                Err(reason) => refused(m, ask, reason),
            }
        }
        FromEngine::Push(push) => pushed(m, push, effects),
    }
}

fn answer(m: &mut Model, ask: Ask, reply: Reply, effects: &mut Vec<Effect>) {
    match (ask, reply) {
        (Ask::Runs, Reply::Runs { runs }) => {
            let first = !m.runs.loaded;
            m.runs.replace(runs);
            if first {
                arrived(m, effects);
            }
        }
        (Ask::Status, Reply::Status { status }) => system::status(m, *status),
        (Ask::Advice, Reply::Advice { advice }) => system::advised(m, advice),
        (Ask::Run(id), Reply::Run { run }) => {
            m.runs.merge(vec![run.summary.clone()]);
            m.runs.merge(run.jobs.clone());
            if let Some(detail) = m.detail.as_mut().filter(|d| d.id == id) {
                detail.load(*run);
            }
        }
        (Ask::Note(id), Reply::Run { run }) => find::edit_note(id, run.note, effects),
        (Ask::Events(id), Reply::Events { events }) => {
            if let Some(detail) = m.detail.as_mut().filter(|d| d.id == id) {
                events.iter().for_each(|event| detail.recall(event));
            }
        }
        (Ask::Series(id, want), Reply::Series { series }) => {
            if let Some(detail) = m.detail.as_mut().filter(|d| d.id == id) {
                detail.curves.answer(&want, series);
            }
        }
        (Ask::Clocks(id), Reply::Clock { clocks }) => {
            if let Some(detail) = m.detail.as_mut().filter(|d| d.id == id) {
                detail.curves.clocked.answer(clocks);
            }
        }
        (Ask::Past(id, view), Reply::Past { states }) => {
            if let Some(detail) = m.detail.as_mut().filter(|d| d.id == id) {
                detail.past.answer(&view, states);
            }
        }
        (Ask::Overlay(need), reply) => super::compare::answered(m, need, Some(reply)),
        (Ask::Clone(_), Reply::Run { run }) => form::cloned(m, &run, effects),
        (Ask::Tune(_), Reply::Run { run }) => knobs::open(m, &run),
        (Ask::Knob(run, key, value), Reply::Done) => knobs::sent(m, &run, &key, &value),
        (Ask::Launch(preset), Reply::Launched { run }) => {
            (m.launcher.busy, m.launcher.form) = (None, None);
            m.note_about(&run.0, Level::Info, format!("Launched {preset} as {run}."));
            open(m, run, effects);
        }
        (Ask::Watch | Ask::Do(..), _) => {}
        (ask, _) => tracing::warn!(?ask, "the engine's answer is of another kind than the question"),
    }
}

fn refused(m: &mut Model, ask: Ask, reason: String) {
    match ask {
        Ask::Launch(preset) => {
            m.launcher.busy = None;
            m.launcher.problems.insert(preset, reason.clone());
            m.note(Level::Error, reason);
        }
        Ask::Do(run, what) => m.note_about(&run.0, Level::Error, format!("Cannot {what} {run}: {reason}")),
        Ask::Knob(run, key, _) => m.note_about(&run.0, Level::Error, format!("Cannot change {key} of {run}: {reason}")),
        Ask::Note(id) => m.note_about(&id.0, Level::Error, format!("Cannot read the note of {id}: {reason}")),
        Ask::Run(id) => {
            if m.screen == Screen::Detail && m.detail.as_ref().is_some_and(|d| d.id == id && !d.loaded) {
                (m.detail, m.screen) = (None, Screen::Runs);
            }
            m.note(Level::Error, format!("Cannot show {id}: {reason}"));
        }
        Ask::Overlay(need) => {
            tracing::warn!(?need, reason, "a curve was refused");
            super::compare::answered(m, need, None);
        }
        // It stays asked for: asking again would only repeat the refusal, until window or width change.
        Ask::Series(_, want) => tracing::warn!(names = ?want.names, reason, "series refused"),
        _ => m.note(Level::Error, reason),
    }
}

fn pushed(m: &mut Model, push: Push, effects: &mut Vec<Effect>) {
    feel::notify(m, &push, effects);
    match push {
        Push::Runs { runs } => {
            for run in &runs {
                tell_of_change(m, run);
            }
            m.runs.merge(runs);
        }
        Push::Removed { runs } => {
            m.runs.remove(&runs);
            if m.detail.as_ref().is_some_and(|d| runs.contains(&d.id)) {
                close(m, effects);
                m.overlay = None;
                if m.screen == Screen::Detail {
                    m.screen = Screen::Runs;
                }
            }
            let names: Vec<&str> = runs.iter().map(|r| r.0.as_str()).collect();
            m.note(Level::Info, format!("Removed {}.", names.join(", ")));
        }
        Push::Events { run, events } => {
            let Some(detail) = m.detail.as_mut().filter(|d| d.id == run) else { return };
            for event in &events {
                detail.apply(event);
            }
        }
        Push::Jobs { runs } => m.runs.merge(runs),
        Push::Grown { run, series } => {
            let Some(detail) = m.detail.as_mut().filter(|d| d.id == run) else { return };
            // Series that nobody has told of yet come with the run itself.
            if !detail.curves.grown(&series) {
                effects.push(m.asked.send(Ask::Run(run.clone()), Request::Run { run }));
            }
        }
        Push::System { system } => {
            m.machine.take(&system);
            m.system = Some(system);
        }
        Push::Bye { reason } => m.note(Level::Warn, format!("The engine is leaving: {reason}. Runs go on.")),
    }
}

/// A run that ends, or waits for something, is told wherever the user is.
fn tell_of_change(m: &mut Model, new: &RunSummary) {
    let Some(old) = m.runs.get(&new.id).map(|r| r.state) else { return };
    if old == new.state {
        return;
    }
    let because = match doing(new) {
        "" => String::new(),
        // `paused on request` reads on by itself.
        rest if new.reason.as_deref().is_some_and(|r| r.starts_with(new.state.as_str())) => format!(" {rest}"),
        reason => format!(": {reason}"),
    };
    let id = new.id.0.as_str();
    match new.state {
        RunState::Completed => m.note_about(id, Level::Info, format!("{} has completed.", new.id)),
        RunState::Failed => m.note_about(id, Level::Error, format!("{} has failed{because}", new.id)),
        RunState::Paused => m.note_about(id, Level::Info, format!("{} is paused{because}", new.id)),
        RunState::Stopped => m.note_about(id, Level::Info, format!("{} has stopped{because}", new.id)),
        _ => {}
    }
}

/// The first list of runs is here: go where the options say.
fn arrived(m: &mut Model, effects: &mut Vec<Effect>) {
    match m.start.clone() {
        Start::Run(id) => match m.runs.get(&id) {
            Some(_) => open(m, id, effects),
            None if id.parent().is_some_and(|(parent, _)| m.runs.get(&parent).is_some()) => open(m, id, effects),
            None => m.note(Level::Error, format!("There is no run {id}.")),
        },
        Start::Auto if m.runs.is_empty() && m.screen == Screen::Runs => m.screen = Screen::Launcher,
        _ => {}
    }
}
