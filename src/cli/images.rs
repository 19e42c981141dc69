//! How many images a data set has, as far as that can be told without reading them.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use kiln_protocol::spec::{DataSet, DataSettings};

/// Images for training, after those held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub train: u64,
    /// Whether the files were looked at; else it is what the set is published with.
    pub seen: bool,
}

/// The set as presets write it.
pub fn name(set: DataSet) -> &'static str {
    match set {
        DataSet::Digits => "digits",
        DataSet::Fashion => "fashion",
        DataSet::Cifar10 => "cifar10",
        DataSet::Folder => "folder",
        DataSet::Cells => "cells",
    }
}

/// What is wrong with the numbers of images asked for, as far as can be told without reading the files (not of a folder):
/// the key, and a sentence. The worker tells the rest.
pub fn shortage(data: &DataSettings) -> Option<(&'static str, String)> {
    let (all, held, seen) = counts(data);
    let left = all.saturating_sub(held);
    let wanted = u64::from(data.train);
    let exact = seen && matches!(data.set, DataSet::Digits | DataSet::Cifar10 | DataSet::Fashion);
    if !exact || (left > 0 && wanted <= left) {
        return None;
    }
    let remedy = if left > 0 { format!("at most {left}, or 0 for all of these") } else { "fewer held out".to_owned() };
    let key = if left > 0 { "data.train" } else { "data.valid" };
    Some((key, format!("there are {all} training images, {held} of them held out: {remedy} can be asked for")))
}

/// Images there are to train on and to hold out from, how many are held out, and whether the files were looked at.
fn counts(data: &DataSettings) -> (u64, u64, bool) {
    let path = Path::new(&data.path);
    let (all, seen) = match data.set {
        DataSet::Digits => (1797, true),
        DataSet::Fashion => match idx_images(path) {
            Some(n) => (n, true),
            None => (60_000, false),
        },
        DataSet::Cifar10 => match cifar_images(path) {
            0 => (50_000, false),
            n => (n, true),
        },
        DataSet::Folder => (files_below(path), path.is_dir()),
        DataSet::Cells => (0, false),
    };
    let test = if holds_out_test(data.set) { u64::from(data.test) } else { 0 };
    (all, u64::from(data.valid) + test, seen)
}

/// Whether the set has no test part of its own, so that its test images are held out of all.
pub fn holds_out_test(set: DataSet) -> bool {
    matches!(set, DataSet::Digits | DataSet::Folder)
}

/// How many images a run trains on.
pub fn number(data: &DataSettings) -> Number {
    let (all, held, seen) = counts(data);
    let left = all.saturating_sub(held);
    let train = if data.train > 0 { u64::from(data.train).min(left.max(1)) } else { left };
    Number { train, seen }
}

/// Images of an IDX file, from its size: 16 bytes of head, then 784 an image. A gzip file ends in the size it unpacks to.
fn idx_images(folder: &Path) -> Option<u64> {
    let size = match fs::metadata(folder.join("train-images-idx3-ubyte")) {
        Ok(meta) => meta.len(),
        Err(_) => {
            let mut file = File::open(folder.join("train-images-idx3-ubyte.gz")).ok()?;
            file.seek(SeekFrom::End(-4)).ok()?;
            let mut size = [0; 4];
            file.read_exact(&mut size).ok()?;
            u64::from(u32::from_le_bytes(size))
        }
    };
    Some(size.checked_sub(16)? / 784)
}

/// Records of 3,073 bytes in the training batches that are there.
fn cifar_images(folder: &Path) -> u64 {
    let batches = (1..=5).filter_map(|i| fs::metadata(folder.join(format!("data_batch_{i}.bin"))).ok());
    batches.map(|meta| meta.len() / 3073).sum()
}

fn files_below(folder: &Path) -> u64 {
    let entries = |p: &Path| fs::read_dir(p).into_iter().flatten().flatten();
    entries(folder).map(|class| entries(&class.path()).count() as u64).sum()
}
