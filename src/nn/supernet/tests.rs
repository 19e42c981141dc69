use kiln_arch::spec::{OptimKind, OptimSettings, Precision, Schedule};
use kiln_arch::{Arch, Chain, Space};
use kiln_data::Augment;
use kiln_torch::Generator;

use super::*;
use crate::loss::cross_entropy;
use crate::network::Mode;
use crate::testing::{never, same_bits, stripes};

const INPUT: Shape = Shape::Image(1, 8, 8);
const CPU: Device = Device::Cpu;

fn chain() -> (Space, Chain) {
    let space = Space::named("mobile-xs").unwrap();
    let chain = space.chain(INPUT, 4).unwrap().unwrap();
    (space, chain)
}

fn images(n: i64) -> Tensor {
    let mut x = Tensor::zeros([n, 1, 8, 8], (Kind::Float, CPU));
    Generator::new(5, CPU).unwrap().normal_(&mut x, 0.0, 1.0).unwrap();
    x
}

/// A path that has every kind of pick, and the genotype it stands for.
fn path(space: &Space, chain: &Chain) -> (Vec<Pick>, Arch) {
    let picks: Vec<Pick> = (0..chain.slots.len())
        .map(|l| {
            let skip = chain.slots[l].index("skip");
            match l % 4 {
                0 => Pick::Sampled(l % 3),
                1 => skip.map_or(Pick::Sampled(0), Pick::Sampled),
                2 => skip.map_or(Pick::Fixed(1), |_| Pick::Identity),
                _ => Pick::Fixed(2),
            }
        })
        .collect();
    let gene = |(l, pick): (usize, &Pick)| {
        pick.choice().map_or("skip".to_owned(), |choice| chain.slots[l].choices[choice].gene.clone())
    };
    let genes = picks.iter().enumerate().map(gene).collect();
    (picks, Arch { space: space.name.clone(), genes })
}

/// Noise `[slots, width]`, rivals, and the executed choices beside them `[slots, 2]`.
fn noise_of(net: &Supernet, path: &[Pick]) -> (Tensor, Vec<usize>, Tensor) {
    let mut noise = Tensor::zeros([net.slots() as i64, net.width() as i64], (Kind::Float, CPU));
    Generator::new(9, CPU).unwrap().normal_(&mut noise, 0.0, 1.0).unwrap();
    let choices = net.choices();
    let chosen = |l: usize| path[l].choice().unwrap_or(0);
    let rivals: Vec<usize> = (0..path.len()).map(|l| (chosen(l) + 1) % choices[l]).collect();
    let index: Vec<i64> = (0..path.len()).flat_map(|l| [chosen(l) as i64, rivals[l] as i64]).collect();
    (noise, rivals, Tensor::from_slice(&index).view([-1, 2]))
}

#[test]
fn a_path_has_the_value_of_the_plain_network_to_the_last_bit() {
    let (space, chain) = chain();
    let net = Supernet::new(&chain, INPUT, 4, 3, CPU).unwrap();
    let (path, arch) = path(&space, &chain);
    let mut plain = Network::build(&chain.plan(&arch, INPUT, 4).unwrap(), 77, CPU).unwrap();
    let shared: Vec<(String, Tensor)> = net
        .library()
        .named_tensors()
        .into_iter()
        .filter_map(|(name, t)| match name.split_once('/') {
            None => Some((name, t)),
            Some((slot, rest)) => {
                let (gene, rest) = rest.split_once('.').unwrap();
                let index = chain.slots.iter().position(|s| s.name == slot).unwrap();
                (arch.genes[index] == gene).then(|| (format!("{slot}.{rest}"), t))
            }
        })
        .collect();
    plain.load(&shared).unwrap();
    let x = images(16);
    let expected = plain.forward(&x, Mode::Train).unwrap();
    let (noise, rivals, index) = noise_of(&net, &path);
    assert!(same_bits(&net.forward(&x, &path).unwrap(), &expected));
    for (tau, rivals) in [(5.0, None), (0.05, None), (5.0, Some(&*rivals)), (0.05, Some(&*rivals))] {
        let gated = net.forward_gated(&x, &path, rivals, &noise, &index, tau).unwrap();
        assert!(same_bits(&gated, &expected), "tau {tau}, {rivals:?}");
    }
    assert_eq!(expected.size(), [16, 4]);
    assert!(expected.isfinite().all().int64_value(&[]) == 1);
}

