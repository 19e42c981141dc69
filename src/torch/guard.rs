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
