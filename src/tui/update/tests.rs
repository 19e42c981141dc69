//! What every action does, without a terminal.

use kiln_protocol::wire::{FromEngine, Push, Reply, Request};
use kiln_protocol::{Body, Command, Event, Level, RunId, RunState, View};
use ratatui::layout::Size;

use super::*;
use crate::fixture::{self, keys, model, opened};
use crate::model::figure::Pane;
use crate::model::runs::SortBy;
use crate::options::{PresetInfo, Wanted};

const SIZE: Size = Size { width: 80, height: 24 };

/// Selects the first run in a state.
fn select(m: &mut Model, state: RunState) -> RunId {
    let id = fixture::summaries().into_iter().find(|r| r.state == state).unwrap().id;
    m.runs.selected = Some(id.clone());
    id
}

fn requests(effects: &[Effect]) -> Vec<Request> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Send(frame) => Some(frame.request.clone()),
            _ => None,
        })
        .collect()
}

fn control(run: &RunId, command: Command) -> Vec<Request> {
    vec![Request::Control { run: run.clone(), command }]
}

fn pane<'a>(m: &'a Model, name: &str) -> &'a Pane {
    &m.detail.as_ref().unwrap().panes[name]
}

fn curves(m: &Model) -> &crate::model::curves::Curves {
    &m.detail.as_ref().unwrap().curves
}

fn event(m: &mut Model, seq: u64, body: Body) {
    let run = m.detail.as_ref().unwrap().id.clone();
    fixture::push(m, Push::Events { run, events: vec![Event { seq, t: fixture::NOW, body }] });
}

#[test]
fn opening_asks_for_everything_about_a_run_and_closing_stops_watching() {
    let mut m = model(SIZE);
    let id = select(&mut m, RunState::Running);
    let asked = requests(&update(&mut m, Msg::Key("enter".parse().unwrap())));
    assert_eq!(
        asked,
        [
            Request::Watch { run: Some(id.clone()) },
            Request::Run { run: id.clone() },
            Request::Events { run: id, after: 0, limit: 5000, tail: true },
        ]
    );
    assert_eq!(m.screen, Screen::Detail);
    assert_eq!(requests(&keys(&mut m, "esc")), [Request::Watch { run: None }]);
    assert!(m.screen == Screen::Runs && m.detail.is_none());
}

#[test]
fn a_loaded_run_asks_for_the_series_on_the_screen_alone() {
    let mut m = opened(SIZE);
    let curves = curves(&m);
    assert_eq!(curves.panels.iter().map(|p| p.metric.as_str()).collect::<Vec<_>>(), ["accuracy", "loss"]);
    assert!(curves.track("valid/accuracy").is_some() && curves.track("train/loss").is_none());
    let asked = requests(&keys(&mut m, "m"));
    assert!(
        matches!(&asked[..], [Request::Series { names, columns: 0, from: None, .. }] if names.len() == 2),
        "{asked:?}"
    );
    assert_eq!(keys(&mut m, "M"), []);
}

#[test]
fn pausing_resuming_and_stopping_send_commands_that_fit_the_state() {
    for (state, key, command) in [
        (RunState::Running, "p", Command::Pause),
        (RunState::Paused, "p", Command::Resume),
        (RunState::Paused, "r", Command::Resume),
        (RunState::Stopped, "r", Command::Resume),
        (RunState::Failed, "r", Command::Resume),
    ] {
        let mut m = model(SIZE);
        let id = select(&mut m, state);
        assert_eq!(requests(&keys(&mut m, key)), control(&id, command), "{state} {key}");
    }
    for (state, key, words) in [
        (RunState::Completed, "r", "there is nothing to resume"),
        (RunState::Completed, "x", "there is nothing to stop"),
        (RunState::Queued, "p", "only a running run can be paused"),
        (RunState::Running, "D", "stop it before removing it"),
    ] {
        let mut m = model(SIZE);
        select(&mut m, state);
        assert_eq!(keys(&mut m, key), [], "{state} {key}");
        assert!(m.notes.last().unwrap().text.contains(words), "{:?}", m.notes);
    }
    let mut m = opened(SIZE);
    let id = m.detail.as_ref().unwrap().id.clone();
    assert_eq!(requests(&keys(&mut m, "C")), control(&id, Command::Checkpoint));
}

#[test]
fn what_cannot_be_taken_back_is_asked_about() {
    for (state, key, request) in [
        (RunState::Running, "x", control as fn(&RunId, Command) -> Vec<Request>),
        (RunState::Completed, "D", |run: &RunId, _| vec![Request::Remove { run: run.clone() }]),
    ] {
        let mut m = model(SIZE);
        let id = select(&mut m, state);
        for no in ["n", "esc", "q"] {
            assert_eq!(keys(&mut m, key), []);
            assert!(matches!(m.overlay, Some(Overlay::Confirm(_))));
            assert_eq!(keys(&mut m, no), []);
            assert_eq!(m.overlay, None);
        }
        assert_eq!(requests(&keys(&mut m, &format!("{key} y"))), request(&id, Command::Stop));
        assert_eq!(m.overlay, None);
    }
}

