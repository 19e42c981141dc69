//! Filters, tags, notes, groups, columns, saved views and the palette, without a terminal.

use kiln_protocol::wire::Request;
use kiln_protocol::{Level, RunState};
use ratatui::layout::Size;

use super::*;
use crate::fixture::{self, keys, model, opened};
use crate::model::arrange::{Column, GroupBy};
use crate::model::runs::SortBy;
use crate::model::typing;
use crate::msg::Draft;
use crate::saved::SavedView;

const SIZE: Size = Size { width: 80, height: 24 };

/// Types a text, a key a character.
fn write(m: &mut Model, text: &str) {
    for c in text.chars() {
        let key = if c == ' ' { "space".to_owned() } else { c.to_string() };
        keys(m, &key);
    }
}

fn requests(effects: &[Effect]) -> Vec<Request> {
    let request = |e: &Effect| if let Effect::Send(frame) = e { Some(frame.request.clone()) } else { None };
    effects.iter().filter_map(request).collect()
}

fn select(m: &mut Model, state: RunState) -> kiln_protocol::RunId {
    let id = fixture::summaries().into_iter().find(|r| r.state == state).unwrap().id;
    m.runs.selected = Some(id.clone());
    id
}

#[test]
fn a_filter_is_completed_and_a_bad_one_does_not_apply() {
    let mut m = model(SIZE);
    keys(&mut m, "/");
    write(&mut m, "me");
    keys(&mut m, "tab");
    assert_eq!(m.prompt.as_ref().unwrap().text(), "method:");
    write(&mut m, "dc");
    assert_eq!(typing::offers(&m).iter().map(|o| o.word.as_str()).collect::<Vec<_>>(), ["dc-nas"]);
    keys(&mut m, "tab");
    assert_eq!(m.runs.filter(), "method:dc-nas");
    assert_eq!(m.runs.visible().len(), 3);
    write(&mut m, " stat:x");
    assert_eq!(m.runs.visible().len(), 3, "what cannot be read hides nothing");
    assert!(typing::mistake(&m).unwrap().contains("did you mean `state`?"));
    keys(&mut m, "enter");
    assert!(m.prompt.is_some(), "it stays until it can be read");
    assert!(m.notes.last().is_some_and(|n| n.level == Level::Warn && n.text.contains("`stat:x`")));
    keys(&mut m, "ctrl-w enter");
    assert!(m.prompt.is_none() && m.runs.filter() == "method:dc-nas ");
    keys(&mut m, "esc");
    assert!(m.runs.filter().is_empty());
}

#[test]
fn tab_goes_round_and_any_other_key_takes_what_is_there() {
    let mut m = model(SIZE);
    keys(&mut m, "/");
    write(&mut m, "state:st");
    let mut seen = Vec::new();
    for key in ["tab", "tab", "tab", "tab", "backtab"] {
        keys(&mut m, key);
        seen.push(m.prompt.as_ref().unwrap().text().to_owned());
    }
    assert_eq!(seen, ["state:starting", "state:stopping", "state:stopped", "state:starting", "state:stopped"]);
    write(&mut m, " t");
    assert_eq!(m.runs.filter(), "state:stopped t");
    keys(&mut m, "esc");
    assert_eq!(m.runs.filter(), "", "esc takes back what was typed");
}

#[test]
fn tags_are_edited_as_a_line_of_words() {
    let mut m = model(SIZE);
    let id = select(&mut m, RunState::Completed);
    keys(&mut m, "t");
    assert_eq!(m.prompt.as_ref().unwrap().text(), "baseline paper ");
    write(&mut m, "#final");
    keys(&mut m, "ctrl-w ctrl-w");
    write(&mut m, "final");
    let asked = requests(&keys(&mut m, "enter"));
    assert_eq!(asked, [Request::Tag { run: id.clone(), add: vec!["final".into()], remove: vec!["paper".into()] }]);
    // Nothing changed, nothing asked; nonsense stays to be mended.
    assert_eq!(requests(&keys(&mut m, "t enter")), []);
    keys(&mut m, "t");
    write(&mut m, "a,b");
    assert!(typing::mistake(&m).unwrap().contains("no tag"));
    assert_eq!(requests(&keys(&mut m, "enter")), []);
    assert!(m.prompt.is_some());
    keys(&mut m, "ctrl-u");
    assert_eq!(requests(&keys(&mut m, "enter")).len(), 1, "an empty line takes all away");
    // Another run's tags are offered, those that it has are not.
    let other = select(&mut m, RunState::Running);
    keys(&mut m, "t");
    assert_eq!(typing::offers(&m).iter().map(|o| o.word.as_str()).collect::<Vec<_>>(), ["baseline", "paper"]);
    keys(&mut m, "tab tab space");
    assert_eq!(typing::offers(&m).iter().map(|o| o.word.as_str()).collect::<Vec<_>>(), ["baseline"]);
    let asked = requests(&keys(&mut m, "enter"));
    assert_eq!(asked, [Request::Tag { run: other, add: vec!["paper".into()], remove: vec![] }]);
}

