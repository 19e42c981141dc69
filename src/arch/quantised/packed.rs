//! A finished network as a file of bits, and its forward pass without torch.
//!
//! The file is a safetensors file. Quantised weights are one tensor of bytes a layer (`NAME.bits`, see [`super::bits`]), all
//! else is 32-bit floats: `NAME.alpha` (what a whole number of the layer's sums stands for), `NAME.scale` and `NAME.shift`
//! (normalisation, its statistics folded in), weights of the layers that are not quantised. What the network is stands as
//! JSON in the entry `kiln` of the header. Behind the header lie as many bytes as [`super::QuantCost::bytes`] says.
//!
//! Sums of quantised layers are whole numbers. Sums of the others are taken in 64 bits and rounded to 32, so that the
//! emulation in torch, which adds in another order, finds the same floats.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};

use super::bits::{self, Features, Planes};
use super::{Bits, Blueprint, Shortcut};

/// The header's one entry.
const KEY: &str = "kiln";

/// What a packed file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackedAbout {
    /// Always `packed`, to tell it from other files of Kiln.
    pub form: String,
    pub network: Blueprint,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Of pixels scaled to `0..=1`, by channel; images are normalised by these before they enter the network.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    /// Digest of the data set that it was trained on.
    pub data: String,
    /// Version of the program that wrote it.
    pub kiln: String,
}

/// Numbers of a packed network.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Bits(Vec<u8>),
    Floats(Vec<f32>),
}

/// Gain and shift of a normalised layer.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    fn apply(&self, map: &mut [f32], area: usize) {
        for (channel, values) in map.chunks_exact_mut(area).enumerate() {
            for v in values {
                *v = *v * self.scale[channel] + self.shift[channel];
            }
        }
    }
}

/// A layer in 32 bits, normalised.
struct Dense {
    weight: Vec<f32>,
    affine: Affine,
}

struct PackedUnit {
    weights: Planes,
    alpha: Vec<f32>,
    affine: Affine,
    shortcut: Option<Dense>,
}

/// A network that computes on packed bits.
pub struct PackedNet {
    pub about: PackedAbout,
    bits: Bits,
    first: Dense,
    units: Vec<PackedUnit>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Entry {
    shape: Vec<usize>,
    dtype: Dtype,
    data: Vec<u8>,
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The bytes of a file. Equal networks give equal files.
///
/// # Errors
/// A sentence, if the numbers are not those of the network.
pub fn write(about: &PackedAbout, numbers: &BTreeMap<String, Numbers>) -> Result<Vec<u8>, String> {
    PackedNet::of(about.clone(), numbers)?;
    let entries: Vec<(&str, Entry)> = numbers
        .iter()
        .map(|(name, numbers)| {
            let (dtype, data) = match numbers {
                Numbers::Bits(bytes) => (Dtype::U8, bytes.clone()),
                Numbers::Floats(floats) => (Dtype::F32, floats.iter().flat_map(|v| v.to_le_bytes()).collect()),
            };
            let shape = vec![if dtype == Dtype::F32 { data.len() / 4 } else { data.len() }];
            (name.as_str(), Entry { shape, dtype, data })
        })
        .collect();
    let words = serde_json::to_string(about).map_err(|e| format!("the packed network cannot be described: {e}"))?;
    let views = entries.iter().map(|(name, entry)| (*name, entry));
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), words)])))
        .map_err(|e| format!("the packed network cannot be written: {e}"))
}

/// Bytes of a file behind its header.
pub fn payload(file: &[u8]) -> Option<u64> {
    let head = u64::from_le_bytes(file.get(..8)?.try_into().ok()?);
    (file.len() as u64).checked_sub(8 + head)
}

