//! Small records about runs and series, and how text is stored.

use std::collections::BTreeMap;

use kiln_protocol::event::of_series;
use kiln_protocol::reduce::Pace;
use kiln_protocol::wire::{Mark, SeriesInfo};
use kiln_protocol::{RunId, RunSummary};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// What changes with every batch of a run. Written together with what the batch brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    pub summary: RunSummary,
    pub pace: Pace,
    /// Bytes of `events.jsonl` that everything stored came from.
    pub offset: u64,
    /// Starts of a worker seen; a series whose own number is lower has points of an earlier attempt only.
    pub starts: u32,
    /// Planned ends of x axes, by series name; `*` for all others.
    pub x_max: BTreeMap<String, f64>,
    /// What x axes count, by series name; `*` for all others.
    #[serde(default)]
    pub x_unit: BTreeMap<String, String>,
    /// Series there are.
    pub series: u32,
    /// Views by number, in order of first appearance.
    pub views: Vec<String>,
    /// Changes of live settings.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// First sequence number and length of the newest block of the log.
    pub log: Option<(u64, u32)>,
}

impl Head {
    pub(crate) fn new(summary: RunSummary) -> Head {
        Head {
            summary,
            pace: Pace::default(),
            offset: 0,
            starts: 0,
            x_max: BTreeMap::new(),
            x_unit: BTreeMap::new(),
            series: 0,
            views: Vec::new(),
            marks: Vec::new(),
            log: None,
        }
    }

    pub(crate) fn id(&self) -> &RunId {
        &self.summary.id
    }
}

/// What is known of a series without its index.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SeriesRecord {
    pub name: String,
    pub points: u64,
    pub first_x: f64,
    pub last_x: f64,
    /// Bits, for JSON has no NaN.
    last_y: u64,
    /// [`Head::starts`] of the newest points.
    pub starts: u32,
    /// Full blocks, and crumbs behind them.
    pub blocks: u32,
    pub crumbs: u32,
}

impl SeriesRecord {
    pub(crate) fn new(name: &str, starts: u32) -> SeriesRecord {
        SeriesRecord { name: name.to_owned(), starts, ..SeriesRecord::default() }
    }

    pub(crate) fn set_last_y(&mut self, y: f64) {
        self.last_y = y.to_bits();
    }

    pub(crate) fn info(&self, head: &Head) -> SeriesInfo {
        SeriesInfo {
            name: self.name.clone(),
            points: self.points,
            first_x: self.first_x,
            last_x: self.last_x,
            last_y: Some(f64::from_bits(self.last_y)).filter(|y| y.is_finite()),
            x_max: of_series(&head.x_max, &self.name).copied(),
            x_unit: of_series(&head.x_unit, &self.name).cloned().unwrap_or_default(),
        }
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Damaged(format!("a record cannot be written: {e}")))
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Damaged(format!("a record cannot be read: {e}")))
}

/// Level 3 of zstd is its own default: a tenth of the size of such JSON in microseconds.
pub(crate) fn compress(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(bytes, 3).map_err(|e| StoreError::Damaged(format!("a text cannot be compressed: {e}")))
}

pub(crate) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::stream::decode_all(bytes).map_err(|e| StoreError::Damaged(format!("a text cannot be decompressed: {e}")))
}
