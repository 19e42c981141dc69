//! Tables of architectures: from text to architectures of a space, the same ones told apart, and the split into test cells,
//! unlabelled ones and the pool of labels.

use std::collections::HashMap;
use std::path::Path;

use kiln_arch::spec::seed::derive;
use kiln_arch::{Arch, Cell101, Cell201, Space};
use kiln_data::{Cells, Columns, Written, read_cells};
use kiln_protocol::spec::{AccuracyUnit, AssessorSettings, SpaceSettings};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::{MethodError, Result};

/// An architecture of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub arch: Arch,
    /// Equal for architectures that compute the same.
    pub hash: String,
    /// Percent; `None` where the table is only to be predicted.
    pub accuracy: Option<f64>,
    /// Percent.
    pub test: Option<f64>,
    pub params: Option<f64>,
    pub seconds: Option<f64>,
}

/// The space of these settings.
///
/// # Errors
/// As [`Space::of`].
pub fn space(settings: &SpaceSettings) -> Result<Space> {
    Space::of(settings).map_err(|(_, e)| MethodError::failed(e))
}

/// Reads a table of architectures of `space`; `label` as in [`Columns::label`].
///
/// # Errors
/// Those of [`read_cells`]; an architecture that the space does not have, or that stands there twice: a sentence with
/// file, line, column and remedy.
pub fn read(path: &Path, space: &Space, settings: &AssessorSettings, labelled: bool) -> Result<Vec<Entry>> {
    let columns = Columns {
        label: labelled.then_some(settings.label.as_str()),
        test: if labelled { &settings.test_label } else { "" },
        fractions: settings.unit == AccuracyUnit::Fraction,
    };
    let table = read_cells(path, &columns).map_err(MethodError::failed)?;
    entries(path, &table, space)
}

fn entries(path: &Path, table: &Cells, space: &Space) -> Result<Vec<Entry>> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut out = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let wrong = |said: String| {
            MethodError::failed(format!("{}, line {}, column {}: {said}", path.display(), row.line, table.column))
        };
        let (arch, hash) = identify(space, &row.arch)
            .map_err(|said| wrong(format!("{said}. Mend the line or leave it out; the space is `{}`", space.name)))?;
        if let Some(first) = seen.insert(identity(space, &arch, hash.clone()), row.line) {
            return Err(wrong(format!(
                "the architecture {arch} is the same as that of line {first}. Keep one line of them, such as with the mean of \
                 their accuracies"
            )));
        }
        out.push(Entry {
            arch,
            hash,
            accuracy: row.accuracy,
            test: row.test,
            params: row.params,
            seconds: row.seconds,
        });
    }
    Ok(out)
}

/// The architecture, and what is equal for all that compute the same.
fn identify(space: &Space, written: &Written) -> Result<(Arch, String), String> {
    let arch = match written {
        Written::Matrix { adjacency, ops } => {
            let cell = Cell101::from_table(adjacency, ops).map_err(|e| e.to_string())?;
            cell.arch().map_err(|e| e.to_string())?
        }
        Written::Text(text) if space.name == "nas-bench-201" && text.starts_with('|') => {
            Cell201::from_text(text).map_err(|e| e.to_string())?.arch()
        }
        Written::Text(text) => space.parse(text).map_err(|e| e.to_string())?,
    };
    space.validate(&arch).map_err(|e| e.to_string())?;
    let hash = hash(space, &arch).map_err(|e| e.to_string())?;
    Ok((arch, hash))
}

/// The same text for architectures of which a table has one. Benchmarks of NAS-Bench-201 train cells that compute the same
/// apart; elsewhere one of two would only be noise.
pub fn identity(space: &Space, arch: &Arch, hash: String) -> String {
    if space.name == "nas-bench-201" { arch.to_string() } else { hash }
}

/// The same text for architectures that compute the same.
pub fn hash(space: &Space, arch: &Arch) -> Result<String, kiln_arch::ArchError> {
    match space.name.as_str() {
        "nas-bench-101" => Cell101::from_genes(&arch.genes).map(|cell| cell.canonical_hash()),
        "nas-bench-201" => Cell201::from_genes(&arch.genes).map(|cell| cell.canonical()),
        _ => Ok(arch.to_string()),
    }
}

/// Indices of a table's entries by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub test: Vec<usize>,
    pub unlabelled: Vec<usize>,
    /// Where labelled architectures are drawn from.
    pub pool: Vec<usize>,
}

/// Splits by hash, so that architectures that compute the same never stand on two sides: in an order that depends on hash
/// and seed alone, the first groups make up the test cells, the next the unlabelled ones.
///
/// # Errors
/// A table too small for what the settings ask for.
pub fn split(entries: &[Entry], settings: &AssessorSettings, seed: u64) -> Result<Split> {
    let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        groups.entry(&entry.hash).or_default().push(i);
    }
    let mut groups: Vec<(u64, &str, Vec<usize>)> =
        groups.into_iter().map(|(hash, members)| (derive(seed, hash, 0, 0), hash, members)).collect();
    groups.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let (test, unlabelled) = (settings.test as usize, settings.unlabelled as usize);
    let mut out = Split { test: vec![], unlabelled: vec![], pool: vec![] };
    for (.., members) in groups {
        let part = if out.test.len() < test {
            &mut out.test
        } else if out.unlabelled.len() < unlabelled {
            &mut out.unlabelled
        } else {
            &mut out.pool
        };
        part.extend(members);
    }
    // The last group may overshoot by some members that compute the same as others of the part.
    out.test.truncate(test);
    out.unlabelled.truncate(unlabelled);
    let labels = settings.labels.iter().copied().max().unwrap_or(0) as usize;
    if out.pool.len() < labels {
        return Err(MethodError::failed(format!(
            "the table has {} architectures: after {test} for tests and {unlabelled} unlabelled ones, {} are left to draw {labels} \
             labels from. Lower assessor.test, assessor.unlabelled or assessor.labels",
            entries.len(),
            out.pool.len()
        )));
    }
    Ok(out)
}

/// The pool in the order in which labels are drawn in one repeat: the first 50 are among the first 100.
pub fn drawn(split: &Split, seed: u64, repeat: u32) -> Vec<usize> {
    let mut order = split.pool.clone();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(derive(seed, "labels", u64::from(repeat), 0)));
    order
}