#[test]
fn queued_runs_can_be_moved() {
    let mut m = model(SIZE);
    let id = select(&mut m, RunState::Queued);
    assert_eq!(requests(&keys(&mut m, "+")), [Request::Priority { run: id.clone(), priority: 1 }]);
    assert_eq!(requests(&keys(&mut m, "-")), [Request::Priority { run: id, priority: -1 }]);
    select(&mut m, RunState::Running);
    assert_eq!(keys(&mut m, "+"), []);
}

#[test]
fn launching_loads_validates_starts_and_opens() {
    let mut m = model(SIZE);
    assert_eq!(keys(&mut m, "n enter"), [load("dc-nas-digits")]);
    assert_eq!(keys(&mut m, "enter"), [], "once is enough");
    let loaded = Msg::Loaded { preset: "dc-nas-digits".into(), spec: Ok("seed = 1".into()) };
    let effects = update(&mut m, loaded);
    let [Effect::Send(frame)] = &effects[..] else { panic!("{effects:?}") };
    let expected =
        Request::Launch { preset: "dc-nas-digits".into(), spec: "seed = 1".into(), priority: 0, origin: None };
    assert_eq!(frame.request, expected);
    let run = RunId("dc-nas-digits-n3w1".into());
    let reply = FromEngine::Reply { id: frame.id, reply: Ok(Reply::Launched { run: run.clone() }) };
    let asked = requests(&update(&mut m, Msg::Frame(Box::new(reply))));
    assert_eq!(asked[0], Request::Watch { run: Some(run.clone()) });
    assert!(m.screen == Screen::Detail && m.launcher.busy.is_none());
    let mut summary = fixture::summaries().remove(0);
    summary.id = run.clone();
    fixture::push(&mut m, Push::Runs { runs: vec![summary] });
    assert_eq!(m.runs.selected, Some(run), "it is selected once it is in the list");
}

#[test]
fn a_preset_with_problems_shows_them_in_its_place() {
    let mut m = model(SIZE);
    keys(&mut m, "n enter");
    let problems = "presets/x.toml, line 3: unknown key `sed`; did you mean `seed`?".to_owned();
    assert_eq!(update(&mut m, Msg::Loaded { preset: "dc-nas-digits".into(), spec: Err(problems.clone()) }), []);
    assert_eq!(m.launcher.problems["dc-nas-digits"], problems);
    assert_eq!(keys(&mut m, "enter"), [load("dc-nas-digits")], "it can be tried again");
    assert!(m.launcher.problems.is_empty());
}

#[test]
fn without_runs_the_launcher_opens_on_the_default_preset() {
    let mut m = Model::new(fixture::presets(), crate::Start::Auto, true, SIZE, fixture::NOW);
    let effects = update(&mut m, Msg::Connected { version: "1".into(), pid: 1 });
    assert_eq!(requests(&effects)[..2], [Request::Runs, Request::Status]);
    let id = m.asked.find(|a| *a == Ask::Runs).unwrap();
    update(&mut m, Msg::Frame(Box::new(FromEngine::Reply { id, reply: Ok(Reply::Runs { runs: vec![] }) })));
    assert_eq!(m.screen, Screen::Launcher);
    assert_eq!(m.launcher.selected().unwrap().name, "dc-nas-digits");
    assert_eq!(keys(&mut m, "esc"), []);
    assert_eq!(m.screen, Screen::Runs);
}

#[test]
fn the_start_option_opens_a_run_or_a_preset() {
    let mut m = Model::new(fixture::presets(), crate::Start::Launcher("train-digits".into()), true, SIZE, 0.0);
    assert!(m.screen == Screen::Launcher && m.launcher.selected().unwrap().name == "train-digits");
    for (id, screen) in [("train-digits-w8w8", Screen::Detail), ("gone-0000", Screen::Runs)] {
        m = Model::new(vec![], crate::Start::Run(RunId(id.into())), true, SIZE, 0.0);
        update(&mut m, Msg::Connected { version: "1".into(), pid: 1 });
        let ask = m.asked.find(|a| *a == Ask::Runs).unwrap();
        let reply = Reply::Runs { runs: fixture::summaries() };
        update(&mut m, Msg::Frame(Box::new(FromEngine::Reply { id: ask, reply: Ok(reply) })));
        assert_eq!(m.screen, screen, "{id}");
    }
}

