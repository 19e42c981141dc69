//! How keys are laid out. Everything of a run begins with its number, so that one range holds it all.
//!
//! | key | value |
//! | --- | --- |
//! | run `H` | [`crate::record::Head`], JSON |
//! | run `S` | the frozen preset, compressed |
//! | run `O` | the outcome, compressed JSON |
//! | run `V` view | a view, compressed JSON |
//! | run `L` first seq | log and lifecycle events, compressed JSON |
//! | run `I` series | [`crate::record::SeriesRecord`], JSON |
//! | run `P` series block | 512 points and their summary, see [`crate::summary`] |
//! | run `G` series group | summaries of 64 blocks |
//! | run `C` series n | points that do not fill a block yet |

use sled::transaction::{TransactionError, Transactional, TransactionalTree};
use sled::{Batch, Db, IVec, Tree};

use crate::error::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Head = b'H',
    Spec = b'S',
    Outcome = b'O',
    View = b'V',
    Log = b'L',
    Series = b'I',
    Points = b'P',
    Group = b'G',
    Crumb = b'C',
}

/// Prefix of everything of a run.
pub(crate) fn run(no: u32) -> Vec<u8> {
    no.to_be_bytes().to_vec()
}

/// Key of what a run has one of, or prefix of what it has several of.
pub(crate) fn one(no: u32, kind: Kind) -> Vec<u8> {
    let mut key = run(no);
    key.push(kind as u8);
    key
}

pub(crate) fn view(no: u32, view: u16) -> Vec<u8> {
    let mut key = one(no, Kind::View);
    key.extend_from_slice(&view.to_be_bytes());
    key
}

pub(crate) fn log(no: u32, first_seq: u64) -> Vec<u8> {
    let mut key = one(no, Kind::Log);
    key.extend_from_slice(&first_seq.to_be_bytes());
    key
}

pub(crate) fn series(no: u32, series: u32) -> Vec<u8> {
    let mut key = one(no, Kind::Series);
    key.extend_from_slice(&series.to_be_bytes());
    key
}

pub(crate) fn part(no: u32, kind: Kind, series: u32, part: u32) -> Vec<u8> {
    let mut key = one(no, kind);
    key.extend_from_slice(&series.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The run's number in a key.
pub(crate) fn run_of(key: &[u8]) -> Option<u32> {
    key.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}

/// The first sequence number in a log key.
pub(crate) fn first_seq(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b))
}

/// The database as three trees. sled writes a whole leaf of up to sixteen values anew after every ten changes to one of
/// them; a block of points must not be written again because a number beside it changed.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    db: Db,
    /// Small and always changing: heads, records of series, crumbs.
    hot: Tree,
    /// Written once: blocks of points and their summaries.
    cold: Tree,
    /// Presets, outcomes, views, logs.
    text: Tree,
}

impl Trees {
    pub(crate) fn open(db: Db) -> Result<Trees, StoreError> {
        let (hot, cold, text) = (db.open_tree("hot")?, db.open_tree("cold")?, db.open_tree("text")?);
        Ok(Trees { db, hot, cold, text })
    }

    fn of(&self, key: &[u8]) -> &Tree {
        match key.get(4) {
            Some(b'P' | b'G') => &self.cold,
            Some(b'S' | b'O' | b'V' | b'L') => &self.text,
            _ => &self.hot,
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        Ok(self.of(key).get(key)?)
    }

    /// All between two keys of one kind, the second included.
    pub(crate) fn range(&self, from: Vec<u8>, to: Vec<u8>) -> sled::Iter {
        self.of(&from).range(from..=to)
    }

    /// All that begins so; the prefix holds at least the kind.
    pub(crate) fn scan(&self, prefix: &[u8]) -> sled::Iter {
        self.of(prefix).scan_prefix(prefix)
    }

    /// The first key behind this one that belongs to a run's head.
    pub(crate) fn next_hot(&self, behind: &[u8]) -> Result<Option<IVec>, StoreError> {
        Ok(self.hot.get_gt(behind)?.map(|item| item.0))
    }

    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }
}

/// What is to be written in one atomic batch, readable as if it had been.
pub(crate) struct Changes<'a> {
    trees: &'a Trees,
    map: std::collections::BTreeMap<Vec<u8>, Option<IVec>>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(trees: &'a Trees) -> Changes<'a> {
        Changes { trees, map: Default::default() }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        match self.map.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.trees.get(key),
        }
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.map.insert(key, Some(value.into()));
    }

    /// Removes a key; one that is not there costs a look, not a write.
    pub(crate) fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        if self.trees.of(&key).contains_key(&key)? {
            self.map.insert(key, None);
        } else {
            self.map.remove(&key);
        }
        Ok(())
    }

    /// Removes all that begins so: a run, or what it has of a kind.
    pub(crate) fn remove_all(&mut self, prefix: &[u8]) -> Result<(), StoreError> {
        self.map.retain(|key, _| !key.starts_with(prefix));
        for tree in [&self.trees.hot, &self.trees.cold, &self.trees.text] {
            for key in tree.scan_prefix(prefix).keys() {
                self.map.insert(key?.to_vec(), None);
            }
        }
        Ok(())
    }

    /// Writes everything, or nothing, and waits until a kill cannot undo it.
    ///
    /// The waiting has two more reasons. sled 0.34 hands each batch to its pool of I/O threads in at least two pieces, and
    /// locks up for ever if all of the pool (seven threads) wait for the table of segments while whoever holds it waits
    /// for the pool to cut the file shorter: with one batch on its way at a time that cannot happen. And it can use the
    /// room of what was overwritten only after a flush: a million points that came twenty at a time took 74 MB without.
    pub(crate) fn apply(self) -> Result<(), StoreError> {
        let Trees { hot, cold, text, .. } = self.trees;
        let mut batches = [Batch::default(), Batch::default(), Batch::default()];
        for (key, value) in self.map {
            let tree = self.trees.of(&key);
            let at = if std::ptr::eq(tree, hot) {
                0
            } else if std::ptr::eq(tree, cold) {
                1
            } else {
                2
            };
            match value {
                Some(value) => batches[at].insert(key, value),
                None => batches[at].remove(key),
            }
        }
        let done =
            (hot, cold, text).transaction(|trees: &(TransactionalTree, TransactionalTree, TransactionalTree)| {
                trees.0.apply_batch(&batches[0])?;
                trees.1.apply_batch(&batches[1])?;
                trees.2.apply_batch(&batches[2])?;
                Ok(())
            });
        match done {
            Ok(()) => self.trees.flush(),
            Err(TransactionError::Abort(e)) => Err(e),
            Err(TransactionError::Storage(e)) => Err(e.into()),
        }
    }
}
