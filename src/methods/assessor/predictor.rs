//! A fitted assessor: fitting in one go, prediction in chunks (card, step 7), files.

use std::path::Path;

use kiln_arch::{Arch, Space};
use kiln_nn::torch::{NoGrad, TorchError};
use kiln_protocol::spec::{AssessorSettings, Predictor, SpaceSettings};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Tensor};

use super::code::{Coder, Codes};
use super::fit::{Fit, Recipe, Task};
use super::model::{Encoder, Network, Shape};
use super::relation::{distances, normalised, similarity};
use crate::error::{MethodError, Result};
use crate::export;

/// Queries at a time where no graph joins them.
const FREE_CHUNK: i64 = 2000;

/// The file in `artifacts/`: weights, and in the metadata what they are.
pub const FILE: &str = "assessor.safetensors";

/// The metadata once more, for people.
pub const ABOUT: &str = "assessor.json";

/// Standardisation of labels, from labelled architectures alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Of the clipped labels, percent.
    pub mean: f64,
    pub std: f64,
    /// Least label.
    pub clip: f64,
}

impl Scale {
    /// Mean and standard deviation of these labels, each at least `clip` (all in percent).
    pub fn of(labels: &[f64], clip: f64) -> Scale {
        let summary = kiln_metrics::Summary::of(labels.iter().map(|y| y.max(clip)));
        let (mean, std) = summary.map_or((0.0, 1.0), |s| (s.mean, s.std));
        // Equal labels have no spread to divide by.
        Scale { mean, std: if std > 1e-9 { std } else { 1.0 }, clip }
    }

    pub fn standard(&self, y: f64) -> f64 {
        (y.max(self.clip) - self.mean) / self.std
    }

    pub fn undo(&self, z: f64) -> f64 {
        z * self.std + self.mean
    }
}

/// A predictor of accuracies.
pub struct Assessor {
    pub(super) coder: Coder,
    pub(super) recipe: Recipe,
    pub(super) network: Network,
    pub(super) scale: Scale,
    /// Scale of the relation graph, as the training left it.
    pub(super) sigma: f64,
    pub(super) threshold: f64,
    pub(super) chunk: i64,
    /// Labelled architectures of the graphs of prediction.
    pub(super) anchors: Codes,
}

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Version of the program that wrote it.
    pub kiln: String,
    pub space: SpaceSettings,
    pub predictor: Predictor,
    pub recipe: Recipe,
    pub shape: Shape,
    pub scale: Scale,
    pub sigma: f64,
    pub threshold: f64,
    pub chunk: i64,
    /// Labelled architectures of the graphs of prediction, as the space writes them.
    pub anchors: Vec<String>,
}

impl Assessor {
    /// Fits in one go. `labelled` are architectures of `space` with accuracies in percent, `unlabelled` others without.
    /// Equal arguments give equal bits on the CPU. `stop` is asked after every step; when it says so, the result is the
    /// assessor as it is then.
    ///
    /// # Errors
    /// A predictor that is no network, architectures that are not of the space, fewer than two labels, a loss that is no
    /// number any more.
    pub fn fit(
        space: &Space,
        predictor: Predictor,
        settings: &AssessorSettings,
        labelled: &[(Arch, f64)],
        unlabelled: &[Arch],
        (seed, device): (u64, Device),
        stop: &dyn Fn() -> bool,
    ) -> Result<Assessor> {
        let recipe = Recipe::of(predictor).ok_or_else(|| {
            MethodError::failed(format!("`{predictor}` is no network and cannot be kept as an assessor"))
        })?;
        let coder = Coder::of(space);
        let archs: Vec<Arch> = labelled.iter().map(|(arch, _)| arch.clone()).collect();
        let accuracies: Vec<f64> = labelled.iter().map(|(_, y)| *y).collect();
        let task = Task {
            coder: &coder,
            recipe,
            settings,
            labelled: coder.codes(&archs, device)?,
            accuracies: &accuracies,
            unlabelled: coder.codes(unlabelled, device)?,
            seed,
        };
        let mut fit = Fit::new(task)?;
        fit.run(None, stop).map_err(MethodError::failed)?;
        Ok(fit.assessor)
    }

    /// Predicted accuracies in percent.
    ///
    /// # Errors
    /// Architectures of another space.
    pub fn predict(&self, archs: &[Arch]) -> Result<Vec<f64>> {
        let codes = self.coder.codes(archs, self.anchors.flat.device())?;
        self.predict_codes(&codes).map_err(MethodError::failed)
    }