#[test]
fn the_list_moves_sorts_and_filters() {
    let mut m = model(SIZE);
    let at = |m: &Model| m.runs.list.selected;
    for (key, row) in [("end", 7), ("up", 6), ("k", 5), ("home", 0), ("down", 1), ("j", 2), ("pgdn", 7), ("pgup", 0)] {
        keys(&mut m, key);
        assert_eq!(at(&m), row, "{key}");
    }
    keys(&mut m, "s s");
    assert_eq!(m.runs.sort, SortBy::State);
    keys(&mut m, "S");
    assert_eq!(m.runs.sort, SortBy::Name);
    keys(&mut m, "o");
    assert!(m.runs.reverse);
    keys(&mut m, "/ f a s h");
    assert_eq!(m.runs.visible().len(), 2);
    keys(&mut m, "backspace enter");
    assert!(m.runs.filter() == "fas" && m.prompt.is_none());
    keys(&mut m, "/ x y esc");
    assert_eq!(m.runs.filter(), "fas", "esc takes back what was typed");
    keys(&mut m, "/ ctrl-u d i g ctrl-w enter");
    assert_eq!(m.runs.filter(), "");
    keys(&mut m, "/ q");
    assert_eq!(m.prompt.as_ref().unwrap().text(), "q", "keys are letters while typing");
    assert_eq!(keys(&mut m, "ctrl-c"), [Effect::Quit]);
    keys(&mut m, "enter esc");
    assert_eq!(m.runs.filter(), "");
    update(&mut m, Msg::Paste("ignored".into()));
    keys(&mut m, "/");
    update(&mut m, Msg::Paste("train\n-fa".into()));
    assert_eq!(m.runs.visible().len(), 1);
}

#[test]
fn tabs_go_round_and_by_number() {
    let mut m = opened(SIZE);
    let tabs = m.detail.as_ref().unwrap().tabs();
    assert_eq!(tabs.len(), 8);
    let tab = |m: &Model| m.detail.as_ref().unwrap().tab.clone();
    for expected in tabs.iter().skip(1).chain([&tabs[0]]) {
        keys(&mut m, "tab");
        assert_eq!(tab(&m), *expected);
    }
    keys(&mut m, "backtab");
    assert_eq!(tab(&m), Tab::Settings);
    keys(&mut m, "2");
    assert_eq!(tab(&m), Tab::View("Clusters".into()));
    keys(&mut m, "9");
    assert_eq!(tab(&m), Tab::View("Clusters".into()), "there is no ninth tab");
}

#[test]
fn neighbours_open_on_the_same_tab() {
    let mut m = opened(SIZE);
    keys(&mut m, "7");
    let before = m.detail.as_ref().unwrap().id.clone();
    keys(&mut m, "J");
    let detail = m.detail.as_ref().unwrap();
    assert!(detail.id != before && detail.tab == Tab::Log && detail.loaded);
    keys(&mut m, "K");
    assert_eq!(m.detail.as_ref().unwrap().id, before);
}

#[test]
fn charts_zoom_pan_smooth_and_read_out() {
    let mut m = opened(SIZE);
    keys(&mut m, "left");
    assert_eq!(curves(&m).cursor, Some(58.0));
    keys(&mut m, "h h");
    assert_eq!(curves(&m).cursor, Some(56.0));
    keys(&mut m, "l l l");
    assert_eq!(curves(&m).cursor, Some(58.0), "there is no point further on");
    keys(&mut m, "+");
    let window = curves(&m).panels[0].window();
    assert_eq!(window.span(), 50.0);
    keys(&mut m, "H");
    assert!(curves(&m).panels[0].window().from < window.from);
    keys(&mut m, "L =");
    assert_eq!(curves(&m).panels[0].window().span(), 25.0);
    keys(&mut m, "- 0");
    assert_eq!(curves(&m).panels[0].zoom, None);
    keys(&mut m, "s");
    assert_eq!(curves(&m).smooth, 1);
    keys(&mut m, "s s s s y");
    assert!(curves(&m).smooth == 0 && curves(&m).panels[0].log);
    keys(&mut m, "z");
    assert!(curves(&m).alone);
    keys(&mut m, "+ esc");
    assert!(curves(&m).cursor.is_none() && curves(&m).panels[0].zoom.is_some());
    keys(&mut m, "esc");
    assert!(curves(&m).panels[0].zoom.is_none() && m.screen == Screen::Detail);
    keys(&mut m, "esc");
    assert_eq!(m.screen, Screen::Runs);
}

#[test]
fn series_are_chosen_singly_by_filter_and_by_candidate() {
    let mut m = opened(SIZE);
    let shown = |m: &Model| curves(m).panels.iter().map(|p| p.series.len()).sum::<usize>();
    assert_eq!(shown(&m), 4);
    keys(&mut m, "c");
    assert_eq!(shown(&m), 16);
    keys(&mut m, "c v space");
    assert_eq!(shown(&m), 3);
    keys(&mut m, "enter / c a n d enter a");
    assert_eq!(shown(&m), 16);
    keys(&mut m, "x down");
    assert_eq!((shown(&m), curves(&m).picker.selected), (4, 1));
    keys(&mut m, "esc");
    assert_eq!(m.overlay, None);
}