#[test]
fn a_note_goes_to_the_editor_whole_and_back_to_the_engine() {
    for (mut m, id) in
        [(model(SIZE), fixture::summaries()[4].id.clone()), (opened(SIZE), fixture::summaries()[0].id.clone())]
    {
        m.runs.selected = Some(id.clone());
        keys(&mut m, "N");
        let id_of_question = m.asked.find(|ask| matches!(ask, Ask::Note(_)));
        assert_eq!(id_of_question, None, "the fixture has answered");
        let again = update(&mut m, Msg::Key("N".parse().unwrap()));
        let [Effect::Send(frame)] = &again[..] else { panic!("{again:?}") };
        assert_eq!(frame.request, Request::Run { run: id.clone() });
        let reply = kiln_protocol::wire::Reply::Run { run: Box::new(fixture::detail(&id)) };
        let frame = kiln_protocol::wire::FromEngine::Reply { id: frame.id, reply: Ok(reply) };
        let effects = update(&mut m, Msg::Frame(Box::new(frame)));
        let draft = Effect::EditText { what: Draft::Note(id.clone()), text: fixture::NOTE.into(), suffix: ".md" };
        assert_eq!(effects, [draft]);
        let edited = Msg::Edited { what: Draft::Note(id.clone()), text: Ok("better".into()) };
        assert_eq!(requests(&update(&mut m, edited)), [Request::Note { run: id.clone(), note: "better".into() }]);
        let failed = Msg::Edited { what: Draft::Note(id), text: Err("vi was killed".into()) };
        assert_eq!(requests(&update(&mut m, failed)), []);
    }
}

#[test]
fn groups_fold_and_escape_takes_filter_and_groups_away() {
    let mut m = model(SIZE);
    keys(&mut m, "z");
    assert!(m.notes.last().unwrap().text.contains("no groups to fold"));
    keys(&mut m, "b b b b b b");
    assert_eq!(m.runs.group, Some(GroupBy::Age));
    keys(&mut m, "b");
    assert_eq!(m.runs.group, None);
    keys(&mut m, "b z");
    assert!(m.runs.visible().len() < fixture::summaries().len());
    keys(&mut m, "/ d i g enter esc");
    assert!(m.runs.filter().is_empty() && m.runs.group == Some(GroupBy::Method));
    keys(&mut m, "esc");
    assert_eq!(m.runs.group, None);
}

#[test]
fn a_click_on_the_name_of_a_group_opens_nothing() {
    let mut m = model(SIZE);
    keys(&mut m, "b");
    let list = layout::runs(SIZE).list;
    let before = m.runs.selected.clone();
    update(&mut m, Msg::Click(list.x, list.y));
    assert_eq!((m.screen, m.runs.selected.clone()), (Screen::Runs, before));
    let id = m.runs.on_line(2).unwrap();
    update(&mut m, Msg::Click(list.x, list.y + 2));
    assert_eq!(m.runs.selected, Some(id));
}

#[test]
fn columns_are_chosen_and_ordered() {
    let mut m = model(SIZE);
    keys(&mut m, "v space j j space");
    assert_eq!(m.runs.columns, [Column::Tags, Column::Method]);
    keys(&mut m, "K");
    assert_eq!(m.runs.columns, [Column::Method, Column::Tags]);
    keys(&mut m, "K J J");
    assert_eq!(m.runs.columns, [Column::Tags, Column::Method]);
    keys(&mut m, "G space");
    assert!(matches!(m.runs.columns.last(), Some(Column::Figure(_))), "{:?}", m.runs.columns);
    keys(&mut m, "g space x esc");
    assert!(m.runs.columns.is_empty() && m.overlay.is_none());
}

