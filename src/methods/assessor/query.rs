//! A finished run's assessor asked about other architectures: a table of them, or a sample of its space.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kiln_arch::Arch;
use kiln_metrics::kendall_tau;
use kiln_protocol::spec::AssessorSettings;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::Device;

use super::results::best;
use super::{Assessor, table};
use crate::error::Result;

/// Accuracies that must be known before a rank correlation is told.
const KNOWN: usize = 10;

/// Draws in a row without a new architecture before a space is taken to have no more.
const TRIES: usize = 20_000;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// A table of architectures; accuracies may be missing.
    Table(PathBuf),
    /// Different random members of the space.
    Sample { count: usize, seed: u64 },
}

/// Predictions as CSV, and a sentence about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `arch,predicted`, and `accuracy` where it is known; percent. In the order of the table or of drawing.
    pub csv: String,
    pub said: String,
}

/// Predicts with the assessor of the run in `folder`, on the CPU; with `top`, only that many, the best first.
///
/// # Errors
/// A sentence: the run has no assessor, or what is wrong with the table and where.
pub fn answer(folder: &Path, query: &Query, top: Option<usize>) -> Result<Answer> {
    let (assessor, space, about) = Assessor::load(&folder.join("artifacts"), Device::Cpu)?;
    let (archs, known): (Vec<Arch>, Vec<Option<f64>>) = match query {
        Query::Table(path) => {
            let entries = table::read(path, &space, &AssessorSettings::default(), false)?;
            entries.into_iter().map(|e| (e.arch, e.accuracy)).unzip()
        }
        Query::Sample { count, seed } => {
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            let (mut seen, mut archs) = (HashSet::new(), Vec::new());
            let mut since = 0;
            while archs.len() < *count && since < TRIES {
                since += 1;
                let arch = space.sample(&mut rng);
                let hash = table::hash(&space, &arch).map_err(crate::MethodError::failed)?;
                if seen.insert(table::identity(&space, &arch, hash)) {
                    archs.push(arch);
                    since = 0;
                }
            }
            archs.into_iter().map(|arch| (arch, None)).unzip()
        }
    };
    let predicted = assessor.predict(&archs)?;
    let order = match top {
        Some(top) => best(&predicted, top),
        None => (0..archs.len()).collect(),
    };
    let pairs: Vec<(f64, f64)> = predicted.iter().zip(&known).filter_map(|(p, y)| Some((*p, (*y)?))).collect();
    let with = !pairs.is_empty();
    let mut csv = String::from(if with { "arch,predicted,accuracy\n" } else { "arch,predicted\n" });
    for i in order {
        let _ = write!(csv, "{},{:.4}", archs[i], predicted[i]);
        let _ = match known[i] {
            Some(y) if with => writeln!(csv, ",{y}"),
            _ => writeln!(csv, "{}", if with { "," } else { "" }),
        };
    }
    let mut said = format!("{} architectures of {}, predicted by {}", archs.len(), space.name, about.predictor);
    if let Query::Sample { count, .. } = query
        && archs.len() < *count
    {
        let _ = write!(said, ", though {count} were asked for: no others were found in {TRIES} draws");
    }
    if let Some(tau) = kendall_tau(&pairs).filter(|_| pairs.len() >= KNOWN) {
        let _ = write!(said, "; Kendall tau {tau:.3} on the {} whose accuracy is known", pairs.len());
    }
    Ok(Answer { csv, said })
}