    /// Predicted accuracies of coded architectures, chunk by chunk: a graph joins each chunk with the labelled ones.
    pub fn predict_codes(&self, codes: &Codes) -> Result<Vec<f64>, TorchError> {
        let _frozen = NoGrad::new();
        let n = codes.len();
        let anchors = match self.recipe.graph {
            true => Some(self.network.encode(&self.anchors, None)?),
            false => None,
        };
        let mut out = Vec::with_capacity(n as usize);
        let chunk = if self.recipe.graph { self.chunk.max(1) } else { FREE_CHUNK };
        let mut start = 0;
        while start < n {
            let len = chunk.min(n - start);
            let queries = self.network.encode(&codes.range(start, len)?, None)?;
            let predicted = match &anchors {
                None => self.network.predict(&queries, None, None)?,
                Some(anchors) => {
                    let all = Tensor::f_cat(&[anchors, &queries], 0)?;
                    let graph = normalised(&similarity(&distances(&all)?, self.sigma, self.threshold)?)?;
                    self.network.predict(&all, Some(&graph), None)?.f_narrow(0, self.anchors.len(), len)?
                }
            };
            let predicted = Vec::<f32>::try_from(&predicted)?;
            out.extend(predicted.into_iter().map(|z| self.scale.undo(f64::from(z))));
            start += len;
        }
        Ok(out)
    }

    /// Embeddings of coded architectures, row by row.
    pub fn embed(&self, codes: &Codes) -> Result<Vec<Vec<f64>>, TorchError> {
        let _frozen = NoGrad::new();
        let embedding = self.network.encode(codes, None)?;
        Ok(Vec::<Vec<f32>>::try_from(&embedding)?
            .into_iter()
            .map(|row| row.into_iter().map(f64::from).collect())
            .collect())
    }

    /// Standardisation of its labels.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// What the file will say of it. `labelled` are the architectures that it was fitted on, in order.
    pub fn about(&self, predictor: Predictor, space: &SpaceSettings, labelled: &[Arch]) -> About {
        About {
            kiln: env!("CARGO_PKG_VERSION").into(),
            space: space.clone(),
            predictor,
            recipe: self.recipe,
            shape: self.network.shape,
            scale: self.scale,
            sigma: self.sigma,
            threshold: self.threshold,
            chunk: self.chunk,
            anchors: labelled.iter().take(self.anchors.len() as usize).map(ToString::to_string).collect(),
        }
    }

    /// Weights by name.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.network.named().map(|(name, t)| (name.to_owned(), t.shallow_clone())).collect()
    }

    /// The assessor that these weights and words are, and the space that it predicts in.
    ///
    /// # Errors
    /// Weights that are missing, architectures that the space does not have.
    pub fn from_parts(about: &About, tensors: &[(String, Tensor)], device: Device) -> Result<(Assessor, Space)> {
        let space = super::table::space(&about.space)?;
        let coder = Coder::of(&space);
        let archs: Vec<Arch> =
            about.anchors.iter().map(|text| space.parse(text).map_err(MethodError::failed)).collect::<Result<_>>()?;
        let mut network = Network::new(about.shape, &coder, 0, device)?;
        network.load(tensors)?;
        let anchors = coder.codes(&archs, device)?.share(about.recipe.encoder == Encoder::Cell);
        let About { recipe, scale, sigma, threshold, chunk, .. } = *about;
        Ok((Assessor { coder, recipe, network, scale, sigma, threshold, chunk, anchors }, space))
    }

    /// Reads [`FILE`] in `folder`.
    ///
    /// # Errors
    /// A sentence that names the file: it is missing, damaged, or of another version.
    pub fn load(folder: &Path, device: Device) -> Result<(Assessor, Space, About)> {
        let path = folder.join(FILE);
        let fail = |why: &dyn std::fmt::Display| {
            MethodError::failed(format!(
                "{} is no assessor that can be read: {why}. A completed run of the method `assessor` leaves one",
                path.display()
            ))
        };
        let bytes = std::fs::read(&path).map_err(|e| fail(&e))?;
        let (about, tensors): (About, _) = export::parse(&bytes).map_err(|e| fail(&e))?;
        let (assessor, space) = Assessor::from_parts(&about, &tensors, device).map_err(|e| fail(&e))?;
        Ok((assessor, space, about))
    }
}

/// [`FILE`] and [`ABOUT`] as bytes.
///
/// # Errors
/// A tensor that cannot be written.
pub fn files(about: &About, tensors: &[(String, Tensor)]) -> Result<[Vec<u8>; 2]> {
    let described = serde_json::to_vec_pretty(about)
        .map_err(|e| MethodError::failed(format!("the assessor cannot be described in JSON: {e}")))?;
    Ok([export::file(tensors, &json!(about))?, described])
}
