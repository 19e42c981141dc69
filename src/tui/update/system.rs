//! The page of the machine: opening and leaving it, what it asks of the engine, and the queue.

use kiln_protocol::advice::Advice;
use kiln_protocol::wire::{Request, Status};
use kiln_protocol::{Level, RunState};
use ratatui::layout::Position;

use crate::action::Action;
use crate::glyphs::{ASCII, UNICODE};
use crate::layout;
use crate::model::system::{self, Item, moved, page, queue};
use crate::model::{Ask, Link, Model, Screen};
use crate::msg::Effect;

/// Seconds between questions while the page is open, and otherwise: advice is told wherever the user is.
const OPEN: f64 = 5.0;
const CLOSED: f64 = 30.0;

/// Opens the page, or leaves it.
pub fn toggle(m: &mut Model) {
    m.overlay = None;
    if m.screen == Screen::System {
        return leave(m);
    }
    m.machine.from = Some(m.screen);
    m.screen = Screen::System;
    // What is known is shown at once; what is newer comes within a moment.
    m.machine.asked = 0.0;
}

/// Back to where the page was opened from.
pub fn leave(m: &mut Model) {
    let from = m.machine.from.take().unwrap_or(Screen::Runs);
    m.screen = if from == Screen::Detail && m.detail.is_none() { Screen::Runs } else { from };
}

/// Keeps the selection in view, and asks for what is due.
pub fn settle(m: &mut Model, effects: &mut Vec<Effect>) {
    let open = m.screen == Screen::System;
    if open {
        let areas = layout::system(m.size);
        let glyphs = if m.braille { &UNICODE } else { &ASCII };
        system::fit(m, areas.widths(), areas.columns[0].height.into(), glyphs);
    }
    let due = m.now - m.machine.asked >= if open { OPEN } else { CLOSED };
    if due && matches!(m.link, Link::Up { .. }) {
        m.machine.asked = m.now;
        if open {
            effects.push(m.asked.send(Ask::Status, Request::Status));
        }
        effects.push(m.asked.send(Ask::Advice, Request::Advice { run: None }));
    }
}

/// The engine's state: how the machine has been before this client looked on, and which device works for whom.
pub fn status(m: &mut Model, status: Status) {
    m.machine.history = status.history.into();
    m.machine.take(&status.system);
    m.machine.slots = status.devices;
    m.home = Some(status.home);
    m.system = Some(status.system);
}

/// New advice; what is bad and was not known before is told.
pub fn advised(m: &mut Model, advice: Vec<Advice>) {
    let known = |a: &Advice| m.machine.advice.iter().any(|old| (&old.rule, &old.run) == (&a.rule, &a.run));
    let news: Vec<Advice> = advice.iter().filter(|a| a.level >= Level::Warn && !known(a)).cloned().collect();
    m.machine.advice = advice;
    if m.screen == Screen::System {
        return;
    }
    let key = m.keymap.first_key(Action::System);
    for a in news {
        let whom = a.run.as_ref().map(|run| format!("{run}: ")).unwrap_or_default();
        m.note_about(
            &format!("advice {} {whom}", a.rule),
            Level::Warn,
            format!("{whom}{} `{key}` says what helps.", a.what),
        );
    }
}

/// Changes the place of the selected run in the queue: by one step of priority, or past its neighbour.
pub fn reorder(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let Some(Item::Queued(id)) = m.machine.selected.clone() else {
        return m.note(Level::Info, "Only runs in the queue have a place to change: select one of them.");
    };
    let Some(run) = m.runs.get(&id).cloned() else { return };
    let changes = match action {
        Action::Sooner => Some(vec![(id.clone(), run.priority.saturating_add(1))]),
        Action::Later => Some(vec![(id.clone(), run.priority.saturating_sub(1))]),
        _ => moved(&queue(m), &id, action == Action::Ahead),
    };
    let Some(changes) = changes else {
        let end = if action == Action::Ahead { "first" } else { "last" };
        return m.note(Level::Info, format!("{id} is the {end} in the queue."));
    };
    if super::connected(m) {
        for (run, priority) in changes {
            effects.push(m.asked.send(Ask::Do(run.clone(), "move"), Request::Priority { run, priority }));
        }
    }
}

/// The run that is looked at, to be opened.
pub fn chosen(m: &Model) -> Option<kiln_protocol::RunId> {
    m.machine.selected.as_ref()?.run().filter(|run| m.runs.get(run).is_some()).cloned()
}

/// Whether a key makes sense for what is looked at.
pub fn applies(m: &Model, action: Action) -> bool {
    match action {
        Action::Open => chosen(m).is_some(),
        _ => matches!(&m.machine.selected, Some(Item::Queued(run))
            if m.runs.get(run).is_some_and(|r| r.state == RunState::Queued || r.jobs.is_some())),
    }
}

