//! The frame, the three searches and what is written down of them, on small data.

use std::collections::BTreeMap;

use kiln_protocol::{Body, Outcome, View};

use super::record::Ledger;
use crate::testing::{World, timeless};
use crate::{Flow, MethodError};

const IMAGES: f64 = 128.0;

fn preset(method: &str, search: &str, more: &str) -> String {
    format!(
        "method = \"{method}\"\nseed = 3\n[data]\ntrain = 128\nvalid = 100\ntest = 80\n[space]\nname = \"digits-mlp\"\n\
         [optim]\nlr = 0.02\nmomentum = 0.9\nbatch = 32\n[run]\n{more}\n[search]\nworkers = 3\nfinal-epochs = 4\n{search}\n"
    )
}

/// 13 candidates of 2 epochs; the rest of the budget is too little for another.
fn random() -> String {
    preset("random", "epochs = 2\nbudget = 3500\n", "")
}

fn evolution() -> String {
    preset("evolution", "epochs = 2\nbudget = 6000\n", "")
        + "[evolution]\npopulation = 5\ntournament = 3\ncrossover = 0.3\n"
}

fn asha() -> String {
    preset("asha", "epochs = 9\nbudget = 9000\n", "") + "[asha]\neta = 3\n"
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
}

/// The last state of every view.
fn views(world: &World) -> BTreeMap<String, View> {
    let mut last: BTreeMap<String, View> = BTreeMap::new();
    for body in world.events.lock().unwrap().iter() {
        if let Body::View { name, view } = body {
            match last.get_mut(name) {
                Some(held) => held.merge((**view).clone()),
                None => {
                    last.insert(name.clone(), (**view).clone());
                }
            }
        }
    }
    last
}

