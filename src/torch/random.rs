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
