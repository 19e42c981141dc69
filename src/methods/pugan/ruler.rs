//! What distances are measured with: a small classifier that Kiln trains on the real images, the features that its last
//! hidden layer gives them, and the distance that two halves of the real images have from one another.
//!
//! The classifier and the split of its data have a seed of their own ([`SEED`]), so runs of all seeds and losses on one data
//! set are measured with the same ruler. It is kept in the home's folder `cache`; what it was made of is part of its name.
//! Distances in these features are no FID, which takes those of an Inception network: never compare the two.

use std::path::{Path, PathBuf};

use kiln_arch::spec::seed::derive;
use kiln_arch::{Plan, gan};
use kiln_data::{DataSet, Split};
use kiln_metrics::{Features, Gaussian, Reference, evenness, frechet_distance};
use kiln_nn::{Network, TrainerConfig, Validate};
use kiln_protocol::spec::{OptimKind, OptimSettings, Precision, PuganSettings, RegulariserSettings, Schedule, Spec};
use kiln_protocol::spool::replace;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};

/// Seed of the classifier, of its data's split and of its order of images.
pub const SEED: u64 = 20_200_204;

/// Real images that generated ones are compared with, at most: the first of the training images, whose order is random.
pub const REFERENCE: i64 = 10_000;

/// Images that pass through the classifier at a time.
const BATCH: i64 = 500;

/// A trained classifier, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Data, settings and machine that decide its bits, in words.
    pub of: String,
    /// On held-out images, 0 to 1.
    pub accuracy: Option<f64>,
}

/// The classifier's layers and training. Everything is fixed but what the settings say.
pub struct Recipe {
    pub plan: Plan,
    pub config: TrainerConfig,
    /// See [`Made::of`].
    pub of: String,
}

/// Images of the spec, split by [`SEED`] and padded as the settings say.
pub fn data(spec: &Spec, settings: &PuganSettings, device: Device) -> Result<DataSet> {
    let data = crate::data::load(&Spec { seed: SEED, ..spec.clone() }, device)?;
    let [_, height, width] = data.shape;
    let side = i64::from(settings.side);
    if side == 0 || (side == height && side == width) {
        return Ok(data);
    }
    let (more_w, more_h) = (side - width, side - height);
    let pads = [more_w / 2, more_w - more_w / 2, more_h / 2, more_h - more_h / 2];
    let pad = |split: &Split| -> Result<Split> {
        let images = split.images.f_constant_pad_nd(pads).map_err(MethodError::failed)?;
        Ok(Split { images, labels: split.labels.shallow_clone() })
    };
    let splits = [pad(&data.train)?, pad(&data.valid)?, pad(&data.test)?];
    DataSet::new(splits, data.classes.clone(), data.digest.clone()).map_err(MethodError::failed)
}

impl Recipe {
    pub fn of(spec: &Spec, settings: &PuganSettings, data: &DataSet) -> Result<Recipe> {
        let (image, classes) = shape_and_classes(data)?;
        let plan = gan::classifier(image, classes, settings.features).map_err(MethodError::failed)?;
        let optim = OptimSettings {
            kind: OptimKind::Adamw,
            lr: 1e-3,
            momentum: 0.9,
            beta2: 0.999,
            weight_decay: 1e-2,
            schedule: Schedule::Cosine,
            warmup: 0.0,
            batch: 64,
            ..OptimSettings::default()
        };
        let config = TrainerConfig {
            optim,
            precision: Precision::F32,
            channels_last: false,
            threads: spec.run.threads.max(1),
            seed: SEED,
            candidate: 0,
            order: 0,
            epochs: settings.feature_epochs,
            regulariser: RegulariserSettings::default(),
            augment: None,
            validate: Validate::EachEpoch,
        };
        let device = if data.device() == Device::Cpu { "cpu" } else { "cuda" };
        let of = format!(
            "kiln {} · data {} · {:?} · {} + {} + {} images · {} features · {} epochs · {} threads · {device}",
            env!("CARGO_PKG_VERSION"),
            data.digest,
            data.shape,
            data.train.len(),
            data.valid.len(),
            data.test.len(),
            settings.features,
            settings.feature_epochs,
            spec.run.threads.max(1),
        );
        Ok(Recipe { plan, config, of })
    }

