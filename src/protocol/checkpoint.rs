//! Checkpoints: `checkpoints/<step>/` in the run folder, with `state.json` and `tensors.safetensors`.
//!
//! A checkpoint is written into `<step>.part`, synced, and renamed, so a folder called by a number is complete. The last
//! two and the one marked as best are kept. Both files carry checksums, so one that was damaged later is noticed, passed
//! over with a sentence, and the one before is used.
//!
//! `tensors.safetensors` is a plain file of that format. `state.json` is
//! ```json
//! {"checkpoint_version":1,"step":120,"state_crc32":123,"tensors":[{"name":"conv.weight","crc32":456}],"state":{}}
//! ```
//! with the method's own values in `state`, the CRC-32 of the step in decimal, a newline and the compact JSON of `state`, and the
//! tensors in the order in which they were given, each with the CRC-32 of its bytes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spool::{is_disk_full, replace, sync_folder};

/// Version of `state.json`.
const VERSION: u64 = 1;

/// How many of the newest are kept, beside the best.
const KEEP: usize = 2;

const STATE: &str = "state.json";
const TENSORS: &str = "tensors.safetensors";
/// Holds the step of the best checkpoint.
const BEST: &str = "best";

/// What can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot write the checkpoint {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the checkpoint {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the checkpoint {path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error(
        "the checkpoint {path} is of version {found}, this Kiln reads up to version {VERSION}: use the newer Kiln that wrote it"
    )]
    Newer { path: PathBuf, found: u64 },
    #[error("the tensor `{name}` cannot be saved: {why}")]
    Tensor { name: String, why: String },
}

impl CheckpointError {
    /// Whether it is for want of room, so that trying again later may help.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, CheckpointError::Write { source, .. } if is_disk_full(source))
    }
}

/// A tensor as bytes: row-major, little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// Unique within a checkpoint.
    pub name: String,
    /// As safetensors writes it: `F32`, `BF16`, `I64`, `U8`, `BOOL` …
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub step: u64,
    pub state: Value,
    /// In the order in which they were written.
    pub tensors: Vec<RawTensor>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub path: PathBuf,
    pub step: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// The newest whole checkpoint, and what had to be passed over to find it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latest {
    pub checkpoint: Option<Checkpoint>,
    /// Sentences for the log, newest first.
    pub skipped: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    checkpoint_version: u64,
    step: u64,
    state_crc32: u32,
    tensors: Vec<Listed>,
    state: Cow<'a, Value>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    name: String,
    crc32: u32,
}

/// A tensor as the safetensors library wants to see it.
struct Saved<'a>(Dtype, &'a RawTensor);

impl View for &Saved<'_> {
    fn dtype(&self) -> Dtype {
        self.0
    }

    fn shape(&self) -> &[usize] {
        &self.1.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.1.data)
    }

    fn data_len(&self) -> usize {
        self.1.data.len()
    }
}

fn saved(tensor: &RawTensor) -> Result<Saved<'_>, CheckpointError> {
    let fail = |why: String| CheckpointError::Tensor { name: tensor.name.clone(), why };
    let dtype: Dtype = serde_json::from_value(Value::String(tensor.dtype.clone()))
        .map_err(|_| fail(format!("the file format has no dtype `{}`", tensor.dtype)))?;
    let bits = tensor.shape.iter().try_fold(dtype.bitsize(), |n, &dim| n.checked_mul(dim));
    if bits != tensor.data.len().checked_mul(8) {
        return Err(fail(format!("{} bytes do not fill the shape {:?} of {dtype}", tensor.data.len(), tensor.shape)));
    }
    Ok(Saved(dtype, tensor))
}

