//! Why a method stops.

/// What ends a step early.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The worker asked for a safe point (pause, stop, checkpoint). Not a failure: the method is at one, and the next
    /// call of `step` goes on where this one left off.
    #[error("interrupted at a safe point")]
    Interrupted,
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
