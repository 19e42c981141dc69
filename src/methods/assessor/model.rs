//! The networks: encoder, decoder, head (card, steps 2 and 4), and Neural Predictor.
//!
//! | encoder | layers | decoder |
//! | --- | --- | --- |
//! | flat | f -> hidden, ReLU, -> d | d -> hidden, ReLU, -> f |
//! | conv | 3x3 1 -> 16, ReLU, 3x3 16 -> 32, ReLU, flattened -> d | d -> 32 maps, 3x3 32 -> 16, ReLU, 3x3 16 -> 1 |
//! | cell | three layers `H' = (relu(A1 H U) + relu(A2 H W)) / 2`, mean over the vertices, -> d | d -> hidden, ReLU, -> flat code |
//!
//! The head is `y = A^ relu(A^ Z W0 + b0) W1 + b1`; without a graph A^ is left out. Weights and
//! biases start uniform within one over the root of the number of inputs, as PyTorch has it; those of the graph layers over
//! cells after Glorot. Each is drawn from a stream named after it, so that networks with equal layers start equal.

use kiln_arch::spec::seed::derive;
use kiln_nn::torch::{Generator, TorchError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::code::{Coder, Codes};
use crate::error::{MethodError, Result};

/// Layers of the networks over cells.
const LAYERS: usize = 3;

/// Maps of the convolutional encoder.
const MAPS: [i64; 2] = [16, 32];

/// How a network reads an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    Flat,
    Conv,
    Cell,
}

/// What a network is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub encoder: Encoder,
    /// Whether it has a decoder.
    pub decoder: bool,
    /// Length of the embedding (d).
    pub embedding: i64,
    pub hidden: i64,
    /// Width of the graph layers.
    pub width: i64,
    /// The plain head of Neural Predictor: no biases, no non-linearity, dropout.
    pub plain: bool,
}

/// How weights are drawn.
#[derive(Clone, Copy)]
enum Start {
    /// Within one over the root of the number of inputs.
    Inputs,
    Glorot,
}

/// A network with its weights.
pub struct Network {
    pub shape: Shape,
    names: Vec<String>,
    weights: Vec<Tensor>,
}

/// Share of values dropped in training Neural Predictor.
const DROPOUT: f64 = 0.1;

impl Network {
    /// A new network for codes of this coder.
    ///
    /// # Errors
    /// A cell encoder for a space without cells.
    pub fn new(shape: Shape, coder: &Coder, seed: u64, device: Device) -> Result<Network> {
        let mut network = Network { shape, names: Vec::new(), weights: Vec::new() };
        network.build(coder, seed, device).map_err(MethodError::failed)?;
        Ok(network)
    }

    fn build(&mut self, coder: &Coder, seed: u64, device: Device) -> Result<(), TorchError> {
        let Shape { encoder, decoder, embedding: d, hidden, width, plain } = self.shape;
        let flat = coder.flat_len();
        let (rows, columns) = coder.image_size();
        let mut add = |name: &str, shape: &[i64], start: Start, bias: bool| -> Result<(), TorchError> {
            let inputs: i64 = shape.iter().skip(1).product();
            let outputs = shape.first().copied().unwrap_or(1);
            let bound = match start {
                Start::Inputs => 1.0 / (inputs as f64).sqrt(),
                Start::Glorot => (6.0 / (inputs + outputs) as f64).sqrt(),
            };
            let mut generator = Generator::new(derive(seed, name, 0, 0), Device::Cpu)?;
            let mut draw = |what: &str, shape: &[i64]| -> Result<(), TorchError> {
                let mut values = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
                generator.uniform_(&mut values, -bound, bound)?;
                self.names.push(format!("{name}.{what}"));
                self.weights.push(values.f_to_device(device)?.f_set_requires_grad(true)?);
                Ok(())
            };
            draw("weight", shape)?;
            if bias { draw("bias", &[outputs]) } else { Ok(()) }
        };
        match encoder {
            Encoder::Flat => {
                add("encoder.0", &[hidden, flat], Start::Inputs, true)?;
                add("encoder.1", &[d, hidden], Start::Inputs, true)?;
            }
            Encoder::Conv => {
                add("encoder.0", &[MAPS[0], 1, 3, 3], Start::Inputs, true)?;
                add("encoder.1", &[MAPS[1], MAPS[0], 3, 3], Start::Inputs, true)?;
                add("encoder.2", &[d, MAPS[1] * rows * columns], Start::Inputs, true)?;
            }
            Encoder::Cell => {
                let Some(labels) = coder.labels() else {
                    return Err(TorchError::Request(
                        "the space has no cells: only `nas-bench-101` and `nas-bench-201` do. Choose predictors that end in -flat or -conv".into(),
                    ));
                };
                for layer in 0..LAYERS {
                    let input = if layer == 0 { labels } else { width };
                    add(&format!("cell.{layer}.forward"), &[width, input], Start::Glorot, false)?;
                    add(&format!("cell.{layer}.backward"), &[width, input], Start::Glorot, false)?;
                }
                if !plain {
                    add("encoder.0", &[d, width], Start::Inputs, true)?;
                }
            }
        }
        if decoder {
            if encoder == Encoder::Conv {
                add("decoder.0", &[MAPS[1] * rows * columns, d], Start::Inputs, true)?;
                add("decoder.1", &[MAPS[0], MAPS[1], 3, 3], Start::Inputs, true)?;
                add("decoder.2", &[1, MAPS[0], 3, 3], Start::Inputs, true)?;
            } else {
                add("decoder.0", &[hidden, d], Start::Inputs, true)?;
                add("decoder.1", &[flat, hidden], Start::Inputs, true)?;
            }
        }
        if plain {
            add("head.0", &[hidden, width], Start::Inputs, false)?;
            add("head.1", &[1, hidden], Start::Inputs, false)
        } else {
            add("head.0", &[hidden, d], Start::Inputs, true)?;
            add("head.1", &[1, hidden], Start::Inputs, true)
        }
    }

