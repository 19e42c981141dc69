//! Convolution and batch normalisation, each with the ReLU that follows it.
//!
//! On the CPU, in 32 bits and with channels innermost, kernels of our own take over where libtorch's are slow
//! (`ops.cpp`): normalisation with its ReLU reads and writes memory half as often; the weights' gradient of depthwise
//! convolutions with kernels of 5 and 7 takes a tenth of the time; pointwise convolutions and small ones with a stride
//! are matrix products. Everywhere else, under autocast and in traces both are libtorch's own operations. The gradients
//! have no gradients.

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi;

/// How a convolution is done; none is dilated.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Pixels from one place of the kernel to the next.
    pub stride: i64,
    /// Zeros around the image.
    pub padding: i64,
    /// Groups of channels that do not see each other.
    pub groups: i64,
    /// Replaces what is below zero in the result by zero.
    pub relu: bool,
    /// The network keeps channels innermost ([`crate::channels_last`]): the result does, whatever the input.
    pub rows: bool,
}

impl Conv {
    /// The convolution of `x` `[n, c, h, w]` with `weight` `[out, c / groups, k, k]`, plus `bias` `[out]`.
    ///
    /// # Errors
    /// Shapes, devices or element types that do not fit.
    pub fn of(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TorchError> {
        ffi::conv(x, weight, bias, self)
    }
}

/// How batch normalisation is done.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// By the batch's own statistics, towards which the running ones, where given, move by this share; by the running
    /// ones if `None`.
    pub momentum: Option<f64>,
    /// Keeps the division finite.
    pub eps: f64,
    /// Replaces what is below zero in the result by zero.
    pub relu: bool,
    /// As in [`Conv::rows`].
    pub rows: bool,
}

impl Norm {
    /// `x` (`[n, c, h, w]` or `[n, c]`) with mean 0 and variance 1 in each channel, times gain plus shift (`[c]` each).
    /// `running` are mean and variance `[c]`.
    ///
    /// # Errors
    /// Shapes, devices or element types that do not fit; one value a channel in training; no statistics at all.
    pub fn of(
        &self,
        x: &Tensor,
        gain_and_shift: (&Tensor, &Tensor),
        running: Option<(&Tensor, &Tensor)>,
    ) -> Result<Tensor, TorchError> {
        ffi::norm(x, gain_and_shift, running, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generator, NoGrad, channels_last};
    use tch::{Device, Kind};

    fn random(generator: &mut Generator, shape: &[i64], spread: f64) -> Tensor {
        let mut t = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        generator.normal_(&mut t, 0.3, spread).unwrap();
        channels_last(&t).unwrap().detach().set_requires_grad(true)
    }

    /// The largest difference, as a share of the largest number.
    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        let _frozen = NoGrad::new();
        (a - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[]).max(1e-30)
    }

    /// The result and the gradients of all leaves for a given gradient of the result.
    fn both_ways(y: &Tensor, dy: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
        (y * dy).sum(y.kind()).backward();
        let mut all = vec![y.detach()];
        for leaf in leaves {
            all.push(leaf.grad().copy());
            crate::set_grad(leaf, None).unwrap();
        }
        all
    }

