use super::*;
use crate::{Generator, channels_last, set_grad};
use tch::nn::{OptimizerConfig, VarStore};
use tch::{Device, Kind, nn};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Everything that a test compares: one flat vector.
fn values(tensors: &[Tensor]) -> Vec<f32> {
    tensors.iter().flat_map(|t| Vec::<f32>::try_from(t.detach().flatten(0, -1)).unwrap()).collect()
}

fn zeros_like(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(Tensor::zeros_like).collect()
}

/// Shapes whose elements fill vector registers of every width.
const WHOLE: [&[i64]; 3] = [&[16, 3, 3, 3], &[16], &[32, 48]];
/// As networks have them, odd sizes included.
const ANY: [&[i64]; 5] = [&[16, 3, 3, 3], &[16], &[7, 5], &[1], &[129]];

fn random(g: &mut Generator, shapes: &[&[i64]]) -> Vec<Tensor> {
    shapes
        .iter()
        .map(|shape| {
            let mut t = Tensor::empty(*shape, CPU);
            g.normal_(&mut t, 0.0, 1.0).unwrap();
            t
        })
        .collect()
}

type SgdKernel = fn(&Sgd, &[Tensor], &[Tensor], &[Tensor], bool) -> Result<(), TorchError>;
type AdamWKernel = fn(&AdamW, &[Tensor], &[Tensor], AdamWState) -> Result<(), TorchError>;
const SGD: [SgdKernel; 2] = [fused_sgd, foreach_sgd];
const ADAMW: [AdamWKernel; 2] = [fused_adamw, foreach_adamw];

#[test]
fn sgd_is_its_formula() {
    // Powers of two, so that every intermediate result is exact and the comparison can be, too.
    let settings = Sgd { lr: 0.5, momentum: 0.5, dampening: 0.0, weight_decay: 0.25, nesterov: true };
    for kernel in SGD {
        let params = [Tensor::from_slice(&[1.0f32, -4.0])];
        let grads = [Tensor::from_slice(&[0.5f32, 2.0])];
        let momentum = zeros_like(&params);
        kernel(&settings, &params, &grads, &momentum, true).unwrap();
        // g = [0.5 + 0.25, 2 - 1]; m = g; p -= 0.5 (g + 0.5 m)
        assert_eq!(values(&momentum), [0.75, 1.0]);
        assert_eq!(values(&params), [1.0 - 0.5 * 1.125, -4.0 - 0.5 * 1.5]);
        kernel(&settings, &params, &grads, &momentum, false).unwrap();
        // g = [0.5 + 0.25 * 0.4375, 2 - 0.25 * 4.75]; m = m / 2 + g
        let (g0, g1) = (0.5 + 0.25 * 0.4375, 2.0 - 0.25 * 4.75);
        let (m0, m1) = (0.375 + g0, 0.5 + g1);
        assert_eq!(values(&momentum), [m0, m1]);
        assert_eq!(values(&params), [0.4375 - 0.5 * (g0 + 0.5 * m0), -4.75 - 0.5 * (g1 + 0.5 * m1)]);
        assert_eq!(values(&grads), [0.5, 2.0], "the caller's gradients stay");
    }
}

#[test]
fn dampening_spares_the_first_step() {
    let settings = Sgd { lr: 1.0, momentum: 0.5, dampening: 0.5, ..Sgd::default() };
    for kernel in SGD {
        let params = [Tensor::from_slice(&[0.0f32])];
        let grads = [Tensor::from_slice(&[1.0f32])];
        let momentum = zeros_like(&params);
        kernel(&settings, &params, &grads, &momentum, true).unwrap();
        assert_eq!((values(&momentum)[0], values(&params)[0]), (1.0, -1.0));
        kernel(&settings, &params, &grads, &momentum, false).unwrap();
        assert_eq!((values(&momentum)[0], values(&params)[0]), (1.0, -2.0));
    }
}

/// 50 steps of an optimiser of tch itself, which calls torch's C++ optimisers.
fn of_tch(config: impl OptimizerConfig, lr: f64, shapes: &[&[i64]]) -> Vec<f32> {
    let mut g = Generator::new(1, Device::Cpu).unwrap();
    let vs = VarStore::new(Device::Cpu);
    let start = random(&mut g, shapes);
    let params: Vec<Tensor> = start.iter().enumerate().map(|(i, t)| vs.root().var_copy(&i.to_string(), t)).collect();
    let mut optimizer = config.build(&vs, lr).unwrap();
    for _ in 0..50 {
        for (param, grad) in params.iter().zip(random(&mut g, shapes)) {
            set_grad(param, Some(&grad)).unwrap();
        }
        optimizer.step();
    }
    values(&params)
}

