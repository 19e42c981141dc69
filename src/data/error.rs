//! What can be wrong with a data set, in sentences.

use std::io;
use std::path::{Path, PathBuf};

use kiln_torch::TorchError;
use tch::TchError;

/// Why a data set could not be used. The text names the file, what is wrong, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder is not there.
    #[error("{} is missing: expected {wanted}. {advice}", path.display())]
    Missing { path: PathBuf, wanted: String, advice: String },
    /// A file or folder is there and cannot be read.
    #[error("{} cannot be read: {source}. Check that it is a readable file and that its disk is well", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file was read and is not what it should be, or does not fit the others.
    #[error("{} {found}; expected {wanted}. {advice}", path.display())]
    Malformed { path: PathBuf, found: String, wanted: String, advice: String },
    /// The split asks for more images than there are.
    #[error("{} has {available} {part} images, not enough for {wanted}. {advice}", path.display())]
    TooFew { path: PathBuf, available: usize, part: &'static str, wanted: String, advice: String },
    /// The device could not take or process the images.
    #[error("the images could not be put on the device or processed there: {0}")]
    Torch(#[from] TorchError),
}

impl From<TchError> for DataError {
    fn from(error: TchError) -> Self {
        DataError::Torch(error.into())
    }
}

/// What to do about a damaged file that was downloaded or copied.
pub(crate) const FETCH_AGAIN: &str = "Copy or download the file again";

impl DataError {
    pub(crate) fn malformed(path: &Path, found: impl Into<String>, wanted: impl Into<String>, advice: &str) -> Self {
        DataError::Malformed {
            path: path.to_owned(),
            found: found.into(),
            wanted: wanted.into(),
            advice: advice.to_owned(),
        }
    }

    pub(crate) fn missing(path: &Path, wanted: impl Into<String>, advice: &str) -> Self {
        DataError::Missing { path: path.to_owned(), wanted: wanted.into(), advice: advice.to_owned() }
    }

    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        DataError::Unreadable { path: path.to_owned(), source }
    }
}
