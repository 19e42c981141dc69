//! Quantised networks without torch: their layers, what they cost, and how they compute on packed bits.
//!
//! - this file: a [`Blueprint`], the layers of one network with the channels of each group
//! - [`cost`]: bits, bit operations and storage, counted as the literature on binary networks does
//! - [`bits`]: numbers of few bits as planes of bits, and products of such by XNOR and counting
//! - [`packed`]: a finished network as a file of bits, and its forward pass in plain Rust
//!
//! Channels that a shortcut adds to one another belong together: all that carry one stream are one *group*, with one width.
//! A layer reads one group and writes one. Squeezing removes channels of groups.

pub mod bits;
pub mod cost;
pub mod packed;
#[cfg(test)]
mod tests;

use kiln_spec::{BinaryPadding, QuantFamily, QuantStem, WidenSqueezeSettings};
use serde::{Deserialize, Serialize};

pub use cost::{LayerCost, QuantCost};
pub use packed::{PackedAbout, PackedNet};

/// Sums of a quantised layer must be whole numbers that 32-bit floats hold exactly.
const EXACT: u64 = 1 << 24;

/// Bits of the quantised layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    /// Of a weight: 1, 2 or 4.
    pub weights: u8,
    /// Of a feature: 1 (-1 and +1), 2 or 4 (evenly from 0 to 1).
    pub activations: u8,
    /// The feature that stands around maps: `true` for +1. Features of more bits have 0.
    pub pad_plus: bool,
}

impl Bits {
    /// Those of a preset.
    pub fn of(own: &WidenSqueezeSettings) -> Bits {
        Bits {
            weights: own.weight_bits,
            activations: own.activation_bits,
            pad_plus: own.padding == BinaryPadding::PlusOne,
        }
    }

    /// The largest whole number that stands for a weight: weights are the odd numbers from minus that to that.
    pub fn weight_top(self) -> u32 {
        (1 << self.weights) - 1
    }

    /// The largest whole number that stands for a feature: -1 and 1 of one bit, else all from 0 to that.
    pub fn activation_top(self) -> u32 {
        (1 << self.activations) - 1
    }

    /// The whole number that stands around maps.
    pub fn padding(self) -> f64 {
        match (self.activations, self.pad_plus) {
            (1, true) => 1.0,
            (1, false) => -1.0,
            _ => 0.0,
        }
    }
}

/// The layer that reads the image, in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Side of the kernel; 0 for a layer that is connected to every pixel.
    pub kernel: u32,
    pub stride: u32,
    /// 3x3 max pooling of stride 2 behind it.
    pub pool: bool,
    /// Height and width behind the convolution, and behind the pooling.
    pub convolved: [u32; 2],
    pub output: [u32; 2],
}

/// What is added to a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// Nothing.
    None,
    /// Its input.
    Identity,
    /// Its input after 2x2 average pooling, a 1x1 convolution of 32 bits and normalisation.
    Downsample,
}

/// A quantised layer: the features of one group through a convolution and normalisation, plus the shortcut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    /// Groups that it reads and writes.
    pub from: usize,
    pub to: usize,
    /// Side of the kernel, odd; 1 between fully connected layers.
    pub kernel: u32,
    pub stride: u32,
    /// Height and width of its input and output.
    pub input: [u32; 2],
    pub output: [u32; 2],
    pub shortcut: Shortcut,
}

/// The layers of one network, in 32 bits or quantised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// Channels, height and width of an image.
    pub input: [u32; 3],
    pub classes: u32,
    /// Channels of each group.
    pub widths: Vec<u32>,
    pub first: First,
    pub units: Vec<Unit>,
    /// `None`: everything in 32 bits, with ReLU in place of quantisation.
    pub bits: Option<Bits>,
}

impl Blueprint {
    /// The network of a preset with its widths times `factor`, rounded up.
    ///
    /// # Errors
    /// A sentence: images too small for its layers, sums that are not exact any more.
    pub fn new(
        own: &WidenSqueezeSettings,
        input: [u32; 3],
        classes: u32,
        factor: f64,
        bits: Option<Bits>,
    ) -> Result<Blueprint, String> {
        let widths = widened(&own.widths, factor);
        if widths.is_empty() {
            return Err("a quantised network needs at least one width (widen-squeeze.widths)".into());
        }
        let [_, height, width] = input;
        let flat = own.network == QuantFamily::Mlp;
        let first = match (flat, own.stem) {
            (true, _) => First { kernel: 0, stride: 1, pool: false, convolved: [1, 1], output: [1, 1] },
            (false, QuantStem::Small) => {
                First { kernel: 3, stride: 1, pool: false, convolved: [height, width], output: [height, width] }
            }
            (false, QuantStem::Imagenet) => {
                let convolved = halved([height, width]);
                First { kernel: 7, stride: 2, pool: true, convolved, output: halved(convolved) }
            }
        };
        let mut units = Vec::new();
        let mut side = first.output;
        let mut add = |name: String, from: usize, to: usize, kernel: u32, stride: u32, shortcut: Shortcut| {
            let output = if stride == 2 { halved(side) } else { side };
            units.push(Unit { name, from, to, kernel, stride, input: side, output, shortcut });
            side = output;
        };
        match own.network {
            QuantFamily::Mlp => {
                for i in 1..widths.len() {
                    add(format!("layer{}", i + 1), i - 1, i, 1, 1, Shortcut::None);
                }
            }
            QuantFamily::Conv => {
                for i in 1..widths.len() {
                    let grows = own.widths[i] > own.widths[i - 1];
                    add(format!("conv{}", i + 1), i - 1, i, 3, if grows { 2 } else { 1 }, Shortcut::None);
                }
            }
            QuantFamily::Resnet => {
                for stage in 0..widths.len() {
                    for i in 0..2 * own.blocks {
                        let name = format!("stage{}.{}", stage + 1, i + 1);
                        if stage > 0 && i == 0 {
                            add(name, stage - 1, stage, 3, 2, Shortcut::Downsample);
                        } else {
                            add(name, stage, stage, 3, 1, Shortcut::Identity);
                        }
                    }
                }
            }
        }
        let blueprint = Blueprint { input, classes, widths, first, units, bits };
        if let Some(unit) = blueprint.units.iter().find(|u| u.stride == 2 && u.input.contains(&1)) {
            return Err(format!(
                "images of {height}x{width} are too small for `{}`, which would halve a map of {}x{}; take fewer widths",
                unit.name, unit.input[0], unit.input[1]
            ));
        }
        if let Some((bits, unit)) = blueprint.bits.and_then(|bits| Some((bits, blueprint.inexact(bits)?))) {
            return Err(format!(
                "`{}` sums up {} products of {} and {} bits, more than 32-bit floats hold exactly; take smaller widths or factors",
                unit.name,
                blueprint.fan_in(unit),
                bits.weights,
                bits.activations
            ));
        }
        Ok(blueprint)
    }

