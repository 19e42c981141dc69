use std::cell::Cell;

use kiln_arch::spec::{OptimKind, OptimSettings, Precision, RegulariserKind, RegulariserSettings, Schedule};
use kiln_torch::Generator;
use tch::Device;

use super::*;
use crate::testing::{cnn, config, mlp, never, same_bits, stripes};

const EPOCHS: u32 = 4;

fn sgd() -> OptimSettings {
    OptimSettings {
        lr: 0.05,
        nesterov: true,
        weight_decay: 1e-3,
        schedule: Schedule::Cosine,
        warmup: 0.5,
        label_smoothing: 0.1,
        ..OptimSettings::default()
    }
}

fn adamw() -> OptimSettings {
    OptimSettings { kind: OptimKind::Adamw, lr: 0.01, weight_decay: 0.05, grad_clip: 1.0, ..OptimSettings::default() }
}

fn trainer(plan: &Plan, config: TrainerConfig) -> Trainer {
    Trainer::new(plan, config, stripes(100), None).unwrap()
}

/// Everything that a finished training leaves, in bits.
fn same_end(a: &Trainer, b: &Trainer) {
    assert_eq!(a.steps(), b.steps());
    assert_eq!(a.history(), b.history());
    for ((name, a), b) in a.living_names().iter().zip(a.living()).zip(b.living()) {
        assert!(same_bits(&a, &b), "{name} differs");
    }
}

/// Through JSON and bytes, as a checkpoint on disk goes.
fn through_disk(saved: &Saved) -> Saved {
    let text = serde_json::to_string(&saved.state).unwrap();
    let tensors = saved.tensors.iter().map(|(name, tensor)| {
        let (dtype, shape, data) = kiln_torch::to_bytes(tensor).unwrap();
        (name.clone(), kiln_torch::from_bytes(dtype, &shape, &data).unwrap())
    });
    Saved { state: serde_json::from_str(&text).unwrap(), tensors: tensors.collect() }
}

#[test]
fn a_small_network_learns() {
    for (plan, optim, epochs) in [(cnn(), sgd(), 8), (mlp(), adamw(), 8)] {
        let mut trainer = trainer(&plan, config(optim, 0, epochs));
        let before = trainer.evaluate(&trainer.data().test, &never).unwrap().unwrap();
        let ran = trainer.run(Until::Epochs(100), &never).unwrap();
        assert_eq!(ran, Ran { steps: 6 * u64::from(epochs), end: End::Finished });
        let after = trainer.evaluate(&trainer.data().test, &never).unwrap().unwrap();
        assert!(before.accuracy < 0.6 && after.accuracy > 0.9, "{before:?} to {after:?}");
        let history = trainer.history();
        assert_eq!(history.iter().map(|e| e.epoch).collect::<Vec<_>>(), (1..=u64::from(epochs)).collect::<Vec<_>>());
        assert!(history[7].loss < history[0].loss);
        assert!(history[7].valid.unwrap().accuracy > 0.9, "{:?}", history[7]);
        assert!(trainer.finished());
    }
}

fn disout() -> RegulariserSettings {
    RegulariserSettings { kind: RegulariserKind::Disout, p: 0.2, block: 3, ramp: 0.5, ..RegulariserSettings::default() }
}

#[test]
fn a_look_at_the_distortion_changes_nothing() {
    let config = TrainerConfig { regulariser: disout(), ..config(sgd(), 3, EPOCHS) };
    let (mut seen, mut unseen) = (trainer(&cnn(), config.clone()), trainer(&cnn(), config));
    unseen.run(Until::Steps(u64::MAX), &never).unwrap();
    assert_eq!(seen.distortion(), 0.0);
    for steps in [5, 9, u64::MAX] {
        seen.run(Until::Steps(steps), &never).unwrap();
        let looks = seen.inspect().unwrap();
        assert_eq!(looks.len(), 1);
        assert!(looks[0].kept < 1.0 && looks[0].p > 0.0, "{looks:?}");
        let part = seen.training_part(40).unwrap();
        assert_eq!(part.len(), 40);
        let clean = seen.evaluate(&part, &never).unwrap().unwrap();
        let distorted = seen.evaluate_distorted(&part, &never).unwrap().unwrap();
        assert_ne!(clean.loss, distorted.loss);
        assert_eq!(seen.evaluate_distorted(&part, &never).unwrap().unwrap(), distorted);
    }
    same_end(&unseen, &seen);
    assert_eq!(seen.distortion(), 0.2);
}