    /// Brings the first embeddings of the cell encoder to mean 0 and deviation 1 over these cells, column by column, by way of
    /// its last layer. The mean over a cell's vertices is nearly the same vector for all cells: without this, all embeddings
    /// point in one direction, the decoder has nothing to tell cells apart by, and the relation graph is decided by rounding.
    pub fn settle(&mut self, codes: &Codes) -> Result<(), TorchError> {
        if self.shape.encoder != Encoder::Cell || self.shape.plain {
            return Ok(());
        }
        let _frozen = kiln_nn::torch::NoGrad::new();
        let embedding = self.encode(codes, None)?;
        let mean = embedding.f_mean_dim([0i64].as_slice(), false, Kind::Float)?;
        let deviation = embedding.f_std_dim([0i64].as_slice(), true, false)?.f_clamp_min(1e-6)?;
        let scaled = self.get("encoder.0.weight")?.f_div(&deviation.f_unsqueeze(1)?)?;
        let shifted = self.get("encoder.0.bias")?.f_sub(&mean)?.f_div(&deviation)?;
        for (name, value) in [("encoder.0.weight", scaled), ("encoder.0.bias", shifted)] {
            // Both names were found above.
            if let Some(at) = self.names.iter().position(|n| n == name) {
                self.weights[at].f_copy_(&value)?;
            }
        }
        Ok(())
    }

