//! Passes that leave the plan's own order: through some blocks of a library, or round one block of a network.

use kiln_arch::spec::RegulariserSettings;
use kiln_arch::{Block, Plan, Shape};
use kiln_torch::NoGrad;
use tch::{Device, Kind, Tensor};

use super::{Builder, Layout, Network, Precision, Stats};
use crate::error::Result;

/// One leg of a walk through a library of blocks.
pub(crate) struct Leg<'a> {
    /// The block; `None`: the identity.
    pub block: Option<usize>,
    pub gate: Option<Gate<'a>>,
}

/// Adds nothing to a leg's output, and lets a gradient through to what its factor came from.
pub(crate) struct Gate<'a> {
    /// A scalar of value 0.
    pub factor: &'a Tensor,
    pub against: Against,
}

/// What the output `y` of a leg is compared with: the factor's gradient is that of `y + factor * stopgrad(y - against)`.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// With what it would be without the block: the input, if a shortcut goes round it, else zero.
    Absence,
    /// With another block's output; `None` is the identity.
    Rival(Option<usize>),
}

impl Network {
    /// A library of blocks that need not follow one another; only [`Network::walk`] passes through it. Names must be
    /// different. Searched blocks normalise without gain and shift: those of rarely drawn blocks would lag behind.
    pub(crate) fn library(
        input: Shape,
        classes: u32,
        blocks: Vec<Block>,
        seed: u64,
        device: Device,
    ) -> Result<Network> {
        let mut builder = Builder::new(seed, device)?;
        let mut stages = Vec::with_capacity(blocks.len());
        for block in &blocks {
            builder.affine = block.slot.is_none();
            stages.push(builder.stage(block)?);
        }
        let slots = blocks.iter().filter_map(|b| b.slot).max().map_or(0, |slot| slot + 1);
        let mut network = Network {
            plan: Plan { input, classes, slots, blocks },
            device,
            layout: Layout::Plain,
            precision: Precision::F32,
            stages,
            places: Vec::new(),
            regulariser: RegulariserSettings::default(),
            tensors: builder.tensors,
            trainable: Vec::new(),
        };
        network.collect_trainable();
        Ok(network)
    }

    /// What images `[n, c, h, w]` are in front of the last block, and the logits behind it, by running statistics. Records no
    /// gradients.
    pub fn features(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let _frozen = NoGrad::new();
        let mut before = None;
        let logits = self.within(images, |mut x| {
            for (i, stage) in self.stages.iter().enumerate() {
                if i + 1 == self.stages.len() {
                    before = Some(x.f_to_kind(Kind::Float)?);
                }
                x = self.stage(stage, x, &mut Stats::Running.into())?;
            }
            Ok(x)
        })?;
        Ok((before.unwrap_or_else(|| images.shallow_clone()), logits))
    }

    /// What one block makes of its input, by running statistics.
    pub(crate) fn through(&self, block: usize, input: &Tensor) -> Result<Tensor> {
        match self.stages.get(block) {
            Some(stage) => self.stage(stage, input.shallow_clone(), &mut Stats::Running.into()),
            None => Ok(input.shallow_clone()),
        }
    }

    /// Logits of a walk, normalised by the batch's own statistics; the running ones stay.
    pub(crate) fn walk(&self, images: &Tensor, legs: &[Leg]) -> Result<Tensor> {
        self.walk_by(images, legs, Stats::BatchOnly)
    }

    /// Logits of a walk by running statistics.
    pub(crate) fn walk_frozen(&self, images: &Tensor, legs: &[Leg]) -> Result<Tensor> {
        self.walk_by(images, legs, Stats::Running)
    }

    /// A walk by batch statistics towards which the running ones move by `share`.
    pub(crate) fn walk_recalibrating(&self, images: &Tensor, legs: &[Leg], share: f64) -> Result<Tensor> {
        self.walk_by(images, legs, Stats::Batch(share))
    }

    fn walk_by(&self, images: &Tensor, legs: &[Leg], stats: Stats) -> Result<Tensor> {
        self.within(images, |mut x| {
            for leg in legs {
                let stage = leg.block.and_then(|block| self.stages.get(block));
                let input = leg.gate.as_ref().map(|_| x.shallow_clone());
                if let Some(stage) = stage {
                    x = self.stage(stage, x, &mut stats.into())?;
                }
                if let (Some(gate), Some(input)) = (&leg.gate, input) {
                    let difference = {
                        let _frozen = NoGrad::new();
                        match gate.against {
                            Against::Absence if stage.is_some_and(|s| !s.shortcut) => x.f_detach()?,
                            Against::Absence | Against::Rival(None) => x.f_sub(&input)?,
                            Against::Rival(Some(rival)) => match self.stages.get(rival) {
                                Some(rival) => x.f_sub(&self.stage(rival, input, &mut stats.into())?)?,
                                None => x.f_sub(&input)?,
                            },
                        }
                    };
                    x = x.f_add(&difference.f_mul(gate.factor)?)?;
                }
            }
            Ok(x)
        })
    }

    /// Logits of images `[n, c, h, w]` with the block of one searched slot bypassed, by running statistics: the identity
    /// where its shapes agree, else a shortcut without parameters (2x2 average pooling for a stride of 2, zeros for
    /// channels that are new). A slot that is empty already changes nothing. Records no gradients.
    pub fn forward_without(&self, images: &Tensor, slot: usize) -> Result<Tensor> {
        self.bypassing(images, slot, Stats::Running)
    }

    /// The same by batch statistics, towards which the running ones move by `share`.
    pub(crate) fn recalibrate_without(&self, images: &Tensor, slot: usize, share: f64) -> Result<()> {
        self.bypassing(images, slot, Stats::Batch(share)).map(drop)
    }

    fn bypassing(&self, images: &Tensor, slot: usize, stats: Stats) -> Result<Tensor> {
        let _frozen = NoGrad::new();
        self.within(images, |mut x| {
            for (stage, block) in self.stages.iter().zip(&self.plan.blocks) {
                x = match stage.slot == Some(slot) {
                    true => bypass(x, block.output)?,
                    false => self.stage(stage, x, &mut stats.into())?,
                };
            }
            Ok(x)
        })
    }
}

/// Brings `x` to another shape without parameters.
pub(crate) fn bypass(x: Tensor, output: Shape) -> Result<Tensor> {
    let Shape::Image(channels, height, width) = output else { return Ok(x) };
    let (channels, height, width) = (i64::from(channels), i64::from(height), i64::from(width));
    let (_, c, h, w) = x.size4()?;
    let mut x = x;
    if (h, w) != (height, width) {
        x = if (h.div_euclid(2) + h % 2, w.div_euclid(2) + w % 2) == (height, width) {
            x.f_avg_pool2d([2, 2], [2, 2], [0, 0], true, false, None::<i64>)?
        } else {
            x.f_adaptive_avg_pool2d([height, width])?
        };
    }
    Ok(match channels.cmp(&c) {
        std::cmp::Ordering::Equal => x,
        std::cmp::Ordering::Greater => x.f_constant_pad_nd([0, 0, 0, 0, 0, channels - c])?,
        std::cmp::Ordering::Less => x.f_narrow(1, 0, channels)?,
    })
}
