//! Random numbers from generators of our own: a candidate's stream depends on its seed alone, not on its neighbours.

use crate::error::TorchError;
use crate::ffi::GeneratorHandle;
use tch::{Device, Tensor};

/// A random generator on one device, with the algorithm and the stream of `torch.Generator`.
///
/// It may move to another thread, but not be shared: one owner draws at a time. Its numbers depend on the seed and on the
/// sequence of calls, not on the number of threads. On the CPU (Mersenne Twister) torch uses the low 32 bits of the seed.
///
/// The fills write in place, whether or not the tensor wants a gradient, and in the order of memory: fill first and change
/// the memory format afterwards, or two layouts of one network start from different weights.
pub struct Generator {
    handle: GeneratorHandle,
    device: Device,
}

impl Generator {
    /// A fresh generator.
    ///
    /// # Errors
    /// A CUDA device that is not there, or asked for before [`crate::init`] opened the CUDA library.
    pub fn new(seed: u64, device: Device) -> Result<Generator, TorchError> {
        let handle = GeneratorHandle::new(seed, crate::device_index(device)?)?;
        Ok(Generator { handle, device })
    }

    /// The device whose tensors it fills.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Its whole state as u8 `[n]` on the CPU (about 5 kB for a generator of the CPU, 16 bytes for one of CUDA).
    pub fn state(&self) -> Result<Tensor, TorchError> {
        self.handle.state()
    }

    /// Continues where the generator that gave this state stood.
    ///
    /// # Errors
    /// A tensor that is no state of a generator of this device; the generator is then unchanged.
    pub fn set_state(&mut self, state: &Tensor) -> Result<(), TorchError> {
        self.handle.set_state(&crate::contiguous(state)?)
    }

    /// A permutation of `0..n`: i64 `[n]` on the generator's device.
    pub fn randperm(&mut self, n: i64) -> Result<Tensor, TorchError> {
        self.handle.randperm(n)
    }

    /// Whole numbers, uniform in `0..high`: i64 of this shape on the generator's device.
    pub fn randint(&mut self, high: i64, shape: &[i64]) -> Result<Tensor, TorchError> {
        self.handle.randint(0, high, shape)
    }

    /// Fills with normal numbers of this mean and standard deviation. Floating-point tensors only.
    pub fn normal_(&mut self, t: &mut Tensor, mean: f64, std: f64) -> Result<(), TorchError> {
        self.handle.normal(t, mean, std)
    }

    /// Fills with numbers uniform in `low..high`. Floating-point tensors only.
    pub fn uniform_(&mut self, t: &mut Tensor, low: f64, high: f64) -> Result<(), TorchError> {
        self.handle.uniform(t, low, high)
    }