/// Gradients of `alpha` by autograd, and by the formula from finite differences of the loss: pairs by slot and choice.
fn gradients(net: &Supernet, path: &[Pick], two_paths: bool) -> Vec<Vec<(f64, f64)>> {
    let (noise, rivals, index) = noise_of(net, path);
    let rivals = two_paths.then_some(&*rivals);
    // Many images: the kinks of so many ReLUs then hardly show in a finite difference.
    let (x, labels) = (images(1024), Tensor::arange(1024, (Kind::Int64, CPU)).remainder(4));
    let tau = 1.5;
    let loss = |logits: Tensor| cross_entropy(&logits, &labels, 0.0).unwrap();
    let whole = loss(net.forward_gated(&x, path, rivals, &noise, &index, tau).unwrap());
    let grad = Tensor::run_backward(&[whole], &[net.alpha()], false, false).remove(0);
    assert!(net.library().trainable().iter().all(|w| !w.grad().defined()), "the weights' gradients are not touched");
    let rows = |t: &Tensor| -> Vec<Vec<f64>> { Vec::<Vec<f64>>::try_from(t.detach().to_kind(Kind::Double)).unwrap() };
    let (alpha, noise, grad) = (rows(net.alpha()), rows(&noise), rows(&grad));
    let mut pairs = Vec::new();
    for (l, pick) in path.iter().enumerate() {
        let Pick::Sampled(a) = *pick else {
            pairs.push(grad[l].iter().map(|&g| (g, 0.0)).collect());
            continue;
        };
        // How the loss changes with the factor of the slot's gate, by central differences...
        let by_factor = |factor: f32| {
            let mut factors: Vec<Tensor> = (0..net.slots()).map(|_| Tensor::from(0.0_f32)).collect();
            factors[l] = Tensor::from(factor);
            let legs = net.legs(path, Some((&factors, rivals))).unwrap();
            loss(net.library.walk(&x, &legs).unwrap()).double_value(&[])
        };
        let h = 3e-4;
        let slope = (by_factor(h) - by_factor(-h)) / (2.0 * f64::from(h));
        // ... times the derivative of log s_a, or of s_a among the two, by alpha.
        let n = net.choices()[l];
        let logits: Vec<f64> = (0..n).map(|o| (alpha[l][o] + noise[l][o]) / tau).collect();
        let among: Vec<usize> = rivals.map_or((0..n).collect(), |r| vec![a, r[l]]);
        let sum: f64 = among.iter().map(|&o| logits[o].exp()).sum();
        let s = |o: usize| if among.contains(&o) { logits[o].exp() / sum } else { 0.0 };
        let scale = if two_paths { s(a) } else { 1.0 };
        let want = |o: usize| slope * scale * (f64::from(u8::from(o == a)) - if o < n { s(o) } else { 0.0 }) / tau;
        pairs.push((0..net.width()).map(|o| (grad[l][o], want(o))).collect());
    }
    pairs
}

fn net_with_logits(chain: &Chain) -> Supernet {
    let net = Supernet::new(chain, INPUT, 4, 3, CPU).unwrap();
    let _frozen = NoGrad::new();
    Generator::new(2, CPU).unwrap().normal_(&mut net.alpha.shallow_clone(), 0.0, 0.5).unwrap();
    net
}

#[test]
fn the_gradient_of_alpha_is_that_of_the_formula() {
    let (space, chain) = chain();
    let net = net_with_logits(&chain);
    let (path, _) = path(&space, &chain);
    for two_paths in [false, true] {
        let mut moved = 0;
        for (l, (pick, slot)) in path.iter().zip(gradients(&net, &path, two_paths)).enumerate() {
            for (o, (got, want)) in slot.into_iter().enumerate() {
                let told = || format!("two paths: {two_paths}, slot {l}, op {o}: {got} is not {want}");
                assert!((got - want).abs() < 5e-4 + 0.05 * want.abs(), "{}", told());
                assert!(matches!(pick, Pick::Sampled(_)) || got == 0.0, "a settled slot has no gradient");
                moved += usize::from(got.abs() > 2e-3);
            }
        }
        assert!(moved >= 4, "two paths: {two_paths}: only {moved} gradients that are not nearly zero");
    }
}

/// Why architecture steps take two paths unless they are told otherwise.
#[test]
fn normalisation_hides_vital_blocks_from_one_path_but_not_from_two() {
    let (_, chain) = chain();
    let net = net_with_logits(&chain);
    // The vital blocks alone, as in the first stage of the search.
    let mut path = vec![Pick::Identity; 9];
    path[3] = Pick::Sampled(1);
    path[6] = Pick::Fixed(2);
    let largest = |two| gradients(&net, &path, two)[3].iter().fold(0.0_f64, |top, (got, _)| top.max(got.abs()));
    assert!(largest(false) < 1e-5, "{}", largest(false));
    assert!(largest(true) > 1e-3, "{}", largest(true));
}