    #[test]
    fn convolutions_agree_with_libtorch() {
        let mut generator = Generator::new(1, Device::Cpu).unwrap();
        // Channels in and out, side, kernel, stride, groups, bias, relu.
        for (input, out, side, k, stride, groups, with_bias, relu) in [
            (8, 16, 14, 3, 2, 1, true, true), // patches
            (8, 16, 13, 3, 2, 1, false, false),
            (16, 24, 5, 3, 1, 1, true, false),
            (4, 8, 9, 5, 2, 1, true, true),
            (4, 8, 2, 5, 2, 1, false, true),    // a kernel larger than the image
            (16, 64, 7, 1, 1, 1, false, false), // pointwise
            (3, 5, 6, 1, 1, 1, true, true),
            (24, 24, 9, 5, 2, 24, false, false), // depthwise
            (40, 40, 4, 7, 1, 40, false, true),
            (17, 17, 6, 5, 1, 17, false, false),
            (1, 8, 28, 3, 2, 1, true, true), // libtorch's own
            (16, 16, 7, 1, 2, 1, false, true),
            (12, 24, 8, 3, 1, 4, false, false),
            (32, 32, 14, 3, 1, 1, false, true),
        ] {
            let x = random(&mut generator, &[5, input, side, side], 1.0);
            let weight = random(&mut generator, &[out, input / groups, k, k], 0.2);
            let bias = with_bias.then(|| random(&mut generator, &[out], 0.5));
            let how = Conv { stride, padding: k / 2, groups, relu, rows: true };
            let y = how.of(&x, &weight, bias.as_ref()).unwrap();
            let plain = x.conv2d(&weight, bias.as_ref(), [stride, stride], [k / 2, k / 2], [1, 1], groups);
            let plain = if relu { plain.relu() } else { plain };
            let dy = random(&mut generator, &y.size(), 1.0).detach();
            let mut leaves = vec![&x, &weight];
            leaves.extend(&bias);
            let pairs = both_ways(&y, &dy, &leaves).into_iter().zip(both_ways(&plain, &dy, &leaves));
            for (what, (ours, theirs)) in ["result", "input", "weight", "bias"].iter().zip(pairs) {
                let gap = gap(&ours, &theirs);
                assert!(gap < 1e-4, "{what} of {how:?} with {input} channels to {out}: {gap}");
            }
        }
    }

    #[test]
    fn first_layers_agree_with_libtorch() {
        let mut generator = Generator::new(4, Device::Cpu).unwrap();
        for (input, out, side, k, relu) in
            [(1, 8, 28, 3, true), (1, 24, 9, 3, false), (3, 16, 7, 3, true), (1, 8, 3, 5, true), (2, 48, 6, 3, false)]
        {
            let x = random(&mut generator, &[3, input, side, side], 1.0).detach();
            let weight = random(&mut generator, &[out, input, k, k], 0.2);
            let bias = relu.then(|| random(&mut generator, &[out], 0.5));
            let how = Conv { stride: 2, padding: k / 2, groups: 1, relu, rows: true };
            let y = how.of(&x, &weight, bias.as_ref()).unwrap();
            let plain = x.conv2d(&weight, bias.as_ref(), [2, 2], [k / 2, k / 2], [1, 1], 1);
            let plain = if relu { plain.relu() } else { plain };
            let dy = random(&mut generator, &y.size(), 1.0).detach();
            let mut leaves = vec![&weight];
            leaves.extend(&bias);
            let pairs = both_ways(&y, &dy, &leaves).into_iter().zip(both_ways(&plain, &dy, &leaves));
            for (what, (ours, theirs)) in ["result", "weight", "bias"].iter().zip(pairs) {
                let gap = gap(&ours, &theirs);
                assert!(gap < 1e-4, "{what} of {input} channels to {out}, kernel {k}: {gap}");
            }
        }
    }

