use kiln_protocol::spec::Spec;
use kiln_protocol::{Body, Outcome, View};

use super::parts::Kind;
use crate::testing::{World, timeless};

const PRESET: &str = "method = \"widen-squeeze\"\nseed = 5\n[data]\ntrain = 200\nvalid = 100\ntest = 100\n[optim]\nkind = \"adamw\"\n\
    lr = 5e-3\nschedule = \"cosine\"\nbatch = 50\n[widen-squeeze]\nnetwork = \"mlp\"\nwidths = [8, 8, 8]\nfactors = [2.0, 4.0]\n\
    teacher-epochs = 6\nwiden-epochs = 8\nsqueeze-epochs = 4\ntune-epochs = 4\nlr = 5e-3\nfloor-channels = 4\n";

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures.get(name).copied().flatten().unwrap_or_else(|| panic!("there is no {name}: {}", outcome.verdict))
}

fn views(world: &World) -> Vec<(String, View)> {
    let events = world.events.lock().unwrap();
    let all = events.iter().filter_map(|body| match body {
        Body::View { name, view } => Some((name.clone(), view.as_ref().clone())),
        _ => None,
    });
    all.collect()
}

#[test]
fn a_run_compares_everything_and_packs_what_it_squeezed() {
    let world = World::new(&(PRESET.to_owned() + "probe = true\nrounds = 2\n"));
    let outcome = world.run();
    for name in ["full", "plain", "wide_2", "wide_4", "squeezed", "random", "scratch"] {
        assert!((0.0..=1.0).contains(&figure(&outcome, &format!("test_accuracy_{name}"))), "{name}");
        assert!(figure(&outcome, &format!("bits_{name}")) > 0.0);
    }
    assert!(figure(&outcome, "bops_squeezed") <= figure(&outcome, "bops_wide_2"), "the budget is met");
    assert_eq!(figure(&outcome, "ops_random"), figure(&outcome, "ops_squeezed"), "identical widths");
    assert_eq!(figure(&outcome, "ops_scratch"), figure(&outcome, "ops_wide_2"));
    assert_eq!(outcome.tables[0].rows.len(), 7);
    assert!(outcome.verdict.contains("Widened by 4 and squeezed to the cost of 2"), "{}", outcome.verdict);
    assert!(outcome.headline.iter().all(|f| outcome.figures.contains_key(&f.name)));
    for name in ["full", "wide_2", "squeezed"] {
        assert!(figure(&outcome, &format!("probe_accuracy_{name}")) > 0.2);
    }
    // What scratch may take is what the squeezed network took in all.
    let epochs: usize = ["wide-4", "squeeze-1", "tuned-1", "squeeze-2", "squeezed"]
        .map(|part| world.series(&format!("{part}/loss")).len())
        .iter()
        .sum();
    assert_eq!(world.series("scratch/loss").len(), epochs);
    assert_eq!(world.series("squeeze-1/mean-importance").len(), 4);

    let file = world.artifact(super::packed::FILE);
    let packed = kiln_arch::quantised::PackedNet::read(&file).unwrap();
    let claimed = packed.about.network.cost();
    assert_eq!(kiln_arch::quantised::packed::payload(&file), Some(claimed.bytes));
    assert_eq!(claimed.bytes as f64, figure(&outcome, "bytes_squeezed"));
    let table = outcome.tables.iter().find(|t| t.title.starts_with("Packed")).unwrap();
    assert!(
        table.rows.iter().any(|row| row[0].starts_with("logits equal") && row[1] == "100 of 100 images"),
        "{table:?}"
    );

    use crate::export::{Format, find, write};
    let found = find(&[world.dir.path().to_owned()], None).unwrap();
    let out = world.dir.path().join("out.safetensors");
    let said = write(&found, Format::Safetensors, &out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), file);
    assert_eq!(said["parameters"].as_f64(), Some(figure(&outcome, "params_squeezed")));
    assert!(write(&found, Format::Torchscript, &out).unwrap_err().to_string().contains("safetensors"));

    let views = views(&world);
    for wanted in
        ["layers", "weights", "importances", "accuracy-ops", "accuracy-bits", "budget", "probe", "features-full"]
    {
        assert!(views.iter().any(|(name, _)| name == wanted), "{wanted}");
    }
    let Some((_, View::Layers(layers))) = views.iter().rev().find(|(name, _)| name == "layers") else {
        panic!("no layers")
    };
    assert_eq!(layers.rows.len(), 3);
    let kept: Vec<Option<f64>> = layers.rows.iter().map(|row| row.cells[2]).collect();
    assert_eq!(kept[1], Some(figure(&outcome, "width_2")), "the squeezed network stands there at the end");
    assert_eq!(layers.rows[0].cells.len(), layers.columns.len());
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bits() {
    let preset = PRESET.to_owned() + "projection = \"explicit\"\nprobe = true\n";
    World::killed_ends_the_same(&preset, 2, &[super::packed::FILE]);
}

