//! All steps a second of several small candidates trained side by side on the CPU.
//!
//! `cargo bench -p kiln-nn --bench many_candidates -- [--net NAME] [--layout LAYOUT] [--candidates 4] [--parallel 0]
//! [--seconds 3] [--rounds 3]`
//!
//! One JSON line a network and round; it says the network's parameters and the multiply-accumulates of an image, so that
//! whoever compares can be sure to train the same. `tests/reference` trains the same networks in PyTorch; this is what both do:
//!
//! - Data: 6,000 random images `u8 [1, 28, 28]`, 10 random labels, resident; normalised in the step; a new random
//!   permutation each epoch; batches of 64, the last, smaller one dropped.
//! - Loss: mean cross-entropy. Optimiser: SGD, lr 0.05, momentum 0.9, no weight decay, constant rate. No evaluation.
//! - Every candidate has its own weights and does the same number of steps; one intra-op thread each, as many at once as
//!   there are cores. The rate is all candidates' steps over the wall time, after ten steps of warm-up each.
//!
//! `C(i, o, k, s)` is a convolution without bias, padded by `k / 2`; `D(c, k, s)` the same with `groups = c`; `B` batch
//! normalisation; `R` ReLU; `L(i, o)` a linear layer with bias.
//!
//! | name | arithmetic | layers |
//! | --- | --- | --- |
//! | `tiny-cnn` | f32 | C(1,8,3,2) with bias, R, C(8,16,3,2) with bias, R, flatten, L(784,10) |
//! | `mlp` | f32 | flatten, L(784,64), R, L(64,64), R, L(64,10) |
//! | `dense-cnn` | f32 | C(1,32,3,1) B R, C(32,64,3,2) B R, C(64,64,3,1) B R, C(64,128,3,2) B R, C(128,128,3,1) B R, global mean, L(128,10) |
//! | `dense-cnn-bf16` | bf16 autocast | the same |
//! | `mobile` | f32 | C(1,16,3,2) B R, five inverted residuals, C(40,160,1,1) B R, global mean, L(160,10) |
//!
//! Images are kept channels-last unless told otherwise (`contiguous`).
//!
//! An inverted residual `(i, o, k, s)` is C(i,4i,1,1) B R, D(4i,k,s) B R, C(4i,o,1,1) B, plus its input where shapes
//! agree; `mobile` has (16,16,3,1), (16,24,3,2), (24,24,3,1), (24,40,5,2), (40,40,5,1).

use std::time::{Duration, Instant};

use kiln_arch::spec::{OptimSettings, Precision, RegulariserSettings};
use kiln_arch::{Act, Block, Layer, Plan, Shape};
use kiln_data::{DataSet, Split};
use kiln_nn::{Pool, Trainer, TrainerConfig, Until, Validate};
use kiln_torch::{CudaChoice, Generator};
use tch::{Device, Kind};

type Failure = Box<dyn std::error::Error>;

const NETS: [&str; 5] = ["tiny-cnn", "mlp", "dense-cnn", "dense-cnn-bf16", "mobile"];
const LAYOUTS: [&str; 2] = ["contiguous", "channels-last"];
const BATCH: u32 = 64;
const IMAGES: i64 = 6000;

fn main() -> Result<(), Failure> {
    kiln_torch::tune_allocator();
    kiln_torch::init(&CudaChoice::Off);
    let options = Options::from_args()?;
    let data = random_images()?;
    for _ in 0..options.rounds {
        for name in NETS.into_iter().filter(|n| options.net.as_deref().is_none_or(|wanted| wanted == *n)) {
            measure(name, &options, &data)?;
        }
    }
    Ok(())
}

struct Options {
    net: Option<String>,
    layout: &'static str,
    candidates: u64,
    parallel: u32,
    seconds: f64,
    rounds: u32,
}

impl Options {
    fn from_args() -> Result<Options, Failure> {
        let mut options =
            Options { net: None, layout: LAYOUTS[1], candidates: 4, parallel: 0, seconds: 3.0, rounds: 3 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--net" => options.net = Some(value()?),
                "--layout" => {
                    let wanted = value()?;
                    let known = LAYOUTS.into_iter().find(|layout| *layout == wanted);
                    options.layout = known.ok_or(format!("no layout {wanted}; there are {}", LAYOUTS.join(", ")))?;
                }
                "--candidates" => options.candidates = value()?.parse()?,
                "--parallel" => options.parallel = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                // Cargo passes this to every bench.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if let Some(name) = options.net.as_deref().filter(|name| !NETS.contains(name)) {
            return Err(format!("no network {name}; there are {}", NETS.join(", ")).into());
        }
        Ok(options)
    }
}

fn random_images() -> Result<DataSet, Failure> {
    let mut generator = Generator::new(1, Device::Cpu)?;
    let mut split = |n: i64| -> Result<Split, Failure> {
        let images = generator.randint(256, &[n, 1, 28, 28])?.f_to_kind(Kind::Uint8)?;
        Ok(Split { images, labels: generator.randint(10, &[n])? })
    };
    let splits = [split(IMAGES)?, split(BATCH.into())?, split(BATCH.into())?];
    Ok(DataSet::new(splits, (0..10).map(|c| c.to_string()).collect(), "random".into())?)
}

