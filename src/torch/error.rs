//! What can go wrong in libtorch, as sentences without its C++ stack traces.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use tch::TchError;

/// A failure of libtorch, or of a request to it.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The device or the host has no memory left for a tensor. Smaller batches may still work.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Anything else, in libtorch's words.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A device that is not there or cannot be used.
    #[error("{0}")]
    Device(String),
    /// A request that makes no sense: bytes that do not fit a shape, settings that contradict each other.
    #[error("{0}")]
    Request(String),
}

impl TorchError {
    /// Sorts a message of libtorch into its kind and cuts the stack trace off.
    pub fn from_text(text: &str) -> TorchError {
        let message = message(text);
        if is_out_of_memory(message) {
            TorchError::OutOfMemory(message.into())
        } else {
            TorchError::Torch(message.into())
        }
    }

    /// Whether more memory (or a smaller batch) would have helped.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, TorchError::OutOfMemory(_))
    }
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> TorchError {
        match error {
            TchError::Torch(text) => TorchError::from_text(&text),
            other => TorchError::Torch(other.to_string()),
        }
    }
}

/// Runs `f` and makes an error of what libtorch reports through a panic: the methods of [`tch::Tensor`] without `f_` do.
///
/// For a whole forward or backward pass, where an `f_` and a `?` at every operation would hide the arithmetic. Other panics
/// go on as they were. After an error, what `f` changes may be changed in part.
///
/// # Errors
/// Whatever libtorch reports first.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, TorchError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match from_panic(payload.as_ref()) {
        Some(error) => error,
        None => resume_unwind(payload),
    })
}

/// The error within the message of tch's own `unwrap`, which carries it in `Debug` form.
fn from_panic(payload: &(dyn Any + Send)) -> Option<TorchError> {
    let text = payload.downcast_ref::<String>()?;
    let debug = text.strip_prefix("called `Result::unwrap()` on an `Err` value: Torch(\"")?;
    let text = debug.strip_suffix("\")").unwrap_or(debug);
    Some(TorchError::from_text(&text.replace("\\n", "\n").replace("\\\"", "\"")))
}

/// Whether a message of libtorch, cuBLAS, cuDNN or the CUDA runtime says that memory ran out.
///
/// For texts that come out of `tch` (an error, or the payload of a panic in a method without `f_`).
pub fn is_out_of_memory(text: &str) -> bool {
    const SIGNS: [&str; 7] = [
        "out of memory",              // c10::OutOfMemoryError, cudaErrorMemoryAllocation
        "can't allocate memory",      // the allocator of the CPU
        "not enough memory",          // the same on an allocation of absurd size
        "CUBLAS_STATUS_ALLOC_FAILED", // workspaces are allocated outside torch's cache
        "CUDNN_STATUS_ALLOC_FAILED",  // as above
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "std::bad_alloc",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// libtorch's `what()` carries a C++ stack trace after the sentence.
fn message(text: &str) -> &str {
    let end = text.find("\nException raised from").unwrap_or(text.len());
    text[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn messages_of_libtorch_lose_their_stack_trace() {
        let error = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))
            .f_matmul(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)));
        let error = TorchError::from(error.unwrap_err());
        let text = error.to_string();
        assert!(text.contains("mat1 and mat2 shapes cannot be multiplied"), "{text}");
        assert!(!text.contains("frame #") && !text.contains("Exception raised"), "{text}");
        assert!(!error.is_out_of_memory());
    }

    #[test]
    fn a_tensor_larger_than_any_memory_is_out_of_memory() {
        // 2^50 floats: four pebibytes, which no overcommit grants.
        let error = TorchError::from(Tensor::f_empty([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err());
        assert!(error.is_out_of_memory(), "{error}");
    }

    #[test]
    fn what_tch_panics_with_becomes_an_error() {
        assert_eq!(catch(|| 2 + 2).unwrap(), 4);
        let zeros = || Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let error = catch(|| zeros().matmul(&zeros())).unwrap_err();
        assert_eq!(error.to_string(), TorchError::from(zeros().f_matmul(&zeros()).unwrap_err()).to_string());
        let error = catch(|| Tensor::empty([1 << 50], (Kind::Float, Device::Cpu))).unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    }

    #[test]
    fn other_panics_go_on() {
        let literal = catch_unwind(|| catch(|| panic!("a bug of ours"))).unwrap_err();
        assert_eq!(*literal.downcast_ref::<&str>().unwrap(), "a bug of ours");
        let formatted = catch_unwind(|| catch(|| Vec::<i32>::new()[std::hint::black_box(7)])).unwrap_err();
        assert!(formatted.downcast_ref::<String>().unwrap().contains("index is 7"));
    }

    #[test]
    fn texts_of_the_cuda_libraries_are_recognised() {
        for text in [
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB",
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ] {
            assert!(is_out_of_memory(text), "{text}");
        }
        assert!(!is_out_of_memory("CUDA error: an illegal memory access was encountered"));
    }
}
