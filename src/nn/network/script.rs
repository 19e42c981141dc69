//! A network as a TorchScript module, for programs without Kiln.

use std::path::Path;

use kiln_arch::Shape;
use kiln_arch::spec::Precision;
use kiln_torch::script::{Held, trace};
use tch::{Kind, Tensor};

use super::{Layout, Mode, Network};
use crate::error::{Result, TrainError};

impl Network {
    /// Writes the network as a TorchScript module: normalised images `[n, c, h, w]` in, logits `[n, classes]` out, any `n`,
    /// with running statistics. Parameters and buffers have the names of [`Network::named_tensors`]; `texts` lie beside the
    /// code (`_extra_files` in PyTorch).
    ///
    /// # Errors
    /// [`TrainError::Plan`] for a network in another layout or arithmetic than the plain ones, which would become part of the
    /// module; what libtorch says of the file.
    pub fn write_torchscript(&self, path: &Path, texts: &[(&str, &str)]) -> Result<()> {
        if self.layout != Layout::Plain || self.precision != Precision::F32 {
            return Err(TrainError::Plan("a network is exported in plain layout and 32-bit arithmetic".into()));
        }
        let size: Vec<i64> = match self.plan.input {
            Shape::Flat(n) => vec![2, i64::from(n)],
            Shape::Image(c, h, w) => [2, c, h, w].map(i64::from).to_vec(),
        };
        let example = Tensor::f_zeros(size, (Kind::Float, self.device))?;
        let held: Vec<Held<'_>> =
            self.tensors.iter().map(|t| Held { name: &t.name, tensor: &t.tensor, trainable: t.trainable }).collect();
        trace(&held, &example, path, texts, |images| self.forward(images, Mode::Eval))
    }
}

#[cfg(test)]
mod tests {
    use kiln_arch::{Shape, Space};
    use kiln_torch::Generator;
    use kiln_torch::tch::{CModule, Device};

    use super::*;

    #[test]
    fn the_module_of_every_space_computes_the_same_bits_for_any_number_of_images() {
        let dir = std::env::temp_dir().join(format!("kiln-script-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("network.pt");
        for (space, input) in [
            ("digits-mlp", Shape::Image(1, 8, 8)),
            ("conv-cells", Shape::Image(3, 16, 16)),
            ("mobile-xs", Shape::Image(1, 8, 8)),
            ("hournas-f-cifar", Shape::Image(3, 32, 32)),
        ] {
            let space = Space::named(space).unwrap();
            let plan = space.plan(&space.reference(), input, 10).unwrap();
            let network = Network::build(&plan, 3, Device::Cpu).unwrap();
            let Shape::Image(c, h, w) = input else { panic!("all of these take images") };
            let shape = [5, c, h, w].map(i64::from);
            let mut images = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            Generator::new(7, Device::Cpu).unwrap().normal_(&mut images, 0.0, 1.0).unwrap();
            // Running statistics that are not the initial ones.
            let _ = network.forward(&images, Mode::Train).unwrap();
            network.write_torchscript(&path, &[("kiln", "{}")]).unwrap();
            let module = CModule::load(&path).unwrap();
            let expected = network.forward(&images, Mode::Eval).unwrap();
            assert!(module.forward_ts(&[&images]).unwrap().equal(&expected), "{}", space.name);
            let mut names: Vec<String> = module.named_parameters().unwrap().into_iter().map(|p| p.0).collect();
            let mut own: Vec<&str> = network.trainable_names();
            names.sort();
            own.sort_unstable();
            assert_eq!(names, own);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn another_layout_is_refused() {
        let space = Space::named("mobile-xs").unwrap();
        let plan = space.plan(&space.reference(), Shape::Image(1, 8, 8), 10).unwrap();
        let network = Network::build(&plan, 1, Device::Cpu).unwrap();
        let network = network.configured(Layout::ChannelsLast, Precision::F32).unwrap();
        assert!(network.write_torchscript(Path::new("/nonexistent/x"), &[]).unwrap_err().to_string().contains("plain"));
    }
}
