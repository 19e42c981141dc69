use kiln_protocol::spec::Spec;
use kiln_protocol::view::View;
use kiln_protocol::{Body, Level, Outcome};
use tch::{Device, Tensor};

use super::ruler::Made;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::testing::{World, timeless};
use crate::{Flow, create};

const PRESET: &str = "method = \"pugan\"\nseed = 5\n[data]\ntrain = 250\nvalid = 100\ntest = 50\n[optim]\nkind = \"adamw\"\n\
    lr = 1e-3\nmomentum = 0.5\nbatch = 32\n[pugan]\nnet = \"mlp\"\nwidth = 32\nlatent = 8\niterations = 400\n\
    report-every = 20\nsample-every = 100\nevaluate-every = 80\nsamples = 200\nburn-in = 0.3\nfeatures = 12\n\
    feature-epochs = 8\n";

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
}

#[test]
fn a_run_tells_what_it_does() {
    let world = World::new(PRESET);
    let outcome = world.run();
    let course = world.series("frechet/distance");
    assert_eq!(course.iter().map(|p| p[0]).collect::<Vec<_>>(), [80.0, 160.0, 240.0, 320.0, 400.0]);
    assert!(figure(&outcome, "frechet") == course[4][1] && figure(&outcome, "frechet_floor") > 0.0);
    assert!(figure(&outcome, "frechet_best") <= figure(&outcome, "frechet_mean"));
    assert!(figure(&outcome, "frechet_mean") <= figure(&outcome, "frechet_worst"));
    for name in ["precision", "recall", "clip_fraction", "class_evenness"] {
        assert!((0.0..=1.0).contains(&figure(&outcome, name)), "{name}");
    }
    assert_eq!(figure(&outcome, "diverged"), 0.0);
    assert!(outcome.verdict.contains("PUSGAN (pi 0.3)") && outcome.verdict.contains("no FID"), "{}", outcome.verdict);
    // What the loss is made of adds up, where no step of a reading was clipped.
    let at = |name: &str| world.series(name).into_iter().map(|p| (p[0] as u64, p[1])).collect::<Vec<_>>();
    let (loss, pi_a, neg, clip) = (at("critic/loss"), at("pi-a/risk"), at("neg/risk"), at("clip-fraction"));
    assert_eq!(loss.len(), 20);
    for i in 0..loss.len() {
        if clip[i].1 == 0.0 {
            assert!((pi_a[i].1 + neg[i].1 - loss[i].1).abs() < 1e-4);
        } else {
            assert!(pi_a[i].1 + neg[i].1 < loss[i].1 + 1e-4);
        }
    }
    let target = (0.3_f64 / 0.7).ln();
    assert!(at("optimum/logit").iter().all(|p| (p.1 - target).abs() < 1e-12));
    for step in [100, 200, 300, 400] {
        let png = image::load_from_memory(&world.artifact(&format!("samples/{step:08}.png"))).unwrap();
        assert_eq!((png.width(), png.height()), (73, 73));
    }
    let events = world.events.lock().unwrap();
    let views = |wanted: &str| events.iter().filter(|b| matches!(b, Body::View { name, .. } if name == wanted)).count();
    assert!(views("samples") > 0 && views("scores") > 0 && views("classes") > 0);
    let scores = events.iter().rev().find_map(|b| match b {
        Body::View { view, .. } => match view.as_ref() {
            View::Histogram(h) if h.panels[0].marks.len() == 1 => Some(h.panels[0].marks[0].x),
            _ => None,
        },
        _ => None,
    });
    assert!((scores.unwrap() - target).abs() < 1e-12);
}

