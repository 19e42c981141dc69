//! Chains of inverted residuals: the spaces of HourNAS (arXiv:2005.14446) and their kin. One decision a layer.
//!
//! Block: conv1x1 to `e * C_in` (also for e = 1) BN ReLU, depthwise k x k BN ReLU, optional squeeze-and-excite on the
//! expanded channels (reduced to `max(1, int(0.05 e C_in))`), conv1x1 to C_out BN; plus x where the shapes agree. `skip` is
//! offered only where stride is 1 and the channels stay.

use super::{Arch, ArchError, Decision, Lowering, Space, number};
use crate::chain::{Chain, Choice, Slot};
use crate::plan::{Act, Block, Layer, Shape};

/// Layers of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub width: u32,
    pub layers: u32,
    /// Of the first layer; the others have 1.
    pub stride: u32,
}

/// A chain of inverted residuals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Width and stride of the 3x3 stem.
    pub stem: (u32, u32),
    pub stages: Vec<Stage>,
    /// Candidate operations, `k3e6` or `skip`.
    pub ops: Vec<&'static str>,
    pub squeeze_excite: bool,
    /// Width of a 1x1 convolution before pooling; `None` for none.
    pub head: Option<u32>,
}

impl Stages {
    /// Searched layers.
    pub fn slots(&self) -> usize {
        self.stages.iter().map(|s| s.layers as usize).sum()
    }

    /// Width, stride, and name of each searched layer.
    fn layers(&self) -> impl Iterator<Item = (u32, u32, String)> {
        self.stages.iter().enumerate().flat_map(|(s, stage)| {
            (0..stage.layers).map(move |i| {
                let stride = if i == 0 { stage.stride } else { 1 };
                (stage.width, stride, format!("stage{}.{}", s + 1, i + 1))
            })
        })
    }

    pub(super) fn space(self, name: &str, title: &str, reference: &str) -> Space {
        let mut input = self.stem.0;
        let mut decisions = Vec::new();
        let mut genes = Vec::new();
        for (width, stride, layer) in self.layers() {
            let keeps = stride == 1 && width == input;
            let options: Vec<&str> = self.ops.iter().copied().filter(|op| *op != "skip" || keeps).collect();
            decisions.push(Decision::new(layer, &options));
            genes.push(reference.to_string());
            input = width;
        }
        Space { name: name.into(), title: title.into(), decisions, reference: genes, lowering: Lowering::Stages(self) }
    }

    /// The blocks with every choice.
    ///
    /// # Errors
    /// When the input is no image, or too small.
    pub(super) fn chain(&self, space: &Space, input: Shape, classes: u32) -> Result<Chain, ArchError> {
        let Shape::Image(channels, ..) = input else {
            return Err(ArchError(format!("space `{}` needs images, not {input}", space.name)));
        };
        let (stem, stride) = self.stem;
        let stem = Block::new("stem".into(), None, false, input, conv(channels, stem, 3, stride, 1, true))?;
        let mut shape = stem.output;
        let mut slots = Vec::with_capacity(space.decisions.len());
        for (index, (decision, (width, stride, name))) in space.decisions.iter().zip(self.layers()).enumerate() {
            let mut output = shape;
            let mut choices = Vec::with_capacity(decision.options.len());
            for gene in &decision.options {
                let block = match gene.as_str() {
                    "skip" => None,
                    op => {
                        let layers = self.inverted_residual(op, shape.channels(), width, stride)?;
                        Some(Block::new(name.clone(), Some(index), true, shape, layers)?)
                    }
                };
                output = block.as_ref().map_or(output, |b| b.output);
                let cost = block.as_ref().map(Block::cost).unwrap_or_default();
                choices.push(Choice { gene: gene.clone(), block, cost });
            }
            slots.push(Slot { name, input: shape, output, stride, choices });
            shape = output;
        }
        let mut layers = Vec::new();
        if let Some(head) = self.head {
            layers.extend(conv(shape.channels(), head, 1, 1, 1, true));
        }
        let width = self.head.unwrap_or(shape.channels());
        layers.extend([Layer::GlobalAvgPool, Layer::Linear { input: width, out: classes, bias: true }]);
        let head = Block::new("head".into(), None, false, shape, layers)?;
        Ok(Chain { stem: vec![stem], slots, head: vec![head] })
    }

    fn inverted_residual(&self, op: &str, input: u32, width: u32, stride: u32) -> Result<Vec<Layer>, ArchError> {
        let (kernel, expansion) = parse(op)?;
        let m = input * expansion;
        let mut layers = conv(input, m, 1, 1, 1, true);
        layers.extend(conv(m, m, kernel, stride, m, true));
        // int(0.05 m), in integers.
        layers.extend(self.squeeze_excite.then(|| Layer::SqueezeExcite { channels: m, reduced: (m / 20).max(1) }));
        layers.extend(conv(m, width, 1, 1, 1, false));
        Ok(layers)
    }
}

fn conv(input: u32, out: u32, kernel: u32, stride: u32, groups: u32, active: bool) -> Vec<Layer> {
    let mut layers =
        vec![Layer::Conv { input, out, kernel, stride, groups, bias: false }, Layer::BatchNorm { channels: out }];
    layers.extend(active.then_some(Layer::Act(Act::Relu)));
    layers
}

/// `k5e6` to (5, 6).
fn parse(gene: &str) -> Result<(u32, u32), ArchError> {
    let (kernel, expansion) = gene
        .strip_prefix('k')
        .and_then(|g| g.split_once('e'))
        .ok_or_else(|| ArchError(format!("`{gene}` is no operation such as `k3e6` or `skip`")))?;
    Ok((number(kernel)?, number(expansion)?))
}

pub(super) fn glyph(arch: &Arch) -> Vec<(f32, char)> {
    let bar = |gene: &String| match parse(gene) {
        Ok((kernel, expansion)) => (0.25 + expansion as f32 / 8.0, if kernel > 3 { 'K' } else { 'k' }),
        Err(_) => (0.0, '-'),
    };
    arch.genes.iter().map(bar).collect()
}