#[test]
fn live_points_reach_the_chart_and_a_resume_replaces_the_tail() {
    let mut m = opened(SIZE);
    let points = |m: &Model| curves(m).track("valid/accuracy").unwrap().points().to_vec();
    event(&mut m, 9001, Body::Points { series: "valid/accuracy".into(), points: vec![[59.0, 0.95]] });
    assert_eq!(points(&m).last(), Some(&[59.0, 0.95]));
    event(&mut m, 9002, kiln_protocol::testing::started(2, Some(50)));
    // The fixture's engine answers the doubt with its own 58 points.
    assert_eq!(points(&m).len(), 58);
    event(&mut m, 9003, Body::Points { series: "fresh/accuracy".into(), points: vec![[1.0, 0.5]] });
    assert_eq!(curves(&m).panels[0].series.len(), 3);
}

#[test]
fn views_arrive_merge_and_complete() {
    let mut m = opened(SIZE);
    let mut rows = match fixture::views().remove(1).1 {
        View::Candidates(table) => table,
        _ => panic!("not the candidates"),
    };
    rows.rows.truncate(1);
    rows.rows[0].status = "changed".into();
    event(&mut m, 9001, Body::View { name: "Candidates".into(), view: Box::new(View::Candidates(rows)) });
    let View::Candidates(table) = m.detail.as_ref().unwrap().view("Candidates").unwrap() else { panic!() };
    assert!(table.rows.len() == 40 && table.rows[0].status == "changed");
    event(&mut m, 9002, Body::Completed { outcome: Box::new(fixture::outcome()) });
    keys(&mut m, "9");
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::Outcome);
    keys(&mut m, "end home down");
    let mut m = model(SIZE);
    select(&mut m, RunState::Completed);
    keys(&mut m, "enter");
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::Outcome, "a run that is over opens on its outcome");
}

#[test]
fn pictures_and_tables_have_cursors() {
    let mut m = opened(SIZE);
    keys(&mut m, "2 w");
    assert!(pane(&m, "Clusters").list.selected > 0);
    let before = pane(&m, "Clusters").list.selected;
    keys(&mut m, "right down");
    assert_ne!(pane(&m, "Clusters").list.selected, before);
    keys(&mut m, "3 down down s");
    assert_eq!((pane(&m, "Candidates").candidate, pane(&m, "Candidates").sort), (Some(2), 1));
    keys(&mut m, "S o end");
    assert_eq!((pane(&m, "Candidates").sort, pane(&m, "Candidates").candidate), (0, Some(0)));
    keys(&mut m, "5 down right right");
    assert_eq!(pane(&m, "Similarity").cell, (1, 2));
    keys(&mut m, "left up");
    assert_eq!(pane(&m, "Similarity").cell, (0, 1));
    keys(&mut m, "4 left");
    assert!(pane(&m, "Ranking").list.selected > 0);
}

#[test]
fn the_log_scrolls_follows_and_is_searched() {
    let mut m = opened(SIZE);
    let log = |m: &Model| m.detail.as_ref().unwrap().log.clone();
    keys(&mut m, "7");
    assert!(log(&m).shown().len() < 12);
    keys(&mut m, "d");
    assert_eq!(log(&m).shown().len(), log(&m).lines.len());
    assert!(log(&m).follow && log(&m).top > 0);
    keys(&mut m, "home");
    assert!(!log(&m).follow && log(&m).top == 0);
    keys(&mut m, "f");
    assert!(log(&m).follow && log(&m).top > 0);
    keys(&mut m, "up down pgdn");
    assert!(log(&m).follow, "the end is followed");
    keys(&mut m, "/ s p a c e enter");
    let first = log(&m).found.unwrap();
    keys(&mut m, "n N");
    assert_eq!(log(&m).found, Some(first));
    keys(&mut m, "/ z z z z enter");
    assert!(m.notes.last().unwrap().text.contains("`zzzz`"));
    keys(&mut m, "esc");
    assert!(log(&m).query.is_empty() && m.screen == Screen::Detail);
}