impl PackedNet {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence, if it is no packed network.
    pub fn read(file: &[u8]) -> Result<PackedNet, String> {
        let (_, head) = SafeTensors::read_metadata(file).map_err(|e| e.to_string())?;
        let words = head.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or("its header has no entry `kiln`")?;
        let about: PackedAbout = serde_json::from_str(words).map_err(|e| format!("it is no packed network: {e}"))?;
        let tensors = SafeTensors::deserialize(file).map_err(|e| e.to_string())?;
        let mut numbers = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            let data = view.data();
            let floats = |chunk: &[u8; 4]| f32::from_le_bytes(*chunk);
            numbers.insert(
                name,
                match view.dtype() {
                    Dtype::U8 => Numbers::Bits(data.to_vec()),
                    _ => Numbers::Floats(data.as_chunks().0.iter().map(floats).collect()),
                },
            );
        }
        PackedNet::of(about, &numbers)
    }

    /// A network of these numbers, by the names that the file gives them.
    ///
    /// # Errors
    /// A sentence, if one is missing or of the wrong length.
    pub fn of(about: PackedAbout, numbers: &BTreeMap<String, Numbers>) -> Result<PackedNet, String> {
        let net = &about.network;
        let Some(bits) = net.bits else { return Err("the network is not quantised, so it cannot be packed".into()) };
        let wrong = |name: &str, wanted: usize| format!("the packed network needs {wanted} numbers called `{name}`");
        let floats = |name: String, wanted: usize| match numbers.get(&name) {
            Some(Numbers::Floats(values)) if values.len() == wanted => Ok(values.clone()),
            _ => Err(wrong(&name, wanted)),
        };
        let affine = |name: &str, channels: usize| -> Result<Affine, String> {
            Ok(Affine {
                scale: floats(format!("{name}.scale"), channels)?,
                shift: floats(format!("{name}.shift"), channels)?,
            })
        };
        let dense = |name: &str, fan_in: usize, channels: usize| -> Result<Dense, String> {
            let weight = floats(format!("{name}.weight"), fan_in * channels)?;
            Ok(Dense { weight, affine: affine(name, channels)? })
        };
        let width = |group: usize| net.widths.get(group).map_or(0, |w| *w as usize);
        let [channels, height, breadth] = net.input.map(|n| n as usize);
        let fan_in = match net.first.kernel as usize {
            0 => channels * height * breadth,
            k => channels * k * k,
        };
        let first = dense("first", fan_in, width(0))?;
        let mut units = Vec::with_capacity(net.units.len());
        for unit in &net.units {
            let (from, to, taps) = (width(unit.from), width(unit.to), (unit.kernel * unit.kernel) as usize);
            let (name, wanted) = (format!("{}.bits", unit.name), from * to * taps * usize::from(bits.weights));
            let bytes = match numbers.get(&name) {
                Some(Numbers::Bits(bytes)) if bytes.len() == wanted.div_ceil(8) => bytes,
                _ => return Err(wrong(&name, wanted.div_ceil(8))),
            };
            let shortcut = match unit.shortcut {
                Shortcut::Downsample => Some(dense(&format!("{}.shortcut", unit.name), from, to)?),
                _ => None,
            };
            units.push(PackedUnit {
                weights: bits::weights(bytes, bits, to, from, taps),
                alpha: floats(format!("{}.alpha", unit.name), to)?,
                affine: affine(&unit.name, to)?,
                shortcut,
            });
        }
        let (last, classes) = (width(net.last_group()), net.classes as usize);
        let weight = floats("classifier.weight".into(), last * classes)?;
        let bias = floats("classifier.bias".into(), classes)?;
        Ok(PackedNet { bits, first, units, weight, bias, about })
    }

    /// Tensors of its file.
    pub fn tensors(&self) -> usize {
        let shortcuts = self.units.iter().filter(|unit| unit.shortcut.is_some()).count();
        3 + 4 * self.units.len() + 3 * shortcuts + 2
    }

    /// Logits of one normalised image, channel by channel, row by row.
    ///
    /// # Errors
    /// A sentence for an image of another size.
    pub fn logits(&self, image: &[f32]) -> Result<Vec<f32>, String> {
        let net = &self.about.network;
        let [channels, height, width] = net.input.map(|n| n as usize);
        if image.len() != channels * height * width {
            return Err(format!("the network takes {channels}x{height}x{width} numbers, not {}", image.len()));
        }
        let area = |side: [u32; 2]| side[0] as usize * side[1] as usize;
        let mut x = match net.first.kernel {
            0 => convolve(image, [image.len(), 1, 1], &self.first.weight, 1, 1, [1, 1]),
            k => {
                let side = net.first.convolved.map(|n| n as usize);
                let stride = net.first.stride as usize;
                convolve(image, [channels, height, width], &self.first.weight, k as usize, stride, side)
            }
        };
        self.first.affine.apply(&mut x, area(net.first.convolved));
        if net.first.pool {
            x = max_pool(&x, net.first.convolved.map(|n| n as usize), net.first.output.map(|n| n as usize));
        }
        for (unit, packed) in net.units.iter().zip(&self.units) {
            let from = net.widths[unit.from] as usize;
            let (input, output) = (unit.input.map(|n| n as usize), unit.output.map(|n| n as usize));
            let features = Features::of(&x, from, input, self.bits);
            let sums = bits::convolve(unit, &features, &packed.weights);
            let each = area(unit.output);
            let mut y: Vec<f32> =
                sums.iter().enumerate().map(|(i, &sum)| sum as f32 * packed.alpha[i / each]).collect();
            packed.affine.apply(&mut y, each);
            match (unit.shortcut, &packed.shortcut) {
                (Shortcut::Identity, _) => add(&mut y, &x),
                (Shortcut::Downsample, Some(dense)) => {
                    let pooled = average_pool(&x, input, output);
                    let mut around = convolve(&pooled, [from, output[0], output[1]], &dense.weight, 1, 1, output);
                    dense.affine.apply(&mut around, each);
                    add(&mut y, &around);
                }
                _ => {}
            }
            x = y;
        }
        if net.head_is_quantised() {
            for v in &mut x {
                let level = bits::level(*v, self.bits);
                *v = match self.bits.activations {
                    1 => 2.0 * level as f32 - 1.0,
                    _ => level as f32 / self.bits.activation_top() as f32,
                };
            }
        }
        let each = net.units.last().map_or(area(net.first.output), |unit| area(unit.output));
        let mean: Vec<f32> = x
            .chunks_exact(each)
            .map(|map| (map.iter().map(|&v| f64::from(v)).sum::<f64>() / each as f64) as f32)
            .collect();
        let dot = |row: &[f32]| row.iter().zip(&mean).map(|(w, v)| f64::from(*w) * f64::from(*v)).sum::<f64>();
        let rows = self.weight.chunks_exact(mean.len());
        Ok(rows.zip(&self.bias).map(|(row, bias)| (dot(row) + f64::from(*bias)) as f32).collect())
    }

    /// The class of one normalised image: the first of the largest logits.
    ///
    /// # Errors
    /// As [`PackedNet::logits`].
    pub fn class(&self, image: &[f32]) -> Result<usize, String> {
        let logits = self.logits(image)?;
        let mut best = 0;
        for (i, v) in logits.iter().enumerate() {
            if *v > logits[best] {
                best = i;
            }
        }
        Ok(best)
    }
}

fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// A convolution of `[channels, height, width]` with zeros around, summed in 64 bits.
fn convolve(x: &[f32], shape: [usize; 3], weight: &[f32], k: usize, stride: usize, output: [usize; 2]) -> Vec<f32> {
    let [channels, height, width] = shape;
    let around = k / 2;
    let each = channels * k * k;
    let mut out = Vec::with_capacity(weight.len() / each * output[0] * output[1]);
    for kernel in weight.chunks_exact(each) {
        for row in 0..output[0] {
            for column in 0..output[1] {
                let mut sum = 0.0_f64;
                for (i, w) in kernel.iter().enumerate() {
                    let (channel, tap) = (i / (k * k), i % (k * k));
                    let y = (row * stride + tap / k).checked_sub(around).filter(|y| *y < height);
                    let x_at = (column * stride + tap % k).checked_sub(around).filter(|x| *x < width);
                    if let (Some(y), Some(at)) = (y, x_at) {
                        sum += f64::from(*w) * f64::from(x[(channel * height + y) * width + at]);
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

/// 3x3 maxima at every second place.
fn max_pool(x: &[f32], input: [usize; 2], output: [usize; 2]) -> Vec<f32> {
    windows(x, input, output, 3, 1, |values| values.fold(f32::NEG_INFINITY, f32::max))
}

/// 2x2 means, of what there is at the edge.
fn average_pool(x: &[f32], input: [usize; 2], output: [usize; 2]) -> Vec<f32> {
    windows(x, input, output, 2, 0, |values| {
        let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + f64::from(v), n + 1.0));
        (sum / n) as f32
    })
}

fn windows(
    x: &[f32],
    input: [usize; 2],
    output: [usize; 2],
    k: usize,
    around: usize,
    of: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
) -> Vec<f32> {
    let mut out = Vec::new();
    for map in x.chunks_exact(input[0] * input[1]) {
        for row in 0..output[0] {
            for column in 0..output[1] {
                let mut values = (0..k * k).filter_map(|tap| {
                    let y = (2 * row + tap / k).checked_sub(around).filter(|y| *y < input[0])?;
                    let x = (2 * column + tap % k).checked_sub(around).filter(|x| *x < input[1])?;
                    Some(map[y * input[1] + x])
                });
                out.push(of(&mut values));
            }
        }
    }
    out
}
