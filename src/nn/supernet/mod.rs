//! A single-path super-network: the blocks of a chain with all their choices, one of which is executed in each place.
//!
//! Slot `l` offers the operations `o` with logits `alpha[l][o]`. A draw takes the operation `a`; the slot's value is exactly
//! `a(x)`, and the gradient reaches `alpha_l` through `s`, the softmax of `(alpha_l + noise_l) / tau`, alone: the
//! straight-through estimator of Gumbel-softmax without the cost of running every operation (HourNAS, arXiv:2005.14446).
//!
//! - One path: `y = (s_a / stopgrad(s_a)) a(x)`. Where a shortcut goes round the block, the factor is on what the block
//!   adds to it: the input that all choices share has no gradient, since the `s_o` sum to 1.
//! - Two paths: the runner-up `b` is run as well, without gradients, and `s` renormalised over the two:
//!   `y = h_a a(x) + h_b b(x)`, `h = onehot(a) + s - stopgrad(s)`.
//!
//! Behind a block without a shortcut stands a convolution and a batch normalisation that takes every factor out again, so
//! with one path the gradient of such a *vital* block is nothing but rounding (a test shows it). Two paths compare `a` with
//! `b` and have no such blind spot.
//!
//! - this file: weights, choices, passes
//! - [`trainer`]: the alternation of weight steps and architecture steps
//! - `saved`: the trainer's state as plain values and named tensors

mod saved;
#[cfg(test)]
mod tests;
pub mod trainer;

use kiln_arch::{Chain, Shape};
use kiln_torch::NoGrad;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub use saved::{SavedSearch, SearchState};
pub use trainer::{Draw, Mark, Phase, Sampler, SearchConfig, SearchEpoch, SearchTrainer, Turn, split};

use crate::error::{Result, TrainError};
use crate::network::{Against, Gate, Layout, Leg, Network};
use kiln_arch::spec::Precision;

/// What a slot does in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// Nothing: its input is its output.
    Identity,
    /// This choice, as a settled matter.
    Fixed(usize),
    /// This choice, drawn: `alpha` has a gradient from it.
    Sampled(usize),
}

impl Pick {
    /// Index of the choice that is executed.
    pub fn choice(self) -> Option<usize> {
        match self {
            Pick::Identity => None,
            Pick::Fixed(choice) | Pick::Sampled(choice) => Some(choice),
        }
    }
}

/// Gumbel noise `-log(-log u)` of a uniform `u`, in 32 bits; `u` is kept off 0 and 1, where the logarithms are infinite.
pub fn gumbel(u: f32) -> f32 {
    -(-u.clamp(1e-7, 1.0 - 1e-7).ln()).ln()
}

/// Shared weights of every choice of every slot, and the logits of the choices.
pub struct Supernet {
    library: Network,
    stem: Vec<usize>,
    head: Vec<usize>,
    /// By slot and choice: the block in the library; `None` is the identity.
    blocks: Vec<Vec<Option<usize>>>,
    /// `alpha`, f32 `[slots, most choices]`, 0 at the start. Columns that a slot does not have stay 0.
    alpha: Tensor,
    /// 0 where a slot has a choice, minus infinity elsewhere.
    mask: Tensor,
}

