//! Estimators and losses by hand, passes against packed bits, trainings that go on with the same bits.

use std::time::{Duration, Instant};

use kiln_arch::quantised::{Bits, Blueprint, PackedAbout, PackedNet};
use kiln_arch::spec::{
    OptimKind, OptimSettings, Projection, QuantFamily, QuantStem, Schedule, SignGradient, WidenSqueezeSettings,
};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use super::trainer::adam;
use super::*;
use crate::testing::{never, stripes};

const BINARY: Bits = Bits { weights: 1, activations: 1, pad_plus: false };
const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn numbers(t: &Tensor) -> Vec<f64> {
    measure::numbers(t).unwrap()
}

fn close(got: &[f64], want: &[f64], by: f64) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= by), "{got:?} is not {want:?}");
}

/// What a function of `x` gives, and its gradient when its results are weighted by 1, 2, 3, ...
fn both(x: &[f32], f: impl Fn(&Tensor) -> Tensor) -> (Vec<f64>, Vec<f64>) {
    let x = Tensor::from_slice(x).set_requires_grad(true);
    let y = f(&x);
    (&y * (Tensor::arange(y.numel() as i64, CPU) + 1.0).view_as(&y)).sum(Kind::Float).backward();
    (numbers(&y), numbers(&x.grad()))
}