/// A short training on the digits that ship with Kiln, three seeds, measured with one classifier.
#[test]
fn on_digits_the_distance_falls_by_half_and_the_risk_is_clipped_now_and_then() {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits");
    let mut world = World::new("method = \"pugan\"\n[data]\n[optim]\nkind = \"adamw\"\n");
    let settings = format!(
        "method = \"pugan\"\n[data]\nset = \"digits\"\npath = \"{assets}\"\ntrain = 1400\nvalid = 200\n[optim]\n\
         kind = \"adamw\"\nlr = 1e-3\nmomentum = 0.5\nbatch = 64\n[pugan]\nnet = \"mlp\"\nwidth = 128\nlatent = 16\n\
         iterations = 1400\nevaluate-every = 200\nsample-every = 1400\nsamples = 700\nfeatures = 32\nfeature-epochs = 12\n"
    );
    for seed in 1..=3 {
        world.spec = Spec { seed, ..Spec::from_toml("spec.toml", &settings).unwrap() };
        world.events = Default::default();
        let outcome = world.run();
        let course = world.series("frechet/distance");
        let at = |step: f64| course.iter().find(|p| p[0] == step).unwrap()[1];
        assert!(at(1400.0) < 0.5 * at(200.0), "seed {seed}: {course:?}");
        let clipped = figure(&outcome, "clip_fraction");
        assert!(clipped > 0.0 && clipped < 0.9, "seed {seed}: {clipped}");
        assert!(world.series("critic/loss").iter().all(|p| p[1].is_finite()));
    }
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bits() {
    let other = PRESET
        .replace("iterations = 400", "iterations = 200\nloss = \"wasserstein\"\ncritic-steps = 2\nema = 0.9")
        + "critic-norm = \"spectral\"\n";
    for settings in [PRESET, &other] {
        World::killed_ends_the_same(settings, 2, &[super::run::FILE]);
    }
}

#[test]
fn a_save_in_the_middle_of_the_classifier_goes_on() {
    let expected = timeless(World::new(PRESET).run());
    let settings = PRESET.replace("feature-epochs = 8", "feature-epochs = 8 # saved");
    let world = World::new(&settings);
    let mut cx = world.cx();
    let method = create(&world.spec, &mut cx).unwrap();
    let mut writer = CheckpointWriter::new();
    method.save(&mut writer).unwrap();
    let (state, tensors) = writer.into_parts();
    let mut method = create(&world.spec, &mut cx).unwrap();
    method.load(&CheckpointReader::new(state, tensors), &mut cx).unwrap();
    while method.step(&mut cx).unwrap() == Flow::More {}
    assert_eq!(timeless(method.outcome()), expected);
}

/// Runs two runs in one home, the second with other settings.
fn in_one_home(first: &str, second: &str) -> (World, World, usize) {
    let home = tempfile::TempDir::new().unwrap();
    let run = |name: &str, settings: &str| {
        let mut world = World::new(settings);
        let data = world.spec.data.path.clone();
        let _kept_for_data = std::mem::replace(&mut world.dir, tempfile::TempDir::new().unwrap()).keep();
        let folder = home.path().join("runs").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let events = std::sync::Arc::clone(&world.events);
        let emit = Box::new(move |body| events.lock().unwrap().push(body));
        let place = crate::runtime::Place::cpu();
        let mut cx = crate::StepCx::new(world.spec.clone(), &folder, &place, world.interrupt.clone(), emit);
        let mut method = create(&world.spec, &mut cx).unwrap();
        while method.step(&mut cx).unwrap() == Flow::More {}
        cx.flush();
        std::fs::remove_dir_all(data).unwrap();
        world
    };
    let (a, b) = (run("a", first), run("b", second));
    let kept = std::fs::read_dir(home.path().join("cache")).unwrap().count();
    (a, b, kept)
}

#[test]
fn the_classifier_is_kept_and_shared_by_runs_of_all_seeds_and_losses() {
    let short = PRESET.replace("iterations = 400", "iterations = 100");
    let other = short.replace("seed = 5", "seed = 6").replace("[pugan]", "[pugan]\nloss = \"hinge\"\npu = false");
    let (a, b, kept) = in_one_home(&short, &other);
    assert_eq!(kept, 1);
    assert!(!a.series("features/loss").is_empty() && b.series("features/loss").is_empty());
    assert_eq!(a.series("floor/distance")[0][1], b.series("floor/distance")[0][1]);
    // Other features need another classifier.
    let (_, b, kept) = in_one_home(&short, &short.replace("features = 12", "features = 16"));
    assert_eq!(kept, 2);
    assert!(!b.series("features/loss").is_empty());
}

#[test]
fn a_file_that_is_no_such_classifier_is_made_anew() {
    let world = World::new(PRESET);
    let cx = world.cx();
    let settings = world.spec.pugan.clone().unwrap();
    let data = super::ruler::data(&world.spec, &settings, Device::Cpu).unwrap();
    let recipe = super::ruler::Recipe::of(&world.spec, &settings, &data).unwrap();
    assert!(recipe.kept(cx.folder()).is_none());
    let tensors = vec![("x".to_owned(), Tensor::from_slice(&[1.0_f32]))];
    recipe.keep(cx.folder(), &Made { of: "another".into(), accuracy: None }, &tensors).unwrap();
    assert!(recipe.kept(cx.folder()).is_none(), "made of something else");
    std::fs::write(recipe.file(cx.folder()), b"torn").unwrap();
    assert!(recipe.kept(cx.folder()).is_none());
    let made = Made { of: recipe.of.clone(), accuracy: Some(0.5) };
    recipe.keep(cx.folder(), &made, &tensors).unwrap();
    assert_eq!(recipe.kept(cx.folder()).unwrap().0, made);
}

#[test]
fn a_diverged_training_says_so_and_completes() {
    let mut world = World::new(&PRESET.replace("[pugan]", "[pugan]\nloss = \"wasserstein\""));
    world.spec.optim.lr = 50.0;
    world.spec.optim.lr *= 1e30;
    let outcome = world.run();
    assert!(outcome.verdict.contains("diverged"), "{}", outcome.verdict);
    assert_eq!((figure(&outcome, "diverged"), outcome.figures["frechet"], outcome.figures["kid"]), (1.0, None, None));
    assert!(!world.artifact_exists(super::run::FILE));
}

#[test]
fn a_dead_discriminator_is_told_with_its_remedies() {
    // A prior near one makes the risk of the negatives negative at once.
    let settings = PRESET.replace("iterations = 400", "iterations = 1200").replace("[pugan]", "[pugan]\nprior = 0.99");
    let world = World::new(&settings);
    let outcome = world.run();
    let events = world.events.lock().unwrap();
    let said = events.iter().any(
        |b| matches!(b, Body::Log { level: Level::Warn, message } if message.contains("dead") && message.contains("nnpu")),
    );
    assert_eq!(
        said,
        figure(&outcome, "clip_fraction") > 0.95 || outcome.verdict.contains("dead"),
        "{}",
        outcome.verdict
    );
    assert!(said, "clipped {}", figure(&outcome, "clip_fraction"));
}

#[test]
fn the_generator_that_is_written_makes_the_samples_again() {
    let world = World::new(&PRESET.replace("iterations = 400", "iterations = 100\nema = 0.9"));
    world.run();
    let (about, tensors): (serde_json::Value, _) = crate::export::parse(&world.artifact(super::run::FILE)).unwrap();
    assert_eq!((about["kind"].as_str(), about["image"][1].as_i64()), (Some("generator"), Some(8)));
    let found = crate::export::find(&[world.dir.path().to_path_buf()], None).unwrap();
    let out = world.dir.path().join("mine.safetensors");
    let said = crate::export::write(&found, crate::export::Format::Safetensors, &out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), world.artifact(super::run::FILE));
    assert!(said["arch"].as_str().unwrap().starts_with("generator mlp"), "{said}");
    let refused = crate::export::write(&found, crate::export::Format::Torchscript, &out).unwrap_err().to_string();
    assert!(refused.contains("safetensors"), "{refused}");
    let settings = world.spec.pugan.clone().unwrap();
    let plan = kiln_arch::GanPlan::of(&settings, kiln_arch::Shape::Image(1, 8, 8)).unwrap();
    let config = kiln_nn::GanConfig { settings, optim: world.spec.optim.clone(), seed: 5 };
    let data = super::ruler::data(&world.spec, &config.settings, Device::Cpu).unwrap();
    let trainer = kiln_nn::GanTrainer::new(&plan, config, data.train.images).unwrap();
    let mut net = kiln_nn::gan::Net::build(&plan.generator, plan.init, false, 9, Device::Cpu).unwrap();
    net.load(&tensors).unwrap();
    let images = net.forward(&trainer.noise_for("grid", 64).unwrap(), kiln_nn::gan::Pass::Eval).unwrap();
    let bytes = ((images + 1.0) * 127.5).round().to_kind(tch::Kind::Uint8);
    let png = super::sheet::Sheet::of(&bytes).unwrap().png().unwrap();
    assert_eq!(png, world.artifact("samples/00000100.png"));
}

