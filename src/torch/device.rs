//! Memory and streams of a card, and the switches that hold for the whole process.

use crate::cuda::device_index;
use crate::error::TorchError;
use crate::ffi::{self, RawStream};
use std::marker::PhantomData;
use tch::Device;

/// Memory of one card, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What the card has.
    pub total: u64,
    /// What nobody, of any process, has taken.
    pub free: u64,
    /// In tensors of this process.
    pub allocated: u64,
    /// Taken by torch's cache: tensors, and blocks that it keeps for the next ones.
    pub reserved: u64,
    /// The most that was `allocated` since [`reset_peak_memory`] or the beginning.
    pub peak_allocated: u64,
    /// The most that was `reserved` since then.
    pub peak_reserved: u64,
    /// How often an allocation has failed for want of memory.
    pub out_of_memory: u64,
}

/// Memory of a card; None on the CPU and where the card cannot be asked.
pub fn memory(device: Device) -> Option<DeviceMemory> {
    let m = ffi::memory(card(device).ok()?).ok()?;
    Some(DeviceMemory {
        total: m.total,
        free: m.free,
        allocated: m.allocated,
        reserved: m.reserved,
        peak_allocated: m.peak_allocated,
        peak_reserved: m.peak_reserved,
        out_of_memory: m.out_of_memory,
    })
}

/// Lets the peaks of [`memory`] begin anew.
///
/// # Errors
/// A device that is no card, or cannot be used.
pub fn reset_peak_memory(device: Device) -> Result<(), TorchError> {
    ffi::reset_peak_memory(card(device)?)
}

/// Gives the cache's unused blocks back to the driver, for other processes or after running out of memory. Without a card
/// there is nothing to do.
///
/// # Errors
/// An earlier failure of the card that shows only now.
pub fn empty_cache() -> Result<(), TorchError> {
    if card(Device::Cuda(0)).is_err() {
        return Ok(());
    }
    ffi::empty_cache()
}

/// The index of a card.
fn card(device: Device) -> Result<i32, TorchError> {
    match device_index(device)? {
        -1 => Err(TorchError::Device("the CPU has neither memory statistics nor streams".into())),
        index => Ok(index),
    }
}

/// A queue of work on a card, from torch's pool of 32 a card. Queues run side by side.
///
/// Memory of a tensor is given out again in its own queue's order: keep what another queue reads until that has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(RawStream);

impl Stream {
    /// The next queue of the pool.
    ///
    /// # Errors
    /// A device that is no card, or cannot be used.
    pub fn new(device: Device) -> Result<Stream, TorchError> {
        ffi::stream_new(card(device)?, false).map(Stream)
    }

    /// Sends this thread's work on the card into the queue while the guard lives.
    pub fn enter(&self) -> Result<StreamGuard, TorchError> {
        let (stream, device) = ffi::stream_exchange(self.0)?;
        Ok(StreamGuard { stream, device, thread: PhantomData })
    }

    /// Waits until all work in the queue is done.
    pub fn synchronize(&self) -> Result<(), TorchError> {
        ffi::stream_synchronize(self.0)
    }
}

/// Puts the queue and the card from before back when it is dropped. Bound to its thread.
#[must_use = "a guard that is not bound to a name ends at once"]
#[derive(Debug)]
pub struct StreamGuard {
    stream: RawStream,
    device: i32,
    thread: PhantomData<*const ()>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // Fails only after a fault of the card, which the next operation on it reports.
        let _ = ffi::stream_restore(self.stream, self.device);
    }
}

/// Sets the number of threads of one operation, for this thread and as the default of threads to come. Less than 1 is 1.
///
/// Results depend on it in the last bits, so it belongs to the settings of a run.
pub fn set_threads(n: i32) {
    // Fails only for numbers below 1.
    let _ = ffi::set_threads(n.max(1));
}

/// The number of threads of one operation started from this thread.
pub fn threads() -> i32 {
    ffi::threads()
}