    /// Where it is kept: in the home of the run in `folder`, or in `folder` itself if that lies in no home.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let home = folder.ancestors().find(|f| f.file_name().is_some_and(|name| name == "runs")).and_then(Path::parent);
        let name = format!("classifier-{:016x}.safetensors", derive(SEED, &self.of, 0, 0));
        home.unwrap_or(folder).join("cache").join(name)
    }

    /// The classifier that is kept, if one is and it is of this recipe.
    pub fn kept(&self, folder: &Path) -> Option<(Made, Vec<(String, Tensor)>)> {
        let bytes = std::fs::read(self.file(folder)).ok()?;
        let (made, tensors): (Made, _) = crate::export::parse(&bytes).ok()?;
        (made.of == self.of).then_some((made, tensors))
    }

    /// Keeps a classifier for other runs.
    ///
    /// # Errors
    /// A sentence; the run itself does not need the file.
    pub fn keep(&self, folder: &Path, made: &Made, tensors: &[(String, Tensor)]) -> Result<()> {
        let file = self.file(folder);
        let bytes = crate::export::file(tensors, &json!(made))?;
        let cache = file.parent().unwrap_or(folder);
        let written = std::fs::create_dir_all(cache).and_then(|()| replace(&file, &bytes));
        written.map_err(|error| MethodError::failed(format!("cannot write {}: {error}", file.display())))
    }
}

/// Features of some images, and how many the classifier takes for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// One image after the other.
    pub features: Vec<f64>,
    pub classes: Vec<u64>,
}

/// The classifier with what it makes of the real images.
pub struct Ruler {
    network: Network,
    data: DataSet,
    pub dim: usize,
    pub real: Seen,
    pub reference: Reference,
    /// Fréchet distance between two halves of the real images: no generator can be told from them below it.
    pub floor: Option<f64>,
    pub made: Made,
}

impl Ruler {
    /// `None` if `tick` asked to stop.
    ///
    /// # Errors
    /// Features that are no numbers, or too few images for a covariance.
    pub fn new(
        recipe: &Recipe,
        data: &DataSet,
        (made, tensors): (Made, &[(String, Tensor)]),
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Ruler>> {
        let device = data.device();
        let mut network = Network::build(&recipe.plan, 0, device).map_err(MethodError::failed)?;
        network.load(tensors).map_err(MethodError::failed)?;
        let count = data.train.len().min(REFERENCE);
        let images = data.train.images.f_narrow(0, 0, count).map_err(MethodError::failed)?;
        let Some(real) = seen(&network, data, &images, tick)? else { return Ok(None) };
        let dim = real.features.len() / count.max(1) as usize;
        let set = Features::new(&real.features, dim);
        let reference = set.and_then(Gaussian::of).and_then(Reference::new).ok_or_else(|| {
            MethodError::failed(format!(
                "the features of the {count} real images have no covariance: there are too few, or the classifier diverged. \
                 Expected more images (data.train)"
            ))
        })?;
        let floor = set.and_then(|set| {
            let (a, b) = set.split(set.len() / 2);
            frechet_distance(a, b)
        });
        Ok(Some(Ruler { network, data: data.share(), dim, real, reference, floor, made }))
    }

    /// Features and classes of images u8 `[n, c, h, w]`. `None` if `tick`, asked before every batch, said to stop.
    pub fn see(&self, images: &Tensor, tick: &mut dyn FnMut() -> bool) -> Result<Option<Seen>> {
        seen(&self.network, &self.data, images, tick)
    }

    /// Fréchet distance of these features to those of the real images.
    pub fn distance(&self, seen: &Seen) -> Option<f64> {
        self.reference.distance(&Gaussian::of(Features::new(&seen.features, self.dim)?)?)
    }

    /// Class entropy of the real images, as a share of that of equal classes.
    pub fn evenness(&self) -> Option<f64> {
        evenness(&self.real.classes)
    }
}

fn seen(network: &Network, data: &DataSet, images: &Tensor, tick: &mut dyn FnMut() -> bool) -> Result<Option<Seen>> {
    let count = images.size().first().copied().unwrap_or(0);
    let mut out = Seen { features: Vec::new(), classes: vec![0; data.classes.len()] };
    let labels = Tensor::f_zeros([count], (Kind::Int64, images.device())).map_err(MethodError::failed)?;
    let split = Split { images: images.shallow_clone(), labels };
    for start in (0..count).step_by(BATCH as usize) {
        if tick() {
            return Ok(None);
        }
        let (batch, _) = kiln_data::range(data, &split, start, BATCH).map_err(MethodError::failed)?;
        let (features, logits) = network.features(&batch).map_err(MethodError::failed)?;
        let numbers = || -> std::result::Result<(Vec<f64>, Vec<i64>), tch::TchError> {
            let wide = features.f_to_kind(Kind::Double)?.f_flatten(0, -1)?.f_to_device(Device::Cpu)?;
            Ok((Vec::try_from(wide)?, Vec::try_from(logits.f_argmax(1, false)?.f_to_device(Device::Cpu)?)?))
        };
        let (features, classes) = numbers().map_err(MethodError::failed)?;
        out.features.extend(features);
        for class in classes {
            if let Some(n) = usize::try_from(class).ok().and_then(|class| out.classes.get_mut(class)) {
                *n += 1;
            }
        }
    }
    Ok(Some(out))
}
