use kiln_arch::{Act, Layer};

use super::*;
use crate::testing::{cnn, conv, linear, mlp, norm, plan, same_bits};
use kiln_arch::space::{NAMES, Space};

fn images(shape: &[i64]) -> Tensor {
    let mut x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    Generator::new(11, Device::Cpu).unwrap().normal_(&mut x, 0.0, 1.0).unwrap();
    x
}

fn built(plan: &Plan) -> Network {
    Network::build(plan, 1, Device::Cpu).unwrap()
}

/// A plan whose only interesting layer is `layer`; it ends in three logits.
fn around(layer: Layer, input: Shape) -> Plan {
    let mut layers = vec![layer];
    let output = layer.output(input).unwrap();
    if let Shape::Image(..) = output {
        layers.push(Layer::Flatten);
    }
    layers.push(linear(output.numel() as u32, 3));
    plan(input, 3, vec![("only", Some(0), layers, false)])
}

#[test]
fn every_layer_gives_the_shape_of_the_plan() {
    let image = Shape::Image(6, 8, 8);
    let mut cases = vec![
        (conv(6, 4, 3, 1, 1), image),
        (conv(6, 12, 5, 2, 3), image),
        (conv(6, 6, 3, 1, 6), image),
        (Layer::Conv { input: 6, out: 4, kernel: 1, stride: 1, groups: 1, bias: true }, image),
        (norm(6), image),
        (Layer::PlainLayerNorm, Shape::Flat(6)),
        (Layer::SqueezeExcite { channels: 6, reduced: 2 }, image),
        (Layer::MaxPool, Shape::Image(6, 9, 8)),
        (Layer::GlobalAvgPool, image),
        (Layer::Flatten, image),
        (linear(6, 5), Shape::Flat(6)),
        (Layer::Linear { input: 6, out: 5, bias: false }, Shape::Flat(6)),
    ];
    cases.extend([Act::Relu, Act::Gelu, Act::Tanh, Act::Sigmoid, Act::HardSwish].map(|a| (Layer::Act(a), image)));
    for (layer, input) in cases {
        let network = built(&around(layer, input));
        let x = match input {
            Shape::Flat(n) => images(&[5, i64::from(n)]),
            Shape::Image(c, h, w) => images(&[5, i64::from(c), i64::from(h), i64::from(w)]),
        };
        // The whole block's shapes were checked against the plan while building; here libtorch agrees.
        for mode in [Mode::Train, Mode::Eval] {
            let logits = network.forward(&x, mode).unwrap();
            assert_eq!(logits.size(), [5, 3], "{layer:?}");
            logits.sum(Kind::Float).backward();
        }
        assert!(network.trainable().iter().all(|p| p.grad().defined()), "{layer:?}");
    }
}

#[test]
fn parameters_equal_a_hand_count() {
    let stem = 8 * 9 + 16;
    let cell0 = 8 * 8 * 9 + 16;
    let cell1 = 8 * 9 + 16 + 2 * 8 * 4 + 16 * 8 + 32;
    assert_eq!(built(&cnn()).parameters(), stem + cell0 + cell1 + 64 * 4 + 4);
    assert_eq!(built(&mlp()).parameters(), 64 * 16 + 16 + 2 * (16 * 16 + 16) + 16 * 4 + 4);
}

#[test]
fn parameters_equal_the_cost_model_in_every_shipped_space() {
    for name in NAMES {
        let space = Space::named(name).unwrap();
        let plan = space.plan(&space.reference(), Shape::Image(3, 32, 32), 10).unwrap();
        assert_eq!(built(&plan).parameters(), plan.cost().params, "{name}");
    }
}

#[test]
fn a_shortcut_adds_the_input() {
    for last in [vec![], vec![Layer::Act(Act::Relu)], vec![norm(4)]] {
        let layers = [vec![conv(4, 4, 3, 1, 1)], last.clone()].concat();
        let with = |shortcut| {
            let body = ("body", Some(0), layers.clone(), shortcut);
            built(&plan(Shape::Image(4, 5, 5), 100, vec![body, ("flat", None, vec![Layer::Flatten], false)]))
        };
        let x = images(&[3, 4, 5, 5]).set_requires_grad(true);
        let (plain, sum) =
            (with(false).forward(&x, Mode::Train).unwrap(), with(true).forward(&x, Mode::Train).unwrap());
        assert!((&sum - (plain + x.flatten(1, -1))).abs().max().double_value(&[]) < 1e-6, "{last:?}");
        sum.sum(Kind::Float).backward();
        assert!(x.grad().defined());
    }
}

