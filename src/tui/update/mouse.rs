//! Clicks on what all screens have: header, keys in the status bar, messages, and whatever lies over a screen.

use ratatui::layout::{Position, Rect};

use crate::action::Action;
use crate::keys::Key;
use crate::layout;
use crate::model::list::List;
use crate::model::{Model, Overlay, Screen};
use crate::msg::Effect;
use crate::update::{act, find, hints, palette};

/// Takes a click that is not for what the screen itself shows. Returns whether it was one.
pub fn over(m: &mut Model, at: Position, effects: &mut Vec<Effect>) -> bool {
    if m.prompt.is_some() {
        // A line is being typed: a click elsewhere must not throw it away.
        return true;
    }
    let bands = layout::bands(m.size);
    if bands.footer.contains(at) {
        let hit = hints::spans(m, layout::inset(bands.footer)).into_iter().find(|(area, _)| area.contains(at));
        if let Some((_, action)) = hit {
            press(m, action, effects);
        }
        return true;
    }
    if m.overlay.is_some() {
        on_overlay(m, at, effects);
        return true;
    }
    if m.message().is_some() && layout::message(m.size, m.screen == Screen::Detail, false).contains(at) {
        press(m, Action::Messages, effects);
        return true;
    }
    if bands.header.contains(at) {
        // `kiln ‹` leads back to the list.
        if m.screen != Screen::Runs && at.x < layout::inset(bands.header).x + 6 {
            press(m, Action::Back, effects);
        }
        return true;
    }
    false
}

fn on_overlay(m: &mut Model, at: Position, effects: &mut Vec<Effect>) {
    let size = m.size;
    match m.overlay.clone() {
        Some(Overlay::Tour(_)) => {
            let area = layout::tour(size);
            // The left margin turns back.
            let back = area.contains(at) && at.x < area.x + area.width / 4;
            press(m, if back { Action::PrevPage } else { Action::NextPage }, effects);
        }
        Some(Overlay::Help(_) | Overlay::Messages(_)) if !layout::help(size).contains(at) => m.uncover(),
        Some(Overlay::Picker) => {
            let area = layout::picker(size);
            let list = layout::below(layout::framed(area), 1);
            match &mut m.detail {
                Some(detail) if list.contains(at) => {
                    let row = detail.curves.picker.offset + usize::from(at.y - list.y);
                    if row < detail.curves.pickable().len() {
                        detail.curves.picker.selected = row;
                        press(m, Action::Toggle, effects);
                    }
                }
                _ if !area.contains(at) => m.overlay = None,
                _ => {}
            }
        }
        Some(Overlay::Palette(_)) => {
            let areas = layout::palette(size);
            match &mut m.overlay {
                Some(Overlay::Palette(palette)) if areas.list.contains(at) => {
                    let row = palette.list.offset + usize::from(at.y - areas.list.y);
                    if row < palette.found().len() {
                        palette.list.selected = row;
                        palette::go(m, effects);
                    }
                }
                _ if !areas.frame.contains(at) => m.uncover(),
                _ => {}
            }
        }
        Some(Overlay::Views(list)) => {
            let chosen = row(m, layout::views(size), at, list, m.saved.len());
            if let Some(selected) = chosen {
                m.overlay = Some(Overlay::Views(List { selected, ..list }));
                press(m, Action::ApplyView, effects);
            }
        }
        Some(Overlay::Columns(list)) => {
            let all = find::columns(m).len();
            if let Some(selected) = row(m, layout::picker(size), at, list, all) {
                m.overlay = Some(Overlay::Columns(List { selected, ..list }));
                press(m, Action::ToggleColumn, effects);
            }
        }
        Some(Overlay::Confirm(question)) => {
            let (_, text, yes) = question.words(m);
            let (area, _) = layout::question(size, &text);
            let inner = layout::framed(area);
            // As drawn: `y stop     n leave it`.
            let line = layout::rows(inner, inner.height.saturating_sub(1), 1);
            let yes = Rect { width: (2 + yes.len() as u16).min(line.width), ..line };
            let no = Rect { x: yes.right() + 5, width: 10, ..line }.intersection(line);
            if yes.contains(at) {
                press(m, Action::Confirm, effects);
            } else if no.contains(at) || !area.contains(at) {
                press(m, Action::Decline, effects);
            }
        }
        _ => {}
    }
}

