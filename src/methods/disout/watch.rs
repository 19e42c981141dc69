//! What is measured after each epoch, on the network's own thread.

use kiln_nn::pool::Stop;
use kiln_nn::{Eval, Look, TrainError, Trainer};

use crate::fleet::{Failure, Note, Recipe, Task};
use crate::train::{Finish, Product, finite};

/// A whole training, judged as [`Finish`] does, with a look at the training images after each epoch.
pub struct Watch {
    /// Training images looked at.
    images: i64,
}

impl Watch {
    /// `look` training images; all for 0.
    pub fn new(look: u32) -> Watch {
        Watch { images: if look == 0 { i64::MAX } else { i64::from(look) } }
    }
}

impl Recipe for Watch {
    type Product = Product;

    fn watches_epochs(&self) -> bool {
        true
    }

    fn after_epoch(&self, _job: &Task, trainer: &Trainer, note: &mut Note) -> Result<(), TrainError> {
        let part = trainer.training_part(self.images)?;
        let never = || false;
        let clean = trainer.evaluate(&part, &never)?;
        let regularised = trainer.network().is_regularised();
        // Without a regulariser both are the same but for the statistics of normalisation.
        let distorted = if regularised { trainer.evaluate_distorted(&part, &never)? } else { None };
        let sites = if regularised { trainer.inspect()?.iter().map(SiteFigures::of).collect() } else { Vec::new() };
        let snapshot = Snapshot { clean: clean.and_then(finite), distorted: distorted.and_then(finite), sites };
        note.snapshots.push(snapshot.write());
        Ok(())
    }

    fn finish(
        &self,
        job: &Task,
        trainer: Option<&Trainer>,
        note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Product>, TrainError> {
        let Some(mut product) = Finish.finish(job, trainer, note, failure, stop)? else { return Ok(None) };
        if let Some(trainer) = trainer {
            let all = trainer.training_part(i64::MAX)?;
            let Some(train) = trainer.evaluate(&all, &|| stop.asked())? else { return Ok(None) };
            product.train = finite(train);
            // A short training may be over before anybody looked.
            if trainer.distortion() > 0.0 {
                product.looks = trainer.inspect()?;
            }
        }
        Ok(Some(product))
    }
}

/// Figures after an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// On the training images looked at, without augmentation, in evaluation.
    pub clean: Option<Eval>,
    /// On the same, distorted.
    pub distorted: Option<Eval>,
    /// Of each operator, in the order of the network.
    pub sites: Vec<SiteFigures>,
}

/// What one operator did in a pass: see [`Look`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteFigures {
    pub p: f64,
    pub kept: f64,
    pub block: f64,
    pub noise: Option<f64>,
    pub coefficient: Option<[f64; 3]>,
    pub complexity: Option<[f64; 2]>,
}

/// Stands for a figure that is not there or no number: checkpoints hold plain numbers.
const MISSING: f64 = f64::MAX;

/// Numbers of an operator in a checkpoint.
const NUMBERS: usize = 9;

impl SiteFigures {
    fn of(look: &Look) -> SiteFigures {
        SiteFigures {
            p: look.p,
            kept: look.kept,
            block: look.block as f64,
            noise: look.noise,
            coefficient: look.coefficient,
            complexity: look.complexity,
        }
    }
}

impl Snapshot {
    /// As a row of numbers.
    pub fn write(&self) -> Vec<f64> {
        let pair = |eval: Option<Eval>| eval.map_or([MISSING; 2], |eval| [eval.loss, eval.accuracy]);
        let mut row = [pair(self.clean), pair(self.distorted)].concat();
        for site in &self.sites {
            row.extend([site.p, site.kept, site.block, site.noise.unwrap_or(MISSING)]);
            row.extend(site.coefficient.unwrap_or([MISSING; 3]));
            row.extend(site.complexity.unwrap_or([MISSING; 2]));
        }
        row.iter().map(|number| if number.is_finite() { *number } else { MISSING }).collect()
    }

    /// What [`Snapshot::write`] wrote.
    pub fn read(row: &[f64]) -> Snapshot {
        let number = |i: usize| row.get(i).copied().filter(|number| *number < MISSING);
        let eval = |i: usize| number(i).zip(number(i + 1)).map(|(loss, accuracy)| Eval { loss, accuracy });
        let site = |at: usize| SiteFigures {
            p: number(at).unwrap_or(0.0),
            kept: number(at + 1).unwrap_or(1.0),
            block: number(at + 2).unwrap_or(1.0),
            noise: number(at + 3),
            coefficient: match (number(at + 4), number(at + 5), number(at + 6)) {
                (Some(mean), Some(least), Some(most)) => Some([mean, least, most]),
                _ => None,
            },
            complexity: number(at + 7).zip(number(at + 8)).map(|(clean, distorted)| [clean, distorted]),
        };
        let sites = row.len().saturating_sub(4) / NUMBERS;
        Snapshot { clean: eval(0), distorted: eval(2), sites: (0..sites).map(|i| site(4 + i * NUMBERS)).collect() }
    }

    /// Mean of a figure over the operators that have it.
    pub fn mean(&self, figure: impl Fn(&SiteFigures) -> Option<f64>) -> Option<f64> {
        let all: Vec<f64> = self.sites.iter().filter_map(figure).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}
