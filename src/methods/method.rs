//! The one interface between the worker and the methods.

use std::collections::BTreeMap;

use kiln_protocol::run::Outcome;
use kiln_protocol::spec::{MethodName, Spec};

use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::Result;

/// Whether a method has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    More,
    Done,
}

/// A resumable method. The worker owns the loop, so that pausing, stopping, checkpoints and live knobs work in the same
/// way in all of them; a method only says where it may be interrupted.
pub trait Method {
    /// One bounded piece of work (a second or so at most). [`crate::MethodError::Interrupted`] means that the method
    /// stopped at a safe point because it was asked to; everything done so far counts.
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow>;

    /// Everything needed to continue bit-identically: plain values and named tensors. Called between steps.
    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()>;

    /// Takes up what [`Method::save`] wrote. Called once, before the first step.
    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()>;

    /// What the run found: the tables that `kiln show` prints, compared with the baselines. Called when done.
    fn outcome(&self) -> Outcome;

    /// Planned ends of the x axes by series name; `*` stands for all others.
    fn axes(&self) -> BTreeMap<String, f64>;

    /// What the x axes of series count, in the plural, by series name; `*` stands for all others.
    fn units(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("*".to_owned(), "epochs".to_owned())])
    }

    /// Keys of the live knobs that the method heeds.
    fn knobs(&self) -> &'static [&'static str] {
        &[]
    }

    /// The figure by which checkpoints are compared, larger is better: the best one is kept besides the last two.
    fn score(&self) -> Option<f64> {
        None
    }
}

/// Makes the method that the context's spec names, in its first state.
pub fn create(spec: &Spec, cx: &mut StepCx) -> Result<Box<dyn Method>> {
    if let Some(message) = crate::arithmetic::settle(cx)? {
        cx.log_first(message);
    }
    if spec.regulariser.is_on() {
        cx.log_first(format!(
            "regularises every training from the start of a network: {}",
            spec.regulariser.in_words()
        ));
    }
    let spec = &Spec { run: cx.spec().run.clone(), ..spec.clone() };
    match spec.method {
        MethodName::Assessor => Ok(Box::new(crate::assessor::Study::new(spec, cx)?)),
        MethodName::Disout => Ok(Box::new(crate::disout::Disout::new(spec, cx)?)),
        MethodName::Train => Ok(Box::new(crate::train::Train::new(spec, cx)?)),
        MethodName::Hournas => crate::hournas::create(spec, cx),
        MethodName::DcNas => Ok(Box::new(crate::dc_nas::DcNas::new(spec, cx)?)),
        MethodName::Pugan => Ok(Box::new(crate::pugan::Pugan::new(spec, cx)?)),
        MethodName::Random | MethodName::Evolution | MethodName::Asha => {
            Ok(Box::new(crate::search::Search::new(spec, cx)?))
        }
        MethodName::WidenSqueeze => Ok(Box::new(crate::widen_squeeze::WidenSqueeze::new(spec, cx)?)),
    }
}
