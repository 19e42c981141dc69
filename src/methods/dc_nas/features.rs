//! What describes a network: how its layers have changed since its first moment. Tensors go in, plain numbers come out;
//! everything after the last tensor is counted in f64 on the CPU, since a different order of additions can flip an
//! assignment of k-means.

use std::collections::BTreeMap;

use kiln_nn::{TrainError, Trainer};
use kiln_protocol::spec::{ChangeMeasure, DcNasSettings, FeatureKind};
use tch::{Device, Kind, Tensor};

use super::scale::{by_slot, interpolate};

/// Keeps denominators from zero, as the card writes it.
const EPS: f64 = 1e-9;

/// One minus the cosine between before and after. `None` if one of them is zero or holds no numbers.
fn turned(before: &[f64], after: &[f64]) -> Option<f64> {
    let dot: f64 = before.iter().zip(after).map(|(a, b)| a * b).sum();
    let (a, b) = (norm(before), norm(after));
    let value = 1.0 - dot / (a * b + EPS);
    (a > 0.0 && b > 0.0 && value.is_finite()).then_some(value)
}

/// Norm of the difference over the norm before. `None` if before or after is zero or holds no numbers.
fn moved(before: &[f64], after: &[f64]) -> Option<f64> {
    let difference = before.iter().zip(after).map(|(a, b)| (b - a) * (b - a)).sum::<f64>().sqrt();
    let value = difference / (norm(before) + EPS);
    (norm(before) > 0.0 && norm(after) > 0.0 && value.is_finite()).then_some(value)
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Numbers of tensors, one after the other, by slot. A slot of several convolutions is one layer of the card: its
/// weights together.
fn flat(tensors: Vec<(usize, Tensor)>) -> Result<BTreeMap<usize, Vec<f64>>, TrainError> {
    let mut slots: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (slot, tensor) in tensors {
        let plain = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([-1])?;
        slots.entry(slot).or_default().extend(Vec::<f64>::try_from(&plain)?);
    }
    Ok(slots)
}

/// The features of a network between two moments, before scaling.
pub struct Features<'a> {
    pub settings: &'a DcNasSettings,
    /// Slots of a fixed-slot space; `None` where the depth varies.
    pub slots: Option<usize>,
    /// Numbers of the training images whose outputs are compared; none if outputs are not asked for.
    pub probe: Option<&'a Tensor>,
}

impl Features<'_> {
    /// The row of a network: `fresh` is its trainer at the first moment, `now` as it stands. Its length is the same for all
    /// networks of the space.
    ///
    /// The inner error is a sentence: a layer without numbers or with nothing but zeros, so that the network has no place
    /// among the others.
    pub fn row(&self, fresh: &Trainer, now: &Trainer) -> Result<Result<Vec<f64>, String>, TrainError> {
        let mut row = Vec::new();
        if self.settings.feature != FeatureKind::Output {
            let measure = match self.settings.change {
                ChangeMeasure::Cosine => turned,
                ChangeMeasure::Relative => moved,
            };
            match changes(&flat(fresh.network().slot_weights()?)?, &flat(now.network().slot_weights()?)?, measure) {
                Ok(values) => row.extend(self.equal_length(&values)),
                Err(slot) => return Ok(Err(format!("the weights of layer {slot} vanished or are no numbers"))),
            }
        }
        if let (true, Some(probe)) = (self.settings.feature != FeatureKind::Param, self.probe) {
            let (before, after) = (flat(fresh.probe(probe)?.1)?, flat(now.probe(probe)?.1)?);
            match changes(&before, &after, turned) {
                Ok(values) => row.extend(self.equal_length(&values)),
                Err(slot) => return Ok(Err(format!("the outputs of layer {slot} vanished or are no numbers"))),
            }
        }
        Ok(Ok(row))
    }

    /// Slot by slot where slots mean the same place in every network (a skip is 0), else along the depth.
    fn equal_length(&self, values: &[(usize, f64)]) -> Vec<f64> {
        match self.slots {
            Some(slots) => by_slot(values, slots),
            None => {
                let values: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
                interpolate(&values, self.settings.length as usize)
            }
        }
    }

    /// Names of the columns that one moment fills.
    pub fn columns(&self) -> Vec<String> {
        let length = self.slots.unwrap_or(self.settings.length as usize);
        let of = |letter: &str| (0..length).map(|i| format!("{letter}{i}")).collect::<Vec<_>>();
        let params = if self.settings.change == ChangeMeasure::Cosine { of("p") } else { of("r") };
        match self.settings.feature {
            FeatureKind::Param => params,
            FeatureKind::Output => of("o"),
            FeatureKind::Both => [params, of("o")].concat(),
        }
    }
}

/// The change of every slot; the error is the slot that has none.
fn changes(
    before: &BTreeMap<usize, Vec<f64>>,
    after: &BTreeMap<usize, Vec<f64>>,
    measure: fn(&[f64], &[f64]) -> Option<f64>,
) -> Result<Vec<(usize, f64)>, usize> {
    before
        .iter()
        .map(|(slot, start)| {
            let end = after.get(slot).map_or(&[][..], Vec::as_slice);
            measure(start, end).map(|value| (*slot, value)).ok_or(*slot)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_agree_with_hand_counting() {
        assert!(turned(&[3.0, 4.0], &[6.0, 8.0]).unwrap().abs() < 1e-9, "a longer vector has not turned");
        assert!((turned(&[1.0, 0.0], &[0.0, 2.0]).unwrap() - 1.0).abs() < 1e-9);
        assert!((turned(&[1.0, 0.0], &[-1.0, 0.0]).unwrap() - 2.0).abs() < 1e-8);
        assert!((moved(&[3.0, 4.0], &[6.0, 8.0]).unwrap() - 1.0).abs() < 1e-9);
        assert!((moved(&[3.0, 4.0], &[3.0, 4.5]).unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn dead_and_diverged_layers_have_no_change() {
        for measure in [turned, moved] {
            assert_eq!(measure(&[0.0, 0.0], &[1.0, 0.0]), None);
            assert_eq!(measure(&[1.0, 0.0], &[0.0, 0.0]), None);
            assert_eq!(measure(&[1.0, 0.0], &[f64::NAN, 0.0]), None);
            assert_eq!(measure(&[1.0, 0.0], &[f64::INFINITY, 0.0]), None);
        }
    }

    #[test]
    fn several_tensors_of_a_slot_are_one_layer() {
        let tensors = vec![
            (1, Tensor::from_slice(&[1.0_f32, 2.0]).view([1, 2])),
            (0, Tensor::from_slice(&[5.0_f32])),
            (1, Tensor::from_slice(&[3.0_f32])),
        ];
        let slots = flat(tensors).unwrap();
        assert_eq!(slots[&0], [5.0]);
        assert_eq!(slots[&1], [1.0, 2.0, 3.0]);
    }
}