#[test]
fn general_keys_do_what_they_say() {
    let mut m = model(SIZE);
    assert_eq!(keys(&mut m, "q"), [Effect::Quit]);
    assert_eq!(keys(&mut m, "ctrl-c"), [Effect::Quit]);
    assert_eq!(keys(&mut m, "ctrl-z"), [Effect::Suspend]);
    assert_eq!(keys(&mut m, "ctrl-l"), [Effect::Redraw]);
    assert_eq!(keys(&mut m, "T"), [Effect::SwitchTheme]);
    assert_eq!(update(&mut m, Msg::Suspend), [Effect::Suspend]);
    assert_eq!(update(&mut m, Msg::Continued), [Effect::TakeOver, Effect::Redraw]);
    assert_eq!(update(&mut m, Msg::Leave), [Effect::Quit]);
    keys(&mut m, "? down end pgup");
    assert!(matches!(m.overlay, Some(Overlay::Help(s)) if s.top > 0));
    assert_eq!(keys(&mut m, "q"), [], "closes the help, not Kiln");
    assert_eq!(m.overlay, None);
    assert_eq!(keys(&mut m, "f1 f1"), []);
    assert_eq!(m.overlay, None);
}

#[test]
fn no_key_of_any_context_does_harm_anywhere() {
    // Every action from every screen, without an engine that answers: nothing may panic, and no command goes out twice.
    let screens = [
        "home", "n", "enter", "enter 2", "enter 3", "enter 4", "enter 5", "enter 6", "enter 7", "enter 8", "?",
        "enter v", "x",
    ];
    for screen in screens {
        for action in Action::ALL {
            for key in action.keys() {
                let mut m = model(Size { width: 30, height: 8 });
                keys(&mut m, screen);
                let sent = requests(&update(&mut m, Msg::Key(key)));
                let commands = sent.iter().filter(|r| matches!(r, Request::Control { .. } | Request::Remove { .. }));
                assert!(commands.count() <= 1);
            }
        }
    }
}

#[test]
fn a_lost_connection_is_survived() {
    let mut m = opened(SIZE);
    select(&mut m, RunState::Running);
    update(&mut m, Msg::Key("p".parse().unwrap()));
    update(&mut m, Msg::Disconnected { reason: "gone".into(), retry: 1.0 });
    assert!(m.notes.iter().any(|n| n.text.contains("pause")), "an unconfirmed command is told: {:?}", m.notes);
    assert_eq!(keys(&mut m, "p"), []);
    assert!(m.notes.iter().any(|n| n.text.contains("not connected")));
    assert!(m.detail.as_ref().unwrap().loaded, "the last state stays");
    let Link::Down { since, .. } = m.link.clone() else { panic!() };
    update(&mut m, Msg::Tick(fixture::NOW + 5.0));
    update(&mut m, Msg::Disconnected { reason: "gone".into(), retry: 2.0 });
    assert_eq!(m.link, Link::Down { reason: "gone".into(), since, retry_at: fixture::NOW + 7.0 });
    let asked = requests(&update(&mut m, Msg::Connected { version: "1".into(), pid: 2 }));
    assert!(asked.contains(&Request::Runs) && asked.iter().any(|r| matches!(r, Request::Run { .. })));
    assert!(asked.iter().any(|r| matches!(r, Request::Series { .. })), "points may have been missed: {asked:?}");
}

#[test]
fn refusals_become_messages() {
    let mut m = model(SIZE);
    select(&mut m, RunState::Running);
    update(&mut m, Msg::Key("p".parse().unwrap()));
    let id = m.asked.find(|a| matches!(a, Ask::Do(..))).unwrap();
    let reply = FromEngine::Reply { id, reply: Err("its worker does not answer".into()) };
    update(&mut m, Msg::Frame(Box::new(reply)));
    assert_eq!(m.notes.last().unwrap().text, "Cannot pause dc-nas-digits-k3f7: its worker does not answer");
    assert_eq!(m.notes.last().unwrap().level, Level::Error);
    update(&mut m, Msg::Tick(fixture::NOW + 60.0));
    assert!(m.notes.is_empty(), "messages go after a while");
}

#[test]
fn a_run_that_cannot_be_shown_leads_back_to_the_list() {
    let mut m = model(SIZE);
    select(&mut m, RunState::Running);
    update(&mut m, Msg::Key("enter".parse().unwrap()));
    let id = m.asked.find(|a| matches!(a, Ask::Run(_))).unwrap();
    update(&mut m, Msg::Frame(Box::new(FromEngine::Reply { id, reply: Err("its folder is gone".into()) })));
    assert!(m.screen == Screen::Runs && m.detail.is_none());
    assert_eq!(m.notes.last().unwrap().text, "Cannot show dc-nas-digits-k3f7: its folder is gone");
}

#[test]
fn a_refused_series_is_not_asked_for_in_a_loop() {
    let mut m = model(SIZE);
    select(&mut m, RunState::Running);
    update(&mut m, Msg::Key("enter".parse().unwrap()));
    let ask = m.asked.find(|a| matches!(a, Ask::Run(_))).unwrap();
    let run = Box::new(fixture::detail(&m.detail.as_ref().unwrap().id));
    let reply = FromEngine::Reply { id: ask, reply: Ok(Reply::Run { run }) };
    let effects = update(&mut m, Msg::Frame(Box::new(reply)));
    assert_eq!(requests(&effects).len(), 1);
    let ask = m.asked.find(|a| matches!(a, Ask::Series(..))).unwrap();
    let effects = update(&mut m, Msg::Frame(Box::new(FromEngine::Reply { id: ask, reply: Err("no".into()) })));
    assert_eq!(effects, []);
}

