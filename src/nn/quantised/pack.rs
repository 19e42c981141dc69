//! A trained network as the numbers of a packed file: signs as bits, normalisation folded.

use std::collections::BTreeMap;

use kiln_arch::quantised::packed::Numbers;
use kiln_arch::quantised::{Shortcut, bits};
use kiln_torch::NoGrad;
use tch::{Device, Kind, Tensor};

use super::network::QuantNetwork;
use super::quant;
use crate::error::{Result, TrainError};

/// The numbers of [`kiln_arch::quantised::packed`], by name.
///
/// # Errors
/// A network that is not quantised.
pub fn numbers(network: &QuantNetwork) -> Result<BTreeMap<String, Numbers>> {
    let _frozen = NoGrad::new();
    let blueprint = network.blueprint();
    let Some(quantised) = blueprint.bits else {
        return Err(TrainError::Plan("a network in 32 bits has nothing to pack".into()));
    };
    let mut out = BTreeMap::new();
    let mut put = |name: String, tensor: &Tensor| -> Result<()> {
        out.insert(name, Numbers::Floats(floats(tensor)?));
        Ok(())
    };
    let mut dense = vec!["first".to_owned()];
    for unit in &blueprint.units {
        let latent = network.tensor(&format!("{}.weight", unit.name))?;
        put(format!("{}.alpha", unit.name), &quant::alpha(latent, quantised)?)?;
        let (scale, shift) = network.folded(&unit.name)?;
        put(format!("{}.scale", unit.name), &scale)?;
        put(format!("{}.shift", unit.name), &shift)?;
        if unit.shortcut == Shortcut::Downsample {
            dense.push(format!("{}.shortcut", unit.name));
        }
    }
    for name in dense {
        put(format!("{name}.weight"), network.tensor(&format!("{name}.weight"))?)?;
        let (scale, shift) = network.folded(&name)?;
        put(format!("{name}.scale"), &scale)?;
        put(format!("{name}.shift"), &shift)?;
    }
    for what in ["classifier.weight", "classifier.bias"] {
        put(what.to_owned(), network.tensor(what)?)?;
    }
    for unit in &blueprint.units {
        let latent = network.tensor(&format!("{}.weight", unit.name))?;
        let levels: Vec<i8> = floats(&quant::weight_levels(latent, quantised)?)?.iter().map(|v| *v as i8).collect();
        let (to, from) = (blueprint.widths[unit.to] as usize, blueprint.widths[unit.from] as usize);
        let taps = (unit.kernel * unit.kernel) as usize;
        out.insert(format!("{}.bits", unit.name), Numbers::Bits(bits::pack(&levels, quantised, to, from, taps)));
    }
    Ok(out)
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?.f_contiguous()?;
    let mut out = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut out, tensor.numel())?;
    Ok(out)
}
