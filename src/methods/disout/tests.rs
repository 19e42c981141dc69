use kiln_protocol::spec::{RegulariserKind, Spec};
use kiln_protocol::{Body, Outcome, View};

use crate::testing::World;

const PRESET: &str = "method = \"disout\"\nseed = 5\n[data]\ntrain = 200\nvalid = 100\ntest = 100\nlabel-noise = 0.2\n\
    [space]\nname = \"plain-mlp\"\n[optim]\nlr = 0.02\nmomentum = 0.9\nbatch = 32\n\
    [regulariser]\nkind = \"disout\"\np = 0.4\nramp = 0.5\nalpha = 0.5\nat = \"hidden\"\n\
    [disout]\narch = \"2-64\"\nepochs = 24\nlook = 100\nevery = 0.5\n";

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
}

#[test]
fn every_epoch_is_told_once_with_what_the_operators_did() {
    let world = World::new(PRESET);
    let outcome = world.run();
    for name in ["train/loss", "train/accuracy", "distorted/accuracy", "valid/gap", "block1.1/noise"] {
        let xs: Vec<f64> = world.series(name).iter().map(|p| p[0]).collect();
        assert_eq!(xs, (1..=24).map(f64::from).collect::<Vec<_>>(), "{name}");
    }
    let ys = |name: &str| world.series(name).iter().map(|p| p[1]).collect::<Vec<f64>>();
    let p = ys("mean/p");
    assert!(p.windows(2).all(|pair| pair[0] <= pair[1]) && p[0] < 0.1 && (p[23] - 0.4).abs() < 1e-12, "{p:?}");
    assert!((ys("mean/kept")[23] - 0.6).abs() < 0.06, "{:?}", ys("mean/kept"));
    for (epoch, gap) in ys("valid/gap").iter().enumerate() {
        assert!((gap - (ys("train/accuracy")[epoch] - ys("valid/accuracy")[epoch])).abs() < 1e-12);
    }
    let gap = figure(&outcome, "gap");
    assert!((gap - (figure(&outcome, "train_accuracy") - figure(&outcome, "test_accuracy"))).abs() < 1e-12);
    assert!(outcome.verdict.contains("disout (p 0.4, alpha 0.5) behind 2 layers"), "{}", outcome.verdict);
    assert!(outcome.verdict.contains("20 % are wrong on purpose"), "{}", outcome.verdict);
    let events = world.events.lock().unwrap();
    let views = |wanted: &str| {
        let all = events.iter().filter_map(|body| match body {
            Body::View { name, view } if name == wanted => Some(view.as_ref().clone()),
            _ => None,
        });
        all.collect::<Vec<View>>()
    };
    let operators = views("operators");
    let Some(View::Layers(layers)) = operators.last() else { panic!("no table of operators") };
    let names: Vec<&str> = layers.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["block1.1", "block2.1"]);
    assert!(
        layers.rows.iter().all(|row| row.cells.len() == layers.columns.len() && row.cells.iter().all(Option::is_some))
    );
    let channels = views("channels");
    let Some(View::Images(images)) = channels.last() else { panic!("no channels") };
    assert_eq!((images.columns, images.pictures.len()), (3, 6));
    // 16 images, 48 of the 64 units; the mask is black and white and has both.
    let mask = &images.pictures[1];
    assert_eq!((mask.width, mask.height), (48, 16));
    let bytes = mask.bytes().unwrap();
    assert!(bytes.contains(&0) && bytes.contains(&255) && bytes.iter().all(|b| [0, 255].contains(b)));
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bits() {
    World::killed_ends_the_same(PRESET, 3, &["network.safetensors"]);
}

#[test]
fn without_a_regulariser_it_is_plain_training() {
    let mut world = World::new(PRESET);
    world.spec.regulariser.kind = RegulariserKind::None;
    let own = world.run();
    let mut plain = World::new(
        &PRESET
            .replace("method = \"disout\"", "method = \"train\"")
            .replace("[disout]", "[train]")
            .replace("look = 100\nevery = 0.5\n", ""),
    );
    plain.spec.regulariser.kind = RegulariserKind::None;
    let trained = plain.run();
    for name in ["test_accuracy", "valid_loss", "train_loss"] {
        assert_eq!(own.figures[name], trained.figures[name], "{name}");
    }
    assert!(own.verdict.contains("no regulariser"), "{}", own.verdict);
    // And the method `train` heeds the regulariser.
    plain.spec.regulariser.kind = RegulariserKind::Disout;
    assert_ne!(plain.run().figures["train_loss"], trained.figures["train_loss"]);
}

