//! What can go wrong in building and training networks.

use kiln_data::DataError;
use kiln_torch::TorchError;
use tch::TchError;

/// The crate's results.
pub type Result<T> = std::result::Result<T, TrainError>;

/// An error of building or training a network; its text is a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The device has no room for the step. The caller may go on with [`crate::Trainer::restart_with_batch`].
    #[error("out of memory{}: {message}", images(*.batch))]
    OutOfMemory {
        /// Images in the batch that did not fit; 0 where memory ran out outside a batch.
        batch: i64,
        /// The device's own words.
        message: String,
    },
    /// The loss is no longer a number. The trainer stands at its last good state again.
    #[error(
        "the training loss became infinite or not a number in epoch {} (noticed at step {}); \
         the network stands as it was at step {}. Try a lower learning rate, warm-up or gradient clipping", .0.epoch, .0.noticed, .0.good
    )]
    Diverged(crate::Divergence),
    /// The plan cannot be built.
    #[error("{0}")]
    Plan(String),
    /// Data and network do not fit together.
    #[error("{0}")]
    Data(String),
    /// A saved state does not belong to this candidate.
    #[error("{0}")]
    Saved(String),
    /// A search whose losses or logits are no longer numbers.
    #[error("{0}")]
    Search(String),
    /// A candidate's thread panicked or could not be started.
    #[error("{0}")]
    Thread(String),
    /// Anything else that libtorch reports.
    #[error("{0}")]
    Torch(String),
}

impl TrainError {
    /// Names the batch that did not fit.
    pub(crate) fn with_batch(self, images: i64) -> TrainError {
        match self {
            TrainError::OutOfMemory { message, .. } => TrainError::OutOfMemory { batch: images, message },
            other => other,
        }
    }
}

fn images(batch: i64) -> String {
    if batch > 0 { format!(" in a step of {batch} images") } else { String::new() }
}

impl From<TchError> for TrainError {
    fn from(error: TchError) -> Self {
        TorchError::from(error).into()
    }
}

impl From<TorchError> for TrainError {
    fn from(error: TorchError) -> Self {
        match error {
            TorchError::OutOfMemory(message) => TrainError::OutOfMemory { batch: 0, message },
            other => TrainError::Torch(other.to_string()),
        }
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Torch(inner) => inner.into(),
            other => TrainError::Data(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn want_of_memory_is_told_apart_and_names_the_batch() {
        // More than the address space has, so that no kernel promises it.
        let error =
            TrainError::from(Tensor::f_empty([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err()).with_batch(64);
        assert!(matches!(error, TrainError::OutOfMemory { batch: 64, .. }), "{error}");
        assert!(error.to_string().starts_with("out of memory in a step of 64 images: "), "{error}");
        let error =
            TrainError::from(Tensor::f_zeros([2], (Kind::Float, Device::Cpu)).unwrap().f_view([3]).unwrap_err());
        assert!(matches!(error.with_batch(64), TrainError::Torch(_)));
    }
}
