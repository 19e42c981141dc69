//! One candidate's training up to a rung, and what it leaves.

use kiln_nn::pool::Stop;
use kiln_nn::{Saved, TrainError, Trainer};

use crate::fleet::{Failure, Note, Recipe, Task};

/// What a rung leaves.
pub struct Product {
    /// Validation accuracy; `None` if the loss was no number.
    pub accuracy: Option<f64>,
    /// Why the training ended early.
    pub failure: Option<String>,
    /// The whole state, where another rung may follow.
    pub saved: Option<Saved>,
}

/// Trains to the end of a rung, and evaluates.
pub struct ToRung;

impl Recipe for ToRung {
    type Product = Product;

    fn finish(
        &self,
        task: &Task,
        trainer: Option<&Trainer>,
        _note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Product>, TrainError> {
        // A diverged candidate has a last good state, but nobody would want it for what it was at half the way.
        if let Some(failure) = failure {
            let failure = Some(failure.sentence().to_owned());
            return Ok(Some(Product { accuracy: None, failure, saved: None }));
        }
        let Some(trainer) = trainer else {
            return Ok(Some(Product { accuracy: None, failure: Some("it was not trained".into()), saved: None }));
        };
        let Some(eval) = trainer.evaluate(&trainer.data().valid, &|| stop.asked())? else { return Ok(None) };
        let accuracy = Some(eval.accuracy).filter(|a| a.is_finite() && eval.loss.is_finite());
        let failure = accuracy.is_none().then(|| "its validation loss is not a number".to_owned());
        let more = task.epochs < task.config.epochs && accuracy.is_some();
        let saved = if more { Some(trainer.save()?) } else { None };
        Ok(Some(Product { accuracy, failure, saved }))
    }
}