#[test]
fn a_diverged_arm_says_so_and_has_its_figures() {
    let mut world = World::new(PRESET);
    world.spec.optim.lr = 1e38;
    let outcome = world.run();
    assert!(outcome.verdict.contains("ended early"), "{}", outcome.verdict);
    assert_eq!(figure(&outcome, "diverged"), 1.0);
    assert!(figure(&outcome, "test_accuracy").is_finite() && figure(&outcome, "train_accuracy").is_finite());
}

#[test]
fn a_network_without_a_place_for_it_is_refused_before_it_trains() {
    let mut world = World::new(PRESET);
    world.spec.regulariser.at = kiln_protocol::spec::RegulariserPlace::LastStage;
    let error = crate::create(&world.spec, &mut world.cx()).err().unwrap().to_string();
    assert!(error.contains("regulariser.at") && error.contains("hidden"), "{error}");
}

fn preset(name: &str) -> Spec {
    let file = format!("{}/../../presets/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap();
    Spec::from_toml(name, &text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The card's protocol on the digits that ship with Kiln: with noisy labels Disout is two points and more above nothing.
/// (Whether it is above dropout this size cannot tell.)
#[test]
fn with_noisy_labels_disout_is_better_than_nothing() {
    let spec = preset("disout-digits");
    let mut sums = std::collections::BTreeMap::<String, f64>::new();
    for job in spec.jobs().unwrap() {
        let arm = job.arm.unwrap();
        if !["none", "disout"].contains(&arm.as_str()) || job.seed > 3 {
            continue;
        }
        let mut world = World::new(PRESET);
        world.spec = job.spec;
        world.spec.data.path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits").into();
        // The looks cost more than the training here, and change nothing.
        world.spec.disout.as_mut().unwrap().look = 50;
        let outcome = world.run();
        assert!(figure(&outcome, "train_loss").is_finite());
        *sums.entry(arm).or_default() += figure(&outcome, "test_accuracy") / 3.0;
    }
    let (none, disout) = (sums["none"], sums["disout"]);
    assert!(disout >= none + 0.02, "without {none:.4}, with {disout:.4}");
}

/// The paper's network and settings on generated images of CIFAR's shape: two steps of each arm.
#[test]
fn the_papers_settings_take_steps() {
    use kiln_arch::{Shape, Space};
    use kiln_data::{DataSet, Split};
    use kiln_nn::torch::Generator;
    use kiln_nn::{Trainer, TrainerConfig, Until};
    use tch::{Device, Kind};

    let spec = preset("disout-paper");
    let mut generator = Generator::new(1, Device::Cpu).unwrap();
    let mut split = |n: i64| Split {
        images: generator.randint(256, &[n, 3, 32, 32]).unwrap().to_kind(Kind::Uint8),
        labels: generator.randint(10, &[n]).unwrap(),
    };
    let classes = (0..10).map(|c| c.to_string()).collect();
    let data = DataSet::new([split(8), split(2), split(2)], classes, "generated".into()).unwrap();
    let mut ends = Vec::new();
    for job in spec.jobs().unwrap().into_iter().filter(|job| job.seed == 1) {
        let (arm, own) = (job.arm.unwrap(), job.spec);
        let space = Space::of(&own.space).unwrap();
        let arch = match own.disout.as_ref().unwrap().arch.as_str() {
            "reference" => space.reference(),
            text => space.parse(text).unwrap(),
        };
        let plan = space.plan(&arch, Shape::Image(3, 32, 32), 10).unwrap();
        let mut config = TrainerConfig::of(&own, 0, 1);
        config.optim.batch = 4;
        // The first step of a ramp distorts nothing.
        config.regulariser.ramp = 0.0;
        let mut trainer = Trainer::new(&plan, config, data.share(), None).unwrap();
        trainer.run(Until::Steps(2), &|| false).unwrap();
        let looks = trainer.inspect().unwrap();
        assert_eq!(looks.len(), if arm == "none" { 0 } else { 18 }, "{arm}");
        if arm == "disout" {
            assert!(looks.iter().all(|look| look.block == 6 && look.noise.is_some_and(|n| n > 0.0)));
        }
        let last = trainer.network().trainable().last().unwrap().copy();
        assert_eq!(last.isfinite().all().int64_value(&[]), 1);
        ends.push(Vec::<f32>::try_from(last).unwrap());
    }
    assert_eq!(ends.len(), 4);
    assert!((1..4).all(|i| !ends[..i].contains(&ends[i])), "every arm takes a way of its own");
}