#[test]
fn a_resumed_training_ends_in_the_same_bits() {
    let augment = Some(kiln_data::Augment { crop_pad: 1, ..kiln_data::Augment::default() });
    let cases = [
        (cnn(), TrainerConfig { augment, ..config(sgd(), 3, EPOCHS) }),
        (mlp(), config(adamw(), 3, EPOCHS)),
        (
            cnn(),
            TrainerConfig { precision: Precision::Bf16, channels_last: true, augment, ..config(adamw(), 3, EPOCHS) },
        ),
        (cnn(), TrainerConfig { precision: Precision::Bf16, channels_last: true, ..config(sgd(), 3, EPOCHS) }),
        (cnn(), TrainerConfig { regulariser: disout(), augment, ..config(sgd(), 3, EPOCHS) }),
        (
            cnn(),
            TrainerConfig {
                precision: Precision::Bf16,
                channels_last: true,
                regulariser: RegulariserSettings { kind: RegulariserKind::Dropblock, ..disout() },
                ..config(sgd(), 3, EPOCHS)
            },
        ),
    ];
    let mut random = Generator::new(99, Device::Cpu).unwrap();
    for (plan, config) in cases {
        let mut whole = trainer(&plan, config.clone());
        whole.run(Until::Steps(u64::MAX), &never).unwrap();
        let cuts: Vec<i64> = Vec::try_from(random.randint(24, &[4]).unwrap()).unwrap();
        for cut in cuts {
            let mut first = trainer(&plan, config.clone());
            first.run(Until::Steps(cut as u64), &never).unwrap();
            let saved = through_disk(&first.save().unwrap());
            // What the first does after saving must not reach the saved state.
            first.run(Until::Steps(2), &never).unwrap();
            let mut second = trainer(&plan, config.clone());
            second.load(&saved).unwrap();
            assert_eq!(second.steps(), cut as u64);
            second.run(Until::Steps(u64::MAX), &never).unwrap();
            same_end(&whole, &second);
        }
    }
}

#[test]
fn stopping_often_changes_nothing() {
    let mut whole = trainer(&cnn(), config(sgd(), 1, EPOCHS));
    whole.run(Until::Steps(u64::MAX), &never).unwrap();
    let mut pieces = trainer(&cnn(), config(sgd(), 1, EPOCHS));
    // Every third question is answered with stop, in training and in evaluation alike.
    let asked = Cell::new(0);
    let tick = || {
        asked.set(asked.get() + 1);
        asked.get() % 3 == 0
    };
    while pieces.run(Until::Steps(u64::MAX), &tick).unwrap().end != End::Finished {}
    same_end(&whole, &pieces);
}

#[test]
fn tick_and_deadline_stop_between_steps() {
    let mut trainer = trainer(&cnn(), config(sgd(), 1, 1000));
    assert_eq!(trainer.run(Until::Steps(u64::MAX), &|| true).unwrap(), Ran { steps: 0, end: End::Stopped });
    let asked = Cell::new(0);
    let tick = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    assert_eq!(trainer.run(Until::Steps(u64::MAX), &tick).unwrap(), Ran { steps: 3, end: End::Stopped });
    assert_eq!(trainer.run(Until::Steps(2), &never).unwrap(), Ran { steps: 2, end: End::Reached });
    assert_eq!(trainer.run(Until::Deadline(Instant::now()), &never).unwrap(), Ran { steps: 0, end: End::Reached });
    assert_eq!(trainer.run(Until::Epochs(2), &never).unwrap(), Ran { steps: 7, end: End::Reached });
    assert_eq!(trainer.history().len(), 2);
    let began = Instant::now();
    let ran = trainer.run(Until::Deadline(began + Duration::from_millis(50)), &never).unwrap();
    assert!(ran.end == End::Reached && ran.steps > 0 && began.elapsed() < Duration::from_secs(5));
}

