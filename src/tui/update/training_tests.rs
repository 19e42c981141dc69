//! Keys, clicks and news in histograms, pictures and layers.

use kiln_protocol::view::{Histograms, Images, Layers};
use kiln_protocol::wire::Push;
use kiln_protocol::{Body, Event, View};
use ratatui::layout::Size;

use super::{applies, update};
use crate::action::Action;
use crate::fixture::{self, keys};
use crate::fixture_training;
use crate::layout;
use crate::model::figure::Pane;
use crate::model::{Model, Screen};
use crate::msg::Msg;

const SIZE: Size = Size { width: 80, height: 24 };

/// A training with the tab of that digit open.
fn opened(tab: &str) -> Model {
    let mut m = fixture::training(SIZE);
    keys(&mut m, tab);
    m
}

fn pane<'a>(m: &'a Model, name: &str) -> &'a Pane {
    &m.detail.as_ref().unwrap().panes[name]
}

fn push(m: &mut Model, name: &str, view: View) {
    let run = m.detail.as_ref().unwrap().id.clone();
    let body = Body::View { name: name.into(), view: Box::new(view) };
    fixture::push(m, Push::Events { run, events: vec![Event { seq: 9000, t: fixture::NOW, body }] });
}

#[test]
fn a_histogram_is_read_by_bins_looked_at_alone_and_left_step_by_step() {
    let mut m = opened("3");
    assert!(applies(&m, Action::Alone));
    keys(&mut m, "j j l");
    let highest = pane(&m, "Weights").x_cursor;
    assert_eq!(pane(&m, "Weights").list.selected, 2);
    assert!(highest.is_some_and(|x| x.abs() < 0.1), "the first step finds the peak: {highest:?}");
    keys(&mut m, "l l enter");
    let here = pane(&m, "Weights").clone();
    assert!(here.alone && here.x_cursor > highest);
    // The cursor stays at its x, whichever panel is looked at.
    keys(&mut m, "k");
    assert_eq!((pane(&m, "Weights").list.selected, pane(&m, "Weights").x_cursor), (1, here.x_cursor));
    keys(&mut m, "end j");
    assert_eq!(pane(&m, "Weights").list.selected, 5, "there is no panel beyond the last");
    keys(&mut m, "esc");
    assert!(pane(&m, "Weights").x_cursor.is_none() && pane(&m, "Weights").alone);
    keys(&mut m, "esc");
    assert!(!pane(&m, "Weights").alone && m.screen == Screen::Detail);
    keys(&mut m, "esc");
    assert_eq!(m.screen, Screen::Runs);
    let m = opened("2");
    assert!(!applies(&m, Action::Alone), "one histogram is alone anyway");
}

#[test]
fn pictures_are_walked_by_rows_and_pages() {
    let mut m = opened("4");
    let grid = |m: &Model| pane(m, "Samples").sheet.page().unwrap().clone();
    let (columns, page) = (grid(&m).grid.columns, grid(&m).grid.capacity());
    assert!(page < 64);
    keys(&mut m, "l j");
    assert_eq!(pane(&m, "Samples").list.selected, 1 + columns);
    keys(&mut m, "pgdn");
    assert_eq!(pane(&m, "Samples").list.selected, 1 + columns + page);
    assert_eq!(grid(&m).spots.iter().filter(|s| s.picture == 1 + columns + page).count(), 1);
    keys(&mut m, "end");
    assert_eq!((pane(&m, "Samples").list.selected, grid(&m).number), (63, grid(&m).pages));
    keys(&mut m, "j l");
    assert_eq!(pane(&m, "Samples").list.selected, 63, "nothing is beyond the last");
    keys(&mut m, "z h");
    let alone = grid(&m);
    assert_eq!((alone.spots[0].picture, alone.pages), (62, 64));
    keys(&mut m, "home esc");
    assert_eq!((pane(&m, "Samples").list.selected, grid(&m).number), (0, 1));
    // Pairs: up and down go from pair to pair, also where one is looked at alone.
    keys(&mut m, "5 j l enter j");
    assert_eq!(pane(&m, "Pairs").list.selected, 5);
}

#[test]
fn a_newer_sheet_is_shown_and_a_shorter_one_moves_the_selection() {
    let mut m = opened("4");
    keys(&mut m, "end");
    let mut newer = fixture_training::samples();
    newer.pictures.truncate(3);
    newer.pictures[2].pixels = "torn".into();
    push(&mut m, "Samples", View::Images(newer));
    let now = pane(&m, "Samples");
    assert_eq!((now.list.selected, now.sheet.page().unwrap().spots.len()), (2, 3));
    assert!(now.sheet.problem(2).is_some(), "the newer pictures were decoded");
    push(&mut m, "Samples", View::Images(Images::default()));
    keys(&mut m, "l j enter pgdn");
    assert_eq!(pane(&m, "Samples").list.selected, 0);
    push(&mut m, "Samples", View::Histogram(Histograms::default()));
    keys(&mut m, "l j enter pgdn");
}

#[test]
fn layers_scroll_both_ways_and_keep_row_and_column_in_view() {
    let mut m = opened("6");
    keys(&mut m, "j j l l l l l l l");
    assert_eq!((pane(&m, "Layers").list.selected, pane(&m, "Layers").cell.1), (2, 5));
    assert!(pane(&m, "Layers").corner.1 > 0);
    keys(&mut m, "end");
    assert_eq!(pane(&m, "Layers").list.selected, 13);
    keys(&mut m, "h h h h h h h home");
    assert_eq!((pane(&m, "Layers").list.selected, pane(&m, "Layers").corner.1), (0, 0));
    push(&mut m, "Layers", View::Layers(Layers::default()));
    keys(&mut m, "l j end");
    assert_eq!(pane(&m, "Layers").list.selected, 0);
}

#[test]
fn clicks_select_what_they_hit() {
    let body = layout::figure(layout::detail(SIZE).content).body;
    let click = |m: &mut Model, x: u16, y: u16| drop(update(m, Msg::Click(body.x + x, body.y + y)));
    let mut m = opened("3");
    click(&mut m, body.width - 3, body.height - 1);
    assert_eq!(pane(&m, "Weights").list.selected, 5);
    keys(&mut m, "4");
    let spot = pane(&m, "Samples").sheet.page().unwrap().spots[2];
    click(&mut m, spot.x as u16, (spot.y / 2) as u16);
    assert_eq!(pane(&m, "Samples").list.selected, 2);
    click(&mut m, spot.x as u16 - 1, 0);
    assert_eq!(pane(&m, "Samples").list.selected, 2, "between pictures is none");
    keys(&mut m, "6");
    click(&mut m, 3, 5);
    assert_eq!(pane(&m, "Layers").list.selected, 4, "below the line of headings");
}
