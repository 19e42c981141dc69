//! The card's protocol for small machines: a budget that is never broken, vital blocks that are never skipped, the claim on
//! which blocks matter, and the same bits after every interruption.

use kiln_arch::Space;
use kiln_protocol::run::Outcome;
use kiln_protocol::{Body, View};

use crate::testing::{World, timeless};

fn preset(own: &str) -> String {
    format!(
        "method = \"hournas\"\nseed = 3\n[data]\ntrain = 200\nvalid = 100\ntest = 100\n[space]\nname = \"mobile-xs\"\n\
         [optim]\nlr = 0.05\nmomentum = 0.9\nweight-decay = 1e-4\nbatch = 32\nschedule = \"cosine\"\ngrad-clip = 5.0\n\
         [hournas]\nvital-epochs = 2\nrest-epochs = 3\nretrain-epochs = 3\ncompare = false\n{own}"
    )
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
}

/// Operations of the found network, and whether each block is vital.
fn blocks(world: &World) -> Vec<(String, bool)> {
    let csv = String::from_utf8(world.artifact("blocks.csv")).unwrap();
    let rows = csv.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[2].to_owned(), cells[1] == "true")
    });
    rows.collect()
}

#[test]
fn a_network_is_found_within_the_budget_and_trained() {
    let world = World::new(&preset("macs = \"80%\"\nparams = \"90%\"\n"));
    let outcome = world.run();
    assert_eq!(figure(&outcome, "over_budget"), 0.0);
    assert!(figure(&outcome, "cost_share") <= 1.0 && figure(&outcome, "cost_error") < 0.5);
    assert!(figure(&outcome, "valid_accuracy") > 0.2, "{outcome:?}");
    assert!(figure(&outcome, "test_accuracy").is_finite());
    // 160 images of 200 for the weights: five steps an epoch. Warm-up: 0.3 epochs (round: 2 steps), then one epoch of three.
    assert_eq!(figure(&outcome, "sampled"), f64::from(10 + 8 + 15 + 10));
    let blocks = blocks(&world);
    assert_eq!(blocks.len(), 9);
    assert_eq!(blocks.iter().filter(|(_, vital)| *vital).count(), 2);
    assert!(blocks.iter().all(|(op, vital)| !vital || op != "skip"), "{blocks:?}");
    let accuracies = world.series("search/accuracy");
    assert_eq!(accuracies.iter().map(|p| p[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(world.series("valid/accuracy").len(), 3);
    assert!(world.series("search/cost").iter().all(|p| p[1] <= 1.0));
    let events = world.events.lock().unwrap();
    let map = events.iter().rev().find_map(|body| match body {
        Body::View { name, view } if name == "blocks" => Some(view.as_ref().clone()),
        _ => None,
    });
    let Some(View::BlockImportance(map)) = map else { panic!("there is no map of blocks") };
    assert_eq!((map.blocks.len(), map.gauges.len()), (9, 2));
    for (cell, (op, vital)) in map.blocks.iter().zip(&blocks) {
        assert!(cell.locked && cell.vital == *vital && cell.chosen.as_ref() == Some(op));
        let sum: f64 = cell.weights.iter().flatten().sum();
        assert!((sum - 1.0).abs() < 1e-9 && cell.weights.len() == map.ops.len());
        assert_eq!(cell.weights.iter().flatten().count(), if *vital { 3 } else { 4 });
    }
    for gauge in &map.gauges {
        assert!(gauge.chosen.unwrap() <= gauge.limit);
        let [least, mean, most] = gauge.sampled.unwrap();
        assert!(least <= mean && mean <= most && most <= gauge.limit, "{gauge:?}");
    }
}

#[test]
fn killed_at_random_moments_every_order_ends_with_the_same_bits() {
    for own in [
        "macs = \"80%\"\n",
        "macs = \"90%\"\norder = \"non-vital-first\"\nrest = \"cheapest\"\npaths = 1\n",
        "order = \"joint\"\ncompare = true\nyardstick = \"cheapest\"\nmacs = \"300%\"\n",
        "order = \"random\"\nproxies = 4\nproxy-epochs = 1\n",
    ] {
        let own = if own.contains("compare") { preset(own).replacen("compare = false\n", "", 1) } else { preset(own) };
        let kills = World::killed_ends_the_same(&own, 2, &["network.safetensors", "blocks.csv"]);
        assert!(kills >= 4, "only {kills} kills: the test has lost its meaning");
    }
}

#[test]
fn a_joint_search_says_when_it_breaks_the_limit() {
    // A penalty of nothing, and a limit that most networks exceed.
    let world = World::new(&preset("order = \"joint\"\npenalty = 0.0\nmacs = \"30%\"\n"));
    let outcome = world.run();
    assert_eq!(figure(&outcome, "over_budget"), 1.0, "{outcome:?}");
    assert!(outcome.verdict.contains("breaks the limit"), "{}", outcome.verdict);
}

#[test]
fn a_measured_latency_is_a_limit_like_any_other() {
    use kiln_arch::{LatencyTable, Shape};
    let mut world = World::new(&preset("macs = \"95%\"\n"));
    let space = Space::named("mobile-xs").unwrap();
    let chain = space.chain(Shape::Image(1, 8, 8), 10).unwrap().unwrap();
    let mut table = LatencyTable::new("mobile-xs", [1, 8, 8], 10, 1);
    (table.stem, table.head) = (0.1, 0.1);
    for slot in &chain.slots {
        // Wide kernels are slow here, whatever they compute.
        let time = |gene: &str| {
            if gene.starts_with("k5") {
                1.0
            } else if gene == "skip" {
                0.0
            } else {
                0.25
            }
        };
        table.slots.insert(slot.name.clone(), slot.choices.iter().map(|c| (c.gene.clone(), time(&c.gene))).collect());
    }
    let file = world.dir.path().join("latency.toml");
    let mut limit = |table: &LatencyTable, most: &str| {
        std::fs::write(&file, table.to_toml().unwrap()).unwrap();
        let own = world.spec.hournas.as_mut().unwrap();
        (own.latency, own.latency_table) = (most.into(), file.display().to_string());
        world.run()
    };
    let outcome = limit(&table, "1.5ms");
    assert!(outcome.verdict.contains(" ms ("), "{}", outcome.verdict);
    assert_eq!(figure(&outcome, "over_budget"), 0.0);
    assert!(outcome.tables[0].columns.contains(&"latency (limit)".to_owned()));
    table.slots.remove("stage1.1");
    std::fs::write(&file, table.to_toml().unwrap()).unwrap();
    let error = crate::create(&world.spec, &mut world.cx()).err().unwrap().to_string();
    assert!(error.contains("latency.toml") && error.contains("stage1.1"), "{error}");
}

#[test]
fn a_budget_of_seconds_ends_the_search() {
    let world = World::new(&preset("seconds = 1.0\nvital-epochs = 400\nrest-epochs = 400\n").replacen(
        "vital-epochs = 2\nrest-epochs = 3\n",
        "",
        1,
    ));
    let outcome = world.run();
    let seconds = figure(&outcome, "search_seconds");
    assert!(seconds > 0.4 && seconds < 4.0, "{seconds}");
    assert_eq!(figure(&outcome, "over_budget"), 0.0);
    let random = World::new(&preset("seconds = 1.0\norder = \"random\"\nproxy-epochs = 1\n"));
    let outcome = random.run();
    assert!(figure(&outcome, "search_seconds") < 4.0 && figure(&outcome, "sampled") >= 1.0);
}

/// Claim A at the size of a test: in each of two repeats, every vital block's lesion above every other one's.
#[test]
fn bypassing_a_vital_block_costs_more_than_any_other() {
    let text = preset("mode = \"lesion\"\nrepeats = 2\n").replace("retrain-epochs = 3", "retrain-epochs = 8");
    let world = World::new(&text);
    let outcome = world.run();
    assert_eq!((figure(&outcome, "separated"), figure(&outcome, "judged")), (2.0, 2.0), "{outcome:?}");
    assert!(outcome.verdict.contains("The claim holds"), "{}", outcome.verdict);
    assert!(figure(&outcome, "lesion_ratio") > 1.0);
    assert_eq!(outcome.figures["weaken_vital_mean"], None);
}

#[test]
fn a_weakening_pairs_networks_of_one_seed() {
    let text = preset("mode = \"weaken\"\nrepeats = 1\n").replace("retrain-epochs = 3", "retrain-epochs = 1");
    let world = World::new(&text);
    let outcome = world.run();
    assert!(figure(&outcome, "weaken_vital_mean").is_finite() && figure(&outcome, "weaken_rest_mean").is_finite());
    let csv = String::from_utf8(world.artifact("blocks.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row[4..].iter().all(|cell| cell.parse::<f64>().unwrap().abs() <= 1.0)), "{csv}");

    let killed = World::new(&text);
    // Lesions of a network are measured whole or not at all.
    let (again, kills) = killed.run_with_kills_within(5, 1000);
    assert!(kills > 0);
    assert_eq!(timeless(again), timeless(outcome));
    assert_eq!(String::from_utf8(killed.artifact("blocks.csv")).unwrap(), csv);
}

#[test]
fn what_cannot_be_searched_is_a_sentence() {
    for (own, space, words) in [
        ("macs = \"1k\"\n", "mobile-xs", ["allows 1,000 MACs", "cheapest network"]),
        ("", "digits-mlp", ["no chain", "mobile-xs"]),
        ("yardstick = \"k3e1-k9e9\"\n", "mobile-xs", ["k3e1-k9e9", "9"]),
    ] {
        let world = World::new(&preset(own).replace("mobile-xs", space));
        let error = crate::create(&world.spec, &mut world.cx()).err().unwrap().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    }
}

/// The paper's space and settings on generated images of ImageNet's shape: both stages take steps.
#[test]
fn the_papers_space_takes_steps_in_both_stages() {
    use super::budget::{Budget, choices_of};
    use super::proposal::{Proposal, Tally, Tilted, solve};
    use kiln_arch::Shape;
    use kiln_data::{DataSet, Split};
    use kiln_nn::Pick;
    use kiln_nn::supernet::{Phase, SearchConfig, SearchTrainer, Turn};
    use kiln_nn::torch::Generator;
    use tch::Device;

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../presets/hournas-paper.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let spec = kiln_protocol::spec::Spec::from_toml("hournas-paper.toml", &text).unwrap();
    let settings = spec.hournas.clone().unwrap();
    let space = Space::named(&spec.space.name).unwrap();
    let side = spec.data.side;
    let input = Shape::Image(3, side, side);
    let mut generator = Generator::new(1, Device::Cpu).unwrap();
    let mut split = |n: i64| Split {
        images: generator.randint(256, &[n, 3, i64::from(side), i64::from(side)]).unwrap().to_kind(tch::Kind::Uint8),
        labels: generator.randint(1000, &[n]).unwrap(),
    };
    let classes: Vec<String> = (0..1000).map(|c| c.to_string()).collect();
    let data = DataSet::new([split(8), split(2), split(2)], classes, "generated".into()).unwrap();
    let chain = super::search::chain_of(&space, input, 1000).unwrap();
    let yardstick = choices_of(&chain, &super::search::named_arch(&space, &settings.yardstick, input, 1000).unwrap());
    let budget = Budget::new(&settings, &space, &chain, &yardstick, None).unwrap();
    let config = SearchConfig {
        optim: kiln_protocol::spec::OptimSettings { batch: 2, ..spec.optim.clone() },
        precision: kiln_protocol::spec::Precision::F32,
        channels_last: false,
        threads: 2,
        seed: 1,
        augment: None,
        split: 0.5,
        alpha_lr: settings.alpha_lr,
        two_paths: settings.paths > 1,
    };
    let mut trainer = SearchTrainer::new(&chain, config, data).unwrap();
    let all: Vec<usize> = (0..chain.slots.len()).collect();
    let (vital, rest): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&l| chain.slots[l].vital());
    assert_eq!((vital.len(), rest.len()), (7, 15));
    let mut base = vec![Pick::Identity; all.len()];
    for (key, group) in [(0, &vital), (1, &rest)] {
        trainer.begin(Phase { key, epochs: 1, warm: 0.0, tau: [5.0, 0.5], penalty: None }).unwrap();
        let settled: Vec<Option<usize>> = base.iter().map(|pick| pick.choice()).collect();
        let room = if key == 0 { budget.first_room(group, settings.phi) } else { budget.room(group, &settled) };
        let alpha = trainer.net().logits().unwrap();
        let beta = solve(&budget, group, &alpha, &room);
        let mut tally = Tally::default();
        let mut proposal = Proposal {
            tilted: Tilted { budget: &budget, group, beta: &beta },
            room: Some(&room),
            base: &base,
            eps: settings.eps,
            rejections: settings.rejections,
            key: (1, key),
            tally: &mut tally,
        };
        while trainer.run(None, &mut proposal, &|| false).unwrap() != Turn::Done {}
        assert_eq!((trainer.steps(), trainer.arch_steps()), (2, 2));
        assert!(tally.costs.iter().zip(&budget.limits).all(|(cost, limit)| cost[2] <= limit.most as f64));
        let logits = trainer.net().logits().unwrap();
        for &slot in group {
            assert!(logits[slot].iter().all(|a| a.is_finite()) && logits[slot].iter().any(|a| *a != 0.0));
            base[slot] = Pick::Fixed(0);
        }
    }
}
