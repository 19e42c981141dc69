//! Marking runs, and comparing them.

use kiln_protocol::RunId;
use kiln_protocol::compare::By;
use kiln_protocol::wire::Request;
use ratatui::layout::Size;

use super::update;
use crate::fixture::{self, EXPERIMENT};
use crate::fixture_compare;
use crate::model::compare::Page;
use crate::model::{Model, Screen};
use crate::msg::{Effect, Msg};

const SIZE: Size = Size { width: 80, height: 24 };

fn page(m: &Model) -> Page {
    m.compare.as_ref().unwrap().page
}

#[test]
fn space_marks_runs_in_turn_and_c_compares_them() {
    let mut m = fixture::model(SIZE);
    let first = m.runs.selected.clone().unwrap();
    fixture::keys(&mut m, "space space");
    assert_eq!(m.runs.marked.len(), 2);
    assert!(m.runs.marked.contains(&first) && m.runs.selected != Some(first.clone()));
    fixture::keys(&mut m, "g space");
    assert!(!m.runs.marked.contains(&first), "the mark is taken away");
    fixture::keys(&mut m, "g space");
    let effects = fixture::keys(&mut m, "c");
    assert_eq!(m.screen, Screen::Compare);
    let asked = effects.iter().find_map(|e| match e {
        Effect::Compare(runs) => Some(runs.clone()),
        _ => None,
    });
    assert_eq!(asked.unwrap()[0], first, "in the order of the list");
    fixture::keys(&mut m, "esc");
    assert_eq!((m.screen, m.runs.marked.len()), (Screen::Runs, 2), "marks stay");
    fixture::keys(&mut m, "* *");
    assert!(m.runs.marked.is_empty());
}

#[test]
fn one_run_alone_is_no_comparison_but_an_experiment_is() {
    let mut m = fixture::model(SIZE);
    m.runs.selected = Some(fixture::summaries()[0].id.clone());
    fixture::keys(&mut m, "c");
    assert_eq!(m.screen, Screen::Runs);
    assert!(m.notes.iter().any(|n| n.text.contains("space bar")), "{:?}", m.notes);
    m.runs.selected = Some(RunId(EXPERIMENT.into()));
    fixture::keys(&mut m, "c");
    assert_eq!(m.screen, Screen::Compare);
}

#[test]
fn a_mark_and_the_selected_run_are_two() {
    let mut m = fixture::model(SIZE);
    fixture::keys(&mut m, "space c");
    assert_eq!(m.compare.as_ref().map(|c| c.runs.len()), Some(2));
}

#[test]
fn pages_turn_and_each_asks_for_what_it_shows() {
    let mut m = fixture_compare::compared(SIZE);
    assert_eq!(page(&m), Page::Curves);
    assert_eq!(m.compare.as_ref().unwrap().overlay.drawn.len(), 4, "two means, two runs");
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Weigh { .. }));
    let effects = fixture::keys(&mut m, "tab");
    assert!(page(&m) == Page::Table && !asked(&effects));
    let effects = fixture::keys(&mut m, "4");
    assert!(page(&m) == Page::Importance && asked(&effects));
    assert!(m.compare.as_ref().unwrap().weights().is_some());
    let effects = fixture::keys(&mut m, "f");
    assert!(asked(&effects), "another figure");
    fixture::keys(&mut m, "backtab backtab backtab backtab");
    assert_eq!(page(&m), Page::Front);
}

#[test]
fn curves_by_time_ask_for_clocks() {
    let mut m = fixture_compare::compared(SIZE);
    fixture::keys(&mut m, "b");
    assert_eq!(m.compare.as_ref().unwrap().overlay.by, By::Share);
    let effects = fixture::keys(&mut m, "b");
    let clocks = effects.iter().filter(|e| matches!(e, Effect::Send(f) if matches!(f.request, Request::Clock { .. })));
    assert_eq!(clocks.count(), 8);
    let overlay = &m.compare.as_ref().unwrap().overlay;
    assert_eq!((overlay.unit.as_str(), overlay.drawn.len()), ("s", 4));
}