    fn inexact(&self, bits: Bits) -> Option<&Unit> {
        let largest = u64::from(bits.weight_top()) * u64::from(bits.activation_top());
        self.units.iter().find(|unit| self.fan_in(unit) * largest >= EXACT)
    }

    /// Weights of one output channel of a unit.
    pub fn fan_in(&self, unit: &Unit) -> u64 {
        u64::from(self.widths[unit.from]) * u64::from(unit.kernel) * u64::from(unit.kernel)
    }

    /// The same layers with other widths.
    pub fn with_widths(&self, widths: &[u32]) -> Blueprint {
        Blueprint { widths: widths.to_vec(), ..self.clone() }
    }

    /// The classifier reads quantised features; behind shortcuts it reads the stream itself.
    pub fn head_is_quantised(&self) -> bool {
        self.bits.is_some() && self.units.iter().all(|unit| unit.shortcut == Shortcut::None)
    }

    /// The group that the classifier reads.
    pub fn last_group(&self) -> usize {
        self.units.last().map_or(0, |unit| unit.to)
    }

    /// Groups of the features that projections compare: that of the first layer and that of every unit.
    pub fn feature_groups(&self) -> Vec<usize> {
        std::iter::once(0).chain(self.units.iter().map(|unit| unit.to)).collect()
    }

    /// Names of those features.
    pub fn feature_names(&self) -> Vec<String> {
        std::iter::once("first".to_owned()).chain(self.units.iter().map(|unit| unit.name.clone())).collect()
    }

    /// Names of the groups: the first layer that writes them.
    pub fn group_names(&self) -> Vec<String> {
        let names = self.feature_names();
        let groups = self.feature_groups();
        let first = |g: usize| groups.iter().position(|&of| of == g).and_then(|i| names.get(i).cloned());
        (0..self.widths.len())
            .map(|g| match self.units.iter().any(|u| u.shortcut != Shortcut::None) {
                true => format!("stage{}", g + 1),
                false => first(g).unwrap_or_default(),
            })
            .collect()
    }

    /// Fewest channels that each group keeps under these floors.
    pub fn floors(&self, share: f64, channels: u32) -> Vec<u32> {
        let floor = |&width: &u32| ((f64::from(width) * share).ceil() as u32).max(channels).min(width);
        self.widths.iter().map(floor).collect()
    }
}

/// Widths times a factor, rounded up.
pub fn widened(widths: &[u32], factor: f64) -> Vec<u32> {
    widths.iter().map(|&width| (f64::from(width) * factor).ceil().clamp(1.0, f64::from(u32::MAX)) as u32).collect()
}

fn halved(side: [u32; 2]) -> [u32; 2] {
    side.map(|n| n.div_ceil(2))
}

/// Why a preset's squeeze cannot be done on these images, as far as that can be told before: the key, and a sentence.
///
/// # Errors
/// The key of the setting and what is wrong with it.
pub fn check(own: &WidenSqueezeSettings, input: [u32; 3], classes: u32) -> Result<(), (&'static str, String)> {
    let network = |factor| Blueprint::new(own, input, classes, factor, Some(Bits::of(own)));
    let wide = network(own.widest()).map_err(|said| ("widen-squeeze.widths", said))?;
    let budget = network(own.squeeze_to).map_err(|said| ("widen-squeeze.squeeze-to", said))?.cost().of(own.budget);
    // Floors are shares of what a squeeze begins with, and later squeezes begin with less.
    let mut floors = wide.widths.clone();
    for _ in 0..own.rounds {
        floors = wide.with_widths(&floors).floors(own.floor_share, own.floor_channels);
    }
    let least = wide.with_widths(&floors).cost().of(own.budget);
    if least > budget {
        return Err((
            "widen-squeeze.squeeze-to",
            format!(
                "is {}, a budget of {} {}; the floors (floor-share {}, floor-channels {}) keep widths of {floors:?}, which cost {}. \
                 Lower the floors or take a larger budget",
                own.squeeze_to,
                cost::figure(budget),
                cost::unit(own.budget),
                own.floor_share,
                own.floor_channels,
                cost::figure(least)
            ),
        ));
    }
    Ok(())
}