    /// Fills with ones (probability `p`, within 0 and 1) and zeros, in the tensor's own element type.
    pub fn bernoulli_(&mut self, t: &mut Tensor, p: f64) -> Result<(), TorchError> {
        self.handle.bernoulli(t, p)
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Generator").field("device", &self.device).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    const CPU: Device = Device::Cpu;

    fn generator(seed: u64) -> Generator {
        Generator::new(seed, CPU).unwrap()
    }

    fn empty(n: i64) -> Tensor {
        Tensor::empty([n], (Kind::Float, CPU))
    }

    /// One of each kind of draw, as one vector.
    fn draw(g: &mut Generator) -> Vec<f64> {
        let (mut normal, mut uniform, mut coins) = (empty(100), empty(100), empty(100));
        g.normal_(&mut normal, 1.0, 2.0).unwrap();
        g.uniform_(&mut uniform, -3.0, 3.0).unwrap();
        g.bernoulli_(&mut coins, 0.3).unwrap();
        let (order, numbers) = (g.randperm(50).unwrap(), g.randint(1000, &[5, 4]).unwrap().flatten(0, 1));
        Tensor::cat(&[normal, uniform, coins, order.to_kind(Kind::Float), numbers.to_kind(Kind::Float)], 0)
            .to_kind(Kind::Double)
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_seed_names_a_stream() {
        assert_eq!(draw(&mut generator(7)), draw(&mut generator(7)));
        assert_ne!(draw(&mut generator(7)), draw(&mut generator(8)));
    }

    #[test]
    fn the_stream_is_that_of_pytorch() {
        // torch.manual_seed(0); torch.rand(3)
        let mut t = empty(3);
        generator(0).uniform_(&mut t, 0.0, 1.0).unwrap();
        assert_eq!(Vec::<f32>::try_from(t).unwrap(), [0.496_256_6, 0.768_221_8, 0.088_477_43]);
    }

    #[test]
    fn a_state_continues_where_it_was_taken() {
        let mut g = generator(3);
        draw(&mut g);
        let state = g.state().unwrap();
        assert_eq!(state.kind(), Kind::Uint8);
        let next = draw(&mut g);
        assert_ne!(draw(&mut g), next);
        g.set_state(&state).unwrap();
        assert_eq!(draw(&mut g), next);
        let mut other = generator(999);
        other.set_state(&state).unwrap();
        assert_eq!(draw(&mut other), next);
    }

    #[test]
    fn a_state_is_a_snapshot() {
        let mut g = generator(3);
        let state = g.state().unwrap();
        let before = state.copy();
        draw(&mut g);
        assert_eq!(state, before);
    }

    #[test]
    fn what_is_no_state_is_refused_and_changes_nothing() {
        let (mut g, mut same) = (generator(5), generator(5));
        assert!(g.set_state(&Tensor::zeros([16], (Kind::Uint8, CPU))).is_err());
        assert!(g.set_state(&Tensor::zeros([5056], (Kind::Float, CPU))).is_err());
        assert_eq!(draw(&mut g), draw(&mut same));
    }

    #[test]
    fn streams_side_by_side_equal_streams_in_turn() {
        let in_turn: Vec<_> = (0..4).map(|seed| draw(&mut generator(seed))).collect();
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                let mut g = generator(seed); // moves to its thread
                std::thread::spawn(move || draw(&mut g))
            })
            .collect();
        let side_by_side: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(in_turn, side_by_side);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let with = |threads| {
            std::thread::spawn(move || {
                crate::set_threads(threads);
                let (mut normal, mut coins) = (empty(100_000), empty(100_000));
                let mut g = generator(11);
                g.normal_(&mut normal, 0.0, 1.0).unwrap();
                g.bernoulli_(&mut coins, 0.5).unwrap();
                (Vec::<f32>::try_from(normal).unwrap(), Vec::<f32>::try_from(coins).unwrap())
            })
            .join()
            .unwrap()
        };
        assert_eq!(with(1), with(2));
    }

    #[test]
    fn draws_have_the_distribution_asked_for() {
        let mut g = generator(1);
        let mut t = empty(100_000);
        g.normal_(&mut t, 2.0, 3.0).unwrap();
        assert!((t.mean(Kind::Float).double_value(&[]) - 2.0).abs() < 0.05);
        assert!((t.std(true).double_value(&[]) - 3.0).abs() < 0.05);
        g.uniform_(&mut t, -1.0, 3.0).unwrap();
        assert!((t.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.05);
        assert!(t.min().double_value(&[]) >= -1.0 && t.max().double_value(&[]) < 3.0);
        g.bernoulli_(&mut t, 0.25).unwrap();
        assert!((t.mean(Kind::Float).double_value(&[]) - 0.25).abs() < 0.01);
        let mut order = Vec::<i64>::try_from(g.randperm(1000).unwrap()).unwrap();
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
        let numbers = g.randint(10, &[1000]).unwrap();
        assert_eq!((numbers.min().int64_value(&[]), numbers.max().int64_value(&[])), (0, 9));
    }

    #[test]
    fn a_parameter_is_filled_without_recording() {
        let mut weight = empty(10).set_requires_grad(true);
        generator(1).normal_(&mut weight, 0.0, 1.0).unwrap();
        assert!(weight.requires_grad() && weight.is_leaf());
    }

    #[test]
    fn mistakes_are_errors_with_a_text() {
        let mut g = generator(1);
        let error = g.normal_(&mut Tensor::zeros([2], (Kind::Int64, CPU)), 0.0, 1.0).unwrap_err().to_string();
        assert!(error.contains("normal"), "{error}");
        let error = g.bernoulli_(&mut empty(2), 1.5).unwrap_err().to_string();
        assert!(error.contains("1.5"), "{error}");
        assert!(g.randperm(-1).is_err());
        assert!(Generator::new(1, Device::Cuda(99)).is_err());
    }
}
