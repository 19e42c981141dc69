//! The data set of a spec.

use std::path::Path;

use kiln_arch::Shape;
use kiln_data::{DataSet, Kind, Request};
use kiln_protocol::spec::seed::derive;
use kiln_protocol::spec::{DataSet as Named, Spec};
use tch::Device;

use crate::error::{MethodError, Result};

/// Shape of a data set's images, and how many classes there are: what a network is built for.
pub fn shape_and_classes(data: &DataSet) -> Result<(Shape, u32)> {
    let small = |what: &str, n: i64| {
        u32::try_from(n)
            .map_err(|_| MethodError::failed(format!("the data set has {n} {what}; Kiln counts to {}", u32::MAX)))
    };
    let [channels, height, width] = data.shape;
    let shape = Shape::Image(small("channels", channels)?, small("rows", height)?, small("columns", width)?);
    Ok((shape, small("classes", i64::try_from(data.classes.len()).unwrap_or(i64::MAX))?))
}

/// Reads the spec's data set and moves it to the device.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn load(spec: &Spec, device: Device) -> Result<DataSet> {
    let data = &spec.data;
    if data.path.is_empty() {
        return Err(MethodError::failed(
            "the run's spec.toml names no data (`data.path` is empty): launch the preset again with `kiln run`",
        ));
    }
    let kind = match data.set {
        Named::Digits => Kind::Digits,
        Named::Fashion => Kind::Idx,
        Named::Cifar10 => Kind::Cifar10,
        Named::Folder => Kind::Folder,
        Named::Cells => {
            return Err(MethodError::failed(format!(
                "`data.set` is \"cells\", a table of architectures; the method `{}` trains networks on images. Choose a set of images",
                spec.method
            )));
        }
    };
    let request = Request {
        kind,
        path: Path::new(&data.path),
        train: data.train as usize,
        valid: data.valid as usize,
        test: data.test as usize,
        side: data.side as usize,
        seed: derive(spec.seed, "split", 0, 0),
    };
    let set = kiln_data::load(&request, device).map_err(MethodError::failed)?;
    set.with_label_noise(data.label_noise, derive(spec.seed, "label-noise", 0, 0)).map_err(MethodError::failed)
}
