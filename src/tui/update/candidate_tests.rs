//! Candidates: looked at closely, trained in full, exported; jobs of experiments; maps of blocks and curves with a spread under the cursor.

use kiln_protocol::RunState;
use kiln_protocol::wire::{FromEngine, Push, Request};
use ratatui::layout::Size;

use crate::fixture::{self, keys};
use crate::model::detail::Tab;
use crate::model::{Model, Overlay};
use crate::msg::{Effect, Msg};
use crate::update::update;

const SIZE: Size = Size { width: 80, height: 24 };

fn pane(m: &mut Model) -> &mut crate::model::figure::Pane {
    m.detail.as_mut().unwrap().open_view().unwrap().1
}

/// The search, on its table of candidates, candidate 7 looked at.
fn inspected() -> Model {
    let mut m = fixture::search(SIZE);
    keys(&mut m, "6 j j j j j j j enter");
    m
}

#[test]
fn enter_shows_the_candidate_and_its_history_and_escape_leads_back() {
    let mut m = inspected();
    let detail = m.detail.as_ref().unwrap();
    let page = detail.inspect.as_ref().unwrap();
    assert_eq!(page.id, Some(7));
    assert_eq!(page.anatomy.as_ref().unwrap().arch.to_string(), "slow-4-16");
    assert_eq!(detail.inspected_charts().len(), 1);
    assert!(detail.curves.track("cand-007/valid/accuracy").is_some_and(|t| t.points().len() == 20));
    keys(&mut m, "esc");
    assert!(m.detail.as_ref().unwrap().inspect.is_none());
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::View("Candidates".into()));
    keys(&mut m, "enter tab");
    assert!(m.detail.as_ref().unwrap().inspect.is_none(), "another tab is another thing");
    assert_eq!(m.detail.as_ref().unwrap().tab, Tab::Log);
}

#[test]
fn points_of_pictures_are_candidates_too() {
    let mut m = fixture::search(SIZE);
    keys(&mut m, "5 enter");
    let shown = m.detail.as_ref().unwrap().inspect.clone().unwrap();
    assert!(shown.id.is_some() && shown.anatomy.is_ok(), "{shown:?}");
    // Held-out cells have no number, and their labels no architecture.
    keys(&mut m, "esc 4 enter");
    let shown = m.detail.as_ref().unwrap().inspect.clone().unwrap();
    assert!(shown.id.is_none() && shown.anatomy.is_err());
    assert!(!keys(&mut m, "t").iter().any(|e| matches!(e, Effect::Estimate(_))));
    assert!(m.overlay.is_none() && m.notes.iter().any(|n| n.text.contains("no candidate")));
}