/// Times one round of one network and prints its line.
fn measure(name: &str, options: &Options, data: &DataSet) -> Result<(), Failure> {
    let plan = network(name)?;
    let precision = if name.ends_with("-bf16") { Precision::Bf16 } else { Precision::F32 };
    let mut trainers = Vec::new();
    for candidate in 0..options.candidates {
        let config = TrainerConfig {
            optim: OptimSettings { batch: BATCH, ..OptimSettings::default() },
            precision,
            channels_last: options.layout == "channels-last",
            threads: 1,
            seed: 1,
            candidate,
            order: candidate,
            epochs: u32::MAX,
            regulariser: RegulariserSettings::default(),
            augment: None,
            validate: Validate::Never,
        };
        trainers.push(Trainer::new(&plan, config, data.share(), None)?);
    }
    let pool = Pool::new(options.parallel, 1, Device::Cpu);
    let mut run = |steps: u64| -> Result<Duration, Failure> {
        let began = Instant::now();
        let ran = pool.map(trainers.iter_mut().collect(), &mut || false, |trainer: &mut Trainer, _| {
            trainer.run(Until::Steps(steps), &|| false)
        });
        ran.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(began.elapsed())
    };
    run(10)?;
    let steps = (options.seconds / (run(10)?.as_secs_f64() / 10.0)).ceil().max(1.0) as u64;
    let seconds = run(steps)?.as_secs_f64();
    let all = steps * options.candidates;
    println!(
        "{{\"bench\":\"many_candidates\",\"net\":\"{name}\",\"parameters\":{},\"macs\":{},\"layout\":\"{}\",\
         \"candidates\":{},\"parallel\":{},\"threads\":1,\
         \"batch\":{BATCH},\"steps\":{all},\"seconds\":{seconds:.3},\"steps_per_second\":{:.1}}}",
        plan.cost().params,
        plan.cost().macs,
        options.layout,
        options.candidates,
        pool.parallel(),
        all as f64 / seconds,
    );
    Ok(())
}

/// Blocks one after the other, with shapes followed along.
struct Layers {
    blocks: Vec<Block>,
    shape: Shape,
}

impl Layers {
    fn block(&mut self, shortcut: bool, layers: Vec<Layer>) -> Result<(), Failure> {
        let input = self.shape;
        for layer in &layers {
            self.shape = layer.output(self.shape)?;
        }
        let (name, shortcut) = (format!("block{}", self.blocks.len()), shortcut && input == self.shape);
        self.blocks.push(Block {
            name,
            slot: None,
            graph: None,
            layers,
            shortcut,
            after: None,
            input,
            output: self.shape,
        });
        Ok(())
    }
}

fn network(name: &str) -> Result<Plan, Failure> {
    let relu = Layer::Act(Act::Relu);
    let conv = |input, out, kernel, stride, groups| Layer::Conv { input, out, kernel, stride, groups, bias: false };
    let with_bias = |input, out| Layer::Conv { input, out, kernel: 3, stride: 2, groups: 1, bias: true };
    let norm = |channels| Layer::BatchNorm { channels };
    let linear = |input, out| Layer::Linear { input, out, bias: true };
    let input = if name == "mlp" { Shape::Flat(784) } else { Shape::Image(1, 28, 28) };
    let mut net = Layers { blocks: Vec::new(), shape: input };
    match name {
        "tiny-cnn" => {
            net.block(false, vec![with_bias(1, 8), relu, with_bias(8, 16), relu])?;
            net.block(false, vec![Layer::Flatten, linear(784, 10)])?;
        }
        "mlp" => {
            net.block(false, vec![linear(784, 64), relu, linear(64, 64), relu, linear(64, 10)])?;
        }
        "dense-cnn" | "dense-cnn-bf16" => {
            for (i, o, s) in [(1, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)] {
                net.block(false, vec![conv(i, o, 3, s, 1), norm(o), relu])?;
            }
            net.block(false, vec![Layer::GlobalAvgPool, linear(128, 10)])?;
        }
        _ => {
            net.block(false, vec![conv(1, 16, 3, 2, 1), norm(16), relu])?;
            for (i, o, k, s) in [(16, 16, 3, 1), (16, 24, 3, 2), (24, 24, 3, 1), (24, 40, 5, 2), (40, 40, 5, 1)] {
                let wide = 4 * i;
                let mut layers = vec![conv(i, wide, 1, 1, 1), norm(wide), relu];
                layers.extend([conv(wide, wide, k, s, wide), norm(wide), relu, conv(wide, o, 1, 1, 1), norm(o)]);
                net.block(true, layers)?;
            }
            net.block(false, vec![conv(40, 160, 1, 1, 1), norm(160), relu])?;
            net.block(false, vec![Layer::GlobalAvgPool, linear(160, 10)])?;
        }
    }
    Ok(Plan { input, classes: 10, slots: 0, blocks: net.blocks })
}