#[test]
fn side_by_side_or_in_turn_the_bits_are_the_same() {
    let of = |parallel: &str| timeless(World::new(&format!("{PRESET}[run]\nparallel = {parallel}\n")).run());
    assert_eq!(of("1"), of("3"));
}

#[test]
fn convolutions_with_more_bits_run_too() {
    let preset = PRESET.replace("network = \"mlp\"\nwidths = [8, 8, 8]", "network = \"conv\"\nwidths = [4, 4, 6]");
    let preset = preset
        .replace("factors = [2.0, 4.0]", "factors = [2.0]\nsqueeze-to = 1.5\nweight-bits = 2\nactivation-bits = 2");
    let outcome = World::new(&preset).run();
    let table = outcome.tables.iter().find(|t| t.title.starts_with("Packed")).unwrap();
    assert!(
        table.rows.iter().any(|row| row[0].starts_with("logits equal") && row[1] == "100 of 100 images"),
        "{table:?}"
    );
    // Bit operations are multiply-accumulates times both widths of numbers; those of full precision are the same layers'.
    let quantised = figure(&outcome, "bops_plain") / 4.0;
    assert_eq!(figure(&outcome, "flops_full"), figure(&outcome, "flops_plain") + quantised);
}

#[test]
fn a_diverged_teacher_is_reported_and_what_needs_none_is_trained() {
    let mut world = World::new(PRESET);
    world.spec.optim.lr = 1e36;
    let outcome = world.run();
    assert!(
        outcome.verdict.contains("no squeezed network") && outcome.verdict.contains("diverged"),
        "{}",
        outcome.verdict
    );
    assert!(figure(&outcome, "test_accuracy_plain") > 0.1);
    assert_eq!(outcome.figures["test_accuracy_wide_2"], None);
    let table = outcome.tables.iter().find(|t| t.title.contains("without a result")).unwrap();
    assert!(table.rows.iter().any(|row| row[0] == "wide-4" && row[1].contains("full")), "{table:?}");
    assert_eq!(outcome.tables[0].rows[0][1], "diverged");
    // Nothing leads anything: then nothing waits for the teacher.
    world = World::new(&(PRESET.to_owned() + "beta = 0.0\n"));
    world.spec.optim.lr = 1e36;
    let outcome = world.run();
    assert!(figure(&outcome, "squeezed_accuracy") > 0.1);
    assert_eq!(outcome.figures["loss_to_full"], None);
}

#[test]
fn a_budget_below_the_floors_is_refused_before_anything_is_trained() {
    let world = World::new(&PRESET.replace("floor-channels = 4", "floor-channels = 64"));
    let error = crate::create(&world.spec, &mut world.cx()).err().unwrap().to_string();
    assert!(error.contains("widen-squeeze.squeeze-to") && error.contains("floors"), "{error}");
}

