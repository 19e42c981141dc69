//! What every reader delivers: bytes and labels in memory, before any split.

use sha2::{Digest, Sha256};

/// Images of one part of a data set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Channel planes of each image, row by row, one image after another.
    pub pixels: Vec<u8>,
    pub labels: Vec<i64>,
}

/// A whole data set as read.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Channels, height, width.
    pub shape: [usize; 3],
    pub classes: Vec<String>,
    pub train: Part,
    /// Images set aside for validation by whoever made the set.
    pub valid: Option<Part>,
    pub test: Option<Part>,
}

impl Part {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// SHA-256 of shape, labels and pixels.
    pub fn digest(&self, shape: [usize; 3]) -> String {
        let mut hash = Sha256::new();
        for number in shape.iter().chain([&self.labels.len()]) {
            hash.update((*number as u64).to_le_bytes());
        }
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hash.update(labels);
        hash.update(&self.pixels);
        format!("{:x}", hash.finalize())
    }
}

impl Raw {
    /// SHA-256 over the digests of the parts: the same for the same images, however they are stored, packed or split.
    pub fn digest(&self) -> String {
        let parts = [Some(&self.train), self.valid.as_ref(), self.test.as_ref()];
        let text: Vec<String> =
            parts.iter().map(|part| part.map_or_else(|| "none".to_owned(), |p| p.digest(self.shape))).collect();
        format!("{:x}", Sha256::digest(text.join("\n")))
    }
}
