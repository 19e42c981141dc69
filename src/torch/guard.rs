//! Thread-local state of libtorch as guards: put back when the guard is dropped, also on unwinding.
//!
//! Guards of one kind must end in the reverse order of their beginning, as variables of nested scopes do by themselves.

use crate::error::TorchError;
use crate::ffi::{self, RawAutocast};
use std::marker::PhantomData;
use tch::{Device, Kind};

/// Bound to the thread whose state it restores: neither Send nor Sync.
type ThisThread = PhantomData<*const ()>;

/// While it lives, operations of this thread record nothing for a backward pass.
#[must_use = "a guard that is not bound to a name ends at once"]
#[derive(Debug)]
pub struct NoGrad {
    previous: bool,
    thread: ThisThread,
}

impl NoGrad {
    /// Switches recording off.
    pub fn new() -> NoGrad {
        NoGrad { previous: ffi::grad_mode_exchange(false), thread: PhantomData }
    }
}

impl Default for NoGrad {
    fn default() -> NoGrad {
        NoGrad::new()
    }
}

impl Drop for NoGrad {
    fn drop(&mut self) {
        ffi::grad_mode_exchange(self.previous);
    }
}

/// While it lives, libtorch chooses per operation of this thread between `f32` and a shorter type: matrix products and
/// convolutions run in the short one, sums and losses in `f32`. For the forward pass and the loss, not the backward pass.
///
/// torch's cache of converted weights stays off meanwhile: all threads share it, and what a neighbour clears would change
/// the rounding here. A weight that is used several times in one forward pass is therefore converted several times.
#[must_use = "a guard that is not bound to a name ends at once"]
#[derive(Debug)]
pub struct Autocast {
    cuda: bool,
    previous: RawAutocast,
    thread: ThisThread,
}

/// Numbers of `c10::ScalarType`, part of torch's serialisation format and thus stable.
const HALF: i32 = 5;
const BFLOAT16: i32 = 15;

impl Autocast {
    /// Switches autocast on for operations on this kind of device (whatever its index).
    ///
    /// # Errors
    /// An element type other than `BFloat16` and `Half`.
    pub fn new(device: Device, dtype: Kind) -> Result<Autocast, TorchError> {
        let dtype = match dtype {
            Kind::BFloat16 => BFLOAT16,
            Kind::Half => HALF,
            other => {
                return Err(TorchError::Request(format!("autocast goes to BFloat16 or Half, not to {other:?}")));
            }
        };
        Autocast::enter(device, RawAutocast { enabled: 1, dtype, cache: 0 })
    }

    /// Switches autocast off within another guard, for a part that must be computed in full precision.
    pub fn off(device: Device) -> Result<Autocast, TorchError> {
        Autocast::enter(device, RawAutocast { enabled: 0, dtype: BFLOAT16, cache: 0 })
    }

    fn enter(device: Device, next: RawAutocast) -> Result<Autocast, TorchError> {
        let cuda = crate::device_index(device)? >= 0;
        Ok(Autocast { cuda, previous: ffi::autocast_exchange(cuda, &next)?, thread: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // Putting back what torch itself reported cannot fail; were it to, a destructor has nobody to tell.
        let _ = ffi::autocast_exchange(self.cuda, &self.previous);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use tch::Tensor;

    const CPU: Device = Device::Cpu;

    fn product() -> Tensor {
        let a = Tensor::ones([4, 4], (Kind::Float, CPU)).set_requires_grad(true);
        a.matmul(&a)
    }

    #[test]
    fn recording_stops_for_the_guards_life() {
        assert!(product().requires_grad());
        {
            let _outer = NoGrad::new();
            assert!(!product().requires_grad());
            drop(NoGrad::new());
            assert!(!product().requires_grad(), "the inner guard must restore what it found");
        }
        assert!(product().requires_grad());
    }

    #[test]
    fn recording_comes_back_on_unwinding() {
        let unwound = catch_unwind(|| {
            let _guard = NoGrad::new();
            panic!("as in a failing step");
        });
        assert!(unwound.is_err() && product().requires_grad());
    }

    #[test]
    fn autocast_computes_products_in_the_type_asked_for() {
        assert_eq!(product().kind(), Kind::Float);
        {
            let _guard = Autocast::new(CPU, Kind::BFloat16).unwrap();
            assert_eq!(product().kind(), Kind::BFloat16);
            let input = Tensor::ones([1, 2, 5, 5], (Kind::Float, CPU));
            let kernel = Tensor::ones([3, 2, 3, 3], (Kind::Float, CPU));
            let out = input.conv2d(&kernel, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
            assert_eq!(out.kind(), Kind::BFloat16);
            // Losses stay in full precision.
            let labels = Tensor::zeros([4], (Kind::Int64, CPU));
            assert_eq!(product().cross_entropy_for_logits(&labels).kind(), Kind::Float);
            {
                let _full = Autocast::off(CPU).unwrap();
                assert_eq!(product().kind(), Kind::Float);
            }
            assert_eq!(product().kind(), Kind::BFloat16);
        }
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn autocast_rounds_as_bf16_does() {
        let x = Tensor::from_slice(&[1.0f32 + 1.0 / 512.0]).view([1, 1]); // bf16 has 8 bits of mantissa: rounds to 1
        let one = Tensor::ones([1, 1], (Kind::Float, CPU));
        let _guard = Autocast::new(CPU, Kind::BFloat16).unwrap();
        assert_eq!(x.matmul(&one).double_value(&[0, 0]), 1.0);
    }

    #[test]
    fn autocast_ends_on_unwinding() {
        let unwound = catch_unwind(|| {
            let _guard = Autocast::new(CPU, Kind::BFloat16).unwrap();
            panic!("as in a failing step");
        });
        assert!(unwound.is_err());
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn autocast_is_this_threads_own() {
        let _guard = Autocast::new(CPU, Kind::BFloat16).unwrap();
        let kind = std::thread::spawn(|| product().kind()).join().unwrap();
        assert_eq!(kind, Kind::Float);
    }

    #[test]
    fn gradients_of_an_autocast_step_are_of_the_weights_type() {
        let weight = Tensor::ones([4, 4], (Kind::Float, CPU)).set_requires_grad(true);
        let loss = {
            let _guard = Autocast::new(CPU, Kind::BFloat16).unwrap();
            weight.matmul(&weight).sum(Kind::Float)
        };
        loss.backward();
        assert_eq!(weight.grad().kind(), Kind::Float);
        assert_eq!(weight.grad().double_value(&[0, 0]), 8.0);
    }

    #[test]
    fn other_types_are_refused() {
        let error = Autocast::new(CPU, Kind::Float).unwrap_err().to_string();
        assert!(error.contains("not to Float"), "{error}");
    }
}