/// Writes `dir/<step>/`, where `dir` is the run's `checkpoints` folder, and removes older ones that are no longer kept. A
/// checkpoint of that step that exists already is replaced.
///
/// # Errors
/// Nothing has changed: the checkpoints there were are still there, and no half one is left.
pub fn write(dir: &Path, step: u64, state: &Value, tensors: &[RawTensor]) -> Result<Written, CheckpointError> {
    let begun = Instant::now();
    let path = dir.join(step.to_string());
    let saved: Vec<Saved<'_>> = tensors.iter().map(saved).collect::<Result<_, _>>()?;
    let mut names = BTreeSet::new();
    if let Some(twice) = tensors.iter().find(|t| !names.insert(&t.name)) {
        return Err(CheckpointError::Tensor { name: twice.name.clone(), why: "two tensors have this name".into() });
    }
    let part = dir.join(format!("{step}.part"));
    let fill = || -> io::Result<u64> {
        fs::create_dir_all(dir)?;
        remove(&part)?;
        fs::create_dir(&part)?;
        let file = part.join(TENSORS);
        safetensors::serialize_to_file(saved.iter().map(|s| (&s.1.name, s)), None, &file).map_err(|e| match e {
            SafeTensorError::IoError(e) => e,
            other => io::Error::other(other),
        })?;
        File::open(&file)?.sync_all()?;
        let listed = |t: &RawTensor| Listed { name: t.name.clone(), crc32: crc32fast::hash(&t.data) };
        let envelope = Envelope {
            checkpoint_version: VERSION,
            step,
            state_crc32: state_crc32(step, state)?,
            tensors: tensors.iter().map(listed).collect(),
            state: Cow::Borrowed(state),
        };
        replace(&part.join(STATE), &serde_json::to_vec(&envelope)?)?;
        Ok(fs::metadata(&file)?.len() + fs::metadata(part.join(STATE))?.len())
    };
    let put = || -> io::Result<u64> {
        let bytes = fill()?;
        // A folder cannot be renamed onto another. The old one stays readable under a second name meanwhile.
        let old = dir.join(format!("{step}.old"));
        if path.exists() {
            remove(&old)?;
            fs::rename(&path, &old)?;
        }
        fs::rename(&part, &path)?;
        sync_folder(dir)?;
        remove(&old)?;
        Ok(bytes)
    };
    match put() {
        Ok(bytes) => {
            // The new one stands. That an old one could not be removed costs room, not the run.
            let _ = prune(dir, step);
            Ok(Written { path, step, bytes, seconds: begun.elapsed().as_secs_f64() })
        }
        Err(source) => {
            let _ = remove(&part);
            Err(CheckpointError::Write { path, source })
        }
    }
}

/// Remembers that the checkpoint of this step is the best so far, so that it is kept until another is.
pub fn mark_best(dir: &Path, step: u64) -> Result<(), CheckpointError> {
    let path = dir.join(BEST);
    replace(&path, step.to_string().as_bytes()).map_err(|source| CheckpointError::Write { path, source })
}

/// Step of the best checkpoint, if one was marked.
pub fn best(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join(BEST)).ok()?.trim().parse().ok()
}

/// Steps of all checkpoints, ascending. None if the folder does not exist.
pub fn steps(dir: &Path) -> io::Result<Vec<u64>> {
    let mut steps: Vec<u64> = list(dir)?.into_iter().map(|c| c.step).collect();
    steps.dedup();
    Ok(steps)
}

/// The newest checkpoint that is whole.
///
/// # Errors
/// The folder cannot be listed, or a checkpoint is of a newer version: falling back to an older one would quietly undo
/// what the newer Kiln has done.
pub fn latest(dir: &Path) -> Result<Latest, CheckpointError> {
    let found = list(dir).map_err(|source| CheckpointError::Read { path: dir.into(), source })?;
    let mut latest = Latest::default();
    for candidate in found.iter().rev() {
        match read(&candidate.path) {
            Ok(checkpoint) => {
                latest.checkpoint = Some(checkpoint);
                break;
            }
            Err(e @ CheckpointError::Newer { .. }) => return Err(e),
            Err(e) => latest.skipped.push(format!("{e}; the one before is used")),
        }
    }
    Ok(latest)
}

/// Reads one checkpoint and checks every byte of it.
pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let load = |name: &str| match fs::read(path.join(name)) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(damaged(path, format!("{name} is missing"))),
        Err(source) => Err(CheckpointError::Read { path: path.join(name), source }),
    };
    let json: Value =
        serde_json::from_slice(&load(STATE)?).map_err(|e| damaged(path, format!("{STATE} is not readable ({e})")))?;
    match json.get("checkpoint_version").and_then(Value::as_u64) {
        Some(found) if found > VERSION => return Err(CheckpointError::Newer { path: path.into(), found }),
        _ => {}
    }
    let envelope: Envelope<'static> =
        serde_json::from_value(json).map_err(|e| damaged(path, format!("{STATE} is not readable ({e})")))?;
    let found = state_crc32(envelope.step, &envelope.state).map_err(|e| damaged(path, e.to_string()))?;
    if found != envelope.state_crc32 {
        return Err(damaged(path, format!("{STATE} does not match its checksum")));
    }
    let bytes = load(TENSORS)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| damaged(path, format!("{TENSORS} of {} bytes is not readable ({e})", bytes.len())))?;
    if file.len() != envelope.tensors.len() {
        let (has, lists) = (file.len(), envelope.tensors.len());
        return Err(damaged(path, format!("{TENSORS} has {has} tensors, {STATE} lists {lists}")));
    }
    let mut tensors = Vec::with_capacity(file.len());
    for Listed { name, crc32 } in envelope.tensors {
        let view = file.tensor(&name).map_err(|_| damaged(path, format!("{TENSORS} lacks the tensor `{name}`")))?;
        if crc32fast::hash(view.data()) != crc32 {
            return Err(damaged(path, format!("the tensor `{name}` does not match its checksum")));
        }
        let (dtype, shape) = (view.dtype().to_string(), view.shape().to_vec());
        tensors.push(RawTensor { name, dtype, shape, data: view.data().to_vec() });
    }
    Ok(Checkpoint { path: path.into(), step: envelope.step, state: envelope.state.into_owned(), tensors })
}