#[test]
fn what_is_told_again_is_one_message_with_a_count() {
    let mut m = model(SIZE);
    for _ in 0..3 {
        m.note(Level::Warn, "The disk is full.");
        m.note(Level::Info, "Something else.");
    }
    assert_eq!((m.notes.len(), m.said.len()), (2, 2));
    m.note(Level::Warn, "The disk is full.");
    assert_eq!(m.message().unwrap().1, "The disk is full. (4 times)");
    let lines = crate::model::pages::messages(&m, 60, &crate::glyphs::UNICODE);
    let words: Vec<&str> = lines.iter().map(|l| l[2].1.as_str()).collect();
    assert_eq!(words, ["The disk is full. (4 times)", "Something else. (3 times)"]);
    // What has gone from the screen is told anew there; the list goes on counting.
    update(&mut m, Msg::Tick(fixture::NOW + 60.0));
    m.note(Level::Warn, "The disk is full.");
    assert_eq!((m.message().unwrap().1.as_str(), m.said[1].count), ("The disk is full.", 5));
}

#[test]
fn messages_of_one_subject_replace_each_other_and_esc_takes_them_away() {
    let mut m = model(SIZE);
    keys(&mut m, "n");
    let mut run = fixture::summaries().remove(0);
    for (state, reason) in [(RunState::Paused, Some("paused on request")), (RunState::Completed, None)] {
        (run.state, run.reason) = (state, reason.map(str::to_owned));
        fixture::push(&mut m, Push::Runs { runs: vec![run.clone()] });
    }
    let texts: Vec<&str> = m.notes.iter().map(|n| n.text.as_str()).collect();
    assert_eq!(texts, ["dc-nas-digits-k3f7 has completed."]);
    assert_eq!(m.said[0].text, "dc-nas-digits-k3f7 is paused on request");
    m.note(Level::Error, "Something has failed.");
    keys(&mut m, "esc");
    assert!(m.notes.is_empty() && m.screen == Screen::Launcher, "an error alone");
    keys(&mut m, "i");
    assert!(matches!(m.overlay, Some(Overlay::Messages(_))) && m.said.len() == 3, "what has been told can be read");
    keys(&mut m, "esc");
    m.note(Level::Info, "Nothing much.");
    keys(&mut m, "esc");
    assert!(m.notes.is_empty() && m.screen == Screen::Runs, "what only tells goes along");
}

#[test]
fn pushes_change_the_list_and_tell_of_ends() {
    let mut m = model(SIZE);
    let mut run = fixture::summaries().remove(0);
    run.state = RunState::Failed;
    run.reason = Some("the worker died".into());
    fixture::push(&mut m, Push::Runs { runs: vec![run.clone()] });
    assert_eq!(m.runs.get(&run.id).unwrap().state, RunState::Failed);
    assert_eq!(m.notes.last().unwrap().text, "dc-nas-digits-k3f7 has failed: the worker died");
    run.id = RunId("another-0000".into());
    fixture::push(&mut m, Push::Runs { runs: vec![run.clone()] });
    assert_eq!(m.runs.visible().len(), 9);
    let mut m = opened(SIZE);
    let id = m.detail.as_ref().unwrap().id.clone();
    fixture::push(&mut m, Push::Removed { runs: vec![id.clone()] });
    assert!(m.detail.is_none() && m.screen == Screen::Runs && m.runs.get(&id).is_none());
    fixture::push(&mut m, Push::Bye { reason: "asked for".into() });
    assert!(m.notes.last().unwrap().text.contains("leaving"));
}

#[test]
fn the_wheel_scrolls_and_clicks_select() {
    let mut m = model(SIZE);
    update(&mut m, Msg::Wheel(1));
    assert_eq!(m.runs.list.selected, 3);
    let list = layout::runs(SIZE).list;
    assert_eq!(update(&mut m, Msg::Click(10, list.y + 1)), []);
    assert_eq!(m.runs.list.selected, 1);
    assert!(!update(&mut m, Msg::Click(10, list.y + 1)).is_empty(), "a second click opens");
    let mut m = opened(SIZE);
    let tabs = layout::detail(SIZE).tabs;
    update(&mut m, Msg::Click(tabs.x + 10, tabs.y));
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::View("Clusters".into()));
    keys(&mut m, "1");
    update(&mut m, Msg::Wheel(-1));
    assert!(curves(&m).panels[0].zoom.is_some());
}