#[test]
fn a_sign_is_never_zero_and_its_gradient_is_the_surrogates() {
    let x = [-1.5_f32, -1.0, -0.25, -0.0, 0.0, 0.5, 1.0, 2.0];
    let signs = [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let (y, g) = both(&x, |x| quant::features(x, BINARY, SignGradient::Clipped).unwrap());
    assert_eq!(y, signs, "exactly, not nearly");
    // Times 1 to 8: 1 from -1 to 1, else 0.
    assert_eq!(g, [0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0]);
    let (y, g) = both(&x, |x| quant::features(x, BINARY, SignGradient::Quadratic).unwrap());
    assert_eq!(y, signs);
    // 2 - 2|x| inside; at the edges and outside 0.
    close(&g, &[0.0, 0.0, 3.0 * 1.5, 4.0 * 2.0, 5.0 * 2.0, 6.0, 0.0, 0.0], 1e-6);
    let (y, _) = both(&[-0.5, 0.25, 3.0], |x| quant::surrogate(x, SignGradient::Quadratic).unwrap());
    close(&y, &[-0.75, 0.4375, 1.0], 1e-7);
}

#[test]
fn features_of_more_bits_are_levels_from_0_to_1() {
    let two = Bits { weights: 1, activations: 2, pad_plus: false };
    let (y, g) = both(&[-0.5, 0.1, 0.2, 0.7, 1.5], |x| quant::features(x, two, SignGradient::Clipped).unwrap());
    close(&y, &[0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0], 1e-7);
    assert_eq!(g, [0.0, 2.0, 3.0, 4.0, 0.0]);
    let levels = quant::feature_levels(&Tensor::from_slice(&[0.2_f32, 0.7, 1.5]), two).unwrap();
    assert_eq!(numbers(&levels), [1.0, 2.0, 3.0]);
}

#[test]
fn binary_weights_are_signs_times_the_mean_of_the_channel() {
    let (y, g) = both(&[0.5, -0.25, 0.0, 1.25, -2.0, -0.5], |x| quant::weights(&x.view([2, 3]), BINARY).unwrap());
    let means = [0.25, 3.75 / 3.0];
    close(&y, &[means[0], -means[0], means[0], means[1], -means[1], -means[1]], 1e-7);
    // The scale has no gradient, and beyond 1 there is none.
    assert_eq!(g, [1.0, 2.0, 3.0, 0.0, 0.0, 6.0]);
    let latent = Tensor::from_slice(&[0.5_f32, -0.25, 0.0]).view([1, 3]);
    assert_eq!(numbers(&quant::weight_levels(&latent, BINARY).unwrap()), [1.0, -1.0, 1.0]);
    close(&numbers(&quant::alpha(&latent, BINARY).unwrap()), &[0.25], 1e-8);
}

#[test]
fn weights_of_two_bits_have_four_levels_within_the_channels_reach() {
    let two = Bits { weights: 2, activations: 2, pad_plus: false };
    // Mean 0.5, reach 0.936: levels at -0.936, -0.312, 0.312, 0.936.
    let latent = Tensor::from_slice(&[0.1_f32, -0.2, 0.9, -0.8]).view([1, 4]);
    assert_eq!(numbers(&quant::weight_levels(&latent, two).unwrap()), [1.0, -1.0, 3.0, -3.0]);
    close(&numbers(&quant::weights(&latent, two).unwrap()), &[0.312, -0.312, 0.936, -0.936], 1e-6);
    // 1 among the sums is a third of the weights' reach times a third of the features'.
    close(&numbers(&quant::alpha(&latent, two).unwrap()), &[0.936 / 9.0], 1e-7);
    let none = Tensor::zeros([1, 4], CPU);
    assert!(numbers(&quant::weights(&none, two).unwrap()).iter().all(|v| *v == 0.0), "no division by zero");
}

#[test]
fn relations_compare_geometry_whatever_the_width() {
    let rows = |values: &[f32], width: i64| Tensor::from_slice(values).view([-1, width]);
    // Centred: (1, 0), (-1, 0) and (0, 1), (0, -1), ... by hand: rows of F are a, -a; cosines 1 and -1.
    let f = rows(&[3.0, 1.0, 1.0, 1.0], 2);
    let s = guide::relations(&f).unwrap();
    close(&numbers(&s), &[1.0, -1.0, -1.0, 1.0], 1e-6);
    // The same geometry in four dimensions.
    let same = rows(&[1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0], 4);
    assert!(guide::relational(&f, &same).unwrap().double_value(&[]).abs() < 1e-10);
    // Features that tell nothing apart have no direction, and a gradient that is a number.
    let still = rows(&[1.0, 1.0], 1).set_requires_grad(true);
    guide::relational(&rows(&[1.0, 2.0], 1), &still).unwrap().backward();
    assert!(numbers(&still.grad()).iter().all(|g| g.is_finite()));
    // Three points: F on a line (cosines of ends -1, of the middle 0), B a triangle (all -1/2).
    let f = rows(&[1.0, 0.0, -1.0], 1);
    let h = 3.0_f32.sqrt() / 2.0;
    let b = rows(&[1.0, 0.0, -0.5, h, -0.5, -h], 2);
    // Differences: diagonal 0, 1, 0; ends -1 + 1/2; with the middle 0 + 1/2.
    let want = (1.0 + 2.0 * 0.25 + 4.0 * 0.25) / 9.0;
    assert!((guide::relational(&f, &b).unwrap().double_value(&[]) - want).abs() < 1e-6);
}

#[test]
fn explicit_projections_start_and_stay_orthonormal() {
    let p = guide::projection(3, 5, 1).unwrap();
    let product = p.matmul(&p.tr());
    assert!((product - Tensor::eye(3, CPU)).abs().max().double_value(&[]) < 1e-5);
    let mut moved = &p + Tensor::ones([3, 5], CPU) * 0.01;
    guide::orthonormalise(&mut moved).unwrap();
    assert!((moved.matmul(&moved.tr()) - Tensor::eye(3, CPU)).abs().max().double_value(&[]) < 1e-6);
    let narrow = guide::projection(5, 2, 1).unwrap();
    assert!((narrow.tr().matmul(&narrow) - Tensor::eye(2, CPU)).abs().max().double_value(&[]) < 1e-5);
    // One image of 1x2 places, two channels to one: P = (0.6, 0.8).
    let p = Tensor::from_slice(&[0.6_f32, 0.8]).view([2, 1]);
    let f = Tensor::from_slice(&[1.0_f32, 0.0, 1.0, 2.0]).view([1, 2, 1, 2]);
    let b = Tensor::from_slice(&[1.0_f32, -1.0]).view([1, 1, 1, 2]);
    // Projected: 0.6 + 0.8 and 0 + 1.6; apart by 0.4 and 2.6.
    let loss = guide::explicit(&p, &f, &b).unwrap().double_value(&[]);
    assert!((loss - (0.16 + 6.76) / 2.0).abs() < 1e-6, "{loss}");
}

#[test]
fn divergence_by_hand() {
    let teacher = Tensor::from_slice(&[2.0_f32, 0.0]).view([1, 2]);
    let student = Tensor::from_slice(&[0.0_f32, 0.0]).view([1, 2]);
    // At temperature 2: probabilities of (1, 0) against halves.
    let p = 1.0_f64.exp() / (1.0_f64.exp() + 1.0);
    let want = 4.0 * (p * (p / 0.5).ln() + (1.0 - p) * ((1.0 - p) / 0.5).ln());
    let got = guide::divergence(&teacher, &student, 2.0).unwrap().double_value(&[]);
    assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    assert!(guide::divergence(&teacher, &teacher, 2.0).unwrap().double_value(&[]).abs() < 1e-7);
}

#[test]
fn the_proximal_step_stops_at_zero() {
    let mut s = Tensor::from_slice(&[1.0_f32, 0.05, 0.0]);
    guide::shrink(&mut s, 0.1).unwrap();
    close(&numbers(&s), &[0.9, 0.0, 0.0], 1e-7);
    let mut s = Tensor::from_slice(&[3.0_f32, 4.0, 0.0, 0.0]);
    guide::rescale(&mut s).unwrap();
    close(&numbers(&s), &[1.2, 1.6, 0.0, 0.0], 1e-6);
    let mut none = Tensor::zeros([2], CPU);
    guide::rescale(&mut none).unwrap();
    close(&numbers(&none), &[1.0, 1.0], 1e-7);
}

fn settings(network: QuantFamily) -> WidenSqueezeSettings {
    let widths = match network {
        QuantFamily::Mlp => vec![12, 70, 9],
        QuantFamily::Conv => vec![5, 7, 10, 10],
        QuantFamily::Resnet => vec![6, 9],
    };
    WidenSqueezeSettings { network, widths, ..WidenSqueezeSettings::default() }
}

/// A network with running statistics and gains that are not the initial ones.
fn used(own: &WidenSqueezeSettings, bits: Option<Bits>, input: [u32; 3]) -> (QuantNetwork, Tensor) {
    let blueprint = Blueprint::new(own, input, 4, 1.0, bits).unwrap();
    let network = QuantNetwork::new(&blueprint, own.gradient, 5, Device::Cpu).unwrap();
    let mut generator = Generator::new(9, Device::Cpu).unwrap();
    let [c, h, w] = input.map(i64::from);
    let mut images = Tensor::zeros([13, c, h, w], CPU);
    generator.normal_(&mut images, 0.2, 1.0).unwrap();
    let _frozen = NoGrad::new();
    for (name, mut tensor) in network.named_tensors() {
        if name.ends_with("norm.weight") || name.ends_with("norm.bias") {
            let mut noise = tensor.zeros_like();
            generator.normal_(&mut noise, 0.0, 0.5).unwrap();
            let _ = tensor.g_add_(&noise);
        }
    }
    for _ in 0..3 {
        network.forward(&images, Pass::Train, None).unwrap();
    }
    (network, images)
}

#[test]
fn packed_bits_compute_the_very_logits_of_the_emulation() {
    let imagenet = WidenSqueezeSettings { stem: QuantStem::Imagenet, ..settings(QuantFamily::Resnet) };
    let of = |weights, activations, pad_plus| Bits { weights, activations, pad_plus };
    let mut differ = 0;
    for (own, input) in [
        (settings(QuantFamily::Mlp), [1, 8, 8]),
        (settings(QuantFamily::Conv), [2, 7, 9]),
        (settings(QuantFamily::Resnet), [3, 9, 9]),
        (imagenet, [3, 24, 24]),
    ] {
        for bits in [BINARY, of(1, 1, true), of(2, 2, false), of(4, 4, false), of(1, 4, false), of(4, 1, true)] {
            let (network, images) = used(&own, Some(bits), input);
            let about = PackedAbout {
                form: "packed".into(),
                network: network.blueprint().clone(),
                classes: vec!["x".into(); 4],
                mean: vec![],
                std: vec![],
                data: String::new(),
                kiln: String::new(),
            };
            let packed = PackedNet::of(about, &pack::numbers(&network).unwrap()).unwrap();
            let exact = network.forward(&images, Pass::Exact, None).unwrap().logits;
            let usual = network.forward(&images, Pass::Eval, None).unwrap().logits;
            let spread = exact.std(true).double_value(&[]);
            assert!(spread > 1e-3, "{own:?}: all the same");
            for i in 0..images.size()[0] {
                let image: Vec<f32> = numbers(&images.get(i)).into_iter().map(|v| v as f32).collect();
                let wanted: Vec<f32> = numbers(&exact.get(i)).into_iter().map(|v| v as f32).collect();
                assert_eq!(packed.logits(&image).unwrap(), wanted, "{bits:?} {own:?} image {i}");
                // 32-bit sums differ in the last bits, and a value next to a threshold may then fall to its other side.
                let apart = (exact.get(i) - usual.get(i)).abs().max().double_value(&[]);
                differ += usize::from(apart > 1e-3 * spread);
            }
        }
    }
    assert!(differ <= 6, "{differ} of {} images differ from the usual pass", 4 * 6 * 13);
}

#[test]
fn channels_without_importance_may_be_taken_out() {
    for own in [settings(QuantFamily::Mlp), settings(QuantFamily::Conv), settings(QuantFamily::Resnet)] {
        let (network, images) = used(&own, Some(BINARY), [1, 8, 8]);
        let widths = network.blueprint().widths.clone();
        // Every third channel goes.
        let keep: Vec<Vec<i64>> = widths.iter().map(|&w| (0..i64::from(w)).filter(|c| c % 3 != 1).collect()).collect();
        let masks: Vec<Tensor> = (widths.iter().zip(&keep))
            .map(|(&w, keep)| {
                let ones: Vec<f32> = (0..i64::from(w)).map(|c| f32::from(u8::from(keep.contains(&c)))).collect();
                Tensor::from_slice(&ones)
            })
            .collect();
        let masked = network.forward(&images, Pass::Eval, Some(&masks)).unwrap().logits;
        let guide =
            ("guide.1".to_owned(), Tensor::ones([2, i64::from(widths[network.blueprint().feature_groups()[1]])], CPU));
        let (smaller, tensors) = network.slice(&keep, &[guide]).unwrap();
        let mut left = QuantNetwork::new(&smaller, own.gradient, 0, Device::Cpu).unwrap();
        left.load(&tensors).unwrap();
        // The scale of a channel is the mean over its weights, of which some are gone: bring the old one back.
        for unit in &smaller.units {
            let latent = left.tensor(&format!("{}.weight", unit.name)).unwrap();
            let before = network.tensor(&format!("{}.weight", unit.name)).unwrap();
            let index = Tensor::from_slice(&keep[unit.to]);
            let wanted = quant::alpha(before, BINARY).unwrap().index_select(0, &index);
            let factor = wanted / quant::alpha(latent, BINARY).unwrap();
            let mut shape = vec![1; latent.dim()];
            shape[0] = -1;
            let _frozen = NoGrad::new();
            let scaled = latent * factor.view(shape.as_slice());
            latent.shallow_clone().copy_(&scaled);
        }
        let cut = left.forward(&images, Pass::Eval, None).unwrap().logits;
        let apart = (masked - cut).abs().max().double_value(&[]);
        assert!(apart < 1e-4, "{own:?}: {apart}");
        assert!(
            left.named_tensors().iter().map(|t| t.1.numel()).sum::<usize>()
                < 3 * network.named_tensors().iter().map(|t| t.1.numel()).sum::<usize>() / 4
        );
        let guide = &tensors.iter().find(|(name, _)| name == "guide.1").unwrap().1;
        assert_eq!(guide.size(), [2, keep[network.blueprint().feature_groups()[1]].len() as i64]);
    }
}

fn config(epochs: u32) -> QuantConfig {
    let optim = adam(&OptimSettings { batch: 16, ..OptimSettings::default() }, 5e-3, Schedule::Cosine);
    QuantConfig {
        optim,
        gradient: SignGradient::Quadratic,
        threads: 1,
        seed: 3,
        part: 1,
        epochs,
        augment: None,
        guide: None,
        squeeze: None,
    }
}

fn small(factor: f64, bits: Option<Bits>) -> Blueprint {
    let own = WidenSqueezeSettings { widths: vec![8, 12], ..WidenSqueezeSettings::default() };
    Blueprint::new(&own, [1, 8, 8], 4, factor, bits).unwrap()
}

const SQUEEZE: Guide = Guide { projection: Projection::Relational, beta: 1.0, mu: 0.5, temperature: 2.0 };

fn trainer(squeeze: bool, projection: Projection) -> QuantTrainer {
    trainer_for(squeeze, projection, 6)
}

fn trainer_for(squeeze: bool, projection: Projection, epochs: u32) -> QuantTrainer {
    let teacher = QuantNetwork::new(&small(1.0, None), SignGradient::Clipped, 8, Device::Cpu).unwrap();
    let wide = small(2.0, Some(BINARY));
    let kappa = vec![1.0 / 40.0; wide.widths.len()];
    let config = QuantConfig {
        guide: Some(Guide { projection, ..SQUEEZE }),
        squeeze: squeeze.then_some(Squeeze { lr: 0.02, lambda: 0.0, kappa }),
        augment: Some(kiln_data::Augment { crop_pad: 1, ..kiln_data::Augment::default() }),
        ..config(epochs)
    };
    QuantTrainer::new(&wide, config, stripes(64), None, Some(Teacher(teacher))).unwrap()
}

fn finish(trainer: &mut QuantTrainer) {
    while !trainer.finished() {
        trainer.run(Instant::now() + Duration::from_secs(60), &never).unwrap();
    }
}

#[test]
fn a_binary_network_learns_with_latents_in_range() {
    let mut trainer = QuantTrainer::new(&small(1.0, Some(BINARY)), config(25), stripes(128), None, None).unwrap();
    finish(&mut trainer);
    let last = trainer.history().last().unwrap();
    assert!(last.valid.accuracy > 0.8, "{last:?}");
    assert_eq!((trainer.history().len(), last.flips.len()), (25, 4));
    for (name, latent) in trainer.network().trainable(true) {
        assert!(latent.abs().max().double_value(&[]) <= 1.0, "{name}");
    }
    let figures = trainer.figures().unwrap();
    assert_eq!(figures.len(), 5);
    assert!(figures.iter().all(|f| (0.0..=1.0).contains(&f.dead) && (0.0..=1.0).contains(&f.constant)));
}

#[test]
fn weight_decay_leaves_latents_alone() {
    let run = |weight_decay: f64| {
        // A learning rate that moves nothing but by decay.
        let optim =
            OptimSettings { kind: OptimKind::Adamw, lr: 1e-7, weight_decay, batch: 16, ..OptimSettings::default() };
        let config = QuantConfig { optim, ..config(1) };
        let mut trainer = QuantTrainer::new(&small(1.0, Some(BINARY)), config, stripes(64), None, None).unwrap();
        finish(&mut trainer);
        let network = trainer.network();
        let size = |name: &str| network.tensor(name).unwrap().abs().sum(Kind::Double).double_value(&[]);
        (size("stage1.1.weight"), size("first.weight"))
    };
    let ((latent, first), (decayed, shrunk)) = (run(0.0), run(1e5));
    assert!((latent - decayed).abs() < 1e-4 * latent, "{latent} {decayed}");
    assert!(shrunk < 0.99 * first, "{first} {shrunk}");
}

#[test]
fn a_squeeze_makes_importances_faint_along_the_line() {
    let mut trainer = trainer_for(true, Projection::Relational, 30);
    finish(&mut trainer);
    let last = trainer.history().last().unwrap();
    let all: Vec<[f64; 2]> = trainer.importances().unwrap().into_iter().flatten().collect();
    assert_eq!(all.len(), 16 + 24);
    assert!(all.iter().all(|[s, area]| *s >= 0.0 && *area > 0.0));
    let faint = all.iter().filter(|i| i[0] < trainer::FAINT).count();
    assert!((5..=35).contains(&faint), "{faint} of 40");
    let squares: Vec<f64> =
        trainer.importances().unwrap().iter().map(|g| g.iter().map(|i| i[0] * i[0]).sum()).collect();
    close(&squares, &[16.0, 24.0], 1e-3);
    assert_eq!((last.importances.len(), last.projection.len()), (2, 5));
    assert!(last.lambda > 0.0 && last.projection.iter().all(|v| *v > 0.0));
}

#[test]
fn saved_anywhere_it_goes_on_with_the_same_bits() {
    for (squeeze, projection) in [(true, Projection::Relational), (false, Projection::Explicit)] {
        let mut whole = trainer(squeeze, projection);
        finish(&mut whole);
        let (expected, wanted) = whole.save().unwrap();
        // Stops after every step, at places in the middle of epochs and at their ends.
        let mut parts = trainer(squeeze, projection);
        while !parts.finished() {
            let asked = std::cell::Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() > 2
            };
            parts.run(Instant::now() + Duration::from_secs(60), &stop).unwrap();
            let (state, tensors) = parts.save().unwrap();
            let text = serde_json::to_string(&state).unwrap();
            parts = trainer(squeeze, projection);
            parts.load(serde_json::from_str(&text).unwrap(), &tensors).unwrap();
        }
        let (state, tensors) = parts.save().unwrap();
        assert_eq!(state, expected);
        for ((name, a), (_, b)) in tensors.iter().zip(&wanted) {
            assert!(crate::testing::same_bits(a, b), "{name}");
        }
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_with_a_sentence() {
    let optim = OptimSettings { kind: OptimKind::Sgd, lr: 1e30, batch: 16, ..OptimSettings::default() };
    let mut trainer =
        QuantTrainer::new(&small(1.0, Some(BINARY)), QuantConfig { optim, ..config(3) }, stripes(64), None, None)
            .unwrap();
    let error = trainer.run(Instant::now() + Duration::from_secs(60), &never).unwrap_err();
    assert!(matches!(error, crate::TrainError::Diverged(_)), "{error}");
    assert!(!trainer.finished());
}

#[test]
fn data_of_another_shape_are_refused() {
    let own = WidenSqueezeSettings::default();
    let other = Blueprint::new(&own, [3, 8, 8], 4, 1.0, None).unwrap();
    let error = QuantTrainer::new(&other, config(1), stripes(16), None, None).err().unwrap().to_string();
    assert!(error.contains("[3, 8, 8]") && error.contains("[1, 8, 8]"), "{error}");
}