    #[test]
    fn normalisation_agrees_with_libtorch() {
        let mut generator = Generator::new(2, Device::Cpu).unwrap();
        for (shape, relu) in [
            (vec![6, 16, 7, 7], true),
            (vec![64, 40, 9, 9], false), // enough to be summed in parts
            (vec![64, 40, 9, 9], true),
            (vec![5, 1, 3, 3], true),
            (vec![9, 27, 2, 2], true),
            (vec![30, 20], true),
        ] {
            // Far from zero: what a sum of squares would lose.
            let x = (random(&mut generator, &shape, 0.5) + 40.0).detach().set_requires_grad(true);
            let channels = shape[1];
            let (gain, shift) = (random(&mut generator, &[channels], 1.0), random(&mut generator, &[channels], 0.5));
            let at = (Kind::Float, Device::Cpu);
            let ours = (Tensor::zeros([channels], at), Tensor::ones([channels], at));
            let how = Norm { momentum: Some(0.1), eps: 1e-5, relu, rows: true };
            let y = how.of(&x, (&gain, &shift), Some((&ours.0, &ours.1))).unwrap();
            // In 64 bits: with channels innermost, libtorch's own statistics lose digits here.
            let wide = |t: &Tensor| t.detach().to_kind(Kind::Double).set_requires_grad(true);
            let (wide_x, wide_gain, wide_shift) = (wide(&x), wide(&gain), wide(&shift));
            let none = None::<&Tensor>;
            let plain = wide_x.batch_norm(Some(&wide_gain), Some(&wide_shift), none, none, true, 0.1, 1e-5, true);
            let edge = plain.detach();
            let plain = if relu { plain.relu() } else { plain };
            let rows = x.detach().to_kind(Kind::Double).transpose(0, 1).reshape([channels, -1]);
            let (mean, var) = (rows.mean_dim(1, false, None) * 0.1, rows.var_dim(1, true, false) * 0.1 + 0.9);
            let gaps = (gap(&ours.0, &mean), gap(&ours.1, &var));
            assert!(gaps.0 < 1e-6 && gaps.1 < 1e-5, "{shape:?}: {gaps:?}");
            // Right at the kink of ReLU the last bit decides whether a gradient passes.
            let dy = random(&mut generator, &shape, 1.0).detach() * edge.abs().gt(1e-3).to_kind(Kind::Float);
            let pairs = both_ways(&y, &dy, &[&x, &gain, &shift]);
            let pairs = pairs.into_iter().zip(both_ways(&plain, &dy, &[&wide_x, &wide_gain, &wide_shift]));
            for (what, (ours, theirs)) in ["result", "input", "gain", "shift"].iter().zip(pairs) {
                let gap = gap(&ours, &theirs);
                assert!(gap < 1e-3, "{what} of {shape:?}, relu {relu}: {gap}");
            }

            let how = Norm { momentum: None, ..how };
            let _frozen = NoGrad::new();
            let frozen = how.of(&x, (&gain, &shift), Some((&ours.0, &ours.1))).unwrap();
            let plain = x.batch_norm(Some(&gain), Some(&shift), Some(&ours.0), Some(&ours.1), false, 0.1, 1e-5, true);
            let plain = if relu { plain.relu() } else { plain };
            assert!(gap(&frozen, &plain) < 1e-5, "{shape:?}");
        }
    }

    #[test]
    fn threads_change_no_bit_of_a_normalisation() {
        let mut generator = Generator::new(3, Device::Cpu).unwrap();
        let x = random(&mut generator, &[64, 24, 12, 12], 1.0);
        let (gain, shift) = (random(&mut generator, &[24], 1.0), random(&mut generator, &[24], 1.0));
        let dy = random(&mut generator, &x.size(), 1.0).detach();
        let how = Norm { momentum: Some(0.1), eps: 1e-5, relu: true, rows: true };
        let with = |threads: i32| {
            crate::set_threads(threads);
            let y = how.of(&x, (&gain, &shift), None).unwrap();
            both_ways(&y, &dy, &[&x, &gain, &shift])
        };
        let (one, two) = (with(1), with(2));
        crate::set_threads(1);
        assert!(one.iter().zip(&two).all(|(a, b)| a == b));
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let at = (Kind::Float, Device::Cpu);
        let x = channels_last(&Tensor::full([2, 8, 3, 3], f64::NAN, at)).unwrap();
        let (gain, shift) = (Tensor::ones([8], at), Tensor::zeros([8], at));
        let how = Norm { momentum: Some(0.1), eps: 1e-5, relu: true, rows: true };
        assert!(how.of(&x, (&gain, &shift), None).unwrap().isnan().all().int64_value(&[]) == 1);
        let conv = Conv { stride: 2, padding: 1, groups: 1, relu: true, rows: true };
        let weight = channels_last(&Tensor::ones([8, 8, 3, 3], at)).unwrap();
        assert!(conv.of(&x, &weight, None).unwrap().isnan().all().int64_value(&[]) == 1);
    }

    #[test]
    fn shapes_that_do_not_fit_are_sentences() {
        let at = (Kind::Float, Device::Cpu);
        let x = channels_last(&Tensor::ones([2, 8, 3, 3], at)).unwrap();
        let weight = Tensor::ones([8, 4, 1, 1], at);
        let how = Conv { stride: 1, padding: 0, groups: 1, relu: false, rows: true };
        let error = how.of(&x, &weight, None).unwrap_err().to_string();
        assert!(error.contains("channels"), "{error}");
        let norm = Norm { momentum: Some(0.1), eps: 1e-5, relu: false, rows: true };
        let gain = Tensor::ones([7], at);
        let error = norm.of(&x, (&gain, &gain), None).unwrap_err().to_string();
        assert!(error.contains('7') && error.contains('8'), "{error}");
    }
}