#[test]
fn gumbel_noise_is_finite_for_every_uniform_number() {
    assert!(gumbel(0.0).is_finite() && gumbel(1.0).is_finite());
    assert!((gumbel(0.0) + 2.779_6).abs() < 1e-3 && gumbel(1.0) > 15.0);
    assert!((gumbel(0.5) - 0.366_512_9).abs() < 1e-6);
}

#[test]
fn a_path_that_does_not_fit_is_refused() {
    let (_, chain) = chain();
    let net = Supernet::new(&chain, INPUT, 4, 3, CPU).unwrap();
    assert!(net.forward(&images(2), &[Pick::Identity]).unwrap_err().to_string().contains("9 slots"));
    let error = net.forward(&images(2), &[Pick::Fixed(9); 9]).unwrap_err().to_string();
    assert!(error.contains("none numbered 9"), "{error}");
    // A vital slot cannot be left out.
    assert!(net.forward(&images(2), &[Pick::Identity; 9]).is_err());
}

/// Draws uniformly from what the number says, noise included.
struct Uniform(Vec<usize>);

impl Sampler for Uniform {
    fn draw(&mut self, alpha: &[Vec<f32>], number: u64) -> Draw {
        assert!(alpha.iter().flatten().all(|a| a.is_finite()));
        let key = kiln_arch::spec::seed::derive(1, "test-draw", number, 0);
        let mut bits = key;
        let mut next = || {
            bits = kiln_arch::spec::seed::derive(bits, "next", 0, 0);
            bits
        };
        let path = self.0.iter().map(|&n| Pick::Sampled((next() % n as u64) as usize)).collect();
        let noise = self.0.iter().map(|&n| (0..n).map(|_| gumbel((next() % 1000) as f32 / 1000.0)).collect()).collect();
        Draw { path, noise }
    }
}

fn config(kind: OptimKind, augment: bool) -> SearchConfig {
    SearchConfig {
        optim: OptimSettings {
            kind,
            lr: if kind == OptimKind::Sgd { 0.05 } else { 0.003 },
            momentum: 0.9,
            weight_decay: 1e-4,
            grad_clip: 5.0,
            schedule: Schedule::Cosine,
            batch: 16,
            ..OptimSettings::default()
        },
        precision: Precision::F32,
        channels_last: false,
        threads: 1,
        seed: 4,
        augment: augment.then_some(Augment { crop_pad: 1, ..Augment::default() }),
        split: 0.75,
        alpha_lr: 0.01,
        two_paths: true,
    }
}

fn phase(epochs: u32) -> Phase {
    Phase { key: 1, epochs, warm: 0.5, tau: [5.0, 0.5], penalty: None }
}

fn fresh(config: SearchConfig, phase: Phase) -> (SearchTrainer, Uniform) {
    let (_, chain) = chain();
    let mut trainer = SearchTrainer::new(&chain, config, stripes(240)).unwrap();
    trainer.begin(phase).unwrap();
    let sampler = Uniform(trainer.net().choices());
    (trainer, sampler)
}

fn bits(trainer: &SearchTrainer) -> Vec<(String, Vec<u8>)> {
    let saved = trainer.save().unwrap();
    saved.tensors.iter().map(|(name, t)| (name.clone(), kiln_torch::to_bytes(t).unwrap().2)).collect()
}

#[test]
fn a_search_learns_and_its_logits_move_and_stay_finite() {
    let (mut trainer, mut sampler) = fresh(config(OptimKind::Sgd, false), phase(20));
    assert_eq!((trainer.images(), trainer.steps_per_epoch()), ([180, 60], 11));
    let mut turns = 0;
    while trainer.run(None, &mut sampler, &never).unwrap() == Turn::Epoch {
        turns += 1;
    }
    assert_eq!(turns, 20);
    let history = trainer.history();
    // Paths are drawn: the loss of a single epoch depends on which, and which on the last bits of the processor's arithmetic.
    let mean = |epochs: &[SearchEpoch]| epochs.iter().map(|e| e.train_loss).sum::<f64>() / epochs.len() as f64;
    assert!(mean(&history[17..]) < 0.7 * mean(&history[..3]), "{history:?}");
    assert!(history.iter().all(|e| e.arch_loss.is_some_and(f64::is_finite)));
    // Eleven steps an epoch, half of the first epoch without the architecture.
    assert_eq!((trainer.steps(), trainer.arch_steps()), (220, 214));
    let logits = trainer.net().logits().unwrap();
    assert!(logits.iter().flatten().all(|a| a.is_finite()) && logits.iter().flatten().any(|a| a.abs() > 0.02));
    assert!((trainer.tau() - 0.5).abs() < 1e-9);
    let marks = trainer.take_marks();
    assert!(marks.windows(2).all(|w| w[1].epochs > w[0].epochs && w[1].tau <= w[0].tau));
}

