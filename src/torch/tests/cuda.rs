//! What only a card can show. Without one, the reason is checked and the rest has nothing to run on.
//!
//! A process of its own, since CUDA must be opened before the first use of libtorch. `KILN_CUDA` chooses what is opened.

#![allow(clippy::unwrap_used)] // helpers of tests are tests, too

use kiln_torch::optim_kernels::{AdamW, AdamWState, Sgd, fused_adamw, fused_sgd};
use kiln_torch::tch::{Device, Kind, Tensor};
use kiln_torch::{
    Autocast, CudaChoice, CudaStatus, Generator, Stream, TorchError, channels_last, clip_grad_norm, deterministic,
    empty_cache, init, memory, reset_peak_memory,
};
use std::sync::{Mutex, MutexGuard};

const CARD: Device = Device::Cuda(0);
const ON_CARD: (Kind, Device) = (Kind::Float, CARD);
const MIB: u64 = 1 << 20;

/// One test at a time may use the card, so that memory statistics are its own. None without a card.
fn card() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    let status = init(&CudaChoice::from_env()).status();
    if status.devices() == 0 {
        eprintln!("nothing to test on: CUDA is {status}");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn values(t: &Tensor) -> Vec<f32> {
    Vec::try_from(t.detach().to_device(Device::Cpu).flatten(0, -1)).unwrap()
}

#[test]
fn the_status_fits_the_machine() {
    let choice = CudaChoice::from_env();
    let status = init(&choice).status();
    assert_eq!(init(&CudaChoice::Off).status(), status, "the first call counts");
    match status {
        CudaStatus::Off => assert_eq!(choice, CudaChoice::Off),
        CudaStatus::Absent(why) => assert!(why.contains("driver"), "{why}"),
        CudaStatus::Failed(why) => panic!("{why}"),
        CudaStatus::Loaded { cudnn, .. } => assert!(cudnn.is_some(), "torch's own builds have cuDNN"),
    }
    if status.devices() == 0 {
        let error = Generator::new(1, CARD).unwrap_err();
        assert!(matches!(error, TorchError::Device(_)), "{error}");
        assert!(error.to_string().contains(&status.to_string()), "the error gives the reason: {error}");
        assert_eq!(memory(CARD), None);
        empty_cache().unwrap();
        // Training on the CPU goes on as ever, also beside an opened CUDA library without a card.
        let leaf = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        (&leaf * 2.0).sum(Kind::Float).backward();
        assert_eq!(values(&leaf.grad()), [2.0; 3]);
    }
}

#[test]
fn memory_statistics_follow_the_tensors() {
    let Some(_card) = card() else { return };
    empty_cache().unwrap();
    reset_peak_memory(CARD).unwrap();
    let before = memory(CARD).unwrap();
    let tensor = Tensor::zeros([64, MIB as i64 / 4], ON_CARD);
    let during = memory(CARD).unwrap();
    assert!(during.allocated >= before.allocated + 64 * MIB && during.reserved >= during.allocated);
    assert!(during.total > during.free && during.peak_allocated >= during.allocated);
    drop(tensor);
    empty_cache().unwrap();
    let after = memory(CARD).unwrap();
    assert!(after.allocated <= before.allocated && after.reserved < during.reserved);
    assert!(after.peak_allocated >= during.allocated, "the peak stays");
    reset_peak_memory(CARD).unwrap();
    assert!(memory(CARD).unwrap().peak_allocated < during.allocated);
}

#[test]
fn want_of_memory_is_recognised_and_survived() {
    let Some(_card) = card() else { return };
    let floats = i64::try_from(memory(CARD).unwrap().total).unwrap(); // four times the card's bytes
    let error = TorchError::from(Tensor::f_empty([floats], ON_CARD).unwrap_err());
    assert!(error.is_out_of_memory(), "{error}");
    empty_cache().unwrap();
    assert_eq!(values(&Tensor::ones([2], ON_CARD)), [1.0; 2]);
}

#[test]
fn a_generator_lives_on_the_card() {
    let Some(_card) = card() else { return };
    let mut g = Generator::new(5, CARD).unwrap();
    let state = g.state().unwrap();
    let mut draw = || {
        let mut t = Tensor::empty([1000], ON_CARD);
        g.normal_(&mut t, 0.0, 1.0).unwrap();
        let order = g.randperm(100).unwrap();
        assert_eq!(order.device(), CARD);
        (values(&t), Vec::<i64>::try_from(order.to_device(Device::Cpu)).unwrap())
    };
    let (first, second) = (draw(), draw());
    assert_ne!(first, second);
    g.set_state(&state).unwrap();
    let mut t = Tensor::empty([1000], ON_CARD);
    g.normal_(&mut t, 0.0, 1.0).unwrap();
    assert_eq!(values(&t), first.0);
}

#[test]
fn autocast_holds_on_the_card() {
    let Some(_card) = card() else { return };
    let input = channels_last(&Tensor::ones([2, 1, 8, 8], ON_CARD)).unwrap();
    let kernel = channels_last(&Tensor::ones([4, 1, 3, 3], ON_CARD)).unwrap();
    for kind in [Kind::BFloat16, Kind::Half] {
        let _guard = Autocast::new(CARD, kind).unwrap();
        let out = input.conv2d(&kernel, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
        assert_eq!((out.kind(), out.stride()[1]), (kind, 1));
    }
}

#[test]
fn fused_kernels_agree_with_the_cpu() {
    let Some(_card) = card() else { return };
    let run = |device: Device| {
        let on = |values: &[f32]| [Tensor::from_slice(values).to_device(device)];
        let (params, grads) = (on(&[1.0, -2.0, 0.5]), on(&[3.0, 4.0, 0.0]));
        let norm = clip_grad_norm(&grads, 1.0).unwrap();
        assert_eq!(norm.device(), device);
        let momentum = [params[0].zeros_like()];
        let sgd = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: true, ..Sgd::default() };
        for step in 0..5 {
            fused_sgd(&sgd, &params, &grads, &momentum, step == 0).unwrap();
        }
        let (averages, squares) = ([params[0].zeros_like()], [params[0].zeros_like()]);
        let steps = [Tensor::zeros([], (Kind::Float, device))];
        for _ in 0..5 {
            let state = AdamWState { averages: &averages, squares: &squares, steps: &steps };
            fused_adamw(&AdamW::default(), &params, &grads, state).unwrap();
        }
        values(&params[0])
    };
    for (a, b) in run(CARD).into_iter().zip(run(Device::Cpu)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn a_stream_takes_the_work_of_its_scope() {
    let Some(_card) = card() else { return };
    let stream = Stream::new(CARD).unwrap();
    let product = {
        let _guard = stream.enter().unwrap();
        let a = Tensor::ones([256, 256], ON_CARD);
        a.matmul(&a)
    };
    stream.synchronize().unwrap();
    assert_eq!(product.double_value(&[255, 255]), 256.0);
}

#[test]
fn deterministic_steps_repeat_their_bits() {
    let Some(_card) = card() else { return };
    deterministic(true).unwrap();
    let step = || {
        let mut g = Generator::new(3, CARD).unwrap();
        let (mut input, mut kernel) =
            (Tensor::empty([32, 16, 16, 16], ON_CARD), Tensor::empty([16, 16, 3, 3], ON_CARD));
        g.normal_(&mut input, 0.0, 1.0).unwrap();
        g.normal_(&mut kernel, 0.0, 1.0).unwrap();
        let kernel = kernel.set_requires_grad(true);
        input.conv2d(&kernel, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1).relu().mean(Kind::Float).backward();
        values(&kernel.grad())
    };
    let (first, second) = (step(), step());
    deterministic(false).unwrap();
    assert_eq!(first, second);
}
