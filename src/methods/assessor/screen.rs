//! Pre-screening for searches that train networks (card, step 8): an assessor is fitted on the candidates that the search
//! has trained already, proposals are ranked by it, and only the best of them are trained.

use kiln_arch::spec::seed::derive;
use kiln_arch::{Arch, Space};
use kiln_protocol::spec::{AssessorSettings, Predictor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::Device;

use super::predictor::Assessor;
use crate::error::Result;

/// Unlabelled architectures, drawn from the space, beside the trained ones.
const UNLABELLED: usize = 256;

/// Steps of each fit: a second or two on one core.
const STEPS: u32 = 300;

/// Ranks proposals of a search in any space by an assessor with the flat encoder.
///
/// Nothing of it needs to be saved: equal candidates in equal order give equal ranks, so a resumed search fits it anew.
pub struct Screen {
    space: Space,
    settings: AssessorSettings,
    unlabelled: Vec<Arch>,
    seed: u64,
    assessor: Option<Assessor>,
}

impl Screen {
    /// A screen that knows nothing yet.
    pub fn new(space: &Space, seed: u64) -> Screen {
        let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, "screen", 0, 0));
        let unlabelled = (0..UNLABELLED).map(|_| space.sample(&mut rng)).collect();
        // Accuracies of a search are its own: nothing is known of which of them are failures.
        let settings = AssessorSettings { steps: STEPS, clip: 0.0, ..AssessorSettings::default() };
        Screen { space: space.clone(), settings, unlabelled, seed, assessor: None }
    }

    /// Fits on trained candidates with their accuracies (larger is better, of any unit, 0 or more). Takes a second or two,
    /// on the CPU; `stop` is asked after every step and ends it early.
    ///
    /// # Errors
    /// Fewer than two candidates, architectures of another space, a loss that is no number any more.
    pub fn fit(&mut self, trained: &[(Arch, f64)], stop: &dyn Fn() -> bool) -> Result<()> {
        let seed = derive(self.seed, "screen-fit", trained.len() as u64, 0);
        let (space, unlabelled) = (&self.space, &self.unlabelled);
        let with = (seed, Device::Cpu);
        let fitted = Assessor::fit(space, Predictor::AssessorFlat, &self.settings, trained, unlabelled, with, stop)?;
        self.assessor = Some(fitted);
        Ok(())
    }

    /// Whether it was fitted.
    pub fn ready(&self) -> bool {
        self.assessor.is_some()
    }

    /// Predicted accuracies of proposals, in their order and in the unit of the trained ones; empty before the first fit.
    ///
    /// # Errors
    /// Architectures of another space.
    pub fn rank(&self, proposals: &[Arch]) -> Result<Vec<f64>> {
        self.assessor.as_ref().map_or(Ok(Vec::new()), |assessor| assessor.predict(proposals))
    }
}