#[test]
fn padding_makes_the_images_larger() {
    let mut world = World::new(&PRESET.replace("[pugan]", "[pugan]\nside = 12"));
    world.spec.pugan.as_mut().unwrap().iterations = 20;
    let settings = world.spec.pugan.clone().unwrap();
    let data = super::ruler::data(&world.spec, &settings, Device::Cpu).unwrap();
    assert_eq!(data.shape, [1, 12, 12]);
    let plain = super::ruler::data(&world.spec, &Default::default(), Device::Cpu).unwrap();
    assert_eq!(data.train.images.narrow(2, 2, 8).narrow(3, 2, 8), plain.train.images);
    assert_eq!(data.train.images.narrow(2, 0, 2).max().int64_value(&[]), 0);
}

fn mistakes(settings: &str) -> String {
    Spec::from_toml("spec.toml", settings).map_or_else(|problems| problems.to_string(), |_| "fine".into())
}

#[test]
fn settings_that_make_no_sense_are_one_sentence() {
    let base = PRESET.replace("[data]", "[data]\nset = \"digits\"\npath = \"/x\"");
    assert_eq!(mistakes(&base), "fine");
    for (wrong, expected) in [
        ("prior = 0", "pugan.prior: expected a number from 0.001 to 0.999, found 0"),
        ("prior = 1.5", "pugan.prior: expected a number from 0.001 to 0.999, found 1.5"),
        ("prior-schedule = \"linear\"\nprior-end = 1.2", "pugan.prior-end: expected a number from 0.001 to 0.999"),
        ("prior = 0.7\nprior-schedule = \"step\"", "pugan.prior-end: is 0.6, below the prior (0.7)"),
        ("relativistic = true", "pugan.relativistic: compares every logit"),
        ("relativistic = true\npu = false\nloss = \"wasserstein\"", "pugan.relativistic: leaves the loss"),
        ("warmup = 400", "pugan.warmup: is 400 iterations, all of the 400"),
        ("loss = \"wasserstein\"\nnet = \"conv\"", "pugan.critic-norm: is `batch`, but the gradient penalty"),
    ] {
        let text = base.replace(
            "[pugan]\nnet = \"mlp\"",
            &format!("[pugan]\n{wrong}{}", if wrong.contains("net =") { "" } else { "\nnet = \"mlp\"" }),
        );
        let said = mistakes(&text);
        assert!(said.contains(expected) && said.lines().count() == 1, "{wrong}: {said}");
    }
    for (wrong, instead, expected) in [
        ("kind = \"adamw\"", "kind = \"sgd\"", "optim.kind: is `sgd`; `pugan` trains by Adam"),
        ("[optim]", "[run]\nprecision = \"bf16\"\n[optim]", "run.precision: is `bf16`"),
        ("train = 250", "train = 250\ncrop-pad = 2", "data.crop-pad: would teach the generator"),
        ("train = 250", "train = 250\nflip = true", "data.flip: is not used"),
        ("evaluate-every = 80", "evaluate-every = 800", "pugan.evaluate-every: is 800 iterations, more than the 400"),
        (
            "[optim]",
            "[space]\nname = \"digits-mlp\"\n[optim]",
            "space: is the search space of methods that take their networks from one; `pugan`",
        ),
    ] {
        let said = mistakes(&base.replace(wrong, instead));
        assert!(said.contains(expected) && said.lines().count() == 1, "{instead}: {said}");
    }
}
