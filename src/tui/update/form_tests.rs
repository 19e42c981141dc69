//! Tweaking: forms, texts in the editor, saved presets, settings used again, live settings.

use kiln_protocol::wire::Request;
use kiln_protocol::{Body, Command, Event};
use ratatui::layout::Size;

use crate::fixture::{self, keys};
use crate::model::{Model, Overlay, Screen};
use crate::msg::{Draft, Effect, Msg};
use crate::options::{PresetInfo, Wanted};
use crate::update::{selected_setting, update};

const SIZE: Size = Size { width: 80, height: 24 };

/// The launcher's answer to the newest look.
fn looked(m: &mut Model, wanted: &Wanted, info: PresetInfo) {
    update(m, Msg::Looked { wanted: wanted.clone(), info: Box::new(info), settings: fixture::settings() });
}

fn wanted(changes: &[&str]) -> Wanted {
    let changes = changes.iter().map(|c| (*c).to_owned()).collect();
    Wanted { preset: "train-digits".into(), text: None, changes }
}

/// The form of `train-digits`, with its settings.
fn form() -> Model {
    let mut m = fixture::model(SIZE);
    keys(&mut m, "n G e");
    looked(&mut m, &wanted(&[]), PresetInfo::default());
    m
}

fn go(m: &mut Model, key: &str) {
    let form = m.launcher.form.as_mut().unwrap();
    form.list.selected = form.settings.iter().position(|s| s.field.key == key).unwrap();
}

#[test]
fn a_setting_is_varied_and_left_alone_again() {
    let mut m = form();
    go(&mut m, "optim.lr");
    let sweep = "sweep.over.\"optim.lr\"=0.1,0.2";
    let asked = keys(&mut m, "v 0 . 1 , 0 . 2 enter");
    assert_eq!(asked.last(), Some(&Effect::Look(wanted(&[sweep]))));
    assert!(!asked.contains(&Effect::Look(wanted(&["sweep.over.\"optim.lr\"=0"]))), "0 is out of range: {asked:?}");
    assert_eq!(keys(&mut m, "enter"), [Effect::Load(wanted(&[sweep]))], "enter starts what the form says");
    m.launcher.busy = None;
    assert_eq!(keys(&mut m, "v ctrl-u enter"), [Effect::Look(wanted(&[]))]);
    keys(&mut m, "v 1 , 2 enter");
    assert_eq!(keys(&mut m, "x"), [Effect::Look(wanted(&[]))], "taken back like any change");
}

#[test]
fn what_a_typed_value_costs_is_shown_before_it_is_taken() {
    let mut m = form();
    go(&mut m, "train.epochs");
    let typed = keys(&mut m, "space ctrl-u 9");
    assert_eq!(typed, [Effect::Look(wanted(&["train.epochs=9"]))]);
    let trial = |m: &Model| m.launcher.form.as_ref().unwrap().trial.clone();
    assert!(trial(&m).unwrap().info.is_none());
    let info = PresetInfo { costs: fixture::costs(&[("time", "about 4 s")]), ..PresetInfo::default() };
    looked(&mut m, &wanted(&["train.epochs=9"]), info.clone());
    assert_eq!(trial(&m).unwrap().info, Some(info));
    assert_ne!(m.launcher.presets[3].costs, fixture::costs(&[("time", "about 4 s")]), "nobody has taken it yet");
    assert_eq!(keys(&mut m, "x"), [], "nonsense costs nothing to look at");
    assert!(trial(&m).is_none());
    keys(&mut m, "esc");
    assert_eq!(selected_setting(&m).unwrap().2, selected_setting(&m).unwrap().1.value);
}

#[test]
fn a_filter_leaves_settings_that_can_be_changed_as_before() {
    let mut m = form();
    keys(&mut m, "/ n e s t e r o v enter");
    assert_eq!(selected_setting(&m).unwrap().1.field.key, "optim.nesterov");
    assert_eq!(keys(&mut m, "space"), [Effect::Look(wanted(&["optim.nesterov=true"]))]);
    keys(&mut m, "/ ctrl-u enter d");
    let form = m.launcher.form.as_ref().unwrap();
    assert_eq!(form.visible(&m.launcher.changes).len(), 1, "only what differs");
    keys(&mut m, "/ z z z enter space v e");
    assert!(m.prompt.is_none(), "there is nothing to change");
}

