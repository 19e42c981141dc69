//! Writes what `tests/reference/quantised.py` compares with PyTorch: estimators, projections and a whole binary network, each
//! with values and gradients. One file, `quantised.safetensors`, in the folder given as the argument.
//!
//! Names say what a case is: `features a=2 quadratic/value` is its result, `/grad` its gradient with respect to `/x` when the
//! results are weighted by `/weights`.

use std::error::Error;
use std::path::PathBuf;

use kiln_arch::quantised::{Bits, Blueprint};
use kiln_arch::spec::{SignGradient, WidenSqueezeSettings};
use kiln_nn::quantised::{Pass, QuantNetwork, guide, quant};
use kiln_torch::tch::{Device, Kind, Tensor};
use kiln_torch::{CudaChoice, Generator};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Cases {
    generator: Generator,
    out: Vec<(String, Tensor)>,
}

impl Cases {
    fn normal(&mut self, shape: &[i64], spread: f64) -> Result<Tensor> {
        let mut tensor = Tensor::empty(shape, CPU);
        self.generator.normal_(&mut tensor, 0.0, spread)?;
        Ok(tensor)
    }

    fn put(&mut self, name: impl Into<String>, tensor: &Tensor) {
        self.out.push((name.into(), tensor.detach().copy()));
    }

    /// A function of some leaves: its value, and the gradient of each leaf.
    fn case(&mut self, name: &str, leaves: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
        let leaves: Vec<Tensor> = leaves.iter().map(|leaf| leaf.detach().copy().set_requires_grad(true)).collect();
        let value = f(&leaves)?;
        let weights = self.normal(&value.size(), 1.0)?;
        (&value * &weights).sum(Kind::Float).backward();
        self.put(format!("{name}/value"), &value);
        self.put(format!("{name}/weights"), &weights);
        for (i, leaf) in leaves.iter().enumerate() {
            self.put(format!("{name}/x{i}"), leaf);
            self.put(format!("{name}/grad{i}"), &leaf.grad());
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    kiln_torch::init(&CudaChoice::Off);
    kiln_torch::set_threads(1);
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: quantised FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let mut cases = Cases { generator: Generator::new(3, Device::Cpu)?, out: Vec::new() };
    estimators(&mut cases)?;
    guides(&mut cases)?;
    network(&mut cases)?;
    Ok(Tensor::write_safetensors(&cases.out, folder.join("quantised.safetensors"))?)
}

fn estimators(cases: &mut Cases) -> Result<()> {
    for bits in [1, 2, 4] {
        let of = Bits { weights: bits, activations: bits, pad_plus: false };
        for (word, gradient) in [("clipped", SignGradient::Clipped), ("quadratic", SignGradient::Quadratic)] {
            let x = cases.normal(&[7, 6, 3, 3], 0.9)?;
            cases.case(&format!("features bits={bits} {word}"), &[x], |x| Ok(quant::features(&x[0], of, gradient)?))?;
        }
        let latent = cases.normal(&[5, 6, 3, 3], 0.6)?;
        cases.case(&format!("weights bits={bits}"), &[latent], |w| Ok(quant::weights(&w[0], of)?))?;
    }
    Ok(())
}

fn guides(cases: &mut Cases) -> Result<()> {
    for (n, from, to) in [(9, 4, 4), (16, 3, 8)] {
        let (teacher, student) = (cases.normal(&[n, from, 5, 5], 1.3)?, cases.normal(&[n, to, 5, 5], 0.8)?);
        cases.case(&format!("relational n={n}"), &[teacher.shallow_clone(), student.shallow_clone()], |x| {
            Ok(guide::relational(&x[0], &x[1])?)
        })?;
        let projection = guide::projection(from, to, 5)?;
        cases.case(&format!("explicit n={n}"), &[projection, teacher, student], |x| {
            Ok(guide::explicit(&x[0], &x[1], &x[2])?)
        })?;
        let (teacher, student) = (cases.normal(&[n, 10], 2.0)?, cases.normal(&[n, 10], 2.0)?);
        cases.case(&format!("divergence t={n}"), &[teacher, student], |x| {
            Ok(guide::divergence(&x[0], &x[1], n as f64)?)
        })?;
    }
    let s = cases.normal(&[20], 1.0)?.abs();
    let mut moved = s.copy();
    guide::shrink(&mut moved, 0.3)?;
    guide::rescale(&mut moved)?;
    cases.put("proximal/x0", &s);
    cases.put("proximal/value", &moved);
    Ok(())
}

/// A binary network with two stages and importances, in training: logits, features, and the gradient of every parameter.
fn network(cases: &mut Cases) -> Result<()> {
    for (name, bits) in [
        ("binary", Bits { weights: 1, activations: 1, pad_plus: false }),
        ("binary-plus", Bits { weights: 1, activations: 1, pad_plus: true }),
        ("two", Bits { weights: 2, activations: 2, pad_plus: false }),
    ] {
        let own = WidenSqueezeSettings { widths: vec![4, 6], ..WidenSqueezeSettings::default() };
        let blueprint = Blueprint::new(&own, [3, 8, 8], 5, 1.0, Some(bits))?;
        let network = QuantNetwork::new(&blueprint, SignGradient::Quadratic, 7, Device::Cpu)?;
        let images = cases.normal(&[6, 3, 8, 8], 1.0)?;
        let mut importances = Vec::new();
        for &width in &blueprint.widths {
            importances.push((cases.normal(&[i64::from(width)], 0.3)?.abs() + 0.5).set_requires_grad(true));
        }
        let seen = network.forward(&images, Pass::Train, Some(&importances))?;
        let weights = cases.normal(&seen.logits.size(), 1.0)?;
        (&seen.logits * &weights).sum(Kind::Float).backward();
        let case = format!("network {name}");
        cases.put(format!("{case}/images"), &images);
        cases.put(format!("{case}/weights"), &weights);
        cases.put(format!("{case}/logits"), &seen.logits);
        for (i, feature) in seen.features.iter().enumerate() {
            cases.put(format!("{case}/feature/{i}"), feature);
        }
        for (g, s) in importances.iter().enumerate() {
            cases.put(format!("{case}/importance/{g}"), s);
            cases.put(format!("{case}/importance-grad/{g}"), &s.grad());
        }
        for (parameter, tensor) in network.trainable(true).into_iter().chain(network.trainable(false)) {
            cases.put(format!("{case}/parameter/{parameter}"), &tensor);
            cases.put(format!("{case}/gradient/{parameter}"), &tensor.grad());
        }
    }
    Ok(())
}
