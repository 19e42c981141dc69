//! Initial weights, drawn from a generator of our own on the CPU, so that they are the same on every device.
//!
//! | what follows the weights | distribution |
//! | --- | --- |
//! | ReLU, GELU, hard swish | Kaiming: normal, variance `2 / fan_in` |
//! | tanh, sigmoid | Xavier: normal, variance `2 / (fan_in + fan_out)` |
//! | nothing (projections, the classifier) | normal, variance `1 / fan_in` |
//!
//! A normalisation between the weights and the activation does not change the choice. Biases are 0, gains of batch
//! normalisation 1. `fan_in` of a convolution counts the kernel and one group's inputs.

use kiln_arch::Act;
use kiln_torch::Generator;
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// Standard deviation of weights whose output goes into `next`.
pub fn deviation(fan_in: f64, fan_out: f64, next: Option<Act>) -> f64 {
    match next {
        Some(Act::Relu | Act::Gelu | Act::HardSwish) => (2.0 / fan_in).sqrt(),
        Some(Act::Tanh | Act::Sigmoid) => (2.0 / (fan_in + fan_out)).sqrt(),
        None => (1.0 / fan_in).sqrt(),
    }
}

/// New weights `[out, input / groups, k, k]` or `[out, input]` on the CPU.
pub fn weights(shape: &[i64], groups: i64, next: Option<Act>, generator: &mut Generator) -> Result<Tensor> {
    let kernel: i64 = shape.iter().skip(2).product();
    let (out, input) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
    let (fan_in, fan_out) = (input * kernel, out / groups.max(1) * kernel);
    let mut tensor = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
    generator.normal_(&mut tensor, 0.0, deviation(fan_in as f64, fan_out as f64, next))?;
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_matches_the_rule() {
        let mut generator = Generator::new(3, Device::Cpu).unwrap();
        for (shape, groups, next, want) in [
            (vec![64, 32, 3, 3], 1, Some(Act::Relu), (2.0_f64 / (32.0 * 9.0)).sqrt()),
            (vec![512, 1, 5, 5], 512, Some(Act::HardSwish), (2.0_f64 / 25.0).sqrt()),
            (vec![128, 64], 1, Some(Act::Tanh), (2.0_f64 / 192.0).sqrt()),
            (vec![128, 64], 1, None, (1.0_f64 / 64.0).sqrt()),
        ] {
            let w = weights(&shape, groups, next, &mut generator).unwrap();
            let (mean, std) = (w.mean(Kind::Double).double_value(&[]), w.std(true).double_value(&[]));
            assert!((std / want - 1.0).abs() < 0.05, "{shape:?}: {std} is not {want}");
            assert!(mean.abs() < 0.1 * want, "{shape:?}: mean {mean}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_weights() {
        let draw = |seed| weights(&[8, 4, 3, 3], 1, None, &mut Generator::new(seed, Device::Cpu).unwrap()).unwrap();
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