#[test]
fn hints_fit_what_is_selected() {
    let mut m = model(SIZE);
    for (state, pause, resume, stop, remove) in [
        (RunState::Running, true, false, true, false),
        (RunState::Paused, false, true, true, false),
        (RunState::Completed, false, false, false, true),
        (RunState::Failed, false, true, false, true),
    ] {
        select(&mut m, state);
        let given = [Action::Pause, Action::Resume, Action::Stop, Action::Remove].map(|a| applies(&m, a));
        assert_eq!(given, [pause, resume, stop, remove], "{state}");
    }
}

fn load(preset: &str) -> Effect {
    Effect::Load(Wanted { preset: preset.into(), ..Wanted::default() })
}

fn wanted(changes: &[&str]) -> Wanted {
    Wanted { preset: "dc-nas-fashion".into(), text: None, changes: changes.iter().map(|c| (*c).to_owned()).collect() }
}

fn look(changes: &[&str]) -> Effect {
    Effect::Look(wanted(changes))
}

/// The launcher's answer to a look.
fn looked(m: &mut Model, changes: &[&str], problem: Option<&str>) {
    let msg = Msg::Looked {
        wanted: wanted(changes),
        info: Box::new(PresetInfo {
            problem: problem.map(str::to_owned),
            estimate: "about 9 min".into(),
            ..PresetInfo::default()
        }),
        settings: fixture::settings(),
    };
    update(m, msg);
}

#[test]
fn a_preset_without_its_data_is_given_a_path_in_the_form_and_started() {
    let mut m = fixture::model(SIZE);
    let missing = m.launcher.presets[2].problem.clone().unwrap();
    assert_eq!(keys(&mut m, "n down enter"), [], "it cannot be started");
    assert!(m.notes.last().unwrap().text.contains(&missing), "{:?}", m.notes);
    assert!(!applies(&m, Action::Launch) && applies(&m, Action::Settings));

    assert_eq!(keys(&mut m, "e"), [look(&[])]);
    looked(&mut m, &[], Some(&missing));
    let (_, setting, _) = super::form::selected(&m).unwrap();
    assert_eq!(setting.field.key, "data.path", "the form opens on what is wrong");
    assert_eq!(keys(&mut m, "space / d ctrl-w x enter").last(), Some(&look(&["data.path=x"])));
    looked(&mut m, &["data.path=x"], Some("data.path: there is no folder `x`"));
    assert_eq!(keys(&mut m, "esc enter"), [], "still not");
    assert_eq!(keys(&mut m, "e"), [look(&["data.path=x"])]);
    looked(&mut m, &["data.path=x"], Some("data.path: there is no folder `x`"));
    assert_eq!(keys(&mut m, "space ctrl-u / d enter").last(), Some(&look(&["data.path=/d"])));
    // An answer about a change that is no longer meant changes nothing.
    looked(&mut m, &["data.path=/d"], None);
    looked(&mut m, &["data.path=x"], Some("data.path: there is no folder `x`"));
    let info = &m.launcher.presets[2];
    assert_eq!((info.problem.as_deref(), info.estimate.as_str()), (None, "about 9 min"));
    assert_eq!(info.title, "DC-NAS on Fashion-MNIST", "the words stay");
    assert_eq!(keys(&mut m, "enter"), [Effect::Load(wanted(&["data.path=/d"]))], "from the form, too");
}

#[test]
fn options_are_chosen_values_typed_and_changes_taken_back() {
    let mut m = fixture::model(SIZE);
    keys(&mut m, "n down e");
    looked(&mut m, &[], None);
    let at = |m: &Model, key: &str| m.launcher.form.as_ref().unwrap().settings.iter().position(|s| s.field.key == key);
    let go = |m: &mut Model, key: &str| m.launcher.form.as_mut().unwrap().list.selected = at(m, key).unwrap();
    go(&mut m, "optim.kind");
    assert_eq!(keys(&mut m, "l"), [look(&["optim.kind=adamw"])]);
    assert_eq!(keys(&mut m, "space"), [look(&[])], "round again, to what the preset says: no change");
    go(&mut m, "seed");
    assert_eq!(keys(&mut m, "l"), [], "numbers are typed");
    let typed = keys(&mut m, "space backspace backspace 7 enter");
    assert_eq!(typed, [look(&["seed=7"]), look(&["seed=7"])], "while it is typed, and once more when it is meant");
    assert_eq!(keys(&mut m, "space 8 esc"), [look(&["seed=8"])], "in place of the old value, and left as it was");
    assert_eq!(keys(&mut m, "space end 8 left left 1 esc"), [look(&["seed=78"]), look(&["seed=178"])], "edited");
    assert_eq!(super::form::selected(&m).unwrap().2, "7");
    assert_eq!(keys(&mut m, "x"), [look(&[])]);
    assert_eq!(keys(&mut m, "x"), []);
    assert_eq!(keys(&mut m, "esc"), []);
    assert_eq!(m.screen, Screen::Launcher);
}

