use kiln_arch::{Act, Layer};

use kiln_torch::Generator;

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
        (Layer::AvgPool, Shape::Image(6, 9, 8)),
        (Layer::MaxPool3, Shape::Image(6, 9, 8)),
        (Layer::AvgPool3, Shape::Image(6, 9, 8)),
        (Layer::Truncate { channels: 4 }, image),
        (Layer::ChannelShuffle { groups: 3 }, image),
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

/// Blocks that are graphs.
mod graphs {
    use std::collections::HashMap;

    use kiln_arch::{Block, Graph, Input, Join, Node};
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn node(join: Join, inputs: Vec<Input>, layers: Vec<Layer>) -> Node {
        Node { join, inputs, layers }
    }

    /// A block of this graph on 4x6x6, flattened: what comes out is what the graph gives.
    fn around_graph(graph: Graph) -> Network {
        let input = Shape::Image(4, 6, 6);
        let output = graph.output(input).unwrap();
        let numel = output.numel() as u32;
        let layers = vec![Layer::Flatten];
        let output = Shape::Flat(numel);
        let block = Block {
            name: "cell".into(),
            slot: Some(0),
            graph: Some(graph),
            layers,
            shortcut: false,
            after: None,
            input,
            output,
        };
        built(&Plan { input, classes: numel, slots: 1, blocks: vec![block] })
    }

    fn named(network: &Network) -> HashMap<String, Tensor> {
        network.named_tensors().into_iter().collect()
    }

    fn near(a: &Tensor, b: &Tensor) -> bool {
        a.size() == b.size() && (a - b).abs().max().double_value(&[]) < 1e-5
    }