/// On the digits that ship with Kiln, some 800 steps a network: width helps, and importances tell what matters.
#[test]
fn width_helps_and_importances_order_channels() {
    for seed in [1, 2] {
        let mut world = World::new(
            &PRESET
                .replace("seed = 5", &format!("seed = {seed}"))
                .replace("train = 200\nvalid = 100\ntest = 100", "train = 1000\nvalid = 397\ntest = 400")
                .replace("batch = 50", "batch = 64")
                .replace("widths = [8, 8, 8]", "widths = [16, 16, 16]\nallocation = \"uniform\"\nscratch = false")
                .replace("factors = [2.0, 4.0]", "factors = [4.0]")
                .replace("teacher-epochs = 6\nwiden-epochs = 8", "teacher-epochs = 20\nwiden-epochs = 53")
                .replace("squeeze-epochs = 4", "squeeze-epochs = 25"),
        );
        world.spec.data.path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits").to_owned();
        let outcome = world.run();
        let (plain, wide) = (figure(&outcome, "test_accuracy_plain"), figure(&outcome, "test_accuracy_wide_4"));
        assert!(wide >= plain + 0.02, "seed {seed}: {wide} against {plain}");
        let before = ["most", "random", "least"].map(|which| figure(&outcome, &format!("before_tuning_{which}")));
        assert!(before[0] > before[1] && before[1] > before[2], "seed {seed}: {before:?}");
    }
}

/// The paper's network on generated images of ImageNet's shape: the teacher, the widened network and a squeeze take steps.
#[test]
fn the_papers_network_takes_steps_in_every_stage() {
    use std::time::{Duration, Instant};

    use kiln_arch::quantised::{Bits, Blueprint};
    use kiln_data::{DataSet, Split};
    use kiln_nn::quantised::{QuantConfig, QuantNetwork, QuantTrainer, Squeeze, Teacher};
    use kiln_nn::torch::Generator;
    use tch::Device;

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../presets/widen-squeeze-paper.toml");
    let spec = Spec::from_toml("widen-squeeze-paper.toml", &std::fs::read_to_string(file).unwrap()).unwrap();
    let own = spec.widen_squeeze.clone().unwrap();
    let side = spec.data.side;
    kiln_arch::quantised::check(&own, [3, side, side], 100).unwrap();
    let mut generator = Generator::new(1, Device::Cpu).unwrap();
    let mut split = |n: i64| Split {
        images: generator.randint(256, &[n, 3, i64::from(side), i64::from(side)]).unwrap().to_kind(tch::Kind::Uint8),
        labels: generator.randint(100, &[n]).unwrap(),
    };
    let classes: Vec<String> = (0..100).map(|c| c.to_string()).collect();
    let data = DataSet::new([split(4), split(2), split(2)], classes, "generated".into()).unwrap();
    let network = |factor, bits| Blueprint::new(&own, [3, side, side], 100, factor, bits).unwrap();
    let run = |blueprint: &Blueprint, squeeze: bool, teacher: Option<Teacher>| {
        let config = QuantConfig {
            optim: kiln_protocol::spec::OptimSettings { batch: 2, warmup: 0.0, ..spec.optim.clone() },
            gradient: own.gradient,
            threads: 2,
            seed: 1,
            part: 0,
            epochs: 1,
            augment: None,
            guide: teacher.is_some().then(|| super::parts::guide(&own)),
            squeeze: squeeze.then(|| Squeeze {
                lr: own.importance_lr,
                lambda: own.lambda,
                kappa: super::prune::kappa(blueprint, own.budget),
            }),
        };
        let mut trainer = QuantTrainer::new(blueprint, config, data.share(), None, teacher).unwrap();
        while !trainer.finished() {
            trainer.run(Instant::now() + Duration::from_secs(600), &|| false).unwrap();
        }
        trainer
    };
    let full = network(1.0, None);
    let teacher = run(&full, false, None);
    let mut frozen = QuantNetwork::new(&full, own.gradient, 0, Device::Cpu).unwrap();
    frozen.load(&teacher.tensors().unwrap()).unwrap();
    let wide = network(own.widest(), Some(Bits::of(&own)));
    let squeezed = run(&wide, true, Some(Teacher(frozen)));
    let last = squeezed.history().last().unwrap();
    assert_eq!((last.projection.len(), last.importances.len()), (17, 4));
    assert!(last.loss.is_finite() && last.projection.iter().all(|v| *v > 0.0));
    let importances = squeezed.importances().unwrap();
    let limit = network(own.squeeze_to, Some(Bits::of(&own))).cost().of(own.budget);
    let widths = super::prune::widths(&wide, &importances, &own, limit).unwrap();
    assert!(wide.with_widths(&widths).cost().of(own.budget) <= limit);
    assert_eq!(super::parts::parts(&own).iter().filter(|p| matches!(p.kind, Kind::Squeeze(_))).count(), 2);
}