/// The rows of `candidates.csv`, by column.
fn rows(world: &World) -> Vec<Vec<String>> {
    let csv = String::from_utf8(world.artifact("candidates.csv")).unwrap();
    csv.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn random_search_spends_its_budget_on_different_networks_and_retrains_the_best() {
    let world = World::new(&random());
    let outcome = world.run();
    assert_eq!(figure(&outcome, "candidates"), 13.0);
    assert_eq!(figure(&outcome, "epoch_images"), 13.0 * 2.0 * IMAGES);
    let rows = rows(&world);
    let archs: std::collections::BTreeSet<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(archs.len(), 13, "no network is trained twice");
    let best = rows.iter().map(|row| row[5].parse::<f64>().unwrap()).fold(0.0, f64::max);
    assert_eq!(figure(&outcome, "best_accuracy"), best);
    let id = figure(&outcome, "best_candidate") as usize;
    assert_eq!(rows[id][5].parse::<f64>().unwrap(), best);
    assert!(outcome.verdict.contains(&rows[id][1]), "{}", outcome.verdict);
    assert!(figure(&outcome, "test_accuracy") > 0.2);
    assert_eq!(figure(&outcome, "final_epoch_images"), 4.0 * IMAGES);

    let kept = crate::export::read(&world.dir.path().join("artifacts/network.safetensors")).unwrap();
    assert_eq!((kept.about.arch.as_str(), kept.about.space.as_str()), (rows[id][1].as_str(), "digits-mlp"));
    let best_so_far = world.series("search/best");
    assert_eq!(best_so_far.len(), 13);
    assert!(best_so_far.windows(2).all(|p| p[1][0] > p[0][0] && p[1][1] >= p[0][1]), "{best_so_far:?}");
    assert_eq!(best_so_far[12], [13.0 * 2.0 * IMAGES, best]);
    let last: Vec<f64> = world.series("final/valid/accuracy").iter().map(|p| p[0]).collect();
    assert_eq!(last, [1.0, 2.0, 3.0, 4.0]);
    for id in 0..13 {
        assert_eq!(world.series(&format!("cand-{id:03}/train/loss")).len(), 2);
        assert_eq!(world.series(&format!("cand-{id:03}/valid/accuracy")).len(), 1);
    }

    let views = views(&world);
    let View::Candidates(table) = &views["candidates"] else { panic!("no table") };
    assert!(table.rows.len() == 13 && table.rows.iter().all(|row| row.status == "done"));
    assert_eq!(table.rows.iter().filter(|row| row.winner).map(|row| row.id as usize).collect::<Vec<_>>(), [id]);
    let View::Scatter(pareto) = &views["pareto"] else { panic!("no picture") };
    assert_eq!(pareto.groups.iter().map(|g| g.points.len()).sum::<usize>(), 13);
    assert_eq!(pareto.groups[1].points.len() as f64, figure(&outcome, "front"));
    assert!(!views.contains_key("rungs"));
}

#[test]
fn killed_at_random_moments_each_search_ends_with_the_same_bits() {
    let files = ["candidates.csv", "network.safetensors"];
    let kills: usize = [random(), evolution(), asha()].iter().map(|s| World::killed_ends_the_same(s, 3, &files)).sum();
    assert!(kills >= 27, "only {kills} kills: the test has lost its meaning");
}

#[test]
fn side_by_side_or_in_turn_the_same_is_proposed_and_promoted() {
    for settings in [evolution(), asha()] {
        let side = World::new(&settings);
        let turn = World::new(&settings.replace("[run]\n", "[run]\nparallel = 1\n"));
        assert_eq!(timeless(side.run()), timeless(turn.run()));
        assert_eq!(side.artifact("candidates.csv"), turn.artifact("candidates.csv"));
        let other = World::new(&settings.replace("seed = 3", "seed = 4"));
        other.run();
        assert_ne!(side.artifact("candidates.csv"), other.artifact("candidates.csv"));
    }
}

#[test]
fn more_workers_know_less_when_they_propose() {
    let alone = World::new(&evolution().replace("workers = 3", "workers = 1"));
    let many = World::new(&evolution().replace("workers = 3", "workers = 8"));
    alone.run();
    many.run();
    let parents = |world: &World| rows(world).iter().skip(5).map(|row| row[7].clone()).collect::<Vec<_>>();
    assert_ne!(parents(&alone), parents(&many));
    let youngest = |row: &[String]| row[7].split(' ').filter_map(|p| p.parse::<usize>().ok()).max();
    for (id, row) in rows(&many).iter().enumerate().skip(5) {
        assert!(
            youngest(row).is_none_or(|parent| parent + 8 <= id + 1),
            "{id} descends from one still under way: {row:?}"
        );
    }
}

#[test]
fn promoted_candidates_go_on_where_they_stood() {
    let world = World::new(&asha());
    let outcome = world.run();
    let rows = rows(&world);
    let epochs: Vec<u32> = rows.iter().map(|row| row[4].parse().unwrap()).collect();
    assert!(epochs.iter().all(|e| [1, 3, 9].contains(e)), "{epochs:?}");
    assert!(epochs.contains(&3) && epochs.contains(&9), "{epochs:?}");
    let spent: f64 = epochs.iter().map(|e| f64::from(*e) * IMAGES).sum();
    assert_eq!(figure(&outcome, "epoch_images"), spent, "no epoch was trained twice");
    assert!(spent <= 9000.0 && spent > 9000.0 - IMAGES, "{spent}");

    // A candidate of the last rung has the losses of one training without interruption, and every epoch once.
    let id = epochs.iter().position(|e| *e == 9).unwrap();
    let told = world.series(&format!("cand-{id:03}/train/loss"));
    assert_eq!(told.iter().map(|p| p[0]).collect::<Vec<_>>(), (1..=9).map(f64::from).collect::<Vec<_>>());
    let plain = World::new(&asha());
    let mut cx = plain.cx();
    let space = crate::train::space(&plain.spec).unwrap();
    let arch = space.parse(&rows[id][1]).unwrap();
    let data = cx.data().unwrap();
    let (input, classes) = crate::data::shape_and_classes(&data).unwrap();
    let plan = space.plan(&arch, input, classes).unwrap();
    let config = kiln_nn::TrainerConfig::of(&plain.spec, id as u64, 9);
    let mut trainer = kiln_nn::Trainer::new(&plan, config, data, None).unwrap();
    trainer.run(kiln_nn::Until::Epochs(9), &|| false).unwrap();
    let losses: Vec<f64> = trainer.history().iter().map(|e| e.loss).collect();
    assert_eq!(told.iter().map(|p| p[1]).collect::<Vec<_>>(), losses);
    let accuracies = world.series(&format!("cand-{id:03}/valid/accuracy"));
    let at = |epoch: usize| trainer.history()[epoch - 1].valid.unwrap().accuracy;
    assert_eq!(accuracies, [[1.0, at(1)], [3.0, at(3)], [9.0, at(9)]]);

    let View::Table(table) = &views(&world)["rungs"] else { panic!("no table") };
    let count = |least: u32| epochs.iter().filter(|e| **e >= least).count().to_string();
    let finished: Vec<&String> = table.rows.iter().map(|row| &row[3]).collect();
    assert_eq!(finished, [&count(1), &count(3), &count(9)]);
    assert!(!world.dir.path().join("parked").exists(), "states that nobody needs any more are removed");
}

/// Screened from the sixth judged candidate on.
fn screened() -> String {
    evolution().replace("[search]\n", "[search]\nscreen = true\nscreen-after = 6\nscreen-pool = 12\nscreen-top = 3\n")
}

#[test]
fn screened_proposals_are_the_most_promising_ones_and_survive_kills() {
    let whole = World::new(&screened());
    let expected = timeless(whole.run());
    let rows = rows(&whole);
    let predicted: Vec<Option<f64>> = rows.iter().map(|row| row[6].parse().ok()).collect();
    assert_eq!(rows.len(), 23);
    // Three workers start before the first is judged, so screening begins with the ninth.
    assert!(predicted[..8].iter().all(Option::is_none) && predicted[8..].iter().all(Option::is_some), "{predicted:?}");
    for trio in predicted[8..].chunks(3) {
        assert!(
            trio.windows(2).all(|pair| pair[0] >= pair[1]),
            "the best of a screening is trained first: {predicted:?}"
        );
    }
    assert!(expected.figures["tau_predicted"].is_some());
    assert!(expected.verdict.contains("with screening"), "{}", expected.verdict);
    let world = World::new(&screened());
    let (outcome, kills) = world.run_with_kills(1);
    assert!(kills > 2);
    assert_eq!(timeless(outcome), expected);
    assert_eq!(world.artifact("candidates.csv"), whole.artifact("candidates.csv"));
    let plain = World::new(&evolution());
    plain.run();
    assert_ne!(plain.artifact("candidates.csv"), whole.artifact("candidates.csv"));
}

#[test]
fn a_budget_in_seconds_ends_the_search_in_time() {
    let settings = preset("random", "epochs = 40\nunit = \"seconds\"\nbudget = 0.5\n", "");
    let world = World::new(&settings.replace("digits-mlp", "mobile-xs"));
    let mut cx = world.cx();
    let mut method = crate::create(&world.spec, &mut cx).unwrap();
    let begun = std::time::Instant::now();
    let searched = loop {
        match method.step(&mut cx) {
            Ok(Flow::More) if world.artifact_exists("candidates.csv") => break begun.elapsed(),
            Ok(Flow::More) => {}
            Ok(Flow::Done) => break begun.elapsed(),
            // No candidate of this size may be done after half a second on a busy machine.
            Err(MethodError::Failed(why)) => {
                assert!(why.contains("budget"), "{why}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    };
    while method.step(&mut cx).unwrap() == Flow::More {}
    let outcome = method.outcome();
    assert!(figure(&outcome, "candidates_judged") >= 1.0);
    assert!(searched.as_secs() < 60, "{searched:?}");
}

#[test]
fn a_space_with_few_affordable_networks_is_searched_to_its_end_and_says_so() {
    let settings = preset("random", "epochs = 1\nbudget = 1e9\nmax-params = 1000\nfinal-epochs = 0\n", "");
    let settings = settings.replacen("final-epochs = 4\n", "", 1);
    let world = World::new(&settings);
    let outcome = world.run();
    let n = figure(&outcome, "candidates");
    assert!((2.0..40.0).contains(&n), "{n}");
    assert!(rows(&world).iter().all(|row| row[2].parse::<u64>().unwrap() <= 1000));
    assert!(outcome.verdict.contains("The budget was not used up: all"), "{}", outcome.verdict);
    assert_eq!(outcome.figures["test_accuracy"], None);
    assert!(!world.artifact_exists("network.safetensors"));
}

#[test]
fn what_cannot_be_searched_is_refused_in_one_sentence() {
    let refused = |settings: &str| {
        let world = World::new(settings);
        let mut cx = world.cx();
        crate::create(&world.spec, &mut cx).err().unwrap().to_string()
    };
    let dear = refused(&preset("random", "max-macs = 12\n", ""));
    assert!(dear.contains("no network of space `digits-mlp` is affordable") && dear.contains("12"), "{dear}");
    assert_eq!(dear.lines().count(), 1);
    // All images are taken here, so only the data tell how many there are.
    let poor = refused(&preset("asha", "epochs = 9\nbudget = 100\n", "").replace("train = 128\n", ""));
    assert!(poor.contains("search.budget is 100 epoch-images, less than the 220"), "{poor}");
}

#[test]
fn when_no_candidate_can_be_trained_the_run_says_why() {
    let mut world = World::new(&evolution());
    world.spec.optim.lr = 1e38;
    let mut cx = world.cx();
    let mut method = crate::create(&world.spec, &mut cx).unwrap();
    let error = loop {
        match method.step(&mut cx) {
            Ok(Flow::More) => {}
            Ok(Flow::Done) => panic!("every network should have diverged"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("none of the 23 candidates") && error.contains("loss"), "{error}");
}

#[test]
fn a_checkpoint_of_another_space_is_refused() {
    let world = World::new(&random());
    let mut cx = world.cx();
    let mut method = crate::create(&world.spec, &mut cx).unwrap();
    method.step(&mut cx).unwrap();
    let mut writer = crate::CheckpointWriter::new();
    method.save(&mut writer).unwrap();
    let (state, tensors) = writer.into_parts();
    assert!(!serde_json::from_value::<Ledger>(state["search"]["ledger"].clone()).unwrap().candidates.is_empty());
    let other = World::new(&random().replace("digits-mlp", "mobile-xs"));
    let mut cx = other.cx();
    let mut method = crate::create(&other.spec, &mut cx).unwrap();
    let error = method.load(&crate::CheckpointReader::new(state, tensors), &mut cx).unwrap_err().to_string();
    assert!(error.contains("belongs to another run") && error.contains("digits-mlp"), "{error}");
}