#[test]
fn the_text_goes_to_the_editor_and_what_comes_back_is_the_preset() {
    let mut m = form();
    go(&mut m, "optim.nesterov");
    keys(&mut m, "space");
    let changed = wanted(&["optim.nesterov=true"]);
    assert_eq!(keys(&mut m, "e"), [Effect::Text(changed)]);
    let what = Draft::Settings("train-digits".into());
    let text = Msg::Text { preset: "train-digits".into(), text: Ok("seed = 1\n".into()) };
    let edit = Effect::EditText { what: what.clone(), text: "seed = 1\n".into(), suffix: ".toml" };
    assert_eq!(update(&mut m, text), [edit]);
    let edited = Wanted { text: Some("seed = 2\n".into()), ..wanted(&[]) };
    let back = Msg::Edited { what: what.clone(), text: Ok("#! seed: is odd\nseed = 2\n".into()) };
    assert_eq!(
        update(&mut m, back),
        [Effect::Redraw, Effect::Look(edited.clone())],
        "changes are part of the text now"
    );
    looked(&mut m, &edited, PresetInfo { problem: Some("seed: is even".into()), ..PresetInfo::default() });
    assert_eq!(selected_setting(&m).unwrap().1.field.key, "seed", "the form shows what is wrong");
    assert_eq!(keys(&mut m, "enter"), [], "and starts nothing");
    let failed = Msg::Edited { what, text: Err("cannot start the editor `ed`".into()) };
    assert_eq!(update(&mut m, failed), [Effect::Redraw]);
    assert_eq!(m.launcher.wanted("train-digits"), edited, "it stays as it was");
    assert!(m.notes.last().unwrap().text.contains("cannot start the editor"));
}

#[test]
fn a_saved_preset_takes_the_changes_with_it() {
    let mut m = form();
    go(&mut m, "optim.nesterov");
    keys(&mut m, "space");
    let save = Effect::Save { wanted: wanted(&["optim.nesterov=true"]), name: "mine".into() };
    assert_eq!(keys(&mut m, "w ctrl-u m i n e enter"), [save]);
    assert_eq!(keys(&mut m, "w ctrl-u enter"), [], "no name, no preset");
    update(&mut m, Msg::Saved { preset: "train-digits".into(), saved: Err("`mine` is taken".into()) });
    assert_eq!(m.launcher.changes.count("train-digits"), 1);
    let saved = Ok(("mine".to_owned(), "Saved mine.".to_owned()));
    let looks = update(&mut m, Msg::Saved { preset: "train-digits".into(), saved });
    let mine = Wanted { preset: "mine".into(), ..Wanted::default() };
    assert!(looks.contains(&Effect::Look(mine)), "{looks:?}");
    assert_eq!(m.launcher.form.as_ref().unwrap().preset, "mine");
    assert_eq!((m.launcher.selected().unwrap().name.as_str(), m.launcher.changes.count("train-digits")), ("mine", 0));
}

#[test]
fn what_has_a_mistake_is_not_saved_and_what_lacks_its_data_is() {
    let mut m = form();
    let problem = Some("train.epochs: expected 1 or more\nseed: is odd".to_owned());
    looked(&mut m, &wanted(&[]), PresetInfo { problem: problem.clone(), mistaken: true, ..PresetInfo::default() });
    assert_eq!(keys(&mut m, "w"), []);
    let said = m.notes.last().unwrap();
    assert_eq!(said.text, "train-digits cannot be saved while it has a mistake: train.epochs: expected 1 or more");
    assert!(m.prompt.is_none() && !super::applies(&m, crate::action::Action::SavePreset));
    looked(&mut m, &wanted(&[]), PresetInfo { problem, ..PresetInfo::default() });
    keys(&mut m, "w");
    assert_eq!(m.prompt.as_ref().unwrap().text(), "train-digits-tuned");
    let save = Effect::Save { wanted: wanted(&[]), name: "m".into() };
    assert_eq!(keys(&mut m, "m enter"), [save], "typed in place of the name that is offered");
}

#[test]
fn filter_and_cursor_outlive_the_editor_and_a_save() {
    let there = |m: &Model| {
        let form = m.launcher.form.as_ref().unwrap();
        (form.filter.clone(), selected_setting(m).unwrap().1.field.key.clone())
    };
    let mut m = form();
    keys(&mut m, "/ o p t i m enter j");
    let before = there(&m);
    assert!(before.0 == "optim" && m.launcher.form.as_ref().unwrap().list.selected == 1);
    let back = |text: &str| Msg::Edited { what: Draft::Settings("train-digits".into()), text: Ok(text.into()) };
    update(&mut m, back("seed = 2\n"));
    let edited = Wanted { text: Some("seed = 2\n".into()), ..wanted(&[]) };
    looked(&mut m, &edited, PresetInfo::default());
    assert_eq!(there(&m), before);
    update(&mut m, Msg::Saved { preset: "train-digits".into(), saved: Ok(("mine".into(), "Saved.".into())) });
    looked(&mut m, &Wanted { preset: "mine".into(), ..Wanted::default() }, PresetInfo::default());
    assert_eq!(there(&m), before);
    // A mistake that the filter hides is shown all the same.
    let back = Msg::Edited { what: Draft::Settings("mine".into()), text: Ok("seed = 0\n".into()) };
    update(&mut m, back);
    let edited = Wanted { preset: "mine".into(), text: Some("seed = 0\n".into()), changes: Vec::new() };
    looked(&mut m, &edited, PresetInfo { problem: Some("seed: is even".into()), ..PresetInfo::default() });
    assert_eq!(there(&m), (String::new(), "seed".into()));
}