#[test]
fn presets_are_filtered_and_the_chosen_one_stays_chosen() {
    let mut m = fixture::model(SIZE);
    keys(&mut m, "n G");
    let listed = |m: &Model| m.launcher.visible().map(|p| p.name.clone()).collect::<Vec<_>>();
    let hints = |m: &Model| hints::fitting(m, 78, &UNICODE).iter().any(|h| h.key == "/" && h.words == "filter");
    assert!(hints(&m));
    keys(&mut m, "/ d i g i t s");
    assert_eq!(listed(&m), ["dc-nas-digits", "train-digits"]);
    assert_eq!(m.launcher.selected().unwrap().name, "train-digits");
    keys(&mut m, "up");
    assert_eq!(m.launcher.selected().unwrap().name, "dc-nas-digits", "the arrows choose meanwhile");
    keys(&mut m, "enter");
    assert!(matches!(&keys(&mut m, "enter")[..], [Effect::Load(wanted)] if wanted.preset == "dc-nas-digits"));
    keys(&mut m, "esc");
    assert!(m.screen == Screen::Launcher && listed(&m).len() == 4, "esc takes the filter away first");
    assert_eq!(m.launcher.selected().unwrap().name, "dc-nas-digits");
    keys(&mut m, "/ n o p e enter");
    assert!(listed(&m).is_empty() && m.launcher.selected().is_none());
    assert_eq!(keys(&mut m, "e enter x"), []);
    m.launcher.select("train-digits");
    assert_eq!(m.launcher.selected().unwrap().name, "train-digits", "whoever is sent there sees it");
}

#[test]
fn a_wide_table_goes_sideways() {
    use kiln_protocol::run::Table;
    let mut m = opened(SIZE);
    let hinted = |m: &Model| super::applies(m, Action::PointRight);
    let columns = ["figure", "a", "b", "c", "d", "e", "f"].map(|c| c.repeat(12).chars().take(14).collect()).to_vec();
    let rows = vec![vec!["0.9812 ± 0.0031".to_owned(); 7]; 3];
    let table = Table { title: "Arms".into(), columns, rows };
    let detail = m.detail.as_mut().unwrap();
    detail.outcome = Some(kiln_protocol::Outcome { tables: vec![table.clone()], ..Default::default() });
    detail.views.push(("Arms".into(), View::Table(table)));
    for tab in [Tab::Outcome, Tab::View("Arms".into())] {
        m.detail.as_mut().unwrap().tab = tab.clone();
        update(&mut m, Msg::Tick(fixture::NOW));
        assert!(hinted(&m), "{tab:?}");
        let left = |m: &Model| m.detail.as_ref().unwrap().page().unwrap().left;
        keys(&mut m, "l right");
        assert_eq!(left(&m), 2);
        keys(&mut m, "h");
        assert_eq!(left(&m), 1);
        keys(&mut m, "l l l l l l l l l l h");
        assert_eq!(left(&m), m.detail.as_ref().unwrap().page().unwrap().most_left - 1, "no further than the last");
        update(&mut m, Msg::Resize(200, 50));
        assert!(left(&m) == 0 && !hinted(&m), "all fits");
        update(&mut m, Msg::Resize(80, 24));
    }
}

#[test]
fn presets_are_read_one_by_one_once_the_launcher_is_open() {
    let mut m = fixture::model(SIZE);
    m.launcher.presets.iter_mut().for_each(|p| p.known = false);
    assert_eq!(update(&mut m, Msg::Tick(fixture::NOW)), [], "nobody asked yet");
    let wanted = |preset: &str| Wanted { preset: preset.into(), ..Wanted::default() };
    let look = |preset: &str| Effect::Look(wanted(preset));
    let answer = |m: &mut Model, preset: &str| {
        let info = Box::new(PresetInfo { title: "Read".into(), ..PresetInfo::default() });
        update(m, Msg::Looked { wanted: wanted(preset), info, settings: Vec::new() })
    };
    assert_eq!(keys(&mut m, "n"), [look("dc-nas-digits")], "the selected one first");
    assert_eq!(keys(&mut m, "down"), [], "one at a time");
    assert_eq!(answer(&mut m, "dc-nas-digits"), [look("dc-nas-fashion")]);
    assert_eq!(answer(&mut m, "dc-nas-fashion"), [look("dc-nas-cifar10")]);
    assert_eq!(answer(&mut m, "dc-nas-cifar10"), [look("train-digits")]);
    assert_eq!(answer(&mut m, "train-digits"), []);
    assert!(m.launcher.presets.iter().all(|p| p.known && p.title == "Read"));
}