impl Supernet {
    /// Initial weights from `seed`, all logits 0.
    ///
    /// # Errors
    /// [`TrainError::Plan`] for a chain whose blocks do not fit together, or a slot without choices.
    pub fn new(chain: &Chain, input: Shape, classes: u32, seed: u64, device: Device) -> Result<Supernet> {
        let mut library = Vec::new();
        let mut shape = input;
        let mut follow = |block: &kiln_arch::Block| -> Result<()> {
            if block.input != shape {
                return Err(TrainError::Plan(format!(
                    "block `{}` expects {} but is given {shape}",
                    block.name, block.input
                )));
            }
            shape = block.output;
            Ok(())
        };
        let mut stem = Vec::new();
        for block in &chain.stem {
            follow(block)?;
            stem.push(library.len());
            library.push(block.clone());
        }
        let mut blocks = Vec::with_capacity(chain.slots.len());
        for (index, slot) in chain.slots.iter().enumerate() {
            let mut of_slot = Vec::with_capacity(slot.choices.len());
            for choice in &slot.choices {
                of_slot.push(choice.block.as_ref().map(|_| library.len()));
                let Some(block) = &choice.block else {
                    if slot.input != slot.output {
                        return Err(TrainError::Plan(format!(
                            "slot `{}` offers `{}`, which does nothing, but turns {} into {}",
                            slot.name, choice.gene, slot.input, slot.output
                        )));
                    }
                    continue;
                };
                if (block.input, block.output) != (slot.input, slot.output) {
                    return Err(TrainError::Plan(format!(
                        "choice `{}` of slot `{}` has other shapes than the slot",
                        choice.gene, slot.name
                    )));
                }
                let mut block = block.clone();
                block.name = format!("{}/{}", slot.name, choice.gene);
                block.slot = Some(index);
                library.push(block);
            }
            if of_slot.is_empty() {
                return Err(TrainError::Plan(format!("slot `{}` has no choices", slot.name)));
            }
            blocks.push(of_slot);
            shape = slot.output;
        }
        let mut head = Vec::new();
        for block in &chain.head {
            if block.input != shape {
                return Err(TrainError::Plan(format!(
                    "block `{}` expects {} but is given {shape}",
                    block.name, block.input
                )));
            }
            shape = block.output;
            head.push(library.len());
            library.push(block.clone());
        }
        if shape != Shape::Flat(classes) {
            return Err(TrainError::Plan(format!("the chain ends in {shape}, not in {classes} logits")));
        }
        let width = blocks.iter().map(Vec::len).max().unwrap_or(1);
        let mask: Vec<f32> = blocks
            .iter()
            .flat_map(|slot| (0..width).map(|o| if o < slot.len() { 0.0 } else { f32::NEG_INFINITY }))
            .collect();
        let size = [blocks.len() as i64, width as i64];
        let mask = Tensor::f_from_slice(&mask)?.f_view(size)?.f_to_device(device)?;
        let alpha = Tensor::f_zeros(size, (Kind::Float, device))?.f_set_requires_grad(true)?;
        let library = Network::library(input, classes, library, seed, device)?;
        Ok(Supernet { library, stem, head, blocks, alpha, mask })
    }

    /// The same super-network with images and kernels in another order and with other arithmetic. Build optimisers
    /// afterwards.
    pub fn configured(self, layout: Layout, precision: Precision) -> Result<Supernet> {
        Ok(Supernet { library: self.library.configured(layout, precision)?, ..self })
    }

    /// The shared weights; the logits are not among them.
    pub fn library(&self) -> &Network {
        &self.library
    }

    /// Logits of the choices, f32 `[slots, most choices]`.
    pub fn alpha(&self) -> &Tensor {
        &self.alpha
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.blocks.len()
    }

    /// Columns of `alpha` and of the noise: most choices that a slot has.
    pub fn width(&self) -> usize {
        self.blocks.iter().map(Vec::len).max().unwrap_or(1)
    }

    /// Choices of each slot.
    pub fn choices(&self) -> Vec<usize> {
        self.blocks.iter().map(Vec::len).collect()
    }

    /// Logits of the network that `path` picks, normalised by the batch's own statistics. The pass knows nothing of
    /// `alpha`: it is for steps of the weights.
    ///
    /// # Errors
    /// [`TrainError::Plan`] for a path of another length or a choice that is not there.
    pub fn forward(&self, images: &Tensor, path: &[Pick]) -> Result<Tensor> {
        self.library.walk(images, &self.legs(path, None)?)
    }

