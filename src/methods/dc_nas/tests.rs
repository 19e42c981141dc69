//! The card's protocol for small machines: plumbing and determinism. The claim itself is not asserted at this size.

use std::collections::BTreeSet;

use kiln_protocol::{Body, View};

use crate::testing::{World, timeless};

fn preset(extra: &str, more: &str) -> String {
    format!(
        "method = \"dc-nas\"\nseed = 3\n[data]\ntrain = 160\nvalid = 120\ntest = 100\n[space]\nname = \"digits-mlp\"\n\
         [optim]\nlr = 0.02\nmomentum = 0.9\nbatch = 32\n{more}\n[dc-nas]\npopulation = 16\nearly-epochs = 1\nfull-epochs = 15\n\
         proxy = 0.6\nclusters = 2\npermutations = 100\n{extra}"
    )
}

fn figure(outcome: &kiln_protocol::Outcome, name: &str) -> f64 {
    outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
}

#[test]
fn every_network_lands_in_one_cluster_with_finite_features() {
    let world = World::new(&preset("", ""));
    let outcome = world.run();
    let csv = String::from_utf8(world.artifact("features.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 16);
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert_eq!(&header[..6], ["id", "arch", "family", "params", "macs", "cluster"]);
    assert_eq!(header.len(), 9 + 8, "L* = 8 columns of z");
    for row in &rows {
        assert!(["0", "1"].contains(&row[5]), "{row:?}");
        assert!(row[7..].iter().all(|cell| cell.parse::<f64>().unwrap().is_finite()), "{row:?}");
    }
    let ids: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(ids.len(), 16);
    let fast = rows.iter().filter(|row| row[2] == rows[0][2]).count();
    assert_eq!(fast, 8, "half of each family");

    for name in ["tau_global", "permutation_mean", "permutation_std", "permutation_p", "tau_within"] {
        assert!(figure(&outcome, name).is_finite());
    }
    for name in ["regret_early", "regret_global_topk", "regret_clusters"] {
        assert!(figure(&outcome, name) >= 0.0);
    }
    // 16 networks, one epoch of 96 images; two winners, 15 epochs of 160.
    assert_eq!(figure(&outcome, "cost_short"), 16.0 * 96.0);
    assert_eq!(figure(&outcome, "cost_clusters"), 16.0 * 96.0 + 2.0 * 15.0 * 160.0);
    assert_eq!(figure(&outcome, "cost_global_topk"), figure(&outcome, "cost_clusters"));
    assert_eq!(figure(&outcome, "cost_spent"), 16.0 * 96.0 + 16.0 * 15.0 * 160.0);
    assert!(figure(&outcome, "test_accuracy") > 0.3, "the winner has learnt something");
    assert!(outcome.verdict.contains("claim"), "{}", outcome.verdict);
}

#[test]
fn the_objective_that_is_shown_never_rises() {
    let world = World::new(&preset("", ""));
    world.run();
    let objective = world.series("kmeans/objective");
    assert!(!objective.is_empty());
    assert!(
        objective.windows(2).all(|pair| pair[1][1] <= pair[0][1] && pair[1][0] == pair[0][0] + 1.0),
        "{objective:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let a = World::new(&preset("", ""));
    let b = World::new(&preset("", ""));
    assert_eq!(timeless(a.run()), timeless(b.run()));
    assert_eq!(a.artifact("features.csv"), b.artifact("features.csv"));
    assert_eq!(a.artifact("winner.safetensors"), b.artifact("winner.safetensors"));
    let c = World::new(&preset("", "").replace("seed = 3", "seed = 4"));
    c.run();
    assert_ne!(a.artifact("features.csv"), c.artifact("features.csv"));
}

#[test]
fn one_after_the_other_is_the_same_as_side_by_side() {
    let side = World::new(&preset("", "[run]\nparallel = 0"));
    let turn = World::new(&preset("", "[run]\nparallel = 1"));
    assert_eq!(timeless(side.run()), timeless(turn.run()));
    assert_eq!(side.artifact("features.csv"), turn.artifact("features.csv"));
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bits() {
    let extra = "feature = \"both\"\ntrajectory = true\n";
    let settings = preset(extra, "").replace("early-epochs = 1", "early-epochs = 2");
    let kills = World::killed_ends_the_same(&settings, 3, &["features.csv", "winner.safetensors"]);
    assert!(kills >= 9, "only {kills} kills: the test has lost its meaning");
}

#[test]
fn a_fixed_slot_space_is_indexed_by_slot_and_survives_kills_with_its_running_statistics() {
    let text = preset("feature = \"both\"\n", "schedule = \"cosine\"\nweight-decay = 5e-4")
        .replace("digits-mlp", "conv-cells")
        .replace("full-epochs = 15", "full-epochs = 2")
        .replace("population = 16", "population = 12")
        .replace("clusters = 2", "clusters = 3");
    let whole = World::new(&text);
    let expected = timeless(whole.run());
    let csv = String::from_utf8(whole.artifact("features.csv")).unwrap();
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert_eq!(header.len(), 9 + 2 * 9, "nine slots, weights and outputs");
    assert_eq!(header.last(), Some(&"z_o8"));
    let world = World::new(&text);
    let (outcome, kills) = world.run_with_kills(1);
    assert!(kills > 0);
    assert_eq!(timeless(outcome), expected);
    for file in ["features.csv", "winner.safetensors"] {
        assert_eq!(world.artifact(file), whole.artifact(file), "{file}");
    }
}

#[test]
fn output_features_and_a_free_number_of_clusters() {
    let world = World::new(&preset("", "").replace("clusters = 2", "feature = \"output\"\nclusters-max = 4"));
    let outcome = world.run();
    let tried = world.series("silhouette");
    assert!(!tried.is_empty() && tried.iter().all(|p| (-1.0..=1.0).contains(&p[1])), "{tried:?}");
    assert!((1.0..=4.0).contains(&figure(&outcome, "clusters")));
}

#[test]
fn without_the_truth_only_the_choices_are_trained_and_compared() {
    let world = World::new(&preset("truth = false\n", ""));
    let outcome = world.run();
    assert_eq!(outcome.figures["tau_global"], None);
    assert_eq!(outcome.figures["regret_clusters"], None);
    assert!(figure(&outcome, "accuracy_clusters") > 0.3);
    assert!(figure(&outcome, "accuracy_global_topk") > 0.3);
    let csv = String::from_utf8(world.artifact("features.csv")).unwrap();
    let trained = csv.lines().skip(1).filter(|line| !line.split(',').nth(8).unwrap().is_empty()).count();
    assert!((2..=4).contains(&trained), "two winners and up to two others, not {trained}");
    assert!(outcome.verdict.contains("not measured"), "{}", outcome.verdict);
}

#[test]
fn when_no_network_can_be_described_the_run_says_why() {
    let mut world = World::new(&preset("", ""));
    world.spec.optim.lr = 1e38;
    let mut cx = world.cx();
    let mut method = crate::create(&world.spec, &mut cx).unwrap();
    let error = loop {
        match method.step(&mut cx) {
            Ok(crate::Flow::More) => {}
            Ok(crate::Flow::Done) => panic!("every network should have diverged"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("none of the 16 networks") && error.contains("loss"), "{error}");
    let warned = |body: &Body| matches!(body, Body::Log { message, .. } if message.contains("failed cluster"));
    assert_eq!(world.events.lock().unwrap().iter().filter(|body| warned(body)).count(), 16);
}

#[test]
fn views_hold_every_network_and_order_rows_by_cluster() {
    let world = World::new(&preset("", ""));
    world.run();
    let events = world.events.lock().unwrap();
    let mut last: std::collections::BTreeMap<&str, View> = Default::default();
    for body in events.iter() {
        if let Body::View { name, view } = body {
            match last.get_mut(name.as_str()) {
                Some(held) => held.merge((**view).clone()),
                None => {
                    last.insert(name, (**view).clone());
                }
            }
        }
    }
    let View::Candidates(table) = &last["candidates"] else { panic!("no table") };
    assert_eq!(table.rows.len(), 16);
    assert!(table.rows.iter().all(|row| row.status == "done" && row.cells.iter().all(Option::is_some)));
    assert_eq!(table.rows.iter().filter(|row| row.winner).count(), 2);
    let View::Clusters(clusters) = &last["clusters"] else { panic!("no picture") };
    assert_eq!((clusters.points.len(), clusters.centroids.len()), (16, 2));
    assert!(clusters.note.contains("J = "));
    for name in ["features", "similarity"] {
        let View::Matrix(matrix) = &last[name] else { panic!("no matrix") };
        assert_eq!((matrix.values.len(), matrix.breaks.len()), (16, 1));
    }
    let View::Scatter(scatter) = &last["early-final"] else { panic!("no scatter") };
    assert_eq!(scatter.groups.iter().map(|g| g.points.len()).sum::<usize>(), 16);
    assert!(scatter.note.contains("tau"));
    let View::Scatter(pareto) = &last["pareto"] else { panic!("no front") };
    assert_eq!(pareto.groups.iter().map(|g| g.points.len()).sum::<usize>(), 16);
    assert!(pareto.groups.iter().any(|g| g.joined && !g.points.is_empty()));
    assert!(last.contains_key("budget"));
}
