//! Gradients, memory formats and bytes of tensors.

use crate::error::TorchError;
use crate::ffi;
use tch::{Device, Kind, Tensor};

/// Sets the `.grad` of a leaf, or clears it. The gradient is not copied.
///
/// # Errors
/// A gradient of another shape, element type or device than the tensor.
pub fn set_grad(t: &Tensor, grad: Option<&Tensor>) -> Result<(), TorchError> {
    ffi::set_grad(t, grad)
}

/// Clears `.grad` of all these, so that the next backward pass stores instead of adding: one call a step.
pub fn clear_grads(tensors: &[Tensor]) -> Result<(), TorchError> {
    ffi::clear_grads(tensors)
}

/// The `.grad` of each; None where a backward pass has left nothing.
pub fn grads(tensors: &[Tensor]) -> Vec<Option<Tensor>> {
    tensors.iter().map(|t| Some(t.grad()).filter(Tensor::defined)).collect()
}

/// A 4-D tensor `[n, c, h, w]` with channels next to each other in memory; others as they are.
///
/// Holds for every size, also where `c` or `h * w` is one and torch's own `contiguous` sees nothing to do: the strides are
/// exactly `[c*h*w, 1, w*c, c]`, so convolutions take the fast path. Shares memory with `t` where the order of elements is
/// the same. Gradients flow through it; for a parameter, make it before `requires_grad`.
pub fn channels_last(t: &Tensor) -> Result<Tensor, TorchError> {
    ffi::channels_last(t)
}

/// The plain layout, the last dimension innermost, with exactly its strides. Shares memory where the order is the same.
pub fn contiguous(t: &Tensor) -> Result<Tensor, TorchError> {
    ffi::contiguous(t)
}

/// Element types as safetensors names them.
const NAMES: [(Kind, &str, usize); 9] = [
    (Kind::Float, "F32", 4),
    (Kind::Double, "F64", 8),
    (Kind::Half, "F16", 2),
    (Kind::BFloat16, "BF16", 2),
    (Kind::Int64, "I64", 8),
    (Kind::Int, "I32", 4),
    (Kind::Uint8, "U8", 1),
    (Kind::Int8, "I8", 1),
    (Kind::Bool, "BOOL", 1),
];

/// A tensor as a checkpoint holds it: name of the element type (as in safetensors), shape, and its elements in
/// row-major order, little-endian, whatever its device and memory format.
///
/// # Errors
/// An element type that safetensors has no name for, or a failing copy from the device.
pub fn to_bytes(t: &Tensor) -> Result<(&'static str, Vec<usize>, Vec<u8>), TorchError> {
    let kind = t.f_kind()?;
    let (_, name, width) = NAMES.into_iter().find(|(k, ..)| *k == kind).ok_or_else(|| {
        TorchError::Request(format!("a tensor of {kind:?} cannot be saved: safetensors has no such type"))
    })?;
    let shape: Vec<usize> = t.size().into_iter().filter_map(|n| usize::try_from(n).ok()).collect();
    let mut data = vec![0; t.numel() * width];
    t.f_copy_data_u8(&mut data, t.numel())?;
    Ok((name, shape, data))
}

/// The tensor of these bytes, in plain layout on the CPU.
///
/// # Errors
/// An unknown element type, or another number of bytes than type and shape ask for.
pub fn from_bytes(dtype: &str, shape: &[usize], data: &[u8]) -> Result<Tensor, TorchError> {
    let (kind, _, width) = NAMES
        .into_iter()
        .find(|(_, name, _)| *name == dtype)
        .ok_or_else(|| TorchError::Request(format!("tensors of element type {dtype:?} are not known here")))?;
    let wanted = shape.iter().try_fold(width, |product, n| product.checked_mul(*n));
    if wanted != Some(data.len()) {
        return Err(TorchError::Request(format!(
            "a {dtype} tensor of shape {shape:?} does not fit the {} bytes that hold it",
            data.len()
        )));
    }
    let shape = shape.iter().map(|n| i64::try_from(*n)).collect::<Result<Vec<i64>, _>>();
    let shape = shape.map_err(|e| TorchError::Request(format!("a tensor too large for libtorch: {e}")))?;
    if data.is_empty() {
        return Ok(Tensor::f_empty(shape.as_slice(), (kind, Device::Cpu))?); // no memory to copy from or to
    }
    Ok(Tensor::f_from_data_size(data, &shape, kind)?)
}