    /// Weights by name, in a fixed order.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names.iter().map(String::as_str).zip(&self.weights)
    }

    pub fn weights(&self) -> &[Tensor] {
        &self.weights
    }

    /// Overwrites the weights.
    ///
    /// # Errors
    /// One is missing or has another shape.
    pub fn load(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let _frozen = kiln_nn::torch::NoGrad::new();
        for (name, weight) in self.names.iter().zip(&mut self.weights) {
            let found = saved.iter().find(|(n, _)| n == name).map(|(_, t)| t);
            let Some(found) = found.filter(|t| t.size() == weight.size()) else {
                return Err(MethodError::failed(format!(
                    "the saved assessor lacks `{name}` of shape {:?}: another Kiln wrote it",
                    weight.size()
                )));
            };
            weight.f_copy_(found).map_err(MethodError::failed)?;
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Result<&Tensor, TorchError> {
        let at = self.names.iter().position(|n| n == name);
        at.and_then(|i| self.weights.get(i)).ok_or_else(|| TorchError::Request(format!("there is no weight `{name}`")))
    }

    fn linear(&self, name: &str, input: &Tensor) -> Result<Tensor, TorchError> {
        let bias = self.get(&format!("{name}.bias")).ok();
        Ok(input.f_linear(self.get(&format!("{name}.weight"))?, bias)?)
    }

    fn conv(&self, name: &str, input: &Tensor) -> Result<Tensor, TorchError> {
        let (weight, bias) = (self.get(&format!("{name}.weight"))?, self.get(&format!("{name}.bias"))?);
        Ok(input.f_conv2d(weight, Some(bias), [1, 1], [1, 1], [1, 1], 1)?)
    }

    /// Embeddings e: f32 `[n, d]` (of Neural Predictor: `[n, width]`). `drop` is given in training Neural Predictor.
    pub fn encode(&self, codes: &Codes, drop: Option<&mut Generator>) -> Result<Tensor, TorchError> {
        match self.shape.encoder {
            Encoder::Flat => self.linear("encoder.1", &self.linear("encoder.0", &codes.flat)?.f_relu()?),
            Encoder::Conv => {
                let maps = self.conv("encoder.0", &codes.image)?.f_relu()?;
                let maps = self.conv("encoder.1", &maps)?.f_relu()?;
                self.linear("encoder.2", &maps.f_flatten(1, -1)?)
            }
            Encoder::Cell => {
                let mean = self.cells(codes, drop)?;
                if self.shape.plain { Ok(mean) } else { self.linear("encoder.0", &mean) }
            }
        }
    }

    /// Mean over the vertices after the graph layers: `[n, width]`.
    fn cells(&self, codes: &Codes, mut drop: Option<&mut Generator>) -> Result<Tensor, TorchError> {
        let graph = codes.graph.as_ref().ok_or_else(|| TorchError::Request("these codes have no graphs".into()))?;
        let mut h = graph.labels.shallow_clone();
        for layer in 0..LAYERS {
            let way = |name: &str, a: &Tensor| -> Result<Tensor, TorchError> {
                let product = self.linear(&format!("cell.{layer}.{name}"), &h)?;
                Ok(a.f_bmm(&product)?.f_relu()?)
            };
            let (there, back) = (way("forward", &graph.forward)?, way("backward", &graph.backward)?);
            h = there.f_add(&back)?.f_mul_scalar(0.5)?;
            if let Some(generator) = drop.as_deref_mut() {
                h = dropped(&h, generator)?;
            }
        }
        Ok(graph.share.f_bmm(&h)?.f_squeeze_dim(1)?)
    }

    /// Standardised predictions y^: f32 `[n]`, with `graph` the A^ of these embeddings.
    pub fn predict(
        &self,
        embedding: &Tensor,
        graph: Option<&Tensor>,
        drop: Option<&mut Generator>,
    ) -> Result<Tensor, TorchError> {
        let over = |x: &Tensor| -> Result<Tensor, TorchError> {
            match graph {
                Some(a) => Ok(a.f_matmul(x)?),
                None => Ok(x.shallow_clone()),
            }
        };
        if self.shape.plain {
            let mut z = self.linear("head.0", embedding)?;
            if let Some(generator) = drop {
                z = dropped(&z, generator)?;
            }
            return Ok(self.linear("head.1", &z)?.f_squeeze_dim(1)?);
        }
        let z = self.linear("head.0", &over(embedding)?)?.f_relu()?;
        Ok(self.linear("head.1", &over(&z)?)?.f_squeeze_dim(1)?)
    }

    /// Reconstructions x^, shaped as [`Network::target`].
    pub fn decode(&self, embedding: &Tensor, codes: &Codes) -> Result<Tensor, TorchError> {
        if self.shape.encoder != Encoder::Conv {
            return self.linear("decoder.1", &self.linear("decoder.0", embedding)?.f_relu()?);
        }
        let size = codes.image.size();
        let (rows, columns) = (size.get(2).copied().unwrap_or(1), size.get(3).copied().unwrap_or(1));
        let maps = self.linear("decoder.0", embedding)?.f_view([-1, MAPS[1], rows, columns])?;
        let maps = self.conv("decoder.1", &maps)?.f_relu()?;
        self.conv("decoder.2", &maps)
    }

    /// What the decoder should give back.
    pub fn target<'a>(&self, codes: &'a Codes) -> &'a Tensor {
        if self.shape.encoder == Encoder::Conv { &codes.image } else { &codes.flat }
    }
}

fn dropped(x: &Tensor, generator: &mut Generator) -> Result<Tensor, TorchError> {
    let mut kept = Tensor::f_zeros(x.size(), (Kind::Float, x.device()))?;
    generator.bernoulli_(&mut kept, 1.0 - DROPOUT)?;
    Ok(x.f_mul(&kept.f_mul_scalar(1.0 / (1.0 - DROPOUT))?)?)
}