fn state_crc32(step: u64, state: &Value) -> serde_json::Result<u32> {
    let mut bytes = format!("{step}\n").into_bytes();
    serde_json::to_writer(&mut bytes, state)?;
    Ok(crc32fast::hash(&bytes))
}

fn damaged(path: &Path, why: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.into(), why }
}

struct Found {
    step: u64,
    path: PathBuf,
}

/// All complete checkpoints, ascending; one that is just being replaced (`<step>.old`) before its successor.
fn list(dir: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let (digits, current) = name.strip_suffix(".old").map_or((name, true), |digits| (digits, false));
        if let Ok(step) = digits.parse() {
            found.push((step, current, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(step, _, path)| Found { step, path }).collect())
}

/// Removes all but the newest [`KEEP`] up to `newest`, the best, and what lies beyond `newest`: that is from before a
/// rollback and would otherwise be taken for the latest.
fn prune(dir: &Path, newest: u64) -> io::Result<()> {
    let best = best(dir);
    let found = list(dir)?;
    let mut steps: Vec<u64> = found.iter().map(|c| c.step).filter(|&step| step <= newest).collect();
    steps.dedup();
    let kept = &steps[steps.len().saturating_sub(KEEP)..];
    for old in &found {
        if !kept.contains(&old.step) && (best != Some(old.step) || old.step > newest) {
            remove(&old.path)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "part") && path.is_dir() {
            remove(&path)?;
        }
    }
    sync_folder(dir)
}

/// Removes a folder, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tensors() -> Vec<RawTensor> {
        let nan = [f32::NAN, -0.0, f32::from_bits(0x7fc0_1234), 1.0 / 3.0, f32::MIN_POSITIVE / 8.0, f32::INFINITY];
        let floats: Vec<u8> = nan.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = |name: &str, dtype: &str, shape: &[usize], data: Vec<u8>| RawTensor {
            name: name.into(),
            dtype: dtype.into(),
            shape: shape.to_vec(),
            data,
        };
        vec![
            tensor("z.weight", "F32", &[2, 3], floats),
            tensor("generator", "U8", &[5], vec![0, 255, 1, 254, 7]),
            tensor("a.steps", "I64", &[], 123_456_789_012_i64.to_le_bytes().to_vec()),
            tensor("half", "BF16", &[1, 2], vec![1, 2, 3, 4]),
            tensor("empty", "F64", &[0, 4], vec![]),
        ]
    }

    fn state(step: u64) -> Value {
        json!({"step": step, "lr": 0.1 + 0.2, "tiny": 5e-324, "big": u64::MAX, "names": ["ü", "\n"], "z": null, "a": {"y": -0.0}})
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        (dir, path)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_comes_back_is_what_went_in_to_the_bit_and_in_order() {
        let (_tmp, dir) = folder();
        assert_eq!(latest(&dir).unwrap(), Latest::default());
        let written = write(&dir, 7, &state(7), &tensors()).unwrap();
        let on_disk: u64 = [STATE, TENSORS].iter().map(|f| fs::metadata(written.path.join(f)).unwrap().len()).sum();
        assert_eq!(written.bytes, on_disk);
        let read = latest(&dir).unwrap().checkpoint.unwrap();
        assert_eq!((read.step, &read.state, &read.tensors), (7, &state(7), &tensors()));
        let float = |v: &Value| v["lr"].as_f64().unwrap().to_bits();
        assert_eq!(float(&read.state), float(&state(7)));
        assert!(read.state["a"]["y"].as_f64().unwrap().is_sign_negative());
    }

    #[test]
    fn the_last_two_and_the_best_are_kept() {
        let (_tmp, dir) = folder();
        for step in [1, 2, 9, 10, 11] {
            write(&dir, step, &state(step), &tensors()).unwrap();
            if step == 2 {
                mark_best(&dir, 2).unwrap();
            }
        }
        assert_eq!(steps(&dir).unwrap(), [2, 10, 11]);
        mark_best(&dir, 11).unwrap();
        fs::create_dir(dir.join("12.part")).unwrap();
        write(&dir, 11, &json!("again"), &[]).unwrap();
        write(&dir, 100, &state(100), &[]).unwrap();
        assert_eq!(names(&dir), ["100", "11", "best"]);
        assert_eq!(read(&dir.join("11")).unwrap().state, json!("again"));
        // A rollback: what lay beyond is from another past.
        write(&dir, 50, &state(50), &[]).unwrap();
        assert_eq!(latest(&dir).unwrap().checkpoint.unwrap().step, 50);
    }

    #[test]
    fn damage_of_any_kind_is_noticed_and_the_one_before_is_used() {
        let (_tmp, dir) = folder();
        write(&dir, 1, &state(1), &tensors()).unwrap();
        let whole = write(&dir, 2, &state(2), &tensors()).unwrap().path;
        for file in [STATE, TENSORS] {
            let path = whole.join(file);
            let good = fs::read(&path).unwrap();
            let check = |what: &str| {
                let latest = latest(&dir).unwrap();
                assert_eq!(latest.checkpoint.unwrap().step, 1, "{file}: {what}");
                assert!(
                    latest.skipped[0].contains("checkpoints/2") && latest.skipped.len() == 1,
                    "{:?}",
                    latest.skipped
                );
            };
            for cut in [0, 1, good.len() / 2, good.len() - 1] {
                fs::write(&path, &good[..cut]).unwrap();
                check(&format!("cut at {cut}"));
            }
            fs::remove_file(&path).unwrap();
            check("removed");
            let mut unnoticed = 0;
            for i in 0..good.len() {
                let mut bad = good.clone();
                bad[i] ^= 0x10;
                fs::write(&path, &bad).unwrap();
                if let Ok(read) = read(&whole) {
                    // Spaces of padding may change, content may not.
                    unnoticed += 1;
                    assert_eq!((read.step, &read.state, &read.tensors), (2, &state(2), &tensors()), "{file}: byte {i}");
                }
            }
            assert!(unnoticed <= 8, "{file}: {unnoticed} of {} flips unnoticed", good.len());
            fs::write(&path, &good).unwrap();
        }
        assert_eq!(latest(&dir).unwrap().checkpoint.unwrap().step, 2);
        fs::remove_dir_all(dir.join("1")).unwrap();
        fs::write(whole.join(STATE), "").unwrap();
        let none = latest(&dir).unwrap();
        assert!(none.checkpoint.is_none() && none.skipped.len() == 1);
    }

    #[test]
    fn a_kill_while_one_is_replaced_leaves_the_old_one() {
        let (_tmp, dir) = folder();
        write(&dir, 3, &state(3), &tensors()).unwrap();
        fs::rename(dir.join("3"), dir.join("3.old")).unwrap();
        fs::create_dir(dir.join("3.part")).unwrap();
        assert_eq!(latest(&dir).unwrap().checkpoint.unwrap().state, state(3));
        write(&dir, 3, &json!("new"), &[]).unwrap();
        assert_eq!(latest(&dir).unwrap().checkpoint.unwrap().state, json!("new"));
        write(&dir, 4, &state(4), &[]).unwrap();
        assert_eq!(names(&dir), ["3", "4"]);
    }

    #[test]
    fn a_newer_version_is_refused_rather_than_undone() {
        let (_tmp, dir) = folder();
        write(&dir, 1, &state(1), &[]).unwrap();
        write(&dir, 2, &state(2), &[]).unwrap();
        fs::write(dir.join("2").join(STATE), r#"{"checkpoint_version":2,"shape":"unknown"}"#).unwrap();
        assert!(matches!(latest(&dir), Err(CheckpointError::Newer { found: 2, .. })));
    }

    #[test]
    fn tensors_that_cannot_be_are_refused_before_anything_is_written() {
        let (_tmp, dir) = folder();
        let good = &tensors()[0];
        let wrong = [
            RawTensor { dtype: "F33".into(), ..good.clone() },
            RawTensor { shape: vec![7], ..good.clone() },
            RawTensor { shape: vec![usize::MAX, 3], ..good.clone() },
        ];
        for tensor in wrong {
            let error = write(&dir, 1, &json!(0), &[tensor]).unwrap_err().to_string();
            assert!(error.contains("z.weight"), "{error}");
        }
        assert!(write(&dir, 1, &json!(0), &[good.clone(), good.clone()]).is_err());
        assert!(!dir.exists());
    }
}