#[test]
fn views_are_saved_applied_and_removed() {
    let mut m = model(SIZE);
    keys(&mut m, "b s s s s / d i g enter V w");
    write(&mut m, "mine");
    let effects = keys(&mut m, "enter");
    let view = SavedView {
        name: "mine".into(),
        filter: "dig".into(),
        sort: SortBy::Best,
        group: Some(GroupBy::Method),
        ..SavedView::default()
    };
    assert_eq!(effects, [Effect::Views(ViewChange::Save(view.clone()))]);
    let mut views = crate::saved::shipped();
    views.push(view.clone());
    update(&mut m, Msg::Views { views, said: Ok("Saved the list as `mine`.".into()) });
    assert!(m.notes.last().unwrap().text.contains("`mine`"));
    keys(&mut m, "g enter");
    assert_eq!((m.overlay.clone(), m.runs.filter(), m.runs.group), (None, "", None), "the first is all of them");
    keys(&mut m, "V G enter");
    assert_eq!(SavedView::of("mine", &m.runs), view);
    keys(&mut m, "V g D");
    assert!(m.notes.last().unwrap().text.contains("comes with Kiln"));
    assert_eq!(keys(&mut m, "G D y"), [Effect::Views(ViewChange::Remove("mine".into()))]);
    // An empty name saves nothing; what the disk says is told.
    assert_eq!(keys(&mut m, "V w enter"), []);
    update(&mut m, Msg::Views { views: crate::saved::shipped(), said: Err("the disk is full".into()) });
    assert!(m.notes.last().is_some_and(|n| n.level == Level::Error));
}

#[test]
fn the_list_begins_with_the_view_called_default() {
    let mut m = model(SIZE);
    let view = SavedView { name: "default".into(), filter: "failed".into(), ..SavedView::default() };
    m.begin_with(vec![view]);
    assert_eq!(m.runs.visible().len(), 1);
}

#[test]
fn the_palette_does_what_it_finds() {
    // An action of this screen, from its letters.
    let mut m = model(SIZE);
    let id = select(&mut m, RunState::Running);
    keys(&mut m, ":");
    write(&mut m, "run pause");
    let asked = requests(&keys(&mut m, "enter"));
    assert_eq!(asked, [Request::Control { run: id.clone(), command: Command::Pause }]);
    assert_eq!(m.overlay, None);
    // A run.
    keys(&mut m, "ctrl-p");
    write(&mut m, "k3f7");
    keys(&mut m, "enter");
    assert_eq!(m.detail.as_ref().unwrap().id, id);
    // One of its tabs, then an action of the list, which is gone to.
    keys(&mut m, ":");
    write(&mut m, "tab settings");
    keys(&mut m, "enter");
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::Settings);
    keys(&mut m, ":");
    write(&mut m, "runs filter");
    keys(&mut m, "enter");
    assert!(m.screen == Screen::Runs && m.detail.is_none());
    assert!(matches!(m.prompt, Some(Prompt { kind: PromptKind::RunFilter, .. })));
    keys(&mut m, "esc");
    // A preset, a view.
    keys(&mut m, ":");
    write(&mut m, "preset train-dig");
    keys(&mut m, "enter");
    assert_eq!(m.launcher.selected().unwrap().name, "train-digits");
    keys(&mut m, ":");
    write(&mut m, "best by");
    keys(&mut m, "enter");
    assert!(m.screen == Screen::Runs && m.runs.group == Some(GroupBy::Method));
    // What works elsewhere says where; nothing found does nothing.
    keys(&mut m, ":");
    write(&mut m, "zoom out");
    keys(&mut m, "enter");
    assert!(m.notes.last().unwrap().text.contains("“curves”"), "{:?}", m.notes.last());
    keys(&mut m, ":");
    write(&mut m, "qqqqzzzz");
    assert_eq!(keys(&mut m, "enter"), []);
    assert!(m.overlay.is_some());
    keys(&mut m, "ctrl-u up");
    assert!(matches!(&m.overlay, Some(Overlay::Palette(p)) if p.list.selected + 1 == p.total()), "round the end");
    keys(&mut m, "backspace");
    assert_eq!(m.overlay, None);
    // Pasted text is typed, a click chooses.
    keys(&mut m, ":");
    update(&mut m, Msg::Paste("k3f7\n".into()));
    let list = layout::palette(SIZE).list;
    update(&mut m, Msg::Click(list.x, list.y));
    assert_eq!(m.detail.as_ref().map(|d| d.id.clone()), Some(id));
}