    #[test]
    fn a_graph_equals_its_composition_by_hand() {
        let relu = Layer::Act(Act::Relu);
        let edge = |from, layers| Input { from, layers };
        let graph = Graph {
            nodes: vec![
                // The input enters by two ways, one of them the identity.
                node(
                    Join::Sum,
                    vec![edge(0, vec![relu, conv(4, 4, 3, 1, 1), norm(4)]), Input::plain(0)],
                    vec![relu, conv(4, 5, 1, 1, 1)],
                ),
                node(
                    Join::Concat,
                    vec![
                        edge(1, vec![Layer::Truncate { channels: 3 }]),
                        edge(0, vec![Layer::AvgPool3]),
                        edge(1, vec![Layer::MaxPool3]),
                    ],
                    vec![],
                ),
                // Zeros, and what an activation in place must not have touched.
                node(Join::Sum, vec![], vec![]),
                node(Join::Concat, vec![Input::plain(2), Input::plain(3), Input::plain(0)], vec![]),
            ],
        };
        let network = around_graph(graph.clone());
        let x = images(&[3, 4, 6, 6]);
        let t = named(&network);
        let plain = |x: &Tensor, w: &str, pad: i64| x.conv2d(&t[w], None::<Tensor>, [1, 1], [pad, pad], [1, 1], 1);
        let gain = |what: &str| Some(t[&format!("cell.node0.in0.2.{what}")].shallow_clone());
        let branch = plain(&x.relu(), "cell.node0.in0.1.weight", 1).batch_norm(
            gain("weight"),
            gain("bias"),
            gain("running_mean"),
            gain("running_var"),
            false,
            0.1,
            1e-5,
            true,
        );
        let first = plain(&(branch + &x).relu(), "cell.node0.1.weight", 0);
        let average = x.avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None::<i64>);
        let most = first.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
        let second = Tensor::cat(&[first.narrow(1, 0, 3), average, most], 1);
        let hand = Tensor::cat(&[&second, &x.zeros_like(), &x], 1).flatten(1, -1);
        assert!(near(&network.forward(&x, Mode::Eval).unwrap(), &hand));
        assert_eq!(network.parameters(), graph.cost(Shape::Image(4, 6, 6)).unwrap().params);
        assert_eq!(network.parameters(), 4 * 4 * 9 + 8 + 4 * 5);
        // In training all weights have gradients, and the searched slot's weights are found.
        network.forward(&x, Mode::Train).unwrap().square().sum(Kind::Float).backward();
        assert!(network.trainable().iter().all(|p| p.grad().defined()));
        assert_eq!(network.slot_weights().unwrap().len(), 2);
    }

    #[test]
    fn a_shuffle_deals_channels_out() {
        let layers = vec![Layer::ChannelShuffle { groups: 2 }, Layer::Flatten];
        let network = built(&plan(Shape::Image(4, 1, 1), 4, vec![("only", None, layers, false)]));
        let x = Tensor::from_slice(&[0f32, 1.0, 2.0, 3.0]).view([1, 4, 1, 1]);
        let dealt = Vec::<f32>::try_from(network.forward(&x, Mode::Eval).unwrap().view(-1)).unwrap();
        assert_eq!(dealt, [0.0, 2.0, 1.0, 3.0]);
    }

    /// NAS-Bench-101's own rules by hand: a chain of two convolutions and a projection of the input beside it, and a cell
    /// whose two branches share the channels unevenly.
    #[test]
    fn cells_of_nas_bench_101_are_built_as_published() {
        let space = Space::named("nas-bench-101").unwrap();
        let x = images(&[2, 128, 4, 4]);
        for (arch, by_hand) in [
            ("c3i0-c1i1-none-none-none-out02", chain as fn(&Tensor, &dyn Fn(&Tensor, &str, i64) -> Tensor) -> Tensor),
            ("c3i0-c1i0-mpi02-none-none-out123", branches),
        ] {
            let whole = space.plan(&space.parse(arch).unwrap(), Shape::Image(3, 32, 32), 10).unwrap();
            let mut cell = whole.blocks.iter().find(|b| b.slot == Some(0)).unwrap().clone();
            let (input, numel) = (Shape::Image(128, 4, 4), 128 * 16);
            (cell.input, cell.output) = (input, Shape::Flat(numel));
            cell.layers = vec![Layer::Flatten];
            let network = built(&Plan { input, classes: numel, slots: 1, blocks: vec![cell] });
            let t = named(&network);
            // Convolution, normalisation at its start (mean 0, variance 1), ReLU.
            let unit = |x: &Tensor, place: &str, pad: i64| {
                let weight = &t[&format!("stack1.1.{place}.weight")];
                (x.conv2d(weight, None::<Tensor>, [1, 1], [pad, pad], [1, 1], 1) / (1.0 + 1e-5f64).sqrt()).relu()
            };
            let hand = by_hand(&x, &unit).flatten(1, -1);
            assert!(near(&network.forward(&x, Mode::Eval).unwrap(), &hand), "{arch}");
        }
    }

    fn chain(x: &Tensor, unit: &dyn Fn(&Tensor, &str, i64) -> Tensor) -> Tensor {
        let first = unit(&unit(x, "node0.in0.0", 0), "node0.0", 1);
        unit(&first, "node1.0", 0) + unit(x, "node3.in1.0", 0)
    }

    /// 128 channels over three vertices: 43, 43 and 42; the third takes the second one's first 42.
    fn branches(x: &Tensor, unit: &dyn Fn(&Tensor, &str, i64) -> Tensor) -> Tensor {
        let first = unit(&unit(x, "node0.in0.0", 0), "node0.0", 1);
        let second = unit(&unit(x, "node1.in0.0", 0), "node1.0", 0);
        let sum = second.narrow(1, 0, 42) + unit(x, "node2.in1.0", 0);
        let third = sum.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
        assert_eq!((first.size()[1], second.size()[1], third.size()[1]), (43, 43, 42));
        Tensor::cat(&[first, second, third], 1)
    }

    /// A basic and a pre-activation block whose shape changes, by hand.
    #[test]
    fn residual_blocks_are_built_as_published() {
        let x = images(&[2, 16, 8, 8]);
        for (space, pre) in [("resnet", false), ("resnet-preact", true)] {
            let space = Space::named(space).unwrap();
            let whole = space.plan(&space.reference(), Shape::Image(3, 32, 32), 10).unwrap();
            let mut block = whole.blocks.iter().find(|b| b.name == "stage2.1").unwrap().clone();
            let (input, numel) = (Shape::Image(16, 8, 8), 32 * 16);
            (block.input, block.output, block.slot) = (input, Shape::Flat(numel), Some(0));
            block.layers = vec![Layer::Flatten];
            let network = built(&Plan { input, classes: numel, slots: 1, blocks: vec![block] });
            let t = named(&network);
            let conv = |x: &Tensor, place: &str, stride: i64, pad: i64| {
                let weight = &t[&format!("stage2.1.{place}.weight")];
                x.conv2d(weight, None::<Tensor>, [stride, stride], [pad, pad], [1, 1], 1)
            };
            // Normalisation at its start: mean 0, variance 1.
            let norm = |x: Tensor| x / (1.0 + 1e-5f64).sqrt();
            let hand = if pre {
                let shared = norm(x.shallow_clone()).relu();
                let inside = norm(conv(&shared, "node1.in0.0", 2, 1)).relu();
                conv(&inside, "node1.in0.3", 1, 1) + conv(&shared, "node1.in1.0", 2, 0)
            } else {
                let inside = norm(conv(&x, "node0.in0.0", 2, 1)).relu();
                (norm(conv(&inside, "node0.in0.3", 1, 1)) + norm(conv(&x, "node0.in1.0", 2, 0))).relu()
            };
            assert!(near(&network.forward(&x, Mode::Eval).unwrap(), &hand.flatten(1, -1)), "{}", space.name);
        }
    }

    #[test]
    fn the_spaces_of_disout_learn() {
        for (space, input) in [
            ("resnet", Shape::Image(3, 16, 16)),
            ("resnet-preact", Shape::Image(3, 16, 16)),
            ("cnn-fc", Shape::Image(3, 16, 16)),
            ("plain-mlp", Shape::Image(1, 8, 8)),
        ] {
            let space = Space::named(space).unwrap();
            let plan = space.plan(&space.reference(), input, 10).unwrap();
            let network = built(&plan);
            assert_eq!(network.parameters(), plan.cost().params, "{}", space.name);
            let Shape::Image(c, h, w) = input else { panic!("all of these take images") };
            let logits = network.forward(&images(&[4, c.into(), h.into(), w.into()]), Mode::Train).unwrap();
            assert_eq!(logits.size(), [4, 10]);
            logits.square().sum(Kind::Float).backward();
            assert!(network.trainable().iter().all(|p| p.grad().defined()), "{}", space.name);
        }
    }

    #[test]
    fn random_cells_build_with_the_parameters_of_the_cost_model() {
        use kiln_arch::spec::SpaceDefinition;
        let small = "name = \"cells\"\nkind = \"cell-vertices\"\n[cell-vertices]\nwidth = 6\nstacks = 2\ncells = 1\n";
        let mut rng = rand_chacha::ChaCha8Rng::from_seed([7; 32]);
        let own = Space::define(&SpaceDefinition::from_toml("cells.toml", small).unwrap()).unwrap();
        for space in [own, Space::named("nas-bench-201").unwrap()] {
            for _ in 0..12 {
                let arch = space.sample(&mut rng);
                let plan = space.plan(&arch, Shape::Image(3, 8, 8), 10).unwrap();
                let network = built(&plan);
                assert_eq!(network.parameters(), plan.cost().params, "{arch}");
                let logits = network.forward(&images(&[4, 3, 8, 8]), Mode::Train).unwrap();
                assert_eq!(logits.size(), [4, 10]);
                logits.square().sum(Kind::Float).backward();
            }
        }
    }
}