#[test]
fn the_probe_leaves_no_trace() {
    let network = built(&cnn());
    let before: Vec<_> = network.named_tensors().into_iter().map(|(n, t)| (n, t.copy())).collect();
    let x = images(&[6, 1, 8, 8]);
    let (logits, slots) = network.forward_probe(&x).unwrap();
    for ((name, own), (_, old)) in network.named_tensors().iter().zip(&before) {
        assert!(same_bits(own, old), "{name}");
    }
    assert!(!logits.requires_grad());
    assert_eq!(slots.iter().map(|(s, t)| (*s, t.size())).collect::<Vec<_>>(), [(0, vec![6, 8]), (1, vec![6, 16])]);
    // The same logits as a training pass, which does move the running statistics.
    assert!(same_bits(&logits, &network.forward(&x, Mode::Train).unwrap().detach()));
    assert!(!same_bits(&network.named_tensors()[3].1, &before[3].1), "{}", before[3].0);
}

#[test]
fn layouts_agree_and_reach_one_channel_kernels() {
    let x = images(&[6, 1, 8, 8]);
    let plain = built(&cnn()).forward(&x, Mode::Train).unwrap();
    let network = built(&cnn()).configured(Layout::ChannelsLast, Precision::F32).unwrap();
    let last = network.forward(&x, Mode::Train).unwrap();
    assert!((plain - last).abs().max().double_value(&[]) < 1e-4);
    for (name, tensor) in network.named_tensors() {
        if let [_, c, h, w] = tensor.size()[..] {
            assert_eq!(tensor.stride(), [c * h * w, 1, w * c, c], "{name}");
        }
    }
}

#[test]
fn bf16_is_near_and_logits_stay_in_32_bits() {
    let x = images(&[6, 1, 8, 8]);
    let exact = built(&cnn()).forward(&x, Mode::Train).unwrap();
    let network = built(&cnn()).configured(Layout::ChannelsLast, Precision::Bf16).unwrap();
    let rough = network.forward(&x, Mode::Train).unwrap();
    assert_eq!(rough.kind(), Kind::Float);
    let gap = (exact - &rough).abs().max().double_value(&[]);
    assert!(gap > 0.0 && gap < 0.2, "{gap}");
    rough.sum(Kind::Float).backward();
    assert!(network.trainable().iter().all(|p| p.grad().kind() == Kind::Float));
}

#[test]
fn slot_weights_are_copies_of_searched_weights_only() {
    let network = built(&cnn());
    let weights = network.slot_weights().unwrap();
    let shapes: Vec<_> = weights.iter().map(|(slot, w)| (*slot, w.size())).collect();
    let want = [
        (0, vec![8, 8, 3, 3]),
        (1, vec![8, 1, 3, 3]),
        (1, vec![4, 8, 1, 1]),
        (1, vec![8, 4, 1, 1]),
        (1, vec![16, 8, 1, 1]),
    ];
    assert_eq!(shapes, want);
    let before = weights[0].1.copy();
    let _frozen = NoGrad::new();
    for p in network.trainable() {
        let _ = p.shallow_clone().zero_();
    }
    assert!(same_bits(&weights[0].1, &before));
}

#[test]
fn equal_seeds_build_equal_networks() {
    let build = |seed| Network::build(&cnn(), seed, Device::Cpu).unwrap().named_tensors();
    let (a, b, c) = (build(1), build(1), build(2));
    assert!(a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same_bits(&a.1, &b.1)));
    assert!(a.iter().zip(&c).any(|(a, c)| !same_bits(&a.1, &c.1)));
}

#[test]
fn loading_is_all_or_nothing() {
    let (mut a, b) = (built(&cnn()), Network::build(&cnn(), 2, Device::Cpu).unwrap());
    let mut saved = b.named_tensors();
    let last = saved.len() - 1;
    saved[last].1 = Tensor::zeros([7], (Kind::Float, Device::Cpu));
    let before = a.named_tensors()[0].1.copy();
    let error = a.load(&saved).unwrap_err().to_string();
    assert!(error.contains("`head.2.bias` has shape [7]"), "{error}");
    assert!(same_bits(&a.named_tensors()[0].1, &before));
    a.load(&b.named_tensors()).unwrap();
    assert!(a.named_tensors().iter().zip(b.named_tensors()).all(|(a, b)| same_bits(&a.1, &b.1)));
    let error = a.load(&saved[1..]).unwrap_err().to_string();
    assert!(error.contains("no tensor `stem.0.weight`"), "{error}");
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let complain = |change: &dyn Fn(&mut Plan)| {
        let mut plan = cnn();
        change(&mut plan);
        match Network::build(&plan, 1, Device::Cpu) {
            Ok(_) => panic!("accepted"),
            Err(e) => e.to_string(),
        }
    };
    assert!(complain(&|p| p.blocks[1].name = "stem".into()).contains("two blocks"));
    assert!(complain(&|p| p.classes = 5).contains("not in 5 logits"));
    assert!(complain(&|p| p.blocks[1].layers[0] = conv(7, 8, 3, 1, 1)).contains("layer 0 of block `cell.0`"));
    assert!(complain(&|p| p.blocks[2].shortcut = true).contains("shortcut"));
    assert!(complain(&|p| p.blocks[0].output = Shape::Flat(1)).contains("promises"));
    assert!(complain(&|p| p.input = Shape::Flat(64)).contains("expects"));
}
