//! Cross-entropy, evaluation of a split, and recalibration of batch normalisation.

use kiln_data::{DataSet, Split};
use kiln_torch::NoGrad;
use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use crate::error::{Result, TrainError};
use crate::network::{Mode, Network};

/// Images in a batch of an evaluation. Fixed, since the order of additions shows in the last bits of the loss.
const EVAL_BATCH: i64 = 256;

/// Mean cross-entropy of `logits` `[n, classes]` and `labels` `[n]`, in nats, as a scalar tensor on their device.
///
/// With smoothing `s` the wanted distribution is `1 - s` on the label plus `s / classes` on every class.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    Ok(logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, smoothing)?)
}

/// What an evaluation found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// Mean cross-entropy without smoothing, in nats.
    pub loss: f64,
    /// Share of images whose largest logit is their label's, 0 to 1.
    pub accuracy: f64,
}

/// Loss and accuracy on a whole split, by running statistics. `None` if `tick`, asked before every batch, said to stop.
///
/// # Errors
/// [`TrainError::Data`] for a split without images.
pub fn evaluate(network: &Network, data: &DataSet, split: &Split, tick: &dyn Fn() -> bool) -> Result<Option<Eval>> {
    evaluate_by(&|images| network.forward(images, Mode::Eval), data, split, tick)
}

/// As [`evaluate`], of whatever gives logits `[n, classes]` to images `[n, c, h, w]`, such as a network without one block.
pub fn evaluate_by(
    logits: &dyn Fn(&Tensor) -> Result<Tensor>,
    data: &DataSet,
    split: &Split,
    tick: &dyn Fn() -> bool,
) -> Result<Option<Eval>> {
    let _frozen = NoGrad::new();
    let device = split.images.device();
    let images = split.len();
    if images == 0 {
        return Err(TrainError::Data("there are no images to evaluate the network on".into()));
    }
    // 64-bit sums: the order of batches then hardly matters, and a mean over a million images stays exact.
    let mut loss = Tensor::f_zeros([], (Kind::Double, device))?;
    let mut hits = Tensor::f_zeros([], (Kind::Int64, device))?;
    let mut start = 0;
    while start < images {
        if tick() {
            return Ok(None);
        }
        let (x, labels) = kiln_data::range(data, split, start, EVAL_BATCH)?;
        let logits = logits(&x)?;
        let sum = logits.f_cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?;
        loss = loss.f_add_(&sum)?;
        hits = hits.f_add_(&logits.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?)?;
        start += EVAL_BATCH;
    }
    let images = images as f64;
    Ok(Some(Eval { loss: loss.f_double_value(&[])? / images, accuracy: hits.f_double_value(&[])? / images }))
}