#[test]
fn live_runs_are_asked_again_and_ended_ones_are_not() {
    let mut m = fixture_compare::compared(SIZE);
    let again = |m: &mut Model, t: f64| -> Vec<RunId> {
        let effects = update(m, Msg::Tick(fixture::NOW + t));
        let runs = effects.iter().filter_map(|e| match e {
            Effect::Send(f) => match &f.request {
                Request::Series { run, .. } => Some(run.clone()),
                _ => None,
            },
            _ => None,
        });
        let runs = runs.collect();
        fixture::answer(m, effects);
        runs
    };
    assert_eq!(again(&mut m, 1.0), []);
    let asked = again(&mut m, 3.0);
    assert!(asked.contains(&RunId("train-fashion-9q0z".into())), "{asked:?}");
    assert!(!asked.contains(&RunId("train-größe-日本-m1m1".into())), "it is over: {asked:?}");
}

#[test]
fn a_run_opened_from_a_comparison_leads_back_to_it() {
    let mut m = fixture_compare::compared(SIZE);
    fixture::keys(&mut m, "3 j enter");
    assert_eq!(m.screen, Screen::Detail);
    let opened = m.detail.as_ref().unwrap().id.clone();
    assert!(opened.parent().is_some(), "the second best is a job: {opened}");
    fixture::keys(&mut m, "esc");
    assert_eq!((m.screen, page(&m)), (Screen::Compare, Page::Strip));
    assert!(m.detail.is_none());
    fixture::keys(&mut m, "esc");
    assert!(m.screen == Screen::Runs && m.compare.is_none());
}

#[test]
fn esc_takes_the_cursor_and_the_zoom_away_first() {
    let mut m = fixture_compare::compared(SIZE);
    fixture::keys(&mut m, "h h + esc");
    assert_eq!(m.screen, Screen::Compare);
    assert!(m.compare.as_ref().unwrap().overlay.cursor.is_none() && m.compare.as_ref().unwrap().overlay.zoom.is_some());
    fixture::keys(&mut m, "esc");
    assert!(m.compare.as_ref().unwrap().overlay.zoom.is_none());
    fixture::keys(&mut m, "esc");
    assert_eq!(m.screen, Screen::Runs);
}

#[test]
fn a_comparison_that_fails_says_why_and_one_that_was_left_is_dropped() {
    let mut m = fixture::model(SIZE);
    m.runs.selected = Some(RunId(EXPERIMENT.into()));
    let effects = update(&mut m, Msg::Key("c".parse().unwrap()));
    let Some(Effect::Compare(runs)) = effects.into_iter().find(|e| matches!(e, Effect::Compare(_))) else {
        panic!("nothing asked")
    };
    let other = vec![RunId("other".into())];
    update(&mut m, Msg::Compared { runs: other, found: Box::new(Ok(fixture_compare::comparison())) });
    assert!(m.compare.as_ref().unwrap().data.is_none());
    update(&mut m, Msg::Compared { runs, found: Box::new(Err("None of these runs has found anything yet.".into())) });
    assert!(m.compare.as_ref().unwrap().problem.is_some());
    update(&mut m, Msg::Key("esc".parse().unwrap()));
    update(&mut m, Msg::Weighed(Box::default()));
    assert!(m.compare.is_none());
}

#[test]
fn a_click_chooses_pages_and_rows() {
    let mut m = fixture_compare::compared(Size { width: 200, height: 50 });
    let tabs = crate::layout::compare(m.size).tabs;
    let titles = Page::ALL.map(Page::title);
    let at = crate::layout::tabs(&titles, 0, tabs.width)[2].1;
    let click = |m: &mut Model, x: u16, y: u16| {
        let effects = update(m, Msg::Click(x, y));
        fixture::answer(m, effects);
    };
    click(&mut m, tabs.x + at, tabs.y);
    assert_eq!(page(&m), Page::Strip);
    let list = crate::layout::compare_list(m.size).list;
    click(&mut m, list.x + 5, list.y + 3);
    assert_eq!(m.compare.as_ref().unwrap().strip.selected, 3);
    click(&mut m, list.x + 5, list.y + 40);
    assert_eq!(m.compare.as_ref().unwrap().strip.selected, 3, "there is no such row");
    click(&mut m, list.x + 5, list.y + 3);
    assert_eq!(m.screen, Screen::Detail);
}