/// The same 50 steps by a kernel of ours, on leaves that want gradients.
fn of_ours(shapes: &[&[i64]], mut step: impl FnMut(usize, &[Tensor], &[Tensor])) -> Vec<f32> {
    let mut g = Generator::new(1, Device::Cpu).unwrap();
    let params: Vec<Tensor> = random(&mut g, shapes).into_iter().map(|t| t.set_requires_grad(true)).collect();
    for i in 0..50 {
        step(i, &params, &random(&mut g, shapes));
    }
    values(&params)
}

/// How many weights of 50 steps differ from those of `torch::optim::SGD`, in any bit.
fn different_bits(kernel: SgdKernel, settings: Sgd, shapes: &[&[i64]]) -> usize {
    let Sgd { lr, momentum, dampening, weight_decay: wd, nesterov } = settings;
    let wanted = of_tch(nn::Sgd { momentum, dampening, wd, nesterov }, lr, shapes);
    let mut state = Vec::new();
    let got = of_ours(shapes, |i, params, grads| {
        if i == 0 && momentum > 0.0 {
            state = zeros_like(params);
        }
        kernel(&settings, params, grads, &state, i == 0).unwrap();
    });
    wanted.iter().zip(&got).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
}

#[test]
fn sgd_has_the_bits_of_torchs_own() {
    for (momentum, dampening, weight_decay, nesterov) in [
        (0.0, 0.0, 0.0, false),
        (0.0, 0.0, 5e-4, false),
        (0.9, 0.0, 5e-4, false),
        (0.9, 0.1, 0.0, false),
        (0.9, 0.0, 5e-4, true),
    ] {
        let settings = Sgd { lr: 0.1, momentum, dampening, weight_decay, nesterov };
        assert_eq!(different_bits(foreach_sgd, settings, &ANY), 0, "foreach {settings:?}");
        // The fused kernel rounds once where others round twice, but only in what is left over after whole vectors.
        assert_eq!(different_bits(fused_sgd, settings, &WHOLE), 0, "fused {settings:?}");
    }
}

#[test]
fn adamw_is_its_formula() {
    let settings = AdamW { lr: 0.01, beta1: 0.8, beta2: 0.95, eps: 1e-6, weight_decay: 0.1 };
    for kernel in ADAMW {
        let (start, grad) = (0.5f64, [0.3, -0.2, 0.7]);
        let params = [Tensor::from_slice(&[start as f32])];
        let (averages, squares) = (zeros_like(&params), zeros_like(&params));
        let steps = [Tensor::zeros([], CPU)];
        let (mut p, mut m, mut v) = (start, 0.0, 0.0);
        for (i, g) in grad.into_iter().enumerate() {
            let t = i as i32 + 1;
            p -= settings.lr * settings.weight_decay * p;
            m = settings.beta1 * m + (1.0 - settings.beta1) * g;
            v = settings.beta2 * v + (1.0 - settings.beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - settings.beta1.powi(t)), v / (1.0 - settings.beta2.powi(t)));
            p -= settings.lr * m_hat / (v_hat.sqrt() + settings.eps);
            let state = AdamWState { averages: &averages, squares: &squares, steps: &steps };
            kernel(&settings, &params, &[Tensor::from_slice(&[g as f32])], state).unwrap();
            assert_eq!(steps[0].double_value(&[]), f64::from(t));
            assert!((params[0].double_value(&[0]) - p).abs() < 1e-6, "step {t}");
            assert!((averages[0].double_value(&[0]) - m).abs() < 1e-7);
            assert!((squares[0].double_value(&[0]) - v).abs() < 1e-7);
        }
    }
}

