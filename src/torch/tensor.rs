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

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn counting(shape: &[i64]) -> Tensor {
        Tensor::arange(shape.iter().product::<i64>(), CPU).view(shape)
    }

    #[test]
    fn channels_last_strides_hold_for_every_shape() {
        for (shape, strides) in [
            ([2, 3, 4, 5], [60, 1, 15, 3]),
            ([2, 1, 4, 5], [20, 1, 5, 1]), // images of one channel
            ([8, 1, 3, 3], [9, 1, 3, 1]),  // kernels of a depthwise convolution
            ([4, 8, 1, 1], [8, 1, 8, 8]),  // kernels of a pointwise convolution
            ([1, 1, 1, 1], [1, 1, 1, 1]),
        ] {
            let plain = counting(&shape);
            let last = channels_last(&plain).unwrap();
            assert_eq!(last.stride(), strides, "{shape:?}");
            assert_eq!(last, plain);
            assert_eq!(channels_last(&last).unwrap().data_ptr(), last.data_ptr(), "a second time nothing is copied");
            let back = contiguous(&last).unwrap();
            assert_eq!(back.stride(), plain.stride(), "{shape:?}");
            assert_eq!(back, plain);
        }
    }

    #[test]
    fn memory_is_shared_where_the_order_is_the_same() {
        let one_channel = counting(&[2, 1, 4, 5]);
        assert_eq!(channels_last(&one_channel).unwrap().data_ptr(), one_channel.data_ptr());
        let two_channels = counting(&[2, 2, 4, 5]);
        assert_ne!(channels_last(&two_channels).unwrap().data_ptr(), two_channels.data_ptr());
    }

    #[test]
    fn other_dimensions_pass_through() {
        let t = counting(&[3, 4]);
        assert_eq!(channels_last(&t).unwrap().stride(), [4, 1]);
        let transposed = contiguous(&t.tr()).unwrap();
        assert_eq!((transposed.size(), transposed.stride()), (vec![4, 3], vec![3, 1]));
        assert_eq!(transposed, t.tr());
    }

    #[test]
    fn gradients_flow_through_a_change_of_format() {
        for shape in [[2, 1, 4, 5], [2, 3, 4, 5]] {
            let x = counting(&shape).set_requires_grad(true);
            (channels_last(&x).unwrap() * 2.0).sum(Kind::Float).backward();
            assert_eq!(x.grad(), Tensor::full(shape, 2.0, CPU));
        }
    }

    #[test]
    fn convolutions_of_one_channel_take_the_format_on() {
        let input = channels_last(&counting(&[2, 1, 8, 8])).unwrap();
        let kernel = channels_last(&counting(&[4, 1, 3, 3])).unwrap();
        let out = input.conv2d(&kernel, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
        assert_eq!(out.stride(), [256, 1, 32, 4]);
        let plain = counting(&[2, 1, 8, 8]).conv2d(&counting(&[4, 1, 3, 3]), None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
        assert!(out.allclose(&plain, 1e-6, 0.0, false));
    }

    #[test]
    fn gradients_are_set_read_and_cleared() {
        let leaf = counting(&[2, 2]).set_requires_grad(true);
        assert!(grads(std::slice::from_ref(&leaf))[0].is_none());
        let grad = counting(&[2, 2]);
        set_grad(&leaf, Some(&grad)).unwrap();
        assert_eq!(leaf.grad(), grad);
        assert_eq!(leaf.grad().data_ptr(), grad.data_ptr());
        (&leaf * 1.0).sum(Kind::Float).backward(); // adds to what is there
        assert_eq!(leaf.grad().double_value(&[1, 1]), 4.0);
        set_grad(&leaf, None).unwrap();
        assert!(!leaf.grad().defined());
        set_grad(&leaf, Some(&grad)).unwrap();
        clear_grads(std::slice::from_ref(&leaf)).unwrap();
        assert!(grads(std::slice::from_ref(&leaf))[0].is_none());
    }

    #[test]
    fn a_gradient_that_does_not_fit_is_refused() {
        let leaf = counting(&[2, 2]).set_requires_grad(true);
        let error = set_grad(&leaf, Some(&counting(&[3]))).unwrap_err().to_string();
        assert!(error.contains("[3]") && error.contains("[2, 2]"), "{error}");
        assert!(set_grad(&leaf, Some(&counting(&[2, 2]).to_kind(Kind::Double))).is_err());
        assert!(!leaf.grad().defined());
    }

    #[test]
    fn bytes_give_the_same_tensor_back() {
        for (kind, name, width) in NAMES {
            for shape in [vec![], vec![0], vec![7], vec![2, 3, 4, 5]] {
                let t = (counting(&shape) - 1.0).to_kind(Kind::Int64).remainder(2).to_kind(kind);
                let (dtype, shape_out, data) = to_bytes(&t).unwrap();
                assert_eq!((dtype, data.len()), (name, t.numel() * width));
                let back = from_bytes(dtype, &shape_out, &data).unwrap();
                assert_eq!((back.kind(), back.size()), (kind, shape.clone()));
                assert_eq!(back, t, "{name} {shape:?}");
            }
        }
    }

    #[test]
    fn bytes_are_row_major_whatever_the_memory_format() {
        let plain = counting(&[2, 3, 4, 5]);
        let last = channels_last(&plain).unwrap();
        assert_eq!(to_bytes(&last).unwrap(), to_bytes(&plain).unwrap());
        assert_eq!(to_bytes(&Tensor::from_slice(&[1.0f32])).unwrap().2, 1.0f32.to_le_bytes());
    }

    #[test]
    fn special_numbers_keep_their_bits() {
        let values = [f32::NAN, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 2.0];
        let (name, shape, data) = to_bytes(&Tensor::from_slice(&values)).unwrap();
        assert_eq!(to_bytes(&from_bytes(name, &shape, &data).unwrap()).unwrap().2, data);
        assert_eq!(data, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let error = from_bytes("F32", &[2, 2], &[0; 15]).unwrap_err().to_string();
        assert_eq!(error, "a F32 tensor of shape [2, 2] does not fit the 15 bytes that hold it");
        assert!(from_bytes("F32", &[usize::MAX, 4], &[0; 16]).is_err());
        assert!(from_bytes("Q4", &[1], &[0]).unwrap_err().to_string().contains("\"Q4\""));
        let complex = Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu));
        assert!(to_bytes(&complex).unwrap_err().to_string().contains("ComplexFloat"));
    }
}