/// Selects what is clicked; a click on a selected run opens it. Returns whether to open it.
pub fn click(m: &mut Model, at: Position) -> bool {
    let areas = layout::system(m.size);
    let glyphs = if m.braille { &UNICODE } else { &ASCII };
    let page = page(m, areas.widths(), glyphs);
    let hit = (0..2).find(|c| areas.columns[*c].contains(at)).and_then(|c| {
        let row = m.machine.tops[c] + usize::from(at.y - areas.columns[c].y);
        page.columns[c].get(row)?.item
    });
    let Some(item) = hit else { return false };
    let again = m.machine.at == item;
    m.machine.at = item;
    m.machine.selected = page.items.get(item).cloned();
    again && chosen(m).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::msg::Msg;
    use crate::update::update;
    use kiln_protocol::RunId;
    use kiln_protocol::wire::FromEngine;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 80, height: 24 };

    fn sent(effects: &[Effect]) -> Vec<Request> {
        let request = |e: &Effect| match e {
            Effect::Send(frame) => Some(frame.request.clone()),
            _ => None,
        };
        effects.iter().filter_map(request).collect()
    }

    fn advice(rule: &str, level: Level) -> Advice {
        Advice {
            rule: rule.into(),
            level,
            run: Some(RunId("a".into())),
            what: "It is so.".into(),
            remedy: "Do this.".into(),
        }
    }

    #[test]
    fn the_page_asks_at_once_and_then_every_few_seconds() {
        let mut m = fixture::model(SIZE);
        let asked = sent(&fixture::keys(&mut m, "Y"));
        assert!(asked.contains(&Request::Status) && asked.contains(&Request::Advice { run: None }), "{asked:?}");
        let tick = |m: &mut Model, by: f64| sent(&update(m, Msg::Tick(m.now + by)));
        assert_eq!(tick(&mut m, 1.0), []);
        assert!(tick(&mut m, 5.0).contains(&Request::Status));
        fixture::keys(&mut m, "esc");
        assert_eq!(tick(&mut m, 6.0), []);
        assert_eq!(tick(&mut m, 30.0), [Request::Advice { run: None }]);
    }

    #[test]
    fn the_page_leads_back_to_where_it_was_opened() {
        let mut m = fixture::opened(SIZE);
        fixture::keys(&mut m, "Y");
        assert_eq!(m.screen, Screen::System);
        fixture::keys(&mut m, "Y");
        assert_eq!(m.screen, Screen::Detail);
        fixture::keys(&mut m, "Y esc");
        assert_eq!(m.screen, Screen::Detail);
    }

    #[test]
    fn bad_news_is_told_once() {
        let mut m = fixture::model(SIZE);
        let told = |m: &Model| m.notes.iter().filter(|n| n.text.starts_with("a: It is so.")).count();
        advised(&mut m, vec![advice("diverging", Level::Warn), advice("plateau", Level::Info)]);
        assert_eq!(told(&m), 1);
        m.notes.clear();
        advised(&mut m, vec![advice("diverging", Level::Warn)]);
        assert_eq!(told(&m), 0);
        advised(&mut m, vec![]);
        advised(&mut m, vec![advice("diverging", Level::Warn)]);
        assert_eq!(told(&m), 1, "it has come back");
    }

    #[test]
    fn a_queued_run_is_moved_past_its_neighbour() {
        let mut m = fixture::model(SIZE);
        fixture::machine(&mut m);
        let queue: Vec<RunId> = queue(&m).iter().map(|r| r.id.clone()).collect();
        assert!(queue.len() > 1, "{queue:?}");
        fixture::keys(&mut m, "Y G");
        assert_eq!(m.machine.selected, Some(Item::Queued(queue[queue.len() - 1].clone())));
        let asked = sent(&fixture::keys(&mut m, "K"));
        assert!(
            matches!(&asked[..], [Request::Priority { run, .. }, ..] if *run == queue[queue.len() - 1]),
            "{asked:?}"
        );
        assert_eq!(sent(&fixture::keys(&mut m, "J")), [], "the last one");
        fixture::keys(&mut m, "g");
        assert_eq!(sent(&fixture::keys(&mut m, "+")), []);
        assert!(m.notes.iter().any(|n| n.text.contains("Only runs in the queue")));
    }

    #[test]
    fn figures_are_kept_and_the_engine_knows_more() {
        let mut m = fixture::model(SIZE);
        let mut system = fixture::system();
        for i in 0..3 {
            system.t = fixture::NOW + f64::from(i);
            fixture::push(&mut m, kiln_protocol::wire::Push::System { system: system.clone() });
        }
        assert_eq!(m.machine.history.len(), 3);
        let frame = FromEngine::Push(kiln_protocol::wire::Push::System { system });
        update(&mut m, Msg::Frame(Box::new(frame)));
        assert_eq!(m.machine.history.len(), 3, "the same again");
    }
}