#[test]
fn adamw_follows_torchs_own() {
    let wanted = of_tch(nn::AdamW { beta1: 0.9, beta2: 0.999, wd: 0.05, eps: 1e-8, amsgrad: false }, 1e-2, &ANY);
    for kernel in ADAMW {
        let settings = AdamW { lr: 1e-2, weight_decay: 0.05, ..AdamW::default() };
        let (mut averages, mut squares, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let got = of_ours(&ANY, |i, params, grads| {
            if i == 0 {
                (averages, squares) = (zeros_like(params), zeros_like(params));
                steps = params.iter().map(|_| Tensor::zeros([], CPU)).collect();
            }
            let state = AdamWState { averages: &averages, squares: &squares, steps: &steps };
            kernel(&settings, params, grads, state).unwrap();
        });
        for (a, b) in wanted.iter().zip(&got) {
            assert!((a - b).abs() <= 1e-6 + 1e-6 * a.abs(), "{a} {b}");
        }
    }
}

#[test]
fn a_gradient_in_another_memory_format_counts_element_by_element() {
    let settings = Sgd { lr: 0.1, momentum: 0.9, ..Sgd::default() };
    let mut g = Generator::new(1, Device::Cpu).unwrap();
    let mut weight = Tensor::empty([4, 3, 2, 2], CPU);
    let mut grad = weight.zeros_like();
    g.normal_(&mut weight, 0.0, 1.0).unwrap();
    g.normal_(&mut grad, 0.0, 1.0).unwrap();
    for kernel in SGD {
        let (plain, last) = ([weight.copy()], [channels_last(&weight).unwrap()]);
        kernel(&settings, &plain, &[grad.copy()], &zeros_like(&plain), true).unwrap();
        kernel(&settings, &last, &[grad.copy()], &zeros_like(&last), true).unwrap();
        assert_eq!(values(&plain), values(&last));
    }
}

#[test]
fn state_in_another_memory_format_is_refused() {
    let settings = Sgd { momentum: 0.9, ..Sgd::default() };
    let params = [channels_last(&Tensor::ones([4, 3, 2, 2], CPU)).unwrap()];
    let momentum = [Tensor::zeros([4, 3, 2, 2], CPU)];
    for kernel in SGD {
        let error = kernel(&settings, &params, &zeros_like(&params), &momentum, true).unwrap_err().to_string();
        assert!(error.contains("momentum 0 lies in memory with strides [12, 4, 2, 1]"), "{error}");
    }
    assert_eq!(values(&params), [1.0; 48], "nothing was changed");
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let (one, two) = ([Tensor::ones([2], CPU)], [Tensor::ones([2], CPU), Tensor::ones([2], CPU)]);
    let plain = Sgd::default();
    let with_momentum = Sgd { momentum: 0.9, ..plain };
    for kernel in SGD {
        let text = |result: Result<(), TorchError>| result.unwrap_err().to_string();
        assert!(text(kernel(&plain, &two, &one, &[], true)).contains("2 parameters came with 1 gradients"));
        assert!(text(kernel(&with_momentum, &two, &two, &one, true)).contains("2 parameters came with 1 tensors"));
        assert!(text(kernel(&plain, &one, &[Tensor::new()], &[], true)).contains("gradient 0 is undefined"));
        assert!(text(kernel(&plain, &one, &[Tensor::ones([3], CPU)], &[], true)).contains("gradient 0 is [3]"));
        let nesterov = Sgd { nesterov: true, ..plain };
        assert!(text(kernel(&nesterov, &one, &one, &[], true)).contains("Nesterov"));
        kernel(&plain, &[], &[], &[], true).unwrap();
    }
    for kernel in ADAMW {
        let short = AdamWState { averages: &two, squares: &one, steps: &two };
        let error = kernel(&AdamW::default(), &two, &two, short).unwrap_err().to_string();
        assert!(error.contains("1 second moments"), "{error}");
        let doubles = [Tensor::zeros([], (Kind::Double, Device::Cpu))];
        let wrong = AdamWState { averages: &one, squares: &one, steps: &doubles };
        let error = kernel(&AdamW::default(), &one, &one, wrong).unwrap_err().to_string();
        assert!(error.contains("step count 0 must be one float32 on cpu"), "{error}");
    }
}

#[test]
fn long_gradients_are_clipped_and_short_ones_left() {
    let grads = [Tensor::from_slice(&[3.0f32, 0.0]), Tensor::from_slice(&[4.0f32])];
    let norm = clip_grad_norm(&grads, 10.0).unwrap();
    assert_eq!((norm.double_value(&[]), norm.dim()), (5.0, 0));
    assert_eq!(values(&grads), [3.0, 0.0, 4.0]);
    assert_eq!(clip_grad_norm(&grads, 1.0).unwrap().double_value(&[]), 5.0);
    for (got, wanted) in values(&grads).into_iter().zip([0.6, 0.0, 0.8]) {
        assert!((got - wanted).abs() < 1e-6);
    }
    assert_eq!(clip_grad_norm(&[], 1.0).unwrap().double_value(&[]), 0.0);
    assert!(clip_grad_norm(&[Tensor::new()], 1.0).unwrap_err().to_string().contains("undefined"));
}
