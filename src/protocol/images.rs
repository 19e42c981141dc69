//! What the images of a data set look like, as far as networks and their costs depend on it, without reading them.

use std::fs;

use kiln_arch::Shape;
use kiln_spec::{DataSet, DataSettings};

/// Shape of an image, and how many classes there are. Of a folder, the number of sub-folders; ten where there is none to
/// count.
pub fn shape_and_classes(data: &DataSettings) -> (Shape, u32) {
    match data.set {
        DataSet::Digits => (Shape::Image(1, 8, 8), 10),
        DataSet::Fashion => (Shape::Image(1, 28, 28), 10),
        // The benchmarks' cells were trained on CIFAR-10; tables have no images of their own.
        DataSet::Cifar10 | DataSet::Cells => (Shape::Image(3, 32, 32), 10),
        DataSet::Folder => {
            let entries = fs::read_dir(&data.path).into_iter().flatten().flatten();
            let classes = entries.filter(|e| e.path().is_dir()).count();
            let classes = u32::try_from(classes).unwrap_or(u32::MAX);
            (Shape::Image(3, data.side, data.side), if classes == 0 { 10 } else { classes })
        }
    }
}
