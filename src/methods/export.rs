//! Finished networks as files that other programs read: safetensors, with what the network is in its metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use kiln_arch::{Arch, Plan, Shape};
use kiln_data::DataSet;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Tensor;

use crate::error::{MethodError, Result};

/// The metadata's one entry.
const KEY: &str = "kiln";

/// What a network file says of itself, as JSON in the entry `kiln` of its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub space: String,
    /// The genotype as the space writes it.
    pub arch: String,
    pub genes: Vec<String>,
    pub input: Shape,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Of pixels scaled to `0..=1`, by channel; images are normalised by these before they enter the network.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    /// Digest of the data set that it was trained on.
    pub data: String,
    /// Version of the program that wrote it.
    pub kiln: String,
}

/// A network file, read.
pub struct Exported {
    pub about: About,
    /// By the names that the network gives them.
    pub tensors: Vec<(String, Tensor)>,
}

struct Plain {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for &Plain {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The tensors of a network as the bytes of a file, with an [`About`] in its metadata. Equal networks give equal files.
pub fn network(arch: &Arch, plan: &Plan, data: &DataSet, tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let about = About {
        space: arch.space.clone(),
        arch: arch.to_string(),
        genes: arch.genes.clone(),
        input: plan.input,
        classes: data.classes.clone(),
        mean: data.mean.clone(),
        std: data.std.clone(),
        data: data.digest.clone(),
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
    };
    file(tensors, &json!(about))
        .map_err(|error| MethodError::failed(format!("the network {arch} cannot be exported: {error}")))
}

/// Tensors as the bytes of a safetensors file, with a value in its metadata.
pub(crate) fn file(tensors: &[(String, Tensor)], about: &serde_json::Value) -> Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, shape, data) = kiln_nn::torch::to_bytes(tensor).map_err(MethodError::failed)?;
        let dtype = serde_json::from_value(json!(dtype)).map_err(MethodError::failed)?;
        plain.push((name.as_str(), Plain { dtype, shape, data }));
    }
    // One entry only: the library writes several in random order, and equal networks should give equal files.
    let metadata = HashMap::from([(KEY.to_owned(), about.to_string())]);
    let views = plain.iter().map(|(name, view)| (*name, view));
    safetensors::serialize(views, Some(metadata)).map_err(MethodError::failed)
}

/// Reads what [`file`] wrote: the value, and the tensors in plain layout on the CPU, by name.
pub(crate) fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<(T, Vec<(String, Tensor)>)> {
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(MethodError::failed)?;
    let about = head.metadata().as_ref().and_then(|m| m.get(KEY));
    let about = about.ok_or_else(|| MethodError::failed(format!("its metadata has no entry `{KEY}`")))?;
    let about = serde_json::from_str(about).map_err(MethodError::failed)?;
    let file = SafeTensors::deserialize(bytes).map_err(MethodError::failed)?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let dtype = json!(view.dtype());
        let dtype = dtype.as_str().unwrap_or_default();
        let tensor = kiln_nn::torch::from_bytes(dtype, view.shape(), view.data()).map_err(MethodError::failed)?;
        tensors.push((name, tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((about, tensors))
}

/// Reads a network file.
///
/// # Errors
/// A sentence that names the file, if it cannot be read or is none of Kiln's.
pub fn read(path: &Path) -> Result<Exported> {
    let fail = |why: &dyn std::fmt::Display| {
        MethodError::failed(format!("{} is no network that Kiln can read: {why}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
    let (about, tensors) = parse(&bytes).map_err(|error| fail(&error))?;
    Ok(Exported { about, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_the_same_bits() {
        let tensors = vec![
            ("b.weight".to_owned(), Tensor::from_slice(&[0.1_f32, f32::MIN_POSITIVE, -0.0]).reshape([3, 1])),
            ("a.count".to_owned(), Tensor::from_slice(&[i64::MIN, 7])),
        ];
        let bytes = file(&tensors, &json!({"x": 1})).unwrap();
        let (about, mut back): (serde_json::Value, _) = parse(&bytes).unwrap();
        assert_eq!(about, json!({"x": 1}));
        back.reverse();
        for ((name, tensor), (other, read)) in tensors.iter().zip(&back) {
            assert_eq!((name, tensor.size(), tensor.kind()), (other, read.size(), read.kind()));
            assert!(tensor.equal(read));
        }
        assert_eq!(file(&tensors, &json!({"x": 1})).unwrap(), bytes, "equal networks, equal files");
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        for bytes in [b"".as_slice(), b"not a network at all"] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains("x.safetensors") && error.contains("no network"), "{error}");
        }
        assert!(read(Path::new("/nonexistent/y")).err().unwrap().to_string().contains("/nonexistent/y"));
    }
}
