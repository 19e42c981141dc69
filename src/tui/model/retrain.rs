//! The question before a candidate is trained in full: for how many epochs.

use kiln_protocol::retrain;
use kiln_protocol::spec::Spec;
use kiln_protocol::wire::{Request, RunDetail};

/// An open question.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrain {
    pub candidate: u32,
    pub arch: String,
    /// Epochs as typed.
    pub epochs: String,
    /// What will be asked of the engine; or why nothing can be.
    pub request: Result<Request, String>,
    /// How long it will take, in words, and the settings that this was said of. `None` until somebody has answered.
    pub estimate: Option<(String, Result<String, String>)>,
    run: RunDetail,
}

impl Retrain {
    /// The question with as many epochs as the run itself trains its best networks.
    ///
    /// # Errors
    /// A sentence: a candidate that cannot be trained.
    pub fn new(run: RunDetail, candidate: u32, arch: String) -> Result<Retrain, String> {
        let request = retrain::request(&run, Some(candidate), None)?;
        let epochs = match &request {
            Request::Launch { spec, .. } => {
                Spec::from_toml("spec.toml", spec).ok().and_then(|s| s.train).map(|t| t.epochs)
            }
            _ => None,
        };
        let epochs = epochs.map(|e| e.to_string()).unwrap_or_default();
        Ok(Retrain { candidate, arch, epochs, request: Ok(request), estimate: None, run })
    }

    /// Takes over other epochs.
    pub fn set(&mut self, epochs: &str) {
        self.epochs = epochs.to_owned();
        self.request = match epochs.parse() {
            Ok(0) | Err(_) => Err("a whole number of epochs from 1 to 100,000 is needed".into()),
            Ok(n) if n > 100_000 => Err("that is too much: at most 100,000 epochs".into()),
            Ok(n) => retrain::request(&self.run, Some(self.candidate), Some(n)),
        };
    }

    /// The settings that would be run.
    pub fn spec(&self) -> Option<&str> {
        match &self.request {
            Ok(Request::Launch { spec, .. }) => Some(spec),
            _ => None,
        }
    }

    /// The estimate for the epochs typed now; `None` while it is on its way.
    pub fn words(&self) -> Option<&Result<String, String>> {
        self.estimate.as_ref().filter(|(spec, _)| Some(spec.as_str()) == self.spec()).map(|(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn epochs_are_the_run_s_own_until_others_are_typed() {
        let run = fixture::detail(&fixture::summaries()[0].id);
        let mut question = Retrain::new(run.clone(), 7, "slow-4-64".into()).unwrap();
        assert_eq!(question.epochs, "100");
        assert!(question.spec().is_some_and(|s| s.contains("epochs = 100")), "{:?}", question.spec());
        question.estimate = Some((question.spec().unwrap().to_owned(), Ok("about 3 s".into())));
        assert!(question.words().is_some());
        question.set("12");
        assert!(question.spec().is_some_and(|s| s.contains("epochs = 12")) && question.words().is_none());
        for wrong in ["", "0", "100001", "99999999999999999999"] {
            question.set(wrong);
            assert!(question.request.is_err() && question.spec().is_none(), "{wrong}");
        }
        assert!(Retrain::new(run, 4711, String::new()).is_err_and(|said| said.contains("4711")));
    }
}