/// The row of a list in a box that was clicked; a click beside the box closes it.
fn row(m: &mut Model, area: Rect, at: Position, list: List, len: usize) -> Option<usize> {
    if !area.contains(at) {
        m.overlay = None;
    }
    let inner = layout::framed(area);
    let row = list.offset + usize::from(at.y.checked_sub(inner.y)?);
    (inner.contains(at) && row < len).then_some(row)
}

/// As if a key for the action had been pressed.
pub(super) fn press(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let none = Key { code: crossterm::event::KeyCode::Null, ctrl: false, alt: false, shift: false };
    let key = m.keymap.keys(action).first().copied().unwrap_or(none);
    act(m, action, key, effects);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, keys, model, opened};
    use crate::model::{Question, tour};
    use crate::msg::Msg;
    use crate::update::update;
    use kiln_protocol::RunState;
    use kiln_protocol::wire::Request;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 80, height: 24 };

    fn click(m: &mut Model, x: u16, y: u16) -> Vec<Effect> {
        update(m, Msg::Click(x, y))
    }

    #[test]
    fn keys_in_the_status_bar_can_be_clicked() {
        let mut m = model(SIZE);
        let footer = layout::inset(layout::bands(SIZE).footer);
        let spans = hints::spans(&m, footer);
        let (area, _) = spans.iter().find(|s| s.1 == Action::Launcher).unwrap();
        click(&mut m, area.x, area.y);
        assert_eq!(m.screen, Screen::Launcher);
        click(&mut m, 2, 0);
        assert_eq!(m.screen, Screen::Runs, "the header leads back");
        let (area, _) = *spans.iter().find(|s| s.1 == Action::Quit).unwrap();
        assert_eq!(click(&mut m, area.x + 1, area.y), [Effect::Quit]);
        assert_eq!(click(&mut m, 79, 23), []);
    }

    #[test]
    fn a_question_is_answered_by_its_words_and_declined_beside_it() {
        let mut m = model(SIZE);
        let run = fixture::summaries().into_iter().find(|r| r.state == RunState::Running).unwrap().id;
        let ask = |m: &mut Model| m.overlay = Some(Overlay::Confirm(Question::Stop(run.clone())));
        ask(&mut m);
        let (_, text, _) = Question::Stop(run.clone()).words(&m);
        let inner = layout::framed(layout::question(SIZE, &text).0);
        let line = inner.bottom() - 1;
        assert_eq!(click(&mut m, inner.x + 30, line), [], "beside both words nothing happens");
        assert!(m.overlay.is_some());
        click(&mut m, 0, 5);
        assert_eq!(m.overlay, None);
        ask(&mut m);
        assert!(click(&mut m, inner.x + 12, line).is_empty() && m.overlay.is_none(), "`n leave it`");
        ask(&mut m);
        let sent = click(&mut m, inner.x + 3, line);
        assert!(matches!(&sent[..], [Effect::Send(f)] if matches!(f.request, Request::Control { .. })), "{sent:?}");
    }

    #[test]
    fn series_are_switched_and_the_rest_closes_beside_its_box() {
        let mut m = opened(SIZE);
        keys(&mut m, "v");
        let list = layout::below(layout::framed(layout::picker(SIZE)), 1);
        let name = m.detail.as_ref().unwrap().curves.pickable()[1].name.clone();
        let shown = |m: &Model| m.detail.as_ref().unwrap().curves.shown(&name);
        let before = shown(&m);
        click(&mut m, list.x + 3, list.y + 1);
        assert_eq!(shown(&m), !before);
        click(&mut m, 0, 3);
        assert_eq!(m.overlay, None);
        keys(&mut m, "f2");
        click(&mut m, 40, 12);
        assert_eq!(m.overlay, Some(Overlay::Tour(1)));
        click(&mut m, layout::tour(SIZE).x + 1, 12);
        assert_eq!(m.overlay, Some(Overlay::Tour(0)));
        for _ in 0..tour::LEN {
            click(&mut m, 40, 12);
        }
        assert_eq!(m.overlay, None);
        keys(&mut m, "?");
        click(&mut m, 0, 0);
        assert_eq!(m.overlay, None);
    }
}
