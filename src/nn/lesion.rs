//! Lesions: how well a trained network does without one of its blocks.

use kiln_data::{DataSet, Split};
use kiln_torch::NoGrad;
use tch::Tensor;

use crate::error::Result;
use crate::loss::{Eval, evaluate_by};
use crate::network::{Network, copied};

/// Loss and accuracy on a split with the block of one searched slot bypassed, as [`Network::forward_without`] does it. The
/// network comes back as it was. `None` if `tick`, asked before every batch, said to stop.
///
/// With `recalibrate` (batches of training images, by number) the running statistics of batch normalisation are first
/// estimated anew for the network without the block. Otherwise the later blocks normalise by statistics that no longer
/// fit, and the drop is partly that misfit's.
pub fn evaluate_without(
    network: &Network,
    slot: usize,
    data: &DataSet,
    split: &Split,
    recalibrate: &[Tensor],
    tick: &dyn Fn() -> bool,
) -> Result<Option<Eval>> {
    let kept = match recalibrate.is_empty() {
        true => Vec::new(),
        false => network.running_statistics().into_iter().map(|t| Ok((copied(&t)?, t))).collect::<Result<Vec<_>>>()?,
    };
    let result = estimate(network, slot, data, recalibrate, tick).and_then(|done| match done {
        true => evaluate_by(&|images| network.forward_without(images, slot), data, split, tick),
        false => Ok(None),
    });
    let _frozen = NoGrad::new();
    for (kept, mut own) in kept {
        own.f_copy_(&kept)?;
    }
    result
}

/// `false` if `tick` said to stop.
fn estimate(
    network: &Network,
    slot: usize,
    data: &DataSet,
    batches: &[Tensor],
    tick: &dyn Fn() -> bool,
) -> Result<bool> {
    for (i, index) in batches.iter().enumerate() {
        if tick() {
            return Ok(false);
        }
        let (images, _) = kiln_data::batch(data, &data.train, index, None)?;
        // Moving by 1/1, 1/2, 1/3, ... makes the running value the mean of all batches so far and forgets the old one.
        network.recalibrate_without(&images, slot, 1.0 / (i as f64 + 1.0))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Mode;
    use crate::testing::{cnn, never, same_bits, stripes};
    use kiln_torch::Generator;
    use tch::Device;

    #[test]
    fn a_lesion_leaves_the_network_as_it_was() {
        let data = stripes(96);
        let network = Network::build(&cnn(), 3, Device::Cpu).unwrap();
        let order = Generator::new(1, Device::Cpu).unwrap().randperm(96).unwrap();
        let batches = order.split(16, 0);
        let state = || -> Vec<Tensor> { network.named_tensors().into_iter().map(|(_, t)| t.copy()).collect() };
        let before = state();
        let asked = std::cell::Cell::new(0);
        let soon = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let frozen = evaluate_without(&network, 0, &data, &data.valid, &[], &never).unwrap().unwrap();
        let own = evaluate_without(&network, 0, &data, &data.valid, &batches, &never).unwrap().unwrap();
        assert!(evaluate_without(&network, 0, &data, &data.valid, &batches, &soon).unwrap().is_none());
        assert!(before.iter().zip(state()).all(|(a, b)| same_bits(a, &b)));
        assert_ne!(frozen.loss, own.loss, "statistics of its own change what the network says");
        // By statistics of its own, the network without a block is the one that never had it, recalibrated.
        let mut plan = cnn();
        plan.blocks.remove(1);
        let mut without = Network::build(&plan, 9, Device::Cpu).unwrap();
        without.load(&network.named_tensors()).unwrap();
        crate::loss::recalibrate_bn(&without, &data, &data.train, &batches).unwrap();
        let expected = crate::loss::evaluate(&without, &data, &data.valid, &never).unwrap().unwrap();
        assert_eq!(own, expected);
        let (images, _) = kiln_data::range(&data, &data.valid, 0, 8).unwrap();
        assert_eq!(without.forward(&images, Mode::Eval).unwrap().size(), [8, 4]);
    }
}
