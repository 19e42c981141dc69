//! What quantised networks cost, by the conventions of the literature on binary networks.
//!
//! - Bits of weights: 1 (or 2, 4) for each quantised weight, 32 for everything else that inference needs: weights and biases
//!   of 32 bits, gain and shift of each normalised channel (running statistics are folded into them), one scale an output
//!   channel of a quantised layer.
//! - BOPs: multiply-accumulates of quantised layers times the bits of their weights and of their features; FLOPs:
//!   multiply-accumulates of the layers in 32 bits; OPs = FLOPs + BOPs / 64.

use kiln_spec::QuantBudget;
use serde::{Deserialize, Serialize};

use super::{Blueprint, Shortcut, Unit};

/// Bit operations of one 64-bit word.
pub const WORD: f64 = 64.0;

/// Cost of a layer or a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantCost {
    /// Trainable numbers: weights, biases, gains and shifts.
    pub params: u64,
    /// Quantised weights.
    pub quantised: u64,
    /// Numbers of 32 bits that inference needs.
    pub full: u64,
    /// Bits of all of them.
    pub bits: u64,
    /// Bytes that they take in a file: the bits of each layer begin a new byte.
    pub bytes: u64,
    /// Bit operations for one image.
    pub bops: u64,
    /// Multiply-accumulates of 32 bits for one image.
    pub flops: u64,
}

impl QuantCost {
    /// Multiply-accumulates of 32 bits, with 64 bit operations counted as one.
    pub fn ops(&self) -> f64 {
        self.flops as f64 + self.bops as f64 / WORD
    }

    /// What a budget counts.
    pub fn of(&self, budget: QuantBudget) -> f64 {
        match budget {
            QuantBudget::Bops => self.bops as f64,
            QuantBudget::Ops => self.ops(),
            QuantBudget::Bits => self.bits as f64,
        }
    }

    fn full(full: u64, params: u64, flops: u64) -> QuantCost {
        QuantCost { params, full, bits: 32 * full, bytes: 4 * full, flops, ..QuantCost::default() }
    }
}

impl std::ops::Add for QuantCost {
    type Output = QuantCost;
    fn add(self, o: QuantCost) -> QuantCost {
        QuantCost {
            params: self.params + o.params,
            quantised: self.quantised + o.quantised,
            full: self.full + o.full,
            bits: self.bits + o.bits,
            bytes: self.bytes + o.bytes,
            bops: self.bops + o.bops,
            flops: self.flops + o.flops,
        }
    }
}

impl std::iter::Sum for QuantCost {
    fn sum<I: Iterator<Item = QuantCost>>(costs: I) -> QuantCost {
        costs.fold(QuantCost::default(), std::ops::Add::add)
    }
}

/// A layer with its cost.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCost {
    pub name: String,
    /// Bits of its weights: 32, or those of the quantised layers.
    pub bits: u8,
    pub cost: QuantCost,
}

impl Blueprint {
    /// Every layer with its cost, in the order of the network: first, units (each with its shortcut behind it), classifier.
    pub fn layers(&self) -> Vec<LayerCost> {
        let n = |x: u32| u64::from(x);
        let area = |side: [u32; 2]| n(side[0]) * n(side[1]);
        let [channels, height, width] = self.input.map(n);
        let mut layers = Vec::with_capacity(self.units.len() + 2);
        let c0 = n(self.widths[0]);
        let fan_in = match self.first.kernel {
            0 => channels * height * width,
            k => channels * n(k) * n(k),
        };
        let weights = fan_in * c0;
        let cost = QuantCost::full(weights + 2 * c0, weights + 2 * c0, weights * area(self.first.convolved));
        layers.push(LayerCost { name: "first".into(), bits: 32, cost });
        for unit in &self.units {
            layers.push(self.unit(unit));
            if unit.shortcut == Shortcut::Downsample {
                let (from, to) = (n(self.widths[unit.from]), n(self.widths[unit.to]));
                let cost = QuantCost::full(from * to + 2 * to, from * to + 2 * to, from * to * area(unit.output));
                layers.push(LayerCost { name: format!("{}.shortcut", unit.name), bits: 32, cost });
            }
        }
        let (last, classes) = (n(self.widths[self.last_group()]), n(self.classes));
        let numbers = last * classes + classes;
        layers.push(LayerCost {
            name: "classifier".into(),
            bits: 32,
            cost: QuantCost::full(numbers, numbers, last * classes),
        });
        layers
    }

    fn unit(&self, unit: &Unit) -> LayerCost {
        let to = u64::from(self.widths[unit.to]);
        let weights = self.fan_in(unit) * to;
        let macs = weights * u64::from(unit.output[0]) * u64::from(unit.output[1]);
        let name = unit.name.clone();
        match self.bits {
            None => LayerCost { name, bits: 32, cost: QuantCost::full(weights + 2 * to, weights + 2 * to, macs) },
            Some(bits) => {
                let packed = weights * u64::from(bits.weights);
                // Gain, shift and scale of each channel.
                let full = 3 * to;
                let cost = QuantCost {
                    params: weights + 2 * to,
                    quantised: weights,
                    full,
                    bits: packed + 32 * full,
                    bytes: packed.div_ceil(8) + 4 * full,
                    bops: macs * u64::from(bits.weights) * u64::from(bits.activations),
                    flops: 0,
                };
                LayerCost { name, bits: bits.weights, cost }
            }
        }
    }

    /// Cost of the whole network.
    pub fn cost(&self) -> QuantCost {
        self.layers().into_iter().map(|layer| layer.cost).sum()
    }

    /// What one channel of each group costs here: the difference that one less makes. All but the first and last factor of
    /// the cost depend on two groups, so the sum of widths times these is about twice the cost of the network.
    pub fn marginal(&self, budget: QuantBudget) -> Vec<f64> {
        let whole = self.cost().of(budget);
        (0..self.widths.len())
            .map(|group| {
                let mut widths = self.widths.clone();
                widths[group] = widths[group].saturating_sub(1);
                whole - self.with_widths(&widths).cost().of(budget)
            })
            .collect()
    }
}

/// What a budget counts, in words.
pub fn unit(budget: QuantBudget) -> &'static str {
    match budget {
        QuantBudget::Bops => "BOPs",
        QuantBudget::Ops => "OPs",
        QuantBudget::Bits => "bits",
    }
}

/// A cost as people read it: whole thousands apart.
pub(super) fn figure(v: f64) -> String {
    let digits = format!("{v:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
