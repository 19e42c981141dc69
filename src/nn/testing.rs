//! Small plans and data for the tests of this crate.

use kiln_arch::spec::{OptimSettings, Precision, RegulariserSettings};
use kiln_arch::{Act, Block, Layer, Plan, Shape};
use kiln_data::{DataSet, Split};
use kiln_torch::Generator;
use tch::{Device, Kind, Tensor};

use crate::trainer::{TrainerConfig, Validate};

/// One block of a test plan: name, slot, layers, shortcut.
pub type Part<'a> = (&'a str, Option<usize>, Vec<Layer>, bool);

pub fn plan(input: Shape, classes: u32, parts: Vec<Part>) -> Plan {
    let mut shape = input;
    let slots = parts.iter().filter_map(|p| p.1).max().map_or(0, |s| s + 1);
    let blocks = parts
        .into_iter()
        .map(|(name, slot, layers, shortcut)| {
            let output = layers.iter().fold(shape, |s, l| l.output(s).unwrap());
            let block =
                Block { name: name.into(), slot, graph: None, layers, shortcut, after: None, input: shape, output };
            shape = output;
            block
        })
        .collect();
    Plan { input, classes, slots, blocks }
}

pub fn conv(input: u32, out: u32, kernel: u32, stride: u32, groups: u32) -> Layer {
    Layer::Conv { input, out, kernel, stride, groups, bias: false }
}

pub fn norm(channels: u32) -> Layer {
    Layer::BatchNorm { channels }
}

pub fn linear(input: u32, out: u32) -> Layer {
    Layer::Linear { input, out, bias: true }
}

/// Batch normalisation, a depthwise and a one-channel convolution, a residual block, squeeze-and-excite: 1x8x8, 4 classes.
pub fn cnn() -> Plan {
    let relu = Layer::Act(Act::Relu);
    plan(
        Shape::Image(1, 8, 8),
        4,
        vec![
            ("stem", None, vec![conv(1, 8, 3, 1, 1), norm(8), relu], false),
            ("cell.0", Some(0), vec![conv(8, 8, 3, 1, 1), norm(8), relu], true),
            (
                "cell.1",
                Some(1),
                vec![
                    conv(8, 8, 3, 2, 8),
                    norm(8),
                    Layer::Act(Act::HardSwish),
                    Layer::SqueezeExcite { channels: 8, reduced: 4 },
                    conv(8, 16, 1, 1, 1),
                    norm(16),
                ],
                false,
            ),
            ("head", None, vec![Layer::MaxPool, Layer::Flatten, linear(64, 4)], false),
        ],
    )
}

/// Two residual tanh blocks and a layer normalisation on flattened 1x8x8 images, 4 classes.
pub fn mlp() -> Plan {
    plan(
        Shape::Flat(64),
        4,
        vec![
            ("in", None, vec![linear(64, 16), Layer::Act(Act::Tanh)], false),
            ("block.0", Some(0), vec![linear(16, 16), Layer::Act(Act::Tanh)], true),
            ("block.1", Some(1), vec![linear(16, 16), Layer::PlainLayerNorm, Layer::Act(Act::Sigmoid)], true),
            ("out", None, vec![linear(16, 4)], false),
        ],
    )
}

fn split(images: i64, seed: u64) -> Split {
    let mut generator = Generator::new(seed, Device::Cpu).unwrap();
    let labels = generator.randint(4, &[images]).unwrap();
    // A bright pair of columns tells the class; noise hides it a little.
    let stripe = Tensor::arange(8, (Kind::Int64, Device::Cpu)).divide_scalar_mode(2, "floor").view([1, 1, 1, 8]);
    let bright = labels.view([images, 1, 1, 1]).eq_tensor(&stripe).to_kind(Kind::Int64) * 120;
    let noise = generator.randint(100, &[images, 1, 8, 8]).unwrap();
    Split { images: (noise + bright).to_kind(Kind::Uint8), labels }
}

/// A separable set of 4 classes: 1x8x8, `train` training images, 64 for validation and for the test.
pub fn stripes(train: i64) -> DataSet {
    let classes = ["a", "b", "c", "d"].map(String::from).to_vec();
    DataSet::new([split(train, 1), split(64, 2), split(64, 3)], classes, "stripes".into()).unwrap()
}

pub fn config(optim: OptimSettings, candidate: u64, epochs: u32) -> TrainerConfig {
    TrainerConfig {
        optim: OptimSettings { batch: 16, ..optim },
        precision: Precision::F32,
        channels_last: false,
        threads: 1,
        seed: 7,
        candidate,
        order: 0,
        epochs,
        regulariser: RegulariserSettings::default(),
        augment: None,
        validate: Validate::EachEpoch,
    }
}

/// Bit for bit the same, also where both are no numbers.
pub fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    let bytes = |t: &Tensor| kiln_torch::to_bytes(&kiln_torch::contiguous(t).unwrap()).unwrap();
    bytes(a) == bytes(b)
}

pub fn never() -> bool {
    false
}