#[test]
fn a_full_training_is_asked_for_with_the_epochs_typed() {
    let mut m = inspected();
    let effects = keys(&mut m, "t");
    let [Effect::Estimate(spec)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(spec.contains("epochs = 100") && spec.contains("slow-4-16"));
    update(&mut m, Msg::Estimated { spec: "of something else".into(), words: Ok("about 9 h".into()) });
    update(&mut m, Msg::Estimated { spec: spec.clone(), words: Ok("about 3 s".into()) });
    let Some(Overlay::Retrain(question)) = &m.overlay else { panic!("no question") };
    assert_eq!(question.words(), Some(&Ok("about 3 s".into())));
    // Nothing but digits; nothing starts while the number is none.
    assert!(keys(&mut m, "ctrl-u x q enter").is_empty());
    assert!(m.overlay.is_some());
    update(&mut m, Msg::Paste("1 000 000 epochs".into()));
    keys(&mut m, "ctrl-u 1 2");
    let effects = keys(&mut m, "enter");
    let asked = effects.iter().find_map(|e| match e {
        Effect::Send(frame) => Some(frame.request.clone()),
        _ => None,
    });
    let Some(Request::Launch { spec, origin, .. }) = asked else { panic!("{effects:?}") };
    assert!(spec.contains("epochs = 12") && spec.contains("method = \"train\""));
    let origin = origin.unwrap();
    assert_eq!((origin.run, origin.candidate), (fixture::summaries()[1].id.clone(), Some(7)));
    assert!(m.overlay.is_none() && m.prompt.is_none());
    // And left again.
    let mut m = inspected();
    keys(&mut m, "t 5 esc");
    assert!(m.overlay.is_none() && m.prompt.is_none() && m.detail.as_ref().unwrap().inspect.is_some());
}

#[test]
fn without_an_engine_nothing_is_started_and_the_question_stays() {
    let mut m = inspected();
    keys(&mut m, "t");
    update(&mut m, Msg::Disconnected { reason: "gone".into(), retry: 1.0 });
    assert!(keys(&mut m, "enter").is_empty());
    assert!(m.overlay.is_some() && m.notes.iter().any(|n| n.text.contains("not connected")));
}

#[test]
fn the_cursor_walks_the_map_of_blocks_and_its_figures_change() {
    let mut m = fixture::search(SIZE);
    keys(&mut m, "2 l l j");
    assert_eq!(pane(&mut m).list.selected, 12);
    keys(&mut m, "k h h h h");
    assert_eq!(pane(&mut m).list.selected, 0);
    keys(&mut m, "b b b b a");
    assert_eq!((pane(&mut m).measure, pane(&mut m).weights), (0, true));
}

#[test]
fn curves_are_read_at_their_points() {
    let mut m = fixture::search(SIZE);
    keys(&mut m, "3");
    assert_eq!(pane(&mut m).x_cursor, None);
    keys(&mut m, "h h");
    assert_eq!(pane(&mut m).x_cursor, Some(424.0));
    keys(&mut m, "esc");
    assert_eq!(pane(&mut m).x_cursor, None);
    assert_eq!(m.runs.get(&fixture::summaries()[1].id).unwrap().state, RunState::Running);
}

#[test]
fn jobs_are_opened_and_left_for_their_experiment() {
    let mut m = fixture::experiment(SIZE);
    let experiment = m.detail.as_ref().unwrap().id.clone();
    keys(&mut m, "2 j enter");
    let opened = m.detail.as_ref().unwrap().id.clone();
    assert_eq!(opened, experiment.job(2));
    assert_eq!(m.runs.selected, Some(experiment.clone()), "jobs are not in the list of runs");
    assert!(m.runs.visible().iter().all(|r| r.parent().is_none()));
    keys(&mut m, "J");
    assert_eq!(m.detail.as_ref().unwrap().id, experiment.job(3));
    keys(&mut m, "esc");
    let detail = m.detail.as_ref().unwrap();
    assert_eq!((&detail.id, &detail.tab, detail.jobs.selected), (&experiment, &Tab::Jobs, 2));
    keys(&mut m, "esc");
    assert!(m.detail.is_none());
    // Removing the experiment takes its jobs along.
    fixture::push(&mut m, Push::Removed { runs: vec![experiment.clone()] });
    assert!(m.runs.get(&experiment.job(2)).is_none());
}

#[test]
fn an_experiment_that_grows_is_asked_again() {
    let mut m = fixture::experiment(SIZE);
    let run = m.detail.as_ref().unwrap().id.clone();
    let grown = |m: &mut Model, name: &str| {
        let push = Push::Grown { run: run.clone(), series: vec![name.into()] };
        let effects = update(m, Msg::Frame(Box::new(FromEngine::Push(push))));
        effects
            .into_iter()
            .filter_map(|e| match e {
                Effect::Send(frame) => Some(frame.request),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let track = m.detail.as_ref().unwrap().curves.track("clusters: valid/accuracy").unwrap();
    assert_eq!(track.band().len(), 58);
    assert!(track.deviation(10.0).is_some() && track.deviation(55.0).is_none());
    let asked = grown(&mut m, "clusters: valid/accuracy");
    assert!(
        matches!(&asked[..], [Request::Series { names, .. }] if *names == ["clusters: valid/accuracy"]),
        "{asked:?}"
    );
    let asked = grown(&mut m, "late: valid/accuracy");
    assert!(matches!(&asked[..], [Request::Run { .. }]), "{asked:?}");
    // Jobs that change are not told as runs, but known.
    let mut job = fixture::jobs()[4].clone();
    job.state = RunState::Running;
    fixture::push(&mut m, Push::Jobs { runs: vec![job.clone()] });
    assert_eq!(m.runs.get(&job.id).unwrap().state, RunState::Running);
}

#[test]
fn weights_are_written_by_whoever_can() {
    let mut m = inspected();
    let run = m.detail.as_ref().unwrap().id.clone();
    assert_eq!(keys(&mut m, "e"), [Effect::Export { run: run.clone(), candidate: Some(7) }]);
    keys(&mut m, "esc");
    assert_eq!(keys(&mut m, "e"), [Effect::Export { run, candidate: None }]);
}
