//! A method's state on its way to disk and back: plain values by key, tensors by name.

use std::collections::BTreeMap;

use kiln_nn::{Saved, Trainer};
use kiln_protocol::checkpoint::RawTensor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tch::Tensor;

use crate::error::{MethodError, Result};

/// Collects what [`crate::Method::save`] writes.
#[derive(Default)]
pub struct CheckpointWriter {
    values: Map<String, Value>,
    tensors: Vec<RawTensor>,
}

impl CheckpointWriter {
    pub fn new() -> CheckpointWriter {
        CheckpointWriter::default()
    }

    /// Keeps a value. Numbers come back with the same bits; those that JSON cannot say (NaN, infinities) do not, so they
    /// belong into an `Option` or a tensor.
    pub fn value(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|error| MethodError::failed(format!("the value `{key}` cannot be saved: {error}")))?;
        self.values.insert(key.to_owned(), value);
        Ok(())
    }

    /// Keeps a copy of a tensor.
    pub fn tensor(&mut self, name: impl Into<String>, tensor: &Tensor) -> Result<()> {
        let name = name.into();
        let (dtype, shape, data) = kiln_nn::torch::to_bytes(tensor)
            .map_err(|error| MethodError::failed(format!("the tensor `{name}` cannot be saved: {error}")))?;
        self.tensors.push(RawTensor { name, dtype: dtype.to_owned(), shape, data });
        Ok(())
    }

    /// Keeps a trainer in the middle of its work, under names that begin with `prefix`.
    pub fn trainer(&mut self, prefix: &str, trainer: &Trainer) -> Result<()> {
        let saved = trainer.save().map_err(MethodError::failed)?;
        self.value(&format!("{prefix}.trainer"), &saved.state)?;
        for (name, tensor) in &saved.tensors {
            self.tensor(format!("{prefix}.{name}"), tensor)?;
        }
        Ok(())
    }

    /// Values and tensors, ready for [`kiln_protocol::checkpoint::write`].
    pub fn into_parts(self) -> (Value, Vec<RawTensor>) {
        (Value::Object(self.values), self.tensors)
    }
}

/// Gives back what a [`CheckpointWriter`] collected.
pub struct CheckpointReader {
    values: Value,
    tensors: BTreeMap<String, RawTensor>,
}

impl CheckpointReader {
    pub fn new(values: Value, tensors: Vec<RawTensor>) -> CheckpointReader {
        CheckpointReader { values, tensors: tensors.into_iter().map(|t| (t.name.clone(), t)).collect() }
    }

    /// The value kept under `key`.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self.values.get(key).ok_or_else(|| {
            MethodError::failed(format!("the checkpoint has no value `{key}`: another Kiln wrote it"))
        })?;
        T::deserialize(value).map_err(|error| {
            MethodError::failed(format!("the value `{key}` of the checkpoint is not readable: {error}"))
        })
    }

    /// The tensors whose names begin with `prefix.`, without it, in the order of their names.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let start = format!("{prefix}.");
        self.tensors
            .range(start.clone()..)
            .take_while(|(name, _)| name.starts_with(&start))
            .map(|(name, raw)| {
                let tensor = kiln_nn::torch::from_bytes(&raw.dtype, &raw.shape, &raw.data).map_err(|error| {
                    MethodError::failed(format!("the tensor `{name}` of the checkpoint is not readable: {error}"))
                })?;
                Ok((name[start.len()..].to_owned(), tensor))
            })
            .collect()
    }

    /// What [`CheckpointWriter::trainer`] kept under `prefix`.
    pub fn trainer(&self, prefix: &str) -> Result<Saved> {
        Ok(Saved { state: self.value(&format!("{prefix}.trainer"))?, tensors: self.tensors(prefix)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tensors_come_back_with_the_same_bits() {
        let values = [0.1_f64, 1.0 / 3.0, 2.0_f64.sqrt() * 1e-300, f64::MAX, -0.0, 0.783_000_000_000_000_1];
        let tensor = Tensor::from_slice(&[0.1_f32, f32::NAN, -0.0]);
        let mut writer = CheckpointWriter::new();
        writer.value("numbers", &values).unwrap();
        writer.tensor("a.b", &tensor).unwrap();
        writer.tensor("ab", &tensor).unwrap();
        let (state, tensors) = writer.into_parts();
        let text = serde_json::to_string(&state).unwrap();
        let reader = CheckpointReader::new(serde_json::from_str(&text).unwrap(), tensors);
        let back: Vec<f64> = reader.value("numbers").unwrap();
        assert_eq!(back.map_bits(), values.to_vec().map_bits());
        let found = reader.tensors("a").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "b");
        let bits = |t: &Tensor| Vec::<f32>::try_from(t).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found[0].1), bits(&tensor));
        assert!(reader.value::<u32>("nothing").unwrap_err().to_string().contains("nothing"));
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u64>;
    }
    impl Bits for Vec<f64> {
        fn map_bits(&self) -> Vec<u64> {
            self.iter().map(|v| v.to_bits()).collect()
        }
    }
}
