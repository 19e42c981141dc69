//! Data sets: from files on disk to tensors on the device.
//!
//! * [`load`] reads a [`Request`] into a [`DataSet`]: digits as CSV, IDX files (MNIST and its kin), CIFAR-10 in its
//!   binary version, or a folder of PNG and JPEG images. Pixels stay bytes, on the device, once; training, validation
//!   and test images are split by a seed.
//! * [`batch`] and [`range`] turn rows of a [`Split`] into normalised `f32` images, on the device; [`Augment`] crops and
//!   mirrors them on the way.
//! * [`read_cells`] reads tables of architectures with their accuracies.
//! * [`DataError`] says which file is wrong, how, what was expected and what to do.

mod batch;
mod cells;
mod cifar;
mod digits;
mod error;
mod folder;
mod idx;
mod part;
mod set;
mod source;

pub use batch::{Augment, batch, range};
pub use cells::{CellRow, Cells, Columns, Written, read_cells};
pub use error::DataError;
pub use set::{DataSet, Kind, Request, Split, load};

#[cfg(test)]
mod testing;
