//! Where a trainer's work goes: the number of intra-op threads on the CPU, a queue of its own on a card.

use kiln_torch::{Stream, StreamGuard};
use tch::{Cuda, Device};

use crate::error::Result;

/// A trainer's own queue on a card, so that candidates side by side fill each other's gaps. Nothing on the CPU.
///
/// libtorch gives memory out again in the order of the queue it was taken in. So a trainer keeps one queue for life, and
/// all work on its tensors is bracketed: what others put on the card is waited for on the way in, its own on the way out.
#[derive(Clone, Copy)]
pub(super) struct Lane(Option<(Stream, i64)>);

/// While it lives, this thread's work goes into the lane; it ends with waiting for that work.
pub(super) struct LaneGuard {
    // Dropped in this order: `Drop` below waits first, then the queue from before is put back.
    _entered: Option<StreamGuard>,
    stream: Option<Stream>,
}

impl Lane {
    pub(super) fn new(device: Device) -> Result<Lane> {
        Ok(Lane(match device {
            Device::Cuda(index) => Some((Stream::new(device)?, index as i64)),
            _ => None,
        }))
    }

    pub(super) fn enter(self, threads: u32) -> Result<LaneGuard> {
        kiln_torch::set_threads(threads.try_into().unwrap_or(i32::MAX));
        let Some((stream, index)) = self.0 else { return Ok(LaneGuard { _entered: None, stream: None }) };
        Cuda::synchronize(index);
        Ok(LaneGuard { _entered: Some(stream.enter()?), stream: Some(stream) })
    }
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            // Fails only after a fault of the card, which the next operation on it reports.
            drop(stream.synchronize());
        }
    }
}
