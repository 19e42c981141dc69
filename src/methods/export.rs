//! A finished network as a file that other programs read: safetensors, with what the network is in its metadata.

use kiln_arch::{Arch, Plan};
use kiln_data::DataSet;
use safetensors::tensor::{Dtype, View};
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use tch::Tensor;

use crate::error::{MethodError, Result};

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

/// The tensors of a network as the bytes of a file. The metadata's one entry `kiln` is JSON: space and genotype, input and classes, and the
/// mean and standard deviation by which images are normalised (of pixels scaled to `0..=1`, by channel). Equal networks
/// give equal files.
pub fn network(arch: &Arch, plan: &Plan, data: &DataSet, tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let fail =
        |error: &dyn std::fmt::Display| MethodError::failed(format!("the network {arch} cannot be exported: {error}"));
    let mut plain = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, shape, data) = kiln_nn::torch::to_bytes(tensor).map_err(|error| fail(&error))?;
        let dtype = serde_json::from_value(json!(dtype)).map_err(|error| fail(&error))?;
        plain.push((name.as_str(), Plain { dtype, shape, data }));
    }
    let about = json!({
        "space": arch.space,
        "arch": arch.to_string(),
        "genes": arch.genes,
        "input": plan.input,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "data": data.digest,
        "kiln": env!("CARGO_PKG_VERSION"),
    });
    // One entry only: the library writes several in random order, and equal networks should give equal files.
    let metadata = HashMap::from([("kiln".to_owned(), about.to_string())]);
    let views = plain.iter().map(|(name, view)| (*name, view));
    safetensors::serialize(views, Some(metadata)).map_err(|error| fail(&error))
}