#[test]
fn a_path_is_evaluated_with_statistics_of_its_own() {
    let (mut trainer, _) = fresh(config(OptimKind::Sgd, false), phase(12));
    let path = vec![Pick::Fixed(1); 9];
    while trainer.run(None, &mut One(path.clone()), &never).unwrap() != Turn::Done {}
    let data = stripes(240);
    let eval = trainer.evaluate(&path, &data.valid, &never).unwrap().unwrap();
    assert!(eval.accuracy > 0.7, "{eval:?}");
    // Whatever was evaluated in between.
    trainer.evaluate(&[Pick::Fixed(0); 9], &data.valid, &never).unwrap().unwrap();
    assert_eq!(trainer.evaluate(&path, &data.valid, &never).unwrap().unwrap(), eval);
    assert!(trainer.evaluate(&path, &data.valid, &|| true).unwrap().is_none());
}

#[test]
fn saved_at_any_step_it_goes_on_with_the_same_bits() {
    for (kind, augment) in [(OptimKind::Sgd, true), (OptimKind::Adamw, false)] {
        let (mut whole, mut sampler) = fresh(config(kind, augment), phase(2));
        while whole.run(None, &mut sampler, &never).unwrap() != Turn::Done {}
        for stop in [1_u64, 5, 8, 11, 13, 20] {
            let (mut first, mut sampler) = fresh(config(kind, augment), phase(2));
            let done = std::cell::Cell::new(0);
            let tick = || {
                done.set(done.get() + 1);
                done.get() > stop
            };
            while first.run(None, &mut sampler, &tick).unwrap() == Turn::Epoch {}
            assert_eq!(first.steps(), stop);
            let saved = first.save().unwrap();
            let text = serde_json::to_string(&saved.state).unwrap();
            let saved = SavedSearch { state: serde_json::from_str(&text).unwrap(), tensors: saved.tensors };
            drop(first);
            let (mut second, mut sampler) = fresh(config(kind, augment), phase(2));
            second.load(&saved, phase(2)).unwrap();
            while second.run(None, &mut sampler, &never).unwrap() != Turn::Done {}
            assert_eq!(second.history(), whole.history(), "{kind:?} stopped after {stop}");
            assert!(bits(&second) == bits(&whole), "{kind:?} stopped after {stop}");
        }
    }
}

#[test]
fn another_searchs_state_is_refused() {
    let (first, _) = fresh(config(OptimKind::Sgd, false), phase(1));
    let saved = first.save().unwrap();
    let (mut other, _) = fresh(SearchConfig { seed: 5, ..config(OptimKind::Sgd, false) }, phase(1));
    assert!(other.load(&saved, phase(1)).unwrap_err().to_string().contains("seed 4"));
}

#[test]
fn architecture_steps_leave_the_weights_and_weight_steps_the_logits_alone() {
    let still = SearchConfig {
        optim: OptimSettings { lr: 0.0, momentum: 0.0, weight_decay: 0.0, batch: 16, ..OptimSettings::default() },
        ..config(OptimKind::Sgd, false)
    };
    let (mut trainer, mut sampler) = fresh(still, phase(1));
    let weights = |t: &SearchTrainer| -> Vec<Vec<u8>> {
        t.net().library().trainable().iter().map(|w| kiln_torch::to_bytes(&w.detach()).unwrap().2).collect()
    };
    let before = weights(&trainer);
    while trainer.run(None, &mut sampler, &never).unwrap() != Turn::Done {}
    assert!(weights(&trainer) == before);
    assert!(trainer.net().logits().unwrap().iter().flatten().any(|a| *a != 0.0));
    let (mut warm, mut sampler) = fresh(config(OptimKind::Sgd, false), Phase { warm: 1.0, ..phase(1) });
    let before = weights(&warm);
    while warm.run(None, &mut sampler, &never).unwrap() != Turn::Done {}
    assert!(weights(&warm) != before);
    assert!(warm.net().logits().unwrap().iter().flatten().all(|a| *a == 0.0));
}