/// Same input, same bits, at the price of speed; operations that cannot do so become errors. Switching it on switches
/// [`cudnn_benchmark`] off.
///
/// On CUDA it needs `CUBLAS_WORKSPACE_CONFIG`, which [`crate::init`] sets if it runs before any thread.
pub fn deterministic(on: bool) -> Result<(), TorchError> {
    ffi::deterministic(on)
}

/// Whether [`deterministic`] is on.
pub fn is_deterministic() -> bool {
    ffi::is_deterministic()
}

/// Lets matrix products and convolutions of `f32` on CUDA round their inputs to 10 bits of mantissa: several times faster
/// from Ampere on. torch starts with it on for convolutions and off for matrix products.
pub fn tf32(on: bool) -> Result<(), TorchError> {
    ffi::tf32(on)
}

/// Whether TF32 is on for (matrix products, convolutions).
pub fn is_tf32() -> Result<(bool, bool), TorchError> {
    ffi::get_tf32()
}

/// Lets cuDNN time its convolutions for each new shape and keep the fastest. Pays for fixed shapes, costs determinism.
pub fn cudnn_benchmark(on: bool) -> Result<(), TorchError> {
    ffi::cudnn_benchmark(on)
}

/// Whether [`cudnn_benchmark`] is on.
pub fn is_cudnn_benchmark() -> bool {
    ffi::get_cudnn_benchmark()
}

/// Tells glibc to keep freed memory instead of returning it to the kernel after every training step: up to 1.5 times the
/// speed for nets with large activations. Call it at the beginning of `main`, before any thread; false if glibc refuses.
pub fn tune_allocator() -> bool {
    const MIB: i32 = 1 << 20;
    // Older glibcs refuse a threshold above 32 MiB.
    let threshold = ffi::mallopt(libc::M_MMAP_THRESHOLD, 1024 * MIB) || ffi::mallopt(libc::M_MMAP_THRESHOLD, 32 * MIB);
    threshold & ffi::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX) & ffi::mallopt(libc::M_TOP_PAD, 64 * MIB)
}

/// Version of libtorch that this program was built with.
pub fn libtorch_version() -> &'static str {
    ffi::torch_version()
}

/// Where the libtorch_cpu.so that runs here was loaded from.
pub fn libtorch_path() -> Option<std::path::PathBuf> {
    ffi::torch_library()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_no_card_statistics() {
        assert_eq!(memory(Device::Cpu), None);
        assert_eq!(memory(Device::Cuda(99)), None);
        assert!(reset_peak_memory(Device::Cpu).is_err());
        assert!(Stream::new(Device::Cpu).unwrap_err().to_string().contains("CPU"));
    }

    #[test]
    fn without_a_card_there_is_no_cache_to_empty() {
        if crate::init(&crate::CudaChoice::Off).status().devices() == 0 {
            empty_cache().unwrap();
        }
    }

    #[test]
    fn switches_switch() {
        for on in [true, false] {
            deterministic(on).unwrap();
            assert_eq!(is_deterministic(), on);
            tf32(on).unwrap();
            assert_eq!(is_tf32().unwrap(), (on, on));
            cudnn_benchmark(on).unwrap();
            assert_eq!(is_cudnn_benchmark(), on);
        }
        cudnn_benchmark(true).unwrap();
        deterministic(true).unwrap();
        assert!(!is_cudnn_benchmark());
        deterministic(false).unwrap();
    }

    #[test]
    fn threads_are_set_for_the_calling_thread() {
        let counts = std::thread::spawn(|| {
            set_threads(2);
            let two = threads();
            set_threads(0);
            (two, threads())
        });
        assert_eq!(counts.join().unwrap(), (2, 1));
    }

    #[test]
    fn glibc_takes_the_allocator_settings() {
        assert!(tune_allocator());
    }

    #[test]
    fn the_version_is_the_one_tch_is_made_for() {
        assert_eq!(libtorch_version(), "2.11.0");
    }
}
