//! Writes networks of several spaces as TorchScript modules, beside files with their tensors, some images and the logits
//! that Kiln computes for these; `tests/reference/torchscript.py` compares them in PyTorch.

use std::error::Error;
use std::path::PathBuf;

use kiln_arch::{Shape, Space};
use kiln_nn::torch::Generator;
use kiln_nn::{Mode, Network};
use tch::{Device, Kind, Tensor};

const SPACES: [(&str, Shape); 6] = [
    ("digits-mlp", Shape::Image(1, 8, 8)),
    ("conv-cells", Shape::Image(3, 16, 16)),
    ("mobile-xs", Shape::Image(1, 8, 8)),
    ("hournas-f-cifar", Shape::Image(3, 32, 32)),
    ("nas-bench-101", Shape::Image(3, 16, 16)),
    ("nas-bench-201", Shape::Image(3, 16, 16)),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: torchscript FOLDER")?);
    for (name, input) in SPACES {
        let space = Space::named(name)?;
        let network = Network::build(&space.plan(&space.reference(), input, 10)?, 3, Device::Cpu)?;
        let Shape::Image(c, h, w) = input else { return Err("all of these take images".into()) };
        let mut images = Tensor::f_zeros([7, c, h, w].map(i64::from), (Kind::Float, Device::Cpu))?;
        Generator::new(7, Device::Cpu)?.normal_(&mut images, 0.0, 1.0)?;
        // Running statistics that are not the initial ones.
        drop(network.forward(&images, Mode::Train)?);
        network.write_torchscript(&folder.join(format!("{name}.pt")), &[("kiln.json", "{\"arch\": \"reference\"}")])?;
        let mut tensors: Vec<(String, Tensor)> =
            network.named_tensors().into_iter().map(|(name, tensor)| (format!("network.{name}"), tensor)).collect();
        tensors.push(("logits".into(), network.forward(&images, Mode::Eval)?.detach()));
        tensors.push(("images".into(), images));
        Tensor::write_safetensors(&tensors, folder.join(format!("{name}.safetensors")))?;
    }
    Ok(())
}
