use kiln_arch::gan::Piece;
use kiln_arch::spec::{CriticNorm, GanLoss, GanNet, OptimKind, OptimSettings, PriorSchedule, PuganSettings};
use kiln_arch::{GanPlan, Shape};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::testing::{never, same_bits};

const REAL: [f32; 4] = [0.3, -1.2, 2.0, 0.7];
const FAKE: [f32; 4] = [-0.4, 1.1, -2.5, 0.05];
const PRIOR: f64 = 0.3;

fn settings(loss: GanLoss, pu: bool) -> PuganSettings {
    PuganSettings { loss, pu, ..PuganSettings::default() }
}

fn leaf(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn number(t: &Tensor) -> f64 {
    t.double_value(&[])
}

fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{got} is not {want}");
}

fn mean(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    values.iter().map(|&v| f(f64::from(v))).sum::<f64>() / values.len() as f64
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

/// `f1`, `f2` and the generator's loss as the method card has them; least squares with the labels -1 and 1.
fn by_hand(loss: GanLoss) -> [fn(f64) -> f64; 3] {
    match loss {
        GanLoss::Standard => [|s| softplus(-s), softplus, |s| softplus(-s)],
        GanLoss::LeastSquares => [|s| (s - 1.0).powi(2), |s| (s + 1.0).powi(2), |s| (s - 1.0).powi(2)],
        GanLoss::Hinge => [|s| (1.0 - s).max(0.0), |s| (1.0 + s).max(0.0), |s| -s],
        GanLoss::Wasserstein => [|s| -s, |s| s, |s| -s],
    }
}

const LOSSES: [GanLoss; 4] = [GanLoss::Standard, GanLoss::LeastSquares, GanLoss::Hinge, GanLoss::Wasserstein];

#[test]
fn every_loss_is_that_of_the_formula_with_and_without_the_risk() {
    for loss in LOSSES {
        let [f1, f2, own] = by_hand(loss);
        let (real, fake) = (leaf(&REAL), leaf(&FAKE));
        let (a, b, c) = (mean(&REAL, f1), mean(&REAL, f2), mean(&FAKE, f2));
        let risk = Criterion::of(&settings(loss, true)).critic(&real, &fake, Some(PRIOR)).unwrap();
        close(number(&risk.a), a);
        close(number(&risk.b), b);
        close(number(&risk.c), c);
        close(number(&risk.neg), c - PRIOR * b);
        close(number(&risk.loss), PRIOR * a + (c - PRIOR * b).max(0.0));
        close(number(&Criterion::of(&settings(loss, true)).generator(&fake, None).unwrap()), mean(&FAKE, own));

        let plain = Criterion::of(&PuganSettings { signed_labels: true, ..settings(loss, false) });
        close(number(&plain.critic(&real, &fake, None).unwrap().loss), a + c);
    }
    // The authors' baseline labels generated images 0.
    let plain =
        Criterion::of(&settings(GanLoss::LeastSquares, false)).critic(&leaf(&REAL), &leaf(&FAKE), None).unwrap();
    close(number(&plain.loss), mean(&REAL, |s| (s - 1.0).powi(2)) + mean(&FAKE, |s| s * s));
}

#[test]
fn the_closed_forms_of_the_card_hold() {
    let of = |loss, fake: &[f32]| {
        Criterion::of(&settings(loss, true)).critic(&leaf(&REAL), &leaf(fake), Some(PRIOR)).unwrap()
    };
    // Not clipped: L = -pi E[s_real] + E[softplus(s_fake)], and for least squares -4 pi E[s_real] + E[(s_fake + 1)^2].
    let risk = of(GanLoss::Standard, &FAKE);
    assert!(number(&risk.neg) > 0.0);
    close(number(&risk.loss), -PRIOR * mean(&REAL, |s| s) + mean(&FAKE, softplus));
    close(PRIOR * number(&risk.a) + number(&risk.neg), number(&risk.loss));
    let ahead = [4.0_f32, 3.0, 5.0, 2.5];
    let risk = of(GanLoss::LeastSquares, &ahead);
    assert!(number(&risk.neg) > 0.0);
    close(number(&risk.loss), -4.0 * PRIOR * mean(&REAL, |s| s) + mean(&ahead, |s| (s + 1.0).powi(2)));
    // Clipped: only pi E[softplus(-s_real)] is left.
    let risk = of(GanLoss::Standard, &[-9.0, -8.0, -7.0, -9.0]);
    assert!(number(&risk.neg) < 0.0);
    close(number(&risk.loss), PRIOR * mean(&REAL, |s| softplus(-s)));
}

fn gradients(criterion: &Criterion, fake: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (real, fake) = (leaf(&REAL), leaf(fake));
    criterion.critic(&real, &fake, Some(PRIOR)).unwrap().loss.backward();
    let of = |t: &Tensor| Vec::<f64>::try_from(t.grad().to_kind(Kind::Double)).unwrap();
    (of(&real), of(&fake))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn a_clipped_batch_sends_no_gradient_through_b_and_c() {
    let criterion = Criterion::of(&settings(GanLoss::Standard, true));
    let far = [-9.0_f32, -8.0, -7.0, -9.0];
    let (real, fake) = gradients(&criterion, &far);
    assert_eq!(fake, [0.0; 4]);
    for (got, s) in real.iter().zip(REAL) {
        close(*got, -PRIOR * sigmoid(-f64::from(s)) / 4.0);
    }
    // Not clipped, the pull on real logits is the same for all of them.
    let (real, fake) = gradients(&criterion, &FAKE);
    real.iter().for_each(|got| close(*got, -PRIOR / 4.0));
    for (got, s) in fake.iter().zip(FAKE) {
        close(*got, sigmoid(f64::from(s)) / 4.0);
    }
    // With the correction, a clipped batch undoes its estimate: -neg = pi b - c, and a has no part in it.
    let corrected = Criterion::of(&PuganSettings { nnpu: true, ..settings(GanLoss::Standard, true) });
    let (real, fake) = gradients(&corrected, &far);
    for (got, s) in real.iter().zip(REAL) {
        close(*got, PRIOR * sigmoid(f64::from(s)) / 4.0);
    }
    for (got, s) in fake.iter().zip(far) {
        close(*got, -sigmoid(f64::from(s)) / 4.0);
    }
    assert_eq!(gradients(&corrected, &FAKE), gradients(&criterion, &FAKE));
}

#[test]
fn relativistic_losses_compare_with_the_mean_of_the_other_kind() {
    let (r, f) = (mean(&REAL, |s| s), mean(&FAKE, |s| s));
    for loss in [GanLoss::Standard, GanLoss::LeastSquares, GanLoss::Hinge] {
        let [f1, f2, _] = by_hand(loss);
        let criterion = Criterion::of(&PuganSettings { relativistic: true, ..settings(loss, false) });
        assert!(criterion.is_relativistic());
        let (real, fake) = (leaf(&REAL), leaf(&FAKE));
        let critic = 0.5 * (mean(&REAL, |s| f1(s - f)) + mean(&FAKE, |s| f2(s - r)));
        close(number(&criterion.critic(&real, &fake, None).unwrap().loss), critic);
        let generator = 0.5 * (mean(&FAKE, |s| f1(s - r)) + mean(&REAL, |s| f2(s - f)));
        close(number(&criterion.generator(&fake, Some(&real)).unwrap()), generator);
    }
}

#[test]
fn the_best_discriminator_stands_at_the_prior() {
    // Real and generated images spread alike: the loss in one logit is least where theory says.
    for (loss, pu) in [(GanLoss::Standard, true), (GanLoss::LeastSquares, true), (GanLoss::Standard, false)] {
        let settings = settings(loss, pu);
        let target = settings.target_logit(0.4).unwrap();
        let criterion = Criterion::of(&settings);
        let at = |s: f64| {
            let logit = Tensor::from_slice(&[s as f32]);
            number(&criterion.critic(&logit, &logit, pu.then_some(0.4)).unwrap().loss)
        };
        assert!(at(target) < at(target + 0.05) && at(target) < at(target - 0.05), "{loss} {pu}: {target}");
    }
    assert_eq!(settings(GanLoss::Hinge, true).target_logit(0.3), None);
}

#[test]
fn the_penalty_and_its_gradient_by_hand() {
    // critic(x) = w . x^2 summed, so its gradient is 2 w x.
    let weight = leaf(&[0.5, -1.0]);
    let (real, fake) = (
        Tensor::from_slice(&[1.0_f32, 2.0]).view([1, 2, 1, 1]),
        Tensor::from_slice(&[3.0_f32, 0.0]).view([1, 2, 1, 1]),
    );
    let mix = Tensor::from_slice(&[0.25_f32]).view([1, 1, 1, 1]);
    let critic = |x: &Tensor| Ok(x.f_square()?.f_flatten(1, -1)?.f_mv(&weight)?);
    let penalty = gradient_penalty(critic, &real, &fake, &mix).unwrap();
    // Between them: 0.25 real + 0.75 fake.
    let x = [2.5_f64, 0.5];
    let w = [0.5_f64, -1.0];
    let norm = |w: [f64; 2]| ((2.0 * w[0] * x[0]).powi(2) + (2.0 * w[1] * x[1]).powi(2)).sqrt();
    close(number(&penalty), (norm(w) - 1.0).powi(2));
    penalty.backward();
    for i in 0..2 {
        let want = 2.0 * (norm(w) - 1.0) / norm(w) * 4.0 * w[i] * x[i] * x[i];
        close(weight.grad().double_value(&[i as i64]), want);
    }
}

#[test]
fn the_prior_moves_as_the_schedules_say() {
    let at = |schedule, done| {
        let settings = PuganSettings { prior_schedule: schedule, iterations: 50_000, ..PuganSettings::default() };
        settings.prior_at(done)
    };
    for (done, want) in [(0, 0.3), (9_998, 0.3), (9_999, 0.4), (19_999, 0.5), (29_999, 0.6), (49_999, 0.6)] {
        close(at(PriorSchedule::Step, done), want);
    }
    for (done, want) in [(0, 0.3), (49_999, 0.6), (60_000, 0.6)] {
        close(at(PriorSchedule::Linear, done), want);
    }
    close(at(PriorSchedule::Fixed, 40_000), 0.3);
}

#[test]
fn spectral_normalisation_finds_the_largest_singular_value() {
    // A weight of known singular values 3 and 1 under a rotation on either side.
    let (c, s) = (0.6_f32, 0.8_f32);
    let (u, v) = ([c, -s, s, c], [s, -c, c, s]);
    let matrix =
        Tensor::from_slice(&u).view([2, 2]).matmul(&Tensor::from_slice(&[3.0_f32, 0.0, 0.0, 1.0]).view([2, 2]));
    let matrix = matrix.matmul(&Tensor::from_slice(&v).view([2, 2]));
    let pieces = [Piece::Linear { input: 2, out: 2 }];
    let mut net = Net::build(&pieces, kiln_arch::gan::Init::Dcgan, true, 1, Device::Cpu).unwrap();
    let mut state = net.named_tensors();
    for (name, tensor) in &mut state {
        match name.as_str() {
            "0.weight" => *tensor = matrix.shallow_clone(),
            "0.bias" => *tensor = Tensor::zeros([2], (Kind::Float, Device::Cpu)),
            _ => {}
        }
    }
    net.load(&state).unwrap();
    let eye = Tensor::eye(2, (Kind::Float, Device::Cpu));
    let mut last = Tensor::new();
    for _ in 0..30 {
        last = net.forward(&eye, Pass::Train).unwrap();
    }
    let want = matrix.transpose(0, 1) / 3.0;
    assert!((&last - &want).abs().max().double_value(&[]) < 1e-5);
    // The vectors stay in passes that do not train, and their state goes on where it was saved.
    let before = net.named_tensors().into_iter().map(|(_, t)| t.copy()).collect::<Vec<_>>();
    for pass in [Pass::Through, Pass::Again, Pass::Eval] {
        let _seen = net.forward(&eye, pass).unwrap();
    }
    assert!(net.named_tensors().iter().zip(&before).all(|((_, now), then)| same_bits(now, then)));
    // Constants let no gradient into the weights, but one through to the input.
    let input = Tensor::eye(2, (Kind::Float, Device::Cpu)).set_requires_grad(true);
    net.forward(&input, Pass::Through).unwrap().sum(Kind::Float).backward();
    assert!(input.grad().defined());
    assert!(net.named_parameters().iter().all(|(_, t)| !t.grad().defined()));
}

#[test]
fn every_pair_makes_and_judges_images_of_its_plan() {
    for (net, image) in [
        (GanNet::Mlp, Shape::Image(1, 8, 8)),
        (GanNet::Dcgan, Shape::Image(1, 28, 28)),
        (GanNet::Conv, Shape::Image(3, 32, 32)),
        (GanNet::Resnet, Shape::Image(1, 28, 28)),
    ] {
        for critic_norm in [CriticNorm::Batch, CriticNorm::Spectral, CriticNorm::None] {
            let settings = PuganSettings { net, critic_norm, width: 4, latent: 6, ..PuganSettings::default() };
            let plan = GanPlan::of(&settings, image).unwrap();
            let generator = Net::build(&plan.generator, plan.init, false, 1, Device::Cpu).unwrap();
            let critic = Net::build(&plan.discriminator, plan.init, plan.spectral, 2, Device::Cpu).unwrap();
            let params: usize = generator.named_parameters().iter().map(|(_, t)| t.numel()).sum();
            assert_eq!(params as u64, plan.generator_cost().params, "{net}");
            let params: usize = critic.named_parameters().iter().map(|(_, t)| t.numel()).sum();
            assert_eq!(params as u64, plan.discriminator_cost().params, "{net}");
            let mut noise = Tensor::zeros([3, 6], (Kind::Float, Device::Cpu));
            Generator::new(1, Device::Cpu).unwrap().normal_(&mut noise, 0.0, 1.0).unwrap();
            let images = generator.forward(&noise, Pass::Train).unwrap();
            let Shape::Image(c, h, w) = image else { panic!("{image}") };
            assert_eq!(images.size(), [3, i64::from(c), i64::from(h), i64::from(w)]);
            assert!(images.abs().max().double_value(&[]) <= 1.0);
            let logits = critic.forward(&images, Pass::Train).unwrap();
            assert_eq!(logits.size(), [3, 1]);
            logits.sum(Kind::Float).backward();
            assert!(generator.named_parameters().iter().all(|(_, t)| t.grad().defined()), "{net}");
        }
    }
}

/// Blobs of one of two kinds, u8 `[n, 1, 8, 8]`.
fn images(n: i64) -> Tensor {
    let mut generator = Generator::new(3, Device::Cpu).unwrap();
    let kind = generator.randint(2, &[n, 1, 1, 1]).unwrap();
    let noise = generator.randint(60, &[n, 1, 8, 8]).unwrap();
    let column = Tensor::arange(8, (Kind::Int64, Device::Cpu)).view([1, 1, 1, 8]).ge(4).to_kind(Kind::Int64);
    (noise + column.eq_tensor(&kind).to_kind(Kind::Int64) * 150).to_kind(Kind::Uint8)
}

fn config(settings: PuganSettings) -> GanConfig {
    let optim =
        OptimSettings { kind: OptimKind::Adamw, lr: 1e-3, momentum: 0.5, batch: 16, ..OptimSettings::default() };
    GanConfig { settings, optim, seed: 5 }
}

fn trainer(settings: &PuganSettings) -> GanTrainer {
    kiln_torch::set_threads(1);
    let plan = GanPlan::of(settings, Shape::Image(1, 8, 8)).unwrap();
    GanTrainer::new(&plan, config(settings.clone()), images(100)).unwrap()
}

fn small(loss: GanLoss) -> PuganSettings {
    PuganSettings {
        net: GanNet::Mlp,
        width: 16,
        latent: 4,
        iterations: 60,
        report_every: 7,
        ema: 0.9,
        ..settings(loss, true)
    }
}

fn same_state(a: &GanTrainer, b: &GanTrainer) {
    let (a, b) = (a.save().unwrap(), b.save().unwrap());
    assert_eq!(a.state, b.state);
    assert_eq!(a.tensors.len(), b.tensors.len());
    for ((name, a), (_, b)) in a.tensors.iter().zip(&b.tensors) {
        assert!(same_bits(a, b), "{name} differs");
    }
}

#[test]
fn a_training_goes_on_bit_for_bit_wherever_it_was_cut() {
    let nets = [
        small(GanLoss::Standard),
        PuganSettings { critic_steps: 2, critic_norm: CriticNorm::Spectral, ..small(GanLoss::Wasserstein) },
        PuganSettings { net: GanNet::Conv, width: 4, iterations: 20, ..small(GanLoss::LeastSquares) },
    ];
    for settings in nets {
        let mut whole = trainer(&settings);
        let until = u64::from(settings.iterations);
        assert_eq!(whole.run(until, None, &never).unwrap(), GanEnd::Reached);
        let told = whole.take_readings();
        let (mut parts, mut readings) = (trainer(&settings), Vec::new());
        for stop in [1, 6, 7, 13, until] {
            parts.run(stop, None, &never).unwrap();
            readings.extend(parts.take_readings());
            let saved = parts.save().unwrap();
            parts = trainer(&settings);
            parts.load(&saved).unwrap();
        }
        same_state(&whole, &parts);
        assert_eq!(told, readings);
        assert!(told.iter().map(|r| r.over).sum::<u64>() == until && told.last().unwrap().step == until);
    }
}

#[test]
fn losses_share_noise_images_and_initial_weights() {
    let (mut pu, mut plain) =
        (trainer(&small(GanLoss::Standard)), trainer(&PuganSettings { pu: false, ..small(GanLoss::Standard) }));
    same_state(&pu, &plain);
    pu.run(30, None, &never).unwrap();
    plain.run(30, None, &never).unwrap();
    let noise = |t: &GanTrainer| t.save().unwrap().tensors.iter().find(|(n, _)| n == "noise").unwrap().1.copy();
    assert!(same_bits(&noise(&pu), &noise(&plain)), "both have drawn the same noise");
    let weights = |t: &GanTrainer| t.critic().named_parameters()[0].1.copy();
    assert!(!same_bits(&weights(&pu), &weights(&plain)));
    assert_eq!(pu.noise_for("grid", 3).unwrap(), plain.noise_for("grid", 3).unwrap());
}

#[test]
fn readings_split_the_loss_and_warm_up_is_plain() {
    let settings = PuganSettings { warmup: 14, ..small(GanLoss::Standard) };
    let mut trainer = trainer(&settings);
    trainer.run(60, None, &never).unwrap();
    let readings = trainer.take_readings();
    assert_eq!(readings.iter().map(|r| r.step).collect::<Vec<_>>(), [7, 14, 21, 28, 35, 42, 49, 56, 60]);
    for r in &readings {
        let whole = match r.prior {
            None => r.a + r.c,
            // The maximum is of each batch, so the means agree only where none was clipped.
            Some(_) if r.clipped > 0.0 => continue,
            Some(prior) => prior * r.a + r.neg,
        };
        assert!((r.critic - whole).abs() < 1e-4, "{r:?}");
        assert!(r.critic_norm > 0.0 && r.generator_norm > 0.0 && (0.0..=1.0).contains(&r.scores[0]));
    }
    assert!(readings[0].prior.is_none() && readings[1].prior.is_none() && readings[2].prior == Some(0.3));
}

#[test]
fn the_average_follows_the_weights() {
    let mut with = trainer(&small(GanLoss::Standard));
    with.run(1, None, &never).unwrap();
    // The first decay is (1 + 0) / (10 + 0), so the average is nine tenths of the way.
    let start = trainer(&small(GanLoss::Standard));
    let get = |t: &[(String, Tensor)]| t[0].1.copy();
    let (first, now) = (get(&start.sampler().named_parameters()), get(&with.generator.named_parameters()));
    let _frozen = NoGrad::new();
    let want = &first * 0.1 + &now * 0.9;
    let got = get(&with.sampler().named_parameters());
    assert!((got - want).abs().max().double_value(&[]) < 1e-7);
}

#[test]
fn a_loss_that_is_no_number_ends_the_training() {
    let mut trainer = trainer(&small(GanLoss::Wasserstein));
    trainer.set_lr(1e30);
    assert_eq!(trainer.run(60, None, &never).unwrap(), GanEnd::Diverged);
    let at = trainer.diverged().unwrap();
    assert!(at.is_multiple_of(7) && at < 60, "{at}");
    assert_eq!(trainer.run(60, None, &never).unwrap(), GanEnd::Diverged);
    let saved = trainer.save().unwrap();
    assert_eq!(saved.state.diverged, Some(at));
}

#[test]
fn samples_are_bytes_and_do_not_depend_on_their_neighbours() {
    let settings = PuganSettings { net: GanNet::Dcgan, width: 4, ..small(GanLoss::Hinge) };
    let mut trainer = trainer(&settings);
    trainer.run(10, None, &never).unwrap();
    let noise = trainer.noise_for("grid", 6).unwrap();
    let all = trainer.samples(&noise).unwrap();
    assert_eq!((all.kind(), all.size()), (Kind::Uint8, vec![6, 1, 8, 8]));
    let some = trainer.samples(&noise.narrow(0, 2, 1)).unwrap();
    let gap = (all.narrow(0, 2, 1).to_kind(Kind::Int) - some.to_kind(Kind::Int)).abs().max().int64_value(&[]);
    assert!(gap <= 1, "{gap}");
    assert_eq!(trainer.logits(&all).unwrap().size(), [6]);
}

#[test]
fn too_few_images_are_a_sentence() {
    let settings = small(GanLoss::Standard);
    let plan = GanPlan::of(&settings, Shape::Image(1, 8, 8)).unwrap();
    let said = GanTrainer::new(&plan, config(settings), images(10)).err().unwrap().to_string();
    assert!(said.contains("10 training images") && said.contains("optim.batch"), "{said}");
}
