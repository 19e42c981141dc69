//! libtorch as Kiln uses it: what `tch` lacks, and the only unsafe code of the workspace.
//!
//! - [`cuda`]: CUDA opened at run time ([`init`]: first statement of `main`)
//! - [`random`]: generators of our own, with state ([`Generator`])
//! - [`guard`]: gradient mode and autocast as guards ([`NoGrad`], [`Autocast`])
//! - [`tensor`]: gradients, memory formats, bytes for checkpoints
//! - [`layers`]: convolution and batch normalisation, on kernels of our own where those are faster
//! - [`optim_kernels`]: fused and foreach SGD and AdamW, gradient clipping
//! - [`script`]: TorchScript by tracing
//! - [`device`]: memory and streams of a card; threads, determinism, TF32; the allocator
//! - [`error`]: failures as sentences; what is out of memory
//! - `ffi`: the declarations of `shim.cpp` and every `unsafe` block
//!
//! Methods of [`tch::Tensor`] without `f_` panic when libtorch reports an error: [`catch`] makes a [`TorchError`] of it, which
//! is what everything here returns.

pub mod cuda;
pub mod device;
pub mod error;
mod ffi;
pub mod guard;
pub mod layers;
pub mod optim_kernels;
pub mod random;
pub mod script;
pub mod tensor;

pub use cuda::{CudaChoice, CudaStatus, Init, init};
pub use device::{
    DeviceMemory, Stream, StreamGuard, cudnn_benchmark, deterministic, empty_cache, is_cudnn_benchmark,
    is_deterministic, is_tf32, libtorch_path, libtorch_version, memory, reset_peak_memory, set_threads, tf32, threads,
    tune_allocator,
};
pub use error::{TorchError, catch, is_out_of_memory};
pub use guard::{Autocast, NoGrad};
pub use optim_kernels::clip_grad_norm;
pub use random::Generator;
pub use tch;
pub use tensor::{channels_last, clear_grads, contiguous, from_bytes, grads, set_grad, to_bytes};

pub(crate) use cuda::device_index;