/// Replaces the running statistics of batch normalisation by the plain average over the batches of `batches` (each a
/// list of image numbers in `split`). Weights stay. Does nothing to a network without batch normalisation.
pub fn recalibrate_bn(network: &Network, data: &DataSet, split: &Split, batches: &[Tensor]) -> Result<()> {
    let _frozen = NoGrad::new();
    for (i, index) in batches.iter().enumerate() {
        let (x, _) = kiln_data::batch(data, split, index, None)?;
        // Moving by 1/1, 1/2, 1/3, ... makes the running value the mean of all batches so far and forgets the old one.
        let _logits = network.forward_recalibrating(&x, 1.0 / (i as f64 + 1.0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cnn, never, same_bits, stripes};
    use kiln_torch::Generator;
    use std::cell::Cell;
    use tch::Device;

    #[test]
    fn cross_entropy_and_smoothing_follow_the_formula() {
        let logits = [[1.0_f64, -0.5, 2.0], [0.0, 3.0, -1.0]];
        let labels = [2_i64, 0];
        let flat: Vec<f32> = logits.iter().flatten().map(|&v| v as f32).collect();
        let tensor = Tensor::from_slice(&flat).view([2, 3]);
        for smoothing in [0.0, 0.1, 0.4] {
            let mut want = 0.0;
            for (row, &label) in logits.iter().zip(&labels) {
                let normaliser = row.iter().map(|v| v.exp()).sum::<f64>().ln();
                for (class, v) in row.iter().enumerate() {
                    let wanted = smoothing / 3.0 + if class as i64 == label { 1.0 - smoothing } else { 0.0 };
                    want -= wanted * (v - normaliser) / 2.0;
                }
            }
            let got = cross_entropy(&tensor, &Tensor::from_slice(&labels), smoothing).unwrap().double_value(&[]);
            assert!((got - want).abs() < 1e-6, "{got} is not {want} at {smoothing}");
        }
    }

    #[test]
    fn evaluation_counts_every_image_once() {
        // 300 images: one full batch and a part of one.
        let data = stripes(300);
        let network = Network::build(&cnn(), 3, Device::Cpu).unwrap();
        let eval = evaluate(&network, &data, &data.train, &never).unwrap().unwrap();
        let (x, labels) = kiln_data::range(&data, &data.train, 0, 300).unwrap();
        let logits = network.forward(&x, Mode::Eval).unwrap();
        let loss = cross_entropy(&logits, &labels, 0.0).unwrap().double_value(&[]);
        let hits = logits.argmax(1, false).eq_tensor(&labels).sum(Kind::Int64).int64_value(&[]);
        assert!((eval.loss - loss).abs() < 1e-5, "{} is not {loss}", eval.loss);
        assert_eq!(eval.accuracy, hits as f64 / 300.0);
    }

    #[test]
    fn nothing_cannot_be_evaluated() {
        let data = stripes(300);
        let network = Network::build(&cnn(), 3, Device::Cpu).unwrap();
        let none = Split { images: data.train.images.narrow(0, 0, 0), labels: data.train.labels.narrow(0, 0, 0) };
        assert!(evaluate(&network, &data, &none, &never).unwrap_err().to_string().contains("no images"));
    }

    #[test]
    fn evaluation_stops_when_asked() {
        let data = stripes(300);
        let network = Network::build(&cnn(), 3, Device::Cpu).unwrap();
        let asked = Cell::new(0);
        let tick = || {
            asked.set(asked.get() + 1);
            asked.get() == 2
        };
        assert!(evaluate(&network, &data, &data.train, &tick).unwrap().is_none());
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn recalibration_takes_the_mean_of_the_batches() {
        let data = stripes(64);
        let network = Network::build(&cnn(), 3, Device::Cpu).unwrap();
        let order = Generator::new(1, Device::Cpu).unwrap().randperm(64).unwrap();
        let batches = order.split(16, 0);
        recalibrate_bn(&network, &data, &data.train, &batches).unwrap();
        let named = network.named_tensors();
        let get = |name: &str| &named.iter().find(|(n, _)| n == name).unwrap().1;
        // Behind the first convolution the statistics can be had directly.
        let (x, _) = kiln_data::batch(&data, &data.train, &order, None).unwrap();
        let y = x.conv2d::<Tensor>(get("stem.0.weight"), None, [1, 1], [1, 1], [1, 1], 1);
        let mean = y.mean_dim(&[0i64, 2, 3][..], false, Kind::Float);
        assert!((get("stem.1.running_mean") - mean).abs().max().double_value(&[]) < 1e-5);
        let vars: Vec<Tensor> =
            y.split(16, 0).iter().map(|part| part.var_dim(&[0i64, 2, 3][..], true, false)).collect();
        let var = Tensor::stack(&vars, 0).mean_dim(&[0i64][..], false, Kind::Float);
        assert!((get("stem.1.running_var") - var).abs().max().double_value(&[]) < 1e-4);
        // Twice is as good as once: the old statistics are forgotten.
        let before = get("cell.1.1.running_var").copy();
        recalibrate_bn(&network, &data, &data.train, &batches).unwrap();
        assert!(same_bits(&before, get("cell.1.1.running_var")));
    }
}