    /// The same value, with gradients to `alpha` from every sampled pick.
    ///
    /// `noise` is f32 `[slots, width]` and is added to `alpha` (Gumbel noise, and a tilt by cost), `index` i64 `[slots, 2]`
    /// the executed choices and their rivals (0 for an identity), `tau` the temperature. With `rivals`, by slot, the second
    /// form of the module's description; without, the first.
    pub fn forward_gated(
        &self,
        images: &Tensor,
        path: &[Pick],
        rivals: Option<&[usize]>,
        noise: &Tensor,
        index: &Tensor,
        tau: f64,
    ) -> Result<Tensor> {
        let logits = self.alpha.f_add(noise)?.f_div_scalar(tau)?.f_add(&self.mask)?;
        // Both have the value 0 to the last bit.
        let factors = if rivals.is_some() {
            let pair = logits.f_gather(1, index, false)?;
            let s = pair.f_select(1, 0)?.f_sub(&pair.f_select(1, 1)?)?.f_sigmoid()?;
            s.f_sub(&s.f_detach()?)?
        } else {
            // s / stopgrad(s) by way of logarithms, which cannot underflow.
            let log = logits.f_log_softmax(1, Kind::Float)?.f_gather(1, &index.f_narrow(1, 0, 1)?, false)?;
            let log = log.f_squeeze_dim(1)?;
            log.f_sub(&log.f_detach()?)?.f_expm1()?
        };
        let factors = factors.f_unbind(0)?;
        self.library.walk(images, &self.legs(path, Some((&factors, rivals)))?)
    }

    /// Logits of a path by running statistics: recalibrate them for this path first.
    pub(crate) fn forward_frozen(&self, images: &Tensor, path: &[Pick]) -> Result<Tensor> {
        self.library.walk_frozen(images, &self.legs(path, None)?)
    }

    /// A pass that moves the running statistics of the path's blocks by `share` towards the batch's.
    pub(crate) fn recalibrate(&self, images: &Tensor, path: &[Pick], share: f64) -> Result<()> {
        let _frozen = NoGrad::new();
        let _logits = self.library.walk_recalibrating(images, &self.legs(path, None)?, share)?;
        Ok(())
    }

    /// Expected penalty, a scalar: `sum softmax(alpha) * weights`, `weights` f32 `[slots, width]`.
    pub(crate) fn expected(&self, weights: &Tensor) -> Result<Tensor> {
        let p = self.alpha.f_add(&self.mask)?.f_softmax(1, Kind::Float)?;
        Ok(p.f_mul(weights)?.f_sum(Kind::Float)?)
    }

    /// `alpha` as numbers, by slot and choice. Waits for the device.
    pub fn logits(&self) -> Result<Vec<Vec<f32>>> {
        let _frozen = NoGrad::new();
        let flat = Vec::<f32>::try_from(self.alpha.f_detach()?.f_reshape([-1])?)?;
        let width = self.width();
        Ok(self.blocks.iter().zip(flat.chunks(width)).map(|(slot, row)| row[..slot.len()].to_vec()).collect())
    }

    /// Blocks and gates in the order of a pass.
    fn legs<'a>(&self, path: &[Pick], gates: Option<(&'a [Tensor], Option<&[usize]>)>) -> Result<Vec<Leg<'a>>> {
        if path.len() != self.blocks.len() {
            return Err(TrainError::Plan(format!(
                "a path of {} picks through {} slots",
                path.len(),
                self.blocks.len()
            )));
        }
        let plain = |&block: &usize| Leg { block: Some(block), gate: None };
        let mut legs: Vec<Leg> = self.stem.iter().map(plain).collect();
        for (slot, (pick, blocks)) in path.iter().zip(&self.blocks).enumerate() {
            let block_of = |choice: usize| {
                blocks.get(choice).copied().ok_or_else(|| {
                    TrainError::Plan(format!("slot {slot} has {} choices, none numbered {choice}", blocks.len()))
                })
            };
            let block = pick.choice().map(block_of).transpose()?.flatten();
            let factor = match (pick, gates) {
                (Pick::Sampled(_), Some((factors, rivals))) => factors.get(slot).map(|factor| (factor, rivals)),
                _ => None,
            };
            let gate = match factor {
                None => None,
                Some((factor, None)) => Some(Gate { factor, against: Against::Absence }),
                Some((factor, Some(rivals))) => {
                    let rival = rivals.get(slot).copied().map(block_of).transpose()?.flatten();
                    Some(Gate { factor, against: Against::Rival(rival) })
                }
            };
            legs.push(Leg { block, gate });
        }
        legs.extend(self.head.iter().map(plain));
        Ok(legs)
    }
}