#[test]
fn divergence_is_an_error_and_rolls_back() {
    let mut config = config(OptimSettings { lr: 1e6, ..OptimSettings::default() }, 1, 50);
    config.validate = Validate::Never;
    let mut trainer = trainer(&mlp(), config.clone());
    // Two good epochs before the rate is let loose.
    trainer.set_lr(0.01);
    trainer.run(Until::Epochs(2), &never).unwrap();
    let good: Vec<Tensor> = trainer.living().iter().map(Tensor::copy).collect();
    trainer.set_lr(1e38);
    let error = trainer.run(Until::Steps(u64::MAX), &never).unwrap_err();
    let TrainError::Diverged(divergence) = &error else { panic!("{error}") };
    assert_eq!((divergence.epoch, divergence.good), (3, 12));
    assert_eq!(trainer.diverged(), Some(divergence));
    assert_eq!((trainer.steps(), trainer.history().len()), (12, 2));
    assert!(trainer.living().iter().zip(&good).all(|(a, b)| same_bits(a, b)));
    assert!(error.to_string().contains("epoch 3"), "{error}");
    assert!(matches!(trainer.run(Until::Steps(1), &never), Err(TrainError::Diverged(_))));
    // A saved and loaded one still knows.
    let mut again = self::trainer(&mlp(), config);
    again.load(&through_disk(&trainer.save().unwrap())).unwrap();
    assert!(matches!(again.run(Until::Steps(1), &never), Err(TrainError::Diverged(_))));
}

#[test]
fn a_rate_of_a_million_diverges_from_the_start() {
    let mut config = config(OptimSettings { lr: 1e6, ..OptimSettings::default() }, 1, 50);
    config.validate = Validate::Never;
    // Without normalisation nothing holds the weights back.
    let plan = crate::testing::plan(
        Shape::Flat(64),
        4,
        vec![
            ("in", None, vec![crate::testing::linear(64, 16), kiln_arch::Layer::Act(kiln_arch::Act::Relu)], false),
            ("out", None, vec![crate::testing::linear(16, 4)], false),
        ],
    );
    let mut trainer = trainer(&plan, config.clone());
    let start: Vec<Tensor> = trainer.living().iter().map(Tensor::copy).collect();
    let error = trainer.run(Until::Steps(u64::MAX), &never).unwrap_err();
    assert!(matches!(error, TrainError::Diverged(_)), "{error}");
    assert_eq!(trainer.steps() % trainer.steps_per_epoch(), 0);
    if trainer.steps() == 0 {
        assert!(trainer.living().iter().zip(&start).all(|(a, b)| same_bits(a, b)));
    }
    assert!(trainer.living().iter().all(|t| t.isfinite().all().int64_value(&[]) == 1));
}

#[test]
fn a_divergence_after_resuming_goes_back_to_the_same_place() {
    let config = config(OptimSettings { lr: 0.01, ..OptimSettings::default() }, 1, 50);
    let mut whole = trainer(&mlp(), config.clone());
    whole.run(Until::Steps(9), &never).unwrap();
    let mut resumed = trainer(&mlp(), config);
    resumed.load(&through_disk(&whole.save().unwrap())).unwrap();
    for trainer in [&mut whole, &mut resumed] {
        trainer.set_lr(1e38);
        assert!(matches!(trainer.run(Until::Steps(u64::MAX), &never), Err(TrainError::Diverged(_))));
    }
    assert_eq!(whole.steps(), 6);
    same_end(&whole, &resumed);
}