#[test]
fn the_settings_of_a_run_are_used_again() {
    let mut m = fixture::model(SIZE);
    m.runs.selected = Some(fixture::summaries()[0].id.clone());
    let id = fixture::summaries()[0].id.0.clone();
    let asked = keys(&mut m, "E");
    assert!(matches!(&asked[0], Effect::Send(frame) if matches!(&frame.request, Request::Run { run } if run.0 == id)));
    assert_eq!(m.screen, Screen::Launcher);
    let form = m.launcher.form.as_ref().unwrap();
    assert_eq!(form.preset, id);
    let again = Wanted { preset: id.clone(), text: Some(fixture::spec()), changes: Vec::new() };
    assert_eq!(m.launcher.wanted(&id), again);
    looked(&mut m, &again, PresetInfo { estimate: "about 80 s".into(), ..PresetInfo::default() });
    assert_eq!(keys(&mut m, "enter"), [Effect::Load(again)]);
    let launch = update(&mut m, Msg::Loaded { preset: id.clone(), spec: Ok("seed = 1".into()) });
    let called = fixture::summaries()[0].preset.clone();
    assert!(
        matches!(&launch[0], Effect::Send(f) if matches!(&f.request, Request::Launch { preset, .. } if *preset == called)),
        "{launch:?}"
    );
    // Once more is no second line of the list.
    let listed = m.launcher.presets.len();
    keys(&mut m, "esc esc E");
    assert_eq!(m.launcher.presets.len(), listed);
}

/// A running run of `train`, with its live settings open.
fn knobs() -> Model {
    let mut m = fixture::model(SIZE);
    super::knobs::open(&mut m, &fixture::tuned());
    m
}

#[test]
fn a_live_setting_is_typed_checked_and_sent() {
    let mut m = knobs();
    let Some(Overlay::Knobs(open)) = &m.overlay else { panic!("{:?}", m.overlay) };
    let run = open.run.clone();
    assert_eq!((open.knobs[0].field.key.as_str(), open.knobs[0].value.as_str()), ("optim.lr", "0.02"));
    assert_eq!(keys(&mut m, "enter ctrl-u x enter"), [], "no number");
    let wrong = |m: &Model| matches!(&m.overlay, Some(Overlay::Knobs(k)) if k.wrong.is_some());
    assert!(wrong(&m) && m.prompt.is_some(), "it stays in the line, and the box says why");
    let sent = keys(&mut m, "ctrl-u 0 . 0 1 enter");
    let command = Command::Set { key: "optim.lr".into(), value: "0.01".into() };
    assert!(
        matches!(&sent[..], [Effect::Send(f)] if f.request == Request::Control { run: run.clone(), command }),
        "{sent:?}"
    );
    super::knobs::sent(&mut m, &run, "optim.lr", "0.01");
    assert!(
        matches!(&m.overlay, Some(Overlay::Knobs(k)) if k.knobs[0].value == "0.01" && k.knobs[0].started == "0.02")
    );
    assert_eq!(m.notes.last().unwrap().text, format!("{run}: optim.lr is 0.01."));
    assert_eq!(keys(&mut m, "enter enter"), [], "nothing changed, nothing sent");
    keys(&mut m, "esc");
    assert!(m.overlay.is_none());
}

#[test]
fn a_run_without_live_settings_says_so() {
    let mut m = fixture::model(SIZE);
    m.runs.selected = Some(fixture::summaries()[0].id.clone());
    keys(&mut m, "u");
    assert!(m.overlay.is_none() && m.notes.last().unwrap().text.contains("runs `dc-nas`"), "{:?}", m.notes);
}

#[test]
fn changes_of_live_settings_are_marks_on_the_curves() {
    let mut m = fixture::opened(SIZE);
    let run = fixture::summaries()[0].id.clone();
    let knob = |seq: u64, value: &str, x: f64| Event {
        seq,
        t: fixture::NOW,
        body: Body::KnobSet { key: "optim.lr".into(), value: value.into(), x },
    };
    let events = vec![knob(9001, "0.01", 20.0), knob(9002, "0.01", 21.0), knob(9003, "0.002", 40.0)];
    fixture::push(&mut m, kiln_protocol::wire::Push::Events { run, events });
    let marks: Vec<f64> = m.detail.as_ref().unwrap().curves.marks.iter().map(|mark| mark.x).collect();
    assert_eq!(marks, [20.0, 40.0], "what says the same again is no change");
}
