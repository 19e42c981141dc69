//! Disout (arXiv:2002.11022) and its rivals: one training with the regulariser of the table `[regulariser]`, with the figures
//! that the method is about: what each operator does, accuracy on the training images with and without distortion, the gap
//! to images that were not trained on, and the complexity that the distortion is to lower.
//!
//! The regulariser itself is a setting of every training (`kiln_nn::distort`); this method is [`crate::train`] that looks.
//!
//! - this file: the method
//! - [`watch`]: what is measured after each epoch, on the network's own thread
//! - [`views`]: the table of operators, a channel before and after
//! - [`report`]: the outcome

mod report;
#[cfg(test)]
mod tests;
mod views;
mod watch;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln_arch::{Site, sites};
use kiln_protocol::Level;
use kiln_protocol::run::Outcome;
use kiln_protocol::spec::{DisoutSettings, Spec, TrainSettings};

use self::watch::{Snapshot, Watch};
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::{MethodError, Result};
use crate::method::{Flow, Method};
use crate::train::Train;

/// Operators whose series are drawn one by one; of more, the means alone.
const SINGLE_SERIES: usize = 6;

/// The method `disout`.
pub struct Disout {
    spec: Spec,
    settings: DisoutSettings,
    train: Train<Watch>,
    /// Where the regulariser works.
    sites: Vec<Site>,
    /// Epochs whose figures went out.
    told: usize,
    /// When a channel was last looked at.
    looked: Option<Instant>,
}

impl Disout {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Disout> {
        let settings = spec.disout.clone().unwrap_or_default();
        let whole = TrainSettings { arch: settings.arch.clone(), epochs: settings.epochs };
        let train = Train::with(spec, whole, Watch::new(settings.look), spec.live(), cx)?;
        let sites = sites::find(train.plan(), &spec.regulariser)
            .map_err(|(key, e)| MethodError::failed(format!("{key} {e}")))?;
        Ok(Disout { spec: spec.clone(), settings, train, sites, told: 0, looked: None })
    }

    /// The figures of all epochs so far.
    fn snapshots(&self) -> Vec<Snapshot> {
        self.train.snapshots().iter().map(|numbers| Snapshot::read(numbers)).collect()
    }

    /// Sends what is new after an epoch. Series of one last part share a chart: a mean, and the operators by their names.
    fn tell(&mut self, cx: &mut StepCx) {
        let snapshots = self.snapshots();
        // A training that starts again with a smaller batch tells its epochs again.
        self.told = self.told.min(snapshots.len());
        for (i, snapshot) in snapshots.iter().enumerate().skip(self.told) {
            let x = (i + 1) as f64;
            let mut point = |name: &str, value: Option<f64>| {
                if let Some(value) = value {
                    cx.scalar(name, x, value);
                }
            };
            point("train/accuracy", snapshot.clean.map(|eval| eval.accuracy));
            point("distorted/accuracy", snapshot.distorted.map(|eval| eval.accuracy));
            point("clean/loss", snapshot.clean.map(|eval| eval.loss));
            let valid = self.train.valid_accuracy(i as u64 + 1);
            point("valid/gap", snapshot.clean.zip(valid).map(|(clean, valid)| clean.accuracy - valid));
            point("mean/p", snapshot.mean(|site| Some(site.p)));
            point("mean/kept", snapshot.mean(|site| Some(site.kept)));
            point("mean/noise", snapshot.mean(|site| site.noise));
            point("mean/coefficient", snapshot.mean(|site| site.coefficient.map(|c| c[0])));
            point("clean/complexity", snapshot.mean(|site| site.complexity.map(|c| c[0])));
            point("distorted/complexity", snapshot.mean(|site| site.complexity.map(|c| c[1])));
            if self.sites.len() > SINGLE_SERIES {
                continue;
            }
            for (site, figures) in self.sites.iter().zip(&snapshot.sites) {
                let name = &site.name;
                point(&format!("{name}/kept"), Some(figures.kept));
                point(&format!("{name}/noise"), figures.noise);
                point(&format!("{name}/coefficient"), figures.coefficient.map(|c| c[0]));
                point(&format!("{name}/complexity"), figures.complexity.map(|c| c[0]));
            }
        }
        if let Some(last) = snapshots.last().filter(|_| self.told < snapshots.len() && !self.sites.is_empty()) {
            cx.view("operators", views::operators(&self.spec.regulariser, &self.sites, last));
        }
        self.told = snapshots.len();
    }

    /// Looks at a channel now and then, as soon as something is distorted.
    fn show(&mut self, cx: &mut StepCx) {
        let last = self.train.last_looks();
        if !last.is_empty() {
            cx.view("channels", views::channels(f64::from(self.settings.epochs), &last));
            return;
        }
        let every = Duration::from_secs_f64(self.settings.every);
        if self.sites.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < every) {
            return;
        }
        let Some(trainer) = self.train.trainer().filter(|trainer| trainer.distortion() > 0.0) else { return };
        self.looked = Some(Instant::now());
        match trainer.inspect() {
            Ok(looks) => cx.view("channels", views::channels(trainer.position(), &looks)),
            // The training itself will say what is wrong; a picture less is no reason to end it.
            Err(error) => cx.log(Level::Debug, format!("no picture of the distortion: {error}")),
        }
    }
}

impl Method for Disout {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        let flow = self.train.step(cx)?;
        self.tell(cx);
        self.show(cx);
        Ok(flow)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("disout", &self.told)?;
        self.train.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()> {
        self.told = checkpoint.value("disout")?;
        self.train.load(checkpoint, cx)
    }

    fn outcome(&self) -> Outcome {
        let train = self.train.train_eval();
        report::outcome(&self.spec, &self.sites, self.train.outcome(), train, self.snapshots().last())
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        self.train.axes()
    }

    fn knobs(&self) -> &'static [&'static str] {
        self.train.knobs()
    }

    fn score(&self) -> Option<f64> {
        self.train.score()
    }
}