#[test]
fn the_order_is_a_new_permutation_each_epoch_and_shared_by_candidates() {
    let mut trainer = trainer(&mlp(), config(sgd(), 1, 2));
    let mut orders = Vec::new();
    for epoch in 0..2 {
        let order: Vec<i64> = Vec::try_from(trainer.order(epoch).unwrap()).unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<i64>>());
        orders.push(order);
    }
    assert_ne!(orders[0], orders[1]);
    let mut other = self::trainer(&mlp(), config(sgd(), 2, 2));
    let shared: Vec<i64> = Vec::try_from(other.order(0).unwrap()).unwrap();
    assert_eq!(shared, orders[0]);
    let mut own = self::trainer(&mlp(), TrainerConfig { order: 2, ..config(sgd(), 2, 2) });
    let own: Vec<i64> = Vec::try_from(own.order(0).unwrap()).unwrap();
    assert_ne!(own, orders[0]);
}

#[test]
fn a_subset_is_all_that_is_seen() {
    let subset = Tensor::from_slice(&[5_i64, 9, 44, 70]);
    let mut trainer = Trainer::new(&mlp(), config(sgd(), 1, 2), stripes(100), Some(subset)).unwrap();
    // Four images are fewer than a batch of 16: one step of four.
    assert_eq!((trainer.batch(), trainer.steps_per_epoch()), (4, 1));
    let mut order: Vec<i64> = Vec::try_from(trainer.order(0).unwrap()).unwrap();
    order.sort_unstable();
    assert_eq!(order, [5, 9, 44, 70]);
    assert_eq!(trainer.run(Until::Epochs(2), &never).unwrap().end, End::Finished);
}

#[test]
fn a_restart_begins_anew_with_smaller_batches() {
    let mut trainer = trainer(&cnn(), config(sgd(), 1, 2));
    let start: Vec<Tensor> = trainer.living().iter().map(Tensor::copy).collect();
    trainer.run(Until::Steps(7), &never).unwrap();
    trainer.restart_with_batch(8).unwrap();
    assert_eq!((trainer.batch(), trainer.steps(), trainer.steps_per_epoch(), trainer.history().len()), (8, 0, 12, 0));
    assert!(trainer.living().iter().zip(&start).all(|(a, b)| same_bits(a, b)));
    // The smaller batch survives a checkpoint.
    trainer.run(Until::Steps(5), &never).unwrap();
    let saved = trainer.save().unwrap();
    let mut again = self::trainer(&cnn(), config(sgd(), 1, 2));
    again.load(&saved).unwrap();
    trainer.run(Until::Steps(u64::MAX), &never).unwrap();
    again.run(Until::Steps(u64::MAX), &never).unwrap();
    same_end(&trainer, &again);
}

#[test]
fn knobs_turn_and_are_kept() {
    let mut a = trainer(&mlp(), config(sgd(), 1, EPOCHS));
    a.run(Until::Steps(3), &never).unwrap();
    a.set_lr(0.013);
    a.set_weight_decay(0.1 + 0.2);
    a.set_grad_clip(0.7);
    a.set_epochs(3);
    let mut b = trainer(&mlp(), config(sgd(), 1, EPOCHS));
    b.load(&through_disk(&a.save().unwrap())).unwrap();
    for t in [&mut a, &mut b] {
        t.run(Until::Steps(u64::MAX), &never).unwrap();
        assert_eq!(t.history().len(), 3);
    }
    same_end(&a, &b);
    let mut plain = trainer(&mlp(), config(sgd(), 1, 3));
    plain.run(Until::Steps(u64::MAX), &never).unwrap();
    assert_ne!(a.history(), plain.history());
}

#[test]
fn cut_gradients_are_counted() {
    for (grad_clip, share) in [(0.0, None), (1e-6, Some(1.0)), (1e6, Some(0.0))] {
        let mut trainer = trainer(&mlp(), config(OptimSettings { grad_clip, ..sgd() }, 1, 2));
        trainer.run(Until::Steps(u64::MAX), &never).unwrap();
        let shares: Vec<_> = trainer.history().iter().map(|epoch| epoch.clipped).collect();
        assert_eq!(shares, [share, share], "{grad_clip}");
    }
}

