//! Why a method stops.

/// What ends a step early.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The worker asked for a safe point (pause, stop, checkpoint). Not a failure: the method is at one, and the next
    /// call of `step` goes on where this one left off.
    #[error("interrupted at a safe point")]
    Interrupted,
    /// The disk is full. A sentence: what could not be written. The method is at a safe point, and the next call of `step`
    /// tries again.
    #[error("{0}")]
    NoRoom(String),
    /// The run cannot go on. A sentence: what failed, on what, what to do.
    #[error("{0}")]
    Failed(String),
}

impl MethodError {
    /// A failure with its sentence.
    pub fn failed(message: impl std::fmt::Display) -> MethodError {
        MethodError::Failed(message.to_string())
    }
}

pub type Result<T, E = MethodError> = std::result::Result<T, E>;
