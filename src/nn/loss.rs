//! Cross-entropy, evaluation of a split, and recalibration of batch normalisation.

use kiln_data::{DataSet, Split};
use kiln_torch::NoGrad;
use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use crate::error::Result;
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

/// Loss and accuracy on a whole split, by running statistics. `None` if `tick` asked to stop, which it is asked before every batch.
pub fn evaluate(network: &Network, data: &DataSet, split: &Split, tick: &dyn Fn() -> bool) -> Result<Option<Eval>> {
    let _frozen = NoGrad::new();
    let device = network.device();
    let images = split.labels.size1()?;
    // 64-bit sums: the order of batches then hardly matters, and a mean over a million images stays exact.
    let mut loss = Tensor::f_zeros([], (Kind::Double, device))?;
    let mut hits = Tensor::f_zeros([], (Kind::Int64, device))?;
    let mut start = 0;
    while start < images {
        if tick() {
            return Ok(None);
        }
        let (x, labels) = kiln_data::range(data, split, start, EVAL_BATCH)?;
        let logits = network.forward(&x, Mode::Eval)?;
        let sum = logits.f_cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?;
        loss = loss.f_add_(&sum)?;
        hits = hits.f_add_(&logits.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?)?;
        start += EVAL_BATCH;
    }
    let images = images.max(1) as f64;
    Ok(Some(Eval { loss: loss.f_double_value(&[])? / images, accuracy: hits.f_double_value(&[])? / images }))
}

/// Replaces the running statistics of batch normalisation by the plain average over the batches of `batches` (each a
/// list of image numbers in `split`). Weights stay. Does nothing to a network without batch normalisation.
pub fn recalibrate_bn(network: &Network, data: &DataSet, split: &Split, batches: &[Tensor]) -> Result<()> {
    let _frozen = NoGrad::new();
    for (i, index) in batches.iter().enumerate() {
        let (x, _) = kiln_data::batch(data, split, index, None)?;
        // Moving by 1/1, 1/2, 1/3, ... makes the running value the mean of all batches so far and forgets the old one.
        network.forward_recalibrating(&x, 1.0 / (i as f64 + 1.0))?;
    }
    Ok(())
}