#[test]
fn the_strength_of_a_regulariser_turns_too() {
    let distorted = || TrainerConfig { regulariser: disout(), ..config(sgd(), 3, EPOCHS) };
    let end = |p: Option<f64>| {
        let mut trainer = trainer(&cnn(), distorted());
        trainer.run(Until::Steps(9), &never).unwrap();
        p.into_iter().for_each(|p| trainer.set_distortion(p));
        trainer.run(Until::Steps(u64::MAX), &never).unwrap();
        (trainer.distortion(), trainer.history().to_vec())
    };
    let (as_built, same, weaker) = (end(None), end(Some(disout().p)), end(Some(0.01)));
    assert_eq!(as_built, same);
    assert_ne!(as_built.1, weaker.1);
    assert_eq!(weaker.0, 0.01);
}

#[test]
fn readings_cover_the_training() {
    let mut config = config(OptimSettings::default(), 1, EPOCHS);
    config.validate = Validate::AtEnd;
    let mut trainer = trainer(&mlp(), config);
    trainer.run(Until::Steps(u64::MAX), &never).unwrap();
    let readings = trainer.take_readings();
    assert!(readings.len() >= EPOCHS as usize);
    assert!(readings.windows(2).all(|w| w[0].epochs < w[1].epochs));
    assert_eq!(readings.last().unwrap().epochs, f64::from(EPOCHS));
    assert!(readings.iter().all(|r| r.lr == 0.05 && r.loss.is_finite()));
    assert!(trainer.take_readings().is_empty());
    let evaluated: Vec<bool> = trainer.history().iter().map(|e| e.valid.is_some()).collect();
    assert_eq!(evaluated, [false, false, false, true]);
}

#[test]
fn states_of_others_are_refused() {
    let mine = || trainer(&mlp(), config(sgd(), 1, EPOCHS));
    let refuse = |saved: &Saved| mine().load(saved).unwrap_err().to_string();
    let mut saved = mine().save().unwrap();
    saved.state.version = 9;
    assert!(refuse(&saved).contains("version 9"));
    let other = trainer(&mlp(), config(sgd(), 2, EPOCHS)).save().unwrap();
    assert!(refuse(&other).contains("is not this one"));
    let other = trainer(&cnn(), config(sgd(), 1, EPOCHS)).save().unwrap();
    assert!(refuse(&other).contains("no tensor `network.in.0.weight`"));
    let other = trainer(&mlp(), config(adamw(), 1, EPOCHS)).save().unwrap();
    assert!(refuse(&other).contains("momentum"));
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let refuse = |change: &dyn Fn(&mut Plan)| {
        let mut plan = mlp();
        change(&mut plan);
        Trainer::new(&plan, config(sgd(), 1, 1), stripes(20), None).err().unwrap().to_string()
    };
    assert!(refuse(&|p| p.input = Shape::Flat(65)).contains("the images have 1 channels of 8x8"));
    assert!(refuse(&|p| p.classes = 7).contains("7 classes"));
    let none = Tensor::zeros([0], (Kind::Int64, Device::Cpu));
    assert!(Trainer::new(&mlp(), config(sgd(), 1, 1), stripes(20), Some(none)).is_err());
}

#[test]
fn recalibration_changes_running_statistics_only() {
    let mut trainer = trainer(&cnn(), config(sgd(), 1, EPOCHS));
    trainer.run(Until::Epochs(1), &never).unwrap();
    let before: Vec<_> = trainer.network().named_tensors().into_iter().map(|(n, t)| (n, t.copy())).collect();
    trainer.recalibrate(4).unwrap();
    for ((name, now), (_, old)) in trainer.network().named_tensors().iter().zip(&before) {
        assert_eq!(same_bits(now, old), !name.contains("running"), "{name}");
    }
}
