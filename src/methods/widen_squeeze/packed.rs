//! The squeezed network as a file of bits, and its forward pass on these bits held against the emulation in torch.

use kiln_arch::quantised::packed::{payload, write};
use kiln_arch::quantised::{PackedAbout, PackedNet};
use kiln_data::{DataSet, Split};
use kiln_nn::TrainError;
use kiln_nn::quantised::{Pass, QuantNetwork, measure, pack};
use kiln_nn::torch::NoGrad;
use serde::{Deserialize, Serialize};

/// Images that the two forward passes are compared on at most.
const COMPARED: i64 = 200;

/// Word operations that the comparison may take: some seconds of plain Rust.
const WORK: f64 = 4e9;

/// The file of the squeezed network in a run's artifacts.
pub const FILE: &str = "packed.safetensors";

/// How the packed network compares with its emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Bytes of the file behind its header, the whole file's, and those that the cost claims.
    pub payload: u64,
    pub file: u64,
    pub claimed: u64,
    /// Images compared, and those whose logits are the same bit for bit.
    pub images: u32,
    pub same: u32,
    /// Images for which the network as it is trained (in 32 bits, sums in any order) predicts the same class.
    pub agree: u32,
}

/// The file of a quantised network.
///
/// # Errors
/// A network in 32 bits.
pub fn file(network: &QuantNetwork, data: &DataSet) -> Result<Vec<u8>, TrainError> {
    let about = PackedAbout {
        form: "packed".into(),
        network: network.blueprint().clone(),
        classes: data.classes.clone(),
        mean: data.mean.clone(),
        std: data.std.clone(),
        data: data.digest.clone(),
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
    };
    write(&about, &pack::numbers(network)?).map_err(TrainError::Plan)
}

/// Reads the file back and compares its logits with those of the network on test images (validation images where there are
/// none).
///
/// # Errors
/// A file that is none; what libtorch reports.
pub fn check(network: &QuantNetwork, file: &[u8], data: &DataSet) -> Result<Check, TrainError> {
    let packed = PackedNet::read(file).map_err(TrainError::Plan)?;
    let split: &Split = if data.test.is_empty() { &data.valid } else { &data.test };
    let affordable = (WORK / network.blueprint().cost().ops().max(1.0)) as i64;
    let count = COMPARED.min(split.len()).min(affordable.max(2));
    let _frozen = NoGrad::new();
    let (images, _) = kiln_data::range(data, split, 0, count)?;
    let exact = network.forward(&images, Pass::Exact, None)?.logits;
    let usual = network.forward(&images, Pass::Eval, None)?.logits.f_argmax(1, false)?;
    let classes = data.classes.len();
    let (wanted, usual) = (measure::numbers(&exact)?, measure::numbers(&usual)?);
    let pixels: Vec<f32> = measure::numbers(&images)?.into_iter().map(|v| v as f32).collect();
    let each = pixels.len() / (count.max(1) as usize);
    let (mut same, mut agree) = (0, 0);
    for ((image, wanted), usual) in pixels.chunks_exact(each.max(1)).zip(wanted.chunks_exact(classes)).zip(&usual) {
        let logits = packed.logits(image).map_err(TrainError::Plan)?;
        same += u32::from(logits.iter().zip(wanted).all(|(a, b)| f64::from(*a) == *b));
        agree += u32::from(packed.class(image).map_err(TrainError::Plan)? == *usual as usize);
    }
    Ok(Check {
        payload: payload(file).unwrap_or(0),
        file: file.len() as u64,
        claimed: network.blueprint().cost().bytes,
        images: count as u32,
        same,
        agree,
    })
}