/// Always the same path.
struct One(Vec<Pick>);

impl Sampler for One {
    fn draw(&mut self, _alpha: &[Vec<f32>], _number: u64) -> Draw {
        Draw { path: self.0.clone(), noise: vec![vec![0.0; 4]; self.0.len()] }
    }
}

#[test]
fn blocks_that_are_not_drawn_keep_their_weights() {
    let (mut trainer, _) = fresh(config(OptimKind::Sgd, false), phase(1));
    let named = |t: &SearchTrainer| -> Vec<(String, Vec<u8>)> {
        let tensors = t.net().library().named_tensors().into_iter();
        tensors.map(|(name, w)| (name, kiln_torch::to_bytes(&w).unwrap().2)).collect()
    };
    let before = named(&trainer);
    let mut path = vec![Pick::Identity; 9];
    path[3] = Pick::Sampled(1);
    path[6] = Pick::Sampled(2);
    while trainer.run(None, &mut One(path.clone()), &never).unwrap() != Turn::Done {}
    let changed: Vec<String> = before
        .iter()
        .zip(named(&trainer))
        .filter(|(old, new)| old.1 != new.1)
        .map(|(old, _)| old.0.split('.').take(2).collect::<Vec<_>>().join("."))
        .collect();
    let allowed = ["stem.", "head.", "stage2.1/k3e3", "stage3.1/k5e3"];
    assert!(changed.iter().all(|name| allowed.iter().any(|a| format!("{name}.").contains(a))), "{changed:?}");
    assert!(allowed.iter().all(|a| changed.iter().any(|name| format!("{name}.").contains(a))), "{changed:?}");
}

#[test]
fn a_penalty_pulls_the_logits_to_what_is_cheap() {
    let rows = vec![vec![0.0, 5.0, 5.0, 5.0]; 9];
    let (mut trainer, mut sampler) = fresh(config(OptimKind::Sgd, false), Phase { penalty: Some(rows), ..phase(3) });
    while trainer.run(None, &mut sampler, &never).unwrap() != Turn::Done {}
    for row in trainer.net().logits().unwrap() {
        assert!(row[1..].iter().all(|a| *a < row[0]), "{row:?}");
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_search_with_a_sentence() {
    let mut wild = config(OptimKind::Sgd, false);
    wild.optim.lr = 1e38;
    wild.optim.grad_clip = 0.0;
    let (mut trainer, mut sampler) = fresh(wild, phase(2));
    let error = loop {
        match trainer.run(None, &mut sampler, &never) {
            Ok(Turn::Epoch) => {}
            Ok(turn) => panic!("{turn:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("no longer a number") && error.contains("learning rate"), "{error}");
}

#[test]
fn bypassing_a_block_is_the_identity_or_pooling_with_zeros() {
    let (space, chain) = chain();
    let arch = space.reference();
    let network = Network::build(&chain.plan(&arch, INPUT, 4).unwrap(), 1, CPU).unwrap();
    let x = images(8);
    // A network without the block altogether, with the others' weights.
    let mut skipped = arch.clone();
    skipped.genes[1] = "skip".into();
    let mut without = Network::build(&chain.plan(&skipped, INPUT, 4).unwrap(), 2, CPU).unwrap();
    without.load(&network.named_tensors()).unwrap();
    let expected = without.forward(&x, Mode::Eval).unwrap().detach();
    assert!(same_bits(&network.forward_without(&x, 1).unwrap(), &expected));
    assert!(!same_bits(&network.forward(&x, Mode::Eval).unwrap().detach(), &expected));
    // Slot 3 halves the sides and doubles the channels.
    let y = crate::network::bypass(images(2).repeat([1, 16, 1, 1]), Shape::Image(32, 4, 4)).unwrap();
    assert_eq!(y.size(), [2, 32, 4, 4]);
    assert_eq!(y.narrow(1, 16, 16).abs().max().double_value(&[]), 0.0);
    let corner = images(2).narrow(2, 0, 2).narrow(3, 0, 2).mean_dim(&[2i64, 3][..], false, Kind::Float);
    assert!((y.narrow(1, 3, 1).select(3, 0).select(2, 0) - corner).abs().max().double_value(&[]) < 1e-6);
    assert_eq!(crate::network::bypass(images(1), Shape::Image(1, 7, 3)).unwrap().size(), [1, 1, 7, 3]);
    assert!(network.forward_without(&x, 3).unwrap().isfinite().all().int64_value(&[]) == 1);
}
