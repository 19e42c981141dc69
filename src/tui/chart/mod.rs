//! Charts: the mathematics of axes and columns, and drawing with sub-cell dots.
//!
//! - [`scale`]: ranges that stand still while points arrive, ticks, labels
//! - [`track`]: the points of one series as a screen needs them, at most two a column
//! - [`raster`]: dots and lines on braille (or ASCII) cells
//! - [`smooth`]: exponential means and running medians
//! - [`plot`]: axes, grid and placement of data on cells

pub mod plot;
pub mod raster;
pub mod scale;
pub mod smooth;
pub mod track;

pub use plot::{Plot, Window};
pub use raster::Raster;
pub use scale::{Fit, Scale};
pub use smooth::Smoothing;
pub use track::{Grid, Track};
